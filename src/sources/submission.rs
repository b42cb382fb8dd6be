//! Submits a canary by SMTP (RFC 6409), over lettre; nothing of it is tried twice.

use std::{sync::Arc, time::Duration};

use lettre::{
    Address as Mailbox,
    transport::smtp::{
        Error,
        authentication::{Credentials, Mechanism},
        client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters},
        commands::{Data, Mail, Rcpt},
        extension::ClientId,
    },
};

use super::canary::trial::{Hindrance, Stage};
use crate::{
    config::{MailTls, Secret},
    model::Address,
};

/// How long one step of the conversation may take …
const STEP: Duration = Duration::from_secs(30);
/// … and all of it.
const WHOLE: Duration = Duration::from_mins(2);

/// Where canaries are submitted.
#[derive(Debug, Clone)]
pub struct Server {
    /// The server's name, as its certificate has it.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is made private.
    pub tls: MailTls,
    /// Certificates (PEM) that are trusted instead of the platform's.
    pub ca: Option<Arc<Vec<u8>>>,
    /// User and password.
    pub login: Option<(String, Secret)>,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// The server took it.
    Accepted,
    /// The server refused it, in these words: they may hold addresses.
    Refused {
        /// At what.
        stage: Stage,
        /// The reply with its codes.
        reply: String,
    },
    /// It did not leave.
    Unsent(Hindrance),
    /// The connection broke after the content had begun: nobody knows.
    Unknown,
}

/// Submits a message from an envelope sender to a recipient.
pub async fn submit(server: &Server, sender: &Address, recipient: &Address, message: &str) -> Submitted {
    let mut began = false;
    match tokio::time::timeout(WHOLE, converse(server, sender, recipient, message, &mut began)).await {
        Ok(Ok(submitted)) => submitted,
        Ok(Err(hindrance)) => Submitted::Unsent(hindrance),
        Err(_) if began => Submitted::Unknown,
        Err(_) => Submitted::Unsent(Hindrance::BrokenOff),
    }
}

async fn converse(
    server: &Server,
    sender: &Address,
    recipient: &Address,
    message: &str,
    began: &mut bool,
) -> Result<Submitted, Hindrance> {
    let mailbox = |address: &Address| address.expose().parse::<Mailbox>().map_err(|_| Hindrance::BrokenOff);
    let (from, to) = (mailbox(sender)?, mailbox(recipient)?);
    let mut connection = connect(server, sender.domain()).await?;
    let mut stages = Vec::new();
    stages.push((Stage::Sender, connection.command(Mail::new(Some(from), Vec::new())).await));
    if stages.iter().all(|(_, answer)| answer.is_ok()) {
        stages.push((Stage::Recipient, connection.command(Rcpt::new(to, Vec::new())).await));
    }
    if stages.iter().all(|(_, answer)| answer.is_ok()) {
        stages.push((Stage::Content, connection.command(Data).await));
    }
    if let Some((stage, Err(error))) = stages.pop().filter(|(_, answer)| answer.is_err()) {
        let ended = refusal(stage, &error).ok_or(Hindrance::BrokenOff);
        connection.abort().await;
        return ended;
    }
    *began = true;
    let ended = match connection.message(message.as_bytes()).await {
        Ok(_) => Submitted::Accepted,
        Err(error) => refusal(Stage::Content, &error).unwrap_or(Submitted::Unknown),
    };
    // The answer to QUIT changes nothing.
    drop(tokio::time::timeout(STEP, connection.quit()).await);
    Ok(ended)
}

/// A connection that is private and logged in, as far as the settings want it.
async fn connect(server: &Server, hello: &str) -> Result<AsyncSmtpConnection, Hindrance> {
    let hello = ClientId::Domain(hello.to_owned());
    let tls = match server.tls {
        MailTls::None => None,
        MailTls::Implicit | MailTls::Starttls => Some(parameters(server).map_err(|_| Hindrance::Tls)?),
    };
    let implicit = tls.clone().filter(|_| server.tls == MailTls::Implicit);
    let at = (server.host.as_str(), server.port);
    let connecting = AsyncSmtpConnection::connect_tokio1(at, Some(STEP), &hello, implicit, None);
    let mut connection = connecting.await.map_err(|error| hindrance(&error, Hindrance::Unreachable))?;
    if let Some(tls) = tls.filter(|_| server.tls == MailTls::Starttls) {
        connection.starttls(tls, &hello).await.map_err(|_| Hindrance::Tls)?;
    }
    if let Some((user, password)) = &server.login {
        let credentials = Credentials::new(user.clone(), password.expose().to_owned());
        let login = connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await;
        login.map_err(|_| Hindrance::Login)?;
    }
    Ok(connection)
}

fn parameters(server: &Server) -> Result<TlsParameters, Error> {
    let builder = TlsParameters::builder(server.host.clone());
    match &server.ca {
        Some(pem) => {
            let builder = builder.certificate_store(CertificateStore::None);
            builder.add_root_certificate(Certificate::from_pem(pem)?).build_rustls()
        }
        None => builder.build_rustls(),
    }
}

fn hindrance(error: &Error, otherwise: Hindrance) -> Hindrance {
    if error.is_tls() || is_of_tls(error) { Hindrance::Tls } else { otherwise }
}

/// Whether a handshake failed: where TLS begins with the first byte, that is told as trouble of the connection.
fn is_of_tls(error: &Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        let io = inner.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if inner.is::<tokio_rustls::rustls::Error>()
            || io.is_some_and(<dyn std::error::Error + Send + Sync>::is::<tokio_rustls::rustls::Error>)
        {
            return true;
        }
        source = inner.source();
    }
    false
}

/// The refusal that an error tells of; `None` where the server did not answer.
fn refusal(stage: Stage, error: &Error) -> Option<Submitted> {
    let code = error.status()?;
    let text = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    Some(Submitted::Refused { stage, reply: format!("{code} {text}") })
}
