//! The kinds of evidence, what each says of each hypothesis, and how the facts of an incident answer them.

use serde::Serialize;

use super::{
    Concentration, Control, Hypothesis, IncidentFacts, ReplyGroup, Revocation, ShareExplained,
    notices::START_SENSITIVITY,
};
use crate::{
    detect::stats::{count, lower_limit, upper_limit},
    model::words,
};

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

words! {
    /// Why a clue was not checked.
    pub enum NotCheckedReason {
        /// Nothing was collected that could tell.
        NoData = 1, "no-data";
        /// There is nothing to compare with.
        NoContrast = 2, "no-contrast";
        /// Too little mail to tell.
        TooFew = 3, "too-few";
        /// Between yes and no.
        Unclear = 4, "unclear";
        /// Too few of the addresses are in the account map.
        LowCoverage = 5, "low-coverage";
        /// The notice endpoint was down or silent.
        Blind = 6, "blind-window";
    }
}

impl NotCheckedReason {
    /// The reason for people.
    #[must_use]
    pub const fn says(self) -> &'static str {
        match self {
            Self::NoData => "no data",
            Self::NoContrast => "nothing to compare with",
            Self::TooFew => "too little mail to tell",
            Self::Unclear => "neither yes nor no",
            Self::LowCoverage => "too few addresses are in the account map",
            Self::Blind => "the notice endpoint was blind",
        }
    }
}

/// A clue that nobody could look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct NotChecked {
    /// The clue.
    pub clue: Clue,
    /// Why not.
    pub reason: NotCheckedReason,
}

/// How the facts answer a clue.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// Looked for: found to this degree, from 0 (not there) to 1 (there), with what was counted, for people.
    Found {
        /// To what degree.
        degree: f64,
        /// What was counted.
        detail: String,
    },
    /// Nobody knows.
    NotChecked(NotCheckedReason),
}

impl Finding {
    /// To what degree it was found; nil where it was not checked.
    pub(super) const fn degree(&self) -> f64 {
        match self {
            Self::Found { degree, .. } => *degree,
            Self::NotChecked(_) => 0.0,
        }
    }
}

/// Refusals at so many times the rate of the rest sit in an element …
const CONCENTRATED_RATIO: f64 = 3.0;
/// … if it also holds this share of them.
const CONCENTRATED_SHARE: f64 = 0.8;
/// The least messages on each side of a comparison.
const LEAST_MESSAGES: u64 = 20;
/// A group's refusals have risen if they are so many times the usual rate.
const RISE: f64 = 3.0;
/// Reports are late if their lag is so many times the usual one.
const LATE: f64 = 10.0;

/// How the facts answer one clue.
pub(super) fn look_for(clue: Clue, facts: &IncidentFacts, notices: Option<&ShareExplained>) -> Finding {
    match clue {
        Clue::NoticeJoin => notice_join(notices),
        Clue::DeliveredWithinADay => delivered(facts),
        Clue::OneSender => concentration(facts.senders.as_ref(), "sender"),
        Clue::OneProvider => concentration(facts.providers.as_ref(), "provider"),
        Clue::OneCampaign => concentration(facts.campaigns.as_ref(), "campaign"),
        Clue::OtherRecipients => control(facts.other_control.as_ref(), facts, "recipients outside Apple"),
        Clue::AppleRecipients => control(facts.apple_control.as_ref(), facts, "other recipients at Apple"),
        Clue::OddArrival => arrival(facts),
        Clue::OneApp | Clue::RecentChange | Clue::Canary | Clue::RetrySucceeds => {
            Finding::NotChecked(NotCheckedReason::NoData)
        }
        Clue::TextSenderRefused
        | Clue::TextAuthentication
        | Clue::TextAddressGone
        | Clue::TextTemporary
        | Clue::TextOutage => text(clue, facts),
    }
}

/// The log-likelihood ratio of a finding for a hypothesis, against "none of these".
///
/// Reply texts exclude each other, so that only those that were said weigh, each by its share; the rest weigh by being there and by
/// being missing. For H1 the notices are count evidence: `a ln(s/q) + (B-a) ln((1-s)/(1-q))`, capped.
pub(super) fn weight(clue: Clue, finding: &Finding, hypothesis: Hypothesis, notices: Option<&ShareExplained>) -> f64 {
    let Finding::Found { degree, .. } = finding else { return 0.0 };
    let mark = clue.mark(hypothesis);
    let weight = match (clue, hypothesis, notices) {
        (Clue::NoticeJoin, Hypothesis::Revoked, Some(share)) => {
            // Half an address keeps an exposure of nil among the accepted ones from proving everything.
            let q = share.accepted_exposure.clamp(1e-4, 0.5);
            let s = share.sensitivity.min(START_SENSITIVITY).max(q);
            let exposed = share.exposed_before + share.exposed_after;
            let rest = share.mapped.saturating_sub(exposed);
            count(exposed) * (s / q).ln() + count(rest) * ((1.0 - s) / (1.0 - q)).ln()
        }
        _ if clue.reply_group().is_some() => degree * mark.found(),
        _ => degree * mark.found() + (1.0 - degree) * mark.missing(),
    };
    weight.clamp(-CAP, CAP)
}

fn found(degree: f64, detail: String) -> Finding {
    Finding::Found { degree: degree.clamp(0.0, 1.0), detail }
}

fn notice_join(notices: Option<&ShareExplained>) -> Finding {
    let Some(share) = notices else { return Finding::NotChecked(NotCheckedReason::NoData) };
    match share.status {
        Revocation::Checked => {
            let exposed = share.exposed_before + share.exposed_after;
            let detail = format!(
                "{exposed} of {} mapped refused addresses have a notice ({} before, {} after); {:.1} % of accepted ones have",
                share.mapped,
                share.exposed_before,
                share.exposed_after,
                100.0 * share.accepted_exposure,
            );
            found(share.share.value, detail)
        }
        Revocation::NoNotices => Finding::NotChecked(NotCheckedReason::NoData),
        Revocation::LowCoverage => Finding::NotChecked(NotCheckedReason::LowCoverage),
        Revocation::Blind => Finding::NotChecked(NotCheckedReason::Blind),
        Revocation::NoComparison => Finding::NotChecked(NotCheckedReason::NoContrast),
    }
}

fn text(clue: Clue, facts: &IncidentFacts) -> Finding {
    if facts.replies.values().all(|addresses| *addresses == 0) {
        return Finding::NotChecked(NotCheckedReason::NoData);
    }
    let share = clue.reply_group().and_then(|group| facts.reply_shares().get(&group).copied()).unwrap_or(0.0);
    let says = match clue {
        Clue::TextSenderRefused => "refuse the sender (\"unauthorized sender\" and its kin)",
        Clue::TextAuthentication => "blame SPF, DKIM or DMARC",
        Clue::TextAddressGone => "say that the address is gone (\"user not found\" and its kin)",
        Clue::TextTemporary => "speak of temporary trouble",
        _ => "bear the signature of an outage",
    };
    found(share, format!("{:.0} % of the replies {says}", 100.0 * share))
}

fn delivered(facts: &IncidentFacts) -> Finding {
    let Some(last) = facts.last_delivery else { return Finding::NotChecked(NotCheckedReason::NoData) };
    if last.known == 0 || last.known * 2 < facts.refused_addresses {
        return Finding::NotChecked(NotCheckedReason::NoData);
    }
    let telling = last.within_a_day + last.stale;
    if telling == 0 || telling * 2 < last.known {
        return Finding::NotChecked(NotCheckedReason::Unclear);
    }
    let detail = format!(
        "of {} refused addresses {} had mail delivered in the 24 hours before, {} none for 180 days",
        last.known, last.within_a_day, last.stale
    );
    found(count(last.within_a_day) / count(telling), detail)
}

fn concentration(facts: Option<&Concentration>, what: &str) -> Finding {
    let Some(facts) = facts else { return Finding::NotChecked(NotCheckedReason::NoData) };
    if facts.inside.sends < LEAST_MESSAGES || facts.outside.sends < LEAST_MESSAGES {
        return Finding::NotChecked(NotCheckedReason::NoContrast);
    }
    let refused = facts.inside.refused + facts.outside.refused;
    let share = count(facts.inside.refused) / count(refused.max(1));
    // Half a refusal on each side keeps a spotless rest from giving an endless ratio.
    let rate = |refused: u64, sends: u64| (count(refused) + 0.5) / (count(sends) + 1.0);
    let inside = rate(facts.inside.refused, facts.inside.sends);
    let outside = rate(facts.outside.refused, facts.outside.sends);
    let concentrated = inside >= CONCENTRATED_RATIO * outside;
    let detail = format!(
        "{} {what} {}: {} of {} refused; all others: {} of {}",
        if concentrated { "one" } else { "worst" },
        facts.top,
        facts.inside.refused,
        facts.inside.sends,
        facts.outside.refused,
        facts.outside.sends,
    );
    match (concentrated, share >= CONCENTRATED_SHARE) {
        (true, true) => found(1.0, detail),
        (false, _) => found(0.0, detail),
        (true, false) => Finding::NotChecked(NotCheckedReason::Unclear),
    }
}

fn control(facts: Option<&Control>, incident: &IncidentFacts, who: &str) -> Finding {
    let Some(Control { counts, usual_rate }) = facts else {
        return Finding::NotChecked(NotCheckedReason::NoData);
    };
    let risen = RISE * usual_rate.max(0.0);
    // A group that is refused far less than the relay mail has no part in its trouble, even if it is too small to be measured
    // against its own usual rate.
    let spared = count(incident.counts.refused) / count(incident.counts.sends.max(1)) / 3.0;
    let detail = format!("{who}: {} of {} refused, usual {:.2} %", counts.refused, counts.sends, 100.0 * usual_rate);
    if counts.sends > 0 && lower_limit(counts.refused, counts.sends, 0.95) > risen {
        found(1.0, detail)
    } else if counts.sends > 0 && upper_limit(counts.refused, counts.sends, 0.95) < risen.max(spared) {
        found(0.0, detail)
    } else {
        Finding::NotChecked(NotCheckedReason::TooFew)
    }
}

fn arrival(facts: &IncidentFacts) -> Finding {
    let Some(arrivals) = facts.arrivals else { return Finding::NotChecked(NotCheckedReason::NoData) };
    let odd = arrivals.lag_ratio >= LATE || arrivals.repeated_share >= 0.5;
    let detail = format!(
        "reports arrive at {:.1} times the usual lag, {:.0} % of them repeated",
        arrivals.lag_ratio,
        100.0 * arrivals.repeated_share
    );
    found(if odd { 1.0 } else { 0.0 }, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Counts;

    #[test]
    fn a_missing_clue_tells_least_where_little_was_expected() {
        let missing = [PP, P, O, M, MM].map(Mark::missing);
        assert!(missing.is_sorted(), "{missing:?}");
        assert!((missing[0] + 2.05).abs() < 0.02 && missing[2].abs() < 1e-12 && missing[4] < 0.15, "{missing:?}");
    }

    #[test]
    fn one_of_one_is_no_concentration() {
        let only = Concentration {
            top: "a".to_owned(),
            inside: Counts { sends: 900, refused: 800 },
            outside: Counts::default(),
        };
        assert_eq!(concentration(Some(&only), "sender"), Finding::NotChecked(NotCheckedReason::NoContrast));
        let degree = |outside: Counts| match concentration(Some(&Concentration { outside, ..only.clone() }), "sender") {
            Finding::Found { degree, .. } => Some(degree),
            Finding::NotChecked(_) => None,
        };
        assert_eq!(degree(Counts { sends: 5_000, refused: 20 }), Some(1.0));
        assert_eq!(degree(Counts { sends: 1_000, refused: 870 }), Some(0.0));
        assert_eq!(degree(Counts { sends: 5_000, refused: 900 }), None, "worse than the rest, yet not all of it");
    }

    #[test]
    fn a_control_group_rises_is_spared_or_too_small() {
        let incident = IncidentFacts { counts: Counts { sends: 1_000, refused: 900 }, ..IncidentFacts::default() };
        let degree = |sends, refused| {
            let group = Control { counts: Counts { sends, refused }, usual_rate: 0.01 };
            match control(Some(&group), &incident, "others") {
                Finding::Found { degree, .. } => Some(degree),
                Finding::NotChecked(_) => None,
            }
        };
        assert_eq!(degree(1_000, 100), Some(1.0));
        assert_eq!(degree(1_000, 12), Some(0.0));
        assert_eq!(degree(20, 0), Some(0.0), "20 of 20 went through where nine of ten relay messages do not");
        assert_eq!(degree(4, 0), None);
        assert_eq!(degree(0, 0), None);
    }
}
