//! Strings that users write: paths, chroots, names with a sequence number, connection strings.

use bytes::BytesMut;
use zk_proto::{
    Chroot, ConnectString, CreateMode, HostPort, Request, Ustring,
    jute::Encode,
    path::{
        ancestors, join, name, parent, sequence, sequence_after, validate, validate_for_create,
    },
    records::{CreateRequest, SyncRequest},
};

use crate::memory::within;

/// Applies the path functions to two strings. The input is the length of the first one, and both.
///
/// Validation agrees with the server's rules, and its errors point into the path. Splitting and joining are inverse.
/// Adding and removing a chroot are inverse. The sequence number of a name is the one that the server wrote.
///
/// # Panics
/// Panics if that is not the case.
pub fn path(input: &[u8]) {
    let Some((&len, texts)) = input.split_first() else { return };
    let (first, second) = texts.split_at(texts.len().min(len.into()));
    let (first, second) = (String::from_utf8_lossy(first), String::from_utf8_lossy(second));
    verdict(&first);
    check_parts(&first, &second);
    check_chroot(&first, &second);
    check_number(&first, &second);
}

fn verdict(path: &str) {
    assert_eq!(validate_for_create(path, false), validate(path));
    let units: Vec<u16> = path.encode_utf16().collect();
    // An error contains the path.
    match within(path.len() + 64, || validate(path)) {
        Ok(()) => assert!(server_accepts(&units), "{path:?} is no path"),
        Err(error) => {
            assert!(!server_accepts(&units), "{path:?} is a path");
            assert_eq!(error.path(), path);
            assert!(path.is_char_boundary(error.position()));
        }
    }
    let numbered = [&units[..], &[u16::from(b'1')]].concat();
    assert_eq!(validate_for_create(path, true).is_ok(), server_accepts(&numbered), "{path:?}");
}

/// `org.apache.zookeeper.common.PathUtils.validatePath`, ported line by line.
fn server_accepts(chars: &[u16]) -> bool {
    const SLASH: u16 = b'/' as u16;
    const DOT: u16 = b'.' as u16;
    if chars.is_empty() || chars[0] != SLASH {
        return false;
    }
    if chars.len() == 1 {
        return true;
    }
    if chars[chars.len() - 1] == SLASH {
        return false;
    }
    let mut last = SLASH;
    for i in 1..chars.len() {
        let c = chars[i];
        let ends = i + 1 == chars.len() || chars[i + 1] == SLASH;
        if c == 0 || (c == SLASH && last == SLASH) {
            return false;
        } else if c == DOT && last == DOT {
            if chars[i - 2] == SLASH && ends {
                return false;
            }
        } else if c == DOT {
            if chars[i - 1] == SLASH && ends {
                return false;
            }
        } else if (c > 0 && c <= 0x1f)
            || (0x7f..=0x9f).contains(&c)
            || (0xd800..=0xf8ff).contains(&c)
            || c >= 0xfff0
        {
            return false;
        }
        last = c;
    }
    true
}

fn check_parts(path: &str, other: &str) {
    let above: Vec<_> = ancestors(path).collect();
    assert!(ancestors(path).rev().eq(above.iter().rev().copied()));
    let joined = join(path, other);
    if validate(path).is_err() {
        return;
    }
    match parent(path) {
        None => assert_eq!((path, name(path)), ("/", "")),
        Some(above) => {
            assert_eq!(validate(above), Ok(()));
            assert_eq!(join(above, name(path)), path);
            assert!(!name(path).is_empty() && !name(path).contains('/'));
        }
    }
    let mut at = path;
    for above in above.into_iter().rev() {
        assert_eq!(parent(at), Some(above));
        at = above;
    }
    assert!(matches!(parent(at), None | Some("/")));
    if validate(other).is_ok() && other != "/" {
        assert_eq!(validate(&joined), Ok(()));
        assert!(joined.ends_with(other));
    }
}

fn check_chroot(chroot: &str, path: &str) {
    let Ok(root) = Chroot::new(chroot) else {
        assert!(validate(chroot).is_err() && !chroot.is_empty());
        return;
    };
    assert_eq!(root.is_root(), matches!(chroot, "" | "/"));
    assert_eq!(root.to_string().parse::<Chroot>(), Ok(root.clone()));
    let stripped = root.strip(path);
    assert_eq!(stripped, strip(root.as_str(), path), "{path:?} under {chroot:?}");
    assert_eq!(root.strip_ustring(path.into()), stripped.map(Ustring::from));
    if validate_for_create(path, true).is_ok() {
        let joined = root.join_sequential(path);
        assert_eq!(validate_for_create(&joined, true), Ok(()));
        let number = format!("{path}0000000001");
        assert_eq!(root.strip(&format!("{joined}0000000001")), Some(number.as_str()));
        let flags = CreateMode::PersistentSequential;
        let create = |path| Request::Create(CreateRequest { path, data: None, acl: None, flags });
        assert_eq!(body(&create(path), &root), body(&create(&joined), &Chroot::ROOT));
    }
    if validate(path).is_ok() {
        let joined = root.join(path);
        assert_eq!(validate(&joined), Ok(()));
        assert_eq!(root.strip(&joined), Some(path));
        assert_eq!(body(&Request::Sync(SyncRequest { path }), &root), text(&joined));
    }
}

/// Removes the chroot from a path.
fn strip<'p>(chroot: &str, path: &'p str) -> Option<&'p str> {
    if chroot == "/" {
        return Some(path);
    }
    if path == chroot {
        return Some("/");
    }
    path.strip_prefix(chroot).filter(|rest| rest.starts_with('/'))
}

/// The record of `request` as a session with this chroot sends it.
fn body(request: &Request<'_>, chroot: &Chroot) -> BytesMut {
    encoded(|out| request.encode_body_in_chroot(chroot, &mut String::new(), out))
}

fn encoded(encode: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut out = BytesMut::new();
    encode(&mut out);
    out
}

fn text(text: &str) -> BytesMut {
    encoded(|out| text.encode(out))
}

fn check_number(prefix: &str, text: &str) {
    // Any number can be parsed.
    let bytes = text.bytes().chain([0; 4]).take(4);
    let number = bytes.fold(0, |number: i32, byte| (number << 8) | i32::from(byte));
    for number in [number, number.wrapping_neg(), number % 1_000, i32::MIN, i32::MAX] {
        let name = format!("{prefix}{number:010}");
        assert_eq!(sequence_after(prefix, &name), Some(number), "{name:?}");
        if !prefix.ends_with(|c: char| c == '-' || c.is_ascii_alphanumeric()) {
            assert_eq!(sequence(&name), Some(number), "{name:?}");
        }
    }
    // A parsed number is one that the server would have written.
    for name in [text, &[prefix, text].concat()] {
        if let Some(number) = sequence(name) {
            assert!(name.ends_with(&format!("{number:010}")), "{number} in {name:?}");
        }
        if let Some(number) = sequence_after(prefix, name) {
            assert_eq!(name, format!("{prefix}{number:010}"));
        }
    }
}

/// Parses a connection string, which is the input.
///
/// The result has the hosts and the chroot of the string. Its `Display` parses to the same value.
///
/// # Panics
/// Panics if that is not the case.
pub fn connect_string(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let parsed = within(32 * text.len() + 1024, || text.parse::<ConnectString>());
    let one = text.parse::<HostPort>();
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            assert!(error.to_string().len() <= 16 * text.len() + 256);
            assert!(one.is_err() || text.contains(','), "a host by itself");
            return;
        }
    };
    let (hosts, chroot) = read(&text);
    let found = parsed.hosts().iter().map(|host| (host.host.as_str(), host.port));
    assert!(found.eq(hosts), "{parsed:?}");
    assert_eq!(parsed.chroot().as_str(), chroot);
    assert!(!parsed.hosts().is_empty());
    for host in parsed.hosts() {
        assert!(host.port > 0 && !host.host.is_empty());
        assert!(!host.host.contains(|c: char| c.is_whitespace() || c.is_control() || c == ','));
        assert_eq!(host.to_string().parse(), Ok(host.clone()));
    }
    if let Ok(one) = one {
        assert_eq!(parsed.hosts(), [one]);
    }
    assert_eq!(parsed.to_string().parse(), Ok(parsed));
}

/// The parts of a valid connection string, found in a simple way.
fn read(text: &str) -> (Vec<(&str, u16)>, &str) {
    let text = text.trim();
    let (hosts, chroot) = text.split_at(text.find('/').unwrap_or(text.len()));
    let hosts = hosts.split(',').map(|host| {
        let host = host.trim();
        let end = host.find(']').map_or(0, |at| at + 1);
        let (name, port) = match host[end..].find(':') {
            Some(at) => (&host[..end + at], host[end + at + 1..].parse().expect("a port")),
            None => (host, 2181),
        };
        (name.trim_start_matches('[').trim_end_matches(']'), port)
    });
    // A chroot may end with a slash.
    let chroot = chroot.strip_suffix('/').unwrap_or(chroot);
    (hosts.collect(), if chroot.is_empty() { "/" } else { chroot })
}
