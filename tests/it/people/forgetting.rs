//! Nothing leads to a person who is forgotten.

use std::{collections::BTreeSet, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use relaywatch::{
    ingest::{
        Forward, KEPT_MILLIS, Report, SetAside, SetAsideReason,
        committer::committer,
        intake::{FeedName, Intake, Knowledge},
    },
    metrics::Metrics,
    model::{
        Address, DAY_MILLIS, DedupeMaterial, Event, EventKind, Exposure, FailureClass, Notice, NoticeKind, Provider,
        RelayDomains, Reply,
    },
    privacy::{Keyring, Purpose},
    store::{Access, NewAccount, NewEntry, Route, Store, StoreOptions, Whom},
};
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};
use tokio::sync::Notify;

use super::{TEAM, apple, id, row, word};
use crate::{
    on_both_engines,
    support::{Engine, TestStore, at, fresh_url, submission},
};

const LOCAL: &str = "qx7zhzkndneko";
const ADDRESS: &str = "qx7zhzkndneko@privaterelay.appleid.com";
const SUB: &str = "001234.feedbeef00112233.0456";

/// Every way in which the person could show in the store, as bytes.
fn needles() -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<u8>> = vec![LOCAL.into(), SUB.into()];
    for value in [ADDRESS, SUB, LOCAL] {
        for shift in 0..3_usize {
            let text = STANDARD.encode([vec![0; shift], value.as_bytes().to_vec()].concat());
            let sure = text.get((shift * 8).div_ceil(6)..(shift + value.len()) * 8 / 6).expect("ASCII");
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
        kept_millis: KEPT_MILLIS,
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
    let knowledge = Knowledge { rules, relay: RelayDomains::default(), retention: None };
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
        let mark = test.store.mark_of(known.id).await.expect("read");
        assert_eq!(mark, None, "what the domain tells needs no word of a notice");
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
        let waiting = test.leader().claim_outbox(&[Route::Forward], at(0), 60_000, 10).await.expect("claimed");
        assert_eq!(waiting.len(), 1);
        assert!(waiting[0].body.is_some(), "it is delivered");
        test.leader().outbox_sent(&waiting[0], at(0), None).await.expect("recorded");
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
