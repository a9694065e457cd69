//! The `digest` scheme: access with a user name and a password.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha1::{Digest as _, Sha1};
use zk_proto::{Acl, Perms};

/// Returns the id of `user` with `password` in the `digest` scheme, as it is written in ACLs:
/// `user:base64(sha1(user:password))`, with the servers' default algorithm
/// (`zookeeper.DigestAuthenticationProvider.digestAlg`).
///
/// `user` must not contain a colon, as servers look for the first one. The password may. The result is as secret as the
/// hash of a password is: passwords can be guessed from it.
///
/// ```
/// assert_eq!(zk_client::digest_credential("super", "test"), "super:D/InIHSb7yEEbrWz8b9l71RjZJU=");
/// ```
#[doc(alias = "make_digest_acl_credential")]
#[must_use]
pub fn digest_credential(user: &str, password: &str) -> String {
    let digest = Sha1::digest(format!("{user}:{password}"));
    format!("{user}:{}", STANDARD.encode(digest))
}

/// Returns an ACL entry that gives `perms` to clients with the credential `("digest", "user:password")`.
///
/// ```
/// use zk_client::{CreateOptions, Perms, digest_acl};
///
/// let acl = [digest_acl("ann", "her password", Perms::ALL)];
/// let options = CreateOptions::persistent().acl(acl);
/// ```
#[doc(alias = "make_digest_acl")]
#[must_use]
pub fn digest_acl(user: &str, password: &str, perms: Perms) -> Acl {
    Acl::new(perms, "digest", digest_credential(user, password))
}
