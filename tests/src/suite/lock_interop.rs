//! Locks whose nodes are named as another client names them, and recipes that cannot be shared with one.

use zk_client::{
    CreateMode, ErrorKind, Handler,
    recipes::{Lock, LockOptions, ReadLock, Semaphore, WriteLock},
};

use super::{
    context::TestContext,
    locks::{PATH, acquire, lock_with_id},
};

/// Nodes with the names of Curator and go-zookeeper are contenders if `extra_lock_pattern` says so.
pub async fn extra_lock_patterns_include_foreign_nodes<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    ctx.ok("the path", zk.ensure_path(PATH)).await;
    let names = [
        "_c_8d2a3c1e-6f0b-4b57-9a44-0c2d5b1f7e90-lock-",
        "_c_3fcbb2f27b3c4f2e8f9dcd4c0a1e5b77-lock-",
    ];
    let options = LockOptions::default().identifier("ours").extra_lock_pattern("-lock-");
    for name in names {
        let foreign =
            zk.create(format!("{PATH}/{name}"), b"theirs", CreateMode::EphemeralSequential);
        let foreign = ctx.ok("a foreign node", foreign).await;
        ctx.ok("to release", acquire(&ctx, &lock_with_id(&zk, "blind")).await.release()).await;
        for kind in 0..3 {
            let waiting = match kind {
                0 => Lock::with_options(&zk, PATH, options.clone()).acquire(),
                1 => ReadLock::with_options(&zk, PATH, options.clone()).acquire(),
                _ => WriteLock::with_options(&zk, PATH, options.clone()).acquire(),
            };
            ctx.wait_for_children(&zk, PATH, 2).await;
            ctx.short_wait().await;
            assert!(!waiting.ready());
            let contenders = Lock::with_options(&zk, PATH, options.clone()).contenders();
            let contenders = ctx.ok("contenders", contenders).await;
            assert_eq!(contenders[0], "theirs");
            drop(waiting);
            ctx.wait_for_children(&zk, PATH, 1).await;
        }
        let waiting = Lock::with_options(&zk, PATH, options.clone()).acquire();
        ctx.wait_for_children(&zk, PATH, 2).await;
        ctx.ok("theirs to go", zk.delete(foreign, None)).await;
        ctx.ok("to release", ctx.ok("its turn", waiting).await.release()).await;
    }
}

/// The part of a name before its sequence number, with random digits masked.
fn form(path: &str) -> String {
    let (_, name) = path.rsplit_once('/').expect("a path");
    let (before, number) = name.split_at(name.len() - 10);
    assert!(number.bytes().all(|byte| byte.is_ascii_digit()), "{name}");
    masked(before)
}

/// `text` with an `x` for every hexadecimal digit.
fn masked(text: &str) -> String {
    text.chars().map(|c| if matches!(c, '0'..='9' | 'a'..='f') { 'x' } else { c }).collect()
}

/// Options name nodes as another client does, so that it waits for them.
pub async fn nodes_have_the_naming_scheme_of_the_options<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let uuid = "_c_01234567-89ab-4def-8000-0123456789ab";
    let hex = format!("_c_{:032x}", 0);
    let curator = LockOptions::curator;
    let lock = ctx.ok("a lock", Lock::with_options(&zk, "/mutex", curator()).acquire()).await;
    assert_eq!(form(lock.path()), masked(&format!("{uuid}-lock-")));
    let reader = ctx.ok("a lock", ReadLock::with_options(&zk, "/sides", curator()).acquire()).await;
    assert_eq!(form(reader.path()), masked(&format!("{uuid}-__READ__")));
    let writer = WriteLock::with_options(&zk, "/sides", curator()).acquire();
    ctx.wait_for_children(&zk, "/sides", 2).await;
    let late = ReadLock::with_options(&zk, "/sides", curator()).acquire();
    ctx.wait_for_children(&zk, "/sides", 3).await;
    ctx.short_wait().await;
    assert!(!writer.ready() && !late.ready());
    let another = ReadLock::with_options(&zk, "/sides", curator().identifier("late")).contenders();
    assert_eq!(ctx.ok("contenders", another).await.len(), 3);
    ctx.ok("to release", reader.release()).await;
    let guard = ctx.ok("its turn", writer).await;
    assert_eq!(form(guard.path()), masked(&format!("{uuid}-__WRIT__")));
    ctx.short_wait().await;
    assert!(!late.ready());
    drop(guard);
    assert!(ctx.ok("its turn", late).await.is_held());

    let options = LockOptions::go_zookeeper().identifier("gopher");
    let gopher = ctx.ok("a lock", Lock::with_options(&zk, "/go", options).acquire()).await;
    assert_eq!(form(gopher.path()), masked(&format!("{hex}-lock-")));
    // A lock with Curator's names waits for a node with go-zookeeper's names.
    let beside = Lock::with_options(&zk, "/go", curator()).try_acquire();
    assert!(ctx.ok("an answer", beside).await.is_none());
    let options = LockOptions::go_zookeeper;
    for acquire in [
        ReadLock::with_options(&zk, "/none", options()).acquire(),
        WriteLock::with_options(&zk, "/none", options()).acquire(),
    ] {
        let error = ctx.err("what go-zookeeper does not have", acquire).await;
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains("/none cannot be shared with go-zookeeper"), "{error}");
    }
    assert_eq!(ctx.ok("exists", zk.exists("/none")).await, None);
}

/// Curator lays out semaphores differently. An acquire fails there, and creates nothing.
pub async fn a_curator_semaphore_is_refused<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    for name in ["", "/locks", "/leases"] {
        let node = zk.create(format!("/theirs{name}"), b"", CreateMode::Persistent);
        ctx.ok("a node", node).await;
    }
    let semaphore = Semaphore::new(&zk, "/theirs");
    let errors = [
        ctx.err("a semaphore", semaphore.acquire()).await,
        ctx.err("a semaphore", semaphore.try_acquire()).await,
        ctx.err("holders", semaphore.lease_holders()).await,
        ctx.err("a mutex", Lock::with_options(&zk, "/theirs", LockOptions::curator()).acquire())
            .await,
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        let what = "/theirs cannot be shared with another client, such as Curator";
        assert!(error.to_string().contains(what), "{error}");
    }
    assert_eq!(ctx.children(&zk, "/theirs").await, ["leases", "locks"]);
    assert_eq!(ctx.ok("the data", zk.get("/theirs")).await.0, "");
    assert_eq!(ctx.children(&zk, "/").await, ["theirs"]);

    // The same if the other client arrives later, and if its nodes are waiting contenders.
    let held = ctx.ok("a lease", Semaphore::new(&zk, "/ours").acquire()).await;
    let node = "/ours/_c_8d2a3c1e-6f0b-4b57-9a44-0c2d5b1f7e90-lock-";
    let waiting = Semaphore::new(&zk, "/ours").acquire();
    ctx.wait_for_children(&zk, "/ours-__lock__", 1).await;
    ctx.ok("a node", zk.create(node, b"", CreateMode::EphemeralSequential)).await;
    let error = ctx.err("a shared path", waiting).await;
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    ctx.wait_for_children(&zk, "/ours-__lock__", 0).await;
    assert!(held.is_held());
}
