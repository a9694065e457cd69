//! Runs workloads with one seed after another: `cargo run --release -p zk-sim -- --seeds 10000 --workload locks`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program prints")]

use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    time::{Duration, Instant},
};

use zk_sim::{
    Print, Sim,
    workloads::{WORKLOADS, Workload},
};

const USAGE: &str = "usage: zk-sim [--seeds N] [--from N] [--workload NAME]... [--trace]";

struct Options {
    seeds: u64,
    from: u64,
    workloads: Vec<Workload>,
    trace: bool,
}

impl Options {
    fn read() -> Result<Self, String> {
        let mut options = Self { seeds: 1_000, from: 0, workloads: Vec::new(), trace: false };
        let mut words = env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            let number = |text: String| text.parse().map_err(|_| format!("{text} is not a number"));
            match word.as_str() {
                "--seeds" => options.seeds = number(value()?)?,
                "--from" => options.from = number(value()?)?,
                "--workload" => {
                    let name = value()?;
                    let workload = WORKLOADS.iter().find(|workload| workload.name == name);
                    options
                        .workloads
                        .push(*workload.ok_or_else(|| format!("no such workload: {name}"))?);
                }
                "--trace" => options.trace = true,
                _ => return Err(format!("unknown option {word}; {USAGE}")),
            }
        }
        if options.workloads.is_empty() {
            options.workloads = WORKLOADS.to_vec();
        }
        Ok(options)
    }
}

/// The sum of all runs.
#[derive(Default)]
struct Total {
    simulated: Duration,
    sessions: u64,
    steps: u64,
}

impl Total {
    fn add(&mut self, sim: &Sim) {
        self.simulated += sim.now();
        self.sessions += sim.sessions();
        self.steps += sim.steps();
    }

    fn print(&self, seeds: u64, took: Duration) {
        let simulated = self.simulated.as_secs_f64();
        println!(
            "{seeds} seeds, {} sessions, {} steps; {simulated:.0} s simulated in {:.1} s, {:.0} times real time",
            self.sessions,
            self.steps,
            took.as_secs_f64(),
            simulated / took.as_secs_f64(),
        );
    }
}

fn main() -> ExitCode {
    let options = match Options::read() {
        Ok(options) => options,
        Err(what) => {
            eprintln!("{what}");
            return ExitCode::FAILURE;
        }
    };
    let begun = Instant::now();
    let mut printed = begun;
    let mut total = Total::default();
    for seed in options.from..options.from.saturating_add(options.seeds) {
        for workload in &options.workloads {
            let print = options.trace.then(|| Box::new(|line: &str| println!("{line}")) as Print);
            let sim = Sim::new(seed, print);
            let result = catch_unwind(AssertUnwindSafe(|| (workload.run)(&sim)));
            total.add(&sim);
            sim.end();
            let failure = match result {
                Ok(Ok(())) => continue,
                Ok(Err(what)) => what,
                Err(_) => "the workload panicked".to_owned(),
            };
            let name = workload.name;
            println!("seed {seed} of workload {name}: {failure}");
            println!(
                "replay: cargo run --release -p zk-sim -- --workload {name} --from {seed} --seeds 1 \
                 --trace"
            );
            total.print(seed - options.from, begun.elapsed());
            return ExitCode::FAILURE;
        }
        if printed.elapsed() > Duration::from_secs(10) {
            printed = Instant::now();
            total.print(seed - options.from + 1, begun.elapsed());
        }
    }
    total.print(options.seeds, begun.elapsed());
    ExitCode::SUCCESS
}
