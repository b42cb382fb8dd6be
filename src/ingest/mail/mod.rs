//! What a mail that came in says: a delivery report, an abuse report, an answer by a robot, a DMARC aggregate report, a notification
//! of Apple's. Pure: bytes in, understanding out.
//!
//! Sources: RFC 3464 (delivery status notifications), 3461 (ORCPT, ENVID, xtext), 6522 (multipart/report), 6533 (internationalised
//! reports), 5965 and 6591 (abuse reports), 3834 (auto-replies), 9990 (DMARC aggregate reports). Bounces without any of these are
//! read by a few habits of writing (`notice.rs`), which are observed. The reading of MIME, of charsets and of encoded words is
//! mail-parser's.
//!
//! Nothing in a mail is authenticated: whoever can send one to the listener can claim anything. What becomes of it is bounded in
//! size, count and depth, and hostile mail takes time in proportion to its length.

mod abuse;
mod aggregate;
mod apple;
mod codes;
mod delivery;
mod derived;
mod event;
mod fields;
mod kept;
mod notice;
mod original;
mod parts;
mod robot;
mod ses;
#[cfg(test)]
mod tests;

pub use self::{
    abuse::{AbuseFields, AbuseReport, FeedbackType},
    aggregate::AggregateReport,
    apple::RelayNotification,
    delivery::{DeliveryAction, DeliveryReport, ReadBy, RecipientReport, StatusOrigin},
    derived::derived_status,
    event::{Envelope, breaks_off, by_sender, delivered_to, outcome, recipient_in, report},
    kept::{ReportFile, aggregate, report_file},
    original::Original,
    parts::Attachment,
    robot::{RobotAnswer, RobotKind},
};

/// The largest mail that is read, in bytes.
pub const MAX_MAIL_BYTES: usize = 16 * 1024 * 1024;
/// The most recipients of one report; those after them are left out, and the mail is set aside.
pub const MAX_RECIPIENTS: usize = 1_000;
/// MIME parts that are looked at.
const MAX_PARTS: usize = 200;
/// Fields `Content-Type` up to which a mail is looked at: a report has some four, an aggregate report three.
const MAX_TYPED_PARTS: usize = 50;
/// How much a mail's length times its parts may be, in bytes, since every part may be looked for up to the end: it is cut where it's
/// more, yet never below a megabyte.
const MAX_SEARCHED_BYTES: usize = 64 * 1024 * 1024;
/// How much human text is looked at, in bytes.
const MAX_NOTICE_BYTES: usize = 256 * 1024;
/// Attachments that are kept.
const MAX_ATTACHMENTS: usize = 8;
/// The longest message id, envelope id or report id that is kept.
const MAX_ID_BYTES: usize = 512;
/// The longest host, campaign or file name that is kept.
const MAX_NAME_BYTES: usize = 255;
/// How deep a report may lie in forwarded mails.
const MAX_ENCLOSED: usize = 3;

/// A regular expression of this room, compiled once.
macro_rules! regex {
    ($pattern:expr) => {
        // The pattern is a constant, and every one is used by the tests.
        std::sync::LazyLock::new(|| regex::Regex::new($pattern).expect("a regular expression"))
    };
}
use regex;

/// What a mail says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Understood {
    /// What became of a message: refused, delayed, delivered.
    Delivery(Box<DeliveryReport>),
    /// A complaint.
    Abuse(Box<AbuseReport>),
    /// A DMARC aggregate report, whole.
    Aggregate(Box<AggregateReport>),
    /// Apple's word to the Account Holder about the relay.
    Relay(Box<RelayNotification>),
    /// An answer by a robot: no outcome of the message.
    Robot(Box<RobotAnswer>),
    /// A mail that is none of these.
    Other,
    /// No mail at all, and why not.
    Unreadable(Unreadable),
}

/// Why something is no mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// There is nothing but blanks.
    #[error("it is empty")]
    Empty,
    /// More than [`MAX_MAIL_BYTES`].
    #[error("it is larger than {} MiB", MAX_MAIL_BYTES >> 20)]
    TooLarge,
    /// No field of a header at its start.
    #[error("it has no mail header")]
    NoHeader,
}

impl Understood {
    /// What kind of mail it is, in a word; the same in metrics and in `diagnose`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Delivery(_) => "delivery-report",
            Self::Abuse(_) => "abuse-report",
            Self::Aggregate(_) => "dmarc-aggregate-report",
            Self::Relay(_) => "relay-notification",
            Self::Robot(answer) => answer.kind.as_str(),
            Self::Other => "other",
            Self::Unreadable(_) => "unreadable",
        }
    }
}

/// Says what a mail is and what it tells. Takes the message as it came over SMTP, or from a file: line ends of either kind, an
/// mbox `From ` line before it.
#[must_use]
pub fn understand(raw: &[u8]) -> Understood {
    understand_received(raw, &Receipt::default())
}

/// How a mail was received by whoever has it read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Receipt<'a> {
    /// The reverse path of MAIL FROM, empty where it's null; `None` where nobody knows any more, so that a `Return-Path` field that
    /// stands in the mail counts. Else it counts for nothing: who receives a mail writes that field (RFC 5321 section 4.4).
    pub reverse_path: Option<&'a str>,
    /// The name under which one's own mail server writes `Authentication-Results` (RFC 8601 section 2.5), where one stands before
    /// and takes away those that others wrote in its name.
    pub authserv_id: Option<&'a str>,
}

/// The same of a mail of which it's known how it was received.
#[must_use]
pub fn understand_received(raw: &[u8], receipt: &Receipt<'_>) -> Understood {
    if raw.len() > MAX_MAIL_BYTES {
        return Understood::Unreadable(Unreadable::TooLarge);
    }
    within(raw, receipt, MAX_ENCLOSED)
}

fn within(raw: &[u8], receipt: &Receipt<'_>, depth: usize) -> Understood {
    let raw = without_mbox_line(raw.trim_ascii_start());
    if raw.is_empty() {
        return Understood::Unreadable(Unreadable::Empty);
    }
    let Some(mut mail) = looks_like_header(raw).then(|| parts::take_apart(raw)).flatten() else {
        return Understood::Unreadable(Unreadable::NoHeader);
    };
    if let Some(path) = receipt.reverse_path {
        mail.header.set("return-path", &format!("<{path}>"));
    }
    if let Some(report) = abuse::read(&mail) {
        return Understood::Abuse(Box::new(report));
    }
    let is_report = mail.report_type.as_deref() == Some("delivery-status") || !mail.statuses.is_empty();
    if !is_report {
        if let Some(report) = aggregate::read(&mut mail) {
            return Understood::Aggregate(Box::new(report));
        }
        if let Some(notification) = apple::read(&mail, receipt.authserv_id) {
            return Understood::Relay(Box::new(notification));
        }
        if let Some(report) = ses::read(&mail) {
            return Understood::Delivery(Box::new(report));
        }
    }
    let is_bounce = is_report || is_bounce(&mail);
    if !is_report
        && !mail.header.has("x-failed-recipients")
        && let Some(answer) = robot::read(&mail)
    {
        return Understood::Robot(Box::new(answer));
    }
    if is_bounce && let Some(report) = delivery::read(&mail) {
        return Understood::Delivery(Box::new(report));
    }
    if depth > 0
        && let Some(enclosed) = mail.enclosed.take()
        && let found @ (Understood::Delivery(_) | Understood::Abuse(_)) =
            within(&enclosed, &Receipt::default(), depth - 1)
    {
        return found;
    }
    Understood::Other
}

/// The mails of an mbox file, or the one mail that a file is. A line `From ` after a blank one begins the next.
pub fn mails_of(raw: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(raw);
    let is_mbox = raw.starts_with(b"From ");
    std::iter::from_fn(move || {
        let all = rest.take()?;
        let ends = [&b"\n\nFrom "[..], b"\n\r\nFrom "];
        let next = ends
            .iter()
            .filter_map(|end| memchr::memmem::find(all, end).map(|at| at + end.len() - b"From ".len()))
            .min();
        let Some(next) = next.filter(|_| is_mbox) else { return Some(all) };
        let (mail, after) = all.split_at(next);
        rest = Some(after);
        Some(mail)
    })
}

/// The line that mbox files and some delivery agents put before a message.
fn without_mbox_line(raw: &[u8]) -> &[u8] {
    if raw.starts_with(b"From ") || raw.starts_with(b">From ") {
        let end = memchr::memchr(b'\n', raw).map_or(raw.len(), |at| at + 1);
        return raw.get(end..).unwrap_or_default();
    }
    raw
}

/// Whether the first line is a field of a header.
fn looks_like_header(raw: &[u8]) -> bool {
    let line = raw.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line.get(..200).unwrap_or(line));
    line.split_once(':').is_some_and(|(name, _)| fields::is_name(name))
}

/// Whether a mail that is no formal report can be one: what is meant as such, or has the null return path.
fn is_bounce(mail: &parts::Mail) -> bool {
    let null_path = mail.header.get("return-path").is_some_and(|path| {
        let path = path.to_ascii_lowercase();
        path.trim() == "<>" || path.contains("mailer-daemon")
    });
    mail.header.has("x-failed-recipients") || null_path || is_meant_as_bounce(mail)
}

/// Whether a mail is meant as a bounce, by who sends it and what its subject says. Subjects are observed.
fn is_meant_as_bounce(mail: &parts::Mail) -> bool {
    const SUBJECTS: &[&str] = &[
        "undeliver",
        "returned mail",
        "failure notice",
        "delivery status",
        "delivery failure",
        "delivery failed",
        "delivery has failed",
        "delivery report",
        "delivery notification",
        "mail failure",
        "delivery error",
        "mail delivery",
        "nondeliver",
        "non-deliver",
        "could not be delivered",
        "not delivered",
        "delivery problem",
        "delayed mail",
        "message delayed",
        "delivery delayed",
        "delivery unsuccessful",
        "mail system error",
        "unable to deliver",
        "warning: message",
        "mail could not",
        "error sending your mail",
        "unzustellbar",
        "nicht zugestellt",
        "non remis",
        "no entregado",
        "no se puede entregar",
        "não entregue",
        "non recapitabile",
        "onbestelbaar",
        "недоставлен",
        "не доставлен",
        "配信不能",
    ];
    let subject = mail.subject.to_lowercase();
    let answer = ["re:", "fwd:", "fw:", "aw:", "wg:", "tr:"].iter().any(|mark| subject.trim_start().starts_with(mark));
    robot::from_daemon(mail) || (!answer && SUBJECTS.iter().any(|words| subject.contains(words)))
}
