//! Records, walks, alignment.

use proptest::prelude::*;

use super::*;
use crate::sources::{
    FindingCode,
    answer::{Kind, Name, Outcome},
    asking::Asking,
    spf::Known,
    tags::{Fault, FaultKind},
    testing::{Zone, name},
};

fn record(text: &str) -> Record {
    parse(text.as_bytes()).expect("a record")
}

/// Runs what asks until it is answered; gives the steps too.
fn answered<T>(zone: &Zone, mut look: impl FnMut(&Asking<'_, Known>) -> Option<T>) -> (T, usize) {
    let mut known = Known::default();
    loop {
        let asking = Asking::new(&known);
        if let Some(done) = look(&asking) {
            return (done, known.len());
        }
        zone.tell(asking.into_needed(), &mut known);
    }
}

fn walked(zone: &Zone, of: &str) -> Walk {
    answered(zone, |asking| walk(&name(of), asking)).0
}

fn org(zone: &Zone, of: &str) -> String {
    walked(zone, of).org.expect("an answer").to_string()
}

fn looked(zone: &Zone, of: &str) -> DmarcView {
    answered(zone, |asking| view(&name(of), asking)).0
}

fn codes(view: &DmarcView) -> Vec<FindingCode> {
    view.findings.iter().map(|finding| finding.code).collect()
}

#[test]
fn a_record_begins_with_its_version() {
    for text in ["v=DMARC1", "v=DMARC1;", "v = DMARC1 ; p=none", "v=DMARC1;p=reject"] {
        assert!(is_record(text.as_bytes()), "{text}");
    }
    for text in ["", "v=DMARC", "v=DMARC12; p=none", "v=dmarc1; p=none", " v=DMARC1", "p=none; v=DMARC1", "v=spf1 -all"]
    {
        assert!(!is_record(text.as_bytes()), "{text}");
        assert_eq!(parse(text.as_bytes()), None);
    }
}

#[test]
fn tags_are_read_in_any_order_and_unknown_ones_ignored() {
    let text = "v=DMARC1; rua=mailto:a@example.com!10m,mailto:b@reports.example; sp=REJECT; new=1; p=Quarantine; np=none; \
                adkim=s; aspf=r; psd=n; t=y; ruf=mailto:f@example.com;";
    let record = record(text);
    assert_eq!((record.p, record.sp, record.np), (Some(Policy::Quarantine), Some(Policy::Reject), Some(Policy::None)));
    assert_eq!((record.adkim, record.aspf, record.psd, record.testing), (Mode::Strict, Mode::Relaxed, Psd::No, true));
    let hosts: Vec<_> = record.reports.iter().map(|report| (report.host.to_string(), report.aggregate)).collect();
    let wanted = [("example.com", true), ("reports.example", true), ("example.com", false)];
    assert_eq!(hosts, wanted.map(|(host, aggregate)| (host.to_owned(), aggregate)));
    assert!(record.faults.is_empty() && record.removed.is_empty());
    assert_eq!(record.policy(false, true), Some(Policy::Quarantine));
    assert_eq!(record.policy(true, true), Some(Policy::Reject));
    assert_eq!(record.policy(true, false), Some(Policy::None), "np= is for names that do not exist");
}

#[test]
fn a_record_without_a_policy_counts_where_reports_are_asked_for() {
    assert_eq!(record("v=DMARC1; rua=mailto:a@example.com").policy(false, true), Some(Policy::None));
    assert_eq!(record("v=DMARC1; p=nothing; rua=mailto:a@example.com").policy(false, true), Some(Policy::None));
    assert_eq!(record("v=DMARC1; ruf=mailto:a@example.com").policy(false, true), None);
    assert_eq!(record("v=DMARC1; rua=https://example.com/").policy(false, true), None);
    assert_eq!(record("v=DMARC1; sp=reject").policy(true, true), None);
}

#[test]
fn a_bad_policy_for_subdomains_makes_the_record_ask_for_nothing() {
    for tag in ["sp", "np"] {
        let text = format!("v=DMARC1; p=reject; {tag}=refuse");
        assert_eq!(record(&text).policy(false, true), None, "{tag}");
        assert_eq!(
            record(&format!("{text}; rua=mailto:a@example.com")).policy(false, true),
            Some(Policy::None),
            "{tag}"
        );
    }
}

#[test]
fn a_misplaced_record_is_offered_without_its_policy() {
    let mut zone = Zone::default();
    zone.txt("example.com", "v=DMARC1; p=reject; rua=mailto:a@example.com, nothing; x=\u{7f}");
    let finding = looked(&zone, "example.com").findings.remove(0);
    assert_eq!(finding.code, FindingCode::DmarcWrongName);
    assert!(finding.what.contains("p=reject") && !finding.what.contains('\u{7f}'), "{}", finding.what);
    let value = finding.fix.record.expect("a record").value;
    assert_eq!(value, "\"v=DMARC1; p=none; rua=mailto:a@example.com\"");
    zone.cname("_dmarc.example.com", "dmarc.example");
    assert_eq!(looked(&zone, "example.com").findings[0].fix.record, None, "the record is somebody else's");
}

#[test]
fn a_share_of_the_mail_is_not_dropped_without_a_word() {
    let step = |tag: &str| {
        let mut zone = Zone::default();
        zone.txt("_dmarc.example.com", &format!("v=DMARC1; p=reject; {tag}"));
        looked(&zone, "example.com").findings.remove(0).fix.step
    };
    assert!(step("pct=0").contains("pct=0 goes only once"), "{}", step("pct=0"));
    assert!(step("pct=100").starts_with("Take the tags away"));
}

#[test]
fn what_cannot_be_read_is_told_with_its_place() {
    let broken =
        record("v=DMARC1; p=rejct; adkim=x; pct=50; ri=1; rf=afrf; sp; p=none; rua=mailto:a,mailto:b@example.com");
    assert_eq!(
        broken.faults,
        [
            Fault { at: 12, kind: FaultKind::Value("rejct".to_owned()) },
            Fault { at: 25, kind: FaultKind::Value("x".to_owned()) },
            Fault { at: 51, kind: FaultKind::NoEquals },
            Fault { at: 55, kind: FaultKind::Twice("p".to_owned()) },
        ]
    );
    assert_eq!((broken.removed.as_slice(), broken.bad_reports), (&["pct", "ri", "rf"][..], 1));
}

#[test]
fn the_walk_ends_at_the_highest_record() {
    let mut zone = Zone::default();
    assert_eq!(org(&zone, "a.mail.example.com"), "a.mail.example.com", "without any record the name itself");
    zone.txt("_dmarc.mail.example.com", "v=DMARC1; p=none");
    assert_eq!(org(&zone, "a.mail.example.com"), "mail.example.com");
    zone.txt("_dmarc.example.com", "v=DMARC1; p=reject");
    assert_eq!(org(&zone, "a.mail.example.com"), "example.com");
    assert_eq!(org(&zone, "example.com"), "example.com");
    let found: Vec<String> =
        walked(&zone, "a.mail.example.com").found.iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(found, ["mail.example.com", "example.com"]);
}

#[test]
fn psd_ends_the_walk() {
    let mut zone = Zone::default();
    zone.txt("_dmarc.example.com", "v=DMARC1; p=reject");
    zone.txt("_dmarc.mail.example.com", "v=DMARC1; p=none; psd=n");
    assert_eq!(org(&zone, "a.mail.example.com"), "mail.example.com", "psd=n");
    let mut zone = Zone::default();
    zone.txt("_dmarc.gov.example", "v=DMARC1; p=reject; psd=y").txt("_dmarc.example", "v=DMARC1; p=none");
    assert_eq!(org(&zone, "mail.agency.gov.example"), "agency.gov.example", "one label below psd=y");
    assert_eq!(org(&zone, "gov.example"), "gov.example", "psd=y where the walk begins");
    let mut zone = Zone::default();
    zone.txt("_dmarc.d.e.f.g.h.i.example", "v=DMARC1; psd=y; p=none");
    assert_eq!(org(&zone, "a.b.c.d.e.f.g.h.i.example"), "c.d.e.f.g.h.i.example", "below a step that was jumped to");
}

#[test]
fn a_walk_asks_eight_times_at_most() {
    let long = "a.b.c.d.e.f.g.h.i.j.mail.example.com";
    let mut zone = Zone::default();
    zone.txt("_dmarc.example.com", "v=DMARC1; p=none");
    let (walk, asked) = answered(&zone, |asking| walk(&name(long), asking));
    assert_eq!((asked, walk.org), (MAX_WALK_QUERIES, Some(name("example.com"))));
    let (_, asked) = answered(&zone, |asking| super::walk(&name("mail.example.com"), asking));
    assert_eq!(asked, 3);
    let (_, asked) = answered(&zone, |asking| super::walk(&name("a.b.c.d.e.f.g.com"), asking));
    assert_eq!(asked, 8);
}

#[test]
fn several_records_count_as_none() {
    let mut zone = Zone::default();
    zone.txt("_dmarc.mail.example.com", "v=DMARC1; p=none").txt("_dmarc.mail.example.com", "v=DMARC1; p=reject");
    zone.txt("_dmarc.example.com", "v=DMARC1; p=quarantine; rua=mailto:a@example.com");
    zone.txt("_dmarc.example.com", "some other text");
    let view = looked(&zone, "mail.example.com");
    assert_eq!(codes(&view), [FindingCode::DmarcSeveral]);
    assert_eq!((view.policy, view.enforces()), (Some(Policy::Quarantine), true), "the one above counts");
}

#[test]
fn trouble_leaves_the_organisational_domain_open() {
    let mut zone = Zone::default();
    zone.txt("_dmarc.mail.example.com", "v=DMARC1; p=none").ends("_dmarc.example.com", Kind::Txt, Outcome::TimedOut);
    let view = looked(&zone, "mail.example.com");
    assert_eq!((view.walk.org.clone(), codes(&view)), (None, vec![FindingCode::DnsTrouble]));
    assert_eq!(view.policy, Some(Policy::None), "its own record counts whatever is above");
}

#[test]
fn what_is_wrong_with_a_record_is_told() {
    use FindingCode as C;
    let cases: [(&str, Vec<C>); 9] = [
        ("v=DMARC1; p=none", vec![]),
        ("v=DMARC1; p=reject; rua=mailto:a@mail.example.com", vec![]),
        ("v=DMARC1; p=reject; pct=100", vec![C::DmarcRemovedTags]),
        ("v=DMARC1; rua=mailto:a@example.com", vec![C::DmarcPolicyMissing]),
        ("v=DMARC1; p=reject; t=y", vec![C::DmarcTesting]),
        ("v=DMARC1; p=rejcet", vec![C::DmarcBroken, C::DmarcPolicyMissing]),
        ("v=DMARC1; p=none; rua=a@example.com", vec![C::DmarcReportAddress]),
        ("v=DMARC1; p=none; rua=mailto:a@collector.example", vec![C::DmarcReportUnauthorised]),
        ("v=DMARC1\\; p=none", vec![C::DmarcMissing]),
    ];
    for (text, wanted) in cases {
        let view = looked(Zone::default().txt("_dmarc.example.com", text), "example.com");
        assert_eq!(codes(&view), wanted, "{text}");
    }
    assert_eq!(codes(&looked(&Zone::default(), "example.com")), [C::DmarcMissing]);
    let wrong = looked(Zone::default().txt("example.com", "v=DMARC1; p=reject"), "example.com");
    assert_eq!(codes(&wrong), [C::DmarcWrongName]);
    let record = wrong.findings[0].fix.record.as_ref().expect("a record").to_string();
    assert_eq!(record, "_dmarc.example.com. TXT \"v=DMARC1; p=none\"", "no policy that nobody has tried");
}

#[test]
fn reports_go_where_somebody_has_agreed() {
    let mut zone = Zone::default();
    zone.txt("_dmarc.example.com", "v=DMARC1; p=none; rua=mailto:a@collector.example,mailto:b@sub.example.com");
    let place = "example.com._report._dmarc.collector.example";
    let refused = looked(&zone, "example.com");
    assert_eq!(codes(&refused), [FindingCode::DmarcReportUnauthorised]);
    let record = refused.findings[0].fix.record.as_ref().expect("a record").to_string();
    assert_eq!(record, format!("{place}. TXT \"v=DMARC1\""));
    assert_eq!(
        codes(&looked(zone.clone().txt(place, "v=spf1 -all"), "example.com")),
        [FindingCode::DmarcReportUnauthorised]
    );
    assert_eq!(codes(&looked(zone.clone().txt(place, "v=DMARC1;"), "example.com")), []);
    let silent = looked(zone.ends(place, Kind::Txt, Outcome::ServerFailure), "example.com");
    assert_eq!(codes(&silent), [], "trouble is no refusal");
}

#[test]
fn the_two_ways_to_the_organisational_domain_can_differ() {
    let mut zone = Zone::default();
    zone.txt("_dmarc.shop.example.com", "v=DMARC1; p=reject; adkim=r");
    let view = looked(&zone, "shop.example.com");
    assert_eq!(
        (view.walk.org.clone(), view.org_by_list.clone()),
        (Some(name("shop.example.com")), name("example.com"))
    );
    let aligned = |other: &str, mode| answered(&zone, |asking| alignment(&view, &name(other), mode, asking)).0;
    assert_eq!(aligned("shop.example.com", Mode::Strict), Aligned { by_walk: Some(true), by_list: true });
    assert_eq!(aligned("example.com", Mode::Relaxed), Aligned { by_walk: Some(false), by_list: true });
    assert_eq!(aligned("mail.shop.example.com", Mode::Relaxed), Aligned { by_walk: Some(true), by_list: true });
    assert_eq!(aligned("mail.shop.example.com", Mode::Strict), Aligned { by_walk: Some(false), by_list: false });
    assert_eq!(aligned("amazonses.org", Mode::Relaxed), Aligned { by_walk: Some(false), by_list: false });
}

#[test]
fn the_list_knows_its_suffixes() {
    for (domain, wanted) in [
        ("mail.mydomain.fr", "mydomain.fr"),
        ("a.b.example.co.uk", "example.co.uk"),
        ("co.uk", "co.uk"),
        ("com", "com"),
        ("bücher.example", "xn--bcher-kva.example"),
    ] {
        assert_eq!(org_by_list(&name(domain)), name(wanted), "{domain}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let text = [b"v=DMARC1;", bytes.as_slice()].concat();
        let record = parse(&text).expect("a record by its version");
        prop_assert!(record.faults.iter().all(|fault| fault.at <= text.len()));
    }

    #[test]
    fn the_organisational_domain_is_the_name_or_above(labels in proptest::collection::vec("[a-z]{1,3}", 1..14), records in any::<u16>()) {
        let of = Name::parse(&labels.join(".")).expect("a name");
        let mut zone = Zone::default();
        let mut at = Some(of.clone());
        for bit in 0..labels.len() {
            let Some(here) = at.clone().filter(|here| !here.is_root()) else { break };
            if records >> bit & 1 == 1 {
                zone.txt(&format!("_dmarc.{here}"), "v=DMARC1; p=none");
            }
            at = here.parent();
        }
        let walk = walked(&zone, of.as_str());
        prop_assert!(of.is_within(walk.org.as_ref().expect("an answer")));
        prop_assert!(of.is_within(&org_by_list(&of)));
    }
}
