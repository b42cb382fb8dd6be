//! What is watched, and how each stands: fit for Apple's relay or not, and since when.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::super::{
    answer::Name,
    apple_rule::{PathVerdict, Registered},
    audit::{Audit, Path, SourceVerdict, StreamVerdict},
    finding::{Finding, Grade},
};
use crate::model::{Timestamp, words};

/// How many findings are kept of each, the worst first.
const MAX_FINDINGS: usize = 12;

words! {
    /// Whether Apple's rule takes it.
    pub enum Fitness {
        /// It does.
        Fit = 1, "fit";
        /// It does not.
        Unfit = 2, "unfit";
        /// It cannot be told.
        Unknown = 3, "unknown";
    }
}

words! {
    /// What is watched.
    pub enum SubjectKind {
        /// A source that is declared as registered.
        Source = 1, "source";
        /// A stream that is declared.
        Stream = 2, "stream";
    }
}

/// One thing that stands or falls.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Subject {
    /// What it is.
    pub kind: SubjectKind,
    /// Its name: the domain of a source; provider, From domain, envelope domain and team of a stream. Never an address.
    pub name: String,
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// One finding, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// How much it costs.
    pub grade: Grade,
    /// Its code.
    pub code: super::super::finding::FindingCode,
    /// The name it is about.
    pub about: String,
}

/// How one of them stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// What stands so.
    pub subject: Subject,
    /// Whether Apple's rule takes it.
    pub fitness: Fitness,
    /// Since when.
    pub since: Timestamp,
    /// By which path a stream is carried; of a source, by which paths it carries.
    pub path: Path,
    /// The domains that it depends on: From and envelope.
    pub domains: Vec<String>,
    /// The teams.
    pub teams: Vec<String>,
    /// What is wrong, the worst first.
    pub findings: Vec<Told>,
}

impl Standing {
    /// Whether it stands as the other does, whenever that began.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        Self { since: other.since, ..self.clone() } == *other
    }
}

/// How everything stands by an audit, by subject. What was known before keeps its time where the fitness is the same.
pub(super) fn standings(
    audit: &Audit,
    teams: &[Option<String>],
    before: &BTreeMap<Subject, Standing>,
    now: Timestamp,
) -> BTreeMap<Subject, Standing> {
    let mut all: BTreeMap<Subject, Standing> = BTreeMap::new();
    let mut add = |standing: Standing| {
        let since = before.get(&standing.subject).filter(|known| known.fitness == standing.fitness);
        let standing = Standing { since: since.map_or(now, |known| known.since), ..standing };
        let kept = all.entry(standing.subject.clone()).or_insert_with(|| standing.clone());
        // Two that people cannot tell apart are told as the worse of them.
        if worse(standing.fitness) > worse(kept.fitness) {
            *kept = standing;
        }
    };
    for (stream, team) in audit.streams.iter().zip(teams) {
        add(of_stream(stream, team.as_deref(), now));
    }
    for source in &audit.sources {
        add(of_source(source, audit, now));
    }
    all
}

/// The name of a stream as it is told.
pub(super) fn subject_of(stream: &StreamVerdict, team: Option<&str>) -> Subject {
    let mut name = format!("{} {}", stream.provider, stream.from_domain);
    if let Some(envelope) = stream.envelope_domain.as_ref().filter(|envelope| **envelope != stream.from_domain) {
        name = format!("{name} by {envelope}");
    }
    if let Some(team) = team {
        name = format!("{name} ({team})");
    }
    Subject { kind: SubjectKind::Stream, name }
}

const fn worse(fitness: Fitness) -> u8 {
    match fitness {
        Fitness::Fit => 0,
        Fitness::Unknown => 1,
        Fitness::Unfit => 2,
    }
}

pub(super) const fn fitness(verdict: PathVerdict) -> Fitness {
    match verdict {
        PathVerdict::Pass => Fitness::Fit,
        PathVerdict::Fail(_) => Fitness::Unfit,
        PathVerdict::Unknown(_) => Fitness::Unknown,
    }
}

fn of_stream(stream: &StreamVerdict, team: Option<&str>, now: Timestamp) -> Standing {
    let domains: BTreeSet<String> =
        [Some(stream.from_domain.clone()), stream.envelope_domain.clone()].into_iter().flatten().collect();
    Standing {
        subject: subject_of(stream, team),
        fitness: fitness(stream.apple.overall),
        since: now,
        path: stream.path,
        domains: domains.into_iter().collect(),
        teams: team.map(str::to_owned).into_iter().collect(),
        findings: told(&stream.findings),
    }
}

/// A source stands as the worst of the streams that send from its domain; without any, as its own SPF does, which Apple's portal
/// asks for.
fn of_source(source: &SourceVerdict, audit: &Audit, now: Timestamp) -> Standing {
    let domain = source.source.domain().as_str();
    let uses =
        |stream: &&StreamVerdict| stream.from_domain == domain || stream.envelope_domain.as_deref() == Some(domain);
    let streams: Vec<&StreamVerdict> = audit.streams.iter().filter(uses).collect();
    let by_streams = streams.iter().map(|stream| fitness(stream.apple.overall)).max_by_key(|one| worse(*one));
    let wants_spf = matches!(source.source, Registered::Domain(_));
    let by_itself = match source.has_spf {
        Some(false) if wants_spf => Fitness::Unfit,
        Some(true) => Fitness::Fit,
        _ => Fitness::Unknown,
    };
    let own = match by_streams {
        // Nobody says how mail is sent from it: its SPF is all that can be told.
        None | Some(Fitness::Unknown) => by_itself,
        Some(fitness) => fitness,
    };
    let carries = |path| {
        let by = |stream: &&&StreamVerdict| {
            stream.carriers.iter().any(|carrier| {
                carrier.path == path && Registered::parse(&carrier.source).is_some_and(|name| name == source.source)
            })
        };
        streams.iter().any(|stream| by(&stream))
    };
    let path = match (carries(Path::Spf), carries(Path::Dkim)) {
        (true, true) => Path::Both,
        (true, false) => Path::Spf,
        (false, true) => Path::Dkim,
        (false, false) if own == Fitness::Unknown => Path::Unknown,
        (false, false) => Path::None,
    };
    let name = match &source.source {
        Registered::Domain(domain) => domain.to_string(),
        Registered::Address { domain, .. } => format!("{domain} (an address)"),
    };
    let findings: Vec<Finding> = audit.own_findings.iter().filter(|finding| finding.about == domain).cloned().collect();
    Standing {
        subject: Subject { kind: SubjectKind::Source, name },
        fitness: own,
        since: now,
        path,
        domains: vec![domain.to_owned()],
        teams: source.teams.clone(),
        findings: told(&findings),
    }
}

fn told(findings: &[Finding]) -> Vec<Told> {
    let mut all: Vec<Told> = findings
        .iter()
        .map(|finding| Told { grade: finding.grade, code: finding.code, about: finding.about.clone() })
        .collect();
    all.sort_by(|one, other| (other.grade, one.code, &one.about).cmp(&(one.grade, other.code, &other.about)));
    all.dedup();
    all.truncate(MAX_FINDINGS);
    all
}

/// Whether a stream depends on a domain by its name alone.
pub(super) fn depends_by_name(stream: &StreamVerdict, name: &Name) -> bool {
    [Some(&stream.from_domain), stream.envelope_domain.as_ref()]
        .into_iter()
        .flatten()
        .filter_map(|domain| Name::of_text(domain))
        .any(|domain| name.is_within(&domain))
}
