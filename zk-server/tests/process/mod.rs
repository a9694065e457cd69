//! The program `zk-server` as a child process.
#![allow(dead_code, unused_imports, reason = "each test uses a part of it")]

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Stdio},
};

/// A server on a free port. Dropping it ends the process.
pub(crate) struct Process {
    pub(crate) address: SocketAddr,
    pub(crate) tls_address: Option<SocketAddr>,
    child: Child,
}

impl Process {
    /// Starts a server with these arguments.
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_zk-server"))
            .args(["127.0.0.1:0", "--until-eof"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the process starts");
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = || {
            let mut line = String::new();
            output.read_line(&mut line).expect("its address");
            line.trim().parse().expect("an address")
        };
        let address = line();
        let tls_address = args.contains(&"--tls-address").then(line);
        Self { address, tls_address, child }
    }

    /// Closes its standard input, and waits until it ends.
    pub(crate) fn end(&mut self) -> ExitStatus {
        drop(self.child.stdin.take());
        self.child.wait().expect("the process ends")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;

    use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

    use super::Process;

    /// Raises the limit of open files of this process and its children to the maximum, and returns that.
    pub(crate) fn raise_limit_of_files() -> usize {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("permission");
        maximum.map_or(usize::MAX, |files| files as usize)
    }

    impl Process {
        /// Sets its limit of open files.
        pub(crate) fn limit_files(&self, files: usize) {
            let pid = Pid::from_raw(self.child.id() as i32);
            let limit = Rlimit { current: Some(files as u64), maximum: Some(files as u64) };
            prlimit(pid, Resource::Nofile, limit).expect("permission");
        }

        /// The number of its open files.
        pub(crate) fn files(&self) -> usize {
            fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("the process").count()
        }

        /// A number from its status: see proc_pid_status(5).
        pub(crate) fn status(&self, name: &str) -> usize {
            let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
            let status = status.expect("the process");
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let figure = line.and_then(|line| line.split_whitespace().next());
            figure.expect("a field").parse().expect("a number")
        }

        /// Its processor time in ticks of 10 ms: see proc_pid_stat(5).
        pub(crate) fn ticks(&self) -> u64 {
            let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
            let stat = stat.expect("the process");
            let (_, fields) = stat.rsplit_once(") ").expect("a name");
            let fields = fields.split(' ').skip(11).take(2);
            fields.map(|field| field.parse::<u64>().expect("a number")).sum()
        }
    }
}

#[cfg(target_os = "linux")]
pub(crate) use linux::raise_limit_of_files;
