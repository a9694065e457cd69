//! Checks the events of the workers for violations.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    time::Duration,
};

use crate::event::Event;

/// A worker and one of its clients.
pub(crate) type ClientId = (usize, usize);

/// The time from the first to the last moment at which a holder was sure of the lock.
#[derive(Debug, Clone, Copy)]
struct HoldPeriod {
    session: i64,
    from: Duration,
    to: Duration,
}

/// Collects events and checks them.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    /// By fencing token.
    hold_periods: BTreeMap<i64, HoldPeriod>,
    /// Tokens of writes, by transaction.
    writes: BTreeMap<i64, i64>,
    /// When sessions were closed on the server, which their owners could not know from the clock.
    ended: HashMap<i64, Duration>,
    pub(crate) sessions: HashMap<ClientId, (i64, Vec<u8>)>,
    pub(crate) acquired: HashMap<ClientId, u64>,
    /// The worker whose client got the lock last.
    pub(crate) holder: usize,
    pub(crate) lost: u64,
    refused: u64,
    unknown: u64,
    wrong: Vec<String>,
}

impl Checker {
    pub(crate) fn take(&mut self, worker: usize, event: Event) {
        match event {
            Event::Session { client, id, password } => {
                self.sessions.insert((worker, client), (id, password));
            }
            Event::Lost { client } => {
                self.sessions.remove(&(worker, client));
                self.lost += 1;
            }
            Event::Acquired { client, .. } => {
                *self.acquired.entry((worker, client)).or_default() += 1;
                self.holder = worker;
            }
            Event::Held { token, session, at } => {
                let hold_period = self.hold_periods.entry(token).or_insert(HoldPeriod {
                    session,
                    from: at,
                    to: at,
                });
                hold_period.to = at;
            }
            Event::Wrote { token, zxid } => {
                self.writes.insert(zxid, token);
            }
            Event::Refused { .. } => self.refused += 1,
            Event::Unknown { .. } => self.unknown += 1,
            Event::Wrong { client, what } => {
                self.wrong.push(format!("client {client} of worker {worker}: {what}"));
            }
        }
    }

    /// Records that a session is about to be closed on the server.
    pub(crate) fn will_end(&mut self, session: i64, now: Duration) {
        self.ended.entry(session).or_insert(now);
    }

    /// The violations so far.
    pub(crate) fn violations(&self) -> Vec<String> {
        let mut found = self.wrong.clone();
        for ((zxid, token), (later, next)) in self.writes.iter().zip(self.writes.iter().skip(1)) {
            if next < token {
                found.push(format!(
                    "two writers: {later:#x} was written under {next:#x}, after {zxid:#x} under \
                     {token:#x}"
                ));
            }
        }
        let mut hold_periods: Vec<_> = self
            .hold_periods
            .iter()
            .map(|(token, hold_period)| {
                let ended = self.ended.get(&hold_period.session).copied().unwrap_or(Duration::MAX);
                (hold_period.from, hold_period.to.min(ended), *token)
            })
            .collect();
        hold_periods.sort_unstable();
        let mut until = (Duration::ZERO, 0);
        for (from, to, token) in hold_periods {
            if from < until.0 {
                found.push(format!(
                    "two holders: {token:#x} was sure of the lock at {from:?}, and {:#x} until {:?}",
                    until.1, until.0
                ));
            }
            until = until.max((to, token));
        }
        found
    }

    pub(crate) fn summary(
        &self,
        faults: BTreeMap<&'static str, u64>,
        more: Vec<String>,
    ) -> Summary {
        let mut violations = self.violations();
        violations.extend(more);
        Summary {
            acquisitions: self.acquired.values().sum(),
            writes: self.writes.len(),
            refused: self.refused,
            unknown: self.unknown,
            lost: self.lost,
            faults,
            violations,
        }
    }
}

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Summary {
    acquisitions: u64,
    writes: usize,
    refused: u64,
    unknown: u64,
    lost: u64,
    faults: BTreeMap<&'static str, u64>,
    pub(crate) violations: Vec<String>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "acquisitions          {:>8}", self.acquisitions)?;
        writeln!(f, "writes under the lock {:>8}", self.writes)?;
        writeln!(f, "  refused as stale    {:>8}", self.refused)?;
        writeln!(f, "  outcome unknown     {:>8}", self.unknown)?;
        writeln!(f, "sessions lost         {:>8}", self.lost)?;
        for (kind, count) in &self.faults {
            writeln!(f, "fault: {kind:<15}{count:>8}")?;
        }
        write!(f, "violations            {:>8}", self.violations.len())?;
        self.violations.iter().take(10).try_for_each(|what| write!(f, "\n  {what}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(token: i64, at: u64) -> Event {
        Event::Held { token, session: token, at: Duration::from_secs(at) }
    }

    fn checker(events: impl IntoIterator<Item = Event>) -> Checker {
        let mut checker = Checker::default();
        events.into_iter().for_each(|event| checker.take(0, event));
        checker
    }

    #[test]
    fn consecutive_holders_are_no_violation() {
        let checker = checker([held(1, 10), held(1, 20), held(2, 20), held(2, 30), held(3, 31)]);
        assert_eq!(checker.violations(), [""; 0]);
    }

    #[test]
    fn two_holders_are_detected() {
        let two = [held(1, 10), held(2, 20), held(1, 21)];
        assert_eq!(checker(two.clone()).violations().len(), 1);
        // It is no violation if the session of the first one was closed on the server.
        let mut checker = checker(two);
        checker.will_end(1, Duration::from_secs(15));
        assert_eq!(checker.violations(), [""; 0]);
    }

    #[test]
    fn a_stale_write_is_detected() {
        let wrote = |token, zxid| Event::Wrote { token, zxid };
        assert_eq!(checker([wrote(1, 10), wrote(1, 11), wrote(2, 12)]).violations(), [""; 0]);
        assert_eq!(checker([wrote(2, 11), wrote(1, 12)]).violations().len(), 1);
    }
}
