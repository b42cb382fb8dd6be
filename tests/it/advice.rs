//! What to do about an address, from what the store holds, on both engines.

use std::sync::LazyLock;

use relaywatch::{
    classify::Rules,
    incident::{Body, advice::Advice},
    model::{Action, Cause, Destination, Exposure, HOUR_MILLIS, NoticeKind, StreamKey, StreamLevel},
    monitor::advice::Adviser,
    store::{
        EntryKind, IncidentRecord, IncidentState, LedgerRow, NewEntry, NewEvent, NewReply, OperatorWord, Submission,
    },
};

use crate::{
    incident::body,
    on_both_engines,
    support::{TestStore, at, stream, submission},
};

const DAY: i64 = 24 * HOUR_MILLIS;

/// A refusal of message `message` to relay address `number`.
fn refused(test: &TestStore, number: usize, message: usize, millis: i64) -> NewEvent {
    NewEvent { recipient: test.relay(number), ..test.refused(message, millis) }
}

fn delivered(test: &TestStore, number: usize, message: usize, millis: i64) -> NewEvent {
    NewEvent { recipient: test.relay(number), ..test.delivered(message, millis) }
}

fn says(event: NewEvent, template: &str, cause: Cause) -> NewEvent {
    let reply = event.reply.clone().map(|reply| NewReply { template: template.to_owned(), cause, ..reply });
    NewEvent { reply, ..event }
}

fn rules() -> Rules {
    static RULES: LazyLock<Rules> = LazyLock::new(|| Rules::built_in().expect("the built-in rules"));
    RULES.clone()
}

async fn id(test: &TestStore, number: usize) -> i64 {
    let hash = test.relay(number).hash;
    test.store.address_by_hash(&hash).await.expect("read").expect("known").id
}

async fn advice(test: &TestStore, number: usize) -> Option<Advice> {
    let mut adviser = Adviser::new(test.store.clone(), rules(), at(2 * DAY)).await.expect("an adviser");
    adviser.advise(id(test, number).await).await.expect("advice")
}

/// The action, and the reasons by name.
async fn brief(test: &TestStore, number: usize) -> (Action, Vec<&'static str>) {
    let advice = advice(test, number).await.expect("relay mail");
    (advice.action, advice.reasons.iter().map(relaywatch::incident::advice::Reason::name).collect())
}

/// Deliveries by the usual path to other addresses, in the same five minutes as the refusals.
fn path_delivers(test: &TestStore) -> Vec<NewEvent> {
    vec![delivered(test, 900, 900, 0), delivered(test, 901, 901, DAY)]
}

/// Two refusals as dead, a day apart.
fn twice(test: &TestStore, number: usize) -> [NewEvent; 2] {
    [refused(test, number, number * 10 + 1, 0), refused(test, number, number * 10 + 2, DAY)]
}

fn incident(state: IncidentState, scope: StreamKey) -> IncidentRecord {
    IncidentRecord {
        id: 0,
        state,
        onset: at(-HOUR_MILLIS),
        opened_at: at(0),
        updated_at: at(0),
        closed_at: (state != IncidentState::Open).then(|| at(HOUR_MILLIS)),
        operator: OperatorWord::default(),
        body: Body { scope, ..body() }.to_value(),
    }
}

on_both_engines! {
    async fn an_address_is_suppressed_only_by_two_refusals_of_a_path_that_delivers(test: TestStore) {
        let elsewhere = |event: NewEvent| NewEvent { stream: stream("misconfigured.example", None), ..event };
        let blind = |event: NewEvent| NewEvent {
            stream: stream("bounces-only.example", None), exposure: Exposure::None, ..event
        };
        let mut events = path_delivers(&test);
        events.extend(twice(&test, 1));
        events.push(refused(&test, 2, 21, 0));
        // A misconfigured sender: everybody is refused as unknown, day after day.
        for number in 30..60 {
            events.extend(twice(&test, number).map(elsewhere));
        }
        events.extend(twice(&test, 4));
        events.push(delivered(&test, 4, 43, 2 * DAY));
        events.extend(twice(&test, 5));
        let unregistered = refused(&test, 5, 53, 2 * DAY);
        events.push(says(unregistered, "550 5.1.1 <{sender}>: unauthorized sender", Cause::RelaySenderUnregistered));
        events.extend(twice(&test, 6).map(|event| says(event, "550 5.1.1 frobnicated", Cause::RecipientUnknown)));
        events.extend(twice(&test, 7).map(blind));
        // Accepted first and bounced later is refused.
        events.extend(twice(&test, 8));
        events.push(delivered(&test, 8, 82, DAY - 1_000));
        let batches: Vec<Submission> = events.rchunks(7).map(|chunk| submission(chunk.to_vec())).collect();
        test.store.commit(&batches).await.expect("commit");
        test.shown().await;
        assert_eq!(
            brief(&test, 1).await,
            (Action::Hold, vec!["no-refusal-counts", "not-judged", "not-judged"]),
            "the monitor has not looked at it"
        );
        test.fold_all().await;
        assert_eq!(brief(&test, 1).await, (Action::Suppress, vec!["dead-twice", "path-delivers"]));
        assert_eq!(brief(&test, 2).await, (Action::Hold, vec!["second-refusal-missing"]));
        for number in 30..60 {
            let told = vec!["no-refusal-counts", "no-delivery-by-path", "no-delivery-by-path"];
            assert_eq!(brief(&test, number).await, (Action::Hold, told), "nobody of a misconfigured sender is suppressed");
        }
        assert_eq!(brief(&test, 4).await, (Action::Keep, vec!["delivered-since"]));
        assert_eq!(brief(&test, 5).await, (Action::FixSender, vec!["latest-refusal"]));
        assert_eq!(brief(&test, 6).await, (Action::Hold, vec!["rules-changed"]));
        let bounces_only = advice(&test, 7).await.expect("relay mail");
        assert_eq!(bounces_only.action, Action::Hold);
        assert!(bounces_only.reasons[1].to_string().contains("reports refusals only"), "{bounces_only:?}");
        assert_eq!(brief(&test, 8).await.0, Action::Suppress);
        assert_eq!(brief(&test, 900).await, (Action::Keep, vec!["no-refusal"]));

        // The same again changes nothing; nor does it matter who is asked about before.
        test.store.commit(&batches).await.expect("commit");
        let mut one = Adviser::new(test.store.clone(), rules(), at(2 * DAY)).await.expect("an adviser");
        for number in [7, 30, 1, 8, 900, 4, 2, 6, 31, 5] {
            let told = one.advise(id(&test, number).await).await.expect("advice");
            assert_eq!(told, advice(&test, number).await, "address {number}");
        }
    }

    async fn own_rules_in_force_and_the_time_change_what_is_said(test: TestStore) {
        let mut events = path_delivers(&test);
        events.extend(twice(&test, 1).map(|event| NewEvent {
            reply: event.reply.clone().map(|reply| NewReply {
                template: "550 5.1.1 <{recipient}>: user not found".to_owned(),
                cause: Cause::RecipientUnknown,
                ..reply
            }),
            ..event
        }));
        events.push(refused(&test, 2, 21, 0));
        let silent = refused(&test, 3, 31, 0);
        events.push(NewEvent { stream: stream("silent.example", None), ..silent });
        test.store.commit(&[submission(events)]).await.expect("commit");
        test.fold_all().await;
        let own = "version = 1\n[[rule]]\nname = \"off\"\nreceiver = [\"apple-relay\"]\nwording = [\"user not found\"]\n\
                   cause = \"mailbox_disabled\"\nconfidence = 0.9\ndoc = \"us\"\n";
        let own = Rules::with_extra(&[("ours", own)]).expect("rules");
        let of = async |rules: &Rules, number: usize, now: i64| {
            let mut adviser = Adviser::new(test.store.clone(), rules.clone(), at(now)).await.expect("an adviser");
            adviser.advise(id(&test, number).await).await.expect("advice").expect("relay mail")
        };
        assert_eq!(of(&rules(), 1, 2 * DAY).await.action, Action::Suppress);
        let changed = of(&own, 1, 2 * DAY).await;
        assert_eq!((changed.action, changed.reasons[0].name()), (Action::Hold, "rules-changed"), "{changed:?}");

        let said = async |number: usize, now: i64| of(&rules(), number, now).await.reasons.last().expect("one").to_string();
        assert!(said(2, DAY - 1).await.ends_with("at the earliest"), "{}", said(2, DAY - 1).await);
        assert!(said(2, DAY).await.ends_with("any from now on will do"), "{}", said(2, DAY).await);
        // Cells are kept for 40 days: those of the three days before the refusal begin to go after 37.
        assert!(said(3, 36 * DAY).await.contains("the sender may be at fault"), "{}", said(3, 36 * DAY).await);
        assert!(said(3, 38 * DAY).await.contains("is no longer known"), "{}", said(3, 38 * DAY).await);
        // Where an incident is open, they are kept from 30 days before its onset.
        let open = incident(IncidentState::Open, stream("another.example", None));
        test.leader().save_incident(&open).await.expect("saved");
        assert!(said(3, 38 * DAY).await.contains("the sender may be at fault"), "{}", said(3, 38 * DAY).await);
    }

    async fn incidents_on_the_path_hold_the_address(test: TestStore) {
        let mut events = path_delivers(&test);
        events.extend(twice(&test, 1));
        test.store.commit(&[submission(events)]).await.expect("commit");
        test.fold_all().await;
        let leader = test.leader();
        let finest = stream("news.example.com", None);
        let provider = finest.at(StreamLevel::Provider).expect("a parent");
        let elsewhere = stream("other.example", None).at(StreamLevel::ProviderDomain).expect("a parent");
        leader.save_incident(&incident(IncidentState::Open, elsewhere)).await.expect("saved");
        leader.save_incident(&incident(IncidentState::Withdrawn, provider.clone())).await.expect("saved");
        assert_eq!(brief(&test, 1).await.0, Action::Suppress);
        let id = leader.save_incident(&incident(IncidentState::Open, provider.clone())).await.expect("saved");
        assert_eq!(brief(&test, 1).await, (Action::Hold, vec!["incident-open"]));
        let over = |state| IncidentRecord { id, ..incident(state, provider.clone()) };
        leader.save_incident(&over(IncidentState::Masked)).await.expect("saved");
        assert_eq!(brief(&test, 1).await, (Action::Hold, vec!["incident-masked"]));
        leader.save_incident(&over(IncidentState::Closed)).await.expect("saved");
        assert_eq!(brief(&test, 1).await, (Action::Hold, vec!["second-refusal-missing", "in-incident"]));
        test.store.label_incident(id, relaywatch::store::Label::False, at(3 * DAY)).await.expect("labelled");
        assert_eq!(brief(&test, 1).await.0, Action::Suppress, "an operator knows that there was nothing");
    }

    async fn the_latest_of_thousands_of_events_decide(test: TestStore) {
        let mut events = path_delivers(&test);
        events.extend((0..1_500).map(|message: usize| {
            delivered(&test, 1, 10_000 + message, -20 * DAY + i64::try_from(message).expect("small") * 60_000)
        }));
        events.extend(twice(&test, 1));
        test.store.commit(&[submission(events)]).await.expect("commit");
        test.fold_all().await;
        assert_eq!(brief(&test, 1).await.0, Action::Suppress);
    }

    async fn somebody_elses_fault_and_a_path_that_falls_silent_hold_the_address(test: TestStore) {
        const HOUR: i64 = HOUR_MILLIS;
        let by = |from: &str, event: NewEvent| NewEvent { stream: stream(from, None), ..event };
        let mut events = Vec::new();
        // Each case has a path of its own: what was delivered by it (by the hour), and two refusals as dead, a day apart.
        for (number, from, delivered_at) in [
            (10, "fault.example", vec![-1, 30]),
            (11, "mended.example", vec![-1, 6, 18, 30]),
            (12, "lost.example", vec![-1]),
            (13, "now.example", vec![-1, 1, 25]),
            (14, "queued.example", vec![-1, 30]),
            (15, "untold.example", vec![-1, 30]),
        ] {
            let others = delivered_at.into_iter().enumerate();
            events.extend(others.map(|(index, hour): (usize, i64)| {
                by(from, delivered(&test, number * 100 + index, number * 100 + index, hour * HOUR))
            }));
            let [first, mut second] = twice(&test, number).map(|event| by(from, event));
            if number == 14 {
                second.sent_at = Some(at(1_000));
            } else if number == 15 {
                second.sent_at = None;
            }
            events.extend([first, second]);
        }
        for (number, from) in [(10, "fault.example"), (11, "mended.example")] {
            let unregistered = by(from, refused(&test, number, number * 10 + 3, 12 * HOUR));
            let template = "550 5.1.1 <{sender}>: unauthorized sender";
            events.push(says(unregistered, template, Cause::RelaySenderUnregistered));
        }
        test.store.commit(&[submission(events)]).await.expect("commit");
        test.fold_all().await;
        let told = vec!["no-refusal-counts", "others-fault", "others-fault"];
        assert_eq!(brief(&test, 10).await, (Action::Hold, told), "the sender was not registered");
        assert_eq!(brief(&test, 11).await.0, Action::Suppress);
        assert_eq!(brief(&test, 12).await, (Action::Hold, vec!["no-delivery-since"]), "the path was not heard of since");
        assert_eq!(brief(&test, 13).await.0, Action::Suppress);
        assert_eq!(brief(&test, 14).await, (Action::Hold, vec!["sent-together"]), "one waited in a queue for a day");
        assert_eq!(brief(&test, 15).await, (Action::Hold, vec!["sent-together"]), "nobody tells when it was sent");

        // Days later everybody is refused, and no incident is open yet; it does not matter who is asked about before.
        let now = (0..50).map(|index| by("now.example", refused(&test, 5_000 + index, 5_000 + index, 300 * HOUR)));
        test.store.commit(&[submission(now.collect())]).await.expect("commit");
        test.fold_all().await;
        assert_eq!(brief(&test, 13).await, (Action::Hold, vec!["candidate-now"]));
        let mut one = Adviser::new(test.store.clone(), rules(), at(2 * DAY)).await.expect("an adviser");
        for number in [5_007, 13, 12, 11, 10] {
            let told = one.advise(id(&test, number).await).await.expect("advice");
            assert_eq!(told, advice(&test, number).await, "address {number}");
        }
    }

    async fn a_delivery_that_has_outlived_its_retention_still_undoes_what_was_refused(test: TestStore) {
        let mut events = vec![delivered(&test, 900, 900, HOUR_MILLIS), delivered(&test, 901, 901, 3 * DAY + HOUR_MILLIS)];
        events.push(refused(&test, 1, 11, 0));
        events.push(delivered(&test, 1, 12, 2 * DAY));
        // Accepted first and bounced later: the ledger's latest delivery, which counts for nothing.
        events.push(delivered(&test, 1, 13, 3 * DAY + HOUR_MILLIS));
        events.push(refused(&test, 1, 13, 3 * DAY + 2 * HOUR_MILLIS));
        test.store.commit(&[submission(events)]).await.expect("commit");
        test.fold_all().await;
        let held = async || {
            let address = id(&test, 1).await;
            test.store.events_of_address(address, 10).await.expect("read").len()
        };
        assert_eq!((held().await, brief(&test, 1).await), (4, (Action::Hold, vec!["second-refusal-missing"])));
        let expire = async |deliveries: i64| {
            let (now, refusals) = (at(deliveries + 14 * DAY).as_millis(), at(-365 * DAY).as_millis());
            test.leader().expire(now, at(deliveries).as_millis(), refusals).await.expect("expired");
        };
        expire(3 * DAY).await;
        let told = vec!["second-refusal-missing", "delivery-forgotten"];
        assert_eq!((held().await, brief(&test, 1).await), (3, (Action::Hold, told)));
        expire(4 * DAY).await;
        assert_eq!((held().await, brief(&test, 1).await), (2, (Action::Hold, vec!["second-refusal-missing"])));
    }

    async fn a_message_is_looked_at_as_a_whole_however_long_ago_its_refusal_is(test: TestStore) {
        let mut events = path_delivers(&test);
        // Called delivered when a thousand other events have come since it was refused.
        events.push(refused(&test, 1, 1, -DAY));
        events.push(delivered(&test, 1, 1, 2 * DAY));
        events.extend((0..1_000).map(|message: usize| {
            refused(&test, 1, 10_000 + message, i64::try_from(message).expect("small") * 120_000)
        }));
        test.store.commit(&[submission(events)]).await.expect("commit");
        test.fold_all().await;
        assert_eq!(brief(&test, 1).await, (Action::Suppress, vec!["dead-twice", "path-delivers"]));
    }

    async fn what_outlived_the_journal_and_what_is_no_relay_mail(test: TestStore) {
        let mut events = path_delivers(&test);
        events.extend(twice(&test, 1));
        events.extend(twice(&test, 2).map(|event| NewEvent { destination: Destination::Shared, ..event }));
        let notice = |number: usize, kind: NoticeKind, millis| NewEntry {
            key: test.key(5_000_000 + number, millis),
            kind: EntryKind::Notice,
            account: Some(test.subject("TEAM", &format!("sub{number}"))),
            address: Some(test.relay(number)),
            app: Some("com.example.app".to_owned()),
            body: serde_json::json!({ "kind": kind.as_str(), "team": "TEAM", "app": "com.example.app", "private": true }),
        };
        events.extend(twice(&test, 3));
        let entries = vec![notice(3, NoticeKind::EmailEnabled, DAY + 1)];
        let told = Submission { feed: "apple".to_owned(), entries, ..Submission::default() };
        test.store.commit(&[submission(events), told]).await.expect("commit");
        test.fold_all().await;
        assert_eq!(brief(&test, 1).await.0, Action::Suppress);
        assert_eq!(advice(&test, 2).await, None, "the rule is about relay addresses");
        assert_eq!(brief(&test, 3).await, (Action::Keep, vec!["enabled-since"]));
        // A delivery that the journal has let go of is still in the ledger.
        let row = test.store.ledger(id(&test, 1).await).await.expect("ledger").expect("a row");
        let cursor = test.store.cursor("monitor").await.expect("cursor");
        let fold = relaywatch::store::Fold {
            from: cursor,
            to: cursor,
            ledger: vec![LedgerRow { last_delivered_at: Some(at(DAY + 5)), ..row }],
            ..relaywatch::store::Fold::default()
        };
        test.leader().apply("monitor", &fold).await.expect("folded");
        assert_eq!(brief(&test, 1).await, (Action::Keep, vec!["delivered-since"]));
    }
}
