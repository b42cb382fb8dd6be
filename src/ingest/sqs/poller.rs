//! The loop: ask, commit, delete.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use rand::RngExt as _;
use tokio::{sync::watch, task::JoinSet, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{
    Settings,
    decode::{CONFIRMATION, decode, poison},
    queue::{BATCH, HIDDEN_SECONDS, Message, Queue, parted, without},
    trouble::Trouble,
};
use crate::ingest::{
    intake::FeedName,
    reception::{NotTaken, Reception, Refused, Setup},
    workers::unless_it_breaks,
};

/// How often messages are hidden anew while they are held: two such requests may fail before others can see them.
const HIDE_EVERY: Duration = Duration::from_secs(10);
/// How many ask at a time while the queue is full.
const HELPERS: usize = 3;
/// How often a deletion is tried. What can't be deleted comes again, and changes nothing.
const DELETIONS: u32 = 5;
/// How often a message is passed over while others of its batch are committed, before it is let go.
const PASSED_OVER: u32 = 3;
/// The first wait after something failed; each is twice as long as the one before …
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// … up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How long an answer is waited for after the word to stop.
const GRACE: Duration = Duration::from_secs(1);
/// The least time between two requests that bring nothing.
const IDLE: Duration = Duration::from_millis(500);

/// How long to wait after the nth failure in a row: twice as long each time, less up to half of it by chance, so that many
/// processes do not come back at once.
fn wait_after(failures: u32) -> Duration {
    let longest = FIRST_WAIT.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_WAIT);
    longest.mul_f64(rand::rng().random_range(0.5..=1.0))
}

/// Asks one queue. Clones share everything.
#[derive(Debug, Clone)]
pub(super) struct Poller {
    queue: Queue,
    wait: Duration,
    campaign_tag: Option<Arc<str>>,
    feed: Arc<FeedName>,
    reception: Reception,
    stop: CancellationToken,
    /// Whether the last answer was as full as it could be, so that there is work for helpers.
    full: Arc<watch::Sender<bool>>,
}

impl Poller {
    pub(super) fn new(
        settings: &Settings,
        queue: Queue,
        feed: FeedName,
        reception: Reception,
        stop: CancellationToken,
    ) -> Self {
        Self {
            queue,
            wait: Duration::from_secs(u64::from(settings.wait_seconds)),
            campaign_tag: settings.campaign_tag.as_deref().map(Into::into),
            feed: Arc::new(feed),
            reception,
            stop,
            full: Arc::new(watch::Sender::new(false)),
        }
    }

    /// Asks until it is told to stop; then what is committed is deleted, and what is held is shown to others again.
    pub(super) async fn run(self) {
        let mut tasks = JoinSet::new();
        for _ in 0..HELPERS {
            tasks.spawn(self.clone().work(true));
        }
        tasks.spawn(self.work(false));
        while let Some(ended) = tasks.join_next().await {
            passed_on(ended);
        }
    }

    /// One that asks. A helper does so only while the queue brings full batches.
    async fn work(self, helper: bool) {
        let (mut held, mut failures) = (Vec::new(), 0);
        while !self.stop.is_cancelled() {
            if helper && held.is_empty() && !self.called().await {
                break;
            }
            if held.len() < BATCH && !self.fetch(&mut held, &mut failures, helper).await {
                continue;
            }
            if !held.is_empty() {
                self.settle(&mut held, &mut failures).await;
            }
        }
        if !held.is_empty()
            && let Err(trouble) = self.queue.hide(&held, 0).await
        {
            // They show themselves when their time has run out.
            self.note(&trouble);
        }
    }

    /// Waits until the queue brings full batches; gives false where it is told to stop first.
    async fn called(&self) -> bool {
        let mut full = self.full.subscribe();
        self.unless_stopped(full.wait_for(|full| *full)).await.is_some()
    }

    /// Adds what the queue has to what is held. Gives whether there is anything to go on with.
    async fn fetch(&self, held: &mut Vec<Message>, failures: &mut u32, helper: bool) -> bool {
        let room = BATCH - held.len();
        // Beside what waits for the store, and for a helper, there is something or not.
        let wait = if held.is_empty() && !helper { self.wait } else { Duration::ZERO };
        let began = Instant::now();
        let Some(answer) = self.answered(self.queue.receive(room, wait)).await else { return false };
        match answer {
            Ok(messages) => {
                self.reception.reached(&self.feed.name);
                if held.is_empty() {
                    *failures = 0;
                    self.full.send_replace(messages.len() == room);
                }
                if messages.is_empty() && held.is_empty() && began.elapsed() < IDLE {
                    self.pause(IDLE).await;
                }
                held.extend(messages);
            }
            Err(trouble) => {
                self.note(&trouble);
                self.reception.unreachable(&self.feed.name);
                if held.is_empty() {
                    self.full.send_replace(false);
                    *failures += 1;
                    self.pause(wait_after(*failures)).await;
                }
            }
        }
        !held.is_empty()
    }

    /// Brings what is held into the store, and deletes what is committed. Where nothing of it is, the store is away: all of it
    /// stays held, for another attempt after a while. What is passed over again and again while others are committed is let go, to
    /// be handed out again or, in the end, to go where the queue's redrive policy says: the store may not take what is in it.
    async fn settle(&self, held: &mut Vec<Message>, failures: &mut u32) {
        let (taken, lost) = self.hiding(held, self.take(held)).await;
        let (done, mut rest) = parted(std::mem::take(held), &taken);
        let late = if taken.is_empty() {
            *failures += 1;
            rest = without(rest, &lost);
            self.hiding(&rest, self.pause(wait_after(*failures))).await.1
        } else {
            *failures = 0;
            for message in &mut rest {
                message.passed_over += 1;
            }
            rest.retain(|message| message.passed_over < PASSED_OVER);
            self.hiding(&rest, self.delete(done)).await.1
        };
        *held = without(rest, &late);
    }

    /// Hands messages in; gives the places of those that are committed.
    async fn take(&self, messages: &[Message]) -> HashSet<usize> {
        let setup = self.reception.setup();
        let mut tasks = JoinSet::new();
        for (place, message) in messages.iter().enumerate() {
            let (poller, setup, body) = (self.clone(), Arc::clone(&setup), message.body.clone());
            tasks.spawn(async move { (place, poller.take_one(&setup, &body).await) });
        }
        let mut taken = HashSet::new();
        while let Some(ended) = tasks.join_next().await {
            if let Some((place, true)) = passed_on(ended) {
                taken.insert(place);
            }
        }
        taken
    }

    async fn take_one(&self, setup: &Setup, body: &str) -> bool {
        let (began, now) = (Instant::now(), self.reception.clock().now());
        let name = self.feed.name.as_str();
        let report = unless_it_breaks(name, || decode(body, self.campaign_tag.as_deref(), now))
            .unwrap_or_else(|| poison(body, "unreadable"));
        let confirmation = report.ignored.contains(&CONFIRMATION);
        let outcome = self.reception.take(&self.feed, report, &setup.knowledge, now).await;
        self.reception.metrics().feed_duration.with_label_values(&[name]).observe(began.elapsed().as_secs_f64());
        let Err(refusal) = outcome else {
            self.reception.accepted(name);
            if confirmation && self.reception.tells(name, CONFIRMATION).is_some() {
                tracing::warn!(
                    feed = name,
                    "SNS asks the queue to confirm a subscription, which is not done for a queue: subscribe it with the \
                     credentials of the account that owns it, and SNS asks for none"
                );
            }
            return true;
        };
        let detail = match refusal {
            NotTaken::ComeAgain(_, detail) => detail,
            NotTaken::TokenReused => "the token came before with another body",
        };
        let refused = Refused { reason: refusal.reason(), detail, later: true, conclusive: false };
        self.reception.refused(name, refused);
        false
    }

    /// Deletes what is committed.
    async fn delete(&self, messages: Vec<Message>) {
        let mut left = messages;
        for attempt in 1..=DELETIONS {
            match self.queue.delete(left.clone()).await {
                Ok(there) if there.is_empty() => return,
                Ok(there) => left = there,
                Err(trouble) => self.note(&trouble),
            }
            if self.stop.is_cancelled() || attempt == DELETIONS {
                break;
            }
            self.pause(wait_after(attempt)).await;
        }
        let (name, count) = (self.feed.name.as_str(), left.len() as u64);
        self.reception.metrics().queue_undeleted.with_label_values(&[name]).inc_by(count);
        if self.reception.tells(name, "undeleted").is_some() {
            tracing::warn!(
                feed = name,
                count,
                "messages were committed and could not be deleted from the queue: they come again and change nothing"
            );
        }
    }

    /// Waits for something while these messages stay hidden from others; gives what came of it, and the places of those that
    /// could not be hidden any longer: SQS hides nothing for more than 12 hours.
    async fn hiding<T>(&self, messages: &[Message], something: impl Future<Output = T>) -> (T, HashSet<usize>) {
        let mut lost = HashSet::new();
        let mut something = std::pin::pin!(something);
        let mut again = tokio::time::interval_at(tokio::time::Instant::now() + HIDE_EVERY, HIDE_EVERY);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                done = &mut something => return (done, lost),
                _ = again.tick(), if !messages.is_empty() => match self.queue.hide(messages, HIDDEN_SECONDS).await {
                    Ok(gone) => lost.extend(gone),
                    Err(trouble) => self.note(&trouble),
                },
            }
        }
    }

    async fn pause(&self, duration: Duration) {
        self.unless_stopped(tokio::time::sleep(duration)).await;
    }

    /// What comes of something, unless it is told to stop first.
    async fn unless_stopped<T>(&self, something: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            () = self.stop.cancelled() => None,
            done = something => Some(done),
        }
    }

    /// What comes of a request for messages. Told to stop, it waits a little longer: what is handed out to nobody stays hidden.
    async fn answered<T>(&self, request: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = request => Some(done),
            () = async {
                self.stop.cancelled().await;
                tokio::time::sleep(GRACE).await;
            } => None,
        }
    }

    /// Counts a request that failed, and says once a minute what to do about it.
    fn note(&self, trouble: &Trouble) {
        let (name, reason) = (self.feed.name.as_str(), trouble.reason);
        self.reception.metrics().queue_failures.with_label_values(&[name, reason.as_str()]).inc();
        if let Some(count) = self.reception.tells(name, reason.as_str()) {
            tracing::warn!(
                feed = name, %reason, code = trouble.code, count, advice = reason.advice(),
                "the queue can't be asked; what is in it stays there. More of this feed and reason are counted for a minute"
            );
        }
    }
}

/// What a task gave; its panic is passed on. Nobody aborts them but the end of the program.
fn passed_on<T>(ended: Result<T, tokio::task::JoinError>) -> Option<T> {
    match ended {
        Ok(done) => Some(done),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => None,
    }
}
