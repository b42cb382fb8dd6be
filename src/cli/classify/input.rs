//! What the command reads: texts, and JSON objects with what is known beside them.

use std::io::{self, BufRead};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{classify::begins_with_role, model::MAX_REPLY_BYTES};

/// The longest line that is read; what comes after is skipped. JSON may escape a reply to several times its length.
pub(super) const MAX_LINE_BYTES: usize = 16 * MAX_REPLY_BYTES;

/// One reply with what is known beside it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    #[serde(default)]
    pub(super) id: Option<Box<RawValue>>,
    pub(super) text: String,
    #[serde(default)]
    pub(super) recipient: Option<String>,
    #[serde(default)]
    pub(super) sender: Option<String>,
    #[serde(default)]
    pub(super) provider: Option<String>,
    #[serde(default)]
    pub(super) mx: Option<String>,
    #[serde(default)]
    pub(super) code: Option<Code>,
    #[serde(default)]
    pub(super) enhanced: Option<String>,
    #[serde(default)]
    pub(super) label: Option<String>,
}

impl Input {
    /// A reply of which nothing is known but its text.
    pub(super) fn bare(text: &str) -> Self {
        Self {
            id: None,
            text: text.to_owned(),
            recipient: None,
            sender: None,
            provider: None,
            mx: None,
            code: None,
            enhanced: None,
            label: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Code {
    Number(u16),
    Text(String),
}

/// Reads one line, at most [`MAX_LINE_BYTES`] of it; false at the end of the input.
pub(super) fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let mut any = false;
    loop {
        let buffer = match input.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if buffer.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = memchr::memchr(b'\n', buffer);
        let part = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or_default();
        let room = MAX_LINE_BYTES.saturating_sub(line.len());
        line.extend_from_slice(part.get(..room.min(part.len())).unwrap_or_default());
        let used = end.map_or(buffer.len(), |end| end + 1);
        input.consume(used);
        if end.is_some() {
            return Ok(true);
        }
    }
}

/// Whether a line is meant as JSON: it begins with `{`, and not with a role as templates have them.
pub(super) fn begins_json(text: &str) -> bool {
    text.starts_with('{') && !begins_with_role(text)
}

/// What is wrong with a JSON line, without a word of it.
pub(super) fn explain(error: &serde_json::Error) -> String {
    let column = error.column();
    match error.classify() {
        serde_json::error::Category::Data => {
            let what = match unknown_key(error) {
                Some(key) => format!("no key of a reply is called {key}"),
                None => format!("no reply at column {column}"),
            };
            format!(
                "{what}; write an object with \"text\" and, of recipient, sender, provider, mx, code, enhanced, label and id, \
                 those known"
            )
        }
        serde_json::error::Category::Eof => {
            "the JSON object is cut off; write one whole object on each line".to_owned()
        }
        _ => format!("no JSON at column {column}; write one object on each line, or the reply's text alone"),
    }
}

/// The key that is none, where that is what is wrong: as it stands where it is a plain word, since anything may stand there.
fn unknown_key(error: &serde_json::Error) -> Option<String> {
    let text = error.to_string();
    let (key, _) = text.strip_prefix("unknown field `")?.split_once("`, expected")?;
    let plain = key.len() <= 32 && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ' '));
    Some(if plain { format!("{key:?}") } else { "one of its keys".to_owned() })
}
