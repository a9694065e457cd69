//! Servers and connections fail repeatedly while clients work.

use super::*;

/// Every server is restarted in turn, twice, while a counter is written. No write is lost or applied twice,
/// and the session survives.
pub async fn no_write_is_lost_in_a_rolling_restart<H: Handler>(handler: H) {
    let ctx = EnsembleContext::new(handler).await;
    let zk = ctx.connect(ctx.hosts(0), LONG).await;
    let reader = ctx.connect(ctx.hosts(1), LONG).await;
    let mut changes = ctx.changes(&zk);
    let session = zk.session_id();
    let workload = CounterWorkload::start(&ctx, &zk, &reader, Duration::from_millis(20)).await;
    for _ in 0..rounds("ZK_TEST_RESTARTS", 2) {
        for index in 0..3 {
            ctx.within("writes", workload.advance(&ctx, 10)).await;
            ctx.with_ensemble(move |ensemble| {
                ensemble.node(index).restart();
                ensemble.wait_serving();
            })
            .await;
        }
    }
    ctx.within("writes", workload.advance(&ctx, 10)).await;
    let summary = workload.finish(&ctx, &zk).await;
    let seen = changes.drain();
    print_measurement("rolling restart", (&summary, &seen));
    assert!(!seen.contains(&Lost), "{seen:?}");
    assert!(seen.contains(&Suspended), "no server was missed");
    assert_eq!(zk.session_id(), session);
    zk.stop().await.expect("the client stops");
}

/// The leader is killed repeatedly while a counter is written 200 times a second. No write is lost or applied
/// twice, and the session survives.
pub async fn no_write_is_lost_when_leaders_are_killed<H: Handler>(handler: H) {
    let ctx = EnsembleContext::new(handler).await;
    let zk = ctx.connect(ctx.hosts(0), LONG).await;
    let reader = ctx.connect(ctx.hosts(1), LONG).await;
    let mut changes = ctx.changes(&zk);
    let session = zk.session_id();
    let workload = CounterWorkload::start(&ctx, &zk, &reader, Duration::from_millis(5)).await;
    let mut gaps = Vec::new();
    for _ in 0..rounds("ZK_TEST_LEADERS", 5) {
        ctx.within("writes", workload.advance(&ctx, 100)).await;
        let (victim, killed) = ctx
            .with_ensemble(|ensemble| {
                let leader = ensemble.leader();
                let now = Instant::now();
                ensemble.node(leader).kill();
                (leader, now)
            })
            .await;
        changes.expect(&[Suspended]).await;
        let seen = changes.until(Connected).await;
        assert!(!seen.contains(&Lost), "{seen:?}");
        ctx.within("writes", workload.advance(&ctx, 1)).await;
        gaps.push(killed.elapsed());
        ctx.with_ensemble(move |ensemble| {
            ensemble.node(victim).start();
            ensemble.wait_serving();
        })
        .await;
        changes.drain();
    }
    let summary = workload.finish(&ctx, &zk).await;
    print_measurement("leaders die (writes again after)", (&summary, &gaps));
    assert_eq!(zk.session_id(), session);
    zk.stop().await.expect("the client stops");
}

/// The connection is cut repeatedly while watched nodes change before the cut, while the client is
/// disconnected, or later. Each watch fires once, and watches on unchanged nodes stay armed.
pub async fn watches_fire_once_over_many_reconnects<H: Handler>(handler: H) {
    let ctx = EnsembleContext::new(handler).await;
    let zk = ctx.connect(ctx.proxy_hosts(0), LONG).await;
    let other = ctx.connect(ctx.hosts(1), LONG).await;
    let mut changes = ctx.changes(&zk);
    let session = zk.session_id();
    let rounds = rounds("ZK_TEST_WATCH_ROUNDS", 40);
    let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), ());
    print_measurement("seed", seed);
    let mut random = fastrand::Rng::with_seed(seed);

    let mut unchanged = Vec::new();
    for round in 0..rounds {
        let mut armed = ArmedWatch::all(&zk, &format!("/round-{round}")).await;
        random.shuffle(&mut armed);
        let later = armed.split_off(6);
        let away = armed.split_off(3);
        let mut pending: Vec<_> = armed.iter().map(|armed| armed.change(&other)).collect();
        // In every other round the client stays disconnected until the changes are done.
        let kept_away = round % 2 == 1;
        ctx.refuse(kept_away);
        for proxy in ctx.proxies() {
            if random.bool() { proxy.cut_rst() } else { proxy.cut_fin() }
        }
        pending.extend(away.iter().map(|armed| armed.change(&other)));
        if kept_away {
            for change in pending.drain(..) {
                change.await.expect("the other client can write");
            }
            ctx.refuse(false);
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
            ctx.within(&what, armed.wait_for_event()).await;
        }
    }
    assert!(unchanged.iter().all(|armed| !armed.watch.ready()));
    let pending: Vec<_> = unchanged.iter().map(|armed| armed.change(&other)).collect();
    for change in pending {
        change.await.expect("the other client can write");
    }
    for armed in unchanged {
        ctx.within("a watch on what did not change", armed.wait_for_event()).await;
    }
    assert_eq!(zk.session_id(), session);
    assert_eq!(changes.drain(), []);
    zk.stop().await.expect("the client stops");
}

/// 20,000 watches with paths of 200 bytes are armed again on the next server, in packets below its size
/// limit, and fire.
pub async fn many_watches_are_rearmed_on_another_server<H: Handler>(handler: H) {
    const WATCHES: usize = 20_000;
    const SET_WATCHES: &[u8] = &[0xff, 0xff, 0xff, 0xf8, 0, 0, 0, 101];
    const MOST: usize = 128 << 10;

    let ctx = EnsembleContext::with_filters(handler).await;
    let zk = ctx.connect(ctx.proxy_hosts(0), LONG).await;
    let other = ctx.connect(ctx.hosts(1), LONG).await;
    let mut changes = ctx.changes(&zk);
    let session = zk.session_id();
    let path = |index: usize| format!("/{index:0199}");
    let pending: Vec<_> = (0..WATCHES).map(|index| zk.exists_and_watch(path(index))).collect();
    let mut watches = Vec::new();
    for pending in pending {
        watches.push(pending.await.expect("a server serves").1);
    }

    let [longest, packets] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    for proxy in ctx.proxies() {
        let (longest, packets) = (longest.clone(), packets.clone());
        proxy.on_frame(Direction::ToServer, move |frame| {
            longest.fetch_max(frame.len(), Ordering::Relaxed);
            packets.fetch_add(usize::from(frame.starts_with(SET_WATCHES)), Ordering::Relaxed);
            FrameAction::Pass
        });
    }
    ctx.refuse(true);
    ctx.proxies()[0].cut_rst();
    changes.expect(&[Suspended]).await;
    let away: Vec<_> = (0..WATCHES).step_by(400).collect();
    for index in &away {
        other.create(path(*index), b"", CreateMode::Persistent).await.expect("the node is new");
    }
    let released = Instant::now();
    ctx.refuse(false);
    changes.expect(&[Connected]).await;
    zk.exists("/").await.expect("the connection works");
    let ready = released.elapsed();

    let node = ctx.index_of(&zk);
    let left = WATCHES - away.len();
    ctx.with_ensemble(move |ensemble| {
        eventually(LIMIT, "all watches to be armed again", || {
            let wchs = ensemble.node(node).four_letter_word("wchs");
            wchs.contains(&format!("Total watches:{left}\n")).then_some(())
        });
    })
    .await;
    let [longest, packets] = [longest, packets].map(|count| count.load(Ordering::Relaxed));
    print_measurement(
        "many watches (packets, longest, first reply after)",
        (packets, longest, ready),
    );
    assert!(longest <= MOST, "a packet of {longest} bytes");
    assert!(packets > WATCHES * 200 / MOST, "{packets} packets");

    let later: Vec<_> = (1..WATCHES).step_by(400).collect();
    for index in &later {
        other.create(path(*index), b"", CreateMode::Persistent).await.expect("the node is new");
    }
    for index in away.iter().chain(&later) {
        let event = ctx.within("a watch", watches[*index].clone()).await.expect("it fires");
        assert_eq!((event.kind, event.path.as_str()), (EventType::NodeCreated, &*path(*index)));
    }
    let fired = watches.iter().filter(|watch| watch.ready()).count();
    assert_eq!(fired, away.len() + later.len());
    assert_eq!(zk.session_id(), session);
    assert_eq!(changes.drain(), []);
    zk.stop().await.expect("the client stops");
}
