//! `[feeds.sparkpost]`: SparkPost's event webhooks.

use super::{super::validate::Checks, table};

table! {
    /// SparkPost's event webhooks.
    pub struct SparkpostFeed at "sparkpost" with exposure, checked by check, connected by connect {
        /// Basic authentication: the user name.
        pub username: Option<String>,
        secret "password" {
            /// Basic authentication: the password.
            password, password_file, previous_password, previous_password_file,
        }
        secret "token" {
            /// Bearer authentication: the token.
            token, token_file, previous_token, previous_token_file,
        }
    }
}

fn check(feed: &SparkpostFeed, path: &str, checks: &mut Checks<'_>) {
    if feed.username.is_some() != feed.password.is_some() {
        checks.error(path, "`username` and `password` go together", "set both, or `token` alone");
    } else if feed.password.is_none() && feed.token.is_none() {
        checks.error(
            path,
            "the SparkPost feed has no credentials, so anybody could post to it",
            "set `username` and `password_file`, or `token_file`",
        );
    }
    checks.token(&format!("{path}.password"), feed.password.as_ref());
    checks.token(&format!("{path}.token"), feed.token.as_ref());
}

fn connect(feed: &SparkpostFeed, at: &str) -> Vec<String> {
    let authentication = match (&feed.username, &feed.token) {
        (Some(name), _) => format!("Authentication: basic, user name {name}, the password of `password`"),
        (None, _) => "A custom header: `Authorization: Bearer` with the token of `token`".to_owned(),
    };
    let others = "Bounce, Delay, Policy Rejection, Out of Band, Spam Complaint, Generation Failure, Generation Rejection, List \
                  Unsubscribe, Link Unsubscribe";
    vec![
        format!("SparkPost, Webhooks: a new one with the target {at}"),
        authentication,
        super::events(feed.exposure, "Injection", "Delivery", others),
    ]
}
