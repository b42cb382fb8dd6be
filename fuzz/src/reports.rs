//! Any file of aggregate reports: read twice alike, within its bounds, without an address of a person, and added up to the same
//! sums in either order.

use relaywatch::sources::{
    audit::Setup,
    reports::{MAX_RECORDS, Tally, judge, read},
};

/// Checks one input.
pub fn check(data: &[u8]) {
    let found = read(data);
    assert_eq!(found, read(data));
    let reports: Vec<_> = found.unwrap_or_default().into_iter().flatten().collect();
    for report in &reports {
        assert!(report.records.len() <= MAX_RECORDS && report.begin <= report.end);
        assert!(!report.organisation.contains('@') && !report.domain.contains('@'));
        for record in &report.records {
            assert!(!record.header_from.contains('@') && record.header_from.len() <= 2_048);
        }
    }
    let (mut there, mut back) = (Tally::default(), Tally::default());
    let once = reports.iter().filter(|report| there.add(report)).count();
    assert_eq!(once, there.reports());
    for report in &reports {
        assert!(!there.add(report));
        let mut turned = report.clone();
        turned.records.reverse();
        back.add(&turned);
    }
    assert_eq!(there, back);
    for domain in there.domains(&Setup::default()) {
        let sum = domain.senders.iter().fold(0, |sum: u64, row| sum.saturating_add(row.counts.messages));
        assert_eq!(sum, domain.counts.messages);
        assert!(judge(&domain).len() <= 2);
    }
}
