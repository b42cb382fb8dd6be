//! Sends canaries: what is about to be sent is journalled before, so that a crash sends none twice and the budget counts it.

use std::sync::Arc;

use tokio::sync::{Mutex, Notify, watch};

use super::setup::{CanarySetup, MailboxSetup, Route};
use crate::{
    classify::{Parties, Rules, context, host_that_said, template_of},
    clock::Clock,
    ingest::intake::{percent, rule_word},
    metrics::Metrics,
    model::{DAY_MILLIS, Provider, RelayDomains, Reply, Timestamp},
    privacy::{Keyring, Purpose},
    sources::{
        canary::{CanaryId, Kind, Mark, Record, Refusal, Said, message::Message, trial::Stage},
        submission::{self, Submitted},
    },
    store::{EntryKind, EntryRecord, Epoch, Recipient, Store, StoreError},
};

/// Entries that are read, the newest ones.
pub(super) const MOST: u32 = 5_000;

/// Why a canary was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Held {
    /// The budget of its address is used up.
    #[error("the budget of its address is used up until {0}")]
    Budget(Timestamp),
}

/// Sends canaries by the settings in force.
#[derive(Debug)]
pub struct Courier {
    /// What is configured.
    pub setup: Arc<CanarySetup>,
    /// Where results go.
    pub store: Store,
    /// The keys, by which marks are made.
    pub keyring: Arc<Keyring>,
    /// The clock.
    pub clock: Clock,
    /// The relay domains in force.
    pub relay: watch::Receiver<RelayDomains>,
    /// The reply rules in force.
    pub rules: watch::Receiver<Option<Arc<Rules>>>,
    /// What is counted.
    pub metrics: Metrics,
    /// Rung after something was sent: the mailbox is read sooner.
    pub wake: Notify,
    /// One at a time, so that no budget is used twice.
    pub sending: Mutex<()>,
}

impl Courier {
    /// A keyed hash for marks.
    #[must_use]
    pub fn seal(&self, bytes: &[u8]) -> [u8; 16] {
        self.keyring.hash(Purpose::Canary, &[bytes])
    }

    /// Whether the budget of a route's recipient allows one more.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn is_free(&self, route: &Route) -> Result<Result<(), Held>, StoreError> {
        let now = self.clock.now();
        Ok(route.budget.allows(self.sent_to(route, now).await?, now).map_err(Held::Budget))
    }

    /// Sends one canary of a route, and journals how that ended.
    ///
    /// # Errors
    /// Where the store is away: then nothing is sent, or it is not known how it ended.
    pub async fn send(
        &self,
        mailbox: &MailboxSetup,
        route: &Route,
        reign: Option<Epoch>,
    ) -> Result<Result<Record, Held>, StoreError> {
        let _one_at_a_time = self.sending.lock().await;
        if let Err(held) = self.is_free(route).await? {
            return Ok(Err(held));
        }
        let now = self.clock.now();
        let id = CanaryId::new(rand::random());
        let record = Record {
            canary: id,
            path: route.plan.name.clone(),
            mailbox: mailbox.name.clone(),
            kind: route.plan.kind,
            sent_at: now,
            due: now.plus_millis(route.plan.patience),
            represents: route.represents.clone(),
            not_represented: route.not_represented.clone(),
            said: Said::Sent,
        };
        self.journal(&record, route, reign).await?;
        let mark = Mark::of(id, &|bytes| self.seal(bytes));
        let Route { from, to, mail_from, plan, .. } = route;
        let message = Message { kind: plan.kind, from, to, path: &plan.name, mark: &mark, at: now };
        let said = match submission::submit(&route.server, mail_from, to, &message.render()).await {
            Submitted::Accepted => Said::Accepted,
            Submitted::Refused { stage, reply } => Said::Refused { refusal: self.classify(route, stage, &reply) },
            Submitted::Unsent(why) => Said::Unsent { why },
            Submitted::Unknown => {
                self.count(&record, "unknown");
                return Ok(Ok(record));
            }
        };
        let record = record.saying(said);
        self.journal(&record, route, reign).await?;
        self.wake.notify_waiters();
        Ok(Ok(record))
    }

    /// When the recipient of a route was sent canaries, by the journal; that of a control is counted by its mailbox.
    async fn sent_to(&self, route: &Route, now: Timestamp) -> Result<Vec<Timestamp>, StoreError> {
        let address = match route.plan.kind {
            Kind::Control => None,
            Kind::Relay => self.store.address_by_hash(&self.recipient(route).hash).await?.map(|known| known.id),
        };
        let entries = self.store.entries_of_kind(EntryKind::CanaryResult, now, MOST).await?;
        // Where the journal holds more of the day than is read, nobody can tell: then as if all had gone there.
        let all = u32::try_from(entries.len()).is_ok_and(|read| read < MOST)
            || entries.iter().any(|entry| now.millis_since(entry.key.at) > DAY_MILLIS);
        let to_it = |entry: &EntryRecord, record: &Record| match route.plan.kind {
            Kind::Control => record.kind == Kind::Control && record.mailbox == route.plan.name,
            Kind::Relay => record.kind == Kind::Relay && entry.address.is_some() && entry.address == address,
        };
        let sent = entries.iter().filter_map(|entry| {
            let record = Record::from_body(&entry.body)?;
            (record.said == Said::Sent && (!all || to_it(entry, &record))).then_some(record.sent_at)
        });
        Ok(sent.collect())
    }

    fn recipient(&self, route: &Route) -> Recipient {
        let hash = self.keyring.hash(Purpose::Address, &[route.to.key().as_bytes()]);
        Recipient { hash, address: route.to.clone() }
    }

    /// Puts a record into the journal; the relay address is referred to as everywhere. Counts it where it is new.
    pub(super) async fn journal(
        &self,
        record: &Record,
        route: &Route,
        reign: Option<Epoch>,
    ) -> Result<bool, StoreError> {
        let address = (record.kind == Kind::Relay).then(|| self.recipient(route));
        let (kind, at) = (EntryKind::CanaryResult, record.sent_at);
        let new = self.store.append_about(reign, kind, at, address, record.to_body()).await?;
        if new {
            let result = match &record.said {
                Said::Sent => "sent",
                Said::Unsent { .. } => "unsent",
                Said::Accepted => "accepted",
                Said::Refused { .. } => "refused",
                Said::Missed { .. } => "missed",
                Said::Arrived { .. } => "arrived",
                Said::Announced | Said::Resolved => return Ok(new),
            };
            self.count(record, result);
        }
        Ok(new)
    }

    fn count(&self, record: &Record, result: &str) {
        self.metrics.canary_results.with_label_values(&[record.path.as_str(), result]).inc();
    }

    /// What a refusal means, by the rules in force.
    fn classify(&self, route: &Route, stage: Stage, reply: &str) -> Refusal {
        let relay = self.relay.borrow().clone();
        let parties = Parties {
            recipient: Some(&route.to),
            envelope_sender: Some(&route.mail_from),
            header_from: Some(&route.from),
            ..Parties::unknown(&relay)
        };
        let reply = Reply::parse(reply);
        let template = template_of(&reply, &parties);
        let context = context(Some(Provider::Generic), Some(&route.to), host_that_said(&reply.text), &relay);
        let rules = self.rules.borrow().clone().or_else(|| Rules::built_in().ok().map(Arc::new));
        let verdict = rules.map(|rules| rules.classify(&template, &context));
        Refusal {
            stage,
            reply: template.into_string(),
            cause: verdict.as_ref().map_or(crate::model::Cause::Undetermined, |verdict| verdict.cause),
            fault: verdict.as_ref().map_or(crate::model::Fault::Unknown, |verdict| verdict.fault),
            rule: verdict.as_ref().map(rule_word).unwrap_or_default(),
            confidence: verdict.as_ref().map_or(0, percent),
        }
    }
}
