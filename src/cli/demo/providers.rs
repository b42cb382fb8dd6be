//! The providers and Apple: they sign what the simulation sends, and post it over connections that they keep.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context, bail};
use axum::http::{Method, Request, StatusCode, header};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

use crate::{
    ingest::http::{
        apple,
        sns::{
            self, MessageType, SignatureVersion,
            signing::{Draft, message_id},
        },
    },
    model::Timestamp,
    simulate::{Post, What, wire},
};

/// The SNS topic of the simulated SES.
pub(super) const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:ses-events";
/// The user name of the simulated SparkPost.
pub(super) const USERNAME: &str = "sparkpost";
/// Connections that the providers hold at once.
const CONNECTIONS: usize = 16;

/// Everybody who posts to relaywatch, with their keys.
pub(super) struct Providers {
    sns: sns::signing::Signer,
    apple: apple::signing::Signer,
    secret: String,
    basic: String,
    bearer: String,
}

impl Providers {
    /// Makes new keys and secrets.
    pub(super) fn new() -> anyhow::Result<Self> {
        let secret = format!("{:032x}", rand::random::<u128>());
        Ok(Self {
            sns: sns::signing::Signer::generate()?,
            apple: apple::signing::Signer::generate("demo")?,
            basic: format!("Basic {}", BASE64_STANDARD.encode(format!("{USERNAME}:{secret}"))),
            bearer: format!("Bearer {secret}"),
            secret,
        })
    }

    /// The password and token of those that sign nothing.
    pub(super) fn secret(&self) -> &str {
        &self.secret
    }

    /// The certificate of the simulated SNS.
    pub(super) fn certificate(&self, from: Timestamp, until: Timestamp) -> anyhow::Result<String> {
        Ok(self.sns.certificate("sns.amazonaws.com", from, until)?)
    }

    /// The keys that the simulated Apple publishes.
    pub(super) fn apple_keys(&self) -> Bytes {
        self.apple.jwks()
    }

    /// The request that carries a post; none where it does not travel by HTTP.
    fn request(&self, what: &What) -> anyhow::Result<Option<Request<Full<Bytes>>>> {
        let request = |path: &str| Request::builder().method(Method::POST).uri(path).header(header::HOST, "relaywatch");
        let json = |path: &str| request(path).header(header::CONTENT_TYPE, "application/json");
        let request = match what {
            What::Ses { number, published_at, outcome } => {
                let (id, message) = (message_id(*number), wire::ses(outcome));
                let draft = Draft {
                    kind: MessageType::Notification,
                    topic: TOPIC,
                    message_id: &id,
                    message: &message,
                    subject: None,
                    at: *published_at,
                    version: SignatureVersion::V2,
                };
                request("/in/ses")
                    .header(header::CONTENT_TYPE, "text/plain; charset=UTF-8")
                    .header("x-amz-sns-message-type", "Notification")
                    .header("x-amz-sns-message-id", &id)
                    .body(Full::from(self.sns.envelope(&draft)?))
            }
            What::Sparkpost(batch) => json("/in/sparkpost")
                .header(header::AUTHORIZATION, &self.basic)
                .header("x-messagesystems-batch-id", wire::sparkpost_batch_id(batch))
                .body(Full::from(wire::sparkpost(batch))),
            What::Braze(batch) => {
                json("/in/braze").header(header::AUTHORIZATION, &self.bearer).body(Full::from(wire::braze(batch)))
            }
            What::Notice(notice) => json("/in/apple").body(Full::new(self.apple.notice(notice)?)),
            What::Accounts(_) => return Ok(None),
        };
        Ok(Some(request?))
    }
}

/// The connections to relaywatch's public listener.
pub(super) struct Connections {
    to: SocketAddr,
    idle: Vec<SendRequest<Full<Bytes>>>,
}

impl Connections {
    pub(super) const fn new(to: SocketAddr) -> Self {
        Self { to, idle: Vec::new() }
    }

    /// Sends all posts, over several connections and in no strict order, and returns when each was answered with yes.
    pub(super) async fn send(&mut self, providers: &Arc<Providers>, posts: Arc<[Post]>) -> anyhow::Result<()> {
        let next = Arc::new(AtomicUsize::new(0));
        let mut lanes = JoinSet::new();
        for _ in 0..CONNECTIONS.min(posts.len()) {
            lanes.spawn(lane(self.to, self.idle.pop(), Arc::clone(providers), Arc::clone(&posts), Arc::clone(&next)));
        }
        while let Some(lane) = lanes.join_next().await {
            self.idle.extend(lane.context("a provider has crashed")??);
        }
        Ok(())
    }
}

async fn connect(to: SocketAddr) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(to).await.context("relaywatch's public listener can't be reached")?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        // What goes wrong with a connection comes up where it's used.
        drop(connection.await);
    });
    Ok(sender)
}

/// Sends one post after the other over one connection; gives the connection back.
async fn lane(
    to: SocketAddr,
    mut connection: Option<SendRequest<Full<Bytes>>>,
    providers: Arc<Providers>,
    posts: Arc<[Post]>,
    next: Arc<AtomicUsize>,
) -> anyhow::Result<Option<SendRequest<Full<Bytes>>>> {
    while let Some(post) = posts.get(next.fetch_add(1, Ordering::Relaxed)) {
        let Some(request) = providers.request(&post.what)? else { continue };
        let path = request.uri().path().to_owned();
        let usable = match connection.take() {
            Some(connection) => connection,
            None => connect(to).await?,
        };
        let (status, body, usable) = if let Ok(answer) = over(usable, request).await {
            answer
        } else {
            // The listener closes what has been idle for too long. A provider that gets no answer sends again.
            let Some(request) = providers.request(&post.what)? else { continue };
            over(connect(to).await?, request).await.with_context(|| format!("{path} does not answer"))?
        };
        if status != StatusCode::OK {
            bail!("{path} answered {status}: {}", String::from_utf8_lossy(&body));
        }
        connection = Some(usable);
    }
    Ok(connection)
}

/// One request and its answer, and the connection again.
async fn over(
    mut connection: SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> hyper::Result<(StatusCode, Bytes, SendRequest<Full<Bytes>>)> {
    connection.ready().await?;
    let answer = connection.send_request(request).await?;
    let status = answer.status();
    Ok((status, answer.into_body().collect().await?.to_bytes(), connection))
}
