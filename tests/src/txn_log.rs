//! The transaction log of a stopped ZooKeeper server, to write a state that would take days to reach.
//!
//! A log is a header, and then for each transaction the Adler-32 of its bytes, their length, the bytes, and
//! the letter `B` (`FileTxnLog`). The rest of the file is zeros.

use std::{fs, io, path::Path};

const HEADER_LEN: usize = 16;
/// The end of a transaction.
const END: u8 = b'B';

const CREATE: i32 = 1;
const DELETE: i32 = 2;

/// Sets the sequence number of the next sequential child of `parent`, which exists, to `next`. It writes that
/// a child was created as the one before it, and deleted.
pub(crate) fn set_sequence(version_2: &Path, parent: &str, next: i32) -> io::Result<()> {
    let mut logs: Vec<_> = fs::read_dir(version_2)?
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let zxid = path.file_name()?.to_str()?.strip_prefix("log.")?;
            Some((u64::from_str_radix(zxid, 16).ok()?, path))
        })
        .collect();
    logs.sort();
    let (_, path) = logs.pop().ok_or_else(|| io::Error::other("there is no log"))?;
    let mut log = fs::read(&path)?;
    let (end, last_zxid) = end(&log).ok_or_else(|| io::Error::other("the log is broken"))?;
    log.truncate(end);
    let child = format!("{}/counted", if parent == "/" { "" } else { parent });
    let create = [
        string(&child),
        0_i32.to_be_bytes().to_vec(), // no data
        1_i32.to_be_bytes().to_vec(), // one ACL
        31_i32.to_be_bytes().to_vec(),
        string("world"),
        string("anyone"),
        vec![0], // not ephemeral
        next.to_be_bytes().to_vec(),
    ];
    append(&mut log, last_zxid + 1, CREATE, &create.concat());
    append(&mut log, last_zxid + 2, DELETE, &string(&child));
    fs::write(path, log)
}

/// Where the last transaction ends, and its zxid.
fn end(log: &[u8]) -> Option<(usize, i64)> {
    let (mut at, mut zxid) = (HEADER_LEN, 0);
    while let Some(length) = log.get(at + 8..at + 12) {
        let length = usize::try_from(i32::from_be_bytes(length.try_into().ok()?)).ok()?;
        if length == 0 {
            break;
        }
        // The session and its xid come first.
        zxid = i64::from_be_bytes(log.get(at + 24..at + 32)?.try_into().ok()?);
        at += 12 + length + 1;
    }
    Some((at, zxid))
}

fn append(log: &mut Vec<u8>, zxid: i64, kind: i32, txn: &[u8]) {
    let header = [
        0_i64.to_be_bytes().to_vec(), // no session
        0_i32.to_be_bytes().to_vec(),
        zxid.to_be_bytes().to_vec(),
        0_i64.to_be_bytes().to_vec(), // time 0
        kind.to_be_bytes().to_vec(),
    ];
    let bytes = [&header.concat(), txn].concat();
    log.extend(i64::from(adler32(&bytes)).to_be_bytes());
    log.extend(i32::try_from(bytes.len()).expect("a short transaction").to_be_bytes());
    log.extend(bytes);
    log.push(END);
}

fn string(text: &str) -> Vec<u8> {
    let length = i32::try_from(text.len()).expect("a short text");
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

fn adler32(bytes: &[u8]) -> u32 {
    const MODULUS: u32 = 65_521;
    let (a, b) = bytes.iter().fold((1_u32, 0_u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % MODULUS;
        (a, (b + a) % MODULUS)
    });
    (b << 16) | a
}
