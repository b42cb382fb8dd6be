use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    detect::Parameters,
    incident::testing,
    notify::Setup,
    privacy::Keyring,
    store::{Access, StoreOptions},
};

#[tokio::test]
async fn what_is_accepted_as_normal_is_learnt_from_at_once_also_where_it_is_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = StoreOptions::new(format!("sqlite://{}/test.db", folder.path().display()), Access::Write);
    let store = Store::open(&options, Arc::new(Keyring::generate().expect("keys"))).await.expect("opens");
    let store = store.lead("test", Duration::from_mins(1)).await.expect("asked").expect("leads");
    let (record, _) = testing::purge();
    let now = record.updated_at;
    let closed = IncidentRecord { id: 0, state: IncidentState::Closed, closed_at: Some(now), ..record };
    let id = store.save_incident(&closed).await.expect("saved");
    let notifiers = Notifiers::new(Setup::default());
    let metrics = Metrics::new().expect("metrics");
    let announcer =
        Announcer { notifiers: &notifiers, metrics: &metrics, now, changed: &BTreeSet::new(), windows: &[] };
    let judge = Judge::new(Parameters::default());
    let mut incidents = Incidents::load(&store, &judge, now).await.expect("loaded");
    incidents.heed_operators(&store, &announcer).await.expect("heeded");
    assert!(!incidents.trouble(now).is_empty(), "its day says nothing of what is ordinary");
    store.accept_incident(id, now).await.expect("accepted");
    incidents.heed_operators(&store, &announcer).await.expect("heeded");
    assert!(incidents.trouble(now).is_empty(), "without a restart");
}

#[tokio::test]
async fn what_is_open_is_taken_up_and_of_what_is_over_what_judgements_still_ask_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = StoreOptions::new(format!("sqlite://{}/test.db", folder.path().display()), Access::Write);
    let store = Store::open(&options, Arc::new(Keyring::generate().expect("keys"))).await.expect("opens");
    let store = store.lead("test", Duration::from_mins(1)).await.expect("asked").expect("leads");
    let (record, _) = testing::purge();
    let judge = Judge::new(Parameters::default());
    let now = record.updated_at;
    let days_ago = |days: i64| now.plus_millis(-days * DAY_MILLIS);
    let ended = |at: Timestamp| IncidentRecord {
        id: 0,
        state: IncidentState::Closed,
        onset: at.plus_millis(-1),
        closed_at: Some(at),
        ..record.clone()
    };
    let window = now.bin().0.div_euclid(DAY_BINS) - judge.history_from(now.bin().0.div_euclid(DAY_BINS), None);
    let within = store.save_incident(&ended(days_ago(window))).await.expect("saved");
    let before = store.save_incident(&ended(days_ago(window + 1))).await.expect("saved");
    let known = async || -> BTreeSet<i64> {
        let incidents = Incidents::load(&store, &judge, now).await.expect("loaded");
        incidents.kept.iter().map(|kept| kept.record.id).collect()
    };
    assert_eq!(known().await, BTreeSet::from([within]));

    // The regime that one keeps which is open since long ago comes of the days before that.
    let at = days_ago(300);
    let open =
        IncidentRecord { id: 0, state: IncidentState::Open, onset: at, opened_at: at, closed_at: None, ..record };
    let open = store.save_incident(&open).await.expect("saved");
    assert_eq!(known().await, BTreeSet::from([within, before, open]));
}
