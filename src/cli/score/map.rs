//! What Sisimai's reasons are in relaywatch's causes. Written down in `docs/causes.md` too.

use crate::model::Cause;

/// What a label allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expected {
    /// The causes that are right; the first is the one that the reason names.
    pub(super) causes: &'static [Cause],
    /// Whether the reason by itself makes the address permanently dead.
    pub(super) hard: bool,
}

/// What a reason of Sisimai's (5.x, both before and after its change of December 2025) stands for; `None` for a word that
/// is none.
///
/// Some reasons hold what relaywatch keeps apart: `filtered` are refusals by the recipient's own filter and unknown users
/// that were told late; `badreputation` is a block or a deferral.
pub(super) fn expected(reason: &str) -> Option<Expected> {
    use Cause::{
        AuthenticationFailed, AutoReply, Complaint, ContentRejected, DeliveryExpired, DmarcRejected, DomainBlocked,
        DomainRefusesMail, DomainUnknown, Greylisted, IpBlocked, MailboxDisabled, MailboxFull, MessageInvalid,
        MessageTooLarge, NetworkError, PolicyRejected, ProtocolError, RateLimited, ReceiverError, ReceiverStorageFull,
        RecipientMoved, RecipientUnknown, RelayingDenied, ReverseDnsMissing, SenderRejected, SpamRejected,
        SuppressedByProvider, TlsRequired, Undetermined, VirusRejected,
    };
    let (causes, hard): (&'static [Cause], bool) = match reason {
        "authfailure" => (&[AuthenticationFailed, DmarcRejected], false),
        "badreputation" => (&[IpBlocked, DomainBlocked, RateLimited], false),
        "blocked" => (&[IpBlocked, DomainBlocked], false),
        "contenterror" => (&[ContentRejected, MessageInvalid], false),
        "delivered" | "undefined" => (&[Undetermined], false),
        "exceedlimit" | "mesgtoobig" | "emailtoolarge" => (&[MessageTooLarge], false),
        "expired" => (&[DeliveryExpired, NetworkError], false),
        "failedstarttls" => (&[TlsRequired], false),
        "feedback" => (&[Complaint], false),
        "filtered" => (&[PolicyRejected, RecipientUnknown], false),
        "hasmoved" => (&[RecipientMoved], true),
        "hostunknown" => (&[DomainUnknown], true),
        "mailboxfull" => (&[MailboxFull], false),
        "mailererror" | "systemerror" => (&[ReceiverError], false),
        "networkerror" => (&[NetworkError, DomainUnknown], false),
        "norelaying" => (&[RelayingDenied], false),
        "notaccept" => (&[DomainRefusesMail], false),
        "notcompliantrfc" => (&[MessageInvalid], false),
        "onhold" => (&[Undetermined, ReceiverError], false),
        "policyviolation" => (&[PolicyRejected, ContentRejected], false),
        "ratelimited" | "speeding" | "toomanyconn" => (&[RateLimited, Greylisted], false),
        "rejected" => (&[SenderRejected], false),
        "requireptr" => (&[ReverseDnsMissing], false),
        "securityerror" => (&[PolicyRejected, AuthenticationFailed], false),
        "spamdetected" => (&[SpamRejected], false),
        "suppressed" => (&[SuppressedByProvider], false),
        "suspend" => (&[MailboxDisabled], false),
        "syntaxerror" => (&[ProtocolError], false),
        "systemfull" => (&[ReceiverStorageFull], false),
        "userunknown" => (&[RecipientUnknown], true),
        "vacation" => (&[AutoReply], false),
        "virusdetected" => (&[VirusRejected], false),
        _ => return None,
    };
    Some(Expected { causes, hard })
}
