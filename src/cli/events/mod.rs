//! `relaywatch events`: what was taken in, as relaywatch understood it.

mod aside;
mod list;
mod tail;
mod words;

use std::{
    io::{self, Write},
    path::Path,
};

use clap::{
    Args, Subcommand,
    builder::{PossibleValue, TypedValueParser},
};

use super::{
    Exit, Format,
    entries::Entries,
    open,
    told::{ToldAside, ToldNotice},
};
use crate::{
    clock::Clock,
    config::Config,
    incident::OPERATOR_FEED,
    model::{Cause, EventKind, StreamKey},
    store::{EventFilter, OWN_FEED, Store, StoreError, WordKind},
};

/// List or follow what was taken in, as relaywatch understood it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  relaywatch events list --kind refused --since 2h            refusals of the last two hours
  relaywatch events list --cause relay_sender_unregistered    refused because of the sender
  relaywatch events list --kind notice --since 7d             Apple's notices
  relaywatch events list --kind set-aside                     kept without being understood
  relaywatch events aside 17 --show-personal-data             one of these, as it came
  relaywatch events list --since 7d --limit 0 --format json > events.jsonl
  relaywatch events list --by arrival -n 20                   what came in last, late or not
  relaywatch events tail --feed ses --stream news.example.com
  relaywatch events entries --kind blind-window             when feeds or relaywatch saw nothing
  relaywatch events words                                   replies of Apple's that no rule knows

Beside outcomes there are `notice` (one of Apple's) and `set-aside` (a part of a delivery that is
of an unknown type or makes no sense: kept sealed for 30 days, listed by its arrival). Addresses
and accounts are shown by their random ids, which tell two of them apart and no more;
`relaywatch address show` tells the story of one.

Exit code: 0, also where nothing fits; 1 where there is no such feed or the store can't be read.")]
pub struct EventsCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List what was taken in, latest first.
    #[command(after_help = "Example: relaywatch events list --feed ses/eu --kind refused,deferred --since 2026-08-09

The order is that of the times at which things happened, as incidents, --since and --until have
them: a refusal that is told hours later stands where it belongs, not at the top. To see what has
just come in, however late, say --by arrival; outcomes alone have that order.")]
    List(list::List),
    /// Show the latest of what was taken in, then what comes in, until it is stopped.
    #[command(after_help = "Example: relaywatch events tail --kind refused --format json | jq -r .cause")]
    Tail(tail::Tail),
    /// Show one part that was set aside, as it came, with personal data in it. Who looked goes into the journal.
    #[command(after_help = "Example: relaywatch events aside 17 --show-personal-data --operator \"Jo Example\"

Exit code 1 where there is no such part.")]
    Aside(aside::Aside),
    /// List what else the journal holds: blind windows, settings, what operators did; latest first.
    #[command(after_help = "Example: relaywatch events entries --kind blind-window,action --since 7d")]
    Entries(Entries),
    /// List replies of Apple's in words that no rule knows, and show how to write a rule for them.
    #[command(after_help = "Example: relaywatch events words --format json | jq -r .template

Shown are templates: addresses, ids and hosts stand as their roles. What such a reply means is a
guess, by rules for receivers in general or by none. A ticket tells of each once: at once when
three addresses have met it, else in the digest of the day. `not told yet` is what has had none:
its turn has not come, or no notifier is set up. Once a rule knows it, it is listed no more.")]
    Words(words::Words),
}

#[derive(Debug, Args)]
struct Filters {
    /// Only from this feed: `ses` (with all its names) or `ses/eu`.
    #[arg(long, value_name = "FEED")]
    feed: Option<String>,
    /// Only what happened: several with commas.
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = kinds())]
    kind: Vec<Kind>,
    /// Only outcomes in streams whose name holds this text: a domain, a provider, a campaign.
    #[arg(long, value_name = "TEXT")]
    stream: Option<String>,
    /// Only replies with this cause: several with commas.
    #[arg(long, value_name = "CAUSE", value_delimiter = ',', value_parser = causes(), hide_possible_values = true)]
    cause: Vec<Cause>,
    /// For people, or one JSON object a line.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// What can be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Outcome(EventKind),
    Notice,
    SetAside,
}

fn kinds() -> impl TypedValueParser<Value = Kind> {
    let outcomes = EventKind::ALL.iter().map(|kind| PossibleValue::new(kind.as_str()));
    let others = [PossibleValue::new(ToldNotice::KIND), PossibleValue::new(ToldAside::KIND).alias("unknown")];
    clap::builder::PossibleValuesParser::new(outcomes.chain(others)).try_map(|text| match text.as_str() {
        ToldNotice::KIND => Ok(Kind::Notice),
        ToldAside::KIND | "unknown" => Ok(Kind::SetAside),
        text => EventKind::from_name(text).map(Kind::Outcome).ok_or("no such kind"),
    })
}

fn causes() -> impl TypedValueParser<Value = Cause> {
    clap::builder::PossibleValuesParser::new(Cause::ALL.iter().map(|cause| cause.as_str()))
        .try_map(|text| Cause::from_name(&text).ok_or("no such cause"))
}

impl EventsCommand {
    /// Runs the command: what was taken in goes to `out`, page by page.
    ///
    /// # Errors
    /// Where there is no such feed, the store can't be read, or a writer fails.
    pub fn run(&self, file: Option<&Path>, out: &mut impl Write, diagnostics: &mut impl Write) -> anyhow::Result<Exit> {
        let config = open::config(file)?;
        let clock = Clock::System;
        open::block_on(async {
            match &self.action {
                Action::List(list) => {
                    // Before anything is opened, so that a typing error is told at once.
                    let span = list.span(clock.now())?;
                    list.filters.check()?;
                    let (store, _) = open::reader(&config).await?;
                    list.filters.check_feed(&store, &config, diagnostics).await?;
                    let rules = open::rules_to_read(&config, diagnostics)?;
                    list.run(&store, rules, span, out).await?;
                    store.close().await;
                }
                Action::Entries(entries) => {
                    let since = entries.since(clock.now())?;
                    let (store, _) = open::reader(&config).await?;
                    entries.run(&store, since, &clock, out).await?;
                    store.close().await;
                }
                Action::Words(words) => {
                    let (store, _) = open::reader(&config).await?;
                    let folder = config.rules.folder.as_ref().map(std::path::absolute).transpose()?;
                    words.run(&store, (file, folder.as_deref()), out).await?;
                    store.close().await;
                }
                Action::Aside(aside) => aside.run(&config, out).await?,
                Action::Tail(tail) => {
                    tail.filters.check()?;
                    let (store, _) = open::reader(&config).await?;
                    tail.filters.check_feed(&store, &config, diagnostics).await?;
                    let rules = open::rules_to_read(&config, diagnostics)?;
                    tail.run(&store, rules, &clock, out, diagnostics).await?;
                }
            }
            Ok(Exit::Success)
        })
    }
}

impl Filters {
    /// Refuses filters that nothing can pass.
    fn check(&self) -> anyhow::Result<()> {
        let outcomes_only = !self.cause.is_empty() || self.stream.is_some();
        let others_only = !self.kind.is_empty() && !self.kind.iter().any(|kind| matches!(kind, Kind::Outcome(_)));
        if outcomes_only && others_only {
            anyhow::bail!(
                "notices and what was set aside have neither a stream nor a cause: leave --stream and --cause out"
            );
        }
        Ok(())
    }

    /// Refuses a feed that is neither configured nor known to the store, and says of one that is only configured that it
    /// has not reported.
    async fn check_feed(&self, store: &Store, config: &Config, diagnostics: &mut impl Write) -> anyhow::Result<()> {
        let Some(wanted) = &self.feed else { return Ok(()) };
        let reported = store.words_of(WordKind::Feed).await?.into_iter().map(|(_, name)| name);
        let mut known: Vec<String> = reported.filter(|name| name != OPERATOR_FEED && name != OWN_FEED).collect();
        if known.iter().any(|name| self.admits_feed(name)) {
            return Ok(());
        }
        let configured = config.feeds.paths();
        if configured.iter().any(|name| self.admits_feed(name)) {
            writeln!(diagnostics, "relaywatch: the feed {wanted} is configured and has not reported anything yet")?;
            return Ok(());
        }
        known.extend(configured);
        known.sort();
        known.dedup();
        if known.is_empty() {
            anyhow::bail!("there is no feed {wanted:?}: none is configured, and none has reported anything");
        }
        anyhow::bail!("there is no feed {wanted:?}; there are: {}", known.join(", "))
    }

    fn shows_outcomes(&self) -> bool {
        self.kind.is_empty() || self.kind.iter().any(|kind| matches!(kind, Kind::Outcome(_)))
    }

    /// Whether this kind beside outcomes is to be shown.
    fn shows(&self, kind: Kind) -> bool {
        self.cause.is_empty() && self.stream.is_none() && (self.kind.is_empty() || self.kind.contains(&kind))
    }

    fn without_words(&self) -> EventFilter {
        let outcomes: Vec<EventKind> = self
            .kind
            .iter()
            .filter_map(|kind| match kind {
                Kind::Outcome(kind) => Some(*kind),
                Kind::Notice | Kind::SetAside => None,
            })
            .collect();
        EventFilter {
            kinds: (!self.kind.is_empty()).then_some(outcomes),
            causes: (!self.cause.is_empty()).then(|| self.cause.clone()),
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
}

fn numbers(words: Vec<(i32, String)>, admits: impl Fn(&str) -> bool) -> Vec<i32> {
    words.into_iter().filter(|(_, text)| admits(text)).map(|(id, _)| id).collect()
}

/// Writes one line for machines.
fn write_json(line: &impl serde::Serialize, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line).map_err(io::Error::from)?;
    writeln!(out)
}
