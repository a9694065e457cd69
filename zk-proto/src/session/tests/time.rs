//! Timers. All of them follow from the timeout that the server granted.

use super::*;

fn held(world: &World) -> Option<u64> {
    world.session.held_until().map(|until| until.since_origin().as_millis() as u64)
}

#[test]
fn a_ping_is_sent_after_a_third_of_the_timeout() {
    let mut world = World::up(1);
    world.tick(T / 3 - 1);
    world.wake();
    assert_eq!(world.read(), [""; 0]);
    world.tick(1);
    assert_eq!(world.read(), ["ping"]);
    world.pong();
    world.tick(2_000);
    world.delete("/a");
    assert_eq!(world.read(), ["1 delete /a"]);
    world.ok(1);
    world.tick(T / 3 - 1);
    assert_eq!(world.read(), [""; 0]);
    world.tick(1);
    assert_eq!(world.read(), ["ping"]);
}

#[test]
fn pings_are_ten_seconds_apart_at_most() {
    let mut world = World::new(config(1));
    world.start();
    world.greet(welcome(ID, 90_000, Some(false)));
    for _ in 0..5 {
        world.tick(9_999);
        assert_eq!(world.read(), [""; 0]);
        world.tick(1);
        assert_eq!(world.read(), ["ping"]);
        world.pong();
    }
}

#[test]
fn pings_keep_an_idle_session_alive() {
    let mut world = World::up(1);
    world.idle(100 * T);
    assert_eq!(world.events(), [""; 0]);
}

#[test]
fn a_connection_is_dead_after_two_thirds_of_the_timeout_without_an_answer() {
    let mut world = World::up(2);
    world.tick(T * 2 / 3 - 1);
    world.delete("/a");
    world.read();
    assert_eq!(world.events(), [""; 0]);
    world.tick(1);
    assert_eq!(
        world.events(),
        ["disconnect", "SUSPENDED", "#1 ConnectionLoss Unknown", "connect h2"]
    );
    assert_eq!(world.session.last_cause(), Some("h1:1: no answer for 8.0s"));
}

#[test]
fn a_host_has_its_share_of_the_timeout_to_answer() {
    // First of the timeout that is asked for, then of the one that was granted,
    // as the floor of twice what the last connection took is no more than that.
    let mut config = config(2);
    config.session_timeout = millis(20_000);
    let mut world = World::new(config);
    world.start();
    world.tick(9_999);
    assert_eq!(world.events(), ["connect h1"]);
    world.tick(1);
    assert_eq!(world.events(), ["disconnect", "connect h2"]);
    world.tick(3_000);
    world.connect();
    world.idle(T);
    world.cut();
    assert_eq!(world.events(), ["CONNECTED", "SUSPENDED", "connect h1"]);
    world.tick(4_000);
    world.accept();
    world.read();
    world.tick(1_999);
    assert_eq!(world.events(), [""; 0]);
    world.tick(1);
    assert_eq!(world.events()[0], "disconnect");
    assert_eq!(world.session.last_cause(), Some("h1:1: no answer to the handshake"));
}

/// The first bytes of a reply to the request with this xid, which promises 1 MiB.
fn promising(xid: i32) -> Vec<u8> {
    let header = ReplyHeader { xid, zxid: 1, err: ErrorCode::Ok };
    let mut reply = packet(header, |out| data(b"short").encode_body(out));
    reply[..LENGTH_LEN].copy_from_slice(&(1_i32 << 20).to_be_bytes());
    reply
}

/// Until when, in milliseconds, the client stays connected, if `each` happens each 500 ms.
fn lives_until(world: &mut World, mut each: impl FnMut(&mut World)) -> u64 {
    while world.session.state().is_connected() {
        assert!(world.now.since_origin() < T as u32 * millis(100), "lives on");
        each(world);
        world.tick(500);
    }
    world.now.since_origin().as_millis() as u64
}

#[test]
fn a_reply_that_never_completes_does_not_keep_the_connection() {
    let mut world = World::up(2);
    world.call(&get("/a", false));
    world.read();
    world.send(&promising(1));
    let mut pings = 0;
    let until = lives_until(&mut world, |world| {
        for packet in world.read() {
            assert_eq!(packet, "ping");
            pings += 1;
            // To the client it is a part of the reply.
            world.pong();
        }
    });
    assert_eq!((until, pings), (T * 2 / 3, 1));
    assert_eq!(
        world.events(),
        ["disconnect", "SUSPENDED", "#1 ConnectionLoss Unknown", "connect h2"]
    );
    assert_eq!(
        world.session.last_cause(),
        Some("h1:1: no answer for 8.0s: 1048463 bytes of a packet are missing")
    );
}

#[test]
fn a_frame_that_comes_in_byte_by_byte_does_not_keep_the_connection() {
    let mut world = World::up(1);
    world.call(&get("/a", false));
    world.read();
    let mut reply = promising(1).into_iter().chain(std::iter::repeat(7));
    let until = lives_until(&mut world, |world| {
        world.read();
        world.send(&[reply.next().unwrap()]);
    });
    assert_eq!(until, T * 2 / 3);
    // Nor if it would be over some day.
    let mut world = World::up(1);
    world.call(&get("/a", false));
    world.read();
    let header = ReplyHeader { xid: 1, zxid: 1, err: ErrorCode::Ok };
    let mut reply = packet(header, |out| data(b"short").encode_body(out)).into_iter();
    assert_eq!(lives_until(&mut world, |world| world.send(&[reply.next().unwrap()])), T * 2 / 3);
}

#[test]
fn an_oversized_packet_that_never_ends_does_not_keep_the_connection() {
    let mut config = config(1);
    config.max_reply = 1_000;
    let mut world = World::up_with(config);
    world.call(&get("/a", false));
    world.read();
    world.tick(500);
    world.send(&promising(1));
    assert_eq!(world.events(), ["#1 ReplyTooLarge Applied"]);
    // The head has answered the request.
    assert_eq!(lives_until(&mut world, |world| world.send(&[7])), 500 + T * 2 / 3);
}

#[test]
fn events_do_not_keep_the_connection() {
    let mut world = World::up(1);
    let until = lives_until(&mut world, |world| {
        world.read();
        world.fire(EventType::NodeDeleted, "/a");
    });
    assert_eq!(until, T * 2 / 3);
}

#[test]
fn progress_keeps_the_connection() {
    // At 20 kB/s the first is there in time, and the second far from it.
    for (length, lives) in [(2 << 20, true), (3 << 20, false)] {
        let mut world = World::up(1);
        world.call(&get("/a", false));
        world.read();
        world.send(&i32::to_be_bytes(length));
        // All but the last byte, as it is no real answer.
        let mut left = length - 1;
        let until = lives_until(&mut world, |world| {
            world.read();
            let piece = left.min(10_000);
            left -= piece;
            world.send(&vec![7; piece as usize]);
            if left == 0 {
                world.cut();
            }
        });
        assert_eq!(left == 0, lives, "until {until}");
        assert!(lives || until == T * 2 / 3, "until {until}");
    }
}

#[test]
fn progress_by_events_is_limited_in_time() {
    let mut world = World::up(1);
    let until = lives_until(&mut world, |world| {
        world.read();
        for _ in 0..50 {
            world.fire(EventType::NodeDeleted, "/a");
        }
    });
    assert_eq!(until, 16 * T);
}

#[test]
fn a_large_reply_over_a_slow_network_is_received() {
    // 1 MB at 100 kB/s, with a timeout of 4 s.
    let mut world = World::new(config(1));
    world.start();
    world.greet(welcome(ID, 4_000, Some(false)));
    world.call(&get("/a", false));
    world.read();
    let header = ReplyHeader { xid: 1, zxid: 1, err: ErrorCode::Ok };
    let long: &[u8] = &[7; 1_000_000];
    for piece in packet(header, |out| data(long).encode_body(out)).chunks(10_000) {
        world.tick(100);
        world.read();
        world.send(piece);
    }
    assert_eq!(world.events(), ["connect h1", "CONNECTED", "#1 ok"]);
}

#[test]
fn replies_to_a_long_queue_keep_the_connection() {
    let mut world = World::up(1);
    for _ in 0..20 {
        world.delete("/a");
    }
    world.read();
    for xid in 1..=20 {
        world.tick(T / 2);
        world.read();
        world.ok(xid);
    }
    assert_eq!(world.events().len(), 20);
}

#[test]
fn pings_keep_the_connection_while_a_request_is_unanswered() {
    let mut world = World::up(1);
    world.delete("/a");
    world.read();
    world.idle(10 * T);
    assert_eq!(world.events(), [""; 0]);
    world.ok(1);
    assert_eq!(world.events(), ["#1 ok"]);
}

#[test]
fn a_slow_handshake_times_out() {
    let mut world = World::new(config(2));
    world.start();
    world.accept();
    world.read();
    for byte in &welcome(ID, T as i32, Some(false))[..9] {
        world.tick(500);
        world.send(&[*byte]);
    }
    world.tick(499);
    assert_eq!(world.events(), ["connect h1"]);
    world.tick(1);
    assert_eq!(world.events(), ["disconnect", "connect h2"]);
}

#[test]
fn a_slow_answer_counts_when_it_is_complete() {
    let mut world = World::up(1);
    world.call(&get("/a", false));
    world.read();
    let header = ReplyHeader { xid: 1, zxid: 1, err: ErrorCode::Ok };
    let long: &[u8] = &[7; 1 << 20];
    let reply = packet(header, |out| data(long).encode_body(out));
    for piece in reply.chunks(1 << 14) {
        world.tick(1_000);
        world.send(piece);
    }
    assert_eq!(world.events(), ["#1 ok"]);
    // But it does not hold the session: nothing was acknowledged since it was asked for.
    assert_eq!(held(&world), Some(T * 3 / 4));
    assert!(world.read().len() > 10);
    world.pong();
    assert_eq!(held(&world), Some(4_000 + T * 3 / 4));
}

#[test]
fn a_session_is_held_from_when_the_last_acknowledged_packet_was_sent() {
    let mut world = World::new(config(1));
    assert_eq!(held(&world), None);
    world.start();
    world.accept();
    world.read();
    world.tick(1_000);
    world.send(&welcome(ID, T as i32, Some(false)));
    assert_eq!(held(&world), Some(9_000));
    world.tick(500);
    world.delete("/a");
    world.tick(500);
    world.read();
    world.tick(1_000);
    world.fire(EventType::NodeDeleted, "/a");
    assert_eq!(held(&world), Some(9_000));
    world.ok(1);
    assert_eq!(held(&world), Some(10_500));
    world.tick(4_000);
    assert_eq!(world.read(), ["ping"]);
    world.tick(2_000);
    assert_eq!(held(&world), Some(10_500));
    world.pong();
    assert_eq!(held(&world), Some(15_000));
    world.cut();
    assert_eq!(held(&world), None);
}

#[test]
fn an_expired_or_moved_reply_does_not_hold_the_session() {
    for err in [ErrorCode::SessionExpired, ErrorCode::SessionMoved] {
        let mut world = World::up(1);
        world.tick(1_000);
        world.delete("/a");
        world.read();
        world.refuse(1, err);
        assert_eq!(held(&world), Some(T * 3 / 4));
        world.tick(T / 3);
        assert_eq!(world.read(), ["ping"]);
        world.special(xid::PING, err);
        assert_eq!(world.events()[1..3], ["disconnect", "SUSPENDED"]);
        let cause = world.session.last_cause().unwrap();
        assert_eq!(cause, format!("h1:1: ping refused: {err}"));
    }
}

#[test]
fn the_first_request_after_a_suspend_finds_a_dead_connection() {
    let mut world = World::up(2);
    world.delete("/a");
    world.read();
    world.freeze(T * 2 / 3);
    assert_eq!(world.delete("/b"), 2);
    assert_eq!(
        world.events(),
        ["disconnect", "SUSPENDED", "#1 ConnectionLoss Unknown", "connect h2"]
    );
    world.connect();
    assert_eq!(world.read(), ["2 delete /b"]);
}

#[test]
fn a_late_timeout_acts_once() {
    let mut world = World::up(1);
    world.freeze(T / 3 + 3_000);
    world.wake();
    assert_eq!(world.read(), ["ping"]);
    world.freeze(10 * T);
    world.wake();
    assert_eq!(world.events(), ["disconnect", "SUSPENDED", "connect h1"]);
    world.freeze(10 * T);
    world.wake();
    assert_eq!(world.events(), ["disconnect", "connect h1"]);
}

#[test]
fn an_early_timeout_does_nothing() {
    let mut world = World::new(config(1));
    world.wake();
    world.start();
    world.wake();
    world.accept();
    world.wake();
    world.read();
    world.send(&welcome(ID, T as i32, Some(false)));
    world.wake();
    world.cut();
    world.wake();
    assert_eq!(world.events(), ["connect h1", "CONNECTED", "SUSPENDED"]);
    assert_eq!(world.read(), [""; 0]);
    world.close();
    world.wake();
    assert_eq!(world.session.poll_timeout(), None);
}

#[test]
fn extreme_timeouts_are_accepted() {
    for timeout in [1, 2, 3, i32::MAX] {
        let mut world = World::new(config(1));
        world.start();
        world.greet(welcome(ID, timeout, Some(false)));
        world.wake();
        assert_eq!(world.session.state(), SessionState::Connected);
        world.tick(1_000);
        let lives = timeout == i32::MAX;
        assert_eq!(world.session.state().is_connected(), lives, "{timeout}");
    }
}

#[test]
fn a_huge_granted_timeout_does_not_make_huge_deadlines() {
    let mut world = World::new(config(2));
    world.start();
    world.greet(welcome(ID, i32::MAX, Some(false)));
    assert_eq!(world.session.session_timeout(), millis(i32::MAX as u64));
    world.tick(39_999);
    assert_eq!(world.events(), ["connect h1", "CONNECTED"]);
    // Dead after two thirds of a minute, and the next host has its share of what was asked for.
    world.tick(1);
    assert_eq!(world.events(), ["disconnect", "SUSPENDED", "connect h2"]);
    world.tick(5_000);
    assert_eq!(world.events()[0], "disconnect");
}
