//! Personal data: private addresses on shared domains, forgetting with every copy, the clock of deleted accounts.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use relaywatch::{
    clock::{Clock, ManualClock},
    config::Config,
    daemon::{FORGET_AFTER_MILLIS, forget_due},
    ingest::{
        Forward, Report, SetAside, SetAsideReason,
        committer::committer,
        intake::{FeedName, Intake, Knowledge},
    },
    lifecycle::{Lifecycle, Signal, Signals, Supervisor},
    metrics::Metrics,
    model::{
        Address, DAY_MILLIS, DedupeMaterial, Destination, Event, EventKind, Exposure, FailureClass, Notice, NoticeKind,
        Provider, RelayDomains, Reply,
    },
    privacy::{Keyring, Purpose},
    store::{
        Access, EntryKind, LedgerRow, Mark, NewAccount, NewEntry, NewEvent, Recipient, RefusedAddress, Route, Store,
        StoreOptions, Submission, Whom,
    },
};
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    on_both_engines,
    support::{Engine, TestStore, at, fresh_store, fresh_url, stream, submission},
};

const TEAM: &str = "A1B2C3D4E5";

/// An address on a domain that holds ordinary mailboxes too.
fn alias(test: &TestStore, number: usize) -> Recipient {
    test.recipient(&format!("alias{number}@icloud.com"))
}

/// Mail to aliases 0 to 11: even ones accept it, odd ones refuse it; the same to relay addresses.
fn mail(test: &TestStore) -> Vec<NewEvent> {
    let mut events = Vec::new();
    for number in 0..12 {
        let millis = i64::try_from(number).expect("small") * 200_000;
        let event = if number % 2 == 0 { test.delivered(number, millis) } else { test.refused(number, millis) };
        events.push(event.clone());
        events.push(NewEvent {
            key: test.key(number + 40_000, millis),
            message: event.message + 1_000,
            destination: Destination::Shared,
            recipient: alias(test, number),
            ..event
        });
    }
    events
}

/// A word of a notice on alias `number`.
fn word(test: &TestStore, number: usize, millis: i64, private: bool) -> NewEntry {
    NewEntry {
        key: test.key(50_000 + number * 2 + usize::from(private), millis),
        kind: EntryKind::Notice,
        account: Some(test.subject(TEAM, &format!("alias{number}"))),
        address: Some(alias(test, number)),
        app: None,
        body: serde_json::json!({ "kind": NoticeKind::EmailEnabled, "private": private }),
    }
}

fn apple(entries: Vec<NewEntry>) -> Submission {
    Submission { feed: "apple".to_owned(), entries, ..Submission::default() }
}

/// A row of the map about alias `number`.
fn row(test: &TestStore, number: usize, millis: i64, private: bool) -> NewAccount {
    NewAccount {
        subject: test.subject(TEAM, &format!("alias{number}")),
        address: Some(alias(test, number)),
        app: None,
        signed_up_at: None,
        mark: Some(Mark { private, at: at(millis) }),
    }
}

async fn fold(test: &TestStore, count: usize) {
    test.journal(count, 1_000).await;
    let mut monitor = crate::support::monitor(test, Clock::System, "");
    monitor.catch_up(&CancellationToken::new()).await.expect("folded");
}

async fn id(test: &TestStore, who: &Recipient) -> i64 {
    test.store.address_by_hash(&who.hash).await.expect("read").expect("known").id
}

type Cells = Vec<(String, i64, Destination, relaywatch::store::Counts)>;

/// Cells, ledger and refused addresses, by names that are the same in every store.
async fn projections(test: &TestStore) -> (Cells, Vec<(String, LedgerRow)>, BTreeSet<String>) {
    let mut cells = Vec::new();
    for (key, counts) in test.store.cells_since(0).await.expect("cells") {
        if !counts.is_zero() {
            let name = test.store.words(&[key.stream]).await.expect("words").remove(0).1;
            cells.push((name, key.bin, key.destination, counts));
        }
    }
    cells.sort();
    let people = (0..12).flat_map(|number| [alias(test, number), test.relay(number)]);
    let (mut ledger, mut refused) = (Vec::new(), BTreeSet::new());
    let streams: Vec<i32> = test
        .store
        .refused_streams(at(0).bin(), at(DAY_MILLIS).bin())
        .await
        .expect("streams")
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    let rows: Vec<RefusedAddress> = test
        .store
        .refused_with_ledger(&streams, at(0).bin(), at(DAY_MILLIS).bin(), i64::MIN, 100)
        .await
        .expect("refused");
    for who in people {
        let id = id(test, &who).await;
        let name = who.address.expose().to_owned();
        if rows.iter().any(|row| row.address == id) {
            refused.insert(name.clone());
        }
        let row = test.store.ledger(id).await.expect("ledger").expect("a row");
        ledger.push((name, LedgerRow { address: 0, ..row }));
    }
    (cells, ledger, refused)
}

on_both_engines! {
    async fn what_is_called_private_moves_into_the_relay_mail_whatever_comes_first(test: TestStore) {
        let engine = if test.store.engine() == "sqlite" { Engine::Sqlite } else { Engine::Postgres };
        let mail_of = |store: &TestStore| vec![submission(mail(store))];
        // Mail first, then the map and the notices; folded in between and at the end.
        for part in mail_of(&test) {
            test.store.commit(&[part]).await.expect("commit");
        }
        fold(&test, 24).await;
        let (_, ledger, refused) = projections(&test).await;
        assert_eq!(refused.len(), 6, "only relay addresses count as refused");
        assert_eq!(ledger.iter().filter(|(_, row)| row.destination == Destination::Shared).count(), 12);
        test.store.import_accounts(&[0, 1, 2, 3].map(|n| row(&test, n, 1_000, true))).await.expect("import");
        test.store.commit(&[apple(vec![word(&test, 5, 1_000, true), word(&test, 7, 1_000, false)])]).await.expect("commit");
        fold(&test, 24).await;
        let reference = projections(&test).await;
        let now_relay: Vec<&str> = reference.1.iter().filter(|(name, row)| name.starts_with("alias") && row.destination == Destination::Relay).map(|(name, _)| name.as_str()).collect();
        assert_eq!(now_relay, [0, 1, 2, 3, 5].map(|n| format!("alias{n}@icloud.com")));
        assert_eq!(reference.2.len(), 9, "1, 3 and 5 are among the refused now: {:?}", reference.2);
        let told = test.store.events_of_address(id(&test, &alias(&test, 1)).await, 10).await.expect("events");
        assert_eq!(told[0].destination, Destination::Relay);
        let told = test.store.events_of_address(id(&test, &alias(&test, 7)).await, 10).await.expect("events");
        assert_eq!(told[0].destination, Destination::Shared);
        let sample = test.store.accepted_sample(&test.store.stream_ids(&[stream("news.example.com", None)]).await.expect("ids"), at(0).bin(), at(DAY_MILLIS).bin(), 100).await.expect("sample");
        assert_eq!(sample.len(), 8, "six relay addresses and two aliases accepted mail");

        // Made again from the journal.
        test.store.reset_projections().await.expect("reset");
        fold(&test, 24).await;
        assert_eq!(projections(&test).await, reference, "rebuilt");

        // The map and the notices first, then mail backwards, in pieces, everything twice.
        let other = fresh_store(engine).await.expect("a second store");
        other.store.commit(&[apple(vec![word(&other, 7, 1_000, false), word(&other, 5, 1_000, true)])]).await.expect("commit");
        other.store.import_accounts(&[3, 2].map(|n| row(&other, n, 1_000, true))).await.expect("import");
        let mut events = mail(&other);
        events.reverse();
        let mut done = 0;
        for chunk in events.chunks(5) {
            for _ in 0..2 {
                other.store.commit(&[submission(chunk.to_vec())]).await.expect("commit");
            }
            done += chunk.len();
            fold(&other, done).await;
            // In the middle of it.
            other.store.import_accounts(&[0, 1].map(|n| row(&other, n, 1_000, true))).await.expect("import");
        }
        fold(&other, 24).await;
        assert_eq!(projections(&other).await, reference, "another order");
    }

    async fn the_latest_word_on_an_address_stands_in_whatever_order_it_comes(test: TestStore) {
        test.store.commit(&[submission(mail(&test))]).await.expect("commit");
        fold(&test, 24).await;
        let before = projections(&test).await;
        // Alias 1: private, then not. Alias 3: the same two words the other way round in time, the late one first.
        for entry in [word(&test, 1, 1_000, true), word(&test, 3, 1_000, false), word(&test, 3, 2_000, true)] {
            test.store.commit(&[apple(vec![entry])]).await.expect("commit");
            fold(&test, 24).await;
        }
        assert_eq!(projections(&test).await.2.len(), 8);
        test.store.commit(&[apple(vec![word(&test, 1, 2_000, false)])]).await.expect("commit");
        test.store.import_accounts(&[row(&test, 3, 1_500, false)]).await.expect("import");
        fold(&test, 24).await;
        let (_, ledger, refused) = projections(&test).await;
        assert!(!refused.contains("alias1@icloud.com") && refused.contains("alias3@icloud.com"), "{refused:?}");
        let row_of = |name: &str| ledger.iter().find(|(known, _)| known == name).expect("a row").1.destination;
        assert_eq!((row_of("alias1@icloud.com"), row_of("alias3@icloud.com")), (Destination::Shared, Destination::Relay));
        test.store.import_accounts(&[row(&test, 3, 3_000, false)]).await.expect("import");
        fold(&test, 24).await;
        assert_eq!(projections(&test).await, before, "back as it was");
        // Two words at one time: the one that calls it private stands. A relay domain's addresses are what they are.
        test.store.import_accounts(&[row(&test, 5, 9_000, true)]).await.expect("import");
        test.store.import_accounts(&[row(&test, 5, 9_000, false)]).await.expect("import");
        let relay = NewAccount { address: Some(test.relay(1)), ..row(&test, 90, 1_000, true) };
        test.store.import_accounts(std::slice::from_ref(&relay)).await.expect("import");
        fold(&test, 24).await;
        test.store.import_accounts(&[NewAccount { mark: Some(Mark { private: false, at: at(2_000) }), ..relay }]).await.expect("import");
        fold(&test, 24).await;
        let (cells, ledger, refused) = projections(&test).await;
        assert_eq!(refused.len(), 7, "{refused:?}");
        assert_eq!(ledger.iter().filter(|(_, row)| row.destination == Destination::Relay).count(), 13);
        assert!(cells.iter().any(|(_, _, destination, _)| *destination == Destination::Shared));
    }

    async fn a_forgotten_private_address_stays_among_the_relay_mail(test: TestStore) {
        test.store.commit(&[submission(mail(&test))]).await.expect("commit");
        test.store.import_accounts(&[0, 1].map(|n| row(&test, n, 1_000, true))).await.expect("import");
        fold(&test, 24).await;
        let cells = projections(&test).await.0;
        assert!(test.store.forget_address(&alias(&test, 1).hash).await.expect("forgotten"));
        test.store.reset_projections().await.expect("reset");
        fold(&test, 24).await;
        let mut again = Vec::new();
        for (key, counts) in test.store.cells_since(0).await.expect("cells") {
            if !counts.is_zero() {
                again.push((test.store.words(&[key.stream]).await.expect("words").remove(0).1, key.bin, key.destination, counts));
            }
        }
        again.sort();
        assert_eq!(again, cells);
    }
}

const LOCAL: &str = "qx7zhzkndneko";
const ADDRESS: &str = "qx7zhzkndneko@privaterelay.appleid.com";
const SUB: &str = "001234.feedbeef00112233.0456";

/// Every way in which the person could show in the store, as bytes.
fn needles() -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<u8>> = vec![LOCAL.into(), SUB.into()];
    for value in [ADDRESS, SUB, LOCAL] {
        for shift in 0..3_usize {
            let text = STANDARD.encode([vec![0; shift], value.as_bytes().to_vec()].concat());
            let sure = &text[(shift * 8).div_ceil(6)..(shift + value.len()) * 8 / 6];
            out.push(sure.into());
            out.push(sure.replace('+', "-").replace('/', "_").into());
        }
    }
    let hex: Vec<Vec<u8>> = out.iter().map(|value| hex::encode(value).into_bytes()).collect();
    out.extend(hex);
    out
}

/// Which of the needles a text holds, whatever its case.
fn found_in(text: &[u8], needles: &[Vec<u8>]) -> Vec<String> {
    let low = text.to_ascii_lowercase();
    let holds = |hay: &[u8], needle: &[u8]| hay.windows(needle.len()).any(|part| part == needle);
    let shows = |needle: &&Vec<u8>| holds(text, needle) || holds(&low, &needle.to_ascii_lowercase());
    needles.iter().filter(shows).map(|needle| String::from_utf8_lossy(needle).into_owned()).collect()
}

/// Every value of every table, as text with bytes in hexadecimal; and every sealed value that the keys open.
async fn dump(test: &TestStore) -> Vec<(String, Vec<u8>)> {
    let mut out: Vec<(String, Vec<u8>)> = Vec::new();
    let sealed: Vec<(String, Vec<u8>, Option<Vec<u8>>)>;
    match &test.store {
        Store::Sqlite(store) => {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(store.file()).read_only(true);
            let mut raw = SqliteConnection::connect_with(&options).await.expect("the file");
            let tables: Vec<String> = sqlx::query_scalar("SELECT name FROM sqlite_master WHERE type = 'table'")
                .fetch_all(&mut raw)
                .await
                .expect("tables");
            for table in tables {
                let columns: Vec<String> =
                    sqlx::query_scalar(AssertSqlSafe(format!("SELECT name FROM pragma_table_info('{table}')")))
                        .fetch_all(&mut raw)
                        .await
                        .expect("columns");
                let list =
                    columns.iter().map(|column| format!("quote(\"{column}\")")).collect::<Vec<_>>().join(" || ',' || ");
                let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!("SELECT {list} FROM \"{table}\"")))
                    .fetch_all(&mut raw)
                    .await
                    .expect("rows");
                out.extend(rows.into_iter().map(|row| (table.clone(), row.into_bytes())));
            }
            sealed =
                sqlx::query_as(sealed_values("CAST(key AS BLOB)")).fetch_all(&mut raw).await.expect("sealed values");
            // The files as they lie on the disk.
            for ending in ["", "-wal"] {
                let path = format!("{}{ending}", store.file().display());
                out.push((path.clone(), std::fs::read(&path).unwrap_or_default()));
            }
        }
        Store::Postgres(store) => {
            let tables: Vec<String> = sqlx::query_scalar(
                "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'",
            )
            .fetch_all(store.pool())
            .await
            .expect("tables");
            for table in tables {
                let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!("SELECT t::text FROM \"{table}\" t")))
                    .fetch_all(store.pool())
                    .await
                    .expect("rows");
                out.extend(rows.into_iter().map(|row| (table.clone(), row.into_bytes())));
            }
            sealed = sqlx::query_as(sealed_values("convert_to(key, 'UTF8')"))
                .fetch_all(store.pool())
                .await
                .expect("sealed values");
        }
    }
    for (purpose, owner, value) in
        sealed.into_iter().filter_map(|(purpose, owner, value)| Some((purpose, owner, value?)))
    {
        let purpose = match purpose.as_str() {
            "address" => Purpose::Address,
            "subject" => Purpose::Subject,
            "sample" => Purpose::Sample,
            "outbox" => Purpose::Outbox,
            _ => Purpose::Body,
        };
        out.push(("sealed, opened".to_owned(), test.keyring.open(purpose, &owner, &value).expect("it opens")));
    }
    out
}

/// Purpose, owner and value of everything that is sealed; `key` makes bytes of the outbox's key.
fn sealed_values(key: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!(
        "SELECT 'address', hash, sealed FROM address UNION ALL SELECT 'subject', hash, sealed FROM account \
         UNION ALL SELECT 'sample', w.digest, s.sample FROM template_sample s JOIN word w ON w.id = s.template \
         UNION ALL SELECT 'body', hash, sealed FROM set_aside UNION ALL SELECT 'outbox', {key}, sealed FROM outbox"
    ))
}

fn event(number: usize, kind: EventKind, reply: Option<&str>) -> Event {
    Event {
        provider: Provider::Mailgun,
        kind,
        at: at(i64::try_from(number).expect("small") * 1_000),
        sent_at: None,
        dedupe: DedupeMaterial::new(Provider::Mailgun, &[ADDRESS, &number.to_string()]),
        message_id: Some(format!("<{LOCAL}=privaterelay.appleid.com.{number}@mail.example.com>")),
        recipient: Address::parse(ADDRESS).expect("an address"),
        from_domain: Some("news.example.com".to_owned()),
        envelope_sender: Address::parse(&format!("b+{LOCAL}=privaterelay.appleid.com@{LOCAL}.bounce.example.com")).ok(),
        envelope_domain: None,
        campaign: None,
        reply: reply.map(Reply::parse),
        remote_mta: Some(format!("{LOCAL}.mx.example.com")),
        provider_verdict: None,
        provider_class: FailureClass::Permanent,
    }
}

/// A delivery that names the person in every field that can hold a text.
fn everything() -> Report {
    let base64 = STANDARD.encode(ADDRESS);
    let replies = [
        format!("550 5.1.1 <{ADDRESS}>: user not found"),
        format!("550 5.1.1 <b+{LOCAL}=privaterelay.appleid.com@bounce.example.com>: unauthorized sender"),
        format!("550 5.1.1 user {LOCAL} unknown in virtual table"),
        format!("550 5.7.1 see https://example.com/why?rcpt={LOCAL}%40privaterelay.appleid.com&x=1"),
        format!("550 5.7.1 rfc822;{} refused", ADDRESS.to_uppercase()),
        format!("550 5.7.1 token {base64} refused"),
        format!("550 5.1.1 ORCPT=rfc822;{LOCAL}+40privaterelay.appleid.com not accepted"),
    ];
    let campaigns = [
        format!("hello {ADDRESS}"),
        format!("winback-{LOCAL}"),
        format!("w.{LOCAL}=privaterelay.appleid.com"),
        format!("t {base64}"),
        format!("t {LOCAL}%40privaterelay.appleid.com"),
    ];
    let mut events: Vec<Event> = Vec::new();
    for (number, reply) in replies.iter().enumerate() {
        events.push(event(number, EventKind::Refused, Some(reply)));
        events.push(event(number + 20, EventKind::Deferred, Some(&reply.replace("550", "450").replace(" 5.", " 4."))));
    }
    for (number, campaign) in campaigns.iter().enumerate() {
        events.push(Event { campaign: Some(campaign.clone()), ..event(number + 40, EventKind::Delivered, None) });
        events.push(Event {
            provider_verdict: Some(campaign.clone()),
            ..event(number + 60, EventKind::Refused, Some("550 no"))
        });
    }
    // The same to a mailbox of the control group, which is only counted.
    let elsewhere = Address::parse(&format!("{LOCAL}@mail.example.net")).expect("an address");
    events.push(Event {
        recipient: elsewhere,
        campaign: Some(format!("winback-{LOCAL}")),
        ..event(80, EventKind::Delivered, None)
    });
    let notice = |kind, number: i64| Notice {
        kind,
        audience: "com.example.app".to_owned(),
        team: TEAM.to_owned(),
        subject: SUB.to_owned(),
        email: matches!(kind, NoticeKind::EmailEnabled).then(|| Address::parse(ADDRESS).expect("an address")),
        is_private_email: matches!(kind, NoticeKind::EmailEnabled).then_some(true),
        at: at(number),
        issued_at: at(number),
        jwt_id: format!("{LOCAL}-{number}"),
    };
    let jwt = format!(
        "{}.{}.x",
        STANDARD.encode("{\"alg\":\"RS256\"}"),
        STANDARD.encode(format!("{{\"sub\":\"{SUB}\",\"email\":\"{ADDRESS}\"}}"))
    );
    let aside = |body: String| SetAside {
        provider: Provider::Mailgun,
        reason: SetAsideReason::UnknownType,
        label: "rumoured".to_owned(),
        at: None,
        body: body.into_bytes(),
    };
    Report {
        events,
        notices: vec![notice(NoticeKind::EmailEnabled, 100), notice(NoticeKind::ConsentRevoked, 200)],
        set_aside: vec![
            aside(format!("{{\"type\":\"rumoured\",\"to\":\"{ADDRESS}\"}}")),
            aside(format!("{{\"type\":\"rumoured\",\"path\":\"b+{LOCAL}=privaterelay.appleid.com@x.example\"}}")),
            aside(format!("{{\"type\":\"rumoured\",\"payload\":\"{jwt}\"}}")),
            aside(format!("{{\"type\":\"rumoured\",\"sub\":\"{SUB}\"}}")),
            aside("{\"type\":\"rumoured\",\"to\":\"somebody@else.example\"}".to_owned()),
        ],
        forward: Some(Forward(jwt.into_bytes().into())),
        ..Report::default()
    }
}

/// The store of `test` with `report` in it, as the feed `mailgun` takes it in.
async fn take(test: &TestStore, report: &Report) {
    let metrics = Metrics::new().expect("metrics");
    let (committer, _writers) = committer(&test.store, &metrics, &Arc::new(Notify::new()), 1);
    let intake = Intake::new(Arc::clone(&test.keyring), committer, metrics);
    let feed = FeedName { name: "mailgun".to_owned(), exposure: Exposure::Outcomes };
    let rules = Arc::new(relaywatch::classify::Rules::built_in().expect("rules"));
    let knowledge = Knowledge { rules, relay: RelayDomains::default() };
    let submission = intake.prepare(&feed, report, &knowledge, at(0));
    test.store.commit(&[submission]).await.expect("commit");
}

/// The tables in which the person still shows, with what shows.
async fn traces(test: &TestStore, needles: &[Vec<u8>]) -> Vec<(String, Vec<String>)> {
    let all = dump(test).await;
    let shown = all.into_iter().map(|(place, text)| (place, found_in(&text, needles)));
    shown.filter(|(_, shown)| !shown.is_empty()).collect()
}

on_both_engines! {
    async fn nothing_leads_to_a_forgotten_person(test: TestStore) {
        take(&test, &everything()).await;
        let mut needles = needles();
        let open: BTreeSet<String> = traces(&test, &needles).await.into_iter().map(|(place, _)| place).collect();
        assert_eq!(open, BTreeSet::from(["sealed, opened".to_owned()]), "in the clear nothing ever shows");
        let (rows, words) = (test.rows("event").await, test.rows("word").await);

        // By the hashes, too, nobody can ask whether it's the one.
        let address = Address::parse(ADDRESS).expect("an address");
        let hash = test.keyring.hash(Purpose::Address, &[address.key().as_bytes()]);
        let subject = test.subject(TEAM, SUB).hash;
        let known = test.store.address_by_hash(&hash).await.expect("read").expect("known");
        for bytes in [hash.to_vec(), subject.to_vec(), known.sealed.clone().expect("sealed")] {
            needles.push(hex::encode(&bytes).into_bytes());
            needles.push(bytes);
        }
        let erased = test.store.forget(&[Whom::Address { hash, address: Some(address.clone()) }]).await.expect("forgotten");
        assert_eq!((erased.addresses, erased.accounts), (1, 1));
        assert!(erased.copies >= 8, "samples and four parts set aside: {erased:?}");
        assert_eq!(test.rows("set_aside").await, 1, "somebody else's stays");
        assert_eq!((test.rows("event").await, test.rows("word").await), (rows, words), "counts stay");

        // What still waits is the notice that the company's own endpoint has yet to get.
        let left: Vec<String> = traces(&test, &needles).await.into_iter().map(|(place, _)| place).collect();
        assert_eq!(left, ["sealed, opened"]);
        let waiting = test.store.claim_outbox(&[Route::Forward], at(0), 60_000, 10).await.expect("claimed");
        assert_eq!(waiting.len(), 1);
        assert!(waiting[0].body.is_some(), "it is delivered");
        test.store.outbox_sent(&waiting[0], at(0), None).await.expect("recorded");
        test.store.forget(&[Whom::Address { hash, address: Some(address) }]).await.expect("nothing more");
        let left = traces(&test, &needles).await;
        // PostgreSQL's dead rows are not in any table; SQLite's pages are searched too.
        assert_eq!(left, [], "nothing is left");
    }

    async fn tombstones_keep_what_notices_explain(test: TestStore) {
        test.store.commit(&[submission((0..4).map(|n| test.refused(n, 5_000)).collect())]).await.expect("commit");
        let accounts = [0, 1, 2].map(|n| NewAccount { address: Some(test.relay(n)), mark: None, ..row(&test, n, 0, true) });
        test.store.import_accounts(&accounts).await.expect("import");
        let revoked = |n: usize| NewEntry {
            address: None,
            body: serde_json::json!({ "kind": NoticeKind::ConsentRevoked }),
            ..word(&test, n, 1_000, true)
        };
        test.store.commit(&[apple(vec![revoked(0), revoked(1)])]).await.expect("commit");
        let mut ids = Vec::new();
        for number in 0..4 {
            ids.push(id(&test, &test.relay(number)).await);
        }
        let known = || async {
            let mapped = test.store.mapped_addresses(&ids).await.expect("mapped");
            (mapped, test.store.notices_of(&ids, at(0), at(DAY_MILLIS)).await.expect("notices"))
        };
        let before = known().await;
        assert_eq!((before.0.len(), before.1.len()), (3, 2));
        for number in [0, 2, 3] {
            assert!(test.store.forget_address(&test.relay(number).hash).await.expect("forgotten"));
        }
        assert_eq!(known().await, before, "an incident's explanation stays what it was");
    }
}

/// Where only hashes are kept nobody can tell the address, and what names it is found all the same.
async fn hashed(engine: Engine) {
    let Some((url, folder)) = fresh_url(engine).await else { return };
    let keyring = Arc::new(Keyring::generate().expect("keys"));
    let options = StoreOptions { sealed: false, ..StoreOptions::new(url, Access::Write) };
    let store = Store::open(&options, Arc::clone(&keyring)).await.expect("the store opens");
    let test = TestStore { store, keyring, options, folder };
    take(&test, &everything()).await;
    let opened: Vec<String> =
        dump(&test).await.into_iter().map(|(place, _)| place).filter(|place| place == "sealed, opened").collect();
    assert_eq!(opened.len(), 6, "five parts that were set aside and a notice that waits; no address, no sample");
    let hash = test.keyring.hash(Purpose::Address, &[ADDRESS.as_bytes()]);
    assert_eq!(test.store.open_addresses(&[id(&test, &test.recipient(ADDRESS)).await]).await.expect("read")[0].1, None);
    assert!(test.store.forget_address(&hash).await.expect("forgotten"));
    assert_eq!(test.rows("set_aside").await, 1, "only somebody else's is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_hashes_only_copies_are_found_all_the_same() {
    hashed(Engine::Sqlite).await;
    hashed(Engine::Postgres).await;
}

/// A notice about the account of number `number`.
fn told(test: &TestStore, number: usize, millis: i64, kind: NoticeKind) -> NewEntry {
    let named = matches!(kind, NoticeKind::EmailEnabled | NoticeKind::EmailDisabled);
    NewEntry {
        key: test.key(60_000 + number * 10 + usize::try_from(kind.code()).expect("small"), millis),
        kind: EntryKind::Notice,
        account: Some(test.subject(TEAM, &format!("sub{number}"))),
        address: named.then(|| test.relay(number)),
        app: Some("com.example.app".to_owned()),
        body: serde_json::json!({ "kind": kind }),
    }
}

fn mapped(test: &TestStore, number: usize, signed_up: Option<i64>) -> NewAccount {
    NewAccount {
        subject: test.subject(TEAM, &format!("sub{number}")),
        address: Some(test.relay(number)),
        app: None,
        signed_up_at: signed_up.map(at),
        mark: None,
    }
}

async fn is_known(test: &TestStore, number: usize) -> (bool, bool) {
    let address = test.store.address_by_hash(&test.relay(number).hash).await.expect("read");
    let account = test.store.account_by_hash(&test.subject(TEAM, &format!("sub{number}")).hash).await.expect("read");
    (address.is_some(), account.is_some())
}

on_both_engines! {
    async fn a_deleted_account_is_forgotten_after_thirty_days(test: TestStore) {
        const DELETED: i64 = 5 * DAY_MILLIS;
        let due = at(DELETED + FORGET_AFTER_MILLIS);
        test.store.import_accounts(&(0..7).map(|n| mapped(&test, n, Some(0))).collect::<Vec<_>>()).await.expect("import");
        test.store.commit(&[submission((0..7).map(|n| test.refused(n, 0)).collect())]).await.expect("mail");
        // 0: deleted. 1: an earlier sign of life comes late. 2: a later sign of life came before. 3: a later sign-up.
        // 4: another account has the same address. 5: only revoked. 6: twice, the later one first.
        for entry in [
            told(&test, 2, DELETED + 1, NoticeKind::EmailEnabled),
            told(&test, 6, DELETED + DAY_MILLIS, NoticeKind::AccountDeleted),
            told(&test, 6, DELETED, NoticeKind::AccountDeleted),
            told(&test, 0, DELETED, NoticeKind::AccountDeleted),
            told(&test, 0, DELETED, NoticeKind::AccountDeleted),
            told(&test, 1, DELETED, NoticeKind::AccountDeleted),
            told(&test, 1, DELETED - 1, NoticeKind::EmailEnabled),
            told(&test, 2, DELETED, NoticeKind::AccountDeleted),
            told(&test, 3, DELETED, NoticeKind::AccountDeleted),
            told(&test, 4, DELETED, NoticeKind::AccountDeleted),
            told(&test, 5, DELETED, NoticeKind::ConsentRevoked),
        ] {
            test.store.commit(&[apple(vec![entry])]).await.expect("commit");
        }
        let other = NewAccount { subject: test.subject("B1B2C3D4E5", "other"), ..mapped(&test, 4, None) };
        test.store.import_accounts(&[mapped(&test, 3, Some(DELETED + 1)), other]).await.expect("import");
        let account = test.store.accounts_of_address(id(&test, &test.relay(0)).await).await.expect("accounts").remove(0);
        assert_eq!(account.deleted_at, Some(at(DELETED)), "address show tells it");
        let alive = test.store.accounts_of_address(id(&test, &test.relay(2)).await).await.expect("accounts").remove(0);
        assert_eq!(alive.deleted_at, None);

        let entries = test.rows("entry").await;
        assert_eq!(forget_due(&test.store, &test.keyring, due.plus_millis(-1)).await.expect("nothing"), 0);
        assert_eq!(test.rows("entry").await, entries);
        assert_eq!(forget_due(&test.store, &test.keyring, due).await.expect("forgotten"), 3);
        let mut known = Vec::new();
        for number in 0..7 {
            known.push(is_known(&test, number).await);
        }
        let (gone, there) = ((false, false), (true, true));
        assert_eq!(known, [gone, gone, there, there, (true, false), there, there]);
        assert_eq!(forget_due(&test.store, &test.keyring, due).await.expect("nothing"), 0, "once");
        assert_eq!(test.rows("entry").await, entries + 3, "each is in the journal");
        let actions = test.store.entries_of_kind(EntryKind::Action, due.plus_millis(DAY_MILLIS), 10).await.expect("actions");
        assert!(actions.iter().all(|action| action.body["reason"] == "account-deleted notice"), "{actions:?}");
        assert_eq!(forget_due(&test.store, &test.keyring, due.plus_millis(DAY_MILLIS)).await.expect("forgotten"), 1, "6");

        // A late repetition of the notice makes the account known again, and its time has come already.
        test.store.commit(&[apple(vec![told(&test, 0, DELETED, NoticeKind::AccountDeleted)])]).await.expect("again");
        assert_eq!(forget_due(&test.store, &test.keyring, due).await.expect("forgotten"), 1);
        assert_eq!(is_known(&test, 0).await, gone);
    }

    async fn the_daemon_forgets_by_its_own_clock_also_after_a_restart(test: TestStore) {
        test.store.import_accounts(&[mapped(&test, 1, None), mapped(&test, 2, None)]).await.expect("import");
        let deleted = vec![told(&test, 1, 0, NoticeKind::AccountDeleted), told(&test, 2, DAY_MILLIS, NoticeKind::AccountDeleted)];
        test.store.commit(&[apple(deleted)]).await.expect("commit");
        // The daemon takes the keys that the store was made with; SQLite has one writer.
        let key_file = test.folder.path().join("relaywatch.key");
        let fingerprint = test.keyring.fingerprint();
        test.keyring.write(&key_file, true).expect("the keys");
        assert_eq!(Keyring::load(&key_file).expect("keys").fingerprint(), fingerprint);
        let text = format!(
            "[listen]\npublic = \"127.0.0.1:0\"\nprivate = \"127.0.0.1:0\"\n[store]\nurl = \"{}\"\n[privacy]\nkey_file = \"{}\"\n",
            test.options.url, key_file.display()
        );
        let hashes = [1, 2].map(|number| test.relay(number).hash);
        let TestStore { store, options, keyring, folder } = test;
        store.close().await;
        drop(store);
        let state = folder.path().display().to_string();
        let forgotten = |number: usize, clock: ManualClock| {
            let environment = std::collections::HashMap::from([("STATE_DIRECTORY".to_owned(), state.clone())]);
            let config = Config::from_text(None, text.clone(), environment).expect("a configuration");
            let hash = hashes[number];
            async move {
                let (signals, receive) = mpsc::channel(8);
                let mut lifecycle = Lifecycle::new(Signals::from_channel(receive), Supervisor::none(), Duration::from_secs(5));
                let daemon = relaywatch::daemon::start(config, Clock::Manual(clock.clone()), &mut lifecycle, None).await.expect("it starts");
                let running = tokio::spawn(async move { lifecycle.run("test").await });
                let gone = async {
                    while daemon.store.address_by_hash(&hash).await.expect("read").is_some() {
                        clock.advance(Duration::from_secs(1));
                        tokio::task::yield_now().await;
                    }
                };
                tokio::time::timeout(Duration::from_secs(30), gone).await.expect("forgotten in time");
                let left = daemon.store.due_accounts(at(1_000 * DAY_MILLIS), 10).await.expect("due").len();
                signals.send(Signal::Terminate).await.expect("it listens");
                running.await.expect("it ends").expect("it ends well");
                daemon.store.close().await;
                left
            }
        };
        // A minute before its time.
        let clock = ManualClock::new(at(FORGET_AFTER_MILLIS - 60_000));
        assert_eq!(forgotten(0, clock.clone()).await, 1, "the other one's time has not come");
        assert!(clock.now() >= at(FORGET_AFTER_MILLIS), "not before its time");
        // The next process, a day later.
        assert_eq!(forgotten(1, ManualClock::new(at(FORGET_AFTER_MILLIS + 2 * DAY_MILLIS))).await, 0);
        let read = Store::open(&StoreOptions { access: Access::Read, ..options }, Arc::clone(&keyring)).await.expect("opens");
        assert_eq!(read.entries_of_kind(EntryKind::Action, at(100 * DAY_MILLIS), 10).await.expect("actions").len(), 2);
    }

    async fn writers_and_erasures_at_once_leave_no_row_that_leads_nowhere(test: TestStore) {
        // Several processes on PostgreSQL; on SQLite the one that there is.
        let mut stores = vec![test.store.clone()];
        if test.store.engine() == "postgres" {
            stores.push(test.again(Access::Write).await);
            stores.push(test.again(Access::Write).await);
        }
        let (test, stores) = (Arc::new(test), Arc::new(stores));
        let mut tasks = tokio::task::JoinSet::new();
        for writer in 0..4_usize {
            let (test, stores) = (Arc::clone(&test), Arc::clone(&stores));
            tasks.spawn(async move {
                for round in 0..60_usize {
                    let store = &stores[(writer + round) % stores.len()];
                    let number = round % 3;
                    let millis = i64::try_from(writer * 1_000 + round).expect("small");
                    if writer == 3 {
                        store.forget_address(&test.relay(number).hash).await.expect("forgotten");
                        continue;
                    }
                    let entry = NewEntry { key: test.key(70_000 + writer * 1_000 + round, millis), ..told(&test, number, 0, NoticeKind::EmailEnabled) };
                    let event = NewEvent { recipient: test.relay(number), ..test.delivered(writer * 1_000 + round, millis) };
                    let both = Submission { entries: vec![entry], ..submission(vec![event]) };
                    store.commit(&[both]).await.expect("commit");
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.expect("a task");
        }
        assert_eq!(test.rows("event").await, 180, "no mail is lost");
        // Every account's address is known: none was taught to somebody who is forgotten.
        let mut alive = 0;
        for number in 0..3 {
            if let Some(account) = test.store.account_by_hash(&test.subject(TEAM, &format!("sub{number}")).hash).await.expect("read") {
                let address = account.address.expect("an address");
                assert!(test.store.address_by_id(address).await.expect("read").is_some(), "an account leads to nobody");
                alive += 1;
            }
        }
        // And whatever is written from now on is written to somebody who is known.
        for store in stores.iter() {
            for number in 0..3 {
                let next = usize::try_from(test.rows("event").await).expect("small");
                let event = NewEvent { recipient: test.relay(number), ..test.delivered(100_000 + next, 500_000) };
                store.commit(&[submission(vec![event])]).await.expect("commit");
                let known = id(&test, &test.relay(number)).await;
                assert!(!test.store.events_of_address(known, 1).await.expect("events").is_empty());
                let latest = test.store.events_of_address(known, 1_000).await.expect("events");
                assert!(latest.iter().any(|event| event.key.at == at(500_000)), "the mail is under the known id ({alive} accounts)");
            }
        }
    }
}
