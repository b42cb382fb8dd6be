use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

fn spf(found: &AuthResults) -> &MethodResult {
    found.of("spf").next().expect("a result of SPF")
}

/// The forms of RFC 8601 appendix B and section 2.2, with made-up names.
#[test]
fn the_grammar_is_read_whole() {
    let none = parse("mx.example.net 1; none");
    assert_eq!((none.server.as_deref(), none.version, none.results.len()), (Some("mx.example.net"), Some(1), 0));
    let found = parse(
        "\"mx (1) ; é\" (a (nested \\) one) here) 1 (v);\r\n\tspf/1 (x) = (y) pass (z) reason=\"good; \\\"enough\\\"\"\r\n\
         \tsmtp (a) . (b) mailfrom (c) = \"o'; brien\"@example.com ;\r\n DKIM=Pass header.d=Example.com header.b=\"a=b;c\";",
    );
    assert_eq!(found.server.as_deref(), Some("mx (1) ; é"));
    let one = spf(&found);
    assert_eq!((one.version, one.result.as_str(), one.reason.as_deref()), (Some(1), "pass", Some("good; \"enough\"")));
    assert_eq!(one.property("smtp", "mailfrom"), Some("o'; brien@example.com"));
    let dkim = found.of("dkim").next().expect("DKIM");
    assert_eq!((dkim.result.as_str(), dkim.property("header", "d")), ("pass", Some("Example.com")));
    assert_eq!(dkim.property("header", "b"), Some("a=b;c"));
    assert_eq!(found.broken, None);
}

#[test]
fn a_result_in_a_comment_or_a_quotation_is_none() {
    let found = parse("mx.example.net; dkim=none (spf=pass; dmarc=pass) reason=\"x; spf=pass smtp.mailfrom=a@b\"");
    assert_eq!(found.results.len(), 1);
    assert_eq!(found.results[0].comments, ["spf=pass; dmarc=pass"]);
}

/// The fixtures' names say whose syntax it is; documented is that of RFC 8601, the rest was observed in public headers.
#[test]
fn the_forms_of_receivers_are_read() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/auth_results");
    let mut told = String::new();
    for name in ["icloud", "gmail", "outlook", "ses", "yahoo", "arc-microsoft", "rfc8601"] {
        let text = std::fs::read_to_string(folder.join(format!("{name}.txt"))).expect("a fixture");
        for field in text.replace("\n ", " ").replace("\n\t", " ").lines() {
            let (name_of, value) = field.split_once(':').expect("a field");
            let found = if name_of.starts_with("ARC") { parse_arc(value) } else { parse(value) };
            writeln!(told, "{name}: {found}").expect("written");
        }
    }
    insta::assert_snapshot!(told);
}

#[test]
fn what_breaks_off_gives_what_stands_before_it() {
    let comment =
        parse("mx.example.net; spf=pass smtp.mailfrom=a.example; dkim=pass (oh header.d=b.example; dmarc=pass");
    assert_eq!((comment.results.len(), comment.broken), (2, Some(Broken::Comment)));
    let quote = parse("mx.example.net; spf=pass reason=\"oh; dkim=pass header.d=b.example");
    assert_eq!((quote.results.len(), quote.broken), (1, Some(Broken::Quote)));
    let deep = parse(&format!("mx.example.net; spf=pass {} x", "(".repeat(100_000)));
    assert_eq!((deep.results.len(), deep.broken), (1, Some(Broken::Comment)));
    let long = parse(&format!("mx.example.net{}", "; dkim=pass header.d=a.example".repeat(5_000)));
    assert_eq!((long.results.len(), long.broken), (MAX_RESULTS, Some(Broken::TooLong)));
    let values = parse(&format!("mx.example.net; spf=pass smtp.mailfrom={}", "é".repeat(20_000)));
    assert_eq!(spf(&values).property("smtp", "mailfrom").map(str::len), Some(MAX_VALUE_BYTES));
    for nothing in ["", ";", " \r\n", "(", "\"", "=", ";=;", ".", "a=", "=b", "\0", "; ;; none; ="] {
        let found = parse(nothing);
        assert!(found.results.iter().all(|one| !one.method.is_empty()), "{nothing:?}: {found:?}");
    }
}

fn judged(header: &str, trust: &Trust) -> Vec<(String, Option<Untrusted>)> {
    let fields: Vec<(&str, &str)> = header.lines().filter_map(|line| line.split_once(':')).collect();
    judge(fields, trust).into_iter().map(|seen| (seen.says.server.unwrap_or_default(), seen.untrusted)).collect()
}

#[test]
fn only_the_run_of_the_trusted_receiver_counts() {
    let header = "\
Received: by 2002:a05:7300:1::1 with SMTP id x
ARC-Authentication-Results: i=1; mx.google.com; spf=fail
Return-Path: <b@mail.example.com>
Received: from a.example (a.example [192.0.2.1]) by mx.google.com with ESMTPS
Received-SPF: pass
Authentication-Results: mx.google.com; spf=fail smtp.mailfrom=b@mail.example.com
Authentication-Results: other.example; spf=pass
Authentication-Results: mx.google.com; spf=pass smtp.mailfrom=b@mail.example.com
DKIM-Signature: d=example.com
Authentication-Results: mx.google.com; dkim=pass header.d=example.com
Received: from x by relay.example
Authentication-Results: mx.google.com; dmarc=pass";
    let reasons: Vec<_> =
        judged(header, &Trust::of(["mx.google.com"])).into_iter().map(|(_, untrusted)| untrusted).collect();
    assert_eq!(
        reasons,
        [
            Some(Untrusted::Arc),
            None,
            Some(Untrusted::OtherServer),
            Some(Untrusted::Again),
            Some(Untrusted::BelowMessage),
            Some(Untrusted::BelowOtherHost("relay.example".to_owned())),
        ]
    );
}

#[test]
fn who_receives_is_known_by_its_hosts() {
    let counts = |header: &str, trust: &Trust| judged(header, trust).iter().all(|(_, untrusted)| untrusted.is_none());
    let icloud = "\
Received: from p00-icloudmta-smtpin-1 by p42-mailgateway-smtp-1 (mailgateway 1) with SMTP id x
Received: from a.example (a.example [192.0.2.1]) by p00-icloudmta-smtpin-1 (Postfix) with ESMTPS id y
Authentication-Results: dmarc.icloud.com; dmarc=pass header.from=example.com
Authentication-Results: dkim-verifier.icloud.com; dkim=pass header.d=example.com
Authentication-Results: dkim-verifier.icloud.com; dkim=pass header.d=amazonses.com
Authentication-Results: spf.icloud.com; spf=pass smtp.mailfrom=b@mail.example.com
";
    assert!(counts(icloud, &Trust::default()));
    // A mail that somebody else received can claim anything.
    let others = format!("Received: from b by mx.example.net with ESMTP\n{icloud}");
    assert!(!counts(&others, &Trust::default()));
    assert!(!counts(&icloud.replace("p42-mailgateway-smtp-1", "mail"), &Trust::default()));
    let outlook = "\
Received: from a by B.prod.outlook.com with HTTPS
Authentication-Results: spf=pass (sender IP is 192.0.2.1) smtp.mailfrom=example.com
Received: from a by C.mail.protection.outlook.com";
    assert!(counts(outlook, &Trust::of(["outlook.com"])) && !counts(outlook, &Trust::default()));
    let yahoo = "\
Received: from 127.0.0.1 by atlas-production.v2-mail-prod1-bf1.omega.yahoo.com with HTTPS
Authentication-Results: atlas-production.v2-mail-prod1-bf1.omega.yahoo.com; spf=pass";
    assert!(counts(yahoo, &Trust::of(["*.yahoo.com"])) && !counts(yahoo, &Trust::of(["yahoo.com"])));
    let ses = "\
Received: from a by inbound-smtp.eu-west-1.amazonaws.com with SMTP id z for x@example.net;
Authentication-Results: amazonses.com; spf=pass (spfCheck: domain of x) client-ip=192.0.2.1; envelope-from=a@b.example; helo=c;";
    assert!(counts(ses, &Trust::of(["AmazonSES.com."])));
}

#[test]
fn hosts_of_received_are_read_outside_of_comments() {
    for (value, host) in [
        ("from a (b by c.example) by D.example (Postfix) with ESMTP", Some("d.example")),
        ("by 2002:a05:1::1 with SMTP id x", Some("2002:a05:1::1")),
        ("from a\r\n\tby mx.example.net; Mon", Some("mx.example.net")),
        ("from a (b) with ESMTP", None),
        ("by", None),
    ] {
        assert_eq!(received_by(value).as_deref(), host, "{value}");
    }
}

fn word() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9-]{0,8}"
}

/// Any value, blanks, quotation marks and semicolons among it; no line breaks, which are folds.
fn value() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zA-Z0-9.@_+-]{1,16}", "[ -~é]{0,16}", Just("o\"b;(c)\\d=e".to_owned())]
}

/// The text of a comment, whose blanks are counted as one.
fn comment() -> impl Strategy<Value = String> {
    "[!-~]{1,8}( [!-~é]{1,8}){0,2}"
}

prop_compose! {
    fn method()(
        method in word().prop_filter("a loose property", |word| !["client-ip", "envelope-from", "helo", "receiver", "i"].contains(&word.as_str())),
        version in proptest::option::of(0..100_u32),
        result in word(),
        reason in proptest::option::of(value()),
        properties in proptest::collection::vec((word().prop_filter("reason", |word| word != "reason"), word(), value()), 0..4),
        comments in proptest::collection::vec(comment(), 0..3),
    ) -> MethodResult {
        let properties = properties.into_iter().map(|(kind, name, value)| Property { kind, name, value }).collect();
        MethodResult { method, version, result, reason, properties, comments }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(
        server in proptest::option::of(value().prop_filter("empty", |text| !text.is_empty())),
        version in proptest::option::of(0..100_u32),
        instance in proptest::option::of(1..50_u32),
        results in proptest::collection::vec(method(), 1..5),
    ) {
        let version = version.filter(|_| server.is_some());
        let written = AuthResults { server, version, instance, results, broken: None };
        let text = written.to_string();
        let read = if instance.is_some() { parse_arc(&text) } else { parse(&text) };
        prop_assert_eq!(&read, &written, "{}", text);
    }

    #[test]
    fn any_text_is_read_within_its_bounds(text in "[ -~\\t\\r\\n\"();=./é\\\\]{0,200}") {
        for found in [parse(&text), parse_arc(&text)] {
            let again = found.to_string();
            prop_assert!(found.results.len() <= MAX_RESULTS && again.len() <= 8 * text.len() + 64, "{}", again);
            for one in &found.results {
                prop_assert!(one.properties.len() <= MAX_PROPERTIES && !one.method.is_empty());
            }
        }
    }
}
