//! Tests of the clock and the timers.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::mpsc::channel,
    task::Poll,
    thread,
    time::Duration,
};

use super::util::{Gate, Rng, TIMEOUT, poll_once, recv, run, sleep, spawn};
use crate::Handler;

const MILLISECOND: Duration = Duration::from_millis(1);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// The clock never goes back on any thread, and goes on during a sleep.
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

/// All clones have the same clock.
pub fn clock_is_shared_by_clones<H: Handler>(handler: H) {
    for _ in 0..100 {
        let (before, between, after) = (handler.now(), handler.clone().now(), handler.now());
        assert!(before <= between && between <= after, "{before:?}, {between:?}, {after:?}");
    }
}

/// A timer fires at its deadline, not before, and not much later.
pub fn timer_never_fires_early<H: Handler>(handler: H) {
    let inside = handler.clone();
    run(&handler, "all timers", async move {
        for micros in [1, 300, 999, 1000, 1001, 2500, 10_000, 60_000] {
            let deadline = inside.now() + Duration::from_micros(micros);
            inside.sleep_until(deadline).await;
            let now = inside.now();
            assert!(now >= deadline, "{:?} too early, of {micros} us", deadline - now);
            assert!(now < deadline + TIMEOUT, "{:?} too late", now - deadline);
        }
    });
}

/// Timers fire in the order of their deadlines, not of their creation.
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
        // Latest first: once one has fired, all that are polled after it must have fired.
        timers.sort_by_key(|(place, ..)| std::cmp::Reverse(*place));
        poll_fn(|context| {
            let mut later = None;
            for (place, timer, done) in &mut timers {
                if done.is_none() && timer.as_mut().poll(context).is_ready() {
                    *done = Some(());
                }
                match (&done, later) {
                    (Some(()), None) => later = Some(*place),
                    (None, Some(later)) => panic!("{later} fired before {place}"),
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

/// A near deadline that is added while the runtime waits for a far one fires on time.
pub fn timer_with_a_nearer_deadline_fires_first<H: Handler>(handler: H) {
    let inside = handler.clone();
    let far = spawn(&handler, async move { sleep(&inside, YEAR).await });
    for _ in 0..5 {
        let inside = handler.clone();
        run(&handler, "the nearer timer", async move { sleep(&inside, 10 * MILLISECOND).await });
    }
    assert!(far.try_recv().is_err(), "a year has passed");
}

/// A deadline in the past is ready at once.
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

/// Timers with extreme deadlines can be polled and dropped like others.
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
            let _ = polled.send(poll_once(sleep.as_mut()).await);
            gate.opened().await;
            let _ = polled.send(poll_once(sleep.as_mut()).await);
        });
    }
    for _ in far {
        assert_eq!(recv(&polls, "a first look"), None, "the timer fired");
    }
    let inside = handler.clone();
    run(&handler, "a short timer", async move { sleep(&inside, 20 * MILLISECOND).await });
    gate.open();
    for _ in far {
        assert_eq!(recv(&polls, "a second look"), None, "the timer fired");
    }
}

/// Dropping a timer does not prevent others from firing.
pub fn timer_can_be_cancelled<H: Handler>(handler: H) {
    let inside = handler.clone();
    run(&handler, "the timers that stay", async move {
        for round in 0..50 {
            let now = inside.now();
            let timer = |millis: u32| Box::pin(inside.sleep_until(now + millis * MILLISECOND));
            let (mut first, mut stays, mut last) = (timer(1), timer(3 + round % 3), timer(10));
            poll_once(first.as_mut()).await;
            poll_once(stays.as_mut()).await;
            poll_once(last.as_mut()).await;
            drop(first);
            drop(last);
            // A timer that was never polled.
            drop(timer(2));
            stays.await;
        }
    });
}

/// If a timer is polled by one task and then by another, the last one is woken.
pub fn timer_can_move_between_tasks<H: Handler>(handler: H) {
    let inside = handler.clone();
    let (moved, timers) = channel::<Pin<Box<dyn Future<Output = ()> + Send>>>();
    run(&handler, "the first task", async move {
        let mut timer = Box::pin(inside.sleep_until(inside.now() + 100 * MILLISECOND));
        poll_once(timer.as_mut()).await;
        moved.send(timer).expect("a receiver");
    });
    run(&handler, "the second task", recv(&timers, "the timer"));
}

/// Ten thousand timers at poll_once, each in a task.
pub fn timers_scale_to_ten_thousand<H: Handler>(handler: H) {
    const COUNT: usize = 10_000;
    let mut rng = Rng(11);
    let (gone, off) = channel();
    for _ in 0..COUNT {
        let (inside, gone) = (handler.clone(), gone.clone());
        let deadline = handler.now() + rng.below(200_000) as u32 * Duration::from_micros(1);
        handler.spawn(async move {
            inside.sleep_until(deadline).await;
            let _ = gone.send(inside.now() >= deadline);
        });
    }
    for number in 0..COUNT {
        assert!(recv(&off, &format!("timer {number} of {COUNT}")), "a timer fired too early");
    }
}
