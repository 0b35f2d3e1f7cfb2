//! `tine serve FILE`: a pool of workers around the sites of a configuration.

use std::ffi::OsString;
use std::path::PathBuf;

use tine::log::LogFile;
use tine_http::Tls;
use tine_http::access_log::Format;
use tine_web::config::{Answer, Config, Fault, Faults};

use super::flags::Serve;
use super::{server, settings, tls};
use crate::failure::{Failure, fine};

/// Says whether the sites could be served.
pub(crate) fn check(config: Config) -> Result<(), Failure> {
    let typed = typed(&config, vec!["--check".into()])?;
    let certificates = look_up(&config)?;
    tls::read(&typed, &certificates)?;
    fine(server(typed)?.check()?)
}

/// The flags that `[server]` and what was typed come to.
fn typed(config: &Config, words: Vec<OsString>) -> Result<Serve, Failure> {
    let all = std::iter::once(OsString::from("tine serve")).chain(words.iter().cloned());
    let matches = settings::command().try_get_matches_from(all)?;
    let keys = settings::arguments(&config.server, &config.sources, &matches);
    Ok(settings::serve(keys, words)?)
}

/// Looks up all that sites refer to, and gives their certificates.
fn look_up(config: &Config) -> Result<Vec<(PathBuf, PathBuf)>, Failure> {
    let mut faults = Faults::of(config.sources.clone());
    let mut certificates = Vec::new();
    for site in &config.sites {
        for route in &site.routes {
            let Answer::Files { root, .. } = &route.answer.value else { continue };
            let place = &route.answer.place;
            let fault = |reason: String| Fault::new(place, format!("{}: {reason}", root.display()));
            match std::fs::metadata(root) {
                Ok(found) if found.is_dir() => {}
                Ok(_) => faults.push(fault("it is no directory".to_owned())),
                Err(error) => faults.push(fault(error.to_string())),
            }
        }
        let Some(tls) = &site.tls else { continue };
        let pair = (tls.cert.value.clone(), tls.key.value.clone());
        match Tls::from_files([&pair].map(|(cert, key)| (cert, key))) {
            Ok(_) => certificates.push(pair),
            Err(error) => faults.push(Fault::new(&tls.cert.place, error.to_string())),
        }
    }
    for log in &config.logs {
        if let Err(error) = LogFile::check(&log.file.value) {
            faults.push(Fault::new(&log.file.place, error.to_string()));
        }
        let Some(format) = &log.format else { continue };
        if let Err(error) = format.value.parse::<Format>() {
            faults.push(Fault::new(&format.place, error.to_string()));
        }
    }
    for auth in &config.auth {
        if let Err(error) = std::fs::File::open(&auth.file.value) {
            let path = auth.file.value.display();
            faults.push(Fault::new(&auth.file.place, format!("{path}: {error}")));
        }
    }
    match faults.is_empty() {
        true => Ok(certificates),
        false => Err(Failure::Configuration(faults.to_string())),
    }
}
