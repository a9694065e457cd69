//! ZooKeeper's protocol as a pure state machine.
//!
//! This crate knows the wire format of both ends and how a client's session lives. It has no sockets,
//! clocks, threads or randomness: bytes and time go in, bytes and events come out, and the same inputs
//! give the same outputs. `zk-client` puts it on a runtime; a proxy, a fuzzer or a simulation takes what
//! it needs of it.
//!
//! # A session, driven by hand
//!
//! All there is to it: feed a [`Session`](session::Session) what happens and when, then poll it until it
//! has nothing more to say.
//!
//! ```
//! use std::time::Duration;
//!
//! use bytes::BytesMut;
//! use zk_proto::{
//!     Chroot, Request, Time, Ustring,
//!     frame::{Frame, FrameReader, write_frame},
//!     jute::{Decode, Encode, Secret},
//!     records::{ConnectRequest, ConnectResponse, ExistsRequest},
//!     session::{Config, Output, Session, SessionState},
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let hosts = "127.0.0.1:2181".parse::<zk_proto::ConnectString>()?.into_parts().0;
//! let mut session = Session::new(Config::new(hosts), 42);
//! let mut now = Time::from_origin(Duration::from_secs(1)); // your clock
//! let mut outgoing = BytesMut::new(); // what your socket is to send
//! let mut incoming = FrameReader::new(session.config().max_reply); // what it has received
//!
//! // Start: the session asks for a connection. Open one, then say so.
//! session.start(now);
//! assert!(matches!(session.poll_output(), Some(Output::Connect { .. })));
//! session.handle_connected(now);
//!
//! // It has a handshake to send.
//! assert!(session.poll_transmit(now, &mut outgoing));
//! # // The server's end of the wire, out of the same codec.
//! # let mut server = FrameReader::new(1024);
//! # server.extend(&outgoing);
//! # let Ok(Some(Frame::Whole(frame))) = server.next_frame() else { panic!() };
//! # let asked = ConnectRequest::decode_all(&frame)?;
//! # let answer = ConnectResponse {
//! #     protocol_version: 0,
//! #     timeout: asked.timeout,
//! #     session_id: 7,
//! #     password: Secret::new(Some(vec![1; 16].into())),
//! #     read_only: Some(false.into()),
//! # };
//! # let mut from_socket = BytesMut::new();
//! # write_frame(&mut from_socket, |out| answer.encode(out));
//! // … and here is the answer. Take it in, and see what follows.
//! incoming.extend(&from_socket);
//! session.handle_data(now, &mut incoming);
//! assert!(matches!(session.poll_output(), Some(Output::State(SessionState::Connected))));
//!
//! // Requests go out with the next bytes; their results come as outputs.
//! let exists = Request::Exists(ExistsRequest { path: "/app", watch: true.into() });
//! let id = session.submit(now, &Chroot::default(), &exists, "a token of yours")?;
//! outgoing.clear();
//! assert!(session.poll_transmit(now, &mut outgoing));
//!
//! // Wake up no later than this, to ping, to give up a silent server, to connect again.
//! let due = session.poll_timeout().unwrap();
//! now = due;
//! session.handle_timeout(now);
//! # let _ = id;
//! # Ok(())
//! # }
//! ```
//!
//! # What is where
//!
//! | module | what it is for |
//! |---|---|
//! | [`frame`] | cutting a byte stream into packets, within limits |
//! | [`jute`] | integers, strings, buffers, vectors |
//! | [`records`] | every record of the protocol, to read and to write |
//! | [`Request`], [`Response`] | which record belongs to which operation |
//! | [`session`] | the client's session: handshake, keep-alive, requests, watches, credentials, hosts |
//! | [`path`], [`Chroot`], [`hosts`] | paths, and where they and the servers are |
//!
//! A proxy uses [`frame`], [`records`], [`Request`] and [`Response`], and never [`session`].
//!
//! # What holds everywhere
//!
//! - Whatever comes from the network gives a value or an error: it cannot panic, hang, or make this crate
//!   take more memory than what was received warrants. The lints that forbid panics are denied in the
//!   codec and the session; there is no unsafe code.
//! - Replies share the memory of the frame that they came in. A large frame is a slice of the buffer that it was
//!   read into; a small one is copied, so that a value that is kept does not keep that buffer.
//! - `Debug` and errors show no content of nodes, no credential and no session password.
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
pub mod frame;
pub mod hosts;
pub mod jute;
mod message;
mod opcode;
mod open_enum;
pub mod path;
pub mod records;
mod rng;
pub mod session;
mod time;
mod ustring;
mod watch_event;

pub use acl::{Acl, CREATOR_ALL_ACL, Id, OPEN_ACL_UNSAFE, Perms, READ_ACL_UNSAFE};
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
