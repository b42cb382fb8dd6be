//! One file, from its first record to its last.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    sync::{Arc, atomic::AtomicBool},
};

use serde::Serialize;

use super::{
    Fault, Form, Position, Settings, Shape,
    avro::Container,
    decode::{Decoder, Wrong},
    json::{LineReader, Objects},
    mail::{self, Mbox},
    rows::Rows,
    source::Source,
};
use crate::{
    clock::Clock,
    ingest::{Kept, Report, http::braze::PREFIX, postfix::Joiner},
    model::{Event, EventKind, Timestamp},
};

/// Records that one chunk is made of.
const CHUNK_RECORDS: u64 = 500;
/// Events after which a chunk is handed out: a line can hold a whole delivery.
const CHUNK_EVENTS: usize = 2_000;
/// Faults that one chunk tells one by one; the others are counted.
const CHUNK_FAULTS: usize = 50;
/// Bytes of reports kept whole after which a chunk is handed out.
const CHUNK_KEPT_BYTES: usize = 2 * 1024 * 1024;
/// Types that are counted one by one; those after them are [`OTHER_TYPES`].
const MAX_TYPES: usize = 50;
/// The name of all the types for which there is no room.
const OTHER_TYPES: &str = "(others)";

/// After so long without a change a file is not in the middle of a line.
const SETTLED_MILLIS: i64 = 10_000;

/// What became of records.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Records that were read.
    pub records: u64,
    /// Outcomes that they hold.
    pub outcomes: u64,
    /// Of them, sends.
    pub sent: u64,
    /// Of them, deliveries.
    pub delivered: u64,
    /// Of them, deferrals.
    pub deferred: u64,
    /// Of them, refusals.
    pub refused: u64,
    /// Of them, complaints.
    pub complained: u64,
    /// Of them, mails that the provider did not send, since it has suppressed the address.
    pub suppressed: u64,
    /// Of them, requests to be sent no more.
    pub unsubscribed: u64,
    /// Reports that are kept whole: DMARC's, and Apple's about the relay.
    pub kept: u64,
    /// Events of which relaywatch makes nothing: opens, clicks.
    pub ignored: u64,
    /// Events of a type that this version does not know. Nothing is wrong with them.
    pub unknown: u64,
    /// Of them, how many of each type, by the provider's own word.
    pub unknown_types: BTreeMap<String, u64>,
    /// Events whose time cannot be.
    pub implausible: u64,
    /// Records, or parts of them, that make no sense.
    pub broken: u64,
}

impl Counts {
    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.outcomes += other.outcomes;
        self.sent += other.sent;
        self.delivered += other.delivered;
        self.deferred += other.deferred;
        self.refused += other.refused;
        self.complained += other.complained;
        self.suppressed += other.suppressed;
        self.unsubscribed += other.unsubscribed;
        self.kept += other.kept;
        self.ignored += other.ignored;
        self.unknown += other.unknown;
        for (word, count) in &other.unknown_types {
            self.count_type(word, *count);
        }
        self.implausible += other.implausible;
        self.broken += other.broken;
    }

    /// How many outcomes and parts of records were no good.
    #[must_use]
    pub const fn wrong(&self) -> u64 {
        self.implausible + self.broken
    }

    /// Counts events of a type that this version does not know.
    pub(super) fn meet_unknown(&mut self, word: &str) {
        self.unknown += 1;
        self.count_type(word, 1);
    }

    fn count_type(&mut self, word: &str, count: u64) {
        let full = self.unknown_types.len() >= MAX_TYPES && !self.unknown_types.contains_key(word);
        *self.unknown_types.entry(if full { OTHER_TYPES } else { word }.to_owned()).or_default() += count;
    }

    pub(super) const fn meet(&mut self, event: &Event) {
        self.outcomes += 1;
        match event.kind {
            EventKind::Sent => self.sent += 1,
            EventKind::Delivered => self.delivered += 1,
            EventKind::Deferred => self.deferred += 1,
            EventKind::Refused => self.refused += 1,
            EventKind::Complained => self.complained += 1,
            EventKind::SuppressedByProvider => self.suppressed += 1,
            EventKind::Unsubscribed => self.unsubscribed += 1,
        }
    }
}

/// What some hundreds of records hold.
#[derive(Debug, Default)]
pub struct Chunk {
    /// Their outcomes.
    pub events: Vec<Event>,
    /// Reports that are kept whole.
    pub kept: Vec<Kept>,
    /// What became of the records.
    pub counts: Counts,
    /// Some of those that are none, in the order of the file.
    pub faults: Vec<Fault>,
    /// How much of what was wrong lies in a record that is read again where reading goes on: the file ended within it.
    pub again: u64,
    /// Whether the file ends in half a line of a log, which was left for the next time.
    pub half: bool,
    /// Up to where the file is done with this chunk.
    pub position: Position,
    /// Whether nothing more is there just now, of lines that are still being written.
    pub paused: bool,
}

/// Why a file can't be read on.
#[derive(Debug, thiserror::Error)]
#[error("it can't be read on: {0}")]
pub struct ReadError(#[from] io::Error);

/// How records come.
enum Records {
    Lines(LineReader<Box<dyn Read + Send>>),
    Objects(Objects<Box<dyn Read + Send>>),
    Rows(Box<Rows>),
    Avro(Box<Container>),
    Mbox(Mbox),
    Mail(Option<Box<dyn Read + Send>>),
    Log(LineReader<Box<dyn Read + Send>>, Box<Joiner>),
}

/// Reads one file.
pub struct Reader {
    /// Made when the first record is asked for, since that reads.
    source: Option<(Source, Position)>,
    records: Option<Records>,
    form: Form,
    decoder: Decoder,
    now: Timestamp,
    position: Position,
    /// Records so far, also those that reading would give again if it went on from `position`.
    number: u64,
    strict: bool,
    failed: Option<io::Error>,
    ended: bool,
    /// Of lines that are still being written: set when somebody has ended that.
    stopped: Option<Arc<AtomicBool>>,
}

impl Reader {
    /// Of a source, in this form, from a place on that was told before.
    #[must_use]
    pub fn new(source: Source, form: Form, settings: Settings, now: Timestamp, from: Position) -> Self {
        let decoder = Decoder::new(form.format, settings, now);
        let stopped = source.stopped();
        Self {
            source: Some((source, from)),
            records: None,
            form,
            decoder,
            now,
            position: from,
            number: from.records,
            strict: false,
            failed: None,
            ended: false,
            stopped,
        }
    }

    /// The same reader, which ends with the first record of which something is wrong.
    #[must_use]
    pub fn strict(self, strict: bool) -> Self {
        Self { strict, ..self }
    }

    /// Whether reading of such a file can go on in the middle.
    #[must_use]
    pub const fn goes_on(form: Form) -> bool {
        // The outcomes of a log need what earlier lines told of the mails that are still in the queue; a single mail is one record.
        !matches!(form.shape, Shape::Log | Shape::Mail)
    }

    fn open(&mut self) -> io::Result<()> {
        let Some((source, from)) = self.source.take() else { return Ok(()) };
        let cut = |source: Source| -> io::Result<_> {
            let (input, offset) = source.from(from.offset)?;
            Ok((input, Position { offset, ..from }))
        };
        self.records = Some(match self.form.shape {
            Shape::JsonLines => {
                let (input, at) = cut(source)?;
                Records::Lines(LineReader::new(input, at))
            }
            Shape::Json => {
                let (input, at) = cut(source)?;
                Records::Objects(Objects::new(input, at))
            }
            Shape::Csv => {
                let (input, began) = source.from(0)?;
                let mut rows = Rows::new(input, began)?;
                // The header tells what the rows are, so that these are passed over one by one.
                while rows.position().records < from.records && rows.next()?.is_some() {}
                Records::Rows(Box::new(rows))
            }
            Shape::Avro => {
                let (input, _) = source.from(0)?;
                let file = Container::new(input, from)?;
                if let Some(name) = file.name().and_then(event_type) {
                    self.decoder.set_event_type(name);
                }
                Records::Avro(Box::new(file))
            }
            Shape::Mbox => {
                let (input, at) = cut(source)?;
                Records::Mbox(Mbox::new(input, at))
            }
            Shape::Mail => Records::Mail(Some(source.from(0)?.0)),
            Shape::Log => {
                let (input, at) = cut(source)?;
                Records::Log(LineReader::new(input, at), Box::new(self.decoder.joiner()))
            }
        });
        Ok(())
    }

    /// The next chunk; nothing at the end.
    ///
    /// # Errors
    /// Where the file can't be read on; what came before was given.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>, ReadError> {
        if let Some(error) = self.failed.take() {
            self.ended = true;
            return Err(error.into());
        }
        if self.ended {
            return Ok(None);
        }
        let mut chunk = Chunk::default();
        let done = self.open().and_then(|()| self.fill(&mut chunk));
        chunk.position = self.position;
        match done {
            Ok(more) => self.ended = !more,
            Err(error) if self.stopped.is_some() && error.kind() == io::ErrorKind::WouldBlock => {
                chunk.paused = true;
                return Ok(Some(chunk));
            }
            Err(error) if chunk.counts.records == 0 => {
                self.ended = true;
                return Err(error.into());
            }
            Err(error) => self.failed = Some(error),
        }
        Ok((chunk.counts.records > 0 || !self.ended || !chunk.events.is_empty() || chunk.half).then_some(chunk))
    }

    /// Fills a chunk; tells whether there may be more.
    fn fill(&mut self, chunk: &mut Chunk) -> io::Result<bool> {
        let Self { records, decoder, now, position, number, strict, stopped, .. } = self;
        let Some(records) = records.as_mut() else { return Ok(false) };
        let mut kept_bytes = 0;
        while chunk.counts.records < CHUNK_RECORDS && chunk.events.len() < CHUNK_EVENTS && kept_bytes < CHUNK_KEPT_BYTES
        {
            let (wrong, kept) = (chunk.counts.wrong(), chunk.kept.len());
            // What a file that is still written ends in is read again when there is more of it.
            let mut unfinished = false;
            let (line, done) = match records {
                Records::Lines(lines) => {
                    let Some(piece) = lines.next()? else { break };
                    unfinished = piece.last;
                    let done = piece.body.map_err(Wrong::from).and_then(|body| decoder.decode(body, chunk));
                    (Some(piece.line), done)
                }
                Records::Objects(objects) => {
                    let Some(piece) = objects.next()? else { break };
                    unfinished = piece.last;
                    let done = piece.body.map_err(Wrong::from).and_then(|body| decoder.decode(body, chunk));
                    (Some(piece.line), done)
                }
                Records::Rows(rows) => {
                    let Some((line, row)) = rows.next()? else { break };
                    let done = row.map_err(Wrong::from).and_then(|row| decoder.decode(&row, chunk));
                    (Some(line), done)
                }
                Records::Avro(file) => {
                    let Some(datum) = file.next()? else { break };
                    (None, decoder.decode(datum.to_string().as_bytes(), chunk))
                }
                Records::Mbox(mbox) => {
                    let Some((line, mail)) = mbox.next()? else { break };
                    let report = mail.map(|mail| mail::understand(&mail, *now)).map_err(Wrong::from);
                    (Some(line), report.and_then(|report| Decoder::take(report, chunk)))
                }
                Records::Mail(input) => {
                    let Some(input) = input.take() else { break };
                    let report = mail::whole(input)?.map(|mail| mail::understand(&mail, *now)).map_err(Wrong::from);
                    (None, report.and_then(|report| Decoder::take(report, chunk)))
                }
                Records::Log(lines, log) => {
                    let mut report = Report::default();
                    let Some(piece) = lines.next()? else { break };
                    // Half a line would be another event than the whole one: in a pipe what has no end is cut off, whoever ended it, and
                    // a file that was just written to may hold the rest soon.
                    let written_at = decoder.written_at().map(|at| now.millis_since(at));
                    let is_live = stopped.is_some() || written_at.is_some_and(|ago| ago.abs() < SETTLED_MILLIS);
                    if piece.last && is_live {
                        chunk.half = true;
                        break;
                    }
                    let (line, body) = (piece.line, piece.body.map_err(Wrong::from));
                    // What is followed for months has the time of each line's coming.
                    let written = if stopped.is_some() { Clock::System.now() } else { decoder.written_by() };
                    let done = body.and_then(|body| {
                        log.line(body, written, &mut report);
                        Decoder::take(report, chunk)
                    });
                    (Some(line), done)
                }
            };
            kept_bytes += chunk.kept.iter().skip(kept).map(Kept::bytes).sum::<usize>();
            let Chunk { counts, faults, .. } = &mut *chunk;
            counts.records += 1;
            *number += 1;
            let reached = match records {
                Records::Lines(lines) | Records::Log(lines, _) => lines.position(),
                Records::Objects(objects) => objects.position(),
                Records::Rows(rows) => rows.position(),
                Records::Avro(file) => file.position(),
                Records::Mbox(mbox) => mbox.position(),
                Records::Mail(_) => Position { records: *number, ..*position },
            };
            if done.is_ok() || !unfinished {
                *position = reached;
            }
            if let Err(Wrong { reason, counted }) = done {
                counts.broken += u64::from(!counted);
                if faults.len() < CHUNK_FAULTS {
                    faults.push(Fault { line, record: *number, reason });
                }
                if unfinished {
                    chunk.again = chunk.counts.wrong() - wrong;
                }
                if *strict {
                    return Ok(false);
                }
            }
        }
        Ok(chunk.counts.records >= CHUNK_RECORDS
            || chunk.events.len() >= CHUNK_EVENTS
            || kept_bytes >= CHUNK_KEPT_BYTES)
    }
}

/// The type of Braze's events that a name of records tells, whatever the case of its last part.
fn event_type(name: &str) -> Option<String> {
    let known = name.find(PREFIX).and_then(|at| name.get(at..));
    known.map(str::to_owned)
}
