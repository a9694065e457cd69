//! The calls that are about the servers: four-letter words, version, mode, and the members of the ensemble.

use std::collections::BTreeMap;

use zk_proto::{
    Chroot, HostPort, Request,
    records::{GetDataRequest, ReconfigRequest, Stat},
};

use crate::{
    AsyncResult, Client, EnsembleConfig, Error, ServerMode, ServerStats, Watch,
    from_reply::FromReply, inner::ClientInner, server_stats::pairs, surfaces::with_blocking,
};

/// The blocking forms that the signatures name.
mod blocking {
    pub(super) use crate::client::blocking::Client;
}

/// The node with the configuration of the ensemble. It is outside of any chroot.
const CONFIG_NODE: &str = "/zookeeper/config";

/// The version of a reconfiguration that accepts every present configuration.
const ANY_CONFIG: i64 = -1;

/// A change of the members of an ensemble, for [`Client::reconfig`](crate::Client::reconfig).
///
/// It is either a difference ([`joining`](Self::joining), [`leaving`](Self::leaving), or both), or the complete list
/// ([`new_members`](Self::new_members)). A server that joins must run already, with a configuration in which it knows
/// the others.
#[derive(Debug, Clone, Default)]
#[must_use = "it does nothing by itself: see `Client::reconfig`"]
pub struct Reconfig {
    joining: Option<String>,
    leaving: Option<String>,
    members: Option<String>,
    from: Option<i64>,
}

impl Reconfig {
    /// Sets the servers to add or to change, as `server.<id>=<host>:<port>:<port>:<role>;<client port>`, separated by
    /// commas. [`Member`](crate::Member) writes this form.
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
    /// - [`NotWhitelisted`](crate::ErrorKind::NotWhitelisted) if the server is not configured to answer the word.
    /// - [`NotServing`](crate::ErrorKind::NotServing) if the server has no quorum, or is just starting.
    /// - [`ConnectionClosed`](crate::ErrorKind::ConnectionClosed) if the client is not connected.
    /// - [`ConnectionLoss`](crate::ErrorKind::ConnectionLoss) or [`Timeout`](crate::ErrorKind::Timeout) if the server
    ///   cannot be reached.
    /// - [`InvalidReply`](crate::ErrorKind::InvalidReply) if the server closes the connection without an answer, because
    ///   it does not know the word.
    ///
    /// ```no_run
    /// # async fn example(zk: zk_client::Client) -> Result<(), zk_client::Error> {
    /// assert_eq!(zk.four_letter_word("ruok").await?, "imok");
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "command")]
    pub fn four_letter_word(&self, word: &str) -> AsyncResult<String> {
        self.ask(Ok(None), word, |_, _, answer| text(answer))
    }

    /// Sends a four-letter word to any server, and returns the answer.
    ///
    /// The client need not be connected. `host` is a name or an address, with a port unless it is 2181. Whether TLS is used
    /// depends on the client, as for its own servers.
    ///
    /// # Errors
    /// As [`four_letter_word`](Self::four_letter_word); [`InvalidInput`](crate::ErrorKind::InvalidInput) if `host` is not
    /// valid.
    ///
    /// ```no_run
    /// # async fn example(zk: zk_client::Client) -> Result<(), zk_client::Error> {
    /// for host in zk.hosts() {
    ///     println!("{host}: {:?}", zk.four_letter_word_of(host.to_string(), "ruok").await);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn four_letter_word_of(&self, host: impl AsRef<str>, word: &str) -> AsyncResult<String> {
        self.ask(parse(host.as_ref()), word, |_, _, answer| text(answer))
    }

    /// Returns the version of the present server, such as `[3, 8, 0]`.
    ///
    /// It asks by `srvr`, which servers answer by default. From then on, an error that says that this server does not know
    /// an operation names its version.
    ///
    /// # Errors
    /// As [`four_letter_word`](Self::four_letter_word).
    ///
    /// ```no_run
    /// # async fn example(zk: zk_client::Client) -> Result<(), zk_client::Error> {
    /// let has_persistent_watches = zk.server_version().await? >= [3, 6, 0];
    /// # Ok(())
    /// # }
    /// ```
    pub fn server_version(&self) -> AsyncResult<[u32; 3]> {
        self.ask(Ok(None), "srvr", |inner, host, answer| Some(stats(inner, host, answer)?.version))
    }

    /// Returns what the present server does in its ensemble: whether it is the leader, a follower, alone.
    ///
    /// # Errors
    /// As [`four_letter_word`](Self::four_letter_word).
    ///
    /// ```no_run
    /// # use zk_client::{Client, Error, ServerMode};
    /// # async fn example(zk: Client) -> Result<(), Error> {
    /// if zk.server_mode().await? == ServerMode::Standalone {
    ///     println!("there is only one server");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn server_mode(&self) -> AsyncResult<ServerMode> {
        self.ask(Ok(None), "srvr", |inner, host, answer| Some(stats(inner, host, answer)?.mode))
    }

    /// Returns what the present server says of itself: version, mode, load and latencies.
    ///
    /// It asks by `srvr`, which servers answer by default.
    ///
    /// # Errors
    /// As [`four_letter_word`](Self::four_letter_word).
    ///
    /// ```no_run
    /// # async fn example(zk: zk_client::Client) -> Result<(), zk_client::Error> {
    /// let stats = zk.server_stats().await?;
    /// println!("{} with {} nodes, at most {:?}", stats.mode, stats.node_count, stats.max_latency);
    /// # Ok(())
    /// # }
    /// ```
    pub fn server_stats(&self) -> AsyncResult<ServerStats> {
        self.ask(Ok(None), "srvr", stats)
    }

    /// Returns what any server says of itself: version, mode, load and latencies.
    ///
    /// # Errors
    /// As [`four_letter_word_of`](Self::four_letter_word_of).
    ///
    /// ```no_run
    /// # use zk_client::{Client, Error, ServerMode};
    /// # async fn example(zk: Client) -> Result<(), Error> {
    /// for host in zk.hosts() {
    ///     if zk.server_stats_of(host.to_string()).await?.mode == ServerMode::Leader {
    ///         println!("the leader is {host}");
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn server_stats_of(&self, host: impl AsRef<str>) -> AsyncResult<ServerStats> {
        self.ask(parse(host.as_ref()), "srvr", stats)
    }

    /// Returns the metrics of the present server, by their names: the answer to `mntr`.
    ///
    /// Which there are depends on the version and the configuration of the server. The names begin with `zk_`.
    ///
    /// # Errors
    /// As [`four_letter_word`](Self::four_letter_word). By default, `mntr` is
    /// [not whitelisted](crate::ErrorKind::NotWhitelisted).
    ///
    /// ```no_run
    /// # async fn example(zk: zk_client::Client) -> Result<(), zk_client::Error> {
    /// let metrics = zk.server_metrics().await?;
    /// println!("{:?} watches", metrics.get("zk_watch_count"));
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "mntr")]
    pub fn server_metrics(&self) -> AsyncResult<BTreeMap<String, String>> {
        self.ask(Ok(None), "mntr", |_, _, answer| map(answer, '\t'))
    }

    /// Returns the metrics of any server, by their names: the answer to `mntr`.
    ///
    /// # Errors
    /// As [`server_metrics`](Self::server_metrics) and [`four_letter_word_of`](Self::four_letter_word_of).
    pub fn server_metrics_of(&self, host: impl AsRef<str>) -> AsyncResult<BTreeMap<String, String>> {
        self.ask(parse(host.as_ref()), "mntr", |_, _, answer| map(answer, '\t'))
    }

    /// Returns the settings of the present server, by their names: the answer to `conf`.
    ///
    /// # Errors
    /// As [`four_letter_word`](Self::four_letter_word). By default, `conf` is
    /// [not whitelisted](crate::ErrorKind::NotWhitelisted).
    ///
    /// ```no_run
    /// # async fn example(zk: zk_client::Client) -> Result<(), zk_client::Error> {
    /// println!("a tick is {} ms", zk.server_settings().await?["tickTime"]);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "conf")]
    pub fn server_settings(&self) -> AsyncResult<BTreeMap<String, String>> {
        self.ask(Ok(None), "conf", |_, _, answer| map(answer, '='))
    }

    /// Returns the settings of any server, by their names: the answer to `conf`.
    ///
    /// # Errors
    /// As [`server_settings`](Self::server_settings) and [`four_letter_word_of`](Self::four_letter_word_of).
    pub fn server_settings_of(&self, host: impl AsRef<str>) -> AsyncResult<BTreeMap<String, String>> {
        self.ask(parse(host.as_ref()), "conf", |_, _, answer| map(answer, '='))
    }

    /// Returns the members of the ensemble, and the stat of the node that has them.
    ///
    /// The node is `/zookeeper/config`, whatever the client's chroot is. Everybody may read it, unless its ACL was changed.
    /// The configuration of a standalone server has no members.
    ///
    /// # Errors
    /// [`NoNode`](crate::ErrorCode::NoNode) on servers before 3.5, [`NoAuth`](crate::ErrorCode::NoAuth);
    /// [`InvalidReply`](crate::ErrorKind::InvalidReply) if the configuration is not understood.
    ///
    /// ```no_run
    /// # async fn example(zk: zk_client::Client) -> Result<(), zk_client::Error> {
    /// let (config, _) = zk.get_config().await?;
    /// for member in &config.members {
    ///     println!("server {} is a {} at {:?}", member.id, member.role, member.client);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "getConfig")]
    pub fn get_config(&self) -> AsyncResult<(EnsembleConfig, Stat)> {
        self.inner().call(&Chroot::ROOT, &read_config(false))
    }

    /// Does what [`get_config`](Self::get_config) does, and arms a watch.
    ///
    /// The watch fires when the members change. The path of its event is `/zookeeper/config`, whatever the client's chroot
    /// is.
    ///
    /// # Errors
    /// As [`get_config`](Self::get_config). If there is an error, there is no watch.
    ///
    /// A client that follows the ensemble:
    ///
    /// ```no_run
    /// # async fn example(zk: zk_client::Client) -> Result<(), zk_client::Error> {
    /// loop {
    ///     let (config, _, watch) = zk.get_config_and_watch().await?;
    ///     zk.set_hosts(&config.connect_string())?;
    ///     watch.await?;
    /// }
    /// # }
    /// ```
    pub fn get_config_and_watch(&self) -> AsyncResult<(EnsembleConfig, Stat, Watch)> {
        self.inner().call_watch(&Chroot::ROOT, &read_config(true), |reply, watch| {
            <(EnsembleConfig, Stat)>::from_reply(reply).map(|(config, stat)| (config, stat, watch))
        })
    }

    /// Changes the members of the ensemble, and returns the new configuration and the stat of its node.
    ///
    /// The servers must have `reconfigEnabled=true`. The client needs the permission to write to `/zookeeper/config`, which
    /// by default nobody has but the super user.
    ///
    /// # Errors
    /// - [`ReconfigDisabled`](crate::ErrorCode::ReconfigDisabled)
    /// - [`NoAuth`](crate::ErrorCode::NoAuth)
    /// - [`BadVersion`](crate::ErrorCode::BadVersion) if the present configuration has another version
    /// - [`BadArguments`](crate::ErrorCode::BadArguments) if the change is not valid, or leaves too few members
    /// - [`NewConfigNoQuorum`](crate::ErrorCode::NewConfigNoQuorum) if too few of the new members are connected to the
    ///   leader and up to date: try again later
    /// - [`ReconfigInProgress`](crate::ErrorCode::ReconfigInProgress): try again later
    /// - [`Unimplemented`](crate::ErrorCode::Unimplemented) on a standalone server, and on servers before 3.5
    ///
    /// ```no_run
    /// # use zk_client::{Client, Error, Reconfig};
    /// # async fn example(zk: Client) -> Result<(), Error> {
    /// let (config, _) = zk.get_config().await?;
    /// let change = Reconfig::default().leaving("3").from_config(config.version);
    /// let (config, _) = zk.reconfig(&change).await?;
    /// println!("now there are {} members", config.members.len());
    /// # Ok(())
    /// # }
    /// ```
    pub fn reconfig(&self, change: &Reconfig) -> AsyncResult<(EnsembleConfig, Stat)> {
        self.call(&Request::Reconfig(ReconfigRequest {
            joining_servers: change.joining.as_deref(),
            leaving_servers: change.leaving.as_deref(),
            new_members: change.members.as_deref(),
            cur_config_id: change.from.unwrap_or(ANY_CONFIG),
        }))
    }
} }

impl Client {
    /// Sends a four-letter word to `host`, or to the present server. `read` makes the result from the answer.
    fn ask<T: Clone + Send + 'static>(
        &self,
        host: Result<Option<HostPort>, Error>,
        word: &str,
        read: impl FnOnce(&ClientInner, &HostPort, &str) -> Option<T> + Send + 'static,
    ) -> AsyncResult<T> {
        match (host, word.as_bytes().try_into()) {
            (Ok(host), Ok(letters)) if word.bytes().all(|byte| byte.is_ascii_lowercase()) => {
                self.inner().four_letter_word(host, letters, read)
            }
            (Err(error), _) => self.failed(error),
            _ => self.failed(Error::invalid(format!("{word:?} is not a four-letter word"))),
        }
    }
}

fn parse(host: &str) -> Result<Option<HostPort>, Error> {
    Ok(Some(host.parse()?))
}

/// The answer as it is, unless there is none.
fn text(answer: &str) -> Option<String> {
    (!answer.is_empty()).then(|| answer.to_owned())
}

fn map(answer: &str, separator: char) -> Option<BTreeMap<String, String>> {
    Some(pairs(answer, separator)).filter(|pairs| !pairs.is_empty())
}

/// Reads the answer to `srvr`, and notes the version of the server.
fn stats(inner: &ClientInner, host: &HostPort, answer: &str) -> Option<ServerStats> {
    let stats = ServerStats::parse(answer)?;
    inner.note_server_version(host, stats.version);
    Some(stats)
}

fn read_config(watch: bool) -> Request<'static> {
    Request::GetData(GetDataRequest { path: CONFIG_NODE, watch: watch.into() })
}
