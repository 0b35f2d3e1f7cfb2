//! What can go wrong, as one opaque type that can be asked questions.
//!
//! The text says what failed, where, and what to do about it; it is not part of the interface. Programs
//! ask the predicates ([`Error::is_config`], [`Error::is_bind`] …) and people read the text once, in the
//! command line's `main`.

#![cfg_attr(any(not(target_os = "linux"), tine_unsupported), allow(dead_code))]

use std::{fmt, io};

/// The result of everything in this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a server could not start, or why it ended by itself.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    text: String,
    source: Option<io::Error>,
}

/// Closed list; each has a predicate and, in the program, an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Config,
    Bind,
    Privilege,
    Boot,
    Command,
    Exhausted,
    Hook,
    Fatal,
    Refused,
    Os,
    Unsupported,
}

impl Error {
    fn new(kind: Kind, text: impl Into<String>, source: Option<io::Error>) -> Self {
        Self(Box::new(Inner { kind, text: text.into(), source }))
    }

    #[cfg(any(not(target_os = "linux"), tine_unsupported))]
    pub(crate) fn unsupported() -> Self {
        let text = "Tine needs Linux: it is made of fork, pidfd, epoll and memfd; on another system, run the \
                    program in a container or a virtual machine";
        Self::new(Kind::Unsupported, text, None)
    }

    pub(crate) fn config(text: impl Into<String>) -> Self {
        Self::new(Kind::Config, text, None)
    }

    /// A file cannot be had: because of its path, which is the configuration's, or because the system is in trouble.
    pub(crate) fn file(text: impl Into<String>, source: io::Error) -> Self {
        use io::ErrorKind::{
            InvalidInput, IsADirectory, NotADirectory, NotFound, PermissionDenied,
            ReadOnlyFilesystem,
        };
        let kind = match source.kind() {
            NotFound | InvalidInput | PermissionDenied | ReadOnlyFilesystem | NotADirectory
            | IsADirectory => Kind::Config,
            _ => Kind::Os,
        };
        Self::new(kind, text, Some(source))
    }

    pub(crate) fn bind(text: impl Into<String>, source: io::Error) -> Self {
        Self::new(Kind::Bind, text, Some(source))
    }

    pub(crate) fn privilege(text: impl Into<String>) -> Self {
        Self::new(Kind::Privilege, text, None)
    }

    pub(crate) fn boot(text: impl Into<String>) -> Self {
        Self::new(Kind::Boot, text, None)
    }

    pub(crate) fn command(text: impl Into<String>) -> Self {
        Self::new(Kind::Command, text, None)
    }

    pub(crate) fn exhausted(text: impl Into<String>) -> Self {
        Self::new(Kind::Exhausted, text, None)
    }

    pub(crate) fn hook(name: &str, words: &str) -> Self {
        Self::new(Kind::Hook, format!("the hook {name}: {words}"), None)
    }

    pub(crate) fn fatal(text: impl Into<String>) -> Self {
        Self::new(Kind::Fatal, text, None)
    }

    pub(crate) fn refused(text: impl Into<String>) -> Self {
        Self::new(Kind::Refused, text, None)
    }

    /// With what the system said.
    pub(crate) fn whole(&self) -> String {
        match std::error::Error::source(self).map(ToString::to_string) {
            Some(source) if !self.to_string().contains(&source) => format!("{self}: {source}"),
            _ => self.to_string(),
        }
    }

    /// Whether the address to listen on is another process's.
    pub(crate) fn is_in_use(&self) -> bool {
        let in_use = |source: &io::Error| source.kind() == io::ErrorKind::AddrInUse;
        self.is_bind() && self.0.source.as_ref().is_some_and(in_use)
    }

    pub(crate) fn os(text: impl Into<String>, source: io::Error) -> Self {
        Self::new(Kind::Os, text, Some(source))
    }

    /// What a program should exit with: 1 run-time failure, 2 configuration, 3 cannot bind, 4 cannot drop
    /// privileges, 5 no command to run.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.0.kind {
            Kind::Config => 2,
            Kind::Bind => 3,
            Kind::Privilege => 4,
            Kind::Command => 5,
            Kind::Boot
            | Kind::Exhausted
            | Kind::Fatal
            | Kind::Hook
            | Kind::Refused
            | Kind::Os
            | Kind::Unsupported => 1,
        }
    }

    /// This system is not Linux, and there is nothing to serve with (row F22).
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        self.0.kind == Kind::Unsupported
    }

    /// Something that was asked for makes no sense, or names something that does not exist.
    #[must_use]
    pub fn is_config(&self) -> bool {
        self.0.kind == Kind::Config
    }

    /// A listener could not be made: the address is in use, is not ours, or needs a privilege.
    #[must_use]
    pub fn is_bind(&self) -> bool {
        self.0.kind == Kind::Bind
    }

    /// A worker could not become the user it should be.
    #[must_use]
    pub fn is_privilege(&self) -> bool {
        self.0.kind == Kind::Privilege
    }

    /// No worker ever became ready.
    #[must_use]
    pub fn is_boot(&self) -> bool {
        self.0.kind == Kind::Boot
    }

    /// The foreign program of a pool cannot be run: it is missing or not executable, or its producer failed
    /// (row F10).
    #[must_use]
    pub fn is_command(&self) -> bool {
        self.0.kind == Kind::Command
    }

    /// A worker said that the service cannot go on ([`crate::Fatal`]).
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        self.0.kind == Kind::Fatal
    }

    /// Workers failed more often than the breaker allows, and the breaker was told to stop the service.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.0.kind == Kind::Exhausted
    }

    /// A running service was asked for something, and refused it, failed at it, or ended meanwhile: a reload whose program
    /// cannot serve, say. The service may well go on as before. See [`crate::control::Client`].
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.0.kind == Kind::Refused
    }

    /// A hook of the program's has ended the service; see [`crate::Hooks`].
    #[must_use]
    pub fn is_hook(&self) -> bool {
        self.0.kind == Kind::Hook
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("text", &self.0.text)
            .field("source", &self.0.source)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source as _)
    }
}
/// Of JSON: where it is wrong, and not what stands there. It has what a service manager said in the environment.
pub(crate) fn unread(error: &serde_json::Error) -> io::Error {
    let (line, column) = (error.line(), error.column());
    let text = format!("it is no JSON that is understood, at line {line}, column {column}");
    io::Error::new(io::ErrorKind::InvalidData, text)
}
