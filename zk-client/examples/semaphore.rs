//! A semaphore of two, in threads: `cargo run -p zk-client --features thread --example semaphore`.
//!
//! It talks to the ZooKeeper at `ZK_HOSTS`, or at 127.0.0.1:2181.
#![allow(clippy::print_stdout)]

use std::{thread, time::Duration};

use zk_client::{
    Error, OPEN_ACL_UNSAFE,
    blocking::{
        Client,
        recipes::{Semaphore, SemaphoreOptions},
    },
};

fn main() -> Result<(), Error> {
    let hosts = std::env::var("ZK_HOSTS").unwrap_or_else(|_| "127.0.0.1:2181".into());
    let zk = Client::builder().hosts(hosts).default_acl(&OPEN_ACL_UNSAFE).connect_blocking()?;
    thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|worker| {
                let options = SemaphoreOptions::default().max_leases(2);
                let options = options.identifier(format!("worker {worker}"));
                let semaphore = Semaphore::with_options(&zk, "/examples/semaphore", options);
                scope.spawn(move || {
                    let lease = semaphore.acquire()?;
                    println!("worker {worker}: held by {:?}", semaphore.lease_holders()?);
                    thread::sleep(Duration::from_millis(500));
                    lease.release()
                })
            })
            .collect();
        for worker in workers {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        zk.stop()
    })
}
