//! How the program is linked: its code begins in the file where it begins in memory, to the size of a huge page.
//! Then the kernel can map the code by huge pages where the file lies in such in its cache, and a worker that was
//! just forked takes a page fault per 2 MiB of it instead of one per 64 KiB. Costs addresses, and nothing else.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |what: &str, value: &str| std::env::var(what).is_ok_and(|it| it == value);
    if is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ARCH", "x86_64") {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,max-page-size=0x200000");
    }
}
