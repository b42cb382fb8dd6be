//! The public listener: `POST /in/<kind>` and `POST /in/<kind>/<name>`, and nothing else.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, Request, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use tokio::sync::{Semaphore, mpsc};

use super::{
    Delivery, Rejection, RejectionReason,
    body::{self, Budget},
    feeds::Feeds,
    seen::{AllSeen, Seen},
    told::Told,
};
use crate::{
    clock::Clock,
    ingest::{
        FollowUp, Report,
        alive::Deliveries,
        committer::CommitError,
        intake::{Intake, Knowledge},
    },
    metrics::Metrics,
    model::Timestamp,
    store::Outcome,
};

/// Bytes that all bodies in work may take together.
const BODIES: usize = 64 * 1024 * 1024;

/// What a reload exchanges as a whole.
#[derive(Debug)]
pub struct Setup {
    /// The feeds.
    pub feeds: Feeds,
    /// Rules, domains, teams.
    pub knowledge: Knowledge,
    /// Bytes of a body at most.
    pub body_bytes: usize,
    /// The time for reading a body.
    pub request_timeout: Duration,
}

/// A setup with the budget that fits it.
#[derive(Debug, Clone)]
struct InForce {
    setup: Arc<Setup>,
    budget: Budget,
}

impl InForce {
    fn new(setup: Setup) -> Self {
        // One of the largest size, packed, is always let in.
        let budget = Budget::new(BODIES.max(setup.body_bytes.saturating_mul(2)));
        Self { setup: Arc::new(setup), budget }
    }
}

/// The state of the public listener.
#[derive(Debug, Clone)]
pub struct Endpoint {
    in_force: Arc<RwLock<InForce>>,
    intake: Intake,
    clock: Clock,
    metrics: Metrics,
    places: Arc<Semaphore>,
    follow_ups: mpsc::Sender<FollowUp>,
    deliveries: Deliveries,
    told: Told,
    seen: AllSeen,
}

impl Endpoint {
    /// An endpoint that works on at most `concurrent` deliveries at a time and hands follow-ups to `follow_ups`.
    #[must_use]
    pub fn new(
        setup: Setup,
        intake: Intake,
        clock: Clock,
        metrics: Metrics,
        concurrent: usize,
        follow_ups: mpsc::Sender<FollowUp>,
    ) -> Self {
        Self {
            in_force: Arc::new(RwLock::new(InForce::new(setup))),
            intake,
            clock,
            metrics,
            places: Arc::new(Semaphore::new(concurrent.max(1))),
            follow_ups,
            deliveries: Deliveries::default(),
            told: Told::default(),
            seen: AllSeen::default(),
        }
    }

    /// What became of the latest deliveries, to be watched.
    #[must_use]
    pub fn deliveries(&self) -> Deliveries {
        self.deliveries.clone()
    }

    /// What the feed of this name has brought since the start.
    #[must_use]
    pub fn seen(&self, feed: &str) -> Seen {
        self.seen.of(feed)
    }

    /// The setup in force.
    #[must_use]
    pub fn setup(&self) -> Arc<Setup> {
        self.in_force().setup
    }

    fn in_force(&self) -> InForce {
        self.in_force.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another setup in force; deliveries under way finish with the old one.
    pub fn exchange(&self, setup: Setup) {
        let mut next = InForce::new(setup);
        let mut in_force = self.in_force.write().unwrap_or_else(PoisonError::into_inner);
        if next.setup.body_bytes == in_force.setup.body_bytes {
            // What is taken of the budget stays taken.
            next.budget = in_force.budget.clone();
        }
        *in_force = next;
    }

    /// The routes of the public listener.
    pub fn router(self) -> Router {
        Router::new()
            .route("/in/{kind}", post(one))
            .route("/in/{kind}/{name}", post(named))
            .method_not_allowed_fallback(wrong_method)
            .fallback(nothing_here)
            .with_state(Arc::new(self))
    }

    async fn receive(&self, path: &str, request: Request<Body>) -> Response {
        let InForce { setup, budget } = self.in_force();
        let Some(feed) = setup.feeds.get(path) else {
            self.metrics.unknown_paths.inc();
            let detail = "no feed is configured at this path; see [feeds] in the configuration";
            return problem(StatusCode::NOT_FOUND, RejectionReason::Unsupported, detail);
        };
        let name = feed.name.name.as_str();
        let began = Instant::now();
        let answer = self.process(&setup, &budget, feed, request).await;
        self.metrics.feed_duration.with_label_values(&[name]).observe(began.elapsed().as_secs_f64());
        match answer {
            Ok(()) => {
                self.metrics.feed_deliveries.with_label_values(&[name, "accepted"]).inc();
                self.metrics.feed_last_accepted.with_label_values(&[name]).set(self.clock.now().as_seconds());
                self.deliveries.accepted(name, self.clock.now());
                StatusCode::OK.into_response()
            }
            Err(rejection) => {
                let now = self.clock.now();
                self.deliveries.refused(name, &rejection, now);
                self.seen.refused(name, rejection.reason, now);
                let later = rejection.status == StatusCode::SERVICE_UNAVAILABLE;
                let answer = if later { "unavailable" } else { "rejected" };
                self.metrics.feed_deliveries.with_label_values(&[name, answer]).inc();
                self.metrics.feed_rejections.with_label_values(&[name, rejection.reason.as_str()]).inc();
                if let Some(count) = self.told.count(name, rejection.reason.as_str(), now) {
                    tracing::warn!(
                        feed = name, reason = %rejection.reason, count, detail = rejection.detail,
                        "a delivery was refused; more of this feed and reason are counted for a minute"
                    );
                }
                let mut response = problem(rejection.status, rejection.reason, &rejection.detail);
                if let Some(challenge) = rejection.challenge {
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
    ) -> Result<(), Rejection> {
        let Ok(_place) = self.places.try_acquire() else {
            return Err(busy(RejectionReason::Overloaded, "too many deliveries at once; come again"));
        };
        let (parts, body) = request.into_parts();
        let (body, _taken) = body::read(&parts.headers, body, setup.body_bytes, setup.request_timeout, budget).await?;
        let delivery = Delivery { headers: strip(parts.headers), body, received_at: self.clock.now() };
        let report = feed.receive(&delivery).await?;
        let outcome =
            self.intake.take(&feed.name, &report, &setup.knowledge, delivery.received_at).await.map_err(|error| {
                match error {
                    CommitError::Store(_) => busy(RejectionReason::StoreUnavailable, "the store is away; come again"),
                    CommitError::Overloaded => {
                        busy(RejectionReason::Overloaded, "too many deliveries wait; come again")
                    }
                    CommitError::Stopping => {
                        busy(RejectionReason::StoreUnavailable, "relaywatch is stopping; come again")
                    }
                }
            })?;
        if outcome == Outcome::TokenReused {
            // 406 makes Mailgun, whose scheme this is, stop; a retry of a forgery would be no better.
            let detail = "the token came before with another body";
            return Err(Rejection::new(StatusCode::NOT_ACCEPTABLE, RejectionReason::TokenReused, detail));
        }
        self.seen.committed(&feed.name.name, &report, delivery.received_at);
        if report.ignored.contains(&"sns-unsubscribe-confirmation") {
            tracing::warn!(feed = feed.name.name, "SNS says that this endpoint was unsubscribed from its topic");
        }
        self.warn_of(&feed.name.name, &report, delivery.received_at);
        if let Some(client_id) = &report.unconfigured_app
            && let Some(count) = self.told.count(&feed.name.name, "unconfigured-app", delivery.received_at)
        {
            tracing::warn!(
                feed = feed.name.name,
                client_id,
                count,
                "a notice of an app that is not configured was passed on and not journalled; add a [[team.app]] with this \
                 client_id if its notices matter here"
            );
        }
        if let Some(follow_up) = report.follow_up
            && self.follow_ups.try_send(follow_up).is_err()
        {
            // SNS sends the confirmation again only when it's asked to; nothing else is lost.
            tracing::warn!(
                feed = feed.name.name,
                "too many confirmations wait; use 'Request confirmation' in the SNS console"
            );
        }
        Ok(())
    }

    /// Says, once a minute, what was acknowledged and is not right.
    fn warn_of(&self, feed: &str, report: &Report, now: Timestamp) {
        if report.misdated {
            self.metrics.feed_misdated.with_label_values(&[feed]).inc();
            if let Some(count) = self.told.count(feed, "misdated", now) {
                tracing::warn!(
                    feed,
                    count,
                    "a notice is said to be issued at a time that cannot be (before 2010, or more than a day ahead); it is kept and \
                     that time is not. Compare this machine's clock"
                );
            }
        }
        let reasons: std::collections::BTreeSet<&'static str> =
            report.set_aside.iter().map(|part| part.reason.as_str()).collect();
        for reason in reasons {
            if let Some(count) = self.told.count(feed, reason, now) {
                let understood = !report.events.is_empty() || !report.notices.is_empty();
                tracing::warn!(
                    feed,
                    reason,
                    count,
                    understood,
                    "a delivery was acknowledged and something in it is not understood: it is kept sealed and counts nowhere; \
                     more of this feed and reason are counted for a minute. `relaywatch events list` names it"
                );
            }
        }
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

async fn wrong_method() -> Response {
    problem(StatusCode::METHOD_NOT_ALLOWED, RejectionReason::Unsupported, "feeds take POST only")
}

async fn nothing_here(State(endpoint): State<Arc<Endpoint>>) -> Response {
    endpoint.metrics.unknown_paths.inc();
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
