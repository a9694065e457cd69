//! Sets of codes that a newer peer may add to.

/// Defines an enum over `i32` codes that keeps the codes it has no name for.
///
/// From each line follow the variant, its code and its text; from the whole [`Encode`], [`Decode`],
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
        /// On the wire it is an int. Equality is that of variants: make a value of a code with
        /// `from`, which gives `Unknown` for nothing that has a name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $( $(#[$variant_meta])* $variant, )*
            /// A code that this version has no name for.
            Unknown(i32),
        }

        impl $name {
            /// All that have a name.
            pub const ALL: &[Self] = &[$( Self::$variant, )*];

            /// The value with this code.
            #[must_use]
            pub const fn from_code(code: i32) -> Self {
                match code {
                    $( $code => Self::$variant, )*
                    code => Self::Unknown(code),
                }
            }

            /// The code as it stands on the wire.
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
