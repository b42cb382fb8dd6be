//! Amazon SES through Firehose, which delivers batches of events to an HTTP endpoint.
//!
//! Source: Amazon Data Firehose Developer Guide, "HTTP endpoint delivery request and response specifications": the body
//! `{"requestId":…,"timestamp":…,"records":[{"data":<base64>},…]}`, the access key in `X-Amz-Firehose-Access-Key`, and the answer
//! `{"requestId":…,"timestamp":…[,"errorMessage":…]}` with `application/json`. `timestamp` is in milliseconds. Only 200 without an
//! `errorMessage` counts as delivered; on all others but 413 Firehose tries again, for as long as its retry duration says (300 s
//! by default, 2 hours at most), and then puts the batch into its backup bucket. So a body above a cap of ours is answered 503.
//!
//! Each record holds one or more events of SES's, a line each. They are read as SES's feed through SNS reads them, so that one
//! event is one event by whichever way it comes. A record that can't be read is set aside: tried again, it would be no better.

use axum::http::{HeaderMap, HeaderName, StatusCode};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Answer, Delivery, Rejection, RejectionReason,
    auth::{SecretError, Secrets},
    feeds::{FeedError, Place, SetUp, secrets},
    ses,
    wire::{self, Aside, MAX_ELEMENTS, Parts, Scalar},
};
use crate::{
    config::{Config, SesFirehoseFeed},
    ingest::{Report, SetAsideReason},
    model::{Provider, Timestamp},
};

/// The header with the access key.
pub const ACCESS_KEY_HEADER: &str = "x-amz-firehose-access-key";
/// The header with the request's id.
pub const REQUEST_HEADER: &str = "x-amz-firehose-request-id";
/// The largest body that is taken: Firehose buffers up to 64 MiB, and 1 MiB is what the documentation of this feed has people set.
pub const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;
/// The longest request id that is answered; they are UUIDs.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// What the feed is made from.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Access keys: one, or two while they are rotated.
    pub access_keys: Vec<SecretString>,
    /// The message tag that names the campaign; without it, `campaign`, then `ses:campaign`.
    pub campaign_tag: Option<String>,
}

/// The feed at `/in/ses-firehose`.
#[derive(Debug, Clone)]
pub struct SesFirehose {
    secrets: Secrets,
    campaign_tag: Option<String>,
}

impl SesFirehose {
    /// Makes the feed.
    ///
    /// # Errors
    /// Where there is no access key, or an unusable one.
    pub fn new(settings: &Settings) -> Result<Self, SecretError> {
        let secrets = Secrets::new(&[], &settings.access_keys)?;
        let secrets = secrets.with_tokens_in(HeaderName::from_static(ACCESS_KEY_HEADER));
        Ok(Self { secrets, campaign_tag: settings.campaign_tag.clone() })
    }

    /// Authenticates and decodes one batch.
    ///
    /// # Errors
    /// 400 for what is no batch, or has another request id than its header, 401 without the access key, 503 above the cap.
    pub fn receive(&self, delivery: &Delivery) -> Result<Report, Rejection> {
        self.secrets.check(delivery)?;
        wire::within(&delivery.body, MAX_BODY_BYTES)?;
        let malformed = |error| {
            wire::malformed(StatusCode::BAD_REQUEST, "a batch of Firehose's ({\"requestId\":…,\"records\":[…]})", error)
        };
        let text = wire::utf8(&delivery.body).map_err(malformed)?;
        let body: Body<'_> = wire::whole_object(text).map_err(malformed)?;
        let request = request_id(&body, delivery)?;
        let records = Parts::<Record<'_>>::parse(body.records.get()).map_err(malformed)?;
        let now = delivery.received_at;
        let mut report = records.report(Provider::Ses, now, |record, now, report| self.take(record, now, report));
        let timestamp = now.as_millis();
        let answer = serde_json::json!({ "requestId": request, "timestamp": timestamp }).to_string();
        report.answer = Some(Answer::of("application/json", answer));
        Ok(report)
    }

    /// Decodes one record, which holds one event or several.
    fn take(&self, record: &Record<'_>, now: Timestamp, report: &mut Report) -> Result<(), Aside> {
        let malformed = |what: &str| Aside::new(SetAsideReason::Malformed, what);
        let data = wire::text(record.data).ok_or_else(|| malformed("no data"))?;
        let data = BASE64_STANDARD.decode(data.trim()).map_err(|_| malformed("no base64"))?;
        let text = wire::utf8(&data).map_err(|_| malformed("not UTF-8"))?;
        let mut events = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
        for number in 0.. {
            let read_to = events.byte_offset();
            let decoded = match events.next() {
                None => break,
                // Of all records together: each of thousands could hold thousands.
                Some(_) if report.parts() >= MAX_ELEMENTS => Err(Aside::too_many()),
                Some(Ok(event)) => {
                    ses::decode(event.get(), self.campaign_tag.as_deref(), now).map_err(|_| malformed("no JSON"))
                }
                Some(Err(_)) => Err(malformed("no JSON")),
            };
            match decoded {
                Ok(decoded) => {
                    report.events.extend(decoded.events);
                    report.set_aside.extend(decoded.set_aside);
                    report.ignored.extend(decoded.ignored);
                }
                Err(aside) if number == 0 => return Err(aside),
                // What stands before it has been read.
                Err(aside) => {
                    let rest = text.get(read_to..).unwrap_or_default().trim_start();
                    report.set_aside.push(aside.with(Provider::Ses, rest));
                    break;
                }
            }
        }
        Ok(())
    }
}

/// The id that the answer repeats: the body's, and the header's where there is one.
fn request_id(body: &Body<'_>, delivery: &Delivery) -> Result<String, Rejection> {
    let id = wire::text(body.request_id).filter(|id| id.len() <= MAX_REQUEST_ID_BYTES);
    let same = |id: &str| delivery.header(REQUEST_HEADER).is_none_or(|header| header == id);
    id.filter(|id| same(id)).map(std::borrow::Cow::into_owned).ok_or_else(|| {
        Rejection::new(
            StatusCode::BAD_REQUEST,
            RejectionReason::Malformed,
            "the batch has no requestId, or another one than the header X-Amz-Firehose-Request-Id",
        )
    })
}

impl SetUp for SesFirehose {
    type Table = SesFirehoseFeed;
    const PROVIDER: Provider = Provider::Ses;
    const TABLE: &'static str = "ses_firehose";
    const SHAPES_REFUSALS: bool = true;

    /// Firehose loses what is answered with 413.
    fn refusal(rejection: Rejection) -> Rejection {
        match rejection.status {
            StatusCode::PAYLOAD_TOO_LARGE => Rejection { status: StatusCode::SERVICE_UNAVAILABLE, ..rejection },
            _ => rejection,
        }
    }

    /// Firehose shows `errorMessage` in its log.
    fn shaped_refusal(headers: &HeaderMap, rejection: &Rejection, now: Timestamp) -> Option<Answer> {
        let id = headers.get(REQUEST_HEADER).and_then(|id| id.to_str().ok()).unwrap_or_default();
        let id = wire::clean(id, MAX_REQUEST_ID_BYTES);
        let body = serde_json::json!({
            "requestId": id, "timestamp": now.as_millis(), "errorMessage": rejection.to_string(),
        });
        Some(Answer::of("application/json", body.to_string()))
    }

    fn set_up(_: &Config, table: &SesFirehoseFeed, place: &Place) -> Result<Self, Vec<FeedError>> {
        place.or_wrong(Self::new(&Settings {
            access_keys: secrets(&[&table.access_key, &table.previous_access_key]),
            campaign_tag: table.campaign_tag.clone(),
        }))
    }
}

/// The body.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(borrow)]
    request_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    records: &'a RawValue,
}

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    data: Option<Scalar<'a>>,
}

#[cfg(test)]
mod tests;
