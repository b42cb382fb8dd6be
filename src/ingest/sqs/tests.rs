//! What bodies from a queue become, and what a queue that can't be asked comes to.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    ingest::{KEPT_MILLIS, Report, SetAsideReason, http::ses},
    model::Timestamp,
};

/// 2025-08-11T00:00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_754_870_400_000);

fn fixtures() -> Vec<(String, String)> {
    let folder = format!("{}/tests/fixtures/ses", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(folder).expect("the fixtures").map(|entry| entry.expect("an entry").path());
    let json = files.filter(|path| path.extension().is_some_and(|kind| kind == "json"));
    json.map(|path| {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        (name, std::fs::read_to_string(path).expect("a fixture"))
    })
    .collect()
}

#[test]
fn every_seed_of_the_fuzzer_is_understood_or_set_aside() {
    let folder = format!("{}/fuzz/seeds/sqs", env!("CARGO_MANIFEST_DIR"));
    let mut understood = 0;
    for entry in std::fs::read_dir(folder).expect("the seeds") {
        let body = std::fs::read_to_string(entry.expect("an entry").path()).expect("a seed");
        let report = decode(&body, None, NOW);
        understood += usize::from(!report.events.is_empty());
        assert!(!report.events.is_empty() || !report.ignored.is_empty() || !report.set_aside.is_empty());
    }
    assert_eq!(understood, 4, "as they are, by EventBridge, and both in envelopes");
}

/// As SNS wraps it for a queue.
fn envelope(message: &str) -> Value {
    json!({
        "Type": "Notification",
        "MessageId": "92bd9a96-0004-4e7f-8e59-bb4e3fc13226",
        "TopicArn": "arn:aws:sns:eu-west-1:123456789012:ses-events",
        "Subject": "Amazon SES Email Event Notification",
        "Message": message,
        "Timestamp": "2025-07-30T11:02:02.170Z",
        "SignatureVersion": "1",
        "Signature": "bm90aGluZyBsb29rcyBhdCBpdA==",
        "SigningCertURL": "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-3424c00aa04e.pem",
        "UnsubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe",
        "MessageAttributes": { "a": { "Type": "String", "Value": "b" } },
    })
}

#[test]
fn every_fixture_says_the_same_by_every_way() {
    let found = fixtures();
    assert!(found.len() > 15);
    for (name, text) in found {
        let direct = ses::decode(&text, None, NOW).expect("decodes");
        let raw = decode(&text, None, NOW);
        assert_eq!(raw, direct, "{name}");
        assert_eq!(decode(&envelope(&text).to_string(), None, NOW), direct, "{name} in an envelope");
        assert_eq!(decode(&envelope(&format!("{text}\n")).to_string(), None, NOW), direct, "{name} with a line end");
        if !name.starts_with("eventbridge") {
            let detail: Value = serde_json::from_str(&text).expect("JSON");
            let event = json!({ "version": "0", "id": "1", "detail-type": "x", "source": "aws.ses", "detail": detail });
            let by_bus = decode(&event.to_string(), None, NOW);
            assert_eq!(by_bus.events, direct.events, "{name} by EventBridge");
            assert_eq!(by_bus.ignored, direct.ignored, "{name} by EventBridge");
            assert_eq!(decode(&envelope(&event.to_string()).to_string(), None, NOW), by_bus, "{name} by both");
        }
    }
}

#[test]
fn the_campaign_is_looked_for_where_the_settings_say() {
    let (_, text) = fixtures().into_iter().find(|(name, _)| name == "bounce-unauthorized-sender").expect("a fixture");
    let campaign = |tag| decode(&envelope(&text).to_string(), tag, NOW).events.remove(0).campaign;
    assert_eq!(campaign(Some("ses:configuration-set")).as_deref(), Some("relay-events"));
    assert_ne!(campaign(None).as_deref(), Some("relay-events"));
}

/// The one part that was set aside, and nothing else.
fn set_aside(report: Report) -> crate::ingest::SetAside {
    let mut rest = report;
    assert_eq!(rest.set_aside.len(), 1, "{rest:?}");
    let part = rest.set_aside.remove(0);
    assert_eq!(rest, Report::default());
    part
}

#[test]
fn what_makes_no_sense_is_set_aside_for_a_week_with_its_reason() {
    let repeated = envelope("{}").to_string().replacen('{', "{\"Type\":\"Notification\",", 1);
    let bodies = [
        (String::new(), "empty"),
        (" \n".to_owned(), "empty"),
        ("hello".to_owned(), "not JSON"),
        ("{\"eventType\":\"Bou".to_owned(), "not JSON"),
        ("{\"a\":".repeat(100_000), "not JSON"),
        ("[".repeat(100_000), "shape"),
        ("x".repeat(MAX_BODY + 1), "too large"),
        ("[]".to_owned(), "shape"),
        ("[{\"eventType\":\"Send\"}]".to_owned(), "shape"),
        ("42".to_owned(), "shape"),
        ("null".to_owned(), "shape"),
        ("\"text\"".to_owned(), "shape"),
        ("{\"Type\":\"Notification\"}".to_owned(), "shape"),
        ("{\"Type\":\"Notification\",\"Message\":7}".to_owned(), "shape"),
        ("{\"Type\":7,\"Message\":\"{}\"}".to_owned(), "shape"),
        (repeated, "shape"),
        (envelope("no JSON").to_string(), "not JSON"),
        (envelope("[]").to_string(), "shape"),
        (envelope("{\"eventType\":\"Bounce\"}").to_string(), "no object of this type"),
    ];
    for (body, label) in bodies {
        let part = set_aside(decode(&body, None, NOW));
        let shown = body.get(..60).unwrap_or(&body);
        assert_eq!((part.reason, part.label.as_str()), (SetAsideReason::Malformed, label), "{shown}");
        assert_eq!(part.kept_millis, POISON_KEPT_MILLIS, "{shown}");
        assert!(part.body.len() <= MAX_BODY, "{shown}");
    }
}

const MAX_BODY: usize = 1024 * 1024;

#[test]
fn what_is_too_large_is_cut_where_a_character_ends() {
    let part = set_aside(decode(&"é".repeat(MAX_BODY), None, NOW));
    assert!(String::from_utf8(part.body).is_ok_and(|kept| kept.len() == 64 * 1024));
}

#[test]
fn types_yet_to_come_are_kept_for_a_month() {
    for body in [
        envelope("{\"eventType\":\"Teleported\",\"mail\":{}}").to_string(),
        "{\"source\":\"aws.s3\",\"detail-type\":\"Object Created\",\"detail\":{\"bucket\":{}}}".to_owned(),
    ] {
        let part = set_aside(decode(&body, None, NOW));
        assert_eq!((part.reason, part.kept_millis), (SetAsideReason::UnknownType, KEPT_MILLIS), "{body}");
    }
}

#[test]
fn messages_of_sns_and_ses_about_themselves_are_ignored() {
    let mut about = envelope("You have chosen to subscribe to the topic.");
    about["Type"] = json!("SubscriptionConfirmation");
    about["SubscribeURL"] = json!("https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=1");
    let confirmation = decode(&about.to_string(), None, NOW);
    assert_eq!(confirmation, Report { ignored: vec!["sns-subscription-confirmation"], ..Report::default() });
    about["Type"] = json!("UnsubscribeConfirmation");
    assert_eq!(decode(&about.to_string(), None, NOW).ignored, ["sns-unsubscribe-confirmation"]);
    let validated = envelope("Successfully validated SNS topic for Amazon SES event publishing.\n");
    assert_eq!(decode(&validated.to_string(), None, NOW).ignored, ["ses-validation"]);
}

proptest! {
    #[test]
    fn no_body_is_lost(body in ".{0,200}") {
        let report = decode(&body, None, NOW);
        prop_assert!(!report.set_aside.is_empty() || !report.events.is_empty() || !report.ignored.is_empty());
    }
}

#[test]
fn what_ses_greets_with_is_acknowledged_by_every_way() {
    let greeting = "Successfully validated SNS topic for Amazon SES event publishing.";
    for body in [greeting.to_owned(), format!("{greeting}\n"), envelope(greeting).to_string()] {
        assert_eq!(decode(&body, None, NOW), Report { ignored: vec!["ses-validation"], ..Report::default() });
    }
}
