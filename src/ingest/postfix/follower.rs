//! Follows a log file through its rotations. No clock of its own and nothing that waits: whoever follows asks again.
//!
//! | what happens | what is done |
//! |---|---|
//! | the file is not there | it is waited for, and read from its beginning when it comes |
//! | renamed, and a new one made | both are read until the old one has not grown for [`GRACE_MILLIS`]: programs write on until they are told |
//! | copied, and cut to nothing (copytruncate) | the rest is read from the copy, then the file from its beginning |
//! | rotated while relaywatch was down, or twice between two looks | the rest is looked for among the files beside it, and those that came after it are read as well |
//! | packed by gzip before its rest was read | it is unpacked while it's read |
//! | removed before its rest was read, or packed otherwise | that rest is lost here, which is told: `relaywatch import` reads it, where it is |
//!
//! A file can be cut at any moment, also while what was read of it is committed. So what a file begins with is kept as it was read,
//! and compared after each reading; nothing that is looked up later says anything of what was read before. Files that were rotated away are found again
//! by the position alone: there has to be one before the first lines are committed.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use self::{
    files::{Found, Id, Wanted, beside, id, millis},
    tail::{Step, Tail},
};
use super::place::Place;
use crate::model::Timestamp;

mod files;
mod tail;

/// How long a file that was rotated away is read on after it grew last, in milliseconds.
pub(super) const GRACE_MILLIS: i64 = 60_000;
/// Bytes that are read at a time.
const CHUNK: usize = 128 * 1024;
/// What is read again before a position, so that mails in the queue are known.
const AGAIN_BYTES: u64 = 16 * 1024 * 1024;
/// Files that are read at a time.
const MOST_FILES: usize = 16;

/// Lines: those that were done before, and those that are new.
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
    pub(super) fn places(&self) -> Vec<Place> {
        self.old.iter().chain(&self.current).filter_map(Tail::place).collect()
    }

    /// The same places before anything of them was done.
    pub(super) fn beginnings(&self) -> Vec<Place> {
        self.old.iter().chain(&self.current).filter_map(Tail::beginning).collect()
    }

    /// Some lines, if there are any; nothing where all is read that is there. Where it can't be looked what came of the file, those
    /// that are open are read to their end before that is told.
    ///
    /// # Errors
    /// Where something can't be read. What was handed out stays so.
    pub(super) fn next(&mut self, now: Timestamp) -> io::Result<Option<Lines>> {
        if let Some(places) = &self.from {
            (self.old, self.current, self.news) = resume(&self.path, places, now)?;
            self.from = None;
        }
        let looked = self.look(now);
        let mut lines = Lines::default();
        for number in 0..self.old.len() {
            let Some(tail) = self.old.get_mut(number) else { break };
            match tail.read_on(now, &mut lines) {
                Ok(Step::Nothing) => continue,
                Ok(Step::Some) => {}
                Ok(Step::Cut) => {
                    let (rest, lost) = self.rest_of(self.old.get(number), now)?;
                    self.news.extend(lost);
                    let anew = self.old.remove(number).anew(now);
                    self.old.splice(number..number, rest.into_iter().chain([anew]));
                }
                // Up to here it was unpacked.
                Err(_) if tail.log.is_packed() => {
                    self.old.remove(number);
                    self.news.push(News::RestLost);
                }
                Err(error) => return Err(error),
            }
            return Ok(Some(lines));
        }
        // While nobody knows what came after them, no file is done.
        if looked.is_ok() {
            self.let_go(now, &mut lines);
        }
        if lines.fresh.is_empty()
            && let Some(tail) = &mut self.current
        {
            match tail.read_on(now, &mut lines)? {
                Step::Some => {}
                Step::Nothing => return looked.map(|()| None),
                Step::Cut => {
                    let (rest, lost) = self.rest_of(self.current.as_ref(), now)?;
                    self.news.extend(lost);
                    self.old.extend(rest);
                    self.current = self.current.take().map(|tail| tail.anew(now));
                }
            }
        }
        if self.current.is_none() && lines == Lines::default() {
            return looked.map(|()| None);
        }
        Ok(Some(lines))
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
        if self.current.as_ref().is_some_and(|tail| tail.id == id(&metadata)) {
            return Ok(());
        }
        let found = Found::plain(&self.path)?;
        // After a restart there may be none that is followed yet.
        let beside = match self.current.as_ref().or(self.old.last()) {
            Some(tail) => {
                let wanted = Wanted { since: millis(tail.changed), older: false };
                let mut found = beside(&self.path, wanted, |id| self.holds(id))?;
                found.retain(|other| other.changed >= tail.changed);
                found
            }
            None => Vec::new(),
        };
        if let Some(tail) = &mut self.current {
            tail.grew_at = now;
        }
        self.old.extend(self.current.take());
        self.news.push(News::Opened);
        self.current = Some(Tail::new(found, now));
        let unseen = self.unseen(beside, now);
        self.old.extend(unseen);
        Ok(())
    }

    /// Whether a file is one of those that are open.
    fn holds(&self, id: Id) -> bool {
        self.old.iter().chain(&self.current).any(|tail| tail.id == id)
    }

    /// Those of which nothing is read: what was made and rotated away since the last look.
    fn unseen(&self, found: Vec<Found>, now: Timestamp) -> Vec<Tail> {
        let is_held = |found: &Found| self.old.iter().chain(&self.current).any(|tail| tail.is(found));
        found.into_iter().filter(|found| !is_held(found)).map(|found| Tail::new(found, now)).collect()
    }

    /// Lets files go that were rotated away and grow no more.
    fn let_go(&mut self, now: Timestamp, lines: &mut Lines) {
        let all = self.old.len();
        // Without a place in any file nobody would know where to go on.
        let kept = usize::from(self.current.as_ref().is_none_or(Tail::is_untouched));
        let mut place = 0;
        self.old.retain_mut(|tail| {
            place += 1;
            let young = now.millis_since(tail.grew_at).abs() < GRACE_MILLIS;
            let keep = place + kept > all || (young && place + MOST_FILES > all);
            if !keep {
                tail.cutter.finish(&mut lines.fresh);
            }
            keep
        });
    }

    /// The files in which the rest is of one that was cut, and what was written and cut since; and whether it is not found.
    fn rest_of(&self, tail: Option<&Tail>, now: Timestamp) -> io::Result<(Vec<Tail>, Option<News>)> {
        let Some(tail) = tail else { return Ok((Vec::new(), None)) };
        // A copy is made before the file is cut, and is dated by then at the earliest.
        let wanted = Wanted { since: millis(tail.changed), older: true };
        let mut found = beside(&self.path, wanted, |id| id == tail.id)?;
        let mut rest = Vec::new();
        let mut lost = None;
        if let Some(place) = tail.place() {
            match found.iter().rposition(|copy| copy.holds(&place)).map(|number| found.remove(number)) {
                // It is read from its beginning already.
                Some(copy) if self.old.iter().any(|old| old.id == copy.id) => {}
                Some(copy) => rest.push(Tail::from(copy, place.offset, 0, now)),
                None => lost = Some(News::RestLost),
            }
        }
        found.retain(|found| found.changed >= tail.changed);
        rest.extend(self.unseen(found, now));
        Ok((rest, lost))
    }
}

/// Finds the files again that were read before: those that were rotated away, the one that is followed, and what happened.
fn resume(path: &Path, places: &[Place], now: Timestamp) -> io::Result<(Vec<Tail>, Option<Tail>, Vec<News>)> {
    let (mut old, mut current, mut news, mut since) = (Vec::new(), None, Vec::new(), None);
    // What was changed before the first of the places holds none of them.
    let first = places.iter().map(|place| place.changed).min().flatten();
    let mut beside = beside(path, Wanted { since: first, older: true }, |_| false)?;
    let mut log = match Found::plain(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        log => Some(log?),
    };
    for place in places {
        since = since.max(place.changed);
        if let Some(found) = log.take_if(|found| found.holds(place)) {
            current = Some(Tail::from(found, place.offset, AGAIN_BYTES, now));
            news.push(News::Opened);
            continue;
        }
        // The one changed last: a copy of a copy is older.
        let Some(found) = beside.iter().rposition(|found| found.holds(place)) else {
            news.push(News::RestLost);
            continue;
        };
        let found = beside.remove(found);
        if place.changed.is_none() {
            since = since.max(millis(found.changed));
        }
        old.push(Tail::from(found, place.offset, AGAIN_BYTES, now));
    }
    let Some(since) = since else { return Ok((old, current, news)) };
    // What was changed before it was done, and tells of mails that are still in the queue.
    let (unseen, mut done): (Vec<_>, Vec<_>) = beside.into_iter().partition(|found| found.is_changed_since(since));
    let mut room = old.first().or(current.as_ref()).map_or(0, Tail::room);
    while room > 0
        && let Some(found) = done.pop().filter(|found| !found.log.is_packed())
    {
        let (offset, again) = (found.bytes, room);
        room = room.saturating_sub(offset);
        old.insert(0, Tail::from(found, offset, again, now));
    }
    // What was changed after the last that was read was never seen.
    if current.is_none() {
        old.extend(unseen.into_iter().map(|found| Tail::new(found, now)));
    }
    Ok((old, current, news))
}

#[cfg(test)]
mod tests;
