//! Locks: who holds them, what holders are notified of, and that no node is left.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use zk_client::{
    Acl, AsyncResult, Client, CreateMode, Error, ErrorCode, ErrorKind, Handler, Perms,
    SessionState, blocking,
    recipes::{Lock, LockGuard, LockOptions, ReadLock, WriteLock},
};

use super::{
    context::{LIMIT, TestContext},
    proxy_filters::{
        CREATE2, DELETE, GET_CHILDREN, count_events, count_requests, cut_off_at, lose_replies,
        lose_requests, pass_all,
    },
};
use crate::{
    lock,
    tasks::{spawn, spawn_blocking},
};

pub(super) const PATH: &str = "/lock";

pub(super) fn lock_with_id(zk: &Client, name: &str) -> Lock {
    Lock::with_options(zk, PATH, LockOptions::default().identifier(name))
}

pub(super) async fn acquire<H: Handler>(ctx: &TestContext<H>, lock: &Lock) -> LockGuard {
    ctx.ok("the lock", lock.acquire()).await
}

/// Acquires the lock with a new client.
pub(super) async fn acquire_as_holder<H: Handler>(ctx: &TestContext<H>) -> (Client, LockGuard) {
    let zk = ctx.client().await;
    let guard = acquire(ctx, &lock_with_id(&zk, "holder")).await;
    (zk, guard)
}

/// The states that a guard has reported.
#[derive(Clone, Default)]
pub(super) struct GuardStates(Arc<Mutex<Vec<SessionState>>>);

impl GuardStates {
    pub(super) fn record(guard: &LockGuard) -> Self {
        let recorded = Self::default();
        let list = recorded.0.clone();
        guard.on_change(move |state| lock(&list).push(state));
        recorded
    }

    pub(super) fn are(&self, states: &[SessionState]) -> bool {
        *lock(&self.0) == states
    }
}

/// An ACL that lets everybody create and delete children, and only sessions with the caller's credentials
/// list them.
pub(super) fn acl_without_read() -> [Acl; 2] {
    let others = Perms::CREATE | Perms::DELETE | Perms::WRITE;
    [Acl::new(Perms::ALL, "auth", ""), Acl::new(others, "world", "anyone")]
}

pub async fn one_client_holds_the_lock_and_others_wait_in_order<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let mut clients = Vec::new();
    let mut waiting = Vec::new();
    for n in 0..5 {
        let zk = ctx.client().await;
        let lock = lock_with_id(&zk, &n.to_string());
        waiting.push(lock.acquire());
        ctx.wait_for_children(&zk, PATH, n + 1).await;
        clients.push((zk, lock));
    }
    let contenders = ctx.ok("contenders", clients[4].1.contenders()).await;
    assert_eq!(contenders, ["0", "1", "2", "3", "4"]);
    let mut last = 0;
    for n in 0..5 {
        let guard = ctx.ok("the turn", waiting.remove(0)).await;
        assert!(guard.is_held() && guard.held_for() > Duration::ZERO && !guard.lost().is_set());
        assert!(guard.fencing_token() > last, "{} after {last}", guard.fencing_token());
        last = guard.fencing_token();
        ctx.short_wait().await;
        assert!(waiting.iter().all(|next| !next.ready()), "two hold it");
        assert_eq!(ctx.children(&clients[0].0, PATH).await.len(), 5 - n);
        let clone = guard.clone();
        ctx.ok("to release", guard.release()).await;
        assert!(!clone.is_held() && clone.held_for().is_zero());
    }
    assert!(ctx.children(&clients[0].0, PATH).await.is_empty());
    assert!(ctx.ok("contenders", clients[0].1.contenders()).await.is_empty());
}

/// A holder that is disconnected is not sure of the lock, but nobody else gets it before the session expires.
pub async fn a_disconnected_holder_keeps_the_lock_while_its_session_lives<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    let other = ctx.client().await;
    let guard = acquire(&ctx, &lock_with_id(&zk, "holder")).await;
    let states = GuardStates::record(&guard);
    let mut waiting = Vec::new();
    for n in 1..=2 {
        waiting.push(lock_with_id(&other, &n.to_string()).acquire());
        ctx.wait_for_children(&other, PATH, n + 1).await;
    }
    let suspended = spawn(&ctx.handler, guard.suspended());

    ctx.cut_off(&zk, &proxy).await;
    ctx.within("the holder to be notified", suspended).await;
    ctx.within("a later call of suspended", guard.suspended()).await;
    assert!(!guard.is_held() && !guard.lost().is_set(), "it cannot be sure");
    ctx.short_wait().await;
    assert!(waiting.iter().all(|next| !next.ready()), "another client acquired it");

    proxy.refuse(false);
    ctx.wait_until("the holder to be sure again", || guard.is_held()).await;
    ctx.wait_until("the callback", || {
        states.are(&[SessionState::Suspended, SessionState::Connected])
    })
    .await;
    assert!(waiting.iter().all(|next| !next.ready()) && !guard.lost().is_set());
    let write = guard.transaction().create("/done", b"", CreateMode::Persistent);
    ctx.ok("a guarded write", write.commit()).await.committed().expect("it is held");
    drop(guard);
    for next in waiting {
        drop(ctx.ok("the next", next).await);
    }
    assert!(states.are(&[SessionState::Suspended, SessionState::Connected]));
}

pub async fn a_holder_is_notified_when_its_session_expires<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    let other = ctx.client().await;
    ctx.ok("a node", other.create("/data", b"", CreateMode::Persistent)).await;
    let stale = acquire(&ctx, &lock_with_id(&zk, "old")).await;
    let states = GuardStates::record(&stale);
    let next = lock_with_id(&other, "new").acquire();
    ctx.wait_for_children(&other, PATH, 2).await;

    ctx.lose_session(&zk, &proxy).await;
    ctx.within("the loss", stale.lost().happened()).await;
    assert!(!stale.is_held() && stale.lost().is_set());
    ctx.wait_until("the callback", || states.are(&[SessionState::Suspended, SessionState::Lost]))
        .await;
    let late = GuardStates::record(&stale);
    ctx.wait_until("a late callback", || late.are(&[SessionState::Lost])).await;
    let guard = ctx.ok("the next holder", next).await;
    assert!(guard.fencing_token() > stale.fencing_token());

    // Writes of the old holder are refused, although the same client sends them in its new session.
    let results = stale.transaction().set("/data", b"stale", None).commit();
    let error = ctx.ok("an answer", results).await.committed().expect_err("it is not held");
    assert_eq!(error.code(), Some(ErrorCode::NoNode), "{error}");
    let results = guard.transaction().set("/data", b"fresh", None).commit();
    ctx.ok("an answer", results).await.committed().expect("it is held");
    let (data, stat) = ctx.ok("the data", other.get("/data")).await;
    assert_eq!((data.as_ref(), stat.version), (&b"fresh"[..], 1));
    // Releasing a lost lock affects no other holder.
    ctx.ok("to release", stale.release()).await;
    assert!(guard.is_held());
}

pub async fn a_waiter_whose_session_expires_queues_again<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (other, guard) = acquire_as_holder(&ctx).await;
    let (proxy, zk) = ctx.client_via_proxy().await;
    let waiting = lock_with_id(&zk, "waiter").acquire();
    ctx.wait_for_children(&other, PATH, 2).await;
    let before = ctx.children(&other, PATH).await;
    ctx.lose_session(&zk, &proxy).await;
    ctx.wait_for_children(&other, PATH, 2).await;
    assert_ne!(ctx.children(&other, PATH).await, before);
    assert!(!waiting.ready());
    ctx.ok("to release", guard.release()).await;
    let guard = ctx.ok("its turn", waiting).await;
    let stat = ctx.ok("its node", other.exists(guard.path())).await.expect("it is there");
    assert_eq!(Some(stat.ephemeral_owner), zk.session_id().map(|session| session.0));
    assert!(guard.is_held());
}

/// After a lost reply, the client looks for its node before it creates another one.
pub async fn a_lost_create_reply_makes_one_node<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    ctx.ok("the path", zk.ensure_path(PATH)).await;
    for heard in [true, false] {
        let creates = if heard {
            lose_replies(&proxy, CREATE2, 1)
        } else {
            lose_requests(&proxy, CREATE2, 1)
        };
        let guard = acquire(&ctx, &lock_with_id(&zk, "mine")).await;
        let sent = creates.load(Ordering::Relaxed);
        assert_eq!(sent, if heard { 1 } else { 2 }, "it looks before it makes another");
        assert_eq!(ctx.children(&zk, PATH).await.len(), 1);
        assert!(guard.is_held());
        ctx.ok("to release", guard.release()).await;
        assert!(ctx.children(&zk, PATH).await.is_empty());
    }
}

/// A node of another session is not adopted, even if its name matches.
pub async fn a_node_of_another_session_is_not_adopted<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let other = ctx.client().await;
    ctx.ok("the path", other.ensure_path(PATH)).await;
    let (proxy, zk) = ctx.client_via_proxy().await;
    let proxy = Arc::new(proxy);
    let told = cut_off_at(&proxy, CREATE2);
    let waiting = lock_with_id(&zk, "mine").acquire();
    let id = spawn_blocking(move || told.recv_timeout(LIMIT).expect("it makes its node")).await;
    let id = id.strip_prefix(ctx.root()).expect("a path below the root").to_owned();
    let imposture = other.create(&id, b"impostor", CreateMode::EphemeralSequential);
    let imposture = ctx.ok("a node of that name", imposture).await;
    pass_all(&proxy);
    proxy.refuse(false);
    ctx.wait_for_children(&other, PATH, 2).await;
    ctx.short_wait().await;
    assert!(!waiting.ready(), "it holds by the node of another");
    ctx.ok("to delete", other.delete(&imposture, None)).await;
    assert!(ctx.ok("its turn", waiting).await.is_held());
}

/// Timeout, cancel and drop all delete the waiter's node, and let others move up.
pub async fn a_waiter_that_gives_up_leaves_no_node<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    for way in ["timeout", "cancel", "drop"] {
        let (zk, guard) = acquire_as_holder(&ctx).await;
        let lock = lock_with_id(&zk, "gives up");
        let timeout = Duration::from_millis(if way == "timeout" { 300 } else { 60_000 });
        let begun = Instant::now();
        let leaver = lock.acquire_timeout(timeout);
        ctx.wait_for_children(&zk, PATH, 2).await;
        let next = lock_with_id(&zk, "next").acquire();
        ctx.wait_for_children(&zk, PATH, 3).await;
        match way {
            "timeout" => {
                let error = ctx.err("it takes too long", leaver).await;
                assert!(begun.elapsed() >= timeout, "{:?}", begun.elapsed());
                assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
                assert!(error.to_string().contains(PATH), "{error}");
            }
            "cancel" => {
                assert!(leaver.cancel() && leaver.cancelled());
                let error = ctx.err("it is cancelled", leaver).await;
                assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
            }
            _ => drop(leaver),
        }
        ctx.wait_for_children(&zk, PATH, 2).await;
        ctx.short_wait().await;
        assert!(!next.ready() && guard.is_held(), "{way}");
        ctx.ok("to release", guard.release()).await;
        ctx.ok("to release", ctx.ok("the next", next).await.release()).await;
        assert!(ctx.children(&zk, PATH).await.is_empty(), "{way}");
        // The lock object can be used again.
        let again = acquire(&ctx, &lock).await;
        ctx.ok("to release", again.release()).await;
    }
}

/// `cancel` ends the acquires that wait on the same lock object, and no other ones.
pub async fn a_waiting_thread_can_be_cancelled<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (zk, guard) = acquire_as_holder(&ctx).await;
    let client = blocking::Client::from(zk.clone());
    let lock = blocking::recipes::Lock::new(&client, PATH);
    let read = blocking::recipes::ReadLock::new(&client, PATH);
    let write = blocking::recipes::WriteLock::new(&client, PATH);
    let other = lock_with_id(&zk, "by another object").acquire();
    ctx.wait_for_children(&zk, PATH, 2).await;
    let (one, two, three) = (lock.clone(), read.clone(), write.clone());
    cancel_threads(&ctx, &zk, move || one.acquire(), || lock.cancel()).await;
    cancel_threads(&ctx, &zk, move || two.acquire(), || read.cancel()).await;
    cancel_threads(&ctx, &zk, move || three.acquire(), || write.cancel()).await;
    ctx.short_wait().await;
    assert!(!other.ready() && guard.is_held(), "neither was to be cancelled");

    let again = lock.clone();
    let again = spawn(&ctx.handler, spawn_blocking(move || again.acquire()));
    ctx.wait_for_children(&zk, PATH, 3).await;
    ctx.ok("to release", guard.release()).await;
    ctx.ok("to release", ctx.ok("its turn", other).await.release()).await;
    let held = ctx.within("a later acquire", again).await.expect("it is not cancelled");
    lock.cancel();
    ctx.short_wait().await;
    assert!(held.is_held(), "it does not wait any more");
}

/// Starts two threads that wait behind two other contenders, and cancels both.
async fn cancel_threads<H: Handler>(
    ctx: &TestContext<H>,
    zk: &Client,
    acquire: impl Fn() -> Result<blocking::recipes::LockGuard, Error> + Clone + Send + 'static,
    cancel: impl Fn(),
) {
    let wait = || spawn(&ctx.handler, spawn_blocking(acquire.clone()));
    let waiting = [wait(), wait()];
    ctx.wait_for_children(zk, PATH, 4).await;
    cancel();
    for thread in waiting {
        let result = ctx.within("the thread", thread).await;
        assert_eq!(result.expect_err("it is cancelled").kind(), ErrorKind::Cancelled);
    }
    ctx.wait_for_children(zk, PATH, 2).await;
}

/// Tasks that share one lock object exclude each other.
pub async fn tasks_sharing_one_lock_hold_it_in_turn<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let lock = lock_with_id(&zk, "shared");
    let inside = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let (lock, inside, handler) = (lock.clone(), inside.clone(), ctx.handler.clone());
            spawn(&ctx.handler, async move {
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
        ctx.within("the task", task).await;
    }
    ctx.wait_for_children(&zk, PATH, 0).await;
    let guard = ctx.ok("a free lock", lock.try_acquire()).await.expect("it is free");
    assert!(ctx.ok("a taken one", lock.try_acquire()).await.is_none());
    assert_eq!(ctx.children(&zk, PATH).await.len(), 1, "who does not wait leaves nothing");
    drop(guard);
}

/// Threads that share one lock object exclude each other.
pub async fn threads_sharing_one_lock_hold_it_in_turn<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let client = blocking::Client::from(zk.clone());
    let inside = Arc::new(AtomicUsize::new(0));
    let lock = blocking::recipes::Lock::new(&client, PATH);
    let threads: Vec<_> = (0..10)
        .map(|_| {
            let (lock, inside) = (lock.clone(), inside.clone());
            spawn_blocking(move || {
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
        ctx.within("the thread", thread).await;
    }
    ctx.wait_for_children(&zk, PATH, 0).await;
}

/// A writer waits for all earlier readers, and later readers wait for the writer.
pub async fn readers_share_the_lock_and_a_writer_waits_for_all<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let (read, write) = (ReadLock::new(&zk, PATH), WriteLock::new(&zk, PATH));
    let first = ctx.ok("a reader", read.acquire()).await;
    let second = ctx.ok("another", read.acquire()).await;
    assert!(first.is_held() && second.is_held());
    let writer = write.acquire();
    ctx.wait_for_children(&zk, PATH, 3).await;
    let late = read.acquire();
    ctx.wait_for_children(&zk, PATH, 4).await;
    let last = write.acquire();
    ctx.wait_for_children(&zk, PATH, 5).await;
    assert!(ctx.ok("a reader that does not wait", read.try_acquire()).await.is_none());
    let waits = async |handles: &[&AsyncResult<LockGuard>]| {
        ctx.short_wait().await;
        assert!(handles.iter().all(|handle| !handle.ready()));
    };

    // The order of release does not matter.
    ctx.ok("to release", second.release()).await;
    waits(&[&writer, &late, &last]).await;
    ctx.ok("to release", first.release()).await;
    let guard = ctx.ok("the writer", writer).await;
    waits(&[&late, &last]).await;
    ctx.ok("to release", guard.release()).await;
    let guard = ctx.ok("the late reader", late).await;
    waits(&[&last]).await;
    ctx.ok("to release", guard.release()).await;
    ctx.ok("to release", ctx.ok("the last writer", last).await.release()).await;
    assert!(ctx.children(&zk, PATH).await.is_empty());
}

/// Readers and writers that come and go all acquire the lock in the end.
pub async fn readers_and_writers_all_get_their_turn<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let (readers, writers) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let tasks: Vec<_> = (0..12)
        .map(|n| {
            let (zk, handler) = (zk.clone(), ctx.handler.clone());
            let (readers, writers) = (readers.clone(), writers.clone());
            spawn(&ctx.handler, async move {
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
        ctx.within("the task", task).await;
    }
    assert!(ctx.children(&zk, PATH).await.is_empty());
}

pub async fn a_lost_delete_is_retried<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    for reply in [true, false] {
        let guard = acquire(&ctx, &lock_with_id(&zk, "mine")).await;
        if reply {
            lose_replies(&proxy, DELETE, 1);
        } else {
            lose_requests(&proxy, DELETE, 2);
        }
        if reply {
            ctx.ok("to release", guard.release()).await;
        } else {
            drop(guard);
        }
        ctx.wait_for_children(&zk, PATH, 0).await;
    }
    // A release while disconnected is done after the reconnect.
    let guard = acquire(&ctx, &lock_with_id(&zk, "mine")).await;
    ctx.cut_off(&zk, &proxy).await;
    drop(guard);
    ctx.short_wait().await;
    proxy.refuse(false);
    ctx.wait_for_children(&zk, PATH, 0).await;
}

pub async fn a_panicking_holder_releases_the_lock<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let guard = acquire(&ctx, &lock_with_id(&zk, "panics")).await;
    let thread = std::thread::spawn(move || {
        let _held = guard;
        panic!("a holder of a test panics, as it should");
    });
    assert!(spawn_blocking(|| thread.join()).await.is_err());
    ctx.wait_for_children(&zk, PATH, 0).await;
    assert!(acquire(&ctx, &lock_with_id(&zk, "next")).await.is_held());
}

/// Each release sends one event, to the next waiter only.
pub async fn a_release_wakes_only_the_next_waiter<H: Handler>(handler: H) {
    const WAITERS: usize = 20;

    let ctx = TestContext::new(handler);
    let (other, guard) = acquire_as_holder(&ctx).await;
    let (proxy, zk) = ctx.client_via_proxy().await;
    let mut waiting = Vec::new();
    for n in 0..WAITERS {
        waiting.push(lock_with_id(&zk, &n.to_string()).acquire());
        ctx.wait_for_children(&other, PATH, n + 2).await;
    }
    ctx.short_wait().await;
    let (events, looks) = (count_events(&proxy), count_requests(&proxy, GET_CHILDREN));
    ctx.ok("to release", guard.release()).await;
    for next in waiting {
        ctx.ok("to release", ctx.ok("the next", next).await.release()).await;
    }
    ctx.short_wait().await;
    // Each waiter lists the contenders once when it is woken.
    assert_eq!(events.load(Ordering::Relaxed), WAITERS, "events of {WAITERS} releases");
    assert_eq!(looks.load(Ordering::Relaxed), WAITERS, "waiters woken by {WAITERS} releases");
}

pub async fn a_waiter_recreates_its_deleted_node<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (zk, guard) = acquire_as_holder(&ctx).await;
    let waiting = lock_with_id(&zk, "waiter").acquire();
    ctx.wait_for_children(&zk, PATH, 2).await;
    let nodes = ctx.children(&zk, PATH).await;
    let mine = nodes.iter().find(|name| !guard.path().ends_with(name.as_str()));
    let mine = format!("{PATH}/{}", mine.expect("the waiter's node"));
    ctx.ok("to delete", zk.delete(mine, None)).await;
    ctx.ok("to release", guard.release()).await;
    let guard = ctx.ok("its turn", waiting).await;
    assert!(guard.is_held());
    // A write to the node, as Curator does to request a revocation, does not release the lock.
    ctx.ok("to write", zk.set(guard.path(), b"__REVOKE__", None)).await;
    let write = guard.transaction().create("/done", b"", CreateMode::Persistent).commit();
    ctx.ok("an answer", write).await.committed().expect("it is held");

    // If the holder's node is deleted, its guarded writes are refused from then on.
    ctx.ok("to delete", zk.delete(guard.path(), None)).await;
    let write = guard.transaction().create("/never", b"", CreateMode::Persistent).commit();
    let error = ctx.ok("an answer", write).await.committed().expect_err("it is not held");
    assert_eq!(error.code(), Some(ErrorCode::NoNode));
    assert_eq!(ctx.ok("exists", zk.exists("/never")).await, None);
}

pub async fn a_stopped_client_holds_no_lock<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (zk, guard) = acquire_as_holder(&ctx).await;
    let waiting = lock_with_id(&zk, "waiter").acquire();
    ctx.wait_for_children(&zk, PATH, 2).await;
    ctx.ok("to stop", zk.stop()).await;
    ctx.within("the loss", guard.lost().happened()).await;
    assert!(!guard.is_held());
    let error = ctx.err("the waiter", waiting).await;
    assert_eq!(error.kind(), ErrorKind::ConnectionClosed, "{error}");
    let error = ctx.err("a new one", lock_with_id(&zk, "late").acquire()).await;
    assert_eq!(error.kind(), ErrorKind::ConnectionClosed, "{error}");
    ctx.ok("to release", guard.release()).await;
    let other = ctx.client().await;
    assert!(ctx.children(&other, PATH).await.is_empty());
}

/// If the holder's node is deleted, others can acquire the lock, and the holder is notified: before its node
/// is watched, later, or after a reconnect.
pub async fn a_lock_whose_node_is_deleted_is_lost<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    let other = ctx.client().await;
    for when in ["early", "late", "away"] {
        let guard = acquire(&ctx, &lock_with_id(&zk, when)).await;
        let states = GuardStates::record(&guard);
        if when != "early" {
            ctx.wait_until("the node to be watched", || ctx.is_watched(guard.path())).await;
            // Other changes of the node do not lose the lock.
            ctx.ok("to write", other.set(guard.path(), b"__REVOKE__", None)).await;
            ctx.wait_until("the node to be watched", || ctx.is_watched(guard.path())).await;
        }
        if when == "away" {
            ctx.cut_off(&zk, &proxy).await;
        }
        assert!(!guard.lost().is_set(), "{when}");
        ctx.ok("to delete", other.delete(guard.path(), None)).await;
        let next = acquire(&ctx, &lock_with_id(&other, "next")).await;
        proxy.refuse(false);
        ctx.within("the loss", guard.lost().happened()).await;
        assert!(!guard.is_held() && guard.held_for().is_zero() && next.is_held(), "{when}");
        ctx.within("a later call of suspended", guard.suspended()).await;
        let expected: &[SessionState] = match when {
            "away" => &[SessionState::Suspended, SessionState::Connected, SessionState::Lost],
            _ => &[SessionState::Lost],
        };
        ctx.wait_until("the callback", || states.are(expected)).await;
        ctx.ok("to release", guard.release()).await;
        ctx.ok("to release", next.release()).await;
    }
    // The holder's own release is not reported as a loss, whether or not the node is watched.
    for watched in [false, true] {
        let guard = acquire(&ctx, &lock_with_id(&zk, "mine")).await;
        let states = GuardStates::record(&guard);
        if watched {
            ctx.wait_until("the node to be watched", || ctx.is_watched(guard.path())).await;
        }
        let clone = guard.clone();
        ctx.ok("to release", guard.release()).await;
        ctx.short_wait().await;
        assert!(!clone.lost().is_set() && states.are(&[]), "released, and called lost");
    }
}
