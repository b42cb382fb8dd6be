//! From what SES sends to events.
//!
//! What an SES word becomes:
//!
//! | SES | becomes | time |
//! |---|---|---|
//! | `Send` | sent, one for each destination | `mail.timestamp` |
//! | `Delivery` | delivered, with `smtpResponse` as the reply | `delivery.timestamp` |
//! | `DeliveryDelay` | deferred; refused where the reply says 5xx | `deliveryDelay.timestamp` |
//! | `Bounce` | refused; also `Transient`, since SES reports it only after it gave up, and out-of-office answers among them, which the classifier tells apart | `bounce.timestamp` |
//! | `Bounce` of a suppressed address | suppressed-by-provider | `bounce.timestamp` |
//! | `Complaint` | complained, one for each *possible* complainer; `not-spam` is ignored | `complaint.timestamp` |
//! | `Complaint`, `OnAccountSuppressionList` | suppressed-by-provider | `complaint.timestamp` |
//! | `Reject` | refused, of class unknown: SES found malware and never tried | `mail.timestamp` |
//! | `Rendering Failure`, `Open`, `Click`, `Subscription` | ignored: no message left, or it arrived | |
//!
//! A rejected message is refused, since nobody will ever get it, but no receiving side said so: without a code and of
//! unknown class, it moves no detector of permanent refusals.
//!
//! **Envelope sender.** SES makes it up itself, for each message, on `amazonses.com` or the custom MAIL FROM domain,
//! and `mail.source` shows the address of the From header instead. So only `commonHeaders.returnPath` is taken for it;
//! where that is absent, envelope sender and envelope domain are unknown.
//!
//! **Campaign.** The configured tag, else the tag `campaign`, else `ses:campaign`. A configuration set is no campaign.
//!
//! **The same event.** Its identity is (SES's word for it, `mail.messageId`, recipient in lower case, the event's time,
//! `feedbackId`), and where there is no `feedbackId`, the status and diagnostic in its place. All of it is payload, so
//! that one event by SNS, SQS, Firehose, EventBridge or a file is one event, while two bounces of one message and
//! recipient with their own `feedbackId` are two.

use serde::de::IgnoredAny;

use crate::{
    ingest::{KEPT_MILLIS, Report, SetAside, SetAsideReason, label, plausible},
    model::{
        Address, DedupeMaterial, EnhancedCode, Event, EventKind, FailureClass, Provider, Reply, Timestamp, domain_of,
    },
};

use super::{
    super::wire::{MAX_ID_BYTES, MAX_NAME_BYTES, own_words, unless_final},
    wire::{Header, List, Loose, Mail, Payload, Recipient},
};

/// What SES publishes once when a topic is connected to event publishing: plain text, not JSON.
const VALIDATED: &str = "Successfully validated SNS topic for Amazon SES event publishing.";
/// What SES publishes once when a topic is connected to an identity's notifications.
const SUBSCRIBED: &str = "AmazonSnsSubscriptionSucceeded";
/// How such a message is counted.
const VALIDATION: &str = "ses-validation";

/// Why a message can't be read at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not UTF-8.
    #[error("the message is not UTF-8")]
    NotUtf8,
    /// Not JSON, or nested too deep to be read safely.
    #[error("the message is not JSON: only SES may publish to this topic")]
    NotJson,
}

/// Decodes one notification or event: the SES JSON itself, or the EventBridge wrapper around it.
///
/// `campaign_tag` names the message tag that holds the campaign. What is JSON and makes no sense is set aside, not an
/// error.
///
/// # Errors
/// Where the message is no JSON.
pub fn decode(message: &str, campaign_tag: Option<&str>, received_at: Timestamp) -> Result<Report, DecodeError> {
    let message = message.trim();
    if message.starts_with(VALIDATED) {
        return Ok(ignored(VALIDATION));
    }
    let context = Context { body: message, campaign_tag, received_at };
    match read(message)? {
        Some(payload) => match payload.detail {
            Some(detail) if type_of(&payload).is_none() => {
                let context = Context { body: detail.get(), ..context };
                Ok(read(detail.get())?.map_or_else(|| context.malformed("shape"), |payload| context.report(&payload)))
            }
            _ => Ok(context.report(&payload)),
        },
        None => Ok(context.malformed("shape")),
    }
}

/// The same from bytes that nobody has checked.
///
/// # Errors
/// Where the message is no UTF-8 or no JSON.
pub fn decode_bytes(message: &[u8], campaign_tag: Option<&str>, received_at: Timestamp) -> Result<Report, DecodeError> {
    let message = std::str::from_utf8(message).map_err(|_| DecodeError::NotUtf8)?;
    decode(message, campaign_tag, received_at)
}

/// `None` where it's JSON of another shape. (A derived reader would take the elements of an array for members.)
fn read(json: &str) -> Result<Option<Payload<'_>>, DecodeError> {
    if !json.starts_with('{') {
        return serde_json::from_str::<IgnoredAny>(json).map(|_| None).map_err(|_| DecodeError::NotJson);
    }
    match serde_json::from_str(json) {
        Ok(payload) => Ok(Some(payload)),
        Err(error) if error.is_data() => Ok(None),
        Err(_) => Err(DecodeError::NotJson),
    }
}

fn type_of<'a>(payload: &'a Payload<'_>) -> Option<&'a str> {
    payload.event_type.get().or_else(|| payload.notification_type.get())
}

/// Whether a word is the wanted one, in whichever spelling: `DeliveryDelay`, `DELIVERY_DELAY`, `Delivery Delay`.
fn is(word: &str, wanted: &str) -> bool {
    let letters = word.bytes().filter(|b| !matches!(b, b' ' | b'_' | b'-')).map(|b| b.to_ascii_lowercase());
    letters.eq(wanted.bytes())
}

fn ignored(what: &'static str) -> Report {
    Report { ignored: vec![what], ..Report::default() }
}

/// Why a time can't be taken.
enum BadTime {
    Absent,
    Unreadable,
    Implausible(&'static str),
}

/// What events of one payload have in common beside the message itself.
struct Outcome<'a> {
    /// SES's word, in the one spelling that identity is made of.
    word: &'static str,
    kind: EventKind,
    time: &'a Loose<'a>,
    feedback_id: Option<&'a str>,
    recipients: &'a List<Recipient<'a>>,
    /// One reply for all, where each recipient has none of its own.
    reply: Option<&'a str>,
    remote_mta: Option<String>,
    verdict: Option<String>,
    class: FailureClass,
}

struct Context<'a> {
    body: &'a str,
    campaign_tag: Option<&'a str>,
    received_at: Timestamp,
}

impl Context<'_> {
    fn report(&self, payload: &Payload<'_>) -> Report {
        let Some(word) = type_of(payload) else {
            return self.set_aside(SetAsideReason::UnknownType, "no type", None);
        };
        let no_mail = Mail::default();
        let mail = payload.mail.as_ref().unwrap_or(&no_mail);
        let outcome = if is(word, "bounce") {
            payload.bounce.as_ref().map(|bounce| {
                let (kind, sub) = (bounce.kind.get(), bounce.sub_kind.get());
                let suppressed = sub.is_some_and(is_suppression);
                Outcome {
                    word: "bounce",
                    kind: if suppressed { EventKind::SuppressedByProvider } else { EventKind::Refused },
                    time: &bounce.timestamp,
                    feedback_id: bounce.feedback_id.get(),
                    recipients: &bounce.bounced_recipients,
                    reply: None,
                    remote_mta: remote_mta(&bounce.reporting_mta),
                    verdict: verdict(&[kind, sub]),
                    class: match kind {
                        Some(kind) if is(kind, "permanent") => FailureClass::Permanent,
                        Some(kind) if is(kind, "transient") => FailureClass::Transient,
                        _ => FailureClass::Unknown,
                    },
                }
            })
        } else if is(word, "complaint") {
            if payload.complaint.as_ref().and_then(|c| c.kind.get()).is_some_and(|t| is(t, "notspam")) {
                return ignored("not-spam");
            }
            payload.complaint.as_ref().map(|complaint| {
                let sub = complaint.sub_kind.get();
                let suppressed = sub.is_some_and(is_suppression);
                Outcome {
                    word: "complaint",
                    kind: if suppressed { EventKind::SuppressedByProvider } else { EventKind::Complained },
                    time: &complaint.timestamp,
                    feedback_id: complaint.feedback_id.get(),
                    recipients: &complaint.complained_recipients,
                    reply: None,
                    remote_mta: None,
                    verdict: verdict(&[complaint.kind.get(), sub]),
                    class: FailureClass::Unknown,
                }
            })
        } else if is(word, "delivery") {
            payload.delivery.as_ref().map(|delivery| Outcome {
                word: "delivery",
                kind: EventKind::Delivered,
                time: &delivery.timestamp,
                feedback_id: None,
                recipients: &delivery.recipients,
                reply: delivery.smtp_response.get(),
                remote_mta: remote_mta(&delivery.reporting_mta),
                verdict: None,
                class: FailureClass::Unknown,
            })
        } else if is(word, "deliverydelay") {
            payload.delivery_delay.as_ref().map(|delay| Outcome {
                word: "deliverydelay",
                kind: EventKind::Deferred,
                time: &delay.timestamp,
                feedback_id: None,
                recipients: &delay.delayed_recipients,
                reply: None,
                remote_mta: remote_mta(&delay.reporting_mta),
                verdict: verdict(&[delay.delay_type.get()]),
                class: FailureClass::Transient,
            })
        } else if is(word, "send") {
            Some(of_destinations("send", EventKind::Sent, mail, None))
        } else if is(word, "reject") {
            let reason = payload.reject.as_ref().and_then(|reject| reject.reason.get());
            Some(of_destinations("reject", EventKind::Refused, mail, verdict(&[Some("Reject"), reason])))
        } else {
            let known = ["renderingfailure", "open", "click", "subscription"];
            return match known.into_iter().find(|known| is(word, known)) {
                Some("renderingfailure") => ignored("rendering-failure"),
                Some(known) => ignored(known),
                None if word.eq_ignore_ascii_case(SUBSCRIBED) => ignored(VALIDATION),
                None => self.set_aside(SetAsideReason::UnknownType, &label(word), None),
            };
        };
        match outcome {
            Some(outcome) => self.events(mail, &outcome),
            None => self.malformed("no object of this type"),
        }
    }

    fn events(&self, mail: &Mail<'_>, outcome: &Outcome<'_>) -> Report {
        let times = self.time(&mail.timestamp, "mail").and_then(|sent_at| {
            let at = self.time(outcome.time, outcome.word)?;
            Ok((at.or(sent_at).ok_or(BadTime::Absent)?, sent_at))
        });
        let (at, sent_at) = match times {
            Ok(times) => times,
            Err(BadTime::Absent) => return self.malformed("no time"),
            Err(BadTime::Unreadable) => return self.malformed("unreadable time"),
            Err(BadTime::Implausible(whose)) => {
                return self.set_aside(SetAsideReason::ImplausibleTime, whose, None);
            }
        };
        let recipients = &outcome.recipients.0;
        if recipients.is_empty() {
            return self.set_aside(SetAsideReason::NoRecipient, outcome.word, Some(at));
        }
        let message_id = mail.message_id.get();
        let from_domain = from_domain(mail);
        let return_path = mail.common_headers.as_ref().and_then(|headers| headers.return_path.get());
        let envelope_sender = return_path.and_then(|path| Address::parse(path).ok());
        let envelope_domain = envelope_sender.as_ref().map(|address| address.domain().to_owned());
        let campaign = self.campaign(mail);
        let time_text = at.as_millis().to_string();

        let mut report = Report { events: Vec::with_capacity(recipients.len()), ..Report::default() };
        for recipient in recipients {
            let Some(address) = recipient.address.get().and_then(|text| Address::parse(text).ok()) else {
                continue;
            };
            let (status, diagnostic) = (recipient.status.get(), recipient.diagnostic.get());
            let kind = match outcome.kind {
                EventKind::Refused if diagnostic.is_some_and(is_suppression_echo) => EventKind::SuppressedByProvider,
                kind => kind,
            };
            let reply = match kind {
                // SES did not try: its codes would pass for the receiving side's.
                EventKind::SuppressedByProvider => diagnostic.or(outcome.reply).map(own_words),
                _ => reply(diagnostic.or(outcome.reply), status),
            };
            let kind = unless_final(kind, reply.as_ref());
            let key = address.key();
            let parts = [outcome.word, message_id.unwrap_or_default(), &key, &time_text];
            let dedupe = match outcome.feedback_id {
                Some(id) => DedupeMaterial::new(Provider::Ses, &[parts.as_slice(), &[id]].concat()),
                None => DedupeMaterial::new(
                    Provider::Ses,
                    &[parts.as_slice(), &["", status.unwrap_or_default(), diagnostic.unwrap_or_default()]].concat(),
                ),
            };
            report.events.push(Event {
                provider: Provider::Ses,
                kind,
                at,
                sent_at,
                dedupe,
                message_id: message_id.filter(|id| id.len() <= MAX_ID_BYTES).map(str::to_owned),
                recipient: address,
                from_domain: from_domain.clone(),
                envelope_sender: envelope_sender.clone(),
                envelope_domain: envelope_domain.clone(),
                campaign: campaign.clone(),
                reply,
                remote_mta: outcome.remote_mta.clone(),
                provider_verdict: outcome.verdict.clone(),
                provider_class: outcome.class,
            });
        }
        let strange = recipients.len() - report.events.len();
        if strange > 0 {
            let label = format!("{strange} of {} recipients are no addresses", recipients.len());
            report.set_aside = self.set_aside(SetAsideReason::Malformed, &label, Some(at)).set_aside;
        }
        report
    }

    /// A point in time: RFC 3339, or a number of seconds or (from 1e11 on) milliseconds since the epoch.
    fn time(&self, text: &Loose<'_>, whose: &'static str) -> Result<Option<Timestamp>, BadTime> {
        let Some(text) = text.get() else { return Ok(None) };
        let digits = text.strip_prefix('-').unwrap_or(text);
        let stamp = if digits.bytes().all(|b| b.is_ascii_digit()) {
            let number: i64 = text.parse().map_err(|_| BadTime::Implausible(whose))?;
            if number.unsigned_abs() < 100_000_000_000 {
                Timestamp::from_seconds(number)
            } else {
                Timestamp::from_millis(number)
            }
        } else if let Some(stamp) = Timestamp::from_rfc3339(text) {
            stamp
        } else if let Ok(seconds) = text.parse::<f64>() {
            Timestamp::from_seconds_f64(seconds).ok_or(BadTime::Implausible(whose))?
        } else if text.starts_with("9999-") {
            // The last day of that year is beyond what the calendar reaches.
            return Err(BadTime::Implausible(whose));
        } else {
            return Err(BadTime::Unreadable);
        };
        if plausible(stamp, self.received_at) { Ok(Some(stamp)) } else { Err(BadTime::Implausible(whose)) }
    }

    fn campaign(&self, mail: &Mail<'_>) -> Option<String> {
        let text = match self.campaign_tag {
            Some(name) => mail.tags.get(name),
            None => mail.tags.get("campaign").or_else(|| mail.tags.get("ses:campaign")),
        };
        // A stream's name is shown to people, so that nothing like an address may become one.
        text.filter(|text| text.len() <= MAX_NAME_BYTES && !text.contains('@') && !text.chars().any(char::is_control))
            .map(str::to_owned)
    }

    fn malformed(&self, what: &str) -> Report {
        self.set_aside(SetAsideReason::Malformed, what, None)
    }

    fn set_aside(&self, reason: SetAsideReason, label: &str, at: Option<Timestamp>) -> Report {
        let part = SetAside {
            provider: Provider::Ses,
            reason,
            label: label.to_owned(),
            at,
            body: self.body.as_bytes().to_vec(),
            kept_millis: KEPT_MILLIS,
        };
        Report { set_aside: vec![part], ..Report::default() }
    }
}

/// An outcome that SES reports of the message as a whole.
fn of_destinations<'a>(
    word: &'static str,
    kind: EventKind,
    mail: &'a Mail<'a>,
    verdict: Option<String>,
) -> Outcome<'a> {
    Outcome {
        word,
        kind,
        time: &mail.timestamp,
        feedback_id: None,
        recipients: &mail.destination,
        reply: None,
        remote_mta: None,
        verdict,
        class: FailureClass::Unknown,
    }
}

/// Whether a sub type says that SES did not try; suppression lists yet to come are taken along.
pub(in crate::ingest::http) fn is_suppression(sub_type: &str) -> bool {
    let wanted = ["suppressed", "unsubscribedrecipient"];
    wanted.into_iter().any(|word| is(sub_type, word)) || sub_type.to_ascii_lowercase().ends_with("suppressionlist")
}

/// Whether a diagnostic is SES's own, for a message that it did not send.
fn is_suppression_echo(diagnostic: &str) -> bool {
    ["Amazon SES did not send the message", "Amazon SES has suppressed sending"].into_iter().any(|start| {
        diagnostic.as_bytes().get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start.as_bytes()))
    })
}

/// SES's own words, joined as it is used to: `Permanent/General`.
fn verdict(words: &[Option<&str>]) -> Option<String> {
    let words: Vec<String> = words.iter().flatten().map(|word| label(word)).filter(|word| !word.is_empty()).collect();
    if words.is_empty() { None } else { Some(words.join("/")) }
}

fn reply(text: Option<&str>, status: Option<&str>) -> Option<Reply> {
    let enhanced = status.and_then(EnhancedCode::parse);
    match text {
        None if enhanced.is_none() => None,
        text => Some(Reply::with_codes(text.unwrap_or_default(), None, enhanced)),
    }
}

/// The host that answered, where SES names one: without the type of RFC 3464, and not SES's own host, which is what it
/// names in deliveries.
fn remote_mta(reporting: &Loose<'_>) -> Option<String> {
    let text = reporting.get()?;
    let host = text.split_once(';').map_or(text, |(_, host)| host).trim().trim_end_matches('.').to_ascii_lowercase();
    let plain = !host.is_empty()
        && host.len() <= 255
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    let own = host == "amazonses.com" || host.ends_with(".amazonses.com");
    (plain && !own).then_some(host)
}

/// The domain of the From header: as SES reads the header, else from the headers, else from SES's tag, else from
/// `mail.source`.
fn from_domain(mail: &Mail<'_>) -> Option<String> {
    let common = mail.common_headers.as_ref().and_then(|headers| headers.from.get());
    common
        .and_then(domain_of)
        .or_else(|| {
            let headers: Vec<Header<'_>> = serde_json::from_str(mail.headers?.get()).ok()?;
            let from = headers.iter().find(|h| h.name.get().is_some_and(|name| name.eq_ignore_ascii_case("from")))?;
            domain_of(from.value.get()?)
        })
        .or_else(|| domain_of(mail.tags.get("ses:from-domain")?))
        .or_else(|| domain_of(mail.source.get()?))
        .filter(|domain| domain.len() <= MAX_NAME_BYTES)
}
