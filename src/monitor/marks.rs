//! Addresses that the account map or a notice calls private: what is folded of them moves into the relay mail.

use std::collections::{BTreeMap, HashMap};

use super::{
    Monitor, Page,
    fold::{CellChanges, RefusedChanges, change, change_refused, contribution},
};
use crate::{
    model::Destination,
    store::{EventRecord, Fold, Position, StoreError},
};

/// Addresses that one step turns at most: all that is known of each is read.
const TURNS: u32 = 100;

impl Monitor {
    /// Moves what is folded already of addresses that the account map or a notice now calls private (or no longer), out of
    /// the control group into the relay mail (or back); gives what that changed, or nothing where there are none.
    ///
    /// Where it is done makes no difference: what is folded later comes with the destination that its address has then.
    pub(super) async fn turn_marked(&mut self, from: Position, jumped: bool) -> Result<Option<Page>, StoreError> {
        let turns = self.store.pending_turns(TURNS).await?;
        if turns.is_empty() {
            return Ok(None);
        }
        let private: HashMap<i64, bool> = turns.iter().map(|turn| (turn.address, turn.private)).collect();
        let ids: Vec<i64> = private.keys().copied().collect();
        let events = self.store.events_by_domain(&ids, from).await?;
        self.learn_streams(events.iter()).await?;
        let mut changes = CellChanges::new();
        let mut who = RefusedChanges::new();
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
            for (&(address, _), events) in &messages {
                if let Some(made) = contribution(events, |id| self.streams.get(&id)) {
                    change(&mut changes, &made, sign);
                    change_refused(&mut who, address, &made, i32::try_from(sign).unwrap_or_default());
                }
            }
        }
        let step = Fold { from, to: from, turns, ..Fold::default() };
        self.book(changes, who, step, Page { jumped, ..Page::default() }).await.map(Some)
    }
}
