//! Validation of znode paths, and functions that take paths apart and join them.
//!
//! A path is a string such as `/app/config`: it starts with `/`, single slashes separate its names, and
//! the root is `/`. Every path that a client sends is checked by [`validate`] or [`validate_for_create`].
//! These run for every call, so they make one pass over the bytes, and check rule by rule only if that
//! pass finds something unusual.
//!
//! The rules are the server's (`org.apache.zookeeper.common.PathUtils`). The server reads UTF-16 and
//! refuses surrogates, so it refuses every character above U+FFFF.
//!
//! ```
//! use zk_proto::path;
//!
//! path::validate("/app/workers")?;
//! assert_eq!(path::parent("/app/workers"), Some("/app"));
//! assert_eq!(path::join("/app/workers", "worker-0000000007"), "/app/workers/worker-0000000007");
//! assert_eq!(path::sequence("worker-0000000007"), Some(7));
//! # Ok::<(), zk_proto::PathError>(())
//! ```
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

use alloc::{boxed::Box, string::String};

/// Why a path is not valid.
///
/// ```
/// use zk_proto::path;
///
/// let error = path::validate("/app//config").unwrap_err();
/// assert_eq!(error.position(), 5);
/// assert_eq!(error.path(), "/app//config");
/// assert_eq!(error.to_string(), r#"path "/app//config" has an empty name at byte 5"#);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// The path is empty. The path of the root is `/`.
    #[error("path is empty")]
    Empty,
    /// The path does not start with `/`.
    #[error(r#"path {path:?} does not start with "/""#)]
    NotAbsolute {
        /// The path as given.
        path: Box<str>,
    },
    /// The path ends with `/` and is not the root.
    #[error(r#"path {path:?} ends with "/" at byte {at}"#)]
    TrailingSlash {
        /// The path as given.
        path: Box<str>,
        /// The byte offset of that slash.
        at: usize,
    },
    /// Two slashes follow each other.
    #[error("path {path:?} has an empty name at byte {at}")]
    EmptyName {
        /// The path as given.
        path: Box<str>,
        /// The byte offset of the second slash.
        at: usize,
    },
    /// A name is `.` or `..`.
    #[error(r#"path {path:?} has the relative name "." or ".." at byte {at}"#)]
    RelativeName {
        /// The path as given.
        path: Box<str>,
        /// The byte offset of the name.
        at: usize,
    },
    /// A name contains a forbidden character: a control character, U+D800 to U+F8FF, U+FFF0 to U+FFFF,
    /// or any character above U+FFFF.
    #[error("path {path:?} has the forbidden character {character:?} at byte {at}")]
    ForbiddenCharacter {
        /// The path as given.
        path: Box<str>,
        /// The byte offset of the character.
        at: usize,
        /// The character.
        character: char,
    },
}

impl PathError {
    /// Returns the path that was refused.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::Empty => "",
            Self::NotAbsolute { path }
            | Self::TrailingSlash { path, .. }
            | Self::EmptyName { path, .. }
            | Self::RelativeName { path, .. }
            | Self::ForbiddenCharacter { path, .. } => path,
        }
    }

    /// Returns the byte offset of the error in the path.
    #[must_use]
    pub fn position(&self) -> usize {
        match self {
            Self::Empty | Self::NotAbsolute { .. } => 0,
            Self::TrailingSlash { at, .. }
            | Self::EmptyName { at, .. }
            | Self::RelativeName { at, .. }
            | Self::ForbiddenCharacter { at, .. } => *at,
        }
    }
}

/// Checks that `path` is valid.
///
/// ```
/// use zk_proto::path::validate;
///
/// assert!(validate("/").is_ok());
/// assert!(validate("/app/.hidden/größe").is_ok());
/// assert!(validate("app").is_err());
/// assert!(validate("/app/").is_err());
/// assert!(validate("/app/../etc").is_err());
/// ```
///
/// # Errors
/// Returns a [`PathError`] that says what is wrong and where.
pub fn validate(path: &str) -> Result<(), PathError> {
    check(path, Ending::AsIs)
}

/// Checks that `path` is valid for a znode to be created.
///
/// The server appends the sequence number to the path of a sequential znode before it checks the path.
/// Such a path may therefore end with `/`; the name of the znode is then the number alone.
///
/// ```
/// use zk_proto::path::validate_for_create;
///
/// assert!(validate_for_create("/queue/", true).is_ok());
/// assert!(validate_for_create("/queue/", false).is_err());
/// ```
///
/// # Errors
/// Returns an error for the same reasons as [`validate`].
pub fn validate_for_create(path: &str, sequential: bool) -> Result<(), PathError> {
    check(path, if sequential { Ending::Numbered } else { Ending::AsIs })
}

/// What follows the path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Nothing.
    AsIs,
    /// The sequence number that the server appends.
    Numbered,
}

fn check(path: &str, ending: Ending) -> Result<(), PathError> {
    if is_plain(path.as_bytes(), ending) { Ok(()) } else { check_each(path, ending) }
}

/// Returns true if the path is valid by the simplest test: printable ASCII, and no `/` before `/` or `.`.
///
/// The loop has no branches, so it compiles to a few vector instructions per 16 bytes.
fn is_plain(path: &[u8], ending: Ending) -> bool {
    let Some((b'/', names)) = path.split_first() else {
        return false;
    };
    let odd = path.iter().zip(names).fold(false, |odd, (&before, &byte)| {
        let printable = byte.wrapping_sub(b' ') <= b'~' - b' ';
        // `.` and `/` are neighbours: 0x2e and 0x2f.
        let name_starts_badly = (before == b'/') & ((byte | 1) == b'/');
        odd | !printable | name_starts_badly
    });
    !odd & (names.last() != Some(&b'/') || ending == Ending::Numbered)
}

/// Checks the rules one by one.
#[cold]
fn check_each(path: &str, ending: Ending) -> Result<(), PathError> {
    let names = match path.strip_prefix('/') {
        Some(names) => names,
        None if path.is_empty() => return Err(PathError::Empty),
        None => return Err(PathError::NotAbsolute { path: path.into() }),
    };
    if names.is_empty() {
        return Ok(());
    }
    let mut at: usize = 1;
    let mut names = names.split('/').peekable();
    while let Some(name) = names.next() {
        let last = names.peek().is_none();
        check_name(path, at, name, last, ending)?;
        at = at.saturating_add(name.len()).saturating_add(1);
    }
    Ok(())
}

/// Checks one name, which starts at byte `at` of `path`.
fn check_name(
    path: &str,
    at: usize,
    name: &str,
    last: bool,
    ending: Ending,
) -> Result<(), PathError> {
    if !(last && ending == Ending::Numbered) {
        match name {
            "" if last => {
                return Err(PathError::TrailingSlash {
                    path: path.into(),
                    at: at.saturating_sub(1),
                });
            }
            "" => {
                return Err(PathError::EmptyName { path: path.into(), at });
            }
            "." | ".." => {
                return Err(PathError::RelativeName { path: path.into(), at });
            }
            _ => {}
        }
    }
    match name.char_indices().find(|&(_, character)| is_forbidden(character)) {
        None => Ok(()),
        Some((offset, character)) => Err(PathError::ForbiddenCharacter {
            path: path.into(),
            at: at.saturating_add(offset),
            character,
        }),
    }
}

const fn is_forbidden(character: char) -> bool {
    matches!(
        character,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{e000}'..='\u{f8ff}'
            | '\u{fff0}'..='\u{ffff}'
            | '\u{10000}'..
    )
}

/// Returns the path of the parent, or `None` for the root.
///
/// ```
/// use zk_proto::path::parent;
///
/// assert_eq!(parent("/app/config"), Some("/app"));
/// assert_eq!(parent("/app"), Some("/"));
/// assert_eq!(parent("/"), None);
/// // The parent of a sequential znode whose name is only its number:
/// assert_eq!(parent("/queue/"), Some("/queue"));
/// ```
#[must_use]
pub fn parent(path: &str) -> Option<&str> {
    if path == "/" {
        return None;
    }
    match path.rsplit_once('/')? {
        ("", _) => Some("/"),
        (above, _) => Some(above),
    }
}

/// Returns the last name in a path; it is empty for the root.
///
/// ```
/// use zk_proto::path::name;
///
/// assert_eq!(name("/app/config"), "config");
/// assert_eq!(name("/"), "");
/// ```
#[must_use]
pub fn name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// Joins `base` and `child`, a name or a relative path, with exactly one slash between them.
///
/// The result is not checked. It is valid if both parts are.
///
/// ```
/// use zk_proto::path::join;
///
/// assert_eq!(join("/app", "config"), "/app/config");
/// assert_eq!(join("/", "app/config"), "/app/config");
/// assert_eq!(join("/app", "/config"), "/app/config");
/// // A sequential znode whose name is only its number:
/// assert_eq!(join("/queue", ""), "/queue/");
/// ```
#[must_use]
pub fn join(base: &str, child: &str) -> String {
    let base = base.strip_suffix('/').unwrap_or(base);
    let child = child.strip_prefix('/').unwrap_or(child);
    [base, "/", child].concat()
}

/// Returns the paths of all ancestors of `path` except the root, from the top down: the znodes that must
/// exist before `path` can be created.
///
/// ```
/// use zk_proto::path::ancestors;
///
/// assert!(ancestors("/a/b/c").eq(["/a", "/a/b"]));
/// assert!(ancestors("/a/b/c").rev().eq(["/a/b", "/a"]));
/// assert!(ancestors("/a").eq::<[&str; 0]>([]));
/// // A sequential znode whose name is only its number:
/// assert!(ancestors("/a/b/").eq(["/a", "/a/b"]));
/// ```
pub fn ancestors(path: &str) -> impl DoubleEndedIterator<Item = &str> + Clone {
    path.match_indices('/').filter(|&(at, _)| at > 0).filter_map(|(at, _)| path.get(..at))
}

/// The minimum length of a sequence number in characters.
const SEQUENCE_LEN: usize = 10;

/// Returns the sequence number at the end of a sequential znode's name.
///
/// Sort siblings by this number, not by name. Their prefixes may differ, and the number is a signed 32-bit
/// integer that the server writes with `%010d`: it wraps from `2147483647` to `-2147483648`, which is one
/// character longer.
///
/// Ten digits after a `-` are ambiguous. The `-` is read as a sign if the number is out of range without it,
/// or if no letter or digit precedes it: in `lock-1000000000` it is part of the name, in `n_-1000000000` part
/// of the number. [`sequence_after`] has no such ambiguity.
///
/// ```
/// use zk_proto::path::sequence;
///
/// assert_eq!(sequence("lock-0000000042"), Some(42));
/// assert_eq!(sequence("lock--2147483648"), Some(i32::MIN));
/// assert_eq!(sequence("config"), None);
/// ```
#[must_use]
pub fn sequence(name: &str) -> Option<i32> {
    let (before, number) = name.as_bytes().split_last_chunk::<SEQUENCE_LEN>()?;
    if let [b'-', digits @ ..] = number {
        return negative(digits).and_then(|value| i32::try_from(value).ok());
    }
    let value = decimal(number)?;
    // `%010d` counts the sign, so ten digits after a sign have no leading zero.
    let may_be_negative = number.first() != Some(&b'0');
    let signed = match before {
        [.., ahead, b'-'] => !ahead.is_ascii_alphanumeric() || i32::try_from(value).is_err(),
        [b'-'] => true,
        _ => false,
    };
    let value = if may_be_negative && signed { value.wrapping_neg() } else { value };
    i32::try_from(value).ok()
}

/// Returns the sequence number of a znode that was created with the name `prefix`. Unlike [`sequence`],
/// this is never ambiguous.
///
/// ```
/// use zk_proto::path::sequence_after;
///
/// assert_eq!(sequence_after("lock", "lock-1000000000"), Some(-1_000_000_000));
/// assert_eq!(sequence_after("lock-", "lock-1000000000"), Some(1_000_000_000));
/// assert_eq!(sequence_after("lock-", "other-0000000001"), None);
/// ```
#[must_use]
pub fn sequence_after(prefix: &str, name: &str) -> Option<i32> {
    let number = name.strip_prefix(prefix)?.as_bytes();
    let value = match number {
        [b'-', digits @ ..] => negative(digits)?,
        digits => decimal(digits)?,
    };
    let value = i32::try_from(value).ok()?;
    let len = if value <= -1_000_000_000 { SEQUENCE_LEN.wrapping_add(1) } else { SEQUENCE_LEN };
    (number.len() == len).then_some(value)
}

/// Returns the value of the digits after a minus sign; `None` for zero, which is never written with a sign.
fn negative(digits: &[u8]) -> Option<i64> {
    decimal(digits).filter(|value| *value != 0).map(i64::wrapping_neg)
}

/// Returns the value of one to ten decimal digits.
fn decimal(digits: &[u8]) -> Option<i64> {
    if digits.is_empty() || digits.len() > SEQUENCE_LEN || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0_i64, |value, digit| {
        value.wrapping_mul(10).wrapping_add(i64::from(digit.wrapping_sub(b'0')))
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The server's rules as it implements them, over UTF-16 code units.
    fn server_accepts(path: &str, sequential: bool) -> bool {
        let mut path: Vec<u16> = path.encode_utf16().collect();
        if sequential {
            path.push(u16::from(b'1'));
        }
        const SLASH: u16 = b'/' as u16;
        const DOT: u16 = b'.' as u16;
        if path.first() != Some(&SLASH) {
            return false;
        }
        if path.len() == 1 {
            return true;
        }
        if path.last() == Some(&SLASH) {
            return false;
        }
        (1..path.len()).all(|i| {
            let name_ends = path.get(i + 1).is_none_or(|&next| next == SLASH);
            match (path[i - 1], path[i]) {
                (SLASH, SLASH) => false,
                (SLASH, DOT) => !name_ends,
                (DOT, DOT) => !(path[i - 2] == SLASH && name_ends),
                (_, 0..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0..=0xffff) => false,
                _ => true,
            }
        })
    }

    #[test]
    fn valid_paths() {
        for path in [
            "/",
            "/a",
            "/a/b/c",
            "/.hidden",
            "/..twice",
            "/...",
            "/a/.../b",
            "/a./b../c.",
            "/with space/and~tilde",
            "/größe/日本",
            "/\u{a0}\u{d7ff}\u{f900}\u{ffef}",
            "/a-rather-long/path-that/takes-more/than-one-vector/0000000001",
        ] {
            assert_eq!(validate(path), Ok(()), "{path:?}");
            assert_eq!(validate_for_create(path, true), Ok(()), "{path:?}");
            assert!(server_accepts(path, false), "{path:?}");
        }
    }

    #[test]
    fn invalid_paths() {
        type Make = fn(Box<str>, usize) -> PathError;
        let trailing: Make = |path, at| PathError::TrailingSlash { path, at };
        let empty: Make = |path, at| PathError::EmptyName { path, at };
        let relative: Make = |path, at| PathError::RelativeName { path, at };
        let forbidden: Make = |path, at| PathError::ForbiddenCharacter {
            character: path[at..].chars().next().unwrap(),
            path,
            at,
        };
        for (path, make, at) in [
            ("", (|_, _| PathError::Empty) as Make, 0),
            ("a", |path, _| PathError::NotAbsolute { path }, 0),
            ("ä/b", |path, _| PathError::NotAbsolute { path }, 0),
            (" /a", |path, _| PathError::NotAbsolute { path }, 0),
            ("/a/", trailing, 2),
            ("/größe/", trailing, 8),
            ("//", empty, 1),
            ("//a", empty, 1),
            ("/a//b", empty, 3),
            ("/a//", empty, 3),
            ("/.", relative, 1),
            ("/..", relative, 1),
            ("/./a", relative, 1),
            ("/a/../b", relative, 3),
            ("/ü/.", relative, 4),
            ("/\0", forbidden, 1),
            ("/a/b\0c", forbidden, 4),
            ("/\u{1}", forbidden, 1),
            ("/\u{1f}", forbidden, 1),
            ("/a\n", forbidden, 2),
            ("/\u{7f}", forbidden, 1),
            ("/\u{80}", forbidden, 1),
            ("/\u{9f}", forbidden, 1),
            ("/é\u{e000}", forbidden, 3),
            ("/\u{f8ff}", forbidden, 1),
            ("/\u{fff0}", forbidden, 1),
            ("/\u{ffff}", forbidden, 1),
            ("/\u{10000}", forbidden, 1),
            ("/a/🦀", forbidden, 3),
        ] {
            let error = validate(path).unwrap_err();
            assert_eq!(error, make(path.into(), at), "{path:?}");
            assert_eq!((error.path(), error.position()), (path, at), "{path:?}");
            assert!(!server_accepts(path, false), "{path:?}");
        }
    }

    #[test]
    fn sequential_paths_are_validated_with_their_number() {
        for path in ["/", "/a/", "/a/.", "/a/..", "/a", "/ä/"] {
            assert_eq!(validate_for_create(path, true), Ok(()), "{path:?}");
        }
        for path in ["", "a/", "//", "/a//", "/a/./", "/a/../b", "/a/\0", "/a\0/"] {
            assert!(validate_for_create(path, true).is_err(), "{path:?}");
        }
    }

    #[test]
    fn errors_contain_path_reason_and_position() {
        for (path, text) in [
            ("", "path is empty"),
            ("a", r#"path "a" does not start with "/""#),
            ("/a/", r#"path "/a/" ends with "/" at byte 2"#),
            ("/a//b", r#"path "/a//b" has an empty name at byte 3"#),
            ("/a/..", r#"path "/a/.." has the relative name "." or ".." at byte 3"#),
            ("/a\n", r#"path "/a\n" has the forbidden character '\n' at byte 2"#),
        ] {
            assert_eq!(validate(path).unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn parents_and_names() {
        for (path, above, last) in [
            ("/", None, ""),
            ("/a", Some("/"), "a"),
            ("/a/b", Some("/a"), "b"),
            ("/a/b/", Some("/a/b"), ""),
            ("a", None, "a"),
            ("", None, ""),
        ] {
            assert_eq!((parent(path), name(path)), (above, last), "{path:?}");
        }
    }

    #[test]
    fn ancestors_start_at_the_top() {
        for (path, expected) in [
            ("/", &[][..]),
            ("/a", &[]),
            ("/a/b", &["/a"]),
            ("/a/b/c", &["/a", "/a/b"]),
            ("/a/", &["/a"]),
            ("", &[]),
        ] {
            assert!(ancestors(path).eq(expected.iter().copied()), "{path:?}");
        }
    }

    #[test]
    fn sequence_numbers() {
        for (name, number) in [
            ("0000000000", Some(0)),
            ("n_0000000007", Some(7)),
            ("lock-0000000042", Some(42)),
            ("lock-1000000000", Some(1_000_000_000)),
            ("lock-2147483647", Some(i32::MAX)),
            ("lock-2147483648", Some(i32::MIN)),
            ("lock--2147483648", Some(i32::MIN)),
            ("lock--1000000000", Some(-1_000_000_000)),
            ("lock-0999999999", Some(999_999_999)),
            ("lock--999999999", Some(-999_999_999)),
            ("lock--000000001", Some(-1)),
            ("7f3a__lock__-2147483647", Some(-2_147_483_647)),
            ("7f3a__lock__0000000003", Some(3)),
            ("-2147483648", Some(i32::MIN)),
            ("-000000001", Some(-1)),
            ("v10000000001", Some(1)),
            ("ä0000000001", Some(1)),
            ("2147483648", None),
            ("lock-2147483649", None),
            ("9999999999", None),
            ("--00000001", None),
            ("lock-000000000", None),
            ("lock-42", None),
            ("000000000", None),
            ("00000000ä0", None),
            ("+000000001", None),
            ("config", None),
            ("", None),
        ] {
            assert_eq!(sequence(name), number, "{name:?}");
        }
        for name in ["lock-", "lock-1", "lock-00000000001", "lock--0000000001", "lock--1", "lock"] {
            assert_eq!(sequence_after("lock-", name), None, "{name:?}");
        }
        assert_eq!(sequence_after("lock", "lock-000000000"), None);
    }

    /// Text made of the characters that matter to a path.
    fn text() -> impl Strategy<Value = String> {
        let character = prop_oneof![
            4 => Just('/'),
            3 => Just('.'),
            4 => proptest::char::range('a', 'z'),
            2 => proptest::char::range('\0', '\u{a0}'),
            1 => any::<char>(),
        ];
        proptest::collection::vec(character, 0..40).prop_map(String::from_iter)
    }

    proptest! {
        #[test]
        fn agrees_with_the_server(rest in text()) {
            for path in [format!("/{rest}"), rest] {
                prop_assert_eq!(validate(&path).is_ok(), server_accepts(&path, false));
                prop_assert_eq!(
                    validate_for_create(&path, true).is_ok(),
                    server_accepts(&path, true)
                );
            }
        }

        #[test]
        fn errors_point_into_the_path(path in text()) {
            if let Err(error) = validate(&path) {
                prop_assert_eq!(error.path(), &path);
                prop_assert!(path.is_char_boundary(error.position()));
            }
        }

        #[test]
        fn parent_and_name_join_to_the_path(path in "(/[a-zé.]{1,5}x){1,5}") {
            prop_assert_eq!(join(parent(&path).unwrap(), name(&path)), path.clone());
            prop_assert_eq!(ancestors(&path).next_back(), parent(&path).filter(|&p| p != "/"));
            prop_assert!(ancestors(&path).all(|above| validate(above).is_ok()));
        }

        #[test]
        fn sequence_numbers_are_read_back(prefix in ".{0,12}", number: i32) {
            let name = format!("{prefix}{number:010}");
            prop_assert_eq!(sequence_after(&prefix, &name), Some(number));
            if !prefix.ends_with(|c: char| c == '-' || c.is_ascii_alphanumeric()) {
                prop_assert_eq!(sequence(&name), Some(number));
            }
        }

        #[test]
        fn nothing_panics(path in any::<String>(), other in any::<String>()) {
            let _ = (validate(&path), validate_for_create(&path, true), parent(&path), name(&path));
            let _ = (ancestors(&path).count(), sequence(&path), sequence_after(&path, &other));
            let _ = join(&path, &other);
        }
    }
}
