//! Variables from a directory: a file each, as daemontools' envdir has it (row S14).

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::process::Command as Process;

/// Bytes of a file that are looked at.
const VALUE_BYTES: u64 = 128 * 1024;

/// Sets the variables that the directory has now. A file's name is the variable's, its first line without blanks at the
/// end the value; an empty file takes the variable away. Names that begin with a dot, and those that no variable can
/// have, are left out. What is no file is left out, too.
///
/// # Errors
/// If the directory or a file of it cannot be read; which.
pub(super) fn apply(directory: &Path, process: &mut Process) -> Result<(), String> {
    let failed = |path: &Path, error: io::Error| {
        format!("the environment directory {}: {error}", path.display())
    };
    let entries = fs::read_dir(directory).map_err(|error| failed(directory, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| failed(directory, error))?;
        let (name, path) = (entry.file_name(), entry.path());
        let odd = |byte: &u8| matches!(byte, b'=' | 0);
        if name.as_encoded_bytes().starts_with(b".") || name.as_encoded_bytes().iter().any(odd) {
            continue;
        }
        match fs::metadata(&path) {
            Ok(found) if found.is_file() => {}
            Ok(_) => continue,
            // Gone meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(&path, error)),
        }
        match value(&path) {
            Ok(Some(value)) => process.env(&name, value),
            Ok(None) => process.env_remove(&name),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(&path, error)),
        };
    }
    Ok(())
}

/// The first line; `None` for an empty file.
fn value(path: &Path) -> io::Result<Option<OsString>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(VALUE_BYTES).read_to_end(&mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
    let line = bytes[..end].trim_ascii_end();
    // A zero would end it early; daemontools has it stand for the end of a line.
    let line = line.iter().map(|&byte| if byte == 0 { b'\n' } else { byte });
    Ok(Some(OsString::from_vec(line.collect())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_variables_and_empty_ones_take_them_away() {
        let directory = tempfile::tempdir().expect("a directory");
        let write =
            |name: &str, text: &str| fs::write(directory.path().join(name), text).expect("a file");
        write("PLAIN", "v1\nmore\n");
        write("BARE", "v2");
        write("BLANK", " x \t\n");
        write("GONE", "");
        write("LINE", "\nafter");
        write(".HIDDEN", "x");
        write("A=B", "x");
        fs::create_dir(directory.path().join("BELOW")).expect("a directory");
        let mut process = Process::new("x");
        process.env("GONE", "before");
        apply(directory.path(), &mut process).expect("it can be read");
        let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
        let mut found: Vec<(String, Option<String>)> =
            process.get_envs().map(|(name, value)| (text(name), value.map(text))).collect();
        found.sort();
        let set = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
        let wanted = [
            set("BARE", "v2"),
            set("BLANK", " x"),
            ("GONE".to_owned(), None),
            set("LINE", ""),
            set("PLAIN", "v1"),
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_directory_that_cannot_be_read_is_named() {
        let error = apply(Path::new("/no/such"), &mut Process::new("x")).expect_err("refused");
        assert!(error.contains("/no/such"), "{error}");
    }
}
