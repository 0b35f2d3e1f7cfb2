//! Addresses as people write them: every shape that is taken, every one that is refused, and why.

use proptest::prelude::*;
use tine::endpoint::{Endpoint, Family, UnixName};

/// Reads `text` with IPv4 as the default and writes what came out, comma-separated.
fn read(text: &str) -> String {
    let all = Endpoint::parse_all_as(text, &[Family::V4])
        .unwrap_or_else(|error| panic!("{text:?}: {error}"));
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn refusal(text: &str) -> String {
    let error = Endpoint::parse_all(text).expect_err(text);
    assert!(error.is_config());
    assert!(error.to_string().contains(text), "{error} does not repeat {text}");
    error.to_string()
}

#[track_caller]
fn check(rows: &[(&str, &str)]) {
    for (text, meaning) in rows {
        assert_eq!(read(text), *meaning, "for {text:?}");
    }
}

#[test]
fn every_shape_of_the_port_grammar_is_read() {
    check(&[
        ("20203", "*:20203/IPv4"),
        ("localhost:http", "localhost:http/IPv4"),
        ("http", "*:http/IPv4"),
        ("smtp/tcp", "*:smtp/IPv4"),
        ("localhost:tcp", "*:localhost/IPv4"),
        ("localhost:20203/udp", "udp:localhost:20203/IPv4"),
        ("host:80:udp", "udp:host:80/IPv4"),
        ("127.0.0.1:80/ssl", "127.0.0.1:80/ssl"),
        ("127.0.0.1:80/ssleay", "127.0.0.1:80/ssl"),
        ("127.0.0.1:80/tls", "127.0.0.1:80/ssl"),
        ("80/tcp/tls/IPv6", "*:80/IPv6/ssl"),
        ("localhost:20203/tcp/IPv6", "localhost:20203/IPv6"),
        ("localhost:20203/IPv6/tcp", "localhost:20203/IPv6"),
        ("localhost:20203/IPv4/IPv6", "localhost:20203/IPv6, localhost:20203/IPv4"),
        ("localhost:20203/IPv46", "localhost:20203/IPv6, localhost:20203/IPv4"),
        ("localhost:20203/IPv*", "localhost:20203"),
        ("localhost, 20203, tcp, IPv4", "localhost:20203/IPv4"),
        ("localhost|20203|tcp|IPv4", "localhost:20203/IPv4"),
        ("localhost 20203 tcp IPv4", "localhost:20203/IPv4"),
        ("[::1]:20203", "[::1]:20203"),
        ("::1, 80", "[::1]:80"),
        ("[*]:20203:IPv6", "*:20203/IPv6"),
        ("/tmp/s.sock|unix", "unix:/tmp/s.sock"),
        ("foo/bar/unix", "unix:foo/bar"),
        ("/tmp/s.sock|unixdgram", "unixdgram:/tmp/s.sock"),
        ("/tmp/s.sock|sock_stream|unix", "unix:/tmp/s.sock"),
        ("/tmp/s.sock|sock_dgram|unix", "unixdgram:/tmp/s.sock"),
        ("0", "*:0/IPv4"),
    ]);
}

#[test]
fn what_its_users_stumbled_over_is_read_as_meant() {
    check(&[
        ("/tmp/s.sock|SOCK_DGRAM|unix", "unixdgram:/tmp/s.sock"),
        ("/tmp/s.sock|SOCK_STREAM|UNIX", "unix:/tmp/s.sock"),
        ("/tmp/s.sock", "unix:/tmp/s.sock"),
        ("/tmp/s.sock|sock_dgram", "unixdgram:/tmp/s.sock"),
        ("localhost/20203", "localhost:20203/IPv4"),
        ("localhost/20203/udp", "udp:localhost:20203/IPv4"),
        ("::1/80", "[::1]:80"),
    ]);
}

#[test]
fn the_usual_forms_of_today_are_read() {
    check(&[
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        (":8080", "*:8080/IPv4"),
        ("*:8080", "*:8080/IPv4"),
        ("tcp://0.0.0.0:80", "0.0.0.0:80"),
        ("tcp:80", "*:80/IPv4"),
        ("tls:example.com:443", "example.com:443/IPv4/ssl"),
        ("udp:127.0.0.1:53", "udp:127.0.0.1:53"),
        ("udp://[::]:53", "udp:[::]:53"),
        ("UDP:53/IPv6", "udp:*:53/IPv6"),
        ("unix:/run/a b:c.sock", "unix:/run/a b:c.sock"),
        ("unix:///run/s.sock", "unix:/run/s.sock"),
        ("unix:relative/unix", "unix:relative/unix"),
        ("unixdgram:/dev/log", "unixdgram:/dev/log"),
        ("@name", "unix:@name"),
        ("tls:unix:/run/s.sock", "tls:unix:/run/s.sock"),
        ("tls://unix:relative/tls", "tls:unix:relative/tls"),
        ("/run/s.sock|tls", "tls:unix:/run/s.sock"),
        ("/run/s.sock|unix|ssl", "tls:unix:/run/s.sock"),
        ("@name,tls", "tls:unix:@name"),
        ("unix:@name", "unix:@name"),
        ("@name|unixdgram", "unixdgram:@name"),
        ("  8080 ", "*:8080/IPv4"),
    ]);
}

#[test]
fn nonsense_is_refused_with_a_way_out() {
    for (text, reason) in [
        ("80/IPv7", "IPv4, IPv6 or IPv*"),
        ("80/IPv", "IPv4, IPv6 or IPv*"),
        ("bad host:80", "host cannot be told"),
        ("bad|host|80", "host cannot be told"),
        ("h\u{f6}st:80", "neither a name nor an address"),
        ("", "it is empty"),
        (" \t", "it is empty"),
        ("tcp:", "it is empty"),
        ("[fe80::1%]:80", "not an interface"),
        ("[fe80::1%0]:80", "not an interface"),
        ("[fe80::1%no/such]:80", "not an interface"),
        ("[fe80::1%longer-than-sixteen]:80", "not an interface"),
        ("[2001:db8::1%eth0]:80", "only addresses of a link"),
        ("10.0.0.1%eth0:80", "not an IPv6 address"),
        ("::1:20203", "[::1]:port"),
        ("::1:8080", "[::1]:port"),
        ("::1", "[::1]:port"),
        ("host:25/MyTcp", "\"MyTcp\" is not a protocol"),
        ("20203/Some::Class", "is not a protocol"),
        ("host:25:MyTcp", "\"MyTcp\" is not a protocol"),
        ("[::1]:25/MyTcp", "\"MyTcp\" is not a protocol"),
        ("foo/bar", "unix:PATH"),
        ("localhost:70000", "between 0 and 65535"),
        ("99999999999999999999", "between 0 and 65535"),
        ("-1", "neither a port number"),
        ("80-90", "neither a port number"),
        ("example.com", "neither a port number"),
        ("127.0.0.1", "port is missing"),
        ("[::1]", "port is missing"),
        ("localhost:", "port is missing"),
        ("*", "port is missing"),
        ("tcp", "port is missing"),
        ("SOCK_DGRAM", "port is missing"),
        (":SOCK_DGRAM", "port is missing"),
        ("[::1", "closing ]"),
        ("[::1]80", "colon"),
        ("256.0.0.1:80", "not an IP address"),
        ("80/80", "is not a protocol"),
        ("80/tcp/udp", "two protocols"),
        ("udp:80/tcp", "two protocols"),
        ("/tmp/s.sock|tcp", "is a path"),
        ("/run/tine/tls", "unix:/run/tine/tls or tls:unix:/run/tine"),
        ("53/udp/tls", "TLS needs connections"),
        ("tls:53/udp", "TLS needs connections"),
        ("/tmp/s.sock|tls|sock_dgram", "TLS needs connections"),
        ("/tmp/s.sock|tls|unixdgram", "TLS needs connections"),
        ("tls:/tmp/s.sock|tcp", "is a path"),
        ("/tmp/s.sock|unix|IPv4", "no version of IP"),
        ("/tmp/s.sock|unixdgram|sock_stream", "never sock_stream"),
        ("80/sock_dgram", "write tcp or udp"),
        ("http://localhost:80", "write tcp://"),
        ("unix:", "path is missing"),
        ("unix:@", "name after @"),
    ] {
        let text_of_error = refusal(text);
        assert!(
            text_of_error.contains(reason),
            "{text:?}: {text_of_error} does not say {reason:?}"
        );
    }
}

#[test]
fn the_family_of_an_address_outweighs_words_and_words_outweigh_the_default() {
    check(&[("127.0.0.1:80/IPv6", "127.0.0.1:80"), ("80/IPv6", "*:80/IPv6")]);
    let both = Family::parse_all("v4v6").unwrap();
    let all = Endpoint::parse_all_as("80", &both).unwrap();
    assert_eq!(all.iter().map(ToString::to_string).collect::<Vec<_>>(), ["*:80/IPv6", "*:80/IPv4"]);
}

#[test]
fn versions_of_ip_are_read_in_all_their_spellings() {
    for (text, families) in [
        ("4", &[Family::V4][..]),
        ("v6", &[Family::V6]),
        ("4 6", &[Family::V6, Family::V4]),
        ("v4v6", &[Family::V6, Family::V4]),
        ("*", &[Family::Any]),
        ("* 4", &[Family::Any]),
    ] {
        assert_eq!(Family::parse_all(text).unwrap(), families, "for {text:?}");
    }
    for text in ["", "7", "v", "47"] {
        assert!(Family::parse_all(text).is_err(), "{text:?} was taken");
    }
}

#[test]
fn what_is_written_can_be_read_back() {
    for text in [
        "*:80",
        "localhost:http/IPv6",
        "[::1]:1/ssl",
        "[fe80::1%eth0.7]:1/ssl",
        "udp:[fe80::1%2]:53",
        "udp:*:53/IPv4",
        "unix:a b|tcp",
        "unixdgram:@x/unix",
        "tls:unix:a b|tcp",
        "tls:unix:@x/unix",
        "unix:////run/s",
        "tls:unix:////run/s",
        "unixdgram:////0udp:*:50",
        "unix:@@x",
        "tcp:udp:53",
        "tcp:unix:80/ssl",
        "udp:udp:53",
        "*:0",
    ] {
        let endpoint: Endpoint = text.parse().unwrap();
        assert_eq!(endpoint.to_string(), text);
        assert_eq!(endpoint.to_string().parse::<Endpoint>().unwrap(), endpoint);
    }
}

#[test]
fn a_path_that_looks_like_something_else_is_written_as_a_path() {
    for (text, path, shown) in [
        ("//0udp:*:50", "//0udp:*:50", "unix:////0udp:*:50"),
        ("tls:unix:///run/s", "/run/s", "tls:unix:/run/s"),
        ("//run/s|unix", "//run/s", "unix:////run/s"),
        ("./@x|unix", "./@x", "unix:./@x"),
        ("unix:*:80/udp", "*:80/udp", "unix:*:80/udp"),
    ] {
        let read: Endpoint = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        let (Endpoint::Unix { name, .. } | Endpoint::UnixDatagram(name)) = &read else {
            panic!("{text} is {read:?}")
        };
        assert_eq!(*name, UnixName::Path(path.into()), "{text}");
        assert_eq!(read.to_string(), shown);
        assert_eq!(shown.parse::<Endpoint>().unwrap(), read);
    }
    // Nobody can write this one, but a socket that is passed in may have it.
    let passed_in = Endpoint::Unix { name: UnixName::Path("@x".into()), tls: false };
    assert_eq!(passed_in.to_string(), "unix:./@x");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_understood_is_written_so_that_it_means_the_same(
        pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..8)
    ) {
        let text = pieces.concat();
        for endpoint in Endpoint::parse_all(&text).unwrap_or_default() {
            let shown = endpoint.to_string();
            prop_assert_eq!(shown.parse::<Endpoint>().ok(), Some(endpoint), "{:?} is {:?}", text, shown);
        }
    }
}

/// What the grammar knows, and what can be confused with it.
const PIECES: &[&str] = &[
    "/",
    "//",
    ":",
    "|",
    ",",
    " ",
    "@",
    "[",
    "]",
    "*",
    "=",
    ".",
    "..",
    "80",
    "0",
    "http",
    "host",
    "run",
    "::1",
    "127.0.0.1",
    "tcp",
    "udp",
    "tls",
    "ssl",
    "unix",
    "unixdgram",
    "sock_dgram",
    "ipv4",
    "IPv6",
    "\n",
];

#[test]
fn one_endpoint_is_not_read_from_an_address_that_means_two() {
    let error = "80/IPv4/IPv6".parse::<Endpoint>().unwrap_err();
    assert!(error.to_string().contains("several listeners"), "{error}");
}
