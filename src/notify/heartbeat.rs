//! The sign of life: a URL that is fetched for as long as store and monitor work, so that somebody outside notices when
//! they stop. A sign that isn't given is the alarm; whatever is wrong here stops nothing else.

use std::{convert::Infallible, time::Duration};

use reqwest::Client;
use tokio_util::sync::CancellationToken;

use super::{Notifiers, answer};
use crate::{clock::Clock, metrics::Metrics, model::Timestamp, store::Store};

/// A monitor that has made no step for so long is stuck: it looks every ten seconds.
const STUCK: Duration = Duration::from_mins(1);

/// Gives the sign of life until it's told to stop; waits for a setup that has one.
///
/// `progress` is a number that changes with every step of the monitor, or why no sign is to be given.
///
/// # Errors
/// None.
pub async fn run(
    notifiers: Notifiers,
    store: Store,
    progress: impl Fn() -> Result<u64, &'static str> + Send,
    client: Client,
    clock: Clock,
    metrics: Metrics,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let mut setup = notifiers.watch();
    let mut watcher = Watcher { seen: progress().unwrap_or(0), moved_at: clock.now() };
    loop {
        let heartbeat = setup.borrow_and_update().heartbeat.clone();
        let Some((endpoint, interval)) = heartbeat else {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = setup.changed() => continue,
            }
        };
        let steps = progress();
        let moves = steps.map(|steps| watcher.moves(steps, clock.now()));
        let result = if let Err(why) = healthy(&store, moves).await {
            tracing::warn!(why, "no sign of life is given");
            "withheld"
        } else {
            let sent = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                sent = answer::send(client.get(endpoint.url()), clock.now()) => sent,
            };
            if let Err(failure) = sent {
                tracing::warn!(reason = failure.reason, "the sign of life did not arrive; check [notify.heartbeat]");
                "failed"
            } else {
                "sent"
            }
        };
        metrics.heartbeats.with_label_values(&[result]).inc();
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = setup.changed() => {}
            () = clock.sleep(interval) => {}
        }
    }
}

/// When the monitor last made a step.
struct Watcher {
    seen: u64,
    moved_at: Timestamp,
}

impl Watcher {
    fn moves(&mut self, progress: u64, now: Timestamp) -> bool {
        if progress != self.seen {
            *self = Self { seen: progress, moved_at: now };
        }
        now.millis_since(self.moved_at) <= i64::try_from(STUCK.as_millis()).unwrap_or(i64::MAX)
    }
}

async fn healthy(store: &Store, monitor_moves: Result<bool, &'static str>) -> Result<(), &'static str> {
    if !monitor_moves? {
        return Err("the monitor makes no progress");
    }
    store.ping().await.map_err(|_| "the store takes no writes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_monitor_that_stands_still_is_noticed_after_a_minute() {
        let at = |seconds| Timestamp::from_seconds(seconds);
        let mut watcher = Watcher { seen: 5, moved_at: at(0) };
        assert!(watcher.moves(5, at(60)));
        assert!(!watcher.moves(5, at(61)));
        assert!(watcher.moves(6, at(3_600)), "it moved since it was last looked at");
        assert!(watcher.moves(6, at(3_660)));
        assert!(!watcher.moves(6, at(3_661)));
    }
}
