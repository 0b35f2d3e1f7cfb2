//! Becoming somebody else: resolved in the supervisor before a socket is bound, done in the worker
//! between `prepare` and `serve`, and fatal wherever it does not fully succeed (rows N39, A28).

use std::path::PathBuf;

use tine_os::privilege::{self, Resource};
use tine_os::user;

use crate::config::PrivilegeConfig;
use crate::daemon::{CoreDirectory, core_directory};
use crate::{Error, Result};

/// What a worker does to itself. Made by [`resolve`] only.
#[derive(Clone, Debug, Default)]
pub(crate) struct Privileges {
    /// User, group and supplementary groups, if they change.
    pub(crate) identity: Option<Identity>,
    pub(crate) chroot: Option<PathBuf>,
    umask: Option<u32>,
    cores: Option<CoreDirectory>,
    limits: Vec<(Resource, u64, u64)>,
    no_new_privileges: bool,
}

/// Who a worker becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    groups: Vec<u32>,
}

/// Gives names their numbers; refuses what does not exist or cannot be done by this process.
pub(crate) fn resolve(config: &PrivilegeConfig) -> Result<Privileges> {
    let identity = identity(config)?;
    if let Some(root) = &config.chroot
        && !root.is_dir()
    {
        return Err(Error::config(format!("chroot {}: no such directory", root.display())));
    }
    let cores = config.core_directory.as_deref();
    let cores = cores.map(|path| core_directory(path, config.chroot.as_deref())).transpose()?;
    let changes = identity.is_some() || config.chroot.is_some();
    if changes && privilege::effective_uid() != 0 && !is_already(identity.as_ref()) {
        let text = "cannot drop privileges: this process is not root; start it as root, or without \
                    user, group and chroot";
        return Err(Error::privilege(text));
    }
    Ok(Privileges {
        identity,
        chroot: config.chroot.clone(),
        umask: config.umask,
        cores,
        limits: config.limits.clone(),
        no_new_privileges: config.no_new_privileges,
    })
}

fn is_already(identity: Option<&Identity>) -> bool {
    identity.is_some_and(|wanted| {
        wanted.uid == privilege::effective_uid() && wanted.gid == privilege::effective_gid()
    })
}

fn identity(config: &PrivilegeConfig) -> Result<Option<Identity>> {
    let os = |what: &str, error| Error::os(format!("cannot look up {what}"), error);
    let group = config.group.as_deref().map(gid_of).transpose()?;
    let Some(name) = config.user.as_deref() else {
        let Some(gid) = group else { return Ok(None) };
        let groups = listed_groups(config)?.unwrap_or_default();
        return Ok(Some(Identity { uid: privilege::effective_uid(), gid, groups }));
    };
    let found = match name.parse::<u32>() {
        Ok(uid) => user::user_by_uid(uid).map_err(|error| os(name, error))?,
        Err(_) => user::user_by_name(name).map_err(|error| os(name, error))?,
    };
    let (uid, gid, own) = match (found, name.parse::<u32>()) {
        (Some(user), _) => {
            let gid = group.unwrap_or(user.gid);
            let own = user::groups_of(&user.name, gid).map_err(|error| os(name, error))?;
            (user.uid, gid, own)
        }
        // A number without an entry is normal in containers; nobody can guess its group (row A28).
        (None, Ok(uid)) => {
            let gid = group.ok_or_else(|| {
                Error::config(format!(
                    "user {name}: no such entry in the user database; name a group, too"
                ))
            })?;
            (uid, gid, Vec::new())
        }
        (None, Err(_)) => return Err(Error::config(format!("user {name:?}: no such user"))),
    };
    if uid == 0 && privilege::effective_uid() == 0 {
        return Err(Error::config("user root: workers do not run as root by name; leave user out"));
    }
    let groups = listed_groups(config)?.unwrap_or(own);
    Ok(Some(Identity { uid, gid, groups }))
}

fn listed_groups(config: &PrivilegeConfig) -> Result<Option<Vec<u32>>> {
    let list = config.groups.as_ref();
    list.map(|names| names.iter().map(|name| gid_of(name)).collect()).transpose()
}

fn gid_of(name: &str) -> Result<u32> {
    if let Ok(gid) = name.parse() {
        return Ok(gid);
    }
    let found = user::group_by_name(name)
        .map_err(|error| Error::os(format!("cannot look up the group {name}"), error))?;
    found.ok_or_else(|| Error::config(format!("group {name:?}: no such group")))
}

impl Privileges {
    /// Drops them, in the one order that works: limits while they may be raised, root directory while
    /// it may be changed, groups before the user who could not change them any more.
    ///
    /// In the worker. The text of a failure names the step.
    pub(crate) fn drop(&self) -> std::result::Result<(), String> {
        fn step<T>(what: &str, result: std::io::Result<T>) -> std::result::Result<T, String> {
            result.map_err(|error| format!("cannot drop privileges: {what}: {error}"))
        }
        for &(resource, soft, hard) in &self.limits {
            step(&format!("limit {resource:?}"), privilege::set_limit(resource, soft, hard))?;
        }
        if let Some(cores) = &self.cores {
            step("limit of cores", cores.lift_limit())?;
        }
        if let Some(mask) = self.umask {
            privilege::umask(mask);
        }
        if let Some(root) = &self.chroot {
            step(&format!("chroot {}", root.display()), privilege::chroot(root))?;
        }
        if let Some(identity) = &self.identity {
            // Already that user and not root: the groups cannot be changed and need not be.
            if privilege::effective_uid() == 0 {
                step("supplementary groups", privilege::set_groups(&identity.groups))?;
                step(&format!("group {}", identity.gid), privilege::set_gid(identity.gid))?;
                step(&format!("user {}", identity.uid), privilege::set_uid(identity.uid))?;
            }
            step("capabilities", privilege::clear_ambient_capabilities())?;
        }
        if let Some(cores) = &self.cores {
            step(&format!("core directory {cores}"), cores.enter())?;
        }
        if self.no_new_privileges {
            step("no new privileges", privilege::no_new_privileges())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(user: &str, group: Option<&str>) -> Error {
        let config = PrivilegeConfig {
            user: Some(user.to_owned()),
            group: group.map(str::to_owned),
            ..PrivilegeConfig::default()
        };
        resolve(&config).expect_err("refused")
    }

    #[test]
    fn names_that_do_not_exist_are_refused_by_name() {
        let error = refused("nobody-of-this-name", None);
        assert!(error.is_config() && error.to_string().contains("nobody-of-this-name"), "{error}");
        assert!(refused("4294967", Some("no-such-group")).is_config());
    }

    #[test]
    fn a_number_without_an_entry_needs_a_group() {
        let error = refused("4294967", None);
        assert!(error.is_config() && error.to_string().contains("name a group"), "{error}");
    }
}
