//! The paths in requests and replies: validation, and translation into a chroot and back.
//!
//! Every request of a session is validated here, by [`Request::validate_paths`], before it is encoded; the rules
//! for one path are in [`path`](crate::path).

use alloc::string::String;

use bytes::BytesMut;

use super::{Request, Response};
use crate::{
    Chroot, PathError, Ustring, path,
    records::{MultiOp, MultiResult},
};

impl Request<'_> {
    /// Checks the paths of the request by ZooKeeper's rules.
    ///
    /// The paths of setWatches and setWatches2 are not checked.
    ///
    /// # Errors
    /// Returns the [`PathError`] of the first path that is not valid.
    pub fn validate_paths(&self) -> Result<(), PathError> {
        match self {
            Self::Multi(multi) | Self::MultiRead(multi) => multi
                .ops
                .iter()
                .try_for_each(|op| path::validate_for_create(op.path(), op.is_sequential())),
            _ => self
                .path()
                .map_or(Ok(()), |path| path::validate_for_create(path, self.is_sequential())),
        }
    }

    /// Appends the record to `out` like [`encode_body`](Self::encode_body), with `chroot` in front of every path.
    ///
    /// The paths must be valid. `scratch` is a buffer for the absolute paths, which callers reuse to save
    /// allocations. The paths of setWatches and setWatches2 are already absolute and are written unchanged.
    pub fn encode_body_in_chroot(&self, chroot: &Chroot, scratch: &mut String, out: &mut BytesMut) {
        match self {
            Self::Multi(multi) | Self::MultiRead(multi) => multi.encode_with(out, |op, out| {
                chroot.join_into(op.path(), op.is_sequential(), scratch);
                op.clone().with_path(scratch).encode_record(out);
            }),
            _ => match self.path() {
                Some(path) => {
                    chroot.join_into(path, self.is_sequential(), scratch);
                    self.clone().with_path(scratch).encode_body(out);
                }
                None => self.encode_body(out),
            },
        }
    }

    /// Returns true if the server appends a sequence number to the path.
    const fn is_sequential(&self) -> bool {
        match self {
            Self::Create(create) | Self::Create2(create) | Self::CreateContainer(create) => {
                create.flags.is_sequential()
            }
            Self::CreateTtl(create) => create.flags.is_sequential(),
            _ => false,
        }
    }
}

impl MultiOp<'_> {
    /// Returns true if the server appends a sequence number to the path.
    const fn is_sequential(&self) -> bool {
        match self {
            Self::Create(create) | Self::Create2(create) | Self::CreateContainer(create) => {
                create.flags.is_sequential()
            }
            Self::CreateTtl(create) => create.flags.is_sequential(),
            _ => false,
        }
    }
}

impl Response {
    /// Removes `chroot` from the front of every path in the reply.
    ///
    /// Ephemeral nodes outside of the chroot are left out of their list. Servers send no other path from outside
    /// of it; such a path stays as it is.
    #[must_use]
    pub fn without_chroot(mut self, chroot: &Chroot) -> Self {
        if chroot.is_root() {
            return self;
        }
        match &mut self {
            Self::Create(reply) => strip(chroot, &mut reply.path),
            Self::Create2(reply) | Self::CreateContainer(reply) | Self::CreateTtl(reply) => {
                strip(chroot, &mut reply.path);
            }
            Self::Sync(reply) => strip(chroot, &mut reply.path),
            Self::GetEphemerals(reply) => {
                let paths = core::mem::take(&mut reply.ephemerals).into_iter();
                reply.ephemerals = paths.filter_map(|path| chroot.strip_ustring(path)).collect();
            }
            Self::Multi(reply) => {
                for result in &mut reply.results {
                    match result {
                        MultiResult::Create(reply) => strip(chroot, &mut reply.path),
                        MultiResult::Create2(reply) => strip(chroot, &mut reply.path),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        self
    }
}

fn strip(chroot: &Chroot, path: &mut Ustring) {
    if let Some(stripped) = chroot.strip_ustring(path.clone()) {
        *path = stripped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CreateMode, records::*};

    fn app() -> Chroot {
        Chroot::new("/app").unwrap()
    }

    fn create(path: &str, flags: CreateMode) -> CreateRequest<'_> {
        CreateRequest { path, data: None, acl: None, flags }
    }

    fn encoded(request: &Request<'_>) -> BytesMut {
        let mut out = BytesMut::new();
        request.encode_body(&mut out);
        out
    }

    fn encoded_in_chroot(request: &Request<'_>) -> BytesMut {
        let mut out = BytesMut::new();
        request.encode_body_in_chroot(&app(), &mut String::from("leftover"), &mut out);
        out
    }

    #[test]
    fn request_paths_get_the_chroot() {
        let sequential = CreateMode::PersistentSequential;
        let cases = [
            (Request::Sync(SyncRequest { path: "/a" }), "/app/a"),
            (Request::Sync(SyncRequest { path: "/" }), "/app"),
            (Request::GetEphemerals(GetEphemeralsRequest { prefix_path: Some("/") }), "/app"),
            (Request::Create(create("/a", CreateMode::Ephemeral)), "/app/a"),
            (Request::Create2(create("/", sequential)), "/app/"),
            (Request::CreateContainer(create("/c", CreateMode::Container)), "/app/c"),
        ];
        for (request, path) in cases {
            assert_eq!(encoded_in_chroot(&request), encoded(&request.clone().with_path(path)));
        }
        let mut root = BytesMut::new();
        let request = Request::Sync(SyncRequest { path: "/" });
        request.encode_body_in_chroot(&Chroot::ROOT, &mut String::new(), &mut root);
        assert_eq!(root, encoded(&request));
    }

    #[test]
    fn every_path_of_a_multi_gets_the_chroot() {
        let ops = |paths: [&'static str; 3]| {
            Request::Multi(MultiRequest::new(vec![
                MultiOp::Check(CheckVersionRequest { path: paths[0], version: 1 }),
                MultiOp::Create(create(paths[1], CreateMode::EphemeralSequential)),
                MultiOp::Delete(DeleteRequest { path: paths[2], version: -1 }),
            ]))
        };
        let request = ops(["/", "/", "/c"]);
        assert_eq!(encoded_in_chroot(&request), encoded(&ops(["/app", "/app/", "/app/c"])));
    }

    #[test]
    fn paths_are_validated_for_their_operation() {
        let sequential = CreateMode::EphemeralSequential;
        let multi = |path| {
            let delete = DeleteRequest { path, version: -1 };
            Request::Multi(MultiRequest::new(vec![MultiOp::Delete(delete)]))
        };
        let cases = [
            (Request::Create(create("/q/", sequential)), true),
            (Request::Create(create("/q/", CreateMode::Ephemeral)), false),
            (Request::Sync(SyncRequest { path: "" }), false),
            (multi("/a"), true),
            (multi("/a/"), false),
            (Request::Ping, true),
        ];
        for (request, valid) in cases {
            assert_eq!(request.validate_paths().is_ok(), valid, "{request:?}");
        }
    }

    #[test]
    fn the_chroot_is_removed_from_reply_paths() {
        let created = |path: &str| CreateResponse { path: path.into() };
        let cases = [
            (Response::Create(created("/app/a")), Response::Create(created("/a"))),
            (Response::Create(created("/else")), Response::Create(created("/else"))),
            (
                Response::GetEphemerals(GetEphemeralsResponse {
                    ephemerals: vec!["/app/a".into(), "/apple".into(), "/app".into()].into(),
                }),
                Response::GetEphemerals(GetEphemeralsResponse {
                    ephemerals: vec!["/a".into(), "/".into()].into(),
                }),
            ),
            (
                Response::Multi(MultiResponse::new(vec![
                    MultiResult::Create(created("/app/a")),
                    MultiResult::Check,
                ])),
                Response::Multi(MultiResponse::new(vec![
                    MultiResult::Create(created("/a")),
                    MultiResult::Check,
                ])),
            ),
            (
                Response::GetChildren(GetChildrenResponse { children: vec!["app".into()].into() }),
                Response::GetChildren(GetChildrenResponse { children: vec!["app".into()].into() }),
            ),
        ];
        for (server, client) in cases {
            assert_eq!(server.clone().without_chroot(&Chroot::ROOT), server);
            assert_eq!(server.without_chroot(&app()), client);
        }
    }
}
