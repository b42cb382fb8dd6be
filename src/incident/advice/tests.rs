use proptest::prelude::*;

use super::*;
use crate::model::Provider;

/// 2026-01-01T00:00:00Z, at the begin of a bin.
const T0: i64 = 1_767_225_600_000;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(T0 + millis)
}

fn hours(hours: i64) -> i64 {
    hours * HOUR_MILLIS
}

fn path(envelope: &str) -> StreamKey {
    let finest = StreamKey::finest(Provider::Ses, Some("news.example".to_owned()), Some(envelope.to_owned()), None);
    finest.at(crate::model::StreamLevel::Envelope).expect("a path")
}

/// A refusal as dead, of a message sent in the same millisecond.
fn dead(message: i64, millis: i64) -> Refusal {
    Refusal {
        message,
        at: at(millis),
        bin: at(millis).bin(),
        path: path("a.example"),
        exposed: true,
        class: FailureClass::Permanent,
        says: Says::Verdict { cause: Cause::RecipientUnknown, hard: true, action: Action::Hold },
        judged: true,
    }
}

fn other(message: i64, millis: i64, cause: Cause) -> Refusal {
    Refusal { says: Says::Verdict { cause, hard: false, action: cause.action() }, ..dead(message, millis) }
}

fn known(refusals: &[Refusal]) -> Known {
    Known { refusals: refusals.to_vec(), ..Known::default() }
}

/// Nothing else was sent, and all of it would be known.
const fn nothing() -> Surroundings {
    Surroundings::new(Timestamp::from_millis(T0), Bin(i64::MIN))
}

/// Mail of a path: deliveries and refusals, each by its send time.
fn mail(envelope: &str, delivered: &[i64], refused: &[i64]) -> Surroundings {
    let mut bins: BTreeMap<Bin, Mail> = BTreeMap::new();
    for millis in delivered {
        bins.entry(at(*millis).bin()).or_default().delivered += 1;
    }
    for millis in refused {
        bins.entry(at(*millis).bin()).or_default().refused += 1;
    }
    Surroundings { mail: BTreeMap::from([(path(envelope), bins)]), ..nothing() }
}

fn trouble(state: IncidentState, scope: StreamKey, onset: i64, end: Option<i64>) -> Trouble {
    Trouble { incident: 7, state, label: None, scope, onset: at(onset), closed_at: end.map(at) }
}

fn names(advice: &Advice) -> Vec<&'static str> {
    advice.reasons.iter().map(Reason::name).collect()
}

fn notice(kind: NoticeKind, millis: i64) -> AddressNotice {
    AddressNotice { address: 1, at: at(millis), kind }
}

/// Two refusals a day apart, with deliveries around each.
fn proven() -> (Known, Surroundings) {
    (known(&[dead(1, 0), dead(2, hours(24))]), mail("a.example", &[hours(-1), hours(1), hours(25)], &[0, hours(24)]))
}

#[test]
fn two_refusals_a_day_apart_by_a_path_that_delivers_suppress() {
    let (known, around) = proven();
    let advice = advise(&known, &around);
    assert_eq!(advice.action, Action::Suppress);
    let said: Vec<String> = advice.reasons.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "refused as dead at 2026-01-01T00:00:00Z and again at 2026-01-02T00:00:00Z, at least 24 h apart",
            "the path of each delivered to relay addresses within 72 h of it, and no incident has to do with it",
        ]
    );
    let forwarding = other(1, 0, Cause::RelayForwardingDisabled);
    let known = super::tests::known(&[forwarding, dead(2, hours(24))]);
    assert_eq!(advise(&known, &around).action, Action::Suppress, "a forwarding that is off is such a refusal");
}

#[test]
fn a_second_refusal_counts_after_24_hours_exactly() {
    let around = mail("a.example", &[hours(-1), hours(30)], &[]);
    let advice = advise(&known(&[dead(1, 0), dead(2, hours(24) - 1)]), &around);
    assert_eq!(advice.action, Action::Hold);
    let missing = [Reason::SecondMissing { first: at(0), earliest: Some(at(hours(24))) }];
    assert_eq!(advice.reasons, missing);
    assert_eq!(
        advice.reasons[0].to_string(),
        "refused as dead at 2026-01-01T00:00:00Z; a second such refusal, at least 24 h later, is missing: \
         2026-01-02T00:00:00Z at the earliest"
    );
    assert_eq!(advise(&known(&[dead(1, 0)]), &around).reasons, missing);
    assert_eq!(advise(&known(&[dead(1, 0), dead(2, hours(24))]), &around).action, Action::Suppress);
    let many: Vec<Refusal> = (0..9).map(|number| dead(number, hours(number * 3))).collect();
    assert_eq!(advise(&known(&many), &around).action, Action::Suppress, "whatever lies between");
}

#[test]
fn the_path_must_have_delivered_within_72_hours_of_each() {
    let two = known(&[dead(1, 0), dead(2, hours(200))]);
    let with = |delivered: &[i64]| advise(&two, &mail("a.example", delivered, &[]));
    let bin = BIN_MILLIS;
    assert_eq!(with(&[hours(-72), hours(272)]).action, Action::Suppress, "72 hours to either side are near enough");
    assert_eq!(with(&[hours(72), hours(128)]).action, Action::Suppress);
    for far in
        [[hours(-72) - bin, hours(200)], [hours(72) + bin, hours(200)], [0, hours(272) + bin], [0, hours(128) - bin]]
    {
        let advice = with(&far);
        assert_eq!(
            (advice.action, names(&advice)),
            (Action::Hold, vec!["second-refusal-missing", "no-delivery-by-path"])
        );
    }
    let advice = advise(&two, &mail("b.example", &[0, hours(200)], &[]));
    assert_eq!(
        names(&advice),
        ["no-refusal-counts", "no-delivery-by-path", "no-delivery-by-path"],
        "what another path delivers proves nothing"
    );
}

#[test]
fn each_refusal_is_held_against_its_own_path() {
    let second = Refusal { path: path("b.example"), ..dead(2, hours(24)) };
    let two = known(&[dead(1, 0), second]);
    let (a, b) = (mail("a.example", &[0], &[]), mail("b.example", &[hours(24)], &[]));
    assert_eq!(advise(&two, &a).action, Action::Hold);
    let both = Surroundings { mail: a.mail.into_iter().chain(b.mail).collect(), ..nothing() };
    assert_eq!(advise(&two, &both).action, Action::Suppress);
}

#[test]
fn a_misconfigured_sender_empties_no_list() {
    // 200 relay addresses, each refused as `user not found` daily for a week, by a path by which nothing arrives.
    let sent: Vec<i64> = (0..7).flat_map(|day| vec![hours(24 * day); 200]).collect();
    let refusals: Vec<Refusal> = (0..7).map(|day| dead(day, hours(24 * day))).collect();
    let blind: Vec<Refusal> = refusals.iter().map(|refusal| Refusal { exposed: false, ..refusal.clone() }).collect();
    let never = mail("a.example", &[], &sent);
    let advice = advise(&known(&refusals), &never);
    assert_eq!(advice.action, Action::Hold);
    let told =
        ["no-refusal-counts", "no-delivery-by-path", "no-delivery-by-path", "no-delivery-by-path", "more-do-not-count"];
    assert_eq!(names(&advice), told);
    assert!(advice.reasons[1].to_string().contains("the sender may be at fault"), "{}", advice.reasons[1]);
    let advice = advise(&known(&blind), &never);
    assert_eq!((advice.action, names(&advice)), (Action::Hold, told.to_vec()));
    assert!(advice.reasons[1].to_string().contains("reports refusals only"), "{}", advice.reasons[1]);
    // It worked until an hour before, which is within 72 hours of the first four, and works again at the end.
    let until = mail("a.example", &[hours(-2), hours(-1), hours(150)], &sent);
    let advice = advise(&known(&refusals), &until);
    assert_eq!((advice.action, names(&advice)[1]), (Action::Hold, "candidate-incident"));
    // Few recipients, too few for any alarm.
    let few: Vec<i64> = (0..2).flat_map(|day| vec![hours(24 * day); 3]).collect();
    let advice = advise(&known(&refusals[..2]), &mail("a.example", &[hours(-1)], &few));
    assert_eq!(
        (advice.action, names(&advice)),
        (Action::Hold, vec!["no-refusal-counts"; 1].into_iter().chain(["candidate-incident"; 2]).collect())
    );
}

#[test]
fn others_among_deliveries_are_no_candidate() {
    let (two, _) = proven();
    let with = |delivered: &[i64], others: &[i64]| {
        let refused: Vec<i64> = others.iter().copied().chain([0, hours(24)]).collect();
        advise(&two, &mail("a.example", delivered, &refused)).action
    };
    assert_eq!(with(&[0, hours(24)], &[0; 50]), Action::Suppress, "delivered in the same five minutes");
    assert_eq!(with(&[hours(-1), hours(1), hours(23)], &[hours(-2), hours(2), hours(22)]), Action::Suppress);
    assert_eq!(with(&[hours(-1), hours(23)], &[hours(-2), hours(30)]), Action::Suppress, "one other is a chance");
    assert_eq!(with(&[hours(-1), hours(23)], &[hours(30), hours(31)]), Action::Hold, "from then on nothing arrives");
    assert_eq!(with(&[hours(5)], &[]), Action::Suppress, "its own refusals are no other's");
}

#[test]
fn incidents_that_go_on_hold_everything_on_their_streams() {
    let (two, around) = proven();
    let finest = StreamKey::finest(
        Provider::Ses,
        Some("news.example".to_owned()),
        Some("a.example".to_owned()),
        Some("x".to_owned()),
    );
    let under = |troubles: &[Trouble]| advise(&two, &Surroundings { troubles: troubles.to_vec(), ..around.clone() });
    let related = [path("a.example"), finest].into_iter().chain(path("a.example").parents());
    for scope in related {
        // Whenever it began: what goes on now may be what was refused then.
        let open = trouble(IncidentState::Open, scope.clone(), hours(100), None);
        let advice = under(std::slice::from_ref(&open));
        assert_eq!((advice.action, names(&advice)), (Action::Hold, vec!["incident-open"]), "{scope}");
        let labelled = Trouble { label: Some(Label::False), ..open };
        assert_eq!(under(&[labelled]).action, Action::Hold, "to end it there is `close`");
        let masked = trouble(IncidentState::Masked, scope.clone(), hours(-900), Some(hours(-800)));
        let advice = under(std::slice::from_ref(&masked));
        assert_eq!((advice.action, names(&advice)), (Action::Hold, vec!["incident-masked"]), "{scope}");
        assert!(advice.reasons[0].to_string().contains("relaywatch incident close 7"));
        assert_eq!(under(&[Trouble { label: Some(Label::False), ..masked }]).action, Action::Suppress);
        assert_eq!(under(&[trouble(IncidentState::Withdrawn, scope, 0, None)]).action, Action::Suppress);
    }
    for elsewhere in [path("b.example"), StreamKey::finest(Provider::Braze, None, None, None)] {
        assert_eq!(under(&[trouble(IncidentState::Open, elsewhere, 0, None)]).action, Action::Suppress);
    }
}

#[test]
fn what_was_refused_in_an_incident_counts_for_nothing() {
    let (two, around) = proven();
    let with = |state, label, onset, end| {
        let trouble = Trouble { label, ..trouble(state, StreamKey::fleet(), onset, Some(end)) };
        advise(&two, &Surroundings { troubles: vec![trouble], ..around.clone() })
    };
    for state in [IncidentState::Closed, IncidentState::Past] {
        for label in [None, Some(Label::Real), Some(Label::Benign)] {
            let advice = with(state, label, hours(-5), 0);
            assert_eq!((advice.action, names(&advice)), (Action::Hold, vec!["second-refusal-missing", "in-incident"]));
            assert_eq!(with(state, label, hours(24), hours(30)).action, Action::Hold, "its very onset");
        }
        assert_eq!(with(state, Some(Label::False), hours(-5), hours(50)).action, Action::Suppress);
        assert_eq!(with(state, None, 1, hours(24) - 1).action, Action::Suppress, "between the two");
    }
    // Refused before and after an incident: what lies in it neither helps nor harms.
    let three = known(&[dead(1, 0), dead(2, hours(12)), dead(3, hours(24))]);
    let closed = trouble(IncidentState::Closed, StreamKey::fleet(), hours(11), Some(hours(13)));
    let advice = advise(&three, &Surroundings { troubles: vec![closed], ..around });
    assert_eq!(advice.action, Action::Suppress);
}

#[test]
fn reports_of_one_message_are_one_refusal() {
    let (_, around) = proven();
    let once = [dead(1, 0), dead(1, hours(24)), dead(1, hours(48))];
    let advice = advise(&known(&once), &around);
    assert_eq!((advice.action, names(&advice)), (Action::Hold, vec!["second-refusal-missing"]));
    let unsure = [dead(1, 0), dead(2, hours(24)), other(2, hours(24) + 1, Cause::PolicyRejected)];
    let advice = advise(&known(&unsure), &around);
    assert_eq!(
        (advice.action, names(&advice)),
        (Action::FixSender, vec!["latest-refusal"]),
        "where they differ, it is not said"
    );
}

#[test]
fn what_arrives_undoes_what_was_refused_before() {
    let (two, around) = proven();
    let delivered = |millis| advise(&Known { delivered_at: Some(at(millis)), ..two.clone() }, &around);
    let advice = delivered(hours(24));
    assert_eq!((advice.action, names(&advice)), (Action::Keep, vec!["delivered-since"]));
    let advice = delivered(hours(24) - 1);
    assert_eq!((advice.action, names(&advice)), (Action::Hold, vec!["second-refusal-missing"]), "one of two stands");
    assert_eq!(delivered(-1).action, Action::Suppress);
    let told = |notices: &[AddressNotice]| advise(&Known { notices: notices.to_vec(), ..two.clone() }, &around);
    let advice = told(&[notice(NoticeKind::EmailEnabled, hours(25)), notice(NoticeKind::EmailDisabled, hours(1))]);
    assert_eq!((advice.action, names(&advice)), (Action::Keep, vec!["enabled-since"]));
    assert_eq!(told(&[notice(NoticeKind::EmailEnabled, -1)]).action, Action::Suppress);
    let nothing = advise(&Known { delivered_at: Some(at(0)), ..Known::default() }, &around);
    assert_eq!((nothing.action, names(&nothing)), (Action::Keep, vec!["no-refusal"]));
}

#[test]
fn the_users_own_word_goes_before_all() {
    let (two, around) = proven();
    let revoked = vec![notice(NoticeKind::ConsentRevoked, hours(2)), notice(NoticeKind::EmailEnabled, hours(30))];
    let advice = advise(&Known { notices: revoked, ..two.clone() }, &around);
    assert_eq!((advice.action, names(&advice)), (Action::Hold, vec!["consent-revoked", "enabled-since"]));
    let advice = advise(&Known { complained: true, ..two }, &around);
    assert_eq!((advice.action, names(&advice)[0]), (Action::Suppress, "complained"));
    let advice = advise(&Known { unsubscribed: true, ..Known::default() }, &around);
    assert_eq!((advice.action, names(&advice)), (Action::Hold, vec!["unsubscribed", "no-refusal"]));
}

#[test]
fn the_latest_reply_of_another_kind_stands() {
    let (_, around) = proven();
    let after = |last: Refusal| advise(&known(&[dead(1, 0), dead(2, hours(24)), last]), &around);
    let advice = after(other(3, hours(25), Cause::RelaySenderUnregistered));
    assert_eq!((advice.action, names(&advice)), (Action::FixSender, vec!["latest-refusal"]));
    assert_eq!(after(other(3, hours(25), Cause::MailboxFull)).action, Action::Retry);
    assert_eq!(after(other(3, hours(25), Cause::Undetermined)).action, Action::Hold);
    let full = Refusal { class: FailureClass::Transient, ..other(3, hours(25), Cause::MailboxFull) };
    assert_eq!(after(full).action, Action::Retry, "given up after temporary failures");
    let hard = Says::Verdict { cause: Cause::DomainUnknown, hard: true, action: Action::Hold };
    let dns = Refusal { says: hard, ..dead(3, hours(25)) };
    assert_eq!(after(dns).action, Action::Hold, "a relay domain is there, whatever name servers say");
    assert_eq!(after(other(3, hours(25), Cause::RecipientUnknown)).action, Action::Hold, "not hard");
    let advice = after(Refusal { says: Says::Changed(Cause::RecipientUnknown), ..dead(3, hours(25)) });
    assert_eq!((advice.action, names(&advice)), (Action::Hold, vec!["rules-changed"]));
    let advice = after(Refusal { says: Says::Nothing, ..dead(3, hours(25)) });
    assert!(advice.reasons[0].to_string().ends_with("came without a reply"), "{}", advice.reasons[0]);
    let earlier = advise(&known(&[other(1, 0, Cause::PolicyRejected), dead(2, hours(24))]), &around);
    assert_eq!((earlier.action, names(&earlier)), (Action::Hold, vec!["second-refusal-missing"]));
}

#[test]
fn nothing_is_advised_on_what_is_not_judged() {
    let (_, around) = proven();
    let fresh = Refusal { judged: false, ..dead(3, hours(25)) };
    let advice = advise(&known(&[dead(1, 0), dead(2, hours(24)), fresh]), &around);
    assert_eq!((advice.action, names(&advice)), (Action::Hold, vec!["not-judged"]));
}

#[test]
fn what_the_provider_suppresses_tells_nothing_more() {
    let (two, around) = proven();
    let one = Known { refusals: two.refusals[..1].to_vec(), removed_at: Some(at(hours(30))), ..Known::default() };
    assert_eq!(names(&advise(&one, &around)), ["second-refusal-missing", "removed-by-provider"]);
    let never = advise(&Known { removed_at: Some(at(1)), delivered_at: Some(at(0)), ..Known::default() }, &around);
    assert_eq!(never.action, Action::Hold);
    let since = advise(&Known { removed_at: Some(at(1)), delivered_at: Some(at(1)), ..Known::default() }, &around);
    assert_eq!(since.action, Action::Keep);
}

#[test]
fn what_the_time_makes_of_the_words() {
    let around = mail("a.example", &[hours(-1)], &[]);
    let one = known(&[dead(1, 0)]);
    let missing = |now: i64| advise(&one, &Surroundings { now: at(now), ..around.clone() }).reasons;
    let earliest = |now: i64| match missing(now)[..] {
        [Reason::SecondMissing { earliest, .. }] => earliest,
        _ => panic!("a second one is missing"),
    };
    assert_eq!(earliest(hours(24) - 1), Some(at(hours(24))));
    assert_eq!(earliest(hours(24)), None, "any from now on");

    let silent = |known_from: i64, exposed: bool| {
        let one = known(&[Refusal { exposed, ..dead(1, 0) }]);
        names(&advise(&one, &Surroundings { known_from: at(known_from).bin(), ..nothing() }))
    };
    assert_eq!(silent(hours(-72), true), ["no-refusal-counts", "no-delivery-by-path"], "all of it is known");
    assert_eq!(silent(hours(-71), true), ["no-refusal-counts", "path-not-known-any-more"]);
    assert_eq!(silent(hours(-71), false), ["no-refusal-counts", "no-delivery-by-path"], "it never was");
    assert_eq!(
        advise(&one, &Surroundings { known_from: at(hours(72)).bin(), ..around }).reasons.len(),
        1,
        "what is known counts"
    );
}

#[test]
fn the_words_beside_the_action_fit_the_case() {
    let advice = |action, reasons: &[Reason]| Advice { action, reasons: reasons.to_vec() }.in_words();
    let removed = Reason::RemovedByProvider { at: at(0) };
    let mut lines = Vec::new();
    for action in [Action::Suppress, Action::Keep, Action::Hold, Action::FixSender, Action::Retry] {
        lines.push(format!("{action}: {}", advice(action, &[Reason::NoRefusal])));
        lines.push(format!("{action}, removed by provider: {}", advice(action, std::slice::from_ref(&removed))));
    }
    insta::assert_snapshot!("in_words", lines.join("\n"));
    for word in OwnWord::ALL {
        for action in [Action::Suppress, Action::Hold, Action::FixSender, Action::Retry] {
            let said = advice(action, &[Reason::OwnWord(*word), removed.clone()]);
            assert_eq!(said, "mail nothing to it until its user comes back", "{action}");
        }
    }
}

#[test]
fn every_reason_is_a_sentence_and_a_name() {
    let (one, two, path) = (at(0), at(hours(24)), path("a.example"));
    let void = |void: Void| Reason::CountsNot { at: one, void };
    let incident = |masked| Reason::Incident { incident: 7, masked, scope: StreamKey::fleet(), onset: one };
    let mut all = vec![
        Reason::NoRefusal,
        Reason::DeliveredSince { at: one },
        Reason::EnabledSince { at: one },
        Reason::DeadTwice { first: one, last: two },
        Reason::PathDelivers,
        Reason::SecondMissing { first: one, earliest: Some(two) },
        Reason::SecondMissing { first: one, earliest: None },
        Reason::NoneCounts { refusals: 1 },
        Reason::NoneCounts { refusals: 2 },
        void(Void::Incident { incident: 7 }),
        void(Void::NotJudged),
        void(Void::NoDelivery { path: path.clone(), exposed: true }),
        void(Void::NoDelivery { path: path.clone(), exposed: false }),
        void(Void::NotKnown { path: path.clone() }),
        void(Void::Candidate { path, others: 2 }),
        Reason::MoreCountNot { refusals: 1 },
        Reason::MoreCountNot { refusals: 2 },
        incident(false),
        incident(true),
        Reason::LatestSays { at: one, cause: Some(Cause::RelaySenderUnregistered) },
        Reason::LatestSays { at: one, cause: None },
        Reason::RulesChanged { at: one, cause: Cause::RecipientUnknown },
        Reason::RemovedByProvider { at: one },
    ];
    all.extend(OwnWord::ALL.iter().map(|word| Reason::OwnWord(*word)));
    let lines: Vec<String> = all.iter().map(|reason| format!("{}: {reason}", reason.name())).collect();
    insta::assert_snapshot!("reasons", lines.join("\n"));
    let json = serde_json::to_value(&all[0]).expect("JSON");
    assert_eq!(json, serde_json::json!({ "reason": "no-refusal", "text": "no refusal of it is known" }));
}

fn any_refusal() -> impl Strategy<Value = Refusal> {
    let cause = prop::sample::select(vec![
        Cause::RecipientUnknown,
        Cause::RecipientUnknown,
        Cause::RecipientUnknown,
        Cause::RelayForwardingDisabled,
        Cause::RelaySenderUnregistered,
        Cause::MailboxFull,
    ]);
    (0_i64..6, 0_i64..11, cause, any::<[bool; 3]>(), 0_u8..10, any::<bool>()).prop_map(
        |(message, half_day, cause, [hard, permanent, second], rare, exposed)| Refusal {
            path: path(if second { "a.example" } else { "b.example" }),
            exposed,
            class: if permanent || rare > 1 { FailureClass::Permanent } else { FailureClass::Transient },
            says: match rare {
                4 => Says::Nothing,
                5 => Says::Changed(cause),
                _ => Says::Verdict { cause, hard: cause == Cause::RecipientUnknown && hard, action: cause.action() },
            },
            judged: rare != 6,
            ..dead(message, hours(12 * half_day))
        },
    )
}

fn any_surroundings() -> impl Strategy<Value = Surroundings> {
    let bins = || prop::collection::btree_map(-100_i64..220, (0_i64..2, 0_i64..3), 0..40);
    let state = prop::sample::select(IncidentState::ALL.to_vec());
    let label = prop::sample::select(vec![None, Some(Label::Real), Some(Label::False)]);
    let trouble =
        (state, label, -50_i64..150, 0_i64..60, any::<bool>()).prop_map(|(state, label, onset, long, here)| {
            let scope = path(if here { "a.example" } else { "c.example" });
            Trouble { label, ..trouble(state, scope, hours(onset), Some(hours(onset + long))) }
        });
    (bins(), bins(), prop::collection::vec(trouble, 0..2)).prop_map(|(a, b, troubles)| {
        let mail = |bins: BTreeMap<i64, (i64, i64)>| -> BTreeMap<Bin, Mail> {
            bins.into_iter()
                .map(|(hour, (delivered, refused))| (at(hours(hour)).bin(), Mail { delivered, refused }))
                .collect()
        };
        let mail = BTreeMap::from([(path("a.example"), mail(a)), (path("b.example"), mail(b))]);
        Surroundings { mail, troubles, ..nothing() }
    })
}

proptest! {
    #[test]
    fn any_order_and_any_duplicates_end_in_the_same_advice(
        refusals in prop::collection::vec(any_refusal(), 0..12),
        around in any_surroundings(),
        shift in any::<prop::sample::Index>(),
        again in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        delivered in prop::option::of(-10_i64..100),
    ) {
        let delivered_at = delivered.map(|hour| at(hours(hour)));
        let of = |refusals: Vec<Refusal>| advise(&Known { refusals, delivered_at, ..Known::default() }, &around);
        let reference = of(refusals.clone());
        prop_assert!(!reference.reasons.is_empty());
        let mut shuffled = refusals.clone();
        if !refusals.is_empty() {
            shuffled.extend(again.iter().map(|index| refusals[index.index(refusals.len())].clone()));
            let by = shift.index(shuffled.len());
            shuffled.rotate_left(by);
        }
        shuffled.reverse();
        prop_assert_eq!(of(shuffled), reference);
    }

    #[test]
    fn what_is_suppressed_keeps_every_rule(
        refusals in prop::collection::vec(any_refusal(), 0..12),
        around in any_surroundings(),
    ) {
        let advice = advise(&known(&refusals), &around);
        let proves = |refusal: &Refusal| {
            let mail = around.mail.get(&refusal.path).into_iter().flatten();
            refusal.is_dead()
                && refusal.judged
                && mail.clone().any(|(bin, mail)| mail.delivered > 0 && (bin.0 - refusal.bin.0).abs() <= 864)
        };
        if advice.action == Action::Suppress {
            let times: Vec<Timestamp> = refusals.iter().filter(|one| proves(one)).map(|one| one.at).collect();
            let (first, last) = (times.iter().min().expect("two"), times.iter().max().expect("two"));
            prop_assert!(last.millis_since(*first) >= AGAIN_MILLIS);
            let mut messages: Vec<i64> = refusals.iter().filter(|one| proves(one)).map(|one| one.message).collect();
            messages.sort_unstable();
            messages.dedup();
            prop_assert!(messages.len() >= 2);
            let all_in = |scope: &StreamKey| refusals.iter().all(|one| one.path == *scope);
            let open = |trouble: &Trouble| trouble.state == IncidentState::Open && all_in(&trouble.scope);
            prop_assert!(!around.troubles.iter().any(open));
        }
    }

    #[test]
    fn mail_that_lies_further_off_changes_nothing(
        refusals in prop::collection::vec(any_refusal(), 0..12),
        around in any_surroundings(),
        far in prop::collection::vec((any::<bool>(), 0_i64..5_000, 0_i64..3, 0_i64..3), 0..9),
    ) {
        let before = advise(&known(&refusals), &around);
        let mut more = around.clone();
        for (late, bins, delivered, refused) in far {
            let bin = if late { at(hours(120)).bin().0 + 865 + bins } else { at(0).bin().0 - 865 - bins };
            for mail in more.mail.values_mut() {
                mail.insert(Bin(bin), Mail { delivered, refused });
            }
        }
        // What lies further off than 72 hours of all refusals; nearer mail stays.
        let near = |mail: &BTreeMap<Bin, Mail>| -> BTreeMap<Bin, Mail> {
            let (from, to) = (at(0).bin().0 - 864, at(hours(120)).bin().0 + 864);
            mail.range(Bin(from)..=Bin(to)).map(|(bin, mail)| (*bin, *mail)).collect()
        };
        let same = around.mail.iter().all(|(path, mail)| more.mail.get(path).map(near) == Some(near(mail)));
        prop_assert!(same);
        prop_assert_eq!(advise(&known(&refusals), &more), before);
    }
}
