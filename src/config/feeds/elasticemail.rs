//! `[feeds.elasticemail]`: Elastic Email's HTTP notifications.

use super::{super::validate::Checks, table};

table! {
    /// Elastic Email's HTTP notifications.
    pub struct ElasticemailFeed at "elasticemail" with exposure, checked by check, connected by connect {
        /// Basic authentication in the address: the user name.
        pub username: Option<String>,
        secret "password" {
            /// Basic authentication in the address: the password.
            password, password_file, previous_password, previous_password_file,
        }
        secret "token" {
            /// The token in the address, `?token=…`.
            token, token_file, previous_token, previous_token_file,
        }
    }
}

fn check(feed: &ElasticemailFeed, path: &str, checks: &mut Checks<'_>) {
    if feed.username.is_some() != feed.password.is_some() {
        checks.error(path, "`username` and `password` go together", "set both, or `token` alone");
    } else if feed.password.is_none() && feed.token.is_none() {
        checks.error(
            path,
            "the Elastic Email feed has no credentials, so anybody could post to it",
            "set `token_file`, and put the token into the address at Elastic Email: ?token=…",
        );
    }
    checks.token(&format!("{path}.password"), feed.password.as_ref());
    checks.token(&format!("{path}.token"), feed.token.as_ref());
    super::no_sends("Elastic Email", feed.exposure, path, checks);
}

fn connect(feed: &ElasticemailFeed, at: &str) -> Vec<String> {
    let mut lines = vec![
        format!("Elastic Email, Settings, Notifications: {at}"),
        super::events(feed.exposure, "", "Sent", "Bounce / Error, Complaints, Unsubscribed"),
    ];
    if feed.token.is_some() {
        lines.push("The token of `token` stands behind it: ?token=<the token>".to_owned());
    }
    if let Some(name) = &feed.username {
        lines.push(format!("Basic authentication in the URL: user name {name}, the password of `password`"));
    }
    lines
}
