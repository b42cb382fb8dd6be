//! `[feeds.sendgrid]`: SendGrid's event webhook.

use super::{super::validate::Checks, table};

table! {
    /// SendGrid's event webhook.
    pub struct SendgridFeed at "sendgrid" with exposure, checked by check, connected by connect {
        /// The custom argument in which you send the From address, or its domain: SendGrid's events name neither.
        pub from_argument: Option<String>,
        /// The custom argument in which you send the envelope sender, or its domain.
        pub envelope_argument: Option<String>,
        /// Basic authentication, in place of the signature or as well: the user name.
        pub username: Option<String>,
        secret "verification key" {
            /// The verification key of the webhook's signature, as SendGrid shows it.
            verification_key, verification_key_file, previous_verification_key, previous_verification_key_file,
        }
        secret "password" {
            /// Basic authentication: the password.
            password, password_file, previous_password, previous_password_file,
        }
        secret "token" {
            /// The bearer token that your OAuth server hands out, in place of the signature or as well.
            token, token_file, previous_token, previous_token_file,
        }
    }
}

fn check(feed: &SendgridFeed, path: &str, checks: &mut Checks<'_>) {
    if feed.username.is_some() != feed.password.is_some() {
        checks.error(path, "`username` and `password` go together", "set both, or `verification_key` alone");
    } else if feed.verification_key.is_none() && feed.password.is_none() && feed.token.is_none() {
        checks.error(
            path,
            "the SendGrid feed has neither a verification key nor credentials, so anybody could post to it",
            "set `verification_key`; it stands beside Signature Verification in the webhook's settings",
        );
    }
    checks.token(&format!("{path}.password"), feed.password.as_ref());
    checks.token(&format!("{path}.token"), feed.token.as_ref());
}

fn connect(feed: &SendgridFeed, at: &str) -> Vec<String> {
    let others = "Deferred, Bounced, Dropped, Spam Reports, Unsubscribes";
    let mut lines = vec![
        format!("SendGrid, Settings, Mail Settings, Event Webhooks: a new one with the URL {at}"),
        super::events(feed.exposure, "Processed", "Delivered", others),
    ];
    if feed.verification_key.is_some() {
        lines.push("Signature Verification on; its verification key is the setting `verification_key`".to_owned());
    }
    if let Some(name) = &feed.username {
        lines.push(format!("Basic authentication in the URL: user name {name}, the password of `password`"));
    }
    if feed.token.is_some() {
        lines.push("OAuth, with a server that hands out the token of `token`".to_owned());
    }
    for argument in [&feed.from_argument, &feed.envelope_argument].into_iter().flatten() {
        lines.push(format!("Every message carries the custom argument {argument}"));
    }
    lines
}
