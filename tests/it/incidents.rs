//! From the journal to the page: incidents are opened, explained, announced once, and undone.

use std::{sync::Arc, time::Duration};

use relaywatch::{
    clock::{Clock, ManualClock},
    config::Config,
    detect::Parameters,
    explain::Hypothesis,
    incident::Body,
    metrics::Metrics,
    model::{Cause, DAY_MILLIS, Exposure, HOUR_MILLIS, MINUTE_MILLIS, StreamLevel},
    monitor::Monitor,
    notify::{self, Notifiers, Page, PageKind, Severity},
    store::{IncidentRecord, IncidentState, NewEvent, NewReply, Route, Whom},
};
use tokio_util::sync::CancellationToken;

use crate::{
    on_both_engines,
    support::{TestStore, at, monitor, stream, submission},
};

pub(crate) const SLACK: &str = "[notify.slack]\nwebhook_url = \"https://hooks.example/secret\"\n";
/// Days of ordinary traffic before the trouble.
pub(crate) const DAYS: i64 = 30;
/// When the trouble begins.
pub(crate) const TROUBLE: i64 = DAYS * DAY_MILLIS + 6 * HOUR_MILLIS;

/// Ordinary traffic: 60 mails a day to 600 addresses, one in 200 refused.
pub(crate) fn history(test: &TestStore) -> Vec<NewEvent> {
    let ordinary = |n: i64| {
        let number = usize::try_from(n).expect("small");
        let millis = n * DAY_MILLIS / 60;
        let delivered = test.delivered(number % 600, millis);
        let event = if n % 200 == 150 { test.refused(number % 600, millis) } else { delivered };
        NewEvent { key: test.key(number + 10_000, millis), message: n + 1, ..event }
    };
    (0..DAYS * 60).map(ordinary).collect()
}

/// `count` refusals, one every three seconds from the trouble on, with this reply.
pub(crate) fn trouble(test: &TestStore, count: i64, cause: Cause, template: &str) -> Vec<NewEvent> {
    let refused = |n: i64| {
        let number = usize::try_from(n).expect("small");
        let millis = TROUBLE + n * 3_000;
        let event = test.refused(number, millis);
        let reply = event.reply.clone().map(|reply| NewReply { cause, template: template.to_owned(), ..reply });
        let key = test.key(number + 500_000, millis);
        NewEvent { key, message: 1_000_000 + n, sent_at: Some(at(millis)), reply, ..event }
    };
    (0..count).map(refused).collect()
}

pub(crate) fn gone(test: &TestStore, count: i64) -> Vec<NewEvent> {
    trouble(test, count, Cause::RecipientUnknown, "550 5.1.1 <{recipient}>: user not found")
}

pub(crate) fn unauthorized(test: &TestStore, count: i64) -> Vec<NewEvent> {
    trouble(test, count, Cause::RelaySenderUnregistered, "550 5.1.1 <{sender}>: unauthorized sender")
}

/// `count` deliveries from `from` on, one every `step` milliseconds.
pub(crate) fn deliveries(test: &TestStore, count: i64, from: i64, step: i64) -> Vec<NewEvent> {
    let delivered = |n: i64| {
        let number = usize::try_from(n).expect("small");
        let millis = from + n * step;
        let key = test.key(number + 700_000, millis);
        NewEvent { key, message: 2_000_000 + n, sent_at: Some(at(millis)), ..test.delivered(number % 600, millis) }
    };
    (0..count).map(delivered).collect()
}

/// Who is told, by a configuration's text.
fn setup(text: &str) -> notify::Setup {
    let config = Config::from_text(None, text.to_owned(), std::collections::HashMap::new()).expect("a configuration");
    notify::Setup::new(&config).expect("notifiers")
}

pub(crate) struct Run {
    pub(crate) clock: ManualClock,
    pub(crate) monitor: Monitor,
    pub(crate) rows: usize,
}

impl Run {
    pub(crate) async fn begin(test: &TestStore, events: Vec<NewEvent>, now: i64) -> Self {
        let clock = ManualClock::new(at(now));
        let mut run = Self { monitor: monitor(test, Clock::Manual(clock.clone()), SLACK), clock, rows: 0 };
        run.take(test, events).await;
        run
    }

    pub(crate) async fn take(&mut self, test: &TestStore, events: Vec<NewEvent>) {
        self.rows += events.len();
        for chunk in events.chunks(500) {
            test.store.commit(&[submission(chunk.to_vec())]).await.expect("commit");
        }
        test.journal(self.rows, 5_000).await;
        self.monitor.catch_up(&CancellationToken::new()).await.expect("caught up");
    }
}

pub(crate) async fn incidents(test: &TestStore) -> Vec<(IncidentRecord, Body)> {
    let found = test.store.incidents(IncidentState::ALL, 100).await.expect("incidents");
    found.into_iter().map(|record| (record.clone(), Body::from_record(&record).expect("a body"))).collect()
}

/// Takes every page out of the outbox, as its worker would.
pub(crate) async fn pages(test: &TestStore) -> Vec<Page> {
    let mut found = Vec::new();
    loop {
        let now = at(100 * DAY_MILLIS);
        let items = test.leader().claim_outbox(&[Route::Slack], now, MINUTE_MILLIS, 10).await.expect("claimed");
        if items.is_empty() {
            return found;
        }
        for item in items {
            found.push(serde_json::from_slice(item.body.as_ref().expect("it opens")).expect("a page"));
            test.leader().outbox_sent(&item, now, None).await.expect("recorded");
        }
    }
}

pub(crate) async fn kinds(test: &TestStore) -> Vec<String> {
    pages(test).await.iter().map(|page| page.kind.to_string()).collect()
}

on_both_engines! {
    async fn a_purge_pages_once_and_says_what_is_known(test: TestStore) {
        let mut run = Run::begin(&test, history(&test), TROUBLE).await;
        assert!(incidents(&test).await.is_empty(), "ordinary traffic is no incident");
        run.clock.advance(Duration::from_mins(30));
        run.take(&test, gone(&test, 400)).await;
        let found = incidents(&test).await;
        assert_eq!(found.len(), 1, "one trouble, one incident, however many streams: {found:?}");
        let (record, body) = &found[0];
        assert_eq!(record.state, IncidentState::Open);
        assert_eq!(record.onset, at(TROUBLE));
        assert_eq!((body.sends, body.refused, body.addresses), (400, 400, 400));
        assert_eq!(body.scope.level, StreamLevel::Envelope, "the finest stream that holds it: {}", body.scope);
        assert!(body.named.is_none(), "without an account map revocation stays open: {:?}", body.explanation);
        assert!(body.explanation.iter().any(|line| line.contains("Not checked")), "{:?}", body.explanation);
        let told = pages(&test).await;
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].headline.contains("Relay mail is refused on ses/news.example.com"), "{}", told[0].headline);
        assert_eq!((told[0].refused, told[0].sent), (400, 400));
        assert!(told[0].facts.iter().any(|fact| fact.starts_with("Cause: undetermined")), "{:?}", told[0].facts);
        assert!(!serde_json::to_string(&told).expect("text").contains("@privaterelay"));

        // The same again, a restart, and time: nothing new is said.
        run.take(&test, Vec::new()).await;
        run.monitor = monitor(&test, Clock::Manual(run.clock.clone()), SLACK);
        run.take(&test, Vec::new()).await;
        assert_eq!(incidents(&test).await.len(), 1);
        assert_eq!(pages(&test).await.len(), 0);
    }

    async fn without_a_notifier_nobody_is_told_until_one_is_configured(test: TestStore) {
        let notifiers = Notifiers::new(setup(""));
        let metrics = Metrics::new().expect("metrics");
        let clock = ManualClock::new(at(TROUBLE));
        let monitor = Monitor::new(
            test.leader(),
            Clock::Manual(clock.clone()),
            Arc::new(tokio::sync::Notify::new()),
            metrics.clone(),
            Parameters::default(),
            notifiers.clone(),
        );
        let mut run = Run { clock, monitor, rows: 0 };
        run.take(&test, history(&test)).await;
        run.clock.advance(Duration::from_mins(30));
        run.take(&test, gone(&test, 400)).await;
        run.take(&test, Vec::new()).await;
        let (_, body) = incidents(&test).await.pop().expect("it is recorded all the same");
        assert_eq!((body.pages, body.last_paged_at), (0, None), "what reached nobody counts as no page");
        assert_eq!(metrics.unheard.get(), 1, "said once, not at every look");
        assert!(pages(&test).await.is_empty());

        // What is still open is announced to whoever is configured later, from its beginning.
        notifiers.exchange(setup(SLACK));
        run.take(&test, Vec::new()).await;
        assert_eq!(kinds(&test).await, ["opened"]);
        let (_, body) = incidents(&test).await.pop().expect("the incident");
        assert_eq!(body.pages, 1);
        assert_eq!(metrics.unheard.get(), 1);
    }

    async fn trouble_that_nobody_was_told_of_ends_unannounced(test: TestStore) {
        let notifiers = Notifiers::new(setup(""));
        let clock = ManualClock::new(at(TROUBLE));
        let monitor = Monitor::new(
            test.leader(),
            Clock::Manual(clock.clone()),
            Arc::new(tokio::sync::Notify::new()),
            Metrics::new().expect("metrics"),
            Parameters::default(),
            notifiers.clone(),
        );
        let mut run = Run { clock, monitor, rows: 0 };
        run.take(&test, history(&test)).await;
        run.clock.advance(Duration::from_mins(30));
        run.take(&test, gone(&test, 400)).await;
        // Ordinary traffic again for days.
        run.clock.advance(Duration::from_hours(72));
        run.take(&test, deliveries(&test, 900, TROUBLE + HOUR_MILLIS, 4 * MINUTE_MILLIS)).await;
        run.take(&test, Vec::new()).await;
        let (record, _) = incidents(&test).await.pop().expect("the incident");
        assert_ne!(record.state, IncidentState::Open, "it ends without a page as it does with one");
        notifiers.exchange(setup(SLACK));
        run.take(&test, Vec::new()).await;
        assert!(kinds(&test).await.is_empty());
    }

    async fn a_sender_that_apple_refuses_is_named(test: TestStore) {
        let mut run = Run::begin(&test, history(&test), TROUBLE).await;
        run.clock.advance(Duration::from_mins(30));
        run.take(&test, unauthorized(&test, 300)).await;
        let found = incidents(&test).await;
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].1.named, Some(Hypothesis::SenderRefused), "{:?}", found[0].1.explanation);
        let told = pages(&test).await;
        let cause = told[0].facts.iter().find(|fact| fact.starts_with("Cause: ")).expect("a cause");
        assert!(!cause.contains("undetermined"), "{cause}");
    }

    async fn a_feed_of_bounces_alone_pages_nobody(test: TestStore) {
        let mut run = Run::begin(&test, history(&test), TROUBLE).await;
        let alone = |event| NewEvent { exposure: Exposure::None, stream: stream("other.example.com", None), ..event };
        run.clock.advance(Duration::from_mins(30));
        run.take(&test, gone(&test, 300).into_iter().map(alone).collect()).await;
        assert!(incidents(&test).await.is_empty(), "no denominator, no rate, no page");
    }

    async fn a_ticket_that_becomes_a_page_waits_for_no_hourly_limit(test: TestStore) {
        // Nothing is learnt of this stream: what is not blatant is a ticket.
        let ordinary = |from: i64| deliveries(&test, 400, from, 3_000);
        let mut run = Run::begin(&test, ordinary(TROUBLE - HOUR_MILLIS), TROUBLE).await;
        run.clock.advance(Duration::from_mins(10));
        run.take(&test, gone(&test, 90)).await;
        let told = pages(&test).await;
        assert_eq!(told.iter().map(|page| (page.kind, page.severity)).collect::<Vec<_>>(), [(PageKind::Opened, Severity::Ticket)]);
        run.clock.advance(Duration::from_mins(10));
        run.take(&test, gone(&test, 400).into_iter().skip(90).collect()).await;
        let items = test.leader().claim_outbox(&[Route::Slack], at(100 * DAY_MILLIS), MINUTE_MILLIS, 10).await.expect("claimed");
        let told: Vec<Page> =
            items.iter().map(|item| serde_json::from_slice(item.body.as_ref().expect("it opens")).expect("a page")).collect();
        let said: Vec<_> = told.iter().map(|page| (page.kind, page.severity, page.raised)).collect();
        assert_eq!(said, [(PageKind::Worse, Severity::Page, true)]);
        assert!(!items[0].paced, "it does not count as an update");
    }

    async fn late_deliveries_undo_an_alarm_and_it_is_said(test: TestStore) {
        let mut run = Run::begin(&test, history(&test), TROUBLE).await;
        // A dozen refusals come first; the thousands of deliveries of the same minutes come late.
        run.clock.advance(Duration::from_mins(30));
        run.take(&test, gone(&test, 12)).await;
        assert_eq!(incidents(&test).await.len(), 1);
        run.take(&test, deliveries(&test, 3_000, TROUBLE, 10)).await;
        assert_eq!(incidents(&test).await[0].0.state, IncidentState::Withdrawn);
        assert_eq!(kinds(&test).await, ["opened", "withdrawn"]);
    }

    async fn an_incident_closes_when_mail_flows_again(test: TestStore) {
        let mut run = Run::begin(&test, history(&test), TROUBLE).await;
        run.clock.advance(Duration::from_mins(30));
        run.take(&test, unauthorized(&test, 60)).await;
        run.clock.advance(Duration::from_hours(4));
        run.take(&test, deliveries(&test, 3_000, TROUBLE + 2 * HOUR_MILLIS, 1_000)).await;
        let found = incidents(&test).await;
        assert_eq!(found[0].0.state, IncidentState::Closed, "{found:?}");
        assert_eq!(kinds(&test).await, ["opened", "closed"]);
    }

    async fn an_open_incident_hides_no_trouble_that_shows_at_its_provider_only(test: TestStore) {
        let mut run = Run::begin(&test, history(&test), TROUBLE).await;
        run.clock.advance(Duration::from_mins(30));
        run.take(&test, gone(&test, 12)).await;
        assert_eq!(kinds(&test).await, ["opened"]);
        // Two addresses of each of 60 domains: too few for any of them.
        run.clock.advance(Duration::from_hours(2));
        let diffuse = |n: i64| {
            let number = usize::try_from(n).expect("small");
            let millis = TROUBLE + 2 * HOUR_MILLIS + n * 5_000;
            NewEvent {
                key: test.key(number + 600_000, millis),
                message: 3_000_000 + n,
                sent_at: Some(at(millis)),
                stream: stream(&format!("d{}.example.com", n % 60), None),
                ..test.refused(number + 1_000, millis)
            }
        };
        run.take(&test, (0..120).map(diffuse).collect()).await;
        let found = incidents(&test).await;
        assert_eq!(found.len(), 2, "{found:?}");
        let (record, body) = found.iter().find(|(_, body)| body.scope.level == StreamLevel::Provider).expect("the provider's");
        assert_eq!((record.state, record.onset), (IncidentState::Open, at(TROUBLE + 2 * HOUR_MILLIS)));
        assert!(body.refused >= 120, "{body:?}");
        assert_eq!(kinds(&test).await, ["opened"]);
        // It stays so.
        run.monitor = monitor(&test, Clock::Manual(run.clock.clone()), SLACK);
        run.take(&test, Vec::new()).await;
        assert_eq!((incidents(&test).await.len(), kinds(&test).await.len()), (2, 0));
    }

    async fn an_incident_whose_mail_has_ended_is_masked(test: TestStore) {
        let mut run = Run::begin(&test, history(&test), TROUBLE).await;
        run.clock.advance(Duration::from_mins(30));
        run.take(&test, gone(&test, 400)).await;
        run.clock.advance(Duration::from_hours(20));
        run.take(&test, Vec::new()).await;
        assert_eq!(incidents(&test).await[0].0.state, IncidentState::Open);
        run.clock.advance(Duration::from_hours(8));
        run.take(&test, Vec::new()).await;
        assert_eq!(incidents(&test).await[0].0.state, IncidentState::Masked);
        assert_eq!(kinds(&test).await, ["opened"], "silence is no all-clear");
    }

    async fn an_incident_that_was_slept_through_ends_with_its_last_refusal(test: TestStore) {
        let mut run = Run::begin(&test, history(&test), TROUBLE).await;
        run.clock.advance(Duration::from_mins(30));
        run.take(&test, gone(&test, 400)).await;
        let millis = TROUBLE + 2 * HOUR_MILLIS;
        let last = gone(&test, 401).pop().expect("one more");
        let last = NewEvent { key: test.key(700_000, millis), message: 4_000_000, sent_at: Some(at(millis)), ..last };
        run.clock.advance(Duration::from_hours(2));
        run.take(&test, vec![last]).await;
        // The alarms have left the ring before relaywatch is there again.
        run.clock.advance(Duration::from_hours(2_400));
        run.monitor = monitor(&test, Clock::Manual(run.clock.clone()), SLACK);
        run.take(&test, Vec::new()).await;
        let (record, _) = incidents(&test).await.remove(0);
        assert_eq!(record.state, IncidentState::Masked);
        assert!(record.closed_at > Some(at(millis)), "the win-back list goes to there: {:?}", record.closed_at);
    }

    async fn a_page_that_opens_an_incident_raises_nothing(test: TestStore) {
        let mut run = Run::begin(&test, deliveries(&test, 400, TROUBLE - HOUR_MILLIS, 3_000), TROUBLE).await;
        run.clock.advance(Duration::from_hours(1));
        run.take(&test, gone(&test, 400)).await;
        let said: Vec<_> = pages(&test).await.iter().map(|page| (page.kind, page.severity, page.raised)).collect();
        assert_eq!(said, [(PageKind::Opened, Severity::Page, false)]);
    }

    async fn an_incident_of_little_mail_ends_when_none_is_refused_in_four_days(test: TestStore) {
        let mut run = Run::begin(&test, history(&test), TROUBLE).await;
        run.clock.advance(Duration::from_mins(30));
        run.take(&test, unauthorized(&test, 12)).await;
        let few = deliveries(&test, 9, TROUBLE + HOUR_MILLIS, 10 * HOUR_MILLIS);
        run.clock.advance(Duration::from_hours(90));
        run.take(&test, few).await;
        assert_eq!(incidents(&test).await[0].0.state, IncidentState::Open);
        run.clock.advance(Duration::from_hours(12));
        run.take(&test, Vec::new()).await;
        assert_eq!(incidents(&test).await[0].0.state, IncidentState::Closed);
        assert_eq!(kinds(&test).await, ["opened", "closed"]);
    }

    async fn old_trouble_is_recorded_and_pages_nobody(test: TestStore) {
        let mut events = history(&test);
        events.extend(gone(&test, 400));
        Run::begin(&test, events, TROUBLE + 30 * HOUR_MILLIS).await;
        let states: Vec<_> = incidents(&test).await.into_iter().map(|(record, _)| record.state).collect();
        assert_eq!(states, [IncidentState::Past]);
        assert!(pages(&test).await.is_empty());
    }

    async fn old_trouble_that_goes_on_pages(test: TestStore) {
        let mut events = history(&test);
        // A refusal every two hours for two days, and nothing else: the onset is long ago, and it has not ended.
        let slow = |n: i64| {
            let number = usize::try_from(n).expect("small");
            let millis = TROUBLE + n * 2 * HOUR_MILLIS;
            let key = test.key(number + 900_000, millis);
            NewEvent { key, message: 4_000_000 + n, sent_at: Some(at(millis)), ..test.refused(number, millis) }
        };
        events.extend((0..24).map(slow));
        Run::begin(&test, events, TROUBLE + 47 * HOUR_MILLIS).await;
        let states: Vec<_> = incidents(&test).await.into_iter().map(|(record, _)| record.state).collect();
        assert_eq!(states, [IncidentState::Open]);
        assert_eq!(kinds(&test).await, ["opened"]);
    }

    async fn what_was_withdrawn_is_paged_again_when_it_comes_back(test: TestStore) {
        let mut run = Run::begin(&test, history(&test), TROUBLE).await;
        run.clock.advance(Duration::from_mins(80));
        run.take(&test, gone(&test, 12)).await;
        run.take(&test, deliveries(&test, 3_000, TROUBLE, 10)).await;
        assert_eq!(kinds(&test).await, ["opened", "withdrawn"]);
        let more = gone(&test, 1_500).into_iter().skip(12).collect();
        run.take(&test, more).await;
        assert_eq!(kinds(&test).await, ["opened"]);
        let mut states: Vec<_> = incidents(&test).await.into_iter().map(|(record, _)| record.state).collect();
        states.sort_unstable();
        assert_eq!(states, [IncidentState::Open, IncidentState::Withdrawn]);
    }

    async fn order_and_repetition_end_in_the_same_incident(test: TestStore) {
        let mut events = history(&test);
        events.extend(gone(&test, 200));
        // Backwards, in pieces, each piece twice.
        events.reverse();
        let clock = Clock::Manual(ManualClock::new(at(TROUBLE + 30 * MINUTE_MILLIS)));
        let mut monitor = monitor(&test, clock, SLACK);
        let mut done = 0;
        for chunk in events.chunks(700) {
            for _ in 0..2 {
                test.store.commit(&[submission(chunk.to_vec())]).await.expect("commit");
            }
            done += chunk.len();
            test.journal(done, 5_000).await;
            monitor.catch_up(&CancellationToken::new()).await.expect("caught up");
        }
        let found = incidents(&test).await;
        let standing: Vec<_> = found.iter().filter(|(record, _)| record.state == IncidentState::Open).collect();
        assert_eq!(standing.len(), 1, "{found:?}");
        let (record, body) = standing[0];
        assert_eq!((record.onset, body.refused, body.addresses), (at(TROUBLE), 200, 200));
    }

    async fn forgetting_people_and_making_everything_again_changes_no_incident(test: TestStore) {
        let mut run = Run::begin(&test, history(&test), TROUBLE).await;
        run.clock.advance(Duration::from_mins(30));
        run.take(&test, gone(&test, 400)).await;
        let before = incidents(&test).await;
        assert_eq!((before.len(), before[0].1.addresses), (1, 400));
        let forgotten: Vec<Whom> =
            (0..300).map(|n| Whom::Address { hash: test.relay(n).hash, address: None }).collect();
        for people in forgotten.chunks(100) {
            assert_eq!(test.store.forget(people).await.expect("forgotten").addresses, 100);
        }
        test.store.reset_projections().await.expect("reset");
        run.monitor = monitor(&test, Clock::Manual(run.clock.clone()), SLACK);
        run.take(&test, Vec::new()).await;
        assert_eq!(incidents(&test).await, before, "counts and dedupe keys stay");
        assert_eq!(kinds(&test).await, ["opened"], "and nothing is said again");
    }
}
