//! The program that is measured: built from the sources around, optimised as it is shipped.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, io};

use serde_json::Value;

/// Where the sources are.
const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");

/// The `tine` to be measured.
#[derive(Debug)]
pub(crate) struct Program(PathBuf);

impl Program {
    /// The one given, or else the one built now; `Err` with a sentence why there is none.
    pub(crate) fn find(given: Option<PathBuf>) -> Result<Self, String> {
        match given {
            Some(path) if path.is_file() => Ok(Self(path)),
            Some(path) => Err(format!("{} is no file", path.display())),
            None => build("tine-cli", ["tine"]).map(|[path]| Self(path)),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

/// Has cargo build a package (a moment when nothing has changed) and asks it where these binaries are:
/// the target directory can be set in more ways than are worth knowing.
///
/// # Errors
/// A sentence why there is none.
pub(crate) fn build<const N: usize>(
    package: &str,
    names: [&str; N],
) -> Result<[PathBuf; N], String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "-p", package, "--bins", "--manifest-path", MANIFEST])
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if !built.status.success() {
        return Err(format!("cargo cannot build {package}: {}", built.status));
    }
    let messages = String::from_utf8_lossy(&built.stdout);
    let mut paths = Vec::new();
    for name in names {
        let found = messages.lines().find_map(|line| executable(line, name));
        let missing = || format!("cargo built {package}, and does not say where {name} is");
        let built = found.ok_or_else(missing)?;
        let installed = install(&built);
        paths.push(installed.map_err(|error| format!("cannot copy {}: {error}", built.display()))?);
    }
    paths.try_into().map_err(|_| format!("cargo built {package}, and not all of {names:?}"))
}

/// A copy beside what was built, written in one piece: a linker's own file lies in the page cache in pieces of 4 KiB, and one
/// that cp(1) or dpkg(1) has written is mapped by 64 KiB, which costs each fork a good part more.
fn install(built: &Path) -> io::Result<PathBuf> {
    let directory = built.with_file_name("installed");
    fs::create_dir_all(&directory)?;
    let copy = directory.join(built.file_name().unwrap_or_default());
    match fs::remove_file(&copy) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::write(&copy, fs::read(built)?)?;
    fs::set_permissions(&copy, fs::metadata(built)?.permissions())?;
    Ok(copy)
}

/// The path in a message of cargo's about the binary `name` (The Cargo Book, "External tools",
/// artifact messages).
fn executable(line: &str, name: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    let is_it = message["reason"] == "compiler-artifact" && message["target"]["name"] == name;
    let path = message["executable"].as_str().filter(|_| is_it)?;
    Some(path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_is_found_among_what_cargo_says() {
        let library =
            r#"{"reason":"compiler-artifact","target":{"name":"tine"},"executable":null}"#;
        let binary = r#"{"reason":"compiler-artifact","target":{"name":"tine"},"executable":"/x"}"#;
        let other = r#"{"reason":"compiler-artifact","target":{"name":"mend"},"executable":"/y"}"#;
        let found: Vec<_> =
            [library, other, "no JSON", binary].map(|line| executable(line, "tine")).into();
        assert_eq!(found, [None, None, None, Some(PathBuf::from("/x"))]);
    }
}
