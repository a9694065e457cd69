//! Sessions that expire or move.

use super::*;

/// The only server has lost its data and all sessions. It closes the connections of clients that have seen a
/// later zxid than its own. The session is lost, and a new one begins.
pub async fn a_session_is_lost_when_its_server_loses_its_data<H: Handler>(handler: H) {
    let ctx = EnsembleContext::of(handler, Options::default(), 1).await;
    let timeout = Duration::from_secs(2);
    let zk = ctx.connect(ctx.hosts(0), timeout).await;
    let session = zk.session_id();
    for n in 0..5 {
        zk.create(format!("/{n}"), b"", CreateMode::Persistent).await.expect("it is new");
    }
    let (_, watch) = zk.exists_and_watch("/0").await.expect("it is there");
    let mut changes = ctx.changes(&zk);
    ctx.with_ensemble(|ensemble| {
        ensemble.node(0).wipe();
        ensemble.node(0).start();
        ensemble.wait_serving();
    })
    .await;
    let wiped = Instant::now();
    changes.expect(&[Suspended, Lost, Connected]).await;
    let took = wiped.elapsed();
    print_measurement("a wiped server (connected after)", took);
    // The time until the session counts as lost, plus the time that a member may take to catch up.
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_ne!(zk.session_id(), session);
    let error = watch.await.expect_err("the session is gone");
    assert_eq!(error.kind(), ErrorKind::SessionExpired);
    assert_eq!(zk.exists("/0").await.expect("it serves"), None);
}

/// A session expires while its client is disconnected. It is reported as lost once, its queued calls and its
/// watches fail, and a new session begins.
pub async fn an_expired_session_is_replaced<H: Handler>(handler: H) {
    let ctx = EnsembleContext::new(handler).await;
    let node = ctx.follower().await;
    let zk = ctx.connect(ctx.proxy_hosts(node), LONG).await;
    let mut changes = ctx.changes(&zk);
    let ticket = zk.client_id().expect("there is a session");
    zk.create("/mine", b"", CreateMode::Ephemeral).await.expect("the node is new");
    zk.create("/top", b"", CreateMode::Persistent).await.expect("the node is new");
    let armed = ArmedWatch::all(&zk, "/top/watches").await;

    ctx.refuse(true);
    ctx.proxies()[node].cut_rst();
    changes.expect(&[Suspended]).await;
    let queued = [zk.set("/top", b"1", None), zk.set("/top", b"2", None)];
    let read = zk.get("/top");
    assert!(queued.iter().all(|call| !call.ready()));
    let (id, password) = (ticket.id.0, ticket.password.expose().clone());
    ctx.with_ensemble(move |ensemble| ensemble.expire_session(id, &password)).await;
    ctx.refuse(false);

    changes.expect(&[Lost, Connected]).await;
    assert_ne!(zk.session_id(), Some(ticket.id));
    for call in queued {
        assert_expired(call.await.expect_err("its session is gone"), Outcome::NotSent);
    }
    assert_expired(read.await.expect_err("its session is gone"), Outcome::NotSent);
    for armed in armed {
        assert_unwatched(&ctx, armed.watch).await;
    }
    let (data, stat) = zk.get("/top").await.expect("the new session works");
    assert_eq!((data.as_ref(), stat.version), (&b""[..], 0));
    assert_eq!(zk.exists("/mine").await.expect("the new session works"), None);
    // A second time while it is connected. The server closes the connection.
    let ticket = zk.client_id().expect("there is a session");
    let (_, watch) = zk.exists_and_watch("/mine").await.expect("the new session works");
    let (id, password) = (ticket.id.0, ticket.password.expose().clone());
    ctx.with_ensemble(move |ensemble| ensemble.expire_session(id, &password)).await;
    let seen = ctx.within("the new session", new_session(&mut changes)).await;
    assert_eq!(seen.iter().filter(|state| **state == Lost).count(), 1, "{seen:?}");
    assert_unwatched(&ctx, watch).await;
    assert_ne!(zk.session_id(), Some(ticket.id));
    zk.stop().await.expect("the client stops");
    assert_eq!(changes.drain(), [Lost]);
}

/// The changes up to the connection after a loss. The harness resumes a session before it closes it, and the
/// client may take it back in between.
async fn new_session<H: Handler>(changes: &mut StateChanges<'_, H>) -> Vec<SessionState> {
    let mut seen = changes.until(Lost).await;
    seen.extend(changes.until(Connected).await);
    seen
}

fn assert_expired(error: zk_client::Error, outcome: Outcome) {
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::SessionExpired, Some(outcome)),
        "{error}"
    );
}

async fn assert_unwatched<H: Handler>(ctx: &EnsembleContext<H>, watch: Watch) {
    let end = ctx.within("a watch", watch).await;
    assert_eq!(end.expect_err("its session is gone").kind(), ErrorKind::SessionExpired);
}

/// The network drops everything. If that lasts for 0.9 of the session timeout T, the session is suspended
/// after two thirds of T and then resumed. If it lasts longer than T, the session is suspended in the same
/// way, and lost as soon as a server can report it.
pub async fn a_silent_network_suspends_the_session<H: Handler>(handler: H) {
    const TIMEOUT: Duration = Duration::from_secs(8);

    let ctx = EnsembleContext::new(handler).await;
    let node = ctx.follower().await;
    let zk = ctx.connect(ctx.proxy_hosts(node), TIMEOUT).await;
    let other = ctx.connect(ctx.hosts((node + 1) % 3), LONG).await;
    let mut changes = ctx.changes(&zk);
    let session = ephemeral_owner(&zk);
    zk.create("/mine", b"", CreateMode::Ephemeral).await.expect("the node is new");

    let held = Instant::now();
    ctx.hold();
    changes.expect(&[Suspended]).await;
    let suspended = held.elapsed();
    let at = held + TIMEOUT * 9 / 10;
    ctx.sleep(at.saturating_duration_since(Instant::now())).await;
    assert_eq!(changes.drain(), []);
    ctx.release();
    changes.expect(&[Connected]).await;
    print_measurement(
        "silence for 0.9 T (suspended after, connected after)",
        (suspended, held.elapsed()),
    );
    assert!(suspended < TIMEOUT * 2 / 3 + SLACK, "suspended after {suspended:?}");
    assert_eq!(ephemeral_owner(&zk), session);
    assert_owned(&zk, "/mine", session).await;

    let gone = other.exists_and_watch("/mine").await.expect("a server serves").1;
    let watch = zk.exists_and_watch("/mine").await.expect("a server serves").1;
    let held = Instant::now();
    ctx.hold();
    changes.expect(&[Suspended]).await;
    let suspended = held.elapsed();
    let queued = zk.set("/mine", b"", None);
    let event = ctx.within("the ephemeral node to go", gone).await.expect("it is watched");
    let expired = held.elapsed();
    assert_eq!(event.kind, EventType::NodeDeleted);
    assert_eq!(changes.drain(), [], "the expiry cannot be known yet");
    ctx.release();
    let released = Instant::now();
    changes.expect(&[Lost, Connected]).await;
    print_measurement(
        "silence for longer than T (suspended after, expired after, new session after release)",
        (suspended, expired, released.elapsed()),
    );
    assert!(suspended < TIMEOUT * 2 / 3 + SLACK, "suspended after {suspended:?}");
    assert!(expired < TIMEOUT + 2 * TICK + SLACK, "expired after {expired:?}");
    assert_expired(queued.await.expect_err("its session is gone"), Outcome::NotSent);
    assert_unwatched(&ctx, watch).await;
    assert_ne!(ephemeral_owner(&zk), session);
    assert_eq!(changes.drain(), []);
    zk.stop().await.expect("the client stops");
}

/// Two clients use one session, on two servers:
///
/// - The server of the first client does not learn of the move. It keeps the connection, and answers reads
///   and pings.
/// - The leader refuses the first write of the first client. The server closes the connection instead of
///   replying, so the outcome of the call is unknown. The write was not applied.
/// - The client then resumes the session on the same server and takes it back, so the next write of the other
///   client fails. Neither notices the move before it writes.
/// - If one client closes the session, the other one gets the error that it has expired.
pub async fn two_clients_can_resume_one_session<H: Handler>(handler: H) {
    let ctx = EnsembleContext::new(handler).await;
    let first = ctx.connect(ctx.host(0), LONG).await;
    let mut first_changes = ctx.changes(&first);
    let ticket = first.client_id().expect("there is a session");
    first.create("/mine", b"", CreateMode::Ephemeral).await.expect("the node is new");
    let second = ctx.start(client(ctx.host(1), LONG).client_id(ticket.clone())).await;
    let mut second_changes = ctx.changes(&second);
    assert_eq!(second.session_id(), Some(ticket.id));
    second.set("/mine", b"second", None).await.expect("it has the session");

    first
        .sync("/mine")
        .await
        .map(drop)
        .unwrap_or_else(|error| assert!(is_connection_loss(&error), "{error}"));
    let lost = first.set("/mine", b"first", None).await.expect_err("the session has moved");
    print_measurement("a write on a session that has moved", &lost);
    let moved = lost.kind() == ErrorKind::Server(ErrorCode::SessionMoved)
        && lost.outcome() == Some(Outcome::NotApplied);
    assert!(moved || is_connection_loss(&lost), "{lost}");
    let witness = ctx.connect(ctx.host(2), LONG).await;
    witness.sync("/mine").await.expect("a server serves");
    let (data, stat) = witness.get("/mine").await.expect("the node lives on");
    assert_eq!((data.as_ref(), stat.version), (&b"second"[..], 1), "the loser wrote");

    let seen = first_changes.until(Connected).await;
    assert!(seen.iter().all(|state| [Suspended, Connected].contains(state)), "{seen:?}");
    first.set("/mine", b"first", None).await.expect("it has taken the session back");
    let lost = second.set("/mine", b"second", None).await.expect_err("the session has moved");
    assert!(moved || is_connection_loss(&lost), "{lost}");
    second_changes.expect(&[Suspended, Connected]).await;
    assert_owned(&second, "/mine", ticket.id.0).await;

    second.stop().await.expect("the client stops");
    first_changes.expect(&[Suspended, Lost, Connected]).await;
    assert_ne!(first.session_id(), Some(ticket.id));
    assert_eq!(first.exists("/mine").await.expect("a server serves"), None);
    first.stop().await.expect("the client stops");
}
