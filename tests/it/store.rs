//! The conformance suite: what the store promises, on both engines.

use std::{collections::HashSet, sync::Arc};

use relaywatch::{
    ingest::SetAsideReason,
    model::{Bin, Cause, Destination, EventKind, Exposure, StreamKey, StreamLevel},
    privacy::{Keyring, Purpose},
    store::{
        Access, CellKey, Counts, DayChange, EntryKind, EventFilter, FeedCounts, FeedHour, Fold, IncidentRecord,
        IncidentState, LedgerRow, MapCoverage, NewAccount, NewEntry, NewSetAside, NewToken, OperatorWord, Outcome,
        Position, RefusedChange, Store, StoreError, Submission, WordKind,
    },
};

use crate::{
    on_both_engines,
    support::{TestStore, at, stream, submission},
};

on_both_engines! {
    async fn what_was_committed_is_read_back_whole(test: TestStore) {
        let refused = test.refused(7, 5_000);
        let commit = test.store.commit(&[submission(vec![test.delivered(7, 1_000), refused.clone()])]).await.expect("commit");
        assert_eq!((commit.added, commit.repeated), (2, 0));
        assert_eq!(commit.outcomes, [Outcome::Committed]);

        let journal = test.journal(2, 10).await;
        let record = journal.iter().find(|event| event.kind == EventKind::Refused).expect("the refusal");
        assert_eq!(record.key, refused.key);
        assert_eq!(record.sent_at, Some(at(4_000)));
        assert_eq!(record.destination, Destination::Relay);
        let reply = record.reply.expect("a reply");
        assert_eq!((reply.code, reply.enhanced, reply.cause, reply.confidence), (Some(550), Some(5_001_001), Cause::RecipientUnknown, 95));
        assert_eq!(journal[0].address, journal[1].address, "one address, one id");
        assert!(journal[1].position > journal[0].position);

        let words = test.store.words(&[record.stream, record.feed, reply.template, reply.rule, record.label.expect("label")]).await.expect("words");
        let texts: Vec<&str> = words.iter().map(|(_, text)| text.as_str()).collect();
        for expected in ["ses", "550 5.1.1 <{recipient}>: user not found", "apple-relay/user-not-found@1", "Permanent/General"] {
            assert!(texts.contains(&expected), "{expected} is missing in {texts:?}");
        }
        let stored: StreamKey = texts.iter().find_map(|text| serde_json::from_str(text).ok()).expect("the stream");
        assert_eq!(stored, refused.stream);

        let (first_seen, sample) = test.store.template_sample(reply.template).await.expect("sample").expect("a sample");
        assert_eq!(first_seen, at(5_000).as_millis());
        let owner = sha256_prefix("550 5.1.1 <{recipient}>: user not found");
        let sample = test.keyring.open(Purpose::Sample, &owner, &sample.expect("sealed")).expect("opens");
        assert_eq!(String::from_utf8(sample).expect("text"), "550 5.1.1 <user7@privaterelay.appleid.com>: user not found");

        let known = test.store.address_by_hash(&refused.recipient.hash).await.expect("address").expect("known");
        assert_eq!(known.id, record.address);
        let clear = test.keyring.open(Purpose::Address, &refused.recipient.hash, &known.sealed.expect("sealed")).expect("opens");
        assert_eq!(clear, b"user7@privaterelay.appleid.com");
    }

    async fn a_repeated_delivery_changes_nothing(test: TestStore) {
        let events: Vec<_> = (0..300).map(|n| test.delivered(n, 1_000)).collect();
        let first = test.store.commit(&[submission(events.clone())]).await.expect("commit");
        assert_eq!((first.added, first.repeated), (300, 0));
        // Once more as it was, once more cut and mixed with one that is new, and twice in one batch.
        let again = test.store.commit(&[submission(events.clone())]).await.expect("commit");
        assert_eq!((again.added, again.repeated), (0, 300));
        let mixed = [submission(events[..5].to_vec()), submission(vec![test.delivered(900, 1_000), test.delivered(900, 1_000)])];
        let mixed = test.store.commit(&mixed).await.expect("commit");
        assert_eq!((mixed.added, mixed.repeated), (1, 6));
        assert_eq!(test.rows("event").await, 301);
        assert_eq!(test.rows("address").await, 301);
    }

    async fn the_cursor_meets_every_row_once_whatever_the_page(test: TestStore) {
        for chunk in 0..7 {
            let batch: Vec<_> = (0..3).map(|part| submission((0..5).map(|n| test.delivered(chunk * 100 + part * 10 + n, 1_000)).collect())).collect();
            test.store.commit(&batch).await.expect("commit");
        }
        for page in [1, 2, 7, 1_000] {
            let found = test.journal(105, page).await;
            let keys: HashSet<_> = found.iter().map(|event| event.key).collect();
            assert_eq!((found.len(), keys.len()), (105, 105), "page of {page}");
            assert!(found.windows(2).all(|pair| pair[0].position < pair[1].position));
        }
    }

    async fn events_of_messages_and_addresses_are_found(test: TestStore) {
        let events = vec![test.delivered(1, 1_000), test.refused(1, 9_000), test.delivered(2, 1_000), test.delivered(3, 1_000)];
        test.store.commit(&[submission(events)]).await.expect("commit");
        let journal = test.journal(4, 100).await;
        let end = journal.last().expect("rows").position;
        let one = journal.iter().find(|event| event.message == 2).expect("message of number 1");
        let pairs = [(one.address, one.message), (one.address, one.message), (one.address, 999)];
        let found = test.store.events_of_messages(&pairs, end).await.expect("found");
        assert_eq!(found.len(), 2, "both events of the message, each once");
        let first = journal[0].position;
        let found = test.store.events_of_messages(&pairs, first).await.expect("found");
        assert!(found.len() <= 1, "nothing from after the place");
        let story = test.store.events_of_address(one.address, 10).await.expect("story");
        assert_eq!(story.iter().map(|event| event.kind).collect::<Vec<_>>(), [EventKind::Refused, EventKind::Delivered]);
        let latest = test.store.latest_events(None, 2).await.expect("latest");
        assert_eq!(latest.len(), 2);
        assert!(latest[0].position > latest[1].position);
        let before = test.store.latest_events(Some(latest[1].position), 10).await.expect("before");
        assert_eq!(before.len(), 2);
        assert!(before.iter().all(|event| event.position < latest[1].position));
    }

    async fn outcomes_are_listed_by_time_whatever_the_page(test: TestStore) {
        // Committed in an order of its own; several at one time; over days and both kinds of keeping.
        let day = 86_400_000;
        let mut events = Vec::new();
        for number in 0..40_usize {
            let millis = i64::try_from(number % 8).expect("small") * day;
            events.push(test.delivered(number, millis));
            events.push(test.refused(number, millis + 5));
        }
        for chunk in events.rchunks(7) {
            test.store.commit(&[submission(chunk.to_vec())]).await.expect("commit");
        }
        let mut expected: Vec<_> = events.iter().map(|event| event.key).collect();
        expected.sort_unstable();
        expected.reverse();
        for page in [1, 9, 1_000] {
            let mut found: Vec<relaywatch::store::EventKey> = Vec::new();
            loop {
                let next = test.store.events_by_time(&EventFilter::default(), found.last().copied(), page).await.expect("page");
                if next.is_empty() { break; }
                found.extend(next.iter().map(|event| event.key));
            }
            assert_eq!(found, expected, "page of {page}");
        }

        let all = test.store.events_by_time(&EventFilter::default(), None, 1_000).await.expect("all");
        let mut arrived = Vec::new();
        loop {
            let before = arrived.last().map(|event: &relaywatch::store::EventRecord| event.position);
            let page = test.store.events_by_arrival(&EventFilter::default(), before, 2).await.expect("page");
            if page.is_empty() {
                break;
            }
            arrived.extend(page);
        }
        assert!(arrived.windows(2).all(|two| two[0].position > two[1].position), "the latest to come in is first");
        let keys = |events: &[relaywatch::store::EventRecord]| {
            events.iter().map(|event| (event.key.at, event.key.hash)).collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!((arrived.len(), keys(&arrived)), (all.len(), keys(&all)), "each once");
        let (feed, stream) = (all[0].feed, all[0].stream);
        let filters = [
            EventFilter { since: Some(at(day)), until: Some(at(2 * day)), ..EventFilter::default() },
            EventFilter { since: Some(at(2 * day + 5)), ..EventFilter::default() },
            EventFilter { until: Some(at(5)), ..EventFilter::default() },
            EventFilter { kinds: Some(vec![EventKind::Refused, EventKind::Complained]), ..EventFilter::default() },
            EventFilter { causes: Some(vec![Cause::RecipientUnknown]), since: Some(at(day)), ..EventFilter::default() },
            EventFilter { causes: Some(vec![Cause::MailboxFull]), ..EventFilter::default() },
            EventFilter { feeds: Some(vec![feed]), streams: Some(vec![stream, 999]), ..EventFilter::default() },
            EventFilter { feeds: Some(vec![]), ..EventFilter::default() },
        ];
        let mut sizes = Vec::new();
        for filter in filters {
            let found = test.store.events_by_time(&filter, None, 1_000).await.expect("found");
            let expected: Vec<_> = all.iter().filter(|event| filter.admits(event)).cloned().collect();
            assert_eq!(found, expected, "{filter:?}");
            sizes.push(found.len());
        }
        assert_eq!(sizes, [10, 55, 5, 40, 35, 0, 80, 0]);
        let feeds = test.store.words_of(WordKind::Feed).await.expect("feeds");
        assert_eq!(feeds, [(feed, "ses".to_owned())]);
    }

    async fn nothing_is_missed_after_the_journals_end(test: TestStore) {
        assert!(test.store.events_after(test.store.journal_end().await.expect("end"), 10).await.expect("none").is_empty());
        test.store.commit(&[submission(vec![test.delivered(1, 0)])]).await.expect("commit");
        // On PostgreSQL the end lies before what other tests' transactions hold back.
        test.journal(1, 10).await;
        let end = test.store.journal_end().await.expect("end");
        assert!(test.store.events_after(end, 10).await.expect("none").is_empty(), "the end is behind what is settled");
        test.store.commit(&[submission(vec![test.refused(1, 5)])]).await.expect("commit");
        test.journal(2, 10).await;
        let after = test.store.events_after(end, 10).await.expect("after");
        assert_eq!(after.iter().map(|event| event.kind).collect::<Vec<_>>(), [EventKind::Refused]);
    }

    async fn the_map_covers_addresses_that_mail_went_to(test: TestStore) {
        let account = |number: usize| NewAccount { subject: test.subject("T", &format!("s{number}")), address: Some(test.relay(number)), app: None, signed_up_at: None, mark: None };
        test.store.commit(&[submission((0..4).map(|n| test.delivered(n, 0)).collect())]).await.expect("commit");
        let ids = ids_of(&test, 4).await;
        let row = |address| LedgerRow {
            address, first_event_at: at(0), last_sent_at: None, last_delivered_at: None, last_refused_at: None, last_cause: None,
            complained_at: None, unsubscribed_at: None, suppressed_at: None, destination: Destination::Relay,
        };
        let fold = Fold { to: Position { transaction: 1, row: 0 }, ledger: ids.iter().map(|id| row(*id)).collect(), ..Fold::default() };
        test.leader().apply("monitor", &fold).await.expect("folded");
        // 0 and 1 are mapped; nobody ever wrote to 9; 1 is mapped twice.
        let mut accounts = vec![account(0), account(1), account(9)];
        accounts.push(NewAccount { address: Some(test.relay(1)), ..account(30) });
        test.store.import_accounts(&accounts).await.expect("import");
        assert_eq!(test.store.map_coverage().await.expect("coverage"), MapCoverage { addresses: 4, mapped: 2 });
        test.store.forget_address(&test.relay(0).hash).await.expect("forget");
        assert_eq!(test.store.map_coverage().await.expect("coverage"), MapCoverage { addresses: 3, mapped: 1 });
        let known = test.store.address_by_hash(&test.relay(1).hash).await.expect("address").expect("known");
        assert_eq!(test.store.address_by_id(known.id).await.expect("address"), Some(known));
    }

    async fn a_token_is_bound_to_its_body(test: TestStore) {
        let token = |digest: u8| NewToken { hash: [9; 16], digest: [digest; 32], expires_at: at(60_000) };
        let with = |digest, number| Submission { token: Some(token(digest)), ..submission(vec![test.delivered(number, 0)]) };
        assert_eq!(test.store.commit(&[with(1, 1)]).await.expect("first").outcomes, [Outcome::Committed]);
        let retry = test.store.commit(&[with(1, 1)]).await.expect("retry");
        assert_eq!((retry.outcomes, retry.added), (vec![Outcome::Committed], 0));
        let forged = test.store.commit(&[with(2, 2), submission(vec![test.delivered(3, 0)])]).await.expect("forged");
        assert_eq!(forged.outcomes, [Outcome::TokenReused, Outcome::Committed]);
        assert_eq!(forged.added, 1, "the forged body adds nothing, its neighbour in the batch is taken");
        assert_eq!(test.rows("event").await, 2);
        test.leader().expire(at(60_001).as_millis(), 0, 0).await.expect("expiry");
        assert_eq!(test.rows("one_time_token").await, 0);
    }

    async fn the_control_group_is_counted_once(test: TestStore) {
        let control = vec![
            test.control(1, 0, EventKind::Sent), test.control(2, 0, EventKind::Delivered), test.control(2, 0, EventKind::Delivered),
            test.control(3, 0, EventKind::Refused), test.control(4, 400_000, EventKind::Delivered), test.control(5, 0, EventKind::Complained),
        ];
        let batch = Submission { feed: "ses".to_owned(), control, ..Submission::default() };
        let first = test.store.commit(std::slice::from_ref(&batch)).await.expect("commit");
        assert_eq!((first.added, first.repeated), (5, 1));
        assert_eq!(test.store.commit(&[batch]).await.expect("again").added, 0);
        let stream = test.store.stream_ids(&[stream("news.example.com", None)]).await.expect("stream")[0];
        let cells = test.store.control_since(0).await.expect("cells");
        let bin = at(0).bin().0;
        assert_eq!(cells, [(stream, bin, 1, 1, 1), (stream, bin + 1, 0, 1, 0)]);
        assert_eq!((test.rows("event").await, test.rows("address").await), (0, 0), "no row, no address");
    }

    async fn notices_are_kept_once_and_teach_the_map(test: TestStore) {
        let notice = |number: usize, email: bool| NewEntry {
            key: test.key(number, 0),
            kind: EntryKind::Notice,
            account: Some(test.subject("A1B2C3D4E5", "000123.abc")),
            address: email.then(|| test.relay(1)),
            app: Some("com.example.app".to_owned()),
            body: serde_json::json!({"kind": "email-disabled"}),
        };
        let batch = Submission { feed: "apple".to_owned(), entries: vec![notice(1, false), notice(2, true)], ..Submission::default() };
        let commit = test.store.commit(std::slice::from_ref(&batch)).await.expect("commit");
        assert_eq!((commit.added, commit.repeated), (2, 0));
        let commit = test.store.commit(&[batch]).await.expect("again");
        assert_eq!((commit.added, commit.repeated), (0, 2));

        let account = test.store.account_by_hash(&test.subject("A1B2C3D4E5", "000123.abc").hash).await.expect("account").expect("known");
        let address = test.store.address_by_hash(&test.relay(1).hash).await.expect("address").expect("known");
        assert_eq!((account.address, account.app.as_deref()), (Some(address.id), Some("com.example.app")));
        let entries = test.store.entries_of(address.id, &[account.id]).await.expect("entries");
        assert_eq!(entries.len(), 2, "the notice without an address is found by the account");
        assert_eq!(entries[0].body["kind"], "email-disabled");
        assert_eq!(test.store.accounts_of_address(address.id).await.expect("accounts"), [account]);
    }

    async fn the_account_map_is_imported_and_mended(test: TestStore) {
        let account = |number: usize, address: Option<usize>, app: Option<&str>| NewAccount {
            subject: test.subject("A1B2C3D4E5", &format!("sub{number}")),
            address: address.map(|number| test.relay(number)),
            app: app.map(ToOwned::to_owned),
            signed_up_at: Some(at(0)),
            mark: None,
        };
        let many: Vec<_> = (0..500).map(|n| account(n, Some(n), None)).collect();
        assert_eq!(test.store.import_accounts(&many).await.expect("import"), 500);
        assert_eq!(test.store.import_accounts(&[account(1, None, Some("com.example.app")), account(900, None, None)]).await.expect("import"), 1);
        let known = test.store.account_by_hash(&test.subject("A1B2C3D4E5", "sub1").hash).await.expect("account").expect("known");
        assert!(known.address.is_some(), "what a later import lacks stays");
        assert_eq!(known.app.as_deref(), Some("com.example.app"));
        assert_eq!(known.signed_up_at, Some(at(0)));
    }

    async fn a_forgotten_address_is_nobody_and_everything_else_stays(test: TestStore) {
        test.store.import_accounts(&[NewAccount { subject: test.subject("T", "s"), address: Some(test.relay(1)), app: None, signed_up_at: None, mark: None }]).await.expect("import");
        test.store.commit(&[submission(vec![test.delivered(1, 0), test.delivered(2, 0)])]).await.expect("commit");
        let old = test.store.address_by_hash(&test.relay(1).hash).await.expect("address").expect("known").id;
        assert!(test.store.forget_address(&test.relay(1).hash).await.expect("forget"));
        assert!(!test.store.forget_address(&test.relay(1).hash).await.expect("forget"), "there is nothing left to forget");
        assert_eq!(test.store.address_by_hash(&test.relay(1).hash).await.expect("address"), None);
        assert_eq!(test.store.account_by_hash(&test.subject("T", "s").hash).await.expect("account"), None);
        assert_eq!(test.store.events_of_address(old, 10).await.expect("events").len(), 1, "counts stay");
        // The same delivery again is still the same event; a new mail is to somebody new.
        let again = test.store.commit(&[submission(vec![test.delivered(1, 0)])]).await.expect("again");
        assert_eq!(again.added, 0);
        test.store.commit(&[submission(vec![test.refused(1, 5_000)])]).await.expect("new mail");
        let new = test.store.address_by_hash(&test.relay(1).hash).await.expect("address").expect("known").id;
        assert_ne!(new, old);
        assert_eq!(test.store.events_of_address(new, 10).await.expect("events").len(), 1);
    }

    async fn what_is_set_aside_is_kept_sealed_once_and_goes(test: TestStore) {
        let part = |number: u8| NewSetAside {
            hash: [number; 16], reason: SetAsideReason::UnknownType, label: "nul\0label".to_owned(), body: b"{\"secret\":1}".to_vec(), received_at: at(0), expires_at: at(30_000),
        };
        let batch = Submission { feed: "ses".to_owned(), set_aside: vec![part(1), part(2), part(1)], ..Submission::default() };
        test.store.commit(&[batch.clone(), batch]).await.expect("commit");
        assert_eq!(test.rows("set_aside").await, 2);
        test.leader().expire(at(29_999).as_millis(), 0, 0).await.expect("expiry");
        assert_eq!(test.rows("set_aside").await, 2);
        test.leader().expire(at(30_001).as_millis(), 0, 0).await.expect("expiry");
        assert_eq!(test.rows("set_aside").await, 0);
    }

    async fn hostile_words_are_stored(test: TestStore) {
        let mut event = test.refused(1, 0);
        event.label = Some("nul \0 and \u{202e} and ' \" \\ % ;--".to_owned());
        event.stream = stream("weird\0.example", Some("c\0\u{1f4a9}' OR 1=1"));
        if let Some(reply) = &mut event.reply {
            reply.template = format!("550 {}\0", "ä".repeat(2_000));
        }
        let commit = test.store.commit(&[submission(vec![event.clone()])]).await.expect("commit");
        assert_eq!(commit.added, 1);
        assert_eq!(test.store.commit(&[submission(vec![event])]).await.expect("again").added, 0);
    }

    async fn a_fold_moves_cells_ledger_and_cursor_together(test: TestStore) {
        let key = |bin| CellKey { stream: 1, bin, destination: Destination::Relay };
        let counts = |exposed, refused| Counts { exposed, refused, refused_exposed: refused, ..Counts::default() };
        let row = |refused: Option<i64>, cause, delivered: Option<i64>, first| LedgerRow {
            address: 42, first_event_at: at(first), last_sent_at: None, last_delivered_at: delivered.map(at), last_refused_at: refused.map(at),
            last_cause: cause, complained_at: None, unsubscribed_at: None, suppressed_at: None, destination: Destination::Relay,
        };
        let who = |bin, address, change| RefusedChange { stream: 1, bin, address, change };
        let place = |n| Position { transaction: n, row: 0 };
        let of = FeedHour { feed: 3, exposure: Exposure::Sends, hour: 7 };
        let feed_hour = (of, FeedCounts { events: 2, sent: 1, delivered: 1, refused: 0, unsent: -1 });
        let day = |stream, day, exposed, refused| DayChange { stream, day, exposed, refused };
        let first = Fold { from: Position::START, to: place(10), cells: vec![(key(5), counts(10, 1)), (key(6), counts(1, 0))], ledger: vec![row(Some(100), Some(Cause::RecipientUnknown), Some(50), 20)], refused: vec![who(5, 42, 1), who(5, 41, 2), who(6, 42, 1)], feeds: vec![feed_hour], days: vec![day(1, 0, 11, 1), day(2, 0, 5, 5), day(1, 9, 3, 0)], ..Fold::default() };
        test.leader().apply("monitor", &first).await.expect("first");
        assert!(matches!(test.leader().apply("monitor", &first).await, Err(StoreError::CursorMoved)), "the same step again is refused");
        assert_eq!(test.store.cursor("monitor").await.expect("cursor"), place(10));
        assert_eq!(test.store.cursor("other").await.expect("cursor"), Position::START);

        let second = Fold { from: place(10), to: place(11), cells: vec![(key(5), counts(-2, 3))], ledger: vec![row(Some(90), Some(Cause::MailboxDisabled), None, 10)], refused: vec![who(5, 41, -2), who(6, 43, 1)], feeds: vec![feed_hour], days: vec![day(1, 0, -2, 3)], gone: vec![(2, 0)], ..Fold::default() };
        test.leader().apply("monitor", &second).await.expect("second");
        assert_eq!(test.store.cells(1, 5, 5).await.expect("cells"), [(key(5), counts(8, 4))]);
        assert_eq!(test.store.cells_since(6).await.expect("cells"), [(key(6), counts(1, 0))]);
        let both = [key(5), key(6), key(7)];
        assert_eq!(test.store.cells_of(&both).await.expect("cells"), [(key(5), counts(8, 4)), (key(6), counts(1, 0))]);
        let mut days = test.store.day_totals_of(&[(1, 0), (2, 0), (1, 9), (3, 3)]).await.expect("totals");
        days.sort_unstable();
        assert_eq!(days, [(1, 0, 9, 4), (1, 9, 3, 0)], "the total of 2 has gone elsewhere");
        let mut found = test.store.refused_witnesses(&[(1, 5), (1, 6), (1, 6), (2, 5)]).await.expect("witnesses");
        found.sort_unstable();
        assert_eq!(found, [(1, 5, 42), (1, 6, 42), (1, 6, 43)], "41 was taken away again");
        assert_eq!(test.store.refused_addresses(&[1, 2], 5, 6, 10).await.expect("addresses"), [42, 43]);
        assert_eq!(test.store.refused_addresses(&[1], 6, 6, 1).await.expect("addresses"), [42]);
        let by_hour = async |bare| test.store.refused_by_hour(&[1, 2], Bin(5), Bin(6), bare).await.expect("hours");
        assert_eq!(by_hour(false).await, [(0, 2)], "an address counts once in an hour");
        assert_eq!(by_hour(true).await, [], "both cells are exposed");
        let ledger = test.store.ledger(42).await.expect("ledger").expect("row");
        let mut expected = row(Some(100), Some(Cause::RecipientUnknown), Some(50), 20);
        expected.merge(&row(Some(90), Some(Cause::MailboxDisabled), None, 10));
        assert_eq!(ledger, expected, "an earlier refusal doesn't change the latest cause");
        assert_eq!((ledger.last_cause, ledger.first_event_at), (Some(Cause::RecipientUnknown), at(10)));

        let unknowing = Fold { from: place(11), to: place(12), sealed: Some(3), ..Fold::default() };
        assert!(matches!(test.leader().apply("monitor", &unknowing).await, Err(StoreError::CursorMoved)), "there is no such checkpoint");

        let twice = FeedCounts { events: 4, sent: 2, delivered: 2, refused: 0, unsent: -2 };
        assert_eq!(test.store.feed_hours(7).await.expect("hours"), [(of, twice)]);
        assert!(test.store.feed_hours(8).await.expect("hours").is_empty());

        test.store.reset_projections().await.expect("reset");
        assert!(test.store.feed_hours(0).await.expect("hours").is_empty());
        assert!(test.store.day_totals_of(&[(1, 0)]).await.expect("totals").is_empty());
        assert_eq!(test.store.horizon().await.expect("horizon").rebuilt_from, Some(place(11)));
        assert_eq!(test.store.cursor("monitor").await.expect("cursor"), Position::START);
        assert_eq!(test.store.ledger(42).await.expect("ledger"), None);
        assert!(test.store.cells_since(0).await.expect("cells").is_empty());
    }

    async fn an_incident_is_kept_and_changed(test: TestStore) {
        let new = IncidentRecord {
            id: 0, state: IncidentState::Open, onset: at(0), opened_at: at(300_000), updated_at: at(300_000), closed_at: None,
            operator: OperatorWord::default(), body: serde_json::json!({"scope": "ses"}),
        };
        let id = test.leader().save_incident(&new).await.expect("saved");
        let other = test.leader().save_incident(&IncidentRecord { onset: at(9), ..new.clone() }).await.expect("saved");
        assert_ne!(id, other);
        let closed = IncidentRecord { id, state: IncidentState::Closed, closed_at: Some(at(900_000)), ..new.clone() };
        assert_eq!(test.leader().save_incident(&closed).await.expect("changed"), id);
        assert_eq!(test.store.incident(id).await.expect("incident"), Some(closed));
        assert_eq!(test.store.incident(other + 1).await.expect("incident"), None);
        let open = test.store.incidents(&[IncidentState::Open], 10).await.expect("incidents");
        assert_eq!(open.iter().map(|incident| incident.id).collect::<Vec<_>>(), [other]);
        let all = test.store.incidents(&[IncidentState::Open, IncidentState::Closed], 10).await.expect("incidents");
        assert_eq!(all.iter().map(|incident| incident.id).collect::<Vec<_>>(), [other, id], "newest onset first");
        test.store.reset_projections().await.expect("reset");
        assert_eq!(test.store.incidents(&[IncidentState::Open], 10).await.expect("incidents").len(), 1, "they outlive a rebuild");
    }

    async fn a_sign_of_life_never_goes_back_and_own_facts_are_there_once(test: TestStore) {
        assert_eq!(test.store.sign_of_life("ingest").await.expect("read"), None);
        for millis in [5_000, 9_000, 7_000] {
            test.store.give_sign_of_life("ingest", at(millis)).await.expect("given");
        }
        assert_eq!(test.store.sign_of_life("ingest").await.expect("read"), Some(at(9_000)));
        let fact = || test.store.append(None, EntryKind::BlindWindow, at(0), serde_json::json!({ "watched": "all" }));
        assert!(fact().await.expect("appended"));
        assert!(!fact().await.expect("appended"), "the same fact is there once");
        assert_eq!(test.rows("entry").await, 1);
    }

    async fn rotation_reseals_everything(test: TestStore) {
        test.store.commit(&[
            Submission {
                entries: vec![NewEntry { key: test.key(5, 0), kind: EntryKind::Notice, account: Some(test.subject("T", "s")), address: None, app: None, body: serde_json::json!({}) }],
                set_aside: vec![NewSetAside { hash: [1; 16], reason: SetAsideReason::Malformed, label: String::new(), body: vec![1], received_at: at(0), expires_at: at(1) }],
                ..submission((0..20).map(|n| test.refused(n, 0)).collect())
            },
        ]).await.expect("commit");
        test.keyring.rotate().expect("rotated");
        test.store.announce_key().await.expect("announced");
        let mut done = 0;
        loop {
            let step = test.store.reseal(7).await.expect("reseal");
            if step == 0 { break; }
            done += step;
        }
        assert_eq!(done, 20 + 1 + 1 + 1, "addresses, account, set-aside, template sample");
        let sealed = test.store.address_by_hash(&test.relay(3).hash).await.expect("address").expect("known").sealed.expect("sealed");
        assert_eq!(Keyring::key_of(&sealed), Some(2));
        assert_eq!(test.keyring.open(Purpose::Address, &test.relay(3).hash, &sealed).expect("opens"), b"user3@privaterelay.appleid.com");
    }

    async fn another_key_file_is_refused(test: TestStore) {
        test.store.close().await;
        drop(test.store);
        let other = Arc::new(Keyring::generate().expect("keys"));
        let error = Store::open(&test.options, other).await.expect_err("refused");
        assert!(matches!(error, StoreError::WrongKey { .. }), "{error:?}");
    }

    async fn in_hashed_mode_nothing_can_be_opened(test: TestStore) {
        let mut test = test;
        test.store.close().await;
        drop(test.store);
        test.options.sealed = false;
        test.store = Store::open(&test.options, Arc::clone(&test.keyring)).await.expect("opens");
        test.store.commit(&[submission(vec![test.refused(1, 0)])]).await.expect("commit");
        let known = test.store.address_by_hash(&test.relay(1).hash).await.expect("address").expect("known");
        assert_eq!(known.sealed, None);
        let template = test.journal(1, 10).await[0].reply.expect("reply").template;
        assert_eq!(test.store.template_sample(template).await.expect("sample"), Some((at(0).as_millis(), None)));
    }

    async fn a_reader_reads_beside_the_writer(test: TestStore) {
        test.store.commit(&[submission(vec![test.delivered(1, 0)])]).await.expect("commit");
        let reader = test.again(Access::Read).await;
        assert_eq!(reader.row_counts().await.expect("counts")[0], ("event", 1));
        test.store.commit(&[submission(vec![test.delivered(2, 0)])]).await.expect("commit");
        assert_eq!(reader.row_counts().await.expect("counts")[0], ("event", 2));
        reader.close().await;
    }

    async fn commits_that_overlap_end_exactly_once(test: TestStore) {
        let mut tasks = tokio::task::JoinSet::new();
        for worker in 0..6_usize {
            let store = test.store.clone();
            // Every worker brings half of the same events, in an order of its own.
            let mut events: Vec<_> = (0..200).filter(|n| (n + worker) % 3 != 0).map(|n| test.refused(n, 1_000)).collect();
            if worker % 2 == 1 { events.reverse(); }
            tasks.spawn(async move {
                for chunk in events.chunks(17) {
                    store.commit(&[submission(chunk.to_vec())]).await.expect("no deadlock");
                }
            });
        }
        while let Some(done) = tasks.join_next().await { done.expect("worker"); }
        assert_eq!(test.rows("event").await, 200);
        assert_eq!(test.rows("address").await, 200);
        let found = test.journal(200, 13).await;
        assert_eq!(found.iter().map(|event| event.key).collect::<HashSet<_>>().len(), 200);
        assert_eq!(found.len(), 200);
    }

    async fn old_rows_go_by_their_kind(test: TestStore) {
        let day = 86_400_000;
        let events = vec![test.delivered(1, 0), test.refused(2, 0), test.delivered(3, 10 * day), test.refused(4, 10 * day)];
        test.store.commit(&[submission(events)]).await.expect("commit");
        test.leader().expire(at(0).as_millis(), at(2 * day).as_millis(), at(0).as_millis()).await.expect("expiry");
        assert_eq!(test.rows("event").await, 4, "what is not folded stays");
        test.fold(4).await;
        test.leader().expire(at(0).as_millis(), at(2 * day).as_millis(), at(0).as_millis()).await.expect("expiry");
        let left: Vec<_> = test.journal(3, 10).await.into_iter().map(|event| (event.kind, event.key.at)).collect();
        assert_eq!(left.len(), 3, "only the old delivery went: {left:?}");
        test.leader().expire(at(0).as_millis(), at(60 * day).as_millis(), at(60 * day).as_millis()).await.expect("expiry");
        assert_eq!(test.rows("event").await, 0);
        // A day that went can come back (a late import), and be read.
        test.store.commit(&[submission(vec![test.delivered(5, 0)])]).await.expect("commit");
        assert_eq!(test.rows("event").await, 1);
    }

    async fn streams_have_one_number_each(test: TestStore) {
        let leaf = stream("news.example.com", Some("spring"));
        let mut keys = leaf.parents();
        keys.push(leaf.clone());
        let ids = test.store.stream_ids(&keys).await.expect("ids");
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), keys.len());
        let other = test.again_reading_ids(&keys).await;
        assert_eq!(other, ids, "another process sees the same numbers");
        assert_eq!(keys[0].level, StreamLevel::Envelope);
    }

    async fn the_store_answers_and_tells_its_size(test: TestStore) {
        test.store.ping().await.expect("it answers");
        let sizes = test.store.bytes_by_table().await.expect("sizes");
        assert!(sizes.iter().map(|(_, bytes)| bytes).sum::<i64>() > 0, "{sizes:?}");
    }
}

/// The ids of the first relay addresses.
async fn ids_of(test: &TestStore, count: usize) -> Vec<i64> {
    let mut ids = Vec::new();
    for number in 0..count {
        let known = test.store.address_by_hash(&test.relay(number).hash).await.expect("address");
        ids.push(known.expect("known").id);
    }
    ids
}

impl TestStore {
    async fn again_reading_ids(&self, keys: &[StreamKey]) -> Vec<i32> {
        match &self.store {
            // SQLite has one writer; its numbers are looked up in the file beside it.
            Store::Sqlite(_) => self.store.stream_ids(keys).await.expect("ids"),
            Store::Postgres(_) => self.again(Access::Write).await.stream_ids(keys).await.expect("ids"),
        }
    }
}

fn sha256_prefix(text: &str) -> Vec<u8> {
    use aws_lc_rs::digest;
    digest::digest(&digest::SHA256, text.as_bytes()).as_ref()[..16].to_vec()
}
