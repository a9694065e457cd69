//! The operations of a run, built from the bytes of the input.

use std::{borrow::Cow, time::Duration};

use arbitrary::Arbitrary;
use zk_proto::{
    AddWatchMode, Chroot, CreateMode, ErrorCode, EventType, OPEN_ACL_UNSAFE, Request, WatcherType,
    frame::write_frame,
    jute::{Encode, Secret},
    records::*,
    session::Credential,
};

use super::{World, ledger::Arms, server, watch_kind::WatchKind};

/// The configuration of the session and the server.
#[derive(Debug, Default, Arbitrary)]
pub(super) struct Setup {
    pub(super) seed: u8,
    pub(super) hosts: u8,
    /// The requested and the maximum granted session timeout, in milliseconds above a minimum.
    pub(super) timeout: u16,
    pub(super) grant: u16,
    pub(super) read_only: bool,
    pub(super) for_one_session: bool,
    pub(super) small_replies: bool,
    pub(super) credential: bool,
}

#[derive(Debug, Arbitrary)]
pub(super) enum Op {
    Submit {
        what: UserRequest,
        path: u8,
        in_chroot: bool,
    },
    Unwatch {
        back: u8,
    },
    /// Everything happens that can happen without the passage of time.
    Settle,
    Accept,
    /// Bytes move: out of the session, through the server, and back.
    Flow {
        read: bool,
        serve: u8,
        deliver: u8,
    },
    /// Another client creates, changes or deletes a znode.
    Change {
        path: u8,
        how: u8,
    },
    /// The connection is lost, before or after the server has processed what arrived.
    Cut {
        served: bool,
    },
    /// This many times 16 ms pass.
    Tick(u8),
    /// This many times 64 ms pass while the process is stopped.
    Freeze(u8),
    Rare(Rare),
    Hostile(Hostile),
}

#[derive(Debug, Arbitrary)]
pub(super) enum Rare {
    AddAuth { bad: u8 },
    Close { sure: u8 },
    SetHosts(u8),
    Expire,
    Quorum(bool),
    Probed(bool),
}

/// A request of the user.
#[derive(Debug, Arbitrary)]
pub(crate) enum UserRequest {
    Get { watch: bool },
    Exists { watch: bool },
    Children { watch: bool },
    AddWatch { recursive: bool },
    RemoveWatches(u8),
    Create { mode: u8, data: u8 },
    Set { version: i8, data: u8 },
    Delete,
    Sync,
    Multi { version: i8, mode: u8 },
}

/// What an honest server never sends.
#[derive(Debug, Arbitrary)]
pub(super) enum Hostile {
    Bytes(Vec<u8>),
    Length(i32),
    ConnectResponse { id: u8, timeout: i16, read_only: Option<bool> },
    Reply { xid: i8, zxid: i64, err: i8, body: Vec<u8> },
    Special { xid: i8, err: i8, body: Vec<u8> },
    Event { kind: i8, path: u8 },
}

const PATHS: [&str; 6] = ["/", "/a", "/a/b", "/a/b/c", "/d", "/a/e"];
const DATA: &[u8] = &[7; 80];

pub(crate) fn path_of(pick: u8) -> &'static str {
    PATHS[usize::from(pick) % PATHS.len()]
}

fn mode(pick: u8) -> CreateMode {
    CreateMode::from(i32::from(pick % 4))
}

impl UserRequest {
    /// Builds the request, and the watch that it sets.
    pub(crate) fn build(&self, path: &'static str) -> (Request<'static>, Option<Arms>) {
        let always = |watch: bool, kind| watch.then_some(Arms::Always(kind));
        let data = |len: u8| Some(&DATA[..usize::from(len) % DATA.len()]);
        match *self {
            UserRequest::Get { watch } => (
                Request::GetData(GetDataRequest { path, watch: watch.into() }),
                always(watch, WatchKind::Data),
            ),
            UserRequest::Exists { watch } => (
                Request::Exists(ExistsRequest { path, watch: watch.into() }),
                watch.then_some(Arms::ByExists),
            ),
            UserRequest::Children { watch } => (
                Request::GetChildren(GetChildrenRequest { path, watch: watch.into() }),
                always(watch, WatchKind::Child),
            ),
            UserRequest::AddWatch { recursive } => {
                let (mode, kind) = match recursive {
                    true => (AddWatchMode::PersistentRecursive, WatchKind::PersistentRecursive),
                    false => (AddWatchMode::Persistent, WatchKind::Persistent),
                };
                (Request::AddWatch(AddWatchRequest { path, mode }), always(true, kind))
            }
            UserRequest::RemoveWatches(kind) => {
                let watcher_type = WatcherType::from(i32::from(kind % 3) + 1);
                let remove = RemoveWatchesRequest { path, watcher_type };
                (Request::RemoveWatches(remove), None)
            }
            UserRequest::Create { mode: pick, data: len } => {
                let (data, flags) = (data(len), mode(pick));
                (
                    Request::Create(CreateRequest {
                        path,
                        data,
                        acl: Some(Cow::Borrowed(&OPEN_ACL_UNSAFE)),
                        flags,
                    }),
                    None,
                )
            }
            UserRequest::Set { version, data: len } => {
                let (data, version) = (data(len), expected(version));
                (Request::SetData(SetDataRequest { path, data, version }), None)
            }
            UserRequest::Delete => (Request::Delete(DeleteRequest { path, version: -1 }), None),
            UserRequest::Sync => (Request::Sync(SyncRequest { path }), None),
            UserRequest::Multi { version, mode: pick } => {
                let (version, flags) = (expected(version), mode(pick));
                let create = CreateRequest {
                    path: "/a/m",
                    data: data(1),
                    acl: Some(Cow::Borrowed(&OPEN_ACL_UNSAFE)),
                    flags,
                };
                let ops = vec![
                    MultiOp::Check(CheckVersionRequest { path, version: -1 }),
                    MultiOp::SetData(SetDataRequest { path, data: data(9), version }),
                    MultiOp::Create(create),
                ];
                (Request::Multi(MultiRequest::new(ops)), None)
            }
        }
    }
}

/// A version that may match; mostly -1, which always matches.
fn expected(version: i8) -> i32 {
    i32::from(version.max(-1)) % 4
}

impl World {
    pub(super) fn perform(&mut self, op: &Op, honest: bool) {
        if self.ledger.ended {
            return;
        }
        self.log_line(format_args!("{op:?}"));
        match op {
            Op::Submit { what, path, in_chroot } => self.ask(what, path_of(*path), *in_chroot),
            Op::Unwatch { back } => {
                let id = self.last_id.saturating_sub(u64::from(*back % 16));
                self.unwatch(id);
            }
            Op::Settle => self.settle(),
            Op::Accept => self.accept(),
            Op::Flow { read, serve, deliver } => {
                if *read {
                    self.read();
                }
                self.serve(usize::from(*serve % 8));
                self.deliver(usize::from(*deliver % 8));
            }
            Op::Change { path, how } => {
                let mut out = Vec::new();
                self.server.change(path_of(*path), *how, &mut out);
                self.outbox.extend(out);
            }
            Op::Cut { served } => {
                if *served {
                    self.serve(usize::MAX);
                }
                self.cut();
            }
            Op::Tick(times) => self.tick(u64::from(*times) * 16),
            Op::Freeze(times) => {
                self.freeze(self.now.after(Duration::from_millis(u64::from(*times) * 64)));
                self.wake();
            }
            Op::Rare(rare) => self.perform_rare(rare),
            Op::Hostile(hostile) => {
                if !honest {
                    self.perform_hostile(hostile);
                }
            }
        }
    }

    fn perform_rare(&mut self, rare: &Rare) {
        match rare {
            Rare::AddAuth { bad } => {
                let scheme = if *bad < 32 { "none" } else { "digest" };
                // There are only a few, so that some are equal.
                self.add_auth(Credential::new(scheme, vec![b'a', b':', *bad % 4]));
            }
            Rare::Close { sure } if *sure < 32 => self.close(),
            Rare::Close { .. } => {}
            Rare::SetHosts(pick) => {
                let first = u16::from(*pick) / 4 % 4;
                self.set_hosts((0..u16::from(pick % 4)).map(|n| first + n + 1).collect());
            }
            Rare::Expire => {
                if self.server.expire(self.now, true) {
                    self.cut();
                }
            }
            Rare::Quorum(quorum) => {
                if std::mem::replace(&mut self.server.quorum, *quorum) != *quorum {
                    self.cut();
                }
            }
            Rare::Probed(writable) => self.probed(*writable),
        }
    }

    pub(super) fn ask(&mut self, what: &UserRequest, path: &'static str, in_chroot: bool) {
        let chroot = if in_chroot { Chroot::new("/a").expect("a path") } else { Chroot::ROOT };
        let (request, arms) = what.build(path);
        self.submit(&chroot, &request, arms);
    }

    fn perform_hostile(&mut self, hostile: &Hostile) {
        if !self.is_open() {
            return;
        }
        self.taint();
        let mut out = bytes::BytesMut::new();
        match hostile {
            Hostile::Bytes(bytes) => out.extend_from_slice(bytes),
            Hostile::Length(length) => out.extend_from_slice(&length.to_be_bytes()),
            Hostile::ConnectResponse { id, timeout, read_only } => {
                let welcome = ConnectResponse {
                    protocol_version: 0,
                    timeout: i32::from(*timeout),
                    session_id: i64::from(id % 4),
                    password: Secret::new(None),
                    read_only: read_only.map(Into::into),
                };
                write_frame(&mut out, |out| welcome.encode(out));
            }
            Hostile::Reply { xid, zxid, err, body } => {
                let due = self.ledger.calls.front().and_then(|call| call.xid).unwrap_or(1);
                let near = due.wrapping_add(i32::from(*xid) / 64);
                let header = ReplyHeader { xid: near, zxid: *zxid, err: error(*err) };
                write_packet(&mut out, header, body);
            }
            Hostile::Special { xid, err, body } => {
                let header = ReplyHeader { xid: i32::from(*xid), zxid: 0, err: error(*err) };
                write_packet(&mut out, header, body);
            }
            Hostile::Event { kind, path } => {
                let kind = EventType::from(i32::from(*kind));
                out.extend_from_slice(&server::event(kind, path_of(*path)).bytes);
            }
        }
        self.feed(&out);
    }
}

/// An error code; mostly success.
fn error(err: i8) -> ErrorCode {
    ErrorCode::from(if err > 0 { 0 } else { i32::from(err) })
}

fn write_packet(out: &mut bytes::BytesMut, header: ReplyHeader, body: &[u8]) {
    write_frame(out, |out| {
        header.encode(out);
        out.extend_from_slice(body);
    });
}
