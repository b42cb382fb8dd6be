//! Rule files: TOML, read strictly, with the file, the rule and the line in every error.

use std::collections::HashMap;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::{Receiver, mistakes};
use crate::model::{Action, AddressRole, Cause, Destination, EnhancedCode, Fault, MxFamily, Provider, nearest_word};

/// Why a rule file can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rule file {file}.toml, line {line}{}: {problem}", rule.as_ref().map(|rule| format!(", rule {rule:?}")).unwrap_or_default())]
pub struct RulesError {
    /// The file's name, without `.toml`.
    pub file: String,
    /// The rule's name, where the mistake is inside one that has a name.
    pub rule: Option<String>,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong and what to do.
    pub problem: String,
}

/// Why rule files can't be used: every mistake of every file, each on a line of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct RulesErrors(pub Vec<RulesError>);

impl RulesError {
    pub(super) fn at(file: &str, text: &str, offset: usize, problem: impl Into<String>) -> Self {
        let before = text.get(..offset.min(text.len())).unwrap_or(text);
        Self {
            file: file.to_owned(),
            rule: rule_at(text, before.len()),
            line: before.bytes().filter(|b| *b == b'\n').count() + 1,
            problem: problem.into(),
        }
    }

    pub(super) fn too_large(error: &str) -> Self {
        Self {
            file: "*".to_owned(),
            rule: None,
            line: 1,
            problem: format!("all rules together hold too many phrases; remove some ({error})"),
        }
    }

    /// A file takes a name that is not free.
    pub(super) fn taken(file: &str, by: &str) -> Self {
        let problem = format!("{by} has this name, and verdicts name the file of their rule: rename the file");
        Self { file: file.to_owned(), rule: None, line: 1, problem }
    }
}

/// The name of the rule whose table holds the offset.
fn rule_at(text: &str, offset: usize) -> Option<String> {
    const TABLE: &str = "[[rule]]";
    let line_end = text.get(offset..)?.find('\n').map_or(text.len(), |at| offset + at);
    let start = text.get(..line_end)?.rfind(TABLE)? + TABLE.len();
    let table = text.get(start..)?;
    let table = table.split_once(TABLE).map_or(table, |(table, _)| table);
    table.lines().find_map(|line| {
        let value = line.trim_start().strip_prefix("name")?.trim_start().strip_prefix('=')?.trim();
        Some(value.trim_matches('"').to_owned())
    })
}

/// A rule file as it stands.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wire {
    version: u32,
    /// The receivers of every rule that names none itself.
    #[serde(default)]
    receiver: Vec<Receiver>,
    /// Codes with which no rule of the file holds at Apple: there they are Apple's own words.
    #[serde(default)]
    foreign_to_apple: Vec<EnhancedPattern>,
    #[serde(default)]
    rule: Vec<toml::Spanned<RawRule>>,
}

/// A rule file, checked.
pub(super) struct RawFile {
    pub(super) version: u32,
    pub(super) rules: Vec<RawRule>,
}

/// One rule as its file has it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRule {
    pub(super) name: String,
    #[serde(default)]
    pub(super) role: Vec<AddressRole>,
    #[serde(default)]
    pub(super) receiver: Vec<Receiver>,
    /// Whether the rule itself names no receiver, so that it knows nobody's words in particular.
    #[serde(skip)]
    pub(super) for_receivers_in_general: bool,
    /// Codes with which it does not hold at Apple.
    #[serde(skip)]
    pub(super) foreign_to_apple: Vec<EnhancedPattern>,
    #[serde(default)]
    pub(super) mx: Vec<MxFamily>,
    #[serde(default)]
    pub(super) destination: Vec<Destination>,
    #[serde(default)]
    pub(super) provider: Vec<ProviderCondition>,
    #[serde(default)]
    pub(super) wording: Vec<String>,
    #[serde(default)]
    pub(super) all: Vec<String>,
    #[serde(default)]
    pub(super) not: Vec<String>,
    #[serde(default)]
    pub(super) whole: bool,
    #[serde(default)]
    pub(super) enhanced: Vec<EnhancedPattern>,
    #[serde(default)]
    pub(super) code: Vec<CodePattern>,
    /// The provider's own verdict, in lower case.
    #[serde(default)]
    pub(super) label: Vec<String>,
    pub(super) cause: Cause,
    /// As the cause has it where the file says nothing.
    pub(super) fault: Option<Fault>,
    /// As the cause has it where the file says nothing.
    pub(super) action: Option<Action>,
    #[serde(default)]
    pub(super) hard: bool,
    /// Seconds before the next try; as the cause has it where the file says nothing.
    pub(super) delay: Option<u32>,
    pub(super) confidence: f32,
    pub(super) doc: String,
    #[serde(default)]
    pub(super) samples: Vec<Sample>,
    #[serde(default)]
    pub(super) near_misses: Vec<Sample>,
}

impl RawFile {
    /// Reads and checks one file; gives all its mistakes, from top to bottom.
    pub(super) fn parse(name: &str, text: &str) -> Result<Self, Vec<RulesError>> {
        let wire: Wire = toml::from_str(text).map_err(|first| mistakes::all(name, text, &first))?;
        let (mut rules, mut found) = (Vec::with_capacity(wire.rule.len()), Vec::new());
        let mut names: HashMap<String, usize> = HashMap::new();
        for spanned in wire.rule {
            let start = spanned.span().start;
            let mut rule = spanned.into_inner();
            found.extend(rule.check(name, text, start, &mut names));
            if rule.receiver.is_empty() {
                rule.receiver.clone_from(&wire.receiver);
                rule.for_receivers_in_general = wire.receiver.is_empty() || wire.receiver.contains(&Receiver::Other);
            }
            rule.foreign_to_apple.clone_from(&wire.foreign_to_apple);
            rules.push(rule);
        }
        if found.is_empty() { Ok(Self { version: wire.version, rules }) } else { Err(found) }
    }
}

impl RawRule {
    /// Phrases as they are looked for: blanks as in a template, lower case.
    fn normalise(&mut self) {
        for label in &mut self.label {
            label.make_ascii_lowercase();
        }
        for phrase in self.wording.iter_mut().chain(&mut self.all).chain(&mut self.not) {
            // As the text is folded: by ASCII alone where it holds nothing else.
            *phrase = phrase.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
        }
    }

    /// Puts the phrases into the form in which they are looked for, and gives all that is wrong with the rule. `names` has
    /// the names of the rules above it with their lines.
    pub(super) fn check(
        &mut self,
        file: &str,
        text: &str,
        start: usize,
        names: &mut HashMap<String, usize>,
    ) -> Vec<RulesError> {
        self.normalise();
        let error = |problem: String| {
            let error = RulesError::at(file, text, start, problem);
            RulesError { rule: Some(self.name.clone()), ..error }
        };
        let mut found: Vec<RulesError> = self.problems().into_iter().map(|problem| error(problem.to_owned())).collect();
        let line = RulesError::at(file, text, start, "").line;
        if let Some(other) = names.get(&self.name) {
            found.push(error(format!("the rule at line {other} has this name too: rename one")));
        } else {
            names.insert(self.name.clone(), line);
        }
        found
    }

    /// Codes with which it holds, as a reply begins with them; nothing where any do.
    pub(super) fn codes(&self) -> String {
        let code = self.code.iter().find_map(|pattern| match pattern {
            CodePattern::Exact(code) => Some(format!("{code} ")),
            CodePattern::Class(class) => Some(format!("{class}50 ")),
            CodePattern::None => None,
        });
        let enhanced = self.enhanced.iter().find(|pattern| !pattern.none).map(|pattern| {
            let class = pattern.class.map_or(5, u16::from);
            format!("{class}.{}.{} ", pattern.subject.unwrap_or(0), pattern.detail.unwrap_or(0))
        });
        format!("{}{}", code.unwrap_or_default(), enhanced.unwrap_or_default())
    }

    fn problems(&self) -> Vec<&'static str> {
        let mut found = Vec::new();
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.name.is_empty() || !self.name.chars().all(plain) {
            found.push("name the rule with lower-case letters, digits and hyphens");
        }
        if self.wording.iter().chain(&self.all).chain(&self.not).any(String::is_empty) {
            found.push("remove the empty phrase: it is in every text");
        }
        if self.wording.is_empty() && !self.all.is_empty() {
            found.push("put one of the phrases of `all` into `wording`");
        }
        if self.whole && self.wording.is_empty() {
            found.push("`whole` needs `wording`: the phrase that is the whole text");
        }
        let conditions = [
            self.wording.is_empty(),
            self.role.is_empty(),
            self.receiver.is_empty(),
            self.mx.is_empty(),
            self.destination.is_empty(),
            self.provider.is_empty(),
            self.enhanced.is_empty(),
            self.code.is_empty(),
            self.label.is_empty(),
        ];
        if conditions.iter().all(|empty| *empty) {
            found.push("give the rule a condition: it would hold for every text");
        }
        if !(self.confidence > 0.0 && self.confidence <= 1.0) {
            found.push("give a confidence above 0 and at most 1");
        }
        if self.hard && !self.label.is_empty() {
            found.push("a provider's label is never `hard` by itself: remove one of the two");
        }
        if self.hard && !matches!(self.cause, Cause::RecipientUnknown | Cause::RecipientMoved | Cause::DomainUnknown) {
            found.push("`hard` goes only with recipient_unknown, recipient_moved or domain_unknown: remove it");
        }
        if self.action == Some(Action::Suppress) && self.receiver != [Receiver::Other] {
            found.push("one refusal suppresses no relay address: use the action hold, or limit the rule to receiver = [\"other\"]");
        }
        found
    }
}

/// Who reports, or `unknown` where that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProviderCondition(pub(super) Option<Provider>);

impl<'de> Deserialize<'de> for ProviderCondition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(WordVisitor(|name| {
            if name == "unknown" {
                return Ok(Self(None));
            }
            Provider::from_name(name).map(|provider| Self(Some(provider))).ok_or_else(|| {
                let known = Provider::ALL.iter().map(|provider| provider.as_str()).chain(["unknown"]);
                let meant = nearest_word(name, known).map(|meant| format!(": did you mean `{meant}`?"));
                format!("no provider is called `{name}`{}", meant.unwrap_or_default())
            })
        }))
    }
}

/// Reads a word where it stands, so that a mistake has its line; what is wrong is said in an own text.
struct WordVisitor<T>(fn(&str) -> Result<T, String>);

impl<T> Visitor<'_> for WordVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a text in quotes")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).map_err(E::custom)
    }
}

/// A basic code: `550`, a class `5xx`, or `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CodePattern {
    Exact(u16),
    Class(u16),
    None,
}

impl CodePattern {
    pub(super) fn covers(self, code: Option<u16>, class: Option<u16>) -> bool {
        match self {
            Self::Exact(exact) => code == Some(exact),
            Self::Class(wanted) => class == Some(wanted),
            Self::None => class.is_none(),
        }
    }

    /// Whether it covers whatever the other one covers.
    pub(super) fn is_wider(self, other: Self) -> bool {
        match (self, other) {
            (Self::Class(class), Self::Exact(code)) => class == code / 100,
            _ => self == other,
        }
    }
}

impl<'de> Deserialize<'de> for CodePattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(WordVisitor(|text| {
            let found = match text {
                "none" => Some(Self::None),
                text => match text.strip_suffix("xx") {
                    Some(class) => class.parse().ok().filter(|class| (2..=5).contains(class)).map(Self::Class),
                    None => text.parse().ok().filter(|code| (200..600).contains(code)).map(Self::Exact),
                },
            };
            found.ok_or_else(|| format!("{text:?} is no code: write \"550\", \"5xx\" or \"none\""))
        }))
    }
}

/// An enhanced code: `5.1.1`, `none`, or with `*` for its detail, its subject or its class: `5.7.*`, `*.1.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EnhancedPattern {
    /// Only where there is no code at all.
    pub(super) none: bool,
    class: Option<u8>,
    pub(super) subject: Option<u16>,
    detail: Option<u16>,
}

impl EnhancedPattern {
    pub(super) fn covers(self, code: Option<EnhancedCode>) -> bool {
        let Some(code) = code else { return self.none };
        !self.none
            && self.class.is_none_or(|class| class == code.class)
            && self.subject.is_none_or(|subject| subject == code.subject)
            && self.detail.is_none_or(|detail| detail == code.detail)
    }

    /// Whether it covers whatever the other one covers.
    pub(super) fn is_wider(self, other: Self) -> bool {
        fn part<T: PartialEq + Copy>(wide: Option<T>, narrow: Option<T>) -> bool {
            wide.is_none() || wide == narrow
        }
        self.none == other.none
            && part(self.class, other.class)
            && part(self.subject, other.subject)
            && part(self.detail, other.detail)
    }
}

impl<'de> Deserialize<'de> for EnhancedPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(WordVisitor(|text| {
            if text == "none" {
                return Ok(Self { none: true, class: None, subject: None, detail: None });
            }
            let mut parts =
                text.split('.').map(|part| if part == "*" { Ok(None) } else { part.parse::<u16>().map(Some) });
            match (parts.next(), parts.next(), parts.next(), parts.next()) {
                (Some(Ok(class)), Some(Ok(subject)), Some(Ok(detail)), None)
                    if class.is_none_or(|class| class < 10) =>
                {
                    Ok(Self { none: false, class: class.and_then(|class| u8::try_from(class).ok()), subject, detail })
                }
                _ => Err(format!("{text:?} is no enhanced code: write \"5.1.1\", \"5.7.*\" or \"none\"")),
            }
        }))
    }
}

/// A reply that a rule must match, or must not: its text alone, or with what is known beside it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Sample {
    pub(super) text: String,
    pub(super) recipient: Option<String>,
    pub(super) sender: Option<String>,
    pub(super) provider: Option<Provider>,
    pub(super) mx: Option<String>,
    pub(super) label: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SampleTable {
    text: String,
    recipient: Option<String>,
    sender: Option<String>,
    provider: Option<Provider>,
    mx: Option<String>,
    label: Option<String>,
}

impl<'de> Deserialize<'de> for Sample {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SampleVisitor)
    }
}

/// Reads either form by itself, so that a mistake names its key.
struct SampleVisitor;

impl<'de> Visitor<'de> for SampleVisitor {
    type Value = Sample;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a text, or a table with text and, of recipient, sender, provider, mx, label, those known")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Sample, E> {
        Ok(Sample { text: text.to_owned(), ..Sample::default() })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Sample, A::Error> {
        let table = SampleTable::deserialize(MapAccessDeserializer::new(map))?;
        let SampleTable { text, recipient, sender, provider, mx, label } = table;
        Ok(Sample { text, recipient, sender, provider, mx, label })
    }
}
