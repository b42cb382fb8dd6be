//! A small DNS in memory, for tests.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    answer::{Answer, Exchange, Kind, Name, Outcome, Question, Text, Values},
    spf::Known,
};

/// A name that is one.
pub(super) fn name(text: &str) -> Name {
    Name::parse(text).expect(text)
}

/// The base64 of an RSA public key whose modulus has so many bits. No prime is behind it: its size is all that is read.
pub(super) fn rsa(bits: usize) -> String {
    let mut modulus = vec![0xa5_u8; bits.div_ceil(8)];
    modulus[0] = 1 << ((bits + 7) % 8);
    if modulus[0] >= 0x80 {
        modulus.insert(0, 0);
    }
    let key = element(0x30, &[element(0x02, &modulus), element(0x02, &[1, 0, 1])].concat());
    let algorithm = [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    let bit_string = element(0x03, &[&[0], key.as_slice()].concat());
    STANDARD.encode(element(0x30, &[&algorithm[..], &bit_string].concat()))
}

/// A DER element.
pub(super) fn element(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut out = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        Ok(long) => out.extend([0x81, long]),
        Err(_) => {
            out.push(0x82);
            out.extend(u16::try_from(length).expect("a small key").to_be_bytes());
        }
    }
    out.extend(body);
    out
}

/// A key record with an RSA key of so many bits.
pub(super) fn key_record(bits: usize) -> String {
    format!("v=DKIM1; k=rsa; p={}", rsa(bits))
}

/// Records by name and kind; what is not there does not exist, and a name that has something has no data of other kinds.
#[derive(Debug, Clone, Default)]
pub(super) struct Zone {
    answers: BTreeMap<(Name, Kind), Answer>,
    aliases: BTreeMap<Name, Name>,
}

impl Zone {
    /// Adds a TXT record.
    pub(super) fn txt(&mut self, at: &str, text: &str) -> &mut Self {
        let answer = self.answers.entry((name(at), Kind::Txt)).or_insert_with(|| Answer::texts([""; 0]));
        if let Outcome::Found(Values::Txt(texts)) = &mut answer.outcome {
            texts.push(Text::from(text));
        }
        self
    }

    /// Adds an MX record; `.` is the root.
    pub(super) fn mx(&mut self, at: &str, preference: u16, host: &str) -> &mut Self {
        let host = if host == "." { Name::root() } else { name(host) };
        let answer = self.answers.entry((name(at), Kind::Mx)).or_insert_with(|| Answer::found(Values::Mx(Vec::new())));
        if let Outcome::Found(Values::Mx(exchanges)) = &mut answer.outcome {
            exchanges.push(Exchange { preference, host });
        }
        self
    }

    /// Adds an IPv4 address.
    pub(super) fn a(&mut self, at: &str, ip: [u8; 4]) -> &mut Self {
        self.answers.insert((name(at), Kind::A), Answer::found(Values::A(vec![ip.into()])));
        self
    }

    /// Makes a name a CNAME of another.
    pub(super) fn cname(&mut self, at: &str, to: &str) -> &mut Self {
        self.aliases.insert(name(at), name(to));
        self
    }

    /// Takes the records of a kind away, so that there is no data or no such domain.
    pub(super) fn without(&mut self, at: &str, kind: Kind) -> &mut Self {
        self.answers.remove(&(name(at), kind));
        self
    }

    /// Puts other TXT records in the place of those that are there.
    pub(super) fn only(&mut self, at: &str, text: &str) -> &mut Self {
        self.without(at, Kind::Txt).txt(at, text)
    }

    /// Lets a question end so.
    pub(super) fn ends(&mut self, at: &str, kind: Kind, outcome: Outcome) -> &mut Self {
        self.answers.insert((name(at), kind), Answer::of(outcome));
        self
    }

    /// What a resolver would answer.
    pub(super) fn answer(&self, question: &Question) -> Answer {
        let (mut at, mut aliases) = (question.name.clone(), Vec::new());
        while let Some(to) = self.aliases.get(&at).filter(|_| aliases.len() < 8) {
            aliases.push(to.clone());
            at = to.clone();
        }
        let found = self.answers.get(&(at.clone(), question.kind)).cloned();
        let there =
            || self.answers.keys().map(|(name, _)| name).chain(self.aliases.keys()).any(|name| name.is_within(&at));
        let absence = || Answer::of(if there() { Outcome::NoData } else { Outcome::NoSuchDomain });
        Answer { aliases, ..found.unwrap_or_else(absence) }
    }

    /// Answers questions into what is known.
    pub(super) fn tell(&self, questions: Vec<Question>, known: &mut Known) {
        for question in questions {
            let answer = self.answer(&question);
            known.insert(question, answer);
        }
    }
}
