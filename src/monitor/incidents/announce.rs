//! What is said of an incident, once.

use super::{Announcer, Kept, stored};
use crate::{
    detect::Urgency,
    explain::Hypothesis,
    incident::Basis,
    model::Timestamp,
    notify::{Page, PageKind, Severity},
    store::{IncidentRecord, Leader, StoreError},
};

/// How the line of an explanation begins that says what to do …
const ADVICE: &str = "Do now:";
/// … and the one that says what to check after that.
const CHECK: &str = "Then check:";

/// Announces and saves what has changed; `raised` where a ticket has just become a page, which waits for no hourly limit.
pub(super) async fn finish(
    kept: &mut Kept,
    before: &IncidentRecord,
    store: &Leader,
    announcer: &Announcer<'_>,
    kind: Option<PageKind>,
    raised: bool,
) -> Result<(), StoreError> {
    // Who was not told of the beginning is not told of the end.
    let kind = kind.filter(|kind| *kind == PageKind::Opened || kept.body.pages > 0);
    if kind.is_some() && !announcer.notifiers.reach_somebody() {
        if !kept.unheard {
            announcer.metrics.unheard.inc();
            tracing::warn!(
                incident = kept.record.id,
                stream = %kept.body.scope,
                refused = kept.body.refused,
                "no notifier: an incident is recorded and nobody is told; set [notify.slack] or [notify.webhook] and reload, \
                 and it is announced while it is open"
            );
        }
        kept.unheard = true;
    } else if let Some(kind) = kind {
        kept.unheard = false;
        // The key names the announcement: whoever announces it again, after a crash or as another leader, says the same.
        let key = format!("incident/{}/{}/{}", kept.record.id, kind, kept.body.pages + 1);
        announce(Page { raised, ..page(kept, kind, key, announcer.now) }, store, announcer).await?;
        kept.body.pages += 1;
        kept.body.last_paged_at = Some(announcer.now);
        kept.body.last_paged_refused = kept.body.refused;
        tracing::info!(incident = kept.record.id, kind = %kind, stream = %kept.body.scope, refused = kept.body.refused, "an incident is announced");
    }
    let now = stored(kept);
    if now != *before || kept.record.id == 0 {
        kept.record.updated_at = announcer.now;
        // One that announces nothing is saved once, complete.
        kept.record.id = store.save_incident(&stored(kept)).await?;
    }
    Ok(())
}

fn page(kept: &Kept, kind: PageKind, key: String, now: Timestamp) -> Page {
    let body = &kept.body;
    let cause = body.named.map_or("undetermined", Hypothesis::title);
    let headline = match kind {
        PageKind::Opened if body.basis == Basis::Count => format!("Unusually many refusals on {}", body.scope),
        // What is wrong with the set-up is no incident.
        PageKind::Opened | PageKind::Setup => format!("Relay mail is refused on {}", body.scope),
        PageKind::CauseNamed => format!("Cause named for {}: {cause}", body.scope),
        PageKind::Worse => format!("Worse on {}: {} refused", body.scope, body.refused),
        PageKind::Closed => format!("Quiet again on {}", body.scope),
        PageKind::Withdrawn => format!("Withdrawn: late reports undid the alarm on {}", body.scope),
    };
    let mut facts = vec![body.sentence.clone(), format!("{} different addresses were refused.", body.addresses)];
    facts.push(format!("Cause: {cause}"));
    if let Some((estimate, low, high)) = body.share_explained {
        facts.push(format!(
            "Revocations explain {:.0} % ({:.0} to {:.0} %) of it.",
            100.0 * estimate,
            100.0 * low,
            100.0 * high
        ));
    }
    facts.retain(|fact| !fact.is_empty());
    // What to do and what to check next are one plan, with a place of its own in a page.
    let is_plan = |line: &&String| line.starts_with(ADVICE) || line.starts_with(CHECK);
    let (plan, explanation): (Vec<&String>, Vec<&String>) = body.explanation.iter().partition(is_plan);
    let step = |name: &str| plan.iter().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let (advice, check) = (step(ADVICE), step(CHECK));
    let hold = "Hold: do not suppress the refused addresses while the cause is open.";
    Page {
        key,
        kind,
        severity: if body.severity == Urgency::Page { Severity::Page } else { Severity::Ticket },
        raised: false,
        incident: kept.record.id.to_string(),
        stream: body.scope.to_string(),
        headline,
        since: kept.record.onset,
        at: now,
        refused: body.refused,
        sent: body.sends,
        facts,
        explanation: explanation.into_iter().cloned().collect(),
        safe_action: Some(match check {
            Some(check) => format!("{} Then {check}.", advice.unwrap_or(hold)),
            None => advice.unwrap_or(hold).to_owned(),
        }),
        links: Vec::new(),
    }
}

/// Announces, where its opening was, that an operator has closed it.
pub(super) async fn tell_of_operator(
    kept: &mut Kept,
    store: &Leader,
    announcer: &Announcer<'_>,
) -> Result<(), StoreError> {
    kept.body.operator_told = true;
    if kept.body.pages > 0 {
        // An operator closes an incident once: the key names no number.
        let key = format!("incident/{}/{}/operator", kept.record.id, PageKind::Closed);
        let mut page = page(kept, PageKind::Closed, key, announcer.now);
        page.headline = format!("Closed by an operator: {}; that lifts no hold", kept.body.scope);
        announce(page, store, announcer).await?;
        kept.body.pages += 1;
        tracing::info!(incident = kept.record.id, "an operator has closed an incident");
    }
    kept.record.updated_at = announcer.now.max(kept.record.updated_at);
    store.save_incident(&stored(kept)).await?;
    Ok(())
}

async fn announce(page: Page, store: &Leader, announcer: &Announcer<'_>) -> Result<(), StoreError> {
    store.enqueue(&announcer.notifiers.pages(&page)).await?;
    announcer.notifiers.wake().notify_one();
    Ok(())
}
