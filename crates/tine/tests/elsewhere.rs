//! One program, written once: on Linux it serves, elsewhere it compiles and is refused (row F22).
//!
//! "Elsewhere" is this machine with `--cfg tine_unsupported`, which takes away what another system has not:
//!
//! ```text
//! RUSTFLAGS="--cfg tine_unsupported" cargo test -p tine --test elsewhere --target-dir target/elsewhere
//! ```

use std::io;
use std::time::Duration;

use tine::{BoxError, Prefork, Worker, Workers};

fn server() -> Prefork {
    Prefork::new()
        .name("echo")
        .listen("127.0.0.1:0")
        .workers(Workers::dynamic(5..=50).spare(2..=10))
        .max_connections(1000)
        .max_requests(800..=1200)
        .stop_timeout(Duration::from_secs(5))
        .no_control()
}

fn echo(worker: Worker) -> Result<(), BoxError> {
    worker.serve(|mut conn| {
        let mut reader = conn.try_clone()?;
        io::copy(&mut reader, &mut conn).map(drop)
    })
}

/// A test runner has threads, and where Tine serves that is the reason it gives.
#[test]
fn on_another_system_a_program_compiles_and_its_run_is_a_typed_refusal() {
    let refusal = server().try_run(echo).expect_err("a test cannot serve anywhere");
    let elsewhere = cfg!(any(not(target_os = "linux"), tine_unsupported));
    assert_eq!(refusal.is_unsupported(), elsewhere, "{refusal}");
    assert_eq!(refusal.to_string().contains("Linux"), elsewhere, "{refusal}");
    if elsewhere {
        assert!(!refusal.is_config() && !refusal.is_bind(), "{refusal}");
        assert_eq!(refusal.exit_code(), 1);
    }
}

#[test]
#[cfg(any(not(target_os = "linux"), tine_unsupported))]
fn there_the_exit_code_says_so_and_nothing_else_pretends_to_work() {
    let failed = format!("{:?}", std::process::ExitCode::from(1));
    assert_eq!(format!("{:?}", server().run(echo)), failed);
    assert!(server().solo().is_err_and(|refusal| refusal.is_unsupported()));
    assert!(!tine::is_worker());
}
