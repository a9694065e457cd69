//! The program `zk-server`: its output, its exit, and its use of threads and files.
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

/// The answer of the server to a four-letter word.
fn four_letter_word(server: SocketAddr, word: &str) -> String {
    let mut socket = TcpStream::connect(server).expect("a connection");
    socket.set_read_timeout(Some(client::LIMIT)).expect("a socket");
    socket.write_all(word.as_bytes()).expect("a write");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("a reply");
    answer
}

/// The number of connections of the server, without the one that asks.
fn connections(server: SocketAddr) -> usize {
    let answer = four_letter_word(server, "srvr");
    let count = answer.lines().find_map(|line| line.strip_prefix("Connections: "));
    count.expect("a count").parse::<usize>().expect("a number") - 1
}

#[test]
fn prints_its_address_and_exits_at_the_end_of_its_input() {
    let mut server = Process::start(&[]);
    let mut zk = Client::open(server.address).expect("a session");
    assert_eq!(zk.call(create("/a", b"")).expect("a reply").err, ErrorCode::Ok);
    assert!(server.end().success());
    TcpStream::connect(server.address).expect_err("the connection is closed");
}

#[test]
fn the_option_delay_slows_it_down() {
    let server = Process::start(&["--delay", "50"]);
    let begun = Instant::now();
    assert_eq!(four_letter_word(server.address, "ruok"), "imok");
    assert!(begun.elapsed() >= Duration::from_millis(100), "{:?}", begun.elapsed());
}

#[test]
fn errors_go_to_standard_error() {
    let taken = Process::start(&[]);
    for (args, code, error) in [
        (vec!["--no-such-option"], 2, "unknown option --no-such-option"),
        (vec![&*taken.address.to_string()], 1, "cannot listen at 127.0.0.1:"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zk-server"));
        let output = command.args(args).stdin(Stdio::null()).output().expect("the process");
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
    first.call(create("/node", b"data")).expect("a reply");
    let threads = server.status("Threads");

    let mut clients = vec![first];
    clients.extend((1..count).map(|_| Client::open(server.address).expect("a session")));
    assert_eq!(connections(server.address), count);
    assert_eq!(server.status("Threads"), threads, "with {count} connections");
    for client in clients.iter_mut().step_by(100) {
        assert_eq!(client.call(get("/node")).expect("a reply").err, ErrorCode::Ok);
    }

    drop(clients);
    let begun = Instant::now();
    while connections(server.address) > 0 {
        assert!(begun.elapsed() < client::LIMIT, "the connections are still open");
    }
}

/// Clients that wait are served once a file descriptor is free, and the server does not spin until then.
#[test]
#[cfg(target_os = "linux")]
fn connections_wait_for_free_file_descriptors() {
    const SERVED: usize = 20;
    const WAITING: usize = 20;

    let server = Process::start(&[]);
    server.limit_files(server.files() + SERVED);
    let served: Vec<_> =
        (0..SERVED).map(|_| Client::open(server.address).expect("a session")).collect();
    // These send nothing, and use up the remaining file descriptors.
    let silent: Vec<_> =
        (0..5).map(|_| TcpStream::connect(server.address).expect("a connection")).collect();
    let waiting: Vec<_> = (0..WAITING)
        .map(|_| {
            let mut socket = TcpStream::connect(server.address).expect("a connection");
            socket.set_read_timeout(Some(client::LIMIT)).expect("a socket");
            socket.write_all(b"ruok").expect("a connection");
            socket
        })
        .collect();

    let before = server.ticks();
    std::thread::sleep(Duration::from_millis(500)); // the processor time in this interval is measured
    let ticks = server.ticks() - before;
    assert!(ticks < 5, "the server used {ticks} of 50 ticks of processor time");

    drop((served, silent));
    for mut socket in waiting {
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("a reply");
        assert_eq!(answer, "imok");
    }
}
