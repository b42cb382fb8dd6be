//! What relaywatch tells Prometheus about itself. Every metric stands in `docs/metrics.md`; a test compares.
//!
//! Label values are bounded: feeds by configuration, the rest by closed lists. No address, no id, no text of a payload.

use std::{ops::Deref, sync::Arc};

use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// Upper bounds of time-outs and answers, in seconds.
const SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Upper bounds of delays of canaries, in seconds.
const DELAYS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 21_600.0, 86_400.0];
/// Upper bounds of rows in a commit.
const ROWS: &[f64] = &[1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0];

/// Declares the metrics: the doc comment is the help text.
macro_rules! metrics {
    ($(
        #[doc = $help:literal]
        $field:ident: $kind:ident $([$($label:literal),+])? = $name:literal $(, $buckets:expr)?;
    )+) => {
        /// The process's metrics: one set, to which this is a handle.
        #[derive(Debug, Clone)]
        pub struct Metrics(Arc<Set>);

        /// All metrics.
        #[derive(Debug)]
        pub struct Set {
            registry: Registry,
            $( #[doc = $help] pub $field: $kind, )+
        }

        impl Metrics {
            /// Every metric's name, kind, labels and help.
            pub const ALL: &'static [(&'static str, &'static str, &'static [&'static str], &'static str)] = &[
                $( ($name, stringify!($kind), &[$($($label),+)?], $help), )+
            ];

            /// Registers all metrics in a registry of their own.
            ///
            /// # Errors
            /// Where two share a name: a fault of the program, found by its tests.
            pub fn new() -> Result<Self, prometheus::Error> {
                let registry = Registry::new();
                $( let $field = make!($kind, $name, $help, [$($($label),+)?], $($buckets)?); )+
                $( registry.register(Box::new($field.clone()))?; )+
                Ok(Self(Arc::new(Set { registry, $($field),+ })))
            }
        }
    };
}

macro_rules! make {
    (IntCounter, $name:literal, $help:literal, [], ) => {
        IntCounter::new($name, $help.trim())?
    };
    (IntGauge, $name:literal, $help:literal, [], ) => {
        IntGauge::new($name, $help.trim())?
    };
    (Histogram, $name:literal, $help:literal, [], $buckets:expr) => {
        Histogram::with_opts(HistogramOpts::new($name, $help.trim()).buckets($buckets.to_vec()))?
    };
    (IntCounterVec, $name:literal, $help:literal, [$($label:literal),+], ) => {
        IntCounterVec::new(Opts::new($name, $help.trim()), &[$($label),+])?
    };
    (IntGaugeVec, $name:literal, $help:literal, [$($label:literal),+], ) => {
        IntGaugeVec::new(Opts::new($name, $help.trim()), &[$($label),+])?
    };
    (HistogramVec, $name:literal, $help:literal, [$($label:literal),+], $buckets:expr) => {
        HistogramVec::new(HistogramOpts::new($name, $help.trim()).buckets($buckets.to_vec()), &[$($label),+])?
    };
}

metrics! {
    /// Always 1; the labels tell version, engine of the store and role of the process.
    build_info: IntGaugeVec["version", "engine", "role"] = "relaywatch_build_info";
    /// Deliveries by feed and what was answered: accepted, rejected or unavailable.
    feed_deliveries: IntCounterVec["feed", "answer"] = "relaywatch_feed_deliveries_total";
    /// Refused deliveries by feed and reason.
    feed_rejections: IntCounterVec["feed", "reason"] = "relaywatch_feed_rejections_total";
    /// Outcomes taken in by feed and kind, counted when committed, repeated ones included.
    feed_events: IntCounterVec["feed", "kind"] = "relaywatch_feed_events_total";
    /// Apple's notices taken in by feed and kind, counted when committed, repeated ones included.
    feed_notices: IntCounterVec["feed", "kind"] = "relaywatch_feed_notices_total";
    /// Parts of deliveries that were kept without being understood, repeated ones included, by feed and reason.
    feed_set_aside: IntCounterVec["feed", "reason"] = "relaywatch_feed_set_aside_total";
    /// Reports that were journalled as they came (DMARC aggregate reports, mails of Apple's about the relay), repeated ones included, by feed and kind.
    feed_kept: IntCounterVec["feed", "kind"] = "relaywatch_feed_kept_total";
    /// Apple's notices whose time of issue cannot be, by feed; they are kept.
    feed_misdated: IntCounterVec["feed"] = "relaywatch_feed_misdated_notices_total";
    /// Outcomes and notices that were older than their retention, and so were not taken into the journal, by feed.
    feed_expired: IntCounterVec["feed"] = "relaywatch_feed_expired_total";
    /// Reports that relaywatch has no use for, by feed.
    feed_ignored: IntCounterVec["feed"] = "relaywatch_feed_ignored_total";
    /// When the feed last accepted a delivery, in seconds since the epoch.
    feed_last_accepted: IntGaugeVec["feed"] = "relaywatch_feed_last_accepted_timestamp_seconds";
    /// Time from the first byte of a delivery's body to its answer, in seconds.
    feed_duration: HistogramVec["feed"] = "relaywatch_feed_answer_duration_seconds", SECONDS;
    /// Requests to a feed's queue that failed, by feed and reason.
    queue_failures: IntCounterVec["feed", "reason"] = "relaywatch_queue_failures_total";
    /// Messages that were committed and could not be deleted from the queue, so that they come again; by feed.
    queue_undeleted: IntCounterVec["feed"] = "relaywatch_queue_undeleted_messages_total";
    /// Connections to mail feeds by feed and answer: accepted or refused.
    mail_connections: IntCounterVec["feed", "answer"] = "relaywatch_mail_connections_total";
    /// Connections to mail feeds that are open, by feed.
    mail_open: IntGaugeVec["feed"] = "relaywatch_mail_connections_open";
    /// Bytes that mail feeds have read, by feed.
    mail_bytes: IntCounterVec["feed"] = "relaywatch_mail_bytes_total";
    /// Commands, connections and mails that mail feeds refused, by feed and reason.
    mail_refusals: IntCounterVec["feed", "reason"] = "relaywatch_mail_refusals_total";
    /// Requests to the public listener for a path that is no feed.
    unknown_paths: IntCounter = "relaywatch_unknown_path_requests_total";
    /// Classified replies by cause, repeated ones included.
    replies: IntCounterVec["cause"] = "relaywatch_replies_total";
    /// Refusals with a reply by provider, what the provider's own label says of the address and what we say, repeated ones included.
    label_agreement: IntCounterVec["provider", "label_says", "ours"] = "relaywatch_label_agreement_total";
    /// 1 while the last reload (SIGHUP) of configuration and reply rules was refused, so that those of before stay in force; else 0.
    reload_refused: IntGauge = "relaywatch_reload_refused";
    /// Templates of replies of Apple's that no rule knows, as far as the journal holds their replies; told by the process that leads.
    new_words_templates: IntGauge = "relaywatch_new_words_templates";
    /// Replies of Apple's that no rule knows and that the journal holds; told by the process that leads.
    new_words_replies: IntGauge = "relaywatch_new_words_replies";
    /// Rows that commits added to the journal.
    rows_added: IntCounter = "relaywatch_journal_rows_added_total";
    /// Rows that a commit brought and that were there before.
    rows_repeated: IntCounter = "relaywatch_journal_rows_repeated_total";
    /// Rows in one commit.
    commit_rows: Histogram = "relaywatch_commit_rows", ROWS;
    /// Time of one commit, in seconds.
    commit_duration: Histogram = "relaywatch_commit_duration_seconds", SECONDS;
    /// Commits that failed.
    commit_failures: IntCounter = "relaywatch_commit_failures_total";
    /// Deliveries that wait for a commit.
    commit_waiting: IntGauge = "relaywatch_commit_waiting_deliveries";
    /// 1 while this process leads the monitors, else 0; over all processes of one store the sum is 1.
    leader: IntGauge = "relaywatch_leader";
    /// The number of this process's last reign, which rises with every change of the leader.
    leader_epoch: IntGauge = "relaywatch_leader_epoch";
    /// Outcomes that the monitor has folded into ledger and cells.
    monitor_folded: IntCounter = "relaywatch_monitor_folded_events_total";
    /// When the monitor last stood at the end of the journal, in seconds since the epoch.
    monitor_caught_up: IntGauge = "relaywatch_monitor_caught_up_timestamp_seconds";
    /// For how long rows of the journal have waited for an older transaction of the cluster, in seconds; 0 below a minute.
    journal_held_up: IntGauge = "relaywatch_journal_held_up_seconds";
    /// Blind windows that last, by what is not watched: a feed, notices, those of one app (`notices/<team>/<client id>`), canaries (`canary/<mailbox>`), DNS (`dns`, or `dns/<name>`), or all.
    blind_windows: IntGaugeVec["watched"] = "relaywatch_blind_windows_open";
    /// Canaries by path and what became of them: sent, accepted, refused, unsent, unknown (the connection broke), arrived, missed. Controls are counted under their mailbox's name.
    canary_results: IntCounterVec["path", "result"] = "relaywatch_canary_results_total";
    /// Time from the sending of a canary to its arrival, in seconds, by path.
    canary_delay: HistogramVec["path"] = "relaywatch_canary_delay_seconds", DELAYS;
    /// Canaries in a row that are proven to be missing, by path.
    canary_missing: IntGaugeVec["path"] = "relaywatch_canary_missing";
    /// 1 while the mailbox of canaries is read, else 0; by mailbox, told by the process that leads.
    canary_reader_healthy: IntGaugeVec["mailbox"] = "relaywatch_canary_reader_healthy";
    /// When a reading of the mailbox of canaries that came to its end last began, in seconds since the epoch.
    canary_last_read: IntGaugeVec["mailbox"] = "relaywatch_canary_last_read_timestamp_seconds";
    /// Declared sources and streams that are watched in DNS, by whether Apple's rule takes them: fit, unfit or unknown.
    source_fit: IntGaugeVec["kind", "fitness"] = "relaywatch_source_fit";
    /// Questions to DNS by vantage point and outcome: value, no-data, no-such-domain, server-failure, time-out or bogus.
    dns_questions: IntCounterVec["vantage", "outcome"] = "relaywatch_dns_questions_total";
    /// Questions that are watched in DNS.
    dns_watched: IntGauge = "relaywatch_dns_watched";
    /// By how much the look that waits longest is late, in seconds.
    dns_lag: IntGauge = "relaywatch_dns_watch_lag_seconds";
    /// Names that get no answer from the resolvers.
    dns_blind: IntGauge = "relaywatch_dns_blind_names";
    /// 1 while a feed reports otherwise than its declared exposure says, or was never heard, by feed and what is wrong.
    feed_mismatches: IntGaugeVec["feed", "mismatch"] = "relaywatch_feed_exposure_mismatch";
    /// Outcomes that came after the deliveries of their day had been let go, and that count nowhere.
    monitor_too_old: IntCounter = "relaywatch_monitor_too_old_events_total";
    /// Finest streams that had mail in the last 7 days and are watched one by one.
    streams_live: IntGauge = "relaywatch_streams_live";
    /// Finest streams that were idle for 7 days and have gone into the streams above them.
    streams_folded: IntCounter = "relaywatch_streams_folded_total";
    /// Streams with more children on the newest day than are told apart: the others are counted together.
    streams_overflowed: IntGauge = "relaywatch_streams_overflowed";
    /// Pages and forwarded notices in the outbox that have not left.
    outbox_waiting: IntGauge = "relaywatch_outbox_waiting_items";
    /// For how long the oldest of them should have left, in seconds.
    outbox_oldest_due: IntGauge = "relaywatch_outbox_oldest_due_seconds";
    /// For how long the oldest of them has waited since it was made, in seconds.
    outbox_oldest: IntGauge = "relaywatch_outbox_oldest_seconds";
    /// Attempts to send a page or a notice by route (slack, webhook, forward) and result: sent, failed, given-up or held.
    notifications: IntCounterVec["route", "result"] = "relaywatch_notifications_total";
    /// Incidents that were to be announced to people and reached nobody, since neither Slack nor a webhook is configured.
    unheard: IntCounter = "relaywatch_incidents_unheard_total";
    /// Signs of life by result: sent, failed or withheld.
    heartbeats: IntCounterVec["result"] = "relaywatch_heartbeats_total";
}

impl Deref for Metrics {
    type Target = Set;

    fn deref(&self) -> &Set {
        &self.0
    }
}

impl Metrics {
    /// All metrics in Prometheus' text format.
    ///
    /// # Errors
    /// Where a metric can't be written as text.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        let mut out = Vec::new();
        TextEncoder::new().encode(&self.0.registry.gather(), &mut out)?;
        String::from_utf8(out).map_err(|error| prometheus::Error::Msg(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        for (name, kind, labels, help) in Metrics::ALL {
            assert!(name.starts_with("relaywatch_"), "{name}");
            assert_eq!(
                name.ends_with("_total"),
                kind.starts_with("IntCounter"),
                "{name}: counters and only they end in _total"
            );
            assert!(help.trim().ends_with('.'), "{name} has no help");
            assert!(labels.iter().all(|label| !["address", "recipient", "message"].contains(label)), "{name}");
        }
    }

    #[test]
    fn rendering_gives_text() {
        let metrics = Metrics::new().expect("distinct names");
        metrics.rows_added.inc_by(3);
        assert!(metrics.render().expect("text").contains("relaywatch_journal_rows_added_total 3"));
    }

    #[test]
    fn every_metric_is_documented_and_no_other() {
        let docs = include_str!("../docs/metrics.md");
        for (name, _, labels, help) in Metrics::ALL {
            let line = docs.lines().find(|line| line.starts_with(&format!("| `{name}` |"))).unwrap_or_default();
            assert!(line.contains(help.trim()), "docs/metrics.md lacks {name}, or says something else of it");
            assert!(labels.iter().all(|label| line.contains(&format!("`{label}`"))), "labels of {name}");
        }
        let documented = docs.lines().filter(|line| line.starts_with("| `relaywatch_")).count();
        assert_eq!(documented, Metrics::ALL.len(), "docs/metrics.md has a metric that is gone");
    }
}
