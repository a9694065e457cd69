//! Servers that close the connection instead of answering, and those that answer oddly.

use super::*;

/// Suspended, with the watch #1, and transaction 1 seen.
fn suspended(hosts: u16) -> World {
    let mut world = World::up(hosts);
    world.call(&get("/w", true));
    world.read();
    world.reply(1, &data(b""));
    world.cut();
    world.events();
    world
}

/// The connection is there, and the handshake has been sent.
fn greeted(world: &mut World) -> &Hello {
    while world.host.is_none() {
        world.tick(10);
    }
    world.accept();
    world.read();
    world.hellos.last().unwrap()
}

/// Every handshake is closed until one says that nothing was seen; how long that took, in milliseconds.
fn closed_handshakes(world: &mut World) -> u64 {
    let from = world.now;
    while greeted(world).last_zxid > 0 {
        world.cut();
        assert!(world.now.since(from) < 10 * millis(T), "it never asks anew");
    }
    world.now.since(from).as_millis() as u64
}

#[test]
fn the_cause_says_that_the_server_may_be_behind() {
    let mut world = suspended(1);
    assert_eq!(greeted(&mut world).last_zxid, 1);
    world.cut();
    assert_eq!(
        world.session.last_cause(),
        Some(
            "h1:1: cut during the handshake; the server may have no quorum, or be behind the newest \
             transaction that this client has seen (zxid 0x1)"
        )
    );
    let mut world = World::new(config(1));
    world.start();
    greeted(&mut world);
    world.cut();
    assert_eq!(world.session.last_cause(), Some("h1:1: cut during the handshake"));
}

#[test]
fn a_refusal_below_zookeeper_says_nothing_of_the_session() {
    let mut world = suspended(1);
    let from = world.now;
    while world.now.since(from) < 5 * millis(T) {
        assert_eq!(greeted(&mut world).last_zxid, 1);
        let refused = std::io::Error::new(std::io::ErrorKind::InvalidData, "refused");
        world.cut_by(Cause::below(refused));
        assert_eq!(world.session.last_cause(), Some("h1:1: refused"));
    }
}

#[test]
fn a_session_unknown_to_wiped_servers_is_lost_and_replaced() {
    for hosts in [1, 3] {
        let mut world = suspended(hosts);
        let took = closed_handshakes(&mut world);
        // Until then a server may come up that has the session.
        assert!((T..2 * T).contains(&took), "{took}");
        assert_eq!(world.hellos.last().unwrap().id, ID);
        assert_eq!(world.session.state(), SessionState::Suspended);
        world.events();
        world.send(&welcome(0, 0, Some(false)));
        let lines = world.events();
        assert_eq!(lines[..3], ["disconnect", "LOST", "#1 unwatched SessionExpired"]);
        // A server that has caught up may take the new one; there is none.
        let from = world.now;
        closed_handshakes(&mut world);
        assert!(world.now.since(from) < millis(T));
        assert_eq!(world.hellos.last().unwrap().id, 0);
        world.send(&welcome(ID + 1, T as i32, Some(false)));
        assert_eq!(world.session.state(), SessionState::Connected);
        assert_eq!(world.session.last_zxid(), 0);
        world.cut();
        assert_eq!((greeted(&mut world).id, world.hellos.last().unwrap().last_zxid), (ID + 1, 0));
    }
}

#[test]
fn a_server_that_may_be_behind_is_not_read_from() {
    let mut world = suspended(1);
    closed_handshakes(&mut world);
    world.events();
    world.send(&welcome(ID, T as i32, Some(false)));
    assert_eq!(world.events(), ["disconnect", "connect h1"]);
    assert!(world.session.last_cause().unwrap().contains("may be behind"));
    // It has caught up, or was never behind.
    assert_eq!(greeted(&mut world).last_zxid, 1);
    world.send(&welcome(ID, T as i32, Some(false)));
    assert_eq!(world.events(), ["CONNECTED"]);
    assert_eq!(world.session.last_zxid(), 1);
}

#[test]
fn any_answer_to_a_handshake_resets_the_count() {
    // It refuses for a while, and has quorum then.
    let mut world = suspended(1);
    for _ in 0..3 {
        assert_eq!(greeted(&mut world).last_zxid, 1);
        world.cut();
    }
    greeted(&mut world);
    world.send(&welcome(ID, T as i32, Some(false)));
    world.read();
    world.special(xid::SET_WATCHES, ErrorCode::Ok);
    world.idle(2 * T);
    world.cut();
    assert_eq!(greeted(&mut world).last_zxid, 1);
}

#[test]
fn a_resumption_answered_without_an_id_is_an_expiry() {
    for renews in [true, false] {
        let mut config = config(2);
        config.renew_expired = renews;
        let mut world = World::up_with(config);
        world.cut();
        world.events();
        greeted(&mut world);
        world.send(&welcome(0, T as i32, Some(false)));
        let lines = world.events();
        assert_eq!(lines[lines.len() - 2 - usize::from(renews)..][..2], ["disconnect", "LOST"]);
        assert_eq!(world.session.end_reason().is_none(), renews);
        if renews {
            assert_eq!(greeted(&mut world).id, 0);
            world.send(&welcome(ID + 1, T as i32, Some(false)));
            assert_eq!(world.session.session_id(), Some(SessionId(ID + 1)));
        }
    }
}

#[test]
fn a_server_that_refuses_new_sessions_is_retried_with_backoff() {
    for timeout in [0, -1, i32::MIN] {
        let mut world = World::new(config(1));
        world.start();
        for _ in 0..50 {
            greeted(&mut world);
            world.send(&welcome(0, timeout, Some(false)));
        }
        let cause = format!(
            "h1:1: handshake: the server refuses a new session (it grants a timeout of {timeout} ms)"
        );
        assert_eq!(world.session.last_cause(), Some(cause.as_str()));
        assert!(world.now.since_origin() > millis(40_000), "{:?}", world.now);
        assert_eq!(world.session.state(), SessionState::Lost);
    }
}
