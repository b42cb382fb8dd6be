//! What a reply means, whose fault it is, and what to do about the address.

use serde::Serialize;

use super::{Provider, words};

words! {
    /// What a reply means: a closed list with a catch-all. Documented one by one in `docs/causes.md`.
    pub enum Cause {
        /// No such address.
        RecipientUnknown = 1, "recipient_unknown";
        /// The address has moved or is closed.
        RecipientMoved = 2, "recipient_moved";
        /// The recipient's domain does not exist.
        DomainUnknown = 3, "domain_unknown";
        /// The recipient's domain takes no mail.
        DomainRefusesMail = 4, "domain_refuses_mail";
        /// The mailbox or alias is switched off; this can be undone.
        MailboxDisabled = 5, "mailbox_disabled";
        /// The mailbox is full.
        MailboxFull = 6, "mailbox_full";
        /// Apple refuses this sender: registration, team or authentication.
        RelaySenderUnregistered = 7, "relay_sender_unregistered";
        /// The user stopped forwarding.
        RelayForwardingDisabled = 8, "relay_forwarding_disabled";
        /// The relay could not rewrite the message.
        RelayTransformationFailed = 9, "relay_transformation_failed";
        /// The relay's daily limit for one address.
        RelayDailyLimit = 10, "relay_daily_limit";
        /// SPF and DKIM failed.
        AuthenticationFailed = 11, "authentication_failed";
        /// The sender's DMARC policy had the message refused.
        DmarcRejected = 12, "dmarc_rejected";
        /// The receiver demands TLS.
        TlsRequired = 13, "tls_required";
        /// The sending IP address is blocked.
        IpBlocked = 14, "ip_blocked";
        /// The sending domain is blocked.
        DomainBlocked = 15, "domain_blocked";
        /// The sending IP address has no usable reverse DNS.
        ReverseDnsMissing = 16, "reverse_dns_missing";
        /// Taken for spam.
        SpamRejected = 17, "spam_rejected";
        /// Taken for malware.
        VirusRejected = 18, "virus_rejected";
        /// The content is not accepted.
        ContentRejected = 19, "content_rejected";
        /// The message breaks a standard.
        MessageInvalid = 20, "message_invalid";
        /// The receiver's own policy.
        PolicyRejected = 21, "policy_rejected";
        /// The envelope sender is not accepted.
        SenderRejected = 22, "sender_rejected";
        /// The host does not relay for the recipient's domain.
        RelayingDenied = 23, "relaying_denied";
        /// Too much at once.
        RateLimited = 24, "rate_limited";
        /// Asked to come back later.
        Greylisted = 25, "greylisted";
        /// Too many recipients in one transaction.
        TooManyRecipients = 26, "too_many_recipients";
        /// The message is too large.
        MessageTooLarge = 27, "message_too_large";
        /// A fault in the receiver's system.
        ReceiverError = 28, "receiver_error";
        /// The receiver's disks are full, not one mailbox.
        ReceiverStorageFull = 29, "receiver_storage_full";
        /// No connection, a time-out, a lost connection.
        NetworkError = 30, "network_error";
        /// Given up after too long in the queue.
        DeliveryExpired = 31, "delivery_expired";
        /// A fault in the SMTP conversation.
        ProtocolError = 32, "protocol_error";
        /// The signature of an outage at the receiving provider.
        ProviderOutage = 33, "provider_outage";
        /// The ESP did not even try: it has suppressed the address.
        SuppressedByProvider = 34, "suppressed_by_provider";
        /// An automatic answer, no bounce.
        AutoReply = 35, "auto_reply";
        /// The recipient complained.
        Complaint = 36, "complaint";
        /// Nobody can tell from what was said.
        Undetermined = 99, "undetermined";
    }
}

words! {
    /// What kinds of causes there are: coarse enough to compare with other classifications, fine enough to act on.
    pub enum CauseFamily {
        /// The address is unknown or has moved.
        Address = 1, "address";
        /// The address is switched off for the time being.
        Inactive = 2, "inactive";
        /// The recipient's domain is unknown, or takes no mail.
        Domain = 3, "domain";
        /// The mailbox is full.
        MailboxFull = 4, "mailbox_full";
        /// Apple's relay by itself: registration, transformation, limits.
        Relay = 5, "relay";
        /// SPF, DKIM, DMARC, TLS.
        Authentication = 6, "authentication";
        /// The sending IP address or domain: blocked, badly reputed, without reverse DNS.
        Reputation = 7, "reputation";
        /// What the message holds: spam, malware, unwanted or broken.
        Content = 8, "content";
        /// Policies, and senders that aren't accepted.
        Policy = 9, "policy";
        /// The host does not relay.
        Relaying = 10, "relaying";
        /// Too much at once, or too early.
        Rate = 11, "rate";
        /// The message is too large.
        Size = 12, "size";
        /// A fault in the receiver's system.
        Receiver = 13, "receiver";
        /// Connections, name servers, queues and SMTP itself.
        Network = 14, "network";
        /// The provider has suppressed the address.
        Suppressed = 15, "suppressed";
        /// An automatic answer.
        AutoReply = 16, "auto_reply";
        /// A complaint.
        Complaint = 17, "complaint";
        /// Nobody can tell.
        Undetermined = 99, "undetermined";
    }
}

impl Cause {
    /// The family that the cause belongs to.
    #[must_use]
    pub const fn family(self) -> CauseFamily {
        match self {
            Self::RecipientUnknown | Self::RecipientMoved => CauseFamily::Address,
            Self::MailboxDisabled | Self::RelayForwardingDisabled => CauseFamily::Inactive,
            Self::DomainUnknown | Self::DomainRefusesMail => CauseFamily::Domain,
            Self::MailboxFull => CauseFamily::MailboxFull,
            Self::RelaySenderUnregistered | Self::RelayTransformationFailed | Self::RelayDailyLimit => {
                CauseFamily::Relay
            }
            Self::AuthenticationFailed | Self::DmarcRejected | Self::TlsRequired => CauseFamily::Authentication,
            Self::IpBlocked | Self::DomainBlocked | Self::ReverseDnsMissing => CauseFamily::Reputation,
            Self::SpamRejected | Self::VirusRejected | Self::ContentRejected | Self::MessageInvalid => {
                CauseFamily::Content
            }
            Self::PolicyRejected | Self::SenderRejected => CauseFamily::Policy,
            Self::RelayingDenied => CauseFamily::Relaying,
            Self::RateLimited | Self::Greylisted | Self::TooManyRecipients => CauseFamily::Rate,
            Self::MessageTooLarge => CauseFamily::Size,
            Self::ReceiverError | Self::ReceiverStorageFull | Self::ProviderOutage => CauseFamily::Receiver,
            Self::NetworkError | Self::DeliveryExpired | Self::ProtocolError => CauseFamily::Network,
            Self::SuppressedByProvider => CauseFamily::Suppressed,
            Self::AutoReply => CauseFamily::AutoReply,
            Self::Complaint => CauseFamily::Complaint,
            Self::Undetermined => CauseFamily::Undetermined,
        }
    }

    /// Whose fault it usually is; a rule may know better.
    #[must_use]
    pub const fn fault(self) -> Fault {
        match self {
            Self::RecipientUnknown
            | Self::RecipientMoved
            | Self::DomainUnknown
            | Self::MailboxDisabled
            | Self::MailboxFull
            | Self::RelayForwardingDisabled
            | Self::AutoReply
            | Self::Complaint => Fault::Recipient,
            Self::RelaySenderUnregistered
            | Self::RelayDailyLimit
            | Self::AuthenticationFailed
            | Self::DmarcRejected
            | Self::TlsRequired
            | Self::IpBlocked
            | Self::DomainBlocked
            | Self::ReverseDnsMissing
            | Self::SpamRejected
            | Self::VirusRejected
            | Self::ContentRejected
            | Self::MessageInvalid
            | Self::PolicyRejected
            | Self::SenderRejected
            | Self::RelayingDenied
            | Self::RateLimited
            | Self::TooManyRecipients
            | Self::MessageTooLarge => Fault::Sender,
            Self::ReceiverError
            | Self::ReceiverStorageFull
            | Self::ProtocolError
            | Self::ProviderOutage
            | Self::SuppressedByProvider => Fault::Provider,
            Self::DomainRefusesMail
            | Self::RelayTransformationFailed
            | Self::Greylisted
            | Self::NetworkError
            | Self::DeliveryExpired
            | Self::Undetermined => Fault::Unknown,
        }
    }

    /// What to do about the address, as a rule; never [`Action::Suppress`], since one refusal suppresses nobody.
    #[must_use]
    pub const fn action(self) -> Action {
        match self {
            Self::RecipientUnknown
            | Self::RecipientMoved
            | Self::DomainUnknown
            | Self::DomainRefusesMail
            | Self::MailboxDisabled
            | Self::RelayForwardingDisabled
            | Self::RelayTransformationFailed
            | Self::DeliveryExpired
            | Self::SuppressedByProvider
            | Self::Complaint
            | Self::Undetermined => Action::Hold,
            Self::RelaySenderUnregistered
            | Self::AuthenticationFailed
            | Self::DmarcRejected
            | Self::TlsRequired
            | Self::IpBlocked
            | Self::DomainBlocked
            | Self::ReverseDnsMissing
            | Self::SpamRejected
            | Self::VirusRejected
            | Self::ContentRejected
            | Self::MessageInvalid
            | Self::PolicyRejected
            | Self::SenderRejected
            | Self::RelayingDenied
            | Self::MessageTooLarge => Action::FixSender,
            Self::MailboxFull
            | Self::RelayDailyLimit
            | Self::RateLimited
            | Self::Greylisted
            | Self::TooManyRecipients
            | Self::ReceiverError
            | Self::ReceiverStorageFull
            | Self::NetworkError
            | Self::ProtocolError
            | Self::ProviderOutage => Action::Retry,
            Self::AutoReply => Action::Keep,
        }
    }

    /// How long to wait before the next try, in seconds, where trying again may help.
    ///
    /// Greylisting: ten minutes, above the usual five of RFC 6647 section 4.2. Queue faults: half an hour, as RFC 5321
    /// section 4.5.4.1 asks for. A full mailbox and a daily limit: a day.
    #[must_use]
    pub const fn delay(self) -> Option<u32> {
        const MINUTE: u32 = 60;
        const HOUR: u32 = 60 * MINUTE;
        match self {
            Self::Greylisted => Some(10 * MINUTE),
            Self::TooManyRecipients => Some(MINUTE),
            Self::ReceiverError | Self::NetworkError | Self::ProtocolError => Some(30 * MINUTE),
            Self::RateLimited | Self::ReceiverStorageFull | Self::ProviderOutage => Some(HOUR),
            Self::MailboxFull | Self::RelayDailyLimit => Some(24 * HOUR),
            _ => None,
        }
    }
}

words! {
    /// Whose fault it is.
    pub enum Fault {
        /// The sender's: registration, authentication, content, reputation, rate.
        Sender = 1, "sender";
        /// The recipient's: the address is gone, off or full.
        Recipient = 2, "recipient";
        /// Apple's.
        Apple = 3, "apple";
        /// The sending or receiving provider's.
        Provider = 4, "provider";
        /// Nobody can tell.
        Unknown = 99, "unknown";
    }
}

words! {
    /// What to do about the address.
    pub enum Action {
        /// Send no more to it.
        Suppress = 1, "suppress";
        /// Go on sending.
        Keep = 2, "keep";
        /// Do not suppress; wait until the cause is known.
        Hold = 3, "hold";
        /// Do not suppress; the sender has something to mend.
        FixSender = 4, "fix-sender";
        /// Try again later.
        Retry = 5, "retry";
    }
}

words! {
    /// Whose address stands in the brackets of a reply: the discriminator of Apple's overloaded 5.1.1.
    pub enum AddressRole {
        /// The envelope sender's: a fault on the sender's side.
        Sender = 1, "sender";
        /// The recipient's: a fault on the address's side.
        Recipient = 2, "recipient";
        /// Somebody else's, or nothing to compare it with.
        Unknown = 3, "unknown";
        /// There is none.
        Absent = 0, "absent";
    }
}

words! {
    /// What the recipient's domain can hold.
    pub enum Destination {
        /// Relay addresses only.
        Relay = 1, "relay";
        /// Relay addresses among ordinary mailboxes.
        Shared = 2, "shared";
        /// No relay addresses.
        Other = 3, "other";
        /// The recipient is not known.
        Unknown = 0, "unknown";
    }
}

words! {
    /// Whose mail exchanger answered.
    pub enum MxFamily {
        /// Apple's private relay.
        AppleRelay = 1, "apple-relay";
        /// Apple's iCloud mail.
        AppleIcloud = 2, "apple-icloud";
        /// Google.
        Google = 3, "google";
        /// Microsoft.
        Microsoft = 4, "microsoft";
        /// Yahoo and AOL.
        Yahoo = 5, "yahoo";
        /// Somebody else.
        Other = 6, "other";
        /// Not reported.
        Unknown = 0, "unknown";
    }
}

words! {
    /// What kind of evidence decided, in the order in which it is asked.
    pub enum EvidenceKind {
        /// Whose address is in the brackets.
        AddressRole = 1, "address_role";
        /// Which provider or mail exchanger spoke.
        Context = 2, "context";
        /// The wording.
        Wording = 3, "wording";
        /// The enhanced code.
        EnhancedCode = 4, "enhanced_code";
        /// The basic code.
        BasicCode = 5, "basic_code";
        /// The provider's own label.
        ProviderLabel = 6, "provider_label";
    }
}

/// One piece of evidence behind a verdict. Holds no address: templates only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// What kind it is.
    pub kind: EvidenceKind,
    /// What was found, for people.
    pub detail: String,
}

/// The facts beside a reply's template that rules may look at. They are stored with the event, so that the same rules
/// give the same verdict again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct ReplyContext {
    /// Who reports, where known.
    pub provider: Option<Provider>,
    /// What the recipient's domain can hold.
    pub destination: Destination,
    /// Whose mail exchanger answered.
    pub mx: MxFamily,
}

impl Default for ReplyContext {
    fn default() -> Self {
        Self { provider: None, destination: Destination::Unknown, mx: MxFamily::Unknown }
    }
}

/// What the classifier says of one reply.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// What it means.
    pub cause: Cause,
    /// Whose fault it is.
    pub fault: Fault,
    /// What to do about the address, by this reply alone. `incident::advice` looks at more than one.
    pub action: Action,
    /// True only where the text says that the address itself is permanently dead.
    pub hard: bool,
    /// How sure, 0 to 1.
    pub confidence: f32,
    /// The rule that decided, as `file/name`.
    pub rule: String,
    /// The version of the rule's file; 0 where no rule held.
    pub version: u32,
    /// What decided, most weighty first.
    pub evidence: Vec<Evidence>,
    /// How many seconds to wait before the next try; only with [`Action::Retry`].
    pub delay: Option<u32>,
}
