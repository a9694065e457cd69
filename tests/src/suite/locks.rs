//! Locks: who holds them, who is told what, and that nothing is left behind.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use zk_client::{
    AsyncResult, Client, CreateMode, Error, ErrorCode, ErrorKind, Handler, SessionState, blocking,
    recipes::{Lock, LockGuard, LockOptions, ReadLock, WriteLock},
};

use super::{
    contest::{
        CREATE2, DELETE, GET_CHILDREN, Told, count_events, count_requests, cut_off_at,
        lose_replies, lose_requests, pass_all,
    },
    site::{LIMIT, Site, blocking, spawned},
};

pub(super) const PATH: &str = "/lock";

pub(super) fn named(zk: &Client, name: &str) -> Lock {
    Lock::with(zk, PATH, LockOptions::default().identifier(name))
}

pub(super) async fn held<H: Handler>(site: &Site<H>, lock: &Lock) -> LockGuard {
    site.ok("the lock", lock.acquire()).await
}

/// A lock by a client of its own, that is held.
pub(super) async fn holder<H: Handler>(site: &Site<H>) -> (Client, LockGuard) {
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
    site.when("the callback", || told.is(&[SessionState::Suspended, SessionState::Connected]))
        .await;
    assert!(waiting.iter().all(|next| !next.ready()) && !guard.lost().is_set());
    let write = guard.transaction().create("/done", b"", CreateMode::Persistent);
    site.ok("a guarded write", write.commit()).await.committed().expect("it is held");
    drop(guard);
    for next in waiting {
        drop(site.ok("the next", next).await);
    }
    assert!(told.is(&[SessionState::Suspended, SessionState::Connected]));
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
    site.when("the callback", || told.is(&[SessionState::Suspended, SessionState::Lost])).await;
    let late = Told::by(&stale);
    site.when("a late callback", || late.is(&[SessionState::Lost])).await;
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
        let expected: &[SessionState] = match when {
            "away" => &[SessionState::Suspended, SessionState::Connected, SessionState::Lost],
            _ => &[SessionState::Lost],
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
