//! The watch against a small DNS in memory, on a clock of the test's.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::{
    model::{MINUTE_MILLIS, Provider},
    sources::{
        answer::{Kind, Values},
        apple_rule::{Account, Source, Team},
        audit::{Selector, Stream},
        testing::{Zone, key_record, name},
    },
};

mod faults;

const BEGIN: i64 = 1_796_000_000_000;

fn minute(minutes: i64) -> Timestamp {
    Timestamp::from_millis(BEGIN + minutes * MINUTE_MILLIS)
}

/// From `mydomain.example`, by SES, with a MAIL FROM of its own: the second case of the design, and another sender beside it.
fn setup() -> Setup {
    let source =
        |name: &str| Source { name: name.to_owned(), confirmed_at: Some(minute(-24 * 60)), confirmed_by: None };
    let team = Team {
        name: "A1B2C3D4E5".to_owned(),
        account: Some(Account::Organization),
        sources: ["mydomain.example", "mail.mydomain.example", "other.example"].map(source).into(),
    };
    let selector = |selector: &str| Selector { selector: selector.to_owned(), domain: None };
    let ses = Stream {
        team: Some(team.name.clone()),
        envelope: Some("mail.mydomain.example".to_owned()),
        selectors: vec![selector("s1")],
        region: Some("eu-west-1".to_owned()),
        ..Stream::new(Provider::Ses, "dev@mydomain.example")
    };
    let own = Stream {
        team: Some(team.name.clone()),
        envelope: Some("other.example".to_owned()),
        addresses: vec!["192.0.2.77".parse().expect("an address")],
        ..Stream::new(Provider::Generic, "other.example")
    };
    Setup { teams: vec![team], streams: vec![ses, own] }
}

fn zone() -> Zone {
    let mut zone = Zone::default();
    zone.txt("mydomain.example", "v=spf1 include:amazonses.com -all")
        .txt("mail.mydomain.example", "v=spf1 include:amazonses.com -all")
        .mx("mail.mydomain.example", 10, "feedback-smtp.eu-west-1.amazonses.com")
        .a("feedback-smtp.eu-west-1.amazonses.com", [192, 0, 2, 25])
        .txt("amazonses.com", "v=spf1 ip4:192.0.2.0/26 ip4:198.51.100.0/26 -all")
        .txt("_dmarc.mydomain.example", "v=DMARC1; p=none")
        .txt("_dmarc.other.example", "v=DMARC1; p=none")
        .cname("s1._domainkey.mydomain.example", "s1.dkim.amazonses.com")
        .txt("s1.dkim.amazonses.com", &key_record(2048))
        .txt("other.example", "v=spf1 ip4:192.0.2.77 include:spf.other.example -all")
        .txt("spf.other.example", "v=spf1 ip4:203.0.113.0/28 -all");
    zone
}

/// What each vantage point answers: the zone, unless a trouble stands in its way.
type Trouble = Box<dyn Fn(&Question, Timestamp, Answer) -> Answer>;

struct World {
    watch: Watch,
    now: Timestamp,
    zone: Zone,
    ttl: u32,
    resolver: Trouble,
    /// The zone's servers.
    servers: Vec<Trouble>,
    observed: Vec<Observation>,
    alarms: Vec<(Timestamp, Alarm)>,
    looks: usize,
}

fn honest() -> Trouble {
    Box::new(|_, _, answer| answer)
}

fn always(outcome: Outcome) -> Trouble {
    Box::new(move |_, _, _| Answer::of(outcome.clone()))
}

impl World {
    /// A world in which all is known and fit.
    fn settled() -> Self {
        let mut world = Self::new(Watch::new(setup(), Restored::default()), zone());
        world.run(2);
        world.assert_fit();
        assert!(world.alarms.is_empty());
        world
    }

    fn new(watch: Watch, zone: Zone) -> Self {
        Self {
            watch,
            now: minute(0),
            zone,
            ttl: 300,
            resolver: honest(),
            servers: vec![honest(), honest()],
            observed: Vec::new(),
            alarms: Vec::new(),
            looks: 0,
        }
    }

    fn look(&self, question: &Question) -> Look {
        let truth = || Answer { ttl: Some(self.ttl), ..self.zone.answer(question) };
        let recursive = (self.resolver)(question, self.now, truth());
        let wants = self.watch.wants_zone(question, &recursive, self.now);
        let ask = || self.servers.iter().map(|server| server(question, self.now, truth())).collect();
        Look { recursive: Some(recursive), authoritative: wants.then(ask) }
    }

    fn settle(&mut self) {
        let Settled { observations, alarms } = self.watch.settle(self.now);
        self.observed.extend(observations);
        self.alarms.extend(alarms.into_iter().map(|alarm| (self.now, alarm)));
    }

    /// Lets so many minutes pass, looking every quarter of one.
    fn run(&mut self, minutes: i64) {
        let end = self.now.plus_millis(minutes * MINUTE_MILLIS);
        loop {
            self.settle();
            loop {
                let due = self.watch.due(self.now, 100);
                if due.is_empty() {
                    break;
                }
                for question in due {
                    let look = self.look(&question);
                    self.watch.hear(&question, &look, self.now);
                    self.looks += 1;
                }
                self.settle();
            }
            if self.now >= end {
                return;
            }
            self.now = self.now.plus_millis(MINUTE_MILLIS / 4).min(end);
        }
    }

    fn fitness(&self) -> BTreeMap<String, Fitness> {
        self.watch.standings().map(|standing| (standing.subject.to_string(), standing.fitness)).collect()
    }

    fn assert_fit(&self) {
        let fitness = self.fitness();
        assert!(fitness.len() == 5 && fitness.values().all(|one| *one == Fitness::Fit), "{fitness:?}");
    }

    fn changes(&self) -> Vec<&Record> {
        let records =
            self.observed.iter().filter_map(|one| if let Observation::Record(r) = one { Some(r) } else { None });
        records.filter(|record| record.is_change()).collect()
    }

    /// The domains that were paged about, and whether it was over.
    fn paged(&self) -> Vec<(&str, bool)> {
        self.alarms.iter().map(|(_, alarm)| (alarm.trouble.domain.as_str(), alarm.trouble.over)).collect()
    }

    fn codes(&self) -> BTreeSet<FindingCode> {
        self.watch.findings().iter().map(|finding| finding.code).collect()
    }
}

fn question(at: &str, kind: Kind) -> Question {
    Question::new(name(at), kind)
}

#[test]
fn everything_that_the_audit_asked_is_watched_and_nothing_is_told_of_a_first_look() {
    let world = World::settled();
    for (at, kind) in [
        ("mail.mydomain.example", Kind::Mx),
        ("mail.mydomain.example", Kind::Txt),
        ("amazonses.com", Kind::Txt),
        ("s1._domainkey.mydomain.example", Kind::Txt),
        ("_dmarc.mydomain.example", Kind::Txt),
        ("spf.other.example", Kind::Txt),
    ] {
        assert!(world.watch.tracked().any(|(watched, _)| *watched == question(at, kind)), "{kind} of {at}");
    }
    assert!(world.observed.iter().all(|one| !matches!(one, Observation::Trouble(_))));
    assert!(world.changes().is_empty());
}

#[test]
fn a_deletion_is_told_once_with_what_stood_there_and_its_return_once() {
    let mut world = World::settled();
    world.zone.without("other.example", Kind::Txt);
    world.run(45);
    assert_eq!(world.paged(), [("other.example", false)]);
    let (at, alarm) = &world.alarms[0];
    assert!(at.millis_since(minute(2)) <= 25 * MINUTE_MILLIS, "{at}");
    assert_eq!(alarm.trouble.streams, ["generic other.example (A1B2C3D4E5)"]);
    assert!(
        alarm.changes[0].says(80).contains("v=spf1 ip4:192.0.2.77 include:spf.other.example -all → no"),
        "{alarm:?}"
    );
    assert!(alarm.findings.iter().any(|finding| finding.fix.record.is_some()), "{alarm:?}");
    // By DKIM it may still be carried: no selector is declared. By the path that carried it, it is lost.
    assert_eq!(world.fitness()["stream generic other.example (A1B2C3D4E5)"], Fitness::Unknown);
    assert_eq!(world.fitness()["source other.example"], Fitness::Unfit);
    world.run(120);
    assert_eq!(world.alarms.len(), 1, "told once");
    world.zone = zone();
    world.run(45);
    assert_eq!(world.paged(), [("other.example", false), ("other.example", true)]);
    world.assert_fit();
}

#[test]
fn one_path_of_two_lost_is_at_risk_and_nobody_is_woken() {
    let mut world = World::settled();
    world.zone.without("mail.mydomain.example", Kind::Mx);
    world.run(45);
    assert!(world.alarms.is_empty(), "{:?}", world.alarms);
    let changes = world.changes();
    assert_eq!(changes.iter().map(|change| change.grade).collect::<Vec<_>>(), [Some(Grade::AtRisk)]);
    assert_eq!(changes[0].domains, ["amazonses.com", "mydomain.example"]);
}

#[test]
fn a_key_that_the_provider_rotates_behind_its_cname_is_notable() {
    let mut world = World::settled();
    world.zone.only("s1.dkim.amazonses.com", &key_record(3072));
    world.run(45);
    assert!(world.alarms.is_empty());
    let changes = world.changes();
    assert_eq!(changes.iter().map(|change| change.grade).collect::<Vec<_>>(), [Some(Grade::Notable)]);
    assert_eq!(changes[0].after.aliases, changes[0].before.as_ref().expect("before").aliases);
}

#[test]
fn growth_of_look_ups_is_laid_at_the_include_that_changed() {
    let mut world = World::settled();
    let includes: Vec<String> = (1..=9).map(|number| format!("include:n{number}.other.example")).collect();
    for number in 1..=9 {
        world.zone.txt(&format!("n{number}.other.example"), "v=spf1 ip4:203.0.113.64/28 -all");
    }
    world.zone.only("spf.other.example", &format!("v=spf1 {} -all", includes.join(" ")));
    world.run(45);
    let changes = world.changes();
    let [change] = changes.as_slice() else { panic!("{changes:?}") };
    let growth = &change.growth[0];
    assert_eq!((growth.domain.as_str(), growth.before, growth.after), ("other.example", 1, 10));
    assert_eq!(growth.by, [("spf.other.example".to_owned(), 0, 9)]);
    assert!(change.grade >= Some(Grade::AtRisk), "{change:?}");
}

#[test]
fn what_was_known_stays_known_over_a_restart() {
    let mut world = World::settled();
    world.zone.without("other.example", Kind::Txt);
    world.run(45);
    let restored = |world: &World| {
        let mut restored = Restored::default();
        for observation in world.observed.clone() {
            let json = serde_json::to_value(&observation).expect("JSON");
            restored.take(serde_json::from_value(json).expect("read back"));
        }
        restored
    };
    let zone = world.zone.clone();
    let mut again = World::new(Watch::new(setup(), restored(&world)), zone);
    again.now = world.now;
    again.run(90);
    assert!(again.observed.is_empty() && again.alarms.is_empty(), "{:?}", again.observed);
    assert_eq!(again.fitness(), world.fitness());
    again.zone = super::tests::zone();
    again.run(45);
    assert_eq!(again.paged(), [("other.example", true)], "it is ended by whoever runs then");
}

#[test]
fn what_is_declared_otherwise_is_no_drift() {
    let mut world = World::settled();
    let mut other = setup();
    other.streams[1].addresses = vec!["192.0.2.78".parse().expect("an address")];
    world.watch.exchange(other);
    world.run(5);
    assert!(world.alarms.is_empty());
    assert_eq!(world.fitness()["stream generic other.example (A1B2C3D4E5)"], Fitness::Unknown);
    let mut fewer = setup();
    fewer.streams.pop();
    world.watch.exchange(fewer);
    world.run(5);
    let gone = world.observed.iter().filter(|one| matches!(one, Observation::Standing { gone: true, .. })).count();
    assert_eq!((gone, world.fitness().len()), (1, 4));
    assert!(!world.watch.tracked().any(|(watched, _)| *watched == question("spf.other.example", Kind::Txt)));
}

/// Outcomes of one look, drawn at random.
fn answers() -> impl Strategy<Value = Answer> {
    let outcome = prop_oneof![
        Just(Outcome::NoData),
        Just(Outcome::NoSuchDomain),
        Just(Outcome::ServerFailure),
        Just(Outcome::TimedOut),
        Just(Outcome::Bogus),
        (0..3_u8).prop_map(|text| Outcome::Found(Values::Txt(vec![format!("t{text}").as_str().into()]))),
    ];
    outcome.prop_map(Answer::of)
}

proptest! {
    #[test]
    fn the_order_of_the_servers_answers_makes_no_difference(
        looks in prop::collection::vec((answers(), prop::collection::vec(answers(), 0..4), 0..20_i64), 1..40),
        turn in 0..4_usize,
    ) {
        let asked = question("example.com", Kind::Txt);
        let (mut one, mut other) = (Tracked::new(minute(0)), Tracked::new(minute(0)));
        let mut now = 0;
        for (recursive, servers, wait) in looks {
            now += wait;
            let mut turned = servers.clone();
            let by = turn.min(turned.len());
            turned.rotate_left(by);
            turned.reverse();
            let look = |servers| Look { recursive: Some(recursive.clone()), authoritative: Some(servers) };
            let heard = one.hear(&asked, &look(servers), minute(now));
            prop_assert_eq!(heard, other.hear(&asked, &look(turned), minute(now)));
            prop_assert_eq!(&one, &other);
        }
    }

    #[test]
    fn an_answer_that_is_repeated_changes_nothing_and_trouble_never_does(
        looks in prop::collection::vec((answers(), prop::collection::vec(answers(), 0..4)), 1..30),
    ) {
        let asked = question("example.com", Kind::Txt);
        let mut tracked = Tracked::new(minute(0));
        let mut now = 0;
        for (recursive, servers) in looks {
            let look = Look { recursive: Some(recursive), authoritative: Some(servers) };
            let claim = look.claim();
            let mut changes = 0;
            for _ in 0..60 {
                now += 1;
                let before = tracked.fact().cloned();
                if let Some(change) = tracked.hear(&asked, &look, minute(now)) {
                    changes += 1;
                    let says = claim.as_ref().map(|claim| &claim.fact);
                    prop_assert_eq!(says, Some(&change.after));
                    prop_assert!(change.confirmed || !change.after.is_absence() || before.is_none());
                } else {
                    prop_assert_eq!(&before, &tracked.fact().cloned());
                }
            }
            prop_assert!(changes <= 1);
        }
    }
}
