//! Incidents as the store holds them.

use crate::model::{Timestamp, words};

words! {
    /// Where an incident stands.
    pub enum IncidentState {
        /// It goes on.
        Open = 1, "open";
        /// It has become quiet, or an operator has closed it.
        Closed = 2, "closed";
        /// Late reports undid the judgement.
        Withdrawn = 3, "withdrawn";
        /// Its refused addresses have vanished from the traffic: silence about them proves nothing.
        Masked = 4, "masked";
        /// It was over before it was known: from imported history, for example. It never paged.
        Past = 5, "past";
    }
}

words! {
    /// What an operator says of an incident afterwards: false-alarm rates are counted from it.
    pub enum Label {
        /// Mail was lost.
        Real = 1, "real";
        /// The refusals were real and expected: a list clean-up, a test.
        Benign = 2, "benign";
        /// There was nothing.
        False = 3, "false";
    }
}

/// An incident as the store holds it; `body` belongs to the room `incident`.
#[derive(Debug, Clone, PartialEq)]
pub struct IncidentRecord {
    /// Its number; zero for one that is new.
    pub id: i64,
    /// Where it stands.
    pub state: IncidentState,
    /// The estimated onset.
    pub onset: Timestamp,
    /// When it was judged to be one, by send time.
    pub opened_at: Timestamp,
    /// When it last changed, by the monitor's clock.
    pub updated_at: Timestamp,
    /// When it was over.
    pub closed_at: Option<Timestamp>,
    /// What operators say of it; saving an incident does not write it.
    pub operator: OperatorWord,
    /// The rest, without personal data.
    pub body: serde_json::Value,
}

/// What operators say of an incident: written by their commands only, in one statement each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OperatorWord {
    /// What it was.
    pub label: Option<Label>,
    /// Whether its refusals are taken as the new ordinary.
    pub accepted_normal: bool,
    /// When an operator closed it.
    pub closed_at: Option<Timestamp>,
}
