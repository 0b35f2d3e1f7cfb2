//! A configuration into sites that serve: directories are opened, certificates and logs looked up, each fault at its place.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use http::StatusCode;
use tine::log::LogFile;
use tine_http::Tls;
use tine_http::access_log::Format;
use tine_web::config::{
    Answer, Config, Fault, Faults, GuardConfig, MissingConfig, PathConfig, Placed, RouteConfig,
    SiteConfig,
};
use tine_web::{Files, Guard, Missing, Pattern, Route, Site, SiteError, Sites};

use crate::failure::Failure;

/// What is served, and with what.
pub(super) struct Built {
    pub(super) sites: Sites,
    /// Certificates and their keys.
    pub(super) certificates: Vec<(PathBuf, PathBuf)>,
    /// The formats of the logs, in the order of the configuration.
    pub(super) formats: Vec<Format>,
}

/// Directories that were opened: one for all routes that serve it in the same way.
#[derive(Default)]
struct Opened(HashMap<(PathBuf, bool), Files>);

pub(super) fn build(config: &Config) -> Result<Built, Failure> {
    let mut faults = Faults::of(config.sources.clone());
    let (mut opened, mut certificates) = (Opened::default(), Vec::new());
    let mut sites = Vec::new();
    for site in &config.sites {
        sites.extend(self::site(site, &mut opened, &mut faults));
        certificates.extend(certificate(site, &mut faults));
    }
    let formats = formats(config, &mut faults);
    for auth in &config.auth {
        let fault = Fault::new(&auth.name.place, "passwords are not supported yet");
        faults.push(fault.help("use `allow` in a guard for addresses"));
    }
    if !faults.is_empty() {
        return Err(faults.into());
    }
    let sites = Sites::new(sites, opened.0.into_values().collect());
    let sites = sites.map_err(|error| Failure::Reason(2, error.to_string()))?;
    Ok(Built { sites, certificates, formats })
}

fn site(config: &SiteConfig, opened: &mut Opened, faults: &mut Faults) -> Option<Site> {
    for name in &config.names {
        if let Err(error) = Site::new([&name.value]) {
            faults
                .push(Fault::new(&name.place, error.to_string()).help("names = [\"example.org\"]"));
            return None;
        }
    }
    let mut site = Site::new(config.names.iter().map(|name| &name.value)).ok()?;
    let on = |switch: &Option<Placed<bool>>| switch.as_ref().is_some_and(|switch| switch.value);
    if on(&config.canonical) {
        site = site.canonical();
    }
    if on(&config.default) {
        site = site.default_site();
    }
    if let Some(tls) = &config.tls {
        site = site.certificate(tls.cert.value.to_string_lossy());
    }
    for (name, value) in &config.headers {
        site = site.header(name.clone(), value.value.clone());
    }
    // One that is wrong is a fault, and the others are looked at all the same.
    for guard in config.guards.iter().filter_map(|guard| self::guard(guard, faults)) {
        site = site.guard(guard);
    }
    for route in config.routes.iter().filter_map(|route| self::route(route, opened, faults)) {
        site = site.route(route);
    }
    Some(site)
}

fn pattern(config: Option<&Placed<PathConfig>>, faults: &mut Faults) -> Option<Pattern> {
    let Some(config) = config else { return Some(Pattern::default()) };
    let pattern = match &config.value {
        PathConfig::Pattern(text) => Pattern::new(text),
        PathConfig::Regex(text) => Pattern::regex(text),
    };
    pushed(pattern, config, "/news, /news/* for all beneath, or *.php", faults)
}

/// What the result has, or nothing and a fault.
fn pushed<T, P>(
    result: Result<T, SiteError>,
    at: &Placed<P>,
    help: &str,
    faults: &mut Faults,
) -> Option<T> {
    result.map_err(|error| faults.push(Fault::new(&at.place, error.to_string()).help(help))).ok()
}

fn guard(config: &GuardConfig, faults: &mut Faults) -> Option<Guard> {
    let mut guard = Guard::new().pattern(pattern(config.path.as_ref(), faults)?);
    let help = "an address, a network (10.0.0.0/8), a range (10.0.0.1-10.0.0.9) or all";
    for entry in &config.allow {
        guard = pushed(guard.allow(&entry.value), entry, help, faults)?;
    }
    for entry in &config.deny {
        guard = pushed(guard.deny(&entry.value), entry, help, faults)?;
    }
    let methods: Vec<_> = config.methods.iter().map(|method| method.value.clone()).collect();
    if !methods.is_empty() {
        guard = guard.methods(methods);
    }
    if let Some(size) = &config.max_body_size {
        guard = guard.max_body_size(size.value);
    }
    let auth = config.auth.as_ref().map(|auth| ("auth", &auth.place));
    let rate = config.rate.as_ref().map(|rate| ("rate", &rate.place));
    let unsupported: Vec<_> = [auth, rate].into_iter().flatten().collect();
    for (key, place) in &unsupported {
        let fault = Fault::new(place, format!("`{key}` is not supported yet"));
        faults.push(fault.help("a guard has `allow`, `deny`, `methods` and `max-body-size`"));
    }
    unsupported.is_empty().then_some(guard)
}

fn route(config: &RouteConfig, opened: &mut Opened, faults: &mut Faults) -> Option<Route> {
    let pattern = pattern(config.path.as_ref(), faults)?;
    let place = &config.answer;
    let mut route = match &config.answer.value {
        Answer::Files { root, strip, missing, listing, dotfiles } => {
            if let Some(listing) = listing.as_ref().filter(|listing| listing.value) {
                let fault = Fault::new(&listing.place, "`listing` is not supported yet");
                faults.push(fault.help("take it out"));
                return None;
            }
            let dotfiles = dotfiles.as_ref().is_some_and(|dotfiles| dotfiles.value);
            let route = Route::files(opened.files(root, dotfiles, place, faults)?);
            let route = if *strip { route.strip() } else { route };
            route.missing(self::missing(missing.as_ref(), faults)?)
        }
        Answer::Redirect(target, status) => {
            let help = "a path, or an address: \"/news/{*}\", \"https://example.org{path}\"";
            pushed(Route::redirect(target, *status), place, help, faults)?
        }
        Answer::Status(status) => Route::status(StatusCode::from_u16(*status).ok()?),
    };
    for (name, value) in &config.headers {
        route = route.header(name.clone(), value.value.clone());
    }
    Some(route.pattern(pattern))
}

fn missing(config: Option<&Placed<MissingConfig>>, faults: &mut Faults) -> Option<Missing> {
    match config.map(|missing| (&missing.value, &missing.place)) {
        None => Some(Missing::NotFound),
        Some((MissingConfig::Next, _)) => Some(Missing::Next),
        Some((MissingConfig::File(file), place)) => match file.parse() {
            Ok(file) => Some(Missing::File(file)),
            Err(_) => {
                let fault = Fault::new(place, format!("`{file}` cannot be a path"));
                faults.push(fault.help("missing = \"/index.html\""));
                None
            }
        },
    }
}

impl Opened {
    fn files<P>(
        &mut self,
        root: &Path,
        dotfiles: bool,
        at: &Placed<P>,
        faults: &mut Faults,
    ) -> Option<Files> {
        if let Some(files) = self.0.get(&(root.to_owned(), dotfiles)) {
            return Some(files.clone());
        }
        match Files::new(root.to_owned()) {
            Ok(files) => {
                let files = files.dotfiles(dotfiles);
                self.0.insert((root.to_owned(), dotfiles), files.clone());
                Some(files)
            }
            Err(error) => {
                let title = crate::failure::with_causes(&error);
                faults
                    .push(Fault::new(&at.place, title).help("make the directory, or name another"));
                None
            }
        }
    }
}

fn certificate(site: &SiteConfig, faults: &mut Faults) -> Option<(PathBuf, PathBuf)> {
    let tls = site.tls.as_ref()?;
    let pair = (tls.cert.value.clone(), tls.key.value.clone());
    match Tls::from_files([(&pair.0, &pair.1)]) {
        Ok(_) => Some(pair),
        Err(error) => {
            let fault = Fault::new(&tls.cert.place, error.to_string());
            faults.push(fault.help("a PEM file with the whole chain, and a PEM file with its key"));
            None
        }
    }
}

fn formats(config: &Config, faults: &mut Faults) -> Vec<Format> {
    let mut formats = Vec::new();
    for log in &config.logs {
        if let Err(error) = LogFile::check(super::sites::path_of(log)) {
            let title = crate::failure::with_causes(&error);
            faults.push(
                Fault::new(&log.file.place, title).help("make the directory, or name another file"),
            );
        }
        match log.format.as_ref().map(|format| (format.value.parse(), &format.place)) {
            None => formats.push(Format::combined()),
            Some((Ok(format), _)) => formats.push(format),
            Some((Err(error), place)) => {
                let title = format!("`format`: {error}");
                faults.push(Fault::new(place, title).help("common, combined, json, or a text"));
            }
        }
    }
    formats
}
