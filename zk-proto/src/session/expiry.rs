//! Servers that close the connection instead of answering the handshake.
//!
//! A server does so while it has no quorum, and if it is behind the newest transaction that the client
//! says it has seen (`ZooKeeperServer.processConnectRequest`): the client is to find one that has caught
//! up. Where the servers have lost their data there is none, and the Java client tries for ever.
//!
//! Here the cause says what may be wrong. And once the time of the session is up by this side's clock, and
//! every host has shut it out for so long, the session *asks anew*: it connects as one that has seen
//! nothing, which is how a server says what became of the session.
//! - If the server does not know the session, it has expired. That is the server's word.
//! - If the server knows the session but is behind, the connection is left: nobody reads what is older
//!   than what he has read.
//! - A new session that is shut out gives up what an earlier one had seen, after [`CATCH_UP`] at least:
//!   no member of an ensemble lags so much.

use alloc::format;
use core::time::Duration;

use crate::Time;

use super::{Cause, Session};

/// How long a member of an ensemble may take to catch up, which is syncLimit ticks in the servers' sample
/// configuration.
const CATCH_UP: Duration = Duration::from_secs(10);

/// Since when, and how often, handshakes were not answered but closed.
#[derive(Debug)]
pub(super) struct ShutOut {
    since: Time,
    times: usize,
}

impl<T: Clone> Session<T> {
    /// The peer has closed the connection instead of answering the handshake. Returns what to say of it.
    pub(super) fn shut_out(&mut self, now: Time, cause: &Cause) -> Cause {
        let shut_out = self.shut_out.get_or_insert(ShutOut { since: now, times: 0 });
        shut_out.times = shut_out.times.saturating_add(1);
        cause.saying(match self.identity.last_zxid {
            0 => format!("{cause} during the handshake"),
            zxid => format!(
                "{cause} during the handshake; the server may have no quorum, or be behind the newest \
                 transaction that this client has seen (zxid {zxid:#x})"
            ),
        })
    }

    /// Whether the next handshake is to say that nothing was seen.
    pub(super) fn asks_anew(&mut self, now: Time) -> bool {
        let timeout = self.identity.timeouts.sane();
        let confirmed = self.identity.confirmed;
        let patience = if confirmed { timeout } else { timeout.max(CATCH_UP) };
        let zxid = self.identity.last_zxid;
        let hosts = self.route.len();
        let over = zxid > 0 && self.route.left(now).is_none();
        let Some(shut_out) = self.shut_out.as_mut().filter(|_| over) else { return false };
        if shut_out.times < hosts || now.since(shut_out.since) < patience {
            return false;
        }
        shut_out.times = 0;
        tracing::warn!(
            zxid = format_args!("{zxid:#x}"),
            "no server answers a client that has seen this transaction; asking as one that has not: \
             the servers may have lost data"
        );
        true
    }
}
