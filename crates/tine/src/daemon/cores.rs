//! Where workers leave their cores (row A29).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use tine_os::privilege::{self, Resource};

use super::absolute;
use crate::{Error, Result};

/// Where workers leave their cores: made by [`core_directory`].
///
/// The kernel puts a core there if `/proc/sys/kernel/core_pattern` is a plain name (core(5)), and the
/// worker's user may write to the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreDirectory(PathBuf);

/// Checks the directory for cores, before anything is bound. For a pool with another root directory the
/// path is one inside it.
///
/// # Errors
/// A configuration error if there is no such directory.
pub fn core_directory(path: &Path, chroot: Option<&Path>) -> Result<CoreDirectory> {
    let (inside, outside) = match chroot {
        None => absolute(path).map(|path| (path.clone(), path))?,
        Some(root) => {
            let inside = Path::new("/").join(path);
            let outside = root.join(inside.strip_prefix("/").unwrap_or(path));
            (inside, outside)
        }
    };
    match outside.is_dir() {
        true => Ok(CoreDirectory(inside)),
        false => {
            let shown = outside.display();
            Err(Error::config(format!("core directory {shown}: no such directory")))
        }
    }
}

impl fmt::Display for CoreDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

impl CoreDirectory {
    /// Lifts the limit of a core's size, in the worker and before it drops its privileges, for a hard limit
    /// may be in the way.
    ///
    /// # Errors
    /// `EPERM` if one is, and this process may not raise it.
    pub fn lift_limit(&self) -> io::Result<()> {
        privilege::set_limit(Resource::Core, u64::MAX, u64::MAX)
    }

    /// Goes there and allows a core, in the worker and after it has dropped its privileges: the change of
    /// user forbids cores, and the new user must be able to go there. It allows that user's processes to
    /// look into the worker, too (ptrace(2)).
    ///
    /// # Errors
    /// `EACCES`, `ENOENT` (chdir(2)).
    pub fn enter(&self) -> io::Result<()> {
        privilege::change_dir(&self.0)?;
        privilege::set_dumpable(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_for_cores_must_be_there() {
        let root = tempfile::tempdir().unwrap();
        let cores = root.path().join("cores");
        let refused = core_directory(&cores, None).unwrap_err();
        assert!(refused.is_config(), "{refused:?}");
        assert!(refused.to_string().contains(&*cores.to_string_lossy()), "{refused}");
        std::fs::write(&cores, "").unwrap();
        assert!(core_directory(&cores, None).unwrap_err().is_config(), "a file is no directory");
        std::fs::remove_file(&cores).unwrap();
        std::fs::create_dir(&cores).unwrap();
        assert_eq!(core_directory(&cores, None).unwrap(), CoreDirectory(cores));
        for inside in ["/cores", "cores"] {
            let found = core_directory(Path::new(inside), Some(root.path())).unwrap();
            assert_eq!(found.to_string(), "/cores");
        }
        assert!(core_directory(Path::new("/tmp-of-ours"), Some(root.path())).is_err());
    }
}
