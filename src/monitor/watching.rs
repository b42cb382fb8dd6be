//! Runs the watch over DNS in the daemon: asks what is due, journals what changed, tells who has to know.
//!
//! The leader's work alone. What it knows is in the store: a restart, or another leader, goes on where the last one stood, and says
//! nothing twice. Dropping the future ends it; what was asked and not journalled is asked again.

mod page;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tokio::{sync::watch as channel, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::blind::{self, Window, is_of_dns};
use crate::{
    clock::Clock,
    config::Config,
    explain::BlindReason,
    metrics::Metrics,
    model::{MINUTE_MILLIS, Timestamp},
    notify::Notifiers,
    privacy::{Keyring, Purpose},
    sources::{
        answer::{Answer, Name, Question, Seen},
        audit::Setup,
        declared,
        dns::{self, Asker},
        servers,
        watch::{Blind, Budget, Look, Observation, Restored, Settled, Vantage, Watch},
        zones::Zones,
    },
    store::{ABOUT, EntryKind, EventKey, Leader, NewEntry, NewOutbox, OWN_FEED, StoreError, Submission},
};

/// How many questions are looked at at once.
const AT_ONCE: usize = 32;
/// How long one server may take for one try.
const TRY: Duration = Duration::from_secs(3);
/// How long it waits at least and at most before it looks what is due.
const SHORTEST_WAIT: i64 = 200;
const LONGEST_WAIT: i64 = 30_000;
/// How often it is noted when everything was last looked at.
const NOTE_LOOKS_MILLIS: i64 = MINUTE_MILLIS;
/// More blind names than so many are told as DNS as a whole.
const MANY_BLIND: usize = 8;
/// How long it waits before it tries the store again.
const RETRY: Duration = Duration::from_secs(5);

/// What the watch goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What is watched; nothing where the watch is switched off.
    pub setup: Setup,
    /// The resolvers; those of the machine where none are named.
    pub resolvers: Vec<SocketAddr>,
    /// The servers to be asked for every zone, where some are named.
    pub zone_servers: Vec<SocketAddr>,
    /// Whether addresses of private networks are believed and asked.
    pub private_addresses: bool,
    /// Queries a minute.
    pub queries_per_minute: u32,
}

impl Settings {
    /// What the configuration says.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let read = |texts: &[String]| texts.iter().filter_map(|text| servers::parse(text)).collect();
        Self {
            setup: if config.dns.watch { declared::watched(config) } else { Setup::default() },
            resolvers: read(&config.dns.resolvers),
            zone_servers: read(&config.dns.zone_servers),
            private_addresses: config.dns.private_addresses,
            queries_per_minute: config.dns.queries_per_minute,
        }
    }

    fn is_idle(&self) -> bool {
        self.setup.streams.is_empty()
    }
}

/// Both vantage points.
#[derive(Debug, Clone)]
struct Points {
    resolver: Asker,
    zones: Zones,
}

impl Points {
    /// `None`, which is said, where no server is known.
    fn of(settings: &Settings) -> Option<Self> {
        let resolvers =
            if settings.resolvers.is_empty() { servers::of_machine() } else { Ok(settings.resolvers.clone()) };
        let resolvers = resolvers.map_err(|error| tracing::warn!(%error, "DNS is not watched")).ok()?;
        let asking = dns::Settings {
            timeout: TRY,
            refuse_private: !settings.private_addresses,
            ..dns::Settings::new(resolvers)
        };
        let resolver = Asker::new(&asking).map_err(|error| tracing::warn!(%error, "DNS is not watched")).ok()?;
        let zones = Zones::new(resolver.clone(), settings.zone_servers.clone(), settings.private_addresses);
        Some(Self { resolver, zones })
    }
}

/// The watch of a reign.
#[derive(Debug)]
pub struct Watching {
    store: Leader,
    keyring: Arc<Keyring>,
    clock: Clock,
    notifiers: Notifiers,
    metrics: Metrics,
    settings: channel::Receiver<Arc<Settings>>,
    state: Option<State>,
}

/// What it holds while it runs.
#[derive(Debug)]
struct State {
    settings: Arc<Settings>,
    points: Option<Points>,
    watch: Watch,
    budget: Budget,
    /// Until when the budget is spent.
    spent: bool,
    noted_at: Option<Timestamp>,
    looked: BTreeSet<Question>,
    /// The windows that are open, by what they are of.
    windows: BTreeMap<String, Window>,
}

impl Watching {
    /// The watch of a reign by these settings, which a reload exchanges.
    #[must_use]
    pub const fn new(
        store: Leader,
        keyring: Arc<Keyring>,
        clock: Clock,
        notifiers: Notifiers,
        metrics: Metrics,
        settings: channel::Receiver<Arc<Settings>>,
    ) -> Self {
        Self { store, keyring, clock, notifiers, metrics, settings, state: None }
    }

    /// Watches until it's told to stop.
    ///
    /// # Errors
    /// [`StoreError::NotLeading`] once the reign is over. What the store refuses otherwise is tried again.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), StoreError> {
        loop {
            let stepped = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                stepped = self.step() => stepped,
            };
            let wait = match stepped {
                Ok(wait) => wait,
                Err(StoreError::NotLeading) => return Err(StoreError::NotLeading),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "what was seen in DNS can't be journalled yet; trying again");
                    RETRY
                }
            };
            let changed = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.clock.sleep(wait) => Ok(()),
                changed = self.settings.changed() => changed,
            };
            if changed.is_err() {
                // Nobody can change them any more: the process ends.
                stop.cancelled().await;
                return Ok(());
            }
        }
    }

    /// Looks at what is due once; gives how long to wait. Where it fails, what was seen is kept and journalled by the next one.
    ///
    /// # Errors
    /// [`StoreError::NotLeading`], or where the store is away.
    pub async fn step(&mut self) -> Result<Duration, StoreError> {
        let settings = Arc::clone(&self.settings.borrow_and_update());
        let mut state = match self.state.take() {
            Some(state) => state,
            None => self.load(&settings).await?,
        };
        let stepped = self.step_in(&mut state, settings).await;
        self.state = Some(state);
        stepped
    }

    async fn step_in(&self, held: &mut State, settings: Arc<Settings>) -> Result<Duration, StoreError> {
        if held.settings != settings {
            held.watch.exchange(settings.setup.clone());
            held.budget = held.budget.at_rate(settings.queries_per_minute);
            held.points = Points::of(&settings).filter(|_| !settings.is_idle());
            held.settings = settings;
        }
        // An audit of nothing ends what is watched no more.
        self.settle(held).await?;
        if let Some(points) = held.points.clone() {
            self.look(held, &points).await;
            self.settle(held).await?;
        }
        let now = self.clock.now();
        self.tell_blind(held, now).await?;
        self.note_looks(held, now).await?;
        self.measure(held, now);
        let until_due = held.watch.next_due().map_or(LONGEST_WAIT, |due| due.millis_since(now));
        let least = if held.spent { 1_000 } else { SHORTEST_WAIT };
        let wait = until_due.clamp(least, LONGEST_WAIT);
        Ok(Duration::from_millis(u64::try_from(wait).unwrap_or_default()))
    }

    /// What was known when a leader last watched.
    async fn load(&self, settings: &Arc<Settings>) -> Result<State, StoreError> {
        let mut restored = Restored::default();
        for row in self.store.observed().await? {
            // What another version wrote is seen anew.
            if let Ok(observation) = serde_json::from_value::<Observation>(row.body) {
                restored.take(observation);
            }
        }
        let windows = blind::known(&self.store, self.clock.now()).await?.into_iter();
        let open = windows.filter(|window| window.until.is_none() && is_of_dns(&window.watched));
        Ok(State {
            settings: Arc::clone(settings),
            points: Points::of(settings).filter(|_| !settings.is_idle()),
            watch: Watch::new(settings.setup.clone(), restored),
            budget: Budget::new(settings.queries_per_minute),
            spent: false,
            noted_at: None,
            looked: BTreeSet::new(),
            windows: open.map(|window| (window.watched.clone(), window)).collect(),
        })
    }

    /// Grades what has changed, and commits entries and pages together. Where that fails nothing has happened.
    async fn settle(&self, state: &mut State) -> Result<(), StoreError> {
        if !state.watch.wants_settling() {
            return Ok(());
        }
        let now = self.clock.now();
        let mut watch = state.watch.clone();
        let settled = watch.settle(now);
        if !settled.is_empty() {
            self.commit(&settled, now).await?;
        }
        state.watch = watch;
        Ok(())
    }

    async fn commit(&self, settled: &Settled, now: Timestamp) -> Result<(), StoreError> {
        let pages: Vec<_> = settled.alarms.iter().map(|alarm| page::page(alarm, now)).collect();
        let outbox: Vec<NewOutbox> = pages.iter().flat_map(|page| self.notifiers.pages(page)).collect();
        let entries = settled.observations.iter().map(|observation| self.entry(observation, now)).collect();
        let submission = Submission { feed: OWN_FEED.to_owned(), entries, outbox, ..Submission::default() };
        self.store.commit(&[submission]).await?;
        for page in &pages {
            tracing::warn!(source = page.stream, kind = %page.kind, "the fitness of a source has changed by DNS");
        }
        if !pages.is_empty() {
            self.notifiers.wake().notify_one();
        }
        Ok(())
    }

    fn entry(&self, observation: &Observation, now: Timestamp) -> NewEntry {
        let about = observation.about();
        // A struct of strings, numbers and words always serialises, to an object.
        let mut body = serde_json::to_value(observation).unwrap_or_default();
        if let Some(fields) = body.as_object_mut() {
            fields.insert(ABOUT.to_owned(), Value::from(about));
        }
        let hash = self.keyring.hash(Purpose::Event, &[b"dns", body.to_string().as_bytes()]);
        NewEntry {
            key: EventKey { at: now, hash },
            kind: EntryKind::DnsObservation,
            account: None,
            address: None,
            app: None,
            body,
        }
    }

    /// Asks what is due, as far as the budget goes: the resolvers first, then, where they leave something open, the zones.
    async fn look(&self, state: &mut State, points: &Points) {
        let now = self.clock.now();
        let mut due = state.watch.due(now, AT_ONCE);
        let affordable = due.iter().take_while(|_| state.budget.take(1, now)).count();
        state.spent = affordable < due.len();
        due.truncate(affordable);
        let mut tasks = JoinSet::new();
        for question in due {
            let resolver = points.resolver.clone();
            tasks.spawn(async move {
                let answer = resolver.ask(&question).await;
                (question, answer)
            });
        }
        let mut heard: Vec<(Question, Answer)> = Vec::new();
        while let Some(done) = tasks.join_next().await {
            // A task that panicked leaves its question due.
            heard.extend(done.ok());
        }
        let mut tasks: JoinSet<(Question, Look)> = JoinSet::new();
        for (question, answer) in heard {
            self.count(Vantage::Recursive, &answer);
            let zones = state.watch.wants_zone(&question, &answer, now).then(|| points.zones.clone());
            tasks.spawn(async move {
                let authoritative = match zones {
                    Some(zones) => Some(zones.ask(&question).await),
                    None => None,
                };
                (question, Look { recursive: Some(answer), authoritative })
            });
        }
        let mut looks = Vec::new();
        while let Some(done) = tasks.join_next().await {
            looks.extend(done.ok());
        }
        state.budget.owe(points.zones.sent());
        let now = self.clock.now();
        for (question, look) in looks {
            for answer in look.authoritative.iter().flatten() {
                self.count(Vantage::Authoritative, answer);
            }
            state.watch.hear(&question, &look, now);
            state.looked.insert(question);
        }
    }

    fn count(&self, vantage: Vantage, answer: &Answer) {
        let outcome = match answer.outcome.seen() {
            Seen::Found(_) => "value",
            Seen::NoData => "no-data",
            Seen::NoSuchDomain => "no-such-domain",
            Seen::ServerFailure => "server-failure",
            Seen::TimedOut => "time-out",
            Seen::Bogus => "bogus",
        };
        self.metrics.dns_questions.with_label_values(&[vantage.as_str(), outcome]).inc();
    }

    /// Journals which names have gone blind, and which see again.
    async fn tell_blind(&self, state: &mut State, now: Timestamp) -> Result<(), StoreError> {
        let wanted = blind_windows(&state.watch.blind());
        let ended: Vec<Window> =
            state.windows.values().filter(|open| !wanted.contains_key(&open.watched)).cloned().collect();
        for open in ended {
            let ended = Window { until: Some(now), ..open };
            ended.journal(&self.store, Some(self.store.epoch())).await?;
            tracing::info!(watched = ended.watched, since = %ended.from, "DNS answers again: a blind window has ended");
            state.windows.remove(&ended.watched);
        }
        for (watched, from) in wanted {
            if state.windows.contains_key(&watched) {
                continue;
            }
            let window = Window { from, watched, reason: Some(BlindReason::Unreachable), until: None };
            window.journal(&self.store, Some(self.store.epoch())).await?;
            tracing::warn!(watched = window.watched, since = %from, "DNS gives no answer: a blind window is open");
            state.windows.insert(window.watched.clone(), window);
        }
        Ok(())
    }

    /// Notes when what was looked at since the last time was looked at.
    async fn note_looks(&self, state: &mut State, now: Timestamp) -> Result<(), StoreError> {
        if state.noted_at.is_some_and(|at| now.millis_since(at) < NOTE_LOOKS_MILLIS) || state.looked.is_empty() {
            return Ok(());
        }
        let looks = looks(&state.watch, &state.looked);
        self.store.note_looks(&looks).await?;
        state.noted_at = Some(now);
        state.looked.clear();
        Ok(())
    }

    fn measure(&self, state: &State, now: Timestamp) {
        let gauge = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let mut standing: BTreeMap<(&str, &str), i64> = BTreeMap::new();
        for one in state.watch.standings() {
            *standing.entry((one.subject.kind.as_str(), one.fitness.as_str())).or_default() += 1;
        }
        self.metrics.source_fit.reset();
        for ((kind, fitness), count) in standing {
            self.metrics.source_fit.with_label_values(&[kind, fitness]).set(count);
        }
        self.metrics.dns_watched.set(gauge(state.watch.tracked().count()));
        self.metrics.dns_blind.set(gauge(state.watch.blind().len()));
        self.metrics.dns_lag.set(state.watch.lag_millis(now) / 1_000);
    }
}

/// The windows that blind names make: each its own, or, where they are many, one of DNS as a whole.
fn blind_windows(blind: &BTreeMap<Name, Blind>) -> BTreeMap<String, Timestamp> {
    if blind.len() > MANY_BLIND {
        let since = blind.values().map(|blind| blind.since).min();
        return since.map(|since| (blind::DNS.to_owned(), since)).into_iter().collect();
    }
    blind.iter().map(|(name, blind)| (blind::dns_of(name.as_str()), blind.since)).collect()
}

/// When sources and streams were last looked at: the latest look at a name of theirs.
fn looks(watch: &Watch, looked: &BTreeSet<Question>) -> Vec<(String, Timestamp)> {
    let mut latest: BTreeMap<&str, Timestamp> = BTreeMap::new();
    let names: BTreeMap<Name, Timestamp> = watch
        .tracked()
        .filter(|(question, _)| looked.contains(question))
        .filter_map(|(question, tracked)| Some((question.name.clone(), tracked.looked_at()?)))
        .collect();
    for domain in watch.standings().flat_map(|standing| &standing.domains) {
        let Some(name) = Name::of_text(domain) else { continue };
        let at = names.iter().filter(|(looked, _)| looked.is_within(&name)).map(|(_, at)| *at).max();
        if let Some(at) = at {
            latest.entry(domain).and_modify(|known| *known = at.max(*known)).or_insert(at);
        }
    }
    watch
        .standings()
        .filter_map(|standing| {
            let at = standing.domains.iter().filter_map(|domain| latest.get(domain.as_str())).max()?;
            Some((standing.subject.to_string(), *at))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_blind_names_are_one_window() {
        let since = |minutes: i64| Timestamp::from_seconds(60 * minutes);
        let blind = |names: usize| -> BTreeMap<Name, Blind> {
            (0..names)
                .map(|number| {
                    let since = since(i64::try_from(names - number).expect("small"));
                    (
                        Name::parse(&format!("n{number}.example.com")).expect("a name"),
                        Blind { since, looks: 2, seen: Seen::TimedOut },
                    )
                })
                .collect()
        };
        assert!(blind_windows(&blind(0)).is_empty());
        let two = blind_windows(&blind(2));
        assert_eq!(two.keys().collect::<Vec<_>>(), ["dns/n0.example.com", "dns/n1.example.com"]);
        assert_eq!(blind_windows(&blind(9)), BTreeMap::from([("dns".to_owned(), since(1))]));
    }
}
