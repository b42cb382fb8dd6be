//! One mailbox: sends what is due, reads, journals what came and what did not, and looks what that means.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{
    courier::{Courier, MOST},
    setup::{MailboxSetup, Route},
};
use crate::{
    explain::BlindReason,
    model::{DAY_MILLIS, Fault, HOUR_MILLIS, MINUTE_MILLIS, Timestamp},
    monitor::blind::{CANARY, Window, known},
    notify::Notifiers,
    privacy::Purpose,
    sources::{
        canary::{
            Arrival, Kind, Own, Reader, Record, Refusal, Said, Status, Trial, Trials,
            sighting::identify,
            trial::{Sending, Stage},
        },
        mailbox::{Found, Mailbox, ReadError},
    },
    store::{EntryKind, Leader, Store, StoreError},
};

/// While a canary has just been sent, the mailbox is read so often, in milliseconds …
const SOON_MILLIS: i64 = 5_000;
/// … for so long.
const JUST_SENT_MILLIS: i64 = 2 * MINUTE_MILLIS;
/// A control that was sent so shortly before a canary is the canary's.
const CONTROL_NEAR_MILLIS: i64 = 4 * MINUTE_MILLIS;
/// How long the reader waits at most after it failed again and again, in milliseconds.
const MOST_BACK_OFF_MILLIS: i64 = 10 * MINUTE_MILLIS;
/// How far back a mailbox is read at first.
const LOOK_BACK_MILLIS: i64 = 3 * DAY_MILLIS;
/// How long it waits after the store failed.
const RETRY: Duration = Duration::from_secs(5);

/// Watches one mailbox.
#[derive(Debug)]
pub struct Watch {
    pub(super) mailbox: MailboxSetup,
    pub(super) courier: Arc<Courier>,
    pub(super) store: Leader,
    pub(super) notifiers: Notifiers,
    /// Keys of pages that are in the outbox.
    pub(super) told: BTreeSet<String>,
    reader: Mailbox,
    pub(super) health: Reader,
    /// Since when it has watched.
    began: Timestamp,
    next_read: Timestamp,
    failures: u32,
    /// What was wrong at the last reading.
    trouble: Option<ReadError>,
}

impl Watch {
    /// A watch that has not yet looked.
    #[must_use]
    pub fn new(mailbox: MailboxSetup, courier: Arc<Courier>, store: Leader, notifiers: Notifiers) -> Self {
        let began = courier.clock.now();
        Self {
            reader: Mailbox::new(mailbox.server.clone()),
            health: Reader { read_at: None, lasts: mailbox.reading_lasts() },
            mailbox,
            courier,
            store,
            notifiers,
            told: BTreeSet::new(),
            began,
            next_read: began,
            failures: 0,
            trouble: None,
        }
    }

    /// Watches until it's told to stop.
    ///
    /// # Errors
    /// [`StoreError::NotLeading`] once the reign is over; a store that is away is waited for.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), StoreError> {
        loop {
            let done = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                done = self.step() => done,
            };
            let wait = match done {
                Ok(next) => {
                    let millis = next.millis_since(self.courier.clock.now()).clamp(1_000, MINUTE_MILLIS);
                    Duration::from_millis(u64::try_from(millis).unwrap_or(1_000))
                }
                Err(error) if error.is_transient() => {
                    let (mailbox, error) = (self.mailbox.name.as_str(), &error as &dyn std::error::Error);
                    tracing::warn!(mailbox, error, "canaries can't be watched: the store is away; trying again");
                    RETRY
                }
                Err(error) => return Err(error),
            };
            let courier = Arc::clone(&self.courier);
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                // What an operator has sent is looked for at once.
                () = courier.wake.notified() => self.next_read = courier.clock.now(),
                () = courier.clock.sleep(wait) => {}
            }
        }
    }

    /// Does what is due now; gives when something is due again.
    ///
    /// # Errors
    /// Where the store is away, or the reign is over.
    pub async fn step(&mut self) -> Result<Timestamp, StoreError> {
        if self.health.read_at.is_none() {
            self.health.read_at = self.store.sign_of_life(&self.mailbox.watched()).await?;
        }
        let mut trials = trials(&self.store, self.courier.clock.now()).await?;
        self.send_due(&mut trials).await?;
        let now = self.courier.clock.now();
        if now >= self.next_read {
            self.read(&mut trials, now).await?;
        }
        let now = self.courier.clock.now();
        self.look_at_windows(&trials, now).await?;
        self.tell(&trials, now).await?;
        let due = self.mailbox.paths.iter().map(|route| route.plan.due(last_sent(&trials, route)));
        Ok(due.chain([self.next_read]).min().unwrap_or(self.next_read))
    }

    /// Sends what is due, each canary after a control.
    async fn send_due(&mut self, trials: &mut Trials) -> Result<(), StoreError> {
        let epoch = Some(self.store.epoch());
        for route in &self.mailbox.paths {
            if route.plan.due(last_sent(trials, route)) > self.courier.clock.now() {
                continue;
            }
            let controlled = last_sent(trials, &self.mailbox.control)
                .is_some_and(|at| self.courier.clock.now().millis_since(at) < CONTROL_NEAR_MILLIS);
            if !controlled {
                self.send(&self.mailbox.control, trials, epoch).await?;
            }
            self.send(route, trials, epoch).await?;
        }
        Ok(())
    }

    async fn send(
        &self,
        route: &Route,
        trials: &mut Trials,
        epoch: Option<crate::store::Epoch>,
    ) -> Result<(), StoreError> {
        let path = route.plan.name.as_str();
        match self.courier.send(&self.mailbox, route, epoch).await? {
            Ok(record) => {
                tracing::debug!(path, "a canary was sent");
                trials.note(&record.saying(Said::Sent));
                trials.note(&record);
            }
            Err(held) => tracing::debug!(path, %held, "a canary was not sent"),
        }
        Ok(())
    }

    /// Reads the mailbox, journals what came, and what has not come in its time.
    async fn read(&mut self, trials: &mut Trials, began: Timestamp) -> Result<(), StoreError> {
        let mailbox = self.mailbox.name.clone();
        let waiting = self.waiting_since(trials, began);
        match self.reader.read(waiting).await {
            Ok(found) => {
                self.take(&found, trials).await?;
                self.reader.keep();
                if self.trouble.take().is_some() {
                    tracing::info!(mailbox, "the mailbox of canaries is read again");
                }
                self.failures = 0;
                self.health.read_at = Some(began);
                self.store.give_sign_of_life(&self.mailbox.watched(), began).await?;
                self.miss(trials, began).await?;
            }
            Err(error) => {
                if self.trouble.as_ref() != Some(&error) {
                    tracing::warn!(mailbox, %error, "the mailbox of canaries can't be read; trying again");
                }
                self.trouble = Some(error);
                self.failures = self.failures.saturating_add(1);
            }
        }
        let now = self.courier.clock.now();
        let healthy = self.health.is_healthy(now);
        let labels = &[self.mailbox.name.as_str()];
        self.courier.metrics.canary_reader_healthy.with_label_values(labels).set(i64::from(healthy));
        let read_at = self.health.read_at.map_or(0, Timestamp::as_seconds);
        self.courier.metrics.canary_last_read.with_label_values(labels).set(read_at);
        let wait = if self.failures > 0 {
            (SOON_MILLIS << self.failures.min(10)).min(MOST_BACK_OFF_MILLIS)
        } else if self.is_just_sent(trials, now) {
            SOON_MILLIS.min(self.mailbox.poll)
        } else {
            self.mailbox.poll
        };
        self.next_read = now.plus_millis(wait);
        Ok(())
    }

    /// When the oldest canary was sent that may still come.
    fn waiting_since(&self, trials: &Trials, now: Timestamp) -> Timestamp {
        let open = trials.of_mailbox(&self.mailbox.name).filter(|trial| trial.arrival.is_none());
        let oldest = open.map(|trial| trial.record.sent_at).min().unwrap_or(now);
        oldest.max(now.plus_millis(-LOOK_BACK_MILLIS))
    }

    fn is_just_sent(&self, trials: &Trials, now: Timestamp) -> bool {
        let mut all = trials.of_mailbox(&self.mailbox.name);
        all.any(|trial| {
            trial.status(now) == Status::Waiting && now.millis_since(trial.record.sent_at) < JUST_SENT_MILLIS
        })
    }

    /// Journals the arrivals among what was found, then marks or deletes what is ours.
    async fn take(&mut self, found: &[Found], trials: &mut Trials) -> Result<(), StoreError> {
        let now = self.courier.clock.now();
        let mut ours: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for message in found {
            let Some(id) = identify(&message.header, &message.text, &|bytes| self.courier.seal(bytes)) else {
                continue;
            };
            ours.entry(message.folder.clone()).or_default().push(message.uid);
            let Some(trial) = trials.get(id) else { continue };
            let Some(route) = self.route(trial) else { continue };
            // The server's clock is another one, and counts in seconds.
            let at = message.at.min(now).max(trial.record.sent_at);
            let own = Own { from: &route.from, mail_from: &route.mail_from, to: &route.to };
            let arrival = Arrival::read(at, (&message.folder, message.junk), &message.header, own);
            let was_there = trial.arrival.is_some();
            let record = trial.record.saying(Said::Arrived { arrival });
            self.courier.journal(&record, route, Some(self.store.epoch())).await?;
            trials.note(&record);
            if !was_there && let Some(delay) = trials.get(id).and_then(Trial::delay) {
                let seconds = Duration::from_millis(u64::try_from(delay).unwrap_or(0)).as_secs_f64();
                self.courier.metrics.canary_delay.with_label_values(&[record.path.as_str()]).observe(seconds);
            }
        }
        if !ours.is_empty()
            && let Err(error) = self.reader.tidy(&ours).await
        {
            tracing::warn!(mailbox = self.mailbox.name, %error, "canaries could not be marked or deleted in the mailbox");
        }
        Ok(())
    }

    /// Journals those whose time was over when a reading of all folders began that did not find them.
    async fn miss(&self, trials: &mut Trials, began: Timestamp) -> Result<(), StoreError> {
        let over = |trial: &&Trial| trial.status(began) == Status::Unseen;
        let missing: Vec<Trial> = trials.of_mailbox(&self.mailbox.name).filter(over).cloned().collect();
        for trial in missing {
            let Some(route) = self.route(&trial) else { continue };
            let said = match self.reported(&trial, route).await? {
                Some(refusal) => Said::Refused { refusal },
                None => Said::Missed { looked: began },
            };
            let record = trial.record.saying(said);
            self.courier.journal(&record, route, Some(self.store.epoch())).await?;
            trials.note(&record);
        }
        Ok(())
    }

    /// The refusal of an accepted canary that a feed has reported: that one is no silent loss.
    async fn reported(&self, trial: &Trial, route: &Route) -> Result<Option<Refusal>, StoreError> {
        if trial.record.kind != Kind::Relay || trial.sending != Sending::Accepted {
            return Ok(None);
        }
        let hash = self.courier.keyring.hash(Purpose::Address, &[route.to.key().as_bytes()]);
        let Some(address) = self.store.address_by_hash(&hash).await? else { return Ok(None) };
        let Some(ledger) = self.store.ledger(address.id).await? else { return Ok(None) };
        let since = ledger.last_refused_at.filter(|at| *at >= trial.record.sent_at);
        Ok(since.zip(ledger.last_cause).map(|(_, cause)| Refusal {
            stage: Stage::Reported,
            reply: String::new(),
            cause,
            fault: Fault::Unknown,
            rule: String::new(),
            confidence: 0,
        }))
    }

    /// By which way a canary went; `None` where that is configured no more.
    fn route(&self, trial: &Trial) -> Option<&Route> {
        match trial.record.kind {
            Kind::Control => Some(&self.mailbox.control),
            Kind::Relay => self.mailbox.paths.iter().find(|route| route.plan.name == trial.record.path),
        }
    }

    /// Opens and ends the blind windows of this mailbox: while it can't be read, and while no control arrives.
    async fn look_at_windows(&self, trials: &Trials, now: Timestamp) -> Result<(), StoreError> {
        let watched = self.mailbox.watched();
        let read_at = self.health.read_at.unwrap_or(self.began);
        let unread = now.millis_since(read_at.max(self.began)) > self.health.lasts;
        let blind = if unread {
            Some((BlindReason::Unreachable, read_at))
        } else {
            uncontrolled(trials, &self.mailbox.name, now).map(|since| (BlindReason::Silent, since))
        };
        let mut open = false;
        for window in known(&self.store, now).await? {
            if window.watched != watched || window.until.is_some() {
                continue;
            }
            if blind.is_some_and(|(reason, _)| window.reason == Some(reason)) {
                open = true;
            } else {
                tracing::info!(watched, since = %window.from, "a blind window of canaries has ended");
                Window { until: Some(now), ..window }.journal(&self.store, Some(self.store.epoch())).await?;
            }
        }
        if let Some((reason, from)) = blind.filter(|_| !open) {
            tracing::warn!(watched, since = %from, %reason, "canaries prove nothing: a blind window is open");
            let window = Window { from, watched, reason: Some(reason), until: None };
            window.journal(&self.store, Some(self.store.epoch())).await?;
        }
        Ok(())
    }
}

/// Since when no control has arrived, where the last that has ended did not.
fn uncontrolled(trials: &Trials, mailbox: &str, now: Timestamp) -> Option<Timestamp> {
    let controls = trials.of_path(Kind::Control, mailbox);
    let ended = controls.iter().rev().filter(|trial| {
        let status = trial.status(now);
        !matches!(status, Status::Waiting | Status::Unseen) && now.millis_since(trial.record.sent_at) < 48 * HOUR_MILLIS
    });
    ended.take_while(|trial| trial.arrival.is_none()).last().map(|trial| trial.record.sent_at)
}

/// When a route was last sent a canary.
fn last_sent(trials: &Trials, route: &Route) -> Option<Timestamp> {
    trials.of_path(route.plan.kind, &route.plan.name).last().map(|trial| trial.record.sent_at)
}

/// The canaries of the journal, the latest ones.
///
/// # Errors
/// Where the store is away.
pub async fn trials(store: &Store, now: Timestamp) -> Result<Trials, StoreError> {
    let entries = store.entries_of_kind(EntryKind::CanaryResult, now, MOST).await?;
    let records: Vec<Record> = entries.iter().filter_map(|entry| Record::from_body(&entry.body)).collect();
    Ok(Trials::of(&records))
}

/// Ends the blind windows of mailboxes that are configured no more. A store that is away leaves them for the next reign.
pub(super) async fn end_windows_of_others(store: &Leader, courier: &Courier) -> Result<(), StoreError> {
    let now = courier.clock.now();
    let ours: BTreeSet<String> = courier.setup.mailboxes.iter().map(MailboxSetup::watched).collect();
    let windows = match known(store, now).await {
        Ok(windows) => windows,
        Err(error) if error.is_transient() => return Ok(()),
        Err(error) => return Err(error),
    };
    let over = |window: &Window| {
        window.until.is_none() && window.watched.starts_with(CANARY) && !ours.contains(&window.watched)
    };
    for window in windows.into_iter().filter(over) {
        match (Window { until: Some(now), ..window }).journal(store, Some(store.epoch())).await {
            Err(error) if !error.is_transient() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
