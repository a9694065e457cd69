//! The server as a process of its own.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Stdio},
};

/// A server on a free port; it ends when this is dropped.
pub(crate) struct Process {
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Process {
    /// Starts one with these arguments.
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_zk-server"))
            .args(["127.0.0.1:0", "--until-eof"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        let output = child.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut line).expect("it says where it is");
        Self { address: line.trim().parse().expect("an address"), child }
    }

    /// Ends its input, and waits for its end.
    pub(crate) fn end(&mut self) -> ExitStatus {
        drop(self.child.stdin.take());
        self.child.wait().expect("it ends")
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

    /// Lets this process and those that it starts have as many files open as it may; how many that is.
    pub(crate) fn raise_limit_of_files() -> usize {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("it may");
        maximum.map_or(usize::MAX, |files| files as usize)
    }

    impl Process {
        /// Lets it have no more than so many files open.
        pub(crate) fn limit_files(&self, files: usize) {
            let pid = Pid::from_raw(self.child.id() as i32);
            let limit = Rlimit { current: Some(files as u64), maximum: Some(files as u64) };
            prlimit(pid, Resource::Nofile, limit).expect("it may");
        }

        /// How many files it has open.
        pub(crate) fn files(&self) -> usize {
            fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("it runs").count()
        }

        /// A figure of its status: see proc_pid_status(5).
        pub(crate) fn status(&self, name: &str) -> usize {
            let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
            let status = status.expect("it runs");
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let figure = line.and_then(|line| line.split_whitespace().next());
            figure.expect("it is there").parse().expect("a number")
        }

        /// Processor time so far, in ticks of a hundredth of a second: see proc_pid_stat(5).
        pub(crate) fn ticks(&self) -> u64 {
            let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
            let stat = stat.expect("it runs");
            let (_, fields) = stat.rsplit_once(") ").expect("a name");
            let fields = fields.split(' ').skip(11).take(2);
            fields.map(|field| field.parse::<u64>().expect("a number")).sum()
        }
    }
}

#[cfg(target_os = "linux")]
pub(crate) use linux::raise_limit_of_files;
