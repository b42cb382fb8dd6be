//! Apple's server-to-server notices.

use super::{Address, DedupeMaterial, Provider, Timestamp, words};

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

words! {
    /// What a mail of Apple's to the Account Holder says about the relay. Their wording was never published.
    pub enum RelayNotice {
        /// A sender is not registered with Apple.
        SourceNotRegistered = 1, "source-not-registered";
        /// A sender fails SPF or DKIM.
        AuthenticationFailed = 2, "authentication-failed";
        /// Mail could not be delivered, for no reason that it names.
        NotDelivered = 3, "not-delivered";
        /// None of these.
        Other = 4, "other";
    }
}

impl RelayNotice {
    /// In words for people.
    #[must_use]
    pub const fn says(self) -> &'static str {
        match self {
            Self::SourceNotRegistered => "a sender is not registered with Apple",
            Self::AuthenticationFailed => "a sender fails SPF or DKIM",
            Self::NotDelivered => "mail was not delivered",
            Self::Other => "it is about the relay; more can't be told",
        }
    }
}

/// One verified notice.
#[derive(Clone, PartialEq, Eq)]
pub struct Notice {
    /// What it says.
    pub kind: NoticeKind,
    /// The client id that it is addressed to.
    pub audience: String,
    /// The team that the client id is configured for; accounts are known by team and subject.
    pub team: String,
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
    /// Apple's id of the token; empty where it gave none.
    pub jwt_id: String,
}

impl std::fmt::Debug for Notice {
    /// Without the account's name, which is personal.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notice")
            .field("kind", &self.kind)
            .field("audience", &self.audience)
            .field("team", &self.team)
            .field("email", &self.email)
            .field("is_private_email", &self.is_private_email)
            .field("at", &self.at)
            .field("issued_at", &self.issued_at)
            .finish_non_exhaustive()
    }
}

impl Notice {
    /// What makes it the same notice: whom it is addressed to, the account, what it says and when that happened.
    ///
    /// Apple documents that a notice can come twice; a second token about the same event may bear another `jti`, while
    /// the same `jti` always bears the same event, so this covers both. The client id stands for the team, since it is
    /// in the payload and the team is a setting, and since consent is revoked app by app.
    #[must_use]
    pub fn dedupe(&self) -> DedupeMaterial {
        let at = self.at.as_millis().to_string();
        DedupeMaterial::new(Provider::Apple, &[&self.audience, &self.subject, self.kind.as_str(), &at])
    }
}
