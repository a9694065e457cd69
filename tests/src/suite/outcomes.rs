//! What errors say of the requests that failed, held against what the server has done.

use std::{collections::HashSet, time::Duration};

use zk_client::{
    Client, CreateMode, Error, ErrorCode, ErrorKind, Handler, Outcome, Retry, recipes::Lock,
};

use super::site::{Site, proxy};
use crate::{Direction, Verdict};

/// The kinds of errors of which a way is known to bring them about.
#[derive(Default)]
struct Sweep(HashSet<ErrorKind>);

impl Sweep {
    /// Takes in an error that must be of this kind and outcome. `applied` is what the server has done.
    #[track_caller]
    fn saw(&mut self, error: &Error, kind: ErrorKind, outcome: Option<Outcome>, applied: bool) {
        assert_eq!((error.kind(), error.outcome()), (kind, outcome), "{error}");
        let may_be = match outcome {
            Some(Outcome::NotSent | Outcome::Refused) => !applied,
            Some(Outcome::Applied) => applied,
            _ => true,
        };
        assert!(may_be, "{error}, and the server has {}", if applied { "done it" } else { "not" });
        if let Some(outcome) = outcome.filter(|outcome| *outcome != Outcome::Refused) {
            assert!(error.to_string().ends_with(&format!("({outcome})")), "{error}");
        }
        self.0.insert(kind);
    }
}

/// How often the data of `/node` were set, by what has come to the server before this.
async fn version<H: Handler>(site: &Site<H>, zk: &Client) -> i32 {
    site.ok("exists", zk.exists("/node")).await.expect("a node").version
}

pub async fn an_error_of_a_request_says_what_became_of_it<H: Handler>(handler: H) {
    use Outcome::{Applied, NotSent, Refused, Unknown};

    let site = Site::new(handler);
    let other = site.client().await;
    site.ok("a node", other.create("/node", b"", CreateMode::Persistent)).await;
    let mut sweep = Sweep::default();
    let set = |zk: &Client| zk.set("/node", b"x", None);

    // Refused, by the server and here.
    let error = site.err("a version", other.set("/node", b"x", 7)).await;
    let applied = version(&site, &other).await > 0;
    sweep.saw(&error, ErrorKind::Server(ErrorCode::BadVersion), Some(Refused), applied);
    let error = site.err("a path", other.set("node", b"x", None)).await;
    sweep.saw(&error, ErrorKind::InvalidInput, Some(NotSent), version(&site, &other).await > 0);
    let plan = other.transaction().set("/node", b"x", None).delete("/missing", None);
    let results = site.ok("a transaction", plan.commit()).await;
    let first = results[0].clone().expect_err("it was rolled back");
    sweep.saw(&first, ErrorKind::RolledBack, Some(Refused), version(&site, &other).await > 0);
    let small = site.connect(site.builder().max_request(60).max_in_flight(8)).await;
    let error = site.err("a request", small.set("/node", [0; 60], None)).await;
    sweep.saw(&error, ErrorKind::RequestTooLarge, Some(NotSent), version(&site, &other).await > 0);

    // Never sent.
    let idle = site.build(site.builder());
    let error = site.err("before the start", set(&idle)).await;
    sweep.saw(&error, ErrorKind::ConnectionClosed, Some(NotSent), version(&site, &other).await > 0);
    let proxy = proxy();
    let zk = site.connect(site.builder_at(proxy.address()).max_in_flight(1)).await;
    site.cut_off(&zk, &proxy).await;
    let queued = set(&zk);
    let error = site.err("one too many", set(&zk)).await;
    sweep.saw(&error, ErrorKind::QueueFull, Some(NotSent), version(&site, &other).await > 0);
    site.ok("to stop", zk.stop()).await;
    let error = site.err("what was queued", queued).await;
    sweep.saw(&error, ErrorKind::ConnectionClosed, Some(NotSent), version(&site, &other).await > 0);

    // Done, and the answer is of no use.
    let tiny = site.connect(site.builder().max_reply(60)).await;
    let error = site.err("a reply", set(&tiny)).await;
    sweep.saw(&error, ErrorKind::ReplyTooLarge, Some(Applied), version(&site, &other).await == 1);

    // Sent, and no answer.
    proxy.refuse(false);
    let zk = site.connect(site.builder_at(proxy.address())).await;
    proxy.on_frame(Direction::ToClient, |_| Verdict::Cut);
    let error = site.err("a lost answer", set(&zk)).await;
    proxy.on_frame(Direction::ToClient, |_| Verdict::Pass);
    sweep.saw(&error, ErrorKind::ConnectionLoss, Some(Unknown), version(&site, &other).await == 2);

    // Given up: in flight, and before it is sent, which it is all the same.
    site.ok("to be back", zk.exists("/")).await;
    proxy.hold(Direction::ToClient);
    let call = set(&zk);
    site.within("it is done", async { while version(&site, &other).await < 3 {} }).await;
    assert!(call.cancel());
    let error = site.err("given up", call).await;
    sweep.saw(&error, ErrorKind::Cancelled, Some(Unknown), true);
    proxy.release();
    site.cut_off(&zk, &proxy).await;
    let call = set(&zk);
    assert!(call.cancel());
    let error = site.err("given up", call).await;
    proxy.refuse(false);
    site.ok("to be back", zk.exists("/")).await;
    sweep.saw(&error, ErrorKind::Cancelled, Some(Unknown), version(&site, &other).await == 4);

    // A retry that is told to stop tells what became of the last try.
    let full = site.build(site.builder().max_in_flight(0));
    drop(full.start());
    let policy = Retry::default().max_tries(None).interrupt(|| true);
    let error = site.err("a retry", policy.call(&full, |zk| zk.set("/node", b"x", None))).await;
    sweep.saw(&error, ErrorKind::Interrupted, Some(NotSent), version(&site, &other).await > 4);

    assert_eq!(sweep.0.len(), 10, "{:?}", sweep.0);
}

pub async fn an_error_of_no_request_has_no_outcome<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.client().await;
    let mut sweep = Sweep::default();
    let error = site.builder().session_timeout(Duration::ZERO);
    let error = error.build_on(site.handler.clone()).expect_err("no timeout");
    sweep.saw(&error, ErrorKind::InvalidInput, None, false);
    let error = zk.with_chroot("below").expect_err("no path");
    sweep.saw(&error, ErrorKind::InvalidInput, None, false);

    // Words of four letters.
    let error = site.err("no word", zk.command("five!")).await;
    sweep.saw(&error, ErrorKind::InvalidInput, None, false);
    let idle = site.build(site.builder());
    let error = site.err("a word without a connection", idle.command("ruok")).await;
    sweep.saw(&error, ErrorKind::ConnectionClosed, None, false);

    // Starts.
    let nowhere = proxy();
    nowhere.refuse(true);
    let builder = site.builder_at(nowhere.address()).connect_timeout(Duration::from_millis(100));
    let error = site.err("a start", site.build(builder).start()).await;
    sweep.saw(&error, ErrorKind::Timeout, None, false);
    let start = site.build(site.builder()).start();
    start.cancel();
    sweep.saw(&site.err("a start", start).await, ErrorKind::Cancelled, None, false);

    // Locks.
    let _held = site.ok("a lock", Lock::new(&zk, "/lock").acquire()).await;
    let lock = Lock::new(&zk, "/lock");
    let error = site.err("a wait", lock.acquire_timeout(Duration::from_millis(50))).await;
    sweep.saw(&error, ErrorKind::Timeout, None, false);
    let waiting = lock.acquire();
    waiting.cancel();
    sweep.saw(&site.err("a wait", waiting).await, ErrorKind::Cancelled, None, false);

    sweep.saw(&Error::try_again("why not"), ErrorKind::TryAgain, None, false);

    // Watches.
    let (_, watch) = site.ok("a watch", zk.exists_and_watch("/lock")).await;
    site.ok("to stop", zk.stop()).await;
    sweep.saw(&site.err("its end", watch).await, ErrorKind::ConnectionClosed, None, false);
}
