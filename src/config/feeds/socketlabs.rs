//! `[feeds.socketlabs]`: SocketLabs' event webhooks.

use super::{super::validate::Checks, table};
use crate::config::{FilePath, Secret};

table! {
    /// SocketLabs' event webhooks.
    pub struct SocketlabsFeed at "socketlabs" with exposure, checked by check, connected by connect {
        /// The validation key of the endpoint, as SocketLabs shows it: what the feed answers.
        pub validation_key: Option<Secret>,
        /// A file that holds `validation_key`.
        pub validation_key_file: Option<FilePath>,
        secret "secret key" {
            /// The secret key of the endpoint, as SocketLabs shows it.
            secret_key, secret_key_file, previous_secret_key, previous_secret_key_file,
        }
    }
}

fn check(feed: &SocketlabsFeed, path: &str, checks: &mut Checks<'_>) {
    if feed.secret_key.is_none() {
        checks.error(
            path,
            "the SocketLabs feed has no secret key, so anybody could post to it",
            "set `secret_key_file`",
        );
    }
    if feed.validation_key.is_none() {
        checks.error(
            path,
            "the SocketLabs feed has no validation key, without which SocketLabs does not take the endpoint",
            "set `validation_key_file`",
        );
    }
}

fn connect(feed: &SocketlabsFeed, at: &str) -> Vec<String> {
    vec![
        format!("SocketLabs, Configuration, Event Webhooks: a new endpoint {at}, to be validated after a reload here"),
        super::events(feed.exposure, "Queued", "Delivered", "Failed, Deferred, Complaint"),
        "It shows what `secret_key` and `validation_key` are".to_owned(),
    ]
}
