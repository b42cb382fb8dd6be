//! The verdict of each registered name, and what is wrong with the inventory as a whole.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::Serialize;

use super::{
    super::{
        answer::{Kind, Name, Question},
        apple_rule::{Account, Inventory, Registered, Team},
        asking::{Asking, trouble},
        finding::{DnsRecord, Finding, FindingCode, Fix, Grade},
        spf::{Answers, Selection},
    },
    quoted,
    stream::StreamVerdict,
};

/// From which part of its limit on a team is told, in percent.
const NEAR_LIMIT_PERCENT: usize = 90;

/// One registered name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceVerdict {
    /// Domain or address.
    pub source: Registered,
    /// The teams that declare it.
    pub teams: Vec<String>,
    /// Whether a declaration of it is fresh.
    pub fresh: bool,
    /// Whether its domain publishes SPF, as Apple asks; `None` where DNS did not answer.
    pub has_spf: Option<bool>,
    /// How many streams it carries.
    pub carries: usize,
}

/// Judges the inventory. `None` where something is still to be asked, or the streams are.
pub(super) fn judge<A: Answers>(
    inventory: &Inventory,
    streams: Option<&[StreamVerdict]>,
    asking: &Asking<'_, A>,
) -> Option<(Vec<SourceVerdict>, Vec<Finding>)> {
    let names: Vec<&Name> = inventory.names().map(|(name, _)| name.domain()).collect();
    let asked = names.iter().filter(|name| asking.ask(name, Kind::Txt).is_some()).count();
    let streams = streams.filter(|_| asked == names.len())?;
    let mut findings = whole(inventory);
    let by_entry: HashSet<(usize, usize)> =
        streams.iter().flat_map(|stream| &stream.uses).map(|entry| (entry.team, entry.source)).collect();
    let mut by_source: BTreeMap<Registered, usize> = BTreeMap::new();
    for stream in streams {
        // A source that carries by both paths carries one stream.
        let names: BTreeSet<Registered> =
            stream.carriers.iter().filter_map(|carrier| Registered::parse(&carrier.source)).collect();
        for name in names {
            *by_source.entry(name).or_default() += 1;
        }
    }
    // A stream whose envelope is not known may use any source.
    let open = streams.iter().any(|stream| stream.envelope_domain.is_none());
    let senders: BTreeSet<&str> = streams
        .iter()
        .flat_map(|stream| [Some(stream.from_domain.as_str()), stream.envelope_domain.as_deref()])
        .flatten()
        .collect();
    let told: HashSet<(FindingCode, &str)> =
        streams.iter().flat_map(|stream| &stream.findings).map(|one| (one.code, one.about.as_str())).collect();
    let mut verdicts = Vec::new();
    for (name, entries) in inventory.names() {
        let of = |entry| inventory.source(entry).map(|(team, source)| (team.name.clone(), source));
        let teams: Vec<String> = entries.iter().filter_map(of).map(|(team, _)| team).collect();
        let about = name.domain();
        for stale in entries.iter().filter(|entry| !entry.fresh) {
            let Some((team, source)) = of(stale) else { continue };
            let since = match source.confirmed_at {
                Some(at) => format!("was last confirmed at {at}"),
                None => "was never confirmed".to_owned(),
            };
            let what = format!("the registration of {name} for team {} {since}", quoted(&team));
            let step = "Look at Apple's portal and confirm that it is still there.";
            findings.push(Finding::new(FindingCode::RegistrationStale, about, what, Fix::step(step)));
        }
        let mut twice = teams.clone();
        twice.sort();
        if twice.windows(2).any(|pair| pair.first() == pair.last()) {
            let what = format!("{name} is declared twice for one team");
            findings.push(Finding::new(FindingCode::SourceTwice, about, what, Fix::step("Leave one declaration.")));
        }
        let used = entries.iter().any(|entry| by_entry.contains(&(entry.team, entry.source)));
        if !used && !open && !streams.is_empty() {
            let what = format!("no stream uses the registered source {name}");
            let step = "Take it out of Apple's portal if nothing sends from it any more.";
            findings.push(Finding::new(FindingCode::SourceUnused, about, what, Fix::step(step)));
        }
        let mut of_spf = Vec::new();
        let sends = open || senders.contains(about.as_str());
        let wanted = matches!(name, Registered::Domain(_));
        let has_spf = spf(about, wanted, sends, &mut of_spf, asking)?;
        findings.extend(of_spf.into_iter().filter(|finding| !is_told(&told, finding)));
        let carries = by_source.get(name).copied().unwrap_or_default();
        let fresh = entries.iter().any(|entry| entry.fresh);
        verdicts.push(SourceVerdict { source: name.clone(), teams, fresh, has_spf, carries });
    }
    Some((verdicts, findings))
}

/// Whether a stream that uses the name has told the same of it, and more.
fn is_told(told: &HashSet<(FindingCode, &str)>, finding: &Finding) -> bool {
    use FindingCode as C;
    let codes: &[FindingCode] = match &finding.code {
        C::SourceWithoutSpf => &[C::SpfMissing, C::SpfWrongName, C::SpfMisspelt],
        own => std::slice::from_ref(own),
    };
    codes.iter().any(|code| told.contains(&(*code, finding.about.as_str())))
}

/// What is wrong with the inventory whatever DNS says.
fn whole(inventory: &Inventory) -> Vec<Finding> {
    let mut findings = Vec::new();
    let step = "Declare the sources of each team, with the day when somebody last saw them in Apple's portal.";
    for team in inventory.teams().iter().filter(|team| team.sources.is_empty()) {
        let name = quoted(&team.name);
        let what = format!("nothing is declared as registered with Apple for team {name}");
        findings.push(Finding::new(FindingCode::InventoryMissing, name, what, Fix::step(step)));
    }
    if inventory.teams().is_empty() {
        let what = "nothing is declared as registered with Apple";
        findings.push(Finding::new(FindingCode::InventoryMissing, "inventory", what, Fix::step(step)));
    }
    for (team, source) in inventory.invalid() {
        let Some(team) = inventory.teams().get(*team) else { continue };
        let name = team.sources.get(*source).map(|source| quoted(&source.name)).unwrap_or_default();
        let what = format!("`{name}`, declared for team {}, is neither a domain nor an address", quoted(&team.name));
        let step = "Write it as Apple's portal shows it: a domain, or an address.";
        findings.push(Finding::new(FindingCode::SourceInvalid, quoted(&team.name), what, Fix::step(step)));
    }
    findings.extend(inventory.teams().iter().filter_map(limit));
    findings
}

/// How near a team is to the number of sources that Apple takes; the larger number where its kind is not known.
fn limit(team: &Team) -> Option<Finding> {
    let account = team.account.unwrap_or(Account::Organization);
    let (limit, sources) = (account.limit(), team.sources.len());
    let name = quoted(&team.name);
    let what = format!("team {name} declares {sources} sources; Apple takes {limit} of an {account}");
    if sources > limit {
        let step = "Look at Apple's portal which of them are registered in truth; take away what nothing sends from.";
        return Some(Finding::new(FindingCode::SourcesOverLimit, name, what, Fix::step(step)));
    }
    let near = sources * 100 >= limit * NEAR_LIMIT_PERCENT;
    let fix = Fix::step("Take away sources that nothing sends from before you need the place.");
    near.then(|| Finding::new(FindingCode::SourcesNearLimit, name, what, fix))
}

/// Whether a registered name publishes SPF. Of a registered address this is not asked for.
#[expect(clippy::option_option, reason = "the outer says whether DNS was asked, the inner whether it answered")]
fn spf<A: Answers>(
    name: &Name,
    wanted: bool,
    sends: bool,
    findings: &mut Vec<Finding>,
    asking: &Asking<'_, A>,
) -> Option<Option<bool>> {
    let (answer, selection) = asking.answers().published(&Question::new(name.clone(), Kind::Txt))?;
    if let Some(finding) = trouble(name, Kind::Txt, &answer.outcome) {
        findings.push(finding);
        return Some(None);
    }
    let has = selection != Selection::None;
    let at_risk =
        |code, what: String, step: &str| Finding::new(code, name, what, Fix::step(step)).graded(Grade::AtRisk);
    match selection {
        Selection::None if wanted => {
            // A record that passes nobody stops the mail of a name that has some.
            let mx = asking.ask(name, Kind::Mx)?;
            let fix = if let Some(last) = answer.aliases.last() {
                Fix::step(format!("{name} is a CNAME: ask the provider, the record is theirs at {last}."))
            } else if sends || !mx.outcome.is_absence() || !mx.aliases.is_empty() {
                Fix::step(format!(
                    "Publish SPF at {name} that passes all that sends with it in the envelope, if anything does."
                ))
            } else {
                let step = format!("If no mail has {name} in its envelope, publish a record that passes nobody.");
                Fix::publish(step, DnsRecord::txt(name, "v=spf1 -all"))
            };
            let what = format!("the registered domain {name} has no SPF record");
            findings.push(Finding::new(FindingCode::SourceWithoutSpf, name, what, fix));
        }
        Selection::Several(records) => {
            let what = format!("the registered domain {name} has {records} SPF records");
            findings.push(at_risk(FindingCode::SpfSeveral, what, "Put the terms of all into one record."));
        }
        Selection::One(policy) => {
            if let Some(mistake) = policy.mistakes().first() {
                let place = mistake.span.start + 1;
                let what =
                    format!("SPF of the registered domain {name} cannot be read at byte {place}: {}", mistake.kind);
                let step =
                    "Write each term of the record like include:spf.example.com or ip4:192.0.2.0/24; take others away.";
                findings.push(at_risk(FindingCode::SpfBroken, what, step));
            }
        }
        Selection::None => {}
    }
    Some(Some(has))
}
