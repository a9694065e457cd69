//! The calls that are about the servers: four-letter words, version, reconfiguration.

use bytes::Bytes;
use zk_proto::{
    Request,
    records::{ReconfigRequest, Stat},
};

use crate::{AsyncResult, Client, Error, client::blocking, surfaces::with_blocking};

/// The version of a reconfiguration that accepts every present configuration.
const ANY_CONFIG: i64 = -1;

/// A change of the members of an ensemble, for [`Client::reconfig`](crate::Client::reconfig).
#[derive(Debug, Clone, Default)]
#[must_use = "it does nothing by itself: see `Client::reconfig`"]
pub struct Reconfig {
    joining: Option<String>,
    leaving: Option<String>,
    members: Option<String>,
    from: Option<i64>,
}

impl Reconfig {
    /// Sets the servers to add or to change, as `server.<id>=<host>:<port>:<port>;<client port>`, separated by commas.
    pub fn joining(mut self, servers: impl Into<String>) -> Self {
        self.joining = Some(servers.into());
        self
    }

    /// Sets the ids of the servers to remove, separated by commas.
    pub fn leaving(mut self, ids: impl Into<String>) -> Self {
        self.leaving = Some(ids.into());
        self
    }

    /// Sets the complete list of servers, in the form of [`joining`](Self::joining), instead of a difference.
    pub fn new_members(mut self, servers: impl Into<String>) -> Self {
        self.members = Some(servers.into());
        self
    }

    /// Sets the version that the present configuration must have: the zxid of the change that made it. Default: any.
    pub const fn from_config(mut self, version: i64) -> Self {
        self.from = Some(version);
        self
    }
}

with_blocking! { impl Client {
    /// Sends a four-letter word, such as `ruok` or `srvr`, to the present server, and returns the answer.
    ///
    /// The word goes to the server of the present connection, on a connection of its own, which may take as long as the
    /// client's [`connect_timeout`](crate::ClientBuilder::connect_timeout).
    ///
    /// By default, servers answer `srvr` only (`4lw.commands.whitelist`).
    ///
    /// # Errors
    /// - [`InvalidInput`](crate::ErrorKind::InvalidInput) if `word` is not four lower-case letters.
    /// - [`ConnectionClosed`](crate::ErrorKind::ConnectionClosed) if the client is not connected.
    /// - [`ConnectionLoss`](crate::ErrorKind::ConnectionLoss) or [`Timeout`](crate::ErrorKind::Timeout) if the server
    ///   does not answer.
    ///
    /// ```no_run
    /// # async fn example(zk: zk_client::Client) -> Result<(), zk_client::Error> {
    /// println!("{}", zk.four_letter_word("srvr").await?);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "command")]
    pub fn four_letter_word(&self, word: &str) -> AsyncResult<String> {
        match word.as_bytes().try_into() {
            Ok(letters) if word.bytes().all(|byte| byte.is_ascii_lowercase()) => {
                self.inner().four_letter_word(letters)
            }
            _ => self.failed(Error::invalid(format!("{word:?} is not a four-letter word"))),
        }
    }

    /// Returns the version of the present server, such as `[3, 8, 0]`.
    ///
    /// # Errors
    /// As [`four_letter_word`](Self::four_letter_word); [`InvalidReply`](crate::ErrorKind::InvalidReply) if the answer has
    /// no version.
    pub fn server_version(&self) -> AsyncResult<[u32; 3]> {
        let answer = self.four_letter_word("srvr");
        self.inner().spawn_task(async move {
            let answer = answer.await?;
            version(&answer).ok_or_else(|| Error::invalid_reply(None, "the answer to srvr has no version"))
        })
    }

    /// Changes the members of the ensemble, and returns the new configuration and the stat of its node.
    ///
    /// # Errors
    /// [`ReconfigDisabled`](crate::ErrorCode::ReconfigDisabled), [`NoAuth`](crate::ErrorCode::NoAuth),
    /// [`BadVersion`](crate::ErrorCode::BadVersion) if the present configuration has another version,
    /// [`NewConfigNoQuorum`](crate::ErrorCode::NewConfigNoQuorum),
    /// [`ReconfigInProgress`](crate::ErrorCode::ReconfigInProgress).
    ///
    /// ```no_run
    /// # use zk_client::{Client, Error, Reconfig};
    /// # async fn example(zk: Client) -> Result<(), Error> {
    /// let (config, _) = zk.reconfig(&Reconfig::default().leaving("3")).await?;
    /// println!("{}", String::from_utf8_lossy(&config));
    /// # Ok(())
    /// # }
    /// ```
    pub fn reconfig(&self, change: &Reconfig) -> AsyncResult<(Bytes, Stat)> {
        self.call(&Request::Reconfig(ReconfigRequest {
            joining_servers: change.joining.as_deref(),
            leaving_servers: change.leaving.as_deref(),
            new_members: change.members.as_deref(),
            cur_config_id: change.from.unwrap_or(ANY_CONFIG),
        }))
    }
} }

/// The version in the answer to `srvr`: `Zookeeper version: 3.8.0-5a02a05…, built on …`.
fn version(srvr: &str) -> Option<[u32; 3]> {
    let version = srvr.lines().find_map(|line| line.strip_prefix("Zookeeper version: "))?;
    let version = version.split(['-', ',', ' ']).next()?;
    let mut numbers = version.splitn(3, '.').map(str::parse);
    let mut number = || numbers.next()?.ok();
    Some([number()?, number()?, number()?])
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions_are_read() {
        let srvr = "Zookeeper version: 3.8.0-5a02a05eddb59aee6ac762f7ea82e92a68eb9c0f, built on 2022\nMode: \n";
        assert_eq!(version(srvr), Some([3, 8, 0]));
        assert_eq!(version("Zookeeper version: 3.10.12, built on 2030"), Some([3, 10, 12]));
        for other in [
            "",
            "srvr is not executed because it is not in the whitelist.",
            "Zookeeper version: 3.x",
        ] {
            assert_eq!(version(other), None, "{other}");
        }
    }
}
