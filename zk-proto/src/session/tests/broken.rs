//! A server that breaks the protocol: the connection is dropped and made anew, the session goes on.

use super::*;

type Break = fn(&mut World);

fn raw(xid: i32, body: &[u8]) -> Vec<u8> {
    packet(ReplyHeader { xid, zxid: 9, err: ErrorCode::Ok }, |out| out.extend_from_slice(body))
}

/// After one request was answered, `break_it` happens with #2 and #3 sent and #4 not.
fn broken(break_it: Break, lines: &[&str]) {
    let mut config = config(2);
    config.max_reply = 1_000;
    config.auth = vec![Credential::digest("ann", "1")];
    let mut world = World::up_with(config);
    world.special(xid::AUTH, ErrorCode::Ok);
    world.delete("/a");
    world.read();
    world.ok(1);
    world.call(&get("/b", true));
    world.delete("/c");
    world.read();
    world.delete("/d");
    world.events();
    break_it(&mut world);
    let mut expected = lines.to_vec();
    expected.extend(["disconnect", "SUSPENDED"]);
    if lines.is_empty() {
        expected.push("#2 ConnectionLoss Unknown");
    }
    expected.extend(["#3 ConnectionLoss Unknown", "#4 ConnectionLoss NotSent", "connect h2"]);
    assert_eq!(world.events(), expected);
    assert_eq!(world.session.armed(), 0);
    world.accept();
    assert_eq!(world.read(), ["connect 0x1234 at 1"]);
    assert_eq!(world.hellos[1].password, PASSWORD);
    world.send(&welcome(ID, T as i32, Some(false)));
    assert_eq!(world.events(), ["CONNECTED"]);
}

#[test]
fn a_reply_out_of_turn() {
    broken(|world| world.ok(3), &[]);
}

#[test]
fn a_reply_given_twice() {
    broken(|world| world.ok(1), &[]);
}

#[test]
fn replies_to_nothing() {
    for xid in [0, 5, i32::MAX, -3, -5, i32::MIN] {
        let mut world = World::up(2);
        world.ok(xid);
        assert_eq!(world.events(), ["disconnect", "SUSPENDED", "connect h2"], "xid {xid}");
    }
}

#[test]
fn an_answer_to_a_handshake_that_was_not_sent() {
    let mut world = World::new(config(2));
    world.start();
    world.accept();
    world.send(&welcome(ID, T as i32, Some(false)));
    assert_eq!(world.events(), ["connect h1", "disconnect", "connect h2"]);
    world.connect();
    assert_eq!(world.events(), ["CONNECTED"]);
}

#[test]
fn a_reply_to_what_was_not_sent() {
    let mut world = World::up(2);
    world.delete("/a");
    world.ok(1);
    assert_eq!(
        world.events(),
        ["disconnect", "SUSPENDED", "#1 ConnectionLoss NotSent", "connect h2"]
    );
}

#[test]
fn an_undecodable_reply_is_told_to_its_caller() {
    let lines = &["#2 Undecodable Applied"];
    broken(|world| world.send(&raw(2, b"\0\0")), lines);
    broken(|world| world.send(&raw(2, b"\0\0\0\x09")), lines);
    broken(|world| world.send(&raw(2, b"\x7f\xff\xff\xff")), lines);
    let trailing = |world: &mut World| {
        let mut body = BytesMut::new();
        data(b"x").encode_body(&mut body);
        body.extend_from_slice(b"more");
        world.send(&raw(2, &body));
    };
    broken(trailing, lines);
}

#[test]
fn an_undecodable_reply_tells_the_path() {
    let mut world = World::up(2);
    world.delete("/a");
    world.read();
    world.send(&raw(1, b"more"));
    let failure = &world.failures[&1];
    assert_eq!(failure.path.as_deref(), Some("/a"));
    assert!(matches!(failure.reason, Reason::Undecodable(DecodeError::Trailing(4))));
}

#[test]
fn an_undecodable_refusal_was_refused_all_the_same() {
    let header = ReplyHeader { xid: 1, zxid: 9, err: ErrorCode::NoNode };
    let mut world = World::up(2);
    world.delete("/a");
    world.read();
    world.send(&packet(header, |out| out.extend_from_slice(b"more")));
    assert_eq!(world.failures[&1].outcome, Outcome::Refused);
    assert_eq!(world.session.state(), State::Suspended);
}

#[test]
fn frames_of_lengths_that_cannot_be() {
    broken(|world| world.send(&[0xff; 4]), &[]);
    broken(|world| world.send(&[0x80, 0, 0, 0]), &[]);
    broken(|world| world.send(&[0x7f, 0xff, 0xff, 0xff]), &[]);
    for length in 0..16 {
        let mut world = World::up(2);
        let mut frame = vec![0, 0, 0, length];
        frame.extend(std::iter::repeat_n(0xff, length.into()));
        world.send(&frame);
        assert_eq!(world.events()[0], "disconnect", "length {length}");
    }
}

#[test]
fn packets_over_the_limit_that_are_no_reply() {
    broken(|world| world.send(&raw(xid::NOTIFICATION, &[0; 2_000])), &[]);
    broken(|world| world.send(&raw(xid::PING, &[0; 2_000])), &[]);
    broken(|world| world.send(&raw(3, &[0; 2_000])), &[]);
    broken(|world| world.send(&raw(4, &[0; 2_000])), &[]);
}

#[test]
fn an_undecodable_event() {
    broken(|world| world.send(&raw(xid::NOTIFICATION, b"")), &[]);
    let trailing = |world: &mut World| {
        let mut frame = event(EventType::NodeDeleted, "/a");
        frame[3] += 1;
        frame.push(0);
        world.send(&frame);
    };
    broken(trailing, &[]);
    let not_text = |world: &mut World| {
        let mut frame = event(EventType::NodeDeleted, "/a");
        *frame.last_mut().unwrap() = 0xff;
        world.send(&frame);
    };
    broken(not_text, &[]);
}

#[test]
fn answers_that_nobody_asked_for() {
    broken(|world| world.pong(), &[]);
    broken(|world| world.special(xid::SET_WATCHES, ErrorCode::Ok), &[]);
    broken(|world| world.special(xid::AUTH, ErrorCode::Ok), &[]);
    broken(|world| world.special(xid::AUTH, ErrorCode::AuthFailed), &[]);
}

#[test]
fn answers_to_what_was_not_handed_out() {
    let ping = |world: &mut World| {
        world.tick(T / 3);
        world.pong();
    };
    broken(ping, &[]);
    let auth = |world: &mut World| {
        world.add_auth("2").unwrap();
        world.special(xid::AUTH, ErrorCode::Ok);
    };
    broken(auth, &[]);
    let prologue = |answer: i32| {
        let mut world = World::up(1);
        world.call(&get("/a", true));
        world.read();
        world.reply(1, &data(b""));
        world.add_auth("2").unwrap();
        world.cut();
        world.tick(100);
        world.connect();
        world.events();
        world.special(answer, ErrorCode::Ok);
        assert_eq!(world.events(), ["disconnect", "SUSPENDED"]);
    };
    prologue(xid::AUTH);
    prologue(xid::SET_WATCHES);
}

#[test]
fn a_broken_reply_does_not_move_the_last_zxid() {
    // Or else no server would ever be new enough again.
    let header = ReplyHeader { xid: 1, zxid: i64::MAX, err: ErrorCode::Ok };
    let mut world = World::up(2);
    world.call(&get("/a", false));
    world.read();
    world.send(&packet(header, |out| out.extend_from_slice(b"?")));
    assert_eq!(world.session.last_zxid(), 0);
}

#[test]
fn unknown_codes_are_carried() {
    let mut world = World::up(1);
    world.call(&get("/a", true));
    world.delete("/b");
    world.read();
    world.reply(1, &data(b""));
    world.fire(EventType::from(77), "/a");
    world.fire(EventType::None, "");
    world.refuse(2, ErrorCode::from(-4711));
    assert_eq!(world.events(), ["#1 ok", "#2 Unknown(-4711) Refused"]);
    assert_eq!(world.session.armed(), 1);
}

#[test]
fn what_comes_from_a_connection_that_was_left_is_not_taken_in() {
    // The driver may have heard it before it could look at the outputs.
    let mut world = World::up(2);
    world.session.set_hosts(world.now, vec![HostPort::new("h8", 8), HostPort::new("h9", 9)]);
    world.session.handle_connected(world.now);
    world.session.handle_disconnected(world.now, "reset");
    world.absorb();
    assert_eq!(world.events(), ["disconnect", "SUSPENDED", "connect h8"]);
    assert!(world.session.last_cause().unwrap().contains("left the list"));
    world.connect();
    assert_eq!(world.session.state(), State::Connected);
}
