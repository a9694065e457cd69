//! Requests with several operations: multi, a transaction, and multiRead, whose reads are independent.

use zk_proto::{
    CreateMode, ErrorCode, OpCode, Time,
    records::{
        Create2Response, CreateRequest, CreateResponse, GetChildrenResponse, GetDataResponse,
        MultiOp, MultiRequest, MultiResponse, MultiResult,
    },
    session::SessionId,
};

use crate::{
    config::Version,
    connection::ConnectionId,
    server::Server,
    txn::{Creation, Txn},
};

impl Server {
    pub(crate) fn multi(
        &mut self,
        now: Time,
        client: Option<(ConnectionId, SessionId)>,
        request: &MultiRequest<'_>,
    ) -> Result<MultiResponse, ErrorCode> {
        let version = self.config.version;
        let flaw = flaw(&request.ops, version);
        if flaw == Some(Flaw::NullAcl) {
            return Err(ErrorCode::MarshallingError);
        }
        let mut results = Vec::with_capacity(request.ops.len());
        let result = self.transact(now, client, |txn| {
            if flaw.is_some() {
                return Err(ErrorCode::MarshallingError);
            }
            for op in &request.ops {
                results.push(apply(txn, op, version)?);
            }
            Ok(())
        });
        match result {
            Ok(()) => Ok(MultiResponse::new(results)),
            Err(ErrorCode::MarshallingError) => Err(ErrorCode::MarshallingError),
            Err(cause) => {
                let done = results.len();
                let code = |at: usize| match at.cmp(&done) {
                    std::cmp::Ordering::Less => ErrorCode::Ok,
                    std::cmp::Ordering::Equal => cause,
                    std::cmp::Ordering::Greater => ErrorCode::RuntimeInconsistency,
                };
                let results = (0..request.ops.len()).map(|at| MultiResult::Error(code(at)));
                Ok(MultiResponse::new(results.collect()))
            }
        }
    }

    pub(crate) fn multi_read(
        &mut self,
        connection: ConnectionId,
        request: &MultiRequest<'_>,
    ) -> Result<MultiResponse, ErrorCode> {
        if !request.ops.iter().all(is_read) {
            return Err(ErrorCode::MarshallingError);
        }
        let results = request.ops.iter().map(|op| {
            let result = match op {
                MultiOp::GetData(get) => self
                    .get_data(connection, get.path, false)
                    .map(|(data, stat)| MultiResult::GetData(GetDataResponse { data, stat })),
                op => self.get_children(connection, op.path(), false).map(|(children, _)| {
                    MultiResult::GetChildren(GetChildrenResponse { children: children.into() })
                }),
            };
            result.unwrap_or_else(MultiResult::Error)
        });
        Ok(MultiResponse::new(results.collect()))
    }
}

fn apply(txn: &mut Txn<'_>, op: &MultiOp<'_>, version: Version) -> Result<MultiResult, ErrorCode> {
    match op {
        MultiOp::Create(request)
        | MultiOp::Create2(request)
        | MultiOp::CreateContainer(request) => {
            let otherwise = if version < Version::V3_9 { OpCode::Create } else { op.op() };
            create(otherwise, txn, request)
        }
        MultiOp::CreateTtl(request) if request.flags.has_ttl() => {
            created(OpCode::CreateTtl, txn, &Creation::with_ttl(OpCode::CreateTtl, request))
        }
        MultiOp::CreateTtl(request) => {
            let request = request.clone();
            create(
                OpCode::Create,
                txn,
                &CreateRequest {
                    path: request.path,
                    data: request.data,
                    acl: request.acl,
                    flags: request.flags,
                },
            )
        }
        MultiOp::Delete(request) => txn.delete(request).map(|()| MultiResult::Delete),
        MultiOp::SetData(request) => txn.set_data(request).map(MultiResult::SetData),
        MultiOp::Check(request) => txn.check(request).map(|()| MultiResult::Check),
        _ => Err(ErrorCode::MarshallingError),
    }
}

/// Creates a node as part of a multi. The flags determine the kind of node, and the operation if it is not
/// `otherwise`. Only the result of [`OpCode::Create`] has no stat (`org.apache.zookeeper.Op.Create`).
fn create(
    otherwise: OpCode,
    txn: &mut Txn<'_>,
    request: &CreateRequest<'_>,
) -> Result<MultiResult, ErrorCode> {
    let op = match request.flags {
        flags if flags.has_ttl() => return Err(ErrorCode::MarshallingError),
        flags if flags.is_container() => OpCode::CreateContainer,
        _ => otherwise,
    };
    created(op, txn, &Creation::new(op, request))
}

fn created(
    op: OpCode,
    txn: &mut Txn<'_>,
    creation: &Creation<'_>,
) -> Result<MultiResult, ErrorCode> {
    let (path, stat) = txn.create(creation)?;
    let path = path.into();
    Ok(match op {
        OpCode::Create => MultiResult::Create(CreateResponse { path }),
        _ => MultiResult::Create2(Create2Response { path, stat }),
    })
}

/// Why a multi cannot be decoded or executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    /// It has a read, or a create with unknown flags.
    Kind,
    /// It has a create without an ACL. ZooKeeper 3.9 fails on it before it assigns a zxid.
    NullAcl,
}

/// The first flaw of a multi with `ops`, in the order in which they are decoded.
fn flaw(ops: &[MultiOp<'_>], version: Version) -> Option<Flaw> {
    let starts_with_read = ops.first().is_some_and(is_read);
    let first = ops.iter().find_map(|op| {
        let mixes = is_read(op) != starts_with_read;
        flaw_of(op, version).or_else(|| mixes.then_some(Flaw::Kind))
    });
    first.or_else(|| starts_with_read.then_some(Flaw::Kind))
}

fn flaw_of(op: &MultiOp<'_>, version: Version) -> Option<Flaw> {
    match op {
        MultiOp::Create(request)
        | MultiOp::Create2(request)
        | MultiOp::CreateContainer(request)
            if version >= Version::V3_9 =>
        {
            match (request.flags, &request.acl) {
                (CreateMode::Unknown(_), _) => Some(Flaw::Kind),
                (_, None) => Some(Flaw::NullAcl),
                (flags, Some(_)) => flags.has_ttl().then_some(Flaw::Kind),
            }
        }
        _ => None,
    }
}

const fn is_read(op: &MultiOp<'_>) -> bool {
    matches!(op, MultiOp::GetData(_) | MultiOp::GetChildren(_))
}
