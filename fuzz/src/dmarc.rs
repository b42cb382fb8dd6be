//! Any DMARC record: no panic, faults within the record, and bounds kept.

use relaywatch::sources::dmarc;

/// Checks one input: a record, and each of its lines as one.
pub fn check(data: &[u8]) {
    for text in data.split(|byte| *byte == b'\n').chain([data]) {
        let Some(record) = dmarc::parse(text) else {
            assert!(!dmarc::is_record(text));
            continue;
        };
        assert!(dmarc::is_record(text));
        for fault in &record.faults {
            assert!(fault.at <= text.len(), "{fault:?}");
        }
        // Two tags of ten addresses each.
        assert!(record.reports.len() + record.bad_reports <= 20);
        assert!(record.percent.is_none_or(|percent| percent <= 100));
        for (below, exists) in [(false, true), (true, true), (true, false)] {
            assert!(record.policy(below, exists).is_some() || record.p.is_none() || record.bad_below);
        }
    }
}
