//! A pipe that is followed for months: it holds no lock between its commits, outlives its daemon, and ends by a signal.

use std::{
    io::{self, Read, Write},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use super::{Import, Opened};
use crate::{
    cli::open,
    control::{CallError, ClientError, ControlError, EventsImported, ImportEvents, OpenError, Writer},
    daemon::StartError,
    ingest::import::{
        Faults, Form, Format, Position, Shape, Unknown,
        guess::guess,
        live::{Live, Stop},
        source::{self, Source},
    },
    store::StoreError,
};

/// How long it waits before it tries again to commit …
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// … and how long at most.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// How often it still tries where the pipe has ended.
const LAST_TRIES: u32 = 10;
/// What is to be done where a pipe could not be committed to its end.
const BEGIN_BACK: &str = "not all that came through the pipe could be committed; start it again some lines back (-n): what is known \
     changes nothing";

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

/// What a stream begins with: its first line at least, as far as it has one.
fn beginning(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut first = vec![0; source::HEAD_BYTES];
    let mut filled = 0;
    while let Some(room) = first.get_mut(filled..).filter(|room| !room.is_empty()) {
        let read = match input.read(room) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        filled += read;
        let known = first.get(..filled).unwrap_or_default();
        // What is packed has no lines.
        if read == 0 || known.starts_with(&source::GZIP) || known.trim_ascii_start().contains(&b'\n') {
            break;
        }
    }
    first.truncate(filled);
    Ok(first)
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
    /// Opens standard input for lines that are still being written. Packed ones are those of a file, and have an end.
    pub(super) fn follow(
        &mut self,
        mut input: Box<dyn Read + Send>,
        diagnostics: &mut impl Write,
    ) -> anyhow::Result<Option<Opened>> {
        let first = beginning(&mut input).context("cannot read standard input")?;
        if first.is_empty() {
            self.summary.files_empty += 1;
            self.progress.say(diagnostics, "-: it is empty")?;
            return Ok(None);
        }
        let packed = first.starts_with(&source::GZIP);
        let input = io::Cursor::new(first.clone()).chain(input);
        let (source, stop) = if packed {
            (Source::of(Box::new(input)).context("cannot read standard input")?, None)
        } else {
            let (live, ends) = Live::of(input).context("standard input can't be followed")?;
            (Source::live(live), Some(ends))
        };
        let head = if packed { source.head() } else { &first };
        let form = match guess(head, Some(Format::Postfix)) {
            Ok(form) if form.shape == Shape::Log => form,
            // What stands before the first line may be cut off, or empty.
            Err(Unknown::Empty) => Form { format: Format::Postfix, shape: Shape::Log },
            Ok(_) => anyhow::bail!("-: it is no log of Postfix"),
            Err(unknown) => anyhow::bail!("-: {unknown}"),
        };
        self.followed.send_replace(stop.clone());
        let text = if stop.is_some() {
            "-: the log of Postfix, followed to its end"
        } else {
            "-: a log of postfix, packed by gzip"
        };
        self.progress.say(diagnostics, text)?;
        Ok(Some(Opened {
            source,
            form,
            from: Position::default(),
            id: None,
            faults: Faults::default(),
            bytes: 0,
            written_at: None,
            stop,
        }))
    }

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
