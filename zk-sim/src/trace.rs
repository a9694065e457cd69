//! The trace of a run: a hash to compare runs by, and lines to read.

use std::{fmt, time::Duration};

/// A function that receives the lines of a trace.
pub type Print = Box<dyn FnMut(&str) + Send>;

/// Records every step of a run.
pub(crate) struct Trace {
    hash: u64,
    steps: u64,
    print: Option<Print>,
}

impl Trace {
    /// A trace that passes its lines to `print`, if there is one.
    pub(crate) fn new(print: Option<Print>) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, steps: 0, print }
    }

    /// Records a step of a kind, with two numbers that tell it from others.
    pub(crate) fn step(&mut self, now: Duration, kind: &'static str, a: u64, b: u64) {
        self.steps += 1;
        let nanos = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        for word in [nanos, kind.len() as u64, a, b] {
            // FNV-1a, a word at a time.
            self.hash = (self.hash ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
        }
        self.line(now, format_args!("{kind} {a} {b}"));
    }

    /// Whether anything reads the lines.
    pub(crate) const fn has_reader(&self) -> bool {
        self.print.is_some()
    }

    /// Writes a line that is not part of the hash.
    pub(crate) fn note(&mut self, now: Duration, text: impl FnOnce() -> String) {
        if self.print.is_some() {
            self.line(now, format_args!("# {}", text()));
        }
    }

    fn line(&mut self, now: Duration, text: fmt::Arguments<'_>) {
        if let Some(print) = &mut self.print {
            print(&format!("{:12.6} {text}", now.as_secs_f64()));
        }
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) const fn steps(&self) -> u64 {
        self.steps
    }
}
