//! Canaries against a real Dovecot, through a submission server that fares with them as it's told.

mod relay;

use std::{collections::BTreeMap, sync::Arc};

use relaywatch::{
    clock::{Clock, ManualClock},
    config::Config,
    daemon::canary::{
        Watch,
        courier::{Courier, Held},
        setup::CanarySetup,
        trials,
    },
    metrics::Metrics,
    model::Cause,
    monitor::blind,
    notify::{self, Notifiers},
    sources::canary::{Kind, Record, Said, Status, Trial, trial::Sending},
    store::{EntryKind, Store},
};
use tokio::sync::{Mutex, Notify, watch};

use self::relay::{Fate, Relay};
use crate::{
    on_both_engines,
    support::{
        TestStore,
        dovecot::{Dovecot, PASSWORD, is_available},
    },
};

/// All that a test works with.
struct Scene {
    dovecot: Arc<Dovecot>,
    relay: Relay,
    clock: ManualClock,
    courier: Arc<Courier>,
    watch: Watch,
    store: Store,
}

const LOCALS: [(&str, &str); 3] = [("orders", "qx7zhzkndneko"), ("news", "ab2cdefghijkl"), ("codes", "mn3opqrstuvwx")];

impl Scene {
    /// A mailbox with these paths, and with what the settings of its IMAP add.
    fn set(held: &TestStore, paths: &[&str], imap: &str) -> Self {
        let dovecot = Arc::new(Dovecot::start());
        let relay = Relay::start(Arc::clone(&dovecot));
        let smtp = format!("host = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n", relay.port);
        let mut text = format!(
            "[notify.webhook]\nurl = \"https://pages.example.com/\"\n[[team]]\nid = \"A1B2C3D4E5\"\n[[canary]]\n\
             name = \"icloud\"\nbudget = 24\n[canary.imap]\nhost = \"localhost\"\nport = {}\nca_file = \"{}\"\n\
             user = \"canary\"\npassword = \"{PASSWORD}\"\npoll_seconds = 5\n{imap}\n[canary.control]\n\
             from = \"dev@mydomain.example\"\nto = \"canary@icloud.com\"\n[canary.control.smtp]\n{smtp}",
            dovecot.port,
            dovecot.path("ca.pem").display(),
        );
        for (name, local) in LOCALS.iter().filter(|(name, _)| paths.contains(name)) {
            let path = format!(
                "[[canary.path]]\nname = \"{name}\"\nprovider = \"ses\"\nteam = \"A1B2C3D4E5\"\n\
                 from = \"dev@mydomain.example\"\nto = \"{local}@privaterelay.appleid.com\"\n\
                 mail_from = \"bounces@mail.mydomain.example\"\nrepresents = \"{name} through SES\"\n\
                 not_represented = \"mail by the API\"\n[canary.path.smtp]\n{smtp}"
            );
            text.push_str(&path);
        }
        let config = Config::from_text(None, text, std::collections::HashMap::new()).expect("a configuration");
        assert_eq!(config.provenance.warnings, []);
        let clock = ManualClock::new(Clock::System.now());
        let courier = Arc::new(Courier {
            setup: Arc::new(CanarySetup::new(&config).expect("a setup")),
            store: held.store.clone(),
            keyring: Arc::clone(&held.keyring),
            clock: Clock::Manual(clock.clone()),
            relay: watch::channel(config.relay.to_domains()).1,
            rules: watch::channel(None).1,
            metrics: Metrics::new().expect("metrics"),
            wake: Notify::new(),
            sending: Mutex::default(),
        });
        let notifiers = Notifiers::new(notify::Setup::new(&config).expect("notifiers"));
        let mailbox = courier.setup.mailboxes.first().expect("a mailbox").clone();
        let watch = Watch::new(mailbox, Arc::clone(&courier), held.leader(), notifiers);
        Self { dovecot, relay, clock, courier, watch, store: held.store.clone() }
    }

    /// Does what is due, so many minutes later.
    async fn after(&mut self, minutes: u64) {
        self.clock.advance(std::time::Duration::from_mins(minutes));
        self.watch.step().await.expect("a step");
    }

    /// Sends what is due, and looks again once its time is over. The next is due when this returns.
    async fn round(&mut self) {
        self.after(0).await;
        self.after(31).await;
        self.clock.advance(std::time::Duration::from_mins(36));
    }

    async fn trials(&self, kind: Kind, name: &str) -> Vec<Trial> {
        let all = trials(&self.store, self.clock.now()).await.expect("the journal");
        all.of_path(kind, name).into_iter().cloned().collect()
    }

    async fn statuses(&self, name: &str) -> Vec<Status> {
        self.trials(Kind::Relay, name).await.iter().map(|trial| trial.status(self.clock.now())).collect()
    }

    /// The windows of the mailbox: why, and whether they last.
    async fn windows(&self) -> Vec<(String, bool)> {
        let known = blind::known(&self.store, self.clock.now()).await.expect("the journal");
        let ours = known.into_iter().filter(|window| window.watched == "canary/icloud");
        ours.map(|window| (window.reason.expect("a reason").to_string(), window.until.is_none())).collect()
    }

    async fn pages(&self) -> i64 {
        self.store.outbox_depth().await.expect("the outbox").waiting
    }
}

on_both_engines! {
    async fn what_is_accepted_and_dropped_pages_after_three_misses_and_resolves(test: TestStore) {
        if !is_available() {
            return;
        }
        let mut scene = Scene::set(&test, &["orders"], "");
        scene.relay.fate("qx7zhzkndneko", Fate::Drop);
        for missing in 1..=2 {
            scene.round().await;
            assert_eq!(scene.statuses("orders").await, vec![Status::Missed; missing]);
            assert_eq!(scene.pages().await, 0, "after {missing}");
        }
        scene.round().await;
        let missed = scene.trials(Kind::Relay, "orders").await;
        assert_eq!(scene.statuses("orders").await, [Status::Missed; 3]);
        let key = format!("canary/orders/{}", missed[0].record.canary);
        assert!(scene.store.outbox_knows(&key).await.expect("the outbox"));
        assert!(scene.trials(Kind::Control, "icloud").await.iter().all(|control| control.arrival.is_some()));
        scene.round().await;
        assert_eq!(scene.pages().await, 1, "it is told once");
        scene.relay.fate("qx7zhzkndneko", Fate::Inbox);
        scene.after(0).await;
        assert!(scene.store.outbox_knows(&format!("{key}/over")).await.expect("the outbox"));
        assert_eq!(scene.pages().await, 2);
        assert_eq!(scene.windows().await, []);
    }

    async fn refused_junked_and_late_ones_are_told_apart(test: TestStore) {
        if !is_available() {
            return;
        }
        let mut scene = Scene::set(&test, &["orders", "news", "codes"], "after = \"delete\"");
        scene.relay.fate("qx7zhzkndneko", Fate::Refuse("550 5.1.1 <bounces@mail.mydomain.example>: unauthorized sender"));
        scene.relay.fate("ab2cdefghijkl", Fate::Junk);
        scene.relay.fate("mn3opqrstuvwx", Fate::Hold);
        scene.dovecot.deliver(false, "Subject: not ours rwc0123456789abcdef00112233445566778899\r\n\r\nx\r\n");
        scene.round().await;
        assert_eq!(scene.statuses("orders").await, [Status::Refused]);
        assert_eq!(scene.statuses("news").await, [Status::Arrived]);
        assert_eq!(scene.statuses("codes").await, [Status::Missed]);
        let refused = scene.trials(Kind::Relay, "orders").await.remove(0);
        let Sending::Refused(refusal) = &refused.sending else { panic!("{refused:?}") };
        assert_eq!(refusal.cause, Cause::RelaySenderUnregistered, "{refusal:?}");
        let arrival = scene.trials(Kind::Relay, "news").await.remove(0).arrival.expect("there");
        assert!(arrival.junk && arrival.rewritten && arrival.folder == "Junk", "{arrival:?}");
        assert_eq!(arrival.from_domain.as_deref(), Some("icloud.com"));
        assert_eq!(arrival.results, ["mx.icloud.com; spf=pass smtp.mailfrom={sender}@mail.mydomain.example"]);
        assert_eq!(scene.dovecot.messages(), 1, "ours are deleted, and nothing else");
        assert!(scene.store.outbox_knows(&format!("canary/orders/refused/{}", refused.record.canary)).await.expect("it"));

        scene.relay.release();
        scene.after(0).await;
        assert_eq!(scene.statuses("codes").await.first(), Some(&Status::Late));
        let entries = scene.store.entries_of_kind(EntryKind::CanaryResult, scene.clock.now(), 1_000).await;
        let text = format!("{:?}", entries.expect("the journal").iter().map(|entry| &entry.body).collect::<Vec<_>>());
        for (_, local) in LOCALS {
            assert!(!text.contains(local), "{text}");
        }
    }

    async fn a_mailbox_that_cannot_be_read_is_a_blind_window_and_no_page(test: TestStore) {
        if !is_available() {
            return;
        }
        let mut scene = Scene::set(&test, &["orders"], "");
        scene.after(0).await;
        assert_eq!(scene.statuses("orders").await, [Status::Arrived]);
        scene.relay.fate("qx7zhzkndneko", Fate::Drop);
        scene.dovecot.pause();
        scene.clock.advance(std::time::Duration::from_mins(67));
        for _ in 0..4 {
            scene.round().await;
        }
        assert_eq!(scene.statuses("orders").await[1..], [Status::Unseen; 4]);
        assert_eq!(scene.pages().await, 0);
        assert_eq!(scene.windows().await, [("unreachable".to_owned(), true)]);
        scene.relay.fate("qx7zhzkndneko", Fate::Inbox);
        scene.dovecot.go_on();
        scene.after(0).await;
        assert_eq!(scene.windows().await, [("unreachable".to_owned(), false)]);
    }

    async fn the_budget_is_counted_from_the_journal(test: TestStore) {
        if !is_available() {
            return;
        }
        let scene = Scene::set(&test, &["orders"], "");
        let setup = Arc::clone(&scene.courier.setup);
        let (mailbox, route) = setup.path("orders").expect("a path");
        // One that was begun when the process ended.
        let begun = scene.courier.send(mailbox, route, None).await.expect("the store").expect("sent");
        let mut records = BTreeMap::new();
        for _ in 1..24 {
            let sent: Record = scene.courier.send(mailbox, route, None).await.expect("the store").expect("sent");
            assert_eq!(sent.said, Said::Accepted);
            records.insert(sent.canary, sent);
        }
        assert_eq!((records.len(), records.contains_key(&begun.canary)), (23, false));
        let held = scene.courier.send(mailbox, route, None).await.expect("the store");
        assert!(matches!(held, Err(Held::Budget(until)) if until > scene.clock.now()), "{held:?}");
        assert_eq!(scene.trials(Kind::Relay, "orders").await.len(), 24, "what is held is not journalled");
        assert!(scene.courier.send(mailbox, &mailbox.control, None).await.expect("the store").is_ok(), "controls do not count");
        scene.clock.advance(std::time::Duration::from_hours(24));
        assert!(scene.courier.send(mailbox, route, None).await.expect("the store").is_ok());
    }
}
