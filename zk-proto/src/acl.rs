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

use alloc::boxed::Box;
use core::{
    fmt,
    net::IpAddr,
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
/// `Display` writes `scheme:id`. `Debug` and `Display` hide what may be a password or its hash: `digest` ids show as
/// `user:<secret>`.
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

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, id } = self;
        match self.user_of_secret() {
            None => write!(f, "{scheme}:{id}"),
            Some(user) => write!(f, "{scheme}:{user}:<secret>"),
        }
    }
}

impl Id {
    /// The part of the id before the secret; `None` if nothing of it is secret.
    fn user_of_secret(&self) -> Option<&str> {
        match self.scheme.as_str() {
            // The ids of these schemes are not secret, and an address may contain a colon.
            "world" | "ip" | "sasl" | "x509" => None,
            _ => self.id.split_once(':').map(|(user, _)| user),
        }
    }
}

/// Shows the part of an id that is not secret.
struct PublicId<'a>(&'a Id);

impl Describe for PublicId<'_> {
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.user_of_secret() {
            None => fmt::Debug::fmt(&self.0.id, f),
            Some(user) => write!(f, "\"{}:<secret>\"", user.escape_debug()),
        }
    }
}

record! {
    /// One entry of an ACL: the permissions of one identity (`org.apache.zookeeper.data.ACL`).
    ///
    /// The ACL of a znode applies to that znode only, not to its children. There is a constructor for each scheme of
    /// ZooKeeper; [`new`](Self::new) is for schemes of server plugins. `zk_client::digest_acl` makes an entry from a
    /// user and a password.
    ///
    /// `Display` writes `scheme:id:permissions`, as ZooKeeper's command line does, without the hash of a password.
    ///
    /// ```
    /// use zk_proto::{Acl, AclError, Perms};
    ///
    /// # fn main() -> Result<(), AclError> {
    /// let acl = [
    ///     Acl::ip("10.0.0.0/8", Perms::READ)?,
    ///     Acl::x509("CN=billing,O=Example", Perms::READ | Perms::WRITE)?,
    ///     Acl::sasl("ann@EXAMPLE.COM", Perms::ALL)?,
    ///     Acl::auth(Perms::ALL),
    ///     Acl::world(Perms::READ),
    /// ];
    /// assert_eq!(acl[0].to_string(), "ip:10.0.0.0/8:r");
    /// # Ok(())
    /// # }
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
    /// Grants `perms` to the identity `id` of `scheme`, without checking either.
    #[doc(alias = "make_acl")]
    #[must_use]
    pub fn new(perms: Perms, scheme: impl Into<Ustring>, id: impl Into<Ustring>) -> Self {
        Self { perms, id: Id { scheme: scheme.into(), id: id.into() } }
    }

    /// Grants `perms` to everyone (scheme `world`).
    #[must_use]
    pub const fn world(perms: Perms) -> Self {
        Self { perms, id: Id::anyone() }
    }

    /// Grants `perms` to the session's own authenticated identities (scheme `auth`).
    ///
    /// The server replaces this entry by one for each of them. It refuses the ACL with [`InvalidAcl`] if the session
    /// has none. The address of the client is not such an identity.
    ///
    /// [`InvalidAcl`]: crate::ErrorCode::InvalidAcl
    #[must_use]
    pub const fn auth(perms: Perms) -> Self {
        Self { perms, id: Id::authenticated() }
    }

    /// Grants `perms` to clients with an address (`"10.1.2.3"`) or of a network (`"10.0.0.0/8"`), by the scheme `ip`.
    ///
    /// ZooKeeper 3.9.5 knows IPv4 and IPv6. ZooKeeper 3.8 knows IPv4 only, and refuses others with [`InvalidAcl`].
    /// The address is the one that the server sees, which may be that of a proxy.
    ///
    /// [`InvalidAcl`]: crate::ErrorCode::InvalidAcl
    ///
    /// # Errors
    /// If `network` is not an address, or the number of bits is larger than that of the address
    /// (`IPAuthenticationProvider.isValid`).
    pub fn ip(network: impl Into<Ustring>, perms: Perms) -> Result<Self, AclError> {
        let network = network.into();
        if is_network(&network) {
            Ok(Self::new(perms, "ip", network))
        } else {
            Err(AclError::BadNetwork { network: (*network).into() })
        }
    }

    /// Grants `perms` to clients whose TLS certificate has this subject (scheme `x509`).
    ///
    /// The server compares the text with the subject as RFC 2253 writes it, such as `"CN=billing,O=Example"`: no space
    /// follows a comma. `whoAmI` shows the text to use.
    ///
    /// # Errors
    /// If `subject` is not a distinguished name: it does not begin with an attribute such as `CN=`. The server checks
    /// the rest (`X509AuthenticationProvider.isValid`).
    pub fn x509(subject: impl Into<Ustring>, perms: Perms) -> Result<Self, AclError> {
        let subject = subject.into();
        let is_attribute = |name: &str| {
            let name = name.trim();
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c))
        };
        if subject.split_once('=').is_some_and(|(attribute, _)| is_attribute(attribute)) {
            Ok(Self::new(perms, "x509", subject))
        } else {
            Err(AclError::BadSubject { subject: (*subject).into() })
        }
    }

    /// Grants `perms` to clients that have logged in by SASL as `principal` (scheme `sasl`): a user of DIGEST-MD5, or
    /// a Kerberos principal.
    ///
    /// A server may map Kerberos principals to shorter names (`zookeeper.kerberos.removeRealmFromPrincipal` and the
    /// like). `whoAmI` shows the name to use.
    ///
    /// # Errors
    /// If `principal` is empty, or has an `@` and is not of the form `name@REALM` or `name/host@REALM`
    /// (`SASLAuthenticationProvider.isValid`).
    pub fn sasl(principal: impl Into<Ustring>, perms: Perms) -> Result<Self, AclError> {
        let principal = principal.into();
        let is_valid = match principal.split_once('@') {
            None => !principal.is_empty(),
            Some((name, realm)) => name.matches('/').count() <= 1 && !realm.contains(['/', '@']),
        };
        if is_valid {
            Ok(Self::new(perms, "sasl", principal))
        } else {
            Err(AclError::BadPrincipal { principal: (*principal).into() })
        }
    }

    /// Grants `perms` to clients with a password whose hash is in `id` (scheme `digest`): `user:base64(hash)`.
    ///
    /// `zk_client::digest_acl` hashes the password.
    ///
    /// # Errors
    /// If `id` is not of this form (`DigestAuthenticationProvider.isValid`), or has no hash but what may be the
    /// password itself: servers would store it in the clear, and let nobody in. The error does not repeat `id`.
    pub fn digest_id(id: impl Into<Ustring>, perms: Perms) -> Result<Self, AclError> {
        let id = id.into();
        let parts =
            id.split_once(':').filter(|(user, hash)| !user.is_empty() && !hash.contains(':'));
        match parts {
            None => Err(AclError::BadDigest),
            Some((_, hash)) if !may_be_hash(hash) => Err(AclError::NotHashed),
            Some(_) => Ok(Self::new(perms, "digest", id)),
        }
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

impl fmt::Display for Acl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.id, self.perms)
    }
}

/// Whether this is an address, or an address and a number of bits.
fn is_network(text: &str) -> bool {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let most = if address.is_ipv4() { 32 } else { 128 };
    // Servers do not accept an IPv6 address that contains an IPv4 one.
    if text.contains('.') && text.contains(':') {
        return false;
    }
    bits.is_none_or(|bits| {
        bits.bytes().all(|byte| byte.is_ascii_digit())
            && bits.parse::<u8>().is_ok_and(|bits| bits <= most)
    })
}

/// Whether this can be a hash of 16 bytes or more in base64.
fn may_be_hash(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    text.len() >= 24
        && text.len().is_multiple_of(4)
        && text.len().saturating_sub(digits.len()) <= 2
        && digits.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte))
}

/// Why an entry of an ACL is not valid.
///
/// ```
/// use zk_proto::{Acl, Perms};
///
/// let error = Acl::ip("10.0.0.0/33", Perms::READ).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     r#""10.0.0.0/33" is not an IP address or a network, such as 10.0.0.0/8"#
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AclError {
    /// The id of the scheme `ip` is not an address or a network.
    #[error("{network:?} is not an IP address or a network, such as 10.0.0.0/8")]
    BadNetwork {
        /// The id as given.
        network: Box<str>,
    },
    /// The id of the scheme `x509` is not a distinguished name.
    #[error("{subject:?} is not the subject of a certificate, such as CN=billing,O=Example")]
    BadSubject {
        /// The id as given.
        subject: Box<str>,
    },
    /// The id of the scheme `sasl` is not a name or a Kerberos principal.
    #[error("{principal:?} is not a user or a Kerberos principal, such as name/host@REALM")]
    BadPrincipal {
        /// The id as given.
        principal: Box<str>,
    },
    /// The id of the scheme `digest` does not have one colon, behind a user.
    #[error("the id of a digest ACL is not of the form user:base64(hash)")]
    BadDigest,
    /// The id of the scheme `digest` has no hash behind the colon.
    #[error(
        "the id of a digest ACL has no hash behind its colon; if it is a password, use `digest_acl`, \
         which hashes it"
    )]
    NotHashed,
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
    fn display_is_that_of_the_command_line_and_hides_digests() {
        let cases = [
            (Acl::new(Perms::ALL, "digest", "ann:canary="), "digest:ann:<secret>:cdrwa"),
            (Acl::new(Perms::READ, "house", "ann:canary"), "house:ann:<secret>:r"),
            (Acl::ip("2001:db8::/32", Perms::READ).unwrap(), "ip:2001:db8::/32:r"),
            (Acl::world(Perms::READ | Perms::WRITE), "world:anyone:rw"),
            (Acl::auth(Perms::NONE), "auth::"),
        ];
        for (acl, text) in cases {
            assert_eq!(acl.to_string(), text);
        }
    }

    #[test]
    fn the_id_of_each_scheme_is_checked() {
        let ip = |id: &'static str| Acl::ip(id, Perms::READ).is_ok();
        for id in ["127.0.0.1", "127.0.0.1/0", "10.0.0.0/32", "::1", "2001:db8::/128"] {
            assert!(ip(id), "{id}");
        }
        for id in [
            "",
            "host",
            "1.2.3",
            "1.2.3.256",
            "1.2.3.4/33",
            "1.2.3.4/",
            "1.2.3.4/+8",
            "::/129",
            "::ffff:1.2.3.4",
        ] {
            assert!(!ip(id), "{id}");
        }
        let x509 = |id: &'static str| Acl::x509(id, Perms::READ).is_ok();
        assert!(x509("CN=ann") && x509("2.5.4.3=ann,O=Example\\, Inc.") && x509("CN=a=b"));
        assert!(!x509("") && !x509("ann") && !x509("=ann") && !x509("O,CN=ann"));
        let sasl = |id: &'static str| Acl::sasl(id, Perms::READ).is_ok();
        assert!(sasl("ann") && sasl("ann@REALM") && sasl("zk/host@REALM") && sasl("a/b/c"));
        assert!(!sasl("") && !sasl("a/b/c@REALM") && !sasl("ann@REALM@REALM") && !sasl("ann@a/b"));
    }

    #[test]
    fn a_digest_that_is_not_hashed_is_refused_and_not_repeated() {
        let digest = |id: &'static str| Acl::digest_id(id, Perms::READ);
        assert!(digest("super:D/InIHSb7yEEbrWz8b9l71RjZJU=").is_ok());
        // SHA-256: `zookeeper.DigestAuthenticationProvider.digestAlg`.
        assert!(digest("ann:n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=").is_ok());
        let errors = [
            ("ann", AclError::BadDigest),
            (":D/InIHSb7yEEbrWz8b9l71RjZJU=", AclError::BadDigest),
            ("ann:D/InIHSb7yEEbrWz8b9l71RjZJU=:x", AclError::BadDigest),
            ("ann:canary", AclError::NotHashed),
            ("ann:canary, which is long enough", AclError::NotHashed),
        ];
        for (id, expected) in errors {
            let error = digest(id).unwrap_err();
            assert_eq!(error, expected, "{id}");
            assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
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
