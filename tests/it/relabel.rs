//! New rules over stored replies: listed, applied, ended, on both engines and beside a daemon.

use std::{collections::BTreeMap, process::Stdio, sync::Arc};

use relaywatch::{
    classify::Rules,
    clock::Clock,
    control::{
        Call, Classified, Classifier, ControlError, EndRelabel, Folding, Operator, Relabel, RelabelEnded, RelabelStep,
        Relabelling, Retention, RulesInForce, STRETCH,
    },
    ingest::{
        Report,
        committer::committer,
        intake::{FeedName, Intake, Knowledge},
    },
    metrics::Metrics,
    model::{
        Address, Cause, DAY_MILLIS, DedupeMaterial, Event, EventKind, Exposure, FailureClass, HOUR_MILLIS, Provider,
        RelayDomains, Reply,
    },
    store::{EntryKind, EventRecord, NewEvent, NewVerdict, Store, Stretch},
};
use serde_json::{Value, json};
use tokio::sync::{Mutex, watch};

use crate::{
    on_both_engines,
    support::{
        Engine, T0, TestStore, at,
        daemon::{BRAZE_TOKEN, Daemon, Home, now, program},
        submission,
    },
};

/// No rule knows it.
const UNKNOWN: &str = "550 Frobnication declined by the relay";
/// An operator's rule that does.
const OWN: &str = r#"
version = 1

[[rule]]
name = "frobnication"
receiver = ["apple-relay"]
wording = ["frobnication declined"]
cause = "relay_sender_unregistered"
confidence = 0.9
doc = "ticket 4711 with Apple"
samples = [{ text = "550 Frobnication declined by the relay", recipient = "x7kq2m9abc@privaterelay.appleid.com" }]
"#;

fn own_rules() -> Arc<Rules> {
    Arc::new(Rules::with_extra(&[("own", OWN)]).expect("rules"))
}

fn operator(test: &TestStore, rules: &Arc<Rules>) -> Operator {
    Operator {
        store: test.store.clone(),
        keyring: Arc::clone(&test.keyring),
        clock: Clock::System,
        relay: watch::channel(RelayDomains::default()).1,
        rules: watch::channel(Some(Arc::clone(rules))).1,
        retention: Retention { deliveries_days: 14, refusals_days: 365 },
        folding: Folding::Own { monitor: Box::new(Mutex::new(None)), max_streams: 100_000 },
        running: None,
    }
}

/// Takes failures in, as the built-in rules classifier them: each with its hour, kind, recipient and text.
async fn taken(test: &TestStore, failures: &[(i64, EventKind, &str, &str)]) {
    let knowledge = Knowledge {
        rules: Arc::new(Rules::built_in().expect("rules")),
        relay: RelayDomains::default(),
        retention: None,
    };
    let metrics = Metrics::new().expect("metrics");
    let (committer, _writers) = committer(&test.store, &metrics, &Arc::new(tokio::sync::Notify::new()), 1);
    let intake = Intake::new(Arc::clone(&test.keyring), committer, metrics);
    let events = failures.iter().enumerate().map(|(number, (hour, kind, recipient, text))| Event {
        provider: Provider::Ses,
        kind: *kind,
        at: at(hour * HOUR_MILLIS),
        sent_at: Some(at(hour * HOUR_MILLIS - 1_000)),
        dedupe: DedupeMaterial::new(Provider::Ses, &[&number.to_string()]),
        message_id: Some(format!("message {number}")),
        recipient: Address::parse(recipient).expect("an address"),
        from_domain: Some("mail.example.com".to_owned()),
        envelope_sender: None,
        envelope_domain: None,
        campaign: None,
        reply: Some(Reply::parse(text)),
        remote_mta: None,
        provider_verdict: LABELS[number % LABELS.len()].map(ToOwned::to_owned),
        provider_class: FailureClass::Permanent,
    });
    let report = Report { events: events.collect(), ..Report::default() };
    let feed = FeedName { name: "ses".to_owned(), exposure: Exposure::Outcomes };
    test.store.commit(&[intake.prepare(&feed, &report, &knowledge, at(0))]).await.expect("commit");
}

/// What the provider says of them itself.
const LABELS: [Option<&str>; 3] = [None, Some("Permanent/General"), Some("Transient/MailboxFull")];

const ONE: &str = "x7kq2m9abc@privaterelay.appleid.com";
const TWO: &str = "qx7zhzkndneko@privaterelay.appleid.com";

/// Two refusals and a deferral that the operator's rule knows, one to an address that it does not speak of, one that has
/// its verdict.
async fn five(test: &TestStore) {
    taken(
        test,
        &[
            (1, EventKind::Refused, ONE, UNKNOWN),
            (2, EventKind::Refused, TWO, UNKNOWN),
            (9, EventKind::Deferred, TWO, UNKNOWN),
            (10, EventKind::Refused, "jo.doe@icloud.com", UNKNOWN),
            (11, EventKind::Refused, ONE, &format!("550 5.1.1 <{ONE}>: user not found")),
        ],
    )
    .await;
    test.fold(5).await;
}

/// What the rules change, stretch by stretch.
async fn listed(store: &Store, rules: &Arc<Rules>) -> Vec<(Stretch, Vec<Classified>)> {
    listed_by(store, rules, STRETCH).await
}

/// The same in stretches of so many rows.
async fn listed_by(store: &Store, rules: &Arc<Rules>, rows: u32) -> Vec<(Stretch, Vec<Classified>)> {
    let (mut classifier, mut found, mut after) = (Classifier::new(store.clone(), Arc::clone(rules)), Vec::new(), None);
    while let Some(stretch) = store.reply_stretch(after, rows).await.expect("a stretch") {
        after = Some(stretch.end());
        let replies = store.replies_in(stretch).await.expect("replies");
        let verdicts = classifier.classify(&replies).await.expect("classified");
        found.push((stretch, verdicts.into_iter().filter(Classified::changes).collect()));
    }
    found
}

async fn changes(store: &Store, rules: &Arc<Rules>) -> Vec<Classified> {
    listed(store, rules).await.into_iter().flat_map(|(_, classified)| classified).collect()
}

fn verdict(classified: &Classified) -> NewVerdict {
    NewVerdict {
        of: classified.group.key,
        from_rule: classified.from_rule.clone(),
        cause: classified.verdict.cause,
        rule: classified.rule(),
        confidence: relaywatch::ingest::intake::percent(&classified.verdict),
    }
}

/// Applies all; gives what was changed in this run, and what the end says.
async fn apply(operator: &Operator, rules: &Arc<Rules>) -> (u64, RelabelEnded) {
    let (by, rules) = ("tester".to_owned(), RulesInForce::of(rules));
    let mut next = Some(Relabel { operator: by.clone(), rules: rules.clone() }.run(operator).await.expect("begun"));
    let mut changed = 0;
    while let Some(step) = next {
        let stepped = step.run(operator).await.expect("a step");
        changed += stepped.changed;
        next = stepped.next;
    }
    (changed, EndRelabel { operator: by, rules }.run(operator).await.expect("the end"))
}

/// The verdicts that are stored, with their rules in words.
async fn stored(test: &TestStore, count: usize) -> Vec<(EventRecord, String)> {
    let journal = test.journal(count, 1_000).await;
    let rules: Vec<i32> = journal.iter().filter_map(|event| event.reply).map(|reply| reply.rule).collect();
    let words: BTreeMap<i32, String> = test.store.words(&rules).await.expect("words").into_iter().collect();
    let rule = |event: &EventRecord| event.reply.map(|reply| words[&reply.rule].clone()).unwrap_or_default();
    journal.into_iter().map(|event| (event.clone(), rule(&event))).collect()
}

async fn last_cause(test: &TestStore, address: &str) -> Option<Cause> {
    let hash = test.recipient(address).hash;
    let known = test.store.address_by_hash(&hash).await.expect("read").expect("known");
    test.store.ledger(known.id).await.expect("read").expect("a row").last_cause
}

/// What was noted of relabelling, earliest first.
async fn noted(test: &TestStore) -> Vec<Value> {
    let entries =
        test.store.entries_of_kind(EntryKind::Action, now().plus_millis(DAY_MILLIS), 100).await.expect("read");
    let mut entries: Vec<_> = entries
        .into_iter()
        .filter(|entry| entry.body["action"].as_str().expect("text").starts_with("relabel"))
        .collect();
    entries.sort_by_key(|entry| (entry.key.at, entry.body["action"].to_string()));
    entries.into_iter().map(|entry| entry.body).collect()
}

on_both_engines! {
    async fn what_is_listed_is_what_is_changed_and_once(test: TestStore) {
        five(&test).await;
        let (rules, before) = (own_rules(), stored(&test, 5).await);
        let cells = test.store.cells_since(0).await.expect("cells");
        assert_eq!(last_cause(&test, TWO).await, Some(Cause::Undetermined));

        // By the rules of their ingest nothing changes: a deferral has its verdict from the provider's own.
        let built_in = Arc::new(Rules::built_in().expect("rules"));
        assert!(changes(&test.store, &built_in).await.is_empty());
        assert!(before.iter().any(|(_, rule)| rule.starts_with("labels/full@")), "{before:?}");

        // Listing changes nothing, and neither does a rebuild.
        let list = changes(&test.store, &rules).await;
        test.store.reset_projections().await.expect("reset");
        test.fold_all().await;
        assert_eq!(stored(&test, 5).await, before, "nothing has changed");
        assert!(noted(&test).await.is_empty());
        let new: Vec<&Classified> = list.iter().filter(|classified| classified.verdict.cause != classified.group.key.cause).collect();
        assert_eq!(new.iter().map(|classified| classified.group.replies).sum::<u64>(), 3, "{list:?}");
        assert!(new.iter().all(|classified| classified.rule() == "own/frobnication@1" && classified.template == UNKNOWN), "{list:?}");
        assert_eq!(new.iter().map(|classified| classified.group.first).min(), Some(at(HOUR_MILLIS)));
        assert_eq!(new.iter().map(|classified| classified.group.last).max(), Some(at(9 * HOUR_MILLIS)));
        let sums: u64 = list.iter().map(|classified| classified.group.replies).sum();
        assert_eq!(sums, 3, "what stays undetermined is no change: {list:?}");

        // Applying changes these and no others.
        let operator = operator(&test, &rules);
        let (changed, ended) = apply(&operator, &rules).await;
        assert_eq!((changed, ended.replies), (sums, sums));
        assert!(ended.rebuild.is_some_and(|rebuild| rebuild.events == 5 && !rebuild.resumed));
        test.fold_all().await;
        let after = stored(&test, 5).await;
        for ((old, old_rule), (new, new_rule)) in before.iter().zip(&after) {
            let reply = old.reply.expect("a reply");
            let listed = list.iter().find(|classified| {
                let key = &classified.group.key;
                (key.template, key.destination, key.rule) == (reply.template, old.destination, reply.rule)
            });
            let expected = listed.map_or((reply.cause, reply.confidence, old_rule.clone()), |classified| {
                let new = verdict(classified);
                (new.cause, new.confidence, new.rule)
            });
            let reply = new.reply.expect("a reply");
            assert_eq!((reply.cause, reply.confidence, new_rule.clone()), expected, "{old:?}");
            assert_eq!(EventRecord { reply: None, ..new.clone() }, EventRecord { reply: None, ..old.clone() });
        }
        assert_eq!(last_cause(&test, TWO).await, Some(Cause::RelaySenderUnregistered), "the ledger follows");
        assert_eq!(last_cause(&test, ONE).await, Some(Cause::RecipientUnknown), "its last refusal is another");
        assert_eq!(test.store.cells_since(0).await.expect("cells"), cells, "counts do not depend on causes");

        let said = noted(&test).await;
        assert_eq!(said.len(), 2, "{said:?}");
        assert_eq!((&said[0]["action"], &said[0]["operator"]), (&json!("relabel"), &json!("tester")), "{said:?}");
        let end = &said[1];
        assert_eq!((&end["rules_fingerprint"], &end["replies"]), (&json!(rules.fingerprint()), &json!(3)), "{end}");
        let most = &end["changes"][0];
        assert_eq!(
            (&most["from_cause"], &most["to_cause"], &most["to_rule"], &most["replies"]),
            (&json!("undetermined"), &json!("relay_sender_unregistered"), &json!("own/frobnication@1"), &json!(2)),
        );

        // A second run finds none, and rebuilds nothing.
        assert!(changes(&test.store, &rules).await.is_empty());
        assert_eq!(apply(&operator, &rules).await, (0, RelabelEnded { replies: 0, rebuild: None }));
        assert_eq!(stored(&test, 5).await, after);
    }

    async fn stopped_half_way_it_goes_on_and_the_journal_has_the_whole(test: TestStore) {
        five(&test).await;
        let rules = own_rules();
        let named = RulesInForce::of(&rules);
        Relabel { operator: "Jo".to_owned(), rules: named }.run(&operator(&test, &rules)).await.expect("begun");
        let list = listed(&test.store, &rules).await;
        let (stretch, classified) = list.iter().find(|(_, classified)| !classified.is_empty()).expect("changes");
        let (changed, all) = test.store.relabel(*stretch, &[verdict(&classified[0])]).await.expect("a part");
        assert!(changed > 0 && changed < 3 && all, "{changed}");
        assert_eq!(test.store.relabelled().await.expect("counted").iter().map(|of| of.replies).sum::<u64>(), changed);

        // The process is gone; the next one goes on.
        let (rest, ended) = apply(&operator(&test, &rules), &rules).await;
        assert_eq!((changed + rest, ended.replies), (3, 3));
        assert!(changes(&test.store, &rules).await.is_empty());
        assert!(test.store.relabelled().await.expect("counted").is_empty(), "it is in the journal");
        let said = noted(&test).await;
        assert_eq!(said.iter().map(|body| body["action"].as_str().expect("text")).collect::<Vec<_>>(), ["relabel", "relabel", "relabelled"]);
        test.fold_all().await;
        assert_eq!(last_cause(&test, TWO).await, Some(Cause::RelaySenderUnregistered));
    }

    async fn what_other_rules_began_is_journalled_as_theirs(test: TestStore) {
        five(&test).await;
        let (first, second) = (own_rules(), {
            let text = OWN.replace("relay_sender_unregistered", "relay_daily_limit");
            Arc::new(Rules::with_extra(&[("own", text)]).expect("rules"))
        });
        Relabel { operator: "Jo".to_owned(), rules: RulesInForce::of(&first) }.run(&operator(&test, &first)).await.expect("begun");
        let list = listed(&test.store, &first).await;
        let (stretch, classified) = list.iter().find(|(_, classified)| !classified.is_empty()).expect("changes");
        let (changed, _) = test.store.relabel(*stretch, &[verdict(&classified[0])]).await.expect("a part");
        assert!(Relabelling::is_left(&test.store).await.expect("read"));

        // Other rules are in force when somebody goes on.
        let (rest, ended) = apply(&operator(&test, &second), &second).await;
        assert_eq!((rest, ended.replies), (3, 3), "what was changed before is changed once more");
        assert!(!Relabelling::is_left(&test.store).await.expect("read"));
        let said = noted(&test).await;
        let of = |rules: &Rules| {
            let ended = said.iter().filter(|body| body["action"] == "relabelled");
            let mine: Vec<_> = ended.filter(|body| body["rules_fingerprint"] == rules.fingerprint()).collect();
            assert_eq!(mine.len(), 1, "{said:?}");
            (mine[0]["operator"].clone(), mine[0]["replies"].clone(), mine[0]["interrupted"].clone())
        };
        assert_eq!(of(&first), (json!("Jo"), json!(changed), json!(true)));
        assert_eq!(of(&second), (json!("tester"), json!(3), json!(false)));
        test.fold_all().await;
        assert_eq!(last_cause(&test, TWO).await, Some(Cause::RelayDailyLimit));
    }

    async fn what_is_taken_back_by_other_rules_is_rebuilt_too(test: TestStore) {
        five(&test).await;
        let (own, built_in) = (own_rules(), Arc::new(Rules::built_in().expect("rules")));
        let list = listed(&test.store, &own).await;
        Relabel { operator: "Jo".to_owned(), rules: RulesInForce::of(&own) }.run(&operator(&test, &own)).await.expect("begun");
        for (stretch, classified) in &list {
            let all: Vec<NewVerdict> = classified.iter().map(verdict).collect();
            test.store.relabel(*stretch, &all).await.expect("relabelled");
        }
        // The next one begins, and is stopped before it changes anything; the one after it has nothing to change.
        Relabel { operator: "Kim".to_owned(), rules: RulesInForce::of(&built_in) }.run(&operator(&test, &built_in)).await.expect("begun");
        assert!(test.store.relabelled().await.expect("read").is_empty() && Relabelling::is_left(&test.store).await.expect("read"));
        let (changed, ended) = apply(&operator(&test, &own), &own).await;
        assert_eq!((changed, ended.replies, ended.rebuild.is_some()), (0, 0, true), "the projections do not know yet");
        assert!(!Relabelling::is_left(&test.store).await.expect("read"));
    }

    async fn stretches_are_bounded_by_rows(test: TestStore) {
        five(&test).await;
        let rules = own_rules();
        let many = listed_by(&test.store, &rules, 2).await;
        assert!((3..=5).contains(&many.len()), "{many:?}");
        let replies = |list: &[(Stretch, Vec<Classified>)]| -> u64 {
            list.iter().flat_map(|(_, classified)| classified).map(|classified| classified.group.replies).sum()
        };
        let one = listed(&test.store, &rules).await;
        assert_eq!((one.len(), replies(&one), replies(&many)), (1, 3, 3));
    }

    async fn a_stretch_is_changed_in_several_transactions(test: TestStore) {
        let events: Vec<NewEvent> = (0..5_100).map(|number| test.refused(number, 1_000)).collect();
        test.store.commit(&[submission(events)]).await.expect("commit");
        let rules = Arc::new(Rules::built_in().expect("rules"));
        let list = listed(&test.store, &rules).await;
        let [(stretch, classified)] = list.as_slice() else { panic!("one stretch: {list:?}") };
        let [classified] = classified.as_slice() else { panic!("one group: {classified:?}") };
        assert_eq!((classified.group.replies, classified.verdict.cause), (5_100, Cause::RecipientUnknown));
        let begin = Relabel { operator: "Jo".to_owned(), rules: RulesInForce::of(&rules) };
        begin.run(&operator(&test, &rules)).await.expect("begun");
        let (first, all) = test.store.relabel(*stretch, &[verdict(classified)]).await.expect("relabelled");
        assert!(!all && first < 5_100, "{first}");
        let key = [classified.group.key];
        let met = test.store.reply_addresses(*stretch, &key, 10_000).await.expect("addresses");
        assert_eq!(met.len() as u64, 5_100 - first, "what is left: one address each");
        assert_eq!(test.store.reply_addresses(*stretch, &key, 7).await.expect("addresses").len(), 7);
        let (rest, ended) = apply(&operator(&test, &rules), &rules).await;
        assert_eq!((first + rest, ended.replies), (5_100, 5_100));
        assert!(changes(&test.store, &rules).await.is_empty());
    }

    async fn the_ledger_follows_also_where_a_checkpoint_holds_it(test: TestStore) {
        let early: Vec<NewEvent> = (5..9).map(|number| test.delivered(number, HOUR_MILLIS)).collect();
        test.store.commit(&[submission(early)]).await.expect("commit");
        taken(&test, &[(3, EventKind::Refused, ONE, UNKNOWN)]).await;
        test.fold(5).await;
        let now = T0 + 20 * DAY_MILLIS;
        test.leader().expire(now, T0 + 10 * DAY_MILLIS, T0 - DAY_MILLIS).await.expect("expired");
        assert_eq!(test.rows("event").await, 1, "the refusal stays");
        let rules = own_rules();
        let (changed, _) = apply(&operator(&test, &rules), &rules).await;
        test.fold_all().await;
        assert_eq!((changed, last_cause(&test, ONE).await), (1, Some(Cause::RelaySenderUnregistered)));
        test.store.reset_projections().await.expect("reset");
        test.fold_all().await;
        assert_eq!(last_cause(&test, ONE).await, Some(Cause::RelaySenderUnregistered), "a rebuild keeps it");
    }

    async fn nothing_is_done_by_other_rules_than_those_of_the_list(test: TestStore) {
        five(&test).await;
        let (rules, before) = (own_rules(), stored(&test, 5).await);
        let built_in = Rules::built_in().expect("rules");
        let operator = operator(&test, &rules);
        let other = || RulesInForce::of(&built_in);
        let by = || "tester".to_owned();
        let begun = Relabel { operator: by(), rules: other() }.run(&operator).await.map(drop);
        let stepped = RelabelStep { rules: other(), after: None }.run(&operator).await.map(drop);
        let ended = EndRelabel { operator: by(), rules: other() }.run(&operator).await.map(drop);
        for refused in [begun, stepped, ended] {
            assert!(matches!(refused, Err(ControlError::Invalid(text)) if text.contains("run the command again")));
        }
        assert_eq!((stored(&test, 5).await, noted(&test).await), (before, vec![]));
    }
}

/// A home with Braze's feed and a folder for rules.
async fn home(engine: Engine) -> Option<Home> {
    let home = Home::new(engine).await?;
    std::fs::create_dir(home.path("rules")).expect("a folder");
    let folder = home.path("rules");
    home.configure(&format!("[rules]\nfolder = \"{}\"\n[feeds.braze]\ntoken = \"{BRAZE_TOKEN}\"\n", folder.display()));
    Some(home)
}

/// What a command says: whether it succeeded, its output, its diagnostics.
fn run(home: &Home, arguments: &[&str]) -> (bool, String, String) {
    let mut command = program(home.folder.path());
    command.args(arguments).arg("--config").arg(home.path("relaywatch.toml"));
    let said = command.stdout(Stdio::piped()).output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (said.status.success(), text(&said.stdout), text(&said.stderr))
}

fn ok(home: &Home, arguments: &[&str]) -> String {
    let (success, out, err) = run(home, arguments);
    assert!(success, "{arguments:?}: {out}{err}");
    out
}

/// Versions, fingerprints and times of this run by names.
fn redacted(text: &str) -> String {
    let mut text = text.to_owned();
    for (pattern, name) in [
        (r"\b[0-9a-f]{16}\b", "{fingerprint}"),
        (r"undetermined@\d+", "undetermined@{set}"),
        (r"version \d+", "version {set}"),
        (r"-> @\d+", "-> @{set}"),
        (r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "{time}"),
        (r"--config \S+", "--config {file}"),
    ] {
        text = regex::Regex::new(pattern).expect("a pattern").replace_all(&text, name).into_owned();
    }
    text
}

fn bounces(daemon: &Daemon, texts: &[&str]) {
    let seconds = now().as_seconds() - 600;
    let event = |(number, text): (usize, &&str)| {
        json!({
            "event_type": "users.messages.email.Bounce", "id": format!("bounce-{number}"), "time": seconds,
            "dispatch_id": format!("dispatch-{number}"), "from_domain": "news.example.com", "campaign_name": "Spring",
            "email_address": format!("qx7user{number}@privaterelay.appleid.com"), "bounce_reason": text,
        })
    };
    let body = json!({ "events": texts.iter().enumerate().map(event).collect::<Vec<_>>() }).to_string();
    let authorization = format!("Bearer {BRAZE_TOKEN}");
    let answer = daemon.post("/in/braze", &[("authorization", &authorization)], body.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// What the lists say of the replies: cause and rule, how many.
fn causes(home: &Home) -> BTreeMap<(String, String), usize> {
    let mut counts = BTreeMap::new();
    for line in ok(home, &["events", "list", "--format", "json"]).lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let word = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        *counts.entry((word("cause"), word("rule"))).or_default() += 1;
    }
    counts
}

fn of(cause: &str, rule: &str) -> (String, String) {
    (cause.to_owned(), rule.to_owned())
}

async fn an_operators_rule_relabels_beside_a_daemon(engine: Engine) {
    let Some(home) = home(engine).await else { return };
    let daemon = home.start();
    bounces(&daemon, &[UNKNOWN, UNKNOWN, UNKNOWN, "550 5.1.1 <qx7user3@privaterelay.appleid.com>: user not found"]);
    let unknown = of("undetermined", "none/undetermined");
    assert_eq!(causes(&home)[&unknown], 3);
    assert!(ok(&home, &["rebuild", "--rules"]).contains("all of 4 stored replies have the verdicts of these rules"));

    std::fs::write(home.path("rules/own.toml"), OWN).expect("written");
    let (success, _, err) = run(&home, &["rebuild", "--rules"]);
    assert!(!success && err.contains("goes by other reply rules") && err.contains("SIGHUP"), "{err}");
    daemon.signal("HUP");
    daemon.wait_for("\"reloaded\"");

    let listed = redacted(&ok(&home, &["rebuild", "--rules"]));
    // With PostgreSQL other processes may take reports in.
    let (listed, others) =
        listed.split_once("every process").map_or((listed.as_str(), None), |(list, rest)| (list, Some(rest)));
    assert_eq!(others.is_some_and(|rest| rest.contains("give all of them these before")), engine == Engine::Postgres);
    insta::allow_duplicates! {
        insta::assert_snapshot!("relabel_list", listed);
    }
    let list: Value = serde_json::from_str(&ok(&home, &["rebuild", "--rules", "--format", "json"])).expect("JSON");
    let change = &list["changes"][0];
    assert_eq!((&change["replies"], &change["addresses"]), (&json!(3), &json!(3)), "{list}");
    assert_eq!((&change["from"]["hard"], &change["to"]["action"]), (&json!(false), &json!("fix-sender")), "{list}");
    assert_eq!((&list["changed"], &list["applied"]), (&json!(3), &json!(null)), "{list}");
    let (success, out, err) = run(&home, &["rebuild", "--rules", "--apply"]);
    assert!(!success && out.is_empty() && err.contains("add --yes"), "{err}");
    assert_eq!(causes(&home)[&unknown], 3, "nothing was changed");

    let applied = ok(&home, &["rebuild", "--rules", "--apply", "--yes", "--operator", "Jo Example"]);
    insta::allow_duplicates! {
        insta::assert_snapshot!("relabel_applied", redacted(&applied));
    }
    let known = of("relay_sender_unregistered", "own/frobnication");
    assert_eq!((causes(&home).get(&known), causes(&home).get(&unknown)), (Some(&3), None));
    let story = ok(&home, &["address", "show", "qx7user1@privaterelay.appleid.com"]);
    assert!(story.contains(", relay_sender_unregistered\n") && story.contains("by own/frobnication@1"), "{story}");
    let said = ok(&home, &["events", "entries", "--kind", "action"]);
    assert!(said.contains("3 stored replies have the verdicts of rules version"), "{said}");
    assert!(said.contains(", by Jo Example"), "{said}");
    let again = ok(&home, &["rebuild", "--rules", "--apply", "--yes"]);
    assert!(again.contains("all of 4 stored replies have the verdicts of these rules"), "{again}");
    daemon.stop();

    // Without a daemon, and back again: without --rules, every stored reply keeps its verdict.
    std::fs::remove_file(home.path("rules/own.toml")).expect("removed");
    assert_eq!(ok(&home, &["rebuild"]), "ledger and cells are made again from 4 outcomes\n");
    assert_eq!(causes(&home)[&known], 3);
    let list = ok(&home, &["rebuild", "--rules"]);
    assert!(list.contains("relay_sender_unregistered -> undetermined"), "{list}");
    assert!(list.contains("the daemon ran by other rules until now"), "{list}");
    let back = ok(&home, &["rebuild", "--rules", "--apply", "--yes", "--format", "json"]);
    let back: Value = serde_json::from_str(&back).expect("JSON");
    assert_eq!(back["applied"], json!({ "replies": 3, "folded": 4 }), "{back}");
    assert_eq!(causes(&home)[&unknown], 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_rule_relabels_beside_a_daemon_on_sqlite() {
    an_operators_rule_relabels_beside_a_daemon(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_rule_relabels_beside_a_daemon_on_postgres() {
    an_operators_rule_relabels_beside_a_daemon(Engine::Postgres).await;
}

/// A command on another host than the daemons' is told when these go by other rules.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_elsewhere_changes_nothing_by_rules_of_its_own() {
    let Some(home) = home(Engine::Postgres).await else { return };
    let daemon = home.start();
    daemon.wait_for("this process leads the monitors");
    bounces(&daemon, &[UNKNOWN]);
    std::fs::write(home.path("rules/own.toml"), OWN).expect("written");
    let elsewhere = home.path("elsewhere");
    std::fs::create_dir(&elsewhere).expect("a folder");
    std::fs::copy(home.path("state/relaywatch.key"), elsewhere.join("relaywatch.key")).expect("the keys");
    let apply = || {
        let mut command = program(home.folder.path());
        command.args(["rebuild", "--rules", "--apply", "--yes", "--config"]).arg(home.path("relaywatch.toml"));
        let said = command.env("STATE_DIRECTORY", &elsewhere).stdout(Stdio::piped()).output().expect("it runs");
        (said.status.success(), String::from_utf8_lossy(&said.stderr).into_owned())
    };
    let (success, err) = apply();
    assert!(!success && err.contains("go by other reply rules than this command"), "{err}");
    assert_eq!(causes(&home).keys().next(), Some(&of("undetermined", "none/undetermined")));
    daemon.signal("HUP");
    daemon.wait_for("the settings that judgements depend on are journalled");
    daemon.wait_for_nth("the settings that judgements depend on are journalled", 2);
    let (success, err) = apply();
    assert!(success, "{err}");
    assert_eq!(causes(&home).keys().next(), Some(&of("relay_sender_unregistered", "own/frobnication")));
    daemon.stop();
}
