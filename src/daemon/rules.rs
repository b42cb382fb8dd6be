//! The reply rules as a process takes them up.

use std::sync::Arc;

use super::StartError;
use crate::{classify::Rules, config::Config, rule_files};

/// The reply rules by this configuration; the log tells which.
///
/// # Errors
/// Where a rule file is wrong: nothing of them is used then.
pub(super) fn rules(config: &Config) -> Result<Arc<Rules>, StartError> {
    let rules = rule_files::of(config)?;
    if let Some(said) = rule_files::empty(config.rules.folder.as_ref().map(AsRef::as_ref), &rules) {
        tracing::warn!("{said}");
    }
    tracing::info!(
        rules = rules.len(),
        own_files = rules.own_files(),
        version = rules.version(),
        fingerprint = rules.fingerprint(),
        "reply rules are ready"
    );
    Ok(Arc::new(rules))
}

/// Names each mistake of rule files in the log by itself.
pub(super) fn log_mistakes(error: &StartError) {
    if let StartError::Rules(wrong) = error {
        for mistake in &wrong.0 {
            tracing::error!(setting = "rules.folder", "{mistake}");
        }
    }
}
