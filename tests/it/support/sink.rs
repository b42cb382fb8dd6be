//! A receiver of HTTP requests on loopback that does as it's told: takes, refuses, hangs, breaks off.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use tokio::{net::TcpListener, sync::watch};

/// What the sink does with one request.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// Answers so, with these headers and this body.
    With(u16, Vec<(&'static str, String)>, String),
    /// Takes the request and never answers.
    Hang,
    /// Takes the request and breaks the connection off.
    Close,
}

impl Answer {
    pub(crate) fn status(status: u16) -> Self {
        Self::With(status, Vec::new(), String::new())
    }
}

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Received {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

#[derive(Clone)]
struct Shared {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    received: watch::Sender<Vec<Received>>,
}

/// The sink. It answers 200 unless it was told something else.
pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    shared: Shared,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Sink {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Shared { answers: Arc::default(), received: watch::Sender::new(Vec::new()) };
        let router = Router::new().fallback(receive).with_state(shared.clone());
        #[expect(clippy::disallowed_methods, reason = "a sink of tests needs no time-outs")]
        let server = axum::serve(listener, router);
        let task = tokio::spawn(async move { server.await.expect("serves") });
        Self { address, shared, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers the next requests so, one after the other.
    pub(crate) fn then(&self, answers: impl IntoIterator<Item = Answer>) {
        self.shared.answers.lock().expect("whole").extend(answers);
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.received.borrow().clone()
    }

    /// Waits until `count` requests have come, and gives them all.
    pub(crate) async fn wait(&self, count: usize) -> Vec<Received> {
        let mut received = self.shared.received.subscribe();
        let all = received.wait_for(|all| all.len() >= count);
        let all = tokio::time::timeout(std::time::Duration::from_mins(1), all).await;
        all.expect("the requests come within a minute").expect("the sink runs").clone()
    }
}

async fn receive(State(shared): State<Shared>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let answer = shared.answers.lock().expect("whole").pop_front().unwrap_or_else(|| Answer::status(200));
    shared.received.send_modify(|all| all.push(Received { path: uri.path().to_owned(), headers, body }));
    match answer {
        Answer::With(status, headers, body) => {
            let mut response = (StatusCode::from_u16(status).expect("a status"), body).into_response();
            for (name, value) in headers {
                response.headers_mut().insert(name, value.parse().expect("a value"));
            }
            response
        }
        Answer::Hang => std::future::pending().await,
        // What serves the connection goes with it, and the connection is broken off.
        Answer::Close => panic!("told to break off"),
    }
}
