//! The public listener: `POST /in/<kind>` and `POST /in/<kind>/<name>`, and nothing else but what a provider asks when its webhook
//! is made.

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};
use tokio::sync::Semaphore;

use super::{
    Delivery, Rejection, RejectionReason,
    body::{self, Budget},
};
use crate::ingest::reception::{InForce, NotTaken, Reception, Refused, Setup};

/// What a delivery was that was taken.
#[derive(Debug, Clone, Copy)]
enum Taken {
    /// A report, which the journal has committed.
    Report,
    /// The question whether anybody is here: answered, and no sign of the feed's life, since nobody has signed it.
    Question,
}

/// The state of the public listener.
#[derive(Debug, Clone)]
pub struct Endpoint {
    reception: Reception,
    places: Arc<Semaphore>,
}

impl Endpoint {
    /// An endpoint that works on at most `concurrent` deliveries at a time.
    #[must_use]
    pub fn new(reception: Reception, concurrent: usize) -> Self {
        Self { reception, places: Arc::new(Semaphore::new(concurrent.max(1))) }
    }

    /// The routes of the public listener.
    pub fn router(self) -> Router {
        Router::new()
            .route("/in/{kind}", any(one))
            .route("/in/{kind}/{name}", any(named))
            .fallback(nothing_here)
            .with_state(Arc::new(self))
    }

    async fn receive(&self, path: &str, request: Request<Body>) -> Response {
        let InForce { setup, budget } = self.reception.in_force();
        let metrics = self.reception.metrics();
        let Some(feed) = setup.feeds.get(path) else {
            metrics.unknown_paths.inc();
            let detail = "no feed is configured at this path; see [feeds] in the configuration";
            return problem(StatusCode::NOT_FOUND, RejectionReason::Unsupported, detail);
        };
        let name = feed.name.name.as_str();
        if request.method() != Method::POST {
            return if feed.answers(request.method()) { StatusCode::OK.into_response() } else { wrong_method() };
        }
        let began = Instant::now();
        let answer = self.process(&setup, &budget, feed, request).await;
        metrics.feed_duration.with_label_values(&[name]).observe(began.elapsed().as_secs_f64());
        match answer {
            Ok(Taken::Question) => StatusCode::OK.into_response(),
            Ok(Taken::Report) => {
                self.reception.accepted(name);
                StatusCode::OK.into_response()
            }
            Err(rejection) => {
                let Rejection { status, reason, detail, conclusive, challenge } = rejection;
                let later = status == StatusCode::SERVICE_UNAVAILABLE;
                self.reception.refused(name, Refused { reason, detail: &detail, later, conclusive });
                let mut response = problem(feed.status(status), reason, &detail);
                if let Some(challenge) = challenge {
                    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
                }
                if later {
                    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("30"));
                }
                response
            }
        }
    }

    async fn process(
        &self,
        setup: &Setup,
        budget: &Budget,
        feed: &super::feeds::Feed,
        request: Request<Body>,
    ) -> Result<Taken, Rejection> {
        let Ok(_place) = self.places.try_acquire() else {
            return Err(busy(RejectionReason::Overloaded, "too many deliveries at once; come again"));
        };
        let (parts, body) = request.into_parts();
        let (body, _taken) = body::read(&parts.headers, body, setup.body_bytes, setup.request_timeout, budget).await?;
        let received_at = self.reception.clock().now();
        let delivery = Delivery { headers: strip(parts.headers), body, received_at };
        let report = feed.receive(&delivery).await?;
        if report.is_question {
            return Ok(Taken::Question);
        }
        let taken = self.reception.take(&feed.name, report, &setup.knowledge, received_at).await;
        taken.map(|()| Taken::Report).map_err(|error| match error {
            NotTaken::ComeAgain(reason, detail) => busy(reason, detail),
            // 406 makes Mailgun, whose scheme this is, stop; a retry of a forgery would be no better.
            NotTaken::TokenReused => {
                Rejection::new(StatusCode::NOT_ACCEPTABLE, RejectionReason::TokenReused, error.to_string())
            }
        })
    }
}

fn busy(reason: RejectionReason, detail: &str) -> Rejection {
    Rejection::new(StatusCode::SERVICE_UNAVAILABLE, reason, detail)
}

/// The headers without those that the body's decoding has made untrue.
fn strip(mut headers: HeaderMap) -> HeaderMap {
    headers.remove(header::CONTENT_ENCODING);
    headers.remove(header::CONTENT_LENGTH);
    headers
}

async fn one(State(endpoint): State<Arc<Endpoint>>, Path(kind): Path<String>, request: Request<Body>) -> Response {
    endpoint.receive(&kind, request).await
}

async fn named(
    State(endpoint): State<Arc<Endpoint>>,
    Path((kind, name)): Path<(String, String)>,
    request: Request<Body>,
) -> Response {
    endpoint.receive(&format!("{kind}/{name}"), request).await
}

fn wrong_method() -> Response {
    let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, RejectionReason::Unsupported, "feeds take POST only");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    response
}

async fn nothing_here(State(endpoint): State<Arc<Endpoint>>) -> Response {
    endpoint.reception.metrics().unknown_paths.inc();
    problem(StatusCode::NOT_FOUND, RejectionReason::Unsupported, "nothing is here; feeds are at /in/<kind>")
}

/// An answer of RFC 9457.
fn problem(status: StatusCode, reason: RejectionReason, detail: &str) -> Response {
    let body = serde_json::json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or("error"),
        "status": status.as_u16(),
        "reason": reason,
        "detail": detail,
    });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}
