//! The sequences of steps that both servers run, generated and shrunk by proptest.
//!
//! All values are drawn from small sets, so that steps interact: three clients, a dozen nodes, a few
//! identities, versions that often match.

use bytes::{BufMut as _, BytesMut};
use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, prop_oneof},
    sample::select,
};
use zk_proto::{
    Acl, AddWatchMode, CreateMode, OpCode, Perms, Request, Ustring, WatcherType,
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
    /// An operation that does not exist.
    Unknown(i32),
    /// An operation whose record ends early.
    Truncated(OpCode),
}

/// A change of the members of an ensemble: some join or leave, or all are replaced.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reconfiguration {
    joining: Option<&'static str>,
    leaving: Option<&'static str>,
    members: Option<&'static str>,
    config_id: i64,
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
    err: i32,
    /// The last header: its operation, the byte that marks it as the last one, and its error.
    end: (i32, u8, i32),
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

// ---- generators ----------------------------------------------------------------------------

/// Generates a sequence.
pub(crate) fn sequence() -> impl Strategy<Value = Vec<Step>> {
    vec(step(), 1..40)
}

fn step() -> impl Strategy<Value = Step> {
    let client = || 0..CLIENTS;
    prop_oneof![
        40 => (client(), request()).prop_map(|(client, request)| Step::Single(client, request)),
        1 => client().prop_map(Step::Cut),
        1 => (client(), select(vec![true, true, true, false]))
            .prop_map(|(client, right_password)| Step::Resume { client, right_password }),
        2 => (client(), vec(in_burst(), 2..5)).prop_map(|(client, requests)| Step::Burst(client, requests)),
    ]
}

fn request() -> impl Strategy<Value = RequestTemplate> {
    prop_oneof![
        30 => in_burst(),
        1 => (path(), acl(), version())
            .prop_map(|(path, acl, version)| RequestTemplate::SetAcl(path, acl, version)),
        1 => vec(odd_part(), 1..4).prop_map(RequestTemplate::Multi),
        2 => auth(),
        1 => Just(RequestTemplate::CloseSession),
        1 => unknown().prop_map(RequestTemplate::Unknown),
        1 => reconfiguration().prop_map(RequestTemplate::Reconfig),
        1 => select(vec![
            RequestTemplate::Sasl(Some(b"token")),
            RequestTemplate::Sasl(None),
            RequestTemplate::Truncated(OpCode::Auth),
            RequestTemplate::Truncated(OpCode::Sasl),
        ]),
    ]
}

/// Requests that can be part of a burst: they keep the connection open, are answered in order, and have the
/// same effect however soon the next request arrives. In ZooKeeper, a write right after a setACL or a failed
/// multi may be checked against an outdated or uncommitted state.
fn in_burst() -> impl Strategy<Value = RequestTemplate> {
    prop_oneof![
        14 => fitting().prop_map(RequestTemplate::Create),
        1 => odd().prop_map(RequestTemplate::Create),
        5 => (path(), version()).prop_map(|(path, version)| RequestTemplate::Delete(path, version)),
        5 => (path(), data(), version()).prop_map(|(p, data, version)| RequestTemplate::SetData(p, data, version)),
        4 => (path(), any::<bool>()).prop_map(|(path, watch)| RequestTemplate::Exists(path, watch)),
        4 => (path(), any::<bool>()).prop_map(|(path, watch)| RequestTemplate::GetData(path, watch)),
        3 => path().prop_map(RequestTemplate::GetAcl),
        3 => (path(), any::<bool>()).prop_map(|(path, watch)| RequestTemplate::GetChildren(path, watch)),
        3 => (path(), any::<bool>()).prop_map(|(path, watch)| RequestTemplate::GetChildren2(path, watch)),
        1 => path().prop_map(RequestTemplate::GetAllChildrenNumber),
        2 => path().prop_map(RequestTemplate::GetEphemerals),
        1 => Just(RequestTemplate::GetAllEphemerals),
        1 => path().prop_map(RequestTemplate::Sync),
        3 => (path(), select(vec![0, 0, 0, 1, 1, 1, 2, -1]))
            .prop_map(|(path, mode)| RequestTemplate::AddWatch(path, AddWatchMode::from_code(mode))),
        2 => (path(), watcher_type()).prop_map(|(path, kind)| RequestTemplate::CheckWatches(path, kind)),
        2 => (path(), watcher_type()).prop_map(|(path, kind)| RequestTemplate::RemoveWatches(path, kind)),
        1 => watch_lists().prop_map(RequestTemplate::SetWatches),
        1 => (watch_lists(), paths(), paths())
            .prop_map(|(lists, persistent, recursive)| RequestTemplate::SetWatches2(lists, persistent, recursive)),
        4 => vec(part(), 0..5).prop_map(RequestTemplate::Multi),
        2 => vec(read_part(), 0..4).prop_map(RequestTemplate::MultiRead),
        1 => vec(prop_oneof![part(), read_part()], 1..4).prop_map(RequestTemplate::Multi),
        1 => (read_part(), vec(prop_oneof![part(), read_part()], 0..3))
            .prop_map(|(first, rest)| RequestTemplate::MultiRead([vec![first], rest].concat())),
        1 => (vec(part(), 0..3), headers())
            .prop_map(|(parts, headers)| RequestTemplate::OddMulti(OpCode::Multi, parts, headers)),
        1 => (vec(read_part(), 0..3), headers())
            .prop_map(|(parts, headers)| RequestTemplate::OddMulti(OpCode::MultiRead, parts, headers)),
        1 => Just(RequestTemplate::WhoAmI),
        1 => Just(RequestTemplate::Ping),
        1 => truncated().prop_map(RequestTemplate::Truncated),
    ]
}

fn path() -> impl Strategy<Value = Path> {
    prop_oneof![
        12 => select(vec!["", "/a", "/b", "/a/b", "/a/c", "/a/b/c", "/e", "/e/x", "/a/0000000000"])
            .prop_map(Path::Below),
        1 => select(vec![
            "/", "//a", "/a/", "/./a", "/a/..", "/a/.", "/.a", "/...", "/a\0b", "/\u{1}", "/\u{7f}",
            "/\u{9f}", "/é", "/\u{f8ff}", "/\u{fff0}", "/ ", "/😀",
        ]).prop_map(Path::Below),
        1 => select(vec!["/", "", "x", "/zookeeper", "/zookeeper/config", "/zookeeper/quota", "/nope"])
            .prop_map(Path::Whole),
    ]
}

fn paths() -> impl Strategy<Value = Vec<Path>> {
    vec(path(), 0..3)
}

fn version() -> impl Strategy<Value = i32> {
    select(vec![-1, -1, -1, 0, 0, 1, 2, -2])
}

fn data() -> impl Strategy<Value = Option<&'static [u8]>> {
    select(vec![
        None,
        Some(b"".as_slice()),
        Some(b"some".as_slice()),
        Some(b"other data".as_slice()),
    ])
}

fn acl() -> impl Strategy<Value = Option<Vec<Acl>>> {
    let open = || vec![Acl::open_unsafe()];
    let ann = || Acl::new(Perms::ALL, "digest", "ann:7RJfAeIvrl4zdj6sS2fXrQHDvHM=");
    let all = |scheme: &'static str, id: &'static str| vec![Acl::new(Perms::ALL, scheme, id)];
    // kazoo writes an empty identity in this way.
    let null = |scheme: &'static str| Acl::new(Perms::ALL, scheme, Ustring::null());
    prop_oneof![
        10 => Just(Some(open())),
        4 => select(vec![
            Some(vec![Acl::creator_all()]),
            Some(vec![Acl::creator_all(), Acl::read_unsafe(), Acl::creator_all()]),
            Some(vec![null("auth")]),
            Some(vec![ann(), Acl::read_unsafe()]),
            Some(vec![ann()]),
            Some(vec![Acl::new(Perms::ALL, "digest", "ann 😀:x"), Acl::read_unsafe()]),
            Some(vec![Acl::new(Perms::ALL, "digest", surrogates()), Acl::read_unsafe()]),
            Some(vec![Acl::new(Perms::READ | Perms::CREATE, "world", "anyone")]),
            Some(vec![Acl::new(Perms::WRITE | Perms::DELETE, "world", "anyone")]),
            Some(vec![Acl::new(Perms::NONE, "world", "anyone")]),
            Some(all("ip", "127.0.0.1")),
            Some(all("ip", "127.0.0.0/8")),
            Some(all("ip", "10.0.0.0/8")),
        ]),
        1 => select(vec![
            None,
            Some(vec![]),
            Some(all("world", "someone")),
            Some(all("nope", "x")),
            Some(all("super", "")),
            Some(all("x509", "CN=x")),
            Some(all("sasl", "bob")),
            Some(all("digest", "ann")),
            Some(all("digest", "a:b:c")),
            Some(all("digest", "ann:x:")),
            Some(all("digest", "ann 😀")),
            Some(vec![null("auth")]),
            Some(vec![null("auth"), Acl::read_unsafe(), null("auth")]),
            Some(vec![null("world")]),
            Some(vec![Acl::open_unsafe(), null("world")]),
            Some(vec![null("digest")]),
            Some(vec![null("ip")]),
            Some(vec![null("nope")]),
            Some(vec![Acl::new(Perms::ALL, Ustring::null(), "anyone")]),
            Some(vec![Acl::open_unsafe(), Acl::new(Perms::ALL, Ustring::null(), Ustring::null())]),
            Some(vec![Acl::new(Perms::READ, "auth", ""), null("auth")]),
            Some(all("ip", "127.0.0")),
            Some(all("ip", "127.0.0.1/33")),
            Some(all("ip", "127.0.0.1/0")),
            Some(all("ip", "::1")),
            Some(all("ip", "0:0:0:0:0:0:0:1/64")),
            Some(all("ip", "::/129")),
            Some(all("ip", "1::2::3")),
        ]),
    ]
}

/// A digest as Java clients encode it.
fn surrogates() -> Ustring {
    Ustring::from("ann 😀:x").through_java()
}

/// A creation whose operation, flags and TTL belong together.
fn fitting() -> impl Strategy<Value = CreateTemplate> {
    creation(vec![
        (OpCode::Create, 0, -1),
        (OpCode::Create, 0, -1),
        (OpCode::Create, 1, -1),
        (OpCode::Create, 1, -1),
        (OpCode::Create, 2, -1),
        (OpCode::Create, 3, -1),
        (OpCode::Create2, 0, -1),
        (OpCode::Create2, 1, -1),
        (OpCode::Create2, 2, -1),
        (OpCode::CreateContainer, 4, -1),
        (OpCode::CreateTtl, 5, 3_600_000),
        (OpCode::CreateTtl, 6, 0xff_ffff_ffff),
    ])
}

/// A creation whose operation, flags and TTL do not belong together.
fn odd() -> impl Strategy<Value = CreateTemplate> {
    creation(vec![
        (OpCode::Create, 4, -1),
        (OpCode::Create2, 4, -1),
        (OpCode::Create, 5, -1),
        (OpCode::Create, 9, -1),
        (OpCode::CreateContainer, 0, -1),
        (OpCode::CreateContainer, 2, -1),
        (OpCode::CreateContainer, 6, -1),
        (OpCode::CreateTtl, 5, 0),
        (OpCode::CreateTtl, 5, -1),
        (OpCode::CreateTtl, 5, 0x100_0000_0000),
        (OpCode::CreateTtl, 0, 1000),
        (OpCode::CreateTtl, 1, 1000),
        (OpCode::CreateTtl, 4, 1000),
    ])
}

fn creation(kinds: Vec<(OpCode, i32, i64)>) -> impl Strategy<Value = CreateTemplate> {
    (select(kinds), path(), data(), acl()).prop_map(|((op, flags, ttl), path, data, acl)| {
        CreateTemplate { op, path, data, acl, flags, ttl }
    })
}

fn part() -> impl Strategy<Value = MultiPart> {
    prop_oneof![
        4 => fitting().prop_map(MultiPart::Create),
        2 => (path(), version()).prop_map(|(path, version)| MultiPart::Delete(path, version)),
        2 => (path(), data(), version()).prop_map(|(path, data, v)| MultiPart::SetData(path, data, v)),
        2 => (path(), version()).prop_map(|(path, version)| MultiPart::Check(path, version)),
    ]
}

fn odd_part() -> impl Strategy<Value = MultiPart> {
    prop_oneof![3 => part(), 1 => odd().prop_map(MultiPart::Create)]
}

fn read_part() -> impl Strategy<Value = MultiPart> {
    prop_oneof![
        (path(), any::<bool>()).prop_map(|(path, watch)| MultiPart::GetData(path, watch)),
        (path(), any::<bool>()).prop_map(|(path, watch)| MultiPart::GetChildren(path, watch)),
    ]
}

fn headers() -> impl Strategy<Value = Headers> {
    let ends = vec![(14, 1, 0), (-1, 2, -1), (-1, 0xff, -1), (1, 1, -1), (0, 1, 7), (99, 1, -1)];
    (select(vec![-1, 0, 7]), select(ends)).prop_map(|(err, end)| Headers { err, end })
}

fn watcher_type() -> impl Strategy<Value = WatcherType> {
    select(vec![1, 2, 3, 3, 3, 4, 5, 0, 6]).prop_map(WatcherType::from_code)
}

fn watch_lists() -> impl Strategy<Value = WatchLists> {
    (0..40_i64, paths(), paths(), paths()).prop_map(|(zxid, data, exist, child)| WatchLists {
        zxid,
        data,
        exist,
        child,
    })
}

fn auth() -> impl Strategy<Value = RequestTemplate> {
    select(vec![
        RequestTemplate::Auth("digest", Some("ann:secret")),
        RequestTemplate::Auth("digest", Some("ann:secret")),
        RequestTemplate::Auth("digest", Some("bob:secret")),
        RequestTemplate::Auth("digest", Some("ann 😀:secret")),
        RequestTemplate::Auth("digest", Some("nobody")),
        RequestTemplate::Auth("digest", Some("")),
        RequestTemplate::Auth("digest", None),
        RequestTemplate::Auth("digest", Some("super:test")),
        RequestTemplate::Auth("ip", Some("")),
        RequestTemplate::Auth("ip", None),
        RequestTemplate::Auth("nope", Some("x")),
        RequestTemplate::Auth("world", Some("anyone")),
        RequestTemplate::Auth("sasl", Some("bob")),
        RequestTemplate::Auth("x509", Some("CN=x")),
        RequestTemplate::Auth("super", Some("")),
        RequestTemplate::Auth("", Some("ann:secret")),
    ])
}

/// Codes that are no operation of a client.
fn unknown() -> impl Strategy<Value = i32> {
    select(vec![99, 23, 108, 1000, 10, -1, -2, i32::MAX, i32::MIN])
}

fn reconfiguration() -> impl Strategy<Value = Reconfiguration> {
    let member =
        || select(vec![None, Some(""), Some("server.2=127.0.0.1:1:2;3"), Some("nonsense")]);
    (member(), select(vec![None, Some("1"), Some("x")]), member(), select(vec![-1, 0, 7])).prop_map(
        |(joining, leaving, members, config_id)| Reconfiguration {
            joining,
            leaving,
            members,
            config_id,
        },
    )
}

fn truncated() -> impl Strategy<Value = OpCode> {
    select(vec![
        OpCode::Create,
        OpCode::CreateTtl,
        OpCode::Delete,
        OpCode::SetData,
        OpCode::SetAcl,
        OpCode::Multi,
        OpCode::MultiRead,
        OpCode::GetData,
        OpCode::GetAcl,
        OpCode::GetChildren2,
        OpCode::SetWatches,
        OpCode::SetWatches2,
        OpCode::AddWatch,
        OpCode::RemoveWatches,
        OpCode::GetEphemerals,
        OpCode::Sync,
        OpCode::Reconfig,
    ])
}
