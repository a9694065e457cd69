//! The ensemble's members, and who the session is. The reply to reconfig is a
//! [`GetDataResponse`](super::GetDataResponse) with the new configuration.

use super::ClientInfo;
use crate::jute::{List, record};

record! {
    /// Changes the members of the ensemble (`org.apache.zookeeper.proto.ReconfigRequest`): by a
    /// difference (joining, leaving) or as a whole (new members).
    #[derive(Copy)]
    pub struct ReconfigRequest<'a> {
        /// Servers to add, as `server.<id>=<host>:<ports>;<client port>`, separated by commas.
        pub joining_servers: Option<&'a str>,
        /// Ids of servers to remove, separated by commas.
        pub leaving_servers: Option<&'a str>,
        /// All servers that there are to be, as in `joining_servers`.
        pub new_members: Option<&'a str>,
        /// The version that the configuration must have: the zxid of its last change, or -1 for any.
        pub cur_config_id: i64,
    }
}

record! {
    /// The reply to whoAmI (`org.apache.zookeeper.proto.WhoAmIResponse`).
    pub struct WhoAmIResponse {
        /// The identities that the server knows the session by.
        pub client_info: List<ClientInfo>,
    }
}
