//! What goes wrong, and when: drawn by the seed, within bounds that the world sets.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    task::Waker,
    time::Duration,
};

use crate::{
    executor::{Core, Event},
    network::{Cut, Direction},
};

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
    /// Weights: an open connection is cut; one direction of one is held; the server goes down; the server
    /// freezes; a session is ended behind its owner's back; a process is paused; its clock jumps.
    pub weights: [u32; 7],
}

impl Faults {
    /// A mixture of faults, of which some may be missing, for sessions with this timeout.
    pub(crate) fn draw(random: &mut fastrand::Rng, session_timeout: Duration) -> Self {
        let mut weights = [8, 6, 2, 2, 1, 3, 1];
        for weight in &mut weights {
            *weight *= random.u32(..3);
        }
        Self {
            every: Duration::from_millis(random.u64(100..4_000)),
            longest: session_timeout.mul_f64(0.2 + 2.0 * random.f64()),
            doomed: random.u8(..80),
            unwelcome: random.u8(..40),
            delays: random.u32(..3) * 1_000,
            weights,
        }
    }
}

/// A fault that ends by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    Outage,
    Freeze,
    Pause(usize),
}

/// What awaits an attempt to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Welcome {
    Accept,
    Refuse,
    Hang,
}

impl Core {
    /// Begins to break things, until [`heal`](Self::heal).
    pub(crate) fn begin_faults(&mut self, faults: Faults) {
        self.faults = Some(faults);
        self.schedule(self.now, Event::Fault);
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
        self.set_up(true);
        self.set_frozen(false);
    }

    pub(crate) fn next_fault(&mut self) -> Vec<Waker> {
        let Some(faults) = self.faults.clone() else { return Vec::new() };
        let pause = faults.every.mul_f64(-(1.0 - self.random.f64()).ln());
        self.schedule(self.now + pause, Event::Fault);
        let total: u32 = faults.weights.iter().sum();
        if total == 0 {
            return Vec::new();
        }
        let mut drawn = self.random.u32(..total);
        let mut kind = 0;
        while drawn >= faults.weights[kind] {
            drawn -= faults.weights[kind];
            kind += 1;
        }
        // Most faults are short.
        let lasts = faults.longest.mul_f64(self.random.f64().powi(2));
        let until = self.now + lasts;
        self.trace.step(self.now, "fault", kind as u64, lasts.as_millis() as u64);
        match kind {
            0 => {
                let cut = self.draw_cut_kind();
                if let Some(connection) = self.draw_connection() {
                    self.cut(connection, cut);
                }
            }
            1 => {
                let direction = self.draw_direction();
                if let Some(connection) = self.draw_connection() {
                    self.hold(connection, direction, until);
                }
            }
            2 => {
                self.set_up(false);
                self.schedule(until, Event::Over(Fault::Outage));
            }
            3 => {
                self.set_frozen(true);
                self.schedule(until, Event::Over(Fault::Freeze));
            }
            4 => self.end_a_session(),
            5 if self.processes.len() > 1 => {
                let process = self.random.usize(1..self.processes.len());
                if !self.is_paused(process) {
                    self.set_paused(process, true);
                    self.schedule(until, Event::Over(Fault::Pause(process)));
                }
            }
            6 if self.processes.len() > 1 => {
                let process = self.random.usize(1..self.processes.len());
                self.jump(process, lasts);
            }
            _ => {}
        }
        Vec::new()
    }

    pub(crate) fn end_fault(&mut self, fault: Fault) -> Vec<Waker> {
        match fault {
            Fault::Outage => self.set_up(true),
            Fault::Freeze => self.set_frozen(false),
            Fault::Pause(process) => self.set_paused(process, false),
        }
        Vec::new()
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
        let unwelcome = self.faults.as_ref().map_or(0, |faults| faults.unwelcome);
        if self.random.u8(..100) >= unwelcome {
            return (at, Welcome::Accept);
        }
        match self.random.u8(..4) {
            0 => (at, Welcome::Hang),
            1 => (at + Duration::from_millis(self.random.u64(..3_000)), Welcome::Accept),
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

    /// The address of one of the three names that the server has.
    pub(crate) fn resolve(host: &str) -> Option<IpAddr> {
        let number: u8 = host.strip_prefix("zk")?.parse().ok()?;
        (1..=3).contains(&number).then_some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, number)))
    }

    pub(crate) fn is_reachable(&self, address: SocketAddr) -> bool {
        self.host.is_up() && matches!(address.ip(), IpAddr::V4(ip) if ip.octets()[0] == 10)
    }
}
