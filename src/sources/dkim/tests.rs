//! Keys as people publish and paste them.

#![expect(clippy::string_slice, reason = "keys are US-ASCII")]

use proptest::prelude::*;

use super::*;
use crate::sources::{
    FindingCode, Grade,
    answer::{Kind, Outcome},
    asking::Asking,
    spf::Known,
    testing::{Zone, element, key_record, name, rsa},
};

/// A key that OpenSSL made, and the same as bare `RSAPublicKey`.
const REAL: &str = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEApMcm/iSsu4hTXRwmQHQoZB43WGd3rJYim2sXMbJAJxHaJzHGBQyWvo+j\
     KtxZl3pdQghmZzDy/1igGoy41IZRGyiC7Yehy/sY6Et0EXz87PExmSyQTm6OnIkBybduPxbA7aw342XSJpmnQ75Q3wWRA9bPEhkK\
     GZ1VhToT4kK7R6bfRD9RMP5/psaDcSeDG4CFcmJ9p5aQmb0B5IXkJAdfqD0S1xamJEdqauzE10MgtvUQNGM1qXdz0OPRE+5f8iOz\
     lO4XP7MngvLNY4RQaCoTE8KCGodiiF2cuCoBcXeviFqbcMJB/yxJJnBy3fW2Ja4ZmyYlby/W9Z91L6Yz6ZrmxQIDAQAB";
const BARE: &str = "MIIBCgKCAQEApMcm/iSsu4hTXRwmQHQoZB43WGd3rJYim2sXMbJAJxHaJzHGBQyWvo+jKtxZl3pdQghmZzDy/1igGoy41IZRGyiC\
     7Yehy/sY6Et0EXz87PExmSyQTm6OnIkBybduPxbA7aw342XSJpmnQ75Q3wWRA9bPEhkKGZ1VhToT4kK7R6bfRD9RMP5/psaDcSeD\
     G4CFcmJ9p5aQmb0B5IXkJAdfqD0S1xamJEdqauzE10MgtvUQNGM1qXdz0OPRE+5f8iOzlO4XP7MngvLNY4RQaCoTE8KCGodiiF2c\
     uCoBcXeviFqbcMJB/yxJJnBy3fW2Ja4ZmyYlby/W9Z91L6Yz6ZrmxQIDAQAB";
const ED25519: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

fn read(text: &str) -> Result<KeyRecord, Fault> {
    parse(text.as_bytes()).expect("a key record")
}

fn fault(text: &str) -> (usize, FaultKind) {
    let fault = read(text).expect_err("a fault");
    (fault.at, fault.kind)
}

#[test]
fn keys_are_read_with_their_size() {
    for bits in [512, 768, 1_023, 1_024, 1_025, 2_048, 4_096, 4_200] {
        let record = read(&key_record(bits)).expect("a key");
        assert_eq!(record.key, Key::Rsa { bits: u32::try_from(bits).expect("small") });
    }
    assert_eq!(read(&format!("p={REAL}")).expect("no v=, no k=").key, Key::Rsa { bits: 2_048 });
    assert_eq!(read(&format!("v=DKIM1;k=rsa;p={BARE}")).expect("as the RFC has it").key, Key::Rsa { bits: 2_048 });
    assert_eq!(read(&format!("v=DKIM1; k=ed25519; p={ED25519}")).expect("a key").key, Key::Ed25519);
    assert_eq!(read("v=DKIM1; p=").expect("revoked").key, Key::Revoked);
    assert_eq!(read("v=DKIM1; k=x448; p=AAAA").expect("unknown").key, Key::Unknown { kind: "x448".to_owned() });
}

#[test]
fn flags_services_and_hashes_are_read() {
    let record =
        read(&format!("v=DKIM1; t=y : s; s=email:tlsrpt; h=sha1 : sha256; n=a note; q=x; p={REAL}")).expect("a key");
    assert!(record.testing && record.strict && record.for_mail() && record.allows_sha256());
    let record = read(&format!("s=tlsrpt; h=sha1; t=; p={REAL}")).expect("a key");
    assert!(!record.testing && !record.strict && !record.for_mail() && !record.allows_sha256());
    let plain = read(&format!("p={REAL}")).expect("a key");
    assert!(plain.for_mail() && plain.allows_sha256() && !plain.blanks);
}

#[test]
fn faults_of_pasting_are_told_with_their_place() {
    let key = rsa(1_024);
    assert_eq!(fault(&format!("\"v=DKIM1; p={key}\"")), (0, FaultKind::Quote));
    assert_eq!(fault(&format!("v=DKIM1; p=\"{key}\"")), (11, FaultKind::Quote));
    let split = format!("v=DKIM1; p={}\" \"{}", &key[..100], &key[100..]);
    assert_eq!(fault(&split), (111, FaultKind::Quote));
    assert_eq!(fault(&format!("v=DKIM1\\; p={key}")), (7, FaultKind::Backslash));
    assert_eq!(fault(&format!("v=DKIM1 k=rsa; p={key}")), (8, FaultKind::NoSemicolon("k".to_owned())));
    assert_eq!(fault(&format!("v=DKIM1; k=rsa p={key}")), (15, FaultKind::NoSemicolon("p".to_owned())));
    assert_eq!(fault(&format!("k=rsa; v=DKIM1; p={key}")), (7, FaultKind::VersionNotFirst));
    assert_eq!(fault(&format!("v=DKIM2; p={key}")), (2, FaultKind::Version("DKIM1")));
    assert_eq!(fault("v=DKIM1; k=rsa"), (14, FaultKind::Missing("p")));
    assert_eq!(fault(&format!("v=DKIM1; p={key}; p={key}")).1, FaultKind::Twice("p".to_owned()));
    assert_eq!(fault(&format!("v=DKIM1; p=-----BEGIN PUBLIC KEY-----{key}")), (11, FaultKind::Pem));
    assert_eq!(fault(&format!("v=DKIM1; p={}*{}", &key[..10], &key[10..])), (21, FaultKind::Base64));
    assert_eq!(fault(&format!("v=DKIM1; p={}*", &key[..101])).1, FaultKind::Base64);
    let cut = fault(&format!("v=DKIM1; p={}", &key[..100]));
    assert_eq!(cut, (11, FaultKind::Truncated { said: 162, there: 75 }));
    assert_eq!(fault("v=DKIM1; p=AAAA"), (11, FaultKind::NotRsa));
    assert_eq!(fault("v=DKIM1; k=ed25519; p=AAAA"), (22, FaultKind::Ed25519Length(3)));
    assert_eq!(
        read(&split).expect_err("a fault").to_string(),
        "at byte 112: a quotation mark, as zone files have it around strings; it has come into the record itself"
    );
}

#[test]
fn blanks_within_the_key_are_allowed() {
    let key = rsa(1_024);
    let record = read(&format!("v=DKIM1; p={} {}\t{}", &key[..64], &key[64..128], &key[128..])).expect("a key");
    assert!(record.blanks && record.key == Key::Rsa { bits: 1_024 });
}

#[test]
fn der_of_other_things_is_no_rsa_key() {
    let rsa_of = |der: &[u8]| super::der::rsa_bits(der);
    assert_eq!(rsa_of(&[]), Err(FaultKind::NotRsa));
    assert_eq!(rsa_of(&[0x30]), Err(FaultKind::Truncated { said: 2, there: 1 }));
    assert_eq!(rsa_of(&[0x30, 0x80]), Err(FaultKind::NotRsa));
    assert_eq!(rsa_of(&[0x30, 0x82, 0x01]), Err(FaultKind::Truncated { said: 4, there: 3 }));
    let even = element(0x30, &[element(0x02, &[0, 0x99]), element(0x02, &[4])].concat());
    assert_eq!(rsa_of(&even), Err(FaultKind::NotRsa), "an even exponent");
    let negative = element(0x30, &[element(0x02, &[0x99]), element(0x02, &[3])].concat());
    assert_eq!(rsa_of(&negative), Err(FaultKind::NotRsa));
    let zero = element(0x30, &[element(0x02, &[0]), element(0x02, &[3])].concat());
    assert_eq!(rsa_of(&zero), Err(FaultKind::NotRsa));
    let mut longer = element(0x30, &[element(0x02, &[0x11]), element(0x02, &[3])].concat());
    assert_eq!(rsa_of(&longer), Ok(5));
    longer.push(0);
    assert_eq!(rsa_of(&longer), Err(FaultKind::Rest));
}

#[test]
fn what_is_no_key_record_is_none() {
    for text in ["v=spf1 -all", "google-site-verification=abc", "", "v=DMARC1; p=none"] {
        assert_eq!(parse(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn what_pasting_does_is_undone() {
    let key = rsa(1_024);
    let good = format!("v=DKIM1; k=rsa; p={key}");
    let pasted = [
        format!("\"v=DKIM1; k=rsa; p={}\" \"{}\"", &key[..100], &key[100..]),
        format!("v=DKIM1\\; k=rsa\\; p={key}"),
        format!("v=DKIM1; k=rsa; p=-----BEGIN PUBLIC KEY-----{key}-----END PUBLIC KEY-----"),
        format!("v=DKIM1; k=rsa p={key}"),
        format!("v=DKIM1; k=rsa; p={} {}", &key[..64], &key[64..]),
    ];
    for text in pasted {
        assert_eq!(super::record::mended(text.as_bytes()).as_deref(), Some(good.as_str()), "{text}");
    }
    assert_eq!(super::record::mended(b"v=DKIM1; p=AAAA"), None);
    assert_eq!(super::record::mended(b"v=DKIM1; p="), None);
}

fn look(zone: &Zone, in_use: bool) -> SelectorView {
    let mut known = Known::default();
    loop {
        let asking = Asking::new(&known);
        match view(&name("s1"), &name("example.com"), in_use, &asking) {
            Some(view) => return view,
            None => zone.tell(asking.into_needed(), &mut known),
        }
    }
}

fn codes(view: &SelectorView) -> Vec<FindingCode> {
    view.findings.iter().map(|finding| finding.code).collect()
}

const AT: &str = "s1._domainkey.example.com";

#[test]
fn an_absent_selector_is_a_finding_only_where_it_is_in_use() {
    let zone = Zone::default();
    let idle = look(&zone, false);
    assert_eq!((idle.state, codes(&idle)), (KeyState::Absent, vec![]));
    let used = look(&zone, true);
    assert_eq!((used.state, codes(&used)), (KeyState::Unusable, vec![FindingCode::DkimKeyMissing]));
    let wildcard = look(Zone::default().txt(AT, "v=spf1 -all"), true);
    assert_eq!(codes(&wildcard), [FindingCode::DkimKeyMissing]);
}

#[test]
fn a_key_at_a_wrong_name_is_found() {
    for wrong in ["s1._domainkey.example.com.example.com", "s1.example.com", "_domainkey.s1.example.com"] {
        let view = look(Zone::default().txt(wrong, &key_record(2_048)), true);
        assert_eq!(codes(&view), [FindingCode::DkimWrongName], "{wrong}");
        let record = view.findings[0].fix.record.as_ref().expect("a record");
        assert_eq!((record.name.as_str(), record.kind), ("s1._domainkey.example.com.", "TXT"));
        assert!(record.value.starts_with("\"v=DKIM1; k=rsa; p=") && record.value.contains("\" \""));
    }
}

#[test]
fn the_chain_of_names_is_apart_from_the_key() {
    let mut zone = Zone::default();
    zone.cname(AT, "s1.dkim.esp.example").cname("s1.dkim.esp.example", "k7.esp.example");
    let dangling = look(&zone, false);
    assert_eq!(codes(&dangling), [FindingCode::DkimAliasDangling], "even where nobody says that it is in use");
    assert_eq!((dangling.state, dangling.findings[0].grade), (KeyState::Unusable, Grade::Fatal));
    assert!(dangling.findings[0].what.contains("k7.esp.example, which does not exist"));
    let view = look(zone.txt("k7.esp.example", &key_record(2_048)), true);
    assert_eq!(view.aliases, [name("s1.dkim.esp.example"), name("k7.esp.example")]);
    assert_eq!((view.state, codes(&view)), (KeyState::Rsa, vec![]));
    assert!(view.key.is_some());
}

#[test]
fn trouble_is_no_missing_key() {
    for outcome in [Outcome::ServerFailure, Outcome::TimedOut, Outcome::Bogus] {
        let view = look(Zone::default().ends(AT, Kind::Txt, outcome.clone()), true);
        let code = if outcome == Outcome::Bogus { FindingCode::DnssecBogus } else { FindingCode::DnsTrouble };
        assert_eq!((view.state, codes(&view)), (KeyState::Unknown, vec![code]));
    }
}

#[test]
fn what_is_wrong_with_a_key_is_told() {
    use FindingCode as C;
    let key = rsa(2_048);
    let cases: [(String, KeyState, Vec<C>); 13] = [
        (key_record(2_048), KeyState::Rsa, vec![]),
        (key_record(1_024), KeyState::Rsa, vec![C::DkimKeyShort]),
        (key_record(1_023), KeyState::Unusable, vec![C::DkimKeyTooShort]),
        (key_record(4_097), KeyState::Rsa, vec![C::DkimKeyLong]),
        ("v=DKIM1; p=".to_owned(), KeyState::Unusable, vec![C::DkimKeyRevoked]),
        ("v=DKIM1; k=x; p=AA==".to_owned(), KeyState::Unusable, vec![C::DkimTypeUnknown]),
        (format!("v=DKIM1; t=y; p={key}"), KeyState::Rsa, vec![C::DkimTesting]),
        (format!("v=DKIM1; t=s; p={key}"), KeyState::Rsa, vec![C::DkimStrict]),
        (format!("v=DKIM1; s=tlsrpt; p={key}"), KeyState::Unusable, vec![C::DkimService]),
        (format!("v=DKIM1; h=sha1; p={key}"), KeyState::Unusable, vec![C::DkimHash]),
        (format!("v=DKIM1; p={} {}", &key[..64], &key[64..]), KeyState::Rsa, vec![C::DkimKeyBlanks]),
        ("v=DKIM1; p=@@".to_owned(), KeyState::Unusable, vec![C::DkimKeyBroken]),
        (format!("v=DKIM1; k=ed25519; p={ED25519}"), KeyState::Ed25519, vec![]),
    ];
    for (text, state, wanted) in cases {
        let view = look(Zone::default().txt(AT, &text), true);
        assert_eq!((view.state, codes(&view)), (state, wanted), "{text}");
    }
    let two = look(Zone::default().txt(AT, &key_record(2_048)).txt(AT, &key_record(1_024)), true);
    assert_eq!((two.state, codes(&two)), (KeyState::Doubtful, vec![C::DkimKeySeveral]));
    let beside = look(Zone::default().txt(AT, &key_record(2_048)).txt(AT, "some other text"), true);
    assert_eq!((beside.state, codes(&beside)), (KeyState::Rsa, vec![]), "other texts are none of its business");
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for start in [&b""[..], b"v=DKIM1; p=", b"k=rsa; p="] {
            let text = [start, &bytes].concat();
            if let Some(Err(fault)) = parse(&text) {
                prop_assert!(fault.at <= text.len());
            }
            if let Some(mended) = super::record::mended(&text) {
                prop_assert!(matches!(parse(mended.as_bytes()), Some(Ok(_))));
            }
        }
    }

    #[test]
    fn any_der_is_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), cut in 0_usize..200) {
        prop_assert!(super::der::rsa_bits(&bytes).is_err() || bytes.len() > 7);
        let key = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, rsa(1_024)).expect("base64");
        prop_assert!(super::der::rsa_bits(&key[..cut.min(key.len() - 1)]).is_err());
    }
}
