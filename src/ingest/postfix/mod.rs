//! The log of Postfix: what became of each mail, by the lines of its delivery agents.
//!
//! Sources: Postfix's own documentation (MAILLOG_README, postconf(5) on `enable_long_queue_ids`, `info_log_address_format`,
//! `syslog_name`, `maximal_queue_lifetime`; qmgr(8), bounce(8), smtp(8)). The form of the lines is not documented there; it's read
//! off the log of a Postfix 3.7 (the fixture `postfix-3-7`), and is the same since 2.3 (recalled).
//!
//! | line | event |
//! |---|---|
//! | `status=sent` by `smtp` or `lmtp` to another host | delivered; sent where the host has a private address or is one of `smarthosts`, since it hands the mail on |
//! | `status=sent` on this machine (`local`, `virtual`, `pipe`, a socket) | ignored: no receiving side |
//! | `status=bounced` with `host … said:` or `refused to talk to me:` | refused, with the reply |
//! | `status=bounced` with other words | refused by Postfix itself (size, loops, no such domain): of unknown class and without codes |
//! | `status=deferred` | deferred, with the reply where there is one; a suspended destination was not asked |
//! | `qmgr`: `status=expired` | refused, for each recipient that was deferred, with the last reply |
//! | `status=deliverable`, `undeliverable` | ignored: a probe |
//!
//! The lines of one mail have its queue id: `cleanup` tells the Message-ID, `qmgr` the envelope sender at each attempt. They are
//! joined by host and queue id, whatever the instances call themselves, since services can have names of their own beside those of
//! their instance. An outcome does not wait for other lines: where they are lost, it has no envelope domain, and the queue id
//! stands for the message. The same line is the same event by file and by journal, so that times are whole seconds.

mod attempt;
mod cut;
mod follower;
mod joiner;
mod journal;
mod line;
mod open;
mod place;
mod run;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use jiff::tz::TimeZone;
use tokio_util::sync::CancellationToken;

use self::{
    follower::Follower,
    journal::{JOURNALCTL, Journal},
    place::{Keeper, Position},
    run::{Runner, Source},
};
use super::{
    http::feeds::{FeedError, Place, SetUp},
    intake::FeedName,
    reception::Reception,
    workers::{Boxed, Opened, Work},
};
use crate::{
    config::{Config, PostfixFeed},
    model::{Provider, normalise_domain},
};

pub use self::{
    cut::Cutter,
    joiner::{Joiner, MAX_LINE_BYTES},
};

/// Where the lines come from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Log {
    /// A file that grows and is rotated.
    File(PathBuf),
    /// systemd's journal, by this program.
    Journal(PathBuf),
}

/// A feed that follows the log of Postfix.
#[derive(Debug, Clone, PartialEq)]
pub struct Postfix {
    log: Log,
    zone: TimeZone,
    smarthosts: Vec<String>,
    keeper: Keeper,
}

impl SetUp for Postfix {
    type Table = PostfixFeed;
    const PROVIDER: Provider = Provider::Postfix;

    fn set_up(config: &Config, table: &PostfixFeed, place: &Place) -> Result<Self, Vec<FeedError>> {
        let log = match &table.log_file {
            Some(file) => Log::File(file.0.clone()),
            None => Log::Journal(JOURNALCTL.into()),
        };
        let zone = match &table.time_zone {
            Some(name) => {
                place.or_wrong(TimeZone::get(name).map_err(|_| "`time_zone` is not known to this machine"))?
            }
            None => TimeZone::system(),
        };
        Ok(Self {
            log,
            zone,
            smarthosts: table.smarthosts.iter().map(|host| normalise_domain(host)).collect(),
            keeper: Keeper::new(config.state_directory(), place.name()),
        })
    }
}

impl Postfix {
    fn runner(&self, feed: FeedName, reception: Reception, stop: CancellationToken) -> Runner {
        // One of another log is none.
        let kept = self.keeper.load().filter(|kept| match (kept, &self.log) {
            (Position::Files { log, .. }, Log::File(path)) => log == path,
            (Position::Journal { .. }, Log::Journal(_)) => true,
            _ => false,
        });
        let source = match (&self.log, &kept) {
            (Log::Journal(program), _) => Source::Journal(Journal::new(program.clone(), kept.clone())),
            (Log::File(path), Some(Position::Files { places, .. })) => {
                Source::File(Some(Follower::new(path.clone(), Some(places.clone()))))
            }
            (Log::File(path), _) => Source::File(Some(Follower::new(path.clone(), None))),
        };
        let joiner = Joiner::new(self.zone.clone(), &self.smarthosts);
        Runner { source, joiner, keeper: self.keeper.clone(), place: self.place(), feed, reception, stop, kept }
    }
}

impl Work for Postfix {
    /// Nothing that it needs is there for certain: files come and go.
    fn open(&self) -> Boxed<'_, Result<Opened, String>> {
        let postfix = self.clone();
        let opened: Opened = Box::new(move |feed: FeedName, reception: Reception, stop: CancellationToken| {
            Box::pin(async move { postfix.runner(feed, reception, stop).run().await })
        });
        Box::pin(async move { Ok(opened) })
    }

    fn place(&self) -> String {
        match &self.log {
            Log::File(path) => path.display().to_string(),
            Log::Journal(_) => "the journal, facility mail".to_owned(),
        }
    }

    fn probe(&self) -> Boxed<'_, Option<Result<(), String>>> {
        Box::pin(async {
            let Log::File(path) = &self.log else { return None };
            let opened = match tokio::fs::metadata(path).await {
                Ok(found) if !found.is_file() => return Some(Err("it is no ordinary file".to_owned())),
                Ok(_) => tokio::fs::File::open(path).await.map(drop),
                Err(error) => Err(error),
            };
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            if opened.is_ok()
                && let Err(error) = tokio::fs::read_dir(folder.unwrap_or(std::path::Path::new("."))).await
            {
                let said =
                    format!("the folder can't be listed ({error}), so that after a rotation nothing is found again");
                return Some(Err(said));
            }
            Some(opened.map_err(|error| {
                match error.kind() {
                    std::io::ErrorKind::NotFound => {
                        "there is no such file: does Postfix log there (syslog, or `maillog_file` in its main.cf)?"
                            .to_owned()
                    }
                    std::io::ErrorKind::PermissionDenied => {
                        "this user may not read it: the daemon's needs the log's group, mostly adm".to_owned()
                    }
                    _ => error.to_string(),
                }
            }))
        })
    }
}
