//! Many connections of one worker: their answers are sent together, and each client has its own.

mod support;

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;

use support::start;
use testkit::{Client, DEADLINE};

/// A request whose answer is its body.
fn echo(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}").into()
}

#[test]
fn each_of_many_gets_its_own_answers() {
    let (_server, address) = start(&["1", "100"]);
    let mut clients: Vec<_> = (0..50).map(|_| Client::connect(&address)).collect();
    for round in 0..40 {
        // Small and large, one and several at once: what is not gathered must not pass what is.
        let bodies = |client: usize| {
            let count = 1 + (client + round) % 3;
            (0..count).map(move |it| {
                format!("{client}/{round}/{it:<width$}", width = (it + round) % 4 * 3000)
            })
        };
        for (number, client) in clients.iter_mut().enumerate() {
            let requests: Vec<_> = bodies(number).map(|body| echo(&body)).collect();
            client.send(&requests.concat());
        }
        for (number, client) in clients.iter_mut().enumerate() {
            for body in bodies(number) {
                assert_eq!(client.read_response().text(), body);
            }
        }
    }
}

#[test]
fn clients_that_take_nothing_hold_nobody_up_and_lose_nothing() {
    /// Three times as many answers as the sockets of one hold.
    const REQUESTS: usize = 2000;
    let body = |client: usize, number: usize| format!("{client} {number:<3000}");
    let (_server, address) = start(&["1", "100"]);
    let mut neighbour = Client::connect(&address);
    let mut slow: Vec<_> = (0..6).map(|number| Slow::new(&address, number)).collect();
    // One after the other, so that answers are gathered one by one: a neighbour's, asked for later, has come.
    for number in 0..REQUESTS {
        for client in &mut slow {
            client.ask(&echo(&body(client.number, number)));
        }
        neighbour.send(&echo("meanwhile"));
        assert_eq!(neighbour.read_response().text(), "meanwhile");
    }
    let takes = slow.into_iter().map(|client| thread::spawn(move || client.take(body, REQUESTS)));
    takes.collect::<Vec<_>>().into_iter().for_each(|takes| takes.join().expect("all of it came"));
}

/// A client that asks, and takes no answer before it has asked for all.
struct Slow {
    number: usize,
    socket: TcpStream,
    /// What the sockets had no room for.
    unsent: Vec<u8>,
}

impl Slow {
    fn new(address: &str, number: usize) -> Self {
        let socket = TcpStream::connect(address).expect("a connection");
        socket.set_nonblocking(true).expect("a socket");
        Self { number, socket, unsent: Vec::new() }
    }

    fn ask(&mut self, request: &[u8]) {
        self.unsent.extend(request);
        match self.socket.write(&self.unsent) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            sent => drop(self.unsent.drain(..sent.expect("it is sent"))),
        }
    }

    fn take(self, body: impl Fn(usize, usize) -> String, requests: usize) {
        self.socket.set_nonblocking(false).expect("a socket");
        self.socket.set_read_timeout(Some(DEADLINE)).expect("a deadline");
        let mut writer = self.socket.try_clone().expect("a descriptor");
        let writer = thread::spawn(move || writer.write_all(&self.unsent));
        let mut answers = BufReader::new(self.socket);
        for number in 0..requests {
            let mut head = String::new();
            while answers.read_line(&mut head).expect("a line") > 2 {}
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            let wanted = body(self.number, number);
            let mut answer = vec![0; wanted.len()];
            answers.read_exact(&mut answer).expect("its body");
            assert_eq!(String::from_utf8_lossy(&answer), wanted);
        }
        writer.join().expect("no panic").expect("all was sent");
    }
}
