//! Words of four letters, which ask a server how it is (`org.apache.zookeeper.server.command`). All of
//! them are allowed.

use std::fmt::{self, Write as _};

use bytes::BufMut as _;
use zk_proto::{OpCode, Time};

use crate::{
    ConnectionId, Server,
    connection::{Connection, Phase},
    server::millis,
};

/// What the words tell as the version: the one that this server behaves as.
const VERSION: &str = concat!("3.8.0-zk-server-", env!("CARGO_PKG_VERSION"));

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    Cons,
    Dump,
    Isro,
    Mntr,
    Ruok,
    Srvr,
    Stat,
    Wchc,
    Wchp,
    Wchs,
}

impl Word {
    pub(crate) fn parse(word: &[u8]) -> Option<Self> {
        Some(match word {
            b"cons" => Self::Cons,
            b"dump" => Self::Dump,
            b"isro" => Self::Isro,
            b"mntr" => Self::Mntr,
            b"ruok" => Self::Ruok,
            b"srvr" => Self::Srvr,
            b"stat" => Self::Stat,
            b"wchc" => Self::Wchc,
            b"wchp" => Self::Wchp,
            b"wchs" => Self::Wchs,
            _ => return None,
        })
    }
}

impl Server {
    pub(crate) fn answer_word(&mut self, now: Time, connection: ConnectionId, word: Word) {
        if let Some(state) = self.connections.get_mut(&connection) {
            state.counters.received = 1;
        }
        let answer = self.report(now, word);
        self.on(connection, |state| state.outgoing.put_slice(answer.as_bytes()));
        self.close(connection);
    }

    fn report(&self, now: Time, word: Word) -> String {
        let mut out = String::new();
        // Nothing fails that writes to a string.
        let _ = match word {
            Word::Ruok => out.write_str("imok"),
            Word::Isro => out.write_str(if self.is_read_only { "ro" } else { "rw" }),
            Word::Srvr | Word::Stat => self.report_server(word == Word::Stat, &mut out),
            Word::Mntr => self.report_figures(now, &mut out),
            Word::Cons => self.report_connections(false, &mut out),
            Word::Dump => self.report_sessions(&mut out),
            Word::Wchc | Word::Wchp | Word::Wchs => self.report_watches(word, &mut out),
        };
        out
    }

    fn report_server(&self, clients: bool, out: &mut String) -> fmt::Result {
        writeln!(out, "Zookeeper version: {VERSION}")?;
        if self.is_read_only {
            writeln!(out, "READ-ONLY mode; serving only read-only clients")?;
        }
        if clients {
            writeln!(out, "Clients:")?;
            self.report_connections(true, out)?;
        }
        // A request takes no time here.
        writeln!(out, "Latency min/avg/max: 0/0.0/0")?;
        let total = |count: fn(&Connection) -> u64| self.open().map(|(_, c)| count(c)).sum::<u64>();
        writeln!(out, "Received: {}", total(|c| c.counters.received))?;
        writeln!(out, "Sent: {}", total(|c| c.counters.sent))?;
        writeln!(out, "Connections: {}", self.open().count())?;
        writeln!(out, "Outstanding: 0")?;
        writeln!(out, "Zxid: {:#x}", self.zxid)?;
        writeln!(out, "Mode: {}", self.mode())?;
        writeln!(out, "Node count: {}", self.tree.len())
    }

    fn report_figures(&self, now: Time, out: &mut String) -> fmt::Result {
        let ephemerals: usize = self.tree.ephemerals().map(|(_, paths)| paths.len()).sum();
        let local = self.sessions.iter().filter(|(_, session)| session.is_local).count();
        let global = self.sessions.iter().count().saturating_sub(local);
        let watches = self.watches.data.len().saturating_add(self.watches.children.len());
        let total = |count: fn(&Connection) -> u64| self.open().map(|(_, c)| count(c)).sum::<u64>();
        let figures: [(&str, &dyn fmt::Display); 16] = [
            ("version", &VERSION),
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
            ("packets_sent", &total(|c| c.counters.sent)),
            ("packets_received", &total(|c| c.counters.received)),
            ("watch_count", &watches),
            ("approximate_data_size", &self.tree.data_size()),
            ("uptime", &millis(now.since(self.started))),
        ];
        figures.iter().try_for_each(|(name, figure)| writeln!(out, "zk_{name}\t{figure}"))
    }

    fn report_connections(&self, brief: bool, out: &mut String) -> fmt::Result {
        for (_, connection) in self.open() {
            let Connection { peer, counters, .. } = connection;
            let open = u8::from(connection.phase != Phase::Fresh);
            write!(out, " /{peer}[{open}](queued=0,recved={}", counters.received)?;
            write!(out, ",sent={}", counters.sent)?;
            if let Some(session) = connection.session().filter(|_| !brief) {
                let timeout = self.sessions.get(session).map_or(0, |s| millis(s.timeout));
                write!(out, ",sid={session},lop={}", short_name(counters.last_op))?;
                write!(out, ",est={},to={timeout}", self.wall(counters.established))?;
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
            writeln!(out, "{} expire at {} ms:", ids.len(), self.wall(at))?;
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

    /// Watches on data only, as ZooKeeper has it.
    fn report_watches(&self, word: Word, out: &mut String) -> fmt::Result {
        let session = |connection| self.session_of(connection).map_or(0, |session| session.0);
        let data = &self.watches.data;
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

    /// The connections that count.
    fn open(&self) -> impl Iterator<Item = (ConnectionId, &Connection)> {
        let open =
            |(_, connection): &(&ConnectionId, &Connection)| connection.phase != Phase::Closed;
        self.connections.iter().filter(open).map(|(id, connection)| (*id, connection))
    }

    const fn mode(&self) -> &'static str {
        if self.is_read_only { "read-only" } else { "standalone" }
    }
}

/// What `cons` calls an operation.
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
