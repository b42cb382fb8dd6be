use super::*;
use crate::model::Provider;

const TODAY: i64 = 20_000;

fn finest(provider: Provider, domain: &str, campaign: Option<&str>) -> StreamKey {
    StreamKey::finest(provider, Some(domain.to_owned()), None, campaign.map(ToOwned::to_owned))
}

fn cell(finest: i32, bin: i64, exposed: i64, refused: i64) -> FinestCell {
    let addresses =
        (0..refused).fold(Witnesses::default(), |all, n| all.with(u64::try_from(n + bin * 1_000).expect("positive")));
    FinestCell { finest, bin, counts: Counts { exposed, refused, ..Counts::default() }, addresses }
}

/// A judge that knows 30 ordinary days of two senders: 1,000 mails a day each, half a percent refused.
fn learned() -> Judge {
    let mut judge = Judge::new(Parameters::default());
    for (number, key) in
        [(1, finest(Provider::Ses, "a.example", None)), (2, finest(Provider::Braze, "b.example", None))]
    {
        judge.know(number, &key);
        for day in TODAY - 33..TODAY {
            judge.set_day(number, day, 1_000, 3 + day % 5);
        }
    }
    judge
}

#[test]
fn a_purge_alarms_its_streams_and_no_other() {
    let mut judge = learned();
    let start = TODAY * DAY_BINS;
    let calm: Vec<FinestCell> = (0..24).flat_map(|n| [cell(1, start + n, 4, 0), cell(2, start + n, 4, 0)]).collect();
    judge.judge(&calm, Bin(start + 24));
    assert_eq!(judge.phase(), Phase::Learned);
    assert_eq!(judge.alarms().count(), 0);
    judge.judge(&[cell(1, start + 24, 40, 38), cell(2, start + 24, 4, 0)], Bin(start + 25));
    let alarmed: Vec<String> = judge.alarms().map(|(key, _)| key.to_string()).collect();
    assert!(
        alarmed.contains(&"ses/a.example".to_owned()) && alarmed.contains(&"all relay mail".to_owned()),
        "{alarmed:?}"
    );
    assert!(!alarmed.iter().any(|name| name.contains("braze") || name.contains("b.example")), "{alarmed:?}");
    let (_, alarms) = judge.alarms().next().expect("an alarm");
    assert_eq!(alarms[0].onset, Bin(start + 24));
}

#[test]
fn the_order_of_cells_and_their_repetition_leave_no_trace() {
    let start = TODAY * DAY_BINS;
    let mut cells: Vec<FinestCell> =
        (0..60).flat_map(|n| [cell(1, start + n, 5, i64::from(n > 40) * 5), cell(2, start + n, 5, 0)]).collect();
    let alarms = |judge: &Judge| -> Vec<(StreamKey, Vec<Alarm>)> {
        judge.alarms().map(|(key, alarms)| (key.clone(), alarms.into_iter().copied().collect())).collect()
    };
    let mut one = learned();
    one.judge(&cells, Bin(start + 60));
    assert!(!alarms(&one).is_empty());
    let mut other = learned();
    cells.reverse();
    for chunk in cells.chunks(7) {
        other.judge(chunk, Bin(start + 60));
        other.judge(chunk, Bin(start + 60));
    }
    assert_eq!(alarms(&other), alarms(&one));
}

#[test]
fn what_has_no_exposure_moves_nothing() {
    let mut judge = learned();
    let start = TODAY * DAY_BINS;
    let bounces: Vec<FinestCell> = (0..50).map(|n| cell(1, start + n, 0, 20)).collect();
    judge.judge(&bounces, Bin(start + 50));
    assert_eq!(judge.alarms().count(), 0, "no denominator is made up");
    let unsent: Vec<FinestCell> = (0..50)
        .map(|n| {
            let mut cell = cell(1, start + n, 10, 10);
            cell.counts.unexposed = 8;
            cell
        })
        .collect();
    judge.judge(&unsent, Bin(start + 50));
    assert_eq!(judge.alarms().count(), 0, "refusals that came before their sends");
}

#[test]
fn a_new_installation_learns_and_says_so() {
    let mut judge = Judge::new(Parameters::default());
    judge.know(1, &finest(Provider::Ses, "a.example", None));
    let start = TODAY * DAY_BINS;
    judge.judge(&[cell(1, start, 200, 180)], Bin(start + 1));
    assert_eq!(judge.phase(), Phase::Learning);
    assert!(judge.alarms().count() > 0, "what is blatant is seen at once");
}

#[test]
fn relations_follow_the_family() {
    let a = finest(Provider::Ses, "a.example", Some("spring"));
    let b = finest(Provider::Braze, "b.example", None);
    assert!(related(&a, &StreamKey::fleet()));
    assert!(related(&a.at(StreamLevel::Provider).expect("parent"), &a));
    assert!(!related(&a, &b));
    let (provider, domain) = (a.at(StreamLevel::Provider), a.at(StreamLevel::Domain));
    assert!(!related(&provider.expect("parent"), &domain.expect("parent")), "neither holds the other");
}
