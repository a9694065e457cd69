//! What goes wrong and when, as a state machine: the seed decides, within the limits of [`Faults`].
//!
//! It knows nothing of what it breaks but the numbers of machines, processes and connections. What it returns
//! is for others to carry out.

use std::{collections::BTreeSet, io, time::Duration};

use crate::{
    network::{Cut, Direction},
    queue::Queue,
};

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// A connection is cut.
    Cut,
    /// One direction of a connection delivers nothing for a while.
    Hold,
    /// One or two servers go down for a while.
    Outage,
    /// A server freezes for a while.
    Freeze,
    /// A session ends as if it had expired.
    EndSession,
    /// A process is paused.
    Pause,
    /// A process is paused just when something has arrived for it.
    PauseAtArrival,
    /// The clock of a process jumps ahead.
    Jump,
    /// A process is killed.
    Kill,
    /// A member of the ensemble is isolated from the others.
    Isolation,
    /// The time changes that a member of the ensemble takes to learn of what was agreed on.
    Lag,
    /// A connection to a member is cut just when a request on it has been agreed on.
    LoseReply,
    /// The length of a packet from the server is larger than what follows.
    WrongLength,
    /// What the server sends arrives byte by byte.
    Trickle,
    /// A server closes each connection after its first replies, for a while.
    EarlyClose,
    /// The reply to the next handshake is wrong.
    BadHandshake,
}

/// What is wrong with the reply to a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BadHandshake {
    /// It has a timeout but no session.
    NoSession,
    /// It has this timeout, which is not valid, and no session.
    Timeout(i32),
    /// It is for a new session instead of the requested one.
    OtherSession,
}

/// All kinds and their relative frequency.
pub const FAULT_KINDS: [(FaultKind, u32); 16] = [
    (FaultKind::Cut, 8),
    (FaultKind::Hold, 6),
    (FaultKind::Outage, 2),
    (FaultKind::Freeze, 2),
    (FaultKind::EndSession, 1),
    (FaultKind::Pause, 3),
    (FaultKind::PauseAtArrival, 3),
    (FaultKind::Jump, 1),
    (FaultKind::Kill, 1),
    (FaultKind::Isolation, 3),
    (FaultKind::Lag, 3),
    (FaultKind::LoseReply, 3),
    (FaultKind::WrongLength, 3),
    (FaultKind::Trickle, 3),
    (FaultKind::EarlyClose, 2),
    (FaultKind::BadHandshake, 2),
];

/// What may go wrong and how often.
#[derive(Debug, Clone)]
pub struct Faults {
    /// The mean time between two faults.
    pub every: Duration,
    /// The longest that a fault lasts, if it is one that ends.
    pub longest: Duration,
    /// How many percent of all connections are cut after a random number of bytes.
    pub cut_percent: u8,
    /// How many percent of all attempts to connect go wrong; of all name resolutions, a quarter of it.
    pub connect_fail_percent: u8,
    /// How many of a million runs of a task are delayed.
    pub delays: u32,
    /// The relative frequency of each kind, in the order of [`FAULT_KINDS`]; 0 for never.
    pub weights: [u32; FAULT_KINDS.len()],
}

impl Faults {
    /// Draws a mixture of faults for sessions with this timeout. Some kinds may be missing.
    pub(crate) fn draw(random: &mut fastrand::Rng, session_timeout: Duration) -> Self {
        let weights = FAULT_KINDS.map(|(_, weight)| weight * random.u32(..3));
        Self {
            every: Duration::from_millis(random.u64(100..4_000)),
            longest: session_timeout.mul_f64(0.2 + 2.0 * random.f64()),
            cut_percent: random.u8(..80),
            connect_fail_percent: random.u8(..40),
            delays: [0, 4_000, 40_000, 120_000][random.usize(..4)],
            weights,
        }
    }
}

/// A fault that is over after a while.
#[derive(Debug, Clone, Copy)]
enum Temporary {
    Outage(usize),
    Freeze(usize),
    Pause(usize),
    Isolation(usize),
    EarlyClose(usize),
}

impl Temporary {
    /// What begins it, or ends it.
    const fn action(self, begins: bool) -> Action {
        match self {
            Self::Outage(machine) => Action::SetDown(machine, begins),
            Self::Freeze(machine) => Action::SetFrozen(machine, begins),
            Self::Pause(process) => Action::SetPaused(process, begins),
            Self::Isolation(machine) => Action::SetIsolated(machine, begins),
            Self::EarlyClose(machine) => Action::SetClosesEarly(machine, begins),
        }
    }
}

/// What may break.
pub(crate) struct Targets {
    /// How many machines there are.
    pub(crate) machines: usize,
    /// The processes of clients that were not killed.
    pub(crate) processes: Vec<usize>,
    /// The connections that are open.
    pub(crate) connections: Vec<u64>,
}

/// Something to be done.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Action {
    Cut(u64, Cut),
    Hold(u64, Direction, Duration),
    AddToLength(u64, u32),
    Trickle(u64, Duration),
    SetDown(usize, bool),
    SetFrozen(usize, bool),
    SetIsolated(usize, bool),
    SetClosesEarly(usize, bool),
    SetLag(usize, Duration),
    SetLosesReply(bool),
    EndSession,
    SetPaused(usize, bool),
    Jump(usize, Duration),
    Kill(usize),
}

/// What happens to an attempt to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attempt {
    Accept,
    Refuse,
    Hang,
    /// The server accepts it, but the client never learns of that.
    AcceptUnnoticed,
}

enum Due {
    NextFault,
    Over(Temporary),
}

pub(crate) struct FaultInjector {
    random: fastrand::Rng,
    faults: Option<Faults>,
    due: Queue<Due>,
    paused: BTreeSet<usize>,
    /// For how long the process for which something arrives next is paused.
    pause_at_arrival: Option<Duration>,
    /// How the next handshake is answered, if wrongly.
    bad_handshake: Option<BadHandshake>,
    /// Whether all attempts to connect are refused.
    pub(crate) is_unreachable: bool,
}

impl FaultInjector {
    pub(crate) const fn new(random: fastrand::Rng) -> Self {
        Self {
            random,
            faults: None,
            due: Queue::new(),
            paused: BTreeSet::new(),
            pause_at_arrival: None,
            bad_handshake: None,
            is_unreachable: false,
        }
    }

    /// Whether nothing is broken on purpose.
    pub(crate) const fn is_calm(&self) -> bool {
        self.faults.is_none()
    }

    /// Begins to break things, until [`heal`](Self::heal).
    pub(crate) fn begin(&mut self, now: Duration, faults: Faults, machines: usize) -> Vec<Action> {
        self.faults = Some(faults);
        self.due.push(now, Due::NextFault);
        (0..machines).map(|machine| self.lag(machine)).collect()
    }

    /// Has a member of the ensemble learn late of what was agreed on, or not.
    fn lag(&mut self, machine: usize) -> Action {
        let most = [0, 20, 100, 500, 3_000][self.random.usize(..5)];
        Action::SetLag(machine, Duration::from_millis(most))
    }

    /// Ends all faults. What was lost stays lost.
    pub(crate) fn heal(&mut self, machines: usize) -> Vec<Action> {
        self.faults = None;
        drop(self.due.take());
        self.pause_at_arrival = None;
        self.bad_handshake = None;
        let mut actions: Vec<_> = std::mem::take(&mut self.paused)
            .into_iter()
            .map(|it| Action::SetPaused(it, false))
            .collect();
        actions.push(Action::SetLosesReply(false));
        for machine in 0..machines {
            let of_machine =
                [Temporary::Outage, Temporary::Freeze, Temporary::Isolation, Temporary::EarlyClose];
            actions.extend(of_machine.map(|fault| fault(machine).action(false)));
            actions.push(Action::SetLag(machine, Duration::ZERO));
        }
        actions
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(crate) fn poll_timeout(&self) -> Option<Duration> {
        self.due.next_due()
    }

    /// Begins a fault or ends one, whichever is due. Returns the kind of a new fault and its duration too.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Duration,
        targets: &Targets,
    ) -> (Option<(FaultKind, Duration)>, Vec<Action>) {
        match self.due.pop_due(now) {
            Some(Due::Over(fault)) => {
                if let Temporary::Pause(process) = fault {
                    self.paused.remove(&process);
                }
                (None, vec![fault.action(false)])
            }
            Some(Due::NextFault) => match self.next_fault(now) {
                Some((kind, duration)) => {
                    (Some((kind, duration)), self.fault(now, kind, duration, targets))
                }
                None => (None, Vec::new()),
            },
            None => (None, Vec::new()),
        }
    }

    fn next_fault(&mut self, now: Duration) -> Option<(FaultKind, Duration)> {
        let faults = self.faults.as_ref()?;
        let pause = faults.every.mul_f64(-(1.0 - self.random.f64()).ln());
        self.due.push(now + pause, Due::NextFault);
        let total: u32 = faults.weights.iter().sum();
        let mut drawn = if total == 0 { return None } else { self.random.u32(..total) };
        // Most faults are short.
        let duration = faults.longest.mul_f64(self.random.f64().powi(2));
        for ((kind, _), weight) in FAULT_KINDS.iter().zip(faults.weights) {
            match drawn.checked_sub(weight) {
                Some(rest) => drawn = rest,
                None => return Some((*kind, duration)),
            }
        }
        None
    }

    fn fault(
        &mut self,
        now: Duration,
        kind: FaultKind,
        duration: Duration,
        targets: &Targets,
    ) -> Vec<Action> {
        let machine = self.random.usize(..targets.machines);
        let process = self.random.choice(&targets.processes).copied();
        let connection = self.random.choice(&targets.connections).copied();
        let action = match (kind, connection, process) {
            (FaultKind::Outage, ..) => {
                let mut actions = self.temporary(now, Temporary::Outage(machine), duration);
                // Sometimes two machines go down at once, so that no quorum is left.
                if self.random.u8(..4) == 0 {
                    let other = (machine + 1) % targets.machines;
                    actions.extend(self.temporary(now, Temporary::Outage(other), duration));
                }
                return actions;
            }
            (FaultKind::Freeze, ..) => {
                return self.temporary(now, Temporary::Freeze(machine), duration);
            }
            (FaultKind::Isolation, ..) => {
                return self.temporary(now, Temporary::Isolation(machine), duration);
            }
            (FaultKind::EarlyClose, ..) => {
                return self.temporary(now, Temporary::EarlyClose(machine), duration);
            }
            (FaultKind::Pause, _, Some(process)) => return self.pause(now, process, duration),
            (FaultKind::PauseAtArrival, ..) => {
                self.pause_at_arrival = Some(duration);
                return Vec::new();
            }
            (FaultKind::BadHandshake, ..) => {
                let all = [
                    BadHandshake::NoSession,
                    BadHandshake::Timeout(0),
                    BadHandshake::Timeout(-1),
                    BadHandshake::OtherSession,
                ];
                self.bad_handshake = self.random.choice(all);
                return Vec::new();
            }
            (FaultKind::Lag, ..) => self.lag(machine),
            (FaultKind::EndSession, ..) => Action::EndSession,
            (FaultKind::LoseReply, ..) => Action::SetLosesReply(true),
            (FaultKind::Jump, _, Some(process)) => Action::Jump(process, duration),
            (FaultKind::Kill, _, Some(process)) if targets.processes.len() > 2 => {
                Action::Kill(process)
            }
            (FaultKind::Cut, Some(connection), _) => Action::Cut(connection, self.cut_kind()),
            (FaultKind::Hold, Some(connection), _) => {
                Action::Hold(connection, self.direction(), now + duration)
            }
            (FaultKind::WrongLength, Some(connection), _) => {
                // More than any server sends here within a session timeout.
                Action::AddToLength(connection, self.random.u32(2 << 20..=3 << 20))
            }
            (FaultKind::Trickle, Some(connection), _) => {
                Action::Trickle(connection, Duration::from_millis(self.random.u64(10..1_000)))
            }
            _ => return Vec::new(),
        };
        vec![action]
    }

    fn temporary(&mut self, now: Duration, fault: Temporary, duration: Duration) -> Vec<Action> {
        self.due.push(now + duration, Due::Over(fault));
        vec![fault.action(true)]
    }

    /// Pauses a process for a while, if it is not paused already.
    fn pause(&mut self, now: Duration, process: usize, duration: Duration) -> Vec<Action> {
        if !self.paused.insert(process) {
            return Vec::new();
        }
        self.temporary(now, Temporary::Pause(process), duration)
    }

    /// Something has arrived for a process.
    pub(crate) fn handle_arrival(&mut self, now: Duration, process: usize) -> Vec<Action> {
        match self.pause_at_arrival.take() {
            Some(duration) => self.pause(now, process, duration),
            None => Vec::new(),
        }
    }

    /// Whether, after how many bytes and how a new connection is to be cut.
    pub(crate) fn cut_of_new_connection(&mut self) -> Option<(Direction, usize, Cut)> {
        let cut_percent = self.faults.as_ref()?.cut_percent;
        if self.random.u8(..100) >= cut_percent {
            return None;
        }
        // Often early: during the handshake or the requests that follow it.
        let most = [48, 200, 1_000, 20_000][self.random.usize(..4)];
        Some((self.direction(), self.random.usize(..most), self.cut_kind()))
    }

    fn cut_kind(&mut self) -> Cut {
        [Cut::Reset, Cut::Close, Cut::HalfClose, Cut::Silence][self.random.usize(..4)]
    }

    fn direction(&mut self) -> Direction {
        if self.random.bool() { Direction::ToServer } else { Direction::ToClient }
    }

    /// What happens to an attempt to connect, and when.
    pub(crate) fn connect(&mut self, now: Duration) -> (Duration, Attempt) {
        let at = now + Duration::from_micros(self.random.u64(50..5_000));
        if self.is_unreachable {
            return (at, Attempt::Refuse);
        }
        let fail_percent = self.faults.as_ref().map_or(0, |faults| faults.connect_fail_percent);
        if self.random.u8(..100) >= fail_percent {
            return (at, Attempt::Accept);
        }
        match self.random.u8(..5) {
            0 => (at, Attempt::Hang),
            1 => (at, Attempt::AcceptUnnoticed),
            2 => (at + Duration::from_millis(self.random.u64(..3_000)), Attempt::Accept),
            _ => (at, Attempt::Refuse),
        }
    }

    /// When a name is resolved.
    ///
    /// # Errors
    /// That it cannot be resolved.
    pub(crate) fn resolve(&mut self, now: Duration) -> io::Result<Duration> {
        let fail_percent = self.faults.as_ref().map_or(0, |faults| faults.connect_fail_percent) / 4;
        if self.random.u8(..100) >= fail_percent {
            return Ok(now);
        }
        if self.random.bool() {
            return Ok(now + Duration::from_millis(self.random.u64(..3_000)));
        }
        Err(io::Error::new(io::ErrorKind::NotFound, "the resolver fails"))
    }

    /// Changes the first packet in a direction if the next handshake is to go wrong in it.
    pub(crate) fn change_handshake(&mut self, direction: Direction, packet: &mut [u8]) {
        // The session of a ConnectRequest, and the timeout and the session of a ConnectResponse.
        let fields: &[(usize, &[u8])] = match (direction, &self.bad_handshake) {
            (Direction::ToServer, Some(BadHandshake::OtherSession)) => &[(20, &[0; 8])],
            (Direction::ToClient, Some(BadHandshake::NoSession)) => &[(12, &[0; 8])],
            (Direction::ToClient, Some(BadHandshake::Timeout(timeout))) => {
                &[(8, &timeout.to_be_bytes()), (12, &[0; 8])]
            }
            _ => return,
        };
        for (at, value) in fields {
            let Some(field) = packet.get_mut(*at..at + value.len()) else { return };
            field.copy_from_slice(value);
        }
        self.bad_handshake = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_end_by_themselves_or_when_healed() {
        let mut injector = FaultInjector::new(fastrand::Rng::with_seed(0));
        let targets = Targets { machines: 3, processes: vec![1, 2, 3], connections: vec![7] };
        let mut weights = [0; FAULT_KINDS.len()];
        weights[FAULT_KINDS.iter().position(|(kind, _)| *kind == FaultKind::Pause).unwrap()] = 1;
        let faults = Faults {
            every: Duration::from_secs(1),
            longest: Duration::from_secs(3),
            cut_percent: 0,
            connect_fail_percent: 0,
            delays: 0,
            weights,
        };
        injector.begin(Duration::ZERO, faults, targets.machines);
        let mut paused = BTreeSet::new();
        let mut carry_out = |actions: Vec<Action>| {
            for action in actions {
                match action {
                    Action::SetPaused(process, true) => assert!(paused.insert(process)),
                    Action::SetPaused(process, false) => assert!(paused.remove(&process)),
                    _ => {}
                }
            }
            paused.len()
        };
        let mut most = 0;
        for _ in 0..1_000 {
            let now = injector.poll_timeout().expect("there is always a next fault");
            most = most.max(carry_out(injector.handle_timeout(now, &targets).1));
        }
        assert!((2..=3).contains(&most));
        assert_eq!(carry_out(injector.heal(targets.machines)), 0);
        assert_eq!(injector.poll_timeout(), None);
    }
}
