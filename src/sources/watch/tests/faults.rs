//! The fault run: an hour of every trouble that DNS has. Nobody is woken by any of them, and a real deletion and a real edit in the
//! same hour are told.

use super::*;

/// Trouble that comes and goes by the question and the minute.
fn storm(outcome: Outcome, of_ten: u64) -> Trouble {
    Box::new(move |question, now, answer| {
        let minute = now.as_millis() / MINUTE_MILLIS;
        let draw = crate::model::fnv1a(crate::model::FNV1A_BASIS, format!("{question} {minute}").as_bytes()) >> 13;
        if draw % 10 < of_ten { Answer::of(outcome.clone()) } else { answer }
    })
}

/// What DNS does for an hour, how it is called, and what is found of it beside.
type Fault = (&'static str, fn(&mut World), Option<FindingCode>);

fn faults() -> Vec<Fault> {
    vec![
        ("the resolver is down", |world| world.resolver = always(Outcome::TimedOut), None),
        ("the zone's servers are down", |world| world.servers = vec![always(Outcome::TimedOut)], None),
        ("nobody knows the zone's servers", |world| world.servers.clear(), None),
        (
            "all are down",
            |world| {
                world.resolver = always(Outcome::ServerFailure);
                world.servers = vec![always(Outcome::TimedOut), always(Outcome::ServerFailure)];
            },
            None,
        ),
        (
            "a storm of SERVFAIL",
            |world| {
                world.resolver = storm(Outcome::ServerFailure, 7);
                world.servers = vec![storm(Outcome::ServerFailure, 5), storm(Outcome::TimedOut, 5)];
            },
            None,
        ),
        ("DNSSEC is broken", |world| world.resolver = always(Outcome::Bogus), Some(FindingCode::DnssecBogus)),
        ("TTL 0", |world| world.ttl = 0, None),
        // A loop, an endless chain, an answer that stays truncated, one that makes no sense: to whoever asks, a server failure.
        ("CNAME loops and answers that stay truncated", |world| world.resolver = always(Outcome::ServerFailure), None),
        (
            "the resolver lies that nothing exists",
            |world| world.resolver = always(Outcome::NoSuchDomain),
            Some(FindingCode::DnsResolverDiffers),
        ),
        (
            "the resolver lies, and the zone's servers are down",
            |world| {
                world.resolver = always(Outcome::NoSuchDomain);
                world.servers = vec![always(Outcome::TimedOut)];
            },
            None,
        ),
        (
            "the resolver lies with a value",
            |world| world.resolver = Box::new(|_, _, _| Answer::texts(["v=spf1 -all"])),
            Some(FindingCode::DnsResolverDiffers),
        ),
        (
            "one server of the zone has forgotten it",
            |world| world.servers = vec![honest(), always(Outcome::NoSuchDomain)],
            Some(FindingCode::DnsServersDisagree),
        ),
        (
            "a record flaps from look to look",
            |world| {
                let flap = || -> Trouble {
                    Box::new(|question, now, answer| {
                        let odd = now.as_millis() / (2 * MINUTE_MILLIS) % 2 == 1;
                        let gone = odd && question.name.as_str() == "other.example";
                        if gone { Answer::of(Outcome::NoData) } else { answer }
                    })
                };
                world.resolver = flap();
                world.servers = vec![flap()];
            },
            None,
        ),
        (
            "a spoofed answer for one minute",
            |world| {
                let spoofed = || -> Trouble {
                    Box::new(|_, now, answer| {
                        let spoofs = now >= minute(20) && now < minute(21);
                        if spoofs { Answer::of(Outcome::NoSuchDomain) } else { answer }
                    })
                };
                world.resolver = spoofed();
                world.servers = vec![spoofed(), spoofed()];
            },
            None,
        ),
    ]
}

#[test]
fn no_trouble_of_dns_wakes_anybody() {
    for (fault, set, expected) in faults() {
        let mut world = World::settled();
        set(&mut world);
        world.run(150);
        assert!(world.alarms.is_empty(), "{fault}: {:?}", world.alarms);
        assert!(world.changes().is_empty(), "{fault}: {:?}", world.changes());
        world.assert_fit();
        if let Some(code) = expected {
            assert!(world.codes().contains(&code), "{fault}: {:?}", world.codes());
        }
        // When it is over, nothing is left of it.
        world.resolver = honest();
        world.servers = vec![honest(), honest()];
        world.run(75);
        assert!(world.alarms.is_empty() && world.changes().is_empty(), "{fault}");
        assert!(world.watch.blind().is_empty() && world.codes().is_empty(), "{fault}: {:?}", world.codes());
    }
}

#[test]
fn a_real_deletion_and_a_real_edit_in_an_hour_of_troubles_are_told() {
    let mut world = World::settled();
    // Everything about the first sender is in trouble; the zone of the second is well, behind a resolver that fails half the time.
    world.ttl = 0;
    world.resolver = Box::new(|question, now, answer| {
        let text = question.name.as_str();
        if text.ends_with("amazonses.com") {
            return Answer::of(Outcome::ServerFailure);
        }
        if text == "mail.mydomain.example" {
            return Answer::of(Outcome::NoSuchDomain);
        }
        let fails = now.as_millis() / MINUTE_MILLIS % 2 == 0;
        if fails { Answer::of(Outcome::TimedOut) } else { answer }
    });
    world.servers = vec![honest(), always(Outcome::TimedOut)];
    world.run(10);
    world.zone.without("s1.dkim.amazonses.com", Kind::Txt);
    world.zone.only("other.example", "v=spf1 ip4:203.0.113.9 -all");
    world.run(50);
    let told: BTreeSet<&str> = world.paged().iter().map(|(domain, _)| *domain).collect();
    assert_eq!(told, BTreeSet::from(["mydomain.example", "other.example"]));
    assert_eq!(world.alarms.len(), 2, "{:?}", world.alarms);
}

#[test]
fn slow_turning_back_and_forth_is_one_page_and_a_finding() {
    let mut world = World::settled();
    for turn in 0..9 {
        if turn % 2 == 0 {
            world.zone.without("other.example", Kind::Txt);
        } else {
            world.zone.txt("other.example", "v=spf1 ip4:192.0.2.77 include:spf.other.example -all");
        }
        world.run(14);
    }
    let opened = world.paged().iter().filter(|(_, over)| !over).count();
    assert_eq!(opened, 1, "{:?}", world.paged());
    assert!(world.codes().contains(&FindingCode::DnsUnstable), "{:?}", world.codes());
}

#[test]
fn names_are_blind_while_the_resolver_is_down_and_no_longer() {
    let mut world = World::settled();
    world.resolver = always(Outcome::TimedOut);
    world.run(60);
    let blind = world.watch.blind();
    assert!(blind.len() > 5 && blind.contains_key(&name("other.example")), "{blind:?}");
    assert!(blind.values().all(|blind| blind.since < minute(40)), "{blind:?}");
    world.resolver = honest();
    world.run(11);
    assert!(world.watch.blind().is_empty());
}

#[test]
fn an_hour_of_trouble_asks_no_flood_of_questions() {
    let mut calm = World::settled();
    calm.looks = 0;
    calm.run(60);
    let mut troubled = World::settled();
    troubled.looks = 0;
    troubled.resolver = storm(Outcome::ServerFailure, 7);
    troubled.ttl = 0;
    troubled.run(60);
    let watched = calm.watch.tracked().count();
    assert!(calm.looks <= watched * 14, "{} looks at {watched} questions", calm.looks);
    assert!(troubled.looks <= watched * 40, "{} looks at {watched} questions", troubled.looks);
}
