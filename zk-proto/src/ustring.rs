//! [`Ustring`]: a string that shares the memory of its frame and remembers its encoding.

use alloc::{borrow::ToOwned, string::String, sync::Arc, vec::Vec};
use core::{borrow::Borrow, cmp::Ordering, fmt, hash, ops::Deref, str::Utf8Error};

use bytes::Bytes;

/// Jute's `ustring`: a string whose bytes may be shared with the frame that it came in.
///
/// It derefs to `str`, compares and hashes as `str`, and clones without copying. A clone keeps the memory of
/// its frame alive: convert it to a `String` to keep a small name for a long time.
///
/// # Strings that are not UTF-8
///
/// Peers do not always write UTF-8. ZooKeeper and its Java client write a character above U+FFFF as two
/// surrogates of three bytes each (CESU-8); others write null for an empty string, or bytes in another
/// encoding. None of this is an error. [`from_wire`](Self::from_wire) decodes a pair of surrogates to its
/// character, null to the empty string, and everything else that is not valid to U+FFFD. The original bytes
/// are kept: [`wire`](Self::wire) returns them, and encoding writes them.
///
/// ```
/// use zk_proto::Ustring;
///
/// let name = Ustring::from("node-0000000007");
/// assert!(name.starts_with("node-"));
/// assert_eq!(name, "node-0000000007");
///
/// let from_java = Ustring::from_wire(b"\xed\xa0\xbd\xed\xb8\x80".as_slice().into());
/// assert_eq!(from_java, "😀");
/// ```
#[derive(Clone)]
pub struct Ustring(Repr);

#[derive(Clone)]
enum Repr {
    /// UTF-8, which is the encoding on the wire.
    Utf8(Bytes),
    /// Other bytes, or null, which is the empty string.
    Other(Option<Arc<Other>>),
}

struct Other {
    wire: Bytes,
    /// UTF-8.
    text: Bytes,
}

impl Ustring {
    /// Creates an empty string.
    #[must_use]
    pub const fn new() -> Self {
        Self(Repr::Utf8(Bytes::new()))
    }

    /// Creates a null string: an empty string that is encoded as length -1.
    #[must_use]
    pub const fn null() -> Self {
        Self(Repr::Other(None))
    }

    /// Creates a string from static text, without an allocation.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        Self(Repr::Utf8(Bytes::from_static(text.as_bytes())))
    }

    /// Creates a string from UTF-8 bytes without copying them.
    ///
    /// # Errors
    /// Returns an error if `bytes` are not UTF-8. [`from_wire`](Self::from_wire) accepts any bytes.
    pub fn from_utf8(bytes: Bytes) -> Result<Self, Utf8Error> {
        core::str::from_utf8(&bytes)?;
        Ok(Self(Repr::Utf8(bytes)))
    }

    /// Decodes the bytes that a peer has written; see [above](Self#strings-that-are-not-utf-8). UTF-8 is not copied.
    #[must_use]
    pub fn from_wire(bytes: Bytes) -> Self {
        match core::str::from_utf8(&bytes) {
            Ok(_) => Self(Repr::Utf8(bytes)),
            Err(_) => {
                let text = decode(&bytes, Surrogates::Paired).into();
                Self::other(bytes, text)
            }
        }
    }

    /// Returns the string that a ZooKeeper server writes after it has read this one.
    ///
    /// When it reads, each surrogate becomes U+FFFD. When it writes, a character above U+FFFF becomes two
    /// surrogates.
    ///
    /// ```
    /// use zk_proto::Ustring;
    ///
    /// let echo = Ustring::from("ann 😀").through_java();
    /// assert_eq!(echo, "ann 😀");
    /// assert_eq!(&echo.wire().unwrap()[..], b"ann \xed\xa0\xbd\xed\xb8\x80");
    /// assert_eq!(echo.through_java(), "ann \u{fffd}\u{fffd}");
    /// ```
    #[must_use]
    pub fn through_java(&self) -> Self {
        let text = match &self.0 {
            Repr::Utf8(bytes) if !has_supplementary(bytes) => return self.clone(),
            Repr::Other(None) => return self.clone(),
            Repr::Utf8(bytes) => bytes.clone(),
            Repr::Other(Some(other)) => decode(&other.wire, Surrogates::Refused).into(),
        };
        if !has_supplementary(&text) {
            return Self(Repr::Utf8(text));
        }
        let wire = encode_java(core::str::from_utf8(&text).unwrap_or_default()).into();
        Self::other(wire, text)
    }

    fn other(wire: Bytes, text: Bytes) -> Self {
        Self(Repr::Other(Some(Arc::new(Other { wire, text }))))
    }

    /// Returns the string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // It was checked at construction. It is checked again because this crate has no unsafe code.
        core::str::from_utf8(self.text()).unwrap_or_default()
    }

    /// Returns the UTF-8 bytes of the string.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.text()
    }

    fn text(&self) -> &[u8] {
        match &self.0 {
            Repr::Utf8(bytes) => bytes,
            Repr::Other(Some(other)) => &other.text,
            Repr::Other(None) => &[],
        }
    }

    /// Returns the bytes on the wire; `None` for null.
    #[must_use]
    pub fn wire(&self) -> Option<&Bytes> {
        match &self.0 {
            Repr::Utf8(bytes) => Some(bytes),
            Repr::Other(other) => other.as_ref().map(|other| &other.wire),
        }
    }

    /// Returns true if the string is null, and therefore empty.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self.0, Repr::Other(None))
    }

    /// Removes the first `len` bytes of the string, without copying if they are the same on the wire. Returns
    /// `None` if `len` is not at a character boundary.
    pub(crate) fn split_prefix(&self, len: usize) -> Option<Self> {
        let rest = self.as_str().get(len..)?;
        Some(match &self.0 {
            Repr::Utf8(bytes) => Self(Repr::Utf8(bytes.slice(len..))),
            Repr::Other(Some(other)) if other.wire.get(..len) == other.text.get(..len) => {
                Self::from_wire(other.wire.slice(len..))
            }
            Repr::Other(_) => rest.into(),
        })
    }
}

/// Returns true if `utf8` has a character above U+FFFF. Only those have bytes from 0xf0 on.
fn has_supplementary(utf8: &[u8]) -> bool {
    utf8.iter().any(|byte| *byte >= 0xf0)
}

/// How a pair of surrogates is decoded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Surrogates {
    /// As the character that it encodes.
    Paired,
    /// As two invalid characters.
    Refused,
}

/// Decodes bytes that are not UTF-8. A surrogate that is not part of an accepted pair becomes one U+FFFD, as in
/// Java; so does each run of other bytes that could be the beginning of a character.
fn decode(bytes: &[u8], surrogates: Surrogates) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Err(error) = core::str::from_utf8(rest) {
        let (valid, broken) = rest.split_at_checked(error.valid_up_to()).unwrap_or((rest, &[]));
        text.push_str(core::str::from_utf8(valid).unwrap_or_default());
        let pair = surrogate_pair(broken).filter(|_| surrogates == Surrogates::Paired);
        let len = match pair {
            Some(_) => 6,
            None if surrogate(broken).is_some() => 3,
            None => error.error_len().unwrap_or(broken.len()),
        };
        text.push(pair.unwrap_or(char::REPLACEMENT_CHARACTER));
        rest = broken.get(len..).unwrap_or_default();
    }
    text.push_str(core::str::from_utf8(rest).unwrap_or_default());
    text
}

/// Returns the surrogate at the start of `bytes`.
fn surrogate(bytes: &[u8]) -> Option<u16> {
    match bytes {
        [0xed, second @ 0xa0..=0xbf, third @ 0x80..=0xbf, ..] => {
            Some(0xd000 | u16::from(second & 0x3f) << 6 | u16::from(third & 0x3f))
        }
        _ => None,
    }
}

/// Returns the character whose surrogates are at the start of `bytes`.
fn surrogate_pair(bytes: &[u8]) -> Option<char> {
    let pair = [surrogate(bytes)?, surrogate(bytes.get(3..)?)?];
    char::decode_utf16(pair).next()?.ok()
}

/// Encodes `text` like Java's `BinaryOutputArchive`, with three bytes for each surrogate.
fn encode_java(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        match character.len_utf16() {
            1 => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let [high, low] = [*unit >> 6, *unit].map(|bits| 0x80 | (bits & 0x3f) as u8);
                    bytes.extend_from_slice(&[0xed, high, low]);
                }
            }
        }
    }
    bytes
}

impl Default for Ustring {
    fn default() -> Self {
        Self::new()
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
        Self(Repr::Utf8(text.into()))
    }
}

impl From<&str> for Ustring {
    fn from(text: &str) -> Self {
        Self(Repr::Utf8(Bytes::copy_from_slice(text.as_bytes())))
    }
}

impl From<Ustring> for String {
    fn from(text: Ustring) -> Self {
        text.as_str().to_owned()
    }
}

impl PartialEq for Ustring {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Ustring {}

impl PartialEq<str> for Ustring {
    fn eq(&self, other: &str) -> bool {
        self.text() == other.as_bytes()
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
        self.text().cmp(other.text())
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn from_wire(bytes: &[u8]) -> Ustring {
        Ustring::from_wire(Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn any_bytes_are_decoded_and_kept() {
        // What Java's `new String(bytes, UTF_8)` makes of them, but for the pairs of surrogates.
        let cases: &[(&[u8], &str, &str)] = &[
            (b"plain", "plain", "plain"),
            (b"\xf0\x9f\x98\x80", "😀", "😀"),
            (b"a\xed\xa0\xbd\xed\xb8\x80b", "a😀b", "a\u{fffd}\u{fffd}b"),
            (b"\xed\xa0\xbd", "\u{fffd}", "\u{fffd}"),
            (b"\xed\xb8\x80\xed\xa0\xbd", "\u{fffd}\u{fffd}", "\u{fffd}\u{fffd}"),
            (b"\xed\xa0\xbdx", "\u{fffd}x", "\u{fffd}x"),
            (b"\xed\xa0", "\u{fffd}\u{fffd}", "\u{fffd}\u{fffd}"),
            (b"caf\xe9", "caf\u{fffd}", "caf\u{fffd}"),
            (b"\xff\xc0\x80/", "\u{fffd}\u{fffd}\u{fffd}/", "\u{fffd}\u{fffd}\u{fffd}/"),
            (b"\xe2\x82", "\u{fffd}", "\u{fffd}"),
            (b"\xf0\x9f\x98!", "\u{fffd}!", "\u{fffd}!"),
        ];
        for (bytes, text, to_java) in cases {
            let string = from_wire(bytes);
            assert_eq!(string, *text, "{bytes:?}");
            assert_eq!(string.as_bytes(), text.as_bytes());
            assert_eq!(string.wire().unwrap(), *bytes);
            assert_eq!(string.through_java(), *to_java, "{bytes:?}");
        }
    }

    #[test]
    fn null_is_empty() {
        assert_eq!(Ustring::null(), Ustring::new());
        assert!(Ustring::null().is_null() && Ustring::null().wire().is_none());
        assert!(!Ustring::new().is_null());
        assert_eq!(Ustring::null().split_prefix(0), Some(Ustring::new()));
        assert_eq!(Ustring::null().split_prefix(1), None);
        assert!(Ustring::null().through_java().is_null());
    }

    #[test]
    fn split_prefix_shortens_text_and_bytes() {
        let string = from_wire(b"/app/\xed\xa0\xbd\xed\xb8\x80");
        let rest = string.split_prefix(4).unwrap();
        assert_eq!(rest, "/😀");
        assert_eq!(&rest.wire().unwrap()[..], b"/\xed\xa0\xbd\xed\xb8\x80");
        assert_eq!(string.split_prefix(6), None);
        assert_eq!(from_wire(b"\xff/\xff").split_prefix(3).unwrap(), "/\u{fffd}");
    }

    #[test]
    fn ustring_is_as_small_as_bytes() {
        assert_eq!(size_of::<Ustring>(), size_of::<Bytes>());
    }

    proptest! {
        #[test]
        fn any_bytes_are_kept(bytes in any::<Vec<u8>>(), len in 0_usize..20) {
            let string = from_wire(&bytes);
            prop_assert_eq!(string.wire().unwrap(), &bytes);
            prop_assert_eq!(string.as_str().as_bytes(), string.as_bytes());
            let rest = string.split_prefix(len);
            prop_assert_eq!(rest.as_deref(), string.get(len..));
        }

        #[test]
        fn java_encoding_round_trips(text in any::<String>()) {
            let string = Ustring::from(text.as_str()).through_java();
            prop_assert_eq!(&string, &text);
            let again = Ustring::from_wire(string.wire().unwrap().clone());
            prop_assert_eq!(&again, &text);
            let units = text.encode_utf16().filter(|unit| (0xd800..0xe000).contains(unit)).count();
            prop_assert_eq!(string.wire().unwrap().len(), text.len() + units);
        }
    }
}
