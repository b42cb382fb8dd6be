//! What is missing to be sure, and how to get it.

use serde::Serialize;

use super::{Alignment, Checked, Diagnosis, Facts, Form, ToldBy};
use crate::{
    model::words,
    sources::{
        apple_rule::{PathVerdict, Registered, UnknownReason, Validity},
        auth_results::Untrusted,
    },
};

words! {
    /// What is missing.
    pub enum MissingKind {
        /// What is registered with Apple is not declared.
        Registration = 1, "registration";
        /// What is declared was not confirmed of late.
        Confirmation = 2, "confirmation";
        /// From, or a readable one.
        From = 3, "from";
        /// The envelope sender, or a readable one.
        Envelope = 4, "envelope";
        /// Results of a receiver that is trusted.
        TrustedResults = 5, "trusted_results";
        /// A result of SPF.
        Spf = 6, "spf";
        /// A verified signature.
        Signature = 7, "signature";
        /// Whether Apple takes a `d=` that is not the From domain.
        Relaxed = 8, "relaxed";
        /// Which address of the domain sends.
        Address = 9, "address";
        /// Whether it arrives, which nothing here shows.
        Arrival = 10, "arrival";
    }
}

/// One thing that is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// What kind of thing.
    pub kind: MissingKind,
    /// What it is, a sentence.
    pub what: String,
    /// How to get it, a sentence.
    pub how: String,
}

fn one(kind: MissingKind, what: impl Into<String>, how: impl Into<String>) -> Missing {
    Missing { kind, what: what.into(), how: how.into() }
}

/// What is missing, the first step first.
pub(super) fn missing(diagnosis: &Diagnosis, facts: &Facts, checked: &Checked) -> Vec<Missing> {
    let mut all = Vec::new();
    if diagnosis.from.is_none() {
        let what = if facts.from_hidden { "From has no domain that can be read." } else { "There is no From." };
        all.push(one(MissingKind::From, what, "Give the header with From; leave at least the domain as it is."));
    }
    match &facts.envelope {
        None => {
            let what = if facts.envelope_hidden {
                "The envelope sender has no domain that can be read."
            } else {
                "The envelope sender is not told."
            };
            let how = "Give the source of a copy that was received, with Return-Path; one from the folder of sent mail has none.";
            all.push(one(MissingKind::Envelope, what, how));
        }
        Some(envelope) if envelope.by == ToldBy::Claim => all.push(one(
            MissingKind::Envelope,
            "The envelope sender is told only by results that are not trusted.",
            "Give the header with Return-Path, or name the receiver by --trust.",
        )),
        Some(_) => {}
    }
    registration(diagnosis, facts, &mut all);
    results(diagnosis, facts, checked, &mut all);
    let reasons = [diagnosis.apple.spf, diagnosis.apple.dkim];
    let has = |reason: UnknownReason| reasons.contains(&PathVerdict::Unknown(reason));
    if has(UnknownReason::RelaxedOnly) || relaxed_only(diagnosis) {
        all.push(one(
            MissingKind::Relaxed,
            "No signature has the From domain itself as its d=; whether Apple takes one above or below it is not established.",
            "Sign with the From domain as d=; until then a canary shows what Apple does.",
        ));
    }
    if has(UnknownReason::AddressUnknown) {
        all.push(one(
            MissingKind::Address,
            "Single addresses of the domain are registered, each for exactly itself, and which one sends is not told.",
            "Give the header with the whole address, or register the domain.",
        ));
    }
    if diagnosis.apple.overall == PathVerdict::Pass {
        all.push(one(
            MissingKind::Arrival,
            "A header shows neither that Apple's portal still has the registration, for the team whose users the mail is for, nor that \
             mail arrives.",
            "Look into the portal, and send one message to a relay address of your own and look for it.",
        ));
    }
    all
}

fn relaxed_only(diagnosis: &Diagnosis) -> bool {
    let has = |alignment| diagnosis.signatures.iter().any(|told| told.alignment == Some(alignment));
    has(Alignment::Relaxed) && !has(Alignment::Strict)
}

fn registration(diagnosis: &Diagnosis, facts: &Facts, all: &mut Vec<Missing>) {
    let places = [&diagnosis.from_registration, &diagnosis.envelope_registration].map(Option::as_ref);
    let is = |word: &str| places.iter().flatten().any(|place| place.standing == word);
    let sender = facts.envelope.as_ref().and_then(|envelope| envelope.sender.as_ref());
    let mut names: Vec<&str> = diagnosis.from.iter().chain(sender).map(|name| name.domain().as_str()).collect();
    names.dedup();
    let names = names.join(" and ");
    if is("not-declared") {
        all.push(one(
            MissingKind::Registration,
            "What is registered with Apple is not declared.",
            format!(
                "Look for {names} in Apple's portal (Certificates, Identifiers & Profiles, Services, Email sources), declare what stands \
                 there as [[team.source]], and give that configuration by --config."
            ),
        ));
    } else if is("registered-stale") {
        all.push(one(
            MissingKind::Confirmation,
            "What is declared was not confirmed within 90 days.",
            "Look into Apple's portal again, and set confirmed_at of the [[team.source]].",
        ));
    }
}

fn results(diagnosis: &Diagnosis, facts: &Facts, checked: &Checked, all: &mut Vec<Missing>) {
    let trusted = facts.seen.iter().any(|seen| seen.untrusted.is_none());
    if !trusted {
        let other = facts.seen.iter().find(|seen| seen.untrusted == Some(Untrusted::OtherServer));
        let (what, how) = match other {
            Some(seen) => {
                let server = seen.says.server.as_deref().unwrap_or("outlook.com");
                (
                    "The results of authentication are by a server that is not trusted here, so that they decide nothing.",
                    format!("If that is the receiver of this copy, name it: --trust {server}"),
                )
            }
            None => (
                "There are no results of authentication by a receiver that is trusted.",
                "Give the source of a copy as it was received, at iCloud best, from its first line on; name another receiver by --trust."
                    .to_owned(),
            ),
        };
        all.push(one(MissingKind::TrustedResults, what, how));
    }
    let sender = facts.envelope.as_ref().and_then(|envelope| envelope.sender.as_ref());
    if diagnosis.spf.result.is_none() && (trusted || checked.spf.is_none()) {
        let how = match (sender, facts.client) {
            (Some(sender), Some(_)) => {
                format!("Ask DNS: --dns checks SPF of {} for the address that sent it.", sender.domain())
            }
            (Some(sender), None) => format!(
                "The address that sent it is not told. Give the whole header of a received copy, or run `relaywatch check {}`.",
                from_or(diagnosis, sender)
            ),
            (None, _) => "Give the header with the envelope sender and the receiver's results.".to_owned(),
        };
        all.push(one(MissingKind::Spf, "Nobody who is trusted says whether SPF passes.", how));
    }
    let untold =
        diagnosis.signatures.iter().filter(|told| told.validity == Validity::Untold && told.domain.is_some()).count();
    let hidden = diagnosis.signatures.iter().any(|told| told.domain.is_none());
    if hidden {
        all.push(one(
            MissingKind::Signature,
            "A signature's d= can't be read.",
            "Leave d= and s= of DKIM-Signature as they are: both are public.",
        ));
    } else if untold > 0 {
        let how = if facts.form == Form::Message {
            "Verify them: --dns fetches the keys. Give the message as it was received, byte by byte; a pasted one fails."
        } else {
            "Give the whole message as it was received (.eml), with --dns; a header alone can't be verified."
        };
        all.push(one(MissingKind::Signature, "Nobody who is trusted has verified the signatures.", how));
    } else if diagnosis.signatures.is_empty() && diagnosis.apple.dkim == PathVerdict::Unknown(UnknownReason::NotTold) {
        all.push(one(
            MissingKind::Signature,
            "No signature is told.",
            "Give the whole header, with DKIM-Signature and the receiver's results.",
        ));
    }
}

/// What `check` is to be asked about.
fn from_or(diagnosis: &Diagnosis, sender: &Registered) -> String {
    let from = diagnosis.from.as_ref().map_or_else(|| sender.domain(), Registered::domain);
    if from == sender.domain() { from.to_string() } else { format!("{from} --mail-from {}", sender.domain()) }
}
