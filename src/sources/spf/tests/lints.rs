//! What the linter says, as people read it.

use super::*;

fn told(record: &str) -> String {
    let linted = lint(record.as_bytes());
    let line = |finding: &Finding| {
        let part = record.get(finding.span.clone()).unwrap_or("?");
        let part = if part.len() > 60 { "(all)" } else { part };
        let span = &finding.span;
        let said = format!("{:?} {}..{} {part:?}: {}", finding.severity(), span.start, span.end, finding.kind);
        match &finding.instead {
            Some((span, instead)) => format!("{said}; {:?} -> {instead:?}", record.get(span.clone()).unwrap_or("?")),
            None => said,
        }
    };
    let lines: Vec<String> = linted.findings.iter().map(line).collect();
    format!("{record}\n{} look-ups\n{}\n", linted.lookups, lines.join("\n"))
}

#[test]
fn healthy_records_have_no_finding() {
    for record in [
        "v=spf1 include:_spf.example.com ~all",
        "v=spf1 -all",
        "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 mx a:mail.example.com -all",
        "v=spf1 redirect=_spf.example.com",
        "v=spf1 exists:%{i}._spf.%{d} exp=why.example.com -all",
    ] {
        assert_eq!(lint(record.as_bytes()).findings, [], "{record}");
    }
}

#[test]
fn mistakes_are_told_with_what_to_write() {
    let records = [
        "v=spf1include:example.com -all",
        "v=spf1 include: example.com a:192.0.2.1/24 192.0.2.7 2001:db8::1 ipv4:192.0.2.8 -all",
        "v=spf1 inlcude:example.com ip4:192.0.2.1:25 ip4:2001:db8::1 ip4:192.0.2.0/024 mx, all;",
        "v=spf1 redirect:example.com -redirect=example.com exp=a.example exp=b.example",
        "v=spf1 include=example.com -ip4=192.0.2.1 default=-all \u{2013}all",
        "v=spf1 exists:example.com/24 a:x%y.example.com moo",
    ];
    insta::assert_snapshot!(records.map(told).join("\n"));
}

#[test]
fn what_is_unwise_is_told() {
    let many =
        format!("v=spf1 {} ~all", (0..8).map(|at| format!("include:s{at}.example.com")).collect::<Vec<_>>().join(" "));
    let too_many =
        format!("v=spf1 {} ~all", (0..12).map(|at| format!("a:s{at}.example.com")).collect::<Vec<_>>().join(" "));
    let long =
        format!("v=spf1 {} ~all", (0..30).map(|at| format!("ip4:198.51.100.{at}")).collect::<Vec<_>>().join(" "));
    let records = [
        "v=spf1 +all",
        "v=spf1 ptr mx mx ?all a redirect=example.com",
        "v=spf1 ip4:192.0.2.1/24 ip4:10.0.0.0/8 ip4:0.0.0.0/1 ip6:2001:db8::1/64 ip6:fd00::/16 a/4 a:x..example.com",
        &many,
        &too_many,
        &long,
    ];
    insta::assert_snapshot!(records.map(told).join("\n"));
}
