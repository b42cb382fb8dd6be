//! The status that a bounce would have had, where nobody gave one: from the cause of its reply.

use crate::model::{Cause, EnhancedCode, FailureClass};

/// The enhanced code of RFC 3463 (and of RFC 7372 for authentication) that says what the cause says; `None` where the cause is
/// undetermined, or where no code says as much. It is made up, and must be called `derived` wherever it is shown.
#[must_use]
pub fn derived_status(cause: Cause, class: FailureClass) -> Option<EnhancedCode> {
    use Cause::{
        AuthenticationFailed, ContentRejected, DeliveryExpired, DmarcRejected, DomainRefusesMail, DomainUnknown,
        Greylisted, MailboxDisabled, MailboxFull, MessageInvalid, MessageTooLarge, NetworkError, PolicyRejected,
        ProtocolError, RateLimited, ReceiverError, ReceiverStorageFull, RecipientMoved, RecipientUnknown,
        RelayingDenied, ReverseDnsMissing, SenderRejected, SpamRejected, TlsRequired, TooManyRecipients, VirusRejected,
    };
    let (subject, detail) = match cause {
        RecipientUnknown => (1, 1),
        DomainUnknown => (1, 2),
        RecipientMoved => (1, 6),
        SenderRejected => (1, 8),
        DomainRefusesMail => (1, 10),
        MailboxDisabled => (2, 1),
        MailboxFull => (2, 2),
        ReceiverError => (3, 0),
        ReceiverStorageFull => (3, 1),
        MessageTooLarge => (3, 4),
        NetworkError => (4, 0),
        DeliveryExpired => (4, 7),
        RateLimited => (4, 5),
        ProtocolError => (5, 0),
        TooManyRecipients => (5, 3),
        MessageInvalid | ContentRejected => (6, 0),
        Greylisted | PolicyRejected | RelayingDenied | SpamRejected | VirusRejected => (7, 1),
        TlsRequired => (7, 10),
        ReverseDnsMissing => (7, 25),
        AuthenticationFailed | DmarcRejected => (7, 26),
        _ => return None,
    };
    let class = if class == FailureClass::Transient { 4 } else { 5 };
    Some(EnhancedCode { class, subject, detail })
}
