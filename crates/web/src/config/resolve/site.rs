//! `[[site]]`.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::headers::{self, Headers};
use super::{Around, guard, known, path, route};
use crate::config::document::{Section, tables};
use crate::config::faults::{Fault, Faults};
use crate::config::section;
use crate::config::settings::{SiteConfig, TlsConfig};
use crate::config::source::{Place, Placed};
use crate::config::tables::{SiteTable, TlsTable};

/// What a route inherits.
pub(super) struct Inherited {
    pub(super) root: Option<Placed<std::path::PathBuf>>,
    pub(super) headers: Headers,
    pub(super) dotfiles: Option<Placed<bool>>,
    pub(super) listing: Option<Placed<bool>>,
}

pub(super) fn resolve(
    (file, whole): &Section<'_>,
    around: &Around<'_>,
    faults: &mut Faults,
) -> SiteConfig {
    let file = *file;
    let place = Place { file, span: whole.span() };
    // These are sections of their own, so that each has its own faults.
    let mut rest = whole.get_ref().clone();
    let guards = list(file, "guards", &mut rest, faults);
    let routes = list(file, "routes", &mut rest, faults);
    let tls = rest.remove("tls").and_then(|value| tls(file, value, faults));
    let rest = Spanned::new(whole.span(), rest);
    let before = faults.count();
    let site: SiteTable = section::read(&rest, file, "[[site]]", faults);
    let misread = faults.count() > before;
    let defaults = &around.defaults;
    headers::check(&site.headers, file, faults);
    let inherited = Inherited {
        root: site.root.map(|root| path(&root, file, faults)),
        headers: Headers::default().with(&defaults.headers, 0).with(&site.headers, file),
        dotfiles: inherit(site.dotfiles.map(|own| own.placed(file)), &defaults.dotfiles),
        listing: inherit(site.listing.map(|own| own.placed(file)), &defaults.listing),
    };
    let access_log = site.access_log.map(|own| own.placed(file));
    if let Some(log) = &access_log {
        known(log, &around.logs, "[log.NAME]", faults);
    }
    let site = SiteConfig {
        names: site.names.map(|names| names_of(names.placed(file), faults)).unwrap_or_default(),
        default: site.default.map(|own| own.placed(file)),
        canonical: site.canonical.map(|own| own.placed(file)),
        tls,
        root: inherited.root.clone(),
        access_log: inherit(access_log, &defaults.access_log),
        headers: inherited.headers.clone().into_inner(),
        guards: guards.iter().filter_map(|table| guard::resolve(table, around, faults)).collect(),
        routes: routes
            .iter()
            .filter_map(|table| route::resolve(table, &inherited, faults))
            .collect(),
        place,
    };
    // A key that is mistyped is a fault already.
    if !misread {
        whole_site(&site, whole.get_ref(), faults);
    }
    site
}

fn inherit<T: Clone>(
    own: Option<Placed<T>>,
    default: &Option<crate::config::tables::Spot<T>>,
) -> Option<Placed<T>> {
    own.or_else(|| default.clone().map(|default| default.placed(0)))
}

/// What only the whole of a site shows.
fn whole_site(site: &SiteConfig, written: &DeTable<'_>, faults: &mut Faults) {
    let default = site.default.as_ref().is_some_and(|default| default.value);
    if site.names.is_empty() && !default && !written.contains_key("names") {
        let fault = Fault::new(&site.place, "a site without names");
        faults.push(
            fault.help(
                "add names = [\"example.org\"], or default = true for hosts that no site has",
            ),
        );
    }
    if !written.contains_key("routes") {
        let fault = Fault::new(&site.place, "a site without routes answers nothing");
        faults.push(fault.help("add routes = [{ files = true }]"));
    }
    if let Some(canonical) = site.canonical.as_ref().filter(|canonical| canonical.value) {
        let wild = site.names.first().is_none_or(|first| first.value.starts_with("*."));
        if wild {
            let fault = Fault::new(&canonical.place, "there is no name to redirect to");
            faults.push(fault.help("the first of `names` must be a name without `*`"));
        }
    }
}

fn names_of(
    names: Placed<Vec<crate::config::tables::Spot<String>>>,
    faults: &mut Faults,
) -> Vec<Placed<String>> {
    let file = names.place.file;
    if names.value.is_empty() {
        let fault = Fault::new(&names.place, "a site without names");
        faults.push(fault.help("names = [\"example.org\"]"));
    }
    names.value.into_iter().map(|name| name.placed(file)).collect()
}

/// The lines of `guards` or `routes`.
fn list<'a>(
    file: usize,
    name: &str,
    site: &mut DeTable<'a>,
    faults: &mut Faults,
) -> Vec<Section<'a>> {
    let Some(value) = site.remove(name) else { return Vec::new() };
    let place = Place { file, span: value.span() };
    match value.into_inner() {
        DeValue::Array(items) => tables(file, name, items, faults),
        _ => {
            let fault = Fault::new(&place, format!("`{name}` is a list of tables"));
            faults.push(fault.help(format!("{name} = [{{ … }}]")));
            Vec::new()
        }
    }
}

fn tls(file: usize, value: Spanned<DeValue<'_>>, faults: &mut Faults) -> Option<TlsConfig> {
    let span = value.span();
    let place = Place { file, span: span.clone() };
    let table = match value.into_inner() {
        DeValue::Table(table) => Spanned::new(span, table),
        DeValue::String(text) if text == "auto" => {
            faults.push(Fault::new(&place, "`tls = \"auto\"` is not supported yet").help(
                "get the certificate with another program: tls = { cert = \"FILE\", key = \"FILE\" }",
            ));
            return None;
        }
        _ => {
            let fault = Fault::new(&place, "`tls` is a certificate and its key");
            faults.push(fault.help("tls = { cert = \"FILE\", key = \"FILE\" }"));
            return None;
        }
    };
    let before = faults.count();
    let read: TlsTable = section::read(&table, file, "`tls`", faults);
    match (read.cert, read.key) {
        (Some(cert), Some(key)) => {
            Some(TlsConfig { cert: path(&cert, file, faults), key: path(&key, file, faults) })
        }
        (cert, _) => {
            let missing = if cert.is_some() { "key" } else { "cert" };
            if faults.count() == before {
                let fault = Fault::new(&place, format!("`tls` has no `{missing}`"));
                faults.push(fault.help("tls = { cert = \"FILE\", key = \"FILE\" }"));
            }
            None
        }
    }
}
