//! How the program fails: one line on standard error, and an exit code.

use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;

use tine::log::{escaped, is_unprintable};
use tine_web::config::Faults;

/// The command line or the configuration is wrong.
const USAGE: u8 = 2;

/// Why the program ends other than well.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What the parser of the command line says; `--help` is among it.
    Typed(clap::Error),
    /// An exit code, and a reason with lines of its own: the faults of a configuration.
    Lines(u8, String),
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
                    Some(text) => {
                        complain(&text.lines().map(escaped).collect::<Vec<_>>().join("\n"))
                    }
                    // The help, shown because nothing was asked for.
                    None => drop(write!(io::stderr(), "{text}")),
                }
                ExitCode::from(USAGE)
            }
            Self::Lines(code, text) => {
                complain(&text.lines().map(escaped).collect::<Vec<_>>().join("\n"));
                ExitCode::from(code)
            }
            Self::Reason(code, text) => {
                complain(&escaped(text.trim_end()));
                ExitCode::from(code)
            }
        }
    }
}

fn complain(text: &str) {
    // Without a standard error the exit code must do.
    let _ = writeln!(io::stderr(), "tine: {}", text.trim_end());
}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        Self::Lines(USAGE, format!("the configuration is wrong\n{faults}"))
    }
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
pub(crate) fn with_causes(error: &dyn Error) -> String {
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
    let notes: String = notes.iter().map(|note| format!("note: {}\n", escaped(note))).collect();
    print(&format!("{notes}the configuration is fine\n"))
}

/// Writes JSON to standard output. What a terminal would obey is escaped, also where JSON would allow it.
pub(crate) fn print_json(json: serde_json::Result<String>) -> Result<(), Failure> {
    let json = json.map_err(|error| Failure::Reason(1, format!("cannot write JSON: {error}")))?;
    print(&format!("{}\n", plain(&json)))
}

/// JSON that says the same. Outside of strings there is nothing but its own signs and line ends.
fn plain(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c == '\n' || !is_unprintable(c) {
            text.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            text.push_str(&format!("\\u{unit:04x}"));
        }
    }
    text
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
    fn json_says_the_same_without_what_a_terminal_would_obey() {
        let value = serde_json::json!({ "a\u{9b}": ["\u{1b}]0;x\u{7}", "\u{202e}\u{7f}é\n\\"] });
        let json = plain(&serde_json::to_string_pretty(&value).expect("JSON"));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).expect("JSON"), value);
        assert!(json.chars().all(|c| c == '\n' || !is_unprintable(c)), "{json:?}");
        assert!(json.contains('é') && json.contains("\\u009b"), "{json}");
    }

    #[test]
    fn a_cause_is_said_once() {
        let error = tine_web::Files::new("/no such directory".into()).expect_err("there is none");
        let cause = error.source().expect("it has one").to_string();
        let text = with_causes(&error);
        assert!(text.contains("/no such directory"), "{text}");
        assert_eq!(text.matches(&cause).count(), 1, "{text}");
    }
}
