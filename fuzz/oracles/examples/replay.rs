//! Runs a target once on a file, or on hexadecimal bytes as the tests print them:
//! `ZK_FUZZ_LOG=1 cargo run -p zk-fuzz --example replay session 00ff01`.

use std::{error::Error, fs};

use zk_fuzz::TARGETS;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, input] = &arguments[..] else {
        return Err("usage: replay <target> <file or hexadecimal bytes>".into());
    };
    let (_, target) = TARGETS.iter().find(|(known, _)| known == name).ok_or("no such target")?;
    let byte = |at| u8::from_str_radix(input.get(at..at + 2).unwrap_or_default(), 16);
    let bytes = match fs::read(input) {
        Ok(bytes) => bytes,
        Err(_) => (0..input.len()).step_by(2).map(byte).collect::<Result<_, _>>()?,
    };
    target(&bytes);
    Ok(())
}
