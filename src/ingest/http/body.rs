//! Reading a body: whole, within its cap, before too long, and with its content coding undone within the same cap.

use std::{io::Read, sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header::CONTENT_ENCODING},
};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Rejection, RejectionReason};

/// Bytes that all bodies in work may take together: nobody is authenticated before a body is read, so that this bounds what
/// anybody can make the process hold.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Semaphore>);

/// What one body takes of the budget, until it's dropped.
#[derive(Debug, Default)]
pub struct Taken(Option<OwnedSemaphorePermit>);

impl Budget {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))))
    }

    /// Takes so many bytes more, if they are to be had.
    pub(in crate::ingest) fn take(&self, taken: &mut Taken, bytes: usize) -> bool {
        let number = u32::try_from(bytes).unwrap_or(u32::MAX);
        let Ok(more) = Arc::clone(&self.0).try_acquire_many_owned(number) else { return false };
        match &mut taken.0 {
            Some(permit) => permit.merge(more),
            none => *none = Some(more),
        }
        true
    }

    fn take_or_refuse(&self, taken: &mut Taken, bytes: usize) -> Result<(), Rejection> {
        let detail = "too many large bodies at once; come again";
        let refused = || Rejection::new(StatusCode::SERVICE_UNAVAILABLE, RejectionReason::Overloaded, detail);
        self.take(taken, bytes).then_some(()).ok_or_else(refused)
    }
}

/// Reads a body of at most `limit` bytes, coded and decoded alike, within `timeout`, out of `budget`.
///
/// # Errors
/// 503 where the budget is used up, 413 where it's larger, 408 where it takes longer or breaks off, 415 for a coding other than
/// gzip, deflate and identity, 400 where its coding is broken.
pub async fn read(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    timeout: Duration,
    budget: &Budget,
) -> Result<(Bytes, Taken), Rejection> {
    let coding = coding(headers)?;
    let mut taken = Taken::default();
    let whole = tokio::time::timeout(timeout, collect(body, limit, budget, &mut taken)).await.map_err(|_| {
        let detail = format!("the body did not arrive within {} s", timeout.as_secs_f32());
        Rejection::new(StatusCode::REQUEST_TIMEOUT, RejectionReason::Malformed, detail)
    })??;
    let inflated = match coding {
        Coding::Identity => return Ok((whole, taken)),
        Coding::Gzip => {
            budget.take_or_refuse(&mut taken, limit)?;
            inflate(flate2::read::MultiGzDecoder::new(&*whole), limit)
        }
        // "deflate" is the zlib format by RFC 9110 section 8.4.1.2.
        Coding::Deflate => {
            budget.take_or_refuse(&mut taken, limit)?;
            inflate(flate2::read::ZlibDecoder::new(&*whole), limit)
        }
    }?;
    Ok((inflated, taken))
}

/// Reads frame by frame, each out of the budget before it's kept.
async fn collect(body: Body, limit: usize, budget: &Budget, taken: &mut Taken) -> Result<Bytes, Rejection> {
    let mut body = Limited::new(body, limit);
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            if error.is::<LengthLimitError>() {
                too_large(limit)
            } else {
                // The same delivery can come whole: 400 would make most providers give it up.
                Rejection::new(StatusCode::REQUEST_TIMEOUT, RejectionReason::Malformed, "the body broke off")
            }
        })?;
        if let Ok(data) = frame.into_data() {
            budget.take_or_refuse(taken, data.len())?;
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole.freeze())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Identity,
    Gzip,
    Deflate,
}

fn coding(headers: &HeaderMap) -> Result<Coding, Rejection> {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    let value = values.next().map_or("identity", |value| value.to_str().unwrap_or("?")).trim();
    // A list of codings is refused too: no provider sends one, and each would multiply what a small body can become.
    match value {
        _ if values.next().is_some() => {}
        v if v.is_empty() || v.eq_ignore_ascii_case("identity") => return Ok(Coding::Identity),
        v if v.eq_ignore_ascii_case("gzip") || v.eq_ignore_ascii_case("x-gzip") => return Ok(Coding::Gzip),
        v if v.eq_ignore_ascii_case("deflate") => return Ok(Coding::Deflate),
        _ => {}
    }
    let detail = "this content coding is not taken: send gzip, deflate or none";
    Err(Rejection::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, RejectionReason::Unsupported, detail))
}

fn inflate(decoder: impl Read, limit: usize) -> Result<Bytes, Rejection> {
    let mut out = Vec::new();
    // One byte more than allowed tells a body of exactly the cap from a larger one; a bomb is never unpacked further.
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    decoder.take(most).read_to_end(&mut out).map_err(|_| {
        Rejection::new(
            StatusCode::BAD_REQUEST,
            RejectionReason::Malformed,
            "the body does not unpack by its content coding",
        )
    })?;
    if out.len() > limit { Err(too_large(limit)) } else { Ok(out.into()) }
}

fn too_large(limit: usize) -> Rejection {
    let detail = format!("the body is larger than {limit} bytes; make smaller batches, or raise [limits] body_bytes");
    Rejection::new(StatusCode::PAYLOAD_TOO_LARGE, RejectionReason::TooLarge, detail)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use axum::http::HeaderValue;
    use flate2::{Compression, write::GzEncoder};

    use super::*;

    const LIMIT: usize = 1_000;

    async fn read_it(coding: Option<&'static str>, body: impl Into<Body>) -> Result<Bytes, Rejection> {
        let mut headers = HeaderMap::new();
        if let Some(coding) = coding {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
        }
        let budget = Budget::new(10 * LIMIT);
        read(&headers, body.into(), LIMIT, Duration::from_secs(5), &budget).await.map(|(bytes, _)| bytes)
    }

    #[tokio::test]
    async fn all_bodies_together_keep_to_the_budget() {
        let (headers, budget) = (HeaderMap::new(), Budget::new(1_500));
        let one = || read(&headers, Body::from(vec![b'x'; LIMIT]), LIMIT, Duration::from_secs(5), &budget);
        let (_, first) = one().await.expect("within the budget");
        let error = one().await.expect_err("beyond it");
        assert_eq!((error.status, error.reason), (StatusCode::SERVICE_UNAVAILABLE, RejectionReason::Overloaded));
        drop(first);
        one().await.expect("free again");
    }

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).expect("packed");
        encoder.finish().expect("packed")
    }

    #[tokio::test]
    async fn bodies_up_to_the_cap_are_read_in_every_coding() {
        let plain = vec![b'x'; LIMIT];
        assert_eq!(read_it(None, plain.clone()).await.expect("plain"), plain);
        assert_eq!(read_it(Some("gzip"), gzip(&plain)).await.expect("gzip"), plain);
    }

    #[tokio::test]
    async fn larger_ones_and_bombs_are_refused() {
        let status = |result: Result<Bytes, Rejection>| result.expect_err("refused").status;
        assert_eq!(status(read_it(None, vec![b'x'; LIMIT + 1]).await), StatusCode::PAYLOAD_TOO_LARGE);
        let bomb = gzip(&vec![0; 500_000]);
        assert!(bomb.len() < LIMIT);
        assert_eq!(status(read_it(Some("gzip"), bomb).await), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(status(read_it(Some("gzip"), "no gzip at all").await), StatusCode::BAD_REQUEST);
        assert_eq!(status(read_it(Some("br"), "x").await), StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(status(read_it(Some("gzip, gzip"), "x").await), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }

    /// A body that never comes.
    struct Never;

    impl axum::body::HttpBody for Never {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, std::io::Error>>> {
            std::task::Poll::Pending
        }
    }

    /// A body whose connection breaks.
    struct Broken;

    impl axum::body::HttpBody for Broken {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, std::io::Error>>> {
            std::task::Poll::Ready(Some(Err(std::io::ErrorKind::ConnectionReset.into())))
        }
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_no_final_refusal() {
        let error = read_it(None, Body::new(Broken)).await.expect_err("broken");
        assert_eq!((error.status, error.reason), (StatusCode::REQUEST_TIMEOUT, RejectionReason::Malformed));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_given_up() {
        let (headers, budget) = (HeaderMap::new(), Budget::new(LIMIT));
        let reading = read(&headers, Body::new(Never), LIMIT, Duration::from_secs(5), &budget);
        let error = reading.await.expect_err("given up");
        assert_eq!(error.status, StatusCode::REQUEST_TIMEOUT);
    }
}
