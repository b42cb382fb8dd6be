//! The fuzz targets' checks, on every fixture and seed, with the stable compiler.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

#[path = "../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "a library by itself, for the targets")]
#[expect(clippy::default_trait_access, reason = "the targets know none of the crate's dependencies")]
mod targets;

/// All files below a folder; none where it is not there.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn every_seed_passes_its_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (target, check) in targets::ALL {
        let folders = ["tests/fixtures", "fuzz/seeds"].map(|folder| root.join(folder).join(target));
        let seeds: Vec<PathBuf> = folders.iter().flat_map(|folder| files(folder)).collect();
        assert!(!seeds.is_empty(), "{target} has neither fixtures nor seeds");
        for seed in seeds {
            println!("{target}: {}", seed.display());
            let data = fs::read(&seed).expect("a seed");
            check(&data);
            // What is cut off comes in every day.
            check(&data[..data.len() / 2]);
        }
        check(&[]);
    }
}

#[test]
fn every_target_is_replayed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let there: BTreeSet<String> =
        files(&folder).iter().map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned()).collect();
    let replayed: BTreeSet<String> = targets::ALL.iter().map(|(target, _)| (*target).to_owned()).collect();
    assert_eq!(there, replayed);
}
