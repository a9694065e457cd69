//! The members of the ensemble, and the identities of the session. The reply to reconfig is a
//! [`GetDataResponse`](super::GetDataResponse) with the new configuration.

use super::ClientInfo;
use crate::jute::{List, record};

record! {
    /// Changes the members of the ensemble (`org.apache.zookeeper.proto.ReconfigRequest`): incrementally
    /// (joining and leaving servers) or as a whole (new members).
    #[derive(Copy)]
    pub struct ReconfigRequest<'a> {
        /// Servers to add, as `server.<id>=<host>:<ports>;<client port>`, separated by commas.
        pub joining_servers: Option<&'a str>,
        /// Ids of servers to remove, separated by commas.
        pub leaving_servers: Option<&'a str>,
        /// All servers of the new configuration, as in `joining_servers`.
        pub new_members: Option<&'a str>,
        /// The expected version of the configuration: the zxid of its last change, or -1 for any.
        pub cur_config_id: i64,
    }
}

record! {
    /// The reply to whoAmI (`org.apache.zookeeper.proto.WhoAmIResponse`).
    pub struct WhoAmIResponse {
        /// The authenticated identities of the session.
        pub client_info: List<ClientInfo>,
    }
}
