//! Any mail is understood, twice in the same way, and within its bounds; with LF for CRLF it says the same.

use relaywatch::{
    ingest::mail::{Envelope, MAX_RECIPIENTS, Understood, mails_of, report, understand},
    model::Timestamp,
};

/// Checks one input.
pub fn check(data: &[u8]) {
    let envelope = Envelope { rcpt_to: None, received_at: Timestamp::from_seconds(1_795_564_800) };
    for raw in mails_of(data).take(10) {
        let understood = understand(raw);
        assert_eq!(understood, understand(raw));
        if let Understood::Delivery(delivery) = &understood {
            assert!(delivery.recipients.len() <= MAX_RECIPIENTS);
        }
        let made = report(&understood, raw, &envelope);
        assert!(made.events.len() <= MAX_RECIPIENTS && made.set_aside.len() <= 1);
        for event in &made.events {
            assert!(event.recipient.expose().len() <= 320);
        }
    }
}
