//! Signs of life of the process that takes feeds in, and the blind windows that only it can see: outages of ours, and feeds
//! whose every delivery is refused, or whose source can't be reached.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    explain::BlindReason,
    ingest::reception::Reception,
    metrics::Metrics,
    model::{MINUTE_MILLIS, Provider, Timestamp},
    monitor::blind::{ALL, Window, known},
    store::{Store, StoreError},
};

/// The name of the sign of life: one for all processes that take feeds in, since any of them is enough.
pub const NAME: &str = "ingest";
/// How often a sign of life is given.
const EVERY: Duration = Duration::from_secs(10);
/// Three signs of life that are missing: what is shorter can be one that comes late.
pub const LATE_MILLIS: i64 = 30_000;
/// Without a sign of life for so long, there was an outage, where every provider tries again for hours. A restart takes less.
pub const OUTAGE_MILLIS: i64 = 3 * MINUTE_MILLIS;
/// Deliveries in a row that are refused before a feed counts as blind …
const LEAST_REFUSED: u32 = 5;
/// … over so long a time.
const REFUSED_MILLIS: i64 = 10 * MINUTE_MILLIS;

/// How long taking nothing in loses nothing of a provider's, by its documented retries, in milliseconds.
const fn bridged_millis(provider: Provider) -> i64 {
    match provider {
        // Three retries 20 s apart (Amazon SNS, "message delivery retries"): what was published at the beginning is gone after it.
        // Scaleway's Topics and Events follows it, and documents no retries of its own.
        Provider::Ses | Provider::Scaleway => MINUTE_MILLIS,
        // Reports of deliveries are not sent again at all; a shorter time is not told from signs of life that come late.
        // Of Brevo's all are lost that meet a proxy's 5xx. Of the others no retries are documented.
        Provider::Mailgun
        | Provider::Brevo
        | Provider::Klaviyo
        | Provider::Iterable
        | Provider::Socketlabs
        | Provider::Elasticemail => LATE_MILLIS,
        // SparkPost tries for 8 hours, Braze for 5 days; of Apple nothing is known but that it tries again.
        _ => OUTAGE_MILLIS,
    }
}

/// Without a sign of life for how long there was an outage, where these report, in milliseconds.
#[must_use]
pub fn outage_millis(providers: impl Iterator<Item = Provider>) -> i64 {
    providers.map(bridged_millis).min().unwrap_or(OUTAGE_MILLIS)
}

/// Deliveries of one feed in a row that were refused by no stranger's doing, or attempts to reach its source that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    /// Why the last one failed.
    reason: BlindReason,
    first: Timestamp,
    last: Timestamp,
    deliveries: u32,
}

impl Run {
    fn is_blind(&self) -> bool {
        self.deliveries >= LEAST_REFUSED && self.last.millis_since(self.first) >= REFUSED_MILLIS
    }
}

/// What became of the latest deliveries of each feed. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Deliveries(Arc<Mutex<HashMap<String, Latest>>>);

#[derive(Debug, Clone, Copy, Default)]
struct Latest {
    accepted_at: Option<Timestamp>,
    run: Option<Run>,
}

impl Deliveries {
    /// Takes note of a delivery that was accepted.
    pub fn accepted(&self, feed: &str, now: Timestamp) {
        let mut feeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match feeds.get_mut(feed) {
            Some(latest) => *latest = Latest { accepted_at: Some(now), run: None },
            None => {
                feeds.insert(feed.to_owned(), Latest { accepted_at: Some(now), run: None });
            }
        }
    }

    /// Takes note of a delivery that was refused. To be called only where no stranger can have brought that about: the provider's own signature
    /// verified and something else is wrong, or nothing can be verified. A signature or a secret that is wrong says nothing:
    /// whoever knows the address can post one. A feed whose secret was changed at one end falls silent, which the monitor sees.
    pub fn refused(&self, feed: &str, now: Timestamp) {
        self.failed(feed, BlindReason::Refused, now);
    }

    /// Takes note that a feed's source can't be reached: a queue can't be asked, a log read, a port opened.
    pub fn unreachable(&self, feed: &str, now: Timestamp) {
        self.failed(feed, BlindReason::Unreachable, now);
    }

    fn failed(&self, feed: &str, reason: BlindReason, now: Timestamp) {
        let mut feeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = feeds.entry(feed.to_owned()).or_default();
        let run = latest.run.get_or_insert(Run { reason, first: now, last: now, deliveries: 0 });
        (run.reason, run.last) = (reason, now);
        run.deliveries = run.deliveries.saturating_add(1);
    }

    fn latest(&self) -> Vec<(String, Latest)> {
        let feeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        feeds.iter().map(|(feed, latest)| (feed.clone(), *latest)).collect()
    }
}

/// Gives signs of life and journals blind windows, until it's told to stop. A store that is away is waited for: that is an
/// outage, and journalled as one when it is over.
///
/// # Errors
/// None.
pub async fn run(
    store: Store,
    clock: Clock,
    reception: Reception,
    metrics: Metrics,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let (mut life, deliveries) = (Life::default(), reception.deliveries());
    loop {
        life.outage_millis = outage_millis(reception.setup().providers());
        if let Err(error) = life.step(&store, &clock, &deliveries, &metrics).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "no sign of life can be given; what comes meanwhile is taken by nobody"
            );
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = clock.sleep(EVERY) => {}
        }
    }
    // From now on nothing is taken in: the last sign says when, so that a quick restart is no outage.
    if life.continuous
        && let Err(error) = store.give_sign_of_life(NAME, clock.now()).await
    {
        tracing::warn!(error = &error as &dyn std::error::Error, "the last sign of life can't be given");
    }
    Ok(())
}

/// The life of one process: whether its last step worked.
#[derive(Debug)]
pub struct Life {
    continuous: bool,
    /// Without a sign of life for so long there was an outage, in milliseconds.
    outage_millis: i64,
}

impl Default for Life {
    fn default() -> Self {
        Self::new(OUTAGE_MILLIS)
    }
}

impl Life {
    /// A life that begins, where an outage is a time without a sign of life for so long, in milliseconds: [`outage_millis`].
    #[must_use]
    pub const fn new(outage_millis: i64) -> Self {
        Self { continuous: false, outage_millis }
    }

    /// Gives one sign of life, and journals the blind windows that show.
    ///
    /// # Errors
    /// Where the store is away: what is missing then shows at the next step.
    pub async fn step(
        &mut self,
        store: &Store,
        clock: &Clock,
        deliveries: &Deliveries,
        metrics: &Metrics,
    ) -> Result<(), StoreError> {
        let was_continuous = std::mem::replace(&mut self.continuous, false);
        let now = clock.now();
        // A clock that is stepped by hand has no time between its steps.
        let could_sleep = matches!(clock, Clock::System);
        let last = store.sign_of_life(NAME).await?;
        let gap = last.filter(|last| now.millis_since(*last) >= self.outage_millis);
        if let Some(from) = gap.filter(|_| could_sleep || !was_continuous) {
            let reason = Some(BlindReason::Outage);
            let window = Window { from, watched: ALL.to_owned(), reason, until: Some(now) };
            // Before the sign of life: a crash between the two leaves the window, not the gap.
            window.journal(store, None).await?;
            tracing::warn!(%from, until = %now, "nothing was taken in: an outage of ours is journalled as a blind window");
        }
        store.give_sign_of_life(NAME, now).await?;
        self.continuous = true;
        refusals(store, deliveries, metrics, now).await
    }
}

/// Journals feeds whose every delivery is refused or whose source is out of reach, and those that are taken again.
async fn refusals(store: &Store, deliveries: &Deliveries, metrics: &Metrics, now: Timestamp) -> Result<(), StoreError> {
    let latest = deliveries.latest();
    if latest.is_empty() {
        return Ok(());
    }
    let known = known(store, now).await?;
    for (feed, latest) in latest {
        let open = known.iter().find(|window| {
            let is_failed = matches!(window.reason, Some(BlindReason::Refused | BlindReason::Unreachable));
            window.watched == feed && is_failed && window.until.is_none()
        });
        let window = match (open, latest.run, latest.accepted_at) {
            (None, Some(run), _) if run.is_blind() => {
                Window { from: run.first, watched: feed.clone(), reason: Some(run.reason), until: None }
            }
            (Some(open), _, Some(accepted)) if accepted > open.from => Window { until: Some(accepted), ..open.clone() },
            _ => continue,
        };
        if window.journal(store, None).await? {
            let ended = window.until.is_some();
            metrics.blind_windows.with_label_values(&[feed.as_str()]).set(i64::from(!ended));
            let reason = window.reason.map_or("", BlindReason::says);
            tracing::warn!(feed, since = %window.from, ended, reason, "a feed brings nothing that can be taken; the log says why");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn single_failures_make_no_feed_blind() {
        let deliveries = Deliveries::default();
        let at = |minutes: i64| Timestamp::from_millis(minutes * MINUTE_MILLIS);
        let blind = |feed: &str| {
            deliveries
                .latest()
                .iter()
                .any(|(name, latest)| name == feed && latest.run.is_some_and(|run| run.is_blind()))
        };
        for minute in 0..30 {
            deliveries.refused("apple", at(minute));
            if minute % 8 == 7 {
                deliveries.accepted("apple", at(minute));
            }
        }
        assert!(!blind("apple"));
        for minute in 30..41 {
            deliveries.refused("apple", at(minute));
        }
        assert!(blind("apple"));
        deliveries.accepted("apple", at(41));
        assert!(!blind("apple"));
        for minute in 50..70 {
            deliveries.unreachable("sqs", at(minute));
        }
        assert!(blind("sqs"));
        let reason = deliveries.latest().into_iter().find(|(name, _)| name == "sqs").and_then(|(_, latest)| latest.run);
        assert_eq!(reason.map(|run| run.reason), Some(BlindReason::Unreachable));
    }

    #[test]
    fn the_provider_that_gives_up_first_says_what_an_outage_is() {
        assert_eq!(outage_millis([].into_iter()), 3 * MINUTE_MILLIS);
        assert_eq!(outage_millis([Provider::Apple, Provider::Sparkpost].into_iter()), 3 * MINUTE_MILLIS);
        assert_eq!(outage_millis([Provider::Apple, Provider::Ses, Provider::Braze].into_iter()), MINUTE_MILLIS);
        assert_eq!(outage_millis([Provider::Ses, Provider::Mailgun].into_iter()), MINUTE_MILLIS / 2);
    }
}
