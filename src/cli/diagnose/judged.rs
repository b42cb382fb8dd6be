//! What is said of a message by Apple's rule, for people and for machines.

use std::{
    io::{self, Write},
    time::Duration,
};

use serde_json::Value;

use super::{DiagnoseError, Options};
use crate::{
    cli::{Exit, check::told_finding, open, text::Safe},
    ingest::mail::breaks_off,
    model::Provider,
    sources::{
        Finding,
        answer::Name,
        apple_rule::{PathVerdict, Registered},
        audit::{Selector, Setup, Stream},
        auth_results::Broken,
        dns::Asker,
        message::{
            Alignment, Checked, Diagnosis, Envelope, Facts, Form, Header, Mended, SignatureTold, ToldBy, diagnose,
        },
        signatures,
        spf::{Known, Query},
    },
};

/// How long DNS may take for one message.
const LIMIT: Duration = Duration::from_secs(30);
/// Results that are told one by one; of thousands the first say enough.
const MAX_TOLD: usize = 20;
/// Providers by a domain of their own that stands in the envelope or in a signature.
const PROVIDERS: &[(&str, Provider)] = &[
    ("amazonses.com", Provider::Ses),
    ("sendgrid.net", Provider::Sendgrid),
    ("mailgun.org", Provider::Mailgun),
    ("sparkpostmail.com", Provider::Sparkpost),
    ("mtasv.net", Provider::Postmark),
];

/// A message, judged.
pub(super) struct Judged {
    diagnosis: Diagnosis,
    mended: Vec<Mended>,
    cut: bool,
    /// What DNS says of its set-up; `None` where nobody asked.
    findings: Option<Vec<Finding>>,
}

impl Judged {
    pub(super) fn of(raw: &[u8], mended: Vec<Mended>, options: &Options<'_>) -> Result<Self, DiagnoseError> {
        let header = Header::read(raw);
        let facts = Facts::of(&header, options.trust);
        let (checked, findings) = match options.asker {
            Some(asker) => open::block_on(async { Ok(ask(raw, &facts, asker, options).await) })?,
            None => (Checked::default(), None),
        };
        let diagnosis = diagnose(&facts, options.inventory, &checked);
        let cut = diagnosis.form == Form::Message && breaks_off(raw);
        Ok(Self { diagnosis, mended, cut, findings })
    }

    pub(super) fn exit(&self) -> Exit {
        let passes = self.diagnosis.apple.overall == PathVerdict::Pass && self.diagnosis.refusals.is_empty();
        if passes { Exit::Success } else { Exit::Finding }
    }

    pub(super) fn json(&self) -> serde_json::Result<Value> {
        let mut told = serde_json::to_value(&self.diagnosis)?;
        if let Some(fields) = told.as_object_mut() {
            fields.insert("breaks_off".to_owned(), self.cut.into());
            fields.insert("mended".to_owned(), serde_json::to_value(&self.mended)?);
            fields.insert("findings".to_owned(), serde_json::to_value(&self.findings)?);
            fields.insert("recipients".to_owned(), Value::Array(Vec::new()));
        }
        Ok(told)
    }

    pub(super) fn text(&self, out: &mut impl Write) -> io::Result<()> {
        let Diagnosis {
            form, from, from_registration, envelope, envelope_registration, spf, signatures, dmarc, ..
        } = &self.diagnosis;
        writeln!(
            out,
            "{}",
            match form {
                Form::Message => "message: no report and no robot's answer, but a message that was sent",
                Form::Header => "header: a message's header, or a part of one",
                Form::AuthenticationResults =>
                    "authentication-results: what receivers found, without the message's other fields",
            }
        )?;
        for how in &self.mended {
            writeln!(out, "read as if it were not so: {}", how.says())?;
        }
        if self.cut {
            writeln!(out, "the mail breaks off: its end is missing, and what stood there with it")?;
        }
        let mut row = |word: &str, text: &str| writeln!(out, "  {word:<14}{text}");
        let name = |sender: &Registered| Safe(&sender.to_string()).to_string();
        let place = |place: &Option<_>| place.as_ref().map(crate::sources::message::Place::says).unwrap_or_default();
        match from {
            Some(from) => row("From", &format!("{}: {}", name(from), Safe(&place(from_registration))))?,
            None => row("From", "not told")?,
        }
        match envelope {
            Some(Envelope { sender: Some(sender), by }) => {
                let by = match by {
                    ToldBy::Results | ToldBy::Field => "",
                    ToldBy::Claim => " (a claim: by results that are not trusted)",
                };
                row("envelope", &format!("{}{by}: {}", name(sender), Safe(&place(envelope_registration))))?;
            }
            Some(Envelope { sender: None, .. }) => row("envelope", "<>, the null one")?,
            None => row("envelope", "not told")?,
        }
        row("SPF", &result(spf.result.as_deref(), spf.by.as_deref(), spf.alignment.map(Alignment::says)))?;
        if signatures.is_empty() {
            row("signature", "none is told")?;
        }
        for told in signatures {
            row("signature", &signature(told))?;
        }
        let policy = dmarc.policy.as_ref().map(|policy| format!("p={}", Safe(policy)));
        let own = match dmarc.aligned {
            Some(true) => Some("by what is known here it passes"),
            Some(false) => Some("by what is known here it fails"),
            None => None,
        };
        let beside = [policy.as_deref(), own.filter(|_| dmarc.result.is_none())];
        let beside: Vec<&str> = beside.into_iter().flatten().collect();
        let beside = (!beside.is_empty()).then(|| beside.join(", "));
        row("DMARC", &result(dmarc.result.as_deref(), dmarc.by.as_deref(), beside.as_deref()))?;
        self.results(out)?;
        let apple = &self.diagnosis.apple;
        writeln!(out, "Apple's rule for the relay: {}", apple.overall.as_str())?;
        for (word, verdict) in [("by SPF", apple.spf), ("by DKIM", apple.dkim)] {
            let why = verdict.says().map(|says| format!(": {says}")).unwrap_or_default();
            writeln!(out, "  {word:<14}{}{why}", verdict.as_str())?;
        }
        self.refused(out)?;
        for note in &self.diagnosis.notes {
            writeln!(out, "note: {}", Safe(note))?;
        }
        if !self.diagnosis.missing.is_empty() {
            writeln!(out, "Missing to be sure:")?;
        }
        for (number, one) in self.diagnosis.missing.iter().enumerate() {
            writeln!(out, "  {}. {}\n     > {}", number + 1, Safe(&one.what), Safe(&one.how))?;
        }
        match &self.findings {
            None => writeln!(out, "DNS was not asked, so that no signature was verified here; --dns does.")?,
            Some(findings) if findings.is_empty() => writeln!(out, "DNS: nothing is wrong with the set-up.")?,
            Some(findings) => {
                writeln!(out, "DNS, about the set-up that the message shows:")?;
                for (number, finding) in findings.iter().enumerate() {
                    told_finding(number + 1, finding, out)?;
                }
            }
        }
        if *form == Form::Message {
            writeln!(
                out,
                "If it is a bounce, relaywatch does not know this kind: `relaywatch classify` judges the reply that it quotes."
            )?;
        }
        Ok(())
    }

    /// The results that decide nothing, and what is broken in those that do.
    fn results(&self, out: &mut impl Write) -> io::Result<()> {
        let results = &self.diagnosis.results;
        for seen in results.iter().take(MAX_TOLD) {
            let says = short(&seen.says.to_string());
            if let Some(why) = &seen.untrusted {
                writeln!(out, "  not trusted   {}\n                {}", Safe(&says), Safe(&why.says()))?;
            }
            if let Some(broken) = seen.says.broken.map(Broken::says) {
                writeln!(out, "  broken        {}\n                {broken}", Safe(&says))?;
            }
        }
        if results.len() > MAX_TOLD {
            writeln!(out, "  and {} more fields of results of authentication", results.len() - MAX_TOLD)?;
        }
        Ok(())
    }

    fn refused(&self, out: &mut impl Write) -> io::Result<()> {
        if self.diagnosis.refusals.is_empty() {
            let open = if self.diagnosis.apple.overall == PathVerdict::Pass { "nobody" } else { "it can't be told" };
            return writeln!(out, "Who would refuse it: {open}, by what is known");
        }
        for refusal in &self.diagnosis.refusals {
            let who = if refusal.who == "icloud" { "iCloud" } else { "Apple's relay" };
            writeln!(out, "Refused by {who}: {}", Safe(&refusal.why))?;
            for fix in &refusal.fix {
                writeln!(out, "  > {}", Safe(fix))?;
            }
        }
        Ok(())
    }
}

/// A result with who told it and what else there is to say.
fn result(result: Option<&str>, by: Option<&str>, beside: Option<&str>) -> String {
    let mut told = match (result, by) {
        (Some(result), Some("dns")) => format!("{}, checked here by DNS", Safe(result)),
        (Some(result), Some(by)) => format!("{}, by {}", Safe(result), Safe(by)),
        _ => "told by nobody who is trusted".to_owned(),
    };
    if let Some(beside) = beside {
        told = format!("{told}; {beside}");
    }
    told
}

fn signature(told: &SignatureTold) -> String {
    let domain = told.domain.as_ref().map_or("(can't be read)", Name::as_str);
    let selector = told.selector.as_ref().map(|selector| format!(" s={}", Safe(selector))).unwrap_or_default();
    let near = told.alignment.map(Alignment::says);
    let mut text =
        format!("d={}{selector}: {}", Safe(domain), result(told.result.as_deref(), told.by.as_deref(), near));
    if let Some(says) = &told.says {
        text = format!("{text}; {}", Safe(&short(says)));
    }
    text
}

/// The start of a long text.
fn short(text: &str) -> String {
    let mut out: String = text.chars().take(160).collect();
    if out.len() < text.len() {
        out.push('…');
    }
    out
}

/// What DNS says: of the signatures of a whole message, of SPF of the address that sent it, of the set-up.
async fn ask(raw: &[u8], facts: &Facts, asker: &Asker, options: &Options<'_>) -> (Checked, Option<Vec<Finding>>) {
    let mut checked = Checked::default();
    if facts.form == Form::Message && !facts.signatures.is_empty() {
        let verified = tokio::time::timeout(LIMIT, signatures::verify(without_mbox_line(raw), asker)).await;
        checked.signatures = verified.ok().flatten().unwrap_or_default();
    }
    let mut known = Known::default();
    let sender = facts.envelope.as_ref().and_then(|envelope| envelope.sender.as_ref());
    if let (Some(sender), Some(ip)) = (sender, facts.client) {
        let mail_from = match sender {
            Registered::Domain(domain) => format!("postmaster@{domain}"),
            Registered::Address { .. } => sender.to_string(),
        };
        let query = Query { ip, mail_from: &mail_from, helo: "", receiver: "", at: None };
        checked.spf = Some(asker.check_spf(&query, &mut known, LIMIT).await.result);
    }
    let Some(from) = &facts.from else { return (checked, None) };
    let stream = stream(facts, from);
    let setup = Setup { teams: options.inventory.teams().to_vec(), streams: vec![stream] };
    let audit = asker.audit(&setup, options.now, &mut known, LIMIT).await;
    // What is wrong with other sources of the inventory is no matter of this message.
    let findings = audit.streams.into_iter().flat_map(|stream| stream.findings).collect();
    (checked, Some(findings))
}

/// The set-up that a message shows.
fn stream(facts: &Facts, from: &Registered) -> Stream {
    let sender = facts.envelope.as_ref().and_then(|envelope| envelope.sender.as_ref());
    let domains = || {
        sender.map(Registered::domain).into_iter().chain(facts.signatures.iter().filter_map(|one| one.domain.as_ref()))
    };
    let is_within = |domain: &Name, own: &str| {
        domain.as_str() == own || domain.as_str().strip_suffix(own).is_some_and(|head| head.ends_with('.'))
    };
    let provider = PROVIDERS.iter().find(|(own, _)| domains().any(|domain| is_within(domain, own)));
    let selectors = facts.signatures.iter().filter_map(|one| {
        Some(Selector { selector: one.selector.clone()?, domain: Some(one.domain.as_ref()?.to_string()) })
    });
    Stream {
        envelope: sender.map(|sender| sender.domain().to_string()),
        selectors: selectors.collect(),
        signs_with_all: true,
        addresses: facts.client.into_iter().collect(),
        ..Stream::new(provider.map_or(Provider::Generic, |(_, provider)| *provider), from.domain().as_str())
    }
}

/// The message behind the line that mbox files put before it.
fn without_mbox_line(raw: &[u8]) -> &[u8] {
    if !raw.starts_with(b"From ") {
        return raw;
    }
    let end = memchr::memchr(b'\n', raw).map_or(raw.len(), |at| at + 1);
    raw.get(end..).unwrap_or_default()
}
