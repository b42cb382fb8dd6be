use super::*;
use crate::model::Provider;

const TODAY: i64 = 20_000;

fn finest(provider: Provider, domain: &str, campaign: Option<&str>) -> StreamKey {
    StreamKey::finest(provider, Some(domain.to_owned()), None, campaign.map(ToOwned::to_owned))
}

fn cell(finest: i32, bin: i64, exposed: i64, refused: i64) -> FinestCell {
    let addresses =
        (0..refused).fold(Witnesses::default(), |all, n| all.with(u64::try_from(n + bin * 1_000).expect("positive")));
    FinestCell {
        finest,
        bin,
        counts: Counts { exposed, refused, refused_exposed: refused.min(exposed), ..Counts::default() },
        addresses,
    }
}

fn set_day(judge: &mut Judge, key: &StreamKey, day: i64, sends: u64, refused: u64) {
    judge.change_day(key, day, ClusterTotals::default(), ClusterTotals { sends, refused });
}

/// A judge that knows 30 ordinary days of two senders: 1,000 mails a day each, half a percent refused.
fn learned() -> Judge {
    let mut judge = Judge::new(Parameters::default());
    for (number, key) in
        [(1, finest(Provider::Ses, "a.example", None)), (2, finest(Provider::Braze, "b.example", None))]
    {
        judge.know(number, &key, TODAY);
        for day in TODAY - 33..TODAY {
            set_day(&mut judge, &key, day, 1_000, u64::try_from(3 + day % 5).expect("small"));
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
fn refusals_are_judged_by_their_own_sends() {
    let start = TODAY * DAY_BINS;
    let cells = |change: &dyn Fn(&mut Counts)| -> Vec<FinestCell> {
        let cell = |n| {
            let mut cell = cell(1, start + n, 91, 9);
            change(&mut cell.counts);
            cell
        };
        (0..20).map(cell).collect()
    };
    let mut judge = learned();
    let unexposed = cells(&|counts| counts.unexposed = 9);
    judge.judge(&unexposed, Bin(start + 20));
    assert!(judge.alarms().count() > 0, "deliveries without their send hide no refusal");
    assert!(!judge.is_bare(&unexposed[0]));
    let mut judge = learned();
    let of_another = cells(&|counts| counts.refused_exposed = 0);
    judge.judge(&of_another, Bin(start + 20));
    assert_eq!(judge.alarms().count(), 0, "sends of another feed are no denominator");
    assert!(judge.is_bare(&of_another[0]), "they are counted");
}

/// What a finer stream's trouble was is left out of a coarser one's baseline, and nothing else of its day.
#[test]
fn trouble_of_a_finer_stream_is_in_no_baseline_above_it() {
    let start = TODAY * DAY_BINS;
    let cells = [cell(1, start, 4, 0), cell(2, start, 4, 0)];
    let day = TODAY - 10;
    let baseline = |prepare: &dyn Fn(&mut Judge)| {
        let mut judge = learned();
        prepare(&mut judge);
        judge.judge(&cells, Bin(start + 1));
        judge.regime(&StreamKey::fleet(), Bin(start)).expect("a regime").baseline
    };
    let bad = finest(Provider::Ses, "a.example", Some("bad"));
    let purge = |judge: &mut Judge| set_day(judge, &bad, day, 500, 500);
    let trouble = |judge: &mut Judge| {
        let scope = bad.at(StreamLevel::ProviderDomain).expect("a parent");
        judge.set_trouble(BTreeMap::from([(scope, BTreeMap::from([(day, day)]))]));
    };
    assert_ne!(baseline(&purge), baseline(&|_| {}));
    let without = baseline(&trouble);
    let with = baseline(&|judge| {
        purge(judge);
        trouble(judge);
    });
    assert_eq!(with, without);
}

#[test]
fn a_new_installation_learns_and_says_so() {
    let mut judge = Judge::new(Parameters::default());
    judge.know(1, &finest(Provider::Ses, "a.example", None), TODAY);
    let start = TODAY * DAY_BINS;
    judge.judge(&[cell(1, start, 200, 180)], Bin(start + 1));
    assert_eq!(judge.phase(), Phase::Learning);
    assert!(judge.alarms().count() > 0, "what is blatant is seen at once");
}

#[test]
fn history_that_was_brought_in_ends_the_learning() {
    let phase = |days: i64, installed: Option<i64>| {
        let mut judge = Judge::new(Parameters::default());
        let key = finest(Provider::Ses, "a.example", None);
        judge.know(1, &key, TODAY);
        for day in TODAY - 2 - days..TODAY - 2 {
            set_day(&mut judge, &key, day, 200, 1);
        }
        judge.set_installed(installed);
        judge.judge(&[cell(1, TODAY * DAY_BINS, 4, 0)], Bin(TODAY * DAY_BINS + 1));
        judge.phase()
    };
    assert_eq!(phase(10, None), Phase::Learning, "ten clusters of one's own are few");
    assert_eq!(phase(10, Some(TODAY - 20)), Phase::Learning, "relaywatch saw all of it happen");
    assert_eq!(phase(10, Some(TODAY)), Phase::Learned, "it happened before relaywatch was there");
    assert_eq!(phase(6, Some(TODAY)), Phase::Learning, "less than a week: late reports of the days before");
    assert_eq!(phase(20, Some(TODAY - 40)), Phase::Learned, "twenty clusters");
}

#[test]
fn cells_of_an_outage_and_of_feeds_that_only_refuse_move_nothing() {
    let start = TODAY * DAY_BINS;
    let trouble: Vec<FinestCell> = (0..6).map(|n| cell(1, start + n, 40, 38)).collect();
    let alarms = |prepare: &dyn Fn(&mut Judge)| {
        let mut judge = learned();
        prepare(&mut judge);
        judge.judge(&trouble, Bin(start + 6));
        judge.alarms().count()
    };
    assert!(alarms(&|_| {}) > 0);
    let at = |bin: i64| Bin(bin).start();
    let all = [Outage { from: at(start), until: at(start + 6) }];
    assert_eq!(alarms(&|judge| judge.set_outages(all.to_vec())), 0);
    let part = [Outage { from: at(start), until: at(start + 2) }];
    assert!(alarms(&|judge| judge.set_outages(part.to_vec())) > 0, "what comes after it counts");
    let distrust = |provider| move |judge: &mut Judge| assert!(judge.set_distrusted(BTreeSet::from([provider])));
    assert_eq!(alarms(&distrust(Provider::Ses)), 0);
    assert!(alarms(&distrust(Provider::Braze)) > 0);
    assert!(!learned().is_bare(&trouble[0]));
    let mut judge = learned();
    assert!(judge.set_distrusted(BTreeSet::from([Provider::Ses])) && judge.is_bare(&trouble[0]));
    assert!(learned().is_bare(&cell(1, start, 0, 3)), "a feed without exposure");
    let mut early = cell(1, start, 0, 3);
    early.counts.unexposed = 3;
    assert!(!learned().is_bare(&early), "the sends are on their way");
}

/// The distrusted provider's clusters are in no baseline, whether it was distrusted before they came or after; and come back when
/// it is trusted again.
#[test]
fn clusters_of_distrusted_providers_are_in_no_baseline() {
    let start = TODAY * DAY_BINS;
    let cells = [cell(1, start, 4, 0), cell(2, start, 4, 0), cell(3, start, 4, 0)];
    let bad = finest(Provider::Sendgrid, "a.example", None);
    let add = |judge: &mut Judge| {
        judge.know(3, &bad, TODAY);
        for day in TODAY - 33..TODAY {
            set_day(judge, &bad, day, 500, 500);
        }
    };
    let regimes = |judge: &mut Judge| -> Vec<Option<Baseline>> {
        judge.judge(&cells, Bin(start + 1));
        let domain = bad.at(StreamLevel::Domain).expect("a domain");
        let streams = [StreamKey::fleet(), domain];
        streams.iter().map(|key| judge.regime(key, Bin(start)).map(|regime| regime.baseline)).collect()
    };
    let mut without = learned();
    without.know(3, &bad, TODAY);
    let without = regimes(&mut without);
    let distrusted = || BTreeSet::from([Provider::Sendgrid]);
    let (mut before, mut after) = (learned(), learned());
    before.set_distrusted(distrusted());
    add(&mut before);
    add(&mut after);
    let trusting = regimes(&mut after);
    assert_ne!(trusting, without);
    after.set_distrusted(distrusted());
    assert_eq!(regimes(&mut before), without);
    assert_eq!(regimes(&mut after), without);
    after.set_distrusted(BTreeSet::new());
    assert_eq!(regimes(&mut after), trusting);
}

/// History that was brought in by a distrusted provider ends no learning.
#[test]
fn what_a_distrusted_provider_brought_in_ends_no_learning() {
    let mut judge = Judge::new(Parameters::default());
    let key = finest(Provider::Ses, "a.example", None);
    judge.know(1, &key, TODAY);
    for day in TODAY - 12..TODAY - 2 {
        set_day(&mut judge, &key, day, 200, 1);
    }
    judge.set_installed(Some(TODAY));
    judge.set_distrusted(BTreeSet::from([Provider::Ses]));
    let cells = [cell(1, TODAY * DAY_BINS, 4, 0)];
    judge.judge(&cells, Bin(TODAY * DAY_BINS + 1));
    assert_eq!(judge.phase(), Phase::Learning);
    judge.set_distrusted(BTreeSet::new());
    judge.judge(&cells, Bin(TODAY * DAY_BINS + 1));
    assert_eq!(judge.phase(), Phase::Learned);
}

mod in_any_order {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// Cells, outages and distrust may become known in any order, with any repetition: what is judged in the end, once each
        /// cell was brought again that they concern, is the same.
        #[test]
        fn judgements_are_the_same(
            shape in prop::collection::vec((0_i64..48, 1_i64..30, 0_i64..30), 1..30),
            (from, length) in (0_i64..40, 1_i64..20),
            distrust in any::<bool>(),
            (chunk, turn) in (1_usize..9, any::<prop::sample::Index>()),
        ) {
            let start = TODAY * DAY_BINS;
            let now = Bin(start + 60);
            let mut of: BTreeMap<(i32, i64), FinestCell> = BTreeMap::new();
            for (place, (bin, exposed, refused)) in shape.into_iter().enumerate() {
                let number = 1 + i32::try_from(place % 2).expect("small");
                of.insert((number, start + bin), cell(number, start + bin, exposed, refused.min(exposed)));
            }
            let cells: Vec<FinestCell> = of.into_values().collect();
            let outages = vec![Outage { from: Bin(start + from).start(), until: Bin(start + from + length).start() }];
            let distrusted: BTreeSet<Provider> = distrust.then_some(Provider::Braze).into_iter().collect();
            let judged = |judge: &Judge| -> Vec<(StreamKey, Vec<Alarm>)> {
                judge.alarms().map(|(key, alarms)| (key.clone(), alarms.into_iter().copied().collect())).collect()
            };
            let mut known_first = learned();
            known_first.set_outages(outages.clone());
            known_first.set_distrusted(distrusted.clone());
            known_first.judge(&cells, now);

            let mut known_last = learned();
            let mut shuffled = cells.clone();
            shuffled.rotate_left(turn.index(cells.len()));
            shuffled.reverse();
            for chunk in shuffled.chunks(chunk) {
                known_last.judge(chunk, now);
                known_last.judge(chunk, now);
            }
            known_last.set_outages(outages);
            known_last.set_distrusted(distrusted);
            known_last.judge(&shuffled, now);
            prop_assert_eq!(judged(&known_last), judged(&known_first));
        }
    }
}

mod after_a_restart {
    use proptest::prelude::*;

    use super::*;

    /// The alarm's day.
    const OPENED: i64 = TODAY;

    /// What two senders sent on a day, and how much of it was refused: the first is in trouble from the day before the alarm on.
    fn mail(day: i64, ordinary: &[u64]) -> [(StreamKey, u64, u64); 2] {
        let part = |shift: i64| {
            let at = usize::try_from(day + shift).expect("positive") % ordinary.len();
            ordinary[at]
        };
        let first = if day >= OPENED - 1 { part(0) * 30 } else { part(0) };
        [
            (finest(Provider::Ses, "a.example", None), 1_000, first),
            (finest(Provider::Braze, "b.example", None), 1_000, part(3)),
        ]
    }

    /// Blatant in the bins after noon, so that both alarm in the same ones however they began.
    fn cells(day: i64) -> Vec<FinestCell> {
        let bin = |n: i64| day * DAY_BINS + 140 + n;
        (0..12).flat_map(|n| [cell(1, bin(n), 40, if n > 6 { 38 } else { 0 }), cell(2, bin(n), 40, 0)]).collect()
    }

    fn prepare(judge: &mut Judge, day: i64) {
        let scope = finest(Provider::Ses, "a.example", None).at(StreamLevel::ProviderDomain).expect("a parent");
        let trouble = (OPENED - 1..=day).map(|day| (day, OPENED)).collect();
        judge.set_trouble(BTreeMap::from([(scope.clone(), trouble)]));
        judge.freeze(BTreeMap::from([(scope, OPENED)]));
    }

    fn take(judge: &mut Judge, day: i64, ordinary: &[u64]) {
        for (number, (key, sends, refused)) in (1..).zip(mail(day, ordinary)) {
            judge.know(number, &key, day);
            set_day(judge, &key, day, sends, refused);
        }
    }

    type Told = (Vec<(StreamKey, i64, Baseline, f64)>, Vec<(StreamKey, Bin)>);

    fn told(judge: &Judge, last: i64) -> Told {
        let streams = mail(last, &[0]).into_iter().flat_map(|(key, _, _)| key.parents()).collect::<BTreeSet<_>>();
        let regime = |key: &StreamKey, day: i64| judge.regime(key, Bin(day * DAY_BINS)).expect("a regime").clone();
        let ring = last - RING_DAYS..=last;
        let regimes = streams.iter().flat_map(|key| {
            ring.clone().map(|day| {
                let regime = regime(key, day);
                (key.clone(), day, regime.baseline, regime.mass)
            })
        });
        let in_ring = |bin: &Bin| ring.contains(&bin.0.div_euclid(DAY_BINS));
        let alarms = judge
            .alarms()
            .flat_map(|(key, alarms)| alarms.into_iter().map(|alarm| (key.clone(), alarm.bin)).collect::<Vec<_>>());
        (regimes.collect(), alarms.filter(|(_, bin)| in_ring(bin)).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        /// Whoever lived through an incident and whoever was loaded in it, in or long after the days of its onset, judge alike.
        #[test]
        fn a_judge_that_was_loaded_judges_like_one_that_lived_through_it(
            ordinary in prop::collection::vec(0_u64..12, 7..40),
            days_open in prop_oneof![0_i64..6, 6_i64..90],
            late in prop::option::of((3_i64..60, 1_u64..500)),
        ) {
            let last = OPENED + days_open;
            let now = |day: i64| Bin((day + 1) * DAY_BINS - 1);
            let mut lived = Judge::new(Parameters::default());
            for day in OPENED - 66..OPENED {
                take(&mut lived, day, &ordinary);
            }
            take(&mut lived, OPENED, &ordinary);
            lived.judge(&cells(OPENED), now(OPENED));
            let before = told(&lived, OPENED);
            prepare(&mut lived, OPENED);
            lived.judge(&[], now(OPENED));
            prop_assert_eq!(&told(&lived, OPENED), &before, "an incident changes nothing by which its alarm was judged");
            for day in OPENED + 1..=last {
                lived.fold_idle(day, Some(OPENED - 1));
                take(&mut lived, day, &ordinary);
                prepare(&mut lived, day);
                lived.judge(&cells(day), now(day));
            }
            let mut loaded = Judge::new(Parameters::default());
            for day in loaded.history_from(last, Some(OPENED))..=last {
                if day >= OPENED - 66 {
                    take(&mut loaded, day, &ordinary);
                }
            }
            // Reports of longer ago belong to baselines only, also to one that is kept.
            if let Some((ago, more)) = late {
                let [_, (key, sends, refused)] = mail(OPENED - ago, &ordinary);
                let after = ClusterTotals { sends: sends + more, refused: refused + more };
                for judge in [&mut lived, &mut loaded] {
                    judge.change_day(&key, OPENED - ago, ClusterTotals { sends, refused }, after);
                }
            }
            prepare(&mut loaded, last);
            let ring: Vec<FinestCell> = (last - RING_DAYS..=last).filter(|day| *day >= OPENED).flat_map(cells).collect();
            loaded.judge(&ring, now(last));
            lived.judge(&[], now(last));
            let (lived, loaded) = (told(&lived, last), told(&loaded, last));
            prop_assert!(!lived.1.is_empty());
            prop_assert_eq!(&lived, &loaded);
            if late.is_none() {
                let kept = |told: &Told, day: i64| {
                    let scope = |key: &StreamKey| key.level == StreamLevel::ProviderDomain && key.provider == Some(Provider::Ses);
                    told.0.iter().find(|(key, of, ..)| scope(key) && *of == day).map(|(.., baseline, mass)| (*baseline, *mass))
                };
                prop_assert_eq!(kept(&loaded, last), kept(&before, OPENED), "what was ordinary on the day of the alarm");
            }
        }
    }
}
