//! Where two readers of one request could understand two things: what its service is told of it (RFC 9112, section 6.3),
//! and that nothing of it is taken for another request.

mod support;

use support::start;
use testkit::{Client, Running};

struct Site {
    _server: Running,
    address: String,
}

impl Site {
    fn start() -> Self {
        let (server, address) = start(&["1", "100"]);
        Self { _server: server, address }
    }

    /// Sends it with this after it; the fields that say how long the body is and the body, as the service saw them.
    fn seen(&self, request: &str, after: &str) -> (Client, String, bool) {
        let mut client = Client::connect(&self.address);
        client.send(format!("POST /framing HTTP/1.1\r\nHost: a\r\n{request}{after}").as_bytes());
        let answer = client.read_response();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let closes = answer.closes();
        (client, answer.text(), closes)
    }
}

const NEXT: &str = "GET /pid HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn a_length_beside_chunks_is_refused_and_nothing_behind_it_is_read() {
    let site = Site::start();
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 500\r\nTransfer-Encoding: Chunked\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    ] {
        let mut client = Client::connect(&site.address);
        let head = format!("POST /framing HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        client.send(format!("{head}3\r\nabc\r\n0\r\n\r\n{NEXT}").as_bytes());
        let answer = client.read_response();
        assert_eq!((answer.status, answer.closes()), (400, true), "{fields}");
        assert_eq!(client.read_to_end(), b"", "{fields}");
    }
}

#[test]
fn a_service_sees_one_of_equal_lengths_and_the_next_request_begins_after_it() {
    let site = Site::start();
    for fields in [
        "Content-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nX: y\r\nContent-Length: 5\r\ncontent-length: 5\r\n",
    ] {
        let (mut client, seen, closes) = site.seen(&format!("{fields}\r\nhello"), NEXT);
        assert_eq!(seen, r#"["5"] [] "hello""#, "{fields}");
        assert!(!closes, "{fields}");
        assert!(client.read_response().text().parse::<u32>().is_ok(), "{fields}");
    }
}

#[test]
fn a_service_sees_chunks_as_what_they_hold_and_the_next_request_begins_after_them() {
    let site = Site::start();
    let request =
        "Transfer-Encoding: chunked\r\n\r\n2;x=\"5\"\r\nab\r\n1\r\nc\r\n0\r\nX: y\r\n\r\n";
    let (mut client, seen, closes) = site.seen(request, NEXT);
    assert_eq!((seen.as_str(), closes), (r#"[] ["chunked"] "abc""#, false));
    assert!(client.read_response().text().parse::<u32>().is_ok());
}
