//! One-shot watches: each kind and event, over reconnects, and how they end.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use zk_client::{
    Client, CreateMode, ErrorCode, ErrorKind, EventType, Handler, SessionState, Watch,
    WatchedEvent,
    recipes::{DataWatch, Lock},
};

use super::context::{LIMIT, TestContext};
use crate::{Direction, FrameAction, Proxy, lock, tasks::spawn_blocking};

/// The events that callbacks were called with.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<WatchedEvent>>>);

impl Events {
    fn of(&self, watch: Watch) {
        let list = self.0.clone();
        watch.on_event(move |event| lock(&list).push(event));
    }

    fn count(&self) -> usize {
        lock(&self.0).len()
    }
}

/// Sets a flag when it is dropped.
struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

async fn exists<H: Handler>(ctx: &TestContext<H>, zk: &Client, path: &str) -> Watch {
    ctx.ok("a watch", zk.exists_and_watch(path)).await.1
}

async fn data<H: Handler>(ctx: &TestContext<H>, zk: &Client, path: &str) -> Watch {
    ctx.ok("a watch", zk.get_and_watch(path)).await.2
}

async fn children<H: Handler>(ctx: &TestContext<H>, zk: &Client, path: &str) -> Watch {
    ctx.ok("a watch", zk.get_children_and_watch(path)).await.2
}

pub async fn each_kind_of_watch_fires_for_its_events<H: Handler>(handler: H) {
    use EventType::{NodeChildrenChanged, NodeCreated, NodeDataChanged, NodeDeleted};

    let ctx = TestContext::new(handler);
    let (zk, other) = (ctx.client().await, ctx.client().await);
    let create = |path: &'static str| other.create(path, b"", CreateMode::Persistent);
    let on = async |watch: Watch, kind: EventType, path: &str| {
        let event = ctx.ok("an event", watch).await;
        assert_eq!((event.kind, &*event.path), (kind, path));
    };

    let watch = exists(&ctx, &zk, "/node").await;
    ctx.ok("create", create("/node")).await;
    on(watch, NodeCreated, "/node").await;

    let watches = [exists(&ctx, &zk, "/node").await, data(&ctx, &zk, "/node").await];
    let unmoved = children(&ctx, &zk, "/node").await;
    ctx.ok("set", other.set("/node", b"1", None)).await;
    for watch in watches {
        on(watch, NodeDataChanged, "/node").await;
    }

    let watches = [exists(&ctx, &zk, "/node").await, data(&ctx, &zk, "/node").await];
    assert!(!unmoved.ready());
    ctx.ok("a child", create("/node/child")).await;
    on(unmoved, NodeChildrenChanged, "/node").await;
    assert!(watches.iter().all(|watch| !watch.ready()));

    let unmoved = children(&ctx, &zk, "/node").await;
    let grandchild = exists(&ctx, &zk, "/node/child/deep").await;
    ctx.ok("a grandchild", create("/node/child/deep")).await;
    on(grandchild, NodeCreated, "/node/child/deep").await;
    assert!(!unmoved.ready());
    ctx.ok("delete", other.delete_recursive("/node/child")).await;
    on(unmoved, NodeChildrenChanged, "/node").await;

    let last = children(&ctx, &zk, "/node").await;
    ctx.ok("delete", other.delete("/node", None)).await;
    for watch in watches.into_iter().chain([last]) {
        on(watch, NodeDeleted, "/node").await;
    }
}

pub async fn a_failed_read_leaves_no_watch<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    for error in [
        ctx.err("get", zk.get_and_watch("/missing")).await,
        ctx.err("children", zk.get_children_and_watch("/missing")).await,
    ] {
        assert_eq!(error.code(), Some(ErrorCode::NoNode));
    }
    assert!(!ctx.is_watched("/missing"));
    let watch = exists(&ctx, &zk, "/missing").await;
    assert!(ctx.is_watched("/missing"));
    ctx.ok("create", zk.create("/missing", b"", CreateMode::Persistent)).await;
    assert_eq!(ctx.ok("the watch", watch).await.kind, EventType::NodeCreated);
}

pub async fn a_watch_fires_once<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (zk, other) = (ctx.client().await, ctx.client().await);
    ctx.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    let events = Events::default();
    events.of(data(&ctx, &zk, "/node").await);
    for _ in 0..5 {
        ctx.ok("set", other.set("/node", b"", None)).await;
    }
    ctx.wait_until("the first event", || events.count() == 1).await;
    // A later watch fires after any further event of the first one.
    let later = Events::default();
    later.of(data(&ctx, &zk, "/node").await);
    ctx.ok("set", other.set("/node", b"", None)).await;
    ctx.wait_until("the later event", || later.count() == 1).await;
    assert_eq!(events.count(), 1);
}

pub async fn all_watches_on_a_path_fire_in_order<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (zk, other) = (ctx.client().await, ctx.client().await);
    ctx.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    for n in 0..20 {
        let order = order.clone();
        let watch = data(&ctx, &zk, "/node").await;
        watch.on_event(move |_| lock(&order).push(n));
    }
    ctx.ok("set", other.set("/node", b"", None)).await;
    ctx.wait_until("all events", || lock(&order).len() == 20).await;
    assert_eq!(*lock(&order), (0..20).collect::<Vec<_>>());
}

pub async fn event_paths_are_relative_to_the_chroot<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let app = zk.with_chroot("/app").expect("a good path");
    ctx.ok("the chroot", app.ensure_path("/node")).await;
    let watches = [
        (data(&ctx, &app, "/node").await, "/node"),
        (data(&ctx, &zk, "/app/node").await, "/app/node"),
    ];
    let root = children(&ctx, &app, "/").await;
    ctx.ok("set", zk.set("/app/node", b"", None)).await;
    for (watch, path) in watches {
        assert_eq!(ctx.ok("an event", watch).await.path, path);
    }
    ctx.ok("create", zk.create("/app/other", b"", CreateMode::Persistent)).await;
    assert_eq!(ctx.ok("an event", root).await.path, "/");
}

pub async fn an_event_arrives_before_a_reply_that_shows_the_change<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (zk, other) = (ctx.client().await, ctx.client().await);
    ctx.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    for round in 0..200 {
        let (_, seen, watch) = ctx.ok("a watch", zk.get_and_watch("/node")).await;
        if round % 2 == 0 {
            ctx.ok("set", zk.set("/node", b"", None)).await;
        } else {
            let set = other.set("/node", b"", None);
            loop {
                let stat = ctx.ok("exists", zk.exists("/node")).await.expect("it is there");
                if stat.mzxid > seen.mzxid {
                    break;
                }
            }
            ctx.ok("set", set).await;
        }
        assert!(watch.ready(), "round {round}: the change is seen, and no event yet");
    }
}

pub async fn a_dropped_watch_is_not_rearmed<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    ctx.ok("a node", zk.create("/kept", b"", CreateMode::Persistent)).await;
    ctx.ok("a node", zk.create("/dropped", b"", CreateMode::Persistent)).await;
    let mut states = zk.states();
    let kept = data(&ctx, &zk, "/kept").await;
    drop(data(&ctx, &zk, "/dropped").await);
    drop(children(&ctx, &zk, "/dropped").await);
    drop(exists(&ctx, &zk, "/dropped/missing").await);
    // The same if the result of the read is dropped.
    drop(zk.get_and_watch("/dropped"));
    drop(zk.exists_and_watch("/dropped/missing"));
    ctx.ok("all of it to be done", zk.exists("/")).await;

    // The client arms the watches that it remembers again on a new connection.
    proxy.cut_rst();
    ctx.expect_states(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
    ctx.ok("the watches to be armed", zk.exists("/")).await;
    ctx.wait_until("the old connection to end", || !ctx.is_watched("/dropped")).await;
    assert!(!ctx.is_watched("/dropped/missing"));
    assert!(ctx.is_watched("/kept"));
    let clone = kept.clone();
    drop(kept);
    ctx.ok("set", zk.set("/kept", b"", None)).await;
    assert_eq!(ctx.ok("the clone", clone).await.kind, EventType::NodeDataChanged);
}

/// Counts the `removeWatches` requests that pass through `proxy` from now on.
fn count_removals(proxy: &Proxy) -> Arc<AtomicUsize> {
    const REMOVE_WATCHES: [u8; 4] = 18_i32.to_be_bytes();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    proxy.on_frame(Direction::ToServer, move |frame| {
        if frame.get(4..8) == Some(&REMOVE_WATCHES) {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        FrameAction::Pass
    });
    count
}

pub async fn dropped_watches_are_removed_from_the_server<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let grace = Duration::from_millis(200);
    let proxy = crate::suite::shared_server::new_proxy();
    let builder = ctx.builder_at(proxy.address());
    let zk = ctx.connect(builder.unwatch_after(Some(grace))).await;
    let removals = count_removals(&proxy);
    let armed: Vec<_> = (0..1_000).map(|n| zk.exists_and_watch(format!("/missing-{n}"))).collect();
    let mut watches = Vec::new();
    for armed in armed {
        watches.push(ctx.ok("a watch", armed).await.1);
    }
    assert_eq!(ctx.data_watch_count(), 1_000);
    let kept = watches.split_off(990);
    drop(watches);
    ctx.wait_until("the unwanted ones to go", || ctx.data_watch_count() == kept.len()).await;
    assert_eq!(removals.load(Ordering::Relaxed), 990);
    // The remaining watches work.
    for (n, watch) in (990..).zip(kept) {
        ctx.ok("a node", zk.create(format!("/missing-{n}"), b"", CreateMode::Persistent)).await;
        assert_eq!(ctx.ok("the watch", watch).await.kind, EventType::NodeCreated);
    }
    assert_eq!(ctx.data_watch_count(), 0);
}

pub async fn arming_and_dropping_in_a_loop_sends_no_removals<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let proxy = crate::suite::shared_server::new_proxy();
    let grace = Duration::from_secs(1);
    let builder = ctx.builder_at(proxy.address()).unwatch_after(Some(grace));
    let zk = ctx.connect(builder).await;
    let removals = count_removals(&proxy);
    let begun = Instant::now();
    while begun.elapsed() < 2 * grace {
        drop(ctx.ok("a watch", zk.exists_and_watch("/looked-at")).await);
    }
    assert_eq!(removals.load(Ordering::Relaxed), 0);
    ctx.wait_until("the last one to go", || !ctx.is_watched("/looked-at")).await;
    assert_eq!(removals.load(Ordering::Relaxed), 1);
}

pub async fn watches_of_ended_recipes_are_removed_from_the_server<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let grace = Duration::from_millis(100);
    let zk = ctx.connect(ctx.builder().unwatch_after(Some(grace))).await;
    let holder = ctx.connect(ctx.builder().unwatch_after(Some(grace))).await;
    ctx.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    let data = DataWatch::new(&zk, "/node", |_| true);
    let guard = ctx.ok("the lock", Lock::new(&holder, "/lock").acquire()).await;
    let waiter = Lock::new(&zk, "/lock").acquire();
    // One on the node, and one on the lock's node ahead of the waiter's own.
    ctx.wait_until("the watches", || ctx.data_watch_count() >= 2).await;
    drop((data, waiter));
    ctx.ok("to release", guard.release()).await;
    ctx.wait_until("the ended ones to go", || ctx.data_watch_count() == 0).await;
}

pub async fn events_for_dropped_watches_are_ignored<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (zk, other) = (ctx.client().await, ctx.client().await);
    ctx.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    let mut states = zk.states();
    for round in 0..100 {
        let set = other.set("/node", b"", None);
        let dropped = zk.get_and_watch("/node");
        if round % 2 == 0 {
            drop(dropped);
        } else {
            drop(ctx.ok("a watch", dropped).await);
        }
        ctx.ok("set", set).await;
    }
    ctx.ok("to read", zk.exists("/node")).await;
    assert_eq!(states.try_next(), None);
}

pub async fn a_change_while_disconnected_fires_once<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let other = ctx.client().await;
    let (proxy, zk) = ctx.client_via_proxy().await;
    for path in ["/changed", "/deleted", "/parent", "/parent/child", "/untouched"] {
        ctx.ok("a node", other.create(path, b"", CreateMode::Persistent)).await;
    }
    let watches = [
        (data(&ctx, &zk, "/changed").await, EventType::NodeDataChanged),
        (exists(&ctx, &zk, "/changed").await, EventType::NodeDataChanged),
        (data(&ctx, &zk, "/deleted").await, EventType::NodeDeleted),
        (exists(&ctx, &zk, "/created").await, EventType::NodeCreated),
        (children(&ctx, &zk, "/parent").await, EventType::NodeChildrenChanged),
        (children(&ctx, &zk, "/deleted").await, EventType::NodeDeleted),
    ];
    let untouched = [
        data(&ctx, &zk, "/untouched").await,
        exists(&ctx, &zk, "/missing").await,
        children(&ctx, &zk, "/untouched").await,
    ];
    let counts: Vec<_> = watches
        .iter()
        .map(|(watch, _)| {
            let events = Events::default();
            events.of(watch.clone());
            events
        })
        .collect();

    ctx.cut_off(&zk, &proxy).await;
    for call in [other.set("/changed", b"1", None), other.set("/changed", b"2", None)] {
        ctx.ok("a change", call).await;
    }
    ctx.ok("a change", other.delete("/deleted", None)).await;
    ctx.ok("a change", other.create("/created", b"", CreateMode::Persistent)).await;
    ctx.ok("a change", other.delete("/parent/child", None)).await;
    proxy.refuse(false);
    for (watch, kind) in watches {
        assert_eq!(ctx.ok("an event", watch).await.kind, kind);
    }
    ctx.wait_until("all callbacks", || counts.iter().all(|events| events.count() == 1)).await;

    // Further changes and another reconnect do not fire them again.
    for _ in 0..2 {
        ctx.ok("a change", other.set("/changed", b"3", None)).await;
        ctx.ok("a change", other.create("/parent/child", b"", CreateMode::Ephemeral)).await;
        ctx.ok("a change", other.delete("/parent/child", None)).await;
        ctx.cut_off(&zk, &proxy).await;
        proxy.refuse(false);
        ctx.ok("to read", zk.exists("/")).await;
    }
    assert!(untouched.iter().all(|watch| !watch.ready()));
    let last = Events::default();
    last.of(data(&ctx, &zk, "/untouched").await);
    ctx.ok("a change", other.set("/untouched", b"", None)).await;
    ctx.wait_until("the last event", || last.count() == 1).await;
    assert!(counts.iter().all(|events| events.count() == 1));
}

pub async fn many_watches_survive_a_reconnect<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let other = ctx.client().await;
    let (proxy, zk) = ctx.client_via_proxy().await;
    let name = "x".repeat(150);
    let path = |n: usize| format!("/{name}-{n}");
    let arming: Vec<_> = (0..2_000).map(|n| zk.exists_and_watch(path(n))).collect();
    let mut watches = Vec::new();
    for armed in arming {
        watches.push(ctx.ok("a watch", armed).await.1);
    }
    ctx.cut_off(&zk, &proxy).await;
    let missed = other.create(path(1_999), b"", CreateMode::Persistent);
    ctx.ok("a change while away", missed).await;
    proxy.refuse(false);
    ctx.ok("to read", zk.exists("/")).await;
    assert!(watches.pop().is_some_and(|last| last.ready()));
    for n in [0, 1_000, 1_998] {
        assert!(!watches[n].ready());
        ctx.ok("a change", other.create(path(n), b"", CreateMode::Persistent)).await;
        assert_eq!(ctx.ok("an event", watches[n].clone()).await.path, path(n).as_str());
    }
}

pub async fn a_watch_ends_with_its_session<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    let arm = async || {
        let called = Arc::new(AtomicBool::new(false));
        let gone = Arc::new(AtomicBool::new(false));
        let watch = exists(&ctx, &zk, "/node").await;
        let (call, dropped) = (called.clone(), Dropped(gone.clone()));
        watch.clone().on_event(move |_| {
            call.store(true, Ordering::Release);
            drop(dropped);
        });
        (watch, called, gone)
    };
    let ended = async |(watch, called, gone): (Watch, Arc<AtomicBool>, Arc<AtomicBool>)| {
        let error = ctx.err("the watch", watch.clone()).await;
        assert!(watch.ready() && watch.get_nowait().is_some_and(|end| end.is_err()));
        ctx.wait_until("the callback to go", || gone.load(Ordering::Acquire)).await;
        assert!(!called.load(Ordering::Acquire), "a callback for no event");
        error
    };

    let armed = arm().await;
    ctx.cut_off(&zk, &proxy).await;
    ctx.expire_session(&zk).await;
    proxy.refuse(false);
    assert_eq!(ended(armed).await.kind(), ErrorKind::SessionExpired);

    ctx.wait_until("the next session", || zk.connected()).await;
    let armed = arm().await;
    ctx.ok("to stop", zk.stop()).await;
    assert_eq!(ended(armed).await.kind(), ErrorKind::ConnectionClosed);

    ctx.ok("to start", zk.start()).await;
    let armed = arm().await;
    drop(zk.restart());
    assert_eq!(ended(armed).await.kind(), ErrorKind::ConnectionClosed);
    ctx.ok("to start", zk.start()).await;

    // The watches of ended sessions do not affect the next one.
    let watch = exists(&ctx, &zk, "/node").await;
    ctx.ok("create", zk.create("/node", b"", CreateMode::Persistent)).await;
    assert_eq!(ctx.ok("the watch", watch).await.kind, EventType::NodeCreated);
}

pub async fn a_watch_of_a_dropped_client_fails_as_closed<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let watch = exists(&ctx, &zk, "/node").await;
    let waiting = zk.exists_and_watch("/node");
    drop(zk);
    let error = ctx.err("the watch", watch).await;
    assert_eq!(error.kind(), ErrorKind::ConnectionClosed);
    let (_, watch) = ctx.ok("a read under way", waiting).await;
    let error = ctx.err("its watch", watch).await;
    assert_eq!(error.kind(), ErrorKind::ConnectionClosed);
}

pub async fn a_panicking_callback_does_not_affect_others<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (zk, other) = (ctx.client().await, ctx.client().await);
    ctx.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    let events = Events::default();
    let first = data(&ctx, &zk, "/node").await;
    first.on_event(|_| panic!("a callback of a test panics, as it should"));
    events.of(data(&ctx, &zk, "/node").await);
    ctx.ok("set", other.set("/node", b"", None)).await;
    ctx.wait_until("the second callback", || events.count() == 1).await;
}

pub async fn callbacks_run_in_the_order_of_changes<H: Handler>(handler: H) {
    const NODES: usize = 50;

    let ctx = TestContext::new(handler);
    let (zk, other) = (ctx.client().await, ctx.client().await);
    let events = Events::default();
    for n in 0..NODES {
        events.of(exists(&ctx, &zk, &format!("/n{n}")).await);
    }
    // Different from the order in which the watches were created.
    let order: Vec<_> = (0..NODES).map(|n| format!("/n{}", n * 7 % NODES)).collect();
    for path in &order {
        drop(other.create(path, b"", CreateMode::Persistent));
    }
    ctx.wait_until("all events", || events.count() == NODES).await;
    let seen: Vec<_> = lock(&events.0).iter().map(|event| event.path.to_string()).collect();
    assert_eq!(seen, order);
}

pub async fn a_blocked_result_callback_does_not_delay_watches<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (zk, other) = (ctx.client().await, ctx.client().await);
    ctx.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    let (release, blocked) = mpsc::channel::<()>();
    let running = Arc::new(AtomicUsize::new(0));
    let begun = running.clone();
    zk.exists("/").on_complete(move |_| {
        begun.fetch_add(1, Ordering::Release);
        let _ = blocked.recv_timeout(LIMIT);
    });
    ctx.wait_until("the callback to block", || running.load(Ordering::Acquire) == 1).await;
    let events = Events::default();
    events.of(data(&ctx, &zk, "/node").await);
    ctx.ok("set", other.set("/node", b"", None)).await;
    ctx.wait_until("the watch's callback", || events.count() == 1).await;
    drop(release);
}

pub async fn a_blocked_watch_callback_does_not_delay_results<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (zk, other) = (ctx.client().await, ctx.client().await);
    let (release, blocked) = mpsc::channel::<()>();
    let running = Arc::new(AtomicUsize::new(0));
    let begun = running.clone();
    exists(&ctx, &zk, "/slow").await.on_event(move |_| {
        begun.fetch_add(1, Ordering::Release);
        let _ = blocked.recv_timeout(LIMIT);
    });
    let events = Events::default();
    events.of(exists(&ctx, &zk, "/next").await);
    for path in ["/slow", "/next"] {
        ctx.ok("a node", other.create(path, b"", CreateMode::Persistent)).await;
    }
    ctx.wait_until("the callback to block", || running.load(Ordering::Acquire) == 1).await;

    let results = Arc::new(AtomicUsize::new(0));
    for _ in 0..100 {
        let results = results.clone();
        zk.exists("/").on_complete(move |_| {
            results.fetch_add(1, Ordering::Release);
        });
    }
    ctx.wait_until("the results' callbacks", || results.load(Ordering::Acquire) == 100).await;
    assert_eq!(events.count(), 0, "two watches were called at once");
    drop(release);
    ctx.wait_until("the next watch's callback", || events.count() == 1).await;
}

pub async fn a_watch_can_be_awaited_polled_or_given_a_callback<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let watch = exists(&ctx, &zk, "/node").await;
    assert!(!watch.ready() && watch.get_nowait().is_none());
    assert_eq!(format!("{watch:?}"), "Watch(armed)");
    let clone = watch.clone();
    assert!(!spawn_blocking(move || clone.wait(Duration::from_millis(20))).await);
    let waiter = watch.clone();
    let waiter = crate::tasks::spawn(&ctx.handler, waiter);
    let clone = watch.clone();
    let thread = crate::tasks::spawn(&ctx.handler, spawn_blocking(move || clone.get()));
    ctx.ok("create", zk.create("/node", b"", CreateMode::Persistent)).await;
    let events = [
        ctx.ok("a task", waiter).await,
        ctx.ok("a thread", thread).await,
        watch.get_nowait().expect("it has fired").expect("with an event"),
        ctx.ok("a late awaiter", watch.clone()).await,
        ctx.ok("a second awaiter", watch.clone()).await,
    ];
    assert!(events.iter().all(|event| *event == events[0]));
    assert_eq!((events[0].kind, &*events[0].path), (EventType::NodeCreated, "/node"));
    let late = Events::default();
    late.of(watch.clone());
    ctx.wait_until("a late callback", || late.count() == 1).await;
    assert_eq!(format!("{watch:?}"), "Watch(done)");
}
