//! Where every feed hands its reports in, however they came: they are committed, counted, and told of alike.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::sync::{mpsc, watch};

use super::{
    FollowUp, RejectionReason, Report,
    alive::Deliveries,
    committer::CommitError,
    http::{body::Budget, feeds::Feeds},
    intake::{FeedName, Intake, Knowledge},
    kept::RetentionAt,
    seen::{AllSeen, Seen},
    told::Told,
    workers::Workers,
};
use crate::{
    clock::Clock,
    metrics::Metrics,
    model::{Exposure, Provider, Timestamp},
    store::Outcome,
};

/// Bytes that all bodies in work may take together.
const BODIES: usize = 64 * 1024 * 1024;

/// What a reload exchanges as a whole.
#[derive(Debug)]
pub struct Setup {
    /// The feeds that are posted to.
    pub feeds: Feeds,
    /// The feeds that fetch, listen or follow.
    pub workers: Workers,
    /// Rules, domains, teams.
    pub knowledge: Knowledge,
    /// Bytes of a body at most.
    pub body_bytes: usize,
    /// The time for reading a body.
    pub request_timeout: Duration,
}

impl Setup {
    /// What each feed declares of mail that did not bounce, by name; nothing for those that bring notices.
    #[must_use]
    pub fn exposures(&self) -> BTreeMap<String, Option<Exposure>> {
        let mut all = self.feeds.exposures();
        all.extend(self.workers.iter().map(|worker| (worker.name.name.clone(), Some(worker.name.exposure))));
        all
    }

    /// Who posts, once for each feed. The others lose nothing for days: a queue keeps what is not fetched, a mail server tries
    /// again, a file stays.
    pub fn providers(&self) -> impl Iterator<Item = Provider> + '_ {
        self.feeds.providers()
    }
}

/// A setup with the budget that fits it.
#[derive(Debug, Clone)]
pub struct InForce {
    /// The setup.
    pub setup: Arc<Setup>,
    /// What its bodies may take together.
    pub budget: Budget,
}

impl InForce {
    fn new(setup: Setup) -> Self {
        // One of the largest size, packed, is always let in.
        let budget = Budget::new(BODIES.max(setup.body_bytes.saturating_mul(2)));
        Self { setup: Arc::new(setup), budget }
    }
}

/// Why a report is not taken. Nothing of it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// Who reports shall come again.
    #[error("{1}")]
    ComeAgain(RejectionReason, &'static str),
    /// Its one-time token came before with another body.
    #[error("the token came before with another body")]
    TokenReused,
}

impl NotTaken {
    /// The word for metrics.
    #[must_use]
    pub const fn reason(self) -> RejectionReason {
        match self {
            Self::ComeAgain(reason, _) => reason,
            Self::TokenReused => RejectionReason::TokenReused,
        }
    }
}

impl From<CommitError> for NotTaken {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Store(_) => {
                Self::ComeAgain(RejectionReason::StoreUnavailable, "the store is away; come again")
            }
            CommitError::Overloaded => {
                Self::ComeAgain(RejectionReason::Overloaded, "too many deliveries wait; come again")
            }
            CommitError::Stopping => {
                Self::ComeAgain(RejectionReason::StoreUnavailable, "relaywatch is stopping; come again")
            }
        }
    }
}

/// A delivery that was not taken, as it is counted and told of.
#[derive(Debug, Clone, Copy)]
pub struct Refused<'a> {
    /// A word of a closed list.
    pub reason: RejectionReason,
    /// What is wrong and what to do about it. Holds nothing from outside but bounded words of the provider's.
    pub detail: &'a str,
    /// Whether who reports is told to come again.
    pub later: bool,
    /// Whether no stranger can have brought it about.
    pub conclusive: bool,
}

/// Takes reports in. Clones share everything.
#[derive(Debug, Clone)]
pub struct Reception {
    in_force: Arc<watch::Sender<InForce>>,
    intake: Intake,
    clock: Clock,
    metrics: Metrics,
    follow_ups: mpsc::Sender<FollowUp>,
    deliveries: Deliveries,
    told: Told,
    seen: AllSeen,
}

impl Reception {
    /// A reception that hands follow-ups to `follow_ups`.
    #[must_use]
    pub fn new(
        setup: Setup,
        intake: Intake,
        clock: Clock,
        metrics: Metrics,
        follow_ups: mpsc::Sender<FollowUp>,
    ) -> Self {
        Self {
            in_force: Arc::new(watch::Sender::new(InForce::new(setup))),
            intake,
            clock,
            metrics,
            follow_ups,
            deliveries: Deliveries::default(),
            told: Told::default(),
            seen: AllSeen::default(),
        }
    }

    /// What became of the latest deliveries, to be watched.
    #[must_use]
    pub fn deliveries(&self) -> Deliveries {
        self.deliveries.clone()
    }

    /// What the feed of this name has brought since the start.
    #[must_use]
    pub fn seen(&self, feed: &str) -> Seen {
        self.seen.of(feed)
    }

    /// The time by which everything is dated.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Where everything is counted.
    #[must_use]
    pub const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The setup in force.
    #[must_use]
    pub fn setup(&self) -> Arc<Setup> {
        Arc::clone(&self.in_force.borrow().setup)
    }

    /// The setup in force, with its budget.
    #[must_use]
    pub fn in_force(&self) -> InForce {
        self.in_force.borrow().clone()
    }

    /// The setup in force, and each that follows it.
    pub(super) fn watch(&self) -> watch::Receiver<InForce> {
        self.in_force.subscribe()
    }

    /// Puts another setup in force; deliveries under way finish with the old one.
    pub fn exchange(&self, setup: Setup) {
        let mut next = InForce::new(setup);
        self.in_force.send_modify(|in_force| {
            if next.setup.body_bytes == in_force.setup.body_bytes {
                // What is taken of the budget stays taken.
                next.budget = in_force.budget.clone();
            }
            *in_force = next;
        });
    }

    /// Commits a report that came at `now`; when this returns, it is durable, counted, and told of where something in it is
    /// not right.
    ///
    /// # Errors
    /// Where it is not taken: nothing of it is stored.
    pub async fn take(
        &self,
        feed: &FeedName,
        mut report: Report,
        knowledge: &Knowledge,
        now: Timestamp,
    ) -> Result<(), NotTaken> {
        let retained = knowledge.retention.map(|retention| RetentionAt { retention, dropped_before: None, now });
        let expired = retained.map_or(0, |retained| retained.leave_out(&mut report, &knowledge.relay));
        if self.intake.take(feed, &report, knowledge, now).await? == Outcome::TokenReused {
            return Err(NotTaken::TokenReused);
        }
        self.seen.committed(&feed.name, &report, now);
        self.warn_of(&feed.name, &report, now);
        self.warn_of_expired(&feed.name, expired, now);
        if let Some(follow_up) = report.follow_up
            && self.follow_ups.try_send(follow_up).is_err()
        {
            // SNS sends the confirmation again only when it's asked to; nothing else is lost.
            tracing::warn!(
                feed = feed.name,
                "too many confirmations wait; use 'Request confirmation' in the SNS console"
            );
        }
        Ok(())
    }

    /// Notes that a delivery was taken and answered.
    pub fn accepted(&self, feed: &str) {
        let now = self.clock.now();
        self.metrics.feed_deliveries.with_label_values(&[feed, "accepted"]).inc();
        self.metrics.feed_last_accepted.with_label_values(&[feed]).set(now.as_seconds());
        self.deliveries.accepted(feed, now);
    }

    /// Notes that a delivery was not taken, and says so once a minute.
    pub fn refused(&self, feed: &str, refused: Refused<'_>) {
        let (now, reason) = (self.clock.now(), refused.reason);
        if refused.conclusive {
            self.deliveries.refused(feed, now);
        }
        self.seen.refused(feed, reason, now);
        let answer = if refused.later { "unavailable" } else { "rejected" };
        self.metrics.feed_deliveries.with_label_values(&[feed, answer]).inc();
        self.metrics.feed_rejections.with_label_values(&[feed, reason.as_str()]).inc();
        if let Some(count) = self.told.count(feed, reason.as_str(), now) {
            tracing::warn!(
                feed, %reason, count, detail = refused.detail,
                "a delivery was refused; more of this feed and reason are counted for a minute"
            );
        }
    }

    /// Notes that a feed's queue, log or port can't be reached.
    pub(super) fn unreachable(&self, feed: &str) {
        let now = self.clock.now();
        self.deliveries.unreachable(feed, now);
        self.seen.refused(feed, RejectionReason::Unreachable, now);
    }

    /// Notes that it can, whether or not it brings anything.
    pub(super) fn reached(&self, feed: &str) {
        self.deliveries.accepted(feed, self.clock.now());
        self.seen.reached(feed);
    }

    /// Whether it is time to tell of this matter of a feed again, and how often it came since: once a minute.
    #[must_use]
    pub fn tells(&self, feed: &str, matter: &'static str) -> Option<u64> {
        self.told.count(feed, matter, self.clock.now())
    }

    /// Counts what was older than its retention, and says so once a minute.
    fn warn_of_expired(&self, feed: &str, expired: u64, now: Timestamp) {
        if expired == 0 {
            return;
        }
        self.metrics.feed_expired.with_label_values(&[feed]).inc_by(expired);
        if let Some(count) = self.told.count(feed, "expired", now) {
            tracing::warn!(
                feed,
                count,
                "a delivery was acknowledged and holds what is older than its retention ([store] retention_deliveries_days and \
                 retention_refusals_days): that was left out. A late delivery, or an old one sent again; compare this machine's clock"
            );
        }
    }

    /// Says, once a minute, what was acknowledged and is not right.
    fn warn_of(&self, feed: &str, report: &Report, now: Timestamp) {
        if report.ignored.contains(&"sns-unsubscribe-confirmation") {
            tracing::warn!(feed, "SNS says that this endpoint was unsubscribed from its topic");
        }
        if report.misdated {
            self.metrics.feed_misdated.with_label_values(&[feed]).inc();
            if let Some(count) = self.told.count(feed, "misdated", now) {
                tracing::warn!(
                    feed,
                    count,
                    "a notice is said to be issued at a time that cannot be (before 2010, or more than a day ahead); it is kept and \
                     that time is not. Compare this machine's clock"
                );
            }
        }
        let reasons: BTreeSet<&'static str> = report.set_aside.iter().map(|part| part.reason.as_str()).collect();
        for reason in reasons {
            if let Some(count) = self.told.count(feed, reason, now) {
                let understood = !report.events.is_empty() || !report.notices.is_empty() || !report.kept.is_empty();
                tracing::warn!(
                    feed,
                    reason,
                    count,
                    understood,
                    "a delivery was acknowledged and something in it is not understood: it is kept sealed and counts nowhere; \
                     more of this feed and reason are counted for a minute. `relaywatch events list` names it"
                );
            }
        }
        if let Some(client_id) = &report.unconfigured_app
            && let Some(count) = self.told.count(feed, "unconfigured-app", now)
        {
            tracing::warn!(
                feed,
                client_id,
                count,
                "a notice of an app that is not configured was passed on and not journalled; add a [[team.app]] with this \
                 client_id if its notices matter here"
            );
        }
    }
}
