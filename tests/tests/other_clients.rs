//! Other clients and tools on the embedded server. The tests with kazoo are in `embedded.rs`.

use std::time::Duration;

use tokio::{runtime::Builder, time::timeout};
use zk_server::TestServer;
use zk_tests::{Ensemble, embedded_config, minimal_client, version_under_test, zk_cli};
use zookeeper_client::{Acls, AddWatchMode, Client, CreateMode, EventType};

const LIMIT: Duration = Duration::from_secs(30);

/// An embedded server of the same version as the real servers.
fn embedded() -> TestServer {
    TestServer::start_with(embedded_config(version_under_test())).expect("a port")
}

#[test]
fn zk_cli_prints_the_same_for_both_servers() {
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
    let embedded = embedded();
    let expected = results(&zk_cli(&real.hosts(), &commands));
    assert!(expected.contains("Created /app/q-0000000001"), "{expected}");
    assert_eq!(results(&zk_cli(&embedded.hosts(), &commands)), expected);
}

/// The lines that do not differ from run to run.
fn results(printed: &str) -> String {
    // zkCli may end before it prints that it is closed.
    const CLOSED: [&str; 2] = ["WATCHER::", "WatchedEvent state:Closed"];
    const OF_A_RUN: [&str; 4] = ["Connecting to ", "ctime = ", "mtime = ", "ephemeralOwner = "];
    let differs = |line: &str| CLOSED.iter().chain(&OF_A_RUN).any(|start| line.starts_with(start));
    let lines = printed.lines().filter(|line| !line.is_empty() && !differs(line));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn four_letter_words_have_the_same_answers() {
    let real = Ensemble::standalone();
    let embedded = embedded();
    let [expected, got] = [real.node(0).address(), embedded.address()].map(|address| {
        let mut session = minimal_client::Session::open(address, LIMIT).expect("a session");
        let create = [string("/e"), vec![0xff; 4], acl(), 1_i32.to_be_bytes().to_vec()].concat();
        assert_eq!(session.request(CREATE, &create).expect("a reply").error, 0);
        for path in ["/e", "/nope"] {
            let exists = [string(path), vec![1]].concat();
            session.request(EXISTS, &exists).expect("a reply");
        }
        let id = format!("{:#x}", session.id());
        move |word: &str| {
            let answer = minimal_client::four_letter_word(address, word).expect("an answer");
            let _open = &session;
            answer.replace(&id, "ID")
        }
    });

    let set_mask = format!("stmk{}", "\0".repeat(7) + "\u{7}");
    for word in ["ruok", "isro", "wchs", "gtmk", &set_mask, "gtmk", "hash"] {
        assert_eq!(got(word), expected(word), "{word}");
    }
    for word in ["conf", "dirs", "envi"] {
        assert_eq!(names(&got(word)), names(&expected(word)), "{word}");
    }
    for word in ["wchp", "wchc"] {
        // The lines are in no particular order.
        let sorted = |text: String| {
            let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(got(word)), sorted(expected(word)), "{word}");
    }
    for word in ["srvr", "stat"] {
        assert_eq!(without_values(&got(word)), without_values(&expected(word)), "{word}");
    }
    // The connections are in no particular order either.
    let connections = |cons: String| {
        let mut lines: Vec<_> = cons.lines().map(without_values).collect();
        lines.sort();
        lines
    };
    assert_eq!(connections(got("cons")), connections(expected("cons")));
    assert_eq!(got("srst"), expected("srst"));
    for server in [got("srvr"), expected("srvr")] {
        // This request, and the reply to the one before.
        assert!(server.contains("Received: 1\nSent: 1\n"), "{server}");
    }
    assert_eq!(got("crst"), expected("crst"));
    let session = |cons: String| {
        let line = cons.lines().find(|line| line.contains("sid=ID")).expect("the session");
        let values = line.split([',', '(', ')']).filter_map(|part| part.split_once('='));
        let kept = ["recved", "sent", "sid", "lop", "lcxid", "lzxid", "lresp"];
        values
            .filter(|(name, _)| kept.contains(name))
            .map(|(_, v)| v.to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(session(got("cons")), session(expected("cons")));
    let sessions = |dump: String| {
        let (sessions, _) = dump.split_once("Connections dump:").expect("the connections");
        // An empty set of expiring sessions stays for a while.
        let sets = sessions.lines().filter(|line| !line.starts_with("0 expire at "));
        without_values(&sets.collect::<Vec<_>>().join("\n"))
    };
    assert_eq!(sessions(got("dump")), sessions(expected("dump")));
    let known = expected("mntr");
    for figure in got("mntr").lines() {
        let (name, _) = figure.split_once('\t').expect("a name and a value");
        assert!(known.contains(&format!("{name}\t")), "{name}");
    }
}

const CREATE: i32 = 1;
const EXISTS: i32 = 3;

fn string(text: &str) -> Vec<u8> {
    let length = i32::try_from(text.len()).expect("a short text");
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

/// The ACL that gives all permissions to everybody.
fn acl() -> Vec<u8> {
    let entries = 1_i32.to_be_bytes().to_vec();
    let perms = 31_i32.to_be_bytes().to_vec();
    [entries, perms, string("world"), string("anyone")].concat()
}

/// The text before the first colon or equals sign of each line.
fn names(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.split([':', '=']).next()).collect()
}

/// `text` with each part of a line truncated before its value: at a digit, a colon or an equals sign.
fn without_values(text: &str) -> Vec<String> {
    let is_label = |c: &char| !c.is_ascii_digit() && !matches!(c, ':' | '=');
    let parts = text.split(['\n', ',']).filter(|part| !part.starts_with(" built on "));
    parts.map(|part| part.chars().take_while(is_label).collect()).collect()
}

#[test]
fn the_zookeeper_client_crate_works() {
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
