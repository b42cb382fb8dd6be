//! MailerSend's webhooks: one JSON object a delivery, signed with HMAC-SHA256 over the raw body.
//!
//! Source: MailerSend, "Webhooks"; a sent event was observed. The second version of the payload, which takes the first one's place
//! by the end of 2026, is read as public clients read it (reported): `recipient`, `message_id`, `tags` and `meta` stand in `data`
//! itself. Whether and how often MailerSend comes again is unknown.
//!
//! No timestamp is signed: a replay is known by `data.id`, and changes nothing.
//!
//! **The reply is withheld.** The first version has `morph.reason`, a few words of MailerSend's that are no reply and are kept in its
//! verdict; the second has `meta.bounce_code` and `meta.bounce_reason`, which count as a reply only where there is a code. Without
//! one, no cause is made up.
//!
//! What each type (`activity.…`) becomes:
//!
//! | type | event |
//! |---|---|
//! | `sent`, `delivered`, `deferred` | sent, delivered, deferred; refused where the reply says 5xx |
//! | `hard_bounced`, `soft_bounced` | refused; the first final by MailerSend's word |
//! | `suppressed` | suppressed by provider |
//! | `spam_complaint`, `spam_complaints`, `unsubscribed` | complained, complained, unsubscribed |
//! | opens, clicks, surveys, `webhook.test` | ignored |

use aws_lc_rs::hmac;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Delivery, Rejection,
    auth::SecretError,
    feeds::{FeedError, Place, SetUp, secrets},
    mac::MacKeys,
    wire::{self, Aside, Loose, Scalar},
};
use crate::{
    config::{Config, MailersendFeed},
    ingest::{Report, SetAsideReason, label},
    model::{DedupeMaterial, EnhancedCode, Event, EventKind, FailureClass, Provider, Reply, Timestamp},
};

/// The largest body that is taken; a delivery holds one event.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;
/// The header with the signature, in hex.
pub const SIGNATURE_HEADER: &str = "signature";

/// What the feed is made from.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The webhook's signing secrets: one, or two while they are rotated.
    pub signing_secrets: Vec<SecretString>,
}

/// The feed of MailerSend's events.
#[derive(Debug)]
pub struct MailerSend {
    keys: MacKeys,
}

impl MailerSend {
    /// Makes the feed.
    ///
    /// # Errors
    /// Where there is no usable signing secret.
    pub fn new(settings: &Settings) -> Result<Self, SecretError> {
        Ok(Self { keys: MacKeys::new(hmac::HMAC_SHA256, &settings.signing_secrets)? })
    }

    /// Verifies and decodes one event.
    ///
    /// # Errors
    /// 400 for what is no event, 401 for a signature that is absent or doesn't verify, 413 above the cap.
    pub fn receive(&self, delivery: &Delivery) -> Result<Report, Rejection> {
        wire::within(&delivery.body, MAX_BODY_BYTES)?;
        self.keys.check_body(delivery, SIGNATURE_HEADER, "webhook's signing secret")?;
        wire::elements(delivery, Provider::Mailersend, "an event of MailerSend's ({\"type\":…})", take)
    }
}

impl SetUp for MailerSend {
    type Table = MailersendFeed;
    const PROVIDER: Provider = Provider::Mailersend;

    fn set_up(_: &Config, table: &MailersendFeed, place: &Place) -> Result<Self, Vec<FeedError>> {
        let signing_secrets = secrets(&[&table.signing_secret, &table.previous_signing_secret]);
        place.or_wrong(Self::new(&Settings { signing_secrets }))
    }
}

/// The fields that relaywatch uses; subjects, user agents, links and all others are skipped.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Scalar<'a>>,
    #[serde(borrow)]
    created_at: Option<Scalar<'a>>,
    #[serde(default, borrow)]
    data: Loose<Data<'a>>,
}

/// The first version has `email` and `morph`, the second `recipient`, `message_id`, `tags` and `meta`.
#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    id: Option<Scalar<'a>>,
    #[serde(borrow)]
    created_at: Option<Scalar<'a>>,
    #[serde(default, borrow)]
    email: Loose<Email<'a>>,
    #[serde(default, borrow)]
    morph: Loose<Morph<'a>>,
    #[serde(borrow)]
    recipient: Option<Scalar<'a>>,
    #[serde(borrow)]
    message_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    tags: Option<&'a RawValue>,
    #[serde(borrow)]
    meta: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Email<'a> {
    #[serde(borrow)]
    created_at: Option<Scalar<'a>>,
    #[serde(borrow)]
    from: Option<Scalar<'a>>,
    #[serde(borrow)]
    tags: Option<&'a RawValue>,
    #[serde(default, borrow)]
    message: Loose<Message<'a>>,
    #[serde(default, borrow)]
    recipient: Loose<Recipient<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<Scalar<'a>>,
}

#[derive(Deserialize)]
struct Recipient<'a> {
    #[serde(borrow)]
    email: Option<Scalar<'a>>,
}

#[derive(Deserialize)]
struct Morph<'a> {
    #[serde(borrow)]
    reason: Option<Scalar<'a>>,
}

#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(borrow)]
    bounce_code: Option<Scalar<'a>>,
    #[serde(borrow)]
    bounce_reason: Option<Scalar<'a>>,
    #[serde(borrow)]
    suppression_reason: Option<Scalar<'a>>,
}

fn take(fields: &Fields<'_>, now: Timestamp, report: &mut Report) -> Result<(), Aside> {
    let word = wire::text(fields.kind);
    let word = word.as_deref().unwrap_or("unnamed");
    let data = fields.data.get();
    let time = wire::first(&[data.and_then(|data| data.created_at), fields.created_at]);
    let (kind, provider_class) = match word.strip_prefix("activity.").unwrap_or(word) {
        "sent" => (EventKind::Sent, FailureClass::Unknown),
        "delivered" => (EventKind::Delivered, FailureClass::Unknown),
        "deferred" => (EventKind::Deferred, FailureClass::Transient),
        "hard_bounced" => (EventKind::Refused, FailureClass::Permanent),
        "soft_bounced" => (EventKind::Refused, FailureClass::Transient),
        "suppressed" => (EventKind::SuppressedByProvider, FailureClass::Unknown),
        "spam_complaint" | "spam_complaints" => (EventKind::Complained, FailureClass::Unknown),
        "unsubscribed" => (EventKind::Unsubscribed, FailureClass::Unknown),
        short @ ("opened" | "opened_unique" | "clicked" | "clicked_unique" | "survey_opened" | "survey_submitted"
        | "webhook.test") => {
            report.ignored.push(match short {
                "opened" | "opened_unique" => "open",
                "clicked" | "clicked_unique" => "click",
                "webhook.test" => "test",
                _ => "survey",
            });
            return Ok(());
        }
        _ => return Err(wire::unknown_type(word, time, now)),
    };
    let at = wire::event_time(time, now, word)?;
    let data = data.ok_or_else(|| Aside::new(SetAsideReason::Malformed, word).at(at))?;
    let email = data.email.get();
    let address = email.and_then(|email| email.recipient.get()?.email);
    let recipient = wire::recipient(wire::first(&[address, data.recipient]), at, word)?;
    let id = email.and_then(|email| email.message.get()?.id);
    let message_id = wire::id(wire::first(&[id, data.message_id]));
    let meta: Option<Meta<'_>> = data.meta.and_then(|meta| serde_json::from_str(meta.get()).ok());
    let reply = match kind {
        EventKind::Refused | EventKind::Deferred => meta.as_ref().and_then(reply_of),
        EventKind::SuppressedByProvider => {
            let reason = meta.as_ref().and_then(|meta| wire::text(meta.suppression_reason)).map(wire::without_nul);
            reason.as_deref().map(wire::own_words)
        }
        _ => None,
    };
    let kind = wire::unless_final(kind, reply.as_ref());
    let said = meta.as_ref().and_then(|meta| wire::text(wire::first(&[meta.bounce_reason, meta.suppression_reason])));
    let said = said.as_deref().unwrap_or_default();
    let dedupe = match wire::text(data.id) {
        Some(id) => DedupeMaterial::new(Provider::Mailersend, &["id", id.trim()]),
        None => wire::by_content(Provider::Mailersend, message_id.as_deref(), &recipient, word, at, said),
    };
    report.events.push(Event {
        provider: Provider::Mailersend,
        kind,
        at,
        sent_at: wire::send_time(email.and_then(|email| email.created_at), now)
            .or((kind == EventKind::Sent).then_some(at)),
        dedupe,
        message_id,
        recipient,
        from_domain: wire::domain(email.and_then(|email| email.from)),
        envelope_sender: None,
        envelope_domain: None,
        campaign: email
            .and_then(|email| email.tags.and_then(wire::first_name))
            .or_else(|| data.tags.and_then(wire::first_name)),
        reply,
        remote_mta: None,
        provider_verdict: verdict(word, kind, data, meta.as_ref()),
        provider_class,
    });
    Ok(())
}

/// A reply, where there is a code.
fn reply_of(meta: &Meta<'_>) -> Option<Reply> {
    let text = wire::text(meta.bounce_reason).map(wire::without_nul);
    let code = wire::text(meta.bounce_code);
    let code = code.as_deref().map(str::trim);
    let number = code.and_then(|code| code.parse().ok());
    let reply = Reply::with_codes(text.as_deref().unwrap_or_default(), number, code.and_then(EnhancedCode::parse));
    (reply.code.is_some() || reply.enhanced.is_some()).then_some(reply)
}

/// What MailerSend itself says, as in `hard_bounced/Host or domain name not found`.
fn verdict(word: &str, kind: EventKind, data: &Data<'_>, meta: Option<&Meta<'_>>) -> Option<String> {
    if !matches!(kind, EventKind::Refused | EventKind::Deferred | EventKind::SuppressedByProvider) {
        return None;
    }
    let short = word.strip_prefix("activity.").unwrap_or(word);
    let reason = data.morph.get().and_then(|morph| wire::text(morph.reason));
    let reason = reason.or_else(|| wire::text(meta?.suppression_reason));
    Some(label(&reason.map_or_else(|| short.to_owned(), |reason| format!("{short}/{}", reason.trim()))))
}

pub use super::mac::signing;

#[cfg(test)]
mod tests;
