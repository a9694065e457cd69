//! Parts of other records. ACLs are in [`Acl`](crate::Acl).

#[cfg(feature = "std")]
use core::time::Duration;
#[cfg(feature = "std")]
use std::time::SystemTime;

use crate::{Ustring, jute::record, session::SessionId};

record! {
    /// The metadata of a znode (`org.apache.zookeeper.data.Stat`).
    #[derive(Copy, Hash, Default)]
    pub struct Stat {
        /// The transaction that created the znode.
        pub czxid: i64,
        /// The transaction that last set the data.
        pub mzxid: i64,
        /// The time of creation in milliseconds since 1970, by the leader's clock.
        pub ctime: i64,
        /// The time at which the data were last set, in milliseconds since 1970, by the leader's clock.
        pub mtime: i64,
        /// The number of times that the data were set. Wraps.
        pub version: i32,
        /// The number of times that a child was created or deleted. Wraps.
        pub cversion: i32,
        /// The number of times that the ACL was set. Wraps.
        pub aversion: i32,
        /// The session that owns an ephemeral znode; 0 for persistent znodes.
        pub ephemeral_owner: i64,
        /// The length of the data in bytes.
        pub data_length: i32,
        /// The number of children.
        pub num_children: i32,
        /// The transaction that last created or deleted a child; `czxid` if there was none.
        pub pzxid: i64,
    }
}

impl Stat {
    /// Returns true if `ephemeral_owner` is not 0.
    #[must_use]
    pub const fn is_ephemeral(&self) -> bool {
        self.ephemeral_owner != 0
    }

    /// Returns the session that owns an ephemeral znode, or `None` for other znodes. Containers and znodes with a
    /// TTL have no owner; their [`ephemeral_owner`](Self::ephemeral_owner) is a marker.
    #[must_use]
    pub const fn owner(&self) -> Option<SessionId> {
        const TTL: i64 = 0xff;
        match self.ephemeral_owner {
            0 | i64::MIN => None,
            owner if (owner >> 56) & 0xff == TTL => None,
            owner => Some(SessionId(owner)),
        }
    }

    /// Returns the time at which the znode was created, by the server's clock.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn created(&self) -> SystemTime {
        moment(self.ctime)
    }

    /// Returns the time at which the data were last set, by the server's clock.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn modified(&self) -> SystemTime {
        moment(self.mtime)
    }
}

/// The time `millis` milliseconds after the Unix epoch; the epoch itself if that is not representable.
#[cfg(feature = "std")]
fn moment(millis: i64) -> SystemTime {
    let since = Duration::from_millis(u64::try_from(millis).unwrap_or_default());
    SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
}

record! {
    /// An authenticated identity of a session (`org.apache.zookeeper.data.ClientInfo`).
    #[derive(PartialOrd, Ord, Hash)]
    pub struct ClientInfo {
        /// The authentication scheme; see [`Id::scheme`](crate::Id::scheme).
        pub auth_scheme: Ustring,
        /// The user name or the address. It contains no digest.
        pub user: Ustring,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_the_session_of_an_ephemeral_node() {
        for (owner, session) in [
            (0, None),
            (i64::MIN, None),
            (-0x00ff_ffff_ffff_fc18, None),
            (0x1000_0000_0000_0001, Some(SessionId(0x1000_0000_0000_0001))),
        ] {
            let stat = Stat { ephemeral_owner: owner, ..Stat::default() };
            assert_eq!(stat.owner(), session, "{owner:#x}");
        }
    }

    #[cfg(feature = "std")]
    #[test]
    fn times_count_from_the_unix_epoch() {
        let stat = Stat { ctime: 1_500, mtime: -1, ..Stat::default() };
        let epoch = SystemTime::UNIX_EPOCH;
        assert_eq!(
            (stat.created(), stat.modified()),
            (epoch + Duration::from_millis(1_500), epoch)
        );
    }
}
