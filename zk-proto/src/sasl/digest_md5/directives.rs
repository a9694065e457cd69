//! The directives of challenges and responses: `name=value, name="quoted value"` (RFC 2831, section 7.1).

use alloc::{vec, vec::Vec};

use crate::sasl::SaslError;

/// The directives of a token, in its order. Values are without their quotes and escapes.
pub(super) struct Directives<'t>(Vec<(&'t [u8], Vec<u8>)>);

impl<'t> Directives<'t> {
    /// Reads a token of at most `limit` bytes.
    pub(super) fn parse(token: &'t [u8], limit: usize) -> Result<Self, SaslError> {
        if token.len() > limit {
            return Err(SaslError::malformed("it is too long"));
        }
        let mut input = Input(token);
        let mut directives = Vec::new();
        loop {
            // A list may have empty elements.
            let separated = input.skip_separators();
            if input.0.is_empty() {
                return Ok(Self(directives));
            }
            if !separated && !directives.is_empty() {
                return Err(SaslError::malformed("there is no comma between directives"));
            }
            let name = input.token();
            if name.is_empty() {
                return Err(SaslError::malformed("a directive has no name"));
            }
            input.skip_spaces();
            if !input.take(b'=') {
                return Err(SaslError::malformed("a directive has no value"));
            }
            input.skip_spaces();
            let value = if input.take(b'"') { input.quoted()? } else { input.token().to_vec() };
            directives.push((name, value));
        }
    }

    /// The values of the directives with this name, which has lower case.
    pub(super) fn all<'d>(&'d self, name: &'static str) -> impl Iterator<Item = &'d [u8]> {
        let named = self.0.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name.as_bytes()));
        named.map(|(_, value)| value.as_slice())
    }

    /// The value of the directive with this name; `None` if there is none.
    pub(super) fn optional(&self, name: &'static str) -> Result<Option<&[u8]>, SaslError> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            _ => Err(SaslError::Malformed(alloc::format!("{name} occurs twice").into())),
        }
    }

    /// The value of the directive with this name, which must not be empty.
    pub(super) fn required(&self, name: &'static str) -> Result<&[u8], SaslError> {
        let value = self.optional(name)?.filter(|value| !value.is_empty());
        value.ok_or_else(|| SaslError::Malformed(alloc::format!("{name} is missing").into()))
    }

    /// Checks that the character set, if there is one, is UTF-8. Returns whether there is one.
    pub(super) fn is_utf8(&self) -> Result<bool, SaslError> {
        match self.optional("charset")? {
            None => Ok(false),
            Some(charset) if charset.eq_ignore_ascii_case(b"utf-8") => Ok(true),
            Some(_) => Err(SaslError::malformed("charset is not utf-8")),
        }
    }
}

struct Input<'t>(&'t [u8]);

impl<'t> Input<'t> {
    fn next_if(&mut self, accepts: impl FnOnce(u8) -> bool) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        accepts(*first).then(|| {
            self.0 = rest;
            *first
        })
    }

    fn take(&mut self, byte: u8) -> bool {
        self.next_if(|next| next == byte).is_some()
    }

    fn skip_spaces(&mut self) {
        while self.next_if(|next| matches!(next, b' ' | b'\t' | b'\r' | b'\n')).is_some() {}
    }

    /// Skips commas and spaces. Returns whether there was a comma.
    fn skip_separators(&mut self) -> bool {
        let mut separated = false;
        loop {
            self.skip_spaces();
            if !self.take(b',') {
                return separated;
            }
            separated = true;
        }
    }

    fn token(&mut self) -> &'t [u8] {
        let len = self.0.iter().take_while(|byte| is_token(**byte)).count();
        let (token, rest) = self.0.split_at_checked(len).unwrap_or_default();
        self.0 = rest;
        token
    }

    /// Reads up to the closing quote.
    fn quoted(&mut self) -> Result<Vec<u8>, SaslError> {
        let mut value = vec![];
        loop {
            match self.next_if(|_| true) {
                Some(b'"') => return Ok(value),
                Some(b'\\') => value.extend(self.next_if(|_| true)),
                Some(byte) => value.push(byte),
                None => return Err(SaslError::malformed("a quoted value has no end")),
            }
        }
    }
}

/// Whether a token of RFC 2616 may have this byte.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_graphic()
        && !matches!(
            byte,
            b'(' | b')'
                | b'<'
                | b'>'
                | b'@'
                | b','
                | b';'
                | b':'
                | b'\\'
                | b'"'
                | b'/'
                | b'['
                | b']'
                | b'?'
                | b'='
                | b'{'
                | b'}'
        )
}

/// Appends `name="value"` to `out`, after a comma if it is not the first directive.
pub(super) fn push_quoted(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    push_name(out, name);
    out.push(b'"');
    for byte in value {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

/// Appends `name=value` to `out`, after a comma if it is not the first directive.
pub(super) fn push(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    push_name(out, name);
    out.extend_from_slice(value);
}

fn push_name(out: &mut Vec<u8>, name: &str) {
    if !out.is_empty() {
        out.push(b',');
    }
    out.extend_from_slice(name.as_bytes());
    out.push(b'=');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_read_as_lists_of_names_and_values() {
        let token = b", realm = \"a\\\"b, c\\\\\",nonce=\"\",,QOP=auth ,realm=x";
        let directives = Directives::parse(token, 100).unwrap();
        let realms: Vec<_> = directives.all("realm").collect();
        assert_eq!(realms, [b"a\"b, c\\".as_slice(), b"x"]);
        assert_eq!(directives.optional("nonce").unwrap(), Some(b"".as_slice()));
        assert!(directives.required("nonce").is_err());
        assert_eq!(directives.required("qop").unwrap(), b"auth");
        assert_eq!(directives.optional("charset").unwrap(), None);
        assert!(directives.optional("realm").is_err());
    }

    #[test]
    fn invalid_lists_are_errors() {
        for token in ["a", "=b", "a=\"b", "a=\"b\\", "a=b c=d", "a=b;c=d", "a=\"b\"c=d", "\0"] {
            assert!(Directives::parse(token.as_bytes(), 100).is_err(), "{token:?}");
        }
        assert!(Directives::parse(b"a=b", 2).is_err());
    }

    #[test]
    fn quoted_values_are_read_as_they_were_written() {
        let mut out = Vec::new();
        push(&mut out, "a", b"b");
        push_quoted(&mut out, "c", br#"\"d", "#);
        let directives = Directives::parse(&out, 100).unwrap();
        assert_eq!(directives.required("a").unwrap(), b"b");
        assert_eq!(directives.required("c").unwrap(), br#"\"d", "#);
    }
}
