//! Reloading in two steps, so that either every part takes the new settings or none does.

use std::{future::Future, pin::Pin, sync::Arc};

use super::BoxError;

/// The second step of a reload: puts into force what was prepared. It cannot fail and does not wait.
pub type Commit = Box<dyn FnOnce() + Send>;

/// The first step, under way.
pub type Preparing<'a> = Pin<Box<dyn Future<Output = Result<Commit, BoxError>> + Send + 'a>>;

/// A part that can take new settings while it runs.
pub trait Reload: Send + Sync {
    /// What is reloaded, for the log.
    fn name(&self) -> &'static str;

    /// Reads and checks the new settings without using them, and hands back the step that does.
    ///
    /// Dropping the future or the step must leave the old settings in force.
    fn prepare(&self) -> Preparing<'_>;
}

/// Why nothing was reloaded.
#[derive(Debug, thiserror::Error)]
#[error("{part} was not reloaded, and nothing else was: {source}")]
pub struct ReloadError {
    /// The part that refused.
    pub part: &'static str,
    /// Why.
    pub source: BoxError,
}

/// Prepares every part, then commits every part; the first refusal leaves all of them as they were.
pub(super) async fn reload_all(parts: Vec<Arc<dyn Reload>>) -> Result<usize, ReloadError> {
    let mut commits = Vec::with_capacity(parts.len());
    for part in &parts {
        commits.push(part.prepare().await.map_err(|source| ReloadError { part: part.name(), source })?);
    }
    let count = commits.len();
    for commit in commits {
        commit();
    }
    Ok(count)
}
