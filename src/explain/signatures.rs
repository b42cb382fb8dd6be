//! The table of signatures: the kinds of evidence, and what each says of each hypothesis.

use serde::Serialize;

use super::{Hypothesis, ReplyGroup};
use crate::model::words;

words! {
    /// One kind of evidence: one row of the table of signatures.
    pub enum Clue {
        /// The share of refused addresses with a notice is high.
        NoticeJoin = 1, "notice-join";
        /// Replies that refuse the sender.
        TextSenderRefused = 2, "text-sender-refused";
        /// Replies that blame SPF, DKIM or DMARC.
        TextAuthentication = 3, "text-authentication";
        /// Replies that say the address is gone.
        TextAddressGone = 4, "text-address-gone";
        /// Replies of temporary trouble, counted as final.
        TextTemporary = 5, "text-temporary";
        /// Replies with the signature of an outage.
        TextOutage = 6, "text-outage";
        /// Refused addresses had mail delivered in the 24 hours before.
        DeliveredWithinADay = 7, "delivered-within-a-day";
        /// The refusals sit in one From or envelope domain.
        OneSender = 8, "one-sender";
        /// The refusals sit in one provider.
        OneProvider = 9, "one-provider";
        /// The refusals sit in one campaign.
        OneCampaign = 10, "one-campaign";
        /// The refused addresses come from one app or team.
        OneApp = 11, "one-app";
        /// DNS, ESP settings or the portal changed in the six hours before.
        RecentChange = 12, "recent-change";
        /// Recipients outside Apple are refused more as well.
        OtherRecipients = 13, "other-recipients";
        /// Ordinary mailboxes at Apple are refused more as well.
        AppleRecipients = 14, "apple-recipients";
        /// A canary on the same path is refused.
        Canary = 15, "canary";
        /// Refused addresses accept mail again later.
        RetrySucceeds = 16, "retry-succeeds";
        /// Reports arrive far later than usual, or again and again.
        OddArrival = 17, "odd-arrival";
    }
}

/// What a clue says of a hypothesis when it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// The reply says it in so many words.
    Stated,
    /// `++`
    Expected,
    /// `+`
    Supports,
    /// `.`
    Neutral,
    /// `-`
    Against,
    /// `--`
    Contradicts,
}

use Mark::{Against as M, Contradicts as MM, Expected as PP, Neutral as O, Stated as ST, Supports as P};

/// No single clue weighs more than this, either way.
pub(super) const CAP: f64 = 3.0;

/// How often a clue is found when none of the hypotheses is true. It turns the weight of a clue that is found into that of
/// one that is looked for and missing.
const FOUND_ANYWAY: f64 = 0.12;

impl Mark {
    /// The log-likelihood ratio against "none of these" when the clue is found. Start values, to be fitted on simulated
    /// incidents.
    #[must_use]
    pub const fn found(self) -> f64 {
        match self {
            Self::Stated => CAP,
            Self::Expected => 2.0,
            Self::Supports => 1.0,
            Self::Neutral => 0.0,
            Self::Against => -1.0,
            Self::Contradicts => -2.0,
        }
    }

    /// The same when the clue was looked for and is not there: `ln((1 - P) / (1 - .12))`, `P = min(.12 e^found, .95)`.
    #[must_use]
    pub fn missing(self) -> f64 {
        let likely = (FOUND_ANYWAY * self.found().exp()).min(0.95);
        ((1.0 - likely) / (1.0 - FOUND_ANYWAY)).ln().clamp(-CAP, CAP)
    }
}

impl Clue {
    /// The row of signatures, from H1 to H10. The outage row comes from what Apple's outage of April 2021 said; the others are
    /// those of the reference, but that a text which states a cause outright weighs up to the cap.
    #[must_use]
    pub const fn row(self) -> [Mark; 10] {
        match self {
            //                           H1  H2  H3  H4  H5  H6  H7  H8  H9  H10
            Self::NoticeJoin =>
            /*         */
            {
                [PP, MM, MM, MM, M, O, MM, MM, MM, O]
            }
            Self::TextSenderRefused =>
            /*  */
            {
                [MM, ST, O, P, PP, MM, MM, M, MM, O]
            }
            Self::TextAuthentication =>
            /* */
            {
                [MM, M, ST, P, MM, MM, MM, MM, MM, O]
            }
            Self::TextAddressGone =>
            /*    */
            {
                [PP, MM, MM, M, P, PP, PP, P, M, O]
            }
            Self::TextTemporary =>
            /*      */
            {
                [MM, MM, MM, P, MM, MM, MM, P, PP, O]
            }
            Self::TextOutage =>
            /*         */
            {
                [MM, MM, MM, O, MM, MM, MM, ST, P, O]
            }
            Self::DeliveredWithinADay =>
            /**/
            {
                [P, PP, PP, PP, PP, MM, PP, PP, P, O]
            }
            Self::OneSender =>
            /*          */
            {
                [M, PP, PP, P, P, M, MM, MM, O, O]
            }
            Self::OneProvider =>
            /*        */
            {
                [M, P, P, PP, M, M, MM, MM, PP, P]
            }
            Self::OneCampaign =>
            /*        */
            {
                [M, O, M, O, M, PP, MM, M, O, O]
            }
            Self::OneApp =>
            /*             */
            {
                [O, O, M, M, PP, O, O, M, M, O]
            }
            Self::RecentChange =>
            /*       */
            {
                [M, P, PP, PP, PP, M, M, M, P, O]
            }
            Self::OtherRecipients =>
            /*    */
            {
                [MM, MM, P, PP, MM, PP, MM, MM, P, P]
            }
            Self::AppleRecipients =>
            /*    */
            {
                [MM, MM, P, P, MM, P, M, PP, P, P]
            }
            Self::Canary =>
            /*             */
            {
                [MM, PP, PP, PP, PP, MM, M, PP, P, MM]
            }
            Self::RetrySucceeds =>
            /*      */
            {
                [MM, O, O, O, O, MM, MM, PP, PP, O]
            }
            Self::OddArrival =>
            /*         */
            {
                [O, O, O, O, O, O, O, O, O, PP]
            }
        }
    }

    /// What it says of one hypothesis.
    #[must_use]
    pub fn mark(self, hypothesis: Hypothesis) -> Mark {
        self.row().get(hypothesis.index()).copied().unwrap_or(Mark::Neutral)
    }

    /// The group of replies that it is about.
    #[must_use]
    pub const fn reply_group(self) -> Option<ReplyGroup> {
        match self {
            Self::TextSenderRefused => Some(ReplyGroup::SenderRefused),
            Self::TextAuthentication => Some(ReplyGroup::Authentication),
            Self::TextAddressGone => Some(ReplyGroup::AddressGone),
            Self::TextTemporary => Some(ReplyGroup::Temporary),
            Self::TextOutage => Some(ReplyGroup::Outage),
            _ => None,
        }
    }

    /// Whether to find out means to send to refused addresses, which not every advice allows.
    #[must_use]
    pub const fn sends_to_refused(self) -> bool {
        matches!(self, Self::OneSender | Self::OneProvider | Self::RetrySucceeds)
    }

    /// What it asks, for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::NoticeJoin => "Apple's notices about the refused addresses",
            Self::TextSenderRefused => "replies that refuse the sender",
            Self::TextAuthentication => "replies that blame SPF, DKIM or DMARC",
            Self::TextAddressGone => "replies that say the address is gone",
            Self::TextTemporary => "replies of temporary trouble",
            Self::TextOutage => "replies with the signature of an outage",
            Self::DeliveredWithinADay => "mail delivered to them in the 24 hours before",
            Self::OneSender => "whether one From or envelope domain holds the refusals",
            Self::OneProvider => "whether one provider holds them",
            Self::OneCampaign => "whether one campaign holds them",
            Self::OneApp => "whether one app or team holds them",
            Self::RecentChange => "changes in the six hours before",
            Self::OtherRecipients => "recipients outside Apple in the same sends",
            Self::AppleRecipients => "icloud.com recipients in the same sends",
            Self::Canary => "a canary on the same path",
            Self::RetrySucceeds => "whether they accept mail again later",
            Self::OddArrival => "late or repeated reports",
        }
    }

    /// What to set up so that relaywatch can tell next time; nothing where only somebody can.
    #[must_use]
    pub const fn to_enable(self) -> Option<&'static str> {
        Some(match self {
            Self::NoticeJoin => "feed Apple's notices ([feeds.apple]) and run relaywatch accounts import",
            Self::TextSenderRefused
            | Self::TextAuthentication
            | Self::TextAddressGone
            | Self::TextTemporary
            | Self::TextOutage => "a feed that reports the reply",
            Self::OtherRecipients | Self::AppleRecipients => "let the feed report all mail, not relay mail alone",
            Self::DeliveredWithinADay => "let the feed report deliveries",
            Self::OneSender | Self::OneProvider | Self::OneCampaign => {
                "let the feed name provider, domain and campaign of each message"
            }
            Self::OneApp | Self::RecentChange | Self::Canary | Self::RetrySucceeds | Self::OddArrival => {
                return None;
            }
        })
    }

    /// How somebody could find out.
    #[must_use]
    pub const fn how_to_check(self) -> &'static str {
        match self {
            Self::NoticeJoin => {
                "import the sub-to-address map (accounts import) and compare the refused addresses with Apple's notices"
            }
            Self::TextSenderRefused
            | Self::TextAuthentication
            | Self::TextAddressGone
            | Self::TextTemporary
            | Self::TextOutage => "get the reply texts of the refusals from the provider",
            Self::DeliveredWithinADay => "look up when the refused addresses last had mail delivered",
            Self::OneSender => "send to a few refused addresses from another registered domain",
            Self::OneProvider => "send to a few refused addresses through another provider",
            Self::OneCampaign => "compare with other mail to the same addresses",
            Self::OneApp => "group the refused addresses by the app and team that they signed up with",
            Self::RecentChange => {
                "look for changes in the six hours before the onset: DNS, ESP settings, Apple's portal, an app transfer"
            }
            Self::OtherRecipients => "compare with recipients outside Apple in the same sends",
            Self::AppleRecipients => "compare with icloud.com recipients in the same sends",
            Self::Canary => "send a canary to a relay address of your own on the same path",
            Self::RetrySucceeds => "send again to a few refused addresses after some hours",
            Self::OddArrival => "compare the arrival of the reports with their event times, and look for repeats",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_clue_tells_least_where_little_was_expected() {
        let missing = [PP, P, O, M, MM].map(Mark::missing);
        assert!(missing.is_sorted(), "{missing:?}");
        assert!((missing[0] + 2.05).abs() < 0.02 && missing[2].abs() < 1e-12 && missing[4] < 0.15, "{missing:?}");
    }

    #[test]
    fn every_hypothesis_has_a_signature_of_its_own() {
        for one in Hypothesis::ALL {
            for other in Hypothesis::ALL.iter().filter(|other| *other > one) {
                let apart = Clue::ALL.iter().any(|clue| {
                    let distance = clue.mark(*one).found() - clue.mark(*other).found();
                    distance.abs() >= 2.0
                });
                assert!(apart, "nothing tells {one} from {other}");
            }
        }
    }
}
