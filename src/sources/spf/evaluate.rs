//! Evaluates a record for a client (RFC 7208 sections 4 to 6).

mod names;

use std::{net::IpAddr, ops::Range, sync::Arc};

use crate::sources::answer::{Answer, Exchange, Kind, Name, Outcome, Question, Seen, Values};

use super::{
    Answers, MAX_AT_ONCE, MAX_HOSTS, MAX_LOOKUPS, MAX_VOIDS, Query, Step,
    macros::{Facts, NoTarget},
    record::{DomainSpec, Hosts, Mechanism, Policy, Selection, TermKind},
    verdict::{Fault, Looked, Reason, SpfResult, TermOutcome, Tried, Verdict, Visit},
};

/// The longest local part that is looked at; RFC 5321 section 4.5.3.1.1 allows 64 bytes.
const MAX_LOCAL_PART_BYTES: usize = 1_024;

/// See [`super::check`].
pub(super) fn check<A: Answers>(query: &Query<'_>, answers: &A) -> Step {
    let Some(sender) = Sender::of(query) else {
        let fault = Fault { domain: None, policy: None, span: None, reason: Reason::NoDomain };
        return Step::Done(Box::new(Verdict {
            result: SpfResult::None,
            explanation: None,
            no_explanation: None,
            fault: Some(fault),
            lookups: 0,
            voids: 0,
            tree: None,
        }));
    };
    let mut run = Run {
        ip: query.ip.to_canonical(),
        query,
        local_part: sender.local_part,
        sender_domain: if sender.domain_text.is_ascii() { sender.domain_text } else { sender.domain.as_str() },
        answers,
        lookups: 0,
        voids: 0,
        needed: Vec::new(),
        fault: None,
    };
    let tree = run.visit(sender.domain.clone());
    let (mut explanation, mut no_explanation) = (None, None);
    if let Some(tree) = tree.as_ref().filter(|tree| run.needed.is_empty() && tree.result == SpfResult::Fail) {
        match run.explanation(tree.decider()) {
            Some(Ok(text)) => explanation = text,
            Some(Err(why)) => no_explanation = Some(why),
            None => {}
        }
    }
    match tree {
        Some(tree) if run.needed.is_empty() => Step::Done(Box::new(Verdict {
            result: tree.result,
            explanation,
            no_explanation,
            fault: run.fault,
            lookups: run.lookups,
            voids: run.voids,
            tree: Some(tree),
        })),
        _ => Step::Need(run.needed),
    }
}

/// Whose record is looked up (sections 2.4, 4.3).
struct Sender<'a> {
    local_part: &'a str,
    domain_text: &'a str,
    domain: Name,
}

impl<'a> Sender<'a> {
    /// `None` where there is no domain of several labels that DNS can be asked for.
    fn of(query: &Query<'a>) -> Option<Self> {
        let (local_part, domain_text) = match query.mail_from.rsplit_once('@') {
            _ if query.mail_from.is_empty() => ("", query.helo),
            Some((local_part, domain)) => (local_part, domain),
            None => ("", query.mail_from),
        };
        let local_part = if local_part.is_empty() { "postmaster" } else { local_part };
        let domain_text = domain_text.strip_suffix('.').unwrap_or(domain_text);
        if local_part.len() > MAX_LOCAL_PART_BYTES || domain_text.starts_with('[') {
            return None;
        }
        let domain = Name::parse(domain_text).ok().filter(|domain| domain.as_str().contains('.'))?;
        Some(Self { local_part, domain_text, domain })
    }
}

/// One run over what is known. Where something is not, it is noted as needed, and the run goes on as though the term did not
/// match, to find what else can be asked at once; what it finds is then thrown away.
struct Run<'a, A> {
    ip: IpAddr,
    query: &'a Query<'a>,
    local_part: &'a str,
    sender_domain: &'a str,
    answers: &'a A,
    lookups: u32,
    voids: u32,
    needed: Vec<Question>,
    fault: Option<Fault>,
}

/// What a term makes of the check.
enum Matched {
    Yes,
    No,
    /// The term itself is at fault.
    Error(SpfResult, Reason),
    /// The record that it leads to is, which is noted there.
    Below(SpfResult),
}

/// Whether hosts have the address.
enum Found {
    Yes,
    No { void: bool },
    Unknown,
    Trouble(Question, Seen),
}

impl<'a, A: Answers> Run<'a, A> {
    /// The answer, or `None` with the question noted.
    fn ask(&mut self, question: &Question, looked: &mut Vec<Looked>) -> Option<&'a Answer> {
        let Some(answer) = self.answers.answer(question) else {
            self.need(question);
            return None;
        };
        looked.push(Looked { question: question.clone(), seen: answer.outcome.seen() });
        Some(answer)
    }

    fn need(&mut self, question: &Question) {
        if !self.enough() && !self.needed.contains(question) {
            self.needed.push(question.clone());
        }
    }

    fn enough(&self) -> bool {
        self.needed.len() >= MAX_AT_ONCE
    }

    /// Evaluates a domain's record: `check_host()`. `None` where the record itself is not known yet.
    fn visit(&mut self, domain: Name) -> Option<Visit> {
        let question = Question::new(domain.clone(), Kind::Txt);
        let answers: &'a A = self.answers;
        let Some((answer, selection)) = answers.published(&question) else {
            self.need(&question);
            return None;
        };
        let seen = answer.outcome.seen();
        let mut visit = Visit { domain, seen, policy: None, tried: Vec::new(), result: SpfResult::None };
        if answer.outcome.is_trouble() {
            visit.result = self.wrong(&visit, None, SpfResult::TempError, Reason::Dns(question, seen));
            return Some(visit);
        }
        let policy = match selection {
            Selection::None => return Some(visit),
            Selection::Several(records) => {
                visit.result = self.wrong(&visit, None, SpfResult::PermError, Reason::SeveralRecords(records));
                return Some(visit);
            }
            Selection::One(policy) => policy,
        };
        visit.policy = Some(Arc::clone(&policy));
        visit.result = match policy.mistakes.first() {
            Some(mistake) => {
                let span = Some(mistake.span.clone());
                self.wrong(&visit, span, SpfResult::PermError, Reason::Mistake(mistake.kind))
            }
            None => self.terms(&policy, &mut visit),
        };
        Some(visit)
    }

    /// Notes a fault, the innermost of nested ones.
    fn wrong(&mut self, visit: &Visit, span: Option<Range<usize>>, result: SpfResult, reason: Reason) -> SpfResult {
        if self.fault.is_none() {
            let (domain, policy) = (Some(visit.domain.clone()), visit.policy.clone());
            self.fault = Some(Fault { domain, policy, span, reason });
        }
        result
    }

    /// Goes through a record's terms (section 4.6).
    fn terms(&mut self, policy: &Arc<Policy>, visit: &mut Visit) -> SpfResult {
        for (index, term) in policy.terms.iter().enumerate() {
            let TermKind::Directive(qualifier, mechanism) = &term.kind else { continue };
            let outcome = match mechanism {
                Mechanism::All => {
                    visit.tried.push(Tried::new(index));
                    Matched::Yes
                }
                Mechanism::Ip4 { network, prefix } => {
                    if !matches!(self.ip, IpAddr::V4(ip) if same_bits(ip.to_bits() ^ network.to_bits(), *prefix)) {
                        continue;
                    }
                    visit.tried.push(Tried::new(index));
                    Matched::Yes
                }
                Mechanism::Ip6 { network, prefix } => {
                    if !matches!(self.ip, IpAddr::V6(ip) if same_bits6(ip.to_bits() ^ network.to_bits(), *prefix)) {
                        continue;
                    }
                    visit.tried.push(Tried::new(index));
                    Matched::Yes
                }
                _ => {
                    let mut tried = Tried::new(index);
                    let before = (self.lookups, self.voids);
                    let outcome = self.lookup_term(mechanism, &visit.domain, &mut tried);
                    (tried.lookups, tried.voids) = (self.lookups - before.0, self.voids - before.1);
                    visit.tried.push(tried);
                    outcome
                }
            };
            let outcome_of_term = match &outcome {
                Matched::Yes => TermOutcome::Matched,
                Matched::No => TermOutcome::NotMatched,
                Matched::Error(..) | Matched::Below(_) => TermOutcome::Error,
            };
            if let Some(tried) = visit.tried.last_mut() {
                tried.outcome = outcome_of_term;
            }
            match outcome {
                Matched::Yes => return (*qualifier).into(),
                Matched::Error(result, reason) => return self.wrong(visit, Some(term.span.clone()), result, reason),
                Matched::Below(result) => return result,
                Matched::No if self.enough() => return SpfResult::Neutral,
                Matched::No => {}
            }
        }
        match policy.redirect.and_then(|index| policy.terms.get(index).map(|term| (index, term))) {
            Some((index, term)) => match &term.kind {
                TermKind::Redirect(domain) => self.redirect(index, &term.span, domain, visit),
                _ => SpfResult::Neutral,
            },
            None => SpfResult::Neutral,
        }
    }

    /// A term that asks DNS, counted and then evaluated.
    fn lookup_term(&mut self, mechanism: &Mechanism, domain: &Name, tried: &mut Tried) -> Matched {
        if let Err(error) = self.count(tried) {
            return error;
        }
        let outcome = match mechanism {
            Mechanism::Include(target) => self.include(target, domain, tried),
            Mechanism::A(hosts) => self.a(hosts, domain, tried),
            Mechanism::Mx(hosts) => self.mx(hosts, domain, tried),
            Mechanism::Ptr(target) => self.ptr(target.as_ref(), domain, tried),
            Mechanism::Exists(target) => self.exists(target, domain, tried),
            Mechanism::All | Mechanism::Ip4 { .. } | Mechanism::Ip6 { .. } => Matched::No,
        };
        if tried.void && matches!(outcome, Matched::No) {
            self.voids += 1;
            if self.voids > MAX_VOIDS {
                return Matched::Error(SpfResult::PermError, Reason::TooManyVoids);
            }
        }
        outcome
    }

    fn count(&mut self, tried: &mut Tried) -> Result<(), Matched> {
        tried.counts = true;
        self.lookups += 1;
        if self.lookups > MAX_LOOKUPS {
            return Err(Matched::Error(SpfResult::PermError, Reason::TooManyLookups));
        }
        Ok(())
    }

    /// The name that a term asks for. `Ok(None)` where something is not known yet.
    fn target(&mut self, spec: &DomainSpec, domain: &Name, tried: &mut Tried) -> Result<Option<Name>, NoTarget> {
        let validated = if spec.needs_validated() {
            let Some(validated) = self.validated_name(domain, &mut tried.looked) else { return Ok(None) };
            validated
        } else {
            None
        };
        let target = spec.target(&self.facts(domain, validated.as_ref()))?;
        tried.target = Some(target.clone());
        Ok(Some(target))
    }

    fn target_or_own(
        &mut self,
        spec: Option<&DomainSpec>,
        domain: &Name,
        tried: &mut Tried,
    ) -> Result<Option<Name>, NoTarget> {
        if let Some(spec) = spec {
            return self.target(spec, domain, tried);
        }
        tried.target = Some(domain.clone());
        Ok(Some(domain.clone()))
    }

    fn facts<'f>(&'f self, domain: &'f Name, validated: Option<&'f Name>) -> Facts<'f> {
        Facts {
            ip: self.ip,
            local_part: self.local_part,
            sender_domain: self.sender_domain,
            helo: self.query.helo,
            receiver: self.query.receiver,
            at: self.query.at,
            domain,
            validated: validated.map_or("unknown", Name::as_str),
        }
    }

    /// Section 5.2.
    fn include(&mut self, spec: &DomainSpec, domain: &Name, tried: &mut Tried) -> Matched {
        let target = match self.target(spec, domain, tried) {
            Ok(Some(target)) => target,
            // A local part in other letters never matches (RFC 8616 section 4); what is no name has no record.
            Ok(None) | Err(NoTarget::LocalPart) => return Matched::No,
            Err(NoTarget::Name(_)) => return Matched::Error(SpfResult::PermError, Reason::NoTarget),
        };
        let Some(child) = self.child(&target, tried) else { return Matched::No };
        match child {
            SpfResult::Pass => Matched::Yes,
            SpfResult::Fail | SpfResult::SoftFail | SpfResult::Neutral => Matched::No,
            SpfResult::None => Matched::Error(SpfResult::PermError, Reason::NoRecord(target)),
            SpfResult::TempError | SpfResult::PermError => Matched::Below(child),
        }
    }

    /// Evaluates the record of a target below a term. `None` where it is not known yet.
    fn child(&mut self, target: &Name, tried: &mut Tried) -> Option<SpfResult> {
        let child = self.visit(target.clone())?;
        tried.void = matches!(child.seen, Seen::NoData | Seen::NoSuchDomain);
        tried.looked.push(Looked { question: Question::new(target.clone(), Kind::Txt), seen: child.seen });
        let result = child.result;
        tried.child = Some(Box::new(child));
        Some(result)
    }

    /// Section 6.1.
    fn redirect(&mut self, index: usize, span: &Range<usize>, spec: &DomainSpec, visit: &mut Visit) -> SpfResult {
        let mut tried = Tried::new(index);
        let before = (self.lookups, self.voids);
        let outcome = match self.count(&mut tried) {
            Err(error) => error,
            Ok(()) => match self.target(spec, &visit.domain, &mut tried) {
                Ok(Some(target)) => match self.child(&target, &mut tried) {
                    None => Matched::No,
                    Some(SpfResult::None) => Matched::Error(SpfResult::PermError, Reason::NoRecord(target)),
                    Some(_) => Matched::Yes,
                },
                Ok(None) => Matched::No,
                Err(_) => Matched::Error(SpfResult::PermError, Reason::NoTarget),
            },
        };
        (tried.lookups, tried.voids) = (self.lookups - before.0, self.voids - before.1);
        let child = tried.child.as_ref().map(|child| child.result);
        tried.outcome = match &outcome {
            Matched::Error(..) => TermOutcome::Error,
            Matched::Yes | Matched::No | Matched::Below(_) => TermOutcome::Redirected,
        };
        visit.tried.push(tried);
        match outcome {
            Matched::Error(result, reason) => self.wrong(visit, Some(span.clone()), result, reason),
            Matched::Yes | Matched::No | Matched::Below(_) => child.unwrap_or(SpfResult::Neutral),
        }
    }

    /// Section 5.3.
    fn a(&mut self, hosts: &Hosts, domain: &Name, tried: &mut Tried) -> Matched {
        let Ok(Some(target)) = self.target_or_own(hosts.domain.as_ref(), domain, tried) else { return Matched::No };
        match self.address_of(target, hosts, &mut tried.looked) {
            Found::Yes => Matched::Yes,
            Found::No { void } => {
                tried.void = void;
                Matched::No
            }
            Found::Unknown => Matched::No,
            Found::Trouble(question, seen) => Matched::Error(SpfResult::TempError, Reason::Dns(question, seen)),
        }
    }

    /// Whether a host has an address that is the client's in the bits that count.
    fn address_of(&mut self, host: Name, hosts: &Hosts, looked: &mut Vec<Looked>) -> Found {
        let question = Question::new(host, Kind::of_addresses(self.ip));
        let ip = self.ip;
        let Some(answer) = self.ask(&question, looked) else { return Found::Unknown };
        match (&answer.outcome, ip) {
            (Outcome::Found(Values::A(values)), IpAddr::V4(ip))
                if values.iter().any(|one| same_bits(one.to_bits() ^ ip.to_bits(), hosts.prefix4)) =>
            {
                Found::Yes
            }
            (Outcome::Found(Values::Aaaa(values)), IpAddr::V6(ip))
                if values.iter().any(|one| same_bits6(one.to_bits() ^ ip.to_bits(), hosts.prefix6)) =>
            {
                Found::Yes
            }
            (outcome, _) if outcome.is_trouble() => Found::Trouble(question, outcome.seen()),
            (outcome, _) => Found::No { void: outcome.is_absence() },
        }
    }

    /// Section 5.4.
    fn mx(&mut self, hosts: &Hosts, domain: &Name, tried: &mut Tried) -> Matched {
        let Ok(Some(target)) = self.target_or_own(hosts.domain.as_ref(), domain, tried) else { return Matched::No };
        let question = Question::new(target, Kind::Mx);
        let Some(answer) = self.ask(&question, &mut tried.looked) else { return Matched::No };
        let exchanges = match &answer.outcome {
            Outcome::Found(Values::Mx(exchanges)) => exchanges,
            outcome if outcome.is_trouble() => {
                return Matched::Error(SpfResult::TempError, Reason::Dns(question, outcome.seen()));
            }
            outcome => {
                tried.void = outcome.is_absence();
                return Matched::No;
            }
        };
        if exchanges.len() > MAX_HOSTS {
            return Matched::Error(SpfResult::PermError, Reason::TooManyExchanges(exchanges.len()));
        }
        let mut exchanges: Vec<&Exchange> = exchanges.iter().filter(|exchange| !exchange.host.is_root()).collect();
        exchanges.sort_unstable();
        for exchange in exchanges {
            match self.address_of(exchange.host.clone(), hosts, &mut tried.looked) {
                Found::Yes => return Matched::Yes,
                Found::No { .. } | Found::Unknown => {}
                Found::Trouble(question, seen) => {
                    return Matched::Error(SpfResult::TempError, Reason::Dns(question, seen));
                }
            }
        }
        Matched::No
    }

    /// Section 5.7.
    fn exists(&mut self, spec: &DomainSpec, domain: &Name, tried: &mut Tried) -> Matched {
        let Ok(Some(target)) = self.target(spec, domain, tried) else { return Matched::No };
        let question = Question::new(target, Kind::A);
        let Some(answer) = self.ask(&question, &mut tried.looked) else { return Matched::No };
        match &answer.outcome {
            Outcome::Found(_) => Matched::Yes,
            outcome if outcome.is_trouble() => {
                Matched::Error(SpfResult::TempError, Reason::Dns(question, outcome.seen()))
            }
            _ => {
                tried.void = true;
                Matched::No
            }
        }
    }
}

/// A host by itself.
const EXACT: Hosts = Hosts { domain: None, prefix4: 32, prefix6: 128 };

/// Whether the leading bits of a difference are zero.
const fn same_bits(difference: u32, prefix: u8) -> bool {
    difference.leading_zeros() >= prefix as u32
}

/// Whether the leading bits of a difference are zero.
const fn same_bits6(difference: u128, prefix: u8) -> bool {
    difference.leading_zeros() >= prefix as u32
}

impl Tried {
    const fn new(term: usize) -> Self {
        Self {
            term,
            target: None,
            looked: Vec::new(),
            counts: false,
            void: false,
            lookups: 0,
            voids: 0,
            outcome: TermOutcome::NotMatched,
            child: None,
        }
    }
}
