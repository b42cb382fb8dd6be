//! What an incident is explained from: set-based reads, a constant number of them however many addresses there are.

use super::{Counts, EntryKind, EntryRecord, Store, StoreError, dispatch};
use crate::model::{Address, Bin, Cause, Destination, NoticeKind, StreamKey, Timestamp};

/// An address that was refused for good in some streams and bins, with what the ledger knows of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusedAddress {
    /// The address's random id.
    pub address: i64,
    /// The first bin of send time in which it was refused.
    pub first_bin: Bin,
    /// The last one.
    pub last_bin: Bin,
    /// The earliest event of the address.
    pub first_event_at: Option<Timestamp>,
    /// The latest delivery, in whatever stream.
    pub last_delivered_at: Option<Timestamp>,
    /// The latest permanent refusal, in whatever stream.
    pub last_refused_at: Option<Timestamp>,
    /// Its cause.
    pub last_cause: Option<Cause>,
    /// The latest complaint.
    pub complained_at: Option<Timestamp>,
    /// The latest unsubscription.
    pub unsubscribed_at: Option<Timestamp>,
}

/// One notice about an address, whether it named the address or only its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressNotice {
    /// The address's random id.
    pub address: i64,
    /// When it happened.
    pub at: Timestamp,
    /// What it says.
    pub kind: NoticeKind,
}

/// Counts of recipients outside the relay domains, by stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlSum {
    /// The stream's number.
    pub stream: i32,
    /// Reported as sent.
    pub sent: i64,
    /// Accepted.
    pub delivered: i64,
    /// Permanently refused.
    pub refused: i64,
}

/// Rows of [`RefusedAddress`] as both engines read them.
pub(super) type RefusedRow =
    (i64, i64, i64, Option<i64>, Option<i64>, Option<i64>, Option<i16>, Option<i64>, Option<i64>);

pub(super) fn refused(rows: Vec<RefusedRow>) -> Vec<RefusedAddress> {
    let time = |at: Option<i64>| at.map(Timestamp::from_millis);
    rows.into_iter()
        .map(|(address, first, last, first_event, delivered, refused, cause, complained, unsubscribed)| {
            RefusedAddress {
                address,
                first_bin: Bin(first),
                last_bin: Bin(last),
                first_event_at: time(first_event),
                last_delivered_at: time(delivered),
                last_refused_at: time(refused),
                last_cause: cause.and_then(Cause::from_code),
                complained_at: time(complained),
                unsubscribed_at: time(unsubscribed),
            }
        })
        .collect()
}

/// Notices of kinds that this version does not know are left out: they end no mail that it knows of.
pub(super) fn notices(rows: Vec<(i64, i64, Option<String>)>) -> Vec<AddressNotice> {
    rows.into_iter()
        .filter_map(|(address, at, kind)| {
            let kind = NoticeKind::from_name(&kind?)?;
            Some(AddressNotice { address, at: Timestamp::from_millis(at), kind })
        })
        .collect()
}

/// The same of rows that name the kind by its number.
pub(super) fn latest_notices(rows: Vec<(i64, i64, i16)>) -> Vec<AddressNotice> {
    rows.into_iter()
        .filter_map(|(address, at, kind)| {
            Some(AddressNotice { address, at: Timestamp::from_millis(at), kind: NoticeKind::from_code(kind)? })
        })
        .collect()
}

/// Rows of sums of cells as both engines read them.
pub(super) type SumRow = (i32, i16, i64, i64, i64, i64, i64, i64, i64, i64, i64);

pub(super) fn sums(rows: Vec<SumRow>) -> Result<Vec<(i32, Destination, Counts)>, StoreError> {
    rows.into_iter()
        .map(|row| {
            let (stream, to, exposed, refused, delivered, transient, deferred, complained, ..) = row;
            let (.., suppressed, unexposed, refused_exposed) = row;
            let destination = Destination::from_code(to).ok_or_else(|| StoreError::Unknown {
                table: "cell",
                what: "destination",
                value: to.to_string(),
            })?;
            let counts = Counts {
                exposed,
                refused,
                delivered,
                transient,
                deferred,
                complained,
                suppressed,
                unexposed,
                refused_exposed,
            };
            Ok((stream, destination, counts))
        })
        .collect()
}

/// The texts of reply templates, each with how many addresses got it.
pub(super) fn texts(rows: Vec<(String, i64)>) -> Vec<(String, u64)> {
    rows.into_iter().map(|(text, addresses)| (text, u64::try_from(addresses).unwrap_or(0))).collect()
}

pub(super) fn control(rows: Vec<(i32, i64, i64, i64)>) -> Vec<ControlSum> {
    let sum = |(stream, sent, delivered, refused)| ControlSum { stream, sent, delivered, refused };
    rows.into_iter().map(sum).collect()
}

pub(super) fn stream_keys(rows: Vec<(i32, String)>) -> Result<Vec<(i32, StreamKey)>, StoreError> {
    rows.into_iter()
        .map(|(id, text)| match serde_json::from_str(&text) {
            Ok(key) => Ok((id, key)),
            Err(_) => Err(StoreError::Unknown { table: "word", what: "stream", value: format!("number {id}") }),
        })
        .collect()
}

pub(super) fn times(rows: Vec<(i64, i64)>) -> Vec<(i64, Timestamp)> {
    rows.into_iter().map(|(address, at)| (address, Timestamp::from_millis(at))).collect()
}

impl Store {
    /// The addresses with an id above `after` that were refused for good in these finest streams in the bins from `from` to
    /// `to`, both included, by id, at most `limit`, each with its row of the ledger.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn refused_with_ledger(
        &self,
        streams: &[i32],
        from: Bin,
        to: Bin,
        after: i64,
        limit: u32,
    ) -> Result<Vec<RefusedAddress>, StoreError> {
        dispatch!(self, store => store.refused_with_ledger(streams, from, to, after, limit).await)
    }

    /// Relay addresses to which mail was delivered that these streams' events report as sent in the bins from `from` to `to`,
    /// both included, with the latest delivery; by id, at most `limit`. Ids are random, so that the first ones are a sample.
    ///
    /// Deliveries later than 48 hours after the last bin are not looked for.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn accepted_sample(
        &self,
        streams: &[i32],
        from: Bin,
        to: Bin,
        limit: u32,
    ) -> Result<Vec<(i64, Timestamp)>, StoreError> {
        dispatch!(self, store => store.accepted_sample(streams, from, to, limit).await)
    }

    /// Relay addresses that had mail delivered since a time, with the latest delivery; by id, at most `limit`.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn delivered_sample(&self, since: Timestamp, limit: u32) -> Result<Vec<(i64, Timestamp)>, StoreError> {
        dispatch!(self, store => store.delivered_sample(since, limit).await)
    }

    /// The templates of the replies by which these addresses were refused for good in these streams between two times, both
    /// included, with the number of addresses that got each: the most frequent first, at most `limit`. It reads by address,
    /// so that the number of addresses bounds it.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn reply_texts(
        &self,
        addresses: &[i64],
        streams: &[i32],
        from: Timestamp,
        to: Timestamp,
        limit: u32,
    ) -> Result<Vec<(String, u64)>, StoreError> {
        dispatch!(self, store => store.reply_texts(addresses, streams, from, to, limit).await)
    }

    /// Those of the addresses whose account is known, or was until it was erased: a notice that named both still tells.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn mapped_addresses(&self, addresses: &[i64]) -> Result<Vec<i64>, StoreError> {
        dispatch!(self, store => store.mapped_addresses(addresses).await)
    }

    /// Notices about these addresses or their accounts between two times, both included, by address and time.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn notices_of(
        &self,
        addresses: &[i64],
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<AddressNotice>, StoreError> {
        dispatch!(self, store => store.notices_of(addresses, from, to).await)
    }

    /// The latest notice of each kind about these addresses and about their accounts, by address and time. Longer ago than the
    /// journal's entries go back, too: they hold for as long as address and account are known.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn latest_notices(&self, addresses: &[i64]) -> Result<Vec<AddressNotice>, StoreError> {
        dispatch!(self, store => store.latest_notices(addresses).await)
    }

    /// When the first notice of all happened.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn first_notice(&self) -> Result<Option<Timestamp>, StoreError> {
        dispatch!(self, store => store.first_notice().await)
    }

    /// Entries of one kind up to a time, newest first, at most `limit`.
    ///
    /// # Errors
    /// Where the store is away, or an entry is none that this version knows.
    pub async fn entries_of_kind(
        &self,
        kind: EntryKind,
        to: Timestamp,
        limit: u32,
    ) -> Result<Vec<EntryRecord>, StoreError> {
        dispatch!(self, store => store.entries_of_kind(kind, to, limit).await)
    }

    /// Sums of the cells of these streams over the bins from `from` to `to`, both included, by stream and destination.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn cell_sums(
        &self,
        streams: &[i32],
        from: Bin,
        to: Bin,
    ) -> Result<Vec<(i32, Destination, Counts)>, StoreError> {
        dispatch!(self, store => store.cell_sums(streams, from, to).await)
    }

    /// Sums of the control group outside the relay domains over the bins from `from` to `to`, both included, by stream.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn control_sums(&self, from: Bin, to: Bin) -> Result<Vec<ControlSum>, StoreError> {
        dispatch!(self, store => store.control_sums(from, to).await)
    }

    /// Those of the streams that the store has met, with their numbers; none is made.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn known_streams(&self, keys: &[StreamKey]) -> Result<Vec<(i32, StreamKey)>, StoreError> {
        dispatch!(self, store => store.known_streams(keys).await)
    }

    /// The keys of streams by number.
    ///
    /// # Errors
    /// Where the store is away, or a number is no stream's.
    pub async fn stream_keys(&self, ids: &[i32]) -> Result<Vec<(i32, StreamKey)>, StoreError> {
        stream_keys(self.words(ids).await?)
    }

    /// The finest streams in which somebody was refused for good in the bins from `from` to `to`, both included.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn refused_streams(&self, from: Bin, to: Bin) -> Result<Vec<(i32, StreamKey)>, StoreError> {
        dispatch!(self, store => store.refused_streams(from, to).await)
    }

    /// Addresses in the clear, by id: `None` for those of which only a hash is kept. Erased ones are left out.
    ///
    /// # Errors
    /// Where the store is away, or a sealed address does not open.
    pub async fn open_addresses(&self, ids: &[i64]) -> Result<Vec<(i64, Option<Address>)>, StoreError> {
        dispatch!(self, store => store.open_addresses(ids).await)
    }
}
