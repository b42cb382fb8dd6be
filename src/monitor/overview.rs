//! How sources and streams stand, as the store tells: for the command, the API, the page and the doctor.

use serde::Serialize;

use super::blind::{self, Window, is_of_dns};
use crate::{
    model::Timestamp,
    sources::{
        Finding,
        watch::{Condition, Fitness, Observation, Record, Standing, Trouble},
    },
    store::{EntryKind, Store, StoreError},
};

/// Changes of DNS that are shown, the latest.
const SHOWN_CHANGES: u32 = 20;

/// One source or stream.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// How it stands.
    #[serde(flatten)]
    pub standing: Standing,
    /// When it was last looked at, to about a minute.
    pub looked_at: Option<Timestamp>,
}

/// A time in which DNS gave no answer, and gives none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BlindNow {
    /// `dns`, or `dns/<name>`.
    pub watched: String,
    /// Since when.
    pub since: Timestamp,
}

/// A change of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// When it was seen.
    pub at: Timestamp,
    /// What changed.
    #[serde(flatten)]
    pub record: Record,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Overview {
    /// Sources and streams: what is not fit first.
    pub sources: Vec<Row>,
    /// Fitness that was lost by a change of DNS.
    pub troubles: Vec<Trouble>,
    /// What is wrong with how DNS answers.
    pub findings: Vec<Finding>,
    /// What gets no answer.
    pub blind: Vec<BlindNow>,
    /// The latest changes, the last first.
    pub changes: Vec<Changed>,
}

impl Overview {
    /// Reads it.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn read(store: &Store, now: Timestamp) -> Result<Self, StoreError> {
        let (mut sources, mut troubles, mut findings) = (Vec::new(), Vec::new(), Vec::new());
        for row in store.observed().await? {
            // What another version wrote is shown once it is seen anew.
            match serde_json::from_value::<Observation>(row.body) {
                Ok(Observation::Standing { standing, gone: false }) => {
                    sources.push(Row { standing, looked_at: row.looked_at });
                }
                Ok(Observation::Trouble(trouble)) if !trouble.over => troubles.push(trouble),
                Ok(Observation::Condition(condition)) if !condition.over => {
                    findings.push(Condition::finding(&condition));
                }
                _ => {}
            }
        }
        let rank = |row: &Row| match row.standing.fitness {
            Fitness::Unfit => 0,
            Fitness::Unknown => 1,
            Fitness::Fit => 2,
        };
        sources.sort_by(|one, other| (rank(one), &one.standing.subject).cmp(&(rank(other), &other.standing.subject)));
        let open = |window: &Window| window.until.is_none() && is_of_dns(&window.watched);
        let windows = blind::known(store, now).await?.into_iter().filter(open);
        let blind = windows.map(|window| BlindNow { watched: window.watched, since: window.from }).collect();
        // First observations are no changes: more are read than are shown.
        let entries = store.entries_of_kind(EntryKind::DnsObservation, now, 10 * SHOWN_CHANGES).await?.into_iter();
        let changes = entries.filter_map(|entry| match serde_json::from_value(entry.body).ok()? {
            Observation::Record(record) if record.is_change() => Some(Changed { at: entry.key.at, record }),
            _ => None,
        });
        let changes = changes.take(usize::try_from(SHOWN_CHANGES).unwrap_or(usize::MAX)).collect();
        Ok(Self { sources, troubles, findings, blind, changes })
    }

    /// How many stand so.
    #[must_use]
    pub fn count(&self, fitness: Fitness) -> usize {
        self.sources.iter().filter(|row| row.standing.fitness == fitness).count()
    }
}
