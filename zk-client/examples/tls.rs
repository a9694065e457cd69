//! TLS: `cargo run -p zk-client --features tls --example tls`.
//!
//! It talks to the ZooKeeper at `ZK_HOSTS`, or at localhost:2281, which is a port with TLS. `ZK_CA` is a PEM file with the
//! authority of its certificate; without it, the authorities of the system are trusted. `ZK_CERT` and `ZK_KEY` are the PEM
//! files of the client's own certificate, if the server wants one.
#![allow(clippy::print_stdout)]

use std::env;

use zk_client::{Client, Error, TlsOptions};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let hosts = env::var("ZK_HOSTS").unwrap_or_else(|_| "localhost:2281".into());
    let mut tls = TlsOptions::new();
    if let Some(authority) = env::var_os("ZK_CA") {
        tls = tls.authorities_file(authority);
    }
    if let (Some(certificate), Some(key)) = (env::var_os("ZK_CERT"), env::var_os("ZK_KEY")) {
        tls = tls.identity_files(certificate, key);
    }
    let zk = Client::builder().hosts(hosts).tls(tls).connect().await?;
    for identity in zk.who_am_i().await? {
        println!("{}: {}", identity.auth_scheme, identity.user);
    }
    zk.stop().await
}
