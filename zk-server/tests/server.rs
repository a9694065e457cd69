//! The server as a state machine, under a clock that the test moves: what depends on time and on connections. The
//! differential test of the workspace compares its replies with those of ZooKeeper.

mod fixture;

use std::time::Duration;

use bytes::BytesMut;
use zk_proto::{
    CreateMode, ErrorCode, EventType, OPEN_ACL_UNSAFE, Request, Response,
    frame::write_frame,
    jute::{Decode, Encode, Reader, Secret},
    records::*,
};
use zk_server::{Config, Output, SessionId};

use fixture::{Client, Fixture, TIMEOUT};

#[test]
fn a_silent_session_expires_with_its_ephemeral_nodes() {
    let mut fixture = Fixture::new();
    let (mut silent, session, password) = fixture.open();
    let (mut watcher, ..) = fixture.open();
    fixture.create(&mut silent, "/e", CreateMode::Ephemeral);
    let watch = Request::Exists(ExistsRequest { path: "/e", watch: true.into() });
    fixture.call(&mut watcher, &watch).1.unwrap();

    for _ in 0..3 {
        fixture.advance(TIMEOUT / 2);
        fixture.call(&mut silent, &Request::Ping).1.unwrap();
        fixture.call(&mut watcher, &Request::Ping).1.unwrap();
    }
    assert!(fixture.exists(&mut watcher, "/e"));

    for _ in 0..2 {
        fixture.call(&mut watcher, &Request::Ping).1.unwrap();
        fixture.advance(TIMEOUT / 2 + Config::default().tick_time);
    }
    let (events, _) = fixture.call(&mut watcher, &Request::Ping);
    assert_eq!(events, [(EventType::NodeDeleted, "/e".into())]);
    let (_, response) = fixture.handshake(session, &password, 0, false);
    let response = response.unwrap();
    assert_eq!((response.timeout, response.session_id), (0, 0));
}

#[test]
fn a_session_outlives_its_connection_and_needs_its_password() {
    let mut fixture = Fixture::new();
    let (mut first, session, password) = fixture.open();
    fixture.create(&mut first, "/e", CreateMode::Ephemeral);
    fixture.server.handle_disconnected(first.id);

    let (mut thief, response) = fixture.handshake(session, &[1; 16], 0, false);
    assert_eq!(response.unwrap().timeout, 0);
    fixture.receive(&mut thief);

    let (mut second, response) = fixture.handshake(session, &password, 0, false);
    assert_eq!(response.unwrap().session_id, session.0);
    assert!(fixture.exists(&mut second, "/e"));

    let (mut third, response) = fixture.handshake(session, &password, 0, false);
    assert!(response.unwrap().timeout > 0);
    fixture.send(&second, |out| Request::Ping.encode(xid::PING, out));
    assert!(fixture.receive(&mut second).is_empty(), "the session has moved");
    assert!(fixture.exists(&mut third, "/e"));
}

/// Requests of the earlier connection may still be in flight to the copy.
#[test]
fn a_copy_does_not_close_the_previous_connection_of_a_session() {
    for is_copy in [false, true] {
        let mut config = Config::default();
        config.is_copy = is_copy;
        let mut fixture = Fixture::with(config);
        let (mut first, session, password) = fixture.open();
        let before = fixture.server.last_zxid();
        let (mut second, response) = fixture.handshake(session, &password, before, false);
        assert_eq!(response.map(|response| response.session_id), Some(session.0));
        assert_eq!(fixture.server.last_zxid(), before);
        fixture.create(&mut second, "/second", CreateMode::Persistent);
        fixture.send(&first, |out| Request::Ping.encode(xid::PING, out));
        assert_eq!(fixture.receive(&mut first).is_empty(), !is_copy);
        assert_eq!(fixture.server.last_zxid(), before + 1);
    }
}

#[test]
fn a_client_that_has_seen_a_later_zxid_is_refused() {
    let mut fixture = Fixture::new();
    let (mut client, response) = fixture.handshake(SessionId(0), &[0; 16], 1000, false);
    assert_eq!(response, None);
    fixture.receive(&mut client);
    assert_eq!(fixture.server.sessions().count(), 0);
}

#[test]
fn containers_and_nodes_with_a_ttl_are_removed() {
    let mut fixture = Fixture::new();
    let (mut client, ..) = fixture.open();
    let check = Config::default().container_check_interval + Duration::from_secs(1);
    let pass = |fixture: &mut Fixture, client: &mut Client| {
        let mut left = check;
        while !left.is_zero() {
            let step = left.min(TIMEOUT / 2);
            fixture.advance(step);
            fixture.call(client, &Request::Ping).1.unwrap();
            left -= step;
        }
    };
    fixture.create(&mut client, "/c", CreateMode::Container);
    let ttl = CreateTtlRequest {
        path: "/t",
        data: None,
        acl: Some(OPEN_ACL_UNSAFE.as_slice().into()),
        flags: CreateMode::PersistentWithTtl,
        ttl: 90_000,
    };
    fixture.call(&mut client, &Request::CreateTtl(ttl)).1.unwrap();
    pass(&mut fixture, &mut client);
    assert!(fixture.exists(&mut client, "/c"), "it never had a child");
    assert!(fixture.exists(&mut client, "/t"), "its time is not over");

    fixture.create(&mut client, "/c/child", CreateMode::Persistent);
    pass(&mut fixture, &mut client);
    assert!(fixture.exists(&mut client, "/c"), "it has a child");
    assert!(!fixture.exists(&mut client, "/t"));

    let delete = Request::Delete(DeleteRequest { path: "/c/child", version: -1 });
    fixture.call(&mut client, &delete).1.unwrap();
    pass(&mut fixture, &mut client);
    assert!(!fixture.exists(&mut client, "/c"));
    assert!(fixture.server.poll_timeout().is_some(), "the session");
}

#[test]
fn a_read_only_server_has_local_sessions() {
    let mut fixture = Fixture::new();
    let (mut client, session, password) = fixture.open();
    fixture.create(&mut client, "/a", CreateMode::Persistent);
    fixture.server.set_read_only(fixture.now, true);
    fixture.receive(&mut client);
    assert!(client.closed);

    assert_eq!(fixture.handshake(SessionId(0), &[0; 16], 0, false).1, None, "it wants to write");
    assert_eq!(fixture.handshake(session, &password, 0, true).1, None, "it is of the quorum");
    let (mut reader, response) = fixture.handshake(SessionId(0), &[0; 16], 0, true);
    let response = response.unwrap();
    assert!(response.is_read_only());
    assert!(fixture.exists(&mut reader, "/a"));
    for request in [
        Request::Delete(DeleteRequest { path: "/a", version: -1 }),
        Request::Sync(SyncRequest { path: "/a" }),
        Request::Multi(MultiRequest::default()),
    ] {
        assert_eq!(fixture.call(&mut reader, &request).1, Err(ErrorCode::NotReadOnly));
    }

    fixture.server.set_read_only(fixture.now, false);
    fixture.receive(&mut reader);
    assert!(reader.closed);
    let own = response.password.expose().clone().unwrap();
    let resumed = fixture.handshake(SessionId(response.session_id), &own, 0, true).1.unwrap();
    assert_eq!(resumed.timeout, 0, "it went with the read-only server");
    assert!(fixture.handshake(session, &password, 0, false).1.unwrap().timeout > 0);
}

#[test]
fn a_restart_keeps_nodes_and_sessions_but_not_connections_and_watches() {
    let mut fixture = Fixture::new();
    let (mut client, session, password) = fixture.open();
    fixture.create(&mut client, "/e", CreateMode::Ephemeral);
    fixture
        .call(&mut client, &Request::Exists(ExistsRequest { path: "/e", watch: true.into() }))
        .1
        .unwrap();
    fixture.advance(TIMEOUT - Duration::from_secs(1));
    fixture.server.restart(fixture.now);
    fixture.receive(&mut client);
    assert!(client.closed);

    fixture.advance(TIMEOUT - Duration::from_secs(1));
    let (mut client, response) = fixture.handshake(session, &password, 0, false);
    assert!(response.unwrap().timeout > 0, "a restart gives it time");
    let delete = Request::Delete(DeleteRequest { path: "/e", version: -1 });
    assert_eq!(fixture.call(&mut client, &delete), (vec![], Ok(Response::Empty)));
}

#[test]
fn a_packet_over_the_limit_ends_the_connection() {
    let mut fixture = Fixture::new();
    let (mut client, ..) = fixture.open();
    let limit = Config::default().max_packet;
    // The header, the length of the path, and whether to watch.
    let path = "x".repeat(limit - 8 - 4 - 1);
    let get = |path| Request::GetData(GetDataRequest { path, watch: false.into() });
    assert_eq!(fixture.call(&mut client, &get(&path)).1, Err(ErrorCode::NoNode));
    let longer = format!("{path}x");
    fixture.send(&client, |out| get(&longer).encode(9, out));
    assert!(fixture.receive(&mut client).is_empty());
    assert!(client.closed);
}

#[test]
fn a_client_that_does_not_read_is_disconnected() {
    let mut config = Config::default();
    config.max_pending = 10_000;
    let mut fixture = Fixture::with(config);
    let (mut client, ..) = fixture.open();
    fixture.create(&mut client, "/a", CreateMode::Persistent);
    let get = Request::GetData(GetDataRequest { path: "/a", watch: false.into() });
    for xid in 0..1000 {
        fixture.send(&client, |out| get.encode(xid, out));
    }
    let replies = fixture.receive(&mut client).len();
    assert!(client.closed && replies < 200, "{replies} replies waited");
}

#[test]
fn bytes_may_arrive_one_by_one() {
    let mut fixture = Fixture::new();
    let mut client = fixture.connect();
    let mut packet = BytesMut::new();
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: 0,
        timeout: 10_000,
        session_id: 0,
        password: Secret::new(None),
        read_only: None,
    };
    write_frame(&mut packet, |out| request.encode(out));
    write_frame(&mut packet, |out| Request::Ping.encode(xid::PING, out));
    for byte in packet {
        fixture.server.handle_data(fixture.now, client.id, &[byte]);
    }
    let frames = fixture.receive(&mut client);
    let response = ConnectResponse::decode_all(&frames[0]).unwrap();
    assert_eq!((frames.len(), response.read_only), (2, None));
}

#[test]
fn bytes_after_a_record_are_ignored() {
    let mut fixture = Fixture::new();
    let (mut client, ..) = fixture.open();
    let exists = Request::Exists(ExistsRequest { path: "/", watch: false.into() });
    fixture.send(&client, |out| {
        exists.encode(1, out);
        out.extend_from_slice(b"more");
    });
    let reply = fixture.receive(&mut client).remove(0);
    let header = ReplyHeader::decode(&mut Reader::new(&reply)).unwrap();
    assert_eq!(header.err, ErrorCode::Ok);
}

#[test]
fn four_letter_words_are_answered_and_the_connection_is_closed() {
    let mut fixture = Fixture::new();
    let (mut client, session, _) = fixture.open();
    fixture.create(&mut client, "/e", CreateMode::Ephemeral);
    fixture
        .call(&mut client, &Request::Exists(ExistsRequest { path: "/w", watch: true.into() }))
        .1
        .unwrap_err();
    let mut word = |word: &str| {
        let client = fixture.connect();
        fixture.server.handle_data(fixture.now, client.id, word.as_bytes());
        let mut answer = BytesMut::new();
        fixture.server.poll_transmit(client.id, &mut answer);
        let mut closed = false;
        while let Some(output) = fixture.server.poll_output() {
            closed |= output == Output::Disconnect(client.id);
        }
        fixture.server.handle_disconnected(client.id);
        assert!(closed, "{word}");
        String::from_utf8(answer.to_vec()).unwrap()
    };
    assert_eq!(word("ruok"), "imok");
    assert_eq!(word("isro"), "rw");
    assert_eq!(word("wchp"), format!("/w\n\t{session}\n\n"));
    assert_eq!(word("wchc"), format!("{session}\n\t/w\n\n"));
    assert_eq!(word("wchs"), "1 connections watching 1 paths\nTotal watches:1\n");
    let has = [
        ("srvr", "Mode: standalone\nNode count: 6\n".to_owned()),
        ("stat", "Clients:\n /127.0.0.1:50000[1](queued=0,recved=3,sent=3)\n".to_owned()),
        ("mntr", "zk_ephemerals_count\t1\n".to_owned()),
        ("mntr", "zk_znode_count\t6\n".to_owned()),
        ("cons", format!(",sid={session},lop=EXIS,")),
        ("dump", format!("Sessions with Ephemerals (1):\n{session}:\n\t/e\n")),
    ];
    for (name, part) in has {
        let answer = word(name);
        assert!(answer.contains(&part), "{name}: {answer:?} has no {part:?}");
    }
}

#[test]
fn the_same_inputs_give_the_same_outputs() {
    let run = || {
        let mut fixture = Fixture::new();
        let (mut client, session, password) = fixture.open();
        fixture.create(&mut client, "/e", CreateMode::EphemeralSequential);
        let stat = fixture
            .call(&mut client, &Request::Exists(ExistsRequest { path: "/", watch: true.into() }));
        (session, password, stat)
    };
    assert_eq!(run(), run());
}
