//! What SES's payloads become. The fixtures are invented after Amazon's documentation and replies of Apple's relay.

use std::{fmt::Write as _, sync::LazyLock};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    ingest::{
        FollowUp, SetAsideReason,
        http::sns::{
            MessageType, SignatureVersion,
            signing::{Draft, Signer, message_id},
        },
    },
    model::{DAY_MILLIS, Event, EventKind, Timestamp},
};

const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:ses-events";
/// 2025-08-11T00:00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_754_870_400_000);

fn fixtures() -> Vec<(String, String)> {
    let folder = format!("{}/tests/fixtures/ses", env!("CARGO_MANIFEST_DIR"));
    let mut all: Vec<_> = std::fs::read_dir(folder)
        .expect("the fixtures")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).expect("a text"))
        })
        .collect();
    all.sort();
    all
}

fn fixture(name: &str) -> Value {
    let (_, text) = fixtures().into_iter().find(|(n, _)| n == name).expect("the fixture");
    serde_json::from_str(&text).expect("JSON")
}

fn decoded(value: &Value) -> Report {
    decode(&value.to_string(), None, NOW).expect("decodes")
}

fn only(report: Report) -> Event {
    assert_eq!(report.events.len(), 1, "{report:?}");
    report.events.into_iter().next().expect("one")
}

/// Everything that a report says, with addresses in the clear.
fn show(report: &Report) -> String {
    let mut out = String::new();
    for event in &report.events {
        let dedupe = String::from_utf8_lossy(event.dedupe.expose()).replace(|c: char| c.is_control(), "\u{b7}");
        let address = |a: &crate::model::Address| a.expose().to_owned();
        write!(
            out,
            "{} at {} sent {:?} to {}\n  from {:?}, envelope {:?} on {:?}, campaign {:?}, message {:?}\n  reply {:?}\n  mta {:?}, \
             verdict {:?}, class {}\n  dedupe {dedupe}\n",
            event.kind,
            event.at,
            event.sent_at,
            address(&event.recipient),
            event.from_domain,
            event.envelope_sender.as_ref().map(address),
            event.envelope_domain,
            event.campaign,
            event.message_id,
            event.reply,
            event.remote_mta,
            event.provider_verdict,
            event.provider_class,
        )
        .expect("writes");
    }
    for part in &report.set_aside {
        writeln!(out, "set aside: {} {:?} at {:?}", part.reason, part.label, part.at).expect("writes");
    }
    for word in &report.ignored {
        writeln!(out, "ignored: {word}").expect("writes");
    }
    out
}

#[test]
fn every_fixture_is_decoded_as_recorded() {
    for (name, text) in fixtures() {
        let report = decode(&text, None, NOW).expect("decodes");
        insta::assert_snapshot!(name, show(&report));
    }
}

#[test]
fn one_event_by_every_way_is_one() {
    let bounce = fixture("bounce-unauthorized-sender");
    let direct = only(decoded(&bounce));
    assert_eq!(direct, only(decoded(&fixture("eventbridge-bounce"))));
    let by_firehose = format!("{bounce}\n");
    assert_eq!(direct, only(decode_bytes(by_firehose.as_bytes(), None, NOW.plus_millis(5)).expect("decodes")));
    let mut old_shape = bounce.clone();
    let object = old_shape.as_object_mut().expect("an object");
    object.remove("eventType");
    object.insert("notificationType".to_owned(), json!("Bounce"));
    assert_eq!(direct, only(decoded(&old_shape)));
}

#[test]
fn events_that_differ_in_what_identifies_them_are_different() {
    let base = fixture("bounce-unauthorized-sender");
    let mut seen = vec![only(decoded(&base)).dedupe];
    for (pointer, value) in [
        ("/bounce/feedbackId", json!("another")),
        ("/bounce/timestamp", json!("2025-08-09T06:00:02.457Z")),
        ("/mail/messageId", json!("another")),
        ("/bounce/bouncedRecipients/0/emailAddress", json!("other@privaterelay.appleid.com")),
    ] {
        let mut changed = base.clone();
        *changed.pointer_mut(pointer).expect("a member") = value;
        let dedupe = only(decoded(&changed)).dedupe;
        assert!(!seen.contains(&dedupe), "{pointer}");
        seen.push(dedupe);
    }
    let mut spelt = base.clone();
    *spelt.pointer_mut("/bounce/bouncedRecipients/0/emailAddress").expect("a member") =
        json!("A <ZhzkndNeko@privaterelay.appleid.com>");
    assert_eq!(only(decoded(&spelt)).dedupe, seen[0], "the spelling of an address is no other address");
    let mut without = base;
    without["bounce"].as_object_mut().expect("an object").remove("feedbackId");
    let first = only(decoded(&without)).dedupe;
    without["bounce"]["bouncedRecipients"][0]["diagnosticCode"] = json!("smtp; 550 5.1.1 user not found");
    assert_ne!(only(decoded(&without)).dedupe, first, "without feedbackId the diagnostic tells them apart");
}

#[test]
fn a_delay_with_a_final_reply_is_a_refusal() {
    for (said, kind) in
        [("smtp; 550 5.1.1 x: unauthorized sender", EventKind::Refused), ("smtp; 450 x", EventKind::Deferred)]
    {
        let mut payload = fixture("delivery-delay");
        payload["deliveryDelay"]["delayedRecipients"][0]["diagnosticCode"] = json!(said);
        assert_eq!(only(decoded(&payload)).kind, kind, "{said}");
    }
}

#[test]
fn every_suppression_echo_is_the_providers_own() {
    for sub in [
        "Suppressed",
        "OnAccountSuppressionList",
        "OnTenantSuppressionList",
        "UnsubscribedRecipient",
        "SUPPRESSED",
        "OnNewSuppressionList",
    ] {
        let mut payload = fixture("bounce-suppression-list");
        payload["bounce"]["bounceSubType"] = json!(sub);
        payload["bounce"]["bouncedRecipients"][0]["diagnosticCode"] = json!("x");
        assert_eq!(only(decoded(&payload)).kind, EventKind::SuppressedByProvider, "{sub}");
    }
    let mut by_text = fixture("bounce-suppression-list");
    by_text["bounce"]["bounceSubType"] = json!("General");
    let echo = only(decoded(&by_text));
    assert_eq!(echo.kind, EventKind::SuppressedByProvider);
    let reply = echo.reply.expect("SES's words");
    assert_eq!((reply.code, reply.enhanced), (None, None), "its codes are not the receiving side's");
    by_text["bounce"]["bouncedRecipients"][0]["diagnosticCode"] = json!("smtp; 550 5.1.1 user not found");
    assert_eq!(only(decoded(&by_text)).kind, EventKind::Refused);
}

#[test]
fn validation_messages_are_acknowledged() {
    for text in [
        "Successfully validated SNS topic for Amazon SES event publishing.",
        "Successfully validated SNS topic for Amazon SES event publishing.\n",
        r#"{"notificationType":"AmazonSnsSubscriptionSucceeded","message":"You have successfully subscribed"}"#,
    ] {
        let report = decode(text, None, NOW).expect("decodes");
        assert_eq!(report, Report { ignored: vec!["ses-validation"], ..Report::default() });
    }
}

#[test]
fn a_report_that_mail_is_no_spam_is_no_complaint() {
    let mut payload = fixture("complaint");
    payload["complaint"]["complaintFeedbackType"] = json!("not-spam");
    assert_eq!(decoded(&payload), Report { ignored: vec!["not-spam"], ..Report::default() });
}

#[test]
fn the_campaign_comes_from_the_tag_that_is_configured() {
    let mut payload = fixture("delivery");
    payload["mail"]["tags"]["flow"] = json!(["win-back"]);
    let campaign =
        |payload: &Value, tag: Option<&str>| only(decode(&payload.to_string(), tag, NOW).expect("decodes")).campaign;
    assert_eq!(campaign(&payload, None).as_deref(), Some("august-orders"));
    assert_eq!(campaign(&payload, Some("flow")).as_deref(), Some("win-back"));
    assert_eq!(campaign(&payload, Some("absent")), None);
    assert_eq!(campaign(&payload, Some("customer")), None, "an address is no campaign");
    payload["mail"]["tags"] = json!({"ses:configuration-set": ["relay-events"]});
    assert_eq!(campaign(&payload, None), None, "a configuration set is no campaign");
}

#[test]
fn the_from_domain_is_looked_for_in_order() {
    let mut payload = fixture("delivery");
    let mail = json!({
        "timestamp": "2025-08-09T06:00:00Z",
        "commonHeaders": {"from": ["a@common.example"]},
        "headers": [{"name": "Subject", "value": "a@subject.example"}, {"name": "from", "value": "A <a@Header.example>"}],
        "tags": {"ses:from-domain": ["tag.example"]},
        "source": "a@source.example",
    });
    payload["mail"] = mail;
    for (expected, next) in [
        ("common.example", "commonHeaders"),
        ("header.example", "headers"),
        ("tag.example", "tags"),
        ("source.example", "source"),
    ] {
        assert_eq!(only(decoded(&payload)).from_domain.as_deref(), Some(expected));
        payload["mail"].as_object_mut().expect("an object").remove(next);
    }
    let bare = only(decoded(&payload));
    assert_eq!((bare.from_domain, bare.envelope_sender, bare.envelope_domain), (None, None, None));
}

#[test]
fn the_answering_host_is_never_ses_itself() {
    let mut payload = fixture("delivery");
    for (given, expected) in [
        (json!("dns; SMTP3.privaterelay.appleid.com"), Some("smtp3.privaterelay.appleid.com")),
        (json!("mx01.mail.icloud.com."), Some("mx01.mail.icloud.com")),
        (json!("dns; amazonses.com"), None),
        (json!("a7-12.smtp-out.amazonses.com"), None),
        (json!("notamazonses.com"), Some("notamazonses.com")),
        (json!("dns; someone@example.com"), None),
        (json!(""), None),
        (json!(null), None),
    ] {
        payload["delivery"]["reportingMTA"] = given.clone();
        assert_eq!(only(decoded(&payload)).remote_mta.as_deref(), expected, "{given}");
    }
}

#[test]
fn what_makes_no_sense_is_set_aside_and_named() {
    use SetAsideReason::{ImplausibleTime, Malformed, NoRecipient, UnknownType};
    let bounce = || fixture("bounce-unauthorized-sender");
    let at = |pointer: &str, value: Value| {
        let mut payload = bounce();
        *payload.pointer_mut(pointer).expect("a member") = value;
        payload.to_string()
    };
    let own = "/bounce/timestamp";
    let sent = "/mail/timestamp";
    let text = bounce().to_string();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let many: Vec<Value> = (0..1_001).map(|n| json!({"emailAddress": format!("a{n}@example.com")})).collect();
    for (name, body, reason) in [
        ("year 1", at(own, json!("0001-01-01T00:00:00Z")), ImplausibleTime),
        ("year 9999", at(own, json!("9999-12-31T23:59:59Z")), ImplausibleTime),
        ("year 9999 within the calendar", at(own, json!("9999-01-01T00:00:00Z")), ImplausibleTime),
        ("sent in year 1", at(sent, json!("0001-01-01T00:00:00Z")), ImplausibleTime),
        ("two days ahead", at(own, json!("2025-08-13T00:00:00Z")), ImplausibleTime),
        ("beyond 2^53", at(own, json!(9_007_199_254_740_993_u64)), ImplausibleTime),
        (
            "beyond 2^64",
            text.replace("\"2025-08-09T06:00:02.456Z\"", "123456789012345678901234567890"),
            ImplausibleTime,
        ),
        ("1e300", text.replace("\"2025-08-09T06:00:02.456Z\"", "1e300"), ImplausibleTime),
        ("negative", at(own, json!(-1)), ImplausibleTime),
        ("zero", at(own, json!(0)), ImplausibleTime),
        ("a word for a time", at(own, json!("yesterday")), Malformed),
        ("a time without offset", at(own, json!("2025-08-09T06:00:02")), Malformed),
        ("no recipients", at("/bounce/bouncedRecipients", json!([])), NoRecipient),
        ("null recipients", at("/bounce/bouncedRecipients", json!(null)), NoRecipient),
        ("too many recipients", at("/bounce/bouncedRecipients", json!(many)), Malformed),
        ("a bounce without bounce", at("/bounce", json!(null)), Malformed),
        ("a bounce that is a text", at("/bounce", json!("x")), Malformed),
        ("mail that is a number", at("/mail", json!(1)), Malformed),
        ("a list", format!("[{text}]"), Malformed),
        ("a number", "1".to_owned(), Malformed),
        ("a deep list", deep.clone(), Malformed),
        ("a repeated member", text.replacen('{', "{\"eventType\":\"Open\",", 1), Malformed),
        ("no type", "{}".to_owned(), UnknownType),
        ("a deep type", format!("{{\"eventType\":{{}},\"x\":{deep}}}"), UnknownType),
        ("a wrapper in a wrapper", json!({"detail": {"detail": bounce()}}).to_string(), UnknownType),
    ] {
        let report = decode(&body, None, NOW).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(report.set_aside.len(), 1, "{name}: {report:?}");
        assert_eq!(report.set_aside[0].reason, reason, "{name}");
        assert!(report.events.is_empty(), "{name}");
    }
}

#[test]
fn what_is_no_json_is_refused() {
    let bounce = fixture("bounce-unauthorized-sender").to_string();
    let cut: String = bounce.chars().take(bounce.len() - 1).collect();
    let deep_in_a_text_member = format!("{{\"eventType\":{}", "[".repeat(100_000));
    for body in ["", "hello", "{", "{\"eventType\":\"Bounce\"}}", &cut, &deep_in_a_text_member] {
        assert_eq!(decode(body, None, NOW), Err(DecodeError::NotJson));
    }
    assert_eq!(decode_bytes(b"{\"eventType\":\"\xff\"}", None, NOW), Err(DecodeError::NotUtf8));
}

#[test]
fn a_recipient_that_is_no_address_does_not_hold_up_the_others() {
    let mut payload = fixture("bounce-unauthorized-sender");
    let mut recipients: Vec<Value> =
        (0..48).map(|n| json!({"emailAddress": format!("relay{n}@privaterelay.appleid.com")})).collect();
    recipients.extend([json!({"emailAddress": "nobody"}), json!(null)]);
    payload["bounce"]["bouncedRecipients"] = json!(recipients);
    let report = decoded(&payload);
    assert_eq!(report.events.len(), 48);
    assert_eq!(report.set_aside.len(), 1);
    assert_eq!(report.set_aside[0].reason, SetAsideReason::Malformed);
    assert_eq!(report.set_aside[0].label, "2 of 50 recipients are no addresses");
    assert_eq!(report.set_aside[0].body, payload.to_string().into_bytes());
}

#[test]
fn a_label_never_holds_an_address() {
    let report = decoded(&fixture("unknown-type"));
    assert_eq!(report.set_aside[0].label, "Quarantine ?");
}

#[test]
fn of_a_repeated_tag_the_last_counts() {
    let text = fixture("delivery").to_string().replace("\"campaign\":[", "\"campaign\":[\"first\"],\"campaign\":[");
    assert_eq!(only(decode(&text, None, NOW).expect("decodes")).campaign.as_deref(), Some("august-orders"));
}

static SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer::generate().expect("a key"));

fn feed() -> SesFeed {
    let (from, until) = (NOW.plus_millis(-DAY_MILLIS), NOW.plus_millis(DAY_MILLIS));
    let pem = SIGNER.certificate("sns.amazonaws.com", from, until).expect("a certificate");
    let settings = SesSettings {
        topics: vec![TOPIC.to_owned()],
        signing_certificates: vec![pem.into_bytes()],
        ..SesSettings::default()
    };
    SesFeed::new(&settings).expect("settings")
}

fn post(kind: MessageType, message: &str) -> Delivery {
    let draft = Draft {
        kind,
        topic: TOPIC,
        message_id: &message_id(7),
        message,
        subject: None,
        at: NOW,
        version: SignatureVersion::V1,
    };
    let body = SIGNER.envelope(&draft).expect("signs");
    Delivery { received_at: NOW, ..super::super::testing::delivery(&[], body) }
}

#[tokio::test]
async fn a_signed_bounce_becomes_an_event() {
    let bounce = fixture("bounce-unauthorized-sender");
    let report = feed().receive(&post(MessageType::Notification, &format!("{bounce:#}\n"))).await.expect("received");
    assert_eq!(report, decoded(&bounce));
}

#[tokio::test]
async fn the_handshake_is_handed_on_only_for_the_subscription() {
    let feed = feed();
    let subscribe = feed.receive(&post(MessageType::SubscriptionConfirmation, "Confirm")).await.expect("received");
    let Some(FollowUp::ConfirmSubscription { url, topic }) = subscribe.follow_up else { panic!("a follow-up") };
    assert_eq!((url.host_str(), topic.as_str()), (Some("sns.eu-west-1.amazonaws.com"), TOPIC));
    let unsubscribe = feed.receive(&post(MessageType::UnsubscribeConfirmation, "Gone")).await.expect("received");
    assert_eq!(unsubscribe, Report { ignored: vec!["sns-unsubscribe-confirmation"], ..Report::default() });
}

#[tokio::test]
async fn a_signed_message_that_is_no_json_is_refused() {
    let rejection = feed().receive(&post(MessageType::Notification, "a@b.example")).await.expect_err("refused");
    assert_eq!((rejection.status.as_u16(), rejection.reason), (400, RejectionReason::Malformed));
    assert!(!rejection.detail.contains("b.example"));
}

/// JSON whose members stand in an order that `seed` decides.
fn shuffled(value: &Value, seed: u64) -> String {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| {
                name.bytes().fold(seed, |sum, b| (sum ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3).rotate_left(17))
            });
            let members: Vec<String> =
                members.iter().map(|(name, value)| format!("{}:{}", json!(name), shuffled(value, seed))).collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| shuffled(item, seed)).collect();
            format!("[{}]", items.join(","))
        }
        other => other.to_string(),
    }
}

/// Any JSON, in which the members that SES uses are frequent.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
        prop::sample::select(vec![
            "Bounce",
            "Complaint",
            "Delivery",
            "Send",
            "DeliveryDelay",
            "Reject",
            "Permanent",
            "2025-08-09T06:00:02.456Z",
            "A <a@privaterelay.appleid.com>",
        ])
        .prop_map(Value::from),
    ];
    let names = prop::sample::select(vec![
        "eventType",
        "notificationType",
        "mail",
        "bounce",
        "complaint",
        "delivery",
        "deliveryDelay",
        "detail",
        "timestamp",
        "messageId",
        "destination",
        "bouncedRecipients",
        "recipients",
        "emailAddress",
        "tags",
        "headers",
        "commonHeaders",
    ]);
    leaf.prop_recursive(5, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(names.clone().prop_map(str::to_owned), inner, 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_decoded_and_always_alike(value in any_json(), kind in prop::sample::select(vec!["Bounce", "Complaint", "Delivery", "Send", "Reject"])) {
        let mut value = value;
        if let Some(members) = value.as_object_mut() {
            members.insert("eventType".to_owned(), json!(kind));
        }
        let text = value.to_string();
        let once = decode(&text, None, NOW);
        prop_assert!(once.is_ok());
        prop_assert_eq!(&once, &decode(&text, None, NOW));
    }

    #[test]
    fn any_text_is_decoded_or_refused(text in "\\PC{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(decode(&text, None, NOW), decode_bytes(text.as_bytes(), None, NOW));
        if let Err(error) = decode_bytes(&bytes, None, NOW) {
            prop_assert!(matches!(error, DecodeError::NotJson | DecodeError::NotUtf8));
        }
    }

    #[test]
    fn the_order_of_members_does_not_matter(seed in any::<u64>(), pick in any::<prop::sample::Index>()) {
        let fixtures = fixtures();
        let (_, text) = pick.get(&fixtures);
        let value: Value = serde_json::from_str(text).expect("JSON");
        let (one, other) = (decoded(&value), decode(&shuffled(&value, seed), None, NOW).expect("decodes"));
        prop_assert_eq!(show(&one), show(&other));
        prop_assert_eq!(one.events, other.events);
    }
}
