//! `[feeds.mailersend]`: MailerSend's webhooks.

use super::{super::validate::Checks, table};

table! {
    /// MailerSend's webhooks.
    pub struct MailersendFeed at "mailersend" with exposure, checked by check, connected by connect {
        secret "signing secret" {
            /// The webhook's signing secret, as MailerSend shows it.
            signing_secret, signing_secret_file, previous_signing_secret, previous_signing_secret_file,
        }
    }
}

fn check(feed: &MailersendFeed, path: &str, checks: &mut Checks<'_>) {
    if feed.signing_secret.is_none() {
        checks.error(path, "the MailerSend feed has no signing secret", "set `signing_secret_file`");
    }
}

fn connect(feed: &MailersendFeed, at: &str) -> Vec<String> {
    vec![
        format!("MailerSend, the domain, Webhooks: a new one with the URL {at}"),
        super::events(
            feed.exposure,
            "sent",
            "delivered",
            "soft and hard bounces, deferred, spam complaints, unsubscribed",
        ),
        "`signing_secret` is the secret that it shows".to_owned(),
    ]
}
