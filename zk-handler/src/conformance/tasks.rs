//! Tests of tasks and wakers.

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::channel,
    },
    task::{Poll, Waker},
    thread,
    time::Duration,
};

use super::util::{Gate, echo, echo_back, pair, read, recv, run, sleep, spawn, yield_now};
use crate::Handler;

const MILLISECOND: Duration = Duration::from_millis(1);

/// The handler has a name for logs.
pub fn handler_has_a_name<H: Handler>(handler: H) {
    assert!(!handler.name().is_empty());
}

/// Dropping the handler does not wait for running tasks and jobs.
pub fn handler_can_be_dropped_with_work_in_flight<H: Handler>(handler: H) {
    let (mut stream, _peer) = pair(&handler);
    let (dropped, drops) = channel();
    let inside = handler.clone();
    let running = Gate::default();
    let (started, starts) = channel();
    handler.spawn({
        let (inside, started) = (handler.clone(), started.clone());
        async move {
            let _ = started.send(());
            sleep(&inside, Duration::from_secs(100_000)).await;
        }
    });
    handler.spawn({
        let started = started.clone();
        async move {
            let _ = started.send(());
            let _ = read(&mut stream, &mut [0]).await;
        }
    });
    handler.dispatch({
        let running = running.clone();
        move || {
            let _ = started.send(());
            running.block();
        }
    });
    for _ in 0..3 {
        recv(&starts, "work in flight");
    }
    thread::spawn(move || {
        drop(handler);
        drop(inside);
        let _ = dropped.send(());
    });
    recv(&drops, "to drop the handler");
    running.open();
}

/// Tasks can be spawned from any thread, and all of them run.
pub fn task_can_be_spawned_from_threads<H: Handler>(handler: H) {
    let (ran, runs) = channel();
    for thread in 0..8_usize {
        let (handler, ran) = (handler.clone(), ran.clone());
        thread::spawn(move || {
            for number in 0..250 {
                let ran = ran.clone();
                handler.spawn(async move {
                    let _ = ran.send(thread * 250 + number);
                });
            }
        });
    }
    let mut all: Vec<_> = (0..2000).map(|_| recv(&runs, "all tasks")).collect();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..2000), "a task ran twice");
}

/// Tasks can be spawned from tasks.
pub fn task_can_be_spawned_from_tasks<H: Handler>(handler: H) {
    fn descend<H: Handler>(handler: H, depth: usize, done: std::sync::mpsc::Sender<usize>) {
        handler.clone().spawn(async move {
            if depth == 0 {
                let _ = done.send(0);
                return;
            }
            let _ = done.send(depth);
            descend(handler, depth - 1, done);
        });
    }
    let (done, depths) = channel();
    descend(handler, 500, done);
    for depth in (0..=500).rev() {
        assert_eq!(recv(&depths, "the next task"), depth);
    }
}

/// A task runs to its end even if all clones of the handler are dropped.
pub fn task_outlives_its_handler<H: Handler>(handler: H) {
    let (mut stream, peer) = pair(&handler);
    let inside = handler.clone();
    let done = spawn(&handler, async move {
        let sleep = inside.sleep_until(inside.now() + 20 * MILLISECOND);
        drop(inside);
        sleep.await;
        echo(&mut stream, 3).await.map(|_| ())
    });
    drop(handler);
    echo_back(peer).expect("the peer");
    recv(&done, "the task").expect("the task");
}

/// The values that a task owns are dropped when it ends, even if there are clones of its waker.
pub fn task_is_dropped_when_it_ends<H: Handler>(handler: H) {
    struct Owned(std::sync::mpsc::Sender<()>);
    impl Drop for Owned {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let (drops, dropped) = channel();
    let owned = Owned(drops);
    let waker = run(&handler, "the task", async move {
        let waker = poll_fn(|context| Poll::Ready(context.waker().clone())).await;
        drop(owned);
        waker
    });
    recv(&dropped, "what the task dropped itself");
    let (drops, dropped) = channel();
    let (owned, second) = (Owned(drops), channel());
    handler.spawn(async move {
        let _owned = owned;
        let waker = poll_fn(|context| Poll::Ready(context.waker().clone())).await;
        let _ = second.0.send(waker);
    });
    let second = recv(&second.1, "the task's waker");
    recv(&dropped, "what the task owned");
    assert!(dropped.recv().is_err(), "dropped twice");
    // Waking a task that has ended has no effect.
    waker.wake();
    second.wake_by_ref();
    run(&handler, "another task", yield_now());
}

/// A panic ends only the task in which it happens.
pub fn task_panic_does_not_affect_others<H: Handler>(handler: H) {
    let gate = Gate::default();
    let waiting = {
        let gate = gate.clone();
        spawn(&handler, async move { gate.opened().await })
    };
    for _ in 0..4 {
        let ended = spawn(&handler, async { panic!("a task panics, as it is meant to") });
        assert!(ended.recv_timeout(super::util::TIMEOUT).is_err());
    }
    gate.open();
    recv(&waiting, "the task that was waiting meanwhile");
    let inside = handler.clone();
    run(&handler, "a task that comes after", async move { sleep(&inside, MILLISECOND).await });
}

/// A thread wakes a task many times, and the task responds each time.
pub fn task_can_be_woken_from_a_thread<H: Handler>(handler: H) {
    const ROUNDS: usize = 2000;
    #[derive(Default)]
    struct Ball {
        number: usize,
        waker: Option<Waker>,
    }
    let ball = Arc::new(Mutex::new(Ball::default()));
    let (back, returns) = channel();
    handler.spawn({
        let ball = ball.clone();
        async move {
            for round in 1..=ROUNDS {
                poll_fn(|context| {
                    let mut ball = ball.lock().unwrap();
                    if ball.number == round {
                        return Poll::Ready(());
                    }
                    ball.waker = Some(context.waker().clone());
                    Poll::Pending
                })
                .await;
                let _ = back.send(round);
            }
        }
    });
    for round in 1..=ROUNDS {
        let waker = {
            let mut ball = ball.lock().unwrap();
            ball.number = round;
            ball.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        assert_eq!(recv(&returns, "the ball"), round);
    }
}

/// A task that is woken while it runs, by itself or by another thread, runs again.
pub fn task_can_be_woken_while_it_runs<H: Handler>(handler: H) {
    run(&handler, "by itself", async {
        for _ in 0..10_000 {
            yield_now().await;
        }
    });
    run(&handler, "from elsewhere", async {
        for _ in 0..100 {
            let mut polls = 0;
            poll_fn(|context| {
                polls += 1;
                if polls == 2 {
                    return Poll::Ready(());
                }
                let waker = context.waker().clone();
                thread::spawn(move || waker.wake()).join().expect("to wake");
                Poll::Pending
            })
            .await;
        }
    });
}

/// Many threads wake one task as fast as they can. The task sees the last change.
pub fn task_can_be_woken_by_many_threads_at_once<H: Handler>(handler: H) {
    const THREADS: usize = 8;
    const WAKES: usize = 2000;
    let woken = Arc::new((AtomicUsize::new(0), Mutex::new(Waker::noop().clone())));
    let task = spawn(&handler, {
        let woken = woken.clone();
        poll_fn(move |context| {
            woken.1.lock().unwrap().clone_from(context.waker());
            if woken.0.load(Ordering::SeqCst) == THREADS * WAKES {
                return Poll::Ready(());
            }
            Poll::Pending
        })
    });
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let woken = woken.clone();
            thread::spawn(move || {
                for _ in 0..WAKES {
                    woken.0.fetch_add(1, Ordering::SeqCst);
                    let waker = woken.1.lock().unwrap().clone();
                    waker.wake();
                }
            })
        })
        .collect();
    recv(&task, "the task to see all of it");
    for thread in threads {
        thread.join().expect("to wake");
    }
}

/// Ten thousand tasks wait for the same gate, and all of them pass.
pub fn tasks_scale_to_ten_thousand<H: Handler>(handler: H) {
    const COUNT: usize = 10_000;
    let gate = Gate::default();
    let (ran, runs) = channel();
    for _ in 0..COUNT {
        let (gate, ran) = (gate.clone(), ran.clone());
        handler.spawn(async move {
            gate.opened().await;
            let _ = ran.send(());
        });
    }
    gate.open();
    for number in 0..COUNT {
        recv(&runs, &format!("task {number} of {COUNT}"));
    }
}

/// Tasks that are always ready do not hold up timers, connections or new tasks.
pub fn tasks_that_yield_do_not_starve_others<H: Handler>(handler: H) {
    let stop = Arc::new(AtomicBool::new(false));
    let yielding: Vec<_> = (0..4)
        .map(|_| {
            let stop = stop.clone();
            spawn(&handler, async move {
                while !stop.load(Ordering::Relaxed) {
                    yield_now().await;
                }
            })
        })
        .collect();
    let (mut stream, peer) = pair(&handler);
    let echoing = thread::spawn(move || echo_back(peer));
    let inside = handler.clone();
    run(&handler, "timers and connections", async move {
        for _ in 0..5 {
            sleep(&inside, 5 * MILLISECOND).await;
            echo(&mut stream, 10).await.expect("an echo");
        }
    });
    for _ in 0..10 {
        run(&handler, "a new task", yield_now());
    }
    stop.store(true, Ordering::Relaxed);
    for task in yielding {
        recv(&task, "a task that yields");
    }
    echoing.join().expect("the peer").expect("the peer");
}
