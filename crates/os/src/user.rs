//! The user and group databases: names to numbers and back.
//!
//! These ask the C library (`getpwnam_r` and its family), hence whatever `/etc/nsswitch.conf`
//! names: they may read files, ask a daemon, and block. Ask at start, not in a loop.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int};
use std::io;
use std::mem::MaybeUninit;
use std::ptr;

/// First size of the buffer an entry's strings go to, in bytes. It doubles while it is too small.
const BUFFER: usize = 1024;
/// Where it stops doubling: a group with tens of thousands of members fits.
const BUFFER_MAX: usize = 4 << 20;
/// The kernel's limit of groups a process can have (NGROUPS_MAX, credentials(7)).
const GROUPS_MAX: usize = 65_536;

/// An entry of the user database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The login name.
    pub name: String,
    /// The user's number.
    pub uid: u32,
    /// The number of the user's primary group.
    pub gid: u32,
}

/// The user of this name; `None` if there is none.
///
/// # Errors
/// `InvalidInput` for a name with a zero byte; otherwise the database's (getpwnam(3)).
pub fn user_by_name(name: &str) -> io::Result<Option<User>> {
    let name = CString::new(name)?;
    // SAFETY: a function of the family, and the name is a C string.
    unsafe { lookup(libc::getpwnam_r, name.as_ptr(), user) }
}

/// The user of this number; `None` if it has no entry, which in containers is common and no error.
///
/// # Errors
/// The database's (getpwuid(3)).
pub fn user_by_uid(uid: u32) -> io::Result<Option<User>> {
    // SAFETY: a function of the family, and any number will do.
    unsafe { lookup(libc::getpwuid_r, uid, user) }
}

/// The number of the group of this name; `None` if there is none.
///
/// # Errors
/// `InvalidInput` for a name with a zero byte; otherwise the database's (getgrnam(3)).
pub fn group_by_name(name: &str) -> io::Result<Option<u32>> {
    let name = CString::new(name)?;
    let gid = |group: &libc::group| group.gr_gid;
    // SAFETY: a function of the family, and the name is a C string.
    unsafe { lookup(libc::getgrnam_r, name.as_ptr(), gid) }
}

/// All the groups of the user `name`, with `primary` among them. A name without an entry has just
/// that one.
///
/// # Errors
/// `InvalidInput` for a name with a zero byte, `InvalidData` for more groups than a process can
/// have (getgrouplist(3)).
pub fn groups_of(name: &str, primary: u32) -> io::Result<Vec<u32>> {
    let name = CString::new(name)?;
    let mut groups = vec![0; 64];
    loop {
        let mut count = c_int::try_from(groups.len()).unwrap_or(c_int::MAX);
        // SAFETY: a C string, and room for `count` groups at the pointer.
        let status = unsafe {
            libc::getgrouplist(name.as_ptr(), primary, groups.as_mut_ptr(), &raw mut count)
        };
        let count = usize::try_from(count).unwrap_or(0);
        if status >= 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        if groups.len() >= GROUPS_MAX {
            let text = format!("user {name:?} is in more than {GROUPS_MAX} groups");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        groups.resize(count.max(groups.len() * 2).min(GROUPS_MAX), 0);
    }
}

fn user(entry: &libc::passwd) -> User {
    // SAFETY: an entry the C library has filled in has a C string for a name.
    let name = unsafe { CStr::from_ptr(entry.pw_name) };
    User { name: name.to_string_lossy().into_owned(), uid: entry.pw_uid, gid: entry.pw_gid }
}

/// A function of the `getpwnam_r` family: the key, a place for the entry, a buffer for its strings
/// and the buffer's size, and a place for the answer: null, or a pointer to the entry.
type Ask<Key, Entry> =
    unsafe extern "C" fn(Key, *mut Entry, *mut c_char, usize, *mut *mut Entry) -> c_int;

/// Asks with a buffer that grows, and reads the entry that is found.
///
/// # Safety
/// `ask` must do what [`Ask`] says, and `key` be what it wants: for a name, a C string.
unsafe fn lookup<Key: Copy, Entry, Found>(
    ask: Ask<Key, Entry>,
    key: Key,
    read: impl FnOnce(&Entry) -> Found,
) -> io::Result<Option<Found>> {
    let mut buffer = vec![0_u8; BUFFER];
    loop {
        let mut entry = MaybeUninit::<Entry>::uninit();
        let mut answer = ptr::null_mut();
        let strings = buffer.as_mut_ptr().cast();
        // SAFETY: the key is the caller's promise; there is room for an entry, the strings and the
        // answer.
        let code = unsafe { ask(key, entry.as_mut_ptr(), strings, buffer.len(), &raw mut answer) };
        match code {
            0 => {
                // SAFETY: null, or `entry` filled in, which lives to the end of this block, as
                // `buffer` does.
                let found = unsafe { answer.as_ref() };
                return Ok(found.map(read));
            }
            libc::ERANGE if buffer.len() < BUFFER_MAX => buffer.resize(buffer.len() * 2, 0),
            libc::EINTR => {}
            // Some databases say "no such entry" this way (getpwnam(3), ERRORS).
            libc::ENOENT | libc::ESRCH => return Ok(None),
            code => return Err(io::Error::from_raw_os_error(code)),
        }
    }
}
