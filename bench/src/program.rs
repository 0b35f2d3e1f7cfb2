//! The program that is measured: built from the sources around, optimised as it is shipped.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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
            None => build().map(Self),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

/// Has cargo build it (a moment when nothing has changed) and asks it where that is: the target
/// directory can be set in more ways than are worth knowing.
fn build() -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "-p", "tine-cli", "--manifest-path", MANIFEST])
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if !built.status.success() {
        return Err(format!("cargo cannot build tine: {}", built.status));
    }
    let messages = String::from_utf8_lossy(&built.stdout);
    let found = messages.lines().find_map(executable);
    found.ok_or_else(|| "cargo built tine, and does not say where it is".to_owned())
}

/// The path in a message of cargo's about the binary `tine` (The Cargo Book, "External tools",
/// artifact messages).
fn executable(line: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    let is_tine = message["reason"] == "compiler-artifact" && message["target"]["name"] == "tine";
    let path = message["executable"].as_str().filter(|_| is_tine)?;
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
        let found: Vec<_> = [library, other, "no JSON", binary].map(executable).into();
        assert_eq!(found, [None, None, None, Some(PathBuf::from("/x"))]);
    }
}
