//! [`FromReply`], how the result of a call is made from the reply.

use bytes::Bytes;
use zk_proto::{
    Acl, ErrorCode, Response, Ustring,
    records::{ClientInfo, Stat},
    session::{Failure, Outcome, Reason, Reply},
};

use crate::{EnsembleConfig, Error, ErrorKind};

/// How a request ended, as the session says it.
pub(crate) type ReplyResult = Result<Reply, Box<Failure>>;

/// A type that can be made from the reply to its call.
pub(crate) trait FromReply: Sized {
    fn from_reply(reply: ReplyResult) -> Result<Self, Error>;
}

/// The error of a reply that is of another operation. It does not occur: the session matches replies to requests.
fn mismatch() -> Error {
    Error::invalid_reply(Some(Outcome::Applied), "the reply is that of another operation")
}

pub(crate) fn response(reply: ReplyResult) -> Result<Response, Error> {
    reply.map(|reply| reply.response).map_err(Error::from)
}

macro_rules! from_reply {
    ($type:ty, $( $pattern:pat => $value:expr ),+ $(,)?) => {
        impl FromReply for $type {
            fn from_reply(reply: ReplyResult) -> Result<Self, Error> {
                match response(reply)? {
                    $( $pattern => Ok($value), )+
                    _ => Err(mismatch()),
                }
            }
        }
    };
}

from_reply!((), Response::Empty | Response::AddWatch(_) => ());
from_reply!(Stat,
    Response::SetData(stat) => stat,
    Response::SetAcl(stat) => stat,
);
from_reply!((Bytes, Stat),
    Response::GetData(reply) | Response::Reconfig(reply) => {
        (reply.data.unwrap_or_default(), reply.stat)
    },
);
from_reply!((Option<Bytes>, Stat), Response::GetData(reply) => (reply.data, reply.stat));
from_reply!(Vec<Ustring>,
    Response::GetChildren(reply) => reply.children.into(),
    Response::GetEphemerals(reply) => reply.ephemerals.into(),
);
from_reply!((Vec<Ustring>, Stat),
    Response::GetChildren2(reply) => (reply.children.into(), reply.stat),
);
from_reply!((Vec<Acl>, Stat),
    Response::GetAcl(reply) => (reply.acl.into(), reply.stat),
);
from_reply!(Vec<ClientInfo>, Response::WhoAmI(reply) => reply.client_info.into());
from_reply!(Ustring,
    Response::Create(reply) => reply.path,
    Response::Create2(reply) | Response::CreateContainer(reply) | Response::CreateTtl(reply) => {
        reply.path
    },
    Response::Sync(reply) => reply.path,
);
from_reply!((Ustring, Stat),
    Response::Create2(reply) | Response::CreateContainer(reply) | Response::CreateTtl(reply) => {
        (reply.path, reply.stat)
    },
);

impl FromReply for (EnsembleConfig, Stat) {
    fn from_reply(reply: ReplyResult) -> Result<Self, Error> {
        let (data, stat) = <(Bytes, Stat)>::from_reply(reply)?;
        let invalid = |why| Error::invalid_reply(Some(Outcome::Applied), why);
        let text = std::str::from_utf8(&data)
            .map_err(|_| invalid("the configuration of the ensemble is not UTF-8".to_owned()))?;
        let config = text.parse().map_err(|error: Error| {
            invalid(format!("the configuration of the ensemble is not understood: {error}"))
        })?;
        Ok((config, stat))
    }
}

impl FromReply for u32 {
    fn from_reply(reply: ReplyResult) -> Result<Self, Error> {
        match response(reply)? {
            Response::GetAllChildrenNumber(reply) => reply.total_number.try_into().map_err(|_| {
                Error::invalid_reply(Some(Outcome::Applied), "the number of nodes is negative")
            }),
            _ => Err(mismatch()),
        }
    }
}

impl FromReply for Option<Stat> {
    fn from_reply(reply: ReplyResult) -> Result<Self, Error> {
        if let Err(failure) = &reply
            && failure.reason == Reason::Server(ErrorCode::NoNode)
        {
            return Ok(None);
        }
        match response(reply)? {
            Response::Exists(stat) => Ok(Some(stat)),
            _ => Err(mismatch()),
        }
    }
}

/// Whether the server says that the node does not exist.
pub(crate) fn is_no_node(error: &Error) -> bool {
    error.kind() == ErrorKind::Server(ErrorCode::NoNode)
}
