//! [`KazooClient`]: a kazoo client in its own process, and its command protocol.

use std::{
    collections::VecDeque,
    env,
    fmt::{self, Write as _},
    io::{BufRead, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Mutex, OnceLock,
        mpsc::{Receiver, channel},
    },
    thread,
    time::Duration,
};

use zk_client::{Acl, Perms, Stat};

use crate::{lock, tasks::spawn_blocking};

/// The timeout of an answer of kazoo.
const LIMIT: Duration = Duration::from_secs(60);

/// The Python interpreter that has kazoo.
fn python() -> &'static str {
    static PYTHON: OnceLock<String> = OnceLock::new();
    PYTHON.get_or_init(|| match env::var("ZK_TEST_PYTHON") {
        Ok(python) => python,
        Err(_) => set_up(),
    })
}

fn directory() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/kazoo"))
}

fn set_up() -> String {
    let script = directory().join("setup.sh");
    let output = Command::new(&script).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run {}: {error}", script.display()));
    let [said, python] = [&output.stderr, &output.stdout].map(|out| String::from_utf8_lossy(out));
    let python = python.trim();
    assert!(
        output.status.success() && Path::new(python).exists(),
        "there is no Python with kazoo; try: apt-get update && apt-get install -y python3-venv\n\
         (PyPI is needed the first time; or set ZK_TEST_PYTHON.) {} said:\n{said}{python}",
        script.display()
    );
    python.to_owned()
}

/// A kazoo client in its own process, which ends when this value is dropped or the test ends.
#[derive(Clone)]
pub(super) struct KazooClient(Arc<Mutex<KazooProcess>>);

struct KazooProcess {
    process: Child,
    /// `None` in `drop` only: the client ends with its input.
    commands: Option<ChildStdin>,
    answers: Receiver<String>,
}

impl KazooClient {
    /// Connected to `hosts`.
    pub(super) async fn connect(hosts: String) -> Self {
        spawn_blocking(move || {
            let mut process = Command::new(python())
                .arg(directory().join("client.py"))
                .arg(hosts)
                .env("PYTHONDONTWRITEBYTECODE", "1")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap_or_else(|error| panic!("cannot run {}: {error}", python()));
            let commands = process.stdin.take();
            let lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
            let (answer, answers) = channel();
            thread::spawn(move || {
                for line in lines.map_while(Result::ok) {
                    if answer.send(line).is_err() {
                        break;
                    }
                }
            });
            let mut client = KazooProcess { process, commands, answers };
            let ready = client.answer("connect").unwrap_or_else(|error| panic!("kazoo: {error}"));
            assert!(ready.0.is_empty());
            Self(Arc::new(Mutex::new(client)))
        })
        .await
    }

    /// The answer to `command`; the name of kazoo's exception if it is one.
    pub(super) async fn ask(&self, command: CommandLine) -> Result<Answer, String> {
        let client = self.0.clone();
        spawn_blocking(move || lock(&client).ask(&command.0)).await
    }

    /// The answer to `command`, which succeeds.
    pub(super) async fn call(&self, command: CommandLine) -> Answer {
        let told = command.clone();
        let answer = self.ask(command).await;
        answer.unwrap_or_else(|error| panic!("kazoo: {told:?}: {error}"))
    }

    pub(super) async fn session(&self) -> i64 {
        self.call(command("session")).await.number()
    }

    pub(super) async fn get(&self, path: &str) -> (Option<Vec<u8>>, Stat) {
        let mut answer = self.call(command("get").text(path)).await;
        (answer.data(), answer.stat())
    }

    pub(super) async fn sync(&self) {
        self.call(command("sync").text("/")).await;
    }
}

impl KazooProcess {
    fn ask(&mut self, command: &str) -> Result<Answer, String> {
        let commands = self.commands.as_mut().expect("the client lives");
        writeln!(commands, "{command}").expect("the client listens");
        self.answer(command)
    }

    fn answer(&mut self, command: &str) -> Result<Answer, String> {
        let line = self.answers.recv_timeout(LIMIT);
        let line = line.unwrap_or_else(|error| panic!("no answer to {command:?}: {error}"));
        let mut words: VecDeque<_> = line.split(' ').map(str::to_owned).collect();
        match words.pop_front().as_deref() {
            Some("ok") => Ok(Answer(words)),
            _ => Err(words.into_iter().collect()),
        }
    }
}

impl Drop for KazooProcess {
    fn drop(&mut self) {
        self.commands = None;
        // The process closes its session. If the test has failed, it is killed instead.
        if thread::panicking() {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

/// A command to the kazoo process: a line of words.
#[derive(Clone, Debug)]
pub(super) struct CommandLine(String);

pub(super) fn command(name: &str) -> CommandLine {
    CommandLine(name.to_owned())
}

impl CommandLine {
    pub(super) fn word(mut self, word: impl fmt::Display) -> Self {
        write!(self.0, " {word}").expect("a string takes all");
        self
    }

    pub(super) fn text(self, text: &str) -> Self {
        self.word(hex(text.as_bytes()))
    }

    pub(super) fn data(self, data: Option<&[u8]>) -> Self {
        match data {
            Some(data) => self.word(hex(data)),
            None => self.word('-'),
        }
    }

    pub(super) fn acl(self, acl: &[Acl]) -> Self {
        let entries: Vec<_> = acl.iter().map(acl_entry).collect();
        self.word(entries.join(","))
    }
}

fn acl_entry(acl: &Acl) -> String {
    let [scheme, id] = [&acl.id.scheme, &acl.id.id].map(|text| hex(text.as_bytes()));
    format!("{}:{scheme}:{id}", acl.perms.bits())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let mut word = "x".to_owned();
    for byte in bytes {
        write!(word, "{byte:02x}").expect("a string takes all");
    }
    word
}

fn unhex(word: &str) -> Option<Vec<u8>> {
    let digits = word.strip_prefix('x')?.as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(byte).collect()
}

pub(super) fn text_of(word: &str) -> String {
    let bytes = unhex(word).unwrap_or_else(|| panic!("{word:?} is no text"));
    String::from_utf8(bytes).expect("kazoo's text is UTF-8")
}

/// The results of a command, to be taken one by one.
#[derive(Debug)]
pub(super) struct Answer(pub(super) VecDeque<String>);

impl Answer {
    pub(super) fn word(&mut self) -> String {
        self.0.pop_front().expect("there are more results")
    }

    pub(super) fn text(&mut self) -> String {
        text_of(&self.word())
    }

    pub(super) fn data(&mut self) -> Option<Vec<u8>> {
        unhex(&self.word())
    }

    pub(super) fn number(&mut self) -> i64 {
        self.word().parse().expect("a number")
    }

    pub(super) fn stat(&mut self) -> Stat {
        stat_of(&self.word())
    }

    pub(super) fn acl(&mut self) -> Vec<Acl> {
        let entry = |entry: &str| {
            let mut parts = entry.split(':');
            let mut part = || parts.next().expect("three parts");
            let perms = Perms::from_bits(part().parse().expect("a number"));
            Acl::new(perms, text_of(part()).as_str(), text_of(part()).as_str())
        };
        self.word().split(',').map(entry).collect()
    }
}

pub(super) fn stat_of(word: &str) -> Stat {
    let numbers: Vec<i64> =
        word.split(',').map(|number| number.parse().expect("a number")).collect();
    let [
        czxid,
        mzxid,
        ctime,
        mtime,
        version,
        cversion,
        aversion,
        ephemeral_owner,
        data_length,
        num_children,
        pzxid,
    ] = numbers[..]
    else {
        panic!("{word} is no stat")
    };
    let int = |number: i64| i32::try_from(number).expect("32 bits");
    Stat {
        czxid,
        mzxid,
        ctime,
        mtime,
        version: int(version),
        cversion: int(cversion),
        aversion: int(aversion),
        ephemeral_owner,
        data_length: int(data_length),
        num_children: int(num_children),
        pzxid,
    }
}
