//! What is wrong with a configuration: every fault with its place, words, and a way out.

use std::fmt;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::source::{Place, Sources};

/// Columns of what is printed: lines of a file that are longer are cut.
const WIDTH: usize = 120;
/// A name this near to a mistyped one is offered, from 0 to 1 (Jaro and Winkler's measure).
const NEAR: f64 = 0.8;

/// One fault.
#[derive(Clone, Debug)]
pub struct Fault {
    place: Place,
    title: String,
    label: String,
    /// Another place that matters, and its label.
    other: Option<(Place, String)>,
    help: Option<String>,
}

impl Fault {
    /// `title` says what is wrong; it is the first line that is printed.
    #[must_use]
    pub fn new(place: &Place, title: impl Into<String>) -> Self {
        let (place, title) = (place.clone(), title.into());
        Self { place, title, label: String::new(), other: None, help: None }
    }

    /// Words beside the caret.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Shows a second place.
    #[must_use]
    pub fn and(mut self, place: &Place, label: impl Into<String>) -> Self {
        self.other = Some((place.clone(), label.into()));
        self
    }

    /// A way out.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// All faults of a configuration. `Display` prints them by place, each with its line and a caret.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    pub(crate) sources: Sources,
    list: Vec<Fault>,
}

impl Faults {
    /// None yet, of these files.
    #[must_use]
    pub fn of(sources: Sources) -> Self {
        Self { sources, list: Vec::new() }
    }

    /// Adds one.
    pub fn push(&mut self, fault: Fault) {
        self.list.push(fault);
    }

    /// The name of the first file.
    pub(crate) fn main(&self) -> String {
        self.sources.0.first().map_or_else(String::new, |main| main.path.display().to_string())
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The files that the places are in.
    #[must_use]
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    fn group<'a>(&'a self, fault: &'a Fault) -> Group<'a> {
        let main = AnnotationKind::Primary.span(fault.place.span.clone());
        let main = if fault.label.is_empty() { main } else { main.label(&fault.label) };
        let mut first = self.snippet(&fault.place).annotation(main);
        let mut second = None;
        if let Some((place, label)) = &fault.other {
            let other = AnnotationKind::Context.span(place.span.clone()).label(label);
            if place.file == fault.place.file {
                first = first.annotation(other);
            } else {
                second = Some(self.snippet(place).annotation(other));
            }
        }
        let help = fault.help.as_ref().map(|help| Level::HELP.message(help));
        let title = Level::ERROR.primary_title(&fault.title);
        title.element(first).elements(second).elements(help)
    }

    fn snippet<'a>(&'a self, place: &Place) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
        let source = &self.sources.0[place.file];
        Snippet::source(&source.text).path(source.path.to_string_lossy())
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted: Vec<&Fault> = self.list.iter().collect();
        sorted.sort_by_key(|fault| (fault.place.file, fault.place.span.start));
        let renderer = Renderer::plain().term_width(WIDTH);
        for fault in &sorted {
            writeln!(f, "{}\n", renderer.render(&[self.group(fault)]))?;
        }
        match sorted.len() {
            1 => write!(f, "1 fault"),
            many => write!(f, "{many} faults"),
        }
    }
}

impl std::error::Error for Faults {}

/// The name of these that `typed` was probably meant to be.
#[must_use]
pub fn nearest<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = names.into_iter().map(|name| (strsim::jaro_winkler(typed, name), name));
    let near = scored.filter(|(score, _)| *score >= NEAR);
    near.max_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_name_finds_its_neighbour_and_nonsense_none() {
        let names = ["names", "root", "guards", "routes"];
        assert_eq!(nearest("nmaes", names), Some("names"));
        assert_eq!(nearest("route", names), Some("routes"));
        assert_eq!(nearest("colour", names), None);
    }
}
