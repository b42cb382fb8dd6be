//! Klaviyo's system webhooks: `{"data":[{"topic":…,"external_id":…,"payload":…}],"meta":{…}}`, signed with HMAC-SHA256.
//!
//! Source: Klaviyo, "Working with system webhooks" (documented: headers, envelope, topics, the signature over the raw body and
//! then the header `Klaviyo-Timestamp`). How `Klaviyo-Timestamp` is written is not documented; it is reported both as RFC 3339 and
//! as HTTP writes dates, once five hours ahead of the time in the body. So the header is taken as it comes, as part of what is
//! signed, and the age goes by `meta.timestamp`, which is signed as well; by the header only where that is absent, which then may
//! be as far ahead as any zone; in seconds with a fraction and in milliseconds it's read too (inferred). Retries are not
//! documented: the time may be 25 hours old. `meta.klaviyo_webhook_id` and the header `Klaviyo-Webhook-Id` must be the same
//! (documented).
//!
//! What each topic (`event:klaviyo.…`) becomes:
//!
//! | topic | event |
//! |---|---|
//! | `received_email`, `email_delivered` | delivered |
//! | `bounced_email` | refused; permanently or not by `Bounce Type` |
//! | `dropped_email` | suppressed by provider: Klaviyo did not try, since the address bounced before or complained (inferred) |
//! | `marked_email_as_spam` | complained |
//! | `unsubscribed…` | unsubscribed |
//! | `opened_email`, `clicked_email`, `subscribed…`, those of SMS and push | ignored |
//!
//! The payload is what "Get Event" answers. Which names the event's properties have is not documented: the recipient is reported
//! as `email_address`, and inferred as `Recipient Email Address` and from the profile where that comes along; `Bounce Type`
//! (Hard, Soft) and `Campaign Name` are inferred. `$_cohort$message_send_cohort`, `<time of sending>:<message>`, is the same in all
//! events of one sending (inferred), so it stands for the message. Klaviyo hands on no reply: the cause stays undetermined.

use aws_lc_rs::hmac;
use axum::http::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Delivery, Rejection, RejectionReason,
    auth::SecretError,
    dates,
    feeds::{FeedError, Place, SetUp, secrets},
    mac::{MacKeys, bad_signature},
    signed::{seconds, within, within_window},
    wire::{self, Aside, Capped, Loose, Parts, Scalar},
};
use crate::{
    config::{Config, KlaviyoFeed},
    ingest::{Report, label, plausible},
    model::{DedupeMaterial, Event, EventKind, FailureClass, HOUR_MILLIS, Provider, Timestamp},
};

/// The header with the signed time.
pub const TIMESTAMP_HEADER: &str = "klaviyo-timestamp";
/// The header with the signature.
pub const SIGNATURE_HEADER: &str = "klaviyo-signature";
/// The header with the webhook's id.
pub const WEBHOOK_HEADER: &str = "klaviyo-webhook-id";
/// The largest body that is taken.
pub const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;
/// How old a signed time may be.
pub const WINDOW_MILLIS: i64 = 25 * HOUR_MILLIS;
/// What the topics of Klaviyo's own events begin with.
const PREFIX: &str = "event:klaviyo.";

/// How far ahead of the clock the header may be where the body has no time: it was seen to be written in another zone than it
/// says, and none is farther from UTC.
const HEADER_AHEAD_MILLIS: i64 = 14 * HOUR_MILLIS;
/// The most resources that an event can include: "Get Event" gives its metric, its profile and what it's attributed to.
const MAX_INCLUDED: usize = 100;

/// What the feed is made from.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Secret keys of the webhook: one, or two while they are rotated.
    pub secret_keys: Vec<SecretString>,
}

/// The feed of Klaviyo's events.
#[derive(Debug, Clone)]
pub struct Klaviyo {
    keys: MacKeys,
}

impl Klaviyo {
    /// Makes the feed.
    ///
    /// # Errors
    /// Where there is no secret key, or an unusable one.
    pub fn new(settings: &Settings) -> Result<Self, SecretError> {
        Ok(Self { keys: MacKeys::new(hmac::HMAC_SHA256, &settings.secret_keys)? })
    }

    /// Verifies and decodes one batch.
    ///
    /// # Errors
    /// 400 for what is no batch or of another webhook than the header says, 401 for a signature that is absent or doesn't verify,
    /// 413 above the cap, 503 for a time outside the window.
    pub fn receive(&self, delivery: &Delivery) -> Result<Report, Rejection> {
        wire::within(&delivery.body, MAX_BODY_BYTES)?;
        let signed_at = self.verify(delivery)?;
        let malformed = |error| {
            wire::malformed(StatusCode::BAD_REQUEST, "a batch of Klaviyo's ({\"data\":[…],\"meta\":{…}})", error)
        };
        let text = wire::utf8(&delivery.body).map_err(malformed)?;
        let body: Body<'_> = wire::whole_object(text).map_err(malformed)?;
        let no_meta = Meta::default();
        let meta = body.meta.get().unwrap_or(&no_meta);
        let now = delivery.received_at;
        match meta.timestamp.and_then(dates::parse) {
            Some(at) => within_window(at, now, WINDOW_MILLIS)?,
            None => within(signed_at, now, WINDOW_MILLIS, HEADER_AHEAD_MILLIS)?,
        }
        if let Some(webhook) = wire::text(meta.klaviyo_webhook_id)
            && delivery.header(WEBHOOK_HEADER).is_some_and(|header| header.trim() != webhook.trim())
        {
            return Err(Rejection::new(
                StatusCode::BAD_REQUEST,
                RejectionReason::Foreign,
                "the header Klaviyo-Webhook-Id names another webhook than the body",
            )
            .conclusive());
        }
        let parts = Parts::parse(body.data.get()).map_err(malformed)?;
        Ok(parts.report(Provider::Klaviyo, now, take))
    }

    /// Checks the signature; gives the header's time.
    fn verify(&self, delivery: &Delivery) -> Result<Timestamp, Rejection> {
        let absent = || {
            Rejection::unauthenticated(
                "the headers Klaviyo-Timestamp and Klaviyo-Signature are absent or unreadable; Klaviyo signs every webhook, so \
                 look at who posts, and let a proxy pass them on",
            )
        };
        let timestamp = delivery.header(TIMESTAMP_HEADER).ok_or_else(absent)?;
        // Nothing parts the body from the time: only a whole time is taken, so that no byte can move between them.
        let at = header_time(timestamp).ok_or_else(absent)?;
        let tag = hex::decode(delivery.header(SIGNATURE_HEADER).ok_or_else(absent)?.trim()).map_err(|_| absent())?;
        if self.keys.verify(&[&delivery.body, timestamp.as_bytes()], &tag) {
            return Ok(at);
        }
        Err(bad_signature("secret key of this webhook"))
    }
}

/// Seconds, with or without a fraction, milliseconds, or a date.
fn header_time(text: &str) -> Option<Timestamp> {
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.split_once('.') {
        Some((whole, fraction)) if are_digits(fraction) && fraction.len() <= 9 => seconds(whole),
        None if text.len() == 13 && are_digits(text) => text.parse().ok().map(Timestamp::from_millis),
        _ => seconds(text).or_else(|| dates::parse_text(text)),
    }
}

impl SetUp for Klaviyo {
    type Table = KlaviyoFeed;
    const PROVIDER: Provider = Provider::Klaviyo;

    fn set_up(_: &Config, table: &KlaviyoFeed, place: &Place) -> Result<Self, Vec<FeedError>> {
        let secret_keys = secrets(&[&table.secret_key, &table.previous_secret_key]);
        place.or_wrong(Self::new(&Settings { secret_keys }))
    }
}

/// The body.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(default, borrow)]
    meta: Loose<Meta<'a>>,
}

#[derive(Deserialize, Default)]
struct Meta<'a> {
    #[serde(borrow)]
    timestamp: Option<Scalar<'a>>,
    #[serde(borrow)]
    klaviyo_webhook_id: Option<Scalar<'a>>,
}

/// One event in its envelope.
#[derive(Deserialize)]
struct Element<'a> {
    #[serde(borrow)]
    topic: Option<Scalar<'a>>,
    #[serde(borrow)]
    external_id: Option<Scalar<'a>>,
    #[serde(default, borrow)]
    payload: Loose<Payload<'a>>,
}

/// What "Get Event" answers.
#[derive(Deserialize, Default)]
struct Payload<'a> {
    #[serde(default, borrow)]
    data: Loose<Resource<'a>>,
    #[serde(borrow)]
    included: Option<&'a RawValue>,
}

impl<'a> Payload<'a> {
    /// The address of the profile that is included. The list is read when it's needed, and let go: of thousands of events each
    /// could include hundreds of thousands of nothing.
    fn profile_email(&self) -> Option<Scalar<'a>> {
        let included: Capped<Loose<Resource<'a>>, MAX_INCLUDED> = serde_json::from_str(self.included?.get()).ok()?;
        let is_profile = |resource: &&Resource<'_>| wire::text(resource.kind).is_some_and(|kind| kind == "profile");
        included.0.iter().filter_map(Loose::get).find(is_profile)?.attributes.get()?.email
    }
}

#[derive(Deserialize, Default)]
struct Resource<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Scalar<'a>>,
    #[serde(borrow)]
    id: Option<Scalar<'a>>,
    #[serde(default, borrow)]
    attributes: Loose<Attributes<'a>>,
}

#[derive(Deserialize, Default)]
struct Attributes<'a> {
    #[serde(borrow)]
    timestamp: Option<Scalar<'a>>,
    #[serde(borrow)]
    datetime: Option<Scalar<'a>>,
    #[serde(borrow)]
    email: Option<Scalar<'a>>,
    #[serde(default, borrow)]
    event_properties: Loose<Properties<'a>>,
}

#[derive(Deserialize, Default)]
struct Properties<'a> {
    #[serde(borrow)]
    email_address: Option<Scalar<'a>>,
    #[serde(borrow, rename = "Recipient Email Address")]
    recipient: Option<Scalar<'a>>,
    #[serde(borrow, rename = "Bounce Type")]
    bounce_type: Option<Scalar<'a>>,
    #[serde(borrow, rename = "Campaign Name")]
    campaign: Option<Scalar<'a>>,
    #[serde(borrow, rename = "$_cohort$message_send_cohort")]
    cohort: Option<Scalar<'a>>,
}

/// What a topic becomes: an event, or the word under which it's ignored.
fn meaning(topic: &str) -> Option<Result<EventKind, &'static str>> {
    let name = topic.strip_prefix(PREFIX)?;
    Some(match name {
        "received_email" | "email_delivered" => Ok(EventKind::Delivered),
        "bounced_email" => Ok(EventKind::Refused),
        "dropped_email" => Ok(EventKind::SuppressedByProvider),
        "marked_email_as_spam" => Ok(EventKind::Complained),
        _ if name.ends_with("_sms") || name.contains("_sms_") || name.ends_with("_push") => Err("not-email"),
        _ if name.starts_with("unsubscribed") => Ok(EventKind::Unsubscribed),
        "opened_email" => Err("open"),
        "clicked_email" => Err("click"),
        _ if name.starts_with("subscribed") => Err("subscribe"),
        _ => return None,
    })
}

fn take(element: &Element<'_>, now: Timestamp, report: &mut Report) -> Result<(), Aside> {
    let topic = wire::text(element.topic);
    let topic = topic.as_deref().unwrap_or("unnamed").trim();
    let (no_payload, no_resource) = (Payload::default(), Resource::default());
    let (no_attributes, no_properties) = (Attributes::default(), Properties::default());
    let payload = element.payload.get().unwrap_or(&no_payload);
    let event = payload.data.get().unwrap_or(&no_resource);
    let attributes = event.attributes.get().unwrap_or(&no_attributes);
    let time = wire::first(&[attributes.timestamp, attributes.datetime]);
    let kind = match meaning(topic).ok_or_else(|| dates::unknown_type(topic, time, now))? {
        Ok(kind) => kind,
        Err(word) => {
            report.ignored.push(word);
            return Ok(());
        }
    };
    let word = topic.strip_prefix(PREFIX).unwrap_or(topic);
    let at = dates::event_time(time, now, word)?;
    let properties = attributes.event_properties.get().unwrap_or(&no_properties);
    let named = wire::first(&[properties.recipient, properties.email_address]).or_else(|| payload.profile_email());
    let recipient = wire::recipient(named, at, word)?;
    let bounce_type = wire::text(properties.bounce_type).filter(|_| kind == EventKind::Refused);
    let bounce_type = bounce_type.as_deref().map(str::trim);
    let message_id = wire::id(properties.cohort);
    let dedupe = match wire::text(element.external_id).or_else(|| wire::text(event.id)) {
        Some(id) => DedupeMaterial::new(Provider::Klaviyo, &["id", id.trim()]),
        None => wire::by_content(
            Provider::Klaviyo,
            message_id.as_deref(),
            &recipient,
            word,
            at,
            bounce_type.unwrap_or_default(),
        ),
    };
    report.events.push(Event {
        provider: Provider::Klaviyo,
        kind,
        at,
        sent_at: message_id.as_deref().and_then(|cohort| cohort_time(cohort, now)),
        dedupe,
        message_id,
        recipient,
        from_domain: None,
        envelope_sender: None,
        envelope_domain: None,
        campaign: wire::name(properties.campaign),
        reply: None,
        remote_mta: None,
        provider_verdict: match kind {
            EventKind::Refused => Some(bounce_type.map_or_else(|| "bounced".to_owned(), label)),
            EventKind::SuppressedByProvider => Some("dropped".to_owned()),
            _ => None,
        },
        provider_class: match bounce_type {
            Some(word) if word.eq_ignore_ascii_case("hard") => FailureClass::Permanent,
            Some(word) if word.eq_ignore_ascii_case("soft") => FailureClass::Transient,
            _ => FailureClass::Unknown,
        },
    });
    Ok(())
}

/// The time of sending in `<seconds>:<message>`.
fn cohort_time(cohort: &str, now: Timestamp) -> Option<Timestamp> {
    let (seconds, _) = cohort.split_once(':')?;
    let at = Timestamp::from_seconds(Some(seconds).filter(|text| text.len() == 10)?.parse().ok()?);
    plausible(at, now).then_some(at)
}

/// Signs as Klaviyo does: for tests.
pub mod signing {
    use aws_lc_rs::hmac;

    /// The two headers of a body that is signed with this `Klaviyo-Timestamp`.
    #[must_use]
    pub fn headers(key: &str, timestamp: &str, body: &[u8]) -> Vec<(&'static str, String)> {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()));
        context.update(body);
        context.update(timestamp.as_bytes());
        vec![(super::TIMESTAMP_HEADER, timestamp.to_owned()), (super::SIGNATURE_HEADER, hex::encode(context.sign()))]
    }
}

#[cfg(test)]
mod tests;
