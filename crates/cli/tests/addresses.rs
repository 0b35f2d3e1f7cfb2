//! Addresses with something special about them: the longest path, a socket for other users, one link, nothing at all.

mod superdaemon;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use superdaemon::{APP, Place, has, hello, variable};
use testkit::{DEADLINE, wait_until};

/// A path of so many bytes in this directory.
fn path_of(place: &Place, bytes: usize) -> String {
    let directory = place.path("").display().to_string();
    let name = bytes.checked_sub(directory.len()).expect("the directory's path is short");
    format!("{directory}{}", "s".repeat(name))
}

#[test]
fn the_longest_path_there_can_be_is_served_kept_by_a_reload_and_passed_on() {
    let place = Place::new();
    let path = path_of(&place, 107);
    let daemon = place.start("serve", &format!("--workers 1 --listen unix:{path} %"));
    daemon.wait_line(&format!("listening on unix:{path}"));
    assert_eq!(daemon.addresses(), [format!("unix:{path}")]);
    wait_until("an answer", DEADLINE, || hello(&format!("unix:{path}")));
    let reload = daemon.place.run("reload --control %/control");
    assert!(reload.status.success(), "{reload:?}");
    assert!(hello(&format!("unix:{path}")));
    daemon.stop();
    assert!(!has(Path::new(&path)), "its file goes");

    let place = Place::new();
    place.script("app", APP);
    let path = path_of(&place, 107);
    let line = format!("--interval 0 --listen unix:{path} -- %/app");
    let daemon = place.start("start", &line);
    let pid = daemon.pid_after("heeds ");
    assert_eq!(variable(pid, "SERVER_STARTER_PORT"), Some(format!("{path}=3")));
    daemon.stop();
    let too_long = path_of(&daemon.place, 108);
    let refused = daemon.place.run(&format!("serve --listen unix:{too_long} %"));
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
}

#[test]
fn every_user_may_connect_to_a_unix_socket_unless_its_mode_says_otherwise() {
    let user = if testkit::is_root() { "--user nobody" } else { "" };
    for (mode, wanted) in [("", 0o666), ("--unix-mode 0660", 0o660), ("--unix-mode 600", 0o600)] {
        for user in ["", user] {
            let place = Place::new();
            place.script("app", APP);
            fs::set_permissions(place.path(""), fs::Permissions::from_mode(0o755)).expect("ours");
            let mode_of = |place: &Place| {
                let found = fs::metadata(place.path("sock")).expect("it is there");
                found.permissions().mode() & 0o777
            };
            let options = format!("{mode} {user} --listen unix:%/sock");
            let daemon = place.start("serve", &format!("{options} --workers 1 %"));
            daemon.wait_line("listening on");
            assert_eq!(mode_of(&daemon.place), wanted, "serve {options}");
            daemon.stop();
            let Place(directory) = daemon.place;
            let line = format!("{options} --interval 0 -- %/app");
            let daemon = Place(directory).start("start", &line);
            daemon.says("heeds ");
            assert_eq!(mode_of(&daemon.place), wanted, "start {options}");
            daemon.stop();
        }
    }
}

#[test]
fn an_address_that_is_empty_is_refused_and_nothing_is_bound() {
    let place = Place::new();
    for command in [&["serve"][..], &["start"]] {
        for address in ["", " ", "\t", "tcp:"] {
            let output = std::process::Command::new(superdaemon::TINE)
                .args(command)
                .args(["--check", "--listen", address])
                .args(if command == ["start"] { &["--", "true"][..] } else { &["/"] })
                .output()
                .expect("it runs");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{command:?} {address:?}: {said}");
            assert!(said.contains("it is empty: write host:port"), "{said}");
        }
    }
    let refused = place.run("start --listen =7 -- true");
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
}

/// An address of this machine that belongs to one link: the address, the interface's index and name.
fn link_local() -> Option<(String, u32, String)> {
    let table = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let &[address, index, _, scope, flags, name] = fields.as_slice() else { return None };
        let flags = u32::from_str_radix(flags, 16).ok()?;
        // Of a link, and not tentative (if_inet6 in proc_net(5), `linux/if_addr.h`).
        if scope != "20" || flags & 0x40 != 0 {
            return None;
        }
        let bytes = u128::from_str_radix(address, 16).ok()?;
        let index = u32::from_str_radix(index, 16).ok()?;
        Some((std::net::Ipv6Addr::from(bytes).to_string(), index, name.to_owned()))
    })
}

#[test]
fn an_address_of_one_link_is_served_by_its_interfaces_name_and_number() {
    let Some((ip, index, name)) = link_local() else {
        let _ = writeln!(std::io::stderr(), "skipped: no interface has a link-local address");
        return;
    };
    for zone in [index.to_string(), name] {
        let place = Place::new();
        // A `%` in the line would be the directory.
        let listen = format!("--listen=[{ip}%{zone}]:0");
        let daemon = place.start_with("serve", "--workers 1 %", |server| server.arg(listen));
        let address = daemon.addresses().remove(0);
        assert!(address.starts_with(&format!("[{ip}%{index}]:")), "{address}");
        wait_until("an answer", DEADLINE, || hello(&address));
        let reload = daemon.place.run("reload --control %/control");
        assert!(reload.status.success(), "{reload:?}");
        assert_eq!(daemon.addresses()[0], address, "it is kept");
        assert!(hello(&address));
        daemon.stop();
    }
    let place = Place::new();
    let refused = place.run(&format!("serve --listen [{ip}]:0 %"));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(3) && said.contains("%eth0]:port"), "{said}");
    let mut unknown = std::process::Command::new(superdaemon::TINE);
    let unknown = unknown.arg("serve").arg(format!("--listen=[{ip}%nosuch]:0")).arg("/");
    let refused = unknown.output().expect("it runs");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(3) && said.contains("interface \"nosuch\""), "{said}");
}
