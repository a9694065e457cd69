//! The options of the builder, by their effects.

use std::time::Duration;

use zk_client::{
    Acl, Backoff, CREATOR_ALL_ACL, CreateMode, CreateOptions, ErrorKind, Handler, OPEN_ACL_UNSAFE,
    Outcome, Perms, SessionState,
};

use super::{
    context::TestContext,
    recorded_log,
    shared_server::{client_builder, new_proxy, shared_server},
};
use crate::Direction;

/// The servers' limit on the size of a packet.
const MAX_BUFFER: usize = 0xf_ffff;

pub async fn hosts_can_have_a_chroot<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let builder = client_builder().default_acl(&OPEN_ACL_UNSAFE);
    let whole = ctx.connect(builder.clone().hosts(shared_server().hosts())).await;
    assert!(whole.chroot().is_root());
    let hosts = format!("127.0.0.1:1,{}{}/below", shared_server().hosts(), ctx.root());
    let below = ctx.connect(builder.hosts(hosts)).await;
    assert_eq!(below.chroot().as_str(), format!("{}/below", ctx.root()));
    ctx.ok("the chroot itself", below.ensure_path("/")).await;
    ctx.ok("a node", below.create("/node", b"", CreateMode::Persistent)).await;
    let path = format!("{}/below/node", ctx.root());
    assert!(ctx.ok("exists", whole.exists(path)).await.is_some());
}

pub async fn a_missing_chroot_is_logged_once_per_start<H: Handler>(handler: H) {
    recorded_log::record();
    let ctx = TestContext::new(handler);
    let chroot = format!("{}/missing", ctx.root());
    let warnings = || {
        let log = recorded_log::recorded();
        let warns = |line: &&str| line.starts_with("WARN") && line.contains(&chroot);
        log.lines().filter(warns).map(str::to_owned).collect::<Vec<_>>()
    };
    let zk = ctx.connect(ctx.builder().hosts(format!("{}{chroot}", shared_server().hosts()))).await;
    ctx.err("a call below", zk.get_children("/")).await;
    let warned = warnings();
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(
        warned[0].contains("does not exist") && warned[0].contains("ensure_path"),
        "{warned:?}"
    );
    ctx.err("a call below", zk.get_children("/")).await;
    ctx.ok("to restart", zk.restart()).await;
    ctx.err("a call below", zk.get_children("/")).await;
    assert_eq!(warnings().len(), 2, "one for each start");

    ctx.ok("the chroot", zk.ensure_path("/")).await;
    ctx.ok("to restart", zk.restart()).await;
    ctx.ok("a call below", zk.get_children("/")).await;
    assert_eq!(warnings().len(), 2, "it is there");
}

pub async fn invalid_options_fail_at_once<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let good = shared_server().hosts();
    let cases = [
        client_builder(),
        client_builder().hosts(""),
        client_builder().hosts("host:notaport"),
        client_builder().hosts(format!("{good}/bad//chroot")),
        client_builder().hosts(format!("{good}/..")),
        client_builder().hosts(good).session_timeout(Duration::ZERO),
    ];
    for builder in cases {
        let error = builder.clone().build_on(ctx.handler.clone()).expect_err("bad options");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{builder:?}: {error}");
        let connecting = builder.clone().connect_on(ctx.handler.clone());
        assert!(connecting.ready());
        let error = ctx.err("to connect", connecting).await;
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{builder:?}: {error}");
    }
}

pub async fn the_server_negotiates_the_session_timeout<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let cases = [(100, 500), (7_000, 7_000), (600_000, 60_000)];
    for (asked, granted) in cases.map(|(a, g)| (Duration::from_millis(a), Duration::from_millis(g)))
    {
        let zk = ctx.build(ctx.builder().session_timeout(asked));
        assert_eq!(zk.session_timeout(), asked);
        ctx.ok("to start", zk.start()).await;
        assert_eq!(zk.session_timeout(), granted);
        assert!(zk.held_for() < granted);
    }
}

pub async fn a_read_only_client_can_write_to_full_servers<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.connect(ctx.builder().read_only(true)).await;
    assert_eq!(zk.state(), SessionState::Connected);
    ctx.ok("a node", zk.create("/node", b"", CreateMode::Ephemeral)).await;
}

pub async fn all_credentials_are_sent<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let builder = ctx.builder().auth("digest", "ann:one").auth("digest", "bob:two");
    let zk = ctx.connect(builder).await;
    let options = CreateOptions::persistent().acl(&CREATOR_ALL_ACL);
    ctx.ok("a node", zk.create("/node", b"", options)).await;
    let (acls, _) = ctx.ok("its ACL", zk.get_acls("/node")).await;
    let mut users: Vec<_> =
        acls.iter().filter_map(|acl| acl.id.id.split_once(':')).map(|(user, _)| user).collect();
    users.sort_unstable();
    assert_eq!(users, ["ann", "bob"]);
    for auth in ["ann:one", "bob:two"] {
        let zk = ctx.connect(ctx.builder().auth("digest", auth)).await;
        ctx.ok("to read", zk.get("/node")).await;
    }
}

pub async fn hosts_are_tried_in_order_or_at_random<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (first, second) = (new_proxy(), new_proxy());
    let hosts = format!("{},{}", first.address(), second.address());
    for _ in 0..8 {
        let zk = ctx.connect(ctx.builder_at(&hosts).randomize_hosts(false)).await;
        assert_eq!(zk.host(), Some(first.address().to_string()));
    }
    assert_eq!((first.accepted(), second.accepted()), (8, 0));
    for _ in 0..24 {
        drop(ctx.connect(ctx.builder_at(&hosts)).await);
    }
    // This fails by chance once in 16 million runs.
    assert!(first.accepted() > 8 && second.accepted() > 0);
}

pub async fn attempts_are_spaced_by_the_backoff<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (often, seldom) = (new_proxy(), new_proxy());
    let every = |delay| Backoff { min: delay, max: delay };
    let start = |proxy: &crate::Proxy, delay| {
        proxy.refuse(true);
        let builder = ctx.builder_at(proxy.address()).connection_retry(every(delay));
        let zk = ctx.build(builder);
        drop(zk.start());
        zk
    };
    let _slow = start(&seldom, Duration::from_secs(60));
    ctx.wait_until("the first attempt", || seldom.accepted() == 1).await;
    let _fast = start(&often, Duration::from_millis(5));
    ctx.wait_until("many attempts", || often.accepted() >= 20).await;
    assert_eq!(seldom.accepted(), 1);
}

pub async fn a_missing_acl_is_an_error_with_advice<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.connect(client_builder().hosts(shared_server().hosts())).await;
    let path = format!("{}/a/b", ctx.root());
    let makepath = CreateOptions::persistent().makepath();
    let errors = [
        ctx.err("create", zk.create(&path, b"", CreateMode::Persistent)).await,
        ctx.err("create", zk.create_with_stat(&path, b"", CreateMode::Ephemeral)).await,
        ctx.err("makepath", zk.create(&path, b"", makepath)).await,
        ctx.err("ensure_path", zk.ensure_path(&path)).await,
        ctx.err(
            "a transaction",
            zk.transaction().create(&path, b"", CreateMode::Persistent).commit(),
        )
        .await,
    ];
    for error in errors {
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::InvalidInput, Some(Outcome::NotSent))
        );
        assert!(error.to_string().contains("CreateOptions::acl"), "{error}");
        assert!(error.to_string().contains("ClientBuilder::default_acl"), "{error}");
    }
    assert!(ctx.ok("children", zk.get_children(ctx.root())).await.is_empty());

    let read_only = [Acl::new(Perms::READ, "world", "anyone")];
    let options = CreateOptions::persistent().acl(&read_only);
    let path = format!("{}/own", ctx.root());
    ctx.ok("a node with an ACL of its own", zk.create(&path, b"", options)).await;
    assert_eq!(ctx.ok("its ACL", zk.get_acls(&path)).await.0, read_only);
    let path = format!("{}/given/deep", ctx.root());
    ctx.ok("a path", zk.ensure_path_with(&path, &OPEN_ACL_UNSAFE)).await;
}

pub async fn new_nodes_get_the_default_acl<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let acl = [Acl::new(Perms::ALL, "world", "anyone"), Acl::new(Perms::READ, "ip", "127.0.0.1")];
    let zk = ctx.connect(ctx.builder().default_acl(acl.clone())).await;
    let below = zk.with_chroot("/below").expect("a good path");
    ctx.ok("create", zk.create("/created", b"", CreateMode::Persistent)).await;
    ctx.ok("ensure_path", zk.ensure_path("/ensured/deep")).await;
    ctx.ok("makepath", below.create("/a/b", b"", CreateOptions::persistent().makepath())).await;
    for path in ["/created", "/ensured", "/ensured/deep", "/below", "/below/a", "/below/a/b"] {
        let (mut found, _) = ctx.ok("an ACL", zk.get_acls(path)).await;
        found.sort();
        let mut acl = acl.to_vec();
        acl.sort();
        assert_eq!(found, acl, "{path}");
    }
}

pub async fn a_reply_over_the_limit_fails_only_its_call<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let big = ctx.client().await;
    let name = "n".repeat(100);
    let names: Vec<_> = (0..300).map(|n| format!("/many/{name}{n}")).collect();
    ctx.ok("a node", big.create("/many", b"", CreateMode::Persistent)).await;
    let creates: Vec<_> =
        names.iter().map(|name| big.create(name, b"", CreateMode::Persistent)).collect();
    for create in creates {
        ctx.ok("a child", create).await;
    }

    let zk = ctx.connect(ctx.builder().max_reply(20_000)).await;
    let mut states = zk.states();
    let session = zk.session_id();
    let before = zk.exists("/many");
    let children = zk.get_children("/many");
    let watched = zk.get_children_and_watch("/many");
    let after = zk.set("/many", b"data", None);
    assert!(ctx.ok("a call before", before).await.is_some());
    for error in
        [ctx.err("too many children", children).await, ctx.err("too many children", watched).await]
    {
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::ReplyTooLarge, Some(Outcome::Applied))
        );
        assert!(error.to_string().contains("over the limit of 20000"), "{error}");
    }
    assert_eq!(ctx.ok("a call after", after).await.version, 1);
    assert_eq!((zk.session_id(), states.try_next()), (session, None));
    assert_eq!(ctx.ok("children", big.get_children("/many")).await.len(), 300);
}

pub async fn a_request_over_the_limit_is_not_sent<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let mut states = zk.states();
    let session = zk.session_id();
    // The header, the path, the length of the data, one ACL entry for world:anyone, and the flags.
    let path = ctx.root().len() + "/big".len();
    let most = MAX_BUFFER - (8 + (4 + path) + 4 + (4 + 4 + 4 + 5 + 4 + 6) + 4);
    let data = vec![b'x'; most + 1];

    let error = ctx.err("a byte too much", zk.create("/big", &data, CreateMode::Persistent)).await;
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::RequestTooLarge, Some(Outcome::NotSent))
    );
    assert!(error.to_string().contains("1048576 bytes is over the limit of 1048575"), "{error}");
    assert_eq!(ctx.ok("exists", zk.exists("/big")).await, None);

    ctx.ok("all that fits", zk.create("/big", &data[..most], CreateMode::Persistent)).await;
    let (read, stat) = ctx.ok("to read", zk.get("/big")).await;
    assert!(read == data[..most] && stat.data_length as usize == most);
    assert_eq!((zk.session_id(), states.try_next()), (session, None));

    let zk = ctx.connect(ctx.builder().max_request(1_000)).await;
    let error = ctx.err("a byte too much", zk.set("/big", [0; 1_000], None)).await;
    assert_eq!(error.kind(), ErrorKind::RequestTooLarge);
    ctx.ok("what fits", zk.set("/big", [0; 900], None)).await;
    let mut transaction = zk.transaction();
    for _ in 0..10 {
        transaction = transaction.set("/big", [0; 100], None);
    }
    let error = ctx.err("too much at once", transaction.commit()).await;
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::RequestTooLarge, Some(Outcome::NotSent))
    );
}

pub async fn calls_over_the_queue_limit_are_refused<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let proxy = new_proxy();
    let zk = ctx.connect(ctx.builder_at(proxy.address()).max_in_flight(3)).await;
    // The client has also checked its chroot by then.
    ctx.ok("a call", zk.exists("/")).await;
    proxy.hold(Direction::ToClient);
    let calls: Vec<_> = (0..3).map(|_| zk.exists("/")).collect();
    let error = ctx.err("one call more", zk.exists("/")).await;
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::QueueFull, Some(Outcome::NotSent)));
    assert!(error.is_retryable());
    let (watch, transaction) = (zk.get_and_watch("/"), zk.transaction().check("/", 0).commit());
    assert_eq!(ctx.err("a watch", watch).await.kind(), ErrorKind::QueueFull);
    assert_eq!(ctx.err("a transaction", transaction).await.kind(), ErrorKind::QueueFull);
    proxy.release();
    for call in calls {
        ctx.ok("a call in the queue", call).await;
    }
    ctx.ok("a call later", zk.exists("/")).await;

    // The limit also holds while suspended.
    ctx.cut_off(&zk, &proxy).await;
    let calls: Vec<_> = (0..3).map(|_| zk.exists("/")).collect();
    assert_eq!(ctx.err("one more", zk.exists("/")).await.kind(), ErrorKind::QueueFull);
    proxy.refuse(false);
    for call in calls {
        ctx.ok("a call in the queue", call).await;
    }
    ctx.ok("to stop", zk.stop()).await;
}

pub async fn bytes_over_the_queue_limit_are_refused<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let proxy = new_proxy();
    let builder = ctx.builder_at(proxy.address()).max_queued_bytes(300_000);
    let zk = ctx.connect(builder).await;
    ctx.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    ctx.cut_off(&zk, &proxy).await;
    let data = vec![b'x'; 100_000];
    let calls: Vec<_> = (0..3).map(|_| zk.set("/node", &data, None)).collect();
    let error = ctx.err("one call more", zk.set("/node", &data, None)).await;
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::QueueFull, Some(Outcome::NotSent)));
    assert!(error.to_string().contains("300000 bytes of requests are queued"), "{error}");
    assert_eq!(ctx.err("a small one", zk.exists("/")).await.kind(), ErrorKind::QueueFull);
    proxy.refuse(false);
    for call in calls {
        ctx.ok("a call in the queue", call).await;
    }
    assert_eq!(ctx.ok("exists", zk.exists("/node")).await.expect("a node").version, 3);
}

pub async fn hosts_can_be_changed<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (first, second) = (new_proxy(), new_proxy());
    // Hosts in a given order: the client stays as long as its host is listed.
    let zk = ctx.connect(ctx.builder_at(first.address()).randomize_hosts(false)).await;
    let session = zk.session_id();
    let mut states = zk.states();
    let both = format!("{},{}", second.address(), first.address());
    zk.set_hosts(&both).expect("good hosts");
    ctx.ok("to read", zk.exists("/")).await;
    assert_eq!((zk.host(), states.try_next()), (Some(first.address().to_string()), None));

    zk.set_hosts(&second.address().to_string()).expect("good hosts");
    ctx.expect_states(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
    assert_eq!((zk.host(), zk.session_id()), (Some(second.address().to_string()), session));
    ctx.wait_until("the first host to be left", || first.connections() == 0).await;

    for bad in ["", "127.0.0.1:1/chroot", "host:0x"] {
        let error = zk.set_hosts(bad).expect_err("bad hosts");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad}");
    }
    // The next session uses the new list too.
    ctx.ok("to restart", zk.restart()).await;
    assert_eq!(zk.host(), Some(second.address().to_string()));
}

pub async fn some_clients_move_to_a_host_that_is_added<H: Handler>(handler: H) {
    const CLIENTS: usize = 30;

    let ctx = TestContext::new(handler);
    let (first, second) = (new_proxy(), new_proxy());
    let (old, new) = (first.address().to_string(), second.address().to_string());
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let zk = ctx.connect(ctx.builder_at(&old)).await;
        clients.push((zk.session_id(), zk.states(), zk));
    }
    // As long as the added host does not answer, nobody moves.
    second.refuse(true);
    for (_, _, zk) in &clients {
        zk.set_hosts(&format!("{old},{new}")).expect("good hosts");
    }
    ctx.short_wait().await;
    for (_, states, zk) in &mut clients {
        ctx.ok("a call", zk.exists("/")).await;
        assert_eq!((zk.host().as_ref(), states.try_next()), (Some(&old), None));
        zk.set_hosts(&old).expect("good hosts");
    }
    second.refuse(false);

    let mut calls = Vec::new();
    for (_, _, zk) in &clients {
        calls.push(zk.exists("/"));
        zk.set_hosts(&format!("{old},{new}")).expect("good hosts");
        calls.push(zk.exists("/"));
    }
    for call in calls {
        ctx.ok("a call meanwhile", call).await;
    }
    // Half of them move. That fewer than one or more than 29 do is as likely as 1 in 500 million.
    let moved = || clients.iter().filter(|(_, _, zk)| zk.host().as_ref() == Some(&new)).count();
    ctx.wait_until("some to move", || moved() > 0).await;
    ctx.short_wait().await;
    assert!((1..CLIENTS).contains(&moved()), "{} of {CLIENTS} have moved", moved());
    for (session, states, zk) in &mut clients {
        if zk.host().as_ref() == Some(&new) {
            ctx.expect_states(states, &[SessionState::Suspended, SessionState::Connected]).await;
        }
        assert_eq!((zk.session_id(), states.try_next()), (*session, None));
    }
}

pub async fn a_server_answers_four_letter_words<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    assert_eq!(ctx.ok("ruok", zk.four_letter_word("ruok")).await, "imok");
    for word in ["", "ruo", "ruoks", "RUOK", "ru k"] {
        let error = ctx.err("no such word", zk.four_letter_word(word)).await;
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
    // The command uses its own connection and does not affect that of the session.
    proxy.refuse(true);
    let error = ctx.err("no connection", zk.four_letter_word("srvr")).await;
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::ConnectionLoss, None));
    assert!(error.to_string().contains(&proxy.address().to_string()), "{error}");
    ctx.ok("a call", zk.exists("/")).await;
    proxy.refuse(false);
    ctx.ok("stop", zk.stop()).await;
    let error = ctx.err("no server", zk.four_letter_word("ruok")).await;
    assert_eq!(error.kind(), ErrorKind::ConnectionClosed, "{error}");
}

pub async fn hosts_can_be_a_list_and_are_reported<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let address = shared_server().client_address();
    let last = format!("{address}{}", ctx.root());
    let list = [address.to_string(), last.clone()];
    let zk = ctx.connect(client_builder().hosts_list(&list)).await;
    let host = zk_client::HostPort::from(address);
    assert_eq!((zk.hosts(), zk.chroot().as_str()), (vec![host.clone(), host.clone()], ctx.root()));
    // The same chroot or none is accepted. Another chroot, or one after each host, is refused.
    for hosts in [last, address.to_string()] {
        assert!(zk.set_hosts(&hosts).is_ok(), "{hosts}");
        assert_eq!(zk.hosts(), std::slice::from_ref(&host));
    }
    for hosts in [format!("{address}/other"), format!("{address}/a,{address}/a")] {
        let error = zk.set_hosts(&hosts).expect_err("a chroot that cannot be");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains("chroot"), "{error}");
    }
}

pub async fn a_weak_handle_does_not_keep_its_client_alive<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let mut states = zk.states();
    let weak = zk.downgrade();
    let again = weak.upgrade().expect("the client is there");
    assert_eq!(again.session_id(), zk.session_id());
    drop((zk, again));
    assert!(weak.upgrade().is_none());
    ctx.expect_states(&mut states, &[SessionState::Lost]).await;
}
