//! `DataWatch` and `ChildrenWatch`: what they report, when, and when they end.

use std::{
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use zk_client::{
    AsyncResult, Client, CreateMode, ErrorCode, ErrorKind, EventType, Handler, SessionState,
    blocking,
    recipes::{
        Children, ChildrenWatch, ChildrenWatchOptions, DataWatch, NodeData, patient_children_watch,
    },
};

use super::context::{LIMIT, TestContext};
use crate::{
    lock,
    tasks::{spawn, spawn_blocking},
};

/// What a callback was called with, and the event that caused it.
type Update = (String, Option<EventType>);

/// The updates that callbacks were called with.
#[derive(Clone, Default)]
struct RecordedUpdates(Arc<Mutex<Vec<Update>>>);

impl RecordedUpdates {
    fn push(&self, what: String, event: Option<EventType>) -> bool {
        lock(&self.0).push((what, event));
        true
    }

    /// A callback that records the data, or `-` if there is no node.
    fn data(&self) -> impl FnMut(NodeData) -> bool + Send + use<> {
        let updates = self.clone();
        move |news| updates.push(text(&news), news.event.map(|event| event.kind))
    }

    /// A callback that records the names of the children.
    fn children(&self) -> impl FnMut(Children) -> bool + Send + use<> {
        let updates = self.clone();
        move |news| updates.push(names(&news), news.event.map(|event| event.kind))
    }

    fn all(&self) -> Vec<Update> {
        lock(&self.0).clone()
    }

    /// Waits until there are `count` updates.
    async fn counts<H: Handler>(&self, ctx: &TestContext<H>, count: usize) {
        ctx.wait_until("the callbacks", || self.all().len() >= count).await;
    }

    /// Waits until there are as many updates as `expected`, and a short time longer, and compares them.
    async fn is<H: Handler>(&self, ctx: &TestContext<H>, expected: &[(&str, Option<EventType>)]) {
        self.counts(ctx, expected.len()).await;
        ctx.short_wait().await;
        let expected: Vec<_> =
            expected.iter().map(|(what, event)| ((*what).to_owned(), *event)).collect();
        assert_eq!(self.all(), expected);
    }
}

fn text(news: &NodeData) -> String {
    match &news.node {
        Some((data, _)) => String::from_utf8(data.to_vec()).expect("text"),
        None => "-".into(),
    }
}

fn names(news: &Children) -> String {
    news.names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(",")
}

async fn node<H: Handler>(ctx: &TestContext<H>, zk: &Client, path: &str, data: &str) {
    ctx.ok("a node", zk.create(path, data, CreateMode::Persistent)).await;
}

async fn set<H: Handler>(ctx: &TestContext<H>, zk: &Client, data: &str) {
    ctx.ok("a change", zk.set("/node", data, None)).await;
}

async fn ended<H: Handler>(ctx: &TestContext<H>, running: &AsyncResult<()>) -> Option<ErrorKind> {
    ctx.wait_until("the end", || running.ready()).await;
    running.get_nowait().expect("it is there").err().map(|error| error.kind())
}

/// The watch is armed again in the next session, and reports changes that it missed.
pub async fn a_data_watch_survives_session_expiry<H: Handler>(handler: H) {
    use EventType::NodeDataChanged;

    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    let other = ctx.client().await;
    node(&ctx, &other, "/node", "1").await;
    let updates = RecordedUpdates::default();
    let watch = DataWatch::new(&zk, "/node", updates.data());
    updates.is(&ctx, &[("1", None)]).await;

    // No change over a reconnect and an expiry: no call.
    ctx.cut_off(&zk, &proxy).await;
    proxy.refuse(false);
    ctx.ok("a call", zk.exists("/")).await;
    ctx.lose_session(&zk, &proxy).await;
    ctx.wait_until("the watch of the new session", || ctx.is_watched("/node")).await;
    updates.is(&ctx, &[("1", None)]).await;
    set(&ctx, &other, "2").await;
    updates.is(&ctx, &[("1", None), ("2", Some(NodeDataChanged))]).await;

    // A change while disconnected, and one while there is no session: one call each.
    ctx.cut_off(&zk, &proxy).await;
    set(&ctx, &other, "x").await;
    set(&ctx, &other, "3").await;
    proxy.refuse(false);
    ctx.wait_until("the third call", || updates.all().len() == 3).await;
    ctx.cut_off(&zk, &proxy).await;
    ctx.expire_session(&zk).await;
    set(&ctx, &other, "4").await;
    proxy.refuse(false);
    let all =
        [("1", None), ("2", Some(NodeDataChanged)), ("3", Some(NodeDataChanged)), ("4", None)];
    updates.is(&ctx, &all).await;
    assert!(!watch.running().ready());
}

pub async fn a_data_watch_distinguishes_null_from_empty_data<H: Handler>(handler: H) {
    use EventType::{NodeCreated, NodeDataChanged, NodeDeleted};

    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let updates = RecordedUpdates::default();
    let sees = updates.clone();
    let _watch = DataWatch::new(&zk, "/node", move |news| {
        let what = if news.is_null { "null".into() } else { format!("text {}", text(&news)) };
        sees.push(what, news.event.map(|event| event.kind))
    });
    updates.counts(&ctx, 1).await;
    ctx.ok("null", zk.create("/node", (), CreateMode::Persistent)).await;
    updates.counts(&ctx, 2).await;
    set(&ctx, &zk, "").await;
    updates.counts(&ctx, 3).await;
    ctx.ok("null", zk.set("/node", (), None)).await;
    updates.counts(&ctx, 4).await;
    ctx.ok("to delete", zk.delete("/node", None)).await;
    let all = [
        ("text -", None),
        ("null", Some(NodeCreated)),
        ("text ", Some(NodeDataChanged)),
        ("null", Some(NodeDataChanged)),
        ("text -", Some(NodeDeleted)),
    ];
    updates.is(&ctx, &all).await;
}

/// The watch reports that the node is missing, and later each creation and deletion.
pub async fn a_data_watch_reports_a_missing_node_and_its_creation<H: Handler>(handler: H) {
    use EventType::{NodeCreated, NodeDataChanged, NodeDeleted};

    let ctx = TestContext::new(handler);
    let (zk, other) = (ctx.client().await, ctx.client().await);
    let updates = RecordedUpdates::default();
    let _watch = DataWatch::new(&zk, "/node", updates.data());
    let mut all = vec![("-", None)];
    for round in ["first", "second"] {
        updates.counts(&ctx, all.len()).await;
        node(&ctx, &other, "/node", round).await;
        all.push((round, Some(NodeCreated)));
        updates.counts(&ctx, all.len()).await;
        set(&ctx, &other, "changed").await;
        all.push(("changed", Some(NodeDataChanged)));
        updates.counts(&ctx, all.len()).await;
        ctx.ok("to delete", other.delete("/node", None)).await;
        all.push(("-", Some(NodeDeleted)));
    }
    updates.is(&ctx, &all).await;
}

/// A callback that returns `false` ends its watch. A callback that panics does not affect others.
pub async fn a_callback_can_end_its_watch_and_can_panic<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (zk, other) = (ctx.client().await, ctx.client().await);
    node(&ctx, &other, "/node", "1").await;
    let (once, panics, lasts) =
        (RecordedUpdates::default(), RecordedUpdates::default(), RecordedUpdates::default());
    let (mut first, mut second) = (once.data(), panics.data());
    let ends = DataWatch::new(&zk, "/node", move |news| {
        first(news);
        false
    });
    let panicking = DataWatch::new(&zk, "/node", move |news| {
        second(news);
        panic!("a callback of a test panics, as it should");
    });
    let lasting = DataWatch::new(&zk, "/node", lasts.data());
    assert_eq!(ended(&ctx, ends.running()).await, None);
    ctx.wait_until("the first calls", || lasts.all().len() + panics.all().len() == 2).await;
    set(&ctx, &other, "2").await;
    for updates in [&panics, &lasts] {
        let changed = Some(EventType::NodeDataChanged);
        updates.is(&ctx, &[("1", None), ("2", changed)]).await;
    }
    assert_eq!(once.all().len(), 1);
    assert!(!panicking.running().ready() && !lasting.running().ready());
}

/// With `allow_session_lost(false)` the watch ends at session loss; by default it continues.
pub async fn a_children_watch_can_end_with_its_session<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    let other = ctx.client().await;
    node(&ctx, &other, "/node", "").await;
    let (ends, lasts) = (RecordedUpdates::default(), RecordedUpdates::default());
    let options = ChildrenWatchOptions::default().allow_session_lost(false);
    let ending = ChildrenWatch::with_options(&zk, "/node", options, ends.children());
    let lasting = ChildrenWatch::new(&zk, "/node", lasts.children());
    let mut stream = ChildrenWatch::stream_with_options(&zk, "/node", options);
    assert_eq!(names(&ctx.within("the first", stream.changed()).await.expect("it runs")), "");
    for updates in [&ends, &lasts] {
        updates.is(&ctx, &[("", None)]).await;
    }
    // A reconnect does not lose the session.
    ctx.cut_off(&zk, &proxy).await;
    proxy.refuse(false);
    node(&ctx, &other, "/node/a", "").await;
    let changed = Some(EventType::NodeChildrenChanged);
    for updates in [&ends, &lasts] {
        updates.is(&ctx, &[("", None), ("a", changed)]).await;
    }
    assert_eq!(names(&ctx.within("the next", stream.changed()).await.expect("it runs")), "a");

    ctx.lose_session(&zk, &proxy).await;
    assert_eq!(ended(&ctx, ending.running()).await, Some(ErrorKind::SessionExpired));
    assert!(ctx.within("the end", stream.changed()).await.is_none());
    assert_eq!(stream.error().map(|error| error.kind()), Some(ErrorKind::SessionExpired));
    node(&ctx, &other, "/node/b", "").await;
    // The children are read again in the next session, before or after the change.
    ctx.wait_until("the next session's call", || lasts.all().len() == 3).await;
    assert_eq!(lasts.all()[2].0, "a,b");
    assert!(!lasting.running().ready());
    assert_eq!(ends.all().len(), 2);
}

pub async fn a_children_watch_reports_each_change_until_the_node_is_deleted<H: Handler>(
    handler: H,
) {
    let ctx = TestContext::new(handler);
    let (zk, other) = (ctx.client().await, ctx.client().await);
    let missing = ChildrenWatch::new(&zk, "/node", |_| true);
    let no_node = Some(ErrorKind::Server(ErrorCode::NoNode));
    assert_eq!(ended(&ctx, missing.running()).await, no_node);

    node(&ctx, &other, "/node", "").await;
    node(&ctx, &other, "/node/b", "").await;
    let updates = RecordedUpdates::default();
    let watch = ChildrenWatch::new(&zk, "/node", updates.children());
    let changed = Some(EventType::NodeChildrenChanged);
    updates.is(&ctx, &[("b", None)]).await;
    node(&ctx, &other, "/node/a", "").await;
    updates.is(&ctx, &[("b", None), ("a,b", changed)]).await;
    set(&ctx, &other, "data are nothing to it").await;
    ctx.ok("to delete", other.delete("/node/b", None)).await;
    updates.is(&ctx, &[("b", None), ("a,b", changed), ("a", changed)]).await;
    ctx.ok("to delete", other.delete("/node/a", None)).await;
    ctx.ok("to delete", other.delete("/node", None)).await;
    assert_eq!(ended(&ctx, watch.running()).await, no_node);
}

/// Whatever the timing, the last state is reported, and states are reported in order and once.
pub async fn no_change_is_missed<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    let other = ctx.client().await;
    node(&ctx, &other, "/node", "0").await;
    let updates = RecordedUpdates::default();
    let _watch = DataWatch::new(&zk, "/node", updates.data());
    let mut stream = DataWatch::stream(&zk, "/node");
    let mut last = 0;
    for round in 0..6 {
        let sets: Vec<_> =
            (1..=50).map(|n| other.set("/node", (last + n).to_string(), None)).collect();
        if round % 2 == 1 {
            proxy.cut_rst();
        }
        for change in sets {
            ctx.ok("a change", change).await;
        }
        last += 50;
        let newest = last.to_string();
        ctx.wait_until("the last state", || {
            updates.all().last().is_some_and(|(text, _)| *text == newest)
        })
        .await;
        while text(&ctx.within("the stream", stream.changed()).await.expect("it runs")) != newest {}
    }
    let seen: Vec<u32> = updates.all().iter().map(|(text, _)| text.parse().expect("one")).collect();
    assert!(seen.is_sorted_by(|before, after| before < after), "{seen:?}");
}

/// The stream keeps the newest state, and counts skipped ones.
pub async fn a_slow_reader_gets_the_newest_state<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (zk, other) = (ctx.client().await, ctx.client().await);
    node(&ctx, &other, "/node", "0").await;
    let mut stream = DataWatch::stream(&zk, "/node");
    let first = ctx.within("the first", stream.changed()).await.expect("it runs");
    assert_eq!((text(&first), first.event), ("0".to_owned(), None));
    let heard = RecordedUpdates::default();
    let _quick = DataWatch::new(&zk, "/node", heard.data());
    for n in 1..=5 {
        ctx.wait_until("all to hear", || heard.all().len() == n).await;
        set(&ctx, &other, &n.to_string()).await;
    }
    ctx.wait_until("all to hear", || heard.all().len() == 6).await;
    ctx.wait_until("the reader to fall behind", || stream.skipped() == 4).await;
    let news = ctx.within("the newest", stream.changed()).await.expect("it runs");
    assert_eq!(text(&news), "5");
    assert!(news.event.is_some());
    assert_eq!(stream.skipped(), 4);

    // A slow callback gets the newest state when it returns.
    let (release, blocked) = mpsc::channel::<()>();
    let slow = RecordedUpdates::default();
    let mut tell = slow.data();
    let _slow = DataWatch::new(&zk, "/node", move |news| {
        let more = tell(news);
        let _ = blocked.recv_timeout(LIMIT);
        more
    });
    ctx.wait_until("it to block", || slow.all().len() == 1).await;
    for n in 6..=9 {
        set(&ctx, &other, &n.to_string()).await;
    }
    drop(release);
    ctx.wait_until("the newest", || slow.all().last().is_some_and(|(text, _)| text == "9")).await;
    assert!(slow.all().len() <= 3, "{:?}", slow.all());
}

pub async fn a_dropped_or_cancelled_watch_ends<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    let other = ctx.client().await;
    node(&ctx, &other, "/node", "1").await;
    let updates = RecordedUpdates::default();
    let dropped = DataWatch::new(&zk, "/node", updates.data());
    let cancelled = DataWatch::new(&zk, "/node", updates.data());
    let stream = DataWatch::stream(&zk, "/node");
    ctx.wait_until("the first calls", || updates.all().len() == 2).await;
    drop((dropped, stream));
    assert!(cancelled.running().cancel());
    assert_eq!(ended(&ctx, cancelled.running()).await, Some(ErrorKind::Cancelled));
    set(&ctx, &other, "2").await;
    ctx.short_wait().await;
    assert_eq!(updates.all().len(), 2);
    // The watch is not armed again on the next connection.
    let mut states = zk.states();
    proxy.cut_rst();
    ctx.expect_states(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
    ctx.ok("a call", zk.exists("/")).await;
    ctx.wait_until("no watch to be left", || !ctx.is_watched("/node")).await;
}

pub async fn a_watch_ends_when_its_client_stops<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    node(&ctx, &zk, "/node", "1").await;
    let data = DataWatch::new(&zk, "/node", |_| true);
    let children = ChildrenWatch::new(&zk, "/node", |_| true);
    let mut stream = DataWatch::stream(&zk, "/node");
    ctx.within("the first", stream.changed()).await;
    ctx.ok("to stop", zk.stop()).await;
    for running in [data.running(), children.running()] {
        assert_eq!(ended(&ctx, running).await, Some(ErrorKind::ConnectionClosed));
    }
    assert!(ctx.within("the end", stream.changed()).await.is_none());
}

pub async fn a_thread_can_follow_a_node<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    node(&ctx, &zk, "/node", "1").await;
    let client = blocking::Client::from(zk.clone());
    let (say, said) = mpsc::channel();
    let follower = spawn_blocking(move || {
        let mut stream = DataWatch::stream(&client, "/node");
        while let Some(news) = stream.next_blocking() {
            say.send(text(&news)).expect("the test listens");
        }
        stream.error().map(|error| error.kind())
    });
    let follower = spawn(&ctx.handler, follower);
    let said = Arc::new(Mutex::new(said));
    let next = || {
        let said = said.clone();
        spawn_blocking(move || lock(&said).recv_timeout(LIMIT).expect("news"))
    };
    assert_eq!(next().await, "1");
    set(&ctx, &zk, "2").await;
    assert_eq!(next().await, "2");
    ctx.ok("to stop", zk.stop()).await;
    let end = ctx.within("the end", follower).await;
    assert_eq!(end, Some(ErrorKind::ConnectionClosed));
}

pub async fn patient_children_watch_waits_for_quiet<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (zk, other) = (ctx.client().await, ctx.client().await);
    let boundary = Duration::from_millis(400);
    let error = ctx.err("no node", patient_children_watch(&zk, "/node", boundary)).await;
    assert_eq!(error.code(), Some(ErrorCode::NoNode));
    node(&ctx, &other, "/node", "").await;
    let quiet = patient_children_watch(&zk, "/node", boundary);
    for n in 0..4 {
        ctx.short_wait().await;
        assert!(!quiet.ready());
        node(&ctx, &other, &format!("/node/{n}"), "").await;
    }
    let (names, watch) = ctx.ok("quiet", quiet).await;
    assert_eq!(names.len(), 4);
    assert!(!watch.ready());
    ctx.ok("a change", other.delete("/node/0", None)).await;
    let event = ctx.ok("the next change", watch).await;
    assert_eq!(event.kind, EventType::NodeChildrenChanged);
    let waiting = patient_children_watch(&zk, "/node", LIMIT);
    ctx.short_wait().await;
    assert!(waiting.cancel());
}
