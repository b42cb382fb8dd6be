//! Any bytes as a file for `import`: whatever it is taken for, it is read to an end, twice in the same way.

use relaywatch::{
    ingest::import::{Format, examine},
    model::Timestamp,
};

const NOW: Timestamp = Timestamp::from_seconds(1_754_805_600);

/// Checks one input.
pub fn check(data: &[u8]) {
    let once = examine(data, None, NOW);
    assert_eq!(once, examine(data, None, NOW));
    let (form, counts) = once;
    assert!(form.is_some() || counts.records == 0);
    for format in Format::ALL {
        let (_, counts) = examine(data, Some(*format), NOW);
        assert!(counts.records <= data.len() as u64 * 2_000, "gzip packs at most a thousandfold");
    }
}
