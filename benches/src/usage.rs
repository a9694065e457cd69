//! What this process has used up.

use std::{fs, time::Duration};

use rustix::time::{ClockId, clock_gettime};

/// What this process has used up so far.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Processor time of all its threads, in user space and in the kernel.
    pub cpu: Duration,
    /// How often its threads gave up a processor or had to.
    pub switches: u64,
}

impl Usage {
    /// So far.
    #[must_use]
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
        Self { cpu: Duration::new(seconds, nanos), switches: switches() }
    }

    /// From `earlier` to this.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            switches: self.switches.saturating_sub(earlier.switches),
        }
    }
}

/// Of the threads that live; where there is no such file, none.
fn switches() -> u64 {
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return 0 };
    let texts =
        threads.flatten().flat_map(|thread| fs::read_to_string(thread.path().join("status")));
    texts
        .map(|text| {
            let counts = text.lines().filter(|line| line.contains("_ctxt_switches:"));
            let counts = counts.filter_map(|line| line.split_whitespace().last());
            counts.filter_map(|count| count.parse::<u64>().ok()).sum::<u64>()
        })
        .sum()
}

/// The median of `values`, of which there is at least one.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// So many percent of `sorted`, of which there is at least one, are no greater.
#[must_use]
pub fn percentile(sorted: &[u32], percent: usize) -> u32 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}
