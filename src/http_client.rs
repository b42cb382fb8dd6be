//! The one HTTP client: time-outs, no redirects, no cookies.

use std::time::Duration;

/// Builds a client that gives up after `timeout` and follows no redirect.
///
/// # Errors
/// Where the platform's certificate verifier can't be set up.
pub fn build(timeout: Duration) -> Result<reqwest::Client, reqwest::Error> {
    #[expect(clippy::disallowed_methods, reason = "the sanctioned place: time-outs are set here")]
    reqwest::Client::builder()
        .timeout(timeout)
        .connect_timeout(timeout.min(Duration::from_secs(5)))
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("relaywatch/", env!("CARGO_PKG_VERSION")))
        .build()
}
