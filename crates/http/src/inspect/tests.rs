use super::*;

/// What comes of these pieces: the bytes that passed, and how many requests had begun.
fn pass(pieces: &[&[u8]]) -> (Vec<u8>, u64) {
    let (mut inspector, mut passed) = (Inspector::default(), Vec::new());
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let (count, obstacle) = inspector.look(rest);
            passed.extend_from_slice(&rest[..count]);
            rest = &rest[count..];
            match obstacle {
                Obstacle::None => assert!(rest.is_empty()),
                Obstacle::Encode => {
                    passed.extend_from_slice(b"%");
                    rest = &rest[1..];
                }
                Obstacle::Wait => {
                    passed.extend_from_slice(b"|");
                    inspector.go_on();
                }
                Obstacle::Refuse => {
                    passed.extend_from_slice(b"!");
                    return (passed, inspector.number());
                }
            }
        }
    }
    (passed, inspector.number())
}

fn check(request: &str, expected: &str, number: u64) {
    let bytes = request.as_bytes();
    let expected = (expected.as_bytes().to_vec(), number);
    for first in 0..=bytes.len() {
        for second in first..=bytes.len().min(first + 3) {
            let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
            assert_eq!(pass(&pieces), expected, "{request:?} at {first}, {second}");
        }
    }
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const CHUNKED: &str = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn requests_pass_as_they_are_in_whatever_pieces_they_come() {
    for (request, number) in [
        ("", 0),
        ("\r\n\n", 0),
        (GET, 1),
        ("GET / HTTP/1.1\nHost: a\n\nGET / HTTP/1.1\n\n", 2),
        ("POST / HTTP/1.1\r\ncontent-LENGTH: 7\r\n\r\nGET /\n\nGET", 2),
        ("POST / HTTP/1.1\r\nContent-Length:0\r\n\r\nGET / HTTP/1.1\r\n\r\n", 2),
        ("POST / HTTP/1.1\r\nContent-Lengthy: 7\r\nContent-Type: 7\r\n\r\nGET / H", 2),
        ("POST / HTTP/1.1\r\nContent-Length: 7\r\nContent-Length: 7\r\n\r\nGET /\n\nGET", 2),
    ] {
        check(request, request, number);
    }
    for body in [
        "0\r\n\r\n",
        "3\r\n\n\n\n\r\n0;a=\"b\"\r\nX: y\r\nY:\r\n\r\n",
        "0A \r\n0\r\n\r\n12345\r\n0\r\n\r\n",
    ] {
        let request = format!("{CHUNKED}{body}{GET}");
        check(&request, &request, 2);
        let length = CHUNKED.replace("Transfer", "Content-Length: 3\r\nTransfer");
        let request = format!("{length}{body}{GET}");
        check(&request, &request, 2);
    }
}

#[test]
fn a_trailer_section_passes_as_far_as_its_lines_end_in_crlf() {
    for (end, passes) in [
        ("0\r\n\n", "0\r\n"),
        ("0\r\nX: y\n\r\n", "0\r\nX: y"),
        ("0\r\nX: y\r\n\n", "0\r\nX: y\r\n"),
        ("0\r\nX: y\rZ: y\r\n\r\n", "0\r\nX: y\r"),
        ("0\r\n\rGET", "0\r\n\r"),
    ] {
        check(&format!("{GET}{CHUNKED}{end}{GET}"), &format!("{GET}{CHUNKED}{passes}!"), 2);
    }
}

#[test]
fn bytes_of_a_target_that_the_parser_refuses_are_encoded_and_no_others() {
    let request = "GET /\"<?`>\u{e9} HTTP/1.1\r\nX: \"<>\r\n\r\n";
    check(request, "GET /%%?%%%% HTTP/1.1\r\nX: \"<>\r\n\r\n", 1);
    check("CONNECT a<b HTTP/1.1\r\n\r\n", "CONNECT a<b HTTP/1.1\r\n\r\n", 1);
    check("CONNECTS <b HTTP/1.1\r\n\r\n", "CONNECTS %b HTTP/1.1\r\n\r\n", 1);
}

#[test]
fn what_follows_a_request_that_may_change_the_protocol_waits() {
    let upgrade = "GET / HTTP/1.1\r\nUpgrade: a\r\n\r\n";
    check(&format!("{upgrade}{GET}"), &format!("{upgrade}|{GET}"), 2);
    let connect = "CONNECT a:1 HTTP/1.1\r\nContent-Length: 2\r\n\r\nok";
    check(&format!("{connect}{GET}"), &format!("{connect}|{GET}"), 2);
}

#[test]
fn the_first_line_is_kept_as_far_as_there_is_room() {
    let mut inspector = Inspector::default();
    for piece in ["GET /\"", "<x HTTP/1.1\r", "\nHost: a\r\n"] {
        let mut rest = piece.as_bytes();
        while let (count, Obstacle::Encode) = inspector.look(rest) {
            rest = &rest[count + 1..];
        }
    }
    assert_eq!(inspector.first_line(), b"GET /\"<x HTTP/1.1");
    let mut inspector = Inspector::default();
    inspector.look(&[b'x'; 10 * FIRST_LINE]);
    assert_eq!(inspector.first_line().len(), FIRST_LINE);
}

#[test]
fn the_end_of_a_line_is_found_wherever_it_is() {
    for length in 0..40 {
        // Bytes that differ from LF by one, by a sign, or by a borrow.
        for other in [b'x', 0x00, 0x09, 0x0b, 0x8a, 0x80, 0xff] {
            let mut line = vec![other; length];
            assert_eq!(line_end(&line), None);
            for end in 0..length {
                line[end..].fill(b'\n');
                assert_eq!(line_end(&line), Some(end), "{other:#x} {length}");
                line.fill(other);
                line[end] = b'\n';
                assert_eq!(line_end(&line), Some(end), "{other:#x} {length}");
                line.fill(other);
            }
        }
    }
}
