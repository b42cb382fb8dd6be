//! `[feeds.ses]`: Amazon SES through SNS.

use super::{super::validate::Checks, table};
use crate::config::{FilePath, forms::is_topic_arn};

table! {
    /// Amazon SES through SNS.
    pub struct SesFeed at "ses" with exposure, checked by check, connected by connect {
        /// The SNS topics that are taken, by ARN. Subscriptions to others are not confirmed.
        pub topics: Vec<String>,
        /// Pinned signing certificates (PEM). With them nothing is fetched.
        pub signing_certificates: Vec<FilePath>,
        /// Refuse the older signatures (SHA-1). Set the topic's `SignatureVersion` to 2 first.
        pub refuse_signature_version_1: bool,
        /// The SES message tag that names the campaign.
        pub campaign_tag: Option<String>,
    }
}

fn check(feed: &SesFeed, path: &str, checks: &mut Checks<'_>) {
    if feed.topics.is_empty() {
        checks.error(path, "the SES feed takes no topic", "add `topics = [\"arn:aws:sns:…\"]`");
    }
    for (number, topic) in feed.topics.iter().enumerate() {
        if !is_topic_arn(topic) {
            checks.wrong(
                &format!("{path}.topics.{number}"),
                "this is no ARN of an SNS topic",
                "write it as \"arn:aws:sns:<region>:<account, 12 digits>:<topic>\"",
            );
        }
    }
}

fn connect(feed: &SesFeed, at: &str) -> Vec<String> {
    let topics = if feed.topics.is_empty() { "each topic".to_owned() } else { feed.topics.join(", ") };
    vec![
        format!(
            "SNS, {topics}: a subscription with the protocol HTTPS and the endpoint {at}, raw message delivery off; it is confirmed by itself"
        ),
        "SES, the configuration set of your mail: an event destination to that topic".to_owned(),
        super::events(feed.exposure, "Sends", "Deliveries", "Hard bounces, Complaints, Delivery delays, Rejects"),
    ]
}
