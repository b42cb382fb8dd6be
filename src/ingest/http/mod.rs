//! Feeds that arrive over HTTP: one file a provider.

pub mod apple;
pub mod auth;
pub mod body;
pub mod braze;
pub mod brevo;
pub mod endpoint;
pub mod feeds;
pub mod kumomta;
mod mac;
pub mod mailersend;
pub mod mailgun;
pub mod mailjet;
pub mod mailtrap;
pub mod mandrill;
pub mod postal;
pub mod postmark;
pub mod resend;
pub mod sendgrid;
pub mod ses;
pub mod sns;
pub mod sparkpost;
pub mod svix;
#[cfg(test)]
mod testing;
pub mod unisender;
mod wire;

use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;

pub use crate::ingest::RejectionReason;
use crate::model::Timestamp;

/// One delivery as it came in: whole, within the limits, and not yet trusted.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The headers of the request.
    pub headers: HeaderMap,
    /// The body, after any content coding was undone within the cap.
    pub body: Bytes,
    /// When it arrived.
    pub received_at: Timestamp,
}

impl Delivery {
    /// A header's value as text; `None` where it's absent, repeated or no visible ASCII.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let first = values.next()?;
        if values.next().is_some() {
            return None;
        }
        first.to_str().ok()
    }
}

/// Why a delivery is refused. Nothing of it is stored.
///
/// The reason is a metric's label and stands in the log; the detail tells the person who connects the feed what to mend.
/// Neither holds anything from the body but bounded provider words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Rejection {
    /// What the feed answers, chosen so that this provider does the right thing.
    pub status: StatusCode,
    /// A word of a closed list, for metrics.
    pub reason: RejectionReason,
    /// What is wrong and what to do about it.
    pub detail: String,
    /// Whether no stranger can have brought it about: the signature had verified before it was refused, or nothing that the
    /// provider signs can be verified just now.
    pub conclusive: bool,
    /// How the feed is authenticated to, where that is what is missing: the header `WWW-Authenticate` (RFC 9110, 11.6.1).
    pub challenge: Option<&'static str>,
}

impl Rejection {
    /// A rejection.
    #[must_use]
    pub fn new(status: StatusCode, reason: RejectionReason, detail: impl Into<String>) -> Self {
        Self { status, reason, detail: detail.into(), conclusive: false, challenge: None }
    }

    /// The same, with how to authenticate.
    #[must_use]
    pub fn challenging(self, challenge: &'static str) -> Self {
        Self { challenge: Some(challenge), ..self }
    }

    /// The same, known to be no stranger's doing.
    #[must_use]
    pub fn conclusive(self) -> Self {
        Self { conclusive: true, ..self }
    }
}
