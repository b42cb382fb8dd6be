//! What the store keeps of an incident beside its times and its state: JSON without personal data.

use serde::{Deserialize, Serialize};

use crate::{
    detect::Urgency,
    explain::{BLIND, BlindWindow, Hypothesis, IncidentFacts, blind_line},
    model::{StreamKey, Timestamp, words},
    store::IncidentRecord,
};

words! {
    /// What an incident was judged by.
    #[derive(Default)]
    pub enum Basis {
        /// The share of refused messages, against what is ordinary: with a bound on false alarms.
        #[default]
        Rate = 1, "rate";
        /// The number of refused addresses an hour, of feeds without exposure: a ticket, without rate or bound.
        Count = 2, "count";
    }
}

/// The body of a stored incident can't be read.
#[derive(Debug, thiserror::Error)]
#[error("incident {id} was written by another version of relaywatch, or damaged; use the version that wrote it")]
pub struct BodyError {
    /// The incident's number.
    pub id: i64,
    /// What is wrong with it.
    pub source: serde_json::Error,
}

/// The body of an incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Body {
    /// The stream that the incident is about.
    pub scope: StreamKey,
    /// The streams whose evidence passed the threshold.
    pub streams: Vec<StreamKey>,
    /// How it is announced.
    pub severity: Urgency,
    /// Messages since the onset.
    pub sends: u64,
    /// Of them, permanently refused.
    pub refused: u64,
    /// How many would have been refused in ordinary times.
    pub expected: f64,
    /// Different addresses that were refused.
    pub addresses: u64,
    /// The detector's sentence.
    pub sentence: String,
    /// The cause, where the evidence allows to name it.
    pub named: Option<Hypothesis>,
    /// The share that Apple's notices explain, with the ends of its 95 % interval: 0 to 1.
    pub share_explained: Option<(f64, f64, f64)>,
    /// The explanation, line by line, as it was announced.
    pub explanation: Vec<String>,
    /// What the explanation was made from.
    pub facts: Option<IncidentFacts>,
    /// Pages sent about it.
    pub pages: u32,
    /// When the last one went out.
    pub last_paged_at: Option<Timestamp>,
    /// How many were refused by then.
    pub last_paged_refused: u64,
    /// What it was judged by.
    #[serde(default)]
    pub basis: Basis,
    /// The version of the journalled settings under which it was last judged: parameters, relay domains, teams.
    #[serde(default)]
    pub settings: Option<u32>,
    /// The version of the reply rules under which it was last judged.
    #[serde(default)]
    pub rules: Option<u32>,
    /// Whether it was announced that an operator has closed it.
    #[serde(default)]
    pub operator_told: bool,
}

impl Body {
    /// Reads the body of a stored incident.
    ///
    /// # Errors
    /// Where another version wrote it.
    pub fn from_record(record: &IncidentRecord) -> Result<Self, BodyError> {
        Self::deserialize(&record.body).map_err(|source| BodyError { id: record.id, source })
    }

    /// The same with the blind windows that are known now: some are found, and some end, after the incident was explained. What
    /// was concluded stays as it was announced, but for the line that names them.
    pub fn see_blind(&mut self, windows: Vec<BlindWindow>) {
        let Some(facts) = &mut self.facts else { return };
        facts.blind_windows = windows;
        let line = blind_line(&facts.blind_windows);
        let stood = self.explanation.iter().position(|line| line.starts_with(BLIND));
        self.explanation.retain(|line| !line.starts_with(BLIND));
        if let Some(line) = line {
            self.explanation.insert(stood.unwrap_or(self.explanation.len()).min(self.explanation.len()), line);
        }
    }

    /// The body as the store keeps it.
    #[must_use]
    pub fn to_value(&self) -> serde_json::Value {
        // A struct of words, numbers and texts always serialises; a number that is none becomes null.
        serde_json::to_value(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{explain::Watched, incident::testing};

    #[test]
    fn windows_that_are_found_later_are_named_and_what_has_ended_is_said() {
        let (record, mut body) = testing::purge();
        let window = |until| BlindWindow { watched: Watched::Notices, from: record.onset, until, reason: None };
        body.see_blind(vec![window(None)]);
        let lines = body.explanation.clone();
        assert_eq!(
            lines.iter().filter(|line| line.contains("Apple's notices; absence there proves nothing")).count(),
            1
        );
        body.see_blind(vec![window(Some(record.updated_at))]);
        assert_eq!(body.explanation, lines, "in the same place, once");
        assert_eq!(body.facts.as_ref().map(|facts| facts.blind_windows[0].until), Some(Some(record.updated_at)));
        body.see_blind(Vec::new());
        assert!(!body.explanation.iter().any(|line| line.starts_with(BLIND)));
    }

    #[test]
    fn a_body_survives_the_store_and_a_foreign_one_is_named() {
        let (mut record, body) = testing::purge();
        assert_eq!(Body::from_record(&record).expect("reads"), body);
        record.body = serde_json::json!({ "scope": 5 });
        let error = Body::from_record(&record).expect_err("foreign").to_string();
        assert!(error.starts_with("incident 7 was written by another version"), "{error}");
    }
}
