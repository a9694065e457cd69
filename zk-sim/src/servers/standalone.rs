//! A server on its own.

use std::{collections::VecDeque, time::Duration};

use zk_proto::{ErrorCode, Request, Response};
use zk_server::{ConnectionId, Server, SessionId, Time};

use super::{
    logged_server::{LoggedServer, PEER, Sent},
    machine::Machine,
    output::Output,
    query::{QUERY_CONNECTION, decode_reply, encode_query},
};

pub(super) struct Standalone {
    pub(super) server: LoggedServer,
    pub(super) machine: Machine,
    pub(super) outputs: VecDeque<Output>,
}

impl Standalone {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            server: LoggedServer::new(false, seed),
            machine: Machine::default(),
            outputs: VecDeque::new(),
        }
    }

    fn act(&mut self, act: impl FnOnce(&mut Server)) {
        for Sent { connection, bytes, closes } in self.server.act(act) {
            self.outputs.push_back(Output::Transmit(connection, bytes));
            if closes {
                self.outputs.push_back(Output::Close(connection));
            }
        }
    }

    pub(super) fn handle_connected(&mut self, now: Duration, id: ConnectionId) {
        self.server.log_mut().handle_connected(id);
        self.act(|server| server.handle_connected(Time::from_origin(now), id, PEER));
    }

    pub(super) fn handle_received(
        &mut self,
        now: Duration,
        id: ConnectionId,
        bytes: Option<&[u8]>,
    ) {
        let Some(bytes) = bytes else {
            self.act(|server| server.handle_disconnected(id));
            self.server.log_mut().handle_closed(id);
            self.outputs.push_back(Output::Close(id));
            return;
        };
        self.server.log_mut().handle_received(id, bytes);
        self.act(|server| server.handle_data(Time::from_origin(now), id, bytes));
    }

    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        let due = self.server.server().poll_timeout().map(Time::since_origin);
        due.filter(|_| self.machine.runs())
    }

    pub(super) fn handle_timeout(&mut self, now: Duration) {
        self.act(|server| server.handle_timeout(Time::from_origin(now)));
    }

    /// Closes all connections. Nodes and sessions are kept.
    pub(super) fn restart(&mut self, now: Duration) {
        self.act(|server| server.restart(Time::from_origin(now)));
    }

    pub(super) fn expire_session(&mut self, now: Duration, session: SessionId) {
        self.act(|server| {
            server.expire_session(Time::from_origin(now), session);
        });
    }

    pub(super) fn set_sequence(&mut self, path: &str, next: i32) {
        self.act(|server| {
            server.set_sequence(path, next);
        });
    }

    pub(super) fn query(
        &mut self,
        now: Duration,
        request: &Request<'_>,
    ) -> Result<Response, ErrorCode> {
        let now = Time::from_origin(now);
        self.act(|server| {
            server.handle_connected(now, QUERY_CONNECTION, PEER);
            server.handle_data(now, QUERY_CONNECTION, &encode_query(request));
        });
        self.act(|server| server.handle_disconnected(QUERY_CONNECTION));
        decode_reply(request, &self.server.take_replies())
    }
}
