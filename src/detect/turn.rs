//! When the rate of refusals turned, beside when the rise may have begun.

use super::{Counts, stats::count};
use crate::model::Bin;

/// The bin from which on the refusals are most likely to have another, higher rate than before: the split of the bins with the
/// highest likelihood of two binomial rates. Nothing where no split has a higher rate after it.
///
/// The detector's onset is the last time that nothing spoke for trouble, which a few ordinary refusals put hours too early; this is
/// when most of the change came. `bins` are in order; those without mail are of no account.
#[must_use]
pub fn turn(bins: &[(Bin, Counts)]) -> Option<Bin> {
    let whole = bins.iter().fold(Counts::default(), |sum, (_, counts)| sum.plus(*counts));
    let mut before = Counts::default();
    let mut best: Option<(f64, Bin)> = None;
    for (bin, counts) in bins.iter().filter(|(_, counts)| counts.sends > 0) {
        let after = whole.minus(before);
        let rises = before.sends > 0 && rate(after) > rate(before);
        let gain = likelihood(before) + likelihood(after) - likelihood(whole);
        if rises && best.is_none_or(|(most, _)| gain > most) {
            best = Some((gain, *bin));
        }
        before = before.plus(*counts);
    }
    best.map(|(_, bin)| bin)
}

fn rate(counts: Counts) -> f64 {
    count(counts.refused) / count(counts.sends.max(1))
}

/// The highest log-likelihood of so many refusals of so many messages.
fn likelihood(counts: Counts) -> f64 {
    let part = |some: u64| if some == 0 { 0.0 } else { count(some) * (count(some) / count(counts.sends)).ln() };
    part(counts.refused) + part(counts.sends.saturating_sub(counts.refused))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bins(all: &[(u64, u64)]) -> Vec<(Bin, Counts)> {
        let bin = |(number, (sends, refused)): (usize, &(u64, u64))| {
            (Bin(i64::try_from(number).expect("few")), Counts { sends: *sends, refused: *refused })
        };
        all.iter().enumerate().map(bin).collect()
    }

    #[test]
    fn the_turn_is_where_the_rate_changes_and_not_where_single_refusals_came_before() {
        // Three hours with a refusal now and then, then nine of ten.
        let mut all: Vec<(u64, u64)> = (0..36).map(|n| (100, u64::from(n % 9 == 0))).collect();
        all.extend([(0, 0), (100, 91), (100, 95)]);
        assert_eq!(turn(&bins(&all)), Some(Bin(37)), "the first bin with mail that has the new rate");
        all.extend([(100, 0); 4]);
        assert_eq!(turn(&bins(&all)), Some(Bin(37)), "also where it is over soon");
    }

    #[test]
    fn without_a_rise_nothing_turns() {
        assert_eq!(turn(&[]), None);
        assert_eq!(turn(&bins(&[(100, 90), (100, 91)][..1])), None, "nothing came before");
        assert_eq!(turn(&bins(&[(100, 90), (100, 10), (0, 0)])), None, "it only fell");
    }
}
