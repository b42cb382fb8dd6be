//! Unisender Go's webhooks: `{"auth":…,"events_by_user":[{"events":[…]}]}`, or one flat event, with an MD5 over body and key.
//!
//! Source: the fields as public clients read them (reported); the scheme of `auth` was reproduced on a real payload: it is the MD5, in
//! hex, of the raw body in which the value of `auth` is replaced by the API key. That is a weaker bond than an HMAC; it is what there
//! is, so use TLS. When the webhook is set, Unisender Go asks by a GET whether anybody is here.
//!
//! No timestamp is signed and there is no id of an event: a replay is known by its content, and changes nothing. Times are
//! `YYYY-MM-DD HH:MM:SS` in UTC.
//!
//! What each event becomes:
//!
//! | `status` | event |
//! |---|---|
//! | `sent`, `delivered` | sent, delivered |
//! | `soft_bounced` with `err_will_retry` | deferred; refused where the reply says 5xx |
//! | `soft_bounced`, `hard_bounced` | refused; the second final by Unisender's word |
//! | either with `err_unsubscribed` (inferred) | suppressed by provider |
//! | `spam`, `unsubscribed` | complained, unsubscribed |
//! | `opened`, `clicked`, `subscribed`, and `transactional_spam_block` | ignored |
//!
//! The reply stands in `delivery_info.destination_response`. `delivery_status` (`err_…`) is Unisender's word, kept beside
//! relaywatch's verdict.

use aws_lc_rs::constant_time;
use axum::http::{Method, StatusCode};
use md5::{Digest as _, Md5};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Delivery, Rejection, RejectionReason,
    auth::{self, SecretError},
    dates,
    feeds::{FeedError, Place, SetUp, secrets},
    wire::{self, Aside, Loose, MAX_ELEMENTS, Parts, Scalar},
};
use crate::{
    config::{Config, UnisenderFeed},
    ingest::{Report, label},
    model::{Event, EventKind, FailureClass, Provider, Reply, Timestamp},
};

/// The largest body that is taken. The size of a batch is undocumented.
pub const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

/// What the feed is made from.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// API keys of the account or project whose webhook it is: one, or two while they are rotated.
    pub api_keys: Vec<SecretString>,
}

/// The feed of Unisender Go's events.
#[derive(Debug)]
pub struct Unisender {
    api_keys: Vec<SecretString>,
}

impl Unisender {
    /// Makes the feed.
    ///
    /// # Errors
    /// Where there is no usable API key.
    pub fn new(settings: &Settings) -> Result<Self, SecretError> {
        Ok(Self { api_keys: auth::two(&settings.api_keys, |key| Some(SecretString::from(key)))? })
    }

    /// Verifies and decodes one delivery.
    ///
    /// # Errors
    /// 400 for what is no webhook of Unisender's, 401 for an `auth` that is absent or of no key, 413 above the cap.
    pub fn receive(&self, delivery: &Delivery) -> Result<Report, Rejection> {
        wire::within(&delivery.body, MAX_BODY_BYTES)?;
        let malformed = |error| {
            let what = "a webhook of Unisender Go's ({\"auth\":…})";
            wire::malformed(StatusCode::BAD_REQUEST, what, error)
        };
        let text = wire::utf8(&delivery.body).map_err(malformed)?;
        let body: Body<'_> = serde_json::from_str(text).map_err(|error| malformed(error.into()))?;
        self.verify(text, body.auth)?;
        let mut report = Report::default();
        let now = delivery.received_at;
        let take = |fields: &Fields<'_>, report: &mut Report| take(fields, now, report);
        let Some(users) = body.events_by_user else {
            // One flat event: the whole body.
            Parts::<Fields<'_>>::parse(text).map_err(malformed)?.fold(Provider::Unisender, &mut report, take);
            return Ok(report);
        };
        let mut lists = Vec::new();
        Parts::<User<'_>>::parse(users.get()).map_err(malformed)?.fold(Provider::Unisender, &mut report, |user, _| {
            lists.push(user.events);
            Ok(())
        });
        for list in lists {
            match Parts::<Fields<'_>>::parse(list.get()) {
                Ok(parts) if report.parts() + parts.len() > MAX_ELEMENTS => {
                    report.set_aside.push(Aside::too_many().with(Provider::Unisender, list.get()));
                }
                Ok(parts) => parts.fold(Provider::Unisender, &mut report, take),
                Err(_) => report.set_aside.push(Aside::unreadable().with(Provider::Unisender, list.get())),
            }
        }
        Ok(report)
    }

    /// Checks `auth`, in a time that tells nothing about the keys.
    fn verify(&self, body: &str, auth: Option<&RawValue>) -> Result<(), Rejection> {
        let absent = || {
            Rejection::unauthenticated(
                "`auth` is absent or no MD5; Unisender Go sends one with every webhook, so look at who posts",
            )
        };
        let quoted = auth.ok_or_else(absent)?.get();
        let claimed = hex::decode(quoted.trim_matches('"')).map_err(|_| absent())?;
        // Where the same text stands earlier too, the digest is another one, and the delivery is refused.
        let (before, after) = body.split_once(quoted).filter(|_| claimed.len() == 16).ok_or_else(absent)?;
        let verified = self.api_keys.iter().fold(false, |found, key| {
            let mut digest = Md5::new();
            for part in [before, "\"", key.expose_secret(), "\"", after] {
                digest.update(part.as_bytes());
            }
            found | constant_time::verify_slices_are_equal(digest.finalize().as_slice(), &claimed).is_ok()
        });
        if verified {
            return Ok(());
        }
        Err(Rejection::new(
            StatusCode::UNAUTHORIZED,
            RejectionReason::BadSignature,
            "`auth` is of none of this feed's API keys; compare them with the key of the account or project whose webhook it is, and \
             check that no proxy changes bodies",
        ))
    }
}

impl SetUp for Unisender {
    type Table = UnisenderFeed;
    const PROVIDER: Provider = Provider::Unisender;
    const ASKS_BY: &'static [Method] = &[Method::GET, Method::HEAD];

    fn set_up(_: &Config, table: &UnisenderFeed, place: &Place) -> Result<Self, Vec<FeedError>> {
        place.or_wrong(Self::new(&Settings { api_keys: secrets(&[&table.api_key, &table.previous_api_key]) }))
    }
}

/// The body.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    auth: Option<&'a RawValue>,
    #[serde(borrow)]
    events_by_user: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct User<'a> {
    #[serde(borrow)]
    events: &'a RawValue,
}

/// One event; metadata, user agents, links and all others are skipped. A flat one has its data beside its name.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    event_name: Option<Scalar<'a>>,
    #[serde(default, borrow)]
    event_data: Loose<Data<'a>>,
    #[serde(borrow)]
    job_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    email: Option<Scalar<'a>>,
    #[serde(borrow)]
    status: Option<Scalar<'a>>,
    #[serde(borrow)]
    event_time: Option<Scalar<'a>>,
    #[serde(default, borrow)]
    delivery_info: Loose<Info<'a>>,
}

impl<'a> Fields<'a> {
    fn data(&self) -> Data<'a> {
        let &Self { job_id, email, status, event_time, delivery_info, .. } = self;
        self.event_data.get().copied().unwrap_or(Data { job_id, email, status, event_time, delivery_info })
    }
}

#[derive(Clone, Copy, Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    job_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    email: Option<Scalar<'a>>,
    #[serde(borrow)]
    status: Option<Scalar<'a>>,
    #[serde(borrow)]
    event_time: Option<Scalar<'a>>,
    #[serde(default, borrow)]
    delivery_info: Loose<Info<'a>>,
}

#[derive(Clone, Copy, Deserialize)]
struct Info<'a> {
    #[serde(borrow)]
    delivery_status: Option<Scalar<'a>>,
    #[serde(borrow)]
    destination_response: Option<Scalar<'a>>,
}

fn take(fields: &Fields<'_>, now: Timestamp, report: &mut Report) -> Result<(), Aside> {
    let name = wire::text(fields.event_name);
    let data = fields.data();
    let status = wire::text(data.status);
    let word = match name.as_deref() {
        Some("transactional_spam_block") => {
            report.ignored.push("block");
            return Ok(());
        }
        Some("transactional_email_status") | None => status.as_deref().unwrap_or("unnamed"),
        Some(other) => return Err(dates::unknown_type(other, data.event_time, now)),
    };
    let info = data.delivery_info.get();
    let error = info.and_then(|info| wire::text(info.delivery_status));
    let error = error.as_deref().map(str::trim);
    let response = info.and_then(|info| wire::text(info.destination_response)).map(wire::without_nul);
    let said = response.as_deref().map(Reply::parse);
    let (kind, provider_class) = match (word, error) {
        ("sent", _) => (EventKind::Sent, FailureClass::Unknown),
        ("delivered", _) => (EventKind::Delivered, FailureClass::Unknown),
        ("soft_bounced" | "hard_bounced", Some("err_unsubscribed")) => {
            (EventKind::SuppressedByProvider, FailureClass::Unknown)
        }
        ("soft_bounced", Some("err_will_retry")) => (EventKind::Deferred, FailureClass::Transient),
        ("soft_bounced", _) => (EventKind::Refused, FailureClass::Transient),
        ("hard_bounced", _) => (EventKind::Refused, FailureClass::Permanent),
        ("spam", _) => (EventKind::Complained, FailureClass::Unknown),
        ("unsubscribed", _) => (EventKind::Unsubscribed, FailureClass::Unknown),
        ("opened" | "clicked" | "subscribed", _) => {
            report.ignored.push(match word {
                "opened" => "open",
                "clicked" => "click",
                _ => "resubscribe",
            });
            return Ok(());
        }
        _ => return Err(dates::unknown_type(word, data.event_time, now)),
    };
    let at = dates::event_time(data.event_time, now, word)?;
    let recipient = wire::recipient(data.email, at, word)?;
    let reply = match kind {
        EventKind::Refused | EventKind::Deferred => said,
        EventKind::SuppressedByProvider => response.as_deref().map(wire::own_words),
        _ => None,
    };
    let kind = wire::unless_final(kind, reply.as_ref());
    let message_id = wire::id(data.job_id);
    report.events.push(Event {
        provider: Provider::Unisender,
        kind,
        at,
        sent_at: (kind == EventKind::Sent).then_some(at),
        dedupe: wire::by_content(
            Provider::Unisender,
            message_id.as_deref(),
            &recipient,
            word,
            at,
            response.as_deref().unwrap_or_default(),
        ),
        message_id,
        recipient,
        from_domain: None,
        envelope_sender: None,
        envelope_domain: None,
        campaign: None,
        provider_verdict: match kind {
            EventKind::Refused | EventKind::Deferred | EventKind::SuppressedByProvider => {
                Some(label(&error.map_or_else(|| word.to_owned(), |error| format!("{word}/{error}"))))
            }
            _ => None,
        },
        reply,
        remote_mta: None,
        provider_class,
    });
    Ok(())
}

/// Signs webhooks as Unisender Go does: for tests and fuzzing.
pub mod signing {
    use md5::{Digest as _, Md5};

    /// The body that carries what stands beside `auth`, which is JSON text without its outer braces.
    #[must_use]
    pub fn body(api_key: &str, rest: &str) -> String {
        let with = |auth: &str| format!("{{\"auth\":\"{auth}\",{rest}}}");
        with(&hex::encode(Md5::digest(with(api_key).as_bytes())))
    }
}

#[cfg(test)]
mod tests;
