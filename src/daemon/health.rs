//! What the leader looks at beside the journal itself: whether the journal is held up, whether anybody takes reports in, and
//! whether those who do judge by the same settings. Each would otherwise be noticed by nobody while it lasts.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    detect::Parameters,
    explain::BlindReason,
    ingest::alive,
    metrics::Metrics,
    model::{MINUTE_MILLIS, Timestamp},
    monitor::{
        blind::{ALL, Window, known},
        settings,
    },
    notify::{Notifiers, Page, PageKind, Severity},
    store::{Backlog, Leader, StoreError},
};

/// How often it looks.
const LOOK: Duration = Duration::from_secs(10);
/// Looks that lie further apart tell nothing of the time between them: this process, or the store, was away.
const LOOKS_APART_MILLIS: i64 = MINUTE_MILLIS / 2;
/// Rows that wait for so long above the oldest open transaction are held up.
const HELD_UP_MILLIS: i64 = MINUTE_MILLIS;
/// Without a sign of life for so long, nobody takes reports in …
const STALE_MILLIS: i64 = 2 * MINUTE_MILLIS;
/// … if the store was there for so long: longer than it takes those who find it again to give the next sign.
const WATCHED_MILLIS: i64 = 45_000;

/// Rows that wait for an older transaction.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    /// The newest row when this began.
    row: i64,
    since: Timestamp,
    told: bool,
}

/// What a reign knows of the health of the whole.
#[derive(Debug)]
pub struct Health {
    store: Leader,
    notifiers: Notifiers,
    metrics: Metrics,
    parameters: Parameters,
    /// Since when it has looked without a pause, and when it last did.
    looking: Option<(Timestamp, Timestamp)>,
    waiting: Option<Waiting>,
    /// The outage that lasts, and whether the journal was asked for one.
    outage: Option<Window>,
    asked: bool,
    /// The settings that were compared last: their version, and when.
    compared: Option<(u32, Timestamp)>,
    trouble: watch::Sender<Option<&'static str>>,
}

impl Health {
    /// Knows nothing yet. `parameters` are those that this process judges by.
    #[must_use]
    pub fn new(store: Leader, notifiers: Notifiers, metrics: Metrics, parameters: Parameters) -> Self {
        Self {
            store,
            notifiers,
            metrics,
            parameters,
            looking: None,
            waiting: None,
            outage: None,
            asked: false,
            compared: None,
            trouble: watch::Sender::new(None),
        }
    }

    /// Why no sign of life is to be given, while there is a reason.
    #[must_use]
    pub fn trouble(&self) -> watch::Receiver<Option<&'static str>> {
        self.trouble.subscribe()
    }

    /// Looks until it's told to stop.
    ///
    /// # Errors
    /// [`StoreError::NotLeading`]; a store that is away is waited for.
    pub async fn run(mut self, clock: Clock, stop: CancellationToken) -> Result<(), StoreError> {
        loop {
            match self.look(clock.now()).await {
                Ok(()) => {}
                Err(StoreError::NotLeading) => return Err(StoreError::NotLeading),
                Err(error) => {
                    // What happens meanwhile shows to nobody.
                    self.looking = None;
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "it can't be seen whether reports are taken in; trying again");
                }
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = clock.sleep(LOOK) => {}
            }
        }
    }

    /// Looks once.
    ///
    /// # Errors
    /// [`StoreError::NotLeading`], or where the store is away.
    pub async fn look(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let looking = self.looking.filter(|(_, last)| now.millis_since(*last) <= LOOKS_APART_MILLIS);
        let since = if let Some((since, _)) = looking {
            since
        } else {
            self.waiting = None;
            now
        };
        let held_up = self.look_at_journal(now).await?;
        let unattended = self.look_at_ingest(since, now).await?;
        self.compare_settings(now).await?;
        self.looking = Some((since, now));
        let trouble = match (held_up, unattended) {
            (true, _) => Some("a transaction elsewhere in the database cluster holds the journal up"),
            (false, true) => Some("no process takes reports in"),
            (false, false) => None,
        };
        self.trouble.send_replace(trouble);
        Ok(())
    }

    /// Whether rows wait for long above the oldest transaction that still runs, in whatever database of the cluster.
    async fn look_at_journal(&mut self, now: Timestamp) -> Result<bool, StoreError> {
        let Some(Backlog { settled, newest }) = self.store.backlog().await? else { return Ok(false) };
        self.waiting = match self.waiting {
            Some(waiting) if waiting.row >= settled => Some(waiting),
            _ if newest >= settled => Some(Waiting { row: newest, since: now, told: false }),
            _ => None,
        };
        let held = self.waiting.map_or(0, |waiting| now.millis_since(waiting.since));
        let held_up = held >= HELD_UP_MILLIS;
        self.metrics.journal_held_up.set(if held_up { held / 1_000 } else { 0 });
        if self.store.hold_up(held_up) && !held_up {
            tracing::info!("the journal goes on");
        }
        if held_up && let Some(waiting) = self.waiting.filter(|waiting| !waiting.told) {
            let who = self.store.oldest_writer().await?;
            let who = who.unwrap_or_else(|| "which one is not readable here: grant pg_read_all_stats".to_owned());
            tracing::error!(
                since = %waiting.since, oldest = who,
                "a transaction elsewhere in the database cluster holds the journal up: nothing new is judged until it ends; end \
                 it (pg_terminate_backend), and set idle_in_transaction_session_timeout for its role"
            );
            self.tell(held_up_page(settled, &who, waiting.since, now)).await?;
            self.waiting = Some(Waiting { told: true, ..waiting });
        }
        Ok(held_up)
    }

    /// Whether nobody takes reports in; journalled as an outage of ours from the last sign of life on.
    async fn look_at_ingest(&mut self, since: Timestamp, now: Timestamp) -> Result<bool, StoreError> {
        let Some(last) = self.store.sign_of_life(alive::NAME).await? else { return Ok(false) };
        if !self.asked {
            self.outage = lasting(&self.store, now).await?;
            self.asked = true;
        }
        if now.millis_since(last) < STALE_MILLIS {
            if self.outage.take().is_some()
                // Whoever came back has ended it already, unless the gap was too short for them.
                && let Some(open) = lasting(&self.store, now).await?
                && last > open.from
            {
                Window { until: Some(last), ..open }.journal(&self.store, Some(self.store.epoch())).await?;
            }
            return Ok(false);
        }
        if now.millis_since(since) < WATCHED_MILLIS {
            return Ok(false);
        }
        if self.outage.is_none() {
            let reason = Some(BlindReason::Outage);
            let window = Window { from: last, watched: ALL.to_owned(), reason, until: None };
            window.journal(&self.store, Some(self.store.epoch())).await?;
            self.outage = Some(window);
            tracing::error!(
                since = %last,
                "no process takes reports in: start one (serve --role ingest), or find out why none reaches the database"
            );
            self.tell(unattended_page(last, now)).await?;
        }
        Ok(true)
    }

    /// Warns where this process judges by other numbers than those that incidents name.
    async fn compare_settings(&mut self, now: Timestamp) -> Result<(), StoreError> {
        if self.compared.is_some_and(|(_, at)| now.millis_since(at) < MINUTE_MILLIS) {
            return Ok(());
        }
        let Some(journalled) = settings::latest(self.store.store(), now).await? else { return Ok(()) };
        let compared = self.compared.replace((journalled.version, now));
        if compared.is_none_or(|(version, _)| version != journalled.version)
            && journalled.settings.parameters != self.parameters
        {
            tracing::warn!(
                version = journalled.version,
                "this process judges by other [detect] settings than those that are journalled, by which a process that takes \
                 reports in was started: incidents name settings that they are not judged by; give all processes the same \
                 configuration and restart them"
            );
        }
        Ok(())
    }

    async fn tell(&self, page: Page) -> Result<(), StoreError> {
        self.store.enqueue(&self.notifiers.pages(&page)).await?;
        self.notifiers.wake().notify_one();
        Ok(())
    }
}

/// The outage of ours that lasts.
async fn lasting(store: &Leader, now: Timestamp) -> Result<Option<Window>, StoreError> {
    let outage = |window: &Window| window.watched == ALL && window.reason == Some(BlindReason::Outage);
    Ok(known(store, now).await?.into_iter().find(|window| outage(window) && window.until.is_none()))
}

fn held_up_page(settled: i64, who: &str, since: Timestamp, now: Timestamp) -> Page {
    Page {
        // The oldest transaction names the stall: another reign's page is the same one.
        key: format!("setup/journal/{settled}"),
        headline: "Nothing new is judged: a transaction elsewhere in the database cluster holds the journal up.".to_owned(),
        facts: vec![format!("The oldest writing transaction: {who}.")],
        safe_action: Some(
            "End it: SELECT pg_terminate_backend(pid); a prepared one with ROLLBACK PREPARED. All of them: SELECT pid, datname, \
             xact_start FROM pg_stat_activity WHERE backend_xid IS NOT NULL ORDER BY age(backend_xid) DESC; and SELECT * FROM \
             pg_prepared_xacts."
                .to_owned(),
        ),
        ..page("journal", since, now)
    }
}

fn unattended_page(since: Timestamp, now: Timestamp) -> Page {
    Page {
        key: format!("setup/ingest/{}", since.as_millis()),
        headline: "No process takes reports in: providers are answered by nobody, and nothing new is judged.".to_owned(),
        safe_action: Some(
            "Start a process with --role ingest, or find out why none reaches the database. Providers try again for a while; what \
             they give up is lost."
                .to_owned(),
        ),
        ..page("ingest", since, now)
    }
}

fn page(what: &str, since: Timestamp, now: Timestamp) -> Page {
    Page::of_matter((PageKind::Setup, Severity::Page), what.to_owned(), what.to_owned(), since, now)
}
