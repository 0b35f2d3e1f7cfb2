//! A foreign program as a value: what to run, with what, and where.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use super::{env_dir, environment};

/// A foreign program: its file, arguments, environment and working directory. See
/// [`Program::command`](super::Program::command) for what else it finds.
///
/// ```
/// let command = tine::Command::new("php-cgi").args(["-d", "cgi.fix_pathinfo=1"]).env("APP", "shop");
/// ```
#[derive(Clone)]
#[must_use = "a command is run by a pool"]
pub struct Command {
    program: OsString,
    arguments: Vec<OsString>,
    cleared: bool,
    variables: Vec<(OsString, Option<OsString>)>,
    directory: Option<PathBuf>,
    env_directory: Option<PathBuf>,
}

impl fmt::Debug for Command {
    /// Without arguments, and without the values of variables: passwords stand there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variables: Vec<&OsStr> =
            self.variables.iter().map(|(name, _)| name.as_os_str()).collect();
        f.debug_struct("Command")
            .field("program", &self.program)
            .field("variables", &variables)
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

impl Command {
    /// Runs this file; one without a `/` is looked for on the `PATH` that the command gets. No shell is involved.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            arguments: Vec::new(),
            cleared: false,
            variables: Vec::new(),
            directory: None,
            env_directory: None,
        }
    }

    /// One argument more.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Several arguments more.
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// A variable of its environment, beside the supervisor's. `LISTEN_FDS` and `LISTEN_PID` are set by the pool.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((name.as_ref().to_owned(), Some(value.as_ref().to_owned())));
        self
    }

    /// Without this variable of the supervisor's.
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.variables.push((name.as_ref().to_owned(), None));
        self
    }

    /// With none of the supervisor's variables; those set here, before or after, stay.
    pub fn env_clear(mut self) -> Self {
        self.cleared = true;
        self
    }

    /// Its working directory; a program with a `/` in its name is taken from there. Default: the supervisor's,
    /// or `/` below a new root.
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Variables from the files of a directory, read each time the command is begun, and stronger than those set here
    /// (row S14): a file's name is the variable's, its first line the value; an empty file takes the variable away, and
    /// one that is removed gives back what the command would have without it. If the directory cannot be read there is
    /// no command.
    pub fn env_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.env_directory = Some(directory.into());
        self
    }

    /// What is run, for people.
    pub(crate) fn program(&self) -> String {
        self.program.to_string_lossy().into_owned()
    }

    /// Whether there is such a program now.
    ///
    /// # Errors
    /// What is the matter, and with what.
    pub(crate) fn check(&self) -> Result<(), String> {
        let directory = self.directory.as_deref().unwrap_or(Path::new("."));
        if !directory.is_dir() {
            return Err(format!("the working directory {} is none", directory.display()));
        }
        if self.program.is_empty() {
            return Err("the command has no name".to_owned());
        }
        if self.program.as_encoded_bytes().contains(&b'/') {
            return check_file(&directory.join(&self.program));
        }
        let path = self.path();
        let places = std::env::split_paths(&path).map(|place| directory.join(place));
        // No message has the value of a variable: the number of its directories has to do.
        let many = std::env::split_paths(&path).count();
        let mut found =
            Err(format!("no program {:?} on the PATH, in {many} directories", self.program));
        for place in places {
            let file = place.join(&self.program);
            match check_file(&file) {
                Ok(()) => return Ok(()),
                Err(text) if file.exists() => found = Err(text),
                Err(_) => {}
            }
        }
        found
    }

    fn path(&self) -> OsString {
        let set = self.variables.iter().rev().find(|(name, _)| name == "PATH");
        match set {
            Some((_, Some(path))) => path.clone(),
            None if !self.cleared => environment::path(),
            Some((_, None)) | None => environment::PATH.into(),
        }
    }

    /// The same for the standard library.
    ///
    /// # Errors
    /// If its variables cannot be read; which.
    pub(crate) fn to_process(&self) -> Result<Process, String> {
        let mut process = Process::new(&self.program);
        process.args(&self.arguments);
        if self.cleared {
            process.env_clear();
        }
        environment::clean(&mut process);
        for (name, value) in &self.variables {
            match value {
                Some(value) => process.env(name, value),
                None => process.env_remove(name),
            };
        }
        if let Some(directory) = &self.env_directory {
            env_dir::apply(directory, &mut process)?;
        }
        if let Some(directory) = &self.directory {
            process.current_dir(directory);
        }
        Ok(process)
    }
}

fn check_file(file: &Path) -> Result<(), String> {
    let shown = file.display();
    match file.metadata() {
        Ok(found) if !found.is_file() => Err(format!("{shown} is no file")),
        Ok(found) if found.permissions().mode() & 0o111 == 0 => Err(format!(
            "{shown} is not executable (mode {:04o})",
            found.permissions().mode() & 0o7777
        )),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(format!("there is no program {shown}"))
        }
        Err(error) => Err(format!("{shown}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_run_is_named() {
        let refused = |command: Command| command.check().expect_err("refused");
        assert!(
            refused(Command::new("no-such-program")).contains("\"no-such-program\" on the PATH")
        );
        assert!(refused(Command::new("/no/such")).contains("no program /no/such"));
        assert!(refused(Command::new("/etc/passwd")).contains("not executable (mode 0644)"));
        assert!(refused(Command::new("/etc")).contains("/etc is no file"));
        assert!(refused(Command::new("sh").current_dir("/no")).contains("directory /no"));
        assert!(refused(Command::new("sh").env("PATH", "/etc")).contains("PATH, in 1 directories"));
        assert!(refused(Command::new("")).contains("no name"));
        Command::new("sh").check().expect("there is one");
        Command::new("./sh").current_dir("/bin").check().expect("there is one");
    }

    #[test]
    fn a_program_is_looked_for_where_execvp_does_without_a_path() {
        for command in [Command::new("x").env_clear(), Command::new("x").env_remove("PATH")] {
            assert_eq!(command.path(), "/bin:/usr/bin");
        }
        assert_eq!(Command::new("x").env("PATH", "/a").env_clear().path(), "/a");
    }
}
