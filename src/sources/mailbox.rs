//! Reads a mailbox by IMAP (RFC 9051, RFC 3501) over rustls: what came since the last reading and may be a canary.
//!
//! All configured folders are read, and the one that the server marks for junk (RFC 6154). A reading counts only where it came to
//! its end in all of them.

use std::{
    collections::BTreeMap,
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use async_imap::{Authenticator, Client, Session, error::Error, imap_proto::NameAttribute, types::Fetch};
use futures_util::TryStreamExt;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

use super::canary::{mark::PREFIX, message::HEADER};
use crate::{
    config::{AfterReading, MailTls, Secret},
    model::Timestamp,
};

/// How long connecting may take, a handshake, or a command.
const STEP: Duration = Duration::from_secs(30);
/// How long a whole reading may take.
const WHOLE: Duration = Duration::from_mins(5);
/// Bytes that the server may send in one reading.
const MOST_BYTES: u64 = 32 * 1024 * 1024;
/// Messages of a folder that are looked at in one command …
const BATCH: usize = 100;
/// … and in one reading.
const MOST_MESSAGES: usize = 2_000;
/// What is fetched of a message's header and text.
const PARTS: &str = "(UID INTERNALDATE BODY.PEEK[HEADER]<0.32768> BODY.PEEK[TEXT]<0.4096>)";

/// Where the mailbox is.
#[derive(Debug, Clone)]
pub struct Server {
    /// The server's name, as its certificate has it.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is made private.
    pub tls: MailTls,
    /// Whom it trusts.
    pub trust: Arc<ClientConfig>,
    /// The user.
    pub user: String,
    /// The password.
    pub password: Secret,
    /// The folders to look in, beside that for junk.
    pub folders: Vec<String>,
    /// What is done with what was found.
    pub after: AfterReading,
}

/// Certificates that can't be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// There is none in the file.
    #[error("it holds no certificate (PEM)")]
    NoCertificate,
    /// The platform's can't be had.
    #[error("the platform's certificates can't be used")]
    Platform,
}

/// Whom a client trusts: the certificates of a PEM text, or the platform's.
///
/// # Errors
/// Where there are none.
pub fn trust(pem: Option<&[u8]>) -> Result<Arc<ClientConfig>, TrustError> {
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(|_| TrustError::Platform)?;
    let config = if let Some(pem) = pem {
        let mut roots = RootCertStore::empty();
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let (added, _) = roots.add_parsable_certificates(all.map_err(|_| TrustError::NoCertificate)?);
        if added == 0 {
            return Err(TrustError::NoCertificate);
        }
        builder.with_root_certificates(roots)
    } else {
        let verifier = rustls_platform_verifier::Verifier::new(provider).map_err(|_| TrustError::Platform)?;
        builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
    };
    Ok(Arc::new(config.with_no_client_auth()))
}

/// Why a mailbox can't be read. It holds nothing of what the server said, which may name people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Nobody answers there.
    #[error("the server can't be reached")]
    Unreachable,
    /// No handshake, no STARTTLS, or a certificate that is not trusted.
    #[error("TLS can't be had: the certificate is not trusted, or the server has none")]
    Tls,
    /// User and password are not taken.
    #[error("the server does not take user and password")]
    Login,
    /// A configured folder is not there.
    #[error("there is no folder {0:?}")]
    NoFolder(String),
    /// The server refused a command, or spoke another language.
    #[error("the server does not do what it is asked")]
    Refused,
    /// The connection broke.
    #[error("the connection broke off")]
    Lost,
    /// It took too long.
    #[error("the server takes too long")]
    Slow,
}

impl From<Error> for ReadError {
    fn from(error: Error) -> Self {
        match error {
            Error::Io(_) | Error::ConnectionLost => Self::Lost,
            _ => Self::Refused,
        }
    }
}

/// A message that may be a canary.
#[derive(Clone, PartialEq, Eq)]
pub struct Found {
    /// The folder.
    pub folder: String,
    /// Whether that is the folder for junk.
    pub junk: bool,
    /// Its number in the folder.
    pub uid: u32,
    /// When the mailbox had it.
    pub at: Timestamp,
    /// The beginning of its header.
    pub header: Vec<u8>,
    /// The beginning of its text.
    pub text: Vec<u8>,
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Found({} {}, {} bytes)", self.folder, self.uid, self.header.len() + self.text.len())
    }
}

/// Up to where a folder was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    validity: u32,
    uid: u32,
}

/// What connections run over.
trait Wire: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Wire for T {}

/// A connection that gives no more than so many bytes.
struct Bounded {
    wire: Box<dyn Wire>,
    left: u64,
}

impl fmt::Debug for Bounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bounded({} bytes left)", self.left)
    }
}

impl AsyncRead for Bounded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::Error::other("more than a mailbox may send")));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.wire).poll_read(cx, buf);
        let came = buf.filled().len().saturating_sub(before) as u64;
        self.left = self.left.saturating_sub(came);
        read
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }
}

/// User and password by SASL PLAIN (RFC 4616); notes whether it was asked for them.
struct Plain<'a> {
    server: &'a Server,
    asked: &'a mut bool,
}

impl Authenticator for Plain<'_> {
    type Response = String;

    fn process(&mut self, _: &[u8]) -> String {
        *self.asked = true;
        format!("\0{}\0{}", self.server.user, self.server.password.expose())
    }
}

/// A mailbox, with its connection while there is one.
#[derive(Debug)]
pub struct Mailbox {
    server: Server,
    session: Option<Session<Bounded>>,
    marks: BTreeMap<String, Mark>,
    /// The marks of the last reading, until what it found is journalled.
    ahead: BTreeMap<String, Mark>,
}

impl Mailbox {
    /// One of which nothing was read yet.
    #[must_use]
    pub const fn new(server: Server) -> Self {
        Self { server, session: None, marks: BTreeMap::new(), ahead: BTreeMap::new() }
    }

    /// What may be a canary of all that came since the last reading that was kept; of the first, since a day.
    ///
    /// # Errors
    /// Where it did not come to its end; the next one connects anew.
    pub async fn read(&mut self, since: Timestamp) -> Result<Vec<Found>, ReadError> {
        let read = tokio::time::timeout(WHOLE, self.read_folders(since)).await.unwrap_or(Err(ReadError::Slow));
        if read.is_err() {
            self.session = None;
        }
        read
    }

    /// Begins the next reading behind the last one.
    pub fn keep(&mut self) {
        self.marks.append(&mut self.ahead);
    }

    async fn read_folders(&mut self, since: Timestamp) -> Result<Vec<Found>, ReadError> {
        self.ahead.clear();
        if self.session.is_none() {
            self.session = Some(connect(&self.server).await?);
        }
        let Some(session) = &mut self.session else { return Err(ReadError::Lost) };
        session.get_mut().left = MOST_BYTES;
        let mut found = Vec::new();
        for (folder, junk) in folders(session, &self.server.folders).await? {
            let selected = step(session.select(&folder)).await?;
            let validity = selected.uid_validity.unwrap_or(0);
            // Other numbers than before: the folder is another one, and is read anew.
            let after = self.marks.get(&folder).filter(|mark| mark.validity == validity).map_or(0, |mark| mark.uid);
            let query = format!(
                "UID {}:* SINCE {} OR HEADER {HEADER} {PREFIX} OR SUBJECT {PREFIX} BODY {PREFIX}",
                after.saturating_add(1),
                date(since)
            );
            let mut uids: Vec<u32> = step(session.uid_search(&query)).await?.into_iter().collect();
            // `n:*` names the last message also where its number is lower (RFC 9051 section 6.4.9).
            uids.retain(|uid| *uid > after);
            uids.sort_unstable();
            let all = uids.len() <= MOST_MESSAGES;
            uids.truncate(MOST_MESSAGES);
            for batch in uids.chunks(BATCH) {
                let set: Vec<String> = batch.iter().map(ToString::to_string).collect();
                let fetching = async {
                    let stream = session.uid_fetch(set.join(","), PARTS).await?;
                    stream.try_collect::<Vec<Fetch>>().await
                };
                let fetched = step(fetching).await?;
                found.extend(fetched.iter().filter_map(|message| read_message(message, &folder, junk)));
            }
            let next = selected.uid_next.map_or(0, |next| next.saturating_sub(1));
            let last = uids.last().copied().unwrap_or(0);
            let uid = if all { last.max(next).max(after) } else { last };
            self.ahead.insert(folder, Mark { validity, uid });
            if !all {
                return Err(ReadError::Slow);
            }
        }
        Ok(found)
    }

    /// Marks as read, or deletes, what was found, as the settings want it; `uids` by their folders.
    ///
    /// # Errors
    /// Where the server does not do it, or the connection broke.
    pub async fn tidy(&mut self, uids: &BTreeMap<String, Vec<u32>>) -> Result<(), ReadError> {
        let after = self.server.after;
        let Some(session) = self.session.as_mut().filter(|_| after != AfterReading::Keep) else { return Ok(()) };
        let tidied = tidy(session, uids, after).await;
        if tidied.is_err() {
            self.session = None;
        }
        tidied
    }
}

async fn tidy(
    session: &mut Session<Bounded>,
    uids: &BTreeMap<String, Vec<u32>>,
    after: AfterReading,
) -> Result<(), ReadError> {
    let delete = after == AfterReading::Delete;
    // Without UIDPLUS (RFC 4315) an EXPUNGE would take along what others have marked.
    let expunge = delete && step(session.capabilities()).await?.has_str("UIDPLUS");
    let flags = if delete { "+FLAGS.SILENT (\\Seen \\Deleted)" } else { "+FLAGS.SILENT (\\Seen)" };
    for (folder, uids) in uids {
        step(session.select(folder)).await?;
        let set: Vec<String> = uids.iter().map(ToString::to_string).collect();
        let set = set.join(",");
        step(async { session.uid_store(&set, flags).await?.try_collect::<Vec<_>>().await }).await?;
        if expunge {
            step(async { session.uid_expunge(&set).await?.try_collect::<Vec<_>>().await }).await?;
        }
    }
    Ok(())
}

/// Waits for one command.
async fn step<T>(command: impl Future<Output = Result<T, Error>>) -> Result<T, ReadError> {
    match tokio::time::timeout(STEP, command).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(ReadError::Slow),
    }
}

async fn connect(server: &Server) -> Result<Session<Bounded>, ReadError> {
    let connecting = TcpStream::connect((server.host.as_str(), server.port));
    let connected = tokio::time::timeout(STEP, connecting).await.map_err(|_| ReadError::Unreachable)?;
    let tcp = connected.map_err(|_| ReadError::Unreachable)?;
    let bounded = |wire: Box<dyn Wire>| Bounded { wire, left: MOST_BYTES };
    let wire: Box<dyn Wire> = match server.tls {
        MailTls::Implicit => private(server, Box::new(tcp)).await?,
        MailTls::Starttls | MailTls::None => Box::new(tcp),
    };
    let mut client = Client::new(bounded(wire));
    let greeting = tokio::time::timeout(STEP, client.read_response()).await.map_err(|_| ReadError::Slow)?;
    greeting.map_err(|_| ReadError::Lost)?.ok_or(ReadError::Lost)?;
    if server.tls == MailTls::Starttls {
        let asked = tokio::time::timeout(STEP, client.run_command_and_check_ok("STARTTLS", None)).await;
        asked.map_err(|_| ReadError::Slow)?.map_err(|_| ReadError::Tls)?;
        // Whatever was said before the handshake is forgotten with the client.
        client = Client::new(bounded(private(server, client.into_inner().wire).await?));
    }
    let mut asked = false;
    let login = client.authenticate("PLAIN", Plain { server, asked: &mut asked });
    let client = match tokio::time::timeout(STEP, login).await.map_err(|_| ReadError::Slow)? {
        Ok(session) => return Ok(session),
        Err((Error::Io(_) | Error::ConnectionLost, _)) => return Err(ReadError::Lost),
        Err(_) if asked => return Err(ReadError::Login),
        // It does not know PLAIN.
        Err((_, client)) => client,
    };
    let login = client.login(&server.user, server.password.expose());
    match tokio::time::timeout(STEP, login).await.map_err(|_| ReadError::Slow)? {
        Ok(session) => Ok(session),
        Err((Error::Io(_) | Error::ConnectionLost, _)) => Err(ReadError::Lost),
        Err(_) => Err(ReadError::Login),
    }
}

async fn private(server: &Server, wire: Box<dyn Wire>) -> Result<Box<dyn Wire>, ReadError> {
    let name = ServerName::try_from(server.host.clone()).map_err(|_| ReadError::Tls)?;
    let handshake = TlsConnector::from(Arc::clone(&server.trust)).connect(name, wire);
    match tokio::time::timeout(STEP, handshake).await.map_err(|_| ReadError::Slow)? {
        Ok(stream) => Ok(Box::new(stream)),
        Err(_) => Err(ReadError::Tls),
    }
}

/// The folders to read, each with whether it is for junk.
async fn folders(session: &mut Session<Bounded>, wanted: &[String]) -> Result<Vec<(String, bool)>, ReadError> {
    let listing = async { session.list(Some(""), Some("*")).await?.try_collect::<Vec<_>>().await };
    let all = step(listing).await?;
    let is_junk = |name: &async_imap::types::Name| name.attributes().contains(&NameAttribute::Junk);
    let mut folders = Vec::new();
    for folder in wanted {
        // INBOX is one word in whatever case (RFC 9051 section 5.1).
        let same =
            |name: &str| name == folder || (name.eq_ignore_ascii_case("INBOX") && folder.eq_ignore_ascii_case("INBOX"));
        let listed = all.iter().find(|name| same(name.name())).ok_or_else(|| ReadError::NoFolder(folder.clone()))?;
        folders.push((listed.name().to_owned(), is_junk(listed)));
    }
    for name in all.iter().filter(|name| is_junk(name)) {
        if !folders.iter().any(|(folder, _)| folder == name.name()) {
            folders.push((name.name().to_owned(), true));
        }
    }
    Ok(folders)
}

fn read_message(message: &Fetch, folder: &str, junk: bool) -> Option<Found> {
    Some(Found {
        folder: folder.to_owned(),
        junk,
        uid: message.uid?,
        at: Timestamp::from_millis(message.internal_date()?.timestamp_millis()),
        header: message.header()?.to_vec(),
        text: message.text().unwrap_or_default().to_vec(),
    })
}

/// A day as SEARCH has it, with one to spare: servers go by their own time zone (RFC 9051 section 6.4.4).
fn date(at: Timestamp) -> String {
    let at = at.plus_millis(-crate::model::DAY_MILLIS);
    let stamp = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    stamp.strftime("%-d-%b-%Y").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_written_as_search_has_them() {
        assert_eq!(date(Timestamp::from_rfc3339("2026-11-02T00:00:00Z").expect("a time")), "1-Nov-2026");
    }

    #[test]
    fn certificates_are_needed_where_a_file_is_named() {
        assert_eq!(trust(Some(b"none")).err(), Some(TrustError::NoCertificate));
    }
}
