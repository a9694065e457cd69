//! Reconnecting at the caller's wish.

use super::*;

/// The session is connected and has nothing to send.
fn up() -> World {
    let mut config = config(2);
    config.auth = vec![Credential::digest("ann", "1")];
    let mut world = World::up_with(config);
    world.special(xid::AUTH, ErrorCode::Ok);
    assert_eq!(world.events(), [""; 0]);
    world
}

#[test]
fn an_idle_session_moves_to_a_new_connection_to_the_same_host_at_once() {
    let mut world = up();
    assert!(world.session.remove_auth(&Credential::digest("ann", "1")));
    world.add_auth("2").unwrap();
    assert_eq!(world.read(), ["auth digest ann:2"]);
    world.special(xid::AUTH, ErrorCode::Ok);
    assert_eq!(world.events(), ["#1 ok"]);
    world.reconnect().unwrap();
    assert_eq!(world.events(), ["disconnect", "SUSPENDED", "connect h1"]);
    world.connect();
    assert_eq!(world.events(), ["CONNECTED"], "the credential is not acknowledged yet");
    assert_eq!(world.read(), ["auth digest ann:2"], "the other one is forgotten");
    world.special(xid::AUTH, ErrorCode::Ok);
    assert_eq!(world.events(), ["#2 ok"]);
    assert_eq!(world.hellos.last().unwrap().id, ID, "the session goes on");
}

#[test]
fn without_credentials_a_new_connection_is_complete_with_its_handshake() {
    let mut world = World::up(1);
    world.reconnect().unwrap();
    world.connect();
    let lines = ["disconnect", "SUSPENDED", "connect h1", "CONNECTED", "#1 ok"];
    assert_eq!(world.events(), lines);
}

#[test]
fn requests_before_it_are_answered_on_the_old_connection_and_later_ones_on_the_new_one() {
    let mut world = up();
    world.delete("/sent");
    assert_eq!(world.read(), ["1 delete /sent"]);
    world.delete("/queued");
    world.reconnect().unwrap();
    world.delete("/later");
    world.call(&get("/watched", true));
    // What is queued is sent in one piece.
    let last = ["2 delete /queued", "3 delete /later", "4 getData /watched"];
    assert_eq!(world.read(), last);
    world.delete("/much later");
    world.add_auth("2").unwrap();
    assert_eq!(world.read(), [""; 0]);
    for xid in 1..4 {
        world.ok(xid);
    }
    assert_eq!(world.events(), ["#1 ok", "#2 ok", "#4 ok"]);
    world.reply(4, &data(b"x"));
    assert_eq!(world.events(), ["#5 ok", "disconnect", "SUSPENDED", "connect h1"]);
    world.connect();
    let prologue = ["auth digest ann:1", "auth digest ann:2"];
    assert_eq!(
        world.read(),
        [&prologue[..], &[r#"setWatches since 4: ["/watched"] [] []"#, "5 delete /much later"]]
            .concat()
    );
    world.special(xid::AUTH, ErrorCode::Ok);
    world.special(xid::AUTH, ErrorCode::Ok);
    assert_eq!(world.events(), ["CONNECTED", "#7 ok"]);
    world.special(xid::SET_WATCHES, ErrorCode::Ok);
    assert_eq!(world.events(), ["#3 ok"]);
    world.ok(5);
    assert_eq!(world.events(), ["#6 ok"]);
}

#[test]
fn a_server_that_does_not_answer_cannot_keep_the_session_from_leaving() {
    let mut world = up();
    world.delete("/sent");
    world.read();
    world.reconnect().unwrap();
    world.delete("/later");
    world.tick(T * 2 / 3 - 1);
    assert_eq!((world.events(), world.read()), (vec![], vec![]), "no ping is sent");
    world.tick(1);
    let lines = [
        "disconnect",
        "SUSPENDED",
        "#1 ConnectionLoss Unknown",
        "#3 ConnectionLoss NotSent",
        "connect h2",
    ];
    assert_eq!(world.events(), lines);
    world.connect();
    world.read();
    world.special(xid::AUTH, ErrorCode::Ok);
    assert_eq!(world.events(), ["CONNECTED", "#2 ok"]);
}

#[test]
fn an_attempt_to_connect_begins_again() {
    let mut world = World::new(config(2));
    world.start();
    world.reconnect().unwrap();
    assert_eq!(world.events(), ["connect h1", "disconnect", "connect h1"]);
    world.accept();
    world.read();
    world.reconnect().unwrap();
    assert_eq!(world.events(), ["disconnect", "connect h1"]);
    world.connect();
    assert_eq!(world.events(), ["CONNECTED", "#1 ok", "#2 ok"]);
}

#[test]
fn an_outage_and_an_expiry_delay_it() {
    let mut world = up();
    world.cut();
    world.reconnect().unwrap();
    assert_eq!(world.events(), ["SUSPENDED", "connect h2", "disconnect", "connect h2"]);
    world.greet(welcome(0, 0, None));
    assert_eq!(world.events(), ["disconnect", "LOST", "connect h2"]);
    world.greet(welcome(ID + 1, T as i32, Some(false)));
    world.read();
    world.special(xid::AUTH, ErrorCode::Ok);
    assert_eq!(world.events(), ["CONNECTED", "#1 ok"]);
}

#[test]
fn it_fails_with_its_session() {
    let mut world = World::new(config(1));
    assert_eq!(world.reconnect().unwrap_err().reason, Reason::NotStarted);
    world.start();
    world.reconnect().unwrap();
    world.connect();
    world.events();
    world.add_auth("wrong").unwrap();
    world.read();
    world.reconnect().unwrap();
    world.special(xid::AUTH, ErrorCode::AuthFailed);
    let failed = ["#2 AuthFailed NotApplied", "#3 AuthFailed NotSent"];
    assert_eq!(world.events(), [&["disconnect", "LOST"][..], &failed].concat());
    assert!(matches!(world.reconnect().unwrap_err().reason, Reason::AuthFailed { .. }));
}

#[test]
fn a_close_takes_its_place() {
    let mut world = up();
    world.delete("/sent");
    world.read();
    world.reconnect().unwrap();
    world.delete("/later");
    world.close();
    assert_eq!(world.read(), ["2 delete /later", "3 closeSession"]);
    assert!(world.reconnect().is_err());
    for xid in 1..4 {
        world.ok(xid);
    }
    assert_eq!(world.events(), ["#1 ok", "#3 ok", "disconnect", "LOST", "#2 Closed NotSent"]);
}

#[test]
fn an_event_that_cannot_be_read_arms_watches_on_the_next_connection_only() {
    let mut world = up();
    world.call(&get("/watched", true));
    world.delete("/sent");
    world.read();
    world.reply(1, &data(b"x"));
    world.reconnect().unwrap();
    let header = ReplyHeader { xid: xid::NOTIFICATION, zxid: -1, err: ErrorCode::Ok };
    world.send(&packet(header, |_| {}));
    assert_eq!(world.read(), [""; 0]);
    world.ok(2);
    world.connect();
    assert_eq!(world.read(), ["auth digest ann:1", r#"setWatches since 2: ["/watched"] [] []"#]);
}
