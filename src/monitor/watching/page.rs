//! What is said of fitness that was lost by a change of DNS, and once it is back.

use crate::{
    model::Timestamp,
    notify::{Page, PageKind, Severity},
    sources::{
        Finding,
        watch::{Alarm, Growth, Trouble, Vantage},
    },
};

/// How many letters of a record a page shows.
const MAX_SHOWN: usize = 200;

/// What makes a page about a trouble the same one.
fn key(trouble: &Trouble) -> String {
    format!("source/{}/{}", trouble.domain, trouble.told_at.as_millis())
}

/// The page about it. It tells what changed, from what to what, and the record to publish; names and records only.
pub(super) fn page(alarm: &Alarm, now: Timestamp) -> Page {
    let trouble = &alarm.trouble;
    let domain = &trouble.domain;
    let (key, kind, severity, headline) = if trouble.over {
        let headline = format!("Mail from {domain} is fit for Apple's relay again, or is watched no more.");
        (format!("{}/over", key(trouble)), PageKind::FitAgain, Severity::Ticket, headline)
    } else {
        let headline = if trouble.streams.is_empty() {
            format!("A change of DNS breaks what mail from {domain} depends on.")
        } else {
            format!("Mail from {domain} is no longer fit for Apple's relay: DNS has changed.")
        };
        (key(trouble), PageKind::Unfit, Severity::Page, headline)
    };
    Page {
        key,
        headline,
        facts: if trouble.over { over(trouble, now) } else { facts(alarm) },
        explanation: alarm
            .findings
            .iter()
            .map(|finding| format!("{}. {}", finding.what.trim_end_matches('.'), finding.why))
            .collect(),
        safe_action: (!trouble.over).then(|| action(&alarm.findings)),
        ..Page::of_matter((kind, severity), format!("source {domain}"), domain.clone(), trouble.since, now)
    }
}

fn over(trouble: &Trouble, now: Timestamp) -> Vec<String> {
    vec![format!("It was not from {} to {now}.", trouble.since)]
}

fn facts(alarm: &Alarm) -> Vec<String> {
    let mut facts: Vec<String> = alarm.trouble.streams.iter().map(|stream| format!("Lost: {stream}.")).collect();
    for change in &alarm.changes {
        let by = if change.vantage == Vantage::Authoritative {
            "as the zone's own servers say"
        } else {
            "as the resolver says; the zone's own servers can't be asked"
        };
        facts.push(format!("{}, {by}.", change.says(MAX_SHOWN)));
        facts.extend(change.growth.iter().map(grown));
    }
    facts
}

fn grown(growth: &Growth) -> String {
    let by: Vec<String> = growth.by.iter().map(|(name, then, now)| format!("{name} ({then} → {now})")).collect();
    format!(
        "SPF of {} asks for {} look-ups, {} before: by {}.",
        growth.domain,
        growth.after,
        growth.before,
        by.join(", ")
    )
}

/// What to do: the first record to publish, else the first step.
fn action(findings: &[Finding]) -> String {
    let record = findings.iter().find_map(|finding| finding.fix.record.as_ref());
    match (record, findings.first()) {
        (Some(record), _) => format!("Publish: {record}"),
        (None, Some(finding)) => finding.fix.step.clone(),
        (None, None) => "Publish again what stood there before.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::sources::{
        DnsRecord, FindingCode, Fix, Grade,
        watch::{Fact, Record, State},
    };

    #[test]
    fn a_page_says_what_changed_and_what_to_publish() {
        let at = |minutes: i64| Timestamp::from_seconds(1_796_000_000 + 60 * minutes);
        let spf = "v=spf1 include:amazonses.com -all";
        let trouble = Trouble {
            domain: "mydomain.example".to_owned(),
            since: at(0),
            streams: vec!["ses mydomain.example by mail.mydomain.example".to_owned()],
            findings: Vec::new(),
            told_at: at(0),
            over: false,
        };
        let fact = |state, values: &[&str]| Fact {
            state,
            aliases: Vec::new(),
            values: values.iter().map(|text| (*text).to_owned()).collect::<BTreeSet<_>>(),
        };
        let change = Record {
            question: "TXT of mail.mydomain.example".to_owned(),
            vantage: Vantage::Authoritative,
            before: Some(fact(State::Value, &[spf])),
            after: fact(State::NoData, &[]),
            grade: Some(Grade::Fatal),
            domains: vec!["mydomain.example".to_owned()],
            growth: vec![Growth {
                domain: "mail.mydomain.example".to_owned(),
                before: 4,
                after: 11,
                by: vec![("spf.example.com".to_owned(), 1, 8)],
            }],
            unstable: false,
        };
        let fix = Fix::publish("Publish it.", DnsRecord::txt("mail.mydomain.example", spf));
        let finding = Finding::new(FindingCode::SpfMissing, "mail.mydomain.example", "There is no SPF record.", fix);
        let alarm = Alarm { trouble: trouble.clone(), changes: vec![change], findings: vec![finding] };
        let over = Alarm { trouble: Trouble { over: true, ..trouble }, changes: Vec::new(), findings: Vec::new() };
        let told = page(&alarm, at(1));
        assert_eq!((told.kind, told.severity), (PageKind::Unfit, Severity::Page));
        assert_eq!(told.headline, "Mail from mydomain.example is no longer fit for Apple's relay: DNS has changed.");
        assert_eq!(
            told.facts,
            [
                "Lost: ses mydomain.example by mail.mydomain.example.",
                "TXT of mail.mydomain.example: v=spf1 include:amazonses.com -all → no record of this kind, as the zone's own \
                 servers say.",
                "SPF of mail.mydomain.example asks for 11 look-ups, 4 before: by spf.example.com (1 → 8).",
            ]
        );
        assert_eq!(told.safe_action, Some(format!("Publish: mail.mydomain.example. TXT \"{spf}\"")));
        let ended = page(&over, at(90));
        assert_eq!((ended.kind, ended.key), (PageKind::FitAgain, format!("{}/over", told.key)));
        assert_eq!((ended.incident, ended.safe_action), (told.incident, None));
    }
}
