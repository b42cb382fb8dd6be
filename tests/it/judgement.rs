//! What judgements depend on beside the counts: blind windows, exposure, settings, what operators say, evidence that goes.

use std::{sync::Arc, time::Duration};

use relaywatch::{
    classify::Rules,
    clock::{Clock, ManualClock},
    config::Config,
    detect::{Parameters, Urgency},
    explain::{BlindReason, Hypothesis},
    incident::{self, Basis},
    ingest::{
        RejectionReason,
        alive::{Deliveries, Life, outage_millis},
        committer::committer,
        http::feeds::Feeds,
        intake::{Intake, Knowledge},
        reception::{Reception, Refused, Setup},
        workers::Workers,
    },
    metrics::Metrics,
    model::{DAY_MILLIS, Exposure, HOUR_MILLIS, MINUTE_MILLIS, Provider, RelayDomains, StreamKey},
    monitor::{
        blind::{ALL, Window, known},
        settings::{self, Settings},
    },
    notify::{PageKind, Severity},
    store::{EntryKind, IncidentState, NewEvent, Submission},
};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    incidents::{DAYS, Run, SLACK, TROUBLE, deliveries, gone, history, incidents, kinds, pages, unauthorized},
    on_both_engines,
    support::{TestStore, at, monitor, stream, submission},
};

/// One refusal by a feed that reports nothing else, of message `n`.
fn bare(test: &TestStore, n: i64, millis: i64) -> NewEvent {
    let number = usize::try_from(n).expect("small");
    NewEvent {
        key: test.key(number + 3_000_000, millis),
        message: 5_000_000 + n,
        sent_at: Some(at(millis)),
        exposure: Exposure::None,
        stream: stream("bare.example.com", None),
        ..test.refused(number % 5_000, millis)
    }
}

/// Two weeks in which such a feed tells of a refusal every 40 minutes.
fn bare_weeks(test: &TestStore) -> Vec<NewEvent> {
    let from = (DAYS - 14) * DAY_MILLIS;
    (0..14 * 36).map(|n| bare(test, n, from + n * 40 * MINUTE_MILLIS)).collect()
}

fn of_sparkpost(event: NewEvent) -> NewEvent {
    let from = Some("spark.example.com".to_owned());
    NewEvent { stream: StreamKey::finest(Provider::Sparkpost, from, None, None), ..event }
}

async fn commit(test: &TestStore, run: &mut Run, feed: &str, events: Vec<NewEvent>) {
    run.rows += events.len();
    let submission = Submission { feed: feed.to_owned(), ..submission(events) };
    test.store.commit(&[submission]).await.expect("commit");
    run.take(test, Vec::new()).await;
}

fn outage(from: i64, until: i64) -> Window {
    let reason = Some(BlindReason::Outage);
    Window { from: at(from), watched: ALL.to_owned(), reason, until: Some(at(until)) }
}

async fn standing(test: &TestStore) -> Vec<IncidentState> {
    let found = incidents(test).await.into_iter().map(|(record, _)| record.state);
    found.filter(|state| *state != IncidentState::Withdrawn).collect()
}

fn settings(rules: u32) -> Settings {
    let config = Config::from_text(None, String::new(), std::collections::HashMap::new()).expect("a configuration");
    let extra = format!("version = {rules}\n");
    let rules = Rules::with_extra(&[("ours", extra)]).expect("rules");
    Settings::of(&config, std::collections::BTreeMap::new(), &rules, Parameters::default())
}

on_both_engines! {
    async fn many_refusals_of_a_feed_without_exposure_are_a_ticket_and_never_a_page(test: TestStore) {
        let mut events = history(&test);
        events.extend(bare_weeks(&test));
        let mut run = Run::begin(&test, events, TROUBLE).await;
        assert!(incidents(&test).await.is_empty(), "what is usual is no ticket");
        run.clock.advance(Duration::from_mins(50));
        let jump: Vec<NewEvent> = (0..60).map(|n| bare(&test, 1_000 + n, TROUBLE + n * 30_000)).collect();
        run.take(&test, jump.clone()).await;
        let found = incidents(&test).await;
        assert_eq!(found.len(), 1, "{found:?}");
        let (record, body) = &found[0];
        assert_eq!((record.state, record.onset), (IncidentState::Open, at(TROUBLE)));
        assert_eq!((body.basis, body.severity, body.sends), (Basis::Count, Urgency::Ticket, 0));
        assert_eq!(body.scope.to_string(), "ses/bare.example.com");
        assert!(body.sentence.contains("there is no rate") && body.sentence.contains("60 in the worst hour"), "{}", body.sentence);
        let told = pages(&test).await;
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!((told[0].kind, told[0].severity, told[0].sent), (PageKind::Opened, Severity::Ticket, 0));
        assert!(told[0].headline.starts_with("Unusually many refusals on ses/bare"), "{}", told[0].headline);

        // The same again, and hours that are no longer unusual: nothing new is said until it is over.
        run.clock.advance(Duration::from_hours(2));
        run.take(&test, Vec::new()).await;
        assert!(pages(&test).await.is_empty());
        run.clock.advance(Duration::from_hours(25));
        run.take(&test, Vec::new()).await;
        let closed = incidents(&test).await.remove(0).0;
        assert_eq!((closed.state, closed.closed_at), (IncidentState::Closed, Some(at(TROUBLE + HOUR_MILLIS))));
        let told = pages(&test).await;
        assert_eq!(told.iter().map(|page| (page.kind, page.severity)).collect::<Vec<_>>(), [(PageKind::Closed, Severity::Ticket)]);
    }

    async fn order_and_repetition_end_in_the_same_ticket_and_blind_weeks_in_none(test: TestStore) {
        let mut events = bare_weeks(&test);
        events.extend((0..60).map(|n| bare(&test, 1_000 + n, TROUBLE + n * 30_000)));
        events.reverse();
        let mut run = Run::begin(&test, Vec::new(), TROUBLE + HOUR_MILLIS).await;
        for chunk in events.chunks(90) {
            test.store.commit(&[submission(chunk.to_vec())]).await.expect("commit");
            run.take(&test, chunk.to_vec()).await;
            run.clock.advance(Duration::from_mins(2));
        }
        run.take(&test, Vec::new()).await;
        let found = incidents(&test).await;
        let open: Vec<_> = found.iter().filter(|(record, _)| record.state == IncidentState::Open).collect();
        assert_eq!(open.len(), 1, "{found:?}");
        assert_eq!((open[0].0.onset, open[0].1.refused, open[0].1.addresses), (at(TROUBLE), 60, 60));

        // Two days of that week were blind: there is no highest hour to compare with.
        outage(TROUBLE - 3 * DAY_MILLIS, TROUBLE - DAY_MILLIS).journal(&test.store, None).await.expect("journalled");
        run.clock.advance(Duration::from_mins(5));
        run.take(&test, Vec::new()).await;
        assert_eq!(standing(&test).await, []);
    }

    async fn an_outage_of_ours_undoes_no_alarm_whenever_its_window_is_journalled(test: TestStore) {
        let mut run = Run::begin(&test, history(&test), TROUBLE).await;
        run.clock.advance(Duration::from_mins(30));
        run.take(&test, gone(&test, 400)).await;
        assert_eq!(standing(&test).await, [IncidentState::Open]);
        // Another process was down meanwhile and says so now: SNS sends nothing again.
        let window = outage(TROUBLE - MINUTE_MILLIS, TROUBLE + 25 * MINUTE_MILLIS);
        window.journal(&test.store, None).await.expect("journalled");
        run.clock.advance(Duration::from_mins(2));
        run.take(&test, Vec::new()).await;
        assert_eq!(standing(&test).await, [IncidentState::Open], "what was lost can undo nothing");
        assert_eq!(kinds(&test).await, ["opened"], "no all-clear, and no ticket beside it");
        let said = incidents(&test).await.remove(0).1.explanation;
        assert!(said.iter().any(|line| line.starts_with("Not judged: an outage of ours")), "{said:?}");
        // After a restart and a rebuild it is the same.
        test.store.reset_projections().await.expect("reset");
        run.monitor = monitor(&test, Clock::Manual(run.clock.clone()), SLACK);
        run.take(&test, Vec::new()).await;
        assert_eq!(standing(&test).await, [IncidentState::Open]);
        assert!(kinds(&test).await.is_empty());
        // Quiet is what comes after the outage, not the silence in it.
        run.clock.advance(Duration::from_hours(30));
        run.take(&test, deliveries(&test, 3_000, TROUBLE + 2 * HOUR_MILLIS, 30_000)).await;
        assert_eq!(standing(&test).await, [IncidentState::Closed]);
    }

    async fn a_purge_within_an_outage_of_ours_is_a_ticket(test: TestStore) {
        let mut run = Run::begin(&test, history(&test), TROUBLE).await;
        run.clock.advance(Duration::from_mins(30));
        outage(TROUBLE - MINUTE_MILLIS, TROUBLE + 25 * MINUTE_MILLIS).journal(&test.store, None).await.expect("journalled");
        run.take(&test, gone(&test, 400)).await;
        let found = incidents(&test).await;
        assert_eq!(found.len(), 1, "{found:?}");
        let (record, body) = &found[0];
        assert_eq!((record.state, body.basis, body.severity), (IncidentState::Open, Basis::Count, Urgency::Ticket));
        assert_eq!((body.refused, body.addresses), (400, 400));
        assert_eq!(kinds(&test).await, ["opened"]);
    }

    async fn an_ordinary_outage_of_ours_is_no_ticket(test: TestStore) {
        let mut run = Run::begin(&test, history(&test), TROUBLE).await;
        run.clock.advance(Duration::from_mins(30));
        outage(TROUBLE - MINUTE_MILLIS, TROUBLE + 25 * MINUTE_MILLIS).journal(&test.store, None).await.expect("journalled");
        run.take(&test, gone(&test, 3)).await;
        assert!(incidents(&test).await.is_empty());
    }

    async fn refusals_without_exposure_are_not_held_against_the_sends_of_another_feed(test: TestStore) {
        let mut run = Run::begin(&test, history(&test), TROUBLE).await;
        run.clock.advance(Duration::from_mins(30));
        let of_both = |event| NewEvent { stream: stream("bare.example.com", None), ..event };
        let mut events: Vec<NewEvent> = deliveries(&test, 100, TROUBLE, 10_000).into_iter().map(of_both).collect();
        events.extend((0..60).map(|n| bare(&test, 1_000 + n, TROUBLE + n * 10_000)));
        run.take(&test, events).await;
        let rates = incidents(&test).await.into_iter().filter(|(_, body)| body.basis == Basis::Rate).count();
        assert_eq!(rates, 0, "all of the sends were accepted");
    }

    async fn a_ticket_ends_with_the_distrust_that_it_came_from(test: TestStore) {
        let declared = |event: NewEvent| of_sparkpost(NewEvent { exposure: Exposure::Outcomes, ..event });
        let mut run = Run::begin(&test, Vec::new(), TROUBLE).await;
        commit(&test, &mut run, "sparkpost", bare_weeks(&test).into_iter().map(declared).collect()).await;
        run.clock.advance(Duration::from_mins(50));
        let jump = (0..60).map(|n| declared(bare(&test, 1_000 + n, TROUBLE + n * 30_000))).collect();
        commit(&test, &mut run, "sparkpost", jump).await;
        let ticket = async || {
            let found = incidents(&test).await.into_iter().find(|(_, body)| body.basis == Basis::Count);
            found.expect("a ticket")
        };
        assert_eq!(ticket().await.0.state, IncidentState::Open);
        run.clock.advance(Duration::from_mins(2));
        let one = deliveries(&test, 1, TROUBLE + 40 * MINUTE_MILLIS, 1).into_iter().map(of_sparkpost).collect();
        commit(&test, &mut run, "sparkpost", one).await;
        let (record, body) = ticket().await;
        assert_eq!(record.state, IncidentState::Closed);
        assert!(body.explanation.iter().any(|line| line.contains("give a rate again")), "{:?}", body.explanation);
    }

    async fn a_ticket_goes_on_as_that_of_the_domain_that_shows_it(test: TestStore) {
        let mut run = Run::begin(&test, bare_weeks(&test), TROUBLE).await;
        run.clock.advance(Duration::from_mins(30));
        let spread = |n: i64| NewEvent {
            stream: stream(&format!("d{}.example.com", n % 4), None),
            ..bare(&test, 1_000 + n, TROUBLE + n * 30_000)
        };
        run.take(&test, (0..14).map(spread).collect()).await;
        assert_eq!(incidents(&test).await[0].1.scope.to_string(), "ses");
        run.clock.advance(Duration::from_mins(5));
        run.take(&test, (0..40).map(|n| bare(&test, 2_000 + n, TROUBLE + n * 30_000)).collect()).await;
        let found = incidents(&test).await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].0.state, found[0].1.scope.to_string()), (IncidentState::Open, "ses/bare.example.com".to_owned()));
        assert_eq!(kinds(&test).await, ["opened"]);
    }

    async fn what_is_folded_nearly_up_to_now_is_judged(test: TestStore) {
        let mut run = Run::begin(&test, Vec::new(), TROUBLE + 20 * MINUTE_MILLIS).await;
        let mut events = history(&test);
        events.extend(gone(&test, 400));
        events.extend(deliveries(&test, 900, TROUBLE + 15 * MINUTE_MILLIS, 100));
        for chunk in events.chunks(500) {
            test.store.commit(&[submission(chunk.to_vec())]).await.expect("commit");
        }
        test.journal(events.len(), 5_000).await;
        run.monitor = monitor(&test, Clock::Manual(run.clock.clone()), SLACK).paging_by(20);
        let (stop, mut progress) = (CancellationToken::new(), run.monitor.progress());
        let stopping = async {
            progress.wait_for(|progress| progress.folded >= 2_700).await.expect("it folds");
            stop.cancel();
        };
        let (folded, ()) = tokio::join!(run.monitor.catch_up(&stop), stopping);
        folded.expect("folded");
        let cursor = test.store.cursor("monitor").await.expect("cursor");
        assert!(!test.store.events_after(cursor, 1).await.expect("the rest").is_empty(), "it has not come to the end");
        assert_eq!(standing(&test).await, [IncidentState::Open]);
    }

    async fn what_a_provider_has_held_back_counts_once_it_has_come(test: TestStore) {
        let mut run = Run::begin(&test, history(&test), TROUBLE - DAY_MILLIS).await;
        let ordinary = deliveries(&test, 300, TROUBLE - DAY_MILLIS, 60_000).into_iter().map(of_sparkpost).collect();
        commit(&test, &mut run, "sparkpost", ordinary).await;
        run.clock.advance_to(at(TROUBLE + 30 * MINUTE_MILLIS));
        outage(TROUBLE - MINUTE_MILLIS, TROUBLE + 25 * MINUTE_MILLIS).journal(&test.store, None).await.expect("journalled");
        let purge = gone(&test, 400).into_iter().map(of_sparkpost).collect();
        commit(&test, &mut run, "sparkpost", purge).await;
        assert_eq!(standing(&test).await, [], "the rest may still be on its way");
        run.clock.advance(Duration::from_mins(30));
        run.take(&test, Vec::new()).await;
        assert_eq!(standing(&test).await, [IncidentState::Open], "SparkPost tries for eight hours");
    }

    async fn a_steady_feed_that_falls_silent_is_blind_until_it_speaks(test: TestStore) {
        let mut run = Run::begin(&test, history(&test), DAYS * DAY_MILLIS).await;
        let silent = async || {
            let mut found = known(&test.store, at(2 * DAYS * DAY_MILLIS)).await.expect("windows");
            found.retain(|window| window.reason == Some(BlindReason::Silent));
            found
        };
        let mut hours = 0;
        while silent().await.is_empty() && hours < 30 {
            for _ in 0..6 {
                run.clock.advance(Duration::from_mins(10));
                run.take(&test, Vec::new()).await;
            }
            hours += 1;
        }
        let expected = Window {
            from: at(DAYS * DAY_MILLIS), watched: "ses".to_owned(), reason: Some(BlindReason::Silent), until: None,
        };
        assert_eq!(silent().await, std::slice::from_ref(&expected), "60 mails a day: eight hours are enough");
        assert!((7..=10).contains(&hours), "{hours}");
        let now = run.clock.now();
        let millis = now.millis_since(at(0)) - MINUTE_MILLIS;
        run.take(&test, deliveries(&test, 5, millis, 1_000)).await;
        run.clock.advance(Duration::from_mins(1));
        run.take(&test, Vec::new()).await;
        let closed = silent().await;
        assert_eq!(closed.len(), 1, "{closed:?}");
        assert!(closed[0].until.is_some_and(|until| until >= now), "{closed:?}");
    }

    async fn an_outage_of_ours_is_journalled_when_it_is_over(test: TestStore) {
        let manual = ManualClock::new(at(0));
        let (clock, deliveries) = (Clock::Manual(manual.clone()), Deliveries::default());
        let metrics = Metrics::new().expect("metrics");
        let mut life = Life::default();
        life.step(&test.store, &clock, &deliveries, &metrics).await.expect("a sign");
        manual.advance(Duration::from_mins(2));
        life.step(&test.store, &clock, &deliveries, &metrics).await.expect("a sign");
        // Restarted soon, then after an hour.
        manual.advance(Duration::from_mins(2));
        Life::default().step(&test.store, &clock, &deliveries, &metrics).await.expect("a sign");
        assert_eq!(test.rows("entry").await, 0, "a restart is no outage");
        manual.advance(Duration::from_hours(1));
        Life::default().step(&test.store, &clock, &deliveries, &metrics).await.expect("a sign");
        Life::default().step(&test.store, &clock, &deliveries, &metrics).await.expect("a sign");
        let found = known(&test.store, at(DAY_MILLIS)).await.expect("windows");
        assert_eq!(found, [outage(4 * MINUTE_MILLIS, 64 * MINUTE_MILLIS)]);
    }

    async fn where_a_provider_gives_up_soon_a_short_outage_is_one(test: TestStore) {
        let manual = ManualClock::new(at(0));
        let (clock, deliveries) = (Clock::Manual(manual.clone()), Deliveries::default());
        let metrics = Metrics::new().expect("metrics");
        let begun = || Life::new(outage_millis([Provider::Ses].into_iter()));
        begun().step(&test.store, &clock, &deliveries, &metrics).await.expect("a sign");
        manual.advance(Duration::from_secs(59));
        begun().step(&test.store, &clock, &deliveries, &metrics).await.expect("a sign");
        assert_eq!(test.rows("entry").await, 0, "SNS's third retry is still taken");
        manual.advance(Duration::from_mins(1));
        begun().step(&test.store, &clock, &deliveries, &metrics).await.expect("a sign");
        let found = known(&test.store, at(DAY_MILLIS)).await.expect("windows");
        assert_eq!(found, [outage(59_000, 119_000)]);
    }

    async fn a_feed_whose_every_delivery_fails_is_blind_until_one_is_taken(test: TestStore) {
        let manual = ManualClock::new(at(0));
        let clock = Clock::Manual(manual.clone());
        let metrics = Metrics::new().expect("metrics");
        let (committer, _writers) = committer(&test.store, &metrics, &Arc::new(Notify::new()), 1);
        let setup = Setup {
            feeds: Feeds::default(),
            workers: Workers::default(),
            knowledge: Knowledge {
                rules: Arc::new(Rules::built_in().expect("rules")),
                relay: RelayDomains::default(),
                retention: None,
            },
            body_bytes: 1,
            request_timeout: Duration::from_secs(1),
        };
        let intake = Intake::new(Arc::clone(&test.keyring), committer, metrics.clone());
        let reception = Reception::new(setup, intake, clock.clone(), metrics.clone(), mpsc::channel(1).0);
        let deliveries = reception.deliveries();
        let mut life = Life::default();
        let refused = |reason, conclusive| Refused { reason, detail: "wrong", later: false, conclusive };
        for _ in 0..6 {
            // A stranger's do not count, however many.
            reception.refused("ses", refused(RejectionReason::BadSignature, false));
            reception.refused("apple", refused(RejectionReason::Stale, true));
            life.step(&test.store, &clock, &deliveries, &metrics).await.expect("a sign");
            manual.advance(Duration::from_mins(2));
        }
        let refused = |until| Window { from: at(0), watched: "apple".to_owned(), reason: Some(BlindReason::Refused), until };
        assert_eq!(known(&test.store, at(DAY_MILLIS)).await.expect("windows"), [refused(None)]);
        assert!(metrics.render().expect("text").contains("relaywatch_blind_windows_open{watched=\"apple\"} 1"));
        reception.accepted("apple");
        // Another process, or the same one after a restart, ends it.
        Life::default().step(&test.store, &clock, &deliveries, &metrics).await.expect("a sign");
        let ended = known(&test.store, at(DAY_MILLIS)).await.expect("windows");
        assert_eq!(ended, [refused(Some(at(12 * MINUTE_MILLIS)))]);
    }

    async fn a_feed_that_declares_outcomes_and_reports_refusals_only_gives_no_denominator(test: TestStore) {
        let mut run = Run::begin(&test, Vec::new(), TROUBLE + HOUR_MILLIS).await;
        run.take(&test, gone(&test, 300)).await;
        assert!(incidents(&test).await.is_empty(), "300 of 300 would be a rate made up of bounces");
        let told = pages(&test).await;
        assert_eq!(told.iter().map(|page| (page.kind, page.severity)).collect::<Vec<_>>(), [(PageKind::Setup, Severity::Ticket)]);
        let advice = told[0].safe_action.clone().unwrap_or_default();
        assert!(advice.contains("The feed ses declares exposure = \"outcomes\"") && advice.contains("report deliveries too"), "{advice}");
        // It does report deliveries: then nearly everything is refused indeed.
        run.clock.advance(Duration::from_mins(1));
        run.take(&test, deliveries(&test, 10, TROUBLE, 60_000)).await;
        assert_eq!(standing(&test).await, [IncidentState::Open]);
        assert_eq!(kinds(&test).await, ["opened"], "the ticket is not said again");
    }

    async fn settings_are_journalled_when_they_change_and_incidents_name_them(test: TestStore) {
        let journal = async |rules, millis| settings::journal(&test.store, &settings(rules), at(millis)).await.expect("journalled");
        assert_eq!(journal(7, 0).await, 1);
        assert_eq!(journal(7, DAY_MILLIS).await, 1, "the same settings are no new version");
        assert_eq!(journal(8, 2 * DAY_MILLIS).await, 2);
        assert_eq!(journal(8, 3 * DAY_MILLIS).await, 2);
        assert_eq!(test.store.entries_of_kind(EntryKind::Settings, at(9 * DAY_MILLIS), 10).await.expect("read").len(), 2);
        let latest = settings::latest(&test.store, at(9 * DAY_MILLIS)).await.expect("read").expect("there");
        assert_eq!((latest.version, latest.since, latest.settings), (2, at(2 * DAY_MILLIS), settings(8)));
        let mut run = Run::begin(&test, history(&test), TROUBLE).await;
        run.clock.advance(Duration::from_mins(30));
        run.take(&test, gone(&test, 400)).await;
        let body = &incidents(&test).await[0].1;
        assert_eq!((body.settings, body.rules), (Some(2), Some(settings(8).rules)));
    }

    async fn nothing_is_judged_or_said_while_projections_are_made_again(test: TestStore) {
        let mut run = Run::begin(&test, history(&test), TROUBLE).await;
        run.clock.advance(Duration::from_mins(30));
        run.take(&test, gone(&test, 400)).await;
        assert_eq!(kinds(&test).await, ["opened"]);
        // A rebuild is interrupted after more than one page in which a look would be due.
        test.store.reset_projections().await.expect("reset");
        let mut monitor = monitor(&test, Clock::Manual(run.clock.clone()), SLACK).paging_by(20);
        let (stop, mut progress) = (CancellationToken::new(), monitor.progress());
        let stopping = async {
            progress.wait_for(|progress| progress.folded >= 1_100).await.expect("it folds");
            stop.cancel();
        };
        let (folded, ()) = tokio::join!(monitor.catch_up(&stop), stopping);
        folded.expect("folded");
        let cursor = test.store.cursor("monitor").await.expect("cursor");
        assert!(!test.store.events_after(cursor, 1).await.expect("the rest").is_empty(), "it has not come to the end");
        assert_eq!(standing(&test).await, [IncidentState::Open]);
        assert!(kinds(&test).await.is_empty());
        monitor.catch_up(&CancellationToken::new()).await.expect("folded");
        assert_eq!(standing(&test).await, [IncidentState::Open]);
        assert!(kinds(&test).await.is_empty());
    }

    async fn a_verdict_outlives_its_evidence(test: TestStore) {
        let mut run = Run::begin(&test, history(&test), TROUBLE).await;
        run.clock.advance(Duration::from_mins(30));
        run.take(&test, unauthorized(&test, 300)).await;
        let before = incidents(&test).await.remove(0).1;
        assert_eq!(before.named, Some(Hypothesis::SenderRefused), "{:?}", before.explanation);
        kinds(&test).await;
        // Five months later the journal has forgotten it all, and the projections are made again from what is left.
        let later = TROUBLE + 150 * DAY_MILLIS;
        run.clock.advance_to(at(later));
        let limit = at(later - 30 * DAY_MILLIS).as_millis();
        test.leader().expire(at(later).as_millis(), limit, limit).await.expect("expired");
        test.store.reset_projections().await.expect("reset");
        let mut monitor = monitor(&test, Clock::Manual(run.clock.clone()), SLACK);
        monitor.catch_up(&CancellationToken::new()).await.expect("folded");
        let (record, after) = incidents(&test).await.remove(0);
        assert_eq!(record.state, IncidentState::Masked, "its mail has ended");
        assert_eq!((after.named, after.refused, after.addresses), (before.named, before.refused, before.addresses));
        assert_eq!((after.explanation, after.facts, after.sentence), (before.explanation, before.facts, before.sentence));
        assert!(kinds(&test).await.is_empty());
    }

    async fn an_operator_closes_an_incident_and_what_comes_later_is_another(test: TestStore) {
        let mut run = Run::begin(&test, history(&test), TROUBLE).await;
        run.clock.advance(Duration::from_mins(30));
        run.take(&test, gone(&test, 400)).await;
        let id = incidents(&test).await[0].0.id;
        let now = run.clock.now();
        incident::close(&test.store, &test.keyring, id, ("Jo", "a test of ours"), now).await.expect("closed");
        run.take(&test, Vec::new()).await;
        let told = pages(&test).await;
        assert_eq!(told.iter().map(|page| page.kind).collect::<Vec<_>>(), [PageKind::Opened, PageKind::Closed]);
        assert!(told[1].headline.starts_with("Closed by an operator") && !told[1].headline.contains("Jo"), "{}", told[1].headline);
        // Said once, whatever the monitor does then.
        run.monitor = monitor(&test, Clock::Manual(run.clock.clone()), SLACK);
        run.take(&test, Vec::new()).await;
        assert!(kinds(&test).await.is_empty());
        let record = incidents(&test).await.remove(0).0;
        assert_eq!((record.state, record.closed_at), (IncidentState::Closed, Some(now)));
        run.clock.advance(Duration::from_hours(1));
        run.take(&test, gone(&test, 1_600).into_iter().skip(700).collect()).await;
        assert_eq!(standing(&test).await, [IncidentState::Open, IncidentState::Closed]);
        assert_eq!(kinds(&test).await, ["opened"]);
    }
}
