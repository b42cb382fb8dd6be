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

/// The aims: all mails decoded with the right number of recipients, 98 % of the statuses.
#[test]
fn bounce_mails_are_read_and_told_apart() {
    let Some(path) = corpus("bounce_mails_are_read_and_told_apart", "bounce-mail") else { return };
    let scored = score(&path);
    let mails = &scored["mails"];
    let share = |right: &str, all: &str| number(mails, right) / number(mails, all);
    assert!(number(mails, "mails") > 100.0, "the corpus is there in full");
    assert!(share("decoded", "mails") >= 0.99, "{mails}");
    assert!(share("recipients_right", "mails") >= 0.98, "{mails}");
    assert!(share("statuses_right", "statuses") >= 0.98, "{mails}");
    assert!(share("none_given_right", "none_given") >= 0.9, "{mails}");
    assert!(share("reply_codes_right", "reply_codes") >= 0.98, "{mails}");
    assert!(number(&scored["all"], "accuracy") >= 0.92, "{}", scored["all"]);
    assert!(number(&scored["all"], "family_share") >= 0.87, "{}", scored["all"]);
}

/// The published abuse reports, field by field.
#[test]
fn abuse_reports_are_equal_to_their_published_form() {
    use relaywatch::ingest::mail::{Understood, understand};
    let Some(folder) = corpus("abuse_reports_are_equal_to_their_published_form", "arf") else { return };
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|end| end != "eml") {
            continue;
        }
        seen += 1;
        let Understood::Abuse(report) = understand(&std::fs::read(&path).expect("a mail")) else {
            panic!("{} is an abuse report", path.display())
        };
        let published: Value =
            serde_json::from_slice(&std::fs::read(path.with_extension("json")).expect("its form")).expect("JSON");
        let mut ours = serde_json::to_value(&report.fields).expect("JSON");
        ours["feedback_type"] = report.feedback_type.as_str().into();
        for (key, theirs) in published.as_object().expect("an object") {
            // The message itself is not among the fields of the report; the published form never fills these.
            if matches!(key.as_str(), "message" | "headers") {
                assert!(theirs.is_null(), "{}: {key}", path.display());
                continue;
            }
            let ours = ours.get(key).unwrap_or_else(|| panic!("no {key}"));
            // Words are compared without their dress: `AuthFailure` is `auth-failure`, `Unspecified` is no word.
            let word = |value: &Value| match value.as_str() {
                Some("Unspecified") | None => String::new(),
                Some(text) => text.to_lowercase().replace('-', ""),
            };
            let is_word =
                matches!(key.as_str(), "feedback_type" | "auth_failure" | "delivery_result" | "identity_alignment");
            let equal = if is_word { word(ours) == word(theirs) } else { ours == theirs };
            assert!(equal, "{}: {key}: {ours} is not {theirs}", path.display());
        }
    }
    assert!(seen > 0, "there are abuse reports");
}
