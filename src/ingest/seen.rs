//! What the feeds have brought since the start, for the private page: what the metrics don't say by itself.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{RejectionReason, Report};
use crate::model::Timestamp;

/// What a feed has brought since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// When the last delivery was refused, and why.
    pub refused: Option<(Timestamp, RejectionReason)>,
    /// When the last delivery came in which an event or a notice was understood.
    pub understood: Option<Timestamp>,
    /// Parts that were set aside.
    pub set_aside: u64,
}

/// The same of all feeds. Clones share it. It is bounded by the feeds that were configured.
#[derive(Debug, Clone, Default)]
pub(super) struct AllSeen(Arc<Mutex<HashMap<String, Seen>>>);

impl AllSeen {
    /// What this feed has brought.
    pub(super) fn of(&self, feed: &str) -> Seen {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(feed).copied().unwrap_or_default()
    }

    /// Takes note of a delivery that was refused.
    pub(super) fn refused(&self, feed: &str, reason: RejectionReason, now: Timestamp) {
        self.change(feed, |seen| seen.refused = Some((now, reason)));
    }

    /// Takes note that a feed's source is within reach again.
    pub(super) fn reached(&self, feed: &str) {
        let mut feeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = feeds.get_mut(feed)
            && matches!(seen.refused, Some((_, RejectionReason::Unreachable)))
        {
            seen.refused = None;
        }
    }

    /// Takes note of what was committed.
    pub(super) fn committed(&self, feed: &str, report: &Report, now: Timestamp) {
        let understood = !report.events.is_empty() || !report.notices.is_empty() || !report.kept.is_empty();
        if !understood && report.set_aside.is_empty() {
            return;
        }
        self.change(feed, |seen| {
            if understood {
                seen.understood = Some(now);
            }
            seen.set_aside = seen.set_aside.saturating_add(report.set_aside.len() as u64);
        });
    }

    fn change(&self, feed: &str, change: impl FnOnce(&mut Seen)) {
        let mut feeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match feeds.get_mut(feed) {
            Some(seen) => change(seen),
            None => change(feeds.entry(feed.to_owned()).or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ingest::{KEPT_MILLIS, SetAside, SetAsideReason},
        model::Provider,
    };

    #[test]
    fn each_feed_has_what_it_brought() {
        let (all, at) = (AllSeen::default(), Timestamp::from_seconds);
        let part = SetAside {
            provider: Provider::Ses,
            reason: SetAsideReason::UnknownType,
            label: "new".to_owned(),
            at: None,
            body: Vec::new(),
            kept_millis: KEPT_MILLIS,
        };
        all.refused("ses", RejectionReason::Foreign, at(1));
        all.refused("sqs", RejectionReason::Unreachable, at(1));
        assert_eq!(all.of("sqs").refused, Some((at(1), RejectionReason::Unreachable)));
        for feed in ["ses", "sqs"] {
            all.reached(feed);
        }
        assert_eq!(all.of("sqs"), Seen::default());
        all.committed("ses", &Report { set_aside: vec![part.clone(), part], ..Report::default() }, at(2));
        all.committed("ses", &Report { ignored: vec!["open"], ..Report::default() }, at(3));
        let seen = Seen { refused: Some((at(1), RejectionReason::Foreign)), understood: None, set_aside: 2 };
        assert_eq!(all.of("ses"), seen, "nothing of it was understood");
        assert_eq!(all.of("braze"), Seen::default());
    }
}
