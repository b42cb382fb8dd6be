//! The rows of a file of accounts, one at a time, with bounds on what a hostile file can ask for.

use std::{
    cell::Cell,
    io::{self, BufRead, Read},
    rc::Rc,
};

use serde::Deserialize;
use serde_json::Value;

use crate::{
    config::{is_team_id, nearest_word},
    control::Account,
    ingest::plausible,
    model::{Address, Timestamp},
};

/// The longest row.
const MAX_ROW: u64 = 64 * 1024;
/// The longest team, app and `sub`, in bytes.
const MAX_ID: usize = 255;
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
    is_private_email: Option<Value>,
    /// What no account has.
    #[serde(flatten)]
    others: serde_json::Map<String, Value>,
}

/// What a row holds, or what is wrong with it; never a value of it.
type Row = Result<Account, String>;

/// The rows.
pub(super) enum Rows<'a> {
    Csv(Box<Csv<'a>>),
    Lines(Lines<'a>),
}

impl<'a> Rows<'a> {
    /// Of a CSV file. Columns that no account has are an error unless they are to be left out.
    pub(super) fn csv(input: Box<dyn Read + 'a>, leave_out_unknown: bool) -> anyhow::Result<Self> {
        Ok(Self::Csv(Box::new(Csv::new(input, leave_out_unknown)?)))
    }

    /// Of a file with one JSON object a line. Fields that no account has break their row unless they are to be left out.
    pub(super) fn lines(input: Box<dyn BufRead + 'a>, leave_out_unknown: bool) -> Self {
        Self::Lines(Lines { input, number: 0, leave_out_unknown })
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
    /// Where each of [`COLUMNS`] stands.
    columns: [Option<usize>; 6],
    width: usize,
    record: csv::ByteRecord,
}

/// The names of the columns.
const COLUMNS: [&str; 6] = ["team", "app", "sub", "email", "signed_up_at", "is_private_email"];

/// What to say of a column or field that no account has.
fn unknown(what: &str, name: &str) -> String {
    // Longer names are no typing mistakes, and what they hold is a stranger's.
    let name: String = name.chars().take(64).collect();
    let meant = nearest_word(&name, COLUMNS).map(|meant| format!("did you mean {meant:?}? ")).unwrap_or_default();
    format!(
        "no account has the {what} {name:?}; {meant}There are {}; leave it out, or give --ignore-unknown",
        COLUMNS.join(", ")
    )
}

impl<'a> Csv<'a> {
    fn new(input: Box<dyn Read + 'a>, leave_out_unknown: bool) -> anyhow::Result<Self> {
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
                    "the first line is no header with the column {column:?}; it should be {} with commas between",
                    COLUMNS.join(",")
                );
            }
            if names.iter().filter(|name| name == column).count() > 1 {
                anyhow::bail!("the header has the column {column:?} twice");
            }
        }
        if let Some(name) = names.iter().find(|name| !leave_out_unknown && !COLUMNS.contains(&name.as_str())) {
            anyhow::bail!("line 1: {}", unknown("column", name));
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
        let [team, app, sub, email, signed_up_at, is_private_email] = self.columns;
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
            is_private_email: field(is_private_email, "is_private_email")?.map(Value::String),
            others: serde_json::Map::new(),
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
    leave_out_unknown: bool,
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
            let leave_out = self.leave_out_unknown;
            let known = raw.and_then(|raw: Raw| match raw.others.keys().next() {
                Some(name) if !leave_out => Err(unknown("field", name)),
                _ => Ok(raw),
            });
            return Ok(Some((self.number, known)));
        }
    }
}

/// Checks a row.
fn account(raw: Raw, now: Timestamp) -> Row {
    let email = text(raw.email, "email", usize::MAX)?;
    if let Some(email) = &email {
        Address::parse(email).map_err(|error| format!("email: {error}"))?;
    }
    let team = text(raw.team, "team", MAX_ID)?.ok_or("team is missing")?;
    if !is_team_id(&team) {
        return Err(
            "team is no team id: that has ten capital letters and digits, and stands on the membership page of \
                    the developer account"
                .to_owned(),
        );
    }
    Ok(Account {
        team,
        app: text(raw.app, "app", MAX_ID)?,
        sub: text(raw.sub, "sub", MAX_ID)?.ok_or("sub is missing")?,
        email,
        signed_up_at: raw.signed_up_at.map(|value| time(&value, now)).transpose()?.flatten(),
        private: raw.is_private_email.map(|value| flag(&value)).transpose()?.flatten(),
    })
}

/// `true` or `false`, as Apple and as databases write it; nothing where it is empty.
fn flag(value: &Value) -> Result<Option<bool>, String> {
    let found = match value {
        Value::Null => return Ok(None),
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => match number.as_i64() {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        },
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "" => return Ok(None),
            "true" | "t" | "1" | "yes" => Some(true),
            "false" | "f" | "0" | "no" => Some(false),
            _ => None,
        },
        _ => None,
    };
    found.map(Some).ok_or_else(|| "is_private_email is neither true nor false".to_owned())
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
                .or_else(|| Timestamp::from_date(text))
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
mod tests;
