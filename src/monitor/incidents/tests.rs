use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
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
    let mut incidents = Incidents::load(&store).await.expect("loaded");
    incidents.heed_operators(&store, &announcer).await.expect("heeded");
    assert!(!incidents.trouble(now).is_empty(), "its day says nothing of what is ordinary");
    store.accept_incident(id, now).await.expect("accepted");
    incidents.heed_operators(&store, &announcer).await.expect("heeded");
    assert!(incidents.trouble(now).is_empty(), "without a restart");
}

#[tokio::test]
async fn open_incidents_are_kept_in_step_however_many_came_after_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = StoreOptions::new(format!("sqlite://{}/test.db", folder.path().display()), Access::Write);
    let store = Store::open(&options, Arc::new(Keyring::generate().expect("keys"))).await.expect("opens");
    let store = store.lead("test", Duration::from_mins(1)).await.expect("asked").expect("leads");
    let (record, _) = testing::purge();
    let open = IncidentRecord { id: 0, state: IncidentState::Open, closed_at: None, ..record.clone() };
    let id = store.save_incident(&open).await.expect("saved");
    for n in 0..i64::from(LOOKED_AT) {
        let onset = record.onset.plus_millis(1 + n);
        let later = IncidentRecord { id: 0, state: IncidentState::Closed, onset, ..record.clone() };
        store.save_incident(&later).await.expect("saved");
    }
    let incidents = Incidents::load(&store).await.expect("loaded");
    assert!(incidents.kept.iter().any(|kept| kept.record.id == id && kept.is_open()));
}
