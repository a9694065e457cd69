//! Requests and their ends.

use super::*;
use crate::CreateMode;

#[test]
fn replies_end_requests_in_their_order() {
    let mut world = World::up(1);
    for path in ["/a", "/b", "/c"] {
        world.delete(path);
    }
    assert_eq!(world.session.in_flight(), 3);
    assert_eq!(world.read(), ["1 delete /a", "2 delete /b", "3 delete /c"]);
    world.ok(1);
    world.refuse(2, ErrorCode::NoNode);
    world.ok(3);
    assert_eq!(world.events(), ["#1 ok", "#2 NoNode NotApplied", "#3 ok"]);
    assert_eq!(world.session.in_flight(), 0);
    let failure = &world.failures[&2];
    assert_eq!(failure.to_string(), "delete /b on h1:1: node does not exist (not applied)");
    assert_eq!(world.replies[&3].zxid, 3);
}

#[test]
fn a_connection_loss_distinguishes_sent_from_unsent_requests() {
    let mut world = World::up(1);
    world.delete("/a");
    world.delete("/b");
    world.read();
    world.delete("/c");
    world.ok(1);
    world.events();
    world.cut();
    assert_eq!(
        world.events(),
        ["SUSPENDED", "#2 ConnectionLoss Unknown", "#3 ConnectionLoss NotSent"]
    );
    let failure = &world.failures[&3];
    assert_eq!(failure.to_string(), "delete /c on h1:1: connection loss: cut (not sent)");
    world.tick(100);
    world.connect();
    assert_eq!(world.read(), [""; 0]);
}

#[test]
fn requests_of_a_suspended_session_are_sent_in_order_after_it() {
    let mut world = World::up(2);
    world.cut();
    world.delete("/a");
    world.accept();
    world.delete("/b");
    world.read();
    world.delete("/c");
    world.cut();
    world.tick(100);
    world.delete("/d");
    world.connect();
    world.delete("/e");
    assert_eq!(
        world.read(),
        ["1 delete /a", "2 delete /b", "3 delete /c", "4 delete /d", "5 delete /e"]
    );
    for xid in 1..=5 {
        world.ok(xid);
    }
    assert_eq!(world.replies.len(), 5);
}

#[test]
fn requests_are_accepted_until_the_session_ends() {
    let mut world = World::new(config(1));
    assert_eq!(world.refusal(&delete("/idle")), "NotStarted");
    world.start();
    world.delete("/connecting");
    world.accept();
    world.delete("/handshake");
    world.cut();
    world.delete("/waiting");
    world.tick(100);
    world.connect();
    world.delete("/up");
    assert_eq!(world.read().len(), 4);
    world.close();
    assert_eq!(world.refusal(&delete("/closing")), "Closed");
    world.cut();
    assert_eq!(world.refusal(&delete("/closed")), "Closed");
    assert_eq!(world.failures.len(), 4);
}

#[test]
fn a_rejected_request_uses_no_id_and_sends_nothing() {
    let mut world = World::up(1);
    let check = Request::Check(CheckVersionRequest { path: "/a", version: 1 });
    for request in [Request::Ping, Request::CloseSession, check] {
        assert_eq!(world.refusal(&request), "Reserved");
    }
    let sasl = Request::Unknown { op: OpCode::Sasl, body: b"" };
    assert_eq!(world.refusal(&sasl), "Reserved");
    assert_eq!(world.refusal(&delete("a")), "InvalidPath");
    assert_eq!(world.refusal(&delete("/a/")), "InvalidPath");
    assert!(!world.session.wants_transmit());
    assert_eq!(world.delete("/a"), 1);
    assert_eq!(world.read(), ["1 delete /a"]);
}

#[test]
fn requests_are_limited_to_the_size_that_servers_accept() {
    let mut world = World::up(1);
    let fixed = 8 + 4 + 2 + 4 + 4;
    let longest = vec![b'x'; 0xf_ffff - fixed];
    let longer = vec![b'x'; 0xf_ffff - fixed + 1];
    assert_eq!(world.refusal(&set_data("/a", &longer)), "RequestTooLarge");
    assert_eq!((world.session.in_flight(), world.session.wants_transmit()), (0, false));
    assert_eq!(world.call(&set_data("/a", &longest)), 1);
    assert_eq!(world.refusal(&set_data("/b", &longer)), "RequestTooLarge");
    assert_eq!(world.call(&delete("/c")), 2);
    assert_eq!(world.read(), ["1 setData /a", "2 delete /c"]);
    let failure = world.try_call(&set_data("/a", &longer)).unwrap_err();
    let reason = Reason::RequestTooLarge { length: 0x10_0000, limit: 0xf_ffff };
    assert_eq!(failure.reason, reason);
    world.reply(1, &Response::SetData(stat()));
    world.ok(2);
    assert_eq!(world.events(), ["#1 ok", "#2 ok"]);
}

#[test]
fn the_number_of_queued_requests_is_limited() {
    let mut config = config(1);
    config.max_in_flight = 2;
    let mut world = World::up_with(config);
    world.delete("/a");
    world.delete("/b");
    assert_eq!(world.refusal(&delete("/c")), "QueueFull");
    world.read();
    assert_eq!(world.refusal(&delete("/c")), "QueueFull");
    world.ok(1);
    world.delete("/c");
    world.cut();
    world.delete("/d");
    world.delete("/e");
    assert_eq!(world.refusal(&delete("/f")), "QueueFull");
    assert_eq!(world.session.in_flight(), 2);
}

#[test]
fn the_bytes_of_queued_requests_are_limited() {
    let mut config = config(1);
    config.max_queued_bytes = 10_000;
    let mut world = World::up_with(config);
    let data = vec![b'x'; 4_000];
    // Nothing else waits, so it is taken, whatever its length.
    let longer = vec![b'x'; 20_000];
    world.call(&set_data("/a", &longer));
    let failure = world.try_call(&delete("/b")).unwrap_err();
    assert_eq!(failure.reason, Reason::QueueFull { limit: QueueLimit::Bytes(10_000) });
    assert_eq!(failure.outcome, Outcome::NotSent);
    assert_eq!(failure.reason.to_string(), "10000 bytes of requests are queued already");
    // What was sent counts no more, but for its path.
    assert_eq!(world.read(), ["1 setData /a"]);
    for _ in 0..3 {
        world.call(&set_data("/b", &data));
    }
    assert_eq!(world.refusal(&delete("/c")), "QueueFull");
    world.read();
    let long = format!("/{}", "x".repeat(9_999));
    world.delete(&long);
    world.read();
    assert_eq!(world.refusal(&delete("/c")), "QueueFull");
    // What was answered, or has failed, counts no more at all.
    (1..=4).for_each(|xid| world.reply(xid, &Response::SetData(stat())));
    world.ok(5);
    world.delete("/c");
    world.cut();
    for _ in 0..3 {
        world.call(&set_data("/d", &data));
    }
    assert_eq!(world.refusal(&delete("/e")), "QueueFull");
    assert_eq!(world.session.in_flight(), 3);
}

#[test]
fn an_oversized_reply_fails_only_its_own_request() {
    let mut config = config(1);
    config.max_reply = 1_000;
    let mut world = World::up_with(config);
    for path in ["/a", "/b", "/c"] {
        world.call(&get(path, true));
    }
    world.read();
    let long: &[u8] = &[7; 2_000];
    world.reply(1, &data(long));
    world.refuse(2, ErrorCode::NoNode);
    world.reply(3, &data(b"x"));
    assert_eq!(world.events(), ["#1 ReplyTooLarge Applied", "#2 NoNode NotApplied", "#3 ok"]);
    assert_eq!(world.failures[&1].path.as_deref(), Some("/a"));
    // The request armed a watch on the server, which this side does not know of.
    assert_eq!((world.session.armed(), world.session.last_zxid()), (1, 3));
    world.fire(EventType::NodeDeleted, "/a");
    assert_eq!(world.events(), [""; 0]);
    world.delete("/d");
    assert_eq!(world.read(), ["4 delete /d"]);
}

#[test]
fn the_outcome_is_unknown_if_it_was_in_an_unreadable_body() {
    for (err, lines) in [
        (ErrorCode::Ok, ["#1 ReplyTooLarge Unknown", "#2 InvalidReply Unknown"]),
        (ErrorCode::NotReadOnly, ["#1 ReplyTooLarge NotApplied", "#2 NotReadOnly NotApplied"]),
    ] {
        let mut config = config(1);
        config.max_reply = 100;
        let mut world = World::up_with(config);
        let delete = MultiOp::Delete(DeleteRequest { path: "/a", version: -1 });
        let request = Request::Multi(MultiRequest::new(vec![delete; 20]));
        for xid in [1, 2] {
            world.call(&request);
            world.read();
            let results = match xid {
                1 => vec![MultiResult::Error(ErrorCode::RuntimeInconsistency); 20],
                _ => vec![],
            };
            let mut body = BytesMut::new();
            MultiResponse::new(results).encode(&mut body);
            body.truncate(if xid == 1 { body.len() } else { 5 });
            let header = ReplyHeader { xid, zxid: 1, err };
            world.send(&packet(header, |out| out.extend_from_slice(&body)));
        }
        assert_eq!(world.events(), lines);
    }
}

#[test]
fn a_reply_shares_the_received_bytes() {
    let mut world = World::up(1);
    world.call(&get("/a", false));
    world.read();
    world.reply(1, &data(b"hello"));
    assert_eq!(world.replies[&1].response, data(b"hello"));
}

#[test]
fn xids_wrap_to_one() {
    let mut world = World::up(1);
    world.session.queue.set_last_xid(i32::MAX - 2);
    for path in ["/a", "/b", "/c", "/d"] {
        world.delete(path);
    }
    assert_eq!(
        world.read(),
        ["2147483646 delete /a", "2147483647 delete /b", "1 delete /c", "2 delete /d"]
    );
    for xid in [i32::MAX - 1, i32::MAX, 1, 2] {
        world.ok(xid);
    }
    assert_eq!(world.events(), ["#1 ok", "#2 ok", "#3 ok", "#4 ok"]);
}

#[test]
fn only_replies_advance_the_last_zxid() {
    let mut config = config(1);
    config.auth = vec![Credential::digest("ann", "1")];
    config.max_reply = 1_000;
    let mut world = World::up_with(config);
    let header = |xid, zxid, err| ReplyHeader { xid, zxid, err };
    world.special(xid::AUTH, ErrorCode::Ok);
    world.tick(T / 3);
    world.call(&get("/a", true));
    world.delete("/b");
    world.delete("/c");
    world.call(&get("/d", false));
    world.read();
    world.pong();
    assert_eq!(world.session.last_zxid(), 0);
    world.send(&packet(header(1, 50, ErrorCode::Ok), |out| data(b"").encode_body(out)));
    assert_eq!(world.session.last_zxid(), 50);
    world.send(&packet(header(2, 40, ErrorCode::Ok), |_| {}));
    assert_eq!(world.session.last_zxid(), 50);
    let changed = WatcherEvent {
        kind: EventType::NodeDataChanged,
        state: KeeperState::SyncConnected,
        path: "/a".into(),
    };
    let notification = header(xid::NOTIFICATION, 90, ErrorCode::Ok);
    world.send(&packet(notification, |out| changed.encode(out)));
    assert_eq!(world.session.last_zxid(), 50);
    world.send(&packet(header(3, 60, ErrorCode::NoNode), |_| {}));
    assert_eq!(world.session.last_zxid(), 60);
    world.send(&packet(header(4, 70, ErrorCode::Ok), |out| out.extend_from_slice(&[0; 2_000])));
    assert_eq!(world.session.last_zxid(), 70);
    world.cut();
    world.tick(100);
    world.accept();
    assert_eq!(world.read(), ["connect 0x1234 at 70"]);
}

#[test]
fn paths_of_requests_and_replies_are_relative_to_the_chroot() {
    let mut world = World::up(1);
    let created = |path: &str| CreateResponse { path: path.into() };
    world.call_below("/app", &create("/a", b"", CreateMode::Persistent));
    world.call_below("/app", &create("/", b"", CreateMode::PersistentSequential));
    let ops = vec![
        MultiOp::Delete(DeleteRequest { path: "/x", version: -1 }),
        MultiOp::Check(CheckVersionRequest { path: "/", version: 1 }),
    ];
    world.call_below("/app", &Request::Multi(MultiRequest::new(ops)));
    world.call_below(
        "/app",
        &Request::GetEphemerals(GetEphemeralsRequest { prefix_path: Some("/") }),
    );
    world.call_below("/app", &delete("/gone"));
    assert_eq!(
        world.read(),
        [
            "1 create /app/a",
            "2 create /app/",
            "3 multi /app/x",
            "4 getEphemerals /app",
            "5 delete /app/gone"
        ]
    );
    world.reply(1, &Response::Create(created("/app/a")));
    world.reply(2, &Response::Create(created("/app/0000000007")));
    let results = vec![MultiResult::Delete, MultiResult::Create(created("/app/y"))];
    world.reply(3, &Response::Multi(MultiResponse::new(results)));
    let ephemerals = vec!["/app/e".into(), "/apple".into()];
    world.reply(
        4,
        &Response::GetEphemerals(GetEphemeralsResponse { ephemerals: ephemerals.into() }),
    );
    world.refuse(5, ErrorCode::NoNode);
    let results = vec![MultiResult::Delete, MultiResult::Create(created("/y"))];
    let stripped = [
        Response::Create(created("/a")),
        Response::Create(created("/0000000007")),
        Response::Multi(MultiResponse::new(results)),
        Response::GetEphemerals(GetEphemeralsResponse { ephemerals: vec!["/e".into()].into() }),
    ];
    for (id, response) in (1..).zip(stripped) {
        assert_eq!(world.replies[&id].response, response);
    }
    assert_eq!(world.failures[&5].path.as_deref(), Some("/gone"));
}

#[test]
fn a_failed_multi_is_a_reply_with_results() {
    let mut world = World::up(1);
    let ops = vec![MultiOp::Delete(DeleteRequest { path: "/x", version: -1 })];
    world.call(&Request::Multi(MultiRequest::new(ops.clone())));
    world.call(&Request::Multi(MultiRequest::new(ops)));
    world.read();
    let results = vec![MultiResult::Error(ErrorCode::NoNode)];
    let response = Response::Multi(MultiResponse::new(results));
    world.reply(1, &response);
    world.refuse(2, ErrorCode::SessionMoved);
    assert_eq!(world.events(), ["#1 ok", "#2 SessionMoved NotApplied"]);
    assert_eq!(world.replies[&1].response, response);
}

#[test]
fn a_large_buffer_is_freed_once_it_is_written() {
    let mut world = World::up(1);
    world.cut();
    let big = vec![0; 100_000];
    for _ in 0..100 {
        world.call(&set_data("/a", &big));
    }
    world.tick(100);
    world.connect();
    // As the driver does: one buffer, swapped back and forth.
    let mut writing = BytesMut::new();
    world.session.poll_transmit(world.now, &mut writing);
    assert!(writing.len() > 10_000_000);
    writing.clear();
    for _ in 0..2 {
        world.delete("/b");
        world.session.poll_transmit(world.now, &mut writing);
        writing.clear();
    }
    assert!(writing.capacity() < 1 << 20, "{}", writing.capacity());
    world.delete("/b");
    world.session.poll_transmit(world.now, &mut writing);
    assert!(writing.capacity() < 1 << 20, "{}", writing.capacity());
}
