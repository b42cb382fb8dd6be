//! Feeds and notices that are silent beyond what their own history allows.

use std::collections::BTreeMap;

use super::{NOTICES, Window, known};
use crate::{
    detect::silent_since,
    explain::BlindReason,
    metrics::Metrics,
    model::{HOUR_MILLIS, MINUTE_MILLIS, Timestamp},
    monitor::settings::latest,
    store::{Leader, Store, StoreError, WordKind},
};

/// How far back a feed's hours are looked at: the three weeks before the week in question.
const HISTORY_HOURS: i64 = 28 * 24;
/// Looks that lie further apart were none: whatever is missing in between is our own doing.
const LOOKS_APART_MILLIS: i64 = 10 * MINUTE_MILLIS;
/// How often the feeds are judged.
const JUDGE_EVERY_MILLIS: i64 = MINUTE_MILLIS;

/// Watches for silence.
#[derive(Debug, Default)]
pub(in crate::monitor) struct Silence {
    /// Since when it has looked without a pause, and when it last did.
    looking: Option<(Timestamp, Timestamp)>,
    judged_at: Option<Timestamp>,
}

impl Silence {
    /// Looks, and journals what has fallen silent or speaks again. To be called often, whenever the journal is folded.
    pub(in crate::monitor) async fn look(
        &mut self,
        store: &Leader,
        metrics: &Metrics,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let since = self.looking.filter(|(_, last)| now.millis_since(*last) <= LOOKS_APART_MILLIS);
        let since = since.map_or(now, |(since, _)| since);
        self.looking = Some((since, now));
        if self.judged_at.is_some_and(|at| now.millis_since(at) < JUDGE_EVERY_MILLIS) {
            return Ok(());
        }
        self.judged_at = Some(now);
        let hour = now.as_millis().div_euclid(HOUR_MILLIS);
        let watched_from = since.as_millis().div_euclid(HOUR_MILLIS) + 1;
        let known = known(store, now).await?;
        for (feed, hours) in reports(store, hour, now).await? {
            let open = known
                .iter()
                .find(|window| {
                    window.watched == feed && window.reason == Some(BlindReason::Silent) && window.until.is_none()
                })
                .cloned();
            let silent = hours.as_ref().map(|hours| silent_since(hours, watched_from, hour));
            let changed = match (open, silent) {
                (None, Some(Some(from))) => Some(Window {
                    from: Timestamp::from_millis(from.saturating_mul(HOUR_MILLIS)),
                    watched: feed.clone(),
                    reason: Some(BlindReason::Silent),
                    until: None,
                }),
                // It speaks again, or is watched no more.
                (Some(open), Some(None)) if speaks(hours.as_ref(), open.from) => {
                    Some(Window { until: Some(now), ..open })
                }
                (Some(open), None) => Some(Window { until: Some(now), ..open }),
                _ => None,
            };
            if let Some(window) = changed
                && window.journal(store, Some(store.epoch())).await?
            {
                let ended = window.until.is_some();
                tracing::warn!(feed, since = %window.from, ended, "a feed is silent beyond what its history allows");
            }
        }
        for (watched, open) in count_open(&super::known(store, now).await?) {
            metrics.blind_windows.with_label_values(&[watched.as_str()]).set(open);
        }
        Ok(())
    }
}

/// Whether anything was reported of the time after `from`.
fn speaks(hours: Option<&BTreeMap<i64, i64>>, from: Timestamp) -> bool {
    let from = from.as_millis().div_euclid(HOUR_MILLIS);
    hours.is_some_and(|hours| hours.range(from..).any(|(_, events)| *events > 0))
}

/// How many windows of each feed last; none for those that have ended.
fn count_open(windows: &[Window]) -> BTreeMap<String, i64> {
    let mut open: BTreeMap<String, i64> = BTreeMap::new();
    for window in windows {
        *open.entry(window.watched.clone()).or_default() += i64::from(window.until.is_none());
    }
    open
}

/// The events of each feed by hour; `None` for a feed that is configured no more.
async fn reports(
    store: &Store,
    hour: i64,
    now: Timestamp,
) -> Result<BTreeMap<String, Option<BTreeMap<i64, i64>>>, StoreError> {
    let configured = latest(store, now).await?.map(|journalled| journalled.settings.feeds);
    let names: BTreeMap<i32, String> = store.words_of(WordKind::Feed).await?.into_iter().collect();
    let since = hour - HISTORY_HOURS;
    let mut all: BTreeMap<String, Option<BTreeMap<i64, i64>>> = BTreeMap::new();
    for (of, counts) in store.feed_hours(since).await? {
        let Some(name) = names.get(&of.feed) else { continue };
        if configured.as_ref().is_some_and(|feeds| !feeds.contains_key(name)) {
            all.insert(name.clone(), None);
        } else if let Some(hours) = all.entry(name.clone()).or_insert_with(|| Some(BTreeMap::new())) {
            *hours.entry(of.hour).or_default() += counts.events;
        }
    }
    let notices = store.notice_hours(Timestamp::from_millis(since.saturating_mul(HOUR_MILLIS))).await?;
    all.insert(NOTICES.to_owned(), Some(notices.into_iter().collect()));
    Ok(all)
}
