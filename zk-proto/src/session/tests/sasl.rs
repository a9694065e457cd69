//! The SASL exchange: what is sent before it, during it and after it, and how it ends.

use super::*;
use crate::sasl::{SaslError, Step};

fn sasl_config(hosts: u16) -> Config {
    let mut config = config(hosts);
    config.sasl = true;
    config
}

/// A session whose first handshake was answered.
fn greeted(hosts: u16) -> World {
    let mut world = World::new(sasl_config(hosts));
    world.start();
    world.connect();
    world
}

fn respond(token: &'static [u8]) -> Result<Step, SaslError> {
    Ok(Step::Respond(Secret::new(Bytes::from_static(token))))
}

impl World {
    fn step(&mut self, answer: Result<Step, SaslError>) {
        let step = self.sasl_step.expect("a step was asked for");
        self.session.handle_sasl(self.now, step, answer);
        self.absorb();
    }

    fn sasl_answer(&mut self, xid: i32, token: Option<&'static [u8]>) {
        let token = Secret::new(token.map(Bytes::from_static));
        let header = ReplyHeader { xid, zxid: 0, err: ErrorCode::Ok };
        let response = SaslResponse { token };
        self.send(&packet(header, |out| response.encode(out)));
    }

    fn sasl_refusal(&mut self, xid: i32, err: ErrorCode) {
        let header = ReplyHeader { xid, zxid: 0, err };
        let response = SaslResponse { token: Secret::new(None) };
        self.send(&packet(header, |out| response.encode(out)));
    }

    /// Connects after a pause.
    fn connect_again(&mut self) {
        while self.host.is_none() {
            self.tick(50);
        }
        self.connect();
    }

    /// The xid of the token that was sent.
    fn token_xid(&mut self) -> i32 {
        let packets = self.read();
        let [packet] = packets.as_slice() else { panic!("{packets:?}") };
        packet.strip_suffix(" sasl").expect(packet).parse().unwrap()
    }

    fn reason(&self) -> String {
        self.session.end_reason().expect("the session has ended").to_string()
    }
}

#[test]
fn the_exchange_precedes_credentials_watches_and_requests() {
    let mut config = sasl_config(1);
    config.auth.push(Credential::digest("ann", "secret"));
    let mut world = World::new(config);
    world.start();
    let watch = world.call(&get("/w", true));
    world.connect();
    for (expected, token) in [("sasl", b"".as_slice()), ("sasl b\"challenge\"", b"response")] {
        assert_eq!(world.events().last().unwrap(), expected);
        assert!(world.read().is_empty(), "nothing is sent while the mechanism works");
        world.step(respond(token));
        let xid = world.token_xid();
        assert_eq!(world.session.state(), SessionState::Lost);
        assert_eq!(world.session.connection_state(), ConnectionState::Connecting);
        world.sasl_answer(xid, Some(if token.is_empty() { b"challenge" } else { b"proof" }));
    }
    assert_eq!(world.events(), ["sasl b\"proof\""]);
    world.step(Ok(Step::Done));
    assert_eq!(world.events(), ["CONNECTED"]);
    assert_eq!(world.read(), ["auth digest ann:secret", "1 getData /w"]);
    world.reply(1, &data(b""));
    assert!(world.replies.contains_key(&watch));

    // On the next connection, watches are armed again after the exchange.
    world.cut();
    world.connect_again();
    assert_eq!(world.events().last().unwrap(), "sasl", "a new mechanism");
    world.step(respond(b"first"));
    let xid = world.token_xid();
    assert!(world.session.state() == SessionState::Suspended && world.read().is_empty());
    world.sasl_answer(xid, None);
    // This is the first answer, so the server has no SASL.
    assert_eq!(
        world.reason(),
        "SASL authentication on h1:1 failed: the server has SASL not configured (it needs \
         zookeeper.authProvider.sasl and a JAAS configuration)"
    );
}

#[test]
fn a_null_token_after_the_first_one_goes_to_the_mechanism() {
    let mut world = greeted(1);
    for _ in 0..2 {
        world.step(respond(b"t"));
        let xid = world.token_xid();
        world.sasl_answer(xid, if xid == 1 { Some(b"c") } else { None });
    }
    assert_eq!(world.events().last().unwrap(), "sasl b\"\"");
    world.step(Ok(Step::Done));
    assert_eq!(world.session.state(), SessionState::Connected);
}

#[test]
fn a_refusal_ends_the_session() {
    for err in [ErrorCode::AuthFailed, ErrorCode::SessionClosedRequireSaslAuth] {
        let mut world = World::new(sasl_config(2));
        world.start();
        let waiting = world.delete("/a");
        world.connect();
        world.step(respond(b"t"));
        let xid = world.token_xid();
        world.events();
        world.sasl_refusal(xid, err);
        assert_eq!(world.events(), ["disconnect", "#1 SaslFailed NotSent"]);
        assert_eq!(
            world.reason(),
            "SASL authentication on h1:1 failed: the server refused the credentials"
        );
        assert_eq!(world.failures[&waiting].outcome, Outcome::NotSent);
        assert_eq!(world.session.connection_state(), ConnectionState::AuthFailed);
        assert_eq!(world.session.state(), SessionState::Lost);
        world.tick(100_000);
        assert!(world.events().is_empty(), "no other host is tried");
        assert_eq!(world.refusal(&delete("/b")), "SaslFailed");
    }
}

#[test]
fn a_server_that_is_not_believed_ends_the_session_and_gets_no_request() {
    let mut world = greeted(2);
    world.delete("/a");
    world.step(respond(b"t"));
    let xid = world.token_xid();
    world.sasl_answer(xid, Some(b"a wrong proof"));
    world.step(Err(SaslError::WrongProof));
    assert!(world.reason().ends_with("did not prove that it knows the password"));
    assert!(!world.session.wants_transmit());
    assert_eq!(world.failures.len(), 1);
}

#[test]
fn a_connection_that_is_lost_during_the_exchange_is_retried_on_the_next_host() {
    for sent in [false, true] {
        let mut world = greeted(2);
        if sent {
            world.step(respond(b"t"));
            world.token_xid();
        }
        world.events();
        world.cut();
        assert_eq!(world.events(), ["connect h2"]);
        assert_eq!(world.session.last_cause(), Some("h1:1: cut during the SASL exchange"));
        // The session is resumed, and the exchange begins anew.
        world.accept();
        assert_eq!(world.read(), ["connect 0x1234 at 0"]);
        world.send(&welcome(ID, T as i32, Some(false)));
        assert_eq!(world.events(), ["sasl"]);
    }
}

#[test]
fn a_transient_error_of_the_mechanism_is_retried_with_pauses() {
    let mut world = greeted(1);
    for _ in 0..3 {
        world.step(Err(SaslError::Unavailable("the vault is sealed".into())));
        let cause = world.session.last_cause().unwrap();
        assert_eq!(cause, "h1:1: SASL: no credentials: the vault is sealed");
        assert!(world.host.is_none(), "there is a pause");
        world.connect_again();
    }
    world.step(Ok(Step::Done));
    assert_eq!(world.session.state(), SessionState::Connected);
}

#[test]
fn an_answer_to_a_step_of_an_older_connection_is_ignored() {
    let mut world = greeted(2);
    let old = world.sasl_step.unwrap();
    world.cut();
    world.session.handle_sasl(world.now, old, Ok(Step::Done));
    world.absorb();
    world.connect();
    for answer in [Ok(Step::Done), respond(b"t"), Err(SaslError::Refused)] {
        world.session.handle_sasl(world.now, old, answer);
        world.absorb();
    }
    assert!(world.read().is_empty());
    assert_eq!(world.session.state(), SessionState::Lost);
    world.step(respond(b"t"));
    let xid = world.token_xid();
    // An answer that comes twice.
    world.step(respond(b"again"));
    assert!(world.read().is_empty());
    world.sasl_answer(xid, Some(b"c"));
    world.step(Ok(Step::Done));
    assert_eq!(world.session.state(), SessionState::Connected);
}

#[test]
fn the_exchange_has_limits() {
    // Time: two thirds of the session timeout, whoever is due.
    for sent in [false, true] {
        let mut world = greeted(1);
        if sent {
            world.step(respond(b"t"));
            world.token_xid();
        }
        world.tick(T * 2 / 3 - 1);
        assert!(world.host.is_some());
        world.tick(1);
        let cause = world.session.last_cause().unwrap().to_owned();
        let who = if sent { "the server" } else { "the mechanism" };
        assert!(cause.contains(who) && cause.contains("not answered in time"), "{cause}");
    }
    // The number of tokens.
    let mut world = greeted(1);
    while world.session.end_reason().is_none() {
        world.step(respond(b"t"));
        if world.session.wants_transmit() {
            let xid = world.token_xid();
            assert!(xid <= 16);
            world.sasl_answer(xid, Some(b"c"));
        }
    }
    assert!(world.reason().contains("too many tokens"));
    // The length of a token, of both sides.
    static LONG: [u8; 200 << 10] = [0; 200 << 10];
    let mut world = greeted(1);
    world.step(respond(&LONG));
    assert!(world.reason().contains("too long"));
    let mut world = greeted(1);
    world.step(respond(b"t"));
    let xid = world.token_xid();
    world.sasl_answer(xid, Some(&LONG));
    assert!(world.reason().contains("too long"));
}

#[test]
fn packets_out_of_turn_end_the_connection() {
    let out_of_turn: [fn(&mut World); 5] = [
        |world| world.sasl_answer(1, Some(b"before anything was sent")),
        |world| {
            world.step(respond(b"t"));
            world.sasl_answer(1, Some(b"before it was sent"));
        },
        |world| {
            world.step(respond(b"t"));
            world.token_xid();
            world.sasl_answer(2, Some(b"another xid"));
        },
        |world| {
            world.step(respond(b"t"));
            world.token_xid();
            world.fire(EventType::NodeDeleted, "/a");
        },
        |world| {
            world.step(respond(b"t"));
            world.token_xid();
            world.sasl_refusal(1, ErrorCode::Throttled);
        },
    ];
    for act in out_of_turn {
        let mut world = greeted(2);
        act(&mut world);
        assert!(world.session.end_reason().is_none());
        assert!(world.session.last_cause().unwrap().starts_with("h1:1: SASL: "));
        assert_eq!(world.host.as_ref().unwrap().host, "h2");
    }
}

#[test]
fn a_session_that_is_closed_during_the_exchange_ends_at_once() {
    let mut world = greeted(1);
    world.step(respond(b"t"));
    world.close();
    assert_eq!(world.events().last().unwrap(), "disconnect");
    assert_eq!(world.session.end_reason(), Some(Reason::Closed));
    assert!(!world.session.wants_transmit());
}

#[test]
fn credentials_that_change_during_the_exchange_are_sent_after_it() {
    let mut world = greeted(1);
    world.add_auth("one").unwrap();
    world.add_auth("two").unwrap();
    assert!(world.session.remove_auth(&Credential::digest("ann", "one")));
    world.absorb();
    world.step(Ok(Step::Done));
    assert_eq!(world.read(), ["auth digest ann:two"]);
}

#[test]
fn a_read_only_server_is_authenticated_to_as_well() {
    let mut config = sasl_config(1);
    config.read_only = true;
    let mut world = World::new(config);
    world.start();
    world.greet(welcome(ID, T as i32, Some(true)));
    world.step(Ok(Step::Done));
    assert_eq!(world.session.state(), SessionState::ConnectedReadOnly);
}

#[test]
fn the_exchange_can_be_turned_on_and_off_for_later_connections() {
    let mut world = World::up(1);
    world.session.set_sasl(true);
    world.cut();
    world.connect_again();
    assert_eq!(world.events().last().unwrap(), "sasl");
    world.session.set_sasl(false);
    world.cut();
    world.connect_again();
    assert_eq!(world.session.state(), SessionState::Connected);
}

#[test]
fn no_token_is_shown() {
    let mut world = greeted(1);
    world.step(respond(b"canary"));
    let shown = format!("{:?}", world.session);
    assert!(!shown.contains("canary"), "{shown}");
    let xid = world.token_xid();
    world.trace.clear();
    world.sasl_answer(xid, Some(b"canary"));
    assert!(world.trace.contains("Sasl") && !world.trace.contains("canary"), "{}", world.trace);
}

#[test]
fn a_reconnect_during_the_exchange_begins_again_and_completes_after_it() {
    let mut world = greeted(1);
    let stale = world.sasl_step.expect("a step was asked for");
    world.reconnect().unwrap();
    world.events();
    world.connect();
    assert_eq!(world.events(), ["sasl"], "a new mechanism");
    world.session.handle_sasl(world.now, stale, Ok(Step::Done));
    world.absorb();
    assert_eq!(world.events(), [""; 0], "the old one counts for nothing");
    world.step(Ok(Step::Done));
    assert_eq!(world.events(), ["CONNECTED", "#1 ok"]);
    // A refused login ends those who wait.
    world.reconnect().unwrap();
    world.connect();
    world.events();
    world.step(Err(SaslError::WrongProof));
    assert_eq!(world.events(), ["disconnect", "LOST", "#2 SaslFailed NotSent"]);
}
