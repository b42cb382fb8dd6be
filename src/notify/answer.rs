//! What an answer means for what was sent: taken, to be tried again, refused, or unknown.

use std::time::Duration;

use reqwest::{RequestBuilder, Response, StatusCode, header::RETRY_AFTER};

use crate::model::Timestamp;

/// Bytes of an answer that are read at most.
const MAX_ANSWER: usize = 16 * 1024;

/// Why something did not leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// What happened, without URL and address.
    pub(super) reason: String,
    /// How long the receiver asks to wait.
    pub(super) retry_after: Option<Duration>,
    /// Whether the receiver will not take it as it is: a setting has to change before it does.
    pub(super) refused: bool,
    /// Whether it may have arrived all the same.
    pub(super) may_have_arrived: bool,
}

impl Failure {
    pub(super) fn refused(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), retry_after: None, refused: true, may_have_arrived: false }
    }

    pub(super) fn unknown(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), retry_after: None, refused: false, may_have_arrived: true }
    }

    pub(super) fn transient(reason: impl Into<String>, retry_after: Option<Duration>) -> Self {
        Self { reason: reason.into(), retry_after, refused: false, may_have_arrived: false }
    }
}

/// Sends a request; gives the answer where it's a 2xx.
pub(super) async fn send(request: RequestBuilder, now: Timestamp) -> Result<Response, Failure> {
    let response = request.send().await.map_err(|error| lost(&error))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?, now));
    Err(judge(status, retry_after))
}

/// The answer's body, as far as it's read.
pub(super) async fn body(mut response: Response) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::new();
    while out.len() < MAX_ANSWER {
        match response.chunk().await.map_err(|error| lost(&error))? {
            Some(chunk) => out.extend_from_slice(chunk.get(..MAX_ANSWER - out.len()).unwrap_or(&chunk)),
            None => break,
        }
    }
    Ok(out)
}

/// An error of the connection. Its text can hold the URL, so that none of it is kept.
fn lost(error: &reqwest::Error) -> Failure {
    if error.is_connect() {
        Failure::transient("no connection to the receiver", None)
    } else if error.is_builder() {
        Failure::refused("the request can't be made: check the receiver's URL")
    } else if error.is_timeout() {
        Failure::unknown("the receiver did not answer in time")
    } else {
        Failure::unknown("the connection broke before the answer came")
    }
}

fn judge(status: StatusCode, retry_after: Option<Duration>) -> Failure {
    let reason = format!("the receiver answered {}", status.as_u16());
    match status.as_u16() {
        408 | 425 | 429 | 503 => Failure::transient(reason, retry_after),
        // Whoever answers so may have done the work before, or stand before somebody who has.
        500.. => Failure { retry_after, ..Failure::unknown(reason) },
        300..400 => Failure::refused(format!("{reason}: it redirects; configure the final address")),
        _ => Failure::refused(reason),
    }
}

/// `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date.
fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(value.trim()).ok()?.timestamp().as_millisecond();
    Some(Duration::from_millis(u64::try_from(Timestamp::from_millis(at).millis_since(now)).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Timestamp::from_rfc3339("2015-10-21T07:27:30Z").expect("a time");
        assert_eq!(retry_after("120", now), Some(Duration::from_mins(2)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:00:00 GMT", now), Some(Duration::ZERO), "it is over");
        assert_eq!(retry_after("soon", now), None);
        assert_eq!(retry_after("-5", now), None);
    }

    #[test]
    fn answers_are_told_apart() {
        let of = |code: u16| {
            let failure = judge(StatusCode::from_u16(code).expect("a code"), None);
            (failure.refused, failure.may_have_arrived)
        };
        for code in [408, 425, 429, 503] {
            assert_eq!(of(code), (false, false), "{code}: not taken, come again");
        }
        for code in [500, 502, 504] {
            assert_eq!(of(code), (false, true), "{code}: nobody knows");
        }
        for code in [301, 400, 401, 403, 404, 410, 413] {
            assert_eq!(of(code), (true, false), "{code}: not as it is");
        }
    }
}
