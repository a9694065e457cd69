//! [`Ustring`], a string that shares the frame it was read from.

use std::{borrow::Borrow, cmp::Ordering, fmt, hash, ops::Deref, str::Utf8Error};

use bytes::Bytes;

/// Jute's `ustring`: UTF-8 text whose bytes may be shared with the frame that it came in.
///
/// It derefs to `str`, compares and hashes as `str`, and clones without copying. A clone keeps the
/// memory of its whole frame alive: make a `String` of it to keep a small name for long.
///
/// ```
/// use zk_proto::Ustring;
///
/// let name = Ustring::from("node-0000000007");
/// assert!(name.starts_with("node-"));
/// assert_eq!(name, "node-0000000007");
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Ustring(Bytes);

impl Ustring {
    /// The empty string.
    #[must_use]
    pub const fn new() -> Self {
        Self(Bytes::new())
    }

    /// A string that needs no memory of its own.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// Checks that `bytes` are UTF-8 and wraps them without copying.
    ///
    /// # Errors
    /// When they are not UTF-8.
    pub fn from_utf8(bytes: Bytes) -> Result<Self, Utf8Error> {
        std::str::from_utf8(&bytes)?;
        Ok(Self(bytes))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Checked when the value was made; checked again as this crate has no unsafe code.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The bytes of the text.
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Drops the first `len` bytes without copying; `None` when that is no character boundary.
    #[must_use]
    pub fn split_prefix(&self, len: usize) -> Option<Self> {
        self.as_str().is_char_boundary(len).then(|| Self(self.0.slice(len..)))
    }
}

impl Deref for Ustring {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Ustring {
    fn as_ref(&self) -> &str {
        self
    }
}

impl Borrow<str> for Ustring {
    fn borrow(&self) -> &str {
        self
    }
}

impl From<String> for Ustring {
    fn from(text: String) -> Self {
        Self(Bytes::from(text))
    }
}

impl From<&str> for Ustring {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<Ustring> for String {
    fn from(text: Ustring) -> Self {
        text.as_str().to_owned()
    }
}

impl PartialEq<str> for Ustring {
    fn eq(&self, other: &str) -> bool {
        self.0.as_ref() == other.as_bytes()
    }
}

impl PartialEq<&str> for Ustring {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

impl PartialEq<String> for Ustring {
    fn eq(&self, other: &String) -> bool {
        self == other.as_str()
    }
}

impl PartialEq<Ustring> for str {
    fn eq(&self, other: &Ustring) -> bool {
        other == self
    }
}

impl PartialEq<Ustring> for &str {
    fn eq(&self, other: &Ustring) -> bool {
        other == *self
    }
}

impl PartialEq<Ustring> for String {
    fn eq(&self, other: &Ustring) -> bool {
        other == self
    }
}

impl PartialOrd for Ustring {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ustring {
    fn cmp(&self, other: &Self) -> Ordering {
        // The order of UTF-8 bytes is the order of `str`.
        self.0.cmp(&other.0)
    }
}

impl hash::Hash for Ustring {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for Ustring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Ustring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}
