//! Locks whose nodes have another client's form, and what cannot be shared with one.

use zk_client::{
    CreateMode, ErrorKind, Handler,
    recipes::{Lock, LockOptions, ReadLock, Semaphore, WriteLock},
};

use super::{
    locks::{PATH, held, named},
    site::Site,
};

/// Names as Curator and go-zookeeper make them contend if the option says so.
pub async fn foreign_names_contend_by_an_option<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.client().await;
    site.ok("the path", zk.ensure_path(PATH)).await;
    let names = [
        "_c_8d2a3c1e-6f0b-4b57-9a44-0c2d5b1f7e90-lock-",
        "_c_3fcbb2f27b3c4f2e8f9dcd4c0a1e5b77-lock-",
    ];
    let options = LockOptions::default().identifier("ours").extra_lock_pattern("-lock-");
    for name in names {
        let foreign =
            zk.create(format!("{PATH}/{name}"), b"theirs", CreateMode::EphemeralSequential);
        let foreign = site.ok("a foreign node", foreign).await;
        site.ok("to release", held(&site, &named(&zk, "blind")).await.release()).await;
        for kind in 0..3 {
            let waiting = match kind {
                0 => Lock::with(&zk, PATH, options.clone()).acquire(),
                1 => ReadLock::with(&zk, PATH, options.clone()).acquire(),
                _ => WriteLock::with(&zk, PATH, options.clone()).acquire(),
            };
            site.until_nodes(&zk, PATH, 2).await;
            site.moment().await;
            assert!(!waiting.ready());
            let contenders = Lock::with(&zk, PATH, options.clone()).contenders();
            let contenders = site.ok("contenders", contenders).await;
            assert_eq!(contenders[0], "theirs");
            drop(waiting);
            site.until_nodes(&zk, PATH, 1).await;
        }
        let waiting = Lock::with(&zk, PATH, options.clone()).acquire();
        site.until_nodes(&zk, PATH, 2).await;
        site.ok("theirs to go", zk.delete(foreign, None)).await;
        site.ok("to release", site.ok("its turn", waiting).await.release()).await;
    }
}

/// What is in a name before its number, with what is random in it left out.
fn form(path: &str) -> String {
    let (_, name) = path.rsplit_once('/').expect("a path");
    let (before, number) = name.split_at(name.len() - 10);
    assert!(number.bytes().all(|byte| byte.is_ascii_digit()), "{name}");
    masked(before)
}

/// `text` with an `x` for everything that may be a digit of an id.
fn masked(text: &str) -> String {
    text.chars().map(|c| if matches!(c, '0'..='9' | 'a'..='f') { 'x' } else { c }).collect()
}

/// An option has nodes of another client's form, for which that client waits.
pub async fn nodes_have_the_form_that_an_option_names<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.client().await;
    let uuid = "_c_01234567-89ab-4def-8000-0123456789ab";
    let hex = format!("_c_{:032x}", 0);
    let curator = LockOptions::curator;
    let lock = site.ok("a lock", Lock::with(&zk, "/mutex", curator()).acquire()).await;
    assert_eq!(form(lock.path()), masked(&format!("{uuid}-lock-")));
    let reader = site.ok("a lock", ReadLock::with(&zk, "/sides", curator()).acquire()).await;
    assert_eq!(form(reader.path()), masked(&format!("{uuid}-__READ__")));
    let writer = WriteLock::with(&zk, "/sides", curator()).acquire();
    site.until_nodes(&zk, "/sides", 2).await;
    let late = ReadLock::with(&zk, "/sides", curator()).acquire();
    site.until_nodes(&zk, "/sides", 3).await;
    site.moment().await;
    assert!(!writer.ready() && !late.ready());
    let another = ReadLock::with(&zk, "/sides", curator().identifier("late")).contenders();
    assert_eq!(site.ok("contenders", another).await.len(), 3);
    site.ok("to release", reader.release()).await;
    let guard = site.ok("its turn", writer).await;
    assert_eq!(form(guard.path()), masked(&format!("{uuid}-__WRIT__")));
    site.moment().await;
    assert!(!late.ready());
    drop(guard);
    assert!(site.ok("its turn", late).await.is_held());

    let options = LockOptions::go_zookeeper().identifier("gopher");
    let gopher = site.ok("a lock", Lock::with(&zk, "/go", options).acquire()).await;
    assert_eq!(form(gopher.path()), masked(&format!("{hex}-lock-")));
    // Both forms of Curator's time and go-zookeeper's exclude each other.
    let beside = Lock::with(&zk, "/go", curator()).try_acquire();
    assert!(site.ok("an answer", beside).await.is_none());
    let options = LockOptions::go_zookeeper;
    for acquire in [
        ReadLock::with(&zk, "/none", options()).acquire(),
        WriteLock::with(&zk, "/none", options()).acquire(),
    ] {
        let error = site.err("what go-zookeeper does not have", acquire).await;
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains("/none is to be shared with go-zookeeper"), "{error}");
    }
    assert_eq!(site.ok("exists", zk.exists("/none")).await, None);
}

/// Curator keeps semaphores in another way: there is no contending there, and nothing is made.
pub async fn a_semaphore_of_curators_is_refused<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.client().await;
    for name in ["", "/locks", "/leases"] {
        let node = zk.create(format!("/theirs{name}"), b"", CreateMode::Persistent);
        site.ok("a node", node).await;
    }
    let semaphore = Semaphore::new(&zk, "/theirs");
    let errors = [
        site.err("a semaphore", semaphore.acquire()).await,
        site.err("a semaphore", semaphore.try_acquire()).await,
        site.err("holders", semaphore.lease_holders()).await,
        site.err("a mutex", Lock::with(&zk, "/theirs", LockOptions::curator()).acquire()).await,
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        let what = "/theirs cannot be shared with another client, such as Curator";
        assert!(error.to_string().contains(what), "{error}");
    }
    assert_eq!(site.nodes(&zk, "/theirs").await, ["leases", "locks"]);
    assert_eq!(site.ok("the data", zk.get("/theirs")).await.0, "");
    assert_eq!(site.nodes(&zk, "/").await, ["theirs"]);

    // So it is when the other client comes later, and when its nodes are those who wait.
    let held = site.ok("a lease", Semaphore::new(&zk, "/ours").acquire()).await;
    let node = "/ours/_c_8d2a3c1e-6f0b-4b57-9a44-0c2d5b1f7e90-lock-";
    let waiting = Semaphore::new(&zk, "/ours").acquire();
    site.until_nodes(&zk, "/ours-__lock__", 1).await;
    site.ok("a node", zk.create(node, b"", CreateMode::EphemeralSequential)).await;
    let error = site.err("a shared path", waiting).await;
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    site.until_nodes(&zk, "/ours-__lock__", 0).await;
    assert!(held.is_held());
}
