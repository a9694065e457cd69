//! [`Chroot`]: the znode that a client uses as its root.
//!
//! The chroot is put in front of every path that is sent and removed from every path that is received.
//! Invariants: `strip(join(p)) == Some(p)` for every valid path `p`, and a path that only shares a prefix
//! (`/application` under `/app`) is outside of the chroot.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

use alloc::{borrow::Cow, string::String, sync::Arc};
use core::{fmt, str::FromStr};

use crate::{
    Ustring,
    path::{self, PathError},
};

/// The znode that a client uses as its root.
///
/// With the chroot `/app`, the path `/config` is `/app/config` on the server, and `/` is `/app`.
///
/// The default is the server's root, which changes no path. Clones share their memory.
///
/// ```
/// use zk_proto::Chroot;
///
/// let chroot = Chroot::new("/app")?;
/// assert_eq!(chroot.join("/config"), "/app/config");
/// assert_eq!(chroot.strip("/app/config"), Some("/config"));
/// assert_eq!(chroot.strip("/app"), Some("/"));
/// assert_eq!(chroot.strip("/application"), None);
/// # Ok::<(), zk_proto::PathError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Chroot {
    /// A valid path other than `/`; `None` stands for `/`.
    prefix: Option<Arc<str>>,
}

impl Chroot {
    /// The server's root.
    pub const ROOT: Self = Self { prefix: None };

    /// Creates a chroot at `path`. Both `/` and the empty string give [`ROOT`](Self::ROOT).
    ///
    /// ```
    /// use zk_proto::Chroot;
    ///
    /// assert_eq!(Chroot::new("")?, Chroot::ROOT);
    /// assert_eq!(Chroot::new("/")?, Chroot::ROOT);
    /// assert!(Chroot::new("app").is_err());
    /// assert!(Chroot::new("/app/").is_err());
    /// # Ok::<(), zk_proto::PathError>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if `path` is not valid; see [`path::validate`].
    pub fn new(path: &str) -> Result<Self, PathError> {
        match path {
            "" | "/" => Ok(Self::ROOT),
            path => {
                path::validate(path)?;
                Ok(Self { prefix: Some(path.into()) })
            }
        }
    }

    /// Returns true if this is the server's root.
    #[must_use]
    pub const fn is_root(&self) -> bool {
        self.prefix.is_none()
    }

    /// Returns the path of the chroot on the server.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.prefix.as_deref().unwrap_or("/")
    }

    /// What is put in front of a path: the chroot, or nothing for the server's root.
    fn prefix(&self) -> &str {
        self.prefix.as_deref().unwrap_or_default()
    }

    /// The two parts of the server's path for `path`.
    fn parts<'p>(&'p self, path: &'p str, sequential: bool) -> (&'p str, &'p str) {
        match (self.prefix(), path) {
            (prefix, "/") if !prefix.is_empty() && !sequential => (prefix, ""),
            parts => parts,
        }
    }

    /// Returns the server's path for `path`, which must be valid.
    ///
    /// For the path of a sequential node see [`join_sequential`](Self::join_sequential).
    #[must_use]
    pub fn join<'p>(&'p self, path: &'p str) -> Cow<'p, str> {
        concat(self.parts(path, false))
    }

    /// Returns the server's path for `path`, to which the server appends a sequence number.
    ///
    /// This differs from [`join`](Self::join) only for the path `/`: with `/app/`, the number is the name of a
    /// child of the chroot; with `/app`, the server would create a sibling of the chroot, outside of it.
    ///
    /// ```
    /// use zk_proto::Chroot;
    ///
    /// let chroot = Chroot::new("/app")?;
    /// assert_eq!(chroot.join_sequential("/"), "/app/");
    /// assert_eq!(chroot.join_sequential("/lock-"), "/app/lock-");
    /// # Ok::<(), zk_proto::PathError>(())
    /// ```
    #[must_use]
    pub fn join_sequential<'p>(&'p self, path: &'p str) -> Cow<'p, str> {
        concat(self.parts(path, true))
    }

    /// Replaces the content of `joined` with what [`join`](Self::join) or
    /// [`join_sequential`](Self::join_sequential) returns.
    pub(crate) fn join_into(&self, path: &str, sequential: bool, joined: &mut String) {
        let (prefix, path) = self.parts(path, sequential);
        joined.clear();
        joined.push_str(prefix);
        joined.push_str(path);
    }

    /// Returns the client's path for the server's `path`, or `None` if it is outside of the chroot.
    #[must_use]
    pub fn strip<'p>(&self, path: &'p str) -> Option<&'p str> {
        let Some(prefix) = &self.prefix else {
            return Some(path);
        };
        match path.strip_prefix(&**prefix)? {
            "" => Some("/"),
            rest => rest.starts_with('/').then_some(rest),
        }
    }

    /// Like [`strip`](Self::strip), for a path that shares the memory of its frame. The result shares it too.
    ///
    /// ```
    /// use zk_proto::{Chroot, Ustring};
    ///
    /// let chroot = Chroot::new("/app")?;
    /// assert_eq!(chroot.strip_ustring("/app/config".into()), Some(Ustring::from("/config")));
    /// assert_eq!(chroot.strip_ustring("/other".into()), None);
    /// # Ok::<(), zk_proto::PathError>(())
    /// ```
    #[must_use]
    pub fn strip_ustring(&self, path: Ustring) -> Option<Ustring> {
        let Some(prefix) = &self.prefix else {
            return Some(path);
        };
        match path.as_bytes().strip_prefix(prefix.as_bytes())? {
            [] => Some(Ustring::from_static("/")),
            [b'/', ..] => path.split_prefix(prefix.len()),
            _ => None,
        }
    }
}

/// Joins two parts of a path, without a copy if one of them is empty.
fn concat<'p>(parts: (&'p str, &'p str)) -> Cow<'p, str> {
    match parts {
        ("", path) => Cow::Borrowed(path),
        (prefix, "") => Cow::Borrowed(prefix),
        (prefix, path) => Cow::Owned([prefix, path].concat()),
    }
}

/// Writes what is put in front of a path: nothing for the server's root, so that `format!("{chroot}/node")` is
/// the server's path for `/node`.
impl fmt::Display for Chroot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.prefix())
    }
}

impl FromStr for Chroot {
    type Err = PathError;

    fn from_str(path: &str) -> Result<Self, PathError> {
        Self::new(path)
    }
}

#[cfg(test)]
mod tests {
    use alloc::{borrow::ToOwned, format, string::ToString};

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::jute::Decode;

    fn joined(root: &Chroot, path: &str, sequential: bool) -> String {
        let mut joined = String::from("leftover");
        root.join_into(path, sequential, &mut joined);
        joined
    }

    #[test]
    fn join_adds_the_chroot() {
        for (chroot, path, plain, sequential) in [
            ("", "/", "/", "/"),
            ("/", "/", "/", "/"),
            ("/", "/a", "/a", "/a"),
            ("/", "/a/", "/a/", "/a/"),
            ("/app", "/", "/app", "/app/"),
            ("/app", "/a", "/app/a", "/app/a"),
            ("/app/x", "/a/b", "/app/x/a/b", "/app/x/a/b"),
            ("/app", "/a/", "/app/a/", "/app/a/"),
        ] {
            let root = Chroot::new(chroot).unwrap();
            assert_eq!(root.join(path), plain, "{path:?} under {chroot:?}");
            assert_eq!(root.join_sequential(path), sequential, "{path:?} under {chroot:?}");
            assert_eq!(joined(&root, path, false), plain, "{path:?} under {chroot:?}");
            assert_eq!(joined(&root, path, true), sequential, "{path:?} under {chroot:?}");
        }
    }

    #[test]
    fn join_copies_only_if_it_must() {
        let app = Chroot::new("/app").unwrap();
        assert!(matches!(Chroot::ROOT.join("/a"), Cow::Borrowed("/a")));
        assert!(matches!(app.join("/"), Cow::Borrowed("/app")));
        assert!(matches!(app.join("/a"), Cow::Owned(_)));
    }

    #[test]
    fn strip_removes_the_chroot() {
        for (chroot, path, stripped) in [
            ("/", "/", Some("/")),
            ("/", "/a/b", Some("/a/b")),
            ("/app", "/app", Some("/")),
            ("/app", "/app/a", Some("/a")),
            ("/app", "/application", None),
            ("/app", "/application/a", None),
            ("/app", "/ap", None),
            ("/app", "/", None),
            ("/app", "", None),
            ("/app", "/other/app/a", None),
            ("/größe", "/größe/ü", Some("/ü")),
        ] {
            let root = Chroot::new(chroot).unwrap();
            assert_eq!(root.strip(path), stripped, "{path:?} under {chroot:?}");
            let ustring = root.strip_ustring(path.into());
            assert_eq!(ustring.as_deref(), stripped, "{path:?} under {chroot:?}");
        }
    }

    #[test]
    fn a_stripped_path_shares_its_frame() {
        let frame = Bytes::from_static(b"\0\0\0\x06/app/x");
        let path = Ustring::decode_all(&frame).unwrap();
        let stripped = Chroot::new("/app").unwrap().strip_ustring(path).unwrap();
        assert_eq!(stripped.as_bytes().as_ptr(), frame[8..].as_ptr());
    }

    #[test]
    fn invalid_chroots_are_refused() {
        for path in ["app", "/app/", "//", "/a//b", "/a/../b", "/a\0", " "] {
            assert!(Chroot::new(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn displays_as_its_path() {
        assert_eq!(Chroot::default().to_string(), "");
        assert_eq!("/app/x".parse::<Chroot>().unwrap().to_string(), "/app/x");
    }

    proptest! {
        #[test]
        fn strip_undoes_join(chroot in "(/[a-zé]{1,4}){0,3}", path in "/|(/[a-zé]{1,4}){1,3}") {
            let root = Chroot::new(&chroot).unwrap();
            let server_path = root.join(&path);
            prop_assert!(path::validate(&server_path).is_ok());
            prop_assert_eq!(root.strip(&server_path), Some(path.as_str()));
            let stripped = root.strip_ustring(Ustring::from(&*server_path));
            prop_assert_eq!(stripped.as_deref(), Some(path.as_str()));
            prop_assert_eq!(joined(&root, &path, false), server_path);
        }

        #[test]
        fn nothing_panics(chroot in any::<String>(), path in any::<String>()) {
            let slashed = format!("/{chroot}");
            for chroot in [chroot, slashed] {
                if let Ok(root) = Chroot::new(&chroot) {
                    let _ = (root.join(&path), root.join_sequential(&path));
                    prop_assert_eq!(
                        root.strip(&path).map(str::to_owned),
                        root.strip_ustring(path.as_str().into()).map(String::from)
                    );
                }
            }
        }
    }
}
