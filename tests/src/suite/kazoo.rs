//! Interoperability with kazoo: each client reads what the other one writes, and waits for its locks.
//!
//! `tests/kazoo/client.py` is a kazoo client that executes commands. It runs on the Python interpreter that
//! `ZK_TEST_PYTHON` names, or else on the one that `tests/kazoo/setup.sh` finds or installs.

mod client;

use zk_client::{
    Acl, CREATOR_ALL_ACL, Client, CreateMode, CreateOptions, Error, ErrorKind, EventType, Handler,
    OPEN_ACL_UNSAFE, OperationResult, Perms, READ_ACL_UNSAFE, Stat, Transaction, Ustring,
    recipes::{Lock, LockOptions, ReadLock, Semaphore, SemaphoreOptions, WriteLock},
};

use self::client::{CommandLine, KazooClient, command, hex, stat_of, text_of};
use super::{context::TestContext, shared_server::shared_server};

/// A test context with a client of each kind.
async fn connect_both<H: Handler>(handler: H) -> (TestContext<H>, Client, KazooClient) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let kazoo = KazooClient::connect(format!("{}{}", shared_server().hosts(), ctx.root())).await;
    (ctx, zk, kazoo)
}

/// Paths and data of many kinds.
fn nodes() -> [(&'static str, Option<&'static [u8]>); 6] {
    [
        ("/plain", Some(b"text")),
        ("/zażółć-gęślą-数据-данные", Some("Grüße, 世界 🌍".as_bytes())),
        ("/empty", Some(b"")),
        ("/null", None),
        ("/bytes", Some(&[0, 255, 1, 254, b'\r', b'\n', 0])),
        ("/a name with blanks", Some(&[b'x'; 100_000])),
    ]
}

pub async fn data_and_stats<H: Handler>(handler: H) {
    let (ctx, zk, kazoo) = connect_both(handler).await;
    for (path, data) in nodes() {
        let ours = format!("{path}-ours");
        let create = zk.create_with_stat(&ours, data.map(<[u8]>::to_vec), CreateMode::Persistent);
        let (created, stat) = ctx.ok("create", create).await;
        assert_eq!(created, ours.as_str());
        assert_same_node(&ctx, &zk, &kazoo, &ours, data, stat).await;

        let theirs = format!("{path}-theirs");
        let create = command("create").text(&theirs).data(data).acl(&OPEN_ACL_UNSAFE).word('p');
        let mut answer = kazoo.call(create).await;
        assert_eq!(answer.text(), theirs);
        assert_same_node(&ctx, &zk, &kazoo, &theirs, data, answer.stat()).await;

        // Each client changes the other's node, with a version check, and creates children.
        let set = command("set").text(&ours).data(Some(b"theirs")).word(0);
        let stat = kazoo.call(set).await.stat();
        assert_eq!((stat.version, stat.data_length), (1, 6));
        assert_same_node(&ctx, &zk, &kazoo, &ours, Some(b"theirs"), stat).await;
        let stat = ctx.ok("set", zk.set(&theirs, data.map(<[u8]>::to_vec), 0)).await;
        assert_same_node(&ctx, &zk, &kazoo, &theirs, data, stat).await;
        for name in ["b", "ä", "a"] {
            let child = format!("{ours}/{name}");
            ctx.ok("create", zk.create(&child, (), CreateMode::Persistent)).await;
        }
        let mut answer = kazoo.call(command("children").text(&ours)).await;
        let stat = answer.stat();
        assert_eq!([(); 3].map(|()| answer.text()), ["a", "b", "ä"]);
        let (mut names, same) = ctx.ok("children", zk.get_children_with_stat(&ours)).await;
        names.sort();
        assert_eq!((names, same), (["a", "b", "ä"].map(Ustring::from).to_vec(), stat));
        assert_eq!((stat.num_children, stat.cversion), (3, 3));

        let refused = kazoo.ask(command("set").text(&ours).data(Some(b"")).word(7)).await;
        assert_eq!(refused.expect_err("it has another version"), "BadVersionError");
        kazoo.call(command("delete").text(&theirs).word(1)).await;
        assert_eq!(ctx.ok("exists", zk.exists(&theirs)).await, None);
        ctx.ok("delete", zk.delete_recursive(&ours)).await;
        assert_eq!(kazoo.call(command("exists").text(&ours)).await.word(), "-");
    }
}

/// Checks that both clients read the same at `path`.
async fn assert_same_node<H: Handler>(
    ctx: &TestContext<H>,
    zk: &Client,
    kazoo: &KazooClient,
    path: &str,
    data: Option<&[u8]>,
    stat: Stat,
) {
    let (ours, our_stat) = ctx.ok("get", zk.get_nullable(path)).await;
    let (theirs, their_stat) = kazoo.get(path).await;
    assert_eq!(ours.as_deref(), data, "{path} as read here");
    assert_eq!(theirs.as_deref(), data, "{path} as read by kazoo");
    assert_eq!([our_stat, their_stat], [stat; 2], "{path}");
    assert_eq!(ctx.ok("exists", zk.exists(path)).await, Some(stat), "{path}");
    assert_eq!(kazoo.call(command("exists").text(path)).await.stat(), stat, "{path}");
}

pub async fn access_lists<H: Handler>(handler: H) {
    let (ctx, zk, kazoo) = connect_both(handler).await;
    let lists: [&[Acl]; 4] = [
        &OPEN_ACL_UNSAFE,
        &READ_ACL_UNSAFE,
        &[Acl::new(Perms::ALL, "ip", "127.0.0.1"), Acl::new(Perms::READ, "ip", "10.0.0.0/8")],
        &[
            Acl::new(Perms::ALL, "world", "anyone"),
            Acl::new(Perms::WRITE | Perms::DELETE, "digest", "żółw:c29tZSBzZWNyZXQ="),
            Acl::new(Perms::CREATE, "digest", "other:b3RoZXI="),
        ],
    ];
    for (index, list) in lists.into_iter().enumerate() {
        let ours = format!("/ours-{index}");
        let options = CreateOptions::persistent().acl(list);
        ctx.ok("create", zk.create(&ours, b"", options)).await;
        let theirs = format!("/theirs-{index}");
        kazoo.call(command("create").text(&theirs).data(Some(b"")).acl(list).word('p')).await;
        for path in [&ours, &theirs] {
            let (acl, stat) = ctx.ok("acls", zk.get_acls(path)).await;
            let mut answer = kazoo.call(command("acls").text(path)).await;
            assert_eq!(acl, list, "{path}");
            assert_eq!((answer.acl(), answer.stat()), (acl, stat), "{path}");
        }
    }
    for (version, list) in (0..).zip(lists) {
        let stat = ctx.ok("set_acls", zk.set_acls("/theirs-0", list, version)).await;
        assert_eq!(stat.aversion, version + 1);
        let set = command("set_acls").text("/ours-0").acl(list).word(version);
        let same = kazoo.call(set).await.stat();
        assert_eq!(same.aversion, version + 1);
        let mut answer = kazoo.call(command("acls").text("/theirs-0")).await;
        assert_eq!((answer.acl(), answer.stat()), (list.to_vec(), stat));
        assert_eq!(ctx.ok("acls", zk.get_acls("/ours-0")).await, (list.to_vec(), same));
        if list == READ_ACL_UNSAFE {
            let refused = ctx.err("set_acls", zk.set_acls("/ours-0", list, None)).await;
            assert_eq!(refused.code(), Some(zk_client::ErrorCode::NoAuth));
            let refused = kazoo.ask(command("set_acls").text("/ours-0").acl(list).word(-1)).await;
            assert_eq!(refused.expect_err("the ACL denies it"), "NoAuthError");
            break;
        }
    }
}

/// Both clients compute the same digest, and it gives both the same access.
pub async fn digests<H: Handler>(handler: H) {
    let (ctx, zk, kazoo) = connect_both(handler).await;
    let (user, password) = ("anna", "geheim: ganz");
    let digest =
        command("digest").text(user).text(password).word((Perms::READ | Perms::ADMIN).bits());
    let acl = kazoo.call(digest).await.acl();
    assert_eq!(acl[0].perms, Perms::READ | Perms::ADMIN);
    let options = CreateOptions::persistent().acl(&acl);
    ctx.ok("create", zk.create("/ours", b"secret", options)).await;
    let create = command("create").text("/theirs").data(Some(b"secret")).acl(&acl).word('p');
    kazoo.call(create).await;

    for path in ["/ours", "/theirs"] {
        let refused = ctx.err("get", zk.get(path)).await;
        assert_eq!(refused.code(), Some(zk_client::ErrorCode::NoAuth));
        let refused = kazoo.ask(command("get").text(path)).await;
        assert_eq!(refused.expect_err("the session has no credential"), "NoAuthError");
    }
    ctx.ok("auth", zk.add_auth("digest", format!("{user}:{password}"))).await;
    let credential = format!("{user}:{password}");
    kazoo.call(command("add_auth").text("digest").text(&credential)).await;
    for path in ["/ours", "/theirs"] {
        let (data, stat) = ctx.ok("get", zk.get(path)).await;
        assert_eq!(kazoo.get(path).await, (Some(data.to_vec()), stat));
        let mut answer = kazoo.call(command("acls").text(path)).await;
        assert_eq!(ctx.ok("acls", zk.get_acls(path)).await, (answer.acl(), answer.stat()));
        let refused = ctx.err("set", zk.set(path, b"", None)).await;
        assert_eq!(refused.code(), Some(zk_client::ErrorCode::NoAuth));
    }

    // The server computes the same digest for the session's own identity.
    let options = CreateOptions::persistent().acl(&CREATOR_ALL_ACL);
    ctx.ok("create", zk.create("/own", b"", options)).await;
    let all = command("digest").text(user).text(password).word(Perms::ALL.bits());
    let expected = kazoo.call(all).await.acl();
    assert_eq!(ctx.ok("acls", zk.get_acls("/own")).await.0, expected);
    assert_eq!(kazoo.call(command("acls").text("/own")).await.acl(), expected);
    kazoo.call(command("set").text("/own").data(Some(b"theirs")).word(0)).await;
}

pub async fn transactions<H: Handler>(handler: H) {
    let (ctx, zk, kazoo) = connect_both(handler).await;
    // The same operations with both clients, each on its own nodes.
    let ours = |top: &str, version| {
        zk.transaction()
            .check(top, 0)
            .create(format!("{top}/ä"), b"", CreateMode::Persistent)
            .set(format!("{top}/ä"), "ö", 0)
            .create(format!("{top}/item-"), b"1", CreateMode::EphemeralSequential)
            .set(top, b"done", version)
            .create(format!("{top}/gone"), b"", CreateMode::Persistent)
            .delete(format!("{top}/gone"), 0)
    };
    let theirs = |top: &str, version: i32| {
        let open = |words: CommandLine, path: String, data: &[u8], kind| {
            words.word("create").text(&path).data(Some(data)).acl(&OPEN_ACL_UNSAFE).word(kind)
        };
        let start = command("transaction").word("check").text(top).word(0).word('+');
        let words = open(start, format!("{top}/ä"), b"", "p").word('+');
        let words = words.word("set").text(&format!("{top}/ä")).data(Some("ö".as_bytes()));
        let words = open(words.word(0).word('+'), format!("{top}/item-"), b"1", "es").word('+');
        let words = words.word("set").text(top).data(Some(b"done")).word(version).word('+');
        let words = open(words, format!("{top}/gone"), b"", "p").word('+');
        words.word("delete").text(&format!("{top}/gone")).word(0)
    };
    for top in ["/ours", "/theirs"] {
        ctx.ok("create", zk.create(top, b"", CreateMode::Persistent)).await;
    }

    let failed = commit(&ctx, ours("/ours", 7)).await;
    let refused = kazoo.call(theirs("/theirs", 7)).await;
    assert_eq!(failed, Vec::from(refused.0));
    assert_eq!(
        failed,
        [["RolledBackError"; 4].as_slice(), &["BadVersionError"], &["RuntimeInconsistency"; 2],]
            .concat()
    );
    for top in ["/ours", "/theirs"] {
        assert_eq!(kazoo.get(top).await.1.version, 0);
        assert_eq!(ctx.ok("children", zk.get_children(top)).await, [] as [Ustring; 0]);
    }

    let done = commit(&ctx, ours("/ours", 0)).await;
    let mut answer = kazoo.call(theirs("/theirs", 0)).await;
    assert_eq!(answer.word(), done[0]);
    assert_eq!((text_of(&done[1]).as_str(), answer.text().as_str()), ("/ours/ä", "/theirs/ä"));
    for (owner, path, stat) in [
        (zk.session_id().expect("it has a session").0, "/ours", &done),
        (kazoo.session().await, "/theirs", &Vec::from(answer.0)),
    ] {
        let stat = &stat[stat.len() - 5..];
        let child = format!("{path}/ä");
        let (data, read) = ctx.ok("get", zk.get(&child)).await;
        assert_eq!(kazoo.get(&child).await, (Some(data.to_vec()), read));
        assert_eq!((stat_of(&stat[0]), data.as_ref()), (read, "ö".as_bytes()));
        let item = text_of(&stat[1]);
        assert_eq!(item, format!("{path}/item-0000000001"), "the second child");
        assert_eq!(kazoo.get(&item).await.1.ephemeral_owner, owner);
        assert_eq!(stat_of(&stat[2]).version, 1);
        assert_eq!(stat[3..], [hex(format!("{path}/gone").as_bytes()), "done".into()]);
        let (data, _) = kazoo.get(path).await;
        assert_eq!(data.as_deref(), Some(&b"done"[..]));
    }
}

/// The results of a transaction, in the notation of the kazoo client.
async fn commit<H: Handler>(ctx: &TestContext<H>, transaction: Transaction) -> Vec<String> {
    let results = ctx.ok("commit", transaction.commit()).await;
    results.into_iter().map(|result| result.map_or_else(|e| name_of(&e), |r| word_of(&r))).collect()
}

fn name_of(error: &Error) -> String {
    use zk_client::{ErrorCode, ErrorKind};

    match error.kind() {
        ErrorKind::RolledBack => "RolledBackError".into(),
        ErrorKind::Server(ErrorCode::RuntimeInconsistency) => "RuntimeInconsistency".into(),
        ErrorKind::Server(code) => format!("{code:?}Error"),
        other => format!("{other:?}"),
    }
}

fn word_of(result: &OperationResult) -> String {
    match result {
        OperationResult::Created(path) => hex(path.as_bytes()),
        OperationResult::Set(stat) => [
            stat.czxid,
            stat.mzxid,
            stat.ctime,
            stat.mtime,
            stat.version.into(),
            stat.cversion.into(),
            stat.aversion.into(),
            stat.ephemeral_owner,
            stat.data_length.into(),
            stat.num_children.into(),
            stat.pzxid,
        ]
        .map(|number| number.to_string())
        .join(","),
        _ => "done".into(),
    }
}

pub async fn sequential_ephemerals<H: Handler>(handler: H) {
    let (ctx, zk, kazoo) = connect_both(handler).await;
    ctx.ok("create", zk.create("/queue", b"", CreateMode::Persistent)).await;
    let ours = zk.session_id().expect("it has a session").0;
    let theirs = kazoo.session().await;
    assert_ne!(ours, theirs);
    let prefix = "/queue/Gerät-";
    for turn in 0..3 {
        let options = CreateOptions::ephemeral().sequence();
        let (path, stat) = ctx.ok("create", zk.create_with_stat(prefix, b"1", options)).await;
        assert_eq!(path, format!("{prefix}{:010}", 2 * turn).as_str());
        assert_eq!(stat.ephemeral_owner, ours);
        assert_eq!(kazoo.get(&path).await, (Some(b"1".to_vec()), stat));

        let create = command(if turn == 0 { "create" } else { "create_without_stat" });
        let create = create.text(prefix).data(Some(b"2")).acl(&OPEN_ACL_UNSAFE).word("es");
        let path = kazoo.call(create).await.text();
        assert_eq!(path, format!("{prefix}{:010}", 2 * turn + 1));
        let (data, stat) = ctx.ok("get", zk.get(&path)).await;
        assert_eq!((data.as_ref(), stat.ephemeral_owner), (&b"2"[..], theirs));
        assert_same_node(&ctx, &zk, &kazoo, &path, Some(b"2"), stat).await;
    }
    // The ephemeral nodes of each client are deleted with its session.
    let (_, _, mut change) = ctx.ok("children", zk.get_children_and_watch("/queue")).await;
    drop(kazoo);
    loop {
        ctx.ok("kazoo's nodes to go", change).await;
        let (left, _, next) = ctx.ok("children", zk.get_children_and_watch("/queue")).await;
        if left.len() == 3 {
            break;
        }
        change = next;
    }
}

pub async fn chroots<H: Handler>(handler: H) {
    let (ctx, zk, kazoo) = connect_both(handler).await;
    let deep = zk.with_chroot("/głęboko/w dole").expect("a path");
    ctx.ok("ensure_path", deep.ensure_path("/")).await;
    let root = format!("{}{}/głęboko/w dole", shared_server().hosts(), ctx.root());
    let below = KazooClient::connect(root).await;

    ctx.ok("create", deep.create("/ours", b"1", CreateMode::Persistent)).await;
    let create = command("create").text("/theirs").data(Some(b"2")).acl(&OPEN_ACL_UNSAFE).word('p');
    assert_eq!(below.call(create).await.text(), "/theirs");
    for (name, data) in [("/ours", b"1"), ("/theirs", b"2")] {
        let (_, stat) = ctx.ok("get", deep.get(name)).await;
        assert_same_node(&ctx, &deep, &below, name, Some(data), stat).await;
        assert_same_node(&ctx, &zk, &kazoo, &format!("/głęboko/w dole{name}"), Some(data), stat)
            .await;
    }
    let mut answer = below.call(command("children").text("/")).await;
    assert_eq!(answer.stat(), ctx.ok("exists", deep.exists("/")).await.expect("it is there"));
    assert_eq!([(); 2].map(|()| answer.text()), ["ours", "theirs"]);

    let create = command("transaction").word("create").text("/a-").data(Some(b""));
    let path = below.call(create.acl(&OPEN_ACL_UNSAFE).word('s')).await.text();
    assert_eq!(path, "/a-0000000002");
    let transaction = deep.transaction().create("/b-", b"", CreateMode::PersistentSequential);
    assert_eq!(commit(&ctx, transaction).await, [hex(b"/b-0000000003")]);
}

/// The watches of each client fire for the changes of the other.
pub async fn watches<H: Handler>(handler: H) {
    let (ctx, zk, kazoo) = connect_both(handler).await;
    let (name, data) = ("/gewächs", "grün".as_bytes());
    kazoo.call(command("watch").text(name)).await;
    let (_, created) = ctx.ok("exists", zk.exists_and_watch(name)).await;
    ctx.ok("create", zk.create(name, b"", CreateMode::Persistent)).await;
    expect_event(&kazoo, "CREATED", name).await;
    let event = ctx.ok("the watch", created).await;
    assert_eq!((event.kind, event.path.as_str()), (EventType::NodeCreated, name));

    kazoo.call(command("watch").text(name)).await;
    let (_, _, changed) = ctx.ok("get", zk.get_and_watch(name)).await;
    kazoo.call(command("set").text(name).data(Some(data)).word(-1)).await;
    let event = ctx.ok("the watch", changed).await;
    assert_eq!((event.kind, event.path.as_str()), (EventType::NodeDataChanged, name));
    expect_event(&kazoo, "CHANGED", name).await;

    kazoo.call(command("watch_children").text(name)).await;
    let (_, _, children) = ctx.ok("children", zk.get_children_and_watch(name)).await;
    let child = format!("{name}/ast");
    ctx.ok("create", zk.create(&child, b"", CreateMode::Ephemeral)).await;
    expect_event(&kazoo, "CHILD", name).await;
    let event = ctx.ok("the watch", children).await;
    assert_eq!((event.kind, event.path.as_str()), (EventType::NodeChildrenChanged, name));

    let (_, _, gone) = ctx.ok("get", zk.get_and_watch(&child)).await;
    kazoo.call(command("watch").text(&child)).await;
    ctx.ok("stop", zk.stop()).await;
    expect_event(&kazoo, "DELETED", &child).await;
    // The server deletes a session's nodes first, and sends that session the event too.
    let event = ctx.ok("the watch", gone).await;
    assert_eq!((event.kind, event.path.as_str()), (EventType::NodeDeleted, child.as_str()));
    kazoo.sync().await;
}

async fn expect_event(kazoo: &KazooClient, kind: &str, path: &str) {
    let mut event = kazoo.call(command("event")).await;
    assert_eq!((event.word().as_str(), event.text().as_str()), (kind, path));
}

// Locks that both clients contend for

/// A lock or semaphore of kazoo.
struct KazooLock<'k> {
    kazoo: &'k KazooClient,
    name: String,
}

impl<'k> KazooLock<'k> {
    async fn lock(kazoo: &'k KazooClient, kind: &str, name: &str, patterns: &[&str]) -> Self {
        let command = command("lock").word(name).word(kind).text("/lock").text(name);
        kazoo.call(patterns.iter().fold(command, |command, pattern| command.text(pattern))).await;
        Self { kazoo, name: name.to_owned() }
    }

    async fn semaphore(kazoo: &'k KazooClient, name: &str, leases: usize) -> Self {
        kazoo.call(command("semaphore").word(name).text("/lock").text(name).word(leases)).await;
        Self { kazoo, name: name.to_owned() }
    }

    fn command(&self, verb: &str) -> CommandLine {
        command(verb).word(&self.name)
    }

    /// Whether it is acquired within `seconds`. If not, it keeps waiting.
    async fn acquire(&self, seconds: f32) -> bool {
        self.kazoo.call(self.command("acquire").word(seconds)).await.word() == "yes"
    }

    async fn release(&self) {
        self.kazoo.call(self.command("release")).await;
    }

    async fn texts(&self, command: &str) -> Vec<String> {
        let answer = self.kazoo.call(self.command(command)).await;
        answer.0.iter().map(|word| text_of(word)).collect()
    }
}

/// How long kazoo waits in seconds, for a lock that it must not get and for one that it gets.
const SHORT: f32 = 0.3;
const LONG: f32 = 20.0;

fn with_id(name: &str) -> LockOptions {
    LockOptions::default().identifier(name)
}

/// Each client waits for the other's lock, and acquires it after its release, in order of arrival.
pub async fn locks<H: Handler>(handler: H) {
    let (ctx, zk, kazoo) = connect_both(handler).await;
    let ours = Lock::with_options(&zk, "/lock", with_id("ours"));
    let theirs = KazooLock::lock(&kazoo, "Lock", "theirs", &[]).await;
    for _ in 0..2 {
        let guard = ctx.ok("a free lock", ours.acquire()).await;
        assert!(!theirs.acquire(SHORT).await, "kazoo holds it too");
        let again = ours.acquire();
        ctx.wait_for_children(&zk, "/lock", 3).await;
        let all = ["ours", "theirs", "ours"];
        assert_eq!(ctx.ok("contenders", ours.contenders()).await, all);
        assert_eq!(theirs.texts("contenders").await, all);

        ctx.ok("to release", guard.release()).await;
        assert!(theirs.acquire(LONG).await, "kazoo is next");
        ctx.short_wait().await;
        assert!(!again.ready(), "both hold it");
        assert!(ctx.ok("it is held", ours.try_acquire()).await.is_none());
        theirs.release().await;
        let guard = ctx.ok("our turn", again).await;
        assert!(!theirs.acquire(SHORT).await);
        ctx.ok("to release", guard.release()).await;
        assert!(theirs.acquire(LONG).await);
        theirs.release().await;
        ctx.wait_for_children(&zk, "/lock", 0).await;
    }
    // The lock of a kazoo client that has disconnected is free.
    let leaving = KazooClient::connect(format!("{}{}", shared_server().hosts(), ctx.root())).await;
    let held = KazooLock::lock(&leaving, "Lock", "leaving", &[]).await;
    assert!(held.acquire(LONG).await);
    let waiting = ours.acquire();
    ctx.wait_for_children(&zk, "/lock", 2).await;
    assert!(!waiting.ready());
    drop(leaving);
    assert!(ctx.ok("our turn", waiting).await.is_held());
}

/// Readers of both clients share the lock, and writers of both exclude all others.
pub async fn read_and_write_locks<H: Handler>(handler: H) {
    let (ctx, zk, kazoo) = connect_both(handler).await;
    let (read, write) = (ReadLock::new(&zk, "/lock"), WriteLock::new(&zk, "/lock"));
    let reader = KazooLock::lock(&kazoo, "ReadLock", "reader", &[]).await;
    let writer = KazooLock::lock(&kazoo, "WriteLock", "writer", &[]).await;

    let guard = ctx.ok("a read lock", read.acquire()).await;
    assert!(reader.acquire(LONG).await, "readers share");
    let our_writer = write.acquire();
    ctx.wait_for_children(&zk, "/lock", 3).await;
    assert!(!writer.acquire(SHORT).await);
    let late = read.acquire();
    ctx.wait_for_children(&zk, "/lock", 5).await;
    ctx.ok("to release", guard.release()).await;
    ctx.short_wait().await;
    assert!(!our_writer.ready() && !late.ready(), "kazoo still reads");
    reader.release().await;
    let guard = ctx.ok("our writer", our_writer).await;
    assert!(!writer.acquire(SHORT).await && !reader.acquire(SHORT).await);
    ctx.ok("to release", guard.release()).await;
    assert!(writer.acquire(LONG).await);
    ctx.short_wait().await;
    assert!(!late.ready() && !reader.acquire(SHORT).await, "kazoo writes");
    writer.release().await;
    let guard = ctx.ok("the late reader", late).await;
    assert!(reader.acquire(LONG).await, "readers share");
    drop(guard);
    reader.release().await;
    ctx.wait_for_children(&zk, "/lock", 0).await;
}

/// Leases of both clients are counted together, and both agree on their number.
pub async fn semaphores<H: Handler>(handler: H) {
    let (ctx, zk, kazoo) = connect_both(handler).await;
    let of = |leases| SemaphoreOptions::default().max_leases(leases).identifier("ours");
    let ours = Semaphore::with_options(&zk, "/lock", of(2));
    let theirs = KazooLock::semaphore(&kazoo, "theirs", 2).await;
    let late = KazooLock::semaphore(&kazoo, "late", 2).await;
    let lease = ctx.ok("a lease", ours.acquire()).await;
    assert!(theirs.acquire(LONG).await, "there are two");
    assert!(!late.acquire(SHORT).await, "there are no three");
    let waiting = ours.acquire();
    ctx.wait_for_children(&zk, "/lock-__lock__", 2).await;
    assert_eq!(ctx.ok("holders", ours.lease_holders()).await.len(), 2);
    assert_eq!(theirs.texts("lease_holders").await, ["ours", "theirs"]);

    ctx.ok("to release", lease.release()).await;
    assert!(late.acquire(LONG).await, "kazoo is next");
    ctx.short_wait().await;
    assert!(!waiting.ready());
    theirs.release().await;
    let lease = ctx.ok("our turn", waiting).await;
    late.release().await;
    ctx.ok("to release", lease.release()).await;

    let wrong = Semaphore::with_options(&zk, "/lock", of(3)).acquire();
    assert_eq!(ctx.err("another number", wrong).await.kind(), ErrorKind::InvalidInput);
    let wrong = KazooLock::semaphore(&kazoo, "wrong", 3).await;
    let refused = kazoo.ask(wrong.command("acquire").word(LONG)).await;
    assert_eq!(refused.expect_err("there are two"), "ValueError");
    // The number is also respected if this client has written it.
    ctx.ok("to delete", zk.delete("/lock", None)).await;
    ctx.ok("to release", ctx.ok("a lease", ours.acquire()).await.release()).await;
    let again = KazooLock::semaphore(&kazoo, "again", 2).await;
    assert!(again.acquire(LONG).await);
}

/// Both clients respect nodes with the names of Curator and go-zookeeper only with `extra_lock_pattern`.
pub async fn locks_with_foreign_nodes<H: Handler>(handler: H) {
    let (ctx, zk, kazoo) = connect_both(handler).await;
    let ours = Lock::with_options(&zk, "/lock", with_id("ours").extra_lock_pattern("-lock-"));
    let theirs = KazooLock::lock(&kazoo, "Lock", "theirs", &["-lock-"]).await;
    ctx.ok("the path", zk.ensure_path("/lock")).await;
    for name in [
        "_c_8d2a3c1e-6f0b-4b57-9a44-0c2d5b1f7e90-lock-",
        "_c_3fcbb2f27b3c4f2e8f9dcd4c0a1e5b77-lock-",
    ] {
        let create =
            zk.create(format!("/lock/{name}"), b"foreign", CreateOptions::ephemeral().sequence());
        let foreign = ctx.ok("a foreign node", create).await;
        let waiting = ours.acquire();
        ctx.wait_for_children(&zk, "/lock", 2).await;
        assert!(!theirs.acquire(SHORT).await && !waiting.ready());
        let all = ["foreign", "ours", "theirs"];
        assert_eq!(ctx.ok("contenders", ours.contenders()).await, all);
        assert_eq!(theirs.texts("contenders").await, all);
        ctx.ok("to delete", zk.delete(foreign, None)).await;
        let guard = ctx.ok("our turn", waiting).await;
        assert!(!theirs.acquire(SHORT).await);
        ctx.ok("to release", guard.release()).await;
        assert!(theirs.acquire(LONG).await);
        theirs.release().await;
    }
}
