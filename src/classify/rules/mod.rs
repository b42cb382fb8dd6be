//! Rules: data that says which words, from whom and about whose address, mean what.
//!
//! Rules are asked in a fixed order: the operator's files, then the built-in ones as [`BUILT_IN`] lists them, each from top
//! to bottom; the first that holds decides. Within the files the order is that of the evidence: whose address is in the
//! brackets, who received, the wording, the codes.

use std::sync::Arc;

mod explain;
mod file;
mod gate;
mod hard;
mod lint;
mod matcher;
mod mistakes;

pub use explain::{Considered, Explanation, Outcome};
pub use file::{RulesError, RulesErrors};
pub use lint::{LintFinding, LintProblem};

use self::{
    file::{RawFile, RawRule},
    gate::Gate,
    matcher::{Phrases, Seen},
};
use super::{Receiver, template::Head};
use crate::model::{
    Action, AddressRole, Cause, CauseFamily, Destination, Evidence, EvidenceKind, FNV1A_BASIS, Fault, MxFamily,
    ReplyContext, Verdict, fnv1a,
};

/// The built-in files, in the order in which they are asked.
const BUILT_IN: &[(&str, &str)] = &[
    ("suppression", include_str!("../../../rules/suppression.toml")),
    ("apple-relay", include_str!("../../../rules/apple-relay.toml")),
    ("apple-icloud", include_str!("../../../rules/apple-icloud.toml")),
    ("transport", include_str!("../../../rules/transport.toml")),
    ("google", include_str!("../../../rules/google.toml")),
    ("microsoft", include_str!("../../../rules/microsoft.toml")),
    ("yahoo", include_str!("../../../rules/yahoo.toml")),
    ("providers", include_str!("../../../rules/providers.toml")),
    ("automatic", include_str!("../../../rules/automatic.toml")),
    ("sender", include_str!("../../../rules/sender.toml")),
    ("message", include_str!("../../../rules/message.toml")),
    ("receiver", include_str!("../../../rules/receiver.toml")),
    ("recipient", include_str!("../../../rules/recipient.toml")),
    ("form", include_str!("../../../rules/form.toml")),
    ("languages", include_str!("../../../rules/languages.toml")),
    ("general", include_str!("../../../rules/general.toml")),
    ("codes", include_str!("../../../rules/codes.toml")),
    ("labels", include_str!("../../../rules/labels.toml")),
];

/// The name of the rule that a verdict carries when none held.
pub const NO_RULE: &str = "none/undetermined";

/// From this confidence on the words of a rule alone call an address dead.
const CERTAIN: f32 = 0.85;

/// How sure a rule for receivers in general can be of Apple's words, at most.
const GUESS: f32 = 0.5;

/// Seconds to wait after a transient reply that no rule knows (RFC 5321 section 4.5.4.1).
const UNDETERMINED_DELAY: u32 = 1_800;

/// A set of rules, ready to classify.
#[derive(Debug, Clone)]
pub struct Rules {
    ordered: Vec<Rule>,
    /// Of each rule, side by side.
    gates: Vec<Gate>,
    phrases: Phrases,
    /// The operator's own files, by name and text: who looks for what rots names the line.
    own: Arc<[(String, String)]>,
    /// Rules without any wording, which no phrase leads to.
    wordless: Vec<usize>,
    version: u32,
    fingerprint: u64,
}

impl Rules {
    /// The built-in rules.
    ///
    /// # Errors
    /// If a built-in file is broken, which the tests rule out.
    pub fn built_in() -> Result<Self, RulesErrors> {
        Self::with_extra::<&str, &str>(&[])
    }

    /// The built-in rules with the operator's own before them: pairs of a file's name and its text.
    ///
    /// # Errors
    /// All mistakes of all files: each names the file, the rule and the line, and says what to do.
    pub fn with_extra<N: AsRef<str>, T: AsRef<str>>(extra: &[(N, T)]) -> Result<Self, RulesErrors> {
        let extra = extra.iter().map(|(name, text)| (name.as_ref().trim_end_matches(".toml"), text.as_ref()));
        let own: Arc<[(String, String)]> = extra.map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
        let (mut rules, mut wrong) = (Vec::new(), Vec::new());
        let mut version = 0_u32;
        let mut fingerprint = FNV1A_BASIS;
        for (at, (name, text)) in sources(&own).enumerate() {
            if at < own.len() {
                wrong.extend(name_taken(name, own.get(..at).unwrap_or_default()));
            }
            let file = match RawFile::parse(name, text) {
                Ok(file) => file,
                Err(mistakes) => {
                    wrong.extend(mistakes);
                    continue;
                }
            };
            version = version.saturating_add(file.version);
            for part in [name.as_bytes(), &[0], text.as_bytes(), &[0]] {
                fingerprint = fnv1a(fingerprint, part);
            }
            for raw in file.rules {
                rules.push(Rule::new(name, file.version, raw));
            }
        }
        if !wrong.is_empty() {
            return Err(RulesErrors(wrong));
        }
        let phrases = Phrases::new(&mut rules).map_err(|error| RulesErrors(vec![error]))?;
        let wordless = rules.iter().enumerate().filter(|(_, rule)| rule.is_wordless()).map(|(at, _)| at).collect();
        let gates = rules.iter().map(|rule| Gate::of_rule(&rule.raw)).collect();
        Ok(Self { ordered: rules, gates, phrases, own, wordless, version, fingerprint })
    }

    /// What tells this set from another, whatever versions its files claim: 16 hexadecimal digits, from their names and
    /// texts (FNV-1a, 64 bits).
    #[must_use]
    pub fn fingerprint(&self) -> String {
        format!("{:016x}", self.fingerprint)
    }

    /// The version of the set: the sum of its files' versions, so that it rises when any of them does.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// How many rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ordered.len()
    }

    /// Every phrase that some rule has in its wording, in lower case; each once.
    pub fn phrases(&self) -> impl Iterator<Item = &str> {
        self.phrases.wordings()
    }

    /// Bytes of the tables in which the phrases are looked for: nearly all memory that the rules take.
    #[must_use]
    pub fn memory_usage(&self) -> usize {
        self.phrases.memory_usage()
    }

    /// How many files of the operator's own are among them.
    #[must_use]
    pub fn own_files(&self) -> usize {
        self.own.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ordered.is_empty()
    }

    /// What a reply means. Depends on the template and the context alone.
    ///
    /// A text that no rule knows is [`Cause::Undetermined`] and never hard.
    #[must_use]
    pub fn classify<T: AsRef<str>>(&self, template: T, context: &ReplyContext) -> Verdict {
        self.classify_labelled(template, context, None)
    }

    /// The same with the provider's own verdict, as it spells it: the last of the evidence, and never hard.
    #[must_use]
    pub fn classify_labelled<T: AsRef<str>>(
        &self,
        template: T,
        context: &ReplyContext,
        label: Option<&str>,
    ) -> Verdict {
        let facts = Facts { label, ..Facts::read(template.as_ref(), context) };
        match self.winner(&facts) {
            Some((at, phrase)) => match self.ordered.get(at) {
                Some(rule) => rule.verdict(&facts, phrase.and_then(|id| self.phrases.text(id))),
                None => undetermined(&facts),
            },
            None => undetermined(&facts),
        }
    }

    /// The verdict of a stored reply that means `cause` by the rule `stored` (`file/name`, or `file/name@version` as it is
    /// stored), where these rules still give it that meaning.
    ///
    /// An address that was found to be a private one later has the verdicts of its domain: `context` names what it is now. Such
    /// a verdict counts only where the rule that gave it gives it still, and can't have given it to a relay address: else
    /// today's rules, which say something else of relay addresses, have taken its place.
    #[must_use]
    pub fn recall<T: AsRef<str>>(
        &self,
        template: T,
        context: &ReplyContext,
        label: Option<&str>,
        (cause, stored): (Cause, &str),
    ) -> Option<Verdict> {
        let template = template.as_ref();
        let by = |context: &ReplyContext| {
            Some(self.classify_labelled(template, context, label)).filter(|verdict| verdict.cause == cause)
        };
        by(context).or_else(|| {
            let name = stored.rsplit_once('@').map_or(stored, |(name, _)| name);
            let rule = self.ordered.iter().find(|rule| rule.id == name);
            let facts = Facts { label, ..Facts::read(template, context) };
            if context.destination != Destination::Relay || rule.is_none_or(|rule| rule.holds(&facts)) {
                return None;
            }
            by(&ReplyContext { destination: Destination::Shared, ..*context }).filter(|verdict| verdict.rule == name)
        })
    }

    /// The first rule that holds, and the phrase of its wording that was found.
    fn winner(&self, facts: &Facts<'_>) -> Option<(usize, Option<usize>)> {
        let seen = self.phrases.find(facts);
        let reply = Gate::of_reply(facts);
        let holds = |at: usize| {
            let rule = self.ordered.get(at).filter(|_| self.gates.get(at).is_some_and(|gate| gate.lets_in(reply)))?;
            (rule.holds(facts) && rule.says(&seen)).then_some(rule)
        };
        let mut best: Option<(usize, Option<usize>)> = None;
        for phrase in self.phrases.leading(&seen) {
            for &at in self.phrases.rules_of(phrase) {
                if best.is_some_and(|(best, _)| best <= at) {
                    break;
                }
                if let Some(rule) = holds(at) {
                    best = Some((at, rule.phrase(&seen)));
                }
            }
        }
        for &at in &self.wordless {
            if best.is_some_and(|(best, _)| best <= at) {
                break;
            }
            if holds(at).is_some() {
                best = Some((at, None));
            }
        }
        best
    }
}

/// The files in the order in which they are asked, by name and text: the operator's own, then the built-in ones.
fn sources(own: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> {
    own.iter().map(|(name, text)| (name.as_str(), text.as_str())).chain(BUILT_IN.iter().copied())
}

/// Why a file of the operator's can't be called so, where another has the name: verdicts of the two could not be told apart.
fn name_taken(name: &str, before: &[(String, String)]) -> Option<RulesError> {
    let no_rule = NO_RULE.split('/').next() == Some(name);
    if no_rule || BUILT_IN.iter().any(|(built_in, _)| *built_in == name) {
        Some(RulesError::taken(name, if no_rule { "what no rule knows" } else { "a built-in file" }))
    } else {
        before.iter().any(|(other, _)| other == name).then(|| RulesError::taken(name, "another file"))
    }
}

/// What rules ask about.
struct Facts<'a> {
    text: &'a str,
    head: Head,
    role: AddressRole,
    receiver: Receiver,
    context: &'a ReplyContext,
    label: Option<&'a str>,
}

impl<'a> Facts<'a> {
    fn read(text: &'a str, context: &'a ReplyContext) -> Self {
        let head = Head::read(text);
        let receiver = match Receiver::of(context) {
            // Where nobody is known, only a relay domain makes an address the recipient's.
            Receiver::Unknown if text.contains("{recipient}") => Receiver::AppleRelay,
            receiver => receiver,
        };
        Self { text, head, role: head.role(text), receiver, context, label: None }
    }

    /// Whether Apple received.
    const fn is_apple(&self) -> bool {
        matches!(self.receiver, Receiver::AppleRelay | Receiver::AppleIcloud)
    }

    /// The class of the codes: 2, 4, 5, or `None` where there are none.
    fn class(&self) -> Option<u16> {
        self.head.code.map(|code| code / 100).or(self.head.enhanced.map(|enhanced| u16::from(enhanced.class)))
    }
}

/// One rule, with phrases in the place of its wording.
#[derive(Debug, Clone)]
struct Rule {
    id: String,
    /// That of its file.
    version: u32,
    raw: RawRule,
    wording: Vec<usize>,
    all: Vec<usize>,
    not: Vec<usize>,
    whole: bool,
}

impl Rule {
    fn new(file: &str, version: u32, raw: RawRule) -> Self {
        Self {
            id: format!("{file}/{}", raw.name),
            version,
            whole: raw.whole,
            raw,
            wording: Vec::new(),
            all: Vec::new(),
            not: Vec::new(),
        }
    }

    fn is_wordless(&self) -> bool {
        self.raw.wording.is_empty()
    }

    /// The phrase of the wording that was found.
    fn phrase(&self, seen: &Seen) -> Option<usize> {
        self.wording.iter().copied().find(|phrase| seen.holds(*phrase, self.whole))
    }

    /// Whether the wording holds.
    fn says(&self, seen: &Seen) -> bool {
        (self.wording.is_empty() || self.phrase(seen).is_some())
            && self.all.iter().all(|phrase| seen.holds(*phrase, false))
            && !self.not.iter().any(|phrase| seen.holds(*phrase, false))
    }

    /// Whether every condition but the wording holds.
    fn holds(&self, facts: &Facts<'_>) -> bool {
        self.first_failed(facts).is_none()
    }

    /// The first condition beside the wording that fails.
    fn first_failed(&self, facts: &Facts<'_>) -> Option<&'static str> {
        fn lacks<T: PartialEq>(wanted: &[T], found: &T) -> bool {
            !wanted.is_empty() && !wanted.contains(found)
        }
        let raw = &self.raw;
        if lacks(&raw.role, &facts.role) {
            Some("role")
        } else if lacks(&raw.receiver, &facts.receiver) {
            Some("receiver")
        } else if facts.is_apple() && self.is_foreign(facts) {
            Some("enhanced")
        } else if facts.is_apple() && self.names_another(facts) {
            Some("role")
        } else if lacks(&raw.mx, &facts.context.mx) {
            Some("mx")
        } else if lacks(&raw.destination, &facts.context.destination) {
            Some("destination")
        } else if !raw.provider.is_empty() && !raw.provider.iter().any(|p| p.0 == facts.context.provider) {
            Some("provider")
        } else if !raw.enhanced.is_empty() && !raw.enhanced.iter().any(|p| p.covers(facts.head.enhanced)) {
            Some("enhanced")
        } else if !raw.code.is_empty() && !raw.code.iter().any(|p| p.covers(facts.head.code, facts.class())) {
            Some("code")
        } else if !raw.label.is_empty()
            && !facts.label.is_some_and(|label| raw.label.iter().any(|known| known.eq_ignore_ascii_case(label)))
        {
            Some("label")
        } else {
            None
        }
    }

    /// Whether the codes make the words Apple's own, which the rule's file does not know.
    fn is_foreign(&self, facts: &Facts<'_>) -> bool {
        let foreign = &self.raw.foreign_to_apple;
        !foreign.is_empty() && facts.head.enhanced.is_some_and(|code| foreign.iter().any(|p| p.covers(Some(code))))
    }

    /// Whether a rule for receivers in general would say something of the address, where the reply names somebody else.
    fn names_another(&self, facts: &Facts<'_>) -> bool {
        let of_address =
            matches!(self.raw.cause.family(), CauseFamily::Address | CauseFamily::Inactive | CauseFamily::MailboxFull);
        let another = matches!(facts.role, AddressRole::Sender | AddressRole::Unknown);
        self.raw.for_receivers_in_general && of_address && another
    }

    /// The first condition beside the wording that fails, and what the reply has instead.
    fn fails(&self, facts: &Facts<'_>) -> Option<(&'static str, String)> {
        let condition = self.first_failed(facts)?;
        let none = || "none".to_owned();
        let found = match condition {
            "role" => facts.role.to_string(),
            "receiver" => facts.receiver.to_string(),
            "mx" => facts.context.mx.to_string(),
            "destination" => facts.context.destination.to_string(),
            "provider" => facts.context.provider.map_or_else(|| "unknown".to_owned(), |provider| provider.to_string()),
            "label" => facts.label.map_or_else(none, ToOwned::to_owned),
            "enhanced" => facts.head.enhanced.map_or_else(none, |code| code.to_string()),
            _ => facts.head.code.map_or_else(none, |code| code.to_string()),
        };
        Some((condition, found))
    }

    fn verdict(&self, facts: &Facts<'_>, phrase: Option<&str>) -> Verdict {
        let raw = &self.raw;
        let mut evidence = Vec::with_capacity(4);
        let mut push = |kind, detail: &str| evidence.push(Evidence { kind, detail: detail.to_owned() });
        if !raw.role.is_empty() {
            push(EvidenceKind::AddressRole, role_words(facts.role));
        }
        if !raw.receiver.is_empty() && facts.receiver != Receiver::Unknown {
            push(EvidenceKind::Context, receiver_words(facts.receiver));
        } else if !raw.mx.is_empty() && facts.context.mx != MxFamily::Unknown {
            push(EvidenceKind::Context, facts.context.mx.as_str());
        }
        if !raw.provider.is_empty()
            && let Some(provider) = facts.context.provider
        {
            push(EvidenceKind::Context, provider.as_str());
        }
        if let Some(phrase) = phrase {
            push(EvidenceKind::Wording, phrase);
        }
        if !raw.enhanced.is_empty()
            && let Some(code) = facts.head.enhanced
        {
            push(EvidenceKind::EnhancedCode, &code.to_string());
        }
        if !raw.code.is_empty()
            && let Some(code) = facts.head.code
        {
            push(EvidenceKind::BasicCode, &code.to_string());
        }
        if let Some(label) = facts.label.filter(|_| !raw.label.is_empty()) {
            push(EvidenceKind::ProviderLabel, label);
        }
        let action = raw.action.unwrap_or(raw.cause.action());
        Verdict {
            cause: raw.cause,
            fault: raw.fault.unwrap_or(raw.cause.fault()),
            action,
            hard: raw.hard && self.may_be_hard(facts),
            delay: raw.delay.or(raw.cause.delay()).filter(|_| action == Action::Retry),
            confidence: if raw.for_receivers_in_general && facts.is_apple() {
                raw.confidence.min(GUESS)
            } else {
                raw.confidence
            },
            rule: self.id.clone(),
            version: self.version,
            evidence,
        }
    }
}

/// The verdict on a text that no rule knows: hold the address, or go on trying where the code says that this may help.
fn undetermined(facts: &Facts<'_>) -> Verdict {
    let mut evidence = Vec::new();
    let mut fault = Fault::Unknown;
    if facts.is_apple() && facts.role == AddressRole::Sender {
        // Whatever the words mean, they are about the sender.
        fault = Fault::Sender;
    }
    if fault == Fault::Sender || facts.role == AddressRole::Unknown {
        evidence.push(Evidence { kind: EvidenceKind::AddressRole, detail: role_words(facts.role).to_owned() });
    }
    let mut action = Action::Hold;
    if facts.class() == Some(4) {
        action = Action::Retry;
        let (kind, detail) = match (facts.head.code, facts.head.enhanced) {
            (Some(code), _) => (EvidenceKind::BasicCode, code.to_string()),
            (None, Some(enhanced)) => (EvidenceKind::EnhancedCode, enhanced.to_string()),
            (None, None) => (EvidenceKind::BasicCode, String::new()),
        };
        evidence.push(Evidence { kind, detail });
    }
    Verdict {
        cause: Cause::Undetermined,
        fault,
        action,
        hard: false,
        confidence: 0.0,
        rule: NO_RULE.to_owned(),
        version: 0,
        evidence,
        delay: (action == Action::Retry).then_some(UNDETERMINED_DELAY),
    }
}

const fn role_words(role: AddressRole) -> &'static str {
    match role {
        AddressRole::Sender => "the reply names the envelope sender",
        AddressRole::Recipient => "the reply names the recipient",
        AddressRole::Unknown => {
            "the reply names an address that is neither the recipient's nor known to be the sender's"
        }
        AddressRole::Absent => "the reply names no address",
    }
}

const fn receiver_words(receiver: Receiver) -> &'static str {
    match receiver {
        Receiver::AppleRelay => "Apple's private relay received",
        Receiver::AppleIcloud => "Apple's iCloud mail received",
        Receiver::Other => "neither the relay nor iCloud received",
        Receiver::Unknown => "the receiver is not known",
    }
}

#[cfg(test)]
mod tests;
