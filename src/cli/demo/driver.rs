//! Steps the clock, sends what is due, waits until the monitor has caught up.

use std::{
    io::Write,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    CaseReport, Incident, Page,
    providers::{Connections, Providers},
    sink::Sink,
    stage,
};
use crate::{
    clock::{Clock, ManualClock},
    daemon::{self, Daemon},
    incident::Body,
    lifecycle::{Ending, Lifecycle, Signals, Supervisor},
    model::{Address, HOUR_MILLIS, MINUTE_MILLIS, Provider, Timestamp},
    monitor::Progress,
    privacy::Purpose,
    simulate::{APP, Account, Plan, Post, TEAM, What},
    store::{IncidentState, NewAccount, OutboxDepth, Recipient, Store, Subject},
};

/// How often it is looked whether pages have left.
const LOOK_FOR_PAGES: Duration = Duration::from_millis(2);
/// How long the monitor may make no headway at all.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long the daemon may take to stop.
const DRAIN: Duration = Duration::from_secs(20);
/// Accounts that are imported at a time.
const ACCOUNTS: usize = 2_000;
/// The clock's step in ordinary weeks.
const STEP: i64 = 4 * HOUR_MILLIS;
/// The same where reports come in SNS's envelopes, which may be an hour old.
const SNS_STEP: i64 = HOUR_MILLIS;
/// The clock's step where something is about to happen.
const CLOSE_STEP: i64 = MINUTE_MILLIS;
/// The clock's step two hours after the turning point.
const FOLLOW_UP_STEP: i64 = 5 * MINUTE_MILLIS;
/// How many steps of ordinary weeks may pass before the monitor is waited for.
const STEPS_AHEAD: u32 = 6;

/// Runs one case in `folder` and says what it has come to. Pages are written to `out` as they come.
///
/// # Errors
/// Where the simulation itself can't run; what relaywatch makes of it is in the report.
pub async fn run_case(plan: &Plan, folder: &Path, signals: Signals, out: &mut dyn Write) -> anyhow::Result<CaseReport> {
    let clock = ManualClock::new(plan.start);
    let sink = Sink::start(clock.clone()).await?;
    let providers = Arc::new(Providers::new()?);
    let config = stage::lay_out(plan, folder, &providers, &sink.url())?;
    let mut lifecycle = Lifecycle::new(signals, Supervisor::none(), DRAIN);
    let daemon = daemon::start(config, daemon::Role::All, Clock::Manual(clock.clone()), &mut lifecycle, None).await?;
    let stop = lifecycle.tasks().soft();
    let running = tokio::spawn(async move { lifecycle.run("demo").await });

    let connections = Connections::new(daemon.public.context("the daemon has no public listener")?);
    let progress = daemon.progress.clone();
    let mut driver =
        Driver { plan, daemon, clock, sink, providers, connections, progress, stop, expected: 0, shown: 0 };
    let result = driver.drive(out).await;
    let Driver { daemon, connections, stop, .. } = driver;
    // Open connections would be waited for.
    drop(connections);
    stop.cancel();
    let ended = running.await.context("the daemon has crashed")?;
    daemon.store.close().await;
    let report = result?;
    if ended.context("the daemon has failed")? != Ending::Drained {
        bail!("the daemon did not drain");
    }
    Ok(report)
}

struct Driver<'a> {
    plan: &'a Plan,
    daemon: Daemon,
    clock: ManualClock,
    sink: Sink,
    providers: Arc<Providers>,
    connections: Connections,
    progress: watch::Receiver<Progress>,
    stop: CancellationToken,
    /// Outcomes sent so far that the journal holds as rows of their own, each counted once.
    expected: u64,
    /// Pages shown so far.
    shown: usize,
}

impl Driver<'_> {
    async fn drive(&mut self, out: &mut dyn Write) -> anyhow::Result<CaseReport> {
        let plan = self.plan;
        writeln!(
            out,
            "\n{}: {} posts from {}; the turning point is {}",
            plan.case,
            plan.posts.len(),
            plan.start,
            plan.turning_point
        )?;
        out.flush()?;
        let began = Instant::now();
        let mut rest = plan.posts.as_slice();
        let mut ahead = 0;
        while self.clock.now() < plan.end {
            let now = self.next_stop(self.clock.now());
            self.clock.advance_to(now);
            let due;
            (due, rest) = rest.split_at(rest.partition_point(|post| post.at <= now));
            self.send(due).await?;
            ahead += 1;
            if now >= plan.close_look || ahead >= STEPS_AHEAD {
                self.settle().await?;
                ahead = 0;
            }
            self.show(out)?;
        }
        let sent_in = began.elapsed();
        self.settle().await?;
        let lag = began.elapsed().saturating_sub(sent_in);
        let counts = self.daemon.store.row_counts().await?;
        let rows = |table: &str| counts.iter().find(|(name, _)| *name == table).map_or(0, |(_, rows)| *rows);
        writeln!(
            out,
            "  {} outcomes, {} other entries, {} cells, {} accounts in {:.1} s; the monitor was {} ms behind at the end",
            rows("event"),
            rows("entry"),
            rows("cell"),
            rows("account"),
            sent_in.as_secs_f64(),
            lag.as_millis()
        )?;
        out.flush()?;
        let pages = self.sink.since(0);
        let incidents = incidents(&self.daemon.store).await?;
        let journalled = u64::try_from(rows("event")).unwrap_or(0);
        Ok(CaseReport::new(&plan.truth, (self.expected, journalled), &pages, &incidents))
    }

    /// Where the clock stops next: by hours in ordinary weeks, by the minute where something is about to happen.
    fn next_stop(&self, now: Timestamp) -> Timestamp {
        if now < self.plan.close_look {
            let step = if self.plan.sender.provider == Provider::Ses { SNS_STEP } else { STEP };
            now.plus_millis(step).min(self.plan.close_look)
        } else {
            let follow_up = now >= self.plan.turning_point.plus_millis(2 * HOUR_MILLIS);
            let step = if follow_up { FOLLOW_UP_STEP } else { CLOSE_STEP };
            now.plus_millis(step).min(self.plan.end)
        }
    }

    async fn send(&mut self, due: &[Post]) -> anyhow::Result<()> {
        if self.stop.is_cancelled() {
            bail!("interrupted");
        }
        for post in due {
            if let What::Accounts(rows) = &post.what {
                import(&self.daemon, rows).await?;
            }
            if !post.repeated {
                let rows = post.what.outcomes().iter().filter(|outcome| outcome.is_journalled()).count();
                self.expected += rows as u64;
            }
        }
        self.connections.send(&self.providers, due.into()).await
    }

    /// Waits until the monitor has folded and judged everything that was sent.
    async fn settle(&mut self) -> anyhow::Result<()> {
        let expected = self.expected;
        loop {
            let before = *self.progress.borrow_and_update();
            if before.settled >= expected {
                return self.pages_sent().await;
            }
            let moved = tokio::select! {
                () = self.stop.cancelled() => bail!("interrupted"),
                moved = tokio::time::timeout(PATIENCE, self.progress.changed()) => moved,
            };
            moved
                .with_context(|| format!("the monitor stands still at {} of {expected} outcomes", before.folded))?
                .context("the monitor has ended")?;
        }
    }

    /// Waits until every page has left, so that it is dated by the time at which it was decided.
    async fn pages_sent(&self) -> anyhow::Result<()> {
        let sent = async {
            // What the hourly limit holds back is not due and is not waited for.
            let due = |depth: OutboxDepth| depth.oldest_due.is_some_and(|due| due <= self.clock.now());
            while due(self.daemon.store.outbox_depth().await?) {
                tokio::time::sleep(LOOK_FOR_PAGES).await;
            }
            Ok::<(), anyhow::Error>(())
        };
        tokio::time::timeout(PATIENCE, sent).await.context("a page does not leave")?
    }

    fn show(&mut self, out: &mut dyn Write) -> anyhow::Result<()> {
        for page in self.sink.since(self.shown) {
            self.shown += 1;
            write_page(&page, out)?;
            out.flush()?;
        }
        Ok(())
    }
}

fn write_page(page: &Page, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "  {}  {}", page.at, page.title)?;
    for line in page.details.iter().flat_map(|text| text.lines()) {
        writeln!(out, "      {line}")?;
    }
    Ok(())
}

/// Brings the company's own table of users into the account map.
async fn import(daemon: &Daemon, rows: &[Account]) -> anyhow::Result<()> {
    for rows in rows.chunks(ACCOUNTS) {
        let accounts = rows.iter().map(|row| account(daemon, row)).collect::<anyhow::Result<Vec<_>>>()?;
        daemon.store.import_accounts(&accounts).await?;
    }
    Ok(())
}

fn account(daemon: &Daemon, row: &Account) -> anyhow::Result<NewAccount> {
    let address = Address::parse(&row.address)?;
    let hash = |purpose, parts: &[&[u8]]| daemon.keyring.hash(purpose, parts);
    Ok(NewAccount {
        subject: Subject {
            hash: hash(Purpose::Subject, &[TEAM.as_bytes(), row.subject.as_bytes()]),
            team: TEAM.to_owned(),
            subject: row.subject.clone(),
        },
        address: Some(Recipient { hash: hash(Purpose::Address, &[address.key().as_bytes()]), address }),
        app: Some(APP.to_owned()),
        signed_up_at: Some(row.signed_up_at),
        mark: None,
    })
}

/// What relaywatch says of the incidents in its store.
async fn incidents(store: &Store) -> anyhow::Result<Vec<Incident>> {
    let standing = [IncidentState::Open, IncidentState::Closed, IncidentState::Masked];
    let found = store.incidents(&standing, 100).await?;
    found
        .iter()
        .map(|record| {
            let body = Body::from_record(record)?;
            Ok(Incident {
                onset: record.onset,
                cause: body.named.map(|cause| cause.to_string()),
                share_explained: body.share_explained.map(|(share, _, _)| share),
            })
        })
        .collect()
}
