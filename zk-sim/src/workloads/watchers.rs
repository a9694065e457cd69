//! Clients with lasting watches on data and on children, while others write.
//!
//! What must hold:
//! - in calm, what a watch has told last is what the server has;
//! - a state is not told twice in a row;
//! - what is told never goes back;
//! - a watch on children ends with its node, and with nothing else.

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
    clients::{Actor, FOREVER, Stage, lock},
};

/// Nodes whose data are watched; they come and go.
const DATA: [&str; 2] = ["/data", "/parent/data"];
/// The node whose children are watched; it stays.
const PARENT: &str = "/parent";

/// What a watch on data has told: the transaction that wrote them, 0 for no node; `None` before anything.
type ToldData = Arc<Mutex<Option<i64>>>;
type ToldNames = Arc<Mutex<Option<Vec<String>>>>;

/// Runs the world.
///
/// # Errors
/// What broke.
pub fn watchers(sim: &Sim) -> Result<(), String> {
    let mut random = sim.random();
    sim.create(PARENT);
    let stage = Stage::new(sim, random.usize(1..=4), FOREVER);
    let end = sim.now() + Duration::from_secs(random.u64(5..40));
    let mut data_watches = Vec::new();
    let mut child_watches = Vec::new();
    for actor in &stage.actors {
        for path in DATA {
            data_watches.push((actor, path, watch_data(sim, actor, path)));
        }
        child_watches.push((actor, watch_children(sim, actor)));
        actor.handler.spawn(write(sim.clone(), actor.clone(), sim.random(), end));
    }
    stage.rough(end.saturating_sub(sim.now()), || {})?;
    stage.calm(|| {})?;
    for (_, path, (told, watch)) in data_watches.iter().filter(|(actor, ..)| !actor.is_dead()) {
        let (told, now) = (*lock(told), sim.stat(path).map_or(0, |stat| stat.mzxid));
        if told != Some(now) || watch.running().ready() {
            return Err(format!("{path} is at {now:#x}, and {told:x?} was told; {watch:?}"));
        }
    }
    for (_, (told, watch)) in child_watches.iter().filter(|(actor, _)| !actor.is_dead()) {
        let (told, now) = (lock(told).clone(), sim.children(PARENT));
        if told != now || watch.running().ready() {
            return Err(format!("{PARENT} has {now:?}, and {told:?} were told; {watch:?}"));
        }
    }
    drop((data_watches, child_watches));
    stage.watch_no_more()?;
    stage.close()
}

fn watch_data(sim: &Sim, actor: &Actor, path: &'static str) -> (ToldData, DataWatch) {
    let told = ToldData::default();
    let (sim, last, number) = (sim.clone(), told.clone(), actor.number);
    let mut newest = 0;
    let watch = DataWatch::new(&actor.client, path, move |news| {
        let now = news.node.map_or(0, |(_, stat)| stat.mzxid);
        sim.note(|| format!("client {number} is told that {path} is at {now:#x}"));
        let before = lock(&last).replace(now);
        if before == Some(now) || now != 0 && now <= newest {
            sim.fail(|| {
                format!("client {number} is told of {path} at {now:#x}, after {before:x?}")
            });
        }
        newest = newest.max(now);
        true
    });
    (told, watch)
}

fn watch_children(sim: &Sim, actor: &Actor) -> (ToldNames, ChildrenWatch) {
    let told = ToldNames::default();
    let (sim, last, number) = (sim.clone(), told.clone(), actor.number);
    let watch = ChildrenWatch::new(&actor.client, PARENT, move |news| {
        let now: Vec<_> = news.names.iter().map(ToString::to_string).collect();
        sim.note(|| format!("client {number} is told of {now:?}"));
        let before = lock(&last).replace(now.clone());
        if before.as_ref() == Some(&now) {
            sim.fail(|| format!("client {number} is told of {now:?} twice"));
        }
        true
    });
    (told, watch)
}

/// Changes what is watched, now and then.
async fn write(sim: Sim, actor: Actor, mut random: fastrand::Rng, end: Duration) {
    let client = &actor.client;
    let pace = random.u64(10..2_000);
    while sim.now() < end {
        actor.handler.sleep(Duration::from_millis(random.u64(..pace))).await;
        let path = DATA[random.usize(..DATA.len())];
        let child = format!("{PARENT}/{}", random.u8(..4));
        let result = match random.u8(..5) {
            0 => client.create(path, b"", CreateMode::Persistent).await.map(drop),
            1 => client.delete(path, None).await,
            2 => client.create(child, b"", CreateMode::Ephemeral).await.map(drop),
            3 => client.delete(child, None).await,
            _ => client.set(path, b"", None).await.map(drop),
        };
        match result.as_ref().map_err(zk_client::Error::kind) {
            Ok(())
            | Err(ErrorKind::Server(
                ErrorCode::NoNode | ErrorCode::NodeExists | ErrorCode::NotReadOnly,
            ))
            | Err(ErrorKind::ConnectionLoss | ErrorKind::SessionExpired) => {}
            Err(_) => sim.fail(|| format!("a write ends with {result:?}")),
        }
    }
}
