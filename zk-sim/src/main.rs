//! Runs worlds, seed after seed: `cargo run --release -p zk-sim -- --seeds 10000 --world locks`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    time::{Duration, Instant},
};

use zk_sim::{
    Print, Sim,
    workloads::{WORLDS, World},
};

const USAGE: &str = "zk-sim [--seeds N] [--from N] [--world NAME]... [--trace]";

struct Options {
    seeds: u64,
    from: u64,
    worlds: Vec<World>,
    trace: bool,
}

impl Options {
    fn read() -> Result<Self, String> {
        let mut options = Self { seeds: 1_000, from: 0, worlds: Vec::new(), trace: false };
        let mut words = env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
            let number = |text: String| text.parse().map_err(|_| format!("{text} is no number"));
            match word.as_str() {
                "--seeds" => options.seeds = number(value()?)?,
                "--from" => options.from = number(value()?)?,
                "--world" => {
                    let name = value()?;
                    let world = WORLDS.iter().find(|world| world.name == name);
                    options.worlds.push(*world.ok_or_else(|| format!("no world {name}"))?);
                }
                "--trace" => options.trace = true,
                _ => return Err(format!("what is {word}? {USAGE}")),
            }
        }
        if options.worlds.is_empty() {
            options.worlds = WORLDS.to_vec();
        }
        Ok(options)
    }
}

/// What all runs add up to.
#[derive(Default)]
struct Total {
    simulated: Duration,
    sessions: u64,
    steps: u64,
}

impl Total {
    fn take(&mut self, sim: &Sim) {
        self.simulated += sim.now();
        self.sessions += sim.sessions();
        self.steps += sim.steps();
    }

    fn print(&self, seeds: u64, took: Duration) {
        let simulated = self.simulated.as_secs_f64();
        println!(
            "{seeds} seeds, {} sessions, {} steps; {simulated:.0} s in {:.1} s, {:.0} times as fast",
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
    let mut told = begun;
    let mut total = Total::default();
    for seed in options.from..options.from.saturating_add(options.seeds) {
        for world in &options.worlds {
            let print = options.trace.then(|| Box::new(|line: &str| println!("{line}")) as Print);
            let sim = Sim::new(seed, print);
            let result = catch_unwind(AssertUnwindSafe(|| (world.run)(&sim)));
            total.take(&sim);
            sim.end();
            let failure = match result {
                Ok(Ok(())) => continue,
                Ok(Err(what)) => what,
                Err(_) => "the world panicked".to_owned(),
            };
            let name = world.name;
            println!("seed {seed} of world {name}: {failure}");
            println!(
                "again: cargo run --release -p zk-sim -- --world {name} --from {seed} --seeds 1 \
                 --trace"
            );
            total.print(seed - options.from, begun.elapsed());
            return ExitCode::FAILURE;
        }
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            total.print(seed - options.from + 1, begun.elapsed());
        }
    }
    total.print(options.seeds, begun.elapsed());
    ExitCode::SUCCESS
}
