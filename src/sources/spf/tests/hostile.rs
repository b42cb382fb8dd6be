//! Records that mean harm: an end, within what is promised.

use proptest::prelude::*;

use super::*;

#[test]
fn loops_end() {
    for record in [
        "v=spf1 include:example.com -all",
        "v=spf1 redirect=example.com",
        "v=spf1 include:%{d}",
        "v=spf1 include:example.com include:example.com redirect=example.com",
    ] {
        let (verdict, steps) = Dns::of(&[("example.com", "TXT", record)]).run(&QUERY);
        assert_eq!((verdict.result, steps.len()), (SpfResult::PermError, 1), "{record}");
        assert_eq!(verdict.fault.expect("a fault").reason, Reason::TooManyLookups);
    }
}

#[test]
fn a_huge_record_is_read_once_and_makes_a_small_tree() {
    let networks = " ip4:198.51.100.7".repeat(4_000);
    let record = format!("v=spf1{networks} include:example.com -all");
    let verdict = Dns::of(&[("example.com", "TXT", &record)]).verdict();
    assert_eq!(verdict.result, SpfResult::PermError);
    assert_eq!(verdict.tree.expect("a tree").tried.len(), 1);
}

#[test]
fn macros_do_not_grow_without_bound() {
    let record = format!("v=spf1 exists:{}.example.com -all", "%{S}".repeat(10_000));
    let dns = Dns::of(&[("example.com", "TXT", &record)]);
    let mail_from = format!("{}@example.com", "\u{1}.".repeat(500));
    let (verdict, steps) = dns.run(&Query { mail_from: &mail_from, ..QUERY });
    assert_eq!((verdict.result, steps.len()), (SpfResult::Fail, 2));
    assert!(steps[1][0].name.as_str().len() <= 253);
    // A local part that no mail has is nobody's.
    let mail_from = format!("{}@example.com", "a".repeat(1_025));
    assert_eq!(dns.run(&Query { mail_from: &mail_from, ..QUERY }).0.result, SpfResult::None);
}

#[test]
fn ten_thousand_addresses_and_names_are_looked_at_or_left() {
    let mut lines = vec![("example.com", "TXT", "v=spf1 ptr a -all".to_owned())];
    for host in 0..10_000_u32 {
        lines.push(("1.2.0.192.in-addr.arpa", "PTR", format!("h{host}.example.com")));
        lines.push(("example.com", "A", std::net::Ipv4Addr::from_bits(0xc633_6400 + host).to_string()));
    }
    let lines: Vec<(&str, &str, &str)> =
        lines.iter().map(|(owner, kind, value)| (*owner, *kind, value.as_str())).collect();
    let (verdict, steps) = Dns::of(&lines).run(&QUERY);
    assert_eq!(verdict.result, SpfResult::Fail);
    assert!(steps.iter().map(Vec::len).sum::<usize>() <= 1 + 1 + 1 + 10);
}

fn term() -> impl Strategy<Value = String> {
    let domain = prop_oneof![
        Just("example.com".to_owned()),
        Just("a.example.com".to_owned()),
        Just("b.example.com".to_owned()),
        Just("%{d}".to_owned()),
        Just("%{p}.example.com".to_owned()),
        Just("%{ir}.%{l1r-}.example.com".to_owned()),
        "[a-z%{}.0-9/:]{0,12}",
    ];
    prop_oneof![
        4 => ("[-+~?]?", "include|a|mx|ptr|exists|ip4|ip6", domain.clone()).prop_map(|(sign, name, domain)| format!("{sign}{name}:{domain}")),
        2 => ("(redirect|exp|foo)", domain).prop_map(|(name, domain)| format!("{name}={domain}")),
        2 => "[-+~?]?(all|a|mx|ptr|a/[0-9]{1,2}|mx//[0-9]{1,3})",
        2 => "ip4:192\\.0\\.2\\.[0-9]/[0-9]{1,2}",
        1 => "\\PC{0,12}",
    ]
}

fn record() -> impl Strategy<Value = String> {
    proptest::collection::vec(term(), 0..12).prop_map(|terms| format!("v=spf1 {}", terms.join(" ")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_check_ends_as_it_would_one_by_one(
        records in proptest::collection::vec(record(), 3),
        outcomes in proptest::collection::vec(0_u8..7, 16),
        mail_from in "([a-z+-]{0,8}@)?(a\\.)?example\\.com",
        six in any::<bool>(),
    ) {
        let owners = ["example.com", "a.example.com", "b.example.com"];
        let mut dns = Dns(Vec::new());
        for (owner, record) in owners.iter().zip(&records) {
            dns.add(Question::new(name(owner), Kind::Txt), Outcome::Found(Values::Txt(vec![Text::from(record.as_str())])));
        }
        let mut outcomes = outcomes.into_iter().cycle();
        for owner in owners {
            for kind in [Kind::A, Kind::Mx] {
                let outcome = match (outcomes.next(), kind) {
                    (Some(0), _) => Outcome::NoData,
                    (Some(1), _) => Outcome::ServerFailure,
                    (Some(2), _) => Outcome::TimedOut,
                    (Some(3), _) => continue,
                    (_, Kind::A) => Outcome::Found(Values::A(vec![[192, 0, 2, 1].into()])),
                    _ => Outcome::Found(Values::Mx(owners.iter().map(|owner| Exchange { preference: 1, host: name(owner) }).collect())),
                };
                dns.add(Question::new(name(owner), kind), outcome);
            }
        }
        let reverse = owners.map(name).to_vec();
        dns.add(Question::new(name("1.2.0.192.in-addr.arpa"), Kind::Ptr), Outcome::Found(Values::Ptr(reverse)));
        let ip = if six { "2001:db8::1" } else { "192.0.2.1" };
        let query = Query { ip: ip.parse().expect("an address"), mail_from: &mail_from, ..QUERY };
        let (verdict, _) = dns.run(&query);
        // One question at a time.
        let mut known = Known::default();
        let alone = loop {
            match check(&query, &known) {
                Step::Done(verdict) => break *verdict,
                Step::Need(questions) => {
                    let question = questions.into_iter().next().expect("a question");
                    let answer = dns.answer(&question);
                    known.insert(question, answer);
                }
            }
        };
        prop_assert_eq!(&verdict, &alone);
        prop_assert!(verdict.lookups <= MAX_LOOKUPS + 1);
        let error = matches!(verdict.result, SpfResult::TempError | SpfResult::PermError);
        prop_assert_eq!(verdict.fault.is_some(), error);
    }

    #[test]
    fn any_bytes_are_linted(record in proptest::collection::vec(any::<u8>(), 0..200), head in any::<bool>()) {
        let record = if head { [b"v=spf1 ", record.as_slice()].concat() } else { record };
        for finding in lint(&record).findings {
            prop_assert!(finding.span.end <= record.len());
        }
    }

    /// What a suggestion makes of a record has no such mistake any more.
    #[test]
    fn a_suggestion_mends_what_it_is_for(record in record()) {
        let policy = Policy::parse(record.as_bytes());
        let linted = lint(record.as_bytes());
        let first = linted.findings.iter().find_map(|finding| match (&finding.kind, &finding.instead) {
            (FindingKind::Mistake(_), Some(instead)) => Some(instead),
            _ => None,
        });
        if let Some((span, text)) = first {
            let mut mended = record.as_bytes().to_vec();
            mended.splice(span.clone(), text.bytes());
            prop_assert!(Policy::parse(&mended).mistakes().len() <= policy.mistakes().len());
        }
    }
}
