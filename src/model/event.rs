//! One outcome of one message to one recipient, as a feed decodes it.

use super::{Address, FailureClass, Provider, Reply, Timestamp, words};

words! {
    /// What a provider reports.
    pub enum EventKind {
        /// Handed to the provider, or by it to the receiving side's queue.
        Sent = 1, "sent";
        /// Accepted by the receiving side.
        Delivered = 2, "delivered";
        /// Not yet accepted; the provider goes on trying.
        Deferred = 3, "deferred";
        /// Given up, or refused for good.
        Refused = 4, "refused";
        /// The recipient complained.
        Complained = 5, "complained";
        /// The ESP did not try, since it has suppressed the address. No evidence about Apple.
        SuppressedByProvider = 6, "suppressed-by-provider";
        /// The recipient unsubscribed. Moves no detector; keeps the address off a recovery list.
        Unsubscribed = 7, "unsubscribed";
    }
}

words! {
    /// What a feed tells of mail that did not bounce.
    pub enum Exposure {
        /// Every send is reported.
        Sends = 1, "sends";
        /// Every outcome is reported: delivered and refused.
        Outcomes = 2, "outcomes";
        /// Neither: there is no denominator, and none is made up.
        None = 0, "none";
    }
}

words! {
    /// Where a send time comes from.
    pub enum SendTimeOrigin {
        /// This event's payload.
        Payload = 1, "payload";
        /// The `sent` event of the same message and recipient.
        SentEvent = 2, "sent-event";
        /// The event's own time: approximate.
        EventTime = 3, "event-time";
    }
}

/// When the message was sent, and how that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendTime {
    /// The time.
    pub at: Timestamp,
    /// Where it comes from.
    pub origin: SendTimeOrigin,
}

/// What makes an event the same event, whichever way it comes: a function of the payload alone, never of arrival,
/// transport or feed. The store hashes it under its key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct DedupeMaterial(Vec<u8>);

impl DedupeMaterial {
    /// From the parts that identify the event; each is kept apart from its neighbours by its length.
    #[must_use]
    pub fn new(provider: Provider, parts: &[&str]) -> Self {
        let mut bytes = Vec::with_capacity(8 + parts.iter().map(|part| part.len() + 8).sum::<usize>());
        bytes.extend_from_slice(&provider.code().to_le_bytes());
        for part in parts {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        Self(bytes)
    }

    /// From the bytes of another one, as they travel to the daemon.
    #[must_use]
    pub(crate) const fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes to hash. They hold payload values, addresses among them: never to be stored or printed.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for DedupeMaterial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DedupeMaterial({} bytes)", self.0.len())
    }
}

/// One outcome of one message to one recipient, decoded from a provider's report and not yet stored.
///
/// Subjects and custom metadata are dropped by the decoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Who reports.
    pub provider: Provider,
    /// What happened.
    pub kind: EventKind,
    /// When it happened, by the payload.
    pub at: Timestamp,
    /// When the message was sent, where this payload tells.
    pub sent_at: Option<Timestamp>,
    /// What makes it the same event.
    pub dedupe: DedupeMaterial,
    /// The provider's id of the message, the same in all events of the message.
    pub message_id: Option<String>,
    /// Whom it was for.
    pub recipient: Address,
    /// The domain of the From header, lower case.
    pub from_domain: Option<String>,
    /// The envelope sender (return-path), where the payload tells it for certain.
    pub envelope_sender: Option<Address>,
    /// The domain of the envelope sender, lower case; may be known where the whole is not.
    pub envelope_domain: Option<String>,
    /// The campaign, as the provider names it.
    pub campaign: Option<String>,
    /// What the receiving side said.
    pub reply: Option<Reply>,
    /// The host that said it.
    pub remote_mta: Option<String>,
    /// The provider's own verdict, as it spells it, kept beside ours: `Permanent/General`, `bounce_class 10`.
    pub provider_verdict: Option<String>,
    /// Whether the provider itself calls the failure final; used only where the reply has no code.
    pub provider_class: FailureClass,
}

impl Event {
    /// Whether the receiving side refused for good: by the reply's code, else by the provider's word.
    ///
    /// This is what detectors count (`x`); a message given up after temporary failures is refused, but not permanently.
    #[must_use]
    pub fn failure_class(&self) -> FailureClass {
        match self.reply.as_ref().map(Reply::class) {
            None | Some(FailureClass::Unknown) => self.provider_class,
            Some(class) => class,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dedupe_parts_do_not_run_into_each_other() {
        let one = DedupeMaterial::new(Provider::Ses, &["ab", "c"]);
        let two = DedupeMaterial::new(Provider::Ses, &["a", "bc"]);
        let other = DedupeMaterial::new(Provider::Mailgun, &["ab", "c"]);
        assert_ne!(one, two);
        assert_ne!(one, other);
        assert_eq!(format!("{one:?}"), "DedupeMaterial(21 bytes)");
    }
}
