//! Replies of Apple's in words that no rule knows, on both engines: what counts, what is told, and that it is told once.

use std::time::Duration;

use relaywatch::{
    clock::Clock,
    model::{Cause, DAY_MILLIS, Destination, EventKind, FailureClass, HOUR_MILLIS, MINUTE_MILLIS, MxFamily},
    monitor::new_words::read,
    notify::{Page, PageKind, Severity},
    store::{FoundWords, LastTold, NewEvent, NewReply, NewWordsFilter},
};

use crate::{
    incidents::{Run, SLACK, pages},
    on_both_engines,
    support::{TestStore, at, monitor, stream, submission},
};

const NOBODY: &str = "none/undetermined@41";

/// A refusal of address `number` with this reply.
fn said(test: &TestStore, number: usize, millis: i64, template: &str, rule: &str) -> NewEvent {
    let event = test.refused(number, millis);
    let reply = event.reply.clone().map(|reply| NewReply {
        template: template.to_owned(),
        rule: rule.to_owned(),
        cause: Cause::Undetermined,
        confidence: 0,
        ..reply
    });
    NewEvent { reply, ..event }
}

/// What the real command prints beside the open store.
async fn command(test: &TestStore, arguments: &[&str]) -> String {
    let key_file = test.folder.path().join("relaywatch.key");
    if !key_file.exists() {
        test.keyring.write(&key_file, true).expect("the key file");
    }
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_relaywatch"));
    command
        .args([&["events", "words"], arguments].concat())
        .env("STATE_DIRECTORY", test.folder.path())
        .env("RELAYWATCH__STORE__URL", &test.options.url)
        .env("RELAYWATCH__PRIVACY__KEY_FILE", key_file);
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("it ends").expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

async fn tickets(test: &TestStore) -> Vec<Page> {
    let mut told = pages(test).await;
    told.retain(|page| page.kind == PageKind::NewWords);
    told
}

on_both_engines! {
    async fn only_what_apple_says_and_no_rule_knows_is_new(test: TestStore) {
        let mx = |event: NewEvent, to: Destination, mx: MxFamily| NewEvent {
            destination: to,
            reply: event.reply.map(|reply| NewReply { mx, ..reply }),
            ..event
        };
        let shared = |number, family| mx(said(&test, number, 1_000, "550 shared", NOBODY), Destination::Shared, family);
        let guessed = said(&test, 8, 9_000, "550 guessed", "codes/mailbox@3");
        // A provider's own, before Apple was asked.
        let mut own_refusal = NewEvent { class: FailureClass::Unknown, ..said(&test, 11, 1_000, "generation rejection", NOBODY) };
        own_refusal.reply = own_refusal.reply.map(|reply| NewReply { code: None, enhanced: None, ..reply });
        let events = vec![
            said(&test, 1, 1_000, "550 odd", NOBODY),
            said(&test, 1, 2_000, "550 odd", NOBODY),
            NewEvent { stream: stream("shop.example.com", None), ..said(&test, 2, 3_000, "550 odd", "none/undetermined@42") },
            NewEvent { kind: EventKind::Deferred, ..said(&test, 3, 4_000, "550 odd", NOBODY) },
            NewEvent { reply: guessed.reply.clone().map(|reply| NewReply { cause: Cause::MailboxFull, ..reply }), ..guessed },
            // Neither of these.
            test.refused(4, 1_000),
            said(&test, 5, 1_000, "550 mine", "mine/first@1"),
            NewEvent { kind: EventKind::SuppressedByProvider, ..said(&test, 6, 1_000, "550 theirs", NOBODY) },
            shared(7, MxFamily::Google),
            own_refusal,
            // iCloud by its exchanger, and where none is reported.
            shared(9, MxFamily::Unknown),
            shared(10, MxFamily::AppleIcloud),
        ];
        test.store.commit(&[submission(events)]).await.expect("commit");
        let all = read(&test.store, 10).await.expect("read");
        assert_eq!((all.templates, all.replies), (3, 7), "{all:?}");
        let texts: Vec<&str> = all.shown.iter().map(|shown| shown.text.as_str()).collect();
        assert_eq!(texts, ["550 odd", "550 shared", "550 guessed"], "the most frequent first");
        let odd = &all.shown[0];
        assert_eq!((odd.words.replies, odd.words.addresses, odd.words.streams), (4, 3, 2));
        assert_eq!((odd.words.first, odd.words.last), (at(1_000), at(4_000)));
        assert_eq!((odd.words.cause, odd.rule.as_str(), odd.words.told), (Cause::Undetermined, "none/undetermined", None));
        assert_eq!((all.shown[2].words.cause, all.shown[2].rule.as_str()), (Cause::MailboxFull, "codes/mailbox"));
        let first = read(&test.store, 1).await.expect("read");
        assert_eq!((first.shown.len(), first.templates), (1, 3));
        let nothing = test.store.new_words(&NewWordsFilter::default(), 10).await.expect("read");
        assert_eq!(nothing, FoundWords::default(), "no rule guesses, no receiver is Apple's");
    }

    async fn the_command_lists_them_and_begins_a_rule(test: TestStore) {
        assert!(command(&test, &[]).await.starts_with("no new words"));
        let odd = |number| said(&test, number, 1_000, "550 5.7.1 <{recipient}> is being frobnicated", NOBODY);
        test.store.commit(&[submission(vec![odd(1), odd(2), said(&test, 3, 0, "550 rare", NOBODY)])]).await.expect("commit");
        let printed = command(&test, &["--limit", "1"]).await;
        assert!(printed.starts_with("2 templates of Apple's that no rule knows, in 3 replies\n"), "{printed}");
        for part in ["2 replies to 2 addresses", "and 1 more", "wording = [\"is being frobnicated\"]", "classify --rules rules --lint"] {
            assert!(printed.contains(part), "{part}: {printed}");
        }
        assert!(!printed.contains("550 rare") && !printed.contains("user1"), "{printed}");
        let lines = command(&test, &["--format", "json"]).await;
        let lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!((&lines[0]["template"], &lines[0]["addresses"]), (&"550 5.7.1 <{recipient}> is being frobnicated".into(), &2.into()));
        assert_eq!((&lines[0]["guessed_cause"], &lines[0]["told"]), (&"undetermined".into(), &serde_json::Value::Null));
    }

    async fn they_are_told_in_the_digest_or_at_once_and_never_twice(test: TestStore) {
        let one = vec![said(&test, 1, 7 * HOUR_MILLIS, "550 5.7.1 [HX01] one", NOBODY)];
        let mut run = Run::begin(&test, one, 8 * HOUR_MILLIS).await;
        assert!(tickets(&test).await.is_empty(), "it is not time for the digest");
        run.clock.advance(Duration::from_hours(1));
        run.take(&test, Vec::new()).await;
        let told = tickets(&test).await;
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!((told[0].severity, told[0].refused), (Severity::Ticket, 0));
        assert!(told[0].facts[0].starts_with("“550 5.7.1 [HX01] one”: 1 reply to 1 address"), "{:?}", told[0].facts);
        assert!(!serde_json::to_string(&told).expect("text").contains('@'));

        run.clock.advance(Duration::from_mins(5));
        let two = |number| said(&test, number, 9 * HOUR_MILLIS + MINUTE_MILLIS, "550 5.7.1 [HX02] two", NOBODY);
        run.take(&test, vec![two(2), two(3)]).await;
        assert!(tickets(&test).await.is_empty(), "two addresses wait for the digest");
        run.clock.advance(Duration::from_mins(5));
        run.take(&test, vec![two(4)]).await;
        let told = tickets(&test).await;
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].facts.len(), 1);
        assert!(told[0].facts[0].contains("[HX02] two”: 3 replies to 3 addresses"), "{:?}", told[0].facts);

        // A restart, projections made anew, more of the same, and the next day: nothing new is said.
        run.monitor = monitor(&test, Clock::Manual(run.clock.clone()), SLACK);
        run.take(&test, Vec::new()).await;
        test.store.reset_projections().await.expect("projections are made again");
        run.take(&test, vec![two(5), said(&test, 6, 9 * HOUR_MILLIS, "550 5.7.1 [HX01] one", NOBODY)]).await;
        run.clock.advance(Duration::from_hours(24));
        run.take(&test, Vec::new()).await;
        assert_eq!(tickets(&test).await, []);

        let three = said(&test, 7, DAY_MILLIS + 10 * HOUR_MILLIS, "550 5.7.1 [HX03] three", NOBODY);
        run.clock.advance(Duration::from_hours(1));
        run.take(&test, vec![three]).await;
        assert!(tickets(&test).await.is_empty(), "the digest of the day has its time");
        run.clock.advance(Duration::from_hours(24));
        run.take(&test, Vec::new()).await;
        let told = tickets(&test).await;
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].facts.len() == 1 && told[0].facts[0].contains("[HX03] three"), "{:?}", told[0].facts);
        let all = read(&test.store, 10).await.expect("read");
        assert!(all.shown.iter().all(|shown| shown.words.told.is_some()), "{all:?}");
    }

    async fn without_a_notifier_they_wait_for_one(test: TestStore) {
        let events = (1..=3).map(|number| said(&test, number, 10 * HOUR_MILLIS, "550 odd", NOBODY)).collect();
        let mut run = Run::begin(&test, Vec::new(), 10 * HOUR_MILLIS).await;
        run.monitor = monitor(&test, Clock::Manual(run.clock.clone()), "");
        run.take(&test, events).await;
        assert_eq!(test.store.new_words_told().await.expect("read"), LastTold::default());
        run.monitor = monitor(&test, Clock::Manual(run.clock.clone()), SLACK);
        run.take(&test, Vec::new()).await;
        assert_eq!(tickets(&test).await.len(), 1);
    }

    async fn a_flood_of_templates_makes_a_few_short_tickets(test: TestStore) {
        const FLOOD: usize = 3_000;
        let mut run = Run::begin(&test, Vec::new(), 10 * HOUR_MILLIS).await;
        // Each of a few is met by three addresses, minute after minute.
        for minute in 0..30 {
            run.clock.advance(Duration::from_mins(1));
            let millis = 10 * HOUR_MILLIS + i64::try_from(minute).expect("small") * MINUTE_MILLIS;
            let text = format!("550 new words of minute {minute}");
            run.take(&test, (0..3).map(|n| said(&test, minute * 3 + n, millis, &text, NOBODY)).collect()).await;
        }
        let told = tickets(&test).await;
        assert!((2..=3).contains(&told.len()), "one in a quarter of an hour: {}", told.len());
        let flood = |n: usize| {
            let text = format!("550 \u{202e} {n} <b>words</b> {}", "and more ".repeat(n % 200));
            said(&test, 1_000 + n, 11 * HOUR_MILLIS, &text, NOBODY)
        };
        run.take(&test, (0..FLOOD).map(flood).collect()).await;
        run.clock.advance_to(at(DAY_MILLIS + 9 * HOUR_MILLIS));
        run.take(&test, Vec::new()).await;
        let told = tickets(&test).await;
        assert_eq!(told.len(), 1, "{}", told.len());
        assert_eq!(told[0].facts.len(), 21);
        let rest = told[0].facts[20].strip_prefix("and ").and_then(|rest| rest.strip_suffix(" more templates"));
        let rest: usize = rest.expect("how many more").parse().expect("a number");
        assert!((FLOOD - 20..FLOOD + 30).contains(&rest), "{rest}");
        assert!(serde_json::to_vec(&told[0]).expect("JSON").len() < 10_000);
        let all = read(&test.store, 10).await.expect("read");
        assert_eq!((all.shown.len(), all.templates), (10, FLOOD as u64 + 30));
        run.clock.advance_to(at(2 * DAY_MILLIS + 9 * HOUR_MILLIS));
        run.take(&test, Vec::new()).await;
        assert!(tickets(&test).await.is_empty(), "all of them were told");
    }

    async fn what_was_told_goes_with_its_word(test: TestStore) {
        let old = vec![said(&test, 1, 8 * HOUR_MILLIS, "550 odd", NOBODY)];
        let mut run = Run::begin(&test, old, 9 * HOUR_MILLIS).await;
        assert_eq!(test.store.new_words_told().await.expect("read").digest, Some(at(9 * HOUR_MILLIS)));
        // Words that come later, so that the template's is not the newest.
        run.clock.advance_to(at(100 * DAY_MILLIS));
        run.take(&test, vec![said(&test, 2, 100 * DAY_MILLIS, "550 later", "apple-relay/later@1")]).await;
        for days in [100, 102, 104] {
            let now = at(days * DAY_MILLIS).as_millis();
            test.leader().expire(now, now - 14 * DAY_MILLIS, now - 30 * DAY_MILLIS).await.expect("expired");
        }
        assert_eq!(read(&test.store, 10).await.expect("read").templates, 0);
        assert_eq!(test.store.new_words_told().await.expect("read"), LastTold::default());
    }
}
