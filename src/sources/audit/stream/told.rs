//! What is wrong with a stream, beside what its parts have found.

use super::{
    super::super::{
        answer::Name,
        apple_rule::{AppleVerdict, PathVerdict, Signature, Standing, UnknownReason, Validity},
        dmarc::{self, org_by_list},
        finding::{Finding, FindingCode, Fix, Grade},
        mail_from::Envelope,
        providers,
    },
    super::quoted,
    Case, DmarcVerdict, Path,
};
use crate::model::Provider;

impl Case<'_> {
    /// Takes up what the parts have found, and judges the signatures together.
    pub(super) fn gather(&mut self, signatures: &[Signature]) {
        // A provider's own envelope domain is its own business, registered or not.
        if !self.envelope_by_design()
            && let Some(view) = &self.spf
        {
            self.findings.extend(view.findings.iter().cloned());
        }
        let from = self.from.domain();
        // Apple's path by DKIM does not lead over a key of another name.
        self.findings.extend(self.selectors.iter().flat_map(|view| {
            let foreign = view.domain != *from;
            view.findings.iter().cloned().map(move |finding| {
                let grade = if foreign { finding.grade.min(Grade::AtRisk) } else { finding.grade };
                finding.graded(grade)
            })
        }));
        self.findings.extend(self.dmarc.findings.iter().cloned());
        let fix =
            || Fix::step(format!("Set up signing with d={from} at your provider and publish the key that it shows."));
        if signatures.is_empty() {
            let what = format!("no selector is known that mail of {from} is signed with");
            let step = "Name the selectors of this source: s= and d= of a message that was sent.";
            self.findings.push(Finding::new(FindingCode::SelectorsUnknown, from, what, Fix::step(step)));
            return;
        }
        let own: Vec<&Signature> = signatures.iter().filter(|signature| signature.domain == *from).collect();
        if own.is_empty() {
            let mut domains: Vec<String> = signatures.iter().map(|signature| signature.domain.to_string()).collect();
            domains.dedup();
            let what = format!("mail of {from} is signed with d={} only", domains.join(", "));
            let org = org_by_list(from);
            let related = signatures.iter().any(|signature| org_by_list(&signature.domain) == org);
            let code = if related { FindingCode::DkimRelaxedDomain } else { FindingCode::DkimForeignDomain };
            self.findings.push(Finding::new(code, from, what, fix()));
        } else if own.iter().any(|signature| signature.validity == Validity::ValidEd25519)
            && !own.iter().any(|signature| signature.validity == Validity::Valid)
        {
            let what = format!("mail of {from} is signed with Ed25519 keys only");
            let step = "Sign with an RSA key of 2,048 bits as well.";
            self.findings.push(Finding::new(FindingCode::DkimEd25519Only, from, what, Fix::step(step)));
        }
    }

    /// How From and envelope stand in the inventory.
    pub(super) fn registration(&mut self) {
        let mut found = Vec::new();
        let mut told = Vec::new();
        let team = self.stream.team.as_deref();
        if let (Some(envelope), Some(standing)) = (self.envelope, &self.envelope_standing)
            && !self.envelope_by_design()
        {
            told.push(envelope.domain());
            found.extend(stands(
                envelope.domain(),
                standing,
                team,
                FindingCode::EnvelopeUnregistered,
                "in the envelope",
            ));
        }
        // The same name is told once, unless it is missing for the other path as well.
        let from = stands(self.from.domain(), &self.from_standing, team, FindingCode::FromUnregistered, "in From");
        found
            .extend(from.into_iter().filter(|finding| {
                finding.code == FindingCode::FromUnregistered || !told.contains(&self.from.domain())
            }));
        self.findings.extend(found);
        if self.stream.provider == Provider::Ses
            && self.envelope.is_some_and(|envelope| envelope.domain() == self.from.domain())
        {
            let domain = self.from.domain();
            let what = format!("{domain} is both From domain and custom MAIL FROM");
            let step = format!("Use a subdomain as MAIL FROM, such as bounce.{domain}, and register it.");
            // Where the MX is still to be given, it would take the domain's mail away.
            let grade = if self.falls_back { Grade::AtRisk } else { Grade::Notable };
            self.findings.push(Finding::new(FindingCode::MailFromIsFrom, domain, what, Fix::step(step)).graded(grade));
        }
    }

    /// What it comes to.
    pub(super) fn outcome(&mut self, apple: AppleVerdict, path: Path) {
        let from = self.from.domain();
        let both = format!("SPF: {}, DKIM: {}", apple.spf, apple.dkim);
        let envelope = self.envelope.map_or_else(|| "the envelope domain".to_owned(), |one| one.domain().to_string());
        let finding = match (path, apple.overall) {
            // The refusal to send has a finding of its own.
            (Path::None, _) if self.ends_as == Envelope::NotSent => return,
            (Path::None, _) => {
                let what =
                    format!("no registered source carries mail of {from} through {}: {both}", self.stream.provider);
                let own = self.envelope.is_some_and(|one| providers::owns(self.stream.provider, one.domain()));
                let by_spf = if own {
                    format!(
                        "or set up a return path of your own at {} (at SES a custom MAIL FROM), such as bounce.{from}, \
                         register it and let SPF pass for it.",
                        self.stream.provider
                    )
                } else {
                    format!("or register {envelope} and let SPF pass for it.")
                };
                let step = format!("Register {from} with Apple and sign with d={from}; {by_spf} Best do both.");
                Finding::new(FindingCode::StreamUncovered, from, what, Fix::step(step))
            }
            (Path::Unknown, PathVerdict::Unknown(reason)) => {
                let what = format!(
                    "nobody can tell whether Apple accepts mail of {from} through {}: {both}",
                    self.stream.provider
                );
                let (grade, step) = match reason {
                    UnknownReason::Dns => (Grade::Notable, "Ask again when DNS answers."),
                    UnknownReason::InventoryMissing => {
                        (Grade::Notable, "Declare what is registered in Apple's portal, with the day when you looked.")
                    }
                    UnknownReason::NotTold => {
                        (Grade::Notable, "Name envelope domain, selectors and sending addresses of the stream.")
                    }
                    UnknownReason::RegistrationStale => {
                        (Grade::AtRisk, "Look at the portal and confirm the registration.")
                    }
                    _ => (Grade::AtRisk, "Mend what is found of SPF and DKIM, or send a canary to see."),
                };
                Finding::new(FindingCode::StreamUnknown, from, what, Fix::step(step)).graded(grade)
            }
            (Path::Spf | Path::Dkim, _) => {
                let (open, closed, name) =
                    if path == Path::Spf { ("SPF", apple.dkim, "DKIM") } else { ("DKIM", apple.spf, "SPF") };
                let open_question = matches!(
                    closed,
                    PathVerdict::Unknown(UnknownReason::Dns | UnknownReason::NotTold | UnknownReason::InventoryMissing)
                );
                let design = path == Path::Dkim && self.envelope_by_design();
                let what = format!(
                    "mail of {from} through {} is carried by {open} alone; {name}: {closed}",
                    self.stream.provider
                );
                if design || open_question {
                    let step = format!("A second path, by {name}, would take the risk away.");
                    Finding::new(FindingCode::OnePathOnly, from, what, Fix::step(step))
                } else {
                    let step = format!("Mend {name}; the findings beside this one say how.");
                    Finding::new(FindingCode::OnePathLeft, from, what, Fix::step(step))
                }
            }
            _ => return,
        };
        self.findings.push(finding);
    }

    pub(super) fn dmarc_findings(&mut self, verdict: &DmarcVerdict, apple: AppleVerdict) {
        let from = self.from.domain();
        let Some((at, record)) = &self.dmarc.record else { return };
        let mut found = Vec::new();
        if let Some(org) = self.dmarc.walk.org.as_ref().filter(|org| **org != self.dmarc.org_by_list) {
            let what = format!(
                "the organisational domain of {from} is {org} by the tree walk and {} by the public suffix list",
                self.dmarc.org_by_list
            );
            let list = &self.dmarc.org_by_list;
            let step = if self.dmarc.walk.record_of(list).is_some() {
                format!("Say psd=n in the DMARC record of {list}, so that the walk ends there.")
            } else {
                format!(
                    "Publish a DMARC record at _dmarc.{list}, such as v=DMARC1; p=none, so that the walk goes up to there."
                )
            };
            let differs = verdict.passes != verdict.passes_by_list;
            let grade = if differs { Grade::AtRisk } else { Grade::Notable };
            found.push(Finding::new(FindingCode::DmarcOrgDiffers, from, what, Fix::step(step)).graded(grade));
        }
        if verdict.passes == Some(false) && verdict.passes_by_list == Some(false) {
            let strict: Vec<&str> = [(", adkim=s", record.adkim), (", aspf=s", record.aspf)]
                .iter()
                .filter(|(_, mode)| *mode == dmarc::Mode::Strict)
                .map(|(told, _)| *told)
                .collect();
            let strict = strict.concat();
            let policy = verdict.policy.unwrap_or("none");
            let what = format!("mail of {from} fails DMARC (record at _dmarc.{at}: {policy}{strict})");
            let step = format!("Sign with d={from}, or send with an envelope domain below {}.", self.dmarc.org_by_list);
            let grade = if self.dmarc.enforces() { Grade::AtRisk } else { Grade::Notable };
            found.push(Finding::new(FindingCode::DmarcFails, from, what, Fix::step(step)).graded(grade));
        }
        if verdict.passes == Some(true) && matches!(apple.overall, PathVerdict::Fail(_)) {
            let what = format!("mail of {from} passes DMARC and fails Apple's rule");
            let step = "Go by Apple's rule: the findings beside this one say what it lacks.";
            found.push(Finding::new(FindingCode::DmarcPassesAppleFails, from, what, Fix::step(step)));
        }
        self.findings.extend(found);
    }
}

/// What is wrong with how a name stands.
fn stands(domain: &Name, standing: &Standing, team: Option<&str>, code: FindingCode, place: &str) -> Vec<Finding> {
    let register = |domain: &Name| {
        Fix::step(format!(
            "Register {domain} in Apple's portal (Certificates, Identifiers & Profiles, Services, Email sources)."
        ))
    };
    let of_team = team.map_or_else(|| "any team".to_owned(), |team| format!("team {}", quoted(team)));
    let missing = Finding::new(
        code,
        domain,
        format!("{domain}, the domain {place}, is not among the sources declared for {of_team}; check the portal"),
        register(domain),
    );
    match standing {
        Standing::NotSupplied | Standing::Registered(_) => Vec::new(),
        Standing::Absent => vec![missing],
        Standing::Related(_) => {
            let what = format!(
                "a name of the same organisation as {domain} is declared as registered, {domain} itself is not"
            );
            vec![missing, Finding::new(FindingCode::RelatedRegistered, domain, what, register(domain))]
        }
        Standing::Elsewhere(_) => {
            let what = format!("{domain} is registered by another team than the one whose users this stream is for");
            let step = format!("Register {domain} for this team as well, or send from a source that it has.");
            vec![Finding::new(FindingCode::RegisteredElsewhere, domain, what, Fix::step(step))]
        }
        Standing::AddressesOnly(_) => {
            let what = format!(
                "of {domain}, the domain {place}, single addresses are registered; which one sends is not known"
            );
            let step = format!("Register the domain {domain}, or name the address that sends.");
            vec![Finding::new(FindingCode::AddressOnly, domain, what, Fix::step(step))]
        }
    }
}
