//! Iterable's system webhooks: one JSON object a delivery, under a shared secret.
//!
//! Source: Iterable support, "System webhooks" (the page is documented; most names of fields are inferred). Iterable signs nothing:
//! the webhook has basic authentication, or a header with a token. It does not say how long it tries again.
//!
//! What each `eventName` becomes:
//!
//! | name | event |
//! |---|---|
//! | `emailSend` | sent |
//! | `emailBounce` | refused; permanently or not by `recipientState` (HardBounce, SoftBounce) |
//! | `emailComplaint`, `emailUnSubscribe` | complained, unsubscribed |
//! | `emailOpen`, `emailClick`, `emailSubscribe`, `emailSendSkip`, `emailInApp…`, those of other channels | ignored |
//!
//! There is no event of a delivery, and Iterable hands on no reply: the cause stays undetermined, and nothing is made up.
//! `createdAt` is the time of the event, without an offset in UTC. Events have no id of their own.

use serde::Deserialize;

use super::{
    Delivery, Rejection,
    auth::{Credentials, SecretError, Secrets},
    dates,
    feeds::{FeedError, Place, SetUp, logins, secrets},
    wire::{self, Aside, Loose, Scalar},
};
use crate::{
    config::{Config, IterableFeed},
    ingest::{Report, label},
    model::{Event, EventKind, FailureClass, Provider, Timestamp},
};

/// The largest body that is taken; a delivery holds one event.
pub const MAX_BODY_BYTES: usize = 2 * 1024 * 1024;

/// The feed of Iterable's events.
#[derive(Debug, Clone)]
pub struct Iterable {
    secrets: Secrets,
}

impl Iterable {
    /// Makes the feed.
    ///
    /// # Errors
    /// Where there is no secret, or an unusable one, or the header can't have its name.
    pub fn new(credentials: &Credentials) -> Result<Self, SecretError> {
        Ok(Self { secrets: credentials.secrets()? })
    }

    /// Authenticates and decodes one event.
    ///
    /// # Errors
    /// 400 for what is no event, 401 without the secret, 413 above the cap.
    pub fn receive(&self, delivery: &Delivery) -> Result<Report, Rejection> {
        self.secrets.check(delivery)?;
        wire::within(&delivery.body, MAX_BODY_BYTES)?;
        wire::elements(delivery, Provider::Iterable, "an event of Iterable's ({\"eventName\":…})", take)
    }
}

impl SetUp for Iterable {
    type Table = IterableFeed;
    const PROVIDER: Provider = Provider::Iterable;

    fn set_up(_: &Config, table: &IterableFeed, place: &Place) -> Result<Self, Vec<FeedError>> {
        place.or_wrong(Self::new(&Credentials {
            logins: logins(table.username.as_deref(), &[&table.password, &table.previous_password]),
            tokens: secrets(&[&table.token, &table.previous_token]),
            header: table.header.clone(),
        }))
    }
}

/// The fields that relaywatch uses; user ids, subjects and all others are skipped.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Element<'a> {
    #[serde(borrow)]
    email: Option<Scalar<'a>>,
    #[serde(borrow)]
    event_name: Option<Scalar<'a>>,
    #[serde(default, borrow)]
    data_fields: Loose<Data<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    #[serde(borrow)]
    email: Option<Scalar<'a>>,
    #[serde(borrow)]
    message_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    campaign_name: Option<Scalar<'a>>,
    #[serde(borrow)]
    campaign_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    template_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    recipient_state: Option<Scalar<'a>>,
    #[serde(borrow)]
    created_at: Option<Scalar<'a>>,
}

/// What a name becomes: an event, or the word under which it's ignored.
fn meaning(name: &str) -> Option<Result<EventKind, &'static str>> {
    const OTHER_CHANNELS: [&str; 6] = ["sms", "push", "webPush", "inApp", "inbox", "whatsApp"];
    Some(match name {
        "emailSend" => Ok(EventKind::Sent),
        "emailBounce" => Ok(EventKind::Refused),
        "emailComplaint" => Ok(EventKind::Complained),
        "emailUnSubscribe" | "emailUnsubscribe" => Ok(EventKind::Unsubscribed),
        "emailOpen" => Err("open"),
        "emailClick" | "hostedUnsubscribeClick" => Err("click"),
        "emailSubscribe" => Err("subscribe"),
        "emailSendSkip" => Err("send-skip"),
        _ if OTHER_CHANNELS.iter().any(|channel| name.starts_with(channel)) => Err("not-email"),
        _ => return None,
    })
}

fn take(element: &Element<'_>, now: Timestamp, report: &mut Report) -> Result<(), Aside> {
    let Element { email, event_name, data_fields } = element;
    let no_data = Data::default();
    let data = data_fields.get().unwrap_or(&no_data);
    let word = wire::text(*event_name);
    let word = word.as_deref().unwrap_or("unnamed").trim();
    let kind = match meaning(word).ok_or_else(|| dates::unknown_type(word, data.created_at, now))? {
        Ok(kind) => kind,
        Err(ignored) => {
            report.ignored.push(ignored);
            return Ok(());
        }
    };
    let at = dates::event_time(data.created_at, now, word)?;
    let recipient = wire::recipient(wire::first(&[*email, data.email]), at, word)?;
    let state = wire::text(data.recipient_state).filter(|_| kind == EventKind::Refused);
    let state = state.as_deref().map(str::trim);
    let message_id = wire::id(data.message_id);
    report.events.push(Event {
        provider: Provider::Iterable,
        kind,
        at,
        sent_at: (kind == EventKind::Sent).then_some(at),
        dedupe: wire::by_content(
            Provider::Iterable,
            message_id.as_deref(),
            &recipient,
            word,
            at,
            state.unwrap_or_default(),
        ),
        message_id,
        recipient,
        from_domain: None,
        envelope_sender: None,
        envelope_domain: None,
        campaign: [data.campaign_name, data.campaign_id, data.template_id].into_iter().find_map(wire::name),
        reply: None,
        remote_mta: None,
        provider_verdict: (kind == EventKind::Refused).then(|| label(state.unwrap_or("bounce"))),
        provider_class: match state {
            Some("HardBounce") => FailureClass::Permanent,
            Some("SoftBounce") => FailureClass::Transient,
            _ => FailureClass::Unknown,
        },
    });
    Ok(())
}

#[cfg(test)]
mod tests;
