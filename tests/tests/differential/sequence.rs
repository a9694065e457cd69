//! The steps of the sequences that both servers run.

use bytes::{BufMut as _, BytesMut};
use zk_proto::{
    Acl, AddWatchMode, CreateMode, OpCode, Request, WatcherType,
    jute::{Encode as _, List, Secret},
    records::*,
};

/// The number of clients.
pub(crate) const CLIENTS: usize = 3;

/// One step of a sequence.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// The client sends a request and waits for the reply. It opens a session first, if it has none.
    Single(usize, RequestTemplate),
    /// The client's connection breaks.
    Cut(usize),
    /// The client resumes its session on a new connection, possibly with a wrong password.
    Resume { client: usize, right_password: bool },
    /// The client sends several requests at once, and then waits for all replies.
    Burst(usize, Vec<RequestTemplate>),
}

/// A path: below the root of the sequence, or absolute.
#[derive(Debug, Clone)]
pub(crate) enum Path {
    Below(&'static str),
    Whole(&'static str),
}

/// A request whose paths and zxids are relative to a [`SequenceScope`].
#[derive(Debug, Clone)]
pub(crate) enum RequestTemplate {
    Create(CreateTemplate),
    Delete(Path, i32),
    SetData(Path, Option<&'static [u8]>, i32),
    SetAcl(Path, Option<Vec<Acl>>, i32),
    Exists(Path, bool),
    GetData(Path, bool),
    GetAcl(Path),
    GetChildren(Path, bool),
    GetChildren2(Path, bool),
    GetAllChildrenNumber(Path),
    GetEphemerals(Path),
    /// `getEphemerals` with a null prefix.
    GetAllEphemerals,
    Sync(Path),
    AddWatch(Path, AddWatchMode),
    CheckWatches(Path, WatcherType),
    RemoveWatches(Path, WatcherType),
    SetWatches(WatchLists),
    SetWatches2(WatchLists, Vec<Path>, Vec<Path>),
    Multi(Vec<MultiPart>),
    MultiRead(Vec<MultiPart>),
    /// A multi or multiRead whose headers are not what ZooKeeper's clients write.
    OddMulti(OpCode, Vec<MultiPart>, Headers),
    Auth(&'static str, Option<&'static str>),
    WhoAmI,
    Ping,
    CloseSession,
    Reconfig(Reconfiguration),
    Sasl(Option<&'static [u8]>),
    /// The whole exchange of SASL tokens, as this user with this password.
    SaslLogin(&'static str, &'static str),
    /// An operation that does not exist.
    Unknown(i32),
    /// An operation whose record ends early.
    Truncated(OpCode),
}

/// A change of the members of an ensemble: some join or leave, or all are replaced.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reconfiguration {
    pub(crate) joining: Option<&'static str>,
    pub(crate) leaving: Option<&'static str>,
    pub(crate) members: Option<&'static str>,
    pub(crate) config_id: i64,
}

#[derive(Debug, Clone)]
pub(crate) struct CreateTemplate {
    pub(crate) op: OpCode,
    pub(crate) path: Path,
    pub(crate) data: Option<&'static [u8]>,
    pub(crate) acl: Option<Vec<Acl>>,
    pub(crate) flags: i32,
    pub(crate) ttl: i64,
}

/// One operation of a multi.
#[derive(Debug, Clone)]
pub(crate) enum MultiPart {
    Create(CreateTemplate),
    Delete(Path, i32),
    SetData(Path, Option<&'static [u8]>, i32),
    Check(Path, i32),
    GetData(Path, bool),
    GetChildren(Path, bool),
}

/// The headers of a multi, except for its operations.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Headers {
    /// The error in the header of each operation. Clients write -1.
    pub(crate) err: i32,
    /// The last header: its operation, the byte that marks it as the last one, and its error.
    pub(crate) end: (i32, u8, i32),
}

impl Headers {
    /// The body of a multi of `ops`.
    fn body<'a>(&self, ops: impl Iterator<Item = MultiOp<'a>>) -> BytesMut {
        let mut body = BytesMut::new();
        for op in ops {
            let start = body.len();
            op.encode(&mut body);
            let err = start + size_of::<i32>() + 1;
            body[err..err + size_of::<i32>()].copy_from_slice(&self.err.to_be_bytes());
        }
        let (op, done, err) = self.end;
        body.put_i32(op);
        body.put_u8(done);
        body.put_i32(err);
        body
    }
}

#[derive(Debug, Clone)]
pub(crate) struct WatchLists {
    /// Relative to the zxid at which the sequence began.
    pub(crate) zxid: i64,
    pub(crate) data: Vec<Path>,
    pub(crate) exist: Vec<Path>,
    pub(crate) child: Vec<Path>,
}

/// What the paths and zxids of a sequence are relative to, on one of the servers.
pub(crate) struct SequenceScope<'s> {
    /// The root node of the sequence.
    pub(crate) root: &'s str,
    /// The zxid at which it began.
    pub(crate) base: i64,
}

impl SequenceScope<'_> {
    fn path(&self, path: &Path) -> String {
        match path {
            Path::Below(rest) => format!("{}{rest}", self.root),
            Path::Whole(path) => (*path).to_owned(),
        }
    }

    fn paths(&self, paths: &[Path]) -> Vec<String> {
        paths.iter().map(|path| self.path(path)).collect()
    }
}

impl RequestTemplate {
    /// Calls `send` with the request, resolved for `scope`.
    pub(crate) fn with_request<T>(
        &self,
        scope: &SequenceScope<'_>,
        send: impl FnOnce(&Request<'_>) -> T,
    ) -> T {
        let path = self.path().map(|path| scope.path(path)).unwrap_or_default();
        let path = path.as_str();
        match self {
            Self::Create(creation) => send(&creation.request(path)),
            Self::Delete(_, version) => {
                send(&Request::Delete(DeleteRequest { path, version: *version }))
            }
            Self::SetData(_, data, version) => {
                send(&Request::SetData(SetDataRequest { path, data: *data, version: *version }))
            }
            Self::SetAcl(_, acl, version) => send(&Request::SetAcl(SetAclRequest {
                path,
                acl: acl.as_deref().map(Into::into),
                version: *version,
            })),
            Self::Exists(_, watch) => {
                send(&Request::Exists(ExistsRequest { path, watch: (*watch).into() }))
            }
            Self::GetData(_, watch) => {
                send(&Request::GetData(GetDataRequest { path, watch: (*watch).into() }))
            }
            Self::GetAcl(_) => send(&Request::GetAcl(GetAclRequest { path })),
            Self::GetChildren(_, watch) => {
                send(&Request::GetChildren(GetChildrenRequest { path, watch: (*watch).into() }))
            }
            Self::GetChildren2(_, watch) => {
                send(&Request::GetChildren2(GetChildrenRequest { path, watch: (*watch).into() }))
            }
            Self::GetAllChildrenNumber(_) => {
                send(&Request::GetAllChildrenNumber(GetAllChildrenNumberRequest { path }))
            }
            Self::GetEphemerals(_) => {
                send(&Request::GetEphemerals(GetEphemeralsRequest { prefix_path: Some(path) }))
            }
            Self::GetAllEphemerals => {
                send(&Request::GetEphemerals(GetEphemeralsRequest { prefix_path: None }))
            }
            Self::Sync(_) => send(&Request::Sync(SyncRequest { path })),
            Self::AddWatch(_, mode) => {
                send(&Request::AddWatch(AddWatchRequest { path, mode: *mode }))
            }
            Self::CheckWatches(_, kind) => {
                send(&Request::CheckWatches(CheckWatchesRequest { path, watcher_type: *kind }))
            }
            Self::RemoveWatches(_, kind) => {
                send(&Request::RemoveWatches(RemoveWatchesRequest { path, watcher_type: *kind }))
            }
            Self::SetWatches(lists) => {
                let [data, exist, child] = lists.with_request(scope);
                send(&Request::SetWatches(SetWatches {
                    relative_zxid: scope.base + lists.zxid,
                    data_watches: strs(&data),
                    exist_watches: strs(&exist),
                    child_watches: strs(&child),
                }))
            }
            Self::SetWatches2(lists, persistent, recursive) => {
                let [data, exist, child] = lists.with_request(scope);
                let [persistent, recursive] = [persistent, recursive].map(|p| scope.paths(p));
                send(&Request::SetWatches2(SetWatches2 {
                    relative_zxid: scope.base + lists.zxid,
                    data_watches: strs(&data),
                    exist_watches: strs(&exist),
                    child_watches: strs(&child),
                    persistent_watches: strs(&persistent),
                    persistent_recursive_watches: strs(&recursive),
                }))
            }
            Self::Multi(parts) => {
                let paths: Vec<_> = parts.iter().map(|part| scope.path(part.path())).collect();
                let ops = parts.iter().zip(&paths).map(|(part, path)| part.op(path)).collect();
                send(&Request::Multi(MultiRequest::new(ops)))
            }
            Self::MultiRead(parts) => {
                let paths: Vec<_> = parts.iter().map(|part| scope.path(part.path())).collect();
                let ops = parts.iter().zip(&paths).map(|(part, path)| part.op(path)).collect();
                send(&Request::MultiRead(MultiRequest::new(ops)))
            }
            Self::OddMulti(op, parts, headers) => {
                let paths: Vec<_> = parts.iter().map(|part| scope.path(part.path())).collect();
                let body = headers.body(parts.iter().zip(&paths).map(|(part, path)| part.op(path)));
                send(&Request::Unknown { op: *op, body: &body })
            }
            Self::Auth(scheme, proof) => send(&Request::Auth(AuthPacket {
                auth_type: 0,
                scheme,
                auth: Secret::new(proof.map(str::as_bytes)),
            })),
            Self::WhoAmI => send(&Request::WhoAmI),
            Self::Ping => send(&Request::Ping),
            Self::CloseSession => send(&Request::CloseSession),
            Self::Reconfig(change) => send(&Request::Reconfig(ReconfigRequest {
                joining_servers: change.joining,
                leaving_servers: change.leaving,
                new_members: change.members,
                cur_config_id: change.config_id,
            })),
            Self::Sasl(token) => send(&Request::Sasl(SaslRequest { token: Secret::new(*token) })),
            // The tokens depend on the server's: see `ServerUnderTest::log_in`.
            Self::SaslLogin(..) => {
                send(&Request::Sasl(SaslRequest { token: Secret::new(Some(b"")) }))
            }
            Self::Unknown(op) => {
                send(&Request::Unknown { op: OpCode::from_code(*op), body: b"whatever" })
            }
            Self::Truncated(op) => send(&Request::Unknown { op: *op, body: &[0, 0, 0] }),
        }
    }

    fn path(&self) -> Option<&Path> {
        match self {
            Self::Create(CreateTemplate { path, .. })
            | Self::Delete(path, _)
            | Self::SetData(path, ..)
            | Self::SetAcl(path, ..)
            | Self::Exists(path, _)
            | Self::GetData(path, _)
            | Self::GetAcl(path)
            | Self::GetChildren(path, _)
            | Self::GetChildren2(path, _)
            | Self::GetAllChildrenNumber(path)
            | Self::GetEphemerals(path)
            | Self::Sync(path)
            | Self::AddWatch(path, _)
            | Self::CheckWatches(path, _)
            | Self::RemoveWatches(path, _) => Some(path),
            _ => None,
        }
    }

    /// The xid of the reply.
    pub(crate) fn xid(&self, next: i32) -> i32 {
        match self {
            Self::Auth(..) => xid::AUTH,
            Self::SetWatches(_) | Self::SetWatches2(..) => xid::SET_WATCHES,
            Self::Ping => xid::PING,
            _ => next,
        }
    }
}

impl CreateTemplate {
    fn request<'a>(&'a self, path: &'a str) -> Request<'a> {
        match self.op {
            OpCode::CreateTtl => Request::CreateTtl(self.ttl_record(path)),
            OpCode::CreateContainer => Request::CreateContainer(self.record(path)),
            OpCode::Create2 => Request::Create2(self.record(path)),
            _ => Request::Create(self.record(path)),
        }
    }

    fn part<'a>(&'a self, path: &'a str) -> MultiOp<'a> {
        match self.op {
            OpCode::CreateTtl => MultiOp::CreateTtl(self.ttl_record(path)),
            OpCode::CreateContainer => MultiOp::CreateContainer(self.record(path)),
            OpCode::Create2 => MultiOp::Create2(self.record(path)),
            _ => MultiOp::Create(self.record(path)),
        }
    }

    fn record<'a>(&'a self, path: &'a str) -> CreateRequest<'a> {
        let flags = CreateMode::from_code(self.flags);
        CreateRequest { path, data: self.data, acl: self.acl.as_deref().map(Into::into), flags }
    }

    fn ttl_record<'a>(&'a self, path: &'a str) -> CreateTtlRequest<'a> {
        let CreateRequest { path, data, acl, flags } = self.record(path);
        CreateTtlRequest { path, data, acl, flags, ttl: self.ttl }
    }
}

impl MultiPart {
    fn path(&self) -> &Path {
        match self {
            Self::Create(CreateTemplate { path, .. })
            | Self::Delete(path, _)
            | Self::SetData(path, ..)
            | Self::Check(path, _)
            | Self::GetData(path, _)
            | Self::GetChildren(path, _) => path,
        }
    }

    fn op<'a>(&'a self, path: &'a str) -> MultiOp<'a> {
        match self {
            Self::Create(creation) => creation.part(path),
            Self::Delete(_, version) => MultiOp::Delete(DeleteRequest { path, version: *version }),
            Self::SetData(_, data, version) => {
                MultiOp::SetData(SetDataRequest { path, data: *data, version: *version })
            }
            Self::Check(_, version) => {
                MultiOp::Check(CheckVersionRequest { path, version: *version })
            }
            Self::GetData(_, watch) => {
                MultiOp::GetData(GetDataRequest { path, watch: (*watch).into() })
            }
            Self::GetChildren(_, watch) => {
                MultiOp::GetChildren(GetChildrenRequest { path, watch: (*watch).into() })
            }
        }
    }
}

impl WatchLists {
    fn with_request(&self, scope: &SequenceScope<'_>) -> [Vec<String>; 3] {
        [&self.data, &self.exist, &self.child].map(|paths| scope.paths(paths))
    }
}

fn strs(paths: &[String]) -> List<&str> {
    paths.iter().map(String::as_str).collect()
}
