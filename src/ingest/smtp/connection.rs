//! One connection: bytes between a peer and its [`Session`], within the times that it may take.

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};
use tokio_util::sync::CancellationToken;

use super::{
    Receiver, Refusal,
    session::{Session, Turn},
};
use crate::{clock::Clock, metrics::Metrics};

/// Bytes that are read at a time.
const READ: usize = 16 * 1024;
/// How long a peer that is greeted late is listened to before (it must not speak yet).
const PAUSE: Duration = Duration::from_millis(200);
/// How long the content of one mail may take: RFC 5321 (4.5.3.2.6) gives the answer to it as much.
const CONTENT: Duration = Duration::from_mins(10);
/// How long a connection may last; what it was about comes with the next one.
const LIFE: Duration = Duration::from_hours(1);
/// How long an answer may wait for a peer that does not read.
const WRITE: Duration = Duration::from_secs(20);
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// How long a mail that is begun is waited for once the process is stopping.
const GRACE: Duration = Duration::from_secs(5);
/// How long, and for how many bytes, a peer is read that is told of the end: what it sent must not undo what it was told.
const LINGER: (Duration, usize) = (Duration::from_secs(2), 1024 * 1024);

/// What the connections of one feed have in common.
#[derive(Debug, Clone)]
pub struct Common {
    /// The feed.
    pub feed: String,
    /// Seconds without a finished command after which a connection is ended.
    pub idle: Duration,
    /// What shakes hands, where STARTTLS is offered.
    pub tls: Option<Arc<ServerConfig>>,
    /// What counts.
    pub metrics: Metrics,
    /// What time it is.
    pub clock: Clock,
}

impl Common {
    /// Counts what was refused, and tells of it.
    pub fn refused(&self, why: Refusal, receiver: &impl Receiver) {
        self.metrics.mail_refusals.with_label_values(&[self.feed.as_str(), why.as_str()]).inc();
        receiver.refused(why);
    }
}

/// Whatever bytes come through.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// How a conversation ended.
enum Ended {
    /// For good.
    Over,
    /// With the wish to go on encrypted.
    StartTls,
}

/// Why nothing more comes.
enum Silence {
    Closed,
    TooLong,
    Stopping,
}

/// One connection's dealings.
struct Dealing<'a, R> {
    session: Session,
    receiver: &'a R,
    common: &'a Common,
    stop: &'a CancellationToken,
    began: Instant,
    /// By when a mail that is begun has to be there, once the process is stopping.
    last_call: Option<Instant>,
}

/// Deals with one connection to its end. Peers whom nobody knows are greeted late, so that those who don't wait show.
pub async fn serve<S, R>(
    stream: S,
    session: Session,
    known: bool,
    receiver: &R,
    common: &Common,
    stop: &CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    R: Receiver,
{
    let mut dealing = Dealing { session, receiver, common, stop, began: Instant::now(), last_call: None };
    let mut stream = stream;
    let mut begun = dealing.greet(&mut stream, known).await;
    if begun {
        match dealing.converse(&mut stream).await {
            Ok(Ended::StartTls) => {
                begun = false;
                if let Some(tls) = &common.tls {
                    // What came before the handshake is in nobody's confidence: `converse` has let go of it.
                    let handshake = TlsAcceptor::from(Arc::clone(tls)).accept(&mut stream);
                    let shaken = tokio::select! {
                        biased;
                        // No mail is begun: its sender comes again.
                        () = stop.cancelled() => Err(Refusal::Stopping),
                        shaken = timeout(HANDSHAKE, handshake) => shaken.ok().and_then(Result::ok).ok_or(Refusal::TlsFailed),
                    };
                    match shaken {
                        Ok(mut secured) => {
                            dealing.session.secured();
                            dealing.converse_to_the_end(&mut secured).await;
                        }
                        Err(why) => common.refused(why, receiver),
                    }
                }
            }
            Ok(Ended::Over) | Err(_) => {}
        }
    }
    for why in dealing.session.take_refusals() {
        common.refused(why, receiver);
    }
    if begun {
        linger(&mut stream).await;
    }
}

impl<R: Receiver> Dealing<'_, R> {
    /// Greets; says whether there is anything to go on with.
    async fn greet(&mut self, stream: &mut impl Stream, known: bool) -> bool {
        if !known {
            let mut byte = [0];
            match timeout(PAUSE, stream.read(&mut byte)).await {
                Ok(Ok(0) | Err(_)) => return false,
                Ok(Ok(_)) => self.session.end(Refusal::EarlyTalker),
                Err(_) => {}
            }
        }
        if !matches!(self.session.advance(&mut BytesMut::new()), Turn::Close) {
            self.session.greet();
        }
        true
    }

    async fn converse_to_the_end(&mut self, stream: &mut impl Stream) {
        if self.converse(stream).await.is_ok() {
            linger(stream).await;
        }
    }

    async fn converse(&mut self, stream: &mut impl Stream) -> std::io::Result<Ended> {
        let mut input = BytesMut::new();
        let (mut steps, mut since) = (self.session.steps(), Instant::now());
        loop {
            match self.session.advance(&mut input) {
                Turn::More => {
                    if self.last_call.is_some() && !self.session.is_within_mail() {
                        self.session.end(Refusal::Stopping);
                        continue;
                    }
                    self.flush(stream).await?;
                    if self.session.steps() != steps {
                        (steps, since) = (self.session.steps(), Instant::now());
                    }
                    match self.read(stream, &mut input, since).await? {
                        None => {}
                        Some(Silence::Closed) => {
                            if self.session.is_within_mail() {
                                self.common.refused(Refusal::BrokenOff, self.receiver);
                            }
                            return Ok(Ended::Over);
                        }
                        Some(Silence::TooLong) if self.last_call.is_none() => self.session.end(Refusal::Timeout),
                        Some(Silence::TooLong) => self.session.end(Refusal::Stopping),
                        Some(Silence::Stopping) => self.last_call = Some(Instant::now() + GRACE),
                    }
                }
                Turn::Mail(mail) => {
                    let taking = self.receiver.take(mail, self.common.clock.now()).await;
                    self.session.answer(taking);
                }
                Turn::StartTls => {
                    self.flush(stream).await?;
                    return Ok(Ended::StartTls);
                }
                Turn::Close => {
                    self.flush(stream).await?;
                    return Ok(Ended::Over);
                }
            }
        }
    }

    /// Reads more; says why, where nothing comes.
    async fn read(
        &mut self,
        stream: &mut impl Stream,
        input: &mut BytesMut,
        since: Instant,
    ) -> std::io::Result<Option<Silence>> {
        let limit = if self.session.is_within_content() { CONTENT } else { self.common.idle };
        let mut until = (since + limit).min(self.began + LIFE);
        if let Some(last_call) = self.last_call {
            until = until.min(last_call);
        }
        input.reserve(READ);
        let read = timeout_at(until, stream.read_buf(input));
        let read = tokio::select! {
            biased;
            () = self.stop.cancelled(), if self.last_call.is_none() => return Ok(Some(Silence::Stopping)),
            read = read => read,
        };
        match read {
            Err(_) => Ok(Some(Silence::TooLong)),
            Ok(Ok(0)) => Ok(Some(Silence::Closed)),
            Ok(Ok(count)) => {
                let bytes = &self.common.metrics.mail_bytes;
                bytes.with_label_values(&[self.common.feed.as_str()]).inc_by(count as u64);
                Ok(None)
            }
            Ok(Err(error)) => {
                if self.session.is_within_mail() {
                    self.common.refused(Refusal::BrokenOff, self.receiver);
                }
                Err(error)
            }
        }
    }

    async fn flush(&mut self, stream: &mut impl Stream) -> std::io::Result<()> {
        for why in self.session.take_refusals() {
            self.common.refused(why, self.receiver);
        }
        let out = self.session.take_output();
        if out.is_empty() {
            return Ok(());
        }
        let limit = if self.last_call.is_some() { GRACE } else { WRITE };
        let mut written = pin!(timeout(limit, async {
            stream.write_all(&out).await?;
            stream.flush().await
        }));
        let written = tokio::select! {
            biased;
            written = &mut written => written,
            // A peer that does not read must not hold up the stop for longer than one that does not write.
            () = self.stop.cancelled(), if self.last_call.is_none() => timeout(GRACE, written).await.and_then(|written| written),
        };
        written.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
    }
}

/// Closes: first this side, then, after what the peer still sends, the other. A connection that is closed with unread bytes is
/// reset, and the peer may never read what it was told.
async fn linger(stream: &mut impl Stream) {
    let (time, most) = LINGER;
    let closing = timeout(time, async {
        stream.shutdown().await?;
        let mut buffer = vec![0; 4096];
        let mut seen = 0;
        while seen < most {
            match stream.read(&mut buffer).await? {
                0 => break,
                count => seen += count,
            }
        }
        std::io::Result::Ok(())
    });
    if let Ok(Err(error)) = closing.await {
        tracing::debug!(%error, "a mail connection ended early");
    }
}
