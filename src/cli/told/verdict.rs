//! What is said of a reply, in the one form that `classify` and `events` write for machines.

use serde::Serialize;

use crate::model::{Action, Cause, Evidence, Fault};

/// The fields of a verdict. Their names are stable; fields may be added.
#[derive(Debug, Default, Serialize)]
pub(in crate::cli) struct VerdictFields<'a> {
    pub(in crate::cli) cause: Option<Cause>,
    pub(in crate::cli) fault: Option<Fault>,
    pub(in crate::cli) action: Option<Action>,
    pub(in crate::cli) hard: Option<bool>,
    /// 0 to 1, in hundredths.
    pub(in crate::cli) confidence: Option<f64>,
    /// As `file/name`.
    pub(in crate::cli) rule: Option<&'a str>,
    /// The version of the rules.
    pub(in crate::cli) rule_version: Option<u32>,
    pub(in crate::cli) evidence: Option<&'a [Evidence]>,
    /// Seconds to wait before the next try, with the action `retry`.
    pub(in crate::cli) delay: Option<u32>,
    /// The reply with roles in the place of addresses, hosts and ids.
    pub(in crate::cli) template: Option<&'a str>,
}
