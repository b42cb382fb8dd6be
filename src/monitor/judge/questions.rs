//! What incidents ask of the judge.

use std::collections::BTreeSet;

use super::{DAY_BINS, Judge, RING_DAYS};
use crate::{
    detect::{Counts, Quiet, Regime},
    model::{Bin, StreamKey},
};

impl Judge {
    /// Whether a stream has been quiet since its last alarm, and since `floor`, by the closing rule.
    #[must_use]
    pub fn quiet(&self, stream: &StreamKey, floor: Bin) -> Option<Quiet> {
        self.watched.get(stream)?.detector.quiet_after(floor, &self.parameters)
    }

    /// The regime of a stream in a bin.
    #[must_use]
    pub fn regime(&self, stream: &StreamKey, bin: Bin) -> Option<&Regime> {
        Some(self.watched.get(stream)?.detector.regime(bin))
    }

    /// What was judged of a stream in the bins from `from` to `to`, both included, as far as they are in the ring.
    #[must_use]
    pub fn counts_within(&self, stream: &StreamKey, from: Bin, to: Bin) -> Counts {
        self.watched.get(stream).map(|watched| watched.detector.counts_within(from, to)).unwrap_or_default()
    }

    /// Whether one of these finest streams is counted into a stream.
    #[must_use]
    pub fn counts_any(&self, stream: &StreamKey, finest: &BTreeSet<i32>) -> bool {
        let within = |known: &BTreeSet<i32>| finest.iter().any(|number| known.contains(number));
        self.watched.get(stream).is_some_and(|watched| within(&watched.finest))
    }

    /// The end of the last outage of ours because of which some bin of a stream, from `from` to `to`, both included, is not judged
    /// now; none where all of them are.
    #[must_use]
    pub fn withheld_until(&self, stream: &StreamKey, from: Bin, to: Bin, now: Bin) -> Option<Bin> {
        let watched = self.watched.get(stream)?;
        let finest = watched.finest.iter().filter_map(|number| self.finest.get(number));
        let providers: BTreeSet<_> = finest.map(|finest| finest.provider).collect();
        let overlapping = self.outages.iter().filter(|outage| outage.from < to.end() && outage.until > from.start());
        let withholding = overlapping.filter(|outage| {
            let bin = outage.from.bin();
            providers.iter().any(|provider| outage.withholds(bin, self.holds.millis(*provider), now.start()))
        });
        withholding.map(|outage| outage.until.bin()).max()
    }

    /// Whether the trouble of a stream, whose last alarm is not after `last`, has ended without the closing rule being able to say
    /// so: no mail for a day, or none refused in all the ring.
    #[must_use]
    pub fn has_faded(&self, stream: &StreamKey, last: Bin, now: Bin) -> bool {
        let Some(watched) = self.watched.get(stream) else {
            return now.0 - last.0 >= DAY_BINS;
        };
        let last = watched.detector.alarms().map(|alarm| alarm.bin).fold(last, Bin::max);
        let since = watched.detector.counts_since(Bin(last.0.saturating_add(1)));
        let passed = now.0 - last.0;
        let blind = self.outages.iter().any(|outage| outage.until > last.end());
        let no_mail = since.sends == 0 && passed >= DAY_BINS && !blind;
        no_mail || (since.refused == 0 && passed >= RING_DAYS * DAY_BINS)
    }
}
