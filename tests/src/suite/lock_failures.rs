//! Acquires that fail or are given up: their errors, and that they leave no node.

use zk_client::{
    CREATOR_ALL_ACL, Client, CreateMode, CreateOptions, ErrorCode, ErrorKind, Handler,
    recipes::{DataWatch, Lock, ReadLock, Semaphore, WriteLock},
};

use super::{
    context::{LIMIT, TestContext},
    locks::{PATH, acl_without_read, acquire, acquire_as_holder, lock_with_id},
    proxy_filters::{CREATE2, give_up_at, is_given_up, lose_replies, pass_all},
};
use crate::Direction;

/// An acquire that is dropped at any of its packets leaves no node, whether or not its connection is cut.
pub async fn an_acquire_given_up_at_any_packet_leaves_no_node<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (other, guard) = acquire_as_holder(&ctx).await;
    for cut in [false, true] {
        // The create, the children, the get with a watch and their replies, then the wait itself.
        for packet in 0..8 {
            // Each round uses a new connection, because the cleanup of the last one still sends packets.
            let (proxy, zk) = ctx.client_via_proxy().await;
            let lock = lock_with_id(&zk, "gives up");
            let handle = give_up_at(&proxy, packet, cut, || lock.acquire());
            if packet >= 6 {
                ctx.wait_for_children(&other, PATH, 2).await;
                ctx.short_wait().await;
            } else {
                ctx.wait_until("the packet", || is_given_up(&handle)).await;
            }
            drop(crate::lock(&handle).take());
            pass_all(&proxy);
            ctx.ok("a call after it", zk.retry(|zk| zk.exists("/"))).await;
            ctx.wait_for_children(&other, PATH, 1).await;
        }
    }
    ctx.short_wait().await;
    let contenders = lock_with_id(&other, "looks on").contenders();
    assert_eq!(ctx.ok("contenders", contenders).await, ["holder"]);
    ctx.ok("to release", guard.release()).await;

    // Nobody is ahead of it, so the last packets belong to a lock that is acquired.
    for packet in 0..4 {
        let (proxy, zk) = ctx.client_via_proxy().await;
        let lock = lock_with_id(&zk, "gives up");
        let handle = give_up_at(&proxy, packet, false, || lock.acquire());
        ctx.wait_until("the packet", || is_given_up(&handle)).await;
        pass_all(&proxy);
        ctx.wait_for_children(&other, PATH, 0).await;
    }
    assert!(acquire(&ctx, &lock_with_id(&other, "next")).await.is_held());
}

pub async fn permanent_errors_end_an_acquire<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let options = CreateOptions::persistent().acl(&zk_client::READ_ACL_UNSAFE);
    ctx.ok("a closed node", zk.create("/closed", b"", options)).await;
    let error = ctx.err("a lock there", Lock::new(&zk, "/closed").acquire()).await;
    assert_eq!(error.code(), Some(ErrorCode::NoAuth), "{error}");
    let error = ctx.err("a lock nowhere", Lock::new(&zk, "no path").acquire()).await;
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let deep = ctx.ok("a path that is made", Lock::new(&zk, "/a/b/c").acquire()).await;
    assert!(deep.is_held() && deep.path().starts_with("/a/b/c/"));
}

/// Servers send no event for a node that the client may not read. An acquire that would have to wait for such
/// a node fails instead, on every version.
pub async fn an_acquire_fails_if_it_may_not_read_the_node_before_it<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let builder = ctx.builder().auth("digest", "ann:secret").default_acl(&CREATOR_ALL_ACL);
    let owner = ctx.connect(builder).await;
    let zk = ctx.client().await;
    ctx.ok("the path", zk.ensure_path(PATH)).await;
    let guard = ctx.ok("a lock", WriteLock::new(&owner, PATH).acquire()).await;
    for acquire in [
        Lock::new(&zk, PATH).acquire(),
        ReadLock::new(&zk, PATH).acquire(),
        WriteLock::new(&zk, PATH).acquire_timeout(LIMIT),
    ] {
        let error = ctx.err("a node that may not be read", acquire).await;
        assert_eq!(error.code(), Some(ErrorCode::NoAuth), "{error}");
        assert!(error.to_string().contains(guard.path()), "{error}");
    }
    assert_eq!(ctx.children(&zk, PATH).await.len(), 1);
    assert!(guard.is_held());
    // An acquire that does not wait does not fail.
    assert!(ctx.ok("taken", Lock::new(&zk, PATH).try_acquire()).await.is_none());
    ctx.ok("to release", guard.release()).await;
    assert!(ctx.ok("a free lock", Lock::new(&zk, PATH).acquire()).await.is_held());

    let semaphore = "/semaphore";
    let queue = "/semaphore-__lock__";
    for path in [semaphore, queue] {
        ctx.ok("the path", zk.ensure_path(path)).await;
    }
    let lease = ctx.ok("a lease", Semaphore::new(&owner, semaphore).acquire()).await;
    ctx.wait_for_children(&zk, queue, 0).await;
    let waiting = Semaphore::new(&owner, semaphore).acquire();
    ctx.wait_for_children(&zk, queue, 1).await;
    let error = ctx.err("a turn", Semaphore::new(&zk, semaphore).acquire()).await;
    assert_eq!(error.code(), Some(ErrorCode::NoAuth), "{error}");
    assert_eq!(ctx.children(&zk, queue).await.len(), 1);
    ctx.ok("to release", lease.release()).await;
    assert!(ctx.ok("its turn", waiting).await.is_held());
}

/// An invalid path is refused before any node is created.
pub async fn an_invalid_path_creates_nothing<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    for path in ["/l/", "/l//m", "l", "", "/l/.."] {
        let acquires = [
            Lock::new(&zk, path).acquire(),
            ReadLock::new(&zk, path).acquire(),
            WriteLock::new(&zk, path).acquire_timeout(LIMIT),
        ];
        for acquire in acquires {
            let error = ctx.err("a path that is none", acquire).await;
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path:?}: {error}");
        }
        let error = ctx.err("a path that is none", Lock::new(&zk, path).try_acquire()).await;
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path:?}: {error}");
        let semaphore = Semaphore::new(&zk, path);
        let error = ctx.err("a path that is none", semaphore.acquire()).await;
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path:?}: {error}");
        let error = ctx.err("a path that is none", semaphore.try_acquire()).await;
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path:?}: {error}");
    }
    ctx.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    let create = zk.create("/node/", b"", CreateOptions::persistent().protected());
    let error = ctx.err("a path that is none", create).await;
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(ctx.children(&zk, "/node").await.is_empty());
    assert_eq!(ctx.children(&zk, "/").await, ["node"]);
}

/// If an acquire fails for any reason, its node is deleted, even if the contenders cannot be listed and the
/// node cannot be found by its name.
pub async fn a_failed_acquire_leaves_no_node<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let owner = ctx.connect(ctx.builder().auth("digest", "ann:secret")).await;
    ctx.ok("a node", owner.create(PATH, b"", CreateOptions::persistent().acl(acl_without_read())))
        .await;
    let (proxy, zk) = ctx.client_via_proxy().await;
    let locks = |zk: &Client| {
        [
            Lock::new(zk, PATH).acquire(),
            ReadLock::new(zk, PATH).acquire(),
            WriteLock::new(zk, PATH).acquire(),
            lock_with_id(zk, "hurried").acquire_timeout(LIMIT),
        ]
    };
    for acquire in locks(&zk) {
        let error = ctx.err("a list that may not be read", acquire).await;
        assert_eq!(error.code(), Some(ErrorCode::NoAuth), "{error}");
    }
    let error = ctx.err("nor if it does not wait", Lock::new(&zk, PATH).try_acquire()).await;
    assert_eq!(error.code(), Some(ErrorCode::NoAuth), "{error}");
    ctx.wait_for_children(&owner, PATH, 0).await;

    // The same if the reply to the create is lost.
    lose_replies(&proxy, CREATE2, 1);
    let error =
        ctx.err("a list that may not be read", lock_with_id(&zk, "unheard").acquire()).await;
    assert_eq!(error.code(), Some(ErrorCode::NoAuth), "{error}");
    ctx.wait_for_children(&owner, PATH, 0).await;
    for cut in [false, true] {
        // The create and its reply: the client does not know yet whether the node exists.
        for packet in 0..2 {
            let (proxy, zk) = ctx.client_via_proxy().await;
            let handle =
                give_up_at(&proxy, packet, cut, || lock_with_id(&zk, "gives up").acquire());
            ctx.wait_until("the packet", || is_given_up(&handle)).await;
            pass_all(&proxy);
            ctx.ok("a call after it", zk.retry(|zk| zk.exists("/"))).await;
            ctx.wait_for_children(&owner, PATH, 0).await;
        }
    }

    let many = "/many";
    ctx.ok("a node", owner.create(many, b"", CreateMode::Persistent)).await;
    let names = (0..20).map(|n| format!("{many}/{n:0100}"));
    for node in names {
        ctx.ok("a node", owner.create(node, b"", CreateMode::Persistent)).await;
    }
    let narrow = ctx.connect(ctx.builder().max_reply(1_000)).await;
    let error = ctx.err("a list that is too long", Lock::new(&narrow, many).acquire()).await;
    assert_eq!(error.kind(), ErrorKind::ReplyTooLarge, "{error}");
    ctx.wait_for_children(&owner, many, 20).await;
    // Clients that can list the contenders do not wait.
    assert!(ctx.ok("a lock", Lock::new(&owner, PATH).acquire()).await.is_held());
    assert!(ctx.ok("a lock", Lock::new(&owner, many).acquire()).await.is_held());
}

/// Calls that are refused by a full queue are retried, and other tasks keep running.
pub async fn an_acquire_waits_while_the_queue_is_full<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let proxy = super::shared_server::new_proxy();
    let zk = ctx.connect(ctx.builder_at(proxy.address()).max_in_flight(2)).await;
    // The client's check of its chroot takes a place in the queue too: wait until it is done.
    ctx.ok("to settle", zk.exists("/")).await;
    let (other, guard) = acquire_as_holder(&ctx).await;
    proxy.hold(Direction::ToClient);
    let filling = [zk.exists("/"), zk.exists("/")];
    let waiting = lock_with_id(&zk, "waiter").acquire();
    let mut news = DataWatch::stream(&zk, "/");
    ctx.short_wait().await;
    assert!(!waiting.ready());
    proxy.release();
    for call in filling {
        ctx.ok("a call", call).await;
    }
    assert!(ctx.within("the news", news.changed()).await.is_some());
    ctx.wait_for_children(&other, PATH, 2).await;
    ctx.ok("to release", guard.release()).await;
    assert!(ctx.ok("its turn", waiting).await.is_held());
}
