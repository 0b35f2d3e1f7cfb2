//! What `tine serve` lets a client take of a worker: each flag, as a client meets it.

use testkit::{Client, Running, Server, TempDir};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn serve(flags: &[&str]) -> (TempDir, Running, Client) {
    let directory = TempDir::new().expect("a directory");
    std::fs::write(directory.path().join("index.html"), "Hello, World!").expect("a file");
    let server = Server::command(env!("CARGO_BIN_EXE_tine"))
        .args(["serve", "--listen", "127.0.0.1:0", "--workers", "1", "--control", "off"])
        .args(flags)
        .arg(directory.path())
        .start();
    let client = Client::connect(&server.address());
    (directory, server, client)
}

#[test]
fn each_limit_that_is_set_by_a_flag_is_kept() {
    for (flags, request, status) in [
        (
            ["--max-body-size", "10"],
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n",
            413,
        ),
        (
            ["--max-body-size", "11"],
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n",
            405,
        ),
        (["--max-target-size", "10"], "GET /?123456789 HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (["--max-target-size", "11"], "GET /?123456789 HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        (
            ["--max-header-size", "256"],
            &format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(256)),
            431,
        ),
        (
            ["--max-header-size", "400"],
            &format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(256)),
            200,
        ),
        (["--header-timeout", "0.2"], "GET / HTTP/1.1\r\nHost", 408),
    ] {
        let (_directory, _server, mut client) = serve(&flags);
        client.send(request.as_bytes());
        assert_eq!(client.read_response().status, status, "{flags:?}");
    }
}

#[test]
fn an_idle_connection_ends_when_the_flag_says() {
    for flag in ["--idle-timeout", "--keep-alive-timeout"] {
        let (_directory, _server, mut client) = serve(&[flag, "0.3"]);
        assert_eq!(client.get("/").text(), "Hello, World!");
        assert!(client.closed() && !client.was_reset(), "{flag}");
    }
}

#[test]
fn a_connection_brings_as_many_requests_as_the_flag_says() {
    let (_directory, _server, mut client) = serve(&["--max-requests-per-connection", "3"]);
    let last = [1, 2, 3].map(|_| {
        client.send(GET.as_bytes());
        client.read_response().closes()
    });
    assert_eq!(last, [false, false, true]);
}
