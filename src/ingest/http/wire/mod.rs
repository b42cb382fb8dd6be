//! What the decoders of JSON feeds share: scalars of either type, batches, and errors that leak nothing.

mod event;
mod parts;
mod scalars;
mod times;

use axum::http::StatusCode;
use serde::Deserialize;

pub(super) use event::{by_content, own_words, recipient, unless_final, unwrapped};
pub(super) use parts::{Aside, Capped, MAX_ELEMENTS, Parts, one_or_many, scalars, unknown_type};
pub(super) use scalars::{
    Loose, MAX_ID_BYTES, MAX_NAME_BYTES, Scalar, bare_id, clean, domain, first, first_name, id, name, text, without_nul,
};
pub(super) use times::{event_time, send_time};

use super::{Delivery, Rejection, RejectionReason};
use crate::{
    ingest::Report,
    model::{Provider, Timestamp},
};

/// What `decode` makes of a delivery's body; `what` says what the feed takes, to the person who connects it.
///
/// # Errors
/// 400 for a body that is not UTF-8, or that `decode` cannot read.
pub(super) fn decoded<'a>(
    delivery: &'a Delivery,
    what: &str,
    decode: impl FnOnce(&'a str) -> Result<Report, WireError>,
) -> Result<Report, Rejection> {
    utf8(&delivery.body).and_then(decode).map_err(|error| malformed(StatusCode::BAD_REQUEST, what, error))
}

/// The same for a body that is an array of elements, or a single one, each of which is given to `take` ([`Parts::fold`]).
///
/// # Errors
/// As [`decoded`].
pub(super) fn elements<'a, T: Deserialize<'a>>(
    delivery: &'a Delivery,
    provider: Provider,
    what: &str,
    take: impl FnMut(&T, Timestamp, &mut Report) -> Result<(), Aside>,
) -> Result<Report, Rejection> {
    decoded(delivery, what, |text| Ok(Parts::parse(text)?.report(provider, delivery.received_at, take)))
}

/// Why a body cannot be read. Holds positions only, no text of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::ingest) enum WireError {
    #[error("it is not UTF-8")]
    NotUtf8,
    #[error("it ends too early (line {line}, column {column})")]
    Truncated { line: usize, column: usize },
    #[error("it is no JSON (line {line}, column {column})")]
    Syntax { line: usize, column: usize },
    #[error("it has another shape, or a key twice (line {line}, column {column})")]
    Shape { line: usize, column: usize },
    #[error("it holds too many elements")]
    TooMany,
}

impl From<serde_json::Error> for WireError {
    fn from(error: serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        match error.classify() {
            serde_json::error::Category::Eof => Self::Truncated { line, column },
            serde_json::error::Category::Data => Self::Shape { line, column },
            serde_json::error::Category::Syntax | serde_json::error::Category::Io => Self::Syntax { line, column },
        }
    }
}

/// The rejection of a body that cannot be read.
pub(super) fn malformed(status: StatusCode, what: &str, error: WireError) -> Rejection {
    Rejection::new(
        status,
        RejectionReason::Malformed,
        format!(
            "the body is not {what}: {error}; check what else posts to this address, and whether a proxy changes bodies"
        ),
    )
}

/// The body as text.
pub(in crate::ingest) fn utf8(body: &[u8]) -> Result<&str, WireError> {
    std::str::from_utf8(body).map_err(|_| WireError::NotUtf8)
}

/// Reads an object. (A derived reader would take the elements of an array for members.)
pub(super) fn whole_object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, WireError> {
    let is_array = text.trim_start().starts_with('[');
    if is_array { Err(WireError::Shape { line: 1, column: 1 }) } else { Ok(serde_json::from_str(text)?) }
}

/// Refuses a body above a feed's cap.
pub(super) fn within(body: &[u8], most: usize) -> Result<(), Rejection> {
    if body.len() <= most {
        return Ok(());
    }
    Err(Rejection::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        RejectionReason::TooLarge,
        format!("the body is larger than the {most} bytes that this feed takes; lower the batch size at the provider"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_tell_the_place_and_none_of_the_text() {
        let error = Parts::<Vec<u8>>::parse("[{\"rcpt_to\": \"someone@example.com\", }]").err().expect("no JSON");
        let rejection = malformed(StatusCode::BAD_REQUEST, "a batch", error);
        assert!(rejection.detail.contains("line 1, column"), "{rejection}");
        assert!(!rejection.detail.contains("example"), "{rejection}");
    }
}
