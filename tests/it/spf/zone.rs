//! Records of a test, and what a server makes of a question for them.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
};

use relaywatch::sources::answer::{Answer, Exchange, Kind, Name, Outcome, Question, Text, Values};

/// One line of a zone.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Entry {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Mx(u16, Name),
    Txt(Text),
    Ptr(Name),
    Cname(Name),
    /// Questions for which there is no record get no answer.
    Silence,
    /// Questions get a failure.
    Failure,
}

impl Entry {
    /// Whether a question of this kind is answered with it.
    pub(crate) const fn is(&self, kind: Kind) -> bool {
        matches!(
            (self, kind),
            (Self::A(_), Kind::A)
                | (Self::Aaaa(_), Kind::Aaaa)
                | (Self::Mx(..), Kind::Mx)
                | (Self::Txt(_), Kind::Txt)
                | (Self::Ptr(_), Kind::Ptr)
        )
    }
}

/// In which order the records of an answer stand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Order {
    AsWritten,
    Reversed,
}

/// All records of a scenario.
#[derive(Debug, Clone, Default)]
pub(crate) struct Zone(BTreeMap<Name, Vec<Entry>>);

/// What a server finds at one name.
#[derive(Debug, PartialEq)]
pub(crate) enum Found<'a> {
    Records(Vec<&'a Entry>),
    Alias(&'a Name),
    NoData,
    NoSuchDomain,
    Silence,
    Failure,
}

/// A name of a test; nothing is the root.
pub(crate) fn name(text: &str) -> Name {
    if text.is_empty() { Name::root() } else { Name::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")) }
}

/// A zone of lines: owner, kind, value.
pub(crate) fn of(lines: &[(&str, &str, &str)]) -> Zone {
    let mut zone = Zone::default();
    for (owner, kind, value) in lines {
        let entry = match *kind {
            "A" => Entry::A(value.parse().expect("an IPv4 address")),
            "CNAME" => Entry::Cname(name(value)),
            "TXT" => Entry::Txt(Text::from(*value)),
            "MX" => {
                let (preference, host) = value.split_once(' ').expect("a preference and a host");
                Entry::Mx(preference.parse().expect("a preference"), name(host))
            }
            "TIMEOUT" => Entry::Silence,
            "RCODE" => Entry::Failure,
            other => panic!("{other} is no kind of line"),
        };
        zone.add(name(owner), entry);
    }
    zone
}

impl Zone {
    pub(crate) fn declare(&mut self, owner: Name) {
        self.0.entry(owner).or_default();
    }

    pub(crate) fn add(&mut self, owner: Name, entry: Entry) {
        self.0.entry(owner).or_default().push(entry);
    }

    pub(crate) fn find(&self, name: &Name, kind: Option<Kind>, order: Order) -> Found<'_> {
        let Some(entries) = self.0.get(name) else {
            // A name between others exists, without records.
            let between = self.0.keys().any(|other| other.is_within(name));
            return if between { Found::NoData } else { Found::NoSuchDomain };
        };
        if entries.contains(&Entry::Failure) {
            return Found::Failure;
        }
        let mut records: Vec<&Entry> = entries.iter().filter(|entry| kind.is_some_and(|kind| entry.is(kind))).collect();
        if order == Order::Reversed {
            records.reverse();
        }
        let alias = entries.iter().find_map(|entry| if let Entry::Cname(to) = entry { Some(to) } else { None });
        match alias {
            _ if !records.is_empty() => Found::Records(records),
            Some(alias) => Found::Alias(alias),
            None if entries.contains(&Entry::Silence) => Found::Silence,
            None => Found::NoData,
        }
    }

    /// What comes of a question in the end, without sockets.
    pub(crate) fn answer(&self, question: &Question, order: Order) -> Answer {
        let (mut name, mut aliases) = (&question.name, Vec::new());
        loop {
            let outcome = match self.find(name, Some(question.kind), order) {
                Found::Records(records) => Outcome::Found(values(question.kind, &records)),
                Found::Alias(to) if aliases.contains(to) => Outcome::ServerFailure,
                Found::Alias(to) => {
                    aliases.push(to.clone());
                    name = to;
                    continue;
                }
                Found::NoData => Outcome::NoData,
                Found::NoSuchDomain => Outcome::NoSuchDomain,
                Found::Silence => Outcome::TimedOut,
                Found::Failure => Outcome::ServerFailure,
            };
            return Answer { outcome, ttl: None, aliases };
        }
    }
}

fn values(kind: Kind, records: &[&Entry]) -> Values {
    let entries = || records.iter().copied().cloned();
    match kind {
        Kind::A => {
            Values::A(entries().filter_map(|entry| if let Entry::A(a) = entry { Some(a) } else { None }).collect())
        }
        Kind::Aaaa => Values::Aaaa(
            entries().filter_map(|entry| if let Entry::Aaaa(a) = entry { Some(a) } else { None }).collect(),
        ),
        Kind::Txt => Values::Txt(
            entries().filter_map(|entry| if let Entry::Txt(text) = entry { Some(text) } else { None }).collect(),
        ),
        Kind::Ptr => Values::Ptr(
            entries().filter_map(|entry| if let Entry::Ptr(name) = entry { Some(name) } else { None }).collect(),
        ),
        Kind::Mx => Values::Mx(
            entries()
                .filter_map(|entry| {
                    let Entry::Mx(preference, host) = entry else { return None };
                    Some(Exchange { preference, host })
                })
                .collect(),
        ),
    }
}
