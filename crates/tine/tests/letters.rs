//! What each letter of the scoreboard says, seen in the status while a worker is at just that.

mod support;

use std::fs;
use std::net::UdpSocket;

use support::renewable::Renewable;
use support::{HUP, Service, require_root, start, start_in};
use testkit::TempDir;
use testkit::process;

/// The letter of this worker, or of the only one.
fn letter(service: &Service, pid: Option<u32>) -> String {
    let workers = service.status().workers;
    let mut found = workers.iter().filter(|it| pid.is_none_or(|pid| it.pid == pid));
    found.next().map_or_else(String::new, |it| it.letter.clone())
}

#[track_caller]
fn wait_letter(service: &Service, pid: Option<u32>, wanted: &str) {
    service.wait_until(&format!("a worker shows {wanted}"), || letter(service, pid) == wanted);
}

#[test]
fn s_while_it_boots_and_then_a_line_while_it_is_idle() {
    let service = start("--workers 1 --boot slow=1000");
    // The control socket is there a moment after the process.
    service.wait_line("control socket");
    wait_letter(&service, None, "S");
    wait_letter(&service, None, "_");
    assert_eq!(service.status().workers[0].activity, "idle");
    service.stop();
}

#[test]
fn g_while_it_finishes_what_it_has_and_takes_nothing_new() {
    let it = Renewable::start("--workers 1", "");
    let service = &it.service;
    let (mut talk, old) = service.busy_one();
    wait_letter(service, Some(old), "R");
    assert_eq!(it.reload(), Ok(2));
    wait_letter(service, Some(old), "G");
    let status = service.status();
    let told = status.workers.iter().find(|it| it.pid == old).expect("it is still there");
    let shown = (told.stage.as_str(), told.activity.as_str(), told.open);
    assert_eq!(shown, ("draining", "draining", 1));
    assert_eq!(talk.ask("pid"), old.to_string());
    drop(talk);
    testkit::wait_gone(old);
    service.stop();
}

#[test]
fn i_while_it_leaves_with_nothing_left_to_do() {
    let service = start("--workers 1 --end slow=1000");
    let old = service.wait_serving(1)[0];
    process::signal(old, HUP);
    wait_letter(&service, Some(old), "I");
    testkit::wait_gone(old);
    service.stop();
}

#[test]
fn d_while_an_access_rule_waits_for_the_name_of_a_client() {
    if !require_root() || !testkit::require_peer("unshare") {
        return;
    }
    // A name server that is asked and does not answer.
    let server = UdpSocket::bind("127.0.0.1:53").or_else(|_| UdpSocket::bind("127.0.0.77:53"));
    let server = server.expect("an address for a name server");
    let at = server.local_addr().expect("it has one").ip();
    let directory = TempDir::new().expect("a directory");
    let file = |name: &str, text: String| {
        let path = directory.path().join(name);
        fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let names = file("resolv.conf", format!("nameserver {at}\noptions timeout:2 attempts:1\n"));
    let order = file("nsswitch.conf", "hosts: dns\npasswd: files\ngroup: files\n".to_owned());
    let mounts = format!(
        "mount --bind {names} /etc/resolv.conf && mount --bind {order} /etc/nsswitch.conf && \
         exec \"$0\" \"$@\""
    );
    let arguments = "--listen 127.0.0.1:0 --workers 1 --lookups double --deny no.such.example";
    let service = start_in(directory, arguments, |server| {
        server.wrap(["unshare", "--mount", "sh", "-c", &mounts])
    });
    service.wait_serving(1);
    let mut talk = service.talk();
    talk.tell("pid");
    wait_letter(&service, None, "D");
    // Nothing has come in: the rule denies by a name that cannot be found out.
    drop(talk);
    wait_letter(&service, None, "_");
    service.stop();
}
