//! What the service manager hears: readiness, reload, stopping, the watchdog (systemd's `sd_notify(3)` protocol).

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{Instant, Interval, MissedTickBehavior};

type Tell = dyn Fn(&[NotifyState<'_>]) + Send + Sync;

/// The service manager that started this process, if one did.
pub struct Supervisor {
    send: Option<Box<Tell>>,
    watchdog: Option<Duration>,
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor")
            .field("listens", &self.send.is_some())
            .field("watchdog", &self.watchdog)
            .finish_non_exhaustive()
    }
}

impl Supervisor {
    /// Nobody listens.
    #[must_use]
    pub const fn none() -> Self {
        Self { send: None, watchdog: None }
    }

    /// systemd where it set `NOTIFY_SOCKET`, with its watchdog where the unit asks for one; else nobody.
    #[must_use]
    pub fn from_environment() -> Self {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Self::none();
        }
        Self::calling(
            |states| {
                if let Err(error) = sd_notify::notify(states) {
                    tracing::warn!(%error, "the service manager could not be told; check NOTIFY_SOCKET");
                }
            },
            sd_notify::watchdog_enabled(),
        )
    }

    /// Hands every message to `send`; expects a sign of life twice in each `watchdog`.
    #[must_use]
    pub fn calling(send: impl Fn(&[NotifyState<'_>]) + Send + Sync + 'static, watchdog: Option<Duration>) -> Self {
        Self { send: Some(Box::new(send)), watchdog: watchdog.filter(|interval| !interval.is_zero()) }
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        if let Some(send) = &self.send {
            send(states);
        }
    }

    pub(super) fn ready(&self, status: &str) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// `RELOADING=1` must carry the monotonic time, by which systemd tells this reload from an older one.
    pub(super) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now, NotifyState::Status("reloading")]),
            Err(error) => tracing::warn!(%error, "no monotonic time; the service manager is not told of the reload"),
        }
    }

    /// Asks for as much time as stopping can take, so that systemd's own limit does not cut a long drain off.
    pub(super) fn stopping(&self, status: &str, longest: Duration) {
        let micros = u32::try_from(longest.as_micros()).unwrap_or(u32::MAX);
        self.tell(&[NotifyState::Stopping, NotifyState::Status(status), NotifyState::ExtendTimeoutUsec(micros)]);
    }

    pub(super) fn status(&self, status: &str) {
        self.tell(&[NotifyState::Status(status)]);
    }

    pub(super) fn alive(&self) {
        self.tell(&[NotifyState::Watchdog]);
    }

    /// Ticks at half the watchdog's interval, as `sd_watchdog_enabled(3)` asks; never without a watchdog.
    pub(super) fn heartbeat(&self) -> Heartbeat {
        Heartbeat(self.watchdog.map(|interval| {
            let half = (interval / 2).max(Duration::from_millis(1));
            let mut ticks = tokio::time::interval_at(Instant::now() + half, half);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        }))
    }
}

pub(super) struct Heartbeat(Option<Interval>);

impl Heartbeat {
    pub(super) async fn due(&mut self) {
        match &mut self.0 {
            Some(ticks) => {
                ticks.tick().await;
            }
            None => std::future::pending().await,
        }
    }
}
