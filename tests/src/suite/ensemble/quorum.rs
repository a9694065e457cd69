//! Servers without a quorum, and none at all.

use super::*;

/// Two of three servers die. A client that may read from the third one goes there, and back to the
/// others when they return. What is observed on 3.8, with local sessions, which a server without quorum
/// can make:
///
/// - the server that is left closes its connections: SUSPENDED; two seconds or more go by before it
///   serves reads.
pub async fn read_only<H: Handler>(handler: H) {
    let options = Options::default()
        .config("localSessionsEnabled=true")
        .config("localSessionsUpgradingEnabled=true");
    let stage = Stage::with(handler, options).await;
    let survivor = stage.follower().await;
    let builder = client(stage.hosts(survivor), LONG).read_only(true);
    let zk = stage.start(builder).await;
    let mut changes = stage.changes(&zk);
    let before = zk.session_id();
    zk.create("/node", b"data", CreateMode::Persistent).await.expect("the node is new");

    let killed = Instant::now();
    stage
        .act(move |ensemble| {
            for index in (0..3).filter(|index| *index != survivor) {
                ensemble.node(index).kill();
            }
        })
        .await;
    let down = changes.until(ConnectedReadOnly).await;
    figure("quorum lost (read-only after, changes)", (killed.elapsed(), &down));
    let on_read_only = zk.session_id();
    assert_eq!(stage.index_of(&zk), survivor);
    assert_eq!(down.first(), Some(&Suspended));
    let (data, _) = zk.get("/node").await.expect("reads work");
    assert_eq!(data, "data");
    let refused = zk.set("/node", b"other", None).await.expect_err("writes do not");
    assert_eq!(refused.kind(), ErrorKind::Server(ErrorCode::NotReadOnly));
    assert_eq!(refused.outcome(), Some(Outcome::Refused));
    assert_eq!(changes.rest(), []);
    let watch = zk.get_and_watch("/node").await.expect("reads work").2;

    let started = Instant::now();
    stage
        .act(|ensemble| {
            ensemble.start_all();
            ensemble.wait_serving();
        })
        .await;
    let served = started.elapsed();
    let up = changes.until(Connected).await;
    figure("quorum back (after, read-write after, changes)", (served, started.elapsed(), &up));
    figure("sessions (before, read-only, after)", (before, on_read_only, zk.session_id()));
    let (data, stat) = zk.get("/node").await.expect("reads work");
    assert_eq!((data.as_ref(), stat.version), (&b"data"[..], 0));
    zk.set("/node", b"other", None).await.expect("writes work again");
    let fired = stage.within("the watch", watch).await;
    figure("watch that was armed on the read-only server", &fired);
    zk.stop().await.expect("the client stops");
}

/// Two of three servers die, and the client is not content with the third one: it is suspended until
/// there is a quorum again, and has the same session then.
pub async fn no_quorum<H: Handler>(handler: H) {
    let stage = Stage::new(handler).await;
    let survivor = stage.follower().await;
    let zk = stage.connect(stage.proxied(survivor), LONG).await;
    let mut changes = stage.changes(&zk);
    let session = ephemeral_owner(&zk);
    zk.create("/mine", b"", CreateMode::Ephemeral).await.expect("the node is new");

    stage
        .act(move |ensemble| {
            for index in (0..3).filter(|index| *index != survivor) {
                ensemble.node(index).kill();
            }
        })
        .await;
    changes.expect(&[Suspended]).await;
    let read = zk.get("/mine");
    stage.act(move |ensemble| ensemble.node(survivor).wait_mode(Mode::ReadOnly)).await;
    // Now the survivor serves, but not this client, which goes on trying all the same.
    let tried = stage.proxies()[survivor].accepted();
    while stage.proxies()[survivor].accepted() < tried + 2 {
        stage.pass(Duration::from_millis(10)).await;
    }
    assert_eq!(changes.rest(), []);
    assert!(!read.ready());

    let started = Instant::now();
    stage
        .act(|ensemble| {
            ensemble.start_all();
            ensemble.wait_serving();
        })
        .await;
    let served = started.elapsed();
    let seen = changes.until(Connected).await;
    figure("quorum back (after, connected after)", (served, started.elapsed()));
    assert_eq!(seen, [Connected]);
    assert_eq!(ephemeral_owner(&zk), session);
    stage.within("a read that has waited", read).await.expect("it is answered now");
    assert_owned(&zk, "/mine", session).await;
    zk.stop().await.expect("the client stops");
}

/// No server for a while (FAULTS B 4): attempts to connect are spaced, however the servers refuse, and
/// the client connects as soon as there are servers. The same with a session, which lives on.
pub async fn no_servers<H: Handler>(handler: H) {
    const WINDOW: Duration = Duration::from_secs(6);
    const BACKOFF: Backoff =
        Backoff { min: Duration::from_millis(100), max: Duration::from_secs(2) };

    let stage = Stage::new(handler).await;
    stage.act(crate::Ensemble::kill_all).await;
    // The first proxy accepts and then resets; nobody listens behind the others either, as they are
    // told to refuse.
    let builder = client(stage.proxied(0), LONG).connection_retry(BACKOFF);
    let began = Instant::now();
    let connecting = builder.connect_on(stage.handler.clone());
    stage.pass(WINDOW).await;
    let (attempts, took) = (stage.accepted(), began.elapsed());
    figure("no servers, no session (attempts, in)", (attempts, took));
    assert!(!connecting.ready());
    let most = most_attempts(BACKOFF, took);
    assert!((4..=most).contains(&attempts), "{attempts} attempts in {took:?}, at most {most}");
    stage
        .act(|ensemble| {
            ensemble.start_all();
            ensemble.wait_serving();
        })
        .await;
    let served = Instant::now();
    let zk = stage.within("the client to connect", connecting).await.expect("it connects");
    figure("servers are back (connected after)", served.elapsed());
    assert!(served.elapsed() < BACKOFF.max + SLACK);

    let mut changes = stage.changes(&zk);
    let session = ephemeral_owner(&zk);
    zk.create("/mine", b"", CreateMode::Ephemeral).await.expect("the node is new");
    let before = stage.accepted();
    let began = Instant::now();
    stage.act(crate::Ensemble::kill_all).await;
    changes.expect(&[Suspended]).await;
    stage.pass(WINDOW).await;
    let (attempts, took) = (stage.accepted() - before, began.elapsed());
    figure("no servers, a session (attempts, in)", (attempts, took));
    let most = most_attempts(BACKOFF, took);
    assert!((3..=most).contains(&attempts), "{attempts} attempts in {took:?}, at most {most}");
    stage
        .act(|ensemble| {
            ensemble.start_all();
            ensemble.wait_serving();
        })
        .await;
    let served = Instant::now();
    let seen = changes.until(Connected).await;
    figure("servers are back (connected after)", served.elapsed());
    assert!(served.elapsed() < BACKOFF.max + SLACK);
    assert!(!seen.contains(&Lost), "{seen:?}");
    assert_eq!(ephemeral_owner(&zk), session);
    assert_owned(&zk, "/mine", session).await;
    zk.stop().await.expect("the client stops");
}

/// How many attempts `backoff` allows in `time`: one for each host at once, and again after half of a
/// pause that doubles, at the least.
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
