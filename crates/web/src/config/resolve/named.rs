//! `[log.NAME]` and `[auth.NAME]`.

use std::path::PathBuf;

use crate::config::document::Document;
use crate::config::faults::{Fault, Faults};
use crate::config::section;
use crate::config::settings::{AuthConfig, LogConfig};
use crate::config::source::{Place, Placed};
use crate::config::tables::{AuthTable, LogTable, Spot};

pub(super) fn logs(document: &Document<'_>, faults: &mut Faults) -> Vec<LogConfig> {
    let mut logs = Vec::new();
    for (name, (place, (file, table))) in &document.logs {
        let title = format!("[log.{name}]");
        let before = faults.count();
        let read: LogTable = section::read(table, *file, &title, faults);
        let name = Placed { value: name.clone(), place: place.clone() };
        let Some(path) = path_of(read.file, *file, &name.place, before, faults) else { continue };
        let format = read.format.map(|format| format.placed(*file));
        logs.push(LogConfig { name, file: path, format });
    }
    logs
}

pub(super) fn auth(document: &Document<'_>, faults: &mut Faults) -> Vec<AuthConfig> {
    let mut auth = Vec::new();
    for (name, (place, (file, table))) in &document.auth {
        let title = format!("[auth.{name}]");
        let before = faults.count();
        let read: AuthTable = section::read(table, *file, &title, faults);
        let name = Placed { value: name.clone(), place: place.clone() };
        let Some(path) = path_of(read.file, *file, &name.place, before, faults) else { continue };
        let realm = read.realm.map_or_else(|| name.clone(), |realm| realm.placed(*file));
        auth.push(AuthConfig { name, file: path, realm });
    }
    auth
}

/// The path of the section, which it must have.
fn path_of(
    path: Option<Spot<String>>,
    file: usize,
    place: &Place,
    before: usize,
    faults: &mut Faults,
) -> Option<Placed<PathBuf>> {
    let Some(path) = path else {
        // A key that is mistyped is a fault already.
        if faults.count() > before {
            return None;
        }
        faults.push(Fault::new(place, "the section has no `file`").help("add file = \"PATH\""));
        return None;
    };
    Some(super::path(&path, file, faults))
}
