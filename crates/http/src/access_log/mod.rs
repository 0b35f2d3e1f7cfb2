//! The access log: a line a request, in a format of one's own, to a file, the service's log, or a function.
//!
//! ```no_run
//! use std::process::ExitCode;
//! use tine_http::Options;
//! use tine_http::access_log::{AccessLog, Format};
//! # use axum::Router;
//!
//! fn main() -> ExitCode {
//!     let file = match tine::log::LogFile::open("/var/log/visits") {
//!         Ok(file) => file,
//!         Err(_) => return ExitCode::FAILURE,
//!     };
//!     let log = AccessLog::to_file(file.clone(), Format::combined());
//!     let options = Options { access_log: Some(log), ..Options::default() };
//!     tine::Prefork::new().listen("0.0.0.0:8080").log_file(file).run(move |worker| {
//!         tine_http::serve_with(worker, options.clone(), |_| async { Ok(Router::new()) })
//!     })
//! }
//! ```
//!
//! Every request has its line, also one that is refused, whose client goes away, or whose handler
//! panics. Of a request that cannot be read `%r` is its first line, as far as it has come and 256 bytes of it at most;
//! the reason is in the service's log. Bytes of a target that its parser refuses (`"`, `<`, `>`, a backtick, and all that is
//! not ASCII) are percent-encoded in the line, as the service sees them. A connection of HTTP/2 that ends with an error of the protocol (broken frames or compression, a flood of
//! anything; or the client says there was one) has one line more, with 400. What h2 refuses of a single stream, and goes
//! on, has none: a request whose fields are malformed or too large, or one stream too many.
//!
//! A worker gathers lines and writes them together, whole ones in one write(2): when there are 32 KiB
//! of them, when its last connection ends, after a second, and one by one while it leaves. So one that is
//! killed (`SIGKILL`) takes up to a second of lines with it, an isolated one those of its one connection.
//!
//! # Formats
//!
//! `common`, `combined` and `json` by name; or a text with the directives of Apache's `LogFormat`:
//!
//! | directive | stands for |
//! |---|---|
//! | `%%` | a percent sign |
//! | `%h`, `%a` | the client's address, what a trusted proxy says of it included; names are not looked up |
//! | `%{c}a`, `%{remote}p` | address and port of who is connected: the proxy, where there is one |
//! | `%A`, `%p`, `%{local}p` | address and port the client connected to |
//! | `%l` | `-`: nobody asks identd any more |
//! | `%u` | who the service says has asked: a [`User`] in the response's extensions |
//! | `%t` | when the request came, UTC: `[21/Nov/2026:07:00:36 +0000]` |
//! | `%{iso}t` | the same as `2026-11-21T07:00:36.123Z`: not Apache's |
//! | `%{sec}t`, `%{msec}t`, `%{usec}t` | the same since 1970 |
//! | `%r` | the request line; `%m` its method, `%U` its path, `%q` its query with a `?`, `%H` its protocol |
//! | `%v`, `%V` | the host the client asked for |
//! | `%{NAME}i`, `%{NAME}o` | a header of the request, of the answer |
//! | `%s`, `%>s`, `%<s` | the answer's status |
//! | `%b`, `%B` | bytes of its body that were sent; `%b` shows 0 as `-` |
//! | `%O` | bytes of it with its header, as HTTP/1 writes it; over HTTP/1 to the byte |
//! | `%D`, `%T`, `%{ms}T`, `%{us}T` | time from the request to the answer's last byte being taken by the socket, in µs, s, ms, µs |
//! | `%k` | requests on the connection before this one |
//! | `%L`, `%{c}L` | the request's, the connection's id: `C3.17-2`, `C3.17` |
//! | `%P` | the worker's pid |
//! | `%{SSL_PROTOCOL}x`, `%{SSL_CIPHER}x`, `%{SSL_TLS_SNI}x`, `%{SSL_SESSION_RESUMED}x` | TLS: protocol, cipher, the host asked for, `Resumed` or `Initial` |
//! | `%X` | the connection afterwards: `+` kept, `-` closed, `X` the client was gone before the end |
//!
//! `%400,501{User-Agent}i` is written for these statuses alone, `%!200,304{Referer}i` for all others; there is
//! a `-` otherwise, as for all that is not known. In the text `\"`, `\\` and `\t` are a quote, a backslash and
//! a tab. A value has at most 8 KiB (1 KiB where the log is a named pipe); `...` stands for the rest.
//!
//! A format that begins with `{` is JSON: values come with quotes of their own, or as numbers, or as `null`:
//! `{"who":%a,"what":%r,"status":%>s}`. Inside a string of the format they come without them, so
//! `{"what":"%r","where":"%v:%p"}` is JSON, too; what is not known is a `-` there.

mod clock;
mod escape;
mod field;
mod format;
mod hosts;
mod line;
mod sent;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;
use std::rc::Rc;

use tine::log::LogFile;

pub(crate) use field::protocol;
pub use format::{Format, FormatError};
pub use hosts::HostLogs;
pub(crate) use hosts::HostWriters;
pub(crate) use line::{Counted, Line};
pub(crate) use writer::{Open, Writer};

/// Who has asked, as far as the service knows: in the extensions of a response, for `%u`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User(pub String);

/// Where lines go, and how they look. Made before the workers, cheap to clone.
#[derive(Clone, Debug)]
pub struct AccessLog {
    format: Rc<Format>,
    sink: Sink,
}

/// A function of the program's.
type Function = dyn Fn(&[u8]);

/// Where lines go.
#[derive(Clone)]
enum Sink {
    File(LogFile),
    Log,
    Function(Rc<Function>),
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => file.fmt(f),
            Self::Log => f.write_str("the service's log"),
            Self::Function(_) => f.write_str("function"),
        }
    }
}

impl AccessLog {
    /// Lines are appended to a file. Give the file to [`tine::Prefork::log_file`], too, and it is opened anew
    /// when the service's log is.
    #[must_use]
    pub fn to_file(file: LogFile, format: Format) -> Self {
        Self { format: Rc::new(format), sink: Sink::File(file) }
    }

    /// Lines go to the service's log, with [`tine::Level::Info`].
    #[must_use]
    pub fn to_log(format: Format) -> Self {
        Self { format: Rc::new(format), sink: Sink::Log }
    }

    /// Lines go to a function, each at once and without a line's end. It runs in the worker and must not
    /// block.
    #[must_use]
    pub fn to_function(function: impl Fn(&[u8]) + 'static, format: Format) -> Self {
        Self { format: Rc::new(format), sink: Sink::Function(Rc::new(function)) }
    }
}
