//! [`ErrorCode`]: the error codes of the protocol.

use crate::open_enum::open_enum;

open_enum! {
    /// The error code of a reply (`org.apache.zookeeper.KeeperException.Code`).
    ///
    /// `Display` reads as part of a sentence: `"node does not exist"`.
    pub enum ErrorCode, else "error" {
        /// The request succeeded.
        Ok = 0, "ok";

        /// An internal error of the server. Never sent: the first of a range of codes.
        SystemError = -1, "system error";
        /// The server found an inconsistency. In a failed multi: the operation was not executed because an
        /// earlier one failed.
        RuntimeInconsistency = -2, "runtime inconsistency";
        /// The server's data are inconsistent.
        DataInconsistency = -3, "data inconsistency";
        /// The connection was lost, and the outcome of the request is unknown. Used by clients only.
        ConnectionLoss = -4, "connection lost";
        /// The server could not decode the request.
        MarshallingError = -5, "the server could not decode the request";
        /// The server does not support the operation, or it is disabled.
        Unimplemented = -6, "operation not supported by the server";
        /// The operation timed out on the server or the client.
        OperationTimeout = -7, "operation timed out";
        /// The server refused an argument: a path, a flag or a version.
        BadArguments = -8, "bad arguments";
        /// The session is unknown. Used between servers only.
        UnknownSession = -12, "unknown session";
        /// The new configuration has no quorum of servers that are in sync. Retry later.
        NewConfigNoQuorum = -13, "no quorum of the new configuration is in sync";
        /// Another reconfiguration is in progress. Retry later.
        ReconfigInProgress = -14, "another reconfiguration is in progress";

        /// The request was refused. Never sent: the first of a range of codes.
        ApiError = -100, "API error";
        /// The znode does not exist. For a create: its parent does not exist.
        NoNode = -101, "node does not exist";
        /// The session has no identity with the required permission.
        NoAuth = -102, "not authorized";
        /// The version does not match: the znode was changed in the meantime.
        BadVersion = -103, "version does not match";
        /// The parent is ephemeral. Ephemeral znodes cannot have children.
        NoChildrenForEphemerals = -108, "ephemeral nodes cannot have children";
        /// The znode already exists.
        NodeExists = -110, "node already exists";
        /// The znode has children and cannot be deleted.
        NotEmpty = -111, "node has children";
        /// The session has expired. Its ephemeral znodes and watches are gone.
        SessionExpired = -112, "session expired";
        /// The callback has the wrong type. Used by clients only.
        InvalidCallback = -113, "invalid callback";
        /// The ACL is missing or empty, or has a scheme or an id that the server does not accept.
        InvalidAcl = -114, "invalid access list";
        /// A credential was refused. The session cannot be used any more.
        AuthFailed = -115, "authentication failed";
        /// The session has moved to another server. Requests on this connection are ignored.
        SessionMoved = -118, "session moved to another connection";
        /// The server has no quorum and refuses writes.
        NotReadOnly = -119, "server is read-only";
        /// Local sessions, which only one server knows, cannot have ephemeral znodes.
        EphemeralOnLocalSession = -120, "local sessions cannot have ephemeral nodes";
        /// The watch to remove does not exist. This is normal if it has fired in the meantime.
        NoWatcher = -121, "no such watch";
        /// The client timed out waiting for the reply. Used by clients only.
        RequestTimeout = -122, "request timed out";
        /// Reconfiguration is disabled on the server.
        ReconfigDisabled = -123, "reconfiguration is disabled";
        /// The server accepts only sessions that authenticate with SASL, and closes this one.
        SessionClosedRequireSaslAuth = -124, "session closed: the server requires SASL";
        /// The write would exceed a quota on the path or on one of its ancestors.
        QuotaExceeded = -125, "quota exceeded";
        /// The server is overloaded and did not execute the request. Retry later.
        Throttled = -127, "throttled by the server";
    }
}

impl ErrorCode {
    /// Returns true if the request succeeded.
    #[must_use]
    pub const fn is_ok(self) -> bool {
        matches!(self, Self::Ok)
    }
}
