//! The fields of a header, as they came or as somebody pasted them.

use super::{MAX_FIELDS, MAX_HEADER_BYTES};
use crate::sources::auth_results::MAX_FIELD_BYTES;

/// The longest name of a field that is one, in bytes.
const MAX_NAME_BYTES: usize = 76;

/// One field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name, in lower case.
    pub name: String,
    /// Its value, unfolded: each fold is one blank.
    pub value: String,
}

/// The fields of a header, from the top.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    /// The fields.
    pub fields: Vec<Field>,
    /// Whether something stands behind the header.
    pub has_body: bool,
    /// Whether there was more than is read.
    pub cut: bool,
}

impl Header {
    /// Reads a header up to its first blank line. A line that is neither a field nor folded goes on with the field before it: folds
    /// lose their blanks where people paste.
    #[must_use]
    pub fn read(raw: &[u8]) -> Self {
        let raw = raw.trim_ascii_start();
        let mut header = Self { cut: raw.len() > MAX_HEADER_BYTES, ..Self::default() };
        let text = String::from_utf8_lossy(raw.get(..MAX_HEADER_BYTES).unwrap_or(raw));
        let mut rest = &*text;
        while !rest.is_empty() {
            let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
            rest = after;
            let line = line.trim_end_matches('\r');
            if line.trim().is_empty() {
                if header.fields.is_empty() {
                    continue;
                }
                // What stands behind the header means that the header itself is whole.
                header.has_body = !rest.trim().is_empty();
                header.cut &= !header.has_body;
                break;
            }
            match field(line) {
                Some((name, value)) if header.fields.len() < MAX_FIELDS => header.fields.push(Field {
                    name: name.to_ascii_lowercase(),
                    value: within(value.trim(), MAX_FIELD_BYTES).to_owned(),
                }),
                Some(_) => {
                    header.cut = true;
                    break;
                }
                None => header.fold(line.trim()),
            }
        }
        header
    }

    fn fold(&mut self, line: &str) {
        let Some(field) = self.fields.last_mut() else { return };
        if field.value.len() + line.len() < MAX_FIELD_BYTES {
            if !field.value.is_empty() {
                field.value.push(' ');
            }
            field.value.push_str(line);
        }
    }

    /// The values of all fields of a name that are not empty, from the top.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let of_name = self.fields.iter().filter(move |field| field.name == name && !field.value.is_empty());
        of_name.map(|field| field.value.as_str())
    }

    /// Names and values, from the top.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|field| (field.name.as_str(), field.value.as_str()))
    }
}

/// A line that begins a field, as its name and what stands behind the colon.
pub(super) fn field(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':')?;
    let name = name.trim_end();
    let ok = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    (!name.is_empty() && name.len() <= MAX_NAME_BYTES && name.bytes().all(ok)).then_some((name, value))
}

/// As much of a text as these bytes hold.
pub(super) fn within(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}
