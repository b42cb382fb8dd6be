//! The numbers of the detector, as data with a version.

use serde::{Deserialize, Serialize};

/// How many alternatives a detector mixes at most: three multiples of the ordinary rate and three fixed rates.
pub const ALTERNATIVES: usize = 6;

/// The version of the reference parameters.
pub const PARAMETERS_VERSION: u32 = 1;

/// Every number that a judgement depends on. Defaults are the reference values.
///
/// The set that was in force is journalled with its version, so that a rebuild judges by the same numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Parameters {
    /// The version of this set.
    pub version: u32,
    /// The alarm threshold A of a fleet whose streams share a mass of 1: one false page in so many days over all streams.
    pub threshold_fleet: f64,
    /// The alarm threshold A of a stream that stands alone with pi = 1.
    pub threshold_alone: f64,
    /// How many different addresses must be refused since the onset before an alarm; at most [`super::WITNESSES`].
    pub distinct_addresses: usize,
    /// How many finest streams of one day are told apart at most; the others are counted together.
    pub max_streams: u32,
    /// The alternatives.
    pub alternatives: Alternatives,
    /// How baselines are learnt.
    pub baseline: BaselineParameters,
    /// What holds while nothing is learnt yet.
    pub learning: LearningParameters,
    /// When an incident is quiet.
    pub closing: ClosingParameters,
    /// How the false-alarm mass is shared out.
    pub budget: BudgetParameters,
    /// The low-evidence count alarm of streams without exposure.
    pub count: CountParameters,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            version: PARAMETERS_VERSION,
            threshold_fleet: 30.0,
            threshold_alone: 365.0,
            distinct_addresses: 3,
            max_streams: 100_000,
            alternatives: Alternatives::default(),
            baseline: BaselineParameters::default(),
            learning: LearningParameters::default(),
            closing: ClosingParameters::default(),
            budget: BudgetParameters::default(),
            count: CountParameters::default(),
        }
    }
}

/// The refusal rates that a detector looks for: `{3m, 7.5m, 30m (capped), 0.3, 0.6, 0.95}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Alternatives {
    /// Multiples of the ordinary rate.
    pub multiples: [f64; 3],
    /// No multiple gives more than this rate.
    pub cap: f64,
    /// Rates in themselves.
    pub rates: [f64; 3],
    /// An alternative is kept only where it exceeds the ordinary rate so many times.
    pub least_ratio: f64,
}

impl Default for Alternatives {
    fn default() -> Self {
        Self { multiples: [3.0, 7.5, 30.0], cap: 0.5, rates: [0.3, 0.6, 0.95], least_ratio: 1.95 }
    }
}

impl Alternatives {
    /// The alternatives to an ordinary rate; one that lies too near to it is `None`.
    #[must_use]
    pub fn to(&self, ordinary: f64) -> [Option<f64>; ALTERNATIVES] {
        let multiples = self.multiples.iter().map(|multiple| (multiple * ordinary).min(self.cap));
        let mut kept = [None; ALTERNATIVES];
        for (slot, rate) in kept.iter_mut().zip(multiples.chain(self.rates)) {
            *slot = (rate > self.least_ratio * ordinary && rate > 0.0 && rate < 1.0).then_some(rate);
        }
        kept
    }
}

/// How baselines are learnt from finished clusters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BaselineParameters {
    /// How many days of clusters count.
    pub days: u32,
    /// Only clusters whose last bin is older than so many hours count: the caller's duty.
    pub predictable_after_hours: u32,
    /// How many messages the parent's rate weighs.
    pub kappa: f64,
    /// No ordinary rate is taken to be lower.
    pub floor: f64,
    /// The smallest dispersion between clusters.
    pub least_rho: f64,
    /// The largest dispersion between clusters.
    pub most_rho: f64,
    /// Fewer clusters than this are few.
    pub few_clusters: usize,
    /// With few clusters the rate is shaded up by this factor.
    pub few_rate_factor: f64,
    /// With few clusters the standard deviation is shaded up by this factor.
    pub few_sd_factor: f64,
    /// The "worst normal cluster": this quantile of the Beta distribution of cluster rates.
    pub worst_normal_quantile: f64,
}

impl Default for BaselineParameters {
    fn default() -> Self {
        Self {
            days: 60,
            predictable_after_hours: 48,
            kappa: 2_000.0,
            floor: 0.001,
            least_rho: 0.001,
            most_rho: 0.2,
            few_clusters: 20,
            few_rate_factor: 1.2,
            few_sd_factor: 1.5,
            worst_normal_quantile: 0.99,
        }
    }
}

/// What holds in a new installation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LearningParameters {
    /// The ordinary rate that is supposed.
    pub rate: f64,
    /// The dispersion that is supposed.
    pub rho: f64,
    /// An alarm pages only if at least this share is refused …
    pub page_share: f64,
    /// … of at least so many sends since the onset; otherwise it is a ticket.
    pub page_sends: u64,
}

impl Default for LearningParameters {
    fn default() -> Self {
        Self { rate: 0.01, rho: 0.05, page_share: 0.3, page_sends: 100 }
    }
}

/// When an incident is quiet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClosingParameters {
    /// After so many messages …
    pub messages: u64,
    /// … or so many hours, whichever comes first.
    pub hours: u32,
    /// The one-sided confidence of the upper limit of the rate.
    pub confidence: f64,
}

impl Default for ClosingParameters {
    fn default() -> Self {
        Self { messages: 2_000, hours: 24, confidence: 0.95 }
    }
}

/// How the false-alarm mass of 1 is shared out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetParameters {
    /// The share of the coarse streams: all relay mail, providers, domains.
    pub coarse: f64,
    /// The share kept back for streams that appear later.
    pub reserve: f64,
}

impl Default for BudgetParameters {
    fn default() -> Self {
        Self { coarse: 0.5, reserve: 0.1 }
    }
}

/// The count alarm of streams without exposure. It opens tickets only and claims no false-alarm rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CountParameters {
    /// At least so many different refused addresses in an hour …
    pub least_addresses: u64,
    /// … and at least so many times the highest hour of the days before.
    pub least_ratio: f64,
    /// How many days before are looked at.
    pub days: u32,
}

impl Default for CountParameters {
    fn default() -> Self {
        Self { least_addresses: 10, least_ratio: 5.0, days: 7 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_the_reference_and_survive_json() {
        let parameters = Parameters::default();
        let text = serde_json::to_string(&parameters).expect("serialises");
        assert_eq!(serde_json::from_str::<Parameters>(&text).expect("reads back"), parameters);
        assert_eq!(serde_json::from_str::<Parameters>("{}").expect("all defaults"), parameters);
        assert!(serde_json::from_str::<Parameters>("{\"treshold_fleet\": 3}").is_err(), "unknown keys are refused");
    }

    #[test]
    fn alternatives_too_near_to_the_ordinary_rate_are_dropped_and_multiples_capped() {
        let list = Alternatives::default();
        let at = |rate: f64| list.to(rate).map(|p| p.map(|p| (p * 1e6).round() / 1e6));
        assert_eq!(at(0.005), [Some(0.015), Some(0.0375), Some(0.15), Some(0.3), Some(0.6), Some(0.95)]);
        assert_eq!(at(0.03), [Some(0.09), Some(0.225), Some(0.5), Some(0.3), Some(0.6), Some(0.95)]);
        assert_eq!(at(0.2), [Some(0.5), Some(0.5), Some(0.5), None, Some(0.6), Some(0.95)]);
        assert_eq!(at(0.5), [None; ALTERNATIVES], "nothing is twice as bad as half");
    }
}
