//! Any log: however it is cut, no panic, no more memory, and the same outcomes twice.

use relaywatch::{
    ingest::{Report, postfix::Joiner},
    model::Timestamp,
};

const NOW: Timestamp = Timestamp::from_seconds(1_754_805_600);

fn joined(data: &[u8]) -> Report {
    let (mut joiner, mut report) = (Joiner::utc(), Report::default());
    for line in data.split(|byte| *byte == b'\n') {
        joiner.line(line, NOW, &mut report);
    }
    report
}

/// Checks one input.
pub fn check(data: &[u8]) {
    let report = joined(data);
    assert_eq!(report, joined(data));
    for event in &report.events {
        assert!(event.at <= NOW.plus_millis(86_400_000));
        assert!(event.message_id.is_some());
        assert!(event.reply.as_ref().is_none_or(|reply| !reply.text.contains('\0')));
    }
    for part in &report.set_aside {
        assert!(part.body.len() <= 4_096 && !part.label.contains('@'));
    }
}
