//! Feeds and apps that fall silent: windows in the journal, a ticket once they last, their end.

use std::collections::BTreeMap;

use relaywatch::{
    clock::{Clock, ManualClock},
    detect::Parameters,
    explain::BlindReason,
    model::{Exposure, HOUR_MILLIS, MINUTE_MILLIS, Timestamp},
    monitor::{
        Monitor,
        blind::{self, Window},
        settings::{Settings, journal},
    },
    notify::{Page, PageKind, Severity},
    store::{EntryKind, NewEntry, Route, Submission},
};
use tokio_util::sync::CancellationToken;

use crate::{
    on_both_engines,
    support::{TestStore, at, monitor, submission},
};

const WEEK: i64 = 7 * 24 * HOUR_MILLIS;
/// The hour of which the tests are, in the fifth week.
const HOUR: i64 = 4 * WEEK + 57 * HOUR_MILLIS;
const WEBHOOK: &str = "[notify.webhook]\nurl = \"http://127.0.0.1:9/page\"\n";
const TEAM: &str = "A1B2C3D4E5";

/// A monitor on a clock of the test's, which looks every five minutes.
struct Looking {
    clock: ManualClock,
    monitor: Monitor,
}

impl Looking {
    fn begin(test: &TestStore, config: &str) -> Self {
        let clock = ManualClock::new(at(HOUR - 30 * MINUTE_MILLIS));
        Self { monitor: monitor(test, Clock::Manual(clock.clone()), config), clock }
    }

    fn now(&self) -> Timestamp {
        Clock::Manual(self.clock.clone()).now()
    }

    /// Looks on until so many minutes after the hour.
    async fn until(&mut self, minutes: i64) {
        while self.now() < at(HOUR + minutes * MINUTE_MILLIS) {
            self.clock.advance(std::time::Duration::from_mins(5));
            self.monitor.catch_up(&CancellationToken::new()).await.expect("looked");
        }
    }
}

/// 24 deliveries in each of eight hours of each of the four weeks before, the first before the hour; and one in that of this week.
async fn busy_hours(test: &TestStore) {
    let mut events = vec![test.delivered(0, HOUR - 20 * MINUTE_MILLIS)];
    for week in 1..=4 {
        for hour in -1..7 {
            events.extend((0..24).map(|number| {
                let millis = HOUR - week * WEEK + hour * HOUR_MILLIS + number * MINUTE_MILLIS;
                test.delivered(usize::try_from(1 + week * 1_000 + hour * 100 + number).expect("small"), millis)
            }));
        }
    }
    test.store.commit(&[submission(events)]).await.expect("commit");
    test.shown().await;
}

async fn windows(test: &TestStore) -> Vec<Window> {
    blind::known(&test.store, at(9 * WEEK)).await.expect("windows")
}

/// What was put into the outbox, taken out.
async fn pages(test: &TestStore, now: Timestamp) -> Vec<Page> {
    let items = test.leader().claim_outbox(&[Route::Webhook], now, 86_400_000, 50).await.expect("claimed");
    for item in &items {
        test.leader().outbox_sent(item, now, None).await.expect("recorded");
    }
    let read = |body: &Vec<u8>| serde_json::from_slice::<Page>(body).expect("a page");
    let pages = items.iter().map(|item| read(item.body.as_ref().expect("it opens")));
    pages.filter(|page| matches!(page.kind, PageKind::Blind | PageKind::SeenAgain)).collect()
}

fn silent(watched: &str, from: i64, until: Option<Timestamp>) -> Window {
    Window { from: at(from), watched: watched.to_owned(), reason: Some(BlindReason::Silent), until }
}

on_both_engines! {
    async fn a_silent_feed_is_a_window_then_a_ticket_and_its_late_events_end_both(test: TestStore) {
        busy_hours(&test).await;
        let mut looking = Looking::begin(&test, WEBHOOK);
        looking.until(115).await;
        assert_eq!(windows(&test).await, [], "one hour may be missed, and the second is not over");
        looking.until(125).await;
        assert_eq!(windows(&test).await, [silent("ses", HOUR, None)]);
        looking.until(235).await;
        assert!(pages(&test, looking.now()).await.is_empty(), "it has not lasted by its own rhythm");
        looking.until(250).await;
        let told = pages(&test, looking.now()).await;
        assert_eq!(told.iter().map(|page| (page.kind, page.severity)).collect::<Vec<_>>(), [(PageKind::Blind, Severity::Ticket)]);
        assert_eq!((told[0].stream.as_str(), told[0].since), ("ses", at(HOUR)));

        // A queue is drained: what is old comes late, one hour after the other. Nothing falls silent in between.
        for (number, minutes) in [(1, 5), (2, 40), (3, 70)] {
            let late = test.delivered(90_000 + number, HOUR + minutes * MINUTE_MILLIS);
            test.store.commit(&[submission(vec![late])]).await.expect("commit");
            test.shown().await;
            looking.until(250 + 5 * i64::try_from(number).expect("small")).await;
        }
        let ended = [silent("ses", HOUR, Some(at(HOUR + 255 * MINUTE_MILLIS)))];
        assert_eq!(windows(&test).await, ended);
        looking.until(310).await;
        assert_eq!(windows(&test).await, ended, "it was heard in the fifth hour");
        let told = pages(&test, looking.now()).await;
        assert_eq!(told.iter().map(|page| page.kind).collect::<Vec<_>>(), [PageKind::SeenAgain], "once");
    }

    async fn who_leads_next_tells_nothing_twice_and_projections_made_again_change_no_window(test: TestStore) {
        busy_hours(&test).await;
        let mut looking = Looking::begin(&test, WEBHOOK);
        looking.until(250).await;
        assert_eq!(pages(&test, looking.now()).await.len(), 1);
        let before = windows(&test).await;
        test.store.reset_projections().await.expect("thrown away");
        // Another reign: nothing is in memory.
        looking.monitor = monitor(&test, Clock::Manual(looking.clock.clone()), WEBHOOK);
        looking.until(295).await;
        assert_eq!(windows(&test).await, before);
        assert!(pages(&test, looking.now()).await.is_empty());
    }

    async fn a_feed_that_is_configured_no_more_is_watched_no_more(test: TestStore) {
        busy_hours(&test).await;
        let feeds = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), Some(Exposure::Outcomes))).collect();
        journal(&test.store, &settings(feeds(&["ses"])), at(0)).await.expect("journalled");
        let mut looking = Looking::begin(&test, "");
        looking.until(125).await;
        assert_eq!(windows(&test).await, [silent("ses", HOUR, None)]);
        journal(&test.store, &settings(feeds(&["braze"])), looking.now()).await.expect("journalled");
        looking.until(130).await;
        assert_eq!(windows(&test).await, [silent("ses", HOUR, Some(looking.now()))]);
    }

    async fn the_notices_of_one_app_fall_silent_beside_those_of_another(test: TestStore) {
        journal(&test.store, &settings(BTreeMap::from([("apple".to_owned(), None)])), at(0)).await.expect("journalled");
        let mut number = 0;
        let mut notices = |app: &str, from: i64, count: i64| -> Vec<NewEntry> {
            let one = |minute: i64| {
                number += 1;
                NewEntry {
                    key: test.key(500_000 + number, from + minute * MINUTE_MILLIS),
                    kind: EntryKind::Notice,
                    account: None,
                    address: None,
                    app: Some(app.to_owned()),
                    body: serde_json::json!({ "event": "email-disabled", "app": app, "team": TEAM }),
                }
            };
            (0..count).map(one).collect()
        };
        let mut entries = Vec::new();
        for week in 1..=4 {
            for hour in -1..7 {
                for app in ["com.example.one", "com.example.two"] {
                    entries.extend(notices(app, HOUR - week * WEEK + hour * HOUR_MILLIS, 24));
                }
            }
        }
        // One app's go on.
        for hour in -1..7 {
            entries.extend(notices("com.example.two", HOUR + hour * HOUR_MILLIS, 24));
        }
        entries.extend(notices("com.example.one", HOUR - HOUR_MILLIS, 1));
        let feed = "apple".to_owned();
        test.store.commit(&[Submission { feed, entries, ..Submission::default() }]).await.expect("commit");
        let mut looking = Looking::begin(&test, WEBHOOK);
        looking.until(250).await;
        assert_eq!(windows(&test).await, [silent("notices/A1B2C3D4E5/com.example.one", HOUR, None)]);
        let told = pages(&test, looking.now()).await;
        assert_eq!(told.iter().map(|page| page.headline.as_str()).collect::<Vec<_>>(), [
            "Apple's notices of the app com.example.one (team A1B2C3D4E5) are silent, unlike in the weeks before."
        ]);
    }
}

fn settings(feeds: BTreeMap<String, Option<Exposure>>) -> Settings {
    let apps = ["com.example.one", "com.example.two"].map(ToOwned::to_owned).to_vec();
    Settings {
        rules: 1,
        rules_fingerprint: String::new(),
        relay_domains: Vec::new(),
        shared_domains: Vec::new(),
        teams: BTreeMap::from([(TEAM.to_owned(), apps)]),
        feeds,
        parameters: Parameters::default(),
    }
}
