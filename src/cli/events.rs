//! `relaywatch events`: what was taken in, as relaywatch understood it.

use std::{
    io::{self, Write},
    path::Path,
    time::Duration,
};

use clap::{Args, Subcommand, builder::TypedValueParser};

use super::{
    Exit, Format,
    entries::Entries,
    open,
    told::{Teller, Told},
};
use crate::{
    clock::Clock,
    model::{Cause, EventKind, StreamKey, Timestamp},
    store::{EventFilter, EventRecord, Store, StoreError, WordKind},
};

/// Outcomes that are read at once.
const PAGE: u32 = 500;
/// How often `tail` looks for more.
const LOOK: Duration = Duration::from_millis(500);
/// How long `tail` waits for a store that is away.
const AWAY: Duration = Duration::from_secs(2);

/// List or follow what was taken in, as relaywatch understood it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  relaywatch events list --kind refused --since 2h          refusals of the last two hours
  relaywatch events list --cause relay_sender_unregistered  what Apple refuses because of the sender
  relaywatch events list --since 7d --limit 0 --format json > events.jsonl
  relaywatch events tail --feed ses --stream news.example.com
  relaywatch events entries --kind blind-window             when feeds, or relaywatch itself, saw nothing

Addresses are shown by their random id, which tells two of them apart and no more. Apple's notices are no events: see
`relaywatch address show`.")]
pub struct EventsCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List outcomes, latest first.
    List(List),
    /// Show the latest outcomes, then those that come in, until it is stopped.
    Tail(Tail),
    /// List what else the journal holds: blind windows, settings, what operators did; latest first.
    Entries(Entries),
}

#[derive(Debug, Args)]
struct Filters {
    /// Only from this feed: `ses` (with all its names) or `ses/eu`.
    #[arg(long, value_name = "FEED")]
    feed: Option<String>,
    /// Only what happened: several with commas.
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = kinds())]
    kind: Vec<EventKind>,
    /// Only streams whose name holds this text: a domain, a provider, a campaign.
    #[arg(long, value_name = "TEXT")]
    stream: Option<String>,
    /// Only replies with this cause: several with commas.
    #[arg(long, value_name = "CAUSE", value_delimiter = ',', value_parser = causes(), hide_possible_values = true)]
    cause: Vec<Cause>,
    /// For people, or one JSON object a line.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    filters: Filters,
    /// Not before: 2026-08-09T06:00:00Z, 2026-08-09, or how long ago (30m, 2h, 7d).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before: as --since.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// How many at most; 0 for all.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
    limit: u64,
}

#[derive(Debug, Args)]
struct Tail {
    #[command(flatten)]
    filters: Filters,
    /// How many earlier ones to begin with.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(..=10_000))]
    lines: u32,
}

fn kinds() -> impl TypedValueParser<Value = EventKind> {
    clap::builder::PossibleValuesParser::new(EventKind::ALL.iter().map(|kind| kind.as_str()))
        .try_map(|text| EventKind::from_name(&text).ok_or("no such kind"))
}

fn causes() -> impl TypedValueParser<Value = Cause> {
    clap::builder::PossibleValuesParser::new(Cause::ALL.iter().map(|cause| cause.as_str()))
        .try_map(|text| Cause::from_name(&text).ok_or("no such cause"))
}

impl EventsCommand {
    /// Runs the command: outcomes go to `out`, page by page.
    ///
    /// # Errors
    /// Where the store can't be read, or a writer fails.
    pub fn run(&self, file: Option<&Path>, out: &mut impl Write, diagnostics: &mut impl Write) -> anyhow::Result<Exit> {
        let config = open::config(file)?;
        let clock = Clock::System;
        open::block_on(async {
            match &self.action {
                Action::List(list) => {
                    // Before anything is opened, so that a typing error is told at once.
                    let (since, until) = list.times(clock.now())?;
                    let (store, _) = open::reader(&config).await?;
                    list.run(&store, since, until, out).await?;
                    store.close().await;
                }
                Action::Entries(entries) => {
                    let since = entries.since(clock.now())?;
                    let (store, _) = open::reader(&config).await?;
                    entries.run(&store, since, &clock, out).await?;
                    store.close().await;
                }
                Action::Tail(tail) => {
                    let (store, _) = open::reader(&config).await?;
                    tail.run(&store, &clock, out, diagnostics).await?;
                }
            }
            Ok(Exit::Success)
        })
    }
}

impl Filters {
    fn without_words(&self) -> EventFilter {
        let some = |empty: bool| (!empty).then_some(());
        EventFilter {
            kinds: some(self.kind.is_empty()).map(|()| self.kind.clone()),
            causes: some(self.cause.is_empty()).map(|()| self.cause.clone()),
            ..EventFilter::default()
        }
    }

    /// With feed and stream as the numbers that the store has for them now.
    async fn with_words(&self, store: &Store) -> Result<EventFilter, StoreError> {
        let mut filter = self.without_words();
        if self.feed.is_some() {
            let feeds = store.words_of(WordKind::Feed).await?;
            filter.feeds = Some(numbers(feeds, |text| self.admits_feed(text)));
        }
        if self.stream.is_some() {
            let streams = store.words_of(WordKind::Stream).await?;
            let admits = |text: &str| {
                serde_json::from_str::<StreamKey>(text).is_ok_and(|key| self.admits_stream(&key.to_string()))
            };
            filter.streams = Some(numbers(streams, admits));
        }
        Ok(filter)
    }

    fn admits_feed(&self, name: &str) -> bool {
        self.feed.as_ref().is_none_or(|wanted| {
            name.strip_prefix(wanted.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    fn admits_stream(&self, name: &str) -> bool {
        self.stream.as_ref().is_none_or(|wanted| name.to_lowercase().contains(&wanted.to_lowercase()))
    }

    fn write(&self, told: &Told, out: &mut impl Write) -> anyhow::Result<()> {
        match self.format {
            Format::Json => {
                serde_json::to_writer(&mut *out, &told.json()?).map_err(io::Error::from)?;
                writeln!(out)?;
            }
            Format::Text => told.text("", true, out)?,
        }
        Ok(())
    }
}

fn numbers(words: Vec<(i32, String)>, admits: impl Fn(&str) -> bool) -> Vec<i32> {
    words.into_iter().filter(|(_, text)| admits(text)).map(|(id, _)| id).collect()
}

impl List {
    fn times(&self, now: Timestamp) -> anyhow::Result<(Option<Timestamp>, Option<Timestamp>)> {
        let read = |text: &Option<String>, name: &str| {
            let read = text.as_ref().map(|text| super::time::parse(text, now)).transpose();
            read.map_err(|error| anyhow::anyhow!("{name}: {error}"))
        };
        let (since, until) = (read(&self.since, "--since")?, read(&self.until, "--until")?);
        if let (Some(since), Some(until)) = (since, until)
            && since >= until
        {
            anyhow::bail!("--since {since} is not before --until {until}: nothing can lie between");
        }
        Ok((since, until))
    }

    async fn run(
        &self,
        store: &Store,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        let filter = EventFilter { since, until, ..self.filters.with_words(store).await? };
        let mut teller = Teller::new(store.clone())?;
        let mut left = if self.limit == 0 { u64::MAX } else { self.limit };
        let mut before = None;
        while left > 0 {
            let page = u32::try_from(left.min(PAGE.into())).unwrap_or(PAGE);
            let events = store.events_by_time(&filter, before, page).await?;
            let Some(last) = events.last() else { break };
            before = Some(last.key);
            left -= events.len() as u64;
            for told in teller.tell(&events).await? {
                self.filters.write(&told, out)?;
            }
            out.flush()?;
        }
        Ok(())
    }
}

impl Tail {
    /// Follows the journal until a writer fails.
    async fn run(
        &self,
        store: &Store,
        clock: &Clock,
        out: &mut impl Write,
        diagnostics: &mut impl Write,
    ) -> anyhow::Result<()> {
        let mut place = store.journal_end().await?;
        let mut teller = Teller::new(store.clone())?;
        let earlier = self.filters.with_words(store).await?;
        let mut latest = store.events_by_time(&earlier, None, self.lines).await?;
        // What lies beyond the place comes with what follows.
        latest.retain(|event| event.position <= place);
        latest.reverse();
        self.write(&mut teller, &latest, out).await?;
        let filter = self.filters.without_words();
        let mut away = false;
        loop {
            let events = match store.events_after(place, PAGE).await {
                Ok(events) => events,
                Err(error) if error.is_transient() => {
                    if !away {
                        writeln!(diagnostics, "relaywatch: {error}; waiting for it")?;
                    }
                    away = true;
                    clock.sleep(AWAY).await;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            away = false;
            let Some(last) = events.last() else {
                clock.sleep(LOOK).await;
                continue;
            };
            place = last.position;
            let events: Vec<EventRecord> = events.into_iter().filter(|event| filter.admits(event)).collect();
            self.write(&mut teller, &events, out).await?;
        }
    }

    async fn write(&self, teller: &mut Teller, events: &[EventRecord], out: &mut impl Write) -> anyhow::Result<()> {
        for told in teller.tell(events).await? {
            // Streams and feeds can be new since the start: they are compared by name.
            if self.filters.admits_feed(&told.feed) && self.filters.admits_stream(&told.stream.to_string()) {
                self.filters.write(&told, out)?;
            }
        }
        Ok(out.flush()?)
    }
}
