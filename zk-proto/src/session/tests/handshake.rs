//! The first packet each way, and what a connection begins with.

use super::*;

fn started(hosts: u16) -> World {
    let mut world = World::new(config(hosts));
    world.start();
    world
}

#[test]
fn nothing_is_sent_before_the_handshake_is_answered() {
    let mut world = started(1);
    world.delete("/a");
    assert_eq!(world.read(), [""; 0]);
    world.accept();
    assert_eq!(world.read(), ["connect 0x0 at 0"]);
    let hello = &world.hellos[0];
    assert_eq!((hello.timeout, hello.read_only), (10_000, Some(false)));
    assert_eq!(hello.password, [0; 16]);
    world.delete("/b");
    assert_eq!(world.read(), [""; 0]);
    world.send(&welcome(ID, T as i32, Some(false)));
    assert_eq!(world.events(), ["connect h1", "CONNECTED"]);
    assert_eq!(world.read(), ["1 delete /a", "2 delete /b"]);
    assert_eq!(world.session.session_id(), Some(SessionId(ID)));
    assert_eq!(world.session.session_timeout(), millis(T));
}

#[test]
fn answers_with_and_without_the_read_only_byte_are_accepted() {
    for (read_only, length, state) in [
        (None, 36, SessionState::Connected),
        (Some(false), 37, SessionState::Connected),
        (Some(true), 37, SessionState::ConnectedReadOnly),
    ] {
        let mut world = started(1);
        let answer = welcome(ID, T as i32, read_only);
        assert_eq!(answer.len(), LENGTH_LEN + length);
        world.greet(answer);
        assert_eq!(world.session.state(), state);
    }
}

#[test]
fn unknown_parts_of_a_handshake_answer_are_ignored() {
    let mut longer = welcome(ID, T as i32, Some(false));
    longer[3] += 4;
    longer.extend(b"more");
    let mut other_byte = welcome(ID, T as i32, Some(false));
    *other_byte.last_mut().unwrap() = 2;
    for (answer, state) in
        [(longer, SessionState::Connected), (other_byte, SessionState::ConnectedReadOnly)]
    {
        let mut world = started(1);
        world.greet(answer);
        assert_eq!(world.session.state(), state);
        assert_eq!(world.session.session_id(), Some(SessionId(ID)));
    }
}

#[test]
fn a_server_that_grants_no_session_is_followed_by_the_next() {
    let header = |err| ReplyHeader { xid: 0, zxid: 0, err };
    let refusal = packet(header(ErrorCode::NotReadOnly), |_| {});
    assert_eq!(refusal.len(), LENGTH_LEN + 16);
    let huge = [&[0, 0x7f, 0xff, 0xff][..], &[0; 32]].concat();
    for (answer, cause) in [
        (refusal, "server is read-only"),
        (welcome(0, T as i32, Some(false)), "no session id"),
        (welcome(0, T as i32, None), "no session id"),
        (vec![0, 0, 0, 0], "frame ends early"),
        (vec![0xff; 4], "out of range"),
        (vec![0x7f, 0xff, 0xff, 0xff], "out of range"),
        (huge, "packet of 8388607 bytes"),
    ] {
        let mut world = started(2);
        world.delete("/a");
        world.greet(answer);
        assert_eq!(world.events(), ["connect h1", "disconnect", "connect h2"], "{cause}");
        let told = world.session.last_cause().unwrap();
        assert!(told.starts_with("h1:1: ") && told.contains(cause), "{told}: {cause}");
        world.connect();
        assert_eq!(world.read(), ["1 delete /a"]);
    }
}

#[test]
fn the_cause_names_a_host_that_does_not_speak_zookeeper() {
    for (answer, hint) in [
        (&b"HTTP/1.1 400 Bad Request\r\n"[..], "it is HTTP; is this a ZooKeeper port?"),
        (b"\x15\x03\x03\0\x02\x02\x46", "it is TLS; is this a ZooKeeper port"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "is this a ZooKeeper port?"),
    ] {
        let mut world = started(1);
        world.greet(answer.to_vec());
        let told = world.session.last_cause().unwrap();
        assert!(told.contains(hint), "{told}");
    }
    // A session that was up knows better.
    let mut world = World::up(2);
    world.send(b"HTTP/1.1 400 Bad Request\r\n");
    assert!(!world.session.last_cause().unwrap().contains("ZooKeeper"));
}

#[test]
fn a_session_of_an_earlier_process_is_resumed() {
    let mut config = config(1);
    let password = Secret::new(Bytes::from_static(&PASSWORD));
    config.resume = Some(SessionTicket { id: SessionId(ID), password, last_zxid: 77 });
    let mut world = World::new(config);
    world.start();
    world.connect();
    let hello = &world.hellos[0];
    assert_eq!((hello.id, hello.last_zxid), (ID, 77));
    assert_eq!(hello.password, PASSWORD);
    let ticket = world.session.ticket().unwrap();
    assert_eq!((ticket.id, ticket.last_zxid), (SessionId(ID), 77));
    assert_eq!(ticket.password.expose()[..], PASSWORD);
}

#[test]
fn a_connection_begins_with_credentials_then_watches_then_requests() {
    let mut config = config(1);
    config.auth = vec![Credential::digest("ann", "1"), Credential::new("ip", "2")];
    let mut world = World::up_with(config);
    world.add_auth("3").unwrap();
    for (xid, path) in [(1, "/a"), (2, "/b")] {
        world.call(&get(path, true));
        world.read();
        world.reply(xid, &data(b""));
    }
    world.cut();
    world.delete("/c");
    world.tick(100);
    world.accept();
    world.add_auth("4").unwrap();
    assert_eq!(world.read(), ["connect 0x1234 at 2"]);
    world.delete("/d");
    world.send(&welcome(ID, T as i32, Some(false)));
    assert_eq!(
        world.read(),
        [
            "auth digest ann:1",
            "auth ip 2",
            "auth digest ann:3",
            "auth digest ann:4",
            r#"setWatches since 2: ["/a", "/b"] [] []"#,
            "3 delete /c",
            "4 delete /d",
        ]
    );
}

#[test]
fn many_watches_are_rearmed_in_packets_under_the_limit() {
    let mut world = World::up(1);
    let path = |n: i32| format!("/{n:0999}");
    for n in 1..=300 {
        world.call(&get(&path(n), true));
        world.read();
        world.reply(n, &data(b""));
    }
    world.cut();
    world.tick(100);
    world.connect();
    world.delete("/a");
    let packets = world.read();
    assert_eq!(packets.len(), 4);
    assert!(packets[..3].iter().all(|packet| packet.starts_with("setWatches since 300: ")));
    assert!(packets.iter().all(|packet| packet.len() < 132_000));
    assert_eq!(packets[3], "301 delete /a");
}

/// A life with everything in it, each answer of the server cut as `cut` says; all that came out of it.
fn life(chunk: usize) -> (String, Vec<String>) {
    let mut config = config(2);
    config.max_reply = 1_000;
    config.auth = vec![Credential::digest("ann", "1")];
    let mut world = World::new(config);
    world.chunk = chunk;
    world.start();
    let mut answer = welcome(ID, T as i32, Some(false));
    answer.extend(event(EventType::NodeDeleted, "/nobody/asked"));
    world.greet(answer);
    world.call(&get("/a", true));
    world.call_below("/app", &create("/b", b"x", crate::CreateMode::Persistent));
    world.call(&get("/huge", true));
    world.call(&exists("/c", true));
    world.delete("/d");
    world.read();
    world.tick(T / 3);
    world.read();
    let header = |xid, zxid, err| ReplyHeader { xid, zxid, err };
    let mut all = packet(header(xid::AUTH, 0, ErrorCode::Ok), |_| {});
    all.extend(packet(header(1, 5, ErrorCode::Ok), |out| data(b"hello").encode_body(out)));
    all.extend(event(EventType::NodeDataChanged, "/a"));
    let created = Response::Create(CreateResponse { path: "/app/b".into() });
    all.extend(packet(header(2, 6, ErrorCode::Ok), |out| created.encode_body(out)));
    all.extend(packet(header(3, 6, ErrorCode::Ok), |out| out.extend_from_slice(&[7; 5_000])));
    all.extend(packet(header(xid::PING, 7, ErrorCode::Ok), |_| {}));
    all.extend(packet(header(4, 7, ErrorCode::NoNode), |_| {}));
    all.extend(event(EventType::NodeCreated, "/c"));
    all.extend(packet(header(99, 8, ErrorCode::Ok), |_| {}));
    all.extend(event(EventType::NodeCreated, "/after/the/end"));
    world.send(&all);
    world.connect();
    world.read();
    let log = world.log.iter().map(|(_, line)| line.clone()).collect();
    (world.trace, log)
}

#[test]
fn outputs_do_not_depend_on_how_bytes_are_split() {
    let (whole, log) = life(usize::MAX);
    assert_eq!(
        log,
        [
            "connect h1",
            "CONNECTED",
            "#1 ok",
            "#1 NodeDataChanged /a",
            "#2 ok",
            "#3 ReplyTooLarge Applied",
            "#4 NoNode NotApplied",
            "#4 NodeCreated /c",
            "disconnect",
            "SUSPENDED",
            "#5 ConnectionLoss Unknown",
            "connect h2",
            "CONNECTED",
        ]
    );
    for chunk in (1..=64).chain([100, 500, 1_000, 1_004, 4_096]) {
        assert_eq!(life(chunk).0, whole, "in pieces of {chunk}");
    }
}

#[test]
fn the_connection_may_be_lost_after_any_byte_of_an_answer() {
    for read_only in [None, Some(false), Some(true)] {
        let answer = welcome(ID, T as i32, read_only);
        for cut in 1..answer.len() {
            let mut world = started(1);
            world.accept();
            world.read();
            world.send(&answer[..cut]);
            assert_eq!(world.session.state(), SessionState::Lost);
            world.send(&answer[cut..]);
            assert!(world.session.state().is_connected(), "cut at {cut}");
        }
    }
}
