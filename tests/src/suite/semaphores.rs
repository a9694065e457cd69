//! Semaphores: how many leases are held, and that no node is left.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use zk_client::{
    Client, CreateMode, CreateOptions, ErrorCode, ErrorKind, Handler, OPEN_ACL_UNSAFE,
    SessionState, blocking,
    recipes::{Lease, Semaphore, SemaphoreOptions},
};

use super::{
    context::{LIMIT, TestContext},
    locks::acl_without_read,
    proxy_filters::{
        GET_CHILDREN2, MULTI, count_requests, give_up_at, is_given_up, lose_replies, lose_requests,
        pass_all,
    },
};
use crate::{
    lock,
    tasks::{spawn, spawn_blocking},
};

const PATH: &str = "/semaphore";
/// Where contenders wait for their turn to take a lease.
const TURNS: &str = "/semaphore-__lock__";

fn of(zk: &Client, leases: usize) -> Semaphore {
    let options = SemaphoreOptions::default().max_leases(leases);
    Semaphore::with_options(zk, PATH, options.identifier(format!("one of {leases}")))
}

async fn lease<H: Handler>(ctx: &TestContext<H>, semaphore: &Semaphore) -> Lease {
    ctx.ok("a lease", semaphore.acquire()).await
}

pub async fn at_most_max_leases_are_held<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (zk, other) = (ctx.client().await, ctx.client().await);
    let first = lease(&ctx, &of(&zk, 2)).await;
    let second = lease(&ctx, &of(&other, 2)).await;
    assert!(first.is_held() && second.is_held());
    assert!(ctx.ok("no third", of(&zk, 2).try_acquire()).await.is_none());
    let timeout = Duration::from_millis(100);
    let error = ctx.err("no third", of(&zk, 2).acquire_timeout(timeout)).await;
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    let waiting = [of(&zk, 2).acquire(), of(&other, 2).acquire()];
    ctx.wait_for_children(&zk, TURNS, 2).await;
    let holders = ctx.ok("holders", of(&zk, 2).lease_holders()).await;
    assert_eq!(holders, ["one of 2"; 2]);
    let (data, _) = ctx.ok("the number", zk.get(PATH)).await;
    assert_eq!(data.as_ref(), b"2");

    ctx.ok("to release", first.release()).await;
    ctx.wait_for_children(&zk, TURNS, 1).await;
    ctx.short_wait().await;
    assert_eq!(waiting.iter().filter(|handle| handle.ready()).count(), 1);
    assert_eq!(ctx.children(&zk, PATH).await.len(), 2);
    drop(second);
    for next in waiting {
        ctx.ok("to release", ctx.ok("its turn", next).await.release()).await;
    }
    ctx.wait_for_children(&zk, TURNS, 0).await;
    assert!(ctx.children(&zk, PATH).await.is_empty());
    let lease = ctx.ok("a free one", of(&zk, 2).try_acquire()).await.expect("it is free");
    assert!(lease.is_held());
}

pub async fn many_tasks_and_threads_share_the_leases<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let inside = Arc::new(AtomicUsize::new(0));
    let enter = |inside: &AtomicUsize| {
        assert!(inside.fetch_add(1, Ordering::AcqRel) < 3, "more than three");
    };
    let tasks: Vec<_> = (0..6)
        .map(|_| {
            let (semaphore, inside, handler) = (of(&zk, 3), inside.clone(), ctx.handler.clone());
            spawn(&ctx.handler, async move {
                for _ in 0..3 {
                    let lease = semaphore.acquire().await.expect("it waits");
                    enter(&inside);
                    handler.sleep_until(handler.now() + Duration::from_millis(1)).await;
                    inside.fetch_sub(1, Ordering::AcqRel);
                    drop(lease);
                }
            })
        })
        .collect();
    let client = blocking::Client::from(zk.clone());
    let options = SemaphoreOptions::default().max_leases(3);
    let semaphore = blocking::recipes::Semaphore::with_options(&client, PATH, options);
    let count = inside.clone();
    let thread = spawn_blocking(move || {
        for _ in 0..3 {
            let lease = semaphore.acquire().expect("it waits");
            enter(&count);
            count.fetch_sub(1, Ordering::AcqRel);
            lease.release().expect("released");
        }
    });
    ctx.within("the thread", thread).await;
    for task in tasks {
        ctx.within("the task", task).await;
    }
    ctx.wait_for_children(&zk, PATH, 0).await;
}

pub async fn a_waiting_thread_can_be_cancelled<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let held = lease(&ctx, &of(&zk, 1)).await;
    let client = blocking::Client::from(zk.clone());
    let semaphore = blocking::recipes::Semaphore::new(&client, PATH);
    let wait = || {
        let semaphore = semaphore.clone();
        spawn(&ctx.handler, spawn_blocking(move || semaphore.acquire()))
    };
    let waiting = [wait(), wait()];
    ctx.wait_for_children(&zk, TURNS, 2).await;
    semaphore.cancel();
    for thread in waiting {
        let result = ctx.within("the thread", thread).await;
        assert_eq!(result.expect_err("it is cancelled").kind(), ErrorKind::Cancelled);
    }
    ctx.wait_for_children(&zk, TURNS, 0).await;
    assert!(held.is_held());

    let again = wait();
    ctx.wait_for_children(&zk, TURNS, 1).await;
    ctx.ok("to release", held.release()).await;
    let again = ctx.within("a later acquire", again).await.expect("it is not cancelled");
    semaphore.cancel();
    ctx.short_wait().await;
    assert!(again.is_held(), "it does not wait any more");
}

/// An acquire with another number of leases fails. Foreign data in the node are kept.
pub async fn all_contenders_agree_on_the_number_of_leases<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let held = lease(&ctx, &of(&zk, 2)).await;
    for acquire in [of(&zk, 3).acquire(), Semaphore::new(&zk, PATH).acquire()] {
        let error = ctx.err("another number", acquire).await;
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains("has 2 leases"), "{error}");
    }
    let error = ctx.err("another number", of(&zk, 3).try_acquire()).await;
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(held.is_held());
    drop(held);
    ctx.wait_for_children(&zk, PATH, 0).await;

    // Other data in the node are ignored and kept.
    for data in ["somebody's", "\u{2028}", "12 monkeys", "-1"] {
        ctx.ok("other data", zk.set(PATH, data, None)).await;
        ctx.ok("to release", lease(&ctx, &of(&zk, 5)).await.release()).await;
        let (now, _) = ctx.ok("the data", zk.get(PATH)).await;
        assert_eq!(now, data);
    }
    // The number is written to an empty node.
    ctx.ok("no data", zk.set(PATH, b"", None)).await;
    ctx.ok("to release", lease(&ctx, &of(&zk, 4)).await.release()).await;
    assert_eq!(ctx.ok("the data", zk.get(PATH)).await.0, "4");
    // The number is written to a new node.
    ctx.ok("to delete", zk.delete(PATH, None)).await;
    ctx.ok("to release", lease(&ctx, &of(&zk, 6)).await.release()).await;
    assert_eq!(ctx.ok("the data", zk.get(PATH)).await.0, "6");
}

/// A lease ends with its session, and the next waiter gets it.
pub async fn a_lease_is_lost_with_its_session<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    let other = ctx.client().await;
    let stale = lease(&ctx, &of(&zk, 1)).await;
    let waiting = of(&other, 1).acquire();
    ctx.wait_for_children(&other, TURNS, 1).await;
    ctx.lose_session(&zk, &proxy).await;
    ctx.within("the loss", stale.lost().happened()).await;
    assert!(!stale.is_held());
    let next = ctx.ok("the next", waiting).await;
    // A waiter whose session is lost queues again.
    let waiting = of(&zk, 1).acquire();
    ctx.wait_for_children(&other, TURNS, 1).await;
    ctx.lose_session(&zk, &proxy).await;
    ctx.wait_for_children(&other, TURNS, 1).await;
    assert!(!waiting.ready());
    ctx.ok("to release", next.release()).await;
    assert!(ctx.ok("its turn", waiting).await.is_held());
    drop(stale);
}

pub async fn a_lost_reply_makes_one_lease<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    for heard in [true, false] {
        let sent =
            if heard { lose_replies(&proxy, MULTI, 1) } else { lose_requests(&proxy, MULTI, 1) };
        let mut states = zk.states();
        let held = lease(&ctx, &of(&zk, 2)).await;
        ctx.expect_states(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
        assert_eq!(sent.load(Ordering::Relaxed), 2);
        assert_eq!(ctx.children(&zk, PATH).await.len(), 1);
        assert!(held.is_held());
        ctx.ok("to release", held.release()).await;
        assert!(ctx.children(&zk, PATH).await.is_empty());
    }
    pass_all(&proxy);
}

/// An acquire that is dropped at any of its packets leaves no node, whether or not its connection is cut.
pub async fn an_acquire_given_up_at_any_packet_leaves_no_node<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let other = ctx.client().await;
    ctx.ok("to release", lease(&ctx, &of(&other, 1)).await.release()).await;
    for cut in [false, true] {
        // The number of leases, the turn, the children, the lease and its check, with their replies.
        for packet in 0..12 {
            // Each round uses a new connection, because the cleanup of the last one still sends packets.
            let (proxy, zk) = ctx.client_via_proxy().await;
            let handle = give_up_at(&proxy, packet, cut, || of(&zk, 1).acquire());
            ctx.wait_until("the packet", || is_given_up(&handle)).await;
            drop(lock(&handle).take());
            pass_all(&proxy);
            ctx.ok("a call after it", zk.retry(|zk| zk.exists("/"))).await;
            ctx.wait_for_children(&other, TURNS, 0).await;
            ctx.wait_for_children(&other, PATH, 0).await;
        }
    }
    ctx.short_wait().await;
    assert!(ctx.children(&other, PATH).await.is_empty());
    assert!(lease(&ctx, &of(&other, 1)).await.is_held());
}

/// A contender that has lost its turn without knowing takes no lease.
pub async fn a_lease_is_taken_only_in_turn<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let [(proxy, zk), (others, other)] =
        [ctx.client_via_proxy().await, ctx.client_via_proxy().await];
    for _ in 0..5 {
        let held = lease(&ctx, &of(&zk, 1)).await;
        ctx.wait_for_children(&zk, TURNS, 0).await; // its own turn is over
        let reads = [&proxy, &others].map(|proxy| count_requests(proxy, GET_CHILDREN2));
        let looks = |who: usize| reads[who].load(Ordering::Relaxed) > 0;
        let mut waiting = vec![of(&zk, 1).acquire()];
        ctx.wait_for_children(&zk, TURNS, 1).await;
        let turn = format!("{TURNS}/{}", ctx.children(&zk, TURNS).await[0]);
        waiting.push(of(&other, 1).acquire());
        ctx.wait_for_children(&zk, TURNS, 2).await;
        ctx.wait_until("the first to look for a lease", || looks(0)).await;
        ctx.ok("to delete the turn", zk.delete(turn, None)).await;
        ctx.wait_until("both to think that it is their turn", || looks(1)).await;
        ctx.ok("to release", held.release()).await;
        ctx.wait_until("one of them", || waiting.iter().any(|handle| handle.ready())).await;
        ctx.short_wait().await;
        assert_eq!(waiting.iter().filter(|handle| handle.ready()).count(), 1);
        assert_eq!(ctx.children(&zk, PATH).await.len(), 1);
        waiting.sort_by_key(|handle| !handle.ready());
        for handle in waiting {
            ctx.ok("to release", ctx.ok("the lease", handle).await.release()).await;
        }
        ctx.wait_for_children(&zk, TURNS, 0).await;
    }
}

/// The same as for [a lock](super::lock_failures::a_failed_acquire_leaves_no_node).
pub async fn a_failed_acquire_leaves_no_node<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let owner = ctx.connect(ctx.builder().auth("digest", "ann:secret")).await;
    ctx.ok("a node", owner.create(TURNS, b"", CreateOptions::persistent().acl(acl_without_read())))
        .await;
    let zk = ctx.client().await;
    let error = ctx.err("turns that may not be read", of(&zk, 3).acquire()).await;
    assert_eq!(error.code(), Some(ErrorCode::NoAuth), "{error}");
    ctx.wait_for_children(&owner, TURNS, 0).await;
    assert!(ctx.children(&owner, PATH).await.is_empty());

    ctx.ok("all may read", owner.set_acls(TURNS, &OPEN_ACL_UNSAFE, None)).await;
    for n in 0..20 {
        let lease = format!("{PATH}/{n:0100}");
        ctx.ok("a lease", owner.create(lease, b"", CreateMode::Persistent)).await;
    }
    let narrow = ctx.connect(ctx.builder().max_reply(1_000)).await;
    for acquire in [of(&narrow, 3).acquire(), of(&narrow, 3).acquire_timeout(LIMIT)] {
        let error = ctx.err("a list that is too long", acquire).await;
        assert_eq!(error.kind(), ErrorKind::ReplyTooLarge, "{error}");
    }
    ctx.wait_for_children(&owner, TURNS, 0).await;
    assert_eq!(ctx.children(&owner, PATH).await.len(), 20);
}

/// `try_acquire` still waits for its turn while there are free leases, so that all free leases are taken.
pub async fn all_free_leases_can_be_acquired_at_once<H: Handler>(handler: H) {
    const TRIES: usize = 200;

    let ctx = TestContext::new(handler);
    let (zk, other) = (ctx.client().await, ctx.client().await);
    for free in 1..=3 {
        // One lease is taken and kept.
        let kept = lease(&ctx, &of(&zk, free + 1)).await;
        let tries: Vec<_> = (0..TRIES)
            .map(|n| of(if n % 2 == 0 { &zk } else { &other }, free + 1).try_acquire())
            .collect();
        let mut got = Vec::new();
        for attempt in tries {
            got.extend(ctx.ok("an answer", attempt).await);
        }
        assert_eq!(got.len(), free, "of {TRIES}");
        assert_eq!(ctx.children(&zk, PATH).await.len(), free + 1);
        // A `try_acquire` does not wait behind a contender that waits for a lease.
        ctx.wait_for_children(&zk, TURNS, 0).await;
        let waiting = of(&zk, free + 1).acquire();
        ctx.wait_for_children(&zk, TURNS, 1).await;
        ctx.short_wait().await;
        assert!(ctx.ok("none", of(&other, free + 1).try_acquire()).await.is_none());
        drop((waiting, kept, got));
        ctx.wait_for_children(&zk, TURNS, 0).await;
        ctx.wait_for_children(&zk, PATH, 0).await;
        ctx.ok("another number", zk.set(PATH, b"", None)).await;
    }
}

pub async fn a_lease_whose_node_is_deleted_is_lost<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (zk, other) = (ctx.client().await, ctx.client().await);
    let held = lease(&ctx, &of(&zk, 1)).await;
    ctx.ok("to delete", other.delete(held.path(), None)).await;
    ctx.within("the loss", held.lost().happened()).await;
    assert!(!held.is_held());
    assert!(lease(&ctx, &of(&other, 1)).await.is_held());
}
