//! What holds in the end: every value, and the line it comes from.

use std::fmt::Write as _;

use super::settings::{
    Answer, Config, GuardConfig, MissingConfig, PathConfig, RouteConfig, SiteConfig,
};
use super::source::{Place, Placed, Sources};

/// The column in which origins begin, where a value leaves room.
const COLUMN: usize = 48;

/// Lines of `KEY = VALUE` with their origin.
#[derive(Debug, Default)]
struct Page(String);

impl Page {
    fn head(&mut self, title: &str, origin: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.line(title, origin);
    }

    fn line(&mut self, text: &str, origin: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{text:<COLUMN$} # {origin}");
    }
}

impl Config {
    /// Every value of the sites, logs and files of passwords, as TOML, each with the file and line it comes from.
    /// `[server]` is the program's to print.
    #[must_use]
    pub fn effective(&self) -> String {
        let mut page = Page::default();
        let line = |place: &Place| self.sources.line(place);
        for log in &self.logs {
            page.head(&format!("[log.{}]", log.name.value), &line(&log.name.place));
            page.line(&format!("file = {:?}", log.file.value), &line(&log.file.place));
            match &log.format {
                Some(format) => page.line(&pair("format", &format.value), &line(&format.place)),
                None => page.line("format = \"combined\"", "default"),
            }
        }
        for auth in &self.auth {
            page.head(&format!("[auth.{}]", auth.name.value), &line(&auth.name.place));
            page.line(&format!("file = {:?}", auth.file.value), &line(&auth.file.place));
            page.line(&pair("realm", &auth.realm.value), &line(&auth.realm.place));
        }
        for site in &self.sites {
            site_lines(&mut page, site, &self.sources);
        }
        page.0
    }
}

fn site_lines(page: &mut Page, site: &SiteConfig, sources: &Sources) {
    let line = |place: &Place| sources.line(place);
    page.head("[[site]]", &line(&site.place));
    if let Some(first) = site.names.first() {
        page.line(&format!("names = {}", list(&site.names)), &line(&first.place));
    }
    switch(page, "default", site.default.as_ref(), sources);
    switch(page, "canonical", site.canonical.as_ref(), sources);
    if let Some(tls) = &site.tls {
        let text = format!("tls = {{ cert = {:?}, key = {:?} }}", tls.cert.value, tls.key.value);
        page.line(&text, &line(&tls.cert.place));
    }
    if let Some(root) = &site.root {
        page.line(&format!("root = {:?}", root.value), &line(&root.place));
    }
    if let Some(log) = &site.access_log {
        page.line(&pair("access-log", &log.value), &line(&log.place));
    }
    for guard in &site.guards {
        guard_lines(page, guard, sources);
    }
    for route in &site.routes {
        route_lines(page, route, sources);
    }
}

fn guard_lines(page: &mut Page, guard: &GuardConfig, sources: &Sources) {
    let line = |place: &Place| sources.line(place);
    page.line("[[site.guards]]", &line(&guard.place));
    path_line(page, guard.path.as_ref(), sources);
    for (key, items) in [("allow", &guard.allow), ("deny", &guard.deny)] {
        if let Some(first) = items.first() {
            page.line(&format!("{key} = {}", list(items)), &line(&first.place));
        }
    }
    if let Some(auth) = &guard.auth {
        page.line(&pair("auth", &auth.value), &line(&auth.place));
    }
    if let Some(first) = guard.methods.first() {
        let names: Vec<&str> = guard.methods.iter().map(|method| method.value.as_str()).collect();
        page.line(&format!("methods = {names:?}"), &line(&first.place));
    }
    if let Some(size) = &guard.max_body_size {
        page.line(&format!("max-body-size = {}", size.value), &line(&size.place));
    }
    if let Some(rate) = &guard.rate {
        let text = format!("rate = \"{}/{}s\"", rate.value.requests, rate.value.per.as_secs());
        page.line(&text, &line(&rate.place));
        page.line(&format!("burst = {}", rate.value.burst), &line(&rate.place));
    }
}

fn route_lines(page: &mut Page, route: &RouteConfig, sources: &Sources) {
    let line = |place: &Place| sources.line(place);
    page.line("[[site.routes]]", &line(&route.place));
    path_line(page, route.path.as_ref(), sources);
    let origin = line(&route.answer.place);
    match &route.answer.value {
        Answer::Files { root, missing, listing, dotfiles, .. } => {
            page.line(&format!("files = {root:?}"), &origin);
            if let Some(missing) = missing {
                let text = match &missing.value {
                    MissingConfig::Next => "next",
                    MissingConfig::File(file) => file,
                };
                page.line(&pair("missing", text), &line(&missing.place));
            }
            switch(page, "listing", listing.as_ref(), sources);
            switch(page, "dotfiles", dotfiles.as_ref(), sources);
        }
        Answer::Redirect(target, status) => {
            page.line(&pair("redirect", target), &origin);
            page.line(&format!("status = {status}"), &origin);
        }
        Answer::Status(status) => page.line(&format!("status = {status}"), &origin),
    }
    for (name, value) in &route.headers {
        let text = String::from_utf8_lossy(value.value.as_bytes()).into_owned();
        page.line(&pair(&format!("headers.{name}"), &text), &line(&value.place));
    }
}

fn path_line(page: &mut Page, path: Option<&Placed<PathConfig>>, sources: &Sources) {
    let Some(path) = path else { return page.line("path = \"/*\"", "default") };
    let text = match &path.value {
        PathConfig::Pattern(text) => pair("path", text),
        PathConfig::Regex(text) => pair("match", text),
    };
    page.line(&text, &sources.line(&path.place));
}

fn switch(page: &mut Page, key: &str, value: Option<&Placed<bool>>, sources: &Sources) {
    match value {
        Some(value) => page.line(&format!("{key} = {}", value.value), &sources.line(&value.place)),
        None => page.line(&format!("{key} = false"), "default"),
    }
}

fn pair(key: &str, text: &str) -> String {
    format!("{key} = {text:?}")
}

fn list(items: &[Placed<String>]) -> String {
    let texts: Vec<&str> = items.iter().map(|item| item.value.as_str()).collect();
    format!("{texts:?}")
}
