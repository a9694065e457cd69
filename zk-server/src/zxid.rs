//! Where the server assigns a zxid, the number of a transaction.
//!
//! As in ZooKeeper, these take one zxid each:
//! - a write, also one that fails, and a multi with all its operations;
//! - the start of a session, unless it is local, and its end;
//! - the removal of a container, or of a node whose TTL has passed;
//! - some writes that cannot be decoded: see [`Zxids::takes_undecodable`].
//!
//! Reads, pings, sync and authentication take none.

use zk_proto::OpCode;

use crate::config::Version;

/// The zxids of a server.
#[derive(Debug, Default)]
pub(crate) struct Zxids {
    last: i64,
}

impl Zxids {
    /// The zxid of the last transaction; 0 if there was none.
    pub(crate) const fn last(&self) -> i64 {
        self.last
    }

    /// Assigns the next zxid. This is the only place that does.
    pub(crate) const fn assign(&mut self) -> i64 {
        self.last = self.last.wrapping_add(1);
        self.last
    }

    /// Whether a request that cannot be decoded takes a zxid. ZooKeeper 3.8 assigns it before it decodes a write,
    /// except for reconfig; 3.9 assigns it afterwards, except for multi.
    pub(crate) const fn takes_undecodable(version: Version, op: OpCode) -> bool {
        match version {
            Version::V3_8 => op.is_write() && !matches!(op, OpCode::Reconfig),
            Version::V3_9 => matches!(op, OpCode::Multi),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zxids_are_consecutive() {
        let mut zxids = Zxids::default();
        assert_eq!((zxids.assign(), zxids.assign(), zxids.last()), (1, 2, 2));
    }
}
