//! Asking a command whether it answers: a process of its own, which may wait as its keeper may not, and ends with
//! status 0 when it does. It dies with its keeper.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, ToSocketAddrs as _};
use std::thread::sleep;
use std::time::Duration;

use tine_os::diag::tcp_queue;

use crate::program::Probe;

/// Between two questions: at first, doubling, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of an answer's first line, at most.
const LINE_BYTES: usize = 256;

/// Asks until there is an answer; the exit status.
pub(super) fn until_it_answers(probe: &Probe, own: Option<&TcpListener>) -> i32 {
    let mut pause = PAUSE.0;
    loop {
        if asked(probe, own).unwrap_or(false) {
            return 0;
        }
        sleep(pause);
        pause = (pause * 2).min(PAUSE.1);
    }
}

fn asked(probe: &Probe, own: Option<&TcpListener>) -> io::Result<bool> {
    let addresses = match (&probe.address, own) {
        (Some(address), _) => address.to_socket_addrs()?.collect(),
        (None, Some(own)) => vec![own.local_addr()?],
        (None, None) => Vec::new(),
    };
    for address in addresses {
        let Ok(conn) = TcpStream::connect_timeout(&address, PATIENCE) else { continue };
        let answers = match &probe.path {
            Some(path) => is_well(conn, path, &address.to_string())?,
            // The kernel completes a connection that nobody has taken yet.
            None => own.is_none_or(is_taken),
        };
        if answers {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether nothing waits there any more, within the patience.
fn is_taken(own: &TcpListener) -> bool {
    let looks = PATIENCE.as_millis() / PAUSE.0.as_millis();
    (0..looks).any(|_| {
        let taken = tcp_queue(own).is_ok_and(|(waiting, _)| waiting == 0);
        if !taken {
            sleep(PAUSE.0);
        }
        taken
    })
}

/// Whether a request is answered with a status from 200 to 399.
fn is_well(mut conn: TcpStream, path: &str, host: &str) -> io::Result<bool> {
    conn.set_read_timeout(Some(PATIENCE))?;
    conn.set_write_timeout(Some(PATIENCE))?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: tine\r\nConnection: close\r\n\r\n"
    );
    conn.write_all(request.as_bytes())?;
    let mut line = Vec::new();
    let mut bytes = [0; LINE_BYTES];
    while !line.contains(&b'\n') && line.len() < LINE_BYTES {
        match conn.read(&mut bytes)? {
            0 => break,
            length => line.extend_from_slice(&bytes[..length]),
        }
    }
    Ok(status(&line).is_some_and(|status| (200..400).contains(&status)))
}

fn status(line: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(line.split(|&byte| byte == b'\r').next()?).ok()?;
    text.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_from_a_status_line_alone() {
        assert_eq!(status(b"HTTP/1.1 204 No Content\r\nServer: x\r\n"), Some(204));
        assert_eq!(status(b"HTTP/1.0 503 \xff"), None);
        for nonsense in [&b""[..], b"SSH-2.0", b"HTTP/1.1", b"HTTP/1.1 abc\r\n", b"HTTP/2 200\r\n"]
        {
            assert_eq!(status(nonsense), None);
        }
    }
}
