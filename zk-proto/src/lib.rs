//! ZooKeeper's wire format and client session as a pure state machine.
//!
//! This crate has no sockets, clocks, threads or random source: bytes and time are its inputs, bytes and events are
//! its outputs, and the same inputs give the same outputs. It is `no_std` with `alloc`, so the compiler proves it.
//!
//! Use it to write a proxy, a fuzzer, a simulation, a server for tests, or a client of your own. To talk to
//! ZooKeeper from a program, use `zk-client`, which runs this crate on tokio, smol, async-std or plain threads.
//!
//! # The run loop
//!
//! A driver tells the [`Session`](session::Session) what happened and when, and polls it for what to do. This is a
//! complete client on a blocking socket:
//!
//! ```no_run
//! use std::{io::{ErrorKind, Read, Write}, net::TcpStream, time::{Duration, Instant}};
//!
//! use bytes::BytesMut;
//! use zk_proto::{
//!     ConnectString, Request, Time,
//!     frame::FrameReader,
//!     records::ExistsRequest,
//!     session::{Config, Output, Session},
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (hosts, chroot) = "127.0.0.1:2181/app".parse::<ConnectString>()?.into_parts();
//! let start = Instant::now();
//! let now = || Time::from_origin(start.elapsed());
//! let mut session = Session::new(Config::new(hosts), 42); // a random seed
//! let mut connection = None;
//!
//! session.start(now());
//! let exists = Request::Exists(ExistsRequest { path: "/config", watch: true.into() });
//! session.submit(now(), &chroot, &exists, "my token")?;
//! while session.end_reason().is_none() {
//!     while let Some(output) = session.poll_output() {
//!         match output {
//!             Output::Connect { host, .. } => match TcpStream::connect((&*host.host, host.port)) {
//!                 Ok(socket) => {
//!                     connection = Some((socket, FrameReader::new(session.config().max_reply)));
//!                     session.handle_connected(now());
//!                 }
//!                 Err(error) => session.handle_disconnected(now(), error.to_string()),
//!             },
//!             Output::Disconnect => connection = None,
//!             Output::Completed { token, result, .. } => println!("{token}: {result:?}"),
//!             event => println!("{event:?}"), // a state change, a watch that fired, ...
//!         }
//!     }
//!     let wait = session.poll_timeout().map_or(Duration::MAX, |due| due.since(now()));
//!     let Some((socket, input)) = &mut connection else {
//!         std::thread::sleep(wait);
//!         session.handle_timeout(now());
//!         continue;
//!     };
//!     let mut bytes = BytesMut::new();
//!     session.poll_transmit(now(), &mut bytes);
//!     socket.set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
//!     match socket.write_all(&bytes).and_then(|()| socket.read(input.spare())) {
//!         Ok(len @ 1..) => {
//!             input.advance(len);
//!             session.handle_data(now(), input);
//!         }
//!         Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
//!         closed => {
//!             session.handle_disconnected(now(), format!("{closed:?}"));
//!             connection = None;
//!         }
//!     }
//!     session.handle_timeout(now());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Tests need no socket, because time and bytes are values:
//!
//! ```
//! use std::time::Duration;
//!
//! use bytes::BytesMut;
//! use zk_proto::{
//!     Chroot, Request, Time,
//!     frame::{Frame, FrameReader, write_frame},
//!     jute::{Decode, Encode, Secret},
//!     records::{ConnectRequest, ConnectResponse, ExistsRequest},
//!     session::{Config, Output, Session, SessionState},
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let hosts = "127.0.0.1:2181".parse::<zk_proto::ConnectString>()?.into_parts().0;
//! let mut session = Session::new(Config::new(hosts), 42);
//! let now = Time::from_origin(Duration::from_secs(1));
//! let mut outgoing = BytesMut::new();
//! let mut incoming = FrameReader::new(session.config().max_reply);
//!
//! // The session asks for a connection. Open one, then report it.
//! session.start(now);
//! assert!(matches!(session.poll_output(), Some(Output::Connect { .. })));
//! session.handle_connected(now);
//!
//! // The session sends the handshake.
//! assert!(session.poll_transmit(now, &mut outgoing));
//! # // The server's side, with the same codec.
//! # let mut server = FrameReader::new(1024);
//! # server.extend(&outgoing);
//! # let Ok(Some(Frame::Whole(frame))) = server.next_frame() else { panic!() };
//! # let request = ConnectRequest::decode_all(&frame)?;
//! # let response = ConnectResponse {
//! #     protocol_version: 0,
//! #     timeout: request.timeout,
//! #     session_id: 7,
//! #     password: Secret::new(Some(vec![1; 16].into())),
//! #     read_only: Some(false.into()),
//! # };
//! # let mut from_socket = BytesMut::new();
//! # write_frame(&mut from_socket, |out| response.encode(out));
//! // The server's response establishes the session.
//! incoming.extend(&from_socket);
//! session.handle_data(now, &mut incoming);
//! assert!(matches!(session.poll_output(), Some(Output::State(SessionState::Connected))));
//!
//! // Requests are sent with the next bytes; their results are outputs.
//! let exists = Request::Exists(ExistsRequest { path: "/app", watch: true.into() });
//! let id = session.submit(now, &Chroot::default(), &exists, "token")?;
//! outgoing.clear();
//! assert!(session.poll_transmit(now, &mut outgoing));
//!
//! // The next deadline: to ping, to give up a silent server, or to reconnect.
//! let due = session.poll_timeout().unwrap();
//! session.handle_timeout(due);
//! # let _ = id;
//! # Ok(())
//! # }
//! ```
//!
//! # Modules
//!
//! | module | purpose |
//! |---|---|
//! | [`frame`] | splits a byte stream into packets, within limits |
//! | [`jute`] | encodes and decodes integers, strings, buffers and vectors |
//! | [`records`] | the records of the protocol |
//! | [`Request`], [`Response`] | the records of each operation |
//! | [`sasl`] | SASL mechanisms: what a mechanism is, and DIGEST-MD5 |
//! | [`session`] | the client's session: handshake, keep-alive, requests, watches, credentials, hosts |
//! | [`four_letter_word`] | why a server refuses a four-letter word |
//! | [`path`], [`Chroot`], [`hosts`] | paths, the chroot, and connection strings |
//!
//! A proxy uses [`frame`], [`records`], [`Request`] and [`Response`], but not [`session`].
//!
//! # Guarantees
//!
//! - Bytes from the network give a value or an error. They cannot cause a panic, an endless loop, or an allocation
//!   that is larger than the received bytes warrant. The lints that forbid panics are denied in the codec and the
//!   session, and there is no unsafe code.
//! - Replies share the memory of the frame that they came in. A large frame is a slice of the receive buffer; a
//!   small one is copied, so that a value that is kept does not keep the whole buffer alive.
//! - `Debug` output and errors contain no node data, no credentials and no session passwords.
//!
//! # Features
//!
//! - `std` (default): adds [`Stat::created`](records::Stat::created) and
//!   [`Stat::modified`](records::Stat::modified), and enables `std` in the dependencies. Without it the crate is
//!   `no_std` and needs `alloc` and atomics.
//! - `sasl-digest-md5`: adds the mechanism DIGEST-MD5 to [`sasl`], with the crate `md-5`.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod acl;
mod backoff;
mod chroot;
mod create_mode;
mod error_code;
pub mod four_letter_word;
pub mod frame;
pub mod hosts;
pub mod jute;
mod message;
mod opcode;
mod open_enum;
pub mod path;
pub mod records;
mod rng;
pub mod sasl;
pub mod session;
mod time;
mod ustring;
mod watch_event;

pub use acl::{Acl, AclError, CREATOR_ALL_ACL, Id, OPEN_ACL_UNSAFE, Perms, READ_ACL_UNSAFE};
pub use chroot::Chroot;
pub use create_mode::CreateMode;
pub use error_code::ErrorCode;
pub use hosts::{ConnectString, HostPort, HostsError};
pub use jute::DecodeError;
pub use message::{Request, Response};
pub use opcode::OpCode;
pub use path::PathError;
pub use time::Time;
pub use ustring::Ustring;
pub use watch_event::{AddWatchMode, EventType, KeeperState, WatcherType};
