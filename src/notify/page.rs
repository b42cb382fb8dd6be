//! What is told of an incident.

use serde::{Deserialize, Serialize};

use crate::model::{Timestamp, may_hold_address, words};

words! {
    /// Why a page is sent.
    pub enum PageKind {
        /// The incident has begun.
        Opened = 1, "opened";
        /// The evidence now allows to name its cause.
        CauseNamed = 2, "cause-named";
        /// It has grown, or became a page.
        Worse = 3, "worse";
        /// Mail is accepted again.
        Closed = 4, "closed";
        /// Late data have undone it.
        Withdrawn = 5, "withdrawn";
        /// No incident: a feed reports otherwise than its configuration says.
        Setup = 6, "setup";
        /// No incident: Apple replies in words that no rule knows.
        NewWords = 7, "new-words";
        /// No incident: a feed or Apple's notices are silent, or refused, and have been for long.
        Blind = 8, "blind";
        /// No incident: they are seen again.
        SeenAgain = 9, "seen-again";
        /// No incident: canaries are accepted on a path and do not arrive.
        CanaryLost = 20, "canary-lost";
        /// No incident: canaries are refused on a path.
        CanaryRefused = 21, "canary-refused";
        /// No incident: canaries arrive again on a path.
        CanaryArrives = 22, "canary-arrives";
        /// No incident: a source is no longer fit for the relay, by a change of DNS.
        Unfit = 10, "unfit";
        /// No incident: it is fit again.
        FitAgain = 11, "fit-again";
    }
}

impl PageKind {
    /// Whether it is about an incident.
    #[must_use]
    pub const fn is_of_incident(self) -> bool {
        !matches!(self, Self::Setup | Self::NewWords | Self::Blind | Self::SeenAgain | Self::Unfit | Self::FitAgain)
            && !self.is_of_canary()
    }

    /// Whether it says that something is over.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Closed | Self::Withdrawn | Self::SeenAgain | Self::CanaryArrives | Self::FitAgain)
    }

    /// Whether it is about a path of canaries.
    #[must_use]
    pub const fn is_of_canary(self) -> bool {
        matches!(self, Self::CanaryLost | Self::CanaryRefused | Self::CanaryArrives)
    }
}

words! {
    /// How urgent it is.
    pub enum Severity {
        /// Somebody shall look now.
        Page = 1, "page";
        /// Somebody shall look in office hours.
        Ticket = 2, "ticket";
    }
}

/// A place where more is to be seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// What is there.
    pub title: String,
    /// Where.
    pub url: String,
}

/// One page: what an on-call engineer, or a program, is told of an incident at one moment. It holds counts and names of
/// streams, never an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// What makes it the same page. Shown to people where it may be a repeat, and given to receivers that know keys.
    pub key: String,
    /// Why it's sent.
    pub kind: PageKind,
    /// How urgent it is.
    pub severity: Severity,
    /// Whether the severity has just risen; such a page waits for no hourly limit.
    #[serde(default)]
    pub raised: bool,
    /// The incident; the feed or the matter, where it is about none.
    pub incident: String,
    /// What the installation is called, where it has a name. It is put in when the page goes into the outbox.
    #[serde(default)]
    pub installation: Option<String>,
    /// The stream, as people read it.
    pub stream: String,
    /// The whole in one sentence.
    pub headline: String,
    /// The estimated onset: the earliest time at which the rise may have begun.
    pub since: Timestamp,
    /// When the rate turned, where that is more than an hour after `since`: around it changes are to be looked for.
    #[serde(default)]
    pub turned: Option<Timestamp>,
    /// When this was said, by the monitor's clock.
    pub at: Timestamp,
    /// Messages refused since the onset.
    pub refused: u64,
    /// Messages sent since the onset.
    pub sent: u64,
    /// What is known, a line each.
    pub facts: Vec<String>,
    /// What may explain it, a line each.
    pub explanation: Vec<String>,
    /// What can be done without harm.
    pub safe_action: Option<String>,
    /// Where more is to be seen.
    pub links: Vec<Link>,
}

impl Page {
    /// A page about no incident but about a matter of its own, which counts nothing; whoever makes it puts in its key and what it
    /// says. `stream` is what it is about, as people read it, `since` when it began, `at` when it's said.
    #[must_use]
    pub const fn of_matter(
        (kind, severity): (PageKind, Severity),
        matter: String,
        stream: String,
        since: Timestamp,
        at: Timestamp,
    ) -> Self {
        Self {
            key: String::new(),
            kind,
            severity,
            raised: false,
            incident: matter,
            installation: None,
            stream,
            headline: String::new(),
            since,
            turned: None,
            at,
            refused: 0,
            sent: 0,
            facts: Vec::new(),
            explanation: Vec::new(),
            safe_action: None,
            links: Vec::new(),
        }
    }
}

impl Page {
    /// Whether it counts as one of the updates of which an incident has at most two an hour.
    #[must_use]
    pub const fn is_update(&self) -> bool {
        matches!(self.kind, PageKind::CauseNamed | PageKind::Worse) && !self.raised
    }

    /// The page without any line that may hold an address; in single texts the words are replaced. Names of campaigns and
    /// replies come from outside, so what builds a page isn't trusted with this.
    #[must_use]
    pub fn without_addresses(mut self) -> Self {
        for text in [&mut self.key, &mut self.incident, &mut self.stream, &mut self.headline] {
            replace(text);
        }
        for text in [&mut self.safe_action, &mut self.installation].into_iter().flatten() {
            replace(text);
        }
        self.facts.retain(|line| !may_hold_address(line));
        self.explanation.retain(|line| !may_hold_address(line));
        self.links.retain(|link| !may_hold_address(&link.title) && !may_hold_address(&link.url));
        self
    }
}

fn replace(text: &mut String) {
    if may_hold_address(text) {
        let words: Vec<&str> =
            text.split_whitespace().map(|word| if may_hold_address(word) { "(address)" } else { word }).collect();
        *text = words.join(" ");
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The purge of 9 August, as it would be told.
    pub(in crate::notify) fn page(kind: PageKind, severity: Severity) -> Page {
        Page {
            key: format!("inc-7/{kind}/1"),
            kind,
            severity,
            raised: false,
            incident: "inc-7".to_owned(),
            installation: None,
            stream: "sparkpost/news.example.com".to_owned(),
            headline: match kind {
                PageKind::Closed => "Closed: quiet again on sparkpost/news.example.com",
                PageKind::Withdrawn => "Withdrawn: late reports undid the alarm on sparkpost/news.example.com",
                PageKind::Setup => "The feed sparkpost reports otherwise than its configuration says.",
                PageKind::Blind => "The feed sparkpost is silent, unlike in the weeks before.",
                PageKind::SeenAgain => "The feed sparkpost reports again.",
                PageKind::CanaryLost => {
                    "Mail is accepted and does not arrive: 3 canaries in a row are missing on the path orders."
                }
                PageKind::CanaryRefused => {
                    "A canary was refused on the path orders, which leads to the mailbox icloud."
                }
                PageKind::CanaryArrives => "Canaries arrive again on the path orders.",
                PageKind::Unfit => "Mail from news.example.com is no longer fit for the relay: DNS has changed.",
                PageKind::FitAgain => "Mail from news.example.com is fit for the relay again.",
                _ => "Relay mail is refused on sparkpost/news.example.com",
            }
            .to_owned(),
            since: Timestamp::from_seconds(1_754_719_500),
            turned: None,
            at: Timestamp::from_seconds(1_754_720_100),
            refused: 312,
            sent: 330,
            facts: vec![
                "Cause: undetermined. Likeliest: Apple switched off relay addresses without a notice (61 %)".to_owned(),
                "Replies: 310 of 312 say <{recipient}>: user not found & nothing else.".to_owned(),
            ],
            explanation: vec![
                "Strong evidence for the likeliest: 100 % of the replies say that the address is gone".to_owned(),
                "Blind at times: Apple's notices; absence there proves nothing".to_owned(),
            ],
            safe_action: Some("hold retries; suppress no address".to_owned()),
            links: vec![Link {
                title: "the incident".to_owned(),
                url: "https://relaywatch.example.com/incidents/7".to_owned(),
            }],
        }
    }
}
