//! What judgements depend on beside the cells: blind windows, what feeds declare and report, since when relaywatch runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use aws_lc_rs::digest::{SHA256, digest};

use super::{
    blind::{self, Holds, Outage, Window},
    exposure::{Finding, Mismatch, check, never_heard_advice, never_heard_headline, never_heard_of, only_refusals},
    judge::DAY_BINS,
    settings::installed_at,
};
use crate::{
    metrics::Metrics,
    model::{Bin, DAY_MILLIS, Exposure, HOUR_MILLIS, Provider, Timestamp, counted},
    notify::{Notifiers, Page, PageKind, Severity},
    store::{FeedCounts, FeedHour, Leader, Store, StoreError, WordKind},
};

/// How far back what feeds reported is looked at, in hours: as far as the baselines.
const HISTORY_HOURS: i64 = 66 * 24;
/// How often it is looked at where nothing new makes it needful.
const EVERY_MILLIS: i64 = 20_000;
/// How often it is looked at where mail comes of a provider that has reported nothing to trust it by.
const DISTRUSTED_MILLIS: i64 = 10_000;

/// The context of the last look.
#[derive(Debug, Default)]
pub(super) struct Context {
    read_at: Option<Timestamp>,
    /// The blind windows.
    pub(super) windows: Arc<[Window]>,
    /// Outages of ours, and whether what providers hold back of them has come.
    pub(super) outages: Vec<(Outage, bool)>,
    /// For how long what is reported in them is held.
    pub(super) holds: Holds,
    /// Providers whose declared exposure is no denominator.
    pub(super) distrusted: BTreeSet<Provider>,
    /// Providers that have reported something and are not among those.
    trusted: BTreeSet<Provider>,
    /// Providers for whose mail it was read.
    asked: BTreeSet<Provider>,
    /// The hour of each provider's first report.
    pub(super) since: BTreeMap<Provider, i64>,
    /// The hour of the first report without exposure of each provider.
    pub(super) bare_since: BTreeMap<Provider, i64>,
    /// The day on which relaywatch first ran.
    pub(super) installed: Option<i64>,
    findings: Vec<Finding>,
    unheard: Unheard,
}

impl Context {
    /// Whether it is to be read again before mail of these providers is judged.
    pub(super) fn is_stale(&self, providers: impl IntoIterator<Item = Provider>, now: Timestamp) -> bool {
        self.read_at.is_none_or(|at| now.millis_since(at) >= EVERY_MILLIS)
            || providers
                .into_iter()
                .any(|provider| !self.trusted.contains(&provider) && !self.asked_lately(provider, now))
    }

    /// Whether it was read for this provider a moment ago.
    fn asked_lately(&self, provider: Provider, now: Timestamp) -> bool {
        self.asked.contains(&provider) && self.read_at.is_some_and(|at| now.millis_since(at) < DISTRUSTED_MILLIS)
    }

    /// Takes note of the providers for whose mail it is read.
    pub(super) fn ask(&mut self, providers: BTreeSet<Provider>) {
        self.asked.extend(providers);
    }

    /// Reads it again. `ring` is the first bin that is still judged.
    pub(super) async fn read(&mut self, store: &Store, ring: Bin, now: Timestamp) -> Result<(), StoreError> {
        self.windows = blind::known(store, now).await?.into();
        self.outages = Outage::among(&self.windows, now)
            .into_iter()
            .filter(|outage| outage.until > ring.start())
            .map(|outage| (outage, now >= outage.refilled_at()))
            .collect();
        self.installed = installed_at(store, now).await?.map(|at| at.bin().0.div_euclid(DAY_BINS));
        let hour = now.as_millis().div_euclid(HOUR_MILLIS);
        let hours = store.feed_hours(hour - HISTORY_HOURS).await?;
        let names: BTreeMap<i32, String> = store.words_of(WordKind::Feed).await?.into_iter().collect();
        self.distrusted = only_refusals(&hours, &names, &BTreeSet::new());
        if !self.distrusted.is_empty() {
            let accepts = accepts(store, ring, now).await?;
            self.distrusted.retain(|provider| !accepts.contains(provider));
        }
        self.trusted.clear();
        self.bare_since.clear();
        self.since.clear();
        self.holds = Holds::default();
        for (of, counts) in &hours {
            let Some((provider, name)) = names.get(&of.feed).and_then(|name| Some((Provider::of_feed(name)?, name)))
            else {
                continue;
            };
            if counts.events > 0 {
                self.holds.note(name);
            }
            self.heed(provider, of, counts);
        }
        self.read_at = Some(now);
        Ok(())
    }

    fn heed(&mut self, provider: Provider, of: &FeedHour, counts: &FeedCounts) {
        if counts.events == 0 {
            return;
        }
        let first = self.since.entry(provider).or_insert(of.hour);
        *first = of.hour.min(*first);
        let is_distrusted = self.distrusted.contains(&provider);
        if !is_distrusted {
            self.trusted.insert(provider);
        }
        if is_distrusted || of.exposure == Exposure::None {
            let since = self.bare_since.entry(provider).or_insert(of.hour);
            *since = of.hour.min(*since);
        }
    }

    /// Holds what feeds declare against what they report, and says what to change: once a month for each.
    pub(super) async fn check_feeds(
        &mut self,
        store: &Leader,
        notifiers: &Notifiers,
        metrics: &Metrics,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let findings = check(store, now).await?;
        let labels = |finding: &Finding| [finding.feed.clone(), finding.mismatch.to_string()];
        for gone in self.findings.iter().filter(|finding| !findings.contains(finding)) {
            metrics.feed_mismatches.with_label_values(&labels(gone)).set(0);
            tracing::info!(feed = gone.feed, mismatch = %gone.mismatch, "the feed reports what it declares again");
        }
        for finding in findings.iter().filter(|finding| !self.findings.contains(finding)) {
            metrics.feed_mismatches.with_label_values(&labels(finding)).set(1);
            tracing::warn!(feed = finding.feed, mismatch = %finding.mismatch, advice = finding.advice(), "check the set-up");
            // These are told of together.
            if finding.mismatch == Mismatch::NeverHeard {
                continue;
            }
            // While a row of the outbox is kept, the same key is no new page.
            store.enqueue(&notifiers.pages(&ticket(finding, now))).await?;
            notifiers.wake().notify_one();
        }
        let unheard = never_heard_of(&findings);
        if self.unheard.is_due(&unheard, now) {
            store.enqueue(&notifiers.pages(&unheard_ticket(&unheard, now))).await?;
            notifiers.wake().notify_one();
            self.unheard = Unheard { feeds: unheard, at: Some(now) };
        }
        self.findings = findings;
        Ok(())
    }
}

/// Providers of whose mail to recipients outside the relay some was accepted.
async fn accepts(store: &Store, ring: Bin, now: Timestamp) -> Result<BTreeSet<Provider>, StoreError> {
    let from = Bin(ring.0 - (HISTORY_HOURS / 24) * DAY_BINS);
    let sums = store.control_sums(from, now.bin()).await?;
    let accepted: Vec<i32> = sums.iter().filter(|sum| sum.delivered > 0).map(|sum| sum.stream).collect();
    let keys = store.stream_keys(&accepted).await?;
    Ok(keys.into_iter().filter_map(|(_, key)| key.provider).collect())
}

/// The feeds of which was told that they were never heard.
#[derive(Debug, Default)]
struct Unheard {
    feeds: Vec<String>,
    at: Option<Timestamp>,
}

impl Unheard {
    /// Whether these are to be told of: at once where one is new among them, and once a day where one has been heard since.
    fn is_due(&self, now_unheard: &[String], now: Timestamp) -> bool {
        let is_new = now_unheard.iter().any(|feed| !self.feeds.contains(feed));
        let is_less = !now_unheard.is_empty() && now_unheard.len() < self.feeds.len();
        is_new || is_less && self.at.is_none_or(|at| now.millis_since(at) >= DAY_MILLIS)
    }
}

fn ticket(finding: &Finding, now: Timestamp) -> Page {
    setup_ticket(
        format!("setup/{}/{}/{}", finding.feed, finding.mismatch, finding.declared),
        (format!("feed {}", finding.feed), finding.feed.clone()),
        (format!("The feed {} reports otherwise than its configuration says.", finding.feed), finding.advice()),
        now,
    )
}

/// One ticket for all feeds that were never heard: another one where they are others.
fn unheard_ticket(feeds: &[String], now: Timestamp) -> Page {
    let digest = digest(&SHA256, feeds.join("\n").as_bytes());
    let key =
        digest.as_ref().iter().take(8).fold("setup/never-heard/".to_owned(), |key, byte| format!("{key}{byte:02x}"));
    let stream = if let [feed] = feeds { feed.clone() } else { counted(feeds.len() as u64, "feed") };
    let told = (never_heard_headline(feeds), never_heard_advice(feeds));
    setup_ticket(key, ("feeds never heard".to_owned(), stream), told, now)
}

fn setup_ticket(
    key: String,
    (incident, stream): (String, String),
    (headline, advice): (String, String),
    now: Timestamp,
) -> Page {
    Page {
        key,
        kind: PageKind::Setup,
        severity: Severity::Ticket,
        raised: false,
        incident,
        installation: None,
        stream,
        headline,
        since: now,
        turned: None,
        at: now,
        refused: 0,
        sent: 0,
        facts: Vec::new(),
        explanation: Vec::new(),
        safe_action: Some(advice),
        links: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feeds_that_are_never_heard_make_one_ticket_which_follows_them() {
        let names = |text: &str| text.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>();
        let at = |hours: i64| Timestamp::from_millis(hours * HOUR_MILLIS);
        let all = names("braze mailgun ses");
        let mut told = Unheard::default();
        assert!(!told.is_due(&[], at(0)), "there is none");
        assert!(told.is_due(&all, at(0)));
        told = Unheard { feeds: all.clone(), at: Some(at(0)) };
        assert!(!told.is_due(&all, at(99)), "nothing has changed");
        assert!(!told.is_due(&names("braze ses"), at(23)) && told.is_due(&names("braze ses"), at(24)));
        assert!(told.is_due(&names("braze postmark ses"), at(1)), "one more is told of at once");
        assert!(!told.is_due(&[], at(99)), "all are heard: there is nothing to do");

        let (page, less) = (unheard_ticket(&all, at(0)), unheard_ticket(&names("braze ses"), at(0)));
        assert_eq!(page.headline, "3 feeds have brought nothing since they were configured: braze, mailgun, ses.");
        assert_eq!(page.incident, less.incident);
        assert_ne!(page.key, less.key);
        assert_eq!(page.key, unheard_ticket(&all, at(9)).key, "the same feeds make the same page after a restart");
    }

    #[test]
    fn a_provider_that_is_not_trusted_is_asked_about_now_and_then() {
        let at = Timestamp::from_millis;
        let mut context = Context { read_at: Some(at(0)), ..Context::default() };
        assert!(context.is_stale([Provider::Ses], at(1)), "it was never asked about");
        context.ask(BTreeSet::from([Provider::Ses]));
        assert!(!context.is_stale([Provider::Ses], at(1)));
        assert!(context.is_stale([Provider::Ses], at(DISTRUSTED_MILLIS)));
        assert!(!context.is_stale([], at(DISTRUSTED_MILLIS)));
        assert!(context.is_stale([], at(EVERY_MILLIS)));
    }
}
