//! Feeds and notices that are silent beyond what their own history allows.

use std::collections::{BTreeMap, BTreeSet};

use super::{ALL, CANARY, DNS, NOTICES, Window, is_of_dns, known, notices_of};
use crate::{
    detect::{Silent, silent_since},
    explain::BlindReason,
    incident::Body,
    metrics::Metrics,
    model::{DAY_MILLIS, HOUR_MILLIS, MINUTE_MILLIS, Provider, Timestamp},
    monitor::settings::{Settings, latest},
    notify::Notifiers,
    store::{IncidentState, Leader, Store, StoreError, WordKind},
};

/// How far back a feed's hours are looked at: the three weeks before the week in question, and before its last report.
const HISTORY_HOURS: i64 = 35 * 24;
/// Looks that lie further apart were none: whatever is missing in between is our own doing.
const LOOKS_APART_MILLIS: i64 = 10 * MINUTE_MILLIS;
/// How often the feeds are judged.
const JUDGE_EVERY_MILLIS: i64 = MINUTE_MILLIS;
/// A feed whose every delivery is refused has been so for long after this time.
const REFUSED_LASTS_MILLIS: i64 = HOUR_MILLIS;
/// Open incidents that a ticket names at most.
const MOST_INCIDENTS: u32 = 20;

/// The events of each hour, counted from the epoch.
type Hours = BTreeMap<i64, i64>;

/// Watches for silence.
#[derive(Debug, Default)]
pub(in crate::monitor) struct Silence {
    /// Since when it has looked without a pause, and when it last did.
    looking: Option<(Timestamp, Timestamp)>,
    judged_at: Option<Timestamp>,
    /// What each had reported by the last look, and when a look last found more.
    heard: BTreeMap<String, (Hours, Option<Timestamp>)>,
    /// Keys of what was put into the outbox, or needs not be.
    told: BTreeSet<String>,
}

impl Silence {
    /// Looks, journals what has fallen silent or speaks again, and tells of what has for long. To be called often, whenever the
    /// journal is folded.
    pub(in crate::monitor) async fn look(
        &mut self,
        store: &Leader,
        notifiers: &Notifiers,
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
        let settings = latest(store, now).await?.map(|journalled| journalled.settings);
        let windows = known(store, now).await?;
        let reports = reports(store, settings.as_ref(), now).await?;
        let lasting = self.judge(store, &windows, reports, since, now).await?;
        // Whatever lasts and is watched no more ends, also where no report of it is left.
        for open in windows.iter().filter(|window| window.until.is_none() && window.reason != Some(BlindReason::Outage))
        {
            // Those of canaries are ended by who looks for canaries.
            if open.watched.starts_with(CANARY) {
                continue;
            }
            if settings.as_ref().is_some_and(|settings| !is_watched(settings, &open.watched)) {
                journal(store, &Window { until: Some(now), ..open.clone() }).await?;
            }
        }
        let windows = known(store, now).await?;
        for (watched, open) in count_open(&windows) {
            metrics.blind_windows.with_label_values(&[watched.as_str()]).set(open);
        }
        self.tell(store, notifiers, &windows, &lasting, now).await
    }

    /// Judges each feed, and the notices; gives those whose silence lasts.
    async fn judge(
        &mut self,
        store: &Leader,
        windows: &[Window],
        reports: BTreeMap<String, Hours>,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<BTreeSet<String>, StoreError> {
        let this_hour = hour(now);
        let mut lasting = BTreeSet::new();
        self.heard.retain(|watched, _| reports.contains_key(watched));
        let mut notices_silent = false;
        for (watched, hours) in reports {
            let (before, heard_at) = self.heard.remove(&watched).unwrap_or_else(|| (hours.clone(), None));
            let speaks_now = hours.iter().any(|(hour, events)| before.get(hour).copied().unwrap_or(0) < *events);
            let heard_at = if speaks_now { Some(now) } else { heard_at };
            let of_it = || windows.iter().filter(|window| window.watched == watched);
            let silences = || of_it().filter(|window| window.reason == Some(BlindReason::Silent));
            let open = silences().find(|window| window.until.is_none()).cloned();
            let ended = silences().filter_map(|window| window.until).max();
            // What comes late fills hours that are over, one after the other: as long as it comes, nothing is silent. So it is
            // judged from the hour after the last that was heard, and what has ended begins no earlier again.
            let watched_from = [Some(since), heard_at, ended].into_iter().flatten().max().map_or(0, hour) + 1;
            let excused: Vec<(i64, i64)> = windows
                .iter()
                .filter(|window| window.watched == watched || window.watched == ALL)
                .map(|window| (hour(window.from), hour(window.until.unwrap_or(now)) + 1))
                .collect();
            let silent = silent_since(&hours, &excused, watched_from, this_hour);
            // All notices are judged before those of each app, which say nothing more where all are silent.
            let is_app = watched.strip_prefix(NOTICES).is_some_and(|rest| rest.starts_with('/'));
            if watched == NOTICES {
                notices_silent = silent.is_some() || open.is_some();
            }
            let changed = match (open, silent) {
                (None, Some(Silent { since, .. })) if !(is_app && notices_silent) => {
                    let from = Timestamp::from_millis(since.saturating_mul(HOUR_MILLIS));
                    let from = ended.map_or(from, |ended| from.max(ended));
                    Some(Window { from, watched: watched.clone(), reason: Some(BlindReason::Silent), until: None })
                }
                (Some(open), _) if speaks_now || (silent.is_none() && speaks(&hours, open.from)) => {
                    Some(Window { until: Some(now), ..open })
                }
                _ => None,
            };
            if let Some(window) = changed {
                journal(store, &window).await?;
            }
            if silent.is_some_and(|silent| silent.lasts) {
                lasting.insert(watched.clone());
            }
            self.heard.insert(watched, (hours, heard_at));
        }
        Ok(lasting)
    }

    /// Puts tickets about windows that last, and about the end of those that a ticket was made of, into the outbox.
    async fn tell(
        &mut self,
        store: &Leader,
        notifiers: &Notifiers,
        windows: &[Window],
        lasting: &BTreeSet<String>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let recent = |window: &&Window| window.until.is_none_or(|until| now.millis_since(until) < DAY_MILLIS);
        let recent: Vec<&Window> = windows.iter().filter(recent).collect();
        let keys: BTreeSet<String> = recent.iter().flat_map(|window| [window.key(), window.end_key()]).collect();
        self.told.retain(|key| keys.contains(key));
        for window in recent {
            let page = match (window.until, window.reason) {
                // Outages have a page of their own while they last.
                (_, None | Some(BlindReason::Outage)) => continue,
                (Some(until), _) if !self.told.contains(&window.end_key()) => {
                    if !store.outbox_knows(&window.key()).await? {
                        self.told.insert(window.end_key());
                        continue;
                    }
                    window.end_ticket(until)
                }
                (None, Some(reason)) if !self.told.contains(&window.key()) => {
                    let lasts = match reason {
                        BlindReason::Refused | BlindReason::Unreachable => {
                            now.millis_since(window.from) >= REFUSED_LASTS_MILLIS
                        }
                        BlindReason::Silent if window.watched.starts_with(CANARY) => {
                            now.millis_since(window.from) >= REFUSED_LASTS_MILLIS
                        }
                        BlindReason::Silent | BlindReason::Outage => lasting.contains(&window.watched),
                    };
                    if !lasts {
                        continue;
                    }
                    window.ticket(&touched(store, window).await?, now)
                }
                _ => continue,
            };
            let pages = notifiers.pages(&page);
            if pages.is_empty() {
                // Where a notifier is set while it lasts, it is told then.
                continue;
            }
            store.enqueue(&pages).await?;
            notifiers.wake().notify_one();
            tracing::info!(watched = window.watched, kind = %page.kind, "a blind window is announced");
            self.told.insert(page.key);
        }
        Ok(())
    }
}

/// The open incidents that a window which lasts touches.
async fn touched(store: &Store, window: &Window) -> Result<Vec<i64>, StoreError> {
    let provider = Provider::of_feed(&window.watched).filter(|provider| *provider != Provider::Apple);
    let open = store.incidents(&[IncidentState::Open], MOST_INCIDENTS).await?;
    let is_of = |body: &Body| match (provider, body.scope.provider) {
        (Some(window), Some(incident)) => window == incident,
        _ => true,
    };
    let records = open.iter().filter(|record| Body::from_record(record).is_ok_and(|body| is_of(&body)));
    let mut touched: Vec<i64> = records.map(|record| record.id).collect();
    touched.sort_unstable();
    Ok(touched)
}

async fn journal(store: &Leader, window: &Window) -> Result<(), StoreError> {
    if window.journal(store, Some(store.epoch())).await? {
        let (watched, since) = (window.watched.as_str(), window.from);
        match window.until {
            None => tracing::warn!(watched, %since, "silent beyond what its history allows: a blind window is open"),
            Some(_) => {
                tracing::info!(watched, %since, "a blind window has ended: it is heard again, or watched no more");
            }
        }
    }
    Ok(())
}

/// Whether the settings have what a window is of. Those of DNS are ended by the watch.
fn is_watched(settings: &Settings, watched: &str) -> bool {
    if is_of_dns(watched) {
        return true;
    }
    match super::app_of(watched) {
        Some((team, app)) => settings.teams.get(team).is_some_and(|apps| apps.iter().any(|known| known == app)),
        None => watched == NOTICES || settings.feeds.contains_key(watched),
    }
}

fn hour(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(HOUR_MILLIS)
}

/// Whether anything was reported of the time after `from`.
fn speaks(hours: &Hours, from: Timestamp) -> bool {
    hours.range(hour(from)..).any(|(_, events)| *events > 0)
}

/// How many windows of each feed last; none for those that have ended.
fn count_open(windows: &[Window]) -> BTreeMap<String, i64> {
    let mut open: BTreeMap<String, i64> = BTreeMap::new();
    for window in windows {
        // One value for all names, so that there are no more than feeds.
        let watched = if is_of_dns(&window.watched) { DNS.to_owned() } else { window.watched.clone() };
        *open.entry(watched).or_default() += i64::from(window.until.is_none());
    }
    open
}

/// What each feed that is configured reported, all notices, and those of each configured app where there are several.
async fn reports(
    store: &Store,
    settings: Option<&Settings>,
    now: Timestamp,
) -> Result<BTreeMap<String, Hours>, StoreError> {
    let names: BTreeMap<i32, String> = store.words_of(WordKind::Feed).await?.into_iter().collect();
    let since = hour(now) - HISTORY_HOURS;
    let mut all: BTreeMap<String, Hours> = BTreeMap::new();
    for (of, counts) in store.feed_hours(since).await? {
        let Some(name) = names.get(&of.feed) else { continue };
        if settings.is_none_or(|settings| settings.feeds.contains_key(name)) {
            *all.entry(name.clone()).or_default().entry(of.hour).or_default() += counts.events;
        }
    }
    let notices = store.notice_hours(Timestamp::from_millis(since.saturating_mul(HOUR_MILLIS))).await?;
    let team_of = |app: &str| {
        let mut teams = settings.into_iter().flat_map(|settings| &settings.teams);
        teams.find(|(_, apps)| apps.iter().any(|known| known == app)).map(|(team, _)| team.as_str())
    };
    let mut together = Hours::new();
    let mut apps: BTreeMap<String, Hours> = BTreeMap::new();
    for (app, hour, count) in notices {
        *together.entry(hour).or_default() += count;
        if let Some(team) = team_of(&app) {
            *apps.entry(notices_of(team, &app)).or_default().entry(hour).or_default() += count;
        }
    }
    all.insert(NOTICES.to_owned(), together);
    // The only one says what all of them say.
    if apps.len() > 1 {
        all.append(&mut apps);
    }
    Ok(all)
}
