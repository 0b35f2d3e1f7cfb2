//! The way back of a process that has become another program in place: until that one says that it is well, whatever
//! ends it, or the end of its time, makes the process the program again that it was before.
//!
//! A constructor, which runs before `main`, looks for the [marker](MARKER) that the first program has left in the
//! environment, and takes an alarm, the signals of a fault, and `exit(3)`. Each of them executes the first program's image
//! (its descriptor has survived) with the same arguments, environment and descriptors, and the marker changed
//! from `take` to `back`. What `SIGKILL` or `_exit(2)` ends stays ended.
//!
//! | marker | says |
//! |---|---|
//! | `take,PID,LETTER,IMAGE,NOTE,MILLISECONDS` | the process that is meant; descriptors of what was handed over, of the first image, and of a page for the reason; the time there is |
//! | `back,…` | the same, and it did not go well |
//!
//! With a C library that gives constructors no arguments (musl) there is no such way back.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int};
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, Ordering::SeqCst};

/// The environment variable.
pub const MARKER: &str = "TINE_HANDOVER";

/// What raises the signals that lead back, beside the alarm.
const FAULTS: [(c_int, &[u8]); 6] = [
    (libc::SIGABRT, b"it aborted (SIGABRT) before it had taken over"),
    (libc::SIGSEGV, b"it crashed (SIGSEGV) before it had taken over"),
    (libc::SIGBUS, b"it crashed (SIGBUS) before it had taken over"),
    (libc::SIGILL, b"it crashed (SIGILL) before it had taken over"),
    (libc::SIGFPE, b"it crashed (SIGFPE) before it had taken over"),
    (libc::SIGALRM, b"it did not take over in time"),
];

static ARMED: AtomicBool = AtomicBool::new(false);
static PROCESS: AtomicI32 = AtomicI32::new(0);
static IMAGE: AtomicI32 = AtomicI32::new(-1);
static NOTE: AtomicI32 = AtomicI32::new(-1);
/// What to execute the image with; both are never freed.
static ARGV: AtomicPtr<*const c_char> = AtomicPtr::new(ptr::null_mut());
static ENVP: AtomicPtr<*const c_char> = AtomicPtr::new(ptr::null_mut());

#[cfg(target_env = "gnu")]
#[used]
// SAFETY: the C library calls what stands in this section with these three arguments.
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn(c_int, *mut *const c_char, *mut *const c_char) = before_main;

#[cfg(target_env = "gnu")]
extern "C" fn before_main(_: c_int, argv: *mut *const c_char, envp: *mut *const c_char) {
    let mut variables = Vec::new();
    let mut marker = None;
    let mut next = envp;
    loop {
        // SAFETY: a place in a list that ends with null, which was not met yet.
        let variable = unsafe { *next };
        if variable.is_null() {
            break;
        }
        // SAFETY: the list goes on behind what is not null.
        next = unsafe { next.add(1) };
        // SAFETY: a string that ends with zero, and stays.
        let text = unsafe { CStr::from_ptr(variable) };
        match read(text) {
            Some(found) => {
                variables.push(found.back.as_ptr());
                marker = Some(found);
            }
            None => variables.push(text.as_ptr()),
        }
    }
    let Some(Marker { image, note, milliseconds, back }) = marker else { return };
    variables.push(ptr::null());
    // For as long as the process may need the way back.
    mem::forget(back);
    ENVP.store(variables.leak().as_mut_ptr(), SeqCst);
    ARGV.store(argv, SeqCst);
    IMAGE.store(image, SeqCst);
    NOTE.store(note, SeqCst);
    PROCESS.store(std::process::id().cast_signed(), SeqCst);
    arm(milliseconds);
}

/// What the marker says, if it is for this process.
struct Marker {
    image: c_int,
    note: c_int,
    milliseconds: i32,
    /// The same variable for the way back.
    back: CString,
}

fn read(variable: &CStr) -> Option<Marker> {
    let value = variable.to_str().ok()?.strip_prefix(MARKER)?.strip_prefix("=take,")?;
    let numbers: Vec<i32> = value.split(',').map_while(|number| number.parse().ok()).collect();
    let &[process, _letter, image, note, milliseconds] = numbers.as_slice() else { return None };
    if process != std::process::id().cast_signed() || milliseconds < 1 {
        return None;
    }
    let back = CString::new(format!("{MARKER}=back,{value}")).ok()?;
    Some(Marker { image, note, milliseconds, back })
}

fn arm(milliseconds: i32) {
    for (signal, _) in FAULTS {
        // SAFETY: integers and a pointer that may be null, for which zero is a value.
        let mut action: libc::sigaction = unsafe { mem::zeroed() };
        let handler: extern "C" fn(c_int) = on_fault;
        action.sa_sigaction = handler as *const () as libc::sighandler_t;
        // Not held back while its handler runs: the mask outlives the exec.
        action.sa_flags = libc::SA_NODEFER | libc::SA_ONSTACK;
        // SAFETY: a whole structure; the handler is async-signal-safe.
        unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
    }
    // SAFETY: the function stays, and may run at any exit.
    unsafe { libc::atexit(on_exit) };
    ARMED.store(true, SeqCst);
    set_timer(milliseconds);
}

fn set_timer(milliseconds: i32) {
    // SAFETY: integers, for which zero is a value.
    let mut time: libc::itimerval = unsafe { mem::zeroed() };
    time.it_value.tv_sec = (milliseconds / 1000).into();
    time.it_value.tv_usec = (milliseconds % 1000 * 1000).into();
    // SAFETY: a whole structure, and no wish for the old one.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const time, ptr::null_mut()) };
}

extern "C" fn on_fault(signal: c_int) {
    let text =
        FAULTS.iter().find(|(number, _)| *number == signal).map_or(&b""[..], |found| found.1);
    leap(text);
    // SAFETY: async-signal-safe.
    unsafe { libc::_exit(128 + signal) };
}

extern "C" fn on_exit() {
    leap(b"it ended before it had taken over");
}

/// Executes the first image. Async-signal-safe. Returns if there is no way back, or none any more.
fn leap(reason: &[u8]) {
    // SAFETY: answers with an integer.
    let is_this = unsafe { libc::getpid() } == PROCESS.load(SeqCst);
    if !is_this || !ARMED.swap(false, SeqCst) {
        return;
    }
    // The alarm would go on in the next image.
    set_timer(0);
    // SAFETY: bytes of this length; the reason stands at the beginning of the page.
    unsafe { libc::pwrite(NOTE.load(SeqCst), reason.as_ptr().cast(), reason.len(), 0) };
    let (argv, envp) = (ARGV.load(SeqCst), ENVP.load(SeqCst));
    // SAFETY: the lists were made before main, and are never freed.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            IMAGE.load(SeqCst),
            c"".as_ptr(),
            argv,
            envp,
            libc::AT_EMPTY_PATH,
        )
    };
}

/// Whether this process can still become again what it was.
#[must_use]
pub fn is_open() -> bool {
    ARMED.load(SeqCst)
}

/// Goes back, for this reason. Returns if there is no way back, or none any more.
pub fn go(reason: &str) {
    leap(reason.as_bytes());
}

/// It is well: there is no way back from now on, and signals mean again what they do.
///
/// # Errors
/// None is to be expected (sigaction(2)).
pub fn close() -> std::io::Result<()> {
    if ARMED.swap(false, SeqCst) {
        set_timer(0);
        for (number, _) in FAULTS {
            crate::signal::Signal::from_number(number)
                .map_or(Ok(()), crate::signal::set_default)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_marker_for_this_very_process_is_believed() {
        let own = std::process::id();
        let text = |value: String| CString::new(format!("{MARKER}={value}")).unwrap();
        let found = read(&text(format!("take,{own},5,6,7,800"))).expect("it is whole");
        assert_eq!((found.image, found.note, found.milliseconds), (6, 7, 800));
        assert_eq!(found.back, text(format!("back,{own},5,6,7,800")));
        for other in ["take", "back,1,5,6,7,800", "take,1,5,6,7,800", "probe,1,2,3"] {
            assert!(read(&text(other.to_owned())).is_none(), "{other}");
        }
        assert!(read(&text(format!("take,{own},5,6,7"))).is_none());
        assert!(read(&text(format!("take,{own},5,6,7,0"))).is_none());
    }

    #[test]
    fn who_was_not_handed_anything_has_no_way_back() {
        assert!(!is_open());
        go("nowhere");
        close().unwrap();
    }
}
