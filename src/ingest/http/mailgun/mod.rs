//! Mailgun's webhooks: `{"signature":{…},"event-data":{…}}`, signed with HMAC-SHA256.
//!
//! Source: Mailgun, "Webhook Payloads" and "Securing Webhooks". The signature covers a timestamp and a token and
//! nothing of the event, so whoever sees one delivery could sign any other with it: the token is bound to the digest of
//! the body that it came with, which the store remembers for as long as the timestamp is taken.
//!
//! Mailgun stops on 200 and on 406 and tries again on everything else, for 8 hours. So 406 answers what no retry can
//! mend (another body format), 401 what mending the settings can (a signing key that was changed), and 503 a signed
//! timestamp that is too old or ahead: it verifies, so that this machine's clock may be what is wrong.
//!
//! Trap: `envelope.sender` may be the address of the From header, while the true return-path shows in the text of the
//! reply only. It is taken as the envelope sender only where it differs from the From header; where it doesn't, the
//! envelope sender counts as unknown, and nothing may be concluded from an address in a reply that differs from it.

use aws_lc_rs::hmac;
use axum::http::{StatusCode, header};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Delivery, Rejection, RejectionReason,
    auth::{SecretError, sha256},
    feeds::{FeedError, Place, SetUp, secrets},
    mac::MacKeys,
    signed::{MAX_AHEAD_MILLIS, seconds, within_window},
    wire::{self, Aside, Loose, Parts, Scalar, WireError},
};
use crate::{
    config::{Config, MailgunFeed},
    ingest::{OneTimeToken, Report, label},
    model::{
        Address, DedupeMaterial, EnhancedCode, Event, EventKind, FailureClass, HOUR_MILLIS, Provider, Reply, Timestamp,
    },
};

/// The largest body that is taken; a delivery holds one event.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;
/// How old a signed timestamp may be unless configured otherwise.
pub const DEFAULT_WINDOW_MILLIS: i64 = 24 * HOUR_MILLIS;
/// Mailgun goes on trying for so long; a shorter window would refuse its last retries.
pub const RETRY_HORIZON_MILLIS: i64 = 8 * HOUR_MILLIS;
/// The longest token that is taken; real ones have 50 characters.
const MAX_TOKEN_BYTES: usize = 256;

/// What the feed is made from.
#[derive(Debug, Clone)]
pub struct Settings {
    /// HTTP webhook signing keys: one, or two while they are rotated.
    pub signing_keys: Vec<SecretString>,
    /// How old a signed timestamp may be, in milliseconds; [`DEFAULT_WINDOW_MILLIS`] is a good value.
    pub window_millis: i64,
}

/// What is wrong with the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The signing keys.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The window is too short.
    #[error("the time window is shorter than the 8 hours for which Mailgun tries again")]
    Window,
}

/// The feed of Mailgun's events.
#[derive(Debug)]
pub struct Mailgun {
    keys: MacKeys,
    window_millis: i64,
}

impl SetUp for Mailgun {
    type Table = MailgunFeed;
    const PROVIDER: Provider = Provider::Mailgun;

    fn set_up(_: &Config, table: &MailgunFeed, place: &Place) -> Result<Self, Vec<FeedError>> {
        let signing_keys = secrets(&[&table.signing_key, &table.previous_signing_key]);
        place.or_wrong(Self::new(&Settings { signing_keys, window_millis: DEFAULT_WINDOW_MILLIS }))
    }
}

/// The body.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    signature: Signed<'a>,
    #[serde(borrow, rename = "event-data")]
    event_data: &'a RawValue,
}

#[derive(Deserialize)]
struct Signed<'a> {
    #[serde(borrow)]
    timestamp: Scalar<'a>,
    #[serde(borrow)]
    token: Scalar<'a>,
    #[serde(borrow)]
    signature: Scalar<'a>,
}

/// The fields that relaywatch uses; subjects, user variables and all others are skipped.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Fields<'a> {
    #[serde(borrow)]
    event: Option<Scalar<'a>>,
    #[serde(borrow)]
    id: Option<Scalar<'a>>,
    #[serde(borrow)]
    timestamp: Option<Scalar<'a>>,
    #[serde(borrow)]
    recipient: Option<Scalar<'a>>,
    #[serde(borrow)]
    severity: Option<Scalar<'a>>,
    #[serde(borrow)]
    reason: Option<Scalar<'a>>,
    #[serde(default, borrow)]
    delivery_status: Loose<Status<'a>>,
    #[serde(default, borrow)]
    reject: Loose<Reject<'a>>,
    #[serde(default, borrow)]
    envelope: Loose<Envelope<'a>>,
    #[serde(default, borrow)]
    message: Loose<Message<'a>>,
    #[serde(borrow)]
    campaigns: Option<&'a RawValue>,
    #[serde(borrow)]
    tags: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Status<'a> {
    #[serde(borrow)]
    code: Option<Scalar<'a>>,
    #[serde(borrow)]
    enhanced_code: Option<Scalar<'a>>,
    #[serde(borrow)]
    message: Option<Scalar<'a>>,
    #[serde(borrow)]
    description: Option<Scalar<'a>>,
    #[serde(borrow)]
    bounce_type: Option<Scalar<'a>>,
    #[serde(borrow)]
    mx_host: Option<Scalar<'a>>,
}

#[derive(Deserialize)]
struct Reject<'a> {
    #[serde(borrow)]
    reason: Option<Scalar<'a>>,
    #[serde(borrow)]
    description: Option<Scalar<'a>>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    sender: Option<Scalar<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(default, borrow)]
    headers: Loose<Headers<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Headers<'a> {
    #[serde(borrow)]
    message_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    from: Option<Scalar<'a>>,
}

impl Mailgun {
    /// Makes the feed.
    ///
    /// # Errors
    /// Where there is no usable signing key, or the window is shorter than [`RETRY_HORIZON_MILLIS`].
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let keys = MacKeys::new(hmac::HMAC_SHA256, &settings.signing_keys)?;
        if settings.window_millis < RETRY_HORIZON_MILLIS {
            return Err(SettingsError::Window);
        }
        Ok(Self { keys, window_millis: settings.window_millis })
    }

    /// Verifies and decodes one delivery. The store must still bind [`Report::token`] to the body.
    ///
    /// # Errors
    /// 406 for what no retry can mend: another format, no JSON. 401 for a signature that doesn't verify, 503 for a timestamp
    /// outside the window. 413 above the cap.
    pub fn receive(&self, delivery: &Delivery) -> Result<Report, Rejection> {
        wire::within(&delivery.body, MAX_BODY_BYTES)?;
        legacy(delivery)?;
        let malformed = |error| wire::malformed(StatusCode::NOT_ACCEPTABLE, "a webhook of Mailgun's", error);
        let text = wire::utf8(&delivery.body).map_err(malformed)?;
        let body: Body<'_> = serde_json::from_str(text).map_err(|error| malformed(error.into()))?;
        let token = self.verify(&body.signature, delivery)?;
        let mut report = Report { token: Some(token), ..Report::default() };
        let now = delivery.received_at;
        let data = body.event_data.get();
        match Parts::<Fields<'_>>::parse(data) {
            Ok(parts) => parts.fold(Provider::Mailgun, &mut report, |fields, report| take(fields, now, report)),
            // Signed and of a shape that nobody knows yet: 406 would lose it.
            Err(_) => report.set_aside.push(Aside::unreadable().with(Provider::Mailgun, data)),
        }
        Ok(report)
    }

    /// Checks signature and time; gives the token with the body that it came with.
    fn verify(&self, signature: &Signed<'_>, delivery: &Delivery) -> Result<OneTimeToken, Rejection> {
        let absent = || {
            Rejection::unauthenticated(
                "the signature has no timestamp, token or signature; Mailgun signs every webhook, so look at who posts",
            )
        };
        let timestamp = signature.timestamp.text().ok_or_else(absent)?;
        let token = signature.token.text().filter(|token| token.len() <= MAX_TOKEN_BYTES).ok_or_else(absent)?;
        let tag = hex::decode(signature.signature.text().ok_or_else(absent)?.trim()).map_err(|_| absent())?;
        if !self.keys.verify(&[timestamp.as_bytes(), token.as_bytes()], &tag) {
            return Err(Rejection::new(
                StatusCode::UNAUTHORIZED,
                RejectionReason::BadSignature,
                "the signature verifies with none of the signing keys; compare them with the HTTP webhook signing key at \
                 Mailgun (it is not the API key)",
            ));
        }
        // Nothing parts timestamp and token in what is signed. Were other forms of a time taken, characters of the token could be
        // moved into the timestamp (`1754805600` and `e0ab…` into `1754805600e0` and `ab…`): another token, the same signature.
        let signed_at = seconds(&timestamp).ok_or_else(|| {
            let detail = "the signed timestamp is no time in whole seconds";
            Rejection::new(StatusCode::NOT_ACCEPTABLE, RejectionReason::Stale, detail).conclusive()
        })?;
        within_window(signed_at, delivery.received_at, self.window_millis)?;
        Ok(OneTimeToken {
            token: wire::clean(&token, MAX_TOKEN_BYTES),
            body_digest: sha256(&delivery.body),
            // Later the timestamp itself is refused; the margin is for clocks of several replicas.
            expires_at: signed_at.plus_millis(self.window_millis).plus_millis(MAX_AHEAD_MILLIS),
        })
    }
}

/// Refuses the forms of Mailgun's legacy webhooks, which are signed alike and hold other fields.
fn legacy(delivery: &Delivery) -> Result<(), Rejection> {
    let media = delivery.header(header::CONTENT_TYPE.as_str()).unwrap_or_default().to_ascii_lowercase();
    if media.starts_with("application/x-www-form-urlencoded") || media.starts_with("multipart/form-data") {
        return Err(Rejection::new(
            StatusCode::NOT_ACCEPTABLE,
            RejectionReason::Unsupported,
            "this is a form, as legacy webhooks send it; add the address under Webhooks of the domain, not under \
             legacy webhooks or routes",
        ));
    }
    Ok(())
}

fn take(fields: &Fields<'_>, now: Timestamp, report: &mut Report) -> Result<(), Aside> {
    let word = wire::text(fields.event);
    let word = word.as_deref().unwrap_or("unnamed");
    let severity = wire::text(fields.severity);
    let reason = wire::text(fields.reason);
    let status = fields.delivery_status.get();
    let code: Option<u16> = status.and_then(|status| wire::text(status.code)).and_then(|code| code.trim().parse().ok());
    let kind = match word {
        "accepted" => EventKind::Sent,
        "delivered" => EventKind::Delivered,
        "failed" if is_suppression(reason.as_deref(), code) => EventKind::SuppressedByProvider,
        "failed" if severity.as_deref() == Some("temporary") => EventKind::Deferred,
        "failed" | "rejected" => EventKind::Refused,
        "complained" => EventKind::Complained,
        "unsubscribed" => EventKind::Unsubscribed,
        "opened" => {
            report.ignored.push("open");
            return Ok(());
        }
        "clicked" => {
            report.ignored.push("click");
            return Ok(());
        }
        _ => return Err(wire::unknown_type(word, fields.timestamp, now)),
    };
    let at = wire::event_time(fields.timestamp, now, word)?;
    let recipient = wire::recipient(fields.recipient, at, word)?;
    let reply = match (word, status) {
        // Mailgun did not try: a code beside it is that of the refusal for which the address was suppressed, or Mailgun's own.
        ("failed", Some(status)) if kind == EventKind::SuppressedByProvider => {
            reply_of(status, None).filter(|reply| !reply.text.is_empty()).map(|reply| wire::own_words(&reply.text))
        }
        ("failed", Some(status)) => reply_of(status, code),
        // Mailgun never tried; the receiving side said nothing, and has no code.
        ("rejected", _) => fields.reject.get().and_then(|reject| {
            let text = wire::text(reject.reason).or_else(|| wire::text(reject.description)).map(wire::without_nul)?;
            Some(wire::own_words(&text))
        }),
        _ => None,
    };
    let bounce_type = status.and_then(|status| wire::text(status.bounce_type));
    let provider_class = class_of(kind, word, severity.as_deref(), reason.as_deref(), bounce_type.as_deref(), code);
    let kind = wire::unless_final(kind, reply.as_ref());
    let headers = fields.message.get().and_then(|message| message.headers.get());
    let message_id = headers.and_then(|headers| wire::bare_id(headers.message_id));
    let from = headers.and_then(|headers| headers.from);
    let envelope_sender = fields.envelope.get().and_then(|envelope| {
        let sender = Address::parse(&wire::text(envelope.sender)?).ok()?;
        let from = Address::parse(&wire::text(from)?).ok()?;
        (sender.key() != from.key()).then_some(sender)
    });
    report.events.push(Event {
        provider: Provider::Mailgun,
        kind,
        at,
        sent_at: (kind == EventKind::Sent).then_some(at),
        dedupe: dedupe(fields, word, at, message_id.as_deref(), &recipient, reply.as_ref()),
        message_id,
        from_domain: wire::domain(from),
        envelope_domain: envelope_sender.as_ref().map(|address| address.domain().to_owned()),
        envelope_sender,
        recipient,
        campaign: fields.campaigns.and_then(wire::first_name).or_else(|| fields.tags.and_then(wire::first_name)),
        reply,
        remote_mta: status.and_then(|status| wire::name(status.mx_host)),
        provider_verdict: verdict(word, [severity.as_deref(), reason.as_deref(), bounce_type.as_deref()]),
        provider_class,
    });
    Ok(())
}

/// Whether Mailgun did not try, since the address is on one of its suppression lists.
fn is_suppression(reason: Option<&str>, code: Option<u16>) -> bool {
    reason.is_some_and(|reason| reason.starts_with("suppress-")) || matches!(code, Some(605..=607))
}

/// Codes from 600 on, 498 and 499 are Mailgun's own, said by no receiving side.
const fn is_internal(code: u16) -> bool {
    code >= 600 || matches!(code, 498 | 499)
}

/// What the receiving side said; `description` stands in where `message` is empty.
fn reply_of(status: &Status<'_>, code: Option<u16>) -> Option<Reply> {
    let text = wire::text(status.message).or_else(|| wire::text(status.description)).map(wire::without_nul);
    let enhanced = wire::text(status.enhanced_code).and_then(|code| EnhancedCode::parse(code.trim()));
    let code = code.filter(|code| !is_internal(*code));
    if text.is_none() && code.is_none() && enhanced.is_none() {
        return None;
    }
    Some(Reply::with_codes(text.as_deref().unwrap_or_default(), code, enhanced))
}

/// Whether Mailgun calls the failure final. Used only where the reply has no code: at the relay Mailgun says "soft" to
/// a 550.
fn class_of(
    kind: EventKind,
    word: &str,
    severity: Option<&str>,
    reason: Option<&str>,
    bounce_type: Option<&str>,
    code: Option<u16>,
) -> FailureClass {
    match kind {
        EventKind::Deferred => FailureClass::Transient,
        // Given up after temporary failures.
        EventKind::Refused if reason == Some("old") => FailureClass::Transient,
        EventKind::Refused if word == "rejected" || code.is_some_and(is_internal) => FailureClass::Unknown,
        EventKind::Refused if bounce_type == Some("soft") => FailureClass::Transient,
        EventKind::Refused if severity == Some("permanent") => FailureClass::Permanent,
        _ => FailureClass::Unknown,
    }
}

/// What Mailgun itself says: severity, reason and bounce type, as in `permanent/bounce/soft`.
fn verdict(word: &str, parts: [Option<&str>; 3]) -> Option<String> {
    match word {
        "failed" => {
            let said: Vec<_> = parts.into_iter().flatten().collect();
            (!said.is_empty()).then(|| label(&said.join("/")))
        }
        "rejected" => Some("rejected".to_owned()),
        _ => None,
    }
}

/// Mailgun's ids are unique within a day, so the time belongs to the key. Without an id the content takes its place.
fn dedupe(
    fields: &Fields<'_>,
    word: &str,
    at: Timestamp,
    message_id: Option<&str>,
    recipient: &Address,
    reply: Option<&Reply>,
) -> DedupeMaterial {
    if let Some(id) = wire::text(fields.id) {
        return DedupeMaterial::new(Provider::Mailgun, &["id", id.trim(), &at.as_millis().to_string()]);
    }
    let said = reply.map_or("", |reply| reply.text.as_str());
    wire::by_content(Provider::Mailgun, message_id, recipient, word, at, said)
}

/// The events of one record of a file: the body of a webhook, whose signature proves nothing any more, or the bare event as the
/// Events and Logs APIs give it (its fields are the same: Mailgun, "Event Structure").
pub(in crate::ingest) fn decode(text: &str, now: Timestamp) -> Result<Report, WireError> {
    #[derive(Deserialize)]
    struct Probe<'a> {
        #[serde(borrow, rename = "event-data")]
        event_data: Option<&'a RawValue>,
    }
    let whole = serde_json::from_str::<Probe<'_>>(text).ok().and_then(|probe| probe.event_data);
    Ok(Parts::parse(whole.map_or(text, RawValue::get))?.report(Provider::Mailgun, now, take))
}

/// Signs webhooks as Mailgun does: for tests, the demo and benchmarks.
pub mod signing {
    use aws_lc_rs::hmac;
    use bytes::Bytes;
    use serde_json::json;

    use crate::model::Timestamp;

    /// The hex signature of a timestamp, in whole seconds, and a token.
    #[must_use]
    pub fn signature(key: &str, at: Timestamp, token: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
        hex::encode(hmac::sign(&key, format!("{}{token}", at.as_seconds()).as_bytes()))
    }

    /// The body that carries an event, which is the JSON text of `event-data`.
    #[must_use]
    pub fn body(key: &str, at: Timestamp, token: &str, event_data: &str) -> Bytes {
        let signature = json!({
            "timestamp": at.as_seconds().to_string(), "token": token, "signature": signature(key, at, token),
        });
        Bytes::from(format!("{{\"signature\":{signature},\"event-data\":{event_data}}}"))
    }
}

#[cfg(test)]
mod tests;
