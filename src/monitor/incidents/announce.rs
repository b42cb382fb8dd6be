//! What is said of an incident, once.

use super::{Announcer, Kept, stored};
use crate::{
    detect::{Urgency, beside_counts},
    explain::{IncidentFacts, blind_line, brief, explain},
    incident::{Basis, Body, win_back},
    model::{MINUTE_MILLIS, Timestamp, counted, verb},
    notify::{Page, PageKind, Severity},
    store::{IncidentRecord, IncidentState, Leader, StoreError},
};

/// Said where nothing could be explained yet.
const HOLD: &str = "Hold: do not suppress the refused addresses while the cause is open.";
/// Said at the end of an incident.
const HOLD_STAYS: &str =
    "The hold on the refused addresses stays: neither suppress them nor mail them anew before you have decided.";

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

/// How long something took, in words.
fn duration(millis: i64) -> String {
    let minutes = millis.max(0) / MINUTE_MILLIS;
    match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes} min"),
        (hours, minutes) if hours < 48 => format!("{hours} h {minutes} min"),
        (hours, _) => format!("{} days {} h", hours / 24, hours % 24),
    }
}

/// What is said at the end, in two lines; in three where something was blind since it began.
fn ended(record: &IncidentRecord, body: &Body, now: Timestamp) -> Vec<String> {
    let until = record.closed_at.unwrap_or(now);
    let refused = match body.basis {
        Basis::Rate => {
            format!(
                "{} of {} {} refused",
                body.refused,
                counted(body.sends, "message"),
                verb(body.refused, "was", "were")
            )
        }
        Basis::Count => format!("{} {} refused", counted(body.refused, "message"), verb(body.refused, "was", "were")),
    };
    let totals = format!(
        "{} from {} to {until}: {refused}, {}.",
        duration(until.millis_since(record.onset)),
        record.onset,
        counted(body.addresses, "different address"),
    );
    let hold = match record.state {
        IncidentState::Withdrawn => HOLD_STAYS.to_owned(),
        _ => format!("{HOLD_STAYS} {}", win_back(record.id)),
    };
    let windows = body.facts.iter().flat_map(|facts| &facts.blind_windows);
    let blind = blind_line(windows.filter(|window| window.until.is_none_or(|until| until > record.onset)));
    [totals].into_iter().chain(blind).chain([hold]).collect()
}

fn page(kept: &Kept, kind: PageKind, key: String, now: Timestamp) -> Page {
    let (record, body) = (&kept.record, &kept.body);
    let stream = body.scope.to_string();
    let headline = match kind {
        PageKind::Opened if body.basis == Basis::Count => format!("Unusually many refusals on {stream}"),
        // What is wrong with the set-up, and what is said of words, canaries or DNS, is no incident.
        PageKind::Opened
        | PageKind::Setup
        | PageKind::NewWords
        | PageKind::Blind
        | PageKind::SeenAgain
        | PageKind::CanaryLost
        | PageKind::CanaryRefused
        | PageKind::CanaryArrives
        | PageKind::Unfit
        | PageKind::FitAgain => format!("Relay mail is refused on {stream}"),
        PageKind::CauseNamed => format!("Cause named for {stream}"),
        PageKind::Worse => format!("Worse on {stream}"),
        PageKind::Closed => format!("Closed: quiet again on {stream}"),
        PageKind::Withdrawn => format!("Withdrawn: late reports undid the alarm on {stream}"),
    };
    let is_over = matches!(kind, PageKind::Closed | PageKind::Withdrawn);
    let brief = body.facts.as_ref().map(|facts| brief(&explain(facts), facts));
    let facts = if is_over {
        ended(record, body, now)
    } else {
        let cause = brief.as_ref().map_or("undetermined: nothing has been collected yet", |brief| brief.cause.as_str());
        let mut facts = vec![
            format!("Cause: {cause}"),
            beside_counts(&body.sentence).to_owned(),
            format!(
                "{} {} refused.",
                counted(body.addresses, "different address"),
                verb(body.addresses, "was", "were")
            ),
        ];
        if let Some(brief) = &brief {
            facts.push(format!("Revocations: {}", brief.revocations));
            facts.extend(brief.campaign.clone());
            facts.extend(brief.one_text.clone());
            facts.extend(brief.replies.iter().map(|reply| format!("Reply: {reply}")));
        }
        facts.retain(|fact| !fact.is_empty());
        facts
    };
    let (explanation, safe_action) = match brief {
        _ if is_over => (Vec::new(), None),
        Some(brief) if brief.holds => (brief.evidence, Some(format!("{} {}", brief.plan, win_back(record.id)))),
        Some(brief) => (brief.evidence, Some(brief.plan)),
        None => (Vec::new(), Some(format!("{HOLD} {}", win_back(record.id)))),
    };
    Page {
        key,
        kind,
        severity: if body.severity == Urgency::Page { Severity::Page } else { Severity::Ticket },
        raised: false,
        incident: record.id.to_string(),
        installation: None,
        stream,
        headline,
        since: record.onset,
        turned: body.facts.as_ref().and_then(IncidentFacts::turned_late),
        at: now,
        refused: body.refused,
        sent: body.sends,
        facts,
        explanation,
        safe_action,
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
        page.headline = format!("Closed by an operator: {}", kept.body.scope);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incident::testing;

    fn kept() -> Kept {
        let (record, body) = testing::purge();
        Kept { record, body, explained: None, measured: false, unheard: false }
    }

    fn said(page: &Page) -> String {
        let lines = [&page.facts[..], &page.explanation[..]].concat().join("\n");
        format!("{}\n{lines}\n{}", page.headline, page.safe_action.as_deref().unwrap_or("(no action)"))
    }

    #[test]
    fn a_page_is_in_words() {
        let mut kept = kept();
        let now = kept.record.updated_at;
        let opened = page(&kept, PageKind::Opened, "key".to_owned(), now);
        insta::assert_snapshot!("opened", said(&opened));
        let text = said(&opened);
        for slug in ["H7", "notice-join", "one-campaign", "+2.0", "Evidence 4e6"] {
            assert!(!text.contains(slug), "{slug}: {text}");
        }
        let notices = kept.body.facts.as_mut().and_then(|facts| facts.notices.as_mut()).expect("notices");
        (notices.refused_exposed_before, notices.refused_exposed_after, notices.refused_unexposed) = (0, 0, 1);
        notices.refused_unmapped = 200;
        let text = said(&page(&kept, PageKind::Opened, "key".to_owned(), now));
        assert!(text.contains("Revocations: not checked (1 of 201 refused addresses is in the account map)"), "{text}");
        assert!(!text.contains("0 to 100 %"), "{text}");
        kept.body.facts = None;
        assert!(said(&page(&kept, PageKind::Opened, "key".to_owned(), now)).contains("Hold: do not suppress"));
    }

    #[test]
    fn the_end_is_no_alarm() {
        let mut kept = kept();
        kept.record.closed_at = Some(kept.record.updated_at);
        let closed = page(&kept, PageKind::Closed, "key".to_owned(), kept.record.updated_at);
        insta::assert_snapshot!("closed", said(&closed));
        assert_eq!((closed.facts.len(), closed.explanation.len(), closed.safe_action), (2, 0, None));
    }

    #[test]
    fn durations_are_in_words() {
        assert_eq!(duration(135 * MINUTE_MILLIS), "2 h 15 min");
        assert_eq!(duration(50 * 60 * MINUTE_MILLIS), "2 days 2 h");
    }
}
