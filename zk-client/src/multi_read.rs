//! [`MultiRead`]: several reads in one packet, each of which can fail alone.

use std::fmt;

use bytes::Bytes;
use zk_proto::{
    OpCode, Request, Response, Ustring,
    records::{GetChildrenRequest, GetDataRequest, MultiOp, MultiRequest, MultiResult, Stat},
    session::Outcome,
};

use crate::{AsyncResult, Client, Error, surfaces::with_blocking};

/// The blocking form, which `blocking.rs` re-exports.
pub(crate) mod blocking {
    use crate::{client::blocking::Client, surfaces::blocking_form};

    blocking_form! {
        /// Several reads in one packet, each of which can fail alone. See [`crate::MultiRead`].
        ///
        /// ```no_run
        /// # use zk_client::{Error, blocking::Client};
        /// # fn example(zk: Client) -> Result<(), Error> {
        /// let results = zk.multi_read().get("/app/a").get_children("/app").send()?;
        /// # Ok(())
        /// # }
        /// ```
        #[must_use = "it reads nothing before it is sent"]
        pub struct MultiRead;
    }

    impl Client {
        /// Begins several reads in one packet, each of which can fail alone.
        pub fn multi_read(&self) -> MultiRead {
            self.as_async().multi_read().into()
        }
    }
}

/// Several reads in one packet, each of which can fail alone (`org.apache.zookeeper.ZooKeeper.multi`, with
/// `Op.getData` and `Op.getChildren`).
///
/// The server does the reads one after another. It is no transaction: others can write in between. Reads set no watches.
///
/// Use it to read many small nodes, as it costs less than a call for each. The reply must fit into one packet: see
/// [`ClientBuilder::max_reply`](crate::ClientBuilder::max_reply).
///
/// ```no_run
/// # use zk_client::{Client, Error, ReadResult};
/// # async fn example(zk: Client) -> Result<(), Error> {
/// let results = zk.multi_read().get("/app/a").get("/app/b").get_children("/app").send().await?;
/// for result in results {
///     match result {
///         Ok(ReadResult::Data(data, stat)) => println!("{data:?}, version {}", stat.version),
///         Ok(ReadResult::Children(names)) => println!("{names:?}"),
///         Ok(_) => {}
///         Err(error) => println!("this one failed: {error}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[doc(alias = "multi")]
#[must_use = "it reads nothing before it is sent"]
pub struct MultiRead {
    client: Client,
    reads: Vec<Read>,
}

#[derive(Clone)]
struct Read {
    op: OpCode,
    path: String,
}

/// What one read of a [`MultiRead`] returned.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadResult {
    /// The data of the node and its stat. `None` if the data are null.
    Data(Option<Bytes>, Stat),
    /// The names of the node's children, in no particular order.
    Children(Vec<Ustring>),
}

impl ReadResult {
    /// Returns the data, as [`Client::get`] does: null data are empty. `None` if it was not the data that were read.
    #[must_use]
    pub fn into_data(self) -> Option<(Bytes, Stat)> {
        match self {
            Self::Data(data, stat) => Some((data.unwrap_or_default(), stat)),
            Self::Children(_) => None,
        }
    }

    /// Returns the names of the children. `None` if it was not the children that were read.
    #[must_use]
    pub fn into_children(self) -> Option<Vec<Ustring>> {
        match self {
            Self::Children(names) => Some(names),
            Self::Data(..) => None,
        }
    }
}

impl Client {
    /// Begins several reads in one packet, each of which can fail alone.
    pub fn multi_read(&self) -> MultiRead {
        MultiRead { client: self.clone(), reads: Vec::new() }
    }
}

with_blocking! { impl MultiRead {
    /// Adds a read of a node's data, as by [`Client::get`].
    pub fn get(self, path: impl AsRef<str>) -> Self {
        self.with(OpCode::GetData, path.as_ref())
    }

    /// Adds a read of the names of a node's children, as by [`Client::get_children`].
    pub fn get_children(self, path: impl AsRef<str>) -> Self {
        self.with(OpCode::GetChildren, path.as_ref())
    }

    /// Sends the reads, and returns one result for each, in order.
    ///
    /// A read that fails has an error of its own, such as [`NoNode`](crate::ErrorCode::NoNode) or
    /// [`NoAuth`](crate::ErrorCode::NoAuth), and does not affect the others.
    ///
    /// # Errors
    /// An error if the server did not answer; [`Unimplemented`](crate::ErrorCode::Unimplemented) on servers before 3.6. If
    /// a path is not valid, nothing is sent.
    pub fn send(self) -> AsyncResult<Vec<Result<ReadResult, Error>>> {
        self.send_all()
    }
} }

impl MultiRead {
    fn with(mut self, op: OpCode, path: &str) -> Self {
        self.reads.push(Read { op, path: path.to_owned() });
        self
    }

    fn send_all(self) -> AsyncResult<Vec<Result<ReadResult, Error>>> {
        let Self { client, reads } = self;
        let (chroot, about) = (client.chroot().clone(), reads.clone());
        let request =
            Request::MultiRead(MultiRequest::new(reads.iter().map(Read::as_op).collect()));
        client.call_response(&request, move |response| match response {
            Response::MultiRead(reply) if reply.results.len() == about.len() => {
                let results = reply.results.into_iter().zip(&about);
                let results = results.map(|(result, read)| match (read.op, result) {
                    (OpCode::GetData, MultiResult::GetData(reply)) => {
                        Ok(ReadResult::Data(reply.data, reply.stat))
                    }
                    (OpCode::GetChildren, MultiResult::GetChildren(reply)) => {
                        Ok(ReadResult::Children(reply.children.into()))
                    }
                    (op, MultiResult::Error(code)) => {
                        Err(Error::of_operation(code, op, &read.path, &chroot, None))
                    }
                    _ => Err(mismatch("a result is that of another read")),
                });
                Ok(results.collect())
            }
            _ => Err(mismatch("the reply has another number of results")),
        })
    }
}

fn mismatch(message: &str) -> Error {
    Error::invalid_reply(Some(Outcome::Applied), message)
}

impl Read {
    fn as_op(&self) -> MultiOp<'_> {
        let (path, watch) = (&*self.path, false.into());
        match self.op {
            OpCode::GetChildren => MultiOp::GetChildren(GetChildrenRequest { path, watch }),
            _ => MultiOp::GetData(GetDataRequest { path, watch }),
        }
    }
}

impl fmt::Debug for MultiRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MultiRead({} reads)", self.reads.len())
    }
}
