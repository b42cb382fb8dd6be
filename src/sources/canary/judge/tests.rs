use proptest::prelude::*;

use super::{
    super::{Arrival, CanaryId, Kind, Record, Said, Trials, trial::Stage},
    *,
};
use crate::model::{Cause, Fault, HOUR_MILLIS};

const PATIENCE: i64 = 30 * MINUTE_MILLIS;

fn at(minutes: i64) -> Timestamp {
    Timestamp::from_millis(20_000 * 24 * HOUR_MILLIS + minutes * MINUTE_MILLIS)
}

fn record(number: u64, kind: Kind, sent: i64, said: Said) -> Record {
    let path = match kind {
        Kind::Relay => "ses-orders",
        Kind::Control => "icloud",
    };
    Record {
        canary: CanaryId::new(number),
        path: path.to_owned(),
        mailbox: "icloud".to_owned(),
        kind,
        sent_at: at(sent),
        due: at(sent).plus_millis(PATIENCE),
        represents: "ses/mydomain.example".to_owned(),
        not_represented: "the pool of Braze".to_owned(),
        said,
    }
}

fn arrived(minutes: i64) -> Said {
    let arrival = Arrival {
        at: at(minutes),
        folder: "INBOX".to_owned(),
        junk: false,
        from_domain: Some("icloud.com".to_owned()),
        rewritten: true,
        results: Vec::new(),
    };
    Said::Arrived { arrival }
}

fn refused() -> Said {
    Said::Refused {
        refusal: Refusal {
            stage: Stage::Recipient,
            reply: "550 5.1.1 <{sender}>: unauthorized sender".to_owned(),
            cause: Cause::RelaySenderUnregistered,
            fault: Fault::Sender,
            rule: "apple-relay/unauthorized-sender@1".to_owned(),
            confidence: 95,
        },
    }
}

/// Each canary of the path an hour apart with a control a minute before it: what is said of the one and of the other.
fn history(of_each: &[(&[Said], &[Said])]) -> Vec<Record> {
    let mut records = Vec::new();
    for (number, (canary, control)) in of_each.iter().enumerate() {
        let hour = 60 * i64::try_from(number).expect("a small number");
        let number = number as u64;
        let say = |kind, number, sent, said: &[Said]| {
            let first = std::iter::once(Said::Sent);
            first.chain(said.iter().cloned()).map(|said| record(number, kind, sent, said)).collect::<Vec<_>>()
        };
        records.extend(say(Kind::Control, 1_000 + number, hour - 1, control));
        records.extend(say(Kind::Relay, number, hour, canary));
    }
    records
}

fn verdict(records: &[Record], reader: Reader, now: Timestamp) -> Verdict {
    let trials = Trials::of(records);
    let (path, controls) = (trials.of_path(Kind::Relay, "ses-orders"), trials.of_path(Kind::Control, "icloud"));
    judge(&path, &controls, reader, now).verdict
}

fn reading(minutes: i64) -> Reader {
    Reader { read_at: Some(at(minutes)), lasts: 10 * MINUTE_MILLIS }
}

fn missed(hour: i64) -> [Said; 2] {
    [Said::Accepted, Said::Missed { looked: at(60 * hour + 31) }]
}

#[test]
fn three_proven_misses_in_a_row_are_a_silent_loss() {
    let [first, second, third] = [missed(0), missed(1), missed(2)];
    let control = |hour: i64| [Said::Accepted, arrived(60 * hour + 1)];
    let [c0, c1, c2] = [control(0), control(1), control(2)];
    let all = history(&[(&first, &c0), (&second, &c1), (&third, &c2)]);
    assert_eq!(verdict(&all, reading(152), at(152)), Verdict::SilentLoss { misses: 3, since: at(0) });
    assert_eq!(verdict(&all[..12], reading(152), at(152)), Verdict::Missing { misses: 2 });
    let blind = Verdict::Blind { why: Blindness::Reader };
    assert_eq!(verdict(&all, reading(141), at(152)), blind, "nobody reads now");
    let uncontrolled = history(&[(&first, &[]), (&second, &[]), (&third, &[])]);
    assert_eq!(verdict(&uncontrolled, reading(152), at(152)), Verdict::Blind { why: Blindness::Control });
    let one_blind = history(&[(&first, &c0), (&second, &[]), (&third, &c2)]);
    assert_eq!(verdict(&one_blind, reading(152), at(152)), Verdict::Missing { misses: 2 });
    let unsure = [Said::Missed { looked: at(91) }];
    let one_unsure = history(&[(&first, &c0), (&unsure, &c1), (&third, &c2)]);
    assert_eq!(verdict(&one_unsure, reading(152), at(152)), Verdict::Missing { misses: 2 }, "it may never have left");
}

#[test]
fn an_arrival_ends_the_row_also_where_it_is_late() {
    let [first, second, third] = [missed(0), missed(1), missed(2)];
    let control = |hour: i64| [Said::Accepted, arrived(60 * hour + 1)];
    let [c0, c1, c2] = [control(0), control(1), control(2)];
    let mut all = history(&[(&first, &c0), (&second, &c1), (&third, &c2)]);
    all.push(record(1, Kind::Relay, 60, arrived(150)));
    assert_eq!(verdict(&all, reading(152), at(152)), Verdict::Missing { misses: 1 });
    let trials = Trials::of(&all);
    let path = trials.of_path(Kind::Relay, "ses-orders");
    assert_eq!(
        path.iter().map(|trial| trial.status(at(152))).collect::<Vec<_>>(),
        [Status::Missed, Status::Late, Status::Missed]
    );
    assert_eq!(has_recovered(path[0], &path).map(|trial| trial.record.canary), Some(CanaryId::new(1)));
    assert_eq!(has_recovered(path[2], &path), None, "what was sent before the loss says nothing of it");
}

#[test]
fn a_refusal_is_no_silence() {
    let [first, second] = [missed(0), missed(1)];
    let control = [Said::Accepted, arrived(61)];
    let all = history(&[(&first, &[Said::Accepted, arrived(1)]), (&second, &control), (&[refused()], &[])]);
    let Verdict::Refused { refusal } = verdict(&all, reading(125), at(125)) else { panic!("refused") };
    assert_eq!(refusal.cause, Cause::RelaySenderUnregistered);
    let unsent = [Said::Unsent { why: Hindrance::Login }];
    assert_eq!(verdict(&history(&[(&unsent, &[])]), reading(5), at(5)), Verdict::Unsent { why: Hindrance::Login });
    assert_eq!(verdict(&history(&[(&[Said::Accepted], &[])]), reading(5), at(5)), Verdict::Untried);
    assert_eq!(verdict(&[], reading(5), at(5)), Verdict::Untried);
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        Just(Said::Accepted),
        Just(Said::Unsent { why: Hindrance::Unreachable }),
        Just(refused()),
        (0_i64..400).prop_map(|minutes| Said::Missed { looked: at(minutes) }),
        (0_i64..400).prop_map(arrived),
        Just(Said::Announced),
        Just(Said::Resolved),
    ]
}

/// Some records of six canaries and six controls.
fn records() -> impl Strategy<Value = Vec<Record>> {
    let one = (0_u64..6, any::<bool>(), prop_oneof![3 => Just(None), 4 => said().prop_map(Some)]);
    proptest::collection::vec(one, 0..60).prop_map(|all| {
        let sent = |(number, control, said): (u64, bool, Option<Said>)| {
            let hour = 60 * i64::try_from(number).expect("a small number");
            let (kind, number) = if control { (Kind::Control, 1_000 + number) } else { (Kind::Relay, number) };
            record(number, kind, hour, said.unwrap_or(Said::Sent))
        };
        all.into_iter().map(sent).collect()
    })
}

proptest! {
    #[test]
    fn neither_order_nor_repetition_matters(all in records(), seed: u64) {
        let mut shuffled: Vec<&Record> = all.iter().chain(all.iter().step_by(2)).collect();
        shuffled.sort_by_key(|record| {
            record.to_body().to_string().bytes().fold(seed, |hash, b| hash.rotate_left(5) ^ u64::from(b))
        });
        prop_assert_eq!(Trials::of(shuffled), Trials::of(&all));
    }

    #[test]
    fn silent_loss_is_never_said_without_reader_and_control(all in records(), read in 0_i64..400, now in 0_i64..400) {
        let Verdict::SilentLoss { misses, .. } = verdict(&all, reading(read), at(now)) else { return Ok(()) };
        prop_assert!(misses >= MISSES && now - read <= 10);
        let of = |number: u64, is: &dyn Fn(&Said) -> bool| {
            all.iter().any(|record| record.canary == CanaryId::new(number) && is(&record.said))
        };
        let proven = (0..6_u64).filter(|number| {
            let due = 60 * i64::try_from(*number).expect("a small number") + 30;
            of(*number, &|said| *said == Said::Accepted)
                && of(*number, &|said| matches!(said, Said::Missed { .. }))
                && !of(*number, &|said| matches!(said, Said::Arrived { .. } | Said::Refused { .. }))
                && of(1_000 + number, &|said| matches!(said, Said::Arrived { arrival } if arrival.at <= at(due)))
        });
        prop_assert!(proven.count() >= MISSES);
    }

    #[test]
    fn whatever_is_missing_an_arrival_of_the_last_ends_it(all in records(), now in 400_i64..500) {
        let mut all = all;
        all.push(record(9, Kind::Relay, 390, Said::Accepted));
        all.push(record(9, Kind::Relay, 390, arrived(391)));
        prop_assert_eq!(verdict(&all, reading(now), at(now)), Verdict::Arrives);
    }

    #[test]
    fn a_record_is_read_as_it_was_written(all in records()) {
        for record in all {
            prop_assert_eq!(Record::from_body(&record.to_body()), Some(record));
        }
    }
}
