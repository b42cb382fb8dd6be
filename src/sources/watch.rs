//! The watch: which questions are looked at and when, what a look changes, and what that costs.
//!
//! Pure, without clock or I/O: time, looks and the set-up come in. Whoever runs it asks [`Watch::due`], looks, gives the answers to
//! [`Watch::hear`], and takes from [`Watch::settle`] what is to be journalled and told.
//!
//! The rules (`email-auth.md` sections 5.1, 5.3 and 10; the times are this project's own):
//!
//! - Watched is every question that the audit of the declared set-up needed, with what it then was answered.
//! - A change counts where the zone's own servers agree on it, an absence only where the resolvers say so too, and either only once
//!   it was seen for five minutes in two looks ([`SETTLE_MILLIS`]). Where the zone's servers cannot be asked, a changed value that
//!   the resolvers tell counts after half an hour; a deletion never.
//! - Server failure, time-out and bogus change nothing: they make the name blind.
//! - What turns back and forth three times within an hour is unstable: a finding, and no page, until it has been calm.
//! - What a change costs is what the audit says after it and did not say before it.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use super::{
    answer::{Answer, Name, Outcome, Question, Seen},
    audit::{self, Audit, Setup},
    finding::{Finding, FindingCode, Grade},
    spf::{Answers, Known, Selection},
};
use crate::model::{HOUR_MILLIS, Timestamp};

mod drift;
mod fact;
mod look;
mod observed;
mod schedule;
mod standing;
mod tracked;

pub use drift::{Drift, Growth};
pub use fact::{Fact, State};
pub use look::{Look, Vantage};
pub use observed::{Alarm, Condition, Observation, Record, Trouble};
pub use schedule::{Budget, CEILING_MILLIS, FLOOR_MILLIS, NEGATIVE_CEILING_MILLIS, can_be_fatal, interval_millis};
pub use standing::{Fitness, Standing, Subject, SubjectKind, Told};
pub use tracked::{
    BLIND_MILLIS, Blind, Change, SETTLE_ALONE_MILLIS, SETTLE_MILLIS, SETTLE_UNSTABLE_MILLIS, SPLIT_MILLIS, Tracked,
    UNSTABLE_MILLIS, UNSTABLE_TURNS, ZONE_EVERY_MILLIS,
};

/// How many questions are watched at most. What an audit needs beyond is not looked at, and said.
pub const MAX_QUESTIONS: usize = 20_000;
/// Up to so many streams it is found out by an audit of each which of them depend on a changed record; beyond, by its name.
const MAX_TRACED: usize = 500;
/// How many findings and changes one alarm tells.
const MAX_TOLD: usize = 8;
/// For how long a change that cost one path is told beside one that costs the last.
const BESIDE_MILLIS: i64 = 6 * HOUR_MILLIS;
/// How many such changes are remembered.
const MAX_REMEMBERED: usize = 256;

/// What was known when the process last ran.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Restored {
    facts: BTreeMap<Question, (Fact, bool)>,
    standings: BTreeMap<Subject, Standing>,
    troubles: BTreeMap<String, Trouble>,
    conditions: BTreeMap<(FindingCode, String), Condition>,
}

impl Restored {
    /// Takes an observation, the last of what it is about.
    pub fn take(&mut self, observation: Observation) {
        match observation {
            Observation::Record(record) => {
                if let Some(question) = Question::of_text(&record.question) {
                    self.facts.insert(question, (record.after, record.vantage == Vantage::Authoritative));
                }
            }
            Observation::Standing { standing, gone } => {
                if gone {
                    self.standings.remove(&standing.subject);
                } else {
                    self.standings.insert(standing.subject.clone(), standing);
                }
            }
            Observation::Condition(condition) => {
                let key = (condition.code, condition.question.clone());
                if condition.over {
                    self.conditions.remove(&key);
                } else {
                    self.conditions.insert(key, condition);
                }
            }
            Observation::Trouble(trouble) => {
                if trouble.over {
                    self.troubles.remove(&trouble.domain);
                } else {
                    self.troubles.insert(trouble.domain.clone(), trouble);
                }
            }
        }
    }
}

/// What one call of [`Watch::settle`] gives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settled {
    /// What is to be journalled.
    pub observations: Vec<Observation>,
    /// Who is to be told of what.
    pub alarms: Vec<Alarm>,
}

impl Settled {
    /// Whether nothing came of it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.observations.is_empty() && self.alarms.is_empty()
    }
}

/// A change that waits for its grade.
#[derive(Debug, Clone)]
struct Pending {
    at_first: Option<Fact>,
    confirmed: bool,
}

/// The watch over a set-up.
#[derive(Debug, Clone)]
pub struct Watch {
    setup: Setup,
    tracked: BTreeMap<Question, Tracked>,
    /// What was known before the changes that have no grade yet.
    pending: BTreeMap<Question, Pending>,
    standings: BTreeMap<Subject, Standing>,
    troubles: BTreeMap<String, Trouble>,
    /// Known from before, until the audit asks for it.
    restored: BTreeMap<Question, (Fact, bool)>,
    /// Whether the set-up, or an answer, has changed since the last audit.
    stale: bool,
    conditions: BTreeMap<(FindingCode, String), Condition>,
    /// The latest changes that cost something, with when they were graded.
    latest: Vec<(Timestamp, Record)>,
}

impl Watch {
    /// A watch over a set-up, with what was known when the process last ran.
    #[must_use]
    pub fn new(setup: Setup, restored: Restored) -> Self {
        Self {
            setup,
            tracked: BTreeMap::new(),
            pending: BTreeMap::new(),
            standings: restored.standings,
            troubles: restored.troubles,
            restored: restored.facts,
            stale: true,
            conditions: restored.conditions,
            latest: Vec::new(),
        }
    }

    /// Puts another set-up in force. What is known stays known; that something stands otherwise by the new set-up is no drift.
    pub fn exchange(&mut self, setup: Setup) {
        if self.setup != setup {
            self.setup = setup;
            self.stale = true;
        }
    }

    /// The questions whose time has come, in the order in which they are to be asked, at most so many.
    #[must_use]
    pub fn due(&self, now: Timestamp, most: usize) -> Vec<Question> {
        let mut due: Vec<(&Question, &Tracked)> = self.tracked.iter().filter(|(_, one)| one.due() <= now).collect();
        due.sort_by_key(|(question, one)| schedule::rank(question, one.due(), now));
        due.into_iter().take(most).map(|(question, _)| question.clone()).collect()
    }

    /// When the next look is due; `None` where nothing is watched.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.tracked.values().map(Tracked::due).min()
    }

    /// Whether the zone's servers are to be asked a question too, after what the resolvers said.
    #[must_use]
    pub fn wants_zone(&self, question: &Question, recursive: &Answer, now: Timestamp) -> bool {
        self.tracked.get(question).is_some_and(|tracked| tracked.wants_zone(recursive, now))
    }

    /// Takes a look at a question; one that is not watched changes nothing.
    pub fn hear(&mut self, question: &Question, look: &Look, now: Timestamp) {
        let Some(tracked) = self.tracked.get_mut(question) else { return };
        let first_look = !tracked.is_looked_at();
        if let Some(change) = tracked.hear(question, look, now) {
            self.stale = true;
            if let Some(pending) = self.pending.get_mut(question) {
                pending.confirmed = change.confirmed;
            } else {
                let pending = Pending { at_first: change.before, confirmed: change.confirmed };
                self.pending.insert(question.clone(), pending);
            }
        }
        // What was missing may have been all that the audit waited for.
        self.stale |= first_look;
    }

    /// Audits anew where something has changed: grades the changes, and gives what is to be journalled and told. Gives nothing
    /// while the audit needs what was not looked at yet; that is due now.
    pub fn settle(&mut self, now: Timestamp) -> Settled {
        let mut settled = Settled::default();
        if !self.stale {
            self.note_conditions(&mut settled);
            return settled;
        }
        self.stale = false;
        let (after, known, used) = loop {
            let known = self.known();
            let used = Used::new(&known);
            match audit::audit(&self.setup, now, &used) {
                audit::Step::Done(after) => {
                    let used = used.into_used();
                    break (after, known, used);
                }
                audit::Step::Need(questions) => {
                    if !self.track(questions, now) {
                        return Settled::default();
                    }
                }
            }
        };
        let drift = self.drift(&after, &known, now);
        let records = self.records(&after, &known, drift.as_ref());
        self.stand(&after, now, &mut settled);
        self.alarms(&after, drift.as_ref(), &records, now, &mut settled);
        self.remember(&records, now);
        settled.observations.splice(0..0, records.into_iter().map(Observation::Record));
        self.pending.clear();
        self.restored.clear();
        self.tracked.retain(|question, _| used.contains(question));
        self.note_conditions(&mut settled);
        settled
    }

    /// Whether [`Watch::settle`] has anything to do.
    #[must_use]
    pub fn wants_settling(&self) -> bool {
        self.stale || !self.conditions_now().keys().eq(self.conditions.keys())
    }

    /// The answers that an audit goes by: what is known, and for what was looked at in vain, how that ended.
    fn known(&self) -> Known {
        let answer = |question: &Question, tracked: &Tracked| match tracked.fact() {
            Some(fact) => Some(fact.answer(question.kind)),
            None if tracked.is_looked_at() => Some(Answer::of(match tracked.trouble() {
                Some(Seen::Bogus) => Outcome::Bogus,
                Some(Seen::ServerFailure) => Outcome::ServerFailure,
                _ => Outcome::TimedOut,
            })),
            None => None,
        };
        self.tracked.iter().filter_map(|(question, one)| Some((question.clone(), answer(question, one)?))).collect()
    }

    /// Watches what the audit needs; gives whether something of it is known already.
    fn track(&mut self, questions: Vec<Question>, now: Timestamp) -> bool {
        let mut is_known = false;
        for question in questions {
            if self.tracked.contains_key(&question) {
                continue;
            }
            let mut tracked = match self.restored.get(&question) {
                Some((fact, confirmed)) => Tracked::restored(fact.clone(), *confirmed, now),
                None => Tracked::new(now),
            };
            if self.tracked.len() >= MAX_QUESTIONS {
                tracked = Tracked::given_up(now);
            }
            is_known |= tracked.fact().is_some() || tracked.is_looked_at();
            self.tracked.insert(question, tracked);
        }
        is_known
    }

    /// What the changes have cost; `None` without changes, or where what was known can't be judged by this set-up.
    fn drift(&self, after: &Audit, known: &Known, now: Timestamp) -> Option<Drift> {
        let changed: Vec<&Question> =
            self.pending.iter().filter(|(_, one)| one.at_first.is_some()).map(|(question, _)| question).collect();
        if changed.is_empty() {
            return None;
        }
        let mut before = known.clone();
        for (question, pending) in &self.pending {
            if let Some(fact) = &pending.at_first {
                before.insert(question.clone(), fact.answer(question.kind));
            }
        }
        match audit::audit(&self.setup, now, &before) {
            audit::Step::Done(then) => Some(Drift::between((&then, &before), (after, known), &changed)),
            audit::Step::Need(_) => None,
        }
    }

    /// The entries of the changes.
    fn records(&self, after: &Audit, known: &Known, drift: Option<&Drift>) -> Vec<Record> {
        let grade = drift.map_or(Grade::Notable, |drift| drift.grade);
        let depends = self.depends(after, known);
        self.pending
            .iter()
            .filter_map(|(question, pending)| {
                let tracked = self.tracked.get(question)?;
                let now = tracked.fact()?.clone();
                // It was back before anybody was told.
                if pending.at_first.as_ref() == Some(&now) {
                    return None;
                }
                let grown = |growth: &&Growth| growth.by.iter().any(|(name, ..)| *name == question.name.as_str());
                Some(Record {
                    question: question.to_string(),
                    vantage: if pending.confirmed { Vantage::Authoritative } else { Vantage::Recursive },
                    before: pending.at_first.clone(),
                    after: now,
                    grade: pending.at_first.as_ref().map(|_| grade),
                    domains: depends.get(question).cloned().unwrap_or_default(),
                    growth: drift.iter().flat_map(|drift| drift.growth.iter().filter(grown)).cloned().collect(),
                    unstable: tracked.unstable().is_some(),
                })
            })
            .collect()
    }

    /// The domains of the streams that depend on each of the changed questions.
    fn depends(&self, after: &Audit, known: &Known) -> BTreeMap<Question, Vec<String>> {
        let mut all: BTreeMap<Question, BTreeSet<String>> = BTreeMap::new();
        let traced = self.setup.streams.len() <= MAX_TRACED;
        for (stream, verdict) in self.setup.streams.iter().zip(&after.streams) {
            let used = if traced {
                let used = Used::new(known);
                let alone = Setup { teams: self.setup.teams.clone(), streams: vec![stream.clone()] };
                // What the whole needed is known, and what it judges is judged already.
                let _judged = audit::audit(&alone, Timestamp::EPOCH, &used);
                used.into_used()
            } else {
                BTreeSet::new()
            };
            for question in self.pending.keys() {
                if used.contains(question) || standing::depends_by_name(verdict, &question.name) {
                    let domains = all.entry(question.clone()).or_default();
                    domains.insert(verdict.from_domain.clone());
                    domains.extend(verdict.envelope_domain.clone());
                }
            }
        }
        all.into_iter().map(|(question, domains)| (question, domains.into_iter().collect())).collect()
    }

    /// Brings the standings up to date.
    fn stand(&mut self, after: &Audit, now: Timestamp, settled: &mut Settled) {
        let teams: Vec<Option<String>> = self.setup.streams.iter().map(|stream| stream.team.clone()).collect();
        let standings = standing::standings(after, &teams, &self.standings, now);
        for (subject, standing) in &standings {
            if self.standings.get(subject).is_none_or(|known| !known.is_as(standing)) {
                settled.observations.push(Observation::Standing { standing: standing.clone(), gone: false });
            }
        }
        for (subject, standing) in &self.standings {
            if !standings.contains_key(subject) {
                settled.observations.push(Observation::Standing { standing: standing.clone(), gone: true });
            }
        }
        self.standings = standings;
    }

    /// Opens troubles where fitness is lost, and ends those that are mended.
    fn alarms(
        &mut self,
        after: &Audit,
        drift: Option<&Drift>,
        records: &[Record],
        now: Timestamp,
        settled: &mut Settled,
    ) {
        for (domain, lost) in
            drift.filter(|drift| drift.grade == Grade::Fatal).map(|drift| self.lost(after, drift)).unwrap_or_default()
        {
            // What turns back and forth was told once.
            let edits = records.iter().filter(|record| record.is_change());
            if edits.clone().all(|record| record.unstable) {
                continue;
            }
            let known = self.troubles.get(&domain);
            let is_new = known.is_none_or(|known| {
                lost.streams.iter().any(|one| !known.streams.contains(one))
                    || lost.fatal().any(|one| !known.findings.contains(one))
            });
            if !is_new {
                continue;
            }
            let mut trouble = Trouble {
                domain: domain.clone(),
                since: known.map_or(now, |known| known.since),
                streams: known.map(|known| known.streams.clone()).unwrap_or_default(),
                findings: known.map(|known| known.findings.clone()).unwrap_or_default(),
                told_at: now,
                over: false,
            };
            trouble.findings.extend(lost.fatal().cloned());
            trouble.streams.extend(lost.streams);
            for list in [&mut trouble.streams, &mut trouble.findings] {
                list.sort_unstable();
                list.dedup();
            }
            let concerns = |record: &&Record| record.domains.is_empty() || record.domains.contains(&domain);
            // What went before cost a path, and this one the last.
            let before = self.latest.iter().map(|(_, record)| record).filter(|record| self.still_holds(record));
            let changes: Vec<Record> = before.chain(edits).filter(concerns).take(MAX_TOLD).cloned().collect();
            settled.observations.push(Observation::Trouble(trouble.clone()));
            let mut findings: Vec<Finding> = lost.findings.into_values().collect();
            findings.sort_by_key(|finding| (std::cmp::Reverse(finding.grade), finding.code));
            findings.truncate(MAX_TOLD);
            settled.alarms.push(Alarm { trouble: trouble.clone(), changes, findings });
            self.troubles.insert(domain, trouble);
        }
        let findings = after.findings();
        let fatal: BTreeSet<String> =
            findings.iter().filter(|finding| finding.grade == Grade::Fatal).map(|finding| told_key(finding)).collect();
        let not_fit: BTreeSet<&str> = self
            .standings
            .values()
            .filter(|standing| standing.fitness != Fitness::Fit)
            .map(|standing| standing.subject.name.as_str())
            .collect();
        let mended = |trouble: &Trouble| {
            trouble.streams.iter().all(|stream| !not_fit.contains(stream.as_str()))
                && trouble.findings.iter().all(|finding| !fatal.contains(finding))
        };
        self.troubles.retain(|_, trouble| {
            if !mended(trouble) {
                return true;
            }
            let over = Trouble { over: true, ..trouble.clone() };
            settled.observations.push(Observation::Trouble(over.clone()));
            settled.alarms.push(Alarm { trouble: over, changes: Vec::new(), findings: Vec::new() });
            false
        });
    }

    /// Whether what a change brought is still what is known.
    fn still_holds(&self, record: &Record) -> bool {
        let tracked = Question::of_text(&record.question).and_then(|question| self.tracked.get(&question));
        tracked.and_then(Tracked::fact) == Some(&record.after)
    }

    /// Keeps the changes that cost something, for a while.
    fn remember(&mut self, records: &[Record], now: Timestamp) {
        self.latest.retain(|(at, _)| now.millis_since(*at) < BESIDE_MILLIS);
        let costly = records.iter().filter(|record| record.grade.is_some_and(|grade| grade >= Grade::AtRisk));
        self.latest.extend(costly.map(|record| (now, record.clone())));
        let beyond = self.latest.len().saturating_sub(MAX_REMEMBERED);
        self.latest.drain(..beyond);
    }

    /// What a drift has lost, by From domain.
    fn lost(&self, after: &Audit, drift: &Drift) -> BTreeMap<String, Lost> {
        let mut all: BTreeMap<String, Lost> = BTreeMap::new();
        for index in &drift.lost {
            let (Some(verdict), Some(stream)) = (after.streams.get(*index), self.setup.streams.get(*index)) else {
                continue;
            };
            let lost = all.entry(verdict.from_domain.clone()).or_default();
            lost.streams.push(standing::subject_of(verdict, stream.team.as_deref()).name);
            // Where nobody knows whether another path carries it, what costs fitness is told as at risk.
            let of_it = |finding: &&Finding| verdict.findings.iter().any(|one| drift::key(one) == drift::key(finding));
            let costs = drift.appeared.iter().filter(|finding| finding.code.grade() == Grade::Fatal);
            lost.findings.extend(costs.filter(of_it).map(|finding| (told_key(finding), finding.clone())));
        }
        for finding in drift.appeared.iter().filter(|finding| finding.grade == Grade::Fatal) {
            // It's told with each From domain whose stream has it.
            let of = |verdict: &&audit::StreamVerdict| {
                verdict.findings.iter().any(|one| drift::key(one) == drift::key(finding))
            };
            let mut domains: BTreeSet<&str> =
                after.streams.iter().filter(of).map(|verdict| verdict.from_domain.as_str()).collect();
            if domains.is_empty() {
                domains.insert(finding.about.as_str());
            }
            for domain in domains {
                all.entry(domain.to_owned()).or_default().findings.insert(told_key(finding), finding.clone());
            }
        }
        all
    }

    /// The set-up in force.
    #[must_use]
    pub const fn setup(&self) -> &Setup {
        &self.setup
    }

    /// How everything stands.
    pub fn standings(&self) -> impl Iterator<Item = &Standing> {
        self.standings.values()
    }

    /// Fitness that was lost and has not come back.
    pub fn troubles(&self) -> impl Iterator<Item = &Trouble> {
        self.troubles.values()
    }

    /// Every question that is watched.
    pub fn tracked(&self) -> impl Iterator<Item = (&Question, &Tracked)> {
        self.tracked.iter()
    }

    /// By how much the look that waits longest is late, in milliseconds.
    #[must_use]
    pub fn lag_millis(&self, now: Timestamp) -> i64 {
        self.next_due().map_or(0, |due| now.millis_since(due).max(0))
    }

    /// The names that get no answer, with since when: of each the question that began first.
    #[must_use]
    pub fn blind(&self) -> BTreeMap<Name, Blind> {
        let mut all: BTreeMap<Name, Blind> = BTreeMap::new();
        for (question, blind) in self.tracked.iter().filter_map(|(question, one)| Some((question, one.blind()?))) {
            let kept = all.entry(question.name.clone()).or_insert(blind);
            if blind.since < kept.since {
                *kept = blind;
            }
        }
        all
    }

    /// What is wrong with how DNS answers, beside what the audit finds in its answers, by code and question.
    fn conditions_now(&self) -> BTreeMap<(FindingCode, String), Condition> {
        let mut all = BTreeMap::new();
        for (question, tracked) in &self.tracked {
            let bogus = tracked.blind().filter(|blind| blind.seen == Seen::Bogus).map(|blind| blind.since);
            for (code, since) in [
                (FindingCode::DnsUnstable, tracked.unstable()),
                (FindingCode::DnsServersDisagree, tracked.split()),
                (FindingCode::DnsResolverDiffers, tracked.contradicted()),
                (FindingCode::DnssecBogus, bogus),
            ] {
                let Some(since) = since else { continue };
                let question = question.to_string();
                all.insert((code, question.clone()), Condition { code, question, since, over: false });
            }
        }
        all
    }

    /// Notes what has begun to be wrong with how DNS answers, and what no longer is. What began at another time is the same.
    fn note_conditions(&mut self, settled: &mut Settled) {
        let mut now = self.conditions_now();
        for (key, known) in &self.conditions {
            match now.get_mut(key) {
                Some(condition) => condition.since = known.since,
                None => settled.observations.push(Observation::Condition(Condition { over: true, ..known.clone() })),
            }
        }
        let fresh = now.iter().filter(|(key, _)| !self.conditions.contains_key(*key));
        settled.observations.extend(fresh.map(|(_, condition)| Observation::Condition(condition.clone())));
        self.conditions = now;
    }

    /// The same as findings.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        self.conditions.values().map(Condition::finding).collect()
    }

    /// How many questions are not watched since there are too many.
    #[must_use]
    pub fn left_out(&self) -> usize {
        self.tracked.len().saturating_sub(MAX_QUESTIONS)
    }
}

/// What was lost of one From domain.
#[derive(Debug, Default)]
struct Lost {
    streams: Vec<String>,
    findings: BTreeMap<String, Finding>,
}

impl Lost {
    fn fatal(&self) -> impl Iterator<Item = &String> {
        self.findings.iter().filter(|(_, finding)| finding.grade == Grade::Fatal).map(|(key, _)| key)
    }
}

fn told_key(finding: &Finding) -> String {
    format!("{} {}", finding.code, finding.about)
}

/// Answers that note what was asked of them.
struct Used<'a> {
    known: &'a Known,
    used: RefCell<BTreeSet<Question>>,
}

impl<'a> Used<'a> {
    fn new(known: &'a Known) -> Self {
        Self { known, used: RefCell::default() }
    }

    fn into_used(self) -> BTreeSet<Question> {
        self.used.into_inner()
    }
}

impl Answers for Used<'_> {
    fn answer(&self, question: &Question) -> Option<&Answer> {
        self.used.borrow_mut().insert(question.clone());
        self.known.answer(question)
    }

    fn published(&self, question: &Question) -> Option<(&Answer, Selection)> {
        self.used.borrow_mut().insert(question.clone());
        self.known.published(question)
    }
}

#[cfg(test)]
mod tests;
