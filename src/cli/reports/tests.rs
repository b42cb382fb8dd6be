//! What the commands say, of the fixtures.

use serde_json::json;

use super::{
    import::{Summary, holds},
    journal::Held,
    list,
    show::{Shown, findings},
};
use crate::{
    model::{Provider, Timestamp},
    sources::{
        apple_rule::{Source, Team},
        audit::{Setup, Stream},
        reports::{Tally, read_one},
    },
    store::{EntryKind, EntryRecord, EventKey, Position},
};

const NOW: Timestamp = Timestamp::from_seconds(1_796_100_000);

fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/fixtures/reports/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).expect("a fixture")
}

fn setup() -> Setup {
    let stream = Stream {
        addresses: vec!["192.0.2.10".parse().expect("an address")],
        ..Stream::new(Provider::Sparkpost, "example.com")
    };
    let source = |name: &str| Source { name: name.to_owned(), confirmed_at: None, confirmed_by: None };
    let sources = vec![source("example.com"), source("news@mail.example.com")];
    Setup { teams: vec![Team { name: "A1B2C3D4E5".to_owned(), account: None, sources }], streams: vec![stream] }
}

fn shown() -> Shown {
    let mut tally = Tally::default();
    for name in ["rfc9990.xml", "old.xml", "draft.xml"] {
        tally.add(&read_one(&fixture(name)).expect("a report"));
    }
    Shown { since: Some(Timestamp::from_seconds(1_793_500_000)), tally, broken: 1, gone: 2, cut: false }
}

fn text(shown: &Shown, only: Option<&str>, limit: usize) -> String {
    let domains = shown.domains(&setup(), only);
    let mut out = Vec::new();
    shown.text(&domains, &findings(&domains), limit, &mut out).expect("writes");
    String::from_utf8(out).expect("text")
}

#[test]
fn what_is_shown_to_people() {
    insta::assert_snapshot!(text(&shown(), None, 3));
    let one = text(&shown(), Some("mail.example.com"), 20);
    assert!(one.contains("\nmail.example.com: 1 address of it declared as sources\n"), "{one}");
    assert!(
        one.ends_with("\nNothing is wrong.\n") && !one.contains("news@") && !one.contains("\nexample.com"),
        "{one}"
    );
    assert!(text(&shown(), Some("ample.com"), 20).ends_with("no mail with such a From domain\n"));
    let cut = text(&Shown { cut: true, ..Shown::default() }, None, 1);
    assert!(cut.starts_with("0 reports\nolder ones are left out: only the latest 100000"), "{cut}");
}

#[test]
fn what_is_shown_to_machines() {
    let shown = shown();
    let domains = shown.domains(&setup(), Some("example.com"));
    let json = shown.json(&domains, &findings(&domains));
    assert_eq!((&json["reports"], &json["broken"], &json["not_kept"]), (&json!(3), &json!(1), &json!(2)));
    let row = &json["domains"][0]["senders"][0];
    assert_eq!(
        (&row["address"], &row["known"], &row["provider"]),
        (&json!("192.0.2.10"), &json!("declared"), &json!("sparkpost"))
    );
    assert_eq!((&row["messages"], &row["both"], &row["none"]), (&json!(125), &json!(120), &json!(5)));
    assert_eq!(row["dispositions"], json!({ "pass": 120, "quarantine": 5 }));
    assert_eq!(json["findings"][0]["code"], "reports_both_fail");
}

#[test]
fn reports_in_a_list() {
    let entry = EntryRecord {
        position: Position::START,
        key: EventKey { at: Timestamp::from_seconds(1_795_391_999), hash: [0; 16] },
        kind: EntryKind::DmarcReport,
        account: None,
        address: None,
        body: json!({ "says": { "domain": "example.com", "submitter": null } }),
    };
    let of = |name| Held::Report(Box::new(read_one(&fixture(name)).expect("a report")));
    let held = [of("rfc9990.xml"), of("old.xml"), Held::Broken("it is empty".to_owned()), Held::Gone];
    let lines: Vec<String> = held.iter().map(|held| list::people(&entry, held)).collect();
    insta::assert_snapshot!(lines.join("\n"));
    assert_eq!(list::machine(&entry, &held[0])["messages"], 138);
    assert_eq!(list::machine(&entry, &held[3])["fault"], "not kept");
}

#[test]
fn a_file_is_what_it_holds() {
    let told = |bytes: &[u8]| {
        let found = holds(bytes, None, NOW);
        (found.kept.len(), found.reports.len(), found.faults.join("; "))
    };
    let mail = fixture("mail.eml");
    assert_eq!(told(&mail), (1, 1, String::new()));
    assert_eq!(told(&fixture("rfc9990.xml")), (1, 1, String::new()));
    let [by_mail, by_file] =
        [&mail, &fixture("rfc9990.xml")].map(|bytes| holds(bytes, Some("a.xml"), NOW).kept.remove(0));
    assert_eq!((by_mail.at, by_mail.dedupe), (by_file.at, by_file.dedupe), "one report, whatever brings it");
    let mbox = [b"From a\n".as_slice(), &mail, b"\nFrom b\nSubject: hi\n\nJo\n"].concat();
    assert_eq!(told(&mbox), (1, 1, "it is a mail, and no aggregate report: other".to_owned()));
    assert_eq!(told(b"  \n"), (0, 0, "it is empty".to_owned()));
    assert_eq!(told(b"no mail"), (0, 0, "it is neither XML, nor packed by gzip or zip, nor a mail".to_owned()));
    assert_eq!(
        told(&fixture("tags.xml")),
        (0, 0, "line 1: its tags do not close in the order in which they open".to_owned())
    );
}

#[test]
fn what_an_import_sums_up() {
    let text = |summary: Summary| {
        let mut out = Vec::new();
        summary.text(&mut out).expect("writes");
        String::from_utf8(out).expect("text")
    };
    assert_eq!(
        text(Summary::default()),
        "0 reports about 0 messages in 0 files\n0 new to the journal, 0 known before\n"
    );
    insta::assert_snapshot!(
        text(Summary::of([3, 1, 4, 415, 2, 1, 1, 1], false)) + &text(Summary::of([1, 0, 1, 1, 0, 0, 0, 0], true))
    );
}
