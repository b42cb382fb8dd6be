//! Amazon SES: notifications and events that arrive in SNS envelopes.

mod decode;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::http::StatusCode;

use crate::{
    config::{self, Config},
    ingest::Report,
    model::{Exposure, Provider},
};

use super::{
    Delivery, Rejection, RejectionReason,
    feeds::{FeedError, Place, SetUp, whole},
    sns::{DEFAULT_TOLERANCE_MILLIS, FetchCertificate, SettingsError, SnsSettings, Verifier, check_certificates},
};
pub(super) use decode::is_suppression;
pub use decode::{DecodeError, decode, decode_bytes};

/// What a feed of SES tells of mail that did not bounce, unless its settings say otherwise.
///
/// It depends on which event types are published to the topic, which no payload tells: bounces and deliveries make
/// [`Exposure::Outcomes`], which is what the documentation has people switch on; with `Send` as well it's
/// [`Exposure::Sends`]; bounces and complaints alone, the most common set-up for identity notifications, are
/// [`Exposure::None`] and must be declared so.
pub const DEFAULT_EXPOSURE: Exposure = Exposure::Outcomes;

/// The settings of one SES feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SesSettings {
    /// The ARNs of the SNS topics that send here.
    pub topics: Vec<String>,
    /// Pinned signing certificates as PEM texts; with any, nothing is fetched.
    pub signing_certificates: Vec<Vec<u8>>,
    /// Refuse SNS's signature version 1 (SHA-1).
    pub refuse_signature_version_1: bool,
    /// The message tag that names the campaign; without it, `campaign`, then `ses:campaign`.
    pub campaign_tag: Option<String>,
    /// How far an envelope's time may be from now, in milliseconds.
    pub tolerance_millis: i64,
}

impl Default for SesSettings {
    fn default() -> Self {
        Self {
            topics: Vec::new(),
            signing_certificates: Vec::new(),
            refuse_signature_version_1: false,
            campaign_tag: None,
            tolerance_millis: DEFAULT_TOLERANCE_MILLIS,
        }
    }
}

impl SesSettings {
    fn sns(&self) -> SnsSettings {
        SnsSettings {
            topics: self.topics.clone(),
            signing_certificates: self.signing_certificates.clone(),
            refuse_signature_version_1: self.refuse_signature_version_1,
            tolerance_millis: self.tolerance_millis,
            ..SnsSettings::default()
        }
    }
}

/// The feed at `/in/ses`.
#[derive(Debug)]
pub struct SesFeed {
    verifier: Verifier,
    campaign_tag: Option<String>,
}

impl SesFeed {
    /// A feed that fetches SNS's certificates over HTTPS, unless some are pinned.
    ///
    /// # Errors
    /// Says which setting is wrong.
    pub fn new(settings: &SesSettings) -> Result<Self, SettingsError> {
        let verifier = Verifier::new(&settings.sns())?;
        Ok(Self { verifier, campaign_tag: settings.campaign_tag.clone() })
    }

    /// A feed that gets SNS's certificates from `fetcher`, unless some are pinned.
    ///
    /// # Errors
    /// Says which setting is wrong.
    pub fn with_fetcher(settings: &SesSettings, fetcher: Arc<dyn FetchCertificate>) -> Result<Self, SettingsError> {
        let verifier = Verifier::with_fetcher(&settings.sns(), fetcher)?;
        Ok(Self { verifier, campaign_tag: settings.campaign_tag.clone() })
    }

    /// Verifies and decodes one delivery.
    ///
    /// A confirmed unsubscription is reported as ignored under `sns-unsubscribe-confirmation`: the topic will send no
    /// more, which is worth a warning.
    ///
    /// # Errors
    /// A rejection with the status that makes SNS do the right thing.
    pub async fn receive(&self, delivery: &Delivery) -> Result<Report, Rejection> {
        self.verifier.verify(delivery).await?.report(|message| {
            decode(message, self.campaign_tag.as_deref(), delivery.received_at)
                .map_err(|error| Rejection::new(StatusCode::BAD_REQUEST, RejectionReason::Malformed, error.to_string()))
        })
    }
}

impl SetUp for SesFeed {
    type Table = config::SesFeed;
    const PROVIDER: Provider = Provider::Ses;

    fn set_up(_: &Config, table: &config::SesFeed, place: &Place) -> Result<Self, Vec<FeedError>> {
        let files = table.signing_certificates.iter().enumerate();
        let signing_certificates =
            whole(files.map(|(number, file)| {
                place.read(&format!("signing_certificates.{number}"), file, check_certificates)
            }))?;
        place.or_wrong(Self::new(&SesSettings {
            topics: table.topics.clone(),
            signing_certificates,
            refuse_signature_version_1: table.refuse_signature_version_1,
            campaign_tag: table.campaign_tag.clone(),
            ..SesSettings::default()
        }))
    }
}
