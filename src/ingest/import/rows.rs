//! Rows of CSV as the JSON objects that decoders read: each column is a member by its name, `delivery-status.code` one of a
//! nested object.

use std::{
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Map, Value};

use super::{MAX_RECORD_BYTES, Position, json::Numbered};

/// The most columns that a file may have.
const MAX_COLUMNS: usize = 1_000;

/// Ends reading in a row that is too long, such as one with a quote that is never closed.
struct Bounded<R> {
    inner: R,
    left: Arc<AtomicUsize>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left.load(Ordering::Relaxed) == 0 {
            let text = "a row is longer than 2 MiB; is a quote not closed?";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let read = self.inner.read(buffer)?;
        let left = self.left.load(Ordering::Relaxed);
        self.left.store(left.saturating_sub(read), Ordering::Relaxed);
        Ok(read)
    }
}

/// The rows of a file.
pub(super) struct Rows {
    reader: csv::Reader<Bounded<Box<dyn Read + Send>>>,
    left: Arc<AtomicUsize>,
    columns: Vec<String>,
    record: csv::ByteRecord,
    began: Position,
    done: Position,
}

impl Rows {
    /// Reads the header, which the file begins with.
    pub(super) fn new(input: Box<dyn Read + Send>, began: u64) -> io::Result<Self> {
        let left = Arc::new(AtomicUsize::new(MAX_RECORD_BYTES));
        let mut reader = csv::ReaderBuilder::new()
            .flexible(true)
            .buffer_capacity(64 * 1024)
            .from_reader(Bounded { inner: input, left: Arc::clone(&left) });
        let header = reader.byte_headers().map_err(io_error)?;
        if header.len() > MAX_COLUMNS {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the header has more than a thousand columns"));
        }
        let columns = header.iter().map(|name| String::from_utf8_lossy(name.trim_ascii()).into_owned()).collect();
        let began = Position { offset: began, ..Position::default() };
        Ok(Self { reader, left, columns, record: csv::ByteRecord::new(), began, done: began })
    }

    /// Up to where everything was given out.
    pub(super) const fn position(&self) -> Position {
        self.done
    }

    /// The next row with its line.
    pub(super) fn next(&mut self) -> io::Result<Option<Numbered>> {
        self.left.store(MAX_RECORD_BYTES, Ordering::Relaxed);
        if !self.reader.read_byte_record(&mut self.record).map_err(io_error)? {
            return Ok(None);
        }
        let line = self.record.position().map_or(0, csv::Position::line);
        let at = self.reader.position();
        self.done = Position {
            offset: self.began.offset + at.byte(),
            lines: at.line().saturating_sub(1),
            records: self.done.records + 1,
            within: 0,
        };
        Ok(Some((line, self.object())))
    }

    fn object(&self) -> Result<Vec<u8>, &'static str> {
        if self.record.len() != self.columns.len() {
            return Err("it has another number of fields than the header");
        }
        let mut object = Map::new();
        for (name, field) in self.columns.iter().zip(&self.record) {
            if field.is_empty() {
                continue;
            }
            let text = std::str::from_utf8(field).map_err(|_| "it is not UTF-8")?;
            insert(&mut object, name, value(text));
        }
        serde_json::to_vec(&object).map_err(|_| "it can't be read")
    }
}

/// Lists and objects within a field are what they are; all else is a text, which decoders read numbers from, too.
fn value(text: &str) -> Value {
    let nested = matches!(text.as_bytes().first(), Some(b'[' | b'{'));
    nested.then(|| serde_json::from_str(text).ok()).flatten().unwrap_or_else(|| Value::from(text))
}

/// Puts a value where the dots of its name lead; the whole name stands where they lead nowhere.
fn insert(object: &mut Map<String, Value>, name: &str, value: Value) {
    let Some((first, rest)) = name.split_once('.').filter(|(first, rest)| !first.is_empty() && !rest.is_empty()) else {
        object.insert(name.to_owned(), value);
        return;
    };
    // Names are columns of a header and short: what is nested deeper than decoders look is no harm.
    match object.entry(first).or_insert_with(|| Value::Object(Map::new())) {
        Value::Object(inner) if rest.matches('.').count() < 8 => insert(inner, rest, value),
        _ => {}
    }
}

fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        _ => io::Error::new(io::ErrorKind::InvalidData, "this is no CSV"),
    }
}
