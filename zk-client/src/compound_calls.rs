//! The calls that send several requests: creation with parents, protected creation, `ensure_path`, recursive deletion,
//! and writes that check whether they were applied.
//!
//! The first request is sent when the call is made, in the order of calls. A task of the client sends the others, and goes
//! on if the handle is dropped.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use zk_proto::{
    Acl, Chroot, ErrorCode, Ustring, path,
    records::Stat,
    session::{Outcome, SessionId},
};

use crate::{
    AsData, AsyncResult, Client, CreateOptions, Error, ErrorKind,
    client::blocking,
    create::no_acl,
    from_reply::{FromReply, is_no_node},
    retrying::{back_off, is_transient, retry_transient},
    surfaces::with_blocking,
};

/// How often a recursive delete begins again while others create nodes below.
const MAX_DELETE_ROUNDS: usize = 100;

/// How many requests a recursive delete has in flight.
const WINDOW: usize = 256;

with_blocking! { impl Client {
    /// Creates a node without data, and each missing parent, unless they exist already.
    ///
    /// The nodes get the client's [`default_acl`](crate::ClientBuilder::default_acl). With a chroot, the nodes of the
    /// chroot are created too.
    ///
    /// # Errors
    /// [`NoAuth`](ErrorCode::NoAuth), [`NoChildrenForEphemerals`](ErrorCode::NoChildrenForEphemerals).
    pub fn ensure_path(&self, path: impl AsRef<str>) -> AsyncResult<()> {
        match self.default_acl() {
            Some(acl) => self.ensure_path_with(path, acl.clone()),
            None => self.failed(no_acl()),
        }
    }

    /// Does what [`ensure_path`](Self::ensure_path) does, with `acl` as the ACL of new nodes.
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
        self.inner().spawn_request(async move {
            match exists.await {
                Ok(Some(_)) => Ok(()),
                Ok(None) => client.send_creates(&path, &acl).finish().await,
                // Newer servers require the permission to read the parent. The node may exist.
                Err(error) if error.code() == Some(ErrorCode::NoAuth) => {
                    client.send_creates(&path, &acl).finish().await
                }
                Err(error) => Err(error),
            }
        })
    }

    /// Sets the data of a node that has `version`; if the reply is lost, checks whether the data were set.
    ///
    /// Use it where you must know whether the data were set, or with a [`Retry`](crate::Retry).
    ///
    /// The check reads the node: it must have the next version and these data. A write of the same data by another
    /// client is taken for this one, and a node that was deleted and created again for the old one.
    ///
    /// # Errors
    /// As [`set`](Self::set). If the reply is lost, the [`outcome`](Error::outcome) is
    /// [`NotSent`](crate::Outcome::NotSent) if the data were not set, and [`Unknown`](crate::Outcome::Unknown) if
    /// others have set the data since, the node is gone, or the check failed.
    pub fn set_and_check(
        &self,
        path: impl AsRef<str>,
        data: impl AsData,
        version: i32,
    ) -> AsyncResult<Stat> {
        if version < 0 {
            return self.failed(Error::invalid_request("set_and_check needs the version of the node"));
        }
        let set = self.set(path.as_ref(), &data, version);
        let (client, path) = (self.clone(), path.as_ref().to_owned());
        let data = data.as_data().map(Bytes::copy_from_slice);
        self.inner().spawn_request(async move {
            let error = match set.await {
                Err(error) if error.outcome() == Some(Outcome::Unknown) => error,
                result => return result,
            };
            match client.read_after_sync(&path, |zk| zk.get_nullable(&path)).await {
                Ok((_, stat)) if stat.version == version => Err(error.not_done()),
                Ok((now, stat)) if stat.version == version.wrapping_add(1) => {
                    if now == data { Ok(stat) } else { Err(error.not_done()) }
                }
                _ => Err(error),
            }
        })
    }

    /// Deletes a node; if the reply is lost, checks whether it was deleted.
    ///
    /// Use it where you must know whether the node was deleted, or with a [`Retry`](crate::Retry).
    ///
    /// The check looks whether the node exists. A deletion by another client is taken for this one, and a node that was
    /// created again meanwhile for the old one.
    ///
    /// # Errors
    /// As [`delete`](Self::delete). If the reply is lost, the [`outcome`](Error::outcome) is
    /// [`NotSent`](crate::Outcome::NotSent) if the node was not deleted, and [`Unknown`](crate::Outcome::Unknown) if
    /// the check failed.
    pub fn delete_and_check(
        &self,
        path: impl AsRef<str>,
        version: impl Into<Option<i32>>,
    ) -> AsyncResult<()> {
        let delete = self.delete(path.as_ref(), version);
        let (client, path) = (self.clone(), path.as_ref().to_owned());
        self.inner().spawn_request(async move {
            let error = match delete.await {
                Err(error) if error.outcome() == Some(Outcome::Unknown) => error,
                result => return result,
            };
            match client.read_after_sync(&path, |zk| zk.exists(&path)).await {
                Ok(None) => Ok(()),
                Ok(Some(_)) => Err(error.not_done()),
                Err(_) => Err(error),
            }
        })
    }

    /// Deletes a node and all nodes below it, whatever their versions.
    ///
    /// Nodes that others create below it meanwhile are deleted too. A node that does not exist is not an error.
    ///
    /// # Errors
    /// [`NoAuth`](ErrorCode::NoAuth); [`NotEmpty`](ErrorCode::NotEmpty) if others create nodes faster than they are
    /// deleted.
    pub fn delete_recursive(&self, path: impl AsRef<str>) -> AsyncResult<()> {
        let children = self.get_children(path.as_ref());
        let (client, path) = (self.clone(), path.as_ref().to_owned());
        self.inner().spawn_request(async move {
            let mut children = match children.await {
                Err(error) if is_no_node(&error) => return Ok(()),
                children => children?,
            };
            for _ in 1..MAX_DELETE_ROUNDS {
                let descendants = client.descendants(&path, children).await?;
                match client.delete_all(&descendants, &path).await {
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
} }

impl Client {
    /// Creates a node, with its parents if the options say so.
    pub(crate) fn create_node<T>(
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
            let created = self.create_with_parents(path, data, options, with_stat);
            return self.inner().spawn_request(created);
        }
        let sent = self.send_create(path, data, options, with_stat);
        sent.unwrap_or_else(|error| self.failed(error))
    }

    /// Creates a node, with its parents if the options say so.
    ///
    /// The first request is sent when this is called. The others are sent only while the future is polled: if it is
    /// dropped, no more are sent.
    fn create_with_parents<T>(
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
                    let parent = path::parent(&path).unwrap_or("/");
                    let parents = client.send_creates(&client.absolute(parent), &acl);
                    let node =
                        client.send_create::<T>(&path, data.as_deref(), &options, with_stat)?;
                    let parents = parents.finish().await;
                    match node.await {
                        Err(error) if is_no_node(&error) => Err(parents.err().unwrap_or(error)),
                        result => result,
                    }
                }
                result => result,
            }
        }
    }

    /// Creates a node once, even if replies are lost: its name gets a unique id in Curator's form.
    ///
    /// If the future is dropped, no more requests are sent.
    pub(crate) fn create_protected(
        &self,
        path: &str,
        data: Option<&[u8]>,
        options: &CreateOptions,
    ) -> impl Future<Output = Result<(Ustring, Stat), Error>> + Send + use<> {
        // The check is of the user's path: behind an id, every name is valid.
        let created = path::validate_for_create(path, options.is_sequential()).map(|()| {
            self.create_once(&protected_path(path, self.inner().unique_id()), data, options)
        });
        async move { created.map_err(|error| Error::bad_path(error, Some(Outcome::NotSent)))?.await }
    }

    /// Creates a node once, even if replies are lost. The name must begin with a unique id.
    ///
    /// If the future is dropped, no more requests are sent.
    pub(crate) fn create_once(
        &self,
        path: &str,
        data: Option<&[u8]>,
        options: &CreateOptions,
    ) -> impl Future<Output = Result<(Ustring, Stat), Error>> + Send + use<> {
        let first = self.create_with_parents(path, data, options, true);
        let (client, path, options) = (self.clone(), path.to_owned(), options.clone());
        let data = data.map(Bytes::copy_from_slice);
        async move {
            let mut created = first.await;
            loop {
                let error = match created {
                    Err(error) if is_transient(&error) => error,
                    result => return result,
                };
                if error.outcome() != Some(Outcome::NotSent) {
                    match client.find_created(&path, options.is_ephemeral()).await {
                        Ok(Some(found)) => return Ok(found),
                        Ok(None) => {}
                        Err(failed_check) if options.is_ephemeral() => {
                            return Err(failed_check.of_failed_check(&error));
                        }
                        Err(_) => return Err(error),
                    }
                }
                back_off(&client, &error).await;
                created = client.create_with_parents(&path, data.as_deref(), &options, true).await;
            }
        }
    }

    /// Looks for the node that [`create_once`](Self::create_once) has created for `path`. An ephemeral node counts only
    /// if it is of the present session.
    pub(crate) async fn find_created(
        &self,
        path: &str,
        ephemeral: bool,
    ) -> Result<Option<(Ustring, Stat)>, Error> {
        for path in self.paths_with_prefix(path, ephemeral).await? {
            let Some(stat) = retry_transient(self, |zk| zk.exists(&path)).await? else { continue };
            if !ephemeral || self.session_id() == Some(SessionId(stat.ephemeral_owner)) {
                return Ok(Some((path.into(), stat)));
            }
        }
        Ok(None)
    }

    /// Returns the paths of the nodes beside `path` that begin with it. If the parent cannot be listed, because it must
    /// not be read or its list is too long, returns the ephemeral nodes of this session.
    async fn paths_with_prefix(&self, path: &str, ephemeral: bool) -> Result<Vec<String>, Error> {
        let (parent, prefix) = (path::parent(path).unwrap_or("/"), path::name(path));
        let error = match self.read_after_sync(parent, |zk| zk.get_children(parent)).await {
            Ok(children) => {
                let named = children.iter().filter(|name| name.starts_with(prefix));
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
        match self.read_after_sync(parent, |zk| zk.get_ephemerals(path)).await {
            Ok(paths) => Ok(paths.into_iter().map(String::from).collect()),
            // Servers before 3.6 do not know this request.
            Err(unknown) if unknown.code() == Some(ErrorCode::Unimplemented) => Err(error),
            Err(error) => Err(error),
        }
    }

    /// Reads after a `sync`. What was sent on an earlier connection is then either applied or lost: without the `sync`,
    /// the read could be answered by a server that lags behind.
    async fn read_after_sync<T, R>(
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
        retry_transient(self, both).await
    }

    /// Sends the creation of all ancestors of `absolute`, and of `absolute` itself, without waiting in between.
    fn send_creates(&self, absolute: &str, acl: &[Acl]) -> Creates {
        let options = CreateOptions::persistent();
        let send = |path| {
            let record = options.record(path, Some(&[]), acl, false)?;
            Ok(self.inner().call(&Chroot::default(), &record.into()))
        };
        let node = (absolute != "/").then_some(absolute);
        Creates(path::ancestors(absolute).chain(node).map(send).collect())
    }

    /// Returns all nodes below `path`, whose children are `children`. Parents come before their children.
    async fn descendants(&self, path: &str, children: Vec<Ustring>) -> Result<Vec<String>, Error> {
        let mut found: Vec<_> = children.iter().map(|child| path::join(path, child)).collect();
        let mut listed = 0;
        while listed < found.len() {
            let window = &found[listed..found.len().min(listed + WINDOW)];
            let reads: Vec<_> = window.iter().map(|path| self.get_children(path)).collect();
            for read in reads {
                let parent = found[listed].clone();
                listed += 1;
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

    /// Deletes `descendants`, the last first, and then `path`. A descendant that is not empty is not an error: then
    /// `path` is not empty either.
    async fn delete_all(&self, descendants: &[String], path: &str) -> Result<(), Error> {
        let mut paths: Vec<_> = descendants.iter().rev().map(String::as_str).collect();
        paths.push(path);
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

    /// Returns the path with the chroot.
    fn absolute<'p>(&'p self, path: &'p str) -> Cow<'p, str> {
        self.chroot().join(path)
    }
}

/// Returns `path` with a unique id in front of its name, in Curator's form.
fn protected_path(path: &str, id: u128) -> String {
    match path.rsplit_once('/') {
        Some((parent, name)) => format!("{parent}/_c_{}-{name}", uuid(id)),
        None => path.to_owned(), // not valid, and refused later
    }
}

/// Formats `id` as a random (version 4) UUID.
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

/// The creation of a node and its ancestors, in flight.
struct Creates(Vec<Result<AsyncResult<Ustring>, Error>>);

impl Creates {
    /// Waits for all replies. Only the result of the last node counts, as the session may not be allowed to create or see
    /// ancestors that exist. If the last node has no parent, the first error says why.
    async fn finish(self) -> Result<(), Error> {
        let mut first_error = None;
        let mut last = Ok(());
        for create in self.0 {
            let result = match create {
                Ok(create) => create.await.map(drop),
                Err(error) => Err(error),
            };
            last = match result {
                Err(error) if error.code() == Some(ErrorCode::NodeExists) => Ok(()),
                result => result,
            };
            if let Err(error) = &last {
                first_error.get_or_insert_with(|| error.clone());
            }
        }
        match last {
            Err(error) if is_no_node(&error) => Err(first_error.unwrap_or(error)),
            result => result,
        }
    }
}
