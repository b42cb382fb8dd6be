//! What DNS holds at a question, in the form in which two answers are compared.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::super::answer::{Answer, Exchange, Kind, Name, Outcome, Text, Values};
use crate::model::{FNV1A_BASIS, fnv1a, words};

/// How many bytes of text the records of one question are kept in. What goes beyond is one digest, so that no stranger's record
/// (an `include` can lead anywhere) fills the journal.
pub(super) const MAX_BYTES: usize = 16 * 1024;

/// How the texts begin that mail looks at; they are kept first where there is too much.
const OF_MAIL: [&str; 4] = ["v=spf1", "v=dkim1", "v=dmarc1", "k="];

words! {
    /// Whether there are records.
    pub enum State {
        /// There are.
        Value = 1, "value";
        /// The name exists, without records of this kind.
        NoData = 2, "no-data";
        /// The name does not exist.
        NoSuchDomain = 3, "no-such-domain";
    }
}

/// What DNS holds at a question: records as a set, without order, TTL, or case in names, and apart from them the chain of CNAMEs
/// that leads there. A text is joined from its strings, as SPF, DKIM and DMARC read it: where it is cut makes no difference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fact {
    /// Whether there are records.
    pub state: State,
    /// The names that the CNAMEs lead through, in order.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// The records as a zone file has them, names without the last dot; bytes of a text that do not print as `\DDD` (RFC 1035
    /// section 5.1).
    #[serde(default)]
    pub values: BTreeSet<String>,
}

impl Fact {
    /// What an answer says; `None` where it is trouble, which says nothing.
    #[must_use]
    pub fn of(answer: &Answer) -> Option<Self> {
        let (state, values) = match &answer.outcome {
            Outcome::Found(values) => (State::Value, bounded(texts(values))),
            Outcome::NoData => (State::NoData, BTreeSet::new()),
            Outcome::NoSuchDomain => (State::NoSuchDomain, BTreeSet::new()),
            Outcome::ServerFailure | Outcome::TimedOut | Outcome::Bogus => return None,
        };
        Some(Self { state, aliases: answer.aliases.iter().map(Name::to_string).collect(), values })
    }

    /// The same as an answer to a question of this kind.
    #[must_use]
    pub fn answer(&self, kind: Kind) -> Answer {
        let outcome = match self.state {
            State::Value => Outcome::Found(read(kind, &self.values)),
            State::NoData => Outcome::NoData,
            State::NoSuchDomain => Outcome::NoSuchDomain,
        };
        Answer { outcome, ttl: None, aliases: self.aliases.iter().filter_map(|name| Name::of_text(name)).collect() }
    }

    /// Whether there are no records.
    #[must_use]
    pub const fn is_absence(&self) -> bool {
        !matches!(self.state, State::Value)
    }

    /// The records for people, in one line of at most `max` letters.
    #[must_use]
    pub fn shown(&self, max: usize) -> String {
        let values: Vec<&str> = self.values.iter().map(String::as_str).collect();
        let mut text = match self.state {
            State::Value => values.join(" | "),
            State::NoData => "no record of this kind".to_owned(),
            State::NoSuchDomain => "no such name".to_owned(),
        };
        if let Some(last) = self.aliases.last() {
            text = format!("{text} (by CNAME to {last})");
        }
        super::super::finding::shown(text.as_bytes(), max)
    }
}

/// The records as texts.
fn texts(values: &Values) -> Vec<String> {
    match values {
        Values::A(all) => all.iter().map(ToString::to_string).collect(),
        Values::Aaaa(all) => all.iter().map(ToString::to_string).collect(),
        Values::Mx(all) => all.iter().map(|mx| format!("{} {}", mx.preference, mx.host)).collect(),
        Values::Ptr(all) => all.iter().map(ToString::to_string).collect(),
        Values::Txt(all) => all.iter().map(|text| escaped(&text.joined())).collect(),
    }
}

/// The set, as far as it is kept.
fn bounded(texts: Vec<String>) -> BTreeSet<String> {
    let set: BTreeSet<String> = texts.into_iter().collect();
    if set.iter().map(String::len).sum::<usize>() <= MAX_BYTES {
        return set;
    }
    let of_mail = |text: &String| {
        let begin: String = text.chars().take(8).collect::<String>().to_ascii_lowercase();
        OF_MAIL.iter().any(|word| begin.starts_with(word))
    };
    let (first, rest): (Vec<String>, Vec<String>) = set.into_iter().partition(of_mail);
    let (mut kept, mut bytes, mut left, mut digest) = (BTreeSet::new(), 0, 0_usize, FNV1A_BASIS);
    for text in first.into_iter().chain(rest) {
        bytes += text.len();
        if bytes <= MAX_BYTES {
            kept.insert(text);
        } else {
            left += 1;
            digest = fnv1a(fnv1a(digest, text.as_bytes()), b"\n");
        }
    }
    kept.insert(format!("({left} more, {digest:016x})"));
    kept
}

/// The records that texts stand for; what stands for none is left out.
fn read(kind: Kind, texts: &BTreeSet<String>) -> Values {
    match kind {
        Kind::A => Values::A(texts.iter().filter_map(|text| text.parse().ok()).collect()),
        Kind::Aaaa => Values::Aaaa(texts.iter().filter_map(|text| text.parse().ok()).collect()),
        Kind::Mx => Values::Mx(
            texts
                .iter()
                .filter_map(|text| {
                    let (preference, host) = text.split_once(' ')?;
                    Some(Exchange { preference: preference.parse().ok()?, host: Name::of_text(host)? })
                })
                .collect(),
        ),
        Kind::Ptr => Values::Ptr(texts.iter().filter_map(|text| Name::of_text(text)).collect()),
        Kind::Txt => Values::Txt(
            texts.iter().map(|text| Text::new(super::super::answer::unescaped(text.as_bytes()).chunks(255))).collect(),
        ),
    }
}

/// A text's bytes in a form that prints and can be read back.
fn escaped(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        if *byte == b' ' || (byte.is_ascii_graphic() && *byte != b'\\') {
            out.push(char::from(*byte));
        } else {
            out.push('\\');
            out.extend([byte / 100, byte / 10 % 10, byte % 10].map(|digit| char::from(b'0' + digit)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts_of(all: &[&[u8]]) -> Answer {
        Answer::found(Values::Txt(all.iter().map(|text| Text::new(text.chunks(255))).collect()))
    }

    #[test]
    fn order_ttl_case_of_names_and_the_cut_of_texts_make_no_difference() {
        let one = Answer {
            ttl: Some(60),
            ..Answer::found(Values::Txt(vec![Text::from("b"), Text::new(["v=spf1 ".as_bytes(), b"-all"])]))
        };
        let other = Answer::found(Values::Txt(vec![Text::from("v=spf1 -all"), Text::from("b")]));
        assert_eq!(Fact::of(&one), Fact::of(&other));
        let mx = |host: &str| {
            let host = Name::parse(host).expect("a name");
            Fact::of(&Answer::found(Values::Mx(vec![Exchange { preference: 10, host }])))
        };
        assert_eq!(mx("MX.Example.com."), mx("mx.example.com"));
        assert_ne!(Fact::of(&texts_of(&[b"p=AAAA"])), Fact::of(&texts_of(&[b"p=aaaa"])), "keys have case");
    }

    #[test]
    fn trouble_says_nothing_and_absences_are_kept_apart() {
        for trouble in [Outcome::ServerFailure, Outcome::TimedOut, Outcome::Bogus] {
            assert_eq!(Fact::of(&Answer::of(trouble)), None);
        }
        assert_ne!(Fact::of(&Answer::of(Outcome::NoData)), Fact::of(&Answer::of(Outcome::NoSuchDomain)));
    }

    #[test]
    fn too_much_is_kept_as_far_as_mail_looks_at_it() {
        let many: Vec<String> =
            (0..10_000).map(|number| format!("some verification of a stranger, {number}")).collect();
        let mut all: Vec<&[u8]> = many.iter().map(String::as_bytes).collect();
        all.push(b"v=spf1 -all");
        let fact = Fact::of(&texts_of(&all)).expect("a fact");
        assert!(fact.values.contains("v=spf1 -all"));
        assert!(fact.values.iter().map(String::len).sum::<usize>() < MAX_BYTES + 100);
        all[9_999] = b"something else";
        assert_ne!(Some(fact), Fact::of(&texts_of(&all)), "what is not kept still counts");
    }

    proptest! {
        #[test]
        fn a_fact_is_read_back_as_it_was(texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..4)) {
            let all: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
            let fact = Fact::of(&texts_of(&all)).expect("a fact");
            prop_assert_eq!(Fact::of(&fact.answer(Kind::Txt)), Some(fact.clone()));
            let json = serde_json::to_string(&fact).expect("JSON");
            prop_assert_eq!(serde_json::from_str::<Fact>(&json).expect("read"), fact);
        }
    }
}
