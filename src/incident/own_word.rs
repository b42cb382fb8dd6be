//! What users have said themselves: by Apple's notices, by a complaint, by unsubscribing.

use crate::{
    model::{NoticeKind, words},
    store::AddressNotice,
};

words! {
    /// What a user has said of mail to an address, the strongest word first.
    pub enum OwnWord {
        /// The Apple Account is deleted.
        Deleted = 1, "account-deleted";
        /// Consent is revoked, at whatever time.
        Revoked = 2, "consent-revoked";
        /// Forwarding is switched off, and not on again.
        Disabled = 3, "email-disabled";
        /// The user has complained.
        Complained = 4, "complained";
        /// The user has unsubscribed.
        Unsubscribed = 5, "unsubscribed";
    }
}

impl OwnWord {
    /// The strongest word. The notices come in whatever order; to be enabled again is no consent.
    #[must_use]
    pub fn of(notices: &[AddressNotice], complained: bool, unsubscribed: bool) -> Option<Self> {
        let told =
            |kind: NoticeKind| notices.iter().filter(move |notice| notice.kind == kind).map(|notice| notice.at).max();
        let disabled = told(NoticeKind::EmailDisabled);
        if told(NoticeKind::AccountDeleted).is_some() {
            Some(Self::Deleted)
        } else if told(NoticeKind::ConsentRevoked).is_some() {
            Some(Self::Revoked)
        } else if disabled.is_some() && disabled >= told(NoticeKind::EmailEnabled) {
            Some(Self::Disabled)
        } else if complained {
            Some(Self::Complained)
        } else {
            unsubscribed.then_some(Self::Unsubscribed)
        }
    }
}
