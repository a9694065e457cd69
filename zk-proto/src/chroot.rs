//! [`Chroot`]: the node that a client takes for its root.
//!
//! It is prefixed to every path on the way out and stripped from every path on the way in. What
//! holds here: `strip(join(p)) == Some(p)` for every valid path `p`, and a path that only looks
//! alike (`/application` under `/app`) is outside.
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

use alloc::{borrow::Cow, sync::Arc};
use core::{fmt, str::FromStr};

use bytes::{BufMut, BytesMut};

use crate::{
    Ustring,
    path::{self, PathError},
};

/// A node that stands for the root: with the chroot `/app`, the path `/config` is the server's
/// `/app/config`, and `/` is `/app`.
///
/// The default is the true root, which changes no path. Clones share their memory.
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
    /// The true root.
    pub const ROOT: Self = Self { prefix: None };

    /// Takes the node at `path` for the root; `/` and the empty text are the true one.
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
    /// When `path` is not a valid one: see [`path::validate`].
    pub fn new(path: &str) -> Result<Self, PathError> {
        match path {
            "" | "/" => Ok(Self::ROOT),
            path => {
                path::validate(path)?;
                Ok(Self { prefix: Some(path.into()) })
            }
        }
    }

    /// Whether this is the true root.
    #[must_use]
    pub const fn is_root(&self) -> bool {
        self.prefix.is_none()
    }

    /// The path of the node that stands for the root.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.prefix.as_deref().unwrap_or("/")
    }

    /// What a path gets in front of it: nothing, or the chroot without a slash at its end.
    fn prefix(&self) -> &str {
        self.prefix.as_deref().unwrap_or_default()
    }

    /// The parts of the server's path for `path`.
    fn parts<'p>(&'p self, path: &'p str) -> (&'p str, &'p str) {
        match (self.prefix(), path) {
            (prefix @ "", path) => (prefix, path),
            (prefix, "/") => (prefix, ""),
            (prefix, path) => (prefix, path),
        }
    }

    /// The server's path for `path`; `path` must be valid.
    ///
    /// For the path of a sequential node see [`join_sequential`](Self::join_sequential).
    #[must_use]
    pub fn join<'p>(&'p self, path: &'p str) -> Cow<'p, str> {
        match self.parts(path) {
            ("", path) => Cow::Borrowed(path),
            (prefix, "") => Cow::Borrowed(prefix),
            (prefix, path) => Cow::Owned([prefix, path].concat()),
        }
    }

    /// The server's path for `path`, to which the server will append a number.
    ///
    /// It differs from [`join`](Self::join) in the path `/`: `/app/` lets the number be a name
    /// below the chroot, where `/app` would make a node outside of it, beside the chroot.
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
        match self.prefix() {
            "" => Cow::Borrowed(path),
            prefix => Cow::Owned([prefix, path].concat()),
        }
    }

    /// Appends the server's path for `path` in jute's form, an int length and as many bytes, with
    /// no string made for it.
    ///
    /// ```
    /// use bytes::BytesMut;
    /// use zk_proto::Chroot;
    ///
    /// let mut out = BytesMut::new();
    /// Chroot::new("/app")?.encode_path("/x", &mut out);
    /// assert_eq!(&out[..], b"\0\0\0\x06/app/x");
    /// # Ok::<(), zk_proto::PathError>(())
    /// ```
    pub fn encode_path(&self, path: &str, out: &mut BytesMut) {
        let (prefix, path) = self.parts(path);
        encode_parts(prefix, path, out);
    }

    /// As [`encode_path`](Self::encode_path), for the path of a sequential node: what
    /// [`join_sequential`](Self::join_sequential) gives.
    pub fn encode_sequential_path(&self, path: &str, out: &mut BytesMut) {
        encode_parts(self.prefix(), path, out);
    }

    /// How many bytes the server's path for `path` has.
    #[must_use]
    pub fn path_len(&self, path: &str) -> usize {
        let (prefix, path) = self.parts(path);
        prefix.len().saturating_add(path.len())
    }

    /// The client's path for the server's `path`, or `None` when that is outside of the chroot.
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

    /// As [`strip`](Self::strip), for a path that shares the memory of its frame, and goes on
    /// sharing it.
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

/// Writes one string of two parts. Frames are far smaller than 2 GiB, so the length saturates.
fn encode_parts(prefix: &str, path: &str, out: &mut BytesMut) {
    let len = prefix.len().saturating_add(path.len());
    out.reserve(len.saturating_add(size_of::<i32>()));
    out.put_i32(i32::try_from(len).unwrap_or(i32::MAX));
    out.put_slice(prefix.as_bytes());
    out.put_slice(path.as_bytes());
}

/// The path of the node that stands for the root.
/// What stands in front of a path: nothing for the true root, so that `format!("{chroot}/node")` is the
/// server's path for `/node`.
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
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::jute::{Decode, Encode};

    fn encoded(text: &str) -> BytesMut {
        let mut out = BytesMut::new();
        text.encode(&mut out);
        out
    }

    #[test]
    fn paths_on_the_way_out() {
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
            assert_eq!(root.path_len(path), plain.len(), "{path:?} under {chroot:?}");
            let mut out = BytesMut::new();
            root.encode_path(path, &mut out);
            assert_eq!(out, encoded(plain), "{path:?} under {chroot:?}");
            out.clear();
            root.encode_sequential_path(path, &mut out);
            assert_eq!(out, encoded(sequential), "{path:?} under {chroot:?}");
        }
    }

    #[test]
    fn only_what_must_be_copied_is() {
        let app = Chroot::new("/app").unwrap();
        assert!(matches!(Chroot::ROOT.join("/a"), Cow::Borrowed("/a")));
        assert!(matches!(app.join("/"), Cow::Borrowed("/app")));
        assert!(matches!(app.join("/a"), Cow::Owned(_)));
    }

    #[test]
    fn paths_on_the_way_in() {
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
    fn bad_chroots_are_refused() {
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
            let joined = root.join(&path);
            prop_assert!(path::validate(&joined).is_ok());
            prop_assert_eq!(root.strip(&joined), Some(path.as_str()));
            let stripped = root.strip_ustring(Ustring::from(&*joined));
            prop_assert_eq!(stripped.as_deref(), Some(path.as_str()));
            let mut out = BytesMut::new();
            root.encode_path(&path, &mut out);
            prop_assert_eq!(out, encoded(&joined));
        }

        #[test]
        fn nothing_panics(chroot in any::<String>(), path in any::<String>()) {
            let slashed = format!("/{chroot}");
            for chroot in [chroot, slashed] {
                if let Ok(root) = Chroot::new(&chroot) {
                    let _ = (root.join(&path), root.join_sequential(&path), root.path_len(&path));
                    prop_assert_eq!(
                        root.strip(&path).map(str::to_owned),
                        root.strip_ustring(path.as_str().into()).map(String::from)
                    );
                }
            }
        }
    }
}
