//! The tree of znodes (`DataTree`, `DataNode`). What a client may change is decided in
//! `txn`; this module only stores the result.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use bytes::Bytes;
use zk_proto::{Acl, READ_ACL_UNSAFE, records::Stat, session::SessionId};

/// The znodes that always exist and cannot be deleted.
const SYSTEM: [&str; 4] = ["/", "/zookeeper", "/zookeeper/config", "/zookeeper/quota"];

/// What removes a znode besides a delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Persistent,
    Ephemeral(SessionId),
    Container,
    /// The TTL in milliseconds.
    Ttl(i64),
}

#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) data: Option<Bytes>,
    pub(crate) acl: Arc<[Acl]>,
    pub(crate) kind: Kind,
    pub(crate) children: BTreeSet<String>,
    pub(crate) czxid: i64,
    pub(crate) mzxid: i64,
    pub(crate) pzxid: i64,
    pub(crate) ctime: i64,
    pub(crate) mtime: i64,
    pub(crate) version: i32,
    /// How many children were ever created. It is the next sequence number.
    pub(crate) creations: i32,
    pub(crate) aversion: i32,
}

impl Node {
    pub(crate) fn new(
        data: Option<Bytes>,
        acl: Arc<[Acl]>,
        kind: Kind,
        zxid: i64,
        time: i64,
    ) -> Self {
        Self {
            data,
            acl,
            kind,
            children: BTreeSet::new(),
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime: time,
            mtime: time,
            version: 0,
            creations: 0,
            aversion: 0,
        }
    }

    /// A znode of [`SYSTEM`].
    fn system(acl: &[Acl]) -> Self {
        Self::new(Some(Bytes::new()), acl.into(), Kind::Persistent, 0, 0)
    }

    pub(crate) fn stat(&self) -> Stat {
        let num_children = saturate(self.children.len());
        Stat {
            czxid: self.czxid,
            mzxid: self.mzxid,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            // The number of creations and deletions. Every creation counts twice, except those of existing children.
            cversion: self.creations.wrapping_mul(2).wrapping_sub(num_children),
            aversion: self.aversion,
            ephemeral_owner: match self.kind {
                Kind::Ephemeral(owner) => owner.0,
                _ => 0,
            },
            data_length: saturate(self.data_len()),
            num_children,
            pzxid: self.pzxid,
        }
    }

    fn data_len(&self) -> usize {
        self.data.as_ref().map_or(0, Bytes::len)
    }
}

/// Does not show the data.
impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("acl", &self.acl)
            .field("kind", &self.kind)
            .field("children", &self.children)
            .field("stat", &self.stat())
            .finish_non_exhaustive()
    }
}

/// The tree of znodes. Every znode except the root has a parent, which lists it as a child.
#[derive(Debug)]
pub(crate) struct Tree {
    nodes: BTreeMap<String, Node>,
    ephemerals: BTreeMap<SessionId, BTreeSet<String>>,
    /// The containers and the znodes with a TTL.
    expiring: BTreeSet<String>,
}

impl Tree {
    pub(crate) fn new() -> Self {
        // An empty ACL gives everyone all permissions.
        let nodes = SYSTEM.map(|path| (path.to_owned(), Node::system(&[])));
        let mut tree =
            Self { nodes: nodes.into(), ephemerals: BTreeMap::new(), expiring: BTreeSet::new() };
        for path in SYSTEM {
            if let Some((parent, name)) = split(path)
                && let Some(parent) = tree.get_mut(parent)
                && path != "/"
            {
                parent.children.insert(name.to_owned());
            }
        }
        if let Some(config) = tree.get_mut("/zookeeper/config") {
            config.acl = READ_ACL_UNSAFE.as_slice().into();
            config.aversion = -1;
        }
        tree
    }

    /// The znode at `path`. The empty path is the root, too.
    pub(crate) fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(key(path))
    }

    pub(crate) fn get_mut(&mut self, path: &str) -> Option<&mut Node> {
        self.nodes.get_mut(key(path))
    }

    /// Inserts a znode at `path`. The parent must exist, and the path must be free.
    pub(crate) fn insert(&mut self, path: &str, node: Node) {
        if let Some((parent, name)) = split(path)
            && let Some(parent) = self.get_mut(parent)
        {
            parent.children.insert(name.to_owned());
        }
        match node.kind {
            Kind::Persistent => {}
            Kind::Ephemeral(owner) => {
                self.ephemerals.entry(owner).or_default().insert(path.to_owned());
            }
            Kind::Container | Kind::Ttl(_) => {
                self.expiring.insert(path.to_owned());
            }
        }
        self.nodes.insert(path.to_owned(), node);
    }

    /// Removes the znode at `path`, which must not have children.
    pub(crate) fn remove(&mut self, path: &str) -> Option<Node> {
        let node = self.nodes.remove(path)?;
        if let Some((parent, name)) = split(path)
            && let Some(parent) = self.get_mut(parent)
        {
            parent.children.remove(name);
        }
        match node.kind {
            Kind::Persistent => {}
            Kind::Ephemeral(owner) => {
                if let Some(paths) = self.ephemerals.get_mut(&owner) {
                    paths.remove(path);
                    if paths.is_empty() {
                        self.ephemerals.remove(&owner);
                    }
                }
            }
            Kind::Container | Kind::Ttl(_) => {
                self.expiring.remove(path);
            }
        }
        Some(node)
    }

    /// The number of znodes. As in ZooKeeper, the root counts twice.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len().saturating_add(1)
    }

    /// The number of znodes whose path starts with `path` and a slash.
    pub(crate) fn count_below(&self, path: &str) -> usize {
        if path == "/" {
            return self.nodes.len().saturating_sub(1);
        }
        let prefix = [path, "/"].concat();
        self.nodes.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix)).count()
    }

    /// The size of all paths and data in bytes.
    pub(crate) fn data_size(&self) -> usize {
        let sizes =
            self.nodes.iter().map(|(path, node)| path.len().saturating_add(node.data_len()));
        sizes.sum()
    }

    pub(crate) fn ephemerals_of(&self, owner: SessionId) -> impl Iterator<Item = &str> {
        self.ephemerals.get(&owner).into_iter().flatten().map(String::as_str)
    }

    pub(crate) fn ephemerals(&self) -> impl Iterator<Item = (SessionId, &BTreeSet<String>)> {
        self.ephemerals.iter().map(|(owner, paths)| (*owner, paths))
    }

    pub(crate) fn has_expiring(&self) -> bool {
        !self.expiring.is_empty()
    }

    /// The containers that have lost their children, and the znodes whose TTL has passed (`ContainerManager`). `now` is
    /// the wall clock in milliseconds. A container that never had a child stays.
    pub(crate) fn expired(&self, now: i64) -> Vec<String> {
        let expired = |node: &Node| {
            node.children.is_empty()
                && match node.kind {
                    Kind::Container => node.creations > 0,
                    Kind::Ttl(ttl) => now.saturating_sub(node.mtime) > ttl,
                    Kind::Persistent | Kind::Ephemeral(_) => false,
                }
        };
        self.expiring.iter().filter(|path| self.get(path).is_some_and(expired)).cloned().collect()
    }
}

/// Whether the znode at `path` cannot be deleted.
pub(crate) fn is_system(path: &str) -> bool {
    SYSTEM.contains(&path)
}

/// Splits a path into the path of the parent and the name. As in ZooKeeper, any text with a slash is accepted.
pub(crate) fn split(path: &str) -> Option<(&str, &str)> {
    path.rsplit_once('/')
}

fn key(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

fn saturate(len: usize) -> i32 {
    i32::try_from(len).unwrap_or(i32::MAX)
}
