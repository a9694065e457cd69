//! Other people's clients on the embedded server. Kazoo is with the suite, in `embedded.rs`.

use std::time::Duration;

use tokio::{runtime::Builder, time::timeout};
use zk_server::TestServer;
use zk_tests::{Ensemble, zk_cli};
use zookeeper_client::{Acls, AddWatchMode, Client, CreateMode, EventType};

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn zk_cli_cannot_tell_the_servers_apart() {
    let commands = [
        "create /app data",
        "create -s /app/q- 1",
        "create -s -e /app/q- 2",
        "create -c /container",
        "create -t 100000 /ttl x",
        "ls -R /",
        "ls -s /app",
        "get -s /app",
        "get /nope",
        "set -v 7 /app wrong",
        "set -s -v 0 /app new",
        "stat /ttl",
        "addauth digest ann:secret",
        "create /secret x auth::cdrwa",
        "getAcl -s /secret",
        "setAcl /app world:anyone:cdr",
        "set /app refused",
        "getEphemerals",
        "getEphemerals /app",
        "getAllChildrenNumber /app",
        "delete /app",
        "deleteall /app",
        "sync /",
        "ls /",
        "create /a/b/c x",
        "create -e /parent x",
        "create /parent/child x",
        "config",
        "reconfig -remove 3",
    ];
    let real = Ensemble::standalone();
    let embedded = TestServer::start().expect("a port");
    let expected = results(&zk_cli(&real.hosts(), &commands));
    assert!(expected.contains("Created /app/q-0000000001"), "{expected}");
    assert_eq!(results(&zk_cli(&embedded.hosts(), &commands)), expected);
}

/// What does not differ from run to run.
fn results(printed: &str) -> String {
    let differs = ["Connecting to ", "ctime = ", "mtime = ", "ephemeralOwner = "];
    let lines = printed.lines().filter(|line| !differs.iter().any(|start| line.starts_with(start)));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_crate_zookeeper_client_is_served() {
    let server = TestServer::start().expect("a port");
    let runtime = Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let test = async {
        let zk = Client::connect(&server.hosts()).await.expect("a session");
        let persistent = CreateMode::Persistent.with_acls(Acls::anyone_all());
        let queue = CreateMode::EphemeralSequential.with_acls(Acls::anyone_all());
        let (stat, _) = zk.create("/app", b"one", &persistent).await.expect("create");
        let (_, number) = zk.create("/app/q-", b"", &queue).await.expect("create");
        assert_eq!(number.into_i64(), 0);
        assert_eq!(zk.list_ephemerals("/app").await.expect("list"), ["/app/q-0000000000"]);

        let (data, found, once) = zk.get_and_watch_data("/app").await.expect("get");
        assert_eq!((data.as_slice(), found.czxid), (b"one".as_slice(), stat.czxid));
        let mut lasting = zk.watch("/", AddWatchMode::PersistentRecursive).await.expect("watch");
        let mut writer = zk.new_multi_writer();
        writer.add_check_version("/app", 0).expect("check");
        writer.add_set_data("/app", b"two", Some(0)).expect("set");
        writer.add_create("/app/new", b"", &persistent).expect("create");
        writer.commit().await.expect("a transaction");
        assert_eq!(once.changed().await.event_type, EventType::NodeDataChanged);
        let event = lasting.changed().await;
        assert_eq!((event.event_type, event.path.as_str()), (EventType::NodeDataChanged, "/app"));
        let event = lasting.changed().await;
        assert_eq!((event.event_type, event.path.as_str()), (EventType::NodeCreated, "/app/new"));

        zk.auth("digest", b"ann:secret").await.expect("auth");
        let users = zk.list_auth_users().await.expect("whoAmI");
        assert!(users.iter().any(|user| user.user() == "ann"), "{users:?}");
        let mut reader = zk.new_multi_reader();
        reader.add_get_data("/app").expect("get");
        reader.add_get_children("/app").expect("list");
        assert_eq!(reader.commit().await.expect("a multiRead").len(), 2);
        assert_eq!(zk.count_descendants_number("/app").await.expect("count"), 2);
    };
    runtime.block_on(async { timeout(LIMIT, test).await.expect("it takes no time") });
}
