//! The feeds that nobody posts to: they fetch from a queue, listen on a port of their own, or follow a file. Each is a task for as
//! long as it is configured; a reload stops those that have changed or gone, and starts the others anew.

use std::{
    any::Any,
    collections::BTreeMap,
    convert::Infallible,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    http::feeds::{FeedError, Place, SetUp},
    intake::FeedName,
    postfix,
    reception::Reception,
    smtp::MailListener,
    sqs,
};
use crate::{
    config::{Clash, Config, Named, Routes, clash},
    model::Provider,
};

/// How long it waits before it tries again to open a feed.
const OPEN_AGAIN: Duration = Duration::from_secs(5);

/// What reading something from outside gives; nothing where it breaks down over it. One message that is read again and again would
/// otherwise take the process down again and again.
pub(super) fn unless_it_breaks<T>(feed: &str, read: impl FnOnce() -> T) -> Option<T> {
    // What it leaves half done is at worst what a part of the input would have left.
    let read = catch_unwind(AssertUnwindSafe(read)).ok();
    if read.is_none() {
        tracing::error!(feed, "the reading of a message or line broke down; it is kept sealed");
    }
    read
}

/// A future in a box.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
/// What was opened, ready to work until it is told to stop. It ends early only where the feed has nothing more to say.
pub type Opened = Box<dyn FnOnce(FeedName, Reception, CancellationToken) -> Boxed<'static, ()> + Send>;

/// A feed that works by itself, as its settings make it.
pub trait Work: fmt::Debug + Send + Sync + 'static {
    /// Gets hold of what it needs from the machine: a port, a socket. What may come and go (a file, a server elsewhere) is not
    /// asked for here.
    ///
    /// # Errors
    /// What can't be had and what to do, in a sentence.
    fn open(&self) -> Boxed<'_, Result<Opened, String>>;

    /// Where its reports come from, for people: an address, a queue, a file.
    fn place(&self) -> String;

    /// Whether that can be reached just now, and else why not; nothing where it is not told as cheaply as by opening a file.
    fn probe(&self) -> Boxed<'_, Option<Result<(), String>>> {
        Box::pin(async { None })
    }
}

/// A [`Work`] that can be compared with another.
trait Comparable: Work {
    fn same(&self, other: &dyn Any) -> bool;
    fn as_any(&self) -> &dyn Any;
}

impl<T: Work + PartialEq> Comparable for T {
    fn same(&self, other: &dyn Any) -> bool {
        other.downcast_ref::<T>().is_some_and(|other| other == self)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// One such feed.
#[derive(Clone)]
pub struct Worker {
    /// Its name and exposure.
    pub name: FeedName,
    /// Who reports.
    pub provider: Provider,
    /// Its table, as `feeds.mail.0`.
    table: String,
    work: Arc<dyn Comparable>,
}

impl Worker {
    /// Where its reports come from, for people.
    #[must_use]
    pub fn place(&self) -> String {
        self.work.place()
    }

    /// Whether that can be reached just now, and else why not; nothing where that is not asked.
    pub async fn probe(&self) -> Option<Result<(), String>> {
        self.work.probe().await
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("name", &self.name).field("work", &self.work).finish_non_exhaustive()
    }
}

impl PartialEq for Worker {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.provider) == (&other.name, other.provider) && self.work.same(other.work.as_any())
    }
}

/// All such feeds.
#[derive(Debug, Default)]
pub struct Workers(Vec<Worker>);

impl Workers {
    /// Sets up every configured feed that can be, and says of each other one why it can't.
    #[must_use]
    pub fn build(config: &Config) -> (Self, Vec<FeedError>) {
        let (mut all, mut wrong) = (Self::default(), Vec::new());
        all.add::<sqs::SqsFeed>(config, &config.feeds.sqs, &mut wrong);
        all.add::<MailListener>(config, &config.feeds.mail, &mut wrong);
        all.add::<postfix::Postfix>(config, &config.feeds.postfix, &mut wrong);
        (all, wrong)
    }

    /// Sets up every configured feed.
    ///
    /// # Errors
    /// The first that can't be set up.
    pub fn new(config: &Config) -> Result<Self, FeedError> {
        let (all, mut wrong) = Self::build(config);
        if wrong.is_empty() { Ok(all) } else { Err(wrong.swap_remove(0)) }
    }

    fn add<F: SetUp + Work + PartialEq>(
        &mut self,
        config: &Config,
        tables: &Routes<F::Table>,
        wrong: &mut Vec<FeedError>,
    ) {
        for (index, table) in tables.iter().enumerate() {
            let place = Place::new(F::TABLE, table, index);
            match F::set_up(config, table, &place) {
                Ok(work) => self.0.push(Worker {
                    name: FeedName { name: place.name().to_owned(), exposure: table.exposure() },
                    provider: F::PROVIDER,
                    table: place.table().to_owned(),
                    work: Arc::new(work),
                }),
                Err(errors) => wrong.extend(errors),
            }
        }
    }

    /// Each of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Worker> {
        self.0.iter()
    }

    /// Opens all of them, as a start does.
    ///
    /// # Errors
    /// The first that can't be opened.
    pub async fn open(&self) -> Result<Vec<(Worker, Opened)>, FeedError> {
        let mut all = Vec::new();
        for worker in &self.0 {
            let opened = worker.work.open().await;
            let (feed, setting) = (worker.name.name.clone(), worker.table.clone());
            let opened = opened.map_err(|reason| FeedError::Open { feed, setting, reason })?;
            all.push((worker.clone(), opened));
        }
        Ok(all)
    }
}

impl<'a> IntoIterator for &'a Workers {
    type Item = &'a Worker;
    type IntoIter = std::slice::Iter<'a, Worker>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// One that works, with what stops it.
struct Working {
    worker: Worker,
    stop: CancellationToken,
    /// It had nothing more to say.
    ended: bool,
}

/// Lets the feeds work that were opened at the start, and by each setup that follows, until it's told to stop.
///
/// # Errors
/// None. A feed that panics takes the whole process down, as every critical task does.
pub async fn run(
    opened: Vec<(Worker, Opened)>,
    reception: Reception,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let mut setups = reception.watch();
    let mut tasks: JoinSet<String> = JoinSet::new();
    let mut working: BTreeMap<String, Working> = BTreeMap::new();
    for (worker, opened) in opened {
        let stop = stop.child_token();
        tasks.spawn(work(worker.clone(), Some(opened), reception.clone(), stop.clone()));
        working.insert(worker.name.name.clone(), Working { worker, stop, ended: false });
    }
    while !stop.is_cancelled() {
        let wanted: Vec<Worker> = setups.borrow_and_update().setup.workers.0.clone();
        // Those that changed or are gone stop; each start waits for nothing but what it takes the place of.
        for working in working.values().filter(|working| !wanted.contains(&working.worker)) {
            working.stop.cancel();
        }
        working.retain(|_, working| !(working.stop.is_cancelled() && working.ended));
        for worker in wanted {
            if may_start(&working, &worker) {
                let (name, stop) = (worker.name.name.clone(), stop.child_token());
                tasks.spawn(work(worker.clone(), None, reception.clone(), stop.clone()));
                working.insert(name, Working { worker, stop, ended: false });
            }
        }
        tokio::select! {
            () = stop.cancelled() => break,
            // The reception itself holds the sender.
            _ = setups.changed() => {}
            Some(ended) = tasks.join_next() => note_end(&mut working, ended),
        }
    }
    while let Some(ended) = tasks.join_next().await {
        note_end(&mut working, ended);
    }
    Ok(())
}

/// Whether a feed can start: it does not work already, and nothing that still stops holds its name or the place that it wants.
fn may_start(working: &BTreeMap<String, Working>, worker: &Worker) -> bool {
    // A port is the same one by SMTP and by LMTP.
    fn bare(place: &str) -> &str {
        place.split_once("://").map_or(place, |(_, place)| place)
    }
    fn is_held(place: &str, other: &str) -> bool {
        let (place, other) = (bare(place), bare(other));
        match (place.parse(), other.parse()) {
            (Ok(place), Ok(other)) => clash(place, other) != Clash::None,
            _ => place == other,
        }
    }
    let place = worker.place();
    let mut stopping = working.values().filter(|working| working.stop.is_cancelled() && !working.ended);
    !working.contains_key(&worker.name.name) && !stopping.any(|other| is_held(&place, &other.worker.place()))
}

/// Takes note of a feed whose task has ended; its panic is passed on.
fn note_end(working: &mut BTreeMap<String, Working>, ended: Result<String, JoinError>) {
    match ended {
        Ok(name) => {
            if let Some(working) = working.get_mut(&name) {
                working.ended = true;
            }
        }
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // Nobody aborts them.
        Err(_) => {}
    }
}

/// Opens a feed, unless it is, and lets it work.
async fn work(worker: Worker, opened: Option<Opened>, reception: Reception, stop: CancellationToken) -> String {
    let name = worker.name.name.clone();
    let opened = match opened {
        Some(opened) => opened,
        None => loop {
            match worker.work.open().await {
                Ok(opened) => {
                    reception.reached(&name);
                    break opened;
                }
                Err(reason) => {
                    reception.unreachable(&name);
                    if reception.tells(&name, "unopened").is_some() {
                        tracing::error!(
                            feed = name,
                            reason,
                            "the feed can't be opened; it is tried again every few seconds"
                        );
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => return name,
                () = reception.clock().sleep(OPEN_AGAIN) => {}
            }
        },
    };
    opened(worker.name, reception, stop).await;
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A feed at a place, which is never opened.
    #[derive(Debug, PartialEq)]
    struct At(&'static str);

    impl Work for At {
        fn open(&self) -> Boxed<'_, Result<Opened, String>> {
            Box::pin(async { Err("it is a stand-in".to_owned()) })
        }

        fn place(&self) -> String {
            self.0.to_owned()
        }
    }

    #[test]
    fn a_feed_waits_for_what_it_takes_the_place_of_alone() {
        let worker = |name: &str, place| Worker {
            name: FeedName { name: name.to_owned(), exposure: crate::model::Exposure::None },
            provider: Provider::Mail,
            table: "feeds.mail.0".to_owned(),
            work: Arc::new(At(place)),
        };
        let working = |worker: Worker, stops: bool, ended| {
            let stop = CancellationToken::new();
            if stops {
                stop.cancel();
            }
            (worker.name.name.clone(), Working { worker, stop, ended })
        };
        let slow = worker("mail/slow", "smtp://127.0.0.1:25");
        let all = BTreeMap::from([
            working(slow.clone(), true, false),
            working(worker("mail/other", "smtp://127.0.0.1:26"), false, false),
        ]);
        let starts = |name: &str, place| may_start(&all, &worker(name, place));
        assert!(starts("mail/new", "smtp://127.0.0.1:27"), "the slow one is none of its business");
        assert!(!starts("mail/slow", "smtp://127.0.0.1:27"), "its predecessor has not stopped");
        assert!(!starts("mail/renamed", "lmtp://127.0.0.1:25"), "its port is not free");
        assert!(!starts("mail/renamed", "smtp://0.0.0.0:25"), "nor is it for a listener on all addresses");
        assert!(!starts("mail/other", "smtp://127.0.0.1:26"), "it works already");
        let stopped = BTreeMap::from([working(slow, true, true)]);
        assert!(may_start(&stopped, &worker("mail/renamed", "lmtp://127.0.0.1:25")));
    }

    #[test]
    fn what_breaks_down_over_its_input_takes_nothing_else_down() {
        assert_eq!(unless_it_breaks("sqs", || 7), Some(7));
        let nothing: [u8; 0] = [];
        assert_eq!(unless_it_breaks("sqs", || nothing.iter().copied().max().expect("a panic of its own")), None);
    }
}
