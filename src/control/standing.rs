//! How a running daemon stands: asked by `doctor`, changes nothing.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{Call, ControlError, Operator};
use crate::{
    daemon::{Role, canary::courier::Courier},
    ingest::{RejectionReason, reception::Reception},
    lifecycle::Lifecycle,
    metrics::Metrics,
    model::Timestamp,
};

/// A daemon, as it tells how it stands.
#[derive(Debug)]
pub struct Running {
    /// What it does.
    pub role: Role,
    /// Whether it leads the monitors.
    pub leading: watch::Receiver<bool>,
    /// The feeds in force and where they are, where it takes reports in.
    pub reception: Option<(Reception, SocketAddr)>,
    /// Its metrics.
    pub metrics: Metrics,
    /// Why the last reload was refused, where it was.
    pub reload_refused: watch::Receiver<Option<String>>,
    /// Who sends canaries.
    pub courier: Arc<Courier>,
}

impl Running {
    /// A daemon with what it shares; `reception` where it takes reports in, with where.
    #[must_use]
    pub fn new(
        role: Role,
        leading: &watch::Receiver<bool>,
        reception: Option<(&Reception, SocketAddr)>,
        metrics: &Metrics,
        lifecycle: &Lifecycle,
        courier: Arc<Courier>,
    ) -> Self {
        Self {
            role,
            leading: leading.clone(),
            reception: reception.map(|(reception, public)| (reception.clone(), public)),
            metrics: metrics.clone(),
            reload_refused: lifecycle.reload_refused(),
            courier,
        }
    }
}

/// Ask how the daemon stands.
#[derive(Debug, Serialize, Deserialize)]
pub struct AskStanding {}

/// How it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Its version.
    pub version: String,
    /// What it does: `all`, `ingest`, `monitor`.
    pub role: String,
    /// Whether it leads the monitors.
    pub leads: bool,
    /// When its monitor last stood at the end of the journal.
    pub caught_up: Option<Timestamp>,
    /// For how long rows of the journal have waited for an older transaction, in seconds.
    pub held_up_seconds: i64,
    /// Why the last reload was refused, where it was.
    pub reload_refused: Option<String>,
    /// Where its public listener is, where it takes reports in.
    pub public: Option<SocketAddr>,
    /// Each feed by name; nothing where it takes no reports in.
    pub feeds: Option<BTreeMap<String, FeedStanding>>,
}

/// What a feed has brought since the daemon's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FeedStanding {
    /// When a delivery was last taken.
    pub accepted: Option<Timestamp>,
    /// When something was last understood.
    pub understood: Option<Timestamp>,
    /// When a delivery was last refused, and why.
    pub refused: Option<(Timestamp, RejectionReason)>,
    /// Parts that were set aside.
    pub set_aside: u64,
}

impl Call for AskStanding {
    const PATH: &'static str = "/standing";
    type Answer = Standing;

    async fn run(self, operator: &Operator) -> Result<Standing, ControlError> {
        let running = operator.running.as_ref().ok_or(ControlError::Invalid("no daemon runs here"))?;
        let seconds = |seconds: i64| (seconds > 0).then(|| Timestamp::from_seconds(seconds));
        let metrics = &running.metrics;
        let feeds = running.reception.as_ref().map(|(reception, _)| {
            let standing = |name: String| {
                let seen = reception.seen(&name);
                let accepted = seconds(metrics.feed_last_accepted.with_label_values(&[name.as_str()]).get());
                let (understood, refused, set_aside) = (seen.understood, seen.refused, seen.set_aside);
                (name, FeedStanding { accepted, understood, refused, set_aside })
            };
            reception.setup().exposures().into_keys().map(standing).collect()
        });
        Ok(Standing {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            role: running.role.to_string(),
            leads: *running.leading.borrow(),
            caught_up: seconds(metrics.monitor_caught_up.get()),
            held_up_seconds: metrics.journal_held_up.get(),
            reload_refused: running.reload_refused.borrow().clone(),
            public: running.reception.as_ref().map(|(_, public)| *public),
            feeds,
        })
    }
}
