//! Any header: results of authentication are read within their bounds and can be written and read again, and whatever a message says
//! of itself, nothing counts where nobody is trusted.

use relaywatch::{
    model::Timestamp,
    sources::{
        apple_rule::{Inventory, PathVerdict},
        auth_results::{MAX_PROPERTIES, MAX_RESULTS, Trust, parse, parse_arc},
        message::{Checked, Facts, Header, MAX_FIELDS, MAX_SIGNATURES, diagnose, mend},
    },
};

/// Checks one input: a header, or what somebody made of one.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for found in [parse(&text), parse_arc(&text)] {
        assert!(found.results.len() <= MAX_RESULTS);
        for one in &found.results {
            assert!(!one.method.is_empty() && one.properties.len() <= MAX_PROPERTIES);
        }
        let written = found.to_string();
        assert!(written.len() <= 8 * data.len() + 64, "{written}");
        assert!(parse(&written).results.len() <= MAX_RESULTS);
    }
    let pasted = mend(data);
    for raw in pasted.iter().map(|(text, _)| text.as_slice()).chain([data]) {
        let header = Header::read(raw);
        assert!(header.fields.len() <= MAX_FIELDS);
        let inventory = Inventory::new(Vec::new(), Timestamp::EPOCH);
        for trust in
            [Trust::of::<&str>([]), Trust::default(), Trust::of(["mx.google.com", "outlook.com", "*.yahoo.com"])]
        {
            let facts = Facts::of(&header, &trust);
            assert!(facts.signatures.len() <= MAX_SIGNATURES);
            let told = diagnose(&facts, &inventory, &Checked::default());
            assert_eq!(told, diagnose(&facts, &inventory, &Checked::default()));
            // Nothing is declared here, so that nothing can pass.
            assert_ne!(told.apple.overall, PathVerdict::Pass);
            assert!(!told.missing.is_empty());
            if trust.ids().is_empty() {
                assert!(told.spf.result.is_none() && told.dmarc.result.is_none());
                assert!(told.signatures.iter().all(|one| one.result.is_none()));
            }
        }
    }
}
