//! The evaluator on records written for it, in memory.

mod ahead;
mod hostile;
mod lints;
mod results;
mod surveys;
mod syntax;

use crate::sources::answer::{Answer, Exchange, Kind, Name, Outcome, Question, Text, Values};

use super::*;

fn name(text: &str) -> Name {
    if text == "." { Name::root() } else { Name::parse(text).expect(text) }
}

/// DNS of a test: lines of an owner, a kind and a value. Several lines of one kind are one answer; what has no line doesn't exist.
#[derive(Clone)]
struct Dns(Vec<(Question, Outcome)>);

impl Dns {
    fn of(lines: &[(&str, &str, &str)]) -> Self {
        let mut dns = Self(Vec::new());
        for (owner, kind, value) in lines {
            let (kind, outcome) = match *kind {
                "A" => (Kind::A, Outcome::Found(Values::A(vec![value.parse().expect(value)]))),
                "AAAA" => (Kind::Aaaa, Outcome::Found(Values::Aaaa(vec![value.parse().expect(value)]))),
                "TXT" => (Kind::Txt, Outcome::Found(Values::Txt(vec![Text::from(*value)]))),
                "PTR" => (Kind::Ptr, Outcome::Found(Values::Ptr(vec![name(value)]))),
                "MX" => {
                    let (preference, host) = value.split_once(' ').expect("a preference and a host");
                    let exchange = Exchange { preference: preference.parse().expect("a number"), host: name(host) };
                    (Kind::Mx, Outcome::Found(Values::Mx(vec![exchange])))
                }
                other => {
                    let kind = match other {
                        "A!" => Kind::A,
                        "TXT!" => Kind::Txt,
                        "MX!" => Kind::Mx,
                        "PTR!" => Kind::Ptr,
                        _ => panic!("{other} is no kind"),
                    };
                    let outcome = match *value {
                        "no data" => Outcome::NoData,
                        "failure" => Outcome::ServerFailure,
                        "time-out" => Outcome::TimedOut,
                        "bogus" => Outcome::Bogus,
                        _ => panic!("{value} is no outcome"),
                    };
                    (kind, outcome)
                }
            };
            dns.add(Question::new(name(owner), kind), outcome);
        }
        dns
    }

    fn add(&mut self, question: Question, outcome: Outcome) {
        let Some((_, known)) = self.0.iter_mut().find(|(known, _)| *known == question) else {
            self.0.push((question, outcome));
            return;
        };
        match (known, outcome) {
            (Outcome::Found(Values::A(known)), Outcome::Found(Values::A(more))) => known.extend(more),
            (Outcome::Found(Values::Aaaa(known)), Outcome::Found(Values::Aaaa(more))) => known.extend(more),
            (Outcome::Found(Values::Txt(known)), Outcome::Found(Values::Txt(more))) => known.extend(more),
            (Outcome::Found(Values::Ptr(known)), Outcome::Found(Values::Ptr(more))) => known.extend(more),
            (Outcome::Found(Values::Mx(known)), Outcome::Found(Values::Mx(more))) => known.extend(more),
            (known, more) => panic!("{known:?} and {more:?}"),
        }
    }

    fn answer(&self, question: &Question) -> Answer {
        let found = self.0.iter().find(|(known, _)| known == question).map(|(_, outcome)| outcome.clone());
        Answer::of(found.unwrap_or(Outcome::NoSuchDomain))
    }

    /// Asks until it is done; the questions of each step.
    fn run(&self, query: &Query<'_>) -> (Verdict, Vec<Vec<Question>>) {
        let (mut known, mut steps) = (Known::default(), Vec::new());
        loop {
            match check(query, &known) {
                Step::Done(verdict) => return (*verdict, steps),
                Step::Need(questions) => {
                    for question in &questions {
                        known.insert(question.clone(), self.answer(question));
                    }
                    steps.push(questions);
                    assert!(steps.len() <= usize::try_from(MAX_STEPS).expect("small"), "{steps:?}");
                }
            }
        }
    }

    /// The verdict for mail of `someone@example.com` from 192.0.2.1.
    fn verdict(&self) -> Verdict {
        self.run(&QUERY).0
    }
}

const QUERY: Query<'static> = Query {
    ip: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    mail_from: "someone@example.com",
    helo: "mail.example.net",
    receiver: "mx.example.org",
    at: None,
};

/// The verdict on one record of example.com without other records.
fn of_record(record: &str) -> Verdict {
    Dns::of(&[("example.com", "TXT", record)]).verdict()
}
