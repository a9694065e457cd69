//! `zk-server`: the embedded server as a program, for clients in any language.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::{env, io, process::ExitCode, thread, time::Duration};

use zk_server::{Config, SlowLink, TestServer, Version};

const HELP: &str = "\
An in-memory ZooKeeper server for tests. It stores nothing on disk and is not for production.

Usage: zk-server [OPTIONS] [ADDRESS]

Listens at ADDRESS (default 127.0.0.1:2181; port 0 picks a free port), prints the address once clients can
connect, and serves until it is killed.

Options:
      --zookeeper-version V     Behave as this release of ZooKeeper: 3.8 or 3.9 (default 3.9)
      --until-eof               Exit at the end of the standard input
      --tick-time MS            Expire sessions at multiples of this time (default 100)
      --min-session-timeout MS  Grant session timeouts of at least this (default 200)
      --max-session-timeout MS  Grant session timeouts of at most this (default 60000)
      --delay MS                Delay each byte by this time in each direction (default 0)
      --bandwidth BYTES         Limit each direction to this many bytes per second (default no limit)
  -h, --help                    Print this help
  -V, --version                 Print the version
";

/// What the command line asks for.
#[derive(Debug)]
enum Request {
    Serve(Box<Options>),
    Help,
    Version,
}

#[derive(Debug)]
struct Options {
    address: String,
    until_eof: bool,
    config: Config,
    link: SlowLink,
}

fn main() -> ExitCode {
    let args = env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned());
    match parse(args) {
        Ok(Request::Help) => print!("{HELP}"),
        Ok(Request::Version) => println!("zk-server {}", env!("CARGO_PKG_VERSION")),
        Ok(Request::Serve(options)) => {
            let address = options.address.clone();
            if let Err(error) = serve(*options) {
                eprintln!("zk-server: cannot listen at {address}: {error}");
                return ExitCode::FAILURE;
            }
        }
        Err(error) => {
            eprintln!("zk-server: {error}; see zk-server --help");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn serve(options: Options) -> io::Result<()> {
    let server = TestServer::bind(options.address, options.config)?;
    server.slow_down(options.link);
    println!("{}", server.hosts());
    if options.until_eof {
        io::copy(&mut io::stdin(), &mut io::sink())?;
        return Ok(());
    }
    loop {
        thread::park();
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Request, String> {
    let mut config = Config::default();
    let mut link = SlowLink::new();
    let mut address = None;
    let mut until_eof = false;
    while let Some(arg) = args.next() {
        let mut number = || {
            let value = args.next().ok_or_else(|| format!("{arg} needs a number"))?;
            value.parse::<u64>().map_err(|_| format!("{arg} needs a number, not {value:?}"))
        };
        match &*arg {
            "-h" | "--help" => return Ok(Request::Help),
            "-V" | "--version" => return Ok(Request::Version),
            "--zookeeper-version" => {
                config.version = match args.next().as_deref() {
                    Some("3.8") => Version::V3_8,
                    Some("3.9") => Version::V3_9,
                    _ => return Err("--zookeeper-version needs 3.8 or 3.9".to_owned()),
                }
            }
            "--until-eof" => until_eof = true,
            "--tick-time" => config.tick_time = Duration::from_millis(number()?),
            "--min-session-timeout" => {
                config.min_session_timeout = Duration::from_millis(number()?)
            }
            "--max-session-timeout" => {
                config.max_session_timeout = Duration::from_millis(number()?)
            }
            "--delay" => link = link.delay(Duration::from_millis(number()?)),
            "--bandwidth" => link = link.bandwidth(number()?),
            option if option.starts_with('-') => {
                return Err(format!("unknown option {option}"));
            }
            _ if address.is_some() => return Err(format!("unexpected second address {arg:?}")),
            _ => address = Some(arg),
        }
    }
    let address = address.unwrap_or_else(|| "127.0.0.1:2181".to_owned());
    Ok(Request::Serve(Box::new(Options { address, until_eof, config, link })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(args: &str) -> Result<Options, String> {
        match parse(args.split_whitespace().map(str::to_owned))? {
            Request::Serve(options) => Ok(*options),
            other => panic!("{args:?} asks for {other:?}"),
        }
    }

    #[test]
    fn the_default_address_is_zookeepers() {
        let Options { address, until_eof, config, link } = options("").unwrap();
        assert_eq!((&*address, until_eof, link), ("127.0.0.1:2181", false, SlowLink::new()));
        assert_eq!(config.tick_time, Config::default().tick_time);
        assert_eq!(config.version, Version::V3_9, "as the help says");
    }

    #[test]
    fn options_are_parsed() {
        let options = options(
            "--tick-time 1 --min-session-timeout 2 0.0.0.0:3 --max-session-timeout 4 --delay 5 \
             --bandwidth 6 --until-eof --zookeeper-version 3.8",
        )
        .unwrap();
        let config = options.config;
        assert_eq!(config.version, Version::V3_8);
        assert_eq!(config.tick_time, Duration::from_millis(1));
        assert_eq!(config.min_session_timeout, Duration::from_millis(2));
        assert_eq!(config.max_session_timeout, Duration::from_millis(4));
        assert_eq!(options.link, SlowLink::new().delay(Duration::from_millis(5)).bandwidth(6));
        assert_eq!((&*options.address, options.until_eof), ("0.0.0.0:3", true));
    }

    #[test]
    fn errors_name_the_argument() {
        for (args, error) in [
            ("--tick-tme 1", "unknown option --tick-tme"),
            ("--tick-time", "--tick-time needs a number"),
            ("--tick-time soon", "--tick-time needs a number, not \"soon\""),
            ("--delay -1", "--delay needs a number, not \"-1\""),
            ("--zookeeper-version 3", "--zookeeper-version needs 3.8 or 3.9"),
            ("127.0.0.1:1 127.0.0.1:2", "unexpected second address \"127.0.0.1:2\""),
        ] {
            assert_eq!(options(args).unwrap_err(), error);
        }
    }

    #[test]
    fn the_help_names_each_option_and_the_defaults() {
        let defaults = Config::default();
        for (option, default) in [
            ("--tick-time", defaults.tick_time),
            ("--min-session-timeout", defaults.min_session_timeout),
            ("--max-session-timeout", defaults.max_session_timeout),
        ] {
            let line = HELP.lines().find(|line| line.contains(option)).expect("it is named");
            assert!(line.ends_with(&format!("(default {})", default.as_millis())), "{line}");
        }
        for args in ["--help", "-h", "--delay 5 -h"] {
            let asked = parse(args.split_whitespace().map(str::to_owned));
            assert!(matches!(asked, Ok(Request::Help)));
        }
    }
}
