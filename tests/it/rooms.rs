//! Pure rooms stay pure: they import nothing but pure ones, and what they import from outside knows no clock, no I/O, no async.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The pure rooms, as docs/architecture.md has them, by their paths in `src` and in the crate.
const PURE: &[(&str, &str)] = &[
    ("model", "model"),
    ("detect", "detect"),
    ("explain", "explain"),
    ("classify", "classify"),
    ("simulate", "simulate"),
    ("sources/spf", "sources::spf"),
    ("sources/answer.rs", "sources::answer"),
    ("sources/finding.rs", "sources::finding"),
    ("sources/dkim.rs", "sources::dkim"),
    ("sources/dmarc.rs", "sources::dmarc"),
    ("sources/apple_rule.rs", "sources::apple_rule"),
    ("sources/audit.rs", "sources::audit"),
    ("sources/finding", "sources::finding"),
    ("sources/dkim", "sources::dkim"),
    ("sources/dmarc", "sources::dmarc"),
    ("sources/audit", "sources::audit"),
    ("sources/watch.rs", "sources::watch"),
    ("sources/watch", "sources::watch"),
    ("sources/asking.rs", "sources::asking"),
    ("sources/tags.rs", "sources::tags"),
    ("sources/mail_from.rs", "sources::mail_from"),
    ("sources/providers.rs", "sources::providers"),
];
/// What no pure room names.
const IMPURE: &[&str] = &[
    "tokio",
    "sqlx",
    "axum",
    "reqwest",
    "hyper",
    "hickory_resolver",
    "async fn",
    ".await",
    "std::fs",
    "std::process",
    "TcpStream",
    "UdpSocket",
    "Instant::now",
    "SystemTime",
    "Timestamp::now",
];

/// The Rust files of a room without its tests.
fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .filter(|path| !path.file_stem().is_some_and(|stem| stem == "tests" || stem == "testing"))
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

/// The code of a file: no comments, and nothing behind the first `#[cfg(test)]` that begins a module with its tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The paths behind every `crate::`, their groups in braces opened.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        open("", rest, &mut found);
    }
    found
}

/// Reads a path or a group of paths; what is left of the text behind it.
fn open<'a>(prefix: &str, text: &'a str, found: &mut BTreeSet<String>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start().trim_start_matches(',').trim_start();
            if let Some(rest) = rest.strip_prefix('}') {
                return rest;
            }
            if rest.is_empty() {
                return rest;
            }
            rest = open(prefix, rest, found);
        }
    }
    let end = text.find(|one: char| !one.is_alphanumeric() && one != '_').unwrap_or(text.len());
    let (word, rest) = text.split_at(end.max(usize::from(!text.is_empty())));
    let path = if prefix.is_empty() { word.to_owned() } else { format!("{prefix}::{word}") };
    if let Some(rest) = rest.strip_prefix("::") {
        return open(&path, rest, found);
    }
    found.insert(path);
    rest
}

#[test]
fn pure_rooms_import_pure_ones_only() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (room, _) in PURE {
        for file in files(&source.join(room)) {
            seen += 1;
            let code = code(&fs::read_to_string(&file).expect("a source file"));
            for word in IMPURE {
                if code.contains(word) {
                    wrong.push(format!("{} names {word}", file.display()));
                }
            }
            for path in imports(&code) {
                let within =
                    |room: &str| path == room || path.strip_prefix(room).is_some_and(|rest| rest.starts_with("::"));
                if !PURE.iter().any(|(_, room)| within(room)) {
                    wrong.push(format!("{} imports {path}", file.display()));
                }
            }
        }
    }
    assert!(seen > 20, "{seen} files");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn imports_are_seen_in_groups() {
    let found = imports("use crate::{model::{Address, time::Timestamp}, store::Store};\nlet a = crate::clock::now();");
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    assert_eq!(found, ["clock::now", "model::Address", "model::time::Timestamp", "store::Store"]);
}
