//! [`Transaction`]: several operations that the server applies all or not at all.

use std::{fmt, ops::Deref, sync::Arc};

use bytes::Bytes;
use zk_proto::{
    Acl, ErrorCode, Request, Response, Ustring,
    records::{
        CheckVersionRequest, DeleteRequest, MultiOp, MultiRequest, MultiResult, SetDataRequest,
        Stat,
    },
    session::Outcome,
};

use crate::{AsData, AsyncResult, Client, CreateOptions, Error, surfaces::with_blocking};

/// The version of an operation that accepts every version of the node.
const ANY_VERSION: i32 = -1;

/// The blocking form of a transaction, which `blocking.rs` re-exports.
pub(crate) mod blocking {
    use crate::{client::blocking::Client, surfaces::blocking_form};

    blocking_form! {
        /// Operations that the server applies in order, all or none of them. See
        /// [`crate::Transaction`].
        ///
        /// ```no_run
        /// # use zk_client::{CreateMode, Error, blocking::Client};
        /// # fn example(zk: Client) -> Result<(), Error> {
        /// zk.transaction()
        ///     .check("/app", 3)
        ///     .create("/app/a", b"one", CreateMode::Persistent)
        ///     .commit()?
        ///     .committed()?;
        /// # Ok(())
        /// # }
        /// ```
        #[must_use = "a transaction does nothing before it is committed"]
        pub struct Transaction;
    }

    impl Client {
        /// Begins a transaction: operations that the server applies all or not at all.
        pub fn transaction(&self) -> Transaction {
            self.as_async().transaction().into()
        }
    }
}

/// Operations that the server applies in order, all or none of them.
///
/// ```no_run
/// # use zk_client::{Client, CreateMode, Error, OperationResult};
/// # async fn example(zk: Client) -> Result<(), Error> {
/// let results = zk
///     .transaction()
///     .check("/app", 3)
///     .create("/app/a", b"one", CreateMode::Persistent)
///     .set("/app/b", b"two", None)
///     .delete("/app/c", None)
///     .commit()
///     .await?;
/// match results.committed() {
///     Ok(results) => assert_eq!(results[1], OperationResult::Created("/app/a".into())),
///     Err(error) => println!("no operation was applied: {error}"),
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "a transaction does nothing before it is committed"]
pub struct Transaction {
    client: Client,
    operations: Vec<Operation>,
    /// Whether the first operation checks that a lock or a lease is held.
    is_guarded: bool,
    /// The first operation that is not valid. `commit` returns it.
    error: Option<Error>,
}

enum Operation {
    Check { path: String, version: i32 },
    Create { path: String, data: Option<Bytes>, options: CreateOptions, acl: Arc<[Acl]> },
    Set { path: String, data: Option<Bytes>, version: i32 },
    Delete { path: String, version: i32 },
}

/// What an operation of a transaction returned.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum OperationResult {
    /// The node has the expected version.
    Checked,
    /// The node was created at this path.
    Created(Ustring),
    /// The data was set. This is the node's new stat.
    Set(Stat),
    /// The node was deleted.
    Deleted,
}

impl Client {
    /// Begins a transaction: operations that the server applies all or not at all.
    pub fn transaction(&self) -> Transaction {
        Transaction::new(self.clone())
    }
}

with_blocking! { impl Transaction {
    /// Adds a check that the node at `path` exists and has `version`.
    pub fn check(self, path: impl AsRef<str>, version: i32) -> Self {
        self.with(Operation::Check { path: path.as_ref().to_owned(), version })
    }

    /// Adds the creation of a node, as by [`Client::create`].
    ///
    /// Parents must exist, or be created by the same transaction. [`makepath`](CreateOptions::makepath) and
    /// [`protected`](CreateOptions::protected) are not supported: the transaction fails then.
    pub fn create(
        self,
        path: impl AsRef<str>,
        data: impl AsData,
        options: impl Into<CreateOptions>,
    ) -> Self {
        let path = path.as_ref().to_owned();
        let data = data.as_data().map(Bytes::copy_from_slice);
        self.with_create(path, data, options.into())
    }

    /// Adds a change of a node's data, as by [`Client::set`].
    pub fn set(
        self,
        path: impl AsRef<str>,
        data: impl AsData,
        version: impl Into<Option<i32>>,
    ) -> Self {
        let path = path.as_ref().to_owned();
        let data = data.as_data().map(Bytes::copy_from_slice);
        self.with(Operation::Set { path, data, version: version.into().unwrap_or(ANY_VERSION) })
    }

    /// Adds the deletion of a node, as by [`Client::delete`].
    pub fn delete(self, path: impl AsRef<str>, version: impl Into<Option<i32>>) -> Self {
        let path = path.as_ref().to_owned();
        self.with(Operation::Delete { path, version: version.into().unwrap_or(ANY_VERSION) })
    }

    /// Sends the operations, and returns one result for each.
    ///
    /// A transaction that the server refuses has results, too: see [`TransactionResults::committed`].
    ///
    /// # Errors
    /// An error if the server did not answer. If an operation is not valid, nothing is sent.
    ///
    /// # Cancel safety
    /// If the result is dropped, the transaction may still be applied.
    pub fn commit(self) -> AsyncResult<TransactionResults> {
        self.send()
    }
} }

impl Transaction {
    pub(crate) const fn new(client: Client) -> Self {
        Self { client, operations: Vec::new(), is_guarded: false, error: None }
    }

    /// Adds a check that the node at `path` exists, which means that its lock or lease is held.
    pub(crate) fn guarded(mut self, path: &str) -> Self {
        self.is_guarded = true;
        // Any version, because other clients may write to the node. Curator does so to ask for a lock back.
        self.check(path, ANY_VERSION)
    }

    fn with(mut self, operation: Operation) -> Self {
        self.operations.push(operation);
        self
    }

    fn with_create(self, path: String, data: Option<Bytes>, options: CreateOptions) -> Self {
        if options.makes_path() || options.is_protected() {
            let why = "a transaction supports neither makepath nor protected";
            return self.refused(Error::invalid_request(format!("create {path}: {why}")));
        }
        match options.resolve_acl(self.client.default_acl()) {
            Ok(acl) => self.with(Operation::Create { path, data, options, acl }),
            Err(error) => self.refused(error),
        }
    }

    fn refused(mut self, error: Error) -> Self {
        self.error.get_or_insert(error);
        self
    }

    fn send(self) -> AsyncResult<TransactionResults> {
        if let Some(error) = self.error {
            return self.client.failed(error);
        }
        let mut ops = Vec::with_capacity(self.operations.len());
        for operation in &self.operations {
            match operation.as_op() {
                Ok(op) => ops.push(op),
                Err(error) => return self.client.failed(error),
            }
        }
        let about: Vec<_> =
            ops.iter().map(|op| (op.op(), op.path().to_owned(), expected_version(op))).collect();
        let (chroot, is_guarded) = (self.client.chroot().clone(), self.is_guarded);
        let request = Request::Multi(MultiRequest::new(ops));
        self.client.call_response(&request, move |response| match response {
            Response::Multi(reply) if reply.results.len() == about.len() => {
                let results = reply.results.into_iter().zip(&about).enumerate();
                let results = results.map(|(at, (result, (op, path, version)))| {
                    outcome(result, |code| match code {
                        ErrorCode::NoNode if is_guarded && at == 0 => {
                            Error::not_held(code, *op, path)
                        }
                        code => Error::of_operation(code, *op, path, &chroot, *version),
                    })
                });
                Ok(TransactionResults(results.collect()))
            }
            _ => Err(Error::invalid_reply(
                Some(Outcome::Unknown),
                "the transaction's reply has another number of results",
            )),
        })
    }
}

impl Operation {
    fn as_op(&self) -> Result<MultiOp<'_>, Error> {
        Ok(match self {
            Self::Check { path, version } => {
                MultiOp::Check(CheckVersionRequest { path, version: *version })
            }
            Self::Create { path, data, options, acl } => {
                options.record(path, data.as_deref(), acl, false)?.into()
            }
            Self::Set { path, data, version } => {
                let data = data.as_deref();
                MultiOp::SetData(SetDataRequest { path, data, version: *version })
            }
            Self::Delete { path, version } => {
                MultiOp::Delete(DeleteRequest { path, version: *version })
            }
        })
    }
}

fn outcome(
    result: MultiResult,
    refused: impl FnOnce(ErrorCode) -> Error,
) -> Result<OperationResult, Error> {
    match result {
        MultiResult::Create(reply) => Ok(OperationResult::Created(reply.path)),
        MultiResult::Create2(reply) => Ok(OperationResult::Created(reply.path)),
        MultiResult::Delete => Ok(OperationResult::Deleted),
        MultiResult::SetData(stat) => Ok(OperationResult::Set(stat)),
        MultiResult::Check => Ok(OperationResult::Checked),
        MultiResult::Error(code) => Err(refused(code)),
        _ => Err(Error::invalid_reply(
            Some(Outcome::Unknown),
            "the result of a read in a transaction",
        )),
    }
}

/// The version that an operation expects, unless it accepts every version.
fn expected_version(op: &MultiOp<'_>) -> Option<i32> {
    let version = match op {
        MultiOp::Check(check) => check.version,
        MultiOp::SetData(set) => set.version,
        MultiOp::Delete(delete) => delete.version,
        _ => return None,
    };
    (version != ANY_VERSION).then_some(version)
}

/// One result for each operation of a [`Transaction`], in order.
///
/// If the transaction failed, each result is an error: [`RolledBack`](crate::ErrorKind::RolledBack) before the
/// operation that failed, its own error for that operation, and
/// [`RuntimeInconsistency`](ErrorCode::RuntimeInconsistency) after it.
#[derive(Debug, Clone)]
#[must_use = "the transaction may have failed: see `committed`"]
pub struct TransactionResults(Vec<Result<OperationResult, Error>>);

impl TransactionResults {
    /// Returns the results of the operations if the transaction was applied.
    ///
    /// # Errors
    /// The error of the operation that failed. No operation was applied then.
    pub fn committed(self) -> Result<Vec<OperationResult>, Error> {
        if let Some(culprit) = self.culprit() {
            return Err(culprit.clone());
        }
        self.0.into_iter().collect()
    }

    /// The error of the operation that failed.
    fn culprit(&self) -> Option<&Error> {
        self.0
            .iter()
            .filter_map(|result| result.as_ref().err())
            .find(|error| error.code().is_some_and(|code| code != ErrorCode::RuntimeInconsistency))
    }
}

impl Deref for TransactionResults {
    type Target = [Result<OperationResult, Error>];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl IntoIterator for TransactionResults {
    type Item = Result<OperationResult, Error>;
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transaction({} operations)", self.operations.len())
    }
}
