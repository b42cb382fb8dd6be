//! The private listener: health, metrics, and a first page.

use std::net::SocketAddr;

use axum::{
    Router,
    extract::{Request, State as Extract},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};

use tokio::sync::watch;

use super::{page, sources};
use crate::{
    clock::Clock, config::Secret, daemon::Role, ingest::reception::Reception, metrics::Metrics,
    monitor::new_words::LastRead, notify::Notifiers, store::Store,
};

/// What the private listener shows.
#[derive(Debug, Clone)]
pub struct State {
    /// The store.
    pub store: Store,
    /// The metrics.
    pub metrics: Metrics,
    /// The clock.
    pub clock: Clock,
    /// What the process does.
    pub role: Role,
    /// Whether it leads the monitors.
    pub leading: watch::Receiver<bool>,
    /// The feeds in force, where it takes reports in.
    pub reception: Option<Reception>,
    /// Who is told, by the setup in force.
    pub notifiers: Notifiers,
    /// Replies of Apple's in words that no rule knows, as they were last read.
    pub words: LastRead,
    /// Why the last reload was refused, where it was.
    pub reload_refused: watch::Receiver<Option<String>>,
    /// Whether its configuration came from a file; without one, a reload looks for the system's.
    pub has_file: bool,
    /// Where the feeds are, where it takes reports in.
    pub public: Option<SocketAddr>,
    /// The bearer token that is asked for; none on loopback.
    pub token: Option<Secret>,
    /// The token before the last rotation.
    pub previous_token: Option<Secret>,
}

impl State {
    /// Where this process stands among the monitors.
    pub(super) fn standing(&self) -> &'static str {
        match (self.role.monitors(), *self.leading.borrow()) {
            (false, _) => "none",
            (true, true) => "leading",
            (true, false) => "standby",
        }
    }
}

/// The routes. Health is open, so that probes need no secret; everything else asks for the token where there is one.
pub fn router(state: State) -> Router {
    let guarded = Router::new()
        .route("/", get(page::index))
        .route("/metrics", get(metrics))
        .route("/api/v1/sources", get(sources::sources))
        .layer(middleware::from_fn_with_state(state.clone(), guard));
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).merge(guarded).with_state(state)
}

async fn guard(Extract(state): Extract<State>, request: Request, next: Next) -> Response {
    let Some(token) = &state.token else { return next.run(request).await };
    let given = bearer(request.headers()).unwrap_or_default();
    // Both are compared, always, so that the time tells nothing.
    let current = same(given, token.expose());
    let previous = state.previous_token.as_ref().is_some_and(|token| same(given, token.expose()));
    if current | previous {
        next.run(request).await
    } else {
        let challenge = [(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"relaywatch\""))];
        (StatusCode::UNAUTHORIZED, challenge, "the private listener asks for its token ([listen] private_token)\n")
            .into_response()
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn same(given: &str, secret: &str) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(given.as_bytes(), secret.as_bytes()).is_ok()
}

/// The process answers.
async fn healthz() -> &'static str {
    "ok\n"
}

/// The store takes writes, so that a delivery would be acknowledged. A process that stands by is ready as well.
async fn readyz(Extract(state): Extract<State>) -> Response {
    match state.store.ping().await {
        Ok(()) => format!("ready\nrole: {}\nmonitors: {}\n", state.role, state.standing()).into_response(),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, "the store does not take writes\n").into_response()
        }
    }
}

async fn metrics(Extract(state): Extract<State>) -> Response {
    state.metrics.reload_refused.set(i64::from(state.reload_refused.borrow().is_some()));
    match state.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics can't be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
