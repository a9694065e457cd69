//! Clients on a runtime whose blocking threads are all busy, and clients whose host name cannot be resolved.

use std::{
    fs,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc::channel},
    time::Duration,
};

use tokio::runtime::Builder;
use zk_client::{Client, SessionState};
use zk_handler_tokio::TokioHandler;
use zk_tests::{Proxy, ResolverHandler, shared_ensemble};

const TIMEOUT: Duration = Duration::from_secs(60);

/// Each test holds this lock, because the tests count the threads of the process.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The host is a name, which has to be resolved again after an outage. Meanwhile all blocking threads of the
/// runtime wait for results of the client.
#[test]
fn a_client_reconnects_while_all_blocking_threads_wait() {
    const THREADS: usize = 16;
    let _alone = alone();
    for mut builder in [Builder::new_multi_thread(), Builder::new_current_thread()] {
        let builder = builder.max_blocking_threads(THREADS).enable_all();
        let runtime = builder.build().expect("a runtime");
        let proxy = Proxy::new(shared_ensemble().node(0).address());
        let hosts = format!("localhost:{}", proxy.address().port());
        runtime.block_on(async {
            let handler = TokioHandler::current().expect("a runtime");
            let connecting = Client::builder().hosts(hosts).connect_on(handler);
            let zk = connecting.await.expect("a session");
            let mut states = zk.states();
            proxy.refuse(true);
            proxy.cut_rst();
            assert_eq!(states.changed().await, Some(SessionState::Suspended));
            let (began, begins) = channel();
            let blocked: Vec<_> = (0..2 * THREADS)
                .map(|_| {
                    let (zk, began) = (zk.clone(), began.clone());
                    tokio::task::spawn_blocking(move || {
                        let _ = began.send(());
                        zk.exists("/").get()
                    })
                })
                .collect();
            for _ in 0..THREADS {
                begins.recv_timeout(TIMEOUT).expect("a thread that blocks");
            }
            proxy.refuse(false);
            let results = async {
                for result in blocked {
                    result.await.expect("no panic").expect("a result");
                }
            };
            tokio::time::timeout(TIMEOUT, results).await.expect("the client to come back");
        });
    }
}

/// Hundreds of clients wait for a name that cannot be resolved. Other names and callbacks of other clients do
/// not wait, and the clients need only one or two threads together.
#[test]
fn a_hanging_name_lookup_does_not_block_other_clients() {
    const CLIENTS: usize = 600;
    const BLOCKED: usize = 50;
    let _alone = alone();
    let (over, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let (began, begins) = channel();
    let address = shared_ensemble().node(0).address();
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let handler = ResolverHandler::new(TokioHandler::new(runtime.handle().clone()), move |name| {
        if name == "hangs" {
            let _ = began.send(());
            let _ = gate.lock().unwrap_or_else(PoisonError::into_inner).recv();
        }
        Ok(vec![address])
    });
    let connect = |name| {
        let hosts = format!("{name}:{}", address.port());
        let builder = Client::builder().hosts(hosts).connect_timeout(TIMEOUT);
        builder.connect_on(handler.clone())
    };
    let before = threads();
    let waiting: Vec<_> = (0..CLIENTS).map(|_| connect("hangs")).collect();
    begins.recv_timeout(TIMEOUT).expect("a look-up");
    let zk = connect("works").get().expect("a session");
    // Callbacks that block until the end of the test.
    let (last, end) = channel::<()>();
    let end = Arc::new(Mutex::new(end));
    let blocked: Vec<_> = (0..BLOCKED)
        .map(|_| {
            let zk = connect("works").get().expect("a session");
            let end = end.clone();
            zk.exists("/").on_complete(move |_| {
                let _ = end.lock().unwrap_or_else(PoisonError::into_inner).recv();
            });
            zk
        })
        .collect();
    let (called, calls) = channel();
    zk.exists("/").on_complete(move |result| called.send(result.is_ok()).expect("the test waits"));
    assert_eq!(calls.recv_timeout(TIMEOUT), Ok(true), "a callback behind others that block");
    let more = threads() - before;
    assert!(more < BLOCKED + 20, "{more} threads more");
    drop((last, over, blocked));
    assert_eq!(waiting.into_iter().filter_map(|client| client.get().ok()).count(), CLIENTS);
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").expect("the threads of this process").count()
}
