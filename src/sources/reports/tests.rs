//! Reports as they come: old and new, packed, broken, hostile; and what they say when added up.

use std::io::{Cursor, Write};

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use zip::{ZipWriter, write::SimpleFileOptions};

use super::*;
use crate::{
    model::Provider,
    sources::{
        apple_rule::{Source, Team},
        audit::{Setup, Stream},
        finding::{FindingCode, Grade},
    },
};

fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/fixtures/reports/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).expect("a fixture")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::best());
    out.write_all(bytes).expect("packs");
    out.finish().expect("packs")
}

fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        out.start_file(*name, SimpleFileOptions::default()).expect("begins");
        out.write_all(bytes).expect("packs");
    }
    out.finish().expect("packs").into_inner()
}

#[test]
fn the_elements_are_in_the_order_in_which_they_are_looked_up() {
    // Each of these is found only where the list is sorted.
    let report = read_one(&fixture("old.xml")).expect("a report");
    assert_eq!((report.left_out, report.messages(), report.policy.as_deref()), (1, 7, Some("reject")));
}

#[test]
fn a_report_of_rfc_9990() {
    insta::assert_json_snapshot!(read_one(&fixture("rfc9990.xml")).expect("a report"));
}

/// Prefixes, capitals, fractions, and addresses of people where domains belong, none of which is kept.
#[test]
fn a_report_of_rfc_7489() {
    let report = read_one(&fixture("old.xml")).expect("a report");
    let text = serde_json::to_string(&report).expect("serialises");
    assert!(!text.contains('@') && !text.contains("qx7"), "{text}");
    insta::assert_json_snapshot!(report);
}

/// What is missing is unknown, and never a failure.
#[test]
fn a_report_by_the_old_draft() {
    let report = read_one(&fixture("draft.xml")).expect("a report");
    assert_eq!((report.organisation.as_str(), report.records.len()), ("draft.example", 2));
    for record in &report.records {
        assert_eq!((record.spf, record.dkim), (Alignment::Unknown, Alignment::Unknown));
        assert_eq!((record.disposition, record.header_from.as_str()), (Disposition::Unknown, "example.com"));
    }
}

#[test]
fn however_it_is_packed_it_is_the_same_report() {
    let plain = fixture("rfc9990.xml");
    let report = read_one(&plain).expect("a report");
    let marked = [b"\xef\xbb\xbf\n".as_slice(), &plain].concat();
    let units = std::str::from_utf8(&plain).expect("text").encode_utf16();
    let wide: Vec<u8> = [0xfeff].into_iter().chain(units).flat_map(u16::to_be_bytes).collect();
    for packed in [gzip(&plain), zip(&[("a.xml", &plain)]), gzip(&zip(&[("a", &plain)])), marked, wide] {
        assert_eq!(read_one(&packed).as_ref(), Ok(&report));
    }
    let (old, tags) = (fixture("old.xml"), fixture("tags.xml"));
    let several =
        zip(&[("a.xml", &plain), ("__MACOSX/._a.xml", b"x"), ("readme.txt", b"hi"), ("b.xml", &old), ("c.xml", &tags)]);
    let all = read(&several).expect("a zip file");
    assert_eq!((all.len(), all[0].as_ref()), (3, Ok(&report)));
    assert!(all[1].is_ok() && matches!(all[2], Err(ReportError::Xml { line: 1, .. })), "{all:?}");
    assert_eq!(read_one(&several), Err(ReportError::Entries));
}

#[test]
fn what_is_no_report_is_refused_with_its_reason() {
    let plain = fixture("rfc9990.xml");
    let text = String::from_utf8(plain.clone()).expect("text");
    let without =
        |what: &str| text.lines().filter(|line| !line.contains(what)).collect::<Vec<_>>().join("\n").into_bytes();
    let packed = gzip(&plain);
    let many: Vec<(String, &[u8])> = (0..=MAX_ENTRIES).map(|n| (format!("{n}.xml"), plain.as_slice())).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
    let zeros = vec![b' '; MAX_UNPACKED_BYTES + 1];
    // Ten bombs, each small enough by itself.
    let share = vec![b' '; 8 * 1024 * 1024];
    let shares: Vec<(String, &[u8])> = (0..10).map(|n| (format!("{n}.xml"), share.as_slice())).collect();
    let shares: Vec<(&str, &[u8])> = shares.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
    let nested = format!("<feedback>{}", "<record>".repeat(MAX_DEPTH + 1));
    let reasons: Vec<String> = [
        b" \r\n".to_vec(),
        b"hello".to_vec(),
        b"<html><body/></html>".to_vec(),
        b"<!-- nothing -->".to_vec(),
        fixture("dtd.xml"),
        fixture("entity.xml"),
        fixture("tags.xml"),
        plain[..plain.len() / 2].to_vec(),
        packed[..packed.len() / 2].to_vec(),
        gzip(&packed),
        b"PK\x03\x04 and nothing".to_vec(),
        zip(&[("readme.txt", b"hi")]),
        zip(&many),
        zip(&shares),
        gzip(&zeros),
        vec![b'<'; MAX_PACKED_BYTES + 1],
        nested.into_bytes(),
        without("report_id"),
        without("<begin>"),
        text.replacen("<domain>example.com</domain>", "", 1).into_bytes(),
        text.split("</record>").next().unwrap_or_default().as_bytes().to_vec(),
        text.replace("<end>1795391999", "<end>1795000000").into_bytes(),
        text.replace("<end>1795391999", "<end>tomorrow").into_bytes(),
        (text.clone() + "<feedback/>").into_bytes(),
        text.replace("</row>", "</row").into_bytes(),
        text.replace("Receiver Example", "A & B").into_bytes(),
    ]
    .iter()
    .map(|bytes| read_one(bytes).map_or_else(|fault| fault.to_string(), |_| "read".to_owned()))
    .collect();
    insta::assert_snapshot!(reasons.join("\n"));
}

/// Whom the fixtures call known: the provider of 192.0.2.10.
fn setup() -> Setup {
    let stream = Stream {
        addresses: vec!["192.0.2.10".parse().expect("an address")],
        ..Stream::new(Provider::Sparkpost, "example.com")
    };
    let source = |name: &str| Source { name: name.to_owned(), confirmed_at: None, confirmed_by: None };
    let team = Team {
        name: "A1B2C3D4E5".to_owned(),
        account: None,
        sources: vec![source("Example.com"), source("a@mail.example.com")],
    };
    Setup { teams: vec![team], streams: vec![stream] }
}

fn record(address: &str, count: u64, spf: Alignment, dkim: Alignment) -> Record {
    Record {
        address: address.parse().expect("an address"),
        count,
        disposition: Disposition::None,
        spf,
        dkim,
        overrides: Vec::new(),
        header_from: "example.com".to_owned(),
        envelope_from: None,
        signatures: Vec::new(),
        spf_checked: Vec::new(),
    }
}

fn report(id: &str, records: Vec<Record>) -> Report {
    Report {
        organisation: "Receiver Example".to_owned(),
        report_id: id.to_owned(),
        domain: "example.com".to_owned(),
        begin: Timestamp::from_seconds(1_795_305_600),
        end: Timestamp::from_seconds(1_795_391_999),
        policy: None,
        subdomain_policy: None,
        records,
        left_out: 0,
    }
}

fn found(records: Vec<Record>) -> Vec<(FindingCode, Grade)> {
    let mut tally = Tally::default();
    tally.add(&report("1", records));
    tally.domains(&setup()).iter().flat_map(judge).map(|finding| (finding.code, finding.grade)).collect()
}

#[test]
fn trouble_is_only_what_fails_by_both_from_known_addresses() {
    use Alignment::{Fail, Pass, Unknown};
    const KNOWN: &str = "192.0.2.10";
    let none: &[(FindingCode, Grade)] = &[];
    // Forwarding, and strangers.
    assert_eq!(found(vec![record("198.51.100.7", 900, Fail, Pass), record("203.0.113.9", 900, Fail, Fail)]), none);
    assert_eq!(
        found(vec![record(KNOWN, 90, Fail, Pass), record(KNOWN, 90, Pass, Fail), record(KNOWN, 9, Pass, Pass)]),
        none
    );
    // What a report does not say is no failure.
    assert_eq!(found(vec![record(KNOWN, 90, Unknown, Fail), record(KNOWN, 90, Fail, Unknown)]), none);
    for why in [Override::Forwarded, Override::MailingList, Override::TrustedForwarder] {
        assert_eq!(found(vec![Record { overrides: vec![why], ..record(KNOWN, 90, Fail, Fail) }]), none);
    }
    let fails = |grade| vec![(FindingCode::ReportsBothFail, grade)];
    assert_eq!(found(vec![record(KNOWN, 1, Fail, Fail), record(KNOWN, 99, Pass, Pass)]), fails(Grade::AtRisk));
    assert_eq!(found(vec![record(KNOWN, FATAL_FROM - 1, Fail, Fail)]), fails(Grade::AtRisk), "too few to say more");
    assert_eq!(found(vec![record(KNOWN, FATAL_FROM, Fail, Fail)]), fails(Grade::Fatal));
    let half = |bad| found(vec![record(KNOWN, bad, Fail, Fail), record(KNOWN, 100 - bad, Fail, Pass)]);
    assert_eq!((half(49), half(50)), (fails(Grade::AtRisk), fails(Grade::Fatal)));
    let local = Record { overrides: vec![Override::LocalPolicy], ..record(KNOWN, 90, Fail, Fail) };
    assert_eq!(found(vec![local]), fails(Grade::Fatal), "a receiver's own rule is no forwarding");
    // Nobody has declared it, and the domain's own SPF record passes it.
    let other = || record("192.0.2.77", 50, Pass, Fail);
    let undeclared = (FindingCode::ReportsUndeclaredSender, Grade::Notable);
    assert_eq!(found(vec![other()]), [undeclared]);
    let both = found(vec![record("192.0.2.77", 1, Fail, Fail), other()]);
    assert_eq!(both, [(FindingCode::ReportsBothFail, Grade::AtRisk), undeclared]);
}

#[test]
fn a_report_counts_once_and_domains_know_their_sources() {
    let mut tally = Tally::default();
    for (name, is_new) in [("rfc9990.xml", true), ("old.xml", true), ("rfc9990.xml", false)] {
        assert_eq!(tally.add(&read_one(&fixture(name)).expect("a report")), is_new);
    }
    let renamed = Report { organisation: "RECEIVER example".to_owned(), ..report("2026.11.23.4711", vec![]) };
    assert!(!tally.add(&renamed));
    assert_eq!(tally.reports(), 2);
    let domains = tally.domains(&setup());
    let of: Vec<_> = domains.iter().map(|one| (one.domain.as_str(), one.counts.messages, one.sources.len())).collect();
    assert_eq!(of, [("example.com", 138, 1), ("mail.example.com", 7, 1)]);
    let rows: Vec<_> = domains[0]
        .senders
        .iter()
        .map(|row| (row.address.to_string(), row.sender.clone(), row.counts.trouble()))
        .collect();
    assert_eq!(
        rows,
        [
            ("192.0.2.10".to_owned(), Sender::Declared("sparkpost".to_owned()), 5),
            ("2001:db8::7".to_owned(), Sender::Unknown, 0),
            ("203.0.113.9".to_owned(), Sender::Unknown, 1),
        ]
    );
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    let word = || prop::sample::select(Alignment::ALL.to_vec());
    let one = (0_u8..4, 0_u64..1_000, word(), word(), prop::sample::select(Override::ALL.to_vec()), any::<bool>());
    let one = one.prop_map(|(host, count, spf, dkim, why, below)| Record {
        overrides: vec![why],
        header_from: if below { "mail.example.com" } else { "example.com" }.to_owned(),
        ..record(&format!("192.0.2.{}", 8 + host), count, spf, dkim)
    });
    prop::collection::vec(one, 0..20)
}

proptest! {
    #[test]
    fn neither_order_nor_repeats_make_a_difference(records in records(), cut in 0_usize..20, turn in any::<bool>()) {
        let cut = cut.min(records.len());
        let (first, second) = (report("1", records[..cut].to_vec()), report("2", records[cut..].to_vec()));
        let mut there = Tally::default();
        there.add(&first);
        there.add(&second);
        let turned = |mut report: Report| { report.records.reverse(); report };
        let mut back = Tally::default();
        let mut all = vec![turned(second.clone()), turned(first.clone()), second, first];
        if turn { all.reverse(); }
        for report in &all {
            back.add(report);
        }
        prop_assert_eq!(&there, &back);
        let domains = there.domains(&setup());
        for domain in &domains {
            let counts = &domain.counts;
            prop_assert_eq!(counts.spf + counts.dkim - counts.both + counts.none + counts.unknown, counts.messages);
            let known: u64 = domain.senders.iter().filter(|row| row.sender != Sender::Unknown).map(|row| row.counts.trouble()).sum();
            prop_assert_eq!(judge(domain).iter().any(|one| one.code == FindingCode::ReportsBothFail), known > 0);
        }
        prop_assert_eq!(domains.iter().map(|one| one.counts.messages).sum::<u64>(), records.iter().map(|one| one.count).sum::<u64>());
    }
}
