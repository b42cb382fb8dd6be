//! What is a record and what is wrong in one.

use super::*;

fn mistakes(record: &str) -> Vec<(String, MistakeKind)> {
    let policy = Policy::parse(record.as_bytes());
    policy.mistakes().iter().map(|mistake| (policy.part(&mistake.span), mistake.kind)).collect()
}

#[test]
fn what_is_a_record() {
    for record in ["v=spf1", "V=SPF1 ", "v=spf1 -all", "v=spf1 nonsense"] {
        assert!(is_record(record.as_bytes()), "{record}");
    }
    for other in ["", "v=spf", "v=spf10", "v=spf1\t-all", " v=spf1", "v=spf1-all", "spf2.0/pra"] {
        assert!(!is_record(other.as_bytes()), "{other}");
    }
}

#[test]
fn good_terms_have_no_mistake() {
    for term in [
        "all",
        "+ALL",
        "-all",
        "~All",
        "?all",
        "a",
        "A:example.com",
        "a/24",
        "a//64",
        "a/24//64",
        "a:%{d}/0//0",
        "a:%{l2/}.x.com",
        "mx",
        "mx:foo:bar/baz.example.com/24",
        "ptr",
        "ptr:example.com",
        "ip4:192.0.2.1",
        "IP4:192.0.2.0/24",
        "ip4:0.0.0.0/0",
        "ip6:::1",
        "ip6:2001:db8::/32",
        "ip6:::ffff:192.0.2.1/128",
        "exists:%{ir}.%{l1r+-,/_=.}._spf.%{d}",
        "include:example.com.",
        "include:%{d2}",
        "include:_spf.%%.example.com",
        "a:x.%-",
        "redirect=_spf.example.com",
        "exp=%{o}.example.com",
        "x-y.z_1=",
        "foo=%{c}%{r}%{t}",
        "match_subdomains=yes",
        "a:1.2.3.xn--p1ai",
        "a:e-1.com",
        "a:.com",
    ] {
        assert_eq!(mistakes(&format!("v=spf1 {term}")), [], "{term}");
    }
}

#[test]
fn each_mistake_has_its_place() {
    use MistakeKind as M;
    let cases = [
        ("all.", "all.", M::UnknownTerm),
        ("all:x", ":x", M::NoArgument),
        ("-all/8", "/8", M::NoArgument),
        ("include", "", M::MissingArgument),
        ("include:", ":", M::MissingArgument),
        ("include/24", "/24", M::NoPrefixLength),
        ("include:a.com/24", "a.com/24", M::DomainEnd),
        ("exists:a.com/24", "a.com/24", M::DomainEnd),
        ("a:", ":", M::MissingArgument),
        ("a:museum", "museum", M::DomainEnd),
        ("a:museum.", "museum.", M::DomainEnd),
        ("a:abc.123", "abc.123", M::DomainEnd),
        ("a:example.-com", "example.-com", M::DomainEnd),
        ("a:example.com-", "example.com-", M::DomainEnd),
        ("a:%{d}com", "%{d}com", M::DomainEnd),
        ("a:192.0.2.1/24", "192.0.2.1", M::AddressForDomain),
        ("mx/33", "/33", M::PrefixLength),
        ("mx//129", "//129", M::PrefixLength),
        ("mx/024", "/024", M::PrefixLength),
        ("mx/24/64", "/64", M::PrefixLength),
        ("mx/", "/", M::PrefixLength),
        ("ptr/0", "/0", M::NoPrefixLength),
        ("ptr:", ":", M::MissingArgument),
        ("ip4", "", M::MissingArgument),
        ("ip4:192.0.2", "192.0.2", M::Ip4),
        ("ip4:192.0.2.01", "192.0.2.01", M::Ip4),
        ("ip4:192.0.2.1:25", "192.0.2.1:25", M::Ip4),
        ("ip4:192.0.2.1//32", "//32", M::PrefixLength),
        ("ip4:192.0.2.1/", "/", M::PrefixLength),
        ("ip4:192.0.2.1/1x", "/1x", M::PrefixLength),
        ("ip6::CAFE::BABE", ":CAFE::BABE", M::Ip6),
        ("ip6:::1/99999999999", "/99999999999", M::PrefixLength),
        ("redirect:example.com", "redirect:example.com", M::ColonForEquals),
        ("redirect=", "", M::MissingArgument),
        ("redirect=-all", "-all", M::DomainEnd),
        ("+redirect=a.com", "+redirect=", M::QualifiedModifier),
        ("1up=foo", "1up=", M::ModifierName),
        ("=all", "=", M::ModifierName),
        ("moo.cow/far=x", "moo.cow/far=x", M::UnknownTerm),
        ("moo:far=x", "moo:far=x", M::UnknownTerm),
        ("foo=%abc", "%a", M::Percent),
        ("a:x%", "%", M::Percent),
        ("a:%(ir).com", "%(", M::Percent),
        ("a:%{d", "%{d", M::Macro),
        ("a:%{}", "%{}", M::Macro),
        ("a:%{dx}", "%{dx}", M::Macro),
        ("a:%{d0}.com", "%{d0}", M::MacroZero),
        ("a:%{a}.com", "%{a}", M::MacroLetter),
        ("a:%{c}.com", "%{c}", M::MacroOnlyInExplanation),
        ("-all\u{e9}", "\\xc3", M::Byte(0xc3)),
        ("a\tmx", "\\t", M::Byte(9)),
    ];
    for (term, part, kind) in cases {
        assert_eq!(mistakes(&format!("v=spf1 {term} ~all")), [(part.to_owned(), kind)], "{term}");
    }
}

#[test]
fn all_mistakes_are_found() {
    let found = mistakes("v=spf1 moo  ip4:1.2.3 exp=a.com -all exp=b.com redirect=c.com redirect=c.com");
    let kinds: Vec<MistakeKind> = found.iter().map(|(_, kind)| *kind).collect();
    assert_eq!(kinds, [MistakeKind::UnknownTerm, MistakeKind::Ip4, MistakeKind::Twice, MistakeKind::Twice]);
}
