mod properties;

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

fn verdict(cause: Cause, hard: bool) -> Says {
    Says::Verdict { cause, fault: cause.fault(), hard, action: cause.action() }
}

/// A refusal as dead, of a message sent in the same millisecond.
fn dead(message: i64, millis: i64) -> Refusal {
    Refusal {
        message,
        at: at(millis),
        bin: at(millis).bin(),
        approximate: false,
        path: path("a.example"),
        exposed: true,
        class: FailureClass::Permanent,
        says: verdict(Cause::RecipientUnknown, true),
        judged: true,
    }
}

fn other(message: i64, millis: i64, cause: Cause) -> Refusal {
    Refusal { says: verdict(cause, false), ..dead(message, millis) }
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
    let of = |a: &[i64], b: &[i64]| {
        let mail = mail("a.example", a, &[]).mail.into_iter().chain(mail("b.example", b, &[]).mail).collect();
        advise(&two, &Surroundings { mail, ..nothing() })
    };
    assert_eq!(of(&[hours(1)], &[]).action, Action::Hold);
    assert_eq!(of(&[hours(1)], &[hours(24)]).action, Action::Suppress);
    for (a, b) in [(0, hours(24)), (hours(1), hours(-1))] {
        assert_eq!(
            names(&of(&[a], &[b])),
            ["no-delivery-since"],
            "each of the two has to deliver after the first refusal"
        );
    }
}

#[test]
fn the_path_must_have_delivered_after_the_first_refusal() {
    // One address: it works, its registration is lost, and nobody else is there to be refused.
    let (two, _) = proven();
    let with = |delivered: &[i64]| advise(&two, &mail("a.example", delivered, &[0, hours(24)]));
    for before in [&[hours(-1)] as &[i64], &[hours(-71), hours(-1)], &[0]] {
        let advice = with(before);
        assert_eq!((advice.action, names(&advice)), (Action::Hold, vec!["no-delivery-since"]), "{before:?}");
    }
    for since in [BIN_MILLIS, hours(12), hours(24), hours(72)] {
        assert_eq!(with(&[since]).action, Action::Suppress, "{since}");
    }
    // Within 72 hours of the last one only, while the first one has its delivery before.
    assert_eq!(with(&[hours(-1), hours(95)]).action, Action::Suppress);
    // A delivery of what was sent while the first message waited in a queue tells nothing of when that was refused.
    let queued = Refusal { bin: at(hours(-10)).bin(), ..dead(1, 0) };
    let advice = advise(&known(&[queued, dead(2, hours(24))]), &mail("a.example", &[hours(-5)], &[]));
    assert_eq!((advice.action, names(&advice)), (Action::Hold, vec!["no-delivery-since"]));
}

#[test]
fn somebody_elses_fault_without_a_delivery_between_voids_a_refusal() {
    let others =
        [Cause::RelaySenderUnregistered, Cause::AuthenticationFailed, Cause::RateLimited, Cause::ProviderOutage];
    let with = |fault: Refusal, delivered: &[i64]| {
        let delivered: Vec<i64> = delivered.iter().map(|hour| hours(*hour)).collect();
        advise(&known(&[dead(1, 0), fault, dead(2, hours(24))]), &mail("a.example", &delivered, &[]))
    };
    for cause in others {
        // The one `user not found` ever published came to a sender that was not registered.
        let advice = with(other(3, hours(12), cause), &[-1, 30]);
        let told = vec!["no-refusal-counts", "others-fault", "others-fault"];
        assert_eq!((advice.action, names(&advice)), (Action::Hold, told), "{cause}");
        let advice = with(other(3, hours(12), cause), &[-1, 6, 30]);
        assert_eq!((advice.action, names(&advice)), (Action::Hold, vec!["second-refusal-missing", "others-fault"]));
        let advice = with(other(3, hours(12), cause), &[-1, 18, 30]);
        assert_eq!((advice.action, names(&advice)), (Action::Hold, vec!["second-refusal-missing", "others-fault"]));
        assert_eq!(
            with(other(3, hours(12), cause), &[-1, 6, 18, 30]).action,
            Action::Suppress,
            "it was mended: {cause}"
        );
        assert_eq!(with(other(3, hours(12), cause), &[12, 30]).action, Action::Hold, "in its very five minutes");
        assert_eq!(with(other(3, hours(-500), cause), &[12]).action, Action::Hold, "however long ago");
        assert_eq!(with(other(3, hours(-500), cause), &[-60, 12]).action, Action::Suppress);
    }
    for own in [Cause::MailboxFull, Cause::RecipientUnknown, Cause::Undetermined] {
        assert_eq!(with(other(3, hours(12), own), &[-1, 30]).action, Action::Suppress, "{own}");
    }
    let apple = Says::Verdict { cause: Cause::Undetermined, fault: Fault::Apple, hard: false, action: Action::Hold };
    assert_eq!(
        with(Refusal { says: apple, ..dead(3, hours(12)) }, &[-1, 30]).action,
        Action::Hold,
        "a rule knows better"
    );
    let changed = Says::Changed(Cause::RelaySenderUnregistered);
    assert_eq!(with(Refusal { says: changed, ..dead(3, hours(12)) }, &[-1, 30]).action, Action::Hold);
    let elsewhere = Refusal { path: path("b.example"), ..other(3, hours(12), Cause::RelaySenderUnregistered) };
    assert_eq!(with(elsewhere, &[-1, 30]).action, Action::Suppress, "another path's");
    // It waited in a queue until after the delivery: what was refused last is not mended by what was sent before.
    let queued = Refusal { bin: at(hours(1)).bin(), ..other(3, hours(12), Cause::RelaySenderUnregistered) };
    assert_eq!(names(&with(queued, &[-1, 6, 30])), ["no-refusal-counts", "others-fault", "others-fault"]);
    // The latest one is in doubt, though two before it are not.
    let after = [dead(1, 0), dead(2, hours(24)), other(3, hours(30), Cause::PolicyRejected), dead(4, hours(31))];
    let advice = advise(&known(&after), &mail("a.example", &[hours(-1), hours(1), hours(25), hours(40)], &[]));
    assert_eq!((advice.action, names(&advice)), (Action::Hold, vec!["others-fault"]));
}

#[test]
fn what_begins_after_the_latest_refusal_holds() {
    let (two, _) = proven();
    let with = |delivered: &[i64], refused: &[i64]| {
        let refused: Vec<i64> = refused.iter().copied().chain([0, hours(24)]).collect();
        advise(&two, &mail("a.example", delivered, &refused))
    };
    let (delivered, now) = ([hours(-1), hours(1), hours(25)], vec![hours(300); 50]);
    let advice = with(&delivered, &now);
    assert_eq!((advice.action, names(&advice)), (Action::Hold, vec!["candidate-now"]), "no incident is open yet");
    assert!(advice.reasons[0].to_string().starts_with("50 other messages by "), "{}", advice.reasons[0]);
    assert_eq!(with(&delivered, &now[..2]).action, Action::Hold);
    assert_eq!(with(&delivered, &now[..1]).action, Action::Suppress, "one other is a chance");
    assert_eq!(with(&[hours(-1), hours(1), hours(25), hours(301)], &now).action, Action::Suppress, "it goes on");
    assert_eq!(with(&[hours(-1), hours(1), hours(25), hours(299)], &now).action, Action::Hold);
    // Its own refusals are no other's.
    let many: Vec<Refusal> = (0..9).map(|day| dead(day, hours(24 * day))).collect();
    let own: Vec<i64> = (0..9).map(|day| hours(24 * day)).collect();
    let around = mail("a.example", &[hours(-1), hours(20), hours(30)], &own);
    assert_eq!(advise(&known(&many), &around).action, Action::Suppress);
}

#[test]
fn messages_that_were_sent_together_are_no_pair() {
    let (_, around) = proven();
    let queued = |sent: i64| Refusal { bin: at(sent).bin(), ..dead(2, hours(24)) };
    let with = |second: Refusal| advise(&known(&[dead(1, 0), second]), &around);
    let advice = with(queued(0));
    assert_eq!(
        (advice.action, names(&advice)),
        (Action::Hold, vec!["sent-together"]),
        "it waited in a queue for a day"
    );
    assert_eq!(with(queued(hours(24) - BIN_MILLIS)).action, Action::Hold);
    assert_eq!(with(queued(hours(24))).action, Action::Suppress);
    // Where nobody tells when it was sent, it may have waited for five days.
    let around = mail("a.example", &[hours(-1), hours(24 * 6)], &[]);
    let of = |millis| advise(&known(&[dead(1, 0), Refusal { approximate: true, ..dead(2, millis) }]), &around);
    assert_eq!(names(&of(hours(24 * 6) - BIN_MILLIS)), ["sent-together"]);
    assert_eq!(of(hours(24 * 6)).action, Action::Suppress);
    let first = known(&[Refusal { approximate: true, ..dead(1, 0) }, dead(2, hours(24))]);
    assert_eq!(advise(&first, &proven().1).action, Action::Suppress, "the first one was sent before it was refused");
}

#[test]
fn where_a_delivery_may_be_forgotten_nothing_is_suppressed() {
    let (two, around) = proven();
    let with = |millis| advise(&Known { forgotten_before: Some(at(millis)), ..two.clone() }, &around);
    assert_eq!(with(0).action, Action::Suppress, "all that is forgotten was before both");
    let advice = with(1);
    assert_eq!((advice.action, names(&advice)), (Action::Hold, vec!["second-refusal-missing", "delivery-forgotten"]));
    assert_eq!(names(&with(hours(25))), ["no-refusal-counts", "delivery-forgotten", "delivery-forgotten"]);
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
    let dns = Refusal { says: verdict(Cause::DomainUnknown, true), ..dead(3, hours(25)) };
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
        void(Void::Candidate { path: path.clone(), others: 2 }),
        void(Void::Forgotten),
        void(Void::OthersFault { path: path.clone(), at: two, cause: Cause::RelaySenderUnregistered }),
        Reason::SentTogether { first: one, last: two },
        Reason::NoDeliverySince { first: one },
        Reason::CandidateNow { path, others: 50 },
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
