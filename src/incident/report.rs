//! The report of an incident: for a ticket or for Apple (Markdown), for machines (JSON), for a terminal (summary).
//!
//! It holds counts, domains, campaign names and words, and no address: it can be passed on.

use std::fmt::{self, Write};

use serde_json::{Value, json};

use super::{Basis, Body};
use crate::{
    detect::stats::count,
    explain::{
        Explanation, IncidentFacts, Revocation, ShareExplained, Weighed, campaigns, explain, jump, percent, replies,
        unchecked,
    },
    model::{Timestamp, counted, verb},
    store::{EntryKind, IncidentRecord, IncidentState, Store, StoreError},
};

/// Entries about what operators did that are read, the newest ones.
const MOST_ACTIONS: u32 = 10_000;

/// Replies that are shown.
const MOST_REPLIES: usize = 3;

/// What a report tells beside the incident itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Beside {
    /// Who closed it, where an operator did.
    pub closing: Option<Closing>,
    /// What the installation is called.
    pub installation: Option<String>,
    /// Where the incident stands on the private page.
    pub link: Option<String>,
}

/// Who closed an incident, and why: from the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// The operator.
    pub operator: String,
    /// The reason.
    pub reason: String,
}

/// Who closed an incident, where an operator did and the journal still tells.
///
/// # Errors
/// Where the store is away, or holds what this version doesn't know.
pub async fn closing(store: &Store, record: &IncidentRecord) -> Result<Option<Closing>, StoreError> {
    if record.operator.closed_at.is_none() {
        return Ok(None);
    }
    let latest = Timestamp::from_millis(i64::MAX);
    let actions = store.entries_of_kind(EntryKind::Action, latest, MOST_ACTIONS).await?;
    let text = |body: &Value, name: &str| body.get(name).and_then(Value::as_str).unwrap_or("not told").to_owned();
    // They come newest first: the first closing is the one that held.
    Ok(actions
        .iter()
        .rev()
        .map(|entry| &entry.body)
        .find(|body| {
            body.get("action").and_then(Value::as_str) == Some("close")
                && body.get("incident").and_then(Value::as_i64) == Some(record.id)
        })
        .map(|body| Closing { operator: text(body, "operator"), reason: text(body, "reason") }))
}

/// Said where an incident is closed, masked or withdrawn.
const fn standing(record: &IncidentRecord) -> &'static str {
    match record.state {
        IncidentState::Open => "it goes on",
        IncidentState::Closed if record.operator.closed_at.is_some() => "by an operator; that does not lift the hold",
        IncidentState::Closed => "it has become quiet; that does not lift the hold",
        IncidentState::Withdrawn => "late reports undid the judgement",
        IncidentState::Masked => {
            "the refused addresses have vanished from the traffic, as those do that the provider suppresses: silence proves nothing"
        }
        IncidentState::Past => "it was over before it was known",
    }
}

/// The report for people, in Markdown.
#[must_use]
pub fn markdown(record: &IncidentRecord, body: &Body, beside: &Beside) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    _ = write_markdown(&mut out, record, body, beside);
    out
}

fn write_markdown(out: &mut String, record: &IncidentRecord, body: &Body, beside: &Beside) -> fmt::Result {
    writeln!(out, "# Incident {}: {}\n", record.id, plain(&body.scope.to_string()))?;
    writeln!(out, "{}\n", plain(&body.sentence))?;
    writeln!(out, "| | |\n|---|---|")?;
    for (name, value) in rows(record, body, beside) {
        let value = if name == LOOK { format!("<{}>", value.replace('|', "%7C")) } else { plain(&value) };
        writeln!(out, "| {name} | {value} |")?;
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
    if record.state != IncidentState::Withdrawn && explanation.safe_action.holds() {
        writeln!(out, "\n{}", plain(&super::win_back(record.id)))?;
    }
    writeln!(out, "\n## Explained by Apple's notices\n\n{}", notices(&explanation))?;
    for mail in &facts.relay_mails {
        writeln!(out, "\nA mail of Apple's to the Account Holder at {}: {}.", mail.at, plain(&mail.tells()))?;
    }
    writeln!(out, "\n## Hypotheses\n\n| | hypothesis | probability | could account for | |\n|---|---|---:|---:|---|")?;
    for ranked in &explanation.hypotheses {
        let ruled_out = match (ranked.ruled_out, ranked.by_wording) {
            (true, false) => "ruled out",
            (true, true) => "unlikely by the replies",
            (false, _) => "",
        };
        let (label, title) = (ranked.hypothesis.label(), ranked.hypothesis.title());
        let posterior = percent(ranked.posterior);
        let explained =
            ranked.explained.map_or_else(|| "not known".to_owned(), |share| format!("{:.0} %", 100.0 * share));
        writeln!(out, "| {label} | {title} | {posterior} | {explained} | {ruled_out} |")?;
    }
    writeln!(out, "| | none of these | {} | | |", percent(explanation.unknown))?;
    writeln!(out, "\n{LEGEND}")?;
    if let Some(leading) = explanation.leading() {
        let label = leading.hypothesis.label();
        evidence(out, &format!("Evidence for {label}"), &explanation.evidence_for)?;
        evidence(out, &format!("Evidence against {label}"), &explanation.evidence_against)?;
    }
    writeln!(out, "\n## Not checked\n")?;
    for open in &explanation.not_checked {
        writeln!(out, "- {}: {}", open.clue.title(), open.reason.says())?;
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

/// What the labels and columns of the table of hypotheses mean.
const LEGEND: &str = "H1 to H10 label the causes that relaywatch knows (docs/explanation.md). Probability: after the evidence, \
                      of all causes and \"none of these\". Could account for: the share of the refusals beyond the ordinary \
                      that fits what the cause would show in replies, notices, earlier deliveries or repeats; \"not known\" \
                      where that was not reported. Unlikely by the replies: only their wording speaks against it, and wording \
                      can be wrong. The number before a line of evidence is its weight, a natural logarithm of odds: 2 and \
                      more is strong.";

/// What is known at a glance, in the order in which it's asked.
fn rows(record: &IncidentRecord, body: &Body, beside: &Beside) -> Vec<(&'static str, String)> {
    let share = 100.0 * count(body.refused) / count(body.sends.max(1));
    let mut streams: Vec<String> = body.streams.iter().map(ToString::to_string).collect();
    let mut rows = vec![
        ("State", format!("{}: {}", record.state, standing(record))),
        ("Since", since(record, body)),
        ("Mail judged to", format!("{} (send time, when it was opened)", record.opened_at)),
    ];
    if let Some(name) = &beside.installation {
        rows.insert(0, ("Installation", name.clone()));
    }
    rows.extend(beside.link.clone().map(|link| (LOOK, link)));
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
    if let Some(facts) = &body.facts {
        rows.extend(campaigns(facts).map(|said| ("Campaigns", said)));
        rows.extend(jump(facts).map(|jump| ("One text", jump.says())));
        rows.extend(replies(facts, MOST_REPLIES, usize::MAX).into_iter().map(|said| ("Reply", said)));
    }
    // Where From and envelope are one domain, a coarser and a finer stream read the same.
    streams.dedup();
    if !streams.is_empty() {
        rows.push(("Seen on", streams.join("; ")));
    }
    if let Some(version) = body.settings {
        let rules = body.rules.map_or_else(String::new, |rules| format!(", rules {rules}"));
        rows.push(("Judged under", format!("settings {version}{rules}")));
    }
    rows.extend(record.operator.label.map(|label| ("Label", label.to_string())));
    if let Some(at) = record.operator.closed_at {
        let who = beside.closing.as_ref().map_or_else(
            || format!("an operator at {at}"),
            |closing| format!("an operator at {at}: {} ({})", closing.reason, closing.operator),
        );
        rows.push(("Closed by", format!("{who}; that does not lift the hold")));
    }
    if record.operator.accepted_normal {
        rows.push(("Baseline", "accepted as normal by an operator".to_owned()));
    }
    rows
}

/// When it began; where the rate turned long after the first refusals, both.
fn since(record: &IncidentRecord, body: &Body) -> String {
    match body.facts.as_ref().and_then(IncidentFacts::turned_late) {
        Some(turned) => format!("turned at {turned}; the rise may have begun as early as {}", record.onset),
        None => record.onset.to_string(),
    }
}

/// The cause as it was announced; explained anew by a later version it may rank otherwise.
fn cause(body: &Body) -> String {
    body.named.map_or_else(|| "Undetermined.".to_owned(), |named| format!("{} {}.", named.label(), named.title()))
}

fn notices(explanation: &Explanation) -> String {
    let share: Option<&ShareExplained> = explanation.share_explained.as_ref();
    let Some(share) = share else {
        return "Not checked: no notices and no account map. Revocations are not excluded.".to_owned();
    };
    let (low, high) = (100.0 * share.share.low, 100.0 * share.share.high);
    let coverage = format!("{:.1} % of the refused addresses are in the account map.", 100.0 * share.map_coverage);
    if share.status == Revocation::Checked {
        format!(
            "Notices explain {:.0} % of the refusals beyond the ordinary (95 % interval {low:.0} to {high:.0} %), about {:.0}. \
             Of {}, {} {} a notice before the refusal, {} only after it; {coverage}",
            100.0 * share.share.value,
            share.excess_explained,
            counted(share.mapped, "mapped refused address"),
            share.exposed_before,
            verb(share.exposed_before, "has", "have"),
            share.exposed_after,
        )
    } else {
        format!(
            "Not checked ({}): notices could explain {low:.0} to {high:.0} %; {coverage} Revocations are not excluded.",
            unchecked(share, explanation.onset)
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

/// The row of the link: within angle brackets nothing of a URL needs an escape.
const LOOK: &str = "Look at it";

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
pub fn to_json(record: &IncidentRecord, body: &Body, beside: &Beside) -> Value {
    let explanation: Option<Explanation> = body.facts.as_ref().map(explain);
    let streams: Vec<String> = body.streams.iter().map(ToString::to_string).collect();
    let time = |at: Timestamp| at.to_string();
    json!({
        "id": record.id,
        "installation": beside.installation,
        "link": beside.link,
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
        "operator_closed_by": beside.closing.as_ref().map(|closing| &closing.operator),
        "operator_closed_for": beside.closing.as_ref().map(|closing| &closing.reason),
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
pub fn summary(record: &IncidentRecord, body: &Body, beside: &Beside) -> String {
    let visible = |text: &str| text.replace(char::is_control, " ");
    let mut out = format!("Incident {}: {}\n\n{}\n\n", record.id, body.scope, body.sentence);
    let mut line = |name: &str, value: &str| {
        // Writing to a string cannot fail.
        _ = writeln!(out, "{:<17}{}", format!("{name}:"), visible(value));
    };
    for (name, value) in rows(record, body, beside) {
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
    let holds = body.facts.as_ref().is_some_and(|facts| explain(facts).safe_action.holds());
    if record.state != IncidentState::Withdrawn && holds {
        // Writing to a string cannot fail.
        _ = writeln!(out, "\n{}", super::win_back(record.id));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        explain::{BlindWindow, Hypothesis, RelayMail, Watched},
        incident::{Label, testing},
        model::RelayNotice,
    };

    #[test]
    fn the_purge_reported() {
        let (record, body) = testing::purge();
        insta::assert_snapshot!("markdown", markdown(&record, &body, &Beside::default()));
        insta::assert_snapshot!("summary", summary(&record, &body, &Beside::default()));
        let mut json = to_json(&record, &body, &Beside::default());
        let text = json.to_string();
        assert!(!text.contains("-0.0,") && !text.contains("-0.0}"), "no sign before a nil");
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
        insta::assert_snapshot!("markdown_masked", markdown(&record, &body, &Beside::default()));
        body.facts = None;
        body.explanation.clear();
        insta::assert_snapshot!("markdown_without_facts", markdown(&record, &body, &Beside::default()));
        insta::assert_snapshot!("summary_without_facts", summary(&record, &body, &Beside::default()));
    }

    #[test]
    fn apples_mails_about_the_relay_are_told() {
        let (record, mut body) = testing::purge();
        let facts = body.facts.as_mut().expect("facts");
        facts.relay_mails = vec![RelayMail {
            at: record.onset,
            says: RelayNotice::SourceNotRegistered,
            domains: vec!["mail.example.com".to_owned()],
            authenticated: false,
        }];
        let told = markdown(&record, &body, &Beside::default());
        let line = "A mail of Apple's to the Account Holder at 2025-08-09T06:00:00Z: a sender is not registered with Apple \
                    (mail.example.com); that Apple sent it is not shown.";
        assert!(told.contains(line), "{told}");
    }

    #[test]
    fn what_an_operator_closed_has_not_become_quiet() {
        let (mut record, body) = testing::purge();
        record.state = IncidentState::Closed;
        record.closed_at = Some(record.updated_at);
        record.operator.closed_at = Some(record.updated_at);
        let closing = Closing { operator: "Jo".to_owned(), reason: "the sender was retired".to_owned() };
        let told = summary(&record, &body, &Beside { closing: Some(closing), ..Beside::default() });
        let by = "an operator at 2025-08-09T08:30:00Z: the sender was retired (Jo)";
        assert!(told.contains(by) && !told.contains("become quiet"), "{told}");
        assert!(
            markdown(&record, &body, &Beside::default()).contains("an operator at 2025-08-09T08:30:00Z; that does not")
        );
    }

    #[test]
    fn a_report_names_the_installation_and_where_to_look() {
        let (record, body) = testing::purge();
        let beside = Beside {
            installation: Some("acme production".to_owned()),
            link: Some("https://relaywatch.example.com/#incident-7".to_owned()),
            ..Beside::default()
        };
        let told = markdown(&record, &body, &beside);
        assert!(told.contains("| Installation | acme production |"), "{told}");
        assert!(told.contains("| Look at it | <https://relaywatch.example.com/#incident-7> |\n"), "{told}");
        let json = to_json(&record, &body, &beside);
        assert_eq!(json["installation"], "acme production");
        assert_eq!(json["link"], "https://relaywatch.example.com/#incident-7");
    }

    #[test]
    fn the_turn_is_told_where_it_came_long_after_the_first_refusals() {
        let (mut record, mut body) = testing::purge();
        record.onset = record.onset.plus_millis(-3 * crate::model::HOUR_MILLIS);
        let facts = body.facts.as_mut().expect("facts");
        let turned = facts.onset.replace(record.onset);
        facts.turned = turned;
        let said = "turned at 2025-08-09T06:00:00Z; the rise may have begun as early as 2025-08-09T03:00:00Z";
        assert!(markdown(&record, &body, &Beside::default()).contains(&format!("| Since | {said} |")));
        assert!(summary(&record, &body, &Beside::default()).contains(said));
        body.facts.as_mut().expect("facts").turned = Some(record.onset.plus_millis(crate::model::HOUR_MILLIS));
        assert!(!summary(&record, &body, &Beside::default()).contains("turned at"), "an hour is near enough");
    }

    #[test]
    fn the_list_to_win_back_stands_where_a_hold_does() {
        let (mut record, body) = testing::purge();
        let command = "relaywatch incident recovery 7 ";
        let told = |record: &IncidentRecord, body: &Body| {
            let beside = Beside::default();
            [markdown(record, body, &beside), summary(record, body, &beside)].map(|text| text.contains(command))
        };
        assert_eq!(told(&record, &body), [true, true]);
        record.state = IncidentState::Withdrawn;
        assert_eq!(told(&record, &body), [false, false], "nothing is held");
    }

    #[test]
    fn what_is_not_known_is_not_nil() {
        let (record, mut body) = testing::purge();
        let facts = body.facts.as_mut().expect("facts");
        facts.replies.clear();
        let notices = facts.notices.as_mut().expect("notices");
        notices.blind_share = 1.0;
        let told = markdown(&record, &body, &Beside::default());
        assert!(told.contains("| not known |") && !told.contains("blind"), "{told}");
        assert!(told.contains("no notice was received before 2025-08-09T06:00:00Z"), "{told}");
    }

    #[test]
    fn names_from_outside_cannot_change_the_page() {
        assert_eq!(plain("a|b <script> *x*\n# y"), "a\\|b &lt;script&gt; \\*x\\* \\# y");
    }
}
