//! [`OpCode`]: the operation of a request.

use crate::open_enum::open_enum;

open_enum! {
    /// The operation of a request (`org.apache.zookeeper.ZooDefs.OpCode`).
    ///
    /// `Display` writes ZooKeeper's name, such as `getChildren2`. [`since`](Self::since) says which servers know
    /// an operation.
    pub enum OpCode, else "operation" {
        /// Used inside the server only.
        Notification = 0, "notification";
        /// Creates a znode. The reply is its path.
        Create = 1, "create";
        /// Deletes a znode.
        Delete = 2, "delete";
        /// Reads a znode's stat. May set a watch, even if the znode does not exist.
        Exists = 3, "exists";
        /// Reads a znode's data and stat. May set a watch.
        GetData = 4, "getData";
        /// Replaces a znode's data.
        SetData = 5, "setData";
        /// Reads a znode's ACL.
        GetAcl = 6, "getACL";
        /// Replaces a znode's ACL.
        SetAcl = 7, "setACL";
        /// Lists a znode's children. May set a watch.
        GetChildren = 8, "getChildren";
        /// Waits until the server has caught up with the leader.
        Sync = 9, "sync";
        /// Keeps the session alive.
        Ping = 11, "ping";
        /// Like [`GetChildren`](Self::GetChildren), with the znode's stat. Since 3.3.
        GetChildren2 = 12, "getChildren2";
        /// Checks a znode's version, in a [`Multi`](Self::Multi) only. Since 3.4.
        Check = 13, "check";
        /// A transaction: all operations are applied or none. Since 3.4.
        Multi = 14, "multi";
        /// Like [`Create`](Self::Create), and the reply has the new znode's stat. Since 3.5.
        Create2 = 15, "create2";
        /// Changes the members of the ensemble. Since 3.5.
        Reconfig = 16, "reconfig";
        /// Checks whether a watch exists. Since 3.5.
        CheckWatches = 17, "checkWatches";
        /// Removes watches. Since 3.5.
        RemoveWatches = 18, "removeWatches";
        /// Creates a container, which the server deletes after its last child. Since 3.5.1.
        CreateContainer = 19, "createContainer";
        /// Deletes an empty container. Used inside the server only. Since 3.5.1.
        DeleteContainer = 20, "deleteContainer";
        /// Creates a znode with a time to live. Since 3.5.3, if the server runs with
        /// `zookeeper.extendedTypesEnabled=true`.
        CreateTtl = 21, "createTTL";
        /// Several reads in one packet. Each can fail independently. Since 3.6.
        MultiRead = 22, "multiRead";
        /// Adds a credential to the session.
        Auth = 100, "auth";
        /// Re-arms watches after a reconnect.
        SetWatches = 101, "setWatches";
        /// One step of SASL authentication. Since 3.4.
        Sasl = 102, "sasl";
        /// Lists the ephemeral znodes of the session. Since 3.6.
        GetEphemerals = 103, "getEphemerals";
        /// Counts all descendants of a znode. Since 3.6.
        GetAllChildrenNumber = 104, "getAllChildrenNumber";
        /// Like [`SetWatches`](Self::SetWatches), including persistent watches. Since 3.6.
        SetWatches2 = 105, "setWatches2";
        /// Sets a persistent watch. Since 3.6.
        AddWatch = 106, "addWatch";
        /// Lists the authenticated identities of the session. Since 3.7.
        WhoAmI = 107, "whoAmI";
        /// Opens a session. Used between servers only.
        CreateSession = -10, "createSession";
        /// Closes the session.
        CloseSession = -11, "closeSession";
        /// In a reply to a [`Multi`](Self::Multi): a failed operation, and the end marker.
        Error = -1, "error";
    }
}

impl OpCode {
    /// Returns the first ZooKeeper release that knows the operation. `None` if it exists since before 3.3, or if this
    /// version of the library does not know it.
    ///
    /// A server that does not know an operation answers [`Unimplemented`](crate::ErrorCode::Unimplemented), and then
    /// closes the connection; the session goes on (`org.apache.zookeeper.server.UnimplementedRequestProcessor`). What
    /// was sent after the request is lost with the connection.
    ///
    /// ```
    /// # use zk_proto::OpCode;
    /// assert_eq!(OpCode::WhoAmI.since(), Some([3, 7, 0]));
    /// assert_eq!(OpCode::GetData.since(), None);
    /// ```
    #[must_use]
    pub const fn since(self) -> Option<[u32; 3]> {
        Some(match self {
            Self::GetChildren2 => [3, 3, 0],
            Self::Check | Self::Multi | Self::Sasl => [3, 4, 0],
            Self::Create2 | Self::Reconfig | Self::CheckWatches | Self::RemoveWatches => [3, 5, 0],
            Self::CreateContainer | Self::DeleteContainer => [3, 5, 1],
            Self::CreateTtl => [3, 5, 3],
            Self::MultiRead
            | Self::GetEphemerals
            | Self::GetAllChildrenNumber
            | Self::SetWatches2
            | Self::AddWatch => [3, 6, 0],
            Self::WhoAmI => [3, 7, 0],
            _ => return None,
        })
    }

    /// Returns true if the leader handles the request as a transaction (`Request.isQuorum` in ZooKeeper, without
    /// the operations that open and close sessions).
    ///
    /// The client's own server handles all other requests, except [`Sync`](Self::Sync).
    ///
    /// ```
    /// # use zk_proto::OpCode;
    /// assert!(OpCode::Multi.is_write() && !OpCode::MultiRead.is_write());
    /// ```
    #[must_use]
    pub const fn is_write(self) -> bool {
        matches!(
            self,
            Self::Create
                | Self::Create2
                | Self::CreateContainer
                | Self::CreateTtl
                | Self::Delete
                | Self::SetData
                | Self::SetAcl
                | Self::Multi
                | Self::Check
                | Self::Reconfig
        )
    }
}

#[cfg(test)]
mod tests {
    use alloc::{borrow::ToOwned, format};

    use super::*;

    #[test]
    fn the_documentation_of_an_operation_has_its_first_release() {
        let source = include_str!("opcode.rs");
        let table =
            source.split_once("open_enum! {").unwrap().1.split_once("impl OpCode").unwrap().0;
        let mut docs = alloc::string::String::new();
        let mut seen = 0;
        for line in table.lines().map(str::trim) {
            if let Some(doc) = line.strip_prefix("///") {
                docs.push_str(doc);
            } else if let Some((variant, rest)) = line.split_once(" = ") {
                let code = rest.split(',').next().unwrap().parse().unwrap();
                let since =
                    OpCode::from_code(code).since().map(|[major, minor, patch]| match patch {
                        0 => format!(" Since {major}.{minor}"),
                        patch => format!(" Since {major}.{minor}.{patch}"),
                    });
                let said = docs.find(" Since ").map(|at| {
                    docs[at..].trim_end_matches('.').split(',').next().unwrap().to_owned()
                });
                assert_eq!(said, since, "{variant}");
                seen += 1;
                docs.clear();
            }
        }
        assert_eq!(seen, OpCode::ALL.len());
    }
}
