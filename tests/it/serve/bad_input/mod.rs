//! What strangers, attackers and broken senders post: a clear answer, a metric, nothing stored, no crash, nothing leaked.

mod cases;

use std::{
    cell::Cell,
    collections::BTreeSet,
    fmt::Write as _,
    io::{Read, Write},
};

use relaywatch::{
    ingest::http::{apple, customerio as customerio_feed, generic as generic_feed, mailgun as mailgun_feed},
    model::Timestamp,
    store::Store,
};
use serde_json::{Value, json};

use self::cases::{
    Bad, WEBHOOKS, apple_feeds, bearer, braze_body, by_secret, by_signature, claims, mailgun, mailgun_event, postmark,
    postmark_body, postmark_token, sendgrid, sendgrid_body, ses, ses_ways, sparkpost_and_braze, with,
};
use crate::support::{
    Engine,
    daemon::{
        AZURE_TOKEN, BACKEND_TOKEN, BRAZE_TOKEN, CUSTOMERIO_KEY, Client, Daemon, ELASTICEMAIL_TOKEN, EVENTBRIDGE_KEY,
        FIREHOSE_KEY, GENERIC_KEY, Home, ITERABLE_TOKEN, KLAVIYO_KEY, MAILGUN_KEY, POSTMARK_TOKEN, SOCKETLABS_KEY,
        SOCKETLABS_VALIDATION, SPARKPOST_TOKEN, head, now,
    },
    journal_rows, payload,
    webhooks::{self, Headers},
};

/// Stands in every payload and must come out nowhere.
const CANARY: &str = "canary7f3a";
/// The cap in this test's configuration.
const CAP: usize = 65_536;

fn every_case(home: &Home) -> Vec<Bad> {
    [
        ses(home),
        sparkpost_and_braze(),
        mailgun(),
        sendgrid(home),
        postmark(),
        by_signature::generic(),
        by_signature::customerio(),
        by_signature::klaviyo(),
        by_signature::scaleway(home),
        by_secret::iterable(),
        by_secret::socketlabs(),
        by_secret::elasticemail(),
        by_secret::azure(),
        ses_ways::eventbridge(),
        ses_ways::firehose(),
        apple_feeds(home),
    ]
    .into_iter()
    .flatten()
    .chain(WEBHOOKS.iter().flat_map(|webhook| (webhook.refused)()))
    .collect()
}

/// What a feed takes: its headers over its body.
struct Post {
    feed: &'static str,
    headers: Headers,
    body: String,
}

/// An event of each feed about the canary, signed now, with this time in it. `spell` may write the event's text anew before it is
/// signed.
fn posts(home: &Home, now: Timestamp, time: &Value, spell: impl Fn(&'static str, String) -> String) -> Vec<Post> {
    let good = format!("\"{}\"", payload::rfc3339(now.as_millis()));
    let mut all = Vec::new();
    let mut add = |feed: &'static str, text: String, sign: &dyn Fn(&str) -> (Headers, String)| {
        let (headers, body) = sign(&spell(feed, text));
        all.push(Post { feed, headers, body });
    };
    let under = |headers: Headers| move |text: &str| (headers.clone(), text.to_owned());
    let ses = |number| payload::ses(number, now.as_millis(), true).replace(&good, &time.to_string());
    add("ses", ses(1), &|text| (Headers::new(), home.notification(text)));
    let seconds = format!("\"{}\"", now.as_seconds());
    let element = payload::sparkpost(1, now.as_millis(), true).replace(&seconds, &time.to_string());
    add("sparkpost", payload::sparkpost_batch([element]), &under(bearer(SPARKPOST_TOKEN)));
    add("braze", braze_body(time), &under(bearer(BRAZE_TOKEN)));
    add("mailgun", mailgun_event(time), &|text| {
        let body = mailgun_feed::signing::body(MAILGUN_KEY, now, &format!("token-{time}-{}", text.len()), text);
        (Headers::new(), String::from_utf8(body.to_vec()).expect("text"))
    });
    add("sendgrid", sendgrid_body(time), &|text| (home.sendgrid_headers(now, text.as_bytes()), text.to_owned()));
    add("postmark", postmark_body(time), &under(postmark_token(POSTMARK_TOKEN)));
    for webhook in &WEBHOOKS {
        add(webhook.feed, (webhook.event)(webhook.delivered, time).to_string(), &|text| {
            let body = webhooks::body(webhook.feed, text);
            (webhooks::headers(webhook.feed, body.as_bytes()), body)
        });
    }
    add("generic", by_signature::generic_body(time), &|text| {
        (generic_feed::signing::headers(GENERIC_KEY, now, text.as_bytes()), text.to_owned())
    });
    add("customerio", by_signature::customerio_body(time), &|text| {
        (customerio_feed::signing::headers(CUSTOMERIO_KEY, now, text.as_bytes()), text.to_owned())
    });
    add("klaviyo", by_signature::klaviyo_body(time), &|text| {
        (by_signature::klaviyo_headers(KLAVIYO_KEY, now, text.as_bytes()), text.to_owned())
    });
    add("scaleway", by_signature::scaleway_body(time), &|text| {
        (Headers::new(), by_signature::scaleway_envelope(home, text))
    });
    add("iterable", by_secret::iterable_body(time), &under(by_secret::token(ITERABLE_TOKEN)));
    add("socketlabs", by_secret::socketlabs_body(&json!(SOCKETLABS_KEY), time), &under(Headers::new()));
    add("elasticemail", by_secret::elasticemail_body(time), &under(by_secret::token(ELASTICEMAIL_TOKEN)));
    add("azure", by_secret::azure_body(time), &under(by_secret::token(AZURE_TOKEN)));
    add("ses-eventbridge", ses(2), &|text| (by_secret::token(EVENTBRIDGE_KEY), ses_ways::eventbridge_body(text)));
    add("ses-firehose", ses(3), &|text| (ses_ways::firehose_key(FIREHOSE_KEY), ses_ways::firehose_body(&[text])));
    let event = json!({ "type": "consent-revoked", "sub": CANARY, "event_time": time });
    add("apple/direct", event.to_string(), &|text| {
        let jwt = home.apple.jwt(&with(claims(now), "events", text.into())).expect("signed");
        (Headers::new(), String::from_utf8(apple::signing::body(&jwt).to_vec()).expect("text"))
    });
    all
}

fn assert_clean(what: &str, text: &str) {
    let own = [
        CANARY,
        SPARKPOST_TOKEN,
        BRAZE_TOKEN,
        MAILGUN_KEY,
        POSTMARK_TOKEN,
        GENERIC_KEY,
        CUSTOMERIO_KEY,
        KLAVIYO_KEY,
        ITERABLE_TOKEN,
        SOCKETLABS_KEY,
        SOCKETLABS_VALIDATION,
        ELASTICEMAIL_TOKEN,
        AZURE_TOKEN,
        EVENTBRIDGE_KEY,
        FIREHOSE_KEY,
        BACKEND_TOKEN,
    ];
    for secret in own.into_iter().chain(webhooks::SECRETS) {
        assert!(!text.contains(secret), "{what}: {secret} comes out:\n{text}");
    }
}

async fn start() -> (Home, Daemon) {
    let home = Home::new(Engine::Sqlite).await.expect("SQLite is always there");
    home.configure(&format!("[limits]\nbody_bytes = {CAP}\n[log]\nlevel = \"debug\"\n{}", Home::feeds()));
    let daemon = home.start();
    (home, daemon)
}

/// The feeds that report outcomes.
const FEEDS: [&str; 16] = [
    "ses",
    "sparkpost",
    "braze",
    "mailgun",
    "sendgrid",
    "postmark",
    "generic",
    "customerio",
    "klaviyo",
    "scaleway",
    "iterable",
    "socketlabs",
    "elasticemail",
    "azure",
    "ses-eventbridge",
    "ses-firehose",
];

/// What is tried of a signature over a time and the body.
const SIGNED_TIME: &[&str] =
    &["no signature", "a foreign key", "another body", "another timestamp", "too old", "ahead of the clock"];

/// Which of the cases every feed is held to; the rest depends on how a feed authenticates.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_feed_goes_without_a_case() {
    let home = Home::new(Engine::Sqlite).await.expect("SQLite is always there");
    let all = every_case(&home);
    let has = |feed: &str, what: &str| all.iter().any(|bad| bad.feed() == feed && bad.what.contains(what));
    for feed in FEEDS.into_iter().chain(["apple/direct"]).chain(WEBHOOKS.iter().map(|webhook| webhook.feed)) {
        for what in ["no JSON", "cut off", "invalid UTF-8", "a compressed bomb", "more than the cap", "twice"] {
            assert!(has(feed, what), "{feed}: {what}");
        }
    }
    let by_authentication: &[(&str, &[&str])] = &[
        ("ses", &["no signature", "a wrong signature", "a foreign topic", "a foreign key", "the certificate address"]),
        ("sparkpost", &["no secret", "a wrong secret"]),
        ("braze", &["no secret", "a wrong secret"]),
        ("mailgun", &["no signature", "a foreign key", "another token", "too old", "year 1", "year 9999"]),
        (
            "sendgrid",
            &["no signature", "a foreign key", "another body", "another timestamp", "too old", "year 1", "year 9999"],
        ),
        ("generic", SIGNED_TIME),
        ("customerio", SIGNED_TIME),
        ("klaviyo", SIGNED_TIME),
        ("klaviyo", &["another webhook"]),
        (
            "scaleway",
            &["no signature", "a foreign topic", "a foreign key", "another message", "the certificate address"],
        ),
        ("iterable", &["no secret", "a wrong secret", "two secrets"]),
        ("socketlabs", &["no secret", "a wrong secret", "one secret for two"]),
        ("elasticemail", &["no secret", "a wrong secret", "two secrets"]),
        ("azure", &["no secret", "a wrong secret", "two secrets", "a handshake without the secret"]),
        ("ses-eventbridge", &["no secret", "a wrong secret", "the secret twice"]),
        ("ses-firehose", &["no secret", "a wrong secret", "two secrets", "another request"]),
        ("postmark", &["no secret", "a wrong secret", "the secret as a bearer token", "two secrets"]),
        ("apple/direct", &["expired", "a foreign key", "alg none", "key confusion", "another app", "another issuer"]),
        ("apple/backend", &["no secret", "a wrong secret", "a forged notice"]),
    ];
    let webhooks = WEBHOOKS.iter().map(|webhook| (webhook.feed, webhook.by_authentication));
    for (feed, cases) in by_authentication.iter().copied().chain(webhooks) {
        for what in cases {
            assert!(has(feed, what), "{feed}: {what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_refused_counted_and_forgotten() {
    let (home, daemon) = start().await;
    let store = home.store().await;
    let before = journal_rows(&store).await;
    for bad in every_case(&home) {
        let what = format!("{} to {}", bad.what, bad.path);
        let series = format!("relaywatch_feed_rejections_total{{feed=\"{}\",reason=\"{}\"}}", bad.feed(), bad.reason);
        let counted = daemon.metric(&series);
        let headers: Vec<_> = bad.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = daemon.post(bad.path, &headers, &bad.body);
        let text = answer.text();
        assert_eq!(answer.status, bad.status, "{what}: {text}");
        let is_firehose = bad.path == "/in/ses-firehose";
        let media = if is_firehose { "application/json" } else { "application/problem+json" };
        assert_eq!(answer.header("content-type"), Some(media), "{what}");
        // Only these are authenticated by a header.
        let by_header = ["/in/sparkpost", "/in/braze", "/in/apple/backend", "/in/mailjet"].contains(&bad.path);
        let challenged = by_header && ["bad-credentials", "unauthenticated"].contains(&bad.reason);
        assert_eq!(answer.header("www-authenticate").is_some(), challenged, "{what}: {text}");
        let problem: Value = serde_json::from_str(&text).expect("a problem");
        if is_firehose {
            assert!(problem["timestamp"].is_i64() && problem["requestId"].is_string(), "{what}: {text}");
            let message = problem["errorMessage"].as_str().expect("a message");
            assert!(message.starts_with(&format!("{}: ", bad.reason)) && message.len() > 30, "{what}: {text}");
        } else {
            assert_eq!(problem["reason"], bad.reason, "{what}: {text}");
            assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{what}: {text}");
        }
        assert_clean(&what, &text);
        assert_eq!(daemon.metric(&series), counted + 1, "{what} is counted");
    }
    assert_eq!(journal_rows(&store).await, before, "nothing is stored");
    assert_eq!(daemon.get("/readyz").status, 200);
    assert_clean("/metrics", &daemon.get("/metrics").text());
    assert_clean("stderr", &daemon.stop());
}

/// Authenticated, and yet not to be believed: acknowledged, kept sealed for a look, and no outcome.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absurd_times_and_huge_numbers_are_set_aside_or_survive() {
    let (home, daemon) = start().await;
    let (year_1, year_9999) = ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z");
    let now = now();
    let sent = Cell::new(0);
    let post = |path: &str, headers: &[(&'static str, String)], body: &[u8]| {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = daemon.post(path, &headers, body);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        sent.set(sent.get() + 1);
    };
    let good = format!("\"{}\"", payload::rfc3339(now.as_millis()));
    let huge = json!(9_007_199_254_740_993_u64);
    let beyond: Value = serde_json::from_str("1e300").expect("a number");
    let absurd = [
        json!(year_1),
        json!(year_9999),
        json!("9999-01-01T00:00:00Z"),
        json!(-62_135_596_800_i64),
        json!(253_402_300_799_i64),
        json!("253402300799"),
        json!("253402300799.5"),
        json!(-1),
        json!(0),
        json!("-0.5"),
        json!("1e300"),
        json!("NaN"),
        json!("-inf"),
        json!(true),
        huge,
        beyond,
    ];
    for time in &absurd {
        let checked = |feed, text: String| {
            assert!(!text.contains(&good), "{feed}: {time}");
            text
        };
        for Post { feed, headers, body } in posts(&home, now, time, checked) {
            post(&format!("/in/{feed}"), &headers, body.as_bytes());
        }
    }
    for feed in FEEDS.into_iter().chain(["apple/direct"]).chain(WEBHOOKS.iter().map(|webhook| webhook.feed)) {
        let of = |reason: &str| {
            daemon.metric(&format!("relaywatch_feed_set_aside_total{{feed=\"{feed}\",reason=\"{reason}\"}}"))
        };
        // A text that is no time at all may count as malformed; each is counted under one reason.
        assert_eq!(of("implausible-time") + of("malformed"), absurd.len() as u64, "{feed}");
        assert!(of("implausible-time") >= 12, "{feed}: {}", of("implausible-time"));
    }
    let store = home.store().await;
    let rows = |counts: &[(&'static str, i64)], table: &str| {
        counts.iter().find(|(name, _)| *name == table).expect("a counted table").1
    };
    let counts = store.row_counts().await.expect("counts");
    // The one entry holds the settings of the start.
    assert_eq!((rows(&counts, "event"), rows(&counts, "entry")), (0, 1), "no time of these is believed");
    assert_eq!(rows(&counts, "set_aside"), sent.get());

    // Numbers that a JSON reader with doubles would merge stay apart.
    for id in [9_007_199_254_740_992_u64, 9_007_199_254_740_993] {
        let element = payload::sparkpost(1, now.as_millis(), false);
        let batch = payload::sparkpost_batch([element.replace("\"92356000000000001\"", &id.to_string())]);
        assert!(batch.contains(&id.to_string()));
        post("/in/sparkpost", &bearer(SPARKPOST_TOKEN), batch.as_bytes());
    }
    assert_eq!(rows(&store.row_counts().await.expect("counts"), "event"), 2);
    assert_clean("/metrics", &daemon.get("/metrics").text());
    assert_clean("stderr", &daemon.stop());
}

/// The time of an event as each feed writes it.
fn good_time(feed: &str, now: Timestamp) -> Value {
    let in_seconds = [
        "sparkpost",
        "braze",
        "mailgun",
        "sendgrid",
        "mandrill",
        "mailjet",
        "brevo",
        "postal",
        "kumomta",
        "generic",
        "customerio",
        "mailtrap",
    ];
    match feed {
        "apple/direct" => json!(now.as_millis()),
        _ if in_seconds.contains(&feed) => json!(now.as_seconds()),
        _ => json!(payload::rfc3339(now.as_millis())),
    }
}

/// The event's text with a type that nobody knows.
fn of_no_known_type(feed: &str, text: &str, now: Timestamp) -> String {
    let (known, other) = match feed {
        "ses" | "ses-eventbridge" | "ses-firehose" => ("\"Bounce\"", "\"Novelty\""),
        "sparkpost" => ("\"type\":\"bounce\"", "\"type\":\"novelty\""),
        "braze" => ("email.Delivery", "email.Novelty"),
        "postmark" => ("\"Delivery\"", "\"Novelty\""),
        "klaviyo" => ("received_email", "novelty"),
        "scaleway" => ("email_delivered", "email_novelty"),
        "iterable" => ("emailSend", "emailNovelty"),
        "elasticemail" => ("\"Sent\"", "\"Novelty\""),
        "socketlabs" | "azure" => ("\"Delivered\"", "\"Novelty\""),
        "apple/direct" => ("consent-revoked", "novelty"),
        _ => match WEBHOOKS.iter().find(|webhook| webhook.feed == feed) {
            Some(webhook) => return (webhook.event)("novelty", &good_time(feed, now)).to_string(),
            None => ("\"delivered\"", "\"novelty\""),
        },
    };
    text.replace(known, other)
}

/// How many cases are refused for one of these reasons, and with which answers.
fn cell(all: &[Bad], feed: &str, reasons: &[&str]) -> String {
    let of: Vec<_> = all.iter().filter(|bad| bad.feed() == feed && reasons.contains(&bad.reason)).collect();
    let answers: BTreeSet<_> = of.iter().map(|bad| bad.status.to_string()).collect();
    if of.is_empty() {
        return "–".to_owned();
    }
    format!("{} ({})", answers.into_iter().collect::<Vec<_>>().join(", "), of.len())
}

/// Outcomes and notices in the journal.
async fn rows_of(store: &Store) -> i64 {
    let counts = store.row_counts().await.expect("counts");
    counts.iter().filter(|(table, _)| ["event", "entry"].contains(table)).map(|(_, count)| count).sum()
}

/// Feeds by cases, as docs/bad-input.md has them: what is good is posted here, what is refused is the list of the test before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_feed_meets_every_case() {
    let (home, daemon) = start().await;
    let store = home.store().await;
    let all = every_case(&home);
    let at = now();
    let deliver = |Post { feed, headers, body }: &Post| {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        daemon.post(&format!("/in/{feed}"), &headers, body.as_bytes()).status
    };
    let mut table = String::new();
    let feeds: Vec<_> = posts(&home, at, &json!(0), |_, text| text).into_iter().map(|post| post.feed).collect();
    for feed in feeds {
        let of = |spell: &dyn Fn(&'static str, String) -> String| {
            let made = posts(&home, at, &good_time(feed, at), spell).into_iter().find(|post| post.feed == feed);
            made.expect("one of each feed")
        };
        let aside = |reason: &str| {
            daemon.metric(&format!("relaywatch_feed_set_aside_total{{feed=\"{feed}\",reason=\"{reason}\"}}"))
        };
        let good = of(&|_, text| text);
        let before = rows_of(&store).await;
        let valid = deliver(&good);
        let stored = rows_of(&store).await;
        assert_eq!(stored, before + 1, "{feed}: a valid one is one row; {valid}");
        let duplicate = deliver(&good);
        assert_eq!(rows_of(&store).await, stored, "{feed}: the same again is none");
        let unknown = deliver(&of(&|feed, text| {
            let other = of_no_known_type(feed, &text, at);
            assert_ne!(other, text, "{feed}");
            other
        }));
        assert_eq!(aside("unknown-type"), 1, "{feed}: set aside; {unknown}");
        let tampered = ["bad-signature", "bad-credentials", "unauthenticated", "foreign", "token-reused"];
        let cells = [
            format!("{valid}, one row"),
            cell(&all, feed, &tampered),
            cell(&all, feed, &["stale"]),
            format!("{unknown}, set aside"),
            cell(&all, feed, &["malformed", "unsupported"]),
            format!("{duplicate}, no row"),
            cell(&all, feed, &["too-large"]),
        ];
        for column in [1, 4, 6] {
            assert_ne!(cells[column], "–", "{feed}: column {column}");
        }
        writeln!(table, "| {feed} | {} |", cells.join(" | ")).expect("a text");
    }
    daemon.stop();

    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/bad-input.md");
    let told = std::fs::read_to_string(path).expect("docs/bad-input.md");
    let head = "|---|---|---|---|---|---|---|---|\n";
    let (before, rest) = told.split_once(head).expect("the table's head");
    let (_, after) = rest.split_once("\n\n").expect("what follows the table");
    let fresh = format!("{before}{head}{table}\n{after}");
    if std::env::var_os("RELAYWATCH_BLESS").is_some() {
        std::fs::write(path, &fresh).expect("written");
    }
    let told = std::fs::read_to_string(path).expect("docs/bad-input.md");
    assert!(told == fresh, "docs/bad-input.md is out of date; run this test again with RELAYWATCH_BLESS=1:\n{table}");
}

/// What a provider asks when its webhook is made is answered, and nobody takes it for a sign of the feed's life.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn providers_that_ask_whether_anybody_is_here_are_answered() {
    let (_home, daemon) = start().await;
    let ask = |method: &str, path: &str| {
        Client::new(daemon.public).expect("connected").request(method, path, &[], b"").expect("an answer")
    };
    assert_eq!(ask("HEAD", "/in/mandrill").status, 200);
    assert_eq!(ask("GET", "/in/unisender").status, 200);
    assert_eq!(ask("GET", "/in/nowhere").status, 404);
    for (method, path) in
        [("GET", "/in/mandrill"), ("PUT", "/in/unisender"), ("GET", "/in/ses"), ("DELETE", "/in/brevo")]
    {
        let answer = ask(method, path);
        assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")), "{method} {path}");
    }
    let empty = daemon.post("/in/mandrill", &[], b"mandrill_events=%5B%5D");
    assert_eq!((empty.status, empty.body.as_slice()), (200, b"".as_slice()));
    let accepted = "relaywatch_feed_deliveries_total{answer=\"accepted\",feed=\"mandrill\"}";
    assert_eq!(daemon.metric(accepted), 0);
    let form = b"mandrill_events=%5B%5D";
    let signed = webhooks::headers("mandrill", form);
    let signed: Vec<_> = signed.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(daemon.post("/in/mandrill", &signed, form).status, 200);
    assert_eq!(daemon.metric(accepted), 1, "a signed one is a sign of life");
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_with_another_body_is_a_forgery_and_with_the_same_a_retry() {
    let (home, daemon) = start().await;
    let (at, event) = (now(), mailgun_event(&json!(now().as_seconds())));
    let good = mailgun_feed::signing::body(MAILGUN_KEY, at, "token-1", &event);
    assert_eq!(daemon.post("/in/mailgun", &[], &good).status, 200);
    assert_eq!(daemon.post("/in/mailgun", &[], &good).status, 200);
    let store = home.store().await;
    let before = journal_rows(&store).await;
    let forged = mailgun_feed::signing::body(MAILGUN_KEY, at, "token-1", &event.replace("m1", "m2"));
    let answer = daemon.post("/in/mailgun", &[], &forged);
    assert_eq!(answer.status, 406);
    assert!(answer.text().contains("token-reused"), "{}", answer.text());
    assert_clean("the answer", &answer.text());
    assert_eq!(daemon.metric("relaywatch_feed_rejections_total{feed=\"mailgun\",reason=\"token-reused\"}"), 1);
    assert_eq!(journal_rows(&store).await, before);
    assert_clean("stderr", &daemon.stop());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_megabytes_are_refused_before_they_are_read() {
    const HUGE: usize = 100_000_000;
    let (_home, daemon) = start().await;
    let authorization = format!("Bearer {SPARKPOST_TOKEN}");
    let mut client = Client::new(daemon.public).expect("connected");
    let mut pen = client.stream.try_clone().expect("cloned");
    let head = head("POST", "/in/sparkpost", &[("authorization", &authorization)], HUGE);
    let writing = std::thread::spawn(move || {
        let chunk = vec![b' '; 65_536];
        let mut written = 0;
        // It ends when the daemon closes the connection.
        while written < HUGE && pen.write_all(if written == 0 { head.as_bytes() } else { &chunk }).is_ok() {
            written += chunk.len();
        }
        written
    });
    assert_eq!(client.answer().expect("an answer").status, 413);
    let mut rest = Vec::new();
    // Either end of the connection is fine: closed, or reset with bytes of ours unread.
    drop(client.stream.read_to_end(&mut rest));
    let written = writing.join().expect("a count");
    assert!(written < HUGE / 2, "{written} bytes went through");
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("its status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    let kib: u64 = peak.trim().trim_end_matches(" kB").trim().parse().expect("a number");
    assert!(kib < 150 * 1_024, "{kib} KiB at the peak");
    assert_eq!(daemon.get("/readyz").status, 200);
    daemon.stop();
}
