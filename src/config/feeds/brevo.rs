//! `[feeds.brevo]`: Brevo's transactional webhooks.

use super::{super::validate::Checks, credentials::Credentials, table};

table! {
    /// Brevo's transactional webhooks.
    pub struct BrevoFeed at "brevo" with exposure, checked by check {
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
