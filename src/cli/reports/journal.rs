//! The reports that the journal holds, as they came.

use crate::{
    cli::progress::Progress,
    model::{DAY_MILLIS, Timestamp},
    sources::reports::{self, Report},
    store::{EntryKind, EntryRecord, Store},
};

/// Entries that are looked at, the latest first.
pub(super) const MAX_ENTRIES: u32 = 100_000;

/// What an entry holds.
pub(super) enum Held {
    /// A report.
    Report(Box<Report>),
    /// One that can't be read, and why not.
    Broken(String),
    /// What it was is not kept any more, or was too large.
    Gone,
}

/// Gives every report since a time, latest first, with its entry; those of an entry one after the other. `false` where there were more
/// entries than are looked at.
pub(super) async fn each(
    store: &Store,
    since: Timestamp,
    now: Timestamp,
    mut take: impl FnMut(&EntryRecord, Held),
) -> anyhow::Result<bool> {
    // A clock that was set back hides nothing.
    let to = now.plus_millis(DAY_MILLIS);
    let mut entries = store.entries_of_kind(EntryKind::DmarcReport, to, MAX_ENTRIES).await?;
    let is_all = u32::try_from(entries.len()).is_ok_and(|number| number < MAX_ENTRIES);
    entries.retain(|entry| entry.key.at >= since);
    let mut progress = Progress::new();
    for (number, entry) in entries.iter().enumerate() {
        progress.show(|| format!("report {} of {}", number + 1, entries.len()));
        let Some(bytes) = store.kept_part(entry, now).await? else {
            take(entry, Held::Gone);
            continue;
        };
        match reports::read(&bytes) {
            Ok(documents) => {
                for document in documents {
                    let held =
                        document.map(Box::new).map_or_else(|fault| Held::Broken(fault.to_string()), Held::Report);
                    take(entry, held);
                }
            }
            Err(fault) => take(entry, Held::Broken(fault.to_string())),
        }
    }
    progress.end();
    Ok(is_all)
}
