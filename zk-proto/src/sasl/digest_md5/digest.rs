//! The digests of both sides (RFC 2831, section 2.1.2.1).

use alloc::{borrow::Cow, vec::Vec};

use md5::{Digest as _, Md5};

use super::NONCE_COUNT;

/// What both sides know of an exchange.
pub(super) struct Exchange<'e> {
    pub(super) user: &'e str,
    pub(super) realm: &'e str,
    pub(super) password: &'e str,
    pub(super) nonce: &'e [u8],
    pub(super) cnonce: &'e [u8],
    /// The user to act as, if the response names one.
    pub(super) authzid: Option<&'e [u8]>,
    pub(super) digest_uri: &'e [u8],
}

/// An MD5 in lower-case hexadecimal.
pub(super) type Hex = [u8; 32];

impl Exchange<'_> {
    /// The client's proof.
    pub(super) fn response(&self) -> Hex {
        self.digest(b"AUTHENTICATE:")
    }

    /// The server's proof.
    pub(super) fn rspauth(&self) -> Hex {
        self.digest(b":")
    }

    fn digest(&self, a2: &[u8]) -> Hex {
        let secret =
            md5([&*legacy(self.user), b":", &*legacy(self.realm), b":", &*legacy(self.password)]);
        let authzid: [&[u8]; 2] = match self.authzid {
            Some(authzid) => [b":", authzid],
            None => [b"", b""],
        };
        let a1 = md5([&secret, b":", self.nonce, b":", self.cnonce, authzid[0], authzid[1]]);
        let a2 = md5([a2, self.digest_uri]);
        let (a1, a2) = (hex(a1), hex(a2));
        let count = NONCE_COUNT.as_bytes();
        hex(md5([&a1, b":", self.nonce, b":", count, b":", self.cnonce, b":auth:", &a2]))
    }
}

/// In the digest, a text that ISO 8859-1 can write is in ISO 8859-1, and another one in UTF-8.
fn legacy(text: &str) -> Cow<'_, [u8]> {
    if text.is_ascii() {
        return Cow::Borrowed(text.as_bytes());
    }
    let latin: Option<Vec<u8>> = text.chars().map(|it| u8::try_from(u32::from(it)).ok()).collect();
    latin.map_or(Cow::Borrowed(text.as_bytes()), Cow::Owned)
}

fn md5<const N: usize>(parts: [&[u8]; N]) -> [u8; 16] {
    let mut digest = Md5::new();
    for part in parts {
        digest.update(part);
    }
    digest.finalize().into()
}

fn hex(bytes: [u8; 16]) -> Hex {
    hex_of(u128::from_be_bytes(bytes))
}

/// A number in lower-case hexadecimal with leading zeros, which is also how nonces are made.
pub(super) fn hex_of(number: u128) -> Hex {
    let mut out = [0; 32];
    let mut rest = number;
    for digit in out.iter_mut().rev() {
        // Four bits.
        let low = u32::try_from(rest & 0xf).unwrap_or_default();
        *digit = char::from_digit(low, 16).and_then(|it| u8::try_from(it).ok()).unwrap_or(b'0');
        rest >>= 4;
    }
    out
}

/// Whether the two are equal, in a time that does not depend on where they differ.
pub(super) fn is_same(one: &[u8], other: &[u8]) -> bool {
    let difference = one.iter().zip(other).fold(0, |all, (one, other)| all | (one ^ other));
    one.len() == other.len() && difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 2831, section 4.
    #[test]
    fn the_digests_are_those_of_the_rfc() {
        let exchange = Exchange {
            user: "chris",
            realm: "elwood.innosoft.com",
            password: "secret",
            nonce: b"OA6MG9tEQGm2hh",
            cnonce: b"OA6MHXh6VqTrRk",
            authzid: None,
            digest_uri: b"imap/elwood.innosoft.com",
        };
        assert_eq!(&exchange.response(), b"d388dad90d4bbd760a152321f2143af7");
        assert_eq!(&exchange.rspauth(), b"ea40f60335c427b5527b84dbabcdfffd");
    }

    /// The second example, for ACAP.
    #[test]
    fn the_digests_depend_on_the_service() {
        let exchange = Exchange {
            user: "chris",
            realm: "elwood.innosoft.com",
            password: "secret",
            nonce: b"OA9BSXrbuRhWay",
            cnonce: b"OA9BSuZWMSpW8m",
            authzid: None,
            digest_uri: b"acap/elwood.innosoft.com",
        };
        assert_eq!(&exchange.response(), b"6084c6db3fede7352c551284490fd0fc");
        assert_eq!(&exchange.rspauth(), b"2f0b3d7c3c2e486600ef710726aa2eae");
    }

    #[test]
    fn texts_of_latin_characters_are_hashed_as_latin() {
        assert_eq!(&*legacy("bob"), b"bob");
        assert_eq!(&*legacy("ä"), b"\xe4");
        assert_eq!(&*legacy("ä€"), "ä€".as_bytes());
    }

    #[test]
    fn numbers_are_written_with_leading_zeros() {
        assert_eq!(&hex_of(0x1f), b"0000000000000000000000000000001f");
        assert_eq!(&hex_of(u128::MAX), &[b'f'; 32]);
        assert!(is_same(b"ab", b"ab") && !is_same(b"ab", b"ac") && !is_same(b"ab", b"a"));
    }
}
