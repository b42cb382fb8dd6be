//! Detection: has a stream been refused beyond what its own history allows?
//!
//! Pure: every function depends on its arguments only. The null hypothesis of a stream is its [`Baseline`]; its evidence
//! against the null is a Shiryaev–Roberts mixture over [`Alternatives`], weighted by time ([`Odds`], [`SrState`]); the
//! [`StreamDetector`] keeps 96 hours of cells, so that late and reordered reports end in the state that reports in order
//! would have made; [`Budget`] shares the false-alarm mass of 1 among all streams.
//!
//! # What is promised
//!
//! `E[false alarms in T days] <= T * sum(pi) / A`, for any burst pattern and any dependence between streams, as long as
//! clusters really follow the baseline and the baseline comes only from clusters older than 48 hours. The conditions are
//! printed beside the bound wherever the bound is.

mod baseline;
mod budget;
mod count;
mod params;
mod ring;
mod silence;
mod sr;
pub mod stats;
mod stream;
mod text;
mod turn;

pub use baseline::{Baseline, ClusterTotals, Method, Moments, Phase, Urgency};
pub use budget::{Budget, StreamVolume};
pub use count::{CountTicket, Episode, episodes, judge_hour};
pub use params::{
    ALTERNATIVES, Alternatives, BaselineParameters, BudgetParameters, ClosingParameters, CountParameters,
    LearningParameters, PARAMETERS_VERSION, Parameters,
};
pub use ring::{Cell, Completeness, Update, WITNESSES, Witnesses};
pub use silence::{Silent, silent_since};
pub use sr::{Counts, Odds, SrState};
pub use stream::{Alarm, Change, Quiet, Regime, StreamDetector};
pub use text::{beside_counts, describe, describe_count};
pub use turn::turn;

/// The width of a bin in days: the unit in which the false-alarm mass is counted.
pub const BIN_DAYS: f64 = 1.0 / 288.0;
