//! Connection strings such as `h1:2181,h2,[::1]:2182/app`, which all ZooKeeper clients accept.
//!
//! Parsing never skips or guesses: a string is accepted as a whole, or refused with an error that names the
//! invalid part. The order of the hosts is kept. `Display` writes a string that parses to the same value.
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

use alloc::{
    borrow::ToOwned,
    boxed::Box,
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::{
    fmt,
    net::{Ipv6Addr, SocketAddr},
    str::FromStr,
};

use crate::{Chroot, PathError};

/// The default port.
pub const DEFAULT_PORT: u16 = 2181;

/// Why a connection string is not valid.
///
/// ```
/// use zk_proto::ConnectString;
///
/// let error = "zk1:2181,zk2:21811111".parse::<ConnectString>().unwrap_err();
/// assert_eq!(error.to_string(), r#""21811111" in "zk2:21811111" is not a port from 1 to 65535"#);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostsError {
    /// The string has no host.
    #[error("there is no host")]
    NoHosts,
    /// A host is empty: there is nothing between two commas, or nothing before a port.
    #[error("a host is missing in {text:?}")]
    EmptyHost {
        /// The surrounding text.
        text: Box<str>,
    },
    /// A host has a character that is not valid in host names.
    #[error("host {host:?} has the forbidden character {character:?}")]
    BadHost {
        /// The host as given.
        host: Box<str>,
        /// The character.
        character: char,
    },
    /// A port is not a number from 1 to 65535.
    #[error("{port:?} in {text:?} is not a port from 1 to 65535")]
    BadPort {
        /// The host and port as given.
        text: Box<str>,
        /// The port as given.
        port: Box<str>,
    },
    /// A host has several colons and no brackets, so the end of the address is ambiguous.
    #[error("{text:?} has several colons: put an IPv6 address in brackets, such as [::1]:2181")]
    BareIpv6 {
        /// The host as given.
        text: Box<str>,
    },
    /// The brackets do not contain an IPv6 address, or are followed by something other than a port.
    #[error("{text:?} is not an IPv6 address in brackets, such as [::1]:2181")]
    BadIpv6 {
        /// The host as given.
        text: Box<str>,
    },
    /// The string has a scheme, such as `zk://host`. Connection strings do not have one.
    #[error("unexpected scheme {scheme:?}: a connection string starts with a host")]
    Scheme {
        /// The text before `://`.
        scheme: Box<str>,
    },
    /// There is a chroot after each host, as in `h1/app,h2/app`. There is only one chroot, after the last host.
    #[error("chroot in {text:?}: write it once, after the last host, such as h1:2181,h2:2181/app")]
    ChrootNotLast {
        /// The text from the first slash on.
        text: Box<str>,
    },
    /// The string is not valid and has an `@`. It may contain a password, so the error repeats none of it.
    #[error(
        "a connection string has no user, no password and no \"@\": add credentials with `auth`"
    )]
    Credential,
    /// The chroot is not a valid path.
    #[error("invalid chroot {:?}", source.path())]
    BadChroot {
        /// Why it is not valid.
        #[from]
        source: PathError,
    },
}

/// The address of a server: a port, and a host name or an IP address that is not resolved yet.
///
/// Parsing checks the host and the port. [`new`](Self::new) checks nothing: resolving an invalid host fails.
///
/// ```
/// use zk_proto::HostPort;
///
/// let server: HostPort = "[::1]:2182".parse()?;
/// assert_eq!(server, HostPort::new("::1", 2182));
/// assert_eq!(server.to_string(), "[::1]:2182");
/// # Ok::<(), zk_proto::HostsError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// The host name or the IP address. IPv6 addresses have no brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl HostPort {
    /// Creates an address from `host`, a name or an IP address without brackets, and `port`.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }
}

impl FromStr for HostPort {
    type Err = HostsError;

    fn from_str(text: &str) -> Result<Self, HostsError> {
        Self::parse(text).map_err(|error| without_secrets(error, text))
    }
}

/// Replaces an error that would repeat a part of `text`, if `text` may contain a password.
fn without_secrets(error: HostsError, text: &str) -> HostsError {
    if text.contains('@') { HostsError::Credential } else { error }
}

impl HostPort {
    fn parse(text: &str) -> Result<Self, HostsError> {
        let text = text.trim();
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let bad = || HostsError::BadIpv6 { text: text.into() };
                let (host, rest) = rest.split_once(']').ok_or_else(bad)?;
                if !is_ipv6(host) {
                    return Err(bad());
                }
                match rest {
                    "" => (host, None),
                    rest => (host, Some(rest.strip_prefix(':').ok_or_else(bad)?)),
                }
            }
            None => {
                let (host, port) = match text.split_once(':') {
                    Some((_, port)) if port.contains(':') => {
                        return Err(HostsError::BareIpv6 { text: text.into() });
                    }
                    Some((host, port)) => (host, Some(port)),
                    None => (text, None),
                };
                check_name(host, text)?;
                (host, port)
            }
        };
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) => parse_port(port)
                .ok_or_else(|| HostsError::BadPort { text: text.into(), port: port.into() })?,
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        let host = match address {
            SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
            address => address.ip().to_string(),
        };
        Self::new(host, address.port())
    }
}

/// Parses a number from 1 to 65535 that has digits only.
fn parse_port(port: &str) -> Option<u16> {
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    port.parse().ok().filter(|&port| port != 0)
}

/// Checks a host name or an IPv4 address. `text` is the surrounding text for errors.
///
/// Characters beyond ASCII are allowed; the resolver decides about them.
fn check_name(host: &str, text: &str) -> Result<(), HostsError> {
    if host.is_empty() {
        return Err(HostsError::EmptyHost { text: text.into() });
    }
    let forbidden = |character: &char| match character {
        '-' | '.' | '_' => false,
        ascii if ascii.is_ascii() => !ascii.is_ascii_alphanumeric(),
        other => other.is_whitespace() || other.is_control(),
    };
    match host.chars().find(forbidden) {
        None => Ok(()),
        Some(character) => Err(HostsError::BadHost { host: host.into(), character }),
    }
}

/// Returns true for an IPv6 address, with or without a zone (`fe80::1%eth0`).
fn is_ipv6(host: &str) -> bool {
    let (address, zone) = match host.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (host, None),
    };
    address.parse::<Ipv6Addr>().is_ok() && zone.is_none_or(|zone| check_name(zone, zone).is_ok())
}

/// A connection string: the servers of an ensemble in the order given, and a chroot.
///
/// Commas separate the servers. The default port is 2181. IPv6 addresses are in brackets. The chroot starts
/// at the first slash and may end with a slash. Whitespace around the string and around each server is
/// ignored. `Display` writes every port.
///
/// ```
/// use zk_proto::ConnectString;
///
/// let ensemble: ConnectString = "zk1:2182, zk2, [::1]:2183/app/x".parse()?;
/// assert_eq!(ensemble.hosts().len(), 3);
/// assert_eq!(ensemble.hosts()[1].port, 2181);
/// assert_eq!(ensemble.chroot().as_str(), "/app/x");
/// assert_eq!(ensemble.to_string(), "zk1:2182,zk2:2181,[::1]:2183/app/x");
/// # Ok::<(), zk_proto::HostsError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConnectString {
    /// Not empty.
    hosts: Vec<HostPort>,
    chroot: Chroot,
}

impl ConnectString {
    /// Creates a connection string from its parts.
    ///
    /// ```
    /// use zk_proto::{Chroot, ConnectString, HostPort};
    ///
    /// let hosts = [HostPort::new("zk1", 2181), HostPort::new("zk2", 2181)];
    /// let ensemble = ConnectString::new(hosts, Chroot::new("/app")?)?;
    /// assert_eq!(ensemble.to_string(), "zk1:2181,zk2:2181/app");
    /// # Ok::<(), zk_proto::HostsError>(())
    /// ```
    ///
    /// # Errors
    /// Returns [`HostsError::NoHosts`] if `hosts` is empty, and [`HostsError::ChrootNotLast`] if the displayed
    /// chroot would read like a chroot after each host, such as `/app,h2/app`.
    pub fn new(hosts: impl Into<Vec<HostPort>>, chroot: Chroot) -> Result<Self, HostsError> {
        let hosts = hosts.into();
        if hosts.is_empty() {
            return Err(HostsError::NoHosts);
        }
        if is_repeated(chroot.as_str()) {
            return Err(HostsError::ChrootNotLast { text: chroot.as_str().into() });
        }
        Ok(Self { hosts, chroot })
    }

    /// Returns the servers in the order given. There is at least one.
    #[must_use]
    pub fn hosts(&self) -> &[HostPort] {
        &self.hosts
    }

    /// Returns the chroot; the server's root if the string has none.
    #[must_use]
    pub const fn chroot(&self) -> &Chroot {
        &self.chroot
    }

    /// Returns the servers and the chroot.
    #[must_use]
    pub fn into_parts(self) -> (Vec<HostPort>, Chroot) {
        (self.hosts, self.chroot)
    }
}

impl FromStr for ConnectString {
    type Err = HostsError;

    fn from_str(text: &str) -> Result<Self, HostsError> {
        Self::parse(text).map_err(|error| without_secrets(error, text))
    }
}

impl ConnectString {
    fn parse(text: &str) -> Result<Self, HostsError> {
        let text = text.trim();
        let (hosts, chroot) =
            text.find('/').and_then(|slash| text.split_at_checked(slash)).unwrap_or((text, ""));
        if let (Some(scheme), true) = (hosts.strip_suffix(':'), chroot.starts_with("//")) {
            return Err(HostsError::Scheme { scheme: scheme.into() });
        }
        if hosts.trim().is_empty() {
            return Err(HostsError::NoHosts);
        }
        let hosts = hosts
            .split(',')
            .map(|host| match host.trim() {
                "" => Err(HostsError::EmptyHost { text: hosts.into() }),
                host => host.parse(),
            })
            .collect::<Result<Vec<HostPort>, _>>()?;
        // Whitespace before the last slash would be lost by `Display` and parsing.
        let trimmed = chroot
            .strip_suffix('/')
            .filter(|chroot| !chroot.ends_with(|c: char| c == '/' || c.is_whitespace()));
        let chroot = trimmed.unwrap_or(chroot);
        Self::new(hosts, Chroot::new(chroot)?)
    }
}

/// Returns true if there is a chroot after each host, as in `/app,h2/app`.
fn is_repeated(chroot: &str) -> bool {
    let mut parts = chroot.split(',');
    let first = parts.next().unwrap_or_default();
    let mut others = parts.peekable();
    first.len() > 1
        && others.peek().is_some()
        && others.all(|part| part.strip_suffix(first).is_some_and(|host| !host.is_empty()))
}

impl fmt::Display for ConnectString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, host) in self.hosts.iter().enumerate() {
            if nth > 0 {
                f.write_str(",")?;
            }
            fmt::Display::fmt(host, f)?;
        }
        if !self.chroot.is_root() {
            fmt::Display::fmt(&self.chroot, f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use core::error::Error as _;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn errors_do_not_repeat_passwords() {
        for text in [
            "canary:canary@h1:2181",
            "h1,canary:canary@h2",
            "zk://canary:canary@h1/app",
            "canary@h1",
            "canary:can/ary@h1",
            "canary:1:canary@h1",
            "[canary@h1",
        ] {
            let error = text.parse::<ConnectString>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("can"), "{error}");
            assert_eq!(error, HostsError::Credential);
        }
        assert_eq!("canary@h1".parse::<HostPort>(), Err(HostsError::Credential));
        assert!("h1/app@home".parse::<ConnectString>().is_ok());
    }

    #[test]
    fn valid_strings() {
        for (text, hosts, chroot, shown) in [
            ("h1", &[("h1", 2181)][..], "/", "h1:2181"),
            ("h1/app/", &[("h1", 2181)], "/app", "h1:2181/app"),
            ("h1:2182", &[("h1", 2182)], "/", "h1:2182"),
            ("h1:1,h2:65535", &[("h1", 1), ("h2", 65535)], "/", "h1:1,h2:65535"),
            (
                "h1:2181,h2,[::1]:2182/app/x",
                &[("h1", 2181), ("h2", 2181), ("::1", 2182)],
                "/app/x",
                "h1:2181,h2:2181,[::1]:2182/app/x",
            ),
            (
                "h2,h1,h2",
                &[("h2", 2181), ("h1", 2181), ("h2", 2181)],
                "/",
                "h2:2181,h1:2181,h2:2181",
            ),
            ("h1/", &[("h1", 2181)], "/", "h1:2181"),
            ("h1/a,b:1", &[("h1", 2181)], "/a,b:1", "h1:2181/a,b:1"),
            (" h1 ,\th2:7 /app\n", &[("h1", 2181), ("h2", 7)], "/app", "h1:2181,h2:7/app"),
            ("127.0.0.1:2181", &[("127.0.0.1", 2181)], "/", "127.0.0.1:2181"),
            ("[2001:db8::1]", &[("2001:db8::1", 2181)], "/", "[2001:db8::1]:2181"),
            ("[fe80::1%eth0]:9", &[("fe80::1%eth0", 9)], "/", "[fe80::1%eth0]:9"),
            ("[::ffff:10.0.0.1]", &[("::ffff:10.0.0.1", 2181)], "/", "[::ffff:10.0.0.1]:2181"),
            (
                "zoo_1.Example-2.com.:02181",
                &[("zoo_1.Example-2.com.", 2181)],
                "/",
                "zoo_1.Example-2.com.:2181",
            ),
            ("zürich", &[("zürich", 2181)], "/", "zürich:2181"),
        ] {
            let parsed: ConnectString = text.parse().unwrap_or_else(|e| panic!("{text:?}: {e}"));
            let found: Vec<_> = parsed.hosts().iter().map(|h| (h.host.as_str(), h.port)).collect();
            assert_eq!(found, hosts, "{text:?}");
            assert_eq!(parsed.chroot().as_str(), chroot, "{text:?}");
            assert_eq!(parsed.to_string(), shown);
            assert_eq!(shown.parse(), Ok(parsed));
        }
    }

    #[test]
    fn invalid_strings() {
        for (text, message) in [
            ("", "there is no host"),
            (" \n", "there is no host"),
            ("/app", "there is no host"),
            (" /app", "there is no host"),
            (",", r#"a host is missing in ",""#),
            ("h1,,h2", r#"a host is missing in "h1,,h2""#),
            ("h1, /app", r#"a host is missing in "h1, ""#),
            ("h1,:2181", r#"a host is missing in ":2181""#),
            ("h 1", r#"host "h 1" has the forbidden character ' '"#),
            ("h1;h2", r#"host "h1;h2" has the forbidden character ';'"#),
            ("h1\0", r#"host "h1\0" has the forbidden character '\0'"#),
            ("h]", r#"host "h]" has the forbidden character ']'"#),
            ("h1:", r#""" in "h1:" is not a port from 1 to 65535"#),
            ("h1:0", r#""0" in "h1:0" is not a port from 1 to 65535"#),
            ("h1:+1", r#""+1" in "h1:+1" is not a port from 1 to 65535"#),
            ("h1:65536", r#""65536" in "h1:65536" is not a port from 1 to 65535"#),
            ("h1:x/app", r#""x" in "h1:x" is not a port from 1 to 65535"#),
            ("[::1]:", r#""" in "[::1]:" is not a port from 1 to 65535"#),
            (
                "::1",
                r#""::1" has several colons: put an IPv6 address in brackets, such as [::1]:2181"#,
            ),
            (
                "h1:1:2",
                r#""h1:1:2" has several colons: put an IPv6 address in brackets, such as [::1]:2181"#,
            ),
            ("[::1", r#""[::1" is not an IPv6 address in brackets, such as [::1]:2181"#),
            ("[]", r#""[]" is not an IPv6 address in brackets, such as [::1]:2181"#),
            ("[h1]:2181", r#""[h1]:2181" is not an IPv6 address in brackets, such as [::1]:2181"#),
            ("[::1]2181", r#""[::1]2181" is not an IPv6 address in brackets, such as [::1]:2181"#),
            (
                "[fe80::1%]",
                r#""[fe80::1%]" is not an IPv6 address in brackets, such as [::1]:2181"#,
            ),
            ("zk://h1", r#"unexpected scheme "zk": a connection string starts with a host"#),
            ("h1//app", r#"invalid chroot "//app""#),
            ("h1/app//", r#"invalid chroot "/app//""#),
            ("h1/app /", r#"invalid chroot "/app /""#),
            (
                "h1/app,h2:2182/app",
                r#"chroot in "/app,h2:2182/app": write it once, after the last host, such as h1:2181,h2:2181/app"#,
            ),
            ("h1/a/../b", r#"invalid chroot "/a/../b""#),
        ] {
            let error = text.parse::<ConnectString>().unwrap_err();
            assert_eq!(error.to_string(), message, "{text:?}");
        }
    }

    #[test]
    fn an_invalid_chroot_has_a_source() {
        let error = "h1/app/./x".parse::<ConnectString>().unwrap_err();
        assert!(error.source().unwrap().to_string().contains(r#"path "/app/./x""#), "{error:?}");
    }

    #[test]
    fn from_parts() {
        assert_eq!(ConnectString::new([], Chroot::ROOT), Err(HostsError::NoHosts));
        let ambiguous = Chroot::new("/é,é/é").unwrap();
        assert_eq!(
            ConnectString::new([HostPort::new("h1", 1)], ambiguous),
            Err(HostsError::ChrootNotLast { text: "/é,é/é".into() })
        );
        let hosts = [HostPort::new("h1", 1), HostPort::new("::1", 2)];
        let made = ConnectString::new(hosts.clone(), Chroot::new("/a").unwrap()).unwrap();
        assert_eq!(made.to_string(), "h1:1,[::1]:2/a");
        assert_eq!(made.into_parts(), (hosts.into(), Chroot::new("/a").unwrap()));
    }

    #[test]
    fn from_socket_addresses() {
        for address in ["127.0.0.1:2181", "[::1]:2182", "[fe80::1%3]:2181"] {
            let parsed: SocketAddr = address.parse().unwrap();
            assert_eq!(HostPort::from(parsed).to_string(), address);
        }
    }

    fn host_port() -> impl Strategy<Value = HostPort> {
        let host = prop_oneof![
            "[a-zA-Z0-9_.-]{1,12}",
            any::<core::net::Ipv4Addr>().prop_map(|address| address.to_string()),
            any::<Ipv6Addr>().prop_map(|address| address.to_string()),
        ];
        (host, 1..=u16::MAX).prop_map(|(host, port)| HostPort::new(host, port))
    }

    proptest! {
        #[test]
        fn display_and_parse_round_trip(
            hosts in proptest::collection::vec(host_port(), 1..5),
            chroot in "(/[a-zé,:]{1,4}){0,3}",
        ) {
            match ConnectString::new(hosts, Chroot::new(&chroot).unwrap()) {
                Ok(made) => prop_assert_eq!(made.to_string().parse(), Ok(made)),
                Err(error) => {
                    prop_assert_eq!(&error, &HostsError::ChrootNotLast { text: chroot.as_str().into() });
                    prop_assert_eq!(format!("a:1{chroot}").parse::<ConnectString>(), Err(error));
                }
            }
        }

        #[test]
        fn parse_and_display_round_trip(text in "[ah1 ,:/\\[\\].%0-2]{0,24}") {
            if let Ok(parsed) = text.parse::<ConnectString>() {
                prop_assert_eq!(parsed.to_string().parse(), Ok(parsed));
            }
        }

        #[test]
        fn nothing_panics(text in any::<String>(), port: u16) {
            let _ = (text.parse::<ConnectString>(), text.parse::<HostPort>());
            let _ = HostPort::new(text, port).to_string();
        }
    }
}
