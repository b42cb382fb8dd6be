//! Small statistics that several rooms need. All functions are total: nonsense in gives a harmless limit out.

use statrs::function::{beta::checked_beta_reg, gamma::ln_gamma};

/// The two-sided 95 % point of the normal distribution.
pub const Z_95: f64 = 1.959_963_984_540_054;

/// A count as a number. Exact up to 2^53, which no count of mails reaches.
#[must_use]
pub fn count(value: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
    {
        value as f64
    }
}

/// `ln Γ(a + k) − ln Γ(a)` for `a > 0`: the logarithm of `a (a+1) … (a+k−1)`.
#[must_use]
pub fn ln_rising(a: f64, k: u64) -> f64 {
    // The product keeps all digits where both logarithms are large and their difference is small.
    if k <= 8 {
        return (0..k).map(|i| a + count(i)).product::<f64>().ln();
    }
    ln_gamma(a + count(k)) - ln_gamma(a)
}

/// The quantile `q` of the distribution Beta(a, b), by bisection.
#[must_use]
pub fn beta_quantile(a: f64, b: f64, q: f64) -> f64 {
    // Rates of refusal are small, and their quantiles may be tiny: halving the interval on a straight scale needs about
    // 60 steps for 12 digits of a rate near 1e-6.
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    for _ in 0..64 {
        let middle = f64::midpoint(low, high);
        match checked_beta_reg(a, b, middle) {
            Ok(p) if p < q => low = middle,
            Ok(_) => high = middle,
            Err(_) => return if q >= 0.5 { 1.0 } else { 0.0 },
        }
    }
    f64::midpoint(low, high)
}

/// Above this many successes or failures the exact limits and Wilson's agree to three digits, and Wilson's cost nothing.
const EXACT_UP_TO: u64 = 2_000;

/// The one-sided upper confidence limit of a rate: Clopper–Pearson (exact, never too low) for up to 2,000 refusals,
/// Wilson's beyond.
#[must_use]
pub fn upper_limit(x: u64, n: u64, confidence: f64) -> f64 {
    if n == 0 || x >= n {
        return 1.0;
    }
    if x == 0 {
        return 1.0 - (1.0 - confidence).max(f64::MIN_POSITIVE).powf(1.0 / count(n));
    }
    if x > EXACT_UP_TO {
        return wilson(x, n, one_sided_z(confidence)).1;
    }
    beta_quantile(count(x) + 1.0, count(n - x), confidence)
}

/// The one-sided lower confidence limit of a rate, as [`upper_limit`].
#[must_use]
pub fn lower_limit(x: u64, n: u64, confidence: f64) -> f64 {
    let x = x.min(n);
    1.0 - upper_limit(n - x, n, confidence)
}

/// Wilson's interval of `x` out of `n` at the given normal point (`Z_95` for 95 %). No trials tell nothing: (0, 1).
#[must_use]
pub fn wilson(x: u64, n: u64, z: f64) -> (f64, f64) {
    if n == 0 {
        return (0.0, 1.0);
    }
    let (trials, share) = (count(n), count(x.min(n)) / count(n));
    let z2 = z * z;
    let middle = share + z2 / (2.0 * trials);
    let half = z * (share * (1.0 - share) / trials + z2 / (4.0 * trials * trials)).sqrt();
    let scale = 1.0 + z2 / trials;
    (((middle - half) / scale).max(0.0), ((middle + half) / scale).min(1.0))
}

fn one_sided_z(confidence: f64) -> f64 {
    std::f64::consts::SQRT_2 * statrs::function::erf::erf_inv(2.0 * confidence.clamp(0.5, 1.0 - 1e-12) - 1.0)
}

/// `ln(e^a + e^b)` without overflow.
#[must_use]
pub fn ln_add_exp(a: f64, b: f64) -> f64 {
    let (high, low) = if a >= b { (a, b) } else { (b, a) };
    high + (low - high).exp().ln_1p()
}

/// Keeps every bit of a number in any format: JSON alone would lose infinities and, in some readers, the last digit.
pub(crate) mod exact {
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
    pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(value.to_bits())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        u64::deserialize(deserializer).map(f64::from_bits)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantiles_and_limits_match_known_values() {
        assert!((beta_quantile(1.0, 1.0, 0.25) - 0.25).abs() < 1e-12, "Beta(1, 1) is uniform");
        assert!((beta_quantile(1.0, 99.0, 0.99) - (1.0 - 0.01_f64.powf(1.0 / 99.0))).abs() < 1e-10, "closed form");
        // Clopper-Pearson, one-sided 95 %: 0 of 100 gives 1 - .05^(1/100); 5 of 100 gives .1022 (tables).
        assert!((upper_limit(0, 100, 0.95) - 0.029_513).abs() < 1e-6);
        assert!((upper_limit(5, 100, 0.95) - 0.1022).abs() < 1e-4);
        assert!((lower_limit(5, 100, 0.95) - 0.0199).abs() < 1e-4);
        assert!((upper_limit(0, 0, 0.95) - 1.0).abs() < f64::EPSILON);
        let (low, high) = wilson(5, 9, Z_95);
        assert!((low - 0.2667).abs() < 1e-4 && (high - 0.8112).abs() < 1e-4);
        let (exact, approximate) = (upper_limit(2_000, 40_000, 0.95), wilson(2_000, 40_000, 1.644_854).1);
        assert!((exact - approximate).abs() < 3e-5, "no step where the method changes: {exact} {approximate}");
    }

    #[test]
    fn adding_in_logarithms_survives_nothing_and_too_much() {
        assert!((ln_add_exp(f64::MIN, 2.0) - 2.0).abs() < f64::EPSILON);
        assert!((ln_add_exp(1e6, 1e6) - 1e6 - 2.0_f64.ln()).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn limits_enclose_the_rate_and_rise_with_the_count(n in 1_u64..5_000, x in 0_u64..5_000) {
            let x = x.min(n);
            let rate = count(x) / count(n);
            prop_assert!(lower_limit(x, n, 0.95) <= rate + 1e-12);
            prop_assert!(upper_limit(x, n, 0.95) >= rate - 1e-12);
            if x < n {
                prop_assert!(upper_limit(x, n, 0.95) <= upper_limit(x + 1, n, 0.95) + 1e-9);
            }
        }

        #[test]
        fn the_short_product_and_the_gamma_function_agree(a in 0.01_f64..5_000.0, k in 0_u64..9) {
            let long = ln_gamma(a + count(k)) - ln_gamma(a);
            prop_assert!((ln_rising(a, k) - long).abs() < 1e-8);
        }
    }
}
