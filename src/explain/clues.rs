//! How the facts of an incident answer each clue, and what the answer weighs.

use serde::Serialize;

use super::{
    Clue, Concentration, Control, Hypothesis, IncidentFacts, Revocation, ShareExplained, notices::START_SENSITIVITY,
    signatures::CAP,
};
use crate::{
    detect::stats::{count, lower_limit, upper_limit},
    model::{counted, verb, words},
};

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
        /// No notice was received before the onset.
        Unwatched = 7, "no-notice-before";
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
            Self::Unwatched => "no notice was received before it began, so earlier ones are not known",
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
/// What a change of DNS counts that costs nothing by the audit: edits are common, and most harm nobody.
const NOTABLE_CHANGE: f64 = 0.3;
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
        Clue::RecentChange => recent_change(facts),
        Clue::OneApp | Clue::Canary | Clue::RetrySucceeds => Finding::NotChecked(NotCheckedReason::NoData),
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
                "{exposed} of {} {} a notice ({} before, {} after); {:.1} % of accepted ones have",
                counted(share.mapped, "mapped refused address"),
                verb(exposed, "has", "have"),
                share.exposed_before,
                share.exposed_after,
                100.0 * share.accepted_exposure,
            );
            found(share.share.value, detail)
        }
        Revocation::NoNotices => Finding::NotChecked(NotCheckedReason::NoData),
        Revocation::LowCoverage => Finding::NotChecked(NotCheckedReason::LowCoverage),
        Revocation::Blind => Finding::NotChecked(NotCheckedReason::Blind),
        Revocation::Unwatched => Finding::NotChecked(NotCheckedReason::Unwatched),
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
    if last.known == 0 || last.known < facts.refused_addresses / 2 {
        return Finding::NotChecked(NotCheckedReason::NoData);
    }
    let telling = last.within_a_day.saturating_add(last.stale);
    if telling == 0 || telling < last.known / 2 {
        return Finding::NotChecked(NotCheckedReason::Unclear);
    }
    let detail = format!(
        "of {}, {} had mail delivered in the 24 hours before, {} had none for 180 days",
        counted(last.known, "refused address"),
        last.within_a_day,
        last.stale
    );
    found(count(last.within_a_day) / count(telling), detail)
}

fn concentration(facts: Option<&Concentration>, what: &str) -> Finding {
    let Some(facts) = facts else { return Finding::NotChecked(NotCheckedReason::NoData) };
    if facts.inside.sends < LEAST_MESSAGES || facts.outside.sends < LEAST_MESSAGES {
        return Finding::NotChecked(NotCheckedReason::NoContrast);
    }
    let refused = facts.inside.refused.saturating_add(facts.outside.refused);
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

/// Changes of DNS count as far as the audit says that they cost something. That none was seen leaves open what was changed at the
/// provider's, in Apple's portal, or at an app: it is no finding.
fn recent_change(facts: &IncidentFacts) -> Finding {
    let degree = |grade: &str| if grade == "notable" { NOTABLE_CHANGE } else { 1.0 };
    let worst = facts.dns_changes.iter().max_by(|one, other| degree(&one.grade).total_cmp(&degree(&other.grade)));
    let Some(worst) = worst else { return Finding::NotChecked(NotCheckedReason::NoData) };
    let more = match facts.dns_changes.len() - 1 {
        0 => String::new(),
        more => format!(", and {}", counted(more as u64, "other change")),
    };
    found(degree(&worst.grade), format!("{} ({}, seen at {}){more}", worst.says, worst.grade, worst.at))
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
    use crate::{detect::Counts, explain::DnsChange};

    #[test]
    fn one_of_one_is_no_concentration() {
        let only = Concentration {
            top: "a".to_owned(),
            inside: Counts { sends: 900, refused: 800 },
            outside: Counts::default(),
            elements: 1,
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
    fn a_change_of_dns_counts_by_what_it_costs_and_none_is_no_finding() {
        let change = |grade: &str| DnsChange {
            at: crate::model::Timestamp::EPOCH,
            says: "TXT of mail.example.com: a → b".to_owned(),
            grade: grade.to_owned(),
        };
        let degree = |changes: Vec<DnsChange>| match recent_change(&IncidentFacts {
            dns_changes: changes,
            ..IncidentFacts::default()
        }) {
            Finding::Found { degree, .. } => Some(degree),
            Finding::NotChecked(_) => None,
        };
        assert_eq!(degree(Vec::new()), None);
        assert_eq!(degree(vec![change("notable")]), Some(NOTABLE_CHANGE));
        assert_eq!(degree(vec![change("notable"), change("fatal"), change("notable")]), Some(1.0));
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
