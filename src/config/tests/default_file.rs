//! The default file, the schema and the documentation agree.

use std::{collections::BTreeSet, fmt::Write, os::unix::fs::PermissionsExt};

use super::*;

#[test]
fn nothing_and_the_default_file_and_the_types_agree() {
    let mut expected = Config::default();
    expected.store.url = StoreUrl::new("sqlite:///state/relaywatch.db");
    assert_eq!(settings(loaded("", &[])), expected);
    let shipped = loaded(DEFAULT_FILE, &[]);
    assert_eq!(shipped.provenance.warnings, []);
    assert_eq!(settings(shipped), expected);
}

/// The default file with every example in force: lines that begin with `#` and no blank.
fn uncommented() -> String {
    let lines = DEFAULT_FILE.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => rest,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_example_of_the_default_file_is_valid() {
    let folder = tempfile::tempdir().expect("folder");
    let text = uncommented();
    let secrets =
        text.lines().filter_map(|line| line.split_once("_file = \"")).filter_map(|(_, rest)| rest.split('"').next());
    // Logs are named in full, and looked for only when they are followed.
    for name in secrets.filter(|name| !name.starts_with('/')) {
        let file = folder.path().join(name);
        std::fs::write(&file, "https://hooks.example.com/0123456789abcdef\n").expect("write");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("permissions");
    }
    let config = Config::from_text(Some(&folder.path().join("relaywatch.toml")), text, environment(&[]))
        .unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.provenance.warnings, []);
    assert_eq!(config.team.len(), 1);
    assert_eq!(config.feeds.ses.0.first().map(|feed| feed.topics.len()), Some(1));
    assert_eq!(
        config.feeds.sparkpost.0.first().and_then(|feed| feed.password.as_ref()).map(Secret::expose),
        Some("https://hooks.example.com/0123456789abcdef")
    );
    assert!(config.privacy.key_file.is_some_and(|file| file.0.starts_with(folder.path())));
}

/// Every key of the schema as (section, key).
fn schema_keys() -> BTreeSet<(String, String)> {
    fn walk(shape: &Shape<'_>, path: &str, keys: &mut BTreeSet<(String, String)>) {
        let Some(properties) = shape.keys() else { return };
        for key in properties.keys() {
            let child = shape.key(key).expect("a property");
            let inner =
                if child.keys().is_some() { Some(child) } else { child.items().filter(|item| item.keys().is_some()) };
            match inner {
                Some(inner) => walk(&inner, &shape::join(path, key), keys),
                None => drop(keys.insert((path.to_owned(), key.clone()))),
            }
        }
    }
    let mut keys = BTreeSet::new();
    walk(&Shape::new(&SCHEMA), "", &mut keys);
    keys
}

#[test]
fn every_key_of_the_schema_stands_in_the_default_file() {
    let mut sections: HashMap<String, String> = HashMap::new();
    let mut section = String::new();
    for line in DEFAULT_FILE.lines() {
        if let Some(header) = line.trim_start_matches('#').strip_prefix('[') {
            header.trim_matches(['[', ']']).clone_into(&mut section);
        }
        let text = sections.entry(section.clone()).or_default();
        text.push_str(line);
        text.push('\n');
    }
    let keys = schema_keys();
    assert!(keys.len() > 60, "{} keys", keys.len());
    for (section, key) in &keys {
        let text = sections.get(section).unwrap_or_else(|| panic!("[{section}] is missing"));
        let stands = |key: &str| text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == key);
        let as_file = keys.contains(&(section.clone(), format!("{key}_file"))) && stands(&format!("{key}_file"));
        assert!(stands(key) || as_file, "[{section}] {key} is missing in config.default.toml");
    }
}

#[test]
fn the_documentation_lists_every_key() {
    let mut table = String::from("| section | key | default | meaning |\n|---|---|---|---|\n");
    for (section, key) in schema_keys() {
        let shape = section.split('.').fold(Shape::new(&SCHEMA), |shape, step| {
            shape.key(step).or_else(|| shape.items()?.key(step)).expect("a section")
        });
        let keys = shape.keys().or_else(|| shape.items()?.keys()).expect("keys");
        let schema = keys.get(&key).expect("a key");
        let meaning = schema.get("description").and_then(serde_json::Value::as_str).expect("every key is documented");
        let default = schema
            .get("default")
            .filter(|value| !value.is_null())
            .map_or_else(String::new, |value| format!("`{value}`"));
        writeln!(table, "| `[{section}]` | `{key}` | {default} | {} |", meaning.replace('\n', " ")).expect("a string");
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let text = std::fs::read_to_string(&file).expect("docs");
    let (head, rest) = text.split_once("<!-- keys -->\n").expect("a start");
    let (_, tail) = rest.split_once("<!-- end of keys -->").expect("an end");
    let fresh = format!("{head}<!-- keys -->\n{table}<!-- end of keys -->{tail}");
    if std::env::var_os("RELAYWATCH_BLESS").is_some() {
        std::fs::write(&file, &fresh).expect("write");
    }
    let text = std::fs::read_to_string(&file).expect("docs");
    assert!(text == fresh, "docs/configuration.md is out of date; run this test again with RELAYWATCH_BLESS=1");
}
