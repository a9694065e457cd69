//! The operations of a transaction (`PrepRequestProcessor`, `DataTree.processTxn`).
//!
//! A [`Txn`] checks and applies one operation after the other. [`undo`](Txn::undo) reverts all of them. The recorded
//! [`Change`]s determine which watches fire afterwards.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use zk_proto::{
    Acl, CreateMode, ErrorCode, EventType, OpCode, Perms,
    path::validate,
    records::{
        CheckVersionRequest, CreateRequest, CreateTtlRequest, DeleteRequest, SetAclRequest,
        SetDataRequest, Stat,
    },
    session::SessionId,
};

use crate::{
    acl::Identities,
    tree::{Kind, Node, Tree, is_system, split},
    watches::Change,
};

/// The longest time to live, in milliseconds: 40 bits.
const MAX_TTL: i64 = 0xff_ffff_ffff;

/// A request to create a znode, of any of the four operations.
pub(crate) struct Creation<'a> {
    /// create, create2, createContainer or createTTL. It determines the [`Kind`] of the znode.
    pub(crate) op: OpCode,
    path: &'a str,
    data: Option<&'a [u8]>,
    acl: Option<&'a [Acl]>,
    mode: CreateMode,
    ttl: i64,
}

impl<'a> Creation<'a> {
    pub(crate) fn new(op: OpCode, request: &'a CreateRequest<'a>) -> Self {
        let CreateRequest { path, data, acl, flags } = request;
        Self { op, path, data: *data, acl: acl.as_deref(), mode: *flags, ttl: -1 }
    }

    pub(crate) fn with_ttl(op: OpCode, request: &'a CreateTtlRequest<'a>) -> Self {
        let CreateTtlRequest { path, data, acl, flags, ttl } = request;
        Self { op, path, data: *data, acl: acl.as_deref(), mode: *flags, ttl: *ttl }
    }

    fn kind(&self, session: SessionId) -> Kind {
        match self.op {
            OpCode::CreateContainer => Kind::Container,
            OpCode::CreateTtl => Kind::Ttl(self.ttl),
            _ if self.mode.is_ephemeral() => Kind::Ephemeral(session),
            _ => Kind::Persistent,
        }
    }
}

/// How to revert one operation.
enum Undo {
    /// Remove the znode, and restore these fields of its parent.
    Create { path: String, creations: i32, parent_pzxid: i64 },
    /// Insert the znode, and restore this field of its parent.
    Delete { path: String, node: Box<Node>, parent_pzxid: i64 },
    /// Restore the data.
    SetData { path: String, data: Option<Bytes>, version: i32, mzxid: i64, mtime: i64 },
}

/// Operations with one zxid, for one session.
pub(crate) struct Txn<'s> {
    pub(crate) tree: &'s mut Tree,
    pub(crate) identities: &'s Identities,
    pub(crate) session: SessionId,
    pub(crate) zxid: i64,
    /// Milliseconds since 1970.
    pub(crate) time: i64,
    pub(crate) extended_types: bool,
    /// The next sequence number of a parent whose counter has wrapped. Only this transaction sees it wrap.
    wrapped: BTreeMap<String, i32>,
    done: Vec<Undo>,
    changes: Vec<Change>,
}

impl<'s> Txn<'s> {
    pub(crate) fn new(
        tree: &'s mut Tree,
        identities: &'s Identities,
        session: SessionId,
        zxid: i64,
        time: i64,
        extended_types: bool,
    ) -> Self {
        Self {
            tree,
            identities,
            session,
            zxid,
            time,
            extended_types,
            wrapped: BTreeMap::new(),
            done: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// Creates a znode. Returns its path and stat.
    pub(crate) fn create(&mut self, creation: &Creation<'_>) -> Result<(String, Stat), ErrorCode> {
        self.check_mode(creation)?;
        let (parent_path, _) = split_valid(creation.path)?;
        let acl = self.identities.fix_acl(creation.acl)?;
        let parent = self.tree.get(parent_path).ok_or(ErrorCode::NoNode)?;
        self.identities.check(&parent.acl, Perms::CREATE)?;
        let number = self.wrapped.get(parent_path).copied().unwrap_or(parent.creations);
        let mut path = creation.path.to_owned();
        if creation.mode.is_sequential() {
            path.push_str(&format!("{number:010}"));
        }
        check_path(&path)?;
        if self.tree.get(&path).is_some() {
            return Err(ErrorCode::NodeExists);
        }
        if matches!(parent.kind, Kind::Ephemeral(_)) {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }

        let (creations, parent_pzxid) = (parent.creations, parent.pzxid);
        let next = number.wrapping_add(1);
        if next > creations {
            if let Some(parent) = self.tree.get_mut(parent_path) {
                parent.creations = next;
                parent.pzxid = self.zxid;
            }
        } else {
            self.wrapped.insert(parent_path.to_owned(), next);
        }
        self.wrapped.remove(&path);
        let data = creation.data.map(Bytes::copy_from_slice);
        let kind = creation.kind(self.session);
        let node = Node::new(data, acl.into(), kind, self.zxid, self.time);
        let stat = node.stat();
        self.record_change(EventType::NodeCreated, &path, node.acl.clone());
        self.tree.insert(&path, node);
        self.done.push(Undo::Create { path: path.clone(), creations, parent_pzxid });
        Ok((path, stat))
    }

    fn check_mode(&self, creation: &Creation<'_>) -> Result<(), ErrorCode> {
        let Creation { op, mode, ttl, .. } = creation;
        let ttl_fits = match mode {
            CreateMode::Unknown(_) => false,
            mode if mode.has_ttl() => {
                if !self.extended_types {
                    return Err(ErrorCode::Unimplemented);
                }
                (1..=MAX_TTL).contains(ttl)
            }
            _ => *ttl < 0 && *op != OpCode::CreateTtl,
        };
        if ttl_fits { Ok(()) } else { Err(ErrorCode::BadArguments) }
    }

    /// Deletes a znode.
    pub(crate) fn delete(&mut self, request: &DeleteRequest<'_>) -> Result<(), ErrorCode> {
        let path = request.path;
        let (parent_path, _) = split_valid(path)?;
        if is_system(path) {
            return Err(ErrorCode::BadArguments);
        }
        let parent = self.tree.get(parent_path).ok_or(ErrorCode::NoNode)?;
        self.identities.check(&parent.acl, Perms::DELETE)?;
        let node = self.tree.get(path).ok_or(ErrorCode::NoNode)?;
        next_version(node.version, request.version)?;
        if !node.children.is_empty() {
            return Err(ErrorCode::NotEmpty);
        }
        self.remove(path);
        Ok(())
    }

    /// Removes a znode on behalf of the server, without checks.
    pub(crate) fn remove(&mut self, path: &str) {
        let Some(node) = self.tree.remove(path) else { return };
        let parent = split(path).and_then(|(parent_path, _)| self.tree.get_mut(parent_path));
        let parent_pzxid =
            parent.map_or(0, |parent| std::mem::replace(&mut parent.pzxid, self.zxid));
        self.record_change(EventType::NodeDeleted, path, node.acl.clone());
        self.done.push(Undo::Delete { path: path.to_owned(), node: Box::new(node), parent_pzxid });
    }

    /// Sets the data of a znode.
    pub(crate) fn set_data(&mut self, request: &SetDataRequest<'_>) -> Result<Stat, ErrorCode> {
        check_path(request.path)?;
        let node = self.tree.get_mut(request.path).ok_or(ErrorCode::NoNode)?;
        self.identities.check(&node.acl, Perms::WRITE)?;
        let version = next_version(node.version, request.version)?;
        let data = request.data.map(Bytes::copy_from_slice);
        self.done.push(Undo::SetData {
            path: request.path.to_owned(),
            data: std::mem::replace(&mut node.data, data),
            version: std::mem::replace(&mut node.version, version),
            mzxid: std::mem::replace(&mut node.mzxid, self.zxid),
            mtime: std::mem::replace(&mut node.mtime, self.time),
        });
        let (stat, acl) = (node.stat(), node.acl.clone());
        self.record_change(EventType::NodeDataChanged, request.path, acl);
        Ok(stat)
    }

    /// Sets the ACL of a znode. This is never part of a multi, so it needs no undo.
    pub(crate) fn set_acl(&mut self, request: &SetAclRequest<'_>) -> Result<Stat, ErrorCode> {
        check_path(request.path)?;
        let acl = self.identities.fix_acl(request.acl.as_deref())?;
        let node = self.tree.get_mut(request.path).ok_or(ErrorCode::NoNode)?;
        self.identities.check(&node.acl, Perms::ADMIN)?;
        node.aversion = next_version(node.aversion, request.version)?;
        node.acl = acl.into();
        Ok(node.stat())
    }

    /// Checks the version of a znode.
    pub(crate) fn check(&self, request: &CheckVersionRequest<'_>) -> Result<(), ErrorCode> {
        check_path(request.path)?;
        let node = self.tree.get(request.path).ok_or(ErrorCode::NoNode)?;
        self.identities.check(&node.acl, Perms::READ)?;
        next_version(node.version, request.version).map(drop)
    }

    fn record_change(&mut self, kind: EventType, path: &str, acl: Arc<[Acl]>) {
        let parent_acl = self.parent_of(path).map_or_else(|| [].into(), |node| node.acl.clone());
        self.changes.push(Change { kind, path: path.to_owned(), acl, parent_acl });
    }

    /// The changes in order.
    pub(crate) fn into_changes(self) -> Vec<Change> {
        self.changes
    }

    /// Reverts all operations.
    pub(crate) fn undo(&mut self) {
        self.changes.clear();
        while let Some(undo) = self.done.pop() {
            match undo {
                Undo::Create { path, creations, parent_pzxid } => {
                    self.tree.remove(&path);
                    if let Some(parent) = self.parent_of(&path) {
                        parent.creations = creations;
                        parent.pzxid = parent_pzxid;
                    }
                }
                Undo::Delete { path, node, parent_pzxid } => {
                    self.tree.insert(&path, *node);
                    if let Some(parent) = self.parent_of(&path) {
                        parent.pzxid = parent_pzxid;
                    }
                }
                Undo::SetData { path, data, version, mzxid, mtime } => {
                    if let Some(node) = self.tree.get_mut(&path) {
                        node.data = data;
                        node.version = version;
                        node.mzxid = mzxid;
                        node.mtime = mtime;
                    }
                }
            }
        }
    }

    fn parent_of(&mut self, path: &str) -> Option<&mut Node> {
        split(path).and_then(|(parent_path, _)| self.tree.get_mut(parent_path))
    }
}

fn split_valid(path: &str) -> Result<(&str, &str), ErrorCode> {
    split(path).filter(|_| !path.contains('\0')).ok_or(ErrorCode::BadArguments)
}

fn check_path(path: &str) -> Result<(), ErrorCode> {
    validate(path).map_err(|_| ErrorCode::BadArguments)
}

fn next_version(current: i32, expected: i32) -> Result<i32, ErrorCode> {
    if expected == -1 || expected == current {
        Ok(current.wrapping_add(1))
    } else {
        Err(ErrorCode::BadVersion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    /// As in ZooKeeper, the counter of the tree stays at the last number, and that of a transaction wraps.
    #[test]
    fn the_last_sequence_number_is_repeated() {
        let identities = Identities::of([127, 0, 0, 1].into(), Config::default().schemes());
        let mut tree = Tree::new();
        let open = zk_proto::OPEN_ACL_UNSAFE.as_slice();
        let request = |path| CreateRequest {
            path,
            data: None,
            acl: Some(open.into()),
            flags: CreateMode::PersistentSequential,
        };
        tree.get_mut("/").unwrap().creations = i32::MAX - 1;
        let mut make = |paths: &[&'static str]| {
            let mut txn = Txn::new(&mut tree, &identities, SessionId(7), 1, 1, true);
            let mut create = |path| txn.create(&Creation::new(OpCode::Create, &request(path)));
            paths.iter().map(|path| create(path).unwrap().0).collect::<Vec<_>>()
        };
        assert_eq!(make(&["/a"]), ["/a2147483646"]);
        assert_eq!(make(&["/a"]), ["/a2147483647"]);
        assert_eq!(make(&["/b"]), ["/b2147483647"]);
        assert_eq!(make(&["/c", "/a", "/a"]), ["/c2147483647", "/a-2147483648", "/a-2147483647"]);
        assert_eq!(make(&["/d"]), ["/d2147483647"]);
        assert_eq!(tree.get("/").unwrap().creations, i32::MAX);
    }

    #[test]
    fn undo_restores_the_tree() {
        let identities = Identities::of([127, 0, 0, 1].into(), Config::default().schemes());
        let mut tree = Tree::new();
        let open = zk_proto::OPEN_ACL_UNSAFE.as_slice();
        let request =
            |path, flags| CreateRequest { path, data: Some(b"1"), acl: Some(open.into()), flags };
        let txn = |tree| Txn::new(tree, &identities, SessionId(7), 1, 1, true);
        let make = |txn: &mut Txn<'_>, path, mode| {
            txn.create(&Creation::new(OpCode::Create, &request(path, mode))).unwrap().0
        };
        let mut first = Txn::new(&mut tree, &identities, SessionId(7), 1, 1, true);
        make(&mut first, "/a", CreateMode::Persistent);
        make(&mut first, "/a/b", CreateMode::Ephemeral);
        drop(first);
        let before = format!("{tree:?}");

        let mut second = txn(&mut tree);
        second.zxid = 2;
        second.delete(&DeleteRequest { path: "/a/b", version: -1 }).unwrap();
        second.set_data(&SetDataRequest { path: "/a", data: None, version: 0 }).unwrap();
        assert_eq!(make(&mut second, "/a/", CreateMode::PersistentSequential), "/a/0000000001");
        second.delete(&DeleteRequest { path: "/a/0000000001", version: -1 }).unwrap();
        second.delete(&DeleteRequest { path: "/a", version: 1 }).unwrap();
        second.undo();
        assert!(second.into_changes().is_empty());
        assert_eq!(format!("{tree:?}"), before);
    }
}
