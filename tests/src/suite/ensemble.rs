//! What a client does when servers of a real ensemble die, stall, lose each other, or forget it.
//!
//! Figures that are measured are printed: run with `--nocapture` to see them.

mod counter;
mod stage;
mod watches;

use std::{
    collections::HashMap,
    env, fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use zk_client::{
    Backoff, Client, CreateMode, ErrorCode, ErrorKind, EventType, Outcome, Reconfig, State,
    State::{Connected, ConnectedReadOnly, Lost, Suspended},
    Watch,
};
use zk_handler::Handler;

use crate::{Direction, Mode, Options, Verdict, eventually, lock};

use counter::Counting;
use stage::{Changes, LIMIT, SLACK, Stage, client, is_loss};
use watches::Armed;

/// A session timeout that no test waits for.
const LONG: Duration = Duration::from_secs(20);

/// How often a server's clock of sessions ticks.
const TICK: Duration = Duration::from_millis(500);

/// Prints what was measured.
#[expect(clippy::print_stderr, reason = "figures are for whoever runs the tests")]
fn figure(what: &str, value: impl fmt::Debug) {
    eprintln!("{what}: {value:.1?}");
}

/// How often to do what is done often: the variable `name`, or `default`.
fn rounds(name: &str, default: usize) -> usize {
    match env::var(name) {
        Ok(rounds) => rounds.parse().unwrap_or_else(|_| panic!("{name}={rounds} is no number")),
        Err(_) => default,
    }
}

fn ephemeral_owner(zk: &Client) -> i64 {
    zk.session_id().expect("there is a session").0
}

/// The node `path` is there, and belongs to the session of `owner`.
async fn assert_owned(zk: &Client, path: &str, owner: i64) {
    zk.sync(path).await.expect("a server serves");
    let stat = zk.exists(path).await.expect("a server serves").expect("the node lives on");
    assert_eq!(stat.ephemeral_owner, owner);
}

// The death of servers

/// The server of the session is killed: the session goes on on another one, at once, and calls with it.
pub async fn fail_over<H: Handler>(handler: H) {
    let stage = Stage::new(handler).await;
    let victim = stage.follower().await;
    let zk = stage.connect(stage.hosts(victim), LONG).await;
    let mut changes = stage.changes(&zk);
    let session = ephemeral_owner(&zk);
    zk.create("/mine", b"", CreateMode::Ephemeral).await.expect("the node is new");

    let mut times = Vec::new();
    for round in 0..rounds("ZK_TEST_FAIL_OVERS", 4) {
        let victim = stage.index_of(&zk);
        let led = stage.leader().await == victim;
        let killed = stage
            .act(move |ensemble| {
                let now = Instant::now();
                ensemble.node(victim).kill();
                now
            })
            .await;
        changes.expect(&[Suspended]).await;
        let suspended = killed.elapsed();
        let data = round.to_string();
        let set = zk.set("/mine", &data, None); // waits for the next connection
        if led {
            // Nobody serves until there is a new leader; a server that gives up may take the
            // session for a moment before.
            let seen = changes.until(Connected).await;
            assert!(!seen.contains(&Lost), "{seen:?}");
        } else {
            changes.expect(&[Connected]).await;
        }
        times.push((led, suspended, killed.elapsed()));
        assert_ne!(stage.index_of(&zk), victim);
        match set.await {
            Ok(stat) => assert_eq!(stat.ephemeral_owner, session),
            Err(error) => assert!(led && is_loss(&error), "{error}"),
        }
        assert_eq!(ephemeral_owner(&zk), session);
        stage
            .act(move |ensemble| {
                ensemble.node(victim).start();
                ensemble.wait_serving();
            })
            .await;
        assert_eq!(ephemeral_owner(&zk), session);
        if led {
            changes.rest();
        }
    }
    figure("fail-over (leader killed, suspended after, connected after)", &times);
    for (led, suspended, connected) in times {
        assert!(suspended < SLACK, "suspended after {suspended:?}");
        assert!(led || connected < 2 * SLACK, "connected after {connected:?}");
    }
    assert_owned(&zk, "/mine", session).await;
    assert_eq!(changes.rest(), []);
    zk.stop().await.expect("the client stops");
}

/// The server of a session with watches is killed, be it a follower or the leader: each watch fires
/// once, whether its node changes while the session is away or later; the rest stay armed.
pub async fn watches_survive<H: Handler>(handler: H) {
    let stage = Stage::new(handler).await;
    for leader in [false, true] {
        let victim = if leader { stage.leader().await } else { stage.follower().await };
        let zk = stage.connect(stage.proxied(victim), LONG).await;
        let mut changes = stage.changes(&zk);
        let session = ephemeral_owner(&zk);
        let other = stage.connect(stage.hosts((victim + 1) % 3), LONG).await;
        let events = count_events(&stage);

        let top = format!("/watches-{leader}");
        zk.create(&top, b"", CreateMode::Persistent).await.expect("the node is new");
        zk.create("/mine", b"", CreateMode::Ephemeral).await.expect("the node is new");
        let while_away = Armed::all(&zk, &format!("{top}/away")).await;
        let later = Armed::all(&zk, &format!("{top}/later")).await;
        let never = Armed::all(&zk, &format!("{top}/never")).await;
        // Two watches on one path share one event.
        let twin = zk.get_and_watch(&while_away[0].path).await.expect("the node is there").2;

        stage.refuse(true);
        stage.act(move |ensemble| ensemble.node(victim).kill()).await;
        changes.expect(&[Suspended]).await;
        settle(&stage, &other).await;
        for armed in &while_away {
            armed.change(&other).await.expect("the other client can write");
        }
        stage.refuse(false);
        let seen = changes.until(Connected).await;
        assert_eq!(seen, [Connected]);
        assert_eq!(ephemeral_owner(&zk), session);
        for armed in &later {
            armed.change(&other).await.expect("the other client can write");
        }

        let paths: Vec<_> = while_away.iter().chain(&later).map(|a| a.path.clone()).collect();
        for armed in while_away.into_iter().chain(later) {
            stage.within("a watch", armed.fired()).await;
        }
        stage.within("the twin", twin).await.expect("it fires as well");
        assert_owned(&zk, "/mine", session).await;
        assert!(never.iter().all(|armed| !armed.watch.ready()));
        let events = lock(&events).clone();
        assert_eq!(events.len(), paths.len(), "{events:?}");
        for path in paths {
            assert_eq!(events.get(&path), Some(&1), "events on {path}");
        }

        for armed in &never {
            armed.change(&zk).await.expect("a server serves");
        }
        for armed in never {
            stage.within("a watch", armed.fired()).await;
        }
        assert_eq!(changes.rest(), []);
        zk.stop().await.expect("the client stops");
        stage
            .act(move |ensemble| {
                ensemble.node(victim).start();
                ensemble.wait_serving();
            })
            .await;
    }
}

/// Waits until the servers that are left serve, and `zk` has noticed.
async fn settle<H: Handler>(stage: &Stage<H>, zk: &Client) {
    stage.act(crate::Ensemble::wait_serving).await;
    while let Err(error) = stage.within("a server", zk.sync("/")).await {
        assert!(is_loss(&error), "{error}");
    }
}

/// Counts the events that servers send through the proxies, by path.
fn count_events<H: Handler>(stage: &Stage<H>) -> Arc<Mutex<HashMap<String, usize>>> {
    const NOTIFICATION: &[u8] = &(-1_i32).to_be_bytes();
    const PATH: usize = 16 + 4 + 4 + 4;

    let events = Arc::<Mutex<HashMap<String, usize>>>::default();
    for proxy in stage.proxies() {
        let events = events.clone();
        proxy.on_frame(Direction::ToClient, move |frame| {
            if frame.starts_with(NOTIFICATION) {
                let path = String::from_utf8_lossy(&frame[PATH..]).into_owned();
                *lock(&events).entry(path).or_default() += 1;
            }
            Verdict::Pass
        });
    }
    events
}

/// A server that stalls, be it a follower or the leader, is left within two thirds of the session
/// timeout, and the session goes on on another one.
pub async fn a_stalled_server_is_left<H: Handler>(handler: H) {
    const TIMEOUT: Duration = Duration::from_secs(6);

    let stage = Stage::new(handler).await;
    for leader in [false, true] {
        let victim = if leader { stage.leader().await } else { stage.follower().await };
        let zk = stage.connect(stage.hosts(victim), TIMEOUT).await;
        let mut changes = stage.changes(&zk);
        let session = ephemeral_owner(&zk);
        assert_eq!(zk.session_timeout(), TIMEOUT);
        zk.create("/mine", b"", CreateMode::Ephemeral).await.expect("the node is new");
        assert!(zk.held_for() > TIMEOUT / 2);

        let paused = stage
            .act(move |ensemble| {
                let now = Instant::now();
                ensemble.node(victim).pause();
                now
            })
            .await;
        let set = zk.set("/mine", b"?", None);
        changes.expect(&[Suspended]).await;
        let left = paused.elapsed();
        assert_eq!(zk.held_for(), Duration::ZERO);
        let lost = set.await.expect_err("the server stalls");
        assert!(is_loss(&lost) && lost.outcome() == Outcome::Unknown, "{lost}");
        let seen = changes.until(Connected).await;
        figure(
            "stalled server (leader, left after, connected after)",
            (leader, left, paused.elapsed()),
        );
        assert!(left < TIMEOUT * 2 / 3 + SLACK, "left after {left:?}");
        assert!(leader || seen == [Connected], "{seen:?}");
        assert!(!seen.contains(&Lost), "{seen:?}");
        assert_ne!(stage.index_of(&zk), victim);
        assert_eq!(ephemeral_owner(&zk), session);
        assert_owned(&zk, "/mine", session).await;

        stage
            .act(move |ensemble| {
                ensemble.node(victim).resume();
                ensemble.wait_serving();
            })
            .await;
        zk.stop().await.expect("the client stops");
    }
}

// The end of a session

/// The servers forget a session while its client is away: it is reported lost once, what waited on it
/// fails, and a new session begins.
pub async fn expiry<H: Handler>(handler: H) {
    let stage = Stage::new(handler).await;
    let node = stage.follower().await;
    let zk = stage.connect(stage.proxied(node), LONG).await;
    let mut changes = stage.changes(&zk);
    let ticket = zk.client_id().expect("there is a session");
    zk.create("/mine", b"", CreateMode::Ephemeral).await.expect("the node is new");
    zk.create("/top", b"", CreateMode::Persistent).await.expect("the node is new");
    let armed = Armed::all(&zk, "/top/watches").await;

    stage.refuse(true);
    stage.proxies()[node].cut_rst();
    changes.expect(&[Suspended]).await;
    let queued = [zk.set("/top", b"1", None), zk.set("/top", b"2", None)];
    let read = zk.get("/top");
    assert!(queued.iter().all(|call| !call.ready()));
    let (id, password) = (ticket.id.0, ticket.password.expose().clone());
    stage.act(move |ensemble| ensemble.expire_session(id, &password)).await;
    stage.refuse(false);

    changes.expect(&[Lost, Connected]).await;
    assert_ne!(zk.session_id(), Some(ticket.id));
    for call in queued {
        assert_expired(call.await.expect_err("its session is gone"), Outcome::NotSent);
    }
    assert_expired(read.await.expect_err("its session is gone"), Outcome::NotSent);
    for armed in armed {
        assert_unwatched(&stage, armed.watch).await;
    }
    let (data, stat) = zk.get("/top").await.expect("the new session works");
    assert_eq!((data.as_ref(), stat.version), (&b""[..], 0));
    assert_eq!(zk.exists("/mine").await.expect("the new session works"), None);
    // A second time, while it is connected: the server closes the connection.
    let ticket = zk.client_id().expect("there is a session");
    let (_, watch) = zk.exists_and_watch("/mine").await.expect("the new session works");
    let (id, password) = (ticket.id.0, ticket.password.expose().clone());
    stage.act(move |ensemble| ensemble.expire_session(id, &password)).await;
    let seen = stage.within("the new session", new_session(&mut changes)).await;
    assert_eq!(seen.iter().filter(|state| **state == Lost).count(), 1, "{seen:?}");
    assert_unwatched(&stage, watch).await;
    assert_ne!(zk.session_id(), Some(ticket.id));
    zk.stop().await.expect("the client stops");
    assert_eq!(changes.rest(), [Lost]);
}

/// The changes up to the connection that comes after a loss. The harness may take a session over for a
/// moment before it ends it, and its client may take it back.
async fn new_session<H: Handler>(changes: &mut Changes<'_, H>) -> Vec<State> {
    let mut seen = changes.until(Lost).await;
    seen.extend(changes.until(Connected).await);
    seen
}

fn assert_expired(error: zk_client::Error, outcome: Outcome) {
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::SessionExpired, outcome), "{error}");
}

async fn assert_unwatched<H: Handler>(stage: &Stage<H>, watch: Watch) {
    let end = stage.within("a watch", watch).await;
    assert_eq!(end.expect_err("its session is gone").kind(), ErrorKind::SessionExpired);
}

/// The network swallows everything (FAULTS B 2). For 0.9 of the session timeout T: the session is
/// suspended after two thirds of it and then resumed. For longer than T: suspended likewise, and lost as
/// soon as a server can say so.
pub async fn silence<H: Handler>(handler: H) {
    const TIMEOUT: Duration = Duration::from_secs(8);

    let stage = Stage::new(handler).await;
    let node = stage.follower().await;
    let zk = stage.connect(stage.proxied(node), TIMEOUT).await;
    let other = stage.connect(stage.hosts((node + 1) % 3), LONG).await;
    let mut changes = stage.changes(&zk);
    let session = ephemeral_owner(&zk);
    zk.create("/mine", b"", CreateMode::Ephemeral).await.expect("the node is new");

    let held = Instant::now();
    stage.hold();
    changes.expect(&[Suspended]).await;
    let suspended = held.elapsed();
    let at = held + TIMEOUT * 9 / 10;
    stage.pass(at.saturating_duration_since(Instant::now())).await;
    assert_eq!(changes.rest(), []);
    stage.release();
    changes.expect(&[Connected]).await;
    figure("silence for 0.9 T (suspended after, connected after)", (suspended, held.elapsed()));
    assert!(suspended < TIMEOUT * 2 / 3 + SLACK, "suspended after {suspended:?}");
    assert_eq!(ephemeral_owner(&zk), session);
    assert_owned(&zk, "/mine", session).await;

    let gone = other.exists_and_watch("/mine").await.expect("a server serves").1;
    let watch = zk.exists_and_watch("/mine").await.expect("a server serves").1;
    let held = Instant::now();
    stage.hold();
    changes.expect(&[Suspended]).await;
    let suspended = held.elapsed();
    let queued = zk.set("/mine", b"", None);
    let event = stage.within("the ephemeral node to go", gone).await.expect("it is watched");
    let expired = held.elapsed();
    assert_eq!(event.kind, EventType::NodeDeleted);
    assert_eq!(changes.rest(), [], "nobody can know yet");
    stage.release();
    let released = Instant::now();
    changes.expect(&[Lost, Connected]).await;
    figure(
        "silence for longer than T (suspended after, expired after, new session after release)",
        (suspended, expired, released.elapsed()),
    );
    assert!(suspended < TIMEOUT * 2 / 3 + SLACK, "suspended after {suspended:?}");
    assert!(expired < TIMEOUT + 2 * TICK + SLACK, "expired after {expired:?}");
    assert_expired(queued.await.expect_err("its session is gone"), Outcome::NotSent);
    assert_unwatched(&stage, watch).await;
    assert_ne!(ephemeral_owner(&zk), session);
    assert_eq!(changes.rest(), []);
    zk.stop().await.expect("the client stops");
}

/// Two clients on one session, on two servers (FAULTS B 10). What happens:
///
/// - The server of the first client hears nothing of the move: it keeps the connection, and answers
///   reads and pings.
/// - The first write that it sends is refused by the leader. The server closes the connection instead of
///   answering, so that the call ends with its outcome unknown; it was not done.
/// - The client then resumes the session where it was, and so takes it back: it is the other one whose
///   next write fails. Neither notices anything before it writes.
/// - When one closes the session, the other one is told that it has expired.
pub async fn two_clients_on_one_session<H: Handler>(handler: H) {
    let stage = Stage::new(handler).await;
    let first = stage.connect(stage.host(0), LONG).await;
    let mut first_changes = stage.changes(&first);
    let ticket = first.client_id().expect("there is a session");
    first.create("/mine", b"", CreateMode::Ephemeral).await.expect("the node is new");
    let second = stage.start(client(stage.host(1), LONG).client_id(ticket.clone())).await;
    let mut second_changes = stage.changes(&second);
    assert_eq!(second.session_id(), Some(ticket.id));
    second.set("/mine", b"second", None).await.expect("it has the session");

    first.sync("/mine").await.map(drop).unwrap_or_else(|error| assert!(is_loss(&error), "{error}"));
    let lost = first.set("/mine", b"first", None).await.expect_err("the session has moved");
    figure("a write on a session that has moved", &lost);
    let moved = lost.kind() == ErrorKind::Server(ErrorCode::SessionMoved)
        && lost.outcome() == Outcome::Refused;
    assert!(moved || is_loss(&lost), "{lost}");
    let witness = stage.connect(stage.host(2), LONG).await;
    witness.sync("/mine").await.expect("a server serves");
    let (data, stat) = witness.get("/mine").await.expect("the node lives on");
    assert_eq!((data.as_ref(), stat.version), (&b"second"[..], 1), "the loser wrote");

    let seen = first_changes.until(Connected).await;
    assert!(seen.iter().all(|state| [Suspended, Connected].contains(state)), "{seen:?}");
    first.set("/mine", b"first", None).await.expect("it has taken the session back");
    let lost = second.set("/mine", b"second", None).await.expect_err("the session has moved");
    assert!(moved || is_loss(&lost), "{lost}");
    second_changes.expect(&[Suspended, Connected]).await;
    assert_owned(&second, "/mine", ticket.id.0).await;

    second.stop().await.expect("the client stops");
    first_changes.expect(&[Suspended, Lost, Connected]).await;
    assert_ne!(first.session_id(), Some(ticket.id));
    assert_eq!(first.exists("/mine").await.expect("a server serves"), None);
    first.stop().await.expect("the client stops");
}

// The loss of the quorum

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
    assert_eq!(refused.outcome(), Outcome::Refused);
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
    let most = most_attempts(BACKOFF, 3, took);
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
    let most = most_attempts(BACKOFF, 2, took);
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

/// How many attempts `backoff` allows in `time`: some at once, and then each after half of a pause that
/// doubles, at the least.
fn most_attempts(backoff: Backoff, at_once: usize, time: Duration) -> usize {
    let mut attempts = at_once;
    let mut pause = backoff.min;
    let mut passed = Duration::ZERO;
    while passed <= time {
        passed += pause / 2;
        pause = (pause * 2).min(backoff.max);
        attempts += 1;
    }
    attempts
}

// Under load

/// Every server is restarted in turn, twice, while a counter is written: no write is lost, none is done
/// twice, and the session lives on.
pub async fn rolling_restart<H: Handler>(handler: H) {
    let stage = Stage::new(handler).await;
    let zk = stage.connect(stage.hosts(0), LONG).await;
    let reader = stage.connect(stage.hosts(1), LONG).await;
    let mut changes = stage.changes(&zk);
    let session = zk.session_id();
    let counting = Counting::start(&stage, &zk, &reader, Duration::from_millis(20)).await;
    for _ in 0..rounds("ZK_TEST_RESTARTS", 2) {
        for index in 0..3 {
            stage.within("writes", counting.advance(&stage, 10)).await;
            stage
                .act(move |ensemble| {
                    ensemble.node(index).restart();
                    ensemble.wait_serving();
                })
                .await;
        }
    }
    stage.within("writes", counting.advance(&stage, 10)).await;
    let tally = counting.finish(&stage, &zk).await;
    let seen = changes.rest();
    figure("rolling restart", (&tally, &seen));
    assert!(!seen.contains(&Lost), "{seen:?}");
    assert!(seen.contains(&Suspended), "no server was missed");
    assert_eq!(zk.session_id(), session);
    zk.stop().await.expect("the client stops");
}

/// The leader is killed again and again while a counter is written 200 times a second (FAULTS B 13): as
/// above.
pub async fn leaders_die<H: Handler>(handler: H) {
    let stage = Stage::new(handler).await;
    let zk = stage.connect(stage.hosts(0), LONG).await;
    let reader = stage.connect(stage.hosts(1), LONG).await;
    let mut changes = stage.changes(&zk);
    let session = zk.session_id();
    let counting = Counting::start(&stage, &zk, &reader, Duration::from_millis(5)).await;
    let mut gaps = Vec::new();
    for _ in 0..rounds("ZK_TEST_LEADERS", 5) {
        stage.within("writes", counting.advance(&stage, 100)).await;
        let (victim, killed) = stage
            .act(|ensemble| {
                let leader = ensemble.leader();
                let now = Instant::now();
                ensemble.node(leader).kill();
                (leader, now)
            })
            .await;
        changes.expect(&[Suspended]).await;
        let seen = changes.until(Connected).await;
        assert!(!seen.contains(&Lost), "{seen:?}");
        stage.within("writes", counting.advance(&stage, 1)).await;
        gaps.push(killed.elapsed());
        stage
            .act(move |ensemble| {
                ensemble.node(victim).start();
                ensemble.wait_serving();
            })
            .await;
        changes.rest();
    }
    let tally = counting.finish(&stage, &zk).await;
    figure("leaders die (writes again after)", (&tally, &gaps));
    assert_eq!(zk.session_id(), session);
    zk.stop().await.expect("the client stops");
}

// Watches

/// The connection is cut over and over while watched nodes change (FAULTS B 17): before the cut, while
/// the session is away, or later; each watch fires once, and those on nodes that do not change live on.
pub async fn cuts_and_watches<H: Handler>(handler: H) {
    let stage = Stage::new(handler).await;
    let zk = stage.connect(stage.proxied(0), LONG).await;
    let other = stage.connect(stage.hosts(1), LONG).await;
    let mut changes = stage.changes(&zk);
    let session = zk.session_id();
    let rounds = rounds("ZK_TEST_WATCH_ROUNDS", 100);
    let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), ());
    figure("seed", seed);
    let mut random = fastrand::Rng::with_seed(seed);

    let mut unchanged = Vec::new();
    for round in 0..rounds {
        let mut armed = Armed::all(&zk, &format!("/round-{round}")).await;
        random.shuffle(&mut armed);
        let later = armed.split_off(6);
        let away = armed.split_off(3);
        let mut pending: Vec<_> = armed.iter().map(|armed| armed.change(&other)).collect();
        // In every other round the session is kept away until the changes are done.
        let kept_away = round % 2 == 1;
        stage.refuse(kept_away);
        for proxy in stage.proxies() {
            if random.bool() { proxy.cut_rst() } else { proxy.cut_fin() }
        }
        pending.extend(away.iter().map(|armed| armed.change(&other)));
        if kept_away {
            for change in pending.drain(..) {
                change.await.expect("the other client can write");
            }
            stage.refuse(false);
        }
        changes.expect(&[Suspended, Connected]).await;
        let mut later = later.into_iter();
        unchanged.extend(later.next());
        let later: Vec<_> = later.collect();
        pending.extend(later.iter().map(|armed| armed.change(&other)));
        for change in pending {
            change.await.expect("the other client can write");
        }
        for armed in armed.into_iter().chain(away).chain(later) {
            let what = format!("round {round}: {} of seed {seed}", armed.path);
            stage.within(&what, armed.fired()).await;
        }
    }
    assert!(unchanged.iter().all(|armed| !armed.watch.ready()));
    let pending: Vec<_> = unchanged.iter().map(|armed| armed.change(&other)).collect();
    for change in pending {
        change.await.expect("the other client can write");
    }
    for armed in unchanged {
        stage.within("a watch on what did not change", armed.fired()).await;
    }
    assert_eq!(zk.session_id(), session);
    assert_eq!(changes.rest(), []);
    zk.stop().await.expect("the client stops");
}

/// 20,000 watches with paths of 200 bytes (FAULTS B 18): they are armed again on the next server, in
/// packets that it takes, and work.
pub async fn many_watches<H: Handler>(handler: H) {
    const WATCHES: usize = 20_000;
    const SET_WATCHES: &[u8] = &[0xff, 0xff, 0xff, 0xf8, 0, 0, 0, 101];
    const MOST: usize = 128 << 10;

    let stage = Stage::new(handler).await;
    let zk = stage.connect(stage.proxied(0), LONG).await;
    let other = stage.connect(stage.hosts(1), LONG).await;
    let mut changes = stage.changes(&zk);
    let session = zk.session_id();
    let path = |index: usize| format!("/{index:0199}");
    let pending: Vec<_> = (0..WATCHES).map(|index| zk.exists_and_watch(path(index))).collect();
    let mut watches = Vec::new();
    for pending in pending {
        watches.push(pending.await.expect("a server serves").1);
    }

    let [longest, packets] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    for proxy in stage.proxies() {
        let (longest, packets) = (longest.clone(), packets.clone());
        proxy.on_frame(Direction::ToServer, move |frame| {
            longest.fetch_max(frame.len(), Ordering::Relaxed);
            packets.fetch_add(usize::from(frame.starts_with(SET_WATCHES)), Ordering::Relaxed);
            Verdict::Pass
        });
    }
    stage.refuse(true);
    stage.proxies()[0].cut_rst();
    changes.expect(&[Suspended]).await;
    let away: Vec<_> = (0..WATCHES).step_by(400).collect();
    for index in &away {
        other.create(path(*index), b"", CreateMode::Persistent).await.expect("the node is new");
    }
    let released = Instant::now();
    stage.refuse(false);
    changes.expect(&[Connected]).await;
    zk.exists("/").await.expect("the connection works");
    let ready = released.elapsed();

    let node = stage.index_of(&zk);
    let left = WATCHES - away.len();
    stage
        .act(move |ensemble| {
            eventually(LIMIT, "all watches to be armed again", || {
                let wchs = ensemble.node(node).four_letter("wchs");
                wchs.contains(&format!("Total watches:{left}\n")).then_some(())
            });
        })
        .await;
    let [longest, packets] = [longest, packets].map(|count| count.load(Ordering::Relaxed));
    figure("many watches (packets, longest, first reply after)", (packets, longest, ready));
    assert!(longest <= MOST, "a packet of {longest} bytes");
    assert!(packets > WATCHES * 200 / MOST, "{packets} packets");

    let later: Vec<_> = (1..WATCHES).step_by(400).collect();
    for index in &later {
        other.create(path(*index), b"", CreateMode::Persistent).await.expect("the node is new");
    }
    for index in away.iter().chain(&later) {
        let event = stage.within("a watch", watches[*index].clone()).await.expect("it fires");
        assert_eq!((event.kind, event.path.as_str()), (EventType::NodeCreated, &*path(*index)));
    }
    let fired = watches.iter().filter(|watch| watch.ready()).count();
    assert_eq!(fired, away.len() + later.len());
    assert_eq!(zk.session_id(), session);
    assert_eq!(changes.rest(), []);
    zk.stop().await.expect("the client stops");
}

/// A member leaves, by the one who may do that, and the client goes on.
pub async fn members_change<H: Handler>(handler: H) {
    let stage = Stage::new(handler).await;
    let zk = stage.connect(stage.hosts(stage.leader().await), LONG).await;
    let leaver = stage.follower().await + 1;
    let leave = Reconfig::default().leaving(leaver.to_string());
    let error = stage.within("a refusal", zk.reconfig(&leave)).await.expect_err("no right");
    assert_eq!(error.code(), Some(ErrorCode::NoAuth), "{error}");

    stage.within("auth", zk.add_auth("digest", "super:test")).await.expect("it is taken");
    let stale = leave.clone().from_config(1);
    let error = stage.within("a refusal", zk.reconfig(&stale)).await.expect_err("another version");
    assert_eq!(error.code(), Some(ErrorCode::BadVersion), "{error}");
    let changed = stage.within("a change", zk.reconfig(&leave)).await.expect("it is done");
    let config = String::from_utf8_lossy(&changed.0).into_owned();
    assert_eq!(config.matches("server.").count(), 2, "{config}");
    assert!(!config.contains(&format!("server.{leaver}=")), "{config}");
    stage.within("a call", zk.exists("/")).await.expect("the session goes on");
}
