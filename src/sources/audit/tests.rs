//! The case to solve (DESIGN case 2) with its variants, the table of seeded faults, and set-ups in which nothing is wrong.

use super::*;
use crate::{
    model::{DAY_MILLIS, Provider},
    sources::{
        answer::{Kind, Outcome},
        apple_rule::{FailReason, PathVerdict, Source, Team, UnknownReason},
        mail_from::OnMxFailure,
        spf::Known,
        testing::{Zone, key_record},
    },
};

mod faults;
mod healthy;
mod offers;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const EU: &str = "feedback-smtp.eu-west-1.amazonses.com";

/// A registration that was confirmed so many days ago.
fn source(name: impl Into<String>, days: i64) -> Source {
    let confirmed_at = Some(NOW.plus_millis(-days * DAY_MILLIS));
    Source { name: name.into(), confirmed_at, confirmed_by: Some("a person".to_owned()) }
}

fn selector(selector: &str, domain: Option<&str>) -> Selector {
    Selector { selector: selector.to_owned(), domain: domain.map(str::to_owned) }
}

/// A set-up and its DNS.
#[derive(Debug, Clone)]
struct World {
    zone: Zone,
    setup: Setup,
}

impl World {
    /// DESIGN case 2 with everything right: SES, From `dev@mydomain.fr`, MAIL FROM `mail.mydomain.fr`.
    fn case_two() -> Self {
        let mut zone = Zone::default();
        zone.txt("amazonses.com", "v=spf1 ip4:198.51.100.0/24 ip4:203.0.113.0/25 ip6:2001:db8:100::/48 ~all");
        zone.txt("mydomain.fr", "v=spf1 ip4:192.0.2.10 -all");
        zone.txt("mail.mydomain.fr", "v=spf1 include:amazonses.com ~all").mx("mail.mydomain.fr", 10, EU);
        zone.txt("s1._domainkey.mydomain.fr", &key_record(2_048));
        zone.txt("_dmarc.mydomain.fr", "v=DMARC1; p=reject; rua=mailto:dmarc@mydomain.fr");
        let team = Team {
            name: "T1".to_owned(),
            account: None,
            sources: vec![source("mydomain.fr", 5), source("mail.mydomain.fr", 5)],
        };
        let stream = Stream {
            envelope: Some("mail.mydomain.fr".to_owned()),
            selectors: vec![selector("s1", None)],
            region: Some("eu-west-1".to_owned()),
            ..Stream::new(Provider::Ses, "dev@mydomain.fr")
        };
        Self { zone, setup: Setup { teams: vec![team], streams: vec![stream] } }
    }

    fn stream(&mut self) -> &mut Stream {
        &mut self.setup.streams[0]
    }

    fn sources(&mut self) -> &mut Vec<Source> {
        &mut self.setup.teams[0].sources
    }

    fn unregister(&mut self, name: &str) -> &mut Self {
        self.sources().retain(|source| source.name != name);
        self
    }

    /// Audits, asking the zone as often as it takes.
    fn audit(&self) -> Audit {
        let mut known = Known::default();
        for _ in 0..MAX_STEPS {
            match audit(&self.setup, NOW, &known) {
                Step::Done(audit) => return audit,
                Step::Need(questions) => {
                    assert!(!questions.is_empty(), "a step that needs nothing is done");
                    let before = known.len();
                    let asked = questions.len();
                    self.zone.tell(questions, &mut known);
                    assert_eq!(known.len(), before + asked, "nothing is asked twice");
                }
            }
        }
        panic!("not done after {MAX_STEPS} steps")
    }
}

/// Ends a chain of changes.
fn done<T>(_: &mut T) {}

fn codes(audit: &Audit) -> Vec<FindingCode> {
    audit.findings().iter().map(|finding| finding.code).collect()
}

#[test]
fn case_two_with_everything_right() {
    let audit = World::case_two().audit();
    assert_eq!(codes(&audit), []);
    let stream = &audit.streams[0];
    assert_eq!((stream.path, stream.apple.overall), (Path::Both, PathVerdict::Pass));
    assert_eq!((stream.without_spf, stream.without_dkim), (PathVerdict::Pass, PathVerdict::Pass));
    let carriers: Vec<_> = stream.carriers.iter().map(|one| (one.source.as_str(), one.path)).collect();
    assert_eq!(carriers, [("mail.mydomain.fr", Path::Spf), ("mydomain.fr", Path::Dkim)]);
    assert_eq!(
        (stream.dmarc.passes, stream.dmarc.passes_by_list, stream.dmarc.policy),
        (Some(true), Some(true), Some("reject"))
    );
    let sources: Vec<_> =
        audit.sources.iter().map(|one| (one.source.to_string(), one.fresh, one.has_spf, one.carries)).collect();
    assert_eq!(
        sources,
        [("mail.mydomain.fr".to_owned(), true, Some(true), 1), ("mydomain.fr".to_owned(), true, Some(true), 1)]
    );
}

/// What the person of case 2 sees: the worst of it, with the fix. Everything that can be wrong is.
#[test]
fn case_two_with_everything_wrong_is_told_so_that_a_person_can_act() {
    let mut world = World::case_two();
    world.unregister("mail.mydomain.fr");
    world.zone.without("mail.mydomain.fr", Kind::Mx).without("mail.mydomain.fr", Kind::Txt);
    world.zone.only("mydomain.fr", "v=spf1 include:amazonses.com -all");
    world.stream().selectors = vec![selector("ses", Some("amazonses.com"))];
    world.zone.txt("ses._domainkey.amazonses.com", &key_record(2_048));
    let audit = world.audit();
    let told: Vec<String> = audit
        .findings()
        .iter()
        .map(|one| {
            let record = one.fix.record.as_ref().map(|record| format!("\n       {record}")).unwrap_or_default();
            format!(
                "{} {} {}\n  {}\n  why: {}\n  fix: {}{record}",
                one.grade, one.code, one.about, one.what, one.why, one.fix.step
            )
        })
        .collect();
    insta::assert_snapshot!("case_two", told.join("\n"));
    let stream = &audit.streams[0];
    assert_eq!(stream.envelope_domain.as_deref(), Some("amazonses.com"));
    assert_eq!(stream.apple.spf, PathVerdict::Fail(FailReason::EnvelopeUnregistered));
    assert_eq!(stream.apple.dkim, PathVerdict::Fail(FailReason::ForeignSignature));
    assert_eq!((stream.path, audit.worst()), (Path::None, Some(Grade::Fatal)));
}

#[test]
fn the_variants_of_case_two() {
    use FailReason as F;
    use PathVerdict as P;
    type Variant = (&'static str, fn(&mut World), PathVerdict, PathVerdict);
    let variants: [Variant; 8] = [
        (
            "envelope domain not registered",
            |w| done(w.unregister("mail.mydomain.fr")),
            P::Fail(F::EnvelopeUnregistered),
            P::Pass,
        ),
        (
            "MX missing",
            |w| done(w.zone.without("mail.mydomain.fr", Kind::Mx)),
            P::Fail(F::EnvelopeUnregistered),
            P::Pass,
        ),
        (
            "SPF at the wrong name",
            |w| {
                w.zone.without("mail.mydomain.fr", Kind::Txt).only("mydomain.fr", "v=spf1 include:amazonses.com ~all");
            },
            P::Fail(F::SpfNotPass),
            P::Pass,
        ),
        (
            "d= is amazonses.com",
            |w| {
                w.stream().selectors = vec![selector("ses", Some("amazonses.com"))];
                w.zone.txt("ses._domainkey.amazonses.com", &key_record(2_048));
            },
            P::Pass,
            P::Fail(F::ForeignSignature),
        ),
        (
            "DMARC aligned, Apple's rule not",
            |w| {
                w.unregister("mail.mydomain.fr");
                w.stream().selectors = vec![selector("s1", Some("sub.mydomain.fr"))];
                w.zone.txt("s1._domainkey.sub.mydomain.fr", &key_record(2_048));
            },
            P::Fail(F::EnvelopeUnregistered),
            P::Unknown(UnknownReason::RelaxedOnly),
        ),
        (
            "CNAME of the selector dangling",
            |w| {
                w.zone.without("s1._domainkey.mydomain.fr", Kind::Txt);
                w.zone.cname("s1._domainkey.mydomain.fr", "s1.dkim.amazonses.com");
            },
            P::Pass,
            P::Fail(F::NoValidSignature),
        ),
        (
            "registration stale",
            |w| {
                for source in w.sources() {
                    source.confirmed_at = Some(NOW.plus_millis(-91 * DAY_MILLIS));
                }
            },
            P::Unknown(UnknownReason::RegistrationStale),
            P::Unknown(UnknownReason::RegistrationStale),
        ),
        (
            "DNS away",
            |w| {
                w.zone.ends("mail.mydomain.fr", Kind::Txt, Outcome::ServerFailure);
                w.zone.ends("s1._domainkey.mydomain.fr", Kind::Txt, Outcome::TimedOut);
            },
            P::Unknown(UnknownReason::Dns),
            P::Unknown(UnknownReason::Dns),
        ),
    ];
    for (what, change, spf, dkim) in variants {
        let mut world = World::case_two();
        change(&mut world);
        let stream = world.audit().streams.remove(0);
        assert_eq!((stream.apple.spf, stream.apple.dkim), (spf, dkim), "{what}");
        assert_eq!((stream.without_dkim, stream.without_spf), (spf, dkim), "{what}");
    }
}

#[test]
fn a_lost_path_is_fatal_only_where_no_other_carries() {
    let grade = |world: &World| {
        let audit = world.audit();
        audit.findings().iter().find(|finding| finding.code == FindingCode::SpfMissing).expect("a finding").grade
    };
    let mut world = World::case_two();
    world.zone.without("mail.mydomain.fr", Kind::Txt);
    assert_eq!(grade(&world), Grade::AtRisk);
    world.zone.only("s1._domainkey.mydomain.fr", "v=DKIM1; p=");
    assert_eq!(grade(&world), Grade::Fatal);
}

#[test]
fn a_finding_of_two_streams_is_told_once_at_its_worst() {
    let mut world = World::case_two();
    world.zone.without("mail.mydomain.fr", Kind::Txt);
    let mut other = world.stream().clone();
    other.selectors = vec![selector("s1", Some("amazonses.com"))];
    world.setup.streams.push(other);
    let audit = world.audit();
    let missing: Vec<_> = audit.findings().into_iter().filter(|one| one.code == FindingCode::SpfMissing).collect();
    assert_eq!(missing.iter().map(|one| one.grade).collect::<Vec<_>>(), [Grade::Fatal]);
}

#[test]
fn garbage_of_every_kind_is_a_finding_and_no_panic() {
    let odd = [
        "",
        "@",
        "@@",
        "a@",
        ".",
        "..",
        "\u{0}",
        "é@\u{ad}.fr",
        "-",
        &"x".repeat(300),
        "[192.0.2.1]",
        "a b@c d",
        "*._domainkey",
    ];
    for text in odd {
        let mut world = World::case_two();
        let stream = world.stream();
        (stream.from, stream.envelope) = (text.to_owned(), Some(text.to_owned()));
        stream.selectors = vec![selector(text, Some(text))];
        world.setup.streams.push(Stream {
            envelope: Some(text.to_owned()),
            selectors: vec![selector(text, None)],
            spf_name: Some(text.to_owned()),
            ..Stream::new(Provider::Mailgun, "mydomain.fr")
        });
        world.sources().push(source(text, 1));
        let audit = world.audit();
        for stream in &audit.streams {
            assert!(stream.findings.iter().any(|one| one.code == FindingCode::StreamInvalid), "{text:?}: {stream:?}");
        }
        assert!(audit.own_findings.iter().any(|one| one.code == FindingCode::SourceInvalid), "{text:?}");
    }
    let mut world = World::case_two();
    for at in ["mydomain.fr", "mail.mydomain.fr", "s1._domainkey.mydomain.fr", "_dmarc.mydomain.fr", "amazonses.com"] {
        let long = "y".repeat(4_000);
        for text in ["", "\u{0}\u{1}", "v=spf1 \u{7f}", "v=DKIM1", "v=DMARC1;;;=", "p=", ";;;;", long.as_str()] {
            world.zone.txt(at, text);
        }
    }
    assert!(world.audit().worst() >= Some(Grade::AtRisk));
}

#[test]
fn an_audit_serialises() {
    let mut world = World::case_two();
    world.zone.without("mail.mydomain.fr", Kind::Mx);
    let json = serde_json::to_value(world.audit()).expect("JSON");
    assert_eq!(
        json["streams"][0]["apple"]["spf"],
        serde_json::json!({"result": "fail", "reason": "envelope_unregistered"})
    );
    assert_eq!(json["streams"][0]["path"], "dkim");
    assert_eq!(json["streams"][0]["findings"][0]["code"], "mail_from_mx_missing");
    assert_eq!(json["sources"][0]["source"], "mail.mydomain.fr");
}
