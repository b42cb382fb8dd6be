//! Apple's notices to the endpoint that lived at the notice address before: the body as it came, at least once.

use reqwest::{Client, header};

use super::{Endpoint, answer};
use crate::{
    model::Timestamp,
    privacy::{Keyring, Purpose},
    store::{NewOutbox, Route},
};

/// The outbox's row of a notice's body.
///
/// Its key is a keyed hash of feed and body: Apple's retry brings the same bytes and so the same key, and is passed on
/// once. A second token about the same event is another body, which Apple would have sent to the endpoint too.
#[must_use]
pub fn item(keyring: &Keyring, feed: &str, body: &[u8], now: Timestamp) -> NewOutbox {
    NewOutbox {
        key: hex::encode(keyring.hash(Purpose::Outbox, &[feed.as_bytes(), body])),
        route: Route::Forward,
        target: feed.to_owned(),
        // One body that the endpoint can't digest must not keep the others back.
        ordered: false,
        paced: false,
        created_at: now,
        due_at: now,
        body: body.to_vec(),
    }
}

/// Posts a body to the endpoint.
pub(super) async fn send(
    client: &Client,
    endpoint: &Endpoint,
    key: &str,
    body: Vec<u8>,
    now: Timestamp,
) -> Result<(), answer::Failure> {
    let request = client
        .post(endpoint.url())
        .header(header::CONTENT_TYPE, "application/json")
        .header("Idempotency-Key", key)
        .body(body);
    answer::send(request, now).await.map(drop)
}
