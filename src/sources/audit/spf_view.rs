//! SPF of an envelope domain for the addresses that a stream is sent from.

use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;

use super::{
    super::{
        answer::{Answer, Kind, Name, Outcome, Question, Text, Values},
        apple_rule::SpfSeen,
        asking::{Asking, trouble},
        finding::{Finding, FindingCode, Fix, Grade, shown},
        providers,
        spf::{
            Answers, FindingKind, MAX_LOOKUPS, Mechanism, Policy, Query, Reason, Selection, SpfResult, Step,
            SurveyStep, TermKind, Verdict, check, is_record, lint, survey,
        },
    },
    Stream,
    addresses::{Sending, include_of, sending},
};

mod offer;

/// Asked about where no address is known: what is wrong with the record itself shows with any (TEST-NET-1, RFC 5737).
const ANY_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// How many other streams with the same envelope domain are looked at for the one record that is to pass them all.
const MAX_PEERS: usize = 8;
/// From how many look-ups on the record is at risk; from eight on it is told (`email-auth.md` section 3.3).
const AT_RISK_LOOKUPS: u32 = 9;
const MANY_LOOKUPS: u32 = 8;
/// How many findings of the linter are told.
const MAX_LINTS: usize = 8;

/// One address and what SPF says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// The address.
    pub ip: IpAddr,
    /// The result.
    pub result: SpfResult,
    /// The look-ups that counted.
    pub lookups: u32,
    /// The look-ups that found nothing.
    pub voids: u32,
}

/// SPF of an envelope domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SpfView {
    /// The domain.
    #[serde(serialize_with = "as_text")]
    pub domain: Name,
    /// The results, one an address; empty where none is known.
    pub checked: Vec<Checked>,
    /// All terms of the record and of what it includes that ask DNS, whether a check reaches them or not.
    pub static_lookups: u32,
    /// What it comes to.
    #[serde(skip)]
    pub seen: SpfSeen,
    /// What is wrong; the stream's findings have it.
    #[serde(skip)]
    pub findings: Vec<Finding>,
}

fn as_text<S: serde::Serializer>(name: &Name, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(name)
}

/// Judges an envelope domain for a stream; `peers` are all streams with that domain in their envelope. `None` where something is
/// still to be asked.
pub(super) fn view<A: Answers>(
    stream: &Stream,
    peers: &[&Stream],
    domain: &Name,
    asking: &Asking<'_, A>,
) -> Option<SpfView> {
    let mut others: Vec<&Stream> = Vec::new();
    let alike = |one: &Stream, other: &Stream| {
        (one.provider, &one.addresses, &one.spf_name) == (other.provider, &other.addresses, &other.spf_name)
    };
    for peer in peers {
        if others.len() <= MAX_PEERS && !alike(peer, stream) && !others.iter().any(|known| alike(known, peer)) {
            others.push(peer);
        }
    }
    let more_peers = others.len() > MAX_PEERS;
    others.truncate(MAX_PEERS);
    // The order of streams changes nothing in the record that is offered.
    let mut all: Vec<&Stream> = others.into_iter().chain([stream]).collect();
    all.sort_by(|one, other| {
        (one.provider.as_str(), &one.addresses, &one.spf_name).cmp(&(
            other.provider.as_str(),
            &other.addresses,
            &other.spf_name,
        ))
    });
    let sendings: Vec<_> = all.iter().map(|peer| sending(peer, asking)).collect();
    let own = sending(stream, asking);
    let at_record = asking.ask(domain, Kind::Txt);
    let (sending, at_record) = (own?, at_record?);
    let sendings: Vec<Sending> = sendings.into_iter().collect::<Option<_>>()?;
    let peers: Vec<(&Stream, Sending)> = all.into_iter().zip(sendings).collect();
    let asked: &[IpAddr] = if sending.addresses.is_empty() { &[ANY_ADDRESS] } else { &sending.addresses };
    let verdicts: Vec<Option<Verdict>> =
        asked.iter().map(|ip| verdict(*ip, domain, asking.answers(), asking)).collect();
    let verdicts: Vec<Verdict> = verdicts.into_iter().collect::<Option<_>>()?;
    let mut look = Look {
        stream,
        domain,
        asking,
        sending: &sending,
        peers,
        more_peers,
        at_record,
        broken: Selection::of(at_record) == Selection::None
            || verdicts.iter().all(|verdict| closed_for_all(verdict, domain)),
        misspelt: None,
        instead: None,
        findings: Vec::new(),
        mends: Vec::new(),
    };
    let static_lookups = look.count()?;
    let seen = look.seen(&verdicts)?;
    look.offer()?;
    look.limits(static_lookups, seen);
    let findings = look.findings;
    let checked = sending.addresses.iter().zip(&verdicts).map(|(ip, verdict)| Checked {
        ip: *ip,
        result: verdict.result,
        lookups: verdict.lookups,
        voids: verdict.voids,
    });
    Some(SpfView { domain: domain.clone(), checked: checked.collect(), static_lookups, seen, findings })
}

/// Whether a check ends in an error for every client: by a mistake in the domain's own record, or by several records there.
fn closed_for_all(verdict: &Verdict, domain: &Name) -> bool {
    verdict.result == SpfResult::PermError
        && verdict.fault.as_ref().is_some_and(|fault| {
            fault.domain.as_ref() == Some(domain)
                && matches!(fault.reason, Reason::Mistake(_) | Reason::SeveralRecords(_))
        })
}

fn verdict<A: Answers>(ip: IpAddr, domain: &Name, answers: &impl Answers, asking: &Asking<'_, A>) -> Option<Verdict> {
    let mail_from = format!("postmaster@{domain}");
    let query = Query { ip, mail_from: &mail_from, helo: domain.as_str(), receiver: "", at: None };
    match check(&query, answers) {
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
    /// All streams with this envelope, and what they are sent from.
    peers: Vec<(&'a Stream, Sending)>,
    /// Whether there are more of them than are looked at.
    more_peers: bool,
    at_record: &'a Answer,
    /// Whether nobody passes now, whatever the address.
    broken: bool,
    /// The text that was meant for SPF and is none.
    misspelt: Option<Vec<u8>>,
    /// The text to begin with in place of what stands there.
    instead: Option<String>,
    findings: Vec<Finding>,
    /// The findings that one record for the domain mends, by their place.
    mends: Vec<usize>,
}

impl<A: Answers> Look<'_, A> {
    fn add(&mut self, code: FindingCode, what: impl Into<String>, fix: Fix) {
        self.findings.push(Finding::new(code, self.domain, what, fix));
    }

    /// Adds a finding that the record mends that is offered for the domain; its fix stands where none can be.
    fn add_mended(&mut self, finding: Finding) {
        if !self.findings.contains(&finding) {
            self.mends.push(self.findings.len());
            self.findings.push(finding);
        }
    }

    fn policy(&self) -> Option<std::sync::Arc<Policy>> {
        match Selection::of(self.at_record) {
            Selection::One(policy) => Some(policy),
            Selection::None | Selection::Several(_) => None,
        }
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
            self.add_mended(finding);
            return Some(SpfSeen::NotPass);
        }
        // What an address that is made up or only recalled runs into, another may not.
        let decides = self.decides() || self.broken;
        if count(&[SpfResult::PermError]) == all && decides {
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
            let number = if passing == 0 { "none".to_owned() } else { passing.to_string() };
            let rest = if passing == 0 { "them" } else { "the others" };
            let what = format!(
                "SPF of {} passes {number} of {all}{whose} ({} for {rest}){recalled}",
                self.domain, first.result
            );
            let code = if passing == 0 { FindingCode::SpfAddressRefused } else { FindingCode::SpfSomeRefused };
            let mut finding = Finding::new(code, self.domain, what, self.let_in());
            if !self.sending.decides {
                finding = finding.graded(Grade::AtRisk);
            }
            self.add_mended(finding);
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

    /// Whether a result for the addresses decides.
    fn decides(&self) -> bool {
        self.sending.decides && !self.sending.addresses.is_empty()
    }

    /// How the provider's addresses are let in, in words.
    fn let_in(&self) -> Fix {
        let term = match &self.sending.sampled_from {
            Some(name) => format!("include:{name}"),
            None => "ip4: and ip6: terms for them".to_owned(),
        };
        Fix::step(format!("Let the provider's addresses in, with {term} before the end of the record."))
    }

    /// What the linter says of the domain's own record.
    fn lints(&mut self) {
        let Some(policy) = self.policy() else { return };
        let linted = lint(policy.bytes());
        for finding in linted.findings.iter().take(MAX_LINTS) {
            let place = shown(policy.part(&finding.span).as_bytes(), 60);
            let what = format!("SPF of {}, byte {}, `{place}`: {}", self.domain, finding.span.start + 1, finding.kind);
            let code = match finding.kind {
                FindingKind::Mistake(_) => FindingCode::SpfBroken,
                FindingKind::EverybodyPasses => FindingCode::SpfAllowsAll,
                FindingKind::Ptr => FindingCode::SpfPtr,
                // The whole tree is counted below.
                FindingKind::TooManyLookups(_) | FindingKind::ManyLookups(_) | FindingKind::NoVersion => continue,
                _ => FindingCode::SpfAdvice,
            };
            let step = match &finding.instead {
                Some((_, text)) if text.is_empty() => format!("Take `{place}` away."),
                Some((range, text)) if range.is_empty() => format!("Put `{}` at the end of the record.", text.trim()),
                Some((range, text)) => {
                    let old = shown(policy.part(range).as_bytes(), 60);
                    format!("Write `{}` in place of `{old}`.", shown(text.as_bytes(), 60))
                }
                None => format!(
                    "Write `{place}` as one term of SPF, such as include:spf.example.com or ip4:192.0.2.0/24, or take it away."
                ),
            };
            let told = Finding::new(code, self.domain, what, Fix::step(step));
            if finding.instead.is_some() {
                self.add_mended(told);
            } else {
                self.findings.push(told);
            }
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
                if own {
                    let step = "Put the terms of all records into one, with one end, and take the others away.";
                    self.add_mended(Finding::new(FindingCode::SpfSeveral, self.domain, what, Fix::step(step)));
                    return;
                }
                Finding::new(FindingCode::SpfSeveral, self.domain, what, Fix::step(others))
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
        // An error that depends on the address is certain only for addresses that are.
        let finding = if self.decides() || self.broken {
            finding
        } else {
            let grade = finding.grade.min(Grade::AtRisk);
            finding.graded(grade)
        };
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    /// The terms that ask DNS of the record and of all that it leads to, whoever sends.
    fn count(&self) -> Option<u32> {
        match survey(self.domain, self.asking.answers()) {
            SurveyStep::Done(survey) => Some(survey.lookups),
            SurveyStep::Need(questions) => {
                self.asking.need(questions);
                None
            }
        }
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
    fn missing(&mut self) -> Option<Finding> {
        let domain = self.domain;
        let publish = Fix::step(format!(
            "Publish SPF at {domain}: v=spf1, a term for the addresses that the mail comes from, as your provider shows it, \
             and ~all."
        ));
        if let Outcome::Found(Values::Txt(texts)) = &self.at_record.outcome
            && let Some(text) = texts.iter().map(Text::joined).find(|text| meant_for_spf(text))
        {
            let what = format!("the text at {domain} was meant for SPF and is none: {}", shown(&text, 60));
            self.instead = mended_start(&text);
            self.misspelt = Some(text.into_owned());
            return Some(Finding::new(FindingCode::SpfMisspelt, domain, what, publish));
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
        let include = include_of(self.stream).map(|(name, _)| format!("include:{name}"));
        for (place, answer) in places.iter().zip(answers) {
            let Selection::One(policy) = Selection::of(answer?) else { continue };
            let text = policy.text();
            let own_names =
                place.as_str().ends_with(&format!(".{domain}")) || place.as_str().starts_with(&format!("{domain}."));
            // A wildcard answers at any name: only a record that does what is wanted here was meant for it. The From domain may
            // have one of its own with good reason; one that lets this provider in stands wrong.
            let meant_here = own_names && self.passes(&text)?;
            let lets_in = include.as_ref().is_some_and(|include| text.to_ascii_lowercase().contains(include.as_str()));
            if meant_here || lets_in {
                let what = format!("no SPF at {domain}, the domain in the envelope; {place} has it");
                self.instead = meant_here.then_some(text);
                return Some(Finding::new(FindingCode::SpfWrongName, domain, what, publish));
            }
        }
        let chain = self.at_record.aliases.last().map(|last| format!(" (a CNAME leads to {last})")).unwrap_or_default();
        let what = format!("no SPF at {domain}, the domain in the envelope{chain}: {}", self.at_record.outcome.seen());
        Some(Finding::new(FindingCode::SpfMissing, domain, what, publish))
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
