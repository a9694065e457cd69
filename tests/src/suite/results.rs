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

use super::site::{LIMIT, Site, block_on, blocking, proxy};
use crate::{Direction, Verdict, lock};

/// What callbacks have said, in order.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<String>>>);

impl Said {
    fn say(&self, what: impl Into<String>) {
        lock(&self.0).push(what.into());
    }

    fn all(&self) -> Vec<String> {
        lock(&self.0).clone()
    }

    fn count(&self) -> usize {
        lock(&self.0).len()
    }

    /// A callback that says `what` and how the result was.
    fn callback<T>(&self, what: &str) -> impl FnOnce(Result<T, Error>) + Send + 'static {
        let (said, what) = (self.clone(), what.to_owned());
        move |result| said.say(format!("{what} {}", if result.is_ok() { "ok" } else { "error" }))
    }
}

pub async fn a_result_tells_how_it_stands<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    proxy.hold(Direction::ToClient);
    let (good, bad) = (zk.get_children("/"), zk.get("/missing"));
    for result in [!good.ready(), !bad.ready(), !good.successful(), !bad.successful()] {
        assert!(result);
    }
    assert!(good.value().is_none() && good.exception().is_none() && good.get_nowait().is_none());
    assert_eq!(format!("{good:?}"), "AsyncResult(pending)");
    proxy.release();
    site.when("both", || good.ready() && bad.ready()).await;

    assert!(good.successful() && good.exception().is_none());
    assert_eq!(good.value(), Some(Vec::new()));
    assert_eq!(good.get_nowait().expect("ready").expect("good"), good.value().expect("good"));
    assert_eq!(format!("{good:?}"), "AsyncResult(ok)");
    assert!(!bad.successful() && bad.value().is_none());
    assert_eq!(bad.exception().and_then(|error| error.code()), Some(ErrorCode::NoNode));
    assert!(bad.get_nowait().expect("ready").is_err());
    assert_eq!(format!("{bad:?}"), "AsyncResult(error)");

    assert!(good.wait(Duration::ZERO) && bad.wait(None));
    assert!(site.ok("to await", good).await.is_empty());
    assert!(bad.get().is_err());
}

pub async fn a_wait_ends_with_its_timeout_and_the_call_goes_on<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    proxy.hold(Direction::ToClient);
    let call = zk.create("/node", b"", CreateMode::Persistent);
    let call = blocking(move || {
        let begun = Instant::now();
        assert!(!call.wait(Duration::from_millis(50)));
        assert!(begun.elapsed() >= Duration::from_millis(50));
        assert!(!call.wait(Duration::ZERO));
        call
    })
    .await;
    assert!(!call.ready());
    proxy.release();
    assert!(blocking(move || call.wait(LIMIT) && call.get().is_ok()).await);
}

pub async fn callbacks_come_whether_the_result_is_there_or_not<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    let said = Said::default();
    proxy.hold(Direction::ToClient);
    let (good, bad) = (zk.exists("/"), zk.get("/missing"));
    good.on_complete(said.callback("first"));
    good.on_complete(said.callback("second"));
    let removed = good.on_complete(said.callback("removed"));
    good.on_complete(said.callback("third"));
    bad.on_complete(said.callback("bad"));
    assert!(good.remove_callback(removed));
    assert!(!good.remove_callback(removed));
    assert!(!bad.remove_callback(removed), "the id of another result");
    assert_eq!(said.count(), 0);
    proxy.release();
    site.when("both", || good.ready() && bad.ready()).await;
    let late = good.on_complete(said.callback("late"));
    bad.on_complete(said.callback("late bad"));
    let all = ["first ok", "second ok", "third ok", "bad error", "late ok", "late bad error"];
    site.when("all callbacks", || said.count() == all.len()).await;
    assert_eq!(said.all(), all);
    assert!(!good.remove_callback(late));
}

pub async fn a_dropped_result_is_still_done_and_told<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.client().await;
    let said = Said::default();
    drop(zk.create("/dropped", b"", CreateMode::Persistent));
    drop(zk.get("/missing"));
    zk.create("/linked", b"", CreateMode::Persistent).on_complete(said.callback("linked"));
    zk.ensure_path("/ensured/deep").on_complete(said.callback("ensured"));
    site.when("the callbacks", || said.count() == 2).await;
    for path in ["/dropped", "/linked", "/ensured/deep"] {
        assert!(site.ok("exists", zk.exists(path)).await.is_some(), "{path}");
    }
}

pub async fn results_of_calls_that_cannot_be_are_results_too<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.client().await;
    let said = Said::default();
    let invalid = zk.exists("no/slash");
    assert!(invalid.ready() && invalid.exception().is_some());
    invalid.on_complete(said.callback("invalid"));
    site.when("the callback", || said.all() == ["invalid error"]).await;
}

pub async fn any_thread_can_poll_a_result<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.client().await;
    let threads: Vec<_> = (0..4)
        .map(|n| {
            let zk = zk.clone();
            super::site::spawned(
                &site.handler,
                blocking(move || {
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
        site.ok("a thread without a runtime", thread).await;
    }
    assert_eq!(site.ok("children", zk.get_children("/")).await.len(), 101);
}

pub async fn a_thousand_calls_complete_in_their_order<H: Handler>(handler: H) {
    const CALLS: usize = 1_000;

    let site = Site::new(handler);
    let zk = site.client().await;
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
    // Looked at from the last to the first: what is ready must have all before it ready.
    site.when("all calls", || {
        let mut later = false;
        for (n, ready) in ready.iter().enumerate().rev() {
            let ready = ready();
            assert!(ready || !later, "call {n} waits while a later one is complete");
            later |= ready;
        }
        ready.iter().all(|ready| ready())
    })
    .await;
    site.when("all callbacks", || lock(&order).len() == CALLS).await;
    assert_eq!(*lock(&order), (0..CALLS).collect::<Vec<_>>());
}

pub async fn calls_of_many_tasks_all_complete<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.client().await;
    site.ok("a counter", zk.create("/n", b"", CreateMode::Persistent)).await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let zk = zk.clone();
            super::site::spawned(&site.handler, async move {
                for _ in 0..50 {
                    zk.set("/n", b"", None).await?;
                }
                Ok(())
            })
        })
        .collect();
    for task in tasks {
        site.ok("a task", task).await;
    }
    let stat = site.ok("exists", zk.exists("/n")).await.expect("it is there");
    assert_eq!(stat.version, 400);
}

pub async fn a_blocked_callback_keeps_the_session_and_the_order<H: Handler>(handler: H) {
    const PINGS: usize = 5;

    let site = Site::new(handler);
    let proxy = proxy();
    let builder = site.builder_at(proxy.address()).session_timeout(Duration::from_secs(2));
    let zk = site.connect(builder).await;
    let (mut states, session) = (zk.states(), zk.session_id());
    let said = Said::default();
    let (release, blocked) = mpsc::channel::<()>();
    let slow = said.clone();
    zk.exists("/").on_complete(move |_| {
        slow.say("slow begins");
        let _ = blocked.recv_timeout(LIMIT);
        slow.say("slow ends");
    });
    site.when("the callback to block", || said.count() == 1).await;
    zk.exists("/").on_complete(said.callback("next"));

    // Pings go out at every third of the timeout: five are more than the timeout.
    let pings = Arc::new(AtomicUsize::new(0));
    let count = pings.clone();
    proxy.on_frame(Direction::ToServer, move |frame| {
        count.fetch_add(usize::from(frame.starts_with(&(-2_i32).to_be_bytes())), Ordering::Relaxed);
        Verdict::Pass
    });
    site.when("pings", || pings.load(Ordering::Relaxed) >= PINGS).await;
    site.ok("a call meanwhile", zk.exists("/")).await;
    assert_eq!((zk.session_id(), states.try_next()), (session, None));
    assert_eq!(said.all(), ["slow begins"]);
    drop(release);
    site.when("the next callback", || said.count() == 3).await;
    assert_eq!(said.all(), ["slow begins", "slow ends", "next ok"]);
}

pub async fn a_panicking_callback_stops_nothing<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    let said = Said::default();
    zk.exists("/").on_complete(|_| panic!("a callback of a test panics, as it should"));
    zk.exists("/").on_complete(said.callback("next"));
    let listener = said.clone();
    zk.add_listener(move |state| listener.say(state.to_string()));
    site.ok("a call", zk.exists("/")).await;
    let mut states = zk.states();
    proxy.cut_rst();
    site.expect(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
    site.when("all callbacks", || said.count() == 3).await;
    assert_eq!(said.all(), ["next ok", "SUSPENDED", "CONNECTED"]);
}

pub async fn a_callback_may_call_and_wait<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.client().await;
    let said = Said::default();
    let (client, inner) = (zk.clone(), said.clone());
    zk.exists("/").on_complete(move |_| {
        let created = client.create("/inner", b"", CreateMode::Persistent);
        created.on_complete(inner.callback("created"));
        client.exists("/inner").get().expect("it answers").expect("it is there");
        inner.say("waited");
    });
    site.when("both callbacks", || said.count() == 2).await;
    assert_eq!(said.all(), ["waited", "created ok"]);
}
