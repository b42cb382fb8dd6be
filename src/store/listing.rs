//! What lists read beside outcomes: entries of a kind by time, and what was set aside.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use super::{EntryKind, EntryRecord, EventKey, Position, Store, StoreError, dispatch, engine::word};
use crate::{ingest::SetAsideReason, model::Timestamp, privacy::Purpose};

/// A row of `set_aside`, to whom it belongs, and the sealed part.
pub(super) type SealedPart = (SetAsideRow, Vec<u8>, Vec<u8>);

/// The same as it comes from a table, before its columns are told apart.
pub(super) type SealedRow = (i64, i64, i64, i32, i16, String, Vec<u8>, Vec<u8>);

/// A part of a delivery that was set aside, without the part itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAsideRecord {
    /// Its number, which rises.
    pub id: i64,
    /// When it arrived.
    pub received_at: Timestamp,
    /// When it goes.
    pub expires_at: Timestamp,
    /// The feed's number.
    pub feed: i32,
    /// Why.
    pub reason: SetAsideReason,
    /// The provider's word for it.
    pub label: String,
}

/// A row of `set_aside` without the part itself.
pub(super) type SetAsideRow = (i64, i64, i64, i32, i16, String);

pub(super) fn set_aside(rows: Vec<SetAsideRow>) -> Result<Vec<SetAsideRecord>, StoreError> {
    rows.into_iter()
        .map(|(id, received_at, expires_at, feed, reason, label)| {
            Ok(SetAsideRecord {
                id,
                received_at: Timestamp::from_millis(received_at),
                expires_at: Timestamp::from_millis(expires_at),
                feed,
                reason: word("set_aside", "reason", reason, SetAsideReason::from_code)?,
                label,
            })
        })
        .collect()
}

/// A time between `since`, included, and `until`, not included; open where it's absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
}

impl Span {
    /// The first and the last millisecond.
    pub(super) fn bounds(self) -> (i64, i64) {
        let until = self.until.map_or(i64::MAX, |until| until.as_millis().saturating_sub(1));
        (self.since.map_or(i64::MIN, Timestamp::as_millis), until)
    }
}

impl Store {
    /// Entries of one kind in a span, latest first; those before `before` in that order where it's given.
    ///
    /// # Errors
    /// Where the store is away, or an entry is none that this version knows.
    pub async fn entries_by_time(
        &self,
        kind: EntryKind,
        span: Span,
        before: Option<EventKey>,
        limit: u32,
    ) -> Result<Vec<EntryRecord>, StoreError> {
        dispatch!(self, store => store.entries_by_time(kind, span, before, limit).await)
    }

    /// The end of the other entries for a reader that follows them, as [`Store::journal_end`] for outcomes.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn entries_end(&self) -> Result<Position, StoreError> {
        dispatch!(self, store => store.entries_end().await)
    }

    /// A part that was set aside, opened, by its number; `None` where there is none that holds `now`. It holds personal data.
    ///
    /// # Errors
    /// Where the store is away, it doesn't open with the key file, or a reason is none that this version knows.
    pub async fn set_aside_part(
        &self,
        id: i64,
        now: Timestamp,
    ) -> Result<Option<(SetAsideRecord, Vec<u8>)>, StoreError> {
        let (rows, sealed) = match dispatch!(self, store => store.set_aside_part(id, now).await)? {
            Some((row, owner, sealed)) => (vec![row], (owner, sealed)),
            None => return Ok(None),
        };
        let body = dispatch!(self, store => store.keyring()).open(Purpose::Body, &sealed.0, &sealed.1)?;
        Ok(set_aside(rows)?.pop().map(|record| (record, body)))
    }

    /// What an entry keeps whole, by the keyed hash that stands in its body; nothing where it has expired, or was too large to be
    /// kept.
    ///
    /// # Errors
    /// Where the store is away, or the keys do not open it.
    pub async fn kept_part(&self, entry: &EntryRecord, now: Timestamp) -> Result<Option<Vec<u8>>, StoreError> {
        let named = entry.body.get("part").and_then(serde_json::Value::as_str);
        let Some(hash) = named.and_then(|text| BASE64_URL_SAFE_NO_PAD.decode(text).ok()) else { return Ok(None) };
        let Some(sealed) = dispatch!(self, store => store.sealed_part(&hash, now).await)? else { return Ok(None) };
        Ok(Some(dispatch!(self, store => store.keyring()).open(Purpose::Body, &hash, &sealed)?))
    }

    /// What was set aside, by its arrival in a span, latest first; what came before `before` (time and number) where it's
    /// given.
    ///
    /// # Errors
    /// Where the store is away, or a reason is none that this version knows.
    pub async fn set_aside_by_time(
        &self,
        span: Span,
        before: Option<(Timestamp, i64)>,
        limit: u32,
    ) -> Result<Vec<SetAsideRecord>, StoreError> {
        dispatch!(self, store => store.set_aside_by_time(span, before, limit).await)
    }
}
