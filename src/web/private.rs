//! The private listener: health, metrics, and a page that says what to connect next.

use std::net::SocketAddr;

use axum::{
    Router,
    extract::{Request, State as Extract},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{Html, IntoResponse, Response},
    routing::get,
};

use crate::{
    clock::Clock,
    config::Secret,
    ingest::http::endpoint::Endpoint,
    metrics::Metrics,
    monitor::{
        blind,
        exposure::{self, Finding},
    },
    store::{Store, StoreError},
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
    /// The feeds in force.
    pub endpoint: Endpoint,
    /// Where the feeds are.
    pub public: SocketAddr,
    /// The bearer token that is asked for; none on loopback.
    pub token: Option<Secret>,
    /// The token before the last rotation.
    pub previous_token: Option<Secret>,
}

/// The routes. Health is open, so that probes need no secret; everything else asks for the token where there is one.
pub fn router(state: State) -> Router {
    let guarded = Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
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

/// The store takes writes, so that a delivery would be acknowledged.
async fn readyz(Extract(state): Extract<State>) -> Response {
    match state.store.ping().await {
        Ok(()) => "ready\n".into_response(),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, "the store does not take writes\n").into_response()
        }
    }
}

async fn metrics(Extract(state): Extract<State>) -> Response {
    match state.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics can't be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn index(Extract(state): Extract<State>) -> Response {
    let setup = state.endpoint.setup();
    let paths = setup.feeds.paths();
    let feeds = if paths.is_empty() {
        "<p>No feed is connected yet. Put a table such as <code>[feeds.ses]</code> into the configuration \
         (<code>relaywatch config default</code> shows all of them), reload with SIGHUP, and point your provider here:</p>"
            .to_owned()
    } else {
        let items: Vec<String> =
            paths.iter().map(|path| format!("<li><code>http://{}/in/{path}</code></li>", state.public)).collect();
        format!("<p>Feeds, by the address behind your TLS proxy:</p><ul>{}</ul>", items.concat())
    };
    let rows = match state.store.row_counts().await {
        Ok(counts) => counts.into_iter().find(|(table, _)| *table == "event").map_or(0, |(_, rows)| rows),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "the store does not tell its size");
            return (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n").into_response();
        }
    };
    let findings = match findings(&state).await {
        Ok(findings) => findings,
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "the store does not tell what it found of feeds");
            return (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n").into_response();
        }
    };
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>relaywatch</title><h1>relaywatch {}</h1>\
         <p>{rows} outcomes in the journal, at {}.</p>{feeds}{findings}\
         <p><a href=\"/metrics\">metrics</a> · <a href=\"/readyz\">ready</a></p></html>",
        env!("CARGO_PKG_VERSION"),
        state.clock.now(),
    );
    let policy = [(header::CONTENT_SECURITY_POLICY, "default-src 'none'")];
    (policy, Html(page)).into_response()
}

/// What is wrong with feeds: those that report otherwise than they declare, and blind windows that last.
async fn findings(state: &State) -> Result<String, StoreError> {
    let now = state.clock.now();
    let mut items: Vec<String> = exposure::check(&state.store, now).await?.iter().map(Finding::advice).collect();
    let windows = blind::known(&state.store, now).await?;
    items.extend(windows.iter().filter(|window| window.until.is_none()).map(|window| {
        let why = window.reason.map_or("", crate::explain::BlindReason::says);
        format!("Blind since {}: {}; {why}. Absence proves nothing.", window.from, window.watched)
    }));
    if items.is_empty() {
        return Ok(String::new());
    }
    let items: Vec<String> = items.iter().map(|item| format!("<li>{}</li>", escape(item))).collect();
    Ok(format!("<p>To be looked at:</p><ul>{}</ul>", items.concat()))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
