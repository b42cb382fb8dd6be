//! Feeds that arrive over HTTP: one file a provider.

pub mod apple;
pub mod auth;
pub mod azure;
pub mod body;
pub mod braze;
pub mod brevo;
pub mod customerio;
mod dates;
pub mod elasticemail;
pub mod endpoint;
pub mod feeds;
mod form;
pub mod generic;
pub mod iterable;
pub mod klaviyo;
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
pub mod scaleway;
pub mod sendgrid;
pub mod ses;
pub mod ses_eventbridge;
pub mod ses_firehose;
mod signed;
pub mod sns;
pub mod socketlabs;
pub mod sparkpost;
pub mod svix;
#[cfg(test)]
pub(in crate::ingest) mod testing;
pub mod unisender;
pub(in crate::ingest) mod wire;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header::CONTENT_TYPE};
use bytes::Bytes;

pub use crate::ingest::RejectionReason;
use crate::model::Timestamp;

/// One delivery as it came in: whole, within the limits, and not yet trusted.
#[derive(Clone)]
pub struct Delivery {
    /// The method: POST, unless the feed takes others.
    pub method: Method,
    /// The query of the address, as it came; empty where there is none.
    pub query: String,
    /// The headers of the request.
    pub headers: HeaderMap,
    /// The body, after any content coding was undone within the cap.
    pub body: Bytes,
    /// When it arrived.
    pub received_at: Timestamp,
}

/// Query, headers and body hold secrets and addresses.
impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { method, query, headers, body, received_at } = self;
        let (query, headers, body) = (query.len(), headers.len(), body.len());
        write!(f, "Delivery({method} at {received_at}, query of {query} bytes, {headers} headers, {body} bytes)")
    }
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

/// What a feed answers where its provider waits for more than a status.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// Headers beside those of every answer.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: String,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Answer({} headers, {} bytes)", self.headers.len(), self.body.len())
    }
}

impl Answer {
    /// A body of this media type.
    #[must_use]
    pub fn of(media_type: &'static str, body: String) -> Self {
        Self { headers: vec![(CONTENT_TYPE, HeaderValue::from_static(media_type))], body }
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

    /// 401, for want of any credentials or signature.
    #[must_use]
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, RejectionReason::Unauthenticated, detail)
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

#[cfg(test)]
mod tests {
    #[test]
    fn a_delivery_is_not_printed() {
        let delivery = super::testing::delivery(&[("authorization", "Bearer secret-1")], "secret-2");
        let delivery = super::Delivery { query: "token=secret-3".to_owned(), ..delivery };
        let shown = format!("{delivery:?}");
        assert!(!shown.contains("secret") && shown.contains("1 headers, 8 bytes"), "{shown}");
    }
}
