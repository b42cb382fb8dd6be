//! The classifier against replies that others labelled. Reads them where they lie; skipped where they are absent.

use relaywatch::{
    classify::{Parties, Rules, context, template_of},
    model::{EnhancedCode, RelayDomains, Reply},
};

#[derive(serde::Deserialize)]
struct Labelled {
    text: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    enhanced: String,
    #[serde(default)]
    expected_reason: String,
    expected_hard: Option<bool>,
    source: String,
}

#[test]
fn labelled_replies_give_no_false_hard() {
    let Some(folder) = std::env::var_os("RELAYWATCH_CORPORA") else {
        eprintln!("skipped: labelled_replies_give_no_false_hard (RELAYWATCH_CORPORA is not set)");
        return;
    };
    let path = std::path::Path::new(&folder).join("replies/labelled.jsonl");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: labelled_replies_give_no_false_hard ({} is absent)", path.display());
        return;
    };
    let rules = Rules::built_in().expect("built-in rules");
    let relay = RelayDomains::default();
    let (mut replies, mut decided) = (0, 0);
    let (mut false_hard, mut false_hard_apple) = (Vec::new(), Vec::new());
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let labelled: Labelled = serde_json::from_str(line).expect("a labelled reply");
        let reply =
            Reply::with_codes(&labelled.text, labelled.code.parse().ok(), EnhancedCode::parse(&labelled.enhanced));
        let template = template_of(&reply, &Parties::unknown(&relay));
        let verdict = rules.classify(&template, &context(None, None, None, &relay));
        replies += 1;
        decided += usize::from(verdict.cause != relaywatch::model::Cause::Undetermined);
        if verdict.hard && labelled.expected_hard == Some(false) {
            let line = format!("{} ({}): {}", verdict.rule, labelled.expected_reason, template);
            if labelled.source.contains("apple") || verdict.rule.starts_with("apple-") {
                false_hard_apple.push(line);
            } else {
                false_hard.push(line);
            }
        }
    }
    eprintln!(
        "{replies} replies, {decided} with a cause, {} false hards ({} by Apple's rules)",
        false_hard.len() + false_hard_apple.len(),
        false_hard_apple.len()
    );
    assert!(replies > 100, "the corpus is there in full");
    assert!(false_hard_apple.is_empty(), "{}", false_hard_apple.join("\n"));
}
