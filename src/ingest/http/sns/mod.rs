//! Amazon SNS over HTTP: who sends it, and what it says.
//!
//! Implements "Verifying the signatures of Amazon SNS messages" (Amazon SNS Developer Guide), and is stricter where
//! others were deceived: see the tests named `mistake_…`. The order of the checks is from cheap to dear, so that a
//! stranger's post costs no request and no RSA: shape, type, topic, certificate address, then the key, then the signature.
//! The time comes last: where the signature verifies and only the time is off, this machine's clock may be what is wrong, and
//! SNS ends a delivery for good on a 4xx.
//!
//! A replay within the tolerance passes, as SNS's own retries must; it adds nothing, since the events in it have their
//! identity from the payload.

mod certificates;
mod envelope;
pub mod signing;
mod topic;

#[cfg(test)]
mod tests;

use std::{borrow::Cow, fmt, sync::Arc};

use aws_lc_rs::digest;
use axum::http::StatusCode;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use url::Url;

use crate::{
    ingest::{FollowUp, Report},
    model::Timestamp,
};

use super::{Delivery, Rejection, RejectionReason};
pub use certificates::{CertificateError, FetchCertificate, FetchError, Fetching, HttpsFetcher};
pub use envelope::{MessageType, SignatureVersion};
pub(in crate::ingest) use envelope::{NoEnvelope, published};
pub use topic::{Cloud, Topic, TopicError};

use certificates::{Authority, CertificateCache, Trust, VerifyingKey};
use envelope::{Envelope, RAW_DELIVERY};

/// How old a message may be: SNS's own limit for all retries together, in milliseconds.
pub const DEFAULT_TOLERANCE_MILLIS: i64 = 3_600_000;
/// What is granted beyond the tolerance, both ways, for clocks that differ: five minutes, in milliseconds.
pub const LEEWAY_MILLIS: i64 = 300_000;
/// The longest signature in base64 that any key can make (8192 bits).
const MAX_SIGNATURE_CHARS: usize = 1368;

/// What a verifier needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnsSettings {
    /// Whose topics they are.
    pub cloud: Cloud,
    /// The ARNs of the topics whose messages are taken; compared as a whole.
    pub topics: Vec<String>,
    /// Pinned certificates as PEM texts, each with one or more. Where there are any, nothing is fetched, and every key
    /// among them is good while its certificate holds.
    pub signing_certificates: Vec<Vec<u8>>,
    /// Certificates of the authorities that issue signing certificates, as PEM texts. Where there are any, a fetched certificate
    /// counts only if one of them issued it; Scaleway's must be given, Amazon's host is believed without.
    pub authorities: Vec<Vec<u8>>,
    /// Refuse `SignatureVersion` 1, whose digest is SHA-1. SNS uses it unless the topic's attribute says 2.
    pub refuse_signature_version_1: bool,
    /// How far a message's `Timestamp` may be from now, in milliseconds; [`LEEWAY_MILLIS`] comes on top.
    pub tolerance_millis: i64,
}

impl Default for SnsSettings {
    fn default() -> Self {
        Self {
            cloud: Cloud::Amazon,
            topics: Vec::new(),
            signing_certificates: Vec::new(),
            authorities: Vec::new(),
            refuse_signature_version_1: false,
            tolerance_millis: DEFAULT_TOLERANCE_MILLIS,
        }
    }
}

/// Why a verifier can't be made from its settings. Positions count from 1.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// No topic at all.
    #[error("topics is empty: name the ARN of each SNS topic that sends here")]
    NoTopic,
    /// A topic that is none.
    #[error("topics, entry {position}: {error}")]
    Topic {
        /// Which entry.
        position: usize,
        /// What is wrong with it.
        error: TopicError,
    },
    /// A certificate that is none.
    #[error("signing_certificates, entry {position}: {error}")]
    Certificate {
        /// Which entry.
        position: usize,
        /// What is wrong with it.
        error: CertificateError,
    },
    /// An authority's certificate that is none.
    #[error("trust_chain: {0}")]
    Authority(CertificateError),
    /// No authority to go by.
    #[error("trust_chain is missing: without the authority's certificate no signing certificate can be believed")]
    NoAuthority,
    /// A tolerance below nothing.
    #[error("the tolerance must not be negative")]
    Tolerance,
    /// No HTTP client.
    #[error("the HTTP client for SNS certificates can't be set up")]
    Client(#[from] reqwest::Error),
}

/// Whether a PEM text holds certificates that can be pinned.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_certificates(pem: &[u8]) -> Result<(), CertificateError> {
    VerifyingKey::all_from_pem(pem).map(drop)
}

/// Whether a PEM text holds certificates of authorities.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_authorities(pem: &[u8]) -> Result<(), CertificateError> {
    Authority::all_from_pem(pem).map(drop)
}

/// A message whose signature is Amazon's and whose topic is ours.
#[derive(Clone, PartialEq, Eq)]
pub struct Verified<'a> {
    /// Which of SNS's three types.
    pub kind: MessageType,
    /// The configured topic that sent it.
    pub topic: &'a str,
    /// SNS's id of the message: the same in every retry.
    pub message_id: Cow<'a, str>,
    /// When it was published.
    pub at: Timestamp,
    /// What was published.
    pub message: Cow<'a, str>,
    /// The checked address that confirms the subscription; only in a `SubscriptionConfirmation`.
    pub subscribe_url: Option<Url>,
}

impl Verified<'_> {
    /// What the message reports: by `decode`, where it is published; else what SNS itself says of the subscription, of which a
    /// confirmation is to be followed.
    ///
    /// # Errors
    /// As `decode`.
    pub(super) fn report(self, decode: impl FnOnce(&str) -> Result<Report, Rejection>) -> Result<Report, Rejection> {
        match self.kind {
            MessageType::Notification => decode(&self.message),
            MessageType::SubscriptionConfirmation => Ok(Report {
                ignored: vec!["sns-subscription-confirmation"],
                follow_up: self
                    .subscribe_url
                    .map(|url| FollowUp::ConfirmSubscription { url, topic: self.topic.to_owned() }),
                ..Report::default()
            }),
            MessageType::UnsubscribeConfirmation => {
                Ok(Report { ignored: vec!["sns-unsubscribe-confirmation"], ..Report::default() })
            }
        }
    }
}

impl fmt::Debug for Verified<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verified({:?} of {}, {} bytes)", self.kind, self.topic, self.message.len())
    }
}

enum Keys {
    Pinned(Vec<VerifyingKey>),
    Fetched(Box<CertificateCache>),
}

/// Decides which posts are messages of our topics, signed by Amazon.
pub struct Verifier {
    topics: Vec<Topic>,
    keys: Keys,
    refuse_version_1: bool,
    tolerance_millis: i64,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = match &self.keys {
            Keys::Pinned(keys) => keys.as_slice(),
            Keys::Fetched(_) => &[],
        };
        f.debug_struct("Verifier").field("topics", &self.topics).field("pinned", &keys).finish_non_exhaustive()
    }
}

impl Verifier {
    /// A verifier that fetches certificates over HTTPS, unless some are pinned.
    ///
    /// # Errors
    /// Says which setting is wrong.
    pub fn new(settings: &SnsSettings) -> Result<Self, SettingsError> {
        if settings.signing_certificates.is_empty() {
            Self::with_fetcher(settings, Arc::new(HttpsFetcher::new()?))
        } else {
            Self::build(settings, None)
        }
    }

    /// A verifier that gets certificates from `fetcher`, unless some are pinned.
    ///
    /// # Errors
    /// Says which setting is wrong.
    pub fn with_fetcher(settings: &SnsSettings, fetcher: Arc<dyn FetchCertificate>) -> Result<Self, SettingsError> {
        Self::build(settings, Some(fetcher))
    }

    fn build(settings: &SnsSettings, fetcher: Option<Arc<dyn FetchCertificate>>) -> Result<Self, SettingsError> {
        if settings.topics.is_empty() {
            return Err(SettingsError::NoTopic);
        }
        if settings.tolerance_millis < 0 {
            return Err(SettingsError::Tolerance);
        }
        let numbered = |index: usize| index + 1;
        let mut topics = Vec::with_capacity(settings.topics.len());
        for (index, arn) in settings.topics.iter().enumerate() {
            let topic = Topic::of(settings.cloud, arn)
                .map_err(|error| SettingsError::Topic { position: numbered(index), error })?;
            topics.push(topic);
        }
        let mut pinned = Vec::new();
        for (index, pem) in settings.signing_certificates.iter().enumerate() {
            let keys = VerifyingKey::all_from_pem(pem)
                .map_err(|error| SettingsError::Certificate { position: numbered(index), error })?;
            pinned.extend(keys);
        }
        let mut authorities = Vec::new();
        for pem in &settings.authorities {
            authorities.extend(Authority::all_from_pem(pem).map_err(SettingsError::Authority)?);
        }
        let trust = if authorities.is_empty() { Trust::Host } else { Trust::Authorities(authorities) };
        if settings.cloud == Cloud::Scaleway && pinned.is_empty() && matches!(trust, Trust::Host) {
            return Err(SettingsError::NoAuthority);
        }
        let keys = match fetcher {
            Some(fetcher) if pinned.is_empty() => Keys::Fetched(Box::new(CertificateCache::new(fetcher, trust))),
            _ => Keys::Pinned(pinned),
        };
        Ok(Self {
            topics,
            keys,
            refuse_version_1: settings.refuse_signature_version_1,
            tolerance_millis: settings.tolerance_millis,
        })
    }

    /// Verifies one post.
    ///
    /// # Errors
    /// A rejection with the status that makes SNS do the right thing: 503 where the message is worth sending again,
    /// else 4xx.
    pub async fn verify<'a>(&'a self, delivery: &'a Delivery) -> Result<Verified<'a>, Rejection> {
        if delivery.headers.get("x-amz-sns-rawdelivery").is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"true")) {
            return Err(malformed(RAW_DELIVERY));
        }
        let envelope = Envelope::parse(&delivery.body)?;
        if let Some(header) = delivery.headers.get("x-amz-sns-message-type")
            && header.as_bytes() != envelope.kind.as_str().as_bytes()
        {
            return Err(malformed("the header x-amz-sns-message-type and the envelope's Type differ"));
        }
        let topic = self.topics.iter().find(|topic| topic.arn() == envelope.topic).ok_or_else(|| {
            refuse(RejectionReason::Foreign, "the message is of a topic that is not configured for this feed")
        })?;
        if self.refuse_version_1 && envelope.version == SignatureVersion::V1 {
            return Err(refuse(
                RejectionReason::BadSignature,
                "SignatureVersion 1 (SHA-1) is refused here: set the topic's attribute SignatureVersion to 2",
            ));
        }
        if !topic.owns_certificate_url(&envelope.certificate_url) {
            return Err(refuse(
                RejectionReason::BadSignature,
                "the SigningCertURL is not on the host of the topic's region; nothing was fetched",
            ));
        }
        let subscribe_url = match (envelope.kind, &envelope.subscribe_url, &envelope.token) {
            (MessageType::SubscriptionConfirmation, Some(url), Some(token)) => {
                let url = topic.subscribe_url(url, token);
                Some(url.ok_or_else(|| {
                    refuse(RejectionReason::Foreign, "the SubscribeURL does not confirm this topic; it was not visited")
                })?)
            }
            _ => None,
        };
        self.check_signature(&envelope, topic, delivery.received_at).await?;
        let distance = delivery.received_at.millis_since(envelope.at).saturating_abs();
        if distance > self.tolerance_millis.saturating_add(LEEWAY_MILLIS) {
            return Err(Rejection::new(
                StatusCode::SERVICE_UNAVAILABLE,
                RejectionReason::Stale,
                "the message's Timestamp is too far from this machine's clock: a replay, or the clock may be wrong; check it",
            )
            .conclusive());
        }
        Ok(Verified {
            kind: envelope.kind,
            topic: topic.arn(),
            message_id: envelope.message_id,
            at: envelope.at,
            message: envelope.message,
            subscribe_url,
        })
    }

    async fn check_signature(&self, envelope: &Envelope<'_>, topic: &Topic, now: Timestamp) -> Result<(), Rejection> {
        let wrong = || refuse(RejectionReason::BadSignature, "the signature does not verify");
        if envelope.signature.len() > MAX_SIGNATURE_CHARS {
            return Err(wrong());
        }
        let signature = BASE64_STANDARD.decode(envelope.signature.as_bytes()).map_err(|_| wrong())?;
        let mut context = digest::Context::new(match envelope.version {
            SignatureVersion::V1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            SignatureVersion::V2 => &digest::SHA256,
        });
        let verified = match &self.keys {
            Keys::Pinned(keys) => {
                let mut valid = keys.iter().filter(|key| key.valid_at(now)).peekable();
                if valid.peek().is_none() {
                    return Err(keys_unavailable(
                        "none of the pinned signing_certificates holds at this time: pin the current one, or set the clock right",
                    )
                    .conclusive());
                }
                envelope.canonical(|piece| context.update(piece.as_bytes()));
                let digest = context.finish();
                valid.any(|key| key.verifies(envelope.version, &digest, &signature))
            }
            Keys::Fetched(cache) => {
                let key = cache.key(&envelope.certificate_url, topic.host(), now).await?;
                if !key.valid_at(now) {
                    return Err(keys_unavailable(
                        "the signing certificate has expired or does not hold yet: this machine's clock may be wrong; check it",
                    ));
                }
                envelope.canonical(|piece| context.update(piece.as_bytes()));
                key.verifies(envelope.version, &context.finish(), &signature)
            }
        };
        if verified { Ok(()) } else { Err(wrong()) }
    }
}

/// Not what SNS sends.
fn malformed(detail: impl Into<String>) -> Rejection {
    Rejection::new(StatusCode::BAD_REQUEST, RejectionReason::Malformed, detail)
}

/// Not to be believed. 403 rather than 401, on which SNS would look for a password.
fn refuse(reason: RejectionReason, detail: impl Into<String>) -> Rejection {
    Rejection::new(StatusCode::FORBIDDEN, reason, detail)
}

/// Worth sending again.
fn keys_unavailable(detail: impl Into<String>) -> Rejection {
    Rejection::new(StatusCode::SERVICE_UNAVAILABLE, RejectionReason::KeysUnavailable, detail)
}
