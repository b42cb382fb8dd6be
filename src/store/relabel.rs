//! Stored replies by what decides their verdict, and new verdicts for them; in steps, so that nothing is read whole and nobody
//! waits for long.

use std::collections::BTreeMap;

use super::{Store, StoreError, dispatch, engine::word};
use crate::model::{Cause, Destination, EventKind, FailureClass, MxFamily, Timestamp};

/// A stretch of the journal: places on SQLite, times on PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    pub(super) from: i64,
    pub(super) to: i64,
}

impl Stretch {
    /// Where it ends, and the next one begins.
    #[must_use]
    pub const fn end(self) -> i64 {
        self.to
    }
}

/// What decides the verdict of a stored reply, and the verdict that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyKey {
    /// The finest stream's number; its provider counts.
    pub stream: i32,
    /// What the recipient's domain could hold when the reply was taken in.
    pub destination: Destination,
    /// Whose mail exchanger answered.
    pub mx: MxFamily,
    /// The template's number.
    pub template: i32,
    /// The provider's own verdict, by number: the last of the evidence.
    pub label: Option<i32>,
    /// What it means.
    pub cause: Cause,
    /// The rule that decided, by number.
    pub rule: i32,
    /// How sure, in percent.
    pub confidence: u8,
}

/// Stored replies that have all of that in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyGroup {
    /// What they have in common.
    pub key: ReplyKey,
    /// How many they are.
    pub replies: u64,
    /// The earliest, by the event's own time.
    pub first: Timestamp,
    /// The latest.
    pub last: Timestamp,
}

/// A new verdict for stored replies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVerdict {
    /// Which replies.
    pub of: ReplyKey,
    /// The rule that decided until now, as `file/name@version`.
    pub from_rule: String,
    /// What they mean now.
    pub cause: Cause,
    /// The rule that decides now, as `file/name@version`.
    pub rule: String,
    /// How sure, in percent.
    pub confidence: u8,
}

/// How many stored replies a relabelling has changed from one verdict to another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Relabelled {
    /// What they meant.
    pub from_cause: String,
    /// The rule that had decided, as `file/name@version`.
    pub from_rule: String,
    /// What they mean now.
    pub to_cause: String,
    /// The rule that decides now.
    pub to_rule: String,
    /// How many they are.
    pub replies: u64,
}

/// One row of a group: stream, destination, exchanger, template, label, cause, rule, confidence, count, first, last.
pub(super) type GroupRow = (i32, i16, i16, i32, Option<i32>, i16, i32, i16, i64, i64, i64);

pub(super) fn groups(rows: Vec<GroupRow>) -> Result<Vec<ReplyGroup>, StoreError> {
    rows.into_iter()
        .map(|(stream, destination, mx, template, label, cause, rule, confidence, replies, first, last)| {
            let key = ReplyKey {
                stream,
                destination: word("event", "destination", destination, Destination::from_code)?,
                mx: MxFamily::from_code(mx).unwrap_or(MxFamily::Unknown),
                template,
                label,
                cause: word("event", "cause", cause, Cause::from_code)?,
                rule,
                confidence: u8::try_from(confidence).unwrap_or(0),
            };
            let replies = u64::try_from(replies).unwrap_or(0);
            Ok(ReplyGroup { key, replies, first: Timestamp::from_millis(first), last: Timestamp::from_millis(last) })
        })
        .collect()
}

/// One row of `relabelled`.
pub(super) type RelabelledRow = (i16, String, i16, String, i64);

pub(super) fn relabelled(rows: Vec<RelabelledRow>) -> Result<Vec<Relabelled>, StoreError> {
    rows.into_iter()
        .map(|(from_cause, from_rule, to_cause, to_rule, replies)| {
            let cause = |code| word("relabelled", "cause", code, Cause::from_code).map(|cause| cause.to_string());
            let replies = u64::try_from(replies).unwrap_or(0);
            Ok(Relabelled { from_cause: cause(from_cause)?, from_rule, to_cause: cause(to_cause)?, to_rule, replies })
        })
        .collect()
}

/// Whether the ledger takes an event's cause: a refusal for good.
pub(super) fn tells_ledger(kind: i16, class: i16) -> bool {
    kind == EventKind::Refused.code() && class == FailureClass::Permanent.code()
}

/// What is counted of a step, by causes and rules.
pub(super) fn tally<'a>(
    changed: impl IntoIterator<Item = &'a NewVerdict>,
) -> BTreeMap<(i16, &'a str, i16, &'a str), i64> {
    let mut counts = BTreeMap::new();
    for change in changed {
        let key = (change.of.cause.code(), change.from_rule.as_str(), change.cause.code(), change.rule.as_str());
        *counts.entry(key).or_default() += 1;
    }
    counts
}

/// The statement of both engines for the replies of a stretch, which they bound each in their own way.
macro_rules! replies_in_statement {
    ($stretch:literal) => {
        concat!(
            "SELECT stream, destination, CAST(COALESCE(mx, 0) AS SMALLINT), template, label, cause, rule, \
             CAST(COALESCE(confidence, 0) AS SMALLINT), count(*), min(at), max(at) FROM event WHERE ",
            $stretch,
            " AND template IS NOT NULL GROUP BY 1, 2, 3, 4, 5, 6, 7, 8"
        )
    };
}
pub(in crate::store) use replies_in_statement;

impl Store {
    /// The next stretch of the journal with something in it, of about so many rows, after the end of another one; from the start
    /// without. `None` where the journal ends.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn reply_stretch(&self, after: Option<i64>, rows: u32) -> Result<Option<Stretch>, StoreError> {
        dispatch!(self, store => store.reply_stretch(after, rows).await)
    }

    /// The stored replies of a stretch, by what decides their verdict.
    ///
    /// # Errors
    /// Where the store is away, or a verdict is none that this version knows.
    pub async fn replies_in(&self, stretch: Stretch) -> Result<Vec<ReplyGroup>, StoreError> {
        groups(dispatch!(self, store => store.replies_in(stretch).await)?)
    }

    /// The different addresses of such replies in a stretch, at most `limit`: the place of the key in the list, and a random id.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn reply_addresses(
        &self,
        stretch: Stretch,
        keys: &[ReplyKey],
        limit: u32,
    ) -> Result<Vec<(usize, i64)>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let rows = dispatch!(self, store => store.reply_addresses(stretch, keys, limit).await)?;
        Ok(rows.into_iter().filter_map(|(at, address)| Some((usize::try_from(at).ok()?, address))).collect())
    }

    /// Gives stored replies of a stretch their new verdicts, and the ledger the causes that follow, in one transaction; at most
    /// some thousands at once. Gives how many there were, and whether that was all of them.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn relabel(&self, stretch: Stretch, changes: &[NewVerdict]) -> Result<(u64, bool), StoreError> {
        if changes.is_empty() {
            return Ok((0, true));
        }
        dispatch!(self, store => store.relabel(stretch, changes).await)
    }

    /// What a relabelling that has not come to its end has changed so far.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn relabelled(&self) -> Result<Vec<Relabelled>, StoreError> {
        relabelled(dispatch!(self, store => store.relabelled().await)?)
    }

    /// What was kept of the relabelling that has not come to its end, by who makes it.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn relabelling(&self) -> Result<Option<String>, StoreError> {
        dispatch!(self, store => store.relabelling().await)
    }

    /// Begins a relabelling, or goes on with it: keeps what is to be known of it, and, where it is a new one, forgets the counts of
    /// the one before, which are in the journal.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn begin_relabelling(&self, kept: &str, new: bool) -> Result<(), StoreError> {
        dispatch!(self, store => store.begin_relabelling(kept, new).await)
    }

    /// Ends a relabelling: its counts are in the journal.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn forget_relabelled(&self) -> Result<(), StoreError> {
        dispatch!(self, store => store.forget_relabelled().await)
    }

    /// The earliest event that the ledger knows of.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn first_known(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(dispatch!(self, store => store.first_known().await)?.map(Timestamp::from_millis))
    }
}
