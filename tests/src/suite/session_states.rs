//! The states that listeners and streams get, and when.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt;
use zk_client::{
    CREATOR_ALL_ACL, Client, ConnectionState, CreateMode, CreateOptions, ErrorKind, EventType,
    Handler, Outcome, SessionState,
};

use super::context::{LIMIT, TestContext};
use crate::{Direction, FrameAction, lock, tasks::spawn_blocking};

/// The states that a listener was called with.
#[derive(Clone, Default)]
struct RecordedStates(Arc<Mutex<Vec<SessionState>>>);

impl RecordedStates {
    fn by(zk: &Client) -> Self {
        let recorded = Self::default();
        let list = recorded.clone();
        zk.add_listener(move |state| lock(&list.0).push(state));
        recorded
    }

    fn all(&self) -> Vec<SessionState> {
        lock(&self.0).clone()
    }
}

pub async fn a_disconnect_and_a_reconnect_are_each_reported_once<H: Handler>(handler: H) {
    use SessionState::{Connected, Lost, Suspended};

    let ctx = TestContext::new(handler);
    let proxy = crate::suite::shared_server::new_proxy();
    let zk = ctx.build(ctx.builder_at(proxy.address()));
    let (mut states, recorded) = (zk.states(), RecordedStates::by(&zk));
    ctx.ok("to start", zk.start()).await;
    assert_eq!(zk.connection_state(), ConnectionState::Connected);
    let session = zk.session_id();

    proxy.cut_rst();
    ctx.expect_states(&mut states, &[Connected, Suspended, Connected]).await;
    proxy.cut_fin();
    ctx.expect_states(&mut states, &[Suspended, Connected]).await;
    ctx.ok("to read", zk.exists("/")).await;
    assert_eq!(zk.session_id(), session);
    ctx.ok("to stop", zk.stop()).await;
    ctx.expect_states(&mut states, &[Lost]).await;
    assert_eq!(states.try_next(), None);

    let all = [Connected, Suspended, Connected, Suspended, Connected, Lost];
    ctx.wait_until("the listener", || recorded.all().len() >= all.len()).await;
    assert_eq!(recorded.all(), all);
}

pub async fn failed_attempts_report_one_suspension<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    let mut states = zk.states();
    ctx.cut_off(&zk, &proxy).await;
    assert_eq!((zk.connected(), zk.connection_state()), (false, ConnectionState::Connecting));
    assert_eq!(zk.held_for(), Duration::ZERO);
    let attempts = proxy.accepted();
    ctx.wait_until("three attempts", || proxy.accepted() >= attempts + 3).await;
    proxy.refuse(false);
    ctx.expect_states(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
    assert_eq!(states.try_next(), None);
    assert!(zk.connected() && zk.held_for() > Duration::ZERO);
}

pub async fn an_expiry_is_reported_as_lost_then_connected<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    let (mut states, recorded) = (zk.states(), RecordedStates::by(&zk));
    let old = zk.session_id();
    ctx.ok("an ephemeral", zk.create("/mine", b"", CreateMode::Ephemeral)).await;
    ctx.cut_off(&zk, &proxy).await;
    ctx.expire_session(&zk).await;
    proxy.refuse(false);
    let all = [SessionState::Suspended, SessionState::Lost, SessionState::Connected];
    ctx.expect_states(&mut states, &all).await;
    assert_ne!(zk.session_id(), old);
    assert_eq!(ctx.ok("exists", zk.exists("/mine")).await, None);
    assert_eq!(states.try_next(), None);
    ctx.wait_until("the listener", || recorded.all().len() >= all.len()).await;
    assert_eq!(recorded.all(), all);
}

pub async fn queued_calls_of_an_expired_session_fail_as_expired<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    let mut states = zk.states();
    ctx.cut_off(&zk, &proxy).await;
    ctx.expire_session(&zk).await;
    let queued: Vec<_> =
        (0..10).map(|n| zk.create(format!("/n{n}"), b"", CreateMode::Ephemeral)).collect();
    proxy.refuse(false);
    for call in queued {
        let error = ctx.err("a call of an expired session", call).await;
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::SessionExpired, Some(Outcome::NotSent))
        );
        assert!(error.is_retryable());
    }
    ctx.expect_states(
        &mut states,
        &[SessionState::Suspended, SessionState::Lost, SessionState::Connected],
    )
    .await;
    assert!(ctx.ok("children", zk.get_children("/")).await.is_empty());
}

pub async fn credentials_refused_at_start_fail_the_start<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.build(ctx.builder().auth("digest", "a:b").auth("nonsense", "who"));
    let recorded = RecordedStates::by(&zk);
    let mut states = zk.states();
    for _ in 0..2 {
        let error = ctx.err("a start with wrong credentials", zk.start()).await;
        assert_eq!(error.kind(), ErrorKind::AuthFailed, "{error}");
        assert!(error.to_string().contains("authentication failed"), "{error}");
        assert_eq!(
            (zk.state(), zk.connection_state()),
            (SessionState::Lost, ConnectionState::AuthFailed)
        );
        ctx.expect_states(&mut states, &[SessionState::Connected, SessionState::Lost]).await;
        assert_eq!(ctx.within("the end of the states", states.changed()).await, None);
        states = zk.states();
    }
    ctx.wait_until("the listener", || recorded.all().len() >= 4).await;
    let error = ctx.err("a call without a session", zk.exists("/")).await;
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::AuthFailed, Some(Outcome::NotSent)));
}

pub async fn credentials_refused_later_end_the_session<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    let mut states = zk.states();
    let watch = ctx.ok("to watch", zk.exists_and_watch("/node")).await.1;
    let error = ctx.err("wrong credentials", zk.add_auth("nonsense", "who")).await;
    assert_eq!(error.kind(), ErrorKind::AuthFailed, "{error}");
    ctx.expect_states(&mut states, &[SessionState::Lost]).await;
    assert_eq!(zk.connection_state(), ConnectionState::AuthFailed);
    let error = ctx.err("the watch", watch).await;
    assert_eq!(error.kind(), ErrorKind::AuthFailed, "{error}");
    ctx.wait_until("the connection to end", || proxy.connections() == 0).await;
    let accepted = proxy.accepted();
    ctx.short_wait().await;
    assert_eq!(proxy.accepted(), accepted, "it tries the same credentials again");
    ctx.ok("to stop", zk.stop()).await;
    assert_eq!(zk.connection_state(), ConnectionState::Closed);
    assert_eq!(ctx.within("the end of the states", states.changed()).await, None);
}

pub async fn refused_credentials_can_be_replaced<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.build(ctx.builder().auth("nonsense", "old").auth("digest", "a:b"));
    let error = ctx.err("a start with wrong credentials", zk.start()).await;
    assert_eq!(error.kind(), ErrorKind::AuthFailed, "{error}");
    assert!(!zk.remove_auth("nonsense", "other"));
    assert!(zk.remove_auth("nonsense", "old"));
    assert!(!zk.remove_auth("nonsense", "old"));
    ctx.ok("a credential for the next session", zk.add_auth("digest", "c:d")).await;
    ctx.ok("to start with others", zk.start()).await;
    let options = CreateOptions::persistent().acl(&CREATOR_ALL_ACL);
    ctx.ok("to create", zk.create("/who", b"", options)).await;
    let (acl, _) = ctx.ok("to read its ACL", zk.get_acls("/who")).await;
    let mut users: Vec<_> =
        acl.iter().map(|acl| acl.id.id.split(':').next().map(String::from)).collect();
    users.sort();
    assert_eq!(users, [Some("a".into()), Some("c".into())]);
}

pub async fn equal_credentials_are_sent_once<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    const AUTH: i32 = -4;
    let packets = Arc::new(AtomicUsize::new(0));
    let counted = packets.clone();
    proxy.on_frame(Direction::ToServer, move |frame| {
        if frame.get(..4) == Some(&AUTH.to_be_bytes()) {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        FrameAction::Pass
    });
    for _ in 0..500 {
        ctx.ok("a credential", zk.add_auth("digest", "user:password")).await;
    }
    assert_eq!(packets.load(Ordering::Relaxed), 1);
    let mut states = zk.states();
    proxy.cut_rst();
    ctx.expect_states(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
    ctx.ok("a call, behind the credentials", zk.exists("/")).await;
    assert_eq!(packets.load(Ordering::Relaxed), 2);
}

pub async fn a_removed_listener_gets_no_queued_states<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    // The first listener blocks the callback queue until the test releases it.
    let (go, gate) = std::sync::mpsc::channel::<()>();
    zk.add_listener(move |_| assert!(gate.recv().is_err()));
    let removed = RecordedStates::default();
    let id = {
        let list = removed.clone();
        zk.add_listener(move |state| lock(&list.0).push(state))
    };
    let last = RecordedStates::by(&zk);
    let mut states = zk.states();
    proxy.cut_rst();
    ctx.expect_states(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
    // The same for a callback of a result that is ready.
    let read = zk.exists("/");
    let (called, calls) = std::sync::mpsc::channel();
    let removed_callback = read.on_complete({
        let called = called.clone();
        move |_| called.send("the one that was removed").unwrap()
    });
    read.on_complete(move |_| called.send("the other").unwrap());
    ctx.wait_until("the result", || read.ready()).await;
    assert!(read.remove_callback(removed_callback));
    assert!(!read.remove_callback(removed_callback));
    assert!(zk.remove_listener(id));
    drop(go);
    ctx.wait_until("the last listener", || last.all().len() == 2).await;
    assert_eq!(removed.all(), []);
    let calls = spawn_blocking(move || calls.iter().collect::<Vec<_>>());
    assert_eq!(ctx.within("the callbacks", calls).await, ["the other"]);
}

pub async fn a_listener_can_be_removed_and_can_remove_itself<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    let removed = RecordedStates::default();
    let id = {
        let list = removed.clone();
        zk.add_listener(move |state| lock(&list.0).push(state))
    };
    assert!(zk.remove_listener(id));
    assert!(!zk.remove_listener(id));
    let once = RecordedStates::default();
    let id = {
        let list = once.clone();
        zk.add_listener_while(move |state| {
            lock(&list.0).push(state);
            false
        })
    };
    let last = RecordedStates::by(&zk);
    proxy.cut_rst();
    ctx.wait_until("the last listener", || last.all().len() == 2).await;
    assert_eq!(removed.all(), []);
    assert_eq!(once.all(), [SessionState::Suspended]);
    assert!(!zk.remove_listener(id));
}

pub async fn a_panicking_listener_does_not_affect_others<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    let calls = RecordedStates::default();
    let list = calls.clone();
    zk.add_listener(move |state| {
        lock(&list.0).push(state);
        panic!("a listener of a test panics, as it should");
    });
    let next = RecordedStates::by(&zk);
    proxy.cut_rst();
    let all = [SessionState::Suspended, SessionState::Connected];
    ctx.wait_until("the next listener", || next.all().len() == 2).await;
    assert_eq!((calls.all(), next.all()), (all.to_vec(), all.to_vec()));
    ctx.ok("to read", zk.exists("/")).await;
}

pub async fn a_listener_can_make_blocking_calls<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    let done = RecordedStates::default();
    let (list, client) = (done.clone(), zk.clone());
    let id = zk.add_listener(move |state| {
        if state == SessionState::Connected {
            client.create("/recorded", b"", CreateMode::Persistent).get().expect("it is connected");
            lock(&list.0).push(state);
        }
    });
    proxy.cut_rst();
    ctx.wait_until("the listener's call", || done.all() == [SessionState::Connected]).await;
    assert!(ctx.ok("exists", zk.exists("/recorded")).await.is_some());
    assert!(zk.remove_listener(id));
}

pub async fn a_state_is_reported_before_results_of_that_state<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    let mut states = zk.states();
    for _ in 0..5 {
        ctx.cut_off(&zk, &proxy).await;
        let queued = zk.exists("/");
        proxy.refuse(false);
        ctx.ok("a queued call", queued).await;
        assert_eq!(states.try_next(), Some(SessionState::Suspended));
        assert_eq!(states.try_next(), Some(SessionState::Connected));
    }
    // A connection loss is reported before the errors that it causes.
    proxy.hold(Direction::ToServer);
    let lost = zk.exists("/");
    proxy.cut_rst();
    proxy.release();
    ctx.err("a call whose connection is cut", lost).await;
    assert_eq!(states.try_next(), Some(SessionState::Suspended));
}

pub async fn a_thread_can_follow_the_states<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    let mut states = zk.states();
    let follower =
        spawn_blocking(move || std::iter::from_fn(|| states.next_blocking()).collect::<Vec<_>>());
    let cutter = async {
        let mut states = zk.states();
        proxy.cut_rst();
        ctx.expect_states(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
        ctx.ok("to stop", zk.stop()).await;
        ctx.within("the follower", follower).await
    };
    assert_eq!(
        cutter.await,
        [SessionState::Suspended, SessionState::Connected, SessionState::Lost]
    );
}

pub async fn the_state_stream_ends_when_the_client_stops<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.build(ctx.builder());
    let never = zk.states();
    ctx.ok("to stop what was not started", zk.stop()).await;
    let all = [SessionState::Connected, SessionState::Lost];
    for round in 0..3 {
        let states = zk.states();
        ctx.ok("to start", zk.start()).await;
        ctx.ok("to stop", zk.stop()).await;
        let recorded = ctx.within("the end of the states", states.collect::<Vec<_>>()).await;
        assert_eq!(recorded, all, "round {round}");
    }
    assert_eq!(ctx.within("the end of the states", never.collect::<Vec<_>>()).await, []);
    // The stream ends if the last client is dropped, whether or not it was started.
    let mut states = zk.states();
    ctx.ok("to start", zk.start()).await;
    assert_eq!(states.next().await, Some(SessionState::Connected));
    drop(zk);
    let end = async { (states.next().await, states.next().await) };
    assert_eq!(ctx.within("the end of the states", end).await, (Some(SessionState::Lost), None));
    let mut states = ctx.build(ctx.builder()).states();
    assert_eq!(ctx.within("the end of the states", states.next()).await, None);
}

pub async fn the_state_stream_continues_over_a_restart<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let mut states = zk.states();
    ctx.ok("to restart", zk.restart()).await;
    ctx.expect_states(&mut states, &[SessionState::Lost, SessionState::Connected]).await;
}

pub async fn a_stopped_client_has_no_session<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    assert!(zk.session_id().is_some() && zk.client_id().is_some());
    ctx.ok("to stop", zk.stop()).await;
    assert_eq!((zk.session_id(), zk.client_id()), (None, None));
    assert_eq!((zk.state(), zk.connection_state()), (SessionState::Lost, ConnectionState::Closed));
    assert!(zk.held_for().is_zero());
}

pub async fn a_silent_server_is_disconnected_in_time<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let proxy = crate::suite::shared_server::new_proxy();
    let timeout = Duration::from_millis(1500);
    let zk = ctx.connect(ctx.builder_at(proxy.address()).session_timeout(timeout)).await;
    assert_eq!(zk.session_timeout(), timeout);
    let mut states = zk.states();
    let (_, watch) = ctx.ok("to watch", zk.exists_and_watch("/node")).await;
    let begun = std::time::Instant::now();
    proxy.hold(Direction::ToClient);
    let lost = zk.get("/");
    ctx.expect_states(&mut states, &[SessionState::Suspended]).await;
    assert!(begun.elapsed() >= timeout / 2, "{:?}", begun.elapsed());
    let error = ctx.err("a call without an answer", lost).await;
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::ConnectionLoss, Some(Outcome::Unknown))
    );
    assert!(error.to_string().contains("no answer for"), "{error}");
    proxy.release();
    // Whether the session has survived depends on the load of the machine.
    ctx.wait_until("to be connected again", || zk.connected()).await;
    drop(watch);
    assert!(begun.elapsed() < LIMIT);
}

pub async fn a_session_survives_many_reconnects<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    let mut states = zk.states();
    let session = zk.session_id();
    ctx.ok("an ephemeral", zk.create("/mine", b"", CreateMode::Ephemeral)).await;
    let (_, watch) = ctx.ok("to watch", zk.exists_and_watch("/mine")).await;
    for _ in 0..20 {
        proxy.cut_rst();
        ctx.expect_states(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
    }
    assert_eq!(zk.session_id(), session);
    ctx.ok("to delete", zk.delete("/mine", None)).await;
    assert_eq!(ctx.ok("the watch", watch).await.kind, EventType::NodeDeleted);
    assert_eq!(states.try_next(), None);
}
