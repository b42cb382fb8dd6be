//! Random ids for everybody whom a batch speaks of, and what is said of their addresses.

use std::collections::BTreeMap;

use sqlx::{PgConnection, query, query_as};

use crate::{
    privacy::Purpose,
    store::{Mark, PgStore, Recipient, StoreError, Subject, batch::Numbers, engine::random_id},
};

impl PgStore {
    /// Gives every recipient its random id, making rows for those that are new.
    pub(in crate::store::postgres) async fn number_addresses<'a>(
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
            hashes.push(hash.as_slice());
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
        let hashes: Vec<&[u8]> = wanted.keys().map(<[u8; 16]>::as_slice).collect();
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
    pub(in crate::store::postgres) async fn number_accounts<'a>(
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
}

/// Takes note of a word on whether an address is private; the latest stands.
pub(in crate::store::postgres) async fn insert_mark(
    connection: &mut PgConnection,
    address: i64,
    mark: Mark,
) -> Result<(), StoreError> {
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
