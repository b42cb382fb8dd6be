//! How far a log is read, kept in the state directory across restarts. It holds nothing of the log: files are told apart by a
//! digest of their first bytes, since names and inodes pass from one to another.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// How many of a file's first bytes tell it apart. They hold times and process ids.
pub(super) const MARK_BYTES: usize = 256;
/// The largest file of a position that is read.
const MAX_BYTES: u64 = 64 * 1024;

/// What a file is told apart by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// How many of the first bytes were digested.
    bytes: u64,
    /// SHA-256 of them, in hexadecimal.
    digest: String,
}

impl Mark {
    /// The mark of a file that begins with these bytes, of which no more than [`MARK_BYTES`] count.
    pub(super) fn new(first: &[u8]) -> Self {
        let first = first.get(..MARK_BYTES).unwrap_or(first);
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, first);
        Self { bytes: first.len() as u64, digest: hex::encode(digest.as_ref()) }
    }

    /// Whether what begins with these bytes is the file, or a copy of it.
    pub(super) fn fits(&self, first: &[u8]) -> bool {
        let first = usize::try_from(self.bytes).ok().and_then(|bytes| first.get(..bytes));
        first.is_some_and(|first| Self::new(first) == *self)
    }
}

/// How far one file is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The file.
    pub(super) mark: Mark,
    /// Up to which byte its lines are committed.
    pub(super) offset: u64,
    /// When it was changed last, as far as was seen, in milliseconds since the epoch: what was changed later was never seen. Earlier
    /// versions kept none.
    #[serde(default)]
    pub(super) changed: Option<i64>,
}

/// How far the journal is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The entry, by journald's own word.
    pub(super) cursor: String,
    /// When journald got it, in microseconds since the epoch.
    pub(super) micros: i64,
}

/// How far a log is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Position {
    /// Files that are read at a time, the oldest first.
    Files {
        /// The one that is followed.
        log: PathBuf,
        /// Each of them.
        places: Vec<Place>,
    },
    /// The journal.
    Journal {
        /// The last entry that is committed.
        last: Entry,
        /// One some minutes before it, from which reading begins anew: what it tells of mails in the queue is needed.
        earlier: Entry,
    },
}

/// Where a feed's position is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keeper(PathBuf);

impl Keeper {
    /// That of the feed of this name.
    pub(super) fn new(state: &Path, feed: &str) -> Self {
        Self(state.join("positions").join(format!("{}.json", feed.replace('/', "."))))
    }

    /// The position; nothing where none is kept, or none that can be read: then all is read anew, which changes nothing.
    pub(super) fn load(&self) -> Option<Position> {
        let held = fs::metadata(&self.0).ok().filter(|held| held.len() <= MAX_BYTES)?;
        let text = if held.is_file() { fs::read(&self.0).ok()? } else { return None };
        serde_json::from_slice(&text).ok()
    }

    /// Keeps a position in place of the one before, whole or not at all.
    ///
    /// # Errors
    /// Where it can't be written; what was there stays.
    pub(super) fn save(&self, position: &Position) -> io::Result<()> {
        if let Some(folder) = self.0.parent().filter(|folder| !folder.is_dir()) {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let new = self.0.with_extension("new");
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec(position)?)?;
        file.sync_data()?;
        fs::rename(&new, &self.0)
    }

    /// The file, for people.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_comes_back_as_it_was_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let keeper = Keeper::new(folder.path(), "postfix/out");
        assert_eq!(keeper.load(), None);
        let entry = |cursor: &str| Entry { cursor: cursor.to_owned(), micros: 7 };
        let position = Position::Journal { last: entry("s=1;i=2"), earlier: entry("s=1;i=1") };
        keeper.save(&position).expect("kept");
        assert_eq!(keeper.load(), Some(position));
        assert_eq!(keeper.path(), folder.path().join("positions/postfix.out.json"));
        fs::write(keeper.path(), "{\"files\"").expect("written");
        assert_eq!(keeper.load(), None, "half of one is none");
    }

    #[test]
    fn files_are_told_apart_by_what_they_begin_with() {
        let long = "0123456789".repeat(100);
        let mark = Mark::new(long.as_bytes());
        assert!(mark.fits(long.as_bytes()) && mark.fits(&long.as_bytes()[..MARK_BYTES]));
        assert!(!mark.fits(format!("x{long}").as_bytes()) && !mark.fits(b"0123"));
        let early = Mark::new(b"0123456789");
        assert!(early.fits(long.as_bytes()) && early.fits(b"0123456789 and more") && !early.fits(b"012345678"));
    }
}
