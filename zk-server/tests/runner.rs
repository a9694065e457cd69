//! `TestServer` as a client on a socket sees it.
#![cfg(feature = "net")]

mod client;

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use client::{Client, create, get};
use zk_proto::{ErrorCode, records::xid};
use zk_server::{ClientConnection, SessionId, SlowLink, TestServer};

/// Longer than any test.
const FOREVER: Duration = Duration::from_secs(3600);

fn start() -> TestServer {
    TestServer::start().expect("a port")
}

/// A client, and its connection on the server.
fn open(server: &TestServer) -> (Client, ClientConnection) {
    let client = Client::open(server.address()).expect("a session");
    let connection = server.connection_of(SessionId(client.session)).expect("a connection");
    (client, connection)
}

fn connect(server: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(server).expect("a connection");
    socket.set_read_timeout(Some(client::LIMIT)).expect("a socket");
    socket
}

fn read_all(mut socket: TcpStream) -> String {
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("a reply and the end");
    answer
}

/// The answer of the server to a four-letter word.
fn four_letter_word(server: &TestServer, word: &str) -> String {
    let mut socket = connect(server.address());
    socket.write_all(word.as_bytes()).expect("a write");
    read_all(socket)
}

/// The number of packets that the server has received from a client.
fn received(server: &TestServer, client: &Client) -> u64 {
    let address = client.socket.local_addr().expect("an address");
    let report = four_letter_word(server, "cons");
    let line = report.lines().find(|line| line.contains(&address.to_string()));
    let line = line.expect("a connection");
    let (_, figure) = line.split_once("recved=").expect("a figure");
    figure.split(',').next().expect("a figure").parse().expect("a number")
}

#[test]
fn requests_wait_while_the_client_does_not_read() {
    const GETS: usize = 2_000;

    let server = start();
    let (mut slow, _) = open(&server);
    let data = vec![b'x'; 100_000];
    slow.call(create("/large", &data)).expect("a reply");
    slow.send(&vec![get("/large"); GETS]).expect("a write");

    // Until the server handles no more of them. Other clients are served meanwhile.
    let (mut other, _) = open(&server);
    let (mut handled, mut same) = (0, 0);
    while same < 20 {
        other.call(get("/large")).expect("a reply");
        let now = received(&server, &slow);
        same = if now == handled { same + 1 } else { 0 };
        handled = now;
    }
    // As many replies as wait on the server and fit into the buffers of the system.
    assert!((10..300).contains(&handled), "{handled} requests were handled");

    for _ in 0..GETS {
        assert_eq!(slow.reply().expect("a reply").err, ErrorCode::Ok);
    }
    assert_eq!(received(&server, &slow), 2 + GETS as u64);
}

#[test]
fn a_client_that_does_not_read_its_events_is_disconnected() {
    let mut config = zk_server::Config::default();
    config.max_pending = 1 << 20;
    let server = TestServer::start_with(config).expect("a port");
    let (mut watcher, connection) = open(&server);
    let path = format!("/{}", "x".repeat(1000));
    watcher.call(client::watch_recursively("/")).expect("a reply");
    let (mut writer, _) = open(&server);
    writer.call(create(&path, b"")).expect("a reply");
    let mut events = 0_u64;
    while server.connections().iter().any(|it| it.peer() == connection.peer()) {
        writer.call(client::set(&path, b"")).expect("a reply");
        events += 1;
        assert!(events < 100_000, "the client is still connected");
    }
    assert!(events > 1000, "after {events} events");
}

#[test]
fn a_client_that_closes_its_writing_side_gets_its_replies() {
    let server = start();
    let mut socket = connect(server.address());
    socket.write_all(b"ruok").expect("a write");
    socket.shutdown(Shutdown::Write).expect("a write");
    assert_eq!(read_all(socket), "imok");

    let (mut client, _) = open(&server);
    client.send(&[get("/"), get("/")]).expect("a write");
    client.socket.shutdown(Shutdown::Write).expect("a write");
    for _ in 0..2 {
        assert_eq!(client.reply().expect("a reply").err, ErrorCode::Ok);
    }
    client.frame().expect_err("the connection is closed");
    assert!(server.connections().is_empty());
}

#[test]
fn a_frozen_connection_continues_after_the_thaw() {
    let server = start();
    let (mut watcher, connection) = open(&server);
    watcher.call(client::watch_recursively("/")).expect("a reply");
    connection.freeze();
    let (mut other, _) = open(&server);
    other.call(create("/event", b"")).expect("a reply");
    watcher.socket.set_nonblocking(true).expect("a socket");
    let nothing = watcher.frame().expect_err("nothing to read");
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
    watcher.socket.set_nonblocking(false).expect("a socket");

    // The server reads the request and the end of the stream together.
    watcher.send(&[create("/last", b"")]).expect("a write");
    watcher.socket.shutdown(Shutdown::Write).expect("a write");
    assert_eq!(other.call(get("/last")).expect("a reply").err, ErrorCode::NoNode);
    connection.thaw();
    assert_eq!(watcher.reply().expect("an event").xid, xid::NOTIFICATION);
    while let Ok(header) = watcher.reply() {
        assert_eq!(header.err, ErrorCode::Ok);
    }
    assert_eq!(other.call(get("/last")).expect("a reply").err, ErrorCode::Ok);
    assert_eq!(server.connections().len(), 1);
}

#[test]
fn effects_are_complete_when_a_method_returns() {
    let server = start();
    let (mut client, connection) = open(&server);
    connection.cut();
    assert!(server.connections().is_empty());
    client.frame().expect_err("the connection is closed");

    let (mut client, connection) = open(&server);
    assert!(server.expire_session(SessionId(client.session)));
    assert!(server.connections().is_empty());
    client.frame().expect_err("the connection is closed");
    // The methods of a closed connection have no effect.
    connection.freeze();
    connection.thaw();
    connection.slow_down(SlowLink::new());
    connection.cut();
    assert_eq!(four_letter_word(&server, "ruok"), "imok");
}

#[test]
fn a_slow_link_delays_each_direction_and_keeps_pipelining() {
    const DELAY: Duration = Duration::from_millis(100);

    let server = start();
    server.slow_down(SlowLink::new().delay(DELAY));
    let begun = Instant::now();
    let (mut client, _) = open(&server);
    assert!(begun.elapsed() >= 2 * DELAY, "a handshake in {:?}", begun.elapsed());

    let begun = Instant::now();
    for _ in 0..20 {
        client.send(&[get("/")]).expect("a write");
    }
    for _ in 0..20 {
        assert_eq!(client.reply().expect("a reply").err, ErrorCode::Ok);
    }
    let took = begun.elapsed();
    assert!((2 * DELAY..20 * DELAY).contains(&took), "twenty requests in {took:?}");

    server.full_speed();
    let fastest = (0..20).map(|_| {
        let begun = Instant::now();
        client.call(get("/")).expect("a reply");
        begun.elapsed()
    });
    assert!(fastest.min() < Some(DELAY), "the link is still slow");
}

#[test]
fn a_slow_link_does_not_affect_others_and_releases_its_bytes() {
    let server = start();
    let (mut slow, connection) = open(&server);
    connection.slow_down(SlowLink::new().delay(FOREVER));
    slow.send(&[create("/slow", b"")]).expect("a write");
    let (mut other, _) = open(&server);
    assert_eq!(other.call(get("/slow")).expect("a reply").err, ErrorCode::NoNode);

    connection.full_speed();
    assert_eq!(slow.reply().expect("a reply").err, ErrorCode::Ok);
    assert_eq!(other.call(get("/slow")).expect("a reply").err, ErrorCode::Ok);
}

#[test]
fn a_bandwidth_limits_requests_and_replies() {
    let server = start();
    let (mut client, connection) = open(&server);
    connection.slow_down(SlowLink::new().bandwidth(500_000));
    let data = vec![b'x'; 100_000];
    let (begun, data_time) = (Instant::now(), Duration::from_millis(200));
    assert_eq!(client.call(create("/a", &data)).expect("a reply").err, ErrorCode::Ok);
    assert!(begun.elapsed() >= data_time, "a request in {:?}", begun.elapsed());

    client.send(&[get("/a")]).expect("a write");
    let begun = Instant::now();
    let mut first = [0; 1];
    client.socket.read_exact(&mut first).expect("a reply");
    let first = begun.elapsed();
    let mut rest = vec![0; 100_000];
    client.socket.read_exact(&mut rest).expect("a reply");
    let took = begun.elapsed();
    assert!(took >= data_time, "a reply in {took:?}");
    assert!(took - first >= data_time / 2, "after {first:?} the rest came at once");
}

#[test]
fn a_slow_link_delivers_the_end_of_the_stream_last() {
    let server = start();
    let (mut client, connection) = open(&server);
    let (mut other, _) = open(&server);
    connection.slow_down(SlowLink::new().delay(FOREVER));
    client.send(&[create("/last", b"")]).expect("a write");
    drop(client);
    other.call(get("/")).expect("a reply");
    assert!(server.connections().iter().any(|it| it.peer() == connection.peer()));

    connection.full_speed();
    let begun = Instant::now();
    while server.connections().len() > 1 {
        assert!(begun.elapsed() < client::LIMIT, "the connection is still open");
        thread::yield_now();
    }
    assert_eq!(other.call(get("/last")).expect("a reply").err, ErrorCode::Ok);
}

#[test]
fn a_frozen_slow_link_waits_for_the_thaw() {
    let server = start();
    let (mut client, connection) = open(&server);
    connection.slow_down(SlowLink::new().delay(Duration::from_millis(1)));
    connection.freeze();
    client.send(&[create("/frozen", b"")]).expect("a write");
    let (mut other, _) = open(&server);
    for _ in 0..20 {
        assert_eq!(other.call(get("/frozen")).expect("a reply").err, ErrorCode::NoNode);
    }
    connection.thaw();
    assert_eq!(client.reply().expect("a reply").err, ErrorCode::Ok);
}

/// The event loop of a busy server lets other threads lock the server between two turns.
#[test]
fn the_test_kit_is_not_starved_by_busy_clients() {
    const CLIENTS: usize = 4;

    let server = start();
    let flood = |mut client: Client| {
        while client.send(&vec![get("/"); 500]).is_ok() {
            if (0..500).any(|_| client.reply().is_err()) {
                return;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            let (client, _) = open(&server);
            scope.spawn(move || flood(client));
        }
        let (mut slowest, begun) = (Duration::ZERO, Instant::now());
        while begun.elapsed() < Duration::from_secs(2) {
            let begun = Instant::now();
            assert_eq!(server.sessions().len(), CLIENTS);
            slowest = slowest.max(begun.elapsed());
            thread::sleep(Duration::from_millis(1)); // so that it has to wait for the lock again
        }
        server.connections().iter().for_each(ClientConnection::cut);
        assert!(slowest < Duration::from_millis(300), "a call took {slowest:?}");
    });
}

#[test]
fn dropping_the_server_closes_all_connections() {
    let server = start();
    let (mut client, connection) = open(&server);
    let address = server.address();
    drop(server);
    client.frame().expect_err("the connection is closed");
    TcpStream::connect(address).expect_err("the connection is closed");
    connection.thaw();
}
