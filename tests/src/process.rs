//! Processes and directories that are removed with the test.
//!
//! A test process can end without a chance to clean up. So small shell processes do the cleanup. They notice
//! the end of the test by the end of a pipe, whose other end the kernel closes however the test process ends.
//!
//! ```text
//! test ──stdin──▸ launcher ──child──▸ server       one pair per running server
//!   │                │
//!   └──────pipe──────┴──▸ cleaner                  one per directory
//! ```
//!
//! A launcher kills its server at the end of its standard input. The pipe of a cleaner is shared by the test
//! and all launchers, so the cleaner removes the directory after the last server has ended. Each shell has its
//! own process group, so that Ctrl-C ends the test only.

use std::io::{self, BufRead, BufReader, PipeWriter};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, fs};

use rustix::process::{Pid, Signal, kill_process};

use crate::poll;

/// The time that the kernel may take to stop all threads of a process.
const PAUSE_LIMIT: Duration = Duration::from_secs(10);

/// Creates a directory in `$1`, prints its path, and removes it at the end of input.
const CLEANER: &str = r#"
trap '' PIPE
directory=$(mktemp -d "$1/zk-tests.XXXXXXXXXX") || exit
echo "$directory"
cat >/dev/null
rm -rf -- "$directory"
"#;

/// Runs `$2...` with its output in the file `$1`, and prints its pid. Ends when the process ends.
const LAUNCHER: &str = r#"
log=$1
shift
exec 3<&0
"$@" </dev/null >>"$log" 2>&1 3<&- &
server=$!
trap '' PIPE
echo "$server"
{ read -r line <&3; kill -9 "$server"; } &
guard=$!
wait "$server"
kill "$guard"
"#;

fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, "zk-tests"]).process_group(0).stdout(Stdio::piped());
    command
}

/// The line that a shell of this module prints.
fn report(shell: &mut Child) -> io::Result<String> {
    let mut line = String::new();
    if let Some(stdout) = shell.stdout.take() {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    match line.strip_suffix('\n') {
        Some(line) => Ok(line.to_owned()),
        None => Err(io::Error::other("/bin/sh ended without a report")),
    }
}

/// A new temporary directory. It is removed once this value is dropped and every [`Process`] started with it
/// has ended.
#[derive(Debug)]
pub(crate) struct TempDirectory {
    shell: Child,
    /// `None` in `drop` only.
    pipe: Option<PipeWriter>,
    path: PathBuf,
}

impl TempDirectory {
    pub(crate) fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let mut shell =
            shell(CLEANER).arg(env::temp_dir()).stdin(reader).stderr(Stdio::null()).spawn()?;
        Ok(Self { path: report(&mut shell)?.into(), shell, pipe: Some(writer) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A handle that keeps the directory, for [`Process::start`].
    pub(crate) fn handle(&self) -> io::Result<PipeWriter> {
        match &self.pipe {
            Some(pipe) => pipe.try_clone(),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Drop for TempDirectory {
    fn drop(&mut self) {
        self.pipe = None;
        // If this fails, only files are left.
        let _ = self.shell.wait();
    }
}

/// A running server, killed on drop or at the end of the test process.
#[derive(Debug)]
pub(crate) struct Process {
    launcher: Child,
    pid: Pid,
    paused: bool,
}

impl Process {
    /// Starts `command` (a program and its arguments), appending its output to
    /// `log`. `directory` is the [`TempDirectory::handle`] of the directory that it works in.
    pub(crate) fn start(
        log: &Path,
        directory_handle: PipeWriter,
        command: &[String],
    ) -> io::Result<Self> {
        let mut launcher = shell(LAUNCHER)
            .arg(log)
            .args(command)
            .stdin(Stdio::piped())
            .stderr(directory_handle)
            .spawn()?;
        let pid = report(&mut launcher)?;
        let pid = pid.parse().ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("/bin/sh reported no pid"))?;
        Ok(Self { launcher, pid, paused: false })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.launcher.try_wait(), Ok(None))
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Stops the process and waits until all its threads are stopped.
    pub(crate) fn pause(&mut self) -> io::Result<()> {
        kill_process(self.pid, Signal::STOP)?;
        self.paused = true;
        let stopped = || self.is_stopped().unwrap_or(false).then_some(());
        poll(PAUSE_LIMIT, stopped).ok_or_else(|| io::Error::other("it does not stop"))
    }

    fn is_stopped(&self) -> io::Result<bool> {
        for thread in fs::read_dir(format!("/proc/{}/task", self.pid()))? {
            let stat = fs::read_to_string(thread?.path().join("stat"))?;
            // The state follows the name, which ends with the last parenthesis.
            let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
            if !state.is_some_and(|state| state.starts_with('T')) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(crate) fn resume(&mut self) -> io::Result<()> {
        kill_process(self.pid, Signal::CONT)?;
        self.paused = false;
        Ok(())
    }

    /// Asks the process to end, and returns whether it did within `timeout`.
    pub(crate) fn terminate(&mut self, timeout: Duration) -> io::Result<bool> {
        kill_process(self.pid, Signal::TERM)?;
        if self.paused {
            self.resume()?;
        }
        Ok(poll(timeout, || (!self.is_running()).then_some(())).is_some())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.launcher.stdin.take());
        // The launcher uses SIGKILL, so this does not take long.
        let _ = self.launcher.wait();
    }
}
