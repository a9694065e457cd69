//! The program `zk-server`: its output, its end, and what it costs in threads and files.
#![cfg(feature = "net")]

mod client;
mod process;

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use client::{Client, create, get};
use process::Process;
use zk_proto::ErrorCode;

/// What the server says to a four-letter word.
fn word(server: SocketAddr, word: &str) -> String {
    let mut socket = TcpStream::connect(server).expect("it listens");
    socket.set_read_timeout(Some(client::LIMIT)).expect("a socket");
    socket.write_all(word.as_bytes()).expect("it is there");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("it answers");
    answer
}

/// How many connections the server has besides the one that asks.
fn connections(server: SocketAddr) -> usize {
    let answer = word(server, "srvr");
    let count = answer.lines().find_map(|line| line.strip_prefix("Connections: "));
    count.expect("a count").parse::<usize>().expect("a number") - 1
}

#[test]
fn it_says_where_it_is_and_ends_with_its_input() {
    let mut server = Process::start(&[]);
    let mut zk = Client::open(server.address).expect("a session");
    assert_eq!(zk.ask(create("/a", b"")).expect("it answers").err, ErrorCode::Ok);
    assert!(server.end().success());
    TcpStream::connect(server.address).expect_err("it is gone");
}

#[test]
fn it_is_as_slow_as_it_is_told() {
    let server = Process::start(&["--delay", "50"]);
    let begun = Instant::now();
    assert_eq!(word(server.address, "ruok"), "imok");
    assert!(begun.elapsed() >= Duration::from_millis(100), "{:?}", begun.elapsed());
}

#[test]
fn what_it_cannot_do_is_an_error() {
    let taken = Process::start(&[]);
    for (args, code, error) in [
        (vec!["--no-such-option"], 2, "there is no option --no-such-option"),
        (vec![&*taken.address.to_string()], 1, "cannot serve at 127.0.0.1:"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zk-server"));
        let output = command.args(args).stdin(Stdio::null()).output().expect("it runs");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{errors}");
        assert!(errors.contains(error), "{errors}");
        assert_eq!(output.stdout, b"");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn ten_thousand_connections_cost_no_thread() {
    let count = process::raise_limit_of_files().saturating_sub(500).min(10_000);
    let server = Process::start(&[]);
    let mut first = Client::open(server.address).expect("a session");
    first.ask(create("/node", b"data")).expect("it answers");
    let threads = server.status("Threads");

    let mut clients = vec![first];
    clients.extend((1..count).map(|_| Client::open(server.address).expect("a session")));
    assert_eq!(connections(server.address), count);
    assert_eq!(server.status("Threads"), threads, "with {count} connections");
    for client in clients.iter_mut().step_by(100) {
        assert_eq!(client.ask(get("/node")).expect("it answers").err, ErrorCode::Ok);
    }

    drop(clients);
    let begun = Instant::now();
    while connections(server.address) > 0 {
        assert!(begun.elapsed() < client::LIMIT, "they are closed");
    }
}

/// Who waits is served once there is a file to give, and the server does not spin until then.
#[test]
#[cfg(target_os = "linux")]
fn without_files_it_waits() {
    const SERVED: usize = 20;
    const WAITING: usize = 20;

    let server = Process::start(&[]);
    server.limit_files(server.files() + SERVED);
    let served: Vec<_> =
        (0..SERVED).map(|_| Client::open(server.address).expect("a session")).collect();
    // They say nothing, and take what is left.
    let silent: Vec<_> =
        (0..5).map(|_| TcpStream::connect(server.address).expect("the system takes it")).collect();
    let waiting: Vec<_> = (0..WAITING)
        .map(|_| {
            let mut socket = TcpStream::connect(server.address).expect("the system takes it");
            socket.set_read_timeout(Some(client::LIMIT)).expect("a socket");
            socket.write_all(b"ruok").expect("the system takes it");
            socket
        })
        .collect();

    let before = server.ticks();
    std::thread::sleep(Duration::from_millis(500)); // what it does in this time is what is measured
    let ticks = server.ticks() - before;
    assert!(ticks < 5, "it took {ticks} of 50 ticks of the processor");

    drop((served, silent));
    for mut socket in waiting {
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("it is served");
        assert_eq!(answer, "imok");
    }
}
