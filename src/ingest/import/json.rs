//! Cutting JSON into records, whatever the layout, and going on after what is broken.
//!
//! One object a line is cut at line ends, so that a broken one costs its line alone. Everything else is cut where braces close:
//! elements of an array, the array in `{"events": […]}`, `{"results": […]}` and `{"items": […]}`, objects over several lines, and
//! objects without anything between them, as Firehose writes them. After what does not end, reading goes on at the next line.

use std::io::{self, Read};

use serde_json::Value;

use super::{MAX_RECORD_BYTES, Position};

/// How much is read at a time.
const STEP: usize = 64 * 1024;
/// Records that do not end, after which a file is given up: each costs as much as the longest record.
const MAX_LOST: u32 = 100;
/// Arrays and batches within each other that are told apart.
const MAX_HOLDERS: usize = 8;
/// What a batch begins with whose elements are the records; blanks are left out.
const BATCHES: [&[u8]; 3] = [b"{\"events\":", b"{\"results\":", b"{\"items\":"];

/// Why a record is none.
pub(super) const TOO_LONG: &str = "it is longer than 2 MiB";
const NO_JSON: &str = "it is no JSON";
const UNENDED: &str = "it is no JSON that ends";

/// A record with the line that it begins on, or why it is none.
pub(super) type Numbered = (u64, Result<Vec<u8>, &'static str>);

/// One record as it came, or why it is none.
pub(super) struct Piece<'a> {
    /// The line that it begins on, from 1 on.
    pub(super) line: u64,
    /// Whether the file ends in it: what is broken then may only be unfinished.
    pub(super) last: bool,
    pub(super) body: Result<&'a [u8], &'static str>,
}

/// A part of a stream that slides along.
struct Window<R> {
    input: R,
    data: Vec<u8>,
    start: usize,
    at: Position,
    ended: bool,
}

impl<R: Read> Window<R> {
    fn rest(&self) -> &[u8] {
        self.data.get(self.start..).unwrap_or_default()
    }

    /// Reads more; tells whether there was any.
    fn fill(&mut self) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        if self.start > 0 {
            self.data.drain(..self.start);
            self.start = 0;
        }
        let known = self.data.len();
        self.data.resize(known + STEP, 0);
        let read = loop {
            match self.input.read(self.data.get_mut(known..).unwrap_or_default()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.data.truncate(known + *read.as_ref().unwrap_or(&0));
        self.ended = read? == 0;
        Ok(!self.ended)
    }

    /// Passes over so many bytes.
    fn pass(&mut self, bytes: usize) {
        let end = (self.start + bytes).min(self.data.len());
        let passed = self.data.get(self.start..end).unwrap_or_default();
        self.at.lines += memchr::memchr_iter(b'\n', passed).count() as u64;
        self.at.offset += passed.len() as u64;
        self.start = end;
    }

    /// Passes over the rest of the line, its end included.
    fn pass_line(&mut self) -> io::Result<()> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', self.rest()) {
                self.pass(end + 1);
                return Ok(());
            }
            self.pass(self.rest().len());
            if !self.fill()? {
                return Ok(());
            }
        }
    }
}

/// The lines of a stream, blank ones left out.
pub(super) struct LineReader<R> {
    window: Window<R>,
    done: Position,
    /// The line that is too long and not passed over to its end, where there was nothing more just then.
    within: Option<u64>,
}

impl<R: Read> LineReader<R> {
    pub(super) fn new(input: R, at: Position) -> Self {
        Self { window: Window { input, data: Vec::new(), start: 0, at, ended: false }, done: at, within: None }
    }

    /// Up to where everything was given out.
    pub(super) const fn position(&self) -> Position {
        self.done
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Piece<'_>>> {
        if let Some(line) = self.within {
            return self.pass_long(line);
        }
        let mut looked = 0;
        loop {
            let rest = self.window.rest();
            let end = memchr::memchr(b'\n', rest.get(looked..).unwrap_or_default()).map(|at| looked + at);
            looked = rest.len();
            let (length, whole) = match end {
                Some(end) => (end, end + 1),
                None if looked > MAX_RECORD_BYTES => {
                    let line = self.window.at.lines + 1;
                    return self.pass_long(line);
                }
                None if self.window.fill()? => continue,
                None if looked == 0 => return Ok(None),
                None => (looked, looked),
            };
            looked = 0;
            let line = self.window.at.lines + 1;
            let from = self.window.start;
            self.window.pass(whole);
            let text = self.window.data.get(from..from + length).unwrap_or_default();
            if text.trim_ascii().is_empty() {
                self.done.offset = self.window.at.offset;
                self.done.lines = self.window.at.lines;
                continue;
            }
            if length > MAX_RECORD_BYTES {
                return Ok(Some(self.given(line, Err(TOO_LONG))));
            }
            let (offset, lines) = (self.window.at.offset, self.window.at.lines);
            self.done = Position { offset, lines, records: self.done.records + 1, within: 0 };
            let body = self.window.data.get(from..from + length).unwrap_or_default();
            return Ok(Some(Piece { line, last: whole == length, body: Ok(body) }));
        }
    }

    /// Passes over the rest of a line that is too long; where its end has not come, at the next call.
    fn pass_long(&mut self, line: u64) -> io::Result<Option<Piece<'_>>> {
        self.within = Some(line);
        self.window.pass_line()?;
        self.within = None;
        Ok(Some(self.given(line, Err(TOO_LONG))))
    }

    fn given(&mut self, line: u64, body: Result<&'static [u8], &'static str>) -> Piece<'static> {
        let at = self.window.at;
        self.done = Position { offset: at.offset, lines: at.lines, records: self.done.records + 1, within: 0 };
        Piece { line, last: false, body }
    }
}

/// What holds the records.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// An array.
    Array,
    /// The object around the array of a batch.
    Batch,
}

/// How a search for the end of a record ended.
enum Found {
    /// It ends here, this byte included.
    End(usize),
    /// It is the beginning of a batch, whose array begins here.
    Batch(usize),
    /// It does not end in what is there.
    More,
    /// It cannot end: a line ends within a text.
    Never,
}

/// Where a search for an end stands, so that it can go on when more is there.
#[derive(Default)]
struct Scan {
    at: usize,
    depth: usize,
    in_text: bool,
    escaped: bool,
}

impl Scan {
    /// Goes on; `bytes` begin where the record does.
    fn on(&mut self, bytes: &[u8], is_record: bool) -> Found {
        while let Some(&byte) = bytes.get(self.at) {
            self.at += 1;
            if self.in_text {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_text = false,
                    b'\n' => return Found::Never,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_text = true,
                b'[' if is_record && self.depth == 1 && is_batch(bytes.get(..self.at - 1).unwrap_or_default()) => {
                    return Found::Batch(self.at);
                }
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Found::End(self.at);
                    }
                }
                _ => {}
            }
        }
        Found::More
    }
}

fn is_batch(begin: &[u8]) -> bool {
    if begin.len() > 64 {
        return false;
    }
    let begin: Vec<u8> = begin.iter().filter(|byte| !byte.is_ascii_whitespace()).copied().collect();
    BATCHES.contains(&begin.as_slice())
}

/// The objects of a stream.
pub(super) struct Objects<R> {
    window: Window<R>,
    holders: Vec<Holder>,
    lost: u32,
    records: u64,
    done: Position,
}

impl<R: Read> Objects<R> {
    pub(super) fn new(input: R, at: Position) -> Self {
        let window = Window { input, data: Vec::new(), start: 0, at, ended: false };
        Self { window, holders: Vec::new(), lost: 0, records: at.records, done: at }
    }

    /// Up to where everything was given out, and from where reading can go on: within a batch, where it begins.
    pub(super) const fn position(&self) -> Position {
        self.done
    }

    fn note(&mut self) {
        if !self.holders.contains(&Holder::Batch) {
            let at = self.window.at;
            self.done = Position { offset: at.offset, lines: at.lines, records: self.records, within: 0 };
        }
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Piece<'_>>> {
        loop {
            let Some(&byte) = self.window.rest().first() else {
                if self.window.fill()? {
                    continue;
                }
                self.note();
                return Ok(None);
            };
            match byte {
                b'{' => {
                    let line = self.window.at.lines + 1;
                    let Some(found) = self.record()? else { continue };
                    let body = found.map(|(from, to)| self.window.data.get(from..to).unwrap_or_default());
                    let last = body.is_err() && self.window.ended && self.window.rest().is_empty();
                    return Ok(Some(Piece { line, last, body }));
                }
                b'[' => {
                    self.window.pass(1);
                    // A place in an array of arrays is a place in an array.
                    if self.holders.last() != Some(&Holder::Array) {
                        self.holders.push(Holder::Array);
                    }
                }
                b']' => {
                    self.window.pass(1);
                    if self.holders.pop() == Some(Holder::Array) && self.holders.last() == Some(&Holder::Batch) {
                        self.end_batch()?;
                    }
                }
                b',' | b'}' => self.window.pass(1),
                byte if byte.is_ascii_whitespace() => self.window.pass(1),
                _ => {
                    let line = self.window.at.lines + 1;
                    let end = memchr::memchr3(b'\n', b'{', b'[', self.window.rest());
                    match end {
                        Some(end) => self.window.pass(end),
                        None => self.window.pass_line()?,
                    }
                    return Ok(Some(self.broken(line, NO_JSON)));
                }
            }
        }
    }

    /// Passes over the object that begins here, and gives where it lies; nothing where it is the beginning of a batch.
    fn record(&mut self) -> io::Result<Option<Result<(usize, usize), &'static str>>> {
        let mut scan = Scan::default();
        loop {
            match scan.on(self.window.rest(), self.holders.len() < MAX_HOLDERS) {
                Found::End(length) => {
                    let from = self.window.start;
                    self.window.pass(length);
                    self.records += 1;
                    self.note();
                    return Ok(Some(if length > MAX_RECORD_BYTES { Err(TOO_LONG) } else { Ok((from, from + length)) }));
                }
                Found::Batch(length) => {
                    self.note();
                    self.window.pass(length);
                    self.holders.extend([Holder::Batch, Holder::Array]);
                    return Ok(None);
                }
                Found::More if self.window.rest().len() <= MAX_RECORD_BYTES && self.window.fill()? => {}
                Found::More | Found::Never => {
                    self.lost += 1;
                    if self.lost > MAX_LOST {
                        let text = "more than a hundred records do not end; this is no JSON";
                        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                    }
                    let reason = if self.window.rest().len() > MAX_RECORD_BYTES { TOO_LONG } else { UNENDED };
                    self.window.pass_line()?;
                    self.records += 1;
                    self.note();
                    return Ok(Some(Err(reason)));
                }
            }
        }
    }

    fn broken(&mut self, line: u64, reason: &'static str) -> Piece<'static> {
        self.records += 1;
        self.note();
        Piece { line, last: false, body: Err(reason) }
    }

    /// Passes over what follows the array of a batch: totals, links to other pages.
    fn end_batch(&mut self) -> io::Result<()> {
        let mut scan = Scan { depth: 1, ..Scan::default() };
        loop {
            match scan.on(self.window.rest(), false) {
                Found::End(length) => {
                    self.window.pass(length);
                    break;
                }
                Found::More if self.window.rest().len() <= MAX_RECORD_BYTES && self.window.fill()? => {}
                _ => {
                    self.window.pass_line()?;
                    break;
                }
            }
        }
        self.holders.pop();
        self.note();
        Ok(())
    }
}

/// Whether the first line that holds anything is one or several whole values, so that line ends cut the records.
pub(super) fn is_lines(head: &[u8]) -> bool {
    let mut lines = head.split_inclusive(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let Some(first) = lines.next() else { return false };
    let whole =
        serde_json::Deserializer::from_slice(first).into_iter::<serde::de::IgnoredAny>().all(|value| value.is_ok());
    // One line that holds everything may be longer than any record; one that is broken shows its layout by the next.
    first.ends_with(b"\n")
        && (whole || (first.starts_with(b"{\"") && lines.next().is_some_and(|line| line.starts_with(b"{\""))))
}

/// The first objects of a file.
pub(super) fn first_objects(
    head: &[u8],
    shape: super::Shape,
) -> impl Iterator<Item = serde_json::Map<String, Value>> + '_ {
    let mut found = Vec::new();
    let mut take = |body: &[u8]| {
        for value in serde_json::Deserializer::from_slice(body).into_iter::<Value>().map_while(Result::ok).take(20) {
            match value {
                Value::Object(object) => found.push(object),
                Value::Array(list) => found.extend(list.into_iter().take(20).filter_map(|value| match value {
                    Value::Object(object) => Some(object),
                    _ => None,
                })),
                _ => {}
            }
        }
    };
    if shape == super::Shape::JsonLines {
        let mut lines = LineReader::new(head, Position::default());
        for _ in 0..20 {
            let Ok(Some(piece)) = lines.next() else { break };
            piece.body.map(&mut take).unwrap_or_default();
        }
    } else {
        let mut objects = Objects::new(head, Position::default());
        for _ in 0..20 {
            let Ok(Some(piece)) = objects.next() else { break };
            piece.body.map(&mut take).unwrap_or_default();
        }
    }
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What `Objects` cuts out of a text, and where one could go on after each.
    fn cut(text: &[u8]) -> Vec<(u64, Result<String, &'static str>, u64)> {
        let mut objects = Objects::new(text, Position::default());
        let mut all = Vec::new();
        while let Some(piece) = objects.next().expect("reads") {
            let (line, body) = (piece.line, piece.body.map(|body| String::from_utf8_lossy(body).into_owned()));
            all.push((line, body, objects.position().offset));
        }
        all
    }

    fn bodies(text: &[u8]) -> Vec<Result<String, &'static str>> {
        cut(text).into_iter().map(|(_, body, _)| body).collect()
    }

    /// A pipe that pauses between its pieces.
    struct Pausing(Vec<Option<Vec<u8>>>);

    impl Read for Pausing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some(piece) = self.0.first_mut() else { return Ok(0) };
            let Some(bytes) = piece else {
                self.0.remove(0);
                return Err(io::ErrorKind::WouldBlock.into());
            };
            let read = bytes.len().min(buffer.len());
            buffer[..read].copy_from_slice(&bytes[..read]);
            bytes.drain(..read);
            if bytes.is_empty() {
                self.0.remove(0);
            }
            Ok(read)
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_one_whatever_pauses_it_has() {
        let long = vec![b'x'; MAX_RECORD_BYTES + 1];
        let pieces = vec![Some(long), None, Some(b"the rest of it".to_vec()), None, Some(b"still\nshort\n".to_vec())];
        let mut lines = LineReader::new(Pausing(pieces), Position::default());
        let (mut pauses, mut given) = (0, Vec::new());
        loop {
            match lines.next() {
                Err(_) => pauses += 1,
                Ok(None) => break,
                Ok(Some(piece)) => given.push((piece.line, piece.body.map(<[u8]>::to_vec))),
            }
        }
        assert_eq!((pauses, given), (2, vec![(1, Err(TOO_LONG)), (2, Ok(b"short".to_vec()))]));
    }

    #[test]
    fn every_layout_gives_the_same_objects() {
        let expected = [Ok("{\"a\":\"}]\\\"{\"}".to_owned()), Ok("{\"b\":[{\"c\":1}]}".to_owned())];
        let [one, two] = expected.clone().map(|body: Result<String, &'static str>| body.expect("an object"));
        for text in [
            format!("{one}{two}"),
            format!("{one}\n{two}\n"),
            format!("[{one},{two}]"),
            format!("[\n  {one},\n  {two}\n]\n"),
            format!("[{one}]\n[{two}]"),
            format!("[[{one}],[{two}]]"),
            format!("{{\"events\": [{one},{two}]}}"),
            format!("{{ \"results\" : [{one},{two}], \"total_count\": 2, \"links\": {{\"next\": [1]}} }}"),
            format!("{{\"items\":[{one}],\"paging\":{{\"next\":\"x\"}}}}{{\"items\":[{two}],\"paging\":{{}}}}"),
        ] {
            assert_eq!(bodies(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_broken_costs_itself_alone() {
        let text = b"{\"a\":1}\n{\"b\":\"no end\n{\"c\":1}\nrubbish\n{\"d\":1}";
        let cut = cut(text);
        let seen: Vec<(u64, Result<&str, &str>)> =
            cut.iter().map(|(line, body, _)| (*line, body.as_deref().map_err(|reason| *reason))).collect();
        assert_eq!(
            seen,
            [(1, Ok("{\"a\":1}")), (2, Err(UNENDED)), (3, Ok("{\"c\":1}")), (4, Err(NO_JSON)), (5, Ok("{\"d\":1}"))]
        );
    }

    #[test]
    fn a_line_beyond_all_bounds_is_passed_over() {
        let mut text = vec![b'x'; 3 * MAX_RECORD_BYTES];
        text.extend_from_slice(b"\n{\"a\":1}\n");
        let mut lines = LineReader::new(text.as_slice(), Position::default());
        assert_eq!(lines.next().expect("reads").expect("a piece").body, Err(TOO_LONG));
        assert!(lines.window.data.len() <= MAX_RECORD_BYTES + 2 * STEP, "it is not held");
        let piece = lines.next().expect("reads").expect("a piece");
        assert_eq!((piece.line, piece.body), (2, Ok(b"{\"a\":1}".as_slice())));
        assert!(lines.next().expect("reads").is_none());
    }

    #[test]
    fn objects_without_end_are_given_up() {
        let text = "{\"a\":[\n".repeat(500);
        let mut objects = Objects::new(text.as_bytes(), Position::default());
        let error =
            std::iter::from_fn(|| objects.next().map(|piece| piece.map(|_| ())).transpose()).find_map(Result::err);
        assert!(error.is_some_and(|error| error.to_string().contains("this is no JSON")));
    }

    proptest! {
        /// Going on from any place that was noted gives what had not been given out.
        #[test]
        fn reading_goes_on_where_it_stood(values in prop::collection::vec("[a-z{}\\[\\]\"\\\\]{0,6}", 1..12), layout in 0..4) {
            let objects: Vec<String> = values.iter().map(|text| serde_json::json!({ "v": text }).to_string()).collect();
            let text = match layout {
                0 => objects.join(""),
                1 => objects.join("\n"),
                2 => format!("[{}]", objects.join(", ")),
                _ => format!("[\n{}\n]", objects.join(",\n")),
            };
            let all = cut(text.as_bytes());
            prop_assert_eq!(all.len(), objects.len());
            for (number, (_, _, offset)) in all.iter().enumerate() {
                let rest = &text.as_bytes()[usize::try_from(*offset).expect("small")..];
                let rest: Vec<_> = bodies(rest);
                let expected: Vec<_> = all.iter().skip(number + 1).map(|(_, body, _)| body.clone()).collect();
                prop_assert_eq!(rest, expected);
            }
        }

        #[test]
        fn no_bytes_make_it_panic_or_stand_still(bytes in prop::collection::vec(prop::sample::select(b"{}[]\",:\\\nab1 ".to_vec()), 0..200)) {
            let pieces = cut(&bytes);
            prop_assert!(pieces.len() <= bytes.len());
        }
    }
}
