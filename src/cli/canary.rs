//! `relaywatch canary`: how each path stands, and one sent now.

use std::{io::Write, path::Path, time::Duration};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{Exit, Format, open, progress::Progress};
use crate::{
    clock::Clock,
    config::{Canary, CanaryPath, Config},
    control::SendCanary,
    daemon::canary::{setup::reading_lasts, trials},
    model::Timestamp,
    sources::canary::{
        CanaryId, Kind, Reader, Status, Trial, Trials, Verdict, judge,
        trial::{Hindrance, Sending},
    },
    store::Store,
};

/// How often the store is asked whether it has come.
const LOOK: Duration = Duration::from_millis(500);

/// Canaries: marked messages to relay addresses of your own, and whether they arrive.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  relaywatch canary list                     how each path stands
  relaywatch canary send ses-orders          send one now, and wait for it
  relaywatch canary send --format json       one on each path

The daemon sends them by itself, as [[canary]] says; docs/canaries.md tells how to set them up and
what they can't tell.")]
pub struct CanaryCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the paths: the last canary, its delay, how many are missing, whether the mailbox is read.
    #[command(after_help = "Examples:
  relaywatch canary list
  relaywatch canary list --format json

Exit code: 0 where every path is well, or was not tried yet; 1 where one loses or refuses mail,
or nobody can tell.")]
    List(List),
    /// Send a canary now, within the budget, and wait until it has arrived or its time is over.
    #[command(after_help = "Examples:
  relaywatch canary send ses-orders
  relaywatch canary send --format json

Needs the daemon, which sends it and reads the mailbox.

Exit code: 0 where all arrived; 1 where one was refused, is missing, or could not be sent.")]
    Send(Send),
}

#[derive(Debug, Args)]
struct List {
    /// For people, or one JSON object a line.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
struct Send {
    /// The path; without it, all.
    #[arg(value_name = "PATH")]
    path: Option<String>,
    /// For people, or one JSON object a line.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl CanaryCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// Where the configuration or the store can't be read, the daemon can't be reached, or a writer fails.
    pub fn run(&self, file: Option<&Path>, out: &mut impl Write, diagnostics: &mut impl Write) -> anyhow::Result<Exit> {
        let config = open::config(file)?;
        open::block_on(async {
            if config.canary.is_empty() {
                writeln!(diagnostics, "relaywatch: no canary is configured; docs/canaries.md tells how to set one up")?;
                return Ok(Exit::Success);
            }
            match &self.action {
                Action::List(list) => list.run(&config, out).await,
                Action::Send(send) => send.run(&config, out, diagnostics).await,
            }
        })
    }
}

/// All paths with their mailboxes.
fn paths(config: &Config) -> impl Iterator<Item = (&Canary, &CanaryPath)> {
    config.canary.iter().flat_map(|canary| canary.path.iter().map(move |path| (canary, path)))
}

/// A path, as it is told.
#[derive(Debug, Serialize)]
struct Told<'a> {
    path: &'a str,
    mailbox: &'a str,
    provider: &'a str,
    team: &'a str,
    represents: &'a str,
    not_represented: &'a str,
    #[serde(flatten)]
    verdict: Verdict,
    proven_misses: usize,
    reader_read_at: Option<Timestamp>,
    reader_healthy: bool,
    last: Option<ToldTrial<'a>>,
    last_arrived: Option<ToldTrial<'a>>,
}

/// One canary, as it is told.
#[derive(Debug, Serialize)]
struct ToldTrial<'a> {
    canary: CanaryId,
    sent_at: String,
    status: Status,
    delay_millis: Option<i64>,
    folder: Option<&'a str>,
    junk: Option<bool>,
    from_rewritten: Option<bool>,
    authentication_results: &'a [String],
    refusal: Option<&'a crate::sources::canary::Refusal>,
    unsent: Option<Hindrance>,
}

impl<'a> ToldTrial<'a> {
    fn of(trial: &'a Trial, now: Timestamp) -> Self {
        let arrival = trial.arrival.as_ref();
        let (refusal, unsent) = match &trial.sending {
            Sending::Refused(refusal) => (Some(refusal), None),
            Sending::Unsent(why) => (None, Some(*why)),
            Sending::Unknown | Sending::Accepted => (None, None),
        };
        Self {
            canary: trial.record.canary,
            sent_at: trial.record.sent_at.to_string(),
            status: trial.status(now),
            delay_millis: trial.delay(),
            folder: arrival.map(|arrival| arrival.folder.as_str()),
            junk: arrival.map(|arrival| arrival.junk),
            from_rewritten: arrival.map(|arrival| arrival.rewritten),
            authentication_results: arrival.map(|arrival| arrival.results.as_slice()).unwrap_or_default(),
            refusal,
            unsent,
        }
    }

    /// The same in a few words.
    fn says(&self) -> String {
        let what = match (self.status, self.refusal, self.unsent) {
            (Status::Arrived | Status::Late, ..) => {
                let seconds = self.delay_millis.unwrap_or(0) / 1_000;
                let late = if self.status == Status::Late { ", late" } else { "" };
                let junk = if self.junk == Some(true) { " (junk)" } else { "" };
                format!("arrived in {}{junk} after {seconds} s{late}", self.folder.unwrap_or_default())
            }
            (Status::Refused, Some(refusal), _) if refusal.reply.is_empty() => {
                format!("refused, as a feed reports: {}", refusal.cause)
            }
            (Status::Refused, Some(refusal), _) => format!("refused ({}): {}", refusal.cause, refusal.reply),
            (Status::Unsent, _, Some(why)) => match why {
                Hindrance::Unreachable => "not sent: the server can't be reached".to_owned(),
                Hindrance::Tls => "not sent: TLS can't be had, or the certificate is not trusted".to_owned(),
                Hindrance::Login => "not sent: the server does not take user and password".to_owned(),
                Hindrance::BrokenOff => "not sent: the connection broke off".to_owned(),
            },
            (Status::Missed, ..) => "accepted, and not found".to_owned(),
            (Status::Unsure, ..) => "not found; it is not known whether it left".to_owned(),
            (Status::Waiting, ..) => "on its way".to_owned(),
            (Status::Unseen, ..) => "its time is over, and nobody has looked since".to_owned(),
            (Status::Refused | Status::Unsent, ..) => "not delivered".to_owned(),
        };
        format!("{}  {what}", self.sent_at)
    }
}

/// What a verdict says.
fn says(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Untried => "not tried yet".to_owned(),
        Verdict::Arrives => "arrives".to_owned(),
        Verdict::Refused { .. } => "REFUSED".to_owned(),
        Verdict::Unsent { .. } => "NOT SENT".to_owned(),
        Verdict::Missing { misses } => format!("missing: {misses} in a row"),
        Verdict::SilentLoss { misses, since } => format!("SILENT LOSS: {misses} in a row since {since}"),
        Verdict::Blind { why: crate::sources::canary::judge::Blindness::Reader } => {
            "nobody can tell: the mailbox is not read".to_owned()
        }
        Verdict::Blind { why: crate::sources::canary::judge::Blindness::Control } => {
            "nobody can tell: no control arrives".to_owned()
        }
    }
}

impl List {
    async fn run(&self, config: &Config, out: &mut impl Write) -> anyhow::Result<Exit> {
        let (store, _) = open::reader(config).await?;
        let now = Clock::System.now();
        let trials = trials(&store, now).await?;
        let mut exit = Exit::Success;
        for (canary, path) in paths(config) {
            let told = told(&store, &trials, (canary, path), now).await?;
            if !matches!(told.verdict, Verdict::Untried | Verdict::Arrives) {
                exit = Exit::Finding;
            }
            match self.format {
                Format::Json => writeln!(out, "{}", serde_json::to_string(&told)?)?,
                Format::Text => write_told(&told, out)?,
            }
        }
        store.close().await;
        Ok(exit)
    }
}

async fn told<'a>(
    store: &Store,
    trials: &'a Trials,
    (canary, path): (&'a Canary, &'a CanaryPath),
    now: Timestamp,
) -> anyhow::Result<Told<'a>> {
    let watched = format!("{}{}", crate::monitor::blind::CANARY, canary.name);
    let lasts = reading_lasts(i64::from(canary.imap.poll_seconds) * 1_000);
    let reader = Reader { read_at: store.sign_of_life(&watched).await?, lasts };
    let own = trials.of_path(Kind::Relay, &path.name);
    let state = judge(&own, &trials.of_path(Kind::Control, &canary.name), reader, now);
    Ok(Told {
        path: &path.name,
        mailbox: &canary.name,
        provider: &path.provider,
        team: &path.team,
        represents: &path.represents,
        not_represented: &path.not_represented,
        proven_misses: state.misses.len(),
        verdict: state.verdict,
        reader_read_at: reader.read_at,
        reader_healthy: reader.is_healthy(now),
        last: state.last.map(|trial| ToldTrial::of(trial, now)),
        last_arrived: state.arrived.map(|trial| ToldTrial::of(trial, now)),
    })
}

fn write_told(told: &Told<'_>, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "{}  {}", told.path, says(&told.verdict))?;
    writeln!(out, "  stands for      {} ({}, team {})", told.represents, told.provider, told.team)?;
    writeln!(out, "  not for         {}", told.not_represented)?;
    if let Some(last) = &told.last {
        writeln!(out, "  last            {}", last.says())?;
    }
    let canary = |told: &ToldTrial<'_>| told.canary;
    if let Some(arrived) =
        told.last_arrived.as_ref().filter(|arrived| told.last.as_ref().map(canary) != Some(arrived.canary))
    {
        writeln!(out, "  last arrival    {}", arrived.says())?;
    }
    let read = match (told.reader_read_at, told.reader_healthy) {
        (None, _) => "never read".to_owned(),
        (Some(at), true) => format!("read at {at}"),
        (Some(at), false) => format!("NOT READ since {at}"),
    };
    writeln!(out, "  mailbox         {}, {read}\n", told.mailbox)
}

impl Send {
    async fn run(&self, config: &Config, out: &mut impl Write, diagnostics: &mut impl Write) -> anyhow::Result<Exit> {
        let wanted: Vec<&CanaryPath> = paths(config)
            .map(|(_, path)| path)
            .filter(|path| self.path.as_ref().is_none_or(|name| path.name == *name))
            .collect();
        if wanted.is_empty() {
            let names: Vec<&str> = paths(config).map(|(_, path)| path.name.as_str()).collect();
            writeln!(diagnostics, "relaywatch: there is no such path; there are: {}", names.join(", "))?;
            return Ok(Exit::Misuse);
        }
        let writer = open::writer(config).await?;
        let mut exit = Exit::Success;
        let mut sent = Vec::new();
        for path in wanted {
            match writer.call(SendCanary { path: path.name.clone() }).await {
                Ok(answer) => sent.push((path, answer)),
                Err(error) => {
                    writeln!(diagnostics, "relaywatch: {}: not sent: {error}", path.name)?;
                    exit = Exit::Finding;
                }
            }
        }
        writer.close().await;
        if sent.is_empty() {
            return Ok(exit);
        }
        let (store, _) = open::reader(config).await?;
        let mut progress = Progress::new();
        while !sent.is_empty() {
            let now = Clock::System.now();
            let trials = trials(&store, now).await?;
            let ended = |id: CanaryId| {
                let trial = trials.get(id)?;
                (!matches!(trial.status(now), Status::Waiting | Status::Unseen)).then_some(trial)
            };
            for (path, answer) in sent.extract_if(.., |(_, answer)| ended(answer.canary).is_some()) {
                let Some(trial) = ended(answer.canary) else { continue };
                let told = ToldTrial::of(trial, now);
                progress.end();
                match self.format {
                    Format::Json => {
                        let mut told = serde_json::to_value(&told)?;
                        if let Some(told) = told.as_object_mut() {
                            told.insert("path".to_owned(), path.name.clone().into());
                            told.insert("not_represented".to_owned(), path.not_represented.clone().into());
                        }
                        writeln!(out, "{told}")?;
                    }
                    Format::Text => {
                        writeln!(out, "{}  {}\n  not for         {}", path.name, told.says(), path.not_represented)?;
                    }
                }
                out.flush()?;
                if !matches!(told.status, Status::Arrived | Status::Late) {
                    exit = Exit::Finding;
                }
            }
            // Nobody reads the mailbox: what has not been seen by then is not waited for.
            let overdue = |(_, answer): &(_, crate::control::CanarySent)| {
                now.millis_since(answer.due) > reading_lasts(crate::model::MINUTE_MILLIS)
            };
            for (path, _) in sent.extract_if(.., |one| overdue(one)) {
                writeln!(
                    diagnostics,
                    "relaywatch: {}: its time is over, and nobody has read the mailbox since",
                    path.name
                )?;
                exit = Exit::Finding;
            }
            if let Some((_, first)) = sent.first() {
                progress.show(|| {
                    let since = now.millis_since(first.sent_at).max(0) / 1_000;
                    let left = first.due.millis_since(now).max(0) / 1_000;
                    format!("{} on their way for {since} s; looked for {left} s more", sent.len())
                });
                tokio::time::sleep(LOOK).await;
            }
        }
        progress.end();
        store.close().await;
        Ok(exit)
    }
}
