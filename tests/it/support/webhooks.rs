//! How webhooks are configured and signed, one after the other, as the tests know them.

use std::sync::LazyLock;

use relaywatch::ingest::http::{mailersend, mailtrap, mandrill, postal, svix, unisender};

use super::daemon::now;

pub(crate) const MANDRILL_URL: &str = "https://relaywatch.example.com/in/mandrill?from=mandrill";
pub(crate) const MANDRILL_KEY: &str = "mandrill-secret-61c7";
/// base64 of "mailjet:mailjet-secret-2b0e".
const MAILJET_LOGIN: &str = "bWFpbGpldDptYWlsamV0LXNlY3JldC0yYjBl";
pub(crate) const BREVO_TOKEN: &str = "brevo-secret-90d4";
/// base64 of "resend-secret-77e1".
pub(crate) const RESEND_SECRET: &str = "whsec_cmVzZW5kLXNlY3JldC03N2Ux";
pub(crate) const MAILERSEND_SECRET: &str = "mailersend-secret-4f8a";
pub(crate) const KUMOMTA_TOKEN: &str = "kumomta-secret-d312";
pub(crate) const UNISENDER_KEY: &str = "unisender-secret-aa09";
pub(crate) const MAILTRAP_SECRET: &str = "mailtrap-secret-5be3";
/// The key of a Postal installation.
pub(crate) static POSTAL: LazyLock<postal::signing::Signer> =
    LazyLock::new(|| postal::signing::Signer::generate().expect("a key"));

/// What must come out nowhere.
pub(crate) const SECRETS: [&str; 9] = [
    MANDRILL_KEY,
    "mailjet-secret",
    BREVO_TOKEN,
    RESEND_SECRET,
    MAILERSEND_SECRET,
    KUMOMTA_TOKEN,
    UNISENDER_KEY,
    MAILTRAP_SECRET,
    "api-key-of-somebody-else",
];

/// Headers by name.
pub(crate) type Headers = Vec<(&'static str, String)>;

/// The feeds' tables.
pub(crate) fn tables() -> String {
    let postal = POSTAL.public_key().expect("a key");
    format!(
        r#"
[feeds.mandrill]
url = "{MANDRILL_URL}"
key = "{MANDRILL_KEY}"
[feeds.mailjet]
username = "mailjet"
password = "mailjet-secret-2b0e"
[feeds.brevo]
token = "{BREVO_TOKEN}"
[feeds.resend]
signing_secret = "{RESEND_SECRET}"
[feeds.mailersend]
signing_secret = "{MAILERSEND_SECRET}"
[feeds.postal]
public_key = "{postal}"
[feeds.kumomta]
header = "X-Relaywatch-Token"
token = "{KUMOMTA_TOKEN}"
[feeds.unisender]
api_key = "{UNISENDER_KEY}"
[feeds.mailtrap]
signing_secret = "{MAILTRAP_SECRET}"
"#
    )
}

/// The headers under which a feed of [`tables`] takes a body now.
pub(crate) fn headers(feed: &str, body: &[u8]) -> Headers {
    match feed {
        "mandrill" => {
            vec![(mandrill::SIGNATURE_HEADER, mandrill::signing::signature(MANDRILL_KEY, MANDRILL_URL, body))]
        }
        "mailjet" => vec![("authorization", format!("Basic {MAILJET_LOGIN}"))],
        "brevo" => vec![("authorization", format!("Bearer {BREVO_TOKEN}"))],
        "resend" => resend(RESEND_SECRET, "msg_1", 0, body),
        "mailersend" => vec![(mailersend::SIGNATURE_HEADER, mailersend::signing::signature(MAILERSEND_SECRET, body))],
        "postal" => vec![(postal::SIGNATURE_HEADERS[0], POSTAL.signature(body).expect("signed"))],
        "kumomta" => vec![("x-relaywatch-token", KUMOMTA_TOKEN.to_owned())],
        "unisender" => Vec::new(),
        "mailtrap" => vec![(mailtrap::SIGNATURE_HEADER, mailtrap::signing::signature(MAILTRAP_SECRET, body))],
        other => panic!("no feed {other}"),
    }
}

/// Svix's headers, signed so many seconds from now.
pub(crate) fn resend(secret: &str, id: &str, seconds: i64, body: &[u8]) -> Headers {
    let [id_header, timestamp_header, signature_header] = svix::HEADERS[0];
    let at = (now().as_seconds() + seconds).to_string();
    let signature = svix::signing::signature(secret, id, &at, body).expect("signed");
    vec![(id_header, id.to_owned()), (timestamp_header, at), (signature_header, signature)]
}

/// The hex tag of a body under a foreign key.
pub(crate) fn foreign_tag(body: &[u8]) -> String {
    mailtrap::signing::signature("api-key-of-somebody-else", body)
}

/// One event's JSON as a feed's body carries it.
pub(crate) fn body(feed: &str, event: &str) -> String {
    match feed {
        "mandrill" => mandrill::signing::form(&format!("[{event}]")),
        "unisender" => {
            unisender::signing::body(UNISENDER_KEY, &format!("\"events_by_user\":[{{\"events\":[{event}]}}]"))
        }
        "mailtrap" => format!("{{\"events\":[{event}]}}"),
        _ => event.to_owned(),
    }
}
