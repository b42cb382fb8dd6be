//! Addresses that the account map or a notice calls private: what is folded of them moves into the relay mail.

use std::collections::{BTreeMap, HashMap};

use super::{
    Monitor,
    fold::contribution,
    page::{Booking, Read, too_old},
};
use crate::{
    model::Destination,
    store::{EventRecord, Fold, Horizon, Position, StoreError},
};

/// Addresses that one step turns at most: all that is known of each is read.
const TURNS: u32 = 100;

impl Monitor {
    /// Moves what is folded already of addresses that the account map or a notice now calls private (or no longer), out of
    /// the control group into the relay mail (or back); nothing where there are none.
    ///
    /// Where it is done makes no difference: what is folded later comes with the destination that its address has then. What
    /// a checkpoint holds stays where it was counted, as it does in a rebuild: its outcomes are no longer there to be moved.
    pub(super) async fn turned(&mut self, from: Position, horizon: &Horizon) -> Result<Option<Read>, StoreError> {
        let turns = self.store.pending_turns(TURNS).await?;
        if turns.is_empty() {
            return Ok(None);
        }
        let private: HashMap<i64, bool> = turns.iter().map(|turn| (turn.address, turn.private)).collect();
        let ids: Vec<i64> = private.keys().copied().collect();
        let mut events = self.store.events_by_domain(&ids, from).await?;
        events.retain(|event| !too_old(event, horizon));
        self.learn_streams(events.iter()).await?;
        let pairs: Vec<(i64, i64)> = events.iter().map(|event| (event.address, event.message)).collect();
        let held = self.held(&pairs, horizon).await?;
        let mut bookings = Vec::new();
        // A turn goes from what it is not to what it is.
        for after in [false, true] {
            let turned: Vec<EventRecord> = events
                .iter()
                .map(|event| {
                    let relay = private.get(&event.address) == Some(&after);
                    let destination = if relay && event.destination == Destination::Shared {
                        Destination::Relay
                    } else {
                        event.destination
                    };
                    EventRecord { destination, ..event.clone() }
                })
                .collect();
            let mut messages: BTreeMap<(i64, i64), Vec<&EventRecord>> = BTreeMap::new();
            for event in &turned {
                messages.entry((event.address, event.message)).or_default().push(event);
            }
            let sign = if after { 1 } else { -1 };
            for (&(address, message), events) in &messages {
                if let Some(made) = contribution(events, |id| self.streams.get(&id))
                    && !held.holds(address, message, &made)
                {
                    let feed = events.first().map_or(0, |event| event.feed);
                    bookings.push(Booking { address, made, sign, feed });
                }
            }
        }
        let step = Fold { from, to: from, sealed: horizon.sealed, turns, ..Fold::default() };
        Ok(Some(Read { bookings, step, folded: 0, last: false, newest: None }))
    }
}
