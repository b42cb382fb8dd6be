//! What Sisimai's reasons are in relaywatch's causes. Written down in `docs/causes.md` too.

use crate::model::{Cause, nearest_word};

/// What a label allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expected {
    /// The causes that are right; the first is the one that the reason names.
    pub(super) causes: &'static [Cause],
    /// Whether the reason by itself makes the address permanently dead.
    pub(super) hard: bool,
}

/// The reasons of Sisimai's (5.x, both before and after its change of December 2025), by name, with what each stands for.
///
/// Some hold what relaywatch keeps apart: `filtered` are refusals by the recipient's own filter and unknown users that were
/// told late; `badreputation` is a block or a deferral.
const REASONS: &[(&str, &[Cause], bool)] = {
    use Cause::{
        AuthenticationFailed, AutoReply, Complaint, ContentRejected, DeliveryExpired, DmarcRejected, DomainBlocked,
        DomainRefusesMail, DomainUnknown, Greylisted, IpBlocked, MailboxDisabled, MailboxFull, MessageInvalid,
        MessageTooLarge, NetworkError, PolicyRejected, ProtocolError, RateLimited, ReceiverError, ReceiverStorageFull,
        RecipientMoved, RecipientUnknown, RelayingDenied, ReverseDnsMissing, SenderRejected, SpamRejected,
        SuppressedByProvider, TlsRequired, Undetermined, VirusRejected,
    };
    &[
        ("authfailure", &[AuthenticationFailed, DmarcRejected], false),
        ("badreputation", &[IpBlocked, DomainBlocked, RateLimited], false),
        ("blocked", &[IpBlocked, DomainBlocked], false),
        ("contenterror", &[ContentRejected, MessageInvalid], false),
        ("delivered", &[Undetermined], false),
        ("emailtoolarge", &[MessageTooLarge], false),
        ("exceedlimit", &[MessageTooLarge], false),
        ("expired", &[DeliveryExpired, NetworkError], false),
        ("failedstarttls", &[TlsRequired], false),
        ("feedback", &[Complaint], false),
        ("filtered", &[PolicyRejected, RecipientUnknown], false),
        ("hasmoved", &[RecipientMoved], true),
        ("hostunknown", &[DomainUnknown], true),
        ("mailboxfull", &[MailboxFull], false),
        ("mailererror", &[ReceiverError], false),
        ("mesgtoobig", &[MessageTooLarge], false),
        ("networkerror", &[NetworkError, DomainUnknown], false),
        ("norelaying", &[RelayingDenied], false),
        ("notaccept", &[DomainRefusesMail], false),
        ("notcompliantrfc", &[MessageInvalid], false),
        ("onhold", &[Undetermined, ReceiverError], false),
        ("policyviolation", &[PolicyRejected, ContentRejected], false),
        ("ratelimited", &[RateLimited, Greylisted], false),
        ("rejected", &[SenderRejected], false),
        ("requireptr", &[ReverseDnsMissing], false),
        ("securityerror", &[PolicyRejected, AuthenticationFailed], false),
        ("spamdetected", &[SpamRejected], false),
        ("speeding", &[RateLimited, Greylisted], false),
        ("suppressed", &[SuppressedByProvider], false),
        ("suspend", &[MailboxDisabled], false),
        ("syntaxerror", &[ProtocolError], false),
        ("systemerror", &[ReceiverError], false),
        ("systemfull", &[ReceiverStorageFull], false),
        ("toomanyconn", &[RateLimited, Greylisted], false),
        ("undefined", &[Undetermined], false),
        ("userunknown", &[RecipientUnknown], true),
        ("vacation", &[AutoReply], false),
        ("virusdetected", &[VirusRejected], false),
    ]
};

/// What a reason stands for.
///
/// # Errors
/// What to do where the word is none.
pub(super) fn expected(reason: &str) -> Result<Expected, String> {
    let found = REASONS.iter().find(|(name, ..)| *name == reason);
    found.map(|(_, causes, hard)| Expected { causes, hard: *hard }).ok_or_else(|| {
        let meant = nearest_word(reason, REASONS.iter().map(|(name, ..)| *name));
        let meant = meant.map(|meant| format!(": did you mean {meant:?}?")).unwrap_or_default();
        format!("no reason is called {reason:?}{meant}; `relaywatch classify --help` lists them")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_lists_every_reason() {
        use clap::Args as _;
        let command = crate::cli::classify::Args::augment_args(clap::Command::new("classify"));
        let help = command.clone().render_long_help().to_string();
        let list =
            help.split("docs/causes.md:").last().unwrap_or_default().split("Exit code").next().unwrap_or_default();
        let names: Vec<&str> = REASONS.iter().map(|(name, ..)| *name).collect();
        assert_eq!(list.split_whitespace().collect::<Vec<_>>(), names);
    }
}
