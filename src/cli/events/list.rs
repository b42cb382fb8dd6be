//! `relaywatch events list`: outcomes, notices and what was set aside, merged by time, latest first; or outcomes by arrival.

use std::{collections::VecDeque, io::Write};

use clap::{Args, ValueEnum};

use super::{Filters, Kind, write_json};
use crate::{
    classify::Rules,
    cli::{
        Format,
        told::{Teller, ToldAside, ToldNotice},
    },
    model::Timestamp,
    store::{
        EntryKind, EntryRecord, EventFilter, EventKey, EventRecord, Position, SetAsideRecord, Span, Store, StoreError,
    },
};

/// How many are read at once.
pub(super) const PAGE: u32 = 500;

/// What "latest" means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum By {
    /// When it happened.
    #[default]
    Time,
    /// When it came in, however late it was told; outcomes alone.
    Arrival,
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    pub(super) filters: Filters,
    /// Not before: 2026-08-09T06:00:00Z, 2026-08-09, or how long ago (30m, 2h, 7d).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before: as --since.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// What is the latest: by when it happened, or by when it came in.
    #[arg(long, value_enum, default_value_t, value_name = "ORDER")]
    by: By,
    /// How many at most; 0 for all.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
    limit: u64,
}

impl List {
    pub(super) fn span(&self, now: Timestamp) -> anyhow::Result<Span> {
        if self.by == By::Arrival && self.filters.kind.iter().any(|kind| !matches!(kind, Kind::Outcome(_))) {
            anyhow::bail!(
                "--by arrival lists outcomes alone: the journal keeps one order for them and one for notices. What was set \
                 aside is listed by its arrival anyway"
            );
        }
        let read = |text: &Option<String>, name: &str| {
            let read = text.as_ref().map(|text| crate::cli::time::parse(text, now)).transpose();
            read.map_err(|error| anyhow::anyhow!("{name}: {error}"))
        };
        let (since, until) = (read(&self.since, "--since")?, read(&self.until, "--until")?);
        if let (Some(since), Some(until)) = (since, until)
            && since >= until
        {
            anyhow::bail!("--since {since} is not before --until {until}: nothing can lie between");
        }
        Ok(Span { since, until })
    }

    pub(super) async fn run(
        &self,
        store: &Store,
        rules: Rules,
        span: Span,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        let mut merged = Merged::new(&self.filters, store, span, self.by).await?;
        let mut teller = Teller::new(store.clone(), rules);
        let mut left = if self.limit == 0 { u64::MAX } else { self.limit };
        while left > 0 {
            let items = merged.next(store, left.min(PAGE.into())).await?;
            if items.is_empty() {
                break;
            }
            left -= items.len() as u64;
            self.filters.write(&mut teller, &items, out).await?;
        }
        Ok(())
    }
}

/// One line of a list.
pub(super) enum Item {
    Outcome(Box<EventRecord>),
    Notice(EntryRecord),
    SetAside(SetAsideRecord),
}

impl Item {
    const fn at(&self) -> Timestamp {
        match self {
            Self::Outcome(event) => event.key.at,
            Self::Notice(entry) => entry.key.at,
            Self::SetAside(part) => part.received_at,
        }
    }
}

/// Where one source's next page begins.
enum Source {
    Outcomes { filter: Box<EventFilter>, before: Option<EventKey> },
    Arrived { filter: Box<EventFilter>, before: Option<Position> },
    Notices { before: Option<EventKey> },
    SetAside { feeds: Option<Vec<i32>>, before: Option<(Timestamp, i64)> },
}

struct Lane {
    source: Source,
    waiting: VecDeque<Item>,
    /// Whether there is no further page.
    ended: bool,
}

/// All sources that the filters admit, merged by time, latest first.
pub(super) struct Merged<'f> {
    filters: &'f Filters,
    span: Span,
    lanes: Vec<Lane>,
}

impl<'f> Merged<'f> {
    pub(super) async fn new(filters: &'f Filters, store: &Store, span: Span, by: By) -> Result<Self, StoreError> {
        let filter = EventFilter { since: span.since, until: span.until, ..filters.with_words(store).await? };
        let feeds = filter.feeds.clone();
        let filter = Box::new(filter);
        let outcomes = match by {
            By::Time => Source::Outcomes { filter, before: None },
            By::Arrival => Source::Arrived { filter, before: None },
        };
        let others = by == By::Time;
        let sources = [
            (filters.shows_outcomes(), outcomes),
            (others && filters.shows(Kind::Notice), Source::Notices { before: None }),
            (others && filters.shows(Kind::SetAside), Source::SetAside { feeds, before: None }),
        ];
        let lane = |source| Lane { source, waiting: VecDeque::new(), ended: false };
        let lanes = sources.into_iter().filter(|(shown, _)| *shown).map(|(_, source)| lane(source)).collect();
        Ok(Self { filters, span, lanes })
    }

    /// The next ones, at most `limit`; none at the end.
    pub(super) async fn next(&mut self, store: &Store, limit: u64) -> Result<Vec<Item>, StoreError> {
        let mut items = Vec::new();
        while (items.len() as u64) < limit {
            for lane in &mut self.lanes {
                while lane.waiting.is_empty() && !lane.ended {
                    let page = u32::try_from(limit).unwrap_or(PAGE).min(PAGE);
                    lane.fill(store, self.filters, self.span, page).await?;
                }
            }
            let latest = self.lanes.iter_mut().max_by_key(|lane| lane.waiting.front().map(Item::at));
            let Some(item) = latest.and_then(|lane| lane.waiting.pop_front()) else { break };
            items.push(item);
        }
        Ok(items)
    }
}

impl Lane {
    async fn fill(&mut self, store: &Store, filters: &Filters, span: Span, page: u32) -> Result<(), StoreError> {
        let read = match &mut self.source {
            Source::Outcomes { filter, before } => {
                let events = store.events_by_time(filter, *before, page).await?;
                let read = events.len();
                *before = events.last().map(|event| event.key);
                self.waiting.extend(events.into_iter().map(|event| Item::Outcome(Box::new(event))));
                read
            }
            Source::Arrived { filter, before } => {
                let events = store.events_by_arrival(filter, *before, page).await?;
                let read = events.len();
                *before = events.last().map(|event| event.position);
                self.waiting.extend(events.into_iter().map(|event| Item::Outcome(Box::new(event))));
                read
            }
            Source::Notices { before } => {
                let entries = store.entries_by_time(EntryKind::Notice, span, *before, page).await?;
                let read = entries.len();
                *before = entries.last().map(|entry| entry.key);
                let admitted = entries.into_iter().filter(|entry| filters.admits_notice(entry));
                self.waiting.extend(admitted.map(Item::Notice));
                read
            }
            Source::SetAside { feeds, before } => {
                let parts = store.set_aside_by_time(span, *before, page).await?;
                let read = parts.len();
                *before = parts.last().map(|part| (part.received_at, part.id));
                let admits = |feed: i32| feeds.as_ref().is_none_or(|feeds| feeds.contains(&feed));
                self.waiting.extend(parts.into_iter().filter(|part| admits(part.feed)).map(Item::SetAside));
                read
            }
        };
        self.ended = read < usize::try_from(page).unwrap_or(usize::MAX);
        Ok(())
    }
}

impl Filters {
    pub(super) fn admits_notice(&self, entry: &EntryRecord) -> bool {
        self.feed.is_none() || ToldNotice::new(entry).feed().is_some_and(|feed| self.admits_feed(feed))
    }

    /// Writes what the items say, in their order.
    pub(super) async fn write(&self, teller: &mut Teller, items: &[Item], out: &mut impl Write) -> anyhow::Result<()> {
        let events: Vec<EventRecord> = items
            .iter()
            .filter_map(|item| match item {
                Item::Outcome(event) => Some((**event).clone()),
                Item::Notice(_) | Item::SetAside(_) => None,
            })
            .collect();
        let mut outcomes = teller.tell(&events).await?.into_iter();
        for item in items {
            match item {
                Item::Outcome(_) => {
                    let Some(told) = outcomes.next() else { continue };
                    // Streams and feeds can be new since the start: they are compared by name.
                    if !self.admits_feed(&told.feed) || !self.admits_stream(&told.stream.to_string()) {
                        continue;
                    }
                    match self.format {
                        Format::Json => write_json(&told.json()?, out)?,
                        Format::Text => told.text("", true, out)?,
                    }
                }
                Item::Notice(entry) => {
                    let told = ToldNotice::new(entry);
                    match self.format {
                        Format::Json => write_json(&told, out)?,
                        Format::Text => told.text(out)?,
                    }
                }
                Item::SetAside(part) => {
                    let feed = teller.feed(part.feed).await?;
                    if !self.admits_feed(&feed) {
                        continue;
                    }
                    let told = ToldAside::new(part, &feed);
                    match self.format {
                        Format::Json => write_json(&told, out)?,
                        Format::Text => told.text(out)?,
                    }
                }
            }
        }
        Ok(out.flush()?)
    }
}
