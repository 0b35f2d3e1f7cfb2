//! Tables into plain data: one step of inheritance, `[defaults]`, then the site, then the route.

mod guard;
mod headers;
mod named;
mod route;
mod site;

use std::collections::BTreeMap;

use super::document::Document;
use super::faults::{Fault, Faults, nearest};
use super::section;
use super::settings::{AuthConfig, LogConfig, SiteConfig};
use super::source::{Place, Placed};
use super::tables::DefaultsTable;

/// What sites may refer to, and what they inherit.
struct Around<'a> {
    logs: Vec<&'a str>,
    auth: Vec<&'a str>,
    defaults: DefaultsTable,
}

/// The sites, the logs and the files of passwords.
pub(crate) fn resolve(
    document: &Document<'_>,
    faults: &mut Faults,
) -> (Vec<SiteConfig>, Vec<LogConfig>, Vec<AuthConfig>) {
    let names = |map: &BTreeMap<String, _>| map.keys().cloned().collect::<Vec<String>>();
    let (log_names, auth_names) = (names(&document.logs), document.auth.keys().cloned().collect());
    let auth_names: Vec<String> = auth_names;
    let defaults = match &document.defaults {
        Some((file, table)) => section::read(table, *file, "[defaults]", faults),
        None => DefaultsTable::default(),
    };
    let around = Around {
        logs: log_names.iter().map(String::as_str).collect(),
        auth: auth_names.iter().map(String::as_str).collect(),
        defaults,
    };
    if let Some(log) = &around.defaults.access_log {
        let log = log.clone().placed(0);
        known(&log, &around.logs, "[log.NAME]", faults);
    }
    headers::check(&around.defaults.headers, 0, faults);
    let sites: Vec<SiteConfig> =
        document.sites.iter().map(|table| site::resolve(table, &around, faults)).collect();
    if sites.is_empty() {
        let place = Place { file: 0, span: 0..0 };
        faults.push(Fault::new(&place, "there is no [[site]]").help(
            "the least: [[site]], and beneath it default = true, root = \"/srv/www\", routes = [{ files = true }]",
        ));
    }
    unique(&sites, faults);
    (sites, named::logs(document, faults), named::auth(document, faults))
}

/// Names a section that is there, or is a fault.
fn known(name: &Placed<String>, names: &[&str], section: &str, faults: &mut Faults) {
    if names.contains(&name.value.as_str()) {
        return;
    }
    let own = section.replace("NAME", &name.value);
    let fault = Fault::new(&name.place, format!("there is no {own}"));
    let help = match nearest(&name.value, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.is_empty() => format!("add a section {own}"),
        None => format!("there are {}; or add a section {own}", names.join(", ")),
    };
    faults.push(fault.help(help));
}

/// A host has one site, and unknown hosts have one.
fn unique(sites: &[SiteConfig], faults: &mut Faults) {
    let mut names: BTreeMap<String, &Place> = BTreeMap::new();
    let mut default: Option<&Place> = None;
    for site in sites {
        for name in &site.names {
            let plain = name.value.trim_end_matches('.').to_ascii_lowercase();
            if let Some(first) = names.get(&plain) {
                let fault = Fault::new(&name.place, format!("`{plain}` is the name of two sites"));
                faults
                    .push(fault.and(first, "the first is here").help("take it out of one of them"));
                continue;
            }
            names.insert(plain, &name.place);
        }
        let Some(own) = site.default.as_ref().filter(|own| own.value) else { continue };
        match default {
            Some(first) => faults.push(
                Fault::new(&own.place, "a second default site")
                    .and(first, "the first is here")
                    .help("requests for unknown hosts go to one site: take it out of one of them"),
            ),
            None => default = Some(&own.place),
        }
    }
}

/// A path, relative to the file it stands in. `-` stays as it is.
fn path(
    path: &super::tables::Spot<String>,
    file: usize,
    faults: &Faults,
) -> Placed<std::path::PathBuf> {
    let place = path.place(file);
    let value = match path.value().as_str() {
        "-" => "-".into(),
        text => faults.sources.resolve(&place, text),
    };
    Placed { value, place }
}
