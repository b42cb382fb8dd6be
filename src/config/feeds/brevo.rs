//! `[feeds.brevo]`: Brevo's transactional webhooks.

use super::{super::validate::Checks, credentials::Credentials, table};

table! {
    /// Brevo's transactional webhooks.
    pub struct BrevoFeed at "brevo" with exposure, checked by check, connected by connect {
        /// Basic authentication: the user name.
        pub username: Option<String>,
        /// The custom header in which Brevo sends `token`. Without it, the token is expected as `Authorization: Bearer`.
        pub header: Option<String>,
        secret "password" {
            /// Basic authentication: the password.
            password, password_file, previous_password, previous_password_file,
        }
        secret "token" {
            /// The bearer token of the webhook, or the token in a custom header.
            token, token_file, previous_token, previous_token_file,
        }
    }
}

fn check(feed: &BrevoFeed, path: &str, checks: &mut Checks<'_>) {
    let BrevoFeed { username, password, token, header, .. } = feed;
    let (username, password) = (username.as_ref(), password.as_ref());
    Credentials { provider: "Brevo", username, password, token: token.as_ref(), header: header.as_ref() }
        .check(path, checks);
}

fn connect(feed: &BrevoFeed, at: &str) -> Vec<String> {
    let others = "soft and hard bounces, deferred, blocked, invalid, error, complaint, unsubscribed";
    let mut lines = vec![
        format!("Brevo, Transactional, Settings, Webhook: a new one with the URL {at}"),
        super::events(feed.exposure, "request", "delivered", others),
        "Your proxy answers 429, not 502, while relaywatch is away: on 5xx Brevo gives an event up".to_owned(),
    ];
    lines.extend(super::credentials_lines(feed.username.as_deref(), feed.header.as_deref(), feed.token.is_some()));
    lines
}
