//! Runs every target over its inputs in `fuzz/corpus`, and over truncated copies of them.

use std::{
    collections::BTreeSet,
    fs,
    panic::catch_unwind,
    path::{Path, PathBuf},
};

use zk_fuzz::TARGETS;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("entry").path()).collect();
    paths.sort();
    paths
}

/// The names of the files in a folder, without extensions.
fn names(folder: &Path) -> BTreeSet<String> {
    let stem = |path: PathBuf| Some(path.file_stem()?.to_str()?.to_owned());
    entries(folder).into_iter().filter_map(stem).collect()
}

#[test]
fn the_corpus_passes() {
    for (name, target) in TARGETS {
        let kept = entries(&folder("corpus").join(name));
        assert!(!kept.is_empty(), "{name} has no seeds");
        for file in kept {
            let input = fs::read(&file).expect("readable seed");
            let cuts = input.len().saturating_sub(8)..input.len();
            for len in cuts.chain([input.len()]) {
                let held = catch_unwind(|| target(&input[..len]));
                assert!(held.is_ok(), "{} of {} bytes of {}", len, input.len(), file.display());
            }
        }
    }
}

#[test]
fn every_target_is_registered() {
    let targets: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(targets.len(), TARGETS.len());
    assert_eq!(names(&folder("corpus")), targets);
    assert_eq!(names(&folder("targets")), targets);
    let manifest = fs::read_to_string(folder("Cargo.toml")).expect("readable manifest");
    for name in targets {
        assert!(manifest.contains(&format!("path = \"targets/{name}.rs\"")), "{name}");
    }
}
