//! Children and descendants of a znode, and ephemeral znodes of a session.

use super::Stat;
use crate::{
    Ustring,
    jute::{Bool, List, record},
};

record! {
    /// Lists the children of a znode, for getChildren and getChildren2
    /// (`org.apache.zookeeper.proto.GetChildrenRequest` and `GetChildren2Request`, which are the same).
    #[derive(Copy)]
    pub struct GetChildrenRequest<'a> {
        /// The znode.
        pub path: &'a str,
        /// Whether to set a watch on the children.
        pub watch: Bool,
    }
}

record! {
    /// The reply to getChildren (`org.apache.zookeeper.proto.GetChildrenResponse`).
    pub struct GetChildrenResponse {
        /// The names (not paths) of the children, in no particular order.
        pub children: List<Ustring>,
    }
}

record! {
    /// The reply to getChildren2 (`org.apache.zookeeper.proto.GetChildren2Response`).
    pub struct GetChildren2Response {
        /// The names (not paths) of the children, in no particular order.
        pub children: List<Ustring>,
        /// The stat of the parent.
        pub stat: Stat,
    }
}

record! {
    /// Lists the session's ephemeral znodes
    /// (`org.apache.zookeeper.proto.GetEphemeralsRequest`).
    #[derive(Copy)]
    pub struct GetEphemeralsRequest<'a> {
        /// A prefix of the paths as strings: `/a` matches `/ab` too. `/` and null match all.
        pub prefix_path: Option<&'a str>,
    }
}

record! {
    /// The reply to getEphemerals (`org.apache.zookeeper.proto.GetEphemeralsResponse`).
    pub struct GetEphemeralsResponse {
        /// The paths, in no particular order.
        pub ephemerals: List<Ustring>,
    }
}

record! {
    /// Counts the descendants of a znode
    /// (`org.apache.zookeeper.proto.GetAllChildrenNumberRequest`).
    #[derive(Copy)]
    pub struct GetAllChildrenNumberRequest<'a> {
        /// The znode.
        pub path: &'a str,
    }
}

record! {
    /// The reply to getAllChildrenNumber
    /// (`org.apache.zookeeper.proto.GetAllChildrenNumberResponse`).
    #[derive(Copy)]
    pub struct GetAllChildrenNumberResponse {
        /// The number of descendants at any depth.
        pub total_number: i32,
    }
}
