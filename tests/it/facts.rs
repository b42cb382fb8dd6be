//! What an incident is explained from: each read on both engines, and the cases that shaped the program end to end.

use std::sync::Arc;

use relaywatch::{
    clock::Clock,
    detect::Counts,
    explain::{BlindWindow, Hypothesis, IncidentFacts, LastDelivery, OneText, Revocation, Watched, explain, jump},
    metrics::Metrics,
    model::{
        Bin, Cause, DAY_MILLIS, Destination, EventKind, FailureClass, HOUR_MILLIS, NoticeKind, Provider, StreamKey,
        Timestamp,
    },
    monitor::{
        Monitor, blind,
        facts::{Scope, gather},
    },
    store::{
        AddressNotice, ControlSum, EntryKind, EventKey, NewAccount, NewEntry, NewEvent, NewReply, RefusedAddress,
        StoreError, Submission, template_id,
    },
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    on_both_engines,
    support::{TestStore, at, stream, submission},
};

const TEAM: &str = "A1B2C3D4E5";
/// The onset of every incident here: a full bin, three days after the tests' time begins.
const ONSET: i64 = 3 * DAY_MILLIS;

/// Lets a fresh monitor fold all `count` outcomes.
pub(crate) async fn fold(test: &TestStore, count: usize) {
    test.journal(count, 1_000).await;
    let metrics = Metrics::new().expect("metrics");
    let mut monitor = Monitor::folding(test.leader(), Clock::System, Arc::new(Notify::new()), metrics, 100_000);
    monitor.catch_up(&CancellationToken::new()).await.expect("folded");
}

pub(crate) fn notice(test: &TestStore, number: usize, millis: i64, kind: NoticeKind) -> NewEntry {
    let named = matches!(kind, NoticeKind::EmailDisabled | NoticeKind::EmailEnabled);
    NewEntry {
        key: test.key(3_000_000 + number, millis),
        kind: EntryKind::Notice,
        account: Some(test.subject(TEAM, &format!("sub{number}"))),
        address: named.then(|| test.relay(number)),
        app: Some("com.example.app".to_owned()),
        body: serde_json::json!({ "kind": kind }),
    }
}

/// The facts with the blind windows that are known by the end of the tests' time.
async fn gathered(test: &TestStore, scope: &Scope) -> Result<IncidentFacts, StoreError> {
    let windows = blind::known(&test.store, at(9 * DAY_MILLIS)).await?;
    gather(&test.store, scope, &windows).await
}

pub(crate) async fn tell(test: &TestStore, entries: Vec<NewEntry>) {
    let apple = Submission { feed: "apple".to_owned(), entries, ..Submission::default() };
    test.store.commit(&[apple]).await.expect("commit");
}

pub(crate) async fn map(test: &TestStore, numbers: impl Iterator<Item = usize>) {
    let account = |number: usize| NewAccount {
        subject: test.subject(TEAM, &format!("sub{number}")),
        address: Some(test.relay(number)),
        app: None,
        signed_up_at: None,
        mark: None,
    };
    let accounts: Vec<NewAccount> = numbers.map(account).collect();
    test.store.import_accounts(&accounts).await.expect("imported");
}

/// The second message to an address, in another stream or with another cause where it is given.
fn second(event: NewEvent, number: usize, from: &str) -> NewEvent {
    let message = event.message + 10_000_000;
    let mut key = event.key;
    key.hash[0] ^= 0xff;
    key.hash[1] ^= u8::try_from(number % 251).expect("small");
    NewEvent { key, message, stream: stream(from, None), ..event }
}

async fn id(test: &TestStore, number: usize) -> i64 {
    let found = test.store.address_by_hash(&test.relay(number).hash).await.expect("address");
    found.expect("known").id
}

async fn scope(test: &TestStore, inside: &[StreamKey], all: &[StreamKey], counts: Counts) -> Scope {
    Scope {
        finest: test.store.known_streams(inside).await.expect("streams"),
        all_finest: test.store.known_streams(all).await.expect("streams"),
        onset: at(ONSET).bin(),
        until: at(ONSET + HOUR_MILLIS).bin(),
        counts,
        expected: 0.005 * f64::from(u32::try_from(counts.sends).expect("small")),
    }
}

/// Mail to 400 addresses: all of it delivered six hours before the onset, half of it refused from then on.
async fn purge(test: &TestStore) -> usize {
    let mut events = Vec::new();
    for number in 0..400 {
        let millis = i64::try_from(number).expect("small") * 1_000;
        events.push(test.delivered(number, ONSET - 6 * HOUR_MILLIS + millis));
        let after = ONSET + 2_000 + millis;
        let outcome = if number < 200 { test.refused(number, after) } else { test.delivered(number, after) };
        events.push(second(outcome, number, if number % 2 == 0 { "news.example.com" } else { "shop.example.com" }));
    }
    let count = events.len();
    test.store.commit(&[submission(events)]).await.expect("commit");
    fold(test, count).await;
    count
}

fn both() -> [StreamKey; 2] {
    [stream("news.example.com", None), stream("shop.example.com", None)]
}

const HALF: Counts = Counts { sends: 400, refused: 200 };

on_both_engines! {
    async fn who_was_refused_comes_by_pages_with_the_ledger(test: TestStore) {
        let events = vec![
            test.delivered(1, 1_000),
            second(test.refused(1, ONSET), 1, "news.example.com"),
            second(NewEvent { message: 77, ..test.refused(1, ONSET + HOUR_MILLIS) }, 2, "news.example.com"),
            test.refused(2, ONSET + 5_000),
            NewEvent { stream: stream("other.example.com", None), ..test.refused(3, ONSET) },
        ];
        let count = events.len();
        test.store.commit(&[submission(events)]).await.expect("commit");
        fold(&test, count).await;
        let streams: Vec<i32> =
            test.store.known_streams(&[stream("news.example.com", None)]).await.expect("ids").iter().map(|s| s.0).collect();
        let (from, to) = (Bin(0), Bin(i64::MAX));
        let all = test.store.refused_with_ledger(&streams, from, to, i64::MIN, 10).await.expect("read");
        let (one, two) = (id(&test, 1).await, id(&test, 2).await);
        let expected = RefusedAddress {
            address: one,
            first_bin: at(ONSET - 1_000).bin(),
            last_bin: at(ONSET + HOUR_MILLIS - 1_000).bin(),
            first_event_at: Some(at(1_000)),
            last_delivered_at: Some(at(1_000)),
            last_refused_at: Some(at(ONSET + HOUR_MILLIS)),
            last_cause: Some(Cause::RecipientUnknown),
            complained_at: None,
            unsubscribed_at: None,
        };
        assert_eq!(all.iter().find(|row| row.address == one), Some(&expected));
        let mut ids = vec![one, two];
        ids.sort_unstable();
        assert_eq!(all.iter().map(|row| row.address).collect::<Vec<_>>(), ids, "by id, the other stream left out");
        let first = test.store.refused_with_ledger(&streams, from, to, i64::MIN, 1).await.expect("read");
        let rest = test.store.refused_with_ledger(&streams, from, to, first[0].address, 1).await.expect("read");
        assert_eq!([first, rest].concat(), all);
        let early = test.store.refused_with_ledger(&streams, from, at(0).bin(), i64::MIN, 10).await.expect("read");
        assert_eq!(early, []);
        let met = test.store.refused_streams(from, to).await.expect("streams");
        let mut met: Vec<String> = met.into_iter().map(|(_, key)| key.to_string()).collect();
        met.sort();
        assert_eq!(met, [stream("news.example.com", None).to_string(), stream("other.example.com", None).to_string()]);
        assert_eq!(test.store.refused_streams(Bin(0), at(0).bin()).await.expect("streams"), []);
    }

    async fn mails_of_apples_about_the_relay_are_told(test: TestStore) {
        purge(&test).await;
        let mail = |at: Timestamp, number: u8, says: serde_json::Value| NewEntry {
            key: EventKey { at, hash: [number; 16] },
            kind: EntryKind::RelayNotification,
            account: None,
            address: None,
            app: None,
            body: serde_json::json!({ "feed": "mail", "says": says }),
        };
        let told = serde_json::json!({ "says": "source-not-registered", "domains": ["mail.example.com"], "authenticated": true });
        let other = serde_json::json!({ "says": "other", "domains": [], "authenticated": false });
        tell(
            &test,
            vec![
                mail(at(ONSET + HOUR_MILLIS), 1, told.clone()),
                mail(at(ONSET - 29 * DAY_MILLIS), 2, other),
                mail(at(ONSET - 31 * DAY_MILLIS), 3, told.clone()),
                mail(at(ONSET + 4 * DAY_MILLIS), 4, told.clone()),
                mail(at(ONSET), 5, serde_json::json!({ "says": "of another version" })),
            ],
        )
        .await;
        let facts = gathered(&test, &scope(&test, &both(), &both(), HALF).await).await.expect("facts");
        let mails: Vec<(Timestamp, String)> = facts.relay_mails.iter().map(|mail| (mail.at, mail.tells())).collect();
        assert_eq!(
            mails,
            [
                (
                    at(ONSET - 29 * DAY_MILLIS),
                    "it is about the relay; more can't be told; that Apple sent it is not shown".to_owned()
                ),
                (at(ONSET + HOUR_MILLIS), "a sender is not registered with Apple (mail.example.com)".to_owned()),
            ]
        );
    }

    async fn the_most_frequent_replies_are_told_by_address(test: TestStore) {
        let reply = |event: NewEvent, text: &str| NewEvent {
            reply: event.reply.map(|reply| NewReply { template: text.to_owned(), ..reply }),
            ..event
        };
        let events = vec![
            reply(test.refused(1, ONSET), "550 gone"),
            NewEvent { message: 77, ..reply(second(test.refused(1, ONSET + 9), 1, "news.example.com"), "550 gone") },
            reply(test.refused(2, ONSET), "550 gone"),
            reply(test.refused(3, ONSET), "550 other"),
            reply(test.refused(4, ONSET - DAY_MILLIS), "550 early"),
            NewEvent { stream: stream("other.example.com", None), ..reply(test.refused(5, ONSET), "550 elsewhere") },
            test.delivered(6, ONSET),
        ];
        let count = events.len();
        test.store.commit(&[submission(events)]).await.expect("commit");
        fold(&test, count).await;
        let mut ids = Vec::new();
        for number in 1..=6 {
            ids.push(id(&test, number).await);
        }
        let streams: Vec<i32> =
            test.store.known_streams(&[stream("news.example.com", None)]).await.expect("ids").iter().map(|s| s.0).collect();
        let (from, to) = (at(ONSET), at(ONSET + HOUR_MILLIS));
        let read = test.store.reply_texts(&ids, &streams, from, to, 3).await.expect("read");
        assert_eq!(read, [("550 gone".to_owned(), 2), ("550 other".to_owned(), 1)]);
        let first = test.store.reply_texts(&ids[2..], &streams, from, to, 1).await.expect("read");
        assert_eq!(first, [("550 other".to_owned(), 1)], "only these addresses");
        assert!(test.store.reply_texts(&[], &streams, from, to, 3).await.expect("read").is_empty());
    }

    async fn one_text_for_nearly_all_is_told_beside_what_was_before(test: TestStore) {
        // Of 40 refused before the onset two got the text that 200 get after it.
        let mut events: Vec<NewEvent> = (500..540).map(|number| test.refused(number, ONSET - 2 * DAY_MILLIS)).collect();
        for event in &mut events[2..] {
            let reply = event.reply.as_mut().expect("a reply");
            "552 5.2.2 <{recipient}>: over quota".clone_into(&mut reply.template);
        }
        let earlier = events.len();
        test.store.commit(&[submission(events)]).await.expect("commit");
        let count = purge(&test).await;
        test.fold(earlier + count).await;
        let facts = gathered(&test, &scope(&test, &both(), &both(), HALF).await).await.expect("facts");
        assert_eq!(facts.one_text, Some(OneText { since: 200, of: 200, before: 2, before_of: 40 }));
        let found = jump(&facts).expect("nearly all have one text");
        assert_eq!(found.template, template_id("550 5.1.1 <{recipient}>: user not found"));
        assert!(found.says().starts_with("100 % of the refused addresses got one text since 2026-01-04T00:00:00Z, before that 5 % ("), "{}", found.says());
    }

    async fn accepted_addresses_are_those_of_the_same_mail(test: TestStore) {
        let elsewhere = NewEvent { stream: stream("other.example.com", None), ..test.delivered(4, ONSET) };
        let shared = NewEvent { destination: Destination::Shared, ..test.delivered(5, ONSET) };
        let unsaid = NewEvent { sent_at: None, ..test.delivered(6, ONSET + 5) };
        let events = vec![
            test.delivered(1, ONSET + 9_000),
            second(NewEvent { sent_at: Some(at(ONSET)), ..test.delivered(1, ONSET + HOUR_MILLIS) }, 1, "news.example.com"),
            test.delivered(2, ONSET - DAY_MILLIS),
            test.refused(3, ONSET + 9_000),
            elsewhere,
            shared,
            unsaid,
        ];
        let count = events.len();
        test.store.commit(&[submission(events)]).await.expect("commit");
        fold(&test, count).await;
        let ids: Vec<i32> =
            test.store.known_streams(&[stream("news.example.com", None)]).await.expect("ids").iter().map(|s| s.0).collect();
        let bin = at(ONSET).bin();
        let mut expected =
            [(id(&test, 1).await, at(ONSET + HOUR_MILLIS)), (id(&test, 6).await, at(ONSET + 5))];
        expected.sort();
        assert_eq!(test.store.accepted_sample(&ids, bin, bin, 10).await.expect("read"), expected);
        assert_eq!(test.store.accepted_sample(&ids, bin, bin, 1).await.expect("read"), expected[..1]);
        let mut since: Vec<i64> = Vec::new();
        for number in [1, 4, 6] {
            since.push(id(&test, number).await);
        }
        since.sort_unstable();
        let read = test.store.delivered_sample(at(ONSET - HOUR_MILLIS), 10).await.expect("read");
        assert_eq!(read.iter().map(|(address, _)| *address).collect::<Vec<_>>(), since);
    }

    async fn notices_find_their_addresses_by_account_and_by_name_also_after_an_erasure(test: TestStore) {
        test.store.commit(&[submission((1..=5).map(|n| test.delivered(n, 0)).collect())]).await.expect("commit");
        let mut ids = Vec::new();
        for number in 1..=5 {
            ids.push(id(&test, number).await);
        }
        map(&test, [1, 2].into_iter()).await;
        tell(&test, vec![
            notice(&test, 1, 1_000, NoticeKind::ConsentRevoked),
            notice(&test, 3, 2_000, NoticeKind::EmailDisabled),
        ]).await;
        tell(&test, vec![NewEntry { key: test.key(9_000_001, 3_000), ..notice(&test, 3, 0, NoticeKind::AccountDeleted) }]).await;
        // One that is known by import only, and one whose notice named it.
        assert!(test.store.forget_address(&test.relay(2).hash).await.expect("forgotten"));
        assert!(test.store.forget_address(&test.relay(3).hash).await.expect("forgotten"));
        let mut mapped = vec![ids[0], ids[1], ids[2]];
        mapped.sort_unstable();
        assert_eq!(test.store.mapped_addresses(&ids).await.expect("read"), mapped);
        let told = test.store.notices_of(&ids, at(0), at(10_000)).await.expect("read");
        let mut expected = vec![
            AddressNotice { address: ids[0], at: at(1_000), kind: NoticeKind::ConsentRevoked },
            AddressNotice { address: ids[2], at: at(2_000), kind: NoticeKind::EmailDisabled },
            AddressNotice { address: ids[2], at: at(3_000), kind: NoticeKind::AccountDeleted },
        ];
        expected.sort_by_key(|notice| (notice.address, notice.at));
        assert_eq!(told, expected);
        assert_eq!(test.store.notices_of(&ids, at(0), at(999)).await.expect("read"), []);
        assert_eq!(test.store.notices_of(&[], at(0), at(10_000)).await.expect("read"), []);
        assert_eq!(test.store.first_notice().await.expect("read"), Some(at(1_000)));
        let opened = test.store.open_addresses(&ids).await.expect("opened");
        assert_eq!(opened.len(), 3, "two are erased");
        assert!(opened.contains(&(ids[0], Some(test.relay(1).address))));
    }

    async fn entries_of_a_kind_come_newest_first(test: TestStore) {
        assert_eq!(test.store.first_notice().await.expect("read"), None);
        let window = |number: usize, millis| NewEntry {
            kind: EntryKind::BlindWindow,
            account: None,
            address: None,
            app: None,
            body: serde_json::json!({ "watched": "ses", "number": number }),
            ..notice(&test, number, millis, NoticeKind::EmailDisabled)
        };
        tell(&test, vec![window(1, 10), window(2, 20), notice(&test, 3, 15, NoticeKind::ConsentRevoked), window(4, 30)]).await;
        let read = |to, limit| test.store.entries_of_kind(EntryKind::BlindWindow, to, limit);
        let numbers = |entries: Vec<relaywatch::store::EntryRecord>| -> Vec<i64> {
            entries.iter().map(|entry| entry.body["number"].as_i64().expect("a number")).collect()
        };
        assert_eq!(numbers(read(at(20), 10).await.expect("read")), [2, 1]);
        assert_eq!(numbers(read(at(99), 1).await.expect("read")), [4]);
    }

    async fn cells_and_control_add_up_by_stream(test: TestStore) {
        let events = vec![
            test.delivered(1, 1_000),
            test.refused(2, 400_000),
            NewEvent { destination: Destination::Shared, ..test.delivered(3, 1_000) },
            test.delivered(4, 2_000_000),
        ];
        let control = Submission {
            control: vec![
                test.control(1, 0, EventKind::Delivered),
                test.control(2, 400_000, EventKind::Refused),
                test.control(3, 9_000_000, EventKind::Delivered),
            ],
            ..submission(events)
        };
        test.store.commit(&[control]).await.expect("commit");
        fold(&test, 4).await;
        let known = test.store.known_streams(&both()).await.expect("streams");
        assert_eq!(known.len(), 1, "the other was never met, and is not made");
        let stream = known[0].0;
        let (from, to) = (at(0).bin(), at(600_000).bin());
        let sums = test.store.cell_sums(&[stream, 999_999], Bin(from.0 - 1), to).await.expect("sums");
        let short: Vec<(i32, Destination, i64, i64)> =
            sums.iter().map(|(stream, to, counts)| (*stream, *to, counts.exposed, counts.refused)).collect();
        assert_eq!(short, [(stream, Destination::Relay, 2, 1), (stream, Destination::Shared, 1, 0)]);
        let control = test.store.control_sums(from, to).await.expect("sums");
        assert_eq!(control, [ControlSum { stream, sent: 0, delivered: 1, refused: 1 }]);
    }

    async fn the_purge_rules_out_revocation(test: TestStore) {
        purge(&test).await;
        // 95 % are mapped. Notices come in as ever, about three addresses that go on accepting mail, and about strangers.
        map(&test, (0..400).filter(|number| number % 20 != 0)).await;
        let ordinary = (201..204).map(|number| notice(&test, number, -DAY_MILLIS, NoticeKind::ConsentRevoked));
        tell(&test, ordinary.chain([notice(&test, 900, -9 * DAY_MILLIS, NoticeKind::AccountDeleted)]).collect()).await;

        let facts = gathered(&test, &scope(&test, &both(), &both(), HALF).await).await.expect("facts");
        assert_eq!((facts.onset, facts.counts, facts.refused_addresses), (Some(at(ONSET)), HALF, 200));
        assert_eq!(facts.replies, [(Cause::RecipientUnknown, 200)].into());
        assert_eq!(facts.last_delivery, Some(LastDelivery { known: 200, within_a_day: 200, stale: 0 }));
        let notices = facts.notices.expect("a map");
        assert_eq!((notices.refused_exposed_before, notices.refused_unexposed, notices.refused_unmapped), (0, 190, 10));
        assert_eq!((notices.accepted_exposed, notices.accepted_unexposed), (3, 187));
        assert!(notices.blind_share.abs() < 1e-12);
        assert!((notices.usual_exposure.expect("enough") - 3.0 / 190.0).abs() < 1e-12);
        let senders = facts.senders.clone().expect("senders");
        assert_eq!((senders.inside, senders.outside), (Counts { sends: 200, refused: 100 }, Counts { sends: 200, refused: 100 }));
        assert_eq!((facts.apple_control, facts.other_control, facts.arrivals), (None, None, None));

        let explanation = explain(&facts);
        let share = explanation.share_explained.as_ref().expect("notices");
        assert_eq!(share.status, Revocation::Checked);
        assert!((share.map_coverage - 0.95).abs() < 1e-12 && share.share.value < 0.01, "{share:?}");
        assert!(explanation.ruled_out().any(|hypothesis| hypothesis == Hypothesis::Revoked));
        assert_eq!(explanation.leading().map(|ranked| ranked.hypothesis), Some(Hypothesis::Purge));
    }

    async fn without_a_notice_ever_or_with_a_blind_endpoint_nothing_is_ruled_out(test: TestStore) {
        purge(&test).await;
        let scope = scope(&test, &both(), &both(), HALF).await;
        assert_eq!(gathered(&test, &scope).await.expect("facts").notices, None, "no map, no notices");
        map(&test, 0..400).await;
        let unwatched = gathered(&test, &scope).await.expect("facts");
        assert!((unwatched.notices.expect("a map").blind_share - 1.0).abs() < 1e-12);
        assert!(explain(&unwatched).ruled_out().all(|hypothesis| hypothesis != Hypothesis::Revoked));

        let from = at(ONSET - 6 * DAY_MILLIS);
        let window = NewEntry {
            kind: EntryKind::BlindWindow,
            account: None,
            app: None,
            body: serde_json::json!({ "watched": "notices", "from": from, "until": null }),
            ..notice(&test, 901, ONSET - 6 * DAY_MILLIS, NoticeKind::ConsentRevoked)
        };
        tell(&test, vec![notice(&test, 900, -9 * DAY_MILLIS, NoticeKind::AccountDeleted), window]).await;
        let blind = gathered(&test, &scope).await.expect("facts");
        assert_eq!(blind.blind_windows, [BlindWindow { watched: Watched::Notices, from, until: None, reason: None }]);
        assert!((blind.notices.expect("a map").blind_share - 0.2).abs() < 0.01);
        let explanation = explain(&blind);
        assert_eq!(explanation.share_explained.as_ref().expect("notices").status, Revocation::Blind);
        assert!(explanation.ruled_out().all(|hypothesis| hypothesis != Hypothesis::Revoked));
    }

    async fn a_wave_of_revocations_explains_its_refusals(test: TestStore) {
        purge(&test).await;
        map(&test, 0..400).await;
        let before = (0..150).map(|number| notice(&test, number, ONSET - DAY_MILLIS, NoticeKind::ConsentRevoked));
        let after = (150..160).map(|number| notice(&test, number, ONSET + DAY_MILLIS, NoticeKind::EmailDisabled));
        let undone = [
            notice(&test, 160, ONSET - 2 * DAY_MILLIS, NoticeKind::EmailDisabled),
            NewEntry { key: test.key(9_000_000, ONSET - DAY_MILLIS), ..notice(&test, 160, 0, NoticeKind::EmailEnabled) },
        ];
        tell(&test, before.chain(after).chain(undone).collect()).await;
        let facts = gathered(&test, &scope(&test, &both(), &both(), HALF).await).await.expect("facts");
        let notices = facts.notices.expect("a map");
        assert_eq!((notices.refused_exposed_before, notices.refused_exposed_after, notices.refused_unexposed), (150, 10, 40));
        assert_eq!((notices.accepted_exposed, notices.accepted_unexposed), (0, 200));
        let explanation = explain(&facts);
        let share = explanation.share_explained.as_ref().expect("notices");
        assert_eq!(share.status, Revocation::Checked);
        assert!(share.share.value > 0.99 && share.share.low > 0.9, "{share:?}");
        assert_eq!(explanation.named, Some(Hypothesis::Revoked));
    }

    async fn a_flood_of_unauthorized_sender_sits_in_one_sender(test: TestStore) {
        let mut events = Vec::new();
        let mut control = Vec::new();
        for number in 0..200 {
            let millis = ONSET + 2_000 + i64::try_from(number).expect("small") * 1_000;
            events.push(test.delivered(number, millis));
            let refused = test.refused(number, millis);
            let reply = refused.reply.clone().map(|reply| NewReply { cause: Cause::RelaySenderUnregistered, ..reply });
            events.push(second(NewEvent { reply, ..refused }, number, "mydomain.fr"));
            for (offset, earlier) in [(0, 0), (500, DAY_MILLIS)] {
                control.push(relaywatch::store::NewControl {
                    stream: stream("mydomain.fr", None),
                    ..test.control(number + offset, millis - earlier, EventKind::Delivered)
                });
            }
            let mailbox = test.recipient(&format!("someone{number}@icloud.com"));
            let ordinary = NewEvent {
                key: test.key(5_000_000 + number, millis),
                recipient: mailbox,
                destination: Destination::Shared,
                message: 20_000_000 + i64::try_from(number).expect("small"),
                stream: stream("mydomain.fr", None),
                ..test.delivered(number, millis)
            };
            let failed = number == 7;
            events.push(NewEvent {
                kind: if failed { EventKind::Refused } else { EventKind::Delivered },
                class: if failed { FailureClass::Permanent } else { FailureClass::Unknown },
                ..ordinary
            });
        }
        let count = events.len();
        test.store.commit(&[Submission { control, ..submission(events) }]).await.expect("commit");
        fold(&test, count).await;
        let (ours, rest) = (stream("mydomain.fr", None), stream("news.example.com", None));
        let counts = Counts { sends: 200, refused: 200 };
        let facts =
            gathered(&test, &scope(&test, std::slice::from_ref(&ours), &[ours.clone(), rest], counts).await).await.expect("facts");
        let senders = facts.senders.clone().expect("senders");
        assert_eq!((senders.top.as_str(), senders.inside, senders.outside), ("mydomain.fr", counts, Counts { sends: 200, refused: 0 }));
        assert_eq!(facts.providers.clone().expect("providers").top, Provider::Ses.as_str());
        assert_eq!(facts.apple_control.expect("icloud.com").counts, Counts { sends: 200, refused: 1 });
        let others = facts.other_control.expect("others");
        assert_eq!(others.counts, Counts { sends: 200, refused: 0 });
        assert!(others.usual_rate < 0.005, "{}", others.usual_rate);
        let explanation = explain(&facts);
        assert_eq!(explanation.named, Some(Hypothesis::SenderRefused));
        assert!(explanation.ruled_out().all(|hypothesis| hypothesis != Hypothesis::Revoked), "nothing is mapped");
    }
}

#[test]
fn the_times_of_these_tests_fall_on_bins() {
    assert_eq!(at(ONSET).bin().start(), at(ONSET));
    assert_eq!(Timestamp::EPOCH.bin(), Bin(0));
}
