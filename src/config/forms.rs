//! The forms of single values, for [`super::validate`]: what a text must look like, and what is said where it does not.

use super::shape::nearest_word;
use crate::model::may_hold_address;

/// What is said of a store's URL with another scheme. The scheme alone is shown, and only where it can be nothing else: what
/// comes after it may be a password.
pub(super) fn foreign_store(scheme: &str, url: &str) -> (String, String) {
    let is_scheme = url.get(scheme.len()..).is_some_and(|rest| rest.starts_with("://"))
        && (1..=20).contains(&scheme.len())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    if !is_scheme {
        let message = "`store.url` is neither SQLite nor PostgreSQL".to_owned();
        return (message, "start it with sqlite:// or postgres://".to_owned());
    }
    let message = format!("`store.url` starts with {scheme}://, which is neither SQLite nor PostgreSQL");
    let help = match nearest_word(scheme, ["sqlite", "postgres", "postgresql"]) {
        Some(meant) => format!("did you mean {meant}://?"),
        None => "start it with sqlite:// or postgres://".to_owned(),
    };
    (message, help)
}

/// Whether pages can show it as an installation's name.
pub(super) fn is_name(text: &str) -> bool {
    (1..=80).contains(&text.chars().count())
        && text.trim() == text
        && !may_hold_address(text)
        && text.chars().all(|c| c == ' ' || c.is_alphanumeric() || c.is_ascii_punctuation() || "–—·’".contains(c))
}

/// Whether it can be a feed's name: the last part of its path.
pub(super) fn is_feed_name(text: &str) -> bool {
    (1..=32).contains(&text.len()) && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// Amazon's form of a topic's name: `arn:<partition>:sns:<region>:<account>:<topic>`.
pub(super) fn is_topic_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    let [arn, partition, service, region, account, topic] = parts.as_slice() else { return false };
    let word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    *arn == "arn"
        && (*partition == "aws" || partition.starts_with("aws-"))
        && *service == "sns"
        && word(region)
        && account.len() == 12
        && account.chars().all(|c| c.is_ascii_digit())
        && word(topic)
        && topic.len() <= 256
}

/// Whether it looks like a region of AWS, `xx(-word)+-N`: two letters, at least one word, a number.
pub(crate) fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [area, words @ .., number] = parts.as_slice() else { return false };
    let word = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase());
    text.len() <= 32
        && area.len() == 2
        && word(area)
        && !words.is_empty()
        && words.iter().all(|w| word(w))
        && !number.is_empty()
        && number.bytes().all(|b| b.is_ascii_digit())
}
