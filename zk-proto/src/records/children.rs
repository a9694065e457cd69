//! What is below a node, and what belongs to a session.

use super::Stat;
use crate::{
    Ustring,
    jute::{Bool, List, record},
};

record! {
    /// Asks for the names of a node's children (`org.apache.zookeeper.proto.GetChildrenRequest` and
    /// `GetChildren2Request`, which are alike), for getChildren and getChildren2.
    #[derive(Copy)]
    pub struct GetChildrenRequest<'a> {
        /// Whose.
        pub path: &'a str,
        /// Whether to leave a watch on the children.
        pub watch: Bool,
    }
}

record! {
    /// The reply to getChildren (`org.apache.zookeeper.proto.GetChildrenResponse`).
    pub struct GetChildrenResponse {
        /// The names, not paths, in no order.
        pub children: List<Ustring>,
    }
}

record! {
    /// The reply to getChildren2 (`org.apache.zookeeper.proto.GetChildren2Response`).
    pub struct GetChildren2Response {
        /// The names, not paths, in no order.
        pub children: List<Ustring>,
        /// The stat of the node that was asked for.
        pub stat: Stat,
    }
}

record! {
    /// Asks for the session's ephemeral nodes
    /// (`org.apache.zookeeper.proto.GetEphemeralsRequest`).
    #[derive(Copy)]
    pub struct GetEphemeralsRequest<'a> {
        /// What their paths must begin with, as text: `/a` fits `/ab` too. `/` fits all, and so does null.
        pub prefix_path: Option<&'a str>,
    }
}

record! {
    /// The reply to getEphemerals (`org.apache.zookeeper.proto.GetEphemeralsResponse`).
    pub struct GetEphemeralsResponse {
        /// Paths, in no order.
        pub ephemerals: List<Ustring>,
    }
}

record! {
    /// Asks how many nodes there are below a node
    /// (`org.apache.zookeeper.proto.GetAllChildrenNumberRequest`).
    #[derive(Copy)]
    pub struct GetAllChildrenNumberRequest<'a> {
        /// Below which.
        pub path: &'a str,
    }
}

record! {
    /// The reply to getAllChildrenNumber
    /// (`org.apache.zookeeper.proto.GetAllChildrenNumberResponse`).
    #[derive(Copy)]
    pub struct GetAllChildrenNumberResponse {
        /// How many nodes there are below it, at any depth.
        pub total_number: i32,
    }
}
