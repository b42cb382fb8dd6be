//! The distributions of the generator.

use rand::{Rng, RngExt};

/// A number from 0 up to 1.
pub(super) fn unit(rng: &mut dyn Rng) -> f64 {
    rng.random()
}

/// Whether something of this probability happens.
pub(super) fn happens(rng: &mut dyn Rng, probability: f64) -> bool {
    unit(rng) < probability
}

/// A number from `low` up to `high`.
pub(super) fn uniform(rng: &mut dyn Rng, low: f64, high: f64) -> f64 {
    low + (high - low) * unit(rng)
}

/// An index below `count`; 0 where there is none.
pub(super) fn index(rng: &mut dyn Rng, count: usize) -> usize {
    if count == 0 { 0 } else { rng.random_range(0..count) }
}

/// An exponential time of this mean.
pub(super) fn exponential(rng: &mut dyn Rng, mean: f64) -> f64 {
    -mean * (1.0 - unit(rng)).ln()
}

/// A standard normal number, after Box and Muller.
pub(super) fn normal(rng: &mut dyn Rng) -> f64 {
    let radius = (-2.0 * (1.0 - unit(rng)).ln()).sqrt();
    radius * (std::f64::consts::TAU * unit(rng)).cos()
}

/// A lognormal number of this median; `sigma` is the standard deviation of its logarithm.
pub(super) fn lognormal(rng: &mut dyn Rng, median: f64, sigma: f64) -> f64 {
    median * (sigma * normal(rng)).exp()
}

/// A count of this mean: by Knuth's product where it's small, else by the normal approximation.
pub(super) fn poisson(rng: &mut dyn Rng, mean: f64) -> usize {
    if mean > 40.0 {
        return whole(mean + mean.sqrt() * normal(rng));
    }
    let (limit, mut product, mut count) = ((-mean).exp(), unit(rng), 0);
    while product > limit {
        product *= unit(rng);
        count += 1;
    }
    count
}

/// A Beta-distributed rate of mean `m` and dispersion `rho`: `Beta(m(1-rho)/rho, (1-m)(1-rho)/rho)`.
pub(super) fn rate(rng: &mut dyn Rng, m: f64, rho: f64) -> f64 {
    let weight = (1.0 - rho) / rho;
    let (a, b) = (gamma(rng, m * weight), gamma(rng, (1.0 - m) * weight));
    if a + b > 0.0 { a / (a + b) } else { 0.0 }
}

/// A Gamma-distributed number of scale 1, after Marsaglia and Tsang.
fn gamma(rng: &mut dyn Rng, shape: f64) -> f64 {
    if shape < 1.0 {
        let boost = (1.0 - unit(rng)).powf(1.0 / shape);
        return boost * gamma(rng, shape + 1.0);
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = normal(rng);
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && (1.0 - unit(rng)).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

/// The nearest whole number that is not negative.
pub(super) fn whole(number: f64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped; a float cast saturates")]
    let whole = number.round().max(0.0) as usize;
    whole
}

/// Seconds as milliseconds.
pub(super) fn millis(seconds: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "a float cast saturates")]
    let millis = (seconds * 1_000.0).round() as i64;
    millis
}

/// A count as a float, exact below 2^53.
pub(super) fn float(count: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    let float = count as f64;
    float
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    fn mean(mut draw: impl FnMut() -> f64) -> f64 {
        (0..20_000).map(|_| draw()).sum::<f64>() / 20_000.0
    }

    fn near(found: f64, wanted: f64, tolerance: f64) {
        assert!((found - wanted).abs() < tolerance, "{found} is not {wanted} within {tolerance}");
    }

    #[test]
    fn means_are_what_they_are_called() {
        let mut rng = StdRng::seed_from_u64(1);
        near(mean(|| exponential(&mut rng, 5.0)), 5.0, 0.15);
        near(mean(|| normal(&mut rng)), 0.0, 0.03);
        near(mean(|| normal(&mut rng).powi(2)), 1.0, 0.05);
        near(mean(|| float(poisson(&mut rng, 3.0))), 3.0, 0.06);
        near(mean(|| float(poisson(&mut rng, 300.0))), 300.0, 0.6);
        near(mean(|| lognormal(&mut rng, 2.0, 0.5).ln()), 2.0_f64.ln(), 0.02);
    }

    #[test]
    fn rates_have_their_mean_and_dispersion() {
        let mut rng = StdRng::seed_from_u64(2);
        let (m, rho) = (0.02, 0.01);
        near(mean(|| rate(&mut rng, m, rho)), m, 0.001);
        // The variance of a Beta distribution is m(1-m)rho.
        near(mean(|| (rate(&mut rng, m, rho) - m).powi(2)) / (m * (1.0 - m) * rho), 1.0, 0.1);
    }
}
