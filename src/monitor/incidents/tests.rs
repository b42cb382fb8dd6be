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
    let announcer = Announcer { notifiers: &notifiers, metrics: &metrics, now, changed: false };
    let mut incidents = Incidents::load(&store).await.expect("loaded");
    incidents.heed_operators(&store, &announcer).await.expect("heeded");
    assert!(!incidents.trouble(now).is_empty(), "its day says nothing of what is ordinary");
    store.accept_incident(id, now).await.expect("accepted");
    incidents.heed_operators(&store, &announcer).await.expect("heeded");
    assert!(incidents.trouble(now).is_empty(), "without a restart");
}
