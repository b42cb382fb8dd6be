//! Incidents over a restart of the monitor: what it takes up again, and what it must not say twice.

use std::time::Duration;

use relaywatch::{
    clock::Clock,
    model::{HOUR_MILLIS, StreamLevel},
    store::{EventKey, IncidentRecord, IncidentState, NewEvent, OperatorWord},
};

use crate::{
    incidents::{Run, SLACK, TROUBLE, deliveries, gone, history, incidents, kinds, unauthorized},
    on_both_engines,
    support::{TestStore, at, monitor, stream},
};

/// The same events on another domain, as others.
fn elsewhere(test: &TestStore, events: Vec<NewEvent>, first: usize) -> Vec<NewEvent> {
    let moved = |(n, event): (usize, NewEvent)| NewEvent {
        key: EventKey { at: event.key.at, ..test.key(first + n, 0) },
        message: event.message + 10_000_000,
        stream: stream("shop.example.com", None),
        ..event
    };
    events.into_iter().enumerate().map(moved).collect()
}

/// Two addresses of each of 60 domains: too few for any of them.
fn diffuse(test: &TestStore) -> Vec<NewEvent> {
    let one = |n: i64| {
        let number = usize::try_from(n).expect("small");
        let millis = TROUBLE + 2 * HOUR_MILLIS + n * 5_000;
        NewEvent {
            key: test.key(number + 600_000, millis),
            message: 3_000_000 + n,
            sent_at: Some(at(millis)),
            stream: stream(&format!("d{}.example.com", n % 60), None),
            ..test.refused(number + 1_000, millis)
        }
    };
    (0..120).map(one).collect()
}

/// What a restart may not change of incidents.
async fn standing(test: &TestStore) -> Vec<(i64, IncidentState, i64, String, u64, u32)> {
    let found = incidents(test).await.into_iter();
    let mut all: Vec<_> = found
        .map(|(record, body)| {
            (record.id, record.state, record.onset.as_millis(), body.scope.to_string(), body.refused, body.pages)
        })
        .collect();
    all.sort_unstable_by_key(|one| one.0);
    all
}

on_both_engines! {
    async fn open_incidents_on_related_streams_stay_open_and_say_nothing_twice(test: TestStore) {
        let mut ordinary = history(&test);
        ordinary.extend(elsewhere(&test, history(&test), 4_000_000));
        let mut run = Run::begin(&test, ordinary, TROUBLE).await;
        run.clock.advance(Duration::from_mins(30));
        run.take(&test, gone(&test, 12)).await;
        run.take(&test, elsewhere(&test, gone(&test, 12), 5_000_000)).await;
        run.clock.advance(Duration::from_hours(2));
        run.take(&test, diffuse(&test)).await;
        let before = standing(&test).await;
        assert!(before.len() == 3 && before.iter().all(|one| one.1 == IncidentState::Open), "{before:?}");
        let levels: Vec<StreamLevel> = incidents(&test).await.iter().map(|(_, body)| body.scope.level).collect();
        assert!(levels.contains(&StreamLevel::Provider), "one holds the others' streams: {levels:?}");
        assert_eq!(kinds(&test).await, ["opened", "opened", "opened"]);

        for _ in 0..2 {
            run.monitor = monitor(&test, Clock::Manual(run.clock.clone()), SLACK);
            run.take(&test, Vec::new()).await;
            assert_eq!(standing(&test).await, before);
            assert_eq!(kinds(&test).await, [""; 0]);
        }

        // They are followed on: a refusal more belongs to the one that is open.
        let more = gone(&test, 13).pop().expect("one more");
        run.take(&test, vec![more]).await;
        let after = standing(&test).await;
        assert!(after.len() == 3 && after.iter().all(|one| one.1 == IncidentState::Open), "{after:?}");
        let refused = |all: &[(i64, IncidentState, i64, String, u64, u32)]| all.iter().map(|one| one.4).sum::<u64>();
        assert_eq!(refused(&after), refused(&before) + 1, "{after:?}");
        assert_eq!(kinds(&test).await, [""; 0]);
    }

    async fn an_incident_that_ended_is_known_however_many_ended_since(test: TestStore) {
        let mut run = Run::begin(&test, history(&test), TROUBLE).await;
        run.clock.advance(Duration::from_mins(30));
        run.take(&test, unauthorized(&test, 60)).await;
        run.clock.advance(Duration::from_hours(4));
        run.take(&test, deliveries(&test, 3_000, TROUBLE + 2 * HOUR_MILLIS, 1_000)).await;
        assert_eq!(kinds(&test).await, ["opened", "closed"]);
        let (record, mut body) = incidents(&test).await.remove(0);
        body.scope = stream("other.example.com", None);
        body.streams = vec![body.scope.clone()];
        let other = IncidentRecord {
            id: 0,
            state: IncidentState::Past,
            onset: at(TROUBLE + HOUR_MILLIS),
            closed_at: Some(at(TROUBLE + 2 * HOUR_MILLIS)),
            operator: OperatorWord::default(),
            body: body.to_value(),
            ..record
        };
        for _ in 0..1_001 {
            test.leader().save_incident(&other).await.expect("saved");
        }
        // Its alarms are in the ring still.
        run.monitor = monitor(&test, Clock::Manual(run.clock.clone()), SLACK);
        run.take(&test, Vec::new()).await;
        let states = [IncidentState::Open, IncidentState::Closed, IncidentState::Masked, IncidentState::Withdrawn];
        let found = test.store.incidents(&states, 10).await.expect("incidents");
        assert_eq!(found.iter().map(|one| one.id).collect::<Vec<_>>(), [record.id], "{found:?}");
        assert_eq!(test.store.incidents(&[IncidentState::Past], 2_000).await.expect("incidents").len(), 1_001);
        assert_eq!(kinds(&test).await, [""; 0]);
    }

    async fn ended_incidents_are_given_by_their_end(test: TestStore) {
        let ended = |state, onset: i64, closed: Option<i64>| IncidentRecord {
            id: 0, state, onset: at(onset), opened_at: at(onset), updated_at: at(onset), closed_at: closed.map(at),
            operator: OperatorWord::default(), body: serde_json::json!({}),
        };
        let mut ids = Vec::new();
        for record in [
            ended(IncidentState::Closed, 0, Some(99)),
            ended(IncidentState::Closed, 1, Some(100)),
            ended(IncidentState::Masked, 2, Some(200)),
            ended(IncidentState::Past, 3, Some(100)),
            // It ended before it began: late reports have moved its onset.
            ended(IncidentState::Closed, 150, Some(50)),
            ended(IncidentState::Withdrawn, 4, Some(200)),
            ended(IncidentState::Open, 5, None),
        ] {
            ids.push(test.leader().save_incident(&record).await.expect("saved"));
        }
        let found = test.store.ended_incidents(at(100)).await.expect("ended");
        let found: Vec<i64> = found.iter().map(|record| record.id).collect();
        assert_eq!(found, [ids[4], ids[3], ids[2], ids[1]], "newest onset first");
        assert!(test.store.ended_incidents(at(201)).await.expect("ended").is_empty());
    }
}
