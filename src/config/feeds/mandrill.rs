//! `[feeds.mandrill]`: Mandrill's webhooks.

use super::{super::validate::Checks, table};

table! {
    /// Mandrill's (Mailchimp Transactional's) webhooks.
    pub struct MandrillFeed at "mandrill" with exposure, checked by check, connected by connect {
        /// The webhook's URL exactly as it was entered at Mandrill, which signs it along; with no credentials in it.
        pub url: Option<String>,
        secret "key" {
            /// The webhook's key, as Mandrill shows it.
            key, key_file, previous_key, previous_key_file,
        }
    }
}

fn check(feed: &MandrillFeed, path: &str, checks: &mut Checks<'_>) {
    if feed.key.is_none() {
        checks.error(
            path,
            "the Mandrill feed has no key",
            "set `key_file`; Mandrill shows the key once the webhook is made, so begin with one of your own making",
        );
    }
    let Some(text) = &feed.url else {
        checks.error(
            path,
            "the Mandrill feed has no URL, which Mandrill signs along",
            "set `url` as it stands at Mandrill",
        );
        return;
    };
    let at = format!("{path}.url");
    match url::Url::parse(text) {
        Ok(url) if !url.username().is_empty() || url.password().is_some() => checks.wrong(
            &at,
            "`url` holds credentials, and it's printed",
            "leave them out here and at Mandrill: the signature is enough",
        ),
        Ok(url) if ["http", "https"].contains(&url.scheme()) => {}
        _ => checks.wrong(
            &at,
            "`url` is no web address",
            "write it as at Mandrill: https://relaywatch.example.com/in/mandrill",
        ),
    }
}

fn connect(feed: &MandrillFeed, at: &str) -> Vec<String> {
    // What follows the `?` is the operator's, and may be a secret.
    let url = feed.url.as_deref().map_or_else(
        || "not set".to_owned(),
        |url| url.split_once('?').map_or_else(|| url.to_owned(), |(place, _)| format!("{place}?***")),
    );
    vec![
        format!("Mandrill, Settings, Webhooks: a new one with the Post To URL {at}"),
        format!("It is signed along: `url` has to be exactly what stands there, and is {url}"),
        super::events(feed.exposure, "send", "delivered", "hard and soft bounces, deferral, reject, spam, unsub"),
        "`key` is the webhook's key, as Mandrill shows it".to_owned(),
    ]
}
