//! `zk-server`: the embedded server as a program, for clients of any language.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::{env, io, process::ExitCode, thread, time::Duration};

use zk_server::{Config, SlowLink, TestServer, Version};

const HELP: &str = "\
A ZooKeeper in memory, for tests. It keeps nothing on disk and is not for production.

Usage: zk-server [OPTIONS] [ADDRESS]

It listens at ADDRESS (default 127.0.0.1:2181; port 0 takes a free one), prints where once clients can
connect, and serves until it is killed.

Options:
      --zookeeper-version V     Behave as this release of ZooKeeper: 3.8 or 3.9 (default 3.9)
      --until-eof               End when the standard input ends
      --tick-time MS            Sessions expire at multiples of this (default 100)
      --min-session-timeout MS  The shortest session timeout that is granted (default 200)
      --max-session-timeout MS  The longest session timeout that is granted (default 60000)
      --delay MS                Hold each byte as long, in both directions (default 0)
      --bandwidth BYTES         Let so many bytes a second pass, in each direction (default no limit)
  -h, --help                    Print this
  -V, --version                 Print the version
";

/// What the program is asked for.
#[derive(Debug)]
enum Request {
    Serve(Options),
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
            if let Err(error) = serve(options) {
                eprintln!("zk-server: cannot serve at {address}: {error}");
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
                return Err(format!("there is no option {option}"));
            }
            _ if address.is_some() => return Err(format!("{arg:?} is one address too many")),
            _ => address = Some(arg),
        }
    }
    let address = address.unwrap_or_else(|| "127.0.0.1:2181".to_owned());
    Ok(Request::Serve(Options { address, until_eof, config, link }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(args: &str) -> Result<Options, String> {
        match parse(args.split_whitespace().map(str::to_owned))? {
            Request::Serve(options) => Ok(options),
            other => panic!("{args:?} asks for {other:?}"),
        }
    }

    #[test]
    fn without_arguments_it_is_a_zookeeper_at_its_usual_port() {
        let Options { address, until_eof, config, link } = options("").unwrap();
        assert_eq!((&*address, until_eof, link), ("127.0.0.1:2181", false, SlowLink::new()));
        assert_eq!(config.tick_time, Config::default().tick_time);
        assert_eq!(config.version, Version::V3_9, "as the help says");
    }

    #[test]
    fn each_option_says_what_it_is_called() {
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
    fn what_it_does_not_know_is_an_error_that_names_it() {
        for (args, error) in [
            ("--tick-tme 1", "there is no option --tick-tme"),
            ("--tick-time", "--tick-time needs a number"),
            ("--tick-time soon", "--tick-time needs a number, not \"soon\""),
            ("--delay -1", "--delay needs a number, not \"-1\""),
            ("--zookeeper-version 3", "--zookeeper-version needs 3.8 or 3.9"),
            ("127.0.0.1:1 127.0.0.1:2", "\"127.0.0.1:2\" is one address too many"),
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
