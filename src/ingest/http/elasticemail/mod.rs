//! Elastic Email's HTTP notifications: parameters of a GET or of a form, or a flat JSON object of the same members.
//!
//! Source: Elastic Email, "How to manage HTTP web notifications": the parameters, the categories, that the address is validated by
//! a GET that must answer 200, and that notifications are turned off after 1000 failures. The notification itself has no secret, so
//! that a feed takes one in the address (`?token=…`) or basic authentication in it. The signature of newer webhooks
//! (`X-ElasticEmail-…-Signature`) is reported, and what exactly it signs is not; it is not checked, and doesn't replace the secret.
//!
//! | status | event |
//! |---|---|
//! | `Sent` | delivered: the status of a message that the receiving side accepted, beside `Error` (inferred) |
//! | `Error`, `Bounce` | by `category`, see below |
//! | `AbuseReport`, `Complaint` | complained |
//! | `Unsubscribed`, `Unsubscribe` | unsubscribed |
//! | `Submission`, `Opened`, `Open`, `Clicked`, `Click` | ignored; `Submission` is sent |
//!
//! | category | event |
//! |---|---|
//! | `NoMailbox` | refused, permanent |
//! | `GreyListed`, `Throttled`, `Timeout`, `ConnectionProblem`, `ConnectionTerminated` | refused, transient: reported once Elastic Email gave up |
//! | `ManualCancel` | ignored |
//! | all others, `NotDelivered` and `Ignore` among them | refused, of unknown class |
//!
//! What each becomes follows from its name (inferred). No reply is handed on by the parameters; `message` of newer ones is taken
//! for it. The category alone says no cause. Times are UTC; in which form is not documented, so that several are read.

use axum::http::{HeaderName, Method, StatusCode, header};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Delivery, Rejection,
    auth::{Login, SecretError, Secrets, TOKEN_PARAMETER},
    dates,
    feeds::{FeedError, Place, SetUp, logins, secrets},
    form,
    wire::{self, Aside, Parts, Scalar, WireError},
};
use crate::{
    config::{Config, ElasticemailFeed},
    ingest::{Report, label},
    model::{Event, EventKind, FailureClass, Provider, Reply, Timestamp},
};

/// The largest body or query that is taken; a delivery holds one event.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// What the feed is made from.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// User names with passwords for basic authentication: up to two.
    pub logins: Vec<Login>,
    /// Tokens in the address: up to two.
    pub tokens: Vec<SecretString>,
}

/// The feed of Elastic Email's notifications.
#[derive(Debug, Clone)]
pub struct ElasticEmail {
    secrets: Secrets,
}

impl ElasticEmail {
    /// Makes the feed.
    ///
    /// # Errors
    /// Where there is no secret, or an unusable one.
    pub fn new(settings: &Settings) -> Result<Self, SecretError> {
        // A bearer token is nothing that Elastic Email sends.
        let secrets = Secrets::new(&settings.logins, &settings.tokens)?;
        Ok(Self { secrets: secrets.with_tokens_in(HeaderName::from_static("x-relaywatch-token")) })
    }

    /// Authenticates and decodes one notification.
    ///
    /// # Errors
    /// 400 for what is no notification, 401 without the secret, 413 above the cap.
    pub fn receive(&self, delivery: &Delivery) -> Result<Report, Rejection> {
        self.secrets.check_with_query(delivery)?;
        wire::within(&delivery.body, MAX_BODY_BYTES)?;
        wire::within(delivery.query.as_bytes(), MAX_BODY_BYTES)?;
        let malformed = |error| {
            wire::malformed(StatusCode::BAD_REQUEST, "a notification of Elastic Email's (to=…&status=…)", error)
        };
        let text = json(delivery).map_err(malformed)?;
        if text == "{}" && delivery.method != Method::POST {
            // Elastic Email looks whether somebody is there.
            return Ok(Report { ignored: vec!["validation"], ..Report::default() });
        }
        let parts = Parts::<Fields<'_>>::parse(&text).map_err(malformed)?;
        Ok(parts.report(Provider::Elasticemail, delivery.received_at, |fields, now, report| {
            take(&fields.merged(), now, report)
        }))
    }
}

/// The notification as JSON, wherever it stands.
fn json(delivery: &Delivery) -> Result<String, WireError> {
    let media = delivery.header(header::CONTENT_TYPE.as_str()).unwrap_or_default().to_ascii_lowercase();
    let is_form = media.starts_with("application/x-www-form-urlencoded");
    let encoded = match (&delivery.method, is_form) {
        (&Method::GET, _) => delivery.query.as_bytes(),
        // Parameters in the address of a POST, with nothing in its body.
        (_, _) if delivery.body.is_empty() && has_parameters(&delivery.query) => delivery.query.as_bytes(),
        (_, true) => &delivery.body,
        (_, false) => return wire::utf8(&delivery.body).map(ToOwned::to_owned),
    };
    wire::utf8(encoded)?;
    let object = form::object(encoded, &[TOKEN_PARAMETER]).ok_or(WireError::Shape { line: 1, column: 1 })?;
    Ok(Value::Object(object).to_string())
}

fn has_parameters(query: &str) -> bool {
    url::form_urlencoded::parse(query.as_bytes()).any(|(key, _)| key != TOKEN_PARAMETER)
}

impl SetUp for ElasticEmail {
    type Table = ElasticemailFeed;
    const PROVIDER: Provider = Provider::Elasticemail;
    const METHODS: &'static [Method] = &[Method::GET];
    const ASKS_BY: &'static [Method] = &[Method::HEAD];

    fn set_up(_: &Config, table: &ElasticemailFeed, place: &Place) -> Result<Self, Vec<FeedError>> {
        place.or_wrong(Self::new(&Settings {
            logins: logins(table.username.as_deref(), &[&table.password, &table.previous_password]),
            tokens: secrets(&[&table.token, &table.previous_token]),
        }))
    }
}

/// The fields that relaywatch uses, by their names as parameters and as Elastic Email's API spells them; subjects, targets and all
/// others are skipped. Both may stand in one notification.
#[derive(Clone, Copy, Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    status: Option<Scalar<'a>>,
    #[serde(borrow, rename = "EventType")]
    api_status: Option<Scalar<'a>>,
    #[serde(borrow)]
    to: Option<Scalar<'a>>,
    #[serde(borrow, rename = "To")]
    api_to: Option<Scalar<'a>>,
    #[serde(borrow)]
    from: Option<Scalar<'a>>,
    #[serde(borrow, rename = "FromEmail")]
    api_from: Option<Scalar<'a>>,
    #[serde(borrow)]
    date: Option<Scalar<'a>>,
    #[serde(borrow, rename = "EventDate")]
    api_date: Option<Scalar<'a>>,
    #[serde(borrow)]
    category: Option<Scalar<'a>>,
    #[serde(borrow, rename = "MessageCategory")]
    api_category: Option<Scalar<'a>>,
    #[serde(borrow)]
    channel: Option<Scalar<'a>>,
    #[serde(borrow, rename = "ChannelName")]
    api_channel: Option<Scalar<'a>>,
    #[serde(borrow)]
    messageid: Option<Scalar<'a>>,
    #[serde(borrow, rename = "MsgID")]
    api_messageid: Option<Scalar<'a>>,
    #[serde(borrow)]
    transaction: Option<Scalar<'a>>,
    #[serde(borrow, rename = "TransactionID")]
    api_transaction: Option<Scalar<'a>>,
    #[serde(borrow)]
    message: Option<Scalar<'a>>,
    #[serde(borrow, rename = "Message")]
    api_message: Option<Scalar<'a>>,
}

/// What a status becomes: an event, or the word under which it's ignored.
fn meaning(status: &str, category: Option<&str>) -> Option<Result<(EventKind, FailureClass), &'static str>> {
    let plain = |kind| Ok((kind, FailureClass::Unknown));
    Some(match status {
        "Submission" => plain(EventKind::Sent),
        "Sent" => plain(EventKind::Delivered),
        "AbuseReport" | "Complaint" => plain(EventKind::Complained),
        "Unsubscribed" | "Unsubscribe" => plain(EventKind::Unsubscribed),
        "Opened" | "Open" => Err("open"),
        "Clicked" | "Click" => Err("click"),
        "Error" | "Bounce" => match category {
            Some("ManualCancel") => Err("cancelled"),
            Some("NoMailbox") => Ok((EventKind::Refused, FailureClass::Permanent)),
            Some("GreyListed" | "Throttled" | "Timeout" | "ConnectionProblem" | "ConnectionTerminated") => {
                Ok((EventKind::Refused, FailureClass::Transient))
            }
            _ => plain(EventKind::Refused),
        },
        _ => return None,
    })
}

impl Fields<'_> {
    /// The same where the parameters' names have what the API's may have had.
    fn merged(&self) -> Self {
        let or = |parameter, api| wire::first(&[parameter, api]);
        Self {
            status: or(self.status, self.api_status),
            to: or(self.to, self.api_to),
            from: or(self.from, self.api_from),
            date: or(self.date, self.api_date),
            category: or(self.category, self.api_category),
            channel: or(self.channel, self.api_channel),
            messageid: or(self.messageid, self.api_messageid),
            transaction: or(self.transaction, self.api_transaction),
            message: or(self.message, self.api_message),
            ..*self
        }
    }
}

fn take(fields: &Fields<'_>, now: Timestamp, report: &mut Report) -> Result<(), Aside> {
    let word = wire::text(fields.status);
    let word = word.as_deref().unwrap_or("unnamed").trim();
    let category = wire::text(fields.category);
    let category = category.as_deref().map(str::trim);
    let meaning = meaning(word, category).ok_or_else(|| dates::unknown_type(word, fields.date, now))?;
    let (kind, class) = match meaning {
        Ok(meaning) => meaning,
        Err(ignored) => {
            report.ignored.push(ignored);
            return Ok(());
        }
    };
    let at = dates::event_time(fields.date, now, word)?;
    let recipient = wire::recipient(fields.to, at, word)?;
    let refused = kind == EventKind::Refused;
    let said = wire::text(fields.message).filter(|_| refused).map(wire::without_nul);
    let message_id = wire::id(fields.messageid).or_else(|| wire::id(fields.transaction));
    let verdict = category.filter(|_| refused);
    report.events.push(Event {
        provider: Provider::Elasticemail,
        kind,
        at,
        sent_at: (kind == EventKind::Sent).then_some(at),
        dedupe: wire::by_content(
            Provider::Elasticemail,
            message_id.as_deref(),
            &recipient,
            word,
            at,
            said.as_deref().or(verdict).unwrap_or_default(),
        ),
        message_id,
        recipient,
        from_domain: wire::domain(fields.from),
        envelope_sender: None,
        envelope_domain: None,
        campaign: wire::name(fields.channel),
        reply: said.as_deref().map(|said| Reply::parse(wire::unwrapped(said))),
        remote_mta: None,
        provider_verdict: refused.then(|| label(verdict.unwrap_or(word))),
        provider_class: class,
    });
    Ok(())
}

#[cfg(test)]
mod tests;
