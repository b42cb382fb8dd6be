//! What a detector costs: for a cell that fills, and for a report that comes 96 hours late.

use divan::Bencher;
use relaywatch::{
    detect::{Baseline, Cell, ClusterTotals, Parameters, Regime, StreamDetector, Update, Witnesses},
    model::Bin,
};

/// Bins in 96 hours.
const RING: i64 = 96 * 12;

fn main() {
    divan::main();
}

fn cell(bin: i64, campaign: u64, sends: u32, refused: u32) -> Update {
    let addresses = Witnesses::default().with(bin.unsigned_abs());
    Update::Cell { bin: Bin(bin), campaign, cell: Cell { sends, refused, addresses } }
}

/// A stream with mail in every bin of 96 hours, so many campaigns in each.
fn busy(campaigns: u64, parameters: &Parameters) -> StreamDetector {
    let clusters: Vec<_> = (0..60).map(|i| ClusterTotals { sends: 10_000, refused: 20 + i }).collect();
    let baseline = Baseline::learn(&clusters, None, parameters);
    let mut detector = StreamDetector::new(Regime::in_fleet(Bin(0), baseline, 0.5, parameters));
    let cells: Vec<_> =
        (0..RING).flat_map(|bin| (0..campaigns).map(move |campaign| cell(bin, campaign, 347, 2))).collect();
    detector.apply(&cells, parameters);
    detector
}

#[divan::bench(args = [1, 20])]
fn newest_cell(bencher: Bencher, campaigns: u64) {
    let parameters = Parameters::default();
    let mut detector = busy(campaigns, &parameters);
    let mut refused = 0;
    bencher.bench_local(|| {
        refused = (refused + 1) % 5;
        detector.apply(&[cell(RING - 1, 0, 400, refused)], &parameters)
    });
}

#[divan::bench(args = [1, 20])]
fn replay_of_96_hours(bencher: Bencher, campaigns: u64) {
    let parameters = Parameters::default();
    let mut detector = busy(campaigns, &parameters);
    let mut refused = 0;
    bencher.bench_local(|| {
        refused = (refused + 1) % 5;
        detector.apply(&[cell(0, 0, 400, refused)], &parameters)
    });
}

#[divan::bench]
fn baseline_of_60_days(bencher: Bencher) {
    let parameters = Parameters::default();
    let clusters: Vec<_> = (0..180).map(|i| ClusterTotals { sends: 10_000 + i, refused: 20 + i }).collect();
    bencher.bench_local(|| Baseline::learn(&clusters, None, &parameters));
}
