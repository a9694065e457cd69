//! Persistent watches on servers that have one mode for each path, and on those that keep modes apart.

use super::{
    watches::{ADDED, GRACE, done, forgotten, keep_modes_apart, names, sent_within},
    *,
};
use crate::WatcherType;
use AddWatchMode::{Persistent, PersistentRecursive};
use EventType::{NodeChildrenChanged, NodeCreated, NodeDataChanged, NodeDeleted};

/// Answers a request as of a given transaction.
fn reply_at(world: &mut World, zxid: i64, xid: i32, err: ErrorCode, response: &Response) {
    world.zxid = zxid - 1;
    world.answer(xid, err, response);
}

/// The removal of all watches of a type.
fn remove(path: &str, watcher_type: WatcherType) -> Request<'_> {
    Request::RemoveWatches(RemoveWatchesRequest { path, watcher_type })
}

#[test]
fn a_read_with_a_watch_is_followed_by_the_persistent_watch() {
    for (mode, read, reply) in [
        (Persistent, get("/a", true), Ok(data(b""))),
        (PersistentRecursive, get("/a", true), Ok(data(b""))),
        (Persistent, exists("/a", true), Err(ErrorCode::NoNode)),
        (Persistent, children("/a", true), Ok(names())),
    ] {
        for (at, gap) in [(10, None), (11, Some("#1 gap since 10"))] {
            let mut world = World::up(1);
            done(&mut world, &add_watch("/a", mode), &ADDED);
            world.call(&read);
            let sent = world.read();
            assert_eq!(sent[1..], [format!("3 addWatch /a {mode:?}")]);
            match &reply {
                Ok(reply) => reply_at(&mut world, 10, 2, ErrorCode::Ok, reply),
                Err(err) => reply_at(&mut world, 10, 2, *err, &Response::Empty),
            }
            world.events();
            reply_at(&mut world, at, 3, ErrorCode::Ok, &ADDED);
            assert_eq!(world.events(), Vec::from_iter(gap));
            assert_eq!((world.session.removing(), world.session.in_flight()), (0, 0));
        }
    }
}

#[test]
fn a_read_that_arms_nothing_disturbs_nothing() {
    let mut world = World::up(1);
    done(&mut world, &add_watch("/a", Persistent), &ADDED);
    for plain in [get("/a", false), exists("/a", false), children("/a", false), get("/b", true)] {
        world.call(&plain);
        assert_eq!(world.read().len(), 1, "{plain:?}");
    }
    for xid in 2..6 {
        world.refuse(xid, ErrorCode::NoNode);
    }
    world.call(&get("/a", true));
    assert_eq!(world.read().len(), 2);
    reply_at(&mut world, 10, 6, ErrorCode::NoNode, &Response::Empty);
    world.events();
    reply_at(&mut world, 20, 7, ErrorCode::Ok, &ADDED);
    assert_eq!(world.events(), [""; 0]);
}

#[test]
fn a_server_that_keeps_modes_apart_gets_no_further_requests() {
    let mut world = World::up(1);
    keep_modes_apart(&mut world);
    done(&mut world, &add_watch("/a", PersistentRecursive), &ADDED);
    world.call(&add_watch("/a", Persistent));
    world.call(&get("/a", true));
    assert_eq!(world.read(), ["2 addWatch /a Persistent", "3 getData /a"]);
    // The next server may be another one.
    world.cut();
    world.tick(100);
    world.connect();
    world.read();
    world.special(xid::SET_WATCHES, ErrorCode::Ok);
    world.call(&get("/a", true));
    assert_eq!(world.read(), ["4 getData /a", "5 addWatch /a PersistentRecursive"]);
}

/// A world in which both modes are watched on /a: the recursive one is #1.
fn both() -> World {
    let mut world = World::up(1);
    done(&mut world, &add_watch("/a", PersistentRecursive), &ADDED);
    world.call(&add_watch("/a", Persistent));
    assert_eq!(world.read(), ["2 addWatch /a PersistentRecursive"]);
    world.reply(2, &ADDED);
    world.events();
    world
}

#[test]
fn a_recursive_watch_stands_in_for_a_persistent_one() {
    let mut world = both();
    done(&mut world, &children("/b", true), &names());
    world.events();
    for (event, path, told) in [
        (NodeDataChanged, "/a", &["#1 NodeDataChanged /a", "#2 NodeDataChanged /a"][..]),
        (NodeCreated, "/a/b", &["#1 NodeCreated /a/b", "#2 NodeChildrenChanged /a"]),
        // What a server of 3.9 sends as well.
        (NodeChildrenChanged, "/a", &[]),
        (NodeChildrenChanged, "/a", &["#2 NodeChildrenChanged /a"]),
        (NodeCreated, "/a/b/c", &["#1 NodeCreated /a/b/c"]),
        (NodeDataChanged, "/a/b", &["#1 NodeDataChanged /a/b"]),
        (NodeDeleted, "/a/b", &["#1 NodeDeleted /a/b", "#2 NodeChildrenChanged /a"]),
        (NodeDeleted, "/a", &["#1 NodeDeleted /a", "#2 NodeDeleted /a"]),
        (NodeChildrenChanged, "/b", &["#3 NodeChildrenChanged /b"]),
    ] {
        world.fire(event, path);
        assert_eq!(world.events(), told, "{event} {path}");
    }
}

#[test]
fn a_recursive_watch_stands_in_for_a_child_watch() {
    let mut world = World::up(1);
    done(&mut world, &children("/a", true), &names());
    done(&mut world, &add_watch("/a", PersistentRecursive), &ADDED);
    world.events();
    world.fire(NodeCreated, "/a/b");
    assert_eq!(world.events(), ["#2 NodeCreated /a/b", "#1 NodeChildrenChanged /a"]);
    world.fire(NodeChildrenChanged, "/a");
    assert_eq!(world.events(), [""; 0]);
}

#[test]
fn a_recursive_watch_that_cannot_be_removed_still_stands_in_for_a_child_watch() {
    let mut world = World::up(1);
    done(&mut world, &children("/a", true), &names());
    forgotten(&mut world, &add_watch("/a", PersistentRecursive), &ADDED);
    assert_eq!(sent_within(&mut world, GRACE + 100), ["3 removeWatches /a PersistentRecursive"]);
    world.refuse(3, ErrorCode::MarshallingError);
    world.events();
    world.fire(NodeCreated, "/a/b");
    assert_eq!(world.events(), ["#1 NodeChildrenChanged /a"]);
    assert_eq!(sent_within(&mut world, GRACE + 100), ["4 removeWatches /a Any"]);
}

#[test]
fn a_persistent_watch_is_added_again_when_the_recursive_one_is_unwanted() {
    for (answer, after) in [
        (ErrorCode::Ok, "6 removeWatches /a Persistent"),
        // It cannot remove one mode only, but all watches of the path.
        (ErrorCode::MarshallingError, "5 removeWatches /a Any"),
    ] {
        let mut world = both();
        world.unwatch(RequestId(1));
        assert_eq!(sent_within(&mut world, GRACE + 100), ["3 addWatch /a Persistent"]);
        world.fire(NodeCreated, "/a/b");
        assert_eq!(world.events(), ["#2 NodeChildrenChanged /a"]);
        world.reply(3, &ADDED);
        world.fire(NodeCreated, "/a/c");
        assert_eq!(world.events(), [""; 0]);
        world.fire(NodeChildrenChanged, "/a");
        assert_eq!(world.events(), ["#2 NodeChildrenChanged /a"]);
        assert_eq!(
            sent_within(&mut world, GRACE + 100),
            ["4 removeWatches /a PersistentRecursive"]
        );
        world.refuse(4, answer);
        assert_eq!(sent_within(&mut world, 2 * GRACE), [""; 0]);
        // With a data watch on the path, the persistent one alone must go.
        if answer == ErrorCode::Ok {
            done(&mut world, &get("/a", true), &data(b""));
        }
        world.unwatch(RequestId(2));
        assert_eq!(sent_within(&mut world, GRACE + 100), [after]);
    }
}

#[test]
fn one_shot_watches_outlive_an_unwanted_persistent_one() {
    let mut world = World::up(1);
    done(&mut world, &get("/a", true), &data(b""));
    forgotten(&mut world, &add_watch("/a", Persistent), &ADDED);
    assert_eq!(sent_within(&mut world, GRACE + 100), ["3 removeWatches /a Persistent"]);
    world.refuse(3, ErrorCode::MarshallingError);
    assert_eq!(sent_within(&mut world, 2 * GRACE), [""; 0]);
    world.events();
    world.fire(NodeDataChanged, "/a");
    assert_eq!(world.events(), ["#1 NodeDataChanged /a"]);
    assert_eq!(sent_within(&mut world, GRACE + 100), ["4 removeWatches /a Any"]);
    world.ok(4);
    assert!(world.session.watches.is_empty());
}

#[test]
fn a_removal_of_other_watches_leaves_the_persistent_one() {
    for (kind, at, gap) in [
        (WatcherType::Data, 10, None),
        (WatcherType::Data, 11, Some("#1 gap since 10")),
        (WatcherType::Children, 12, Some("#1 gap since 10")),
    ] {
        let mut world = World::up(1);
        done(&mut world, &add_watch("/a", Persistent), &ADDED);
        world.call(&remove("/a", kind));
        assert_eq!(world.read()[1..], ["3 addWatch /a Persistent"]);
        reply_at(&mut world, 10, 2, ErrorCode::Ok, &Response::Empty);
        world.events();
        reply_at(&mut world, at, 3, ErrorCode::Ok, &ADDED);
        assert_eq!(world.events(), Vec::from_iter(gap));
    }
}

#[test]
fn each_mode_is_removed_for_itself() {
    // The recursive watch may be in place of the other one, which is added again.
    let mut world = both();
    world.call(&remove("/a", WatcherType::PersistentRecursive));
    assert_eq!(
        world.read(),
        ["3 removeWatches /a PersistentRecursive", "4 addWatch /a Persistent"]
    );
    reply_at(&mut world, 10, 3, ErrorCode::Ok, &Response::Empty);
    reply_at(&mut world, 11, 4, ErrorCode::Ok, &ADDED);
    assert_eq!(world.events(), ["#1 PersistentWatchRemoved /a", "#3 ok", "#2 gap since 10"]);
    // A server that does not know the type keeps the watch, which ends on this side.
    let mut world = both();
    world.call(&remove("/a", WatcherType::Persistent));
    assert_eq!(world.read(), ["3 removeWatches /a Persistent"]);
    world.refuse(3, ErrorCode::MarshallingError);
    assert_eq!(world.events(), ["#2 PersistentWatchRemoved /a", "#3 ok"]);
    world.fire(NodeCreated, "/a/b");
    assert_eq!(world.events(), ["#1 NodeCreated /a/b"]);
    assert_eq!(sent_within(&mut world, 2 * GRACE), [""; 0]);
    world.unwatch(RequestId(1));
    assert_eq!(sent_within(&mut world, GRACE + 100), ["4 removeWatches /a Any"]);
    // Without such a watch, the refusal is the result.
    world.ok(4);
    world.call(&remove("/a", WatcherType::Persistent));
    world.read();
    world.refuse(5, ErrorCode::MarshallingError);
    assert_eq!(world.events(), ["#4 MarshallingError NotApplied"]);
}

#[test]
fn both_modes_are_armed_again_on_the_next_connection() {
    let mut world = both();
    world.cut();
    world.tick(100);
    world.connect();
    assert_eq!(world.read(), [r#"setWatches2 since 2: [] [] [] ["/a"] ["/a"]"#]);
    world.special(xid::SET_WATCHES, ErrorCode::Ok);
    world.events();
    world.fire(NodeCreated, "/a/b");
    assert_eq!(world.events(), ["#1 NodeCreated /a/b", "#2 NodeChildrenChanged /a"]);
}
