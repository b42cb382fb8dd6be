//! From start to exit: tasks that must not die, signals, draining, reloading, and what systemd hears of it.
//!
//! Two tokens order every task. The *soft* one means: take nothing new, finish what is begun, flush, return. The *hard* one, its
//! parent, means: return now. The first SIGTERM or SIGINT cancels the soft token; a second one, or a drain that takes too
//! long, cancels the hard one. A task that ends before it was asked to takes the whole process down, since a daemon that
//! runs without its detector or its feeds is worse than one that its supervisor starts again.

mod reload;
mod signals;
mod supervisor;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::{
    reload::{Commit, Preparing, Reload, ReloadError},
    signals::{Signal, Signals},
    supervisor::Supervisor,
};

/// Any error that a task or a reload can give.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How long a drain may take unless the configuration says otherwise (`lifecycle.drain_seconds`).
pub const DEFAULT_DRAIN: Duration = Duration::from_mins(1);
/// How long tasks have to return once the hard token is cancelled.
pub const LAST_WAIT: Duration = Duration::from_secs(5);
/// How long all parts together may take to prepare a reload.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How a process ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Every task finished what it had begun.
    Drained,
    /// Tasks were told to return at once, and did.
    Hard,
}

/// Why a process ended in failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LifecycleError {
    /// A critical task ended before it was asked to.
    #[error("the task {name:?} {reason}")]
    TaskFailed {
        /// The task's name.
        name: Arc<str>,
        /// How it ended.
        reason: TaskFailure,
    },
    /// Tasks went on after the last wait; the process ends without them.
    #[error("these tasks did not stop in time and were cut off: {}", .names.join(", "))]
    TasksRemain {
        /// Their names, in the order of their start.
        names: Vec<Arc<str>>,
    },
}

/// How a critical task failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskFailure {
    /// It returned an error; the text of it and of its causes.
    Error(String),
    /// It returned although nobody had asked it to stop.
    Returned,
    /// It panicked. The panic's text is on stderr.
    Panicked,
}

impl fmt::Display for TaskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(text) => write!(f, "failed: {text}"),
            Self::Returned => f.write_str("returned although it should run until shutdown"),
            Self::Panicked => f.write_str("panicked"),
        }
    }
}

/// Starts critical tasks and shows their tokens. Clones share everything.
#[derive(Debug, Clone)]
pub struct Tasks {
    hard: CancellationToken,
    soft: CancellationToken,
    tracker: TaskTracker,
    book: Arc<Mutex<Book>>,
}

/// Who runs, and who failed.
#[derive(Debug, Default)]
struct Book {
    next: u64,
    running: Vec<(u64, Arc<str>)>,
    failed: Option<(Arc<str>, TaskFailure)>,
}

impl Tasks {
    fn new() -> Self {
        let hard = CancellationToken::new();
        let soft = hard.child_token();
        Self { hard, soft, tracker: TaskTracker::new(), book: Arc::default() }
    }

    /// Cancelled when the process drains: take nothing new, finish what is begun, return.
    #[must_use]
    pub fn soft(&self) -> CancellationToken {
        self.soft.clone()
    }

    /// Cancelled when the process ends: return now.
    #[must_use]
    pub fn hard(&self) -> CancellationToken {
        self.hard.clone()
    }

    /// Starts a task without which the process has no business running.
    ///
    /// Where it returns an error, returns before the soft token is cancelled, or panics, the process drains and
    /// [`Lifecycle::run`] names it. An error while draining counts too: what it was to flush is not flushed.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn_critical<E: Into<BoxError> + Send + 'static>(
        &self,
        name: impl Into<Arc<str>>,
        future: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let name = name.into();
        let id = {
            let mut book = self.book();
            book.next += 1;
            let id = book.next;
            book.running.push((id, Arc::clone(&name)));
            id
        };
        // The task proper is a task of its own, so that its panic arrives here as a value.
        let task = tokio::spawn(future);
        let tasks = self.clone();
        self.tracker.spawn(async move {
            let failure = match task.await {
                Ok(Ok(())) => (!tasks.soft.is_cancelled()).then_some(TaskFailure::Returned),
                Ok(Err(error)) => Some(TaskFailure::Error(with_causes(error.into().as_ref()))),
                Err(join) => join.is_panic().then_some(TaskFailure::Panicked),
            };
            tasks.ended(id, name, failure);
        });
    }

    fn ended(&self, id: u64, name: Arc<str>, failure: Option<TaskFailure>) {
        let mut book = self.book();
        book.running.retain(|(other, _)| *other != id);
        if let Some(failure) = failure {
            tracing::error!(task = %name, "a critical task {failure}; shutting down");
            // The first failure is the cause; what follows is mostly its consequence.
            book.failed.get_or_insert((name, failure));
            drop(book);
            self.soft.cancel();
        } else {
            tracing::debug!(task = %name, "a task has stopped");
        }
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error's text followed by those of its causes.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
}

/// The process from the moment its tasks are started to its exit.
pub struct Lifecycle {
    tasks: Tasks,
    signals: Signals,
    supervisor: Supervisor,
    drain: Duration,
    reload: Vec<Arc<dyn Reload>>,
    /// Why the last reload was refused; nothing after a good one.
    refused: watch::Sender<Option<String>>,
}

impl fmt::Debug for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lifecycle")
            .field("tasks", &self.tasks)
            .field("drain", &self.drain)
            .field("reload", &self.reload.iter().map(|part| part.name()).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Lifecycle {
    /// A life cycle that obeys `signals`, tells `supervisor`, and gives a drain so much time.
    #[must_use]
    pub fn new(signals: Signals, supervisor: Supervisor, drain: Duration) -> Self {
        let refused = watch::Sender::new(None);
        Self { tasks: Tasks::new(), signals, supervisor, drain, reload: Vec::new(), refused }
    }

    /// Where tasks are started and tokens are had.
    #[must_use]
    pub fn tasks(&self) -> Tasks {
        self.tasks.clone()
    }

    /// Why the last reload was refused, in one line; nothing after a good one, and before the first.
    #[must_use]
    pub fn reload_refused(&self) -> watch::Receiver<Option<String>> {
        self.refused.subscribe()
    }

    /// Registers a part that SIGHUP reloads. Parts are prepared and committed in the order in which they were registered.
    pub fn on_reload(&mut self, part: Arc<dyn Reload>) {
        self.reload.push(part);
    }

    /// Tells the service manager that the process is ready, with `status` as its status line, and stays until every task
    /// has returned or the last wait is over.
    ///
    /// # Errors
    /// Where a critical task failed, or tasks remain. The exit code is then not zero.
    pub async fn run(mut self, status: &str) -> Result<Ending, LifecycleError> {
        self.tasks.tracker.close();
        self.supervisor.ready(status);
        self.serve(status).await;
        // What can be reloaded holds the feeds, and the writers end when nobody can send them anything more.
        self.reload.clear();

        tracing::info!(seconds = self.drain.as_secs(), "draining; a second signal ends at once");
        self.supervisor.stopping("draining", self.drain + LAST_WAIT * 2);
        self.drain().await;
        let ending = if self.tasks.hard.is_cancelled() {
            self.supervisor.status("ending without waiting for requests");
            self.last_wait().await;
            Ending::Hard
        } else {
            Ending::Drained
        };

        let book = self.tasks.book();
        if let Some((name, reason)) = book.failed.clone() {
            return Err(LifecycleError::TaskFailed { name, reason });
        }
        if !book.running.is_empty() {
            return Err(LifecycleError::TasksRemain {
                names: book.running.iter().map(|(_, name)| Arc::clone(name)).collect(),
            });
        }
        Ok(ending)
    }

    /// Returns when the soft token is cancelled, by a signal or by a task that failed.
    async fn serve(&mut self, status: &str) {
        let soft = self.tasks.soft.clone();
        let mut heartbeat = self.supervisor.heartbeat();
        let mut reloading = None;
        let mut again = false;
        loop {
            tokio::select! {
                biased;
                () = soft.cancelled() => return,
                signal = self.signals.next() => match signal {
                    Signal::Terminate => soft.cancel(),
                    Signal::Reload if reloading.is_some() => again = true,
                    Signal::Reload => reloading = Some(self.start_reload()),
                },
                result = finished(&mut reloading) => {
                    self.refused.send_replace(report_reload(result));
                    self.supervisor.ready(status);
                    reloading = std::mem::take(&mut again).then(|| self.start_reload());
                }
                () = heartbeat.due() => self.supervisor.alive(),
            }
        }
    }

    fn start_reload(&self) -> Reloading {
        self.supervisor.reloading();
        let parts = self.reload.clone();
        Box::pin(async move { tokio::time::timeout(RELOAD_TIMEOUT, reload::reload_all(parts)).await.ok() })
    }

    /// Returns when every task has returned, or the hard token is cancelled.
    async fn drain(&mut self) {
        let Tasks { hard, tracker, .. } = self.tasks.clone();
        let mut heartbeat = self.supervisor.heartbeat();
        let deadline = tokio::time::sleep(self.drain);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                biased;
                () = hard.cancelled() => return,
                () = tracker.wait() => return,
                signal = self.signals.next() => match signal {
                    Signal::Terminate => {
                        tracing::warn!("a second signal: ending at once");
                        hard.cancel();
                    }
                    Signal::Reload => tracing::warn!("no reload while draining"),
                },
                () = &mut deadline => {
                    tracing::warn!(seconds = self.drain.as_secs(), "the drain took too long: ending at once");
                    hard.cancel();
                }
                () = heartbeat.due() => self.supervisor.alive(),
            }
        }
    }

    async fn last_wait(&self) {
        let mut heartbeat = self.supervisor.heartbeat();
        let deadline = tokio::time::sleep(LAST_WAIT);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                biased;
                () = self.tasks.tracker.wait() => return,
                () = &mut deadline => return,
                () = heartbeat.due() => self.supervisor.alive(),
            }
        }
    }
}

/// A reload under way; `None` where it took too long.
type Reloading = std::pin::Pin<Box<dyn Future<Output = Option<Result<usize, ReloadError>>> + Send>>;

/// The end of the reload under way; never, where there is none.
async fn finished(reloading: &mut Option<Reloading>) -> Option<Result<usize, ReloadError>> {
    match reloading {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Says in the log what came of a reload; gives why it was refused, where it was.
fn report_reload(result: Option<Result<usize, ReloadError>>) -> Option<String> {
    match result {
        Some(Ok(parts)) => {
            // What it was is said by the parts.
            tracing::debug!(parts, "every part is reloaded");
            None
        }
        Some(Err(error)) => {
            // The mistakes of a configuration were told one by one; their drawing is for people at a terminal.
            let config = error.source.downcast_ref::<crate::config::ConfigErrors>();
            let text = config.map_or_else(|| with_causes(error.source.as_ref()), crate::config::ConfigErrors::count);
            let text = text.replace('\n', "; ");
            tracing::error!(part = error.part, error = text, "reload refused; the old settings stay in force");
            Some(text)
        }
        None => {
            let seconds = RELOAD_TIMEOUT.as_secs();
            tracing::error!(seconds, "the reload took too long and was given up; the old settings stay in force");
            Some(format!("it took longer than {seconds} seconds"))
        }
    }
}
