//! Clients with a `DataWatch` and a `ChildrenWatch`, while others write.
//!
//! What must hold:
//! - after recovery, the last state that a watch has reported is the state of the server;
//! - a watch does not report the same state twice in a row;
//! - the reported states never go back in time;
//! - a watch on children ends with its node only.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use zk_client::{
    CreateMode, ErrorCode, ErrorKind, Handler,
    recipes::{ChildrenWatch, DataWatch},
};

use crate::{
    Sim,
    clients::{Clients, NO_START_TIMEOUT, SimClient, lock},
};

/// Nodes whose data are watched. They are created and deleted.
const DATA: [&str; 2] = ["/data", "/parent/data"];
/// The node whose children are watched. It is never deleted.
const PARENT: &str = "/parent";

/// The last write that a watch on data has reported, by zxid; 0 for no node, and `None` before any report.
type ReportedData = Arc<Mutex<Option<i64>>>;
/// The last names that a watch on children has reported.
type ReportedNames = Arc<Mutex<Option<Vec<String>>>>;

/// Runs the workload.
///
/// # Errors
/// What does not hold.
pub fn watchers(sim: &Sim) -> Result<(), String> {
    let mut random = sim.random();
    sim.create(PARENT);
    let clients = Clients::start(sim, random.usize(1..=4), NO_START_TIMEOUT);
    let end = sim.now() + Duration::from_secs(random.u64(5..40));
    let mut data_watches = Vec::new();
    let mut child_watches = Vec::new();
    for client in &clients.all {
        for path in DATA {
            data_watches.push((client, path, watch_data(sim, client, path)));
        }
        child_watches.push((client, watch_children(sim, client)));
        client.process.spawn(write(sim.clone(), client.clone(), sim.random(), end));
    }
    clients.run_with_faults(end.saturating_sub(sim.now()), || {})?;
    clients.recover(|| {})?;
    for (_, path, (last, watch)) in data_watches.iter().filter(|(client, ..)| !client.is_dead()) {
        let (last, now) = (*lock(last), sim.stat(path).map_or(0, |stat| stat.mzxid));
        if last != Some(now) || watch.running().ready() {
            return Err(format!("{path} is at {now:#x}, but {last:x?} was reported; {watch:?}"));
        }
    }
    for (_, (last, watch)) in child_watches.iter().filter(|(client, _)| !client.is_dead()) {
        let (last, now) = (lock(last).clone(), sim.children(PARENT));
        if last != now || watch.running().ready() {
            return Err(format!("{PARENT} has {now:?}, but {last:?} was reported; {watch:?}"));
        }
    }
    drop((data_watches, child_watches));
    clients.check_no_watches()?;
    clients.stop()
}

fn watch_data(sim: &Sim, client: &SimClient, path: &'static str) -> (ReportedData, DataWatch) {
    let reported = ReportedData::default();
    let (sim, last, number) = (sim.clone(), reported.clone(), client.number);
    let mut newest = 0;
    let watch = DataWatch::new(&client.zk, path, move |change| {
        let now = change.node.map_or(0, |(_, stat)| stat.mzxid);
        sim.note(|| format!("client {number}: {path} is at {now:#x}"));
        let before = lock(&last).replace(now);
        if before == Some(now) || now != 0 && now <= newest {
            sim.fail(|| format!("client {number}: {path} is at {now:#x}, after {before:x?}"));
        }
        newest = newest.max(now);
        true
    });
    (reported, watch)
}

fn watch_children(sim: &Sim, client: &SimClient) -> (ReportedNames, ChildrenWatch) {
    let reported = ReportedNames::default();
    let (sim, last, number) = (sim.clone(), reported.clone(), client.number);
    let watch = ChildrenWatch::new(&client.zk, PARENT, move |change| {
        let now: Vec<_> = change.names.iter().map(ToString::to_string).collect();
        sim.note(|| format!("client {number}: {PARENT} has {now:?}"));
        let before = lock(&last).replace(now.clone());
        if before.as_ref() == Some(&now) {
            sim.fail(|| format!("client {number}: {now:?} was reported twice"));
        }
        true
    });
    (reported, watch)
}

/// Changes what is watched, now and then.
async fn write(sim: Sim, client: SimClient, mut random: fastrand::Rng, end: Duration) {
    let zk = &client.zk;
    let pace = random.u64(10..2_000);
    while sim.now() < end {
        client.process.sleep(Duration::from_millis(random.u64(..pace))).await;
        let path = DATA[random.usize(..DATA.len())];
        let child = format!("{PARENT}/{}", random.u8(..4));
        let result = match random.u8(..5) {
            0 => zk.create(path, b"", CreateMode::Persistent).await.map(drop),
            1 => zk.delete(path, None).await,
            2 => zk.create(child, b"", CreateMode::Ephemeral).await.map(drop),
            3 => zk.delete(child, None).await,
            _ => zk.set(path, b"", None).await.map(drop),
        };
        match result.as_ref().map_err(zk_client::Error::kind) {
            Ok(())
            | Err(ErrorKind::Server(
                ErrorCode::NoNode | ErrorCode::NodeExists | ErrorCode::NotReadOnly,
            ))
            | Err(ErrorKind::ConnectionLoss | ErrorKind::SessionExpired) => {}
            Err(_) => sim.fail(|| format!("a write ended with {result:?}")),
        }
    }
}
