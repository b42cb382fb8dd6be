//! What is said of a blind window that lasts, and at its end: once each.

use super::{CANARY, DNS, NOTICES, Window, app_of, is_of_dns};
use crate::{
    explain::BlindReason,
    model::{Provider, Timestamp},
    notify::{Page, PageKind, Severity},
};

impl Window {
    /// What makes a ticket about it the same one.
    pub(super) fn key(&self) -> String {
        let reason = self.reason.map_or("unknown", BlindReason::as_str);
        format!("blind/{}/{reason}/{}", self.watched, self.from.as_millis())
    }

    /// The key of what is said at its end.
    pub(super) fn end_key(&self) -> String {
        format!("{}/over", self.key())
    }

    /// What is not watched, as a sentence begins.
    fn subject(&self) -> String {
        match app_of(&self.watched) {
            Some((team, app)) => format!("Apple's notices of the app {app} (team {team})"),
            None if self.watched == NOTICES => "Apple's notices".to_owned(),
            None if self.watched == DNS => "DNS".to_owned(),
            None if is_of_dns(&self.watched) => {
                format!("DNS of {}", self.watched.strip_prefix(DNS).unwrap_or_default().trim_start_matches('/'))
            }
            None => format!("The feed {}", self.watched),
        }
    }

    /// The mailbox, where it is of canaries.
    fn mailbox(&self) -> Option<&str> {
        self.watched.strip_prefix(CANARY)
    }

    /// The ticket about canaries that prove nothing.
    fn canary_ticket(&self, mailbox: &str, now: Timestamp) -> Page {
        let (headline, look) = match self.reason {
            Some(BlindReason::Unreachable) => (
                format!("Canaries prove nothing: the mailbox {mailbox} can't be read."),
                "Look into the log for what the IMAP server answers, and whether the password is still good.",
            ),
            _ => (
                format!("Canaries prove nothing: no control message arrives in the mailbox {mailbox}."),
                "Look whether the control's server takes it, whether the mailbox is full, and whether a rule moves it to \
                 another folder.",
            ),
        };
        Page {
            facts: vec![
                format!("Since {}. Mail that is lost without a word shows to nobody meanwhile.", self.from),
                "`relaywatch canary list` tells how each path stands.".to_owned(),
            ],
            safe_action: Some(look.to_owned()),
            ..self.page(self.key(), PageKind::Blind, headline, now)
        }
    }

    /// Whether it is of notices, through whatever feed.
    fn is_of_notices(&self) -> bool {
        self.watched == NOTICES
            || app_of(&self.watched).is_some()
            || Provider::of_feed(&self.watched) == Some(Provider::Apple)
    }

    /// The ticket, once it has lasted; `incidents` are the open ones that it touches.
    pub(super) fn ticket(&self, incidents: &[i64], now: Timestamp) -> Page {
        if let Some(mailbox) = self.mailbox() {
            return self.canary_ticket(mailbox, now);
        }
        let (subject, is_many) = (self.subject(), self.watched.starts_with(NOTICES));
        let headline = match (self.reason, is_many) {
            _ if is_of_dns(&self.watched) => {
                format!("{subject} gives no answer: the resolver or the zone's servers are in trouble.")
            }
            (Some(BlindReason::Refused), _) => {
                format!("{subject} brings nothing that can be taken: every genuine delivery is refused.")
            }
            (Some(BlindReason::Unreachable), _) => {
                format!("{subject} brings nothing: its queue, log or port can't be reached.")
            }
            (_, true) => format!("{subject} are silent, unlike in the weeks before."),
            (_, false) => format!("{subject} is silent, unlike in the weeks before."),
        };
        let since = match self.reason {
            _ if is_of_dns(&self.watched) => format!("Since {} no question was answered.", self.from),
            Some(BlindReason::Refused | BlindReason::Unreachable) => {
                format!("Since {} nothing of it was taken.", self.from)
            }
            _ => format!(
                "Nothing has come of the time since {}; in the same hours of each of the three weeks before it did.",
                self.from
            ),
        };
        let meanwhile = if is_of_dns(&self.watched) {
            "What was known is taken to stand; a change of it shows to nobody meanwhile."
        } else if self.is_of_notices() {
            "That no notice comes proves nothing meanwhile: revocations are not ruled out."
        } else {
            "That nothing is refused proves nothing meanwhile."
        };
        let mut facts = vec![since, meanwhile.to_owned()];
        if !incidents.is_empty() {
            let numbers: Vec<String> = incidents.iter().map(ToString::to_string).collect();
            facts.push(format!("Open incidents that it touches: {}.", numbers.join(", ")));
        }
        Page {
            facts,
            safe_action: Some(if is_of_dns(&self.watched) {
                "Look at the resolvers of [dns] and at the zone's name servers: `relaywatch check` asks them at once."
                    .to_owned()
            } else {
                "Look whether mail still goes out and whether the provider still reports: `relaywatch doctor` tells the last \
                 event and rejection of each feed, and what to set in the provider's console."
                    .to_owned()
            }),
            ..self.page(self.key(), PageKind::Blind, headline, now)
        }
    }

    /// What is said at its end, where a ticket was made of it.
    pub(super) fn end_ticket(&self, until: Timestamp) -> Page {
        let (subject, is_many) = (self.subject(), self.watched.starts_with(NOTICES));
        let headline = if let Some(mailbox) = self.mailbox() {
            format!("Canaries tell again what they tell: the mailbox {mailbox} is read, and its control arrives.")
        } else if is_of_dns(&self.watched) {
            format!("{subject} answers again, or is watched no more.")
        } else if is_many {
            format!("{subject} come again, or are watched no more.")
        } else {
            format!("{subject} reports again, or is configured no more.")
        };
        Page {
            facts: vec![format!("Blind from {} to {until}; absence there proves nothing.", self.from)],
            ..self.page(self.end_key(), PageKind::SeenAgain, headline, until)
        }
    }

    fn page(&self, key: String, kind: PageKind, headline: String, at: Timestamp) -> Page {
        let matter = format!("blind {}", self.watched);
        Page { key, headline, ..Page::of_matter((kind, Severity::Ticket), matter, self.watched.clone(), self.from, at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_say_what_is_not_seen_and_what_to_look_at() {
        let at = |hours: i64| Timestamp::from_seconds(1_754_700_000 + hours * 3_600);
        let window = |watched: &str, reason| Window {
            from: at(0),
            watched: watched.to_owned(),
            reason: Some(reason),
            until: None,
        };
        let windows = [
            window("ses/eu", BlindReason::Silent),
            window("apple", BlindReason::Refused),
            window("sqs", BlindReason::Unreachable),
            window("notices", BlindReason::Silent),
            window("canary/icloud", BlindReason::Unreachable),
            window("canary/icloud", BlindReason::Silent),
            window("dns", BlindReason::Unreachable),
            window("dns/s1._domainkey.example.com", BlindReason::Unreachable),
            window("notices/ABCDE12345/com.example.app", BlindReason::Silent),
        ];
        let said: Vec<String> = windows
            .iter()
            .flat_map(|window| [window.ticket(&[7, 9], at(2)), window.end_ticket(at(3))])
            .map(|page| format!("{}\n{}\n{}\n", page.key, page.headline, page.facts.join("\n")))
            .collect();
        insta::assert_snapshot!(said.join("\n"));
    }
}
