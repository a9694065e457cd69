//! Runs a command with a ZooKeeper server of its own: `with-zookeeper COMMAND [ARG …]`. The command finds
//! the server's address in `ZK_HOSTS`; the server goes when the command ends.
#![allow(clippy::print_stderr)]

use std::process::{Command, ExitCode};

use zk_tests::Ensemble;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!("usage: with-zookeeper COMMAND [ARG ...]");
        return ExitCode::FAILURE;
    };
    let server = Ensemble::standalone();
    let status = Command::new(&program).args(arguments).env("ZK_HOSTS", server.hosts()).status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{}: {error}", program.to_string_lossy());
            ExitCode::FAILURE
        }
    }
}
