//! Servers that cannot be reached for a while, or that close each connection after their first answers, and
//! clients at work with one host that lives and others that stay down.
//!
//! What must hold, besides what [`Stage`] and the tap look at for every world:
//! - a session whose host is back in half of its time is not lost;
//! - no client begins to connect more often than its pauses allow.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use zk_client::{Handler, SessionState};

use crate::{
    DOWN, Sim,
    clients::{Actor, FOREVER, Stage},
};

/// The host that lives, at times.
const LIVES: &str = "zk1:2181";

/// For how long servers close connections early.
const CLOSING: Duration = Duration::from_secs(5);

/// Runs the world.
///
/// # Errors
/// What broke.
pub fn outages(sim: &Sim) -> Result<(), String> {
    let mut random = sim.random();
    let stage = Stage::new(sim, random.usize(1..=3), FOREVER);
    let mut down = DOWN.to_vec();
    random.shuffle(&mut down);
    down.truncate(random.usize(..=down.len()));
    let hosts = [&[LIVES], &*down].concat();
    let is_over = Arc::new(AtomicBool::new(false));
    for actor in &stage.actors {
        if let Err(error) = actor.client.set_hosts(&hosts.join(",")) {
            return Err(format!("client {}: {error}", actor.number));
        }
        work(actor, &is_over);
    }
    for _ in 0..random.u8(1..5) {
        stage.wait("all clients are connected", stage.timeout + Duration::from_secs(30), || {
            stage.alive().all(|actor| actor.client.state() == SessionState::Connected)
        })?;
        sim.run_for(stage.timeout.mul_f64(2.0 * random.f64()), || {})?;
        if random.bool() {
            out_of_reach(&stage, &mut random)?;
        } else {
            closed_early(&stage, hosts.len())?;
        }
    }
    is_over.store(true, Ordering::Relaxed);
    stage.calm(|| {})?;
    stage.close()
}

/// Makes a call now and then.
fn work(actor: &Actor, is_over: &Arc<AtomicBool>) {
    let (actor, is_over) = (actor.clone(), is_over.clone());
    actor.handler.clone().spawn(async move {
        while !is_over.load(Ordering::Relaxed) {
            drop(actor.client.exists("/"));
            actor.handler.sleep(Duration::from_millis(100)).await;
        }
    });
}

/// The servers cannot be reached for up to half of the session timeout.
fn out_of_reach(stage: &Stage, random: &mut fastrand::Rng) -> Result<(), String> {
    let connected = |actor: &&Actor| actor.client.state() == SessionState::Connected;
    let sessions: Vec<_> = stage
        .alive()
        .filter(connected)
        .map(|actor| (actor, actor.client.session_id(), actor.client.session_timeout()))
        .collect();
    let shortest = sessions.iter().map(|(_, _, timeout)| *timeout).min().unwrap_or_default();
    stage.sim.set_unreachable(true);
    stage.sim.run_for(shortest.mul_f64(0.2 + 0.3 * random.f64()), || {})?;
    stage.sim.set_unreachable(false);
    for (actor, session, timeout) in sessions {
        let number = actor.number;
        stage.wait(&format!("client {number} is back"), timeout, || connected(&actor))?;
        if actor.client.session_id() != session {
            return Err(format!("client {number} has lost its session, and could have kept it"));
        }
    }
    Ok(())
}

/// All servers close each connection after their first answers.
fn closed_early(stage: &Stage, hosts: usize) -> Result<(), String> {
    let attempts = |actor: &Actor| stage.sim.connect_attempts(&actor.handler);
    let before: Vec<_> = stage.actors.iter().map(attempts).collect();
    stage.sim.set_close_early(true);
    stage.sim.run_for(CLOSING, || {})?;
    stage.sim.set_close_early(false);
    for (actor, before) in stage.actors.iter().zip(before) {
        let made = attempts(actor) - before;
        // A few rounds until the pause is at its longest, and one each half of that from then on.
        let longest = actor.client.session_timeout().mul_f64(1.0 / 3.0);
        let rounds = 6 + CLOSING.div_duration_f64(longest / 2).ceil() as usize;
        if made > rounds * hosts {
            return Err(format!(
                "client {} has begun to connect {made} times to {hosts} hosts in {CLOSING:?}",
                actor.number
            ));
        }
    }
    Ok(())
}
