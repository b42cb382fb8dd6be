//! Any text as the body of a message in the queue, and as the message in an envelope there.

use relaywatch::{
    ingest::{KEPT_MILLIS, http::ses, sqs},
    model::Timestamp,
};

/// 2025-08-11T00:00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_754_870_400_000);

/// Checks one input.
pub fn check(data: &[u8]) {
    let Ok(body) = std::str::from_utf8(data) else { return };
    let report = sqs::decode(body, None, NOW);
    let parts = report.events.len() + report.set_aside.len() + report.ignored.len();
    assert!(parts > 0, "no body is lost");
    assert!(report.follow_up.is_none() && report.notices.is_empty());
    for part in &report.set_aside {
        assert!(part.body.len() <= body.len());
        assert!([KEPT_MILLIS, sqs::POISON_KEPT_MILLIS].contains(&part.kept_millis));
    }
    let envelope = serde_json::json!({ "Type": "Notification", "Message": body }).to_string();
    let wrapped = sqs::decode(&envelope, None, NOW);
    if let Ok(direct) = ses::decode(body, None, NOW) {
        assert_eq!(wrapped.events, direct.events, "the envelope changes nothing");
        assert_eq!(wrapped.ignored, direct.ignored);
    }
}
