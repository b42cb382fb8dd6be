//! How often the log tells of what strangers can cause: one line for each feed and reason in a minute, with the count.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::model::{MINUTE_MILLIS, Timestamp};

/// What the log has told of each feed and reason. Clones share it. It is bounded by the feeds that are configured.
#[derive(Debug, Clone, Default)]
pub(super) struct Told(Arc<Mutex<HashMap<(String, &'static str), Line>>>);

#[derive(Debug)]
struct Line {
    at: Timestamp,
    since: u64,
}

impl Told {
    /// Counts one; gives how many there were since the last line, this one included, where it's time for another line.
    pub(super) fn count(&self, feed: &str, reason: &'static str, now: Timestamp) -> Option<u64> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(line) = lines.get_mut(&(feed.to_owned(), reason)) else {
            lines.insert((feed.to_owned(), reason), Line { at: now, since: 0 });
            return Some(1);
        };
        line.since += 1;
        // A clock that was set back must not silence it.
        if now.millis_since(line.at).abs() < MINUTE_MILLIS {
            return None;
        }
        line.at = now;
        Some(std::mem::take(&mut line.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_makes_one_line_a_minute_with_its_count() {
        let told = Told::default();
        let lines: Vec<u64> =
            (0..300).filter_map(|second| told.count("ses", "foreign", Timestamp::from_seconds(second))).collect();
        assert_eq!(lines, [1, 60, 60, 60, 60]);
        assert_eq!(told.count("ses", "stale", Timestamp::from_seconds(299)), Some(1), "another reason");
        assert_eq!(told.count("ses/eu", "foreign", Timestamp::from_seconds(299)), Some(1), "another feed");
        assert_eq!(told.count("ses", "foreign", Timestamp::from_seconds(100)), Some(60), "the clock was set back");
    }
}
