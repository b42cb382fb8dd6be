//! The operator's own rule files: read here, since the room that classifies is pure.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use crate::{
    classify::{Rules, RulesError},
    config::Config,
};

/// The longest rule file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// How many names of what is not read are told.
const MAX_NAMED: usize = 10;

/// One reason why the operator's rules can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RuleFileError {
    /// There is no such folder.
    #[error("there is no folder {}: make it, or name another one", .0.display())]
    Missing(PathBuf),
    /// What should hold the files is no folder.
    #[error("{} is no folder: name the one that holds the rule files (*.toml)", .0.display())]
    NoFolder(PathBuf),
    /// The folder or a file in it can't be read.
    #[error("can't read the rules in {}: {source}", path.display())]
    Io {
        /// The folder or the file.
        path: PathBuf,
        /// Why not; part of the text.
        source: io::Error,
    },
    /// A file is longer than any rule file is.
    #[error("the rule file {} is larger than 1 MiB; split it", .0.display())]
    TooLarge(PathBuf),
    /// It is a pipe, a device or a folder.
    #[error("the rule file {} is no file: a folder, a pipe or a device is not read", .0.display())]
    NoFile(PathBuf),
    /// Its name can't name a rule.
    #[error("the rule file {:?} has a name that no rule can be called by: use letters, digits, \"-\", \"_\" and \".\"", .0)]
    Name(PathBuf),
    /// A file is no text.
    #[error("the rule file {} is no UTF-8 text: save it as UTF-8", .0.display())]
    NoText(PathBuf),
    /// A file is no rule file, or a rule in it is wrong.
    #[error(transparent)]
    Rule(RulesError),
}

/// Why the operator's rules can't be used: everything that is wrong with any file, each on a line of its own.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct RuleFilesError(pub Vec<RuleFileError>);

impl RuleFileError {
    fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::InvalidData => Self::NoText(path),
            _ => Self::Io { path, source },
        }
    }
}

/// The rules of this configuration.
///
/// # Errors
/// As [`load`] has it.
pub fn of(config: &Config) -> Result<Rules, RuleFilesError> {
    load(config.rules.folder.as_ref().map(AsRef::as_ref))
}

/// The built-in rules, with those of the `*.toml` files in the folder before them, in the order of their names.
///
/// # Errors
/// If the folder or a file can't be read, or a rule is wrong: nothing is used then, and all that is wrong is told.
pub fn load(folder: Option<&Path>) -> Result<Rules, RuleFilesError> {
    let (mut extra, mut wrong) = (Vec::new(), Vec::new());
    for path in folder.map(files).transpose().map_err(|error| RuleFilesError(vec![error]))?.unwrap_or_default() {
        let name = path.file_stem().and_then(|name| name.to_str()).filter(|name| is_name(name)).map(ToOwned::to_owned);
        match name.ok_or_else(|| RuleFileError::Name(path.clone())).and_then(|name| Ok((name, read(&path)?))) {
            Ok(file) => extra.push(file),
            Err(error) => wrong.push(error),
        }
    }
    let rules = Rules::with_extra(&extra);
    match rules {
        Ok(rules) if wrong.is_empty() => Ok(rules),
        Ok(_) => Err(RuleFilesError(wrong)),
        Err(mistakes) => {
            wrong.extend(mistakes.0.into_iter().map(RuleFileError::Rule));
            Err(RuleFilesError(wrong))
        }
    }
}

/// What is said where a folder is named and nothing of it is used.
#[must_use]
pub fn empty(folder: Option<&Path>, rules: &Rules) -> Option<String> {
    let folder = folder.filter(|_| rules.own_files() == 0)?;
    Some(format!("{} holds no rule file (*.toml): only the built-in rules are asked", folder.display()))
}

/// What is said where a folder holds things whose names are nearly those of rule files, or folders: they are not read.
#[must_use]
pub fn passed_over(folder: Option<&Path>) -> Option<String> {
    let folder = folder?;
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        if path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b".")) || is_rule_file(&path) {
            continue;
        }
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        let mistyped = extension.is_some_and(|extension| matches!(extension.as_str(), "toml" | "tml" | "tom" | "tmol"));
        if mistyped || path.is_dir() {
            let slash = if path.is_dir() { "/" } else { "" };
            names.push(format!("{}{slash}", entry.file_name().to_string_lossy().escape_debug()));
        }
    }
    names.sort();
    let more = names.len().saturating_sub(MAX_NAMED);
    names.truncate(MAX_NAMED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let list = (!names.is_empty()).then(|| names.join(", "))?;
    Some(format!("not read in {}, where rule files are *.toml: {list}{more}", folder.display()))
}

/// Whether a name is that of a rule file.
fn is_rule_file(path: &Path) -> bool {
    // Editors leave locks and drafts with a dot before the name.
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && path.extension().is_some_and(|extension| extension == "toml")
}

/// The rule files of a folder, by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>, RuleFileError> {
    let entries = fs::read_dir(folder).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => RuleFileError::Missing(folder.to_owned()),
        io::ErrorKind::NotADirectory => RuleFileError::NoFolder(folder.to_owned()),
        _ => RuleFileError::io(folder, source),
    })?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|source| RuleFileError::io(folder, source))?.path();
        if is_rule_file(&path) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Whether a file's name can stand in the log, in a verdict and before a rule's name.
fn is_name(name: &str) -> bool {
    name.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn read(path: &Path) -> Result<String, RuleFileError> {
    let failed = |source| RuleFileError::io(path, source);
    // A pipe would be waited for, and a device has no end.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(RuleFileError::NoFile(path.to_owned()));
    }
    let mut text = String::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_FILE_BYTES { Err(RuleFileError::TooLarge(path.to_owned())) } else { Ok(text) }
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
        let none = load(Some(folder.path())).expect("the built-in ones");
        assert!(empty(Some(folder.path()), &none).is_some_and(|said| said.contains("holds no rule file")));
        assert_eq!(empty(None, &none), None);
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
        assert!(told(&folder.path().join("ours.toml")).contains("is no folder"));
        fs::write(folder.path().join("ours.toml"), [0xff, 0xfe]).expect("written");
        assert!(told(folder.path()).contains("ours.toml"), "{}", told(folder.path()));
        for name in ["evil\u{1b}[31m.toml", "two\nlines.toml", "a/b.toml"] {
            let path = folder.path().join(name.replace('/', "_ "));
            fs::write(&path, RULE).expect("written");
            let said = told(folder.path());
            assert!(said.contains("has a name that no rule can be called by"), "{said}");
            assert!(
                !said.contains(['\u{1b}', '\u{7}']) && said.lines().all(|line| line.starts_with("the rule file")),
                "{said}"
            );
            fs::remove_file(&path).expect("removed");
        }
        std::os::unix::fs::symlink("/dev/zero", folder.path().join("endless.toml")).expect("linked");
        assert!(told(folder.path()).contains("endless.toml is no file"), "{}", told(folder.path()));
        fs::remove_file(folder.path().join("endless.toml")).expect("removed");
        fs::create_dir(folder.path().join("folder.toml")).expect("made");
        assert!(told(folder.path()).contains("folder.toml is no file"), "{}", told(folder.path()));
        fs::remove_dir(folder.path().join("folder.toml")).expect("removed");
        let huge = fs::File::create(folder.path().join("ours.toml")).expect("made");
        huge.set_len(MAX_FILE_BYTES + 1).expect("grown");
        assert!(told(folder.path()).contains("larger than 1 MiB"), "{}", told(folder.path()));
    }

    #[test]
    fn what_is_not_read_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["a.toml", "A.TOML", "b.tml", "notes.txt", ".hidden.TOML"] {
            fs::write(folder.path().join(name), "").expect("written");
        }
        assert_eq!(passed_over(None), None);
        fs::create_dir(folder.path().join("more")).expect("made");
        let said = passed_over(Some(folder.path())).expect("said");
        assert!(said.ends_with("where rule files are *.toml: A.TOML, b.tml, more/"), "{said}");
    }

    #[test]
    fn every_mistake_of_every_file_is_told_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
        let two = format!(
            "{}{}",
            RULE.replace("auto_reply", "auto_repli").replace("confidence = 1.0", "confidence = \"much\"\nharrd = true"),
            RULE.replace("version = 2\n", "").replace("confidence = 1.0\n", "confidence = 7.0\nhard = true\n")
        );
        write("a.toml", &two);
        write(
            "b.toml",
            &format!("versions = 1\n{}{}", RULE.replace("version = 2\n", ""), RULE.replace("version = 2\n", "")),
        );
        write("c.toml", "version = 1\n[[rule]]\nname = ours\nwording = [\"x\n");
        let list = RULE.replace("confidence = 1.0\n", "code = [\"55\", \"550\", \"x\"]\nconfidence = 0\nhard = true\n");
        let sample = "samples = [{ text = \"550 x\", mxx = \"mx\" }]\nprovider = [\"sess\"]\n";
        let list = list.replace("name = \"ours\"", "name = \"Our Rule\"").replace("doc = \"us\"\n", sample);
        let bare = "[[rule]]\nname = \"bare\"\ncause = \"mailbox_fall\"\nhard = true\nconfidence = 2.0\n";
        let again = RULE.replace("version = 2\n", "").replace("ours", "bare").replace("doc = \"us\"\n", "");
        write("e.toml", &format!("{list}{bare}{again}"));
        write("f.toml", "version = 1\n[[rules]]\nname = \"a\"\n");
        write("google.toml", RULE);
        fs::write(folder.path().join("d.toml"), [0xff, 0xfe]).expect("written");
        let told = load(Some(folder.path())).expect_err("wrong").to_string();
        insta::assert_snapshot!(told.replace(&folder.path().display().to_string(), "FOLDER"));
    }
}
