//! Jute, the serialisation format of ZooKeeper's protocol: big-endian integers, length-prefixed buffers
//! and strings, counted vectors (`org.apache.jute.BinaryInputArchive` and `BinaryOutputArchive`).
//!
//! Invariants:
//! - A length or count is checked against the remaining bytes before anything is allocated for it.
//! - Decoding borrows: strings and buffers are slices of the frame, or [`Bytes`] that share its memory.
//! - `decode(encode(x)) == x`, and `encode(decode(b)) == b` for every accepted `b`. Some values have several
//!   encodings that the Java client and kazoo accept ([`Bool`], [`List`], [`Ustring`]). Each is accepted here,
//!   and the value remembers its encoding. Values with the same meaning are equal.
//! - `Debug` of a record shows buffers by their length, never their content.
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

mod forms;

use alloc::{borrow::Cow, vec::Vec};
use core::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::Ustring;

pub use forms::{Bool, List};

/// Why a record could not be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The frame ends inside a value.
    #[error("frame ends early: {needed} bytes needed, {left} left")]
    Truncated {
        /// How many bytes the value needs.
        needed: usize,
        /// How many were left.
        left: usize,
    },
    /// A length or count is negative (other than -1 for null) or larger than the rest of the frame.
    #[error("length {length} is out of range: {left} bytes left")]
    BadLength {
        /// The length or count.
        length: i32,
        /// How many bytes were left after it.
        left: usize,
    },
    /// A value is null and must not be.
    #[error("null where a value is required")]
    Null,
    /// A string in a request is not UTF-8. In a reply this is not an error; see [`Ustring`].
    #[error("string is not UTF-8")]
    NotUtf8,
    /// There are bytes after the end of the record.
    #[error("{0} bytes after the end of the record")]
    Trailing(usize),
    /// The operation has no record of this kind.
    #[error("operation {0} has no record to decode")]
    UnknownOperation(i32),
}

/// A value that can be encoded.
pub trait Encode {
    /// Appends this value to `out`.
    fn encode(&self, out: &mut BytesMut);
}

/// A value that can be decoded. `'a` is the lifetime of the frame.
pub trait Decode<'a>: Sized {
    /// The minimum encoded length in bytes. It limits the count of a vector.
    const MIN_LEN: usize;

    /// Decodes one value.
    ///
    /// # Errors
    /// Returns an error if the bytes are not a valid value.
    fn decode(input: &mut Reader<'a>) -> Result<Self, DecodeError>;

    /// Decodes one value that takes up all of `frame`.
    ///
    /// # Errors
    /// Returns the errors of [`Decode::decode`], and [`DecodeError::Trailing`] if bytes are left.
    fn decode_all(frame: &'a Bytes) -> Result<Self, DecodeError> {
        let mut input = Reader::new(frame);
        let value = Self::decode(&mut input)?;
        input.finish()?;
        Ok(value)
    }
}

/// How a record's `Debug` shows a field: readable, but without node data and secrets.
pub(crate) trait Describe {
    /// Writes the description.
    ///
    /// # Errors
    /// Returns an error if the formatter fails.
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// Decodes values from a frame.
#[derive(Clone)]
pub struct Reader<'a> {
    frame: &'a Bytes,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Creates a reader at the start of `frame`.
    #[must_use]
    pub fn new(frame: &'a Bytes) -> Self {
        Self { frame, rest: frame }
    }

    /// Returns how many bytes are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Returns the bytes that are left. They share the frame's memory.
    #[must_use]
    pub fn rest(&self) -> Bytes {
        self.frame.slice_ref(self.rest)
    }

    /// Checks that no bytes are left.
    ///
    /// # Errors
    /// Returns [`DecodeError::Trailing`] if bytes are left.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(DecodeError::Trailing(left)),
        }
    }

    /// Takes the next `len` bytes.
    ///
    /// # Errors
    /// Returns [`DecodeError::Truncated`] if fewer are left.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(DecodeError::Truncated { needed: len, left: self.rest.len() })?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(DecodeError::Truncated { needed: N, left: self.rest.len() })?;
        self.rest = rest;
        Ok(*head)
    }

    /// Decodes a buffer: an int length and that many bytes, or `None` for the length -1.
    ///
    /// # Errors
    /// Returns an error if the length is not in `-1..=remaining`.
    pub fn buffer(&mut self) -> Result<Option<&'a [u8]>, DecodeError> {
        let length = i32::decode(self)?;
        if length == NULL {
            return Ok(None);
        }
        let left = self.rest.len();
        match usize::try_from(length) {
            Ok(len) if len <= left => self.take(len).map(Some),
            _ => Err(DecodeError::BadLength { length, left }),
        }
    }

    /// Decodes the count of a vector, or `None` for -1. `min_len` is the minimum encoded length of an item.
    ///
    /// # Errors
    /// Returns an error if the count is negative, or more than the remaining bytes can hold.
    pub fn count(&mut self, min_len: usize) -> Result<Option<usize>, DecodeError> {
        let length = i32::decode(self)?;
        if length == NULL {
            return Ok(None);
        }
        let left = self.rest.len();
        match usize::try_from(length) {
            Ok(count) if count.saturating_mul(min_len.max(1)) <= left => Ok(Some(count)),
            _ => Err(DecodeError::BadLength { length, left }),
        }
    }

    /// Returns `part`, which must come from this reader, as [`Bytes`] that share the frame's memory.
    pub fn share(&self, part: &'a [u8]) -> Bytes {
        self.frame.slice_ref(part)
    }
}

impl fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reader({} of {} bytes left)", self.rest.len(), self.frame.len())
    }
}

/// The length or count of null.
const NULL: i32 = -1;

/// Writes a length or count. Frames are far smaller than 2 GiB, so this saturates.
fn put_len(out: &mut BytesMut, len: usize) {
    out.put_i32(i32::try_from(len).unwrap_or(i32::MAX));
}

macro_rules! integer {
    ($type:ty, $len:literal, $put:ident) => {
        impl Encode for $type {
            fn encode(&self, out: &mut BytesMut) {
                out.$put(*self);
            }
        }
        impl<'a> Decode<'a> for $type {
            const MIN_LEN: usize = $len;
            fn decode(input: &mut Reader<'a>) -> Result<Self, DecodeError> {
                input.array().map(Self::from_be_bytes)
            }
        }
        impl Describe for $type {
            fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

integer!(i32, 4, put_i32);
integer!(i64, 8, put_i64);

impl Encode for &[u8] {
    fn encode(&self, out: &mut BytesMut) {
        put_len(out, self.len());
        out.put_slice(self);
    }
}

impl Encode for Bytes {
    fn encode(&self, out: &mut BytesMut) {
        self.as_ref().encode(out);
    }
}

impl Encode for &str {
    fn encode(&self, out: &mut BytesMut) {
        self.as_bytes().encode(out);
    }
}

impl Encode for Ustring {
    fn encode(&self, out: &mut BytesMut) {
        match self.wire() {
            Some(bytes) => bytes.encode(out),
            None => out.put_i32(NULL),
        }
    }
}

impl<'a> Decode<'a> for &'a [u8] {
    const MIN_LEN: usize = 4;

    fn decode(input: &mut Reader<'a>) -> Result<Self, DecodeError> {
        input.buffer()?.ok_or(DecodeError::Null)
    }
}

impl<'a> Decode<'a> for Bytes {
    const MIN_LEN: usize = 4;

    fn decode(input: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let part = <&[u8]>::decode(input)?;
        Ok(input.share(part))
    }
}

impl<'a> Decode<'a> for &'a str {
    const MIN_LEN: usize = 4;

    fn decode(input: &mut Reader<'a>) -> Result<Self, DecodeError> {
        core::str::from_utf8(<&[u8]>::decode(input)?).map_err(|_| DecodeError::NotUtf8)
    }
}

impl<'a> Decode<'a> for Ustring {
    const MIN_LEN: usize = 4;

    fn decode(input: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let bytes = input.buffer()?;
        Ok(bytes.map_or_else(Ustring::null, |part| Ustring::from_wire(input.share(part))))
    }
}

/// A type that can be null: length or count -1.
pub(crate) trait Nullable {}
impl Nullable for &[u8] {}
impl Nullable for Bytes {}
impl Nullable for &str {}
impl Nullable for Ustring {}
impl<T> Nullable for Vec<T> {}
impl<T: Clone> Nullable for Cow<'_, [T]> {}

impl<T: Encode + Nullable> Encode for Option<T> {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Some(value) => value.encode(out),
            None => out.put_i32(NULL),
        }
    }
}

impl<'a, T: Decode<'a> + Nullable> Decode<'a> for Option<T> {
    const MIN_LEN: usize = 4;

    fn decode(input: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut ahead = input.clone();
        if i32::decode(&mut ahead)? == NULL {
            *input = ahead;
            return Ok(None);
        }
        T::decode(input).map(Some)
    }
}

impl<T: Encode> Encode for Vec<T> {
    fn encode(&self, out: &mut BytesMut) {
        encode_items(self, out);
    }
}

impl<T: Encode + Clone> Encode for Cow<'_, [T]> {
    fn encode(&self, out: &mut BytesMut) {
        encode_items(self, out);
    }
}

fn encode_items<T: Encode>(items: &[T], out: &mut BytesMut) {
    put_len(out, items.len());
    for item in items {
        item.encode(out);
    }
}

impl<'a, T: Decode<'a>> Decode<'a> for Vec<T> {
    const MIN_LEN: usize = 4;

    fn decode(input: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let count = input.count(T::MIN_LEN)?.ok_or(DecodeError::Null)?;
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(T::decode(input)?);
        }
        Ok(items)
    }
}

impl<'a, T: Decode<'a> + Clone> Decode<'a> for Cow<'a, [T]> {
    const MIN_LEN: usize = 4;

    fn decode(input: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Vec::decode(input).map(Cow::Owned)
    }
}

impl Describe for &[u8] {
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.len())
    }
}

impl Describe for Bytes {
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().describe(f)
    }
}

impl Describe for &str {
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Describe for Ustring {
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_null() { f.write_str("null") } else { fmt::Debug::fmt(self, f) }
    }
}

impl<T: Describe> Describe for Option<T> {
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Some(value) => value.describe(f),
            None => f.write_str("null"),
        }
    }
}

impl<T: Describe> Describe for Vec<T> {
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(Described)).finish()
    }
}

impl<T: Describe + Clone> Describe for Cow<'_, [T]> {
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(Described)).finish()
    }
}

/// Shows a [`Describe`] value through `Debug`.
pub(crate) struct Described<'v, T>(pub(crate) &'v T);

impl<T: Describe> fmt::Debug for Described<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.describe(f)
    }
}

/// A value that `Debug`, errors and logs must not show: a password, a token, a credential.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Wraps `value`.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// Returns the value. Do not log it.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl<T> Describe for Secret<T> {
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl<T: Encode> Encode for Secret<T> {
    fn encode(&self, out: &mut BytesMut) {
        self.0.encode(out);
    }
}

impl<'a, T: Decode<'a>> Decode<'a> for Secret<T> {
    const MIN_LEN: usize = T::MIN_LEN;

    fn decode(input: &mut Reader<'a>) -> Result<Self, DecodeError> {
        T::decode(input).map(Self)
    }
}

/// Defines a record by its fields in wire order, and implements [`Encode`], [`Decode`], [`Describe`] and
/// `Debug` for it.
macro_rules! record {
    (
        $(#[$meta:meta])*
        pub struct $name:ident $(<$life:lifetime>)? {
            $( $(#[$field_meta:meta])* pub $field:ident : $type:ty ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq)]
        pub struct $name $(<$life>)? {
            $( $(#[$field_meta])* pub $field: $type, )*
        }

        impl $(<$life>)? $crate::jute::Encode for $name $(<$life>)? {
            fn encode(&self, out: &mut ::bytes::BytesMut) {
                $( $crate::jute::Encode::encode(&self.$field, out); )*
                let _ = out;
            }
        }

        $crate::jute::record!(@decode $name ($($life)?) { $($field: $type),* });

        impl $(<$life>)? ::core::fmt::Debug for $name $(<$life>)? {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.debug_struct(stringify!($name))
                    $( .field(stringify!($field), &$crate::jute::Described(&self.$field)) )*
                    .finish()
            }
        }

        impl $(<$life>)? $crate::jute::Describe for $name $(<$life>)? {
            fn describe(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                ::core::fmt::Debug::fmt(self, f)
            }
        }
    };
    (@decode $name:ident () { $($field:ident : $type:ty),* }) => {
        impl<'r> $crate::jute::Decode<'r> for $name {
            $crate::jute::record!(@body 'r { $($field: $type),* });
        }
    };
    (@decode $name:ident ($life:lifetime) { $($field:ident : $type:ty),* }) => {
        impl<$life> $crate::jute::Decode<$life> for $name<$life> {
            $crate::jute::record!(@body $life { $($field: $type),* });
        }
    };
    (@body $life:lifetime { $($field:ident : $type:ty),* }) => {
        const MIN_LEN: usize = 0 $( + <$type as $crate::jute::Decode<$life>>::MIN_LEN )*;

        fn decode(
            input: &mut $crate::jute::Reader<$life>,
        ) -> Result<Self, $crate::jute::DecodeError> {
            let _ = &input;
            Ok(Self { $( $field: $crate::jute::Decode::decode(input)?, )* })
        }
    };
}
pub(crate) use record;

#[cfg(test)]
mod tests {
    use super::*;

    fn decode<T: for<'a> Decode<'a>>(bytes: &[u8]) -> Result<T, DecodeError> {
        T::decode_all(&Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn a_count_beyond_the_frame_is_refused_before_an_allocation() {
        assert_eq!(
            decode::<Vec<i64>>(&[0x7f, 0xff, 0xff, 0xff, 0, 0]),
            Err(DecodeError::BadLength { length: i32::MAX, left: 2 })
        );
        assert_eq!(
            decode::<Vec<i64>>(&[0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]),
            Err(DecodeError::BadLength { length: 2, left: 8 })
        );
    }

    #[test]
    fn null_and_empty_differ() {
        assert_eq!(decode::<Option<Bytes>>(&[0xff; 4]), Ok(None));
        assert_eq!(decode::<Option<Bytes>>(&[0; 4]), Ok(Some(Bytes::new())));
        assert_eq!(decode::<Bytes>(&[0xff; 4]), Err(DecodeError::Null));
        assert_eq!(
            decode::<Bytes>(&[0xff, 0xff, 0xff, 0xfe]),
            Err(DecodeError::BadLength { length: -2, left: 0 })
        );
    }

    #[test]
    fn strings_of_requests_are_strict() {
        let bytes = Bytes::from_static(&[0, 0, 0, 1, 0xff]);
        assert_eq!(<&str>::decode_all(&bytes), Err(DecodeError::NotUtf8));
    }

    #[test]
    fn buffers_share_the_frame() {
        let frame = Bytes::from_static(&[0, 0, 0, 2, 7, 8]);
        let value = Bytes::decode_all(&frame).unwrap();
        assert_eq!(value.as_ptr(), frame[4..].as_ptr());
    }

    #[test]
    fn debug_shows_no_content() {
        assert_eq!(format!("{:?}", Described(&Bytes::from_static(b"canary"))), "<6 bytes>");
        assert_eq!(format!("{:?}", Secret::new("canary")), "<secret>");
    }
}
