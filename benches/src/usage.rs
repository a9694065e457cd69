//! The resource usage of this process, and statistics.

use std::{fs, time::Duration};

use rustix::time::{ClockId, clock_gettime};

/// The resource usage of this process.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// The processor time of all its threads, user and system.
    pub cpu: Duration,
    /// The number of context switches of its threads.
    pub switches: u64,
}

impl Usage {
    /// The usage so far.
    #[must_use]
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
        Self { cpu: Duration::new(seconds, nanos), switches: switches() }
    }

    /// The usage since `earlier`.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            switches: self.switches.saturating_sub(earlier.switches),
        }
    }
}

/// The context switches of the current threads; 0 if the system does not report them.
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

/// The median of `values`, which must not be empty.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The percentile of `sorted`, which must be sorted and not empty.
#[must_use]
pub fn percentile(sorted: &[u32], percent: usize) -> u32 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}
