//! The handle that every call returns, and the order in which handles complete.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use zk_client::{CreateMode, Error, ErrorCode, Handler, SessionState};

use super::{
    context::{LIMIT, TestContext},
    shared_server::new_proxy,
};
use crate::{
    Direction, FrameAction, lock,
    tasks::{block_on, spawn_blocking},
};

/// The calls of callbacks, in order.
#[derive(Clone, Default)]
struct CallbackLog(Arc<Mutex<Vec<String>>>);

impl CallbackLog {
    fn say(&self, what: impl Into<String>) {
        lock(&self.0).push(what.into());
    }

    fn all(&self) -> Vec<String> {
        lock(&self.0).clone()
    }

    fn count(&self) -> usize {
        lock(&self.0).len()
    }

    /// A callback that records `what` and whether the result was an error.
    fn callback<T>(&self, what: &str) -> impl FnOnce(Result<T, Error>) + Send + 'static {
        let (log, what) = (self.clone(), what.to_owned());
        move |result| log.say(format!("{what} {}", if result.is_ok() { "ok" } else { "error" }))
    }
}

pub async fn a_result_reports_its_status<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    proxy.hold(Direction::ToClient);
    let (good, bad) = (zk.get_children("/"), zk.get("/missing"));
    for result in [!good.ready(), !bad.ready(), !good.successful(), !bad.successful()] {
        assert!(result);
    }
    assert!(good.value().is_none() && good.exception().is_none() && good.get_nowait().is_none());
    assert_eq!(format!("{good:?}"), "AsyncResult(pending)");
    proxy.release();
    ctx.wait_until("both", || good.ready() && bad.ready()).await;

    assert!(good.successful() && good.exception().is_none());
    assert_eq!(good.value(), Some(Vec::new()));
    assert_eq!(good.get_nowait().expect("ready").expect("good"), good.value().expect("good"));
    assert_eq!(format!("{good:?}"), "AsyncResult(ok)");
    assert!(!bad.successful() && bad.value().is_none());
    assert_eq!(bad.exception().and_then(|error| error.code()), Some(ErrorCode::NoNode));
    assert!(bad.get_nowait().expect("ready").is_err());
    assert_eq!(format!("{bad:?}"), "AsyncResult(error)");

    assert!(good.wait(Duration::ZERO) && bad.wait(None));
    assert!(ctx.ok("to await", good).await.is_empty());
    assert!(bad.get().is_err());
}

pub async fn a_wait_times_out_and_the_call_continues<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    proxy.hold(Direction::ToClient);
    let call = zk.create("/node", b"", CreateMode::Persistent);
    let call = spawn_blocking(move || {
        let begun = Instant::now();
        assert!(!call.wait(Duration::from_millis(50)));
        assert!(begun.elapsed() >= Duration::from_millis(50));
        assert!(!call.wait(Duration::ZERO));
        call
    })
    .await;
    assert!(!call.ready());
    proxy.release();
    assert!(spawn_blocking(move || call.wait(LIMIT) && call.get().is_ok()).await);
}

pub async fn callbacks_run_before_and_after_completion<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    let log = CallbackLog::default();
    proxy.hold(Direction::ToClient);
    let (good, bad) = (zk.exists("/"), zk.get("/missing"));
    good.on_complete(log.callback("first"));
    good.on_complete(log.callback("second"));
    let removed = good.on_complete(log.callback("removed"));
    good.on_complete(log.callback("third"));
    bad.on_complete(log.callback("bad"));
    assert!(good.remove_callback(removed));
    assert!(!good.remove_callback(removed));
    assert!(!bad.remove_callback(removed), "the id of another result");
    assert_eq!(log.count(), 0);
    proxy.release();
    ctx.wait_until("both", || good.ready() && bad.ready()).await;
    let late = good.on_complete(log.callback("late"));
    bad.on_complete(log.callback("late bad"));
    let all = ["first ok", "second ok", "third ok", "bad error", "late ok", "late bad error"];
    ctx.wait_until("all callbacks", || log.count() == all.len()).await;
    assert_eq!(log.all(), all);
    assert!(!good.remove_callback(late));
}

pub async fn a_dropped_result_still_completes<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let log = CallbackLog::default();
    drop(zk.create("/dropped", b"", CreateMode::Persistent));
    drop(zk.get("/missing"));
    zk.create("/linked", b"", CreateMode::Persistent).on_complete(log.callback("linked"));
    zk.ensure_path("/ensured/deep").on_complete(log.callback("ensured"));
    ctx.wait_until("the callbacks", || log.count() == 2).await;
    for path in ["/dropped", "/linked", "/ensured/deep"] {
        assert!(ctx.ok("exists", zk.exists(path)).await.is_some(), "{path}");
    }
}

pub async fn an_invalid_call_returns_a_failed_result<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let log = CallbackLog::default();
    let invalid = zk.exists("no/slash");
    assert!(invalid.ready() && invalid.exception().is_some());
    invalid.on_complete(log.callback("invalid"));
    ctx.wait_until("the callback", || log.all() == ["invalid error"]).await;
}

pub async fn any_thread_can_poll_a_result<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let threads: Vec<_> = (0..4)
        .map(|n| {
            let zk = zk.clone();
            crate::tasks::spawn(
                &ctx.handler,
                spawn_blocking(move || {
                    block_on(async {
                        for m in 0..25 {
                            let path = format!("/n{n}-{m}");
                            zk.create(&path, b"", CreateMode::Persistent).await?;
                            zk.get(&path).await?;
                        }
                        zk.ensure_path(format!("/deep/{n}")).await
                    })
                }),
            )
        })
        .collect();
    for thread in threads {
        ctx.ok("a thread without a runtime", thread).await;
    }
    assert_eq!(ctx.ok("children", zk.get_children("/")).await.len(), 101);
}

pub async fn calls_complete_in_order<H: Handler>(handler: H) {
    const CALLS: usize = 1_000;

    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let note = |n: usize| {
        let order = order.clone();
        move || lock(&order).push(n)
    };
    let mut ready: Vec<Box<dyn Fn() -> bool + Send + Sync>> = Vec::new();
    for n in 0..CALLS {
        let (path, note) = (format!("/n{}", n / 4), note(n));
        match n % 4 {
            0 => {
                let call = zk.create(path, b"", CreateMode::Persistent);
                call.on_complete(move |_| note());
                ready.push(Box::new(move || call.ready()));
            }
            1 => {
                let call = zk.set(path, b"data", 0);
                call.on_complete(move |_| note());
                ready.push(Box::new(move || call.successful()));
            }
            2 => {
                let call = zk.get(path);
                call.on_complete(move |result| {
                    assert_eq!(result.expect("it is there").0, "data");
                    note();
                });
                ready.push(Box::new(move || call.ready()));
            }
            _ => {
                let call = zk.get("/missing");
                call.on_complete(move |_| note());
                ready.push(Box::new(move || call.ready()));
            }
        }
    }
    // From the last to the first: all calls before a ready one must be ready.
    ctx.wait_until("all calls", || {
        let mut later = false;
        for (n, ready) in ready.iter().enumerate().rev() {
            let ready = ready();
            assert!(ready || !later, "call {n} waits while a later one is complete");
            later |= ready;
        }
        ready.iter().all(|ready| ready())
    })
    .await;
    ctx.wait_until("all callbacks", || lock(&order).len() == CALLS).await;
    assert_eq!(*lock(&order), (0..CALLS).collect::<Vec<_>>());
}

pub async fn calls_of_many_tasks_all_complete<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    ctx.ok("a counter", zk.create("/n", b"", CreateMode::Persistent)).await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let zk = zk.clone();
            crate::tasks::spawn(&ctx.handler, async move {
                for _ in 0..50 {
                    zk.set("/n", b"", None).await?;
                }
                Ok(())
            })
        })
        .collect();
    for task in tasks {
        ctx.ok("a task", task).await;
    }
    let stat = ctx.ok("exists", zk.exists("/n")).await.expect("it is there");
    assert_eq!(stat.version, 400);
}

pub async fn a_blocked_callback_keeps_the_session_alive_and_the_order<H: Handler>(handler: H) {
    const PINGS: usize = 5;

    let ctx = TestContext::new(handler);
    let proxy = new_proxy();
    let builder = ctx.builder_at(proxy.address()).session_timeout(Duration::from_secs(2));
    let zk = ctx.connect(builder).await;
    let (mut states, session) = (zk.states(), zk.session_id());
    let log = CallbackLog::default();
    let (release, blocked) = mpsc::channel::<()>();
    let slow = log.clone();
    zk.exists("/").on_complete(move |_| {
        slow.say("slow begins");
        let _ = blocked.recv_timeout(LIMIT);
        slow.say("slow ends");
    });
    ctx.wait_until("the callback to block", || log.count() == 1).await;
    zk.exists("/").on_complete(log.callback("next"));

    // A ping is sent every third of the timeout, so five pings take longer than the timeout.
    let pings = Arc::new(AtomicUsize::new(0));
    let count = pings.clone();
    proxy.on_frame(Direction::ToServer, move |frame| {
        count.fetch_add(usize::from(frame.starts_with(&(-2_i32).to_be_bytes())), Ordering::Relaxed);
        FrameAction::Pass
    });
    ctx.wait_until("pings", || pings.load(Ordering::Relaxed) >= PINGS).await;
    ctx.ok("a call meanwhile", zk.exists("/")).await;
    assert_eq!((zk.session_id(), states.try_next()), (session, None));
    assert_eq!(log.all(), ["slow begins"]);
    drop(release);
    ctx.wait_until("the next callback", || log.count() == 3).await;
    assert_eq!(log.all(), ["slow begins", "slow ends", "next ok"]);
}

pub async fn a_panicking_callback_does_not_affect_others<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    let log = CallbackLog::default();
    zk.exists("/").on_complete(|_| panic!("a callback of a test panics, as it should"));
    zk.exists("/").on_complete(log.callback("next"));
    let listener = log.clone();
    zk.add_listener(move |state| listener.say(state.to_string()));
    ctx.ok("a call", zk.exists("/")).await;
    let mut states = zk.states();
    proxy.cut_rst();
    ctx.expect_states(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
    ctx.wait_until("all callbacks", || log.count() == 3).await;
    assert_eq!(log.all(), ["next ok", "SUSPENDED", "CONNECTED"]);
}

pub async fn a_callback_can_make_blocking_calls<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let log = CallbackLog::default();
    let (client, inner) = (zk.clone(), log.clone());
    zk.exists("/").on_complete(move |_| {
        let created = client.create("/inner", b"", CreateMode::Persistent);
        created.on_complete(inner.callback("created"));
        client.exists("/inner").get().expect("it answers").expect("it is there");
        inner.say("waited");
    });
    ctx.wait_until("both callbacks", || log.count() == 2).await;
    assert_eq!(log.all(), ["waited", "created ok"]);
}
