//! Canaries in the daemon: whoever leads sends them, reads the mailboxes, journals what it finds, and tells.

pub mod courier;
pub mod setup;
mod tell;
mod watch;

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::watch::{Watch, trials};
use self::{courier::Courier, setup::MailboxSetup};
use crate::{
    notify::Notifiers,
    store::{Leader, StoreError},
};

/// Sends and reads until it's told to stop, each mailbox for itself.
///
/// # Errors
/// [`StoreError::NotLeading`] once the reign is over.
pub(super) async fn run(
    courier: Arc<Courier>,
    leader: Leader,
    notifiers: Notifiers,
    stop: CancellationToken,
) -> Result<(), StoreError> {
    watch::end_windows_of_others(&leader, &courier).await?;
    let mut tasks = JoinSet::new();
    let mailboxes: Vec<MailboxSetup> = courier.setup.mailboxes.clone();
    for mailbox in mailboxes {
        let watch = Watch::new(mailbox, Arc::clone(&courier), leader.clone(), notifiers.clone());
        tasks.spawn(watch.run(stop.clone()));
    }
    if tasks.is_empty() {
        stop.cancelled().await;
        return Ok(());
    }
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(error),
            Err(join) => match join.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Only whoever drops the tasks breaks them off.
                Err(_) => return Ok(()),
            },
        }
    }
    Ok(())
}
