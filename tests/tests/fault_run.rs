//! The program `fault-run`: a run of one minute passes, and faulty locks are detected.

use std::process::{Command, Output};

fn fault_run(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_fault-run");
    Command::new(program).args(arguments).output().expect("the program runs")
}

fn output_text(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    format!("{out}\n{err}")
}

// One test, because each run needs the whole machine.
#[test]
fn the_lock_is_safe_and_faulty_locks_are_detected() {
    let correct = fault_run(&["--seconds", "60"]);
    assert!(correct.status.success(), "{}", output_text(&correct));
    for faulty in ["no-own-node", "no-session"] {
        // The run ends at the first violation; a minute was not always enough for one.
        let output = fault_run(&["--seconds", "300", "--lock", faulty]);
        assert!(!output.status.success(), "{faulty}: {}", output_text(&output));
        assert!(output_text(&output).contains("two holders"), "{faulty}: {}", output_text(&output));
    }
}
