//! Unpacking: gzip, zip or neither, within bounds that hold while it grows.

use std::io::{Cursor, Read};

use flate2::read::MultiGzDecoder;
use zip::{ZipArchive, result::ZipError};

use super::ReportError;

/// The largest file that is read, in bytes: what a mail can carry at most.
pub const MAX_PACKED_BYTES: usize = 16 * 1024 * 1024;
/// The largest that it may be when unpacked, in bytes, all files of a zip file together.
pub const MAX_UNPACKED_BYTES: usize = 64 * 1024 * 1024;
/// How many times its size a file may grow beyond the first megabyte. Reports shrink to a twentieth or a fiftieth; deflate can
/// do a thousand.
pub const MAX_RATIO: usize = 200;
/// Files in one zip file.
pub const MAX_ENTRIES: usize = 16;
/// What every file may grow to, in bytes, however small it is.
const FREE_BYTES: usize = 1024 * 1024;

/// How a file is packed, told from what it begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Not at all: XML, it seems.
    Plain,
    /// RFC 1952.
    Gzip,
    /// PKWARE's zip.
    Zip,
}

/// How a file is packed; `None` where it does not begin as a report does.
#[must_use]
pub fn packing(bytes: &[u8]) -> Option<Packing> {
    match bytes {
        [0x1f, 0x8b, ..] => Some(Packing::Gzip),
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Some(Packing::Zip),
        // UTF-16, by its mark.
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some(Packing::Plain),
        _ => {
            let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
            text.starts_with(b"<").then_some(Packing::Plain)
        }
    }
}

/// The documents of a file.
pub(super) fn unpack(bytes: &[u8]) -> Result<Vec<Vec<u8>>, ReportError> {
    if bytes.len() > MAX_PACKED_BYTES {
        return Err(ReportError::TooLarge);
    }
    if bytes.trim_ascii().is_empty() {
        return Err(ReportError::Empty);
    }
    match packing(bytes) {
        None => Err(ReportError::Unknown),
        Some(Packing::Plain) => Ok(vec![bytes.to_vec()]),
        Some(Packing::Gzip) => {
            let mut room = Room::of(bytes.len());
            let document = room.read(MultiGzDecoder::new(bytes)).map_err(|error| error.unwrap_or(ReportError::Gzip))?;
            // Some gzip a zip file; no deeper than that.
            match packing(&document) {
                Some(Packing::Zip) => entries(&document, &mut room),
                Some(Packing::Gzip) => Err(ReportError::Unknown),
                _ => Ok(vec![document]),
            }
        }
        Some(Packing::Zip) => entries(bytes, &mut Room::of(bytes.len())),
    }
}

/// The files of a zip file that can be reports.
fn entries(bytes: &[u8], room: &mut Room) -> Result<Vec<Vec<u8>>, ReportError> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| zip_error(&error))?;
    if archive.len() > MAX_ENTRIES {
        return Err(ReportError::Entries);
    }
    let mut documents = Vec::new();
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(|error| zip_error(&error))?;
        // What the Finder and Windows put beside files is none.
        let name = entry.name().to_ascii_lowercase();
        if entry.is_dir() || name.starts_with("__macosx/") || name.strip_suffix(".ds_store").is_some() {
            continue;
        }
        let document = room.read(entry).map_err(|error| error.unwrap_or(ReportError::Zip))?;
        let is_xml = packing(&document) == Some(Packing::Plain);
        if is_xml || name.strip_suffix(".xml").is_some() {
            documents.push(document);
        }
    }
    if documents.is_empty() { Err(ReportError::NoEntry) } else { Ok(documents) }
}

fn zip_error(error: &ZipError) -> ReportError {
    match error {
        ZipError::InvalidPassword | ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => ReportError::Encrypted,
        _ => ReportError::Zip,
    }
}

/// How much may still be unpacked.
struct Room {
    /// By the size of what is packed.
    by_ratio: usize,
    /// By what is read at most.
    whole: usize,
}

impl Room {
    fn of(packed: usize) -> Self {
        Self { by_ratio: packed.saturating_mul(MAX_RATIO).max(FREE_BYTES), whole: MAX_UNPACKED_BYTES }
    }

    /// Reads to the end, or to where there is no more room; `Err(None)` where it cannot be unpacked.
    fn read(&mut self, packed: impl Read) -> Result<Vec<u8>, Option<ReportError>> {
        let room = self.by_ratio.min(self.whole);
        let mut out = Vec::new();
        packed.take(room as u64 + 1).read_to_end(&mut out).map_err(|_| None)?;
        if out.len() > room {
            return Err(Some(if self.whole <= self.by_ratio { ReportError::Expands } else { ReportError::Ratio }));
        }
        self.by_ratio -= out.len();
        self.whole -= out.len();
        Ok(out)
    }
}
