//! Mandrill's (Mailchimp Transactional's) webhooks: a form with `mandrill_events=[…]`, signed with HMAC-SHA1.
//!
//! Source: Mailchimp, "How to Authenticate Webhook Requests", and the fields as public clients read them (reported). What is
//! signed is the webhook's URL exactly as it was entered at Mandrill, and after it each field of the form, sorted by name, name
//! and value without anything between them; so the URL must be configured, whatever a proxy makes of it. Mandrill stops on 200
//! and comes again on all else until it gives up; for how long is unknown.
//!
//! When a webhook is made, Mandrill asks whether anybody is here, by a HEAD and by an empty list, before anybody can know the
//! key that it makes then. Both are answered, and count as nothing.
//!
//! No timestamp is signed and there is no id of an event: a replay is known by its content, and changes nothing.
//!
//! What each event becomes:
//!
//! | event | becomes |
//! |---|---|
//! | `send`, `deferral` | sent, deferred; refused where the reply says 5xx |
//! | `delivered` (inferred) | delivered |
//! | `hard_bounce`, `soft_bounce` | refused; the first final by Mandrill's word |
//! | `reject` for the address, or for no reason that is told | suppressed by provider |
//! | `reject` for the mail (`invalid-sender`, `unsigned`, `rule`, `test-mode-limit`; inferred) | refused of unknown class and without codes |
//! | `spam`, `unsub` | complained, unsubscribed |
//! | `type` `blacklist` with `action` `add` | suppressed by provider; unsubscribed where that is the reason |
//! | `open`, `click`, `inbound`, other changes of lists | ignored |

use std::borrow::Cow;

use aws_lc_rs::hmac;
use axum::http::{Method, StatusCode};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Delivery, Rejection, RejectionReason,
    auth::SecretError,
    feeds::{FeedError, Place, SetUp, secrets},
    mac::MacKeys,
    wire::{self, Aside, Loose, Parts, Scalar, WireError},
};
use crate::{
    config::{Config, MandrillFeed},
    ingest::{Report, label},
    model::{Event, EventKind, FailureClass, Provider, Reply, Timestamp},
};

/// The largest body that is taken: a thousand events (inferred), coded for a form.
pub const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;
/// The header with the signature, in base64.
pub const SIGNATURE_HEADER: &str = "x-mandrill-signature";
/// The field of the form that holds the events.
const EVENTS: &str = "mandrill_events";
/// More fields than any form of Mandrill's has.
const MAX_FIELDS: usize = 16;

/// What the feed is made from.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The webhook's URL exactly as it was entered at Mandrill.
    pub url: String,
    /// The webhook's keys: one, or two while they are rotated.
    pub keys: Vec<SecretString>,
}

/// What is wrong with the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The keys.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// No URL.
    #[error("the feed has no URL, which Mandrill signs along; set `url` as it was entered at Mandrill")]
    Url,
}

/// The feed of Mandrill's events.
#[derive(Debug)]
pub struct Mandrill {
    url: String,
    keys: MacKeys,
}

impl Mandrill {
    /// Makes the feed.
    ///
    /// # Errors
    /// Where there is no usable key, or no URL.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let keys = MacKeys::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &settings.keys)?;
        if settings.url.is_empty() {
            return Err(SettingsError::Url);
        }
        Ok(Self { url: settings.url.clone(), keys })
    }

    /// Verifies and decodes one form.
    ///
    /// # Errors
    /// 400 for what is no form of Mandrill's, 401 for a signature that is absent or doesn't verify, 413 above the cap.
    pub fn receive(&self, delivery: &Delivery) -> Result<Report, Rejection> {
        wire::within(&delivery.body, MAX_BODY_BYTES)?;
        let malformed = |error| {
            let what = "a form of Mandrill's (mandrill_events=[…])";
            wire::malformed(StatusCode::BAD_REQUEST, what, error)
        };
        let text = wire::utf8(&delivery.body).map_err(malformed)?;
        let mut form: Vec<_> = url::form_urlencoded::parse(text.as_bytes()).take(MAX_FIELDS + 1).collect();
        let mut lists = form.iter().filter(|(name, _)| name == EVENTS);
        let (Some((_, list)), None, true) = (lists.next(), lists.next(), form.len() <= MAX_FIELDS) else {
            return Err(malformed(WireError::Shape { line: 1, column: 0 }));
        };
        let list = list.clone();
        form.sort_by(|(one, _), (other, _)| one.cmp(other));
        if let Err(rejection) = self.verify(&form, delivery) {
            if list.trim() == "[]" {
                return Ok(Report { is_question: true, ..Report::default() });
            }
            return Err(rejection);
        }
        let parts = Parts::parse(&list).map_err(malformed)?;
        Ok(parts.report(Provider::Mandrill, delivery.received_at, take))
    }

    /// Checks the signature of a form whose fields are sorted.
    fn verify(&self, form: &[(Cow<'_, str>, Cow<'_, str>)], delivery: &Delivery) -> Result<(), Rejection> {
        let absent = || {
            Rejection::unauthenticated(
                "the header X-Mandrill-Signature is absent or unreadable; Mandrill signs every webhook, so look at who posts",
            )
        };
        let tag = delivery.header(SIGNATURE_HEADER).filter(|text| !text.trim().is_empty()).ok_or_else(absent)?;
        let tag = BASE64_STANDARD.decode(tag.trim()).map_err(|_| absent())?;
        let fields = form.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
        let signed: Vec<&[u8]> = std::iter::once(self.url.as_bytes()).chain(fields).collect();
        if self.keys.verify(&signed, &tag) {
            return Ok(());
        }
        Err(Rejection::new(
            StatusCode::UNAUTHORIZED,
            RejectionReason::BadSignature,
            "the signature verifies with none of the keys; compare them with the webhook's key at Mandrill, and `url` with its URL, \
             letter by letter",
        ))
    }
}

impl SetUp for Mandrill {
    type Table = MandrillFeed;
    const PROVIDER: Provider = Provider::Mandrill;
    const ASKS_BY: &'static [Method] = &[Method::HEAD];

    fn set_up(_: &Config, table: &MandrillFeed, place: &Place) -> Result<Self, Vec<FeedError>> {
        place.or_wrong(Self::new(&Settings {
            url: table.url.clone().unwrap_or_default(),
            keys: secrets(&[&table.key, &table.previous_key]),
        }))
    }
}

/// The fields that relaywatch uses; subjects, metadata, opens, clicks and all others are skipped.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    event: Option<Scalar<'a>>,
    #[serde(borrow, rename = "type")]
    kind: Option<Scalar<'a>>,
    #[serde(borrow)]
    action: Option<Scalar<'a>>,
    #[serde(borrow, rename = "_id")]
    id: Option<Scalar<'a>>,
    #[serde(borrow)]
    ts: Option<Scalar<'a>>,
    #[serde(default, borrow)]
    msg: Loose<Message<'a>>,
    #[serde(borrow)]
    reject: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, rename = "_id")]
    id: Option<Scalar<'a>>,
    #[serde(borrow)]
    ts: Option<Scalar<'a>>,
    #[serde(borrow)]
    email: Option<Scalar<'a>>,
    #[serde(borrow)]
    sender: Option<Scalar<'a>>,
    #[serde(borrow)]
    diag: Option<Scalar<'a>>,
    #[serde(borrow)]
    bounce_description: Option<Scalar<'a>>,
    #[serde(borrow)]
    tags: Option<&'a RawValue>,
    #[serde(borrow)]
    subaccount: Option<Scalar<'a>>,
    #[serde(borrow)]
    smtp_events: Option<&'a RawValue>,
    #[serde(borrow)]
    reject: Option<&'a RawValue>,
}

/// Why Mandrill rejects, or what stands on its list.
#[derive(Deserialize)]
struct Rejected<'a> {
    #[serde(borrow)]
    email: Option<Scalar<'a>>,
    #[serde(borrow)]
    reason: Option<Scalar<'a>>,
    #[serde(borrow)]
    sender: Option<Scalar<'a>>,
}

impl<'a> Fields<'a> {
    fn rejected(&self) -> Option<Rejected<'a>> {
        let raw = self.reject.or_else(|| self.msg.get()?.reject)?;
        serde_json::from_str(raw.get()).ok()
    }
}

/// Reasons of a rejection that lie with the mail and not with the address.
const OF_THE_MAIL: [&str; 4] = ["invalid-sender", "unsigned", "rule", "test-mode-limit"];

fn take(fields: &Fields<'_>, now: Timestamp, report: &mut Report) -> Result<(), Aside> {
    let word = wire::text(fields.event).or_else(|| wire::text(fields.kind));
    let word = word.as_deref().unwrap_or("unnamed");
    let rejected = fields.rejected();
    let reason = rejected.as_ref().and_then(|rejected| wire::text(rejected.reason)).map(wire::without_nul);
    let reason = reason.as_deref().map(str::trim);
    let action = wire::text(fields.action);
    let (kind, provider_class) = match (word, action.as_deref()) {
        ("send", _) => (EventKind::Sent, FailureClass::Unknown),
        ("delivered", _) => (EventKind::Delivered, FailureClass::Unknown),
        ("deferral", _) => (EventKind::Deferred, FailureClass::Transient),
        ("hard_bounce", _) => (EventKind::Refused, FailureClass::Permanent),
        ("soft_bounce", _) => (EventKind::Refused, FailureClass::Transient),
        ("reject", _) if reason.is_some_and(|reason| OF_THE_MAIL.contains(&reason)) => {
            (EventKind::Refused, FailureClass::Unknown)
        }
        ("spam", _) => (EventKind::Complained, FailureClass::Unknown),
        ("unsub", _) => (EventKind::Unsubscribed, FailureClass::Unknown),
        ("blacklist", Some("add")) if reason == Some("unsub") => (EventKind::Unsubscribed, FailureClass::Unknown),
        ("reject", _) | ("blacklist", Some("add")) => (EventKind::SuppressedByProvider, FailureClass::Unknown),
        ("open" | "click" | "inbound" | "blacklist" | "whitelist" | "allowlist", _) => {
            report.ignored.push(match word {
                "open" => "open",
                "click" => "click",
                "inbound" => "inbound",
                _ => "list",
            });
            return Ok(());
        }
        _ => return Err(wire::unknown_type(word, fields.ts, now)),
    };
    let at = wire::event_time(fields.ts, now, word)?;
    let message = fields.msg.get();
    let email = message.and_then(|message| message.email).or_else(|| rejected.as_ref()?.email);
    let recipient = wire::recipient(email, at, word)?;
    let diagnostic = message.and_then(diagnostic).map(wire::without_nul);
    let reply = match (word, kind) {
        (_, EventKind::Deferred) | ("hard_bounce" | "soft_bounce", _) => diagnostic.as_deref().map(Reply::parse),
        // Mandrill never tried; the receiving side said nothing, and has no code.
        (_, EventKind::Refused | EventKind::SuppressedByProvider) => reason.map(wire::own_words),
        _ => None,
    };
    let kind = wire::unless_final(kind, reply.as_ref());
    let message_id = wire::id(fields.id.or_else(|| message?.id));
    let said = reply.as_ref().map_or("", |reply| reply.text.as_str());
    let sender = message.and_then(|message| message.sender).or_else(|| rejected.as_ref()?.sender);
    report.events.push(Event {
        provider: Provider::Mandrill,
        kind,
        at,
        sent_at: wire::send_time(message.and_then(|message| message.ts), now)
            .or((kind == EventKind::Sent).then_some(at)),
        dedupe: wire::by_content(Provider::Mandrill, message_id.as_deref(), &recipient, word, at, said),
        message_id,
        recipient,
        from_domain: wire::domain(sender),
        // The return-path is Mandrill's own, and not told.
        envelope_sender: None,
        envelope_domain: None,
        campaign: message
            .and_then(|message| message.tags.and_then(wire::first_name).or_else(|| wire::name(message.subaccount))),
        provider_verdict: verdict(word, kind, message, reason),
        reply,
        remote_mta: None,
        provider_class,
    });
    Ok(())
}

/// What the receiving side said: `smtp;550 5.1.1 …`, or the text of the last attempt that is told.
fn diagnostic<'a>(message: &Message<'a>) -> Option<Cow<'a, str>> {
    #[derive(Deserialize)]
    struct Attempt<'a> {
        #[serde(borrow)]
        diag: Option<Scalar<'a>>,
    }
    wire::text(message.diag).or_else(|| {
        let attempts: Vec<Attempt<'a>> = serde_json::from_str(message.smtp_events?.get()).ok()?;
        attempts.into_iter().rev().find_map(|attempt| wire::text(attempt.diag))
    })
}

/// What Mandrill itself says: event and description of a bounce, as in `hard_bounce/bad_mailbox`; event and reason of a rejection.
fn verdict(word: &str, kind: EventKind, message: Option<&Message<'_>>, reason: Option<&str>) -> Option<String> {
    let description = message.and_then(|message| wire::text(message.bounce_description));
    let second = match kind {
        EventKind::Deferred => None,
        EventKind::Refused if word != "reject" => description.as_deref(),
        EventKind::Refused | EventKind::SuppressedByProvider => reason,
        _ => return None,
    };
    Some(label(&second.map_or_else(|| word.to_owned(), |second| format!("{word}/{}", second.trim()))))
}

/// Signs forms as Mandrill does: for tests and fuzzing.
pub mod signing {
    use aws_lc_rs::hmac;
    use base64::{Engine as _, prelude::BASE64_STANDARD};

    /// The form that carries a list of events, which is JSON text.
    #[must_use]
    pub fn form(events: &str) -> String {
        url::form_urlencoded::Serializer::new(String::new()).append_pair("mandrill_events", events).finish()
    }

    /// The signature's header for a form that a webhook at `url` gets.
    #[must_use]
    pub fn signature(key: &str, url: &str, form: &[u8]) -> String {
        let mut fields: Vec<_> = url::form_urlencoded::parse(form).collect();
        fields.sort();
        let signed = fields.iter().fold(url.to_owned(), |signed, (name, value)| signed + name + value);
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key.as_bytes());
        BASE64_STANDARD.encode(hmac::sign(&key, signed.as_bytes()))
    }
}

#[cfg(test)]
mod tests;
