//! The suite on plain threads.

zk_tests::suite!(zk_tests::runtimes::thread);

/// The threads that clients run on: one for each client, or one for many.
mod threads {
    use std::thread::{self, ThreadId};

    use zk_client::{Client, CreateMode, Error, OPEN_ACL_UNSAFE, ThreadHandler, blocking};
    use zk_tests::shared_ensemble;

    fn thread_of(zk: &Client) -> ThreadId {
        zk.spawn(async { Ok(thread::current().id()) }).get().expect("a thread")
    }

    #[test]
    fn each_client_has_its_own_thread() {
        let connect = || blocking::Client::connect(shared_ensemble().hosts()).expect("a session");
        let (first, second) = (connect(), connect());
        assert_ne!(thread_of(&first), thread_of(&second));
        assert_eq!(thread_of(&first), thread_of(&first.clone()));
        assert_ne!(thread_of(&first), thread::current().id());
    }

    #[test]
    fn clients_can_share_one_thread() {
        let handler = ThreadHandler::new();
        let connect =
            || Client::builder().hosts(shared_ensemble().hosts()).connect_on(handler.clone());
        let connecting: Vec<_> = (0..50).map(|_| connect()).collect();
        let clients: Vec<_> =
            connecting.into_iter().map(|client| client.get().expect("a session")).collect();
        for zk in &clients {
            assert_eq!(thread_of(zk), thread_of(&clients[0]));
            zk.exists("/").get().expect("the root");
        }
    }

    #[test]
    fn blocking_calls_return_values() -> Result<(), Error> {
        let builder = blocking::Client::builder().hosts(shared_ensemble().hosts());
        let zk = builder.default_acl(&OPEN_ACL_UNSAFE).connect_blocking()?;
        zk.create("/as-in-kazoo", b"one", CreateMode::Ephemeral)?;
        let (data, stat, watch) = zk.get_and_watch("/as-in-kazoo")?;
        zk.set("/as-in-kazoo", b"two", stat.version)?;
        assert_eq!(watch.get()?.path, "/as-in-kazoo");
        assert_eq!((&*data, &*zk.get("/as-in-kazoo")?.0), (&b"one"[..], &b"two"[..]));
        zk.stop()
    }
}
