//! A queue that never empties hides no word of the supervisor's.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use support::start;

const HUP: i32 = 1;
const QUEUED: usize = 300;

#[test]
fn a_worker_with_a_full_queue_is_replaced_before_it_has_emptied_it() {
    let service = start("--workers 1");
    let old = service.wait_serving(1)[0].to_string();
    let address = service.address();
    // Ten milliseconds each: three seconds of work for whoever does not look up.
    let mut clients: Vec<TcpStream> =
        (0..QUEUED).map(|_| TcpStream::connect(&address).expect("it is queued")).collect();
    for client in &mut clients {
        client.write_all(b"sleep 10\npid\n").expect("it is sent");
        client.shutdown(Shutdown::Write).expect("it is sent");
    }
    service.signal(HUP);
    let mut by_the_old_one = 0;
    for client in &mut clients {
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("nobody is cut");
        by_the_old_one += usize::from(answer.contains(&old));
    }
    assert!(by_the_old_one < QUEUED / 2, "{by_the_old_one} of {QUEUED}");
    service.stop();
}
