//! `[feeds.iterable]`: Iterable's system webhooks.

use super::{super::validate::Checks, credentials::Credentials, table};
use crate::model::Exposure;

table! {
    /// Iterable's system webhooks.
    pub struct IterableFeed at "iterable" with exposure none, checked by check, connected by connect {
        /// Basic authentication: the user name.
        pub username: Option<String>,
        /// The header in which Iterable sends `token`. Without it, the token is expected as `Authorization: Bearer`.
        pub header: Option<String>,
        secret "password" {
            /// Basic authentication: the password.
            password, password_file, previous_password, previous_password_file,
        }
        secret "token" {
            /// The token in a header of the webhook.
            token, token_file, previous_token, previous_token_file,
        }
    }
}

fn check(feed: &IterableFeed, path: &str, checks: &mut Checks<'_>) {
    let IterableFeed { username, password, token, header, .. } = feed;
    let (username, password) = (username.as_ref(), password.as_ref());
    Credentials { provider: "Iterable", username, password, token: token.as_ref(), header: header.as_ref() }
        .check(path, checks);
    if feed.exposure == Exposure::Outcomes {
        checks.wrong(
            &format!("{path}.exposure"),
            "Iterable reports no deliveries",
            "set `exposure = \"sends\"` where Email Send is switched on, else leave it out",
        );
    }
}

fn connect(feed: &IterableFeed, at: &str) -> Vec<String> {
    let mut lines = vec![
        format!("Iterable, Integrations, Webhooks: one of type System with the endpoint {at}"),
        super::events(feed.exposure, "Email Send", "", "Email Bounce, Email Complaint, Email Unsubscribe"),
    ];
    lines.extend(super::credentials_lines(feed.username.as_deref(), feed.header.as_deref(), feed.token.is_some()));
    lines
}
