//! Every mistake of a rule file that can't be read, where TOML's own reader stops at the first.

use std::collections::HashMap;

use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeTable, DeValue, Error, ValueDeserializer},
};

use super::file::{RawRule, RulesError, Wire};

/// The key of the rules.
const RULE: &str = "rule";
/// What a file must have, and a rule.
const OF_FILE: &[&str] = &["version"];
const OF_RULE: &[&str] = &["name", "cause", "confidence", "doc"];

/// All mistakes of a file, from top to bottom; `first` is what reading it as a whole gave. Where it is no TOML, only what is
/// no TOML is told: what stands there can't be known.
pub(super) fn all(name: &str, text: &str, first: &Error) -> Vec<RulesError> {
    let at = |error: &Error| {
        let offset = error.span().map_or(0, |span| span.start);
        RulesError::at(name, text, offset, plain(error.message()))
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut found: Vec<RulesError> = errors.iter().map(at).collect();
    if found.is_empty() {
        let span = table.span();
        let mut head = table.into_inner();
        let rules = head.remove(RULE);
        found.extend(mistakes::<Wire>(Spanned::new(span, head), OF_FILE, &at).1);
        match rules.map(|rules| (rules.span(), rules.into_inner())) {
            Some((_, DeValue::Array(rules))) => {
                let mut names = HashMap::new();
                for rule in rules {
                    found.extend(of_rule(name, text, rule, &mut names, &at));
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

/// What TOML's reader says, without the names of Rust's types.
fn plain(message: &str) -> String {
    let message = message.trim();
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
    at: &impl Fn(&Error) -> RulesError,
) -> Vec<RulesError> {
    let span = value.span();
    let DeValue::Table(table) = value.into_inner() else {
        return vec![RulesError::at(file, text, span.start, "write each rule as a table [[rule]]")];
    };
    let (rule, mut found) = mistakes::<RawRule>(Spanned::new(span.clone(), table), OF_RULE, at);
    if let Some(mut rule) = rule {
        found.extend(rule.check(file, text, span.start, names));
    }
    found
}

/// Reads a table, each time without the key that could not be read the time before: what was read where nothing was wrong,
/// and what was wrong.
fn mistakes<T: DeserializeOwned>(
    mut table: Spanned<DeTable<'_>>,
    required: &[&str],
    at: &impl Fn(&Error) -> RulesError,
) -> (Option<T>, Vec<RulesError>) {
    let mut found = Vec::new();
    let missing: Vec<&str> = required.iter().copied().filter(|key| !table.get_ref().contains_key(*key)).collect();
    loop {
        let value = Spanned::new(table.span(), DeValue::Table(table.get_ref().clone()));
        let error = match T::deserialize(ValueDeserializer::from(value)) {
            Ok(read) => return (found.is_empty().then_some(read), found),
            Err(error) => error,
        };
        let place = error.span().unwrap_or_default();
        let key = table.get_ref().iter().find_map(|(key, value)| {
            let inside = key.span().start <= place.start && place.end <= value.span().end;
            (inside && !place.is_empty()).then(|| key.get_ref().clone())
        });
        if let Some(key) = key {
            found.push(at(&error));
            table.get_mut().remove(key.as_ref());
        } else {
            // A key is missing: it never was there, is there under another name, or was taken out above.
            if found.is_empty() {
                found.extend(
                    missing.iter().map(|key| RulesError { problem: format!("missing field `{key}`"), ..at(&error) }),
                );
            }
            if found.is_empty() {
                found.push(at(&error));
            }
            return (None, found);
        }
    }
}
