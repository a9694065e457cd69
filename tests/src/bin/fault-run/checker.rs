//! What the workers' reports add up to.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    time::Duration,
};

use crate::report::Report;

/// Which client of which worker.
pub(crate) type ClientId = (usize, usize);

/// Who was sure of the lock, and from when to when.
#[derive(Debug, Clone, Copy)]
struct Tenure {
    session: i64,
    from: Duration,
    to: Duration,
}

/// Takes in reports, and judges them.
#[derive(Debug, Default)]
pub(crate) struct Referee {
    /// By fencing token.
    tenures: BTreeMap<i64, Tenure>,
    /// Tokens of writes, by transaction.
    writes: BTreeMap<i64, i64>,
    /// When sessions were ended behind their owners' backs: no clock can tell them.
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

impl Referee {
    pub(crate) fn take(&mut self, worker: usize, report: Report) {
        match report {
            Report::Session { client, id, password } => {
                self.sessions.insert((worker, client), (id, password));
            }
            Report::Lost { client } => {
                self.sessions.remove(&(worker, client));
                self.lost += 1;
            }
            Report::Acquired { client, .. } => {
                *self.acquired.entry((worker, client)).or_default() += 1;
                self.holder = worker;
            }
            Report::Held { token, session, at } => {
                let tenure =
                    self.tenures.entry(token).or_insert(Tenure { session, from: at, to: at });
                tenure.to = at;
            }
            Report::Wrote { token, zxid } => {
                self.writes.insert(zxid, token);
            }
            Report::Refused { .. } => self.refused += 1,
            Report::Unknown { .. } => self.unknown += 1,
            Report::Wrong { client, what } => {
                self.wrong.push(format!("client {client} of worker {worker}: {what}"));
            }
        }
    }

    /// A session is about to be ended behind its owner's back.
    pub(crate) fn will_end(&mut self, session: i64, now: Duration) {
        self.ended.entry(session).or_insert(now);
    }

    /// What is broken so far.
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
        let mut tenures: Vec<_> = self
            .tenures
            .iter()
            .map(|(token, tenure)| {
                let ended = self.ended.get(&tenure.session).copied().unwrap_or(Duration::MAX);
                (tenure.from, tenure.to.min(ended), *token)
            })
            .collect();
        tenures.sort_unstable();
        let mut until = (Duration::ZERO, 0);
        for (from, to, token) in tenures {
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

    pub(crate) fn verdict(
        &self,
        faults: BTreeMap<&'static str, u64>,
        more: Vec<String>,
    ) -> Verdict {
        let mut violations = self.violations();
        violations.extend(more);
        Verdict {
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

/// What came of it all.
#[derive(Debug)]
pub(crate) struct Verdict {
    acquisitions: u64,
    writes: usize,
    refused: u64,
    unknown: u64,
    lost: u64,
    faults: BTreeMap<&'static str, u64>,
    pub(crate) violations: Vec<String>,
}

impl fmt::Display for Verdict {
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

    fn held(token: i64, at: u64) -> Report {
        Report::Held { token, session: token, at: Duration::from_secs(at) }
    }

    fn referee(reports: impl IntoIterator<Item = Report>) -> Referee {
        let mut referee = Referee::default();
        reports.into_iter().for_each(|report| referee.take(0, report));
        referee
    }

    #[test]
    fn holders_in_turn_are_well() {
        let referee = referee([held(1, 10), held(1, 20), held(2, 20), held(2, 30), held(3, 31)]);
        assert_eq!(referee.violations(), [""; 0]);
    }

    #[test]
    fn two_holders_are_found() {
        let two = [held(1, 10), held(2, 20), held(1, 21)];
        assert_eq!(referee(two.clone()).violations().len(), 1);
        // Unless the first one's session was ended by force.
        let mut referee = referee(two);
        referee.will_end(1, Duration::from_secs(15));
        assert_eq!(referee.violations(), [""; 0]);
    }

    #[test]
    fn a_stale_write_is_found() {
        let wrote = |token, zxid| Report::Wrote { token, zxid };
        assert_eq!(referee([wrote(1, 10), wrote(1, 11), wrote(2, 12)]).violations(), [""; 0]);
        assert_eq!(referee([wrote(2, 11), wrote(1, 12)]).violations().len(), 1);
    }
}
