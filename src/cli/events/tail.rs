//! `relaywatch events tail`: what comes in, as it comes.

use std::{collections::HashSet, io::Write, time::Duration};

use clap::Args;

use super::{
    Filters, Kind,
    list::{By, Item, Merged, PAGE},
};
use crate::{
    classify::Rules,
    cli::told::Teller,
    clock::Clock,
    model::MINUTE_MILLIS,
    store::{EntryKind, EventFilter, Position, Span, Store, StoreError},
};

/// How often `tail` looks for more.
const LOOK: Duration = Duration::from_millis(500);
/// How long `tail` waits for a store that is away.
const AWAY: Duration = Duration::from_secs(2);
/// How long after its arrival a part that was set aside may be committed and still be shown, in milliseconds.
const LATE: i64 = MINUTE_MILLIS;

#[derive(Debug, Args)]
pub(super) struct Tail {
    #[command(flatten)]
    pub(super) filters: Filters,
    /// How many earlier ones to begin with.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(..=10_000))]
    lines: u32,
}

/// Up to where everything was shown.
struct Place {
    outcomes: Position,
    entries: Position,
    /// Numbers of the parts of the last minute.
    parts: HashSet<i64>,
}

impl Tail {
    /// Follows the journal until a writer fails.
    pub(super) async fn run(
        &self,
        store: &Store,
        rules: Rules,
        clock: &Clock,
        out: &mut impl Write,
        diagnostics: &mut impl Write,
    ) -> anyhow::Result<()> {
        let mut place =
            Place { outcomes: store.journal_end().await?, entries: store.entries_end().await?, parts: HashSet::new() };
        let filter = self.filters.without_words();
        // Those of the last minute that stand before the start.
        drop(self.more(store, clock, &filter, &mut place, true).await?);
        let mut teller = Teller::new(store.clone(), rules);
        let mut merged = Merged::new(&self.filters, store, Span::default(), By::Time).await?;
        let mut latest = merged.next(store, self.lines.into()).await?;
        // What lies beyond the place comes with what follows.
        latest.retain(|item| match item {
            Item::Outcome(event) => event.position <= place.outcomes,
            Item::Notice(entry) => entry.position <= place.entries,
            Item::SetAside(_) => true,
        });
        latest.reverse();
        place.parts.extend(latest.iter().filter_map(|item| match item {
            Item::SetAside(part) => Some(part.id),
            Item::Outcome(_) | Item::Notice(_) => None,
        }));
        self.filters.write(&mut teller, &latest, out).await?;
        let mut away = false;
        loop {
            let items = match self.more(store, clock, &filter, &mut place, false).await {
                Ok(items) => items,
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
            let Some(items) = items else {
                clock.sleep(LOOK).await;
                continue;
            };
            self.filters.write(&mut teller, &items, out).await?;
        }
    }

    /// What has come in since; none where nothing has. `parts_only`: only marks the parts that are there.
    async fn more(
        &self,
        store: &Store,
        clock: &Clock,
        filter: &EventFilter,
        place: &mut Place,
        parts_only: bool,
    ) -> Result<Option<Vec<Item>>, StoreError> {
        let mut items = Vec::new();
        // Taken over at the end: where a read fails, everything comes again.
        let (mut outcomes, mut entries, mut parts) = (place.outcomes, place.entries, HashSet::new());
        if self.filters.shows(Kind::SetAside) {
            let since = clock.now().plus_millis(-LATE);
            let found = store.set_aside_by_time(Span { since: Some(since), until: None }, None, PAGE).await?;
            parts.extend(found.iter().map(|part| part.id));
            let new = found.into_iter().rev().filter(|part| !place.parts.contains(&part.id));
            items.extend(new.map(Item::SetAside));
        }
        if parts_only {
            place.parts = parts;
            return Ok(None);
        }
        if self.filters.shows(Kind::Notice) {
            let found = store.entries_after(entries, PAGE).await?;
            entries = found.last().map_or(entries, |entry| entry.position);
            let notices = found.into_iter().filter(|entry| entry.kind == EntryKind::Notice);
            items.extend(notices.filter(|entry| self.filters.admits_notice(entry)).map(Item::Notice));
        }
        if self.filters.shows_outcomes() {
            let found = store.events_after(outcomes, PAGE).await?;
            outcomes = found.last().map_or(outcomes, |event| event.position);
            let admitted = found.into_iter().filter(|event| filter.admits(event));
            items.extend(admitted.map(|event| Item::Outcome(Box::new(event))));
        }
        let any = outcomes != place.outcomes || entries != place.entries || !items.is_empty();
        *place = Place { outcomes, entries, parts };
        Ok(any.then_some(items))
    }
}
