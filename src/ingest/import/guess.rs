//! What a file is, by what it begins with. Names and extensions say nothing: people rename files.

use super::{Format, avro, json};
use crate::ingest::http::braze::PREFIX;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Objects of JSON, one a line.
    JsonLines,
    /// Objects of JSON in any layout: arrays, over several lines, or without anything between them.
    Json,
    /// Comma-separated, with a header.
    Csv,
    /// An object container file of Avro.
    Avro,
    /// Mails one after the other.
    Mbox,
    /// One mail.
    Mail,
    /// Lines of a log.
    Log,
}

impl Shape {
    /// In words for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::JsonLines => "JSON lines",
            Self::Json => "JSON",
            Self::Csv => "CSV",
            Self::Avro => "Avro",
            Self::Mbox => "mbox",
            Self::Mail => "a single mail",
            Self::Log => "a log",
        }
    }
}

/// Who wrote a file, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// Who wrote it.
    pub format: Format,
    /// How.
    pub shape: Shape,
}

/// Why nobody can tell what a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// Text of two bytes a character.
    #[error("it is UTF-16; convert it: iconv -f UTF-16 -t UTF-8")]
    Utf16,
    /// No text, and no Avro.
    #[error("it is neither text nor Avro, nor packed by gzip; unpack it first if it is an archive")]
    Binary,
    /// JSON, CSV or text of somebody else.
    #[error("nothing in it tells which provider wrote it; say so by --from, if it is one of these: {}", names())]
    Foreign,
    /// SendGrid's download of the Email Activity Feed: without event ids, it can't be told from what the webhook brings.
    #[error(
        "it is SendGrid's Email Activity download, which has neither the ids of events nor whole replies, and is not read; take \
         what the Event Webhook posts"
    )]
    EmailActivity,
    /// It is written in another way than the format that was asked for.
    #[error("it is {found}, and there are no such files of {asked}")]
    Other {
        /// What it is.
        found: &'static str,
        /// What was asked for.
        asked: Format,
    },
}

fn names() -> String {
    Format::ALL.iter().map(|format| format.as_str()).collect::<Vec<_>>().join(", ")
}

/// Tells what a file is by its first bytes, up to [`super::source::HEAD_BYTES`]; `from` is what the operator says.
///
/// # Errors
/// Why it can't be told, or is no file of `from`.
pub fn guess(head: &[u8], from: Option<Format>) -> Result<Form, Unknown> {
    if head.trim_ascii().is_empty() {
        return Err(Unknown::Empty);
    }
    if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
        return Err(Unknown::Utf16);
    }
    if head.starts_with(&avro::MAGIC) {
        return of(Shape::Avro, from.unwrap_or(Format::Braze));
    }
    if head.contains(&0) {
        return Err(Unknown::Binary);
    }
    let first = head.trim_ascii_start().first().copied().unwrap_or_default();
    if matches!(first, b'{' | b'[') {
        let shape = if json::is_lines(head) { Shape::JsonLines } else { Shape::Json };
        let format = match from {
            Some(format) => format,
            None => json::first_objects(head, shape).find_map(|object| by_keys(&object)).ok_or(Unknown::Foreign)?,
        };
        // systemd's journal, as `journalctl --output json` writes it: lines of the log like any others.
        let shape = if format == Format::Postfix && shape == Shape::JsonLines { Shape::Log } else { shape };
        return of(shape, format);
    }
    let lines: Vec<&[u8]> = head.split(|byte| *byte == b'\n').take(50).collect();
    let begin = lines.first().copied().unwrap_or_default();
    if begin.starts_with(b"From ") && lines.get(1).is_some_and(|line| is_header(line)) {
        return of(Shape::Mbox, from.unwrap_or(Format::Mail));
    }
    if is_mail(&lines) {
        return of(Shape::Mail, from.unwrap_or(Format::Mail));
    }
    if from == Some(Format::Postfix) || lines.iter().any(|line| is_postfix(line)) {
        return of(Shape::Log, from.unwrap_or(Format::Postfix));
    }
    if begin.contains(&b',') {
        if is_email_activity(begin) {
            return Err(Unknown::EmailActivity);
        }
        let format = from.or_else(|| by_columns(begin)).ok_or(Unknown::Foreign)?;
        return of(Shape::Csv, format);
    }
    match from {
        // A first line that is broken does not make the others so.
        Some(format) if !matches!(format, Format::Mail | Format::Postfix) && head.contains(&b'{') => {
            of(Shape::JsonLines, format)
        }
        _ => Err(Unknown::Foreign),
    }
}

fn of(shape: Shape, format: Format) -> Result<Form, Unknown> {
    let fits = match format {
        Format::Mail => matches!(shape, Shape::Mbox | Shape::Mail),
        Format::Postfix => shape == Shape::Log,
        Format::Braze => matches!(shape, Shape::JsonLines | Shape::Json | Shape::Csv | Shape::Avro),
        _ => matches!(shape, Shape::JsonLines | Shape::Json | Shape::Csv),
    };
    if fits { Ok(Form { format, shape }) } else { Err(Unknown::Other { found: shape.as_str(), asked: format }) }
}

type Object = serde_json::Map<String, serde_json::Value>;

/// By the members of an object; those of a batch are looked for one level deeper.
fn by_keys(object: &Object) -> Option<Format> {
    let has = |key: &str| object.contains_key(key);
    let text = |key: &str| object.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
    if has("eventType") || has("notificationType") || text("source") == "aws.ses" {
        return Some(Format::Ses);
    }
    if has("__REALTIME_TIMESTAMP") && has("MESSAGE") && text("SYSLOG_IDENTIFIER").contains("postfix") {
        return Some(Format::Postfix);
    }
    if text("Type") == "Notification" && has("Message") && text("Message").contains("\"mail\"") {
        return Some(Format::Ses);
    }
    if has("msys") || ((has("rcpt_to") || has("raw_rcpt_to")) && has("type")) {
        return Some(Format::Sparkpost);
    }
    if has("sg_event_id") || has("sg_message_id") {
        return Some(Format::Sendgrid);
    }
    if has("event-data")
        || (has("recipient") && has("event") && ["log-level", "delivery-status", "message"].into_iter().any(has))
    {
        return Some(Format::Mailgun);
    }
    if text("event_type").starts_with(PREFIX) || text("event").starts_with(PREFIX) {
        return Some(Format::Braze);
    }
    if has("email_address")
        && ["dispatch_id", "send_id", "external_user_id", "message_variation_id"].into_iter().any(has)
    {
        return Some(Format::Braze);
    }
    let inner =
        ["events", "results", "items"].into_iter().find_map(|key| object.get(key)?.as_array()?.first()?.as_object());
    inner.and_then(by_keys)
}

/// The names of columns, in lower case.
fn columns(header: &[u8]) -> Vec<String> {
    let header = String::from_utf8_lossy(header);
    header.split(',').map(|name| name.trim().trim_matches('"').to_ascii_lowercase()).collect()
}

/// Whether columns are those of SendGrid's Email Activity download (SendGrid, "Email Activity Feed API", "Request CSV": `processed`,
/// `message_id`, `event`, `api_key_id`, `recv_message_id`, …; recalled).
fn is_email_activity(header: &[u8]) -> bool {
    let names = columns(header);
    ["processed", "message_id", "event", "recv_message_id"].iter().all(|wanted| names.iter().any(|name| name == wanted))
}

/// By the names of columns.
fn by_columns(header: &[u8]) -> Option<Format> {
    let names = columns(header);
    let has = |name: &str| names.iter().any(|known| known == name);
    if has("sg_event_id") || has("sg_message_id") {
        Some(Format::Sendgrid)
    } else if has("rcpt_to") || has("raw_rcpt_to") {
        Some(Format::Sparkpost)
    } else if has("email_address") && has("time") {
        Some(Format::Braze)
    } else if has("recipient") && has("event") && has("timestamp") {
        Some(Format::Mailgun)
    } else {
        None
    }
}

/// Whether a line can be one of a mail's header (RFC 5322, section 2.2).
fn is_header(line: &[u8]) -> bool {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return false };
    colon > 0 && line.iter().take(colon).all(u8::is_ascii_graphic)
}

/// Whether these lines begin a mail: two headers of those that mails have, before the first that is none.
fn is_mail(lines: &[&[u8]]) -> bool {
    const KNOWN: [&[u8]; 9] = [
        b"return-path",
        b"received",
        b"from",
        b"to",
        b"subject",
        b"date",
        b"message-id",
        b"delivered-to",
        b"mime-version",
    ];
    let header = lines
        .iter()
        .take_while(|line| is_header(line) || line.first().is_some_and(|byte| matches!(byte, b' ' | b'\t')));
    let name = |line: &[u8]| line.split(|byte| *byte == b':').next().unwrap_or_default().to_ascii_lowercase();
    header.filter(|line| KNOWN.contains(&name(line).as_slice())).count() >= 2
}

/// Whether a line is one of Postfix's: `… postfix/smtp[1234]: …`; instances have other names after `postfix`.
fn is_postfix(line: &[u8]) -> bool {
    let at = line.windows(8).position(|part| part == b"postfix/" || part == b"postfix-");
    at.and_then(|at| line.get(at..)).is_some_and(|rest| {
        let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
        rest.get(..end).is_some_and(|tag| tag.ends_with(b"]:"))
    })
}
