//! Any log: however it is cut, no panic, no more memory, and the same outcomes twice.

use relaywatch::{
    ingest::{
        Report,
        postfix::{Cutter, Joiner},
    },
    model::Timestamp,
};

const NOW: Timestamp = Timestamp::from_seconds(1_754_805_600);

/// What comes of it where so many bytes are read at a time.
fn joined(data: &[u8], at_a_time: usize) -> Report {
    let (mut cutter, mut lines) = (Cutter::default(), Vec::new());
    for piece in data.chunks(at_a_time) {
        cutter.push(piece, &mut lines);
    }
    cutter.finish(&mut lines);
    let (mut joiner, mut report) = (Joiner::utc(), Report::default());
    for line in lines.split(|byte| *byte == b'\n') {
        joiner.line(line, NOW, &mut report);
    }
    report
}

/// Checks one input.
pub fn check(data: &[u8]) {
    let whole = data.len().max(1);
    let report = joined(data, whole);
    let by_chance = usize::from(data.first().copied().unwrap_or_default()) + 1;
    for at_a_time in [whole, by_chance, 4_096] {
        assert_eq!(report, joined(data, at_a_time));
    }
    for event in &report.events {
        assert!(event.at <= NOW.plus_millis(86_400_000));
        assert!(event.message_id.is_some());
        assert!(event.reply.as_ref().is_none_or(|reply| !reply.text.contains('\0')));
    }
    for part in &report.set_aside {
        assert!(part.body.len() <= 4_096 && !part.label.contains('@'));
    }
}
