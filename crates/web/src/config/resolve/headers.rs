//! Header fields of answers, merged by name.

use http::{HeaderName, HeaderValue};

use crate::config::faults::{Fault, Faults};
use crate::config::source::Placed;
use crate::config::tables::{HeadersTable, SwitchOrText};
use crate::config::words;

/// A field of one level: its name, and its value or none.
type Field = (HeaderName, Option<Placed<HeaderValue>>);

/// Fields by name: later levels win, and take fields away.
#[derive(Clone, Debug, Default)]
pub(super) struct Headers(Vec<(HeaderName, Placed<HeaderValue>)>);

impl Headers {
    /// With the fields of a level. Faults of the level are pushed by [`check`].
    pub(super) fn with(mut self, level: &HeadersTable, file: usize) -> Self {
        for (name, value) in fields(level, file, &mut Faults::default()) {
            self.0.retain(|(known, _)| *known != name);
            self.0.extend(value.map(|value| (name, value)));
        }
        self
    }

    pub(super) fn into_inner(self) -> Vec<(HeaderName, Placed<HeaderValue>)> {
        self.0
    }
}

/// Pushes what is wrong with the fields of a level.
pub(super) fn check(level: &HeadersTable, file: usize, faults: &mut Faults) {
    let _ = fields(level, file, faults);
}

fn fields(level: &HeadersTable, file: usize, faults: &mut Faults) -> Vec<Field> {
    let mut found: Vec<Field> = Vec::new();
    for (name, value) in level {
        let place = value.place(file);
        let header = match words::header_name(name.value()) {
            Ok(header) => header,
            Err(title) => {
                faults.push(Fault::new(&name.place(file), title).help("take it out"));
                continue;
            }
        };
        if found.iter().any(|(known, _)| *known == header) {
            faults.push(
                Fault::new(&name.place(file), format!("`{header}` a second time"))
                    .help("names of header fields are the same in capitals and small letters"),
            );
            continue;
        }
        let value = match value.value() {
            SwitchOrText::Switch(false) => None,
            SwitchOrText::Switch(true) => {
                let fault = Fault::new(&place, "a header field has a text, or is taken away");
                faults.push(fault.help(format!("{header} = \"…\", or {header} = false")));
                continue;
            }
            SwitchOrText::Text(text) => match words::header_value(text) {
                Some(value) => Some(Placed { value, place }),
                None => {
                    let title = "the text has a sign that a header field cannot have";
                    faults.push(
                        Fault::new(&place, title).help("take out line ends and control signs"),
                    );
                    continue;
                }
            },
        };
        found.push((header, value));
    }
    found
}
