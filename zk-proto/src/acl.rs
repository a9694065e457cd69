//! Who may do what with a node.
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

use core::{
    fmt,
    ops::{BitAnd, BitOr, BitOrAssign, Not},
};

use bytes::BytesMut;

use crate::{
    Ustring,
    jute::{Decode, DecodeError, Describe, Described, Encode, Reader, record},
};

/// A set of permissions (`org.apache.zookeeper.ZooDefs.Perms`).
///
/// Bits without a name are kept. `Display` gives the letters that ZooKeeper's own tools use: `cdrwa`.
///
/// ```
/// use zk_proto::Perms;
///
/// let perms = Perms::READ | Perms::WRITE;
/// assert!(perms.contains(Perms::READ));
/// assert!(!perms.contains(Perms::READ | Perms::ADMIN));
/// assert_eq!(perms.to_string(), "rw");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Perms(i32);

impl Perms {
    /// None.
    pub const NONE: Self = Self(0);
    /// To read the data and the names of children.
    pub const READ: Self = Self(1);
    /// To set the data.
    pub const WRITE: Self = Self(2);
    /// To make children.
    pub const CREATE: Self = Self(4);
    /// To delete children.
    pub const DELETE: Self = Self(8);
    /// To set the access list.
    pub const ADMIN: Self = Self(16);
    /// All five.
    pub const ALL: Self = Self(31);

    /// The set with these bits.
    #[must_use]
    pub const fn from_bits(bits: i32) -> Self {
        Self(bits)
    }

    /// The bits as they stand on the wire.
    #[must_use]
    pub const fn bits(self) -> i32 {
        self.0
    }

    /// Whether all of `other` is in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is in this set.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Perms {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Perms {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl BitAnd for Perms {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// All permissions with a name that are not in the set.
impl Not for Perms {
    type Output = Self;

    fn not(self) -> Self {
        Self(!self.0) & Self::ALL
    }
}

impl From<i32> for Perms {
    fn from(bits: i32) -> Self {
        Self(bits)
    }
}

impl From<Perms> for i32 {
    fn from(perms: Perms) -> Self {
        perms.0
    }
}

impl fmt::Display for Perms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = [
            (Self::CREATE, "c"),
            (Self::DELETE, "d"),
            (Self::READ, "r"),
            (Self::WRITE, "w"),
            (Self::ADMIN, "a"),
        ];
        for (_, letter) in letters.iter().filter(|(perm, _)| self.contains(*perm)) {
            f.write_str(letter)?;
        }
        match self.0 & !Self::ALL.0 {
            0 => Ok(()),
            nameless => write!(f, "+{nameless:#x}"),
        }
    }
}

impl fmt::Debug for Perms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Perms({self})")
    }
}

impl Describe for Perms {
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Encode for Perms {
    fn encode(&self, out: &mut BytesMut) {
        self.0.encode(out);
    }
}

impl<'a> Decode<'a> for Perms {
    const MIN_LEN: usize = <i32 as Decode>::MIN_LEN;

    fn decode(input: &mut Reader<'a>) -> Result<Self, DecodeError> {
        i32::decode(input).map(Self)
    }
}

/// An identity (`org.apache.zookeeper.data.Id`).
///
/// `Debug` hides what may be a password or its hash: `digest` ids show as `user:<secret>`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// How the identity is proven: `world`, `auth`, `digest`, `ip`, `x509`, `sasl`, or a scheme that
    /// the server has been extended by.
    pub scheme: Ustring,
    /// Who it is, in a form that depends on the scheme: `anyone`, empty, `user:base64(sha1(user:password))`,
    /// an address, a distinguished name, a principal.
    pub id: Ustring,
}

impl Id {
    /// Everyone (`ZooDefs.Ids.ANYONE_ID_UNSAFE`).
    #[must_use]
    pub const fn anyone() -> Self {
        Self { scheme: Ustring::from_static("world"), id: Ustring::from_static("anyone") }
    }

    /// In an access list that is sent: all identities that the session has proven
    /// (`ZooDefs.Ids.AUTH_IDS`). The server stores those in its place.
    #[must_use]
    pub const fn authenticated() -> Self {
        Self { scheme: Ustring::from_static("auth"), id: Ustring::new() }
    }
}

impl Encode for Id {
    fn encode(&self, out: &mut BytesMut) {
        self.scheme.encode(out);
        self.id.encode(out);
    }
}

impl<'a> Decode<'a> for Id {
    const MIN_LEN: usize = 8;

    fn decode(input: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { scheme: Ustring::decode(input)?, id: Ustring::decode(input)? })
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Id")
            .field("scheme", &self.scheme)
            .field("id", &Described(&PublicId(self)))
            .finish()
    }
}

impl Describe for Id {
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The part of an id that may be shown.
struct PublicId<'a>(&'a Id);

impl Describe for PublicId<'_> {
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Id { scheme, id } = self.0;
        match (scheme.as_str(), id.split_once(':')) {
            // Their ids hold no secret, and an address may hold a colon.
            ("world" | "ip" | "sasl" | "x509", _) | (_, None) => fmt::Debug::fmt(id, f),
            (_, Some((user, _))) => write!(f, "\"{}:<secret>\"", user.escape_debug()),
        }
    }
}

record! {
    /// What one identity may do (`org.apache.zookeeper.data.ACL`).
    ///
    /// An access list is a list of these; it holds for its node alone, not for the nodes below.
    ///
    /// ```
    /// use zk_proto::{Acl, Perms};
    ///
    /// let acl = [Acl::new(Perms::READ, "ip", "10.0.0.0/8"), Acl::creator_all()];
    /// # assert_eq!(acl[1].id.scheme, "auth");
    /// ```
    #[derive(PartialOrd, Ord, Hash)]
    pub struct Acl {
        /// What it may do.
        pub perms: Perms,
        /// Who.
        pub id: Id,
    }
}

impl Acl {
    /// Lets the identity `id` of `scheme` do `perms`.
    #[must_use]
    pub fn new(perms: Perms, scheme: impl Into<Ustring>, id: impl Into<Ustring>) -> Self {
        Self { perms, id: Id { scheme: scheme.into(), id: id.into() } }
    }

    /// Lets everyone do everything.
    #[must_use]
    pub const fn open_unsafe() -> Self {
        Self { perms: Perms::ALL, id: Id::anyone() }
    }

    /// Lets the session's own identities do everything; refused as [`InvalidAcl`] when it has none.
    ///
    /// [`InvalidAcl`]: crate::ErrorCode::InvalidAcl
    #[must_use]
    pub const fn creator_all() -> Self {
        Self { perms: Perms::ALL, id: Id::authenticated() }
    }

    /// Lets everyone read.
    #[must_use]
    pub const fn read_unsafe() -> Self {
        Self { perms: Perms::READ, id: Id::anyone() }
    }
}

/// The access list with [`Acl::open_unsafe`] (`ZooDefs.Ids.OPEN_ACL_UNSAFE`).
pub static OPEN_ACL_UNSAFE: [Acl; 1] = [Acl::open_unsafe()];

/// The access list with [`Acl::creator_all`] (`ZooDefs.Ids.CREATOR_ALL_ACL`).
pub static CREATOR_ALL_ACL: [Acl; 1] = [Acl::creator_all()];

/// The access list with [`Acl::read_unsafe`] (`ZooDefs.Ids.READ_ACL_UNSAFE`).
pub static READ_ACL_UNSAFE: [Acl; 1] = [Acl::read_unsafe()];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_digests_and_nothing_else() {
        let cases = [
            ("digest", "ann:canary=", r#""ann:<secret>""#),
            ("auth", "ann:canary", r#""ann:<secret>""#),
            ("house", "a\"b:canary", r#""a\"b:<secret>""#),
            ("ip", "2001:db8::/32", r#""2001:db8::/32""#),
            ("world", "anyone", r#""anyone""#),
            ("sasl", "ann/host@REALM", r#""ann/host@REALM""#),
        ];
        for (scheme, id, shown) in cases {
            let acl = Acl::new(Perms::ALL, scheme, id);
            let debug = format!("{acl:?} {acl:#?}");
            assert!(debug.contains(shown), "{debug}");
            assert!(!debug.contains("canary"), "{debug}");
        }
    }

    #[test]
    fn permissions_show_as_letters() {
        let cases = [
            (Perms::ALL, "cdrwa"),
            (Perms::NONE, ""),
            (Perms::READ | Perms::ADMIN, "ra"),
            (Perms::from_bits(0x41), "r+0x40"),
            (!Perms::READ, "cdwa"),
        ];
        for (perms, text) in cases {
            assert_eq!(perms.to_string(), text);
        }
    }
}
