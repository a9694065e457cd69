//! Tests of the client on real ensembles whose servers are killed, paused, restarted or lose their quorum.
//!
//! Measurements are printed; run with `--nocapture` to see them.

mod administration;
mod context;
mod load;
mod quorum;
mod required_auth;
mod servers;
mod sessions;
mod watches;
mod workload;

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
    AddWatchMode, Backoff, Client, ClientBuilder, CreateMode, ErrorCode, ErrorKind, EventType,
    Outcome, PersistentWatchEvent, Reconfig, SessionState,
    SessionState::{Connected, ConnectedReadOnly, Lost, Suspended},
    Watch,
};
use zk_handler::Handler;

use crate::{Direction, FrameAction, Mode, Options, eventually, lock};

pub use administration::{
    a_server_without_a_quorum_does_not_serve,
    a_server_without_extended_types_knows_no_time_to_live,
    changes_of_members_that_cannot_be_are_refused, clients_spread_over_a_list_that_changes,
    empty_containers_and_old_nodes_are_deleted, members_can_be_removed_added_and_changed,
    reconfiguration_can_be_disabled, words_that_are_not_whitelisted_are_refused,
};
pub use load::{
    many_watches_are_rearmed_on_another_server, no_write_is_lost_in_a_rolling_restart,
    no_write_is_lost_when_leaders_are_killed, watches_fire_once_over_many_reconnects,
};
pub use quorum::{
    a_read_only_client_reads_without_a_quorum, a_session_is_suspended_without_a_quorum,
    attempts_are_spaced_while_no_server_runs,
};
pub use required_auth::{
    a_read_only_server_can_be_logged_in_to, a_server_can_require_digest_credentials,
    a_server_can_require_sasl, a_server_that_lets_refused_clients_in_is_not_used,
};
pub use servers::{
    a_client_continues_when_a_member_leaves, a_persistent_watch_goes_on_after_a_fail_over,
    a_session_fails_over_to_another_server, a_stalled_server_is_disconnected_in_time,
    watches_survive_a_fail_over,
};
pub use sessions::{
    a_session_is_lost_when_its_server_loses_its_data, a_silent_network_suspends_the_session,
    an_expired_session_is_replaced, two_clients_can_resume_one_session,
};

use context::{EnsembleContext, LIMIT, SLACK, StateChanges, client, is_connection_loss};
use watches::ArmedWatch;
use workload::CounterWorkload;

/// A session timeout that no test waits for.
const LONG: Duration = Duration::from_secs(20);

/// How often a server's clock of sessions ticks.
const TICK: Duration = Duration::from_millis(500);

/// Prints what was measured.
#[expect(clippy::print_stderr, reason = "figures are for whoever runs the tests")]
fn print_measurement(what: &str, value: impl fmt::Debug) {
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
