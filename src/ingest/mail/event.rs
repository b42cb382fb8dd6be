//! What a mail says, as events.

use super::{
    AbuseReport, DeliveryAction, DeliveryReport, FeedbackType, RecipientReport, RobotAnswer, RobotKind, Understood,
    delivery::bounded, fields::Fields, kept, without_mbox_line,
};
use crate::{
    ingest::{KEPT_MILLIS, Report, SetAside, SetAsideReason, label, plausible},
    model::{Address, DedupeMaterial, Event, EventKind, FailureClass, Provider, Reply, Timestamp},
};

/// How much of a mail is looked at for its envelope recipient, in bytes.
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// Whether a mail breaks off: it has parts, and their end is missing (RFC 2046 section 5.1.1). What stands before is read all the
/// same.
#[must_use]
pub fn breaks_off(raw: &[u8]) -> bool {
    let raw = without_mbox_line(raw.trim_ascii_start());
    let text = String::from_utf8_lossy(raw.get(..MAX_HEADER_BYTES).unwrap_or(raw)).replace("\r\n", "\n");
    let header = Fields::read(text.split("\n\n").next().unwrap_or_default());
    let Some(kind) = header.get("content-type") else { return false };
    let lower = kind.to_ascii_lowercase();
    let Some(at) = lower.find("boundary=").filter(|_| lower.trim_start().starts_with("multipart/")) else {
        return false;
    };
    let value = kind.get(at + "boundary=".len()..).unwrap_or_default();
    let boundary = match value.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => value.split([';', ' ', '\t']).next(),
    };
    let boundary = boundary.unwrap_or_default();
    !boundary.is_empty() && memchr::memmem::find(raw, format!("--{boundary}--").as_bytes()).is_none()
}

/// How a mail came in.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// The address of RCPT TO: of a bounce the envelope sender of the message that failed, which may carry the recipient (VERP).
    pub rcpt_to: Option<&'a Address>,
    /// When it came, for the judgement whether its times can be.
    pub received_at: Timestamp,
}

/// The label of a mail that is set aside beside its events.
const LEFT_OUT: &str = "more than 1,000 recipients";

/// To whom a mail that lies in a mailbox went, by what delivery agents write before it: Postfix's X-Original-To, which no alias has
/// changed, Exim's Envelope-To, or Delivered-To. They are no standard. The Return-Path is the mail's sender, none of a bounce.
#[must_use]
pub fn delivered_to(raw: &[u8]) -> Option<Address> {
    let raw = without_mbox_line(raw.trim_ascii_start());
    let raw = raw.get(..MAX_HEADER_BYTES).unwrap_or(raw);
    let text = String::from_utf8_lossy(raw).replace("\r\n", "\n");
    let header = Fields::read(text.split("\n\n").next().unwrap_or_default());
    let names = ["x-original-to", "envelope-to", "delivered-to"];
    names.iter().filter_map(|name| header.get(name)).find_map(|value| Address::parse(value.trim()).ok())
}

/// The events of a mail. Robots' answers and mails of none of these kinds are `ignored`, under the word of their kind; aggregate
/// reports and notifications of Apple's are `kept`.
#[must_use]
pub fn report(understood: &Understood, raw: &[u8], envelope: &Envelope<'_>) -> Report {
    let mut report = Report::default();
    let mut aside = |reason, word: &str, at| {
        report.set_aside.push(SetAside {
            provider: Provider::Mail,
            reason,
            label: label(word),
            at,
            body: raw.to_vec(),
            kept_millis: KEPT_MILLIS,
        });
    };
    match understood {
        Understood::Delivery(delivery) => {
            // One mail is set aside once, whatever is wrong with how many of its recipients.
            let (mut events, mut wrong) = (Vec::new(), None);
            for one in &delivery.recipients {
                match delivered(delivery, one, envelope) {
                    Ok(Some(event)) => events.push(event),
                    Ok(None) => {}
                    Err(reason) => wrong = wrong.or(Some(reason)),
                }
            }
            if let Some((reason, at)) = wrong {
                aside(reason, understood.kind(), at);
            } else if delivery.cut {
                aside(SetAsideReason::Malformed, LEFT_OUT, events.first().map(|event| event.at));
            }
            if events.is_empty() && wrong.is_none() {
                report.ignored.push("expanded");
            }
            report.events = events;
        }
        // Nobody has complained: a receiver tells of a check that failed (DMARC's `ruf`, RFC 6591), or of a virus.
        Understood::Abuse(abuse)
            if matches!(
                abuse.feedback_type,
                FeedbackType::NotSpam | FeedbackType::AuthFailure | FeedbackType::Virus
            ) =>
        {
            report.ignored.push(abuse.feedback_type.as_str());
        }
        Understood::Abuse(abuse) => match complained(abuse, envelope) {
            Ok(events) => {
                if abuse.cut {
                    aside(SetAsideReason::Malformed, LEFT_OUT, events.first().map(|event| event.at));
                }
                report.events = events;
            }
            Err((reason, at)) => aside(reason, understood.kind(), at),
        },
        Understood::Robot(answer) if answer.kind == RobotKind::Unsubscribe => match unsubscribed(answer, envelope) {
            Ok(event) => report.events.push(event),
            Err((reason, at)) => aside(reason, understood.kind(), at),
        },
        Understood::Aggregate(aggregate) => report.kept = kept::aggregate(aggregate, envelope.received_at),
        Understood::Relay(notification) => {
            report.kept.push(kept::notification(notification, raw, envelope.received_at));
        }
        Understood::Robot(_) | Understood::Other => {
            report.ignored.push(understood.kind());
        }
        Understood::Unreadable(_) => aside(SetAsideReason::Malformed, understood.kind(), None),
    }
    report
}

/// Why there is no event, with the time that the mail tells.
type Wrong = (SetAsideReason, Option<Timestamp>);

/// The first time that can be.
fn first_plausible(times: &[Option<Timestamp>], now: Timestamp) -> Result<Timestamp, Wrong> {
    let told = times.iter().flatten().next();
    let reason = if told.is_some() { SetAsideReason::ImplausibleTime } else { SetAsideReason::Malformed };
    times.iter().flatten().find(|at| plausible(**at, now)).copied().ok_or((reason, None))
}

/// What the journal gets of one recipient of a report, as [`report`] makes it: an event, nothing, or nothing and why.
///
/// # Errors
/// Why the mail is set aside for this recipient.
pub fn outcome(
    report: &DeliveryReport,
    one: &RecipientReport,
    envelope: &Envelope<'_>,
) -> Result<Option<Event>, SetAsideReason> {
    delivered(report, one, envelope).map_err(|(reason, _)| reason)
}

fn delivered(report: &DeliveryReport, one: &RecipientReport, envelope: &Envelope<'_>) -> Result<Option<Event>, Wrong> {
    let kind = match one.action {
        DeliveryAction::Failed => EventKind::Refused,
        DeliveryAction::Delayed => EventKind::Deferred,
        DeliveryAction::Delivered | DeliveryAction::Relayed => EventKind::Delivered,
        // What becomes of the addresses in its place is told, or not, by others.
        DeliveryAction::Expanded => return Ok(None),
    };
    let now = envelope.received_at;
    // The arrival is when the message came to whoever reports: it may be given up five days later.
    let at = first_plausible(&[one.last_attempt, report.date, report.arrival], now)?;
    let original = &report.original;
    let recipient = recipient_of(report, one, envelope).ok_or((SetAsideReason::NoRecipient, Some(at)))?;
    let status = one.status.map(|(code, _)| code);
    let reply = match &one.reply {
        Some(reply) => Some(Reply { enhanced: reply.enhanced.or(status), ..reply.clone() }),
        None => status.map(|code| Reply { enhanced: Some(code), ..Reply::default() }),
    };
    let provider_class = match (kind, one.class()) {
        (EventKind::Deferred, _) => FailureClass::Transient,
        (EventKind::Refused, class) => class,
        _ => FailureClass::Unknown,
    };
    let message_id = original.message_id.clone().or_else(|| report.envelope_id.clone());
    let sender = original.return_path.clone().or_else(|| envelope.rcpt_to.cloned());
    let millis = |time: Option<Timestamp>| time.map_or_else(String::new, |time| time.as_millis().to_string());
    let dedupe = DedupeMaterial::new(
        Provider::Mail,
        &[
            "report",
            message_id.as_deref().unwrap_or_default(),
            &recipient.key(),
            one.action.as_str(),
            &status.map_or_else(String::new, |code| code.to_string()),
            one.reply.as_ref().map_or("", |reply| reply.text.as_str()),
            &millis(Some(at)),
            &millis(report.date),
        ],
    );
    Ok(Some(Event {
        provider: Provider::Mail,
        kind,
        at,
        sent_at: [original.date, report.arrival]
            .into_iter()
            .flatten()
            .find(|sent| plausible(*sent, now) && *sent <= at),
        dedupe,
        message_id,
        recipient,
        from_domain: original.from_domain.clone(),
        envelope_domain: sender.as_ref().map(|sender| sender.domain().to_owned()),
        envelope_sender: sender,
        campaign: original.campaign.clone(),
        reply,
        remote_mta: one.remote_mta.as_deref().map(bounded),
        provider_verdict: None,
        provider_class,
    }))
}

/// Whom the message was for. A report about one recipient alone is about the one whom the sender wrote into the envelope sender:
/// who forwards reports an address that the sender never had.
fn recipient_of(report: &DeliveryReport, one: &RecipientReport, envelope: &Envelope<'_>) -> Option<Address> {
    let named = || [&one.recipient, &one.final_recipient].into_iter().flatten().next().cloned();
    match by_sender(report, one, envelope) {
        Some((address, certain)) if certain || named().is_none() => Some(address),
        _ => named(),
    }
}

/// The recipient whom the envelope sender of the message carries, as [`recipient_in`] reads it: where the bounce came to, or the
/// return path of what came back; of the latter only one whom the report names is certain. Of a report about several nobody knows
/// whom it means.
#[must_use]
pub fn by_sender(report: &DeliveryReport, one: &RecipientReport, envelope: &Envelope<'_>) -> Option<(Address, bool)> {
    if report.recipients.len() != 1 {
        return None;
    }
    let original = &report.original;
    let named = [&one.recipient, &one.final_recipient].into_iter().flatten();
    let known: Vec<Address> = named.chain(&original.recipients).cloned().collect();
    let senders = [envelope.rcpt_to, report.to.as_ref()];
    let came_to = senders.into_iter().flatten().find_map(|sender| recipient_in(sender, &known));
    // What came back was written by whoever sent it, and need not be the operator's: it does not go before what the report names.
    let went_out = || {
        let (address, certain) = recipient_in(original.return_path.as_ref()?, &known)?;
        let certain = certain && known.contains(&address);
        Some((address, certain))
    };
    came_to.or_else(went_out)
}

/// The recipient that an envelope sender carries (VERP), and whether it is certain; else it is likely: to be taken where the report
/// names nobody. `known` are those whom the report names. Read is
///
/// | form | whose | read as |
/// |---|---|---|
/// | `…jo=example.net@…`, where `jo@example.net` is known | anybody's | certain |
/// | `jo=example.net@…` | | certain |
/// | `bounces-jo=example.net@…`, `b+jo=example.net@…`: a word of return paths and one sign | ezmlm, Mailman, Postfix's `owner` scripts (observed) | certain |
/// | `bounce+8c58f6.4711-jo=example.net@…`: a word, a number or a hash, a sign | Mailgun (observed) | likely |
/// | `bounces+4711-a1b2-jo=example.net@…`: a word, two of them | SendGrid (observed) | likely |
///
/// Where there are two readings it is nobody: `bounces+anna-jo=…` is `jo` or `anna-jo`, `b-12-34=…` is `34` or `12-34`. What others
/// write into an envelope sender with the same sign is no recipient: BATV (draft-levine-smtp-batv; `btv1==` is Barracuda's,
/// observed) and SRS.
#[must_use]
pub fn recipient_in(sender: &Address, known: &[Address]) -> Option<(Address, bool)> {
    let local = sender.local();
    let (head, domain) = local.rsplit_once('=')?;
    let named = domain.contains('.') && domain.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
    if !named || head.is_empty() {
        return None;
    }
    let lower = local.to_lowercase();
    let ends =
        |address: &&Address| lower.ends_with(&format!("{}={}", address.local().to_lowercase(), address.domain()));
    if let Some(address) = known.iter().filter(ends).max_by_key(|address| address.local().len()) {
        return Some((address.clone(), true));
    }
    if NO_VERP.iter().any(|mark| lower.starts_with(mark)) {
        return None;
    }
    let is_word = |word: &str| RETURN_WORDS.iter().any(|own| word.eq_ignore_ascii_case(own));
    let (own, certain) = match head.split(['+', '-', '=']).collect::<Vec<_>>().as_slice() {
        [own] if !is_word(own.split(['.', '_']).next().unwrap_or(own)) => (*own, true),
        [word, own] if is_word(word) => (*own, true),
        [word, ids @ .., own] if is_word(word) && !ids.is_empty() && ids.iter().all(|id| is_id(id)) => {
            // Numbers throughout: nobody knows which of them is a name.
            (own.bytes().any(|b| !b.is_ascii_digit()).then_some(*own)?, false)
        }
        _ => return None,
    };
    Some((Address::parse(&format!("{own}@{domain}")).ok()?, certain))
}

/// Whether a part of an envelope sender is a number or a hash, as no part of a name is: hexadecimal with a digit, dots between.
fn is_id(part: &str) -> bool {
    part.bytes().any(|b| b.is_ascii_digit()) && part.bytes().all(|b| b.is_ascii_hexdigit() || b == b'.')
}

/// Beginnings of local parts that are signed (BATV, and PRVS as Microsoft and Mimecast write it) or rewritten (SRS).
const NO_VERP: &[&str] = &["prvs=", "msprvs1=", "btv1=", "srs0=", "srs0+", "srs0-", "srs1=", "srs1+", "srs1-"];
/// Words that return paths begin with: from the defaults of ezmlm, Mailman, Mailgun, SparkPost; recalled, not documented in one
/// place.
const RETURN_WORDS: &[&str] = &["b", "bo", "bounce", "bounces", "bnc", "err", "errors", "return", "returns", "verp"];

fn complained(abuse: &AbuseReport, envelope: &Envelope<'_>) -> Result<Vec<Event>, Wrong> {
    let now = envelope.received_at;
    let arrival = abuse.fields.arrival_date.map(Timestamp::from_seconds);
    // The report's date is when somebody complained; the arrival is when the message came.
    let at = first_plausible(&[abuse.date, arrival], now)?;
    let original = &abuse.original;
    let mut recipients = abuse.recipients.clone();
    // A redacted report leaves the envelope sender, and what the sender wrote into it.
    let verp = abuse.sender.as_ref().and_then(|sender| recipient_in(sender, &original.recipients));
    if recipients.is_empty() {
        recipients.extend(verp.iter().filter(|(_, certain)| *certain).map(|(address, _)| address.clone()));
    }
    if recipients.is_empty()
        && let [only] = original.recipients.as_slice()
        && !only.local().eq_ignore_ascii_case("redacted")
    {
        recipients.push(only.clone());
    }
    if recipients.is_empty() {
        recipients.extend(verp.map(|(address, _)| address));
    }
    if recipients.is_empty() {
        return Err((SetAsideReason::NoRecipient, Some(at)));
    }
    let message_id = original.message_id.clone().or_else(|| abuse.fields.original_envelope_id.clone());
    let word = abuse.feedback_type.as_str();
    let events = recipients.into_iter().map(|recipient| Event {
        provider: Provider::Mail,
        kind: EventKind::Complained,
        at,
        sent_at: [original.date, arrival].into_iter().flatten().find(|sent| plausible(*sent, now) && *sent <= at),
        dedupe: DedupeMaterial::new(
            Provider::Mail,
            &[
                "complaint",
                message_id.as_deref().unwrap_or_default(),
                &recipient.key(),
                word,
                &at.as_millis().to_string(),
            ],
        ),
        message_id: message_id.clone(),
        recipient,
        from_domain: original.from_domain.clone(),
        envelope_sender: abuse.sender.clone(),
        envelope_domain: abuse.sender.as_ref().map(|sender| sender.domain().to_owned()),
        campaign: original.campaign.clone(),
        reply: None,
        remote_mta: abuse.fields.reporting_mta.clone(),
        provider_verdict: Some(label(word)),
        provider_class: FailureClass::Unknown,
    });
    Ok(events.collect())
}

fn unsubscribed(answer: &RobotAnswer, envelope: &Envelope<'_>) -> Result<Event, Wrong> {
    let at = first_plausible(&[answer.date], envelope.received_at)?;
    let recipient = answer.from.clone().ok_or((SetAsideReason::NoRecipient, Some(at)))?;
    Ok(Event {
        provider: Provider::Mail,
        kind: EventKind::Unsubscribed,
        at,
        sent_at: None,
        dedupe: DedupeMaterial::new(
            Provider::Mail,
            &[
                "unsubscribe",
                answer.in_reply_to.as_deref().unwrap_or_default(),
                &recipient.key(),
                &at.as_millis().to_string(),
            ],
        ),
        message_id: answer.in_reply_to.clone(),
        recipient,
        from_domain: None,
        envelope_sender: None,
        envelope_domain: None,
        campaign: None,
        reply: None,
        remote_mta: None,
        provider_verdict: None,
        provider_class: FailureClass::Unknown,
    })
}
