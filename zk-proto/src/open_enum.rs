//! Enums that keep codes which this version does not know.

/// Defines an enum over `i32` codes with a variant `Unknown` for all other codes.
///
/// Each line gives a variant, its code and its text. The macro implements [`Encode`], [`Decode`],
/// [`Describe`], `Display` and the conversions.
///
/// [`Encode`]: crate::jute::Encode
/// [`Decode`]: crate::jute::Decode
/// [`Describe`]: crate::jute::Describe
macro_rules! open_enum {
    (
        $(#[$meta:meta])*
        pub enum $name:ident, else $else:literal {
            $( $(#[$variant_meta:meta])* $variant:ident = $code:literal, $text:literal; )*
        }
    ) => {
        $(#[$meta])*
        ///
        /// The wire format is an int. Use `from` to convert a code: it returns `Unknown` only for codes
        /// without a named variant, so that equal codes are equal values.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $( $(#[$variant_meta])* $variant, )*
            /// A code that this version does not know.
            Unknown(i32),
        }

        impl $name {
            /// All named variants.
            pub const ALL: &[Self] = &[$( Self::$variant, )*];

            /// Returns the value with this code.
            #[must_use]
            pub const fn from_code(code: i32) -> Self {
                match code {
                    $( $code => Self::$variant, )*
                    code => Self::Unknown(code),
                }
            }

            /// Returns the code on the wire.
            #[must_use]
            pub const fn code(self) -> i32 {
                match self {
                    $( Self::$variant => $code, )*
                    Self::Unknown(code) => code,
                }
            }
        }

        impl From<i32> for $name {
            fn from(code: i32) -> Self {
                Self::from_code(code)
            }
        }

        impl From<$name> for i32 {
            fn from(value: $name) -> Self {
                value.code()
            }
        }

        impl ::core::fmt::Display for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                match self {
                    $( Self::$variant => f.pad($text), )*
                    Self::Unknown(code) => f.pad(&::alloc::format!(concat!($else, " {}"), code)),
                }
            }
        }

        impl $crate::jute::Encode for $name {
            fn encode(&self, out: &mut ::bytes::BytesMut) {
                $crate::jute::Encode::encode(&self.code(), out);
            }
        }

        impl<'r> $crate::jute::Decode<'r> for $name {
            const MIN_LEN: usize = <i32 as $crate::jute::Decode<'r>>::MIN_LEN;

            fn decode(
                input: &mut $crate::jute::Reader<'r>,
            ) -> Result<Self, $crate::jute::DecodeError> {
                <i32 as $crate::jute::Decode<'r>>::decode(input).map(Self::from_code)
            }
        }

        impl $crate::jute::Describe for $name {
            fn describe(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                ::core::fmt::Display::fmt(self, f)
            }
        }
    };
}
pub(crate) use open_enum;
