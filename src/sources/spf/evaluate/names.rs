//! What needs the client's own names or comes after the result: `ptr`, `%{p}`, the explanation.

use crate::sources::answer::{Kind, Name, Outcome, Question, Values};

use super::{EXACT, Found, Matched, Run};
use crate::sources::spf::{
    Answers, MAX_HOSTS,
    macros::{MacroString, Place},
    mistake::NoExplanation,
    record::{DomainSpec, TermKind},
    verdict::{Looked, Tried, Visit},
};

impl<'a, A: Answers> Run<'a, A> {
    /// Section 5.5: trouble of DNS is no match.
    pub(super) fn ptr(&mut self, spec: Option<&DomainSpec>, domain: &Name, tried: &mut Tried) -> Matched {
        let Ok(Some(target)) = self.target_or_own(spec, domain, tried) else { return Matched::No };
        let Some(outcome) = self.reverse(&mut tried.looked) else { return Matched::No };
        tried.void = outcome.is_absence();
        let Outcome::Found(Values::Ptr(names)) = outcome else { return Matched::No };
        for name in names.iter().take(MAX_HOSTS).filter(|name| name.is_within(&target)) {
            if let Found::Yes = self.address_of(name.clone(), &EXACT, &mut tried.looked) {
                return Matched::Yes;
            }
        }
        Matched::No
    }

    fn reverse(&mut self, looked: &mut Vec<Looked>) -> Option<&'a Outcome> {
        let question = Question::new(Name::of_address(self.ip), Kind::Ptr);
        self.ask(&question, looked).map(|answer| &answer.outcome)
    }

    /// The validated name of the client for `%{p}` (section 7.3). `None` where something is not known yet.
    #[expect(clippy::option_option, reason = "not known yet is another thing than no such name")]
    pub(super) fn validated_name(&mut self, domain: &Name, looked: &mut Vec<Looked>) -> Option<Option<Name>> {
        let Outcome::Found(Values::Ptr(names)) = self.reverse(looked)? else { return Some(None) };
        let mut unknown = false;
        let mut best: Option<(u8, &Name)> = None;
        for name in names.iter().take(MAX_HOSTS) {
            match self.address_of(name.clone(), &EXACT, looked) {
                Found::Yes => {
                    let rank = if name == domain { 0 } else { 1 + u8::from(!name.is_within(domain)) };
                    best = Some(best.map_or((rank, name), |best| best.min((rank, name))));
                }
                Found::Unknown => unknown = true,
                Found::No { .. } | Found::Trouble(..) => {}
            }
        }
        if unknown { None } else { Some(best.map(|(_, name)| name.clone())) }
    }

    /// What the domain says about a `fail` (section 6.2). `None` where something is not known yet.
    pub(super) fn explanation(&mut self, decider: &Visit) -> Option<Result<Option<String>, NoExplanation>> {
        let policy = decider.policy.as_ref()?;
        let term = policy.explanation.and_then(|index| policy.terms.get(index));
        let Some(TermKind::Explanation(spec)) = term.map(|term| &term.kind) else { return Some(Ok(None)) };
        let mut tried = Tried::new(0);
        let target = match self.target(spec, &decider.domain, &mut tried) {
            Ok(Some(target)) => target,
            Ok(None) => return None,
            Err(_) => return Some(Err(NoExplanation::Target)),
        };
        let answer = self.ask(&Question::new(target, Kind::Txt), &mut tried.looked)?;
        let text = match &answer.outcome {
            Outcome::Found(Values::Txt(texts)) => match texts.as_slice() {
                [text] => text.joined(),
                _ => return Some(Err(NoExplanation::Several)),
            },
            outcome if outcome.is_trouble() => return Some(Err(NoExplanation::Trouble)),
            _ => return Some(Err(NoExplanation::Absent)),
        };
        let parsed = match MacroString::parse(&text, Place::Explanation) {
            Ok(parsed) => parsed,
            Err((span, kind)) => return Some(Err(NoExplanation::Mistake(span, kind))),
        };
        let validated =
            if parsed.needs_validated() { self.validated_name(&decider.domain, &mut tried.looked)? } else { None };
        let text = parsed.explanation(&self.facts(&decider.domain, validated.as_ref()));
        Some(text.map(Some).ok_or(NoExplanation::Expanded))
    }
}
