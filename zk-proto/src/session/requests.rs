//! The requests and credentials of callers: which ones are accepted.

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
    /// Queues a request. The paths of the request and of its reply are relative to `chroot`.
    ///
    /// The request is sent once there is a connection. Its result comes as
    /// [`Output::Completed`](super::Output::Completed) with `token`, in the order of requests. If the request
    /// arms a watch, each event of the watch comes with a clone of `token`.
    ///
    /// # Errors
    /// If an error is returned, the request is not queued and there is no output for it:
    /// - a path is not valid, or the request is larger than [`Config::max_request`](super::Config::max_request);
    /// - the queue has reached one of its limits;
    /// - the session was not started, has ended, or is being closed;
    /// - the operation is reserved for the session ([`OpCode::Auth`]: use [`add_auth`](Self::add_auth);
    ///   [`OpCode::CloseSession`]: use [`close`](Self::close); pings, setWatches, SASL), or servers answer it
    ///   only inside a multi ([`OpCode::Check`]).
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
        let mut change = watch_change(request);
        // The absolute path, of requests that change watches.
        let at = path.filter(|_| change.is_some()).map(|path| chroot.join(path).into_owned());
        let by_recursive = self.add_by_recursive(request, at.as_deref());
        if by_recursive.is_some() {
            change = Some(WatchChange::ArmedByRecursive);
        }
        let request = by_recursive.as_ref().unwrap_or(request);
        let submission = Submission {
            op: request.op(),
            change,
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
                if let (Some(at), Some(change)) = (at, change) {
                    self.restore_behind(now, change, &at);
                    if change.arms() {
                        self.watches.begin_arming(at, change.kind());
                    }
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

    /// Adds a credential for this connection and all later ones.
    ///
    /// The result comes as [`Output::Completed`](super::Output::Completed) with `token`. If the server refuses
    /// the credential, the session ends. A credential that was added before is not sent again; both calls get
    /// the same result.
    ///
    /// # Errors
    /// If the session has ended, or is being closed.
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
        if matches!(self.phase, Phase::Established(_)) && !self.is_draining() {
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

    /// Removes a credential from all later connections. Returns whether the session had it. The present
    /// connection keeps the credential, because the protocol has no way to remove it:
    /// [`reconnect`](Self::reconnect) makes the server forget it.
    ///
    /// Without a connection, calls that wait for the credential fail with
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

    /// Why the session accepts no more requests; `None` if it does.
    pub(super) fn closed_reason(&self) -> Option<Reason> {
        match &self.phase {
            Phase::Ended(reason) => Some(reason.clone()),
            Phase::Established(up) if up.closing.is_some() => Some(Reason::Closed),
            _ => None,
        }
    }

    /// The limit that the queue has reached.
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
        // Servers do not answer a successful check outside of a multi.
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

/// The version that a request expects; `None` if it expects none.
fn expected_version(request: &Request<'_>) -> Option<i32> {
    let version = match request {
        Request::Delete(delete) => delete.version,
        Request::SetData(set) => set.version,
        Request::SetAcl(set) => set.version,
        _ => return None,
    };
    (version != -1).then_some(version)
}

/// What a successful reply to a request means for the watches of its path.
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
