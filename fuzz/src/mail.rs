//! Any mail is understood, twice in the same way, and within its bounds; with CRLF for LF it says the same.

use relaywatch::{
    ingest::mail::{Envelope, MAX_RECIPIENTS, Understood, mails_of, report, understand},
    model::Timestamp,
};

/// The largest input that is read with other line ends.
const MAX_REDRESSED_BYTES: usize = 4 * 1024;

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
        // Bounds are in bytes: a long mail may be cut elsewhere.
        if raw.len() <= MAX_REDRESSED_BYTES && !raw.contains(&b'\r') {
            let dressed: Vec<u8> =
                raw.iter().flat_map(|byte| if *byte == b'\n' { vec![b'\r', b'\n'] } else { vec![*byte] }).collect();
            let other = understand(&dressed);
            assert_eq!(understood.kind(), other.kind());
            assert_eq!(made.events, report(&other, &dressed, &envelope).events);
        }
        for event in &made.events {
            assert!(event.recipient.expose().len() <= 320);
        }
    }
}
