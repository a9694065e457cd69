//! A ZooKeeper in memory for any client: `cargo run -p zk-server --example serve [ADDRESS]`.
//!
//! It listens at 127.0.0.1:2181 unless told otherwise, until its input ends.
#![allow(clippy::print_stdout)]

use std::io;

use zk_server::{Config, TestServer};

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2181".into());
    let server = TestServer::bind(address, Config::default())?;
    println!("{}", server.hosts());
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}
