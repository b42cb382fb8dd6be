//! Blind windows: times in which a feed or relaywatch itself was down or silent, so that absence proves nothing.
//!
//! Each is two entries of the journal at most: one when it is found, one when it ends. They are written by whoever sees it:
//! outages of ours and refused deliveries by the process that takes feeds in ([`crate::ingest::alive`]), silence by the monitor.

mod silence;
mod ticket;

use std::collections::BTreeMap;

use serde_json::json;

pub(super) use self::silence::Silence;
use crate::{
    explain::{BlindReason, BlindWindow, Watched},
    model::{Bin, Provider, Timestamp, holds_reports_millis},
    store::{EntryKind, EntryRecord, Epoch, Store, StoreError},
};

/// What [`Window::watched`] says where nothing at all was watched.
pub const ALL: &str = "all";
/// What it says of Apple's notices, through whatever feed they come; of those of one app, `notices/<team>/<client id>`.
pub const NOTICES: &str = "notices";
/// What it begins with where a mailbox of canaries was not read, or its control did not arrive: `canary/<mailbox>`.
pub const CANARY: &str = "canary/";
/// What it says of DNS as a whole; of one name, `dns/<name>`.
pub const DNS: &str = "dns";
/// Windows that are read, the newest ones.
const MOST: u32 = 10_000;
/// Once an outage is over, what providers hold back comes in within this time, or within the outage's own length where that is
/// longer: their retries grow apart with the time that they have waited.
const LEAST_REFILL_MILLIS: i64 = 30 * 60_000;

/// One blind window, as the journal tells it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    /// From when.
    pub from: Timestamp,
    /// `all`, `notices`, those of one app (`notices/<team>/<client id>`), canaries (`canary/<mailbox>`), or a feed's name:
    /// `ses/eu`.
    pub watched: String,
    /// Why, where it is known.
    pub reason: Option<BlindReason>,
    /// Until when; `None` while it lasts.
    pub until: Option<Timestamp>,
}

impl Window {
    /// What an entry says; `None` where it is no window.
    #[must_use]
    pub fn read(entry: &EntryRecord) -> Option<Self> {
        let time = |name: &str| entry.body.get(name).and_then(serde_json::Value::as_i64).map(Timestamp::from_millis);
        let text = |name: &str| entry.body.get(name).and_then(serde_json::Value::as_str);
        Some(Self {
            from: time("from")?,
            watched: text("watched")?.to_owned(),
            reason: text("reason").and_then(BlindReason::from_name),
            until: time("until"),
        })
    }

    /// Journals it as it is now known, with a reign where only its leader sees it; gives whether that is new.
    ///
    /// # Errors
    /// [`StoreError::NotLeading`] once the reign is over; or where the store is away or full.
    pub async fn journal(&self, store: &Store, reign: Option<Epoch>) -> Result<bool, StoreError> {
        let body = json!({
            "watched": self.watched,
            "reason": self.reason,
            "from": self.from.as_millis(),
            "until": self.until.map(Timestamp::as_millis),
        });
        store.append(reign, EntryKind::BlindWindow, self.from, body).await
    }

    /// What an incident's evidence says of it; `None` where it names nothing that this version watches.
    #[must_use]
    pub fn evidence(&self) -> Option<BlindWindow> {
        let watched = match self.watched.as_str() {
            ALL => Watched::All,
            NOTICES => Watched::Notices,
            named => match (app_of(named), Provider::of_feed(named)) {
                (Some((team, app)), _) => Watched::NoticesOf { team: team.to_owned(), app: app.to_owned() },
                // Apple's feeds bring notices.
                (None, provider) => match provider? {
                    Provider::Apple => Watched::Notices,
                    provider => Watched::Feed(provider),
                },
            },
        };
        Some(BlindWindow { watched, from: self.from, until: self.until, reason: self.reason })
    }
}

/// What [`Window::watched`] says of the notices of one app.
fn notices_of(team: &str, app: &str) -> String {
    format!("{NOTICES}/{team}/{app}")
}

/// What [`Window::watched`] says of one name in DNS.
#[must_use]
pub fn dns_of(name: &str) -> String {
    format!("{DNS}/{name}")
}

/// Whether a window is of DNS.
#[must_use]
pub fn is_of_dns(watched: &str) -> bool {
    watched.strip_prefix(DNS).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Team and client id, where a window is of the notices of one app.
fn app_of(watched: &str) -> Option<(&str, &str)> {
    watched.strip_prefix(NOTICES)?.strip_prefix('/')?.split_once('/')
}

/// What the evidence of an incident says of the windows that reach into the time from `from` to `to`, by their begin. Also of
/// those that were found, or ended, after it was explained.
#[must_use]
pub fn touching(windows: &[Window], from: Timestamp, to: Timestamp) -> Vec<BlindWindow> {
    let reaches = |window: &BlindWindow| window.from < to && window.until.is_none_or(|until| until > from);
    windows.iter().filter_map(Window::evidence).filter(reaches).collect()
}

/// The windows that entries tell of, by their begin, in whatever order the entries come. Of a window that was journalled twice
/// the end that is known counts, the latest of several.
#[must_use]
pub fn windows(entries: &[EntryRecord]) -> Vec<Window> {
    let mut all: Vec<Window> = entries.iter().filter_map(Window::read).collect();
    all.sort_unstable();
    all.dedup_by(|later, kept| {
        let same = (&later.watched, later.from, later.reason) == (&kept.watched, kept.from, kept.reason);
        if same {
            kept.until = kept.until.max(later.until);
        }
        same
    });
    all
}

/// The windows of the journal.
///
/// # Errors
/// Where the store is away.
pub async fn known(store: &Store, now: Timestamp) -> Result<Vec<Window>, StoreError> {
    Ok(windows(&store.entries_of_kind(EntryKind::BlindWindow, now, MOST).await?))
}

/// For how long what each provider reports is held while nobody takes it: the least of the feeds that brought its reports, since a
/// stream does not say through which it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holds(BTreeMap<Provider, i64>);

impl Holds {
    /// Takes note of a feed, by its name.
    pub fn note(&mut self, feed: &str) {
        let Some(provider) = Provider::of_feed(feed) else { return };
        let millis = holds_reports_millis(feed);
        self.0.entry(provider).and_modify(|least| *least = millis.min(*least)).or_insert(millis);
    }

    /// For how long it is held, in milliseconds.
    #[must_use]
    pub fn millis(&self, provider: Option<Provider>) -> i64 {
        let Some(provider) = provider else { return 0 };
        self.0.get(&provider).copied().unwrap_or_else(|| provider.holds_reports_millis())
    }
}

/// An outage of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Outage {
    /// From when.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

impl Outage {
    /// Those among the windows, by their begin; one that lasts ends now.
    #[must_use]
    pub fn among(windows: &[Window], now: Timestamp) -> Vec<Self> {
        let ours = windows.iter().filter(|window| window.watched == ALL);
        ours.map(|window| Self { from: window.from, until: window.until.unwrap_or(now) }).collect()
    }

    /// Whether mail of this bin moves no detector because of the outage, seen from `now`, where its reports are held for so long.
    ///
    /// A bin that overlaps it is incomplete: some of its outcomes were reported to nobody. It counts again, with what has come
    /// meanwhile, where every report is held for longer than the outage took, once there was time for it to come.
    #[must_use]
    pub fn withholds(&self, bin: Bin, held_millis: i64, now: Timestamp) -> bool {
        self.covers(bin) && (self.loses(held_millis) || now < self.refilled_at())
    }

    /// Whether a bin of send time overlaps it.
    #[must_use]
    pub fn covers(&self, bin: Bin) -> bool {
        bin.end() > self.from && bin.start() < self.until
    }

    /// Whether some of what was reported in it never comes: it lasted longer than every report is held.
    #[must_use]
    pub const fn loses(&self, held_millis: i64) -> bool {
        self.until.millis_since(self.from) >= held_millis
    }

    /// When what was held back has come.
    #[must_use]
    pub fn refilled_at(&self) -> Timestamp {
        self.until.plus_millis(self.until.millis_since(self.from).max(LEAST_REFILL_MILLIS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{DAY_MILLIS, HOUR_MILLIS},
        store::{EventKey, Position},
    };

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_millis(20_000 * DAY_MILLIS + hours * HOUR_MILLIS)
    }

    fn entry(watched: &str, from: i64, until: Option<i64>) -> EntryRecord {
        let millis = |hours: i64| at(hours).as_millis();
        EntryRecord {
            position: Position::START,
            key: EventKey { at: at(from), hash: [0; 16] },
            kind: EntryKind::BlindWindow,
            account: None,
            address: None,
            body: json!({ "watched": watched, "reason": "silent", "from": millis(from), "until": until.map(millis) }),
        }
    }

    #[test]
    fn a_window_ends_with_its_second_entry_in_whatever_order_they_come() {
        let mut entries = vec![
            entry("ses/eu", 0, None),
            entry("ses/eu", 0, Some(3)),
            entry("ses", 0, None),
            entry("apple", 1, Some(2)),
        ];
        let read = windows(&entries);
        let told: Vec<_> = read.iter().map(|window| (window.watched.as_str(), window.until)).collect();
        assert_eq!(told, [("ses", None), ("ses/eu", Some(at(3))), ("apple", Some(at(2)))]);
        entries.reverse();
        assert_eq!(windows(&entries), read);
        assert_eq!(read[2].evidence().map(|window| window.watched), Some(Watched::Notices));
        assert_eq!(read[1].evidence().map(|window| window.watched), Some(Watched::Feed(Provider::Ses)));
    }

    #[test]
    fn a_bin_of_an_outage_counts_again_only_where_the_provider_sends_all_of_it_again() {
        let outage = Outage { from: at(0), until: at(2) };
        let inside = at(1).bin();
        let withheld = |provider, now| outage.withholds(inside, Holds::default().millis(Some(provider)), now);
        assert!(withheld(Provider::Sparkpost, at(3)), "its retries are still to come");
        assert!(!withheld(Provider::Sparkpost, at(4)), "it has sent all of it again");
        assert!(withheld(Provider::Ses, at(4_000)), "SNS gives up within minutes");
        assert!(withheld(Provider::Mailgun, at(4_000)), "deliveries do not come again, refusals do");
        let long = Outage { from: at(0), until: at(9) };
        assert!(long.withholds(inside, 8 * HOUR_MILLIS, at(4_000)), "longer than it tries");
        assert!(!long.withholds(at(9).bin(), 0, at(9)), "after it");
        assert!(!long.withholds(Bin(at(0).bin().0 - 1), 0, at(9)), "before it");
    }
    #[test]
    fn what_is_held_goes_by_the_feed_that_holds_least() {
        let held = |feeds: &[&str], provider| {
            let mut holds = Holds::default();
            for feed in feeds {
                holds.note(feed);
            }
            holds.millis(Some(provider))
        };
        assert_eq!(held(&["sqs/eu", "import/ses"], Provider::Ses), 4 * DAY_MILLIS);
        assert_eq!(held(&["sqs/eu", "ses"], Provider::Ses), 0, "SNS gives up within minutes");
        assert_eq!(held(&["sqs/eu", "ses-firehose"], Provider::Ses), 0);
        assert_eq!(held(&["mail"], Provider::Mail), 5 * DAY_MILLIS);
        assert_eq!(held(&["import/mailgun"], Provider::Mailgun), i64::MAX);
        assert_eq!(held(&[], Provider::Sparkpost), 8 * HOUR_MILLIS, "none has reported");
        let (outage, inside) = (Outage { from: at(0), until: at(2) }, at(1).bin());
        assert!(!outage.withholds(inside, held(&["sqs"], Provider::Ses), at(4)), "the queue has brought all of it");
        assert!(outage.withholds(inside, held(&["sqs"], Provider::Ses), at(3)), "it is still to come");
    }
}
