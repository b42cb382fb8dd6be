//! Any SPF records, any answers: no panic, an end within the steps and questions that are promised, and the same verdict where
//! one question is asked after the other.

use std::net::IpAddr;

use relaywatch::sources::{
    answer::{Answer, Exchange, Kind, Name, Outcome, Question, Text, Values},
    spf::{self, Answers, Known, Policy, Query, SpfResult, Step, SurveyStep, Verdict, Visit},
};

/// Names that records can lead to.
const NAMES: &[&str] = &["example.com", "a.example.com", "b.example.com", "c.example.org"];
/// The most questions of one check, whatever it meets.
const MAX_QUESTIONS: usize = spf::MAX_STEPS as usize * spf::MAX_AT_ONCE;

/// What DNS says in this input: each line of it is a record of one of the names, or what else comes back.
struct Dns<'a> {
    lines: Vec<&'a [u8]>,
}

impl Dns<'_> {
    fn line(&self, question: &Question) -> Option<&[u8]> {
        let place = NAMES.iter().position(|name| *name == question.name.as_str());
        let place = place.unwrap_or_else(|| question.name.as_str().len());
        let kind = usize::from(question.kind == Kind::Txt);
        let count = self.lines.len().max(1);
        self.lines.get((place + 3 * (1 - kind)) % count).copied()
    }

    fn answer(&self, question: &Question) -> Answer {
        let line = self.line(question).unwrap_or_default();
        let first = line.first().copied().unwrap_or_default();
        let name = |at: usize| Name::parse(NAMES[(usize::from(first) + at) % NAMES.len()]).expect("a name");
        let many = usize::from(first % 16);
        let outcome = match (question.kind, first) {
            (_, b'0') => Outcome::NoData,
            (_, b'1') => Outcome::NoSuchDomain,
            (_, b'2') => Outcome::ServerFailure,
            (_, b'3') => Outcome::TimedOut,
            (_, b'4') => Outcome::Bogus,
            (Kind::Txt, _) => Outcome::Found(Values::Txt(
                line.split(|byte| *byte == 1).map(|text| Text::new(text.chunks(255))).collect(),
            )),
            (Kind::A, _) => Outcome::Found(Values::A(vec![[192, 0, 2, first % 4].into()])),
            (Kind::Aaaa, _) => {
                Outcome::Found(Values::Aaaa(vec![[0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(first % 4)].into()]))
            }
            (Kind::Mx, _) => Outcome::Found(Values::Mx(
                (0..many).map(|at| Exchange { preference: first.into(), host: name(at) }).collect(),
            )),
            (Kind::Ptr, _) => Outcome::Found(Values::Ptr((0..many).map(name).collect())),
        };
        Answer::of(outcome)
    }

    /// The verdict where so many questions are answered at a time.
    fn verdict(&self, query: &Query<'_>, at_once: usize) -> Verdict {
        let mut known = Known::default();
        let mut steps = 0;
        loop {
            match spf::check(query, &known) {
                Step::Done(verdict) => return *verdict,
                Step::Need(questions) => {
                    steps += 1;
                    assert!(!questions.is_empty() && questions.len() <= spf::MAX_AT_ONCE);
                    assert!(at_once == 1 || steps <= spf::MAX_STEPS, "{steps} steps");
                    for question in questions.into_iter().take(at_once) {
                        assert!(known.answer(&question).is_none(), "{question} is asked again");
                        let answer = self.answer(&question);
                        known.insert(question, answer);
                    }
                    assert!(known.len() <= MAX_QUESTIONS, "{} questions", known.len());
                }
            }
        }
    }
}

/// Counts what the first name's record asks whoever sends.
fn survey(dns: &Dns<'_>) {
    let mut known = Known::default();
    let domain = Name::parse(NAMES[0]).expect("a name");
    loop {
        match spf::survey(&domain, &known) {
            SurveyStep::Done(survey) => {
                // Each record has the terms of its line.
                let terms = dns.lines.iter().map(|line| line.len()).max().unwrap_or_default();
                assert!(survey.lookups as usize <= terms * spf::MAX_RECORDS as usize);
                return;
            }
            SurveyStep::Need(questions) => {
                assert!(!questions.is_empty() && questions.len() <= spf::MAX_AT_ONCE);
                for question in questions {
                    assert!(known.answer(&question).is_none(), "{question} is asked again");
                    let answer = dns.answer(&question);
                    known.insert(question, answer);
                }
            }
        }
    }
}

/// The nodes of a tree.
fn nodes(visit: &Visit) -> usize {
    visit.tried.iter().map(|tried| 1 + tried.child.as_deref().map_or(0, nodes)).sum()
}

/// Checks one input: the records, a line each; the first two lines are the sender and the HELO name.
pub fn check(data: &[u8]) {
    for line in data.split(|byte| *byte == b'\n') {
        let lint = spf::lint(line);
        for finding in &lint.findings {
            assert!(finding.span.start <= finding.span.end && finding.span.end <= line.len(), "{finding:?}");
            if let Some((span, _)) = &finding.instead {
                assert!(span.start <= span.end && span.end <= line.len(), "{finding:?}");
            }
        }
        if spf::is_record(line) {
            let policy = Policy::parse(line);
            for term in policy.terms() {
                assert!(term.span.start < term.span.end && term.span.end <= line.len());
            }
        }
    }
    let mut lines = data.split(|byte| *byte == b'\n');
    let [mail_from, helo] = [lines.next(), lines.next()].map(|line| String::from_utf8_lossy(line.unwrap_or_default()));
    let dns = Dns { lines: lines.take(64).collect() };
    survey(&dns);
    for ip in [IpAddr::from([192, 0, 2, 1]), IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1])] {
        let query = Query { ip, mail_from: &mail_from, helo: &helo, receiver: "mx.example.net", at: None };
        let verdict = dns.verdict(&query, usize::MAX);
        assert_eq!(verdict, dns.verdict(&query, 1));
        assert!(verdict.lookups <= spf::MAX_LOOKUPS + 1 && verdict.voids <= spf::MAX_VOIDS + 1);
        assert!(verdict.explanation.is_none() || verdict.result == SpfResult::Fail);
        let text = verdict.explanation.as_deref().unwrap_or_default();
        assert!(text.len() <= 4_096 && text.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
        let failed = matches!(verdict.result, SpfResult::TempError | SpfResult::PermError);
        assert!(verdict.fault.is_some() || !failed);
        // Each record adds its terms that ask, which are counted, and one that decides.
        assert!(verdict.tree.as_ref().map_or(0, nodes) <= 2 * (spf::MAX_LOOKUPS as usize + 2));
    }
}
