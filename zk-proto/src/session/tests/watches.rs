//! Watches.

use super::*;
use crate::WatcherType;
use EventType::{
    ChildWatchRemoved, DataWatchRemoved, NodeChildrenChanged, NodeCreated, NodeDataChanged,
    NodeDeleted, PersistentWatchRemoved,
};

const ADDED: Response = Response::AddWatch(ErrorResponse { err: ErrorCode::Ok });

/// Sends a request and answers it; its xid is its number.
fn done(world: &mut World, request: &Request<'_>, response: &Response) -> u64 {
    let id = world.call(request);
    world.read();
    world.reply(id as i32, response);
    id
}

fn failed(world: &mut World, request: &Request<'_>, err: ErrorCode) -> u64 {
    let id = world.call(request);
    world.read();
    world.refuse(id as i32, err);
    id
}

fn reconnect(world: &mut World) -> Vec<String> {
    world.cut();
    world.tick(100);
    world.connect();
    world.read()
}

#[test]
fn the_reply_arms_a_watch_not_the_request() {
    let mut world = World::up(1);
    world.call(&get("/a", true));
    world.read();
    world.fire(NodeDataChanged, "/a");
    assert_eq!((world.session.armed(), world.events().len()), (0, 0));
    world.reply(1, &data(b""));
    assert_eq!(world.session.armed(), 1);
    world.fire(NodeDataChanged, "/a");
    assert_eq!(world.events(), ["#1 ok", "#1 NodeDataChanged /a"]);
}

#[test]
fn a_one_shot_watch_fires_once() {
    let mut world = World::up(1);
    done(&mut world, &get("/a", true), &data(b""));
    for kind in [NodeDataChanged, NodeDataChanged, NodeDeleted] {
        world.fire(kind, "/a");
    }
    assert_eq!(world.events(), ["#1 ok", "#1 NodeDataChanged /a"]);
    assert_eq!(world.session.armed(), 0);
}

#[test]
fn an_event_comes_out_before_a_later_reply() {
    let mut world = World::up(1);
    done(&mut world, &get("/a", true), &data(b""));
    world.call(&set_data("/a", b"x"));
    world.read();
    let header = ReplyHeader { xid: 2, zxid: 9, err: ErrorCode::Ok };
    let mut both = event(NodeDataChanged, "/a");
    both.extend(packet(header, |out| Response::SetData(stat()).encode_body(out)));
    world.events();
    world.send(&both);
    assert_eq!(world.events(), ["#1 NodeDataChanged /a", "#2 ok"]);
}

#[test]
fn each_read_leaves_its_kind_of_watch() {
    let names = Response::GetChildren(GetChildrenResponse { children: List::new() });
    for (request, reply, armed) in [
        (get("/a", true), Ok(data(b"")), r#"["/a"] [] []"#),
        (exists("/a", true), Ok(Response::Exists(stat())), r#"["/a"] [] []"#),
        (exists("/a", true), Err(ErrorCode::NoNode), r#"[] ["/a"] []"#),
        (children("/a", true), Ok(names.clone()), r#"[] [] ["/a"]"#),
        (get("/a", false), Ok(data(b"")), ""),
        (exists("/a", false), Err(ErrorCode::NoNode), ""),
        (children("/a", false), Ok(names), ""),
        (get("/a", true), Err(ErrorCode::NoNode), ""),
        (get("/a", true), Err(ErrorCode::NoAuth), ""),
        (exists("/a", true), Err(ErrorCode::NoAuth), ""),
        (children("/a", true), Err(ErrorCode::NoNode), ""),
    ] {
        let mut world = World::up(1);
        match &reply {
            Ok(response) => done(&mut world, &request, response),
            Err(err) => failed(&mut world, &request, *err),
        };
        let packets = reconnect(&mut world);
        let expected = format!("setWatches since 1: {armed}");
        let expected = if armed.is_empty() { vec![] } else { vec![expected] };
        assert_eq!(packets, expected, "{request:?} {reply:?}");
    }
}

#[test]
fn a_missing_node_that_is_made_fires() {
    let mut world = World::up(1);
    failed(&mut world, &exists("/a", true), ErrorCode::NoNode);
    world.fire(NodeCreated, "/a");
    assert_eq!(world.events(), ["#1 NoNode Refused", "#1 NodeCreated /a"]);
}

#[test]
fn several_watches_on_a_path_fire_in_their_order() {
    let mut world = World::up(1);
    done(&mut world, &get("/a", true), &data(b""));
    done(&mut world, &exists("/a", true), &Response::Exists(stat()));
    done(&mut world, &get("/a", true), &data(b""));
    world.events();
    world.session.unwatch(RequestId(2));
    world.fire(NodeDeleted, "/a");
    assert_eq!(world.events(), ["#1 NodeDeleted /a", "#3 NodeDeleted /a"]);
}

#[test]
fn a_watch_may_be_forgotten_before_and_after_it_is_armed() {
    let mut world = World::up(1);
    world.call(&get("/a", true));
    world.session.unwatch(RequestId(1));
    world.read();
    world.reply(1, &data(b""));
    done(&mut world, &get("/b", true), &data(b""));
    world.session.unwatch(RequestId(2));
    world.session.unwatch(RequestId(2));
    world.session.unwatch(RequestId(99));
    world.events();
    world.fire(NodeDeleted, "/a");
    world.fire(NodeDeleted, "/b");
    assert_eq!((world.session.armed(), world.events().len()), (0, 0));
    assert_eq!(reconnect(&mut world), [""; 0]);
}

#[test]
fn a_watch_may_be_forgotten_while_the_session_closes() {
    // closeSession has no number, and stands behind those that have one.
    for requests in 1..=8 {
        for forgotten in 1..=requests {
            let mut world = World::up(1);
            for _ in 0..requests {
                world.call(&get("/a", true));
            }
            world.close();
            world.read();
            world.session.unwatch(RequestId(forgotten));
            world.events();
            for xid in 1..=requests {
                world.reply(xid as i32, &data(b""));
            }
            assert_eq!(world.session.armed() as u64, requests - 1, "{forgotten} of {requests}");
        }
    }
}

#[test]
fn watches_below_a_chroot_hear_paths_below_it() {
    let mut world = World::up(1);
    let chroot = Chroot::new("/app").unwrap();
    for (xid, path) in [(1, "/a"), (2, "/")] {
        world.try_call_below(&chroot, &get(path, true)).unwrap();
        world.read();
        world.reply(xid, &data(b""));
    }
    let recursive = add_watch("/", AddWatchMode::PersistentRecursive);
    world.try_call_below(&chroot, &recursive).unwrap();
    world.read();
    world.reply(3, &ADDED);
    world.events();
    world.fire(NodeDataChanged, "/a");
    world.fire(NodeDataChanged, "/app/a");
    world.fire(NodeDataChanged, "/app");
    assert_eq!(
        world.events(),
        [
            "#1 NodeDataChanged /a",
            "#3 NodeDataChanged /a",
            "#2 NodeDataChanged /",
            "#3 NodeDataChanged /"
        ]
    );
}

#[test]
fn an_event_tells_its_transaction_where_the_server_does() {
    let mut world = World::up(1);
    let arm = add_watch("/a", AddWatchMode::Persistent);
    done(&mut world, &arm, &ADDED);
    let changed = WatcherEvent {
        kind: NodeDataChanged,
        state: KeeperState::SyncConnected,
        path: "/a".into(),
    };
    for (zxid, told) in [(-1, None), (0, None), (9, Some(9))] {
        let header = ReplyHeader { xid: xid::NOTIFICATION, zxid, err: ErrorCode::Ok };
        world.reader.extend(&packet(header, |out| changed.encode(out)));
        world.session.handle_data(world.now, &mut world.reader);
        let Some(Output::Fired { event, .. }) = world.session.poll_output() else { panic!() };
        assert_eq!(event.zxid, told);
    }
}

#[test]
fn lasting_watches_go_on_after_a_gap() {
    let mut world = World::up(1);
    done(&mut world, &add_watch("/a", AddWatchMode::Persistent), &ADDED);
    done(&mut world, &add_watch("/b", AddWatchMode::PersistentRecursive), &ADDED);
    done(&mut world, &get("/c", true), &data(b""));
    world.events();
    world.fire(NodeDataChanged, "/a");
    world.fire(NodeChildrenChanged, "/a");
    world.fire(NodeCreated, "/b/c/d");
    assert_eq!(
        world.events(),
        ["#1 NodeDataChanged /a", "#1 NodeChildrenChanged /a", "#2 NodeCreated /b/c/d"]
    );
    assert_eq!(reconnect(&mut world), [r#"setWatches2 since 3: ["/c"] [] [] ["/a"] ["/b"]"#]);
    world.special(xid::SET_WATCHES, ErrorCode::Ok);
    assert_eq!(
        world.events(),
        ["SUSPENDED", "connect h1", "CONNECTED", "#1 gap since 3", "#2 gap since 3"]
    );
    world.fire(NodeDeleted, "/a");
    world.fire(NodeDeleted, "/b");
    assert_eq!(world.events(), ["#1 NodeDeleted /a", "#2 NodeDeleted /b"]);
    assert_eq!(world.session.armed(), 3);
    world.fire(PersistentWatchRemoved, "/a");
    assert_eq!(world.events(), ["#1 PersistentWatchRemoved /a"]);
    assert_eq!(world.session.armed(), 2);
}

#[test]
fn an_add_watch_that_failed_by_either_of_its_codes_arms_nothing() {
    let mut world = World::up(1);
    let refused = Response::AddWatch(ErrorResponse { err: ErrorCode::NoAuth });
    done(&mut world, &add_watch("/a", AddWatchMode::Persistent), &refused);
    failed(&mut world, &add_watch("/b", AddWatchMode::Persistent), ErrorCode::Unimplemented);
    let id = world.call(&add_watch("/c", AddWatchMode::Persistent));
    world.session.unwatch(RequestId(id));
    world.read();
    world.reply(3, &refused);
    assert_eq!(
        world.events(),
        ["#1 NoAuth Refused", "#2 Unimplemented Refused", "#3 NoAuth Refused"]
    );
    assert_eq!(world.session.armed(), 0);
    assert_eq!(world.failures[&3].path.as_deref(), Some("/c"));
}

#[test]
fn watches_that_the_server_removed_by_request_are_gone_here_too() {
    for (kind, events) in [
        (WatcherType::Data, &[(1, DataWatchRemoved)][..]),
        (WatcherType::Children, &[(2, ChildWatchRemoved)]),
        (
            WatcherType::Any,
            &[(1, DataWatchRemoved), (2, ChildWatchRemoved), (3, PersistentWatchRemoved)],
        ),
        (WatcherType::Persistent, &[(3, PersistentWatchRemoved)]),
    ] {
        let mut world = World::up(1);
        let names = Response::GetChildren(GetChildrenResponse { children: List::new() });
        done(&mut world, &get("/app/a", true), &data(b""));
        done(&mut world, &children("/app/a", true), &names);
        done(&mut world, &add_watch("/app/a", AddWatchMode::Persistent), &ADDED);
        done(&mut world, &get("/app/b", true), &data(b""));
        let remove =
            |path| Request::RemoveWatches(RemoveWatchesRequest { path, watcher_type: kind });
        failed(&mut world, &remove("/app/a"), ErrorCode::NoWatcher);
        world.events();
        world.call_below("/app", &remove("/a"));
        world.read();
        world.ok(6);
        let mut lines: Vec<_> =
            events.iter().map(|(id, event)| format!("#{id} {event} /app/a")).collect();
        lines.push("#6 ok".into());
        assert_eq!(world.events(), lines);
        assert_eq!(world.session.armed(), 4 - events.len());
    }
}

#[test]
fn a_removal_is_no_watch_to_be_forgotten() {
    let mut world = World::up(1);
    done(&mut world, &get("/a", true), &data(b""));
    let remove = RemoveWatchesRequest { path: "/a", watcher_type: WatcherType::Data };
    let id = world.call(&Request::RemoveWatches(remove));
    world.session.unwatch(RequestId(id));
    world.read();
    world.events();
    world.ok(2);
    assert_eq!(world.events(), ["#1 DataWatchRemoved /a", "#2 ok"]);
    assert_eq!(world.session.armed(), 0);
}

#[test]
fn watches_that_cannot_be_armed_again_are_not_asked_for_in_a_hot_loop() {
    let mut world = World::up(3);
    done(&mut world, &get("/a", true), &data(b""));
    world.cut();
    for _ in 0..100 {
        while world.host.is_none() {
            world.tick(10);
        }
        world.connect();
        world.read();
        world.special(xid::SET_WATCHES, ErrorCode::Unimplemented);
    }
    assert!(world.now.since_origin() > Duration::from_secs(90 * 2 / 3), "{:?}", world.now);
    assert_eq!(world.session.armed(), 1);
}
