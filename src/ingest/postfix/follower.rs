//! Follows a log file through its rotations. No clock of its own and nothing that waits: whoever follows asks again.
//!
//! | what happens | what is done |
//! |---|---|
//! | the file is not there | it is waited for, and read from its beginning when it comes |
//! | renamed, and a new one made | both are read until the old one has not grown for [`GRACE_MILLIS`]: programs write on until they are told |
//! | copied, and cut to nothing (copytruncate) | the rest is read from the copy, then the file from its beginning |
//! | rotated while relaywatch was down, or twice between two looks | the rest is looked for among the files beside it, and those that came after it are read as well |
//! | packed before its rest was read | that rest is lost here, which is told: `relaywatch import` reads it |

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{
    cut::Cutter,
    place::{Mark, Place},
};
use crate::model::Timestamp;

/// How long a file that was rotated away is read on after it grew last, in milliseconds.
pub(super) const GRACE_MILLIS: i64 = 60_000;
/// Bytes that are read at a time.
const CHUNK: usize = 128 * 1024;
/// What is read again before a position, so that mails in the queue are known.
const AGAIN_BYTES: u64 = 16 * 1024 * 1024;
/// Files that are read at a time.
const MOST_FILES: usize = 16;

/// Lines, and how far the files are read when they are done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Lines {
    /// Lines that were done before, to be read for what they tell of mails in the queue.
    pub(super) known: Vec<u8>,
    /// New lines.
    pub(super) fresh: Vec<u8>,
}

/// What happened beside lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// A file is read from now on.
    Opened,
    /// It was rotated away before it was read to its end, and its rest is not found.
    RestLost,
}

/// A file that is read.
#[derive(Debug)]
struct Tail {
    file: File,
    id: (u64, u64),
    /// Up to where it is read.
    read: u64,
    /// Up to where its lines were done before.
    known: u64,
    cutter: Cutter,
    mark: Option<Mark>,
    grew_at: Timestamp,
    /// When the file was changed last, as far as was seen.
    changed: Option<SystemTime>,
}

impl Tail {
    fn new(file: File, now: Timestamp) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let (id, changed) = (id(&metadata), metadata.modified().ok());
        Ok(Self { file, id, read: 0, known: 0, cutter: Cutter::default(), mark: None, grew_at: now, changed })
    }

    /// One whose lines are done up to a place.
    fn from(file: File, place: &Place, now: Timestamp) -> io::Result<Self> {
        let mut tail = Self::new(file, now)?;
        tail.known = place.offset;
        tail.read = place.offset.saturating_sub(AGAIN_BYTES);
        tail.mark = Some(place.mark.clone());
        if tail.read > 0 {
            tail.cutter = Cutter::within_a_line();
        }
        Ok(tail)
    }

    /// Up to where its lines are handed out, or were done before.
    fn done(&self) -> u64 {
        self.read.saturating_sub(self.cutter.held()).max(self.known)
    }

    fn place(&mut self) -> io::Result<Place> {
        let offset = self.done();
        let mark = match &self.mark {
            Some(mark) if mark.is_whole() => mark.clone(),
            _ => self.mark.insert(Mark::of(&self.file, offset)?).clone(),
        };
        Ok(Place { mark, offset, changed: self.changed.and_then(millis) })
    }

    /// Whether the file does not hold any more what was read of it.
    fn was_cut(&self) -> io::Result<bool> {
        let shorter = self.file.metadata()?.len() < self.read;
        Ok(shorter || self.mark.as_ref().is_some_and(|mark| !mark.fits(&self.file)))
    }

    /// Reads on. Gives whether there was anything.
    fn read_on(&mut self, now: Timestamp, lines: &mut Lines) -> io::Result<bool> {
        let mut chunk = vec![0; CHUNK];
        let room = match self.known.checked_sub(self.read) {
            // What is known and what is new are not mixed.
            Some(left) if left > 0 => CHUNK.min(usize::try_from(left).unwrap_or(CHUNK)),
            _ => CHUNK,
        };
        let bytes = self.file.read_at(chunk.get_mut(..room).unwrap_or_default(), self.read)?;
        if bytes == 0 {
            return Ok(false);
        }
        let target = if self.read < self.known { &mut lines.known } else { &mut lines.fresh };
        self.cutter.push(chunk.get(..bytes).unwrap_or_default(), target);
        self.read += bytes as u64;
        self.grew_at = now;
        Ok(true)
    }
}

/// Milliseconds since the epoch.
fn millis(time: SystemTime) -> Option<i64> {
    i64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_millis()).ok()
}

fn id(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Follows one file.
#[derive(Debug)]
pub(super) struct Follower {
    path: PathBuf,
    /// Those that were rotated away, the oldest first.
    old: Vec<Tail>,
    current: Option<Tail>,
    /// Where to go on, until it's found.
    from: Option<Vec<Place>>,
    /// How often in a row it was looked for and was not there.
    missing: u32,
    news: Vec<News>,
}

impl Follower {
    /// One that goes on at these places.
    pub(super) fn new(path: PathBuf, from: Option<Vec<Place>>) -> Self {
        Self { path, old: Vec::new(), current: None, from, missing: 0, news: Vec::new() }
    }

    /// The file that is followed.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file is not there. While it's rotated, there is none for a moment.
    pub(super) const fn is_missing(&self) -> bool {
        self.missing > 1
    }

    /// What happened since it was last asked.
    pub(super) fn news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// How far the files are read, when everything that was handed out is done.
    ///
    /// # Errors
    /// Where the beginning of a file can't be read.
    pub(super) fn places(&mut self) -> io::Result<Vec<Place>> {
        let tails = self.old.iter_mut().chain(&mut self.current);
        tails.filter(|tail| tail.done() > 0).map(Tail::place).collect()
    }

    /// Some lines, if there are any; nothing where all is read that is there.
    ///
    /// # Errors
    /// Where something can't be read. What was handed out stays so.
    pub(super) fn next(&mut self, now: Timestamp) -> io::Result<Option<Lines>> {
        if let Some(places) = &self.from {
            (self.old, self.current, self.news) = resume(&self.path, places, now)?;
            self.from = None;
        }
        self.look(now)?;
        let mut lines = Lines::default();
        for tail in &mut self.old {
            if tail.read_on(now, &mut lines)? {
                return Ok(Some(lines));
            }
        }
        self.let_go(now, &mut lines);
        if lines.fresh.is_empty()
            && let Some(tail) = &mut self.current
        {
            if tail.was_cut()? {
                self.start_over(now)?;
                return Ok(Some(lines));
            }
            if !tail.read_on(now, &mut lines)? {
                return Ok(None);
            }
        }
        let none = self.current.is_none() && lines == Lines::default();
        Ok((!none).then_some(lines))
    }

    /// Looks whether the file is another one now.
    fn look(&mut self, now: Timestamp) -> io::Result<()> {
        let metadata = match fs::metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.missing = self.missing.saturating_add(1);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.missing = 0;
        if let Some(tail) = self.current.as_mut().filter(|tail| tail.id == id(&metadata)) {
            tail.changed = metadata.modified().ok();
            return Ok(());
        }
        let file = open(&self.path)?;
        let since = self.current.as_ref().and_then(|tail| tail.changed);
        self.old.extend(self.current.take().map(|tail| Tail { grew_at: now, ..tail }));
        let current = Tail::new(file, now)?;
        if let Some(since) = since {
            // What was made and rotated away since the last look.
            for (changed, _, file) in beside(&self.path)? {
                let tail = Tail::new(file, now)?;
                if changed > since && tail.id != current.id && self.old.iter().all(|old| old.id != tail.id) {
                    self.old.push(tail);
                }
            }
        }
        self.current = Some(current);
        self.news.push(News::Opened);
        Ok(())
    }

    /// Lets files go that were rotated away and grow no more.
    fn let_go(&mut self, now: Timestamp, lines: &mut Lines) {
        let excess = self.old.len().saturating_sub(MOST_FILES);
        let mut place = 0;
        self.old.retain_mut(|tail| {
            place += 1;
            let keep = place > excess && now.millis_since(tail.grew_at).abs() < GRACE_MILLIS;
            if !keep {
                tail.cutter.finish(&mut lines.fresh);
            }
            keep
        });
    }

    /// The file was cut to nothing and is written anew; its rest may be in a copy.
    fn start_over(&mut self, now: Timestamp) -> io::Result<()> {
        let Some(mut tail) = self.current.take() else { return Ok(()) };
        let changed = tail.changed.and_then(millis);
        let place = tail.mark.take().map(|mark| Place { mark, offset: tail.done(), changed });
        if let Some(place) = place {
            match beside(&self.path)?.into_iter().rfind(|(_, _, file)| holds(file, &place)) {
                Some((_, _, copy)) => {
                    let mut rest = Tail::new(copy, now)?;
                    (rest.read, rest.known, rest.mark) = (place.offset, place.offset, Some(place.mark));
                    self.old.push(rest);
                }
                None => self.news.push(News::RestLost),
            }
        }
        self.current = Some(Tail::new(tail.file, now)?);
        Ok(())
    }
}

/// Finds the files again that were read before: those that were rotated away, the one that is followed, and what happened.
fn resume(path: &Path, places: &[Place], now: Timestamp) -> io::Result<(Vec<Tail>, Option<Tail>, Vec<News>)> {
    let (mut old, mut current, mut news, mut since) = (Vec::new(), None, Vec::new(), None);
    let mut beside = beside(path)?;
    for place in places {
        if let Some(file) = open(path).ok().filter(|file| holds(file, place)) {
            current = Some(Tail::from(file, place, now)?);
            news.push(News::Opened);
            continue;
        }
        // The one changed last: a copy of a copy is older.
        let Some(found) = beside.iter().rposition(|(_, _, file)| holds(file, place)) else {
            news.push(News::RestLost);
            since = since.max(place.changed);
            continue;
        };
        let (modified, _, file) = beside.remove(found);
        since = since.max(millis(modified));
        old.push(Tail::from(file, place, now)?);
    }
    // What was changed after the last that was read was never seen.
    if let (Some(since), None) = (since, &current) {
        for (modified, _, file) in beside {
            if millis(modified).is_some_and(|modified| modified > since) {
                old.push(Tail::new(file, now)?);
            }
        }
    }
    Ok((old, current, news))
}

/// The files to which a log is rotated, those changed first coming first: `mail.log.1`, `mail.log-20250809`.
fn beside(path: &Path) -> io::Result<Vec<(SystemTime, PathBuf, File)>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default();
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !is_rotated(name, &entry.file_name()) {
            continue;
        }
        if let Ok(file) = open(&entry.path())
            && let Ok(modified) = file.metadata().and_then(|metadata| metadata.modified())
        {
            found.push((modified, entry.path(), file));
        }
    }
    found.sort_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
    Ok(found)
}

/// Whether a name is that of the log with a number or a date behind it.
fn is_rotated(log: &OsStr, name: &OsStr) -> bool {
    let Some(rest) = name.as_encoded_bytes().strip_prefix(log.as_encoded_bytes()) else { return false };
    matches!(rest, [b'.' | b'-' | b'_', digits @ ..] if !digits.is_empty()
        && digits.iter().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.')))
}

/// Whether a file holds what was read up to a place.
fn holds(file: &File, place: &Place) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.len() >= place.offset) && place.mark.fits(file)
}

/// Opens an ordinary file; others could wait for ever.
fn open(path: &Path) -> io::Result<File> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no ordinary file"));
    }
    File::open(path)
}

#[cfg(test)]
mod tests;
