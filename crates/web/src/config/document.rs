//! Files into sections: reads the file and what it includes, and sorts the tables of all of them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::faults::{Fault, Faults, nearest};
use super::not_yet;
use super::source::{Place, Placed, Source, Sources};

/// The sections there are.
const SECTIONS: [&str; 6] = ["include", "server", "defaults", "site", "auth", "log"];
/// Those that stand in the first file alone.
const MAIN_ONLY: [&str; 5] = ["include", "server", "defaults", "see", "acme"];
/// Files that may be included.
const FILES_MOST: usize = 10_000;

/// A table, and the file it is in.
pub(crate) type Section<'a> = (usize, Spanned<DeTable<'a>>);

/// The tables of all files.
#[derive(Debug, Default)]
pub(crate) struct Document<'a> {
    pub(crate) server: Option<Section<'a>>,
    pub(crate) defaults: Option<Section<'a>>,
    pub(crate) sites: Vec<Section<'a>>,
    /// With the place of the name.
    pub(crate) auth: BTreeMap<String, (Place, Section<'a>)>,
    pub(crate) logs: BTreeMap<String, (Place, Section<'a>)>,
}

/// Reads the file and what it includes.
///
/// # Errors
/// When the file itself cannot be read.
pub(crate) fn load(path: &Path, faults: &mut Faults) -> io::Result<Sources> {
    let text = read(path)?;
    let includes = includes(&text, faults);
    faults.sources = Sources(vec![Source { path: path.to_owned(), text }]);
    for include in includes {
        let pattern = faults.sources.resolve(&include.place, &include.value);
        let found =
            match files_of(&pattern) {
                Ok(found) => found,
                Err(error) => {
                    let title = format!("cannot include {}: {error}", pattern.display());
                    faults.push(Fault::new(&include.place, title).help(
                        "name a file, or files by one `*` in the last part: \"sites.d/*.toml\"",
                    ));
                    continue;
                }
            };
        for path in found {
            if faults.sources.0.iter().any(|source| source.path == path) {
                continue;
            }
            if faults.sources.0.len() > FILES_MOST {
                faults.push(Fault::new(&include.place, format!("more than {FILES_MOST} files")));
                break;
            }
            match read(&path) {
                Ok(text) => faults.sources.0.push(Source { path, text }),
                Err(error) => {
                    let title = format!("cannot read {}: {error}", path.display());
                    faults.push(Fault::new(&include.place, title));
                }
            }
        }
    }
    Ok(faults.sources.clone())
}

/// A file's text. Faults show lines of it, so a file of a key is no configuration.
fn read(path: &Path) -> io::Result<String> {
    let text = fs::read_to_string(path)?;
    match text.contains("-----BEGIN ") {
        true => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "it is PEM, a key or a certificate"))
        }
        false => Ok(text),
    }
}

/// The patterns of `include`. Faults of syntax are found when the text is parsed for good.
fn includes(text: &str, faults: &mut Faults) -> Vec<Placed<String>> {
    let (document, _) = DeTable::parse_recoverable(text);
    let Some(value) = document.get_ref().get("include") else { return Vec::new() };
    let place = |value: &Spanned<DeValue<'_>>| Place { file: 0, span: value.span() };
    let mut wrong = |value| {
        let title = "`include` is a list of files";
        faults.push(Fault::new(&place(value), title).help("include = [\"sites.d/*.toml\"]"));
    };
    let Some(list) = value.get_ref().as_array() else {
        wrong(value);
        return Vec::new();
    };
    let mut found = Vec::new();
    for item in list.iter() {
        match item.get_ref().as_str() {
            Some(text) => found.push(Placed { value: text.to_owned(), place: place(item) }),
            None => wrong(item),
        }
    }
    found
}

/// The file, or the files of a directory whose names match, sorted.
fn files_of(pattern: &Path) -> io::Result<Vec<PathBuf>> {
    let name = pattern.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some((before, after)) = name.split_once('*') else {
        return fs::metadata(pattern).map(|_| vec![pattern.to_owned()]);
    };
    let directory = pattern.parent().unwrap_or(Path::new(""));
    let read = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let mut found = Vec::new();
    for entry in fs::read_dir(read)? {
        let name = entry?.file_name();
        let Some(text) = name.to_str() else { continue };
        let long = text.len() >= before.len() + after.len();
        if long && !text.starts_with('.') && text.starts_with(before) && text.ends_with(after) {
            found.push(directory.join(&name));
        }
    }
    found.sort();
    Ok(found)
}

impl<'a> Document<'a> {
    /// Parses all files, and sorts their tables.
    pub(crate) fn parse(sources: &'a Sources, faults: &mut Faults) -> Self {
        let mut document = Self::default();
        for (file, source) in sources.0.iter().enumerate() {
            let (table, errors) = DeTable::parse_recoverable(&source.text);
            for error in errors {
                let place = Place { file, span: error.span().unwrap_or(0..0) };
                let fault = Fault::new(&place, error.message());
                faults.push(fault.help("the file is TOML: see https://toml.io"));
            }
            for (key, value) in table.into_inner() {
                document.take(file, &key, value, faults);
            }
        }
        let order = |site: &Section<'_>| (site.0, site.1.span().start);
        document.sites.sort_by_key(order);
        document
    }

    fn take(
        &mut self,
        file: usize,
        key: &Spanned<std::borrow::Cow<'a, str>>,
        value: Spanned<DeValue<'a>>,
        faults: &mut Faults,
    ) {
        let (name, place) = (key.get_ref().as_ref(), Place { file, span: key.span() });
        if file > 0 && MAIN_ONLY.contains(&name) {
            let title = format!("[{name}] in a file that is included");
            faults.push(Fault::new(&place, title).help(format!("move it to {}", faults.main())));
            return;
        }
        match name {
            "include" => {}
            "server" => self.server = table(file, name, value, faults),
            "defaults" => self.defaults = table(file, name, value, faults),
            "site" => self.take_sites(file, value, faults),
            "auth" => named(&mut self.auth, file, name, value, faults),
            "log" => named(&mut self.logs, file, name, value, faults),
            _ => faults.push(no_section(name, &place)),
        }
    }

    fn take_sites(&mut self, file: usize, value: Spanned<DeValue<'a>>, faults: &mut Faults) {
        let place = Place { file, span: value.span() };
        match value.into_inner() {
            DeValue::Array(sites) => self.sites.extend(tables(file, "site", sites, faults)),
            _ => faults.push(
                Fault::new(&place, "sites are a list of tables").help("write [[site]], not [site]"),
            ),
        }
    }
}

fn no_section(name: &str, place: &Place) -> Fault {
    if let Some(words) = not_yet::section(name) {
        return Fault::new(place, format!("[{name}] is not supported yet")).help(words);
    }
    let fault = Fault::new(place, format!("there is no section or key `{name}`"));
    match nearest(name, SECTIONS) {
        Some(near) => fault.help(format!("did you mean `{near}`?")),
        None => fault.help(format!("there are {}", SECTIONS.join(", "))),
    }
}

fn table<'a>(
    file: usize,
    name: &str,
    value: Spanned<DeValue<'a>>,
    faults: &mut Faults,
) -> Option<Section<'a>> {
    let span = value.span();
    match value.into_inner() {
        DeValue::Table(table) => Some((file, Spanned::new(span, table))),
        other => {
            let title = format!("`{name}` is a table, not a {}", other.type_str());
            faults.push(Fault::new(&Place { file, span }, title));
            None
        }
    }
}

/// The tables of a list: `[[site]]`, or the lines of `guards` and `routes`.
pub(crate) fn tables<'a>(
    file: usize,
    name: &str,
    list: DeArray<'a>,
    faults: &mut Faults,
) -> Vec<Section<'a>> {
    list.into_iter().filter_map(|item| table(file, name, item, faults)).collect()
}

/// `[auth.NAME]` and `[log.NAME]`: each name once in all files.
fn named<'a>(
    known: &mut BTreeMap<String, (Place, Section<'a>)>,
    file: usize,
    section: &str,
    value: Spanned<DeValue<'a>>,
    faults: &mut Faults,
) {
    let Some((_, outer)) = table(file, section, value, faults) else { return };
    for (key, value) in outer.into_inner() {
        let (name, place) = (key.get_ref().to_string(), Place { file, span: key.span() });
        if let Some((first, _)) = known.get(&name) {
            let fault = Fault::new(&place, format!("[{section}.{name}] a second time"));
            faults.push(fault.and(first, "the first is here").help("rename one of them"));
            continue;
        }
        if let Some(table) = table(file, &format!("{section}.{name}"), value, faults) {
            known.insert(name, (place, table));
        }
    }
}
