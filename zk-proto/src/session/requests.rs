//! What is taken from a user to be sent, and what is not.

use alloc::{boxed::Box, vec};

use bytes::BytesMut;

use crate::{
    AddWatchMode, Chroot, OpCode, Request, Response, Time,
    jute::{Encode, Secret},
    records::{AuthPacket, xid},
};

use super::{
    Caller, Credential, Failure, Outcome, Phase, QueueLimit, Reason, Registered, Reply, RequestId,
    Session, WatchKind,
    request_queue::{Submission, WatchChange},
};

impl<T: Clone> Session<T> {
    /// Queues a request. `request` has paths below `chroot`; the answer's are below it again.
    ///
    /// While the session is suspended the request waits for the next connection. Its end comes as
    /// [`Output::Completed`](super::Output::Completed) with `token`, in the order of requests. The events of a watch that the
    /// request arms come with a clone of it.
    ///
    /// # Errors
    /// When it cannot be queued, so that there will be no such output: a bad path, a packet over the
    /// server's limit, too many requests or bytes of them waiting, a session that has ended, or an operation that
    /// the session does by itself ([`OpCode::Auth`]: see [`add_auth`](Self::add_auth);
    /// [`OpCode::CloseSession`]: see [`close`](Self::close); pings, setWatches, SASL), or that the
    /// server answers only inside a multi ([`OpCode::Check`]).
    pub fn submit(
        &mut self,
        now: Time,
        chroot: &Chroot,
        request: &Request<'_>,
        token: T,
    ) -> Result<RequestId, Box<Failure>> {
        self.drop_if_dead(now);
        if let Err(reason) = self.admit(request) {
            return Err(self.failure(
                reason,
                Outcome::NotSent,
                request.op(),
                request.path().map(Into::into),
            ));
        }
        let id = RequestId(self.last_id.saturating_add(1));
        let path = request.path();
        let submission = Submission {
            op: request.op(),
            change: watch_change(request),
            version: expected_version(request),
            path,
            chroot,
        };
        let limit = self.config.max_request;
        let caller = Some(Caller { id, token });
        let submitted = if chroot.is_root() {
            self.queue.submit(now, limit, caller, &submission, |out| request.encode_body(out))
        } else {
            let scratch = &mut self.scratch;
            self.queue.submit(now, limit, caller, &submission, |out| {
                request.encode_body_in_chroot(chroot, scratch, out);
            })
        };
        match submitted {
            Ok(()) => {
                self.last_id = id.0;
                self.note_request(now);
                if let (Some(path), true) = (path, submission.change.is_some_and(WatchChange::arms))
                {
                    self.watches.begin_arming(chroot.join(path).into_owned());
                }
                Ok(id)
            }
            Err(length) => Err(self.failure(
                Reason::RequestTooLarge { length, limit },
                Outcome::NotSent,
                request.op(),
                request.path().map(Into::into),
            )),
        }
    }

    /// Adds a credential, for this connection and all later ones. The reply comes as
    /// [`Output::Completed`](super::Output::Completed) with `token`; a refusal ends the session. One that is there
    /// already is not sent again: both share the server's answer.
    ///
    /// # Errors
    /// When the session has ended, or is being closed.
    pub fn add_auth(
        &mut self,
        credential: Credential,
        token: T,
    ) -> Result<RequestId, Box<Failure>> {
        if let Some(reason) = self.closed_reason() {
            return Err(self.failure(reason, Outcome::NotSent, OpCode::Auth, None));
        }
        let id = RequestId(self.last_id.saturating_add(1));
        self.last_id = id.0;
        self.end_hold_back();
        let caller = Caller { id, token };
        if let Some(at) = self.position(&credential) {
            self.add_auth_again(at, caller);
            return Ok(id);
        }
        if matches!(self.phase, Phase::Established(_)) {
            let body = |out: &mut BytesMut| auth_packet(&credential).encode(out);
            self.queue.special(xid::AUTH, OpCode::Auth, body);
        }
        self.credentials.push(Registered { waiters: vec![caller], ..Registered::new(credential) });
        Ok(id)
    }

    fn position(&self, credential: &Credential) -> Option<usize> {
        self.credentials.iter().position(|registered| registered.credential == *credential)
    }

    fn add_auth_again(&mut self, at: usize, caller: Caller<T>) {
        let acked = match &self.phase {
            Phase::Established(up) => up.credentials_acked,
            _ => 0,
        };
        let Some(registered) = self.credentials.get_mut(at) else { return };
        registered.removed = false;
        if at < acked {
            let reply = Reply { zxid: self.identity.last_zxid, response: Response::Empty };
            self.complete(caller, Ok(reply));
        } else {
            registered.waiters.push(caller);
        }
    }

    /// Removes a credential, and says whether it was there: later connections are made without it. The
    /// present one keeps what it was given, as the protocol has no way to take it back.
    ///
    /// Without a connection, whoever waits for its reply gets
    /// [`CredentialRemoved`](Reason::CredentialRemoved).
    pub fn remove_auth(&mut self, credential: &Credential) -> bool {
        let Some(at) = self.position(credential) else { return false };
        if !matches!(self.phase, Phase::Established(_)) {
            let mut registered = self.credentials.remove(at);
            self.fail_waiters(&mut registered, &Reason::CredentialRemoved);
            return true;
        }
        let registered = self.credentials.get_mut(at);
        registered.is_some_and(|registered| !core::mem::replace(&mut registered.removed, true))
    }

    /// Why nothing more is taken from a user.
    pub(super) fn closed_reason(&self) -> Option<Reason> {
        match &self.phase {
            Phase::Ended(reason) => Some(reason.clone()),
            Phase::Established(up) if up.closing.is_some() => Some(Reason::Closed),
            _ => None,
        }
    }

    /// The limit that what waits has reached.
    fn reached_limit(&self) -> Option<QueueLimit> {
        if self.in_flight() >= self.config.max_in_flight {
            Some(QueueLimit::Requests(self.config.max_in_flight))
        } else if self.queue.bytes() >= self.config.max_queued_bytes {
            Some(QueueLimit::Bytes(self.config.max_queued_bytes))
        } else {
            None
        }
    }

    fn admit(&self, request: &Request<'_>) -> Result<(), Reason> {
        if let Some(reason) = self.closed_reason() {
            return Err(reason);
        }
        if matches!(self.phase, Phase::Idle) {
            return Err(Reason::NotStarted);
        }
        if let Some(limit) = self.reached_limit() {
            return Err(Reason::QueueFull { limit });
        }
        // A check that holds gets no answer outside of a multi.
        if matches!(
            request.op(),
            OpCode::Auth
                | OpCode::Check
                | OpCode::Ping
                | OpCode::SetWatches
                | OpCode::SetWatches2
                | OpCode::CloseSession
                | OpCode::CreateSession
                | OpCode::Sasl
        ) {
            return Err(Reason::Reserved);
        }
        request.validate_paths().map_err(Reason::InvalidPath)
    }
}

pub(super) fn auth_packet(credential: &Credential) -> AuthPacket<'_> {
    AuthPacket {
        auth_type: 0,
        scheme: &credential.scheme,
        auth: Secret::new(Some(credential.auth.expose())),
    }
}

/// The version that a request expects, if it is not any.
fn expected_version(request: &Request<'_>) -> Option<i32> {
    let version = match request {
        Request::Delete(delete) => delete.version,
        Request::SetData(set) => set.version,
        Request::SetAcl(set) => set.version,
        _ => return None,
    };
    (version != -1).then_some(version)
}

/// What a request, if it succeeds, means for the watches of its path.
fn watch_change(request: &Request<'_>) -> Option<WatchChange> {
    Some(match request {
        Request::Exists(exists) if exists.watch.get() => WatchChange::ArmedByExists,
        Request::GetData(get) if get.watch.get() => WatchChange::Armed(WatchKind::Data),
        Request::GetChildren(get) | Request::GetChildren2(get) if get.watch.get() => {
            WatchChange::Armed(WatchKind::Child)
        }
        Request::AddWatch(add) => WatchChange::Armed(match add.mode {
            AddWatchMode::PersistentRecursive => WatchKind::PersistentRecursive,
            _ => WatchKind::Persistent,
        }),
        Request::RemoveWatches(remove) => WatchChange::Removed(remove.watcher_type),
        _ => return None,
    })
}
