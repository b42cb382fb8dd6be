//! From the body of a message in the queue to a report. Pure.
//!
//! | body | way |
//! |---|---|
//! | an SNS envelope of type `Notification` | SES → SNS → SQS, and EventBridge → SNS → SQS |
//! | the SES JSON itself | the same with raw message delivery |
//! | `{"detail-type": …, "source": "aws.ses", "detail": …}` | EventBridge → SQS |
//!
//! Who may write into the queue is decided by its policy (IAM), so that no signature is asked for; and a redrive brings
//! messages of two weeks ago, so that their age says nothing.

use crate::{
    ingest::{
        Report, SetAside, SetAsideReason,
        http::{
            ses,
            sns::{MessageType, NoEnvelope, published},
        },
    },
    model::{DAY_MILLIS, Provider, Timestamp},
};

/// The longest body that is read: what SQS lets a message have (SQS Developer Guide, "Amazon SQS message quotas": 1 MiB).
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// What is kept of a longer one.
const KEPT_OF_LONGER_BYTES: usize = 64 * 1024;
/// For how long the body of a message in which nothing was understood is kept, sealed: 7 days.
pub const POISON_KEPT_MILLIS: i64 = 7 * DAY_MILLIS;
/// How SNS's request to confirm a subscription is counted.
pub(super) const CONFIRMATION: &str = "sns-subscription-confirmation";

/// Decodes the body of one message. `campaign_tag` names the message tag that holds the campaign.
///
/// What can't be understood is set aside with its reason: nothing would be gained by reading it again.
#[must_use]
pub fn decode(body: &str, campaign_tag: Option<&str>, received_at: Timestamp) -> Report {
    if body.len() > MAX_BODY_BYTES {
        return poison(body.get(..body.floor_char_boundary(KEPT_OF_LONGER_BYTES)).unwrap_or_default(), "too large");
    }
    let message = match published(body) {
        Ok(None) => body.into(),
        Ok(Some(envelope)) => match envelope.kind {
            MessageType::Notification => envelope.message,
            // Its URL is not visited: nothing here says which topics are ours.
            MessageType::SubscriptionConfirmation => return ignored(CONFIRMATION),
            MessageType::UnsubscribeConfirmation => return ignored("sns-unsubscribe-confirmation"),
        },
        Err(NoEnvelope::Shape) => return poison(body, "shape"),
        // With raw message delivery what SES greets with stands alone, and is plain text.
        Err(NoEnvelope::NotJson) => match ses::decode(body, campaign_tag, received_at) {
            Ok(report) => return report,
            Err(_) => return poison(body, if body.trim().is_empty() { "empty" } else { "not JSON" }),
        },
    };
    let Ok(mut report) = ses::decode(&message, campaign_tag, received_at) else {
        return poison(body, "not JSON");
    };
    if report.events.is_empty() {
        // What SES may have to say some day is worth keeping longer than what makes no sense.
        for part in report.set_aside.iter_mut().filter(|part| part.reason == SetAsideReason::Malformed) {
            part.kept_millis = POISON_KEPT_MILLIS;
        }
    }
    report
}

fn ignored(what: &'static str) -> Report {
    Report { ignored: vec![what], ..Report::default() }
}

/// What is kept of a message in which nothing was understood.
pub(super) fn poison(body: &str, label: &str) -> Report {
    let part = SetAside {
        provider: Provider::Ses,
        reason: SetAsideReason::Malformed,
        label: label.to_owned(),
        at: None,
        body: body.as_bytes().to_vec(),
        kept_millis: POISON_KEPT_MILLIS,
    };
    Report { set_aside: vec![part], ..Report::default() }
}
