//! The evidence of one stream: a time-weighted Shiryaev–Roberts mixture, in logarithms.

use serde::{Deserialize, Serialize};

use super::{
    ALTERNATIVES, Baseline, Method, Parameters, Witnesses,
    stats::{count, exact, ln_add_exp, ln_rising},
};
use crate::model::Bin;

/// Sends and, of them, refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Messages.
    pub sends: u64,
    /// Of them, permanently refused.
    pub refused: u64,
}

impl Counts {
    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self { sends: self.sends.saturating_add(other.sends), refused: self.refused.saturating_add(other.refused) }
    }

    /// What is left without `other`.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self { sends: self.sends.saturating_sub(other.sends), refused: self.refused.saturating_sub(other.refused) }
    }

    fn accepted(self) -> u64 {
        self.sends.saturating_sub(self.refused)
    }
}

/// The logarithms of one alternative: of its rate and of the rate's complement.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Alternative {
    rate: f64,
    ln_refused: f64,
    ln_accepted: f64,
}

/// A baseline made ready to weigh counts against each alternative.
#[derive(Debug, Clone, PartialEq)]
pub struct Odds {
    method: Method,
    a0: f64,
    b0: f64,
    alternatives: [Option<Alternative>; ALTERNATIVES],
    /// The null's own logarithms, used by SR-tol.
    null: Alternative,
}

impl Odds {
    /// From the baseline in force.
    ///
    /// SR-bb takes its alternatives from the ordinary rate m. SR-tol takes them from p0, the worst normal cluster's rate, in
    /// place of m: only where p_j > p0 is E\[L\] <= 1 for every rate up to p0.
    #[must_use]
    pub fn new(baseline: &Baseline, parameters: &Parameters) -> Self {
        let null_rate = match baseline.method() {
            Method::SrBb => baseline.rate(),
            Method::SrTol => baseline.worst_normal(),
        };
        Self::against(baseline.method(), baseline.shape(), null_rate, parameters)
    }

    fn against(method: Method, (a0, b0): (f64, f64), null_rate: f64, parameters: &Parameters) -> Self {
        let logs = |rate: f64| Alternative { rate, ln_refused: rate.ln(), ln_accepted: (-rate).ln_1p() };
        let alternatives = parameters.alternatives.to(null_rate).map(|rate| rate.map(logs));
        Self { method, a0, b0, alternatives, null: logs(null_rate) }
    }

    /// `ln L_j` of one cluster's counts in one bin, given the same cluster's counts before the bin; nil for alternatives that
    /// are not kept. Several clusters of one bin add up.
    ///
    /// SR-bb also passes over an alternative that is no worse than what the null already expects of this cluster. Without that, a
    /// cluster that was refused in the morning and recovers would raise alarms by its recovery: after 290 refusals of 300 the
    /// null expects many more, and any low rate fits the good mail better. The choice depends on the counts before the bin
    /// only, so that E\[L\] stays 1.
    #[must_use]
    pub fn ln_ratios(&self, before: Counts, now: Counts) -> [f64; ALTERNATIVES] {
        let (refused, accepted) = (count(now.refused), count(now.accepted()));
        let (null, expected) = match self.method {
            Method::SrBb => {
                let a = self.a0 + count(before.refused);
                let b = self.b0 + count(before.accepted());
                let null = ln_rising(a, now.refused) + ln_rising(b, now.accepted())
                    - ln_rising(a + b, now.refused + now.accepted());
                (null, a / (a + b))
            }
            Method::SrTol => (refused * self.null.ln_refused + accepted * self.null.ln_accepted, 0.0),
        };
        self.alternatives.map(|alternative| {
            let worse = alternative.filter(|p| p.rate > expected);
            worse.map_or(0.0, |p| refused * p.ln_refused + accepted * p.ln_accepted - null)
        })
    }

    /// The rate of an alternative, where it is kept.
    #[must_use]
    pub fn rate(&self, alternative: usize) -> Option<f64> {
        self.alternatives.get(alternative).copied().flatten().map(|p| p.rate)
    }

    /// Which alternatives are kept, one bit each.
    fn kept(&self) -> u8 {
        self.alternatives.iter().enumerate().fold(0, |mask, (j, p)| mask | (u8::from(p.is_some()) << j))
    }
}

/// The evidence for one alternative.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Track {
    /// ln R_j. `f64::MIN` stands for R_j = 0.
    #[serde(with = "exact")]
    ln_r: f64,
    /// The CUSUM g, which dates the onset.
    #[serde(with = "exact")]
    g: f64,
    /// The first bin after g was last nil.
    onset: Bin,
    /// What was counted since the onset.
    since: Counts,
    /// Addresses refused since the onset.
    addresses: Witnesses,
}

/// What is known of a stream after some bin: six numbers for the evidence, six for the onset, and what goes with them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SrState {
    /// The last bin that is accounted for.
    at: Option<Bin>,
    /// Which alternatives the evidence is a mixture of.
    kept: u8,
    tracks: [Track; ALTERNATIVES],
}

/// The best alternative after some bin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Best {
    pub(super) alternative: usize,
    pub(super) onset: Bin,
    pub(super) since: Counts,
    pub(super) addresses: Witnesses,
}

impl Default for SrState {
    fn default() -> Self {
        let track = Track {
            ln_r: f64::MIN,
            g: 0.0,
            onset: Bin(i64::MIN),
            since: Counts::default(),
            addresses: Witnesses::default(),
        };
        Self { at: None, kept: 0, tracks: [track; ALTERNATIVES] }
    }
}

impl SrState {
    /// Adds the time from the last bin up to and with `bin`, at the weight of `ln_w` a bin. Empty bins add their weight and
    /// nothing else.
    fn pass(&mut self, bin: Bin, bins: i64, ln_w: f64) {
        self.at = Some(bin);
        if bins <= 0 || !ln_w.is_finite() {
            return;
        }
        let ln_weight = ln_w + count(bins.unsigned_abs()).ln();
        for track in &mut self.tracks {
            track.ln_r = ln_add_exp(track.ln_r, ln_weight);
        }
    }

    fn bins_since(&self, bin: Bin) -> i64 {
        self.at.map_or(1, |at| bin.0.saturating_sub(at.0))
    }

    /// Passes a bin whose exposure is incomplete: it moves nothing, and its own time does not count either.
    pub(super) fn skip(&mut self, bin: Bin, odds: &Odds, ln_w: f64) {
        self.mix(odds);
        self.pass(bin, self.bins_since(bin) - 1, ln_w);
    }

    /// Takes in a bin: `R_j <- (R_j + w) L_j`, and the CUSUM beside it.
    pub(super) fn step(
        &mut self,
        bin: Bin,
        odds: &Odds,
        ln_w: f64,
        ln_ratios: &[f64; ALTERNATIVES],
        now: Counts,
        addresses: Witnesses,
    ) {
        self.mix(odds);
        self.pass(bin, self.bins_since(bin), ln_w);
        for (track, ln_l) in self.tracks.iter_mut().zip(ln_ratios) {
            track.ln_r += ln_l;
            if track.g <= 0.0 {
                track.onset = bin;
                track.since = Counts::default();
                track.addresses = Witnesses::default();
            }
            track.g = (track.g + ln_l).max(0.0);
            track.since = track.since.plus(now);
            track.addresses = track.addresses.union(addresses);
        }
    }

    /// Where a new baseline keeps other alternatives, every one starts from the mixture's evidence, so that the change itself
    /// neither adds nor loses any.
    fn mix(&mut self, odds: &Odds) {
        let kept = odds.kept();
        if kept == self.kept {
            return;
        }
        let ln_r = self.ln_evidence();
        for track in &mut self.tracks {
            track.ln_r = ln_r;
        }
        self.kept = kept;
    }

    /// `ln R`, the logarithm of the mean of R_j over the alternatives that are kept; `f64::MIN` where there is none.
    #[must_use]
    pub fn ln_evidence(&self) -> f64 {
        if self.kept == 0 {
            return f64::MIN;
        }
        let highest = self.of_kept().map(|(_, track)| track.ln_r).fold(f64::MIN, f64::max);
        let sum: f64 = self.of_kept().map(|(_, track)| (track.ln_r - highest).exp()).sum();
        highest + (sum / f64::from(self.kept.count_ones())).ln()
    }

    /// The alternative with the most evidence; the first of equals.
    pub(super) fn best(&self) -> Option<Best> {
        let (alternative, track) =
            self.of_kept().reduce(|best, next| if next.1.ln_r > best.1.ln_r { next } else { best })?;
        Some(Best { alternative, onset: track.onset, since: track.since, addresses: track.addresses })
    }

    /// After an alarm: `R_j := 0` for every j. The CUSUM starts anew as well: what a long incident heaps up would take weeks
    /// of good mail to wear off, and until then every new trouble would be dated back to the old one.
    pub(super) fn reset(&mut self) {
        for track in &mut self.tracks {
            track.ln_r = f64::MIN;
            track.g = 0.0;
        }
    }

    fn of_kept(&self) -> impl Iterator<Item = (usize, &Track)> {
        self.tracks.iter().enumerate().filter(|(j, _)| self.kept & (1 << j) != 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::detect::{BIN_DAYS, ClusterTotals};

    fn counts(sends: u64, refused: u64) -> Counts {
        Counts { sends, refused }
    }

    fn tolerant(p0: f64) -> Odds {
        Odds::against(Method::SrTol, (1.0, 1.0), p0, &Parameters::default())
    }

    /// How many refusals in a row it takes, pi = 1, the rule of distinct addresses aside.
    fn in_a_row(p0: f64, threshold: f64) -> usize {
        let odds = tolerant(p0);
        let mut state = SrState::default();
        for refusals in 1..100 {
            let ln_l = odds.ln_ratios(Counts::default(), counts(1, 1));
            state.step(Bin(refusals), &odds, BIN_DAYS.ln(), &ln_l, counts(1, 1), Witnesses::default());
            if state.ln_evidence() >= threshold.ln() {
                return usize::try_from(refusals).expect("small");
            }
        }
        panic!("no alarm")
    }

    #[test]
    fn the_cold_start_table_of_the_reference() {
        let table = [0.002, 0.0144, 0.03].map(|p0| (in_a_row(p0, 30.0), in_a_row(p0, 365.0)));
        assert_eq!(table, [(2, 3), (3, 4), (4, 4)]);
    }

    #[test]
    fn clusters_of_one_bin_add_up_and_a_split_bin_weighs_the_same() {
        let parameters = Parameters::default();
        let baseline = Baseline::learn(&[ClusterTotals { sends: 10_000, refused: 55 }; 25], None, &parameters);
        assert_eq!(baseline.method(), Method::SrBb);
        let odds = Odds::new(&baseline, &parameters);
        let whole = odds.ln_ratios(counts(50, 1), counts(30, 9));
        let first = odds.ln_ratios(counts(50, 1), counts(10, 2));
        let second = odds.ln_ratios(counts(60, 3), counts(20, 7));
        for j in 0..ALTERNATIVES {
            assert!((whole[j] - first[j] - second[j]).abs() < 1e-9, "the predictive chain is exact");
        }
    }

    #[test]
    fn the_beta_binomial_ratio_has_expectation_one_under_the_null() {
        let parameters = Parameters::default();
        let baseline = Baseline::learn(&[ClusterTotals { sends: 10_000, refused: 55 }; 25], None, &parameters);
        let odds = Odds::new(&baseline, &parameters);
        let (before, sends) = (counts(200, 3), 40);
        let (a, b) = (baseline.shape().0 + 3.0, baseline.shape().1 + 197.0);
        let mut expectation = [0.0; ALTERNATIVES];
        for refused in 0..=sends {
            let ways = statrs::function::factorial::ln_binomial(sends, refused);
            let p = (ways + ln_rising(a, refused) + ln_rising(b, sends - refused) - ln_rising(a + b, sends)).exp();
            let ratios = odds.ln_ratios(before, counts(sends, refused));
            for (sum, ln_l) in expectation.iter_mut().zip(ratios) {
                *sum += p * ln_l.exp();
            }
        }
        for value in expectation {
            assert!((value - 1.0).abs() < 1e-6, "{expectation:?}");
        }
    }

    #[test]
    fn a_change_of_alternatives_keeps_the_evidence() {
        let (low, high) = (tolerant(0.01), tolerant(0.2));
        let mut state = SrState::default();
        let ln_l = low.ln_ratios(Counts::default(), counts(3, 2));
        state.step(Bin(1), &low, BIN_DAYS.ln(), &ln_l, counts(3, 2), Witnesses::default());
        let before = state.ln_evidence();
        state.mix(&high);
        assert!((state.ln_evidence() - before).abs() < 1e-12);
        assert_eq!(high.rate(3), None, "30 % is no alternative to 20 %");
    }

    proptest! {
        #[test]
        fn evidence_of_sr_tol_rises_with_refusals_and_its_expectation_is_at_most_one(
            p0 in 0.001_f64..0.45, below in 0.0_f64..1.0, sends in 1_u64..300, refused in 0_u64..300,
        ) {
            let odds = tolerant(p0);
            let refused = refused.min(sends - 1);
            let less = odds.ln_ratios(Counts::default(), counts(sends, refused));
            let more = odds.ln_ratios(Counts::default(), counts(sends, refused + 1));
            let one = odds.ln_ratios(Counts::default(), counts(1, 1));
            let none = odds.ln_ratios(Counts::default(), counts(1, 0));
            for j in 0..ALTERNATIVES {
                if odds.rate(j).is_some() {
                    prop_assert!(more[j] > less[j]);
                    let rate = p0 * below;
                    prop_assert!(rate * one[j].exp() + (1.0 - rate) * none[j].exp() <= 1.0 + 1e-9);
                }
            }
        }
    }
}
