//! Azure Communication Services' delivery reports through Event Grid, in its own schema or as CloudEvents 1.0.
//!
//! Source: Microsoft, "Azure Communication Services as an Event Grid source", the types of its SDK, "Endpoint validation" for both
//! schemas, "Event Grid message delivery and retry". The secret is a token in the address (`?token=…`, which Event Grid keeps
//! secret), or in a header that the subscription adds ("delivery properties").
//!
//! Both handshakes are answered, after the secret was checked: `SubscriptionValidationEvent` with its code, and the OPTIONS request
//! of CloudEvents with its origin. `validationUrl` and `WebHook-Request-Callback` are never visited.
//!
//! Event Grid gives up for good on 400, 401, 403 and 413, and tries again on all else, for 24 hours by default (documented). So an
//! event without the right secret, which may be a mistake of ours, is answered 503; a handshake without it is answered 401, since
//! nothing is lost by it; and so is a body above a cap of ours answered 503.
//!
//! | `status` | event |
//! |---|---|
//! | `Delivered` | delivered |
//! | `Bounced` | refused, permanent: Azure's word for a hard bounce |
//! | `Failed`, `Quarantined`, `FilteredSpam` | refused, of unknown class unless `statusMessage` has a code |
//! | `Suppressed` | suppressed by provider |
//! | `Expanded` | ignored: a list was taken apart, and its members are reported by themselves |
//!
//! The words are documented. `statusMessage` holds the reply where Azure hands it on.

use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use secrecy::SecretString;
use serde::Deserialize;

use super::{
    Answer, Delivery, Rejection, RejectionReason,
    auth::{Credentials, SecretError, Secrets},
    feeds::{FeedError, Place, SetUp, secrets},
    wire::{self, Aside, Loose, Scalar},
};
use crate::{
    config::{AzureFeed, Config},
    ingest::{Report, SetAsideReason, label},
    model::{DedupeMaterial, Event, EventKind, FailureClass, Provider, Reply, Timestamp},
};

/// The largest body that is taken: Event Grid batches up to 1 MiB.
pub const MAX_BODY_BYTES: usize = 2 * 1024 * 1024;
/// The type of a delivery report.
const REPORT: &str = "Microsoft.Communication.EmailDeliveryReportReceived";
/// The type of an open or a click.
const ENGAGEMENT: &str = "Microsoft.Communication.EmailEngagementTrackingReportReceived";
/// The type of Event Grid's handshake.
const VALIDATION: &str = "Microsoft.EventGrid.SubscriptionValidationEvent";
/// The longest code or origin that is answered.
const MAX_ECHO_BYTES: usize = 512;

/// What the feed is made from.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Tokens: one, or two while they are rotated.
    pub tokens: Vec<SecretString>,
    /// The header in which the subscription sends the token; in the address it is taken as well.
    pub header: Option<String>,
}

/// The feed of Azure's reports.
#[derive(Debug, Clone)]
pub struct Azure {
    secrets: Secrets,
}

impl Azure {
    /// Makes the feed.
    ///
    /// # Errors
    /// Where there is no token, or an unusable one, or the header can't have its name.
    pub fn new(settings: &Settings) -> Result<Self, SecretError> {
        let header = settings.header.clone().unwrap_or_else(|| "X-Relaywatch-Token".to_owned());
        let credentials = Credentials { logins: Vec::new(), tokens: settings.tokens.clone(), header: Some(header) };
        Ok(Self { secrets: credentials.secrets()? })
    }

    /// Authenticates and decodes one batch, or answers a handshake.
    ///
    /// # Errors
    /// 400 for what is no batch; 503 without the token, 401 for a handshake without it; 503 above the cap.
    pub fn receive(&self, delivery: &Delivery) -> Result<Report, Rejection> {
        let is_handshake = delivery.method == Method::OPTIONS
            || delivery
                .header("aeg-event-type")
                .is_some_and(|kind| kind.eq_ignore_ascii_case("SubscriptionValidation"));
        self.secrets.check_with_query(delivery).map_err(|rejection| {
            let lost = Rejection { status: StatusCode::SERVICE_UNAVAILABLE, challenge: None, ..rejection.clone() };
            if is_handshake { rejection } else { lost }
        })?;
        if delivery.method == Method::OPTIONS {
            return origin(delivery);
        }
        wire::within(&delivery.body, MAX_BODY_BYTES)?;
        wire::elements(delivery, Provider::Azure, "a batch of Event Grid's ([{\"eventType\":…}])", take)
    }
}

/// The handshake of CloudEvents: HTTP 1.1 Web Hooks for Event Delivery, section 4.
fn origin(delivery: &Delivery) -> Result<Report, Rejection> {
    let plain = |text: &&str| {
        (1..=MAX_ECHO_BYTES).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'/' | b'_'))
    };
    let origin = delivery.header("webhook-request-origin").map(str::trim).filter(plain);
    let allowed = origin.and_then(|origin| HeaderValue::from_str(origin).ok()).ok_or_else(|| {
        Rejection::new(
            StatusCode::BAD_REQUEST,
            RejectionReason::Malformed,
            "the OPTIONS request names no WebHook-Request-Origin, as Event Grid's does",
        )
    })?;
    let headers = vec![
        (HeaderName::from_static("webhook-allowed-origin"), allowed),
        (HeaderName::from_static("webhook-allowed-rate"), HeaderValue::from_static("*")),
    ];
    let answer = Some(Answer { headers, body: String::new() });
    Ok(Report { ignored: vec!["validation"], answer, ..Report::default() })
}

impl SetUp for Azure {
    type Table = AzureFeed;
    const PROVIDER: Provider = Provider::Azure;
    const METHODS: &'static [Method] = &[Method::OPTIONS];

    /// Event Grid loses what is answered with 413.
    fn refusal(rejection: Rejection) -> Rejection {
        match rejection.status {
            StatusCode::PAYLOAD_TOO_LARGE => Rejection { status: StatusCode::SERVICE_UNAVAILABLE, ..rejection },
            _ => rejection,
        }
    }

    fn set_up(_: &Config, table: &AzureFeed, place: &Place) -> Result<Self, Vec<FeedError>> {
        place.or_wrong(Self::new(&Settings {
            tokens: secrets(&[&table.token, &table.previous_token]),
            header: table.header.clone(),
        }))
    }
}

/// An event in either schema: Event Grid's has `eventType` and `eventTime`, CloudEvents has `type` and `time`.
#[derive(Deserialize)]
struct Element<'a> {
    #[serde(borrow)]
    id: Option<Scalar<'a>>,
    #[serde(borrow, rename = "eventType")]
    event_type: Option<Scalar<'a>>,
    #[serde(borrow, rename = "type")]
    kind: Option<Scalar<'a>>,
    #[serde(borrow, rename = "eventTime")]
    event_time: Option<Scalar<'a>>,
    #[serde(borrow)]
    time: Option<Scalar<'a>>,
    #[serde(default, borrow)]
    data: Loose<Data<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    #[serde(borrow)]
    validation_code: Option<Scalar<'a>>,
    #[serde(borrow)]
    sender: Option<Scalar<'a>>,
    #[serde(borrow)]
    recipient: Option<Scalar<'a>>,
    #[serde(borrow)]
    message_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    status: Option<Scalar<'a>>,
    // The documentation and the SDK differ.
    #[serde(borrow, rename = "deliveryAttemptTimeStamp")]
    attempt: Option<Scalar<'a>>,
    #[serde(borrow, rename = "deliveryAttemptTimestamp")]
    attempt_respelt: Option<Scalar<'a>>,
    #[serde(default, borrow)]
    delivery_status_details: Loose<Details<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Details<'a> {
    #[serde(borrow)]
    status_message: Option<Scalar<'a>>,
    #[serde(borrow)]
    recipient_mail_server_host_name: Option<Scalar<'a>>,
}

fn take(element: &Element<'_>, now: Timestamp, report: &mut Report) -> Result<(), Aside> {
    let word = wire::text(wire::first(&[element.event_type, element.kind]));
    let element_time = wire::first(&[element.event_time, element.time]);
    let word = word.as_deref().unwrap_or("unnamed").trim();
    let no_data = Data::default();
    let data = element.data.get().unwrap_or(&no_data);
    match word {
        REPORT => {}
        ENGAGEMENT => {
            report.ignored.push("engagement");
            return Ok(());
        }
        VALIDATION => {
            let code = wire::text(data.validation_code).filter(|code| code.len() <= MAX_ECHO_BYTES);
            let code = code.ok_or_else(|| Aside::new(SetAsideReason::Malformed, "validation"))?;
            let body = serde_json::json!({ "validationResponse": code }).to_string();
            report.answer = Some(Answer::of("application/json", body));
            report.ignored.push("validation");
            return Ok(());
        }
        _ => return Err(wire::unknown_type(word, element_time, now)),
    }
    let time = wire::first(&[data.attempt, data.attempt_respelt, element_time]);
    let status = wire::text(data.status);
    let status = status.as_deref().unwrap_or("unnamed").trim();
    let (kind, class) = match status.to_ascii_lowercase().as_str() {
        "delivered" => (EventKind::Delivered, FailureClass::Unknown),
        "bounced" => (EventKind::Refused, FailureClass::Permanent),
        "failed" | "quarantined" | "filteredspam" => (EventKind::Refused, FailureClass::Unknown),
        "suppressed" => (EventKind::SuppressedByProvider, FailureClass::Unknown),
        "expanded" => {
            report.ignored.push("expanded");
            return Ok(());
        }
        _ => return Err(wire::unknown_type(status, time, now)),
    };
    let at = wire::event_time(time, now, status)?;
    let recipient = wire::recipient(data.recipient, at, status)?;
    let message_id = wire::id(data.message_id);
    let no_details = Details::default();
    let details = data.delivery_status_details.get().unwrap_or(&no_details);
    let said = wire::text(details.status_message).map(wire::without_nul);
    let reply = said.as_deref().map(|said| match kind {
        EventKind::SuppressedByProvider => wire::own_words(said),
        _ => Reply::parse(wire::unwrapped(said)),
    });
    let dedupe = match wire::text(element.id) {
        Some(id) => DedupeMaterial::new(Provider::Azure, &["id", id.trim()]),
        None => wire::by_content(
            Provider::Azure,
            message_id.as_deref(),
            &recipient,
            status,
            at,
            said.as_deref().unwrap_or_default(),
        ),
    };
    report.events.push(Event {
        provider: Provider::Azure,
        kind,
        at,
        sent_at: None,
        dedupe,
        message_id,
        recipient,
        from_domain: wire::domain(data.sender),
        envelope_sender: None,
        envelope_domain: None,
        campaign: None,
        reply,
        remote_mta: wire::name(details.recipient_mail_server_host_name),
        provider_verdict: (kind != EventKind::Delivered).then(|| label(status)),
        provider_class: class,
    });
    Ok(())
}

#[cfg(test)]
mod tests;
