//! The server that decides: the only one there is or, in an ensemble, what a majority has agreed on. Whatever
//! it does is logged.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::{Bytes, BytesMut};
use zk_server::{Config, ConnectionId, Output, Server, Version};

use super::{log::Log, query::QUERY_CONNECTION};

/// Where connections come from.
pub(super) const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The settings of a server, which may be a member of an ensemble. The seed decides which release it behaves like.
pub(super) fn config(is_member: bool, seed: u64) -> Config {
    let mut config = Config::default();
    config.is_copy = is_member;
    config.version = if seed.is_multiple_of(2) { Version::V3_8 } else { Version::V3_9 };
    config
}

/// What a server sends on a connection, and whether it closes it then.
pub(super) struct Sent {
    pub(super) connection: ConnectionId,
    pub(super) bytes: Vec<u8>,
    pub(super) closes: bool,
}

/// Takes all that a server sends.
pub(super) fn take_sent(server: &mut Server) -> Vec<Sent> {
    let mut sent = Vec::new();
    while let Some(output) = server.poll_output() {
        let (Output::Transmit(connection) | Output::Disconnect(connection)) = output else {
            continue;
        };
        let closes = matches!(output, Output::Disconnect(_));
        let mut bytes = BytesMut::new();
        server.poll_transmit(connection, &mut bytes);
        if closes {
            server.handle_disconnected(connection);
        }
        sent.push(Sent { connection, bytes: bytes.to_vec(), closes });
    }
    sent
}

pub(super) struct LoggedServer {
    server: Server,
    log: Log,
    /// Replies to the simulation's own queries.
    replies: BytesMut,
}

impl LoggedServer {
    pub(super) fn new(is_member: bool, seed: u64) -> Self {
        let server = Server::new(config(is_member, seed), seed);
        Self { server, log: Log::default(), replies: BytesMut::new() }
    }

    pub(super) const fn server(&self) -> &Server {
        &self.server
    }

    pub(super) const fn log(&self) -> &Log {
        &self.log
    }

    pub(super) const fn log_mut(&mut self) -> &mut Log {
        &mut self.log
    }

    /// Does something to the server. Returns what it sends to clients.
    pub(super) fn act(&mut self, act: impl FnOnce(&mut Server)) -> Vec<Sent> {
        act(&mut self.server);
        let mut all = take_sent(&mut self.server);
        for sent in &all {
            self.log.handle_sent(sent.connection, &sent.bytes);
            if sent.connection == QUERY_CONNECTION {
                self.replies.extend_from_slice(&sent.bytes);
            }
            if sent.closes {
                self.log.handle_closed(sent.connection);
            }
        }
        all.retain(|sent| sent.connection != QUERY_CONNECTION);
        all
    }

    /// Takes the replies to the simulation's own queries.
    pub(super) fn take_replies(&mut self) -> Bytes {
        self.replies.split().freeze()
    }
}
