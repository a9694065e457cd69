//! The calls that add, check and remove watches.

use zk_proto::{
    ErrorCode, Request, WatcherType,
    records::{AddWatchRequest, CheckWatchesRequest, RemoveWatchesRequest},
    session::Reason,
};

use crate::{
    AddWatchOptions, AsyncResult, Client, PersistentWatch, client::blocking, from_reply::FromReply,
    persistent_watch::Queue, surfaces::with_blocking,
};

with_blocking! { impl Client {
    /// Adds a persistent watch to a node, and returns a stream of all changes.
    ///
    /// The node need not exist. The mode says what is watched:
    /// - [`Persistent`](crate::AddWatchMode::Persistent): the node and its list of children, as by
    ///   [`exists_and_watch`](Self::exists_and_watch) and [`get_children_and_watch`](Self::get_children_and_watch)
    ///   together.
    /// - [`PersistentRecursive`](crate::AddWatchMode::PersistentRecursive): the node and all nodes below it. Nodes are
    ///   created, deleted, or their data change; there are no events for lists of children.
    ///
    /// The watch goes on after a reconnect; then a [`Gap`](crate::PersistentWatchEvent::Gap) says that changes may be
    /// missing. It ends with its session. See [`PersistentWatch`].
    ///
    /// # Errors
    /// - [`Unimplemented`](crate::ErrorCode::Unimplemented) on servers before 3.6.
    /// - [`InvalidInput`](crate::ErrorKind::InvalidInput) if the path is not valid.
    ///
    /// ```no_run
    /// # use zk_client::{AddWatchMode, Client, Error};
    /// # async fn example(zk: Client) -> Result<(), Error> {
    /// let mut watch = zk.add_watch("/app", AddWatchMode::PersistentRecursive).await?;
    /// while let Some(event) = watch.next().await {
    ///     println!("{event:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "addWatch")]
    pub fn add_watch(
        &self,
        path: impl AsRef<str>,
        options: impl Into<AddWatchOptions>,
    ) -> AsyncResult<PersistentWatch> {
        let options = options.into();
        let request = Request::AddWatch(AddWatchRequest { path: path.as_ref(), mode: options.mode });
        self.inner().call_watch_to(Queue::new(options), self.chroot(), &request, |reply, watch| {
            <()>::from_reply(reply).map(|()| watch)
        })
    }

    /// Removes all watches of this type from a node, on the server and in this client.
    ///
    /// One-shot watches end with the event [`DataWatchRemoved`](crate::EventType::DataWatchRemoved) or
    /// [`ChildWatchRemoved`](crate::EventType::ChildWatchRemoved), persistent ones with
    /// [`Removed`](crate::PersistentWatchEvent::Removed). To remove one watch only, drop it. Without waiting for the server:
    /// [`forget_watches`](Self::forget_watches).
    ///
    /// Servers before 3.9 do not know the types `Persistent` and `PersistentRecursive`. On them, such watches end in this
    /// client, and the server's watch is removed once no other watch on the node is wanted.
    ///
    /// # Errors
    /// [`NoWatcher`](crate::ErrorCode::NoWatcher) if the server has no such watch of this session.
    #[doc(alias = "removeAllWatches")]
    #[doc(alias = "removeWatches")]
    pub fn remove_all_watches(
        &self,
        path: impl AsRef<str>,
        watcher_type: WatcherType,
    ) -> AsyncResult<()> {
        let request = RemoveWatchesRequest { path: path.as_ref(), watcher_type };
        self.call(&Request::RemoveWatches(request))
    }

    /// Returns whether the server has a watch of this type of this session on a node.
    ///
    /// ZooKeeper 3.8 also finds the watches of other sessions.
    ///
    /// # Errors
    /// Those of the connection.
    #[doc(alias = "checkWatches")]
    pub fn check_watches(
        &self,
        path: impl AsRef<str>,
        watcher_type: WatcherType,
    ) -> AsyncResult<bool> {
        let request = CheckWatchesRequest { path: path.as_ref(), watcher_type };
        let request = Request::CheckWatches(request);
        self.inner().call_map(self.chroot(), &request, |reply| match reply {
            Err(failure) if failure.reason == Reason::Server(ErrorCode::NoWatcher) => Ok(false),
            reply => <()>::from_reply(reply).map(|()| true),
        })
    }
} }

impl Client {
    /// Ends all watches of this type on a node at once, with or without a connection, and returns how many there were.
    ///
    /// They end as by [`remove_all_watches`](Self::remove_all_watches). The server's watches are removed in the background,
    /// like those of [watches that are dropped](crate::ClientBuilder::unwatch_after). A watch whose call has no result yet
    /// is not ended.
    pub fn forget_watches(&self, path: impl AsRef<str>, watcher_type: WatcherType) -> usize {
        self.inner().with_lifecycle(|lifecycle, now| {
            lifecycle.session.forget_watches(now, self.chroot(), path.as_ref(), watcher_type)
        })
    }

    /// Whether this client has a watch of this type on a node. It does not ask the server: see
    /// [`check_watches`](Self::check_watches).
    #[must_use]
    pub fn has_watches(&self, path: impl AsRef<str>, watcher_type: WatcherType) -> bool {
        let session = &self.inner().lock().lifecycle.session;
        session.has_watches(self.chroot(), path.as_ref(), watcher_type)
    }
}
