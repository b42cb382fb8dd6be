//! The hypotheses, how they are weighed against each other, and when one is named.

use serde::Serialize;

use super::{
    Clue, Finding, IncidentFacts, NotChecked, ReplyGroup, Revocation, ShareExplained, Watched,
    clues::{look_for, weight},
    facts::blind,
    share_explained,
};
use crate::{
    detect::stats::count,
    model::{Action, Timestamp, words},
};

/// The version of marks, weights and priors. They are start values until they are fitted on simulated incidents.
pub const WEIGHTS_VERSION: u32 = 1;

/// The prior of "none of these".
pub const UNKNOWN_PRIOR: f64 = 0.15;

words! {
    /// Why mail is refused: a closed list, beside which "none of these" always stands.
    pub enum Hypothesis {
        /// H1.
        Revoked = 1, "revoked";
        /// H2.
        SenderRefused = 2, "sender-refused";
        /// H3.
        AuthenticationBroken = 3, "authentication-broken";
        /// H4.
        ProviderSetup = 4, "provider-setup";
        /// H5.
        Transfer = 5, "transfer";
        /// H6.
        StaleList = 6, "stale-list";
        /// H7.
        Purge = 7, "purge";
        /// H8.
        AppleOutage = 8, "apple-outage";
        /// H9.
        Misclassified = 9, "misclassified";
        /// H10.
        DataArtefact = 10, "data-artefact";
    }
}

impl Hypothesis {
    /// Its place in tables, from 0.
    #[must_use]
    pub(super) fn index(self) -> usize {
        usize::try_from(self.code() - 1).unwrap_or(0)
    }

    /// H1 to H10.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Revoked => "H1",
            Self::SenderRefused => "H2",
            Self::AuthenticationBroken => "H3",
            Self::ProviderSetup => "H4",
            Self::Transfer => "H5",
            Self::StaleList => "H6",
            Self::Purge => "H7",
            Self::AppleOutage => "H8",
            Self::Misclassified => "H9",
            Self::DataArtefact => "H10",
        }
    }

    /// What it says, for people. Nobody can see from outside whether a sender is registered: H2 does not claim it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Revoked => "users revoked consent, stopped forwarding or deleted their account",
            Self::SenderRefused => "Apple refuses this sender: registration, team or authentication",
            Self::AuthenticationBroken => "SPF, DKIM or DMARC of the sender fails",
            Self::ProviderSetup => "the provider, or its configuration, is at fault",
            Self::Transfer => "an app or team transfer left these addresses behind",
            Self::StaleList => "the list is stale",
            Self::Purge => "Apple switched off relay addresses without a notice",
            Self::AppleOutage => "an outage at Apple",
            Self::Misclassified => "the provider reports temporary refusals as final",
            Self::DataArtefact => "the reports mislead: repeated or far too late",
        }
    }

    /// How probable it is before any evidence. With "none of these" the sum is 1. A transfer is an act of the company itself,
    /// rare and known to somebody there.
    #[must_use]
    pub const fn prior(self) -> f64 {
        match self {
            Self::Revoked => 0.20,
            Self::SenderRefused => 0.14,
            Self::StaleList => 0.10,
            Self::AuthenticationBroken | Self::ProviderSetup | Self::Purge => 0.08,
            Self::AppleOutage => 0.06,
            Self::Misclassified | Self::DataArtefact => 0.05,
            Self::Transfer => 0.01,
        }
    }

    /// What to do once it is named.
    const fn safe_action(self) -> SafeAction {
        let (action, advice) = match self {
            Self::Revoked => (
                Action::Hold,
                "Suppress only addresses with a notice of their own; hold the others until they are checked.",
            ),
            Self::SenderRefused => (
                Action::FixSender,
                "Check the registered sources of this team, SPF and DKIM of this sender. Do not suppress: the addresses exist.",
            ),
            Self::AuthenticationBroken => {
                (Action::FixSender, "Repair SPF, DKIM or DNS of this sender. Do not suppress: the addresses exist.")
            }
            Self::ProviderSetup => {
                (Action::FixSender, "Undo the last change at the provider or send by another one. Do not suppress.")
            }
            Self::Transfer => {
                (Action::FixSender, "Exchange the addresses within 60 days of the transfer. Do not suppress.")
            }
            Self::StaleList => (Action::Hold, "Stop this campaign; hold the refused addresses until each is checked."),
            Self::Purge => (
                Action::Hold,
                "Hold: do not suppress and do not retry; collect the evidence for Apple and the list to win back.",
            ),
            Self::AppleOutage => (Action::Hold, "Hold: do not suppress; retry when the outage is over."),
            Self::Misclassified => {
                (Action::Hold, "Hold: do not suppress; ask the provider to lift the suppressions that it made.")
            }
            Self::DataArtefact => (Action::Keep, "Change nothing until the feed is in order."),
        };
        // Where the sender is to be mended, a trial to a few addresses is a part of it.
        SafeAction { action, advice, allows_trials: matches!(action, Action::FixSender) }
    }
}

/// What can be done without harm while the cause is as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SafeAction {
    /// What to do about the refused addresses.
    pub action: Action,
    /// The same for people, with what else to do.
    pub advice: &'static str,
    /// Whether a check may send to a few of the refused addresses.
    pub allows_trials: bool,
}

impl SafeAction {
    /// Whether the refused addresses are to be held: neither suppressed nor given up.
    #[must_use]
    pub const fn holds(&self) -> bool {
        matches!(self.action, Action::Hold)
    }
}

const UNDETERMINED: SafeAction = SafeAction {
    action: Action::Hold,
    allows_trials: false,
    advice: "Hold: do not suppress the refused addresses, and hold retries, until the cause is known.",
};

/// One clue that was found or missed, and what it says of the leading hypothesis.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Weighed {
    /// The clue.
    pub clue: Clue,
    /// What was counted.
    pub detail: String,
    /// The log-likelihood ratio for the leading hypothesis against "none of these".
    pub weight: f64,
}

/// One hypothesis after the evidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ranked {
    /// Which.
    pub hypothesis: Hypothesis,
    /// How probable it is, of all hypotheses and "none of these".
    pub posterior: f64,
    /// The share of the excess that it could account for by the reply texts, the notices and the age of the addresses; `None`
    /// where none of these is known.
    pub explained: Option<f64>,
    /// Whether the evidence contradicts it outright. Revocation is never ruled out while it is not checked.
    pub ruled_out: bool,
    /// Whether it's ruled out by what the replies say and by nothing else: a receiver's wording may be wrong.
    pub by_wording: bool,
}

/// Why mail is refused, as far as the facts allow to say.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The version of the weights.
    pub version: u32,
    /// The estimated onset.
    #[serde(skip)]
    pub onset: Option<Timestamp>,
    /// Refusals beyond what is ordinary.
    pub excess: f64,
    /// What share notices explain; `None` without notices.
    pub share_explained: Option<ShareExplained>,
    /// All hypotheses, the most probable first.
    pub hypotheses: Vec<Ranked>,
    /// How probable "none of these" is.
    pub unknown: f64,
    /// The cause, where the evidence allows to name it; otherwise it is undetermined.
    pub named: Option<Hypothesis>,
    /// What speaks for the leading hypothesis, the weightiest first.
    pub evidence_for: Vec<Weighed>,
    /// What speaks against it, the weightiest first.
    pub evidence_against: Vec<Weighed>,
    /// What was not checked, and why.
    pub not_checked: Vec<NotChecked>,
    /// What was not watched at some time in question.
    pub blind: Vec<Watched>,
    /// The check that would separate the two best hypotheses most.
    pub next_check: Option<Clue>,
    /// Further checks that would tell them apart, the most telling first.
    pub what_would_tell: Vec<Clue>,
    /// What can be done without harm.
    pub safe_action: SafeAction,
}

impl Explanation {
    /// The most probable hypothesis, named or not.
    #[must_use]
    pub fn leading(&self) -> Option<&Ranked> {
        self.hypotheses.first()
    }

    /// The hypotheses that the evidence contradicts outright.
    pub fn ruled_out(&self) -> impl Iterator<Item = Hypothesis> {
        self.hypotheses.iter().filter(|ranked| ranked.ruled_out).map(|ranked| ranked.hypothesis)
    }
}

/// A cause is named from this posterior on …
const NAME_AT: f64 = 0.8;
/// … if it is so many times as probable as the next …
const NAME_LEAD: f64 = 5.0;
/// … and accounts for this share of the excess.
const NAME_EXPLAINED: f64 = 0.5;
/// A hypothesis is ruled out below this posterior, if something that was found contradicts it. That something was expected and
/// is missing does not rule out: an outage may well spare icloud.com.
const RULED_OUT_BELOW: f64 = 0.05;
/// A clue of this weight contradicts.
const CONTRADICTS: f64 = -1.9;
/// Hold while Apple's purge or outage or a wrong label are this probable together.
const HOLD_ABOVE: f64 = 0.2;
/// Weights smaller than this are not worth a line.
const WORTH_SAYING: f64 = 0.5;

/// Explains an incident from its facts.
#[must_use]
pub fn explain(facts: &IncidentFacts) -> Explanation {
    let case = Case::new(facts);
    let (hypotheses, unknown) = case.rank();
    let named = name(&hypotheses, unknown, facts, case.checked());
    let (best, second) = match hypotheses.as_slice() {
        [best, second, ..] => (best.hypothesis, second.hypothesis),
        _ => (Hypothesis::Revoked, Hypothesis::Purge),
    };
    let not_checked = case.not_checked();
    let safe_action = safe_action(named, &hypotheses);
    // What to do and what to check are one plan: where retries are held, no check asks for one.
    let mut telling = separating(&not_checked, best, second)
        .into_iter()
        .filter(|clue| safe_action.allows_trials || !clue.sends_to_refused());
    Explanation {
        version: WEIGHTS_VERSION,
        onset: facts.onset,
        excess: facts.excess(),
        unknown,
        named,
        evidence_for: case.said(best, 1.0),
        evidence_against: case.said(best, -1.0),
        not_checked,
        blind: blind(&facts.blind_windows),
        next_check: telling.next(),
        what_would_tell: telling.take(2).collect(),
        safe_action,
        hypotheses,
        share_explained: case.share,
    }
}

/// The facts of an incident with what they answer.
struct Case<'a> {
    facts: &'a IncidentFacts,
    share: Option<ShareExplained>,
    findings: Vec<(Clue, Finding)>,
}

impl<'a> Case<'a> {
    fn new(facts: &'a IncidentFacts) -> Self {
        let mut share = facts.notices.map(|notices| share_explained(&notices, facts.notices_blind(), facts.excess()));
        if let Some(share) = &mut share
            && share.status == Revocation::Blind
            && facts.notices_unwatched()
        {
            share.status = Revocation::Unwatched;
        }
        let findings = Clue::ALL.iter().map(|clue| (*clue, look_for(*clue, facts, share.as_ref()))).collect();
        Self { facts, share, findings }
    }

    /// Whether the notices allow a statement about revocations.
    fn checked(&self) -> bool {
        self.share.as_ref().is_some_and(|share| share.status == Revocation::Checked)
    }

    /// What each clue weighs for a hypothesis.
    fn weights(&self, hypothesis: Hypothesis) -> impl Iterator<Item = (Clue, &Finding, f64)> {
        self.findings
            .iter()
            .map(move |(clue, finding)| (*clue, finding, weight(*clue, finding, hypothesis, self.share.as_ref())))
    }

    /// All hypotheses by their posteriors, the most probable first, and the posterior of "none of these".
    fn rank(&self) -> (Vec<Ranked>, f64) {
        let score = |h: Hypothesis| h.prior().ln() + self.weights(h).map(|(_, _, weight)| weight).sum::<f64>();
        let scores: Vec<(Hypothesis, f64)> = Hypothesis::ALL.iter().map(|h| (*h, score(*h))).collect();
        let highest = scores.iter().map(|(_, score)| *score).fold(UNKNOWN_PRIOR.ln(), f64::max);
        let unknown = (UNKNOWN_PRIOR.ln() - highest).exp();
        let total = unknown + scores.iter().map(|(_, score)| (score - highest).exp()).sum::<f64>();
        let mut ranked: Vec<Ranked> = scores
            .into_iter()
            .map(|(hypothesis, score)| {
                let posterior = (score - highest).exp() / total;
                let contradicting = self.weights(hypothesis).filter(|(clue, finding, weight)| {
                    *weight <= CONTRADICTS && (*clue == Clue::NoticeJoin || finding.degree() >= 0.5)
                });
                let (by_text, otherwise): (Vec<Clue>, Vec<Clue>) =
                    contradicting.map(|(clue, _, _)| clue).partition(|clue| clue.reply_group().is_some());
                let contradicted = !by_text.is_empty() || !otherwise.is_empty();
                let may_exclude = hypothesis != Hypothesis::Revoked || self.checked();
                let ruled_out = posterior <= RULED_OUT_BELOW && contradicted && may_exclude;
                Ranked {
                    hypothesis,
                    posterior,
                    explained: explained(hypothesis, self.facts, self.share.as_ref()),
                    ruled_out,
                    by_wording: ruled_out && otherwise.is_empty(),
                }
            })
            .collect();
        ranked.sort_by(|one, other| other.posterior.total_cmp(&one.posterior));
        (ranked, unknown / total)
    }

    /// What speaks for a hypothesis (sign +1) or against it (-1), the weightiest first.
    fn said(&self, hypothesis: Hypothesis, sign: f64) -> Vec<Weighed> {
        let mut said: Vec<Weighed> = self
            .weights(hypothesis)
            .filter(|(_, _, weight)| sign * weight >= WORTH_SAYING)
            .filter_map(|(clue, finding, weight)| match finding {
                Finding::Found { detail, .. } => Some(Weighed { clue, detail: detail.clone(), weight }),
                Finding::NotChecked(_) => None,
            })
            .collect();
        said.sort_by(|one, other| other.weight.abs().total_cmp(&one.weight.abs()));
        said
    }

    fn not_checked(&self) -> Vec<NotChecked> {
        let open = self.findings.iter().filter_map(|(clue, finding)| match finding {
            Finding::NotChecked(reason) => Some(NotChecked { clue: *clue, reason: *reason }),
            Finding::Found { .. } => None,
        });
        open.collect()
    }
}

/// The share of the excess that a hypothesis can account for; `None` where what it's judged by is not known.
fn explained(hypothesis: Hypothesis, facts: &IncidentFacts, share: Option<&ShareExplained>) -> Option<f64> {
    let checked = share.filter(|share| share.status == Revocation::Checked);
    let by_notices = checked.map(|share| share.share.value);
    let replies = facts.reply_shares();
    // Folded from plus nil: a sum of nothing is minus nil.
    let by_text = (!replies.is_empty()).then(|| {
        let fitting = Clue::ALL.iter().filter(|clue| clue.mark(hypothesis).found() > 0.0);
        fitting
            .filter_map(|clue| clue.reply_group().and_then(|group| replies.get(&group)))
            .fold(0.0_f64, |sum, share| sum + share)
    });
    let of_known = |part: fn(&super::LastDelivery) -> u64| {
        facts.last_delivery.filter(|last| last.known > 0).map(|last| count(part(&last)) / count(last.known))
    };
    let both = |part: Option<f64>| by_text.zip(part).map(|(text, part)| text.min(part));
    match hypothesis {
        Hypothesis::Revoked => by_notices,
        Hypothesis::StaleList => both(of_known(|last| last.stale)),
        Hypothesis::Purge => {
            both(of_known(|last| last.within_a_day)).map(|share| (share - by_notices.unwrap_or(0.0)).max(0.0))
        }
        Hypothesis::DataArtefact => facts.arrivals.map(|arrivals| arrivals.repeated_share),
        _ => by_text,
    }
}

/// The naming rule. Where the replies fit revocations and those are not checked, nothing is named: to name a rival would be to
/// exclude them.
fn name(ranked: &[Ranked], unknown: f64, facts: &IncidentFacts, checked: bool) -> Option<Hypothesis> {
    let [best, second, ..] = ranked else { return None };
    let next = second.posterior.max(unknown);
    let gone = facts.reply_shares().get(&ReplyGroup::AddressGone).copied().unwrap_or(0.0);
    let open = !checked && gone >= 0.5;
    let clear = best.posterior >= NAME_AT
        && best.posterior >= NAME_LEAD * next
        && best.explained.unwrap_or(0.0) >= NAME_EXPLAINED;
    (clear && !open).then_some(best.hypothesis)
}

fn safe_action(named: Option<Hypothesis>, ranked: &[Ranked]) -> SafeAction {
    let Some(named) = named else { return UNDETERMINED };
    let open: f64 = ranked
        .iter()
        .filter(|r| matches!(r.hypothesis, Hypothesis::Purge | Hypothesis::AppleOutage | Hypothesis::Misclassified))
        .filter(|r| r.hypothesis != named)
        .map(|r| r.posterior)
        .sum();
    if open > HOLD_ABOVE { UNDETERMINED } else { named.safe_action() }
}

/// The unchecked clues that would tell two hypotheses apart, the most telling first.
fn separating(not_checked: &[NotChecked], one: Hypothesis, other: Hypothesis) -> Vec<Clue> {
    let distance = |clue: Clue| (clue.mark(one).found() - clue.mark(other).found()).abs();
    let mut clues: Vec<Clue> = not_checked.iter().map(|open| open.clue).filter(|clue| distance(*clue) > 0.0).collect();
    clues.sort_by(|a, b| distance(*b).total_cmp(&distance(*a)).then(a.cmp(b)));
    clues
}

#[cfg(test)]
mod tests;
