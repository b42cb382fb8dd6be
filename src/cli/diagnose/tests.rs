use super::*;
use crate::sources::apple_rule::{Source, Team};

/// A day after the fixtures.
const NOW: Timestamp = Timestamp::from_seconds(1_795_564_800);

fn diagnosed(input: &[u8], format: Format) -> (Result<Exit, DiagnoseError>, String, String) {
    let (rules, relay) = (Rules::built_in().expect("rules"), RelayDomains::default());
    let (mut out, mut diagnostics) = (Vec::new(), Vec::new());
    let (inventory, trust) = (Inventory::default(), Trust::default());
    let options = Options { rules: &rules, relay: &relay, now: NOW, inventory: &inventory, trust: &trust, asker: None };
    let done = run(input, &mut out, &mut diagnostics, format, &options);
    (done, String::from_utf8(out).expect("UTF-8"), String::from_utf8(diagnostics).expect("UTF-8"))
}

fn fixture(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mail").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_kind_is_told_for_people() {
    for name in ["relay-unauthorized", "exim-two", "abuse", "aggregate", "apple-notification", "vacation", "person"] {
        let (done, out, diagnostics) = diagnosed(&fixture(&format!("{name}.eml")), Format::Text);
        let exit = done.expect("told");
        assert_eq!(exit, if name == "person" { Exit::Finding } else { Exit::Success }, "{name}");
        assert_eq!(diagnostics, "");
        insta::assert_snapshot!(format!("text-{name}"), out);
    }
}

#[test]
fn json_is_one_object_with_the_verdicts_fields() {
    let (done, out, _) = diagnosed(&fixture("relay-unauthorized.eml"), Format::Json);
    assert_eq!(done.expect("told"), Exit::Success);
    insta::assert_snapshot!(out);
    let (_, out, _) = diagnosed(&fixture("no-status.eml"), Format::Json);
    let told: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let one = &told["recipients"][0];
    assert_eq!((&one["status"], &one["status_origin"]), (&"5.1.1".into(), &"derived".into()), "{one}");
    assert_eq!((&one["code"], &one["enhanced"]), (&550.into(), &serde_json::Value::Null));
}

#[test]
fn a_bare_reply_is_judged_with_a_hint() {
    let (done, out, diagnostics) =
        diagnosed(b"550 5.1.1 <x7kq2m9abc@privaterelay.appleid.com>: user not found\n", Format::Json);
    assert_eq!(done.expect("told"), Exit::Success);
    let told: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&told["kind"], &told["recipients"][0]["cause"]), (&"reply".into(), &"recipient_unknown".into()));
    assert!(diagnostics.contains("relaywatch classify"), "{diagnostics}");
}

#[test]
fn what_is_no_mail_is_told_with_what_to_do() {
    let told = |input: &[u8]| {
        let (done, out, _) = diagnosed(input, Format::Json);
        let error = done.expect_err("no mail");
        assert!(error.is_misuse() && out.is_empty(), "{error}");
        error.to_string()
    };
    assert!(told(b" \n").contains("the input is empty"));
    assert!(told(&vec![b'a'; MAX_MAIL_BYTES + 1]).contains("larger than the 16 MiB"));
    for nothing in [&b"\x00\x01\x02"[..], b"hello there\n\nno mail", b"PK\x03\x04"] {
        assert!(told(nothing).contains("the first line is no header field"), "{nothing:?}");
    }
}

#[test]
fn of_a_mailbox_the_first_mail_is_read() {
    let mut mailbox = b"From MAILER-DAEMON Mon Nov 23 09:00:00 2026\n".to_vec();
    mailbox.extend(fixture("relay-unauthorized.eml"));
    mailbox.extend(b"\n\nFrom MAILER-DAEMON Mon Nov 23 09:00:01 2026\n");
    mailbox.extend(fixture("vacation.eml"));
    let (done, out, diagnostics) = diagnosed(&mailbox, Format::Text);
    assert_eq!(done.expect("told"), Exit::Success);
    assert!(out.starts_with("delivery report") && diagnostics.contains("a mailbox"), "{out}{diagnostics}");
}

/// What is shown is what the listener would write: whom a certain envelope sender names, and nobody by one that may be cut wrongly.
#[test]
fn what_is_told_is_what_the_journal_gets() {
    let delayed = String::from_utf8(fixture("delayed.eml")).expect("UTF-8");
    let forwarded = delayed.replace(
        "Final-Recipient: RFC822; qwertyuiopasd@privaterelay.appleid.com",
        "Final-Recipient: RFC822; hidden@example.net",
    );
    let told = |sender: &str, now_is: &str| {
        let raw = forwarded.replace("<bounces@mail.example.com>", sender).replace("23 Nov 2026", now_is);
        let (done, out, _) = diagnosed(raw.as_bytes(), Format::Json);
        assert_eq!(done.expect("told"), Exit::Success);
        let told: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        let one = told["recipients"][0].clone();
        (one["recipient_by_sender"].clone(), one["event"].clone(), one["set_aside"].clone())
    };
    let null = serde_json::Value::Null;
    let owner = "qwertyuiopasd@privaterelay.appleid.com";
    assert_eq!(
        told("<b-qwertyuiopasd=privaterelay.appleid.com@mail.example.com>", "23 Nov 2026"),
        (owner.into(), "deferred".into(), null.clone())
    );
    assert_eq!(
        told("<anna-jo=example.org@mail.example.com>", "23 Nov 2026"),
        (null.clone(), "deferred".into(), null.clone())
    );
    assert_eq!(told("<bounces@mail.example.com>", "23 Nov 1998"), (null.clone(), null, "implausible-time".into()));
}

/// Times, ids and what is absent are written as everywhere; who complained is whom the journal's event names.
#[test]
fn a_complaint_is_told_as_the_journal_gets_it() {
    let raw = b"From: fbl@example.org\r\nDate: Mon, 23 Nov 2026 12:00:05 +0000\r\nSubject: complaint\r\nContent-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n--b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\nUser-Agent: X/1\r\nVersion: 1\r\nOriginal-Mail-From: <bounces+4711-jo=example.net@mail.example.com>\r\nOriginal-Envelope-Id: <e1@mail.example.com>\r\nArrival-Date: Mon, 23 Nov 2026 10:00:00 +0000\r\n\r\n--b--\r\n";
    let (done, out, _) = diagnosed(raw, Format::Json);
    assert_eq!(done.expect("told"), Exit::Success);
    let told: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let fields = &told["fields"];
    assert_eq!(fields["arrival_date"], "2026-11-23T10:00:00Z", "{fields}");
    assert!(fields["source_port"].is_null() && fields["original_rcpt_to"].is_null(), "{fields}");
    assert_eq!(fields["original_mail_from"], "bounces+4711-jo=example.net@mail.example.com");
    assert_eq!(fields["original_envelope_id"], "e1@mail.example.com");
    assert_eq!(told["complained"], serde_json::json!(["jo@example.net"]), "by the envelope sender, as the event");
    assert_eq!(told["events"][0]["event"], "complained");
    assert_eq!(told["breaks_off"], false);
}

#[test]
fn of_a_report_that_breaks_off_what_there_is_is_told() {
    let whole = fixture("relay-unauthorized.eml");
    let text = String::from_utf8_lossy(&whole).into_owned();
    let at = text.find("Diagnostic-Code").and_then(|at| text.get(at..)?.find("\n\n").or(Some(200)).map(|end| at + end));
    let cut = text.get(..at.expect("a reply")).expect("a place between characters");
    let (done, out, _) = diagnosed(cut.as_bytes(), Format::Json);
    assert_eq!(done.expect("told"), Exit::Success);
    let told: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&told["breaks_off"], &told["kind"]), (&true.into(), &"delivery-report".into()), "{out}");
    assert_eq!(told["recipients"].as_array().map(Vec::len), Some(1), "{out}");
    let (_, out, _) = diagnosed(cut.as_bytes(), Format::Text);
    assert!(out.contains("the mail breaks off"), "{out}");
    let (_, out, _) = diagnosed(&whole, Format::Text);
    assert!(!out.contains("the mail breaks off"), "{out}");
}

/// With these names registered, and this receiver trusted.
fn judged(input: &[u8], trust: &[&str], names: &[&str]) -> (Exit, String) {
    let source =
        |name: &&str| Source { name: (*name).to_owned(), confirmed_at: Some(NOW), confirmed_by: Some("Jo".to_owned()) };
    let team = Team { name: "A1B2C3D4E5".to_owned(), account: None, sources: names.iter().map(source).collect() };
    let inventory = Inventory::new(vec![team], NOW);
    let trust = if trust.is_empty() { Trust::default() } else { Trust::of(trust) };
    let (rules, relay) = (Rules::built_in().expect("rules"), RelayDomains::default());
    let options = Options { rules: &rules, relay: &relay, now: NOW, inventory: &inventory, trust: &trust, asker: None };
    let mut out = Vec::new();
    let exit = run(input, &mut out, &mut Vec::new(), Format::Text, &options).expect("told");
    (exit, String::from_utf8(out).expect("UTF-8"))
}

fn header(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/diagnose").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

const BOTH: &[&str] = &["mydomain.fr", "mail.mydomain.fr", "dev@mydomain.fr"];

/// The second case of the design, as somebody posts it: registered as the sender believes, signed by SES's own domain, and the custom
/// MAIL FROM forgotten in Apple's portal.
#[test]
fn the_silent_misfit_is_told_from_pasted_headers() {
    let (exit, told) = judged(&header("case-two.txt"), &["mx.google.com"], &["mydomain.fr", "dev@mydomain.fr"]);
    assert_eq!(exit, Exit::Finding);
    insta::assert_snapshot!("case-two", told);
    // Where both are registered the header shows nothing wrong, and what stays open is told.
    let (exit, told) = judged(&header("case-two.txt"), &["mx.google.com"], BOTH);
    assert_eq!(exit, Exit::Success);
    insta::assert_snapshot!("case-two-registered", told);
    // Without a configuration and without trust nothing is claimed.
    let (_, told, _) = diagnosed(&header("case-two.txt"), Format::Text);
    insta::assert_snapshot!("case-two-undeclared", told);
}

#[test]
fn the_opposite_cases_are_told() {
    for (name, file, names, exit) in [
        ("fits", "fits.eml", BOTH, Exit::Success),
        ("unregistered", "fits.eml", &["other.example"][..], Exit::Finding),
        ("fallback", "fallback.eml", BOTH, Exit::Finding),
        ("relaxed", "relaxed.eml", BOTH, Exit::Finding),
        ("forged", "forged.eml", BOTH, Exit::Finding),
    ] {
        let (ended, told) = judged(&header(file), &[], names);
        assert_eq!(ended, exit, "{name}: {told}");
        insta::assert_snapshot!(format!("message-{name}"), told);
    }
}

#[test]
fn a_message_is_one_object_for_machines() {
    let (done, out, _) = diagnosed(&header("forged.eml"), Format::Json);
    assert_eq!(done.expect("told"), Exit::Finding);
    let told: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&told["kind"], &told["apple"]["overall"]["result"]), (&"message".into(), &"unknown".into()), "{out}");
    assert!(told["spf"]["result"].is_null() && told["dmarc"]["result"].is_null(), "{out}");
    assert_eq!(told["results"][0]["untrusted"]["reason"], "other-server");
    assert_eq!(told["results"][1]["untrusted"]["reason"], "arc");
    assert_eq!(told["results"][3]["untrusted"]["reason"], "below-other-host");
    assert_eq!(told["recipients"], serde_json::json!([]));
}

#[test]
fn results_and_replies_are_known_in_any_dress() {
    let kind = |input: &[u8]| {
        let (_, out, _) = diagnosed(input, Format::Json);
        let told: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        told["kind"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(
        kind(b"Authentication-Results: mx.google.com; spf=pass smtp.mailfrom=a@b.example"),
        "authentication-results"
    );
    assert_eq!(kind(b"mx.google.com; spf=pass smtp.mailfrom=a@b.example"), "authentication-results");
    assert_eq!(
        kind(b"> spf=pass (sender IP is 192.0.2.1) smtp.mailfrom=b.example; dkim=none"),
        "authentication-results"
    );
    assert_eq!(kind(b"From: a@b.example\nReturn-Path: <c@d.example>\n"), "header");
    assert_eq!(kind(b"> 550 5.1.1 &lt;a@b.example&gt;: unauthorized sender"), "reply");
    assert_eq!(kind(&fixture("relay-unauthorized.eml")), "delivery-report");
    // A message that has a bounce attached stays a bounce.
    let attached = "From: jo@example.net\nTo: dev@example.com\nAuthentication-Results: mx.google.com; spf=pass\nMIME-Version: 1.0\n\
        Content-Type: multipart/mixed; boundary=outer\n\n--outer\nContent-Type: text/plain\n\nLook at this.\n\n--outer\n\
        Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.com\n\n\
        Final-Recipient: rfc822; qwertyuiopasd@privaterelay.appleid.com\nAction: failed\nStatus: 5.1.1\n\
        Diagnostic-Code: smtp; 550 5.1.1 <b@mail.example.com>: unauthorized sender\n\n--outer--\n";
    assert_eq!(kind(attached.as_bytes()), "delivery-report");
}
