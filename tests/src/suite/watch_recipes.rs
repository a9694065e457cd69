//! Watches that last: what they tell, when, and when they end.

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

use super::site::{LIMIT, Site, blocking, spawned};
use crate::lock;

/// What a callback was told, and by which event.
type News = (String, Option<EventType>);

/// What callbacks were told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<News>>>);

impl Told {
    fn push(&self, what: String, event: Option<EventType>) -> bool {
        lock(&self.0).push((what, event));
        true
    }

    /// A callback for data: what is told is the data, or `-`.
    fn data(&self) -> impl FnMut(NodeData) -> bool + Send + use<> {
        let told = self.clone();
        move |news| told.push(text(&news), news.event.map(|event| event.kind))
    }

    /// A callback for children: what is told are their names.
    fn children(&self) -> impl FnMut(Children) -> bool + Send + use<> {
        let told = self.clone();
        move |news| told.push(names(&news), news.event.map(|event| event.kind))
    }

    fn all(&self) -> Vec<News> {
        lock(&self.0).clone()
    }

    /// Waits until `count` times something was told.
    async fn counts<H: Handler>(&self, site: &Site<H>, count: usize) {
        site.when("the callbacks", || self.all().len() >= count).await;
    }

    /// Waits until as much was told as is `expected`, and a moment longer.
    async fn is<H: Handler>(&self, site: &Site<H>, expected: &[(&str, Option<EventType>)]) {
        self.counts(site, expected.len()).await;
        site.moment().await;
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

async fn node<H: Handler>(site: &Site<H>, zk: &Client, path: &str, data: &str) {
    site.ok("a node", zk.create(path, data, CreateMode::Persistent)).await;
}

async fn set<H: Handler>(site: &Site<H>, zk: &Client, data: &str) {
    site.ok("a change", zk.set("/node", data, None)).await;
}

async fn ended<H: Handler>(site: &Site<H>, running: &AsyncResult<()>) -> Option<ErrorKind> {
    site.when("the end", || running.ready()).await;
    running.get_nowait().expect("it is there").err().map(|error| error.kind())
}

/// Tricky case 9.
pub async fn a_data_watch_lives_over_an_expiry<H: Handler>(handler: H) {
    use EventType::NodeDataChanged;

    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    let other = site.client().await;
    node(&site, &other, "/node", "1").await;
    let told = Told::default();
    let watch = DataWatch::new(&zk, "/node", told.data());
    told.is(&site, &[("1", None)]).await;

    // Unchanged over a reconnect and over an expiry: no call.
    site.cut_off(&zk, &proxy).await;
    proxy.refuse(false);
    site.ok("a call", zk.exists("/")).await;
    site.lose_session(&zk, &proxy).await;
    site.when("the watch of the new session", || site.is_watched("/node")).await;
    told.is(&site, &[("1", None)]).await;
    set(&site, &other, "2").await;
    told.is(&site, &[("1", None), ("2", Some(NodeDataChanged))]).await;

    // Changed while away, and while there was no session: one call each.
    site.cut_off(&zk, &proxy).await;
    set(&site, &other, "x").await;
    set(&site, &other, "3").await;
    proxy.refuse(false);
    site.when("the third call", || told.all().len() == 3).await;
    site.cut_off(&zk, &proxy).await;
    site.expire(&zk).await;
    set(&site, &other, "4").await;
    proxy.refuse(false);
    let all =
        [("1", None), ("2", Some(NodeDataChanged)), ("3", Some(NodeDataChanged)), ("4", None)];
    told.is(&site, &all).await;
    assert!(!watch.running().ready());
}

pub async fn a_data_watch_tells_null_from_empty<H: Handler>(handler: H) {
    use EventType::{NodeCreated, NodeDataChanged, NodeDeleted};

    let site = Site::new(handler);
    let zk = site.client().await;
    let told = Told::default();
    let sees = told.clone();
    let _watch = DataWatch::new(&zk, "/node", move |news| {
        let what = if news.is_null { "null".into() } else { format!("text {}", text(&news)) };
        sees.push(what, news.event.map(|event| event.kind))
    });
    told.counts(&site, 1).await;
    site.ok("null", zk.create("/node", (), CreateMode::Persistent)).await;
    told.counts(&site, 2).await;
    set(&site, &zk, "").await;
    told.counts(&site, 3).await;
    site.ok("null", zk.set("/node", (), None)).await;
    told.counts(&site, 4).await;
    site.ok("to delete", zk.delete("/node", None)).await;
    let all = [
        ("text -", None),
        ("null", Some(NodeCreated)),
        ("text ", Some(NodeDataChanged)),
        ("null", Some(NodeDataChanged)),
        ("text -", Some(NodeDeleted)),
    ];
    told.is(&site, &all).await;
}

/// Tricky case 10.
pub async fn a_data_watch_on_a_missing_node_waits_for_it<H: Handler>(handler: H) {
    use EventType::{NodeCreated, NodeDataChanged, NodeDeleted};

    let site = Site::new(handler);
    let (zk, other) = (site.client().await, site.client().await);
    let told = Told::default();
    let _watch = DataWatch::new(&zk, "/node", told.data());
    let mut all = vec![("-", None)];
    for round in ["first", "second"] {
        told.counts(&site, all.len()).await;
        node(&site, &other, "/node", round).await;
        all.push((round, Some(NodeCreated)));
        told.counts(&site, all.len()).await;
        set(&site, &other, "changed").await;
        all.push(("changed", Some(NodeDataChanged)));
        told.counts(&site, all.len()).await;
        site.ok("to delete", other.delete("/node", None)).await;
        all.push(("-", Some(NodeDeleted)));
    }
    told.is(&site, &all).await;
}

/// Tricky case 11.
pub async fn a_callback_can_end_its_watch_and_may_panic<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (zk, other) = (site.client().await, site.client().await);
    node(&site, &other, "/node", "1").await;
    let (once, panics, lasts) = (Told::default(), Told::default(), Told::default());
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
    assert_eq!(ended(&site, ends.running()).await, None);
    site.when("the first calls", || lasts.all().len() + panics.all().len() == 2).await;
    set(&site, &other, "2").await;
    for told in [&panics, &lasts] {
        let changed = Some(EventType::NodeDataChanged);
        told.is(&site, &[("1", None), ("2", changed)]).await;
    }
    assert_eq!(once.all().len(), 1);
    assert!(!panicking.running().ready() && !lasting.running().ready());
}

/// Tricky case 12.
pub async fn a_children_watch_can_end_with_its_session<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    let other = site.client().await;
    node(&site, &other, "/node", "").await;
    let (ends, lasts) = (Told::default(), Told::default());
    let options = ChildrenWatchOptions::default().allow_session_lost(false);
    let ending = ChildrenWatch::with(&zk, "/node", options, ends.children());
    let lasting = ChildrenWatch::new(&zk, "/node", lasts.children());
    let mut stream = ChildrenWatch::stream_with(&zk, "/node", options);
    assert_eq!(names(&site.within("the first", stream.changed()).await.expect("it runs")), "");
    for told in [&ends, &lasts] {
        told.is(&site, &[("", None)]).await;
    }
    // A reconnect is no loss.
    site.cut_off(&zk, &proxy).await;
    proxy.refuse(false);
    node(&site, &other, "/node/a", "").await;
    let changed = Some(EventType::NodeChildrenChanged);
    for told in [&ends, &lasts] {
        told.is(&site, &[("", None), ("a", changed)]).await;
    }
    assert_eq!(names(&site.within("the next", stream.changed()).await.expect("it runs")), "a");

    site.lose_session(&zk, &proxy).await;
    assert_eq!(ended(&site, ending.running()).await, Some(ErrorKind::SessionExpired));
    assert!(site.within("the end", stream.changed()).await.is_none());
    assert_eq!(stream.error().map(|error| error.kind()), Some(ErrorKind::SessionExpired));
    node(&site, &other, "/node/b", "").await;
    // Read anew in the next session, before the change or after it.
    site.when("the next session's call", || lasts.all().len() == 3).await;
    assert_eq!(lasts.all()[2].0, "a,b");
    assert!(!lasting.running().ready());
    assert_eq!(ends.all().len(), 2);
}

pub async fn a_children_watch_tells_each_change_to_the_end<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (zk, other) = (site.client().await, site.client().await);
    let missing = ChildrenWatch::new(&zk, "/node", |_| true);
    let no_node = Some(ErrorKind::Server(ErrorCode::NoNode));
    assert_eq!(ended(&site, missing.running()).await, no_node);

    node(&site, &other, "/node", "").await;
    node(&site, &other, "/node/b", "").await;
    let told = Told::default();
    let watch = ChildrenWatch::new(&zk, "/node", told.children());
    let changed = Some(EventType::NodeChildrenChanged);
    told.is(&site, &[("b", None)]).await;
    node(&site, &other, "/node/a", "").await;
    told.is(&site, &[("b", None), ("a,b", changed)]).await;
    set(&site, &other, "data are nothing to it").await;
    site.ok("to delete", other.delete("/node/b", None)).await;
    told.is(&site, &[("b", None), ("a,b", changed), ("a", changed)]).await;
    site.ok("to delete", other.delete("/node/a", None)).await;
    site.ok("to delete", other.delete("/node", None)).await;
    assert_eq!(ended(&site, watch.running()).await, no_node);
}

/// Whatever the timing, the last state is told, states come in their order, and none twice.
pub async fn no_change_goes_by_unnoticed<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    let other = site.client().await;
    node(&site, &other, "/node", "0").await;
    let told = Told::default();
    let _watch = DataWatch::new(&zk, "/node", told.data());
    let mut stream = DataWatch::stream(&zk, "/node");
    let mut last = 0;
    for round in 0..6 {
        let sets: Vec<_> =
            (1..=50).map(|n| other.set("/node", (last + n).to_string(), None)).collect();
        if round % 2 == 1 {
            proxy.cut_rst();
        }
        for change in sets {
            site.ok("a change", change).await;
        }
        last += 50;
        let newest = last.to_string();
        site.when("the last state", || told.all().last().is_some_and(|(text, _)| *text == newest))
            .await;
        while text(&site.within("the stream", stream.changed()).await.expect("it runs")) != newest {
        }
    }
    let seen: Vec<u32> = told.all().iter().map(|(text, _)| text.parse().expect("one")).collect();
    assert!(seen.is_sorted_by(|before, after| before < after), "{seen:?}");
}

/// The newest state wins, and it says so.
pub async fn a_slow_reader_hears_the_newest<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (zk, other) = (site.client().await, site.client().await);
    node(&site, &other, "/node", "0").await;
    let mut stream = DataWatch::stream(&zk, "/node");
    let first = site.within("the first", stream.changed()).await.expect("it runs");
    assert_eq!((text(&first), first.event), ("0".to_owned(), None));
    let heard = Told::default();
    let _quick = DataWatch::new(&zk, "/node", heard.data());
    for n in 1..=5 {
        site.when("all to hear", || heard.all().len() == n).await;
        set(&site, &other, &n.to_string()).await;
    }
    site.when("all to hear", || heard.all().len() == 6).await;
    site.when("the reader to fall behind", || stream.skipped() == 4).await;
    let news = site.within("the newest", stream.changed()).await.expect("it runs");
    assert_eq!(text(&news), "5");
    assert!(news.event.is_some());
    assert_eq!(stream.skipped(), 4);

    // A callback that is slow is told what there is when it is done.
    let (release, blocked) = mpsc::channel::<()>();
    let slow = Told::default();
    let mut tell = slow.data();
    let _slow = DataWatch::new(&zk, "/node", move |news| {
        let more = tell(news);
        let _ = blocked.recv_timeout(LIMIT);
        more
    });
    site.when("it to block", || slow.all().len() == 1).await;
    for n in 6..=9 {
        set(&site, &other, &n.to_string()).await;
    }
    drop(release);
    site.when("the newest", || slow.all().last().is_some_and(|(text, _)| text == "9")).await;
    assert!(slow.all().len() <= 3, "{:?}", slow.all());
}

pub async fn a_watch_that_is_dropped_or_cancelled_ends<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    let other = site.client().await;
    node(&site, &other, "/node", "1").await;
    let told = Told::default();
    let dropped = DataWatch::new(&zk, "/node", told.data());
    let cancelled = DataWatch::new(&zk, "/node", told.data());
    let stream = DataWatch::stream(&zk, "/node");
    site.when("the first calls", || told.all().len() == 2).await;
    drop((dropped, stream));
    assert!(cancelled.running().cancel());
    assert_eq!(ended(&site, cancelled.running()).await, Some(ErrorKind::Cancelled));
    set(&site, &other, "2").await;
    site.moment().await;
    assert_eq!(told.all().len(), 2);
    // Nor is anything armed again on the next connection.
    let mut states = zk.states();
    proxy.cut_rst();
    site.expect(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
    site.ok("a call", zk.exists("/")).await;
    site.when("no watch to be left", || !site.is_watched("/node")).await;
}

pub async fn a_watch_ends_when_its_client_stops<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.client().await;
    node(&site, &zk, "/node", "1").await;
    let data = DataWatch::new(&zk, "/node", |_| true);
    let children = ChildrenWatch::new(&zk, "/node", |_| true);
    let mut stream = DataWatch::stream(&zk, "/node");
    site.within("the first", stream.changed()).await;
    site.ok("to stop", zk.stop()).await;
    for running in [data.running(), children.running()] {
        assert_eq!(ended(&site, running).await, Some(ErrorKind::ConnectionClosed));
    }
    assert!(site.within("the end", stream.changed()).await.is_none());
}

pub async fn a_thread_can_follow_a_node<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.client().await;
    node(&site, &zk, "/node", "1").await;
    let client = blocking::Client::from(zk.clone());
    let (say, said) = mpsc::channel();
    let follower = blocking(move || {
        let mut stream = DataWatch::stream(&client, "/node");
        while let Some(news) = stream.next_blocking() {
            say.send(text(&news)).expect("somebody listens");
        }
        stream.error().map(|error| error.kind())
    });
    let follower = spawned(&site.handler, follower);
    let said = Arc::new(Mutex::new(said));
    let next = || {
        let said = said.clone();
        blocking(move || lock(&said).recv_timeout(LIMIT).expect("news"))
    };
    assert_eq!(next().await, "1");
    set(&site, &zk, "2").await;
    assert_eq!(next().await, "2");
    site.ok("to stop", zk.stop()).await;
    let end = site.within("the end", follower).await;
    assert_eq!(end, Some(ErrorKind::ConnectionClosed));
}

pub async fn a_patient_watch_waits_for_quiet<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (zk, other) = (site.client().await, site.client().await);
    let boundary = Duration::from_millis(400);
    let error = site.err("no node", patient_children_watch(&zk, "/node", boundary)).await;
    assert_eq!(error.code(), Some(ErrorCode::NoNode));
    node(&site, &other, "/node", "").await;
    let quiet = patient_children_watch(&zk, "/node", boundary);
    for n in 0..4 {
        site.moment().await;
        assert!(!quiet.ready());
        node(&site, &other, &format!("/node/{n}"), "").await;
    }
    let (names, watch) = site.ok("quiet", quiet).await;
    assert_eq!(names.len(), 4);
    assert!(!watch.ready());
    site.ok("a change", other.delete("/node/0", None)).await;
    let event = site.ok("the next change", watch).await;
    assert_eq!(event.kind, EventType::NodeChildrenChanged);
    let waiting = patient_children_watch(&zk, "/node", LIMIT);
    site.moment().await;
    assert!(waiting.cancel());
}
