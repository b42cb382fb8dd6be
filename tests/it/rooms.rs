//! Pure rooms stay pure: they import nothing but pure ones, and what they import from outside knows no clock, no I/O, no async.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use regex::Regex;

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
    ("sources/canary", "sources::canary"),
    ("sources/watch.rs", "sources::watch"),
    ("sources/watch", "sources::watch"),
    ("sources/asking.rs", "sources::asking"),
    ("sources/tags.rs", "sources::tags"),
    ("sources/mail_from.rs", "sources::mail_from"),
    ("sources/providers.rs", "sources::providers"),
    ("sources/reports.rs", "sources::reports"),
    ("sources/reports", "sources::reports"),
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
    "TcpStream",
    "UdpSocket",
    "Instant::now",
    "SystemTime",
    "Timestamp::now",
];

/// What no pure room names of the standard library.
const IMPURE_STD: &[&str] = &[
    "std::env",
    "std::fs",
    "std::process",
    "std::thread",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::time::Instant",
    "std::time::SystemTime",
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

/// The code of a file: no comments, no paths of who may see it, and nothing behind the first `#[cfg(test)]` that begins a module with its tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let visibility = Regex::new(r"\(in [\w:]+\)").expect("a regular expression");
    let lines: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    visibility.replace_all(&lines.join("\n"), "").into_owned()
}

/// The paths behind every match, their groups in braces opened.
fn behind(pattern: &str, code: &str) -> Vec<(usize, BTreeSet<String>)> {
    let pattern = Regex::new(pattern).expect("a regular expression");
    let (mut all, mut at) = (Vec::new(), 0);
    while let Some(found) = pattern.find_at(code, at) {
        let mut paths = BTreeSet::new();
        at = code.len() - open("", code.get(found.end()..).unwrap_or_default(), &mut paths).len();
        all.push((found.len(), paths));
    }
    all
}

/// What the code of a module names of its own crate: behind `crate::`, and behind `super::` as seen from the module. In a module that
/// is written inside of the file one `super::` more is needed for the same.
fn imports(code: &str, module: &[&str]) -> BTreeSet<String> {
    let mut found: BTreeSet<String> = behind(r"\bcrate::", code).into_iter().flat_map(|(_, paths)| paths).collect();
    let inner =
        usize::from(Regex::new(r"(?m)^(pub(\([^)]*\))? )?mod \w+ \{").expect("a regular expression").is_match(code));
    for (length, paths) in behind(r"\b(super::)+", code) {
        let up = (length / "super::".len()).saturating_sub(inner);
        let base = &module[..module.len().saturating_sub(up)];
        found.extend(paths.iter().map(|path| {
            // A `super` within a group leads up once more.
            let parts = path.split("::").fold(base.to_vec(), |mut parts, part| {
                if part == "super" {
                    parts.pop();
                } else {
                    parts.push(part);
                }
                parts
            });
            parts.join("::")
        }));
    }
    found
}

/// What the code names of the standard library that does something.
fn effects(code: &str) -> BTreeSet<String> {
    let named = behind(r"\bstd::", code).into_iter().flat_map(|(_, paths)| paths).map(|path| format!("std::{path}"));
    named.filter(|path| IMPURE_STD.iter().any(|room| is_within(path, room))).collect()
}

fn is_within(path: &str, room: &str) -> bool {
    path == room || path.strip_prefix(room).is_some_and(|rest| rest.starts_with("::"))
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
            wrong.extend(effects(&code).into_iter().map(|path| format!("{} names {path}", file.display())));
            let inside = file.strip_prefix(&source).expect("a file of the source").with_extension("");
            let module: Vec<&str> =
                inside.iter().filter_map(|part| part.to_str()).filter(|part| *part != "mod").collect();
            for path in imports(&code, &module) {
                if !PURE.iter().any(|(_, room)| is_within(&path, room)) {
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
    let of = |code: &str| imports(code, &["sources", "spf", "parse"]).into_iter().collect::<Vec<_>>();
    assert_eq!(
        of("use crate::{model::{Address, time::Timestamp}, store::Store};\nlet a = crate::clock::now();"),
        ["clock::now", "model::Address", "model::time::Timestamp", "store::Store"]
    );
    assert_eq!(
        of("use super::{record::Term, super::dns::Asker};\nuse super::super::servers;"),
        ["sources::dns::Asker", "sources::servers", "sources::spf::record::Term"]
    );
    assert_eq!(of("mod wire {\n    use super::a;\n}\n"), ["sources::spf::parse::a"]);
}

#[test]
fn effects_are_seen_in_groups() {
    let found: Vec<String> =
        effects("use std::{collections::BTreeMap, fs, time::{Duration, Instant}};").into_iter().collect();
    assert_eq!(found, ["std::fs", "std::time::Instant"]);
}
