//! Mailtrap's webhooks: `{"events":[…]}` or JSON Lines, an event a line, signed with HMAC-SHA256 over the raw body.
//!
//! Source: the fields as public clients read them (reported); the signature as in Mailtrap's own client library: the header
//! `Mailtrap-Signature` holds the hex digest of the raw body under the webhook's signing secret. On every answer but 200 Mailtrap comes
//! again, 40 times, every 5 minutes (Mailtrap, "JSON Handler" and "JSON Lines Handler").
//!
//! No timestamp is signed: a replay is known by `event_id`, and changes nothing.
//!
//! The reply stands in `response`, wrapped in a word of Mailtrap's (`bounced (550 5.1.1 …)`), which is taken off; its code in
//! `response_code` as well.
//!
//! What each event becomes:
//!
//! | event | becomes |
//! |---|---|
//! | `delivery` | delivered |
//! | `soft bounce` | deferred; refused where the reply says 5xx |
//! | `bounce` | refused, final by Mailtrap's word |
//! | `reject` for the address (its `reason` names a list, a bounce, a complaint; inferred) | suppressed by provider |
//! | `reject` for anything else, `suspension` | refused by Mailtrap itself, so of unknown class and without codes |
//! | `spam`, `unsubscribe` | complained, unsubscribed |
//! | `open`, `click` | ignored |

use aws_lc_rs::hmac;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Delivery, Rejection,
    auth::SecretError,
    feeds::{FeedError, Place, SetUp, secrets},
    mac::MacKeys,
    wire::{self, Aside, Parts, Scalar, WireError},
};
use crate::{
    config::{Config, MailtrapFeed},
    ingest::{Report, label},
    model::{DedupeMaterial, Event, EventKind, FailureClass, Provider, Reply, Timestamp},
};

/// The largest body that is taken. The size of a batch is undocumented.
pub const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;
/// The header with the signature, in hex.
pub const SIGNATURE_HEADER: &str = "mailtrap-signature";

/// What the feed is made from.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The webhook's signing secrets: one, or two while they are rotated.
    pub signing_secrets: Vec<SecretString>,
}

/// The feed of Mailtrap's events.
#[derive(Debug)]
pub struct Mailtrap {
    keys: MacKeys,
}

impl Mailtrap {
    /// Makes the feed.
    ///
    /// # Errors
    /// Where there is no usable signing secret.
    pub fn new(settings: &Settings) -> Result<Self, SecretError> {
        Ok(Self { keys: MacKeys::new(hmac::HMAC_SHA256, &settings.signing_secrets)? })
    }

    /// Verifies and decodes one batch.
    ///
    /// # Errors
    /// 400 for what is no batch, 401 for a signature that is absent or doesn't verify, 413 above the cap.
    pub fn receive(&self, delivery: &Delivery) -> Result<Report, Rejection> {
        wire::within(&delivery.body, MAX_BODY_BYTES)?;
        self.keys.check_body(delivery, SIGNATURE_HEADER, "webhook's signing secret")?;
        wire::decoded(delivery, "a batch of Mailtrap's ({\"events\":[…]}, or an event a line)", |text| {
            Ok(parts(text)?.report(Provider::Mailtrap, delivery.received_at, take))
        })
    }
}

impl SetUp for Mailtrap {
    type Table = MailtrapFeed;
    const PROVIDER: Provider = Provider::Mailtrap;

    fn set_up(_: &Config, table: &MailtrapFeed, place: &Place) -> Result<Self, Vec<FeedError>> {
        let signing_secrets = secrets(&[&table.signing_secret, &table.previous_signing_secret]);
        place.or_wrong(Self::new(&Settings { signing_secrets }))
    }
}

/// The body in JSON.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    events: &'a RawValue,
}

/// The events of a body in JSON, or of one in JSON Lines, whose first line is an event.
fn parts(text: &str) -> Result<Parts<'_, Fields<'_>>, WireError> {
    let first = serde_json::Deserializer::from_str(text).into_iter::<Fields<'_>>().next();
    if let Some(Ok(Fields { event: Some(_), .. })) = first {
        return Parts::lines(text);
    }
    let body: Body<'_> = wire::whole_object(text)?;
    Parts::parse(body.events.get())
}

/// The fields that relaywatch uses; custom variables, user agents, links and all others are skipped.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    event: Option<Scalar<'a>>,
    #[serde(borrow)]
    event_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    message_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    timestamp: Option<Scalar<'a>>,
    #[serde(borrow)]
    email: Option<Scalar<'a>>,
    #[serde(borrow)]
    sending_domain_name: Option<Scalar<'a>>,
    #[serde(borrow)]
    category: Option<Scalar<'a>>,
    #[serde(borrow)]
    reason: Option<Scalar<'a>>,
    #[serde(borrow)]
    response: Option<Scalar<'a>>,
    #[serde(borrow)]
    response_code: Option<Scalar<'a>>,
    #[serde(borrow)]
    bounce_category: Option<Scalar<'a>>,
}

fn take(fields: &Fields<'_>, now: Timestamp, report: &mut Report) -> Result<(), Aside> {
    let word = wire::text(fields.event);
    let word = word.as_deref().unwrap_or("unnamed");
    let reason = wire::text(fields.reason).map(wire::without_nul);
    let own = || reason.as_deref().map(wire::own_words);
    let (kind, reply, provider_class) = match word {
        "delivery" => (EventKind::Delivered, None, FailureClass::Unknown),
        "soft bounce" => (EventKind::Deferred, reply_of(fields), FailureClass::Transient),
        "bounce" => (EventKind::Refused, reply_of(fields), FailureClass::Permanent),
        "reject" if reason.as_deref().is_some_and(is_suppression) => {
            (EventKind::SuppressedByProvider, own(), FailureClass::Unknown)
        }
        "reject" | "suspension" => (EventKind::Refused, own(), FailureClass::Unknown),
        "spam" => (EventKind::Complained, None, FailureClass::Unknown),
        "unsubscribe" => (EventKind::Unsubscribed, None, FailureClass::Unknown),
        "open" => {
            report.ignored.push("open");
            return Ok(());
        }
        "click" => {
            report.ignored.push("click");
            return Ok(());
        }
        _ => return Err(wire::unknown_type(word, fields.timestamp, now)),
    };
    let kind = wire::unless_final(kind, reply.as_ref());
    let at = wire::event_time(fields.timestamp, now, word)?;
    let recipient = wire::recipient(fields.email, at, word)?;
    let message_id = wire::id(fields.message_id);
    let said = wire::text(wire::first(&[fields.response, fields.reason]));
    let said = said.as_deref().unwrap_or_default();
    let dedupe = match wire::text(fields.event_id) {
        Some(id) => DedupeMaterial::new(Provider::Mailtrap, &["id", id.trim()]),
        None => wire::by_content(Provider::Mailtrap, message_id.as_deref(), &recipient, word, at, said),
    };
    report.events.push(Event {
        provider: Provider::Mailtrap,
        kind,
        at,
        sent_at: None,
        dedupe,
        message_id,
        recipient,
        from_domain: wire::domain(fields.sending_domain_name),
        envelope_sender: None,
        envelope_domain: None,
        campaign: wire::name(fields.category),
        provider_verdict: verdict(word, kind, wire::text(fields.bounce_category).as_deref(), reason.as_deref()),
        reply,
        remote_mta: None,
        provider_class,
    });
    Ok(())
}

/// Whether Mailtrap did not try for what it has on its list of suppressions. The words of `reason` are in no documented source.
fn is_suppression(reason: &str) -> bool {
    const SIGNS: [&str; 5] = ["suppress", "blacklist", "unsubscri", "bounce", "complain"];
    let reason = reason.to_ascii_lowercase();
    SIGNS.iter().any(|sign| reason.contains(sign))
}

/// What the receiving side said.
fn reply_of(fields: &Fields<'_>) -> Option<Reply> {
    let text = wire::text(fields.response).map(wire::without_nul);
    let code = wire::text(fields.response_code).and_then(|code| code.trim().parse().ok());
    let reply = Reply::with_codes(wire::unwrapped(text.as_deref().unwrap_or_default()), code, None);
    (!reply.text.is_empty() || reply.code.is_some()).then_some(reply)
}

/// What Mailtrap itself says: event and category of a bounce, as in `bounce/hard`; event and reason of a rejection.
fn verdict(word: &str, kind: EventKind, category: Option<&str>, reason: Option<&str>) -> Option<String> {
    if !matches!(kind, EventKind::Refused | EventKind::Deferred | EventKind::SuppressedByProvider) {
        return None;
    }
    let second = category.or(reason).map(str::trim);
    Some(label(&second.map_or_else(|| word.to_owned(), |second| format!("{word}/{second}"))))
}

pub use super::mac::signing;

#[cfg(test)]
mod tests;
