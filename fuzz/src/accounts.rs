//! Any file of accounts, as CSV and as JSON lines: each row is good or broken, twice in the same way.

use relaywatch::{cli::accounts::examine, model::Timestamp};

const NOW: Timestamp = Timestamp::from_seconds(1_754_805_600);

/// Checks one input.
pub fn check(data: &[u8]) {
    for csv in [true, false] {
        let once = examine(data, csv, NOW);
        let again = examine(data, csv, NOW);
        match (once, again) {
            (Ok(once), Ok(again)) => assert_eq!(once, again),
            (Err(once), Err(again)) => assert_eq!(once.to_string(), again.to_string()),
            (once, again) => panic!("{once:?}, then {again:?}"),
        }
    }
}
