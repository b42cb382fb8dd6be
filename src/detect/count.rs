//! The low-evidence count alarm for streams without exposure.
//!
//! Where a feed reports nothing but refusals there is no rate and no false-alarm bound. What can be seen is that an hour
//! refused far more addresses than any hour of the week before; that is worth a ticket, never a page.

use super::{CountParameters, stats::count};

/// An hour in which far more addresses were refused than in any hour before. A ticket without rate or bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountTicket {
    /// Different addresses refused in the hour.
    pub addresses: u64,
    /// The highest hour of the days before, in different addresses.
    pub highest_before: u64,
}

/// Judges one hour of send time: `addresses` are the different addresses refused in it, `highest_before` the most in any
/// hour of the seven days before it.
///
/// The hour that fills may be judged at any time, since its count only rises. A week in which the feed was down or not yet
/// connected has no highest hour: the caller then does not ask.
#[must_use]
pub fn judge_hour(addresses: u64, highest_before: u64, parameters: &CountParameters) -> Option<CountTicket> {
    let enough = addresses >= parameters.least_addresses;
    let unusual = count(addresses) >= parameters.least_ratio * count(highest_before);
    (enough && unusual).then_some(CountTicket { addresses, highest_before })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_must_be_both_large_and_unusual() {
        let parameters = CountParameters::default();
        assert_eq!(judge_hour(9, 0, &parameters), None, "too few");
        assert_eq!(judge_hour(10, 0, &parameters), Some(CountTicket { addresses: 10, highest_before: 0 }));
        assert_eq!(judge_hour(49, 10, &parameters), None, "not five times the highest");
        assert!(judge_hour(50, 10, &parameters).is_some());
    }
}
