//! The public listener: `POST /in/<kind>` and `POST /in/<kind>/<name>`, other methods where a provider uses them, and nothing
//! else.

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
    Answer, Delivery, Rejection, RejectionReason,
    body::{self, Budget},
    feeds::Feed,
};
use crate::ingest::reception::{InForce, NotTaken, Reception, Refused, Setup};

/// The header of a request that only asks whether a feed is here, as `doctor` does. Nothing of it is read, counted or told of.
pub const PROBE: &str = "relaywatch-probe";

/// What such a request is told: a refusal, so that nobody takes it for a delivery.
#[must_use]
pub fn probed(feed: &str) -> String {
    format!("the feed {feed} is here; a probe is no delivery")
}

/// What a delivery was that was taken.
#[derive(Debug)]
enum Taken {
    /// A report, which the journal has committed, with what the provider waits for.
    Report(Option<Answer>),
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
        if feed.answers(request.method()) {
            return StatusCode::OK.into_response();
        }
        if !feed.takes(request.method()) {
            return wrong_method(feed);
        }
        let name = feed.name.name.as_str();
        if request.headers().contains_key(PROBE) {
            return problem(StatusCode::BAD_REQUEST, RejectionReason::Unsupported, &probed(name));
        }
        let began = Instant::now();
        let asked = feed.shapes_refusals().then(|| request.headers().clone());
        let answer = self.process(&setup, &budget, feed, request).await;
        metrics.feed_duration.with_label_values(&[name]).observe(began.elapsed().as_secs_f64());
        match answer {
            Ok(Taken::Question) => StatusCode::OK.into_response(),
            Ok(Taken::Report(answer)) => {
                self.reception.accepted(name);
                answer.map_or_else(|| StatusCode::OK.into_response(), |answer| with_answer(StatusCode::OK, answer))
            }
            Err(rejection) => {
                let rejection = feed.refusal(rejection);
                let later = rejection.reason.may_pass();
                let Rejection { status, reason, detail, conclusive, challenge } = &rejection;
                let refused = Refused { reason: *reason, detail, later, conclusive: *conclusive };
                self.reception.refused(name, refused);
                let now = self.reception.clock().now();
                let shaped = asked.and_then(|headers| feed.shaped_refusal(&headers, &rejection, now));
                let mut response = match shaped {
                    Some(answer) => with_answer(*status, answer),
                    None => problem(*status, *reason, detail),
                };
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
        feed: &Feed,
        request: Request<Body>,
    ) -> Result<Taken, Rejection> {
        let Ok(_place) = self.places.try_acquire() else {
            return Err(busy(RejectionReason::Overloaded, "too many deliveries at once; come again"));
        };
        let (parts, body) = request.into_parts();
        let (body, _taken) = body::read(&parts.headers, body, setup.body_bytes, setup.request_timeout, budget).await?;
        let received_at = self.reception.clock().now();
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let (method, headers) = (parts.method, strip(parts.headers));
        let mut report = feed.receive(&Delivery { method, query, headers, body, received_at }).await?;
        if report.is_question {
            return Ok(Taken::Question);
        }
        let answer = report.answer.take();
        let taken = self.reception.take(&feed.name, report, &setup.knowledge, received_at).await;
        taken.map(|()| Taken::Report(answer)).map_err(|error| match error {
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

fn wrong_method(feed: &Feed) -> Response {
    let allowed: Vec<&str> = std::iter::once("POST").chain(feed.methods().iter().map(Method::as_str)).collect();
    let allowed = allowed.join(", ");
    let name = &feed.name.name;
    let detail = format!("the feed {name} is here, for its provider to send reports to: it takes {allowed} only");
    let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, RejectionReason::Unsupported, &detail);
    if let Ok(allowed) = HeaderValue::from_str(&allowed) {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

/// What a provider waits for beside the status.
fn with_answer(status: StatusCode, answer: Answer) -> Response {
    let mut response = (status, answer.body).into_response();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    headers.extend(answer.headers);
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
