//! Forgetting people.

use std::collections::HashSet;

use sqlx::{Connection, SqliteConnection, query, query_as, query_scalar};

use super::SqliteStore;
use crate::store::{
    Epoch, StoreError, Whom,
    batch::Numbers,
    erase::{Copies, Person},
};

impl SqliteStore {
    pub(in crate::store) async fn person(&self, whom: &Whom) -> Result<Person, StoreError> {
        let mut connection = self.readers.acquire().await?;
        let Some((address, accounts)) = rows_of(&mut connection, whom).await? else { return Ok(Person::default()) };
        let mut person = Person::default();
        if let Some(address) = address {
            person.address = query_as("SELECT hash, sealed FROM address WHERE id = $1")
                .bind(address)
                .fetch_optional(&mut *connection)
                .await?;
        }
        person.accounts =
            query_as("SELECT hash, sealed, team FROM account WHERE id IN (SELECT value FROM json_each($1))")
                .bind(serde_json::json!(accounts).to_string())
                .fetch_all(&mut *connection)
                .await?;
        Ok(person)
    }

    /// Deletes a person's rows; gives how many addresses and accounts there were.
    pub(in crate::store) async fn erase_rows(
        &self,
        reign: Option<Epoch>,
        whom: &Whom,
    ) -> Result<(u64, u64), StoreError> {
        let mut connection = self.writer.acquire().await?;
        // Deleted bytes are overwritten with zeros. One process writes, and one connection: no commit is under way.
        query("PRAGMA secure_delete = ON").execute(&mut *connection).await?;
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        self.check_led(reign)?;
        let Some((address, accounts)) = rows_of(&mut transaction, whom).await? else { return Ok((0, 0)) };
        let mut addresses = 0;
        if let Some(address) = address {
            addresses = query("DELETE FROM address WHERE id = $1")
                .bind(address)
                .execute(&mut *transaction)
                .await?
                .rows_affected();
        }
        let list = serde_json::json!(accounts).to_string();
        query(
            "INSERT INTO tombstone (address, account) SELECT address, id FROM account \
             WHERE id IN (SELECT value FROM json_each($1)) AND address IS NOT NULL ON CONFLICT DO NOTHING",
        )
        .bind(&list)
        .execute(&mut *transaction)
        .await?;
        let accounts = query("DELETE FROM account WHERE id IN (SELECT value FROM json_each($1))")
            .bind(&list)
            .execute(&mut *transaction)
            .await?
            .rows_affected();
        query(
            "INSERT INTO meta (key, value) VALUES ('erasures', '1') \
             ON CONFLICT (key) DO UPDATE SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT)",
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok((addresses, accounts))
    }

    pub(in crate::store) async fn copies(
        &self,
        copies: Copies,
        after: i64,
        limit: u32,
    ) -> Result<Vec<(i64, Vec<u8>, Vec<u8>)>, StoreError> {
        let text = match copies {
            Copies::Samples => {
                "SELECT s.template, w.digest, s.sample FROM template_sample s JOIN word w ON w.id = s.template \
                 WHERE s.sample IS NOT NULL AND s.template > $1 ORDER BY s.template LIMIT $2"
            }
            Copies::SetAside => "SELECT id, hash, sealed FROM set_aside WHERE id > $1 ORDER BY id LIMIT $2",
        };
        Ok(query_as(text).bind(after).bind(limit).fetch_all(&self.readers).await?)
    }

    pub(in crate::store) async fn erase_copies_of(
        &self,
        reign: Option<Epoch>,
        copies: Copies,
        ids: &[i64],
    ) -> Result<u64, StoreError> {
        let text = match copies {
            Copies::Samples => {
                "UPDATE template_sample SET sample = NULL WHERE sample IS NOT NULL \
                 AND template IN (SELECT value FROM json_each($1))"
            }
            Copies::SetAside => "DELETE FROM set_aside WHERE id IN (SELECT value FROM json_each($1))",
        };
        let mut connection = self.writer.acquire().await?;
        // With the writer in hand no other reign begins.
        self.check_led(reign)?;
        query("PRAGMA secure_delete = ON").execute(&mut *connection).await?;
        let done = query(text).bind(serde_json::json!(ids).to_string()).execute(&mut *connection).await?;
        Ok(done.rows_affected())
    }

    /// Copies the log into the file and cuts it off, so that it holds no page from before the erasure. Where a reader keeps
    /// it from that, the next checkpoint does it.
    pub(in crate::store) async fn scrub(&self) -> Result<(), StoreError> {
        let mut connection = self.writer.acquire().await?;
        let _: (i64, i64, i64) = query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *connection).await?;
        query("PRAGMA secure_delete = OFF").execute(&mut *connection).await?;
        Ok(())
    }
}

/// The rows to delete: the address, and the accounts.
async fn rows_of(
    connection: &mut SqliteConnection,
    whom: &Whom,
) -> Result<Option<(Option<i64>, Vec<i64>)>, StoreError> {
    match whom {
        Whom::Address { hash, .. } => {
            let address: Option<i64> = query_scalar("SELECT id FROM address WHERE hash = $1")
                .bind(hash.as_slice())
                .fetch_optional(&mut *connection)
                .await?;
            let Some(address) = address else { return Ok(None) };
            let accounts = query_scalar("SELECT id FROM account WHERE address = $1")
                .bind(address)
                .fetch_all(&mut *connection)
                .await?;
            Ok(Some((Some(address), accounts)))
        }
        Whom::Deleted { account } => {
            let found: Option<(Option<i64>, bool)> = query_as(
                "SELECT a.address, EXISTS (SELECT 1 FROM account o WHERE o.address = a.address AND o.id <> a.id) \
                 FROM account a WHERE a.id = $1 AND a.deleted_at >= COALESCE(a.returned_at, a.deleted_at)",
            )
            .bind(account)
            .fetch_optional(&mut *connection)
            .await?;
            Ok(found.map(|(address, shared)| (address.filter(|_| !shared), vec![*account])))
        }
    }
}

/// Drops the people whom a batch made known and then had nothing new to say of: it repeated what came before they were
/// forgotten, or before retention.
pub(super) async fn drop_strangers(connection: &mut SqliteConnection, numbers: &mut Numbers) -> Result<(), StoreError> {
    query(
        "DELETE FROM account WHERE id IN (SELECT value FROM json_each($1)) \
         AND NOT EXISTS (SELECT 1 FROM entry e WHERE e.account = account.id)",
    )
    .bind(serde_json::json!(numbers.fresh_accounts).to_string())
    .execute(&mut *connection)
    .await?;
    let gone: Vec<i64> = query_scalar(
        "DELETE FROM address WHERE id IN (SELECT value FROM json_each($1)) \
         AND NOT EXISTS (SELECT 1 FROM event e WHERE e.address = address.id) \
         AND NOT EXISTS (SELECT 1 FROM entry e WHERE e.address = address.id) \
         AND NOT EXISTS (SELECT 1 FROM account a WHERE a.address = address.id) RETURNING id",
    )
    .bind(serde_json::json!(numbers.fresh_addresses).to_string())
    .fetch_all(&mut *connection)
    .await?;
    let gone: HashSet<i64> = gone.into_iter().collect();
    numbers.addresses.retain(|_, id| !gone.contains(id));
    Ok(())
}
