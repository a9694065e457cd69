//! Any sequence of inputs, sane or not. What holds in all of them is checked by [`World`] at every step.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Submit(u8),
    Unwatch(u8),
    AddAuth,
    RemoveAuth,
    Reconnect,
    Close,
    SetHosts(u8),
    Accept,
    Cut,
    Welcome {
        id: u8,
        timeout: u16,
        read_only: bool,
    },
    /// The reply that is due, if there is one.
    Reply {
        err: i8,
        body: bool,
    },
    Special(i8),
    Event(i8, u8),
    Garbage(Vec<u8>),
    Read,
    Probed(bool),
    Tick(u16),
    Freeze(u16),
    Chunk(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => any::<u8>().prop_map(Step::Submit),
        2 => any::<u8>().prop_map(Step::Unwatch),
        1 => Just(Step::AddAuth),
        1 => Just(Step::RemoveAuth),
        2 => Just(Step::Reconnect),
        1 => any::<u8>().prop_map(Step::SetHosts),
        10 => Just(Step::Accept),
        3 => Just(Step::Cut),
        10 => (0..3_u8, 0..20_000_u16, prop::bool::weighted(0.1))
            .prop_map(|(id, timeout, read_only)| Step::Welcome { id, timeout, read_only }),
        8 => (prop_oneof![4 => Just(0_i8), 1 => Just(-101), 1 => any::<i8>()], any::<bool>())
            .prop_map(|(err, body)| Step::Reply { err, body }),
        3 => prop_oneof![Just(-2_i8), Just(-4), Just(-8), any::<i8>()].prop_map(Step::Special),
        3 => (-1..9_i8, 0..4_u8).prop_map(|(kind, path)| Step::Event(kind, path)),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Step::Garbage),
        10 => Just(Step::Read),
        1 => any::<bool>().prop_map(Step::Probed),
        6 => any::<u16>().prop_map(|ms| Step::Tick(ms % 7_000)),
        1 => any::<u16>().prop_map(Step::Freeze),
        1 => (1..40_u8).prop_map(Step::Chunk),
    ]
}

const PATHS: [&str; 4] = ["/", "/a", "/a/b", "/c"];

/// Does one step, where it makes sense.
fn take(world: &mut World, step: &Step) {
    match step {
        Step::Submit(n) => {
            let path = PATHS[usize::from(n % 4)];
            let request = match n / 4 % 6 {
                0 => get(path, true),
                1 => exists(path, true),
                2 => children(path, true),
                3 => add_watch(path, AddWatchMode::PersistentRecursive),
                4 => set_data(path, b"x"),
                _ => delete(path),
            };
            let chroot = Chroot::new(if n % 5 == 0 { "/a" } else { "/" }).unwrap();
            let _ = world.try_call_below(&chroot, &request);
        }
        Step::Unwatch(n) => world.unwatch(RequestId(u64::from(*n % 32))),
        Step::AddAuth => drop(world.add_auth("x")),
        Step::RemoveAuth => {
            world.session.remove_auth(&Credential::digest("ann", "x"));
            world.absorb();
        }
        Step::Reconnect => drop(world.reconnect()),
        Step::Close => world.close(),
        Step::SetHosts(n) => {
            let hosts = (0..u16::from(n % 4)).map(|k| HostPort::new("h", u16::from(*n) % 5 + k));
            world.session.set_hosts(world.now, hosts.collect());
            world.absorb();
        }
        Step::Accept if world.host.is_some() && !world.open => world.accept(),
        Step::Cut if world.host.is_some() => world.cut(),
        Step::Welcome { id, timeout, read_only } if world.open => {
            world.read();
            let answer = welcome(i64::from(*id), i32::from(*timeout), Some(*read_only));
            world.send(&answer);
        }
        Step::Reply { err, body } if world.open => {
            let due = world.session.queue.front();
            let xid = due.map_or(1, |(xid, _)| xid);
            let response = match due {
                Some((_, OpCode::GetData)) if *body => data(b"x"),
                Some((_, OpCode::Exists)) if *body => Response::Exists(stat()),
                Some((_, OpCode::AddWatch)) if *body => {
                    Response::AddWatch(ErrorResponse { err: ErrorCode::from(i32::from(*err)) })
                }
                _ => Response::Empty,
            };
            world.answer(xid, ErrorCode::from(i32::from(*err)), &response);
        }
        Step::Special(xid) if world.open => world.special((*xid).into(), ErrorCode::Ok),
        Step::Event(kind, path) if world.open => {
            world.fire(EventType::from(i32::from(*kind)), PATHS[usize::from(*path)]);
        }
        Step::Garbage(bytes) if world.open => world.send(bytes),
        Step::Read => drop(world.read()),
        Step::Probed(writable) => {
            let host = Arc::new(HostPort::new("h2", 2));
            let answer = if *writable { Probed::Writable } else { Probed::Unusable };
            world.session.handle_probed(world.now, &host, answer);
            world.absorb();
        }
        Step::Tick(ms) => world.tick((*ms).into()),
        Step::Freeze(ms) => {
            world.freeze((*ms).into());
            world.wake();
        }
        Step::Chunk(chunk) => world.chunk = usize::from(*chunk),
        _ => {}
    }
}

fn run(seed: u64, hosts: u16, read_only: bool, renew: bool, steps: &[Step]) -> World {
    let mut config = config(hosts);
    config.read_only = read_only;
    config.renew_expired = renew;
    config.max_reply = 100;
    config.max_in_flight = 20;
    config.auth = vec![Credential::digest("ann", "1")];
    let mut world = World::seeded(config, seed);
    world.start();
    for step in steps {
        take(&mut world, step);
        assert!(world.session.in_flight() <= 20);
    }
    // Whatever has happened, a close brings it to an end.
    world.close();
    world.tick(100_000);
    world
}

proptest! {
    #[test]
    fn every_run_ends_every_request_once(
        seed: u64,
        hosts in 1..4_u16,
        read_only: bool,
        renew: bool,
        steps in prop::collection::vec(step(), 0..120),
        close in prop::option::of(0..120_usize),
    ) {
        let mut steps = steps;
        if let Some(at) = close.filter(|at| *at < steps.len()) {
            steps.insert(at, Step::Close);
        }
        let world = run(seed, hosts, read_only, renew, &steps);
        let ended: BTreeSet<_> = world.replies.keys().chain(world.failures.keys()).collect();
        let all: Vec<_> = (1..=world.session.last_id).collect();
        prop_assert!(ended.into_iter().eq(&all));
        prop_assert_eq!(world.session.state(), SessionState::Lost);
        prop_assert!(world.session.end_reason().is_some());
        prop_assert_eq!((world.session.armed(), world.session.in_flight()), (0, 0));
        prop_assert_eq!(world.session.poll_timeout(), None);
        prop_assert!(!world.session.wants_transmit());
        prop_assert_eq!(&world.trace, &run(seed, hosts, read_only, renew, &steps).trace);
    }
}
