//! The calls on znodes: what they do, return and refuse.

use std::time::Duration;

use zk_client::{
    Client, CreateMode, CreateOptions, Error, ErrorCode, ErrorKind, EventType, Handler, OpCode,
    Outcome, Stat,
};

use super::context::TestContext;

/// Asserts that the server refused with `code`.
#[track_caller]
fn assert_refused(error: &Error, code: ErrorCode) {
    assert_eq!(error.code(), Some(code), "{error}");
    assert_eq!(error.outcome(), Some(Outcome::NotApplied), "{error}");
    assert!(!error.is_retryable());
}

pub async fn every_kind_of_node_can_be_created<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let owner = zk.session_id().expect("it is connected").0;
    let hour = Duration::from_secs(3600);
    let ttl = CreateOptions::ttl(hour);
    // Servers do not reveal how they mark containers and nodes with a time to live.
    let cases = [
        ("/p", CreateOptions::persistent(), 0),
        ("/e", CreateOptions::ephemeral(), owner),
        ("/ps-", CreateOptions::persistent().sequence(), 0),
        ("/es-", CreateOptions::ephemeral().sequence(), owner),
        ("/c", CreateOptions::container(), 0),
        ("/t", ttl.clone(), 0),
        ("/ts-", ttl.sequence(), 0),
        ("/mode", CreateMode::EphemeralSequential.into(), owner),
        ("/mode-c", CreateMode::Container.into(), 0),
        ("/mode-t", CreateMode::PersistentWithTtl(hour).into(), 0),
        ("/mode-ts-", CreateMode::PersistentSequentialWithTtl(hour).into(), 0),
    ];
    for (path, options, owner) in cases {
        let created = ctx.ok(path, zk.create(path, b"data", &options)).await;
        let stat = ctx.ok("exists", zk.exists(&created)).await.expect("it is there");
        assert_eq!((stat.ephemeral_owner, stat.data_length), (owner, 4), "{created}");
        let is_numbered = created.len() == path.len() + 10 && created.starts_with(path);
        let sequential = path.ends_with('-') || path == "/mode";
        assert_eq!(is_numbered, sequential, "{created}");
        assert!(sequential || created == path, "{created}");

        let second = format!("{path}2");
        let (created, stat) = ctx.ok(path, zk.create_with_stat(&second, b"", &options)).await;
        let found = ctx.ok("exists", zk.exists(&created)).await;
        assert_eq!(found, Some(stat), "{created}");
        assert_eq!((stat.version, stat.num_children, stat.czxid), (0, 0, stat.mzxid));
    }
}

pub async fn an_invalid_time_to_live_is_not_sent<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let bad = [Duration::ZERO, Duration::from_micros(999), Duration::from_millis(1 << 40)];
    for ttl in bad {
        let error = ctx.err("a bad TTL", zk.create("/t", b"", CreateOptions::ttl(ttl))).await;
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::InvalidInput, Some(Outcome::NotSent))
        );
    }
    for ttl in [Duration::from_millis(1), Duration::from_millis((1 << 40) - 1)] {
        let options = CreateOptions::ttl(ttl).sequence();
        ctx.ok("a good TTL", zk.create("/t", b"", options)).await;
    }
}

pub async fn null_data_are_not_empty_data<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    ctx.ok("null", zk.create("/null", (), CreateMode::Persistent)).await;
    ctx.ok("empty", zk.create("/empty", b"", CreateMode::Persistent)).await;
    ctx.ok("none", zk.create("/none", None::<&[u8]>, CreateMode::Persistent)).await;
    ctx.ok("text", zk.create("/text", "text", CreateMode::Persistent)).await;
    let cases = [("/null", None), ("/empty", Some("")), ("/none", None), ("/text", Some("text"))];
    for (path, expected) in cases {
        let (data, stat) = ctx.ok("to read", zk.get_nullable(path)).await;
        assert_eq!(data.as_deref(), expected.map(str::as_bytes), "{path}");
        let (data, same) = ctx.ok("to read", zk.get(path)).await;
        assert_eq!((&data[..], same), (expected.unwrap_or_default().as_bytes(), stat), "{path}");
        let (data, same, _watch) = ctx.ok("to read", zk.get_nullable_and_watch(path)).await;
        assert_eq!((data.as_deref(), same), (expected.map(str::as_bytes), stat), "{path}");
    }
    let (_, _, watch) = ctx.ok("to read", zk.get_nullable_and_watch("/text")).await;
    ctx.ok("to null", zk.set("/text", (), None)).await;
    assert_eq!(ctx.ok("the event", watch).await.kind, EventType::NodeDataChanged);
    assert_eq!(ctx.ok("to read", zk.get_nullable("/text")).await.0, None);
    ctx.ok("to empty", zk.set("/text", Vec::new(), None)).await;
    assert_eq!(ctx.ok("to read", zk.get_nullable("/text")).await.0, Some("".into()));
}

pub async fn paths_can_use_any_script<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let name = "Grüße-木-‰ x";
    let path = format!("/{name}");
    assert_eq!(ctx.ok("create", zk.create(&path, name, CreateMode::Persistent)).await, *path);
    assert_eq!(ctx.ok("get", zk.get(&path)).await.0, name);
    let below = zk.with_chroot(&path).expect("a good path");
    let created = ctx.ok("create", below.create("/ë-", b"", CreateMode::PersistentSequential));
    assert_eq!(created.await, "/ë-0000000000");
    let (_, _, watch) = ctx.ok("watch", below.get_children_and_watch("/")).await;
    ctx.ok("delete", zk.delete(format!("{path}/ë-0000000000"), None)).await;
    assert_eq!(ctx.ok("the watch", watch).await.path, "/");
    assert_eq!(ctx.ok("children", zk.get_children("/")).await, [name]);
}

pub async fn invalid_paths_are_not_sent<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let mut states = zk.states();
    for path in ["", "relative", "/end/", "//", "/a//b", "/./a", "/a/..", "/nul\0", "/\u{1}"] {
        let mode = CreateMode::Persistent;
        let errors = [
            ctx.err("create", zk.create(path, b"", mode)).await,
            ctx.err("exists", zk.exists(path)).await,
            ctx.err("get", zk.get(path)).await,
            ctx.err("get", zk.get_and_watch(path)).await,
            ctx.err("get_children", zk.get_children(path)).await,
            ctx.err("set", zk.set(path, b"", None)).await,
            ctx.err("delete", zk.delete(path, None)).await,
            ctx.err("delete", zk.delete_recursive(path)).await,
            ctx.err("ensure_path", zk.ensure_path(path)).await,
            ctx.err("get_acls", zk.get_acls(path)).await,
            ctx.err("sync", zk.sync(path)).await,
            ctx.err("commit", zk.transaction().delete(path, None).commit()).await,
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path:?}: {error}");
            assert_eq!(error.outcome(), Some(Outcome::NotSent), "{path:?}: {error}");
        }
    }
    // A sequence number follows, so this path is valid.
    let path = ctx.ok("create", zk.create("/", b"", CreateMode::PersistentSequential)).await;
    assert_eq!(path, "/0000000000");
    assert_eq!(states.try_next(), None);
}

pub async fn create_reports_the_servers_refusals<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let create = |path: &str| zk.create(path, b"", CreateMode::Persistent);
    ctx.ok("an ephemeral", zk.create("/mine", b"", CreateMode::Ephemeral)).await;
    assert_refused(&ctx.err("again", create("/mine")).await, ErrorCode::NodeExists);
    let error = ctx.err("below an ephemeral", create("/mine/child")).await;
    assert_refused(&error, ErrorCode::NoChildrenForEphemerals);
    let error = ctx.err("without a parent", create("/no/parent")).await;
    assert_refused(&error, ErrorCode::NoNode);
    assert_eq!((error.operation(), error.path()), (Some(OpCode::Create), Some("/no/parent")));
    let makepath = CreateOptions::persistent().makepath();
    let error = ctx.err("below an ephemeral", zk.create("/mine/a/b", b"", makepath)).await;
    assert_refused(&error, ErrorCode::NoChildrenForEphemerals);
}

pub async fn makepath_creates_the_parents_with_the_same_acl<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let acl = [zk_client::Acl::new(zk_client::Perms::ALL, "ip", "127.0.0.1")];
    let options = CreateOptions::ephemeral().sequence().makepath().acl(&acl);
    let (path, stat) = ctx.ok("makepath", zk.create_with_stat("/a/b/c/d-", b"data", options)).await;
    assert_eq!(path, "/a/b/c/d-0000000000");
    assert_eq!(Some(stat), ctx.ok("exists", zk.exists(&path)).await);
    for path in ["/a", "/a/b", "/a/b/c", "/a/b/c/d-0000000000"] {
        assert_eq!(ctx.ok("an ACL", zk.get_acls(path)).await.0, acl, "{path}");
    }
    for path in ["/a", "/a/b", "/a/b/c"] {
        let (data, stat) = ctx.ok("a parent", zk.get(path)).await;
        assert_eq!((&data[..], stat.ephemeral_owner), (&b""[..], 0), "{path}");
    }
    // If the parents exist, only the node is created. If the node exists too, the call fails.
    let options = CreateOptions::persistent().makepath();
    ctx.ok("a sibling", zk.create("/a/b/c/e", b"", &options)).await;
    let error = ctx.err("the same again", zk.create("/a/b/c/e", b"", &options)).await;
    assert_refused(&error, ErrorCode::NodeExists);
}

pub async fn makepath_works_concurrently<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let clients = [ctx.client().await, ctx.client().await, ctx.client().await];
    let options = CreateOptions::persistent().makepath();
    let creates: Vec<_> = (0..60)
        .map(|n| clients[n % 3].create(format!("/x/{}/z/{n}", n / 10), b"", &options))
        .collect();
    for create in creates {
        ctx.ok("makepath", create).await;
    }
    for n in 0..6 {
        let children = clients[0].get_children(format!("/x/{n}/z"));
        assert_eq!(ctx.ok("children", children).await.len(), 10);
    }
}

pub async fn sequential_names_are_relative_to_the_chroot<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    ctx.ok("a node", zk.create("/app", b"", CreateMode::Persistent)).await;
    let app = zk.with_chroot("/app").expect("a good path");
    for n in 0..3 {
        let path = app.create("/job-", b"", CreateMode::PersistentSequential);
        assert_eq!(ctx.ok("create", path).await, *format!("/job-{n:010}"));
    }
    let (path, _) =
        ctx.ok("create", app.create_with_stat("/", b"", CreateMode::EphemeralSequential)).await;
    assert_eq!(path, "/0000000003");
    let mut children = ctx.ok("children", zk.get_children("/app")).await;
    children.sort();
    assert_eq!(children, ["0000000003", "job-0000000000", "job-0000000001", "job-0000000002"]);
}

pub async fn clients_with_a_chroot_share_the_session<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let a = zk.with_chroot("/a").expect("a good path");
    let b = a.with_chroot("/b").expect("a good path");
    assert_eq!(b.chroot().as_str(), format!("{}/a/b", ctx.root()));
    assert_eq!(b.session_id(), zk.session_id());
    // `ensure_path` also creates the nodes of the chroot.
    ctx.ok("ensure_path", b.ensure_path("/c")).await;
    assert!(ctx.ok("exists", zk.exists("/a/b/c")).await.is_some());
    ctx.ok("set", b.set("/", b"root of b", None)).await;
    assert_eq!(ctx.ok("get", a.get("/b")).await.0, "root of b");
    assert_eq!(ctx.ok("sync", b.sync("/c")).await, "/c");
    assert_eq!(ctx.ok("sync", b.sync("/")).await, "/");
    let error = ctx.err("get", b.get("/missing")).await;
    assert_eq!(error.path(), Some("/missing"));
    assert!(zk.with_chroot("no/slash").is_err());
    assert!(zk.with_chroot("/a/../b").is_err());
    let same = zk.with_chroot("/").expect("a good path");
    assert_eq!(same.chroot(), zk.chroot());
    ctx.ok("to stop", b.stop()).await;
    assert!(!zk.connected());
}

pub async fn reads_with_and_without_stat_and_watch_agree<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    ctx.ok("a node", zk.create("/node", b"data", CreateMode::Persistent)).await;
    for name in ["c", "a", "b"] {
        ctx.ok("a child", zk.create(format!("/node/{name}"), b"", CreateMode::Ephemeral)).await;
    }
    let stat: Stat = ctx.ok("exists", zk.exists("/node")).await.expect("it is there");
    assert_eq!((stat.version, stat.num_children, stat.data_length), (0, 3, 4));
    assert!(stat.ctime > 0 && stat.ctime == stat.mtime && stat.pzxid > stat.czxid);

    assert_eq!(ctx.ok("exists", zk.exists_and_watch("/node")).await.0, Some(stat));
    let (data, same) = ctx.ok("get", zk.get("/node")).await;
    assert_eq!((&data[..], same), (&b"data"[..], stat));
    let (data, same, _watch) = ctx.ok("get", zk.get_and_watch("/node")).await;
    assert_eq!((&data[..], same), (&b"data"[..], stat));

    let mut plain = ctx.ok("children", zk.get_children("/node")).await;
    let (mut with_stat, same) = ctx.ok("children", zk.get_children_with_stat("/node")).await;
    assert_eq!(same, stat);
    let (mut watched, same, _watch) = ctx.ok("children", zk.get_children_and_watch("/node")).await;
    assert_eq!(same, stat);
    for names in [&mut plain, &mut with_stat, &mut watched] {
        names.sort();
        assert_eq!(*names, ["a", "b", "c"]);
    }
    assert!(ctx.ok("children", zk.get_children("/node/a")).await.is_empty());
    assert_eq!(ctx.ok("exists", zk.exists("/missing")).await, None);
    assert_refused(&ctx.err("get", zk.get("/missing")).await, ErrorCode::NoNode);
    assert_refused(&ctx.err("children", zk.get_children("/missing")).await, ErrorCode::NoNode);
}

pub async fn set_and_delete_check_versions<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    ctx.ok("a node", zk.create("/node", b"0", CreateMode::Persistent)).await;
    let first = ctx.ok("set", zk.set("/node", b"1", 0)).await;
    assert_eq!((first.version, first.data_length), (1, 1));
    let error = ctx.err("set", zk.set("/node", b"x", 0)).await;
    assert_refused(&error, ErrorCode::BadVersion);
    assert_eq!(ctx.ok("set", zk.set("/node", b"2", None)).await.version, 2);
    assert_eq!(ctx.ok("set", zk.set("/node", b"3", Some(2))).await.version, 3);
    assert_refused(&ctx.err("delete", zk.delete("/node", 2)).await, ErrorCode::BadVersion);
    ctx.ok("a child", zk.create("/node/child", b"", CreateMode::Persistent)).await;
    assert_refused(&ctx.err("delete", zk.delete("/node", 3)).await, ErrorCode::NotEmpty);
    ctx.ok("delete", zk.delete("/node/child", None)).await;
    ctx.ok("delete", zk.delete("/node", 3)).await;
    assert_refused(&ctx.err("delete", zk.delete("/node", None)).await, ErrorCode::NoNode);
    assert_refused(&ctx.err("set", zk.set("/node", b"", None)).await, ErrorCode::NoNode);
}

pub async fn ensure_path_keeps_existing_nodes<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    ctx.ok("the root", zk.ensure_path("/")).await;
    ctx.ok("a path", zk.ensure_path("/a/b/c")).await;
    ctx.ok("data", zk.set("/a/b", b"kept", None)).await;
    ctx.ok("the same again", zk.ensure_path("/a/b/c")).await;
    ctx.ok("a longer one", zk.ensure_path("/a/b/c/d/e")).await;
    let (data, stat) = ctx.ok("get", zk.get("/a/b")).await;
    assert_eq!((&data[..], stat.version), (&b"kept"[..], 1));
    ctx.ok("an ephemeral", zk.create("/mine", b"", CreateMode::Ephemeral)).await;
    let error = ctx.err("below an ephemeral", zk.ensure_path("/mine/a/b")).await;
    assert_refused(&error, ErrorCode::NoChildrenForEphemerals);

    let others = [ctx.client().await, ctx.client().await];
    let calls: Vec<_> =
        (0..20).map(|n| others[n % 2].ensure_path(format!("/z/{}/y", n / 4))).collect();
    for call in calls {
        ctx.ok("ensure_path", call).await;
    }
}

pub async fn recursive_delete_removes_the_whole_tree<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    ctx.ok("what is not there", zk.delete_recursive("/missing")).await;
    let makepath = CreateOptions::persistent().makepath();
    let creates: Vec<_> = (0..600)
        .map(|n| zk.create(format!("/tree/{}/{}/{n}", n % 7, n % 5), b"", &makepath))
        .collect();
    for create in creates {
        ctx.ok("a leaf", create).await;
    }
    ctx.ok("a neighbour", zk.create("/tree2", b"", CreateMode::Persistent)).await;
    ctx.ok("an ephemeral", zk.create("/tree/0/mine", b"", CreateMode::Ephemeral)).await;
    ctx.ok("to delete a branch", zk.delete_recursive("/tree/3")).await;
    assert_eq!(ctx.ok("children", zk.get_children("/tree")).await.len(), 6);
    ctx.ok("to delete", zk.delete_recursive("/tree")).await;
    assert_eq!(ctx.ok("children", zk.get_children("/")).await, ["tree2"]);
}

pub async fn recursive_delete_finishes_despite_concurrent_creates<H: Handler>(handler: H) {
    /// Creates nodes below the tree while it exists, fewer than the number of times that a delete is retried.
    async fn grow(zk: Client) -> usize {
        let mut made = 0;
        while made < 90 {
            let name = format!("/tree/{made}");
            match zk.create(&name, b"", CreateMode::Persistent).await {
                Ok(_) => made += 1,
                Err(_) => break,
            }
        }
        made
    }

    let ctx = TestContext::new(handler);
    let (zk, other) = (ctx.client().await, ctx.client().await);
    ctx.ok("the tree", zk.ensure_path("/tree/a/b/c")).await;
    let grown = crate::tasks::spawn(&ctx.handler, grow(other));
    let (exists, watch) = ctx.ok("to watch", zk.exists_and_watch("/tree/0")).await;
    if exists.is_none() {
        ctx.ok("growth", watch).await;
    }
    ctx.ok("to delete", zk.delete_recursive("/tree")).await;
    let made = ctx.within("the other to stop", grown).await;
    assert_eq!(ctx.ok("exists", zk.exists("/tree")).await, None, "after {made} creates");
}

pub async fn sync_returns_its_path<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (zk, other) = (ctx.client().await, ctx.client().await);
    ctx.ok("a node", other.create("/node", b"", CreateMode::Persistent)).await;
    let (sync, exists) = (zk.sync("/node"), zk.exists("/node"));
    assert_eq!(ctx.ok("sync", sync).await, "/node");
    assert!(ctx.ok("exists", exists).await.is_some());
    assert_eq!(ctx.ok("sync", zk.sync("/missing")).await, "/missing");
}

pub async fn all_nodes_below_a_node_are_counted<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    assert_eq!(ctx.ok("count", zk.get_all_children_number("/")).await, 0);
    for path in ["/a", "/a/b", "/a/b/c", "/ab", "/a/d"] {
        ctx.ok("a node", zk.create(path, b"", CreateMode::Persistent)).await;
    }
    for (path, number) in [("/", 5), ("/a", 3), ("/a/b", 1), ("/ab", 0)] {
        assert_eq!(ctx.ok("count", zk.get_all_children_number(path)).await, number, "{path}");
    }
    let below = zk.with_chroot("/a").expect("a good path");
    assert_eq!(ctx.ok("count", below.get_all_children_number("/")).await, 3);
    let error = ctx.err("count", below.get_all_children_number("/missing")).await;
    assert_refused(&error, ErrorCode::NoNode);
    assert_eq!(error.path(), Some("/missing"));
    assert!(error.to_string().starts_with("get_all_children_number /missing on "), "{error}");
}

pub async fn ephemeral_nodes_are_listed_by_prefix<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (zk, other) = (ctx.client().await, ctx.client().await);
    ctx.ok("a node", zk.create("/a", b"", CreateMode::Persistent)).await;
    for path in ["/a/x", "/a/xy", "/ax", "/b"] {
        ctx.ok("an ephemeral", zk.create(path, b"", CreateMode::Ephemeral)).await;
    }
    ctx.ok("another's", other.create("/a/xz", b"", CreateMode::Ephemeral)).await;
    let sorted = async |zk: &Client, prefix: &str| {
        let mut paths = ctx.ok("ephemerals", zk.get_ephemerals(prefix)).await;
        paths.sort();
        paths
    };
    assert_eq!(sorted(&zk, "/").await, ["/a/x", "/a/xy", "/ax", "/b"]);
    assert_eq!(sorted(&zk, "/a").await, ["/a/x", "/a/xy", "/ax"]);
    assert_eq!(sorted(&zk, "/a/x").await, ["/a/x", "/a/xy"]);
    assert!(sorted(&zk, "/missing").await.is_empty());
    assert_eq!(sorted(&other, "/").await, ["/a/xz"]);
    // Below a chroot, a node whose path only begins like the chroot is not listed.
    let below = zk.with_chroot("/a").expect("a good path");
    assert_eq!(sorted(&below, "/").await, ["/x", "/xy"]);
    assert_eq!(sorted(&below, "/xy").await, ["/xy"]);
    let error = ctx.err("a bad prefix", zk.get_ephemerals("/a/")).await;
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
}

pub async fn errors_say_what_failed_where_and_why<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    let host = proxy.address().to_string();
    let error = ctx.err("get", zk.get("/missing")).await;
    let text = error.to_string();
    for word in ["get", "/missing", &host, "node does not exist"] {
        assert!(text.contains(word), "no {word} in: {text}");
    }
    assert_eq!(error.host().map(ToString::to_string), Some(host.clone()));
    assert!(format!("{error:?}").contains(&text));
    let source: &dyn std::error::Error = &error;
    assert!(source.to_string().contains("/missing"));

    proxy.hold(crate::Direction::ToClient);
    let lost = zk.set("/missing", b"", None);
    ctx.cut_off(&zk, &proxy).await;
    proxy.release();
    let queued = zk.delete("/waits", None);
    let text = ctx.err("set", lost).await.to_string();
    for word in ["set", "/missing", &host, "connection loss"] {
        assert!(text.contains(word), "no {word} in: {text}");
    }
    ctx.ok("to stop", zk.stop()).await;
    let text = ctx.err("delete", queued).await.to_string();
    for word in ["delete", "/waits", &host, "connection closed", "not sent"] {
        assert!(text.contains(word), "no {word} in: {text}");
    }
}
