//! Appending to the journal.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{LazyLock, atomic::Ordering},
};

use sqlx::{SqliteConnection, query, query_as, query_scalar};

use super::{SqliteStore, bulk::Bulk};
use crate::{
    model::{StreamKey, Timestamp},
    privacy::Purpose,
    store::{
        Commit, Epoch, Mark, NewControl, NewEntry, NewEvent, NewSetAside, Outcome, Recipient, StoreError, Subject,
        Submission, WordKind,
        batch::{Numbers, Teaching, control_cells, recipients_of, stream_text},
        both::OBSERVE,
        engine::{Marks, digest_of, random_id, storable},
        observed::about,
    },
};

static EVENTS: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "INSERT INTO event (at, hash, kind, feed, exposure, class, destination, stream, address, message, sent_at, label, \
         template, code, enhanced, mx, cause, rule, confidence)",
        "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        "ON CONFLICT DO NOTHING",
    )
});
static ADDRESSES: LazyLock<Bulk> =
    LazyLock::new(|| Bulk::new("INSERT INTO address (id, hash, sealed)", "(?, ?, ?)", ""));
static CONTROL: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new("INSERT INTO control_seen (at, hash)", "(?, ?)", "ON CONFLICT DO NOTHING RETURNING at, hash")
});

impl SqliteStore {
    pub(in crate::store) async fn commit(
        &self,
        reign: Option<Epoch>,
        batch: &[Submission],
    ) -> Result<Commit, StoreError> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        self.check_led(reign)?;
        let mut outcomes = Vec::with_capacity(batch.len());
        for submission in batch {
            outcomes.push(bind_token(&mut transaction, submission).await?);
        }
        let taken: Vec<&Submission> = batch
            .iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| **outcome == Outcome::Committed)
            .map(|(s, _)| s)
            .collect();

        let erasures = marks(&mut transaction).await?.heed(&self.caches, &self.keyring);
        let mut numbers = Numbers { erasures, ..Numbers::default() };
        self.number_words(&mut transaction, &taken, &mut numbers).await?;
        let recipients = taken.iter().flat_map(|submission| recipients_of(submission));
        self.number_addresses(&mut transaction, recipients, &mut numbers).await?;
        let subjects = taken.iter().flat_map(|s| s.entries.iter()).filter_map(|entry| entry.account.as_ref());
        self.number_accounts(&mut transaction, subjects, &mut numbers).await?;

        let mut commit = Commit { outcomes, ..Commit::default() };
        let mut rows: Vec<(&str, &NewEvent)> = Vec::new();
        for submission in &taken {
            rows.extend(submission.events.iter().map(|event| (submission.feed.as_str(), event)));
        }
        let added = self.insert_events(&mut transaction, &rows, &numbers).await?;
        commit.added += added;
        commit.repeated += rows.len() as u64 - added;

        let control: Vec<&NewControl> = taken.iter().flat_map(|s| s.control.iter()).collect();
        let added = insert_control(&mut transaction, &control, &numbers).await?;
        commit.added += added;
        commit.repeated += control.len() as u64 - added;

        for submission in &taken {
            for entry in &submission.entries {
                let added = insert_entry(&mut transaction, entry, &numbers).await?;
                commit.added += added;
                commit.repeated += 1 - added;
            }
            for part in &submission.set_aside {
                self.insert_set_aside(&mut transaction, &submission.feed, part, &numbers).await?;
            }
        }
        for submission in &taken {
            self.enqueue_in(&mut transaction, &submission.outbox).await?;
        }
        if commit.repeated > 0 && numbers.has_fresh_people() {
            super::erase::drop_strangers(&mut transaction, &mut numbers).await?;
        }
        transaction.commit().await?;
        self.caches.keep_words(numbers.words);
        self.caches.keep_addresses(numbers.addresses, numbers.erasures);
        Ok(commit)
    }

    /// Numbers every word that the submissions use.
    async fn number_words(
        &self,
        connection: &mut SqliteConnection,
        taken: &[&Submission],
        numbers: &mut Numbers,
    ) -> Result<(), StoreError> {
        for submission in taken {
            self.number_word(connection, WordKind::Feed, &submission.feed, numbers).await?;
            for event in &submission.events {
                self.number_stream(connection, &event.stream, numbers).await?;
                if let Some(label) = &event.label {
                    self.number_word(connection, WordKind::Label, label, numbers).await?;
                }
                if let Some(reply) = &event.reply {
                    self.number_word(connection, WordKind::Rule, &reply.rule, numbers).await?;
                    if self.number_word(connection, WordKind::Template, &reply.template, numbers).await? {
                        let template = numbers.word(WordKind::Template, &reply.template)?;
                        let owner = digest_of(&reply.template);
                        let sample = self.keyring.seal(Purpose::Sample, &owner, reply.sample.as_bytes())?;
                        query(
                            "INSERT INTO template_sample (template, first_seen, sample) VALUES ($1, $2, $3) \
                             ON CONFLICT (template) DO NOTHING",
                        )
                        .bind(template)
                        .bind(event.key.at.as_millis())
                        .bind(self.sealed.then_some(sample))
                        .execute(&mut *connection)
                        .await?;
                    }
                }
            }
            for control in &submission.control {
                self.number_stream(connection, &control.stream, numbers).await?;
            }
        }
        Ok(())
    }

    /// Numbers one stream.
    async fn number_stream(
        &self,
        connection: &mut SqliteConnection,
        key: &StreamKey,
        numbers: &mut Numbers,
    ) -> Result<i32, StoreError> {
        if let Some(id) = numbers.words.stream(key) {
            return Ok(id);
        }
        let id = if let Some(id) = self.caches.stream(key) {
            id
        } else {
            let text = stream_text(key);
            self.number_word(connection, WordKind::Stream, &text, numbers).await?;
            numbers.word(WordKind::Stream, &text)?
        };
        numbers.words.insert_stream(key, id);
        Ok(id)
    }

    /// Numbers one word; gives whether it is new to the store.
    pub(super) async fn number_word(
        &self,
        connection: &mut SqliteConnection,
        kind: WordKind,
        text: &str,
        numbers: &mut Numbers,
    ) -> Result<bool, StoreError> {
        if numbers.words.get(kind, text).is_some() {
            return Ok(false);
        }
        if let Some(id) = self.caches.word(kind, text) {
            numbers.words.insert(kind, text.to_owned(), id);
            return Ok(false);
        }
        let digest = digest_of(text);
        let known: Option<(i32, bool)> =
            query_as("SELECT id, unused_since IS NOT NULL FROM word WHERE kind = $1 AND digest = $2")
                .bind(kind.code())
                .bind(digest.as_slice())
                .fetch_optional(&mut *connection)
                .await?;
        let (id, new) = match known {
            Some((id, unused)) => {
                if unused {
                    query("UPDATE word SET unused_since = NULL WHERE id = $1")
                        .bind(id)
                        .execute(&mut *connection)
                        .await?;
                }
                (id, false)
            }
            None => (
                query_scalar("INSERT INTO word (kind, digest, text) VALUES ($1, $2, $3) RETURNING id")
                    .bind(kind.code())
                    .bind(digest.as_slice())
                    .bind(storable(text))
                    .fetch_one(&mut *connection)
                    .await?,
                true,
            ),
        };
        numbers.words.insert(kind, text.to_owned(), id);
        Ok(new)
    }

    /// Gives every recipient its random id, making rows for those that are new.
    pub(super) async fn number_addresses<'a>(
        &self,
        connection: &mut SqliteConnection,
        recipients: impl Iterator<Item = &'a Recipient>,
        numbers: &mut Numbers,
    ) -> Result<(), StoreError> {
        let mut wanted: BTreeMap<[u8; 16], &Recipient> = BTreeMap::new();
        for recipient in recipients {
            if numbers.addresses.contains_key(&recipient.hash) {
                continue;
            }
            match self.caches.address(&recipient.hash, numbers.erasures) {
                Some(id) => {
                    numbers.addresses.insert(recipient.hash, id);
                }
                None => {
                    wanted.insert(recipient.hash, recipient);
                }
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let list = serde_json::json!(wanted.keys().map(hex::encode).collect::<Vec<_>>()).to_string();
        let known: Vec<(Vec<u8>, i64)> =
            query_as("SELECT hash, id FROM address WHERE hash IN (SELECT unhex(value) FROM json_each($1))")
                .bind(list)
                .fetch_all(&mut *connection)
                .await?;
        for (hash, id) in known {
            if let Ok(hash) = <[u8; 16]>::try_from(hash) {
                wanted.remove(&hash);
                numbers.addresses.insert(hash, id);
            }
        }
        let mut fresh = Vec::with_capacity(wanted.len());
        // Only this process makes rows, one transaction at a time; ids of transactions that failed are left out.
        let mut highest = self.highest_address.load(Ordering::SeqCst);
        if highest == 0 {
            highest = query_scalar("SELECT COALESCE(MAX(id), 0) FROM address").fetch_one(&mut *connection).await?;
        }
        for (hash, recipient) in wanted {
            let sealed = if self.sealed {
                Some(self.keyring.seal(Purpose::Address, &hash, recipient.address.expose().as_bytes())?)
            } else {
                None
            };
            highest = next_id(highest);
            fresh.push((highest, hash, sealed));
        }
        self.highest_address.store(highest, Ordering::SeqCst);
        for (text, range) in ADDRESSES.cut(fresh.len()) {
            let mut statement = query(text);
            for (id, hash, sealed) in fresh.get(range).unwrap_or_default() {
                statement = statement.bind(id).bind(hash.as_slice()).bind(sealed.as_deref());
            }
            statement.execute(&mut *connection).await?;
        }
        numbers.fresh_addresses.extend(fresh.iter().map(|(id, ..)| *id));
        numbers.addresses.extend(fresh.into_iter().map(|(id, hash, _)| (hash, id)));
        Ok(())
    }

    /// Gives every account its random id, making rows for those that are new.
    pub(super) async fn number_accounts<'a>(
        &self,
        connection: &mut SqliteConnection,
        subjects: impl Iterator<Item = &'a Subject>,
        numbers: &mut Numbers,
    ) -> Result<(), StoreError> {
        for subject in subjects {
            if numbers.accounts.contains_key(&subject.hash) {
                continue;
            }
            let known: Option<i64> = query_scalar("SELECT id FROM account WHERE hash = $1")
                .bind(subject.hash.as_slice())
                .fetch_optional(&mut *connection)
                .await?;
            let id = if let Some(id) = known {
                id
            } else {
                let id = random_id();
                let sealed = if self.sealed {
                    Some(self.keyring.seal(Purpose::Subject, &subject.hash, subject.subject.as_bytes())?)
                } else {
                    None
                };
                query("INSERT INTO account (id, hash, team, sealed) VALUES ($1, $2, $3, $4)")
                    .bind(id)
                    .bind(subject.hash.as_slice())
                    .bind(&subject.team)
                    .bind(sealed)
                    .execute(&mut *connection)
                    .await?;
                numbers.fresh_accounts.push(id);
                id
            };
            numbers.accounts.insert(subject.hash, id);
        }
        Ok(())
    }

    async fn insert_events(
        &self,
        connection: &mut SqliteConnection,
        rows: &[(&str, &NewEvent)],
        numbers: &Numbers,
    ) -> Result<u64, StoreError> {
        let mut added = 0;
        for (text, range) in EVENTS.cut(rows.len()) {
            let mut statement = query(text);
            for (feed, event) in rows.get(range).unwrap_or_default() {
                let reply = event.reply.as_ref();
                let template = reply.map(|r| numbers.word(WordKind::Template, &r.template)).transpose()?;
                let rule = reply.map(|r| numbers.word(WordKind::Rule, &r.rule)).transpose()?;
                let label = event.label.as_ref().map(|l| numbers.word(WordKind::Label, l)).transpose()?;
                statement = statement
                    .bind(event.key.at.as_millis())
                    .bind(event.key.hash.as_slice())
                    .bind(event.kind.code())
                    .bind(numbers.word(WordKind::Feed, feed)?)
                    .bind(event.exposure.code())
                    .bind(event.class.code())
                    .bind(event.destination.code())
                    .bind(numbers.stream(&event.stream)?)
                    .bind(numbers.address(&event.recipient.hash)?)
                    .bind(event.message)
                    .bind(event.sent_at.map(Timestamp::as_millis))
                    .bind(label)
                    .bind(template)
                    .bind(reply.and_then(|r| r.code))
                    .bind(reply.and_then(|r| r.enhanced))
                    .bind(reply.map(|r| r.mx.code()))
                    .bind(reply.map(|r| r.cause.code()))
                    .bind(rule)
                    .bind(reply.map(|r| r.confidence));
            }
            added += statement.execute(&mut *connection).await?.rows_affected();
        }
        Ok(added)
    }

    async fn insert_set_aside(
        &self,
        connection: &mut SqliteConnection,
        feed: &str,
        part: &NewSetAside,
        numbers: &Numbers,
    ) -> Result<(), StoreError> {
        let sealed = self.keyring.seal(Purpose::Body, &part.hash, &part.body)?;
        query(
            "INSERT INTO set_aside (hash, received_at, expires_at, feed, reason, label, sealed) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (hash) DO NOTHING",
        )
        .bind(part.hash.as_slice())
        .bind(part.received_at.as_millis())
        .bind(part.expires_at.as_millis())
        .bind(numbers.word(WordKind::Feed, feed)?)
        .bind(part.reason.code())
        .bind(storable(&part.label))
        .bind(sealed)
        .execute(&mut *connection)
        .await?;
        Ok(())
    }

    pub(in crate::store) async fn stream_ids(&self, keys: &[StreamKey]) -> Result<Vec<i32>, StoreError> {
        let at_hand: Option<Vec<i32>> = keys.iter().map(|key| self.caches.stream(key)).collect();
        if let Some(ids) = at_hand {
            return Ok(ids);
        }
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let mut numbers = Numbers::default();
        let mut ids = Vec::with_capacity(keys.len());
        for key in keys {
            ids.push(self.number_stream(&mut transaction, key, &mut numbers).await?);
        }
        transaction.commit().await?;
        self.caches.keep_words(numbers.words);
        Ok(ids)
    }
}

/// The id of the next new address: random, and above all others, so that the rows of new addresses lie side by side in
/// every table that has the id in its key. The gap makes it as good as impossible that the id of an address that was
/// forgotten is given to another one; the order of ids tells no more than the times of the events do.
fn next_id(highest: i64) -> i64 {
    let gap = rand::random_range(1..=1_i64 << 30);
    highest.checked_add(gap).unwrap_or_else(random_id)
}

/// What every transaction that seals looks at before it does.
pub(super) async fn marks(connection: &mut SqliteConnection) -> Result<Marks, StoreError> {
    let rows: Vec<(String, i64)> =
        query_as("SELECT key, CAST(value AS INTEGER) FROM meta WHERE key IN ('erasures', 'sweeps', 'sealing_key')")
            .fetch_all(connection)
            .await?;
    Ok(Marks::of(rows))
}

/// Binds the submission's token to its body; tells whether the token is another body's.
async fn bind_token(connection: &mut SqliteConnection, submission: &Submission) -> Result<Outcome, StoreError> {
    let Some(token) = &submission.token else { return Ok(Outcome::Committed) };
    let digest: Vec<u8> = query_scalar(
        "INSERT INTO one_time_token (hash, digest, expires_at) VALUES ($1, $2, $3) \
         ON CONFLICT (hash) DO UPDATE SET expires_at = one_time_token.expires_at RETURNING digest",
    )
    .bind(token.hash.as_slice())
    .bind(token.digest.as_slice())
    .bind(token.expires_at.as_millis())
    .fetch_one(connection)
    .await?;
    Ok(if digest == token.digest { Outcome::Committed } else { Outcome::TokenReused })
}

/// Counts the outcomes of the control group that are new; gives how many.
async fn insert_control(
    connection: &mut SqliteConnection,
    control: &[&NewControl],
    numbers: &Numbers,
) -> Result<u64, StoreError> {
    let mut fresh: HashSet<(i64, Vec<u8>)> = HashSet::new();
    for (text, range) in CONTROL.cut(control.len()) {
        let mut statement = query_as::<_, (i64, Vec<u8>)>(text);
        for outcome in control.get(range).unwrap_or_default() {
            statement = statement.bind(outcome.key.at.as_millis()).bind(outcome.key.hash.as_slice());
        }
        fresh.extend(statement.fetch_all(&mut *connection).await?);
    }
    let added = fresh.len() as u64;
    for (&(stream, bin), counts) in &control_cells(control, fresh, numbers)? {
        query(
            "INSERT INTO control_cell (stream, bin, sent, delivered, refused) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (stream, bin) DO UPDATE SET sent = sent + excluded.sent, \
             delivered = delivered + excluded.delivered, refused = refused + excluded.refused",
        )
        .bind(stream)
        .bind(bin)
        .bind(counts[0])
        .bind(counts[1])
        .bind(counts[2])
        .execute(&mut *connection)
        .await?;
    }
    Ok(added)
}

/// Takes note of a word on whether an address is private; the latest stands.
pub(super) async fn insert_mark(connection: &mut SqliteConnection, address: i64, mark: Mark) -> Result<(), StoreError> {
    query(
        "INSERT INTO relay_mark (address, private, at) VALUES ($1, $2, $3) ON CONFLICT (address) DO UPDATE \
         SET private = excluded.private, at = excluded.at WHERE (excluded.at, excluded.private) > (at, private)",
    )
    .bind(address)
    .bind(mark.private)
    .bind(mark.at.as_millis())
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_entry(
    connection: &mut SqliteConnection,
    entry: &NewEntry,
    numbers: &Numbers,
) -> Result<u64, StoreError> {
    let teaching = Teaching::of(entry);
    let account = entry.account.as_ref().and_then(|subject| numbers.accounts.get(&subject.hash)).copied();
    let address = entry.address.as_ref().map(|recipient| numbers.address(&recipient.hash)).transpose()?;
    let added = query(
        "INSERT INTO entry (at, hash, kind, account, address, body) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (at, hash) DO NOTHING",
    )
    .bind(entry.key.at.as_millis())
    .bind(entry.key.hash.as_slice())
    .bind(entry.kind.code())
    .bind(account)
    .bind(address)
    .bind(entry.body.to_string())
    .execute(&mut *connection)
    .await?
    .rows_affected();
    // A repetition teaches nobody anew: it can be about somebody who is forgotten since.
    let stranger = |id: &i64| added == 0 && numbers.fresh_accounts.contains(id);
    if let Some(account) = account.filter(|id| !stranger(id)) {
        // A notice teaches the map: which address and app the account has, and whether its user is still there.
        query(
            "UPDATE account SET address = COALESCE($2, address), app = COALESCE(app, $3), \
             deleted_at = max(ifnull(deleted_at, $4), ifnull($4, deleted_at)), \
             returned_at = max(ifnull(returned_at, $5), ifnull($5, returned_at)) WHERE id = $1",
        )
        .bind(account)
        .bind(address)
        .bind(&entry.app)
        .bind(teaching.deleted_at.map(Timestamp::as_millis))
        .bind(teaching.returned_at.map(Timestamp::as_millis))
        .execute(&mut *connection)
        .await?;
    }
    if let Some(kind) = teaching.kind {
        let about = account.filter(|id| !stranger(id)).map(|id| (id, true));
        for (id, is_account) in about.into_iter().chain(address.filter(|_| added > 0).map(|id| (id, false))) {
            query(
                "INSERT INTO latest_notice (id, account, kind, at) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (id, account, kind) DO UPDATE SET at = excluded.at WHERE excluded.at > at",
            )
            .bind(id)
            .bind(is_account)
            .bind(kind.code())
            .bind(entry.key.at.as_millis())
            .execute(&mut *connection)
            .await?;
        }
    }
    if added > 0
        && let Some(about) = about(entry)
    {
        query(OBSERVE)
            .bind(about)
            .bind(entry.key.at.as_millis())
            .bind(entry.body.to_string())
            .execute(&mut *connection)
            .await?;
    }
    if added > 0
        && let (Some(address), Some(mark)) = (address, teaching.mark)
    {
        insert_mark(connection, address, mark).await?;
    }
    Ok(added)
}
