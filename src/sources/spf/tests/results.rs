//! Results, explanations, the tree and the place of a fault.

use super::*;

fn part(verdict: &Verdict) -> (String, String) {
    let fault = verdict.fault.as_ref().expect("a fault");
    let part = fault.span.as_ref().zip(fault.policy.as_ref()).map(|(span, policy)| policy.part(span));
    (part.unwrap_or_default(), fault.reason.to_string())
}

#[test]
fn the_case_of_a_custom_mail_from() {
    let dns = Dns::of(&[
        ("mail.mydomain.example", "TXT", "v=spf1 include:amazonses.example ~all"),
        ("amazonses.example", "TXT", "v=spf1 ip4:199.255.192.0/22 ip4:54.240.0.0/18 -all"),
    ]);
    let query = |ip: &str| {
        let query = Query { ip: ip.parse().expect(ip), mail_from: "0102@mail.mydomain.example", ..QUERY };
        dns.run(&query).0
    };
    let passed = query("54.240.8.1");
    assert_eq!((passed.result, passed.lookups, passed.voids), (SpfResult::Pass, 1, 0));
    let tree = passed.tree.expect("a tree");
    let child = tree.tried[0].child.as_deref().expect("a child");
    assert_eq!(child.policy.as_ref().expect("a record").term_text(child.tried[0].term), "ip4:54.240.0.0/18");
    assert_eq!(query("192.0.2.1").result, SpfResult::SoftFail);
}

#[test]
fn who_has_no_domain_has_no_record() {
    let dns = Dns::of(&[("example.com", "TXT", "v=spf1 -all")]);
    for (mail_from, helo) in
        [("", "localhost"), ("someone@localhost", "example.com"), ("a@[192.0.2.1]", ""), ("a@b..c", ""), ("", "")]
    {
        let (verdict, steps) = dns.run(&Query { mail_from, helo, ..QUERY });
        assert_eq!((verdict.result, steps.len()), (SpfResult::None, 0), "{mail_from} {helo}");
        assert_eq!(verdict.fault.expect("a fault").reason, Reason::NoDomain);
    }
    assert_eq!(dns.run(&Query { mail_from: "", helo: "Example.COM.", ..QUERY }).0.result, SpfResult::Fail);
    assert_eq!(dns.run(&Query { mail_from: "a@other.example", ..QUERY }).0.result, SpfResult::None);
}

#[test]
fn several_records_are_an_error_in_any_order() {
    let [one, two] = ["v=spf1 +all", "V=SPF1 -all"];
    for records in [[one, two], [two, one], [one, one]] {
        let verdict = Dns::of(&records.map(|record| ("example.com", "TXT", record))).verdict();
        assert_eq!(verdict.result, SpfResult::PermError);
        assert_eq!(part(&verdict).1, "2 SPF records at one name; there may be one");
    }
    let others = Dns::of(&[("example.com", "TXT", "v=spf10 -all"), ("example.com", "TXT", one)]);
    assert_eq!(others.verdict().result, SpfResult::Pass);
}

#[test]
fn trouble_is_a_temperror_and_absence_none() {
    let of = |outcome| Dns::of(&[("example.com", "TXT!", outcome)]).verdict();
    for outcome in ["failure", "time-out", "bogus"] {
        assert_eq!(of(outcome).result, SpfResult::TempError);
    }
    assert_eq!(part(&of("bogus")).1, "TXT of example.com: bogus");
    assert_eq!(of("no data").result, SpfResult::None);
    assert_eq!(of("no data").fault, None);
}

#[test]
fn a_fault_has_its_place() {
    let verdict = of_record("v=spf1 a:mail.example.com/33 -all");
    assert_eq!(verdict.result, SpfResult::PermError);
    assert_eq!(part(&verdict), ("/33".to_owned(), "no prefix length, or out of range".to_owned()));
    let below = Dns::of(&[
        ("example.com", "TXT", "v=spf1 include:a.example.com -all"),
        ("a.example.com", "TXT", "v=spf1 include:b.example.com -all"),
    ]);
    let verdict = below.verdict();
    assert_eq!(part(&verdict), ("include:b.example.com".to_owned(), "b.example.com has no SPF record".to_owned()));
    assert_eq!(verdict.fault.expect("a fault").domain, Some(name("a.example.com")));
}

#[test]
fn ten_lookups_pass_and_eleven_do_not() {
    let record = |terms: usize| format!("v=spf1 {} +all", vec!["a"; terms].join(" "));
    let at =
        |terms: usize| Dns::of(&[("example.com", "TXT", &record(terms)), ("example.com", "A", "192.0.2.9")]).verdict();
    assert_eq!((at(10).result, at(10).lookups), (SpfResult::Pass, 10));
    assert_eq!(at(11).result, SpfResult::PermError);
    assert_eq!(part(&at(11)), ("a".to_owned(), "more than 10 terms that ask DNS".to_owned()));
    assert_eq!(at(11).fault.expect("a fault").span, Some(27..28));
}

#[test]
fn void_lookups_count_terms_and_not_the_hosts_of_an_exchange() {
    let verdict = of_record("v=spf1 a:x.example.com a:y.example.com -all");
    assert_eq!((verdict.result, verdict.voids), (SpfResult::Fail, 2));
    let verdict = of_record("v=spf1 a:x.example.com exists:y.example.com mx:z.example.com -all");
    assert_eq!(
        part(&verdict),
        ("mx:z.example.com".to_owned(), "more than 2 terms whose question found nothing".to_owned())
    );
    // A client with IPv6 and hosts with IPv4 only.
    let dns = Dns::of(&[
        ("example.com", "TXT", "v=spf1 mx -all"),
        ("example.com", "MX", "10 a.example.com"),
        ("example.com", "MX", "20 b.example.com"),
        ("example.com", "MX", "30 c.example.com"),
    ]);
    let (verdict, _) = dns.run(&Query { ip: "2001:db8::1".parse().expect("an address"), ..QUERY });
    assert_eq!((verdict.result, verdict.voids), (SpfResult::Fail, 0));
}

#[test]
fn exchanges_beyond_ten_are_an_error_and_a_null_one_is_none() {
    let hosts: Vec<String> = (0..11).map(|host| format!("{host} h{host}.example.com")).collect();
    let mut lines = vec![("example.com", "TXT", "v=spf1 mx -all"), ("h0.example.com", "A", "192.0.2.1")];
    lines.extend(hosts.iter().map(|host| ("example.com", "MX", host.as_str())));
    let verdict = Dns::of(&lines).verdict();
    assert_eq!(
        (verdict.result, part(&verdict).1),
        (SpfResult::PermError, "11 mail exchanges; 10 may be looked up".to_owned())
    );
    lines.pop();
    assert_eq!(Dns::of(&lines).verdict().result, SpfResult::Pass);
    let null = Dns::of(&[("example.com", "TXT", "v=spf1 mx ?all"), ("example.com", "MX", "0 .")]);
    assert_eq!(null.verdict().result, SpfResult::Neutral);
}

#[test]
fn an_explanation_is_printable_or_none() {
    let explained = |text: &str, mail_from: &str| {
        let dns =
            Dns::of(&[("example.com", "TXT", "v=spf1 exp=why.example.com -all"), ("why.example.com", "TXT", text)]);
        let (verdict, _) = dns.run(&Query { mail_from, at: Some(Timestamp::from_seconds(1_754_805_600)), ..QUERY });
        assert_eq!(verdict.result, SpfResult::Fail);
        verdict.explanation.ok_or(verdict.no_explanation)
    };
    assert_eq!(
        explained("%{i} is not %{d}'s, %{S}, says %{r} at %{t} (%{h}, %{c}, %{p}, %{v})", "a+b@example.com").as_deref(),
        Ok("192.0.2.1 is not example.com's, a%2Bb%40example.com, says mx.example.org at 1754805600 \
            (mail.example.net, 192.0.2.1, unknown, in-addr)")
    );
    assert_eq!(
        explained("caf\u{e9}", "a@example.com"),
        Err(Some(NoExplanation::Mistake(3..4, MistakeKind::Byte(0xc3))))
    );
    assert_eq!(explained("%{l}", "jos\u{e9}@example.com"), Err(Some(NoExplanation::Expanded)));
    assert_eq!(explained("%{l}", "a\r\nb@example.com"), Err(Some(NoExplanation::Expanded)));
    assert_eq!(
        explained(&"%{l}".repeat(200), &format!("{}@example.com", "a".repeat(64))),
        Err(Some(NoExplanation::Expanded))
    );
    assert_eq!(of_record("v=spf1 exp=why.example.com -all").no_explanation, Some(NoExplanation::Absent));
    assert_eq!(of_record("v=spf1 -all").no_explanation, None);
}

#[test]
fn a_local_part_in_other_letters_never_matches() {
    let dns =
        Dns::of(&[("bücher.example", "TXT", "v=spf1 exists:%{l}.%{o}.test.example include:%{s}.test.example ~all")]);
    let (verdict, steps) = dns.run(&Query { mail_from: "jos\u{e9}@Bücher.example", ..QUERY });
    assert_eq!((verdict.result, verdict.lookups), (SpfResult::SoftFail, 2));
    assert_eq!(steps, [vec![Question::new(name("xn--bcher-kva.example"), Kind::Txt)]]);
    let dns = Dns::of(&[("bücher.example", "TXT", "v=spf1 exists:%{o}.test.example ~all")]);
    let (_, steps) = dns.run(&Query { mail_from: "jos\u{e9}@Bücher.example", ..QUERY });
    assert_eq!(steps[1], [Question::new(name("xn--bcher-kva.example.test.example"), Kind::A)]);
}

#[test]
fn macros_are_those_of_the_rfc() {
    // RFC 7208 section 7.4.
    let cases = [
        ("%{s}", "strong-bad@email.example.com"),
        ("%{o}", "email.example.com"),
        ("%{d}", "email.example.com"),
        ("%{d4}", "email.example.com"),
        ("%{d3}", "email.example.com"),
        ("%{d2}", "example.com"),
        ("%{d1}", "com"),
        ("%{dr}", "com.example.email"),
        ("%{d2r}", "example.email"),
        ("%{l}", "strong-bad"),
        ("%{l-}", "strong.bad"),
        ("%{lr}", "strong-bad"),
        ("%{lr-}", "bad.strong"),
        ("%{l1r-}", "strong"),
        ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
        ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
        ("%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"),
        ("%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"),
        ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
    ];
    for (text, expanded) in cases {
        let lines = [("email.example.com", "TXT", "v=spf1 exp=why.example.com -all"), ("why.example.com", "TXT", text)];
        let query =
            Query { ip: "192.0.2.3".parse().expect("an address"), mail_from: "strong-bad@email.example.com", ..QUERY };
        assert_eq!(Dns::of(&lines).run(&query).0.explanation.as_deref(), Some(expanded), "{text}");
    }
    let six = Query { ip: "2001:db8::cb01".parse().expect("an address"), ..QUERY };
    let lines = [
        ("example.com", "TXT", "v=spf1 exists:%{ir}.%{v}._spf.%{d2} ~all"),
        ("1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com", "A", "127.0.0.2"),
    ];
    assert_eq!(Dns::of(&lines).run(&six).0.result, SpfResult::Pass);
}

#[test]
fn the_validated_name_does_not_depend_on_the_order() {
    let mut names = ["b.example.com", "example.com", "a.example.com", "z.other.example", "forged.example"];
    for _ in 0..2 {
        names.reverse();
        let mut lines =
            vec![("example.com", "TXT", "v=spf1 exp=why.example.com -all"), ("why.example.com", "TXT", "%{p}")];
        lines.extend(names.iter().map(|name| ("1.2.0.192.in-addr.arpa", "PTR", *name)));
        let hosts = ["z.other.example", "b.example.com", "a.example.com", "example.com"];
        let expected = ["z.other.example", "b.example.com", "a.example.com", "example.com"];
        for (host, expected) in hosts.into_iter().zip(expected) {
            lines.push((host, "A", "192.0.2.1"));
            assert_eq!(Dns::of(&lines).verdict().explanation.as_deref(), Some(expected));
        }
    }
}
