//! The program `fault-run`: a minute of it, and that it finds out the locks that lie.

use std::process::{Command, Output};

fn fault_run(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_fault-run");
    Command::new(program).args(arguments).output().expect("the program runs")
}

fn said(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said));
    format!("{out}\n{err}")
}

// One test, as each run takes the whole machine.
#[test]
fn the_lock_is_safe_and_faulty_locks_are_detected() {
    let ours = fault_run(&["--seconds", "60"]);
    assert!(ours.status.success(), "{}", said(&ours));
    for liar in ["no-own-node", "no-session"] {
        // It ends with the first violation, which a minute has been seen to pass without.
        let output = fault_run(&["--seconds", "300", "--lock", liar]);
        assert!(!output.status.success(), "{liar}: {}", said(&output));
        assert!(said(&output).contains("two holders"), "{liar}: {}", said(&output));
    }
}
