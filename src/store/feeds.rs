//! What each feed reported, signs of life, and refusals by the hour: what blind windows and count alarms are judged from.

use super::{
    EntryKind, Epoch, EventKey, FeedCounts, FeedHour, NewEntry, Recipient, Store, StoreError, Submission, dispatch,
};
use crate::{
    model::{Bin, Exposure, Timestamp},
    privacy::Purpose,
};

/// The name under which relaywatch's own entries are counted: no feed that anybody could ask for.
pub const OWN_FEED: &str = "relaywatch";

/// Rows of `feed_hour` as both engines read them.
pub(super) type FeedHourRow = (i32, i16, i64, i64, i64, i64, i64, i64);

pub(super) fn feed_hours(rows: Vec<FeedHourRow>) -> Result<Vec<(FeedHour, FeedCounts)>, StoreError> {
    rows.into_iter()
        .map(|(feed, exposure, hour, events, sent, delivered, refused, unsent)| {
            let exposure = Exposure::from_code(exposure).ok_or_else(|| StoreError::Unknown {
                table: "feed_hour",
                what: "exposure",
                value: exposure.to_string(),
            })?;
            let counts = FeedCounts { events, sent, delivered, refused, unsent };
            Ok((FeedHour { feed, exposure, hour }, counts))
        })
        .collect()
}

impl Store {
    /// Appends a fact of relaywatch's own to the journal, under a key that it makes itself; with a reign, what only its leader
    /// sees. The same fact with the same time is there once; gives whether it is new.
    ///
    /// # Errors
    /// [`StoreError::NotLeading`] once the reign is over; or where the store is away or full.
    pub async fn append(
        &self,
        reign: Option<Epoch>,
        kind: EntryKind,
        at: Timestamp,
        body: serde_json::Value,
    ) -> Result<bool, StoreError> {
        self.append_about(reign, kind, at, None, body).await
    }

    /// The same about an address, which the entry refers to by its random id.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub async fn append_about(
        &self,
        reign: Option<Epoch>,
        kind: EntryKind,
        at: Timestamp,
        address: Option<Recipient>,
        body: serde_json::Value,
    ) -> Result<bool, StoreError> {
        let keyring = dispatch!(self, store => store.keyring());
        let hash = keyring.hash(Purpose::Event, &[b"own", &kind.code().to_le_bytes(), body.to_string().as_bytes()]);
        let key = EventKey { at, hash };
        let entry = NewEntry { key, kind, account: None, address, app: None, body };
        let fact = Submission { feed: OWN_FEED.to_owned(), entries: vec![entry], ..Submission::default() };
        Ok(dispatch!(self, store => store.commit(reign, &[fact]).await)?.added > 0)
    }

    /// What each feed reported from an hour on, by feed and hour.
    ///
    /// # Errors
    /// Where the store is away, or holds what this version doesn't know.
    pub async fn feed_hours(&self, since: i64) -> Result<Vec<(FeedHour, FeedCounts)>, StoreError> {
        dispatch!(self, store => store.feed_hours(since).await)
    }

    /// How many notices of each app happened in each hour from a time on: (client id, hour counted from the epoch, notices).
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn notice_hours(&self, since: Timestamp) -> Result<Vec<(String, i64, i64)>, StoreError> {
        dispatch!(self, store => store.notice_hours(since).await)
    }

    /// How many different addresses were refused for good in each hour of these finest streams, in the bins from `from` to
    /// `to`, both included: (hour counted from the epoch, addresses). With `bare_only`, only cells count in which more is
    /// refused than what is exposed or lacks its send: those of feeds without exposure.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn refused_by_hour(
        &self,
        streams: &[i32],
        from: Bin,
        to: Bin,
        bare_only: bool,
    ) -> Result<Vec<(i64, i64)>, StoreError> {
        dispatch!(self, store => store.refused_by_hour(streams, from, to, bare_only).await)
    }

    /// When this kind of process last said that it works.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn sign_of_life(&self, name: &str) -> Result<Option<Timestamp>, StoreError> {
        dispatch!(self, store => store.sign_of_life(name).await)
    }

    /// Keeps that this kind of process works; an earlier time than the last one changes nothing.
    ///
    /// # Errors
    /// Where the store takes no writes.
    pub async fn give_sign_of_life(&self, name: &str, now: Timestamp) -> Result<(), StoreError> {
        dispatch!(self, store => store.give_sign_of_life(name, now).await)
    }
}
