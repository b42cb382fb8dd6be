//! The report of an incident: for a ticket or for Apple (Markdown), for machines (JSON), for a terminal (summary).
//!
//! It holds counts, domains, campaign names and words, and no address: it can be passed on.

use std::fmt::{self, Write};

use serde_json::{Value, json};

use super::{Basis, Body};
use crate::{
    detect::stats::count,
    explain::{Explanation, Revocation, ShareExplained, Weighed, explain},
    model::Timestamp,
    store::{IncidentRecord, IncidentState},
};

/// Said where an incident is closed, masked or withdrawn.
const fn standing(state: IncidentState) -> &'static str {
    match state {
        IncidentState::Open => "it goes on",
        IncidentState::Closed => "it has become quiet; that does not lift the hold",
        IncidentState::Withdrawn => "late reports undid the judgement",
        IncidentState::Masked => {
            "the refused addresses have vanished from the traffic, suppressed by the provider: silence proves nothing"
        }
        IncidentState::Past => "it was over before it was known",
    }
}

/// The report for people, in Markdown.
#[must_use]
pub fn markdown(record: &IncidentRecord, body: &Body) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    _ = write_markdown(&mut out, record, body);
    out
}

fn write_markdown(out: &mut String, record: &IncidentRecord, body: &Body) -> fmt::Result {
    writeln!(out, "# Incident {}: {}\n", record.id, plain(&body.scope.to_string()))?;
    writeln!(out, "{}\n", plain(&body.sentence))?;
    writeln!(out, "| | |\n|---|---|")?;
    for (name, value) in rows(record, body) {
        writeln!(out, "| {name} | {} |", plain(&value))?;
    }
    let Some(facts) = &body.facts else {
        writeln!(out, "\n## Cause\n\nNothing has been collected yet that could explain it.")?;
        for line in &body.explanation {
            writeln!(out, "{}", plain(line))?;
        }
        return Ok(());
    };
    let explanation = explain(facts);
    writeln!(out, "\n## Cause\n\n{}\n", plain(&cause(body)))?;
    writeln!(out, "**Do now:** {}", plain(explanation.safe_action.advice))?;
    writeln!(out, "\n## Explained by Apple's notices\n\n{}", notices(explanation.share_explained.as_ref()))?;
    writeln!(out, "\n## Hypotheses\n\n| | hypothesis | probability | could account for | |\n|---|---|---:|---:|---|")?;
    for ranked in &explanation.hypotheses {
        let ruled_out = if ranked.ruled_out { "ruled out" } else { "" };
        let (label, title) = (ranked.hypothesis.label(), ranked.hypothesis.title());
        // Two digits must not claim certainty.
        let posterior = ranked.posterior.min(0.99);
        // A sum of nothing is minus zero: no sign before a nil.
        let explained = 100.0 * ranked.explained + 0.0;
        writeln!(out, "| {label} | {title} | {posterior:.2} | {explained:.0} % | {ruled_out} |")?;
    }
    writeln!(out, "| | none of these | {:.2} | | |", explanation.unknown)?;
    if let Some(leading) = explanation.leading() {
        let label = leading.hypothesis.label();
        evidence(out, &format!("Evidence for {label}"), &explanation.evidence_for)?;
        evidence(out, &format!("Evidence against {label}"), &explanation.evidence_against)?;
    }
    writeln!(out, "\n## Not checked\n")?;
    for open in &explanation.not_checked {
        writeln!(out, "- {}: {}", open.clue, open.reason.says())?;
    }
    if explanation.not_checked.is_empty() {
        writeln!(out, "- nothing")?;
    }
    for window in &facts.blind_windows {
        let until = window.until.map_or_else(|| "not ended yet".to_owned(), |until| format!("to {until}"));
        let why = window.reason.map_or_else(String::new, |reason| format!(" ({})", reason.says()));
        let watched = window.watched.says();
        writeln!(out, "- blind from {}, {until}: {watched}{why}; absence there proves nothing", window.from)?;
    }
    writeln!(out, "\n## What would tell\n")?;
    for clue in explanation.next_check.iter().chain(&explanation.what_would_tell) {
        writeln!(out, "- {}", clue.how_to_check())?;
    }
    if explanation.next_check.is_none() {
        writeln!(out, "- nothing that relaywatch knows of")?;
    }
    Ok(())
}

/// What is known at a glance, in the order in which it's asked.
fn rows(record: &IncidentRecord, body: &Body) -> Vec<(&'static str, String)> {
    let share = 100.0 * count(body.refused) / count(body.sends.max(1));
    let streams: Vec<String> = body.streams.iter().map(ToString::to_string).collect();
    let mut rows = vec![
        ("State", format!("{}: {}", record.state, standing(record.state))),
        ("Since", record.onset.to_string()),
        ("Judged at", record.opened_at.to_string()),
    ];
    rows.extend(record.closed_at.map(|at| ("Over at", at.to_string())));
    rows.push(("As of", record.updated_at.to_string()));
    rows.push((
        "Announced as",
        match body.pages {
            0 => format!("{}, to nobody", body.severity),
            pages => format!("{}, {pages} sent", body.severity),
        },
    ));
    rows.push((
        "Messages",
        match body.basis {
            Basis::Rate => {
                format!("{} of {} refused ({share:.1} %); {:.1} expected", body.refused, body.sends, body.expected)
            }
            Basis::Count => format!("{} refused; the feed reports no sends, so that there is no rate", body.refused),
        },
    ));
    rows.push(("Addresses", format!("{} refused", body.addresses)));
    if !streams.is_empty() {
        rows.push(("Seen on", streams.join("; ")));
    }
    if let Some(version) = body.settings {
        let rules = body.rules.map_or_else(String::new, |rules| format!(", rules {rules}"));
        rows.push(("Judged under", format!("settings {version}{rules}")));
    }
    rows.extend(record.operator.label.map(|label| ("Label", label.to_string())));
    if record.operator.closed_at.is_some() {
        rows.push(("Closed by", "an operator; that does not lift the hold".to_owned()));
    }
    if record.operator.accepted_normal {
        rows.push(("Baseline", "accepted as normal by an operator".to_owned()));
    }
    rows
}

/// The cause as it was announced; explained anew by a later version it may rank otherwise.
fn cause(body: &Body) -> String {
    body.named.map_or_else(|| "Undetermined.".to_owned(), |named| format!("{} {}.", named.label(), named.title()))
}

fn notices(share: Option<&ShareExplained>) -> String {
    let Some(share) = share else {
        return "Not checked: no notices and no account map. Revocations are not excluded.".to_owned();
    };
    let (low, high) = (100.0 * share.share.low, 100.0 * share.share.high);
    let coverage = format!("{:.1} % of the refused addresses are in the account map.", 100.0 * share.map_coverage);
    if share.status == Revocation::Checked {
        format!(
            "Notices explain {:.0} % of the refusals beyond the ordinary (95 % interval {low:.0} to {high:.0} %), about {:.0}. \
             {} refused addresses have a notice before the refusal, {} only after it, of {} that are mapped; {coverage}",
            100.0 * share.share.value,
            share.excess_explained,
            share.exposed_before,
            share.exposed_after,
            share.mapped,
        )
    } else {
        format!(
            "Not checked ({}): notices could explain {low:.0} to {high:.0} %; {coverage} Revocations are not excluded.",
            share.status
        )
    }
}

fn evidence(out: &mut String, title: &str, evidence: &[Weighed]) -> fmt::Result {
    writeln!(out, "\n## {title}\n")?;
    for weighed in evidence {
        writeln!(out, "- {:+.1}: {}", weighed.weight, plain(&weighed.detail))?;
    }
    if evidence.is_empty() {
        writeln!(out, "- none")?;
    }
    Ok(())
}

/// Names of campaigns come from outside: no text of theirs may change the page that it stands on.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '#' => out.extend(['\\', c]),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// The report for machines.
#[must_use]
pub fn to_json(record: &IncidentRecord, body: &Body) -> Value {
    let explanation: Option<Explanation> = body.facts.as_ref().map(explain);
    let streams: Vec<String> = body.streams.iter().map(ToString::to_string).collect();
    let time = |at: Timestamp| at.to_string();
    json!({
        "id": record.id,
        "state": record.state,
        "onset": time(record.onset),
        "opened_at": time(record.opened_at),
        "updated_at": time(record.updated_at),
        "closed_at": record.closed_at.map(time),
        "scope": body.scope.to_string(),
        "streams": streams,
        "severity": body.severity,
        "sends": body.sends,
        "refused": body.refused,
        "expected": body.expected,
        "addresses": body.addresses,
        "sentence": body.sentence,
        "named": body.named,
        "named_title": body.named.map(crate::explain::Hypothesis::title),
        "label": record.operator.label,
        "accepted_normal": record.operator.accepted_normal,
        "operator_closed_at": record.operator.closed_at.map(time),
        "basis": body.basis,
        "settings": body.settings,
        "rules": body.rules,
        "pages": body.pages,
        "explanation": explanation,
        "facts": body.facts,
    })
}

/// The incident on a terminal: what, when, how many, and the explanation as it was announced.
#[must_use]
pub fn summary(record: &IncidentRecord, body: &Body) -> String {
    let visible = |text: &str| text.replace(char::is_control, " ");
    let mut out = format!("Incident {}: {}\n\n{}\n\n", record.id, body.scope, body.sentence);
    let mut line = |name: &str, value: &str| {
        // Writing to a string cannot fail.
        _ = writeln!(out, "{:<17}{}", format!("{name}:"), visible(value));
    };
    for (name, value) in rows(record, body) {
        line(name, &value);
    }
    if body.explanation.is_empty() {
        line("Cause", "nothing has been collected yet that could explain it");
    } else {
        out.push('\n');
    }
    for line in &body.explanation {
        out.push_str(&visible(line));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        explain::{BlindWindow, Hypothesis, Watched},
        incident::{Label, testing},
    };

    #[test]
    fn the_purge_reported() {
        let (record, body) = testing::purge();
        insta::assert_snapshot!("markdown", markdown(&record, &body));
        insta::assert_snapshot!("summary", summary(&record, &body));
        let mut json = to_json(&record, &body);
        assert!(json["explanation"]["hypotheses"].is_array() && json["facts"]["replies"].is_object());
        json["explanation"] = Value::Null;
        json["facts"] = Value::Null;
        insta::assert_json_snapshot!("json", json);
    }

    #[test]
    fn a_masked_incident_that_nobody_could_explain() {
        let (mut record, mut body) = testing::purge();
        record.state = IncidentState::Masked;
        record.closed_at = Some(record.updated_at);
        record.operator.label = Some(Label::Real);
        record.operator.accepted_normal = true;
        body.named = Some(Hypothesis::Purge);
        let facts = body.facts.as_mut().expect("facts");
        facts.notices = None;
        facts.blind_windows =
            vec![BlindWindow { watched: Watched::Notices, from: record.onset, until: None, reason: None }];
        insta::assert_snapshot!("markdown_masked", markdown(&record, &body));
        body.facts = None;
        body.explanation.clear();
        insta::assert_snapshot!("markdown_without_facts", markdown(&record, &body));
        insta::assert_snapshot!("summary_without_facts", summary(&record, &body));
    }

    #[test]
    fn names_from_outside_cannot_change_the_page() {
        assert_eq!(plain("a|b <script> *x*\n# y"), "a\\|b &lt;script&gt; \\*x\\* \\# y");
    }
}
