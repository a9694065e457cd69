//! Start, stop, restart, drop: in every order, and with nothing left behind.

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
    counted::Counted,
    site::{LIMIT, Site, block_on, blocking, proxy, shared},
};
use crate::{Direction, Fake, Verdict, lock};

/// Nobody ever listens there.
const NOBODY: &str = "127.0.0.1:1";

/// How long a start may take that is to fail: long enough for those that are not.
const PATIENCE: Duration = Duration::from_secs(2);

/// Accepts connections, as its backlog does, and says nothing.
fn blackhole() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

/// Whether the server still has sessions whose id is `id`.
fn has_session(id: i64) -> bool {
    shared().four_letter("dump").contains(&format!("{id:#x}"))
}

pub async fn start_against_nothing_fails_in_time_and_can_be_tried_again<H: Handler>(handler: H) {
    let counted = Counted::new(handler);
    let site = Site::new(counted.clone());
    let proxy = proxy();
    proxy.refuse(true);
    let timeout = Duration::from_millis(500);
    let zk = site.build(site.builder_at(proxy.address()).connect_timeout(timeout));

    let begun = Instant::now();
    let error = site.err("a start against nothing", zk.start()).await;
    assert!(begun.elapsed() >= timeout, "{:?}", begun.elapsed());
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("500ms"), "{error}");
    assert!(error.to_string().contains(&proxy.address().to_string()), "{error}");
    assert_eq!((zk.state(), zk.connection_state()), (SessionState::Lost, ConnectionState::Closed));
    site.when("the tasks to end", || counted.live() == (0, 0)).await;
    let attempts = counted.attempts();
    site.moment().await;
    assert_eq!(counted.attempts(), attempts, "it goes on trying");

    proxy.refuse(false);
    site.ok("to start again", zk.start()).await;
    site.ok("to read", zk.exists("/")).await;
    site.ok("to stop", zk.stop()).await;
    site.when("the tasks to end", || counted.live() == (0, 0)).await;
}

pub async fn a_failed_start_names_host_and_cause<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (_listener, silent) = blackhole();
    let refusing = Fake::new(|_, client| client.refuse_session());
    let timeout = Duration::from_millis(400);
    let cases = [
        (NOBODY.to_owned(), vec![NOBODY, "refused"]),
        ("no-such-host.invalid:2181".to_owned(), vec!["no-such-host.invalid:2181"]),
        (silent.to_string(), vec![]),
        (refusing.address().to_string(), vec!["refuses a new session"]),
    ];
    let begun = Instant::now();
    let starts = cases.map(|(host, words)| {
        let builder = site.builder_at(&host).connect_timeout(timeout);
        (builder.connect_on(site.handler.clone()), host, words)
    });
    for (start, host, words) in starts {
        let error = site.err("a start against nothing", start).await;
        assert!(begun.elapsed() < LIMIT / 2, "{host}: {:?}", begun.elapsed());
        assert_eq!(error.kind(), ErrorKind::Timeout, "{host}: {error}");
        let text = error.to_string();
        for word in words.into_iter().chain([host.as_str(), "400ms"]) {
            assert!(text.contains(word), "no {word} in: {text}");
        }
    }
}

pub async fn a_start_just_after_one_that_failed_is_done<H: Handler>(handler: H) {
    const AUTH: [u8; 4] = (-4_i32).to_be_bytes();

    let site = Site::new(handler);
    let proxy = proxy();
    let asked = Arc::new(AtomicBool::new(false));
    let seen = asked.clone();
    proxy.on_frame(Direction::ToServer, move |frame| {
        if !frame.starts_with(&AUTH) {
            return Verdict::Pass;
        }
        seen.store(true, Ordering::Relaxed);
        Verdict::Drop
    });
    let builder = site.builder_at(proxy.address()).auth("digest", "ann:secret");
    let zk = site.build(builder.connect_timeout(PATIENCE));
    let first = zk.start();
    site.when("the credential", || asked.load(Ordering::Relaxed)).await;
    proxy.hold(Direction::ToServer);
    let error = site.err("the first start", first).await;
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");

    // It is still about to close its session.
    assert!(zk.connected());
    let second = zk.start();
    assert!(!second.ready());
    proxy.on_frame(Direction::ToServer, |_| Verdict::Pass);
    proxy.release();
    site.ok("the second start", second).await;
    site.ok("to read", zk.exists("/")).await;
}

pub async fn a_start_of_a_client_that_runs_ends_in_time<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let proxy = proxy();
    let builder = site.builder_at(proxy.address()).connect_timeout(PATIENCE);
    let zk = site.connect(builder).await;
    let session = zk.session_id();
    site.cut_off(&zk, &proxy).await;
    let error = site.err("to start without a server", zk.start()).await;
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert_eq!((zk.state(), zk.session_id()), (SessionState::Suspended, session));

    let start = zk.start();
    proxy.refuse(false);
    site.ok("to start with one", start).await;
    assert!(zk.connected());
    assert_eq!(zk.session_id(), session);
}

pub async fn start_async_tells_when_there_is_a_session<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let proxy = proxy();
    proxy.refuse(true);
    let zk = site.build(site.builder_at(proxy.address()));
    let started = zk.start_async();
    let event = started.clone();
    assert!(!blocking(move || event.wait(Duration::from_millis(50))).await);
    proxy.refuse(false);
    let event = started.clone();
    assert!(blocking(move || event.wait(LIMIT)).await);
    assert!(started.is_set() && zk.connected());

    proxy.refuse(true);
    let timeout = Duration::from_millis(100);
    let zk = site.build(site.builder_at(proxy.address()).connect_timeout(timeout));
    let started = zk.start_async();
    site.err("the start", zk.start()).await;
    site.moment().await;
    assert!(!started.is_set());
}

pub async fn two_starts_make_one_session<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let proxy = proxy();
    let zk = site.build(site.builder_at(proxy.address()));
    let (first, second) = (zk.start(), zk.start());
    site.ok("the first start", first).await;
    site.ok("the second start", second).await;
    let session = zk.session_id();
    site.ok("a third start", zk.start()).await;
    assert_eq!(zk.session_id(), session);
    assert_eq!(proxy.accepted(), 1);
}

pub async fn two_stops_are_as_good_as_one<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.build(site.builder());
    site.ok("to stop what was not started", zk.stop()).await;
    site.ok("to start", zk.start()).await;
    let (first, second) = (zk.stop(), zk.stop());
    site.ok("the first stop", first).await;
    site.ok("the second stop", second).await;
    site.ok("a third stop", zk.stop()).await;
    assert_eq!(zk.state(), SessionState::Lost);
}

pub async fn stop_while_connecting_returns_at_once<H: Handler>(handler: H) {
    let counted = Counted::new(handler);
    let site = Site::new(counted.clone());
    let (_listener, silent) = blackhole();
    let zk = site.build(site.builder_at(silent));
    let start = zk.start();
    site.when("a connection", || counted.live().1 == 1).await;
    let begun = Instant::now();
    site.ok("to stop", zk.stop()).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let error = site.err("the start", start).await;
    assert_eq!(error.kind(), ErrorKind::ConnectionClosed, "{error}");
    site.when("the tasks to end", || counted.live() == (0, 0)).await;
}

pub async fn start_after_stop_is_a_new_session<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.client().await;
    let first = zk.session_id();
    site.ok("an ephemeral", zk.create("/mine", b"", CreateMode::Ephemeral)).await;
    site.ok("to stop", zk.stop()).await;
    assert_eq!((zk.state(), zk.connection_state()), (SessionState::Lost, ConnectionState::Closed));

    let error = site.err("a call on a stopped client", zk.exists("/mine")).await;
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::ConnectionClosed, Some(Outcome::NotSent))
    );

    site.ok("to start", zk.start()).await;
    assert_ne!(zk.session_id(), first);
    assert_eq!(site.ok("exists", zk.exists("/mine")).await, None);
}

pub async fn restart_is_a_new_session<H: Handler>(handler: H) {
    let counted = Counted::new(handler);
    let site = Site::new(counted.clone());
    let zk = site.client().await;
    let first = zk.session_id().expect("it is connected").0;
    let mut states = zk.states();
    site.ok("an ephemeral", zk.create("/mine", b"", CreateMode::Ephemeral)).await;
    site.ok("to restart", zk.restart()).await;
    site.expect(&mut states, &[SessionState::Lost, SessionState::Connected]).await;
    assert_ne!(zk.session_id().expect("it is connected").0, first);
    assert_eq!(site.ok("exists", zk.exists("/mine")).await, None);
    assert!(!has_session(first));
    assert_eq!(states.try_next(), None);
    site.when("one driver", || counted.live() == (1, 1)).await;
}

pub async fn restart_starts_a_client_that_was_stopped<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.build(site.builder());
    site.ok("to restart", zk.restart()).await;
    site.ok("to read", zk.exists("/")).await;
}

pub async fn a_stop_after_a_restart_has_the_last_word<H: Handler>(handler: H) {
    let counted = Counted::new(handler);
    let site = Site::new(counted.clone());
    let zk = site.client().await;
    let (restart, stop) = (zk.restart(), zk.stop());
    site.ok("to stop", stop).await;
    let error = site.err("the restart", restart).await;
    assert_eq!(error.kind(), ErrorKind::ConnectionClosed, "{error}");
    site.when("the tasks to end", || counted.live() == (0, 0)).await;
    site.moment().await;
    assert_eq!((zk.state(), counted.live()), (SessionState::Lost, (0, 0)));
}

pub async fn a_client_that_is_dropped_in_a_restart_leaves_nothing<H: Handler>(handler: H) {
    let counted = Counted::new(handler);
    let site = Site::new(counted.clone());
    let zk = site.client().await;
    drop(zk.restart());
    drop(zk);
    site.when("the tasks to end", || counted.live() == (0, 0)).await;
    site.moment().await;
    assert_eq!(counted.live(), (0, 0));
}

pub async fn a_restart_in_the_last_moment_of_a_session_is_done<H: Handler>(handler: H) {
    let counted = Counted::new(handler);
    let site = Site::new(counted.clone());
    let proxy = proxy();
    proxy.refuse(true);
    let zk = site.build(site.builder_at(proxy.address()));
    drop(zk.start());
    let mut waiting = pin!(zk.exists("/"));
    // Its end is among the last that the session has to say.
    let restart = Restart::new(&zk);
    let waker = Waker::from(restart.clone());
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop(zk.stop());
    let restarted = site.until("the call to end", || restart.restarted()).await;
    proxy.refuse(false);
    site.ok("to restart", restarted).await;
    site.ok("to stop", zk.stop()).await;
    site.when("the tasks to end", || counted.live() == (0, 0)).await;
}

pub async fn a_restart_right_after_a_stop_is_done<H: Handler>(handler: H) {
    let counted = Counted::new(handler);
    let site = Site::new(counted.clone());
    let (proxy, zk) = site.proxied().await;
    proxy.hold(Direction::ToClient);
    let mut stop = pin!(zk.stop());
    let restart = Restart::new(&zk);
    let waker = Waker::from(restart.clone());
    assert!(stop.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    proxy.release();
    let restarted = site.until("the stop", || restart.restarted()).await;
    site.ok("to restart", restarted).await;
    site.ok("to stop", zk.stop()).await;
    site.when("the tasks to end", || counted.live() == (0, 0)).await;
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

    /// What comes of it, once it is awake.
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
    let counted = Counted::new(handler);
    let site = Site::new(counted.clone());
    let proxy = proxy();
    let zk = site.build(site.builder_at(proxy.address()));
    for _ in 0..20 {
        drop(zk.start());
        drop(zk.stop());
        drop(zk.restart());
    }
    site.ok("the last start", zk.start()).await;
    site.ok("to read", zk.exists("/")).await;
    site.when("one driver", || counted.live() == (1, 1)).await;
    site.ok("to stop", zk.stop()).await;
    site.when("the tasks to end", || counted.live() == (0, 0)).await;
    site.when("the connections to end", || proxy.connections() == 0).await;
}

pub async fn threads_may_start_and_stop_at_will<H: Handler>(handler: H) {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 100;

    let counted = Counted::new(handler);
    let site = Site::new(counted.clone());
    let proxy = proxy();
    let zk = site.build(site.builder_at(proxy.address()));
    let mut states = zk.states();
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let zk = zk.clone();
            blocking(move || {
                let (mut lives, mut calls) = (Vec::new(), Vec::new());
                for round in 0..ROUNDS {
                    // Any order will do, if each thread has another one.
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
        assert!(site.within("a thread", thread).await, "a result has never come");
    }
    site.ok("the last start", zk.start()).await;
    site.ok("to read", zk.exists("/")).await;
    site.when("one driver", || counted.live() == (1, 1)).await;
    site.ok("to stop", zk.stop()).await;
    site.when("the tasks to end", || counted.live() == (0, 0)).await;

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

pub async fn calls_before_the_start_fail_as_closed<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.build(site.builder());
    assert_eq!((zk.state(), zk.connection_state()), (SessionState::Lost, ConnectionState::Closed));
    assert_eq!((zk.connected(), zk.session_id(), zk.client_id()), (false, None, None));
    let error = site.err("a call before the start", zk.get("/")).await;
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::ConnectionClosed, Some(Outcome::NotSent))
    );
}

pub async fn calls_between_stop_and_its_end_fail_as_closed<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    proxy.hold(Direction::ToClient);
    let stop = zk.stop();
    let error = site.err("a call after the stop", zk.get("/")).await;
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::ConnectionClosed, Some(Outcome::NotSent))
    );
    proxy.release();
    site.ok("to stop", stop).await;
}

pub async fn the_drop_of_the_last_client_closes_the_session<H: Handler>(handler: H) {
    let counted = Counted::new(handler.clone());
    let site = Site::new(handler);
    let witness = site.client().await;
    let zk = site.ok("to connect", site.builder().connect_on(counted.clone())).await;
    let clone = zk.clone();
    let deeper = zk.with_chroot("/deeper").expect("a good path");
    site.ok("an ephemeral", zk.create("/mine", b"", CreateMode::Ephemeral)).await;
    let (_, watch) = site.ok("to watch", witness.exists_and_watch("/mine")).await;

    drop((zk, clone));
    site.ok("the session to live on", deeper.exists("/")).await;
    assert!(!watch.ready());
    let begun = Instant::now();
    drop(deeper);
    site.ok("the ephemeral to go", watch).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "it went by expiry");
    site.when("the tasks to end", || counted.live() == (0, 0)).await;
}

pub async fn the_drop_of_a_client_lets_work_under_way_finish<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let witness = site.client().await;
    let zk = site.client().await;
    let handles: Vec<_> =
        (0..100).map(|n| zk.create(format!("/n{n}"), b"", CreateMode::Persistent)).collect();
    drop(zk);
    for handle in handles {
        site.ok("a call of a dropped client", handle).await;
    }
    assert_eq!(site.ok("children", witness.get_children("/")).await.len(), 100);
}

pub async fn stop_completes_the_work_in_flight_first<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.client().await;
    let handles: Vec<_> =
        (0..500).map(|n| zk.create(format!("/n{n}"), b"", CreateMode::Persistent)).collect();
    let stop = zk.stop();
    site.ok("to stop", stop).await;
    for handle in handles {
        assert!(handle.ready(), "the stop overtook it");
        site.ok("a call before the stop", handle).await;
    }
}

pub async fn stop_without_a_connection_returns_at_once<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    site.cut_off(&zk, &proxy).await;
    let queued = zk.create("/never", b"", CreateMode::Persistent);
    let begun = Instant::now();
    site.ok("to stop", zk.stop()).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let error = site.err("a call that was queued", queued).await;
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::ConnectionClosed, Some(Outcome::NotSent))
    );
    assert_eq!(zk.state(), SessionState::Lost);
}

pub async fn stop_does_not_wait_for_ever_for_a_silent_server<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let proxy = proxy();
    let patience = Duration::from_millis(300);
    let zk = site.connect(site.builder_at(proxy.address()).close_timeout(patience)).await;
    proxy.hold(Direction::ToClient);
    let lost = zk.set("/", b"", None);
    let begun = Instant::now();
    site.ok("to stop", zk.stop()).await;
    let took = begun.elapsed();
    assert!(took >= patience && took < Duration::from_secs(5), "{took:?}");
    let error = site.err("a call without an answer", lost).await;
    assert_eq!(error.outcome(), Some(Outcome::Unknown), "{error}");
}

pub async fn a_session_can_be_resumed_in_another_client<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, first) = site.proxied().await;
    site.ok("an ephemeral", first.create("/mine", b"", CreateMode::Ephemeral)).await;
    let ticket = first.client_id().expect("it has a session");
    site.cut_off(&first, &proxy).await;
    site.ok("to stop the first", first.stop()).await;

    let second = site.connect(site.builder().client_id(ticket.clone())).await;
    assert_eq!(second.session_id(), Some(ticket.id));
    let stat = site.ok("exists", second.exists("/mine")).await.expect("it lives on");
    assert_eq!(stat.ephemeral_owner, ticket.id.0);

    // A session is resumed once: what comes after it is a new one.
    site.ok("to restart", second.restart()).await;
    assert_ne!(second.session_id(), Some(ticket.id));
    assert_eq!(site.ok("exists", second.exists("/mine")).await, None);
}

pub async fn a_session_that_cannot_be_resumed_is_replaced<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let first = site.client().await;
    let expired = first.client_id().expect("it has a session");
    site.ok("to stop", first.stop()).await;
    let second = site.client().await;
    let mut wrong = second.client_id().expect("it has a session");
    wrong.password = expired.password.clone();

    for ticket in [expired, wrong] {
        let zk = site.build(site.builder().client_id(ticket.clone()));
        let mut states = zk.states();
        site.ok("to start", zk.start()).await;
        assert!(zk.session_id().is_some_and(|id| id != ticket.id));
        assert_eq!((states.try_next(), states.try_next()), (Some(SessionState::Connected), None));
        site.ok("to read", zk.exists("/")).await;
    }
}

pub async fn a_plain_thread_may_block_on_everything<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let builder = site.builder();
    let handler = site.handler.clone();
    blocking(move || {
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
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    site.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    let (_, _, watch) = site.ok("a watch", zk.get_and_watch("/node")).await;
    let lock = Lock::new(&zk, "/lock");
    let held = site.ok("a lock", lock.acquire()).await;
    proxy.hold(Direction::ToClient);
    // This test is a task of the handler.
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
    // To look is not to wait, nor is to take what is there.
    let read = zk.exists("/");
    assert!(!read.wait(Duration::ZERO));
    proxy.release();
    site.when("the answer to come", || read.ready()).await;
    assert!(read.wait(None));
    assert!(read.get().expect("the root").is_some());
    site.ok("to release the lock", held.release()).await;
}
