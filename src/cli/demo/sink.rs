//! A Slack of one's own: it takes pages on loopback and notes when they came.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context;
use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Page;
use crate::{clock::ManualClock, web::server};

/// Takes what would go to Slack.
pub(super) struct Sink {
    address: SocketAddr,
    pages: Arc<Mutex<Vec<Page>>>,
    _stop: DropGuard,
}

#[derive(Clone)]
struct Inbox {
    clock: ManualClock,
    pages: Arc<Mutex<Vec<Page>>>,
}

impl Sink {
    /// Listens on a free port of loopback, until it's dropped.
    pub(super) async fn start(clock: ManualClock) -> anyhow::Result<Self> {
        let listener =
            TcpListener::bind(("127.0.0.1", 0)).await.context("the demo's Slack can't listen on loopback")?;
        let address = listener.local_addr()?;
        let pages = Arc::new(Mutex::new(Vec::new()));
        let stop = CancellationToken::new();
        let inbox = Inbox { clock, pages: Arc::clone(&pages) };
        let router = Router::new().route("/services/demo", post(take)).with_state(inbox);
        tokio::spawn(server::serve(listener, router, server::Limits::default(), stop.clone()));
        Ok(Self { address, pages, _stop: stop.drop_guard() })
    }

    /// What to set as `notify.slack.webhook_url`.
    pub(super) fn url(&self) -> String {
        format!("http://{}/services/demo", self.address)
    }

    /// The pages that came, from the one with this number on.
    pub(super) fn since(&self, number: usize) -> Vec<Page> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner).iter().skip(number).cloned().collect()
    }
}

async fn take(State(inbox): State<Inbox>, body: Bytes) -> (StatusCode, &'static str) {
    let Some(page) = read(&body, inbox.clock.now()) else { return (StatusCode::BAD_REQUEST, "invalid_payload") };
    inbox.pages.lock().unwrap_or_else(PoisonError::into_inner).push(page);
    (StatusCode::OK, "ok")
}

/// A text as Slack shows it: three signs are escaped in messages (docs.slack.dev, "Formatting message text").
fn shown(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

/// The texts of a message in Slack's Block Kit.
fn read(body: &[u8], at: crate::model::Timestamp) -> Option<Page> {
    let message: Value = serde_json::from_slice(body).ok()?;
    let title = message.get("text")?.as_str()?.to_owned();
    let blocks = message.get("blocks").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut details = Vec::new();
    for block in blocks {
        let fields = block.get("fields").or_else(|| block.get("elements")).and_then(Value::as_array);
        let parts = block.get("text").into_iter().chain(fields.into_iter().flatten());
        let texts = parts.filter_map(|part| part.get("text").unwrap_or(part).as_str());
        details.extend(texts.filter(|text| !title.contains(text)).map(shown));
    }
    Some(Page { at, title: shown(&title), details })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn texts_of_all_blocks_are_shown() {
        let body = br#"{"text":"Page: relay mail refused","blocks":[
            {"type":"header","text":{"type":"plain_text","text":"Page"}},
            {"type":"section","text":{"type":"mrkdwn","text":"since 06:00 &lt;x&gt; &amp;amp;"},"fields":[{"type":"mrkdwn","text":"12 of 13"}]},
            {"type":"context","elements":[{"type":"mrkdwn","text":"key 7"}]},{"type":"divider"}]}"#;
        let page = read(body, Timestamp::EPOCH).expect("a page");
        assert_eq!(page.title, "Page: relay mail refused");
        assert_eq!(page.details, ["since 06:00 <x> &amp;", "12 of 13", "key 7"]);
        assert_eq!(read(b"{\"blocks\":[]}", Timestamp::EPOCH), None, "Slack asks for a text");
        assert_eq!(read(b"no JSON", Timestamp::EPOCH), None);
    }
}
