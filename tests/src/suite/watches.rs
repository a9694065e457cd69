//! One-shot watches: each kind and event, over reconnects, to their end.

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

use super::site::{LIMIT, Site, blocking};
use crate::{Direction, Proxy, Verdict, lock};

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

/// Says when it is dropped.
struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

async fn exists<H: Handler>(site: &Site<H>, zk: &Client, path: &str) -> Watch {
    site.ok("a watch", zk.exists_and_watch(path)).await.1
}

async fn data<H: Handler>(site: &Site<H>, zk: &Client, path: &str) -> Watch {
    site.ok("a watch", zk.get_and_watch(path)).await.2
}

async fn children<H: Handler>(site: &Site<H>, zk: &Client, path: &str) -> Watch {
    site.ok("a watch", zk.get_children_and_watch(path)).await.2
}

pub async fn each_kind_hears_of_its_events<H: Handler>(handler: H) {
    use EventType::{NodeChildrenChanged, NodeCreated, NodeDataChanged, NodeDeleted};

    let site = Site::new(handler);
    let (zk, other) = (site.client().await, site.client().await);
    let create = |path: &'static str| other.create(path, b"", CreateMode::Persistent);
    let on = async |watch: Watch, kind: EventType, path: &str| {
        let event = site.ok("an event", watch).await;
        assert_eq!((event.kind, &*event.path), (kind, path));
    };

    let watch = exists(&site, &zk, "/node").await;
    site.ok("create", create("/node")).await;
    on(watch, NodeCreated, "/node").await;

    let watches = [exists(&site, &zk, "/node").await, data(&site, &zk, "/node").await];
    let unmoved = children(&site, &zk, "/node").await;
    site.ok("set", other.set("/node", b"1", None)).await;
    for watch in watches {
        on(watch, NodeDataChanged, "/node").await;
    }

    let watches = [exists(&site, &zk, "/node").await, data(&site, &zk, "/node").await];
    assert!(!unmoved.ready());
    site.ok("a child", create("/node/child")).await;
    on(unmoved, NodeChildrenChanged, "/node").await;
    assert!(watches.iter().all(|watch| !watch.ready()));

    let unmoved = children(&site, &zk, "/node").await;
    let grandchild = exists(&site, &zk, "/node/child/deep").await;
    site.ok("a grandchild", create("/node/child/deep")).await;
    on(grandchild, NodeCreated, "/node/child/deep").await;
    assert!(!unmoved.ready());
    site.ok("delete", other.delete_recursive("/node/child")).await;
    on(unmoved, NodeChildrenChanged, "/node").await;

    let last = children(&site, &zk, "/node").await;
    site.ok("delete", other.delete("/node", None)).await;
    for watch in watches.into_iter().chain([last]) {
        on(watch, NodeDeleted, "/node").await;
    }
}

pub async fn a_failed_read_leaves_no_watch<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.client().await;
    for error in [
        site.err("get", zk.get_and_watch("/missing")).await,
        site.err("children", zk.get_children_and_watch("/missing")).await,
    ] {
        assert_eq!(error.code(), Some(ErrorCode::NoNode));
    }
    assert!(!site.is_watched("/missing"));
    let watch = exists(&site, &zk, "/missing").await;
    assert!(site.is_watched("/missing"));
    site.ok("create", zk.create("/missing", b"", CreateMode::Persistent)).await;
    assert_eq!(site.ok("the watch", watch).await.kind, EventType::NodeCreated);
}

pub async fn a_watch_is_called_once<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (zk, other) = (site.client().await, site.client().await);
    site.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    let events = Events::default();
    events.of(data(&site, &zk, "/node").await);
    for _ in 0..5 {
        site.ok("set", other.set("/node", b"", None)).await;
    }
    site.when("the first event", || events.count() == 1).await;
    // A later watch is called after whatever may have come for the first.
    let later = Events::default();
    later.of(data(&site, &zk, "/node").await);
    site.ok("set", other.set("/node", b"", None)).await;
    site.when("the later event", || later.count() == 1).await;
    assert_eq!(events.count(), 1);
}

pub async fn all_watches_on_a_path_are_called_in_order<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (zk, other) = (site.client().await, site.client().await);
    site.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    for n in 0..20 {
        let order = order.clone();
        let watch = data(&site, &zk, "/node").await;
        watch.on_event(move |_| lock(&order).push(n));
    }
    site.ok("set", other.set("/node", b"", None)).await;
    site.when("all events", || lock(&order).len() == 20).await;
    assert_eq!(*lock(&order), (0..20).collect::<Vec<_>>());
}

pub async fn the_paths_of_events_are_below_the_chroot<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.client().await;
    let app = zk.with_chroot("/app").expect("a good path");
    site.ok("the chroot", app.ensure_path("/node")).await;
    let watches = [
        (data(&site, &app, "/node").await, "/node"),
        (data(&site, &zk, "/app/node").await, "/app/node"),
    ];
    let root = children(&site, &app, "/").await;
    site.ok("set", zk.set("/app/node", b"", None)).await;
    for (watch, path) in watches {
        assert_eq!(site.ok("an event", watch).await.path, path);
    }
    site.ok("create", zk.create("/app/other", b"", CreateMode::Persistent)).await;
    assert_eq!(site.ok("an event", root).await.path, "/");
}

pub async fn an_event_is_there_before_a_reply_that_shows_it<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (zk, other) = (site.client().await, site.client().await);
    site.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    for round in 0..200 {
        let (_, seen, watch) = site.ok("a watch", zk.get_and_watch("/node")).await;
        if round % 2 == 0 {
            site.ok("set", zk.set("/node", b"", None)).await;
        } else {
            let set = other.set("/node", b"", None);
            loop {
                let stat = site.ok("exists", zk.exists("/node")).await.expect("it is there");
                if stat.mzxid > seen.mzxid {
                    break;
                }
            }
            site.ok("set", set).await;
        }
        assert!(watch.ready(), "round {round}: the change is seen, and no event yet");
    }
}

pub async fn a_watch_that_is_dropped_is_forgotten<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    site.ok("a node", zk.create("/kept", b"", CreateMode::Persistent)).await;
    site.ok("a node", zk.create("/dropped", b"", CreateMode::Persistent)).await;
    let mut states = zk.states();
    let kept = data(&site, &zk, "/kept").await;
    drop(data(&site, &zk, "/dropped").await);
    drop(children(&site, &zk, "/dropped").await);
    drop(exists(&site, &zk, "/dropped/missing").await);
    // Also where nobody waits for the read.
    drop(zk.get_and_watch("/dropped"));
    drop(zk.exists_and_watch("/dropped/missing"));
    site.ok("all of it to be done", zk.exists("/")).await;

    // What the client remembers is what it arms again on a new connection.
    proxy.cut_rst();
    site.expect(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
    site.ok("the watches to be armed", zk.exists("/")).await;
    site.when("the old connection to end", || !site.is_watched("/dropped")).await;
    assert!(!site.is_watched("/dropped/missing"));
    assert!(site.is_watched("/kept"));
    let clone = kept.clone();
    drop(kept);
    site.ok("set", zk.set("/kept", b"", None)).await;
    assert_eq!(site.ok("the clone", clone).await.kind, EventType::NodeDataChanged);
}

/// How many removals pass through `proxy` from now on.
fn count_removals(proxy: &Proxy) -> Arc<AtomicUsize> {
    const REMOVE_WATCHES: [u8; 4] = 18_i32.to_be_bytes();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    proxy.on_frame(Direction::ToServer, move |frame| {
        if frame.get(4..8) == Some(&REMOVE_WATCHES) {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        Verdict::Pass
    });
    count
}

pub async fn watches_that_nobody_wants_are_taken_off_the_server<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let grace = Duration::from_millis(200);
    let proxy = super::site::proxy();
    let builder = site.builder_at(proxy.address());
    let zk = site.connect(builder.unwatch_after(Some(grace))).await;
    let removals = count_removals(&proxy);
    let armed: Vec<_> = (0..1_000).map(|n| zk.exists_and_watch(format!("/missing-{n}"))).collect();
    let mut watches = Vec::new();
    for armed in armed {
        watches.push(site.ok("a watch", armed).await.1);
    }
    assert_eq!(site.watches(), 1_000);
    let kept = watches.split_off(990);
    drop(watches);
    site.when("the unwanted ones to go", || site.watches() == kept.len()).await;
    assert_eq!(removals.load(Ordering::Relaxed), 990);
    // Those that are left work.
    for (n, watch) in (990..).zip(kept) {
        site.ok("a node", zk.create(format!("/missing-{n}"), b"", CreateMode::Persistent)).await;
        assert_eq!(site.ok("the watch", watch).await.kind, EventType::NodeCreated);
    }
    assert_eq!(site.watches(), 0);
}

pub async fn a_loop_that_arms_and_drops_sends_nothing_more<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let proxy = super::site::proxy();
    let grace = Duration::from_secs(1);
    let builder = site.builder_at(proxy.address()).unwatch_after(Some(grace));
    let zk = site.connect(builder).await;
    let removals = count_removals(&proxy);
    let begun = Instant::now();
    while begun.elapsed() < 2 * grace {
        drop(site.ok("a watch", zk.exists_and_watch("/looked-at")).await);
    }
    assert_eq!(removals.load(Ordering::Relaxed), 0);
    site.when("the last one to go", || !site.is_watched("/looked-at")).await;
    assert_eq!(removals.load(Ordering::Relaxed), 1);
}

pub async fn watches_that_ended_are_taken_off_the_server<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let grace = Duration::from_millis(100);
    let zk = site.connect(site.builder().unwatch_after(Some(grace))).await;
    let holder = site.connect(site.builder().unwatch_after(Some(grace))).await;
    site.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    let data = DataWatch::new(&zk, "/node", |_| true);
    let guard = site.ok("the lock", Lock::new(&holder, "/lock").acquire()).await;
    let waiter = Lock::new(&zk, "/lock").acquire();
    // On the node, and on the lock's node before the waiter's own.
    site.when("the watches", || site.watches() >= 2).await;
    drop((data, waiter));
    site.ok("to release", guard.release()).await;
    site.when("the ended ones to go", || site.watches() == 0).await;
}

pub async fn events_for_nobody_do_no_harm<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (zk, other) = (site.client().await, site.client().await);
    site.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    let mut states = zk.states();
    for round in 0..100 {
        let set = other.set("/node", b"", None);
        let dropped = zk.get_and_watch("/node");
        if round % 2 == 0 {
            drop(dropped);
        } else {
            drop(site.ok("a watch", dropped).await);
        }
        site.ok("set", set).await;
    }
    site.ok("to read", zk.exists("/node")).await;
    assert_eq!(states.try_next(), None);
}

pub async fn a_change_while_away_fires_once<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let other = site.client().await;
    let (proxy, zk) = site.proxied().await;
    for path in ["/changed", "/deleted", "/parent", "/parent/child", "/untouched"] {
        site.ok("a node", other.create(path, b"", CreateMode::Persistent)).await;
    }
    let watches = [
        (data(&site, &zk, "/changed").await, EventType::NodeDataChanged),
        (exists(&site, &zk, "/changed").await, EventType::NodeDataChanged),
        (data(&site, &zk, "/deleted").await, EventType::NodeDeleted),
        (exists(&site, &zk, "/created").await, EventType::NodeCreated),
        (children(&site, &zk, "/parent").await, EventType::NodeChildrenChanged),
        (children(&site, &zk, "/deleted").await, EventType::NodeDeleted),
    ];
    let untouched = [
        data(&site, &zk, "/untouched").await,
        exists(&site, &zk, "/missing").await,
        children(&site, &zk, "/untouched").await,
    ];
    let counts: Vec<_> = watches
        .iter()
        .map(|(watch, _)| {
            let events = Events::default();
            events.of(watch.clone());
            events
        })
        .collect();

    site.cut_off(&zk, &proxy).await;
    for call in [other.set("/changed", b"1", None), other.set("/changed", b"2", None)] {
        site.ok("a change", call).await;
    }
    site.ok("a change", other.delete("/deleted", None)).await;
    site.ok("a change", other.create("/created", b"", CreateMode::Persistent)).await;
    site.ok("a change", other.delete("/parent/child", None)).await;
    proxy.refuse(false);
    for (watch, kind) in watches {
        assert_eq!(site.ok("an event", watch).await.kind, kind);
    }
    site.when("all callbacks", || counts.iter().all(|events| events.count() == 1)).await;

    // The same again brings nothing, nor does another reconnect.
    for _ in 0..2 {
        site.ok("a change", other.set("/changed", b"3", None)).await;
        site.ok("a change", other.create("/parent/child", b"", CreateMode::Ephemeral)).await;
        site.ok("a change", other.delete("/parent/child", None)).await;
        site.cut_off(&zk, &proxy).await;
        proxy.refuse(false);
        site.ok("to read", zk.exists("/")).await;
    }
    assert!(untouched.iter().all(|watch| !watch.ready()));
    let last = Events::default();
    last.of(data(&site, &zk, "/untouched").await);
    site.ok("a change", other.set("/untouched", b"", None)).await;
    site.when("the last event", || last.count() == 1).await;
    assert!(counts.iter().all(|events| events.count() == 1));
}

pub async fn many_watches_live_over_a_reconnect<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let other = site.client().await;
    let (proxy, zk) = site.proxied().await;
    let name = "x".repeat(150);
    let path = |n: usize| format!("/{name}-{n}");
    let arming: Vec<_> = (0..2_000).map(|n| zk.exists_and_watch(path(n))).collect();
    let mut watches = Vec::new();
    for armed in arming {
        watches.push(site.ok("a watch", armed).await.1);
    }
    site.cut_off(&zk, &proxy).await;
    let missed = other.create(path(1_999), b"", CreateMode::Persistent);
    site.ok("a change while away", missed).await;
    proxy.refuse(false);
    site.ok("to read", zk.exists("/")).await;
    assert!(watches.pop().is_some_and(|last| last.ready()));
    for n in [0, 1_000, 1_998] {
        assert!(!watches[n].ready());
        site.ok("a change", other.create(path(n), b"", CreateMode::Persistent)).await;
        assert_eq!(site.ok("an event", watches[n].clone()).await.path, path(n).as_str());
    }
}

pub async fn a_watch_ends_with_its_session<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    let arm = async || {
        let called = Arc::new(AtomicBool::new(false));
        let gone = Arc::new(AtomicBool::new(false));
        let watch = exists(&site, &zk, "/node").await;
        let (call, dropped) = (called.clone(), Dropped(gone.clone()));
        watch.clone().on_event(move |_| {
            call.store(true, Ordering::Release);
            drop(dropped);
        });
        (watch, called, gone)
    };
    let ended = async |(watch, called, gone): (Watch, Arc<AtomicBool>, Arc<AtomicBool>)| {
        let error = site.err("the watch", watch.clone()).await;
        assert!(watch.ready() && watch.get_nowait().is_some_and(|end| end.is_err()));
        site.when("the callback to go", || gone.load(Ordering::Acquire)).await;
        assert!(!called.load(Ordering::Acquire), "a callback for no event");
        error
    };

    let armed = arm().await;
    site.cut_off(&zk, &proxy).await;
    site.expire(&zk).await;
    proxy.refuse(false);
    assert_eq!(ended(armed).await.kind(), ErrorKind::SessionExpired);

    site.when("the next session", || zk.connected()).await;
    let armed = arm().await;
    site.ok("to stop", zk.stop()).await;
    assert_eq!(ended(armed).await.kind(), ErrorKind::ConnectionClosed);

    site.ok("to start", zk.start()).await;
    let armed = arm().await;
    drop(zk.restart());
    assert_eq!(ended(armed).await.kind(), ErrorKind::ConnectionClosed);
    site.ok("to start", zk.start()).await;

    // The watches of the ended sessions are nothing to the next one.
    let watch = exists(&site, &zk, "/node").await;
    site.ok("create", zk.create("/node", b"", CreateMode::Persistent)).await;
    assert_eq!(site.ok("the watch", watch).await.kind, EventType::NodeCreated);
}

pub async fn a_watch_outlives_its_client_only_to_say_so<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.client().await;
    let watch = exists(&site, &zk, "/node").await;
    let waiting = zk.exists_and_watch("/node");
    drop(zk);
    let error = site.err("the watch", watch).await;
    assert_eq!(error.kind(), ErrorKind::ConnectionClosed);
    let (_, watch) = site.ok("a read under way", waiting).await;
    let error = site.err("its watch", watch).await;
    assert_eq!(error.kind(), ErrorKind::ConnectionClosed);
}

pub async fn a_panicking_callback_stops_no_other<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (zk, other) = (site.client().await, site.client().await);
    site.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    let events = Events::default();
    let first = data(&site, &zk, "/node").await;
    first.on_event(|_| panic!("a callback of a test panics, as it should"));
    events.of(data(&site, &zk, "/node").await);
    site.ok("set", other.set("/node", b"", None)).await;
    site.when("the second callback", || events.count() == 1).await;
}

pub async fn callbacks_come_in_the_order_of_changes<H: Handler>(handler: H) {
    const NODES: usize = 50;

    let site = Site::new(handler);
    let (zk, other) = (site.client().await, site.client().await);
    let events = Events::default();
    for n in 0..NODES {
        events.of(exists(&site, &zk, &format!("/n{n}")).await);
    }
    // Not the order in which the watches were made.
    let order: Vec<_> = (0..NODES).map(|n| format!("/n{}", n * 7 % NODES)).collect();
    for path in &order {
        drop(other.create(path, b"", CreateMode::Persistent));
    }
    site.when("all events", || events.count() == NODES).await;
    let seen: Vec<_> = lock(&events.0).iter().map(|event| event.path.to_string()).collect();
    assert_eq!(seen, order);
}

pub async fn a_blocked_result_callback_holds_up_no_watch<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (zk, other) = (site.client().await, site.client().await);
    site.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    let (release, blocked) = mpsc::channel::<()>();
    let running = Arc::new(AtomicUsize::new(0));
    let begun = running.clone();
    zk.exists("/").on_complete(move |_| {
        begun.fetch_add(1, Ordering::Release);
        let _ = blocked.recv_timeout(LIMIT);
    });
    site.when("the callback to block", || running.load(Ordering::Acquire) == 1).await;
    let events = Events::default();
    events.of(data(&site, &zk, "/node").await);
    site.ok("set", other.set("/node", b"", None)).await;
    site.when("the watch's callback", || events.count() == 1).await;
    drop(release);
}

pub async fn a_blocked_watch_callback_holds_up_no_result<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (zk, other) = (site.client().await, site.client().await);
    let (release, blocked) = mpsc::channel::<()>();
    let running = Arc::new(AtomicUsize::new(0));
    let begun = running.clone();
    exists(&site, &zk, "/slow").await.on_event(move |_| {
        begun.fetch_add(1, Ordering::Release);
        let _ = blocked.recv_timeout(LIMIT);
    });
    let events = Events::default();
    events.of(exists(&site, &zk, "/next").await);
    for path in ["/slow", "/next"] {
        site.ok("a node", other.create(path, b"", CreateMode::Persistent)).await;
    }
    site.when("the callback to block", || running.load(Ordering::Acquire) == 1).await;

    let results = Arc::new(AtomicUsize::new(0));
    for _ in 0..100 {
        let results = results.clone();
        zk.exists("/").on_complete(move |_| {
            results.fetch_add(1, Ordering::Release);
        });
    }
    site.when("the results' callbacks", || results.load(Ordering::Acquire) == 100).await;
    assert_eq!(events.count(), 0, "two watches were called at once");
    drop(release);
    site.when("the next watch's callback", || events.count() == 1).await;
}

pub async fn a_watch_can_be_waited_for_in_many_ways<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.client().await;
    let watch = exists(&site, &zk, "/node").await;
    assert!(!watch.ready() && watch.get_nowait().is_none());
    assert_eq!(format!("{watch:?}"), "Watch(armed)");
    let clone = watch.clone();
    assert!(!blocking(move || clone.wait(Duration::from_millis(20))).await);
    let waiter = watch.clone();
    let waiter = super::site::spawned(&site.handler, waiter);
    let clone = watch.clone();
    let thread = super::site::spawned(&site.handler, blocking(move || clone.get()));
    site.ok("create", zk.create("/node", b"", CreateMode::Persistent)).await;
    let events = [
        site.ok("a task", waiter).await,
        site.ok("a thread", thread).await,
        watch.get_nowait().expect("it has fired").expect("with an event"),
        site.ok("whoever comes late", watch.clone()).await,
        site.ok("whoever comes twice", watch.clone()).await,
    ];
    assert!(events.iter().all(|event| *event == events[0]));
    assert_eq!((events[0].kind, &*events[0].path), (EventType::NodeCreated, "/node"));
    let late = Events::default();
    late.of(watch.clone());
    site.when("a late callback", || late.count() == 1).await;
    assert_eq!(format!("{watch:?}"), "Watch(done)");
}
