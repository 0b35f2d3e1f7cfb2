//! Pools of commands, and what their processes say.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use testkit::{Client, TempDir};

use super::{Service, start_in, start_with};

/// A pool of a shell script.
pub fn script(arguments: &str, text: &str) -> Service {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("command");
    write_script(&file, text);
    let arguments = format!("--listen 127.0.0.1:0 {arguments} --command {}", file.display());
    start_in(directory, &arguments, |server| server)
}

pub fn write_script(file: &Path, text: &str) {
    // Written beside and moved: a file that is open to write cannot be executed.
    let beside = file.with_extension("new");
    fs::write(&beside, format!("#!/bin/sh\n{text}\n")).expect("it can be written");
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o755)).expect("its mode");
    fs::rename(&beside, file).expect("it can be moved");
}

/// A pool of a small server that knows nothing of Tine.
pub fn server(arguments: &str) -> Service {
    start_with(&format!("--listen 127.0.0.1:0 --command self {arguments}"), |server| server)
}

/// The process that a connection to this address is answered by.
pub fn answered_by(address: &str) -> u32 {
    let text = String::from_utf8(Client::connect(address).read_to_end()).expect("text");
    text.trim().parse().unwrap_or_else(|_| panic!("{text:?} is no pid"))
}

/// The number at the end of the next line with this word.
pub fn number_after(service: &Service, word: &str) -> u32 {
    let line = service.wait_line(word);
    line.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}
