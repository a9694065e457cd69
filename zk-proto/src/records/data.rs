//! What other records are made of. Access lists are in [`Acl`](crate::Acl).

#[cfg(feature = "std")]
use core::time::Duration;
#[cfg(feature = "std")]
use std::time::SystemTime;

use crate::{Ustring, jute::record, session::SessionId};

record! {
    /// What the server knows of a node besides its data (`org.apache.zookeeper.data.Stat`).
    #[derive(Copy, Hash, Default)]
    pub struct Stat {
        /// The transaction that made the node.
        pub czxid: i64,
        /// The transaction that last set the node's data.
        pub mzxid: i64,
        /// When the node was made: milliseconds since 1970, by the leader's clock.
        pub ctime: i64,
        /// When the node's data were last set: milliseconds since 1970, by the leader's clock.
        pub mtime: i64,
        /// How often the data were set. Wraps.
        pub version: i32,
        /// How often a child was made or deleted. Wraps.
        pub cversion: i32,
        /// How often the access list was set. Wraps.
        pub aversion: i32,
        /// The session that an ephemeral node goes with; 0 for every other kind of node.
        pub ephemeral_owner: i64,
        /// Bytes of the node's data.
        pub data_length: i32,
        /// How many children the node has.
        pub num_children: i32,
        /// The transaction that last made or deleted a child; `czxid` when there was none.
        pub pzxid: i64,
    }
}

impl Stat {
    /// Whether the node goes with its session.
    #[must_use]
    pub const fn is_ephemeral(&self) -> bool {
        self.ephemeral_owner != 0
    }

    /// The session that the node goes with; `None` for one that goes with none. Containers and nodes with a
    /// time to live, which have a mark in [`ephemeral_owner`](Self::ephemeral_owner), go with none.
    #[must_use]
    pub const fn owner(&self) -> Option<SessionId> {
        const TTL: i64 = 0xff;
        match self.ephemeral_owner {
            0 | i64::MIN => None,
            owner if (owner >> 56) & 0xff == TTL => None,
            owner => Some(SessionId(owner)),
        }
    }

    /// The time at which the node was created, by the server's clock.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn created(&self) -> SystemTime {
        moment(self.ctime)
    }

    /// The time at which the node's data were last written, by the server's clock.
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
    /// One identity of a session (`org.apache.zookeeper.data.ClientInfo`).
    #[derive(PartialOrd, Ord, Hash)]
    pub struct ClientInfo {
        /// How the identity was proven, as [`Id::scheme`](crate::Id::scheme).
        pub auth_scheme: Ustring,
        /// The user's name, or an address; a digest is not part of it.
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
