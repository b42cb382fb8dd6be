//! The listener of one mail feed: accepts connections, within their number and what each peer may ask.

use std::{
    convert::Infallible,
    fs::{self, Permissions},
    io,
    net::IpAddr,
    os::unix::fs::{FileTypeExt, PermissionsExt as _},
    path::Path,
    sync::Arc,
    time::Duration,
};

use prometheus::IntGauge;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    Receiver, Refusal,
    connection::{self, Common},
    peers::{Peer, Peers},
    session::{Open, Session, Terms},
};
use crate::{config::MailAddress, ingest::told::Told};

/// Where connections come from.
#[derive(Debug)]
pub enum Listening {
    /// An address and a port.
    Tcp(TcpListener),
    /// A socket in the file system.
    Unix(UnixListener),
}

impl Listening {
    /// Listens there. A socket that an earlier process has left is taken over.
    ///
    /// # Errors
    /// Where it can't be had.
    pub async fn bind(address: &MailAddress) -> io::Result<Self> {
        match address {
            MailAddress::Tcp(address) => TcpListener::bind(address).await.map(Self::Tcp),
            MailAddress::Unix(path) => {
                remove_left(path)?;
                let listener = UnixListener::bind(path)?;
                // The mail server is another user. Who may come is said by the folder, and whoever comes is no more than a stranger.
                fs::set_permissions(path, Permissions::from_mode(0o666))?;
                Ok(Self::Unix(listener))
            }
        }
    }

    /// The address on which it listens, where that is one.
    #[must_use]
    pub fn address(&self) -> Option<std::net::SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    async fn accept(&self) -> io::Result<(Box<dyn Connection>, Option<IpAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Answers are small: waiting to fill a packet would only delay them.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "no TCP_NODELAY");
                }
                Ok((Box::new(stream), Some(peer.ip())))
            }
            Self::Unix(listener) => Ok((Box::new(listener.accept().await?.0), None)),
        }
    }
}

/// Whatever is accepted.
trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection for S {}

/// Removes a socket to which nobody listens; anything else is left alone, so that binding fails.
fn remove_left(path: &Path) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket && std::os::unix::net::UnixStream::connect(path).is_err() {
        return fs::remove_file(path);
    }
    Ok(())
}

/// What a listener works with.
#[derive(Debug)]
pub struct Service<R> {
    /// What sessions keep to.
    pub terms: Arc<Terms>,
    /// What connections have in common.
    pub common: Common,
    /// What peers may ask.
    pub peers: Peers,
    /// Connections at once.
    pub max_connections: usize,
    /// What takes the mails.
    pub receiver: R,
}

/// Serves until `stop`; then accepts no more, and lets the mails that are begun come to their end.
///
/// # Errors
/// None that ends it: a connection that can't be accepted is logged, and the next one is waited for.
pub async fn serve<R: Receiver>(
    listening: Listening,
    service: Arc<Service<R>>,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let places = Arc::new(Semaphore::new(service.max_connections.max(1)));
    let mut connections = JoinSet::new();
    let failures = Told::default();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            // What ended is let go of; a panic ended that connection only.
            Some(ended) = connections.join_next() => {
                if ended.is_err() {
                    tracing::error!(feed = service.common.feed, "a mail connection broke down");
                }
                continue;
            }
            accepted = listening.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: it passes when connections end. Until then it comes with each try.
                if let Some(times) = failures.count(&service.common.feed, "accept", service.common.clock.now()) {
                    tracing::warn!(feed = service.common.feed, %error, times, "mail connections could not be accepted");
                }
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(Duration::from_millis(100)) => {}
                }
                continue;
            }
        };
        let place = Arc::clone(&places).try_acquire_owned().map_err(|_| Refusal::Connections);
        let admitted = place.and_then(|place| Ok((place, service.peers.admit(address)?)));
        let opened = if admitted.is_ok() { "accepted" } else { "refused" };
        service.common.metrics.mail_connections.with_label_values(&[service.common.feed.as_str(), opened]).inc();
        match admitted {
            Ok((place, peer)) => {
                let (service, stop) = (Arc::clone(&service), stop.clone());
                connections.spawn(async move {
                    service.deal(stream, &peer, &stop).await;
                    drop((peer, place));
                });
            }
            Err(why) => {
                // As many may be told why; others are closed without a word.
                if connections.len() < service.max_connections.saturating_mul(2) {
                    let (service, stop) = (Arc::clone(&service), stop.clone());
                    connections.spawn(async move { service.turn_away(stream, why, &stop).await });
                } else {
                    service.common.refused(why, &service.receiver);
                }
            }
        }
    }
    drop(listening);
    while connections.join_next().await.is_some() {}
    Ok(())
}

/// Counts while it lives, however it ends.
struct Counted(IntGauge);

impl Counted {
    fn new(gauge: IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl<R: Receiver> Service<R> {
    async fn deal(&self, stream: Box<dyn Connection>, peer: &Peer, stop: &CancellationToken) {
        let _open = Counted::new(self.common.metrics.mail_open.with_label_values(&[self.common.feed.as_str()]));
        let session = Session::new(Arc::clone(&self.terms), peer.gate());
        connection::serve(stream, session, peer.is_trusted(), &self.receiver, &self.common, stop).await;
    }

    async fn turn_away(&self, stream: Box<dyn Connection>, why: Refusal, stop: &CancellationToken) {
        let mut session = Session::new(Arc::clone(&self.terms), Box::new(Open));
        session.end(why);
        connection::serve(stream, session, true, &self.receiver, &self.common, stop).await;
    }
}
