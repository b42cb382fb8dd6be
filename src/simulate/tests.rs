//! What the generator promises.

use std::collections::HashSet;

use proptest::prelude::*;
use rand::{SeedableRng, rngs::StdRng};

use super::*;
use crate::{
    ingest::http::{
        Delivery,
        auth::Login,
        braze::{self, Braze},
        ses,
        sparkpost::{self, SparkPost},
    },
    model::{DAY_MILLIS, EventKind, Exposure, HOUR_MILLIS, NoticeKind, Provider, Timestamp},
};

fn small() -> Size {
    Size { days: 4, users: 400, transactional: 60.0, campaign: 60.0, ..Size::default() }
}

fn made(case: Case, seed: u64) -> Plan {
    plan(case, &small(), &mut StdRng::seed_from_u64(seed))
}

fn outcomes(plan: &Plan) -> impl Iterator<Item = &Outcome> {
    plan.posts.iter().filter(|post| !post.repeated).flat_map(|post| post.what.outcomes())
}

fn is_relay(outcome: &Outcome) -> bool {
    outcome.recipient.ends_with("@privaterelay.appleid.com")
}

fn any_case() -> impl Strategy<Value = Case> {
    prop::sample::select(Case::ALL)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_same_seed_makes_the_same_plan(case in any_case(), seed: u64) {
        prop_assert_eq!(made(case, seed), made(case, seed));
        prop_assert_ne!(made(case, seed).posts, made(case, seed.wrapping_add(1)).posts);
    }

    #[test]
    fn posts_are_in_order_and_report_only_the_past(case in any_case(), seed: u64) {
        let plan = made(case, seed);
        prop_assert!(plan.posts.is_sorted_by_key(|post| post.at));
        for post in &plan.posts {
            prop_assert!(post.at >= plan.start && post.at <= plan.end);
            for outcome in post.what.outcomes() {
                prop_assert!(outcome.at <= post.at && outcome.sent_at <= outcome.at, "{post:?}");
            }
            if let What::Notice(notice) = &post.what {
                prop_assert!(notice.at <= notice.issued_at && notice.issued_at <= post.at);
            }
        }
    }

    #[test]
    fn a_post_that_is_repeated_was_sent_before(case in any_case(), seed: u64) {
        let plan = made(case, seed);
        let mut sent: Vec<&What> = Vec::new();
        for post in &plan.posts {
            if post.repeated {
                prop_assert!(sent.contains(&&post.what), "{post:?}");
            } else {
                sent.push(&post.what);
            }
        }
    }

    #[test]
    fn each_mail_has_at_most_one_outcome_of_a_kind(case in any_case(), seed: u64) {
        let plan = made(case, seed);
        let mut seen = HashSet::new();
        for outcome in outcomes(&plan) {
            prop_assert!(seen.insert((outcome.mail, outcome.kind)), "{outcome:?}");
        }
    }

    #[test]
    fn before_the_onset_no_more_is_refused_than_usual(case in any_case(), seed: u64) {
        let plan = made(case, seed);
        let before: Vec<_> = outcomes(&plan).filter(|o| is_relay(o) && o.sent_at < plan.turning_point).collect();
        let refused = before.iter().filter(|o| o.kind == EventKind::Refused).count();
        let mails: HashSet<u64> = before.iter().map(|o| o.mail).collect();
        if plan.sender.exposure != Exposure::None {
            // The rate is at most 2 % in a cluster's mean, three times that in a benign campaign.
            prop_assert!(refused * 12 < mails.len() + 60, "{refused} of {}", mails.len());
        }
    }
}

/// Of the relay mail sent from `from` on, how much was tried and how much refused.
fn since(plan: &Plan, from: Timestamp) -> (usize, usize) {
    let tried = |o: &&Outcome| is_relay(o) && o.sent_at >= from && o.kind != EventKind::SuppressedByProvider;
    let all: Vec<&Outcome> = outcomes(plan).filter(tried).collect();
    let mails: HashSet<u64> = all.iter().map(|o| o.mail).collect();
    (mails.len(), all.iter().filter(|o| o.kind == EventKind::Refused).count())
}

#[test]
fn the_purge_refuses_nearly_all_from_its_onset_on_and_nobody_was_warned() {
    for case in [Case::PurgeBraze, Case::PurgeSparkpost] {
        let plan = made(case, 7);
        let onset = plan.truth.onset.expect("an onset");
        assert_eq!(onset.to_string(), "2025-08-09T06:00:00Z");
        let reachable = outcomes(&plan)
            .filter(|o| o.kind == EventKind::Delivered && is_relay(o))
            .filter(|o| o.sent_at >= onset.plus_millis(-3 * HOUR_MILLIS) && o.sent_at < onset);
        assert!(reachable.count() > 50, "they were reachable at 03:00");
        let (mails, refused) = since(&plan, onset);
        assert!(mails > 350 && refused * 100 > mails * 95, "{refused} of {mails}");
        assert!(plan.truth.share_revoked.expect("refused") < 0.02);
        for refusal in outcomes(&plan).filter(|o| is_relay(o) && o.kind == EventKind::Refused) {
            let wanted = format!("550 5.1.1 <{}>: user not found", refusal.recipient);
            assert!(refusal.reply.as_ref().is_some_and(|reply| reply.starts_with(&wanted)));
        }
        let echoes = outcomes(&plan).filter(|o| o.kind == EventKind::SuppressedByProvider).count();
        assert!(echoes > 0, "the provider suppresses what was refused");
    }
}

#[test]
fn an_unauthorized_sender_has_its_own_address_in_the_brackets() {
    let plan = made(Case::UnauthorizedSender, 7);
    let onset = plan.truth.onset.expect("an onset");
    let (mails, refused) = since(&plan, onset);
    assert!(refused > 20 && refused == mails, "{refused} of {mails}");
    for refusal in outcomes(&plan).filter(|o| is_relay(o) && o.kind == EventKind::Refused && o.sent_at >= onset) {
        let reply = refusal.reply.as_deref().expect("a reply");
        assert!(reply.ends_with("@mail.mydomain.example>: unauthorized sender"), "{reply}");
    }
    let others = outcomes(&plan).filter(|o| !is_relay(o) && o.sent_at >= onset && o.kind == EventKind::Delivered);
    assert!(others.count() > 3, "other mail of the sender arrives");
}

#[test]
fn revocations_come_with_their_notices_and_explain_what_is_refused() {
    let plan = made(Case::Revocations, 7);
    let onset = plan.truth.onset.expect("an onset");
    let notices: Vec<_> = plan
        .posts
        .iter()
        .filter_map(|post| if let What::Notice(notice) = &post.what { Some(notice) } else { None })
        .filter(|notice| notice.at >= onset)
        .collect();
    let of = |kind| notices.iter().filter(|notice| notice.kind == kind).count();
    assert!(of(NoticeKind::ConsentRevoked) > 60 && of(NoticeKind::EmailDisabled) > 60);
    assert!(notices.iter().all(|notice| (notice.kind == NoticeKind::EmailDisabled) == notice.email.is_some()));
    assert!(plan.truth.share_revoked.expect("refused") > 0.9);
    let rows: HashSet<&str> = plan
        .posts
        .iter()
        .filter_map(|post| if let What::Accounts(rows) = &post.what { Some(rows) } else { None })
        .flatten()
        .map(|row| row.subject.as_str())
        .collect();
    let mapped = notices.iter().filter(|notice| rows.contains(notice.subject.as_str())).count();
    assert!(mapped * 100 >= notices.len() * 95, "{mapped} of {}", notices.len());
}

#[test]
fn the_replayed_hour_has_the_same_bodies() {
    let plan = made(Case::Replay, 7);
    let hour = |from: Timestamp| {
        let until = from.plus_millis(HOUR_MILLIS);
        move |post: &&Post| post.at >= from && post.at < until && !post.what.outcomes().is_empty()
    };
    let body = |post: &Post| match &post.what {
        What::Sparkpost(batch) => wire::sparkpost(batch),
        other => panic!("{other:?}"),
    };
    let original: Vec<String> =
        plan.posts.iter().filter(hour(plan.turning_point.plus_millis(-3 * HOUR_MILLIS))).map(body).collect();
    let again: HashSet<String> =
        plan.posts.iter().filter(hour(plan.turning_point)).filter(|post| post.repeated).map(body).collect();
    assert!(original.len() > 20);
    assert!(original.iter().all(|body| again.contains(body)));
}

#[test]
fn a_feed_of_bounces_tells_of_nothing_else() {
    let plan = made(Case::BouncesOnly, 7);
    assert!(outcomes(&plan).count() > 0);
    assert!(
        outcomes(&plan).all(|o| matches!(o.kind, EventKind::Refused | EventKind::SuppressedByProvider)),
        "no denominator"
    );
    assert_eq!((plan.truth.onset, plan.truth.cause), (None, None));
}

#[test]
fn ordinary_weeks_have_the_usual_rate() {
    let size = Size { days: 28, users: 2_000, transactional: 400.0, campaign: 400.0, ..Size::default() };
    let rates: Vec<f64> = (0..12)
        .map(|seed| {
            let plan = plan(Case::Replay, &size, &mut StdRng::seed_from_u64(seed));
            let days = plan.turning_point.millis_since(plan.start) / DAY_MILLIS;
            assert_eq!(days, 28);
            let (mails, refused) = since(&plan, plan.start);
            f64::from(u32::try_from(refused).expect("small")) / f64::from(u32::try_from(mails).expect("small"))
        })
        .collect();
    let mean = rates.iter().sum::<f64>() / 12.0;
    assert!((0.003..0.012).contains(&mean), "{rates:?}");
}

/// What the feed makes of a post.
fn decoded(post: &Post) -> Vec<crate::model::Event> {
    let delivery = |body: String| {
        let mut headers = axum::http::HeaderMap::new();
        headers.insert("authorization", "Bearer t0ken".parse().expect("a header"));
        Delivery {
            method: axum::http::Method::POST,
            query: String::new(),
            headers,
            body: body.into(),
            received_at: post.at,
        }
    };
    let tokens = || vec!["t0ken".into()];
    let report = match &post.what {
        What::Ses { outcome, .. } => ses::decode(&wire::ses(outcome), None, post.at).expect("an event"),
        What::Sparkpost(batch) => {
            SparkPost::new(&sparkpost::Settings { logins: Vec::<Login>::new(), tokens: tokens() })
                .expect("a feed")
                .receive(&delivery(wire::sparkpost(batch)))
                .expect("a batch")
        }
        What::Braze(batch) => Braze::new(&braze::Settings { tokens: tokens() })
            .expect("a feed")
            .receive(&delivery(wire::braze(batch)))
            .expect("a batch"),
        What::Notice(_) | What::Accounts(_) => return Vec::new(),
    };
    assert!(report.set_aside.is_empty() && report.ignored.is_empty(), "{report:?}");
    report.events
}

#[test]
fn feeds_read_what_was_meant() {
    for case in Case::ALL {
        let plan = made(*case, 3);
        let mut keys = HashSet::new();
        let mut kinds = HashSet::new();
        for post in &plan.posts {
            let events = decoded(post);
            assert_eq!(events.len(), post.what.outcomes().len());
            for (event, meant) in events.iter().zip(post.what.outcomes()) {
                kinds.insert(event.kind);
                assert_eq!(event.kind, meant.kind);
                assert_eq!(event.recipient.expose(), &*meant.recipient);
                assert_eq!(event.from_domain.as_deref(), Some(plan.sender.from_domain.as_str()));
                assert_eq!(event.campaign.as_deref(), meant.campaign.as_deref());
                if plan.sender.provider != Provider::Braze {
                    assert_eq!(event.sent_at, Some(meant.sent_at));
                    assert_eq!(event.envelope_domain.as_deref(), Some(plan.sender.envelope_domain.as_str()));
                }
                let failed = matches!(meant.kind, EventKind::Refused | EventKind::SuppressedByProvider);
                assert!(!failed || event.reply.is_some());
                assert!((event.at.as_seconds() - meant.at.as_seconds()).abs() <= 1);
                assert_eq!(keys.insert(event.dedupe.clone()), !post.repeated, "one identity for each outcome");
            }
        }
        let wanted: HashSet<EventKind> = match plan.sender.exposure {
            Exposure::Sends => HashSet::from([EventKind::Sent, EventKind::Delivered, EventKind::Refused]),
            Exposure::Outcomes => HashSet::from([EventKind::Delivered, EventKind::Refused]),
            Exposure::None => HashSet::from([EventKind::Refused]),
        };
        assert!(kinds.is_superset(&wanted), "{case}: {kinds:?}");
    }
}

#[test]
fn payloads_look_like_the_providers_own() {
    let one = |case, kind| {
        let plan = made(case, 3);
        let mut newest = plan.posts.iter().rev();
        let post = newest.find(|post| post.what.outcomes().iter().any(|o| o.kind == kind)).cloned();
        let mut what = post.expect("such a post").what;
        if let What::Sparkpost(batch) | What::Braze(batch) = &mut what {
            batch.outcomes.retain(|o| o.kind == kind);
            batch.outcomes.truncate(1);
        }
        let body = match &what {
            What::Ses { outcome, .. } => wire::ses(outcome),
            What::Sparkpost(batch) => wire::sparkpost(batch),
            What::Braze(batch) => wire::braze(batch),
            other => panic!("{other:?}"),
        };
        let value: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        serde_json::to_string_pretty(&value).expect("JSON")
    };
    insta::assert_snapshot!("ses_refused", one(Case::UnauthorizedSender, EventKind::Refused));
    insta::assert_snapshot!("sparkpost_refused", one(Case::PurgeSparkpost, EventKind::Refused));
    insta::assert_snapshot!("braze_sent", one(Case::PurgeBraze, EventKind::Sent));
    insta::assert_snapshot!("braze_suppressed", one(Case::PurgeBraze, EventKind::SuppressedByProvider));
}
