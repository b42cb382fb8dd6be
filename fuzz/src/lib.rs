//! What holds for any input of what reads bytes of others: one module a fuzz target, each with a `check` that panics where it
//! does not hold. The test suite runs them on the fixtures and seeds, with the stable compiler.

pub mod accounts;
pub mod apple;
pub mod auth_results;
pub mod azure;
pub mod braze;
pub mod brevo;
pub mod classify;
pub mod config;
pub mod control;
pub mod customerio;
pub mod dkim;
pub mod dmarc;
pub mod elasticemail;
pub mod generic;
pub mod import;
pub mod iterable;
pub mod klaviyo;
pub mod kumomta;
pub mod mail;
pub mod mailersend;
pub mod mailgun;
pub mod mailjet;
pub mod mailtrap;
pub mod mandrill;
pub mod postal;
pub mod postfix;
pub mod postmark;
pub mod reports;
pub mod resend;
pub mod scaleway;
pub mod sendgrid;
pub mod ses;
pub mod ses_eventbridge;
pub mod ses_firehose;
pub mod smtp;
pub mod sns;
pub mod socketlabs;
pub mod sparkpost;
pub mod spf;
pub mod sqs;
pub mod template;
pub mod unisender;

/// The parts of an input that stand behind each other with a NUL between them; those that are missing are empty.
fn texts<const N: usize>(data: &[u8]) -> [String; N] {
    let mut parts = data.splitn(N, |byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned());
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// A target by its name.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const ALL: &[Target] = &[
    ("accounts", accounts::check),
    ("apple", apple::check),
    ("auth_results", auth_results::check),
    ("azure", azure::check),
    ("braze", braze::check),
    ("brevo", brevo::check),
    ("classify", classify::check),
    ("config", config::check),
    ("control", control::check),
    ("customerio", customerio::check),
    ("dkim", dkim::check),
    ("dmarc", dmarc::check),
    ("elasticemail", elasticemail::check),
    ("generic", generic::check),
    ("import", import::check),
    ("iterable", iterable::check),
    ("klaviyo", klaviyo::check),
    ("kumomta", kumomta::check),
    ("mail", mail::check),
    ("mailersend", mailersend::check),
    ("mailgun", mailgun::check),
    ("mailjet", mailjet::check),
    ("mailtrap", mailtrap::check),
    ("mandrill", mandrill::check),
    ("postal", postal::check),
    ("postfix", postfix::check),
    ("postmark", postmark::check),
    ("reports", reports::check),
    ("resend", resend::check),
    ("scaleway", scaleway::check),
    ("sendgrid", sendgrid::check),
    ("ses", ses::check),
    ("ses_eventbridge", ses_eventbridge::check),
    ("ses_firehose", ses_firehose::check),
    ("smtp", smtp::check),
    ("sns", sns::check),
    ("socketlabs", socketlabs::check),
    ("sparkpost", sparkpost::check),
    ("spf", spf::check),
    ("sqs", sqs::check),
    ("template", template::check),
    ("unisender", unisender::check),
];
