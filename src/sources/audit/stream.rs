//! The verdict of one stream.

use std::collections::BTreeMap;

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
        dmarc::{self, Aligned, DmarcView},
        finding::{Finding, FindingCode, Fix, Grade},
        mail_from::{self, Envelope, ReturnPath},
        providers,
        spf::Answers,
    },
    Stream, quoted, sender,
    spf_view::{self, SpfView},
};
use crate::model::{Provider, words};

mod told;

/// The most selectors of one stream that are looked up.
const MAX_SELECTORS: usize = 32;
/// The most streams that share an envelope domain and differ in how they send that are kept beside each other.
const MAX_PEERS: usize = 16;

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
    /// SPF of the envelope domain as it was set up, address by address; `None` where it is not known.
    pub spf: Option<SpfView>,
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

/// The streams by the domain in their envelope: one record there is to pass them all.
pub(super) struct Peers<'a>(BTreeMap<Name, Vec<&'a Stream>>);

impl<'a> Peers<'a> {
    pub(super) fn new(streams: &'a [Stream]) -> Self {
        let mut peers: BTreeMap<Name, Vec<&Stream>> = BTreeMap::new();
        for stream in streams {
            let set_up = match &stream.envelope {
                Some(text) => sender(text),
                None => None,
            };
            // A provider's own domain has no record of ours.
            if let Some(envelope) = set_up.filter(|one| !providers::owns(stream.provider, one.domain())) {
                let there = peers.entry(envelope.domain().clone()).or_default();
                // A few that differ are enough to tell that there are too many.
                let alike = |known: &&Stream| {
                    (known.provider, &known.addresses, &known.spf_name)
                        == (stream.provider, &stream.addresses, &stream.spf_name)
                };
                if there.len() < MAX_PEERS && !there.iter().any(alike) {
                    there.push(stream);
                }
            }
        }
        Self(peers)
    }

    fn of(&self, domain: &Name) -> &[&'a Stream] {
        self.0.get(domain).map_or(&[], Vec::as_slice)
    }
}

/// Judges a stream. `None` where something is still to be asked.
pub(super) fn judge<A: Answers>(
    stream: &Stream,
    peers: &Peers<'_>,
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
    let envelope_stands = |sender: &Registered| match (stand(sender), sender) {
        (Standing::Absent | Standing::Related(_), Registered::Address { local, domain }) => {
            inventory.envelope_standing(domain, local, team)
        }
        (standing, _) => standing,
    };
    if let Some(text) = stream.spf_name.as_ref().filter(|text| Name::parse(text).is_err()) {
        let what = format!("`{}`, told as the name whose SPF lists the addresses, is no name", quoted(text));
        let fix = Fix::step("Give the name that the provider's customers include.");
        findings.push(Finding::new(FindingCode::StreamInvalid, from.domain(), what, fix));
    }
    let envelope = envelope(stream, &from, &mut findings);
    // All that asks DNS goes first, so that one step asks everything that it can.
    let return_path = envelope.as_ref().map(|envelope| {
        let region = stream.region.as_deref();
        let path = ReturnPath {
            provider: stream.provider,
            domain: envelope.domain(),
            region,
            is_from: envelope.domain() == from.domain(),
            on_mx_failure: stream.on_mx_failure,
        };
        mail_from::judge(&path, asking)
    });
    let spf = envelope
        .as_ref()
        .map(|envelope| spf_view::view(stream, peers.of(envelope.domain()), envelope.domain(), asking));
    let selectors = selectors(stream, &from, &mut findings, asking);
    let dmarc = dmarc::view(from.domain(), asking);
    let (return_path, spf) = (turned(return_path)?, turned(spf)?);
    let (selectors, dmarc) = (selectors?, dmarc?);
    let mut case = Case {
        stream,
        from: &from,
        envelope: envelope.as_ref(),
        from_standing: stand(&from),
        envelope_standing: envelope.as_ref().map(envelope_stands),
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
        spf: None,
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
    if stream.selectors.len() > MAX_SELECTORS {
        let what = format!("{} selectors are told; {MAX_SELECTORS} of them are looked at", stream.selectors.len());
        let fix = Fix::step("Name the selectors that the stream signs with now, and no others.");
        findings.push(Finding::new(FindingCode::StreamInvalid, from.domain(), what, fix));
    }
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
    /// Whether the envelope that was set up is the provider's own, which its customers are not known to register.
    fn envelope_by_design(&self) -> bool {
        self.envelope.is_some_and(|envelope| {
            providers::owns(self.stream.provider, envelope.domain())
                && !matches!(self.envelope_standing, Some(Standing::Registered(_)))
        })
    }

    fn spf_path(&self) -> PathVerdict {
        if self.ends_as == Envelope::NotSent {
            return PathVerdict::Fail(FailReason::NotSent);
        }
        if self.falls_back || self.envelope_by_design() {
            // What is registered is not known without a declaration, of a provider's name neither.
            return if self.envelope_standing == Some(Standing::NotSupplied) {
                PathVerdict::Unknown(UnknownReason::InventoryMissing)
            } else {
                PathVerdict::Fail(FailReason::EnvelopeUnregistered)
            };
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
        let dkim = if self.ends_as == Envelope::NotSent {
            PathVerdict::Fail(FailReason::NotSent)
        } else {
            by_dkim(self.from.domain(), &signatures, self.stream.signs_with_all, &self.from_standing)
        };
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
            spf: self.spf,
            findings: self.findings,
            uses: of_from.into_iter().chain(of_envelope).collect(),
        })
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
                Validity::ValidEd25519 | Validity::Chance | Validity::Trouble | Validity::Untold => None,
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
            let both: Vec<Option<bool>> = both.collect();
            if both.contains(&Some(true)) { Some(true) } else { (!both.contains(&None)).then_some(false) }
        };
        (!open).then(|| DmarcVerdict {
            passes: any(&|one| one.by_walk),
            passes_by_list: any(&|one| Some(one.by_list)),
            policy: self.dmarc.policy.map(dmarc::Policy::as_str),
            record_of: self.dmarc.record.as_ref().map(|(name, _)| name.to_string()),
        })
    }
}
