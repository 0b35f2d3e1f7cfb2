//! Who the workers become: all of it, or nothing is served.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use support::{Service, require_root, start, start_in, start_with};
use testkit::process::{cwd_root, limits, status};
use testkit::{Server, TempDir};

/// Starts one that cannot serve; its exit code and its last words.
fn refused(arguments: &str) -> (Option<i32>, String) {
    let service = start(arguments);
    let status = service.wait_exit();
    let lines = service.lines();
    assert!(!lines.iter().any(|line| line.contains(" stopped")), "{lines:?}");
    (status.code(), lines.into_iter().find(|line| line.contains("error")).unwrap_or_default())
}

/// A worker's line of `/proc/PID/status`.
fn field(pid: u32, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    found.expect("it is there").trim().to_owned()
}

/// A directory that everybody may enter.
fn open_directory() -> TempDir {
    let directory = TempDir::new().expect("a directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    directory
}

#[test]
fn a_worker_becomes_the_user_with_his_groups_and_the_supervisor_stays() {
    if !require_root() {
        return;
    }
    let service = start("--workers 2 --user nobody --groups daemon,sys");
    for pid in service.wait_serving(2) {
        let worker = status(pid);
        assert_eq!(worker.uid, [65534; 4]);
        assert_eq!(worker.gid, [65534; 4]);
        assert_eq!(worker.groups, [1, 3]);
        assert_eq!((worker.cap_permitted, worker.cap_effective), (0, 0));
        assert_eq!(field(pid, "CapInh").trim_matches('0'), "");
        assert_eq!(field(pid, "CapAmb").trim_matches('0'), "");
    }
    assert_eq!(status(service.pid()).uid, [0; 4]);
    assert!(service.some_worker() > 0);
    service.stop();
}

#[test]
fn a_worker_that_is_its_user_already_passes_no_capability_on_to_what_it_starts() {
    if !require_root() || !testkit::require_peer("setpriv") {
        return;
    }
    let directory = open_directory();
    // A control socket is believed where no other user can have put it.
    std::os::unix::fs::chown(directory.path(), Some(65534), Some(65534)).expect("root may");
    // As systemd does it: User=, AmbientCapabilities=. A change of user would clear them by itself.
    let bind = "+net_bind_service";
    let user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let keep = ["--inh-caps", bind, "--ambient-caps", bind];
    let arguments = "--listen 127.0.0.1:0 --workers 1 --user nobody";
    let service =
        start_in(directory, arguments, |server: Server| server.wrap(user.into_iter().chain(keep)));
    let worker = service.wait_serving(1)[0];
    assert_eq!(field(service.pid(), "CapAmb"), "0000000000000400");
    assert_eq!(field(worker, "CapAmb"), "0000000000000000");
    service.stop();
}

#[test]
fn a_group_alone_changes_the_group() {
    if !require_root() {
        return;
    }
    let service = start("--workers 1 --user daemon --group 4711");
    let worker = status(service.wait_serving(1)[0]);
    assert_eq!((worker.uid, worker.gid), ([1; 4], [4711; 4]));
    service.stop();
}

#[test]
fn root_directory_and_working_directory_change_together() {
    if !require_root() {
        return;
    }
    let root = open_directory();
    let service = start(&format!("--workers 1 --user nobody --chroot {}", root.path().display()));
    let (cwd, new_root) = cwd_root(service.wait_serving(1)[0]);
    assert_eq!((cwd.as_path(), new_root.as_path()), (root.path(), root.path()));
    assert!(service.some_worker() > 0);
    service.stop();
}

#[test]
fn mask_limits_and_no_new_privileges_are_set() {
    let arguments = "--workers 1 --umask 027 --open-files 77 --no-new-privileges yes";
    let service = start(arguments);
    let pid = service.wait_serving(1)[0];
    assert_eq!(field(pid, "Umask"), "0027");
    assert_eq!(limits(pid)["Max open files"], (Some(77), Some(77)));
    assert!(status(pid).no_new_privs);
    assert!(!status(service.pid()).no_new_privs, "the supervisor keeps what it has");
    assert_ne!(limits(service.pid())["Max open files"].0, Some(77));
    service.stop();
}

#[test]
fn what_only_root_can_read_is_read_before_the_drop() {
    if !require_root() {
        return;
    }
    let directory = open_directory();
    let key = directory.path().join("key");
    fs::write(&key, "open sesame\n").expect("it can be written");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let arguments = format!("--workers 2 --user nobody --prepare {}", key.display());
    let service = start(&arguments);
    assert_eq!(service.ask("secret"), "open sesame");
    service.stop();
}

#[test]
fn a_unix_socket_belongs_to_the_user_who_serves() {
    if !require_root() {
        return;
    }
    let directory = open_directory();
    let socket = directory.path().join("socket");
    let arguments = format!("--listen unix:{} --user nobody --workers 1", socket.display());
    let service = start_in(directory, &arguments, |server| server);
    assert!(service.some_worker() > 0);
    let file = fs::metadata(&socket).expect("it is there");
    assert_eq!((file.uid(), file.gid()), (65534, 65534));
    service.stop();
    assert!(!Path::new(&socket).exists(), "and is removed");
}

#[test]
fn an_unknown_user_or_group_is_refused_by_name() {
    for (arguments, name) in [
        ("--user nobody-of-this-name", "nobody-of-this-name"),
        ("--user nobody --group no-such-group", "no-such-group"),
        ("--user nobody --groups sys,no-such-group", "no-such-group"),
        ("--chroot /no/such/directory", "/no/such/directory"),
    ] {
        let (code, text) = refused(arguments);
        assert_eq!(code, Some(2), "{arguments}: {text}");
        assert!(text.contains(name), "{text}");
        assert!(!text.contains("listening"), "{text}");
    }
}

#[test]
fn a_number_without_an_entry_needs_a_group_and_gets_no_other() {
    let (code, text) = refused("--user 4711001");
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("4711001") && text.contains("name a group"), "{text}");
    if !require_root() {
        return;
    }
    let service = start("--workers 1 --user 4711001 --group 4711002");
    let worker = status(service.wait_serving(1)[0]);
    assert_eq!((worker.uid, worker.gid), ([4_711_001; 4], [4_711_002; 4]));
    assert_eq!(worker.groups, [] as [u32; 0]);
    assert!(service.some_worker() > 0);
    service.stop();
}

#[test]
fn root_by_name_is_refused() {
    if !require_root() {
        return;
    }
    for user in ["root", "0"] {
        let (code, text) = refused(&format!("--user {user}"));
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains("root"), "{text}");
    }
}

/// One whose workers' system call fails, and its exit code.
fn failing(call: &str, arguments: &str) -> Option<(Service, Option<i32>)> {
    if !require_root() || !testkit::require_peer("strace") {
        return None;
    }
    let arguments = format!("--listen 127.0.0.1:0 {arguments}");
    let inject = format!("inject={call}:error=EPERM");
    let service = start_with(&arguments, |server: Server| {
        server.wrap(["strace", "-qq", "-f", "-o", "/dev/null", "-e", &inject])
    });
    let code = service.wait_exit().code();
    Some((service, code))
}

#[test]
fn a_drop_that_fails_is_fatal_before_the_first_client_and_leaves_nobody() {
    for call in ["setgroups", "setresgid", "setresuid"] {
        let Some((service, code)) = failing(call, "--workers 2 --user nobody") else { return };
        assert_eq!(code, Some(4), "{call}");
        service.wait_line("cannot drop privileges");
        assert!(service.children().is_empty());
        assert_eq!(service.count_lines("main goes on in process"), 1, "no worker goes on");
        assert!(!service.directory().join("control").exists());
    }
    let Some((service, code)) = failing("chroot", "--workers 1 --user nobody --chroot /tmp") else {
        return;
    };
    assert_eq!(code, Some(4));
    service.wait_line("chroot /tmp");
}

#[test]
fn a_preparation_that_fails_is_a_failure_to_boot_with_its_reason() {
    let (code, text) = refused("--workers 2 --prepare error");
    assert_eq!(code, Some(1));
    assert!(text.contains("told to fail while preparing"), "{text}");
}
