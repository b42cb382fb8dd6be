//! Incidents in operators' hands: labels, the list to win back, the command, on both engines.

use std::{os::unix::fs::PermissionsExt, path::PathBuf, sync::Arc};

use clap::Parser;
use relaywatch::{
    cli::incident::IncidentCommand,
    detect::Urgency,
    incident::{self, Basis, Body, IncidentError, Label, LeftOut, RecoveryRequest},
    model::{DAY_MILLIS, EventKind, HOUR_MILLIS, NoticeKind, StreamLevel},
    store::{EntryKind, IncidentRecord, IncidentState, Leader, NewEntry, NewEvent, OperatorWord, Store, StoreOptions},
};

use crate::{
    facts::{fold, map, notice, tell},
    on_both_engines,
    support::{TestStore, at, stream, submission},
};

pub(crate) fn body() -> Body {
    let finest = stream("news.example.com", None);
    Body {
        scope: finest.at(StreamLevel::ProviderDomain).expect("a parent"),
        streams: vec![finest],
        severity: Urgency::Page,
        sends: 900,
        refused: 10,
        expected: 1.5,
        addresses: 10,
        sentence: "Since long ago 10 of 900 relay messages were refused.".to_owned(),
        named: None,
        share_explained: None,
        explanation: Vec::new(),
        facts: None,
        pages: 0,
        last_paged_at: None,
        last_paged_refused: 0,
        basis: Basis::Rate,
        settings: None,
        rules: None,
        operator_told: false,
    }
}

async fn opened(store: &Leader) -> i64 {
    let record = IncidentRecord {
        id: 0,
        state: IncidentState::Open,
        onset: at(0),
        opened_at: at(600_000),
        updated_at: at(600_000),
        closed_at: None,
        operator: OperatorWord::default(),
        body: body().to_value(),
    };
    store.save_incident(&record).await.expect("saved")
}

/// Ten refused addresses, each with its own story; 10 and 11 are refused elsewhere or before.
async fn stories(test: &TestStore) {
    let mut events: Vec<NewEvent> = (0..10).map(|number| test.refused(number, 60_000)).collect();
    events.push(NewEvent {
        key: test.key(50, 60_000),
        message: 50,
        kind: EventKind::Complained,
        reply: None,
        ..test.refused(5, 60_000)
    });
    events.push(NewEvent {
        key: test.key(60, 60_000),
        message: 60,
        kind: EventKind::Unsubscribed,
        reply: None,
        ..test.refused(6, 60_000)
    });
    events.push(NewEvent { stream: stream("other.example.com", None), ..test.refused(10, 60_000) });
    events.push(test.refused(11, -HOUR_MILLIS));
    events.push(NewEvent { message: 70, ..test.delivered(0, -DAY_MILLIS) });
    let count = events.len();
    test.store.commit(&[submission(events)]).await.expect("commit");
    fold(test, count).await;
    map(test, (0..12).filter(|number| *number != 8)).await;
    tell(
        test,
        vec![
            notice(test, 1, -500 * DAY_MILLIS, NoticeKind::ConsentRevoked),
            notice(test, 2, -DAY_MILLIS, NoticeKind::EmailDisabled),
            notice(test, 3, -2 * DAY_MILLIS, NoticeKind::EmailDisabled),
            NewEntry { key: test.key(9_000_003, -DAY_MILLIS), ..notice(test, 3, 0, NoticeKind::EmailEnabled) },
            notice(test, 4, DAY_MILLIS, NoticeKind::AccountDeleted),
        ],
    )
    .await;
    assert!(test.store.forget_address(&test.relay(7).hash).await.expect("forgotten"));
}

fn request(unknown_too: bool) -> RecoveryRequest {
    RecoveryRequest { operator: "Jo Operator".to_owned(), reason: "win back".to_owned(), unknown_too }
}

#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    incident: IncidentCommand,
}

/// Runs the command as `main` does: on a thread of its own, from configuration only.
async fn command(place: &(StoreOptions, PathBuf), arguments: &[&str]) -> Result<(String, String), String> {
    let command = Command::try_parse_from([&["incident"], arguments].concat()).expect("arguments");
    let environment = vec![
        ("STATE_DIRECTORY".to_owned(), place.1.parent().expect("a folder").display().to_string()),
        ("RELAYWATCH__STORE__URL".to_owned(), place.0.url.clone()),
        ("RELAYWATCH__PRIVACY__KEY_FILE".to_owned(), place.1.display().to_string()),
    ];
    tokio::task::spawn_blocking(move || {
        let (mut out, mut diagnostics) = (Vec::new(), Vec::new());
        let done = command.incident.run(None, environment, &mut out, &mut diagnostics);
        let printed = |bytes| String::from_utf8(bytes).expect("UTF-8");
        done.map(|_| (printed(out), printed(diagnostics))).map_err(|error| format!("{error:#}"))
    })
    .await
    .expect("the command ends")
}

on_both_engines! {
    async fn labels_and_accepting_are_kept_and_journalled(test: TestStore) {
        let id = opened(&test.leader()).await;
        incident::set_label(&test.store, &test.keyring, id, (Label::False, "Jo"), at(DAY_MILLIS)).await.expect("labelled");
        incident::accept_normal(&test.store, &test.keyring, id, "Jo", at(DAY_MILLIS)).await.expect("accepted");
        let (record, changed) = incident::find(&test.store, id).await.expect("there");
        assert_eq!(changed, body(), "what operators say is no part of it");
        assert_eq!(record.operator, OperatorWord { label: Some(Label::False), accepted_normal: true, closed_at: None });
        assert_eq!((record.state, record.updated_at), (IncidentState::Open, at(DAY_MILLIS)));
        let actions = test.store.entries_of_kind(EntryKind::Action, at(DAY_MILLIS), 10).await.expect("read");
        let mut actions: Vec<&str> = actions.iter().filter_map(|entry| entry.body["action"].as_str()).collect();
        actions.sort_unstable();
        assert_eq!(actions, ["accept-normal", "label"]);
        let missing = incident::set_label(&test.store, &test.keyring, id + 1, (Label::Real, "Jo"), at(0)).await;
        assert!(matches!(missing, Err(IncidentError::Unknown(other)) if other == id + 1));
    }

    async fn what_operators_say_and_what_the_monitor_writes_do_not_undo_each_other(test: TestStore) {
        let id = opened(&test.leader()).await;
        // The monitor has read it, an operator speaks, the monitor writes what it has made of it.
        let (before, _) = incident::find(&test.store, id).await.expect("there");
        incident::set_label(&test.store, &test.keyring, id, (Label::Real, "Jo"), at(DAY_MILLIS)).await.expect("labelled");
        incident::accept_normal(&test.store, &test.keyring, id, "Jo", at(DAY_MILLIS)).await.expect("accepted");
        let said = ("Jo Operator", "masked for good");
        incident::close(&test.store, &test.keyring, id, said, at(2 * DAY_MILLIS)).await.expect("closed");
        let grown = IncidentRecord { body: Body { refused: 99, ..body() }.to_value(), ..before };
        test.leader().save_incident(&grown).await.expect("saved");
        let (record, body) = incident::find(&test.store, id).await.expect("there");
        let closed_at = Some(at(2 * DAY_MILLIS));
        assert_eq!(record.operator, OperatorWord { label: Some(Label::Real), accepted_normal: true, closed_at });
        assert_eq!((record.state, record.closed_at, body.refused), (IncidentState::Closed, closed_at, 99));
        assert_eq!(test.store.operator_words(&[id]).await.expect("words"), [(id, record.operator)]);
    }

    async fn an_operator_closes_what_cannot_end_by_itself_once(test: TestStore) {
        let id = opened(&test.leader()).await;
        let record = incident::find(&test.store, id).await.expect("there").0;
        let masked = IncidentRecord { state: IncidentState::Masked, closed_at: Some(at(HOUR_MILLIS)), ..record };
        test.leader().save_incident(&masked).await.expect("saved");
        let close = || incident::close(&test.store, &test.keyring, id, ("Jo", "nothing comes back"), at(DAY_MILLIS));
        close().await.expect("closed");
        let record = incident::find(&test.store, id).await.expect("there").0;
        assert_eq!((record.state, record.closed_at), (IncidentState::Closed, Some(at(HOUR_MILLIS))), "it was over before");
        assert!(matches!(close().await, Err(IncidentError::Over { state: IncidentState::Closed, .. })));
        let actions = test.store.entries_of_kind(EntryKind::Action, at(DAY_MILLIS), 10).await.expect("read");
        let expected = serde_json::json!(
            { "action": "close", "incident": id, "operator": "Jo", "reason": "nothing comes back" }
        );
        assert_eq!(actions.iter().map(|entry| &entry.body).collect::<Vec<_>>(), [&expected]);
        let missing = incident::close(&test.store, &test.keyring, id + 1, ("Jo", "x"), at(0)).await;
        assert!(matches!(missing, Err(IncidentError::Unknown(_))));
    }

    async fn a_word_on_consent_outlives_the_notice(test: TestStore) {
        stories(&test).await;
        let id = opened(&test.leader()).await;
        let (now, early) = (at(DAY_MILLIS).as_millis(), at(-20 * DAY_MILLIS).as_millis());
        let before = incident::list(&test.store, id, &request(false)).await.expect("made");
        test.leader().expire(now, early, at(-HOUR_MILLIS).as_millis()).await.expect("expired");
        assert_eq!(test.store.entries_of_kind(EntryKind::Notice, at(0), 10).await.expect("read").len(), 0, "they have gone");
        let after = incident::list(&test.store, id, &request(false)).await.expect("made");
        assert_eq!(after.left_out, before.left_out);
        assert_eq!((before.left_out.revoked, before.left_out.disabled), (1, 1));
        test.store.reset_projections().await.expect("reset");
        test.fold_all().await;
        assert_eq!(incident::list(&test.store, id, &request(false)).await.expect("made").left_out, before.left_out);
        // Whoever is forgotten has no word left once the journal would have none.
        let address = test.store.address_by_hash(&test.relay(2).hash).await.expect("read").expect("known").id;
        assert_eq!(test.store.latest_notices(&[address]).await.expect("read").len(), 1);
        test.store.forget_address(&test.relay(2).hash).await.expect("forgotten");
        test.leader().expire(now + DAY_MILLIS, early, at(-HOUR_MILLIS).as_millis()).await.expect("expired");
        assert_eq!(test.store.latest_notices(&[address]).await.expect("read"), []);
    }

    async fn only_addresses_that_nothing_speaks_against_are_listed(test: TestStore) {
        stories(&test).await;
        let id = opened(&test.leader()).await;
        let made = incident::recovery(&test.store, &test.keyring, id, &request(false), at(DAY_MILLIS)).await.expect("made");
        let mut listed: Vec<_> = made.rows.iter().map(|row| row.address.clone()).collect();
        listed.sort();
        assert_eq!(listed, [0, 3, 9].map(|number| test.relay(number).address));
        let first = made.rows.iter().find(|row| row.address == test.relay(0).address).expect("listed");
        assert_eq!((first.last_delivered_at, first.last_refused_at), (Some(at(-DAY_MILLIS)), Some(at(60_000))));
        let expected = LeftOut { revoked: 1, deleted: 1, disabled: 1, complained: 1, unsubscribed: 1, erased: 1, unknown: 1, hashed: 0 };
        assert_eq!((made.left_out, made.refused, made.unknown.len()), (expected, 10, 0));
        assert!(made.notices_blind, "no facts were gathered");

        let both = incident::recovery(&test.store, &test.keyring, id, &request(true), at(DAY_MILLIS + 1)).await.expect("made");
        assert_eq!(both.unknown.iter().map(|row| row.address.clone()).collect::<Vec<_>>(), [test.relay(8).address]);
        assert_eq!((both.rows.len(), both.left_out), (3, LeftOut { unknown: 0, ..expected }));

        let actions = test.store.entries_of_kind(EntryKind::Action, at(2 * DAY_MILLIS), 10).await.expect("read");
        assert_eq!(actions.len(), 2);
        assert_eq!(actions[1].body, serde_json::json!({
            "action": "recovery-list", "incident": id, "operator": "Jo Operator", "reason": "win back",
            "listed": 3, "unknown_listed": 0,
        }));
    }

    async fn where_only_hashes_are_kept_no_list_is_made(test: TestStore) {
        let TestStore { store, keyring, options, folder } = test;
        store.close().await;
        drop(store);
        let options = StoreOptions { sealed: false, ..options };
        let store = Store::open(&options, Arc::clone(&keyring)).await.expect("opens");
        let test = TestStore { store, keyring, options, folder };
        test.lead_again().await;
        stories(&test).await;
        let id = opened(&test.leader()).await;
        let refused = incident::recovery(&test.store, &test.keyring, id, &request(true), at(DAY_MILLIS)).await;
        assert!(matches!(refused, Err(IncidentError::Hashed)), "{refused:?}");
        assert_eq!(test.store.entries_of_kind(EntryKind::Action, at(2 * DAY_MILLIS), 10).await.expect("read"), []);
    }

    async fn the_command_reads_writes_and_overwrites_nothing(test: TestStore) {
        stories(&test).await;
        let id = opened(&test.leader()).await.to_string();
        let TestStore { store, keyring, options, folder } = test;
        let key_file = folder.path().join("relaywatch.key");
        keyring.write(&key_file, true).expect("the key file");
        store.close().await;
        drop(store);
        let place = (options, key_file);

        let (listed, _) = command(&place, &["list", "--state", "open", "--format", "json"]).await.expect("listed");
        let line: serde_json::Value = serde_json::from_str(listed.trim()).expect("one line");
        assert_eq!((&line["state"], &line["refused"]), (&serde_json::json!("open"), &serde_json::json!(10)));
        assert_eq!(command(&place, &["list", "--state", "closed"]).await.expect("listed").0, "no incidents\n");
        let (_, said) = command(&place, &["label", &id, "real"]).await.expect("labelled");
        assert_eq!(said, format!("incident {id} is labelled real\n"));
        assert!(command(&place, &["show", &id]).await.expect("shown").0.contains("Label:           real"));
        command(&place, &["accept-normal", &id]).await.expect("accepted");
        let (report, _) = command(&place, &["report", &id]).await.expect("reported");
        assert!(report.contains("| Baseline | accepted as normal by an operator |") && !report.contains('@'), "{report}");
        let error = command(&place, &["show", "999"]).await.expect_err("none such");
        assert!(error.starts_with("there is no incident 999"), "{error}");

        let (_, said) = command(&place, &["close", &id, "--operator", "Jo", "--reason", "over"]).await.expect("closed");
        assert_eq!(said, format!("incident {id} is closed; the hold on its addresses stays: their refusals in it do not count against them\n"));
        assert!(command(&place, &["show", &id]).await.expect("shown").0.contains("Closed by:       an operator"));
        let error = command(&place, &["close", &id, "--operator", "Jo", "--reason", "again"]).await.expect_err("over");
        assert!(error.contains("only an incident that is open or masked can be closed"), "{error}");
        assert!(command(&place, &["close", &id, "--operator", " ", "--reason", "x"]).await.is_err(), "somebody answers");

        let file = folder.path().join("win-back.csv");
        let name = file.display().to_string();
        let recovery = ["recovery", &id, "--operator", "Jo", "--reason", "win back", "--out", &name];
        let (out, said) = command(&place, &recovery).await.expect("made");
        assert_eq!(out, "", "no address on the terminal");
        assert!(said.starts_with("3 of 10 refused addresses are in "), "{said}");
        assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
        let made = std::fs::read_to_string(&file).expect("there");
        assert_eq!(made.lines().count(), 4, "{made}");
        let error = command(&place, &recovery).await.expect_err("it is there");
        assert!(error.contains("exists; name a new file"), "{error}");
        assert_eq!(std::fs::read_to_string(&file).expect("there"), made);
        let nameless = folder.path().join("nameless.csv");
        let without = ["recovery", &id, "--operator", " ", "--reason", "x", "--out", &nameless.display().to_string()];
        assert!(command(&place, &without).await.is_err());
        assert!(!nameless.exists(), "nothing is left of a list that was not made");
    }
}
