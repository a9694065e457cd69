//! Servers are killed, paused and removed.

use super::*;

/// The server of the session is killed. The session and its calls continue on another server at once.
pub async fn a_session_fails_over_to_another_server<H: Handler>(handler: H) {
    let ctx = EnsembleContext::new(handler).await;
    let victim = ctx.follower().await;
    let zk = ctx.connect(ctx.hosts(victim), LONG).await;
    let mut changes = ctx.changes(&zk);
    let session = ephemeral_owner(&zk);
    zk.create("/mine", b"", CreateMode::Ephemeral).await.expect("the node is new");

    let mut times = Vec::new();
    for round in 0..rounds("ZK_TEST_FAIL_OVERS", 4) {
        let victim = ctx.index_of(&zk);
        let led = ctx.leader().await == victim;
        let killed = ctx
            .with_ensemble(move |ensemble| {
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
            // No server serves until there is a new leader. Before, a server that is about to give up may
            // accept the session for a moment.
            let seen = changes.until(Connected).await;
            assert!(!seen.contains(&Lost), "{seen:?}");
        } else {
            changes.expect(&[Connected]).await;
        }
        times.push((led, suspended, killed.elapsed()));
        assert_ne!(ctx.index_of(&zk), victim);
        match set.await {
            Ok(stat) => assert_eq!(stat.ephemeral_owner, session),
            Err(error) => assert!(led && is_connection_loss(&error), "{error}"),
        }
        assert_eq!(ephemeral_owner(&zk), session);
        ctx.with_ensemble(move |ensemble| {
            ensemble.node(victim).start();
            ensemble.wait_serving();
        })
        .await;
        assert_eq!(ephemeral_owner(&zk), session);
        if led {
            changes.drain();
        }
    }
    print_measurement("fail-over (leader killed, suspended after, connected after)", &times);
    for (led, suspended, connected) in times {
        assert!(suspended < SLACK, "suspended after {suspended:?}");
        assert!(led || connected < 2 * SLACK, "connected after {connected:?}");
    }
    assert_owned(&zk, "/mine", session).await;
    assert_eq!(changes.drain(), []);
    zk.stop().await.expect("the client stops");
}

/// The server of a session with watches is killed, once a follower and once the leader. Each watch fires
/// once, whether its node changes while the client is disconnected or later. The other watches stay armed.
pub async fn watches_survive_a_fail_over<H: Handler>(handler: H) {
    let ctx = EnsembleContext::with_filters(handler).await;
    for leader in [false, true] {
        let victim = if leader { ctx.leader().await } else { ctx.follower().await };
        let zk = ctx.connect(ctx.proxy_hosts(victim), LONG).await;
        let mut changes = ctx.changes(&zk);
        let session = ephemeral_owner(&zk);
        let other = ctx.connect(ctx.hosts((victim + 1) % 3), LONG).await;
        let events = count_events(&ctx);

        let top = format!("/watches-{leader}");
        zk.create(&top, b"", CreateMode::Persistent).await.expect("the node is new");
        zk.create("/mine", b"", CreateMode::Ephemeral).await.expect("the node is new");
        let while_away = ArmedWatch::all(&zk, &format!("{top}/away")).await;
        let later = ArmedWatch::all(&zk, &format!("{top}/later")).await;
        let never = ArmedWatch::all(&zk, &format!("{top}/never")).await;
        // Two watches on one path share one event.
        let twin = zk.get_and_watch(&while_away[0].path).await.expect("the node is there").2;

        ctx.refuse(true);
        ctx.with_ensemble(move |ensemble| ensemble.node(victim).kill()).await;
        changes.expect(&[Suspended]).await;
        settle(&ctx, &other).await;
        for armed in &while_away {
            armed.change(&other).await.expect("the other client can write");
        }
        ctx.refuse(false);
        let seen = changes.until(Connected).await;
        assert_eq!(seen, [Connected]);
        assert_eq!(ephemeral_owner(&zk), session);
        for armed in &later {
            armed.change(&other).await.expect("the other client can write");
        }

        let paths: Vec<_> = while_away.iter().chain(&later).map(|a| a.path.clone()).collect();
        for armed in while_away.into_iter().chain(later) {
            ctx.within("a watch", armed.wait_for_event()).await;
        }
        ctx.within("the twin", twin).await.expect("it fires as well");
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
            ctx.within("a watch", armed.wait_for_event()).await;
        }
        assert_eq!(changes.drain(), []);
        zk.stop().await.expect("the client stops");
        ctx.with_ensemble(move |ensemble| {
            ensemble.node(victim).start();
            ensemble.wait_serving();
        })
        .await;
    }
}

pub async fn a_persistent_watch_goes_on_after_a_fail_over<H: Handler>(handler: H) {
    let ctx = EnsembleContext::with_filters(handler).await;
    for leader in [false, true] {
        let victim = if leader { ctx.leader().await } else { ctx.follower().await };
        let zk = ctx.connect(ctx.proxy_hosts(victim), LONG).await;
        let mut changes = ctx.changes(&zk);
        let other = ctx.connect(ctx.hosts((victim + 1) % 3), LONG).await;
        let top = format!("/persistent-{leader}");
        let create = async |name: &str| {
            let path = format!("{top}/{name}");
            other.create(path, b"", CreateMode::Persistent).await.expect("the node is new");
        };
        other.create(&top, b"", CreateMode::Persistent).await.expect("the node is new");
        zk.sync("/").await.expect("a server serves");
        let mode = AddWatchMode::PersistentRecursive;
        let mut watch = zk.add_watch(&top, mode).await.expect("a watch");
        let is_creation = |item: &PersistentWatchEvent, name: &str| {
            matches!(item, PersistentWatchEvent::Changed(event)
                if event.kind == EventType::NodeCreated && *event.path == format!("{top}/{name}"))
        };
        create("before").await;
        let item = ctx.within("an event", watch.next()).await.expect("it goes on");
        assert!(is_creation(&item, "before"), "{item:?}");

        ctx.refuse(true);
        ctx.with_ensemble(move |ensemble| ensemble.node(victim).kill()).await;
        changes.expect(&[Suspended]).await;
        settle(&ctx, &other).await;
        create("missed").await;
        ctx.refuse(false);
        assert_eq!(changes.until(Connected).await, [Connected]);
        let item = ctx.within("the gap", watch.next()).await.expect("it goes on");
        assert!(matches!(item, PersistentWatchEvent::Gap { since } if since > 0), "{item:?}");
        zk.sync(&top).await.expect("a server serves");
        let names = zk.get_children(&top).await.expect("a server serves");
        assert!(names.iter().any(|name| name == "missed"), "{names:?}");

        create("later").await;
        let mut item = ctx.within("an event", watch.next()).await.expect("it goes on");
        if is_creation(&item, "missed") {
            // The server was behind when the watch was armed again.
            item = ctx.within("an event", watch.next()).await.expect("it goes on");
        }
        assert!(is_creation(&item, "later"), "{item:?}");
        zk.stop().await.expect("the client stops");
        ctx.with_ensemble(move |ensemble| {
            ensemble.node(victim).start();
            ensemble.wait_serving();
        })
        .await;
    }
}

/// Waits until the remaining servers serve and `zk` is connected.
async fn settle<H: Handler>(ctx: &EnsembleContext<H>, zk: &Client) {
    ctx.with_ensemble(crate::Ensemble::wait_serving).await;
    while let Err(error) = ctx.within("a server", zk.sync("/")).await {
        assert!(is_connection_loss(&error), "{error}");
    }
}

/// Counts the events that servers send through the proxies, by path.
fn count_events<H: Handler>(ctx: &EnsembleContext<H>) -> Arc<Mutex<HashMap<String, usize>>> {
    const NOTIFICATION: &[u8] = &(-1_i32).to_be_bytes();
    const PATH: usize = 16 + 4 + 4 + 4;

    let events = Arc::<Mutex<HashMap<String, usize>>>::default();
    for proxy in ctx.proxies() {
        let events = events.clone();
        proxy.on_frame(Direction::ToClient, move |frame| {
            if frame.starts_with(NOTIFICATION) {
                let path = String::from_utf8_lossy(&frame[PATH..]).into_owned();
                *lock(&events).entry(path).or_default() += 1;
            }
            FrameAction::Pass
        });
    }
    events
}

/// The client disconnects from a stalled server within two thirds of the session timeout, and the session
/// continues on another one. The server is once a follower and once the leader.
pub async fn a_stalled_server_is_disconnected_in_time<H: Handler>(handler: H) {
    const TIMEOUT: Duration = Duration::from_secs(6);

    let ctx = EnsembleContext::new(handler).await;
    for leader in [false, true] {
        let victim = if leader { ctx.leader().await } else { ctx.follower().await };
        let zk = ctx.connect(ctx.hosts(victim), TIMEOUT).await;
        let mut changes = ctx.changes(&zk);
        let session = ephemeral_owner(&zk);
        assert_eq!(zk.session_timeout(), TIMEOUT);
        zk.create("/mine", b"", CreateMode::Ephemeral).await.expect("the node is new");
        assert!(zk.held_for() > TIMEOUT / 2);

        let paused = ctx
            .with_ensemble(move |ensemble| {
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
        assert!(is_connection_loss(&lost) && lost.outcome() == Some(Outcome::Unknown), "{lost}");
        let seen = changes.until(Connected).await;
        print_measurement(
            "stalled server (leader, left after, connected after)",
            (leader, left, paused.elapsed()),
        );
        assert!(left < TIMEOUT * 2 / 3 + SLACK, "left after {left:?}");
        assert!(leader || seen == [Connected], "{seen:?}");
        assert!(!seen.contains(&Lost), "{seen:?}");
        assert_ne!(ctx.index_of(&zk), victim);
        assert_eq!(ephemeral_owner(&zk), session);
        assert_owned(&zk, "/mine", session).await;

        ctx.with_ensemble(move |ensemble| {
            ensemble.node(victim).resume();
            ensemble.wait_serving();
        })
        .await;
        zk.stop().await.expect("the client stops");
    }
}

/// A user with the right to do so removes a member, and the client continues.
pub async fn a_client_continues_when_a_member_leaves<H: Handler>(handler: H) {
    let ctx = EnsembleContext::new(handler).await;
    let zk = ctx.connect(ctx.hosts(ctx.leader().await), LONG).await;
    let leaver = ctx.follower().await + 1;
    let leave = Reconfig::default().leaving(leaver.to_string());
    let error = ctx.within("a refusal", zk.reconfig(&leave)).await.expect_err("no right");
    assert_eq!(error.code(), Some(ErrorCode::NoAuth), "{error}");

    ctx.within("auth", zk.add_auth("digest", "super:test")).await.expect("it is taken");
    let stale = leave.clone().from_config(1);
    let error = ctx.within("a refusal", zk.reconfig(&stale)).await.expect_err("another version");
    assert_eq!(error.code(), Some(ErrorCode::BadVersion), "{error}");
    let changed = ctx.within("a change", zk.reconfig(&leave)).await.expect("it is done");
    let (config, _) = changed;
    assert_eq!(config.members.len(), 2, "{config}");
    assert!(config.members.iter().all(|member| member.id != leaver as i64), "{config}");
    ctx.within("a call", zk.exists("/")).await.expect("the session goes on");
}
