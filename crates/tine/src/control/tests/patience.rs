//! Who is kept, and who is not.

use super::*;

#[test]
fn who_keeps_silent_is_dropped_and_who_waits_for_the_end_is_not() {
    let mut stepped = Stepped::new();
    let (silent, mut half) = (stepped.client(), stepped.client());
    let mut waiting = BufReader::new(stepped.client());
    waiting.get_mut().write_all(b"{\"tine\":1,\"do\":\"stop\",\"now\":true}\n").unwrap();
    half.write_all(b"{\"tine\"").unwrap();
    stepped.settle();
    assert_eq!(stepped.server.deadline(), Some(stepped.now + 5 * SECOND));
    stepped.pass(5 * SECOND - 1);
    assert!(stepped.server.deadline().is_some());
    stepped.pass(1);
    assert!(is_over(&silent) && is_over(&half));
    assert_eq!(stepped.server.deadline(), None);
    stepped.pass(1000 * SECOND);
    assert!(hear(&mut waiting).contains("true"));
    drop(stepped);
    assert!(is_over(waiting));
}

#[test]
fn who_does_not_read_is_dropped_even_if_he_waits_for_the_end() {
    let mut stepped = Stepped::new();
    let mut client = stepped.client();
    client.write_all(b"{\"tine\":1,\"do\":\"wait\"}\n{\"tine\":1,\"do\":\"status\"}\n").unwrap();
    assert!(stepped.settle() > 1);
    assert_eq!(stepped.server.deadline(), Some(stepped.now + 5 * SECOND));
    stepped.pass(5 * SECOND);
    assert_eq!(stepped.server.deadline(), None);
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest);
    assert!(!rest.is_empty() && !rest.ends_with(b"\n"));
}

#[test]
fn who_waits_for_the_end_leaves_room_for_others() {
    let mut stepped = Stepped::new();
    let wait = |stepped: &Stepped| {
        let mut client = stepped.client();
        client.write_all(b"{\"tine\":1,\"do\":\"wait\"}\n").unwrap();
        client
    };
    let waiting: Vec<_> = (0..40).map(|_| wait(&stepped)).collect();
    for _ in 0..10 {
        stepped.settle();
        stepped.pass(5 * SECOND);
    }
    assert_eq!(stepped.server.deadline(), None, "twelve wait, the others were dropped");
    let mut client = stepped.client();
    client.write_all(format!("{PING}\n").as_bytes()).unwrap();
    stepped.settle();
    assert_ne!(client.read(&mut [0; 64]).unwrap(), 0);
    drop(waiting);
    stepped.settle();
    let mut open = Vec::new();
    stepped.server.descriptors(&mut open);
    assert_eq!(open.len(), 2, "the listener and the last client");
}

#[test]
fn a_child_is_told_of_every_descriptor() {
    let mut stepped = Stepped::new();
    let mut open = Vec::new();
    stepped.server.descriptors(&mut open);
    assert_eq!(open.len(), 1);
    let _clients: Vec<_> = (0..40).map(|_| stepped.client()).collect();
    stepped.settle();
    open.clear();
    stepped.server.descriptors(&mut open);
    open.sort_unstable();
    open.dedup();
    assert_eq!(open.len(), 17);
}
