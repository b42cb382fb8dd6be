//! The rows of a file of accounts, one at a time, with bounds on what a hostile file can ask for.

use std::{
    cell::Cell,
    io::{self, BufRead, Read},
    rc::Rc,
};

use serde::Deserialize;
use serde_json::Value;

use crate::{
    control::Account,
    ingest::plausible,
    model::{Address, Timestamp},
};

/// The longest row.
const MAX_ROW: u64 = 64 * 1024;
/// The longest team, app and `sub`, in bytes.
const MAX_NAME: usize = 255;
/// Numbers from here on are milliseconds: as seconds it would be the year 5138.
const MILLISECONDS: i64 = 100_000_000_000;

/// A row as written.
#[derive(Deserialize, Default)]
struct Raw {
    team: Option<String>,
    app: Option<String>,
    sub: Option<String>,
    email: Option<String>,
    signed_up_at: Option<Value>,
}

/// What a row holds, or what is wrong with it; never a value of it.
type Row = Result<Account, String>;

/// The rows.
pub(super) enum Rows<'a> {
    Csv(Box<Csv<'a>>),
    Lines(Lines<'a>),
}

impl<'a> Rows<'a> {
    /// Of a CSV file.
    pub(super) fn csv(input: Box<dyn Read + 'a>) -> anyhow::Result<Self> {
        Ok(Self::Csv(Box::new(Csv::new(input)?)))
    }

    /// Of a file with one JSON object a line.
    pub(super) fn lines(input: Box<dyn BufRead + 'a>) -> Self {
        Self::Lines(Lines { input, number: 0 })
    }

    /// The next row with its line; `None` at the end.
    pub(super) fn next(&mut self, now: Timestamp) -> anyhow::Result<Option<(u64, Row)>> {
        let next = match self {
            Self::Csv(csv) => csv.next()?,
            Self::Lines(lines) => lines.next()?,
        };
        Ok(next.map(|(line, raw)| (line, raw.and_then(|raw| account(raw, now)))))
    }
}

/// Ends reading in a row that is too long, such as one with a quote that is never closed.
struct Bounded<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left.get() == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the row is too long"));
        }
        let read = self.inner.read(buffer)?;
        self.left.set(self.left.get().saturating_sub(read as u64));
        Ok(read)
    }
}

/// A CSV file.
pub(super) struct Csv<'a> {
    reader: csv::Reader<Bounded<Box<dyn Read + 'a>>>,
    left: Rc<Cell<u64>>,
    /// Where team, app, sub, email and signed_up_at stand.
    columns: [Option<usize>; 5],
    width: usize,
    record: csv::ByteRecord,
}

/// The names of the columns.
const COLUMNS: [&str; 5] = ["team", "app", "sub", "email", "signed_up_at"];

impl<'a> Csv<'a> {
    fn new(input: Box<dyn Read + 'a>) -> anyhow::Result<Self> {
        let left = Rc::new(Cell::new(MAX_ROW));
        let mut reader = csv::ReaderBuilder::new()
            .flexible(true)
            .trim(csv::Trim::All)
            .buffer_capacity(16 * 1024)
            .from_reader(Bounded { inner: input, left: Rc::clone(&left) });
        let header = reader.byte_headers().map_err(|error| broken(&error, 1))?;
        let names: Vec<String> = header.iter().map(|name| String::from_utf8_lossy(name).to_lowercase()).collect();
        let width = names.len();
        let columns = COLUMNS.map(|column| names.iter().position(|name| name == column));
        for (column, place) in COLUMNS.iter().zip(columns) {
            if place.is_none() && matches!(*column, "team" | "sub") {
                anyhow::bail!(
                    "the first line is no header with the column {column:?}; it should be team,app,sub,email,signed_up_at \
                     with commas between"
                );
            }
            if names.iter().filter(|name| name == column).count() > 1 {
                anyhow::bail!("the header has the column {column:?} twice");
            }
        }
        Ok(Self { reader, left, columns, width, record: csv::ByteRecord::new() })
    }

    fn next(&mut self) -> anyhow::Result<Option<(u64, Result<Raw, String>)>> {
        self.left.set(MAX_ROW);
        let line = self.reader.position().line();
        if !self.reader.read_byte_record(&mut self.record).map_err(|error| broken(&error, line))? {
            return Ok(None);
        }
        let line = self.record.position().map_or(line, csv::Position::line);
        Ok(Some((line, self.raw())))
    }

    fn raw(&self) -> Result<Raw, String> {
        if self.record.len() != self.width {
            return Err(format!("it has {} fields and the header has {}", self.record.len(), self.width));
        }
        let [team, app, sub, email, signed_up_at] = self.columns;
        let field = |place: Option<usize>, name: &str| {
            let Some(bytes) = place.and_then(|place| self.record.get(place)) else { return Ok(None) };
            let text = std::str::from_utf8(bytes).map_err(|_| format!("{name} is no UTF-8"))?;
            Ok::<_, String>(Some(text.to_owned()).filter(|text| !text.is_empty()))
        };
        Ok(Raw {
            team: field(team, "team")?,
            app: field(app, "app")?,
            sub: field(sub, "sub")?,
            email: field(email, "email")?,
            signed_up_at: field(signed_up_at, "signed_up_at")?.map(Value::String),
        })
    }
}

fn broken(error: &csv::Error, line: u64) -> anyhow::Error {
    match error.kind() {
        csv::ErrorKind::Io(error) if error.kind() == io::ErrorKind::InvalidData => anyhow::anyhow!(
            "line {line}: the row is longer than {} KiB; is a quote not closed? The rows before it are imported",
            MAX_ROW / 1024
        ),
        csv::ErrorKind::Io(error) => anyhow::anyhow!("line {line}: the file can't be read on: {error}"),
        _ => anyhow::anyhow!("line {line}: this is no CSV"),
    }
}

/// A file with one JSON object a line.
pub(super) struct Lines<'a> {
    input: Box<dyn BufRead + 'a>,
    number: u64,
}

impl Lines<'_> {
    fn next(&mut self) -> anyhow::Result<Option<(u64, Result<Raw, String>)>> {
        loop {
            let mut line = Vec::new();
            let read = (&mut self.input).take(MAX_ROW).read_until(b'\n', &mut line)?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            if read as u64 == MAX_ROW && line.last() != Some(&b'\n') {
                self.input.skip_until(b'\n')?;
                return Ok(Some((self.number, Err(format!("the line is longer than {} KiB", MAX_ROW / 1024)))));
            }
            let text = line.strip_prefix(b"\xef\xbb\xbf").filter(|_| self.number == 1).unwrap_or(&line);
            if text.trim_ascii().is_empty() {
                continue;
            }
            let raw = serde_json::from_slice(text).map_err(|error| {
                // serde's own words could quote a value.
                format!("it is no JSON object with texts for team, app, sub and email (column {})", error.column())
            });
            return Ok(Some((self.number, raw)));
        }
    }
}

/// Checks a row.
fn account(raw: Raw, now: Timestamp) -> Row {
    let email = text(raw.email, "email", usize::MAX)?;
    if let Some(email) = &email {
        Address::parse(email).map_err(|error| format!("email: {error}"))?;
    }
    Ok(Account {
        team: text(raw.team, "team", MAX_NAME)?.ok_or("team is missing")?,
        app: text(raw.app, "app", MAX_NAME)?,
        sub: text(raw.sub, "sub", MAX_NAME)?.ok_or("sub is missing")?,
        email,
        signed_up_at: raw.signed_up_at.map(|value| time(&value, now)).transpose()?.flatten(),
    })
}

fn text(value: Option<String>, name: &str, limit: usize) -> Result<Option<String>, String> {
    let Some(value) = value.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    if value.len() > limit {
        return Err(format!("{name} is longer than {limit} bytes"));
    }
    if value.chars().any(char::is_control) {
        return Err(format!("{name} holds a control character"));
    }
    Ok(Some(value))
}

/// RFC 3339, a date, or seconds or milliseconds since 1970; nothing where it is empty.
fn time(value: &Value, now: Timestamp) -> Result<Option<Timestamp>, String> {
    let number = |number: i64| {
        if number.abs() < MILLISECONDS { Timestamp::from_seconds(number) } else { Timestamp::from_millis(number) }
    };
    let at = match value {
        Value::Null => return Ok(None),
        Value::String(text) if text.trim().is_empty() => return Ok(None),
        Value::String(text) => {
            let text = text.trim();
            text.parse()
                .ok()
                .map(number)
                .or_else(|| Timestamp::from_rfc3339(text))
                .or_else(|| super::super::time::date(text))
        }
        Value::Number(seconds) => {
            seconds.as_i64().map(number).or_else(|| seconds.as_f64().and_then(Timestamp::from_seconds_f64))
        }
        _ => None,
    };
    let at = at.ok_or("signed_up_at is no time: write RFC 3339 with an offset, a date, or seconds since 1970")?;
    if plausible(at, now) {
        Ok(Some(at))
    } else {
        Err("signed_up_at can't be: it lies before 2010 or in the future".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_780_000_000_000);

    /// Rows as `line: what`, or the error that ended reading.
    fn read(mut rows: Rows<'_>) -> Vec<String> {
        let mut out = Vec::new();
        loop {
            match rows.next(NOW) {
                Ok(None) => return out,
                Ok(Some((line, Ok(account)))) => out.push(format!(
                    "{line}: {} {:?} {} {:?} {:?}",
                    account.team, account.app, account.sub, account.email, account.signed_up_at
                )),
                Ok(Some((line, Err(reason)))) => out.push(format!("{line}: {reason}")),
                Err(error) => {
                    out.push(format!("ended: {error}"));
                    return out;
                }
            }
        }
    }

    fn csv(text: &[u8]) -> Vec<String> {
        match Rows::csv(Box::new(text)) {
            Ok(rows) => read(rows),
            Err(error) => vec![format!("refused: {error}")],
        }
    }

    #[test]
    fn good_and_broken_rows_are_told_apart_with_their_lines() {
        let text = "\u{feff}Team, app ,sub,email,signed_up_at,plan\n\
            T1,com.example,s1,A@privaterelay.appleid.com,2025-03-01T10:00:00+02:00,x\n\
            T1,,s2,,,\n\
            \n\
            T1,\"a\nb\",s3,,,\n\
            T1,,s4,,1740000000,\n\
            T1,,s5,,1740000000123,\n\
            T1,,s6,,2025-03-01,\n\
            T1,,,x@y.example,,\n\
            ,,s7,,,\n\
            T1,,s8,nobody,,\n\
            T1,,s9,,yesterday,\n\
            T1,,s10,,0001-01-01,\n\
            T1,,s11,,9999-12-31T23:59:59Z,\n\
            T1,s12\n\
            T1,,s13,,99999999999999999999,\n";
        insta::assert_snapshot!("csv_rows", csv(text.as_bytes()).join("\n"));
    }

    #[test]
    fn hostile_files_end_soon_and_say_why() {
        assert!(csv(b"")[0].starts_with("refused: the first line is no header"), "{:?}", csv(b""));
        assert!(csv(b"team;app;sub\nT;a;s\n")[0].contains("with commas between"));
        assert!(csv(b"team,sub,sub\n")[0].contains("twice"));
        assert_eq!(csv(b"team,sub\nT,\xff\xfe\nT,s\n"), ["2: sub is no UTF-8", "3: T None s None None"]);
        let mut open_quote = b"team,sub\nT,s\nT,\"".to_vec();
        open_quote.extend(std::iter::repeat_n(b'x', 10_000_000));
        let told = csv(&open_quote);
        assert_eq!(told[0], "2: T None s None None");
        assert!(told[1].starts_with("ended: line 3: the row is longer than 64 KiB"), "{told:?}");
        let long = format!("team,sub\nT,{}\n", "s".repeat(300));
        assert_eq!(csv(long.as_bytes()), ["2: sub is longer than 255 bytes"]);
        assert_eq!(csv(b"team,sub\nT,a\x00b\n"), ["2: sub holds a control character"]);
    }

    #[test]
    fn json_lines_are_read_and_long_ones_skipped() {
        let mut text = br#"{"team":"T","sub":"s1","signed_up_at":1740000000.5,"more":[1]}

{"team":"T","sub":7}
[]
{"team":"T","team":"U","sub":"s"}
{"team":"T","sub":"s2","signed_up_at":9007199254740993000000}
{"team":"T","sub":"s3","email":"#
            .to_vec();
        text.extend(std::iter::repeat_n(b'x', 200_000));
        text.extend_from_slice(b"\n{\"team\":\"T\",\"app\":null,\"sub\":\"s4\",\"signed_up_at\":null}");
        insta::assert_snapshot!("json_rows", read(Rows::lines(Box::new(text.as_slice()))).join("\n"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut file = b"team,app,sub,email,signed_up_at\n".to_vec();
            file.extend_from_slice(&bytes);
            let lines = bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() + 1;
            prop_assert!(csv(&file).len() <= lines);
            prop_assert!(read(Rows::lines(Box::new(bytes.as_slice()))).len() <= lines);
        }
    }
}
