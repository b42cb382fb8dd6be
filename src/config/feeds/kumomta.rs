//! `[feeds.kumomta]`: KumoMTA's log hooks.

use super::{super::validate::Checks, credentials::Credentials, table};

table! {
    /// KumoMTA's log hooks.
    pub struct KumomtaFeed at "kumomta" with exposure, checked by check, connected by connect {
        /// Basic authentication: the user name.
        pub username: Option<String>,
        /// The header in which your log hook sends `token`. Without it, the token is expected as `Authorization: Bearer`.
        pub header: Option<String>,
        secret "password" {
            /// Basic authentication: the password.
            password, password_file, previous_password, previous_password_file,
        }
        secret "token" {
            /// The token that your log hook sends.
            token, token_file, previous_token, previous_token_file,
        }
    }
}

fn check(feed: &KumomtaFeed, path: &str, checks: &mut Checks<'_>) {
    let KumomtaFeed { username, password, token, header, .. } = feed;
    let (username, password) = (username.as_ref(), password.as_ref());
    Credentials { provider: "KumoMTA", username, password, token: token.as_ref(), header: header.as_ref() }
        .check(path, checks);
}

fn connect(feed: &KumomtaFeed, at: &str) -> Vec<String> {
    let mut lines = vec![
        format!("KumoMTA's policy: a log hook that posts its records to {at}"),
        super::events(feed.exposure, "Reception", "Delivery", "Bounce, TransientFailure, Expiration, Feedback"),
        "It logs the header From, and the meta fields campaign and tenant".to_owned(),
    ];
    lines.extend(super::credentials_lines(feed.username.as_deref(), feed.header.as_deref(), feed.token.is_some()));
    lines
}
