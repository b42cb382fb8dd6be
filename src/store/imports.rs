//! How far files were imported.

use super::{Store, StoreError, dispatch};
use crate::model::Timestamp;

/// A file of which something was imported. Nothing here tells which one it is, or what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportFile {
    /// Keyed hash of its path and of what it begins with.
    pub id: [u8; 16],
    /// Its number on its device.
    pub inode: i64,
    /// How long it was, in bytes.
    pub size: i64,
    /// When it had been changed last, in milliseconds since the epoch.
    pub changed_at: i64,
    /// Bytes that are done, of the unpacked file.
    pub offset: i64,
    /// Lines that are done.
    pub lines: i64,
    /// Records that are done.
    pub records: i64,
    /// Records after `offset` that are done as well.
    pub within: i64,
    /// Whether it was read to its end.
    pub ended: bool,
    /// Keyed hash of what stands before `offset`; none where the file is packed.
    pub witness: Option<[u8; 16]>,
    /// The number of the format that it was read as; none of what earlier versions imported.
    pub format: Option<i16>,
    /// The number of the exposure that its outcomes came in with.
    pub exposure: Option<i16>,
    /// What was wrong with its records, as JSON; none where nothing was.
    pub faults: Option<String>,
}

/// A row of `import_file` as both engines read it.
pub(super) type ImportFileRow =
    (i64, i64, i64, i64, i64, i64, i64, i64, Option<Vec<u8>>, Option<i16>, Option<i16>, Option<String>);

pub(super) fn import_file(id: [u8; 16], row: ImportFileRow) -> ImportFile {
    let (inode, size, changed_at, offset, lines, records, within, ended, witness, format, exposure, faults) = row;
    ImportFile {
        id,
        inode,
        size,
        changed_at,
        offset,
        lines,
        records,
        within,
        ended: ended != 0,
        witness: witness.and_then(|witness| witness.try_into().ok()),
        format,
        exposure,
        faults,
    }
}

impl Store {
    /// How far a file was imported; nothing where it is not known.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn import_file(&self, id: &[u8; 16]) -> Result<Option<ImportFile>, StoreError> {
        dispatch!(self, store => store.import_file(id).await)
    }

    /// Keeps how far files are imported. To be called after the commit of what they hold.
    ///
    /// # Errors
    /// Where the store takes no writes.
    pub async fn keep_import_files(&self, files: &[ImportFile], now: Timestamp) -> Result<(), StoreError> {
        if files.is_empty() {
            return Ok(());
        }
        dispatch!(self, store => store.keep_import_files(files, now).await)
    }
}
