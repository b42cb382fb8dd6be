//! Letting go of what has outlived its retention, in small steps, and the checkpoints that come before.
//!
//! Deliveries are kept for days, baselines look back for months, so that the projections must outlive the journal's rows. Before
//! deliveries go, a checkpoint of their day is committed: from then on, what was sent by the day's end stays as the projections
//! count it, and a rebuild makes again only what was sent later. A message is held by the checkpoint if it was sent by then; where
//! the rows that stay do not tell, it is noted in `sealed_message`.

use std::collections::BTreeMap;

use super::{Leader, Store, StoreError, dispatch, lease::fenced};
use crate::model::{BIN_MILLIS, DAY_MILLIS, HOUR_MILLIS, Timestamp};

/// Days for which five-minute cells are kept: the ring's four, the 30 that a usual rate is taken from, and some to look back.
const CELL_DAYS: i64 = 40;
/// Days before the onset of an open incident for which its cells are kept.
const BEFORE_INCIDENT_DAYS: i64 = 30;
/// Days for which totals of days are kept, and what feeds reported, and the control group's cells: 60 of the baselines' window,
/// two before it, four of the ring, and some room; counted back from the onset of the oldest open incident.
const TOTAL_DAYS: i64 = 70;
/// A word that nothing refers to goes after so long. Processes forget its number when it is marked.
const UNUSED_MILLIS: i64 = DAY_MILLIS / 2;

/// Messages noted with a checkpoint: address, message, until when the note is needed.
pub(super) type Straddlers = Vec<(i64, i64, i64)>;

/// The words of an outcome: stream, label, template, rule.
pub(super) type WordsRow = (i32, Option<i32>, Option<i32>, Option<i32>);

pub(super) fn words(rows: &[WordsRow]) -> Vec<i32> {
    let of_row = |(stream, label, template, rule): &WordsRow| [Some(*stream), *label, *template, *rule];
    rows.iter().flat_map(of_row).flatten().collect()
}

/// Up to where projections go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cutoffs {
    /// Bins of cells.
    pub(super) cells: i64,
    /// Bins of the control group's cells.
    pub(super) control: i64,
    /// Bins of who was refused.
    pub(super) refused: i64,
    /// Times of the latest notices about people who are not known any more.
    pub(super) notices: i64,
    /// Days of totals, of what feeds reported, and of checkpoints.
    pub(super) days: i64,
}

/// The first bin of which cells are kept, by the onset of the oldest open incident.
fn cells_from(now: i64, open: Option<i64>) -> i64 {
    let kept_for = open.map_or(i64::MAX, |onset| onset - BEFORE_INCIDENT_DAYS * DAY_MILLIS);
    (now - CELL_DAYS * DAY_MILLIS).min(kept_for).div_euclid(BIN_MILLIS)
}

impl Store {
    /// The first bin of which cells of relay mail are kept at this time: earlier ones may be gone.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn cells_from(&self, now: Timestamp) -> Result<i64, StoreError> {
        let open = dispatch!(self, store => store.earliest_open_onset().await)?;
        Ok(cells_from(now.as_millis(), open))
    }
}

impl Leader {
    /// Deletes what has outlived its retention: deliveries before `deliveries`, refusals, notices and who was refused before
    /// `refusals`, what is set aside or remembered only until `now`, what left the outbox 30 days before, projections that nothing
    /// looks at any more, and words that nothing refers to. All in milliseconds since the epoch.
    ///
    /// Deliveries go by whole days, each after a checkpoint of its day, and not before the monitor has folded them. Gives how many
    /// rows went; on PostgreSQL whole days of the journal go at once and are not counted.
    ///
    /// # Errors
    /// [`StoreError::NotLeading`], or where the store is away.
    pub async fn expire(&self, now: i64, deliveries: i64, refusals: i64) -> Result<u64, StoreError> {
        let all = self.store();
        self.checkpoint(deliveries.div_euclid(DAY_MILLIS), now).await?;
        let mut gone = 0;
        if let Some(before) = self.horizon().await?.dropped_before() {
            gone += fenced!(self, store, epoch => store.drop_deliveries(epoch, before.as_millis()).await)?;
        }
        gone += fenced!(self, store, epoch => store.expire_control(epoch, deliveries).await)?;
        gone += fenced!(self, store, epoch => store.expire_journal(epoch, now, refusals).await)?;
        // Projections go by whole days; to look for them reads all of them.
        let today = now.div_euclid(DAY_MILLIS);
        if dispatch!(all, store => store.meta_number("expired_day").await)? != Some(today) {
            let bin = |millis: i64| millis.div_euclid(BIN_MILLIS);
            let open = dispatch!(all, store => store.earliest_open_onset().await)?;
            let kept_for = open.map_or(i64::MAX, |onset| onset - BEFORE_INCIDENT_DAYS * DAY_MILLIS);
            let cutoffs = Cutoffs {
                cells: cells_from(now, open),
                control: bin((now - TOTAL_DAYS * DAY_MILLIS).min(kept_for)),
                refused: bin(refusals),
                notices: refusals,
                // The regime that an open incident keeps is learnt from what lies before it.
                days: open.map_or(today, |onset| onset.div_euclid(DAY_MILLIS).min(today)) - TOTAL_DAYS,
            };
            gone += fenced!(self, store, epoch => store.expire_projections(epoch, cutoffs).await)?;
            gone += self.sweep_words(now).await?;
            fenced!(self, store, epoch => store.set_meta_number(epoch, "expired_day", today).await)?;
        }
        Ok(gone)
    }

    /// Commits the checkpoint of a day, if deliveries from before it are there to be let go. Gives whether it stands; not where
    /// the monitor has still to fold some of them, or makes projections again.
    ///
    /// # Errors
    /// [`StoreError::NotLeading`], or where the store is away.
    pub async fn checkpoint(&self, day: i64, now: i64) -> Result<bool, StoreError> {
        let all = self.store();
        let horizon = self.horizon().await?;
        if horizon.sealed.is_some_and(|sealed| sealed >= day) {
            return Ok(true);
        }
        let start = day.saturating_mul(DAY_MILLIS);
        let Some(first) = dispatch!(all, store => store.first_delivery_before(start).await)? else { return Ok(false) };
        let scanned = self.cursor(super::MONITOR_CURSOR).await?;
        if horizon.rebuilt_from.is_some_and(|end| scanned < end) {
            return Ok(false);
        }
        // By the hour, so that no read is long.
        let end = start.saturating_add(DAY_MILLIS);
        let mut from = horizon.dropped_before().map_or(first, |dropped| first.max(dropped.as_millis()));
        let mut straddlers = BTreeMap::new();
        while from < start {
            let to = from.saturating_add(HOUR_MILLIS).min(start);
            let found = dispatch!(all, store => store.straddlers(from, to, end, scanned).await)?;
            // One with deliveries in two hours is found twice, with the same latest outcome.
            straddlers.extend(found.into_iter().map(|(address, message, until)| ((address, message), until)));
            from = to;
        }
        let straddlers: Straddlers =
            straddlers.into_iter().map(|((address, message), until)| (address, message, until)).collect();
        fenced!(self, store, epoch => store.commit_checkpoint(epoch, day, now, first, scanned, &straddlers).await)
    }

    /// Marks words that nothing refers to, and deletes those that were marked long enough ago and have not been used since.
    async fn sweep_words(&self, now: i64) -> Result<u64, StoreError> {
        let all = self.store();
        let mut used = Used::default();
        let mut after = None;
        while let Some((words, next)) = dispatch!(all, store => store.words_of_events(after).await)? {
            used.add(&words);
            after = Some(next);
        }
        used.add(&dispatch!(all, store => store.words_of_projections().await)?);
        let (mut from, mut gone, mut marked) = (0, 0, false);
        loop {
            // The newest word stays, so that no number is given twice.
            let page = dispatch!(all, store => store.word_marks(from).await)?;
            let Some((last, _)) = page.last() else { break };
            from = *last;
            let unused = |marked: bool| -> Vec<i32> {
                let unused = page.iter().filter(|(id, since)| !used.holds(*id) && since.is_some() == marked);
                unused.map(|(id, _)| *id).collect()
            };
            let back: Vec<i32> =
                page.iter().filter(|(id, since)| used.holds(*id) && since.is_some()).map(|(id, _)| *id).collect();
            let fresh = unused(false);
            marked |= !fresh.is_empty();
            fenced!(self, store, epoch => store.mark_words(epoch, &fresh, &back, now).await)?;
            gone += fenced!(self, store, epoch => store.drop_words(epoch, &unused(true), now - UNUSED_MILLIS).await)?;
        }
        if marked {
            fenced!(self, store, epoch => store.announce_sweep(epoch).await)?;
        }
        Ok(gone)
    }
}

/// A set of words by number: a bit each.
#[derive(Debug, Default)]
struct Used(Vec<u64>);

impl Used {
    fn add(&mut self, words: &[i32]) {
        for word in words {
            let Ok(word) = usize::try_from(*word) else { continue };
            if self.0.len() <= word / 64 {
                self.0.resize(word / 64 + 1, 0);
            }
            if let Some(bits) = self.0.get_mut(word / 64) {
                *bits |= 1 << (word % 64);
            }
        }
    }

    fn holds(&self, word: i32) -> bool {
        let Ok(word) = usize::try_from(word) else { return false };
        self.0.get(word / 64).is_some_and(|bits| bits & (1 << (word % 64)) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_words_holds_what_was_added() {
        let mut used = Used::default();
        used.add(&[3, 64, 1_000, -5]);
        let held: Vec<i32> = (-10..2_000).filter(|word| used.holds(*word)).collect();
        assert_eq!(held, [3, 64, 1_000]);
    }
}
