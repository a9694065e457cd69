//! Watches.

use super::*;
use crate::WatcherType;
use EventType::{
    ChildWatchRemoved, DataWatchRemoved, NodeChildrenChanged, NodeCreated, NodeDataChanged,
    NodeDeleted, PersistentWatchRemoved,
};

pub(super) const ADDED: Response = Response::AddWatch(ErrorResponse { err: ErrorCode::Ok });

/// Sends a request and answers it.
pub(super) fn done(world: &mut World, request: &Request<'_>, response: &Response) -> u64 {
    let id = world.call(request);
    let xid = last_xid(world);
    world.reply(xid, response);
    id
}

pub(super) fn failed(world: &mut World, request: &Request<'_>, err: ErrorCode) -> u64 {
    let id = world.call(request);
    let xid = last_xid(world);
    world.refuse(xid, err);
    id
}

/// Makes the session believe that the server is ZooKeeper 3.9.
pub(super) fn keep_modes_apart(world: &mut World) {
    world.zxid += 1;
    let header = ReplyHeader { xid: xid::NOTIFICATION, zxid: world.zxid, err: ErrorCode::Ok };
    let state = KeeperState::SyncConnected;
    let event = WatcherEvent { kind: NodeDataChanged, state, path: "/unwatched".into() };
    world.send(&packet(header, |out| event.encode(out)));
}

/// The xid of the last request that is sent now.
pub(super) fn last_xid(world: &mut World) -> i32 {
    let packets = world.read();
    packets.last().unwrap().split(' ').next().unwrap().parse().unwrap()
}

pub(super) fn reconnect(world: &mut World) -> Vec<String> {
    world.cut();
    world.tick(100);
    world.connect();
    world.read()
}

#[test]
fn a_watch_is_armed_by_the_reply() {
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
fn an_event_is_output_before_a_later_reply() {
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
fn each_read_arms_its_kind_of_watch() {
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
fn an_exist_watch_fires_on_creation() {
    let mut world = World::up(1);
    failed(&mut world, &exists("/a", true), ErrorCode::NoNode);
    world.fire(NodeCreated, "/a");
    assert_eq!(world.events(), ["#1 NoNode NotApplied", "#1 NodeCreated /a"]);
}

#[test]
fn several_watches_on_a_path_fire_in_their_order() {
    let mut world = World::up(1);
    done(&mut world, &get("/a", true), &data(b""));
    done(&mut world, &exists("/a", true), &Response::Exists(stat()));
    done(&mut world, &get("/a", true), &data(b""));
    world.events();
    world.unwatch(RequestId(2));
    world.fire(NodeDeleted, "/a");
    assert_eq!(world.events(), ["#1 NodeDeleted /a", "#3 NodeDeleted /a"]);
}

#[test]
fn a_watch_may_be_forgotten_before_and_after_it_is_armed() {
    let mut world = World::up(1);
    world.call(&get("/a", true));
    world.unwatch(RequestId(1));
    world.read();
    world.reply(1, &data(b""));
    done(&mut world, &get("/b", true), &data(b""));
    world.unwatch(RequestId(2));
    world.unwatch(RequestId(2));
    world.unwatch(RequestId(99));
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
            world.unwatch(RequestId(forgotten));
            world.events();
            for xid in 1..=requests {
                world.reply(xid as i32, &data(b""));
            }
            assert_eq!(world.session.armed() as u64, requests - 1, "{forgotten} of {requests}");
        }
    }
}

#[test]
fn events_have_paths_without_the_chroot() {
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
fn an_event_has_the_zxid_if_the_server_sends_it() {
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
fn persistent_watches_go_on_after_a_gap() {
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
    world.unwatch(RequestId(id));
    world.read();
    world.reply(3, &refused);
    assert_eq!(
        world.events(),
        ["#1 NoAuth NotApplied", "#2 Unimplemented NotApplied", "#3 NoAuth NotApplied"]
    );
    assert_eq!(world.session.armed(), 0);
    assert_eq!(world.failures[&3].path.as_deref(), Some("/c"));
}

#[test]
fn a_removal_by_request_ends_the_watches() {
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
        keep_modes_apart(&mut world);
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
fn a_removal_cannot_be_forgotten() {
    let mut world = World::up(1);
    done(&mut world, &get("/a", true), &data(b""));
    let remove = RemoveWatchesRequest { path: "/a", watcher_type: WatcherType::Data };
    let id = world.call(&Request::RemoveWatches(remove));
    world.unwatch(RequestId(id));
    world.read();
    world.events();
    world.ok(2);
    assert_eq!(world.events(), ["#1 DataWatchRemoved /a", "#2 ok"]);
    assert_eq!(world.session.armed(), 0);
}

#[test]
fn failing_to_rearm_watches_is_retried_with_backoff() {
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

// ---- unwanted watches --------------------------------------------------------------------------------

pub(super) const GRACE: u64 = 5_000;

/// Arms a watch, and forgets it.
pub(super) fn forgotten(world: &mut World, request: &Request<'_>, reply: &Response) {
    let id = done(world, request, reply);
    world.unwatch(RequestId(id));
}

/// What is sent within `ms` on a healthy connection, but for pings.
pub(super) fn sent_within(world: &mut World, ms: u64) -> Vec<String> {
    let mut sent = Vec::new();
    for _ in 0..ms.div_ceil(100) {
        world.tick(100);
        for packet in world.read() {
            if packet == "ping" {
                world.pong();
            } else {
                sent.push(packet);
            }
        }
    }
    sent
}

pub(super) fn names() -> Response {
    Response::GetChildren(GetChildrenResponse { children: vec![].into() })
}

#[test]
fn an_unwanted_watch_is_removed_after_the_grace_period() {
    use WatcherType::{Any, Children, Data};
    let persistent = add_watch("/a", AddWatchMode::Persistent);
    for (requests, kind) in [
        (vec![(get("/a", true), data(b""))], Data),
        (vec![(exists("/a", true), Response::Exists(stat()))], Data),
        (vec![(children("/a", true), names())], Children),
        (vec![(persistent.clone(), ADDED)], Any),
        (vec![(get("/a", true), data(b"")), (children("/a", true), names())], Any),
        (vec![(get("/a", true), data(b"")), (persistent, ADDED)], Any),
    ] {
        let mut world = World::up(1);
        for (request, reply) in &requests {
            forgotten(&mut world, request, reply);
        }
        let xid = requests.len() + 1;
        assert_eq!(sent_within(&mut world, GRACE - 100), [""; 0]);
        assert_eq!(sent_within(&mut world, 200), [format!("{xid} removeWatches /a {kind:?}")]);
        assert_eq!(world.session.in_flight(), 0, "removals do not count");
        world.events();
        world.ok(xid as i32);
        assert_eq!(world.events(), [""; 0]);
        assert_eq!(sent_within(&mut world, 3 * GRACE), [""; 0]);
    }
}

#[test]
fn an_unwanted_exist_watch_is_removed() {
    let mut world = World::up(1);
    let id = failed(&mut world, &exists("/a", true), ErrorCode::NoNode);
    world.unwatch(RequestId(id));
    assert_eq!(sent_within(&mut world, GRACE + 100), ["2 removeWatches /a Data"]);
}

#[test]
fn a_watch_is_kept_as_long_as_another_watch_needs_it() {
    let mut world = World::up(1);
    let first = done(&mut world, &get("/a", true), &data(b""));
    let second = done(&mut world, &exists("/a", true), &Response::Exists(stat()));
    let other = done(&mut world, &children("/a", true), &names());
    world.unwatch(RequestId(first));
    assert_eq!(sent_within(&mut world, 2 * GRACE), [""; 0]);
    world.unwatch(RequestId(second));
    assert_eq!(sent_within(&mut world, GRACE + 100), ["4 removeWatches /a Data"]);
    world.ok(4);
    world.unwatch(RequestId(other));
    assert_eq!(sent_within(&mut world, GRACE + 100), ["5 removeWatches /a Children"]);
}

#[test]
fn persistent_watches_are_removed_together_with_others() {
    // To servers before 3.9 they are one.
    let mut world = World::up(1);
    let persistent = done(&mut world, &add_watch("/a", AddWatchMode::Persistent), &ADDED);
    let data_watch = world.call(&get("/a", true));
    assert_eq!(world.read(), ["2 getData /a", "3 addWatch /a Persistent"]);
    world.reply(2, &data(b""));
    world.reply(3, &ADDED);
    world.unwatch(RequestId(data_watch));
    assert_eq!(sent_within(&mut world, 2 * GRACE), [""; 0]);
    world.unwatch(RequestId(persistent));
    assert_eq!(sent_within(&mut world, GRACE + 100), ["4 removeWatches /a Any"]);
}

#[test]
fn arming_and_forgetting_in_a_loop_sends_no_removals() {
    let mut world = World::up(1);
    for _ in 0..100 {
        forgotten(&mut world, &get("/a", true), &data(b""));
        assert_eq!(sent_within(&mut world, 900), [""; 0]);
    }
    assert_eq!(sent_within(&mut world, GRACE + 100), ["101 removeWatches /a Data"]);
}

#[test]
fn no_removal_is_sent_behind_a_request_that_arms_the_watch_again() {
    let mut world = World::up(1);
    forgotten(&mut world, &get("/a", true), &data(b""));
    assert_eq!(sent_within(&mut world, GRACE - 200), [""; 0]);
    // It is on its way when the grace ends.
    world.call(&get("/a", true));
    assert_eq!(sent_within(&mut world, 500), ["2 getData /a"]);
    world.reply(2, &data(b""));
    assert_eq!(sent_within(&mut world, 2 * GRACE), [""; 0], "it is wanted");
    world.events();
    world.fire(NodeDataChanged, "/a");
    assert_eq!(world.events(), ["#2 NodeDataChanged /a"]);
    // One that fails leaves none, and the older one may go.
    forgotten(&mut world, &get("/a", true), &data(b""));
    world.call(&get("/a", true));
    assert_eq!(sent_within(&mut world, 2 * GRACE), ["4 getData /a"]);
    world.refuse(4, ErrorCode::NoAuth);
    assert_eq!(sent_within(&mut world, 100), ["5 removeWatches /a Data"]);
    // And one that is made behind the removal is sent behind it.
    world.call(&get("/a", true));
    assert_eq!(world.read(), ["6 getData /a"]);
    world.ok(5);
    world.reply(6, &data(b""));
    world.events();
    world.fire(NodeDataChanged, "/a");
    assert_eq!(world.events(), ["#5 NodeDataChanged /a"]);
}

#[test]
fn a_watch_that_was_forgotten_before_it_was_armed_is_removed() {
    let mut world = World::up(1);
    for (id, reply) in [(1, Ok(data(b""))), (2, Err(ErrorCode::NoNode)), (3, Ok(names()))] {
        let request = [get("/a", true), exists("/b", true), children("/c", true)];
        world.call(&request[id as usize - 1]);
        world.unwatch(RequestId(id));
        world.read();
        match reply {
            Ok(reply) => world.reply(id as i32, &reply),
            Err(err) => world.refuse(id as i32, err),
        }
    }
    // One that was not armed needs no removal.
    world.call(&get("/d", true));
    world.unwatch(RequestId(4));
    world.read();
    world.refuse(4, ErrorCode::NoNode);
    assert_eq!(sent_within(&mut world, GRACE + 100), ["5 removeWatches /a Data"]);
    world.ok(5);
    let rest = ["6 removeWatches /b Data", "7 removeWatches /c Children"];
    assert_eq!(world.read(), rest);
}

#[test]
fn a_watch_with_an_oversized_reply_is_removed() {
    let mut config = config(1);
    config.max_reply = 200;
    let mut world = World::up_with(config);
    let long: &[u8] = &[7; 400];
    done(&mut world, &get("/a", true), &data(long));
    assert_eq!(world.events(), ["#1 ReplyTooLarge Applied"]);
    assert_eq!(sent_within(&mut world, GRACE + 100), ["2 removeWatches /a Data"]);
}

#[test]
fn an_event_ends_unwanted_watches_too() {
    for (event, removal) in [
        (NodeDataChanged, &["3 removeWatches /a Children"][..]),
        (NodeChildrenChanged, &["3 removeWatches /a Data"]),
        (NodeDeleted, &[]),
    ] {
        let mut world = World::up(1);
        forgotten(&mut world, &get("/a", true), &data(b""));
        forgotten(&mut world, &children("/a", true), &names());
        world.fire(event, "/a");
        assert_eq!(sent_within(&mut world, 2 * GRACE), removal, "{event}");
        // One that comes while the removal is on its way concerns nobody.
        world.fire(NodeDeleted, "/a");
        if !removal.is_empty() {
            world.refuse(3, ErrorCode::NoWatcher);
        }
        assert_eq!(world.events().len(), 2, "the replies to the reads");
    }
}

#[test]
fn unwanted_watches_are_not_armed_again() {
    let mut world = World::up(1);
    forgotten(&mut world, &get("/a", true), &data(b""));
    let kept = done(&mut world, &get("/b", true), &data(b""));
    assert_eq!(reconnect(&mut world), [r#"setWatches since 2: ["/b"] [] []"#]);
    assert_eq!(sent_within(&mut world, 2 * GRACE), [""; 0], "/a went with the connection");
    world.special(xid::SET_WATCHES, ErrorCode::Ok);
    // What was armed again is taken off as well.
    world.unwatch(RequestId(kept));
    assert_eq!(sent_within(&mut world, GRACE + 100), ["3 removeWatches /b Data"]);
    // A watch that is forgotten without a connection is not armed on the next one.
    world.ok(3);
    let late = done(&mut world, &get("/c", true), &data(b""));
    world.cut();
    world.unwatch(RequestId(late));
    world.tick(100);
    world.connect();
    assert_eq!(world.read(), [""; 0]);
    assert_eq!(sent_within(&mut world, 2 * GRACE), [""; 0]);
}

#[test]
fn an_exist_watch_rearmed_during_a_deletion_is_removed() {
    let mut world = World::up(1);
    done(&mut world, &get("/a", true), &data(b""));
    failed(&mut world, &exists("/a", true), ErrorCode::NoNode);
    assert_eq!(reconnect(&mut world), [r#"setWatches since 2: ["/a"] ["/a"] []"#]);
    world.events();
    world.fire(NodeDeleted, "/a");
    world.special(xid::SET_WATCHES, ErrorCode::Ok);
    assert_eq!(world.events(), ["#1 NodeDeleted /a", "#2 NodeDeleted /a"]);
    assert_eq!(sent_within(&mut world, GRACE + 100), ["3 removeWatches /a Data"]);
}

#[test]
fn the_number_of_unanswered_removals_is_limited() {
    let mut world = World::up(1);
    for n in 0..1_000 {
        forgotten(&mut world, &get(&format!("/{n}"), true), &data(b""));
    }
    let mut waiting = sent_within(&mut world, GRACE + 100);
    assert_eq!(waiting, ["1001 removeWatches /0 Data"], "the first goes alone");
    let (mut removed, mut most) = (0, 0);
    while let [first, ..] = &waiting[..] {
        let xid = first.split(' ').next().unwrap().parse().unwrap();
        waiting.remove(0);
        removed += 1;
        match removed % 2 {
            0 => world.ok(xid),
            _ => world.refuse(xid, ErrorCode::NoWatcher),
        }
        waiting.extend(world.read());
        most = most.max(waiting.len());
    }
    assert_eq!((removed, most), (1_000, 64));
    assert!(world.session.watches.is_empty());
}

#[test]
fn no_removals_are_sent_to_a_server_that_does_not_know_them() {
    let mut world = World::up(1);
    forgotten(&mut world, &get("/a", true), &data(b""));
    forgotten(&mut world, &get("/b", true), &data(b""));
    assert_eq!(sent_within(&mut world, GRACE + 100), ["3 removeWatches /a Data"]);
    world.refuse(3, ErrorCode::Unimplemented);
    forgotten(&mut world, &get("/c", true), &data(b""));
    assert_eq!(sent_within(&mut world, 2 * GRACE), [""; 0]);
    assert!(world.session.watches.is_empty());
}

#[test]
fn removals_back_off_if_the_server_drops_the_connection() {
    let mut world = World::up(1);
    for losses in 0..4 {
        forgotten(&mut world, &get("/a", true), &data(b""));
        let wait = GRACE << losses;
        assert_eq!(sent_within(&mut world, wait - 100), [""; 0]);
        assert_eq!(sent_within(&mut world, 200).len(), 1);
        assert_eq!(reconnect(&mut world), [""; 0]);
    }
    // One that has answered a removal is asked for as long as it takes.
    let mut world = World::up(1);
    forgotten(&mut world, &get("/a", true), &data(b""));
    assert_eq!(sent_within(&mut world, GRACE + 100), ["2 removeWatches /a Data"]);
    world.ok(2);
    for _ in 0..5 {
        forgotten(&mut world, &get("/a", true), &data(b""));
        assert_eq!(sent_within(&mut world, GRACE + 100).len(), 1);
        assert_eq!(reconnect(&mut world), [""; 0]);
    }
}

#[test]
fn removals_can_be_disabled() {
    let mut config = config(1);
    config.unwatch_after = None;
    let mut world = World::up_with(config);
    forgotten(&mut world, &get("/a", true), &data(b""));
    assert_eq!(sent_within(&mut world, 10 * GRACE), [""; 0]);
    assert!(world.session.watches.is_empty());
}

#[test]
fn a_closing_session_sends_no_removals() {
    let mut world = World::up(1);
    forgotten(&mut world, &get("/a", true), &data(b""));
    assert_eq!(sent_within(&mut world, GRACE - 100), [""; 0]);
    world.close();
    assert_eq!(sent_within(&mut world, 1_000), ["2 closeSession"]);
}
