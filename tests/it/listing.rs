//! What lists read beside outcomes, on both engines.

use relaywatch::{
    ingest::SetAsideReason,
    store::{EntryKind, NewEntry, NewSetAside, Position, Span, Submission, WordKind},
};

use crate::{on_both_engines, support::at};

on_both_engines! {
    async fn entries_come_by_kind_latest_first_page_by_page(test: TestStore) {
        assert_eq!(test.store.entries_end().await.expect("the end").row, test.store.journal_end().await.expect("end").row);
        let entry = |number: usize, kind: EntryKind, millis: i64| NewEntry {
            key: test.key(number, millis),
            kind,
            account: Some(test.subject("A1B2C3D4E5", "000123.abc")),
            address: None,
            app: None,
            body: serde_json::json!({ "number": number }),
        };
        let notices = (0..5_usize).map(|number| entry(number, EntryKind::Notice, i64::try_from(number / 2).expect("small") * 1_000));
        let entries = notices.chain([entry(9, EntryKind::Action, 1_000)]).collect();
        let batch = Submission { feed: "apple".to_owned(), entries, ..Submission::default() };
        test.store.commit(&[batch]).await.expect("commit");

        let whole = test.store.entries_by_time(EntryKind::Notice, Span::default(), None, 10).await.expect("entries");
        assert_eq!(whole.len(), 5, "no other kind: {whole:?}");
        assert!(whole.is_sorted_by(|one, other| (one.key.at, one.key.hash) > (other.key.at, other.key.hash)));
        let mut paged = Vec::new();
        let mut before = None;
        loop {
            let page = test.store.entries_by_time(EntryKind::Notice, Span::default(), before, 2).await.expect("a page");
            let Some(last) = page.last() else { break };
            before = Some(last.key);
            paged.extend(page);
        }
        assert_eq!(paged, whole, "pages give the same, also within one millisecond");
        let span = Span { since: Some(at(1_000)), until: Some(at(2_000)) };
        let within = test.store.entries_by_time(EntryKind::Notice, span, None, 10).await.expect("entries");
        assert!(within.len() == 2 && within.iter().all(|entry| entry.key.at == at(1_000)), "{within:?}");

        // Whoever follows from the end sees what comes after it.
        let follow = async {
            let end = loop {
                let end = test.store.entries_end().await.expect("the end");
                if test.store.entries_after(Position::START, 10).await.expect("entries").len() == 6
                    && test.store.entries_after(end, 10).await.expect("entries").is_empty()
                {
                    break end;
                }
                tokio::task::yield_now().await;
            };
            let batch = Submission { feed: "apple".to_owned(), entries: vec![entry(10, EntryKind::Notice, 0)], ..Submission::default() };
            test.store.commit(&[batch]).await.expect("commit");
            loop {
                let more = test.store.entries_after(end, 10).await.expect("entries");
                if !more.is_empty() {
                    return more;
                }
                tokio::task::yield_now().await;
            }
        };
        let more = tokio::time::timeout(std::time::Duration::from_mins(1), follow).await.expect("in time");
        assert_eq!((more.len(), &more[0].body["number"]), (1, &serde_json::json!(10)));
    }

    async fn what_was_set_aside_comes_by_arrival_without_its_body(test: TestStore) {
        let part = |number: u8, millis: i64| NewSetAside {
            hash: [number; 16],
            reason: SetAsideReason::ImplausibleTime,
            label: format!("bounce {number}"),
            body: b"{\"secret\":1}".to_vec(),
            received_at: at(millis),
            expires_at: at(millis + 30_000),
        };
        let submission = |feed: &str, parts: Vec<NewSetAside>| Submission { feed: feed.to_owned(), set_aside: parts, ..Submission::default() };
        test.store
            .commit(&[
                submission("ses", vec![part(1, 1_000), part(2, 1_000), part(3, 5_000)]),
                submission("sparkpost", vec![part(4, 3_000)]),
            ])
            .await
            .expect("commit");
        let whole = test.store.set_aside_by_time(Span::default(), None, 10).await.expect("parts");
        assert_eq!(whole.len(), 4);
        assert!(whole.is_sorted_by(|one, other| (one.received_at, one.id) > (other.received_at, other.id)));
        assert_eq!((whole[0].label.as_str(), whole[0].reason), ("bounce 3", SetAsideReason::ImplausibleTime));
        assert_eq!(whole[0].expires_at, at(35_000));
        let feeds = test.store.words_of(WordKind::Feed).await.expect("words");
        let feed = feeds.iter().find(|(_, name)| name == "sparkpost").expect("the feed").0;
        assert_eq!((whole[1].label.as_str(), whole[1].feed), ("bounce 4", feed));
        let (record, body) = test.store.set_aside_part(whole[1].id, at(0)).await.expect("read").expect("there");
        assert_eq!((&record, body.as_slice()), (&whole[1], &b"{\"secret\":1}"[..]), "opened by its number");
        assert!(test.store.set_aside_part(-1, at(0)).await.expect("read").is_none());
        let expired = test.store.set_aside_part(whole[1].id, whole[1].expires_at).await.expect("read");
        assert!(expired.is_none(), "though upkeep has not been there yet");
        let mut paged = Vec::new();
        let mut before = None;
        loop {
            let page = test.store.set_aside_by_time(Span::default(), before, 1).await.expect("a page");
            let Some(last) = page.last() else { break };
            before = Some((last.received_at, last.id));
            paged.extend(page);
        }
        assert_eq!(paged, whole);
        let span = Span { since: Some(at(1_000)), until: Some(at(3_000)) };
        assert_eq!(test.store.set_aside_by_time(span, None, 10).await.expect("parts").len(), 2);
    }
}
