//! Servers that are unreachable for a while, or that close each connection after their first replies, and
//! clients that make calls meanwhile. One host is up at times, and others stay down.
//!
//! What must hold, besides the rules for every workload:
//! - a session whose host is back within half of the session timeout is not lost;
//! - no client begins to connect more often than its backoff allows.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use zk_client::{Handler, SessionState};

use crate::{
    DOWN_HOSTS, Sim,
    clients::{Clients, NO_START_TIMEOUT, SimClient},
};

/// The host that is up at times.
const HOST: &str = "zk1:2181";

/// For how long servers close connections early.
const EARLY_CLOSE: Duration = Duration::from_secs(5);

/// Runs the workload.
///
/// # Errors
/// What does not hold.
pub fn outages(sim: &Sim) -> Result<(), String> {
    let mut random = sim.random();
    let clients = Clients::start(sim, random.usize(1..=3), NO_START_TIMEOUT);
    let mut down = DOWN_HOSTS.to_vec();
    random.shuffle(&mut down);
    down.truncate(random.usize(..=down.len()));
    let hosts = [&[HOST], &*down].concat();
    let is_over = Arc::new(AtomicBool::new(false));
    for client in &clients.all {
        if let Err(error) = client.zk.set_hosts(&hosts.join(",")) {
            return Err(format!("client {}: {error}", client.number));
        }
        make_calls(client, &is_over);
    }
    for _ in 0..random.u8(1..5) {
        let limit = clients.session_timeout + Duration::from_secs(30);
        clients.wait_until("all clients are connected", limit, || {
            clients.alive().all(|client| client.zk.state() == SessionState::Connected)
        })?;
        sim.run_for(clients.session_timeout.mul_f64(2.0 * random.f64()), || {})?;
        if random.bool() {
            be_unreachable(&clients, &mut random)?;
        } else {
            close_early(&clients, hosts.len())?;
        }
    }
    is_over.store(true, Ordering::Relaxed);
    clients.recover(|| {})?;
    clients.stop()
}

/// Makes a call now and then.
fn make_calls(client: &SimClient, is_over: &Arc<AtomicBool>) {
    let (client, is_over) = (client.clone(), is_over.clone());
    client.process.clone().spawn(async move {
        while !is_over.load(Ordering::Relaxed) {
            drop(client.zk.exists("/"));
            client.process.sleep(Duration::from_millis(100)).await;
        }
    });
}

/// The servers are unreachable for up to half of the session timeout.
fn be_unreachable(clients: &Clients, random: &mut fastrand::Rng) -> Result<(), String> {
    let connected = |client: &&SimClient| client.zk.state() == SessionState::Connected;
    let sessions: Vec<_> = clients
        .alive()
        .filter(connected)
        .map(|client| (client, client.zk.session_id(), client.zk.session_timeout()))
        .collect();
    let shortest = sessions.iter().map(|(_, _, timeout)| *timeout).min().unwrap_or_default();
    clients.sim.set_unreachable(true);
    clients.sim.run_for(shortest.mul_f64(0.2 + 0.3 * random.f64()), || {})?;
    clients.sim.set_unreachable(false);
    for (client, session, timeout) in sessions {
        let number = client.number;
        let what = format!("client {number} is connected again");
        clients.wait_until(&what, timeout, || connected(&client))?;
        if client.zk.session_id() != session {
            return Err(format!(
                "client {number} lost its session though its host was back in time"
            ));
        }
    }
    Ok(())
}

/// All servers close each connection after their first replies.
fn close_early(clients: &Clients, hosts: usize) -> Result<(), String> {
    let attempts = |client: &SimClient| clients.sim.connect_attempts(&client.process);
    let before: Vec<_> = clients.all.iter().map(attempts).collect();
    clients.sim.set_close_early(true);
    clients.sim.run_for(EARLY_CLOSE, || {})?;
    clients.sim.set_close_early(false);
    for (client, before) in clients.all.iter().zip(before) {
        let made = attempts(client) - before;
        // A few rounds until the backoff is at its longest; from then on, one in half of that time.
        let longest = client.zk.session_timeout().mul_f64(1.0 / 3.0);
        let rounds = 6 + EARLY_CLOSE.div_duration_f64(longest / 2).ceil() as usize;
        if made > rounds * hosts {
            return Err(format!(
                "client {} began to connect {made} times to {hosts} hosts in {EARLY_CLOSE:?}",
                client.number
            ));
        }
    }
    Ok(())
}
