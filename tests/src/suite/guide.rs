//! The examples of `docs/guide.md`, run as tests.
//!
//! What is between `// guide: <title>` and `// end` is what the chapter shows below `<!-- <title> -->`;
//! the test at the end of this file compares the two. `guide/security.rs` has more examples. The chapter leaves the handler out, as it uses the
//! default one.
#![expect(clippy::print_stdout, reason = "examples print")]

use std::{sync::mpsc, time::Duration};

use zk_client::{
    Acl, AddWatchMode, AsyncResult, Client, CreateMode, CreateOptions, Error, ErrorCode, ErrorKind,
    Handler, OPEN_ACL_UNSAFE, Perms, PersistentWatchEvent, ReadResult, Retry, SessionState,
    WatcherType, blocking, digest_acl,
    recipes::{
        ChildrenWatch, DataWatch, Lock, LockOptions, ReadLock, Semaphore, SemaphoreOptions,
        WriteLock, patient_children_watch,
    },
};

use zk_server::Version;

use super::{
    context::{LIMIT, TestContext},
    shared_server::shared_server,
};
use crate::tasks::{spawn, spawn_blocking};

mod security;

pub use security::{kerberos, logging_in, tls};

type Done = Result<(), Error>;

impl<H: Handler> TestContext<H> {
    /// The connect string of this test, with its chroot. The examples have no option of TLS.
    fn hosts(&self) -> String {
        format!("{}{}", shared_server().address(), self.root())
    }

    /// Runs an example with the nodes that the chapter assumes.
    async fn example<F>(&self, run: impl FnOnce(Client) -> F)
    where
        F: Future<Output = Done>,
    {
        let zk = self.client().await;
        self.ok("the nodes", zk.ensure_path("/my/favorite")).await;
        self.ok("the example", run(zk)).await;
    }
}

pub async fn life_cycle<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler.clone());
    let hosts = ctx.hosts();
    let run = async {
        // guide: start and stop
        let zk = Client::builder()
            .hosts(&hosts)
            .default_acl(&OPEN_ACL_UNSAFE)
            .connect_on(handler.clone())
            .await?;
        println!("{:?} {:?}", zk.connection_state(), zk.session_id());
        assert!(zk.connected());
        zk.restart().await?;
        zk.stop().await
        // end
    };
    ctx.ok("the example", run).await;

    let run = async {
        // guide: start without waiting
        let zk = Client::builder().hosts(&hosts).build_on(handler.clone())?;
        let started = zk.start_async();
        // … something else meanwhile …
        started.happened().await;
        assert!(zk.connected());
        // end
        Done::Ok(())
    };
    ctx.ok("the example", run).await;

    let run = async {
        // guide: start takes too long
        let zk = Client::builder()
            .hosts("127.0.0.1:1")
            .connect_timeout(Duration::from_millis(300))
            .build_on(handler.clone())?;
        match zk.start().await {
            Err(error) if error.kind() == ErrorKind::Timeout => println!("{error}"),
            other => panic!("{other:?}"),
        }
        // end
        Done::Ok(())
    };
    ctx.ok("the example", run).await;

    let run = async {
        // guide: options
        let zk = Client::builder()
            .hosts(&hosts)
            .session_timeout(Duration::from_secs(15))
            .connect_timeout(Duration::from_secs(10))
            .auth("digest", "user:secret")
            .read_only(true)
            .randomize_hosts(false)
            .command_retry(Retry::default().max_tries(5))
            .connect_on(handler.clone())
            .await?;
        let ticket = zk.client_id();
        // end
        assert!(ticket.is_some());
        // guide: ask the server itself
        let [major, minor, _] = zk.server_version().await?;
        println!("{major}.{minor}");
        println!("{}", zk.four_letter_word("srvr").await?);
        // end
        let expected = if shared_server().version() == Version::V3_8 { [3, 8] } else { [3, 9] };
        assert_eq!([major, minor], expected);
        // guide: a path without the chroot
        let absolute = format!("{}/node", zk.chroot());
        assert_eq!(zk.unchroot(&absolute), "/node");
        // end
        // guide: another list of hosts
        zk.set_hosts("127.0.0.1:2181,127.0.0.1:2182")?;
        // end
        Done::Ok(())
    };
    ctx.ok("the example", run).await;
}

pub async fn states<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    let (tell, told) = mpsc::channel();
    let say = move |what: &str| tell.send(what.to_owned()).expect("somebody listens");
    // guide: listen to the state
    let listener = zk.add_listener(move |state| match state {
        SessionState::Lost => say("the session is gone, with its ephemeral nodes"),
        SessionState::Suspended => say("the connection is lost, the session may live on"),
        SessionState::Connected => say("connected"),
        state => say(&state.to_string()),
    });
    // end
    // guide: follow the state
    let mut states = zk.states();
    let follower = async move {
        while let Some(state) = states.changed().await {
            println!("{state}");
            if state == SessionState::Connected {
                break;
            }
        }
    };
    // end
    proxy.cut_rst();
    ctx.within("the example", follower).await;
    let told =
        spawn_blocking(move || [(); 2].map(|()| told.recv_timeout(LIMIT).expect("a state"))).await;
    assert_eq!(told, ["the connection is lost, the session may live on", "connected"]);
    // guide: listen no more
    zk.remove_listener(listener);
    // end
    let run = async {
        // guide: the state now
        if zk.state() == SessionState::Connected {
            zk.create("/here", b"", CreateMode::Ephemeral).await?;
        }
        // end
        Done::Ok(())
    };
    ctx.ok("the example", run).await;
}

pub async fn creating<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let run = async |zk: Client| {
        // guide: create
        zk.ensure_path("/my/favorite").await?;
        zk.create("/my/favorite/node", b"a value", CreateMode::Persistent).await?;
        // end
        // guide: create, with options
        let options = CreateOptions::ephemeral().sequence().makepath().acl(&OPEN_ACL_UNSAFE);
        let (path, stat) = zk.create_with_stat("/my/jobs/job-", b"", options).await?;
        // end
        assert_eq!(path, "/my/jobs/job-0000000000");
        assert_ne!(stat.ephemeral_owner, 0);
        // guide: create, whatever happens to the reply
        let options = CreateOptions::ephemeral().sequence().protected();
        let path = zk.create("/my/jobs/job-", b"", options).await?;
        // end
        assert!(path.contains("/_c_"));
        Ok(())
    };
    ctx.example(run).await;
}

pub async fn reading<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let run = async |zk: Client| {
        // guide: read
        if let Some(stat) = zk.exists("/my/favorite").await? {
            println!("it has {} children", stat.num_children);
        }
        let (data, stat) = zk.get("/my/favorite").await?;
        println!("version {}, data {data:?}", stat.version);
        let children = zk.get_children("/my/favorite").await?;
        println!("there are {} children with names {children:?}", children.len());
        let (children, stat) = zk.get_children_with_stat("/my/favorite").await?;
        // end
        assert_eq!((children.len(), stat.num_children), (0, 0));
        // guide: access lists and sync
        let (acls, stat) = zk.get_acls("/my/favorite").await?;
        zk.set_acls("/my/favorite", &acls, stat.aversion).await?;
        zk.sync("/my/favorite").await?;
        zk.add_auth("digest", "user:secret").await?;
        // end
        Ok(())
    };
    ctx.example(run).await;
}

pub async fn access_lists<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let run = async |zk: Client| {
        // guide: access lists
        zk.add_auth("digest", "ann:her password").await?;
        let own = digest_acl("ann", "her password", Perms::ALL);
        let acl = [own, Acl::ip("127.0.0.0/8", Perms::READ)?];
        zk.create("/my/invoices", b"", CreateOptions::persistent().acl(&acl)).await?;
        // end
        zk.set("/my/invoices", b"more", None).await?;
        // guide: another password
        zk.replace_auth("digest", "ann:her new password").await?;
        zk.reconnect().await?; // now the server knows the new one only
        for identity in zk.who_am_i().await? {
            println!("{}:{}", identity.auth_scheme, identity.user);
        }
        // end
        zk.get("/my/invoices").await?;
        let error =
            zk.set("/my/invoices", b"", None).await.expect_err("the password is another one");
        assert_eq!(error.code(), Some(ErrorCode::NoAuth), "{error}");
        Ok(())
    };
    ctx.example(run).await;
}

pub async fn writing<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let run = async |zk: Client| {
        // guide: write
        zk.set("/my/favorite", b"some data", None).await?;
        let (_, stat) = zk.get("/my/favorite").await?;
        zk.set("/my/favorite", b"other data", stat.version).await?; // if nobody was in between
        // end
        // guide: write and know
        let (_, stat) = zk.get("/my/favorite").await?;
        zk.retry(move |zk| zk.set_and_check("/my/favorite", b"once", stat.version)).await?;
        // end
        assert_eq!(zk.get("/my/favorite").await?.1.version, 3);
        // guide: delete
        zk.create("/my/favorite/node", b"", CreateMode::Persistent).await?;
        zk.delete("/my/favorite/node", None).await?;
        zk.delete_recursive("/my").await?;
        // end
        // guide: errors
        match zk.get("/my/favorite").await {
            Err(error) if error.code() == Some(ErrorCode::NoNode) => println!("{error}"),
            other => panic!("{other:?}"),
        }
        // end
        Ok(())
    };
    ctx.example(run).await;
}

pub async fn retrying<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let run = async |zk: Client| {
        // guide: retry
        let (data, stat) = zk.retry(|zk| zk.get("/my/favorite")).await?;
        // end
        assert_eq!((data.len(), stat.version), (0, 0));
        // guide: retry by a policy
        let retry = Retry::default()
            .max_tries(3)
            .delay(Duration::from_millis(100))
            .backoff(2.0)
            .max_jitter(0.4)
            .max_delay(Duration::from_secs(60))
            .deadline(Duration::from_secs(120))
            .ignore_expire(false);
        let children = retry.call(&zk, |zk| zk.get_children("/my/favorite")).await?;
        // end
        assert!(children.is_empty());
        // guide: retry several calls
        let version = zk
            .retry(|zk| {
                let zk = zk.clone();
                async move {
                    let (data, stat) = zk.get("/my/favorite").await?;
                    let longer = [&data[..], b"x"].concat();
                    match zk.set("/my/favorite", longer, stat.version).await {
                        Err(error) if error.code() == Some(ErrorCode::BadVersion) => {
                            Err(Error::try_again("somebody was in between"))
                        }
                        set => set.map(|stat| stat.version),
                    }
                }
            })
            .await?;
        // end
        assert_eq!(version, 1);
        Ok(())
    };
    ctx.example(run).await;
}

pub async fn watching<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler.clone());
    let run = async |zk: Client| {
        // guide: watch once
        let (children, _, watch) = zk.get_children_and_watch("/my/favorite").await?;
        println!("{children:?} for now");
        watch.on_event(|event| println!("{:?} at {}", event.kind, event.path));
        // end
        // guide: wait for a change
        let (_, watch) = zk.exists_and_watch("/my/favorite/node").await?;
        zk.create("/my/favorite/node", b"", CreateMode::Persistent).await?;
        let event = watch.await?;
        // end
        assert_eq!(event.path, "/my/favorite/node");

        // guide: persistent watch
        let mut watch = zk.add_watch("/my/favorite", AddWatchMode::PersistentRecursive).await?;
        zk.set("/my/favorite/node", b"new", None).await?;
        match watch.next().await {
            Some(PersistentWatchEvent::Changed(event)) => {
                println!("{:?} {}", event.kind, event.path)
            }
            Some(item) if item.is_loss() => println!("read again"),
            last => println!("the watch has ended: {last:?}"),
        }
        zk.remove_all_watches("/my/favorite", WatcherType::Any).await?;
        // end
        assert!(watch.next().await.is_some_and(|item| item.is_last()));

        let (tell, told) = mpsc::channel();
        let say = tell.clone();
        // guide: watch children
        let children = ChildrenWatch::new(&zk, "/my/favorite", move |news| {
            say.send(format!("children are now {:?}", news.names)).expect("somebody listens");
            true // false ends it
        });
        // end
        let say = tell.clone();
        // guide: watch data
        let data = DataWatch::new(&zk, "/my/favorite", move |news| {
            let what = match news.node {
                Some((data, stat)) => format!("version {}, data {data:?}", stat.version),
                None => "there is no such node".to_owned(),
            };
            say.send(what).expect("somebody listens");
            true
        });
        // end
        let told =
            spawn_blocking(move || [(); 2].map(|()| told.recv_timeout(LIMIT).expect("a call")));
        let mut told = told.await;
        told.sort();
        assert_eq!(told, ["children are now [\"node\"]", "version 0, data b\"\""]);
        drop((children, data));
        // guide: follow data
        let mut stream = DataWatch::stream(&zk, "/my/favorite");
        while let Some(news) = stream.changed().await {
            match news.node {
                Some((data, _)) if data.is_empty() => zk.set("/my/favorite", b"go", None).await?,
                _ => break,
            };
        }
        // end
        // guide: wait for quiet
        let quiet = Duration::from_millis(200);
        let (children, next_change) = patient_children_watch(&zk, "/my/favorite", quiet).await?;
        // end
        assert!(children.len() == 1 && !next_change.ready());
        Ok(())
    };
    ctx.example(run).await;
}

pub async fn transactions<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let run = async |zk: Client| {
        // guide: transaction
        let results = zk
            .transaction()
            .check("/my/favorite", 0)
            .create("/my/favorite/node2", b"a value", CreateMode::Persistent)
            .set("/my/favorite", b"in a transaction", None)
            .delete("/my/favorite/node2", None)
            .commit()
            .await?;
        println!("{:?}", results.committed()?);
        // end
        // guide: transaction that fails
        let results = zk
            .transaction()
            .create("/my/favorite/node3", b"", CreateMode::Persistent)
            .check("/my/favorite", 99)
            .commit()
            .await?;
        for result in results {
            println!("{result:?}"); // rolled back, and the one that failed
        }
        // end
        assert!(zk.exists("/my/favorite/node3").await?.is_none());
        Ok(())
    };
    ctx.example(run).await;
}

pub async fn servers<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let run = async |zk: Client| {
        // guide: several reads
        let results = zk.multi_read().get("/my/favorite").get_children("/my").send().await?;
        for result in results {
            match result? {
                ReadResult::Data(data, stat) => println!("{data:?}, version {}", stat.version),
                ReadResult::Children(names) => println!("{names:?}"),
                other => panic!("{other:?}"),
            }
        }
        // end
        // guide: count nodes
        println!("{} nodes below /my", zk.get_all_children_number("/my").await?);
        for path in zk.get_ephemerals("/my").await? {
            println!("{path} goes with this session");
        }
        // end
        // guide: a node that goes by itself
        zk.create("/jobs", b"", CreateMode::Container).await?; // until its last child is gone
        zk.create("/hint", b"", CreateOptions::ttl(Duration::from_secs(60))).await?;
        // end
        // guide: who am I
        for identity in zk.who_am_i().await? {
            println!("{}: {}", identity.auth_scheme, identity.user);
        }
        // end
        // guide: what a server says of itself
        let stats = zk.server_stats().await?;
        println!("{} with {} nodes, at most {:?}", stats.mode, stats.node_count, stats.max_latency);
        for host in zk.hosts() {
            match zk.four_letter_word_of(host.to_string(), "ruok").await {
                Ok(answer) => println!("{host}: {answer}"),
                Err(error) if error.kind() == ErrorKind::NotWhitelisted => {
                    println!("{host} serves")
                }
                Err(error) => println!("{error}"),
            }
        }
        // end
        // guide: the members of the ensemble
        let (config, _) = zk.get_config().await?;
        for member in &config.members {
            println!("server {} is a {}: {member}", member.id, member.role);
        }
        // end
        // guide: what a server does not know
        match zk.who_am_i().await {
            Ok(identities) => println!("{identities:?}"),
            Err(error) if error.code() == Some(ErrorCode::Unimplemented) => {
                println!("{error}"); // … does not know whoAmI, which exists since ZooKeeper 3.7.0
            }
            Err(error) => return Err(error),
        }
        // end
        Ok(())
    };
    ctx.example(run).await;
}

pub async fn results<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let run = async |zk: Client| {
        // guide: callbacks
        let result = zk.get("/my/favorite");
        result.on_complete(|result| match result {
            Ok((data, _)) => println!("{data:?}"),
            Err(error) if error.kind() == ErrorKind::ConnectionLoss => println!("{error}"),
            Err(error) => panic!("{error}"),
        });
        // end
        result.await?;
        // guide: many at once
        let creates: Vec<AsyncResult<_>> =
            (0..10).map(|n| zk.create(format!("/my/{n}"), b"", CreateMode::Persistent)).collect(); // all are on their way
        for create in creates {
            println!("{}", create.await?);
        }
        // end
        let zk2 = zk.clone();
        spawn_blocking(move || {
            let zk = zk2;
            // guide: results in a thread
            let result = zk.exists("/my/favorite");
            if result.wait(Duration::from_secs(5)) {
                assert!(result.ready() && result.successful());
                println!("{:?}", result.value());
            }
            let found = result.get()?; // waits if it is not there
            // end
            assert!(found.is_some());
            Done::Ok(())
        })
        .await?;
        // guide: give up
        let result = zk.sync("/my/favorite");
        if result.cancel() {
            assert!(result.cancelled());
        }
        // end
        Ok(())
    };
    ctx.example(run).await;
}

pub async fn threads<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = blocking::Client::from(ctx.client().await);
    let run = spawn_blocking(move || {
        // guide: threads
        use zk_client::blocking::recipes::Lock;

        zk.ensure_path("/my/favorite")?;
        let (data, stat) = zk.retry(|zk| zk.get("/my/favorite"))?;
        println!("version {}, data {data:?}", stat.version);
        let lock = Lock::new(&zk, "/lockpath");
        let guard = lock.acquire()?;
        // … with the lock …
        guard.release()?;
        let results = zk.transaction().delete("/my/favorite", None).commit()?;
        results.committed()?;
        zk.stop()
        // end
    });
    ctx.ok("the example", run).await;
}

pub async fn locks<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let run = async |zk: Client| {
        // guide: lock
        let lock = Lock::with_options(
            &zk,
            "/lockpath",
            LockOptions::default().identifier("my-identifier"),
        );
        let guard = lock.acquire().await?; // waits until it is held
        // … do something with the lock …
        println!("held or waited for by {:?}", lock.contenders().await?);
        guard.release().await?;
        // end
        // guide: lock, with a time-out
        match lock.acquire_timeout(Duration::from_secs(10)).await {
            Ok(guard) => drop(guard), // which releases it
            Err(error) if error.kind() == ErrorKind::Timeout => println!("{error}"),
            Err(error) => return Err(error),
        }
        if let Some(guard) = lock.try_acquire().await? {
            println!("it was free: {guard:?}");
        }
        // end
        // guide: lock that does not lie
        let guard = lock.acquire().await?;
        guard.on_change(|state| println!("the lock's session is {state}"));
        let write = guard.transaction().set("/my/favorite", b"by the holder", None);
        write.commit().await?.committed()?; // done only if the lock is held
        println!("to a store elsewhere, with token {}", guard.fencing_token());
        // end
        assert!(guard.is_held());
        drop(guard);
        // guide: read and write locks
        let reader = ReadLock::new(&zk, "/rwlock").acquire().await?;
        let another = ReadLock::new(&zk, "/rwlock").acquire().await?;
        drop((reader, another));
        let writer = WriteLock::new(&zk, "/rwlock").acquire().await?;
        // end
        assert!(writer.is_held());
        // guide: lock shared with Curator
        let lock = Lock::with_options(&zk, "/curators", LockOptions::curator());
        let shared = ReadLock::with_options(&zk, "/readers-of-curator", LockOptions::curator());
        let gophers = Lock::with_options(&zk, "/gophers", LockOptions::go_zookeeper());
        // end
        for lock in [lock.acquire(), shared.acquire(), gophers.acquire()] {
            assert!(lock.await?.is_held());
        }
        // guide: semaphore
        let options = SemaphoreOptions::default().max_leases(3).identifier("my-identifier");
        let semaphore = Semaphore::with_options(&zk, "/leasepath", options);
        let lease = semaphore.acquire().await?;
        println!("held by {:?}", semaphore.lease_holders().await?);
        lease.release().await?;
        // end
        Ok(())
    };
    ctx.example(run).await;
}

/// A task that stops working when it can no longer be sure that it holds its lock.
pub async fn a_lock_that_is_in_doubt<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    let task = spawn(&ctx.handler, async move {
        // guide: lock in doubt
        let guard = Lock::new(&zk, "/lockpath").acquire().await?;
        let in_doubt = guard.suspended();
        // … work, and stop when `in_doubt` completes …
        in_doubt.await;
        assert!(!guard.is_held());
        // end
        Done::Ok(())
    });
    let other = ctx.client().await;
    ctx.wait_for_children(&other, "/lockpath", 1).await;
    ctx.short_wait().await;
    proxy.refuse(true);
    proxy.cut_rst();
    ctx.ok("the example", task).await;
    proxy.refuse(false);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    /// The examples in these files, without indentation and handlers.
    fn examples() -> BTreeMap<String, String> {
        let mut examples = BTreeMap::new();
        let files = [include_str!("guide.rs"), include_str!("guide/security.rs")];
        let mut lines = files.into_iter().flat_map(str::lines);
        while let Some(line) = lines.next() {
            let Some(title) = line.trim_start().strip_prefix("// guide: ") else { continue };
            let indent = line.len() - line.trim_start().len();
            let text: Vec<_> = lines
                .by_ref()
                .take_while(|line| line.trim() != "// end")
                .map(|line| line.get(indent..).unwrap_or_default())
                .collect();
            let text = text.join("\n").replace("_on(handler.clone())", "()");
            assert!(examples.insert(title.to_owned(), text).is_none(), "{title} is there twice");
        }
        examples
    }

    /// The examples in the chapter.
    fn shown() -> BTreeMap<String, String> {
        let chapter = include_str!("../../../docs/guide.md");
        let blocks = chapter.split("\n<!-- ").skip(1).map(|block| {
            let (title, rest) = block.split_once(" -->\n```rust\n").expect("a Rust example");
            let (text, _) = rest.split_once("\n```\n").expect("its end");
            (title.to_owned(), text.to_owned())
        });
        assert_eq!(chapter.matches("```rust").count(), blocks.clone().count());
        blocks.collect()
    }

    #[test]
    fn the_guide_shows_the_examples_that_run() {
        let (examples, shown) = (examples(), shown());
        assert_eq!(
            examples.keys().collect::<Vec<_>>(),
            shown.keys().collect::<Vec<_>>(),
            "the examples that are run, and those that are shown"
        );
        for (title, example) in &examples {
            assert_eq!(*example, shown[title], "{title}: what is run, and what is shown");
        }
    }
}
