//! Apple's server-to-server notices.

use super::{Address, Timestamp, words};

words! {
    /// What an Apple server-to-server notice says.
    /// Source: Apple, "Processing changes for Sign in with Apple accounts".
    pub enum NoticeKind {
        /// The user stopped forwarding; the relay refuses all future mail.
        EmailDisabled = 1, "email-disabled";
        /// Forwarding is restored.
        EmailEnabled = 2, "email-enabled";
        /// The user revoked the app's access; carries no address.
        ConsentRevoked = 3, "consent-revoked";
        /// The Apple Account is deleted; carries no address.
        AccountDeleted = 4, "account-deleted";
    }
}

/// One verified notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What it says.
    pub kind: NoticeKind,
    /// The client id that it is addressed to.
    pub audience: String,
    /// The account, as Apple names it to this team.
    pub subject: String,
    /// The address, for `email-*` notices only.
    pub email: Option<Address>,
    /// Whether Apple marks the address as a relay address.
    pub is_private_email: Option<bool>,
    /// When it happened.
    pub at: Timestamp,
    /// When Apple issued the token.
    pub issued_at: Timestamp,
    /// Apple's id of the token.
    pub jwt_id: String,
}
