//! `zk-server`: the embedded server as a program, for clients in any language.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr)]

#[cfg(feature = "sasl-digest-md5")]
use std::collections::BTreeMap;
#[cfg(any(feature = "tls", feature = "sasl-digest-md5"))]
use std::fs;
use std::{env, io, process::ExitCode, thread, time::Duration};

#[cfg(feature = "sasl-digest-md5")]
use zk_proto::jute::Secret;
#[cfg(feature = "tls")]
use zk_server::{ClientAuth, TlsOptions};
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
      --enforce-auth SCHEMES    Serve only clients that have authenticated with one of these schemes (digest,sasl,x509)
      --sasl-users FILE         Authenticate with SASL DIGEST-MD5; a line of FILE is user:password
      --tls-address ADDRESS     Serve TLS at this address, too, and print it after the other one
      --tls-certificate FILE    The server's certificate in PEM, followed by those of its authorities
      --tls-key FILE            Its private key in PEM
      --tls-client-ca FILE      The authorities of clients' certificates in PEM
      --tls-client-auth HOW     Whether clients show a certificate: need, want or none (default need)
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
    /// A file with the users of SASL.
    sasl_users: Option<String>,
    tls: TlsFiles,
}

/// The options of TLS.
#[derive(Debug, Default, PartialEq, Eq)]
struct TlsFiles {
    address: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
    client_ca: Option<String>,
    client_auth: Option<String>,
}

fn main() -> ExitCode {
    let args = env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned());
    match parse(args) {
        Ok(Request::Help) => print!("{HELP}"),
        Ok(Request::Version) => println!("zk-server {}", env!("CARGO_PKG_VERSION")),
        Ok(Request::Serve(options)) => {
            if let Err(error) = serve(*options) {
                eprintln!("zk-server: {error}");
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

fn serve(mut options: Options) -> Result<(), String> {
    if let Some(file) = &options.sasl_users {
        read_users(file, &mut options.config)?;
    }
    let server = start(&options)?;
    server.slow_down(options.link);
    // Whoever reads the addresses may connect at once, so all options are in effect before.
    println!("{}", server.hosts());
    #[cfg(feature = "tls")]
    if let Some(hosts) = server.tls_hosts() {
        println!("{hosts}");
    }
    if options.until_eof {
        let end = io::copy(&mut io::stdin(), &mut io::sink());
        return end.map(drop).map_err(|error| format!("cannot read the standard input: {error}"));
    }
    loop {
        thread::park();
    }
}

/// Starts a server.
fn start(options: &Options) -> Result<TestServer, String> {
    let Options { address, config, tls, .. } = options;
    let failed = |error| format!("cannot listen at {address}: {error}");
    if tls == &TlsFiles::default() {
        return TestServer::bind(address, config.clone()).map_err(failed);
    }
    #[cfg(feature = "tls")]
    {
        let tls_options = tls.read()?;
        let tls_address = tls.address.as_deref().ok_or("TLS needs --tls-address")?;
        let failed = |error| format!("cannot listen at {address} and {tls_address}: {error}");
        TestServer::bind_with_tls(address, tls_address, config.clone(), &tls_options)
            .map_err(failed)
    }
    #[cfg(not(feature = "tls"))]
    Err("this program was built without TLS; build it with the feature tls".to_owned())
}

#[cfg(feature = "tls")]
impl TlsFiles {
    /// Reads the files.
    fn read(&self) -> Result<TlsOptions, String> {
        let file = |file: &Option<String>, option: &str| {
            let file = file.as_deref().ok_or_else(|| format!("TLS needs {option}"))?;
            fs::read(file).map_err(|error| format!("cannot read {file}: {error}"))
        };
        let certificate = file(&self.certificate, "--tls-certificate")?;
        let options = TlsOptions::new(certificate, file(&self.key, "--tls-key")?);
        let auth = match self.client_auth.as_deref() {
            None | Some("need") => ClientAuth::Need,
            Some("want") => ClientAuth::Want,
            Some("none") => return Ok(options.client_auth(ClientAuth::None)),
            Some(_) => return Err("--tls-client-auth needs need, want or none".to_owned()),
        };
        let authorities = file(&self.client_ca, "--tls-client-ca")?;
        Ok(options.client_auth(auth).client_authorities(authorities))
    }
}

/// Reads the users of SASL. No error shows a password.
#[cfg(feature = "sasl-digest-md5")]
fn read_users(file: &str, config: &mut Config) -> Result<(), String> {
    let text = fs::read_to_string(file).map_err(|error| format!("cannot read {file}: {error}"))?;
    let mut users = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty()) {
        let (user, password) = line
            .split_once(':')
            .ok_or_else(|| format!("line {number} of {file} is not user:password"))?;
        users.insert(user.to_owned(), password.to_owned());
    }
    config.sasl_users = Some(Secret::new(users));
    Ok(())
}

#[cfg(not(feature = "sasl-digest-md5"))]
fn read_users(_: &str, _: &mut Config) -> Result<(), String> {
    Err("this program was built without SASL; build it with the feature sasl-digest-md5".to_owned())
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Request, String> {
    let mut config = Config::default();
    let mut link = SlowLink::new();
    let mut address = None;
    let mut until_eof = false;
    let mut sasl_users = None;
    let mut tls = TlsFiles::default();
    while let Some(arg) = args.next() {
        let text = match &*arg {
            "--sasl-users" => Some(&mut sasl_users),
            "--tls-address" => Some(&mut tls.address),
            "--tls-certificate" => Some(&mut tls.certificate),
            "--tls-key" => Some(&mut tls.key),
            "--tls-client-ca" => Some(&mut tls.client_ca),
            "--tls-client-auth" => Some(&mut tls.client_auth),
            _ => None,
        };
        if let Some(text) = text {
            *text = Some(args.next().ok_or_else(|| format!("{arg} needs a value"))?);
            continue;
        }
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
            "--enforce-auth" => {
                let schemes = args.next().ok_or("--enforce-auth needs schemes")?;
                config.enforced_schemes = schemes.split(',').map(str::to_owned).collect();
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
    Ok(Request::Serve(Box::new(Options { address, until_eof, config, link, sasl_users, tls })))
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
        let Options { address, until_eof, config, link, tls, .. } = options("").unwrap();
        assert_eq!(tls, TlsFiles::default());
        assert_eq!((&*address, until_eof, link), ("127.0.0.1:2181", false, SlowLink::new()));
        assert_eq!(config.tick_time, Config::default().tick_time);
        assert_eq!(config.version, Version::V3_9, "as the help says");
    }

    #[test]
    fn options_are_parsed() {
        let options = options(
            "--tick-time 1 --min-session-timeout 2 0.0.0.0:3 --max-session-timeout 4 --delay 5 \
             --bandwidth 6 --until-eof --zookeeper-version 3.8 --enforce-auth digest,x509 \
             --sasl-users u --tls-address t:0 --tls-certificate c --tls-key k --tls-client-ca a \
             --tls-client-auth want",
        )
        .unwrap();
        let text = |text: &str| Some(text.to_owned());
        let tls = TlsFiles {
            address: text("t:0"),
            certificate: text("c"),
            key: text("k"),
            client_ca: text("a"),
            client_auth: text("want"),
        };
        assert_eq!((options.tls, options.sasl_users), (tls, text("u")));
        let config = options.config;
        assert_eq!(config.enforced_schemes, ["digest", "x509"]);
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
            ("--tls-key", "--tls-key needs a value"),
            ("--enforce-auth", "--enforce-auth needs schemes"),
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
