//! SendGrid's event webhook: `[{"event":"bounce",…}, …]`, signed with ECDSA over the raw body.
//!
//! Source: Twilio SendGrid, "Event Webhook Reference" and "Event Webhook Security Features"; the signature by its own client
//! libraries. SendGrid tries again on every answer but 2xx, at growing intervals for up to 24 hours, and may send an event
//! twice. Hence a batch is refused only as a whole and only for what mending the settings can cure; an event that makes no
//! sense is set aside, and its neighbours are taken.
//!
//! **Signature.** What is signed is the timestamp's header, byte for byte, and after it the body as it came, its last line end
//! included. No tolerance is documented, and neither is whether a retry carries a fresh timestamp; so a timestamp is taken for
//! [`WINDOW_MILLIS`], which holds every retry. A replay within it changes nothing, since each event is known by its
//! `sg_event_id`. Where the signature can't be had, credentials take its place: basic in the URL, or the bearer token of an
//! OAuth server of one's own. What is configured is asked for, both where both are.
//!
//! **From and return-path** are in no event. A sender can put them into custom arguments, which SendGrid merges into each event;
//! the settings say under which names.
//!
//! What each event becomes:
//!
//! | event | becomes |
//! |---|---|
//! | `processed`, `delivered`, `deferred` | sent, delivered, deferred; refused where the reply says 5xx |
//! | `bounce` | refused. By SendGrid's `type`: `bounce` is final, `blocked` is about the message rather than the address, `expired` (reported only) is given up |
//! | `dropped` for the address (`Bounced Address`, `Unsubscribed Address`, `Spam Reporting Address`, `Invalid`) | suppressed by provider |
//! | `dropped` for anything else (`Spam Content`, `Invalid SMTPAPI header`, words that nobody knows) | refused of unknown class and without codes, since SendGrid never tried and the receiving side said nothing |
//! | `spamreport` | complained |
//! | `unsubscribe`, `group_unsubscribe` | unsubscribed |
//! | opens, clicks, `group_resubscribe`, `account_status_change` | ignored |

pub mod signing;

use std::borrow::Cow;

use aws_lc_rs::{
    digest,
    signature::{ECDSA_P256_SHA256_ASN1, ParsedPublicKey},
};
use axum::http::StatusCode;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    Delivery, Rejection, RejectionReason,
    auth::{Login, MAX_SECRETS, SecretError, Secrets},
    feeds::{FeedError, Place, SetUp, logins, secrets},
    signed::{seconds, within_window},
    wire::{self, Aside, Parts, Scalar, WireError},
};
use crate::{
    config::{Config, SendgridFeed},
    ingest::{Report, label},
    model::{
        Address, DedupeMaterial, EnhancedCode, Event, EventKind, FailureClass, HOUR_MILLIS, Provider, Reply, Timestamp,
    },
};

/// The largest body that is taken. The size of a batch is undocumented; 128 events are reported.
pub const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;
/// How old a signed timestamp may be: the 24 hours for which SendGrid tries again, and one for the last attempt and for clocks.
pub const WINDOW_MILLIS: i64 = 25 * HOUR_MILLIS;
/// The header with the signature: base64 of ECDSA's ASN.1 form.
pub const SIGNATURE_HEADER: &str = "x-twilio-email-event-webhook-signature";
/// The header with the timestamp that is signed, in seconds.
pub const TIMESTAMP_HEADER: &str = "x-twilio-email-event-webhook-timestamp";

/// What the feed is made from.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Verification keys as SendGrid shows them, base64 of a P-256 public key: one, or two while they are rotated.
    pub verification_keys: Vec<SecretString>,
    /// User names with passwords for basic authentication: up to two.
    pub logins: Vec<Login>,
    /// Bearer tokens: up to two.
    pub tokens: Vec<SecretString>,
    /// The custom argument that holds the From address or its domain.
    pub from_argument: Option<String>,
    /// The custom argument that holds the envelope sender or its domain.
    pub envelope_argument: Option<String>,
}

/// What is wrong with the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Keys or credentials, or none of either.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A text that is no key.
    #[error(
        "a verification key is no P-256 public key in base64; copy it again from SendGrid (Mail Settings, Event Webhook, \
         Signature Verification)"
    )]
    Key,
}

/// The feed of SendGrid's events.
pub struct SendGrid {
    keys: Vec<ParsedPublicKey>,
    secrets: Option<Secrets>,
    arguments: Arguments,
}

impl std::fmt::Debug for SendGrid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SendGrid({} keys, {:?})", self.keys.len(), self.secrets)
    }
}

/// The custom arguments that tell what SendGrid doesn't.
#[derive(Debug, Clone, Default)]
pub(in crate::ingest) struct Arguments {
    /// The one with the From address or its domain.
    pub(in crate::ingest) from: Option<String>,
    /// The one with the envelope sender or its domain.
    pub(in crate::ingest) envelope: Option<String>,
}

/// The events of a batch, or a single one, as the webhook has them and as files of them do.
pub(in crate::ingest) fn decode(text: &str, arguments: &Arguments, now: Timestamp) -> Result<Report, WireError> {
    let parts = Parts::<Element<'_>>::parse(text)?;
    Ok(parts.report(Provider::Sendgrid, now, |element, now, report| take(element, arguments, now, report)))
}

impl SendGrid {
    /// Makes the feed.
    ///
    /// # Errors
    /// Where there is neither a key nor a credential, or an unusable one.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let Settings { verification_keys, logins, tokens, from_argument, envelope_argument } = settings;
        if verification_keys.len() > MAX_SECRETS {
            return Err(SecretError::TooMany.into());
        }
        let key = |key: &SecretString| {
            let der = BASE64_STANDARD.decode(key.expose_secret().trim()).map_err(|_| SettingsError::Key)?;
            ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, der).map_err(|_| SettingsError::Key)
        };
        let keys = verification_keys.iter().map(key).collect::<Result<Vec<_>, _>>()?;
        let without = logins.is_empty() && tokens.is_empty();
        let secrets = if without && !keys.is_empty() { None } else { Some(Secrets::new(logins, tokens)?) };
        let arguments = Arguments { from: from_argument.clone(), envelope: envelope_argument.clone() };
        Ok(Self { keys, secrets, arguments })
    }

    /// Verifies and decodes one batch.
    ///
    /// # Errors
    /// 400 for what is no batch; 401 without the credentials, or for a signature that is absent or doesn't verify; 413 above
    /// the cap; 503 for a signed timestamp outside the window, since this machine's clock may be what is wrong.
    pub fn receive(&self, delivery: &Delivery) -> Result<Report, Rejection> {
        if let Some(secrets) = &self.secrets {
            secrets.check(delivery)?;
        }
        wire::within(&delivery.body, MAX_BODY_BYTES)?;
        if !self.keys.is_empty() {
            self.verify(delivery)?;
        }
        wire::decoded(delivery, "a batch of SendGrid's ([{\"event\":…}])", |text| {
            decode(text, &self.arguments, delivery.received_at)
        })
    }

    /// Checks signature and time.
    fn verify(&self, delivery: &Delivery) -> Result<(), Rejection> {
        let absent = || {
            Rejection::unauthenticated(
                "the signature's headers are absent or unreadable; switch on Signature Verification for this webhook at \
                 SendGrid, and let a proxy pass X-Twilio-Email-Event-Webhook-* on",
            )
        };
        let timestamp = delivery.header(TIMESTAMP_HEADER).ok_or_else(absent)?;
        let signed_at = seconds(timestamp).ok_or_else(absent)?;
        let signature = delivery.header(SIGNATURE_HEADER).filter(|text| !text.trim().is_empty()).ok_or_else(absent)?;
        let signature = BASE64_STANDARD.decode(signature.trim()).map_err(|_| absent())?;
        let mut signed = digest::Context::new(&digest::SHA256);
        signed.update(timestamp.as_bytes());
        signed.update(&delivery.body);
        let signed = signed.finish();
        if !self.keys.iter().any(|key| key.verify_digest_sig(&signed, &signature).is_ok()) {
            return Err(Rejection::new(
                StatusCode::UNAUTHORIZED,
                RejectionReason::BadSignature,
                "the signature verifies with none of the verification keys; compare them with the one at SendGrid (each webhook \
                 has its own), and check that no proxy changes bodies",
            ));
        }
        within_window(signed_at, delivery.received_at, WINDOW_MILLIS)
    }
}

impl SetUp for SendGrid {
    type Table = SendgridFeed;
    const PROVIDER: Provider = Provider::Sendgrid;

    fn set_up(_: &Config, table: &SendgridFeed, place: &Place) -> Result<Self, Vec<FeedError>> {
        place.or_wrong(Self::new(&Settings {
            verification_keys: secrets(&[&table.verification_key, &table.previous_verification_key]),
            logins: logins(table.username.as_deref(), &[&table.password, &table.previous_password]),
            tokens: secrets(&[&table.token, &table.previous_token]),
            from_argument: table.from_argument.clone(),
            envelope_argument: table.envelope_argument.clone(),
        }))
    }
}

/// One event: the fields that are known, and all of them for the custom arguments.
struct Element<'a> {
    fields: Fields<'a>,
    all: &'a RawValue,
}

impl<'de: 'a, 'a> Deserialize<'de> for Element<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let all = <&RawValue>::deserialize(deserializer)?;
        let fields = serde_json::from_str(all.get()).map_err(|_| D::Error::custom("no event"))?;
        Ok(Self { fields, all })
    }
}

/// The fields that relaywatch uses; user agents, links, custom arguments and all others are skipped.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    event: Option<Scalar<'a>>,
    #[serde(borrow)]
    sg_event_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    sg_message_id: Option<Scalar<'a>>,
    #[serde(borrow, rename = "smtp-id")]
    smtp_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    timestamp: Option<Scalar<'a>>,
    #[serde(borrow)]
    email: Option<Scalar<'a>>,
    #[serde(borrow, rename = "type")]
    kind: Option<Scalar<'a>>,
    #[serde(borrow)]
    bounce_classification: Option<Scalar<'a>>,
    #[serde(borrow)]
    status: Option<Scalar<'a>>,
    #[serde(borrow)]
    reason: Option<Scalar<'a>>,
    #[serde(borrow)]
    response: Option<Scalar<'a>>,
    #[serde(borrow)]
    category: Option<&'a RawValue>,
    #[serde(borrow)]
    marketing_campaign_name: Option<Scalar<'a>>,
    #[serde(borrow)]
    marketing_campaign_id: Option<Scalar<'a>>,
}

/// A member of an object by its name; the last, where it stands several times.
fn member<'a>(object: &'a RawValue, name: &str) -> Option<Scalar<'a>> {
    struct Search<'n>(&'n str);
    impl<'de> Visitor<'de> for Search<'_> {
        type Value = Option<&'de RawValue>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = None;
            while let Some(Key(key)) = map.next_key()? {
                if key == self.0 {
                    found = Some(map.next_value()?);
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(found)
        }
    }
    let mut object = serde_json::Deserializer::from_str(object.get());
    let value = object.deserialize_map(Search(name)).ok()??;
    serde_json::from_str(value.get()).ok()
}

/// A member's name, borrowed where it has no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

fn take(element: &Element<'_>, arguments: &Arguments, now: Timestamp, report: &mut Report) -> Result<(), Aside> {
    let Element { fields, all } = element;
    let word = wire::text(fields.event);
    let word = word.as_deref().unwrap_or("unnamed");
    let reason = wire::text(fields.reason).map(wire::without_nul);
    let kind = match word {
        "processed" => EventKind::Sent,
        "delivered" => EventKind::Delivered,
        "deferred" => EventKind::Deferred,
        "dropped" if reason.as_deref().is_some_and(is_suppression) => EventKind::SuppressedByProvider,
        "bounce" | "dropped" => EventKind::Refused,
        "spamreport" => EventKind::Complained,
        "unsubscribe" | "group_unsubscribe" => EventKind::Unsubscribed,
        "open" | "click" | "group_resubscribe" | "account_status_change" => {
            report.ignored.push(match word {
                "open" => "open",
                "click" => "click",
                "group_resubscribe" => "resubscribe",
                _ => "account",
            });
            return Ok(());
        }
        _ => return Err(wire::unknown_type(word, fields.timestamp, now)),
    };
    let at = wire::event_time(fields.timestamp, now, word)?;
    let recipient = wire::recipient(fields.email, at, word)?;
    let bounce_type = wire::text(fields.kind);
    let bounce_type = bounce_type.as_deref().map(str::trim);
    let reply = match word {
        "bounce" => reply_of(reason.as_deref(), fields.status),
        "deferred" => {
            let response = wire::text(fields.response).map(wire::without_nul);
            reply_of(response.as_deref().or(reason.as_deref()), fields.status)
        }
        // SendGrid never tried; the receiving side said nothing, and has no code.
        "dropped" => reason.as_deref().map(wire::own_words),
        _ => None,
    };
    // By its own word; the reply decides below.
    let provider_class = class_of(kind, bounce_type);
    let kind = wire::unless_final(kind, reply.as_ref());
    let message_id = message_id(fields);
    let envelope = arguments.envelope.as_deref().and_then(|name| member(all, name));
    let envelope_sender = wire::text(envelope).and_then(|text| Address::parse(&text).ok());
    report.events.push(Event {
        provider: Provider::Sendgrid,
        kind,
        at,
        sent_at: (kind == EventKind::Sent).then_some(at),
        dedupe: dedupe(fields, word, at, message_id.as_deref(), &recipient, reply.as_ref()),
        message_id,
        recipient,
        from_domain: arguments.from.as_deref().and_then(|name| wire::domain(member(all, name))),
        envelope_domain: wire::domain(envelope),
        envelope_sender,
        campaign: wire::name(fields.marketing_campaign_name)
            .or_else(|| wire::name(fields.marketing_campaign_id))
            .or_else(|| fields.category.and_then(wire::first_name)),
        reply,
        // `ip` is the address that SendGrid sent from.
        remote_mta: None,
        provider_verdict: verdict(word, bounce_type, wire::text(fields.bounce_classification).as_deref()),
        provider_class,
    });
    Ok(())
}

/// Whether SendGrid dropped the message for the address, which it has on one of its lists.
fn is_suppression(reason: &str) -> bool {
    const SIGNS: [&str; 4] = ["Bounced Address", "Unsubscribed Address", "Spam Reporting Address", "Invalid"];
    SIGNS.iter().any(|sign| reason.trim().eq_ignore_ascii_case(sign))
}

/// What the receiving side said; `status` holds its enhanced code.
fn reply_of(text: Option<&str>, status: Option<Scalar<'_>>) -> Option<Reply> {
    let enhanced = wire::text(status).and_then(|code| EnhancedCode::parse(code.trim()));
    if text.is_none() && enhanced.is_none() {
        return None;
    }
    Some(Reply::with_codes(text.unwrap_or_default(), None, enhanced))
}

/// The part of `sg_message_id` before the first dot, which all events of a message share with the API's `X-Message-Id`;
/// `smtp-id` where there is none.
fn message_id(fields: &Fields<'_>) -> Option<String> {
    if let Some(id) = wire::id(fields.sg_message_id) {
        return id.split('.').next().map(ToOwned::to_owned).filter(|id| !id.is_empty());
    }
    wire::bare_id(fields.smtp_id)
}

/// SendGrid gives each event an id of its own; where it is missing, the event's content takes its place.
fn dedupe(
    fields: &Fields<'_>,
    word: &str,
    at: Timestamp,
    message_id: Option<&str>,
    recipient: &Address,
    reply: Option<&Reply>,
) -> DedupeMaterial {
    if let Some(id) = wire::text(fields.sg_event_id) {
        return DedupeMaterial::new(Provider::Sendgrid, &["id", id.trim()]);
    }
    let said = reply.map_or("", |reply| reply.text.as_str());
    wire::by_content(Provider::Sendgrid, message_id, recipient, word, at, said)
}

/// What SendGrid itself says: type and classification of a bounce, as in `bounce/Invalid Address`.
fn verdict(word: &str, bounce_type: Option<&str>, classification: Option<&str>) -> Option<String> {
    match word {
        "bounce" => {
            let said: Vec<_> = [bounce_type, classification.map(str::trim)].into_iter().flatten().collect();
            (!said.is_empty()).then(|| label(&said.join("/")))
        }
        "dropped" => Some("dropped".to_owned()),
        _ => None,
    }
}

/// Whether SendGrid calls the failure final. Used only where the reply has no code.
fn class_of(kind: EventKind, bounce_type: Option<&str>) -> FailureClass {
    match (kind, bounce_type) {
        (EventKind::Deferred, _) | (EventKind::Refused, Some("blocked" | "expired")) => FailureClass::Transient,
        (EventKind::Refused, Some("bounce")) => FailureClass::Permanent,
        _ => FailureClass::Unknown,
    }
}

#[cfg(test)]
mod tests;
