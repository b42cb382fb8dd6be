//! What both engines share: reading rows, numbering words, small caches.

use std::sync::{
    PoisonError, RwLock,
    atomic::{AtomicI64, Ordering},
};

use aws_lc_rs::digest;
use sqlx::{ColumnIndex, Decode, FromRow, Row, Type};

use super::{
    AddressRecord, CellKey, Counts, EntryKind, EntryRecord, EventKey, EventRecord, Horizon, IncidentRecord,
    IncidentState, Label, LedgerRow, NewOutbox, OperatorWord, OutboxItem, Position, RefusedChange, ReplyRecord, Route,
    StoreError, WordKind, batch::Words, hash::Hash16, recent::Recent,
};
use crate::{
    model::{Cause, DAY_MILLIS, Destination, EventKind, Exposure, FailureClass, MxFamily, StreamKey, Timestamp},
    privacy::{Keyring, PrivacyError, Purpose},
};

/// How long a row of the outbox stays after it has ended, so that a late repetition of its cause finds its key.
pub(super) const OUTBOX_KEPT_MILLIS: i64 = 30 * DAY_MILLIS;
/// The name of the monitor's cursor.
pub(crate) const MONITOR_CURSOR: &str = "monitor";
/// The name of the place up to which the last rebuild folds again.
pub(super) const REBUILD_CURSOR: &str = "rebuild";

/// The longest error that a row of the outbox keeps, in characters.
const MAX_ERROR: usize = 200;

/// Addresses whose random ids are kept at hand, at least; twice as many at most.
const ADDRESS_CACHE: usize = 100_000;
/// Words whose numbers are kept at hand; past that the cache starts anew, so that a flood of templates can't fill memory.
const WORD_CACHE: usize = 100_000;

/// The columns of [`EventRow`], in the order of its fields. Few and by place, since each column of a row costs as much as the
/// rest of reading it: three words share a number, and a reply, which few rows have, is one text. Mail on a shared domain (2)
/// to an address that is counted as a relay address is relay mail (1); `by_domain` gives what the domain alone tells.
macro_rules! event_columns {
    () => {
        event_columns!(of "CASE WHEN e.destination = 2 AND EXISTS (SELECT 1 FROM relay_mark r WHERE r.address = e.address \
                       AND r.folded) THEN CAST(1 AS SMALLINT) ELSE e.destination END AS destination")
    };
    (by_domain) => {
        event_columns!(of "e.destination")
    };
    (of $destination:literal) => {
        concat!(
            "e.at, e.hash, e.kind + e.exposure * 256 + e.class * 65536 AS words, ",
            $destination,
            ", e.feed, e.stream, e.address, e.message, e.sent_at, e.label, \
             e.template || ',' || e.cause || ',' || e.rule || ',' || COALESCE(e.code, -1) || ',' || \
             COALESCE(e.enhanced, -1) || ',' || COALESCE(e.mx, 0) || ',' || COALESCE(e.confidence, 0) AS reply"
        )
    };
}
pub(super) use event_columns;

/// One row of `event` with its place.
pub(super) struct EventRow {
    transaction: i64,
    row: i32,
    at: i64,
    hash: Hash16,
    words: i32,
    destination: i16,
    feed: i32,
    stream: i32,
    address: i64,
    message: i64,
    sent_at: Option<i64>,
    label: Option<i32>,
    reply: Option<String>,
}

impl<'r, R: Row> FromRow<'r, R> for EventRow
where
    usize: ColumnIndex<R>,
    Hash16: Decode<'r, R::Database> + Type<R::Database>,
    i16: Decode<'r, R::Database> + Type<R::Database>,
    i32: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    String: Decode<'r, R::Database> + Type<R::Database>,
{
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        Ok(Self {
            transaction: row.try_get(0)?,
            row: row.try_get(1)?,
            at: row.try_get(2)?,
            hash: row.try_get(3)?,
            words: row.try_get(4)?,
            destination: row.try_get(5)?,
            feed: row.try_get(6)?,
            stream: row.try_get(7)?,
            address: row.try_get(8)?,
            message: row.try_get(9)?,
            sent_at: row.try_get(10)?,
            label: row.try_get(11)?,
            reply: row.try_get(12)?,
        })
    }
}

/// A reply as `event_columns` puts it together.
fn reply(text: &str) -> Result<ReplyRecord, StoreError> {
    let unknown = || StoreError::Unknown { table: "event", what: "reply", value: text.to_owned() };
    let mut numbers = text.split(',').map(str::parse::<i32>);
    let mut next = || numbers.next().and_then(Result::ok).ok_or_else(unknown);
    let (template, cause, rule) = (next()?, next()?, next()?);
    let (code, enhanced, mx, confidence) = (next()?, next()?, next()?, next()?);
    let cause = i16::try_from(cause).map_err(|_| unknown())?;
    Ok(ReplyRecord {
        template,
        code: u16::try_from(code).ok(),
        enhanced: (enhanced >= 0).then_some(enhanced),
        mx: i16::try_from(mx).ok().and_then(MxFamily::from_code).unwrap_or(MxFamily::Unknown),
        cause: word("event", "cause", cause, Cause::from_code)?,
        rule,
        confidence: u8::try_from(confidence).unwrap_or(0),
    })
}

pub(super) fn word<T>(
    table: &'static str,
    what: &'static str,
    code: i16,
    read: fn(i16) -> Option<T>,
) -> Result<T, StoreError> {
    read(code).ok_or_else(|| StoreError::Unknown { table, what, value: code.to_string() })
}

fn key(table: &'static str, at: i64, hash: Vec<u8>) -> Result<EventKey, StoreError> {
    let hash = hash.try_into().map_err(|hash: Vec<u8>| StoreError::Unknown {
        table,
        what: "hash",
        value: format!("{} bytes", hash.len()),
    })?;
    Ok(EventKey { at: Timestamp::from_millis(at), hash })
}

impl TryFrom<EventRow> for EventRecord {
    type Error = StoreError;

    fn try_from(row: EventRow) -> Result<Self, StoreError> {
        let [kind, exposure, class, _] = row.words.to_le_bytes().map(i16::from);
        Ok(Self {
            position: Position { transaction: row.transaction, row: row.row },
            key: EventKey { at: Timestamp::from_millis(row.at), hash: row.hash.0 },
            kind: word("event", "kind", kind, EventKind::from_code)?,
            exposure: word("event", "exposure", exposure, Exposure::from_code)?,
            class: word("event", "class", class, FailureClass::from_code)?,
            destination: word("event", "destination", row.destination, Destination::from_code)?,
            feed: row.feed,
            stream: row.stream,
            address: row.address,
            message: row.message,
            sent_at: row.sent_at.map(Timestamp::from_millis),
            label: row.label,
            reply: row.reply.as_deref().map(reply).transpose()?,
        })
    }
}

pub(super) fn events(rows: Vec<EventRow>) -> Result<Vec<EventRecord>, StoreError> {
    rows.into_iter().map(EventRecord::try_from).collect()
}

/// One row of `entry` with its place.
#[derive(FromRow)]
pub(super) struct EntryRow {
    transaction: i64,
    row: i32,
    at: i64,
    hash: Vec<u8>,
    kind: i16,
    account: Option<i64>,
    address: Option<i64>,
    body: String,
}

impl TryFrom<EntryRow> for EntryRecord {
    type Error = StoreError;

    fn try_from(row: EntryRow) -> Result<Self, StoreError> {
        Ok(Self {
            position: Position { transaction: row.transaction, row: row.row },
            key: key("entry", row.at, row.hash)?,
            kind: word("entry", "kind", row.kind, EntryKind::from_code)?,
            account: row.account,
            address: row.address,
            body: serde_json::from_str(&row.body).map_err(|error| StoreError::Unknown {
                table: "entry",
                what: "body",
                value: format!("no JSON at column {}", error.column()),
            })?,
        })
    }
}

pub(super) fn entries(rows: Vec<EntryRow>) -> Result<Vec<EntryRecord>, StoreError> {
    rows.into_iter().map(EntryRecord::try_from).collect()
}

/// One row of `cell`.
#[derive(FromRow)]
pub(super) struct CellRow {
    destination: i16,
    stream: i32,
    bin: i64,
    exposed: i64,
    refused: i64,
    delivered: i64,
    transient: i64,
    deferred: i64,
    complained: i64,
    suppressed: i64,
    unexposed: i64,
    refused_exposed: i64,
}

pub(super) fn cells(rows: Vec<CellRow>) -> Result<Vec<(CellKey, Counts)>, StoreError> {
    rows.into_iter()
        .map(|row| {
            let destination = word("cell", "destination", row.destination, Destination::from_code)?;
            let counts = Counts {
                exposed: row.exposed,
                refused: row.refused,
                delivered: row.delivered,
                transient: row.transient,
                deferred: row.deferred,
                complained: row.complained,
                suppressed: row.suppressed,
                unexposed: row.unexposed,
                refused_exposed: row.refused_exposed,
            };
            Ok((CellKey { stream: row.stream, bin: row.bin, destination }, counts))
        })
        .collect()
}

pub(super) fn refused_changes(rows: Vec<(i32, i64, i64, i32)>) -> Vec<RefusedChange> {
    rows.into_iter().map(|(stream, bin, address, change)| RefusedChange { stream, bin, address, change }).collect()
}

pub(super) fn horizon(sealed: Option<i64>, transaction: Option<i64>, row: Option<i32>) -> Horizon {
    let rebuilt_from = transaction.zip(row).map(|(transaction, row)| Position { transaction, row });
    Horizon { sealed, rebuilt_from }
}

impl<'r, R: Row> FromRow<'r, R> for LedgerRow
where
    &'static str: ColumnIndex<R>,
    i16: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    Option<i16>: Decode<'r, R::Database> + Type<R::Database>,
    Option<i64>: Decode<'r, R::Database> + Type<R::Database>,
{
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        let time = |name| row.try_get::<Option<i64>, _>(name).map(|at| at.map(Timestamp::from_millis));
        Ok(Self {
            address: row.try_get("address")?,
            first_event_at: Timestamp::from_millis(row.try_get("first_event_at")?),
            last_sent_at: time("last_sent_at")?,
            last_delivered_at: time("last_delivered_at")?,
            last_refused_at: time("last_refused_at")?,
            last_cause: row.try_get::<Option<i16>, _>("last_cause")?.and_then(Cause::from_code),
            complained_at: time("complained_at")?,
            unsubscribed_at: time("unsubscribed_at")?,
            suppressed_at: time("suppressed_at")?,
            destination: Destination::from_code(row.try_get("destination")?).unwrap_or(Destination::Unknown),
        })
    }
}

/// One row of `incident`.
#[derive(FromRow)]
pub(super) struct IncidentRow {
    id: i64,
    state: i16,
    onset: i64,
    opened_at: i64,
    updated_at: i64,
    closed_at: Option<i64>,
    label: Option<i16>,
    accepted_normal: bool,
    operator_closed_at: Option<i64>,
    body: String,
}

pub(super) fn incidents(rows: Vec<IncidentRow>) -> Result<Vec<IncidentRecord>, StoreError> {
    rows.into_iter()
        .map(|row| {
            Ok(IncidentRecord {
                id: row.id,
                state: word("incident", "state", row.state, IncidentState::from_code)?,
                onset: Timestamp::from_millis(row.onset),
                opened_at: Timestamp::from_millis(row.opened_at),
                updated_at: Timestamp::from_millis(row.updated_at),
                closed_at: row.closed_at.map(Timestamp::from_millis),
                operator: OperatorWord {
                    label: row.label.map(|label| word("incident", "label", label, Label::from_code)).transpose()?,
                    accepted_normal: row.accepted_normal,
                    closed_at: row.operator_closed_at.map(Timestamp::from_millis),
                },
                body: serde_json::from_str(&row.body).map_err(|error| StoreError::Unknown {
                    table: "incident",
                    what: "body",
                    value: format!("no JSON at column {}", error.column()),
                })?,
            })
        })
        .collect()
}

/// What operators say of an incident: number, label, accepted as normal, closed at.
pub(super) type OperatorRow = (i64, Option<i16>, bool, Option<i64>);

pub(super) fn operator_words(rows: Vec<OperatorRow>) -> Result<Vec<(i64, OperatorWord)>, StoreError> {
    rows.into_iter()
        .map(|(id, label, accepted_normal, closed_at)| {
            let label = label.map(|label| word("incident", "label", label, Label::from_code)).transpose()?;
            let closed_at = closed_at.map(Timestamp::from_millis);
            Ok((id, OperatorWord { label, accepted_normal, closed_at }))
        })
        .collect()
}

/// One claimed row of `outbox`.
#[derive(FromRow)]
pub(super) struct OutboxRow {
    id: i64,
    key: String,
    route: i16,
    target: String,
    paced: bool,
    created_at: i64,
    attempts: i32,
    possible_repeat: bool,
    sealed: Option<Vec<u8>>,
}

/// Opens claimed rows, in the order in which they were put in. One that doesn't open is no reason to hold up the others.
pub(super) fn outbox(keyring: &Keyring, mut rows: Vec<OutboxRow>) -> Result<Vec<OutboxItem>, StoreError> {
    rows.sort_by_key(|row| row.id);
    rows.into_iter()
        .map(|row| {
            let open = |sealed: Vec<u8>| keyring.open(Purpose::Outbox, row.key.as_bytes(), &sealed).ok();
            Ok(OutboxItem {
                id: row.id,
                route: word("outbox", "route", row.route, Route::from_code)?,
                target: row.target,
                paced: row.paced,
                created_at: Timestamp::from_millis(row.created_at),
                attempts: row.attempts,
                possible_repeat: row.possible_repeat,
                body: row.sealed.and_then(open),
                key: row.key,
            })
        })
        .collect()
}

/// The sealed form of what waits in the outbox.
pub(super) fn seal_outbox(keyring: &Keyring, item: &NewOutbox) -> Result<Vec<u8>, PrivacyError> {
    keyring.seal(Purpose::Outbox, item.key.as_bytes(), &item.body)
}

/// An error as a row of the outbox keeps it.
pub(super) fn outbox_error(error: &str) -> String {
    storable(error).chars().take(MAX_ERROR).collect()
}

/// What identifies a word in the store: SHA-256 of its text, 128 bits.
pub(super) fn digest_of(text: &str) -> [u8; 16] {
    let full = digest::digest(&digest::SHA256, text.as_bytes());
    let mut out = [0; 16];
    for (to, from) in out.iter_mut().zip(full.as_ref()) {
        *to = *from;
    }
    out
}

/// The text of a word as both engines can keep it: PostgreSQL's `text` has no NUL.
pub(super) fn storable(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

/// Whether an event is kept for long: everything but the traffic that went well or is still under way.
pub(crate) const fn kept_long(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Sent | EventKind::Delivered | EventKind::Deferred)
}

/// Numbers at hand, so that most rows need no look-up. Filled only after a commit, so that nothing stands here that was
/// rolled back.
#[derive(Debug)]
pub(super) struct Caches {
    words: RwLock<Words>,
    /// Each id with the count of erasures under which it was found: after the next erasure it's worth nothing, whenever it
    /// was put here.
    addresses: Recent<(i64, i64)>,
    /// The number of sweeps of unused words that the cache of words knows of.
    sweeps: AtomicI64,
}

impl Caches {
    pub(super) fn new() -> Self {
        Self { words: RwLock::default(), addresses: Recent::new(ADDRESS_CACHE), sweeps: AtomicI64::new(-1) }
    }

    pub(super) fn word(&self, kind: WordKind, text: &str) -> Option<i32> {
        // A poisoned lock guards plain numbers: they are whole.
        self.words.read().unwrap_or_else(PoisonError::into_inner).get(kind, text)
    }

    pub(super) fn stream(&self, key: &StreamKey) -> Option<i32> {
        self.words.read().unwrap_or_else(PoisonError::into_inner).stream(key)
    }

    pub(super) fn keep_words(&self, found: Words) {
        let mut words = self.words.write().unwrap_or_else(PoisonError::into_inner);
        if words.len() >= WORD_CACHE {
            words.clear();
        }
        words.extend(found);
    }

    /// The id of an address, as long as nobody was forgotten since it was found.
    pub(super) fn address(&self, hash: &[u8; 16], erasures: i64) -> Option<i64> {
        self.addresses.get(hash).filter(|(_, under)| *under == erasures).map(|(id, _)| id)
    }

    /// Keeps ids that a transaction has found under this count of erasures.
    pub(super) fn keep_addresses(&self, found: impl IntoIterator<Item = ([u8; 16], i64)>, erasures: i64) {
        for (hash, id) in found {
            self.addresses.insert(hash, (id, erasures));
        }
    }

    /// How many sweeps of unused words the cache knows of.
    pub(super) fn sweeps(&self) -> i64 {
        self.sweeps.load(Ordering::SeqCst)
    }

    /// Takes note of the store's count of sweeps; forgets all words where it has moved.
    pub(super) fn see_sweeps(&self, count: i64) {
        if self.sweeps.swap(count, Ordering::SeqCst) != count {
            *self.words.write().unwrap_or_else(PoisonError::into_inner) = Words::default();
        }
    }
}

/// What every commit looks at first: how often addresses were forgotten, how often unused words were marked, and which key
/// seals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Marks {
    pub(super) erasures: i64,
    pub(super) sweeps: i64,
    pub(super) sealing_key: Option<u16>,
}

impl Marks {
    pub(super) fn of(rows: Vec<(String, i64)>) -> Self {
        let mut marks = Self::default();
        for (key, value) in rows {
            match key.as_str() {
                "erasures" => marks.erasures = value,
                "sweeps" => marks.sweeps = value,
                "sealing_key" => marks.sealing_key = u16::try_from(value).ok(),
                _ => {}
            }
        }
        marks
    }

    /// Brings the cache of words and the keys up to date with them; gives the count of erasures.
    pub(super) fn heed(self, caches: &Caches, keyring: &Keyring) -> i64 {
        if let Some(announced) = self.sealing_key {
            keyring.keep_up(announced);
        }
        caches.see_sweeps(self.sweeps);
        self.erasures
    }
}

pub(super) fn address((id, hash, sealed): (i64, Vec<u8>, Option<Vec<u8>>)) -> Result<AddressRecord, StoreError> {
    let hash = hash.try_into().map_err(|hash: Vec<u8>| StoreError::Unknown {
        table: "address",
        what: "hash",
        value: format!("{} bytes", hash.len()),
    })?;
    Ok(AddressRecord { id, hash, sealed })
}

/// A fresh random id: 63 bits, never zero.
pub(super) fn random_id() -> i64 {
    (rand::random::<i64>() & i64::MAX).max(1)
}
