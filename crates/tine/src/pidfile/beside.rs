//! A file that is made beside the one it is to become: `.NAME.PID-N`, of the process with this number.

use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process;
use std::time::Duration;

use tine_os::no_follow::Place;

use super::is_alive;

/// The age at which a file that nobody has locked is no longer about to be locked.
const MINUTE: Duration = Duration::from_secs(60);

/// Writes and locks a new file beside `place`, and has it `put` there. Nothing is left of a failure.
pub(super) fn write(
    place: &Place,
    pid: u32,
    put: impl Fn(&Place) -> io::Result<()>,
) -> io::Result<File> {
    let mut name = prefix(place);
    name.push(format!("{}-{}", process::id(), serial()));
    let new = place.beside(name)?;
    match new.remove() {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = new.make()?;
    let mut made = || {
        // Whatever the umask says: it is there to be read.
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.try_lock()?;
        file.write_all(format!("{pid}\n").as_bytes())?;
        put(&new)
    };
    let made = made();
    if made.is_err() {
        let _ = new.remove();
    }
    made.map(|()| file)
}

/// Puts a file where none may be; a rename would replace one that has come meanwhile.
pub(super) fn publish(new: &Place, place: &Place) -> io::Result<()> {
    match new.link(place) {
        // A second name that stays does no harm.
        Ok(()) => {
            let _ = new.remove();
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(error),
        // A file system without hard links, where two that start at the same moment are not told apart.
        Err(_) => new.rename(place),
    }
}

/// Removes what processes have left here that were killed before they were done.
pub(super) fn sweep(place: &Place) {
    let prefix = prefix(place);
    // In a directory that may not be listed they stay.
    for name in place.siblings().unwrap_or_default() {
        let rest = name.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes());
        let maker = rest.and_then(|rest| {
            let (pid, serial) = std::str::from_utf8(rest).ok()?.split_once('-')?;
            serial.parse::<u32>().ok()?;
            pid.parse::<u32>().ok().filter(|&pid| pid != process::id())
        });
        let Some(maker) = maker else { continue };
        let Ok(left) = place.beside(name) else { continue };
        // The number may be another process's by now.
        if matches!(is_alive(maker), Ok(false)) || is_forgotten(&left).unwrap_or(false) {
            let _ = left.remove();
        }
    }
}

fn is_forgotten(left: &Place) -> io::Result<bool> {
    let file = left.open()?;
    let age = file.metadata()?.modified()?.elapsed().unwrap_or_default();
    Ok(age > MINUTE && file.try_lock().is_ok())
}

fn prefix(place: &Place) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(place.name());
    prefix.push(".");
    prefix
}

/// Tells the files of one process from each other.
fn serial() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Relaxed)
}
