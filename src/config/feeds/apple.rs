//! `[feeds.apple]`: Apple's notices.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{super::validate::Checks, table};
use crate::config::{FilePath, PublicUrl};

table! {
    /// Apple's server-to-server notices.
    pub struct AppleFeed at "apple", checked by check, connected by connect {
        /// Pinned keys (a JWK set). Without it, Apple's published set is fetched.
        pub jwks_file: Option<FilePath>,
        /// Keys that Apple has retired (a JWK set), for notices that a backend passes on late.
        pub archived_jwks_file: Option<FilePath>,
        /// `direct`: Apple posts here. `forwarded`: your backend passes copies on under `secret`.
        pub mode: AppleMode,
        /// Mode `direct`: your backend's endpoint, which gets every notice after it is committed.
        pub forward_to: Option<PublicUrl>,
        secret "secret" {
            /// Mode `forwarded`: the bearer token that your backend sends.
            secret, secret_file, previous_secret, previous_secret_file,
        }
    }
}

/// How Apple's notices come here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AppleMode {
    /// Apple posts them.
    #[default]
    Direct,
    /// The company's backend passes copies on.
    Forwarded,
}

fn check(feed: &AppleFeed, path: &str, checks: &mut Checks<'_>) {
    checks.token(&format!("{path}.secret"), feed.secret.as_ref());
    match feed.mode {
        AppleMode::Forwarded => {
            if feed.secret.is_none() {
                checks.error(
                    path,
                    "mode \"forwarded\" needs the secret that your backend sends",
                    "set `secret_file` in [feeds.apple]",
                );
            }
            if feed.forward_to.is_some() {
                checks.error(
                    &format!("{path}.forward_to"),
                    "`forward_to` does not go with mode \"forwarded\": the notice comes from your backend",
                    "remove `forward_to`, or set mode = \"direct\"",
                );
            }
        }
        AppleMode::Direct => {
            if feed.secret.is_some() {
                checks.error(
                    &format!("{path}.secret"),
                    "`secret` goes with mode \"forwarded\" only: Apple sends none",
                    "remove it, or set mode = \"forwarded\"",
                );
            }
            match &feed.forward_to {
                Some(PublicUrl(url)) => checks.https(&format!("{path}.forward_to"), url),
                None if !checks.broken(path) => checks.warning(
                    path,
                    "Apple's notices end here: Apple has one URL for an app group, and nothing is passed on",
                    "set `forward_to` to your backend's endpoint, or mode = \"forwarded\"; your own account deletion may live behind it",
                ),
                None => {}
            }
        }
    }
    if !checks.has_apps() && !checks.broken("team") {
        checks.warning(
            path,
            "no app is configured, so every notice of Apple is refused",
            "add [[team]] with [[team.app]] and its client_id",
        );
    }
}

fn connect(feed: &AppleFeed, at: &str) -> Vec<String> {
    match feed.mode {
        AppleMode::Direct => vec![
            format!(
                "Apple developer account, the primary App ID, Sign in with Apple: the Server-to-Server Notification Endpoint is {at}"
            ),
            "One URL for an app group; the same may serve all teams and apps, each with its [[team.app]]".to_owned(),
            "What stood there before goes into `forward_to`, so that your backend hears of its users".to_owned(),
        ],
        AppleMode::Forwarded => vec![
            format!("Your backend posts every notice of Apple's on to {at}, as it came"),
            "With the header `Authorization: Bearer`, and the token of `secret`".to_owned(),
        ],
    }
}
