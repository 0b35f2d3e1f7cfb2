//! What is said, and to whom.

use super::*;

#[test]
fn a_mistake_is_explained_and_the_connection_stays() {
    let (_directory, path) = place();
    let _running = Running::at(&path);
    let mut client = connect(&path);
    let refused = ask(&mut client, r#"{"tine":1,"do":"explode"}"#);
    assert!(refused.starts_with(r#"{"tine":1,"ok":false,"error":""#), "{refused}");
    assert!(refused.contains("explode") && refused.contains("reload"), "{refused}");
    assert!(ask(&mut client, r#"{"tine":9,"do":"ping"}"#).contains("version 9"));
    assert!(ask(&mut client, r#"{"tine":1,"do":"grow","by":2}"#).contains("by"));
    assert!(ask(&mut client, r#"{"tine":1,"do":"reload"}"#).contains("not today"));
    assert_eq!(ask(&mut client, r#"{"tine":1,"do":"grow"}"#), "{\"tine\":1,\"ok\":true}\n");
    assert!(ask(&mut client, PING).contains(&format!("\"pid\":{}", process::id())));
}

#[test]
fn broken_json_is_explained_and_ends_the_connection() {
    let (_directory, path) = place();
    let _running = Running::at(&path);
    for line in ["GET / HTTP/1.1\r", "{\"tine\":1", "[]", ""] {
        let mut client = connect(&path);
        let refused = ask(&mut client, line);
        assert!(refused.contains("\"ok\":false") && refused.contains("JSON"), "{line}: {refused}");
        assert!(is_over(client), "{line}");
    }
}

#[test]
fn a_line_may_be_as_long_as_it_may_be_and_no_longer() {
    let (_directory, path) = place();
    let _running = Running::at(&path);
    let mut client = connect(&path);
    let padding = " ".repeat(4096 - PING.len());
    assert!(ask(&mut client, &format!("{PING}{padding}")).contains("\"ok\":true"));
    assert!(ask(&mut client, &format!("{PING}{padding} ")).contains("longer than 4096"));
    assert!(is_over(client));
    let mut endless = connect(&path);
    endless.get_mut().write_all(&[b'{'; 64 << 10]).unwrap();
    assert!(hear(&mut endless).contains("longer than 4096"));
    assert!(is_over(endless));
}

#[test]
fn requests_in_one_write_and_without_a_last_newline_are_answered_in_order() {
    let (_directory, path) = place();
    let _running = Running::at(&path);
    let mut client = connect(&path);
    let all = [PING, r#"{"tine":1,"do":"shrink"}"#, r#"{"tine":1,"do":"status"}"#, PING].join("\n");
    client.get_mut().write_all(all.as_bytes()).unwrap();
    client.get_mut().shutdown(std::net::Shutdown::Write).unwrap();
    assert!(hear(&mut client).contains("pid"));
    assert_eq!(hear(&mut client), "{\"tine\":1,\"ok\":true}\n");
    assert!(hear(&mut client).len() > 500_000);
    assert!(hear(&mut client).contains("pid"));
    assert!(is_over(client));
}

#[test]
fn a_hundred_clients_are_served_though_sixteen_fit() {
    let (_directory, path) = place();
    let running = Running::at(&path);
    let mut all: Vec<_> = (0..100).map(|_| connect(&path)).collect();
    for mut client in all.drain(..) {
        assert!(ask(&mut client, PING).contains("\"ok\":true"));
    }
    let turns = running.turns.load(SeqCst);
    assert!(turns < 1000, "{turns} turns: the loop spins while there is no room");
}

#[test]
fn a_slow_reader_gets_all_of_a_large_status_and_holds_up_nobody() {
    let (_directory, path) = place();
    let running = Running::at(&path);
    let mut slow = connect(&path);
    slow.get_mut().write_all(b"{\"tine\":1,\"do\":\"status\"}\n").unwrap();
    let mut answer = vec![0; 1000];
    slow.read_exact(&mut answer).unwrap();
    for _ in 0..50 {
        assert!(ask(&mut connect(&path), PING).contains("\"ok\":true"));
    }
    assert!(running.turns.load(SeqCst) < 1000, "the loop spins while a client does not read");
    slow.read_until(b'\n', &mut answer).unwrap();
    let answer: Answer = serde_json::from_slice(&answer).unwrap();
    assert_eq!(*answer.status.unwrap(), status(5000));
    assert!(ask(&mut slow, PING).contains("\"ok\":true"));
}

#[test]
fn another_user_is_turned_away_with_a_word() {
    let perl =
        "use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(shift) or die $!; print scalar <$s>";
    if !testkit::require_root() || !["setpriv", "perl"].into_iter().all(testkit::require_peer) {
        return;
    }
    let mut stranger = Command::new("setpriv");
    stranger.args(["--reuid=65534", "--regid=65534", "--clear-groups", "perl", "-e"]);
    assert!(stranger.arg("1").output().is_ok_and(|it| it.status.success()));
    let (directory, path) = place();
    let _running = Running::at(&path);
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let ask = |arguments: &[&str]| {
        let mut stranger = Command::new("setpriv");
        stranger.args(["--reuid=65534", "--regid=65534", "--clear-groups", "perl", "-e", perl]);
        stranger.args(arguments).arg(&path).stdin(Stdio::null()).output().unwrap()
    };
    assert!(!ask(&[]).status.success(), "the file's mode keeps him out");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let answer = String::from_utf8(ask(&[]).stdout).unwrap();
    assert!(answer.contains("\"ok\":false") && answer.contains("user 65534 may not"), "{answer}");
}

/// A service that becomes another program: whoever it has accepted and not heard yet is cut off, and the queue of its
/// socket is the next program's.
#[test]
fn who_is_cut_off_unheard_by_the_step_into_the_next_program_asks_again() {
    let (_directory, path) = place();
    let listener = UnixListener::bind(&path).unwrap();
    let server = std::thread::spawn(move || {
        let mut heard = Vec::new();
        for answered in [false, true, false, true] {
            let (mut client, _) = listener.accept().unwrap();
            // Closed with something unread: a reset for the other side.
            assert!(tine_os::poll::readable(&client, Some(LONG)).unwrap());
            if answered {
                let mut line = String::new();
                BufReader::new(&client).read_line(&mut line).unwrap();
                client.write_all(b"{\"tine\":1,\"ok\":true}\n").unwrap();
                heard.push(line);
            }
        }
        heard
    });
    let client = Client::connect(&path).unwrap();
    client.grow().unwrap();
    let heard = server.join().unwrap();
    assert!(heard[0].contains("ping") && heard[1].contains("grow"), "{heard:?}");
}
