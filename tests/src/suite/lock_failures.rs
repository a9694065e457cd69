//! Acquires that fail or are given up: what they say, and that they leave no node.

use zk_client::{
    CREATOR_ALL_ACL, Client, CreateMode, CreateOptions, ErrorCode, ErrorKind, Handler,
    recipes::{DataWatch, Lock, ReadLock, Semaphore, WriteLock},
};

use super::{
    contest::{CREATE2, give_up_at, is_given_up, lose_replies, pass_all, unlisted},
    locks::{PATH, held, holder, named},
    site::{LIMIT, Site},
};
use crate::Direction;

/// An acquire that is given up at any packet of it, with its connection or without, leaves nothing.
pub async fn given_up_at_any_packet_it_leaves_nothing<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (other, guard) = holder(&site).await;
    for cut in [false, true] {
        // Create, children, get with a watch, and their replies; then the wait itself.
        for packet in 0..8 {
            // What is still to be undone passes elsewhere.
            let (proxy, zk) = site.proxied().await;
            let lock = named(&zk, "gives up");
            let handle = give_up_at(&proxy, packet, cut, || lock.acquire());
            if packet >= 6 {
                site.until_nodes(&other, PATH, 2).await;
                site.moment().await;
            } else {
                site.when("the packet", || is_given_up(&handle)).await;
            }
            drop(crate::lock(&handle).take());
            pass_all(&proxy);
            site.ok("a call after it", zk.retry(|zk| zk.exists("/"))).await;
            site.until_nodes(&other, PATH, 1).await;
        }
    }
    site.moment().await;
    let contenders = named(&other, "looks on").contenders();
    assert_eq!(site.ok("contenders", contenders).await, ["holder"]);
    site.ok("to release", guard.release()).await;

    // Nobody is before it: the last packets come with the lock itself.
    for packet in 0..4 {
        let (proxy, zk) = site.proxied().await;
        let lock = named(&zk, "gives up");
        let handle = give_up_at(&proxy, packet, false, || lock.acquire());
        site.when("the packet", || is_given_up(&handle)).await;
        pass_all(&proxy);
        site.until_nodes(&other, PATH, 0).await;
    }
    assert!(held(&site, &named(&other, "next")).await.is_held());
}

pub async fn what_waiting_does_not_help_is_an_error<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.client().await;
    let options = CreateOptions::persistent().acl(&zk_client::READ_ACL_UNSAFE);
    site.ok("a closed node", zk.create("/closed", b"", options)).await;
    let error = site.err("a lock there", Lock::new(&zk, "/closed").acquire()).await;
    assert_eq!(error.code(), Some(ErrorCode::NoAuth), "{error}");
    let error = site.err("a lock nowhere", Lock::new(&zk, "no path").acquire()).await;
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let deep = site.ok("a path that is made", Lock::new(&zk, "/a/b/c").acquire()).await;
    assert!(deep.is_held() && deep.path().starts_with("/a/b/c/"));
}

/// The servers tell nobody of the end of a node that he may not read: who would have to wait for it is told so
/// instead, on every version.
pub async fn who_may_not_read_a_node_does_not_wait_for_it<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let builder = site.builder().auth("digest", "ann:secret").default_acl(&CREATOR_ALL_ACL);
    let owner = site.connect(builder).await;
    let zk = site.client().await;
    site.ok("the path", zk.ensure_path(PATH)).await;
    let guard = site.ok("a lock", WriteLock::new(&owner, PATH).acquire()).await;
    for acquire in [
        Lock::new(&zk, PATH).acquire(),
        ReadLock::new(&zk, PATH).acquire(),
        WriteLock::new(&zk, PATH).acquire_timeout(LIMIT),
    ] {
        let error = site.err("a node that may not be read", acquire).await;
        assert_eq!(error.code(), Some(ErrorCode::NoAuth), "{error}");
        assert!(error.to_string().contains(guard.path()), "{error}");
    }
    assert_eq!(site.nodes(&zk, PATH).await.len(), 1);
    assert!(guard.is_held());
    // Who need not wait for it is not told.
    assert!(site.ok("taken", Lock::new(&zk, PATH).try_acquire()).await.is_none());
    site.ok("to release", guard.release()).await;
    assert!(site.ok("a free lock", Lock::new(&zk, PATH).acquire()).await.is_held());

    let semaphore = "/semaphore";
    let queue = "/semaphore-__lock__";
    for path in [semaphore, queue] {
        site.ok("the path", zk.ensure_path(path)).await;
    }
    let lease = site.ok("a lease", Semaphore::new(&owner, semaphore).acquire()).await;
    site.until_nodes(&zk, queue, 0).await;
    let waiting = Semaphore::new(&owner, semaphore).acquire();
    site.until_nodes(&zk, queue, 1).await;
    let error = site.err("a turn", Semaphore::new(&zk, semaphore).acquire()).await;
    assert_eq!(error.code(), Some(ErrorCode::NoAuth), "{error}");
    assert_eq!(site.nodes(&zk, queue).await.len(), 1);
    site.ok("to release", lease.release()).await;
    assert!(site.ok("its turn", waiting).await.is_held());
}

/// A path that is refused is refused before anything is made of it.
pub async fn a_path_that_is_none_makes_nothing<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.client().await;
    for path in ["/l/", "/l//m", "l", "", "/l/.."] {
        let acquires = [
            Lock::new(&zk, path).acquire(),
            ReadLock::new(&zk, path).acquire(),
            WriteLock::new(&zk, path).acquire_timeout(LIMIT),
        ];
        for acquire in acquires {
            let error = site.err("a path that is none", acquire).await;
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path:?}: {error}");
        }
        let error = site.err("a path that is none", Lock::new(&zk, path).try_acquire()).await;
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path:?}: {error}");
        let semaphore = Semaphore::new(&zk, path);
        let error = site.err("a path that is none", semaphore.acquire()).await;
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path:?}: {error}");
        let error = site.err("a path that is none", semaphore.try_acquire()).await;
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path:?}: {error}");
    }
    site.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    let create = zk.create("/node/", b"", CreateOptions::persistent().protected());
    let error = site.err("a path that is none", create).await;
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(site.nodes(&zk, "/node").await.is_empty());
    assert_eq!(site.nodes(&zk, "/").await, ["node"]);
}

/// A node that the server has made goes when its acquire fails, whatever it is that has failed: where the
/// contenders cannot be listed, there is no finding it by its name.
pub async fn an_acquire_that_fails_leaves_no_node<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let owner = site.connect(site.builder().auth("digest", "ann:secret")).await;
    site.ok("a node", owner.create(PATH, b"", CreateOptions::persistent().acl(unlisted()))).await;
    let (proxy, zk) = site.proxied().await;
    let locks = |zk: &Client| {
        [
            Lock::new(zk, PATH).acquire(),
            ReadLock::new(zk, PATH).acquire(),
            WriteLock::new(zk, PATH).acquire(),
            named(zk, "hurried").acquire_timeout(LIMIT),
        ]
    };
    for acquire in locks(&zk) {
        let error = site.err("a list that may not be read", acquire).await;
        assert_eq!(error.code(), Some(ErrorCode::NoAuth), "{error}");
    }
    let error = site.err("nor if it does not wait", Lock::new(&zk, PATH).try_acquire()).await;
    assert_eq!(error.code(), Some(ErrorCode::NoAuth), "{error}");
    site.until_nodes(&owner, PATH, 0).await;

    // Nor is it found by that list when the reply to its creation is lost.
    lose_replies(&proxy, CREATE2, 1);
    let error = site.err("a list that may not be read", named(&zk, "unheard").acquire()).await;
    assert_eq!(error.code(), Some(ErrorCode::NoAuth), "{error}");
    site.until_nodes(&owner, PATH, 0).await;
    for cut in [false, true] {
        // The creation and its reply: then it is not known to be there.
        for packet in 0..2 {
            let (proxy, zk) = site.proxied().await;
            let handle = give_up_at(&proxy, packet, cut, || named(&zk, "gives up").acquire());
            site.when("the packet", || is_given_up(&handle)).await;
            pass_all(&proxy);
            site.ok("a call after it", zk.retry(|zk| zk.exists("/"))).await;
            site.until_nodes(&owner, PATH, 0).await;
        }
    }

    let many = "/many";
    site.ok("a node", owner.create(many, b"", CreateMode::Persistent)).await;
    let names = (0..20).map(|n| format!("{many}/{n:0100}"));
    for node in names {
        site.ok("a node", owner.create(node, b"", CreateMode::Persistent)).await;
    }
    let narrow = site.connect(site.builder().max_reply(1_000)).await;
    let error = site.err("a list that is too long", Lock::new(&narrow, many).acquire()).await;
    assert_eq!(error.kind(), ErrorKind::ReplyTooLarge, "{error}");
    site.until_nodes(&owner, many, 20).await;
    // Those who see all of it are not kept waiting.
    assert!(site.ok("a lock", Lock::new(&owner, PATH).acquire()).await.is_held());
    assert!(site.ok("a lock", Lock::new(&owner, many).acquire()).await.is_held());
}

/// Calls that the client does not take for now are made again, and nobody else is kept from running.
pub async fn a_full_queue_is_waited_out<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let proxy = super::site::proxy();
    let zk = site.connect(site.builder_at(proxy.address()).max_in_flight(2)).await;
    let (other, guard) = holder(&site).await;
    proxy.hold(Direction::ToClient);
    let filling = [zk.exists("/"), zk.exists("/")];
    let waiting = named(&zk, "waiter").acquire();
    let mut news = DataWatch::stream(&zk, "/");
    site.moment().await;
    assert!(!waiting.ready());
    proxy.release();
    for call in filling {
        site.ok("a call", call).await;
    }
    assert!(site.within("the news", news.changed()).await.is_some());
    site.until_nodes(&other, PATH, 2).await;
    site.ok("to release", guard.release()).await;
    assert!(site.ok("its turn", waiting).await.is_held());
}
