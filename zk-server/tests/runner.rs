//! The runner and the test kit, as a client on a socket sees them.
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

/// Longer than any test takes.
const FOR_EVER: Duration = Duration::from_secs(3600);

fn start() -> TestServer {
    TestServer::start().expect("a port")
}

/// A client, and its connection as the server has it.
fn open(server: &TestServer) -> (Client, ClientConnection) {
    let client = Client::open(server.address()).expect("a session");
    let connection = server.connection_of(SessionId(client.session)).expect("it is connected");
    (client, connection)
}

fn connect(server: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(server).expect("it listens");
    socket.set_read_timeout(Some(client::LIMIT)).expect("a socket");
    socket
}

fn read_all(mut socket: TcpStream) -> String {
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("it answers and closes");
    answer
}

/// What the server says to a four-letter word.
fn word(server: &TestServer, word: &str) -> String {
    let mut socket = connect(server.address());
    socket.write_all(word.as_bytes()).expect("it is there");
    read_all(socket)
}

/// How many packets have come from a client.
fn received(server: &TestServer, client: &Client) -> u64 {
    let address = client.socket.local_addr().expect("an address");
    let report = word(server, "cons");
    let line = report.lines().find(|line| line.contains(&address.to_string()));
    let line = line.expect("it is connected");
    let (_, figure) = line.split_once("recved=").expect("a figure");
    figure.split(',').next().expect("a figure").parse().expect("a number")
}

#[test]
fn requests_of_a_client_that_does_not_read_wait() {
    const GETS: usize = 2_000;

    let server = start();
    let (mut slow, _) = open(&server);
    let data = vec![b'x'; 100_000];
    slow.ask(create("/large", &data)).expect("it answers");
    slow.send(&vec![get("/large"); GETS]).expect("they fit into the socket");

    // Until it takes no more: others are served meanwhile.
    let (mut other, _) = open(&server);
    let (mut handled, mut same) = (0, 0);
    while same < 20 {
        other.ask(get("/large")).expect("it answers");
        let now = received(&server, &slow);
        same = if now == handled { same + 1 } else { 0 };
        handled = now;
    }
    // What waits on the server, and what the system's buffers take.
    assert!((10..300).contains(&handled), "{handled} requests were handled");

    for _ in 0..GETS {
        assert_eq!(slow.reply().expect("it answers").err, ErrorCode::Ok);
    }
    assert_eq!(received(&server, &slow), 2 + GETS as u64);
}

#[test]
fn a_client_that_does_not_read_its_events_is_given_up() {
    let mut config = zk_server::Config::default();
    config.max_pending = 1 << 20;
    let server = TestServer::start_with(config).expect("a port");
    let (mut watcher, connection) = open(&server);
    let path = format!("/{}", "x".repeat(1000));
    watcher.ask(client::watch_recursively("/")).expect("it answers");
    let (mut writer, _) = open(&server);
    writer.ask(create(&path, b"")).expect("it answers");
    let mut events = 0_u64;
    while server.connections().iter().any(|it| it.peer() == connection.peer()) {
        writer.ask(client::set(&path, b"")).expect("it answers");
        events += 1;
        assert!(events < 100_000, "it is given up");
    }
    assert!(events > 1000, "after {events} events");
}

#[test]
fn who_hangs_up_half_gets_what_is_due() {
    let server = start();
    let mut socket = connect(server.address());
    socket.write_all(b"ruok").expect("it is there");
    socket.shutdown(Shutdown::Write).expect("it is there");
    assert_eq!(read_all(socket), "imok");

    let (mut client, _) = open(&server);
    client.send(&[get("/"), get("/")]).expect("it is there");
    client.socket.shutdown(Shutdown::Write).expect("it is there");
    for _ in 0..2 {
        assert_eq!(client.reply().expect("it answers").err, ErrorCode::Ok);
    }
    client.frame().expect_err("it is closed");
    assert!(server.connections().is_empty());
}

#[test]
fn a_frozen_connection_is_sent_nothing_and_heard_of_after_the_thaw() {
    let server = start();
    let (mut watcher, connection) = open(&server);
    watcher.ask(client::watch_recursively("/")).expect("it answers");
    connection.freeze();
    let (mut other, _) = open(&server);
    other.ask(create("/event", b"")).expect("it answers");
    watcher.socket.set_nonblocking(true).expect("a socket");
    let nothing = watcher.frame().expect_err("it is sent nothing");
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
    watcher.socket.set_nonblocking(false).expect("a socket");

    // The request and the end behind it are found together.
    watcher.send(&[create("/last", b"")]).expect("it is there");
    watcher.socket.shutdown(Shutdown::Write).expect("it is there");
    assert_eq!(other.ask(get("/last")).expect("it answers").err, ErrorCode::NoNode);
    connection.thaw();
    assert_eq!(watcher.reply().expect("it is told").xid, xid::NOTIFICATION);
    while let Ok(header) = watcher.reply() {
        assert_eq!(header.err, ErrorCode::Ok);
    }
    assert_eq!(other.ask(get("/last")).expect("it answers").err, ErrorCode::Ok);
    assert_eq!(server.connections().len(), 1);
}

#[test]
fn what_the_kit_does_is_done_when_it_returns() {
    let server = start();
    let (mut client, connection) = open(&server);
    connection.cut();
    assert!(server.connections().is_empty());
    client.frame().expect_err("it is cut");

    let (mut client, connection) = open(&server);
    assert!(server.expire_session(SessionId(client.session)));
    assert!(server.connections().is_empty());
    client.frame().expect_err("it is closed");
    // A connection that is gone does nothing.
    connection.freeze();
    connection.thaw();
    connection.slow_down(SlowLink::new());
    connection.cut();
    assert_eq!(word(&server, "ruok"), "imok");
}

#[test]
fn a_slow_link_delays_both_ways_without_making_requests_wait_for_each_other() {
    const DELAY: Duration = Duration::from_millis(100);

    let server = start();
    server.slow_down(SlowLink::new().delay(DELAY));
    let begun = Instant::now();
    let (mut client, _) = open(&server);
    assert!(begun.elapsed() >= 2 * DELAY, "a handshake in {:?}", begun.elapsed());

    let begun = Instant::now();
    for _ in 0..20 {
        client.send(&[get("/")]).expect("it is there");
    }
    for _ in 0..20 {
        assert_eq!(client.reply().expect("it answers").err, ErrorCode::Ok);
    }
    let took = begun.elapsed();
    assert!((2 * DELAY..20 * DELAY).contains(&took), "twenty requests in {took:?}");

    server.full_speed();
    let fastest = (0..20).map(|_| {
        let begun = Instant::now();
        client.ask(get("/")).expect("it answers");
        begun.elapsed()
    });
    assert!(fastest.min() < Some(DELAY), "it is fast again");
}

#[test]
fn one_slow_link_leaves_others_alone_and_lets_go_of_what_it_held() {
    let server = start();
    let (mut slow, connection) = open(&server);
    connection.slow_down(SlowLink::new().delay(FOR_EVER));
    slow.send(&[create("/slow", b"")]).expect("it is there");
    let (mut other, _) = open(&server);
    assert_eq!(other.ask(get("/slow")).expect("it answers").err, ErrorCode::NoNode);

    connection.full_speed();
    assert_eq!(slow.reply().expect("it answers").err, ErrorCode::Ok);
    assert_eq!(other.ask(get("/slow")).expect("it answers").err, ErrorCode::Ok);
}

#[test]
fn a_bandwidth_limits_requests_and_replies() {
    let server = start();
    let (mut client, connection) = open(&server);
    connection.slow_down(SlowLink::new().bandwidth(500_000));
    let data = vec![b'x'; 100_000];
    let (begun, data_time) = (Instant::now(), Duration::from_millis(200));
    assert_eq!(client.ask(create("/a", &data)).expect("it answers").err, ErrorCode::Ok);
    assert!(begun.elapsed() >= data_time, "a request in {:?}", begun.elapsed());

    client.send(&[get("/a")]).expect("it is there");
    let begun = Instant::now();
    let mut first = [0; 1];
    client.socket.read_exact(&mut first).expect("it answers");
    let first = begun.elapsed();
    let mut rest = vec![0; 100_000];
    client.socket.read_exact(&mut rest).expect("it answers");
    let took = begun.elapsed();
    assert!(took >= data_time, "a reply in {took:?}");
    assert!(took - first >= data_time / 2, "after {first:?} it came at once");
}

#[test]
fn a_slow_link_carries_the_end_behind_the_rest() {
    let server = start();
    let (mut client, connection) = open(&server);
    let (mut other, _) = open(&server);
    connection.slow_down(SlowLink::new().delay(FOR_EVER));
    client.send(&[create("/last", b"")]).expect("it is there");
    drop(client);
    other.ask(get("/")).expect("it answers");
    assert!(server.connections().iter().any(|it| it.peer() == connection.peer()));

    connection.full_speed();
    let begun = Instant::now();
    while server.connections().len() > 1 {
        assert!(begun.elapsed() < client::LIMIT, "it is closed");
        thread::yield_now();
    }
    assert_eq!(other.ask(get("/last")).expect("it answers").err, ErrorCode::Ok);
}

#[test]
fn a_slow_link_that_is_frozen_waits_for_the_thaw() {
    let server = start();
    let (mut client, connection) = open(&server);
    connection.slow_down(SlowLink::new().delay(Duration::from_millis(1)));
    connection.freeze();
    client.send(&[create("/frozen", b"")]).expect("it is there");
    let (mut other, _) = open(&server);
    for _ in 0..20 {
        assert_eq!(other.ask(get("/frozen")).expect("it answers").err, ErrorCode::NoNode);
    }
    connection.thaw();
    assert_eq!(client.reply().expect("it answers").err, ErrorCode::Ok);
}

/// The event loop of a busy server lets others have the server between two turns.
#[test]
fn the_kit_gets_its_turn_while_clients_flood_the_server() {
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
            thread::sleep(Duration::from_millis(1)); // so that it has to ask for its turn again
        }
        server.connections().iter().for_each(ClientConnection::cut);
        assert!(slowest < Duration::from_millis(300), "a call took {slowest:?}");
    });
}

#[test]
fn a_drop_closes_all_connections() {
    let server = start();
    let (mut client, connection) = open(&server);
    let address = server.address();
    drop(server);
    client.frame().expect_err("it is closed");
    TcpStream::connect(address).expect_err("it is gone");
    connection.thaw();
}
