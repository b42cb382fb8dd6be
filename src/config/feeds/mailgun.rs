//! `[feeds.mailgun]`: Mailgun's webhooks.

use super::{
    super::validate::{Checks, SHORT_TOKEN},
    table,
};

table! {
    /// Mailgun's webhooks.
    pub struct MailgunFeed at "mailgun" with exposure, checked by check, connected by connect {
        secret "signing key" {
            /// The HTTP webhook signing key of the account, as Mailgun shows it (not the API key).
            signing_key, signing_key_file, previous_signing_key, previous_signing_key_file,
        }
    }
}

fn check(feed: &MailgunFeed, path: &str, checks: &mut Checks<'_>) {
    match &feed.signing_key {
        None => checks.error(path, "the Mailgun feed has no signing key", "set `signing_key_file`"),
        // Mailgun makes the key, so nothing can be said of how to choose one: a short one was copied badly.
        Some(key) if key.expose().len() < SHORT_TOKEN => checks.warning(
            &format!("{path}.signing_key"),
            format!("`signing_key` is shorter than {SHORT_TOKEN} bytes, and Mailgun's are not"),
            "copy the account's HTTP webhook signing key from Mailgun again; it is neither the API key nor its id",
        ),
        Some(_) => {}
    }
}

fn connect(feed: &MailgunFeed, at: &str) -> Vec<String> {
    let others = "Permanent Failure, Temporary Failure, Spam Complaints, Unsubscribes";
    vec![
        format!("Mailgun, Webhooks of each sending domain: {at} for each of these events"),
        super::events(feed.exposure, "Accepted", "Delivered", others),
        "`signing_key` is the account's HTTP webhook signing key, as Mailgun shows it there".to_owned(),
    ]
}
