//! `[feeds.ses_eventbridge]`: Amazon SES through EventBridge.

use super::{super::validate::Checks, credentials::Credentials, table};

table! {
    /// Amazon SES through an API destination of EventBridge.
    pub struct SesEventbridgeFeed at "ses-eventbridge" with exposure, checked by check, connected by connect {
        /// Basic authentication of the connection: the user name.
        pub username: Option<String>,
        /// The header in which the connection sends the API key. Without it, `token` is expected as `Authorization: Bearer`.
        pub header: Option<String>,
        /// The SES message tag that names the campaign.
        pub campaign_tag: Option<String>,
        secret "password" {
            /// Basic authentication of the connection: the password.
            password, password_file, previous_password, previous_password_file,
        }
        secret "token" {
            /// The API key of the connection.
            token, token_file, previous_token, previous_token_file,
        }
    }
}

fn check(feed: &SesEventbridgeFeed, path: &str, checks: &mut Checks<'_>) {
    let SesEventbridgeFeed { username, password, token, header, .. } = feed;
    let (username, password) = (username.as_ref(), password.as_ref());
    Credentials { provider: "SES EventBridge", username, password, token: token.as_ref(), header: header.as_ref() }
        .check(path, checks);
}

fn connect(feed: &SesEventbridgeFeed, at: &str) -> Vec<String> {
    let mut lines = vec![
        format!("EventBridge: a connection, an API destination POST {at}, and a rule on the default bus for aws.ses"),
        "SES, the configuration set of your mail: an event destination EventBridge".to_owned(),
        super::events(feed.exposure, "Send", "Delivery", "Bounce, Complaint, Delivery delay, Reject"),
    ];
    lines.extend(super::credentials_lines(feed.username.as_deref(), feed.header.as_deref(), feed.token.is_some()));
    lines
}
