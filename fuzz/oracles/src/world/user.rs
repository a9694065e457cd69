//! What a user does with a session.

use bytes::BytesMut;
use zk_proto::{
    Chroot, HostPort, Request,
    session::{Credential, Outcome, RequestId},
};

use super::{
    MAX_IN_FLIGHT, World,
    connection::Phase,
    ledger::{Arms, Call},
    predict::Expected,
};

/// A credential of the session.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) credential: Credential,
    /// The requests that wait for its acknowledgement.
    pub(super) waiters: Vec<u64>,
    /// Whether it has ever arrived at the server.
    pub(super) sent: bool,
}

impl Registered {
    pub(super) const fn new(credential: Credential) -> Self {
        Self { credential, waiters: Vec::new(), sent: false }
    }
}

impl World {
    pub(super) fn start(&mut self) {
        self.predict_attempt();
        self.phase = Phase::Down;
        self.session.start(self.now);
        self.process_outputs();
    }

    /// Returns true if the session accepts no more requests.
    pub(super) const fn is_over(&self) -> bool {
        match &self.phase {
            Phase::Established(established) => established.closing.is_some(),
            Phase::Ended => true,
            _ => false,
        }
    }

    pub(super) fn submit(&mut self, chroot: &Chroot, request: &Request<'_>, arms: Option<Arms>) {
        self.predict_silence();
        let submitted = self.session.submit(self.now, chroot, request, self.last_id + 1);
        self.drain_outputs();
        let room = self.ledger.waiting() < MAX_IN_FLIGHT;
        match submitted {
            Ok(RequestId(id)) => {
                assert!(!self.is_over() && room, "{request:?} is accepted");
                assert_eq!(id, self.last_id + 1);
                self.last_id = id;
                let mut body = BytesMut::new();
                request.encode_body_in_chroot(chroot, &mut String::new(), &mut body);
                self.ledger.calls.push_back(Call {
                    internal: false,
                    added: None,
                    id,
                    op: request.op(),
                    path: request.path().map(Into::into),
                    chroot: chroot.clone(),
                    body: body.freeze(),
                    arms,
                    wanted: true,
                    removes: match request {
                        Request::RemoveWatches(remove) => Some(remove.watcher_type),
                        _ => None,
                    },
                    submitted: self.now,
                    xid: None,
                });
            }
            Err(failure) => {
                assert!(self.is_over() || !room, "{failure}");
                assert_eq!(failure.outcome, Outcome::NotSent);
                assert_eq!(failure.path.as_deref(), request.path());
            }
        }
        self.process_outputs();
    }

    pub(super) fn unwatch(&mut self, id: u64) {
        self.ledger.unwatch(self.now, id);
        self.session.unwatch(self.now, RequestId(id));
        self.process_outputs();
    }

    pub(super) fn add_auth(&mut self, credential: Credential) {
        match self.session.add_auth(credential.clone(), self.last_id + 1) {
            Ok(RequestId(id)) => {
                assert!(!self.is_over(), "a credential is accepted");
                assert_eq!(id, self.last_id + 1);
                self.last_id = id;
                self.predict_credential(credential, id);
            }
            Err(failure) => {
                assert!(self.is_over(), "{failure}");
                assert_eq!(failure.outcome, Outcome::NotSent);
            }
        }
        self.process_outputs();
    }

    pub(super) fn close(&mut self) {
        let until = self.now.after(self.session.config().close_timeout);
        match &mut self.phase {
            Phase::Established(established) => {
                established.closing.get_or_insert(until);
            }
            Phase::Ended => {}
            Phase::Connecting { .. } => {
                self.predict(Expected::Disconnect);
                self.predict_end("closed");
            }
            _ => self.predict_end("closed"),
        }
        self.session.close(self.now);
        self.process_outputs();
    }

    pub(super) fn set_hosts(&mut self, ports: Vec<u16>) {
        let hosts = ports.iter().map(|port| HostPort::new("h", *port)).collect();
        let (listed, has_new) =
            if ports.is_empty() { (true, false) } else { self.route.replace(ports) };
        if has_new && matches!(self.phase, Phase::Waiting { .. }) {
            self.phase = Phase::Down;
            self.predict_connect();
        }
        let stays = match &self.phase {
            Phase::Connecting { .. } => listed,
            Phase::Established(established) => listed || established.closing.is_some(),
            _ => true,
        };
        if !stays {
            self.predict_loss(true);
        }
        self.session.set_hosts(self.now, hosts);
        self.process_outputs();
    }
}
