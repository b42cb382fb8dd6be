//! What is kept of an incident beside its state and times. Holds counts and names of streams, never an address.

use serde::{Deserialize, Serialize};

use crate::{
    detect::Urgency,
    explain::{Hypothesis, IncidentFacts},
    model::{StreamKey, Timestamp, words},
    store::{IncidentRecord, StoreError},
};

words! {
    /// What an operator says of an incident afterwards.
    pub enum Label {
        /// Mail was refused that should have arrived.
        Real = 1, "real";
        /// It happened, and was meant to: a list that was known to be old, for example.
        Benign = 2, "benign";
        /// Nothing happened: the page was false.
        False = 3, "false";
    }
}

/// What is kept of an incident beside its state and times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Body {
    /// The stream that holds the trouble.
    pub scope: StreamKey,
    /// All streams that have raised an alarm.
    pub streams: Vec<StreamKey>,
    /// Whether it woke somebody.
    pub severity: Urgency,
    /// Messages since the onset, by exposure.
    pub sends: u64,
    /// Of them, permanently refused.
    pub refused: u64,
    /// How many would have been refused in ordinary times.
    pub expected: f64,
    /// Different addresses refused since the onset.
    pub addresses: u64,
    /// What happened, in one sentence.
    pub sentence: String,
    /// The cause, where the evidence allows to name it.
    pub named: Option<Hypothesis>,
    /// The share that Apple's notices explain: low end, estimate, high end.
    pub share_explained: Option<(f64, f64, f64)>,
    /// The explanation as people read it, a line each.
    pub explanation: Vec<String>,
    /// What was counted for the explanation.
    pub facts: Option<IncidentFacts>,
    /// What an operator says of it.
    pub label: Option<Label>,
    /// Whether an operator has accepted its rate as the new normal.
    pub accepted_normal: bool,
    /// How many announcements were made.
    pub pages: u32,
    /// When the last one was made, by the monitor's clock.
    pub last_paged_at: Option<Timestamp>,
    /// How many were refused then.
    pub last_paged_refused: u64,
}

impl Body {
    /// The body of a stored incident.
    ///
    /// # Errors
    /// Where another version wrote something else.
    pub fn from_record(record: &IncidentRecord) -> Result<Self, StoreError> {
        serde_json::from_value(record.body.clone()).map_err(|error| StoreError::Unknown {
            table: "incident",
            what: "body",
            value: format!("of incident {}: {}", record.id, error.classify_word()),
        })
    }

    /// The form in which it is stored.
    #[must_use]
    pub fn to_value(&self) -> serde_json::Value {
        // A struct of strings, numbers and words always serialises.
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// Serde's messages may quote values; the kind of the fault is enough.
trait ClassifyWord {
    fn classify_word(&self) -> &'static str;
}

impl ClassifyWord for serde_json::Error {
    fn classify_word(&self) -> &'static str {
        match self.classify() {
            serde_json::error::Category::Data => "a field that this version does not know, or one missing",
            _ => "no JSON",
        }
    }
}
