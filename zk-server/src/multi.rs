//! Several operations in one packet: all or none of them in a multi, each by itself in a multiRead.

use zk_proto::{
    ErrorCode, OpCode, Time,
    records::{
        Create2Response, CreateRequest, CreateResponse, GetChildrenResponse, GetDataResponse,
        MultiOp, MultiRequest, MultiResponse, MultiResult,
    },
    session::SessionId,
};

use crate::{
    ConnectionId, Server, Version,
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
        let mut results = Vec::with_capacity(request.ops.len());
        let outcome = self.transact(now, client, |txn| {
            if request.ops.iter().any(is_read) {
                return Err(ErrorCode::MarshallingError);
            }
            for op in &request.ops {
                results.push(apply(txn, op, version)?);
            }
            Ok(())
        });
        match outcome {
            Ok(()) => Ok(MultiResponse { results }),
            Err(ErrorCode::MarshallingError) => Err(ErrorCode::MarshallingError),
            Err(cause) => {
                let done = results.len();
                let result = |at: usize| match at.cmp(&done) {
                    std::cmp::Ordering::Less => ErrorCode::Ok,
                    std::cmp::Ordering::Equal => cause,
                    std::cmp::Ordering::Greater => ErrorCode::RuntimeInconsistency,
                };
                let results = (0..request.ops.len()).map(|at| MultiResult::Error(result(at)));
                Ok(MultiResponse { results: results.collect() })
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
                    MultiResult::GetChildren(GetChildrenResponse { children })
                }),
            };
            result.unwrap_or_else(MultiResult::Error)
        });
        Ok(MultiResponse { results: results.collect() })
    }
}

fn apply(
    txn: &mut Txn<'_>,
    op: &MultiOp<'_>,
    version: Version,
) -> Result<MultiResult, ErrorCode> {
    match op {
        MultiOp::Create2(request) if version >= Version::V3_9 => {
            create(OpCode::Create2, txn, request)
        }
        MultiOp::Create(request)
        | MultiOp::Create2(request)
        | MultiOp::CreateContainer(request) => create(OpCode::Create, txn, request),
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

/// In a multi the flags decide on the kind of node, and on the operation unless that is `otherwise`; only
/// [`OpCode::Create`] comes without a stat (`org.apache.zookeeper.Op.Create`).
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

const fn is_read(op: &MultiOp<'_>) -> bool {
    matches!(op, MultiOp::GetData(_) | MultiOp::GetChildren(_))
}
