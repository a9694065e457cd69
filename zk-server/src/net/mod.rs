//! Runs a [`Server`](crate::Server) on a TCP socket, for tests. One thread serves all connections.
//!
//! | module | what it is for |
//! |---|---|
//! | `test_server` | [`TestServer`], the test kit |
//! | `event_loop` | the thread, which waits for sockets and accepts connections |
//! | `runner` | the server with its clock and its connections, shared by the thread and the test kit |
//! | `transport` | the socket of one connection |
//! | `slow_link` | the delay and bandwidth of a connection |

mod event_loop;
mod runner;
mod slow_link;
mod test_server;
mod transport;

pub use self::{
    slow_link::SlowLink,
    test_server::{ClientConnection, TestServer},
};
