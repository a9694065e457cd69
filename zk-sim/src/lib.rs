//! Deterministic simulation of whole clusters in one thread: clients of `zk-client` and servers of `zk-server`
//! on a network in memory, with faults, under simulated time. A seed decides everything that is random, so
//! that a run can be replayed step by step.
//!
//! `docs/simulation.md` says what is simulated and what is not, and how to write a workload for a new recipe.
//!
//! | module | purpose |
//! |---|---|
//! | `executor` | tasks, timers and processes; it knows nothing of what they do |
//! | `network` | connections, as a state machine |
//! | `faults` | what goes wrong and when, as a state machine |
//! | `servers` | one server, or an ensemble of three, as state machines |
//! | `wire_rules`, `liveness` | the rules that hold for every connection |
//! | `world` | joins the above |
//! | `handler` | a simulated process as a [`Handler`](zk_handler::Handler) |
//! | [`Sim`] | the simulation, for tests and workloads |
//! | [`clients`], [`workloads`] | what clients do, and what must hold |
//! | [`reconnects`] | sessions without clients, for figures over thousands of them |

pub mod clients;
mod executor;
mod faults;
mod handler;
mod liveness;
mod network;
mod queue;
pub mod reconnects;
mod servers;
mod sim;
mod trace;
mod wire_rules;
pub mod workloads;
mod world;

pub use faults::{FAULT_KINDS, FaultKind, Faults};
pub use handler::{SimHandler, SimStream, yield_now};
pub use servers::{Change, DOWN_HOSTS, HOSTS, Record};
pub use sim::Sim;
pub use trace::Print;
