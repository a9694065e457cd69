//! What may be logged, and that the same inputs give the same outputs.

use super::*;
use crate::CreateMode;

const CANARIES: [&str; 3] = ["canary-password!", "canary-auth", "canary-data"];

fn assert_silent(text: &str, of: &str) {
    for canary in CANARIES {
        let list = format!("{:?}", canary.as_bytes());
        let digits = list.trim_matches(['[', ']']);
        let hex: String = canary.bytes().map(|byte| format!("{byte:02x}")).collect();
        for form in [canary, digits, &hex] {
            assert!(!text.contains(form), "{of} shows {form}: {text}");
        }
    }
}

#[test]
fn secrets_are_not_shown() {
    let mut config = config(1);
    config.auth = vec![Credential::digest("ann", "canary-auth")];
    config.max_reply = 1_000;
    let password = Secret::new(Bytes::from_static(&PASSWORD));
    config.resume = Some(SessionTicket { id: SessionId(ID), password, last_zxid: 0 });
    assert_silent(&format!("{config:?}"), "the config");
    let mut world = World::new(config);
    let check = |world: &World| {
        assert_silent(&format!("{:?}", world.session), "the session");
        assert_silent(&format!("{:#?}", world.session), "the session");
        assert_silent(&format!("{:?}", world.reader), "the reader");
        let lines = world.trace.lines().filter(|line| !line.starts_with('>'));
        assert_silent(&lines.collect::<String>(), "an output");
    };
    world.start();
    world.accept();
    check(&world);
    world.read();
    let answer = welcome(ID, T as i32, Some(false));
    world.reader.extend(&answer[..answer.len() - 1]);
    check(&world);
    world.send(&answer[answer.len() - 1..]);
    check(&world);
    world.call(&create("/a", b"canary-data", CreateMode::Persistent));
    world.call(&set_data("/a", b"canary-data"));
    world.call(&get("/a", true));
    world.add_auth("canary-auth").unwrap();
    check(&world);
    world.read();
    world.reply(1, &Response::Create(CreateResponse { path: "/a".into() }));
    world.reply(2, &Response::SetData(stat()));
    world.reply(3, &data(b"canary-data"));
    check(&world);
    assert_silent(&format!("{:?}", world.session.ticket()), "the ticket");
    let frame = Frame::Whole(Bytes::from_static(b"canary-data"));
    assert_silent(&format!("{frame:?}"), "a frame");
    world.call(&set_data("/b", b"canary-data"));
    world.read();
    world.send(&packet(ReplyHeader { xid: 4, zxid: 1, err: ErrorCode::Ok }, |out| {
        out.extend_from_slice(b"canary-data");
    }));
    world.call(&set_data("/c", b"canary-data"));
    world.close();
    world.tick(3_000);
    check(&world);
    assert_silent(&format!("{:?}", world.session.last_cause()), "the cause");
    for failure in world.failures.values() {
        assert_silent(&format!("{failure} {failure:?} {}", failure.reason), "a failure");
    }
    assert_eq!(world.failures.len(), 3);
}

#[test]
fn the_same_inputs_give_the_same_outputs() {
    let run = |seed| {
        let mut config = config(5);
        config.randomize_hosts = true;
        let mut world = World::seeded(config, seed);
        world.start();
        for round in 0..30 {
            while world.host.is_none() {
                world.tick(7);
            }
            world.call(&get("/a", true));
            if round % 3 == 0 {
                world.connect();
                let xid = world.read().len() as i32;
                world.tick(50);
                assert!(xid > 0);
            }
            world.cut();
        }
        world.close();
        world.trace
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
