//! What the detector of one stream promises: order leaves no trace, alarms come soon, and seldom falsely.

use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::*;
use crate::detect::{Cell, ClusterTotals, Completeness, Method};

const DAY_BINS: i64 = 288;

fn parameters() -> Parameters {
    Parameters::default()
}

/// A baseline of .5 % in 60 steady campaigns.
fn learnt() -> Baseline {
    let clusters: Vec<_> = (0..60).map(|i| ClusterTotals { sends: 10_000, refused: 20 + i }).collect();
    Baseline::learn(&clusters, None, &parameters())
}

fn alone(baseline: Baseline) -> Regime {
    Regime::alone(Bin(0), baseline, &parameters())
}

fn cell(bin: i64, sends: u32, refused: u32) -> Update {
    let addresses =
        (0..refused.min(4)).fold(Witnesses::default(), |all, i| all.with(u64::from(i) + 10 * bin.unsigned_abs()));
    Update::Cell { bin: Bin(bin), campaign: 0, cell: Cell { sends, refused, addresses } }
}

fn run(detector: &mut StreamDetector, updates: &[Update]) -> Change {
    detector.apply(updates, &parameters())
}

fn ordinary(days: i64, sends: u32) -> Vec<Update> {
    (0..days * DAY_BINS).map(|bin| cell(bin, sends, u32::from(bin % 4 == 0))).collect()
}

#[test]
fn a_purge_of_a_busy_sender_is_seen_within_its_first_bin() {
    let mut detector = StreamDetector::new(alone(learnt()));
    // 1e5 a day are 347 in a bin; .5 % of them are refused in ordinary times.
    let calm: Vec<_> = (0..3 * DAY_BINS).map(|bin| cell(bin, 347, 1 + u32::from(bin % 4 == 0))).collect();
    assert!(run(&mut detector, &calm).raised.is_empty());
    let purge = 3 * DAY_BINS;
    let change = run(&mut detector, &[cell(purge, 40, 38)]);
    let [alarm] = change.raised[..] else { panic!("one alarm, on the part of the bin that has filled: {change:?}") };
    assert_eq!((alarm.bin, alarm.onset), (Bin(purge), Bin(purge)));
    assert_eq!(alarm.since_onset, Counts { sends: 40, refused: 38 });
    assert!((alarm.rate - 0.95).abs() < f64::EPSILON, "the best of the alternatives");
    let change = run(&mut detector, &[cell(purge, 347, 330)]);
    assert_eq!(change, Change::default(), "the bin fills, its alarm stands");
    assert_eq!(detector.alarms().count(), 1);
    assert_eq!(detector.alarms().next().map(|alarm| alarm.since_onset.refused), Some(330), "with the newer counts");
}

#[test]
fn a_purge_of_a_small_sender_takes_few_messages() {
    let mut detector = StreamDetector::new(alone(learnt()));
    let calm: Vec<_> = (0..30).map(|i| cell(i * 28, 1, 0)).collect();
    assert!(run(&mut detector, &calm).raised.is_empty());
    let from = 3 * DAY_BINS;
    let messages = (0..20)
        .position(|i| !run(&mut detector, &[cell(from + i * 10, 1, 1)]).raised.is_empty())
        .expect("an alarm in the end");
    assert!((2..=3).contains(&messages), "3 distinct addresses at least, 4 at most: {messages}");
}

#[test]
fn a_new_installation_sees_a_purge_on_its_first_day() {
    let regime = Regime::in_fleet(Bin(0), Baseline::learning(&parameters()), 0.5 / 3.0, &parameters());
    let mut detector = StreamDetector::new(regime);
    let rough: Vec<_> = (0..100).map(|bin| cell(bin, 50, 2)).collect();
    assert!(run(&mut detector, &rough).raised.is_empty(), "4 % may be this sender's normal rate");
    let refusals = (100..200).position(|bin| !run(&mut detector, &[cell(bin, 1, 1)]).raised.is_empty());
    assert_eq!(refusals, Some(5), "six in a row");
}

#[test]
fn one_address_that_bounces_again_and_again_is_no_alarm() {
    let mut detector = StreamDetector::new(alone(learnt()));
    let same = |bin: i64| Update::Cell {
        bin: Bin(bin),
        campaign: 0,
        cell: Cell { sends: 2, refused: 2, addresses: Witnesses::default().with(7).with(8) },
    };
    let change = run(&mut detector, &(0..50).map(same).collect::<Vec<_>>());
    assert!(change.raised.is_empty());
    assert!(detector.ln_evidence() > parameters().threshold_alone.ln(), "the evidence alone would do");
    assert_eq!(run(&mut detector, &[cell(50, 1, 1)]).raised.len(), 1, "a third address does it");
}

#[test]
fn late_sends_undo_an_alarm_and_it_is_said() {
    let mut detector = StreamDetector::new(alone(learnt()));
    let raised = run(&mut detector, &[cell(10, 4, 4)]).raised;
    assert_eq!(raised.len(), 1);
    let change = run(&mut detector, &[cell(10, 900, 4)]);
    assert_eq!(change.withdrawn, [Bin(10)]);
    assert_eq!(detector.alarms().count(), 0);
    assert_eq!(run(&mut detector, &[cell(11, 5, 5)]).raised.len(), 1);
    let none = Update::Cell { bin: Bin(11), campaign: 0, cell: Cell::default() };
    assert_eq!(run(&mut detector, &[none]).withdrawn, [Bin(11)], "a cell that is taken back takes its alarm with it");
}

#[test]
fn a_bin_without_whole_exposure_moves_nothing() {
    let mut before = StreamDetector::new(alone(learnt()));
    run(&mut before, &ordinary(1, 100));
    let mut detector = before.clone();
    let blind = Update::Completeness { bin: Bin(DAY_BINS), completeness: Completeness::Incomplete };
    assert!(run(&mut detector, &[cell(DAY_BINS, 50, 50), blind]).raised.is_empty());
    assert_eq!(detector.ln_evidence().to_bits(), before.ln_evidence().to_bits());
    // More refusals than sends: the sends are still on their way.
    assert!(run(&mut detector, &[cell(DAY_BINS + 1, 3, 50)]).raised.is_empty());
    assert_eq!(detector.ln_evidence().to_bits(), before.ln_evidence().to_bits());
    let seen = Update::Completeness { bin: Bin(DAY_BINS), completeness: Completeness::Complete };
    assert_eq!(run(&mut detector, &[seen]).raised.len(), 1, "once it is complete it counts");
}

#[test]
fn what_comes_after_96_hours_is_told_apart() {
    let mut detector = StreamDetector::new(alone(learnt()));
    run(&mut detector, &[cell(0, 100, 1), cell(4 * DAY_BINS, 100, 1)]);
    assert_eq!(run(&mut detector, &[cell(0, 100, 90)]).raised.len(), 1, "the 96th hour is still taken");
    run(&mut detector, &[cell(4 * DAY_BINS + 12, 100, 1)]);
    assert_eq!(run(&mut detector, &[cell(0, 100, 2)]), Change { too_late: 1, ..Change::default() });
}

#[test]
fn a_new_baseline_judges_again_from_its_own_start() {
    let mut detector = StreamDetector::new(alone(learnt()));
    run(&mut detector, &[cell(5, 100, 1), cell(300, 100, 12)]);
    assert_eq!(detector.alarms().count(), 1);
    let rough = vec![ClusterTotals { sends: 1_000, refused: 100 }; 40];
    let regime = Regime { from: Bin(288), ..alone(Baseline::learn(&rough, None, &parameters())) };
    assert_eq!(detector.set_regime(regime.clone(), &parameters()).withdrawn, [Bin(300)]);
    assert_eq!(detector.set_regime(regime, &parameters()), Change::default(), "again changes nothing");
    assert_eq!(detector.regime(Bin(5)).baseline, learnt());
}

#[test]
fn an_incident_closes_when_enough_mail_goes_through_again() {
    let mut detector = StreamDetector::new(alone(learnt()));
    run(&mut detector, &[cell(0, 300, 290)]);
    assert_eq!(detector.quiet(&parameters()), None, "no mail since the alarm");
    run(&mut detector, &[cell(1, 1_000, 4)]);
    assert_eq!(detector.quiet(&parameters()), None, "neither 2,000 messages nor 24 hours");
    run(&mut detector, &[cell(2, 1_000, 4)]);
    let quiet = detector.quiet(&parameters()).expect("2,000 messages at an ordinary rate");
    assert_eq!((quiet.since, quiet.counts), (Bin(1), Counts { sends: 2_000, refused: 8 }));
    assert!(quiet.upper_limit > 0.004 && quiet.upper_limit < detector.regime(Bin(2)).baseline.worst_normal());
    run(&mut detector, &[cell(3, 1_000, 60)]);
    assert_eq!(detector.quiet(&parameters()), None, "and not while refusals go on");

    let mut small = StreamDetector::new(alone(learnt()));
    run(&mut small, &[cell(0, 10, 10)]);
    let daily: Vec<_> = (1..20).map(|i| cell(i * 40, 60, 0)).collect();
    let closed = daily.iter().position(|update| {
        run(&mut small, &[*update]);
        small.quiet(&parameters()).is_some()
    });
    assert_eq!(closed.map(|i| (i + 1) * 40), Some(320), "a day of mail, enough to tell");
}

#[test]
fn a_recovery_on_the_same_day_is_no_alarm() {
    let mut detector = StreamDetector::new(alone(learnt()));
    assert_eq!(run(&mut detector, &[cell(0, 300, 290)]).raised.len(), 1);
    let recovered: Vec<_> = (1..DAY_BINS).map(|bin| cell(bin, 200, 1)).collect();
    assert!(run(&mut detector, &recovered).raised.is_empty());
}

#[test]
fn false_alarms_of_ordinary_mail_stay_below_the_bound() {
    let mut random = SmallRng::seed_from_u64(7);
    let baseline = learnt();
    let (a0, b0) = baseline.shape();
    let (streams, days, threshold) = (40, 10, 5.0);
    for (method, sends) in [(Method::SrBb, 40), (Method::SrBb, 3), (Method::SrTol, 40)] {
        let mut alarms = 0;
        for _ in 0..streams {
            let regime = Regime { threshold, ..alone(baseline.weighed_by(method)) };
            let mut detector = StreamDetector::new(regime);
            for day in 0..days {
                // One cluster a day, at a rate of its own from the null; mail in every eighth bin.
                let rate = beta(&mut random, a0, b0);
                let updates: Vec<_> = (0..DAY_BINS)
                    .step_by(8)
                    .map(|bin| cell(day * DAY_BINS + bin, sends, binomial(&mut random, sends, rate)))
                    .collect();
                alarms += run(&mut detector, &updates).raised.len();
            }
        }
        let bound = f64::from(streams) * count(days.unsigned_abs()) / threshold;
        assert!(count(alarms as u64) < bound, "{method} at {sends}: {alarms} alarms, bound {bound}");
    }
}

#[test]
fn the_composite_null_holds_at_its_edge() {
    let mut random = SmallRng::seed_from_u64(11);
    let baseline = learnt().weighed_by(Method::SrTol);
    let (streams, days, threshold) = (60, 8, 5.0);
    let mut alarms = 0;
    for _ in 0..streams {
        let mut detector = StreamDetector::new(Regime { threshold, ..alone(baseline) });
        let updates: Vec<_> = (0..days * DAY_BINS)
            .step_by(6)
            .map(|bin| cell(bin, 20, binomial(&mut random, 20, baseline.worst_normal())))
            .collect();
        alarms += updates.chunks(100).map(|part| run(&mut detector, part).raised.len()).sum::<usize>();
    }
    let bound = f64::from(streams) * count(days.unsigned_abs()) / threshold;
    assert!(alarms > 0, "at the edge of the null some are to be expected: the test can see them");
    assert!(count(alarms as u64) < bound, "{alarms} alarms, bound {bound}");
}

fn binomial(random: &mut SmallRng, n: u32, p: f64) -> u32 {
    (0..n).map(|_| u32::from(random.random::<f64>() < p)).sum()
}

/// By inverting the distribution at a uniform point.
fn beta(random: &mut SmallRng, a: f64, b: f64) -> f64 {
    crate::detect::stats::beta_quantile(a, b, random.random())
}

/// Cells of a few campaigns over a week, some of them corrected later, some bins marked incomplete.
fn stories() -> impl Strategy<Value = Vec<Update>> {
    let cells = (0_i64..90 * 12, 0_u64..3, 0_u32..60, 0_u32..12).prop_map(|(bin, campaign, sends, refused)| {
        let Update::Cell { cell, .. } = cell(bin, sends, refused.min(sends)) else { unreachable!() };
        Update::Cell { bin: Bin(bin), campaign, cell }
    });
    let marks =
        (0_i64..90 * 12).prop_map(|bin| Update::Completeness { bin: Bin(bin), completeness: Completeness::Incomplete });
    prop::collection::vec(prop_oneof![8 => cells, 1 => marks], 1..60)
}

/// The last word on each cell: what is true in the end, in order.
fn final_story(updates: &[Update]) -> Vec<Update> {
    let mut last = std::collections::BTreeMap::new();
    for update in updates {
        let kind = match update {
            Update::Cell { campaign, .. } => Some(*campaign),
            Update::Completeness { .. } => None,
        };
        last.insert((update.bin(), kind), *update);
    }
    last.into_values().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn order_repetition_and_batching_leave_no_trace(
        story in stories(),
        keys in prop::collection::vec(any::<u32>(), 60),
        batch in 1_usize..9,
    ) {
        let story = final_story(&story);
        let mut in_order = StreamDetector::new(alone(learnt()));
        for update in &story {
            run(&mut in_order, &[*update]);
        }
        let mut shuffled: Vec<_> = story.iter().zip(keys).map(|(update, key)| (key, *update)).collect();
        shuffled.sort_by_key(|(key, _)| *key);
        let shuffled: Vec<_> = shuffled.into_iter().map(|(_, update)| update).collect();
        let mut other = StreamDetector::new(alone(learnt()));
        for updates in shuffled.chunks(batch) {
            run(&mut other, updates);
            run(&mut other, updates);
        }
        prop_assert_eq!(serde_json::to_string(&other.newest_state()).expect("json"),
            serde_json::to_string(&in_order.newest_state()).expect("json"));
        prop_assert_eq!(&other, &in_order, "checkpoints and totals, too");
    }

    #[test]
    fn the_order_of_baselines_and_cells_leaves_no_trace(
        story in stories(),
        regimes in prop::collection::btree_map(1_i64..90 * 12, (1_u64..200, 0.01_f64..1.0), 1..5),
        at in 0_usize..60,
    ) {
        let story = final_story(&story);
        let regimes: Vec<_> = regimes
            .into_iter()
            .map(|(from, (refused, mass))| {
                let clusters = vec![ClusterTotals { sends: 5_000, refused }; 30];
                let baseline = Baseline::learn(&clusters, None, &parameters());
                Regime::in_fleet(Bin(from), baseline, mass, &parameters())
            })
            .collect();
        let mut first = StreamDetector::new(alone(learnt()));
        for regime in &regimes {
            first.set_regime(regime.clone(), &parameters());
        }
        run(&mut first, &story);
        let mut last = StreamDetector::new(alone(learnt()));
        let (before, after) = story.split_at(at.min(story.len()));
        run(&mut last, after);
        for regime in regimes.iter().rev() {
            last.set_regime(regime.clone(), &parameters());
        }
        run(&mut last, before);
        prop_assert_eq!(first, last);
    }

    #[test]
    fn corrections_end_in_the_state_of_the_corrected_story(story in stories()) {
        let mut corrected = StreamDetector::new(alone(learnt()));
        for update in &story {
            run(&mut corrected, &[*update]);
        }
        let mut straight = StreamDetector::new(alone(learnt()));
        run(&mut straight, &final_story(&story));
        prop_assert_eq!(straight.newest_state(), corrected.newest_state());
        prop_assert_eq!(straight.alarms().collect::<Vec<_>>(), corrected.alarms().collect::<Vec<_>>());
    }

    #[test]
    fn lateness_up_to_96_hours_leaves_no_trace_over_months(
        lags in prop::collection::vec((0_i64..90 * 12, 0_u32..5), 250),
    ) {
        // One cell every 3 hours for a month; each report comes up to 90 hours late.
        let story: Vec<_> =
            lags.iter().zip(0_i64..).map(|((lag, refused), i)| (i * 36 + lag, cell(i * 36, 40, *refused))).collect();
        let mut by_arrival = story.clone();
        by_arrival.sort_by_key(|(arrival, update)| (*arrival, update.bin()));
        let mut late = StreamDetector::new(alone(learnt()));
        for (_, update) in &by_arrival {
            prop_assert_eq!(run(&mut late, &[*update]).too_late, 0);
        }
        let mut in_order = StreamDetector::new(alone(learnt()));
        for (_, update) in &story {
            run(&mut in_order, &[*update]);
        }
        prop_assert_eq!(&late, &in_order);
    }

    #[test]
    fn a_checkpoint_in_json_goes_on_as_if_nothing_had_happened(story in stories(), at in 0_usize..60) {
        let (first, second) = story.split_at(at.min(story.len()));
        let mut whole = StreamDetector::new(alone(learnt()));
        run(&mut whole, first);
        let text = serde_json::to_string(&whole).expect("serialises");
        let mut restored: StreamDetector = serde_json::from_str(&text).expect("reads back");
        prop_assert_eq!(&restored, &whole);
        prop_assert_eq!(run(&mut restored, second), run(&mut whole, second));
        prop_assert_eq!(&restored, &whole);
    }

    #[test]
    fn absurd_input_breaks_nothing(
        story in prop::collection::vec((any::<i64>(), any::<u64>(), any::<u32>(), any::<u32>()), 0..20),
        mass in any::<f64>(), threshold in any::<f64>(),
    ) {
        let mut detector = StreamDetector::new(Regime { mass, threshold, ..alone(learnt()) });
        for (bin, campaign, sends, refused) in story {
            let addresses = Witnesses::default().with(campaign);
            run(&mut detector, &[Update::Cell { bin: Bin(bin), campaign, cell: Cell { sends, refused, addresses } }]);
            prop_assert!(!detector.ln_evidence().is_nan());
            prop_assert!(detector.quiet(&parameters()).is_none_or(|quiet| quiet.upper_limit <= 1.0));
        }
    }
}
