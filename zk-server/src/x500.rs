//! The names of certificates' owners, as ZooKeeper reads and prints them (`javax.security.auth.x500.X500Principal`).

/// The attributes that a name may have by name; others are given by their object identifiers.
const KEYWORDS: [&str; 21] = [
    "CN",
    "C",
    "L",
    "S",
    "ST",
    "O",
    "OU",
    "T",
    "IP",
    "STREET",
    "DC",
    "DNQUALIFIER",
    "DNQ",
    "SURNAME",
    "GIVENNAME",
    "INITIALS",
    "GENERATION",
    "EMAIL",
    "EMAILADDRESS",
    "UID",
    "SERIALNUMBER",
];

/// Whether `text` is a name, such as `CN=client,O="Example, Inc."`. The empty one is.
pub(crate) fn is_name(text: &str) -> bool {
    let is_part = |part: &str| split(part, &['+']).all(is_attribute);
    text.is_empty() || split(text, &[',', ';']).all(is_part)
}

/// The parts of `text` between separators that are neither quoted nor escaped. After several backslashes, Java takes
/// a separator for escaped if the number of all backslashes since the last separator is odd.
fn split<'t>(text: &'t str, separators: &'t [char]) -> impl Iterator<Item = &'t str> {
    let (mut quotes, mut row, mut backslashes) = (0_usize, 0_usize, 0_usize);
    text.split(move |c| {
        let is_escaped = row == 1 || row > 1 && backslashes % 2 == 1;
        if c == '"' && row == 0 {
            quotes = quotes.saturating_add(1);
        }
        if c == '\\' {
            (row, backslashes) = (row.saturating_add(1), backslashes.saturating_add(1));
        } else {
            row = 0;
        }
        let is_separator = separators.contains(&c);
        let ends = is_separator && quotes != 1 && !is_escaped;
        if is_separator {
            backslashes = 0;
        }
        if ends {
            quotes = 0;
        }
        ends
    })
}

/// Whether `text` is a type and a value: `CN=client`.
fn is_attribute(text: &str) -> bool {
    let Some((kind, value)) = text.split_once('=') else { return false };
    let value = value.trim_start_matches([' ', '\n']);
    is_type(kind.trim_matches(|c| c <= ' '))
        && match value.chars().next() {
            None => true,
            Some('#') => is_hex_value(value.get(1..).unwrap_or_default()),
            Some('"') => is_quoted(value.get(1..).unwrap_or_default()),
            Some(_) => is_string(value),
        }
}

fn is_type(kind: &str) -> bool {
    if KEYWORDS.iter().any(|keyword| keyword.eq_ignore_ascii_case(kind)) {
        return true;
    }
    let prefix = kind.get(..4).filter(|prefix| prefix.eq_ignore_ascii_case("OID."));
    let id = prefix.and_then(|prefix| kind.strip_prefix(prefix)).unwrap_or(kind);
    let mut numbers = id.split('.').map(|number| {
        let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
        number.parse::<u32>().ok().filter(|_| is_number)
    });
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(first), Some(second)) => {
            (first < 2 && second < 40 || first == 2) && numbers.all(|number| number.is_some())
        }
        _ => false,
    }
}

/// Whether the digits are a value in DER.
fn is_hex_value(digits: &str) -> bool {
    // What follows a separator is ignored.
    let digits = digits.split([',', '+', ';']).next().unwrap_or_default();
    let mut bytes = Vec::new();
    for pair in digits.as_bytes().chunks(2) {
        let byte = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2);
        let is_hex = pair.iter().all(u8::is_ascii_hexdigit);
        match byte.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) if is_hex => bytes.push(byte),
            _ => return false,
        }
    }
    let mut rest = bytes.as_slice();
    der::value(&mut rest).is_some() && rest.is_empty()
}

/// Whether the value ends with its quote, and escapes what must be escaped.
fn is_quoted(value: &str) -> bool {
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return chars.all(|c| matches!(c, ' ' | '\n')),
            '\\' if !is_escape(&mut chars, ",=\n+<>#;\\\"") => return false,
            _ => {}
        }
    }
    false
}

fn is_string(value: &str) -> bool {
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if !is_escape(&mut chars, ",=\n+<>#;\\\" ") => return false,
            // What follows is ignored.
            ',' | '+' | ';' => return true,
            '<' | '>' | '"' => return false,
            _ => {}
        }
    }
    true
}

/// Whether a backslash is followed by one of `special`, or by two hexadecimal digits.
fn is_escape(chars: &mut std::str::Chars<'_>, special: &str) -> bool {
    match chars.next() {
        Some(c) if c.is_ascii_hexdigit() => chars.next().is_some_and(|c| c.is_ascii_hexdigit()),
        Some(c) => special.contains(c),
        None => false,
    }
}

mod der {
    //! The little of DER that names need.

    pub(super) struct Value<'v> {
        #[cfg_attr(not(feature = "tls"), expect(dead_code))]
        pub(super) tag: u8,
        #[cfg_attr(not(feature = "tls"), expect(dead_code))]
        pub(super) content: &'v [u8],
    }

    /// Takes the first value of `input`.
    pub(super) fn value<'v>(input: &mut &'v [u8]) -> Option<Value<'v>> {
        let (&tag, rest) = input.split_first()?;
        let (&length, rest) = rest.split_first()?;
        let (length, rest) = match length {
            ..0x80 => (usize::from(length), rest),
            _ if (1..=4).contains(&(length & 0x7f)) => {
                let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
                let length = digits.iter().fold(0_u64, |sum, digit| sum << 8 | u64::from(*digit));
                (usize::try_from(length).ok()?, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        *input = rest;
        Some(Value { tag, content })
    }
}

#[cfg(feature = "tls")]
mod subject {
    //! The owner of a certificate, printed.

    use std::fmt::Write as _;

    use super::der;

    const INTEGER: u8 = 0x02;
    const OBJECT_IDENTIFIER: u8 = 0x06;
    const SEQUENCE: u8 = 0x30;
    const SET: u8 = 0x31;
    /// The tag of a certificate's version, which is optional.
    const VERSION: u8 = 0xa0;
    /// UTF8String, NumericString to IA5String, GeneralString, UniversalString and BMPString.
    const STRINGS: [u8; 7] = [0x0c, 0x13, 0x14, 0x16, 0x1b, 0x1c, 0x1e];
    /// The attributes that are printed by name, by the encoding of their object identifiers.
    const NAMES: [(&[u8], &str); 9] = [
        (&[0x55, 4, 3], "CN"),
        (&[0x55, 4, 6], "C"),
        (&[0x55, 4, 7], "L"),
        (&[0x55, 4, 8], "ST"),
        (&[0x55, 4, 10], "O"),
        (&[0x55, 4, 11], "OU"),
        (&[0x55, 4, 9], "STREET"),
        (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"),
        (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1], "UID"),
    ];

    /// The owner of a certificate in DER, in the form of RFC 2253 (`X500Principal.getName`).
    pub(crate) fn subject(certificate: &[u8]) -> Option<String> {
        let certificate = take(&mut &*certificate, SEQUENCE)?;
        let fields = &mut take(&mut &*certificate, SEQUENCE)?;
        let _ = take(fields, VERSION);
        take(fields, INTEGER)?; // the serial number
        take(fields, SEQUENCE)?; // the algorithm of the signature
        take(fields, SEQUENCE)?; // the issuer
        take(fields, SEQUENCE)?; // the time of validity
        name(take(fields, SEQUENCE)?)
    }

    /// Takes the content of the next value, if it has this tag.
    fn take<'v>(input: &mut &'v [u8], tag: u8) -> Option<&'v [u8]> {
        let mut rest = *input;
        let value = der::value(&mut rest).filter(|value| value.tag == tag)?;
        *input = rest;
        Some(value.content)
    }

    /// A name, given by the content of its sequence. Its last part comes first.
    pub(super) fn name(mut parts: &[u8]) -> Option<String> {
        let mut printed = Vec::new();
        while !parts.is_empty() {
            let mut attributes = take(&mut parts, SET)?;
            let mut part = Vec::new();
            while !attributes.is_empty() {
                part.push(attribute(take(&mut attributes, SEQUENCE)?)?);
            }
            printed.push(part.join("+"));
        }
        printed.reverse();
        Some(printed.join(","))
    }

    fn attribute(mut input: &[u8]) -> Option<String> {
        let id = take(&mut input, OBJECT_IDENTIFIER)?;
        let whole = input;
        let value = der::value(&mut input)?;
        let known = NAMES.iter().find(|(known, _)| *known == id).map(|(_, name)| *name);
        Some(match known.filter(|_| STRINGS.contains(&value.tag)) {
            Some(name) => format!("{name}={}", escaped(&String::from_utf8_lossy(value.content))),
            None => {
                let kind = known.map_or_else(|| dotted(id), str::to_owned);
                let mut out = format!("{kind}=#");
                // Writing to a string cannot fail.
                let _ = whole.iter().try_for_each(|byte| write!(out, "{byte:02x}"));
                out
            }
        })
    }

    /// An object identifier in numbers.
    fn dotted(id: &[u8]) -> String {
        let mut numbers = Vec::new();
        let mut number = 0_u64;
        for byte in id {
            number = number.wrapping_shl(7) | u64::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                numbers.push(std::mem::take(&mut number));
            }
        }
        // The first two numbers share a place.
        if let Some(both) = numbers.first().copied() {
            let first = (both / 40).min(2);
            numbers.splice(..1, [first, both.saturating_sub(first.saturating_mul(40))]);
        }
        let numbers: Vec<_> = numbers.iter().map(u64::to_string).collect();
        numbers.join(".")
    }

    /// A value with backslashes before what has a meaning in names, and before spaces at its ends.
    fn escaped(value: &str) -> String {
        let is_space = |c: char| matches!(c, ' ' | '\r');
        let inner = value.trim_matches(is_space);
        let start = value.len().saturating_sub(value.trim_start_matches(is_space).len());
        let end = start.saturating_add(inner.len());
        let mut out = String::with_capacity(value.len());
        for (at, c) in value.char_indices() {
            match c {
                '\0' => out.push_str("\\00"),
                c if ",=+<>#;\"\\".contains(c) || !(start..end).contains(&at) => {
                    out.extend(['\\', c]);
                }
                c => out.push(c),
            }
        }
        out
    }
}

#[cfg(feature = "tls")]
pub(crate) use subject::subject;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_accepted_as_by_java() {
        let valid = [
            "",
            "CN=x",
            "CN=x,O=\"a, b\"",
            "CN=a\\,b",
            "cn=x+ou=y",
            "1.2.3=x",
            "CN=",
            "CN=x;O=y",
            "EMAILADDRESS=x@y",
            "OID.1.2.3=x",
            "CN=#0c0161",
            " CN = x ",
            "CN=a=b",
            "CN=\\c3\\a9",
            "1.2=x",
            "T=x",
            "DC=a.b",
            "serialNumber=1",
            "CN=a\nb",
        ];
        for text in valid {
            assert!(is_name(text), "{text:?}");
        }
        let invalid = [
            "nonsense",
            "FOO=x",
            "CN=x,",
            "=x",
            ",",
            "CN=\"x",
            "CN=a\"b",
            "CN=x,,O=y",
            "CN=#zz",
            "CN=a<b",
            "CN=\\zz",
            "1=x",
            "9.9.9=x",
            "CN=#",
            "CN=\\",
            "CN=\"x\"y",
        ];
        for text in invalid {
            assert!(!is_name(text), "{text:?}");
        }
    }
}
