//! The daemon's end of the socket.

use std::{
    convert::Infallible,
    fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::incident::IncidentError;

use super::{
    AcceptNormal, AskImport, AskRules, AskStanding, Call, CloseIncident, ControlError, EndRelabel, ForgetAddress,
    ForgetOldKeys, ImportAccounts, ImportEvents, JournalAside, JournalRecovery, LabelIncident, Operator, Rebuild,
    RebuildStep, Relabel, RelabelStep, Reseal, RotateKeys, SendCanary,
};

/// The longest body: a thousand accounts with the longest fields, a batch of an import, which is measured before it is escaped, or the
/// largest report that an import keeps whole, in base64.
const MAX_BODY: usize = 24 * 1024 * 1024;
/// How long a client may take for the headers of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// The socket, gone from the directory when this is dropped.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Makes the socket, for its owner only. One that a crash has left is replaced.
    ///
    /// # Errors
    /// `AddrInUse` where another daemon answers there; or why it can't be made.
    pub async fn bind(path: &Path) -> io::Result<Self> {
        if UnixStream::connect(path).await.is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another relaywatch answers there"));
        }
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        // Made under another name, closed to others, then moved in place: nobody meets it open, and a leftover goes.
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}", std::process::id()));
        let beside = PathBuf::from(name);
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&beside)?;
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o600))?;
        fs::rename(&beside, path)?;
        Ok(Self { listener, path: path.to_owned() })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // The next start replaces what could not be removed.
        drop(fs::remove_file(&self.path));
    }
}

/// Serves calls until `stop`, then lets those that are under way finish, for `drain` at most.
///
/// # Errors
/// None that ends it.
pub async fn serve(
    socket: Socket,
    operator: Arc<Operator>,
    drain: Duration,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let router = router(operator);
    let graceful = GracefulShutdown::new();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => break,
            accepted = socket.listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection to the control socket could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the control socket ended early");
            }
        });
    }
    drop(socket);
    if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!("a command did not finish in time; its connection is closed");
    }
    Ok(())
}

fn router(operator: Arc<Operator>) -> Router {
    fn with<C: Call>(router: Router<Arc<Operator>>) -> Router<Arc<Operator>> {
        router.route(C::PATH, post(answer::<C>))
    }
    let mut router = Router::new();
    router = with::<AcceptNormal>(router);
    router = with::<CloseIncident>(router);
    router = with::<ForgetAddress>(router);
    router = with::<ImportAccounts>(router);
    router = with::<AskImport>(router);
    router = with::<ImportEvents>(router);
    router = with::<JournalAside>(router);
    router = with::<JournalRecovery>(router);
    router = with::<LabelIncident>(router);
    router = with::<RotateKeys>(router);
    router = with::<Reseal>(router);
    router = with::<ForgetOldKeys>(router);
    router = with::<Rebuild>(router);
    router = with::<RebuildStep>(router);
    router = with::<AskRules>(router);
    router = with::<Relabel>(router);
    router = with::<RelabelStep>(router);
    router = with::<EndRelabel>(router);
    router = with::<AskStanding>(router);
    router = with::<SendCanary>(router);
    router.layer(DefaultBodyLimit::max(MAX_BODY)).with_state(operator)
}

async fn answer<C: Call>(State(operator): State<Arc<Operator>>, body: Bytes) -> Response {
    let Ok(call) = serde_json::from_slice::<C>(&body) else {
        // serde's own message could hold a value of the body.
        return (StatusCode::UNPROCESSABLE_ENTITY, "the daemon does not understand this call\n").into_response();
    };
    match call.run(&operator).await {
        Ok(answer) => axum::Json(answer).into_response(),
        Err(error) => {
            tracing::warn!(call = C::PATH, error = &error as &dyn std::error::Error, "a command failed");
            let status = match error {
                ControlError::Incident(IncidentError::Unknown(_)) => StatusCode::NOT_FOUND,
                ControlError::Invalid(_) | ControlError::Incident(IncidentError::Request(_)) => StatusCode::BAD_REQUEST,
                ControlError::Held(_) | ControlError::Incident(IncidentError::Over { .. }) => StatusCode::CONFLICT,
                ControlError::Store(_)
                | ControlError::Keys(_)
                | ControlError::Metrics(_)
                | ControlError::Incident(_) => StatusCode::INTERNAL_SERVER_ERROR,
            };
            (status, with_causes(&error)).into_response()
        }
    }
}

/// An error's text followed by those of its causes.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
