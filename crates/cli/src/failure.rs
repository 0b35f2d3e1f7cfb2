//! How the program fails: one line on standard error, and an exit code.

use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// The command line or the configuration is wrong.
const USAGE: u8 = 2;

/// Why the program ends other than well.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What the parser of the command line says; `--help` is among it.
    Typed(clap::Error),
    /// An exit code and the reason.
    Reason(u8, String),
}

impl Failure {
    /// Says it, and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Self::Typed(error) if !error.use_stderr() => {
                // Nobody left to read the help is no failure.
                let _ = error.print();
                ExitCode::SUCCESS
            }
            Self::Typed(error) => {
                let text = error.render().to_string();
                match text.strip_prefix("error: ") {
                    Some(text) => complain(text),
                    // The help, shown because nothing was asked for.
                    None => drop(write!(io::stderr(), "{text}")),
                }
                ExitCode::from(USAGE)
            }
            Self::Reason(code, text) => {
                complain(&text);
                ExitCode::from(code)
            }
        }
    }
}

fn complain(text: &str) {
    // Without a standard error the exit code must do.
    let _ = writeln!(io::stderr(), "tine: {}", text.trim_end());
}

impl From<clap::Error> for Failure {
    fn from(error: clap::Error) -> Self {
        Self::Typed(error)
    }
}

impl From<tine::Error> for Failure {
    fn from(error: tine::Error) -> Self {
        Self::Reason(error.exit_code(), with_causes(&error))
    }
}

impl From<tine_tls::Error> for Failure {
    fn from(error: tine_tls::Error) -> Self {
        Self::Reason(USAGE, error.to_string())
    }
}

impl From<tine_web::FilesError> for Failure {
    fn from(error: tine_web::FilesError) -> Self {
        Self::Reason(USAGE, with_causes(&error))
    }
}

/// The text of an error and of what it came from, each said once: some texts name their cause
/// already, without the number or in small letters.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        let words = cause_text.split(" (os error").next().unwrap_or_default();
        if !text.to_lowercase().contains(&words.to_lowercase()) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// What is said of a configuration that was checked.
pub(crate) fn fine(notes: Vec<String>) -> Result<(), Failure> {
    let notes: String = notes.into_iter().map(|note| format!("note: {note}\n")).collect();
    print(&format!("{notes}the configuration is fine\n"))
}

/// Writes to standard output. A reader that has seen enough is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Reason(1, format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let error = tine_web::Files::new("/no such directory".into()).expect_err("there is none");
        let cause = error.source().expect("it has one").to_string();
        let text = with_causes(&error);
        assert!(text.contains("/no such directory"), "{text}");
        assert_eq!(text.matches(&cause).count(), 1, "{text}");
    }
}
