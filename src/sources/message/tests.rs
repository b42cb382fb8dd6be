use base64::Engine as _;

use super::*;
use crate::{
    model::Timestamp,
    sources::{
        apple_rule::{FailReason, Inventory, PathVerdict, Source, Team, UnknownReason, Validity},
        auth_results::Trust,
        spf::SpfResult,
    },
};

fn inventory(names: &[&str]) -> Inventory {
    let now = Timestamp::from_seconds(1_795_564_800);
    let source = |name: &&str| Source { name: (*name).to_owned(), confirmed_at: Some(now), confirmed_by: None };
    let sources = names.iter().map(source).collect();
    Inventory::new(vec![Team { name: "A1B2C3D4E5".to_owned(), account: None, sources }], now)
}

fn told(header: &str, trust: &[&str], names: &[&str]) -> Diagnosis {
    let facts = Facts::of(&Header::read(header.as_bytes()), &Trust::of(trust));
    diagnose(&facts, &inventory(names), &Checked::default())
}

fn kinds(diagnosis: &Diagnosis) -> Vec<MissingKind> {
    diagnosis.missing.iter().map(|one| one.kind).collect()
}

const UNTOLD: PathVerdict = PathVerdict::Unknown(UnknownReason::NotTold);

#[test]
fn from_is_read_in_every_dress() {
    for (field, domain) in [
        ("\"Dev, (the) <one>\" <Dev@MyDomain.fr>", Some("dev@mydomain.fr")),
        ("dev@mydomain.fr (Dev, Jr)", Some("dev@mydomain.fr")),
        ("=?utf-8?q?D=C3=A9v?= <dev@mydomain.fr>", Some("dev@mydomain.fr")),
        ("xxx@mydomain.fr", Some("mydomain.fr")),
        ("[REDACTED]@mydomain.fr", Some("mydomain.fr")),
        ("…@mydomain.fr", Some("mydomain.fr")),
        ("J\u{f6} <j\u{f6}@b\u{fc}cher.example>", Some("j\u{f6}@xn--bcher-kva.example")),
        ("<dev@[REDACTED]>", None),
        ("Dev", None),
        ("", None),
        ("\0", None),
    ] {
        let read = told(&format!("From: {field}\nTo: x"), &[], &[]).from.map(|from| from.to_string());
        assert_eq!(read.as_deref(), domain, "{field:?}");
    }
    let two = told("From: a@x.example, b@y.example\n", &[], &[]);
    assert!(two.notes.iter().any(|note| note.contains("several senders")), "{:?}", two.notes);
}

#[test]
fn without_a_configuration_nothing_is_said_to_be_unregistered() {
    let diagnosis = told("From: dev@mydomain.fr\nReturn-Path: <b@mail.mydomain.fr>\n", &[], &[]);
    let missing = PathVerdict::Unknown(UnknownReason::InventoryMissing);
    assert_eq!((diagnosis.apple.spf, diagnosis.apple.overall), (missing, missing));
    assert_eq!(diagnosis.from_registration.as_ref().map(|place| place.standing), Some("not-declared"));
    assert!(kinds(&diagnosis).contains(&MissingKind::Registration) && diagnosis.refusals.is_empty());
}

#[test]
fn only_trusted_results_decide() {
    let header = "Received: from a by mx.google.com\n\
        Authentication-Results: mx.google.com; spf=pass smtp.mailfrom=b@mail.mydomain.fr; dkim=pass header.i=@mydomain.fr\n\
        Return-Path: <b@mail.mydomain.fr>\nFrom: dev@mydomain.fr\n";
    let names = ["mydomain.fr", "mail.mydomain.fr"];
    let trusted = told(header, &["mx.google.com"], &names);
    assert_eq!((trusted.apple.spf, trusted.apple.dkim), (PathVerdict::Pass, PathVerdict::Pass));
    assert_eq!(kinds(&trusted), [MissingKind::Arrival]);
    let other = told(header, &["mx.example.net"], &names);
    assert_eq!((other.apple.spf, other.apple.dkim), (UNTOLD, UNTOLD));
    let how: Vec<&str> = other.missing.iter().map(|one| one.how.as_str()).collect();
    assert!(how.iter().any(|how| how.contains("--trust mx.google.com")), "{how:?}");
}

#[test]
fn an_unregistered_name_closes_its_path_whatever_passes() {
    let header = "Authentication-Results: mx.google.com; spf=pass smtp.mailfrom=b@mail.mydomain.fr; dkim=pass header.d=mydomain.fr\n\
        From: dev@mydomain.fr\n";
    let diagnosis = told(header, &["mx.google.com"], &["other.example"]);
    assert_eq!(diagnosis.apple.spf, PathVerdict::Fail(FailReason::EnvelopeUnregistered));
    assert_eq!(diagnosis.apple.dkim, PathVerdict::Fail(FailReason::FromUnregistered));
    assert_eq!(diagnosis.refusals.len(), 1);
    assert_eq!((diagnosis.refusals[0].who, diagnosis.refusals[0].fix.len()), ("apple-relay", 2));
}

#[test]
fn a_signature_nobody_saw_closes_no_path() {
    // Of a header that may lack fields nobody can say that there is no signature; of a whole message one can.
    let header = "Return-Path: <b@mail.mydomain.fr>\nFrom: dev@mydomain.fr\nDate: x\n";
    assert_eq!(told(header, &[], &["mydomain.fr"]).apple.dkim, UNTOLD);
    let whole = format!("{header}\nBody\n");
    assert_eq!(told(&whole, &[], &["mydomain.fr"]).apple.dkim, PathVerdict::Fail(FailReason::NoValidSignature));
    let foreign = format!("DKIM-Signature: v=1; d=amazonses.com; s=x; h=From; b=AA\n{whole}");
    assert_eq!(told(&foreign, &[], &["mydomain.fr"]).apple.dkim, PathVerdict::Fail(FailReason::ForeignSignature));
    let hidden = format!("DKIM-Signature: v=1; d=[REDACTED]; s=x; h=From; b=AA\n{whole}");
    let diagnosis = told(&hidden, &[], &["mydomain.fr"]);
    assert!(diagnosis.apple.dkim == UNTOLD && kinds(&diagnosis).contains(&MissingKind::Signature));
    let without_from = format!("DKIM-Signature: v=1; d=mydomain.fr; s=x; h=To:Subject; b=AA\n{whole}");
    let diagnosis = told(&without_from, &[], &["mydomain.fr"]);
    assert_eq!(diagnosis.apple.dkim, PathVerdict::Fail(FailReason::NoValidSignature));
}

#[test]
fn a_signature_is_known_again_by_its_beginning_or_where_that_is_blacked_out() {
    let seen = |own: &str, found: &str| {
        let header = format!(
            "Authentication-Results: mx.google.com; dkim=pass header.i=@mydomain.fr header.s=abc header.b={found}\n\
             DKIM-Signature: v=1; a=rsa-sha256; d=mydomain.fr; s=abc; h=From; b={own}\nFrom: dev@mydomain.fr\n"
        );
        told(&header, &["mx.google.com"], &["mydomain.fr"]).signatures.len()
    };
    assert_eq!(seen("aB3dE5fG7h==", "aB3dE5fG"), 1);
    assert_eq!(seen("aB3dE5fG7h==", "xxx"), 1);
    assert_eq!(seen("[REDACTED]", "aB3dE5fG"), 1);
    assert_eq!(seen("aB3dE5fG7h==", "zY3dE5fG"), 2, "there were two of this name");
}

#[test]
fn what_dns_says_counts_where_no_receiver_is_trusted() {
    let raw = "Return-Path: <b@mail.mydomain.fr>\nDKIM-Signature: v=1; a=rsa-sha256; d=mydomain.fr; s=S1; h=From; b=AA\n\
        From: dev@mydomain.fr\n\nBody\n";
    let facts = Facts::of(&Header::read(raw.as_bytes()), &Trust::default());
    let verified = |validity| Verified {
        domain: facts.signatures[0].domain.clone().expect("a name"),
        selector: "s1".to_owned(),
        validity,
        says: None,
    };
    let judged = |validity, spf| {
        let checked = Checked { signatures: vec![verified(validity)], spf: Some(spf) };
        diagnose(&facts, &inventory(&["mydomain.fr", "mail.mydomain.fr"]), &checked).apple
    };
    let passed = judged(Validity::Valid, SpfResult::SoftFail);
    assert_eq!((passed.spf, passed.dkim), (PathVerdict::Fail(FailReason::SpfNotPass), PathVerdict::Pass));
    let failed = judged(Validity::Invalid, SpfResult::TempError);
    assert_eq!(failed.spf, PathVerdict::Unknown(UnknownReason::Dns));
    assert_eq!(failed.dkim, PathVerdict::Fail(FailReason::NoValidSignature));
    assert_eq!(judged(Validity::Untold, SpfResult::Pass).dkim, UNTOLD, "a body that was changed proves nothing");
}

#[test]
fn null_envelopes_and_copies_of_the_relays_are_told() {
    let null = told("Return-Path: <>\nFrom: dev@mydomain.fr\n", &[], &["mydomain.fr"]);
    assert!(null.apple.spf == UNTOLD && null.notes.iter().any(|note| note.contains("null")), "{:?}", null.notes);
    let copy = told("From: <dev_at_mydomain_fr_abc@icloud.com>\n", &[], &[]);
    assert!(copy.notes.iter().any(|note| note.contains("relay hands it on")), "{:?}", copy.notes);
}

#[test]
fn what_pasting_does_is_undone() {
    let plain =
        "Received: from a by b.example\nReturn-Path: <b@mail.mydomain.fr>\nFrom: Dev <dev@mydomain.fr>\nSubject: x\n";
    let sees = |raw: &[u8], how: &[Mended]| {
        let (text, mended) = mend(raw).expect("mended");
        assert_eq!(mended, how);
        let facts = Facts::of(&Header::read(&text), &Trust::default());
        assert_eq!(facts.from.map(|from| from.to_string()).as_deref(), Some("dev@mydomain.fr"), "{how:?}");
        assert!(facts.envelope.is_some(), "{how:?}");
    };
    let lines = |with: &str| plain.split_inclusive('\n').flat_map(|line| [with, line]).collect::<String>();
    sees(lines("> ").as_bytes(), &[Mended::Quoted]);
    sees(lines(">> ").as_bytes(), &[Mended::Quoted]);
    sees(lines("    ").as_bytes(), &[Mended::Indented]);
    sees(format!("```\n{plain}```\nthanks").as_bytes(), &[Mended::Indented]);
    sees(plain.replace('\n', "\n\n").as_bytes(), &[Mended::Spaced]);
    sees(plain.replace('\n', "\r").as_bytes(), &[Mended::LineEnds]);
    sees(plain.replace('<', "&lt;").replace('>', "&gt;").as_bytes(), &[Mended::Escaped]);
    sees(format!("Hi, nothing arrives!\n\n{plain}").as_bytes(), &[Mended::Talk]);
    sees(format!("\u{feff}{plain}").as_bytes(), &[Mended::Encoding]);
    let utf16: Vec<u8> = format!("\u{feff}{plain}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    sees(&utf16, &[Mended::Encoding]);
    let wrapped = base64::engine::general_purpose::STANDARD.encode(plain);
    let wrapped: Vec<_> = wrapped.as_bytes().chunks(76).map(String::from_utf8_lossy).collect();
    let wrapped = wrapped.join("\r\n");
    sees(wrapped.as_bytes(), &[Mended::Base64]);
    for untouched in [
        plain,
        "From jo@example.net Mon\nFrom: a@b.example\n\n> quoted\n",
        "Subject: a\n\nReceived: in the body\n\nFrom: in the body\n",
        "550 5.1.1 <a@b.example>: user not found",
        "550 no\nReceived: from a",
        "",
    ] {
        assert_eq!(mend(untouched.as_bytes()), None, "{untouched}");
    }
}

#[test]
fn results_without_the_fields_name_are_known() {
    assert!(is_results("mx.google.com; spf=pass smtp.mailfrom=a@b.example"));
    assert!(is_results("spf=pass (sender IP is 192.0.2.1)\n smtp.mailfrom=b.example; dkim=none"));
    for none in ["550 5.7.1 spf=fail", "a=b", "hello; spf", "From: x", "spf=maybe", ""] {
        assert!(!is_results(none), "{none}");
    }
}

#[test]
fn lost_folds_go_on_and_bodies_are_no_header() {
    let header = Header::read(
        b"Authentication-Results: mx.google.com;\ndkim=pass header.i=@a.example;\nspf=pass (google.com: domain of x)\n\
        From: a@a.example\r\n\r\nReturn-Path: <forged@b.example>\n",
    );
    assert_eq!((header.fields.len(), header.has_body, header.cut), (2, true, false));
    assert!(header.fields[0].value.ends_with("dkim=pass header.i=@a.example; spf=pass (google.com: domain of x)"));
}

/// Garbage of every kind ends in a verdict, and in little time.
#[test]
fn hostile_headers_are_read_within_bounds() {
    let many = "Authentication-Results: spf.icloud.com; spf=pass smtp.mailfrom=a@b.example\n".repeat(50_000);
    let long = format!("From: dev@mydomain.fr\nX-Long: {}\n", "a".repeat(10 * 1024 * 1024));
    let folds = format!("From: dev@mydomain.fr\nX: a{}", "\n b".repeat(1_000_000));
    let open = format!("Authentication-Results: spf.icloud.com; spf=pass ({}\nFrom: a@b.example", "(a".repeat(30_000));
    let signatures = "DKIM-Signature: d=a.example; s=b; h=from; b=AA\n".repeat(1_000);
    let froms = format!("From: {}\n", "a@b.example,".repeat(100_000));
    let garbage: Vec<u8> =
        (0..200_000_u32).map(|at| u8::try_from(at.wrapping_mul(2_654_435_761) >> 24).unwrap_or(0)).collect();
    let inputs = [many, long, folds, open, signatures, froms].map(String::into_bytes);
    for raw in inputs.into_iter().chain([garbage, b"From: \xff\xfe@\0.example\r\n\r\n".to_vec()]) {
        let text = mend(&raw).map_or(raw, |(text, _)| text);
        let header = Header::read(&text);
        let facts = Facts::of(&header, &Trust::default());
        assert!(header.fields.len() <= MAX_FIELDS && facts.signatures.len() <= MAX_SIGNATURES);
        let diagnosis = diagnose(&facts, &inventory(&["mydomain.fr"]), &Checked::default());
        assert!(!diagnosis.missing.is_empty());
    }
}
