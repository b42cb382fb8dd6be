//! Every phrase of every rule in one pass over the text.

use std::{collections::HashMap, sync::Arc};

use aho_corasick::{
    Anchored,
    automaton::Automaton as _,
    dfa::{Builder, DFA},
};

use super::{Facts, Rule, RulesError};

/// The most bytes of phrases: the table of transitions takes about two hundred times as much.
const MAX_PHRASE_BYTES: usize = 256 * 1024;

/// What may stand around the words where a phrase is the whole text.
pub(super) const EDGES: [char; 5] = [' ', ':', ',', '.', '-'];

/// Phrases that are looked for in one pass.
#[derive(Debug)]
struct Automaton {
    table: DFA,
    /// The letter that stands for each byte: the fewer there are, the smaller is the table. Both cases of a letter have one;
    /// what is in no phrase has none, 0.
    letters: [u8; 256],
    /// The number of each of its phrases.
    numbers: Vec<usize>,
}

impl Automaton {
    fn new<'a>(phrases: impl Iterator<Item = (usize, &'a String)>) -> Result<Self, RulesError> {
        let (numbers, texts): (Vec<usize>, Vec<&String>) = phrases.unzip();
        let mut letters = [0; 256];
        let mut last = 0;
        for byte in texts.iter().flat_map(|text| text.bytes()) {
            let Some(letter @ 0) = letters.get_mut(usize::from(byte)) else { continue };
            last += 1;
            *letter = last;
            letters[usize::from(byte.to_ascii_uppercase())] = last;
        }
        let spelt = texts.iter().map(|text| text.bytes().map(|byte| letters[usize::from(byte)]).collect::<Vec<_>>());
        let table =
            Builder::new().prefilter(false).build(spelt).map_err(|error| RulesError::too_large(&error.to_string()))?;
        Ok(Self { table, letters, numbers })
    }

    /// Calls `found` for each phrase that stands in the text as words of its own: its number, where it begins and ends.
    fn find(&self, text: &[u8], mut found: impl FnMut(usize, usize, usize)) {
        // Only an automaton that is built for anchored searches alone has no such state.
        let Ok(mut state) = self.table.start_state(Anchored::No) else { return };
        for (at, byte) in text.iter().enumerate() {
            state = self.table.next_state(Anchored::No, state, self.letters[usize::from(*byte)]);
            let to = at + 1;
            // Every phrase that ends here ends with the same byte.
            if !self.table.is_match(state) || cut_after(text, to) {
                continue;
            }
            for index in 0..self.table.match_len(state) {
                let pattern = self.table.match_pattern(state, index);
                let from = to - self.table.pattern_len(pattern);
                if let Some(&number) = self.numbers.get(pattern.as_usize())
                    && !cut_before(text, from)
                {
                    found(number, from, to);
                }
            }
        }
    }
}

/// The phrases of a set of rules.
#[derive(Debug, Clone)]
pub(super) struct Phrases {
    /// The phrases in ASCII, nearly all: with few kinds of bytes their table stays small enough for a processor's cache.
    ascii: Arc<Automaton>,
    /// The others, which only a text beyond ASCII can hold.
    wide: Arc<Automaton>,
    texts: Vec<String>,
    /// Which rules have the phrase in their wording, in order.
    rules: Vec<Vec<usize>>,
    /// The phrases that lead to a rule; the others only tell rules apart.
    leading: Bits,
}

impl Phrases {
    /// Collects the phrases and writes their numbers into the rules.
    pub(super) fn new(rules: &mut [Rule]) -> Result<Self, RulesError> {
        let mut texts: Vec<String> = Vec::new();
        let mut numbers: HashMap<String, usize> = HashMap::new();
        let mut of = Vec::<Vec<usize>>::new();
        let mut number = |phrase: &String| {
            *numbers.entry(phrase.clone()).or_insert_with(|| {
                texts.push(phrase.clone());
                texts.len() - 1
            })
        };
        for (at, rule) in rules.iter_mut().enumerate() {
            rule.wording = rule.raw.wording.iter().map(&mut number).collect();
            rule.all = rule.raw.all.iter().map(&mut number).collect();
            rule.not = rule.raw.not.iter().map(&mut number).collect();
            for &phrase in &rule.wording {
                if of.len() <= phrase {
                    of.resize_with(phrase + 1, Vec::new);
                }
                if let Some(list) = of.get_mut(phrase)
                    && list.last() != Some(&at)
                {
                    list.push(at);
                }
            }
        }
        of.resize_with(texts.len(), Vec::new);
        if texts.iter().map(String::len).sum::<usize>() > MAX_PHRASE_BYTES {
            return Err(RulesError::too_large("at most 256 KiB"));
        }
        let build = |ascii: bool| Automaton::new(texts.iter().enumerate().filter(|(_, text)| text.is_ascii() == ascii));
        let (ascii, wide) = (Arc::new(build(true)?), Arc::new(build(false)?));
        let mut leading = Bits::default();
        for (phrase, _) in of.iter().enumerate().filter(|(_, rules)| !rules.is_empty()) {
            leading.set(phrase);
        }
        Ok(Self { ascii, wide, texts, rules: of, leading })
    }

    pub(super) fn text(&self, phrase: usize) -> Option<&str> {
        self.texts.get(phrase).map(String::as_str)
    }

    pub(super) fn memory_usage(&self) -> usize {
        self.ascii.table.memory_usage() + self.wide.table.memory_usage()
    }

    /// Which of the phrases that were found lead to rules.
    pub(super) fn leading<'a>(&'a self, seen: &'a Seen) -> impl Iterator<Item = usize> + 'a {
        seen.any.both(&self.leading)
    }

    /// The phrases that lead to a rule.
    pub(super) fn wordings(&self) -> impl Iterator<Item = &str> {
        let led = self.texts.iter().zip(&self.rules).filter(|(_, rules)| !rules.is_empty());
        led.map(|(text, _)| text.as_str())
    }

    pub(super) fn rules_of(&self, phrase: usize) -> &[usize] {
        self.rules.get(phrase).map(Vec::as_slice).unwrap_or_default()
    }

    /// Which phrases the text holds, as words of their own.
    pub(super) fn find(&self, facts: &Facts<'_>) -> Seen {
        let mut seen = Seen::default();
        // Beyond ASCII the case of a text is folded as that of the phrases is; what stands before the words is ASCII.
        let lower = (!facts.text.is_ascii()).then(|| facts.text.to_lowercase());
        let text = lower.as_deref().unwrap_or(facts.text);
        // By what is left after the codes: letters before them may have another length in lower case.
        let words = facts.text.get(facts.head.end..).unwrap_or_default().trim_start_matches(EDGES);
        let length = if lower.is_some() { words.to_lowercase().len() } else { words.len() };
        let start = text.len().saturating_sub(length);
        let end = text.trim_end_matches(EDGES).len();
        let bytes = text.as_bytes();
        self.ascii.find(bytes, |phrase, from, to| seen.add(phrase, from == start && to == end));
        if lower.is_some() {
            self.wide.find(bytes, |phrase, from, to| seen.add(phrase, from == start && to == end));
        }
        seen
    }
}

/// Whether a phrase that begins here begins inside a word.
fn cut_before(text: &[u8], at: usize) -> bool {
    let inside = text.get(at).is_some_and(u8::is_ascii_alphanumeric);
    inside && at.checked_sub(1).and_then(|before| text.get(before)).is_some_and(|b| part_of_word(*b))
}

/// Whether a phrase that ends here ends inside a word.
fn cut_after(text: &[u8], at: usize) -> bool {
    let inside = at.checked_sub(1).and_then(|last| text.get(last)).is_some_and(u8::is_ascii_alphanumeric);
    inside && text.get(at).is_some_and(|b| part_of_word(*b))
}

/// Letters and digits, and every byte of a character beyond ASCII: "compte" is no word of "comptés". Where the phrase
/// itself begins or ends beyond ASCII there may be no blanks between words, as in Japanese.
const fn part_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || !byte.is_ascii()
}

/// Phrases that were found; those that are the whole text are marked.
#[derive(Debug, Default)]
pub(super) struct Seen {
    any: Bits,
    whole: Bits,
}

impl Seen {
    fn add(&mut self, phrase: usize, whole: bool) {
        self.any.set(phrase);
        if whole {
            self.whole.set(phrase);
        }
    }

    pub(super) fn holds(&self, phrase: usize, whole: bool) -> bool {
        if whole { self.whole.get(phrase) } else { self.any.get(phrase) }
    }
}

/// How many phrases fit without an allocation: all built-in ones, with room. At most 64.
const NEAR_WORDS: usize = 48;

/// A set of small numbers that allocates only beyond the first [`NEAR_WORDS`] times 64.
#[derive(Debug, Clone)]
struct Bits {
    near: [u64; NEAR_WORDS],
    /// Which of `near` are not zero.
    used: u64,
    far: Vec<u64>,
}

impl Default for Bits {
    fn default() -> Self {
        Self { near: [0; NEAR_WORDS], used: 0, far: Vec::new() }
    }
}

/// The places of the bits that are set.
fn bits_of(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
        word &= word - 1;
        Some(bit)
    })
}

impl Bits {
    fn set(&mut self, number: usize) {
        let word = number / 64;
        let place = if word < self.near.len() {
            self.used |= 1 << word;
            self.near.get_mut(word)
        } else {
            let far = word - self.near.len();
            if self.far.len() <= far {
                self.far.resize(far + 1, 0);
            }
            self.far.get_mut(far)
        };
        if let Some(place) = place {
            *place |= 1 << (number % 64);
        }
    }

    /// The numbers that are in both.
    fn both<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = usize> + 'a {
        let near =
            bits_of(self.used & other.used).filter_map(|at| Some((at, self.near.get(at)? & other.near.get(at)?)));
        let far = self.far.iter().zip(&other.far).zip(NEAR_WORDS..).map(|((one, two), at)| (at, one & two));
        near.chain(far).flat_map(|(at, word)| bits_of(word).map(move |bit| at * 64 + bit))
    }

    fn get(&self, number: usize) -> bool {
        let word = number / 64;
        let place = self.near.get(word).or_else(|| self.far.get(word.checked_sub(self.near.len())?));
        place.is_some_and(|place| place >> (number % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_hold_what_was_set_near_and_far() {
        let mut seen = Seen::default();
        for number in [0, 63, 64, 3_071, 3_072, 9_000] {
            assert!(!seen.holds(number, false));
            seen.add(number, number == 64);
        }
        let mut all = Bits::default();
        for number in 0..10_000 {
            all.set(number);
        }
        assert_eq!(seen.any.both(&all).collect::<Vec<_>>(), [0, 63, 64, 3_071, 3_072, 9_000]);
        assert_eq!(seen.any.both(&Bits::default()).count(), 0);
        assert!(seen.holds(64, true) && !seen.holds(63, true) && !seen.holds(999, false));
    }

    #[test]
    fn words_are_not_found_inside_words() {
        assert!(cut_before(b"abc", 1) && !cut_before(b"a bc", 2) && !cut_before(b"abc", 0));
        assert!(cut_after(b"abc", 2) && !cut_after(b"ab c", 2) && !cut_after(b"abc", 3));
        assert!(cut_after("compt\u{e9}".as_bytes(), 5), "a letter with an accent goes on with the word");
        let text = "\u{5b9b}\u{5148}\u{4e0d}\u{660e}".as_bytes();
        assert!(!cut_before(text, 6) && !cut_after(text, 6), "scripts without blanks have no words to be inside of");
    }
}
