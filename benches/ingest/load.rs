//! The load: many connections, each with one request at a time, and the time that each answer takes.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use crate::shapes::{Request, Shape};

/// What a load has shown.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Requests that were answered with 200.
    pub(crate) requests: u64,
    elapsed: Duration,
    /// Times from the first byte of a request to its answer, sorted.
    answers: Vec<Duration>,
}

impl Measured {
    /// Requests a second.
    #[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
    pub(crate) fn rate(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }

    /// The time within which this share of the requests was answered.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place in a list"
    )]
    pub(crate) fn percentile(&self, share: f64) -> Duration {
        let place = (self.answers.len() as f64 * share) as usize;
        self.answers.get(place.min(self.answers.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}

/// Sends requests of a shape until `limit` has passed or there are no more.
pub(crate) async fn run(server: SocketAddr, shape: &Shape, connections: usize, limit: Duration) -> Measured {
    let mut senders = JoinSet::new();
    let began = Instant::now();
    for _ in 0..connections {
        let mut requests = shape.requests();
        senders.spawn(async move {
            let mut connection = Connection::open(server).await;
            let mut answers = Vec::new();
            while began.elapsed() < limit
                && let Some(request) = requests.next_request()
            {
                let sent = Instant::now();
                connection.post(request).await;
                answers.push(sent.elapsed());
            }
            answers
        });
    }
    let mut answers: Vec<Duration> = senders.join_all().await.concat();
    let elapsed = began.elapsed();
    answers.sort_unstable();
    Measured { requests: answers.len() as u64, elapsed, answers }
}

/// Sends each of these requests once, over four connections.
pub(crate) async fn run_all(server: SocketAddr, requests: &[Request]) {
    let requests: Arc<[Request]> = requests.into();
    let next = Arc::new(AtomicU64::new(0));
    let mut senders = JoinSet::new();
    for _ in 0..4 {
        let (requests, next) = (Arc::clone(&requests), Arc::clone(&next));
        senders.spawn(async move {
            let mut connection = Connection::open(server).await;
            let claim = || usize::try_from(next.fetch_add(1, Ordering::Relaxed)).expect("small");
            while let Some(request) = requests.get(claim()) {
                connection.post(request).await;
            }
        });
    }
    senders.join_all().await;
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).await.expect("connected");
        stream.set_nodelay(true).expect("no delay");
        Self { stream, buffer: vec![0; 4_096] }
    }

    /// Sends a request and waits for its answer, which must be an empty 200.
    async fn post(&mut self, request: &[u8]) {
        self.stream.write_all(request).await.expect("sent");
        let mut filled = 0;
        loop {
            let space = self.buffer.get_mut(filled..).expect("an answer is small");
            let read = self.stream.read(space).await.expect("an answer");
            assert!(read > 0, "the connection was closed");
            filled += read;
            let answer = self.buffer.get(..filled).expect("what was read");
            if answer.ends_with(b"\r\n\r\n") {
                assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(answer));
                return;
            }
            assert!(answer.starts_with(b"HTTP/1.1 200") || filled < 12, "{}", String::from_utf8_lossy(answer));
        }
    }
}
