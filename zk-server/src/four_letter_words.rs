//! Four-letter words, the commands that report the state of a server (`org.apache.zookeeper.server.command`). All
//! of them are enabled.

use std::fmt::{self, Write as _};

use bytes::BufMut as _;
use zk_proto::{OpCode, Time, frame::LENGTH_LEN};

use crate::{
    config::{Config, Version, millis},
    connection::{Connection, ConnectionId, Phase},
    server::{Packets, Server},
};

/// How Java prints an unknown property.
const NOT_AVAILABLE: &str = "<NA>";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    Conf,
    Cons,
    Crst,
    Dirs,
    Dump,
    Envi,
    Gtmk,
    Hash,
    Isro,
    Mntr,
    Ruok,
    Srst,
    Srvr,
    Stat,
    Stmk,
    Wchc,
    Wchp,
    Wchs,
}

impl Word {
    pub(crate) fn parse(word: &[u8]) -> Option<Self> {
        Some(match word {
            b"conf" => Self::Conf,
            b"cons" => Self::Cons,
            b"crst" => Self::Crst,
            b"dirs" => Self::Dirs,
            b"dump" => Self::Dump,
            b"envi" => Self::Envi,
            b"gtmk" => Self::Gtmk,
            b"hash" => Self::Hash,
            b"isro" => Self::Isro,
            b"mntr" => Self::Mntr,
            b"ruok" => Self::Ruok,
            b"srst" => Self::Srst,
            b"srvr" => Self::Srvr,
            b"stat" => Self::Stat,
            b"stmk" => Self::Stmk,
            b"wchc" => Self::Wchc,
            b"wchp" => Self::Wchp,
            b"wchs" => Self::Wchs,
            _ => return None,
        })
    }
}

impl Word {
    /// The length of the whole command: the word, and its argument if it has one.
    pub(crate) const fn len(self) -> usize {
        match self {
            Self::Stmk => LENGTH_LEN.saturating_add(size_of::<i64>()),
            _ => LENGTH_LEN,
        }
    }
}

impl Server {
    /// Answers `word`, which was received in full, and closes the connection.
    pub(crate) fn answer_word(&mut self, now: Time, connection: ConnectionId, word: Word) {
        self.count_received(connection);
        match word {
            Word::Crst => {
                self.connections.values_mut().for_each(|connection| connection.counters.reset());
            }
            Word::Srst => self.packets = Packets::default(),
            Word::Stmk => self.trace_mask = self.argument(connection).unwrap_or(self.trace_mask),
            _ => {}
        }
        let answer = self.report(now, word);
        self.send_on(connection, |connection| {
            connection.outgoing.put_slice(answer.as_bytes());
            connection.counters.sent = connection.counters.sent.saturating_add(1);
        });
        self.close(connection);
    }

    /// The argument of `stmk`.
    fn argument(&self, connection: ConnectionId) -> Option<i64> {
        let packet = self.connections.get(&connection)?.incoming.peek(Word::Stmk.len())?;
        packet.last_chunk().map(|number| i64::from_be_bytes(*number))
    }

    fn report(&self, now: Time, word: Word) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = match word {
            Word::Ruok => out.write_str("imok"),
            Word::Crst => writeln!(out, "Connection stats reset."),
            Word::Srst => writeln!(out, "Server stats reset."),
            Word::Gtmk | Word::Stmk => write!(out, "{}", self.trace_mask),
            // ZooKeeper has no digest before the 128th transaction. This server never has one.
            Word::Hash => Ok(()),
            Word::Conf => self.report_config(&mut out),
            Word::Dirs => write!(out, "datadir_size: 0\nlogdir_size: 0\n"),
            Word::Envi => self.report_environment(&mut out),
            Word::Isro => out.write_str(if self.is_read_only { "ro" } else { "rw" }),
            Word::Srvr | Word::Stat => self.report_server(word == Word::Stat, &mut out),
            Word::Mntr => self.report_figures(now, &mut out),
            Word::Cons => self.report_connections(false, &mut out),
            Word::Dump => self.report_sessions(&mut out),
            Word::Wchc | Word::Wchp | Word::Wchs => self.report_watches(word, &mut out),
        };
        out
    }

    /// The configuration. This server has no directories, and does not know its port.
    fn report_config(&self, out: &mut String) -> fmt::Result {
        let Config { tick_time, min_session_timeout, max_session_timeout, .. } = &self.config;
        let settings: [(&str, &dyn fmt::Display); 12] = [
            ("clientPort", &-1),
            ("secureClientPort", &-1),
            ("dataDir", &""),
            ("dataDirSize", &0),
            ("dataLogDir", &""),
            ("dataLogSize", &0),
            ("tickTime", &millis(*tick_time)),
            ("maxClientCnxns", &0),
            ("minSessionTimeout", &millis(*min_session_timeout)),
            ("maxSessionTimeout", &millis(*max_session_timeout)),
            ("clientPortListenBacklog", &-1),
            ("serverId", &0),
        ];
        settings.iter().try_for_each(|(name, setting)| writeln!(out, "{name}={setting}"))
    }

    /// The environment. This server knows nothing about its machine except how it was compiled.
    fn report_environment(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "Environment:")?;
        writeln!(out, "zookeeper.version={}", self.version())?;
        for name in ["host.name", "java.version", "java.vendor", "java.home", "java.class.path"] {
            writeln!(out, "{name}={NOT_AVAILABLE}")?;
        }
        for name in ["java.library.path", "java.io.tmpdir", "java.compiler"] {
            writeln!(out, "{name}={NOT_AVAILABLE}")?;
        }
        writeln!(out, "os.name={}", std::env::consts::OS)?;
        writeln!(out, "os.arch={}", std::env::consts::ARCH)?;
        for name in ["os.version", "user.name", "user.home", "user.dir"] {
            writeln!(out, "{name}={NOT_AVAILABLE}")?;
        }
        for name in ["os.memory.free", "os.memory.max", "os.memory.total"] {
            writeln!(out, "{name}={NOT_AVAILABLE}")?;
        }
        Ok(())
    }

    /// The version that the words report: the release that this server behaves as.
    fn version(&self) -> String {
        let release = match self.config.version {
            Version::V3_8 => "3.8.0",
            Version::V3_9 => "3.9.5",
        };
        [release, "-zk-server-", env!("CARGO_PKG_VERSION")].concat()
    }

    fn report_server(&self, clients: bool, out: &mut String) -> fmt::Result {
        writeln!(out, "Zookeeper version: {}", self.version())?;
        if self.is_read_only {
            writeln!(out, "READ-ONLY mode; serving only read-only clients")?;
        }
        if clients {
            writeln!(out, "Clients:")?;
            self.report_connections(true, out)?;
        }
        // There is no latency: a request is answered at once.
        writeln!(out, "Latency min/avg/max: 0/0.0/0")?;
        writeln!(out, "Received: {}", self.packets.received)?;
        writeln!(out, "Sent: {}", self.packets.sent)?;
        writeln!(out, "Connections: {}", self.open().count())?;
        writeln!(out, "Outstanding: 0")?;
        writeln!(out, "Zxid: {:#x}", self.zxids.last())?;
        writeln!(out, "Mode: {}", self.mode())?;
        writeln!(out, "Node count: {}", self.tree.len())
    }

    fn report_figures(&self, now: Time, out: &mut String) -> fmt::Result {
        let ephemerals: usize = self.tree.ephemerals().map(|(_, paths)| paths.len()).sum();
        let local = self.sessions.iter().filter(|(_, session)| session.is_local).count();
        let global = self.sessions.iter().count().saturating_sub(local);
        let figures: [(&str, &dyn fmt::Display); 16] = [
            ("version", &self.version()),
            ("server_state", &self.mode()),
            ("ephemerals_count", &ephemerals),
            ("num_alive_connections", &self.open().count()),
            ("avg_latency", &"0.0"),
            ("min_latency", &0),
            ("max_latency", &0),
            ("outstanding_requests", &0),
            ("znode_count", &self.tree.len()),
            ("global_sessions", &global),
            ("local_sessions", &local),
            ("packets_sent", &self.packets.sent),
            ("packets_received", &self.packets.received),
            ("watch_count", &self.watches.len()),
            ("approximate_data_size", &self.tree.data_size()),
            ("uptime", &millis(now.since(self.started))),
        ];
        figures.iter().try_for_each(|(name, figure)| writeln!(out, "zk_{name}\t{figure}"))
    }

    fn report_connections(&self, brief: bool, out: &mut String) -> fmt::Result {
        for (_, connection) in self.open() {
            let Connection { peer, counters, .. } = connection;
            let open = u8::from(connection.phase != Phase::New);
            write!(out, " /{peer}[{open}](queued=0,recved={}", counters.received)?;
            write!(out, ",sent={}", counters.sent)?;
            if let Some(session) = connection.session().filter(|_| !brief) {
                let timeout = self.sessions.get(session).map_or(0, |s| millis(s.timeout));
                write!(out, ",sid={session},lop={}", short_name(counters.last_op))?;
                write!(out, ",est={},to={timeout}", self.config.wall_millis(counters.established))?;
                if counters.last_xid >= 0 {
                    write!(out, ",lcxid={:#x}", counters.last_xid)?;
                }
                write!(out, ",lzxid={:#x}", counters.last_zxid)?;
                write!(out, ",lresp={}", millis(counters.last_response.since_origin()))?;
                write!(out, ",llat=0,minlat=0,avglat=0,maxlat=0")?;
            }
            writeln!(out, ")")?;
        }
        writeln!(out)
    }

    fn report_sessions(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "SessionTracker dump:")?;
        let sets = self.sessions.expiries();
        writeln!(out, "Session Sets ({})/({}):", sets.len(), self.sessions.iter().count())?;
        for (at, ids) in sets {
            writeln!(out, "{} expire at {} ms:", ids.len(), self.config.wall_millis(at))?;
            ids.iter().try_for_each(|id| writeln!(out, "\t{id}"))?;
        }
        writeln!(out, "ephemeral nodes dump:")?;
        writeln!(out, "Sessions with Ephemerals ({}):", self.tree.ephemerals().count())?;
        for (owner, paths) in self.tree.ephemerals() {
            writeln!(out, "{owner}:")?;
            paths.iter().try_for_each(|path| writeln!(out, "\t{path}"))?;
        }
        writeln!(out, "Connections dump:")?;
        writeln!(out, "Connections Sets ({0})/({0}):", self.open().count())?;
        self.open().try_for_each(|(_, connection)| {
            let session = connection.session().map_or(0, |session| session.0);
            writeln!(out, "\tip: /{} sessionId: {session:#x}", connection.peer)
        })
    }

    /// Reports watches on data only, as ZooKeeper does.
    fn report_watches(&self, word: Word, out: &mut String) -> fmt::Result {
        let session = |connection| self.session_of(connection).map_or(0, |session| session.0);
        let data = self.watches.data();
        match word {
            Word::Wchp => {
                for (path, watchers) in data.by_path() {
                    writeln!(out, "{path}")?;
                    for watcher in watchers {
                        writeln!(out, "\t{:#x}", session(watcher))?;
                    }
                }
            }
            Word::Wchc => {
                for (watcher, paths) in data.by_connection() {
                    writeln!(out, "{:#x}", session(watcher))?;
                    paths.iter().try_for_each(|path| writeln!(out, "\t{path}"))?;
                }
            }
            _ => {
                let connections = data.by_connection().count();
                let paths = data.by_path().count();
                writeln!(out, "{connections} connections watching {paths} paths")?;
                write!(out, "Total watches:{}", data.len())?;
            }
        }
        writeln!(out)
    }

    /// The connections that are not closed.
    fn open(&self) -> impl Iterator<Item = (ConnectionId, &Connection)> {
        let open =
            |(_, connection): &(&ConnectionId, &Connection)| connection.phase != Phase::Closed;
        self.connections.iter().filter(open).map(|(id, connection)| (*id, connection))
    }

    const fn mode(&self) -> &'static str {
        if self.is_read_only { "read-only" } else { "standalone" }
    }
}

/// How `cons` abbreviates an operation.
const fn short_name(op: OpCode) -> &'static str {
    match op {
        OpCode::Ping => "PING",
        OpCode::Notification => "SESS",
        OpCode::Multi => "MULT",
        OpCode::MultiRead => "MLTR",
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => "CREA",
        OpCode::Delete => "DELE",
        OpCode::SetData => "SETD",
        OpCode::SetAcl => "SETA",
        OpCode::CloseSession => "CLOS",
        OpCode::Sync => "SYNC",
        OpCode::Exists => "EXIS",
        OpCode::GetData => "GETD",
        OpCode::SetWatches => "SETW",
        OpCode::SetWatches2 => "STW2",
        OpCode::AddWatch => "ADDW",
        OpCode::GetAcl => "GETA",
        OpCode::GetChildren | OpCode::GetChildren2 => "GETC",
        OpCode::GetAllChildrenNumber => "GETACN",
        OpCode::CheckWatches => "CHKW",
        OpCode::RemoveWatches => "REMW",
        OpCode::WhoAmI => "HOMI",
        OpCode::GetEphemerals => "GETE",
        _ => "NA",
    }
}
