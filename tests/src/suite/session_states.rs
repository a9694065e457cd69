//! What listeners and streams hear of the session, and when.

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

use super::site::{LIMIT, Site, blocking};
use crate::{Direction, Verdict, lock};

/// The states that a listener has heard of.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<SessionState>>>);

impl Heard {
    fn by(zk: &Client) -> Self {
        let heard = Self::default();
        let list = heard.clone();
        zk.add_listener(move |state| lock(&list.0).push(state));
        heard
    }

    fn all(&self) -> Vec<SessionState> {
        lock(&self.0).clone()
    }
}

pub async fn a_drop_and_a_reconnect_are_heard_once_each<H: Handler>(handler: H) {
    use SessionState::{Connected, Lost, Suspended};

    let site = Site::new(handler);
    let proxy = super::site::proxy();
    let zk = site.build(site.builder_at(proxy.address()));
    let (mut states, heard) = (zk.states(), Heard::by(&zk));
    site.ok("to start", zk.start()).await;
    assert_eq!(zk.connection_state(), ConnectionState::Connected);
    let session = zk.session_id();

    proxy.cut_rst();
    site.expect(&mut states, &[Connected, Suspended, Connected]).await;
    proxy.cut_fin();
    site.expect(&mut states, &[Suspended, Connected]).await;
    site.ok("to read", zk.exists("/")).await;
    assert_eq!(zk.session_id(), session);
    site.ok("to stop", zk.stop()).await;
    site.expect(&mut states, &[Lost]).await;
    assert_eq!(states.try_next(), None);

    let all = [Connected, Suspended, Connected, Suspended, Connected, Lost];
    site.when("the listener", || heard.all().len() >= all.len()).await;
    assert_eq!(heard.all(), all);
}

pub async fn many_failed_attempts_are_one_suspension<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    let mut states = zk.states();
    site.cut_off(&zk, &proxy).await;
    assert_eq!((zk.connected(), zk.connection_state()), (false, ConnectionState::Connecting));
    assert_eq!(zk.held_for(), Duration::ZERO);
    let attempts = proxy.accepted();
    site.when("three attempts", || proxy.accepted() >= attempts + 3).await;
    proxy.refuse(false);
    site.expect(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
    assert_eq!(states.try_next(), None);
    assert!(zk.connected() && zk.held_for() > Duration::ZERO);
}

pub async fn an_expiry_is_lost_and_then_connected<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    let (mut states, heard) = (zk.states(), Heard::by(&zk));
    let old = zk.session_id();
    site.ok("an ephemeral", zk.create("/mine", b"", CreateMode::Ephemeral)).await;
    site.cut_off(&zk, &proxy).await;
    site.expire(&zk).await;
    proxy.refuse(false);
    let all = [SessionState::Suspended, SessionState::Lost, SessionState::Connected];
    site.expect(&mut states, &all).await;
    assert_ne!(zk.session_id(), old);
    assert_eq!(site.ok("exists", zk.exists("/mine")).await, None);
    assert_eq!(states.try_next(), None);
    site.when("the listener", || heard.all().len() >= all.len()).await;
    assert_eq!(heard.all(), all);
}

pub async fn calls_that_wait_for_a_session_that_expires_fail_as_expired<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    let mut states = zk.states();
    site.cut_off(&zk, &proxy).await;
    site.expire(&zk).await;
    let queued: Vec<_> =
        (0..10).map(|n| zk.create(format!("/n{n}"), b"", CreateMode::Ephemeral)).collect();
    proxy.refuse(false);
    for call in queued {
        let error = site.err("a call of an expired session", call).await;
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::SessionExpired, Some(Outcome::NotSent))
        );
        assert!(error.is_retryable());
    }
    site.expect(
        &mut states,
        &[SessionState::Suspended, SessionState::Lost, SessionState::Connected],
    )
    .await;
    assert!(site.ok("children", zk.get_children("/")).await.is_empty());
}

pub async fn refused_credentials_at_the_start_are_an_error_and_lost<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.build(site.builder().auth("digest", "a:b").auth("nonsense", "who"));
    let heard = Heard::by(&zk);
    let mut states = zk.states();
    for _ in 0..2 {
        let error = site.err("a start with wrong credentials", zk.start()).await;
        assert_eq!(error.kind(), ErrorKind::AuthFailed, "{error}");
        assert!(error.to_string().contains("authentication failed"), "{error}");
        assert_eq!(
            (zk.state(), zk.connection_state()),
            (SessionState::Lost, ConnectionState::AuthFailed)
        );
        site.expect(&mut states, &[SessionState::Connected, SessionState::Lost]).await;
        assert_eq!(site.within("the end of the states", states.changed()).await, None);
        states = zk.states();
    }
    site.when("the listener", || heard.all().len() >= 4).await;
    let error = site.err("a call without a session", zk.exists("/")).await;
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::AuthFailed, Some(Outcome::NotSent)));
}

pub async fn refused_credentials_later_are_an_error_and_lost<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    let mut states = zk.states();
    let watch = site.ok("to watch", zk.exists_and_watch("/node")).await.1;
    let error = site.err("wrong credentials", zk.add_auth("nonsense", "who")).await;
    assert_eq!(error.kind(), ErrorKind::AuthFailed, "{error}");
    site.expect(&mut states, &[SessionState::Lost]).await;
    assert_eq!(zk.connection_state(), ConnectionState::AuthFailed);
    let error = site.err("the watch", watch).await;
    assert_eq!(error.kind(), ErrorKind::AuthFailed, "{error}");
    site.when("the connection to end", || proxy.connections() == 0).await;
    let accepted = proxy.accepted();
    site.moment().await;
    assert_eq!(proxy.accepted(), accepted, "it tries the same credentials again");
    site.ok("to stop", zk.stop()).await;
    assert_eq!(zk.connection_state(), ConnectionState::Closed);
    assert_eq!(site.within("the end of the states", states.changed()).await, None);
}

pub async fn refused_credentials_can_be_replaced<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.build(site.builder().auth("nonsense", "old").auth("digest", "a:b"));
    let error = site.err("a start with wrong credentials", zk.start()).await;
    assert_eq!(error.kind(), ErrorKind::AuthFailed, "{error}");
    assert!(!zk.remove_auth("nonsense", "other"));
    assert!(zk.remove_auth("nonsense", "old"));
    assert!(!zk.remove_auth("nonsense", "old"));
    site.ok("a credential for the next session", zk.add_auth("digest", "c:d")).await;
    site.ok("to start with others", zk.start()).await;
    let options = CreateOptions::persistent().acl(&CREATOR_ALL_ACL);
    site.ok("to create", zk.create("/who", b"", options)).await;
    let (acl, _) = site.ok("to read its ACL", zk.get_acls("/who")).await;
    let mut users: Vec<_> =
        acl.iter().map(|acl| acl.id.id.split(':').next().map(String::from)).collect();
    users.sort();
    assert_eq!(users, [Some("a".into()), Some("c".into())]);
}

pub async fn equal_credentials_are_one<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    const AUTH: i32 = -4;
    let packets = Arc::new(AtomicUsize::new(0));
    let counted = packets.clone();
    proxy.on_frame(Direction::ToServer, move |frame| {
        if frame.get(..4) == Some(&AUTH.to_be_bytes()) {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        Verdict::Pass
    });
    for _ in 0..500 {
        site.ok("a credential", zk.add_auth("digest", "user:password")).await;
    }
    assert_eq!(packets.load(Ordering::Relaxed), 1);
    let mut states = zk.states();
    proxy.cut_rst();
    site.expect(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
    site.ok("a call, behind the credentials", zk.exists("/")).await;
    assert_eq!(packets.load(Ordering::Relaxed), 2);
}

pub async fn a_removed_listener_is_not_called_for_what_was_queued<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    // The first listener holds up the queue of callbacks, until it is told to go on.
    let (go, gate) = std::sync::mpsc::channel::<()>();
    zk.add_listener(move |_| assert!(gate.recv().is_err()));
    let removed = Heard::default();
    let id = {
        let list = removed.clone();
        zk.add_listener(move |state| lock(&list.0).push(state))
    };
    let last = Heard::by(&zk);
    let mut states = zk.states();
    proxy.cut_rst();
    site.expect(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
    // So has a result's callback, whose result is there.
    let read = zk.exists("/");
    let (called, calls) = std::sync::mpsc::channel();
    let removed_callback = read.on_complete({
        let called = called.clone();
        move |_| called.send("the one that was removed").unwrap()
    });
    read.on_complete(move |_| called.send("the other").unwrap());
    site.when("the result", || read.ready()).await;
    assert!(read.remove_callback(removed_callback));
    assert!(!read.remove_callback(removed_callback));
    assert!(zk.remove_listener(id));
    drop(go);
    site.when("the last listener", || last.all().len() == 2).await;
    assert_eq!(removed.all(), []);
    let calls = blocking(move || calls.iter().collect::<Vec<_>>());
    assert_eq!(site.within("the callbacks", calls).await, ["the other"]);
}

pub async fn a_listener_can_be_removed_and_can_remove_itself<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    let removed = Heard::default();
    let id = {
        let list = removed.clone();
        zk.add_listener(move |state| lock(&list.0).push(state))
    };
    assert!(zk.remove_listener(id));
    assert!(!zk.remove_listener(id));
    let once = Heard::default();
    let id = {
        let list = once.clone();
        zk.add_listener_while(move |state| {
            lock(&list.0).push(state);
            false
        })
    };
    let last = Heard::by(&zk);
    proxy.cut_rst();
    site.when("the last listener", || last.all().len() == 2).await;
    assert_eq!(removed.all(), []);
    assert_eq!(once.all(), [SessionState::Suspended]);
    assert!(!zk.remove_listener(id));
}

pub async fn a_listener_that_panics_stops_nobody<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    let calls = Heard::default();
    let list = calls.clone();
    zk.add_listener(move |state| {
        lock(&list.0).push(state);
        panic!("a listener of a test panics, as it should");
    });
    let next = Heard::by(&zk);
    proxy.cut_rst();
    let all = [SessionState::Suspended, SessionState::Connected];
    site.when("the next listener", || next.all().len() == 2).await;
    assert_eq!((calls.all(), next.all()), (all.to_vec(), all.to_vec()));
    site.ok("to read", zk.exists("/")).await;
}

pub async fn a_listener_may_call_and_block<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    let done = Heard::default();
    let (list, client) = (done.clone(), zk.clone());
    let id = zk.add_listener(move |state| {
        if state == SessionState::Connected {
            client.create("/heard", b"", CreateMode::Persistent).get().expect("it is connected");
            lock(&list.0).push(state);
        }
    });
    proxy.cut_rst();
    site.when("the listener's call", || done.all() == [SessionState::Connected]).await;
    assert!(site.ok("exists", zk.exists("/heard")).await.is_some());
    assert!(zk.remove_listener(id));
}

pub async fn a_state_is_told_before_a_result_of_that_state<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    let mut states = zk.states();
    for _ in 0..5 {
        site.cut_off(&zk, &proxy).await;
        let queued = zk.exists("/");
        proxy.refuse(false);
        site.ok("a queued call", queued).await;
        assert_eq!(states.try_next(), Some(SessionState::Suspended));
        assert_eq!(states.try_next(), Some(SessionState::Connected));
    }
    // And a loss before the failures that it brings.
    proxy.hold(Direction::ToServer);
    let lost = zk.exists("/");
    proxy.cut_rst();
    proxy.release();
    site.err("a call whose connection is cut", lost).await;
    assert_eq!(states.try_next(), Some(SessionState::Suspended));
}

pub async fn a_thread_can_follow_the_states<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    let mut states = zk.states();
    let follower =
        blocking(move || std::iter::from_fn(|| states.next_blocking()).collect::<Vec<_>>());
    let cutter = async {
        let mut states = zk.states();
        proxy.cut_rst();
        site.expect(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
        site.ok("to stop", zk.stop()).await;
        site.within("the follower", follower).await
    };
    assert_eq!(
        cutter.await,
        [SessionState::Suspended, SessionState::Connected, SessionState::Lost]
    );
}

pub async fn the_states_end_when_the_client_has_stopped<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.build(site.builder());
    let never = zk.states();
    site.ok("to stop what was not started", zk.stop()).await;
    let all = [SessionState::Connected, SessionState::Lost];
    for round in 0..3 {
        let states = zk.states();
        site.ok("to start", zk.start()).await;
        site.ok("to stop", zk.stop()).await;
        let heard = site.within("the end of the states", states.collect::<Vec<_>>()).await;
        assert_eq!(heard, all, "round {round}");
    }
    assert_eq!(site.within("the end of the states", never.collect::<Vec<_>>()).await, []);
    // The last client is dropped: one that runs, and one that never did.
    let mut states = zk.states();
    site.ok("to start", zk.start()).await;
    assert_eq!(states.next().await, Some(SessionState::Connected));
    drop(zk);
    let end = async { (states.next().await, states.next().await) };
    assert_eq!(site.within("the end of the states", end).await, (Some(SessionState::Lost), None));
    let mut states = site.build(site.builder()).states();
    assert_eq!(site.within("the end of the states", states.next()).await, None);
}

pub async fn the_states_go_on_over_a_restart<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.client().await;
    let mut states = zk.states();
    site.ok("to restart", zk.restart()).await;
    site.expect(&mut states, &[SessionState::Lost, SessionState::Connected]).await;
}

pub async fn a_client_that_has_stopped_has_no_session<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.client().await;
    assert!(zk.session_id().is_some() && zk.client_id().is_some());
    site.ok("to stop", zk.stop()).await;
    assert_eq!((zk.session_id(), zk.client_id()), (None, None));
    assert_eq!((zk.state(), zk.connection_state()), (SessionState::Lost, ConnectionState::Closed));
    assert!(zk.held_for().is_zero());
}

pub async fn a_silent_server_is_left_in_time<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let proxy = super::site::proxy();
    let timeout = Duration::from_millis(1500);
    let zk = site.connect(site.builder_at(proxy.address()).session_timeout(timeout)).await;
    assert_eq!(zk.session_timeout(), timeout);
    let mut states = zk.states();
    let (_, watch) = site.ok("to watch", zk.exists_and_watch("/node")).await;
    let begun = std::time::Instant::now();
    proxy.hold(Direction::ToClient);
    let lost = zk.get("/");
    site.expect(&mut states, &[SessionState::Suspended]).await;
    assert!(begun.elapsed() >= timeout / 2, "{:?}", begun.elapsed());
    let error = site.err("a call without an answer", lost).await;
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::ConnectionLoss, Some(Outcome::Unknown))
    );
    assert!(error.to_string().contains("no answer for"), "{error}");
    proxy.release();
    // Whether it was the same session is up to the load of this machine.
    site.when("to be connected again", || zk.connected()).await;
    drop(watch);
    assert!(begun.elapsed() < LIMIT);
}

pub async fn a_session_outlives_many_connections<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    let mut states = zk.states();
    let session = zk.session_id();
    site.ok("an ephemeral", zk.create("/mine", b"", CreateMode::Ephemeral)).await;
    let (_, watch) = site.ok("to watch", zk.exists_and_watch("/mine")).await;
    for _ in 0..20 {
        proxy.cut_rst();
        site.expect(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
    }
    assert_eq!(zk.session_id(), session);
    site.ok("to delete", zk.delete("/mine", None)).await;
    assert_eq!(site.ok("the watch", watch).await.kind, EventType::NodeDeleted);
    assert_eq!(states.try_next(), None);
}
