//! A server that breaks the protocol. A body that cannot be read fails the call that it answers; what
//! answers nothing that was asked costs the connection, which is made anew. The session goes on.

use super::*;
use crate::Ustring;

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
fn replies_without_a_request() {
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
fn a_reply_to_a_request_that_was_not_sent() {
    let mut world = World::up(2);
    world.delete("/a");
    world.ok(1);
    assert_eq!(
        world.events(),
        ["disconnect", "SUSPENDED", "#1 ConnectionLoss NotSent", "connect h2"]
    );
}

/// With #1 to #3 sent and #4 not, the server answers #1 by `frame`: that is all that happens.
fn tolerated(first: &Request<'_>, frame: &[u8], line: &str) -> World {
    let mut config = config(2);
    config.max_reply = 1_000;
    let mut world = World::up_with(config);
    world.call(first);
    world.call(&get("/b", true));
    world.delete("/c");
    world.read();
    world.delete("/d");
    world.events();
    world.send(frame);
    assert_eq!(world.events(), [line]);
    world.reply(2, &data(b"x"));
    world.ok(3);
    assert_eq!(world.read(), ["4 delete /d"]);
    world.ok(4);
    assert_eq!(world.events(), ["#2 ok", "#3 ok", "#4 ok"]);
    world
}

#[test]
fn an_invalid_reply_fails_only_its_own_request() {
    let undecodable = "#1 InvalidReply Applied";
    for body in [&b""[..], b"\0\0", b"\0\0\0\x09", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xfe"] {
        let world = tolerated(&get("/a", true), &raw(1, body), undecodable);
        assert_eq!(world.session.armed(), 1, "#2's alone");
    }
    tolerated(&set_data("/a", b""), &raw(1, &[0; 67]), undecodable);
    let multi = Request::Multi(MultiRequest::new(Vec::new()));
    tolerated(&multi, &raw(1, b"\0\0\0\x0e\0\0\0\0\0"), "#1 InvalidReply Unknown");
    let watch = add_watch("/a", AddWatchMode::Persistent);
    tolerated(&watch, &raw(1, b"\0\0"), "#1 InvalidReply Unknown");
}

#[test]
fn an_error_for_an_invalid_reply_has_the_path() {
    let world = tolerated(&get("/a", false), &raw(1, b"more"), "#1 InvalidReply Applied");
    let failure = &world.failures[&1];
    assert_eq!(failure.path.as_deref(), Some("/a"));
    let length = i32::from_be_bytes(*b"more");
    assert_eq!(failure.reason, Reason::InvalidReply(DecodeError::BadLength { length, left: 0 }));
}

#[test]
fn an_error_reply_may_have_any_body() {
    let header = ReplyHeader { xid: 1, zxid: 9, err: ErrorCode::NoNode };
    for body in [&b"more"[..], b"\xff\xff\xff\xff", &[0; 100]] {
        let frame = packet(header, |out| out.extend_from_slice(body));
        tolerated(&get("/a", false), &frame, "#1 NoNode NotApplied");
        tolerated(&delete("/a"), &frame, "#1 NoNode NotApplied");
    }
}

#[test]
fn bytes_behind_a_record_are_ignored() {
    let mut body = BytesMut::new();
    data(b"x").encode_body(&mut body);
    body.extend_from_slice(b"more");
    let world = tolerated(&get("/a", true), &raw(1, &body), "#1 ok");
    assert_eq!(world.replies[&1].response, data(b"x"));
    assert_eq!(world.session.armed(), 2);
    tolerated(&delete("/a"), &raw(1, b"more"), "#1 ok");
}

#[test]
fn add_watch_accepts_a_reply_without_a_record() {
    let watch = add_watch("/a", AddWatchMode::Persistent);
    let mut world = tolerated(&watch, &raw(1, b""), "#1 ok");
    world.fire(EventType::NodeDataChanged, "/a");
    assert_eq!(world.events(), ["#1 NodeDataChanged /a"]);
}

#[test]
fn a_transaction_on_zetcd_succeeds() {
    let multi = Request::Multi(MultiRequest::new(Vec::new()));
    let body = b"\0\0\0\x02\0\xff\xff\xff\xff\0\0\0\x0e\x01\0\0\0\0";
    let world = tolerated(&multi, &raw(1, body), "#1 ok");
    let done = MultiResponse::new(vec![MultiResult::Delete]);
    assert_eq!(world.replies[&1].response, Response::Multi(done));
}

#[test]
fn names_that_are_not_utf8_are_read() {
    let children = Request::GetChildren2(GetChildrenRequest { path: "/a", watch: true.into() });
    let mut body =
        b"\0\0\0\x03\0\0\0\x06\xed\xa0\xbd\xed\xb8\x80\0\0\0\x02\xff!\xff\xff\xff\xff".to_vec();
    body.extend([0; Stat::MIN_LEN]);
    let world = tolerated(&children, &raw(1, &body), "#1 ok");
    let names = ["😀", "\u{fffd}!", ""].map(Ustring::from).to_vec();
    let expected = GetChildren2Response { children: names.into(), stat: Stat::default() };
    assert_eq!(world.replies[&1].response, Response::GetChildren2(expected));
}

#[test]
fn frames_of_invalid_lengths() {
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
fn oversized_packets_without_a_request() {
    broken(|world| world.send(&raw(xid::PING, &[0; 2_000])), &[]);
    broken(|world| world.send(&raw(3, &[0; 2_000])), &[]);
    broken(|world| world.send(&raw(4, &[0; 2_000])), &[]);
}

#[test]
fn only_the_header_of_a_pong_or_an_acknowledgement_is_read() {
    let mut config = config(1);
    config.max_reply = 1_000;
    config.auth = vec![Credential::digest("ann", "1")];
    let mut world = World::up_with(config);
    world.read();
    world.send(&raw(xid::AUTH, &[0; 2_000]));
    world.tick(T / 3);
    assert_eq!(world.read(), ["ping"]);
    world.send(&raw(xid::PING, &[0; 2_000]));
    assert_eq!(world.session.state(), SessionState::Connected);
}

/// A session with watches of two kinds at transaction 5, and nothing on the way.
fn watching() -> World {
    let mut config = config(1);
    config.max_reply = 1_000;
    let mut world = World::up_with(config);
    world.call(&get("/a", true));
    world.call(&add_watch("/b", AddWatchMode::Persistent));
    world.read();
    world.reply(1, &data(b""));
    world.reply(2, &Response::AddWatch(ErrorResponse { err: ErrorCode::Ok }));
    world.events();
    world
}

#[test]
fn an_invalid_event_arms_all_watches_again() {
    let whole = event(EventType::NodeDeleted, "/a");
    let body = &whole[LENGTH_LEN + 16..];
    for frame in [
        raw(xid::NOTIFICATION, b""),
        raw(xid::NOTIFICATION, &body[..body.len() - 1]),
        raw(xid::NOTIFICATION, &[0; 2_000]),
    ] {
        let mut world = watching();
        let since = world.session.last_zxid();
        world.send(&frame);
        let gap = format!("#2 gap since {since}");
        assert_eq!(world.events(), [gap.as_str()]);
        // What the server answers with may be the same: it is not asked again for that.
        world.send(&frame);
        assert_eq!(world.events(), [""; 0]);
        let asked = world.read();
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert!(asked[0].starts_with("setWatches2"), "{asked:?}");
        world.fire(EventType::NodeDeleted, "/a");
        world.special(xid::SET_WATCHES, ErrorCode::Ok);
        assert_eq!(world.events(), ["#1 NodeDeleted /a"]);
        world.send(&frame);
        assert_eq!(world.events(), [gap]);
        assert_eq!(world.read().len(), 1);
    }
}

#[test]
fn an_invalid_event_has_no_effect_without_watches() {
    let mut world = World::up(1);
    world.send(&raw(xid::NOTIFICATION, b""));
    assert_eq!((world.read(), world.events()), (vec![], vec![]));
}

#[test]
fn unknown_parts_of_an_event_are_ignored() {
    let mut longer = event(EventType::NodeDeleted, "/a");
    longer[3] += 1;
    longer.push(0);
    let mut world = watching();
    world.send(&longer);
    assert_eq!(world.events(), ["#1 NodeDeleted /a"]);
    let mut not_text = event(EventType::NodeDeleted, "/b");
    *not_text.last_mut().unwrap() = 0xff;
    world.send(&not_text);
    assert_eq!((world.events(), world.read()), (vec![], vec![]));
}

#[test]
fn unrequested_answers_end_the_connection() {
    broken(|world| world.pong(), &[]);
    broken(|world| world.special(xid::SET_WATCHES, ErrorCode::Ok), &[]);
    broken(|world| world.special(xid::AUTH, ErrorCode::Ok), &[]);
    broken(|world| world.special(xid::AUTH, ErrorCode::AuthFailed), &[]);
}

#[test]
fn answers_to_unsent_packets_end_the_connection() {
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
fn an_invalid_reply_advances_the_last_zxid() {
    // Or else the next server could be one that has not done yet what this one says is done.
    let frame = raw(1, b"?");
    let world = tolerated(&set_data("/a", b""), &frame, "#1 InvalidReply Applied");
    assert_eq!(world.session.last_zxid(), 9);
}

#[test]
fn unknown_error_codes_are_passed_on() {
    let mut world = World::up(1);
    world.call(&get("/a", true));
    world.delete("/b");
    world.read();
    world.reply(1, &data(b""));
    world.fire(EventType::from(77), "/a");
    world.fire(EventType::None, "");
    world.refuse(2, ErrorCode::from(-4711));
    assert_eq!(world.events(), ["#1 ok", "#2 Unknown(-4711) NotApplied"]);
    assert_eq!(world.session.armed(), 1);
}

#[test]
fn inputs_of_a_dropped_connection_are_ignored() {
    // The driver may have heard it before it could look at the outputs.
    let mut world = World::up(2);
    world.session.set_hosts(world.now, vec![HostPort::new("h8", 8), HostPort::new("h9", 9)]);
    world.session.handle_connected(world.now);
    world.session.handle_disconnected(world.now, "reset");
    world.absorb();
    assert_eq!(world.events(), ["disconnect", "SUSPENDED", "connect h8"]);
    assert!(world.session.last_cause().unwrap().contains("left the list"));
    world.connect();
    assert_eq!(world.session.state(), SessionState::Connected);
}
