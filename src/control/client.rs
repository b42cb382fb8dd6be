//! The commands' end of the socket.

use std::{
    io,
    path::{Path, PathBuf},
};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, StatusCode,
    body::Bytes,
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::Call;

/// The longest answer that is read.
const MAX_ANSWER: usize = 1024 * 1024;

/// Why the daemon did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The socket is gone.
    #[error("the daemon's socket {} no longer answers; has the daemon been stopped? Run the command again", socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the daemon broke off; has it been stopped? Run the command again")]
    Http(#[from] hyper::Error),
    /// The answer was cut off or too long.
    #[error("the daemon's answer could not be read: {0}")]
    Answer(String),
    /// The daemon is of another version.
    #[error("the daemon does not know this command; run the relaywatch of the daemon's own version")]
    Version,
    /// It said why.
    #[error("{0}")]
    Refused(String),
    /// A request that can't be built: a fault of this program.
    #[error("the request can't be made")]
    Request(#[from] hyper::http::Error),
    /// A call that does not serialise: a fault of this program.
    #[error("the request can't be written")]
    Json(#[from] serde_json::Error),
}

/// Talks to a running daemon.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// Looks whether a daemon answers.
    ///
    /// # Errors
    /// Where none does; `NotFound` and `ConnectionRefused` mean that none runs.
    pub async fn connect(socket: &Path) -> io::Result<Self> {
        UnixStream::connect(socket).await?;
        Ok(Self { socket: socket.to_owned() })
    }

    /// Sends one call and reads its answer.
    ///
    /// # Errors
    /// Why it was not done.
    pub async fn call<C: Call>(&self, call: &C) -> Result<C::Answer, ClientError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|source| ClientError::Connect { socket: self.socket.clone(), source })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // The connection ends with the answer; an error of it shows in the answer.
        let connection = tokio::spawn(connection);
        let request = Request::post(C::PATH)
            .header(HOST, "relaywatch")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(serde_json::to_vec(call)?)))?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| ClientError::Answer(error.to_string()))?.to_bytes();
        connection.abort();
        match status {
            StatusCode::OK => serde_json::from_slice(&body).map_err(|_| ClientError::Version),
            // What is not found says what it is; a path that is not known has nothing to say.
            StatusCode::NOT_FOUND if !body.is_empty() => {
                Err(ClientError::Refused(String::from_utf8_lossy(&body).trim().to_owned()))
            }
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::UNPROCESSABLE_ENTITY => {
                Err(ClientError::Version)
            }
            _ => Err(ClientError::Refused(String::from_utf8_lossy(&body).trim().to_owned())),
        }
    }
}
