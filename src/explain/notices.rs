//! What share of an incident Apple's notices explain.

use serde::Serialize;
use statrs::function::factorial::ln_binomial;

use super::NoticeFacts;
use crate::{
    detect::stats::{Z_95, count, wilson},
    model::words,
};

/// s_h to start with: the share of true revocations that have a notice.
pub(super) const START_SENSITIVITY: f64 = 0.8;
/// However blind the endpoint was, no less is supposed: below it the line has no slope left to tell anything.
const LEAST_SENSITIVITY: f64 = 0.2;
/// Below this share of mapped addresses revocation is not checked.
const LEAST_COVERAGE: f64 = 0.9;
/// So many accepted, mapped addresses are needed to measure q_h in the incident itself.
const LEAST_ACCEPTED: u64 = 20;
/// Up to so many terms of the hypergeometric tail are added up; beyond them the bound is given.
const EXACT_TERMS: u64 = 5_000;

/// A value with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The estimate.
    pub value: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

words! {
    /// Whether the notices allow a statement about revocations.
    pub enum Revocation {
        /// They do.
        Checked = 1, "checked";
        /// No notices or no account map.
        NoNotices = 2, "no-notices";
        /// Less than 90 % of the refused addresses are mapped.
        LowCoverage = 3, "low-coverage";
        /// The notice endpoint was blind in the window.
        Blind = 4, "blind-window";
        /// How many accepted addresses have a notice is not known: there is nothing to compare with.
        NoComparison = 5, "no-comparison";
        /// No notice was received before the onset: nothing shows that the endpoint was watched.
        Unwatched = 6, "no-notice-before";
    }
}

/// The share of an incident that notices explain.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShareExplained {
    /// Whether it may be used as evidence. Where it may not, revocation is "not checked", never excluded.
    pub status: Revocation,
    /// pi_h over mapped addresses; the interval also allows for the unmapped ones.
    pub share: Interval,
    /// `pi_h * max(0, B - m n)`: refusals.
    pub excess_explained: f64,
    /// The share of the refused addresses that are mapped.
    pub map_coverage: f64,
    /// Mapped refused addresses with a notice before their refusal.
    pub exposed_before: u64,
    /// Mapped refused addresses with a notice only after it. A rise in these is no cause.
    pub exposed_after: u64,
    /// Mapped refused addresses.
    pub mapped: u64,
    /// q_h: exposure among accepted addresses.
    pub accepted_exposure: f64,
    /// s_h: the share of true revocations that have a notice.
    pub sensitivity: f64,
    /// How much more often exposed addresses are refused.
    pub lift: Lift,
    /// How probable so many exposed addresses among the refused ones were by chance.
    pub fisher: Fisher,
}

/// The rate ratio of exposed against unexposed addresses, every cell of the table raised by a half.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Lift {
    /// RR with its 95 % interval.
    pub ratio: Interval,
    /// The population attributable fraction, `(a/B) (1 - 1/RR)`; nil where exposure protects.
    pub attributable: f64,
}

/// The upper tail of the hypergeometric distribution.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Fisher {
    /// The natural logarithm of the probability or of its bound.
    pub ln_p: f64,
    /// True for the probability itself, false for an upper bound of it.
    pub exact: bool,
}

/// The lift of a 2×2 table: `a`, `b` refused with and without exposure, `c`, `d` accepted with and without.
#[must_use]
pub fn lift(refused: (u64, u64), accepted: (u64, u64)) -> Lift {
    let half = |n: u64| count(n) + 0.5;
    let ((a, b), (c, d)) = ((half(refused.0), half(refused.1)), (half(accepted.0), half(accepted.1)));
    let ratio = (a / (a + c)) / (b / (b + d));
    let spread = Z_95 * (1.0 / a - 1.0 / (a + c) + 1.0 / b - 1.0 / (b + d)).max(0.0).sqrt();
    let exposed = count(refused.0) / count((refused.0 + refused.1).max(1));
    Lift {
        ratio: Interval { value: ratio, low: ratio * (-spread).exp(), high: ratio * spread.exp() },
        attributable: (exposed * (1.0 - 1.0 / ratio)).max(0.0),
    }
}

/// `P(X >= a)` for `X ~ Hypergeom(N = a+b+c+d, K = a+c, n = a+b)`; for many terms the bound `exp(-n KL(a/n || K/N))`.
#[must_use]
pub fn fisher_tail(refused: (u64, u64), accepted: (u64, u64)) -> Fisher {
    let (a, drawn) = (refused.0, refused.0 + refused.1);
    let (marked, all) = (a + accepted.0, drawn + accepted.0 + accepted.1);
    let most = drawn.min(marked);
    if all == 0 || a == 0 {
        return Fisher { ln_p: 0.0, exact: true };
    }
    if most - a >= EXACT_TERMS {
        let (seen, chance) = (count(a) / count(drawn), count(marked) / count(all));
        let ln_p = if seen > chance { -count(drawn) * divergence(seen, chance) } else { 0.0 };
        return Fisher { ln_p: ln_p.min(0.0), exact: false };
    }
    let unmarked = all - marked;
    let term = |x: u64| ln_binomial(marked, x) + ln_binomial(unmarked, drawn - x) - ln_binomial(all, drawn);
    let terms: Vec<f64> = (a..=most).filter(|x| drawn - x <= unmarked).map(term).collect();
    let highest = terms.iter().copied().fold(f64::MIN, f64::max);
    let sum: f64 = terms.iter().map(|term| (term - highest).exp()).sum();
    Fisher { ln_p: (highest + sum.ln()).min(0.0), exact: true }
}

/// The Kullback–Leibler divergence of two coins.
fn divergence(p: f64, q: f64) -> f64 {
    let part = |p: f64, q: f64| if p <= 0.0 { 0.0 } else { p * (p / q).ln() };
    part(p, q) + part(1.0 - p, 1.0 - q)
}

/// The share of the incident that notices explain.
///
/// `pi_h = clamp((a/B - q_h) / (s_h - q_h), 0, 1)` over mapped addresses, with the Wilson interval of `a/B` mapped through the
/// same line. The unmapped refused addresses widen it: at the lower end none of them is exposed, at the upper end all are, and
/// each end is that end of its own Wilson interval. `excess` is the number of refusals beyond the ordinary.
#[must_use]
pub fn share_explained(facts: &NoticeFacts, blind: bool, excess: f64) -> ShareExplained {
    let exposed = facts.refused_exposed_before.saturating_add(facts.refused_exposed_after);
    let mapped = exposed.saturating_add(facts.refused_unexposed);
    let refused = mapped.saturating_add(facts.refused_unmapped);
    let accepted = facts.accepted_exposed.saturating_add(facts.accepted_unexposed);
    let map_coverage = if refused == 0 { 0.0 } else { count(mapped) / count(refused) };
    let measured = (accepted >= LEAST_ACCEPTED).then(|| count(facts.accepted_exposed) / count(accepted));
    let q = measured.or(facts.usual_exposure);
    let status = match q {
        _ if refused == 0 => Revocation::NoNotices,
        _ if blind => Revocation::Blind,
        _ if map_coverage < LEAST_COVERAGE => Revocation::LowCoverage,
        None => Revocation::NoComparison,
        Some(_) => Revocation::Checked,
    };
    let q = q.unwrap_or(0.0).clamp(0.0, 1.0);
    let seen = 1.0 - facts.blind_share.clamp(0.0, 1.0);
    let sensitivity = (START_SENSITIVITY * seen).max(LEAST_SENSITIVITY);
    // Where accepted addresses are exposed as often as revoked ones would be, the table cannot tell them apart.
    let slope = sensitivity - q;
    let line = |share: f64| if slope > 0.01 { ((share - q) / slope).clamp(0.0, 1.0) } else { 0.0 };
    let share = if slope > 0.01 && mapped > 0 {
        let low = line(wilson(exposed, refused, Z_95).0);
        let high = line(wilson(exposed + facts.refused_unmapped, refused, Z_95).1);
        Interval { value: line(count(exposed) / count(mapped)), low, high }
    } else {
        Interval { value: 0.0, low: 0.0, high: 1.0 }
    };
    let status = if slope <= 0.01 && status == Revocation::Checked { Revocation::NoComparison } else { status };
    let table = ((exposed, facts.refused_unexposed), (facts.accepted_exposed, facts.accepted_unexposed));
    ShareExplained {
        status,
        share,
        excess_explained: share.value * excess.max(0.0),
        map_coverage,
        exposed_before: facts.refused_exposed_before,
        exposed_after: facts.refused_exposed_after,
        mapped,
        accepted_exposure: q,
        sensitivity,
        lift: lift(table.0, table.1),
        fisher: fisher_tail(table.0, table.1),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn facts(exposed: u64, refused: u64, unmapped: u64) -> NoticeFacts {
        NoticeFacts {
            refused_exposed_before: exposed,
            refused_unexposed: refused - exposed,
            refused_unmapped: unmapped,
            accepted_exposed: 120,
            accepted_unexposed: 39_880,
            ..NoticeFacts::default()
        }
    }

    fn percent(share: Interval) -> (f64, f64, f64) {
        let round = |x: f64| (100.0 * x).round();
        (round(share.value), round(share.low), round(share.high))
    }

    #[test]
    fn the_worked_values_of_the_reference() {
        let of = |exposed, refused| share_explained(&facts(exposed, refused, 0), false, 0.0);
        assert!((of(41, 20_000).accepted_exposure - 0.003).abs() < 1e-12);
        assert_eq!(percent(of(41, 20_000).share), (0.0, 0.0, 0.0), "the purge");
        assert_eq!(percent(of(15_600, 20_000).share), (97.0, 97.0, 98.0), "a mass revocation");
        assert_eq!(percent(of(5, 9).share), (69.0, 33.0, 100.0), "nine addresses");
        assert_eq!(of(5, 9).status, Revocation::Checked);
    }

    #[test]
    fn the_unmapped_widen_the_interval_and_end_the_check() {
        let covered = share_explained(&facts(0, 950, 50), false, 1_000.0);
        assert_eq!((covered.status, percent(covered.share)), (Revocation::Checked, (0.0, 0.0, 8.0)));
        let uncovered = share_explained(&facts(0, 600, 400), false, 1_000.0);
        assert_eq!(uncovered.status, Revocation::LowCoverage);
        assert!((uncovered.map_coverage - 0.6).abs() < 1e-12);
        assert!(uncovered.share.high > 0.5, "400 unknown ones may all have revoked: {:?}", uncovered.share);
        let blind = share_explained(&NoticeFacts { blind_share: 0.5, ..facts(300, 1_000, 0) }, true, 1_000.0);
        assert_eq!(blind.status, Revocation::Blind);
        assert!((blind.sensitivity - 0.4).abs() < 1e-12, "half of the notices were lost");
        let alone = NoticeFacts { accepted_exposed: 0, accepted_unexposed: 3, ..facts(10, 1_000, 0) };
        assert_eq!(share_explained(&alone, false, 1.0).status, Revocation::NoComparison);
        let usual = NoticeFacts { usual_exposure: Some(0.003), ..alone };
        assert_eq!(share_explained(&usual, false, 1.0).status, Revocation::Checked);
        assert_eq!(share_explained(&NoticeFacts::default(), false, 1.0).status, Revocation::NoNotices);
    }

    #[test]
    fn lift_and_tail_match_hand_calculations() {
        // (7.5/10) / (3.5/11) with every cell raised by a half.
        let table = lift((7, 3), (2, 7));
        assert!((table.ratio.value - 0.75 / (3.5 / 11.0)).abs() < 1e-12);
        assert!(table.ratio.low < table.ratio.value && table.ratio.value < table.ratio.high);
        // 3 of 4 draws marked, 4 of 8 marked: (16 + 1) / 70.
        let tail = fisher_tail((3, 1), (1, 3));
        assert!(tail.exact && (tail.ln_p - (17.0_f64 / 70.0).ln()).abs() < 1e-9, "{tail:?}");
        let large = fisher_tail((10_000, 30_000), (9_000, 91_000));
        assert!(!large.exact && large.ln_p < -1_000.0, "{large:?}");
        assert!((fisher_tail((0, 5), (3, 9)).ln_p).abs() < f64::EPSILON, "nil or more is certain");
    }

    proptest! {
        #[test]
        fn the_interval_holds_the_estimate_and_grows_with_the_unmapped(
            exposed in 0_u64..2_000, rest in 1_u64..2_000, unmapped in 0_u64..2_000,
        ) {
            let known = share_explained(&facts(exposed, exposed + rest, 0), false, 10.0);
            let wide = share_explained(&facts(exposed, exposed + rest, unmapped), false, 10.0);
            prop_assert!(wide.share.low <= wide.share.value + 1e-12 && wide.share.value <= wide.share.high + 1e-12);
            prop_assert!(wide.share.low <= known.share.low + 1e-12 && known.share.high <= wide.share.high + 1e-9);
            prop_assert!(wide.excess_explained <= 10.0 + 1e-9);
        }

        #[test]
        fn the_bound_is_no_smaller_than_the_tail(a in 1_u64..60, b in 0_u64..60, c in 0_u64..60, d in 0_u64..60) {
            let exact = fisher_tail((a, b), (c, d));
            let (drawn, marked, all) = (count(a + b), count(a + c), count(a + b + c + d));
            let (seen, chance) = (count(a) / drawn, marked / all);
            let bound = if seen > chance { -drawn * divergence(seen, chance) } else { 0.0 };
            prop_assert!(exact.ln_p <= bound + 1e-9, "{} {}", exact.ln_p, bound);
            prop_assert!(exact.ln_p <= 0.0);
        }
    }
}
