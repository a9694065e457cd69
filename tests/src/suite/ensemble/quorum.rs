//! Servers without a quorum, and no servers at all.

use super::*;

/// Two of three servers are killed. A read-only client connects to the third one, and returns to the others
/// when they are back. Observed on 3.8 with local sessions, which a server without a quorum can create:
///
/// - The remaining server closes its connections (SUSPENDED), and serves reads after two seconds or more.
pub async fn a_read_only_client_reads_without_a_quorum<H: Handler>(handler: H) {
    let options = Options::default()
        .config("localSessionsEnabled=true")
        .config("localSessionsUpgradingEnabled=true");
    let ctx = EnsembleContext::with(handler, options).await;
    let survivor = ctx.follower().await;
    let builder = client(ctx.hosts(survivor), LONG).read_only(true);
    let zk = ctx.start(builder).await;
    let mut changes = ctx.changes(&zk);
    let before = zk.session_id();
    zk.create("/node", b"data", CreateMode::Persistent).await.expect("the node is new");

    let killed = Instant::now();
    ctx.with_ensemble(move |ensemble| {
        for index in (0..3).filter(|index| *index != survivor) {
            ensemble.node(index).kill();
        }
    })
    .await;
    let down = changes.until(ConnectedReadOnly).await;
    print_measurement("quorum lost (read-only after, changes)", (killed.elapsed(), &down));
    let on_read_only = zk.session_id();
    assert_eq!(ctx.index_of(&zk), survivor);
    assert_eq!(down.first(), Some(&Suspended));
    let (data, _) = zk.get("/node").await.expect("reads work");
    assert_eq!(data, "data");
    let refused = zk.set("/node", b"other", None).await.expect_err("writes do not");
    assert_eq!(refused.kind(), ErrorKind::Server(ErrorCode::NotReadOnly));
    assert_eq!(refused.outcome(), Some(Outcome::NotApplied));
    assert_eq!(changes.drain(), []);
    let watch = zk.get_and_watch("/node").await.expect("reads work").2;

    let started = Instant::now();
    ctx.with_ensemble(|ensemble| {
        ensemble.start_all();
        ensemble.wait_serving();
    })
    .await;
    let served = started.elapsed();
    let up = changes.until(Connected).await;
    print_measurement(
        "quorum back (after, read-write after, changes)",
        (served, started.elapsed(), &up),
    );
    print_measurement(
        "sessions (before, read-only, after)",
        (before, on_read_only, zk.session_id()),
    );
    let (data, stat) = zk.get("/node").await.expect("reads work");
    assert_eq!((data.as_ref(), stat.version), (&b"data"[..], 0));
    zk.set("/node", b"other", None).await.expect("writes work again");
    let fired = ctx.within("the watch", watch).await;
    print_measurement("watch that was armed on the read-only server", &fired);
    zk.stop().await.expect("the client stops");
}

/// Two of three servers are killed. A client that is not read-only is suspended until there is a quorum
/// again, and then has the same session.
pub async fn a_session_is_suspended_without_a_quorum<H: Handler>(handler: H) {
    let ctx = EnsembleContext::new(handler).await;
    let survivor = ctx.follower().await;
    let zk = ctx.connect(ctx.proxy_hosts(survivor), LONG).await;
    let mut changes = ctx.changes(&zk);
    let session = ephemeral_owner(&zk);
    zk.create("/mine", b"", CreateMode::Ephemeral).await.expect("the node is new");

    ctx.with_ensemble(move |ensemble| {
        for index in (0..3).filter(|index| *index != survivor) {
            ensemble.node(index).kill();
        }
    })
    .await;
    changes.expect(&[Suspended]).await;
    let read = zk.get("/mine");
    ctx.with_ensemble(move |ensemble| ensemble.node(survivor).wait_mode(Mode::ReadOnly)).await;
    // The remaining server serves reads, but refuses this client, which keeps trying.
    let tried = ctx.proxies()[survivor].accepted();
    while ctx.proxies()[survivor].accepted() < tried + 2 {
        ctx.sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(changes.drain(), []);
    assert!(!read.ready());

    let started = Instant::now();
    ctx.with_ensemble(|ensemble| {
        ensemble.start_all();
        ensemble.wait_serving();
    })
    .await;
    let served = started.elapsed();
    let seen = changes.until(Connected).await;
    print_measurement("quorum back (after, connected after)", (served, started.elapsed()));
    assert_eq!(seen, [Connected]);
    assert_eq!(ephemeral_owner(&zk), session);
    ctx.within("a read that has waited", read).await.expect("it is answered now");
    assert_owned(&zk, "/mine", session).await;
    zk.stop().await.expect("the client stops");
}

/// No server runs for a while. Attempts to connect are spaced, however the servers refuse, and the client
/// connects as soon as there are servers. The same with a session, which survives.
pub async fn attempts_are_spaced_while_no_server_runs<H: Handler>(handler: H) {
    const WINDOW: Duration = Duration::from_secs(6);
    const BACKOFF: Backoff =
        Backoff { min: Duration::from_millis(100), max: Duration::from_secs(2) };

    let ctx = EnsembleContext::new(handler).await;
    ctx.with_ensemble(crate::Ensemble::kill_all).await;
    // The proxies accept and then reset, because no server listens behind them.
    let builder = client(ctx.proxy_hosts(0), LONG).connection_retry(BACKOFF);
    let began = Instant::now();
    let connecting = builder.connect_on(ctx.handler.clone());
    ctx.sleep(WINDOW).await;
    let (attempts, took) = (ctx.accepted(), began.elapsed());
    print_measurement("no servers, no session (attempts, in)", (attempts, took));
    assert!(!connecting.ready());
    let most = most_attempts(BACKOFF, took);
    assert!((4..=most).contains(&attempts), "{attempts} attempts in {took:?}, at most {most}");
    ctx.with_ensemble(|ensemble| {
        ensemble.start_all();
        ensemble.wait_serving();
    })
    .await;
    let served = Instant::now();
    let zk = ctx.within("the client to connect", connecting).await.expect("it connects");
    print_measurement("servers are back (connected after)", served.elapsed());
    assert!(served.elapsed() < BACKOFF.max + SLACK);

    let mut changes = ctx.changes(&zk);
    let session = ephemeral_owner(&zk);
    zk.create("/mine", b"", CreateMode::Ephemeral).await.expect("the node is new");
    let before = ctx.accepted();
    let began = Instant::now();
    ctx.with_ensemble(crate::Ensemble::kill_all).await;
    changes.expect(&[Suspended]).await;
    ctx.sleep(WINDOW).await;
    let (attempts, took) = (ctx.accepted() - before, began.elapsed());
    print_measurement("no servers, a session (attempts, in)", (attempts, took));
    let most = most_attempts(BACKOFF, took);
    assert!((3..=most).contains(&attempts), "{attempts} attempts in {took:?}, at most {most}");
    ctx.with_ensemble(|ensemble| {
        ensemble.start_all();
        ensemble.wait_serving();
    })
    .await;
    let served = Instant::now();
    let seen = changes.until(Connected).await;
    print_measurement("servers are back (connected after)", served.elapsed());
    assert!(served.elapsed() < BACKOFF.max + SLACK);
    assert!(!seen.contains(&Lost), "{seen:?}");
    assert_eq!(ephemeral_owner(&zk), session);
    assert_owned(&zk, "/mine", session).await;
    zk.stop().await.expect("the client stops");
}

/// The maximum number of attempts that `backoff` allows in `time`: one round over all hosts at once, and one
/// after each pause, which is at least half of a delay that doubles.
fn most_attempts(backoff: Backoff, time: Duration) -> usize {
    const HOSTS: usize = 3;

    let mut attempts = HOSTS;
    let mut pause = backoff.min;
    let mut passed = Duration::ZERO;
    while passed <= time {
        passed += pause / 2;
        pause = (pause * 2).min(backoff.max);
        attempts += HOSTS;
    }
    attempts
}
