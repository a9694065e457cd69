//! The runner: a [`Server`](crate::Server) on a socket of this machine, for tests.
//!
//! One thread serves all connections, and a client costs no thread.
//!
//! | module | what it is for |
//! |---|---|
//! | `test_server` | [`TestServer`], the test kit's handle |
//! | `event_loop` | the thread: it waits for sockets, and accepts connections |
//! | `shared` | what the thread and the handle share: the server, its clock, its connections |
//! | `link` | one connection: its socket, and what is on its way |
//! | `slow_link` | how slow a connection is |

mod event_loop;
mod transport;
mod runner;
mod slow_link;
mod test_server;

pub use self::{
    slow_link::SlowLink,
    test_server::{ClientConnection, TestServer},
};
