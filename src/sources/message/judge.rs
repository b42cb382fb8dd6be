//! The verdict on one message by Apple's rule, with DMARC beside it.

use serde::Serialize;

use super::{
    Facts, Form, Missing,
    facts::{Envelope, SignatureField},
    missing::missing,
};
use crate::sources::{
    answer::Name,
    apple_rule::{
        AppleVerdict, FailReason, Inventory, PathVerdict, Registered, Signature, SpfSeen, Standing, UnknownReason,
        Validity, by_dkim, by_spf,
    },
    auth_results::{MethodResult, Seen},
    dmarc::org_by_list,
    mail_from::SES_DEFAULT,
    spf::SpfResult,
};

/// What was checked here by DNS, beside what the message says; empty where nobody asked DNS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// The signatures that were verified.
    pub signatures: Vec<Verified>,
    /// What SPF says of the envelope domain and the address that it was sent from.
    pub spf: Option<SpfResult>,
}

/// A signature that was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// `d=`.
    pub domain: Name,
    /// `s=`.
    pub selector: String,
    /// What came of it.
    pub validity: Validity,
    /// Why it is not valid, where it is not.
    pub says: Option<String>,
}

/// How near a name is to the From domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Alignment {
    /// Another organisation.
    None,
    /// The same organisation by the public suffix list, another name: enough for DMARC, and not known to be for Apple.
    Relaxed,
    /// The same name.
    Strict,
}

impl Alignment {
    fn of(name: &Name, from: &Name) -> Self {
        if name == from {
            Self::Strict
        } else if org_by_list(name) == org_by_list(from) {
            Self::Relaxed
        } else {
            Self::None
        }
    }

    /// In words, of a name beside the From domain.
    #[must_use]
    pub const fn says(self) -> &'static str {
        match self {
            Self::None => "another organisation than From",
            Self::Relaxed => "aligned with From in relaxed mode only",
            Self::Strict => "aligned with From, exactly",
        }
    }
}

/// How a sender stands with Apple, as declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// `registered`, `registered-stale`, `addresses-only`, `registered-elsewhere`, `related-only`, `absent` or `not-declared`.
    pub standing: &'static str,
    /// The declared source that it stands on.
    pub source: Option<String>,
    /// Its team.
    pub team: Option<String>,
}

impl Place {
    fn of(standing: &Standing, inventory: &Inventory) -> Self {
        let (word, entry) = match standing {
            Standing::NotSupplied => ("not-declared", None),
            Standing::Registered(entry) if entry.fresh => ("registered", Some(entry)),
            Standing::Registered(entry) => ("registered-stale", Some(entry)),
            Standing::AddressesOnly(entry) => ("addresses-only", Some(entry)),
            Standing::Elsewhere(entry) => ("registered-elsewhere", Some(entry)),
            Standing::Related(entry) => ("related-only", Some(entry)),
            Standing::Absent => ("absent", None),
        };
        let found = entry.and_then(|entry| inventory.source(entry));
        Self {
            standing: word,
            source: found.map(|(_, source)| source.name.clone()),
            team: found.map(|(team, _)| team.name.clone()),
        }
    }

    /// In words.
    #[must_use]
    pub fn says(&self) -> String {
        let by = match (&self.source, &self.team) {
            (Some(source), Some(team)) => format!(" ({source}, team {team})"),
            _ => String::new(),
        };
        match self.standing {
            "registered" => format!("declared as registered{by}"),
            "registered-stale" => format!("declared as registered, not confirmed within 90 days{by}"),
            "addresses-only" => format!("only single addresses of it are declared as registered{by}"),
            "registered-elsewhere" => format!("declared as registered by another team{by}"),
            "related-only" => {
                format!("not among the declared sources; another name of its organisation is, which does not count{by}")
            }
            "absent" => "not among the declared sources".to_owned(),
            _ => "registration not declared".to_owned(),
        }
    }
}

/// What is known of SPF.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct SpfTold {
    /// The result; `None` where nobody who counts told one.
    pub result: Option<String>,
    /// Who told it: a server's name, or `dns` where it was checked here.
    pub by: Option<String>,
    /// How near the envelope domain is to the From domain.
    pub alignment: Option<Alignment>,
}

/// What is known of one signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SignatureTold {
    /// `d=`; `None` where it cannot be read.
    #[serde(serialize_with = "as_text")]
    pub domain: Option<Name>,
    /// `s=`.
    pub selector: Option<String>,
    /// `a=`.
    pub algorithm: Option<String>,
    /// The result; `None` where nobody who counts told one.
    pub result: Option<String>,
    /// Who told it: a server's name, or `dns` where it was verified here.
    pub by: Option<String>,
    /// Why it is not valid, where that is known.
    pub says: Option<String>,
    /// How near `d=` is to the From domain.
    pub alignment: Option<Alignment>,
    #[serde(skip)]
    pub(super) validity: Validity,
    #[serde(skip)]
    start: String,
}

/// What is known of DMARC, which is no part of Apple's rule for the relay.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Dmarc {
    /// The result of the trusted receiver.
    pub result: Option<String>,
    /// The policy that it names in its comment.
    pub policy: Option<String>,
    /// Who told it.
    pub by: Option<String>,
    /// Whether SPF or DKIM passes for a name of From's organisation, by what is known here; `None` where that is not known.
    pub aligned: Option<bool>,
}

/// Somebody who would refuse it, by what is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// `apple-relay` or `icloud`.
    pub who: &'static str,
    /// Why, a sentence.
    pub why: String,
    /// What to change, a sentence each.
    pub fix: Vec<String>,
}

/// The verdict on one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// What was given.
    #[serde(rename = "kind")]
    pub form: Form,
    /// The sender in From.
    pub from: Option<Registered>,
    /// How it stands with Apple.
    pub from_registration: Option<Place>,
    /// The envelope sender, and who told it.
    pub envelope: Option<Envelope>,
    /// How it stands with Apple.
    pub envelope_registration: Option<Place>,
    /// SPF.
    pub spf: SpfTold,
    /// The signatures.
    pub signatures: Vec<SignatureTold>,
    /// DMARC, beside Apple's rule.
    pub dmarc: Dmarc,
    /// Apple's rule.
    pub apple: AppleVerdict,
    /// Who would refuse it.
    pub refusals: Vec<Refusal>,
    /// What is missing to be sure.
    pub missing: Vec<Missing>,
    /// What else is to be known, a sentence each.
    pub notes: Vec<String>,
    /// All results of authentication in the header, from the top, with whether they count.
    pub results: Vec<Seen>,
}

/// Judges one message.
#[must_use]
pub fn diagnose(facts: &Facts, inventory: &Inventory, checked: &Checked) -> Diagnosis {
    let from = facts.from.as_ref();
    let from_standing = from.map(|from| inventory.standing(from.domain(), local(from), None));
    let sender = facts.envelope.as_ref().and_then(|envelope| envelope.sender.as_ref());
    let envelope_standing = sender.map(|sender| match local(sender) {
        Some(local) => inventory.envelope_standing(sender.domain(), local, None),
        None => inventory.standing(sender.domain(), None, None),
    });
    let place = |standing: &Option<Standing>| standing.as_ref().map(|standing| Place::of(standing, inventory));
    let (spf, spf_seen) = spf(facts, checked, from, sender);
    let by_spf = match &envelope_standing {
        Some(standing) => by_spf(spf_seen, standing),
        None => PathVerdict::Unknown(UnknownReason::NotTold),
    };
    let signatures = signatures(facts, checked, from);
    let by_dkim = dkim(facts, from, from_standing.as_ref(), &signatures);
    let apple = AppleVerdict::of(by_spf, by_dkim);
    let dmarc = dmarc(facts, &spf, &signatures);
    let mut diagnosis = Diagnosis {
        form: facts.form,
        from: facts.from.clone(),
        from_registration: place(&from_standing),
        envelope: facts.envelope.clone(),
        envelope_registration: place(&envelope_standing),
        spf,
        signatures,
        dmarc,
        apple,
        refusals: Vec::new(),
        missing: Vec::new(),
        notes: notes(facts),
        results: facts.seen.clone(),
    };
    diagnosis.refusals = refusals(&diagnosis, facts);
    diagnosis.missing = missing(&diagnosis, facts, checked);
    diagnosis
}

#[expect(clippy::ref_option, reason = "serde gives the field so")]
fn as_text<S: serde::Serializer>(name: &Option<Name>, serializer: S) -> Result<S::Ok, S::Error> {
    name.as_ref().map(Name::as_str).serialize(serializer)
}

fn local(sender: &Registered) -> Option<&str> {
    match sender {
        Registered::Domain(_) => None,
        Registered::Address { local, .. } => Some(local),
    }
}

/// The server of a trusted result of a method.
fn by(facts: &Facts, one: &MethodResult) -> Option<String> {
    let trusted = facts.seen.iter().filter(|seen| seen.untrusted.is_none());
    let seen = trusted.into_iter().find(|seen| seen.says.results.iter().any(|own| std::ptr::eq(own, one)))?;
    Some(seen.says.server.clone().unwrap_or_else(|| "a server that leaves its name out".to_owned()))
}

fn spf(facts: &Facts, checked: &Checked, from: Option<&Registered>, sender: Option<&Registered>) -> (SpfTold, SpfSeen) {
    let alignment = from.zip(sender).map(|(from, sender)| Alignment::of(sender.domain(), from.domain()));
    if let Some(one) = facts.trusted("spf").next() {
        let seen = match one.result.as_str() {
            "pass" => SpfSeen::Pass,
            "temperror" => SpfSeen::Trouble,
            "fail" | "hardfail" | "softfail" | "neutral" | "none" | "permerror" | "policy" => SpfSeen::NotPass,
            _ => SpfSeen::NotTold,
        };
        return (SpfTold { result: Some(one.result.clone()), by: by(facts, one), alignment }, seen);
    }
    let Some(result) = checked.spf else { return (SpfTold { alignment, ..SpfTold::default() }, SpfSeen::NotTold) };
    let seen = match result {
        SpfResult::Pass => SpfSeen::Pass,
        SpfResult::TempError => SpfSeen::Trouble,
        _ => SpfSeen::NotPass,
    };
    (SpfTold { result: Some(result.to_string()), by: Some("dns".to_owned()), alignment }, seen)
}

/// Whether a signature's beginning can tell it from another: eight letters of base64 (RFC 6008 section 4) that nobody has blacked out.
fn is_whole(start: &str) -> bool {
    start.len() >= 8 && start.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
}

/// The signatures of the message with what came of each, and those that only the results name.
fn signatures(facts: &Facts, checked: &Checked, from: Option<&Registered>) -> Vec<SignatureTold> {
    let mut all: Vec<SignatureTold> = facts.signatures.iter().map(field).collect();
    for one in facts.trusted("dkim") {
        let named = one.property("header", "d").or_else(|| {
            let identity = one.property("header", "i")?;
            Some(identity.rsplit_once('@').map_or(identity, |(_, domain)| domain))
        });
        let Some(domain) = named.and_then(|text| Registered::parse(text).map(|name| name.domain().clone())) else {
            continue;
        };
        let selector = one.property("header", "s");
        let start = one.property("header", "b").unwrap_or_default();
        let same = |told: &&mut SignatureTold| {
            told.result.is_none()
                && told.domain.as_ref() == Some(&domain)
                && selector.is_none_or(|selector| {
                    told.selector.as_deref().is_none_or(|own| own.eq_ignore_ascii_case(selector))
                })
                && (start.starts_with(&told.start)
                    || told.start.starts_with(start)
                    || !is_whole(start)
                    || !is_whole(&told.start))
        };
        let place = all.iter_mut().find(same);
        let mut new = SignatureTold {
            domain: Some(domain.clone()),
            selector: selector.map(str::to_owned),
            algorithm: one.property("header", "a").map(str::to_ascii_lowercase),
            ..field(&SignatureField {
                domain: None,
                selector: None,
                algorithm: None,
                start: String::new(),
                signs_from: None,
            })
        };
        let told = place.unwrap_or(&mut new);
        let ed25519 = told.algorithm.as_deref().is_some_and(|algorithm| algorithm.starts_with("ed25519"));
        told.validity = match one.result.as_str() {
            "pass" if told.validity == Validity::Invalid => Validity::Invalid,
            "pass" if ed25519 => Validity::ValidEd25519,
            "pass" => Validity::Valid,
            "temperror" => Validity::Trouble,
            "fail" | "hardfail" | "policy" | "neutral" | "permerror" => Validity::Invalid,
            _ => Validity::Untold,
        };
        told.result = Some(one.result.clone());
        told.by = by(facts, one);
        told.says = told.says.take().or_else(|| one.reason.clone());
        if new.result.is_some() {
            all.push(new);
        }
    }
    for one in &checked.signatures {
        let same = |told: &&mut SignatureTold| {
            told.result.is_none()
                && told.domain.as_ref() == Some(&one.domain)
                && told.selector.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(&one.selector))
        };
        if let Some(told) = all.iter_mut().find(same) {
            let word = match one.validity {
                Validity::Valid | Validity::ValidEd25519 => "pass",
                Validity::Trouble => "temperror",
                Validity::Untold | Validity::Chance => "neutral",
                Validity::Invalid => "fail",
            };
            told.validity = if told.validity == Validity::Invalid { Validity::Invalid } else { one.validity };
            (told.result, told.by) = (Some(word.to_owned()), Some("dns".to_owned()));
            told.says = told.says.take().or_else(|| one.says.clone());
        }
    }
    for told in &mut all {
        told.alignment = from.zip(told.domain.as_ref()).map(|(from, domain)| Alignment::of(domain, from.domain()));
    }
    all
}

/// A signature as its field tells it, verified by nobody.
fn field(field: &SignatureField) -> SignatureTold {
    // A signature must cover From (RFC 6376 section 5.4).
    let without_from = field.signs_from == Some(false);
    SignatureTold {
        domain: field.domain.clone(),
        selector: field.selector.clone(),
        algorithm: field.algorithm.clone(),
        result: None,
        by: None,
        says: without_from.then(|| "it does not sign From, without which no signature counts".to_owned()),
        alignment: None,
        validity: if without_from { Validity::Invalid } else { Validity::Untold },
        start: field.start.clone(),
    }
}

fn dkim(
    facts: &Facts,
    from: Option<&Registered>,
    standing: Option<&Standing>,
    signatures: &[SignatureTold],
) -> PathVerdict {
    let (Some(from), Some(standing)) = (from, standing) else { return PathVerdict::Unknown(UnknownReason::NotTold) };
    let known: Vec<Signature> = signatures
        .iter()
        .filter_map(|told| Some(Signature { domain: told.domain.clone()?, validity: told.validity }))
        .collect();
    let verdict = by_dkim(from.domain(), &known, true, standing);
    let all_known = known.len() == signatures.len() && !facts.cut;
    let none = signatures.is_empty() && (facts.form == Form::Message || says_none(facts));
    match verdict {
        // A whole message without a signature has none; so says the receiver where it found none.
        PathVerdict::Unknown(UnknownReason::NotTold) if none && !facts.cut => {
            PathVerdict::Fail(FailReason::NoValidSignature)
        }
        // Of a signature that is blacked out, or was left out, nobody knows whose it is.
        PathVerdict::Fail(FailReason::ForeignSignature | FailReason::NoValidSignature)
            if !is_complete(facts, all_known) =>
        {
            PathVerdict::Unknown(UnknownReason::NotTold)
        }
        verdict => verdict,
    }
}

/// Whether the receiver says that there is no signature.
fn says_none(facts: &Facts) -> bool {
    facts.trusted("dkim").any(|one| one.result == "none")
}

/// Whether all signatures are known: of a whole message by its header, else by the results of the receiver.
fn is_complete(facts: &Facts, all_known: bool) -> bool {
    all_known && (facts.form == Form::Message || facts.trusted("dkim").next().is_some())
}

fn dmarc(facts: &Facts, spf: &SpfTold, signatures: &[SignatureTold]) -> Dmarc {
    let told = facts.trusted("dmarc").next();
    let near = |alignment: Option<Alignment>| alignment.is_some_and(|alignment| alignment >= Alignment::Relaxed);
    let valid = |told: &SignatureTold| matches!(told.validity, Validity::Valid | Validity::ValidEd25519);
    let passes = (near(spf.alignment) && spf.result.as_deref() == Some("pass"))
        || signatures.iter().any(|told| near(told.alignment) && valid(told));
    let open = (near(spf.alignment) && spf.result.is_none())
        || spf.alignment.is_none()
        || signatures.iter().any(|told| told.domain.is_none() || (near(told.alignment) && told.result.is_none()))
        || !is_complete(facts, true);
    Dmarc {
        result: told.map(|one| one.result.clone()),
        policy: told.and_then(|one| one.comments.iter().find_map(|comment| policy(comment))),
        by: told.and_then(|one| by(facts, one)),
        aligned: if passes { Some(true) } else { (!open).then_some(false) },
    }
}

/// The policy in a comment such as `p=REJECT sp=NONE dis=NONE`.
fn policy(comment: &str) -> Option<String> {
    let lower = comment.to_ascii_lowercase();
    let word = lower.split([' ', ',', ';']).find_map(|word| word.strip_prefix("p="))?.to_owned();
    matches!(word.as_str(), "none" | "quarantine" | "reject").then_some(word)
}

fn refusals(diagnosis: &Diagnosis, facts: &Facts) -> Vec<Refusal> {
    let mut all = Vec::new();
    let (from, sender) = (diagnosis.from.as_ref(), facts.envelope.as_ref().and_then(|one| one.sender.as_ref()));
    if let (PathVerdict::Fail(spf), PathVerdict::Fail(dkim)) = (diagnosis.apple.spf, diagnosis.apple.dkim) {
        let says = |verdict: PathVerdict| verdict.says().unwrap_or_default();
        let fix = [spf_fix(spf, sender), dkim_fix(dkim, from)];
        all.push(Refusal {
            who: "apple-relay",
            why: format!(
                "neither of Apple's two paths is open: by SPF, {}; by DKIM, {}",
                says(diagnosis.apple.spf),
                says(diagnosis.apple.dkim)
            ),
            fix: fix.into_iter().flatten().collect(),
        });
    }
    let dmarc = &diagnosis.dmarc;
    if dmarc.result.as_deref() == Some("fail") && dmarc.policy.as_deref() == Some("reject") {
        all.push(Refusal {
            who: "icloud",
            why: "DMARC fails and the policy of the From domain is reject: iCloud refuses such mail (554 5.7.1), whatever is registered"
                .to_owned(),
            fix: vec!["Sign with the From domain in d=, or send with an envelope domain of its organisation.".to_owned()],
        });
    }
    let spf_fails = diagnosis.spf.result.as_deref().is_some_and(|result| !matches!(result, "pass" | "temperror"));
    let bad = |told: &SignatureTold| told.validity == Validity::Invalid;
    if spf_fails && is_complete(facts, !facts.cut) && diagnosis.signatures.iter().all(bad) {
        all.push(Refusal {
            who: "icloud",
            why: "neither SPF nor any signature passes: iCloud is reported to refuse such mail (554 5.7.1 [HME1])"
                .to_owned(),
            fix: vec!["Mend SPF of the envelope domain, or the signature.".to_owned()],
        });
    }
    all
}

fn spf_fix(reason: FailReason, sender: Option<&Registered>) -> Option<String> {
    let domain = sender?.domain();
    Some(match reason {
        FailReason::EnvelopeUnregistered if is_ses(domain) => {
            "Set up a custom MAIL FROM at Amazon SES and register that domain with Apple. Where one is set up, SES does not find its MX: \
             without it SES falls back to amazonses.com, and no bounce says so."
                .to_owned()
        }
        FailReason::EnvelopeUnregistered => {
            format!("Register {domain} with Apple: the match is exact, and nothing is inherited from a name above it.")
        }
        FailReason::RegisteredElsewhere => {
            format!("Register {domain} for the team whose users the mail is for: registrations of other teams do not count.")
        }
        FailReason::SpfNotPass => format!("Let SPF pass for {domain}: `relaywatch check` shows what its record lacks."),
        _ => return None,
    })
}

fn dkim_fix(reason: FailReason, from: Option<&Registered>) -> Option<String> {
    let domain = from?.domain();
    Some(match reason {
        FailReason::FromUnregistered => format!("Register {domain}, the domain of From, with Apple."),
        FailReason::RegisteredElsewhere => {
            format!(
                "Register {domain} for the team whose users the mail is for: registrations of other teams do not count."
            )
        }
        FailReason::NoValidSignature => {
            format!("Sign with d={domain}, and publish the key at the selector that is used.")
        }
        FailReason::ForeignSignature => {
            format!("Set up signing with d={domain} at your provider: a signature of its own domain does not count.")
        }
        _ => return None,
    })
}

fn is_ses(domain: &Name) -> bool {
    Name::parse(SES_DEFAULT).is_ok_and(|own| domain.is_within(&own))
}

fn notes(facts: &Facts) -> Vec<String> {
    let mut notes = Vec::new();
    let sender = facts.envelope.as_ref().and_then(|envelope| envelope.sender.as_ref());
    if let Some(sender) = sender.filter(|sender| is_ses(sender.domain())) {
        notes.push(format!(
            "The envelope is Amazon SES's own ({}): no custom MAIL FROM is set up, or SES does not find its MX and has fallen back. \
             The path by SPF can't be had that way, since the domain is not yours to register.",
            sender.domain()
        ));
    }
    if facts.envelope.as_ref().is_some_and(|envelope| envelope.sender.is_none()) {
        notes.push("The envelope sender is null, as that of bounces: SPF is checked for HELO then, and no registered domain stands in it.".to_owned());
    }
    if let Some(other) = &facts.other_return_path {
        notes.push(format!("Return-Path names {other}, another domain than the receiver checked; the latter counts."));
    }
    if facts.more_from > 0 {
        notes.push("From names several senders; the first is taken, and receivers may refuse such mail.".to_owned());
    }
    if let Some(from) = facts.from.as_ref().filter(|from| is_rewritten(from)) {
        notes.push(format!(
            "From is at {}, with the sender's address within: this is a copy as Apple's relay hands it on. It came through; give a \
             message as it was sent to judge that.",
            from.domain()
        ));
    }
    if facts.cut {
        notes.push("The header is longer than is read; what stands behind that is not known.".to_owned());
    }
    notes
}

/// Apple writes From anew as `sales_at_example_com_…@icloud.com` (documented), and at its relay domains.
fn is_rewritten(from: &Registered) -> bool {
    let apple = ["icloud.com", "privaterelay.appleid.com", "private.icloud.com"];
    local(from).is_some_and(|local| local.contains("_at_")) && apple.contains(&from.domain().as_str())
}
