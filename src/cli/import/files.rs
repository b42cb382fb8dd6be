//! The files that are named: folders with everything below them, in one order.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context;

/// Folders within each other that are looked into.
const MAX_DEPTH: u32 = 64;

/// The files under the paths, in the order in which these are named; those of a folder by their names. `-` stays.
///
/// # Errors
/// Where one can't be read, or a folder holds none.
pub(in crate::cli) fn of(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            if files.contains(path) {
                anyhow::bail!("standard input can be read once");
            }
            files.push(path.clone());
            continue;
        }
        let found = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
        if !found.is_dir() {
            files.push(path.clone());
            continue;
        }
        let known = files.len();
        walk(path, 0, &mut files).with_context(|| format!("cannot read the folder {}", path.display()))?;
        if files.len() == known {
            anyhow::bail!("the folder {} holds no files", path.display());
        }
    }
    Ok(files)
}

/// Hidden files are left out, and what a Maildir has not delivered yet. Links to folders are not followed: they can lead back.
fn walk(folder: &Path, depth: u32, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Ok(());
    }
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    let is_maildir = ["cur", "new"].iter().all(|name| entries.iter().any(|entry| entry.file_name() == *name));
    for entry in entries {
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") || (is_maildir && name == "tmp") {
            continue;
        }
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            walk(&path, depth + 1, files)?;
        } else if fs::metadata(&path).is_ok_and(|found| found.is_file()) {
            files.push(path);
        }
    }
    Ok(())
}

/// The type of Braze's events that a path tells: `…/event_type=users.messages.email.Bounce/…`.
pub(super) fn event_type(path: &Path) -> Option<String> {
    let mut parts = path.components().rev();
    parts.find_map(|part| part.as_os_str().to_str()?.strip_prefix("event_type=")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_give_all_their_files_in_one_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        for name in ["b/2", "b/1", "a", ".hidden", "mail/cur/1:2,S", "mail/new/2", "mail/tmp/3"] {
            fs::create_dir_all(path(name).parent().expect("a folder")).expect("a folder");
            fs::write(path(name), "x").expect("a file");
        }
        std::os::unix::fs::symlink(folder.path(), path("loop")).expect("a link");
        fs::create_dir(path("empty")).expect("a folder");
        let found = of(&[folder.path().to_owned()]).expect("files");
        let expected: Vec<PathBuf> = ["a", "b/1", "b/2", "mail/cur/1:2,S", "mail/new/2"].map(path).to_vec();
        assert_eq!(found, expected);
        assert_eq!(of(&[path("b/1"), "-".into()]).expect("files"), [path("b/1"), "-".into()]);
        let said = |paths: &[PathBuf]| of(paths).expect_err("refused").to_string();
        assert!(said(&[path("empty")]).ends_with("empty holds no files"));
        assert!(said(&[path("none")]).starts_with("cannot read "));
        assert!(said(&["-".into(), "-".into()]).contains("once"));
    }

    #[test]
    fn a_path_can_tell_the_type() {
        let told = event_type(Path::new("x/event_type=users.messages.email.Bounce/date=2025-08-09/part.avro"));
        assert_eq!(told.as_deref(), Some("users.messages.email.Bounce"));
        assert_eq!(event_type(Path::new("x/part.avro")), None);
    }
}
