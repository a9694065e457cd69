//! A small honest server: one tree of znodes, sessions, and the watches of one connection. It handles the requests of
//! [`ops`](super::ops) as ZooKeeper does.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use zk_proto::{
    AddWatchMode, CreateMode, ErrorCode, EventType, KeeperState, OpCode, Request, Response, Time,
    Ustring, WatcherType,
    frame::write_frame,
    jute::{Decode, Encode, Reader, Secret},
    path::{name, parent},
    records::*,
};

use super::watch_kind::WatchKind;

/// A frame in flight to the client.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) what: Content,
    /// The bytes, including the length prefix.
    pub(super) bytes: Bytes,
    /// When the client sent the packet that this answers.
    pub(super) answers: Option<Time>,
}

#[derive(Debug)]
pub(super) enum Content {
    Handshake { timeout: Duration, read_only: bool },
    Expired,
    PingReply,
    AuthReply { accepted: bool },
    SetWatchesReply,
    Reply { header: ReplyHeader, response: Response },
    CloseReply,
    Event { kind: EventType, path: String },
}

#[derive(Debug, Default)]
struct Node {
    data: Vec<u8>,
    stat: Stat,
    /// The next sequence number.
    counter: i32,
}

#[derive(Debug)]
struct SessionEntry {
    timeout: Duration,
    password: Bytes,
    heard: Time,
}

/// What the server knows of the connection.
#[derive(Debug)]
struct Connection {
    session: i64,
    read_only: bool,
    data: BTreeSet<String>,
    child: BTreeSet<String>,
    persistent: BTreeMap<String, AddWatchMode>,
}

#[derive(Debug)]
pub(super) struct Server {
    nodes: BTreeMap<String, Node>,
    sessions: BTreeMap<i64, SessionEntry>,
    connection: Option<Connection>,
    /// Whether it has a quorum and accepts writes.
    pub(super) quorum: bool,
    /// The longest session timeout that it grants.
    max_timeout: Duration,
    zxid: i64,
    last_session: i64,
}

type CallResult = Result<Response, ErrorCode>;

impl Server {
    pub(super) fn new(max_timeout: Duration) -> Self {
        Self {
            nodes: BTreeMap::from([("/".into(), Node::default()), ("/a".into(), Node::default())]),
            sessions: BTreeMap::new(),
            connection: None,
            quorum: true,
            max_timeout,
            zxid: 0,
            last_session: 0,
        }
    }

    pub(super) const fn zxid(&self) -> i64 {
        self.zxid
    }

    /// The connection and its watches are gone.
    pub(super) fn hang_up(&mut self) {
        self.connection = None;
    }

    /// Bytes of the session have arrived.
    pub(super) fn session_active(&mut self, now: Time) {
        let Some(connection) = &self.connection else { return };
        if let Some(session) = self.sessions.get_mut(&connection.session) {
            session.heard = now;
        }
    }

    /// Returns true if the server has the watch.
    pub(super) fn has_watch(&self, kind: WatchKind, path: &str) -> bool {
        self.connection.as_ref().is_some_and(|connection| match kind {
            WatchKind::Child => connection.child.contains(path),
            WatchKind::Data | WatchKind::Exist => connection.data.contains(path),
            // A recursive one serves both.
            WatchKind::Persistent => connection.persistent.contains_key(path),
            WatchKind::PersistentRecursive => {
                connection.persistent.get(path) == Some(&AddWatchMode::PersistentRecursive)
            }
        })
    }

    /// All watches of the connection; `Any` for a path with persistent watches, which keep the others.
    pub(super) fn watches(&self) -> Vec<(WatcherType, String)> {
        let Some(connection) = &self.connection else { return Vec::new() };
        let lasts = |path: &String| connection.persistent.contains_key(path);
        let of = |paths: &BTreeSet<String>, kind| {
            paths.iter().filter(|path| !lasts(path)).map(move |path| (kind, path.clone())).collect()
        };
        let mut watches: Vec<_> = of(&connection.data, WatcherType::Data);
        watches.extend::<Vec<_>>(of(&connection.child, WatcherType::Children));
        watches.extend(connection.persistent.keys().map(|path| (WatcherType::Any, path.clone())));
        watches
    }

    /// Expires the sessions that timed out, or all of them. Returns true if the session of the connection is one of
    /// them.
    pub(super) fn expire(&mut self, now: Time, all: bool) -> bool {
        let silent = |session: &SessionEntry| now.since(session.heard) >= session.timeout;
        let over: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, session)| all || silent(session))
            .map(|(id, _)| *id)
            .collect();
        for id in &over {
            self.end(*id, &mut Vec::new());
        }
        let present = self.connection.as_ref().map(|connection| connection.session);
        present.is_some_and(|present| over.contains(&present))
    }

    fn end(&mut self, id: i64, out: &mut Vec<Sent>) {
        self.sessions.remove(&id);
        let owned = self.nodes.iter().filter(|(_, node)| node.stat.ephemeral_owner == id);
        let owned: Vec<_> = owned.map(|(path, _)| path.clone()).collect();
        for path in owned {
            let _ = self.delete(&path, -1, out);
        }
    }

    // ---- other clients ----------------------------------------------------------------------------

    /// Another client makes, changes or deletes a node.
    pub(super) fn change(&mut self, path: &str, how: u8, out: &mut Vec<Sent>) {
        let _ = match how % 3 {
            0 => self.create(path, b"", CreateMode::Persistent, 0, out).map(drop),
            1 => self.set(path, b"other", -1, out).map(drop),
            _ => self.delete(path, -1, out).map(drop),
        };
    }

    // ---- requests of the client -------------------------------------------------------------------

    /// Answers the client's first packet. `None` means that the server closes the connection.
    pub(super) fn handshake(
        &mut self,
        now: Time,
        at: Time,
        connect: &ConnectRequest<'_>,
    ) -> Option<Sent> {
        let ahead = connect.last_zxid_seen > self.zxid;
        if ahead || (!self.quorum && !connect.is_read_only()) {
            return None;
        }
        let id = match connect.session_id {
            0 => {
                self.last_session += 1;
                let timeout = Duration::from_millis(connect.timeout.unsigned_abs().into());
                let timeout = timeout.min(self.max_timeout);
                let password = Bytes::from([self.last_session as u8; 16].to_vec());
                let session = SessionEntry { timeout, password, heard: now };
                self.sessions.insert(self.last_session, session);
                self.last_session
            }
            id => id,
        };
        let known = self.sessions.get_mut(&id).filter(|session| {
            connect.session_id == 0 || *connect.password.expose() == Some(&session.password[..])
        });
        let (what, timeout, id, password) = match known {
            None => (Content::Expired, Duration::ZERO, 0, Bytes::from_static(&[0; 16])),
            Some(session) => {
                session.heard = now;
                let (timeout, read_only) = (session.timeout, !self.quorum);
                (Content::Handshake { timeout, read_only }, timeout, id, session.password.clone())
            }
        };
        if let Content::Handshake { read_only, .. } = what {
            self.connection = Some(Connection {
                session: id,
                read_only,
                data: BTreeSet::new(),
                child: BTreeSet::new(),
                persistent: BTreeMap::new(),
            });
        }
        let response = ConnectResponse {
            protocol_version: 0,
            timeout: timeout.as_millis() as i32,
            session_id: id,
            password: Secret::new(Some(password)),
            read_only: Some((!self.quorum).into()),
        };
        let bytes = framed(|out| response.encode(out));
        Some(Sent { what, bytes, answers: Some(at) })
    }

    /// Appends the answer to a packet that was sent at `at`, and the events that it causes, to `out`.
    pub(super) fn answer(&mut self, at: Time, packet: &Bytes, out: &mut Vec<Sent>) {
        let mut input = Reader::new(packet);
        let header = RequestHeader::decode(&mut input).expect("a header");
        let request = Request::decode(header.op, &mut input).expect("a request");
        let (what, err, response) = match &request {
            Request::Ping => (Some(Content::PingReply), ErrorCode::Ok, Response::Empty),
            Request::Auth(auth) => {
                let accepted = auth.scheme == "digest";
                let err = if accepted { ErrorCode::Ok } else { ErrorCode::AuthFailed };
                (Some(Content::AuthReply { accepted }), err, Response::Empty)
            }
            Request::SetWatches(_) | Request::SetWatches2(_) => {
                self.rearm(&request, out);
                (Some(Content::SetWatchesReply), ErrorCode::Ok, Response::Empty)
            }
            Request::CloseSession => {
                let session = self.connection.as_ref().map_or(0, |connection| connection.session);
                self.zxid += 1;
                self.end(session, out);
                (Some(Content::CloseReply), ErrorCode::Ok, Response::Empty)
            }
            request => match self.call(request, out) {
                Ok(response) => (None, ErrorCode::Ok, response),
                Err(err) => (None, err, Response::Empty),
            },
        };
        let header = ReplyHeader { xid: header.xid, zxid: self.zxid, err };
        let bytes = framed(|out| response.encode(&header, out));
        let what = what.unwrap_or(Content::Reply { header, response });
        out.push(Sent { what, bytes, answers: Some(at) });
    }

    fn call(&mut self, request: &Request<'_>, out: &mut Vec<Sent>) -> CallResult {
        let connection = self.connection.as_ref().ok_or(ErrorCode::SessionExpired)?;
        let (owner, read_only) = (connection.session, connection.read_only);
        if read_only && !is_read(request.op()) {
            return Err(ErrorCode::NotReadOnly);
        }
        match request {
            Request::Create(create) => {
                let data = create.data.unwrap_or_default();
                let path = self.create(create.path, data, create.flags, owner, out)?;
                Ok(Response::Create(CreateResponse { path: path.into() }))
            }
            Request::Delete(delete) => {
                self.delete(delete.path, delete.version, out).map(|()| Response::Empty)
            }
            Request::SetData(set) => {
                let data = set.data.unwrap_or_default();
                self.set(set.path, data, set.version, out).map(Response::SetData)
            }
            Request::Exists(exists) => {
                self.watch(exists.watch.get(), WatchKind::Data, exists.path);
                self.stat(exists.path).map(Response::Exists)
            }
            Request::GetData(get) => {
                let stat = self.stat(get.path)?;
                self.watch(get.watch.get(), WatchKind::Data, get.path);
                let data = Some(Bytes::copy_from_slice(&self.nodes[get.path].data));
                Ok(Response::GetData(GetDataResponse { data, stat }))
            }
            Request::GetChildren(get) => {
                self.stat(get.path)?;
                self.watch(get.watch.get(), WatchKind::Child, get.path);
                let children = self.children(get.path);
                Ok(Response::GetChildren(GetChildrenResponse { children: children.into() }))
            }
            Request::Sync(sync) => Ok(Response::Sync(SyncResponse { path: sync.path.into() })),
            Request::AddWatch(add) => {
                if let Some(connection) = &mut self.connection {
                    connection.persistent.insert(add.path.into(), add.mode);
                }
                Ok(Response::AddWatch(ErrorResponse { err: ErrorCode::Ok }))
            }
            Request::RemoveWatches(remove) => {
                self.unwatch(remove.path, remove.watcher_type).map(|()| Response::Empty)
            }
            Request::Multi(multi) => Ok(Response::Multi(self.multi(multi, owner, out))),
            request => panic!("{request:?} was not submitted"),
        }
    }

    /// Applies all operations or none: every operation is checked before the first one is applied.
    fn multi(
        &mut self,
        multi: &MultiRequest<'_>,
        owner: i64,
        out: &mut Vec<Sent>,
    ) -> MultiResponse {
        for (at, op) in multi.ops.iter().enumerate() {
            let Err(err) = self.check(op) else { continue };
            let results = (0..multi.ops.len()).map(|n| match n.cmp(&at) {
                std::cmp::Ordering::Less => MultiResult::Error(ErrorCode::Ok),
                std::cmp::Ordering::Equal => MultiResult::Error(err),
                std::cmp::Ordering::Greater => MultiResult::Error(ErrorCode::RuntimeInconsistency),
            });
            return MultiResponse::new(results.collect());
        }
        let results = multi.ops.iter().map(|op| match op {
            MultiOp::SetData(set) => {
                let data = set.data.unwrap_or_default();
                let stat = self.set(set.path, data, set.version, out);
                stat.map_or_else(MultiResult::Error, MultiResult::SetData)
            }
            MultiOp::Create(create) => {
                let data = create.data.unwrap_or_default();
                let path = self.create(create.path, data, create.flags, owner, out);
                path.map_or_else(MultiResult::Error, |path| {
                    MultiResult::Create(CreateResponse { path: path.into() })
                })
            }
            _ => MultiResult::Check,
        });
        MultiResponse::new(results.collect())
    }

    /// Checks whether an operation of a multi can be applied.
    fn check(&self, op: &MultiOp<'_>) -> Result<(), ErrorCode> {
        match op {
            MultiOp::Check(check) => self.versioned(check.path, check.version),
            MultiOp::SetData(set) => self.versioned(set.path, set.version),
            MultiOp::Create(create) => self.creatable(create.path),
            op => panic!("{op:?} was not submitted"),
        }
    }

    fn stat(&self, path: &str) -> Result<Stat, ErrorCode> {
        self.nodes.get(path).map(|node| node.stat).ok_or(ErrorCode::NoNode)
    }

    fn versioned(&self, path: &str, version: i32) -> Result<(), ErrorCode> {
        match self.stat(path)?.version {
            found if version == -1 || version == found => Ok(()),
            _ => Err(ErrorCode::BadVersion),
        }
    }

    fn creatable(&self, path: &str) -> Result<(), ErrorCode> {
        let above = self.stat(parent(path).ok_or(ErrorCode::NodeExists)?)?;
        match self.nodes.contains_key(path) {
            true => Err(ErrorCode::NodeExists),
            false if above.is_ephemeral() => Err(ErrorCode::NoChildrenForEphemerals),
            false => Ok(()),
        }
    }

    fn children(&self, path: &str) -> Vec<Ustring> {
        let below = self.nodes.keys().filter(|node| parent(node) == Some(path));
        below.map(|node| name(node).into()).collect()
    }

    fn create(
        &mut self,
        path: &str,
        data: &[u8],
        mode: CreateMode,
        owner: i64,
        out: &mut Vec<Sent>,
    ) -> Result<String, ErrorCode> {
        let above = parent(path).ok_or(ErrorCode::NodeExists)?;
        let counter = self.nodes.get(above).ok_or(ErrorCode::NoNode)?.counter;
        let numbered = format!("{path}{counter:010}");
        let path = if mode.is_sequential() { numbered } else { path.to_owned() };
        self.creatable(&path)?;
        self.zxid += 1;
        let mut node = Node { data: data.into(), ..Node::default() };
        node.stat.czxid = self.zxid;
        node.stat.mzxid = self.zxid;
        node.stat.pzxid = self.zxid;
        node.stat.data_length = data.len() as i32;
        node.stat.ephemeral_owner = if mode.is_ephemeral() { owner } else { 0 };
        self.nodes.insert(path.clone(), node);
        self.touch_parent(&path, 1);
        self.fire_watches(EventType::NodeCreated, &path, out);
        self.fire_watches(EventType::NodeChildrenChanged, parent(&path).unwrap_or("/"), out);
        Ok(path)
    }

    fn touch_parent(&mut self, path: &str, more: i32) {
        let zxid = self.zxid;
        let Some(above) = parent(path).and_then(|above| self.nodes.get_mut(above)) else { return };
        above.counter += i32::from(more > 0);
        above.stat.cversion += 1;
        above.stat.pzxid = zxid;
        above.stat.num_children += more;
    }

    fn delete(&mut self, path: &str, version: i32, out: &mut Vec<Sent>) -> Result<(), ErrorCode> {
        if path == "/" {
            return Err(ErrorCode::BadArguments);
        }
        self.versioned(path, version)?;
        if !self.children(path).is_empty() {
            return Err(ErrorCode::NotEmpty);
        }
        self.zxid += 1;
        self.nodes.remove(path);
        self.touch_parent(path, -1);
        self.fire_watches(EventType::NodeDeleted, path, out);
        self.fire_watches(EventType::NodeChildrenChanged, parent(path).unwrap_or("/"), out);
        Ok(())
    }

    fn set(
        &mut self,
        path: &str,
        data: &[u8],
        version: i32,
        out: &mut Vec<Sent>,
    ) -> Result<Stat, ErrorCode> {
        self.versioned(path, version)?;
        self.zxid += 1;
        let node = self.nodes.get_mut(path).ok_or(ErrorCode::NoNode)?;
        node.data = data.into();
        node.stat.version += 1;
        node.stat.mzxid = self.zxid;
        node.stat.data_length = data.len() as i32;
        let stat = node.stat;
        self.fire_watches(EventType::NodeDataChanged, path, out);
        Ok(stat)
    }

    // ---- watches ----------------------------------------------------------------------------------

    fn watch(&mut self, wanted: bool, kind: WatchKind, path: &str) {
        let Some(connection) = self.connection.as_mut().filter(|_| wanted) else { return };
        // Before ZooKeeper 3.9, a read with a watch ends a persistent watch.
        connection.persistent.remove(path);
        match kind {
            WatchKind::Child => connection.child.insert(path.into()),
            _ => connection.data.insert(path.into()),
        };
    }

    fn unwatch(&mut self, path: &str, kind: WatcherType) -> Result<(), ErrorCode> {
        let connection = self.connection.as_mut().ok_or(ErrorCode::SessionExpired)?;
        if !matches!(kind, WatcherType::Any | WatcherType::Data | WatcherType::Children) {
            return Err(ErrorCode::MarshallingError);
        }
        let any = kind == WatcherType::Any;
        let mut found = connection.persistent.remove(path).is_some();
        if any || kind == WatcherType::Data {
            found |= connection.data.remove(path);
        }
        if any || kind == WatcherType::Children {
            found |= connection.child.remove(path);
        }
        if found { Ok(()) } else { Err(ErrorCode::NoWatcher) }
    }

    /// Sends an event once if the connection has any watch for it, and removes the one-shot watches.
    fn fire_watches(&mut self, kind: EventType, path: &str, out: &mut Vec<Sent>) {
        let Some(connection) = &mut self.connection else { return };
        if kind == EventType::NodeChildrenChanged
            && connection.persistent.get(path) == Some(&AddWatchMode::PersistentRecursive)
        {
            // It is in place of a child watch, too.
            connection.child.remove(path);
            return;
        }
        let on_data = kind != EventType::NodeChildrenChanged && connection.data.remove(path);
        let on_children = matches!(kind, EventType::NodeChildrenChanged | EventType::NodeDeleted)
            && connection.child.remove(path);
        let above = std::iter::successors(Some(path), |at| parent(at)).any(|at| {
            match connection.persistent.get(at) {
                Some(AddWatchMode::PersistentRecursive) => kind != EventType::NodeChildrenChanged,
                Some(_) => at == path,
                None => false,
            }
        });
        if on_data || on_children || above {
            out.push(event(kind, path));
        }
    }

    /// Re-arms watches, and sends the events that the client has missed.
    fn rearm(&mut self, request: &Request<'_>, out: &mut Vec<Sent>) {
        let nothing: &[&str] = &[];
        let (since, data, exist, child, persistent) = match request {
            Request::SetWatches(set) => (
                set.relative_zxid,
                &set.data_watches[..],
                &set.exist_watches[..],
                &set.child_watches[..],
                [nothing, nothing],
            ),
            Request::SetWatches2(set) => (
                set.relative_zxid,
                &set.data_watches[..],
                &set.exist_watches[..],
                &set.child_watches[..],
                [&set.persistent_watches[..], &set.persistent_recursive_watches[..]],
            ),
            _ => return,
        };
        for path in data {
            match self.stat(path) {
                Err(_) => out.push(event(EventType::NodeDeleted, path)),
                Ok(stat) if stat.mzxid > since => {
                    out.push(event(EventType::NodeDataChanged, path));
                }
                Ok(_) => self.watch(true, WatchKind::Data, path),
            }
        }
        for path in exist {
            match self.stat(path) {
                Ok(_) => out.push(event(EventType::NodeCreated, path)),
                Err(_) => self.watch(true, WatchKind::Data, path),
            }
        }
        for path in child {
            match self.stat(path) {
                Err(_) => out.push(event(EventType::NodeDeleted, path)),
                Ok(stat) if stat.pzxid > since => {
                    out.push(event(EventType::NodeChildrenChanged, path));
                }
                Ok(_) => self.watch(true, WatchKind::Child, path),
            }
        }
        let Some(connection) = &mut self.connection else { return };
        let modes = [AddWatchMode::Persistent, AddWatchMode::PersistentRecursive];
        for (paths, mode) in persistent.into_iter().zip(modes) {
            connection.persistent.extend(paths.iter().map(|path| ((*path).to_owned(), mode)));
        }
    }
}

const fn is_read(op: OpCode) -> bool {
    !matches!(op, OpCode::Create | OpCode::Delete | OpCode::SetData | OpCode::Multi | OpCode::Sync)
}

fn framed(encode: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::new();
    write_frame(&mut out, encode);
    out.freeze()
}

/// An event as servers before 3.9 send it.
pub(super) fn event(kind: EventType, path: &str) -> Sent {
    let header = ReplyHeader { xid: xid::NOTIFICATION, zxid: -1, err: ErrorCode::Ok };
    let record = WatcherEvent { kind, state: KeeperState::SyncConnected, path: path.into() };
    let bytes = framed(|out| {
        header.encode(out);
        record.encode(out);
    });
    Sent { what: Content::Event { kind, path: path.to_owned() }, bytes, answers: None }
}
