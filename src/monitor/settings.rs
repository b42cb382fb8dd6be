//! The settings that change projections and judgements: journalled with a version whenever they change.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    classify::Rules,
    config::Config,
    detect::Parameters,
    model::{DAY_MILLIS, Exposure, Timestamp},
    store::{EntryKind, EntryRecord, Store, StoreError},
};

/// Settings that are looked through for the oldest: they change seldom.
const MOST: u32 = 10_000;

/// What changes what relaywatch makes of the same events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The version of the reply rules.
    pub rules: u32,
    /// What tells them from other rules of the same version; empty where an earlier relaywatch wrote the settings.
    #[serde(default)]
    pub rules_fingerprint: String,
    /// Domains on which every address is a relay address.
    pub relay_domains: Vec<String>,
    /// Domains on which relay addresses stand among others.
    pub shared_domains: Vec<String>,
    /// The apps (client ids) of each team.
    pub teams: BTreeMap<String, Vec<String>>,
    /// What each feed declares of mail that did not bounce; nothing for feeds of notices.
    pub feeds: BTreeMap<String, Option<Exposure>>,
    /// The detectors' numbers.
    pub parameters: Parameters,
}

impl Settings {
    /// What this configuration says, with the rules and parameters in force.
    #[must_use]
    pub fn of(
        config: &Config,
        feeds: BTreeMap<String, Option<Exposure>>,
        rules: &Rules,
        parameters: Parameters,
    ) -> Self {
        let sorted = |domains: &[String]| {
            let mut domains: Vec<String> =
                domains.iter().map(|domain| crate::model::normalise_domain(domain)).collect();
            domains.sort_unstable();
            domains.dedup();
            domains
        };
        let mut teams: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for team in &config.team {
            let apps = teams.entry(team.id.clone()).or_default();
            apps.extend(team.app.iter().map(|app| app.client_id.clone()));
            apps.sort_unstable();
        }
        Self {
            rules: rules.version(),
            rules_fingerprint: rules.fingerprint(),
            relay_domains: sorted(&config.relay.domains),
            shared_domains: sorted(&config.relay.shared_domains),
            teams,
            feeds,
            parameters,
        }
    }
}

/// Settings as the journal holds them.
#[derive(Debug, Clone, PartialEq)]
pub struct Journalled {
    /// Rises by one with each change.
    pub version: u32,
    /// Since when they are in force.
    pub since: Timestamp,
    /// The settings.
    pub settings: Settings,
}

/// The version of an entry, whoever wrote it.
fn version(entry: &EntryRecord) -> u32 {
    let version = entry.body.get("version").and_then(serde_json::Value::as_u64);
    version.and_then(|version| u32::try_from(version).ok()).unwrap_or(0)
}

/// The settings in force, unless there are none or another version wrote them.
///
/// # Errors
/// Where the store is away.
pub async fn latest(store: &Store, now: Timestamp) -> Result<Option<Journalled>, StoreError> {
    Ok(newest(store, now).await?.and_then(|entry| {
        let settings = Settings::deserialize(entry.body.get("settings")?).ok()?;
        Some(Journalled { version: version(&entry), since: entry.key.at, settings })
    }))
}

async fn newest(store: &Store, now: Timestamp) -> Result<Option<EntryRecord>, StoreError> {
    // A clock that was set back hides nothing.
    let entries = store.entries_of_kind(EntryKind::Settings, now.plus_millis(DAY_MILLIS), MOST).await?;
    Ok(entries.into_iter().max_by_key(version))
}

/// When relaywatch first ran here: what was sent before that was brought in afterwards.
///
/// # Errors
/// Where the store is away.
pub async fn installed_at(store: &Store, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
    let entries = store.entries_of_kind(EntryKind::Settings, now.plus_millis(DAY_MILLIS), MOST).await?;
    Ok(entries.iter().map(|entry| entry.key.at).min())
}

/// Each feed that is configured, with what it declares and since when it has been without a break.
///
/// # Errors
/// Where the store is away.
pub async fn feeds_since(
    store: &Store,
    now: Timestamp,
) -> Result<BTreeMap<String, (Option<Exposure>, Timestamp)>, StoreError> {
    let mut entries = store.entries_of_kind(EntryKind::Settings, now.plus_millis(DAY_MILLIS), MOST).await?;
    entries.sort_by_key(version);
    let mut feeds: BTreeMap<String, (Option<Exposure>, Timestamp)> = BTreeMap::new();
    for entry in &entries {
        let settings = entry.body.get("settings").and_then(|settings| Settings::deserialize(settings).ok());
        // Another version's settings say nothing.
        let Some(settings) = settings else { continue };
        let known = std::mem::take(&mut feeds);
        feeds.extend(settings.feeds.into_iter().map(|(feed, exposure)| {
            let since = known.get(&feed).map_or(entry.key.at, |(_, since)| *since);
            (feed, (exposure, since))
        }));
    }
    Ok(feeds)
}

/// Journals the settings where they differ from those in force; gives their version.
///
/// # Errors
/// Where the store is away or full.
pub async fn journal(store: &Store, settings: &Settings, now: Timestamp) -> Result<u32, StoreError> {
    let newest = newest(store, now).await?;
    let known = newest.as_ref().map_or(0, version);
    // A struct of words, numbers and texts always serialises.
    let body = serde_json::to_value(settings).unwrap_or_default();
    // Stored numbers are read back to the same floats, so that equal settings are equal.
    if newest.is_some_and(|entry| entry.body.get("settings") == Some(&body)) {
        return Ok(known);
    }
    let version = known.saturating_add(1);
    store.append(None, EntryKind::Settings, now, json!({ "version": version, "settings": body })).await?;
    tracing::info!(version, rules = settings.rules, "the settings that judgements depend on are journalled");
    Ok(version)
}
