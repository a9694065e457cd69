//! Real ZooKeeper servers: how to configure, start and stop them.

use std::fs;
use std::io::{self, PipeWriter};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use crate::certificates::Holder;
use crate::free_address::free_address;
use crate::installed::{JAVA, classpath, installed};
use crate::process::{Process, TempDirectory};
use crate::security::{ClientAuth, Sasl, Tls};
use crate::{eventually, lock, minimal_client, poll, txn_log};

const MAIN: &str = "org.apache.zookeeper.server.quorum.QuorumPeerMain";

/// Options of a small virtual machine that starts fast and leaves no files.
const JVM: [&str; 7] = [
    "-Xmx256m",
    "-Xshare:auto",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
    // Credentials are read in this encoding.
    "-Dfile.encoding=UTF-8",
];

/// Log warnings only, enable all features, and do not sync to disk.
const PROPERTIES: [(&str, &str); 7] = [
    ("org.slf4j.simpleLogger.defaultLogLevel", "warn"),
    ("org.apache.logging.log4j.level", "WARN"),
    ("org.slf4j.simpleLogger.showDateTime", "true"),
    ("zookeeper.forceSync", "no"),
    ("zookeeper.extendedTypesEnabled", "true"),
    ("zookeeper.fastleader.maxNotificationInterval", "1000"),
    ("zookeeper.DigestAuthenticationProvider.superDigest", SUPER_DIGEST),
];

/// The user `super` with the password `test`.
pub(crate) const SUPER_DIGEST: &str = "super:D/InIHSb7yEEbrWz8b9l71RjZJU=";

/// The time that servers may take to serve, or to agree on a leader.
const SERVING_LIMIT: Duration = Duration::from_secs(60);
/// The time that a server may take to end after `SIGTERM`.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// The timeout of a request for the mode, before it is repeated.
const MODE_LIMIT: Duration = Duration::from_secs(1);
/// The number of attempts to start servers, with other ports each time.
const START_ATTEMPTS: usize = 3;

/// The configuration of servers. The defaults suit tests: short ticks, session timeouts of 0.5 to 60 seconds,
/// all four-letter words, reconfiguration, all extended types, no forced writes, no connection limit, and a
/// user `super` with the password `test`.
#[derive(Clone, Debug)]
pub struct Options {
    tick_time: Duration,
    read_only_mode: bool,
    pub(crate) tls: Option<Tls>,
    pub(crate) sasl: Option<Sasl>,
    config: Vec<String>,
    pub(crate) properties: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tick_time: Duration::from_millis(500),
            read_only_mode: true,
            tls: None,
            sasl: None,
            config: Vec::new(),
            properties: Vec::new(),
        }
    }
}

impl Options {
    /// Sets `tickTime`, 500 ms by default.
    #[must_use]
    pub fn tick_time(mut self, tick_time: Duration) -> Self {
        self.tick_time = tick_time;
        self
    }

    /// Sets whether a server without a quorum serves reads, as it does by
    /// default.
    #[must_use]
    pub fn read_only_mode(mut self, enabled: bool) -> Self {
        self.read_only_mode = enabled;
        self
    }

    /// Adds a line to `zoo.cfg`; it takes precedence over an earlier one.
    #[must_use]
    pub fn config(mut self, line: impl Into<String>) -> Self {
        self.config.push(line.into());
        self
    }

    /// Sets a system property of the Java virtual machine.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.push((name.into(), value.into()));
        self
    }

    /// Gives each server a second port for TLS, at [`Ensemble::tls_hosts`]. Its certificate is that of
    /// [`Holder::Server`], and it trusts the authority of
    /// [`Certificates::shared`](crate::Certificates::shared).
    ///
    /// As configured so, 3.8 takes TLS 1.2 only, and 3.9 takes TLS 1.3 only. A client with a certificate has
    /// the identity `x509:CN=client`.
    #[must_use]
    pub fn tls(mut self, client_auth: ClientAuth) -> Self {
        self.tls = Some(Tls { client_auth, server: Holder::Server, check_revocation: false });
        self.property(Tls::FACTORY.0, Tls::FACTORY.1)
    }

    /// Sets whose certificate the servers have.
    ///
    /// # Panics
    ///
    /// Without [`tls`](Self::tls).
    #[must_use]
    pub fn server_certificate(mut self, holder: Holder) -> Self {
        self.tls.as_mut().expect("this is an option of TLS").server = holder;
        self
    }

    /// Has the servers refuse clients whose certificate is on the revocation list of its authority (`ssl.crl`).
    ///
    /// # Panics
    ///
    /// Without [`tls`](Self::tls).
    #[must_use]
    pub fn check_revocation(mut self) -> Self {
        self.tls.as_mut().expect("this is an option of TLS").check_revocation = true;
        self
    }

    /// Has the servers take SASL by DIGEST-MD5, from users with these names and passwords. The name of the
    /// service is `zookeeper`, and its host `zk-sasl-md5`.
    #[must_use]
    pub fn sasl_digest_md5(mut self, users: &[(&str, &str)]) -> Self {
        let owned = |&(name, password): &(&str, &str)| (name.to_owned(), password.to_owned());
        self.sasl = Some(Sasl::DigestMd5 { users: users.iter().map(owned).collect() });
        self.property(Sasl::PROVIDER.0, Sasl::PROVIDER.1)
    }

    /// Has the servers take SASL by GSSAPI, as `principal` (such as `zookeeper/localhost@REALM`) with its key
    /// in `keytab`. The KDC is that of `krb5_conf`.
    #[must_use]
    pub fn sasl_kerberos(
        mut self,
        keytab: impl Into<PathBuf>,
        principal: impl Into<String>,
        krb5_conf: impl Into<PathBuf>,
    ) -> Self {
        let (keytab, principal) = (keytab.into(), principal.into());
        self.sasl = Some(Sasl::Kerberos { keytab, principal, krb5_conf: krb5_conf.into() });
        self.property(Sasl::PROVIDER.0, Sasl::PROVIDER.1)
    }

    /// Has the servers end sessions that make a request without SASL (`sessionRequireClientSASLAuth`).
    #[must_use]
    pub fn required_sasl(self) -> Self {
        self.property("zookeeper.sessionRequireClientSASLAuth", "true")
            .property(Sasl::PROVIDER.0, Sasl::PROVIDER.1)
    }

    /// Has the servers end sessions that make a request without having authenticated by one of these schemes
    /// (`enforce.auth.schemes`).
    #[must_use]
    pub fn enforce_auth(self, schemes: &[&str]) -> Self {
        self.property("zookeeper.enforce.auth.enabled", "true")
            .property("zookeeper.enforce.auth.schemes", schemes.join(","))
    }

    /// Starts an ensemble of `servers` servers, or a standalone server for one, and waits until all of them
    /// serve.
    ///
    /// # Panics
    ///
    /// If ZooKeeper is not installed or does not start.
    #[must_use]
    #[track_caller]
    pub fn start(&self, servers: usize) -> Ensemble {
        assert!(servers > 0, "an ensemble has at least one server");
        check(installed());
        let mut started = self.try_start(servers);
        for _ in 1..START_ATTEMPTS {
            match &started {
                Err(why) if why.contains("Address already in use") => {
                    started = self.try_start(servers);
                }
                _ => break,
            }
        }
        check(started)
    }

    fn try_start(&self, servers: usize) -> Result<Ensemble, String> {
        let ensemble = self
            .prepare(servers)
            .map_err(|error| format!("cannot prepare the servers' files: {error}"))?;
        for node in &ensemble.nodes {
            *lock(&node.process) = Some(node.launch()?);
        }
        ensemble.serving(|_| true)?;
        Ok(ensemble)
    }

    fn prepare(&self, servers: usize) -> io::Result<Ensemble> {
        let files = TempDirectory::new()?;
        let addresses: Vec<_> = (0..servers).map(|_| free_address()).collect();
        let members: String = match addresses.as_slice() {
            [address] => {
                format!("clientPort={}\nclientPortAddress={}\n", address.port(), address.ip())
            }
            addresses => (1..)
                .zip(addresses)
                .map(|(id, client)| {
                    let quorum = free_address();
                    let election = free_address().port();
                    format!("server.{id}={quorum}:{election};{client}\n")
                })
                .collect(),
        };

        let login = self.sasl.as_ref().map(|sasl| sasl.write(files.path())).transpose()?;
        let login = login.unwrap_or_default();
        let mut nodes = Vec::new();
        for (id, address) in (1..).zip(addresses) {
            let tls_address = self.tls.as_ref().map(|_| free_address());
            let directory = files.path().join(format!("node{id}"));
            let data = directory.join("data");
            fs::create_dir_all(&data)?;
            fs::write(data.join("myid"), format!("{id}\n"))?;
            fs::write(directory.join("zoo.cfg"), self.zoo_cfg(&data, &members, tls_address))?;
            nodes.push(Node {
                id,
                address,
                tls_address,
                command: self.command(&directory, &login),
                log: directory.join("log"),
                directory_handle: files.handle()?,
                process: Mutex::new(None),
            });
        }
        Ok(Ensemble { nodes, files })
    }

    fn zoo_cfg(&self, data: &Path, members: &str, tls_address: Option<SocketAddr>) -> String {
        let tls = self.tls.as_ref().zip(tls_address);
        let tls = tls.map(|(tls, address)| tls.config(address)).unwrap_or_default();
        format!(
            "tickTime={}\n\
             initLimit=20\n\
             syncLimit=6\n\
             dataDir={}\n\
             minSessionTimeout=500\n\
             maxSessionTimeout=60000\n\
             maxClientCnxns=0\n\
             admin.enableServer=false\n\
             4lw.commands.whitelist=*\n\
             reconfigEnabled=true\n\
             {members}{tls}{}\n",
            self.tick_time.as_millis(),
            data.display(),
            self.config.join("\n"),
        )
    }

    fn command(&self, directory: &Path, login: &[(String, String)]) -> Vec<String> {
        let own = PROPERTIES.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let read_only = ("readonlymode.enabled".to_owned(), self.read_only_mode.to_string());
        let properties = own.iter().chain([&read_only]).chain(login).chain(&self.properties);

        let mut command = vec![JAVA.to_owned()];
        command.extend(JVM.map(str::to_owned));
        command.extend(properties.map(|(name, value)| format!("-D{name}={value}")));
        command.extend(["-cp".to_owned(), classpath(), MAIN.to_owned()]);
        command.push(directory.join("zoo.cfg").display().to_string());
        command
    }
}

/// The mode of a server, as it reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The only server.
    Standalone,
    /// The leader of an ensemble.
    Leader,
    /// A follower in an ensemble.
    Follower,
    /// A member that does not vote.
    Observer,
    /// Without a quorum, serving reads only.
    ReadOnly,
}

impl Mode {
    fn parse(srvr: &str) -> Option<Self> {
        match srvr.lines().find_map(|line| line.strip_prefix("Mode: "))? {
            "standalone" => Some(Self::Standalone),
            "leader" => Some(Self::Leader),
            "follower" => Some(Self::Follower),
            "observer" => Some(Self::Observer),
            "read-only" => Some(Self::ReadOnly),
            _ => None,
        }
    }
}

/// A standalone server or an ensemble, on 127.0.0.1. It is removed with all its files when it is dropped.
#[derive(Debug)]
pub struct Ensemble {
    // Dropped in this order: the directory waits for the end of the last node.
    nodes: Vec<Node>,
    files: TempDirectory,
}

impl Ensemble {
    /// Starts a standalone server with the default [`Options`].
    #[must_use]
    #[track_caller]
    pub fn standalone() -> Self {
        Options::default().start(1)
    }

    /// Starts an ensemble of `servers` servers with the default [`Options`].
    #[must_use]
    #[track_caller]
    pub fn of(servers: usize) -> Self {
        Options::default().start(servers)
    }

    /// The connect string, with all servers: `127.0.0.1:p1,127.0.0.1:p2,...`.
    #[must_use]
    pub fn hosts(&self) -> String {
        let addresses: Vec<_> = self.nodes.iter().map(|n| n.address.to_string()).collect();
        addresses.join(",")
    }

    /// As [`hosts`](Self::hosts), with the ports for TLS.
    ///
    /// # Panics
    ///
    /// Without [`Options::tls`].
    #[must_use]
    #[track_caller]
    pub fn tls_hosts(&self) -> String {
        let addresses: Vec<_> = self.nodes.iter().map(|n| n.tls_address().to_string()).collect();
        addresses.join(",")
    }

    /// The server with this index, from 0.
    #[must_use]
    pub fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// All servers, including those that do not run.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The number of servers, including those that do not run.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an ensemble is never empty")]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The directory with the files of all servers.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.files.path()
    }

    /// Waits until there is exactly one leader, and returns its index.
    #[must_use]
    #[track_caller]
    pub fn leader(&self) -> usize {
        eventually(SERVING_LIMIT, "one leader", || self.sole_leader())
    }

    /// Waits until every server that runs, and is not paused, serves reads and
    /// writes, under one leader.
    #[track_caller]
    pub fn wait_serving(&self) {
        check(self.serving(Node::is_active));
    }

    /// Kills every server that runs.
    pub fn kill_all(&self) {
        self.nodes.iter().for_each(Node::kill);
    }

    /// Starts every server that does not run.
    #[track_caller]
    pub fn start_all(&self) {
        for node in self.nodes.iter().filter(|node| !node.is_running()) {
            node.start();
        }
    }

    /// Sets the sequence number of the next sequential child of `path` to `next`, which must be greater than
    /// all earlier ones. It stops the only server, appends to its transaction log, and starts it again.
    ///
    /// # Panics
    ///
    /// If there are several servers, or nothing was ever written.
    #[track_caller]
    pub fn set_sequence(&self, path: &str, next: i32) {
        let [node] = self.nodes.as_slice() else { panic!("there are several servers") };
        node.stop();
        let data = node.log.with_file_name("data").join("version-2");
        txn_log::set_sequence(&data, path, next).expect("its log can be written");
        node.start();
        node.wait_serving();
    }

    /// Ends a session as if it had expired. The server closes the owner's connection, and reports the expiry
    /// when the owner reconnects.
    ///
    /// # Panics
    ///
    /// If no server serves, or none knows the session.
    #[track_caller]
    pub fn expire_session(&self, id: i64, password: &[u8]) {
        // The owner may take the session back before it is closed, so try again.
        let mut resumed = false;
        eventually(SERVING_LIMIT, "a session to be closed", || {
            let node = self.nodes.iter().find(|node| node.is_serving())?;
            match minimal_client::Session::resume(node.address, id, password).ok()? {
                Some(session) => {
                    resumed = true;
                    session.close().ok()
                }
                None if resumed => Some(()),
                None => panic!("no session {id:#x} with this password at {}", node.address),
            }
        });
    }

    fn sole_leader(&self) -> Option<usize> {
        let mut leaders = (0..self.len())
            .filter(|&i| matches!(self.nodes[i].mode(), Some(Mode::Leader | Mode::Standalone)));
        let leader = leaders.next();
        leader.filter(|_| leaders.next().is_none())
    }

    /// Waits until all servers for which `is_to` is true serve.
    fn serving(&self, is_to: impl Fn(&Node) -> bool) -> Result<(), String> {
        let nodes: Vec<_> = self.nodes.iter().filter(|node| is_to(node)).collect();
        for node in &nodes {
            node.serving()?;
        }
        // A server that served when it was checked may have lost its leader since.
        poll(SERVING_LIMIT, || {
            self.sole_leader()?;
            nodes.iter().all(|node| node.is_serving()).then_some(())
        })
        .ok_or_else(|| "the servers do not serve under one leader".to_owned())
    }
}

/// One server of an [`Ensemble`]. Its address and its data outlive its process.
#[derive(Debug)]
pub struct Node {
    id: usize,
    address: SocketAddr,
    tls_address: Option<SocketAddr>,
    command: Vec<String>,
    log: PathBuf,
    directory_handle: PipeWriter,
    process: Mutex<Option<Process>>,
}

impl Node {
    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where clients connect with TLS.
    ///
    /// # Panics
    ///
    /// Without [`Options::tls`].
    #[must_use]
    #[track_caller]
    pub fn tls_address(&self) -> SocketAddr {
        self.tls_address.expect("the servers were started with TLS")
    }

    /// The server's process, if it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.running(|process| process.pid())
    }

    /// Whether the server has a process, even if it is paused.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.pid().is_some()
    }

    /// Starts the server again, without waiting for it to serve.
    ///
    /// # Panics
    ///
    /// If it runs already.
    #[track_caller]
    pub fn start(&self) {
        assert!(!self.is_running(), "server {} runs already", self.id);
        *lock(&self.process) = Some(check(self.launch()));
    }

    /// Kills the server with `SIGKILL`, if it runs.
    pub fn kill(&self) {
        *lock(&self.process) = None;
    }

    /// Kills the server and deletes its data, as if its disk were lost.
    ///
    /// # Panics
    ///
    /// If the data cannot be deleted.
    pub fn wipe(&self) {
        self.kill();
        let data = self.log.with_file_name("data").join("version-2");
        fs::remove_dir_all(data).expect("the data can be deleted");
    }

    /// Stops the server with `SIGTERM` and waits for its end.
    #[track_caller]
    pub fn stop(&self) {
        let ended = self.signal(|process| process.terminate(STOP_LIMIT));
        assert!(ended, "server {} did not stop on SIGTERM", self.id);
        self.kill();
    }

    /// Stops the server and starts it again, without waiting for it to serve.
    #[track_caller]
    pub fn restart(&self) {
        self.stop();
        self.start();
    }

    /// Freezes the server with `SIGSTOP`. Its connections stay open but silent.
    #[track_caller]
    pub fn pause(&self) {
        self.signal(Process::pause);
    }

    /// Ends a [`pause`](Self::pause) with `SIGCONT`.
    #[track_caller]
    pub fn resume(&self) {
        self.signal(Process::resume);
    }

    /// The server's answer to a four-letter word.
    ///
    /// # Panics
    ///
    /// If there is no answer.
    #[must_use]
    #[track_caller]
    pub fn four_letter_word(&self, word: &str) -> String {
        match minimal_client::four_letter_word(self.address, word) {
            Ok(answer) => answer,
            Err(error) => panic!("no answer to {word} from server {}: {error}", self.id),
        }
    }

    /// What the server is at the moment; `None` if it does not serve at all.
    #[must_use]
    pub fn mode(&self) -> Option<Mode> {
        if !self.is_active() {
            return None;
        }
        // A server that is starting may never answer.
        Mode::parse(
            &minimal_client::four_letter_word_within(self.address, "srvr", MODE_LIMIT).ok()?,
        )
    }

    /// Waits for the server to be in this mode.
    #[track_caller]
    pub fn wait_mode(&self, mode: Mode) {
        let what = format!("server {} to be {mode:?}", self.id);
        eventually(SERVING_LIMIT, &what, || (self.mode() == Some(mode)).then_some(()));
    }

    /// Waits until the server serves reads and writes.
    ///
    /// # Panics
    ///
    /// If the server ends or takes too long. The message has the end of its log.
    #[track_caller]
    pub fn wait_serving(&self) {
        check(self.serving());
    }

    fn launch(&self) -> Result<Process, String> {
        self.directory_handle
            .try_clone()
            .and_then(|handle| Process::start(&self.log, handle, &self.command))
            .map_err(|error| format!("cannot start server {}: {error}", self.id))
    }

    #[track_caller]
    fn signal<T>(&self, send: impl FnOnce(&mut Process) -> io::Result<T>) -> T {
        match self.running(send) {
            Some(Ok(sent)) => sent,
            Some(Err(error)) => panic!("cannot signal server {}: {error}", self.id),
            None => panic!("server {} does not run", self.id),
        }
    }

    /// Applies `f` to the process if it runs.
    fn running<T>(&self, f: impl FnOnce(&mut Process) -> T) -> Option<T> {
        let mut process = lock(&self.process);
        let process = process.as_mut()?;
        process.is_running().then(|| f(process))
    }

    /// Whether the server runs and is not paused.
    fn is_active(&self) -> bool {
        self.running(|process| !process.is_paused()) == Some(true)
    }

    /// Whether the server serves reads and writes, and accepts connections with TLS, if it is to.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        !matches!(self.mode(), None | Some(Mode::ReadOnly))
            && self.tls_address.is_none_or(|address| TcpStream::connect(address).is_ok())
    }

    fn serving(&self) -> Result<(), String> {
        let fail = |what| {
            let log = fs::read(&self.log).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let lines: Vec<_> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(40)..].join("\n");
            format!("server {} {what}; its log ends with:\n{tail}", self.id)
        };
        poll(SERVING_LIMIT, || {
            if self.is_serving() {
                Some(Ok(()))
            } else if self.is_running() {
                None
            } else {
                Some(Err(fail("does not run")))
            }
        })
        .unwrap_or_else(|| Err(fail("does not serve")))
    }
}

/// A standalone server shared by all tests of a binary, started on first use.
#[must_use]
pub fn shared_ensemble() -> &'static Ensemble {
    static SHARED: OnceLock<Ensemble> = OnceLock::new();
    SHARED.get_or_init(Ensemble::standalone)
}

/// Unwraps a [`Result`], and reports its error at the caller of the harness.
#[track_caller]
fn check<T>(result: Result<T, String>) -> T {
    match result {
        Ok(value) => value,
        Err(why) => panic!("{why}"),
    }
}
