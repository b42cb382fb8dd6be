//! Files of a log: the one that is written, and those to which it was rotated, plain or packed by gzip.

use std::{
    ffi::OsStr,
    fs::{self, File, Metadata},
    io::{self, BufReader, Read as _, Seek as _},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use flate2::read::MultiGzDecoder;

use super::super::place::{MARK_BYTES, Place};

/// What gzip adds to a name.
const PACKED: &[u8] = b".gz";
/// Bytes of a packed file that are read at a time.
const PACKED_CHUNK: usize = 64 * 1024;

/// A file, read by places in its text.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    /// What unpacks it, if it is packed, and the place in the text to which it has come.
    unpacking: Option<(MultiGzDecoder<BufReader<File>>, u64)>,
}

impl Log {
    /// Opens an ordinary file; others could wait for ever.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no ordinary file"));
        }
        Ok(Self { file: File::open(path)?, unpacking: None })
    }

    /// The same file, packed by gzip.
    fn packed(self) -> io::Result<Self> {
        let stream = BufReader::with_capacity(PACKED_CHUNK, self.file.try_clone()?);
        Ok(Self { unpacking: Some((MultiGzDecoder::new(stream), 0)), ..self })
    }

    /// Whether nobody writes to it any more, and its length is not that of its text.
    pub(super) const fn is_packed(&self) -> bool {
        self.unpacking.is_some()
    }

    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    /// Reads some of the text from a place on; nothing where it ends there.
    pub(super) fn read_at(&mut self, bytes: &mut [u8], place: u64) -> io::Result<usize> {
        let Some((unpacking, at)) = &mut self.unpacking else { return self.file.read_at(bytes, place) };
        if place < *at {
            let mut stream = BufReader::with_capacity(PACKED_CHUNK, self.file.try_clone()?);
            stream.rewind()?;
            (*unpacking, *at) = (MultiGzDecoder::new(stream), 0);
        }
        *at += io::copy(&mut unpacking.take(place - *at), &mut io::sink())?;
        let read = if *at < place { 0 } else { unpacking.read(bytes)? };
        *at += read as u64;
        Ok(read)
    }

    /// What its text begins with, as much as tells it apart.
    pub(super) fn head(&mut self) -> io::Result<Vec<u8>> {
        let (mut head, mut filled) = (vec![0; MARK_BYTES], 0);
        while let Some(room) = head.get_mut(filled..).filter(|room| !room.is_empty()) {
            match self.read_at(room, filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                // One that breaks off is read up to there.
                Err(_) if self.is_packed() && filled > 0 => break,
                Err(error) => return Err(error),
            }
        }
        head.truncate(filled);
        Ok(head)
    }
}

/// What a file is while it is open, whatever it is called.
pub(super) type Id = (u64, u64);

pub(super) fn id(metadata: &Metadata) -> Id {
    (metadata.dev(), metadata.ino())
}

/// Milliseconds since the epoch.
pub(super) fn millis(time: SystemTime) -> Option<i64> {
    i64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_millis()).ok()
}

/// A file that is there.
#[derive(Debug)]
pub(super) struct Found {
    path: PathBuf,
    pub(super) log: Log,
    pub(super) id: Id,
    /// When it was changed last.
    pub(super) changed: SystemTime,
    /// Its length, packed or not.
    pub(super) bytes: u64,
    /// What its text begins with.
    pub(super) head: Vec<u8>,
}

impl Found {
    /// Looks at a file that is written.
    ///
    /// # Errors
    /// Where it can't be read, or is no ordinary file.
    pub(super) fn plain(path: &Path) -> io::Result<Self> {
        Self::of(path, Log::open(path)?)
    }

    /// Looks at one that was rotated away; nothing where it has just gone, or is packed and makes no sense.
    fn rotated(path: &Path) -> io::Result<Option<Self>> {
        let log = match Log::open(path) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => {
                return Ok(None);
            }
            log => log?,
        };
        if is_packed(path) { Ok(Self::of(path, log.packed()?).ok()) } else { Self::of(path, log).map(Some) }
    }

    fn of(path: &Path, mut log: Log) -> io::Result<Self> {
        let (head, metadata) = (log.head()?, log.metadata()?);
        let (id, changed, bytes) = (id(&metadata), metadata.modified()?, metadata.len());
        Ok(Self { path: path.to_owned(), log, id, changed, bytes, head })
    }

    /// Whether it holds what was read up to a place.
    pub(super) fn holds(&self, place: &Place) -> bool {
        (self.log.is_packed() || self.bytes >= place.offset) && place.mark.fits(&self.head)
    }

    /// Whether it was last changed at this time, in milliseconds since the epoch, or after it.
    pub(super) fn is_changed_since(&self, since: i64) -> bool {
        millis(self.changed).is_some_and(|changed| changed >= since)
    }
}

/// Which of the files beside a log are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// Those changed at this time or later, in milliseconds since the epoch; without it all.
    pub(super) since: Option<i64>,
    /// Whether those changed before are welcome as well, where they can be opened.
    pub(super) older: bool,
}

/// The files to which a log is rotated, those changed first coming first: `mail.log.1`, `mail.log-20250809`, `mail.log.2.gz`. Those
/// that are held already are left out.
///
/// # Errors
/// Where the folder can't be listed, or one that is wanted can't be opened: what it holds would be lost without a word.
pub(super) fn beside(path: &Path, wanted: Wanted, is_held: impl Fn(Id) -> bool) -> io::Result<Vec<Found>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default();
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        // While a file is packed both are there, and the packed one is not whole.
        if !is_rotated(name, &entry.file_name()) || (is_packed(&path) && path.with_extension("").is_file()) {
            continue;
        }
        let metadata = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        if !metadata.is_file() || is_held(id(&metadata)) {
            continue;
        }
        let changed = metadata.modified().ok().and_then(millis);
        if wanted.since.is_none_or(|since| changed.is_none_or(|changed| changed >= since)) {
            found.extend(Found::rotated(&path)?);
        } else if wanted.older {
            found.extend(Found::rotated(&path).ok().flatten());
        }
    }
    found.sort_by(|one, other| (one.changed, &one.path).cmp(&(other.changed, &other.path)));
    Ok(found)
}

fn is_packed(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(PACKED)
}

/// Whether a name is that of the log with a number or a date behind it, packed or not.
pub(super) fn is_rotated(log: &OsStr, name: &OsStr) -> bool {
    let Some(rest) = name.as_encoded_bytes().strip_prefix(log.as_encoded_bytes()) else { return false };
    let rest = rest.strip_suffix(PACKED).unwrap_or(rest);
    matches!(rest, [b'.' | b'-' | b'_', digits @ ..] if !digits.is_empty()
        && digits.iter().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.')))
}
