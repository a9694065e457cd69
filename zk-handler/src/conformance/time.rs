//! The clock and the timers.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::mpsc::channel,
    task::Poll,
    thread,
    time::Duration,
};

use super::util::{Gate, Numbers, PATIENCE, expect, once, run, sleep, spawn};
use crate::Handler;

const MILLISECOND: Duration = Duration::from_millis(1);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// The clock never goes back, on no thread, and goes on while one sleeps.
pub fn clock_never_goes_back<H: Handler>(handler: H) {
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let handler = handler.clone();
            thread::spawn(move || {
                let mut last = handler.now();
                for _ in 0..10_000 {
                    let now = handler.now();
                    assert!(now >= last, "{now:?} after {last:?}");
                    last = now;
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("a clock that does not go back");
    }
    let before = handler.now();
    let inside = handler.clone();
    run(&handler, "a sleep", async move { sleep(&inside, 20 * MILLISECOND).await });
    let passed = handler.now() - before;
    assert!(passed >= 20 * MILLISECOND, "{passed:?} in a sleep of 20 ms");
}

/// All clones tell the same time.
pub fn clock_is_shared_by_clones<H: Handler>(handler: H) {
    for _ in 0..100 {
        let (before, between, after) = (handler.now(), handler.clone().now(), handler.now());
        assert!(before <= between && between <= after, "{before:?}, {between:?}, {after:?}");
    }
}

/// A timer goes off when its time has come, and not much later.
pub fn timer_never_fires_early<H: Handler>(handler: H) {
    let inside = handler.clone();
    run(&handler, "all timers", async move {
        for micros in [1, 300, 999, 1000, 1001, 2500, 10_000, 60_000] {
            let deadline = inside.now() + Duration::from_micros(micros);
            inside.sleep_until(deadline).await;
            let now = inside.now();
            assert!(now >= deadline, "{:?} too early, of {micros} us", deadline - now);
            assert!(now < deadline + PATIENCE, "{:?} too late", now - deadline);
        }
    });
}

/// Timers go off in the order of their deadlines, not in that of their making.
pub fn timers_fire_in_order<H: Handler>(handler: H) {
    const COUNT: u32 = 20;
    let inside = handler.clone();
    run(&handler, "all timers", async move {
        let start = inside.now();
        let mut timers: Vec<_> = (0..COUNT)
            .map(|number| (number * 7 % COUNT, None))
            .map(|(place, done): (u32, Option<()>)| {
                (place, Box::pin(inside.sleep_until(start + 15 * place * MILLISECOND)), done)
            })
            .collect();
        // Latest first: when one has gone off, all that are looked at after it must have.
        timers.sort_by_key(|(place, ..)| std::cmp::Reverse(*place));
        poll_fn(|context| {
            let mut later = None;
            for (place, timer, done) in &mut timers {
                if done.is_none() && timer.as_mut().poll(context).is_ready() {
                    *done = Some(());
                }
                match (&done, later) {
                    (Some(()), None) => later = Some(*place),
                    (None, Some(later)) => panic!("{later} went off before {place}"),
                    _ => {}
                }
            }
            if timers.iter().all(|(_, _, done)| done.is_some()) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    });
}

/// A near deadline that comes up while all is quiet and waits for a far one is not held up by it.
pub fn timer_with_a_nearer_deadline_fires_first<H: Handler>(handler: H) {
    let inside = handler.clone();
    let far = spawn(&handler, async move { sleep(&inside, YEAR).await });
    for _ in 0..5 {
        let inside = handler.clone();
        run(&handler, "the nearer timer", async move { sleep(&inside, 10 * MILLISECOND).await });
    }
    assert!(far.try_recv().is_err(), "a year has passed");
}

/// A deadline that has passed is no reason to wait.
pub fn timer_in_the_past_fires_at_once<H: Handler>(handler: H) {
    let inside = handler.clone();
    run(&handler, "the past", async move {
        let now = inside.now();
        for deadline in
            [Duration::ZERO, now.saturating_sub(YEAR), now.saturating_sub(MILLISECOND), now]
        {
            inside.sleep_until(deadline).await;
        }
    });
}

/// Deadlines beyond all measure are waited for, and given up, like others.
pub fn timer_in_the_far_future_is_accepted<H: Handler>(handler: H) {
    let now = handler.now();
    let far = [
        Duration::MAX,
        Duration::from_secs(u64::MAX),
        now + 30 * YEAR,
        now + 1000 * YEAR,
        now + YEAR,
    ];
    let (polled, polls) = channel();
    let gate = Gate::default();
    for deadline in far {
        let (inside, polled, gate) = (handler.clone(), polled.clone(), gate.clone());
        handler.spawn(async move {
            let mut sleep = Box::pin(inside.sleep_until(deadline));
            let _ = polled.send(once(sleep.as_mut()).await);
            gate.passed().await;
            let _ = polled.send(once(sleep.as_mut()).await);
        });
    }
    for _ in far {
        assert_eq!(expect(&polls, "a first look"), None, "it went off");
    }
    let inside = handler.clone();
    run(&handler, "a short timer", async move { sleep(&inside, 20 * MILLISECOND).await });
    gate.open();
    for _ in far {
        assert_eq!(expect(&polls, "a second look"), None, "it went off");
    }
}

/// Timers that are dropped, first or last, keep none of the others from going off.
pub fn timer_can_be_cancelled<H: Handler>(handler: H) {
    let inside = handler.clone();
    run(&handler, "the timers that stay", async move {
        for round in 0..50 {
            let now = inside.now();
            let timer = |millis: u32| Box::pin(inside.sleep_until(now + millis * MILLISECOND));
            let (mut first, mut stays, mut last) = (timer(1), timer(3 + round % 3), timer(10));
            once(first.as_mut()).await;
            once(stays.as_mut()).await;
            once(last.as_mut()).await;
            drop(first);
            drop(last);
            // Neither does one that has never been waited for.
            drop(timer(2));
            stays.await;
        }
    });
}

/// A timer may be waited for by one task and then by another: the last one is woken.
pub fn timer_can_move_between_tasks<H: Handler>(handler: H) {
    let inside = handler.clone();
    let (moved, timers) = channel::<Pin<Box<dyn Future<Output = ()> + Send>>>();
    run(&handler, "the first task", async move {
        let mut timer = Box::pin(inside.sleep_until(inside.now() + 100 * MILLISECOND));
        once(timer.as_mut()).await;
        moved.send(timer).expect("a receiver");
    });
    run(&handler, "the second task", expect(&timers, "the timer"));
}

/// Ten thousand timers at once, each in a task.
pub fn timers_scale_to_ten_thousand<H: Handler>(handler: H) {
    const COUNT: usize = 10_000;
    let mut numbers = Numbers(11);
    let (gone, off) = channel();
    for _ in 0..COUNT {
        let (inside, gone) = (handler.clone(), gone.clone());
        let deadline = handler.now() + numbers.below(200_000) as u32 * Duration::from_micros(1);
        handler.spawn(async move {
            inside.sleep_until(deadline).await;
            let _ = gone.send(inside.now() >= deadline);
        });
    }
    for number in 0..COUNT {
        assert!(expect(&off, &format!("timer {number} of {COUNT}")), "a timer went off too early");
    }
}
