//! How far files were imported.

use sqlx::{query, query_as};

use super::{Engine, on_both};
use crate::{
    model::Timestamp,
    store::{
        ImportFile, StoreError,
        imports::{ImportFileRow, import_file},
    },
};

on_both! {
    pub(in crate::store) async fn import_file(&self, id: &[u8; 16]) -> Result<Option<ImportFile>, StoreError> {
        let row: Option<ImportFileRow> = query_as(
            "SELECT inode, size, changed_at, at_byte, lines, records, within, ended, witness, format, \
             exposure, faults FROM import_file WHERE id = $1",
        )
        .bind(id.as_slice())
        .fetch_optional(self.reading())
        .await?;
        Ok(row.map(|row| import_file(*id, row)))
    }

    pub(in crate::store) async fn keep_import_files(
        &self,
        files: &[ImportFile],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut transaction = self.writing().begin().await?;
        for file in files {
            query(
                "INSERT INTO import_file (id, inode, size, changed_at, at_byte, lines, records, within, ended, witness, \
                 updated_at, format, exposure, faults) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, \
                 $14) ON CONFLICT (id) DO UPDATE SET \
                 inode = excluded.inode, size = excluded.size, changed_at = excluded.changed_at, \
                 at_byte = excluded.at_byte, lines = excluded.lines, records = excluded.records, \
                 within = excluded.within, ended = excluded.ended, witness = excluded.witness, \
                 updated_at = excluded.updated_at, format = excluded.format, exposure = excluded.exposure, \
                 faults = excluded.faults",
            )
            .bind(file.id.as_slice())
            .bind(file.inode)
            .bind(file.size)
            .bind(file.changed_at)
            .bind(file.offset)
            .bind(file.lines)
            .bind(file.records)
            .bind(file.within)
            .bind(i64::from(file.ended))
            .bind(file.witness.as_ref().map(|witness| witness.to_vec()))
            .bind(now.as_millis())
            .bind(file.format)
            .bind(file.exposure)
            .bind(file.faults.as_deref())
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}
