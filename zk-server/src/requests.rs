//! Requests and their replies (`ZooKeeperServer.processPacket`, `FinalRequestProcessor`).

use bytes::Bytes;
use zk_proto::{
    ErrorCode, OpCode, Request, Response, Time, Ustring,
    jute::{Decode, Reader},
    records::{
        AuthPacket, Create2Response, CreateResponse, RequestHeader, SaslRequest, SyncResponse, xid,
    },
    session::SessionId,
};

use crate::{connection::ConnectionId, server::Server, txn::Creation, zxid::Zxids};

impl Server {
    pub(crate) fn handle_request(
        &mut self,
        now: Time,
        connection: ConnectionId,
        session: SessionId,
        frame: &Bytes,
    ) {
        let mut input = Reader::new(frame);
        let Ok(header) = RequestHeader::decode(&mut input) else { return self.close(connection) };
        self.sessions.touch(now, session);
        let op = header.op;
        if !matches!(op, OpCode::Auth | OpCode::Sasl) && !self.may_request(connection) {
            let refusal = Err(ErrorCode::SessionClosedRequireSaslAuth);
            self.send_on(connection, |connection| connection.reply(header.xid, 0, &refusal));
            return self.close(connection);
        }
        let is_write = op.is_write();
        let result = if self.is_read_only && (is_write || op == OpCode::Sync) {
            Err(ErrorCode::NotReadOnly)
        } else {
            match Request::decode_prefix(op, &mut input) {
                Ok(Request::Auth(packet)) => {
                    return self.handle_auth(connection, header.xid, &packet);
                }
                Ok(Request::Sasl(SaslRequest { token })) => match *token.expose() {
                    Some(token) => return self.handle_sasl(connection, header.xid, token),
                    // ZooKeeper fails on a token that is null, and closes the connection.
                    None => return self.close(connection),
                },
                Ok(Request::Unknown { .. }) => {
                    let refusal = Err(ErrorCode::Unimplemented);
                    self.send_on(connection, |connection| {
                        connection.reply(header.xid, -1, &refusal)
                    });
                    return self.close(connection);
                }
                Ok(request) => self.answer(now, connection, session, &request),
                Err(_) if matches!(op, OpCode::Auth | OpCode::Sasl) => {
                    return self.close(connection);
                }
                Err(_) if Zxids::takes_undecodable(self.config.version, op) => {
                    self.transact(now, None, |_| Err(ErrorCode::MarshallingError))
                }
                Err(_) => Err(ErrorCode::MarshallingError),
            }
        };

        let zxid = self.zxids.last();
        let xid = if op == OpCode::Ping { xid::PING } else { header.xid };
        self.send_on(connection, |connection| {
            connection.counters.last_op = op;
            connection.counters.last_xid = header.xid;
            connection.counters.last_zxid = zxid;
            connection.counters.last_response = now;
            connection.reply(xid, zxid, &result);
        });
        if op == OpCode::CloseSession {
            self.close(connection);
        }
    }

    fn answer(
        &mut self,
        now: Time,
        connection: ConnectionId,
        session: SessionId,
        request: &Request<'_>,
    ) -> Result<Response, ErrorCode> {
        let client = Some((connection, session));
        match request {
            Request::Create(create) => {
                let creation = Creation::new(OpCode::Create, create);
                let (path, _) = self.transact(now, client, |txn| txn.create(&creation))?;
                Ok(Response::Create(CreateResponse { path: path.into() }))
            }
            Request::Create2(create) | Request::CreateContainer(create) => {
                self.create2(now, client, &Creation::new(request.op(), create))
            }
            Request::CreateTtl(create) => {
                self.create2(now, client, &Creation::with_ttl(request.op(), create))
            }
            Request::Delete(delete) => {
                self.transact(now, client, |txn| txn.delete(delete))?;
                Ok(Response::Empty)
            }
            Request::SetData(set) => {
                self.transact(now, client, |txn| txn.set_data(set)).map(Response::SetData)
            }
            Request::SetAcl(set) => {
                self.transact(now, client, |txn| txn.set_acl(set)).map(Response::SetAcl)
            }
            Request::Multi(multi) => self.multi(now, client, multi).map(Response::Multi),
            Request::Check(check) => {
                self.transact(now, client, |txn| txn.check(check))?;
                Ok(Response::Empty)
            }
            Request::Reconfig(_) => {
                let refusal = match self.config.reconfig_enabled {
                    true => ErrorCode::Unimplemented,
                    false => ErrorCode::ReconfigDisabled,
                };
                self.transact(now, client, |_| Err(refusal))
            }
            Request::CloseSession => {
                self.delete_session(now, session);
                Ok(Response::Empty)
            }
            Request::Sync(sync) => {
                let path = Ustring::from(sync.path).through_java();
                Ok(Response::Sync(SyncResponse { path }))
            }
            Request::Ping => Ok(Response::Empty),
            Request::MultiRead(multi) => {
                self.multi_read(connection, multi).map(Response::MultiRead)
            }
            _ => self.read(connection, session, request),
        }
    }

    fn create2(
        &mut self,
        now: Time,
        client: Option<(ConnectionId, SessionId)>,
        creation: &Creation<'_>,
    ) -> Result<Response, ErrorCode> {
        let (path, stat) = self.transact(now, client, |txn| txn.create(creation))?;
        let reply = Create2Response { path: path.into(), stat };
        Ok(match creation.op {
            OpCode::CreateContainer => Response::CreateContainer(reply),
            OpCode::CreateTtl => Response::CreateTtl(reply),
            _ => Response::Create2(reply),
        })
    }

    /// Whether the client has authenticated, if it must.
    fn may_request(&self, connection: ConnectionId) -> bool {
        let connection = self.connections.get(&connection);
        connection.is_some_and(|it| it.identities.satisfy(&self.config.enforced_schemes))
    }

    fn handle_auth(&mut self, connection: ConnectionId, xid: i32, packet: &AuthPacket<'_>) {
        let super_digest = self.config.super_digest.expose().clone();
        let mut refused = false;
        self.send_on(connection, |connection| {
            let credential = *packet.auth.expose();
            let result = connection.identities.authenticate(
                packet.scheme,
                credential,
                super_digest.as_deref(),
            );
            refused = result.is_err();
            connection.reply(xid, 0, &result.map(|()| Response::Empty));
        });
        if refused {
            self.close(connection);
        }
    }
}
