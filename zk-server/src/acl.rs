//! Authentication and ACLs: the schemes `world`, `auth`, `digest`, `ip`, `x509` and `sasl`, and the super user.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha1::{Digest as _, Sha1};
use zk_proto::{Acl, ErrorCode, Id, Perms, Ustring, records::ClientInfo};

use crate::{
    config::{Schemes, Version},
    x500,
};

const WORLD: &str = "world";
const AUTH: &str = "auth";
const DIGEST: &str = "digest";
const IP: &str = "ip";
const SUPER: &str = "super";
const X509: &str = "x509";
pub(crate) const SASL: &str = "sasl";

/// The identities of a connection, without duplicates, in the order of authentication.
#[derive(Debug, Clone)]
pub(crate) struct Identities {
    ids: Vec<Id>,
    schemes: Schemes,
}

impl Identities {
    /// The identities of a new connection: the address of the client.
    pub(crate) fn of(address: IpAddr, schemes: Schemes) -> Self {
        Self { ids: vec![id(IP, host_address(address))], schemes }
    }

    /// No identities, for the transactions of the server itself, which check no ACL.
    pub(crate) const fn none(schemes: Schemes) -> Self {
        Self { ids: Vec::new(), schemes }
    }

    /// Adds the owner of the client's certificate, in the form of RFC 2253, and the super user if that is who it is
    /// (`X509AuthenticationProvider`).
    pub(crate) fn add_certificate(&mut self, owner: String, is_super: bool) {
        self.add_proved(X509, owner, is_super);
    }

    fn add_proved(&mut self, scheme: &'static str, name: String, is_super: bool) {
        self.add(id(scheme, name));
        if is_super {
            self.add(id(SUPER, String::new()));
        }
    }

    /// Adds the name that the client has proved with SASL, and the super user if it is his.
    #[cfg(feature = "sasl-digest-md5")]
    pub(crate) fn add_sasl(&mut self, name: String, is_super: bool) {
        self.add_proved(SASL, name, is_super);
    }

    /// Whether the client has authenticated with one of `schemes`, or need not
    /// (`AuthenticationHelper.enforceAuthentication`).
    pub(crate) fn satisfy(&self, schemes: &[String]) -> bool {
        schemes.is_empty() || self.ids.iter().any(|id| schemes.iter().any(|it| id.scheme == **it))
    }

    /// Authenticates the connection by a credential (`handleAuthentication`).
    pub(crate) fn authenticate(
        &mut self,
        scheme: &str,
        credential: Option<&[u8]>,
        super_digest: Option<&str>,
    ) -> Result<(), ErrorCode> {
        match (scheme, credential) {
            // The connection has these identities from the start.
            (IP, _) => Ok(()),
            (X509, _) if self.ids.iter().any(|id| id.scheme == X509) => Ok(()),
            (DIGEST, Some(credential)) => {
                let digest = digest(&String::from_utf8_lossy(credential));
                if super_digest == Some(digest.as_str()) {
                    self.add(id(SUPER, String::new()));
                }
                self.add(id(DIGEST, digest));
                Ok(())
            }
            _ => Err(ErrorCode::AuthFailed),
        }
    }

    fn add(&mut self, id: Id) {
        if !self.ids.contains(&id) {
            self.ids.push(id);
        }
    }

    /// The reply to whoAmI.
    pub(crate) fn client_info(&self) -> Vec<ClientInfo> {
        self.ids
            .iter()
            .map(|id| ClientInfo {
                auth_scheme: id.scheme.clone(),
                user: Ustring::from(user(id)).through_java(),
            })
            .collect()
    }

    /// Checks that `acl` grants any of `perms` to one of these identities (`ZooKeeperServer.checkACL`).
    pub(crate) fn check(&self, acl: &[Acl], perms: Perms) -> Result<(), ErrorCode> {
        let allowed = acl.is_empty()
            || self.ids.iter().any(|id| id.scheme == SUPER)
            || acl.iter().any(|entry| entry.perms.intersects(perms) && self.matches(&entry.id));
        if allowed { Ok(()) } else { Err(ErrorCode::NoAuth) }
    }

    fn matches(&self, wanted: &Id) -> bool {
        let own = || self.ids.iter().filter(|id| id.scheme == wanted.scheme);
        match wanted.scheme.as_str() {
            WORLD => wanted.id == "anyone",
            DIGEST => own().any(|id| id.id == wanted.id),
            X509 if self.schemes.x509 => own().any(|id| id.id == wanted.id),
            SASL if self.schemes.sasl => own().any(|id| id.id == wanted.id),
            IP => Network::parse(&wanted.id, self.schemes.version)
                .is_some_and(|network| own().any(|id| network.contains(&id.id))),
            _ => false,
        }
    }

    /// The ACL that a znode gets for the one in a request (`PrepRequestProcessor.fixupACL`).
    pub(crate) fn fix_acl(&self, acl: Option<&[Acl]>) -> Result<Vec<Acl>, ErrorCode> {
        let acl = acl.filter(|acl| !acl.is_empty()).ok_or(ErrorCode::InvalidAcl)?;
        let mut fixed: Vec<Acl> = Vec::with_capacity(acl.len());
        for entry in without_duplicates(acl)? {
            if entry.id.scheme.is_null() {
                return Err(ErrorCode::InvalidAcl);
            }
            match entry.id.scheme.as_str() {
                scheme if entry.id.id.is_null() && self.schemes.know(scheme) => {
                    return Err(ErrorCode::MarshallingError);
                }
                AUTH => {
                    let before = fixed.len();
                    let own = self.ids.iter().filter(|id| id.scheme != IP && id.scheme != SUPER);
                    fixed.extend(own.map(|id| Acl { perms: entry.perms, id: id.clone() }));
                    if fixed.len() == before {
                        return Err(ErrorCode::InvalidAcl);
                    }
                }
                _ if self.schemes.accept(&entry.id) => {
                    fixed.push(Acl { perms: entry.perms, id: owned_id(&entry.id) });
                }
                _ => return Err(ErrorCode::InvalidAcl),
            }
        }
        Ok(fixed)
    }
}

/// The entries of `acl` without duplicates. ZooKeeper fails if it compares a null scheme or id.
fn without_duplicates(acl: &[Acl]) -> Result<Vec<&Acl>, ErrorCode> {
    let mut unique: Vec<&Acl> = Vec::with_capacity(acl.len());
    for entry in acl {
        let mut is_known = false;
        for earlier in unique.iter().filter(|earlier| earlier.perms == entry.perms) {
            let (id, other) = (&entry.id, &earlier.id);
            if id.scheme.is_null() || id.scheme == other.scheme && id.id.is_null() {
                return Err(ErrorCode::MarshallingError);
            }
            is_known = is_known || id == other;
        }
        if !is_known {
            unique.push(entry);
        }
    }
    Ok(unique)
}

/// The ACL that a client without the permission ADMIN sees: digests are replaced by `x`.
pub(crate) fn masked(acl: &[Acl]) -> Vec<Acl> {
    let mask = |entry: &Acl| match entry.id.id.split_once(':') {
        Some((user, _)) if entry.id.scheme == DIGEST => {
            Acl { perms: entry.perms, id: id(DIGEST, [user, ":x"].concat()) }
        }
        _ => entry.clone(),
    };
    acl.iter().map(mask).collect()
}

/// `user:base64(sha1(user:password))` for `user:password`.
fn digest(credential: &str) -> String {
    let user = credential.split(':').next().unwrap_or_default();
    [user, ":", &STANDARD.encode(Sha1::digest(credential))].concat()
}

fn user(id: &Id) -> &str {
    match id.scheme.as_str() {
        SUPER => "",
        DIGEST => id.id.split(':').next().unwrap_or_default(),
        _ => &id.id,
    }
}

impl Schemes {
    /// Whether the ACL of a znode may have entries of `scheme`.
    fn know(self, scheme: &str) -> bool {
        match scheme {
            WORLD | DIGEST | IP => true,
            X509 => self.x509,
            SASL => self.sasl,
            _ => false,
        }
    }

    /// Whether the ACL of a znode may have an entry for `id`.
    fn accept(self, id: &Id) -> bool {
        self.know(&id.scheme)
            && match id.scheme.as_str() {
                WORLD => id.id == "anyone",
                // Two parts, not counting empty ones at the end.
                DIGEST => id.id.trim_end_matches(':').split(':').count() == 2,
                IP => Network::parse(&id.id, self.version).is_some(),
                X509 => x500::is_name(&id.id),
                SASL => is_kerberos_name(&id.id),
                _ => false,
            }
    }
}

/// Whether `name` may be the name of a principal: `name`, or `service/host@REALM` with or without the host
/// (`KerberosName`).
fn is_kerberos_name(name: &str) -> bool {
    match name.split_once('@') {
        None => true,
        Some((principal, realm)) => {
            !realm.contains(['/', '@']) && principal.matches('/').count() <= 1
        }
    }
}

/// Addresses that begin with the same bits: of IPv4, and since 3.9 of IPv6.
struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    /// Reads `1.2.3.4` or `1.2.3.4/16`, `::1` or `fe80::/10`.
    fn parse(text: &str, version: Version) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().ok()?)),
            None => (text, None),
        };
        let address = parse_address(address)?;
        let length = match address {
            IpAddr::V4(_) => Ipv4Addr::BITS,
            IpAddr::V6(_) if version < Version::V3_9 => return None,
            IpAddr::V6(_) => Ipv6Addr::BITS,
        };
        let bits = bits.unwrap_or(length);
        (bits <= length).then_some(Self { address, bits })
    }

    fn contains(&self, address: &str) -> bool {
        match (self.address, parse_address(address)) {
            (IpAddr::V4(own), Some(IpAddr::V4(address))) => {
                let differs = u32::from(own) ^ u32::from(address);
                differs.leading_zeros() >= self.bits
            }
            (IpAddr::V6(own), Some(IpAddr::V6(address))) => {
                let differs = u128::from(own) ^ u128::from(address);
                differs.leading_zeros() >= self.bits
            }
            _ => false,
        }
    }
}

/// An address as Java prints it: an IPv6 address in eight numbers, without `::`.
fn host_address(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => address.segments().map(|segment| format!("{segment:x}")).join(":"),
    }
}

fn parse_address(text: &str) -> Option<IpAddr> {
    if !text.contains(':') {
        return parse_v4(text).map(Into::into);
    }
    // ZooKeeper does not accept an IPv6 address that contains an IPv4 one.
    text.parse::<Ipv6Addr>().ok().filter(|_| !text.contains('.')).map(Into::into)
}

/// Parses four numbers. Unlike the parser of [`Ipv4Addr`], this accepts leading zeros.
fn parse_v4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = text.split('.').map(|octet| octet.parse().ok());
    let address = [octets.next()??, octets.next()??, octets.next()??, octets.next()??];
    octets.next().is_none().then(|| address.into())
}

fn id(scheme: &'static str, id: String) -> Id {
    Id { scheme: Ustring::from_static(scheme), id: Ustring::from(id).through_java() }
}

/// `id` as ZooKeeper decodes and encodes it, copied out of the packet that it came in.
fn owned_id(id: &Id) -> Id {
    let owned = |text: &Ustring| Ustring::from(text.through_java().as_str()).through_java();
    Id { scheme: owned(&id.scheme), id: owned(&id.id) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn all_schemes(version: Version) -> Schemes {
        Schemes { version, x509: true, sasl: true }
    }

    #[test]
    fn digests_match_zookeeper() {
        assert_eq!(digest("super:test"), "super:D/InIHSb7yEEbrWz8b9l71RjZJU=");
    }

    #[test]
    fn ids_are_validated_as_by_zookeeper() {
        let cases = [
            (DIGEST, "ann:x", true),
            (DIGEST, ":x", true),
            (DIGEST, "ann:x::", true),
            (DIGEST, "ann:", false),
            (DIGEST, "ann", false),
            (DIGEST, "a:b:c", false),
            (IP, "10.0.0.1", true),
            (IP, "10.0.0.0/8", true),
            (IP, "10.0.0.0/33", false),
            (IP, "10.0.0", false),
            (WORLD, "anyone", true),
            (WORLD, "someone", false),
            (SUPER, "", false),
            (X509, "CN=x", true),
            (X509, "", true),
            (X509, "nonsense", false),
            (SASL, "bob", true),
            (SASL, "a/b/c", true),
            (SASL, "", true),
            (SASL, "@", true),
            (SASL, "bob/host@REALM", true),
            (SASL, "a/b/c@R", false),
            (SASL, "a@b@c", false),
        ];
        for (scheme, text, valid) in cases {
            for version in [Version::V3_8, Version::V3_9] {
                let accepts = all_schemes(version).accept(&id(scheme, text.into()));
                assert_eq!(accepts, valid, "{scheme}:{text}");
            }
        }
    }

    #[test]
    fn ipv6_addresses_are_accepted_since_3_9() {
        let cases = [("::1", true), ("fe80::/10", true), ("::/0", true), ("::/129", false)];
        for (text, valid) in cases.into_iter().chain([("1::2::3", false), ("::1.2.3.4", false)]) {
            let accepts = |version| all_schemes(version).accept(&id(IP, text.into()));
            assert!(!accepts(Version::V3_8), "{text}");
            assert_eq!(accepts(Version::V3_9), valid, "{text}");
        }
        let identities = Identities::of("::1".parse().unwrap(), all_schemes(Version::V3_9));
        assert_eq!(identities.ids[0].id, "0:0:0:0:0:0:0:1");
        for (network, allowed) in [("::1", true), ("::/64", true), ("fe80::/10", false)] {
            let acl = [Acl::new(Perms::READ, IP, network)];
            assert_eq!(identities.check(&acl, Perms::READ).is_ok(), allowed, "{network}");
        }
    }

    #[test]
    fn networks_contain_their_addresses() {
        let matches =
            |network, address| Network::parse(network, Version::V3_9).unwrap().contains(address);
        assert!(matches("127.0.0.0/8", "127.1.2.3"));
        assert!(!matches("127.0.0.0/8", "128.0.0.1"));
        assert!(matches("0.0.0.0/0", "9.9.9.9"));
        assert!(matches("127.0.0.1", "127.0.0.1"));
        assert!(!matches("127.0.0.1", "::1"));
    }
}
