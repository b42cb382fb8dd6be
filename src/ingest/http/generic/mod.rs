//! relaywatch's own event format, for senders of one's own: JSON events, signed with HMAC-SHA256 over a time and the raw body.
//!
//! The format is documented for those who write senders in `docs/providers/generic.md`; this is where it is read. A body is one
//! event, an array of events, or events one after the other (JSON lines). Names that are not known are skipped, so that a sender
//! may add its own.
//!
//! | header | holds |
//! |---|---|
//! | `X-Relaywatch-Timestamp` | the time of signing, in whole seconds since the epoch: ten digits |
//! | `X-Relaywatch-Signature` | `v1=` and the HMAC-SHA256, in hexadecimal digits, of `v1:`, that time, `:` and the raw body |
//!
//! The time may be five minutes off, both ways: a sender signs each attempt anew. A repetition within them changes nothing, since
//! an event's identity is its `id`, or all of its content.
//!
//! Answers: 2xx, the events are committed. 400 and 413: send no such body again. 401 and 503: send it again, later.

use aws_lc_rs::hmac;
use secrecy::SecretString;
use serde::Deserialize;

use super::{
    Delivery, Rejection,
    auth::SecretError,
    feeds::{FeedError, Place, SetUp, secrets},
    mac::{MacKeys, bad_signature},
    signed::{seconds, within_window},
    wire::{self, Aside, Parts, Scalar},
};
use crate::{
    config::{Config, GenericFeed},
    ingest::{Report, label},
    model::{
        Address, DedupeMaterial, EnhancedCode, Event, EventKind, FailureClass, MINUTE_MILLIS, Provider, Reply,
        Timestamp,
    },
};

/// The header with the time of signing.
pub const TIMESTAMP_HEADER: &str = "x-relaywatch-timestamp";
/// The header with the signature.
pub const SIGNATURE_HEADER: &str = "x-relaywatch-signature";
/// The largest body that is taken.
pub const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;
/// How old a signed time may be.
pub const WINDOW_MILLIS: i64 = 5 * MINUTE_MILLIS;
/// What a signature begins with.
const VERSION: &str = "v1=";

/// What the feed is made from.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Signing keys: one, or two while they are rotated.
    pub signing_keys: Vec<SecretString>,
}

/// The feed of one's own events.
#[derive(Debug, Clone)]
pub struct Generic {
    keys: MacKeys,
}

impl Generic {
    /// Makes the feed.
    ///
    /// # Errors
    /// Where there is no signing key, or an unusable one.
    pub fn new(settings: &Settings) -> Result<Self, SecretError> {
        Ok(Self { keys: MacKeys::new(hmac::HMAC_SHA256, &settings.signing_keys)? })
    }

    /// Verifies and decodes one body.
    ///
    /// # Errors
    /// 400 for what holds no events, 401 for a signature that is absent or doesn't verify, 413 above the cap, 503 for a time
    /// outside the window.
    pub fn receive(&self, delivery: &Delivery) -> Result<Report, Rejection> {
        wire::within(&delivery.body, MAX_BODY_BYTES)?;
        self.verify(delivery)?;
        wire::decoded(delivery, "one event, an array of events or one event a line", |text| {
            Ok(Parts::lines(text)?.report(Provider::Generic, delivery.received_at, take))
        })
    }

    fn verify(&self, delivery: &Delivery) -> Result<(), Rejection> {
        let absent = || {
            Rejection::unauthenticated(
                "the headers X-Relaywatch-Timestamp (ten digits) and X-Relaywatch-Signature (v1= and 64 hexadecimal digits) are \
                 absent or unreadable; docs/providers/generic.md shows how they are made",
            )
        };
        let timestamp = delivery.header(TIMESTAMP_HEADER).ok_or_else(absent)?;
        let signed_at = seconds(timestamp).ok_or_else(absent)?;
        let tag =
            delivery.header(SIGNATURE_HEADER).and_then(|text| text.trim().strip_prefix(VERSION)).ok_or_else(absent)?;
        let tag = hex::decode(tag).map_err(|_| absent())?;
        if !self.keys.verify(&[b"v1:", timestamp.as_bytes(), b":", &delivery.body], &tag) {
            return Err(bad_signature("signing key"));
        }
        within_window(signed_at, delivery.received_at, WINDOW_MILLIS)
    }
}

impl SetUp for Generic {
    type Table = GenericFeed;
    const PROVIDER: Provider = Provider::Generic;

    fn set_up(_: &Config, table: &GenericFeed, place: &Place) -> Result<Self, Vec<FeedError>> {
        let signing_keys = secrets(&[&table.signing_key, &table.previous_signing_key]);
        place.or_wrong(Self::new(&Settings { signing_keys }))
    }
}

/// One event.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    id: Option<Scalar<'a>>,
    #[serde(borrow, rename = "type")]
    kind: Option<Scalar<'a>>,
    #[serde(borrow)]
    at: Option<Scalar<'a>>,
    #[serde(borrow)]
    sent_at: Option<Scalar<'a>>,
    #[serde(borrow)]
    recipient: Option<Scalar<'a>>,
    #[serde(borrow)]
    message_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    from: Option<Scalar<'a>>,
    #[serde(borrow)]
    envelope_sender: Option<Scalar<'a>>,
    #[serde(borrow)]
    campaign: Option<Scalar<'a>>,
    #[serde(borrow)]
    reply: Option<Scalar<'a>>,
    #[serde(borrow)]
    smtp_code: Option<Scalar<'a>>,
    #[serde(borrow)]
    enhanced_code: Option<Scalar<'a>>,
    #[serde(borrow)]
    remote_mta: Option<Scalar<'a>>,
    #[serde(borrow)]
    verdict: Option<Scalar<'a>>,
    #[serde(borrow, rename = "final")]
    is_final: Option<Scalar<'a>>,
}

fn take(fields: &Fields<'_>, now: Timestamp, report: &mut Report) -> Result<(), Aside> {
    let word = wire::text(fields.kind);
    let word = word.as_deref().unwrap_or("unnamed");
    let kind = EventKind::from_name(word).ok_or_else(|| wire::unknown_type(word, fields.at, now))?;
    let at = wire::event_time(fields.at, now, word)?;
    let recipient = wire::recipient(fields.recipient, at, word)?;
    let message_id = wire::id(fields.message_id);
    let said = wire::text(fields.reply).map(wire::without_nul);
    let reply = reply(said.as_deref(), fields, kind);
    let dedupe = match wire::text(fields.id) {
        Some(id) => DedupeMaterial::new(Provider::Generic, &["id", id.trim()]),
        None => by_content(fields, &recipient.key(), word, at),
    };
    report.events.push(Event {
        provider: Provider::Generic,
        kind,
        at,
        sent_at: wire::send_time(fields.sent_at, now).or((kind == EventKind::Sent).then_some(at)),
        dedupe,
        message_id,
        recipient,
        from_domain: wire::domain(fields.from),
        envelope_sender: wire::text(fields.envelope_sender).and_then(|text| Address::parse(&text).ok()),
        envelope_domain: wire::domain(fields.envelope_sender),
        campaign: wire::name(fields.campaign),
        reply,
        remote_mta: wire::name(fields.remote_mta),
        provider_verdict: wire::text(fields.verdict).map(|text| label(&text)).filter(|label| !label.is_empty()),
        provider_class: match (kind, fields.is_final) {
            (EventKind::Deferred, _) => FailureClass::Transient,
            (EventKind::Refused, Some(is_final)) if is_final.is_true() => FailureClass::Permanent,
            (EventKind::Refused, Some(is_final)) if is_final.is_false() => FailureClass::Transient,
            _ => FailureClass::Unknown,
        },
    });
    Ok(())
}

/// All that an event without an id says.
fn by_content(fields: &Fields<'_>, recipient: &str, word: &str, at: Timestamp) -> DedupeMaterial {
    let at = at.as_millis().to_string();
    let others = [
        fields.message_id,
        fields.sent_at,
        fields.from,
        fields.envelope_sender,
        fields.campaign,
        fields.reply,
        fields.smtp_code,
        fields.enhanced_code,
        fields.remote_mta,
        fields.verdict,
        fields.is_final,
    ];
    let others = others.map(|field| wire::text(field).unwrap_or_default());
    let mut parts = vec!["content", recipient, word, &at];
    parts.extend(others.iter().map(|text| &**text));
    DedupeMaterial::new(Provider::Generic, &parts)
}

/// What the receiving side said; of an address that the sender did not try, the sender's own words, which have no code.
fn reply(said: Option<&str>, fields: &Fields<'_>, kind: EventKind) -> Option<Reply> {
    if kind == EventKind::SuppressedByProvider {
        return said.map(wire::own_words);
    }
    let code = wire::text(fields.smtp_code).and_then(|code| code.trim().parse().ok());
    let enhanced = wire::text(fields.enhanced_code).and_then(|code| EnhancedCode::parse(code.trim()));
    if said.is_none() && code.is_none() && enhanced.is_none() {
        return None;
    }
    Some(Reply::with_codes(said.unwrap_or_default(), code, enhanced))
}

/// Signs as a sender does: for tests.
pub mod signing {
    use aws_lc_rs::hmac;

    use crate::model::Timestamp;

    /// The two headers of a body that is signed at a time.
    #[must_use]
    pub fn headers(key: &str, at: Timestamp, body: &[u8]) -> Vec<(&'static str, String)> {
        let seconds = at.as_seconds().to_string();
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()));
        for part in [b"v1:", seconds.as_bytes(), b":", body] {
            context.update(part);
        }
        let signature = format!("v1={}", hex::encode(context.sign()));
        vec![(super::TIMESTAMP_HEADER, seconds), (super::SIGNATURE_HEADER, signature)]
    }
}

#[cfg(test)]
mod tests;
