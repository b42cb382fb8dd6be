//! The parts of a mail that understanding looks at: header, human text, machine-readable reports, returned header, attachments.

use std::sync::LazyLock;

use mail_parser::{
    HeaderName, Message, MessageParser, MessagePart, MimeHeaders, PartType, decoders::html::html_to_text,
};

use super::{
    MAX_ATTACHMENTS, MAX_MAIL_BYTES, MAX_NAME_BYTES, MAX_NOTICE_BYTES, MAX_PARTS, MAX_SEARCHED_BYTES, MAX_TYPED_PARTS,
    fields::{Fields, clean, cut},
};

/// An attachment, untouched but for its transfer encoding.
#[derive(Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Its file name, as the sender gives it: never to be used as a path.
    pub name: Option<String>,
    /// Its media type in lower case.
    pub media_type: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Attachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Attachment({}, {} bytes)", self.media_type, self.bytes.len())
    }
}

/// A mail taken apart.
#[derive(Debug, Default)]
pub(super) struct Mail {
    pub(super) header: Fields,
    /// Decoded (RFC 2047), for the recognition of what kind of mail it is only.
    pub(super) subject: String,
    /// `report-type` of a multipart/report (RFC 6522), in lower case.
    pub(super) report_type: Option<String>,
    /// The human text, before the message that it returns.
    pub(super) notice: String,
    /// The bodies of delivery-status parts.
    pub(super) statuses: Vec<String>,
    /// The body of the feedback-report part.
    pub(super) feedback: Option<String>,
    /// The header of the message that came back.
    pub(super) original: Option<Fields>,
    pub(super) attachments: Vec<Attachment>,
    /// Whether attachments were left out, since there were too many or they were too large.
    pub(super) cut: bool,
    /// The message that came back as a part, where it is whole: a forwarded bounce.
    pub(super) enclosed: Option<Vec<u8>>,
}

/// What every part needs that can hold others.
static NESTING: LazyLock<regex::bytes::Regex> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the pattern is a constant, and every mail needs it")]
    regex::bytes::Regex::new("(?i-u)content-type").expect("a regular expression")
});

/// Of a header only what takes a mail apart is read by mail-parser: its reading of a date that is none goes on beyond the end of a line
/// that ends with LF alone, and the field behind it would be lost.
static PARSER: LazyLock<MessageParser> =
    LazyLock::new(|| MessageParser::new().with_mime_headers().header_text(HeaderName::Subject).default_header_raw());

/// Takes a mail apart. `None` where there is not one field of a header.
pub(super) fn take_apart(raw: &[u8]) -> Option<Mail> {
    // mail-parser keeps messages within messages as deep as they come, and ends the process where the stack ends: what is behind so
    // many parts is left out.
    let mut typed = 0;
    let behind = NESTING.find_iter(raw).inspect(|_| typed += 1).nth(MAX_TYPED_PARTS);
    let bytes = raw.len();
    let raw = behind.and_then(|found| raw.get(..found.start())).unwrap_or(raw);
    // It also looks for each part's boundary up to the end.
    let most = (MAX_SEARCHED_BYTES / typed.max(1)).max(1024 * 1024);
    let raw = raw.get(..most).unwrap_or(raw);
    // Panics of mail-parser on hostile mail were found and mended before (0.11.3, .5, .6); one more must not end the feed. Its debug
    // assertions still hold for no broken multipart.
    let parsed = std::panic::catch_unwind(|| PARSER.parse(raw).map(|message| parts_of(raw, &message)));
    let mut mail = parsed.ok().flatten().unwrap_or_else(|| plain(raw));
    mail.cut |= raw.len() < bytes;
    (!mail.header.is_empty()).then_some(mail)
}

/// Header and text, where there is no taking apart.
fn plain(raw: &[u8]) -> Mail {
    let raw = raw.get(..MAX_NOTICE_BYTES).unwrap_or(raw);
    let text = String::from_utf8_lossy(raw).replace("\r\n", "\n").replace(['\0', '\r'], " ");
    let (header, notice) = text.split_once("\n\n").unwrap_or((&text, ""));
    let header = Fields::read(header);
    let subject = clean(header.get("subject").unwrap_or_default(), 1_000);
    Mail { header, subject, notice: notice.to_owned(), ..Mail::default() }
}

fn parts_of(raw: &[u8], message: &Message<'_>) -> Mail {
    let report_type = message.content_type().and_then(|kind| kind.attribute("report-type"));
    let mut mail = Mail {
        header: Fields::from_pairs(message.headers_raw()),
        subject: clean(message.subject().unwrap_or_default(), 1_000),
        report_type: report_type.map(|word| word.trim().to_ascii_lowercase()),
        ..Mail::default()
    };
    let mut html = String::new();
    for part in message.parts.iter().take(MAX_PARTS) {
        take(&mut mail, &mut html, part);
    }
    if mail.notice.trim().is_empty() && !html.is_empty() {
        mail.notice = html_to_text(&html);
    }
    if mail.notice.trim().is_empty() && mail.statuses.is_empty() && mail.feedback.is_none() {
        // A multipart whose boundaries are missing has no parts at all: its text is what follows the header.
        let body = message.parts.first().and_then(|root| raw.get(root.offset_body as usize..)).unwrap_or_default();
        let body = body.get(..MAX_NOTICE_BYTES).unwrap_or(body);
        mail.notice = String::from_utf8_lossy(body).into_owned();
    }
    mail.notice = mail.notice.replace("\r\n", "\n").replace(['\0', '\r'], " ");
    mail
}

fn media_type_of(kind: &str, subtype: Option<&str>) -> String {
    clean(&format!("{kind}/{}", subtype.unwrap_or("plain")).to_ascii_lowercase(), MAX_NAME_BYTES)
}

fn take(mail: &mut Mail, html: &mut String, part: &MessagePart<'_>) {
    let media_type = part.content_type().map(|kind| media_type_of(kind.ctype(), kind.subtype()));
    let media_type = media_type.as_deref().unwrap_or("text/plain");
    match media_type {
        "message/delivery-status" | "message/global-delivery-status" => {
            if let Some(text) = text_of(part) {
                mail.statuses.push(text);
            }
            return;
        }
        "message/feedback-report" => {
            mail.feedback = mail.feedback.take().or_else(|| text_of(part));
            return;
        }
        "text/rfc822-headers" | "text/rfc822-header" | "message/rfc822-headers" | "message/global-headers" => {
            if let Some(text) = text_of(part).filter(|_| mail.original.is_none()) {
                mail.original = Some(Fields::read(text.trim_start_matches(['\r', '\n'])));
            }
            return;
        }
        _ => {}
    }
    match &part.body {
        PartType::Message(enclosed) => {
            if mail.original.is_none() {
                mail.original = Some(Fields::from_pairs(enclosed.headers_raw()));
                mail.enclosed = enclosed_bytes(enclosed);
            }
        }
        PartType::Text(text) if media_type.starts_with("text/") && media_type != "text/xml" => {
            let room = MAX_NOTICE_BYTES.saturating_sub(mail.notice.len());
            mail.notice.push_str(cut(text, room));
            mail.notice.push('\n');
        }
        PartType::Html(text) if html.is_empty() => cut(text, MAX_NOTICE_BYTES).clone_into(html),
        PartType::Text(text) => attach(mail, part, media_type, text.as_bytes()),
        PartType::Binary(bytes) | PartType::InlineBinary(bytes) => attach(mail, part, media_type, bytes),
        PartType::Html(_) | PartType::Multipart(_) => {}
    }
}

fn attach(mail: &mut Mail, part: &MessagePart<'_>, media_type: &str, bytes: &[u8]) {
    let held: usize = mail.attachments.iter().map(|attachment| attachment.bytes.len()).sum();
    if mail.attachments.len() == MAX_ATTACHMENTS || held + bytes.len() > MAX_MAIL_BYTES {
        mail.cut = true;
        return;
    }
    mail.attachments.push(Attachment {
        name: part.attachment_name().map(|name| clean(name, MAX_NAME_BYTES)),
        media_type: media_type.to_owned(),
        bytes: bytes.to_vec(),
    });
}

/// The text of a part, of whatever type the parser takes it for.
fn text_of(part: &MessagePart<'_>) -> Option<String> {
    let text = match &part.body {
        PartType::Text(text) | PartType::Html(text) => text.clone().into_owned(),
        PartType::Binary(bytes) | PartType::InlineBinary(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        PartType::Message(message) => String::from_utf8_lossy(message.raw_message()).into_owned(),
        PartType::Multipart(_) => return None,
    };
    Some(text.replace("\r\n", "\n").replace(['\0', '\r'], " "))
}

/// A message within the mail, as it came.
fn enclosed_bytes(enclosed: &Message<'_>) -> Option<Vec<u8>> {
    let root = enclosed.parts.first()?;
    let (from, to) = (root.offset_header as usize, root.offset_end as usize);
    enclosed.raw_message().get(from..to).filter(|bytes| bytes.len() <= MAX_NOTICE_BYTES).map(<[u8]>::to_vec)
}
