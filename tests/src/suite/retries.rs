//! Which calls are retried, how often, and the calls that find out whether they were applied.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use zk_client::{
    Client, CreateMode, CreateOptions, Error, ErrorCode, ErrorKind, Handler, Outcome, Retry,
    blocking,
};

use super::{
    context::{LIMIT, TestContext},
    proxy_filters::{
        CREATE2, DELETE, EXISTS, SET_DATA, cut_off_at, lose_replies, lose_requests, pass_all,
    },
};
use crate::{Direction, tasks::spawn_blocking};

/// A policy with a short delay.
fn quick() -> Retry {
    Retry::default().max_tries(5).delay(Duration::from_millis(1))
}

/// A call that always fails with a retryable error, and counts its attempts.
fn counted(
    tries: &Arc<AtomicUsize>,
) -> impl Fn(&Client) -> std::future::Ready<Result<(), Error>> + use<> {
    let tries = tries.clone();
    move |_| {
        tries.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Err(Error::try_again("not yet")))
    }
}

pub async fn reads_are_retried<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    let sent = lose_replies(&proxy, EXISTS, 3);
    ctx.ok("a read", zk.retry(|zk| zk.exists("/"))).await.expect("it is there");
    assert_eq!(sent.load(Ordering::Relaxed), 4);
    // A default policy makes one attempt; the policy of the client has no limit.
    let sent = lose_replies(&proxy, EXISTS, 1);
    let once = Retry::default().call(&zk, |zk| zk.exists("/"));
    assert_eq!(ctx.err("one try", once).await.kind(), ErrorKind::ConnectionLoss);
    assert_eq!(sent.load(Ordering::Relaxed), 1);
    // Reads that fail because their session expires are retried too.
    pass_all(&proxy);
    ctx.cut_off(&zk, &proxy).await;
    ctx.expire_session(&zk).await;
    let patient = zk.retry(|zk| zk.exists("/"));
    let strict = quick().ignore_expire(false).call(&zk, |zk| zk.exists("/"));
    proxy.refuse(false);
    assert_eq!(ctx.err("no other session", strict).await.kind(), ErrorKind::SessionExpired);
    ctx.ok("another session", patient).await;
}

pub async fn writes_are_retried_only_if_not_applied<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    ctx.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    let sent = lose_replies(&proxy, SET_DATA, 1);
    let set = quick().call(&zk, |zk| zk.set("/node", b"once", None));
    let error = ctx.err("a write of unknown outcome", set).await;
    assert_eq!((error.outcome(), sent.load(Ordering::Relaxed)), (Some(Outcome::Unknown), 1));
    let sent = lose_replies(&proxy, SET_DATA, 2);
    let set = quick().unknown(true).call(&zk, |zk| zk.set("/node", b"again", None));
    let stat = ctx.ok("a write that may be done again", set).await;
    assert_eq!((stat.version, sent.load(Ordering::Relaxed)), (4, 3));
    // A write that the server refuses is not retried.
    let sent = lose_replies(&proxy, SET_DATA, 0);
    let error = ctx.err("refused", zk.retry(|zk| zk.set("/node", b"", 99))).await;
    assert_eq!((error.code(), sent.load(Ordering::Relaxed)), (Some(ErrorCode::BadVersion), 1));
}

pub async fn a_retry_stops_at_its_limits<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    for most in [1, 3] {
        let tries = Arc::new(AtomicUsize::new(0));
        let error = ctx.err("tries", quick().max_tries(most).call(&zk, counted(&tries))).await;
        assert_eq!(error.kind(), ErrorKind::TryAgain);
        assert_eq!(tries.load(Ordering::Relaxed), most as usize);
    }
    let tries = Arc::new(AtomicUsize::new(0));
    let forever = Retry::default().max_tries(None).delay(Duration::from_millis(20)).backoff(1.0);
    let deadline = Duration::from_millis(200);
    let begun = Instant::now();
    ctx.err("a deadline", forever.clone().deadline(deadline).call(&zk, counted(&tries))).await;
    assert!(begun.elapsed() >= deadline / 2 && tries.load(Ordering::Relaxed) > 2);

    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let interrupt = move || count.fetch_add(1, Ordering::Relaxed) == 3;
    let interrupted = forever.clone().interrupt(interrupt).call(&zk, counted(&tries));
    assert_eq!(ctx.err("an interrupt", interrupted).await.kind(), ErrorKind::Interrupted);

    let endless = forever.call(&zk, counted(&tries));
    assert!(endless.cancel());
    assert_eq!(ctx.err("cancelled", endless).await.kind(), ErrorKind::Cancelled);
    drop(forever.call(&zk, counted(&tries)));
    ctx.short_wait().await;
    let before = tries.load(Ordering::Relaxed);
    ctx.short_wait().await;
    assert_eq!(tries.load(Ordering::Relaxed), before, "a retry continues");
}

pub async fn threads_can_retry<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    let sent = lose_replies(&proxy, EXISTS, 2);
    let client = blocking::Client::from(zk);
    let tries = spawn_blocking(move || {
        client.retry(|zk| zk.exists("/")).expect("it goes on");
        let mut tries = 0;
        let done = quick().call_blocking(&client, |zk| {
            tries += 1;
            let children = zk.get_children("/")?;
            if tries < 3 { Err(Error::try_again("not yet")) } else { Ok(children) }
        });
        done.expect("the third time");
        let error = quick().call_blocking(&client, |_| Err::<(), _>(Error::try_again("never")));
        assert_eq!(error.expect_err("five times").kind(), ErrorKind::TryAgain);
        tries
    });
    assert_eq!(ctx.within("the thread", tries).await, 3);
    assert_eq!(sent.load(Ordering::Relaxed), 3);
}

/// A protected create finds its node after a lost reply.
pub async fn a_protected_create_makes_one_node<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    let modes = [
        CreateOptions::persistent(),
        CreateOptions::ephemeral(),
        CreateOptions::persistent().sequence(),
        CreateOptions::ephemeral().sequence(),
    ];
    ctx.ok("a node", zk.create("/top", b"", CreateMode::Persistent)).await;
    for (n, options) in modes.into_iter().enumerate() {
        for lose in [lose_replies, lose_requests] {
            let sent = lose(&proxy, CREATE2, 1);
            let create = zk.create(format!("/top/node{n}-"), b"data", options.clone().protected());
            let path = ctx.ok("a create", create).await;
            let name = path.strip_prefix("/top/_c_").expect("Curator's prefix");
            let (uuid, name) = name.split_at(36);
            assert!(uuid.split('-').map(str::len).eq([8, 4, 4, 4, 12]), "{uuid}");
            assert!(name.starts_with(&format!("-node{n}-")), "{name}");
            assert!(sent.load(Ordering::Relaxed) <= 2);
            assert_eq!(ctx.children(&zk, "/top").await, [path.strip_prefix("/top/").expect("it")]);
            assert_eq!(ctx.ok("the data", zk.get(&path)).await.0, "data");
            ctx.ok("to delete", zk.delete(&path, None)).await;
        }
    }
    // With its parents and its stat, while each reply is lost in turn.
    lose_replies(&proxy, CREATE2, 2);
    let options = CreateOptions::ephemeral().makepath().protected();
    let (path, stat) = ctx.ok("deep", zk.create_with_stat("/a/b/c", b"", options)).await;
    assert!(path.starts_with("/a/b/_c_") && path.ends_with("-c"));
    assert_eq!(ctx.ok("its stat", zk.exists(&path)).await, Some(stat));
    assert_eq!(ctx.children(&zk, "/a/b").await.len(), 1);
    pass_all(&proxy);

    let twice = [0; 2].map(|_| zk.create("/same", b"", CreateOptions::persistent().protected()));
    let [one, two] = twice;
    assert_ne!(ctx.ok("one", one).await, ctx.ok("two", two).await);
    let refused = zk.transaction().create("/t", b"", CreateOptions::persistent().protected());
    assert_eq!(ctx.err("refused", refused.commit()).await.kind(), ErrorKind::InvalidInput);
    let error = ctx.err("refused", zk.create("no", b"", CreateOptions::persistent().protected()));
    assert_eq!(error.await.kind(), ErrorKind::InvalidInput);
    let options = CreateOptions::persistent().protected();
    let error = ctx.err("no parent", zk.create("/none/node", b"", options)).await;
    assert_eq!(error.code(), Some(ErrorCode::NoNode));
}

pub async fn a_protected_create_ignores_nodes_of_other_sessions<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let other = ctx.client().await;
    let (proxy, zk) = ctx.client_via_proxy().await;
    let proxy = Arc::new(proxy);
    let received = cut_off_at(&proxy, CREATE2);
    let options = CreateOptions::ephemeral().sequence().protected();
    let create = zk.create_with_stat("/mine-", b"", &options);
    let path = spawn_blocking(move || received.recv_timeout(LIMIT).expect("it is sent")).await;
    let path = path.strip_prefix(ctx.root()).expect("a path below the root");
    let imposture = other.create(path, b"", CreateMode::EphemeralSequential);
    let imposture = ctx.ok("a node of that name", imposture).await;
    pass_all(&proxy);
    proxy.refuse(false);
    let (path, stat) = ctx.ok("its own", create).await;
    assert_ne!(path, imposture);
    assert_eq!(Some(stat.ephemeral_owner), zk.session_id().map(|session| session.0));
}

/// A protected ephemeral node is deleted with its session, and the call fails.
pub async fn a_protected_create_fails_if_its_session_expires<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    let other = ctx.client().await;
    ctx.ok("a node", zk.create("/top", b"", CreateMode::Persistent)).await;
    proxy.hold(Direction::ToClient);
    let create = zk.create("/top/mine", b"", CreateOptions::ephemeral().protected());
    ctx.wait_for_children(&other, "/top", 1).await;
    ctx.cut_off(&zk, &proxy).await;
    proxy.release();
    ctx.expire_session(&zk).await;
    proxy.refuse(false);
    let error = ctx.err("a create in a session that expires", create).await;
    // The lookup of the node failed because the session had expired, so the outcome of the create is unknown.
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::SessionExpired, Some(Outcome::Unknown)),
        "{error}"
    );
    let path = error.path().expect("a path");
    assert!(path.starts_with("/top/_c_") && path.ends_with("-mine"), "{error}");
    assert!(ctx.children(&zk, "/top").await.is_empty());
}

pub async fn set_and_check_reports_whether_it_was_applied<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    let other = ctx.client().await;
    ctx.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    // Applied, but the reply is lost.
    lose_replies(&proxy, SET_DATA, 1);
    let stat = ctx.ok("a set", zk.set_and_check("/node", b"1", 0)).await;
    assert_eq!(ctx.ok("the stat", zk.exists("/node")).await, Some(stat));
    assert_eq!(stat.version, 1);
    // Not applied.
    lose_requests(&proxy, SET_DATA, 1);
    let error = ctx.err("a set", zk.set_and_check("/node", b"2", 1)).await;
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::ConnectionLoss, Some(Outcome::NotSent))
    );
    assert!(error.to_string().contains("not done"), "{error}");
    // So it can be retried until it is applied once.
    lose_requests(&proxy, SET_DATA, 2);
    let stat = quick().call(&zk, |zk| zk.set_and_check("/node", b"2", 1));
    assert_eq!(ctx.ok("a set", stat).await.version, 2);
    // If another client wrote in between, its write stays.
    pass_all(&proxy);
    proxy.hold(Direction::ToServer);
    let set = zk.set_and_check("/node", b"3", 2);
    ctx.ok("another's", other.set("/node", b"theirs", 2)).await;
    ctx.cut_off(&zk, &proxy).await;
    proxy.release();
    proxy.refuse(false);
    assert_eq!(ctx.err("a set", set).await.outcome(), Some(Outcome::NotSent));
    assert_eq!(ctx.ok("the data", zk.get("/node")).await.0, "theirs");
    // If another client wrote later, or deleted the node, the outcome is unknown.
    for gone in [false, true] {
        let version = ctx.ok("exists", zk.exists("/node")).await.expect("it is there").version;
        proxy.hold(Direction::ToClient);
        let set = zk.set_and_check("/node", b"mine", version);
        ctx.within("the set to be done", async {
            while other.exists("/node").await.expect("a call").expect("a node").version == version {
                ctx.short_wait().await;
            }
        })
        .await;
        ctx.cut_off(&zk, &proxy).await;
        proxy.release();
        if gone {
            ctx.ok("another's", other.delete("/node", None)).await;
        } else {
            ctx.ok("another's", other.set("/node", b"theirs", None)).await;
        }
        proxy.refuse(false);
        let error = ctx.err("a set", set).await;
        assert_eq!(error.outcome(), Some(Outcome::Unknown), "{error}");
    }
    pass_all(&proxy);
    let error = ctx.err("any version", zk.set_and_check("/node", b"", -1)).await;
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let error = ctx.err("no node", zk.set_and_check("/node", b"", 0)).await;
    assert_eq!(error.code(), Some(ErrorCode::NoNode));
}

pub async fn delete_and_check_reports_whether_it_was_applied<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    ctx.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    lose_requests(&proxy, DELETE, 1);
    let error = ctx.err("a delete", zk.delete_and_check("/node", 0)).await;
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::ConnectionLoss, Some(Outcome::NotSent))
    );
    lose_requests(&proxy, DELETE, 2);
    ctx.ok("a delete", quick().call(&zk, |zk| zk.delete_and_check("/node", None))).await;
    assert_eq!(ctx.ok("exists", zk.exists("/node")).await, None);
    pass_all(&proxy);
    ctx.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    let sent = lose_replies(&proxy, DELETE, 1);
    ctx.ok("a delete", zk.delete_and_check("/node", 0)).await;
    assert_eq!(sent.load(Ordering::Relaxed), 1);
    let error = ctx.err("what is gone", zk.delete_and_check("/node", None)).await;
    assert_eq!(error.code(), Some(ErrorCode::NoNode));
}
