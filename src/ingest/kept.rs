//! What the journal still takes: what has outlived its retention would be let go at once, and what repeats it could not be told
//! from it any more.

use super::Report;
use crate::{
    classify::destination,
    config::Config,
    model::{DAY_MILLIS, Destination, Event, RelayDomains, Timestamp},
    store::is_kept_long,
};

/// For how many days the journal keeps what happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Sends, deliveries and deferrals.
    pub deliveries_days: u32,
    /// Everything else.
    pub refusals_days: u32,
}

impl Retention {
    /// By the settings.
    #[must_use]
    pub const fn of(config: &Config) -> Self {
        Self {
            deliveries_days: config.store.retention_deliveries_days,
            refusals_days: config.store.retention_refusals_days,
        }
    }
}

/// How far back the journal still takes what happened, at a time.
#[derive(Debug, Clone, Copy)]
pub struct RetentionAt {
    /// By the settings.
    pub retention: Retention,
    /// Deliveries from before this time are gone, and count nowhere any more.
    pub dropped_before: Option<Timestamp>,
    /// The time.
    pub now: Timestamp,
}

impl RetentionAt {
    /// Whether an outcome for this destination has outlived its retention.
    #[must_use]
    pub fn is_too_old(&self, event: &Event, destination: Destination) -> bool {
        // Of the control group elsewhere only counts are kept, and what tells repeats for as long as deliveries.
        if is_kept_long(event.kind) && destination != Destination::Other {
            return event.at < self.long();
        }
        event.at < self.before(self.retention.deliveries_days)
            || self.dropped_before.is_some_and(|start| event.at < start)
    }

    /// Whether what is no outcome is still kept, if it is of this time.
    #[must_use]
    pub fn is_kept(&self, at: Timestamp) -> bool {
        at >= self.long()
    }

    /// Takes the outcomes and notices out of a report that have outlived their retention; gives their number. What is passed on
    /// stays: whoever it is passed on to judges for itself.
    pub fn leave_out(&self, report: &mut Report, relay: &RelayDomains) -> u64 {
        let parts = |report: &Report| report.events.len() + report.notices.len();
        let before = parts(report);
        report.events.retain(|event| !self.is_too_old(event, destination(Some(&event.recipient), relay)));
        report.notices.retain(|notice| self.is_kept(notice.at));
        (before - parts(report)) as u64
    }

    fn long(&self) -> Timestamp {
        self.before(self.retention.refusals_days)
    }

    fn before(&self, days: u32) -> Timestamp {
        self.now.plus_millis(-i64::from(days) * DAY_MILLIS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EventKind;

    fn event() -> Event {
        let text = r#"{"eventType":"Delivery","mail":{"timestamp":"2025-08-09T06:00:00Z","messageId":"m"},"delivery":{"timestamp":"2025-08-09T06:00:00Z","recipients":["a@privaterelay.appleid.com"]}}"#;
        let report = crate::ingest::http::ses::decode(text, None, now()).expect("decodes");
        report.events.into_iter().next().expect("one")
    }

    fn now() -> Timestamp {
        Timestamp::from_seconds(1_754_805_600)
    }

    fn retained() -> RetentionAt {
        let retention = Retention { deliveries_days: 14, refusals_days: 365 };
        RetentionAt { retention, dropped_before: None, now: now() }
    }

    #[test]
    fn what_has_outlived_its_retention_is_told_by_kind() {
        let (retained, mut event) = (retained(), event());
        let too_old = |event: &Event, retained: &RetentionAt, days: i64, destination| {
            let event = Event { at: now().plus_millis(-days * DAY_MILLIS), ..event.clone() };
            retained.is_too_old(&event, destination)
        };
        assert!(
            !too_old(&event, &retained, 14, Destination::Relay) && too_old(&event, &retained, 15, Destination::Relay)
        );
        let dropped = RetentionAt { dropped_before: Some(now().plus_millis(-3 * DAY_MILLIS)), ..retained };
        assert!(too_old(&event, &dropped, 4, Destination::Relay), "checkpoints hold that day");
        event.kind = EventKind::Refused;
        assert!(
            !too_old(&event, &dropped, 365, Destination::Relay) && too_old(&event, &retained, 366, Destination::Relay)
        );
        assert!(too_old(&event, &retained, 15, Destination::Other), "elsewhere only counts are kept");
    }

    #[test]
    fn a_report_keeps_what_the_journal_still_takes() {
        let aged = |kind, days: i64| Event { kind, at: now().plus_millis(-days * DAY_MILLIS), ..event() };
        let (old, young) = (aged(EventKind::Delivered, 15), aged(EventKind::Delivered, 13));
        let (refused, ancient) = (aged(EventKind::Refused, 15), aged(EventKind::Refused, 366));
        let events = vec![old, young.clone(), refused.clone(), ancient];
        let mut report = Report { events, ignored: vec!["open"], ..Report::default() };
        assert_eq!(retained().leave_out(&mut report, &RelayDomains::default()), 2);
        assert_eq!(report, Report { events: vec![young, refused], ignored: vec!["open"], ..Report::default() });
        assert_eq!(retained().leave_out(&mut report, &RelayDomains::default()), 0);
    }
}
