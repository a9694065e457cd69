//! Start, stop, restart and drop, in every order, without leaving tasks or connections.

use std::{
    future::Future,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
    time::{Duration, Instant},
};

use zk_client::{
    AsyncResult, Client, ConnectionState, CreateMode, ErrorKind, Handler, Outcome, SessionState,
    blocking as client_that_waits, recipes::Lock,
};

use super::{
    context::{LIMIT, TestContext},
    shared_server::{new_proxy, scripted_server, shared_server},
};
use crate::{
    CountingHandler, Direction, FrameAction, lock,
    tasks::{block_on, spawn_blocking},
};

/// An address where nothing listens.
const NOBODY: &str = "127.0.0.1:1";

/// The timeout of starts that must fail, long enough for starts that must succeed.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A listener whose backlog accepts connections, and that never sends anything.
fn blackhole() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

/// Whether the server still has the session `id`.
fn has_session(id: i64) -> bool {
    shared_server().four_letter_word("dump").contains(&format!("{id:#x}"))
}

pub async fn start_times_out_without_a_server_and_can_be_retried<H: Handler>(handler: H) {
    let counted = CountingHandler::new(handler);
    let ctx = TestContext::new(counted.clone());
    let proxy = new_proxy();
    proxy.refuse(true);
    let timeout = Duration::from_millis(500);
    let zk = ctx.build(ctx.builder_at(proxy.address()).connect_timeout(timeout));

    let begun = Instant::now();
    let error = ctx.err("a start against nothing", zk.start()).await;
    assert!(begun.elapsed() >= timeout, "{:?}", begun.elapsed());
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("500ms"), "{error}");
    assert!(error.to_string().contains(&proxy.address().to_string()), "{error}");
    assert_eq!((zk.state(), zk.connection_state()), (SessionState::Lost, ConnectionState::Closed));
    ctx.wait_until("the tasks to end", || counted.tasks() + counted.connections() == 0).await;
    let attempts = counted.attempts();
    ctx.short_wait().await;
    assert_eq!(counted.attempts(), attempts, "it goes on trying");

    proxy.refuse(false);
    ctx.ok("to start again", zk.start()).await;
    ctx.ok("to read", zk.exists("/")).await;
    ctx.ok("to stop", zk.stop()).await;
    ctx.wait_until("the tasks to end", || counted.tasks() + counted.connections() == 0).await;
}

pub async fn a_failed_start_names_host_and_cause<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (_listener, silent) = blackhole();
    let refusing = scripted_server(|_, client| client.refuse_session());
    let timeout = Duration::from_millis(400);
    let cases = [
        (NOBODY.to_owned(), vec![NOBODY, "refused"]),
        ("no-such-host.invalid:2181".to_owned(), vec!["no-such-host.invalid:2181"]),
        (silent.to_string(), vec![]),
        (refusing.address().to_string(), vec!["refuses a new session"]),
    ];
    let begun = Instant::now();
    let starts = cases.map(|(host, words)| {
        let builder = ctx.builder_at(&host).connect_timeout(timeout);
        (builder.connect_on(ctx.handler.clone()), host, words)
    });
    for (start, host, words) in starts {
        let error = ctx.err("a start against nothing", start).await;
        assert!(begun.elapsed() < LIMIT / 2, "{host}: {:?}", begun.elapsed());
        assert_eq!(error.kind(), ErrorKind::Timeout, "{host}: {error}");
        let text = error.to_string();
        for word in words.into_iter().chain([host.as_str(), "400ms"]) {
            assert!(text.contains(word), "no {word} in: {text}");
        }
    }
}

pub async fn a_start_right_after_a_failed_one_succeeds<H: Handler>(handler: H) {
    const AUTH: [u8; 4] = (-4_i32).to_be_bytes();

    let ctx = TestContext::new(handler);
    let proxy = new_proxy();
    let asked = Arc::new(AtomicBool::new(false));
    let seen = asked.clone();
    proxy.on_frame(Direction::ToServer, move |frame| {
        if !frame.starts_with(&AUTH) {
            return FrameAction::Pass;
        }
        seen.store(true, Ordering::Relaxed);
        FrameAction::Drop
    });
    let builder = ctx.builder_at(proxy.address()).auth("digest", "ann:secret");
    let zk = ctx.build(builder.connect_timeout(TIMEOUT));
    let first = zk.start();
    ctx.wait_until("the credential", || asked.load(Ordering::Relaxed)).await;
    proxy.hold(Direction::ToServer);
    let error = ctx.err("the first start", first).await;
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");

    // The client is still closing its first session.
    assert!(zk.connected());
    let second = zk.start();
    assert!(!second.ready());
    proxy.on_frame(Direction::ToServer, |_| FrameAction::Pass);
    proxy.release();
    ctx.ok("the second start", second).await;
    ctx.ok("to read", zk.exists("/")).await;
}

pub async fn start_on_a_running_client_times_out<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let proxy = new_proxy();
    let builder = ctx.builder_at(proxy.address()).connect_timeout(TIMEOUT);
    let zk = ctx.connect(builder).await;
    let session = zk.session_id();
    ctx.cut_off(&zk, &proxy).await;
    let error = ctx.err("to start without a server", zk.start()).await;
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert_eq!((zk.state(), zk.session_id()), (SessionState::Suspended, session));

    let start = zk.start();
    proxy.refuse(false);
    ctx.ok("to start with one", start).await;
    assert!(zk.connected());
    assert_eq!(zk.session_id(), session);
}

pub async fn start_async_signals_when_there_is_a_session<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let proxy = new_proxy();
    proxy.refuse(true);
    let zk = ctx.build(ctx.builder_at(proxy.address()));
    let started = zk.start_async();
    let event = started.clone();
    assert!(!spawn_blocking(move || event.wait(Duration::from_millis(50))).await);
    proxy.refuse(false);
    let event = started.clone();
    assert!(spawn_blocking(move || event.wait(LIMIT)).await);
    assert!(started.is_set() && zk.connected());

    proxy.refuse(true);
    let timeout = Duration::from_millis(100);
    let zk = ctx.build(ctx.builder_at(proxy.address()).connect_timeout(timeout));
    let started = zk.start_async();
    ctx.err("the start", zk.start()).await;
    ctx.short_wait().await;
    assert!(!started.is_set());
}

pub async fn two_starts_make_one_session<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let proxy = new_proxy();
    let zk = ctx.build(ctx.builder_at(proxy.address()));
    let (first, second) = (zk.start(), zk.start());
    ctx.ok("the first start", first).await;
    ctx.ok("the second start", second).await;
    let session = zk.session_id();
    ctx.ok("a third start", zk.start()).await;
    assert_eq!(zk.session_id(), session);
    assert_eq!(proxy.accepted(), 1);
}

pub async fn repeated_stops_succeed<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.build(ctx.builder());
    ctx.ok("to stop what was not started", zk.stop()).await;
    ctx.ok("to start", zk.start()).await;
    let (first, second) = (zk.stop(), zk.stop());
    ctx.ok("the first stop", first).await;
    ctx.ok("the second stop", second).await;
    ctx.ok("a third stop", zk.stop()).await;
    assert_eq!(zk.state(), SessionState::Lost);
}

pub async fn stop_while_connecting_returns_at_once<H: Handler>(handler: H) {
    let counted = CountingHandler::new(handler);
    let ctx = TestContext::new(counted.clone());
    let (_listener, silent) = blackhole();
    let zk = ctx.build(ctx.builder_at(silent));
    let start = zk.start();
    ctx.wait_until("a connection", || counted.connections() == 1).await;
    let begun = Instant::now();
    ctx.ok("to stop", zk.stop()).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let error = ctx.err("the start", start).await;
    assert_eq!(error.kind(), ErrorKind::ConnectionClosed, "{error}");
    ctx.wait_until("the tasks to end", || counted.tasks() + counted.connections() == 0).await;
}

pub async fn start_after_stop_makes_a_new_session<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let first = zk.session_id();
    ctx.ok("an ephemeral", zk.create("/mine", b"", CreateMode::Ephemeral)).await;
    ctx.ok("to stop", zk.stop()).await;
    assert_eq!((zk.state(), zk.connection_state()), (SessionState::Lost, ConnectionState::Closed));

    let error = ctx.err("a call on a stopped client", zk.exists("/mine")).await;
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::ConnectionClosed, Some(Outcome::NotSent))
    );

    ctx.ok("to start", zk.start()).await;
    assert_ne!(zk.session_id(), first);
    assert_eq!(ctx.ok("exists", zk.exists("/mine")).await, None);
}

pub async fn restart_makes_a_new_session<H: Handler>(handler: H) {
    let counted = CountingHandler::new(handler);
    let ctx = TestContext::new(counted.clone());
    let zk = ctx.client().await;
    let first = zk.session_id().expect("it is connected").0;
    let mut states = zk.states();
    ctx.ok("an ephemeral", zk.create("/mine", b"", CreateMode::Ephemeral)).await;
    ctx.ok("to restart", zk.restart()).await;
    ctx.expect_states(&mut states, &[SessionState::Lost, SessionState::Connected]).await;
    assert_ne!(zk.session_id().expect("it is connected").0, first);
    assert_eq!(ctx.ok("exists", zk.exists("/mine")).await, None);
    assert!(!has_session(first));
    assert_eq!(states.try_next(), None);
    ctx.wait_until("one driver", || (counted.tasks(), counted.connections()) == (1, 1)).await;
}

pub async fn restart_starts_a_stopped_client<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.build(ctx.builder());
    ctx.ok("to restart", zk.restart()).await;
    ctx.ok("to read", zk.exists("/")).await;
}

pub async fn a_stop_after_a_restart_wins<H: Handler>(handler: H) {
    let counted = CountingHandler::new(handler);
    let ctx = TestContext::new(counted.clone());
    let zk = ctx.client().await;
    let (restart, stop) = (zk.restart(), zk.stop());
    ctx.ok("to stop", stop).await;
    let error = ctx.err("the restart", restart).await;
    assert_eq!(error.kind(), ErrorKind::ConnectionClosed, "{error}");
    ctx.wait_until("the tasks to end", || counted.tasks() + counted.connections() == 0).await;
    ctx.short_wait().await;
    assert_eq!(zk.state(), SessionState::Lost);
    assert_eq!((counted.tasks(), counted.connections()), (0, 0));
}

pub async fn a_client_dropped_during_a_restart_leaves_no_tasks<H: Handler>(handler: H) {
    let counted = CountingHandler::new(handler);
    let ctx = TestContext::new(counted.clone());
    let zk = ctx.client().await;
    drop(zk.restart());
    drop(zk);
    ctx.wait_until("the tasks to end", || counted.tasks() + counted.connections() == 0).await;
    ctx.short_wait().await;
    assert_eq!((counted.tasks(), counted.connections()), (0, 0));
}

pub async fn a_restart_while_the_session_closes_succeeds<H: Handler>(handler: H) {
    let counted = CountingHandler::new(handler);
    let ctx = TestContext::new(counted.clone());
    let proxy = new_proxy();
    proxy.refuse(true);
    let zk = ctx.build(ctx.builder_at(proxy.address()));
    drop(zk.start());
    let mut waiting = pin!(zk.exists("/"));
    // The call ends in the same step as the session.
    let restart = Restart::new(&zk);
    let waker = Waker::from(restart.clone());
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop(zk.stop());
    let restarted = ctx.eventually("the call to end", || restart.restarted()).await;
    proxy.refuse(false);
    ctx.ok("to restart", restarted).await;
    ctx.ok("to stop", zk.stop()).await;
    ctx.wait_until("the tasks to end", || counted.tasks() + counted.connections() == 0).await;
}

pub async fn a_restart_right_after_a_stop_succeeds<H: Handler>(handler: H) {
    let counted = CountingHandler::new(handler);
    let ctx = TestContext::new(counted.clone());
    let (proxy, zk) = ctx.client_via_proxy().await;
    proxy.hold(Direction::ToClient);
    let mut stop = pin!(zk.stop());
    let restart = Restart::new(&zk);
    let waker = Waker::from(restart.clone());
    assert!(stop.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    proxy.release();
    let restarted = ctx.eventually("the stop", || restart.restarted()).await;
    ctx.ok("to restart", restarted).await;
    ctx.ok("to stop", zk.stop()).await;
    ctx.wait_until("the tasks to end", || counted.tasks() + counted.connections() == 0).await;
}

/// A waker that starts, stops and restarts a client.
struct Restart {
    zk: Client,
    restarted: Mutex<Option<AsyncResult<()>>>,
}

impl Restart {
    fn new(zk: &Client) -> Arc<Self> {
        Arc::new(Self { zk: zk.clone(), restarted: Mutex::default() })
    }

    /// The result of the restart, once the waker was woken.
    fn restarted(&self) -> Option<AsyncResult<()>> {
        lock(&self.restarted).take()
    }
}

impl Wake for Restart {
    fn wake(self: Arc<Self>) {
        drop(self.zk.start());
        drop(self.zk.stop());
        *lock(&self.restarted) = Some(self.zk.restart());
    }
}

pub async fn starts_and_stops_in_a_row_do_not_hang<H: Handler>(handler: H) {
    let counted = CountingHandler::new(handler);
    let ctx = TestContext::new(counted.clone());
    let proxy = new_proxy();
    let zk = ctx.build(ctx.builder_at(proxy.address()));
    for _ in 0..20 {
        drop(zk.start());
        drop(zk.stop());
        drop(zk.restart());
    }
    ctx.ok("the last start", zk.start()).await;
    ctx.ok("to read", zk.exists("/")).await;
    ctx.wait_until("one driver", || (counted.tasks(), counted.connections()) == (1, 1)).await;
    ctx.ok("to stop", zk.stop()).await;
    ctx.wait_until("the tasks to end", || counted.tasks() + counted.connections() == 0).await;
    ctx.wait_until("the connections to end", || proxy.connections() == 0).await;
}

pub async fn threads_can_start_and_stop_concurrently<H: Handler>(handler: H) {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 100;

    let counted = CountingHandler::new(handler);
    let ctx = TestContext::new(counted.clone());
    let proxy = new_proxy();
    let zk = ctx.build(ctx.builder_at(proxy.address()));
    let mut states = zk.states();
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let zk = zk.clone();
            spawn_blocking(move || {
                let (mut lives, mut calls) = (Vec::new(), Vec::new());
                for round in 0..ROUNDS {
                    // Each thread uses a different order.
                    let life = match (round * (2 * thread + 3) + thread) % 11 % 4 {
                        0 => zk.start(),
                        1 => zk.stop(),
                        2 => zk.restart(),
                        _ => {
                            drop(zk.exists_and_watch("/none"));
                            calls.push(zk.exists("/"));
                            continue;
                        }
                    };
                    life.wait(Duration::from_millis(round % 4));
                    lives.push(life);
                }
                let lives = lives.iter().all(|life| life.wait(LIMIT));
                lives && calls.iter().all(|call| call.wait(LIMIT))
            })
        })
        .collect();
    for thread in threads {
        assert!(ctx.within("a thread", thread).await, "a result has never come");
    }
    ctx.ok("the last start", zk.start()).await;
    ctx.ok("to read", zk.exists("/")).await;
    ctx.wait_until("one driver", || (counted.tasks(), counted.connections()) == (1, 1)).await;
    ctx.ok("to stop", zk.stop()).await;
    ctx.wait_until("the tasks to end", || counted.tasks() + counted.connections() == 0).await;

    let mut before = SessionState::Lost;
    while let Some(state) = states.try_next() {
        let follows = match state {
            SessionState::Suspended => before.is_connected(),
            _ => state != before,
        };
        assert!(follows, "{state} after {before}");
        before = state;
    }
    assert_eq!(before, SessionState::Lost);
}

pub async fn calls_before_start_fail_as_closed<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.build(ctx.builder());
    assert_eq!((zk.state(), zk.connection_state()), (SessionState::Lost, ConnectionState::Closed));
    assert_eq!((zk.connected(), zk.session_id(), zk.client_id()), (false, None, None));
    let error = ctx.err("a call before the start", zk.get("/")).await;
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::ConnectionClosed, Some(Outcome::NotSent))
    );
}

pub async fn calls_during_stop_fail_as_closed<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    proxy.hold(Direction::ToClient);
    let stop = zk.stop();
    let error = ctx.err("a call after the stop", zk.get("/")).await;
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::ConnectionClosed, Some(Outcome::NotSent))
    );
    proxy.release();
    ctx.ok("to stop", stop).await;
}

pub async fn dropping_the_last_client_closes_the_session<H: Handler>(handler: H) {
    let counted = CountingHandler::new(handler.clone());
    let ctx = TestContext::new(handler);
    let witness = ctx.client().await;
    let zk = ctx.ok("to connect", ctx.builder().connect_on(counted.clone())).await;
    let clone = zk.clone();
    let deeper = zk.with_chroot("/deeper").expect("a good path");
    ctx.ok("an ephemeral", zk.create("/mine", b"", CreateMode::Ephemeral)).await;
    let (_, watch) = ctx.ok("to watch", witness.exists_and_watch("/mine")).await;

    drop((zk, clone));
    ctx.ok("the session to live on", deeper.exists("/")).await;
    assert!(!watch.ready());
    let begun = Instant::now();
    drop(deeper);
    ctx.ok("the ephemeral to go", watch).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "it went by expiry");
    ctx.wait_until("the tasks to end", || counted.tasks() + counted.connections() == 0).await;
}

pub async fn dropping_a_client_lets_pending_calls_finish<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let witness = ctx.client().await;
    let zk = ctx.client().await;
    let handles: Vec<_> =
        (0..100).map(|n| zk.create(format!("/n{n}"), b"", CreateMode::Persistent)).collect();
    drop(zk);
    for handle in handles {
        ctx.ok("a call of a dropped client", handle).await;
    }
    assert_eq!(ctx.ok("children", witness.get_children("/")).await.len(), 100);
}

pub async fn stop_completes_calls_in_flight_first<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let handles: Vec<_> =
        (0..500).map(|n| zk.create(format!("/n{n}"), b"", CreateMode::Persistent)).collect();
    let stop = zk.stop();
    ctx.ok("to stop", stop).await;
    for handle in handles {
        assert!(handle.ready(), "the stop overtook it");
        ctx.ok("a call before the stop", handle).await;
    }
}

pub async fn stop_without_a_connection_returns_at_once<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    ctx.cut_off(&zk, &proxy).await;
    let queued = zk.create("/never", b"", CreateMode::Persistent);
    let begun = Instant::now();
    ctx.ok("to stop", zk.stop()).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let error = ctx.err("a call that was queued", queued).await;
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::ConnectionClosed, Some(Outcome::NotSent))
    );
    assert_eq!(zk.state(), SessionState::Lost);
}

pub async fn stop_times_out_on_a_silent_server<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let proxy = new_proxy();
    let close_timeout = Duration::from_millis(300);
    let zk = ctx.connect(ctx.builder_at(proxy.address()).close_timeout(close_timeout)).await;
    proxy.hold(Direction::ToClient);
    let lost = zk.set("/", b"", None);
    let begun = Instant::now();
    ctx.ok("to stop", zk.stop()).await;
    let took = begun.elapsed();
    assert!(took >= close_timeout && took < Duration::from_secs(5), "{took:?}");
    let error = ctx.err("a call without an answer", lost).await;
    assert_eq!(error.outcome(), Some(Outcome::Unknown), "{error}");
}

pub async fn a_session_can_be_resumed_in_another_client<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, first) = ctx.client_via_proxy().await;
    ctx.ok("an ephemeral", first.create("/mine", b"", CreateMode::Ephemeral)).await;
    let ticket = first.client_id().expect("it has a session");
    ctx.cut_off(&first, &proxy).await;
    ctx.ok("to stop the first", first.stop()).await;

    let second = ctx.connect(ctx.builder().client_id(ticket.clone())).await;
    assert_eq!(second.session_id(), Some(ticket.id));
    let stat = ctx.ok("exists", second.exists("/mine")).await.expect("it lives on");
    assert_eq!(stat.ephemeral_owner, ticket.id.0);

    // A session is resumed once. A restart begins a new one.
    ctx.ok("to restart", second.restart()).await;
    assert_ne!(second.session_id(), Some(ticket.id));
    assert_eq!(ctx.ok("exists", second.exists("/mine")).await, None);
}

pub async fn a_session_that_cannot_be_resumed_is_replaced<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let first = ctx.client().await;
    let expired = first.client_id().expect("it has a session");
    ctx.ok("to stop", first.stop()).await;
    let second = ctx.client().await;
    let mut wrong = second.client_id().expect("it has a session");
    wrong.password = expired.password.clone();

    for ticket in [expired, wrong] {
        let zk = ctx.build(ctx.builder().client_id(ticket.clone()));
        let mut states = zk.states();
        ctx.ok("to start", zk.start()).await;
        assert!(zk.session_id().is_some_and(|id| id != ticket.id));
        assert_eq!((states.try_next(), states.try_next()), (Some(SessionState::Connected), None));
        ctx.ok("to read", zk.exists("/")).await;
    }
}

pub async fn a_plain_thread_can_block_on_every_call<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let builder = ctx.builder();
    let handler = ctx.handler.clone();
    spawn_blocking(move || {
        let zk = builder.connect_on(handler).get().expect("it connects");
        let mut states = zk.states();
        let path = zk.create("/node", b"one", CreateMode::Persistent).get().expect("created");
        assert_eq!(path, "/node");
        let (_, stat, watch) = zk.get_and_watch("/node").get().expect("read");
        let set = zk.set("/node", b"two", stat.version);
        assert!(set.wait(LIMIT));
        assert!(watch.wait(LIMIT));
        assert_eq!(watch.get().expect("fired").path, "/node");
        let pending = zk.exists("/node");
        assert!(pending.wait(None));
        assert!(zk.transaction().delete("/node", None).commit().get().is_ok());
        zk.ensure_path("/a/b/c").get().expect("made");
        zk.delete_recursive("/a").get().expect("deleted");
        let begun = Instant::now();
        block_on(zk.sleep(Duration::from_millis(20)));
        assert!(begun.elapsed() >= Duration::from_millis(20));
        zk.stop().get().expect("stopped");
        assert_eq!(states.next_blocking(), Some(SessionState::Lost));
    })
    .await;
}

pub async fn a_call_that_would_block_a_task_panics<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    ctx.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    let (_, _, watch) = ctx.ok("a watch", zk.get_and_watch("/node")).await;
    let lock = Lock::new(&zk, "/lock");
    let held = ctx.ok("a lock", lock.acquire()).await;
    proxy.hold(Direction::ToClient);
    // This test runs as a task of the handler.
    let calls: [(&str, &dyn Fn() -> bool); 8] = [
        ("get", &|| zk.exists("/").get().is_ok()),
        ("wait", &|| zk.exists("/").wait(None)),
        ("wait in time", &|| zk.exists("/").wait(LIMIT)),
        ("Watch::get", &|| watch.clone().get().is_ok()),
        ("Watch::wait", &|| watch.wait(None)),
        ("States", &|| zk.states().next_blocking().is_some()),
        ("Event", &|| held.lost().wait(None)),
        ("blocking::Client", &|| client_that_waits::Client::from(zk.clone()).exists("/").is_ok()),
    ];
    for (name, call) in calls {
        let panic = catch_unwind(AssertUnwindSafe(call)).expect_err(name);
        let advice = panic.downcast_ref::<String>().map_or("no text", String::as_str);
        assert!(advice.contains("await the result instead"), "{name}: {advice}");
    }
    // A wait of zero does not block, and neither does getting a result that is ready.
    let read = zk.exists("/");
    assert!(!read.wait(Duration::ZERO));
    proxy.release();
    ctx.wait_until("the answer to come", || read.ready()).await;
    assert!(read.wait(None));
    assert!(read.get().expect("the root").is_some());
    ctx.ok("to release the lock", held.release()).await;
}
