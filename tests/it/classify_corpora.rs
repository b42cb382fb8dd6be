//! The classifier against replies that others labelled, through the command that anyone can run. Reads them where they
//! lie; skipped by name where they are absent.

use std::{path::PathBuf, process::Command};

use serde_json::Value;

/// The corpus, or `None` with a line that names the test.
fn corpus(test: &str, path: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("RELAYWATCH_CORPORA") else {
        eprintln!("skipped: {test} (RELAYWATCH_CORPORA is not set)");
        return None;
    };
    let path = PathBuf::from(folder).join(path);
    if !path.exists() {
        eprintln!("skipped: {test} ({} is absent)", path.display());
        return None;
    }
    Some(path)
}

fn score(path: &std::path::Path) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_relaywatch"))
        .args(["classify", "--score", "--format", "json"])
        .arg(path)
        .env_remove("RELAYWATCH_CONFIG")
        .output()
        .expect("the command runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn number(value: &Value, key: &str) -> f64 {
    value.get(key).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {key} in {value}"))
}

/// Whatever a change of rules brings, it must not fall below these.
#[test]
fn labelled_replies_are_told_apart() {
    let Some(path) = corpus("labelled_replies_are_told_apart", "replies/labelled.jsonl") else { return };
    let scored = score(&path);
    let all = &scored["all"];
    assert!(number(all, "replies") > 100.0, "the corpus is there in full");
    assert!(number(all, "accuracy") >= 0.94, "{all}");
    assert!(number(all, "precision") >= 0.85, "{all}");
    assert!(number(all, "family_share") >= 0.91, "{all}");
    assert!(number(all, "false_hards") / number(all, "replies") <= 0.035, "{all}");
    let apple: Vec<&Value> = scored["false_hards"].as_array().into_iter().flatten().collect();
    assert!(
        apple.iter().all(|one| !one["rule"].as_str().unwrap_or_default().starts_with("apple-")),
        "Apple's words make no false hard: {apple:?}"
    );
}

#[test]
fn bounce_mails_are_told_apart_by_a_plain_reading() {
    let Some(path) = corpus("bounce_mails_are_told_apart_by_a_plain_reading", "bounce-mail") else { return };
    let scored = score(&path);
    assert!(number(&scored, "mails_read") / number(&scored, "mails") > 0.5, "{scored}");
    assert!(number(&scored["all"], "accuracy") >= 0.92, "{}", scored["all"]);
    assert!(number(&scored["all"], "family_share") >= 0.87, "{}", scored["all"]);
}
