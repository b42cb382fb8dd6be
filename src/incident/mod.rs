//! Incidents: what is kept of one.

mod body;

pub use body::{Body, Label};
