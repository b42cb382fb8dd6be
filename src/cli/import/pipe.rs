//! A pipe that is followed for months: it holds no lock between its commits, outlives its daemon, and ends by a signal.

use std::{io::Write, sync::Arc, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use super::Import;
use crate::{
    cli::open,
    control::{CallError, ClientError, ControlError, EventsImported, ImportEvents, OpenError, Writer},
    daemon::StartError,
    ingest::import::live::Stop,
    store::StoreError,
};

/// How long it waits before it tries again to commit …
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// … and how long at most.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// How often it still tries where the pipe has ended.
const LAST_TRIES: u32 = 10;
/// What is to be done where a pipe could not be committed to its end.
const BEGIN_BACK: &str = "not all that came through the pipe could be committed; start it again some lines back (-n): what is known changes nothing";

/// The pipe that is followed just now.
pub(super) type Followed = watch::Sender<Option<Stop>>;

/// Gives an error at the signal that ends the command: the first one ends the pipe that is followed, any other one the command. As
/// long as no pipe was followed, signals do what they always do.
pub(super) async fn ended_by_a_signal(mut followed: watch::Receiver<Option<Stop>>) -> anyhow::Result<()> {
    if followed.wait_for(Option::is_some).await.is_err() {
        return std::future::pending().await;
    }
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        let is_first = followed.borrow().as_ref().is_some_and(Stop::stop);
        if !is_first {
            anyhow::bail!("ended by a signal; not all that was read may be committed");
        }
    }
}

/// Whether a commit that failed can succeed later: the store is another process's for a while, the daemon is restarted.
fn is_for_now(error: &anyhow::Error) -> bool {
    match (error.downcast_ref::<CallError>(), error.downcast_ref::<OpenError>()) {
        // What it refuses, it refuses since its store is away.
        (Some(CallError::Daemon(error)), _) => matches!(
            error,
            ClientError::Connect { .. } | ClientError::Http(_) | ClientError::Answer(_) | ClientError::Refused(_)
        ),
        (_, Some(OpenError::Unreachable { .. } | OpenError::Socket { .. })) => true,
        (Some(CallError::Here(ControlError::Store(error))), _)
        | (_, Some(OpenError::Start(StartError::Store(error)))) => is_away(error),
        _ => false,
    }
}

const fn is_away(error: &StoreError) -> bool {
    matches!(error, StoreError::Connect { .. } | StoreError::Database(_) | StoreError::Locked { .. })
}

impl Import<'_> {
    /// Lets go of the writer: from now on each commit takes it anew.
    pub(super) async fn let_go(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.close().await;
            self.anew = true;
        }
    }

    /// Takes the writer again for what is no pipe.
    pub(super) async fn hold(&mut self) -> anyhow::Result<()> {
        if std::mem::take(&mut self.anew) {
            self.writer = Some(self.taken_anew().await?);
        }
        Ok(())
    }

    /// Commits by a writer of its own. While there is none to be had, it's tried again and again, and nothing more is read.
    pub(super) async fn commit_anew(
        &self,
        call: ImportEvents,
        diagnostics: &mut impl Write,
    ) -> anyhow::Result<EventsImported> {
        let (mut failures, mut last) = (0, 0);
        loop {
            let error = match self.try_to_commit(call.clone()).await {
                Ok(done) => {
                    if failures > 0 {
                        self.progress.say(diagnostics, "-: committed; it goes on")?;
                    }
                    return Ok(done);
                }
                Err(error) if !is_for_now(&error) => return Err(error.context(BEGIN_BACK)),
                Err(error) => error,
            };
            if failures == 0 {
                let said = format!("-: what came can't be committed just now, and is tried again: {error:#}");
                self.progress.say(diagnostics, &said)?;
            }
            let has_ended = self.followed.borrow().as_ref().is_none_or(Stop::is_stopped);
            last += u32::from(has_ended);
            if last >= LAST_TRIES {
                return Err(error.context(BEGIN_BACK));
            }
            let wait = FIRST_WAIT.saturating_mul(1 << failures.min(16)).min(LONGEST_WAIT);
            tokio::time::sleep(if has_ended { FIRST_WAIT } else { wait }).await;
            failures += 1;
        }
    }

    async fn try_to_commit(&self, call: ImportEvents) -> anyhow::Result<EventsImported> {
        let writer = self.taken_anew().await?;
        let done = writer.call(call).await;
        writer.close().await;
        Ok(done?)
    }

    async fn taken_anew(&self) -> anyhow::Result<Writer> {
        let writer = open::writer(self.config).await?;
        Ok(match &self.rules {
            Some(rules) => writer.with_rules(Arc::clone(rules)),
            None => writer,
        })
    }
}
