//! The loop: read, join, commit, keep the position.

use std::{io, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{
    follower::{Follower, Lines, News},
    joiner::Joiner,
    journal::Journal,
    place::{Keeper, Position},
};
use crate::{
    ingest::{
        KEPT_MILLIS, Report, SetAside, SetAsideReason,
        intake::FeedName,
        reception::{NotTaken, Reception, Refused},
        workers::unless_it_breaks,
    },
    model::{Provider, Timestamp},
};

/// How often a file is looked at that brings nothing new.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The first wait after something failed; each is twice as long as the one before …
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// … up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What is followed.
#[derive(Debug)]
pub(super) enum Source {
    /// A file; taken away while it is read.
    File(Option<Follower>),
    /// The journal.
    Journal(Journal),
}

/// Follows one log.
pub(super) struct Runner {
    pub(super) source: Source,
    pub(super) joiner: Joiner,
    pub(super) keeper: Keeper,
    /// What is followed, for people.
    pub(super) place: String,
    pub(super) feed: FeedName,
    pub(super) reception: Reception,
    pub(super) stop: CancellationToken,
    /// What is kept as the position.
    pub(super) kept: Option<Position>,
}

impl Runner {
    /// Follows until it is told to stop.
    pub(super) async fn run(mut self) {
        let stop = self.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            // What is cut off here was not committed, or its position not kept: it is read again, and changes nothing.
            () = self.follow() => {}
        }
        if let Source::Journal(journal) = &mut self.source {
            // It has nothing more to say.
            drop(journal.stop().await);
        }
    }

    async fn follow(&mut self) {
        let mut failures = 0;
        loop {
            let now = self.reception.clock().now();
            match self.read(now).await {
                Ok(lines) => {
                    failures = 0;
                    self.note_reading();
                    match lines {
                        Some(lines) => self.settle(&lines, now).await,
                        None => self.pause(LOOK_EVERY).await,
                    }
                }
                Err(error) => {
                    self.reception.unreachable(&self.feed.name);
                    self.tell_of(&error);
                    failures += 1;
                    self.pause(wait_after(failures)).await;
                }
            }
        }
    }

    /// Notes that the log can be read, or that it is not there.
    fn note_reading(&self) {
        let feed = self.feed.name.as_str();
        let missing = matches!(&self.source, Source::File(Some(follower)) if follower.is_missing());
        if !missing {
            self.reception.reached(feed);
            return;
        }
        self.reception.unreachable(feed);
        if self.reception.tells(feed, "log-missing").is_some() {
            tracing::warn!(feed, place = self.place, "the log is not there; it is waited for");
        }
    }

    /// Some lines; nothing where there are none just now.
    async fn read(&mut self, now: Timestamp) -> io::Result<Option<Lines>> {
        match &mut self.source {
            Source::Journal(journal) => journal.next().await,
            Source::File(place) => {
                let Some(mut follower) = place.take() else {
                    return Err(io::Error::other("its reading was broken off"));
                };
                let task = tokio::task::spawn_blocking(move || {
                    let lines = follower.next(now);
                    let news = follower.news();
                    (follower, lines, news)
                });
                let (follower, lines, news) = task.await.map_err(|error| match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(error) => io::Error::other(error),
                })?;
                *place = Some(follower);
                for news in news {
                    self.tell_news(news);
                }
                lines
            }
        }
    }

    /// Commits what lines tell, and keeps the position after them. Where the store is away, nothing more is read until it is back.
    async fn settle(&mut self, lines: &Lines, now: Timestamp) {
        let (feed, joiner) = (self.feed.name.as_str(), &mut self.joiner);
        let mut join = |lines: &[u8]| joined(feed, lines, |line, report| joiner.line(line, now, report));
        // What known lines tell of mails in the queue stays with the joiner; their outcomes are done.
        drop(join(&lines.known));
        let report = join(&lines.fresh);
        if !lines.fresh.is_empty() {
            self.begin();
            self.commit(report).await;
        }
        self.keep();
    }

    async fn commit(&self, report: Report) {
        let (mut failures, name) = (0, self.feed.name.as_str());
        loop {
            let (now, setup) = (self.reception.clock().now(), self.reception.setup());
            let refusal = match self.reception.take(&self.feed, report.clone(), &setup.knowledge, now).await {
                Ok(()) => return self.reception.accepted(name),
                Err(refusal) => refusal,
            };
            let detail = match refusal {
                NotTaken::ComeAgain(_, detail) => detail,
                NotTaken::TokenReused => "the token came before with another body",
            };
            let refused = Refused { reason: refusal.reason(), detail, later: true, conclusive: false };
            self.reception.refused(name, refused);
            failures += 1;
            self.pause(wait_after(failures)).await;
        }
    }

    /// Keeps where reading began, where no position was ever kept: a log that is rotated before the first one is kept is not found
    /// again otherwise.
    fn begin(&mut self) {
        if let (None, Source::File(Some(follower))) = (&self.kept, &self.source) {
            let (log, places) = (follower.path().to_owned(), follower.beginnings());
            self.save(Position::Files { log, places });
        }
    }

    /// Keeps the position, if it has changed.
    fn keep(&mut self) {
        let position = match &self.source {
            Source::Journal(journal) => journal.position(),
            Source::File(Some(follower)) => {
                let (log, places) = (follower.path().to_owned(), follower.places());
                // None is worse than the one before.
                (!places.is_empty()).then_some(Position::Files { log, places })
            }
            Source::File(None) => None,
        };
        if let Some(position) = position.filter(|position| self.kept.as_ref() != Some(position)) {
            self.save(position);
        }
    }

    fn save(&mut self, position: Position) {
        match self.keeper.save(&position) {
            Ok(()) => self.kept = Some(position),
            Err(error) => {
                if self.reception.tells(&self.feed.name, "position").is_some() {
                    tracing::warn!(
                        feed = self.feed.name, %error, file = %self.keeper.path().display(),
                        "how far the log is read can't be kept; after a restart it is read again from an earlier place, which \
                         changes nothing"
                    );
                }
            }
        }
    }

    fn tell_news(&self, news: News) {
        let (feed, place) = (self.feed.name.as_str(), self.place.as_str());
        match news {
            News::Opened => tracing::info!(feed, place, "the log is followed"),
            News::RestLost => {
                if self.reception.tells(feed, "log-rest").is_some() {
                    tracing::warn!(
                        feed,
                        place,
                        "the log was rotated away before it was read to its end, and what is left of it is not found beside it, \
                         plain or packed by gzip; where it lies elsewhere, `relaywatch import` reads it, and what is known already \
                         changes nothing"
                    );
                }
            }
        }
    }

    fn tell_of(&self, error: &io::Error) {
        let (feed, place) = (self.feed.name.as_str(), self.place.as_str());
        let advice = match (&self.source, error.kind()) {
            (Source::Journal(_), io::ErrorKind::NotFound) => "install systemd's journalctl, or set `log_file`",
            (Source::Journal(_), _) => {
                "run `journalctl --follow SYSLOG_FACILITY=2` as relaywatch's user; it has to be in the group systemd-journal"
            }
            (_, io::ErrorKind::PermissionDenied) => {
                "let relaywatch's user read it: its group is mostly adm (SupplementaryGroups=adm in the unit)"
            }
            _ => "set `log_file` to an ordinary file in a folder that relaywatch's user can list",
        };
        if let Some(count) = self.reception.tells(feed, "log-unreadable") {
            tracing::warn!(feed, place, %error, count, advice, "the log can't be read; it is tried again and again");
        }
    }

    async fn pause(&self, duration: Duration) {
        self.reception.clock().sleep(duration).await;
    }
}

/// What lines tell. One over which the joining breaks down is set aside.
fn joined(feed: &str, lines: &[u8], mut join: impl FnMut(&[u8], &mut Report)) -> Report {
    let mut report = Report::default();
    for line in lines.split(|byte| *byte == b'\n') {
        if unless_it_breaks(feed, || join(line, &mut report)).is_none() {
            report.set_aside.push(SetAside {
                provider: Provider::Postfix,
                reason: SetAsideReason::Malformed,
                label: "unreadable".to_owned(),
                at: None,
                body: line.to_vec(),
                kept_millis: KEPT_MILLIS,
            });
        }
    }
    report
}

/// How long to wait after the nth failure in a row.
fn wait_after(failures: u32) -> Duration {
    FIRST_WAIT.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_over_which_joining_breaks_down_is_set_aside_and_the_rest_goes_on() {
        let mut read = Vec::new();
        let report = joined("postfix", b"one\npoison\ntwo", |line, report| {
            assert_ne!(line, b"poison");
            read.push(line.to_vec());
            report.ignored.push("probe");
        });
        assert_eq!((read.as_slice(), report.ignored.len()), ([b"one".to_vec(), b"two".to_vec()].as_slice(), 2));
        let [part] = report.set_aside.as_slice() else { panic!("one part") };
        assert_eq!((part.reason, part.body.as_slice()), (SetAsideReason::Malformed, b"poison".as_slice()));
    }
}
