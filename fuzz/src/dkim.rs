//! Any key record of DKIM: no panic, faults within the record, and the same where it is read again.

use relaywatch::sources::dkim::{self, Key};

/// Checks one input: a record, and each of its lines as one.
pub fn check(data: &[u8]) {
    for record in data.split(|byte| *byte == b'\n').chain([data]) {
        let read = dkim::parse(record);
        assert_eq!(read, dkim::parse(record));
        match read {
            None => {}
            Some(Ok(key)) => {
                if let Key::Rsa { bits } = key.key {
                    assert!(bits as usize <= 8 * record.len(), "{bits} bits in {} bytes", record.len());
                }
            }
            Some(Err(fault)) => assert!(fault.at <= record.len(), "{fault:?}"),
        }
    }
}
