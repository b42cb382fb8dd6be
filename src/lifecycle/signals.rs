//! Which signals the life cycle obeys, from the operating system or from a test.

use tokio::{
    signal::unix::{self, SignalKind},
    sync::mpsc,
};

/// What somebody outside asks the process to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: first drain, then end.
    Terminate,
    /// SIGHUP: read the configuration and the rules again.
    Reload,
}

/// Where signals come from.
#[derive(Debug)]
pub struct Signals(Source);

#[derive(Debug)]
enum Source {
    System { terminate: unix::Signal, interrupt: unix::Signal, hangup: unix::Signal },
    Channel(mpsc::Receiver<Signal>),
}

impl Signals {
    /// SIGTERM, SIGINT and SIGHUP of this process. From here on they no longer end it by themselves.
    ///
    /// # Errors
    /// Where the operating system refuses a handler.
    pub fn of_process() -> std::io::Result<Self> {
        Ok(Self(Source::System {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            hangup: unix::signal(SignalKind::hangup())?,
        }))
    }

    /// Whatever comes through the channel. A closed channel sends no more signals and means nothing else.
    #[must_use]
    pub const fn from_channel(receiver: mpsc::Receiver<Signal>) -> Self {
        Self(Source::Channel(receiver))
    }

    /// The next signal. Nothing is lost where the future is dropped.
    pub(super) async fn next(&mut self) -> Signal {
        match &mut self.0 {
            Source::System { terminate, interrupt, hangup } => tokio::select! {
                Some(()) = terminate.recv() => Signal::Terminate,
                Some(()) = interrupt.recv() => Signal::Terminate,
                Some(()) = hangup.recv() => Signal::Reload,
                else => std::future::pending().await,
            },
            Source::Channel(receiver) => match receiver.recv().await {
                Some(signal) => signal,
                None => std::future::pending().await,
            },
        }
    }
}
