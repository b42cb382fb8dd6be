//! What to do about one address: more careful than what its latest reply says. Pure: the same in any order, with any
//! duplicates.
//!
//! The one `user not found` of Apple's relay that was ever published came to a sender that was not registered. So a path by
//! which nothing arrives proves nothing of an address, and a misconfigured sender empties no list.

mod reason;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use self::reason::{Reason, Void};
use super::OwnWord;
use crate::{
    model::{
        Action, BIN_MILLIS, Bin, Cause, DAY_MILLIS, FailureClass, Fault, HOUR_MILLIS, NoticeKind, StreamKey, Timestamp,
    },
    store::{AddressNotice, IncidentState, Label},
};

/// So far before or after a refusal, by send time, its path must have delivered to a relay address: 72 hours, in bins.
pub const PATH_BINS: i64 = 72 * HOUR_MILLIS / BIN_MILLIS;
/// So far apart two refusals must be, and their messages by send time.
pub const AGAIN_MILLIS: i64 = 24 * HOUR_MILLIS;
/// The same in bins.
const AGAIN_BINS: i64 = AGAIN_MILLIS / BIN_MILLIS;
/// So long a message may have waited in a queue where no report tells when it was sent: five days (RFC 5321 section 4.5.4.1),
/// in bins.
const QUEUE_BINS: i64 = 5 * DAY_MILLIS / BIN_MILLIS;
/// So many other messages, refused by a path between two of its deliveries, make of a refusal a candidate for an incident: with
/// it as many as an alarm needs.
const CANDIDATE_OTHERS: i64 = 2;
/// Incidents, and refusals that do not count, that are told of one by one.
const TOLD: usize = 3;

/// What the reply of a refusal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Says {
    /// There is no reply.
    Nothing,
    /// It meant this when it was taken in, and the rules have changed since.
    Changed(Cause),
    /// The verdict that it had, and has by today's rules.
    Verdict {
        /// What it means.
        cause: Cause,
        /// Whose fault it is.
        fault: Fault,
        /// Whether it says that the address is dead.
        hard: bool,
        /// What to do about the address, by this reply alone.
        action: Action,
    },
}

/// One report that a message to the address was refused for good, or given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The message's keyed hash. Several reports of one message are one refusal.
    pub message: i64,
    /// When it was refused.
    pub at: Timestamp,
    /// The bin of its send time.
    pub bin: Bin,
    /// Whether no report tells the send time: it was sent by the end of the bin then, up to five days before.
    pub approximate: bool,
    /// By which way it was sent: provider, From domain and envelope domain.
    pub path: StreamKey,
    /// Whether a feed of the message tells of anything but refusals.
    pub exposed: bool,
    /// Whether the refusal is permanent.
    pub class: FailureClass,
    /// What the reply says.
    pub says: Says,
    /// Whether the monitor has come as far as this report.
    pub judged: bool,
}

impl Refusal {
    /// Whether it says, by itself, that the address is dead or switched off.
    ///
    /// A relay domain that is said not to exist is a fault of somebody's name servers, however hard it sounds.
    fn is_dead(&self) -> bool {
        let says = match self.says {
            Says::Verdict { cause: Cause::RelayForwardingDisabled, .. } => true,
            Says::Verdict { cause: Cause::RecipientUnknown | Cause::RecipientMoved, hard, .. } => hard,
            _ => false,
        };
        says && self.class == FailureClass::Permanent
    }

    /// What it means, where that is the fault of the sender, of Apple or of a provider.
    fn others_fault(&self) -> Option<Cause> {
        let (cause, fault) = match self.says {
            Says::Nothing => return None,
            Says::Changed(cause) => (cause, cause.fault()),
            Says::Verdict { cause, fault, .. } => (cause, fault),
        };
        let is_others = |fault: Fault| matches!(fault, Fault::Sender | Fault::Apple | Fault::Provider);
        (is_others(fault) || is_others(cause.fault())).then_some(cause)
    }
}

/// What is known of one relay address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// Reports of refusals.
    pub refusals: Vec<Refusal>,
    /// The latest delivery of a message that no report calls refused, neither before nor after.
    pub delivered_at: Option<Timestamp>,
    /// Later deliveries than `delivered_at` may have been forgotten, all of them from before this time.
    pub forgotten_before: Option<Timestamp>,
    /// Apple's notices about it.
    pub notices: Vec<AddressNotice>,
    /// Whether its user has complained.
    pub complained: bool,
    /// Whether its user has unsubscribed.
    pub unsubscribed: bool,
    /// When the provider last said that it has suppressed the address itself.
    pub removed_at: Option<Timestamp>,
}

impl Known {
    /// What undoes all refusals up to it: the latest delivery, or notice that forwarding is on again.
    fn undone(&self) -> Option<(Timestamp, Reason)> {
        let enabled = self.notices.iter().filter(|notice| notice.kind == NoticeKind::EmailEnabled);
        let enabled = enabled.map(|notice| notice.at).max().map(|at| (at, Reason::EnabledSince { at }));
        let delivered = self.delivered_at.map(|at| (at, Reason::DeliveredSince { at }));
        enabled.into_iter().chain(delivered).max_by_key(|(at, _)| *at)
    }

    /// The refusals that stand, oldest first: one a message.
    fn standing(&self) -> Vec<Message<'_>> {
        let undone = self.undone().map(|(at, _)| at);
        let mut messages: BTreeMap<i64, Message<'_>> = BTreeMap::new();
        for refusal in &self.refusals {
            let one = Message::of(refusal);
            messages.entry(refusal.message).and_modify(|known| known.merge(&one)).or_insert(one);
        }
        let mut messages: Vec<Message<'_>> = messages.into_values().filter(|one| Some(one.at) > undone).collect();
        messages.sort_by_key(|one| (one.at, one.last.message));
        messages
    }

    /// The paths and bins of the refusals of which it matters what else was sent around them.
    #[must_use]
    pub fn asks(&self) -> Vec<(&StreamKey, Bin)> {
        self.standing().into_iter().filter(|one| one.is_dead).map(|one| (one.path, one.bin)).collect()
    }

    /// The earliest time at which an incident matters to it; `None` where no refusal stands.
    #[must_use]
    pub fn asks_from(&self) -> Option<Timestamp> {
        self.standing().iter().map(|one| one.at.min(one.bin.start())).min()
    }
}

/// All reports of one refused message.
#[derive(Debug, Clone, Copy)]
struct Message<'a> {
    at: Timestamp,
    bin: Bin,
    /// The earliest bin in which it can have been sent.
    sent_from: i64,
    path: &'a StreamKey,
    exposed: bool,
    class: FailureClass,
    judged: bool,
    /// Whether each report says that the address is dead: where they differ, it is not said.
    is_dead: bool,
    /// The latest report.
    last: &'a Refusal,
}

impl<'a> Message<'a> {
    fn of(refusal: &'a Refusal) -> Self {
        Self {
            at: refusal.at,
            bin: refusal.bin,
            sent_from: refusal.bin.0.saturating_sub(if refusal.approximate { QUEUE_BINS } else { 0 }),
            path: &refusal.path,
            exposed: refusal.exposed,
            class: refusal.class,
            judged: refusal.judged,
            is_dead: refusal.is_dead(),
            last: refusal,
        }
    }

    fn merge(&mut self, other: &Self) {
        self.at = self.at.min(other.at);
        self.bin = self.bin.min(other.bin);
        self.sent_from = self.sent_from.min(other.sent_from);
        self.path = self.path.min(other.path);
        self.exposed |= other.exposed;
        if other.class == FailureClass::Permanent {
            self.class = other.class;
        }
        self.judged &= other.judged;
        self.is_dead &= other.is_dead;
        // Of two reports of one time the one with the higher words stands, so that order can't matter.
        let order = |refusal: &Refusal| (refusal.at, refusal.says);
        if order(other.last) > order(self.last) {
            self.last = other.last;
        }
    }
}

/// Relay mail of a path in one bin of send time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mail {
    /// Messages that were delivered.
    pub delivered: i64,
    /// Messages that were refused for good.
    pub refused: i64,
}

/// An incident, as far as advice asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The incident's number.
    pub incident: i64,
    /// Where it stands.
    pub state: IncidentState,
    /// What an operator says that it was.
    pub label: Option<Label>,
    /// The stream that it is about.
    pub scope: StreamKey,
    /// The estimated onset.
    pub onset: Timestamp,
    /// When it was over.
    pub closed_at: Option<Timestamp>,
}

impl Trouble {
    /// Whether it may still go on. Silence about one that is masked proves nothing, unless an operator knows better.
    fn is_on(&self) -> bool {
        match self.state {
            IncidentState::Open => true,
            IncidentState::Masked => self.label != Some(Label::False),
            IncidentState::Closed | IncidentState::Past | IncidentState::Withdrawn => false,
        }
    }

    /// Whether a message falls into it, though it is over.
    fn covers(&self, message: &Message<'_>) -> bool {
        let was_one =
            matches!(self.state, IncidentState::Closed | IncidentState::Past) && self.label != Some(Label::False);
        was_one
            && self.scope.is_related(message.path)
            && message.at >= self.onset
            && self.closed_at.is_none_or(|end| message.bin.start() <= end)
    }
}

/// What else was sent by the paths of the refusals, and the incidents: what lies further off than advice asks for changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// The time at which advice is given. It changes words alone.
    pub now: Timestamp,
    /// The first bin of which mail is still known: earlier ones have outlived their retention. It changes words alone.
    pub known_from: Bin,
    /// Relay mail of each path by bin, from 72 hours before its refusals up to now.
    pub mail: BTreeMap<StreamKey, BTreeMap<Bin, Mail>>,
    /// Incidents.
    pub troubles: Vec<Trouble>,
}

impl Surroundings {
    /// Nothing is known yet.
    #[must_use]
    pub const fn new(now: Timestamp, known_from: Bin) -> Self {
        Self { now, known_from, mail: BTreeMap::new(), troubles: Vec::new() }
    }

    /// Relay mail of the refusal's path within 72 hours.
    fn mail_around(&self, message: &Message<'_>) -> impl DoubleEndedIterator<Item = (Bin, Mail)> + Clone {
        let (from, to) = (message.bin.0.saturating_sub(PATH_BINS), message.bin.0.saturating_add(PATH_BINS));
        let mail = self.mail.get(message.path).map(|mail| mail.range(Bin(from)..=Bin(to)));
        mail.into_iter().flatten().map(|(bin, mail)| (*bin, *mail))
    }

    /// How many other messages were refused around it without a delivery between; with enough of them it may become an incident.
    fn candidate(&self, message: &Message<'_>, own: &[Message<'_>]) -> Option<u64> {
        let mail = self.mail_around(message);
        let delivered = |(bin, mail): (Bin, Mail)| (mail.delivered > 0).then_some(bin);
        let before = mail.clone().filter_map(delivered).rfind(|bin| *bin <= message.bin);
        let after = mail.clone().filter_map(delivered).find(|bin| *bin >= message.bin);
        let between = |bin: Bin| before.is_none_or(|before| bin > before) && after.is_none_or(|after| bin < after);
        let refused: i64 = mail.filter(|(bin, _)| between(*bin)).map(|(_, mail)| mail.refused).sum();
        let is_counted = |one: &&Message<'_>| {
            one.class == FailureClass::Permanent
                && one.judged
                && one.path == message.path
                && (one.bin.0 - message.bin.0).abs() <= PATH_BINS
                && between(one.bin)
        };
        let own = i64::try_from(own.iter().filter(is_counted).count()).unwrap_or(i64::MAX);
        let others = refused.saturating_sub(own);
        (others >= CANDIDATE_OTHERS).then(|| u64::try_from(others).unwrap_or(0))
    }

    /// The latest of the address's refusals by the same path that were not its own fault, where no delivery by the path lies
    /// between it and this one.
    ///
    /// A delivery in the bin of this one counts, in the bin of the other one it does not: which came first is not known.
    fn others_fault(&self, message: &Message<'_>, refusals: &[Refusal]) -> Option<(Timestamp, Cause)> {
        let delivered = self.mail_around(message).filter(|(_, mail)| mail.delivered > 0).map(|(bin, _)| bin);
        let refused = message.at.bin();
        let before = delivered.clone().rfind(|bin| *bin <= refused);
        let after = delivered.clone().find(|bin| *bin >= refused);
        let is_between = |fault: &Refusal| {
            if fault.at <= message.at {
                before.is_some_and(|bin| bin > fault.at.bin())
            } else {
                after.is_some_and(|bin| bin < fault.bin)
            }
        };
        let by_path = refusals.iter().filter(|refusal| refusal.path == *message.path);
        let faults = by_path.filter_map(|refusal| Some((refusal, refusal.others_fault()?)));
        faults.filter(|(fault, _)| !is_between(fault)).map(|(fault, cause)| (fault.at, cause)).max()
    }

    /// The latest bin of a delivery by the refusal's path within 72 hours of it.
    fn last_delivery(&self, message: &Message<'_>) -> Option<Bin> {
        self.mail_around(message).rfind(|(_, mail)| mail.delivered > 0).map(|(bin, _)| bin)
    }

    /// Paths of these refusals by which, up to now, others were refused since the last delivery: an incident may be about to open.
    fn candidates_now(&self, dead: &[&Message<'_>], own: &[Message<'_>]) -> Vec<Reason> {
        let mut latest: BTreeMap<&StreamKey, i64> = BTreeMap::new();
        for one in dead {
            let bin = latest.entry(one.path).or_insert(one.bin.0);
            *bin = one.bin.0.max(*bin);
        }
        let candidate = |(path, bin): (&StreamKey, i64)| {
            let mail = self.mail.get(path)?.range(Bin(bin.saturating_sub(PATH_BINS))..);
            let silent = mail.rev().take_while(|(_, mail)| mail.delivered == 0);
            let (first, refused) = silent.fold((None, 0_i64), |(_, sum), (bin, mail)| (Some(*bin), sum + mail.refused));
            let is_counted = |one: &&Message<'_>| {
                one.class == FailureClass::Permanent && one.judged && one.path == path && Some(one.bin) >= first
            };
            let own = i64::try_from(own.iter().filter(is_counted).count()).unwrap_or(i64::MAX);
            let others = refused.saturating_sub(own);
            (first.is_some() && others >= CANDIDATE_OTHERS)
                .then(|| Reason::CandidateNow { path: path.clone(), others: u64::try_from(others).unwrap_or(0) })
        };
        latest.into_iter().filter_map(candidate).collect()
    }

    /// Why a refusal counts for nothing; `None` where it counts.
    fn void(&self, message: &Message<'_>, known: &Known, own: &[Message<'_>]) -> Option<Void> {
        if let Some(trouble) = self.troubles.iter().filter(|trouble| trouble.covers(message)).min_by_key(|t| t.incident)
        {
            return Some(Void::Incident { incident: trouble.incident });
        }
        if !message.judged {
            return Some(Void::NotJudged);
        }
        if known.forgotten_before.is_some_and(|before| message.at < before) {
            return Some(Void::Forgotten);
        }
        if self.last_delivery(message).is_none() {
            let (path, exposed) = (message.path.clone(), message.exposed);
            let is_gone = message.bin.0.saturating_sub(PATH_BINS) < self.known_from.0;
            return Some(if exposed && is_gone { Void::NotKnown { path } } else { Void::NoDelivery { path, exposed } });
        }
        if let Some((at, cause)) = self.others_fault(message, &known.refusals) {
            return Some(Void::OthersFault { path: message.path.clone(), at, cause });
        }
        let others = self.candidate(message, own)?;
        Some(Void::Candidate { path: message.path.clone(), others })
    }
}

/// What to do about an address, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// What to do.
    pub action: Action,
    /// Why, and what is missing for `suppress`: the user's own word first, then most weighty first; never empty.
    pub reasons: Vec<Reason>,
}

impl Advice {
    /// What the action comes to for this address.
    #[must_use]
    pub fn in_words(&self) -> &'static str {
        let (mut own_word, mut removed) = (false, false);
        for reason in &self.reasons {
            own_word |= matches!(reason, Reason::OwnWord(_));
            removed |= matches!(reason, Reason::RemovedByProvider { .. });
        }
        match self.action {
            _ if own_word => "mail nothing to it until its user comes back",
            Action::Suppress => "send no more to it",
            Action::Keep => "go on sending",
            Action::FixSender if removed => {
                "do not suppress it; mend the sender, then have it taken off the provider's suppression list"
            }
            _ if removed => {
                "do not suppress it; look up at the provider why it did, and where that does not hold any more, have it \
                 taken off its suppression list"
            }
            Action::Hold => "do not suppress it; wait until the cause is known",
            Action::FixSender => "do not suppress it; mend the sender",
            Action::Retry => "do not suppress it; try again later",
        }
    }
}

/// What to do about an address.
///
/// [`Action::Suppress`] takes two refusals that say it is dead, at least 24 hours apart by their own times and by send time, each
/// by a path that delivered to a relay address within 72 hours of it and since the first of them, and neither an incident nor a
/// candidate for one that has to do with a path of theirs, nor another's fault by it with no delivery between.
#[must_use]
pub fn advise(known: &Known, around: &Surroundings) -> Advice {
    let own_word = OwnWord::of(&known.notices, known.complained, known.unsubscribed).map(Reason::OwnWord);
    let standing = known.standing();
    let undone = known.undone();
    let removed = known.removed_at.filter(|at| Some(*at) > undone.as_ref().map(|(undone, _)| *undone));
    let removed = removed.map(|at| Reason::RemovedByProvider { at });
    let (action, reasons) = match standing.last() {
        Some(latest) if latest.is_dead => of_dead(known, &standing, around),
        Some(latest) => of_other(latest, around),
        None => {
            let action = if own_word.is_none() && removed.is_none() { Action::Keep } else { Action::Hold };
            let undone = undone.map(|(_, reason)| reason).filter(|_| !known.refusals.is_empty());
            (action, vec![undone.unwrap_or(Reason::NoRefusal)])
        }
    };
    Advice { action, reasons: own_word.into_iter().chain(reasons).chain(removed).collect() }
}

/// The latest refusal says something else than that the address is dead.
fn of_other(latest: &Message<'_>, around: &Surroundings) -> (Action, Vec<Reason>) {
    let report = latest.last;
    let at = report.at;
    let (action, says) = match report.says {
        Says::Nothing => (Action::Hold, Reason::LatestSays { at, cause: None }),
        Says::Changed(cause) => (Action::Hold, Reason::RulesChanged { at, cause }),
        Says::Verdict { cause, action, .. } => {
            let stands = matches!(action, Action::FixSender | Action::Retry);
            (if stands { action } else { Action::Hold }, Reason::LatestSays { at, cause: Some(cause) })
        }
    };
    (action, std::iter::once(says).chain(incidents(&[latest], around)).collect())
}

/// A refusal that counts, and the latest bin of a delivery by its path within 72 hours.
type Counted<'a> = (&'a Message<'a>, Option<Bin>);

/// Pairs of refusals that count, those that lie furthest apart first.
fn pairs<'a>(counted: &'a [Counted<'a>]) -> impl Iterator<Item = (Counted<'a>, Counted<'a>)> {
    let refused_apart =
        |((first, _), (last, _)): &(Counted<'_>, Counted<'_>)| last.at.millis_since(first.at) >= AGAIN_MILLIS;
    let with_later = |(index, first): (usize, &'a Counted<'a>)| {
        counted.iter().skip(index + 1).rev().map(move |last| (*first, *last))
    };
    counted.iter().enumerate().flat_map(with_later).filter(refused_apart)
}

/// Whether the second message was sent a day after the first one, too, and did not just wait in a queue.
fn is_sent_apart(((first, _), (last, _)): &(Counted<'_>, Counted<'_>)) -> bool {
    last.sent_from.saturating_sub(first.bin.0) >= AGAIN_BINS
}

/// Whether the path of each has delivered what was sent after the first refusal: a registration may be lost after a delivery.
fn delivers_since((first, last): &(Counted<'_>, Counted<'_>)) -> bool {
    let refused = Some(first.0.at.bin());
    let since = |path: &StreamKey| [first, last].iter().any(|(one, delivery)| one.path == path && *delivery > refused);
    since(first.0.path) && since(last.0.path)
}

/// The latest refusal says that the address is dead.
fn of_dead(known: &Known, standing: &[Message<'_>], around: &Surroundings) -> (Action, Vec<Reason>) {
    let dead: Vec<&Message<'_>> = standing.iter().filter(|one| one.is_dead).collect();
    let judged: Vec<(&Message<'_>, Option<Void>)> =
        dead.iter().map(|one| (*one, around.void(one, known, standing))).collect();
    let counted = judged.iter().filter(|(_, void)| void.is_none());
    let counted: Vec<Counted<'_>> = counted.map(|(one, _)| (*one, around.last_delivery(one))).collect();
    let mut reasons = incidents(&dead, around);
    let in_doubt = judged.last().and_then(|(_, void)| void.as_ref()).is_some_and(Void::is_doubt);
    if let Some(((first, _), (last, _))) = pairs(&counted).filter(is_sent_apart).find(delivers_since) {
        reasons.extend(around.candidates_now(&dead, standing));
        if reasons.is_empty() && !in_doubt {
            let twice = Reason::DeadTwice { first: first.at, last: last.at };
            return (Action::Suppress, vec![twice, Reason::PathDelivers]);
        }
    } else if let Some(((first, _), _)) = pairs(&counted).find(is_sent_apart) {
        reasons.push(Reason::NoDeliverySince { first: first.at });
    } else if let Some(((first, _), (last, _))) = pairs(&counted).next() {
        reasons.push(Reason::SentTogether { first: first.at, last: last.at });
    } else if let Some((first, _)) = counted.first() {
        let earliest = Some(first.at.plus_millis(AGAIN_MILLIS)).filter(|at| *at > around.now);
        reasons.push(Reason::SecondMissing { first: first.at, earliest });
    } else {
        reasons.push(Reason::NoneCounts { refusals: dead.len() as u64 });
    }
    let mut voids = judged.into_iter().rev().filter_map(|(one, void)| Some((one.at, void?)));
    reasons.extend(voids.by_ref().take(TOLD).map(|(at, void)| Reason::CountsNot { at, void }));
    let more = voids.count() as u64;
    if more > 0 {
        reasons.push(Reason::MoreCountNot { refusals: more });
    }
    (Action::Hold, reasons)
}

/// Incidents that go on and have to do with a path of these refusals, newest onset first.
fn incidents(refusals: &[&Message<'_>], around: &Surroundings) -> Vec<Reason> {
    let concerns =
        |trouble: &&Trouble| trouble.is_on() && refusals.iter().any(|refusal| trouble.scope.is_related(refusal.path));
    let mut on: Vec<&Trouble> = around.troubles.iter().filter(concerns).collect();
    on.sort_by_key(|trouble| (std::cmp::Reverse(trouble.onset), trouble.incident));
    on.dedup_by_key(|trouble| trouble.incident);
    let reason = |trouble: &Trouble| Reason::Incident {
        incident: trouble.incident,
        masked: trouble.state == IncidentState::Masked,
        scope: trouble.scope.clone(),
        onset: trouble.onset,
    };
    on.into_iter().take(TOLD).map(reason).collect()
}
