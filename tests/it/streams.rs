//! A sender who puts an id of each mail into the campaign's name brings down neither memory, nor store, nor judgement.

use std::time::{Duration, Instant};

use relaywatch::{
    clock::{Clock, ManualClock},
    incident::Body,
    model::{DAY_MILLIS, HOUR_MILLIS, MINUTE_MILLIS, StreamKey, StreamLevel},
    store::{IncidentState, NewEvent},
};
use tokio_util::sync::CancellationToken;

use crate::{
    on_both_engines,
    support::{Engine, TestStore, at, fresh_store, monitor, stream, submission},
};

/// A mail with a campaign of its own.
fn mail(test: &TestStore, number: usize, millis: i64, refused: bool) -> NewEvent {
    let person = number % 5_000;
    let event = if refused { test.refused(person, millis) } else { test.delivered(person, millis) };
    NewEvent {
        key: test.key(10_000_000 + number, millis),
        message: i64::try_from(number).expect("small") + 1,
        sent_at: Some(at(millis)),
        stream: stream("flood.example.com", Some(&format!("mail-{number}"))),
        ..event
    }
}

/// 25 quiet days, then a purge: every mail of a campaign of its own.
async fn flood(test: &TestStore, mails: usize, purge: usize) -> Duration {
    let trouble = 25 * DAY_MILLIS + 6 * HOUR_MILLIS;
    let clock = ManualClock::new(at(trouble + 2 * HOUR_MILLIS));
    let mut monitor = monitor(test, Clock::Manual(clock), "");
    let step = 25 * DAY_MILLIS / i64::try_from(mails).expect("small");
    let begun = Instant::now();
    let mut number = 0;
    while number < mails + purge {
        let batch: Vec<NewEvent> = (number..(number + 5_000).min(mails + purge))
            .map(|n| match n.checked_sub(mails) {
                None => mail(test, n, i64::try_from(n).expect("small") * step, n % 250 == 3),
                Some(late) => mail(test, n, trouble + i64::try_from(late).expect("small") * MINUTE_MILLIS / 4, true),
            })
            .collect();
        number += batch.len();
        test.store.commit(&[submission(batch)]).await.expect("commit");
    }
    test.shown().await;
    monitor.catch_up(&CancellationToken::new()).await.expect("caught up");
    begun.elapsed()
}

async fn assert_seen(test: &TestStore, purge: u64) {
    let found = test.store.incidents(&[IncidentState::Open], 10).await.expect("incidents");
    let [record] = found.as_slice() else { panic!("one incident, not {found:?}") };
    let body = Body::from_record(record).expect("a body");
    assert_eq!(body.scope.from_domain.as_deref(), Some("flood.example.com"), "{}", body.scope);
    assert!(body.scope.level < StreamLevel::Campaign);
    assert_eq!(body.refused, purge);
}

on_both_engines! {
    async fn the_sender_is_judged_and_the_store_holds_few_streams(test: TestStore) {
        flood(&test, 20_000, 120).await;
        assert_seen(&test, 120).await;
        // Some 800 mails a day: below the cap of 1,000 campaigns a sender, all of them are kept.
        let day = at(3 * DAY_MILLIS).as_millis() / DAY_MILLIS;
        assert_eq!(test.store.day_totals(day).await.expect("totals").len(), 800);
    }

    async fn what_overflows_is_counted_as_other_in_any_order(test: TestStore) {
        let mails: Vec<NewEvent> = (0..4_000).map(|n| mail(&test, n, i64::try_from(n).expect("small") * 1_000, n % 10 == 0)).collect();
        let engine = if test.store.engine() == "sqlite" { Engine::Sqlite } else { Engine::Postgres };
        let other = fresh_store(engine).await.expect("a second store");
        let mut backwards: Vec<NewEvent> = (0..4_000).map(|n| mail(&other, n, i64::try_from(n).expect("small") * 1_000, n % 10 == 0)).collect();
        backwards.reverse();
        for chunk in mails.chunks(900) {
            test.store.commit(&[submission(chunk.to_vec())]).await.expect("commit");
        }
        test.fold(4_000).await;
        for chunk in backwards.chunks(700) {
            for _ in 0..2 {
                other.store.commit(&[submission(chunk.to_vec())]).await.expect("commit");
            }
        }
        other.fold(4_000).await;
        let (one, two) = (kept(&test).await, kept(&other).await);
        assert_eq!(one, two);
        assert_eq!(one.len(), 1_001, "a thousand campaigns, and the others");
        let (name, exposed, refused) = one.iter().find(|(name, ..)| name.ends_with("other campaigns")).expect("the others");
        assert_eq!(name, "ses/flood.example.com, envelope bounce.flood.example.com, other campaigns");
        assert_eq!(*exposed, 3_000);
        assert_eq!(one.iter().map(|(_, _, refused)| refused).sum::<i64>(), 400);
        // The cells and who was refused moved with them.
        let leaf = mails[0].stream.clone();
        let mut of_other = leaf.clone();
        of_other.campaign = Some(relaywatch::model::OTHER.to_owned());
        let ids = test.store.stream_ids(&[of_other, leaf.at(StreamLevel::Envelope).expect("parent")]).await.expect("numbers");
        let sum = |stream: i32| {
            let store = test.store.clone();
            async move { store.cells(stream, 0, i64::MAX).await.expect("cells").iter().map(|(_, counts)| counts.exposed).sum::<i64>() }
        };
        assert_eq!((sum(ids[0]).await, sum(ids[1]).await), (3_000, 4_000));
        let who = test.store.refused_within(&ids[..1], 0, i64::MAX).await.expect("who");
        assert_eq!(i64::try_from(who.len()).expect("small"), *refused);
        // And again from the journal.
        test.store.reset_projections().await.expect("reset");
        test.fold(4_000).await;
        assert_eq!(kept(&test).await, one);
    }
}

/// What is told apart on the first day: name, sends, refusals.
async fn kept(test: &TestStore) -> Vec<(String, i64, i64)> {
    let totals = test.store.day_totals(at(0).as_millis() / DAY_MILLIS).await.expect("totals");
    let mut kept: Vec<_> = totals
        .into_iter()
        .map(|(_, text, exposed, refused)| {
            let key: StreamKey = serde_json::from_str(&text).expect("a stream");
            (key.to_string(), exposed, refused)
        })
        .collect();
    kept.sort();
    kept
}

/// Resident memory of this process at its highest, in MiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("the peak");
    let kib: u64 = line.split_whitespace().nth(1).expect("a number").parse().expect("a number");
    kib / 1024
}

/// Many campaigns, 60,000 of them where `RELAYWATCH_TEST_CAMPAIGNS` names no other number; alone in its process by nextest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_for_each_mail_fits_in_memory() {
    let campaigns =
        std::env::var("RELAYWATCH_TEST_CAMPAIGNS").ok().and_then(|text| text.parse().ok()).unwrap_or(60_000);
    let test = fresh_store(Engine::Sqlite).await.expect("SQLite");
    let taken = flood(&test, campaigns, 400).await;
    assert_seen(&test, 400).await;
    let kept = test.rows("day_total").await;
    println!("{campaigns} campaigns in {taken:?}, {} MiB at most, {kept} totals of days", peak_memory());
    assert!(kept <= 26 * 1_001, "{kept}");
    // The journal and its words are on disk; what is in memory is a cap's worth.
    assert!(peak_memory() < 300, "{} MiB", peak_memory());
}
