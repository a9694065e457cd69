//! Access control lists (ACLs): who may do what with a znode.
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
/// Unknown bits are kept. `Display` writes the letters that ZooKeeper's own tools use: `cdrwa`.
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
    /// No permission.
    pub const NONE: Self = Self(0);
    /// Read the data and list the children.
    pub const READ: Self = Self(1);
    /// Set the data.
    pub const WRITE: Self = Self(2);
    /// Create children.
    pub const CREATE: Self = Self(4);
    /// Delete children.
    pub const DELETE: Self = Self(8);
    /// Set the ACL.
    pub const ADMIN: Self = Self(16);
    /// All five permissions.
    pub const ALL: Self = Self(31);

    /// Creates a set from its bits on the wire.
    #[must_use]
    pub const fn from_bits(bits: i32) -> Self {
        Self(bits)
    }

    /// Returns the bits on the wire.
    #[must_use]
    pub const fn bits(self) -> i32 {
        self.0
    }

    /// Returns true if all permissions in `other` are in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns true if any permission in `other` is in this set.
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

/// Returns the named permissions that are not in this set.
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
    /// How the identity is authenticated: `world`, `auth`, `digest`, `ip`, `x509`, `sasl`, or a scheme of a
    /// server plugin.
    pub scheme: Ustring,
    /// The identity, in a form that depends on the scheme: `anyone`, empty, `user:base64(sha1(user:password))`,
    /// an address, a distinguished name, a principal.
    pub id: Ustring,
}

impl Id {
    /// Everyone (`ZooDefs.Ids.ANYONE_ID_UNSAFE`).
    #[must_use]
    pub const fn anyone() -> Self {
        Self { scheme: Ustring::from_static("world"), id: Ustring::from_static("anyone") }
    }

    /// All authenticated identities of the session (`ZooDefs.Ids.AUTH_IDS`).
    ///
    /// This is for ACLs in requests. The server replaces it by those identities.
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

/// Shows the part of an id that is not secret.
struct PublicId<'a>(&'a Id);

impl Describe for PublicId<'_> {
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Id { scheme, id } = self.0;
        match (scheme.as_str(), id.split_once(':')) {
            // The ids of these schemes are not secret, and an address may contain a colon.
            ("world" | "ip" | "sasl" | "x509", _) | (_, None) => fmt::Debug::fmt(id, f),
            (_, Some((user, _))) => write!(f, "\"{}:<secret>\"", user.escape_debug()),
        }
    }
}

record! {
    /// One entry of an ACL: the permissions of one identity (`org.apache.zookeeper.data.ACL`).
    ///
    /// The ACL of a znode applies to that znode only, not to its children.
    ///
    /// ```
    /// use zk_proto::{Acl, Perms};
    ///
    /// let acl = [Acl::new(Perms::READ, "ip", "10.0.0.0/8"), Acl::creator_all()];
    /// # assert_eq!(acl[1].id.scheme, "auth");
    /// ```
    #[derive(PartialOrd, Ord, Hash)]
    pub struct Acl {
        /// The permissions.
        pub perms: Perms,
        /// The identity.
        pub id: Id,
    }
}

impl Acl {
    /// Grants `perms` to the identity `id` of `scheme`.
    #[must_use]
    pub fn new(perms: Perms, scheme: impl Into<Ustring>, id: impl Into<Ustring>) -> Self {
        Self { perms, id: Id { scheme: scheme.into(), id: id.into() } }
    }

    /// Grants all permissions to everyone.
    #[must_use]
    pub const fn open_unsafe() -> Self {
        Self { perms: Perms::ALL, id: Id::anyone() }
    }

    /// Grants all permissions to the session's own identities.
    ///
    /// The server refuses it with [`InvalidAcl`] if the session has none.
    ///
    /// [`InvalidAcl`]: crate::ErrorCode::InvalidAcl
    #[must_use]
    pub const fn creator_all() -> Self {
        Self { perms: Perms::ALL, id: Id::authenticated() }
    }

    /// Grants everyone permission to read.
    #[must_use]
    pub const fn read_unsafe() -> Self {
        Self { perms: Perms::READ, id: Id::anyone() }
    }
}

/// The ACL with [`Acl::open_unsafe`] (`ZooDefs.Ids.OPEN_ACL_UNSAFE`).
pub static OPEN_ACL_UNSAFE: [Acl; 1] = [Acl::open_unsafe()];

/// The ACL with [`Acl::creator_all`] (`ZooDefs.Ids.CREATOR_ALL_ACL`).
pub static CREATOR_ALL_ACL: [Acl; 1] = [Acl::creator_all()];

/// The ACL with [`Acl::read_unsafe`] (`ZooDefs.Ids.READ_ACL_UNSAFE`).
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
    fn permissions_display_as_letters() {
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
