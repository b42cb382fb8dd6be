//! Amazon SES through EventBridge: an API destination that posts each event as it is on the bus, or its `detail` alone.
//!
//! Source: Amazon EventBridge User Guide, "API destinations", "Connections" and "How EventBridge retries delivering events" (24
//! hours and 185 attempts by default); "Amazon SES events" for what is posted, `{"detail-type":…,"source":"aws.ses","detail":{…}}`.
//! The connection sends a user name and a password, or an API key in a header of one's own, or a token of OAuth (inferred: which
//! of the three a receiver sees is as with any client).
//!
//! EventBridge tries again on 401, 407, 409, 429 and 5xx, not on other 4xx (inferred). So a body above a cap of ours, and one that
//! came too slowly, is answered 503.
//!
//! What is posted is read as SES's feed through SNS reads it, so that one event is one event by whichever way it comes.

use axum::http::StatusCode;

use super::{
    Delivery, Rejection, RejectionReason,
    auth::{Credentials, SecretError, Secrets},
    feeds::{FeedError, Place, SetUp, logins, secrets},
    ses, wire,
};
use crate::{
    config::{Config, SesEventbridgeFeed},
    ingest::Report,
    model::Provider,
};

/// The largest body that is taken: an event on a bus has 256 KiB at most.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// What the feed is made from.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// What the connection authenticates by; its API key is a token.
    pub credentials: Credentials,
    /// The message tag that names the campaign; without it, `campaign`, then `ses:campaign`.
    pub campaign_tag: Option<String>,
}

/// The feed at `/in/ses-eventbridge`.
#[derive(Debug, Clone)]
pub struct SesEventBridge {
    secrets: Secrets,
    campaign_tag: Option<String>,
}

impl SesEventBridge {
    /// Makes the feed.
    ///
    /// # Errors
    /// Where there is no secret, or an unusable one, or the header can't have its name.
    pub fn new(settings: &Settings) -> Result<Self, SecretError> {
        Ok(Self { secrets: settings.credentials.secrets()?, campaign_tag: settings.campaign_tag.clone() })
    }

    /// Authenticates and decodes one event.
    ///
    /// # Errors
    /// 400 for what is no JSON, 401 without the secret, 503 above the cap.
    pub fn receive(&self, delivery: &Delivery) -> Result<Report, Rejection> {
        self.secrets.check(delivery)?;
        wire::within(&delivery.body, MAX_BODY_BYTES)?;
        let malformed = |error: &str| {
            let detail = format!("{error}; let the rule send the matched event, or the part `$.detail` of it");
            Rejection::new(StatusCode::BAD_REQUEST, RejectionReason::Malformed, detail)
        };
        if !delivery.body.trim_ascii_start().starts_with(b"{") {
            return Err(malformed("the body is no event"));
        }
        ses::decode_bytes(&delivery.body, self.campaign_tag.as_deref(), delivery.received_at)
            .map_err(|error| malformed(&error.to_string()))
    }
}

impl SetUp for SesEventBridge {
    type Table = SesEventbridgeFeed;
    const PROVIDER: Provider = Provider::Ses;
    const TABLE: &'static str = "ses_eventbridge";

    fn refusal(rejection: Rejection) -> Rejection {
        match rejection.status {
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT => {
                Rejection { status: StatusCode::SERVICE_UNAVAILABLE, ..rejection }
            }
            _ => rejection,
        }
    }

    fn set_up(_: &Config, table: &SesEventbridgeFeed, place: &Place) -> Result<Self, Vec<FeedError>> {
        place.or_wrong(Self::new(&Settings {
            credentials: Credentials {
                logins: logins(table.username.as_deref(), &[&table.password, &table.previous_password]),
                tokens: secrets(&[&table.token, &table.previous_token]),
                header: table.header.clone(),
            },
            campaign_tag: table.campaign_tag.clone(),
        }))
    }
}

#[cfg(test)]
mod tests;
