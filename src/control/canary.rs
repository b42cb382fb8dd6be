//! Sending canaries now.

use serde::{Deserialize, Serialize};

use super::{Call, ControlError, Operator};
use crate::{model::Timestamp, sources::canary::CanaryId};

/// Send a canary on a path, after a control to the same mailbox. The journal tells what becomes of them.
#[derive(Debug, Serialize, Deserialize)]
pub struct SendCanary {
    /// The path's name.
    pub path: String,
}

/// What was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanarySent {
    /// The canary.
    pub canary: CanaryId,
    /// When.
    pub sent_at: Timestamp,
    /// Until when it has to have arrived.
    pub due: Timestamp,
}

impl Call for SendCanary {
    const PATH: &'static str = "/canary/send";
    type Answer = CanarySent;

    async fn run(self, operator: &Operator) -> Result<CanarySent, ControlError> {
        let running = operator.running.as_ref();
        let running = running.ok_or(ControlError::Invalid("no daemon runs here: start `relaywatch serve`"))?;
        let courier = &running.courier;
        let setup = std::sync::Arc::clone(&courier.setup);
        let (mailbox, route) = setup.path(&self.path).ok_or(ControlError::Invalid(
            "the daemon knows no path of this name; after a change of [[canary]] it has to be restarted",
        ))?;
        // Before the control, so that a path without budget costs none; the canary itself looks again.
        courier.is_free(route).await??;
        if let Err(held) = courier.send(mailbox, &mailbox.control, None).await? {
            tracing::info!(mailbox = mailbox.name, %held, "no control was sent");
        }
        let record = courier.send(mailbox, route, None).await??;
        Ok(CanarySent { canary: record.canary, sent_at: record.sent_at, due: record.due })
    }
}
