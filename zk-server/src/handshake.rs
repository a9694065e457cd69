//! The handshake, which opens a session, or resumes one if the password is right
//! (`ZooKeeperServer.processConnectRequest`).

use std::time::Duration;

use bytes::Bytes;
use zk_proto::{
    Time,
    jute::{Decode, Encode, Reader, Secret},
    records::{ConnectRequest, ConnectResponse},
    session::SessionId,
};

use crate::{
    config::millis,
    connection::{ConnectionId, Phase},
    server::Server,
    sessions::PASSWORD_LEN,
};

impl Server {
    pub(crate) fn handle_handshake(&mut self, now: Time, connection: ConnectionId, frame: &Bytes) {
        let Ok(request) = ConnectRequest::decode(&mut Reader::new(frame)) else {
            return self.close(connection);
        };
        let wants_writes = !request.is_read_only();
        if self.is_read_only && wants_writes || request.last_zxid_seen > self.zxids.last() {
            return self.close(connection);
        }
        let timeout = self.granted_timeout(request.timeout);
        let session = match request.session_id {
            0 => Some(self.open_session(now, timeout)),
            id => {
                let id = SessionId(id);
                if self.is_read_only && self.sessions.get(id).is_some_and(|s| !s.is_local) {
                    return self.close(connection);
                }
                // As in ZooKeeper, the other connection is closed before the password is checked.
                let other = self.sessions.get(id).and_then(|session| session.connection);
                if let Some(other) = other.filter(|_| !self.config.is_copy) {
                    self.close(other);
                }
                let password = self.sessions.password(id);
                let owns = *request.password.expose() == Some(password.as_slice());
                (owns && self.resume_session(now, id, timeout)).then_some(id)
            }
        };

        let read_only = request.read_only.map(|_| self.is_read_only.into());
        let response = match session {
            Some(id) => ConnectResponse {
                protocol_version: 0,
                timeout: i32::try_from(millis(timeout)).unwrap_or(i32::MAX),
                session_id: id.0,
                password: password(self.sessions.password(id)),
                read_only,
            },
            None => ConnectResponse {
                protocol_version: 0,
                timeout: 0,
                session_id: 0,
                password: password([0; PASSWORD_LEN]),
                read_only,
            },
        };
        self.send_on(connection, |connection| connection.send(|out| response.encode(out)));
        match session {
            Some(id) => {
                if let Some(session) = self.sessions.get_mut(id) {
                    session.connection = Some(connection);
                }
                self.send_on(connection, |connection| connection.phase = Phase::Established(id));
            }
            None => self.close(connection),
        }
    }

    /// The session timeout that is granted to a client that asks for `asked` milliseconds.
    fn granted_timeout(&self, asked: i32) -> Duration {
        let asked = Duration::from_millis(u64::try_from(asked).unwrap_or(0));
        asked.max(self.config.min_session_timeout).min(self.config.max_session_timeout)
    }

    fn open_session(&mut self, now: Time, timeout: Duration) -> SessionId {
        if !self.is_read_only {
            self.zxids.assign();
        }
        self.sessions.open(now, timeout, self.is_read_only)
    }

    fn resume_session(&mut self, now: Time, id: SessionId, timeout: Duration) -> bool {
        let Some(session) = self.sessions.get_mut(id) else { return false };
        session.timeout = timeout;
        self.sessions.touch(now, id);
        true
    }
}

fn password(password: [u8; PASSWORD_LEN]) -> Secret<Option<Bytes>> {
    Secret::new(Some(Bytes::copy_from_slice(&password)))
}
