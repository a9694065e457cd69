//! One server that a test suite in another language controls: `controlled-server real` or `controlled-server
//! embedded`.
//!
//! It prints the server's address, and then executes commands from standard input, one per line: `stop`
//! closes all connections and refuses new ones until `run`; nodes and sessions stay. It answers each command
//! with the line `ok`. The server ends with its input.
#![allow(clippy::print_stdout, reason = "a program that reports")]

use std::{
    env,
    io::{self, BufRead as _},
    time::Duration,
};

use zk_server::TestServer;
use zk_tests::{Ensemble, embedded_config, eventually, version_under_test};

/// The time that the server may take to serve again.
const LIMIT: Duration = Duration::from_secs(60);

enum Server {
    Real(Ensemble),
    Embedded(TestServer),
}

impl Server {
    fn stop(&self) {
        match self {
            Self::Real(ensemble) => ensemble.node(0).stop(),
            Self::Embedded(server) => {
                server.refuse_connections(true);
                server.restart();
            }
        }
    }

    fn run(&self) {
        match self {
            Self::Real(ensemble) => {
                ensemble.node(0).start();
                let serves = || ensemble.node(0).is_serving().then_some(());
                eventually(LIMIT, "the server to serve again", serves);
            }
            Self::Embedded(server) => server.refuse_connections(false),
        }
    }
}

fn main() -> io::Result<()> {
    let server = match env::args().nth(1).as_deref() {
        Some("real") => Server::Real(Ensemble::standalone()),
        Some("embedded") => {
            Server::Embedded(TestServer::start_with(embedded_config(version_under_test()))?)
        }
        other => return Err(io::Error::other(format!("real or embedded, not {other:?}"))),
    };
    println!(
        "{}",
        match &server {
            Server::Real(ensemble) => ensemble.hosts(),
            Server::Embedded(server) => server.hosts(),
        }
    );
    for word in io::stdin().lock().lines() {
        match word?.as_str() {
            "stop" => server.stop(),
            "run" => server.run(),
            other => return Err(io::Error::other(format!("stop or run, not {other:?}"))),
        }
        println!("ok");
    }
    Ok(())
}
