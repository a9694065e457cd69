//! The identities of a session, as pairs of scheme and user.

use std::fmt::Debug;

use zk_proto::Response;

/// Those in the answer to whoAmI.
pub(crate) fn identities(answer: Result<Response, impl Debug>) -> Vec<(String, String)> {
    match answer {
        Ok(Response::WhoAmI(reply)) => {
            let ids = reply.client_info.iter();
            ids.map(|id| (id.auth_scheme.to_string(), id.user.to_string())).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// Those that a test expects.
pub(crate) fn pairs(ids: &[(&str, &str)]) -> Vec<(String, String)> {
    ids.iter().map(|(scheme, user)| ((*scheme).to_owned(), (*user).to_owned())).collect()
}
