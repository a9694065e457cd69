//! Tests of jobs and callback queues.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::channel,
    },
    thread,
    time::Duration,
};

use super::util::{Gate, echo, echo_back, pair, recv, run, sleep, yield_now};
use crate::{CallbackQueue, Handler};

const MILLISECOND: Duration = Duration::from_millis(1);

/// A job that blocks does not hold up tasks, timers or connections.
pub fn job_runs_off_the_tasks<H: Handler>(handler: H) {
    let gate = Gate::default();
    let (event, events) = channel();
    for _ in 0..4 {
        let (gate, event) = (gate.clone(), event.clone());
        handler.dispatch(move || {
            let _ = event.send("runs");
            gate.block();
            let _ = event.send("ended");
        });
    }
    for _ in 0..4 {
        assert_eq!(recv(&events, "a job"), "runs");
    }
    let (mut stream, peer) = pair(&handler);
    let echoing = thread::spawn(move || echo_back(peer));
    let inside = handler.clone();
    run(&handler, "tasks beside a job that blocks", async move {
        sleep(&inside, 10 * MILLISECOND).await;
        echo(&mut stream, 50).await.expect("an echo");
    });
    assert!(events.try_recv().is_err(), "a job did not block");
    gate.open();
    for _ in 0..4 {
        assert_eq!(recv(&events, "a job"), "ended");
    }
    echoing.join().expect("the peer").expect("the peer");
}

/// A job can spawn tasks and dispatch jobs, and so can a task.
pub fn job_can_spawn_and_dispatch<H: Handler>(handler: H) {
    let (done, result) = channel();
    let inside = handler.clone();
    handler.dispatch(move || {
        inside.clone().spawn(async move {
            yield_now().await;
            let last = inside.clone();
            inside.dispatch(move || {
                last.spawn(async move {
                    let _ = done.send(());
                });
            });
        });
    });
    recv(&result, "the last task");
}

/// A panic ends only the job in which it happens.
pub fn job_panic_does_not_affect_others<H: Handler>(handler: H) {
    for _ in 0..4 {
        let (unused, ended) = channel::<()>();
        handler.dispatch(move || {
            let _unused = unused;
            panic!("a job panics, as it is meant to");
        });
        assert!(ended.recv_timeout(super::util::TIMEOUT).is_err());
    }
    let (done, result) = channel();
    handler.dispatch(move || {
        let _ = done.send(());
    });
    recv(&result, "a job that comes after");
}

/// A job may block, and so may a thread that does not belong to the runtime.
pub fn job_may_block<H: Handler>(handler: H) {
    run(&handler, "a task", yield_now());
    let (say, said) = channel();
    let (here, again) = (handler.clone(), say.clone());
    handler.dispatch(move || {
        let _ = say.send(here.may_block());
    });
    assert!(recv(&said, "a job"), "a job may not block");
    thread::spawn(move || {
        let _ = again.send(handler.may_block());
    });
    assert!(recv(&said, "a thread"), "a thread may not block");
}

/// Many jobs can block at once: each has a thread of its own.
pub fn jobs_can_all_block_at_once<H: Handler>(handler: H) {
    const COUNT: usize = 32;
    let gate = Gate::default();
    let (started, starts) = channel();
    for _ in 0..COUNT {
        let (gate, started) = (gate.clone(), started.clone());
        handler.dispatch(move || {
            let _ = started.send(());
            gate.block();
        });
    }
    for number in 0..COUNT {
        recv(&starts, &format!("job {number} of {COUNT}, all of which block"));
    }
    gate.open();
}

/// Jobs run one at a time, and those of each producer run in the order in which it has pushed them.
pub fn callback_queue_keeps_the_order<H: Handler>(handler: H) {
    const COUNT: usize = 2500;
    let queue = CallbackQueue::new("order", handler.clone());
    let busy = Arc::new(AtomicBool::new(false));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let job = {
        let (queue, seen) = (queue.clone(), seen.clone());
        move |producer: usize, number: usize| {
            let (busy, seen) = (busy.clone(), seen.clone());
            queue.push(move || {
                assert!(!busy.swap(true, Ordering::SeqCst), "two jobs at once");
                seen.lock().unwrap().push((producer, number));
                busy.store(false, Ordering::SeqCst);
            });
        }
    };
    let (done, ends) = channel();
    for producer in 0..4 {
        let (job, done) = (job.clone(), done.clone());
        if producer % 2 == 0 {
            thread::spawn(move || {
                (0..COUNT).for_each(|number| job(producer, number));
                let _ = done.send(());
            });
        } else {
            handler.spawn(async move {
                for number in 0..COUNT {
                    job(producer, number);
                    if number % 10 == 0 {
                        yield_now().await;
                    }
                }
                let _ = done.send(());
            });
        }
    }
    for _ in 0..4 {
        recv(&ends, "a producer");
    }
    let (done, last) = channel();
    queue.push(move || {
        let _ = done.send(());
    });
    recv(&last, "the last job");
    let seen = seen.lock().unwrap();
    for producer in 0..4 {
        let numbers = seen.iter().filter(|seen| seen.0 == producer).map(|seen| seen.1);
        assert!(numbers.eq(0..COUNT), "the jobs of producer {producer} are not in order");
    }
}

/// A panic in a job does not stop the queue.
pub fn callback_queue_survives_panics<H: Handler>(handler: H) {
    let queue = CallbackQueue::new("panics", handler);
    let (done, result) = channel();
    for number in 0..10 {
        let done = done.clone();
        queue.push(move || {
            assert!(number % 2 == 0, "a callback panics, as it is meant to");
            let _ = done.send(number);
        });
    }
    for number in [0, 2, 4, 6, 8] {
        assert_eq!(recv(&result, "the next job"), number);
    }
}

/// A job that blocks only holds up its own queue.
pub fn callback_queue_is_independent_of_others<H: Handler>(handler: H) {
    let queues =
        [CallbackQueue::new("first", handler.clone()), CallbackQueue::new("second", handler)];
    for (blocked, free) in [(0, 1), (1, 0)] {
        let gate = Gate::default();
        let (event, events) = channel();
        queues[blocked].push({
            let (gate, event) = (gate.clone(), event.clone());
            move || {
                let _ = event.send("blocked");
                gate.block();
            }
        });
        assert_eq!(recv(&events, "the job that blocks"), "blocked");
        queues[blocked].push({
            let event = event.clone();
            move || {
                let _ = event.send("behind it");
            }
        });
        for _ in 0..100 {
            let event = event.clone();
            queues[free].push(move || {
                let _ = event.send("free");
            });
        }
        for _ in 0..100 {
            assert_eq!(recv(&events, "the other queue"), "free");
        }
        gate.open();
        assert_eq!(recv(&events, "the job behind"), "behind it");
    }
}

/// A job can push jobs to its own queue and to another one. They run last.
pub fn callback_queue_accepts_jobs_from_its_jobs<H: Handler>(handler: H) {
    let queues =
        [CallbackQueue::new("first", handler.clone()), CallbackQueue::new("second", handler)];
    let (done, result) = channel();
    let gate = Gate::default();
    queues[0].push({
        let (queues, gate, done) = (queues.clone(), gate.clone(), done.clone());
        move || {
            gate.block();
            let again = done.clone();
            queues[0].clone().push(move || {
                let _ = again.send(2);
                let back = queues[0].clone();
                queues[1].push(move || {
                    back.push(move || {
                        let _ = again.send(3);
                    })
                });
            });
            let _ = done.send(0);
        }
    });
    queues[0].push(move || {
        let _ = done.send(1);
    });
    gate.open();
    for number in 0..4 {
        assert_eq!(recv(&result, "the next job"), number);
    }
}

/// A queue runs all its jobs even if its last clone is dropped.
pub fn callback_queue_can_be_dropped<H: Handler>(handler: H) {
    let queue = CallbackQueue::new("dropped", handler);
    let (done, result) = channel();
    let gate = Gate::default();
    queue.push({
        let gate = gate.clone();
        move || gate.block()
    });
    for number in 0..100 {
        let done = done.clone();
        // The last clone is dropped by the last job.
        let itself = queue.clone();
        queue.push(move || {
            drop(itself);
            let _ = done.send(number);
        });
    }
    drop(queue);
    gate.open();
    for number in 0..100 {
        assert_eq!(recv(&result, "the next job"), number);
    }
}
