//! SASL on a server (`ZooKeeperServer.processSasl`): DIGEST-MD5, if [`Config::sasl_users`](crate::Config) has users.

use zk_proto::{
    ErrorCode, Response,
    jute::Secret,
    records::{ReplyHeader, SaslResponse},
};

#[cfg(feature = "sasl-digest-md5")]
use crate::acl::SASL;
use crate::{connection::ConnectionId, server::Server};

#[cfg(feature = "sasl-digest-md5")]
use zk_proto::sasl::{
    SaslError,
    digest_md5::{self, ServerStep},
};

impl Server {
    /// Handles a client's token.
    pub(crate) fn handle_sasl(&mut self, connection: ConnectionId, xid: i32, token: &[u8]) {
        #[cfg(feature = "sasl-digest-md5")]
        if self.config.sasl_users.is_some() {
            return match self.step(connection, token) {
                Ok(answer) => self.send_token(connection, xid, ErrorCode::Ok, Some(answer)),
                Err(_) => self.refuse(connection, xid),
            };
        }
        // SASL is not configured. ZooKeeper then answers with a null token.
        let _ = token;
        self.send_token(connection, xid, ErrorCode::Ok, None);
    }

    /// Continues the exchange of a connection. Returns the answer.
    #[cfg(feature = "sasl-digest-md5")]
    fn step(&mut self, connection: ConnectionId, token: &[u8]) -> Result<Vec<u8>, SaslError> {
        let nonce = self.sessions.nonce(connection);
        let (Some(users), Some(state)) =
            (&self.config.sasl_users, self.connections.get_mut(&connection))
        else {
            return Err(SaslError::NotConfigured);
        };
        let exchange = state.sasl.get_or_insert_with(|| digest_md5::Server::new(nonce));
        let password_of = |user: &str| users.expose().get(user).cloned().map(Secret::new);
        Ok(match exchange.step(token, password_of)? {
            ServerStep::Challenge(answer) => answer,
            ServerStep::Accepted { user, token } => {
                let is_super = self.config.sasl_super_user.as_ref() == Some(&user);
                state.identities.add_sasl(user, is_super);
                token
            }
            _ => return Err(SaslError::malformed("an unknown step")),
        })
    }

    /// Answers a token that is not valid, or wrong credentials. The connection is closed, unless the client may go on
    /// without authentication.
    #[cfg(feature = "sasl-digest-md5")]
    fn refuse(&mut self, connection: ConnectionId, xid: i32) {
        let is_demanded = self.config.enforced_schemes.iter().any(|scheme| scheme == SASL);
        let refusal = match (is_demanded, self.config.allow_failed_sasl) {
            (true, _) => ErrorCode::SessionClosedRequireSaslAuth,
            (false, false) => ErrorCode::AuthFailed,
            (false, true) => return self.send_token(connection, xid, ErrorCode::Ok, None),
        };
        self.send_token(connection, xid, refusal, None);
        self.close(connection);
    }

    /// Unlike other replies, this one has a body even if it is an error.
    fn send_token(
        &mut self,
        connection: ConnectionId,
        xid: i32,
        err: ErrorCode,
        token: Option<Vec<u8>>,
    ) {
        let token = Secret::new(token.map(Into::into));
        let response = Response::Sasl(SaslResponse { token });
        let header = ReplyHeader { xid, zxid: 0, err };
        self.send_on(connection, |connection| {
            connection.send(|out| response.encode(&header, out));
        });
    }
}
