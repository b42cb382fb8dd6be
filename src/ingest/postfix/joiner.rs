//! From the lines of a log to outcomes: those of one queue id are joined.

use std::net::IpAddr;

use jiff::tz::TimeZone;

use super::{
    attempt::{Attempt, address},
    line::{Line, Read, read},
    open::{Deferred, MOST, Open},
};
use crate::{
    classify::is_within,
    ingest::{KEPT_MILLIS, Report, SetAside, SetAsideReason, label, plausible},
    model::{Address, DedupeMaterial, EnhancedCode, Event, EventKind, FailureClass, Provider, Reply, Timestamp},
};

/// The longest line that is read; Postfix cuts its own at 2,000 bytes.
pub const MAX_LINE_BYTES: usize = 64 * 1024;
/// How much of a line is kept where it is set aside.
const MAX_ASIDE_BYTES: usize = 4 * 1024;
/// The longest message id that is kept.
const MAX_ID_BYTES: usize = 512;
/// The longest host name that is kept.
const MAX_HOST_BYTES: usize = 255;
/// How long after the last line of a queue id another first line belongs to another mail, in milliseconds.
const REUSED_AFTER_MILLIS: i64 = 10_000;

/// Joins lines to outcomes. Lines go in one by one, in whatever order; each outcome comes out with the line that tells it.
#[derive(Debug)]
pub struct Joiner {
    zone: TimeZone,
    smarthosts: Vec<String>,
    open: Open,
    key: String,
}

/// Says of a line that is no outcome what it is.
type Word = &'static str;

impl Joiner {
    /// A joiner that reads civil times in `zone`. What `smarthosts` and the hosts under them take is sent, and not yet delivered.
    #[must_use]
    pub fn new(zone: TimeZone, smarthosts: &[String]) -> Self {
        Self { zone, smarthosts: smarthosts.to_vec(), open: Open::new(MOST), key: String::new() }
    }

    /// One that takes civil times as UTC, and every public host as the receiving side.
    #[must_use]
    pub fn utc() -> Self {
        Self::new(TimeZone::UTC, &[])
    }

    /// How many mails it knows that are still in the queue; bounded.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Takes the next line, with or without its end, and adds to the report what it tells. Years that lines don't tell are the
    /// latest in which they are not more than a day after `reference`.
    pub fn line(&mut self, line: &[u8], reference: Timestamp, report: &mut Report) {
        let line = line.trim_ascii_end();
        if line.is_empty() {
            return;
        }
        if line.len() > MAX_LINE_BYTES {
            report.ignored.push("too-long");
            return;
        }
        // PostgreSQL takes no NUL.
        let text = String::from_utf8_lossy(line).replace('\0', " ");
        match read(&text, reference, &self.zone) {
            Read::Unreadable => report.ignored.push("unreadable"),
            Read::Foreign => report.ignored.push("other-program"),
            Read::Postfix(told) => {
                if let Err(word) = self.told(&told, &text, reference, report) {
                    report.ignored.push(word);
                }
            }
        }
    }

    fn told(&mut self, line: &Line<'_>, whole: &str, reference: Timestamp, report: &mut Report) -> Result<(), Word> {
        let (id, text) = line.text.split_once(": ").filter(|(id, _)| is_queue_id(id)).ok_or("no-mail")?;
        self.key.clear();
        self.key.extend([&*line.host, " ", id]);
        let at = line.at;
        match &*line.program {
            "smtp" | "lmtp" | "error" | "retry" if text.starts_with("to=<") => {
                let made = self.attempt(line, id, text, reference, report);
                if let Err((reason, word)) = made {
                    report.set_aside.push(aside(reason, &word, plausible(at, reference).then_some(at), whole));
                }
                Ok(())
            }
            // What stays on this machine has no receiving side.
            "local" | "virtual" | "pipe" | "discard" if text.starts_with("to=<") => Err("local"),
            "qmgr" | "oqmgr" | "nqmgr" => self.queue(line, id, text, reference, report),
            "smtpd" if text.starts_with("client=") => {
                self.begins(at);
                Err("no-outcome")
            }
            "pickup" if text.starts_with("uid=") => {
                self.begins(at);
                Err("no-outcome")
            }
            "cleanup" => {
                if let Some(id) = text.strip_prefix("message-id=") {
                    self.message_id(id.trim(), at);
                }
                Err("no-outcome")
            }
            _ => Err("no-outcome"),
        }
    }

    /// The first line of a mail. Short queue ids are used again, and the last line of the one before may be lost.
    fn begins(&mut self, at: Timestamp) {
        let again = self.open.last(&self.key).is_none_or(|last| at.millis_since(last) > REUSED_AFTER_MILLIS);
        if again {
            self.open.renew(&self.key, at);
        }
    }

    fn message_id(&mut self, id: &str, at: Timestamp) {
        let id = id.strip_prefix('<').and_then(|id| id.strip_suffix('>')).unwrap_or(id);
        if id.is_empty() || id.len() > MAX_ID_BYTES {
            return;
        }
        let other =
            self.open.get(&self.key, at).and_then(|mail| mail.message_id.as_deref()).is_some_and(|had| had != id);
        if other {
            self.open.renew(&self.key, at);
        }
        if let Some(mail) = self.open.make(&self.key, at) {
            mail.message_id = Some(id.to_owned());
        }
    }

    /// A line of the queue manager: who sends, that it gives up, that the mail is gone.
    fn queue(
        &mut self,
        line: &Line<'_>,
        id: &str,
        text: &str,
        reference: Timestamp,
        report: &mut Report,
    ) -> Result<(), Word> {
        if text == "removed" {
            self.open.remove(&self.key);
            return Err("no-outcome");
        }
        let (sender, rest) = text.strip_prefix("from=").and_then(address).ok_or("no-outcome")?;
        let mail = self.open.make(&self.key, line.at).ok_or("no-outcome")?;
        // One that is no address, such as that of bounces, is none.
        mail.sender = Address::parse(sender).ok();
        let status = rest.strip_prefix(", status=").ok_or("no-outcome")?;
        if !matches!(status.split(',').next(), Some("expired" | "force-expired")) || !plausible(line.at, reference) {
            return Err("no-outcome");
        }
        let given_up = self.open.give_up(&self.key, line.at);
        if given_up.is_empty() {
            return Err("no-outcome");
        }
        for deferred in given_up {
            let Deferred { recipient, sent_at, reply, remote } = deferred;
            let dedupe = dedupe(line, id, &recipient, "expired", "");
            let found = Found {
                kind: EventKind::Refused,
                reply: Some(reply),
                class: FailureClass::Transient,
                verdict: "expired".to_owned(),
            };
            let event = self.event(line, found, recipient, dedupe, sent_at, remote);
            report.events.push(event);
        }
        Ok(())
    }

    /// A line of a delivery agent.
    fn attempt(
        &mut self,
        line: &Line<'_>,
        id: &str,
        text: &str,
        reference: Timestamp,
        report: &mut Report,
    ) -> Result<(), (SetAsideReason, String)> {
        let attempt = Attempt::read(text).map_err(|_| (SetAsideReason::Malformed, "cut".to_owned()))?;
        let wrong = |reason| (reason, attempt.status.to_owned());
        let remote = attempt.remote();
        let found = match attempt.status {
            // Somebody asks whether an address would be taken: no mail was sent.
            "deliverable" | "undeliverable" => {
                report.ignored.push("probe");
                return Ok(());
            }
            "sent" => {
                let Some((host, address)) = remote else {
                    report.ignored.push("local");
                    return Ok(());
                };
                self.sent(&attempt, host, address)
            }
            "bounced" | "expired" => failed(&attempt, line, EventKind::Refused),
            "deferred" | "SOFTBOUNCE" => failed(&attempt, line, EventKind::Deferred),
            _ => return Err(wrong(SetAsideReason::UnknownType)),
        };
        if !plausible(line.at, reference) {
            return Err(wrong(SetAsideReason::ImplausibleTime));
        }
        let recipient = Address::parse(&format!("<{}>", attempt.recipient)).map_err(|_| {
            wrong(if attempt.recipient.is_empty() { SetAsideReason::NoRecipient } else { SetAsideReason::Malformed })
        })?;
        let sent_at = attempt.delay_millis.map(|delay| line.at.plus_millis(-delay));
        let host = remote.map(|(host, _)| host.chars().take(MAX_HOST_BYTES).collect::<String>());
        let dedupe = dedupe(line, id, &recipient, attempt.status, attempt.text);
        if found.kind == EventKind::Deferred {
            let reply = found.reply.clone().unwrap_or_default();
            let deferred = Deferred { recipient: recipient.clone(), sent_at, reply, remote: host.clone() };
            self.open.defer(&self.key, line.at, deferred);
        } else {
            drop(self.open.settle(&self.key, line.at, &recipient));
        }
        let event = self.event(line, found, recipient, dedupe, sent_at, host);
        report.events.push(event);
        Ok(())
    }

    /// What was taken: by the receiving side, or by a host on the way there.
    fn sent(&self, attempt: &Attempt<'_>, host: &str, address: Option<IpAddr>) -> Found {
        let on_the_way = address.is_some_and(is_internal) || self.smarthosts.iter().any(|name| is_within(host, name));
        let kind = if on_the_way { EventKind::Sent } else { EventKind::Delivered };
        Found { kind, reply: Some(Reply::parse(attempt.text)), class: FailureClass::Unknown, verdict: String::new() }
    }

    fn event(
        &mut self,
        line: &Line<'_>,
        found: Found,
        recipient: Address,
        dedupe: DedupeMaterial,
        sent_at: Option<Timestamp>,
        remote_mta: Option<String>,
    ) -> Event {
        let mail = self.open.get(&self.key, line.at).map(|mail| &*mail);
        let envelope_sender = mail.and_then(|mail| mail.sender.clone());
        let message_id = mail.and_then(|mail| mail.message_id.clone());
        Event {
            provider: Provider::Postfix,
            kind: found.kind,
            at: line.at,
            sent_at,
            dedupe,
            // Without its header's, the queue's own: the same in all lines of the mail on this host.
            message_id: Some(message_id.unwrap_or_else(|| self.key.clone())),
            recipient,
            from_domain: None,
            envelope_domain: envelope_sender.as_ref().map(|sender| sender.domain().to_owned()),
            envelope_sender,
            campaign: None,
            reply: found.reply,
            remote_mta,
            provider_verdict: Some(found.verdict).filter(|verdict| !verdict.is_empty()),
            provider_class: found.class,
        }
    }
}

/// The same line is the same outcome, whichever way it comes.
fn dedupe(line: &Line<'_>, id: &str, recipient: &Address, status: &str, text: &str) -> DedupeMaterial {
    let at = line.at.as_seconds().to_string();
    DedupeMaterial::new(Provider::Postfix, &["log", &line.host, id, &recipient.key(), &at, status, text])
}

/// What became of an attempt.
struct Found {
    kind: EventKind,
    reply: Option<Reply>,
    class: FailureClass,
    verdict: String,
}

/// What was refused or put off: by the receiving side with its reply, or by Postfix itself, whose words have no code.
fn failed(attempt: &Attempt<'_>, line: &Line<'_>, kind: EventKind) -> Found {
    let dsn = attempt.dsn.map_or_else(String::new, |code| format!(" {code}"));
    let class = if kind == EventKind::Deferred || attempt.status == "expired" {
        FailureClass::Transient
    } else {
        FailureClass::Unknown
    };
    // What the error agent says is a table's, or what was said to another mail before.
    let said = attempt.said().filter(|_| matches!(&*line.program, "smtp" | "lmtp"));
    let (reply, whose) = match said {
        Some(said) => (Reply::with_codes(said, None, attempt.dsn.filter(|code| is_told(*code))), ""),
        None => (Reply { code: None, enhanced: None, text: Reply::parse(attempt.text).text }, ", own"),
    };
    Found { kind, reply: Some(reply), class, verdict: label(&format!("{}{dsn}{whose}", attempt.status)) }
}

/// Whether an enhanced code can be the receiving side's: X.0.0 is what Postfix puts where a reply has none.
fn is_told(code: EnhancedCode) -> bool {
    (code.subject, code.detail) != (0, 0)
}

/// Whether an address is of a host of one's own: no receiving side on the internet has one (RFC 1918, RFC 4193, RFC 6598).
fn is_internal(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// Whether a word is a queue id: microseconds and inode in upper-case hexadecimal, or the long form (`enable_long_queue_ids`),
/// which has digits and consonants, and a `z` before the inode.
fn is_queue_id(word: &str) -> bool {
    let bytes = word.as_bytes();
    if !(6..=40).contains(&bytes.len()) {
        return false;
    }
    let short = |b: &u8| matches!(b, b'0'..=b'9' | b'A'..=b'F');
    let long =
        |b: &u8| b.is_ascii_alphanumeric() && !matches!(b.to_ascii_lowercase(), b'a' | b'e' | b'i' | b'o' | b'u');
    bytes.iter().all(short) || bytes.iter().all(long) && bytes.get(10..).is_some_and(|tail| tail.contains(&b'z'))
}

/// A line that tells of a delivery and can't be understood.
fn aside(reason: SetAsideReason, word: &str, at: Option<Timestamp>, whole: &str) -> SetAside {
    let body = whole.as_bytes();
    let body = body.get(..MAX_ASIDE_BYTES).unwrap_or(body).to_vec();
    SetAside { provider: Provider::Postfix, reason, label: label(word), at, body, kept_millis: KEPT_MILLIS }
}
