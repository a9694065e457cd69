//! A harness for whole-system tests: real ZooKeeper servers on the loopback interface, a proxy that injects
//! network faults, and the tests of the client.
//!
//! - [`Ensemble`] runs one server or several. A test can kill, pause and restart each of them. [`Options`]
//!   configures them.
//! - [`Certificates`] are those of servers and clients with TLS, good ones and bad ones.
//! - [`Proxy`] stands in front of one server. It can close, hold back, delay or filter what passes.
//! - [`TlsProxy`] makes a server with TLS of any server, and records the handshakes.
//! - [`ScriptedServer`] is a server whose replies a test writes, for replies that no real server sends.
//! - [`minimal_client::Session`] speaks as much of the protocol as the harness needs. It shares no code with
//!   the library under test.
//! - [`CountingHandler`] and [`ResolverHandler`] wrap a handler: one counts its tasks and connections, the
//!   other resolves host names with a function of the test.
//! - [`mod@suite`] has the tests that run on every runtime, and [`runtimes`] has the runtimes.
//! - [`Kdc`] is a Kerberos server with its realm, for servers and clients that log in by SASL.
//! - [`zk_cli()`] runs ZooKeeper's own command line client, and [`java_program()`] a program that uses Java clients.
//!
//! ```no_run
//! use std::time::Duration;
//! use zk_tests::{Direction, Ensemble, Proxy, eventually};
//!
//! let ensemble = Ensemble::of(3);
//! let proxy = Proxy::new(ensemble.node(0).address());
//! // ... connect a client to `proxy.address()` or to `ensemble.hosts()` ...
//! proxy.hold(Direction::ToClient);
//! ensemble.node(ensemble.leader()).kill();
//! eventually(Duration::from_secs(10), "the client to notice", || Some(()));
//! ```
//!
//! The harness blocks and uses only threads of `std`, so that tests on any runtime can share it. In an async
//! test, call it where blocking is allowed. It panics on failure, with a message that says what failed. Every
//! wait has a timeout.
//!
//! ZooKeeper comes from the Debian package `zookeeper`, or is 3.9.5 if `ZK_TEST_VERSION` is 3.9 (see
//! [`version_under_test`]). Servers and their files are removed when the [`Ensemble`] is dropped. They are also
//! removed if the test process ends in any other way, even by `SIGKILL`.

mod certificates;
mod counting_handler;
mod embedded;
mod frame;
mod free_address;
mod installed;
mod java;
mod kdc;
pub mod minimal_client;
mod process;
mod proxy;
mod resolver_handler;
pub mod runtimes;
mod scripted_server;
mod security;
mod server;
pub mod suite;
mod sync;
pub mod tasks;
mod tls_proxy;
mod txn_log;
mod zk_cli;

pub use certificates::{Certificates, Holder};
pub use counting_handler::CountingHandler;
pub use embedded::embedded_config;
pub use installed::version_under_test;
pub use java::java_program;
pub use kdc::Kdc;
pub use proxy::{Direction, FrameAction, Proxy};
pub use resolver_handler::ResolverHandler;
pub use scripted_server::{Request, ScriptedConnection, ScriptedServer};
pub use security::ClientAuth;
pub use server::{Ensemble, Mode, Node, Options, shared_ensemble};
pub use sync::eventually;
pub use tls_proxy::{Demand, Handshake, TlsProxy, server_config};
pub use zk_cli::{zk_cli, zk_cli_with};

pub(crate) use sync::{lock, poll};
