//! What needs servers of its own: the members of an ensemble, the kinds of nodes that servers delete, settings of
//! servers, and clients that spread over more servers.

use zk_client::{CreateOptions, Member, MemberRole, ServerMode};

use super::*;

/// The sorted ids of the members.
fn ids(config: &zk_client::EnsembleConfig) -> Vec<i64> {
    config.members.iter().map(|member| member.id).collect()
}

/// A client of all servers, as the user `super`.
async fn super_user<H: Handler>(ctx: &EnsembleContext<H>) -> Client {
    let leader = ctx.leader().await;
    let zk = ctx.connect(ctx.hosts(leader), LONG).await;
    ctx.within("auth", zk.add_auth("digest", "super:test")).await.expect("it is taken");
    zk
}

/// Tries a change again while it is refused because servers are not up to date yet.
async fn reconfig<H: Handler>(
    ctx: &EnsembleContext<H>,
    zk: &Client,
    change: &Reconfig,
) -> zk_client::EnsembleConfig {
    loop {
        match ctx.within("a change", zk.reconfig(change)).await {
            Ok((config, stat)) => {
                assert_eq!(config.version, stat.mzxid);
                return config;
            }
            Err(error) => assert!(
                matches!(
                    error.code(),
                    Some(ErrorCode::NewConfigNoQuorum | ErrorCode::ReconfigInProgress)
                ) || is_connection_loss(&error),
                "{error}"
            ),
        }
        ctx.sleep(TICK).await;
    }
}

async fn refusal<H: Handler>(
    ctx: &EnsembleContext<H>,
    zk: &Client,
    change: Reconfig,
) -> Option<ErrorCode> {
    let refused = ctx.within("a refusal", zk.reconfig(&change)).await;
    let error = refused.expect_err("the change is not valid");
    assert_eq!(error.outcome(), Some(Outcome::NotApplied), "{error}");
    error.code()
}

pub async fn members_can_be_removed_added_and_changed<H: Handler>(handler: H) {
    let ctx = EnsembleContext::new(handler).await;
    let zk = super_user(&ctx).await;
    let below = zk.with_chroot("/app").expect("a good path");
    let (config, stat, watch) =
        ctx.within("the members", below.get_config_and_watch()).await.expect("all may read it");
    assert_eq!(ids(&config), [1, 2, 3]);
    assert!(config.members.iter().all(|member| member.role == MemberRole::Participant));
    assert_eq!(config.connect_string(), ctx.hosts(0));
    assert_eq!(
        ctx.within("the same", zk.get_config()).await.expect("a read"),
        (config.clone(), stat)
    );
    let mut modes = Vec::new();
    for index in 0..3 {
        let stats = ctx.within("stats", zk.server_stats_of(ctx.host(index))).await;
        modes.push(stats.expect("it serves").mode.to_string());
    }
    modes.sort();
    assert_eq!(modes, ["follower", "follower", "leader"]);
    assert_eq!(ctx.within("the mode", zk.server_mode()).await.expect("a mode"), ServerMode::Leader);

    // One leaves, if nobody has changed anything meanwhile.
    let leaver = ctx.follower().await;
    let member: Member = config.members[leaver].clone();
    let leave = Reconfig::default().leaving(member.id.to_string()).from_config(config.version);
    let two = reconfig(&ctx, &zk, &leave).await;
    assert!(two.version > config.version && !ids(&two).contains(&member.id), "{two}");
    assert_eq!(two.members.len(), 2);
    let event = ctx.within("the watch", watch).await.expect("it fires");
    assert_eq!((event.kind, &*event.path), (EventType::NodeDataChanged, "/zookeeper/config"));
    let code = refusal(&ctx, &zk, leave).await;
    assert_eq!(code, Some(ErrorCode::BadVersion));

    // It comes back, once as an observer and then with a vote.
    let line = member.to_string();
    let observer = line.replace(":participant", ":observer");
    let three = reconfig(&ctx, &zk, &Reconfig::default().joining(observer)).await;
    assert_eq!(three.members[leaver].role, MemberRole::Observer, "{three}");
    let host = ctx.host(leaver);
    let mode = async {
        loop {
            match zk.server_stats_of(&host).await {
                Ok(stats) if stats.mode == ServerMode::Observer => return,
                _ => ctx.sleep(TICK).await,
            }
        }
    };
    ctx.within("the observer", mode).await;
    let three = reconfig(&ctx, &zk, &Reconfig::default().joining(&line)).await;
    assert_eq!((ids(&three), three.members[leaver].role), (vec![1, 2, 3], MemberRole::Participant));

    // The complete list.
    let members: Vec<_> = config.members.iter().map(ToString::to_string).collect();
    let without: Vec<_> = members.iter().filter(|other| **other != line).cloned().collect();
    let two = reconfig(&ctx, &zk, &Reconfig::default().new_members(without.join(","))).await;
    assert_eq!((two.members.len(), ids(&two).contains(&member.id)), (2, false), "{two}");
    let three = reconfig(&ctx, &zk, &Reconfig::default().new_members(members.join(","))).await;
    assert_eq!(ids(&three), [1, 2, 3]);
    zk.stop().await.expect("the client stops");
}

pub async fn changes_of_members_that_cannot_be_are_refused<H: Handler>(handler: H) {
    let ctx = EnsembleContext::new(handler).await;
    let nobody = ctx.connect(ctx.hosts(0), LONG).await;
    let leave = || Reconfig::default().leaving("1");
    assert_eq!(refusal(&ctx, &nobody, leave()).await, Some(ErrorCode::NoAuth));
    let zk = super_user(&ctx).await;
    let stale = leave().from_config(1);
    assert_eq!(refusal(&ctx, &zk, stale).await, Some(ErrorCode::BadVersion));
    for invalid in [
        Reconfig::default().leaving("1,2"), // one would be left
        Reconfig::default().joining("server.4=127.0.0.1:1:2"), // without a port for clients
        Reconfig::default().new_members("no list"),
    ] {
        let code = refusal(&ctx, &zk, invalid).await;
        assert_eq!(code, Some(ErrorCode::BadArguments));
    }
    let absent = (4..=7).map(|id| format!("server.{id}=127.0.0.1:{id}1:{id}2;127.0.0.1:{id}3"));
    let absent = Reconfig::default().joining(absent.collect::<Vec<_>>().join(","));
    assert_eq!(refusal(&ctx, &zk, absent).await, Some(ErrorCode::NewConfigNoQuorum));
    let (config, _) = ctx.within("the members", zk.get_config()).await.expect("a read");
    assert_eq!(ids(&config), [1, 2, 3]);
}

pub async fn reconfiguration_can_be_disabled<H: Handler>(handler: H) {
    let options = Options::default().config("reconfigEnabled=false");
    let ctx = EnsembleContext::of(handler, options, 1).await;
    let zk = super_user(&ctx).await;
    let code = refusal(&ctx, &zk, Reconfig::default().leaving("1")).await;
    assert_eq!(code, Some(ErrorCode::ReconfigDisabled));
}

pub async fn empty_containers_and_old_nodes_are_deleted<H: Handler>(handler: H) {
    let options = Options::default().property("znode.container.checkIntervalMs", "200");
    let ctx = EnsembleContext::of(handler, options, 1).await;
    let zk = ctx.connect(ctx.hosts(0), LONG).await;
    let create = async |path: &str, options: CreateOptions| {
        ctx.within("a node", zk.create(path, b"", options)).await.expect("it is new")
    };
    let ttl = || CreateOptions::ttl(Duration::from_millis(300));
    create("/container", CreateOptions::container()).await;
    create("/unused", CreateOptions::container()).await;
    create("/container/child", CreateOptions::ephemeral()).await;
    let parent = create("/parent-", ttl().sequence()).await;
    let child = create(&format!("{parent}/child"), CreateOptions::persistent()).await;
    create("/long", CreateOptions::ttl(Duration::from_secs(3600))).await;

    let old = create("/old-", ttl().sequence()).await;
    assert_eq!(old.len(), "/old-".len() + 10);
    let mut gone = Vec::new();
    for path in [&*old, "/container", &*parent] {
        let (stat, watch) = ctx.within("a watch", zk.exists_and_watch(path)).await.expect("a read");
        gone.push((path.to_owned(), stat, watch));
    }
    let (_, _, watch) = gone.remove(0);
    let event = ctx.within("its deletion", watch).await.expect("it is deleted");
    assert_eq!((event.kind, &*event.path), (EventType::NodeDeleted, &*old));
    // Those with a child are still there, however old they are.
    ctx.sleep(Duration::from_millis(600)).await;
    for (path, ..) in &gone {
        assert!(zk.exists(path).await.expect("a read").is_some(), "{path}");
    }
    for path in ["/container/child", &*child] {
        ctx.within("a deletion", zk.delete(path, None)).await.expect("it is there");
    }
    for (path, _, watch) in gone {
        let event = ctx.within("its deletion", watch).await.expect("it is deleted");
        assert_eq!((event.kind, &*event.path), (EventType::NodeDeleted, &*path));
    }
    // A container that never had a child stays, as does a node whose time is not over.
    for path in ["/unused", "/long"] {
        assert!(zk.exists(path).await.expect("a read").is_some(), "{path}");
    }
}

pub async fn a_server_without_extended_types_knows_no_time_to_live<H: Handler>(handler: H) {
    let options = Options::default().property("zookeeper.extendedTypesEnabled", "false");
    let ctx = EnsembleContext::of(handler, options, 1).await;
    let zk = ctx.connect(ctx.hosts(0), LONG).await;
    let mut changes = ctx.changes(&zk);
    let ttl = CreateOptions::ttl(Duration::from_secs(60));
    for known in [false, true] {
        let created = zk.create("/ttl", b"", &ttl);
        let error = ctx.within("a refusal", created).await.expect_err("it knows no such nodes");
        assert_eq!(error.code(), Some(ErrorCode::Unimplemented), "{error}");
        assert_eq!(error.outcome(), Some(Outcome::NotApplied), "{error}");
        let version = ctx.within("the version", zk.server_version()).await.expect("a version");
        let [major, minor, patch] = version;
        let text = match known {
            false => "createTTL, which exists since ZooKeeper 3.5.3, where \
                      zookeeper.extendedTypesEnabled is set"
                .to_owned(),
            true => {
                format!("the server, ZooKeeper {major}.{minor}.{patch}, does not support createTTL")
            }
        };
        assert!(error.to_string().contains(&text), "no {text} in: {error}");
    }
    let commit = zk.transaction().create("/a", b"", &ttl).commit();
    let results = ctx.within("a transaction", commit).await.expect("it is answered");
    let error = results.committed().expect_err("it knows no such nodes");
    assert_eq!(error.code(), Some(ErrorCode::Unimplemented), "{error}");
    let container = zk.create("/container", b"", CreateOptions::container());
    ctx.within("a container", container).await.expect("it knows these");
    assert_eq!(changes.drain(), []);
}

pub async fn words_that_are_not_whitelisted_are_refused<H: Handler>(handler: H) {
    let options = Options::default().config("4lw.commands.whitelist=srvr").read_only_mode(false);
    let ctx = EnsembleContext::of(handler, options, 1).await;
    let zk = ctx.connect(ctx.hosts(0), LONG).await;
    ctx.within("srvr", zk.server_stats()).await.expect("it is in the whitelist");
    for word in ["ruok", "mntr", "conf", "isro", "cons", "wchs"] {
        let refused = ctx.within("a refusal", zk.four_letter_word(word)).await;
        let error = refused.expect_err("it is not in the whitelist");
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::NotWhitelisted, None), "{error}");
        assert!(error.to_string().contains("4lw.commands.whitelist"), "{error}");
    }
    for error in [
        ctx.within("a refusal", zk.server_metrics()).await.expect_err("it is not in the whitelist"),
        ctx.within("a refusal", zk.server_settings())
            .await
            .expect_err("it is not in the whitelist"),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotWhitelisted, "{error}");
    }
    // No server knows this word.
    let error = ctx.within("no answer", zk.four_letter_word("nope")).await.expect_err("no word");
    assert!(matches!(error.kind(), ErrorKind::InvalidReply | ErrorKind::ConnectionLoss), "{error}");
    ctx.within("a call", zk.exists("/")).await.expect("the session goes on");
}

pub async fn a_server_without_a_quorum_does_not_serve<H: Handler>(handler: H) {
    let ctx = EnsembleContext::with(handler, Options::default().read_only_mode(false)).await;
    let survivor = ctx.follower().await;
    let zk = ctx.connect(ctx.hosts(survivor), LONG).await;
    ctx.with_ensemble(move |ensemble| {
        for index in (0..3).filter(|index| *index != survivor) {
            ensemble.node(index).kill();
        }
    })
    .await;
    let host = ctx.host(survivor);
    let refused = async {
        loop {
            match zk.server_stats_of(&host).await {
                Err(error) if error.kind() == ErrorKind::NotServing => return error,
                _ => ctx.sleep(TICK / 5).await,
            }
        }
    };
    let error = ctx.within("a refusal", refused).await;
    assert_eq!(error.host().map(ToString::to_string), Some(host), "{error}");
    assert!(error.to_string().contains("has no quorum"), "{error}");
}

/// The servers do not answer `isro`, as most do not.
pub async fn clients_spread_over_a_list_that_changes<H: Handler>(handler: H) {
    const CLIENTS: usize = 30;

    let options = Options::default().config("4lw.commands.whitelist=srvr").read_only_mode(false);
    let ctx = EnsembleContext::with(handler, options).await;
    let list = |servers: &[usize]| {
        servers.iter().map(|index| ctx.host(*index)).collect::<Vec<_>>().join(",")
    };
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let zk = ctx.start(client(list(&[0, 1]), LONG).randomize_hosts(true)).await;
        clients.push(zk);
    }
    let load = |clients: &[Client]| {
        let mut load = [0; 3];
        clients.iter().for_each(|zk| load[ctx.index_of(zk)] += 1);
        load
    };
    print_measurement("clients on two servers", load(&clients));
    for (servers, leaves) in [(&[0, 1, 2][..], None), (&[1, 2][..], Some(0))] {
        let mut before = Vec::new();
        for zk in &clients {
            before.push((ctx.index_of(zk), zk.session_id(), ctx.changes(zk)));
        }
        let calls: Vec<_> = clients
            .iter()
            .flat_map(|zk| {
                zk.set_hosts(&list(servers)).expect("good hosts");
                [zk.exists("/"), zk.exists("/")]
            })
            .collect();
        for call in calls {
            // A call may be in flight at a server that leaves.
            let result = ctx.within("a call", call).await;
            assert!(result.is_ok() || leaves.is_some(), "{result:?}");
        }
        // Long enough to show that nobody moves who is not to: each asks the added server, and that answers at once.
        ctx.sleep(Duration::from_secs(1)).await;
        let after = load(&clients);
        print_measurement("clients", after);
        for (zk, (old, session, mut changes)) in clients.iter().zip(before) {
            ctx.within("a call", zk.exists("/")).await.expect("a server serves");
            let new = ctx.index_of(zk);
            let expected: &[_] = if new == old { &[] } else { &[Suspended, Connected] };
            assert_eq!((zk.session_id(), &changes.drain()[..]), (session, expected));
            match leaves {
                // A longer list: clients move to the added server only.
                None => assert!(new == old || new == 2),
                Some(gone) => assert!(new != gone && (old == gone || new == old)),
            }
        }
        assert!(after[2] > 0 && after[2] < CLIENTS, "{after:?}");
    }
}
