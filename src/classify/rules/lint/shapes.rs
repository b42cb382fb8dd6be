//! Phrases that no template holds: what they name, a template has as a role.

use super::LintProblem;
use crate::{
    classify::{
        Parties, template,
        template::{ROLES, Template},
    },
    model::{RelayDomains, nearest_word},
};

/// Texts in which a phrase might stand: by itself, after codes, among words, in brackets, as the host of a help page.
const FRAMES: &[(&str, &str)] = &[
    ("", ""),
    ("550 5.0.0 ", ""),
    ("550 words ", " words"),
    ("550 <", ">"),
    ("550 words: ", "."),
    ("550 see https://", "/words"),
];

/// Why no template holds the phrase, where none does.
pub(super) fn never_in_template(phrase: &str, relay: &RelayDomains) -> Option<LintProblem> {
    let braced = phrase.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(word, _)| word);
    for word in braced.filter(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_')) {
        let placeholder = format!("{{{word}}}");
        if !ROLES.contains(&placeholder.as_str()) {
            let meant = nearest_word(&placeholder, ROLES.iter().copied());
            let meant = meant.and_then(|meant| ROLES.iter().copied().find(|role| *role == meant));
            return Some(LintProblem::NoPlaceholder(phrase.to_owned(), placeholder, meant));
        }
    }
    let parties = Parties::unknown(relay);
    let made = |text: &str| template(text, &parties);
    let in_frame = |(before, after): &(&str, &str)| {
        let text = format!("{before}{phrase}{after}");
        // Case tells some ids from words.
        [made(&text), made(&text.to_uppercase())].iter().any(|made| made.as_str().to_lowercase().contains(phrase))
    };
    if FRAMES.iter().any(in_frame) {
        return None;
    }
    let becomes: Template = made(phrase);
    Some(LintProblem::NeverInTemplate(phrase.to_owned(), becomes.into_string()))
}
