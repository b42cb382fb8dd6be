//! `[feeds.scaleway]`: Scaleway Transactional Email.

use super::{super::validate::Checks, table};
use crate::config::FilePath;

table! {
    /// Scaleway Transactional Email through Topics and Events.
    pub struct ScalewayFeed at "scaleway" with exposure, checked by check, connected by connect {
        /// The topics that are taken, by ARN. Subscriptions to others are not confirmed.
        pub topics: Vec<String>,
        /// The certificate of Scaleway's authority, `sns-trust-chain.pem`: what issued the signing certificates.
        pub trust_chain: Option<FilePath>,
        /// Pinned signing certificates (PEM) in place of it. With them nothing is fetched.
        pub signing_certificates: Vec<FilePath>,
    }
}

fn check(feed: &ScalewayFeed, path: &str, checks: &mut Checks<'_>) {
    if feed.topics.is_empty() {
        checks.error(path, "the Scaleway feed takes no topic", "add `topics = [\"arn:scw:sns:…\"]`");
    }
    for (number, topic) in feed.topics.iter().enumerate() {
        if !topic.starts_with("arn:scw:sns:") || topic.split(':').count() != 6 {
            checks.wrong(
                &format!("{path}.topics.{number}"),
                "this is no ARN of a topic of Scaleway's",
                "write it as \"arn:scw:sns:<region>:project-<uuid>:<topic>\"",
            );
        }
    }
    if feed.trust_chain.is_none() && feed.signing_certificates.is_empty() {
        checks.error(
            path,
            "the Scaleway feed has no `trust_chain`, so no signature can be believed",
            "save https://messaging.s3.fr-par.scw.cloud/fr-par/sns/sns-trust-chain.pem (of your region) and name it",
        );
    }
}

fn connect(feed: &ScalewayFeed, at: &str) -> Vec<String> {
    let topics = if feed.topics.is_empty() { "each topic".to_owned() } else { feed.topics.join(", ") };
    vec![
        "Scaleway, Transactional Email, the domain: a webhook to the topic, with all email event types".to_owned(),
        format!("Topics and Events, {topics}: a subscription by HTTPS to {at}; it is confirmed by itself"),
    ]
}
