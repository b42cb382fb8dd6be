//! A file as a stream of unpacked bytes, with what it begins with at hand.

use std::{
    fs::File,
    io::{self, Cursor, Read, Seek, SeekFrom},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use flate2::read::MultiGzDecoder;

use super::live::Live;

/// How much of a file is looked at to tell what it is.
pub const HEAD_BYTES: usize = 64 * 1024;
/// What gzip begins with (RFC 1952, section 2.3.1).
pub const GZIP: [u8; 2] = [0x1f, 0x8b];
/// UTF-8's byte order mark.
const BOM: &[u8] = b"\xef\xbb\xbf";
/// How much of a file names it, and how much before a place shows that nothing before it has changed.
pub const WITNESS_BYTES: u64 = 4 * 1024;

/// Counts the bytes that pass.
struct Counting<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// An error that waits until what came before it is read.
struct Failing(Option<io::Error>);

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// An open file, unpacked.
pub struct Source {
    head: Vec<u8>,
    rest: Box<dyn Read + Send>,
    read: Arc<AtomicU64>,
    packed: bool,
    begins_at: u64,
    /// Set where somebody has ended what is still being written.
    stopped: Option<Arc<AtomicBool>>,
}

impl Source {
    /// Of any stream.
    ///
    /// # Errors
    /// Where nothing of it can be read.
    pub fn of(input: Box<dyn Read + Send>) -> io::Result<Self> {
        let read = Arc::new(AtomicU64::new(0));
        let mut input = Counting { inner: input, read: Arc::clone(&read) };
        let mut magic = Vec::with_capacity(2);
        (&mut input).take(2).read_to_end(&mut magic)?;
        let packed = magic == GZIP;
        let whole = Cursor::new(magic).chain(input);
        let mut rest: Box<dyn Read + Send> = if packed {
            Box::new(MultiGzDecoder::new(io::BufReader::with_capacity(HEAD_BYTES, whole)))
        } else {
            Box::new(whole)
        };
        let mut head = Vec::new();
        // What unpacks is read before it is said that the rest does not.
        if let Err(error) = (&mut rest).take(HEAD_BYTES as u64).read_to_end(&mut head) {
            rest = Box::new(Failing(Some(error)));
        }
        let mut begins_at = 0;
        if head.starts_with(BOM) {
            head.drain(..BOM.len());
            begins_at = BOM.len() as u64;
        }
        Ok(Self { head, rest, read, packed, begins_at, stopped: None })
    }

    /// Of lines that are still being written, of which nothing is read before somebody asks.
    #[must_use]
    pub fn live(input: Live) -> Self {
        let read = Arc::new(AtomicU64::new(0));
        let stopped = Some(input.stopped());
        let rest = Box::new(Counting { inner: input, read: Arc::clone(&read) });
        Self { head: Vec::new(), rest, read, packed: false, begins_at: 0, stopped }
    }

    /// Whether the reading was ended in the middle, where that can be.
    pub(super) fn stopped(&self) -> Option<Arc<AtomicBool>> {
        self.stopped.clone()
    }

    /// What it begins with, up to [`HEAD_BYTES`].
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Whether it was packed by gzip.
    #[must_use]
    pub const fn is_packed(&self) -> bool {
        self.packed
    }

    /// Counts the bytes that are read of the file, as it lies on the disk.
    #[must_use]
    pub fn meter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.read)
    }

    /// The stream from a place on, and that place; the start where none is given.
    ///
    /// # Errors
    /// Where it can't be read up to there.
    pub(super) fn from(self, offset: u64) -> io::Result<(Box<dyn Read + Send>, u64)> {
        let begins_at = self.begins_at;
        let mut whole = Cursor::new(self.head).chain(self.rest);
        let Some(skip) = offset.checked_sub(begins_at).filter(|skip| *skip > 0) else {
            return Ok((Box::new(whole), begins_at));
        };
        let skipped = io::copy(&mut (&mut whole).take(skip), &mut io::sink())?;
        if skipped < skip {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter than it was"));
        }
        Ok((Box::new(whole), offset))
    }
}

/// What tells one file from another, and from what it was before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The first [`WITNESS_BYTES`] of it, as it lies on the disk.
    pub head: Vec<u8>,
    /// Its length in bytes.
    pub size: u64,
    /// When it was last changed, in milliseconds since the epoch.
    pub changed_at: i64,
    /// Its number on its device.
    pub inode: u64,
}

impl Identity {
    /// Of a file.
    ///
    /// # Errors
    /// Where it can't be read.
    pub fn of(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let mut head = Vec::new();
        file.take(WITNESS_BYTES).read_to_end(&mut head)?;
        Ok(Self {
            head,
            size: metadata.len(),
            changed_at: metadata.mtime().saturating_mul(1_000).saturating_add(metadata.mtime_nsec() / 1_000_000),
            inode: metadata.ino(),
        })
    }
}

/// The last bytes before a place, [`WITNESS_BYTES`] at most, as the file has them on the disk.
///
/// # Errors
/// Where it can't be read, or ends before.
pub fn before(path: &Path, offset: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let from = offset.saturating_sub(WITNESS_BYTES);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = vec![0; usize::try_from(offset - from).unwrap_or(0)];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(plain).expect("packed");
        encoder.finish().expect("packed")
    }

    fn source(bytes: &[u8]) -> Source {
        Source::of(Box::new(Cursor::new(bytes.to_vec()))).expect("a source")
    }

    #[test]
    fn packed_and_plain_are_the_same_stream_from_any_place() {
        let plain: Vec<u8> = (0..200_000_u32).map(|n| u8::try_from(n % 251).expect("a byte")).collect();
        for bytes in [plain.clone(), gzip(&plain), [gzip(&plain[..100_000]), gzip(&plain[100_000..])].concat()] {
            for offset in [0, 1, 65_536, 150_000] {
                let one = source(&bytes);
                assert_eq!(one.head(), &plain[..HEAD_BYTES]);
                let (mut rest, at) = one.from(offset).expect("there");
                let mut read = Vec::new();
                rest.read_to_end(&mut read).expect("reads");
                assert!(at == offset && read == plain[usize::try_from(offset).expect("small")..], "from {offset}");
            }
            assert!(source(&bytes).from(200_001).is_err(), "it has no such place");
        }
    }

    #[test]
    fn what_unpacks_comes_before_the_error() {
        let plain = vec![b'x'; 300_000];
        let mut broken = gzip(&plain);
        broken.truncate(broken.len() - 12);
        let mut read = Vec::new();
        let (mut rest, _) = source(&broken).from(0).expect("begins");
        assert!(rest.read_to_end(&mut read).is_err());
        assert!(!read.is_empty(), "what unpacked");
    }
}
