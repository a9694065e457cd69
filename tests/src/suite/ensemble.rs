//! What a client does when servers of a real ensemble die, stall, lose each other, or forget it.
//!
//! Figures that are measured are printed: run with `--nocapture` to see them.

mod counter;
mod demands;
mod load;
mod quorum;
mod servers;
mod sessions;
mod stage;
mod watches;

use std::{
    collections::HashMap,
    env, fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use zk_client::{
    Backoff, Client, ClientBuilder, CreateMode, ErrorCode, ErrorKind, EventType, Outcome, Reconfig,
    SessionState,
    SessionState::{Connected, ConnectedReadOnly, Lost, Suspended},
    Watch,
};
use zk_handler::Handler;

use crate::{Direction, Mode, Options, Verdict, eventually, lock};

pub use demands::{credentials_are_demanded, sasl_is_demanded};
pub use load::{cuts_and_watches, leaders_die, many_watches, rolling_restart};
pub use quorum::{no_quorum, no_servers, read_only};
pub use servers::{a_stalled_server_is_left, fail_over, members_change, watches_survive};
pub use sessions::{a_server_is_wiped, expiry, silence, two_clients_on_one_session};

use counter::Counting;
use stage::{Changes, LIMIT, SLACK, Stage, client, is_loss};
use watches::Armed;

/// A session timeout that no test waits for.
const LONG: Duration = Duration::from_secs(20);

/// How often a server's clock of sessions ticks.
const TICK: Duration = Duration::from_millis(500);

/// Prints what was measured.
#[expect(clippy::print_stderr, reason = "figures are for whoever runs the tests")]
fn figure(what: &str, value: impl fmt::Debug) {
    eprintln!("{what}: {value:.1?}");
}

/// How often to do what is done often: the variable `name`, or `default`.
fn rounds(name: &str, default: usize) -> usize {
    match env::var(name) {
        Ok(rounds) => rounds.parse().unwrap_or_else(|_| panic!("{name}={rounds} is no number")),
        Err(_) => default,
    }
}

fn ephemeral_owner(zk: &Client) -> i64 {
    zk.session_id().expect("there is a session").0
}

/// The node `path` is there, and belongs to the session of `owner`.
async fn assert_owned(zk: &Client, path: &str, owner: i64) {
    zk.sync(path).await.expect("a server serves");
    let stat = zk.exists(path).await.expect("a server serves").expect("the node lives on");
    assert_eq!(stat.ephemeral_owner, owner);
}
