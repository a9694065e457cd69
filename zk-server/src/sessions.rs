//! The sessions, their passwords, and when they expire (`SessionTrackerImpl`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use zk_proto::{Time, session::SessionId};

use crate::connection::ConnectionId;

/// Bytes of a session's password.
pub(crate) const PASSWORD_LEN: usize = 16;

pub(crate) struct Session {
    pub(crate) timeout: Duration,
    pub(crate) connection: Option<ConnectionId>,
    /// Whether the session was opened by a read-only server, and so ends when the server becomes writable.
    pub(crate) is_local: bool,
    expires: Time,
}

/// All sessions that have not ended.
pub(crate) struct Sessions {
    seed: u64,
    next: i64,
    tick: Duration,
    by_id: BTreeMap<SessionId, Session>,
    expiries: BTreeSet<(Time, SessionId)>,
}

impl Sessions {
    /// Creates an empty table. `seed` determines ids and passwords.
    pub(crate) fn new(seed: u64, tick: Duration) -> Self {
        // Ids look like those of a standalone server: server id 1, 40 bits that differ at each start, and a counter.
        let start = mix(seed) & 0xff_ffff_ffff;
        let next = 0x0100_0000_0000_0000 | (i64::try_from(start).unwrap_or(0) << 16);
        Self { seed, next, tick, by_id: BTreeMap::new(), expiries: BTreeSet::new() }
    }

    pub(crate) fn open(&mut self, now: Time, timeout: Duration, is_local: bool) -> SessionId {
        let id = SessionId(self.next);
        self.next = self.next.wrapping_add(1);
        let session = Session { timeout, connection: None, is_local, expires: Time::ZERO };
        self.by_id.insert(id, session);
        self.touch(now, id);
        id
    }

    pub(crate) fn get(&self, id: SessionId) -> Option<&Session> {
        self.by_id.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.by_id.get_mut(&id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.by_id.iter().map(|(id, session)| (*id, session))
    }

    pub(crate) fn remove(&mut self, id: SessionId) -> Option<Session> {
        let session = self.by_id.remove(&id)?;
        self.expiries.remove(&(session.expires, id));
        Some(session)
    }

    /// Extends the life of a session by its timeout, as its client was heard from.
    pub(crate) fn touch(&mut self, now: Time, id: SessionId) {
        let Some(session) = self.by_id.get_mut(&id) else { return };
        self.expiries.remove(&(session.expires, id));
        session.expires = next_tick(now.after(session.timeout), self.tick);
        self.expiries.insert((session.expires, id));
    }

    /// When the next session expires, unless its client is heard from.
    pub(crate) fn next_expiry(&self) -> Option<Time> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// A session that has expired at `now`.
    pub(crate) fn expired(&self, now: Time) -> Option<SessionId> {
        self.expiries.first().filter(|(at, _)| *at <= now).map(|(_, id)| *id)
    }

    /// The sessions by the time at which they expire.
    pub(crate) fn expiries(&self) -> BTreeMap<Time, Vec<SessionId>> {
        let mut sets: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for &(at, id) in &self.expiries {
            sets.entry(at).or_default().push(id);
        }
        sets
    }

    /// What the server's nonce of SASL on a connection is made of.
    #[cfg(feature = "sasl-digest-md5")]
    pub(crate) fn nonce(&self, connection: ConnectionId) -> u128 {
        let first = mix(self.seed ^ mix(!connection.0));
        u128::from(first) << 64 | u128::from(mix(first))
    }

    /// The password of a session. As in ZooKeeper, it is derived from the id and a secret of the server, here the seed.
    pub(crate) fn password(&self, id: SessionId) -> [u8; PASSWORD_LEN] {
        let first = mix(self.seed ^ mix(id.0.cast_unsigned()));
        let halves = (u128::from(first) << 64) | u128::from(mix(first));
        halves.to_be_bytes()
    }
}

/// The end of the tick that contains `at`.
fn next_tick(at: Time, tick: Duration) -> Time {
    let tick = tick.as_nanos().max(1);
    let ticks = at.since_origin().as_nanos().checked_div(tick).unwrap_or(0).saturating_add(1);
    let nanos = ticks.saturating_mul(tick);
    Time::from_origin(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
}

/// SplitMix64's output for one state (Steele, Lea, Flood 2014).
fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_id.keys()).finish()
    }
}
