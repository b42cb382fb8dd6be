//! Dropping old keys: said in the journal before it is done.

use std::sync::Arc;

use relaywatch::{
    clock::Clock,
    control::{Call, ControlError, Folding, ForgetOldKeys, Operator, Retention},
    model::RelayDomains,
    privacy::Keyring,
    store::{EntryKind, Span},
};
use tokio::sync::{Mutex, watch};

use crate::{on_both_engines, support::TestStore};

/// What the journal says that operators did, without names.
async fn actions(test: &TestStore) -> Vec<(String, i64)> {
    let entries = test.store.entries_by_time(EntryKind::Action, Span::default(), None, 100).await.expect("entries");
    let mut said: Vec<(String, i64)> = entries
        .iter()
        .map(|entry| {
            let number = entry.body.get("dropped").or_else(|| entry.body.get("kept"));
            let action = entry.body["action"].as_str().expect("an action").to_owned();
            (action, number.and_then(serde_json::Value::as_i64).expect("a number"))
        })
        .collect();
    said.sort();
    said
}

on_both_engines! {
    async fn old_keys_are_dropped_after_it_is_said_and_a_failure_is_said_too(test: TestStore) {
        let path = test.folder.path().join("keys.json");
        test.keyring.write(&path, true).expect("a key file");
        let keyring = Arc::new(Keyring::load(&path).expect("the keys"));
        keyring.rotate().expect("rotated");
        let operator = Operator {
            store: test.store.clone(),
            keyring: Arc::clone(&keyring),
            clock: Clock::System,
            relay: watch::channel(RelayDomains::default()).1,
            rules: watch::channel(None).1,
            retention: Retention { deliveries_days: 14, refusals_days: 365 },
            folding: Folding::Own { monitor: Box::new(Mutex::new(None)), max_streams: 100_000 },
            running: None,
        };
        let forget = || ForgetOldKeys { operator: "tester".to_owned() };

        // A key file that can't be written: a folder stands where it is written first.
        let beside = test.folder.path().join(format!("keys.json.new.{}", std::process::id()));
        std::fs::create_dir(&beside).expect("a folder");
        let error = forget().run(&operator).await.expect_err("nothing is dropped");
        assert!(matches!(error, ControlError::Keys(_)), "{error:?}");
        assert_eq!((keyring.key_ids(), keyring.old_keys().expect("the file")), (vec![1, 2], vec![1]));
        let said = |action: &str| (action.to_owned(), 1);
        assert_eq!(actions(&test).await, [said("keys-forget-old"), said("keys-forget-old-failed")]);

        std::fs::remove_dir(&beside).expect("removed");
        assert_eq!(forget().run(&operator).await.expect("dropped").dropped, 1);
        assert_eq!((keyring.key_ids(), keyring.old_keys().expect("the file")), (vec![2], vec![]));
        assert_eq!(
            actions(&test).await,
            [said("keys-forget-old"), said("keys-forget-old"), said("keys-forget-old-failed")]
        );
    }
}
