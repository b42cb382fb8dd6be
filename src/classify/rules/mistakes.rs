//! Every mistake of a rule file that can't be read, where TOML's own reader stops at the first.

use std::collections::HashMap;

use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue, Error, ValueDeserializer},
};

use super::file::{RawRule, RulesError, Wire};
use crate::model::nearest_word;

/// The key of the rules.
const RULE: &str = "rule";
/// What a file must have, and a rule; each with what stands in for it where it is missing or can't be read, so that what
/// else is wrong is told too. Nothing is wrong with a stand-in.
const OF_FILE: StandIns = StandIns { required: "version = 1", conditions: "" };
const OF_RULE: StandIns = StandIns {
    required: "name = \"x\"\ncause = \"recipient_unknown\"\nconfidence = 1.0\ndoc = \"\"",
    conditions: "receiver = [\"other\"]\nwording = [\"x\"]",
};
/// Keys of a rule that are no condition.
const NO_CONDITION: &[&str] =
    &["name", "cause", "fault", "action", "hard", "delay", "confidence", "doc", "samples", "near_misses"];

#[derive(Clone, Copy)]
struct StandIns {
    required: &'static str,
    /// For conditions that were taken out since they can't be read.
    conditions: &'static str,
}

/// All mistakes of a file, from top to bottom; `first` is what reading it as a whole gave. Where it is no TOML, only what is
/// no TOML is told: what stands there can't be known.
pub(super) fn all(name: &str, text: &str, first: &Error) -> Vec<RulesError> {
    let told = |offset: usize, problem: &str| RulesError::at(name, text, offset, plain(problem));
    let at = |error: &Error| told(error.span().map_or(0, |span| span.start), error.message());
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut found: Vec<RulesError> = errors.iter().map(at).collect();
    if found.is_empty() {
        let span = table.span();
        let mut head = table.into_inner();
        let rules = head.remove(RULE);
        found.extend(Reading::of::<Wire>(Spanned::new(span, head), OF_FILE, &told).1.found);
        match rules.map(|rules| (rules.span(), rules.into_inner())) {
            Some((_, DeValue::Array(rules))) => {
                let mut names = HashMap::new();
                for rule in rules {
                    found.extend(of_rule(name, text, rule, &mut names, &told));
                }
            }
            Some((span, _)) => {
                found.push(RulesError::at(name, text, span.start, "write each rule as a table [[rule]]"));
            }
            None => {}
        }
    }
    if found.is_empty() {
        found.push(at(first));
    }
    found.sort_by_key(|error| error.line);
    // One slip can break what follows on its line.
    found.dedup_by(|later, earlier| !errors.is_empty() && later.line == earlier.line);
    found
}

/// What TOML's reader says, without the names of Rust's types, and with the word that was meant.
fn plain(message: &str) -> String {
    let message = message.trim();
    let unknown = [("unknown field `", "key"), ("unknown variant `", "word")].into_iter().find_map(|(start, kind)| {
        let (word, expected) = message.strip_prefix(start)?.split_once("`, expected")?;
        Some((kind, word, expected.split('`').skip(1).step_by(2)))
    });
    if let Some((kind, word, known)) = unknown {
        if word == "rules" && known.clone().any(|known| known == RULE) {
            return "no key is called `rules`: write [[rule]] above each rule".to_owned();
        }
        return match nearest_word(word, known.clone()) {
            Some(meant) => format!("no {kind} is called `{word}` here: did you mean `{meant}`?"),
            None => {
                format!("no {kind} is called `{word}` here: write one of {}", known.collect::<Vec<_>>().join(", "))
            }
        };
    }
    let types = [("f32", "a number"), ("u32", "a whole number"), ("a sequence", "a list in brackets")];
    let told = types.iter().find_map(|(of, word)| {
        let head = message.strip_suffix(of)?;
        head.ends_with("expected ").then(|| format!("{head}{word}"))
    });
    told.unwrap_or_else(|| message.to_owned())
}

fn of_rule(
    file: &str,
    text: &str,
    value: Spanned<DeValue<'_>>,
    names: &mut HashMap<String, usize>,
    told: &impl Fn(usize, &str) -> RulesError,
) -> Vec<RulesError> {
    let span = value.span();
    let DeValue::Table(table) = value.into_inner() else {
        return vec![RulesError::at(file, text, span.start, "write each rule as a table [[rule]]")];
    };
    let (rule, Reading { mut found, unnamed, .. }) =
        Reading::of::<RawRule>(Spanned::new(span.clone(), table), OF_RULE, told);
    if let Some(mut rule) = rule {
        // A stand-in is no name that could be taken.
        let mut none = HashMap::new();
        let wrong = rule.check(file, text, span.start, if unnamed { &mut none } else { names });
        found.extend(wrong.into_iter().map(|error| RulesError { rule: error.rule.filter(|_| !unnamed), ..error }));
    }
    found
}

/// A table that is read again and again, each time without what could not be read the time before.
struct Reading<'t> {
    table: Spanned<DeTable<'t>>,
    found: Vec<RulesError>,
    /// Whether its name is a stand-in.
    unnamed: bool,
}

impl<'t> Reading<'t> {
    /// What can be read of a table, with stand-ins for `required` keys that are not there, and what was wrong with it.
    fn of<T: DeserializeOwned>(
        table: Spanned<DeTable<'t>>,
        stand_ins: StandIns,
        told: &impl Fn(usize, &str) -> RulesError,
    ) -> (Option<T>, Self) {
        let mut reading = Self { table, found: Vec::new(), unnamed: false };
        let absent = reading.stand_in(stand_ins.required);
        loop {
            let span = reading.table.span();
            let value = Spanned::new(span.clone(), DeValue::Table(reading.table.get_ref().clone()));
            let error = match T::deserialize(ValueDeserializer::from(value)) {
                Ok(read) => {
                    let meant = |key: &String| {
                        let said = format!("did you mean `{key}`?");
                        reading.found.iter().any(|error| error.problem.ends_with(&said))
                    };
                    let missing = absent.iter().filter(|key| !meant(key));
                    let missing: Vec<RulesError> =
                        missing.map(|key| told(span.start, &format!("missing field `{key}`"))).collect();
                    reading.found.extend(missing);
                    return (Some(read), reading);
                }
                Err(error) => error,
            };
            reading.found.push(told(error.span().unwrap_or(span).start, error.message()));
            let Some(key) = reading.take_out(&error) else { return (None, reading) };
            reading.stand_in(stand_ins.required);
            if !NO_CONDITION.contains(&key.as_str()) {
                reading.stand_in(stand_ins.conditions);
            }
        }
    }

    /// Puts stand-ins for keys that are not there, and gives those keys.
    fn stand_in(&mut self, stand_ins: &'static str) -> Vec<String> {
        let mut absent = Vec::new();
        let Ok(stand_ins) = DeTable::parse(stand_ins) else { return absent };
        for (key, value) in stand_ins.into_inner() {
            let key = key.into_inner();
            if !self.table.get_ref().contains_key(key.as_ref()) {
                self.unnamed |= key == "name";
                absent.push(key.clone().into_owned());
                // Nowhere in the file.
                self.table.get_mut().insert(Spanned::new(0..0, key), Spanned::new(0..0, value.into_inner()));
            }
        }
        absent
    }

    /// Takes out what an error is about, the element of a list or else the key; gives the key.
    fn take_out(&mut self, error: &Error) -> Option<String> {
        let place = error.span().filter(|place| !place.is_empty())?;
        let within = |start: usize, end: usize| start <= place.start && place.end <= end;
        let table = self.table.get_mut();
        let key = table.iter().find_map(|(key, value)| {
            within(key.span().start, value.span().end).then(|| key.get_ref().clone().into_owned())
        })?;
        if let Some(DeValue::Array(list)) = table.get_mut(key.as_str()).map(Spanned::get_mut) {
            let kept = |item: &&Spanned<DeValue<'_>>| !within(item.span().start, item.span().end);
            let rest: DeArray<'_> = list.iter().filter(kept).cloned().collect();
            if !rest.is_empty() && rest.len() < list.len() {
                *list = rest;
                return Some(key);
            }
        }
        table.remove(key.as_str());
        Some(key)
    }
}
