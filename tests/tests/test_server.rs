//! The effects of [`TestServer`]'s controls on a client.

use std::time::{Duration, Instant};

use tokio::{
    runtime::{Builder, Handle},
    time::timeout,
};
use zk_client::{
    Client, CreateMode, CreateOptions, ErrorCode, OPEN_ACL_UNSAFE, SessionState, States,
};
use zk_handler_tokio::TokioHandler;
use zk_server::{Config, TestServer};
use zk_tests::eventually;

const LIMIT: Duration = Duration::from_secs(20);

fn start() -> TestServer {
    TestServer::start().expect("a port")
}

/// Runs `test` with a client of `server`, and the stream of its states.
fn with_client<F: Future<Output = ()>>(
    server: &TestServer,
    test: impl FnOnce(Client, States) -> F,
) {
    let test = async {
        let zk = connect(server, false).await;
        let states = zk.states();
        test(zk, states).await;
    };
    let runtime = Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { timeout(LIMIT, test).await.expect("it takes no time") });
}

async fn connect(server: &TestServer, read_only: bool) -> Client {
    let builder = Client::builder().hosts(server.hosts()).default_acl(&OPEN_ACL_UNSAFE);
    let handler = TokioHandler::new(Handle::current());
    let builder = builder.read_only(read_only).reconnect_spread(Duration::ZERO);
    builder.connect_on(handler).await.expect("a session")
}

async fn expect(states: &mut States, expected: &[SessionState]) {
    for expected in expected {
        assert_eq!(states.changed().await, Some(*expected));
    }
}

#[test]
fn a_server_starts_in_less_than_ten_milliseconds() {
    let fastest = (0..20).map(|_| {
        let begun = Instant::now();
        let server = start();
        let answer = zk_tests::minimal_client::four_letter_word(server.address(), "ruok")
            .expect("it serves");
        assert_eq!(answer, "imok");
        begun.elapsed()
    });
    let fastest = fastest.min().expect("twenty starts");
    assert!(fastest < Duration::from_millis(10), "{fastest:?}");
}

#[test]
fn a_cut_connection_suspends_the_session() {
    let server = start();
    with_client(&server, async |zk, mut states| {
        let session = zk.session_id().expect("a session");
        assert_eq!(server.sessions(), [session]);
        server.connection_of(session).expect("it is connected").cut();
        expect(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
        assert_eq!(zk.session_id(), Some(session));
    });
}

#[test]
fn an_expired_session_is_lost_with_its_nodes() {
    let server = start();
    with_client(&server, async |zk, mut states| {
        zk.create("/e", b"", CreateMode::Ephemeral).await.expect("create");
        let session = zk.session_id().expect("a session");
        assert!(server.expire_session(session));
        assert!(!server.expire_session(session));
        expect(
            &mut states,
            &[SessionState::Suspended, SessionState::Lost, SessionState::Connected],
        )
        .await;
        assert_eq!(zk.exists("/e").await.expect("exists"), None);
    });
}

#[test]
fn a_frozen_server_is_silent_and_then_resumes() {
    let server = start();
    with_client(&server, async |zk, _| {
        server.freeze();
        let create = zk.create("/a", b"", CreateMode::Persistent);
        let mut word = std::net::TcpStream::connect(server.address()).expect("it is there");
        std::io::Write::write_all(&mut word, b"ruok").expect("it is there");
        word.set_read_timeout(Some(Duration::from_millis(100))).expect("a socket");
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut word, &mut answer).expect_err("it is silent");
        assert!(!create.ready());
        server.thaw();
        create.await.expect("create");
        word.set_read_timeout(Some(LIMIT)).expect("a socket");
        std::io::Read::read_to_string(&mut word, &mut answer).expect("it goes on");
        assert_eq!(answer, "imok");
    });
}

#[test]
fn a_frozen_connection_does_not_affect_others() {
    let server = start();
    with_client(&server, async |zk, _| {
        let session = zk.session_id().expect("a session");
        let connection = server.connection_of(session).expect("it is connected");
        connection.freeze();
        let create = zk.create("/a", b"", CreateMode::Persistent);
        let word = zk_tests::minimal_client::four_letter_word(server.address(), "ruok");
        assert_eq!(word.expect("it serves"), "imok");
        assert!(!create.ready());
        connection.thaw();
        create.await.expect("create");
    });
}

#[test]
fn refused_connections_keep_a_client_out() {
    let server = start();
    with_client(&server, async |zk, mut states| {
        server.refuse_connections(true);
        server.connections().iter().for_each(zk_server::ClientConnection::cut);
        expect(&mut states, &[SessionState::Suspended]).await;
        server.refuse_connections(false);
        expect(&mut states, &[SessionState::Connected]).await;
        assert!(zk.exists("/").await.expect("exists").is_some());
    });
}

#[test]
fn a_read_only_server_takes_no_writes() {
    let server = start();
    with_client(&server, async |zk, mut states| {
        server.set_read_only(true);
        expect(&mut states, &[SessionState::Suspended]).await;
        let reader = connect(&server, true).await;
        assert_eq!(reader.state(), SessionState::ConnectedReadOnly);
        let create = reader.create("/a", b"", CreateMode::Persistent);
        let error = create.await.expect_err("it takes no writes");
        assert_eq!(error.code(), Some(ErrorCode::NotReadOnly));
        server.set_read_only(false);
        expect(&mut states, &[SessionState::Connected]).await;
        zk.create("/a", b"", CreateMode::Persistent).await.expect("create");
    });
}

#[test]
fn a_restart_keeps_the_session_unless_it_is_empty() {
    let server = start();
    with_client(&server, async |zk, mut states| {
        zk.create("/a", b"kept", CreateMode::Persistent).await.expect("create");
        server.restart();
        expect(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
        assert_eq!(zk.get("/a").await.expect("get").0, "kept");

        server.restart_empty();
        expect(&mut states, &[SessionState::Suspended]).await;
        assert!(server.sessions().is_empty());
        let other = connect(&server, false).await;
        assert_eq!(other.exists("/a").await.expect("exists"), None);
    });
}

#[test]
fn the_clock_can_be_advanced_by_hand() {
    let server = TestServer::start_with(Config::default()).expect("a port");
    server.stop_clock();
    with_client(&server, async |zk, mut states| {
        zk.create("/e", b"", CreateMode::Ephemeral).await.expect("create");
        let container = CreateOptions::container();
        zk.create("/c", b"", container).await.expect("create");
        zk.create("/c/child", b"", CreateMode::Persistent).await.expect("create");
        zk.delete("/c/child", None).await.expect("delete");
        // Each step is shorter than the session timeout, with a request in between.
        for _ in 0..15 {
            server.advance(Duration::from_secs(5));
            assert!(zk.exists("/e").await.expect("exists").is_some());
        }
        assert_eq!(zk.exists("/c").await.expect("exists"), None, "more than a minute has passed");

        server.advance(Duration::from_secs(3600));
        expect(
            &mut states,
            &[SessionState::Suspended, SessionState::Lost, SessionState::Connected],
        )
        .await;
        assert_eq!(zk.exists("/e").await.expect("exists"), None);
    });
}

#[test]
fn a_dropped_server_is_gone() {
    let server = start();
    let address = server.address();
    with_client(&server, async |zk, mut states| {
        let session = zk.session_id().expect("a session");
        server.connection_of(session).expect("it is connected");
        server.refuse_connections(true);
        server.connections().iter().for_each(zk_server::ClientConnection::cut);
        expect(&mut states, &[SessionState::Suspended]).await;
    });
    drop(server);
    eventually(LIMIT, "the port to be free", || {
        std::net::TcpStream::connect(address).err().map(|_| ())
    });
}
