//! Appending to the journal.

use std::collections::{BTreeMap, HashSet};

use sqlx::{PgConnection, query, query_as, query_scalar};

use super::PgStore;
use crate::{
    model::{StreamKey, Timestamp},
    privacy::Purpose,
    store::{
        Commit, Epoch, Mark, NewControl, NewEntry, NewEvent, NewOutbox, NewReply, NewSetAside, Outcome, Recipient,
        StoreError, Subject, Submission, WordKind,
        batch::{Numbers, Teaching, control_cells, recipients_of, stream_text},
        engine::{Marks, digest_of, kept_long, random_id, storable},
    },
};

impl PgStore {
    pub(in crate::store) async fn commit(
        &self,
        reign: Option<Epoch>,
        batch: &[Submission],
    ) -> Result<Commit, StoreError> {
        loop {
            match self.commit_once(reign, batch).await {
                // Another process has dropped a partition that this one takes for there: retention and a late report met.
                Err(error) if is_without_partition(&error) => {
                    self.forget_partitions();
                    if let Some(commit) = self.commit_once(reign, batch).await? {
                        return Ok(commit);
                    }
                }
                Err(error) => return Err(error),
                Ok(Some(commit)) => return Ok(commit),
                Ok(None) => {}
            }
        }
    }

    /// `None` where the numbers of words that were at hand may be gone: unused ones have been marked meanwhile.
    async fn commit_once(&self, reign: Option<Epoch>, batch: &[Submission]) -> Result<Option<Commit>, StoreError> {
        let sweeps = self.caches.sweeps();
        // Words are numbered and partitions made before and apart: they may outlive a commit that fails, and so no two
        // commits wait for each other's words.
        let mut numbers = Numbers::default();
        let all: Vec<&Submission> = batch.iter().collect();
        self.number_words(&all, &mut numbers).await?;
        let rows: Vec<(&str, &NewEvent)> =
            all.iter().flat_map(|s| s.events.iter().map(|event| (s.feed.as_str(), event))).collect();
        self.ensure_partitions(&rows).await?;

        let mut transaction = self.begin(reign).await?;
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

        let marks = marks(&mut transaction).await?;
        numbers.erasures = marks.heed(&self.caches, &self.keyring);
        if sweeps >= 0 && marks.sweeps != sweeps {
            return Ok(None);
        }
        let recipients = taken.iter().flat_map(|submission| recipients_of(submission));
        self.number_addresses(&mut transaction, recipients, &mut numbers).await?;
        let subjects = taken.iter().flat_map(|s| s.entries.iter()).filter_map(|entry| entry.account.as_ref());
        self.number_accounts(&mut transaction, subjects, &mut numbers).await?;

        let mut commit = Commit { outcomes, ..Commit::default() };
        let mut rows: Vec<(&str, &NewEvent)> =
            taken.iter().flat_map(|s| s.events.iter().map(|event| (s.feed.as_str(), event))).collect();
        // One order for all processes, so that two that bring the same events wait for each other but never in a ring.
        rows.sort_by_key(|(_, event)| event.key);
        let added = self.insert_events(&mut transaction, &rows, &numbers).await?;
        commit.added += added;
        commit.repeated += rows.len() as u64 - added;

        let mut control: Vec<&NewControl> = taken.iter().flat_map(|s| s.control.iter()).collect();
        control.sort_by_key(|outcome| outcome.key);
        let added = insert_control(&mut transaction, &control, &numbers).await?;
        commit.added += added;
        commit.repeated += control.len() as u64 - added;

        let mut entries: Vec<&NewEntry> = taken.iter().flat_map(|s| s.entries.iter()).collect();
        entries.sort_by_key(|entry| entry.key);
        for (row, entry) in entries.iter().enumerate() {
            let added = self.insert_entry(&mut transaction, row, entry, &numbers).await?;
            commit.added += added;
            commit.repeated += 1 - added;
        }
        for submission in &taken {
            for part in &submission.set_aside {
                self.insert_set_aside(&mut transaction, &submission.feed, part, &numbers).await?;
            }
        }
        let outbox: Vec<NewOutbox> = taken.iter().flat_map(|s| s.outbox.iter().cloned()).collect();
        self.enqueue_in(&mut transaction, &outbox).await?;
        if commit.repeated > 0 && numbers.has_fresh_people() {
            super::erase::drop_strangers(&mut transaction, &mut numbers).await?;
        }
        transaction.commit().await?;
        self.caches.keep_words(numbers.words);
        self.caches.keep_addresses(numbers.addresses, numbers.erasures);
        Ok(Some(commit))
    }

    /// Numbers every word that the submissions use.
    async fn number_words(&self, submissions: &[&Submission], numbers: &mut Numbers) -> Result<(), StoreError> {
        let mut samples: Vec<(&NewReply, Timestamp)> = Vec::new();
        let mut wanted: HashSet<(WordKind, String)> = HashSet::new();
        for submission in submissions {
            wanted.insert((WordKind::Feed, submission.feed.clone()));
            for event in &submission.events {
                wanted.insert((WordKind::Stream, stream_text(&event.stream)));
                wanted.extend(event.label.iter().map(|label| (WordKind::Label, label.clone())));
                if let Some(reply) = &event.reply {
                    wanted.insert((WordKind::Rule, reply.rule.clone()));
                    if self.caches.word(WordKind::Template, &reply.template).is_none()
                        && wanted.insert((WordKind::Template, reply.template.clone()))
                    {
                        samples.push((reply, event.key.at));
                    } else {
                        wanted.insert((WordKind::Template, reply.template.clone()));
                    }
                }
            }
            wanted.extend(submission.control.iter().map(|c| (WordKind::Stream, stream_text(&c.stream))));
        }
        self.number(wanted, numbers).await?;
        for (reply, at) in samples {
            // One transaction each, so that no two processes wait for each other's samples in a ring.
            let mut transaction = self.pool.begin().await?;
            marks(&mut transaction).await?.heed(&self.caches, &self.keyring);
            let owner = digest_of(&reply.template);
            let sample = self.keyring.seal(Purpose::Sample, &owner, reply.sample.as_bytes())?;
            query(
                "INSERT INTO template_sample (template, first_seen, sample) VALUES ($1, $2, $3) \
                 ON CONFLICT (template) DO NOTHING",
            )
            .bind(numbers.word(WordKind::Template, &reply.template)?)
            .bind(at.as_millis())
            .bind(self.sealed.then_some(sample))
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
        }
        Ok(())
    }

    /// Numbers words, making rows for new ones.
    async fn number(&self, wanted: HashSet<(WordKind, String)>, numbers: &mut Numbers) -> Result<(), StoreError> {
        let mut unknown: BTreeMap<(i16, [u8; 16]), (WordKind, String)> = BTreeMap::new();
        for (kind, text) in wanted {
            if let Some(id) = self.caches.word(kind, &text) {
                numbers.words.insert((kind, text), id);
            } else {
                unknown.insert((kind.code(), digest_of(&text)), (kind, text));
            }
        }
        if unknown.is_empty() {
            return Ok(());
        }
        let kinds: Vec<i16> = unknown.keys().map(|(kind, _)| *kind).collect();
        let digests: Vec<Vec<u8>> = unknown.keys().map(|(_, digest)| digest.to_vec()).collect();
        let texts: Vec<String> = unknown.values().map(|(_, text)| storable(text).into_owned()).collect();
        query(
            "INSERT INTO word (kind, digest, text) SELECT k, d, t FROM unnest($1::smallint[], $2::bytea[], $3::text[]) \
             AS w (k, d, t) WHERE NOT EXISTS (SELECT FROM word o WHERE o.kind = k AND o.digest = d) ORDER BY k, d \
             ON CONFLICT (kind, digest) DO NOTHING",
        )
        .bind(&kinds)
        .bind(&digests)
        .bind(&texts)
        .execute(&self.pool)
        .await?;
        let found: Vec<(i16, Vec<u8>, i32)> = query_as(
            "SELECT w.kind, w.digest, w.id FROM word w JOIN unnest($1::smallint[], $2::bytea[]) AS u (k, d) \
             ON w.kind = u.k AND w.digest = u.d",
        )
        .bind(&kinds)
        .bind(&digests)
        .fetch_all(&self.pool)
        .await?;
        let ids: Vec<i32> = found.iter().map(|(_, _, id)| *id).collect();
        query("UPDATE word SET unused_since = NULL WHERE id = ANY ($1) AND unused_since IS NOT NULL")
            .bind(&ids)
            .execute(&self.pool)
            .await?;
        for (kind, digest, id) in found {
            if let Ok(digest) = <[u8; 16]>::try_from(digest)
                && let Some(word) = unknown.remove(&(kind, digest))
            {
                numbers.words.insert(word, id);
            }
        }
        Ok(())
    }

    /// Gives every recipient its random id, making rows for those that are new.
    pub(super) async fn number_addresses<'a>(
        &self,
        connection: &mut PgConnection,
        recipients: impl Iterator<Item = &'a Recipient>,
        numbers: &mut Numbers,
    ) -> Result<(), StoreError> {
        let mut wanted: BTreeMap<[u8; 16], &Recipient> = BTreeMap::new();
        for recipient in recipients {
            if numbers.addresses.contains_key(&recipient.hash) {
                continue;
            }
            if let Some(id) = self.caches.address(&recipient.hash, numbers.erasures) {
                numbers.addresses.insert(recipient.hash, id);
            } else {
                wanted.insert(recipient.hash, recipient);
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        self.find_addresses(connection, &mut wanted, numbers).await?;
        let (mut ids, mut hashes, mut sealed) = (Vec::new(), Vec::new(), Vec::new());
        for (hash, recipient) in &wanted {
            ids.push(random_id());
            hashes.push(hash.to_vec());
            sealed.push(if self.sealed {
                Some(self.keyring.seal(Purpose::Address, hash, recipient.address.expose().as_bytes())?)
            } else {
                None
            });
        }
        let made: Vec<(i64, Vec<u8>)> = query_as(
            "INSERT INTO address (id, hash, sealed) SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bytea[]) \
             AS a (id, hash, sealed) ORDER BY hash ON CONFLICT (hash) DO NOTHING RETURNING id, hash",
        )
        .bind(&ids)
        .bind(&hashes)
        .bind(&sealed)
        .fetch_all(&mut *connection)
        .await?;
        for (id, hash) in made {
            if let Ok(hash) = <[u8; 16]>::try_from(hash) {
                wanted.remove(&hash);
                numbers.addresses.insert(hash, id);
                numbers.fresh_addresses.push(id);
            }
        }
        if !wanted.is_empty() {
            // Another process was first with these.
            self.find_addresses(connection, &mut wanted, numbers).await?;
        }
        Ok(())
    }

    async fn find_addresses(
        &self,
        connection: &mut PgConnection,
        wanted: &mut BTreeMap<[u8; 16], &Recipient>,
        numbers: &mut Numbers,
    ) -> Result<(), StoreError> {
        let hashes: Vec<Vec<u8>> = wanted.keys().map(|hash| hash.to_vec()).collect();
        let known: Vec<(Vec<u8>, i64)> =
            query_as("SELECT hash, id FROM address WHERE hash = ANY ($1)").bind(&hashes).fetch_all(connection).await?;
        for (hash, id) in known {
            if let Ok(hash) = <[u8; 16]>::try_from(hash) {
                wanted.remove(&hash);
                numbers.addresses.insert(hash, id);
            }
        }
        Ok(())
    }

    /// Gives every account its random id, making rows for those that are new.
    pub(super) async fn number_accounts<'a>(
        &self,
        connection: &mut PgConnection,
        subjects: impl Iterator<Item = &'a Subject>,
        numbers: &mut Numbers,
    ) -> Result<(), StoreError> {
        let wanted: BTreeMap<[u8; 16], &Subject> = subjects.map(|subject| (subject.hash, subject)).collect();
        for (hash, subject) in wanted {
            let sealed = if self.sealed {
                Some(self.keyring.seal(Purpose::Subject, &hash, subject.subject.as_bytes())?)
            } else {
                None
            };
            // The update changes nothing; it makes the row's id come back also where it was there.
            let (id, fresh): (i64, bool) = query_as(
                "INSERT INTO account (id, hash, team, sealed) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (hash) DO UPDATE SET team = account.team RETURNING id, xmax = 0",
            )
            .bind(random_id())
            .bind(hash.as_slice())
            .bind(&subject.team)
            .bind(sealed)
            .fetch_one(&mut *connection)
            .await?;
            numbers.accounts.insert(hash, id);
            if fresh {
                numbers.fresh_accounts.push(id);
            }
        }
        Ok(())
    }

    async fn insert_events(
        &self,
        connection: &mut PgConnection,
        rows: &[(&str, &NewEvent)],
        numbers: &Numbers,
    ) -> Result<u64, StoreError> {
        if rows.is_empty() {
            return Ok(0);
        }
        let mut columns = Columns::with_capacity(rows.len());
        for (feed, event) in rows {
            columns.push(feed, event, numbers)?;
        }
        let done = query(
            "INSERT INTO event (position, row, at, hash, kind, feed, exposure, class, destination, stream, address, \
             message, sent_at, label, template, code, enhanced, mx, cause, rule, confidence, kept_long) \
             SELECT $1 + pg_current_xact_id()::text::bigint, n::integer, at, hash, kind, feed, exposure, class, \
             destination, stream, address, message, sent_at, label, template, code, enhanced, mx, cause, rule, \
             confidence, kept_long FROM unnest($2::bigint[], $3::bytea[], $4::smallint[], $5::integer[], \
             $6::smallint[], $7::smallint[], $8::smallint[], $9::integer[], $10::bigint[], $11::bigint[], \
             $12::bigint[], $13::integer[], $14::integer[], $15::smallint[], $16::integer[], $17::smallint[], \
             $18::smallint[], $19::integer[], $20::smallint[], $21::boolean[]) WITH ORDINALITY \
             AS e (at, hash, kind, feed, exposure, class, destination, stream, address, message, sent_at, label, \
             template, code, enhanced, mx, cause, rule, confidence, kept_long, n) \
             ON CONFLICT DO NOTHING",
        )
        .bind(self.base)
        .bind(&columns.at)
        .bind(&columns.hash)
        .bind(&columns.kind)
        .bind(&columns.feed)
        .bind(&columns.exposure)
        .bind(&columns.class)
        .bind(&columns.destination)
        .bind(&columns.stream)
        .bind(&columns.address)
        .bind(&columns.message)
        .bind(&columns.sent_at)
        .bind(&columns.label)
        .bind(&columns.template)
        .bind(&columns.code)
        .bind(&columns.enhanced)
        .bind(&columns.mx)
        .bind(&columns.cause)
        .bind(&columns.rule)
        .bind(&columns.confidence)
        .bind(&columns.kept_long)
        .execute(connection)
        .await?;
        Ok(done.rows_affected())
    }

    async fn insert_entry(
        &self,
        connection: &mut PgConnection,
        row: usize,
        entry: &NewEntry,
        numbers: &Numbers,
    ) -> Result<u64, StoreError> {
        let teaching = Teaching::of(entry);
        let account = entry.account.as_ref().and_then(|subject| numbers.accounts.get(&subject.hash)).copied();
        let address = entry.address.as_ref().map(|recipient| numbers.address(&recipient.hash)).transpose()?;
        let added = query(
            "INSERT INTO entry (position, row, at, hash, kind, account, address, body) \
             VALUES ($1 + pg_current_xact_id()::text::bigint, $2, $3, $4, $5, $6, $7, $8) \
             ON CONFLICT (at, hash) DO NOTHING",
        )
        .bind(self.base)
        .bind(i32::try_from(row + 1).unwrap_or(i32::MAX))
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
                 deleted_at = greatest(deleted_at, $4), returned_at = greatest(returned_at, $5) WHERE id = $1",
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
                    "INSERT INTO latest_notice AS l (id, account, kind, at) VALUES ($1, $2, $3, $4) \
                     ON CONFLICT (id, account, kind) DO UPDATE SET at = excluded.at WHERE excluded.at > l.at",
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
            && let (Some(address), Some(mark)) = (address, teaching.mark)
        {
            insert_mark(connection, address, mark).await?;
        }
        Ok(added)
    }

    async fn insert_set_aside(
        &self,
        connection: &mut PgConnection,
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
        .execute(connection)
        .await?;
        Ok(())
    }

    pub(in crate::store) async fn stream_ids(&self, keys: &[StreamKey]) -> Result<Vec<i32>, StoreError> {
        let texts: Vec<String> = keys.iter().map(stream_text).collect();
        let mut numbers = Numbers::default();
        marks(&mut *self.pool.acquire().await?).await?.heed(&self.caches, &self.keyring);
        self.number(texts.iter().map(|text| (WordKind::Stream, text.clone())).collect(), &mut numbers).await?;
        let ids = texts.iter().map(|text| numbers.word(WordKind::Stream, text)).collect();
        self.caches.keep_words(numbers.words);
        ids
    }
}

/// Whether a row found no partition to go to: PostgreSQL reports that as a violated check (23514).
fn is_without_partition(error: &StoreError) -> bool {
    let StoreError::Database(sqlx::Error::Database(error)) = error else { return false };
    error.code().as_deref() == Some("23514")
}

/// The rows of one insert, column by column.
#[derive(Default)]
struct Columns {
    at: Vec<i64>,
    hash: Vec<Vec<u8>>,
    kind: Vec<i16>,
    feed: Vec<i32>,
    exposure: Vec<i16>,
    class: Vec<i16>,
    destination: Vec<i16>,
    stream: Vec<i32>,
    address: Vec<i64>,
    message: Vec<i64>,
    sent_at: Vec<Option<i64>>,
    label: Vec<Option<i32>>,
    template: Vec<Option<i32>>,
    code: Vec<Option<i16>>,
    enhanced: Vec<Option<i32>>,
    mx: Vec<Option<i16>>,
    cause: Vec<Option<i16>>,
    rule: Vec<Option<i32>>,
    confidence: Vec<Option<i16>>,
    kept_long: Vec<bool>,
}

impl Columns {
    fn with_capacity(rows: usize) -> Self {
        Self { at: Vec::with_capacity(rows), hash: Vec::with_capacity(rows), ..Self::default() }
    }

    fn push(&mut self, feed: &str, event: &NewEvent, numbers: &Numbers) -> Result<(), StoreError> {
        let reply = event.reply.as_ref();
        self.at.push(event.key.at.as_millis());
        self.hash.push(event.key.hash.to_vec());
        self.kind.push(event.kind.code());
        self.feed.push(numbers.word(WordKind::Feed, feed)?);
        self.exposure.push(event.exposure.code());
        self.class.push(event.class.code());
        self.destination.push(event.destination.code());
        self.stream.push(numbers.word(WordKind::Stream, &stream_text(&event.stream))?);
        self.address.push(numbers.address(&event.recipient.hash)?);
        self.message.push(event.message);
        self.sent_at.push(event.sent_at.map(Timestamp::as_millis));
        self.label.push(event.label.as_ref().map(|l| numbers.word(WordKind::Label, l)).transpose()?);
        self.template.push(reply.map(|r| numbers.word(WordKind::Template, &r.template)).transpose()?);
        self.code.push(reply.and_then(|r| r.code).and_then(|code| i16::try_from(code).ok()));
        self.enhanced.push(reply.and_then(|r| r.enhanced));
        self.mx.push(reply.map(|r| r.mx.code()));
        self.cause.push(reply.map(|r| r.cause.code()));
        self.rule.push(reply.map(|r| numbers.word(WordKind::Rule, &r.rule)).transpose()?);
        self.confidence.push(reply.map(|r| i16::from(r.confidence)));
        self.kept_long.push(kept_long(event.kind));
        Ok(())
    }
}

/// What every transaction that seals looks at before it does.
pub(super) async fn marks(connection: &mut PgConnection) -> Result<Marks, StoreError> {
    let rows: Vec<(String, i64)> =
        query_as("SELECT key, value::bigint FROM meta WHERE key IN ('erasures', 'sweeps', 'sealing_key')")
            .fetch_all(connection)
            .await?;
    Ok(Marks::of(rows))
}

/// Binds the submission's token to its body; tells whether the token is another body's.
async fn bind_token(connection: &mut PgConnection, submission: &Submission) -> Result<Outcome, StoreError> {
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

/// Takes note of a word on whether an address is private; the latest stands.
pub(super) async fn insert_mark(connection: &mut PgConnection, address: i64, mark: Mark) -> Result<(), StoreError> {
    query(
        "INSERT INTO relay_mark (address, private, at) VALUES ($1, $2, $3) ON CONFLICT (address) DO UPDATE \
         SET private = excluded.private, at = excluded.at \
         WHERE (excluded.at, excluded.private) > (relay_mark.at, relay_mark.private)",
    )
    .bind(address)
    .bind(mark.private)
    .bind(mark.at.as_millis())
    .execute(connection)
    .await?;
    Ok(())
}

/// Counts the outcomes of the control group that are new; gives how many.
async fn insert_control(
    connection: &mut PgConnection,
    control: &[&NewControl],
    numbers: &Numbers,
) -> Result<u64, StoreError> {
    if control.is_empty() {
        return Ok(0);
    }
    let at: Vec<i64> = control.iter().map(|outcome| outcome.key.at.as_millis()).collect();
    let hash: Vec<Vec<u8>> = control.iter().map(|outcome| outcome.key.hash.to_vec()).collect();
    let fresh: HashSet<(i64, Vec<u8>)> = query_as(
        "INSERT INTO control_seen (at, hash) SELECT * FROM unnest($1::bigint[], $2::bytea[]) \
         ON CONFLICT DO NOTHING RETURNING at, hash",
    )
    .bind(&at)
    .bind(&hash)
    .fetch_all(&mut *connection)
    .await?
    .into_iter()
    .collect();
    let added = fresh.len() as u64;
    for ((stream, bin), [sent, delivered, refused]) in
        control_cells(control, fresh, |text| numbers.word(WordKind::Stream, text))?
    {
        query(
            "INSERT INTO control_cell (stream, bin, sent, delivered, refused) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (stream, bin) DO UPDATE SET sent = control_cell.sent + excluded.sent, \
             delivered = control_cell.delivered + excluded.delivered, \
             refused = control_cell.refused + excluded.refused",
        )
        .bind(stream)
        .bind(bin)
        .bind(sent)
        .bind(delivered)
        .bind(refused)
        .execute(&mut *connection)
        .await?;
    }
    Ok(added)
}
