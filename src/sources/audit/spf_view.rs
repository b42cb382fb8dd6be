//! SPF of an envelope domain for the addresses that a stream is sent from.

use std::{
    collections::{BTreeSet, VecDeque},
    net::{IpAddr, Ipv4Addr},
};

use super::{
    super::{
        answer::{Answer, Kind, Name, Outcome, Question, Text, Values},
        apple_rule::SpfSeen,
        asking::{Asking, trouble},
        finding::{DnsRecord, Finding, FindingCode, Fix, Grade, shown},
        providers,
        spf::{
            Answers, FindingKind, MAX_LOOKUPS, Mechanism, Policy, Query, Reason, Selection, SpfResult, Step, TermKind,
            Verdict, check, is_record, lint,
        },
    },
    Stream,
    addresses::{Sending, include_of, sending},
};

/// Asked about where no address is known: what is wrong with the record itself shows with any (TEST-NET-1, RFC 5737).
const ANY_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// How many records of a tree are counted; the limit of ten look-ups is passed long before.
const MAX_COUNTED: usize = 24;
/// From how many look-ups on the record is at risk; from eight on it is told (`email-auth.md` section 3.3).
const AT_RISK_LOOKUPS: u32 = 9;
const MANY_LOOKUPS: u32 = 8;
/// How many findings of the linter are told.
const MAX_LINTS: usize = 8;

/// One address and what SPF says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The address.
    pub ip: IpAddr,
    /// The result.
    pub result: SpfResult,
    /// The look-ups that counted.
    pub lookups: u32,
}

/// SPF of an envelope domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpfView {
    /// The domain.
    pub domain: Name,
    /// The results, one an address; empty where none is known.
    pub checked: Vec<Checked>,
    /// All terms of the record and of what it includes that ask DNS, whether a check reaches them or not.
    pub static_lookups: u32,
    /// What it comes to.
    pub seen: SpfSeen,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// Judges an envelope domain for a stream. `None` where something is still to be asked.
pub(super) fn view<A: Answers>(stream: &Stream, domain: &Name, asking: &Asking<'_, A>) -> Option<SpfView> {
    let sending = sending(stream, asking);
    let at_record = asking.ask(domain, Kind::Txt);
    let (sending, at_record) = (sending?, at_record?);
    let asked: &[IpAddr] = if sending.addresses.is_empty() { &[ANY_ADDRESS] } else { &sending.addresses };
    let verdicts: Vec<Option<Verdict>> = asked.iter().map(|ip| verdict(*ip, domain, asking)).collect();
    let verdicts: Vec<Verdict> = verdicts.into_iter().collect::<Option<_>>()?;
    let mut look = Look { stream, domain, asking, sending: &sending, at_record, findings: Vec::new() };
    let static_lookups = look.count()?;
    let seen = look.seen(&verdicts)?;
    look.limits(static_lookups, seen);
    let findings = look.findings;
    let checked = sending.addresses.iter().zip(&verdicts).map(|(ip, verdict)| Checked {
        ip: *ip,
        result: verdict.result,
        lookups: verdict.lookups,
    });
    Some(SpfView { domain: domain.clone(), checked: checked.collect(), static_lookups, seen, findings })
}

fn verdict<A: Answers>(ip: IpAddr, domain: &Name, asking: &Asking<'_, A>) -> Option<Verdict> {
    let mail_from = format!("postmaster@{domain}");
    let query = Query { ip, mail_from: &mail_from, helo: domain.as_str(), receiver: "", at: None };
    match check(&query, asking.answers()) {
        Step::Done(verdict) => Some(*verdict),
        Step::Need(questions) => {
            asking.need(questions);
            None
        }
    }
}

struct Look<'a, A> {
    stream: &'a Stream,
    domain: &'a Name,
    asking: &'a Asking<'a, A>,
    sending: &'a Sending,
    at_record: &'a Answer,
    findings: Vec<Finding>,
}

impl<A: Answers> Look<'_, A> {
    fn add(&mut self, code: FindingCode, what: impl Into<String>, fix: Fix) {
        self.findings.push(Finding::new(code, self.domain, what, fix));
    }

    fn policy(&self) -> Option<std::sync::Arc<Policy>> {
        match Selection::of(self.at_record) {
            Selection::One(policy) => Some(policy),
            Selection::None | Selection::Several(_) => None,
        }
    }

    /// What the provider's customers include, as a term.
    fn include(&self) -> Option<String> {
        include_of(self.stream).map(|(name, _)| format!("include:{name}"))
    }

    /// A record to publish where there is none yet.
    fn fresh_record(&self, step: String) -> Fix {
        let terms = match self.include() {
            Some(include) if self.stream.addresses.is_empty() || self.stream.spf_name.is_some() => vec![include],
            _ => self.stream.addresses.iter().take(10).map(|ip| address_term(*ip)).collect(),
        };
        if terms.is_empty() {
            return Fix::step(format!(
                "{step} List the addresses that the mail comes from, as your provider shows them."
            ));
        }
        Fix::publish(step, DnsRecord::txt(self.domain, &format!("v=spf1 {} ~all", terms.join(" "))))
    }

    /// What the results come to, with the findings that say why. `None` where something is still to be asked.
    fn seen(&mut self, verdicts: &[Verdict]) -> Option<SpfSeen> {
        self.lints();
        let faults: Vec<&Verdict> = verdicts.iter().filter(|verdict| verdict.fault.is_some()).collect();
        for verdict in &faults {
            self.fault(verdict);
        }
        let all = verdicts.len();
        let count = |results: &[SpfResult]| verdicts.iter().filter(|verdict| results.contains(&verdict.result)).count();
        let (passing, trouble) = (count(&[SpfResult::Pass]), count(&[SpfResult::TempError]));
        if count(&[SpfResult::None]) == all {
            let finding = self.missing()?;
            self.findings.push(finding);
            return Some(SpfSeen::NotPass);
        }
        if count(&[SpfResult::PermError]) == all {
            return Some(SpfSeen::NotPass);
        }
        if self.sending.addresses.is_empty() {
            if self.sending.trouble || trouble > 0 {
                return Some(SpfSeen::Trouble);
            }
            self.unknown_addresses();
            return Some(SpfSeen::NotTold);
        }
        if passing == all {
            return Some(SpfSeen::Pass);
        }
        if trouble > 0 {
            return Some(SpfSeen::Trouble);
        }
        if !self.sending.decides && self.provider_decides() {
            self.unknown_addresses();
            return Some(SpfSeen::NotTold);
        }
        // Errors have their own findings.
        let refused: Vec<&Verdict> = verdicts
            .iter()
            .filter(|verdict| !matches!(verdict.result, SpfResult::Pass | SpfResult::PermError | SpfResult::TempError))
            .collect();
        if let Some(first) = refused.first() {
            let whose = match &self.sending.sampled_from {
                Some(name) => format!(" of the addresses that {name} lists"),
                None => " of the addresses that the mail comes from".to_owned(),
            };
            let recalled = if self.sending.decides {
                ""
            } else {
                "; that this name is the provider's is recalled, not documented"
            };
            let what = format!(
                "SPF of {} passes {passing} of {all}{whose} ({} for the others){recalled}",
                self.domain, first.result
            );
            let code = if passing == 0 { FindingCode::SpfAddressRefused } else { FindingCode::SpfSomeRefused };
            let mut finding = Finding::new(code, self.domain, what, self.let_in());
            if !self.sending.decides {
                finding = finding.graded(Grade::AtRisk);
            }
            self.findings.push(finding);
        }
        Some(match passing {
            0 if self.sending.decides => SpfSeen::NotPass,
            0 => SpfSeen::NotTold,
            _ => SpfSeen::Partly,
        })
    }

    /// Whether the provider itself publishes the record, through a CNAME into its own names: it knows its addresses better.
    fn provider_decides(&self) -> bool {
        self.at_record.aliases.iter().any(|alias| providers::owns(self.stream.provider, alias))
    }

    fn unknown_addresses(&mut self) {
        let what = format!("no sending address is known to check SPF of {} with", self.domain);
        let step = "Name the addresses, or the name whose SPF record lists them, for this source.";
        self.add(FindingCode::AddressesUnknown, what, Fix::step(step));
    }

    /// The record with the provider's term in it.
    fn let_in(&self) -> Fix {
        let step = "Let the provider's addresses in.".to_owned();
        let term = if let Some(name) = &self.sending.sampled_from {
            format!("include:{name}")
        } else {
            let terms: Vec<String> = self.sending.addresses.iter().take(10).map(|ip| address_term(*ip)).collect();
            terms.join(" ")
        };
        let Some(policy) = self.policy() else { return self.fresh_record(step) };
        let text = policy.text();
        let end = policy.terms().iter().find_map(|part| match &part.kind {
            TermKind::Directive(_, Mechanism::All) | TermKind::Redirect(_) => Some(part.span.start),
            _ => None,
        });
        let (head, tail) = end.and_then(|end| text.split_at_checked(end)).unwrap_or((text.as_str(), ""));
        let record = format!("{} {term} {tail}", head.trim_end());
        Fix::publish(step, DnsRecord::txt(self.domain, record.trim_end()))
    }

    /// What the linter says of the domain's own record.
    fn lints(&mut self) {
        let Some(policy) = self.policy() else { return };
        let linted = lint(policy.bytes());
        let mended = |found: &[&super::super::spf::Finding]| {
            let mut text = policy.bytes().to_vec();
            let mut ends = text.len();
            for (range, instead) in found.iter().rev().filter_map(|finding| finding.instead.as_ref()) {
                if range.start <= range.end && range.end <= ends {
                    text.splice(range.clone(), instead.bytes());
                    ends = range.start;
                }
            }
            String::from_utf8_lossy(&text).split(' ').filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
        };
        let mistakes: Vec<_> =
            linted.findings.iter().filter(|finding| matches!(finding.kind, FindingKind::Mistake(_))).collect();
        let whole = (!mistakes.is_empty() && mistakes.iter().all(|finding| finding.instead.is_some()))
            .then(|| mended(&mistakes));
        for finding in linted.findings.iter().take(MAX_LINTS) {
            let place = shown(policy.part(&finding.span).as_bytes(), 60);
            let what = format!("SPF of {}, byte {}, `{place}`: {}", self.domain, finding.span.start + 1, finding.kind);
            let (code, text) = match finding.kind {
                FindingKind::Mistake(_) => (FindingCode::SpfBroken, whole.clone()),
                FindingKind::EverybodyPasses => (FindingCode::SpfAllowsAll, Some(mended(&[finding]))),
                FindingKind::Ptr => (FindingCode::SpfPtr, None),
                // The whole tree is counted below.
                FindingKind::TooManyLookups(_) | FindingKind::ManyLookups(_) | FindingKind::NoVersion => continue,
                _ => (FindingCode::SpfAdvice, finding.instead.is_some().then(|| mended(&[finding]))),
            };
            let fix = match text {
                Some(text) => {
                    Fix::publish("Publish the record without the mistake.", DnsRecord::txt(self.domain, &text))
                }
                None => Fix::step("Write the term as RFC 7208 has it, or take it away."),
            };
            self.add(code, what, fix);
        }
    }

    /// The finding of a check that ended in an error.
    fn fault(&mut self, verdict: &Verdict) {
        let Some(fault) = &verdict.fault else { return };
        let at = fault.domain.clone().unwrap_or_else(|| self.domain.clone());
        let whose = if at == *self.domain {
            format!("SPF of {at}")
        } else {
            format!("SPF of {at}, which {} leads to,", self.domain)
        };
        let place = match (&fault.policy, &fault.span) {
            (Some(policy), Some(span)) => {
                format!(" at byte {} `{}`", span.start + 1, shown(policy.part(span).as_bytes(), 60))
            }
            _ => String::new(),
        };
        let what = format!("{whose} fails{place}: {}", fault.reason);
        let others = "Ask whoever runs the included name to mend it, or take the include away.";
        let own = at == *self.domain;
        let finding = match &fault.reason {
            Reason::Dns(question, _) => {
                let outcome = self.asking.ask(&question.name, question.kind).map(|answer| &answer.outcome);
                let Some(finding) = outcome.and_then(|outcome| trouble(&question.name, question.kind, outcome)) else {
                    return;
                };
                finding
            }
            Reason::NoDomain => Finding::new(
                FindingCode::StreamInvalid,
                self.domain,
                what,
                Fix::step("Give the envelope domain whole."),
            ),
            // The linter tells of those in the domain's own record, with what to write.
            Reason::Mistake(_) if own => return,
            Reason::Mistake(_) | Reason::NoTarget => {
                let step = if own { "Name a domain behind include: or redirect=." } else { others };
                Finding::new(FindingCode::SpfBroken, self.domain, what, Fix::step(step))
            }
            Reason::SeveralRecords(_) => {
                let fix = if own { self.merged() } else { Fix::step(others) };
                Finding::new(FindingCode::SpfSeveral, self.domain, what, fix)
            }
            Reason::NoRecord(_) => {
                let step = "Take the term away, or write the name that the provider shows today.";
                Finding::new(FindingCode::SpfIncludeMissing, self.domain, what, Fix::step(step))
            }
            Reason::TooManyLookups if self.loops() => {
                let step = "Take away the include or redirect that leads back to a record that was there already.";
                Finding::new(FindingCode::SpfLoop, self.domain, what, Fix::step(step))
            }
            Reason::TooManyLookups | Reason::TooManyExchanges(_) => {
                let step =
                    "Take away includes of providers that you no longer use; put an address in the place of a and mx.";
                Finding::new(FindingCode::SpfTooManyLookups, self.domain, what, Fix::step(step))
            }
            Reason::TooManyVoids => {
                let step = "Take away the terms whose names no longer exist.";
                Finding::new(FindingCode::SpfVoidLookups, self.domain, what, Fix::step(step))
            }
        };
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    /// One record out of several: the terms of all, each once, with the end of the first.
    fn merged(&self) -> Fix {
        let Outcome::Found(Values::Txt(texts)) = &self.at_record.outcome else { return Fix::step("Leave one record.") };
        let (mut terms, mut end) = (Vec::new(), None);
        for text in texts.iter().map(Text::joined).filter(|text| is_record(text)) {
            for term in String::from_utf8_lossy(&text).split(' ').skip(1).filter(|term| !term.is_empty()) {
                let bare = term.trim_start_matches(['+', '-', '~', '?']).to_ascii_lowercase();
                if bare == "all" || bare.starts_with("redirect=") {
                    end.get_or_insert_with(|| term.to_owned());
                } else if !terms.iter().any(|known| known == term) {
                    terms.push(term.to_owned());
                }
            }
        }
        terms.push(end.unwrap_or_else(|| "~all".to_owned()));
        let record = DnsRecord::txt(self.domain, &format!("v=spf1 {}", terms.join(" ")));
        Fix::publish("Publish one record with the terms of all, and take the others away.", record)
    }

    /// The records that the domain leads to, with what they lead to: all that can be known without a client.
    fn count(&self) -> Option<u32> {
        let (mut lookups, mut missing) = (0_u32, false);
        let mut seen = BTreeSet::from([self.domain.clone()]);
        let mut queue = VecDeque::from([self.domain.clone()]);
        while let Some(name) = queue.pop_front() {
            let Some((_, selection)) = self.asking.answers().published(&Question::new(name.clone(), Kind::Txt)) else {
                missing |= self.asking.ask(&name, Kind::Txt).is_none();
                continue;
            };
            let Selection::One(policy) = selection else { continue };
            for term in policy.terms().iter().filter(|term| term.kind.counts()) {
                lookups = lookups.saturating_add(1);
                if let Some(next) = leads_to(&term.kind).filter(|_| seen.len() < MAX_COUNTED)
                    && seen.insert(next.clone())
                {
                    queue.push_back(next.clone());
                }
            }
        }
        (!missing).then_some(lookups)
    }

    /// Whether a record leads back to one on the way to it.
    fn loops(&self) -> bool {
        let mut stack = vec![vec![self.domain.clone()]];
        let mut steps = 0;
        while let Some(way) = stack.pop() {
            steps += 1;
            let Some(name) = way.last().filter(|_| steps < 200) else { return false };
            let question = Question::new(name.clone(), Kind::Txt);
            let Some((_, Selection::One(policy))) = self.asking.answers().published(&question) else { continue };
            for next in policy.terms().iter().filter_map(|term| leads_to(&term.kind)) {
                if way.contains(next) {
                    return true;
                }
                stack.push(way.iter().chain([next]).cloned().collect());
            }
        }
        false
    }

    fn limits(&mut self, lookups: u32, seen: SpfSeen) {
        let told =
            self.findings.iter().any(|one| matches!(one.code, FindingCode::SpfTooManyLookups | FindingCode::SpfLoop));
        if told || lookups < MANY_LOOKUPS {
            return;
        }
        let what = format!("{lookups} terms of SPF of {} and what it includes ask DNS; {MAX_LOOKUPS} may", self.domain);
        let fix = Fix::step(
            "Take away includes of providers that you no longer use, or give a provider a subdomain of its own.",
        );
        if lookups > MAX_LOOKUPS {
            let grade = if seen == SpfSeen::Pass { Grade::AtRisk } else { Grade::Fatal };
            self.findings.push(Finding::new(FindingCode::SpfTooManyLookups, self.domain, what, fix).graded(grade));
        } else {
            let grade = if lookups >= AT_RISK_LOOKUPS { Grade::AtRisk } else { Grade::Notable };
            self.findings.push(Finding::new(FindingCode::SpfNearLookupLimit, self.domain, what, fix).graded(grade));
        }
    }

    /// No record: whether one was meant, or stands at a name where nobody looks for it.
    fn missing(&self) -> Option<Finding> {
        let domain = self.domain;
        let publish = || self.fresh_record(format!("Publish SPF at {domain}."));
        if let Outcome::Found(Values::Txt(texts)) = &self.at_record.outcome
            && let Some(text) = texts.iter().map(Text::joined).find(|text| meant_for_spf(text))
        {
            let what = format!("the text at {domain} was meant for SPF and is none: {}", shown(&text, 60));
            let fix = match mended_start(&text) {
                Some(record) => {
                    Fix::publish("Publish the record as receivers read it.", DnsRecord::txt(domain, &record))
                }
                None => publish(),
            };
            return Some(Finding::new(FindingCode::SpfMisspelt, domain, what, fix));
        }
        let org = super::super::dmarc::org_by_list(domain);
        let from = super::sender(&self.stream.from).map(|from| from.domain().clone());
        let mut places: Vec<Name> =
            [format!("{domain}.{org}"), format!("_spf.{domain}"), format!("spf.{domain}"), format!("www.{domain}")]
                .iter()
                .filter_map(|place| Name::parse(place).ok())
                .collect();
        places.extend(from.into_iter().chain([org]).filter(|place| place != domain));
        let answers: Vec<Option<&Answer>> = places.iter().map(|place| self.asking.ask(place, Kind::Txt)).collect();
        let include = self.include();
        for (place, answer) in places.iter().zip(answers) {
            let Selection::One(policy) = Selection::of(answer?) else { continue };
            let text = policy.text();
            // The From domain may have a record of its own with good reason; one that lets this provider in stands wrong.
            let own_names =
                place.as_str().ends_with(&format!(".{domain}")) || place.as_str().starts_with(&format!("{domain}."));
            let lets_in = include.as_ref().is_some_and(|include| text.to_ascii_lowercase().contains(include.as_str()));
            if own_names || lets_in {
                let what = format!("no SPF at {domain}, the domain in the envelope; {place} has it");
                let fix = if own_names {
                    Fix::publish(format!("Publish the record at {domain}."), DnsRecord::txt(domain, &text))
                } else {
                    publish()
                };
                return Some(Finding::new(FindingCode::SpfWrongName, domain, what, fix));
            }
        }
        let chain = self.at_record.aliases.last().map(|last| format!(" (a CNAME leads to {last})")).unwrap_or_default();
        let what = format!("no SPF at {domain}, the domain in the envelope{chain}: {}", self.at_record.outcome.seen());
        Some(Finding::new(FindingCode::SpfMissing, domain, what, publish()))
    }
}

fn leads_to(kind: &TermKind) -> Option<&Name> {
    match kind {
        TermKind::Directive(_, Mechanism::Include(domain)) | TermKind::Redirect(domain) => domain.fixed(),
        _ => None,
    }
}

fn address_term(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => format!("ip4:{ip}"),
        IpAddr::V6(ip) => format!("ip6:{ip}"),
    }
}

/// Whether somebody meant SPF by a text that is none: `"v=spf1 …`, ` v=spf1`, `v=spf 1`, `v=spf1; …`, `spf1 include:…`.
fn meant_for_spf(text: &[u8]) -> bool {
    let lower: Vec<u8> = text.iter().take(40).map(u8::to_ascii_lowercase).collect();
    let has = |needle: &[u8]| memchr::memmem::find(&lower, needle).is_some();
    !is_record(text)
        && (has(b"v=spf") || lower.starts_with(b"spf1 ") || has(b"v = spf") || has(b"v spf1") || has(b"v:spf1"))
}

/// The record with its beginning put right.
fn mended_start(text: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(text);
    let lower = text.to_ascii_lowercase();
    let place = lower.find("spf").map(|place| place + 3)?;
    let rest = text.get(place..)?.trim_start_matches([' ', '=', '.']).trim_start_matches('1');
    let rest = rest.trim_start_matches([';', ',', ' ', '\t', '"']).trim_end_matches(['"', ' ', ';']);
    let record = format!("v=spf1 {}", rest.replace('"', ""));
    Policy::parse(record.as_bytes()).mistakes().is_empty().then(|| record.trim_end().to_owned())
}
