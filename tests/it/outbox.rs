//! The outbox of the store, on both engines: nothing is lost, nothing doubled but what was begun and not recorded.

use relaywatch::{
    model::Timestamp,
    store::{Access, Leader, NewOutbox, OutboxFailure, OutboxItem, OutboxState, Route, Store, Submission},
};

use crate::{
    on_both_engines,
    support::{TestStore, at, submission},
};

const LEASE: i64 = 60_000;

fn page(key: &str, incident: &str) -> NewOutbox {
    NewOutbox {
        key: key.to_owned(),
        route: Route::Slack,
        target: incident.to_owned(),
        ordered: true,
        paced: false,
        created_at: at(0),
        due_at: at(0),
        body: format!("the body of {key}").into_bytes(),
    }
}

fn update(key: &str, incident: &str) -> NewOutbox {
    NewOutbox { paced: true, ..page(key, incident) }
}

fn notice(key: &str) -> NewOutbox {
    NewOutbox { route: Route::Forward, ordered: false, ..page(key, "apple") }
}

async fn claim(store: &Leader, now: Timestamp) -> Vec<OutboxItem> {
    store.claim_outbox(Route::ALL, now, LEASE, 100).await.expect("claimed")
}

fn keys(items: &[OutboxItem]) -> Vec<&str> {
    items.iter().map(|item| item.key.as_str()).collect()
}

fn retry(at: Timestamp, may_have_arrived: bool) -> OutboxFailure {
    OutboxFailure {
        error: "the receiver answered 500".to_owned(),
        retry_at: Some(at),
        may_have_arrived,
        lets_pass: false,
    }
}

on_both_engines! {
    async fn what_a_delivery_brings_leaves_once_however_often_it_comes(test: TestStore) {
        let delivery = Submission { outbox: vec![notice("n1"), notice("n2")], ..submission(vec![test.delivered(1, 0)]) };
        let commit = test.store.commit(std::slice::from_ref(&delivery)).await.expect("commit");
        assert_eq!((commit.added, commit.repeated), (1, 0), "the outbox is no journal");
        test.store.commit(&[delivery.clone(), delivery.clone()]).await.expect("again");
        assert_eq!(test.rows("outbox").await, 2);
        let claimed = claim(&test.leader(), at(0)).await;
        assert_eq!(keys(&claimed), ["n1", "n2"]);
        assert_eq!(claimed[0].body.as_deref(), Some(b"the body of n1".as_slice()));
        for item in &claimed {
            assert_eq!((item.attempts, item.possible_repeat, item.target.as_str()), (1, false, "apple"));
            test.leader().outbox_sent(item, at(1), None).await.expect("recorded");
        }
        test.store.commit(&[delivery]).await.expect("a retry after it was sent");
        assert!(claim(&test.leader(), at(10 * LEASE)).await.is_empty());
    }

    async fn one_key_is_one_thing_within_a_route(test: TestStore) {
        let both = [page("k", "i"), NewOutbox { route: Route::Webhook, ..page("k", "i") }];
        assert_eq!(test.leader().enqueue(&both).await.expect("new"), 2);
        assert_eq!(test.leader().enqueue(&both).await.expect("known"), 0);
        let slack = test.leader().claim_outbox(&[Route::Slack], at(0), LEASE, 10).await.expect("claimed");
        assert_eq!(slack.len(), 1, "only the routes that were asked for");
        assert_eq!(slack[0].route, Route::Slack);
    }

    async fn a_claim_that_ran_out_comes_again_marked(test: TestStore) {
        test.leader().enqueue(&[page("k", "i")]).await.expect("enqueued");
        let first = claim(&test.leader(), at(0)).await;
        assert!(claim(&test.leader(), at(LEASE - 1)).await.is_empty(), "it's the first one's until the lease ends");
        let second = claim(&test.leader(), at(LEASE)).await;
        assert_eq!(keys(&second), ["k"]);
        assert_eq!((second[0].attempts, second[0].possible_repeat), (2, true));
        // The first worker was only slow: its failure must not release what the second is sending.
        test.leader().outbox_failed(&first[0], at(LEASE + 1), &retry(at(LEASE + 1), false)).await.expect("void");
        assert!(claim(&test.leader(), at(LEASE + 2)).await.is_empty());
        // But what it has sent was sent.
        test.leader().outbox_sent(&first[0], at(LEASE + 3), None).await.expect("recorded");
        assert!(claim(&test.leader(), at(9 * LEASE)).await.is_empty());
        assert_eq!(test.store.outbox_state(Route::Slack, "k").await.expect("state"), Some(OutboxState::Sent));
    }

    async fn a_failure_waits_for_its_time_and_keeps_the_mark(test: TestStore) {
        test.leader().enqueue(&[page("k", "i")]).await.expect("enqueued");
        let item = claim(&test.leader(), at(0)).await.remove(0);
        test.leader().outbox_failed(&item, at(1), &retry(at(5_000), false)).await.expect("recorded");
        assert!(claim(&test.leader(), at(4_999)).await.is_empty());
        let item = claim(&test.leader(), at(5_000)).await.remove(0);
        assert!(!item.possible_repeat, "an answer that says no is no sending");
        test.leader().outbox_failed(&item, at(5_001), &retry(at(9_000), true)).await.expect("recorded");
        let item = claim(&test.leader(), at(9_000)).await.remove(0);
        assert!(item.possible_repeat, "the answer was lost");
        test.leader().outbox_failed(&item, at(9_001), &retry(at(9_002), false)).await.expect("recorded");
        let item = claim(&test.leader(), at(9_002)).await.remove(0);
        assert_eq!((item.possible_repeat, item.attempts), (true, 4));
        let given_up = OutboxFailure { retry_at: None, ..retry(at(0), false) };
        test.leader().outbox_failed(&item, at(9_003), &given_up).await.expect("recorded");
        assert!(claim(&test.leader(), at(99 * LEASE)).await.is_empty());
        assert_eq!(test.store.outbox_state(Route::Slack, "k").await.expect("state"), Some(OutboxState::GivenUp));
        // Another setup, or a start with the right key file: its body was kept.
        test.leader().outbox_hurry(at(99 * LEASE)).await.expect("hurried");
        let item = claim(&test.leader(), at(99 * LEASE)).await.remove(0);
        assert_eq!((item.body.as_deref(), item.possible_repeat), (Some(b"the body of k".as_slice()), true));
        test.leader().outbox_sent(&item, at(100 * LEASE), None).await.expect("recorded");
        test.leader().outbox_hurry(at(101 * LEASE)).await.expect("hurried");
        assert!(claim(&test.leader(), at(999 * LEASE)).await.is_empty(), "what was sent stays sent");
    }

    async fn the_pages_of_an_incident_leave_in_order_and_others_do_not_wait(test: TestStore) {
        let pages = [page("a1", "a"), page("a2", "a"), page("b1", "b"), notice("n1"), notice("n2")];
        for item in &pages {
            test.leader().enqueue(std::slice::from_ref(item)).await.expect("enqueued");
        }
        let claimed = claim(&test.leader(), at(0)).await;
        assert_eq!(keys(&claimed), ["a1", "b1", "n1", "n2"]);
        test.leader().outbox_failed(&claimed[0], at(1), &retry(at(5_000), false)).await.expect("recorded");
        assert!(claim(&test.leader(), at(2)).await.is_empty(), "the second page waits for the first");
        let first = claim(&test.leader(), at(5_000)).await.remove(0);
        test.leader().outbox_sent(&first, at(5_001), None).await.expect("recorded");
        assert_eq!(keys(&claim(&test.leader(), at(5_002)).await), ["a2"]);
    }

    async fn what_is_refused_lets_the_rest_of_its_incident_pass(test: TestStore) {
        for item in [page("k1", "i"), page("k2", "i"), page("k3", "i")] {
            test.leader().enqueue(&[item]).await.expect("enqueued");
        }
        let first = claim(&test.leader(), at(0)).await.remove(0);
        let refused = OutboxFailure { lets_pass: true, ..retry(at(5_000), false) };
        test.leader().outbox_failed(&first, at(1), &refused).await.expect("recorded");
        assert_eq!(keys(&claim(&test.leader(), at(2)).await), ["k2"], "and the third waits for the second");
        assert_eq!(keys(&claim(&test.leader(), at(5_000)).await), ["k1"]);
        // In a hurry everything that waits is due, but not what is being sent.
        let first = claim(&test.leader(), at(LEASE + 5_000)).await.remove(0);
        assert_eq!(first.key, "k1");
        test.leader().outbox_failed(&first, at(LEASE + 5_001), &retry(at(99 * LEASE), false)).await.expect("recorded");
        test.leader().outbox_hurry(at(LEASE + 5_002)).await.expect("hurried");
        assert_eq!(keys(&claim(&test.leader(), at(LEASE + 5_002)).await), ["k1"]);
    }

    async fn what_is_held_back_is_overtaken_and_ends(test: TestStore) {
        for item in [update("u1", "i"), update("u2", "i"), update("u3", "i"), page("closed", "i")] {
            test.leader().enqueue(&[item]).await.expect("enqueued");
        }
        let first = claim(&test.leader(), at(0)).await.remove(0);
        test.leader().outbox_sent(&first, at(10), None).await.expect("recorded");
        assert_eq!(test.store.outbox_pace(Route::Slack, "i", at(0)).await.expect("pace"), [at(10)]);
        assert!(test.store.outbox_pace(Route::Slack, "i", at(10)).await.expect("pace").is_empty());
        assert!(test.store.outbox_pace(Route::Slack, "other", at(0)).await.expect("pace").is_empty());

        let second = claim(&test.leader(), at(20)).await.remove(0);
        test.leader().outbox_held(&second, at(20), at(LEASE)).await.expect("held");
        let depth = test.store.outbox_depth().await.expect("depth");
        assert_eq!((depth.waiting, depth.oldest_due), (3, Some(at(0))));
        let third = claim(&test.leader(), at(30)).await.remove(0);
        assert_eq!(third.key, "u3");
        test.leader().outbox_held(&third, at(30), at(LEASE)).await.expect("held");
        let state = |key: &'static str| { let store = &test.store; async move { store.outbox_state(Route::Slack, key).await.expect("state") } };
        assert_eq!(state("u2").await, Some(OutboxState::Superseded), "the later one tells the same and more");
        assert_eq!(state("u3").await, Some(OutboxState::Held));

        let closed = claim(&test.leader(), at(40)).await.remove(0);
        assert_eq!(closed.key, "closed");
        test.leader().outbox_sent(&closed, at(50), None).await.expect("recorded");
        assert_eq!(state("u3").await, Some(OutboxState::Superseded));
        assert!(claim(&test.leader(), at(9 * LEASE)).await.is_empty());
        assert_eq!(test.store.outbox_depth().await.expect("depth"), relaywatch::store::OutboxDepth::default());
    }

    async fn the_receipt_of_the_first_page_is_found(test: TestStore) {
        for item in [page("k1", "i"), page("k2", "i")] {
            test.leader().enqueue(&[item]).await.expect("enqueued");
        }
        assert_eq!(test.store.outbox_receipt(Route::Slack, "i").await.expect("receipt"), None);
        for receipt in ["1700000000.000100", "1700000001.000200"] {
            let item = claim(&test.leader(), at(0)).await.remove(0);
            test.leader().outbox_sent(&item, at(1), Some(receipt)).await.expect("recorded");
        }
        let found = test.store.outbox_receipt(Route::Slack, "i").await.expect("receipt");
        assert_eq!(found.as_deref(), Some("1700000000.000100"));
        assert_eq!(test.store.outbox_receipt(Route::Webhook, "i").await.expect("receipt"), None);
    }

    async fn ended_rows_go_after_thirty_days_and_waiting_ones_never(test: TestStore) {
        test.leader().enqueue(&[page("sent", "a"), page("waiting", "b")]).await.expect("enqueued");
        let claimed = claim(&test.leader(), at(0)).await;
        let sent = claimed.iter().find(|item| item.key == "sent").expect("claimed");
        test.leader().outbox_sent(sent, at(1_000), None).await.expect("recorded");
        let days = 30 * relaywatch::model::DAY_MILLIS;
        test.leader().expire(at(1_000 + days).as_millis(), 0, 0).await.expect("expired");
        assert_eq!(test.rows("outbox").await, 2, "a repetition within thirty days still finds its key");
        test.leader().expire(at(1_001 + days).as_millis(), 0, 0).await.expect("expired");
        assert_eq!(test.rows("outbox").await, 1);
        assert_eq!(keys(&claim(&test.leader(), at(days)).await), ["waiting"]);
    }

    async fn bodies_are_sealed_and_follow_the_rotation(test: TestStore) {
        test.leader().enqueue(&[page("k", "i")]).await.expect("enqueued");
        let path = test.folder.path().join("keys.json");
        test.keyring.write(&path, true).expect("written");
        let epoch = test.leader().epoch();
        test.store.close().await;
        let keyring = relaywatch::privacy::Keyring::load(&path).expect("loaded");
        keyring.rotate().expect("rotated");
        let TestStore { store, options, folder: _folder, .. } = test;
        drop(store);
        let store = Store::open(&options, std::sync::Arc::new(keyring)).await.expect("opens");
        assert_eq!(store.reseal(10).await.expect("sealed anew"), 1);
        assert_eq!(store.reseal(10).await.expect("nothing left"), 0);
        let leader = store.lead("again", std::time::Duration::from_mins(1)).await.expect("the lease");
        let leader = leader.unwrap_or_else(|| Leader::new(store.clone(), epoch));
        let item = claim(&leader, at(0)).await.remove(0);
        assert_eq!(item.body.as_deref(), Some(b"the body of k".as_slice()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_connections_never_claim_the_same() {
    let Some(test) = crate::support::fresh_store(crate::support::Engine::Postgres).await else { return };
    // Two workers of one reign; two reigns never work at the same time.
    let other = Leader::new(test.again(Access::Write).await, test.leader().epoch());
    let items: Vec<NewOutbox> = (0..200).map(|n| notice(&format!("n{n:03}"))).collect();
    test.leader().enqueue(&items).await.expect("enqueued");
    let drain = |store: Leader| async move {
        let mut all = Vec::new();
        loop {
            let some = store.claim_outbox(&[Route::Forward], at(0), LEASE, 7).await.expect("claimed");
            if some.is_empty() {
                return all;
            }
            all.extend(some.into_iter().map(|item| item.key));
        }
    };
    let (one, two) = tokio::join!(tokio::spawn(drain(test.leader())), tokio::spawn(drain(other)));
    let mut all = [one.expect("one"), two.expect("two")].concat();
    all.sort();
    let expected: Vec<String> = items.into_iter().map(|item| item.key).collect();
    assert_eq!(all, expected);
}
