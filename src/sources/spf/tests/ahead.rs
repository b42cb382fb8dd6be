//! What is asked at once, and that it changes nothing.

use super::*;

fn texts(steps: &[Vec<Question>]) -> Vec<Vec<String>> {
    steps.iter().map(|step| step.iter().map(ToString::to_string).collect()).collect()
}

#[test]
fn what_stands_ahead_is_asked_at_once() {
    let dns = Dns::of(&[
        (
            "example.com",
            "TXT",
            "v=spf1 include:a.example.com include:b.example.com mx a:c.example.com ip4:192.0.2.1 a:d.example.com",
        ),
        ("a.example.com", "TXT", "v=spf1 include:e.example.com -all"),
        ("b.example.com", "TXT", "v=spf1 a -all"),
        ("e.example.com", "TXT", "v=spf1 -all"),
        ("example.com", "MX", "10 mail.example.com"),
        ("mail.example.com", "A", "192.0.2.9"),
        ("b.example.com", "A", "192.0.2.9"),
        ("c.example.com", "A", "192.0.2.9"),
    ]);
    let (verdict, steps) = dns.run(&QUERY);
    assert_eq!((verdict.result, verdict.lookups), (SpfResult::Pass, 6));
    // What stands behind a term that matches for certain is not asked.
    assert_eq!(
        texts(&steps),
        [
            vec!["TXT of example.com"],
            vec!["TXT of a.example.com", "TXT of b.example.com", "MX of example.com", "A of c.example.com"],
            vec!["TXT of e.example.com", "A of b.example.com", "A of mail.example.com"],
        ]
    );
}

#[test]
fn explanations_are_asked_for_when_the_mail_has_failed() {
    let lines = [
        ("example.com", "TXT", "v=spf1 a exp=why.example.com -all"),
        ("why.example.com", "TXT", "no"),
        ("example.com", "A", "192.0.2.1"),
    ];
    let (_, steps) = Dns::of(&lines).run(&QUERY);
    assert_eq!(texts(&steps), [["TXT of example.com"], ["A of example.com"]]);
    let (verdict, steps) = Dns::of(&lines[..2]).run(&QUERY);
    assert_eq!(texts(&steps), [["TXT of example.com"], ["A of example.com"], ["TXT of why.example.com"]]);
    assert_eq!(verdict.explanation.as_deref(), Some("no"));
}

#[test]
fn trouble_ahead_of_a_match_changes_nothing() {
    let dns = Dns::of(&[
        ("example.com", "TXT", "v=spf1 a include:broken.example.com -all"),
        ("example.com", "A", "192.0.2.1"),
        ("broken.example.com", "TXT!", "time-out"),
    ]);
    let (verdict, steps) = dns.run(&QUERY);
    assert_eq!(steps[1].len(), 2);
    assert_eq!((verdict.result, verdict.fault), (SpfResult::Pass, None));
}

#[test]
fn only_what_can_be_named_is_asked() {
    let dns = Dns::of(&[
        ("example.com", "TXT", "v=spf1 exists:%{p}.example.com a:x.example.com -all"),
        ("1.2.0.192.in-addr.arpa", "PTR", "h.example.com"),
        ("h.example.com", "A", "192.0.2.1"),
    ]);
    let (_, steps) = dns.run(&QUERY);
    assert_eq!(
        texts(&steps),
        [
            vec!["TXT of example.com"],
            vec!["PTR of 1.2.0.192.in-addr.arpa", "A of x.example.com"],
            vec!["A of h.example.com"],
            vec!["A of h.example.com.example.com"],
        ]
    );
}
