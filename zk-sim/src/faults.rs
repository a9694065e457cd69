//! What goes wrong, and when: drawn by the seed, within bounds that the world sets.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use crate::{
    executor::{Core, Event},
    network::{Cut, Direction},
};

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A connection is cut.
    Cut,
    /// One direction of a connection is held.
    Hold,
    /// Servers go down, for a while.
    Outage,
    /// A server freezes.
    Freeze,
    /// A session is ended behind its owner's back.
    EndSession,
    /// A process is paused.
    Pause,
    /// A process is paused just when something has arrived for it.
    PauseAtArrival,
    /// Its clock jumps.
    Jump,
    /// A process is killed.
    Kill,
    /// A member of the ensemble is cut off from the others.
    CutOff,
    /// A member of the ensemble learns of what was agreed on later than before, or earlier.
    Lag,
    /// A connection to a member is cut just when a request that came by it has been agreed on.
    LoseReply,
    /// A packet of the server promises more bytes than ever come.
    Promise,
    /// What the server sends comes in byte by byte.
    Trickle,
    /// A server closes each connection after its first answers, for a while.
    AnswerOnce,
    /// The next handshake is answered oddly.
    OddGrant,
}

/// How a handshake is answered that is answered oddly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grant {
    /// With a timeout, and no session.
    Nameless,
    /// With this timeout, which is none.
    Refused(i32),
    /// With a new session, whichever was asked for.
    Another,
}

/// All kinds, and how often each is drawn by comparison.
pub const KINDS: [(Kind, u32); 16] = [
    (Kind::Cut, 8),
    (Kind::Hold, 6),
    (Kind::Outage, 2),
    (Kind::Freeze, 2),
    (Kind::EndSession, 1),
    (Kind::Pause, 3),
    (Kind::PauseAtArrival, 3),
    (Kind::Jump, 1),
    (Kind::Kill, 1),
    (Kind::CutOff, 3),
    (Kind::Lag, 3),
    (Kind::LoseReply, 3),
    (Kind::Promise, 3),
    (Kind::Trickle, 3),
    (Kind::AnswerOnce, 2),
    (Kind::OddGrant, 2),
];

/// What may go wrong. Each kind has a weight, 0 for never; a kind's share of all faults is its share of
/// the weights.
#[derive(Debug, Clone)]
pub struct Faults {
    /// The mean time between two faults.
    pub every: Duration,
    /// The longest that a hold, an outage, a freeze or a pause lasts.
    pub longest: Duration,
    /// In how many of a hundred connections a cut awaits, after some number of bytes.
    pub doomed: u8,
    /// In how many of a hundred attempts to connect, or to resolve, something is wrong.
    pub unwelcome: u8,
    /// How many of a million runs of a task are put off.
    pub delays: u32,
    /// Weights, in the order of [`KINDS`].
    pub weights: [u32; KINDS.len()],
}

impl Faults {
    /// A mixture of faults, of which some may be missing, for sessions with this timeout.
    pub(crate) fn draw(random: &mut fastrand::Rng, session_timeout: Duration) -> Self {
        let weights = KINDS.map(|(_, weight)| weight * random.u32(..3));
        Self {
            every: Duration::from_millis(random.u64(100..4_000)),
            longest: session_timeout.mul_f64(0.2 + 2.0 * random.f64()),
            doomed: random.u8(..80),
            unwelcome: random.u8(..40),
            delays: [0, 4_000, 40_000, 120_000][random.usize(..4)],
            weights,
        }
    }
}

/// A fault that ends by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    Outage(usize),
    Freeze(usize),
    Pause(usize),
    CutOff(usize),
    AnswerOnce(usize),
}

/// What awaits an attempt to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Welcome {
    Accept,
    Refuse,
    Hang,
    /// The server has accepted it, and the client does not hear of it.
    Unheard,
}

impl Core {
    /// Begins to break things, until [`heal`](Self::heal).
    pub(crate) fn begin_faults(&mut self, faults: Faults) {
        self.faults = Some(faults);
        self.schedule(self.now, Event::Fault);
        for machine in 0..self.host.machines.len() {
            self.begin_lag(machine);
        }
    }

    /// Has a member learn late of what is agreed on, or not.
    fn begin_lag(&mut self, machine: usize) {
        let most = [0, 20, 100, 500, 3_000][self.random.usize(..5)];
        self.set_lag(machine, Duration::from_millis(most));
    }

    /// Ends all faults. What was lost stays lost.
    pub(crate) fn heal(&mut self) {
        self.faults = None;
        self.trace.step(self.now, "heal", 0, 0);
        for process in 0..self.processes.len() {
            self.set_paused(process, false);
        }
        self.release_all();
        self.end_delays(|_| true);
        self.lose_next_reply(false);
        self.pauses_at_arrival = None;
        self.odd_grant = None;
        for machine in 0..self.host.machines.len() {
            for fault in [Fault::Outage, Fault::Freeze, Fault::CutOff, Fault::AnswerOnce] {
                self.end_fault(fault(machine));
            }
            self.set_lag(machine, Duration::ZERO);
        }
    }

    pub(crate) fn next_fault(&mut self) {
        let Some(faults) = self.faults.clone() else { return };
        let pause = faults.every.mul_f64(-(1.0 - self.random.f64()).ln());
        self.schedule(self.now + pause, Event::Fault);
        let total: u32 = faults.weights.iter().sum();
        if total == 0 {
            return;
        }
        let mut drawn = self.random.u32(..total);
        let mut kinds = KINDS.iter().zip(faults.weights);
        let kind = loop {
            let Some(((kind, _), weight)) = kinds.next() else { return };
            match drawn.checked_sub(weight) {
                Some(rest) => drawn = rest,
                None => break *kind,
            }
        };
        // Most faults are short.
        let lasts = faults.longest.mul_f64(self.random.f64().powi(2));
        self.trace.step(self.now, "fault", kind as u64, lasts.as_millis() as u64);
        self.begin_fault(kind, lasts);
    }

    fn begin_fault(&mut self, kind: Kind, lasts: Duration) {
        let until = self.now + lasts;
        let machine = self.random.usize(..self.host.machines.len());
        let alive = self.alive();
        let process = (!alive.is_empty()).then(|| alive[self.random.usize(..alive.len())]);
        let fault = match (kind, process) {
            (Kind::Cut, _) => {
                let cut = self.draw_cut_kind();
                if let Some(connection) = self.draw_connection() {
                    self.cut(connection, cut);
                }
                return;
            }
            (Kind::Hold, _) => {
                let direction = self.draw_direction();
                if let Some(connection) = self.draw_connection() {
                    self.hold(connection, direction, until);
                }
                return;
            }
            (Kind::Outage, _) => {
                // Now and then of two at once, which is a quorum.
                if self.random.u8(..4) == 0 {
                    let other = (machine + 1) % self.host.machines.len();
                    self.set_down(other, true);
                    self.schedule(until, Event::Over(Fault::Outage(other)));
                }
                self.set_down(machine, true);
                Fault::Outage(machine)
            }
            (Kind::Freeze, _) => {
                self.set_frozen(machine, true);
                Fault::Freeze(machine)
            }
            (Kind::EndSession, _) => return self.end_a_session(),
            (Kind::LoseReply, _) => return self.lose_next_reply(true),
            (Kind::Pause, Some(process)) => return self.pause(process, lasts),
            (Kind::PauseAtArrival, _) => {
                self.pauses_at_arrival = Some(lasts);
                return;
            }
            (Kind::Promise, _) => {
                // More than anybody sends here in a session timeout.
                let more = self.random.u32(2 << 20..=3 << 20);
                if let Some(connection) = self.draw_connection() {
                    self.promise(connection, more);
                }
                return;
            }
            (Kind::Trickle, _) => {
                let pace = Duration::from_millis(self.random.u64(10..1_000));
                if let Some(connection) = self.draw_connection() {
                    self.trickle(connection, pace);
                }
                return;
            }
            (Kind::OddGrant, _) => {
                let grants =
                    [Grant::Nameless, Grant::Refused(0), Grant::Refused(-1), Grant::Another];
                self.odd_grant = Some(grants[self.random.usize(..grants.len())]);
                return;
            }
            (Kind::Jump, Some(process)) => return self.jump(process, lasts),
            (Kind::Kill, Some(process)) if alive.len() > 2 => return self.kill(process),
            (Kind::CutOff, _) => {
                self.set_cut_off(machine, true);
                Fault::CutOff(machine)
            }
            (Kind::AnswerOnce, _) => {
                self.set_answers_once(machine, true);
                Fault::AnswerOnce(machine)
            }
            (Kind::Lag, _) => return self.begin_lag(machine),
            (Kind::Pause | Kind::Jump | Kind::Kill, _) => return,
        };
        self.schedule(until, Event::Over(fault));
    }

    /// Stops a process for a while, if it is not stopped already.
    fn pause(&mut self, process: usize, lasts: Duration) {
        if !self.is_paused(process) {
            self.set_paused(process, true);
            self.schedule(self.now + lasts, Event::Over(Fault::Pause(process)));
        }
    }

    /// Something has arrived for a process.
    pub(crate) fn arrived_for(&mut self, process: usize) {
        if let Some(lasts) = self.pauses_at_arrival.take() {
            self.pause(process, lasts);
        }
    }

    pub(crate) fn end_fault(&mut self, fault: Fault) {
        match fault {
            Fault::Outage(machine) => self.set_down(machine, false),
            Fault::Freeze(machine) => self.set_frozen(machine, false),
            Fault::Pause(process) => self.set_paused(process, false),
            Fault::CutOff(machine) => self.set_cut_off(machine, false),
            Fault::AnswerOnce(machine) => self.set_answers_once(machine, false),
        }
    }

    /// Whether a task that is ready has to wait, and for how long.
    pub(crate) fn draw_delay(&mut self) -> Option<Duration> {
        let faults = self.faults.as_ref()?;
        let (delays, longest) = (faults.delays, faults.longest);
        if self.random.u32(..1_000_000) >= delays {
            return None;
        }
        Some(longest.mul_f64(self.random.f64().powi(2)))
    }

    /// Whether, after how many bytes and how a new connection is to be cut.
    pub(crate) fn draw_cut(&mut self) -> Option<(Direction, usize, Cut)> {
        let doomed = self.faults.as_ref()?.doomed;
        if self.random.u8(..100) >= doomed {
            return None;
        }
        // Most often early: in the handshake, in the prologue.
        let most = [48, 200, 1_000, 20_000][self.random.usize(..4)];
        Some((self.draw_direction(), self.random.usize(..most), self.draw_cut_kind()))
    }

    fn draw_cut_kind(&mut self) -> Cut {
        [Cut::Reset, Cut::Close, Cut::HalfClose, Cut::Silence][self.random.usize(..4)]
    }

    fn draw_direction(&mut self) -> Direction {
        if self.random.bool() { Direction::ToServer } else { Direction::ToClient }
    }

    fn draw_connection(&mut self) -> Option<u64> {
        let open = self.network.open();
        (!open.is_empty()).then(|| open[self.random.usize(..open.len())])
    }

    /// What awaits an attempt to connect, and when.
    pub(crate) fn draw_welcome(&mut self) -> (Duration, Welcome) {
        let at = self.now + Duration::from_micros(self.random.u64(50..5_000));
        if self.is_unreachable {
            return (at, Welcome::Refuse);
        }
        let unwelcome = self.faults.as_ref().map_or(0, |faults| faults.unwelcome);
        if self.random.u8(..100) >= unwelcome {
            return (at, Welcome::Accept);
        }
        match self.random.u8(..5) {
            0 => (at, Welcome::Hang),
            1 => (at, Welcome::Unheard),
            2 => (at + Duration::from_millis(self.random.u64(..3_000)), Welcome::Accept),
            _ => (at, Welcome::Refuse),
        }
    }

    /// When a name is resolved, or that it is not.
    pub(crate) fn draw_resolution(&mut self) -> io::Result<Duration> {
        let unwelcome = self.faults.as_ref().map_or(0, |faults| faults.unwelcome) / 4;
        if self.random.u8(..100) >= unwelcome {
            return Ok(self.now);
        }
        if self.random.bool() {
            return Ok(self.now + Duration::from_millis(self.random.u64(..3_000)));
        }
        Err(io::Error::new(io::ErrorKind::NotFound, "the resolver fails"))
    }

    /// The address of one of the three names that servers have, or of those of [`DOWN`](crate::DOWN).
    pub(crate) fn resolve(host: &str) -> Option<IpAddr> {
        let number: u8 = host.strip_prefix("zk")?.parse().ok()?;
        (1..=7).contains(&number).then_some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, number)))
    }

    /// Whether nothing at this address ever answers, not even with a refusal: of the hosts that stay down
    /// those with an even number are so.
    pub(crate) const fn is_silent(address: SocketAddr) -> bool {
        match address.ip() {
            IpAddr::V4(ip) => matches!(ip.octets(), [10, 0, 0, 4 | 6]),
            IpAddr::V6(_) => false,
        }
    }

    /// The machine with this address, if it is up.
    pub(crate) fn machine_at(&self, address: SocketAddr) -> Option<usize> {
        match address.ip() {
            IpAddr::V4(ip) => {
                let [10, 0, 0, number] = ip.octets() else { return None };
                self.host.machine(number)
            }
            IpAddr::V6(_) => None,
        }
    }
}
