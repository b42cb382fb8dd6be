//! What stands at one selector, and what is wrong with it.

use super::{
    super::{
        answer::{Answer, Kind, Name, Outcome, Text, Values},
        asking::{Asking, trouble},
        finding::{DnsRecord, Finding, FindingCode, Fix, shown},
        spf::Answers,
    },
    GOOD_RSA_BITS, Key, KeyRecord, MAX_RSA_BITS, MIN_RSA_BITS, parse,
    record::mended,
};

/// The most records at one selector that are read; a key that is used stands alone.
const MAX_RECORDS: usize = 16;

/// What a selector is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// One RSA key that receivers accept.
    Rsa,
    /// One Ed25519 key, which some receivers do not know.
    Ed25519,
    /// Several keys: chance decides.
    Doubtful,
    /// Signatures by it are not valid.
    Unusable,
    /// Nothing is there, and nobody says that the selector is in use.
    Absent,
    /// DNS did not answer.
    Unknown,
}

/// What was found at one selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectorView {
    /// Where the key stands: `SELECTOR._domainkey.DOMAIN`.
    pub at: Name,
    /// `d=` of the signatures that the key verifies.
    pub domain: Name,
    /// The chain of CNAMEs, apart from the key; empty without one.
    pub aliases: Vec<Name>,
    /// The one key, where there is one that can be read.
    pub key: Option<KeyRecord>,
    /// What it is good for.
    pub state: KeyState,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// What a selector of a domain is good for. `None` where something is still to be asked. An absence counts as a finding only where
/// the selector is known to be in use.
pub(in super::super) fn view<A: Answers>(
    selector: &Name,
    domain: &Name,
    in_use: bool,
    asking: &Asking<'_, A>,
) -> Option<SelectorView> {
    let Ok(at) = Name::parse(&format!("{selector}._domainkey.{domain}")) else {
        return Some(too_long(selector, domain));
    };
    let answer = asking.ask(&at, Kind::Txt)?;
    let mut view = SelectorView {
        at: at.clone(),
        domain: domain.clone(),
        aliases: answer.aliases.clone(),
        key: None,
        state: KeyState::Unknown,
        findings: Vec::new(),
    };
    match &answer.outcome {
        Outcome::Found(Values::Txt(texts)) => records(&mut view, texts, in_use),
        outcome if outcome.is_trouble() => view.findings.extend(trouble(&at, Kind::Txt, outcome)),
        // Records of another kind than was asked are no answer.
        Outcome::Found(_) => view.findings.extend(trouble(&at, Kind::Txt, &Outcome::ServerFailure)),
        absence => {
            if let Some(last) = answer.aliases.last() {
                view.state = KeyState::Unusable;
                view.findings.push(dangling(&at, last, absence));
            } else if in_use {
                view.state = KeyState::Unusable;
                view.findings.push(elsewhere(selector, domain, &at, asking)?);
            } else {
                view.state = KeyState::Absent;
            }
        }
    }
    Some(view)
}

fn too_long(selector: &Name, domain: &Name) -> SelectorView {
    let what = "selector and domain together are longer than a name of DNS can be";
    let fix = Fix::step("Give the selector as it stands in s= of a signature.");
    SelectorView {
        at: selector.clone(),
        domain: domain.clone(),
        aliases: Vec::new(),
        key: None,
        state: KeyState::Unusable,
        findings: vec![Finding::new(FindingCode::StreamInvalid, domain, what, fix)],
    }
}

fn dangling(at: &Name, last: &Name, absence: &Outcome) -> Finding {
    let what = match absence {
        Outcome::NoSuchDomain => format!("{at} is a CNAME to {last}, which does not exist"),
        _ => format!("{at} is a CNAME to {last}, which has no TXT record"),
    };
    let step = format!(
        "Set the CNAME of {at} to the name that your provider shows for this domain now, or take the CNAME away and \
         sign with another selector."
    );
    Finding::new(FindingCode::DkimAliasDangling, at, what, Fix::step(step))
}

/// An absent key: whether it stands at one of the names that consoles make of a wrong entry.
fn elsewhere<A: Answers>(selector: &Name, domain: &Name, at: &Name, asking: &Asking<'_, A>) -> Option<Finding> {
    let wrong = [format!("{at}.{domain}"), format!("{selector}.{domain}"), format!("_domainkey.{selector}.{domain}")];
    let wrong: Vec<Name> = wrong.iter().filter_map(|name| Name::parse(name).ok()).collect();
    let answers: Vec<Option<&Answer>> = wrong.iter().map(|name| asking.ask(name, Kind::Txt)).collect();
    for (name, answer) in wrong.iter().zip(answers) {
        let Outcome::Found(Values::Txt(texts)) = &answer?.outcome else { continue };
        for text in texts.iter().take(MAX_RECORDS) {
            if let Some(Ok(KeyRecord { key: Key::Rsa { .. } | Key::Ed25519, .. })) = parse(&text.joined()) {
                let record = DnsRecord::txt(at, &String::from_utf8_lossy(&text.joined()));
                let what = format!("no key at {at}; one stands at {name}");
                let step = format!("Publish the key at {at} and take it away at {name}.");
                return Some(Finding::new(FindingCode::DkimWrongName, at, what, Fix::publish(step, record)));
            }
        }
    }
    Some(missing(at, format!("no key at {at}, though mail is signed with this selector")))
}

fn missing(at: &Name, what: String) -> Finding {
    let step = format!("Publish at {at} the record that your provider shows for this selector, TXT or CNAME.");
    Finding::new(FindingCode::DkimKeyMissing, at, what, Fix::step(step))
}

/// Judges the records at a selector.
fn records(view: &mut SelectorView, texts: &[Text], in_use: bool) {
    let at = view.at.clone();
    let read: Vec<_> = texts
        .iter()
        .filter_map(|text| parse(&text.joined()).map(|record| (text.joined().into_owned(), record)))
        .take(MAX_RECORDS)
        .collect();
    match read.as_slice() {
        [] => {
            view.state = if in_use { KeyState::Unusable } else { KeyState::Absent };
            if in_use {
                let first = texts.first().map(Text::joined).unwrap_or_default();
                let what = format!("what stands at {at} is no key: {}", shown(&first, 60));
                view.findings.push(missing(&at, what));
            }
        }
        [(text, record)] => one(view, text, record),
        several => {
            view.state = KeyState::Doubtful;
            let good = several.iter().filter(|(_, record)| record.is_ok()).count();
            let what = format!("{} key records at {at}, {good} of them readable", several.len());
            let step = "Leave the record that your provider shows, take the others away.";
            view.findings.push(Finding::new(FindingCode::DkimKeySeveral, &at, what, Fix::step(step)));
            if good == 0 {
                view.state = KeyState::Unusable;
            }
        }
    }
}

fn one(view: &mut SelectorView, text: &[u8], record: &Result<KeyRecord, super::Fault>) {
    let at = view.at.clone();
    let theirs = view.aliases.last().map(|last| {
        Fix::step(format!("{at} is a CNAME: ask the provider to mend the key; the record is theirs at {last}."))
    });
    let mut add = |code, what: String, fix| view.findings.push(Finding::new(code, &at, what, fix));
    let record = match record {
        Ok(record) => record,
        Err(fault) => {
            view.state = KeyState::Unusable;
            let fix = match (theirs, mended(text)) {
                (Some(theirs), _) => theirs,
                (None, Some(mended)) => {
                    let step = format!("Replace the TXT record at {at} by the key without what came in by pasting.");
                    Fix::publish(step, DnsRecord::txt(&at, &mended))
                }
                (None, None) => Fix::step(format!("Publish at {at} the record that your provider shows, whole.")),
            };
            add(FindingCode::DkimKeyBroken, format!("the key at {at} cannot be read, {fault}"), fix);
            return;
        }
    };
    let at_once = |step: &str| Fix::step(step.to_owned());
    let mut usable = true;
    match &record.key {
        Key::Revoked => {
            usable = false;
            let step = "Sign with another selector, or publish a new key at this one.";
            add(FindingCode::DkimKeyRevoked, format!("the key at {at} is revoked: p= is empty"), at_once(step));
        }
        Key::Unknown { kind } => {
            usable = false;
            let step = "Publish an RSA key of 2,048 bits (k=rsa).";
            add(FindingCode::DkimTypeUnknown, format!("the key at {at} has the type {kind}"), at_once(step));
        }
        Key::Rsa { bits } => {
            let step =
                "Make a key of 2,048 bits at a new selector, let the provider sign with it, then revoke the old one.";
            let what = format!("the RSA key at {at} has {bits} bits");
            if *bits < MIN_RSA_BITS {
                usable = false;
                add(FindingCode::DkimKeyTooShort, what, at_once(step));
            } else if *bits < GOOD_RSA_BITS {
                add(FindingCode::DkimKeyShort, what, at_once(step));
            } else if *bits > MAX_RSA_BITS {
                add(FindingCode::DkimKeyLong, what, at_once(step));
            }
        }
        Key::Ed25519 => {}
    }
    if !record.for_mail() {
        usable = false;
        let services = record.services.as_deref().unwrap_or_default().join(":");
        let what = format!("the key at {at} is for other services than mail: s={services}");
        add(FindingCode::DkimService, what, at_once("Take s= out of the record, or set it to s=email."));
    }
    if !record.allows_sha256() {
        usable = false;
        let hashes = record.hashes.as_deref().unwrap_or_default().join(":");
        let what = format!("the key at {at} does not allow SHA-256: h={hashes}");
        add(FindingCode::DkimHash, what, at_once("Take h= out of the record, or set it to h=sha256."));
    }
    if record.testing {
        let what = format!("the key at {at} says t=y");
        add(FindingCode::DkimTesting, what, at_once("Take the y out of t= now that mail is signed in earnest."));
    }
    if record.strict {
        let what = format!("the key at {at} says t=s");
        let step = "Look at i= of a message that was sent: if its domain is that of d=, or there is no i=, nothing is to be done; \
                    else take the s out of t=.";
        add(FindingCode::DkimStrict, what, at_once(step));
    }
    if record.blanks && record.key != Key::Revoked {
        let fix = match (theirs, mended(text)) {
            (Some(theirs), _) => theirs,
            (None, Some(mended)) => {
                let step = format!("Replace the TXT record at {at} by the key without blanks.");
                Fix::publish(step, DnsRecord::txt(&at, &mended))
            }
            (None, None) => Fix::step("Publish the key without blanks."),
        };
        add(FindingCode::DkimKeyBlanks, format!("the key at {at} has blanks within"), fix);
    }
    view.state = match (&record.key, usable) {
        (_, false) => KeyState::Unusable,
        (Key::Ed25519, true) => KeyState::Ed25519,
        (_, true) => KeyState::Rsa,
    };
    view.key = Some(record.clone());
}
