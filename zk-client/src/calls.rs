//! The calls on nodes. Each sends at once, in the order of calls, and returns a handle.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use zk_proto::{
    Acl, Chroot, ErrorCode, Request, Response, Ustring, path,
    records::{
        DeleteRequest, ExistsRequest, GetAclRequest, GetChildrenRequest, GetDataRequest,
        GetEphemeralsRequest, SetAclRequest, SetDataRequest, Stat, SyncRequest,
    },
    session::{Outcome, SessionId},
};

use crate::{
    AsData, AsyncResult, Client, CreateOptions, Error, ErrorKind, Transaction, Watch,
    create::no_acl,
    from_reply::FromReply,
    from_reply::{is_no_node, response},
    retry::{bide, passes, patiently},
};

/// The version that fits any.
const ANY_VERSION: i32 = -1;

/// How often a recursive delete starts over when others keep on creating below it.
const DELETE_ROUNDS: usize = 100;

/// How many requests a call that takes many has under way at once.
const WINDOW: usize = 256;

crate::blocking::faces! {
    /// Creates a node with `data` and returns its path, to which the server has appended a number if it
    /// is sequential.
    ///
    /// # Errors
    /// [`NodeExists`](ErrorCode::NodeExists); [`NoNode`](ErrorCode::NoNode) when the parent is missing
    /// and `makepath` is not asked for;
    /// [`NoChildrenForEphemerals`](ErrorCode::NoChildrenForEphemerals);
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) when neither the options nor the client have an
    /// ACL.
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
            return self.shared().spawn_request(async { created.await.map(|(path, _)| path) });
        }
        self.create_node(path, data, &options, false)
    }

    /// As [`create`](Self::create), and returns the new node's stat too: kazoo's `include_data`.
    ///
    /// # Errors
    /// As [`create`](Self::create); [`Unimplemented`](ErrorCode::Unimplemented) on servers before 3.5.
    pub fn create_with_stat(
        &self,
        path: impl AsRef<str>,
        data: impl AsData,
        options: impl Into<CreateOptions>,
    ) -> AsyncResult<(Ustring, Stat)> {
        let (path, data, options) = (path.as_ref(), data.as_data(), options.into());
        if options.is_protected() {
            return self.shared().spawn_request(self.create_protected(path, data, &options));
        }
        self.create_node(path, data, &options, true)
    }

    /// Creates the node, without data, and each missing parent, with the client's
    /// [`default_acl`](crate::ClientBuilder::default_acl). A node that is there already is left as it
    /// is. Through a chroot it creates the nodes of the chroot as well.
    ///
    /// # Errors
    /// [`NoAuth`](ErrorCode::NoAuth), [`NoChildrenForEphemerals`](ErrorCode::NoChildrenForEphemerals).
    pub fn ensure_path(&self, path: impl AsRef<str>) -> AsyncResult<()> {
        match self.default_acl() {
            Some(acl) => self.ensure_path_with(path, acl.clone()),
            None => self.failed(no_acl()),
        }
    }

    /// As [`ensure_path`](Self::ensure_path), with an ACL for the nodes that it creates.
    ///
    /// # Errors
    /// As [`ensure_path`](Self::ensure_path).
    pub fn ensure_path_with(
        &self,
        path: impl AsRef<str>,
        acl: impl AsRef<[Acl]>,
    ) -> AsyncResult<()> {
        let exists = self.exists(path.as_ref());
        let path = self.absolute(path.as_ref()).into_owned();
        let (client, acl) = (self.clone(), Arc::<[Acl]>::from(acl.as_ref()));
        self.shared().spawn_request(async move {
            match exists.await {
                Ok(Some(_)) => Ok(()),
                Ok(None) => client.create_parents(&path, &acl).made().await,
                // Newer servers do not tell those who may not read it; it may be there.
                Err(error) if error.code() == Some(ErrorCode::NoAuth) => {
                    client.create_parents(&path, &acl).made().await
                }
                Err(error) => Err(error),
            }
        })
    }

    /// Looks whether a node is there.
    ///
    /// # Errors
    /// Those of the connection. A missing node is no error but `None`.
    pub fn exists(&self, path: impl AsRef<str>) -> AsyncResult<Option<Stat>> {
        self.call(&Request::Exists(ExistsRequest { path: path.as_ref(), watch: false.into() }))
    }

    /// As [`exists`](Self::exists), and watches for the node's creation, change of data, or deletion.
    ///
    /// # Errors
    /// As [`exists`](Self::exists).
    pub fn exists_and_watch(&self, path: impl AsRef<str>) -> AsyncResult<(Option<Stat>, Watch)> {
        let request = Request::Exists(ExistsRequest { path: path.as_ref(), watch: true.into() });
        self.shared().call_watch(self.chroot(), &request, |answer, watch| {
            Option::<Stat>::from_reply(answer).map(|stat| (stat, watch))
        })
    }

    /// Reads a node's data and stat. Null data read as empty; see [`get_nullable`](Self::get_nullable).
    ///
    /// The data share memory with what else came in with them: copy what is to be kept for long.
    ///
    /// # Errors
    /// [`NoNode`](ErrorCode::NoNode), [`NoAuth`](ErrorCode::NoAuth).
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

    /// As [`get`](Self::get), and tells null data (`None`) from empty ones.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_nullable(&self, path: impl AsRef<str>) -> AsyncResult<(Option<Bytes>, Stat)> {
        self.call(&Request::GetData(GetDataRequest { path: path.as_ref(), watch: false.into() }))
    }

    /// As [`get`](Self::get), and watches for a change of the data or the node's deletion.
    ///
    /// # Errors
    /// As [`get`](Self::get); no watch is left then.
    pub fn get_and_watch(&self, path: impl AsRef<str>) -> AsyncResult<(Bytes, Stat, Watch)> {
        let request = Request::GetData(GetDataRequest { path: path.as_ref(), watch: true.into() });
        self.shared().call_watch(self.chroot(), &request, |answer, watch| {
            <(Bytes, Stat)>::from_reply(answer).map(|(data, stat)| (data, stat, watch))
        })
    }

    /// As [`get_and_watch`](Self::get_and_watch), and tells null data (`None`) from empty ones.
    ///
    /// # Errors
    /// As [`get`](Self::get); no watch is left then.
    pub fn get_nullable_and_watch(
        &self,
        path: impl AsRef<str>,
    ) -> AsyncResult<(Option<Bytes>, Stat, Watch)> {
        let request = Request::GetData(GetDataRequest { path: path.as_ref(), watch: true.into() });
        self.shared().call_watch(self.chroot(), &request, |answer, watch| {
            <(Option<Bytes>, Stat)>::from_reply(answer).map(|(data, stat)| (data, stat, watch))
        })
    }

    /// The names of a node's children, in no order.
    ///
    /// # Errors
    /// [`NoNode`](ErrorCode::NoNode), [`NoAuth`](ErrorCode::NoAuth).
    pub fn get_children(&self, path: impl AsRef<str>) -> AsyncResult<Vec<Ustring>> {
        self.call(&Request::GetChildren(GetChildrenRequest { path: path.as_ref(), watch: false.into() }))
    }

    /// As [`get_children`](Self::get_children), with the node's stat: kazoo's `include_data`.
    ///
    /// # Errors
    /// As [`get_children`](Self::get_children).
    pub fn get_children_with_stat(
        &self,
        path: impl AsRef<str>,
    ) -> AsyncResult<(Vec<Ustring>, Stat)> {
        self.call(&Request::GetChildren2(GetChildrenRequest { path: path.as_ref(), watch: false.into() }))
    }

    /// As [`get_children_with_stat`](Self::get_children_with_stat), and watches for children that come
    /// or go and for the node's deletion.
    ///
    /// # Errors
    /// As [`get_children`](Self::get_children); no watch is left then.
    pub fn get_children_and_watch(
        &self,
        path: impl AsRef<str>,
    ) -> AsyncResult<(Vec<Ustring>, Stat, Watch)> {
        let request =
            Request::GetChildren2(GetChildrenRequest { path: path.as_ref(), watch: true.into() });
        self.shared().call_watch(self.chroot(), &request, |answer, watch| {
            <(Vec<Ustring>, Stat)>::from_reply(answer).map(|(names, stat)| (names, stat, watch))
        })
    }

    /// Sets a node's data, if its version is `version` (`None`: whatever it is), and returns its stat.
    ///
    /// # Errors
    /// [`NoNode`](ErrorCode::NoNode), [`BadVersion`](ErrorCode::BadVersion),
    /// [`NoAuth`](ErrorCode::NoAuth).
    ///
    /// ```no_run
    /// # async fn example(zk: zk_client::Client) -> Result<(), zk_client::Error> {
    /// let stat = zk.set("/app", b"one", None).await?;
    /// zk.set("/app", b"two", stat.version).await?; // only if nobody was in between
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

    /// As [`set`](Self::set), and when the reply is lost, looks whether it was done: for those who have to
    /// know, and to be [retried](crate::Retry).
    ///
    /// It looks for the next version with these data. So it takes the same write by somebody else for its
    /// own, which comes to the same; and it takes a node that was deleted and made anew meanwhile for the
    /// old one.
    ///
    /// # Errors
    /// As [`set`](Self::set). When the reply is lost: with the [`outcome`](Error::outcome)
    /// [`NotSent`](crate::Outcome::NotSent) if it was not done, and [`Unknown`](crate::Outcome::Unknown)
    /// if that cannot be told, since others have written since or the node is gone.
    pub fn set_and_check(
        &self,
        path: impl AsRef<str>,
        data: impl AsData,
        version: i32,
    ) -> AsyncResult<Stat> {
        if version < 0 {
            return self.failed(Error::invalid_request("only a set of one version can be checked"));
        }
        let set = self.set(path.as_ref(), &data, version);
        let (client, path) = (self.clone(), path.as_ref().to_owned());
        let data = data.as_data().map(Bytes::copy_from_slice);
        self.shared().spawn_request(async move {
            let error = match set.await {
                Err(error) if error.outcome() == Some(Outcome::Unknown) => error,
                result => return result,
            };
            match client.after_sync(&path, |zk| zk.get_nullable(&path)).await {
                Ok((_, stat)) if stat.version == version => Err(error.not_done()),
                Ok((now, stat)) if stat.version == version.wrapping_add(1) => {
                    if now == data { Ok(stat) } else { Err(error.not_done()) }
                }
                _ => Err(error),
            }
        })
    }

    /// Deletes a node, if its version is `version` (`None`: whatever it is).
    ///
    /// # Errors
    /// [`NoNode`](ErrorCode::NoNode), [`BadVersion`](ErrorCode::BadVersion),
    /// [`NotEmpty`](ErrorCode::NotEmpty), [`NoAuth`](ErrorCode::NoAuth).
    pub fn delete(
        &self,
        path: impl AsRef<str>,
        version: impl Into<Option<i32>>,
    ) -> AsyncResult<()> {
        let version = version.into().unwrap_or(ANY_VERSION);
        self.call(&Request::Delete(DeleteRequest { path: path.as_ref(), version }))
    }

    /// As [`delete`](Self::delete), and when the reply is lost, looks whether it was done: for those who
    /// have to know, and to be [retried](crate::Retry).
    ///
    /// It looks whether the node is there. So it takes a deletion by somebody else for its own, which
    /// comes to the same; and it takes a node that was made anew meanwhile for the old one.
    ///
    /// # Errors
    /// As [`delete`](Self::delete). When the reply is lost: with the [`outcome`](Error::outcome)
    /// [`NotSent`](crate::Outcome::NotSent) if it was not done, and [`Unknown`](crate::Outcome::Unknown)
    /// if the client could not look.
    pub fn delete_and_check(
        &self,
        path: impl AsRef<str>,
        version: impl Into<Option<i32>>,
    ) -> AsyncResult<()> {
        let delete = self.delete(path.as_ref(), version);
        let (client, path) = (self.clone(), path.as_ref().to_owned());
        self.shared().spawn_request(async move {
            let error = match delete.await {
                Err(error) if error.outcome() == Some(Outcome::Unknown) => error,
                result => return result,
            };
            match client.after_sync(&path, |zk| zk.exists(&path)).await {
                Ok(None) => Ok(()),
                Ok(Some(_)) => Err(error.not_done()),
                Err(_) => Err(error),
            }
        })
    }

    /// Deletes a node and all below it, whatever the versions. What is gone already is no error; what
    /// is created below it meanwhile is deleted too.
    ///
    /// # Errors
    /// [`NoAuth`](ErrorCode::NoAuth); [`NotEmpty`](ErrorCode::NotEmpty) when others create faster than
    /// this deletes.
    pub fn delete_recursive(&self, path: impl AsRef<str>) -> AsyncResult<()> {
        let children = self.get_children(path.as_ref());
        let (client, path) = (self.clone(), path.as_ref().to_owned());
        self.shared().spawn_request(async move {
            let mut children = match children.await {
                Err(error) if is_no_node(&error) => return Ok(()),
                children => children?,
            };
            for _ in 1..DELETE_ROUNDS {
                let below = client.descendants(&path, children).await?;
                match client.delete_all(below, &path).await {
                    Err(error) if error.code() == Some(ErrorCode::NotEmpty) => {}
                    result => return result,
                }
                children = match client.get_children(&path).await {
                    Err(error) if is_no_node(&error) => return Ok(()),
                    children => children?,
                };
            }
            client.delete(&path, None).await
        })
    }

    /// A node's ACL and stat.
    ///
    /// # Errors
    /// [`NoNode`](ErrorCode::NoNode), [`NoAuth`](ErrorCode::NoAuth).
    pub fn get_acls(&self, path: impl AsRef<str>) -> AsyncResult<(Vec<Acl>, Stat)> {
        self.call(&Request::GetAcl(GetAclRequest { path: path.as_ref() }))
    }

    /// Sets a node's ACL, if the ACL's version (`aversion`) is `version`, and returns the node's stat.
    ///
    /// # Errors
    /// [`NoNode`](ErrorCode::NoNode), [`BadVersion`](ErrorCode::BadVersion),
    /// [`InvalidAcl`](ErrorCode::InvalidAcl), [`NoAuth`](ErrorCode::NoAuth).
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

    /// Has the server catch up with the leader before it answers: a read after it sees at least what was
    /// committed when this was called. Returns the path.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn sync(&self, path: impl AsRef<str>) -> AsyncResult<Ustring> {
        self.call(&Request::Sync(SyncRequest { path: path.as_ref() }))
    }
}

impl Client {
    fn create_node<T>(
        &self,
        path: &str,
        data: Option<&[u8]>,
        options: &CreateOptions,
        with_stat: bool,
    ) -> AsyncResult<T>
    where
        T: FromReply + Clone + Send + 'static,
    {
        if options.makes_path() {
            return self.shared().spawn_request(self.creation(path, data, options, with_stat));
        }
        let sent = self.send_create(path, data, options, with_stat);
        sent.unwrap_or_else(|error| self.failed(error))
    }

    fn send_create<T>(
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
        options.request(path, data, &acl, with_stat, |request| self.call::<T>(request))
    }

    /// Creates a node, and all above it if that is wanted. What it sends later than at once it sends only
    /// as long as it is polled: once it is dropped, nothing more comes of it.
    fn creation<T>(
        &self,
        path: &str,
        data: Option<&[u8]>,
        options: &CreateOptions,
        with_stat: bool,
    ) -> impl Future<Output = Result<T, Error>> + Send + use<T>
    where
        T: FromReply + Clone + Send + 'static,
    {
        let first = self.send_create(path, data, options, with_stat);
        let (client, path, options) = (self.clone(), path.to_owned(), options.clone());
        let data = data.map(Bytes::copy_from_slice);
        async move {
            match first?.await {
                Err(error) if options.makes_path() && is_no_node(&error) => {
                    let acl = options.resolve_acl(client.default_acl())?;
                    let above = path::parent(&path).unwrap_or("/");
                    let parents = client.create_parents(&client.absolute(above), &acl);
                    let again =
                        client.send_create::<T>(&path, data.as_deref(), &options, with_stat)?;
                    let made = parents.made().await;
                    match again.await {
                        Err(error) if is_no_node(&error) => Err(made.err().unwrap_or(error)),
                        result => result,
                    }
                }
                result => result,
            }
        }
    }

    /// As [`create_once`](Self::create_once), with an id of Curator's form before the name.
    fn create_protected(
        &self,
        path: &str,
        data: Option<&[u8]>,
        options: &CreateOptions,
    ) -> impl Future<Output = Result<(Ustring, Stat), Error>> + Send + use<> {
        // With an id, any name is one that can be created.
        let created = path::validate_for_create(path, options.is_sequential())
            .map(|()| self.create_once(&protect(path, self.shared().unique_id()), data, options));
        async move { created.map_err(|error| Error::bad_path(error, Some(Outcome::NotSent)))?.await }
    }

    /// Creates a node whose name begins with an id that is nobody else's, once, whatever happens to the
    /// replies. Once this is dropped, nothing more is sent.
    pub(crate) fn create_once(
        &self,
        path: &str,
        data: Option<&[u8]>,
        options: &CreateOptions,
    ) -> impl Future<Output = Result<(Ustring, Stat), Error>> + Send + use<> {
        let first = self.creation(path, data, options, true);
        let (client, path, options) = (self.clone(), path.to_owned(), options.clone());
        let data = data.map(Bytes::copy_from_slice);
        async move {
            let mut created = first.await;
            loop {
                let error = match created {
                    Err(error) if passes(&error) => error,
                    result => return result,
                };
                if error.outcome() != Some(Outcome::NotSent) {
                    match client.find_created(&path, options.is_ephemeral()).await {
                        Ok(Some(found)) => return Ok(found),
                        Ok(None) => {}
                        Err(later) if options.is_ephemeral() => {
                            return Err(later.of_failed_check(&error));
                        }
                        Err(_) => return Err(error),
                    }
                }
                bide(&client, &error).await;
                created = client.creation(&path, data.as_deref(), &options, true).await;
            }
        }
    }

    /// Looks for the node that [`create_once`](Self::create_once) has made of `path`; an ephemeral one
    /// counts only if it is of the present session.
    pub(crate) async fn find_created(
        &self,
        path: &str,
        ephemeral: bool,
    ) -> Result<Option<(Ustring, Stat)>, Error> {
        for path in self.paths_from(path, ephemeral).await? {
            let Some(stat) = patiently(self, |zk| zk.exists(&path)).await? else { continue };
            if !ephemeral || self.session_id() == Some(SessionId(stat.ephemeral_owner)) {
                return Ok(Some((path.into(), stat)));
            }
        }
        Ok(None)
    }

    /// The nodes whose paths begin with `path`, beside it. Where the parent cannot be listed, because it
    /// may not be read or its list is too long, those that are ephemerals of this session.
    async fn paths_from(&self, path: &str, ephemeral: bool) -> Result<Vec<String>, Error> {
        let (parent, id) = (path::parent(path).unwrap_or("/"), path::name(path));
        let error = match self.after_sync(parent, |zk| zk.get_children(parent)).await {
            Ok(children) => {
                let named = children.iter().filter(|name| name.starts_with(id));
                return Ok(named.map(|name| path::join(parent, name)).collect());
            }
            Err(error) if is_no_node(&error) => return Ok(Vec::new()),
            Err(error) => error,
        };
        if !ephemeral
            || matches!(error.kind(), ErrorKind::SessionExpired | ErrorKind::ConnectionClosed)
        {
            return Err(error);
        }
        let own = |zk: &Self| {
            let request = GetEphemeralsRequest { prefix_path: Some(path) };
            zk.call::<Vec<Ustring>>(&Request::GetEphemerals(request))
        };
        match self.after_sync(parent, own).await {
            Ok(paths) => Ok(paths.into_iter().map(String::from).collect()),
            // Servers before 3.6 do not know this request.
            Err(unknown) if unknown.code() == Some(ErrorCode::Unimplemented) => Err(error),
            Err(error) => Err(error),
        }
    }

    /// Reads what there is now. What was sent on an earlier connection is done by then or never: without
    /// the sync, another server could answer that has not heard of it yet.
    async fn after_sync<T, R>(
        &self,
        path: &str,
        mut read: impl FnMut(&Self) -> R,
    ) -> Result<T, Error>
    where
        R: Future<Output = Result<T, Error>>,
    {
        let both = |zk: &Self| {
            let (sync, read) = (zk.sync(path), read(zk));
            async { sync.await.and(read.await) }
        };
        patiently(self, both).await
    }

    /// Sends the creation of `absolute` and all above it, in one go.
    fn create_parents(&self, absolute: &str, acl: &[Acl]) -> Creations {
        let options = CreateOptions::persistent();
        let send = |path| {
            options.request(path, Some(&[]), acl, false, |request| {
                self.shared().call::<Ustring>(&Chroot::default(), request)
            })
        };
        let node = (absolute != "/").then_some(absolute);
        Creations(path::ancestors(absolute).chain(node).map(send).collect())
    }

    /// All nodes below `path`, whose children are `children`; parents before their children.
    async fn descendants(&self, path: &str, children: Vec<Ustring>) -> Result<Vec<String>, Error> {
        let mut found: Vec<_> = children.iter().map(|child| path::join(path, child)).collect();
        let mut looked = 0;
        while looked < found.len() {
            let window = &found[looked..found.len().min(looked + WINDOW)];
            let reads: Vec<_> = window.iter().map(|path| self.get_children(path)).collect();
            for read in reads {
                let parent = found[looked].clone();
                looked += 1;
                match read.await {
                    Ok(children) => {
                        found.extend(children.iter().map(|child| path::join(&parent, child)));
                    }
                    Err(error) if is_no_node(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(found)
    }

    /// Deletes `below`, the last first, and then `top`. Only the last word on `top` counts, and what
    /// is not allowed.
    async fn delete_all(&self, below: Vec<String>, top: &str) -> Result<(), Error> {
        let mut paths: Vec<_> = below.iter().rev().map(String::as_str).collect();
        paths.push(top);
        let mut last = Ok(());
        for window in paths.chunks(WINDOW) {
            let deletes: Vec<_> = window.iter().map(|path| self.delete(path, None)).collect();
            for delete in deletes {
                last = match delete.await {
                    Err(error) if is_no_node(&error) => Ok(()),
                    Err(error) if error.code() == Some(ErrorCode::NotEmpty) => Err(error),
                    Err(error) => return Err(error),
                    Ok(()) => Ok(()),
                };
            }
        }
        last
    }

    /// Begins a transaction: operations that are done all or not at all.
    pub fn transaction(&self) -> Transaction {
        Transaction::new(self.clone())
    }

    pub(crate) fn call<T>(&self, request: &Request<'_>) -> AsyncResult<T>
    where
        T: FromReply + Clone + Send + 'static,
    {
        self.shared().call(self.chroot(), request)
    }

    pub(crate) fn call_response<T>(
        &self,
        request: &Request<'_>,
        map: impl FnOnce(Response) -> Result<T, Error> + Send + 'static,
    ) -> AsyncResult<T>
    where
        T: Clone + Send + 'static,
    {
        let map = move |answer| response(answer).and_then(map);
        self.shared().call_map(self.chroot(), request, map)
    }

    pub(crate) fn failed<T: Clone + Send + 'static>(&self, error: Error) -> AsyncResult<T> {
        AsyncResult::of(Err(error), Some(self.shared().dispatcher.completions.clone()))
    }

    fn absolute<'p>(&'p self, path: &'p str) -> Cow<'p, str> {
        self.chroot().join(path)
    }
}

/// `path` with a unique id before its name, as Curator writes it.
fn protect(path: &str, id: u128) -> String {
    match path.rsplit_once('/') {
        Some((above, name)) => format!("{above}/_c_{}-{name}", uuid(id)),
        None => path.to_owned(), // to be refused
    }
}

/// The form of a random UUID.
pub(crate) fn uuid(id: u128) -> String {
    let part = |shift: u32, bits: u32| (id >> shift) & ((1 << bits) - 1);
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        part(96, 32),
        part(80, 16),
        part(64, 12),
        0x8000 | part(48, 14),
        part(0, 48)
    )
}

/// The creation of a node and all above it, under way.
struct Creations(Vec<Result<AsyncResult<Ustring>, Error>>);

impl Creations {
    /// Waits until the last node is there. What is there already may be out of this session's reach,
    /// so earlier errors count only if the last node could not be made.
    async fn made(self) -> Result<(), Error> {
        let mut first = None;
        let mut last = Ok(());
        for creation in self.0 {
            let result = match creation {
                Ok(creation) => creation.await.map(drop),
                Err(error) => Err(error),
            };
            last = match result {
                Err(error) if error.code() == Some(ErrorCode::NodeExists) => Ok(()),
                result => result,
            };
            if let Err(error) = &last {
                first.get_or_insert_with(|| error.clone());
            }
        }
        match last {
            Err(error) if is_no_node(&error) => Err(first.unwrap_or(error)),
            result => result,
        }
    }
}
