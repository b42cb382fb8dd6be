//! Appending to the journal.

mod events;
mod people;
mod words;

use std::{collections::HashSet, time::Duration};

use sqlx::{PgConnection, query, query_as, query_scalar};

pub(super) use people::insert_mark;

use super::PgStore;
use crate::{
    model::Timestamp,
    privacy::Purpose,
    store::{
        Commit, Epoch, Mark, NewControl, NewEntry, NewEvent, NewOutbox, NewSetAside, NewToken, Outcome, StoreError,
        Submission, WordKind,
        batch::{Numbers, Teaching, control_cells, recipients_of},
        both::OBSERVE,
        engine::{Marks, storable},
        observed::about,
    },
};

/// How often a commit is tried where another transaction stands in its way.
const ATTEMPTS: u32 = 3;
/// How long the second attempt waits; the third one waits twice as long.
const GIVE_WAY: Duration = Duration::from_millis(100);

impl PgStore {
    pub(in crate::store) async fn commit(
        &self,
        reign: Option<Epoch>,
        batch: &[Submission],
    ) -> Result<Commit, StoreError> {
        let mut attempt = 1;
        loop {
            match self.commit_once(reign, batch).await {
                // Another process has dropped a partition that this one takes for there: retention and a late report met.
                Err(error) if attempt < ATTEMPTS && is_without_partition(&error) => self.forget_partitions(),
                // Nothing was committed, and whoever stood in the way has gone on.
                Err(error) if attempt < ATTEMPTS && error.is_conflict() => {
                    tracing::info!(
                        attempt,
                        "a commit and another transaction stood in each other's way; committing again"
                    );
                    // At once it would take what the other one has just been given the way to.
                    tokio::time::sleep(GIVE_WAY * attempt).await;
                }
                Err(error) => return Err(error),
                Ok(Some(commit)) => return Ok(commit),
                // The numbers of words at hand were swept meanwhile: that is no failure.
                Ok(None) => continue,
            }
            attempt += 1;
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
        // Everything below is written in one order for all processes, by what makes it the same thing: two that bring the same
        // wait for each other but never in a ring.
        let mut outcomes = vec![Outcome::Committed; batch.len()];
        let mut tokens: Vec<(&NewToken, &mut Outcome)> =
            batch.iter().zip(&mut outcomes).filter_map(|(s, outcome)| Some((s.token.as_ref()?, outcome))).collect();
        tokens.sort_by_key(|(token, _)| token.hash);
        for (token, outcome) in tokens {
            *outcome = bind_token(&mut transaction, token).await?;
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
        let mut said: Vec<(i64, Mark)> = Vec::new();
        for (row, entry) in entries.iter().enumerate() {
            let added = self.insert_entry(&mut transaction, row, entry, &numbers, &mut said).await?;
            commit.added += added;
            commit.repeated += 1 - added;
        }
        said.sort_by_key(|(address, _)| *address);
        for (address, mark) in said {
            insert_mark(&mut transaction, address, mark).await?;
        }
        let mut set_aside: Vec<(&str, &NewSetAside)> =
            taken.iter().flat_map(|s| s.set_aside.iter().map(|part| (s.feed.as_str(), part))).collect();
        set_aside.sort_by_key(|(_, part)| part.hash);
        for (feed, part) in set_aside {
            self.insert_set_aside(&mut transaction, feed, part, &numbers).await?;
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

    async fn insert_entry(
        &self,
        connection: &mut PgConnection,
        row: usize,
        entry: &NewEntry,
        numbers: &Numbers,
        said: &mut Vec<(i64, Mark)>,
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
            said.push((address, mark));
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
}

/// Whether a row found no partition to go to: PostgreSQL reports that as a violated check (23514).
fn is_without_partition(error: &StoreError) -> bool {
    let StoreError::Database(sqlx::Error::Database(error)) = error else { return false };
    error.code().as_deref() == Some("23514")
}

/// What every transaction that seals looks at before it does.
pub(super) async fn marks(connection: &mut PgConnection) -> Result<Marks, StoreError> {
    let rows: Vec<(String, i64)> =
        query_as("SELECT key, value::bigint FROM meta WHERE key IN ('erasures', 'sweeps', 'sealing_key')")
            .fetch_all(connection)
            .await?;
    Ok(Marks::of(rows))
}

/// Binds a token to its body; tells whether the token is another body's.
async fn bind_token(connection: &mut PgConnection, token: &NewToken) -> Result<Outcome, StoreError> {
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
    for ((stream, bin), [sent, delivered, refused]) in control_cells(control, fresh, numbers)? {
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
