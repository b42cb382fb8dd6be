//! `[feeds.mailjet]`: Mailjet's events.

use super::{super::validate::Checks, table};

table! {
    /// Mailjet's events.
    pub struct MailjetFeed at "mailjet" with exposure, checked by check, connected by connect {
        /// Basic authentication: the user name in the webhook's URL.
        pub username: Option<String>,
        secret "password" {
            /// Basic authentication: the password in the webhook's URL.
            password, password_file, previous_password, previous_password_file,
        }
    }
}

fn check(feed: &MailjetFeed, path: &str, checks: &mut Checks<'_>) {
    if feed.username.is_none() || feed.password.is_none() {
        checks.error(
            path,
            "the Mailjet feed has no user name with a password, so anybody could post to it",
            "set `username` and `password_file`",
        );
    }
    checks.token(&format!("{path}.password"), feed.password.as_ref());
    super::no_sends("Mailjet", feed.exposure, path, checks);
}

fn connect(feed: &MailjetFeed, at: &str) -> Vec<String> {
    vec![
        format!("Mailjet, Account, Event notifications: {at} for each of these events, grouped or not"),
        super::events(feed.exposure, "", "sent", "bounce, blocked, spam, unsub"),
        format!("User name {} and the password of `password` stand in the URL", feed.username.as_deref().unwrap_or("")),
    ]
}
