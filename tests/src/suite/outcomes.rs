//! The outcomes of errors, compared with what the server has done.

use std::{collections::HashSet, time::Duration};

use zk_client::{
    Client, CreateMode, Error, ErrorCode, ErrorKind, Handler, Outcome, Retry, recipes::Lock,
};

use super::{context::TestContext, shared_server::new_proxy};
use crate::{Direction, FrameAction};

/// The error kinds that the test has seen.
#[derive(Default)]
struct SeenKinds(HashSet<ErrorKind>);

impl SeenKinds {
    /// Checks the kind and the outcome of an error. `applied` says whether the server has applied the write.
    #[track_caller]
    fn saw(&mut self, error: &Error, kind: ErrorKind, outcome: Option<Outcome>, applied: bool) {
        assert_eq!((error.kind(), error.outcome()), (kind, outcome), "{error}");
        let may_be = match outcome {
            Some(Outcome::NotSent | Outcome::NotApplied) => !applied,
            Some(Outcome::Applied) => applied,
            _ => true,
        };
        assert!(may_be, "{error}, and the server has {}", if applied { "done it" } else { "not" });
        if let Some(outcome) = outcome.filter(|outcome| *outcome != Outcome::NotApplied) {
            assert!(error.to_string().ends_with(&format!("({outcome})")), "{error}");
        }
        self.0.insert(kind);
    }
}

/// The data version of `/node`, after all requests that the server has received before.
async fn version<H: Handler>(ctx: &TestContext<H>, zk: &Client) -> i32 {
    ctx.ok("exists", zk.exists("/node")).await.expect("a node").version
}

pub async fn an_error_of_a_request_has_its_outcome<H: Handler>(handler: H) {
    use Outcome::{Applied, NotApplied, NotSent, Unknown};

    let ctx = TestContext::new(handler);
    let other = ctx.client().await;
    ctx.ok("a node", other.create("/node", b"", CreateMode::Persistent)).await;
    let mut kinds = SeenKinds::default();
    let set = |zk: &Client| zk.set("/node", b"x", None);

    // Refused by the server, and by the client.
    let error = ctx.err("a version", other.set("/node", b"x", 7)).await;
    let applied = version(&ctx, &other).await > 0;
    kinds.saw(&error, ErrorKind::Server(ErrorCode::BadVersion), Some(NotApplied), applied);
    let error = ctx.err("a path", other.set("node", b"x", None)).await;
    kinds.saw(&error, ErrorKind::InvalidInput, Some(NotSent), version(&ctx, &other).await > 0);
    let plan = other.transaction().set("/node", b"x", None).delete("/missing", None);
    let results = ctx.ok("a transaction", plan.commit()).await;
    let first = results[0].clone().expect_err("it was rolled back");
    kinds.saw(&first, ErrorKind::RolledBack, Some(NotApplied), version(&ctx, &other).await > 0);
    let small = ctx.connect(ctx.builder().max_request(60).max_in_flight(8)).await;
    let error = ctx.err("a request", small.set("/node", [0; 60], None)).await;
    kinds.saw(&error, ErrorKind::RequestTooLarge, Some(NotSent), version(&ctx, &other).await > 0);

    // Not sent.
    let idle = ctx.build(ctx.builder());
    let error = ctx.err("before the start", set(&idle)).await;
    kinds.saw(&error, ErrorKind::ConnectionClosed, Some(NotSent), version(&ctx, &other).await > 0);
    let proxy = new_proxy();
    let zk = ctx.connect(ctx.builder_at(proxy.address()).max_in_flight(1)).await;
    ctx.cut_off(&zk, &proxy).await;
    let queued = set(&zk);
    let error = ctx.err("one too many", set(&zk)).await;
    kinds.saw(&error, ErrorKind::QueueFull, Some(NotSent), version(&ctx, &other).await > 0);
    ctx.ok("to stop", zk.stop()).await;
    let error = ctx.err("what was queued", queued).await;
    kinds.saw(&error, ErrorKind::ConnectionClosed, Some(NotSent), version(&ctx, &other).await > 0);

    // Applied, but the reply is too large.
    let tiny = ctx.connect(ctx.builder().max_reply(60)).await;
    let error = ctx.err("a reply", set(&tiny)).await;
    kinds.saw(&error, ErrorKind::ReplyTooLarge, Some(Applied), version(&ctx, &other).await == 1);

    // Sent, but no reply.
    proxy.refuse(false);
    let zk = ctx.connect(ctx.builder_at(proxy.address())).await;
    // The client has already checked its chroot, so the lost reply is that of the write.
    ctx.ok("to settle", zk.exists("/")).await;
    proxy.on_frame(Direction::ToClient, |_| FrameAction::Cut);
    let error = ctx.err("a lost answer", set(&zk)).await;
    proxy.on_frame(Direction::ToClient, |_| FrameAction::Pass);
    kinds.saw(&error, ErrorKind::ConnectionLoss, Some(Unknown), version(&ctx, &other).await == 2);

    // Cancelled in flight, and before it is sent; it is sent nevertheless.
    ctx.ok("to be back", zk.exists("/")).await;
    proxy.hold(Direction::ToClient);
    let call = set(&zk);
    ctx.within("it is done", async { while version(&ctx, &other).await < 3 {} }).await;
    assert!(call.cancel());
    let error = ctx.err("given up", call).await;
    kinds.saw(&error, ErrorKind::Cancelled, Some(Unknown), true);
    proxy.release();
    ctx.cut_off(&zk, &proxy).await;
    let call = set(&zk);
    assert!(call.cancel());
    let error = ctx.err("given up", call).await;
    proxy.refuse(false);
    ctx.ok("to be back", zk.exists("/")).await;
    kinds.saw(&error, ErrorKind::Cancelled, Some(Unknown), version(&ctx, &other).await == 4);

    // An interrupted retry has the outcome of its last attempt.
    let full = ctx.build(ctx.builder().max_in_flight(0));
    drop(full.start());
    let policy = Retry::default().max_tries(None).interrupt(|| true);
    let error = ctx.err("a retry", policy.call(&full, |zk| zk.set("/node", b"x", None))).await;
    kinds.saw(&error, ErrorKind::Interrupted, Some(NotSent), version(&ctx, &other).await > 4);

    assert_eq!(kinds.0.len(), 10, "{:?}", kinds.0);
}

pub async fn an_error_without_a_request_has_no_outcome<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let mut kinds = SeenKinds::default();
    let error = ctx.builder().session_timeout(Duration::ZERO);
    let error = error.build_on(ctx.handler.clone()).expect_err("no timeout");
    kinds.saw(&error, ErrorKind::InvalidInput, None, false);
    let error = zk.with_chroot("below").expect_err("no path");
    kinds.saw(&error, ErrorKind::InvalidInput, None, false);

    // Four-letter words.
    let error = ctx.err("no word", zk.four_letter_word("five!")).await;
    kinds.saw(&error, ErrorKind::InvalidInput, None, false);
    let idle = ctx.build(ctx.builder());
    let error = ctx.err("a word without a connection", idle.four_letter_word("ruok")).await;
    kinds.saw(&error, ErrorKind::ConnectionClosed, None, false);

    // Starts.
    let nowhere = new_proxy();
    nowhere.refuse(true);
    let builder = ctx.builder_at(nowhere.address()).connect_timeout(Duration::from_millis(100));
    let error = ctx.err("a start", ctx.build(builder).start()).await;
    kinds.saw(&error, ErrorKind::Timeout, None, false);
    let start = ctx.build(ctx.builder()).start();
    start.cancel();
    kinds.saw(&ctx.err("a start", start).await, ErrorKind::Cancelled, None, false);

    // Locks.
    let _held = ctx.ok("a lock", Lock::new(&zk, "/lock").acquire()).await;
    let lock = Lock::new(&zk, "/lock");
    let error = ctx.err("a wait", lock.acquire_timeout(Duration::from_millis(50))).await;
    kinds.saw(&error, ErrorKind::Timeout, None, false);
    let waiting = lock.acquire();
    waiting.cancel();
    kinds.saw(&ctx.err("a wait", waiting).await, ErrorKind::Cancelled, None, false);

    kinds.saw(&Error::try_again("why not"), ErrorKind::TryAgain, None, false);

    // Watches.
    let (_, watch) = ctx.ok("a watch", zk.exists_and_watch("/lock")).await;
    ctx.ok("to stop", zk.stop()).await;
    kinds.saw(&ctx.err("its end", watch).await, ErrorKind::ConnectionClosed, None, false);
}

pub async fn an_error_says_what_is_wrong_and_what_to_do<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    ctx.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    let says = |error: &Error, parts: &[&str]| {
        let text = error.to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "{text}: {parts:?}");
    };
    says(&ctx.err("get", zk.get("/none")).await, &["get /none on ", "node does not exist"]);
    says(&ctx.err("names", zk.get_children("/none")).await, &["get_children /none"]);
    says(&ctx.err("an ACL", zk.get_acls("/none")).await, &["get_acls /none"]);
    let error = ctx.err("set", zk.set("/node", b"", 7)).await;
    says(&error, &["set /node", "version does not match: 7 was expected"]);
    let error = ctx.err("delete", zk.delete("/node", 8)).await;
    says(&error, &["delete /node", "8 was expected"]);
    let create = zk.create("/none/node", b"", CreateMode::Persistent);
    let parent = ["create /none/node", "the parent /none does not exist", "makepath"];
    says(&ctx.err("create", create).await, &parent);
    let plan = zk.transaction().check("/node", 9).commit();
    let error = ctx.ok("a transaction", plan).await.committed().expect_err("another version");
    says(&error, &["check /node", "9 was expected"]);
    let plan = zk.transaction().create("/none/node", b"", CreateMode::Persistent).commit();
    let error = ctx.ok("a transaction", plan).await.committed().expect_err("no parent");
    says(&error, &parent);

    // Below a chroot that does not exist.
    let below = zk.with_chroot("/gone").expect("a path");
    let chroot = [&*format!("the chroot {}/gone does not exist", ctx.root()), "ensure_path"];
    says(&ctx.err("get", below.get("/")).await, &chroot);
    let create = below.create("/node", b"", CreateMode::Persistent);
    says(&ctx.err("create", create).await, &chroot);
    says(&ctx.err("get", below.get("/node")).await, &["below the chroot", "/gone"]);

    // Under a lost lock.
    let held = ctx.ok("a lock", Lock::new(&zk, "/lock").acquire()).await;
    ctx.ok("another's delete", zk.delete(held.path(), None)).await;
    let plan = held.transaction().set("/node", b"", None).commit();
    let error = ctx.ok("a transaction", plan).await.committed().expect_err("it is lost");
    says(&error, &["no longer held"]);
    assert_eq!(error.code(), Some(ErrorCode::NoNode));

    // Not started, and closed.
    let idle = ctx.build(ctx.builder());
    says(&ctx.err("get", idle.get("/")).await, &["not started"]);
    ctx.ok("to stop", zk.stop()).await;
    says(&ctx.err("get", zk.get("/")).await, &["closed"]);

    // A refused credential is named by its scheme.
    let zk = ctx.client().await;
    let error = ctx.err("a credential", zk.add_auth("nonesuch", "canary")).await;
    says(&error, &["add_auth", "scheme nonesuch"]);
    assert!(!error.to_string().contains("canary"));
}

pub async fn an_error_has_its_cause<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let find = |error: &Error, what: &str| {
        let mut source = std::error::Error::source(error);
        let mut chain = Vec::new();
        while let Some(error) = source {
            chain.push(error.to_string());
            if error.is::<std::io::Error>() || error.is::<zk_proto::PathError>() {
                return;
            }
            source = error.source();
        }
        panic!("{what}: {error}: {chain:?}");
    };
    let proxy = new_proxy();
    let zk = ctx.connect(ctx.builder_at(proxy.address())).await;
    find(&ctx.err("a path", zk.get("no path")).await, "a path");
    proxy.hold(Direction::ToServer);
    let call = zk.get("/");
    proxy.refuse(true);
    proxy.cut_rst();
    find(&ctx.err("a reset", call).await, "a reset");
    let builder = ctx.builder_at(proxy.address()).connect_timeout(Duration::from_millis(300));
    find(&ctx.err("a start", ctx.build(builder).start()).await, "a refusal");
}
