//! What a worker leaves behind when it panics: the message, and what it was doing, where its supervisor finds
//! them when the process is gone.

use crate::log::bounded;
use crate::scoreboard::{Record, Tail};

/// Bytes of a panic's message that are kept.
const MESSAGE_BYTES: usize = 480;
/// The tag of a panic among the last lines.
pub(crate) const PANIC: char = 'p';

/// Has every panic of this process, of whichever thread, write its message, place and thread into the last
/// lines; then comes what came before, by default a message on standard error. In the worker.
pub(crate) fn keep_panics(record: Record, tail: Tail) {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        record.panicked();
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("unnamed");
        // `panicked at src/main.rs:7:9:` and the message, a line each.
        let said = info.to_string().replacen(":\n", ": ", 1);
        tail.push(PANIC, &bounded(format_args!("thread {name} {said}"), MESSAGE_BYTES));
        before(info);
    }));
}
