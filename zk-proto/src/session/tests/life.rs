//! How sessions end: closed, expired, refused.

use super::*;

/// #1 armed a watch, #2 is sent, #3 is not.
fn busy(config: Config) -> World {
    let mut world = World::up_with(config);
    world.call(&get("/w", true));
    world.read();
    world.reply(1, &data(b""));
    world.delete("/a");
    world.read();
    world.delete("/b");
    world.events();
    world
}

/// Suspended, with the watch #1, and #2 waiting to be sent.
fn suspended(config: Config) -> World {
    let mut world = World::up_with(config);
    world.call(&get("/w", true));
    world.read();
    world.reply(1, &data(b""));
    world.cut();
    world.delete("/a");
    world.events();
    world
}

fn expired() -> Vec<u8> {
    welcome(0, 0, Some(false))
}

fn next(world: &mut World) {
    while world.host.is_none() {
        world.tick(10);
    }
}

// ---- close ----------------------------------------------------------------------------------------

#[test]
fn a_close_is_the_last_request() {
    let mut world = busy(config(1));
    assert!(!world.session.is_closed());
    world.close();
    assert_eq!((world.session.is_closed(), world.session.end_reason()), (true, None));
    assert_eq!(world.read(), ["3 delete /b", "4 closeSession"]);
    assert_eq!(world.refusal(&delete("/c")), "Closed");
    world.ok(2);
    world.ok(3);
    world.ok(4);
    assert_eq!(world.events(), ["#2 ok", "#3 ok", "disconnect", "LOST", "#1 unwatched Closed"]);
    assert_eq!(world.session.end_reason(), Some(Reason::Closed));
    assert_eq!(world.session.connection_state(), ConnectionState::Closed);
    assert_eq!(world.session.poll_timeout(), None);
    assert!(!world.session.wants_transmit());
}

#[test]
fn a_second_close_changes_nothing() {
    let mut world = World::up(1);
    world.close();
    world.close();
    assert_eq!(world.read(), ["1 closeSession"]);
    world.close();
    world.ok(1);
    world.close();
    assert_eq!(world.events(), ["disconnect", "LOST"]);
    assert_eq!(world.read(), [""; 0]);
}

#[test]
fn a_connection_loss_completes_a_close() {
    let mut world = busy(config(1));
    world.close();
    world.read();
    world.cut();
    assert_eq!(
        world.events(),
        ["LOST", "#2 Closed Unknown", "#3 Closed Unknown", "#1 unwatched Closed"]
    );
    assert_eq!(world.session.end_reason(), Some(Reason::Closed));
}

#[test]
fn a_close_waits_for_at_most_its_timeout() {
    let mut world = busy(config(1));
    world.close();
    world.tick(1_999);
    assert_eq!(world.events(), [""; 0]);
    world.tick(1);
    assert_eq!(
        world.events(),
        ["disconnect", "LOST", "#2 Closed Unknown", "#3 Closed NotSent", "#1 unwatched Closed"]
    );
}

#[test]
fn a_closing_session_does_not_change_hosts() {
    let mut world = World::up(1);
    world.close();
    world.session.set_hosts(world.now, vec![HostPort::new("h9", 9)]);
    assert!(world.add_auth("1").is_err());
    world.absorb();
    assert_eq!(world.events(), [""; 0]);
    assert_eq!(world.read(), ["1 closeSession"]);
}

#[test]
fn a_close_without_a_session_completes_at_once() {
    let over = |mut world: World, lines: &[&str]| {
        world.events();
        world.close();
        assert_eq!(world.events(), lines);
        assert_eq!(world.session.end_reason(), Some(Reason::Closed));
        assert_eq!(world.session.poll_timeout(), None);
        assert_eq!(world.session.state(), SessionState::Lost);
        world.start();
        world.tick(100_000);
        assert_eq!((world.events().len(), world.read().len()), (0, 0));
    };
    over(World::new(config(1)), &[]);
    let mut world = World::new(config(1));
    world.start();
    world.delete("/a");
    over(world, &["disconnect", "#1 Closed NotSent"]);
    let mut world = World::new(config(1));
    world.start();
    world.delete("/a");
    world.accept();
    over(world, &["disconnect", "#1 Closed NotSent"]);
    let mut world = World::new(config(1));
    world.start();
    world.cut();
    world.delete("/a");
    over(world, &["#1 Closed NotSent"]);
    let lines = ["LOST", "#2 Closed NotSent", "#1 unwatched Closed"];
    over(suspended(config(1)), &lines);
    let mut world = suspended(config(1));
    next(&mut world);
    world.accept();
    over(world, &["disconnect", "LOST", "#2 Closed NotSent", "#1 unwatched Closed"]);
}

// ---- expiry ---------------------------------------------------------------------------------------

#[test]
fn an_expired_session_is_lost_once_and_a_new_one_begins_at_once_on_the_same_host() {
    let mut world = suspended(config(3));
    assert_eq!(world.host.as_ref().unwrap().host, "h2");
    world.greet(expired());
    assert_eq!(
        world.events(),
        [
            "disconnect",
            "LOST",
            "#2 SessionExpired NotSent",
            "#1 unwatched SessionExpired",
            "connect h2"
        ]
    );
    assert_eq!((world.session.session_id(), world.session.armed()), (None, 0));
    world.delete("/b");
    world.accept();
    assert_eq!(world.read(), ["connect 0x0 at 1"]);
    assert_eq!(world.password(), "\0".repeat(16));
    world.send(&welcome(ID + 1, T as i32, Some(false)));
    assert_eq!(world.events(), ["CONNECTED"]);
    assert_eq!(world.read(), ["2 delete /b".replace('2', "3")]);
    assert_eq!(world.session.session_id(), Some(SessionId(ID + 1)));
}

#[test]
fn a_negative_timeout_is_an_expiry() {
    let mut world = suspended(config(1));
    next(&mut world);
    world.events();
    world.greet(welcome(ID, -1, None));
    assert_eq!(world.events()[..2], ["disconnect", "LOST"]);
}

#[test]
fn a_server_that_expires_every_session_is_retried_with_backoff() {
    for hosts in [1, 3] {
        let mut world = suspended(config(hosts));
        world.events();
        for _ in 0..100 {
            next(&mut world);
            world.greet(expired());
        }
        let lines = world.events();
        assert_eq!(lines.iter().filter(|line| *line == "LOST").count(), 1);
        let least = Duration::from_secs(90 * 3 / 2) / u32::from(hosts);
        assert!(world.now.since_origin() > least, "{:?}", world.now);
    }
}

#[test]
fn a_server_that_grants_and_drops_sessions_is_retried_with_backoff() {
    for hosts in [1, 3] {
        let mut world = World::new(config(hosts));
        world.start();
        for round in 0..200 {
            next(&mut world);
            // Now it has forgotten the session, now it takes a new one and drops it.
            world.greet(if round % 2 == 0 {
                welcome(ID + round, T as i32, Some(false))
            } else {
                expired()
            });
            if world.open {
                world.cut();
            }
        }
        let least = Duration::from_secs(90 * 2) / u32::from(hosts);
        assert!(world.now.since_origin() > least, "{:?}", world.now);
    }
}

#[test]
fn without_renewal_an_expired_session_is_the_last() {
    for answer in [expired(), welcome(ID + 1, T as i32, Some(false))] {
        let mut config = config(2);
        config.renew_expired = false;
        let mut world = suspended(config);
        world.greet(answer);
        assert_eq!(
            world.events(),
            ["disconnect", "LOST", "#2 SessionExpired NotSent", "#1 unwatched SessionExpired"]
        );
        assert_eq!(world.session.end_reason(), Some(Reason::SessionExpired));
        assert_eq!(world.session.connection_state(), ConnectionState::ExpiredSession);
        assert_eq!(world.refusal(&delete("/b")), "SessionExpired");
        assert_eq!(world.session.poll_timeout(), None);
    }
}

#[test]
fn a_resumption_answered_with_another_id_is_an_expiry() {
    let mut world = suspended(config(2));
    world.add_auth("1").unwrap();
    world.accept();
    world.read();
    world.send(&welcome(ID + 1, T as i32, Some(false)));
    assert_eq!(
        world.events(),
        ["LOST", "#2 SessionExpired NotSent", "#1 unwatched SessionExpired", "CONNECTED"]
    );
    assert_eq!(world.session.session_id(), Some(SessionId(ID + 1)));
    assert_eq!(world.read(), ["auth digest ann:1"]);
}

#[test]
fn a_resumed_session_that_has_expired_is_replaced() {
    let mut config = config(1);
    let password = Secret::new(Bytes::from_static(&PASSWORD));
    config.resume = Some(SessionTicket { id: SessionId(ID), password, last_zxid: 77 });
    let mut world = World::new(config);
    world.start();
    world.delete("/a");
    world.greet(expired());
    assert_eq!(
        world.events(),
        ["connect h1", "disconnect", "#1 SessionExpired NotSent", "connect h1"]
    );
    world.connect();
    assert_eq!((world.hellos[1].id, world.hellos[1].last_zxid), (0, 77));
}

// ---- credentials ----------------------------------------------------------------------------------

#[test]
fn credentials_are_acknowledged_in_their_order() {
    let mut config = config(1);
    config.auth = vec![Credential::digest("ann", "1")];
    let mut world = World::new(config);
    assert_eq!(world.add_auth("idle").unwrap(), 1);
    world.start();
    world.add_auth("connecting").unwrap();
    world.accept();
    world.add_auth("handshake").unwrap();
    world.read();
    world.send(&welcome(ID, T as i32, Some(false)));
    world.add_auth("up").unwrap();
    world.delete("/a");
    assert_eq!(
        world.read(),
        [
            "auth digest ann:1",
            "auth digest ann:idle",
            "auth digest ann:connecting",
            "auth digest ann:handshake",
            "auth digest ann:up",
            "1 delete /a",
        ]
    );
    world.events();
    for _ in 0..5 {
        world.special(xid::AUTH, ErrorCode::Ok);
    }
    assert_eq!(world.events(), ["#1 ok", "#2 ok", "#3 ok", "#4 ok"]);
    world.close();
    assert!(world.add_auth("closing").is_err());
    world.cut();
    assert!(world.add_auth("closed").is_err());
}

#[test]
fn a_credential_whose_answer_was_lost_is_sent_again_and_ends_once() {
    let mut world = World::up(1);
    world.add_auth("1").unwrap();
    assert_eq!(world.read(), ["auth digest ann:1"]);
    world.cut();
    next(&mut world);
    world.connect();
    world.events();
    assert_eq!(world.read(), ["auth digest ann:1"]);
    world.special(xid::AUTH, ErrorCode::Ok);
    assert_eq!(world.events(), ["#1 ok"]);
    world.cut();
    next(&mut world);
    world.connect();
    assert_eq!(world.read(), ["auth digest ann:1"]);
    world.events();
    world.special(xid::AUTH, ErrorCode::Ok);
    assert_eq!(world.events(), [""; 0]);
}

#[test]
fn a_refused_credential_ends_the_session_for_good() {
    let mut config = config(2);
    config.auth = vec![Credential::digest("ann", "1")];
    let mut world = busy(config);
    world.add_auth("2").unwrap();
    world.read();
    world.add_auth("3").unwrap();
    world.special(xid::AUTH, ErrorCode::Ok);
    world.special(xid::AUTH, ErrorCode::AuthFailed);
    assert_eq!(
        world.events(),
        [
            "disconnect",
            "LOST",
            "#2 AuthFailed Unknown",
            "#3 AuthFailed Unknown",
            "#1 unwatched AuthFailed",
            "#4 AuthFailed NotApplied",
            "#5 AuthFailed NotSent",
        ]
    );
    assert_eq!(world.session.connection_state(), ConnectionState::AuthFailed);
    assert_eq!(world.refusal(&delete("/c")), "AuthFailed");
    assert!(world.add_auth("4").is_err());
    world.tick(100_000);
    assert_eq!((world.events().len(), world.read().len()), (0, 0));
}

#[test]
fn a_credential_that_is_refused_when_connecting_ends_the_session_too() {
    let mut config = config(2);
    config.auth = vec![Credential::digest("ann", "1")];
    let mut world = World::new(config);
    world.start();
    world.delete("/a");
    world.connect();
    world.read();
    world.special(xid::AUTH, ErrorCode::AuthFailed);
    assert_eq!(
        world.events(),
        ["connect h1", "CONNECTED", "disconnect", "LOST", "#1 AuthFailed Unknown"]
    );
    assert_eq!(world.session.poll_timeout(), None);
}

const DEMAND: ErrorCode = ErrorCode::SessionClosedRequireSaslAuth;

#[test]
fn the_error_names_each_scheme_once() {
    let mut config = config(1);
    let ip = Credential::new("ip", "");
    config.auth = vec![Credential::digest("ann", "1"), ip, Credential::digest("bob", "2")];
    let mut world = World::up_with(config);
    world.read();
    world.special(xid::PING, DEMAND);
    let sent = vec!["digest".to_owned(), "ip".to_owned()];
    assert_eq!(world.session.end_reason(), Some(Reason::AuthRequired { sent }));
}

fn assert_demanded(world: &mut World, sent: &str) {
    assert_eq!(world.session.connection_state(), ConnectionState::AuthFailed);
    let reason = world.session.end_reason().unwrap();
    assert_eq!(name(&reason), "AuthRequired");
    assert!(reason.to_string().contains(sent), "{reason}");
    assert!(world.session.last_cause().unwrap().contains(&reason.to_string()));
    assert_eq!(world.refusal(&delete("/z")), "AuthRequired");
    world.tick(100_000);
    assert_eq!((world.events().len(), world.read().len()), (0, 0), "it tries again");
}

#[test]
fn a_server_that_demands_credentials_of_an_idle_client_ends_the_session() {
    let mut world = World::up(2);
    world.tick(T / 3);
    assert_eq!(world.read(), ["ping"]);
    world.special(xid::PING, DEMAND);
    assert_eq!(world.events(), ["disconnect", "LOST"]);
    assert_demanded(&mut world, "no credential was sent");
}

#[test]
fn a_server_that_demands_other_credentials_refuses_a_call_and_ends_the_session() {
    let mut config = config(2);
    config.auth = vec![Credential::digest("ann", "1"), Credential::new("ip", "")];
    let mut world = busy(config);
    world.refuse(2, DEMAND);
    assert_eq!(
        world.events(),
        [
            "disconnect",
            "LOST",
            "#2 AuthRequired NotApplied",
            "#3 AuthRequired NotSent",
            "#1 unwatched AuthRequired",
        ]
    );
    assert_demanded(&mut world, "these schemes were sent: digest, ip");
}

#[test]
fn a_server_that_demands_credentials_before_watches_are_armed_ends_the_session() {
    let mut world = suspended(config(1));
    next(&mut world);
    world.connect();
    world.read();
    world.events();
    world.special(xid::SET_WATCHES, DEMAND);
    assert_eq!(
        world.events(),
        ["disconnect", "LOST", "#2 AuthRequired Unknown", "#1 unwatched AuthRequired"]
    );
    assert_demanded(&mut world, "no credential was sent");
}

#[test]
fn a_close_completes_if_the_server_demands_credentials() {
    let mut world = World::up(1);
    world.close();
    world.read();
    world.refuse(1, DEMAND);
    assert_eq!(world.events(), ["disconnect", "LOST"]);
    assert_eq!(world.session.end_reason(), Some(Reason::Closed));
}

#[test]
fn a_credential_that_was_never_sent_fails_as_not_sent() {
    let mut world = World::up(1);
    world.add_auth("1").unwrap();
    world.read();
    world.cut();
    world.add_auth("2").unwrap();
    world.events();
    world.close();
    assert_eq!(world.events(), ["LOST", "#1 Closed Unknown", "#2 Closed NotSent"]);
}

#[test]
fn equal_credentials_are_sent_once_and_share_the_answer() {
    let mut config = config(1);
    config.auth = vec![Credential::digest("ann", "1"), Credential::digest("ann", "1")];
    let mut world = World::new(config);
    world.start();
    world.add_auth("1").unwrap();
    world.add_auth("2").unwrap();
    world.connect();
    assert_eq!(world.read(), ["auth digest ann:1", "auth digest ann:2"]);
    world.add_auth("2").unwrap();
    world.events();
    world.special(xid::AUTH, ErrorCode::Ok);
    world.special(xid::AUTH, ErrorCode::Ok);
    assert_eq!(world.events(), ["#1 ok", "#2 ok", "#3 ok"]);
    world.add_auth("2").unwrap();
    assert_eq!(world.events(), ["#4 ok"], "the server has it already");
    assert_eq!(world.read(), [""; 0]);
    world.cut();
    next(&mut world);
    world.connect();
    assert_eq!(world.read(), ["auth digest ann:1", "auth digest ann:2"]);
}

#[test]
fn equal_credentials_are_refused_together() {
    let mut world = World::up(1);
    world.add_auth("1").unwrap();
    world.add_auth("1").unwrap();
    world.read();
    world.special(xid::AUTH, ErrorCode::AuthFailed);
    let lines = ["disconnect", "LOST", "#1 AuthFailed NotApplied", "#2 AuthFailed NotApplied"];
    assert_eq!(world.events(), lines);
}

#[test]
fn a_removed_credential_is_not_sent_on_later_connections() {
    let mut world = World::up(1);
    for password in ["1", "2", "3"] {
        world.add_auth(password).unwrap();
    }
    assert_eq!(world.read().len(), 3);
    world.special(xid::AUTH, ErrorCode::Ok);
    let [first, second, other] = ["1", "2", "9"].map(|word| Credential::digest("ann", word));
    assert!(world.session.remove_auth(&first));
    assert!(world.session.remove_auth(&second));
    assert!(!world.session.remove_auth(&second) && !world.session.remove_auth(&other));
    // The answers of this connection still belong to those that were sent on it.
    world.special(xid::AUTH, ErrorCode::Ok);
    world.special(xid::AUTH, ErrorCode::Ok);
    assert_eq!(world.events(), ["#1 ok", "#2 ok", "#3 ok"]);
    // One that comes back before the connection ends is as good as never removed.
    world.add_auth("2").unwrap();
    assert_eq!((world.events(), world.read()), (vec!["#4 ok".into()], vec![]));
    world.cut();
    next(&mut world);
    world.connect();
    assert_eq!(world.read(), ["auth digest ann:2", "auth digest ann:3"]);
}

#[test]
fn callers_that_wait_for_a_removed_credential_get_an_error() {
    let mut world = World::up(1);
    world.add_auth("sent").unwrap();
    world.read();
    assert!(world.session.remove_auth(&Credential::digest("ann", "sent")));
    world.cut();
    world.add_auth("waiting").unwrap();
    assert!(world.session.remove_auth(&Credential::digest("ann", "waiting")));
    world.absorb();
    assert_eq!(
        world.events(),
        ["SUSPENDED", "#1 ConnectionLoss Unknown", "#2 CredentialRemoved NotSent"]
    );
    next(&mut world);
    world.connect();
    assert_eq!(world.read(), [""; 0]);
}

#[test]
fn a_session_that_has_ended_has_no_id_and_no_ticket() {
    for refused in [false, true] {
        let mut world = World::up(1);
        assert!(world.session.ticket().is_some());
        if refused {
            world.add_auth("1").unwrap();
            world.read();
            world.special(xid::AUTH, ErrorCode::AuthFailed);
            assert_eq!(world.session.connection_state(), ConnectionState::AuthFailed);
        }
        world.close();
        world.read();
        if !refused {
            world.ok(1);
        }
        assert_eq!((world.session.session_id(), world.session.ticket()), (None, None));
        assert_eq!(world.session.connection_state(), ConnectionState::Closed);
    }
}
