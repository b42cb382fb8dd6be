//! One file, read on as it grows.

use std::{io, time::SystemTime};

use super::{
    super::{
        cut::Cutter,
        place::{MARK_BYTES, Mark, Place},
    },
    AGAIN_BYTES, CHUNK, Lines,
    files::{Found, Id, Log, millis},
};
use crate::model::Timestamp;

/// What reading on came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// There was something.
    Some,
    /// All is read that is there.
    Nothing,
    /// The file was cut, and does not hold any more what was read of it; or it may have been cut.
    Cut,
}

/// A file that is read.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) log: Log,
    pub(super) id: Id,
    /// Up to where it is read.
    read: u64,
    /// Up to where its lines were done before.
    known: u64,
    pub(super) cutter: Cutter,
    /// What it begins with, as it was read: by then, the file may begin otherwise.
    first: Vec<u8>,
    pub(super) grew_at: Timestamp,
    /// When the file was changed last, as far as was seen while it held what was read.
    pub(super) changed: SystemTime,
    /// When it was changed last.
    seen: SystemTime,
}

impl Tail {
    /// One of which nothing is known.
    pub(super) fn new(found: Found, now: Timestamp) -> Self {
        let Found { log, id, changed, .. } = found;
        let (cutter, first) = (Cutter::default(), Vec::new());
        Self { log, id, read: 0, known: 0, cutter, first, grew_at: now, changed, seen: changed }
    }

    /// One whose lines are done up to a place; what is before it, up to so many bytes, is read again.
    pub(super) fn from(found: Found, offset: u64, again: u64, now: Timestamp) -> Self {
        let mut tail = Self { first: found.head.clone(), ..Self::new(found, now) };
        tail.known = offset;
        tail.read = offset.saturating_sub(again);
        if tail.read > 0 && again > 0 {
            tail.cutter = Cutter::within_a_line();
        }
        tail
    }

    /// The same file, of which nothing is read.
    pub(super) fn anew(self, now: Timestamp) -> Self {
        let Self { log, id, seen, .. } = self;
        let (cutter, first) = (Cutter::default(), Vec::new());
        Self { log, id, read: 0, known: 0, cutter, first, grew_at: now, changed: seen, seen }
    }

    /// Up to where its lines are handed out, or were done before.
    pub(super) fn done(&self) -> u64 {
        self.read.saturating_sub(self.cutter.held()).max(self.known)
    }

    /// Whether nothing of it was ever read.
    pub(super) const fn is_untouched(&self) -> bool {
        self.read == 0 && self.first.is_empty()
    }

    /// How much more could be read again of what came before it.
    pub(super) const fn room(&self) -> u64 {
        AGAIN_BYTES.saturating_sub(self.known)
    }

    /// How far it is read; nothing where no line of it is done.
    pub(super) fn place(&self) -> Option<Place> {
        let offset = self.done();
        let marked = self.first.len().min(usize::try_from(offset).unwrap_or(MARK_BYTES));
        let mark = Mark::new(self.first.get(..marked).filter(|marked| !marked.is_empty())?);
        Some(Place { mark, offset, changed: millis(self.changed) })
    }

    /// Where its reading began; nothing where it has not.
    pub(super) fn beginning(&self) -> Option<Place> {
        let begun = !self.first.is_empty();
        begun.then(|| Place { mark: Mark::new(&self.first), offset: 0, changed: millis(self.changed) })
    }

    /// Whether a file is this one, or a copy in which its lines are.
    pub(super) fn is(&self, found: &Found) -> bool {
        self.id == found.id || self.place().is_some_and(|place| found.holds(&place))
    }

    /// Reads on.
    pub(super) fn read_on(&mut self, now: Timestamp, lines: &mut Lines) -> io::Result<Step> {
        let mut chunk = vec![0; CHUNK];
        let room = match self.known.checked_sub(self.read) {
            // What is known and what is new are not mixed.
            Some(left) if left > 0 => CHUNK.min(usize::try_from(left).unwrap_or(CHUNK)),
            _ => CHUNK,
        };
        let bytes = self.log.read_at(chunk.get_mut(..room).unwrap_or_default(), self.read)?;
        // Only now: it can be cut while it is read.
        if !self.log.is_packed() {
            let metadata = self.log.metadata()?;
            self.seen = metadata.modified()?;
            // One that has stayed empty can have been written and cut since.
            let was_empty = self.is_untouched() && self.seen > self.changed;
            if was_empty || metadata.len() < self.read + bytes as u64 || !self.log.head()?.starts_with(&self.first) {
                return Ok(Step::Cut);
            }
            self.changed = self.seen;
        }
        if bytes == 0 {
            return Ok(Step::Nothing);
        }
        let chunk = chunk.get(..bytes).unwrap_or_default();
        let begun = usize::try_from(self.read).ok().and_then(|read| self.first.len().checked_sub(read));
        if let Some(more) = begun.and_then(|begun| chunk.get(begun..)) {
            let missing = MARK_BYTES.saturating_sub(self.first.len()).min(more.len());
            self.first.extend_from_slice(more.get(..missing).unwrap_or_default());
        }
        let target = if self.read < self.known { &mut lines.known } else { &mut lines.fresh };
        self.cutter.push(chunk, target);
        self.read += bytes as u64;
        self.grew_at = now;
        Ok(Step::Some)
    }
}
