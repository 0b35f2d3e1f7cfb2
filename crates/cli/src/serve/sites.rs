//! `tine serve FILE`: a pool of workers around the sites of a configuration.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use tine::Nursery;
use tine::log::LogFile;
use tine_http::access_log::{AccessLog, Format, HostLogs};
use tine_web::Sites;
use tine_web::config::{Config, LogConfig};

use super::build::{Built, build};
use super::flags::Serve;
use super::hello::Hello;
use super::{Content, Logs, settings, start, tls};
use crate::args::log_path;
use crate::failure::Failure;

impl Content for Sites {
    fn let_go(&self) -> Option<Duration> {
        self.let_go()
    }

    fn let_go_of_all(&self) {
        self.let_go_of_all();
    }
}

/// Serves the sites of a file. `words` is what was typed behind `tine serve`.
pub(super) fn run(file: &std::path::Path, words: Vec<OsString>) -> Result<(), Failure> {
    let config = crate::check::read(file)?;
    serve(&config, Hello::of(file), words)
}

/// Says whether the sites could be served.
pub(crate) fn check(config: &Config) -> Result<(), Failure> {
    serve(config, Hello::of(std::path::Path::new(".")), vec!["--check".into()])
}

fn serve(config: &Config, hello: Hello, words: Vec<OsString>) -> Result<(), Failure> {
    let typed = typed(config, words)?;
    if typed.dotfiles {
        let text = "--dotfiles: with a configuration it is a key of [defaults], sites and routes";
        return Err(Failure::Reason(2, text.to_owned()));
    }
    // Before anything is bound, and before privileges are dropped.
    let Built { sites, certificates, formats } = Nursery::gather(|| build(config))?;
    let tls = tls::read(&typed, &certificates)?;
    let logs = if typed.check { Logs::default() } else { logs(config, formats, &sites)? };
    start(typed, tls, hello, logs, sites)
}

/// The flags that `[server]` and what was typed come to.
fn typed(config: &Config, words: Vec<OsString>) -> Result<Serve, Failure> {
    let keys = settings::arguments(&config.server, &config.sources, &words);
    Ok(settings::serve(keys, words)?)
}

/// Where a log is written to.
pub(super) fn path_of(log: &LogConfig) -> PathBuf {
    log_path(log.file.value.clone().into_os_string())
}

/// Opens the logs that sites name.
fn logs(config: &Config, formats: Vec<Format>, sites: &Sites) -> Result<Logs, Failure> {
    let mut files = Vec::new();
    let mut logs = Vec::new();
    for (log, format) in config.logs.iter().zip(formats) {
        let file = LogFile::open(path_of(log))?;
        files.push(file.clone());
        logs.push(AccessLog::to_file(file, format));
    }
    let index = |name: &str| config.logs.iter().position(|log| log.name.value == name);
    let of_sites: Vec<Option<usize>> = config
        .sites
        .iter()
        .map(|site| site.access_log.as_ref().and_then(|name| index(&name.value)))
        .collect();
    let sites = sites.clone();
    let choose = move |host: &str| of_sites[sites.find(host)?];
    let hosts = (!logs.is_empty()).then(|| HostLogs::new(logs, choose));
    Ok(Logs { files, hosts })
}
