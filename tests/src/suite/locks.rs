//! Locks: who holds them, who is told what, and that nothing is left behind.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use zk_client::{
    AsyncResult, CREATOR_ALL_ACL, Client, CreateMode, CreateOptions, Error, ErrorCode, ErrorKind,
    Handler, State, blocking,
    recipes::{DataWatch, Lock, LockGuard, LockOptions, ReadLock, Semaphore, WriteLock},
};

use super::{
    contest::{
        CREATE2, DELETE, GET_CHILDREN, Told, count_events, count_requests, cut_off_at, give_up_at,
        is_given_up, lose_replies, lose_requests, pass_all, unlisted,
    },
    site::{LIMIT, Site, blocking, spawned},
};
use crate::Direction;

const PATH: &str = "/lock";

fn named(zk: &Client, name: &str) -> Lock {
    Lock::with(zk, PATH, LockOptions::default().identifier(name))
}

async fn held<H: Handler>(site: &Site<H>, lock: &Lock) -> LockGuard {
    site.ok("the lock", lock.acquire()).await
}

/// A lock by a client of its own, that is held.
async fn holder<H: Handler>(site: &Site<H>) -> (Client, LockGuard) {
    let zk = site.client().await;
    let guard = held(site, &named(&zk, "holder")).await;
    (zk, guard)
}

pub async fn one_holds_and_the_others_wait_their_turn<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let mut clients = Vec::new();
    let mut waiting = Vec::new();
    for n in 0..5 {
        let zk = site.client().await;
        let lock = named(&zk, &n.to_string());
        waiting.push(lock.acquire());
        site.until_nodes(&zk, PATH, n + 1).await;
        clients.push((zk, lock));
    }
    let contenders = site.ok("contenders", clients[4].1.contenders()).await;
    assert_eq!(contenders, ["0", "1", "2", "3", "4"]);
    let mut last = 0;
    for n in 0..5 {
        let guard = site.ok("the turn", waiting.remove(0)).await;
        assert!(guard.is_held() && guard.held_for() > Duration::ZERO && !guard.lost().is_set());
        assert!(guard.fencing_token() > last, "{} after {last}", guard.fencing_token());
        last = guard.fencing_token();
        site.moment().await;
        assert!(waiting.iter().all(|next| !next.ready()), "two hold it");
        assert_eq!(site.nodes(&clients[0].0, PATH).await.len(), 5 - n);
        let clone = guard.clone();
        site.ok("to release", guard.release()).await;
        assert!(!clone.is_held() && clone.held_for().is_zero());
    }
    assert!(site.nodes(&clients[0].0, PATH).await.is_empty());
    assert!(site.ok("contenders", clients[0].1.contenders()).await.is_empty());
}

/// Tricky case 1.
pub async fn a_holder_cut_off_within_its_session_still_holds<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    let other = site.client().await;
    let guard = held(&site, &named(&zk, "holder")).await;
    let told = Told::by(&guard);
    let mut waiting = Vec::new();
    for n in 1..=2 {
        waiting.push(named(&other, &n.to_string()).acquire());
        site.until_nodes(&other, PATH, n + 1).await;
    }
    let suspended = spawned(&site.handler, guard.suspended());

    site.cut_off(&zk, &proxy).await;
    site.within("the holder to be told", suspended).await;
    site.within("whoever asks later", guard.suspended()).await;
    assert!(!guard.is_held() && !guard.lost().is_set(), "it cannot be sure");
    site.moment().await;
    assert!(waiting.iter().all(|next| !next.ready()), "somebody got in");

    proxy.refuse(false);
    site.when("the holder to be sure again", || guard.is_held()).await;
    site.when("the callback", || told.is(&[State::Suspended, State::Connected])).await;
    assert!(waiting.iter().all(|next| !next.ready()) && !guard.lost().is_set());
    let write = guard.transaction().create("/done", b"", CreateMode::Persistent);
    site.ok("a guarded write", write.commit()).await.committed().expect("it is held");
    drop(guard);
    for next in waiting {
        drop(site.ok("the next", next).await);
    }
    assert!(told.is(&[State::Suspended, State::Connected]));
}

pub async fn a_holder_whose_session_expires_is_told<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    let other = site.client().await;
    site.ok("a node", other.create("/data", b"", CreateMode::Persistent)).await;
    let stale = held(&site, &named(&zk, "old")).await;
    let told = Told::by(&stale);
    let next = named(&other, "new").acquire();
    site.until_nodes(&other, PATH, 2).await;

    site.lose_session(&zk, &proxy).await;
    site.within("the loss", stale.lost().happened()).await;
    assert!(!stale.is_held() && stale.lost().is_set());
    site.when("the callback", || told.is(&[State::Suspended, State::Lost])).await;
    let late = Told::by(&stale);
    site.when("a late callback", || late.is(&[State::Lost])).await;
    let guard = site.ok("the next holder", next).await;
    assert!(guard.fencing_token() > stale.fencing_token());

    // What the old holder still wants to write is refused, by the same client and its new session.
    let results = stale.transaction().set("/data", b"stale", None).commit();
    let error = site.ok("an answer", results).await.committed().expect_err("it is not held");
    assert_eq!(error.code(), Some(ErrorCode::NoNode), "{error}");
    let results = guard.transaction().set("/data", b"fresh", None).commit();
    site.ok("an answer", results).await.committed().expect("it is held");
    let (data, stat) = site.ok("the data", other.get("/data")).await;
    assert_eq!((data.as_ref(), stat.version), (&b"fresh"[..], 1));
    // And the release of what is lost harms nobody.
    site.ok("to release", stale.release()).await;
    assert!(guard.is_held());
}

pub async fn a_waiter_whose_session_expires_starts_over<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (other, guard) = holder(&site).await;
    let (proxy, zk) = site.proxied().await;
    let waiting = named(&zk, "waiter").acquire();
    site.until_nodes(&other, PATH, 2).await;
    let before = site.nodes(&other, PATH).await;
    site.lose_session(&zk, &proxy).await;
    site.until_nodes(&other, PATH, 2).await;
    assert_ne!(site.nodes(&other, PATH).await, before);
    assert!(!waiting.ready());
    site.ok("to release", guard.release()).await;
    let guard = site.ok("its turn", waiting).await;
    let stat = site.ok("its node", other.exists(guard.path())).await.expect("it is there");
    assert_eq!(Some(stat.ephemeral_owner), zk.session_id().map(|session| session.0));
    assert!(guard.is_held());
}

/// Tricky case 2.
pub async fn a_lost_reply_to_the_create_makes_one_node<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    site.ok("the path", zk.ensure_path(PATH)).await;
    for heard in [true, false] {
        let creates = if heard {
            lose_replies(&proxy, CREATE2, 1)
        } else {
            lose_requests(&proxy, CREATE2, 1)
        };
        let guard = held(&site, &named(&zk, "mine")).await;
        let sent = creates.load(Ordering::Relaxed);
        assert_eq!(sent, if heard { 1 } else { 2 }, "it looks before it makes another");
        assert_eq!(site.nodes(&zk, PATH).await.len(), 1);
        assert!(guard.is_held());
        site.ok("to release", guard.release()).await;
        assert!(site.nodes(&zk, PATH).await.is_empty());
    }
}

/// The node of another session is not taken for one's own, whatever its name.
pub async fn a_node_of_another_session_is_not_adopted<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let other = site.client().await;
    site.ok("the path", other.ensure_path(PATH)).await;
    let (proxy, zk) = site.proxied().await;
    let proxy = Arc::new(proxy);
    let told = cut_off_at(&proxy, CREATE2);
    let waiting = named(&zk, "mine").acquire();
    let id = blocking(move || told.recv_timeout(LIMIT).expect("it makes its node")).await;
    let id = id.strip_prefix(site.root()).expect("a path of this site").to_owned();
    let imposture = other.create(&id, b"impostor", CreateMode::EphemeralSequential);
    let imposture = site.ok("a node of that name", imposture).await;
    pass_all(&proxy);
    proxy.refuse(false);
    site.until_nodes(&other, PATH, 2).await;
    site.moment().await;
    assert!(!waiting.ready(), "it holds by the node of another");
    site.ok("to delete", other.delete(&imposture, None)).await;
    assert!(site.ok("its turn", waiting).await.is_held());
}

/// Tricky case 3.
pub async fn a_waiter_that_gives_up_leaves_no_node<H: Handler>(handler: H) {
    let site = Site::new(handler);
    for way in ["timeout", "cancel", "drop"] {
        let (zk, guard) = holder(&site).await;
        let lock = named(&zk, "gives up");
        let timeout = Duration::from_millis(if way == "timeout" { 300 } else { 60_000 });
        let begun = Instant::now();
        let leaver = lock.acquire_timeout(timeout);
        site.until_nodes(&zk, PATH, 2).await;
        let next = named(&zk, "next").acquire();
        site.until_nodes(&zk, PATH, 3).await;
        match way {
            "timeout" => {
                let error = site.err("it takes too long", leaver).await;
                assert!(begun.elapsed() >= timeout, "{:?}", begun.elapsed());
                assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
                assert!(error.to_string().contains(PATH), "{error}");
            }
            "cancel" => {
                assert!(leaver.cancel() && leaver.cancelled());
                let error = site.err("it is cancelled", leaver).await;
                assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
            }
            _ => drop(leaver),
        }
        site.until_nodes(&zk, PATH, 2).await;
        site.moment().await;
        assert!(!next.ready() && guard.is_held(), "{way}");
        site.ok("to release", guard.release()).await;
        site.ok("to release", site.ok("the next", next).await.release()).await;
        assert!(site.nodes(&zk, PATH).await.is_empty(), "{way}");
        // Tricky case 8.
        let again = held(&site, &lock).await;
        site.ok("to release", again.release()).await;
    }
}

/// Tricky case 8, in threads.
pub async fn a_thread_that_waits_can_be_cancelled<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (zk, guard) = holder(&site).await;
    let client = blocking::Client::from(zk.clone());
    let (lock, read, write) =
        (Lock::new(&client, PATH), ReadLock::new(&client, PATH), WriteLock::new(&client, PATH));
    let other = named(&zk, "by another object").acquire();
    site.until_nodes(&zk, PATH, 2).await;
    let (one, two, three) = (lock.clone(), read.clone(), write.clone());
    cancel_threads(&site, &zk, move || one.acquire(), || lock.cancel()).await;
    cancel_threads(&site, &zk, move || two.acquire(), || read.cancel()).await;
    cancel_threads(&site, &zk, move || three.acquire(), || write.cancel()).await;
    site.moment().await;
    assert!(!other.ready() && guard.is_held(), "neither was to be cancelled");

    let again = lock.clone();
    let again = spawned(&site.handler, blocking(move || again.acquire()));
    site.until_nodes(&zk, PATH, 3).await;
    site.ok("to release", guard.release()).await;
    site.ok("to release", site.ok("its turn", other).await.release()).await;
    let held = site.within("a later acquire", again).await.expect("nobody cancels this one");
    lock.cancel();
    site.moment().await;
    assert!(held.is_held(), "it does not wait any more");
}

/// Has two threads wait for what two have asked for before them, and cancels both.
async fn cancel_threads<H: Handler>(
    site: &Site<H>,
    zk: &Client,
    acquire: impl Fn() -> Result<LockGuard<blocking::Client>, Error> + Clone + Send + 'static,
    cancel: impl Fn(),
) {
    let wait = || spawned(&site.handler, blocking(acquire.clone()));
    let waiting = [wait(), wait()];
    site.until_nodes(zk, PATH, 4).await;
    cancel();
    for thread in waiting {
        let result = site.within("the thread", thread).await;
        assert_eq!(result.expect_err("it is cancelled").kind(), ErrorKind::Cancelled);
    }
    site.until_nodes(zk, PATH, 2).await;
}

/// Tricky case 4, in tasks.
pub async fn many_tasks_on_one_lock_hold_it_in_turn<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.client().await;
    let lock = named(&zk, "shared");
    let inside = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let (lock, inside, handler) = (lock.clone(), inside.clone(), site.handler.clone());
            spawned(&site.handler, async move {
                for _ in 0..3 {
                    let guard = lock.acquire().await.expect("it waits");
                    assert_eq!(inside.fetch_add(1, Ordering::AcqRel), 0, "two hold it");
                    handler.sleep_until(handler.now() + Duration::from_millis(1)).await;
                    assert!(lock.try_acquire().await.expect("a call").is_none());
                    assert_eq!(inside.fetch_sub(1, Ordering::AcqRel), 1);
                    drop(guard);
                }
            })
        })
        .collect();
    for task in tasks {
        site.within("the task", task).await;
    }
    site.until_nodes(&zk, PATH, 0).await;
    let guard = site.ok("a free lock", lock.try_acquire()).await.expect("it is free");
    assert!(site.ok("a taken one", lock.try_acquire()).await.is_none());
    assert_eq!(site.nodes(&zk, PATH).await.len(), 1, "who does not wait leaves nothing");
    drop(guard);
}

/// Tricky case 4, in threads, in which it reads as kazoo's.
pub async fn many_threads_on_one_lock_hold_it_in_turn<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.client().await;
    let client = blocking::Client::from(zk.clone());
    let inside = Arc::new(AtomicUsize::new(0));
    let lock = Lock::new(&client, PATH);
    let threads: Vec<_> = (0..10)
        .map(|_| {
            let (lock, inside) = (lock.clone(), inside.clone());
            blocking(move || {
                let guard = lock.acquire().expect("it waits");
                assert_eq!(inside.fetch_add(1, Ordering::AcqRel), 0, "two hold it");
                assert!(lock.try_acquire().expect("a call").is_none());
                let timeout = Duration::from_millis(20);
                let error = lock.acquire_timeout(timeout).expect_err("it is held");
                assert_eq!(error.kind(), ErrorKind::Timeout);
                let write = guard.transaction().check(PATH, 0).commit().expect("an answer");
                write.committed().expect("it is held");
                assert_eq!(inside.fetch_sub(1, Ordering::AcqRel), 1);
                guard.release().expect("released");
            })
        })
        .collect();
    for thread in threads {
        site.within("the thread", thread).await;
    }
    site.until_nodes(&zk, PATH, 0).await;
}

/// Tricky case 5.
pub async fn readers_share_and_a_writer_waits_for_all<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.client().await;
    let (read, write) = (ReadLock::new(&zk, PATH), WriteLock::new(&zk, PATH));
    let first = site.ok("a reader", read.acquire()).await;
    let second = site.ok("another", read.acquire()).await;
    assert!(first.is_held() && second.is_held());
    let writer = write.acquire();
    site.until_nodes(&zk, PATH, 3).await;
    let late = read.acquire();
    site.until_nodes(&zk, PATH, 4).await;
    let last = write.acquire();
    site.until_nodes(&zk, PATH, 5).await;
    assert!(site.ok("a reader that does not wait", read.try_acquire()).await.is_none());
    let waits = async |handles: &[&AsyncResult<LockGuard>]| {
        site.moment().await;
        assert!(handles.iter().all(|handle| !handle.ready()));
    };

    // In either order of release.
    site.ok("to release", second.release()).await;
    waits(&[&writer, &late, &last]).await;
    site.ok("to release", first.release()).await;
    let guard = site.ok("the writer", writer).await;
    waits(&[&late, &last]).await;
    site.ok("to release", guard.release()).await;
    let guard = site.ok("the late reader", late).await;
    waits(&[&last]).await;
    site.ok("to release", guard.release()).await;
    site.ok("to release", site.ok("the last writer", last).await.release()).await;
    assert!(site.nodes(&zk, PATH).await.is_empty());
}

/// Readers and writers that come and go do not block each other for ever.
pub async fn readers_and_writers_all_get_their_turn<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.client().await;
    let (readers, writers) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let tasks: Vec<_> = (0..12)
        .map(|n| {
            let (zk, handler) = (zk.clone(), site.handler.clone());
            let (readers, writers) = (readers.clone(), writers.clone());
            spawned(&site.handler, async move {
                for _ in 0..4 {
                    let guard = if n % 3 == 0 {
                        let guard = WriteLock::new(&zk, PATH).acquire().await.expect("it waits");
                        assert_eq!(writers.fetch_add(1, Ordering::AcqRel), 0, "two writers");
                        assert_eq!(readers.load(Ordering::Acquire), 0, "a reader with a writer");
                        guard
                    } else {
                        let guard = ReadLock::new(&zk, PATH).acquire().await.expect("it waits");
                        readers.fetch_add(1, Ordering::AcqRel);
                        assert_eq!(writers.load(Ordering::Acquire), 0, "a writer with a reader");
                        guard
                    };
                    handler.sleep_until(handler.now() + Duration::from_millis(1)).await;
                    let side = if n % 3 == 0 { &writers } else { &readers };
                    side.fetch_sub(1, Ordering::AcqRel);
                    guard.release().await.expect("released");
                }
            })
        })
        .collect();
    for task in tasks {
        site.within("the task", task).await;
    }
    assert!(site.nodes(&zk, PATH).await.is_empty());
}

pub async fn a_lost_delete_is_made_up_for<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    for reply in [true, false] {
        let guard = held(&site, &named(&zk, "mine")).await;
        if reply {
            lose_replies(&proxy, DELETE, 1);
        } else {
            lose_requests(&proxy, DELETE, 2);
        }
        if reply {
            site.ok("to release", guard.release()).await;
        } else {
            drop(guard);
        }
        site.until_nodes(&zk, PATH, 0).await;
    }
    // A release without a connection is done when there is one.
    let guard = held(&site, &named(&zk, "mine")).await;
    site.cut_off(&zk, &proxy).await;
    drop(guard);
    site.moment().await;
    proxy.refuse(false);
    site.until_nodes(&zk, PATH, 0).await;
}

pub async fn a_holder_that_panics_releases<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.client().await;
    let guard = held(&site, &named(&zk, "panics")).await;
    let thread = std::thread::spawn(move || {
        let _held = guard;
        panic!("a holder of a test panics, as it should");
    });
    assert!(blocking(|| thread.join()).await.is_err());
    site.until_nodes(&zk, PATH, 0).await;
    assert!(held(&site, &named(&zk, "next")).await.is_held());
}

/// An acquire that is given up at any packet of it, with its connection or without, leaves nothing.
pub async fn given_up_at_any_packet_it_leaves_nothing<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (other, guard) = holder(&site).await;
    for cut in [false, true] {
        // Create, children, exists with a watch, and their replies; then the wait itself.
        for packet in 0..8 {
            // What is still to be undone passes elsewhere.
            let (proxy, zk) = site.proxied().await;
            let lock = named(&zk, "gives up");
            let handle = give_up_at(&proxy, packet, cut, || lock.acquire());
            if packet >= 6 {
                site.until_nodes(&other, PATH, 2).await;
                site.moment().await;
            } else {
                site.when("the packet", || is_given_up(&handle)).await;
            }
            drop(crate::lock(&handle).take());
            pass_all(&proxy);
            site.ok("a call after it", zk.retry(|zk| zk.exists("/"))).await;
            site.until_nodes(&other, PATH, 1).await;
        }
    }
    site.moment().await;
    let contenders = named(&other, "looks on").contenders();
    assert_eq!(site.ok("contenders", contenders).await, ["holder"]);
    site.ok("to release", guard.release()).await;

    // Nobody is before it: the last packets come with the lock itself.
    for packet in 0..4 {
        let (proxy, zk) = site.proxied().await;
        let lock = named(&zk, "gives up");
        let handle = give_up_at(&proxy, packet, false, || lock.acquire());
        site.when("the packet", || is_given_up(&handle)).await;
        pass_all(&proxy);
        site.until_nodes(&other, PATH, 0).await;
    }
    assert!(held(&site, &named(&other, "next")).await.is_held());
}

/// Each release is one event, for the one who is next.
pub async fn a_release_wakes_the_next_in_line_alone<H: Handler>(handler: H) {
    const WAITERS: usize = 20;

    let site = Site::new(handler);
    let (other, guard) = holder(&site).await;
    let (proxy, zk) = site.proxied().await;
    let mut waiting = Vec::new();
    for n in 0..WAITERS {
        waiting.push(named(&zk, &n.to_string()).acquire());
        site.until_nodes(&other, PATH, n + 2).await;
    }
    site.moment().await;
    let (events, looks) = (count_events(&proxy), count_requests(&proxy, GET_CHILDREN));
    site.ok("to release", guard.release()).await;
    for next in waiting {
        site.ok("to release", site.ok("the next", next).await.release()).await;
    }
    site.moment().await;
    // Nobody has a turn without a look: as many looks as turns are one each.
    assert_eq!(events.load(Ordering::Relaxed), WAITERS, "events of {WAITERS} releases");
    assert_eq!(looks.load(Ordering::Relaxed), WAITERS, "waiters woken by {WAITERS} releases");
}

pub async fn a_node_that_somebody_deletes_is_made_anew<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (zk, guard) = holder(&site).await;
    let waiting = named(&zk, "waiter").acquire();
    site.until_nodes(&zk, PATH, 2).await;
    let nodes = site.nodes(&zk, PATH).await;
    let mine = nodes.iter().find(|name| !guard.path().ends_with(name.as_str()));
    let mine = format!("{PATH}/{}", mine.expect("the waiter's node"));
    site.ok("to delete", zk.delete(mine, None)).await;
    site.ok("to release", guard.release()).await;
    let guard = site.ok("its turn", waiting).await;
    assert!(guard.is_held());
    // Who writes to it, as Curator does to ask for the lock, does not take it away.
    site.ok("to write", zk.set(guard.path(), b"__REVOKE__", None)).await;
    let write = guard.transaction().create("/done", b"", CreateMode::Persistent).commit();
    site.ok("an answer", write).await.committed().expect("it is held");

    // The holder's: what it writes under the lock is refused from then on.
    site.ok("to delete", zk.delete(guard.path(), None)).await;
    let write = guard.transaction().create("/never", b"", CreateMode::Persistent).commit();
    let error = site.ok("an answer", write).await.committed().expect_err("it is not held");
    assert_eq!(error.code(), Some(ErrorCode::NoNode));
    assert_eq!(site.ok("exists", zk.exists("/never")).await, None);
}

/// Names as Curator and go-zookeeper make them contend if the option says so.
pub async fn foreign_names_contend_by_an_option<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.client().await;
    site.ok("the path", zk.ensure_path(PATH)).await;
    let names = [
        "_c_8d2a3c1e-6f0b-4b57-9a44-0c2d5b1f7e90-lock-",
        "_c_3fcbb2f27b3c4f2e8f9dcd4c0a1e5b77-lock-",
    ];
    let options = LockOptions::default().identifier("ours").extra_lock_pattern("-lock-");
    for name in names {
        let foreign =
            zk.create(format!("{PATH}/{name}"), b"theirs", CreateMode::EphemeralSequential);
        let foreign = site.ok("a foreign node", foreign).await;
        site.ok("to release", held(&site, &named(&zk, "blind")).await.release()).await;
        for kind in 0..3 {
            let waiting = match kind {
                0 => Lock::with(&zk, PATH, options.clone()).acquire(),
                1 => ReadLock::with(&zk, PATH, options.clone()).acquire(),
                _ => WriteLock::with(&zk, PATH, options.clone()).acquire(),
            };
            site.until_nodes(&zk, PATH, 2).await;
            site.moment().await;
            assert!(!waiting.ready());
            let contenders = Lock::with(&zk, PATH, options.clone()).contenders();
            let contenders = site.ok("contenders", contenders).await;
            assert_eq!(contenders[0], "theirs");
            drop(waiting);
            site.until_nodes(&zk, PATH, 1).await;
        }
        let waiting = Lock::with(&zk, PATH, options.clone()).acquire();
        site.until_nodes(&zk, PATH, 2).await;
        site.ok("theirs to go", zk.delete(foreign, None)).await;
        site.ok("to release", site.ok("its turn", waiting).await.release()).await;
    }
}

/// What is in a name before its number, with what is random in it left out.
fn form(path: &str) -> String {
    let (_, name) = path.rsplit_once('/').expect("a path");
    let (before, number) = name.split_at(name.len() - 10);
    assert!(number.bytes().all(|byte| byte.is_ascii_digit()), "{name}");
    masked(before)
}

/// `text` with an `x` for everything that may be a digit of an id.
fn masked(text: &str) -> String {
    text.chars().map(|c| if matches!(c, '0'..='9' | 'a'..='f') { 'x' } else { c }).collect()
}

/// An option has nodes of another client's form, for which that client waits.
pub async fn nodes_have_the_form_that_an_option_names<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.client().await;
    let uuid = "_c_01234567-89ab-4def-8000-0123456789ab";
    let hex = format!("_c_{:032x}", 0);
    let curator = LockOptions::curator;
    let lock = site.ok("a lock", Lock::with(&zk, "/mutex", curator()).acquire()).await;
    assert_eq!(form(lock.path()), masked(&format!("{uuid}-lock-")));
    let reader = site.ok("a lock", ReadLock::with(&zk, "/sides", curator()).acquire()).await;
    assert_eq!(form(reader.path()), masked(&format!("{uuid}-__READ__")));
    let writer = WriteLock::with(&zk, "/sides", curator()).acquire();
    site.until_nodes(&zk, "/sides", 2).await;
    let late = ReadLock::with(&zk, "/sides", curator()).acquire();
    site.until_nodes(&zk, "/sides", 3).await;
    site.moment().await;
    assert!(!writer.ready() && !late.ready());
    let another = ReadLock::with(&zk, "/sides", curator().identifier("late")).contenders();
    assert_eq!(site.ok("contenders", another).await.len(), 3);
    site.ok("to release", reader.release()).await;
    let guard = site.ok("its turn", writer).await;
    assert_eq!(form(guard.path()), masked(&format!("{uuid}-__WRIT__")));
    site.moment().await;
    assert!(!late.ready());
    drop(guard);
    assert!(site.ok("its turn", late).await.is_held());

    let options = LockOptions::go_zookeeper().identifier("gopher");
    let gopher = site.ok("a lock", Lock::with(&zk, "/go", options).acquire()).await;
    assert_eq!(form(gopher.path()), masked(&format!("{hex}-lock-")));
    // Both forms of Curator's time and go-zookeeper's exclude each other.
    let beside = Lock::with(&zk, "/go", curator()).try_acquire();
    assert!(site.ok("an answer", beside).await.is_none());
    let options = LockOptions::go_zookeeper;
    for acquire in [
        ReadLock::with(&zk, "/none", options()).acquire(),
        WriteLock::with(&zk, "/none", options()).acquire(),
    ] {
        let error = site.err("what go-zookeeper does not have", acquire).await;
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains("/none is to be shared with go-zookeeper"), "{error}");
    }
    assert_eq!(site.ok("exists", zk.exists("/none")).await, None);
}

/// Curator keeps semaphores in another way: there is no contending there, and nothing is made.
pub async fn a_semaphore_of_curators_is_refused<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.client().await;
    for name in ["", "/locks", "/leases"] {
        let node = zk.create(format!("/theirs{name}"), b"", CreateMode::Persistent);
        site.ok("a node", node).await;
    }
    let semaphore = Semaphore::new(&zk, "/theirs");
    let errors = [
        site.err("a semaphore", semaphore.acquire()).await,
        site.err("a semaphore", semaphore.try_acquire()).await,
        site.err("holders", semaphore.lease_holders()).await,
        site.err("a mutex", Lock::with(&zk, "/theirs", LockOptions::curator()).acquire()).await,
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        let what = "/theirs cannot be shared with another client, such as Curator";
        assert!(error.to_string().contains(what), "{error}");
    }
    assert_eq!(site.nodes(&zk, "/theirs").await, ["leases", "locks"]);
    assert_eq!(site.ok("the data", zk.get("/theirs")).await.0, "");
    assert_eq!(site.nodes(&zk, "/").await, ["theirs"]);

    // So it is when the other client comes later, and when its nodes are those who wait.
    let held = site.ok("a lease", Semaphore::new(&zk, "/ours").acquire()).await;
    let node = "/ours/_c_8d2a3c1e-6f0b-4b57-9a44-0c2d5b1f7e90-lock-";
    let waiting = Semaphore::new(&zk, "/ours").acquire();
    site.until_nodes(&zk, "/ours-__lock__", 1).await;
    site.ok("a node", zk.create(node, b"", CreateMode::EphemeralSequential)).await;
    let error = site.err("a shared path", waiting).await;
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    site.until_nodes(&zk, "/ours-__lock__", 0).await;
    assert!(held.is_held());
}

pub async fn a_stopped_client_holds_nothing<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (zk, guard) = holder(&site).await;
    let waiting = named(&zk, "waiter").acquire();
    site.until_nodes(&zk, PATH, 2).await;
    site.ok("to stop", zk.stop()).await;
    site.within("the loss", guard.lost().happened()).await;
    assert!(!guard.is_held());
    let error = site.err("the waiter", waiting).await;
    assert_eq!(error.kind(), ErrorKind::ConnectionClosed, "{error}");
    let error = site.err("a new one", named(&zk, "late").acquire()).await;
    assert_eq!(error.kind(), ErrorKind::ConnectionClosed, "{error}");
    site.ok("to release", guard.release()).await;
    let other = site.client().await;
    assert!(site.nodes(&other, PATH).await.is_empty());
}

pub async fn what_waiting_does_not_help_is_an_error<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.client().await;
    let options = CreateOptions::persistent().acl(&zk_client::READ_ACL_UNSAFE);
    site.ok("a closed node", zk.create("/closed", b"", options)).await;
    let error = site.err("a lock there", Lock::new(&zk, "/closed").acquire()).await;
    assert_eq!(error.code(), Some(ErrorCode::NoAuth), "{error}");
    let error = site.err("a lock nowhere", Lock::new(&zk, "no path").acquire()).await;
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let deep = site.ok("a path that is made", Lock::new(&zk, "/a/b/c").acquire()).await;
    assert!(deep.is_held() && deep.path().starts_with("/a/b/c/"));
}

/// The servers tell nobody of the end of a node that he may not read: who would have to wait for it is told so
/// instead, on every version.
pub async fn who_may_not_read_a_node_does_not_wait_for_it<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let builder = site.builder().auth("digest", "ann:secret").default_acl(&CREATOR_ALL_ACL);
    let owner = site.connect(builder).await;
    let zk = site.client().await;
    site.ok("the path", zk.ensure_path(PATH)).await;
    let guard = site.ok("a lock", WriteLock::new(&owner, PATH).acquire()).await;
    for acquire in [
        Lock::new(&zk, PATH).acquire(),
        ReadLock::new(&zk, PATH).acquire(),
        WriteLock::new(&zk, PATH).acquire_timeout(LIMIT),
    ] {
        let error = site.err("a node that may not be read", acquire).await;
        assert_eq!(error.code(), Some(ErrorCode::NoAuth), "{error}");
        assert!(error.to_string().contains(guard.path()), "{error}");
    }
    assert_eq!(site.nodes(&zk, PATH).await.len(), 1);
    assert!(guard.is_held());
    // Who need not wait for it is not told.
    assert!(site.ok("taken", Lock::new(&zk, PATH).try_acquire()).await.is_none());
    site.ok("to release", guard.release()).await;
    assert!(site.ok("a free lock", Lock::new(&zk, PATH).acquire()).await.is_held());

    let semaphore = "/semaphore";
    let queue = "/semaphore-__lock__";
    for path in [semaphore, queue] {
        site.ok("the path", zk.ensure_path(path)).await;
    }
    let lease = site.ok("a lease", Semaphore::new(&owner, semaphore).acquire()).await;
    site.until_nodes(&zk, queue, 0).await;
    let waiting = Semaphore::new(&owner, semaphore).acquire();
    site.until_nodes(&zk, queue, 1).await;
    let error = site.err("a turn", Semaphore::new(&zk, semaphore).acquire()).await;
    assert_eq!(error.code(), Some(ErrorCode::NoAuth), "{error}");
    assert_eq!(site.nodes(&zk, queue).await.len(), 1);
    site.ok("to release", lease.release()).await;
    assert!(site.ok("its turn", waiting).await.is_held());
}

/// Whoever deletes a lock's node lets others in, and the holder learns of it: early, late, or when its
/// connection is back.
pub async fn a_lock_whose_node_is_deleted_is_lost<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    let other = site.client().await;
    for when in ["early", "late", "away"] {
        let guard = held(&site, &named(&zk, when)).await;
        let told = Told::by(&guard);
        if when != "early" {
            site.when("the node to be watched", || site.is_watched(guard.path())).await;
            // Other changes of the node are no loss.
            site.ok("to write", other.set(guard.path(), b"__REVOKE__", None)).await;
            site.when("the node to be watched", || site.is_watched(guard.path())).await;
        }
        if when == "away" {
            site.cut_off(&zk, &proxy).await;
        }
        assert!(!guard.lost().is_set(), "{when}");
        site.ok("to delete", other.delete(guard.path(), None)).await;
        let next = held(&site, &named(&other, "next")).await;
        proxy.refuse(false);
        site.within("the loss", guard.lost().happened()).await;
        assert!(!guard.is_held() && guard.held_for().is_zero() && next.is_held(), "{when}");
        site.within("whoever asks later", guard.suspended()).await;
        let expected: &[State] = match when {
            "away" => &[State::Suspended, State::Connected, State::Lost],
            _ => &[State::Lost],
        };
        site.when("the callback", || told.is(expected)).await;
        site.ok("to release", guard.release()).await;
        site.ok("to release", next.release()).await;
    }
    // The own release is none, be the node watched or not.
    for watched in [false, true] {
        let guard = held(&site, &named(&zk, "mine")).await;
        let told = Told::by(&guard);
        if watched {
            site.when("the node to be watched", || site.is_watched(guard.path())).await;
        }
        let clone = guard.clone();
        site.ok("to release", guard.release()).await;
        site.moment().await;
        assert!(!clone.lost().is_set() && told.is(&[]), "released, and called lost");
    }
}

/// A path that is refused is refused before anything is made of it.
pub async fn a_path_that_is_none_makes_nothing<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.client().await;
    for path in ["/l/", "/l//m", "l", "", "/l/.."] {
        let acquires = [
            Lock::new(&zk, path).acquire(),
            ReadLock::new(&zk, path).acquire(),
            WriteLock::new(&zk, path).acquire_timeout(LIMIT),
        ];
        for acquire in acquires {
            let error = site.err("a path that is none", acquire).await;
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path:?}: {error}");
        }
        let error = site.err("a path that is none", Lock::new(&zk, path).try_acquire()).await;
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path:?}: {error}");
        let semaphore = Semaphore::new(&zk, path);
        let error = site.err("a path that is none", semaphore.acquire()).await;
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path:?}: {error}");
        let error = site.err("a path that is none", semaphore.try_acquire()).await;
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path:?}: {error}");
    }
    site.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    let create = zk.create("/node/", b"", CreateOptions::persistent().protected());
    let error = site.err("a path that is none", create).await;
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(site.nodes(&zk, "/node").await.is_empty());
    assert_eq!(site.nodes(&zk, "/").await, ["node"]);
}

/// A node that the server has made goes when its acquire fails, whatever it is that has failed: where the
/// contenders cannot be listed, there is no finding it by its name.
pub async fn an_acquire_that_fails_leaves_no_node<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let owner = site.connect(site.builder().auth("digest", "ann:secret")).await;
    site.ok("a node", owner.create(PATH, b"", CreateOptions::persistent().acl(unlisted()))).await;
    let (proxy, zk) = site.proxied().await;
    let locks = |zk: &Client| {
        [
            Lock::new(zk, PATH).acquire(),
            ReadLock::new(zk, PATH).acquire(),
            WriteLock::new(zk, PATH).acquire(),
            named(zk, "hurried").acquire_timeout(LIMIT),
        ]
    };
    for acquire in locks(&zk) {
        let error = site.err("a list that may not be read", acquire).await;
        assert_eq!(error.code(), Some(ErrorCode::NoAuth), "{error}");
    }
    let error = site.err("nor if it does not wait", Lock::new(&zk, PATH).try_acquire()).await;
    assert_eq!(error.code(), Some(ErrorCode::NoAuth), "{error}");
    site.until_nodes(&owner, PATH, 0).await;

    // Nor is it found by that list when the reply to its creation is lost.
    lose_replies(&proxy, CREATE2, 1);
    let error = site.err("a list that may not be read", named(&zk, "unheard").acquire()).await;
    assert_eq!(error.code(), Some(ErrorCode::NoAuth), "{error}");
    site.until_nodes(&owner, PATH, 0).await;
    for cut in [false, true] {
        // The creation and its reply: then it is not known to be there.
        for packet in 0..2 {
            let (proxy, zk) = site.proxied().await;
            let handle = give_up_at(&proxy, packet, cut, || named(&zk, "gives up").acquire());
            site.when("the packet", || is_given_up(&handle)).await;
            pass_all(&proxy);
            site.ok("a call after it", zk.retry(|zk| zk.exists("/"))).await;
            site.until_nodes(&owner, PATH, 0).await;
        }
    }

    let many = "/many";
    site.ok("a node", owner.create(many, b"", CreateMode::Persistent)).await;
    let names = (0..20).map(|n| format!("{many}/{n:0100}"));
    for node in names {
        site.ok("a node", owner.create(node, b"", CreateMode::Persistent)).await;
    }
    let narrow = site.connect(site.builder().max_reply(1_000)).await;
    let error = site.err("a list that is too long", Lock::new(&narrow, many).acquire()).await;
    assert_eq!(error.kind(), ErrorKind::ReplyTooLarge, "{error}");
    site.until_nodes(&owner, many, 20).await;
    // Those who see all of it are not kept waiting.
    assert!(site.ok("a lock", Lock::new(&owner, PATH).acquire()).await.is_held());
    assert!(site.ok("a lock", Lock::new(&owner, many).acquire()).await.is_held());
}

/// Calls that the client does not take for now are made again, and nobody else is kept from running.
pub async fn a_full_queue_is_waited_out<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let proxy = super::site::proxy();
    let zk = site.connect(site.builder_at(proxy.address()).max_in_flight(2)).await;
    let (other, guard) = holder(&site).await;
    proxy.hold(Direction::ToClient);
    let filling = [zk.exists("/"), zk.exists("/")];
    let waiting = named(&zk, "waiter").acquire();
    let mut news = DataWatch::stream(&zk, "/");
    site.moment().await;
    assert!(!waiting.ready());
    proxy.release();
    for call in filling {
        site.ok("a call", call).await;
    }
    assert!(site.within("the news", news.changed()).await.is_some());
    site.until_nodes(&other, PATH, 2).await;
    site.ok("to release", guard.release()).await;
    assert!(site.ok("its turn", waiting).await.is_held());
}
