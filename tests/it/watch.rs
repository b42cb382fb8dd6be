//! The watch of the daemon, over real sockets, on a clock of the test's: two servers of DNS stand for the two vantage points.

use std::{collections::HashMap, sync::Arc};

use relaywatch::{
    clock::{Clock, ManualClock},
    config::Config,
    explain::BlindReason,
    metrics::Metrics,
    model::Timestamp,
    monitor::{
        blind,
        overview::Overview,
        watching::{Settings, Watching},
    },
    notify::{self, Notifiers, Page, PageKind},
    sources::watch::Fitness,
    store::Route,
};
use tokio::sync::watch;

use crate::{
    check::{CONFIG, ZONE},
    on_both_engines,
    spf::{
        server::{Server, Transport},
        zone::{self, Order},
    },
    support::{Engine, TestStore, at, fresh_store},
};

type Lines = Vec<(&'static str, &'static str, &'static str)>;

const MINUTE: i64 = 60_000;

/// The zone without the lines of one name and kind.
fn without(lines: &[(&'static str, &'static str, &'static str)], owner: &str, kind: &str) -> Lines {
    lines.iter().copied().filter(|line| (line.0, line.1) != (owner, kind)).collect()
}

/// The zone without what carries the stream, by either path.
fn lost() -> Lines {
    without(&without(ZONE, "mail.mydomain.example", "TXT"), "s1.dkim.amazonses.com", "TXT")
}

/// A daemon's watch with its two vantage points.
struct World {
    test: TestStore,
    resolver: Server,
    zone: Server,
    clock: ManualClock,
    settings: watch::Sender<Arc<Settings>>,
    watching: Watching,
    pages: Vec<Page>,
}

fn config(resolver: &Server, zone: &Server, more: &str) -> Config {
    let confirmed = at(0).to_string().chars().take(10).collect::<String>();
    let text = format!(
        "{more}\n[dns]\nresolvers = [\"{}\"]\nzone_servers = [\"{}\"]\nqueries_per_minute = 2000\n\
         [notify.webhook]\nurl = \"http://127.0.0.1:9/page\"\n{}",
        resolver.address(),
        zone.address(),
        CONFIG.replace("CONFIRMED", &confirmed)
    );
    Config::from_text(None, text, HashMap::new()).expect("a configuration")
}

impl World {
    async fn begin(test: TestStore, transport: Transport) -> Self {
        let resolver = Server::start(zone::of(ZONE), transport, Order::AsWritten).await;
        let zone = Server::start(zone::of(ZONE), transport, Order::Reversed).await;
        let config = config(&resolver, &zone, "");
        let clock = ManualClock::new(at(0));
        let (settings, in_force) = watch::channel(Arc::new(Settings::of(&config)));
        let watching = watching(&test, &config, &clock, in_force);
        Self { test, resolver, zone, clock, settings, watching, pages: Vec::new() }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Watches on for so many minutes; what goes out is kept.
    async fn run(&mut self, minutes: i64) {
        let end = self.now().plus_millis(minutes * MINUTE);
        while self.now() < end {
            let wait = self.watching.step().await.expect("a step");
            self.clock.advance(wait);
        }
        let leader = self.test.leader();
        // Of one source the next is given once the one before has gone.
        loop {
            let claimed = leader.claim_outbox(&[Route::Webhook], self.now(), 86_400_000, 50).await.expect("claimed");
            if claimed.is_empty() {
                break;
            }
            for item in claimed {
                leader.outbox_sent(&item, self.now(), None).await.expect("recorded");
                self.pages.push(serde_json::from_slice(&item.body.expect("a body")).expect("a page"));
            }
        }
    }

    /// Both vantage points see this from here on.
    fn publish(&self, lines: &[(&'static str, &'static str, &'static str)]) {
        self.resolver.exchange(zone::of(lines));
        self.zone.exchange(zone::of(lines));
    }

    async fn overview(&self) -> Overview {
        Overview::read(&self.test.store, self.now()).await.expect("read")
    }

    async fn assert_fit(&self, when: &str) {
        let overview = self.overview().await;
        assert_eq!((overview.sources.len(), overview.count(Fitness::Fit)), (3, 3), "{when}: {:?}", overview.sources);
    }

    fn kinds(&self) -> Vec<PageKind> {
        self.pages.iter().map(|page| page.kind).collect()
    }
}

fn watching(
    test: &TestStore,
    config: &Config,
    clock: &ManualClock,
    settings: watch::Receiver<Arc<Settings>>,
) -> Watching {
    let notifiers = Notifiers::new(notify::Setup::new(config).expect("notifiers"));
    let metrics = Metrics::new().expect("metrics");
    Watching::new(test.leader(), Arc::clone(&test.keyring), Clock::Manual(clock.clone()), notifiers, metrics, settings)
}

on_both_engines! {
    async fn a_loss_is_told_once_whoever_leads_and_so_is_its_end(test: TestStore) {
        let mut world = World::begin(test, Transport::Fitting).await;
        world.run(5).await;
        world.assert_fit("at first").await;
        assert!(world.pages.is_empty());
        let since = world.overview().await.sources.iter().map(|row| row.standing.since).collect::<Vec<_>>();
        assert!(since.iter().all(|since| *since < at(MINUTE)), "{since:?}");

        world.publish(&lost());
        world.run(50).await;
        // A signature that anybody could take over, then the last path.
        assert_eq!(world.kinds(), [PageKind::Unfit; 2]);
        let page = &world.pages[1];
        assert_eq!((page.stream.as_str(), page.incident.as_str()), ("mydomain.example", "source mydomain.example"));
        let facts = page.facts.join("\n");
        assert!(facts.contains("TXT of mail.mydomain.example: v=spf1 include:amazonses.com -all → "), "{facts}");
        // The path that went first is told beside the one that was the last.
        assert!(facts.contains("Lost: ses mydomain.example") && facts.contains("TXT of s1._domainkey"), "{facts}");
        assert!(page.safe_action.as_deref().is_some_and(|action| action.starts_with("Publish: ")), "{page:?}");
        let overview = world.overview().await;
        assert_eq!((overview.count(Fitness::Unfit), overview.troubles.len()), (3, 1), "{overview:?}");
        assert_eq!(overview.changes.len(), 2, "{:?}", overview.changes);
        assert!(overview.sources.iter().all(|row| row.looked_at.is_some()), "{:?}", overview.sources);

        // Projections are made again, and another process goes on from them.
        world.test.store.reset_projections().await.expect("reset");
        assert_eq!(world.overview().await.changes, overview.changes);
        let config = config(&world.resolver, &world.zone, "");
        world.watching = watching(&world.test, &config, &world.clock, world.settings.subscribe());
        world.run(45).await;
        assert_eq!(world.pages.len(), 2, "{:?}", world.pages);
        assert_eq!(world.overview().await.troubles, overview.troubles);

        world.publish(ZONE);
        world.run(45).await;
        assert_eq!(world.kinds(), [PageKind::Unfit, PageKind::Unfit, PageKind::FitAgain]);
        world.assert_fit("in the end").await;
        assert!(world.overview().await.troubles.is_empty());
    }

    async fn a_resolver_in_trouble_is_a_blind_window_and_no_page(test: TestStore) {
        let mut world = World::begin(test, Transport::Fitting).await;
        world.run(5).await;
        let failing: Lines = ZONE.iter().map(|line| (line.0, "RCODE", "2")).collect();
        world.resolver.exchange(zone::of(&failing));
        world.run(60).await;
        assert!(world.pages.is_empty(), "{:?}", world.pages);
        world.assert_fit("what was known stands").await;
        let open = blind::known(&world.test.store, world.now()).await.expect("windows");
        assert!(open.iter().any(|window| window.until.is_none() && blind::is_of_dns(&window.watched)), "{open:?}");
        assert!(open.iter().all(|window| window.reason == Some(BlindReason::Unreachable)), "{open:?}");
        assert!(!world.overview().await.blind.is_empty());
        world.publish(ZONE);
        world.run(15).await;
        let open = blind::known(&world.test.store, world.now()).await.expect("windows");
        assert!(open.iter().all(|window| window.until.is_some()), "{open:?}");
        assert!(world.overview().await.blind.is_empty() && world.pages.is_empty());
    }

    async fn settings_take_effect_while_it_runs(test: TestStore) {
        let mut world = World::begin(test, Transport::Fitting).await;
        world.run(5).await;
        world.assert_fit("at first").await;
        let mut off = config(&world.resolver, &world.zone, "");
        off.dns.watch = false;
        world.settings.send_replace(Arc::new(Settings::of(&off)));
        world.publish(&lost());
        world.run(60).await;
        assert!(world.overview().await.sources.is_empty() && world.pages.is_empty());
    }
}

/// What is wrong, and what resolver and zone answer then, where it's otherwise.
type Fault = (&'static str, Option<Lines>, Option<Lines>);

/// The fault run over sockets: an hour of each trouble, by the clock of the test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_trouble_over_sockets_wakes_anybody_and_a_real_loss_does() {
    let store = || async { fresh_store(Engine::Sqlite).await.expect("SQLite is always there") };
    let looped: Lines = [
        &without(ZONE, "s1.dkim.amazonses.com", "TXT")[..],
        &[("s1.dkim.amazonses.com", "CNAME", "s1._domainkey.mydomain.example")],
    ]
    .concat();
    let private: Lines =
        ZONE.iter().copied().map(|line| if line.1 == "A" { (line.0, "A", "127.0.0.1") } else { line }).collect();
    let failing = || -> Lines { ZONE.iter().map(|line| (line.0, "RCODE", "2")).collect() };
    let faults: Vec<Fault> = vec![
        ("the resolver says that nothing exists", Some(Vec::new()), None),
        ("the zone's servers say that nothing exists, the resolver has it in its cache", None, Some(Vec::new())),
        ("the zone's servers fail", None, Some(failing())),
        ("both fail", Some(failing()), Some(failing())),
        ("a loop of CNAMEs", Some(looped.clone()), Some(looped)),
        ("addresses of a private network", Some(private.clone()), Some(private)),
        ("the resolver lies with a value", Some(vec![("mail.mydomain.example", "TXT", "v=spf1 -all")]), None),
    ];
    let transports = [Transport::Fitting, Transport::Truncated];
    for ((fault, resolver, zone), transport) in faults.into_iter().zip(transports.into_iter().cycle()) {
        let mut world = World::begin(store().await, transport).await;
        world.run(3).await;
        world.assert_fit(fault).await;
        if let Some(lines) = &resolver {
            world.resolver.exchange(zone::of(lines));
        }
        if let Some(lines) = &zone {
            world.zone.exchange(zone::of(lines));
        }
        world.run(60).await;
        assert!(world.pages.is_empty(), "{fault}: {:?}", world.pages);
        world.assert_fit(fault).await;
        // What is real is told, right after.
        world.publish(&lost());
        world.run(50).await;
        // Once for each path where their changes settle apart.
        let told = world.kinds();
        assert!([1, 2].contains(&told.len()) && told.iter().all(|kind| *kind == PageKind::Unfit), "{fault}: {told:?}");
    }
}
