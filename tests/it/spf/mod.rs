//! The published SPF suite (RFC 7208), through real sockets and in memory: result and explanation of every case, with the
//! records of each answer in both orders. Read where it lies; skipped by name where it is absent.

mod corpus;
mod mail_auth;
mod pyspf;
pub(crate) mod server;
pub(crate) mod zone;

use std::{net::SocketAddr, time::Duration};

use relaywatch::sources::{
    answer::Question,
    dns::{Asker, Settings},
    spf::{self, Answers as _, Known, Query, Step, Verdict},
};

use corpus::{Case, Scenario};
use server::{Server, Transport};
use zone::{Order, Zone};

/// How long a check may take; the cases that wait for a server that does not answer end long before.
const LIMIT: Duration = Duration::from_mins(1);
/// How long a server may take; the cases without an answer wait so long.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How many cases the suite has.
const CASES: usize = 203;

fn query(case: &Case) -> Query<'_> {
    Query { ip: case.ip, mail_from: &case.mail_from, helo: &case.helo, receiver: "receiver.example", at: None }
}

/// What is wrong with a verdict, if anything is.
fn misses(case: &Case, verdict: &Verdict) -> Option<String> {
    let result = verdict.result.to_string();
    let explanation = verdict.explanation.as_deref().unwrap_or("DEFAULT");
    let right = case.results.contains(&result) && case.explanation.as_deref().is_none_or(|text| text == explanation);
    (!right).then(|| {
        format!(
            "{}: {result} ({explanation}), the suite has {:?} ({:?}); fault {:?}",
            case.name, case.results, case.explanation, verdict.fault
        )
    })
}

fn asker(server: SocketAddr) -> Asker {
    Asker::new(&Settings { timeout: TIMEOUT, attempts: 1, ..Settings::new(vec![server]) }).expect("an asker")
}

/// Runs the whole suite over sockets; gives the cases that were run.
async fn over_sockets(scenarios: &[Scenario], transport: Transport, order: Order) -> usize {
    let mut checks = tokio::task::JoinSet::new();
    let mut servers = Vec::new();
    for scenario in scenarios {
        let server = Server::start(scenario.zone.clone(), transport, order).await;
        for case in scenario.cases.clone() {
            let asker = asker(server.address());
            checks.spawn(async move {
                let verdict = asker.check_spf(&query(&case), &mut Known::default(), LIMIT).await;
                misses(&case, &verdict)
            });
        }
        servers.push(server);
    }
    let outcomes = checks.join_all().await;
    let missed: Vec<&String> = outcomes.iter().flatten().collect();
    assert!(missed.is_empty(), "{transport:?}, {order:?}: {missed:#?}");
    let (datagrams, streams) = servers.iter().fold((0, 0), |(datagrams, streams), server| {
        let answered = server.answered();
        (datagrams + answered.0, streams + answered.1)
    });
    match transport {
        Transport::Fitting => assert!(datagrams > CASES, "{datagrams} answers by UDP"),
        Transport::Truncated => assert!(streams > CASES, "{streams} answers by TCP"),
    }
    outcomes.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_of_the_suite_is_right_over_sockets() {
    let Some(scenarios) = corpus::load("every_case_of_the_suite_is_right_over_sockets") else { return };
    for transport in [Transport::Fitting, Transport::Truncated] {
        for order in [Order::AsWritten, Order::Reversed] {
            assert_eq!(over_sockets(&scenarios, transport, order).await, CASES);
        }
    }
}

/// Answers a check's questions out of a zone; the verdict, the steps and the questions that it took.
fn in_memory(zone: &Zone, order: Order, query: &Query<'_>, at_once: usize) -> (Verdict, u32, usize) {
    let mut known = Known::default();
    let mut steps = 0;
    loop {
        match spf::check(query, &known) {
            Step::Done(verdict) => return (*verdict, steps, known.len()),
            Step::Need(questions) => {
                steps += 1;
                assert!(!questions.is_empty() && questions.len() <= spf::MAX_AT_ONCE);
                for question in questions.into_iter().take(at_once) {
                    assert!(known.answer(&question).is_none(), "{question} is asked again");
                    let answer = zone.answer(&question, order);
                    known.insert(question, answer);
                }
            }
        }
    }
}

#[test]
fn every_case_of_the_suite_is_right_in_memory() {
    let Some(scenarios) = corpus::load("every_case_of_the_suite_is_right_in_memory") else { return };
    let (mut cases, mut missed) = (0, Vec::new());
    for scenario in &scenarios {
        for case in &scenario.cases {
            cases += 1;
            for order in [Order::AsWritten, Order::Reversed] {
                let (verdict, steps, _) = in_memory(&scenario.zone, order, &query(case), usize::MAX);
                assert!(steps <= spf::MAX_STEPS, "{}: {steps} steps", case.name);
                // Asking one question after the other changes nothing.
                let (one_by_one, ..) = in_memory(&scenario.zone, order, &query(case), 1);
                assert_eq!(verdict, one_by_one, "{}", case.name);
                missed.extend(misses(case, &verdict));
            }
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
    assert_eq!(cases, CASES);
}

/// A verdict names every question that decided it, and no others are needed.
#[test]
fn the_tree_holds_what_was_looked_up() {
    let Some(scenarios) = corpus::load("the_tree_holds_what_was_looked_up") else { return };
    for scenario in &scenarios {
        for case in &scenario.cases {
            let (verdict, ..) = in_memory(&scenario.zone, Order::AsWritten, &query(case), usize::MAX);
            let Some(tree) = &verdict.tree else { continue };
            let (lookups, voids) = counted(tree);
            assert_eq!((lookups, voids), (verdict.lookups, verdict.voids), "{}", case.name);
        }
    }
}

/// What the nodes of a tree say themselves.
fn counted(visit: &spf::Visit) -> (u32, u32) {
    visit.tried.iter().fold((0, 0), |(lookups, voids), tried| {
        let below = tried.child.as_deref().map_or((0, 0), counted);
        assert_eq!(tried.lookups, u32::from(tried.counts) + below.0);
        assert!(tried.voids <= u32::from(tried.void) + below.1);
        (lookups + tried.lookups, voids + tried.voids)
    })
}

/// Everything that a question can be answered with comes through the client as it is.
#[tokio::test]
async fn the_six_outcomes_come_through_the_client() {
    use relaywatch::sources::answer::{Kind, Name, Outcome};
    let zone = zone::of(&[
        ("a.example.com", "A", "192.0.2.1"),
        ("alias.example.com", "CNAME", "a.example.com"),
        ("broken.example.com", "RCODE", "SERVFAIL"),
        ("silent.example.com", "TIMEOUT", ""),
    ]);
    let server = Server::start(zone, Transport::Fitting, Order::AsWritten).await;
    let asker = Asker::new(&Settings {
        timeout: Duration::from_millis(500),
        attempts: 1,
        ..Settings::new(vec![server.address()])
    })
    .expect("an asker");
    let ask = async |name: &str, kind| asker.ask(&Question::new(Name::parse(name).expect(name), kind)).await;
    let found = ask("A.example.com", Kind::A).await;
    assert_eq!(found.outcome.seen().to_string(), "1 record");
    assert!(found.ttl.is_some_and(|ttl| ttl <= 300), "{found:?}");
    let aliased = ask("alias.example.com", Kind::A).await;
    assert_eq!(
        (aliased.outcome, aliased.aliases),
        (found.outcome, vec![Name::parse("a.example.com").expect("a name")])
    );
    assert_eq!(ask("a.example.com", Kind::Txt).await.outcome, Outcome::NoData);
    assert_eq!(ask("none.example.com", Kind::Txt).await.outcome, Outcome::NoSuchDomain);
    assert_eq!(ask("broken.example.com", Kind::A).await.outcome, Outcome::ServerFailure);
    assert_eq!(ask("silent.example.com", Kind::A).await.outcome, Outcome::TimedOut);
}

/// A chain of CNAMEs that ends in an absence is told hop by hop; one that does not end is no absence.
#[tokio::test]
async fn a_dangling_chain_comes_through_the_client() {
    use relaywatch::sources::answer::{Kind, Name, Outcome};
    let zone = zone::of(&[
        ("s1._domainkey.example.com", "CNAME", "s1.esp.example"),
        ("s1.esp.example", "CNAME", "gone.esp.example"),
        ("a.example.com", "CNAME", "has-a.example.com"),
        ("has-a.example.com", "A", "192.0.2.1"),
        ("loop.example.com", "CNAME", "back.example.com"),
        ("back.example.com", "CNAME", "loop.example.com"),
    ]);
    let server = Server::start(zone, Transport::Fitting, Order::AsWritten).await;
    let asker = asker(server.address());
    let name = |text: &str| Name::parse(text).expect(text);
    let ask = async |text: &str| asker.ask(&Question::new(name(text), Kind::Txt)).await;
    let dangling = ask("s1._domainkey.example.com").await;
    assert_eq!(dangling.outcome, Outcome::NoSuchDomain);
    assert_eq!(dangling.aliases, [name("s1.esp.example"), name("gone.esp.example")]);
    let other_kind = ask("a.example.com").await;
    assert_eq!((other_kind.outcome, other_kind.aliases), (Outcome::NoData, vec![name("has-a.example.com")]));
    assert_eq!(ask("loop.example.com").await.outcome, Outcome::ServerFailure);
    let none = ask("none.example.com").await;
    assert_eq!((none.outcome, none.aliases), (Outcome::NoSuchDomain, vec![]));
}

/// What has arrived when the time is over counts: one server that is silent takes no other answer away.
#[tokio::test]
async fn answers_that_have_come_are_kept_at_the_limit() {
    use relaywatch::sources::answer::{Kind, Name};
    let mut zone = zone::of(&[("silent.example.com", "TIMEOUT", ""), ("a.example.com", "A", "192.0.2.9")]);
    let record = "v=spf1 a:a.example.com a:silent.example.com -all";
    zone.add(zone::name("example.com"), zone::Entry::Txt(relaywatch::sources::answer::Text::from(record)));
    let server = Server::start(zone, Transport::Fitting, Order::AsWritten).await;
    let query = Query {
        ip: [192, 0, 2, 1].into(),
        mail_from: "someone@example.com",
        helo: "mail.example.com",
        receiver: "",
        at: None,
    };
    let mut known = Known::default();
    let verdict = asker(server.address()).check_spf(&query, &mut known, Duration::from_secs(1)).await;
    assert_eq!(verdict.result, spf::SpfResult::TempError);
    let arrived = Question::new(Name::parse("a.example.com").expect("a name"), Kind::A);
    assert!(known.answer(&arrived).is_some_and(|answer| !answer.outcome.is_trouble()));
}

/// A check that waits for a server ends when its time is over, with a temperror.
#[tokio::test]
async fn a_check_ends_when_its_time_is_over() {
    let zone = zone::of(&[("example.com", "TIMEOUT", "")]);
    let server = Server::start(zone, Transport::Fitting, Order::AsWritten).await;
    let asker = Asker::new(&Settings::new(vec![server.address()])).expect("an asker");
    let query = Query {
        ip: [192, 0, 2, 1].into(),
        mail_from: "someone@example.com",
        helo: "mail.example.com",
        receiver: "",
        at: None,
    };
    let verdict = asker.check_spf(&query, &mut Known::default(), Duration::from_millis(50)).await;
    assert_eq!(verdict.result, spf::SpfResult::TempError);
}
