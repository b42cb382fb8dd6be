//! SocketLabs' event webhooks: one JSON object a delivery, or a form in older versions, with the endpoint's secret key in it.
//!
//! Source: SocketLabs, "Event webhooks" (help.socketlabs.com). `SecretKey` in the body is all that authenticates; the answer holds
//! the validation key, by which SocketLabs knows that the endpoint is ours. It is answered to every delivery with the right
//! secret. The secret key is taken out of whatever is set aside, before it is kept.
//!
//! What each `Type` becomes:
//!
//! | type | event |
//! |---|---|
//! | `Queued` | sent |
//! | `Sent`, `Delivered` | delivered |
//! | `Deferred` | deferred; refused where the reply says 5xx |
//! | `Failed` | refused, by `FailureType` (Permanent, Temporary); `Suppressed` is suppressed by provider |
//! | `Complaint` | complained |
//! | `Tracking`, `Validation` | ignored |
//!
//! Types and fields are documented; the words of `FailureType`, the form of older versions and that times without an offset are in
//! UTC are inferred. The reply stands in `DiagnosticCode`, its enhanced code in `BounceStatus`; `Reason` is SocketLabs' own
//! sentence and is read only where nobody was asked. `FailureCode` is SocketLabs' own number. Retries are not documented.

use std::borrow::Cow;

use axum::http::{StatusCode, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    Answer, Delivery, Rejection, RejectionReason,
    auth::{self, SecretError, Secrets},
    dates,
    feeds::{FeedError, Place, SetUp, secrets},
    form,
    wire::{self, Aside, Loose, Parts, Scalar, WireError},
};
use crate::{
    config::{Config, SocketlabsFeed},
    ingest::{Report, label},
    model::{EnhancedCode, Event, EventKind, FailureClass, Provider, Reply, Timestamp},
};

/// The largest body that is taken; a delivery holds one event.
pub const MAX_BODY_BYTES: usize = 2 * 1024 * 1024;
/// The member with the secret.
const SECRET: &str = "SecretKey";

/// What the feed is made from.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Secret keys of the endpoint: one, or two while they are rotated.
    pub secret_keys: Vec<SecretString>,
    /// The validation key of the endpoint.
    pub validation_key: Option<SecretString>,
}

/// What is wrong with the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The secret keys.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// There is no validation key, or an unusable one.
    #[error("the feed has no usable validation key, without which SocketLabs does not take the endpoint")]
    Validation,
}

/// The feed of SocketLabs' events.
#[derive(Clone)]
pub struct SocketLabs {
    secrets: Secrets,
    validation_key: SecretString,
}

impl std::fmt::Debug for SocketLabs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SocketLabs({:?})", self.secrets)
    }
}

impl SocketLabs {
    /// Makes the feed.
    ///
    /// # Errors
    /// Where there is no secret key or no validation key, or an unusable one.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let secrets = Secrets::new(&[], &settings.secret_keys)?;
        let validation_key = settings.validation_key.clone().filter(|key| auth::usable(key.expose_secret()).is_ok());
        Ok(Self { secrets, validation_key: validation_key.ok_or(SettingsError::Validation)? })
    }

    /// Authenticates and decodes one event; the answer holds the validation key.
    ///
    /// # Errors
    /// 400 for what is no event, 401 without the secret key, 413 above the cap.
    pub fn receive(&self, delivery: &Delivery) -> Result<Report, Rejection> {
        wire::within(&delivery.body, MAX_BODY_BYTES)?;
        let text = json(delivery).map_err(malformed)?;
        self.authenticate(&text)?;
        let parts = Parts::parse(&text).map_err(malformed)?;
        let mut report = parts.report(Provider::Socketlabs, delivery.received_at, take);
        for aside in &mut report.set_aside {
            aside.body = without_secret(&aside.body);
        }
        report.answer = Some(Answer::of("text/plain; charset=utf-8", self.validation_key.expose_secret().to_owned()));
        Ok(report)
    }

    /// Looks for the secret key, in an event or in every one of several.
    fn authenticate(&self, text: &str) -> Result<(), Rejection> {
        #[derive(Deserialize)]
        struct Secret<'a> {
            #[serde(borrow, rename = "SecretKey")]
            key: Option<Scalar<'a>>,
        }
        let events = wire::one_or_many::<Secret<'_>>(text).map_err(|error| malformed(error.into()))?;
        let mut all = !events.is_empty();
        for event in events {
            all &= self.secrets.holds(wire::text(event.key).ok_or_else(absent)?.as_bytes());
        }
        if all {
            return Ok(());
        }
        Err(Rejection::new(
            StatusCode::UNAUTHORIZED,
            RejectionReason::BadCredentials,
            "the SecretKey is none of this feed's; compare it with the endpoint's at SocketLabs",
        ))
    }
}

fn malformed(error: WireError) -> Rejection {
    wire::malformed(StatusCode::BAD_REQUEST, "an event of SocketLabs' ({\"Type\":…})", error)
}

fn absent() -> Rejection {
    Rejection::unauthenticated(
        "the event has no SecretKey; SocketLabs puts the endpoint's into every event, so look at who posts",
    )
}

/// The body as JSON; a form becomes the object of the same members.
fn json(delivery: &Delivery) -> Result<Cow<'_, str>, WireError> {
    let media = delivery.header(header::CONTENT_TYPE.as_str()).unwrap_or_default().to_ascii_lowercase();
    if media.starts_with("application/x-www-form-urlencoded") {
        let object = form::object(&delivery.body, &[]).ok_or(WireError::Shape { line: 1, column: 1 })?;
        return Ok(Cow::Owned(Value::Object(object).to_string()));
    }
    wire::utf8(&delivery.body).map(Cow::Borrowed)
}

/// An element as it came, but for the secret key.
fn without_secret(body: &[u8]) -> Vec<u8> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(mut object)) => {
            object.remove(SECRET);
            Value::Object(object).to_string().into_bytes()
        }
        // What can't be read can't be cleaned.
        _ => Vec::new(),
    }
}

impl SetUp for SocketLabs {
    type Table = SocketlabsFeed;
    const PROVIDER: Provider = Provider::Socketlabs;

    fn set_up(_: &Config, table: &SocketlabsFeed, place: &Place) -> Result<Self, Vec<FeedError>> {
        place.or_wrong(Self::new(&Settings {
            secret_keys: secrets(&[&table.secret_key, &table.previous_secret_key]),
            validation_key: secrets(&[&table.validation_key]).into_iter().next(),
        }))
    }
}

/// The fields that relaywatch uses; metadata and all others are skipped.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Fields<'a> {
    #[serde(borrow, rename = "Type")]
    kind: Option<Scalar<'a>>,
    #[serde(borrow)]
    date_time: Option<Scalar<'a>>,
    #[serde(borrow)]
    address: Option<Scalar<'a>>,
    #[serde(borrow)]
    from_address: Option<Scalar<'a>>,
    #[serde(borrow)]
    mailing_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    message_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    failure_type: Option<Scalar<'a>>,
    #[serde(borrow)]
    failure_code: Option<Scalar<'a>>,
    #[serde(borrow)]
    bounce_status: Option<Scalar<'a>>,
    #[serde(borrow)]
    diagnostic_code: Option<Scalar<'a>>,
    #[serde(borrow)]
    response: Option<Scalar<'a>>,
    #[serde(borrow)]
    reason: Option<Scalar<'a>>,
    #[serde(borrow)]
    remote_mta: Option<Scalar<'a>>,
    #[serde(default, borrow)]
    data: Loose<Data<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Data<'a> {
    #[serde(borrow)]
    tags: Option<&'a RawValue>,
}

fn take(fields: &Fields<'_>, now: Timestamp, report: &mut Report) -> Result<(), Aside> {
    let word = wire::text(fields.kind);
    let word = word.as_deref().unwrap_or("unnamed").trim();
    let failure = wire::text(fields.failure_type);
    let failure = failure.as_deref().map(str::trim).filter(|_| word == "Failed");
    let (kind, class) = match (word, failure) {
        ("Queued", _) => (EventKind::Sent, FailureClass::Unknown),
        ("Sent" | "Delivered", _) => (EventKind::Delivered, FailureClass::Unknown),
        ("Deferred", _) => (EventKind::Deferred, FailureClass::Transient),
        ("Failed", Some("Suppressed")) => (EventKind::SuppressedByProvider, FailureClass::Unknown),
        ("Failed", Some("Permanent")) => (EventKind::Refused, FailureClass::Permanent),
        ("Failed", Some("Temporary")) => (EventKind::Refused, FailureClass::Transient),
        ("Failed", _) => (EventKind::Refused, FailureClass::Unknown),
        ("Complaint", _) => (EventKind::Complained, FailureClass::Unknown),
        ("Tracking", _) => {
            report.ignored.push("tracking");
            return Ok(());
        }
        ("Validation", _) => {
            report.ignored.push("validation");
            return Ok(());
        }
        _ => return Err(dates::unknown_type(word, fields.date_time, now)),
    };
    let at = dates::event_time(fields.date_time, now, word)?;
    let recipient = wire::recipient(fields.address, at, word)?;
    let message_id = wire::id(fields.message_id);
    let said = wire::text(fields.diagnostic_code).map(wire::without_nul);
    let enhanced = wire::text(fields.bounce_status).and_then(|code| EnhancedCode::parse(code.trim()));
    let reply = match kind {
        EventKind::SuppressedByProvider => {
            let own = wire::text(fields.reason).map(wire::without_nul).or(said.clone());
            own.as_deref().map(wire::own_words)
        }
        EventKind::Refused | EventKind::Deferred if said.is_some() || enhanced.is_some() => {
            Some(Reply::with_codes(said.as_deref().unwrap_or_default(), None, enhanced))
        }
        EventKind::Delivered => wire::text(fields.response).map(wire::without_nul).map(|text| Reply::parse(&text)),
        _ => None,
    };
    let kind = wire::unless_final(kind, reply.as_ref());
    let failure_code = wire::text(fields.failure_code);
    let mailing = wire::name(fields.mailing_id);
    let shown = failure.unwrap_or(word);
    report.events.push(Event {
        provider: Provider::Socketlabs,
        kind,
        at,
        sent_at: (kind == EventKind::Sent).then_some(at),
        dedupe: wire::by_content(
            Provider::Socketlabs,
            Some(&format!("{}/{}", mailing.as_deref().unwrap_or_default(), message_id.as_deref().unwrap_or_default())),
            &recipient,
            word,
            at,
            said.as_deref().unwrap_or_default(),
        ),
        message_id,
        recipient,
        from_domain: wire::domain(fields.from_address),
        envelope_sender: None,
        envelope_domain: None,
        campaign: mailing.or_else(|| wire::first_name(fields.data.get()?.tags?)),
        reply,
        remote_mta: wire::name(fields.remote_mta),
        provider_verdict: (word == "Failed" || word == "Deferred").then(|| match failure_code {
            Some(code) => label(&format!("{shown}, failure_code {}", code.trim())),
            None => label(shown),
        }),
        provider_class: class,
    });
    Ok(())
}

#[cfg(test)]
mod tests;
