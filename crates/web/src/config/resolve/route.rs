//! One of `routes`.

use regex::Regex;

use super::headers;
use super::site::Inherited;
use crate::config::document::Section;
use crate::config::faults::{Fault, Faults};
use crate::config::section;
use crate::config::settings::{Answer, MissingConfig, PathConfig, RouteConfig};
use crate::config::source::{Place, Placed};
use crate::config::tables::{RouteTable, Spot, SwitchOrText};

/// Statuses of a redirect.
const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];
/// The status of a redirect that says none.
const FOUND: u16 = 302;

pub(super) fn resolve(
    (file, whole): &Section<'_>,
    site: &Inherited,
    faults: &mut Faults,
) -> Option<RouteConfig> {
    let file = *file;
    let place = Place { file, span: whole.span() };
    let before = faults.count();
    let route: RouteTable = section::read(whole, file, "a route", faults);
    let misread = faults.count() > before;
    let path = path_config(route.path.clone(), route.regex.clone(), file, faults);
    headers::check(&route.headers, file, faults);
    let headers = site.headers.clone().with(&route.headers, file).into_inner();
    // A route with a key that was refused says nothing of its answer.
    let answer = if misread { None } else { answer(&route, &place, site, faults) };
    files_only(&route, file, faults);
    (faults.count() == before).then_some(RouteConfig { path, answer: answer?, headers, place })
}

/// Exactly one answer.
fn answer(
    route: &RouteTable,
    place: &Place,
    site: &Inherited,
    faults: &mut Faults,
) -> Option<Placed<Answer>> {
    let file = place.file;
    match (&route.files, &route.redirect, &route.status) {
        (Some(files), None, None) => self::files(files, route, file, site, faults),
        (None, Some(redirect), status) => self::redirect(redirect, status.as_ref(), file, faults),
        (None, None, Some(status)) => match status.value() {
            200..=599 => {
                Some(Placed { value: Answer::Status(*status.value()), place: status.place(file) })
            }
            other => {
                let fault =
                    Fault::new(&status.place(file), format!("{other} is no status of an answer"));
                faults.push(fault.help("from 200 to 599: 404, say"));
                None
            }
        },
        (Some(files), Some(redirect), _) => {
            faults.push(two(&redirect.place(file), &files.place(file)));
            None
        }
        (Some(files), None, Some(status)) => {
            faults.push(two(&status.place(file), &files.place(file)));
            None
        }
        (None, None, None) => {
            let fault = Fault::new(place, "the route has no answer");
            faults.push(fault.help("add `files`, `redirect` or `status`"));
            None
        }
    }
}

fn two(second: &Place, first: &Place) -> Fault {
    let fault = Fault::new(second, "the route has two answers").label("the second");
    fault.and(first, "the first").help("make two routes of it: the first that matches answers")
}

fn files(
    files: &Spot<SwitchOrText>,
    route: &RouteTable,
    file: usize,
    site: &Inherited,
    faults: &mut Faults,
) -> Option<Placed<Answer>> {
    let place = files.place(file);
    let root = match files.value() {
        SwitchOrText::Text(text) => faults.sources.resolve(&place, text),
        SwitchOrText::Switch(false) => {
            let fault = Fault::new(&place, "`files = false` answers nothing");
            faults.push(fault.help("take the route out, or write `status = 404`"));
            return None;
        }
        SwitchOrText::Switch(true) => match &site.root {
            Some(root) => root.value.clone(),
            None => {
                let fault = Fault::new(&place, "`files = true` needs the `root` of the site");
                faults
                    .push(fault.help(
                        "add root = \"/srv/www\" to the site, or write files = \"/srv/www\"",
                    ));
                return None;
            }
        },
    };
    let strip = matches!(files.value(), SwitchOrText::Text(_));
    let missing = match &route.missing {
        None => None,
        Some(missing) => Some(self::missing(missing.clone().placed(file), faults)?),
    };
    let own = |own: &Option<Spot<bool>>, site: &Option<Placed<bool>>| {
        own.clone().map(|own| own.placed(file)).or_else(|| site.clone())
    };
    let listing = own(&route.listing, &site.listing);
    let dotfiles = own(&route.dotfiles, &site.dotfiles);
    Some(Placed { value: Answer::Files { root, strip, missing, listing, dotfiles }, place })
}

fn missing(missing: Placed<String>, faults: &mut Faults) -> Option<Placed<MissingConfig>> {
    let value = match missing.value.as_str() {
        "next" => MissingConfig::Next,
        file if file.starts_with('/') => MissingConfig::File(file.to_owned()),
        other => {
            let fault = Fault::new(&missing.place, format!("`missing` cannot be `{other}`"));
            faults.push(fault.help("\"next\" for the next route, or a file: \"/index.html\""));
            return None;
        }
    };
    Some(Placed { value, place: missing.place })
}

fn redirect(
    target: &Spot<String>,
    status: Option<&Spot<u16>>,
    file: usize,
    faults: &mut Faults,
) -> Option<Placed<Answer>> {
    if let Some(status) = status.filter(|status| !REDIRECTS.contains(status.value())) {
        let title = format!("{} is no status of a redirect", status.value());
        faults.push(Fault::new(&status.place(file), title).help("301, 302, 303, 307 or 308"));
        return None;
    }
    let text = target.value();
    if !text.starts_with('/') && !text.starts_with("https://") && !text.starts_with("http://") {
        let fault = Fault::new(&target.place(file), "a redirect leads to a path or to an address");
        faults.push(fault.help("begin it with `/`, `https://` or `http://`"));
        return None;
    }
    let status = status.map_or(FOUND, |status| *status.value());
    Some(Placed { value: Answer::Redirect(text.clone(), status), place: target.place(file) })
}

/// Keys that mean something for files alone.
fn files_only(route: &RouteTable, file: usize, faults: &mut Faults) {
    if route.files.is_some() {
        return;
    }
    let missing = route.missing.as_ref().map(|missing| ("missing", missing.place(file)));
    let listing = route.listing.as_ref().map(|listing| ("listing", listing.place(file)));
    let dotfiles = route.dotfiles.as_ref().map(|dotfiles| ("dotfiles", dotfiles.place(file)));
    for (key, place) in [missing, listing, dotfiles].into_iter().flatten() {
        faults.push(Fault::new(&place, format!("`{key}` without `files`")).help("take it out"));
    }
}

/// `path` or `match`, of a route or a guard.
pub(super) fn path_config(
    path: Option<Spot<String>>,
    regex: Option<Spot<String>>,
    file: usize,
    faults: &mut Faults,
) -> Option<Placed<PathConfig>> {
    match (path, regex) {
        (None, None) => None,
        (Some(path), None) => {
            let path = path.placed(file);
            if !path.value.starts_with('/') && !path.value.starts_with("*.") {
                let fault =
                    Fault::new(&path.place, format!("the path `{}` matches nothing", path.value));
                faults.push(fault.help("begin it with `/`; or a suffix: \"*.php\""));
                return None;
            }
            Some(Placed { value: PathConfig::Pattern(path.value), place: path.place })
        }
        (None, Some(regex)) => {
            let regex = regex.placed(file);
            if let Err(error) = Regex::new(&regex.value) {
                let reason = error.to_string();
                let reason = reason.lines().last().unwrap_or_default();
                let reason = reason.strip_prefix("error: ").unwrap_or(reason).to_owned();
                let fault = Fault::new(&regex.place, "the regular expression cannot be read");
                faults.push(
                    fault
                        .label(reason)
                        .help("in TOML write it in single quotes, so that `\\` stays"),
                );
                return None;
            }
            Some(Placed { value: PathConfig::Regex(regex.value), place: regex.place })
        }
        (Some(path), Some(regex)) => {
            let fault = Fault::new(&regex.place(file), "`match` beside `path`");
            faults.push(fault.and(&path.place(file), "the path is here").help("keep one of them"));
            None
        }
    }
}
