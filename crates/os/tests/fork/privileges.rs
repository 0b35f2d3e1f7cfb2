//! Dropping privileges, and what a process may do.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::thread::CapabilitySet;
use tine_os::deliver::{deliver, deliver_to_group, may_signal_all, owner_of};
use tine_os::privilege::{self, Resource};
use tine_os::process::{self, Change};
use tine_os::signal::Signal;

use crate::{Check, Outcome, child, hang, wait};

pub(crate) const CHECKS: &[Check] = &[
    ("a_full_drop_leaves_no_way_back", a_full_drop_leaves_no_way_back),
    ("a_drop_that_could_be_undone_is_an_error", a_drop_that_could_be_undone_is_an_error),
    ("nobody_can_become_somebody_else", nobody_can_become_somebody_else),
    ("a_new_root_is_all_there_is", a_new_root_is_all_there_is),
    ("files_change_hands", files_change_hands),
    ("limits_are_set_and_told", limits_are_set_and_told),
    ("privileges_do_not_grow_again", privileges_do_not_grow_again),
    ("another_users_process_is_signalled_without_cap_kill", another_users_process_is_signalled),
    ("a_process_can_be_the_first_to_go", a_process_can_be_the_first_to_go),
];

/// A user and group that own nothing here.
const STRANGER: u32 = 54_321;

fn need_root() -> Outcome {
    let demanded = std::env::var_os("TINE_REQUIRE_PEERS").is_some_and(|value| value == "1");
    match privilege::effective_uid() {
        0 => Ok(()),
        _ if demanded => panic!("it needs root, and TINE_REQUIRE_PEERS=1 demands it"),
        _ => Err("it needs root"),
    }
}

/// A field of proc_pid_status(5).
fn status(field: &str) -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_start_matches(':').trim().to_owned()
}

fn drop_everything() {
    privilege::set_groups(&[STRANGER, STRANGER + 1]).unwrap();
    privilege::set_gid(STRANGER).unwrap();
    privilege::set_uid(STRANGER).unwrap();
}

fn a_full_drop_leaves_no_way_back() -> Outcome {
    need_root()?;
    drop_everything();
    assert_eq!(privilege::effective_uid(), STRANGER);
    assert_eq!(privilege::effective_gid(), STRANGER);
    assert_eq!(privilege::current_groups().unwrap(), [STRANGER, STRANGER + 1]);
    assert_eq!(status("CapEff"), "0000000000000000");
    for refused in [privilege::set_uid(0), privilege::set_gid(0), privilege::set_groups(&[0])] {
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EPERM));
    }
    Ok(())
}

fn a_drop_that_could_be_undone_is_an_error() -> Outcome {
    need_root()?;
    // Capabilities that stay with the user: the drop itself succeeds, and means nothing.
    let secure = rustix::thread::CapabilitiesSecureBits::NO_SETUID_FIXUP;
    rustix::thread::set_capabilities_secure_bits(secure).unwrap();
    let error = privilege::set_uid(STRANGER).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
    assert!(error.to_string().contains("root again"), "{error}");
    Ok(())
}

fn nobody_can_become_somebody_else() -> Outcome {
    for refused in [
        privilege::set_uid(u32::MAX),
        privilege::set_gid(u32::MAX),
        privilege::chown(Path::new("/"), Some(u32::MAX), None),
    ] {
        assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    }
    if privilege::effective_uid() == 0 {
        drop_everything();
    }
    let error = privilege::set_uid(STRANGER + 7).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    Ok(())
}

fn a_new_root_is_all_there_is() -> Outcome {
    need_root()?;
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("inside"), "here").unwrap();
    let (_, pidfd) = child(|| {
        privilege::chroot(dir.path()).unwrap();
        assert_eq!(std::env::current_dir().unwrap(), Path::new("/"));
        assert_eq!(fs::read_to_string("inside").unwrap(), "here");
        i32::from(Path::new("/proc").exists())
    });
    assert_eq!(wait(&pidfd), Change::Exited(0));
    assert!(privilege::chroot(&dir.path().join("nothing")).is_err());
    Ok(())
}

fn files_change_hands() -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    privilege::change_dir(dir.path()).unwrap();
    let before = privilege::umask(0o027);
    assert_eq!(privilege::umask(0o027), 0o027);
    let file = Path::new("file");
    fs::write(file, "").unwrap();
    let mode = || fs::metadata(file).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(), 0o640);
    privilege::umask(before);
    privilege::chmod(file, 0o2600).unwrap();
    assert_eq!(mode(), 0o2600);
    assert!(privilege::chmod(Path::new("nothing"), 0o600).is_err());
    need_root()?;
    privilege::chown(file, Some(STRANGER), None).unwrap();
    privilege::chown(file, None, Some(STRANGER + 1)).unwrap();
    let owner = fs::metadata(file).map(|file| (file.uid(), file.gid())).unwrap();
    assert_eq!(owner, (STRANGER, STRANGER + 1));
    Ok(())
}

fn limits_are_set_and_told() -> Outcome {
    let (_, hard) = privilege::limit(Resource::OpenFiles).unwrap();
    privilege::set_limit(Resource::OpenFiles, 64, hard).unwrap();
    assert_eq!(privilege::limit(Resource::OpenFiles).unwrap(), (64, hard));
    assert_eq!(privilege::raise_open_files().unwrap(), hard);
    assert_eq!(privilege::limit(Resource::OpenFiles).unwrap(), (hard, hard));
    assert!(privilege::set_limit(Resource::OpenFiles, 65, 64).is_err());

    privilege::set_limit(Resource::Core, 0, 0).unwrap();
    assert_eq!(privilege::limit(Resource::Core).unwrap(), (0, 0));
    for resource in [
        Resource::AddressSpace,
        Resource::Processes,
        Resource::Cpu,
        Resource::FileSize,
        Resource::Stack,
        Resource::LockedMemory,
        Resource::Data,
    ] {
        let (soft, hard) = privilege::limit(resource).unwrap();
        assert!(soft <= hard, "{resource:?}");
        privilege::set_limit(resource, soft, hard).unwrap();
        assert_eq!(privilege::limit(resource).unwrap(), (soft, hard), "{resource:?}");
    }
    Ok(())
}

fn privileges_do_not_grow_again() -> Outcome {
    privilege::clear_ambient_capabilities().unwrap();
    assert_eq!(status("CapAmb"), "0000000000000000");
    privilege::no_new_privileges().unwrap();
    assert_eq!(status("NoNewPrivs"), "1");
    for (on, told) in [(false, 0), (true, 1)] {
        privilege::set_dumpable(on).unwrap();
        let now = rustix::process::dumpable_behavior().unwrap();
        assert_eq!(now as i32, told);
    }
    Ok(())
}

/// A child that has become the stranger, and leads a group.
fn stranger() -> (process::Pid, std::os::fd::OwnedFd) {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let child = child(|| {
        process::lead_own_group().unwrap();
        drop_everything();
        drop(writer);
        hang()
    });
    // Its end of the pipe closes when it is the stranger; here the parent's copy is gone already.
    std::io::Read::read_to_end(&mut reader, &mut Vec::new()).unwrap();
    child
}

fn another_users_process_is_signalled() -> Outcome {
    need_root()?;
    let mut own = rustix::thread::capabilities(None).unwrap();
    own.effective.remove(CapabilitySet::KILL);
    own.permitted.remove(CapabilitySet::KILL);
    rustix::thread::set_capabilities(None, own).unwrap();
    process::die_with_parent(Signal::USR1).unwrap();
    assert!(!may_signal_all());
    let killed = Change::Signaled { signal: Signal::KILL, core: false };
    let (pid, pidfd) = stranger();
    assert_eq!(process::send(&pidfd, Signal::KILL).unwrap_err().raw_os_error(), Some(libc::EPERM));
    assert_eq!(owner_of(pid), Some(STRANGER));
    deliver(&pidfd, pid, Signal::KILL).unwrap();
    assert_eq!(wait(&pidfd), killed);
    let (pid, pidfd) = stranger();
    deliver_to_group(pid, owner_of(pid), Signal::KILL).unwrap();
    assert_eq!(wait(&pidfd), killed);
    // And nothing of the process itself has changed.
    assert_eq!(status("Uid"), "0\t0\t0\t0");
    assert_eq!(rustix::thread::capabilities(None).unwrap().effective, own.effective);
    let death = rustix::process::parent_process_death_signal().unwrap();
    assert_eq!(death, Some(rustix::process::Signal::USR1));
    assert_eq!(rustix::process::dumpable_behavior().unwrap() as i32, 1);
    // Without the right to change users there is no other way, and the kernel's reason is told.
    own.effective.remove(CapabilitySet::SETUID);
    let (pid, pidfd) = stranger();
    rustix::thread::set_capabilities(None, own).unwrap();
    let refused = deliver(&pidfd, pid, Signal::KILL).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
    own.effective.insert(CapabilitySet::SETUID);
    rustix::thread::set_capabilities(None, own).unwrap();
    deliver(&pidfd, pid, Signal::KILL).unwrap();
    assert_eq!(wait(&pidfd), killed);
    Ok(())
}

fn a_process_can_be_the_first_to_go() -> Outcome {
    let score = || fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    let before: i32 = score().trim().parse().unwrap();
    privilege::raise_oom_score(100).unwrap();
    assert_eq!(score().trim(), (before + 100).min(1000).to_string());
    privilege::raise_oom_score(5000).unwrap();
    assert_eq!(score().trim(), "1000");
    Ok(())
}
