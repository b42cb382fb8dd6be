//! Apple's rule, case by case and as laws.

use proptest::prelude::*;

use super::*;
use crate::sources::testing::name;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn source(text: &str, days_ago: Option<i64>) -> Source {
    let confirmed_at = days_ago.map(|days| NOW.plus_millis(-days * DAY_MILLIS));
    Source { name: text.to_owned(), confirmed_at, confirmed_by: None }
}

fn inventory(teams: &[&[(&str, Option<i64>)]]) -> Inventory {
    let team = |(index, sources): (usize, &&[(&str, Option<i64>)])| Team {
        name: format!("T{index}"),
        account: None,
        sources: sources.iter().map(|(text, days)| source(text, *days)).collect(),
    };
    Inventory::new(teams.iter().enumerate().map(team).collect(), NOW)
}

fn registered(fresh: bool) -> Standing {
    Standing::Registered(Entry { team: 0, source: 0, fresh })
}

fn signature(domain: &str, validity: Validity) -> Signature {
    Signature { domain: name(domain), validity }
}

#[test]
fn registration_is_exact_in_any_spelling() {
    let all =
        inventory(&[&[("Mail.MyDomain.fr.", Some(1)), ("bücher.example", Some(1)), ("Dev@mydomain.fr", Some(1))]]);
    let stands = |domain: &str, local: Option<&str>| all.standing(&name(domain), local, None);
    assert!(matches!(stands("mail.mydomain.fr", None), Standing::Registered(Entry { fresh: true, .. })));
    assert!(matches!(stands("XN--BCHER-KVA.example", None), Standing::Registered(_)));
    assert!(
        matches!(stands("mydomain.fr", Some("dev")), Standing::Registered(_)),
        "a single address, for exactly that"
    );
    assert!(matches!(stands("mydomain.fr", Some("DEV")), Standing::Registered(_)));
    assert!(matches!(stands("mydomain.fr", None), Standing::AddressesOnly(_)));
    assert!(matches!(stands("mydomain.fr", Some("news")), Standing::Related(_)));
    assert!(matches!(stands("a.mail.mydomain.fr", None), Standing::Related(_)), "no inheritance");
    assert_eq!(stands("mydomain.com", None), Standing::Absent);
    assert_eq!(inventory(&[]).standing(&name("mydomain.fr"), None, None), Standing::NotSupplied);
}

#[test]
fn a_registration_counts_for_its_team() {
    let all = inventory(&[&[("one.example", Some(1))], &[("two.example", Some(1)), ("one.example", Some(400))]]);
    let of_team = |domain: &str, team| all.standing(&name(domain), None, team);
    assert!(matches!(of_team("two.example", Some(0)), Standing::Elsewhere(Entry { team: 1, .. })));
    assert!(matches!(of_team("two.example", Some(1)), Standing::Registered(_)));
    assert!(matches!(of_team("two.example", None), Standing::Registered(_)));
    assert!(matches!(of_team("one.example", Some(1)), Standing::Registered(Entry { fresh: false, .. })));
    assert!(
        matches!(of_team("one.example", None), Standing::Registered(Entry { team: 0, fresh: true, .. })),
        "the fresh one"
    );
    assert_eq!((all.team("T1"), all.team("T7")), (Some(1), None));
}

#[test]
fn a_team_without_sources_has_declared_nothing() {
    let all = inventory(&[&[("one.example", Some(1))], &[]]);
    let of_team = |team| all.standing(&name("two.example"), None, team);
    assert_eq!(
        (of_team(Some(1)), of_team(Some(0)), of_team(None)),
        (Standing::NotSupplied, Standing::Absent, Standing::Absent)
    );
    assert_eq!(inventory(&[&[], &[]]).standing(&name("two.example"), None, None), Standing::NotSupplied);
    assert!(!inventory(&[&[("not a name", None)]]).supplies(None));
}

#[test]
fn an_envelope_with_the_recipient_in_it_may_be_the_registered_address() {
    let all = inventory(&[&[("bounce@mail.example.com", Some(1))]]);
    let stands = |local| all.envelope_standing(&name("mail.example.com"), local, None);
    for local in ["Bounce+user=example.org", "bounce-17-user=example.org"] {
        assert!(matches!(stands(local), Standing::AddressesOnly(_)), "{local}");
    }
    assert!(matches!(stands("bounce"), Standing::Registered(_)));
    for local in ["bouncer", "news", "boun"] {
        assert!(matches!(stands(local), Standing::Related(_)), "{local}");
    }
    assert_eq!(Registered::parse(&format!("{}@example.com", "x".repeat(1_025))), None);
}

#[test]
fn a_declaration_is_fresh_for_ninety_days() {
    let days =
        [(Some(0), true), (Some(90), true), (Some(91), false), (None, false), (Some(-1), true), (Some(-2), false)];
    for (days, fresh) in days {
        let all = inventory(&[&[("one.example", days)]]);
        let standing = all.standing(&name("one.example"), None, None);
        assert_eq!(standing, registered(fresh), "{days:?}");
    }
    assert!(!inventory(&[&[("one.example", Some(0))]]).excludes_unregistered());
}

#[test]
fn what_is_no_source_is_told() {
    let odd = [
        "",
        "@",
        "a@",
        "@example.com",
        "localhost",
        "a b@example.com",
        "exa mple.com",
        "http://example.com/",
        "*.example.com",
    ];
    for text in odd {
        assert_eq!(Registered::parse(text), None, "{text}");
    }
    let all = inventory(&[&[("ok.example", None), ("not a name", None)]]);
    assert_eq!((all.invalid(), all.names().count()), (&[(0, 1)][..], 1));
    assert_eq!((Account::Individual.limit(), Account::Organization.limit()), (32, 100));
}

#[test]
fn by_spf_as_the_reference_has_it() {
    use FailReason as F;
    use PathVerdict as P;
    use UnknownReason as U;
    let entry = || Entry { team: 0, source: 0, fresh: true };
    let cases = [
        (SpfSeen::Pass, registered(true), P::Pass),
        (SpfSeen::Pass, registered(false), P::Unknown(U::RegistrationStale)),
        (SpfSeen::Pass, Standing::NotSupplied, P::Unknown(U::InventoryMissing)),
        (SpfSeen::Pass, Standing::Absent, P::Fail(F::EnvelopeUnregistered)),
        (SpfSeen::Pass, Standing::Related(entry()), P::Fail(F::EnvelopeUnregistered)),
        (SpfSeen::Pass, Standing::Elsewhere(entry()), P::Fail(F::RegisteredElsewhere)),
        (SpfSeen::Pass, Standing::AddressesOnly(entry()), P::Unknown(U::AddressUnknown)),
        (SpfSeen::NotPass, registered(true), P::Fail(F::SpfNotPass)),
        (SpfSeen::NotPass, Standing::NotSupplied, P::Fail(F::SpfNotPass)),
        (SpfSeen::Trouble, registered(true), P::Unknown(U::Dns)),
        (SpfSeen::Trouble, Standing::Absent, P::Fail(F::EnvelopeUnregistered)),
        (SpfSeen::Partly, registered(true), P::Unknown(U::Partly)),
        (SpfSeen::NotTold, registered(true), P::Unknown(U::NotTold)),
    ];
    for (spf, standing, wanted) in cases {
        assert_eq!(by_spf(spf, &standing), wanted, "{spf:?} {standing:?}");
    }
}

#[test]
fn by_dkim_as_the_reference_has_it() {
    use FailReason as F;
    use PathVerdict as P;
    use UnknownReason as U;
    use Validity as V;
    let from = name("mydomain.fr");
    let ok = registered(true);
    let judge = |all: &[(&str, V)], every, standing: &Standing| {
        let all: Vec<Signature> = all.iter().map(|(domain, validity)| signature(domain, *validity)).collect();
        by_dkim(&from, &all, every, standing)
    };
    let own = "MyDomain.FR";
    assert_eq!(judge(&[(own, V::Valid)], false, &ok), P::Pass);
    assert_eq!(judge(&[(own, V::Valid)], false, &registered(false)), P::Unknown(U::RegistrationStale));
    assert_eq!(judge(&[(own, V::Valid)], false, &Standing::NotSupplied), P::Unknown(U::InventoryMissing));
    assert_eq!(judge(&[(own, V::Valid)], false, &Standing::Absent), P::Fail(F::FromUnregistered));
    assert_eq!(judge(&[(own, V::Invalid)], false, &ok), P::Fail(F::NoValidSignature));
    assert_eq!(judge(&[(own, V::Trouble)], false, &ok), P::Unknown(U::Dns));
    assert_eq!(judge(&[(own, V::Chance)], false, &ok), P::Unknown(U::Partly));
    assert_eq!(judge(&[(own, V::ValidEd25519)], false, &ok), P::Unknown(U::Ed25519Only));
    assert_eq!(judge(&[], false, &ok), P::Unknown(U::NotTold));
    assert_eq!(judge(&[], false, &Standing::Absent), P::Fail(F::FromUnregistered));
    assert_eq!(judge(&[("amazonses.com", V::Valid)], false, &ok), P::Fail(F::ForeignSignature));
    assert_eq!(judge(&[("mail.mydomain.fr", V::Valid)], false, &ok), P::Unknown(U::RelaxedOnly));
    assert_eq!(judge(&[("mail.mydomain.fr", V::Invalid)], false, &ok), P::Fail(F::NoValidSignature));
    assert_eq!(judge(&[(own, V::Valid), ("amazonses.com", V::Valid)], true, &ok), P::Pass, "signed twice");
    let one_or_another = [
        (V::Trouble, own, U::Dns),
        (V::ValidEd25519, own, U::Ed25519Only),
        (V::Chance, own, U::Partly),
        (V::Valid, "amazonses.com", U::Partly),
    ];
    for (validity, domain, reason) in one_or_another {
        assert_eq!(judge(&[(own, V::Valid), (domain, validity)], false, &ok), P::Unknown(reason), "{validity:?}");
        assert_eq!(judge(&[(own, V::Valid), (domain, validity)], true, &ok), P::Pass, "{validity:?}");
    }
    assert_eq!(judge(&[(own, V::Valid), (own, V::Invalid)], false, &ok), P::Unknown(U::Partly), "one or the other");
    assert_eq!(judge(&[(own, V::Valid), (own, V::Invalid)], true, &ok), P::Pass, "both on each message");
    assert_eq!(judge(&[(own, V::Valid), (own, V::ValidEd25519)], true, &ok), P::Pass);
}

fn any_path() -> impl Strategy<Value = PathVerdict> {
    prop_oneof![
        Just(PathVerdict::Pass),
        proptest::sample::select(FailReason::ALL).prop_map(PathVerdict::Fail),
        proptest::sample::select(UnknownReason::ALL).prop_map(PathVerdict::Unknown),
    ]
}

fn any_validity() -> impl Strategy<Value = Validity> {
    use Validity as V;
    proptest::sample::select(vec![V::Valid, V::ValidEd25519, V::Invalid, V::Chance, V::Trouble])
}

proptest! {
    #[test]
    fn both_paths_together_follow_the_reference(spf in any_path(), dkim in any_path()) {
        let overall = AppleVerdict::of(spf, dkim).overall;
        let any = |test: fn(PathVerdict) -> bool| test(spf) || test(dkim);
        let passes = any(|path| path == PathVerdict::Pass);
        let unknown = any(|path| matches!(path, PathVerdict::Unknown(_)));
        prop_assert_eq!(overall == PathVerdict::Pass, passes);
        prop_assert_eq!(matches!(overall, PathVerdict::Unknown(_)), !passes && unknown);
        prop_assert_eq!(matches!(overall, PathVerdict::Fail(_)), !passes && !unknown);
    }

    #[test]
    fn nothing_unregistered_ever_passes(
        domain in "[a-c]{1,2}\\.(example|test)",
        sources in proptest::collection::vec(("([a-c]\\.)?[a-c]{1,2}\\.(example|test)", 0_i64..200), 0..6),
        validities in proptest::collection::vec(any_validity(), 0..4),
        every in any::<bool>(),
    ) {
        let sources: Vec<(&str, Option<i64>)> = sources.iter().map(|(text, days)| (text.as_str(), Some(*days))).collect();
        let all = inventory(&[&sources]);
        let from = name(&domain);
        let standing = all.standing(&from, None, None);
        let declared = sources.iter().any(|(text, days)| *text == domain && days.is_some_and(|days| days <= 90));
        let signatures: Vec<Signature> = validities.iter().map(|validity| signature(&domain, *validity)).collect();
        let (spf, dkim) = (by_spf(SpfSeen::Pass, &standing), by_dkim(&from, &signatures, every, &standing));
        prop_assert_eq!(spf == PathVerdict::Pass, declared);
        prop_assert!(dkim != PathVerdict::Pass || (declared && validities.contains(&Validity::Valid)));
        // More registrations never close a path.
        let mut more = sources.clone();
        more.push((domain.as_str(), Some(0)));
        let wider = inventory(&[&more]).standing(&from, None, None);
        prop_assert_eq!(by_spf(SpfSeen::Pass, &wider), PathVerdict::Pass);
        prop_assert!(dkim != PathVerdict::Pass || by_dkim(&from, &signatures, every, &wider) == PathVerdict::Pass);
    }

    #[test]
    fn any_text_is_a_source_or_not(text in "\\PC{0,60}") {
        if let Some(read) = Registered::parse(&text) {
            prop_assert_eq!(Registered::parse(&read.to_string()), Some(read));
        }
    }
}
