//! [`ErrorCode`]: how a request ended.

use crate::open_enum::open_enum;

open_enum! {
    /// The outcome of a request, as the server tells it (`org.apache.zookeeper.KeeperException.Code`).
    ///
    /// `Display` reads as part of a sentence: `"node does not exist"`.
    pub enum ErrorCode, else "error" {
        /// The request was done.
        Ok = 0, "ok";

        /// Something failed inside the server. Never sent: the first of a range of codes.
        SystemError = -1, "system error";
        /// The server contradicts itself. In a failed multi: this operation was not tried, since one
        /// before it failed.
        RuntimeInconsistency = -2, "runtime inconsistency";
        /// The server's data contradict each other.
        DataInconsistency = -3, "data inconsistency";
        /// The connection was lost; it is not known whether the request was done. Made by clients only.
        ConnectionLoss = -4, "connection lost";
        /// The server could not read the request.
        MarshallingError = -5, "request could not be read by the server";
        /// The server does not know this operation, or has it switched off.
        Unimplemented = -6, "operation not supported by the server";
        /// The server, or the client, gave up waiting.
        OperationTimeout = -7, "operation timed out";
        /// The request makes no sense to the server: a bad path, flag, or version.
        BadArguments = -8, "bad arguments";
        /// The session is unknown to the server; for use between servers.
        UnknownSession = -12, "unknown session";
        /// A reconfig would leave no quorum of servers that are up to date; try again once they are.
        NewConfigNoQuorum = -13, "no quorum of the new configuration is in sync";
        /// Another reconfig is in progress; try again.
        ReconfigInProgress = -14, "another reconfiguration is in progress";

        /// The request was refused. Never sent: the first of a range of codes.
        ApiError = -100, "API error";
        /// There is no node at the path, or for a create at its parent.
        NoNode = -101, "node does not exist";
        /// The session has no identity that may do this.
        NoAuth = -102, "not authorized";
        /// The node has another version than the one expected: it was changed meanwhile.
        BadVersion = -103, "version does not match";
        /// The parent is ephemeral, and such nodes have no children.
        NoChildrenForEphemerals = -108, "ephemeral nodes have no children";
        /// There is a node at the path already.
        NodeExists = -110, "node exists already";
        /// The node has children, so it cannot be deleted.
        NotEmpty = -111, "node has children";
        /// The session has expired: its ephemeral nodes and watches are gone.
        SessionExpired = -112, "session expired";
        /// A callback of a kind that does not fit. Made by clients only.
        InvalidCallback = -113, "invalid callback";
        /// The access list is empty, or names a scheme or an id that the server does not accept.
        InvalidAcl = -114, "invalid access list";
        /// A credential was refused; the session is of no more use.
        AuthFailed = -115, "authentication failed";
        /// The session has moved to another server: this connection's requests are ignored.
        SessionMoved = -118, "session moved to another connection";
        /// The server has no quorum and takes no writes.
        NotReadOnly = -119, "server is read-only";
        /// A session that only one server knows cannot have ephemeral nodes.
        EphemeralOnLocalSession = -120, "local sessions have no ephemeral nodes";
        /// There is no such watch to remove; normal when it fired meanwhile.
        NoWatcher = -121, "no such watch";
        /// The request took longer than the client allowed. Made by clients only.
        RequestTimeout = -122, "request timed out";
        /// Reconfiguration is switched off on the server.
        ReconfigDisabled = -123, "reconfiguration is disabled";
        /// The server takes only sessions with SASL, and closes this one.
        SessionClosedRequireSaslAuth = -124, "session closed: the server requires SASL";
        /// The write would exceed a quota that is set at the path or above it.
        QuotaExceeded = -125, "quota exceeded";
        /// The server is overloaded and has not done the request; try again later.
        Throttled = -127, "throttled by the server";
    }
}

impl ErrorCode {
    /// Whether the request was done.
    #[must_use]
    pub const fn is_ok(self) -> bool {
        matches!(self, Self::Ok)
    }
}
