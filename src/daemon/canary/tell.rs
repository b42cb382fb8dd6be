//! What people are told of canaries: a silent loss and its end, and a path that refuses.

use super::{
    setup::{MailboxSetup, Route},
    watch::Watch,
};
use crate::{
    model::{DAY_MILLIS, Timestamp},
    notify::{Page, PageKind, Severity},
    sources::canary::{
        Kind, PathState, Said, Status, Trial, Trials, Verdict, judge,
        judge::{announced, has_recovered},
        trial::Sending,
    },
    store::StoreError,
};

impl Watch {
    /// Judges each path, and puts what has to be told into the outbox, once.
    pub(super) async fn tell(&mut self, trials: &Trials, now: Timestamp) -> Result<(), StoreError> {
        let controls = trials.of_path(Kind::Control, &self.mailbox.name);
        for route in self.mailbox.paths.clone() {
            let path = trials.of_path(Kind::Relay, &route.plan.name);
            let state = judge(&path, &controls, self.health, now);
            let misses = i64::try_from(state.misses.len()).unwrap_or(i64::MAX);
            self.courier.metrics.canary_missing.with_label_values(&[route.plan.name.as_str()]).set(misses);
            let open = announced(&path);
            if let (Some(first), None, Verdict::SilentLoss { .. }) = (state.misses.first(), open, &state.verdict) {
                let page = lost(&self.mailbox, &route, &state, now);
                self.announce(&page, first, Said::Announced, &route).await?;
            }
            if let Some(first) = open
                && let Some(arrived) = has_recovered(first, &path)
            {
                let page = arrives(&self.mailbox, &route, (first, arrived), now);
                self.announce(&page, first, Said::Resolved, &route).await?;
            }
            if let Some(first) = first_refused(&path, now) {
                let page = refused(&self.mailbox, &route, first, now);
                if !self.told.contains(&page.key) {
                    if !self.store.outbox_knows(&page.key).await? {
                        self.enqueue(&page).await?;
                    }
                    self.told.insert(page.key);
                }
            }
        }
        Ok(())
    }

    /// Puts a page into the outbox and journals that it is there; where nobody is told, neither.
    async fn announce(&self, page: &Page, first: &Trial, said: Said, route: &Route) -> Result<(), StoreError> {
        if self.enqueue(page).await? {
            self.courier.journal(&first.record.saying(said), route, Some(self.store.epoch())).await?;
        }
        Ok(())
    }

    async fn enqueue(&self, page: &Page) -> Result<bool, StoreError> {
        let pages = self.notifiers.pages(page);
        if pages.is_empty() {
            return Ok(false);
        }
        self.store.enqueue(&pages).await?;
        self.notifiers.wake().notify_one();
        tracing::info!(path = page.stream, kind = %page.kind, "a path of canaries is announced");
        Ok(true)
    }
}

/// The first of the refused ones with which a path ends, where the newest that has ended was refused.
fn first_refused<'a>(path: &[&'a Trial], now: Timestamp) -> Option<&'a Trial> {
    let ended = path.iter().rev().filter(|trial| !matches!(trial.status(now), Status::Waiting | Status::Unseen));
    let row = ended.take_while(|trial| trial.status(now) == Status::Refused);
    row.last().copied().filter(|trial| now.millis_since(trial.record.sent_at) < 2 * DAY_MILLIS)
}

fn lost(mailbox: &MailboxSetup, route: &Route, state: &PathState<'_>, now: Timestamp) -> Page {
    let name = &route.plan.name;
    let first = state.misses.first().map_or(now, |trial| trial.record.sent_at);
    let key = state.misses.first().map(|trial| trial.record.canary.to_string()).unwrap_or_default();
    let count = state.misses.len();
    let before = match state.arrived {
        Some(trial) => format!("The last one that arrived was sent at {}.", trial.record.sent_at),
        None => "None is known to have arrived before.".to_owned(),
    };
    Page {
        headline: format!(
            "Mail is accepted and does not arrive: {count} canaries in a row are missing on the path {name}."
        ),
        facts: vec![
            format!(
                "The server took them, no refusal was reported, and none was found within {} minutes.",
                route.plan.patience / 60_000
            ),
            before,
            format!(
                "Control messages to the same mailbox ({}), not through the relay, arrived in the same time.",
                mailbox.name
            ),
            "All folders of the mailbox were read to the end after their time, that for junk as well.".to_owned(),
            format!("The path stands for: {}.", route.represents),
            format!("It does not stand for: {}.", route.not_represented),
        ],
        safe_action: Some(
            "Run `relaywatch check`, and look at the registration of this sender in Apple's portal; send one by hand: \
             `relaywatch canary send`. Suppress no address because of this."
                .to_owned(),
        ),
        ..page(format!("canary/{name}/{key}"), PageKind::CanaryLost, Severity::Page, (name, first), now)
    }
}

fn arrives(mailbox: &MailboxSetup, route: &Route, (first, arrived): (&Trial, &Trial), now: Timestamp) -> Page {
    let name = &route.plan.name;
    let delay = arrived.delay().unwrap_or(0) / 1_000;
    Page {
        headline: format!("Canaries arrive again on the path {name}."),
        facts: vec![
            format!("The one of {} came to {} after {delay} seconds.", arrived.record.sent_at, mailbox.name),
            format!("It does not stand for: {}.", route.not_represented),
        ],
        ..page(
            format!("canary/{name}/{}/over", first.record.canary),
            PageKind::CanaryArrives,
            Severity::Page,
            (name, first.record.sent_at),
            now,
        )
    }
}

fn refused(mailbox: &MailboxSetup, route: &Route, first: &Trial, now: Timestamp) -> Page {
    let name = &route.plan.name;
    let (reply, cause) = match &first.sending {
        Sending::Refused(refusal) => (refusal.reply.clone(), Some(refusal.cause)),
        _ => (String::new(), None),
    };
    let mut facts = Vec::new();
    if let Some(cause) = cause {
        facts.push(format!("What the reply means: {cause}."));
    }
    if !reply.is_empty() {
        facts.push(format!("The reply: {reply}"));
    }
    facts.push(format!("The path stands for: {}.", route.represents));
    facts.push(format!("It does not stand for: {}.", route.not_represented));
    Page {
        headline: format!("A canary was refused on the path {name}, which leads to the mailbox {}.", mailbox.name),
        facts,
        safe_action: Some(
            "Run `relaywatch check`, and look at the registration of this sender in Apple's portal.".to_owned(),
        ),
        ..page(
            format!("canary/{name}/refused/{}", first.record.canary),
            PageKind::CanaryRefused,
            Severity::Ticket,
            (name, first.record.sent_at),
            now,
        )
    }
}

fn page(key: String, kind: PageKind, severity: Severity, (path, since): (&str, Timestamp), at: Timestamp) -> Page {
    Page { key, ..Page::of_matter((kind, severity), format!("canary {path}"), path.to_owned(), since, at) }
}
