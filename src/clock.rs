//! Where time comes from: one clock for the whole process, passed in.

use std::{
    sync::{Arc, atomic::AtomicI64, atomic::Ordering},
    time::Duration,
};

use tokio::sync::watch;

use crate::model::Timestamp;

/// The source of the current time.
///
/// `serve` always runs on the system's clock; tests and `demo` step a manual one. Whoever waits does it by
/// [`Clock::sleep`], so that stepping the clock wakes the sleepers.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The machine's clock.
    #[default]
    System,
    /// A clock that moves only when it's told to.
    Manual(ManualClock),
}

impl Clock {
    /// The current time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match self {
            #[expect(clippy::disallowed_methods, reason = "the one place that asks the machine for the time")]
            Self::System => Timestamp::from_millis(jiff::Timestamp::now().as_millisecond()),
            Self::Manual(clock) => clock.now(),
        }
    }

    /// Waits so long by this clock.
    pub async fn sleep(&self, duration: Duration) {
        match self {
            Self::System => tokio::time::sleep(duration).await,
            Self::Manual(clock) => {
                let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
                clock.wait_until(clock.now().plus_millis(millis)).await;
            }
        }
    }
}

/// A clock that moves only when it's told to, and never back.
#[derive(Debug, Clone)]
pub struct ManualClock {
    now: Arc<AtomicI64>,
    moved: Arc<watch::Sender<()>>,
}

impl ManualClock {
    /// A clock that stands at `start`.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self { now: Arc::new(AtomicI64::new(start.as_millis())), moved: Arc::new(watch::Sender::new(())) }
    }

    /// Where it stands.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now.load(Ordering::SeqCst))
    }

    /// Moves it forward to `to` and wakes whoever waited for a time up to there; an earlier time changes nothing.
    pub fn advance_to(&self, to: Timestamp) {
        self.now.fetch_max(to.as_millis(), Ordering::SeqCst);
        self.moved.send_replace(());
    }

    /// Moves it forward by `duration`.
    pub fn advance(&self, duration: Duration) {
        self.advance_to(self.now().plus_millis(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)));
    }

    async fn wait_until(&self, until: Timestamp) {
        let mut moved = self.moved.subscribe();
        while self.now() < until {
            if moved.changed().await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stepping_the_manual_clock_wakes_sleepers() {
        let manual = ManualClock::new(Timestamp::from_millis(1_000));
        let clock = Clock::Manual(manual.clone());
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move {
                clock.sleep(Duration::from_mins(1)).await;
                clock.now()
            }
        });
        tokio::task::yield_now().await;
        manual.advance(Duration::from_secs(59));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        manual.advance(Duration::from_secs(1));
        assert_eq!(sleeper.await.expect("sleeper"), Timestamp::from_millis(61_000));
        manual.advance_to(Timestamp::EPOCH);
        assert_eq!(clock.now(), Timestamp::from_millis(61_000), "it never moves back");
    }
}
