//! The same events in every shape, and what is no event.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io::{Cursor, Write as _},
};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{guess::guess, source::Source, *};
use crate::{
    ingest::{
        http::{Delivery, braze, mailgun, sendgrid, ses, sparkpost},
        mail::{Envelope, report, understand},
        postfix::Joiner,
    },
    model::{Address, Event},
};

/// A day after the fixtures' purge of 9 August 2025.
const NOW: Timestamp = Timestamp::from_seconds(1_754_805_600);

fn fixture(name: &str) -> String {
    std::fs::read_to_string(format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))).expect("a fixture")
}

/// Everything that a file tells.
struct Told {
    form: Form,
    events: Vec<Event>,
    counts: Counts,
    faults: Vec<String>,
    error: Option<String>,
    end: Position,
}

fn source(bytes: &[u8]) -> Source {
    Source::of(Box::new(Cursor::new(bytes.to_vec()))).expect("a source")
}

fn told_from(bytes: &[u8], from: Option<Format>, settings: Settings, at: Position) -> Told {
    let source = source(bytes);
    let form = guess(source.head(), from).unwrap_or_else(|unknown| panic!("{unknown}"));
    let mut reader = Reader::new(source, form, settings, NOW, at);
    let mut told =
        Told { form, events: Vec::new(), counts: Counts::default(), faults: Vec::new(), error: None, end: at };
    loop {
        match reader.next_chunk() {
            Ok(Some(chunk)) => {
                told.events.extend(chunk.events);
                told.counts.add(&chunk.counts);
                told.faults.extend(chunk.faults.iter().map(ToString::to_string));
                told.end = chunk.position;
            }
            Ok(None) => return told,
            Err(error) => told.error = Some(error.to_string()),
        }
    }
}

fn told(bytes: impl AsRef<[u8]>) -> Told {
    told_from(bytes.as_ref(), None, Settings::default(), Position::default())
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).expect("packed");
    encoder.finish().expect("packed")
}

fn delivery(body: impl Into<Vec<u8>>) -> Delivery {
    let mut headers = axum::http::HeaderMap::new();
    headers.insert("authorization", axum::http::HeaderValue::from_static("Bearer tok"));
    Delivery {
        method: axum::http::Method::POST,
        query: String::new(),
        headers,
        body: body.into().into(),
        received_at: NOW,
    }
}

/// What the webhook of a provider makes of a body.
fn by_webhook(format: Format, body: &str) -> Vec<Event> {
    let tokens = || vec!["tok".into()];
    let report = match format {
        Format::Ses => ses::decode(body, None, NOW).expect("decodes"),
        Format::Sparkpost => {
            let settings = sparkpost::Settings { tokens: tokens(), ..sparkpost::Settings::default() };
            sparkpost::SparkPost::new(&settings).expect("a feed").receive(&delivery(body)).expect("is taken")
        }
        Format::Sendgrid => {
            let settings = sendgrid::Settings { tokens: tokens(), ..sendgrid::Settings::default() };
            sendgrid::SendGrid::new(&settings).expect("a feed").receive(&delivery(body)).expect("is taken")
        }
        Format::Braze => {
            let feed = braze::Braze::new(&braze::Settings { tokens: tokens() }).expect("a feed");
            feed.receive(&delivery(body)).expect("is taken")
        }
        Format::Mailgun => {
            let settings = mailgun::Settings { signing_keys: vec!["k".into()], window_millis: 86_400_000 };
            let whole: Value = serde_json::from_str(body).expect("JSON");
            let data = whole.get("event-data").cloned().unwrap_or(whole);
            let signed = mailgun::signing::body("k", NOW, "token", &data.to_string());
            mailgun::Mailgun::new(&settings).expect("a feed").receive(&delivery(signed.to_vec())).expect("is taken")
        }
        Format::Mail | Format::Postfix => panic!("they have no webhook"),
    };
    assert!(!report.events.is_empty());
    report.events
}

/// Bodies of webhooks, one for each provider, with what is in them alone.
fn bodies() -> Vec<(Format, String)> {
    vec![
        (Format::Ses, fixture("ses/bounce-unauthorized-sender.json")),
        (Format::Ses, fixture("ses/eventbridge-bounce.json")),
        (Format::Sparkpost, fixture("sparkpost/every_type.json")),
        (Format::Sendgrid, fixture("sendgrid/every_event.json")),
        (Format::Mailgun, fixture("mailgun/unauthorized_sender.json")),
        (Format::Mailgun, fixture("mailgun/delivered.json")),
        (Format::Braze, fixture("braze/flat_batch.json")),
        (Format::Braze, fixture("braze/nested_batch.json")),
    ]
}

/// The elements of a body.
fn elements(body: &str) -> Vec<Value> {
    match serde_json::from_str(body).expect("JSON") {
        Value::Array(list) => list,
        Value::Object(mut object) if object.contains_key("events") => {
            object["events"].take().as_array().expect("a list").clone()
        }
        one => vec![one],
    }
}

#[test]
fn by_webhook_and_by_file_is_one_event() {
    for (format, body) in bodies() {
        let expected = by_webhook(format, &body);
        let one_a_line = elements(&body).iter().map(|element| format!("{element}\n")).collect::<Vec<_>>().concat();
        let one_line = serde_json::from_str::<Value>(&body).expect("JSON").to_string();
        let layouts = [
            body.clone(),
            one_line.clone(),
            format!("{one_line}\n"),
            one_a_line.clone(),
            one_a_line.replace('\n', ""),
            format!("[{}]", one_a_line.trim().replace('\n', ",\n")),
            format!("\u{feff}{one_a_line}"),
            one_a_line.replace('\n', "\r\n"),
        ];
        for layout in layouts {
            for bytes in [layout.clone().into_bytes(), gzip(layout.as_bytes())] {
                let told = told(&bytes);
                assert_eq!(told.form.format, format, "{layout}");
                assert_eq!(told.events, expected, "{layout}");
                assert_eq!((told.error, told.counts.broken), (None, 0), "{layout}");
            }
        }
    }
}

#[test]
fn what_apis_give_is_the_same_event() {
    let body = fixture("sparkpost/every_type.json");
    let bare: Vec<Value> =
        elements(&body).iter().filter_map(|element| element["msys"].as_object()?.values().next().cloned()).collect();
    let told_bare = told(json!({ "results": bare, "total_count": bare.len(), "links": {} }).to_string());
    assert_eq!(told_bare.form.format, Format::Sparkpost);
    assert_eq!(told_bare.events, by_webhook(Format::Sparkpost, &body));

    let body = fixture("mailgun/unauthorized_sender.json");
    let event = &elements(&body)[0];
    let event = event.get("event-data").unwrap_or(event);
    let page = told(json!({ "items": [event], "paging": { "next": "https://example.com/next" } }).to_string());
    assert_eq!((page.form.format, page.events), (Format::Mailgun, by_webhook(Format::Mailgun, &body)));

    let bounce = fixture("ses/bounce-unauthorized-sender.json");
    let envelope = json!({ "Type": "Notification", "MessageId": "x", "Message": bounce, "Signature": "none" });
    assert_eq!(told(envelope.to_string()).events, by_webhook(Format::Ses, &bounce));
}

/// A CSV file of flat objects.
fn to_csv(rows: &[Value]) -> Vec<u8> {
    let columns: BTreeSet<&String> = rows.iter().flat_map(|row| row.as_object().expect("an object").keys()).collect();
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(&columns).expect("a header");
    for row in rows {
        let field = |column: &&String| match &row[column.as_str()] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        writer.write_record(columns.iter().map(field)).expect("a row");
    }
    writer.into_inner().expect("the file")
}

#[test]
fn rows_of_csv_are_the_same_events() {
    for (format, name) in [(Format::Sendgrid, "sendgrid/purge_batch.json"), (Format::Braze, "braze/flat_batch.json")] {
        let body = fixture(name);
        let told = told(to_csv(&elements(&body)));
        assert_eq!((told.form, told.faults), (Form { format, shape: Shape::Csv }, Vec::<String>::new()));
        assert_eq!(told.events, by_webhook(format, &body));
    }
    let body = fixture("sparkpost/purge_batch.json");
    let bare: Vec<Value> =
        elements(&body).iter().filter_map(|element| element["msys"].as_object()?.values().next().cloned()).collect();
    assert_eq!(told(to_csv(&bare)).events, by_webhook(Format::Sparkpost, &body));
    let nested = "event,timestamp,recipient,id,severity,delivery-status.code,delivery-status.message,message.headers.message-id\n\
        failed,1754719200.5,a@privaterelay.appleid.com,x1,permanent,550,\"5.1.1 \"\"unknown\"\"\",m1@example.com\n";
    let told = told(nested);
    assert_eq!(told.form.format, Format::Mailgun);
    let event = told.events.first().expect("an event");
    assert_eq!(event.reply.as_ref().and_then(|reply| reply.code), Some(550));
    assert_eq!(event.message_id.as_deref(), Some("m1@example.com"));
}

/// An object container file of events, all of whose fields are texts that may be missing, but the time.
fn to_avro(rows: &[Value], codec: &str, name: &str) -> Vec<u8> {
    fn long(out: &mut Vec<u8>, value: i64) {
        let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
        while rest >= 0x80 {
            out.push(u8::try_from(rest & 0x7f).expect("seven bits") | 0x80);
            rest >>= 7;
        }
        out.push(u8::try_from(rest).expect("seven bits"));
    }
    fn bytes(out: &mut Vec<u8>, value: &[u8]) {
        long(out, i64::try_from(value.len()).expect("short"));
        out.extend_from_slice(value);
    }
    let columns: BTreeSet<&String> = rows.iter().flat_map(|row| row.as_object().expect("an object").keys()).collect();
    let columns: Vec<&String> = columns.into_iter().filter(|column| *column != "event_type").collect();
    let fields: Vec<Value> = columns
        .iter()
        .map(|column| match column.as_str() {
            "time" => json!({ "name": "time", "type": "long" }),
            column => json!({ "name": column, "type": ["null", "string", "boolean"] }),
        })
        .collect();
    let schema = json!({ "type": "record", "name": name, "fields": fields }).to_string();
    let mut out = avro::MAGIC.to_vec();
    long(&mut out, 2);
    bytes(&mut out, b"avro.schema");
    bytes(&mut out, schema.as_bytes());
    bytes(&mut out, b"avro.codec");
    bytes(&mut out, codec.as_bytes());
    long(&mut out, 0);
    let sync = [7; 16];
    out.extend_from_slice(&sync);
    for chunk in rows.chunks(2) {
        let mut block = Vec::new();
        for row in chunk {
            for column in &columns {
                match (&row[column.as_str()], column.as_str()) {
                    (time, "time") => long(&mut block, time.as_i64().expect("seconds")),
                    (Value::Null, _) => long(&mut block, 0),
                    (Value::Bool(flag), _) => {
                        long(&mut block, 2);
                        block.push(u8::from(*flag));
                    }
                    (value, _) => {
                        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                        long(&mut block, 1);
                        bytes(&mut block, text.as_bytes());
                    }
                }
            }
        }
        let packed = match codec {
            "deflate" => {
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(&block).expect("packed");
                encoder.finish().expect("packed")
            }
            "snappy" => {
                let mut packed = snap::raw::Encoder::new().compress_vec(&block).expect("packed");
                let mut crc = flate2::Crc::new();
                crc.update(&block);
                packed.extend_from_slice(&crc.sum().to_be_bytes());
                packed
            }
            _ => block,
        };
        long(&mut out, i64::try_from(chunk.len()).expect("few"));
        bytes(&mut out, &packed);
        out.extend_from_slice(&sync);
    }
    out
}

/// Bounces as Currents stores them, without their type.
fn bounces() -> Vec<Value> {
    let all = elements(&fixture("braze/flat_batch.json"));
    all.into_iter().filter(|event| event["event_type"] == "users.messages.email.Bounce").collect()
}

#[test]
fn avro_of_currents_is_the_same_events() {
    let bounces = bounces();
    let expected = by_webhook(Format::Braze, &json!({ "events": bounces }).to_string());
    for codec in ["null", "deflate", "snappy"] {
        let file = to_avro(&bounces, codec, "users.messages.email.Bounce");
        let by_name = told(&file);
        assert_eq!((by_name.form.shape, by_name.error), (Shape::Avro, None));
        assert_eq!(by_name.events, expected, "{codec}");
        let unnamed = to_avro(&bounces, codec, "Event");
        let settings = Settings { event_type: Some("users.messages.email.Bounce".to_owned()), ..Settings::default() };
        assert_eq!(told_from(&unnamed, None, settings, Position::default()).events, expected, "by its path");
        assert_eq!(told(&unnamed).counts.broken, bounces.len() as u64, "nobody says what they are");
    }
}

#[test]
fn avro_that_is_broken_is_told() {
    let rows: Vec<Value> = (0..9)
        .map(|n| json!({ "id": format!("e{n}"), "time": 1_754_719_200 + n, "email_address": "a@privaterelay.appleid.com" }))
        .collect();
    let file = to_avro(&rows, "null", "users.messages.email.Delivery");
    assert_eq!(told(&file).events.len(), 9);
    let cut = told(&file[..file.len() - 20]);
    assert_eq!(cut.events.len(), 8, "what is whole is taken");
    assert_eq!(cut.error.as_deref(), Some("it can't be read on: the Avro file is cut off"));
    for at in 0..file.len() {
        let mut broken = file.clone();
        broken[at] ^= 0x55;
        if let Ok(form) = guess(&broken, None) {
            // Whatever it is: it ends, and nothing panics.
            let mut reader = Reader::new(source(&broken), form, Settings::default(), NOW, Position::default());
            while let Ok(Some(_)) = reader.next_chunk() {}
        }
    }
}

#[test]
fn reading_goes_on_where_it_stood_in_every_shape() {
    let rows: Vec<Value> = (0..1_203)
        .map(|n| {
            json!({
                "event_type": "users.messages.email.Delivery", "id": format!("e{n}"), "time": 1_754_719_200 + n,
                "email_address": "a@privaterelay.appleid.com", "dispatch_id": "d",
            })
        })
        .collect();
    let lines = rows.iter().map(|row| format!("{row}\n")).collect::<Vec<_>>().concat();
    for bytes in [
        lines.clone().into_bytes(),
        lines.replace('\n', "").into_bytes(),
        json!(rows).to_string().into_bytes(),
        json!({ "events": rows }).to_string().into_bytes(),
        to_csv(&rows),
        to_avro(&rows, "deflate", "users.messages.email.Delivery"),
        gzip(lines.as_bytes()),
    ] {
        let whole = told(&bytes);
        assert_eq!((whole.events.len(), whole.counts.broken), (1_203, 0));
        let form = whole.form;
        let settings = Settings { event_type: Some("users.messages.email.Delivery".to_owned()), ..Settings::default() };
        let mut reader = Reader::new(source(&bytes), form, settings.clone(), NOW, Position::default());
        let first = reader.next_chunk().expect("reads").expect("a chunk");
        assert_eq!(first.events.len(), 500);
        let rest = told_from(&bytes, Some(form.format), settings, first.position);
        let keys =
            |events: &[Event]| events.iter().map(|event| event.dedupe.expose().to_vec()).collect::<BTreeSet<_>>();
        let both: BTreeSet<_> = keys(&first.events).union(&keys(&rest.events)).cloned().collect();
        assert_eq!(both, keys(&whole.events), "{form:?}");
        if first.position.records == 500 {
            assert_eq!(rest.events.len(), 703, "{form:?}: nothing is read twice");
        }
        assert_eq!(told_from(&bytes, Some(form.format), Settings::default(), whole.end).events.len(), {
            // Within a batch there is no place to go on from but its beginning.
            if whole.end.records == 1_203 { 0 } else { 1_203 }
        });
    }
}

#[test]
fn what_is_no_record_is_told_without_what_it_holds() {
    let good = elements(&fixture("ses/bounce-unauthorized-sender.json"))[0].to_string();
    let secret = "qx7zhzkndneko@privaterelay.appleid.com";
    let deep = format!("{{\"eventType\":\"Bounce\",\"bounce\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let text = [
        good.as_str(),
        "rubbish",
        good.get(..good.len() / 2).expect("half of it"),
        &format!("{{\"eventType\":\"Bounce\",\"mail\":\"{secret}\"}}"),
        &format!("{{\"eventType\":\"{secret}\"}}"),
        &deep,
        &good.replace("2025-08-09T06:00:02.456Z", "9999-01-01T00:00:00Z"),
        "{}",
        &good,
    ]
    .join("\n");
    let told = told(text);
    assert_eq!(told.events.len(), 2);
    let faults = told.faults.join("\n");
    assert!(!faults.contains("zhzkndneko"), "{faults}");
    insta::assert_snapshot!(faults);
    assert_eq!((told.counts.records, told.counts.wrong(), told.counts.unknown), (9, 6, 1), "{:?}", told.counts);
    let latin = [good.as_bytes(), b"\n{\"a\":\"\xe9\"}\n"].concat();
    let told_latin = told_from(&latin, None, Settings::default(), Position::default());
    assert_eq!(told_latin.faults, ["line 2: it is not UTF-8"]);
}

#[test]
fn files_that_are_none_are_told() {
    let unknown = |bytes: &[u8], from: Option<Format>| guess(bytes, from).expect_err("unknown").to_string();
    let all: Vec<String> = [
        unknown(b" \n", None),
        unknown(b"\xff\xfe{\0", None),
        unknown(b"\x7fELF\0\0", None),
        unknown(b"{\"hello\":\"world\"}", None),
        unknown(b"a,b\n1,2\n", None),
        unknown(b"hello", None),
        unknown(b"processed,message_id,event,api_key_id,recv_message_id,email\n", Some(Format::Sendgrid)),
        unknown(b"{\"eventType\":\"Bounce\"}", Some(Format::Mail)),
        unknown(&avro::MAGIC, Some(Format::Ses)),
    ]
    .to_vec();
    insta::assert_snapshot!(all.join("\n"));
    let form = |bytes: &[u8]| guess(bytes, None).map(|form| (form.format, form.shape));
    let mail = b"Return-Path: <>\r\nReceived: from mx.example.com\r\n\tby x\r\nSubject: Undelivered\r\n\r\nx";
    assert_eq!(form(mail), Ok((Format::Mail, Shape::Mail)));
    assert_eq!(form(b"From a@example.com Sat Aug  9 06:00:00 2025\nSubject: x\n\n"), Ok((Format::Mail, Shape::Mbox)));
    let log = b"Aug  9 06:00:00 mx postfix/smtp[1234]: 4ABC: to=<a@privaterelay.appleid.com>, status=sent\n";
    assert_eq!(form(log), Ok((Format::Postfix, Shape::Log)));
    assert_eq!(form(fixture("postfix/journal.json").as_bytes()), Ok((Format::Postfix, Shape::Log)));
}

#[test]
fn packed_files_that_are_broken_give_what_unpacks() {
    let lines: Vec<String> =
        (0..20_000).map(|n| format!("{{\"sg_event_id\":\"{n}\",\"event\":\"open\",\"timestamp\":{n}}}\n")).collect();
    let mut packed = gzip(lines.concat().as_bytes());
    packed.truncate(packed.len() / 2);
    let told = told(&packed);
    assert!(told.counts.ignored > 1_000, "{:?}", told.counts);
    assert!(told.error.is_some_and(|error| error.starts_with("it can't be read on: ")));
}

#[test]
fn an_unfinished_last_line_is_read_again() {
    let line = elements(&fixture("ses/bounce-unauthorized-sender.json"))[0].to_string();
    let (whole, half) = (format!("{line}\n{line}\n"), format!("{line}\n{}", line.get(..40).expect("a part of it")));
    let first = told(&half);
    assert_eq!((first.events.len(), first.faults.len()), (1, 1));
    assert_eq!(usize::try_from(first.end.offset).expect("small"), line.len() + 1);
    assert_eq!(told_from(whole.as_bytes(), None, Settings::default(), first.end).events.len(), 1);
}

#[test]
fn strict_reading_ends_with_the_first_fault() {
    let line = elements(&fixture("ses/bounce-unauthorized-sender.json"))[0].to_string();
    let text = format!("{line}\nrubbish\n{line}\n");
    let form = guess(text.as_bytes(), None).expect("is known");
    let mut reader =
        Reader::new(source(text.as_bytes()), form, Settings::default(), NOW, Position::default()).strict(true);
    let chunk = reader.next_chunk().expect("reads").expect("a chunk");
    assert_eq!((chunk.events.len(), chunk.faults.len()), (1, 1));
    assert!(reader.next_chunk().expect("ends").is_none());
}

#[test]
fn seeds_of_the_fuzzer_are_read_to_an_end() {
    let folder = format!("{}/fuzz/seeds/import", env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("seeds").map(|entry| entry.expect("entry").path()).collect();
    files.sort();
    let seen: Vec<String> = files
        .iter()
        .map(|file| {
            let bytes = std::fs::read(file).expect("a seed");
            for format in Format::ALL {
                let once = examine(&bytes, Some(*format), NOW);
                assert_eq!(once, examine(&bytes, Some(*format), NOW), "{}", file.display());
            }
            let (form, counts) = examine(&bytes, None, NOW);
            let form = form.map_or("unknown", |form| form.shape.as_str());
            let name = file.file_name().expect("a name").to_string_lossy().into_owned();
            format!(
                "{name}: {form}, {} records, {} outcomes, {} wrong",
                counts.records,
                counts.outcomes,
                counts.wrong()
            )
        })
        .collect();
    insta::assert_snapshot!(seen.join("\n"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However a file is cut into several, in whatever order they are read: the same events.
    #[test]
    fn any_cut_and_order_gives_the_same_events(cuts in prop::collection::vec(0_usize..30, 0..4), turn in 0_usize..30) {
        let rows: Vec<String> = (0..30)
            .map(|n| json!({ "sg_event_id": format!("e{n}"), "event": "delivered", "timestamp": 1_754_719_200 + n, "email": "a@privaterelay.appleid.com" }).to_string())
            .collect();
        let keys = |files: &[Vec<String>]| -> BTreeSet<Vec<u8>> {
            files.iter().filter(|file| !file.is_empty()).flat_map(|file| told(file.join("\n")).events).map(|event| event.dedupe.expose().to_vec()).collect()
        };
        let mut cuts = cuts;
        cuts.sort_unstable();
        let (mut files, mut rest) = (Vec::new(), rows.clone());
        for cut in cuts.iter().rev() {
            files.push(rest.split_off(*cut.min(&rest.len())));
        }
        files.push(rest);
        let turn = turn % files.len();
        files.rotate_left(turn);
        prop_assert_eq!(keys(&files), keys(&[rows]));
    }

    #[test]
    fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..400), format in prop::sample::select(Format::ALL.to_vec())) {
        let once = examine(&bytes, None, NOW);
        prop_assert_eq!(once, examine(&bytes, None, NOW));
        let as_told = examine(&bytes, Some(format), NOW);
        prop_assert_eq!(as_told, examine(&bytes, Some(format), NOW));
    }
}

/// A time by which everything in the fixtures of mails was written.
const LATER: Timestamp = Timestamp::from_seconds(1_796_100_000);

/// Everything that a file tells, read at another time.
fn told_at(bytes: &[u8], now: Timestamp, settings: Settings) -> (Form, Vec<Event>, Counts) {
    let source = source(bytes);
    let form = guess(source.head(), None).unwrap_or_else(|unknown| panic!("{unknown}"));
    let mut reader = Reader::new(source, form, settings, now, Position::default());
    let (mut events, mut counts) = (Vec::new(), Counts::default());
    while let Some(chunk) = reader.next_chunk().expect("reads") {
        events.extend(chunk.events);
        counts.add(&chunk.counts);
    }
    (form, events, counts)
}

/// The fixtures of mails that the listener would get, by name.
fn mails() -> Vec<(String, String)> {
    let folder = format!("{}/tests/fixtures/mail", env!("CARGO_MANIFEST_DIR"));
    let names = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a file").file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().expect("a name")).collect();
    names.sort();
    names.into_iter().map(|name| (name.clone(), fixture(&format!("mail/{name}")))).collect()
}

#[test]
fn a_mail_is_the_same_events_by_the_listener_as_a_file_and_in_an_mbox() {
    let (mut all, mut mbox, mut mails_of_events) = (Vec::new(), String::new(), 0);
    for (name, mail) in mails() {
        let over_smtp = mail.replace("\r\n", "\n").replace('\n', "\r\n");
        let envelope = Envelope { rcpt_to: None, received_at: LATER };
        let events = report(&understand(over_smtp.as_bytes()), over_smtp.as_bytes(), &envelope).events;
        let (form, single, counts) = told_at(mail.as_bytes(), LATER, Settings::default());
        assert_eq!((form.format, form.shape), (Format::Mail, Shape::Mail), "{name}");
        assert_eq!(single, events, "{name}");
        assert_eq!(counts.records, 1, "{name}");
        let kept = u64::from(matches!(name.as_str(), "aggregate.eml" | "apple-notification.eml"));
        assert_eq!((counts.kept, counts.ignored), (kept, u64::from(single.is_empty()) - kept), "{name}: {counts:?}");
        mails_of_events += u64::from(!single.is_empty());
        let quoted = mail.replace("\nFrom ", "\n>From ");
        writeln!(mbox, "From MAILER-DAEMON Tue Nov 24 06:00:00 2026\n{quoted}").expect("written");
        all.extend(events);
    }
    assert!(mails_of_events >= 6, "the fixtures hold bounces and complaints");
    let (form, events, counts) = told_at(mbox.as_bytes(), LATER, Settings::default());
    assert_eq!(form.shape, Shape::Mbox);
    assert_eq!(events, all);
    assert_eq!((counts.records, counts.wrong()), (mails().len() as u64, 0), "{counts:?}");
    let (_, packed, _) = told_at(&gzip(mbox.as_bytes()), LATER, Settings::default());
    assert_eq!(packed, all);
}

#[test]
fn a_mail_in_a_mailbox_tells_to_whom_it_went() {
    // It names nobody, and the envelope sender of the message that failed carries the recipient.
    let mail = "Return-Path: <>\nFrom: MAILER-DAEMON@mx.example.org\nTo: undisclosed-recipients:;\n\
                Date: Mon, 23 Nov 2026 12:00:05 +0000\nSubject: Undelivered Mail Returned to Sender\n\
                Content-Type: multipart/report; report-type=delivery-status; boundary=\"b\"\n\n\
                --b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.org\n\n\
                Final-Recipient: rfc822; forwarded@elsewhere.example\nAction: failed\nStatus: 5.1.1\n\n--b--\n";
    let verp = Address::parse("b+qx7zhzkndneko=privaterelay.appleid.com@mail.example.com").expect("an address");
    let envelope = Envelope { rcpt_to: Some(&verp), received_at: LATER };
    let listened = report(&understand(mail.as_bytes()), mail.as_bytes(), &envelope).events;
    assert_eq!(listened[0].recipient.expose(), "qx7zhzkndneko@privaterelay.appleid.com");
    for field in [
        format!("X-Original-To: {}\nDelivered-To: local@mail.example.com\n", verp.expose()),
        format!("Delivered-To: {}\n", verp.expose()),
        format!("Envelope-to: <{}>\n", verp.expose()),
    ] {
        let (_, events, _) = told_at(format!("{field}{mail}").as_bytes(), LATER, Settings::default());
        assert_eq!(events, listened, "{field}");
    }
    let (_, events, _) = told_at(mail.as_bytes(), LATER, Settings::default());
    assert_eq!(events[0].recipient.expose(), "forwarded@elsewhere.example", "what the report itself names");
}

#[test]
fn mails_that_are_too_long_are_told_and_others_go_on() {
    let bounce = fixture("mail/delayed.eml");
    let long = format!("Subject: long\n\n{}\n", "x".repeat(76).repeat(240_000));
    let mbox = format!("From a Tue Nov 24 06:00:00 2026\n{long}\nFrom b Tue Nov 24 06:00:01 2026\n{bounce}");
    let (_, events, counts) = told_at(mbox.as_bytes(), LATER, Settings::default());
    assert_eq!((counts.records, counts.broken, events.len()), (2, 1, 1));
    assert_eq!(told(&mbox).faults[0], "line 1: it is longer than 16 MiB");
}

#[test]
fn a_log_is_the_same_events_as_where_it_is_followed() {
    for name in ["traditional.log", "deferred.log", "instances.log", "own.log", "postfix-3-7.log", "journal.json"] {
        let log = fixture(&format!("postfix/{name}"));
        let (mut joiner, mut followed) =
            (Joiner::new(jiff::tz::TimeZone::UTC, &["smtp.example.com".to_owned()]), crate::ingest::Report::default());
        log.lines().for_each(|line| joiner.line(line.as_bytes(), NOW, &mut followed));
        let settings = Settings { smarthosts: vec!["smtp.example.com".to_owned()], ..Settings::default() };
        for bytes in [log.clone().into_bytes(), gzip(log.as_bytes())] {
            let (form, events, counts) = told_at(&bytes, NOW, settings.clone());
            assert_eq!((form.format, form.shape), (Format::Postfix, Shape::Log), "{name}");
            assert_eq!(events, followed.events, "{name}");
            assert_eq!(counts.records, log.lines().count() as u64, "{name}");
            assert_eq!(counts.wrong() + counts.unknown, followed.set_aside.len() as u64, "{name}");
        }
    }
}

#[test]
fn a_log_without_years_is_of_the_time_when_it_was_written() {
    let line = "Aug  9 06:00:01 mx1 postfix/smtp[1]: 4F0A2C1D01: to=<qx7zhzkndneko@privaterelay.appleid.com>, \
                relay=mx.example.net[192.0.2.9]:25, delay=1, dsn=5.1.1, status=bounced (host mx.example.net[192.0.2.9] said: 550 no)\n";
    let at = |settings: Settings| told_at(line.as_bytes(), LATER, settings).1[0].at.to_string();
    assert_eq!(at(Settings::default()), "2026-08-09T06:00:01Z");
    let written_at = Some(Timestamp::from_seconds(1_754_730_000));
    assert_eq!(at(Settings { written_at, ..Settings::default() }), "2025-08-09T06:00:01Z");
    let zone = jiff::tz::TimeZone::get("Europe/Berlin").ok();
    assert_eq!(at(Settings { zone, written_at, ..Settings::default() }), "2025-08-09T04:00:01Z");
}

/// Half a line would be another event than the whole one.
#[test]
fn half_a_line_of_a_log_is_no_event() {
    let line = "2025-08-09T06:00:01+00:00 mx1 postfix/smtp[1]: 4F0A2C1D01: to=<qx7zhzkndneko@privaterelay.appleid.com>, \
                relay=mx.example.net[192.0.2.9]:25, delay=1, dsn=5.1.1, status=bounced (host mx.example.net[192.0.2.9] said: 550";
    let log = format!("{line} no)\n{line} no, thi");
    let read = |source: Source, written_at| {
        let form = Form { format: Format::Postfix, shape: Shape::Log };
        let settings = Settings { written_at, ..Settings::default() };
        let mut reader = Reader::new(source, form, settings, NOW, Position::default());
        let (mut events, mut half, mut end) = (0, false, Position::default());
        while let Some(chunk) = reader.next_chunk().expect("reads") {
            events += chunk.events.len();
            half |= chunk.half;
            end = chunk.position;
        }
        (events, half, end.records)
    };
    let ago = |seconds: i64| Some(Timestamp::from_millis(NOW.as_millis() - seconds * 1_000));
    assert_eq!(read(source(log.as_bytes()), ago(60)), (2, false, 2), "nobody writes on");
    assert_eq!(read(source(log.as_bytes()), ago(2)), (1, true, 1), "it may be written on");
    assert_eq!(read(source(line.as_bytes()), ago(2)), (0, true, 0), "all that is there");
    let (pipe, _stop) = super::live::Live::of(Cursor::new(log.into_bytes())).expect("a thread");
    assert_eq!(read(Source::live(pipe), None), (1, true, 1), "the writer of the pipe broke off");
}

#[test]
fn types_that_nobody_needs_are_counted_and_are_no_mistake() {
    let line = |kind: &str| format!("{{\"eventType\":\"{kind}\",\"mail\":{{\"messageId\":\"m\"}}}}\n");
    let text = [line("New"), line("Newer"), line("New"), line("x@example.com")].concat();
    let told = told(&text);
    assert_eq!((told.counts.unknown, told.counts.wrong(), told.faults.len()), (4, 0, 0), "{:?}", told.faults);
    let types: Vec<_> = told.counts.unknown_types.iter().map(|(word, count)| (word.as_str(), *count)).collect();
    assert_eq!(types, [("?", 1), ("New", 2), ("Newer", 1)], "no address");
    let many: String = (0..200).map(|n| line(&format!("New{n}"))).collect();
    let types = super::tests::told(&many).counts.unknown_types;
    assert!(types.len() <= 51 && types.values().sum::<u64>() == 200, "bounded: {types:?}");
}

#[test]
fn what_was_broken_is_kept_with_the_place_and_not_twice() {
    let mut faults = Faults::default();
    let fault = |record| Fault { line: Some(record), record, reason: "x".into() };
    let counts = Counts { records: 30, broken: 30, ..Counts::default() };
    let chunk = Chunk { counts, faults: (1..=30).map(fault).collect(), again: 1, ..Chunk::default() };
    faults.add(&chunk);
    assert_eq!((faults.wrong, faults.places.len()), (30, MAX_KEPT_FAULTS));
    let place = Position { records: 18, ..Position::default() };
    let before = faults.before(place);
    assert_eq!((before.wrong, before.again, before.places.len()), (29, 0, 18), "the last one is read again");

    let good = fixture("ses/bounce-unauthorized-sender.json").replace('\n', "");
    let mut reader = Reader::new(
        source(format!("{good}\n{{\"half").as_bytes()),
        Form { format: Format::Ses, shape: Shape::JsonLines },
        Settings::default(),
        NOW,
        Position::default(),
    );
    let chunk = reader.next_chunk().expect("reads").expect("a chunk");
    assert_eq!((chunk.counts.broken, chunk.again, chunk.position.records), (1, 1, 1));
}
