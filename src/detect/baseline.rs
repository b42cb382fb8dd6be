//! What is ordinary for a stream: the Beta distribution of the refusal rates of its clusters.

use serde::{Deserialize, Serialize};

use super::{
    Parameters,
    stats::{beta_quantile, count, exact},
};
use crate::model::words;

words! {
    /// How a stream's counts are weighed.
    pub enum Method {
        /// SR-bb: against the beta-binomial null of a known dispersion.
        SrBb = 1, "sr-bb";
        /// SR-tol: against every rate up to the worst normal cluster's; the fallback while clusters are few.
        SrTol = 2, "sr-tol";
    }
}

words! {
    /// Whether an installation knows what is ordinary for it.
    pub enum Phase {
        /// Neither imported history nor enough clusters: a wide prior, and tickets instead of pages for all but the worst.
        Learning = 1, "learning";
        /// Baselines come from the sender's own history.
        Learned = 2, "learned";
    }
}

words! {
    /// How an alarm is announced.
    pub enum Urgency {
        /// Somebody is woken.
        Page = 1, "page";
        /// Somebody looks in working hours.
        Ticket = 2, "ticket";
    }
}

impl Phase {
    /// The phase of an installation with so many finished clusters of all relay mail.
    #[must_use]
    pub fn of(fleet_clusters: usize, imported_history: bool, parameters: &Parameters) -> Self {
        if imported_history || fleet_clusters >= parameters.baseline.few_clusters {
            Self::Learned
        } else {
            Self::Learning
        }
    }

    /// How an alarm with so many sends and refusals since its onset is announced.
    #[must_use]
    pub fn urgency(self, sends: u64, refused: u64, parameters: &Parameters) -> Urgency {
        let learning = &parameters.learning;
        let blatant = sends >= learning.page_sends && count(refused) >= learning.page_share * count(sends);
        if self == Self::Learned || blatant { Urgency::Page } else { Urgency::Ticket }
    }
}

/// The totals of one finished cluster: one campaign on one UTC day, or one day of transactional mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct ClusterTotals {
    /// Relay messages handed to the provider.
    pub sends: u64,
    /// Of them, permanently refused.
    pub refused: u64,
}

/// What a baseline needs to know of finished clusters: whole sums, the same in whatever order clusters come, from which one can
/// be taken again. So a stream's clusters need not be kept one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moments {
    clusters: u64,
    sends: u64,
    refused: u64,
    /// The sum of n².
    squares: u128,
    /// The sum of x²/n, in units of 2^-32.
    ratios: u128,
}

impl Moments {
    /// Of some clusters. Clusters without sends do not count.
    #[must_use]
    pub fn of<'a>(clusters: impl IntoIterator<Item = &'a ClusterTotals>) -> Self {
        let mut all = Self::default();
        for cluster in clusters {
            all = all.plus(&Self::one(cluster));
        }
        all
    }

    fn one(cluster: &ClusterTotals) -> Self {
        if cluster.sends == 0 {
            return Self::default();
        }
        // No cluster has four billion messages; up to there x² fits with its 32 binary digits after the point.
        let sends = cluster.sends.min(u32::MAX.into());
        let refused = cluster.refused.min(sends);
        let (n, x) = (u128::from(sends), u128::from(refused));
        let ratios = ((x * x) << 32) / n;
        Self { clusters: 1, sends, refused, squares: n * n, ratios }
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            clusters: self.clusters.saturating_add(other.clusters),
            sends: self.sends.saturating_add(other.sends),
            refused: self.refused.saturating_add(other.refused),
            squares: self.squares.saturating_add(other.squares),
            ratios: self.ratios.saturating_add(other.ratios),
        }
    }

    /// What is left without those of `part`, which are among these.
    #[must_use]
    pub fn minus(&self, part: &Self) -> Self {
        Self {
            clusters: self.clusters.saturating_sub(part.clusters),
            sends: self.sends.saturating_sub(part.sends),
            refused: self.refused.saturating_sub(part.refused),
            squares: self.squares.saturating_sub(part.squares),
            ratios: self.ratios.saturating_sub(part.ratios),
        }
    }

    /// Puts a cluster as it is now in the place of what it was.
    pub fn change(&mut self, before: &ClusterTotals, after: &ClusterTotals) {
        let (before, after) = (Self::one(before), Self::one(after));
        *self = Self {
            clusters: (self.clusters + after.clusters).saturating_sub(before.clusters),
            sends: (self.sends + after.sends).saturating_sub(before.sends),
            refused: (self.refused + after.refused).saturating_sub(before.refused),
            squares: (self.squares + after.squares).saturating_sub(before.squares),
            ratios: (self.ratios + after.ratios).saturating_sub(before.ratios),
        };
    }

    /// How many clusters there are.
    #[must_use]
    pub const fn clusters(&self) -> u64 {
        self.clusters
    }

    /// Messages in all of them.
    #[must_use]
    pub const fn sends(&self) -> u64 {
        self.sends
    }

    /// The dispersion that matches E\[S\]; `None` where the clusters cannot tell.
    #[expect(clippy::cast_precision_loss, reason = "sums of squares of counts")]
    fn rho(&self) -> Option<f64> {
        let (sends, refused) = (count(self.sends), count(self.refused));
        let rate = refused / sends;
        let variance = rate * (1.0 - rate);
        let degrees = count(self.clusters.saturating_sub(1));
        let below = variance * (sends - self.squares as f64 / sends - degrees);
        // The sum of n (x/n - m)², multiplied out.
        let spread = (self.ratios as f64 / f64::from(1_u32 << 16).powi(2) - refused * rate).max(0.0);
        let rho = (spread - degrees * variance) / below;
        (below > 0.0 && rho.is_finite()).then_some(rho)
    }
}

/// What is ordinary for a stream, after shrinkage, floor and shading.
///
/// The caller sees to three things that no single stream can know:
/// - *predictable*: the baseline in force in a bin comes only from clusters whose last bin is older than 48 hours then;
/// - *window*: 60 days of clusters, without the periods of open incidents;
/// - *freeze*: no new baseline while an incident of the stream is open, until an operator accepts the new normal.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// The rate before floor and shading: what a child stream shrinks to.
    #[serde(with = "exact")]
    learnt_rate: f64,
    /// The ordinary rate m.
    #[serde(with = "exact")]
    rate: f64,
    /// The dispersion between clusters.
    #[serde(with = "exact")]
    rho: f64,
    /// p0, the rate of the worst normal cluster.
    #[serde(with = "exact")]
    worst_normal: f64,
    /// How many clusters it was learnt from.
    clusters: usize,
    method: Method,
}

impl Baseline {
    /// The wide prior of a new installation.
    #[must_use]
    pub fn learning(parameters: &Parameters) -> Self {
        let learning = &parameters.learning;
        Self::assemble(learning.rate, learning.rate, learning.rho, 0, Method::SrTol, parameters)
    }

    /// Learns from finished clusters, in any order. Clusters without sends do not count.
    ///
    /// The rate shrinks to the parent's, that of the coarsest stream to the learning prior's. With fewer than 20 clusters the
    /// moments say little about the dispersion, so that the larger one of their estimate and the parent's dispersion holds.
    #[must_use]
    pub fn learn(clusters: &[ClusterTotals], parent: Option<&Self>, parameters: &Parameters) -> Self {
        Self::learn_from(&Moments::of(clusters), parent, parameters)
    }

    /// The same from the clusters' sums.
    #[must_use]
    pub fn learn_from(clusters: &Moments, parent: Option<&Self>, parameters: &Parameters) -> Self {
        let numbers = &parameters.baseline;
        let (parent_rate, parent_rho) = parent
            .map_or((parameters.learning.rate, parameters.learning.rho), |parent| (parent.learnt_rate, parent.rho));
        let many = usize::try_from(clusters.clusters).unwrap_or(usize::MAX);
        let few = many < numbers.few_clusters;
        let (sends, refused) = (count(clusters.sends), count(clusters.refused));
        let own_rho = clusters.rho().map(|rho| rho.clamp(numbers.least_rho, numbers.most_rho));
        let rho = match own_rho {
            Some(own) if few => own.max(parent_rho),
            Some(own) => own,
            None => parent_rho,
        };
        let learnt = (refused + numbers.kappa * parent_rate) / (sends + numbers.kappa).max(f64::MIN_POSITIVE);
        let mut rate = learnt.max(numbers.floor);
        let mut rho = rho.clamp(numbers.least_rho, numbers.most_rho);
        if few {
            let sd = numbers.few_sd_factor * (rate * (1.0 - rate) * rho).sqrt();
            rate = (rate * numbers.few_rate_factor).min(MOST_RATE);
            rho = sd * sd / (rate * (1.0 - rate));
        }
        let method = if few { Method::SrTol } else { Method::SrBb };
        Self::assemble(learnt, rate, rho, many, method, parameters)
    }

    fn assemble(learnt: f64, rate: f64, rho: f64, clusters: usize, method: Method, parameters: &Parameters) -> Self {
        let rate = rate.clamp(1e-9, MOST_RATE);
        let rho = rho.clamp(1e-9, 0.9);
        let (a0, b0) = beta_shape(rate, rho);
        let worst_normal = beta_quantile(a0, b0, parameters.baseline.worst_normal_quantile).max(rate);
        Self { learnt_rate: learnt, rate, rho, worst_normal, clusters, method }
    }

    /// The ordinary rate m, after all adjustments.
    #[must_use]
    pub const fn rate(&self) -> f64 {
        self.rate
    }

    /// The dispersion between clusters, after all adjustments.
    #[must_use]
    pub const fn rho(&self) -> f64 {
        self.rho
    }

    /// p0: the rate of the worst normal cluster, the 99 % quantile of Beta(a0, b0).
    #[must_use]
    pub const fn worst_normal(&self) -> f64 {
        self.worst_normal
    }

    /// The rates of normal clusters, from the 1 % to the 99 % quantile, for people.
    #[must_use]
    pub fn normal_range(&self) -> (f64, f64) {
        let (a0, b0) = self.shape();
        (beta_quantile(a0, b0, 0.01), beta_quantile(a0, b0, 0.99))
    }

    /// a0 and b0 of the Beta distribution of cluster rates.
    #[must_use]
    pub fn shape(&self) -> (f64, f64) {
        beta_shape(self.rate, self.rho)
    }

    /// How many clusters it was learnt from.
    #[must_use]
    pub const fn clusters(&self) -> usize {
        self.clusters
    }

    /// Whether it's the assumption that a new installation begins with: nothing of it was measured.
    #[must_use]
    pub fn is_built_in(&self) -> bool {
        // What is learnt from few clusters, or none, is shaded up.
        self.clusters == 0 && (self.rate - self.learnt_rate).abs() < f64::EPSILON
    }

    /// How counts are weighed against it.
    #[must_use]
    pub const fn method(&self) -> Method {
        self.method
    }

    /// The same baseline weighed by another method.
    #[must_use]
    pub const fn weighed_by(mut self, method: Method) -> Self {
        self.method = method;
        self
    }
}

/// No ordinary rate is above this one: beyond it nothing can be told apart.
const MOST_RATE: f64 = 0.95;

fn beta_shape(rate: f64, rho: f64) -> (f64, f64) {
    let strength = (1.0 - rho) / rho;
    (rate * strength, (1.0 - rate) * strength)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cluster(sends: u64, refused: u64) -> ClusterTotals {
        ClusterTotals { sends, refused }
    }

    #[test]
    fn moments_match_a_hand_calculation() {
        // m = .02, N = 3000, S = 1000 (.01² + 0² + .01²) = .2; (C-1) m (1-m) = .0392;
        // below = .0196 (3000 - 1000 - 2) = 39.1608; rho = .1608 / 39.1608 = .0041061.
        let clusters = [cluster(1_000, 10), cluster(1_000, 20), cluster(1_000, 30)];
        let rho = Moments::of(&clusters).rho().expect("clusters vary");
        assert!((rho - 0.004_106_147).abs() < 1e-8, "{rho}");
    }

    #[test]
    fn few_clusters_shade_rate_and_deviation_and_take_the_composite_null() {
        let parameters = Parameters::default();
        let many: Vec<_> = (0..20).map(|i| cluster(10_000, if i % 2 == 0 { 40 } else { 60 })).collect();
        let parent = Baseline::learn(&many, None, &parameters);
        assert_eq!((parent.method(), parent.clusters()), (Method::SrBb, 20));
        assert!((parent.learnt_rate - (1_000.0 + 20.0) / 202_000.0).abs() < 1e-12, "shrunk to the prior of 1 %");

        let child = Baseline::learn(&many[..4], Some(&parent), &parameters);
        let learnt = (200.0 + 2_000.0 * parent.learnt_rate) / 42_000.0;
        assert_eq!(child.method(), Method::SrTol);
        assert!((child.rate() - 1.2 * learnt).abs() < 1e-12);
        let sd = (child.rate() * (1.0 - child.rate()) * child.rho()).sqrt();
        assert!((sd - 1.5 * (learnt * (1.0 - learnt) * parent.rho()).sqrt()).abs() < 1e-12);
        assert!(child.worst_normal() > parent.worst_normal(), "what is less known is judged more leniently");
    }

    #[test]
    fn no_history_is_the_parents_history_and_a_spotless_one_has_a_floor() {
        let parameters = Parameters::default();
        let none = Baseline::learn(&[], None, &parameters);
        assert!((none.learnt_rate - 0.01).abs() < 1e-12 && none.clusters() == 0);
        let spotless = Baseline::learn(&vec![cluster(1_000_000, 0); 30], None, &parameters);
        assert!((spotless.rate() - 0.001).abs() < 1e-12, "{}", spotless.rate());
        let hopeless = Baseline::learn(&vec![cluster(100_000, 100_000); 30], None, &parameters);
        assert!(hopeless.rate() <= MOST_RATE && hopeless.worst_normal() <= 1.0);
    }

    #[test]
    fn the_worst_normal_campaign_of_the_reference() {
        // ".5% +- .3% gives 1.44%"
        let (m, sd) = (0.005, 0.003);
        let rho = sd * sd / (m * (1.0 - m));
        let baseline = Baseline::assemble(m, m, rho, 30, Method::SrTol, &Parameters::default());
        assert!((baseline.worst_normal() - 0.0144).abs() < 0.0001, "{}", baseline.worst_normal());
    }

    #[test]
    fn a_new_installation_learns_and_pages_only_for_the_blatant() {
        let parameters = Parameters::default();
        assert_eq!(Phase::of(19, false, &parameters), Phase::Learning);
        assert_eq!(Phase::of(20, false, &parameters), Phase::Learned);
        assert_eq!(Phase::of(0, true, &parameters), Phase::Learned);
        assert_eq!(Phase::Learning.urgency(99, 99, &parameters), Urgency::Ticket);
        assert_eq!(Phase::Learning.urgency(100, 29, &parameters), Urgency::Ticket);
        assert_eq!(Phase::Learning.urgency(100, 30, &parameters), Urgency::Page);
        assert_eq!(Phase::Learned.urgency(4, 4, &parameters), Urgency::Page);
        let prior = Baseline::learning(&parameters);
        assert!((prior.rate() - 0.01).abs() < 1e-12 && (prior.rho() - 0.05).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn the_order_of_clusters_changes_no_bit(
            clusters in prop::collection::vec((0_u64..100_000, 0_u64..5_000), 0..40),
            swaps in prop::collection::vec((0_usize..40, 0_usize..40), 0..40),
        ) {
            let parameters = Parameters::default();
            let clusters: Vec<_> = clusters.into_iter().map(|(n, x)| cluster(n, x)).collect();
            let mut shuffled = clusters.clone();
            for (one, other) in swaps {
                if one < shuffled.len() && other < shuffled.len() {
                    shuffled.swap(one, other);
                }
            }
            let baseline = Baseline::learn(&clusters, None, &parameters);
            prop_assert_eq!(baseline, Baseline::learn(&shuffled, None, &parameters));
            // One by one, each first with half of what it came to, in another order: the same sums.
            let mut sums = Moments::default();
            for now in shuffled.iter().rev() {
                let half = cluster(now.sends / 2, now.refused / 2);
                sums.change(&ClusterTotals::default(), &half);
                sums.change(&half, now);
            }
            prop_assert_eq!(sums, Moments::of(&clusters));
            prop_assert!(baseline.rate() >= 0.001 && baseline.worst_normal() >= baseline.rate());
            prop_assert!(baseline.worst_normal() <= 1.0 && baseline.rho() > 0.0 && baseline.rho() < 1.0);
            let text = serde_json::to_string(&baseline).expect("serialises");
            prop_assert_eq!(serde_json::from_str::<Baseline>(&text).expect("reads back"), baseline);
        }
    }
}
