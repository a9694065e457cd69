//! Reads, and requests that change only watches (`FinalRequestProcessor`).

use bytes::Bytes;
use zk_proto::{
    Acl, ErrorCode, EventType, Perms, Request, Response, Ustring,
    jute::List,
    records::{
        ErrorResponse, GetAclResponse, GetAllChildrenNumberResponse, GetChildren2Response,
        GetChildrenResponse, GetDataResponse, GetEphemeralsResponse, SetWatches2, Stat,
        WhoAmIResponse,
    },
    session::SessionId,
};

use crate::{
    acl::masked,
    config::Version,
    connection::{ConnectionId, NO_ZXID},
    server::Server,
    tree::Node,
    watches::Mode,
};

impl Server {
    pub(crate) fn read(
        &mut self,
        connection: ConnectionId,
        session: SessionId,
        request: &Request<'_>,
    ) -> Result<Response, ErrorCode> {
        match request {
            Request::Exists(exists) => {
                self.exists(connection, exists.path, exists.watch.get()).map(Response::Exists)
            }
            Request::GetData(get) => {
                let (data, stat) = self.get_data(connection, get.path, get.watch.get())?;
                Ok(Response::GetData(GetDataResponse { data, stat }))
            }
            Request::GetChildren(get) => {
                let (children, _) = self.get_children(connection, get.path, get.watch.get())?;
                Ok(Response::GetChildren(GetChildrenResponse { children: children.into() }))
            }
            Request::GetChildren2(get) => {
                let (children, stat) = self.get_children(connection, get.path, get.watch.get())?;
                Ok(Response::GetChildren2(GetChildren2Response { children: children.into(), stat }))
            }
            Request::GetAcl(get) => {
                let (acl, stat) = self.get_acl(connection, get.path)?;
                Ok(Response::GetAcl(GetAclResponse { acl: acl.into(), stat }))
            }
            Request::GetAllChildrenNumber(get) => {
                self.readable(connection, get.path, Perms::READ)?;
                let total_number = self.tree.count_below(get.path);
                let total_number = i32::try_from(total_number).unwrap_or(i32::MAX);
                Ok(Response::GetAllChildrenNumber(GetAllChildrenNumberResponse { total_number }))
            }
            Request::GetEphemerals(get) => {
                let ephemerals =
                    self.ephemerals_below(session, get.prefix_path.unwrap_or_default());
                Ok(Response::GetEphemerals(GetEphemeralsResponse { ephemerals: ephemerals.into() }))
            }
            Request::WhoAmI => {
                let connection = self.connections.get(&connection);
                let client_info = connection.map(|c| c.identities.client_info());
                let client_info = client_info.unwrap_or_default();
                Ok(Response::WhoAmI(WhoAmIResponse { client_info: client_info.into() }))
            }
            Request::AddWatch(add) => {
                let mode = Mode::of(add.mode).ok_or(ErrorCode::MarshallingError)?;
                self.watches.add_persistent(add.path, connection, mode);
                Ok(Response::AddWatch(ErrorResponse { err: ErrorCode::Ok }))
            }
            Request::CheckWatches(check) => {
                self.watches.check(check.path, connection, check.watcher_type)?;
                Ok(Response::Empty)
            }
            Request::RemoveWatches(remove) => {
                self.watches.remove(remove.path, connection, remove.watcher_type)?;
                Ok(Response::Empty)
            }
            Request::SetWatches(set) => {
                let set = SetWatches2 {
                    relative_zxid: set.relative_zxid,
                    data_watches: set.data_watches.clone(),
                    exist_watches: set.exist_watches.clone(),
                    child_watches: set.child_watches.clone(),
                    persistent_watches: List::new(),
                    persistent_recursive_watches: List::new(),
                };
                self.set_watches(connection, &set);
                Ok(Response::Empty)
            }
            Request::SetWatches2(set) => {
                self.set_watches(connection, set);
                Ok(Response::Empty)
            }
            _ => Err(ErrorCode::Unimplemented),
        }
    }

    fn exists(
        &mut self,
        connection: ConnectionId,
        path: &str,
        watch: bool,
    ) -> Result<Stat, ErrorCode> {
        if path.contains('\0') {
            return Err(ErrorCode::BadArguments);
        }
        let node = self.tree.get(path);
        if self.config.version >= Version::V3_9 && node.is_some() {
            self.readable(connection, path, Perms::READ)?;
        }
        if watch {
            self.watches.add_data(path, connection);
        }
        node.map(Node::stat).ok_or(ErrorCode::NoNode)
    }

    pub(crate) fn get_data(
        &mut self,
        connection: ConnectionId,
        path: &str,
        watch: bool,
    ) -> Result<(Option<Bytes>, Stat), ErrorCode> {
        let node = self.readable(connection, path, Perms::READ)?;
        let result = (node.data.clone(), node.stat());
        if watch {
            self.watches.add_data(path, connection);
        }
        Ok(result)
    }

    pub(crate) fn get_children(
        &mut self,
        connection: ConnectionId,
        path: &str,
        watch: bool,
    ) -> Result<(Vec<Ustring>, Stat), ErrorCode> {
        let node = self.readable(connection, path, Perms::READ)?;
        let children = node.children.iter().map(|name| name.as_str().into()).collect();
        let result = (children, node.stat());
        if watch {
            self.watches.add_children(path, connection);
        }
        Ok(result)
    }

    fn get_acl(&self, connection: ConnectionId, path: &str) -> Result<(Vec<Acl>, Stat), ErrorCode> {
        let node = self.readable(connection, path, Perms::READ | Perms::ADMIN)?;
        let acl: &[Acl] = if node.acl.is_empty() { &zk_proto::OPEN_ACL_UNSAFE } else { &node.acl };
        let acl = match self.readable(connection, path, Perms::ADMIN) {
            Ok(_) => acl.to_vec(),
            Err(_) => masked(acl),
        };
        Ok((acl, node.stat()))
    }

    /// The node at `path`, if the connection has any of the permissions `perms` on it.
    fn readable(
        &self,
        connection: ConnectionId,
        path: &str,
        perms: Perms,
    ) -> Result<&Node, ErrorCode> {
        let node = self.tree.get(path).ok_or(ErrorCode::NoNode)?;
        let connection = self.connections.get(&connection).ok_or(ErrorCode::NoAuth)?;
        connection.identities.check(&node.acl, perms)?;
        Ok(node)
    }

    fn ephemerals_below(&self, session: SessionId, prefix: &str) -> Vec<Ustring> {
        let all = matches!(prefix.trim(), "" | "/");
        let paths = self.tree.ephemerals_of(session);
        paths.filter(|path| all || path.starts_with(prefix)).map(Ustring::from).collect()
    }

    /// Sets the watches of a client that has reconnected. Those whose event the client has missed fire now.
    fn set_watches(&mut self, connection: ConnectionId, set: &SetWatches2<'_>) {
        for path in &set.data_watches {
            let changed = |node: &Node| node.mzxid > set.relative_zxid;
            let missed = match self.tree.get(path) {
                None => Some(EventType::NodeDeleted),
                Some(node) => changed(node).then_some(EventType::NodeDataChanged),
            };
            match missed {
                Some(kind) => {
                    self.send_on(connection, |connection| connection.notify(NO_ZXID, kind, path))
                }
                None => self.watches.add_data(path, connection),
            }
        }
        for path in &set.exist_watches {
            match self.tree.get(path) {
                Some(_) => {
                    self.send_on(connection, |connection| {
                        connection.notify(NO_ZXID, EventType::NodeCreated, path)
                    });
                }
                None => self.watches.add_data(path, connection),
            }
        }
        for path in &set.child_watches {
            let changed = |node: &Node| node.pzxid > set.relative_zxid;
            let missed = match self.tree.get(path) {
                None => Some(EventType::NodeDeleted),
                Some(node) => changed(node).then_some(EventType::NodeChildrenChanged),
            };
            match missed {
                Some(kind) => {
                    self.send_on(connection, |connection| connection.notify(NO_ZXID, kind, path))
                }
                None => self.watches.add_children(path, connection),
            }
        }
        for path in &set.persistent_watches {
            self.watches.add_persistent(path, connection, Mode::Persistent);
        }
        for path in &set.persistent_recursive_watches {
            self.watches.add_persistent(path, connection, Mode::Recursive);
        }
    }
}
