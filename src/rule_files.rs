//! The operator's own rule files: read here, since the room that classifies is pure.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::classify::{Rules, RulesError};

/// The longest rule file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Why the operator's rules can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RuleFilesError {
    /// The folder or a file in it can't be read.
    #[error("can't read the rules in {}", path.display())]
    Io {
        /// The folder or the file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file is longer than any rule file is.
    #[error("the rule file {} is larger than 1 MiB; split it", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A file is no rule file, or a rule in it is wrong.
    #[error(transparent)]
    Rules(#[from] RulesError),
}

/// The built-in rules, with those of the `*.toml` files in the folder before them, in the order of their names.
///
/// # Errors
/// If the folder or a file can't be read, or a rule is wrong: nothing is used then.
pub fn load(folder: Option<&Path>) -> Result<Rules, RuleFilesError> {
    let Some(folder) = folder else { return Ok(Rules::built_in()?) };
    let failed = |path: &Path| {
        let path = path.to_owned();
        |source| RuleFilesError::Io { path, source }
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let path = entry.map_err(failed(folder))?.path();
        // Editors leave locks and drafts with a dot before the name.
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    let mut extra = Vec::with_capacity(files.len());
    for path in files {
        if fs::metadata(&path).map_err(failed(&path))?.len() > MAX_FILE_BYTES {
            return Err(RuleFilesError::TooLarge { path });
        }
        let text = fs::read_to_string(&path).map_err(failed(&path))?;
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        extra.push((name, text));
    }
    Ok(Rules::with_extra(&extra)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Cause, ReplyContext};

    const RULE: &str = "version = 2\n[[rule]]\nname = \"ours\"\nwording = [\"gone fishing\"]\ncause = \"auto_reply\"\nconfidence = 1.0\ndoc = \"us\"\n";

    #[test]
    fn files_are_asked_by_their_names_before_the_built_in_ones() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
        write("b.toml", RULE);
        write("a.toml", &RULE.replace("auto_reply", "greylisted"));
        write("notes.txt", "no rules");
        std::os::unix::fs::symlink("nowhere", folder.path().join(".#a.toml")).expect("an editor's lock");
        let rules = load(Some(folder.path())).expect("rules");
        let verdict = rules.classify("550 gone fishing", &ReplyContext::default());
        assert_eq!((verdict.cause, verdict.rule.as_str(), verdict.version), (Cause::Greylisted, "a/ours", 2));
        let built_in = load(None).expect("the built-in ones");
        assert_ne!(rules.fingerprint(), built_in.fingerprint());
        assert_eq!(load(Some(folder.path())).expect("the same").fingerprint(), rules.fingerprint());
        fs::remove_file(folder.path().join("a.toml")).expect("removed");
        assert_ne!(load(Some(folder.path())).expect("fewer").fingerprint(), rules.fingerprint());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let told = |path: &Path| load(Some(path)).expect_err("wrong").to_string();
        let missing = folder.path().join("missing");
        assert!(told(&missing).contains("missing"), "{}", told(&missing));
        fs::write(folder.path().join("ours.toml"), RULE.replace("cause", "course")).expect("written");
        assert!(told(folder.path()).starts_with("rule file ours.toml, line 5"), "{}", told(folder.path()));
        fs::write(folder.path().join("ours.toml"), [0xff, 0xfe]).expect("written");
        assert!(told(folder.path()).contains("ours.toml"), "{}", told(folder.path()));
        let huge = fs::File::create(folder.path().join("ours.toml")).expect("made");
        huge.set_len(MAX_FILE_BYTES + 1).expect("grown");
        assert!(told(folder.path()).contains("larger than 1 MiB"), "{}", told(folder.path()));
    }
}
