//! The calls that send one request each. The calls that send several are in `compound_calls.rs`.

use std::borrow::Cow;

use bytes::Bytes;
use zk_proto::{
    Acl, Request, Response, Ustring,
    records::{
        ClientInfo, DeleteRequest, ExistsRequest, GetAclRequest, GetAllChildrenNumberRequest,
        GetChildrenRequest, GetDataRequest, GetEphemeralsRequest, SetAclRequest, SetDataRequest,
        Stat, SyncRequest,
    },
};

use crate::{
    AsData, AsyncResult, Client, CreateOptions, Error, Watch,
    client::blocking,
    from_reply::{FromReply, response},
    surfaces::with_blocking,
};

/// The version of a request that accepts every version of the node.
const ANY_VERSION: i32 = -1;

with_blocking! { impl Client {
    /// Creates a node with `data`, and returns its path.
    ///
    /// If the node is sequential, the server has appended a number to the path.
    ///
    /// # Errors
    /// - [`NodeExists`](crate::ErrorCode::NodeExists)
    /// - [`NoNode`](crate::ErrorCode::NoNode) if the parent does not exist, unless
    ///   [`makepath`](CreateOptions::makepath) is set
    /// - [`NoChildrenForEphemerals`](crate::ErrorCode::NoChildrenForEphemerals) if the parent is ephemeral
    /// - [`InvalidInput`](crate::ErrorKind::InvalidInput) if neither the options nor the client have an ACL
    ///
    /// ```no_run
    /// # use zk_client::{Client, CreateMode, CreateOptions, Error};
    /// # async fn example(zk: Client) -> Result<(), Error> {
    /// zk.create("/app", b"hello", CreateMode::Persistent).await?;
    /// let path = zk.create("/app/worker-", b"", CreateMode::EphemeralSequential).await?;
    /// println!("I am {path}");
    /// # Ok(())
    /// # }
    /// ```
    pub fn create(
        &self,
        path: impl AsRef<str>,
        data: impl AsData,
        options: impl Into<CreateOptions>,
    ) -> AsyncResult<Ustring> {
        let (path, data, options) = (path.as_ref(), data.as_data(), options.into());
        if options.is_protected() {
            let created = self.create_protected(path, data, &options);
            return self.inner().spawn_request(async { created.await.map(|(path, _)| path) });
        }
        self.create_node(path, data, &options, false)
    }

    /// Creates a node with `data`, and returns its path and its stat.
    ///
    /// # Errors
    /// As [`create`](Self::create); [`Unimplemented`](crate::ErrorCode::Unimplemented) on servers before 3.5.
    pub fn create_with_stat(
        &self,
        path: impl AsRef<str>,
        data: impl AsData,
        options: impl Into<CreateOptions>,
    ) -> AsyncResult<(Ustring, Stat)> {
        let (path, data, options) = (path.as_ref(), data.as_data(), options.into());
        if options.is_protected() {
            return self.inner().spawn_request(self.create_protected(path, data, &options));
        }
        self.create_node(path, data, &options, true)
    }

    /// Returns the stat of a node, or `None` if it does not exist.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn exists(&self, path: impl AsRef<str>) -> AsyncResult<Option<Stat>> {
        self.call(&Request::Exists(ExistsRequest { path: path.as_ref(), watch: false.into() }))
    }

    /// Does what [`exists`](Self::exists) does, and arms a watch.
    ///
    /// The watch fires when the node is created or deleted, or when its data change.
    ///
    /// # Errors
    /// As [`exists`](Self::exists).
    pub fn exists_and_watch(&self, path: impl AsRef<str>) -> AsyncResult<(Option<Stat>, Watch)> {
        let request = Request::Exists(ExistsRequest { path: path.as_ref(), watch: true.into() });
        self.inner().call_watch(self.chroot(), &request, |reply, watch| {
            Option::<Stat>::from_reply(reply).map(|stat| (stat, watch))
        })
    }

    /// Returns the data and the stat of a node.
    ///
    /// Null data are returned as empty data: see [`get_nullable`](Self::get_nullable).
    ///
    /// The data share a buffer with other data that arrived at the same time. Copy what you keep for long.
    ///
    /// # Errors
    /// [`NoNode`](crate::ErrorCode::NoNode), [`NoAuth`](crate::ErrorCode::NoAuth).
    ///
    /// ```no_run
    /// # async fn example(zk: zk_client::Client) -> Result<(), zk_client::Error> {
    /// let (data, stat) = zk.get("/app").await?;
    /// println!("version {} is {data:?}", stat.version);
    /// # Ok(())
    /// # }
    /// ```
    pub fn get(&self, path: impl AsRef<str>) -> AsyncResult<(Bytes, Stat)> {
        self.call(&Request::GetData(GetDataRequest { path: path.as_ref(), watch: false.into() }))
    }

    /// Does what [`get`](Self::get) does, and tells null data (`None`) from empty data.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_nullable(&self, path: impl AsRef<str>) -> AsyncResult<(Option<Bytes>, Stat)> {
        self.call(&Request::GetData(GetDataRequest { path: path.as_ref(), watch: false.into() }))
    }

    /// Does what [`get`](Self::get) does, and arms a watch.
    ///
    /// The watch fires when the data change or the node is deleted.
    ///
    /// # Errors
    /// As [`get`](Self::get). If there is an error, there is no watch.
    pub fn get_and_watch(&self, path: impl AsRef<str>) -> AsyncResult<(Bytes, Stat, Watch)> {
        let request = Request::GetData(GetDataRequest { path: path.as_ref(), watch: true.into() });
        self.inner().call_watch(self.chroot(), &request, |reply, watch| {
            <(Bytes, Stat)>::from_reply(reply).map(|(data, stat)| (data, stat, watch))
        })
    }

    /// Does what [`get_and_watch`](Self::get_and_watch) does, and tells null data (`None`) from empty data.
    ///
    /// # Errors
    /// As [`get`](Self::get). If there is an error, there is no watch.
    pub fn get_nullable_and_watch(
        &self,
        path: impl AsRef<str>,
    ) -> AsyncResult<(Option<Bytes>, Stat, Watch)> {
        let request = Request::GetData(GetDataRequest { path: path.as_ref(), watch: true.into() });
        self.inner().call_watch(self.chroot(), &request, |reply, watch| {
            <(Option<Bytes>, Stat)>::from_reply(reply).map(|(data, stat)| (data, stat, watch))
        })
    }

    /// Returns the names of a node's children, in no particular order.
    ///
    /// # Errors
    /// [`NoNode`](crate::ErrorCode::NoNode), [`NoAuth`](crate::ErrorCode::NoAuth).
    pub fn get_children(&self, path: impl AsRef<str>) -> AsyncResult<Vec<Ustring>> {
        self.call(&Request::GetChildren(GetChildrenRequest { path: path.as_ref(), watch: false.into() }))
    }

    /// Returns the names of a node's children, and the stat of the node.
    ///
    /// # Errors
    /// As [`get_children`](Self::get_children).
    pub fn get_children_with_stat(
        &self,
        path: impl AsRef<str>,
    ) -> AsyncResult<(Vec<Ustring>, Stat)> {
        self.call(&Request::GetChildren2(GetChildrenRequest { path: path.as_ref(), watch: false.into() }))
    }

    /// Does what [`get_children_with_stat`](Self::get_children_with_stat) does, and arms a watch.
    ///
    /// The watch fires when a child is created or deleted, or when the node is deleted.
    ///
    /// # Errors
    /// As [`get_children`](Self::get_children). If there is an error, there is no watch.
    pub fn get_children_and_watch(
        &self,
        path: impl AsRef<str>,
    ) -> AsyncResult<(Vec<Ustring>, Stat, Watch)> {
        let request =
            Request::GetChildren2(GetChildrenRequest { path: path.as_ref(), watch: true.into() });
        self.inner().call_watch(self.chroot(), &request, |reply, watch| {
            <(Vec<Ustring>, Stat)>::from_reply(reply).map(|(names, stat)| (names, stat, watch))
        })
    }

    /// Sets the data of a node, and returns the new stat.
    ///
    /// If `version` is given, the data are set only if the node has that version.
    ///
    /// # Errors
    /// [`NoNode`](crate::ErrorCode::NoNode), [`BadVersion`](crate::ErrorCode::BadVersion),
    /// [`NoAuth`](crate::ErrorCode::NoAuth).
    ///
    /// ```no_run
    /// # async fn example(zk: zk_client::Client) -> Result<(), zk_client::Error> {
    /// let stat = zk.set("/app", b"one", None).await?;
    /// zk.set("/app", b"two", stat.version).await?; // fails if others have set the data meanwhile
    /// # Ok(())
    /// # }
    /// ```
    pub fn set(
        &self,
        path: impl AsRef<str>,
        data: impl AsData,
        version: impl Into<Option<i32>>,
    ) -> AsyncResult<Stat> {
        let version = version.into().unwrap_or(ANY_VERSION);
        let (path, data) = (path.as_ref(), data.as_data());
        self.call(&Request::SetData(SetDataRequest { path, data, version }))
    }

    /// Deletes a node.
    ///
    /// If `version` is given, the node is deleted only if it has that version.
    ///
    /// # Errors
    /// [`NoNode`](crate::ErrorCode::NoNode), [`BadVersion`](crate::ErrorCode::BadVersion),
    /// [`NotEmpty`](crate::ErrorCode::NotEmpty), [`NoAuth`](crate::ErrorCode::NoAuth).
    pub fn delete(
        &self,
        path: impl AsRef<str>,
        version: impl Into<Option<i32>>,
    ) -> AsyncResult<()> {
        let version = version.into().unwrap_or(ANY_VERSION);
        self.call(&Request::Delete(DeleteRequest { path: path.as_ref(), version }))
    }

    /// Returns the ACL and the stat of a node.
    ///
    /// # Errors
    /// [`NoNode`](crate::ErrorCode::NoNode), [`NoAuth`](crate::ErrorCode::NoAuth).
    pub fn get_acls(&self, path: impl AsRef<str>) -> AsyncResult<(Vec<Acl>, Stat)> {
        self.call(&Request::GetAcl(GetAclRequest { path: path.as_ref() }))
    }

    /// Sets the ACL of a node, and returns the new stat.
    ///
    /// If `version` is given, the ACL is set only if it has that version (`aversion` in the stat).
    ///
    /// # Errors
    /// [`NoNode`](crate::ErrorCode::NoNode), [`BadVersion`](crate::ErrorCode::BadVersion),
    /// [`InvalidAcl`](crate::ErrorCode::InvalidAcl), [`NoAuth`](crate::ErrorCode::NoAuth).
    pub fn set_acls(
        &self,
        path: impl AsRef<str>,
        acl: impl AsRef<[Acl]>,
        version: impl Into<Option<i32>>,
    ) -> AsyncResult<Stat> {
        let version = version.into().unwrap_or(ANY_VERSION);
        let (path, acl) = (path.as_ref(), Some(Cow::Borrowed(acl.as_ref())));
        self.call(&Request::SetAcl(SetAclRequest { path, acl, version }))
    }

    /// Makes the server catch up with the leader, and returns the path.
    ///
    /// A read after this call sees at least all changes that were committed when this was called.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn sync(&self, path: impl AsRef<str>) -> AsyncResult<Ustring> {
        self.call(&Request::Sync(SyncRequest { path: path.as_ref() }))
    }

    /// Counts the nodes below a node: its children, their children, and so on.
    ///
    /// The server looks at each of its nodes for that, so the call is slow where there are many. The number may be a
    /// little wrong while others create and delete nodes. Without a chroot, `/` counts ZooKeeper's own nodes too.
    ///
    /// # Errors
    /// [`NoNode`](crate::ErrorCode::NoNode), [`NoAuth`](crate::ErrorCode::NoAuth);
    /// [`Unimplemented`](crate::ErrorCode::Unimplemented) on servers before 3.6.
    ///
    /// ```no_run
    /// # async fn example(zk: zk_client::Client) -> Result<(), zk_client::Error> {
    /// println!("{} nodes below /jobs", zk.get_all_children_number("/jobs").await?);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "getAllChildrenNumber")]
    pub fn get_all_children_number(&self, path: impl AsRef<str>) -> AsyncResult<u32> {
        self.call(&Request::GetAllChildrenNumber(GetAllChildrenNumberRequest { path: path.as_ref() }))
    }

    /// Returns the paths of this session's ephemeral nodes that begin with `prefix`, in no particular order.
    ///
    /// The server compares characters: the prefix `/a/job` is that of `/a/job-1` and of `/a/jobs/1`. The prefix must be a
    /// valid path, so it does not end in a slash; `/` is the prefix of all nodes below the chroot. A node that was created
    /// through another client of the session counts if it is below this client's chroot.
    ///
    /// The answer is that of the present server, which may lag behind the leader: see [`sync`](Self::sync).
    ///
    /// # Errors
    /// [`Unimplemented`](crate::ErrorCode::Unimplemented) on servers before 3.6.
    ///
    /// ```no_run
    /// # async fn example(zk: zk_client::Client) -> Result<(), zk_client::Error> {
    /// for path in zk.get_ephemerals("/").await? {
    ///     println!("{path} goes with this session");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "getEphemerals")]
    pub fn get_ephemerals(&self, prefix: impl AsRef<str>) -> AsyncResult<Vec<Ustring>> {
        let prefix_path = Some(prefix.as_ref());
        self.call(&Request::GetEphemerals(GetEphemeralsRequest { prefix_path }))
    }

    /// Returns who the server believes this session to be: an address, and what each credential has proven.
    ///
    /// ACLs are checked against these identities. The user of a `digest` identity is its name, without the password.
    ///
    /// # Errors
    /// [`Unimplemented`](crate::ErrorCode::Unimplemented) on servers before 3.7.
    ///
    /// ```no_run
    /// # async fn example(zk: zk_client::Client) -> Result<(), zk_client::Error> {
    /// zk.add_auth("digest", "ann:her password").await?;
    /// for identity in zk.who_am_i().await? {
    ///     println!("{}: {}", identity.auth_scheme, identity.user); // ip: 127.0.0.1, digest: ann
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "whoAmI")]
    pub fn who_am_i(&self) -> AsyncResult<Vec<ClientInfo>> {
        self.call(&Request::WhoAmI)
    }
} }

impl Client {
    /// Sends the one request that creates a node.
    pub(crate) fn send_create<T>(
        &self,
        path: &str,
        data: Option<&[u8]>,
        options: &CreateOptions,
        with_stat: bool,
    ) -> Result<AsyncResult<T>, Error>
    where
        T: FromReply + Clone + Send + 'static,
    {
        let acl = options.resolve_acl(self.default_acl())?;
        let record = options.record(path, data, &acl, with_stat)?;
        Ok(self.call(&record.into()))
    }

    /// Sends a request. The result is made from its reply.
    pub(crate) fn call<T>(&self, request: &Request<'_>) -> AsyncResult<T>
    where
        T: FromReply + Clone + Send + 'static,
    {
        self.inner().call(self.chroot(), request)
    }

    /// Sends a request. `map` makes the result from its reply.
    pub(crate) fn call_response<T>(
        &self,
        request: &Request<'_>,
        map: impl FnOnce(Response) -> Result<T, Error> + Send + 'static,
    ) -> AsyncResult<T>
    where
        T: Clone + Send + 'static,
    {
        let map = move |reply| response(reply).and_then(map);
        self.inner().call_map(self.chroot(), request, map)
    }

    /// The handle of a call that fails before a request is sent.
    pub(crate) fn failed<T: Clone + Send + 'static>(&self, error: Error) -> AsyncResult<T> {
        AsyncResult::of(Err(error), Some(self.inner().dispatcher.completions.clone()))
    }
}
