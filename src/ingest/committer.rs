//! Group commit: everything that waits goes into one transaction. Nothing waits for more to come, except for the end of a commit
//! that is under way, where too little is there to be worth a transaction beside it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{Mutex, Notify, mpsc, oneshot};

use crate::{
    metrics::Metrics,
    store::{Commit, Outcome, Store, StoreError, Submission},
};

/// Rows that are worth a transaction of their own beside one that is under way: a transaction of few rows costs several times as
/// much for each of them, on both sides.
const WORTH_ROWS: usize = 500;
/// Rows in one transaction, at most (one submission may be larger).
const MAX_ROWS: usize = 5_000;
/// Deliveries that may wait; past that the feeds say that they are overloaded.
const QUEUE: usize = 4_096;

/// Why a submission was not committed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// The store is away, full or broken.
    #[error("the store did not take it")]
    Store(#[source] Arc<StoreError>),
    /// Too many deliveries wait.
    #[error("too many deliveries wait for the store")]
    Overloaded,
    /// The process is ending.
    #[error("relaywatch is stopping")]
    Stopping,
}

struct Job {
    submission: Submission,
    done: oneshot::Sender<Result<Outcome, CommitError>>,
}

/// Hands submissions to the writers.
#[derive(Debug, Clone)]
pub struct Committer {
    queue: mpsc::Sender<Job>,
    metrics: Metrics,
}

/// Takes submissions from the queue and commits them; as many as the engine has use for.
pub struct Writer {
    queue: Arc<Mutex<mpsc::Receiver<Job>>>,
    others: Arc<UnderWay>,
    store: Store,
    metrics: Metrics,
    wake: Arc<Notify>,
}

/// The commits that are under way.
#[derive(Debug, Default)]
struct UnderWay {
    count: AtomicUsize,
    ended: Notify,
}

/// Makes a committer and its writers: one with SQLite, `postgres_writers` with PostgreSQL. They wake the monitor.
#[must_use]
pub fn committer(
    store: &Store,
    metrics: &Metrics,
    wake: &Arc<Notify>,
    postgres_writers: usize,
) -> (Committer, Vec<Writer>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let queue = Arc::new(Mutex::new(receiver));
    let others = Arc::new(UnderWay::default());
    let count = match store {
        Store::Sqlite(_) => 1,
        Store::Postgres(_) => postgres_writers.max(1),
    };
    let writers = (0..count)
        .map(|_| Writer {
            queue: Arc::clone(&queue),
            others: Arc::clone(&others),
            store: store.clone(),
            metrics: metrics.clone(),
            wake: Arc::clone(wake),
        })
        .collect();
    (Committer { queue: sender, metrics: metrics.clone() }, writers)
}

impl Committer {
    /// Commits a submission together with whatever else waits; returns when it's durable.
    ///
    /// # Errors
    /// Where the store does not take it, too many wait, or the process is ending: nothing is stored then.
    pub async fn commit(&self, submission: Submission) -> Result<Outcome, CommitError> {
        let (done, answer) = oneshot::channel();
        self.queue.try_send(Job { submission, done }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => CommitError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => CommitError::Stopping,
        })?;
        let _waiting = Waiting::new(&self.metrics);
        answer.await.unwrap_or(Err(CommitError::Stopping))
    }
}

/// Counts a delivery that waits, also where the client goes away meanwhile.
struct Waiting<'a>(&'a Metrics);

impl<'a> Waiting<'a> {
    fn new(metrics: &'a Metrics) -> Self {
        metrics.commit_waiting.inc();
        Self(metrics)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.commit_waiting.dec();
    }
}

impl Writer {
    /// Commits until every [`Committer`] is gone and the queue is empty.
    pub async fn run(self) {
        loop {
            // One writer gathers at a time; the others commit meanwhile.
            let jobs = {
                let mut queue = self.queue.lock().await;
                let Some(first) = queue.recv().await else { return };
                let mut rows = first.submission.weight();
                let mut jobs = vec![first];
                while rows < WORTH_ROWS && self.others.count.load(Ordering::SeqCst) > 0 {
                    tokio::select! {
                        biased;
                        job = queue.recv() => {
                            let Some(job) = job else { break };
                            rows += job.submission.weight();
                            jobs.push(job);
                        }
                        // One that ended before somebody waited for it is noticed here as well: then this goes a little early.
                        () = self.others.ended.notified() => break,
                    }
                }
                while rows < MAX_ROWS
                    && let Ok(job) = queue.try_recv()
                {
                    rows += job.submission.weight();
                    jobs.push(job);
                }
                self.others.count.fetch_add(1, Ordering::SeqCst);
                jobs
            };
            self.commit(jobs).await;
            self.others.count.fetch_sub(1, Ordering::SeqCst);
            self.others.ended.notify_one();
        }
    }

    async fn commit(&self, jobs: Vec<Job>) {
        let (submissions, answers): (Vec<Submission>, Vec<_>) =
            jobs.into_iter().map(|job| (job.submission, job.done)).unzip();
        match self.write(&submissions).await {
            Ok(commit) => {
                for (done, outcome) in answers.into_iter().zip(commit.outcomes) {
                    // Whoever asked may have gone; what is durable stays so.
                    drop(done.send(Ok(outcome)));
                }
                self.wake.notify_one();
            }
            Err(error) if submissions.len() > 1 && is_about_the_rows(&error) => {
                // Something in the batch is wrong. Alone, only the one that is wrong fails.
                for (done, submission) in answers.into_iter().zip(&submissions) {
                    let outcome = self.write(std::slice::from_ref(submission)).await;
                    let outcome = match outcome {
                        Ok(commit) => commit.outcomes.first().copied().ok_or(CommitError::Stopping),
                        Err(error) => Err(CommitError::Store(Arc::new(error))),
                    };
                    drop(done.send(outcome));
                }
                self.wake.notify_one();
            }
            Err(error) => {
                let error = Arc::new(error);
                for done in answers {
                    drop(done.send(Err(CommitError::Store(Arc::clone(&error)))));
                }
            }
        }
    }

    async fn write(&self, batch: &[Submission]) -> Result<Commit, StoreError> {
        let timer = self.metrics.commit_duration.start_timer();
        let done = self.store.commit(batch).await;
        timer.observe_duration();
        match &done {
            Ok(commit) => {
                #[expect(clippy::cast_precision_loss, reason = "a count of rows, far below 2^52")]
                self.metrics.commit_rows.observe((commit.added + commit.repeated) as f64);
                self.metrics.rows_added.inc_by(commit.added);
                self.metrics.rows_repeated.inc_by(commit.repeated);
            }
            Err(error) => {
                self.metrics.commit_failures.inc();
                tracing::error!(
                    error = error as &dyn std::error::Error,
                    "a commit failed; the feeds will be sent it again"
                );
            }
        }
        done
    }
}

/// Whether something in the batch is wrong, rather than the store away, locked, full or closing: only then is it worth
/// the time to try each submission alone.
fn is_about_the_rows(error: &StoreError) -> bool {
    match error {
        StoreError::Database(sqlx::Error::Database(error)) => error.code().is_some_and(|code| match code.len() {
            // PostgreSQL's classes: data exception, integrity constraint violation, program limit exceeded.
            5 => ["22", "23", "54"].iter().any(|class| code.starts_with(class)),
            // SQLite's primary codes in the low byte: too big, constraint, mismatch.
            _ => code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 18..=20)),
        }),
        StoreError::Database(error) => matches!(error, sqlx::Error::Encode(_)),
        _ => true,
    }
}
