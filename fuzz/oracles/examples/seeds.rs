//! Creates seeds for the fuzz targets from the packets that were recorded between other clients and a real server
//! (`zk-proto/tests/golden`), and from a few strings. Run `just fuzz-seeds`, and review the changes before you commit
//! them.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use zk_proto::{
    ErrorCode, OpCode,
    jute::{Decode, Reader},
    records::{ReplyHeader, RequestHeader, xid},
};

/// Seeds by target and class. The shortest seed of each class is kept.
type Seeds = BTreeMap<(&'static str, String), Vec<u8>>;

fn add(seeds: &mut Seeds, target: &'static str, like: String, seed: Vec<u8>) {
    let known = seeds.entry((target, like)).or_insert_with(|| seed.clone());
    if seed.len() < known.len() {
        *known = seed;
    }
}

/// The byte that selects an operation.
fn pick(op: OpCode) -> u8 {
    let at = OpCode::ALL.iter().position(|named| *named == op);
    at.and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX)
}

fn from_hex(text: &str) -> Result<Bytes, Box<dyn Error>> {
    let byte = |at| u8::from_str_radix(text.get(at..at + 2).unwrap_or_default(), 16);
    Ok((0..text.len()).step_by(2).map(byte).collect::<Result<_, _>>()?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut seeds = Seeds::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut recordings: Vec<PathBuf> = fs::read_dir(root.join("zk-proto/tests/golden"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_, std::io::Error>>()?;
    recordings.sort();
    for recording in recordings.iter().filter(|path| path.extension() == Some("frames".as_ref())) {
        add_recording(&mut seeds, &fs::read_to_string(recording)?)?;
    }
    add_texts(&mut seeds);

    let corpus = root.join("fuzz/corpus");
    for ((target, like), seed) in seeds {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(like.replace(' ', "-")), seed)?;
    }
    Ok(())
}

fn add_recording(seeds: &mut Seeds, text: &str) -> Result<(), Box<dyn Error>> {
    let mut pending: BTreeMap<i32, OpCode> = BTreeMap::new();
    let mut stream = BTreeSet::new();
    let (mut greeted, mut answered) = (false, false);
    for line in text.lines() {
        match line.split_at_checked(2) {
            Some(("= ", _)) => (greeted, answered) = (false, false),
            Some(("> ", hex)) => {
                let frame = from_hex(hex)?;
                if !std::mem::replace(&mut greeted, true) {
                    continue;
                }
                let mut input = Reader::new(&frame);
                let header = RequestHeader::decode(&mut input)?;
                pending.insert(header.xid, header.op);
                let seed = [&[pick(header.op)], &input.rest()[..]].concat();
                add(seeds, "request", header.op.to_string(), seed);
            }
            Some(("< ", hex)) => {
                let frame = from_hex(hex)?;
                stream.insert(frame.len());
                if !std::mem::replace(&mut answered, true) {
                    for flags in [0, 1, 3] {
                        let like = format!("{}-bytes-{flags}", frame.len());
                        add(seeds, "connect_response", like, [&[flags], &frame[..]].concat());
                    }
                    continue;
                }
                let mut input = Reader::new(&frame);
                let header = ReplyHeader::decode(&mut input)?;
                let body = input.rest();
                if header.xid == xid::NOTIFICATION {
                    let kind = body.get(3).copied().unwrap_or_default();
                    add(seeds, "watch_event", format!("type-{kind}"), body.into());
                    continue;
                }
                let Some(op) = pending.get(&header.xid) else { continue };
                let (err, outcome) = match header.err {
                    ErrorCode::Ok => (0, ""),
                    _ => (101, "-failed"),
                };
                let seed = [&[pick(*op), err], &body[..]].concat();
                add(seeds, "reply", format!("{op}{outcome}"), seed);
                if matches!(op, OpCode::Multi | OpCode::MultiRead) && header.err.is_ok() {
                    add(seeds, "multi_response", format!("{op}-{}-bytes", body.len()), body.into());
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn add_texts(seeds: &mut Seeds) {
    let paths = [
        ("plain", "/app/config", "/app"),
        ("chroot", "/app", "/app/config"),
        ("sequential", "/queue/", "/"),
        ("dots", "/a/../b/./.c", "/.."),
        ("controls", "/a\u{1}\u{7f}\u{9f}", "/\u{e000}\u{fff0}"),
        ("beyond", "/größe/日本", "/🦀"),
        ("number", "lock-", "2147483648"),
        ("minus", "lock", "-000000000"),
    ];
    for (like, first, second) in paths {
        let seed = [&[first.len() as u8], first.as_bytes(), second.as_bytes()].concat();
        add(seeds, "path", like.into(), seed);
    }
    for pick in 0..64 {
        add(seeds, "record", format!("kind-{pick}"), [&[pick][..], &[0; 8]].concat());
    }
    let strings = [
        ("plain", "h1:2181,h2/app/x"),
        ("blanks", " h1 ,\th2:7 /app\n"),
        ("ipv6", "[::1]:2182,[fe80::1%eth0]:9"),
        ("bare-ipv6", "::1"),
        ("scheme", "zk://h1"),
    ];
    for (like, text) in strings {
        add(seeds, "connect_string", like.into(), text.into());
    }
    let frames: [(&str, &[u8]); 4] = [
        ("small", b"\x00\xff\x03\x05\0\0\0\x05small\0\0\0\0\0\0\0\x02ab"),
        ("oversize", b"\x00\x10\x01\xff\0\0\0\x14aaaaaaaaaaaaaaaaaaaa\0\0\0\x01b"),
        ("negative", b"\x00\xff\x03\x05\0\0\0\x01a\xff\xff\xff\xff"),
        ("promise", b"\xff\xff\xff\xff\x0f\xff\xff\xff????"),
    ];
    for (like, bytes) in frames {
        add(seeds, "frame", like.into(), bytes.into());
    }
}
