//! [`EnsembleConfig`]: the members of an ensemble, as its servers tell them.

use std::{fmt, str::FromStr};

use zk_proto::HostPort;

use crate::Error;

/// The host of a client address that names a port only: all addresses of the server.
const ANY_HOST: &str = "0.0.0.0";

/// The configuration of an ensemble: its members, and its version
/// (`org.apache.zookeeper.server.quorum.flexible.QuorumVerifier`).
///
/// [`Client::get_config`](crate::Client::get_config) and [`Client::reconfig`](crate::Client::reconfig) return it. A
/// standalone server has no members.
///
/// ```
/// use zk_client::{EnsembleConfig, MemberRole};
///
/// let config: EnsembleConfig = "server.1=zk1:2888:3888:participant;0.0.0.0:2181\n\
///                               server.2=zk2:2888:3888:observer;zk2:2182\n\
///                               version=100000003"
///     .parse()?;
/// assert_eq!(config.version, 0x1_0000_0003);
/// assert_eq!(config.members[1].role, MemberRole::Observer);
/// assert_eq!(config.connect_string(), "zk1:2181,zk2:2182");
/// # Ok::<(), zk_client::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EnsembleConfig {
    /// The version: the zxid of the change that made the configuration. 0 if it is that of the servers' files.
    pub version: i64,
    /// The members, by their ids.
    pub members: Vec<Member>,
    text: String,
}

/// A member of an ensemble (`org.apache.zookeeper.server.quorum.QuorumPeer.QuorumServer`).
///
/// `Display` writes it as [`Reconfig::joining`](crate::Reconfig::joining) and the servers' files have it.
///
/// ```
/// let line = "server.3=zk3:2888:3888:participant;0.0.0.0:2181";
/// let member: zk_client::Member = line.parse()?;
/// assert_eq!(member.to_string(), line);
/// # Ok::<(), zk_client::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// The id: the content of the server's file `myid`.
    pub id: i64,
    /// Where the other servers reach it: one address, or several with `zookeeper.multiAddress.enabled`.
    pub addresses: Vec<MemberAddress>,
    /// Whether it votes.
    pub role: MemberRole,
    /// Where clients reach it without TLS. The host is `0.0.0.0` or `::` if the server listens on all of its addresses.
    pub client: Option<HostPort>,
    /// Where clients reach it with TLS (3.10 and later). Older servers do not tell.
    pub secure_client: Option<HostPort>,
}

/// Where the other servers reach a member.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberAddress {
    /// The host name or the IP address. IPv6 addresses have no brackets.
    pub host: String,
    /// The port for followers.
    pub quorum_port: u16,
    /// The port for elections.
    pub election_port: u16,
}

/// Whether a member votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MemberRole {
    /// The member votes: it counts for the quorum.
    Participant,
    /// The member does not vote.
    Observer,
}

impl EnsembleConfig {
    /// Returns the configuration as the servers have it, with the lines that are not about members or the version: those
    /// of groups and weights.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the members' addresses for clients without TLS as a connect string, for
    /// [`Client::set_hosts`](crate::Client::set_hosts). It is empty if there is none.
    ///
    /// For a member that listens on all of its addresses, the host is that by which the other servers reach it.
    #[must_use]
    pub fn connect_string(&self) -> String {
        self.hosts(|member| member.client.as_ref())
    }

    /// Returns the members' addresses for clients with TLS, as [`connect_string`](Self::connect_string) does.
    #[must_use]
    pub fn secure_connect_string(&self) -> String {
        self.hosts(|member| member.secure_client.as_ref())
    }

    fn hosts<'m>(&'m self, address: impl Fn(&'m Member) -> Option<&'m HostPort>) -> String {
        let hosts = self.members.iter().filter_map(|member| {
            let address = address(member)?;
            Some(match (&*address.host, member.addresses.first()) {
                (ANY_HOST | "::", Some(own)) => HostPort::new(&own.host, address.port),
                _ => address.clone(),
            })
        });
        hosts.map(|host| host.to_string()).collect::<Vec<_>>().join(",")
    }
}

impl FromStr for EnsembleConfig {
    type Err = Error;

    /// Reads a configuration as the servers have it. Lines that are not about members or the version are ignored.
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut config = Self { version: 0, members: Vec::new(), text: text.to_owned() };
        for line in text.lines() {
            let Some((key, value)) = line.split_once('=') else { continue };
            if key.trim() == "version" {
                config.version = i64::from_str_radix(value.trim(), 16)
                    .map_err(|_| Error::invalid(format!("{line:?} has no version")))?;
            } else if key.trim().starts_with("server.") {
                config.members.push(line.parse()?);
            }
        }
        config.members.sort_by_key(|member| member.id);
        Ok(config)
    }
}

impl fmt::Display for EnsembleConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Member {
    type Err = Error;

    /// Reads `server.<id>=<host>:<port>:<port>[:<role>][;[<client host>:]<client port>[;[<host>:]<port>]]`.
    fn from_str(line: &str) -> Result<Self, Error> {
        Self::parse(line)
            .ok_or_else(|| Error::invalid(format!("{line:?} does not describe a server")))
    }
}

impl Member {
    fn parse(line: &str) -> Option<Self> {
        let (key, value) = line.trim().split_once('=')?;
        let id = key.trim().strip_prefix("server.")?.parse().ok()?;
        let mut parts = value.trim().split(';');
        let mut role = None;
        let mut addresses = Vec::new();
        for address in parts.next()?.split('|') {
            let (address, of_address) = MemberAddress::parse(address)?;
            addresses.push(address);
            role = role.or(of_address);
        }
        let mut client = || match parts.next().map(str::trim) {
            None | Some("") => Some(None),
            Some(address) => parse_client_address(address).map(Some),
        };
        let (client, secure_client) = (client()?, client()?);
        if parts.next().is_some() {
            return None;
        }
        let role = role.unwrap_or(MemberRole::Participant);
        Some(Self { id, addresses, role, client, secure_client })
    }
}

impl MemberAddress {
    /// Reads `<host>:<port>:<port>[:<role>]`.
    fn parse(text: &str) -> Option<(Self, Option<MemberRole>)> {
        let (host, rest) = match text.trim().strip_prefix('[') {
            Some(rest) => rest.split_once("]:")?,
            None => text.trim().split_once(':')?,
        };
        let mut fields = rest.split(':');
        let quorum_port = fields.next()?.parse().ok()?;
        let election_port = fields.next()?.parse().ok()?;
        let role = match fields.next() {
            None => None,
            Some(role) if role.eq_ignore_ascii_case("participant") => Some(MemberRole::Participant),
            Some(role) if role.eq_ignore_ascii_case("observer") => Some(MemberRole::Observer),
            Some(_) => return None,
        };
        let is_whole = fields.next().is_none() && !host.is_empty();
        is_whole.then(|| (Self { host: host.to_owned(), quorum_port, election_port }, role))
    }
}

/// Reads `[<host>:]<port>`.
fn parse_client_address(text: &str) -> Option<HostPort> {
    match text.parse::<u16>() {
        Ok(port) => Some(HostPort::new(ANY_HOST, port)),
        Err(_) => text.parse().ok(),
    }
}

impl fmt::Display for MemberRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Participant => "participant",
            Self::Observer => "observer",
        })
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "server.{}=", self.id)?;
        for (at, address) in self.addresses.iter().enumerate() {
            let separator = if at == 0 { "" } else { "|" };
            let quorum = HostPort::new(&address.host, address.quorum_port);
            write!(f, "{separator}{quorum}:{}", address.election_port)?;
        }
        write!(f, ":{}", self.role)?;
        match (&self.client, &self.secure_client) {
            (None, None) => Ok(()),
            (Some(client), None) => write!(f, ";{client}"),
            (None, Some(secure)) => write!(f, ";;{secure}"),
            (Some(client), Some(secure)) => write!(f, ";{client};{secure}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_member_is_read_and_written() {
        for (line, written) in [
            ("server.1=a:1:2", "server.1=a:1:2:participant"),
            ("server.1=a:1:2;3", "server.1=a:1:2:participant;0.0.0.0:3"),
            ("server.10 = a:1:2:OBSERVER ; b:3", "server.10=a:1:2:observer;b:3"),
            ("server.1=[::1]:1:2;[::]:3", "server.1=[::1]:1:2:participant;[::]:3"),
            ("server.1=a:1:2|b:3:4:observer;5", "server.1=a:1:2|b:3:4:observer;0.0.0.0:5"),
            ("server.1=a:1:2;;6", "server.1=a:1:2:participant;;0.0.0.0:6"),
            ("server.1=a:1:2;b:5;c:6", "server.1=a:1:2:participant;b:5;c:6"),
        ] {
            let member: Member = line.parse().expect(line);
            assert_eq!(member.to_string(), written);
            assert_eq!(written.parse::<Member>().expect(written), member);
        }
        for bad in [
            "",
            "server.1",
            "server.x=a:1:2",
            "server.1=",
            "server.1=a",
            "server.1=a:1",
            "server.1=a:1:x",
            "server.1=a:1:2:leader",
            "server.1=a:1:2:observer:3",
            "server.1=:1:2",
            "server.1=[::1:1:2",
            "server.1=a:1:2;x:y",
            "server.1=a:1:2;3;4;5",
            "weight.1=a:1:2",
            "server.1=a:1:70000",
        ] {
            assert!(bad.parse::<Member>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_configuration_keeps_what_it_does_not_know() {
        let text = "server.2=b:1:2:participant;2181\nserver.1=a:1:2:participant;[::]:2182\n\
                    group.1=1:2\nweight.1=5\nversion=ff";
        let config: EnsembleConfig = text.parse().expect("a good one");
        assert_eq!((config.version, config.as_str()), (255, text));
        assert_eq!(config.members.iter().map(|member| member.id).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(config.connect_string(), "a:2182,b:2181");
        assert_eq!(config.secure_connect_string(), "");
        let none: EnsembleConfig = "".parse().expect("that of a standalone server");
        assert_eq!((none.version, none.members.len(), &*none.connect_string()), (0, 0, ""));
        assert!("version=xyz".parse::<EnsembleConfig>().is_err());
        assert!("server.1=a".parse::<EnsembleConfig>().is_err());
    }
}
