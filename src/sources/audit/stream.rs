//! The verdict of one stream.

use serde::Serialize;

use super::{
    super::{
        answer::Name,
        apple_rule::{
            AppleVerdict, Entry, FailReason, Inventory, PathVerdict, Registered, Signature, SpfSeen, Standing,
            UnknownReason, Validity, by_dkim, by_spf,
        },
        asking::Asking,
        dkim::{self, KeyState, SelectorView},
        dmarc::{self, Aligned, DmarcView, org_by_list},
        finding::{Finding, FindingCode, Fix, Grade},
        mail_from::{self, Envelope, ReturnPath},
        providers,
        spf::Answers,
    },
    Stream, quoted, sender,
    spf_view::{self, SpfView},
};
use crate::model::{Provider, words};

/// The most selectors of one stream that are looked up.
const MAX_SELECTORS: usize = 32;

words! {
    /// By which path a stream is carried.
    pub enum Path {
        /// None: it is refused.
        None = 0, "none";
        /// By SPF alone.
        Spf = 1, "spf";
        /// By DKIM alone.
        Dkim = 2, "dkim";
        /// By either.
        Both = 3, "both";
        /// It cannot be told.
        Unknown = 4, "unknown";
    }
}

/// A registered source that carries a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Carrier {
    /// Whose registration it is.
    pub team: String,
    /// What is registered, as declared.
    pub source: String,
    /// `spf` or `dkim`.
    pub path: Path,
}

/// DMARC of a stream, beside Apple's verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DmarcVerdict {
    /// Whether it passes by RFC 9989; `None` where that cannot be told.
    pub passes: Option<bool>,
    /// Whether it passes by the public suffix list, as receivers have it that have not moved.
    pub passes_by_list: Option<bool>,
    /// What the From domain asks for where mail fails; `None` without a record.
    pub policy: Option<&'static str>,
    /// The domain whose record counts.
    pub record_of: Option<String>,
}

/// The verdict of one stream.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StreamVerdict {
    /// Who sends.
    pub provider: Provider,
    /// The From domain; what was given for it, shortened, where it is none.
    pub from_domain: String,
    /// The domain that the envelope has in the end; `None` where it is not known or nothing is sent.
    pub envelope_domain: Option<String>,
    /// Apple's verdict.
    pub apple: AppleVerdict,
    /// DMARC's, which Apple's does not depend on.
    pub dmarc: DmarcVerdict,
    /// By which path it is carried.
    pub path: Path,
    /// The registered sources that carry it.
    pub carriers: Vec<Carrier>,
    /// What is left where SPF breaks.
    pub without_spf: PathVerdict,
    /// What is left where DKIM breaks.
    pub without_dkim: PathVerdict,
    /// The selectors with the chains of CNAMEs behind them, apart from the keys.
    pub selectors: Vec<SelectorTold>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// The declared registrations that the stream needs, whether or not its paths are open.
    #[serde(skip)]
    pub(super) uses: Vec<Entry>,
}

/// One selector as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SelectorTold {
    /// Where the key stands.
    pub at: String,
    /// The chain of CNAMEs.
    pub aliases: Vec<String>,
    /// The bits of an RSA key.
    pub rsa_bits: Option<u32>,
}

/// Judges a stream. `None` where something is still to be asked.
pub(super) fn judge<A: Answers>(
    stream: &Stream,
    inventory: &Inventory,
    asking: &Asking<'_, A>,
) -> Option<StreamVerdict> {
    let Some(from) = sender(&stream.from) else {
        return Some(unreadable(stream));
    };
    let mut findings = Vec::new();
    let (team, team_known) = match &stream.team {
        Some(name) => (inventory.team(name), inventory.team(name).is_some() || inventory.teams().is_empty()),
        None => (None, true),
    };
    if !team_known {
        let what = format!(
            "the stream is for team {}, which the inventory lacks",
            quoted(stream.team.as_deref().unwrap_or_default())
        );
        let fix = Fix::step("Declare the team's sources, or name the team as the inventory does.");
        findings.push(Finding::new(FindingCode::TeamUnknown, from.domain(), what, fix));
    }
    let stand = |sender: &Registered| match sender {
        _ if !team_known => Standing::NotSupplied,
        Registered::Domain(domain) => inventory.standing(domain, None, team),
        Registered::Address { local, domain } => inventory.standing(domain, Some(local), team),
    };
    let envelope = envelope(stream, &from, &mut findings);
    // All that asks DNS goes first, so that one step asks everything that it can.
    let return_path = envelope.as_ref().map(|envelope| {
        let region = stream.region.as_deref();
        let path = ReturnPath {
            provider: stream.provider,
            domain: envelope.domain(),
            region,
            on_mx_failure: stream.on_mx_failure,
        };
        mail_from::judge(&path, asking)
    });
    let spf = envelope.as_ref().map(|envelope| spf_view::view(stream, envelope.domain(), asking));
    let selectors = selectors(stream, &from, &mut findings, asking);
    let dmarc = dmarc::view(from.domain(), asking);
    let (return_path, spf) = (turned(return_path)?, turned(spf)?);
    let (selectors, dmarc) = (selectors?, dmarc?);
    let mut case = Case {
        stream,
        from: &from,
        envelope: envelope.as_ref(),
        from_standing: stand(&from),
        envelope_standing: envelope.as_ref().map(&stand),
        spf,
        selectors,
        dmarc,
        findings,
        ends_as: Envelope::Unknown,
        falls_back: false,
    };
    if let Some((ends_as, found)) = return_path {
        case.falls_back = !matches!(ends_as, Envelope::AsSetUp | Envelope::Unknown);
        case.ends_as = ends_as;
        case.findings.extend(found);
    }
    case.verdict(inventory, asking)
}

/// `Some(None)`, a question that is open, turns the whole into `None`.
#[expect(
    clippy::option_option,
    reason = "the outer says whether there is anything to know, the inner whether it is known"
)]
fn turned<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    match value {
        Some(None) => None,
        Some(known) => Some(known),
        None => Some(None),
    }
}

fn unreadable(stream: &Stream) -> StreamVerdict {
    let unknown = PathVerdict::Unknown(UnknownReason::NotTold);
    let shown = quoted(&stream.from);
    let what = format!("`{shown}` is neither a domain nor an address");
    let fix = Fix::step("Give the From address or its domain.");
    StreamVerdict {
        provider: stream.provider,
        from_domain: shown.clone(),
        envelope_domain: None,
        apple: AppleVerdict::of(unknown, unknown),
        dmarc: DmarcVerdict { passes: None, passes_by_list: None, policy: None, record_of: None },
        path: Path::Unknown,
        carriers: Vec::new(),
        without_spf: unknown,
        without_dkim: unknown,
        selectors: Vec::new(),
        findings: vec![Finding::new(FindingCode::StreamInvalid, shown, what, fix)],
        uses: Vec::new(),
    }
}

/// The sender in the envelope, as set up; SES without a custom MAIL FROM uses a domain of its own.
fn envelope(stream: &Stream, from: &Registered, findings: &mut Vec<Finding>) -> Option<Registered> {
    match &stream.envelope {
        Some(text) => {
            let read = sender(text);
            if read.is_none() {
                let what = format!("the envelope's `{}` is neither a domain nor an address", quoted(text));
                let fix = Fix::step("Give the envelope address or its domain, as a message's Return-Path shows it.");
                findings.push(Finding::new(FindingCode::StreamInvalid, from.domain(), what, fix));
            }
            read
        }
        None if stream.provider == Provider::Ses => Registered::parse(mail_from::SES_DEFAULT),
        None => None,
    }
}

fn selectors<A: Answers>(
    stream: &Stream,
    from: &Registered,
    findings: &mut Vec<Finding>,
    asking: &Asking<'_, A>,
) -> Option<Vec<SelectorView>> {
    let mut views = Vec::new();
    for selector in stream.selectors.iter().take(MAX_SELECTORS) {
        let domain = match &selector.domain {
            Some(text) => Name::parse(text.trim()).ok(),
            None => Some(from.domain().clone()),
        };
        let (Ok(name), Some(domain)) = (Name::parse(selector.selector.trim()), domain) else {
            let what = format!("the selector `{}` or its domain is no name", quoted(&selector.selector));
            let fix = Fix::step("Give s= and d= as they stand in a signature.");
            findings.push(Finding::new(FindingCode::StreamInvalid, from.domain(), what, fix));
            continue;
        };
        views.push(dkim::view(&name, &domain, true, asking));
    }
    views.into_iter().collect()
}

/// All that is known of a stream.
struct Case<'a> {
    stream: &'a Stream,
    from: &'a Registered,
    envelope: Option<&'a Registered>,
    from_standing: Standing,
    envelope_standing: Option<Standing>,
    spf: Option<SpfView>,
    selectors: Vec<SelectorView>,
    dmarc: DmarcView,
    findings: Vec<Finding>,
    ends_as: Envelope,
    falls_back: bool,
}

impl Case<'_> {
    /// Whether the envelope that was set up is the provider's own and so beyond registering.
    fn envelope_by_design(&self) -> bool {
        self.envelope.is_some_and(|envelope| {
            providers::owns(self.stream.provider, envelope.domain())
                && !matches!(self.envelope_standing, Some(Standing::Registered(_)))
        })
    }

    fn spf_path(&self) -> PathVerdict {
        if self.falls_back || self.envelope_by_design() {
            return PathVerdict::Fail(FailReason::EnvelopeUnregistered);
        }
        let (Some(standing), Some(view)) = (&self.envelope_standing, &self.spf) else {
            return PathVerdict::Unknown(UnknownReason::NotTold);
        };
        match by_spf(view.seen, standing) {
            PathVerdict::Pass if self.ends_as == Envelope::Unknown => PathVerdict::Unknown(UnknownReason::Dns),
            verdict => verdict,
        }
    }

    fn signatures(&self) -> Vec<Signature> {
        let validity = |state| match state {
            KeyState::Rsa => Validity::Valid,
            KeyState::Ed25519 => Validity::ValidEd25519,
            KeyState::Doubtful => Validity::Chance,
            KeyState::Unusable | KeyState::Absent => Validity::Invalid,
            KeyState::Unknown => Validity::Trouble,
        };
        let one = |view: &SelectorView| Signature { domain: view.domain.clone(), validity: validity(view.state) };
        self.selectors.iter().map(one).collect()
    }

    fn verdict<A: Answers>(mut self, inventory: &Inventory, asking: &Asking<'_, A>) -> Option<StreamVerdict> {
        let signatures = self.signatures();
        let spf = self.spf_path();
        let dkim = by_dkim(self.from.domain(), &signatures, self.stream.signs_with_all, &self.from_standing);
        let apple = AppleVerdict::of(spf, dkim);
        let dmarc = self.dmarc_verdict(&signatures, asking)?;
        let path = match (spf, dkim, apple.overall) {
            (PathVerdict::Pass, PathVerdict::Pass, _) => Path::Both,
            (PathVerdict::Pass, _, _) => Path::Spf,
            (_, PathVerdict::Pass, _) => Path::Dkim,
            (_, _, PathVerdict::Unknown(_)) => Path::Unknown,
            _ => Path::None,
        };
        self.gather(&signatures);
        self.registration();
        self.outcome(apple, path);
        self.dmarc_findings(&dmarc, apple);
        for finding in &mut self.findings {
            if finding.code.spared() && !matches!(apple.overall, PathVerdict::Fail(_)) {
                finding.grade = finding.grade.min(Grade::AtRisk);
            }
        }
        let entry = |standing: &Standing| match standing {
            Standing::Registered(entry) | Standing::AddressesOnly(entry) => Some(entry.clone()),
            _ => None,
        };
        let (of_from, of_envelope) = (entry(&self.from_standing), self.envelope_standing.as_ref().and_then(entry));
        let carrier = |entry: &Option<Entry>, by: PathVerdict, path| {
            let (team, source) = inventory.source(entry.as_ref().filter(|_| by == PathVerdict::Pass)?)?;
            Some(Carrier { team: team.name.clone(), source: source.name.clone(), path })
        };
        let carriers = [carrier(&of_envelope, spf, Path::Spf), carrier(&of_from, dkim, Path::Dkim)];
        let envelope_domain = match &self.ends_as {
            Envelope::FallsBack(name) => Some(name.to_string()),
            Envelope::NotSent => None,
            Envelope::AsSetUp | Envelope::Unknown => self.envelope.map(|envelope| envelope.domain().to_string()),
        };
        let told = |view: &SelectorView| SelectorTold {
            at: view.at.to_string(),
            aliases: view.aliases.iter().map(Name::to_string).collect(),
            rsa_bits: match view.key.as_ref().map(|record| &record.key) {
                Some(dkim::Key::Rsa { bits }) => Some(*bits),
                _ => None,
            },
        };
        Some(StreamVerdict {
            provider: self.stream.provider,
            from_domain: self.from.domain().to_string(),
            envelope_domain,
            apple,
            dmarc,
            path,
            carriers: carriers.into_iter().flatten().collect(),
            without_spf: dkim,
            without_dkim: spf,
            selectors: self.selectors.iter().map(told).collect(),
            findings: self.findings,
            uses: of_from.into_iter().chain(of_envelope).collect(),
        })
    }

    /// Takes up what the parts have found, and judges the signatures together.
    fn gather(&mut self, signatures: &[Signature]) {
        // A provider's own envelope domain is its own business.
        if !self.envelope_by_design()
            && let Some(view) = &self.spf
        {
            self.findings.extend(view.findings.iter().cloned());
        }
        self.findings.extend(self.selectors.iter().flat_map(|view| view.findings.iter().cloned()));
        self.findings.extend(self.dmarc.findings.iter().cloned());
        let from = self.from.domain();
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
    fn registration(&mut self) {
        let mut found = Vec::new();
        let mut told = Vec::new();
        if let (Some(envelope), Some(standing)) = (self.envelope, &self.envelope_standing)
            && !self.envelope_by_design()
        {
            told.push(envelope.domain());
            found.extend(stands(envelope.domain(), standing, FindingCode::EnvelopeUnregistered, "in the envelope"));
        }
        // The same name is told once, unless it is missing for the other path as well.
        let from = stands(self.from.domain(), &self.from_standing, FindingCode::FromUnregistered, "in From");
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
            self.findings.push(Finding::new(FindingCode::MailFromIsFrom, domain, what, Fix::step(step)));
        }
    }

    /// What it comes to.
    fn outcome(&mut self, apple: AppleVerdict, path: Path) {
        let from = self.from.domain();
        let both = format!("SPF: {}, DKIM: {}", apple.spf, apple.dkim);
        let envelope = self.envelope.map_or_else(|| "the envelope domain".to_owned(), |one| one.domain().to_string());
        let finding = match (path, apple.overall) {
            (Path::None, _) => {
                let what =
                    format!("no registered source carries mail of {from} through {}: {both}", self.stream.provider);
                let step = format!(
                    "Register {from} with Apple and sign with d={from}; or register {envelope} and let SPF pass for it. \
                     Best do both."
                );
                Finding::new(FindingCode::StreamUncovered, from, what, Fix::step(step))
            }
            (Path::Unknown, PathVerdict::Unknown(reason)) => {
                let what = format!("whether mail of {from} through {} is taken is open: {both}", self.stream.provider);
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

    fn dmarc_verdict<A: Answers>(&self, signatures: &[Signature], asking: &Asking<'_, A>) -> Option<DmarcVerdict> {
        let (aspf, adkim) = self
            .dmarc
            .record
            .as_ref()
            .map_or((dmarc::Mode::Relaxed, dmarc::Mode::Relaxed), |(_, record)| (record.aspf, record.adkim));
        // Each way to authenticate: whether it does, and whether it is aligned.
        let mut ways: Vec<(Option<bool>, Aligned)> = Vec::new();
        let envelope = match &self.ends_as {
            Envelope::FallsBack(name) => Some((name, Some(true))),
            Envelope::NotSent => None,
            Envelope::AsSetUp | Envelope::Unknown => {
                let passes = self.spf.as_ref().and_then(|view| match view.seen {
                    SpfSeen::Pass => Some(true),
                    SpfSeen::NotPass => Some(false),
                    SpfSeen::Partly | SpfSeen::Trouble | SpfSeen::NotTold => None,
                });
                self.envelope.map(|envelope| (envelope.domain(), passes))
            }
        };
        let mut open = false;
        match envelope {
            Some((domain, passes)) => match dmarc::alignment(&self.dmarc, domain, aspf, asking) {
                Some(aligned) => ways.push((passes, aligned)),
                None => open = true,
            },
            None => ways.push((None, Aligned { by_walk: None, by_list: true })),
        }
        if signatures.is_empty() {
            ways.push((None, Aligned { by_walk: None, by_list: true }));
        }
        for signature in signatures {
            let valid = match signature.validity {
                Validity::Valid => Some(true),
                Validity::Invalid => Some(false),
                Validity::ValidEd25519 | Validity::Chance | Validity::Trouble => None,
            };
            match dmarc::alignment(&self.dmarc, &signature.domain, adkim, asking) {
                Some(aligned) => ways.push((valid, aligned)),
                None => open = true,
            }
        }
        let any = |aligned: &dyn Fn(&Aligned) -> Option<bool>| {
            let both = ways.iter().map(|(passes, one)| match (passes, aligned(one)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            });
            both.fold(Some(false), |sum, way| match (sum, way) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (None, _) | (_, None) => None,
                _ => Some(false),
            })
        };
        (!open).then(|| DmarcVerdict {
            passes: any(&|one| one.by_walk),
            passes_by_list: any(&|one| Some(one.by_list)),
            policy: self.dmarc.policy.map(dmarc::Policy::as_str),
            record_of: self.dmarc.record.as_ref().map(|(name, _)| name.to_string()),
        })
    }

    fn dmarc_findings(&mut self, verdict: &DmarcVerdict, apple: AppleVerdict) {
        let from = self.from.domain();
        let Some((at, record)) = &self.dmarc.record else { return };
        let mut found = Vec::new();
        if let Some(org) = self.dmarc.walk.org.as_ref().filter(|org| **org != self.dmarc.org_by_list) {
            let what = format!(
                "the organisational domain of {from} is {org} by the tree walk and {} by the public suffix list",
                self.dmarc.org_by_list
            );
            let step =
                format!("Say psd=n in the DMARC record of {}, so that the walk ends there.", self.dmarc.org_by_list);
            let differs = verdict.passes != verdict.passes_by_list;
            let grade = if differs { Grade::AtRisk } else { Grade::Notable };
            found.push(Finding::new(FindingCode::DmarcOrgDiffers, from, what, Fix::step(step)).graded(grade));
        }
        if verdict.passes == Some(false) && verdict.passes_by_list == Some(false) {
            let strict = [("adkim", record.adkim), ("aspf", record.aspf)]
                .iter()
                .filter(|(_, mode)| *mode == dmarc::Mode::Strict)
                .map(|(tag, _)| format!(", {tag}=s"))
                .collect::<String>();
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
fn stands(domain: &Name, standing: &Standing, code: FindingCode, place: &str) -> Vec<Finding> {
    let register = |domain: &Name| {
        Fix::step(format!(
            "Register {domain} in Apple's portal (Certificates, Identifiers & Profiles, Services, Email sources)."
        ))
    };
    let missing =
        Finding::new(code, domain, format!("{domain}, the domain {place}, is not registered"), register(domain));
    match standing {
        Standing::NotSupplied | Standing::Registered(_) => Vec::new(),
        Standing::Absent => vec![missing],
        Standing::Related(_) => {
            let what = format!("a name of the same organisation as {domain} is registered, {domain} itself is not");
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
