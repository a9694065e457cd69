//! [`AsData`]: types that can be written as a node's data.

use bytes::Bytes;

/// Types that can be written as a node's data: bytes, text, or nothing.
///
/// ZooKeeper distinguishes null from empty: `None::<&[u8]>` and `()` are null, `b""` is empty.
pub trait AsData {
    /// The bytes to write; `None` for null.
    fn as_data(&self) -> Option<&[u8]>;
}

macro_rules! as_data {
    ($($type:ty),+) => {
        $( impl AsData for $type {
            fn as_data(&self) -> Option<&[u8]> {
                Some(self.as_ref())
            }
        } )+
    };
}

as_data!([u8], str, String, Vec<u8>, Bytes);

impl<const N: usize> AsData for [u8; N] {
    fn as_data(&self) -> Option<&[u8]> {
        Some(self)
    }
}

impl AsData for () {
    fn as_data(&self) -> Option<&[u8]> {
        None
    }
}

impl<T: AsData> AsData for Option<T> {
    fn as_data(&self) -> Option<&[u8]> {
        self.as_ref().and_then(AsData::as_data)
    }
}

impl<T: AsData + ?Sized> AsData for &T {
    fn as_data(&self) -> Option<&[u8]> {
        (**self).as_data()
    }
}
