//! An alarm in words.

use super::{Alarm, Episode, Regime, stats::count};
use crate::model::{HOUR_MILLIS, StreamKey, Timestamp};

/// What begins the sentence about the odds.
const ODDS: &str = " Evidence ";
/// What ends the sentence about counts and time.
const COUNTS: &str = " %). ";

/// What an alarm says to the person on call: what, where, how much, how unusual, and how seldom the rule is wrong.
///
/// The bound on false alarms holds where clusters follow the baseline; whoever prints it prints that beside it. Where nothing
/// of the baseline was measured there is none, and no range that could be called ordinary.
#[must_use]
pub fn describe(stream: &StreamKey, alarm: &Alarm, regime: &Regime) -> String {
    let (sends, refused) = (count(alarm.since_onset.sends), count(alarm.since_onset.refused));
    let scope = if regime.mass < 1.0 { "over all streams" } else { "on this stream" };
    let counts = format!(
        "Since {} {refused} of {sends} relay messages on {stream} were refused ({:.1}{COUNTS}",
        alarm.onset.start(),
        100.0 * refused / sends.max(1.0),
    );
    let ordinary = if regime.baseline.is_built_in() {
        "Still learning what is ordinary here: compared with a built-in assumption, not with your history.".to_owned()
    } else {
        let (low, high) = regime.baseline.normal_range();
        let of_whom = if regime.baseline.clusters() == 0 { " (of mail like it: this stream has none yet)" } else { "" };
        format!(
            "Normal campaigns{of_whom}: {:.1} to {:.1} % refused, so that {:.1} were expected. The rule raises at most one false \
             alarm in {:.0} days on average {scope}.",
            100.0 * low,
            100.0 * high,
            regime.baseline.rate() * sends,
            regime.threshold,
        )
    };
    format!("{counts}{ordinary}{ODDS}{}.", odds(alarm.ln_evidence))
}

/// What [`describe`] says beside counts, time and odds: for a page that shows counts and time by themselves.
#[must_use]
pub fn beside_counts(sentence: &str) -> &str {
    let rest = sentence.split_once(COUNTS).map_or(sentence, |(_, rest)| rest);
    rest.split_once(ODDS).map_or(rest, |(said, _)| said)
}

/// What a count ticket says: how many, against what, and that nothing is claimed of rates or false alarms.
#[must_use]
pub fn describe_count(stream: &StreamKey, episode: &Episode) -> String {
    format!(
        "Since {} more addresses are refused on {stream} than usual: {} in the worst hour, {} in the worst hour of the week \
         before. The feed reports no sends: there is no rate, and nothing is claimed of how often this is a false alarm.",
        Timestamp::from_millis(episode.onset.saturating_mul(HOUR_MILLIS)),
        episode.peak.addresses,
        episode.peak.highest_before,
    )
}

/// R as odds. Beyond 99 digits the number says nothing more.
fn odds(ln_evidence: f64) -> String {
    let digits = ln_evidence / std::f64::consts::LN_10;
    if digits > 99.0 { "above 1e99:1".to_owned() } else { format!("{:.0e}:1", ln_evidence.exp()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        detect::{Baseline, ClusterTotals, Counts, Parameters, Witnesses},
        model::{Provider, StreamLevel, Timestamp},
    };

    #[test]
    fn the_person_on_call_reads_what_happened() {
        let parameters = Parameters::default();
        let clusters: Vec<_> = (0..60).map(|i| ClusterTotals { sends: 10_000, refused: 20 + i }).collect();
        let onset = Timestamp::from_rfc3339("2025-08-09T06:05:00Z").expect("a time").bin();
        let regime = Regime::in_fleet(onset, Baseline::learn(&clusters, None, &parameters), 0.1, &parameters);
        let alarm = Alarm {
            bin: onset,
            onset,
            since_onset: Counts { sends: 330, refused: 312 },
            addresses: Witnesses::default(),
            ln_evidence: 4e6_f64.ln(),
            rate: 0.95,
        };
        let campaign = StreamKey::finest(Provider::Ses, Some("news.example.com".to_owned()), None, None);
        let stream = campaign.at(StreamLevel::ProviderDomain).expect("a parent");
        let said = describe(&stream, &alarm, &regime);
        let beside = beside_counts(&said);
        assert!(beside.starts_with("Normal campaigns: ") && beside.ends_with("over all streams."), "{beside}");
        insta::assert_snapshot!(said);
        let new = Regime::in_fleet(onset, Baseline::learning(&parameters), 0.1, &parameters);
        let said = describe(&stream, &alarm, &new);
        assert!(!said.contains("false alarm") && !said.contains("ormal campaigns"), "nothing was measured: {said}");
        insta::assert_snapshot!("learning", said);
        let none = Regime::in_fleet(onset, Baseline::learn(&[], None, &parameters), 0.1, &parameters);
        assert!(describe(&stream, &alarm, &none).contains("this stream has none yet"));
        assert_eq!(odds(1e5), "above 1e99:1");
        let peak = crate::detect::CountTicket { addresses: 312, highest_before: 12 };
        let hour = onset.start().as_millis() / HOUR_MILLIS;
        let episode = Episode { onset: hour, last: hour, peak, over: false };
        insta::assert_snapshot!("count", describe_count(&stream, &episode));
    }
}
