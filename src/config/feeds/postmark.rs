//! `[feeds.postmark]`: Postmark's webhooks.

use super::{super::validate::Checks, credentials::Credentials, table};

table! {
    /// Postmark's webhooks.
    pub struct PostmarkFeed at "postmark" with exposure, checked by check, connected by connect {
        /// Basic authentication: the user name.
        pub username: Option<String>,
        /// The custom header in which Postmark sends `token`. Without it, the token is expected as `Authorization: Bearer`.
        pub header: Option<String>,
        secret "password" {
            /// Basic authentication: the password.
            password, password_file, previous_password, previous_password_file,
        }
        secret "token" {
            /// The token in a custom header of the webhook.
            token, token_file, previous_token, previous_token_file,
        }
    }
}

fn check(feed: &PostmarkFeed, path: &str, checks: &mut Checks<'_>) {
    let PostmarkFeed { username, password, token, header, .. } = feed;
    let (username, password) = (username.as_ref(), password.as_ref());
    Credentials { provider: "Postmark", username, password, token: token.as_ref(), header: header.as_ref() }
        .check(path, checks);
    super::no_sends("Postmark", feed.exposure, path, checks);
}

fn connect(feed: &PostmarkFeed, at: &str) -> Vec<String> {
    let mut lines = vec![
        format!("Postmark, Webhooks of each message stream: a new one with the URL {at}"),
        super::events(feed.exposure, "", "Delivery", "Bounce, Spam Complaint, Subscription Change"),
    ];
    lines.extend(super::credentials_lines(feed.username.as_deref(), feed.header.as_deref(), feed.token.is_some()));
    lines
}
