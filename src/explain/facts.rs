//! What is counted about an incident before it is explained.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Clue;
use crate::{
    detect::Counts,
    model::{Cause, HOUR_MILLIS, Provider, RelayNotice, Timestamp, words},
};

/// A blind window that ends later than so long before the onset is recent.
const RECENT_MILLIS: i64 = 48 * HOUR_MILLIS;
/// From this share of the window on the notice endpoint was too blind for its silence to prove anything.
const TOO_BLIND: f64 = 0.25;

words! {
    /// What a reply text says about an incident, coarser than its cause.
    pub enum ReplyGroup {
        /// `unauthorized sender`, `bad mailbox name`: Apple refuses this sender.
        SenderRefused = 1, "sender-refused";
        /// SPF, DKIM or DMARC failed.
        Authentication = 2, "authentication";
        /// `user not found` and its kin: the address is unknown, moved or off.
        AddressGone = 3, "address-gone";
        /// Texts of temporary trouble (rate, quota, greylisting), counted as refused for good.
        Temporary = 4, "temporary";
        /// The signature of an outage at the receiving provider.
        Outage = 5, "outage";
        /// Texts that speak for none of the hypotheses.
        Other = 99, "other";
    }
}

impl From<Cause> for ReplyGroup {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::RelaySenderUnregistered => Self::SenderRefused,
            Cause::AuthenticationFailed | Cause::DmarcRejected => Self::Authentication,
            Cause::RecipientUnknown
            | Cause::RecipientMoved
            | Cause::MailboxDisabled
            | Cause::RelayForwardingDisabled => Self::AddressGone,
            Cause::RateLimited
            | Cause::Greylisted
            | Cause::MailboxFull
            | Cause::TooManyRecipients
            | Cause::RelayDailyLimit
            | Cause::DeliveryExpired => Self::Temporary,
            Cause::ProviderOutage | Cause::ReceiverError | Cause::ReceiverStorageFull => Self::Outage,
            _ => Self::Other,
        }
    }
}

/// All that is known of an incident, as counts. What is unknown is `None` or empty, never nil by default in meaning: an absent
/// fact is "not checked".
///
/// Counts are of different addresses, unless a field says otherwise. Attempts that the ESP did not make, since it has
/// suppressed the address, are in none of them: they say nothing about Apple.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct IncidentFacts {
    /// The estimated onset: the last time that nothing spoke for trouble.
    pub onset: Option<Timestamp>,
    /// When the rate of refusals turned, as far as the bins tell; never before the onset.
    pub turned: Option<Timestamp>,
    /// Messages since the onset, and those refused for good: what the detector counted.
    pub counts: Counts,
    /// How many of the messages would have been refused in ordinary times: `m n`.
    pub expected: f64,
    /// Addresses refused since the onset.
    pub refused_addresses: u64,
    /// Notices and the account map, joined to the addresses.
    pub notices: Option<NoticeFacts>,
    /// Refused addresses by the cause that their (last) reply states.
    pub replies: BTreeMap<Cause, u64>,
    /// The most frequent texts of the replies, without addresses, ids and hosts; the most frequent first.
    pub texts: Vec<ReplyText>,
    /// How the first of [`Self::texts`] compares with the time before; `None` where nothing is known of that.
    pub one_text: Option<OneText>,
    /// Refused addresses whose replies were looked at for [`Self::texts`]: all, or a sample.
    pub texts_of: u64,
    /// The From and envelope domains: does the trouble sit in one of them?
    pub senders: Option<Concentration>,
    /// The providers.
    pub providers: Option<Concentration>,
    /// The campaigns.
    pub campaigns: Option<Concentration>,
    /// Recipients outside the relay at Apple (icloud.com and others configured), same sends.
    pub apple_control: Option<Control>,
    /// All other recipients outside the relay, same sends.
    pub other_control: Option<Control>,
    /// When the refused addresses last had mail delivered.
    pub last_delivery: Option<LastDelivery>,
    /// How reports arrived.
    pub arrivals: Option<Arrivals>,
    /// Times in which absence proves nothing, from 30 days before the onset on.
    pub blind_windows: Vec<BlindWindow>,
    /// Mails of Apple's to the Account Holder about the relay, from 30 days before the onset on. Shown, and weighed for nothing: no
    /// such mail was ever published, and anybody can write one.
    pub relay_mails: Vec<RelayMail>,
    /// Changes in the DNS of the incident's From and envelope domains, as the watch observed them from six hours before the onset on.
    pub dns_changes: Vec<DnsChange>,
}

/// A change in DNS that a stream's domains depend on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsChange {
    /// When it was observed.
    pub at: Timestamp,
    /// What changed, from what to what, in one line.
    pub says: String,
    /// How much it costs by the audit: `fatal`, `at-risk`, `notable`.
    pub grade: String,
}

/// Notices joined to the addresses of the incident.
///
/// An address is *exposed* if a notice that ends its mail (`email-disabled`, `consent-revoked`, `account-deleted`, not undone by
/// `email-enabled` before the refusal) lies in the window of 30 days before to 48 hours after the refusal (for an accepted
/// address, after its last acceptance). It is *mapped* if its `sub` is known, or was until it was erased (a tombstone).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NoticeFacts {
    /// a: refused, mapped, exposed by a notice before the refusal.
    pub refused_exposed_before: u64,
    /// a: refused, mapped, exposed by a notice in the 48 hours after the refusal only.
    pub refused_exposed_after: u64,
    /// b: refused, mapped, not exposed.
    pub refused_unexposed: u64,
    /// Refused, and not mapped: nobody knows.
    pub refused_unmapped: u64,
    /// c: accepted in the same sends, mapped, exposed.
    pub accepted_exposed: u64,
    /// d: accepted in the same sends, mapped, not exposed.
    pub accepted_unexposed: u64,
    /// Exposure among accepted addresses over the last weeks, for incidents in which next to nothing was accepted.
    pub usual_exposure: Option<f64>,
    /// The share of the window in which the notice endpoint was down or silent: 0 to 1.
    pub blind_share: f64,
}

/// Whether the refusals sit in one element of a dimension: one domain, one provider, one campaign.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Concentration {
    /// The element with the most refusals beyond what is expected of it.
    pub top: String,
    /// Messages of that element, and those refused.
    pub inside: Counts,
    /// Messages of all other elements, and those refused.
    pub outside: Counts,
    /// How many elements had mail; 0 where that is not known.
    pub elements: u64,
}

/// What replies to an incident's refusals say, word for word but for what could tell the recipient.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReplyText {
    /// The reply's template, shortened.
    pub text: String,
    /// Refused addresses that got it.
    pub addresses: u64,
    /// What names the template in every store (`store::template_id`); empty where an earlier version wrote the facts.
    #[serde(default)]
    pub template: String,
}

/// How many of the addresses that were refused got the incident's most frequent reply, since its onset and before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OneText {
    /// Refused since the onset with that template …
    pub since: u64,
    /// … of so many that were looked at.
    pub of: u64,
    /// The same in the 30 days before: with that template …
    pub before: u64,
    /// … of so many; 0 where mail was sent and nobody was refused.
    pub before_of: u64,
}

/// A group outside the relay in the same sends.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Control {
    /// Messages, and those refused for good.
    pub counts: Counts,
    /// The ordinary refusal rate of the group.
    pub usual_rate: f64,
}

/// When the refused addresses last had mail delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LastDelivery {
    /// Refused addresses whose history is known.
    pub known: u64,
    /// Of them, with a delivery in the 24 hours before the refusal.
    pub within_a_day: u64,
    /// Of them, with a last delivery more than 180 days before. Those that never had one tell nothing and are in neither.
    pub stale: u64,
}

/// How the reports of the incident arrived.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Arrivals {
    /// The median time from event to arrival, against what is usual for the feed.
    pub lag_ratio: f64,
    /// The share of reports that were repeated.
    pub repeated_share: f64,
}

/// What was not watched in a blind window. In an order for people.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Watched {
    /// Everything: relaywatch itself did not work.
    All,
    /// Apple's notices.
    Notices,
    /// Apple's notices of one app: its team and client id.
    NoticesOf {
        /// The team.
        team: String,
        /// The client id.
        app: String,
    },
    /// A provider's feed.
    Feed(Provider),
}

impl Watched {
    /// Whether Apple's notices were not watched, be it those of one app: whose accounts an incident is about is not known of
    /// each.
    #[must_use]
    pub const fn covers_notices(&self) -> bool {
        matches!(self, Self::All | Self::Notices | Self::NoticesOf { .. })
    }

    /// What was not watched, for people.
    #[must_use]
    pub fn says(&self) -> String {
        match self {
            Self::All => "relaywatch itself".to_owned(),
            Self::Notices => "Apple's notices".to_owned(),
            Self::NoticesOf { team, app } => format!("Apple's notices of the app {app} (team {team})"),
            Self::Feed(provider) => format!("the feed of {provider}"),
        }
    }
}

words! {
    /// Why nothing was seen.
    pub enum BlindReason {
        /// relaywatch did not run, or could not reach its store.
        Outage = 1, "outage";
        /// Nothing came where, by the same hours of the weeks before, it always does.
        Silent = 2, "silent";
        /// Whatever came failed its authentication.
        Refused = 3, "refused";
        /// Its source could not be reached: a queue was not to be asked, a log not to be read, a port not to be opened.
        Unreachable = 4, "unreachable";
    }
}

impl BlindReason {
    /// The reason for people.
    #[must_use]
    pub const fn says(self) -> &'static str {
        match self {
            Self::Outage => "relaywatch did not run, or could not reach its store",
            Self::Silent => "nothing came, unlike in the same hours of the weeks before",
            Self::Refused => "whatever came failed its authentication",
            Self::Unreachable => "its queue, log or port could not be reached",
        }
    }
}

/// A time in which a feed or the notice endpoint was down or silent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlindWindow {
    /// What was not watched.
    pub watched: Watched,
    /// From when.
    pub from: Timestamp,
    /// Until when; `None` while it lasts.
    pub until: Option<Timestamp>,
    /// Why, where it is known.
    #[serde(default)]
    pub reason: Option<BlindReason>,
}

/// A mail of Apple's to the Account Holder about the relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayMail {
    /// Its date.
    pub at: Timestamp,
    /// What it says.
    pub says: RelayNotice,
    /// The domains that it names.
    #[serde(default)]
    pub domains: Vec<String>,
    /// Whether the receiving side's checks show that Apple sent it.
    #[serde(default)]
    pub authenticated: bool,
}

impl RelayMail {
    /// What it says, for people.
    #[must_use]
    pub fn tells(&self) -> String {
        let about = if self.domains.is_empty() { String::new() } else { format!(" ({})", self.domains.join(", ")) };
        let whose = if self.authenticated { "" } else { "; that Apple sent it is not shown" };
        format!("{}{about}{whose}", self.says.says())
    }
}

/// What was blind at some time, each once, in an order of its own.
pub(super) fn blind<'a>(windows: impl IntoIterator<Item = &'a BlindWindow>) -> Vec<Watched> {
    let mut blind: Vec<Watched> = windows.into_iter().map(|window| window.watched.clone()).collect();
    blind.sort_unstable();
    blind.dedup();
    blind
}

impl IncidentFacts {
    /// When the rate turned, where that is so long after the onset that changes would be looked for at the wrong time.
    #[must_use]
    pub fn turned_late(&self) -> Option<Timestamp> {
        self.turned.filter(|turned| self.onset.is_some_and(|onset| turned.millis_since(onset) > HOUR_MILLIS))
    }

    /// Whether nothing at all came in that a clue could be judged by, so that setting something up would help. What came in
    /// and did not suffice (too little mail, too small a map) is no fault of the set-up.
    #[must_use]
    pub fn tells_nothing_of(&self, clue: Clue) -> bool {
        match clue {
            Clue::NoticeJoin => self.notices.is_none(),
            Clue::DeliveredWithinADay => self.last_delivery.is_none_or(|last| last.known == 0),
            Clue::OtherRecipients => self.other_control.is_none(),
            Clue::AppleRecipients => self.apple_control.is_none(),
            Clue::OneSender => self.senders.is_none(),
            Clue::OneProvider => self.providers.is_none(),
            Clue::OneCampaign => self.campaigns.is_none(),
            Clue::TextSenderRefused
            | Clue::TextAuthentication
            | Clue::TextAddressGone
            | Clue::TextTemporary
            | Clue::TextOutage => self.replies.values().all(|addresses| *addresses == 0),
            Clue::RecentChange => self.dns_changes.is_empty(),
            Clue::OneApp | Clue::Canary | Clue::RetrySucceeds | Clue::OddArrival => true,
        }
    }

    /// Refusals beyond what ordinary times would have brought.
    #[must_use]
    pub fn excess(&self) -> f64 {
        (crate::detect::stats::count(self.counts.refused) - self.expected).max(0.0)
    }

    /// The share of refused addresses by reply group; empty where no reply is known.
    #[must_use]
    pub fn reply_shares(&self) -> BTreeMap<ReplyGroup, f64> {
        let all = self.replies.values().fold(0_u64, |sum, addresses| sum.saturating_add(*addresses));
        let mut groups: BTreeMap<ReplyGroup, u64> = BTreeMap::new();
        for (cause, addresses) in &self.replies {
            let group = groups.entry(ReplyGroup::from(*cause)).or_default();
            *group = group.saturating_add(*addresses);
        }
        let share = |addresses: u64| crate::detect::stats::count(addresses) / crate::detect::stats::count(all.max(1));
        groups.into_iter().filter(|(_, n)| *n > 0).map(|(group, n)| (group, share(n))).collect()
    }

    /// Whether no notice was received before the onset, so that nothing shows that the endpoint was watched: all of the window
    /// counts as blind then, without a blind window.
    #[must_use]
    pub fn notices_unwatched(&self) -> bool {
        self.notices.is_some_and(|notices| notices.blind_share >= 1.0)
            && !self.blind_windows.iter().any(|window| window.watched.covers_notices())
    }

    /// Whether the notice endpoint was so blind that its silence proves nothing: at any time from 48 hours before the onset on,
    /// or for a quarter of the 30 days. Less than that lowers the sensitivity of the notices, and no more.
    #[must_use]
    pub fn notices_blind(&self) -> bool {
        let from = self.onset.map(|onset| onset.plus_millis(-RECENT_MILLIS));
        let recent = |until: Option<Timestamp>| match (until, from) {
            (Some(until), Some(from)) => until > from,
            _ => true,
        };
        self.notices.is_some_and(|notices| notices.blind_share >= TOO_BLIND)
            || self.blind_windows.iter().any(|w| w.watched.covers_notices() && recent(w.until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_of_an_earlier_version_are_read() {
        let senders = serde_json::json!({ "top": "mail.example.com", "inside": { "sends": 9, "refused": 7 } });
        let facts: IncidentFacts = serde_json::from_value(serde_json::json!({ "senders": senders })).expect("read");
        let senders = facts.senders.expect("senders");
        assert_eq!((senders.top.as_str(), senders.inside.refused, senders.elements), ("mail.example.com", 7, 0));
    }
}
