//! Values with several encodings that the Java client and kazoo accept. Each value remembers its encoding, and is
//! equal to all values with the same meaning.

use alloc::vec::Vec;
use core::{
    fmt,
    ops::{Deref, DerefMut},
};

use bytes::{BufMut, BytesMut};

use super::{Decode, DecodeError, Describe, Described, Encode, Reader};

/// Jute's boolean: a byte that is true unless it is 0. The value remembers the byte.
///
/// ```
/// use zk_proto::jute::Bool;
///
/// assert_eq!(Bool::from(true), Bool::TRUE);
/// assert!(bool::from(Bool::TRUE));
/// ```
#[derive(Clone, Copy, Default)]
pub struct Bool(u8);

impl Bool {
    /// True, encoded as 1.
    pub const TRUE: Self = Self(1);
    /// False.
    pub const FALSE: Self = Self(0);

    /// Returns the value as a `bool`.
    #[must_use]
    pub const fn get(self) -> bool {
        self.0 != 0
    }
}

impl From<bool> for Bool {
    fn from(value: bool) -> Self {
        Self(value.into())
    }
}

impl From<Bool> for bool {
    fn from(value: Bool) -> Self {
        value.get()
    }
}

impl PartialEq for Bool {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for Bool {}

impl fmt::Debug for Bool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.get(), f)
    }
}

impl Encode for Bool {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(self.0);
    }
}

impl<'a> Decode<'a> for Bool {
    const MIN_LEN: usize = 1;

    fn decode(input: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let [byte] = input.array()?;
        Ok(Self(byte))
    }
}

impl Describe for Bool {
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Jute's vector: a count and that many items. It derefs to a slice.
///
/// A negative count is an empty vector, as in the Java client and kazoo; -1 is null. The value remembers the
/// count.
///
/// ```
/// use zk_proto::jute::List;
///
/// let names: List<&str> = vec!["a", "b"].into();
/// assert_eq!(names.len(), 2);
/// assert_eq!(Vec::from(names), ["a", "b"]);
/// ```
#[derive(Clone)]
pub struct List<T>(Counted<T>);

#[derive(Clone)]
enum Counted<T> {
    Items(Vec<T>),
    /// No items, encoded as a negative count.
    Negative(i32),
}

impl<T> List<T> {
    /// Creates an empty list.
    #[must_use]
    pub const fn new() -> Self {
        Self(Counted::Items(Vec::new()))
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.0 {
            Counted::Items(items) => items,
            Counted::Negative(_) => &[],
        }
    }
}

impl<T> DerefMut for List<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.0 {
            Counted::Items(items) => items,
            Counted::Negative(_) => &mut [],
        }
    }
}

impl<T> From<Vec<T>> for List<T> {
    fn from(items: Vec<T>) -> Self {
        Self(Counted::Items(items))
    }
}

impl<T> From<List<T>> for Vec<T> {
    fn from(list: List<T>) -> Self {
        match list.0 {
            Counted::Items(items) => items,
            Counted::Negative(_) => Self::new(),
        }
    }
}

impl<T> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Vec::from_iter(items).into()
    }
}

impl<T> IntoIterator for List<T> {
    type Item = T;
    type IntoIter = alloc::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        Vec::from(self).into_iter()
    }
}

impl<'l, T> IntoIterator for &'l List<T> {
    type Item = &'l T;
    type IntoIter = core::slice::Iter<'l, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: PartialEq> PartialEq for List<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq> Eq for List<T> {}

impl<T: fmt::Debug> fmt::Debug for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: Encode> Encode for List<T> {
    fn encode(&self, out: &mut BytesMut) {
        match &self.0 {
            Counted::Items(items) => items.encode(out),
            Counted::Negative(count) => out.put_i32(*count),
        }
    }
}

impl<'a, T: Decode<'a>> Decode<'a> for List<T> {
    const MIN_LEN: usize = 4;

    fn decode(input: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut ahead = input.clone();
        let count = i32::decode(&mut ahead)?;
        if count < 0 {
            *input = ahead;
            return Ok(Self(Counted::Negative(count)));
        }
        Vec::decode(input).map(Self::from)
    }
}

impl<T: Describe> Describe for List<T> {
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(Described)).finish()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::Ustring;

    fn decode<T: for<'a> Decode<'a>>(bytes: &[u8]) -> Result<T, DecodeError> {
        T::decode_all(&Bytes::copy_from_slice(bytes))
    }

    /// Decodes the bytes, and checks that the value is encoded to the same bytes.
    fn round_trip<T: for<'a> Decode<'a> + Encode>(bytes: &[u8]) -> T {
        let value: T = decode(bytes).unwrap();
        let mut out = BytesMut::new();
        value.encode(&mut out);
        assert_eq!(out, bytes);
        value
    }

    #[test]
    fn equal_values_keep_their_encoding() {
        for (byte, value) in [(0, false), (1, true), (2, true), (0xff, true)] {
            assert_eq!(round_trip::<Bool>(&[byte]).get(), value);
            assert_eq!(round_trip::<Bool>(&[byte]), value.into());
        }
        assert_eq!(decode::<Bool>(&[1, 1]), Err(DecodeError::Trailing(1)));
        for count in [0, -1, -2, i32::MIN] {
            assert_eq!(round_trip::<List<i64>>(&count.to_be_bytes()), List::new());
        }
        assert_eq!(round_trip::<Ustring>(&[0xff; 4]), "");
        assert_eq!(round_trip::<Ustring>(&[0, 0, 0, 1, 0xff]), "\u{fffd}");
        assert_eq!(round_trip::<Option<Ustring>>(&[0xff; 4]), None);
        assert_eq!(
            decode::<Ustring>(&[0xff, 0xff, 0xff, 0xfe]),
            Err(DecodeError::BadLength { length: -2, left: 0 })
        );
    }
}
