//! Forgetting people.

use std::collections::HashSet;

use sqlx::{PgConnection, query, query_as, query_scalar};

use super::PgStore;
use crate::store::{
    Epoch, StoreError, Whom,
    batch::Numbers,
    erase::{Copies, Person},
};

impl PgStore {
    pub(in crate::store) async fn person(&self, whom: &Whom) -> Result<Person, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let Some((address, accounts)) = rows_of(&mut connection, whom).await? else { return Ok(Person::default()) };
        let mut person = Person::default();
        if let Some(address) = address {
            person.address = query_as("SELECT hash, sealed FROM address WHERE id = $1")
                .bind(address)
                .fetch_optional(&mut *connection)
                .await?;
        }
        person.accounts = query_as("SELECT hash, sealed, team FROM account WHERE id = ANY ($1)")
            .bind(&accounts)
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
        // Whoever comes next finds the count of erasures raised and the rows gone.
        let mut transaction = self.alone(reign).await?;
        let Some((address, accounts)) = rows_of(&mut transaction, whom).await? else { return Ok((0, 0)) };
        let mut addresses = 0;
        if let Some(address) = address {
            addresses = query("DELETE FROM address WHERE id = $1")
                .bind(address)
                .execute(&mut *transaction)
                .await?
                .rows_affected();
        }
        query(
            "INSERT INTO tombstone (address, account) SELECT address, id FROM account \
             WHERE id = ANY ($1) AND address IS NOT NULL ON CONFLICT DO NOTHING",
        )
        .bind(&accounts)
        .execute(&mut *transaction)
        .await?;
        let accounts = query("DELETE FROM account WHERE id = ANY ($1)")
            .bind(&accounts)
            .execute(&mut *transaction)
            .await?
            .rows_affected();
        query(
            "INSERT INTO meta (key, value) VALUES ('erasures', '1') \
             ON CONFLICT (key) DO UPDATE SET value = (meta.value::bigint + 1)::text",
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
                "SELECT s.template::bigint, w.digest, s.sample FROM template_sample s JOIN word w ON w.id = s.template \
                 WHERE s.sample IS NOT NULL AND s.template > $1 ORDER BY s.template LIMIT $2"
            }
            Copies::SetAside => "SELECT id, hash, sealed FROM set_aside WHERE id > $1 ORDER BY id LIMIT $2",
        };
        Ok(query_as(text).bind(after).bind(i64::from(limit)).fetch_all(&self.pool).await?)
    }

    pub(in crate::store) async fn erase_copies_of(
        &self,
        reign: Option<Epoch>,
        copies: Copies,
        ids: &[i64],
    ) -> Result<u64, StoreError> {
        let text = match copies {
            Copies::Samples => {
                "UPDATE template_sample SET sample = NULL WHERE sample IS NOT NULL AND template = ANY ($1::bigint[])"
            }
            Copies::SetAside => "DELETE FROM set_aside WHERE id = ANY ($1)",
        };
        let mut transaction = self.begin(reign).await?;
        let erased = query(text).bind(ids).execute(&mut *transaction).await?.rows_affected();
        transaction.commit().await?;
        Ok(erased)
    }

    /// Dead rows are PostgreSQL's own business: its autovacuum overwrites them in time.
    #[expect(clippy::unused_async, reason = "the other engine has something to do")]
    pub(in crate::store) async fn scrub(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// The rows to delete: the address, and the accounts.
async fn rows_of(connection: &mut PgConnection, whom: &Whom) -> Result<Option<(Option<i64>, Vec<i64>)>, StoreError> {
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
                "SELECT a.address, EXISTS (SELECT FROM account o WHERE o.address = a.address AND o.id <> a.id) \
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
pub(super) async fn drop_strangers(connection: &mut PgConnection, numbers: &mut Numbers) -> Result<(), StoreError> {
    query(
        "DELETE FROM account WHERE id = ANY ($1) \
         AND NOT EXISTS (SELECT FROM entry e WHERE e.account = account.id)",
    )
    .bind(&numbers.fresh_accounts)
    .execute(&mut *connection)
    .await?;
    let gone: Vec<i64> = query_scalar(
        "DELETE FROM address WHERE id = ANY ($1) \
         AND NOT EXISTS (SELECT FROM event e WHERE e.address = address.id) \
         AND NOT EXISTS (SELECT FROM entry e WHERE e.address = address.id) \
         AND NOT EXISTS (SELECT FROM account a WHERE a.address = address.id) RETURNING id",
    )
    .bind(&numbers.fresh_addresses)
    .fetch_all(&mut *connection)
    .await?;
    let gone: HashSet<i64> = gone.into_iter().collect();
    numbers.addresses.retain(|_, id| !gone.contains(id));
    Ok(())
}
