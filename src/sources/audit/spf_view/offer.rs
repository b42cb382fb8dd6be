//! The one SPF record that is offered for a name: everything that is wrong with what stands there mended at once, and only where
//! the record, put in its place, passes every address of every stream that has the name in its envelope.

use std::net::IpAddr;

use super::{
    super::{
        super::{
            answer::{Answer, Kind, Name, Outcome, Question, Text, Values},
            finding::{DnsRecord, Fix, shown},
            spf::{
                Answers, MAX_LOOKUPS, Mechanism, Policy, Qualifier, Selection, SpfResult, SurveyStep, TermKind,
                is_record, lint, survey,
            },
        },
        Stream,
        addresses::{Sending, include_of},
    },
    ANY_ADDRESS, Look, verdict,
};

/// The longest record that is offered, in bytes: with another text beside it, it still fits an answer over UDP (RFC 7208 section 3.4).
const MAX_OFFERED_BYTES: usize = 1_000;

/// Answers with one text in the place of a domain's SPF records.
struct Instead<'a, A> {
    answers: &'a A,
    question: Question,
    answer: Answer,
    selection: Selection,
}

impl<'a, A: Answers> Instead<'a, A> {
    fn new(answers: &'a A, domain: &Name, text: &str) -> Self {
        let answer = Answer::texts([text]);
        let selection = Selection::of(&answer);
        Self { answers, question: Question::new(domain.clone(), Kind::Txt), answer, selection }
    }
}

impl<A: Answers> Answers for Instead<'_, A> {
    fn answer(&self, question: &Question) -> Option<&Answer> {
        if *question == self.question { Some(&self.answer) } else { self.answers.answer(question) }
    }

    fn published(&self, question: &Question) -> Option<(&Answer, Selection)> {
        if *question == self.question {
            Some((&self.answer, self.selection.clone()))
        } else {
            self.answers.published(question)
        }
    }
}

/// How a record does for addresses.
struct Trial {
    /// Whether it can be read, keeps the limit of look-ups and is printable.
    sound: bool,
    /// The addresses that it does not pass.
    refused: Vec<IpAddr>,
}

impl<A: Answers> Look<'_, A> {
    /// Whether a text, put in the place of the domain's record, passes all addresses that are known. `None` where something is still
    /// to be asked.
    pub(super) fn passes(&self, text: &str) -> Option<bool> {
        let addresses = self.addresses();
        let trial = self.trial(text, &addresses)?;
        Some(trial.sound && !addresses.is_empty() && trial.refused.is_empty())
    }

    /// The addresses of all streams with this envelope.
    fn addresses(&self) -> Vec<IpAddr> {
        let mut all: Vec<IpAddr> = self.peers.iter().flat_map(|(_, sending)| sending.addresses.clone()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    fn trial(&self, text: &str, addresses: &[IpAddr]) -> Option<Trial> {
        let mut trial = Trial { sound: false, refused: addresses.to_vec() };
        let printable = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        if !printable || text.len() > MAX_OFFERED_BYTES || !Policy::parse(text.as_bytes()).mistakes().is_empty() {
            return Some(trial);
        }
        let instead = Instead::new(self.asking.answers(), self.domain, text);
        match survey(self.domain, &instead) {
            SurveyStep::Need(questions) => {
                self.asking.need(questions);
                return None;
            }
            SurveyStep::Done(survey) if survey.lookups > MAX_LOOKUPS => return Some(trial),
            SurveyStep::Done(_) => {}
        }
        let asked: &[IpAddr] = if addresses.is_empty() { &[ANY_ADDRESS] } else { addresses };
        let verdicts: Vec<_> = asked.iter().map(|ip| verdict(*ip, self.domain, &instead, self.asking)).collect();
        let verdicts: Vec<_> = verdicts.into_iter().collect::<Option<_>>()?;
        let error = |result| matches!(result, SpfResult::PermError | SpfResult::TempError);
        trial.sound = !verdicts.iter().any(|verdict| error(verdict.result));
        let refused = addresses.iter().zip(&verdicts).filter(|(_, verdict)| verdict.result != SpfResult::Pass);
        trial.refused = refused.map(|(ip, _)| *ip).collect();
        Some(trial)
    }

    /// Gives the findings that one record mends that record, where there is one. `None` where something is still to be asked.
    pub(super) fn offer(&mut self) -> Option<()> {
        if self.mends.is_empty() {
            return Some(());
        }
        let fix = if let Some(last) = self.at_record.aliases.last() {
            let step = format!(
                "{} is a CNAME: ask the provider, the record is theirs at {last}; or point the CNAME to the name that \
                 the provider shows.",
                self.domain
            );
            Some(Fix::step(step))
        } else {
            self.best()?.map(|text| Fix::publish(self.step(&text), DnsRecord::txt(self.domain, &text)))
        };
        let Some(fix) = fix else { return Some(()) };
        for place in std::mem::take(&mut self.mends) {
            if let Some(finding) = self.findings.get_mut(place) {
                finding.fix = fix.clone();
            }
        }
        Some(())
    }

    /// What is to be done with the record.
    fn step(&self, text: &str) -> String {
        let domain = self.domain;
        let texts: &[Text] = match &self.at_record.outcome {
            Outcome::Found(Values::Txt(texts)) => texts,
            _ => &[],
        };
        let records: Vec<_> = texts.iter().map(Text::joined).filter(|text| is_record(text)).collect();
        let place = match (records.as_slice(), &self.misspelt) {
            ([one], _) => format!("Replace the TXT record `{}` of {domain} by the record below", shown(one, 120)),
            ([], Some(text)) => {
                format!("Replace the TXT record `{}` of {domain} by the record below", shown(text, 120))
            }
            ([], None) => format!("Publish at {domain} the record below"),
            (several, _) => {
                let records = several.len();
                format!("Replace the {records} TXT records of {domain} that begin with v=spf1 by the one below")
            }
        };
        let recalled: Vec<String> = self
            .peers
            .iter()
            .filter(|(_, sending)| !sending.decides)
            .filter_map(|(_, sending)| sending.sampled_from.as_ref())
            .map(|name| format!("include:{name}"))
            .filter(|term| text.contains(term.as_str()))
            .collect();
        let doubt = if recalled.is_empty() {
            String::new()
        } else {
            format!(
                " That {} is the provider's is recalled, not documented: compare what it shows.",
                recalled.join(", ")
            )
        };
        format!("{place}; leave the other TXT records of the name as they are.{doubt}")
    }

    /// The record to offer, where one does.
    #[expect(clippy::option_option, reason = "the outer says whether DNS was asked, the inner whether a record does")]
    fn best(&self) -> Option<Option<String>> {
        let known = |sending: &Sending| !sending.addresses.is_empty() && !sending.trouble && sending.whole;
        // Who is not known cannot be let in by a new record; where nobody passes now, nobody is locked out.
        if self.more_peers || !(self.broken || self.peers.iter().all(|(_, sending)| known(sending))) {
            return Some(None);
        }
        let Some(base) = self.base() else { return Some(None) };
        let addresses = self.addresses();
        let first = self.trial(&base, &addresses)?;
        if first.sound && first.refused.is_empty() {
            // Without an address a record is only shown to be readable, which is more than the one that stands there.
            let there = self.instead.is_some() || Selection::of(self.at_record) != Selection::None;
            return Some((!addresses.is_empty() || (self.broken && there)).then_some(base));
        }
        if !Policy::parse(base.as_bytes()).mistakes().is_empty() {
            return Some(None);
        }
        for by_name in [true, false] {
            let Some(text) = self.with_terms(&base, &first.refused, by_name) else { continue };
            let trial = self.trial(&text, &addresses)?;
            if trial.sound && trial.refused.is_empty() {
                return Some(Some(text));
            }
        }
        Some(None)
    }

    /// What stands at the domain, without what is wrong with it.
    fn base(&self) -> Option<String> {
        if let Some(text) = &self.instead {
            return Some(text.clone());
        }
        match Selection::of(self.at_record) {
            Selection::None => Some("v=spf1 ~all".to_owned()),
            Selection::One(policy) => Some(mended(&policy)),
            Selection::Several(_) => {
                let Outcome::Found(Values::Txt(texts)) = &self.at_record.outcome else { return None };
                merged(texts.iter().map(|text| text.joined().into_owned()).filter(|text| is_record(text)).collect())
            }
        }
    }

    /// The record with those let in that it refuses: by the provider's name or by their addresses, all of them.
    fn with_terms(&self, base: &str, refused: &[IpAddr], by_name: bool) -> Option<String> {
        let mut terms: Vec<String> = Vec::new();
        for (stream, sending) in &self.peers {
            let own: Vec<&IpAddr> = sending.addresses.iter().filter(|ip| refused.contains(ip)).collect();
            if own.is_empty() {
                continue;
            }
            match provider_name(stream, sending).filter(|_| by_name) {
                Some(name) => terms.push(format!("include:{name}")),
                None if sending.sampled_from.is_some() => return None,
                None => terms.extend(own.into_iter().map(|ip| super::address_term(*ip))),
            }
        }
        let mut unique: Vec<String> = Vec::new();
        for term in terms {
            if !unique.contains(&term) {
                unique.push(term);
            }
        }
        let policy = Policy::parse(base.as_bytes());
        let end = policy.terms().iter().find_map(|part| match &part.kind {
            TermKind::Directive(_, Mechanism::All) | TermKind::Redirect(_) => Some(part.span.start),
            _ => None,
        });
        let (head, tail) = end.and_then(|end| base.split_at_checked(end)).unwrap_or((base, ""));
        Some(format!("{} {} {tail}", head.trim_end(), unique.join(" ")).trim_end().to_owned())
    }
}

/// The provider's name for a stream, where that may be included: it lists the addresses, or somebody named it.
fn provider_name(stream: &Stream, sending: &Sending) -> Option<Name> {
    sending.sampled_from.clone().or_else(|| {
        let (name, _) = include_of(stream).filter(|_| stream.spf_name.is_some())?;
        Some(name)
    })
}

/// A record with what the linter says in the place of what is wrong.
fn mended(policy: &Policy) -> String {
    let linted = lint(policy.bytes());
    let mut text = policy.bytes().to_vec();
    let mut ends = text.len();
    for (range, instead) in linted.findings.iter().rev().filter_map(|finding| finding.instead.as_ref()) {
        if range.start <= range.end && range.end <= ends {
            text.splice(range.clone(), instead.bytes());
            ends = range.start;
        }
    }
    String::from_utf8_lossy(&text).split(' ').filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// One record out of several, the same in whatever order they stand: the terms of all that are reached, each once, a redirect as an
/// include, the weakest end, one `exp` at most. `None` where a record cannot be read or a term's place matters.
fn merged(mut texts: Vec<Vec<u8>>) -> Option<String> {
    texts.sort_unstable();
    let (mut terms, mut exp, mut weakest): (Vec<String>, Option<String>, _) = (Vec::new(), None, Qualifier::Fail);
    let rank = |end: Qualifier| match end {
        Qualifier::Fail => 0,
        // Everybody may pass in no record that is offered.
        Qualifier::SoftFail | Qualifier::Pass => 1,
        Qualifier::Neutral => 2,
    };
    for text in &texts {
        let policy = Policy::parse(text);
        if !policy.mistakes().is_empty() {
            return None;
        }
        let mut end = None;
        let mut redirect = None;
        for (index, term) in policy.terms().iter().enumerate() {
            let own = policy.term_text(index);
            match &term.kind {
                TermKind::Directive(..) if end.is_some() => {}
                TermKind::Directive(qualifier, Mechanism::All) => end = Some(*qualifier),
                TermKind::Directive(Qualifier::Pass, _) => {
                    let own = own.trim_start_matches('+').to_owned();
                    if !terms.iter().any(|known| known.eq_ignore_ascii_case(&own)) {
                        terms.push(own);
                    }
                }
                // What refuses does so only to what comes behind it.
                TermKind::Directive(..) => return None,
                TermKind::Redirect(to) => redirect = Some(to.fixed()?.clone()),
                TermKind::Explanation(_) => exp = Some(exp.map_or_else(|| own.clone(), |known| known.min(own.clone()))),
                TermKind::Unknown => {}
            }
        }
        if end.is_none()
            && let Some(to) = redirect
        {
            let include = format!("include:{to}");
            if !terms.contains(&include) {
                terms.push(include);
            }
            end = Some(Qualifier::SoftFail);
        }
        let end = end.unwrap_or(Qualifier::Neutral);
        if rank(end) > rank(weakest) {
            weakest = if end == Qualifier::Pass { Qualifier::SoftFail } else { end };
        }
    }
    terms.extend(exp);
    terms.push(format!("{weakest}all"));
    Some(format!("v=spf1 {}", terms.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merge(texts: &[&str]) -> Option<String> {
        merged(texts.iter().map(|text| text.as_bytes().to_vec()).collect())
    }

    #[test]
    fn several_records_become_one_whatever_their_order() {
        let one = "v=spf1 include:a.example exp=x.example -all ip4:192.0.2.9";
        let two = "v=spf1 ip4:192.0.2.1 exp=b.example redirect=_spf.example.com";
        let wanted = "v=spf1 include:a.example ip4:192.0.2.1 include:_spf.example.com exp=b.example ~all";
        assert_eq!(merge(&[one, two]).as_deref(), Some(wanted));
        assert_eq!(merge(&[two, one]).as_deref(), Some(wanted));
        assert_eq!(merge(&["v=spf1 a -all", "v=spf1 mx"]).as_deref(), Some("v=spf1 a mx ?all"), "no end is neutral");
        assert_eq!(merge(&["v=spf1 +all", "v=spf1 mx -all"]).as_deref(), Some("v=spf1 mx ~all"));
        assert_eq!(merge(&["v=spf1 -ip4:192.0.2.1 a -all", "v=spf1 mx -all"]), None, "the place of a refusal matters");
        assert_eq!(merge(&["v=spf1 moo", "v=spf1 mx -all"]), None);
    }
}
