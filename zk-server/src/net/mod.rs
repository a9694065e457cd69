//! Runs a [`Server`](crate::Server) on a TCP socket, for tests. One thread serves all connections.
//!
//! | module | what it is for |
//! |---|---|
//! | `test_server` | [`TestServer`], the test kit |
//! | `event_loop` | the thread, which waits for sockets and accepts connections |
//! | `runner` | the server with its clock and its connections, shared by the thread and the test kit |
//! | `transport` | what carries the bytes of one connection: plain text or TLS |
//! | `tls`, `tls_options` | TLS on a connection, and how it is configured |
//! | `buffers` | what bytes are received into |
//! | `link` | the socket of one connection |
//! | `slow_link` | the delay and bandwidth of a connection |

mod buffers;
mod event_loop;
mod link;
mod runner;
mod slow_link;
mod test_server;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
mod tls_options;
mod transport;

#[cfg(feature = "tls")]
pub use self::tls_options::{ClientAuth, TlsOptions};
pub use self::{
    slow_link::SlowLink,
    test_server::{ClientConnection, TestServer},
};
