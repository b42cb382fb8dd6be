//! What a From domain publishes, and whether another name is aligned with it.

use super::{
    super::{
        answer::{Answer, Kind, Name, Outcome, Values},
        asking::Asking,
        finding::{DnsRecord, Finding, FindingCode, Fix, shown},
        spf::Answers,
    },
    org_by_list,
    record::{Mode, Policy, Record, is_record, rua},
    walk::{Walk, walk},
};

/// DMARC of one From domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DmarcView {
    /// The From domain.
    pub from: Name,
    /// Where the record is that counts for it, and the record.
    pub record: Option<(Name, Record)>,
    /// What receivers are asked to do with mail that fails; `None` without a record that counts, or where DNS did not answer.
    pub policy: Option<Policy>,
    /// What the walk found.
    pub walk: Walk,
    /// The organisational domain by the public suffix list.
    pub org_by_list: Name,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

impl DmarcView {
    /// Whether mail that fails is refused or put aside by receivers that follow the record.
    #[must_use]
    pub fn enforces(&self) -> bool {
        self.policy.is_some_and(|policy| policy > Policy::None)
    }
}

/// Looks up DMARC of a From domain. `None` where something is still to be asked.
pub(in super::super) fn view<A: Answers>(from: &Name, asking: &Asking<'_, A>) -> Option<DmarcView> {
    let walk = walk(from, asking)?;
    let at_psd = || walk.found.iter().find(|(_, record)| record.psd == super::Psd::Yes);
    let of = |name: &Name| walk.record_of(name).map(|record| (name.clone(), record.clone()));
    let record = of(from).or_else(|| walk.org.as_ref().and_then(of)).or_else(|| at_psd().cloned());
    let exists = !matches!(asking.ask(from, Kind::Txt)?.outcome, Outcome::NoSuchDomain);
    let policy = record.as_ref().and_then(|(name, record)| {
        let policy = record.policy(name != from, exists)?;
        Some(if record.testing { policy.weaker() } else { policy })
    });
    let mut view = DmarcView {
        from: from.clone(),
        record,
        policy,
        org_by_list: org_by_list(from),
        findings: walk.troubles.clone(),
        walk,
    };
    for name in &view.walk.several {
        let step = format!("Leave one record at _dmarc.{name}.");
        let what = format!("several DMARC records at _dmarc.{name}; none of them counts");
        view.findings.push(Finding::new(FindingCode::DmarcSeveral, name, what, Fix::step(step)));
    }
    let findings = match &view.record {
        Some((name, record)) => published(name, record, asking)?,
        None if view.walk.troubles.is_empty() && view.walk.several.is_empty() => vec![absent(from, asking)?],
        None => Vec::new(),
    };
    view.findings.extend(findings);
    Some(view)
}

/// No record counts for the domain: whether one stands at a name that consoles make of a wrong entry.
fn absent<A: Answers>(from: &Name, asking: &Asking<'_, A>) -> Option<Finding> {
    let org = org_by_list(from);
    let at = format!("_dmarc.{org}");
    let mut places = vec![org.clone()];
    places.extend(Name::parse(&format!("{at}.{org}")));
    let answers: Vec<Option<&Answer>> = places.iter().map(|place| asking.ask(place, Kind::Txt)).collect();
    let alias = match Name::parse(&at) {
        Ok(at) => asking.ask(&at, Kind::Txt)?.aliases.last(),
        Err(_) => None,
    };
    for (place, answer) in places.iter().zip(answers) {
        let Outcome::Found(Values::Txt(texts)) = &answer?.outcome else { continue };
        if let Some(text) = texts.iter().map(super::super::answer::Text::joined).find(|text| is_record(text)) {
            let stood = shown(&text, 120);
            let what = format!("the DMARC record stands at {place}, where nobody looks for it: {stood}");
            // A policy that nobody has followed yet could stop mail at once.
            let reports = rua(&text).map(|rua| format!("; rua={rua}")).unwrap_or_default();
            let step = format!(
                "Publish the record below at {at} and take the one at {place} away; say more than p=none when the reports \
                 show that all of your mail passes."
            );
            let fix = match alias {
                Some(last) => Fix::step(format!("{at} is a CNAME: ask whoever runs {last}, the record is theirs.")),
                None => Fix::publish(step, DnsRecord::txt(&at, &format!("v=DMARC1; p=none{reports}"))),
            };
            return Some(Finding::new(FindingCode::DmarcWrongName, from, what, fix));
        }
    }
    let fix = if let Some(last) = alias {
        Fix::step(format!("{at} is a CNAME: ask whoever runs {last}, the record is theirs."))
    } else {
        let step = "Publish a record; p=none asks receivers for nothing.";
        Fix::publish(step, DnsRecord::txt(&at, "v=DMARC1; p=none"))
    };
    Some(Finding::new(FindingCode::DmarcMissing, from, format!("no DMARC record counts for {from}"), fix))
}

/// What is wrong with the record that counts.
fn published<A: Answers>(name: &Name, record: &Record, asking: &Asking<'_, A>) -> Option<Vec<Finding>> {
    let at = format!("_dmarc.{name}");
    let mut findings = Vec::new();
    let mut add = |code, what: String, step: &str| findings.push(Finding::new(code, name, what, Fix::step(step)));
    for fault in record.faults.iter().take(5) {
        let what = format!("the DMARC record at {at} cannot be read {fault}");
        add(FindingCode::DmarcBroken, what, "Write the tag as name=value, such as p=none or adkim=r, or take it away.");
    }
    if !record.removed.is_empty() {
        let what = format!("the DMARC record at {at} has {}=, which RFC 9989 has removed", record.removed.join("=, "));
        let step = match record.percent {
            // Without the tag the policy is for all mail, at receivers of the old RFC too.
            Some(percent @ ..100) => format!(
                "pct={percent} goes only once all of your mail passes, or together with t=y, which makes the policy one step \
                 weaker: without it receivers apply the policy in full."
            ),
            _ => "Take the tags away; for a trial use t=y.".to_owned(),
        };
        add(FindingCode::DmarcRemovedTags, what, &step);
    }
    if record.p.is_none() {
        let what = format!("the DMARC record at {at} has no valid p=");
        add(FindingCode::DmarcPolicyMissing, what, "Say p=none, p=quarantine or p=reject.");
    }
    if record.testing {
        add(
            FindingCode::DmarcTesting,
            format!("the DMARC record at {at} says t=y"),
            "Take t=y away when the trial is over.",
        );
    }
    if record.bad_reports > 0 {
        let what = format!("{} of the report addresses at {at} are no mailto: addresses", record.bad_reports);
        add(FindingCode::DmarcReportAddress, what, "Write each as mailto:NAME@DOMAIN, with commas between them.");
    }
    let mut hosts: Vec<&Name> = record.reports.iter().map(|report| &report.host).collect();
    hosts.sort();
    hosts.dedup();
    hosts.retain(|host| org_by_list(host) != org_by_list(name));
    let places: Vec<(&Name, Name)> = hosts
        .into_iter()
        .filter_map(|host| Some((host, Name::parse(&format!("{name}._report._dmarc.{host}")).ok()?)))
        .collect();
    let answers: Vec<Option<&Answer>> = places.iter().map(|(_, place)| asking.ask(place, Kind::Txt)).collect();
    for ((host, place), answer) in places.iter().zip(answers) {
        let outcome = &answer?.outcome;
        let seen = match outcome {
            Outcome::Found(Values::Txt(texts)) if texts.iter().any(|text| is_record(&text.joined())) => continue,
            Outcome::Found(Values::Txt(texts)) => {
                format!(
                    "what stands at {place} is no consent: {}",
                    shown(&texts.first().cloned().unwrap_or_default().joined(), 40)
                )
            }
            outcome if outcome.is_trouble() => continue,
            _ => format!("nothing stands at {place}"),
        };
        let record = DnsRecord::txt(place, "v=DMARC1");
        let fix = Fix::publish(format!("Whoever runs {host} publishes the consent, or the address goes."), record);
        let what = format!("reports for {name} go to {host}, which has not agreed: {seen}");
        findings.push(Finding::new(FindingCode::DmarcReportUnauthorised, name, what, fix));
    }
    Some(findings)
}

/// Whether a name is aligned with a From domain, each way of finding the organisational domain for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aligned {
    /// By RFC 9989; `None` where DNS did not answer.
    pub by_walk: Option<bool>,
    /// By the public suffix list.
    pub by_list: bool,
}

/// Whether `other` (an envelope domain or `d=`) is aligned with the From domain of a view. `None` where something is still to be
/// asked.
pub(in super::super) fn alignment<A: Answers>(
    view: &DmarcView,
    other: &Name,
    mode: Mode,
    asking: &Asking<'_, A>,
) -> Option<Aligned> {
    let same = view.from == *other;
    if same || mode == Mode::Strict {
        return Some(Aligned { by_walk: Some(same), by_list: same });
    }
    let by_list = view.org_by_list == org_by_list(other);
    // Names of different top-level domains cannot meet on the way up.
    let top = |name: &Name| name.labels().last().map(std::borrow::Cow::into_owned);
    if top(&view.from) != top(other) {
        return Some(Aligned { by_walk: Some(false), by_list });
    }
    let others = walk(other, asking)?;
    let by_walk = view.walk.org.as_ref().zip(others.org.as_ref()).map(|(own, other)| own == other);
    Some(Aligned { by_walk, by_list })
}
