//! Brevo's transactional webhooks: one JSON object a delivery, or with `batched` an array of at most 500, under a shared secret.
//!
//! Source: Brevo, "Transactional webhooks", "Secured webhooks" and "Retry mechanism". Brevo signs nothing; what authenticates a
//! webhook is basic authentication, a bearer token, or a header of one's own.
//!
//! **Answers.** Brevo discards an event for good on every 5xx and on every 4xx but 429; on 429 and on a time-out it comes again
//! after 10 minutes, 1, 2 and 8 hours. So 429 answers all that time or the operator can mend, overload, an outage of the store
//! and a secret that is none of the feed's, and 400 and 413 what no retry can.
//!
//! **Time.** `ts_epoch`, in milliseconds, is the only clock that is read (one sample spells it `s_epoch`): `ts`, `ts_event` and
//! `date` are in the account's time zone. `id` is the webhook's, not the event's, so that an event is known by its content.
//!
//! What each event becomes:
//!
//! | event | becomes |
//! |---|---|
//! | `request`, `delivered` | sent, delivered |
//! | `hard_bounce`, `soft_bounce` | refused; the first final by Brevo's word |
//! | `deferred` | deferred; refused where the reply says 5xx, which was observed |
//! | `blocked` | suppressed by provider; refused where `reason` holds a reply |
//! | `invalid_email`, `error` | refused by Brevo itself, so of unknown class and without codes, unless `reason` holds a reply |
//! | `spam`, `complaint`, `unsubscribe` | complained, complained, unsubscribed |
//! | opens, clicks | ignored |
//!
//! The reply stands in `reason`, which may begin with a blank and a word of Brevo's (`RecipientError: 550 5.1.1 …`).

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Delivery, Rejection,
    auth::{Credentials, SecretError, Secrets},
    feeds::{FeedError, Place, SetUp, logins, secrets},
    wire::{self, Aside, Scalar},
};
use crate::{
    config::{BrevoFeed, Config},
    ingest::{Report, label},
    model::{Event, EventKind, FailureClass, Provider, Reply, Timestamp},
};

/// The largest body that is taken: 500 events.
pub const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

/// The feed of Brevo's events.
#[derive(Debug, Clone)]
pub struct Brevo {
    secrets: Secrets,
}

impl Brevo {
    /// Makes the feed.
    ///
    /// # Errors
    /// Where there is no secret, or an unusable one, or the header can't have its name.
    pub fn new(credentials: &Credentials) -> Result<Self, SecretError> {
        Ok(Self { secrets: credentials.secrets()? })
    }

    /// Authenticates and decodes one event or batch.
    ///
    /// # Errors
    /// 400 for what is no event, 413 above the cap; 429 without the secret, on which alone Brevo comes again.
    pub fn receive(&self, delivery: &Delivery) -> Result<Report, Rejection> {
        let again = |rejection| Rejection { status: StatusCode::TOO_MANY_REQUESTS, challenge: None, ..rejection };
        self.secrets.check(delivery).map_err(again)?;
        wire::within(&delivery.body, MAX_BODY_BYTES)?;
        wire::elements(delivery, Provider::Brevo, "an event of Brevo's ({\"event\":…})", take)
    }
}

impl SetUp for Brevo {
    type Table = BrevoFeed;
    const PROVIDER: Provider = Provider::Brevo;

    /// Brevo gives up on every 5xx; what means to come again has to be 429. So has what is above a cap, which can be raised.
    fn refusal(rejection: Rejection) -> Rejection {
        let means_again = rejection.status.is_server_error()
            || matches!(rejection.status, StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE);
        let status = if means_again { StatusCode::TOO_MANY_REQUESTS } else { rejection.status };
        Rejection { status, ..rejection }
    }

    fn set_up(_: &Config, table: &BrevoFeed, place: &Place) -> Result<Self, Vec<FeedError>> {
        place.or_wrong(Self::new(&Credentials {
            logins: logins(table.username.as_deref(), &[&table.password, &table.previous_password]),
            tokens: secrets(&[&table.token, &table.previous_token]),
            header: table.header.clone(),
        }))
    }
}

/// The fields that relaywatch uses; subjects, custom headers, links and all others are skipped.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    event: Option<Scalar<'a>>,
    #[serde(borrow)]
    ts_epoch: Option<Scalar<'a>>,
    #[serde(borrow)]
    s_epoch: Option<Scalar<'a>>,
    #[serde(borrow)]
    email: Option<Scalar<'a>>,
    #[serde(borrow, rename = "message-id")]
    message_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    reason: Option<Scalar<'a>>,
    #[serde(borrow)]
    tag: Option<&'a RawValue>,
    #[serde(borrow)]
    tags: Option<&'a RawValue>,
}

fn take(fields: &Fields<'_>, now: Timestamp, report: &mut Report) -> Result<(), Aside> {
    let word = wire::text(fields.event);
    let word = word.as_deref().unwrap_or("unnamed");
    let time = wire::first(&[fields.ts_epoch, fields.s_epoch]);
    let reason = wire::text(fields.reason).map(wire::without_nul);
    let said = reason.as_deref().map(|reason| Reply::parse(wire::unwrapped(reason)));
    let has_code = said.as_ref().is_some_and(|reply| reply.code.is_some());
    // Where nobody was asked, Brevo's own words have no code.
    let own = || reason.as_deref().map(wire::own_words);
    let (kind, reply, provider_class) = match word {
        "request" => (EventKind::Sent, None, FailureClass::Unknown),
        "delivered" => (EventKind::Delivered, None, FailureClass::Unknown),
        "hard_bounce" => (EventKind::Refused, said, FailureClass::Permanent),
        "soft_bounce" => (EventKind::Refused, said, FailureClass::Transient),
        "deferred" => (EventKind::Deferred, said, FailureClass::Transient),
        "blocked" | "invalid_email" | "error" if has_code => (EventKind::Refused, said, FailureClass::Unknown),
        "blocked" => (EventKind::SuppressedByProvider, own(), FailureClass::Unknown),
        "invalid_email" | "error" => (EventKind::Refused, own(), FailureClass::Unknown),
        "spam" | "complaint" => (EventKind::Complained, None, FailureClass::Unknown),
        "unsubscribe" => (EventKind::Unsubscribed, None, FailureClass::Unknown),
        "opened" | "unique_opened" | "proxy_open" | "unique_proxy_open" => {
            report.ignored.push("open");
            return Ok(());
        }
        "click" => {
            report.ignored.push("click");
            return Ok(());
        }
        _ => return Err(wire::unknown_type(word, time, now)),
    };
    let kind = wire::unless_final(kind, reply.as_ref());
    let at = wire::event_time(time, now, word)?;
    let recipient = wire::recipient(fields.email, at, word)?;
    let message_id = wire::bare_id(fields.message_id);
    report.events.push(Event {
        provider: Provider::Brevo,
        kind,
        at,
        sent_at: (kind == EventKind::Sent).then_some(at),
        dedupe: wire::by_content(
            Provider::Brevo,
            message_id.as_deref(),
            &recipient,
            word,
            at,
            reason.as_deref().unwrap_or_default(),
        ),
        message_id,
        recipient,
        from_domain: None,
        envelope_sender: None,
        envelope_domain: None,
        campaign: fields.tags.and_then(wire::first_name).or_else(|| fields.tag.and_then(wire::first_name)),
        reply,
        remote_mta: None,
        provider_verdict: match kind {
            EventKind::Refused | EventKind::Deferred | EventKind::SuppressedByProvider => Some(label(word)),
            _ => None,
        },
        provider_class,
    });
    Ok(())
}

#[cfg(test)]
mod tests;
