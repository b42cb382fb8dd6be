//! `GET /api/v1/sources`: how sources and streams stand, as `relaywatch sources --format json` has it.

use axum::{
    Json,
    extract::State as Extract,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use super::private::State;
use crate::monitor::overview::Overview;

pub(super) async fn sources(Extract(state): Extract<State>) -> Response {
    match Overview::read(&state.store, state.clock.now()).await {
        Ok(overview) => ([(header::CACHE_CONTROL, "no-store")], Json(overview)).into_response(),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "the store does not tell how the sources stand");
            (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n").into_response()
        }
    }
}
