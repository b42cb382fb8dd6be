//! Customer.io's reporting webhooks: one JSON object a delivery, signed with HMAC-SHA256 over a time and the raw body.
//!
//! Source: Customer.io, "Reporting webhooks" and their API reference (docs.customer.io/api/webhooks). The signature is reported by
//! several implementations: `X-CIO-Signature` holds the hexadecimal HMAC-SHA256 of `v0:`, `X-CIO-Timestamp`, `:` and the body.
//! Customer.io waits 4 s for an answer, tries again on all but 2xx with growing pauses for 7 days, and holds later reports back
//! until then (documented). Whether the signed time is renewed with each attempt is documented nowhere, so that it may be as old
//! as that; a replay within it changes nothing, since each event has an id.
//!
//! What each `metric` of an `object_type` "email" becomes; other object types (push, SMS, customers) are ignored:
//!
//! | metric | event |
//! |---|---|
//! | `sent`, `delivered`, `spammed`, `unsubscribed` | sent, delivered, complained, unsubscribed |
//! | `bounced` | refused. Customer.io does not part hard from soft by this name, so the class is unknown unless the text has a code |
//! | `deferred` | deferred; refused where the reply says 5xx |
//! | `dropped` | suppressed by provider: not attempted, since the address is on a list |
//! | `failed` | refused by Customer.io or its provider, without codes, unless the text is a reply |
//! | `drafted`, `attempted`, `undeliverable`, `opened`, `clicked`, `converted` … | ignored: nothing left, or no outcome |
//!
//! Names are documented; that a `dropped` message was not attempted and what `failed` means follows from their descriptions
//! (inferred). The reply stands in `failure_message`. Older payloads have `event_type` ("email_bounced") and `email_address`.

use aws_lc_rs::hmac;
use secrecy::SecretString;
use serde::Deserialize;

use super::{
    Delivery, Rejection,
    auth::SecretError,
    feeds::{FeedError, Place, SetUp, secrets},
    mac::{MacKeys, bad_signature},
    signed::{seconds, within_window},
    wire::{self, Aside, Loose, Scalar},
};
use crate::{
    config::{Config, CustomerioFeed},
    ingest::{Report, label},
    model::{DAY_MILLIS, DedupeMaterial, Event, EventKind, FailureClass, HOUR_MILLIS, Provider, Reply, Timestamp},
};

/// The header with the signed time.
pub const TIMESTAMP_HEADER: &str = "x-cio-timestamp";
/// The header with the signature.
pub const SIGNATURE_HEADER: &str = "x-cio-signature";
/// The largest body that is taken: a `sent` event can carry the body of the message.
pub const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;
/// How old a signed time may be: the seven days of retries, and an hour for clocks.
pub const WINDOW_MILLIS: i64 = 7 * DAY_MILLIS + HOUR_MILLIS;

/// What the feed is made from.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Signing keys of the webhook: one, or two while they are rotated.
    pub signing_keys: Vec<SecretString>,
}

/// The feed of Customer.io's reports.
#[derive(Debug, Clone)]
pub struct CustomerIo {
    keys: MacKeys,
}

impl CustomerIo {
    /// Makes the feed.
    ///
    /// # Errors
    /// Where there is no signing key, or an unusable one.
    pub fn new(settings: &Settings) -> Result<Self, SecretError> {
        Ok(Self { keys: MacKeys::new(hmac::HMAC_SHA256, &settings.signing_keys)? })
    }

    /// Verifies and decodes one report.
    ///
    /// # Errors
    /// 400 for what is no report, 401 for a signature that is absent or doesn't verify, 413 above the cap, 503 for a time
    /// outside the window. Customer.io comes again after each.
    pub fn receive(&self, delivery: &Delivery) -> Result<Report, Rejection> {
        wire::within(&delivery.body, MAX_BODY_BYTES)?;
        self.verify(delivery)?;
        wire::elements(delivery, Provider::Customerio, "a report of Customer.io's ({\"event_id\":…})", take)
    }

    fn verify(&self, delivery: &Delivery) -> Result<(), Rejection> {
        let absent = || {
            Rejection::unauthenticated(
                "the headers X-CIO-Timestamp and X-CIO-Signature are absent or unreadable; Customer.io signs every reporting \
                 webhook, so look at who posts, and let a proxy pass them on",
            )
        };
        let timestamp = delivery.header(TIMESTAMP_HEADER).ok_or_else(absent)?;
        let signed_at = seconds(timestamp).ok_or_else(absent)?;
        let tag = hex::decode(delivery.header(SIGNATURE_HEADER).ok_or_else(absent)?.trim()).map_err(|_| absent())?;
        if !self.keys.verify(&[b"v0:", timestamp.as_bytes(), b":", &delivery.body], &tag) {
            return Err(bad_signature("signing key of this reporting webhook"));
        }
        within_window(signed_at, delivery.received_at, WINDOW_MILLIS)
    }
}

impl SetUp for CustomerIo {
    type Table = CustomerioFeed;
    const PROVIDER: Provider = Provider::Customerio;

    fn set_up(_: &Config, table: &CustomerioFeed, place: &Place) -> Result<Self, Vec<FeedError>> {
        let signing_keys = secrets(&[&table.signing_key, &table.previous_signing_key]);
        place.or_wrong(Self::new(&Settings { signing_keys }))
    }
}

/// The fields that relaywatch uses; subjects, bodies, identifiers and all others are skipped.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    event_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    object_type: Option<Scalar<'a>>,
    #[serde(borrow)]
    metric: Option<Scalar<'a>>,
    #[serde(borrow)]
    event_type: Option<Scalar<'a>>,
    #[serde(borrow)]
    timestamp: Option<Scalar<'a>>,
    #[serde(default, borrow)]
    data: Loose<Data<'a>>,
}

#[derive(Deserialize, Default)]
struct Data<'a> {
    #[serde(borrow)]
    delivery_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    recipient: Option<Scalar<'a>>,
    #[serde(borrow)]
    email_address: Option<Scalar<'a>>,
    #[serde(borrow)]
    campaign_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    broadcast_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    newsletter_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    transactional_message_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    failure_message: Option<Scalar<'a>>,
}

/// What is ignored, by the word under which it's counted.
fn ignored(metric: &str) -> Option<&'static str> {
    const WORDS: [&str; 8] =
        ["drafted", "attempted", "undeliverable", "opened", "clicked", "converted", "subscribed", "topic"];
    WORDS
        .into_iter()
        .find(|word| metric == *word)
        .or_else(|| ["human_opened", "human_clicked"].contains(&metric).then_some("human"))
}

fn take(fields: &Fields<'_>, now: Timestamp, report: &mut Report) -> Result<(), Aside> {
    let legacy = wire::text(fields.event_type);
    let object = wire::text(fields.object_type);
    let metric = wire::text(fields.metric);
    let (object, metric) = match (&object, &metric) {
        (object, Some(metric)) => (object.as_deref().unwrap_or("email"), metric.trim()),
        _ => legacy.as_deref().and_then(|word| word.trim().split_once('_')).unwrap_or(("unnamed", "unnamed")),
    };
    if ["customer", "push", "sms", "in_app", "slack", "webhook", "whatsapp", "whats_app", "line"].contains(&object) {
        report.ignored.push("not-email");
        return Ok(());
    }
    if object == "email"
        && let Some(word) = ignored(metric)
    {
        report.ignored.push(word);
        return Ok(());
    }
    let kind = match (object, metric) {
        ("email", "sent") => EventKind::Sent,
        ("email", "delivered") => EventKind::Delivered,
        ("email", "bounced" | "failed") => EventKind::Refused,
        ("email", "deferred") => EventKind::Deferred,
        ("email", "dropped") => EventKind::SuppressedByProvider,
        ("email", "spammed") => EventKind::Complained,
        ("email", "unsubscribed") => EventKind::Unsubscribed,
        _ => return Err(wire::unknown_type(&format!("{object}_{metric}"), fields.timestamp, now)),
    };
    let at = wire::event_time(fields.timestamp, now, metric)?;
    let no_data = Data::default();
    let data = fields.data.get().unwrap_or(&no_data);
    let recipient = wire::recipient(wire::first(&[data.recipient, data.email_address]), at, metric)?;
    let said = wire::text(data.failure_message).map(wire::without_nul);
    let message_id = wire::id(data.delivery_id);
    let reply = said.as_deref().and_then(|said| match (kind, metric) {
        (EventKind::SuppressedByProvider, _) => Some(wire::own_words(said)),
        (_, "failed") if Reply::parse(wire::unwrapped(said)).code.is_none() => Some(wire::own_words(said)),
        (EventKind::Refused | EventKind::Deferred, _) => Some(Reply::parse(wire::unwrapped(said))),
        _ => None,
    });
    let kind = wire::unless_final(kind, reply.as_ref());
    let dedupe = match wire::text(fields.event_id) {
        Some(id) => DedupeMaterial::new(Provider::Customerio, &["id", id.trim()]),
        None => wire::by_content(
            Provider::Customerio,
            message_id.as_deref(),
            &recipient,
            metric,
            at,
            said.as_deref().unwrap_or_default(),
        ),
    };
    report.events.push(Event {
        provider: Provider::Customerio,
        kind,
        at,
        sent_at: (kind == EventKind::Sent).then_some(at),
        dedupe,
        message_id,
        recipient,
        from_domain: None,
        envelope_sender: None,
        envelope_domain: None,
        campaign: campaign(data),
        reply,
        remote_mta: None,
        provider_verdict: matches!(kind, EventKind::Refused | EventKind::Deferred | EventKind::SuppressedByProvider)
            .then(|| label(metric)),
        provider_class: if metric == "deferred" { FailureClass::Transient } else { FailureClass::Unknown },
    });
    Ok(())
}

/// Campaigns, broadcasts, newsletters and transactional messages are numbered each for themselves.
fn campaign(data: &Data<'_>) -> Option<String> {
    let named = |kind: &str, field| Some(format!("{kind} {}", wire::name(field)?));
    named("campaign", data.campaign_id)
        .or_else(|| named("newsletter", data.newsletter_id))
        .or_else(|| named("broadcast", data.broadcast_id))
        .or_else(|| named("transactional", data.transactional_message_id))
}

/// Signs as Customer.io does: for tests.
pub mod signing {
    use aws_lc_rs::hmac;

    use crate::model::Timestamp;

    /// The two headers of a body that is signed at a time.
    #[must_use]
    pub fn headers(key: &str, at: Timestamp, body: &[u8]) -> Vec<(&'static str, String)> {
        let seconds = at.as_seconds().to_string();
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()));
        for part in [b"v0:", seconds.as_bytes(), b":", body] {
            context.update(part);
        }
        vec![(super::TIMESTAMP_HEADER, seconds), (super::SIGNATURE_HEADER, hex::encode(context.sign()))]
    }
}

#[cfg(test)]
mod tests;
