//! Every stored reply gets, from what is stored of it alone, the verdict that it had when it was taken in.

use std::{collections::BTreeMap, sync::Arc};

use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use relaywatch::{
    classify::{Parties, Rules, context, template_of},
    ingest::{
        Report,
        committer::committer,
        intake::{FeedName, Intake, Knowledge},
    },
    metrics::Metrics,
    model::{
        Address, DedupeMaterial, Event, EventKind, Exposure, FailureClass, Provider, RelayDomains, Reply, ReplyContext,
        StreamKey, Verdict,
    },
};

use crate::{on_both_engines, support::at};

/// Words of which replies are made up: those that rules know, those that people write, and what is hard to store.
const WORDS: &[&str] = &[
    "550",
    "5.1.1",
    "421 4.7.1",
    "554 5.7.1",
    "452-4.2.2",
    "[HME1]",
    "[CS01]",
    "user not found",
    "unauthorized sender",
    "user unknown",
    "mailbox full",
    "over quota",
    "inactive email address",
    "unknown or illegal alias",
    "user lookup success but no user record found",
    "deferred due to excessive volume",
    "DMARC policy",
    "SPF and DKIM",
    "transformation error",
    "suppression list",
    "<jo@privaterelay.appleid.com>",
    "<bounce+1@mail.example.com>",
    "jo@privaterelay.appleid.com",
    "17.57.152.15",
    "smtp1.privaterelay.appleid.com",
    "(in reply to RCPT TO)",
    "https://support.apple.com/kb?id=7f3a",
    "queue id 4XyZ12ab",
    "\r\n",
    "\u{0}",
    "Empfänger unbekannt",
    "ユーザー不明",
    "{recipient}",
    "<{sender}>",
    ":",
    "-",
    "it's gone",
];

fn made_up() -> impl Strategy<Value = String> {
    prop_oneof![
        9 => prop::collection::vec(prop::sample::select(WORDS), 1..9).prop_map(|words| words.join(" ")),
        1 => prop::collection::vec(any::<char>(), 0..300).prop_map(|signs| signs.into_iter().collect()),
        1 => (prop::sample::select(WORDS), 1_000..9_000_usize).prop_map(|(word, times)| word.repeat(times)),
    ]
}

/// Texts that rules ship as their samples and near misses.
fn of_rules() -> Vec<String> {
    let files = [
        include_str!("../../rules/suppression.toml"),
        include_str!("../../rules/apple-relay.toml"),
        include_str!("../../rules/apple-icloud.toml"),
    ];
    let mut texts = Vec::new();
    for file in files {
        let file: toml::Table = file.parse().expect("a rule file");
        for rule in file["rule"].as_array().expect("rules") {
            let lists = ["samples", "near_misses"].iter().filter_map(|name| rule.get(name)?.as_array());
            for sample in lists.flatten() {
                let text = sample.as_str().or_else(|| sample.get("text")?.as_str());
                texts.push(text.expect("a text").to_owned());
            }
        }
    }
    assert!(texts.len() > 100, "{}", texts.len());
    texts
}

/// Texts that others published, where they are.
fn published() -> Vec<String> {
    let folder = std::env::var_os("RELAYWATCH_CORPORA").map(std::path::PathBuf::from);
    let Some(Ok(text)) = folder.map(|folder| std::fs::read_to_string(folder.join("replies/labelled.jsonl"))) else {
        println!("without the published replies (RELAYWATCH_CORPORA)");
        return Vec::new();
    };
    let text_of = |line: &str| -> Option<String> {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(value["text"].as_str()?.to_owned())
    };
    text.lines().filter_map(text_of).collect()
}

/// What of a verdict must come back.
fn whole(verdict: &Verdict) -> (String, String, String, bool, String) {
    (
        verdict.cause.to_string(),
        verdict.fault.to_string(),
        verdict.action.to_string(),
        verdict.hard,
        format!("{}@{}", verdict.rule, verdict.version),
    )
}

on_both_engines! {
    async fn a_stored_reply_has_its_ingest_verdict(test: TestStore) {
        let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
        let mut texts = of_rules();
        texts.extend(published());
        texts.extend(prop::collection::vec(made_up(), 1_500).new_tree(&mut runner).expect("texts").current());
        let recipients = ["jo@privaterelay.appleid.com", "x7kq2m9abc@private.icloud.com", "jo.doe@icloud.com"];
        let labels = [None, Some("bounce_class 10"), Some("Permanent/General"), Some("Transient/MailboxFull")];
        let hosts = [None, Some("smtp1.privaterelay.appleid.com"), Some("mx01.mail.icloud.com"), Some("mx.example.net")];
        let knowledge = Knowledge { rules: Arc::new(Rules::built_in().expect("rules")), relay: RelayDomains::default(), retention: None };
        let metrics = Metrics::new().expect("metrics");
        let (committer, _writers) = committer(&test.store, &metrics, &Arc::new(tokio::sync::Notify::new()), 1);
        let intake = Intake::new(Arc::clone(&test.keyring), committer, metrics);
        let mut expected = BTreeMap::new();
        let mut report = Report::default();
        for (number, text) in texts.iter().enumerate() {
            let at = at(i64::try_from(number).expect("small") * 1_000);
            let event = Event {
                provider: Provider::ALL[number % Provider::ALL.len()],
                kind: if number % 7 == 0 { EventKind::Deferred } else { EventKind::Refused },
                at,
                sent_at: Some(at),
                dedupe: DedupeMaterial::new(Provider::Ses, &[&number.to_string()]),
                message_id: Some(format!("message {number}")),
                recipient: Address::parse(recipients[number % recipients.len()]).expect("an address"),
                from_domain: Some("mail.example.com".to_owned()),
                envelope_sender: Some(Address::parse("bounce+1@mail.example.com").expect("an address")),
                envelope_domain: None,
                campaign: None,
                reply: Some(Reply::parse(text)),
                remote_mta: hosts[number % hosts.len()].map(ToOwned::to_owned),
                provider_verdict: labels[number % labels.len()].map(ToOwned::to_owned),
                provider_class: FailureClass::Unknown,
            };
            let template = template_of(event.reply.as_ref().expect("a reply"), &Parties::of(&event, &knowledge.relay));
            let facts = context(Some(event.provider), Some(&event.recipient), event.remote_mta.as_deref(), &knowledge.relay);
            expected.insert(at, (whole(&knowledge.rules.classify_labelled(&template, &facts, event.provider_verdict.as_deref())), text));
            report.events.push(event);
        }
        let feed = FeedName { name: "ses".to_owned(), exposure: Exposure::Outcomes };
        let submission = intake.prepare(&feed, &report, &knowledge, at(0));
        test.store.commit(&[submission]).await.expect("commit");

        let journal = test.journal(expected.len(), 1_000).await;
        assert_eq!(journal.len(), expected.len());
        let mut causes = std::collections::BTreeSet::new();
        for event in journal {
            let stored = event.reply.expect("a reply");
            let words: BTreeMap<i32, String> =
                test.store.words(&[stored.template, stored.rule, event.stream].into_iter().chain(event.label).collect::<Vec<_>>()).await.expect("words").into_iter().collect();
            let stream: StreamKey = serde_json::from_str(&words[&event.stream]).expect("a stream");
            let facts = ReplyContext { provider: stream.provider, destination: event.destination, mx: stored.mx };
            let label = event.label.map(|label| words[&label].as_str());
            let again = knowledge.rules.classify_labelled(&words[&stored.template], &facts, label);
            let (ingest, text) = &expected[&event.key.at];
            assert_eq!(&whole(&again), ingest, "{text:?} is stored as {:?}", words[&stored.template]);
            assert_eq!((stored.cause, &words[&stored.rule]), (again.cause, &ingest.4), "{text:?}");
            causes.insert(again.cause.to_string());
        }
        assert!(causes.len() > 10, "many kinds of replies: {causes:?}");
    }
}
