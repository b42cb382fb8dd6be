//! Why an incident's mail is refused: gathered and explained anew.

use std::collections::HashMap;

use super::{Announcer, Kept};
use crate::{
    detect,
    explain::{explain, render},
    incident::Basis,
    model::{Bin, Destination, HOUR_MILLIS, StreamKey, Timestamp},
    monitor::{
        facts::{Scope, gather},
        settings::latest,
    },
    store::{Store, StoreError},
};

/// How long after the alarm it's looked for the turn, which came before it as a rule.
const TURNS_WITHIN_MILLIS: i64 = HOUR_MILLIS;

/// When the rate of refusals turned between the onset and the alarm. Counts without a rate tell no turn.
async fn turned(kept: &Kept, store: &Store) -> Result<Option<Timestamp>, StoreError> {
    if kept.body.basis != Basis::Rate {
        return Ok(None);
    }
    let numbers = store.known_streams(std::slice::from_ref(&kept.body.scope)).await?;
    let Some((number, _)) = numbers.first() else { return Ok(None) };
    let (from, to) = (kept.record.onset.bin(), kept.record.opened_at.plus_millis(TURNS_WITHIN_MILLIS).bin());
    let cells = store.cells(*number, from.0, to.0).await?;
    let relay = cells.iter().filter(|(key, _)| key.destination == Destination::Relay);
    let mut bins: Vec<(Bin, detect::Counts)> = relay
        .map(|(key, counts)| {
            let sends = u64::try_from(counts.exposed).unwrap_or(0);
            let refused = u64::try_from(counts.refused_exposed).unwrap_or(0).min(sends);
            (Bin(key.bin), detect::Counts { sends, refused })
        })
        .collect();
    bins.sort_by_key(|(bin, _)| *bin);
    Ok(detect::turn(&bins).map(Bin::start))
}

/// Gathers the facts and explains.
pub(super) async fn reason(
    kept: &mut Kept,
    store: &Store,
    numbers: Vec<i32>,
    keys: &HashMap<i32, StreamKey>,
    announcer: &Announcer<'_>,
) -> Result<(), StoreError> {
    let now = announcer.now;
    let named = |number: &i32| keys.get(number).map(|key| (*number, key.clone()));
    let scope = Scope {
        finest: numbers.iter().filter_map(named).collect(),
        all_finest: keys.iter().map(|(number, key)| (*number, key.clone())).collect(),
        onset: kept.record.onset.bin(),
        until: kept.record.closed_at.unwrap_or(now).bin(),
        counts: detect::Counts { sends: kept.body.sends, refused: kept.body.refused },
        expected: kept.body.expected,
    };
    let mut facts = gather(store, &scope, announcer.windows).await?;
    facts.turned = turned(kept, store).await?;
    if kept.body.facts.as_ref().is_some_and(|before| facts.refused_addresses < before.refused_addresses) {
        // The evidence has outlived its retention, or somebody was forgotten: what was concluded from it stands.
        return Ok(());
    }
    let explanation = explain(&facts);
    kept.body.named = explanation.named;
    kept.body.share_explained =
        explanation.share_explained.as_ref().map(|share| (share.share.value, share.share.low, share.share.high));
    kept.body.explanation = render(&explanation).lines().map(ToOwned::to_owned).collect();
    kept.body.facts = Some(facts);
    let settings = latest(store, now).await?;
    kept.body.settings = settings.as_ref().map(|settings| settings.version);
    kept.body.rules = settings.map(|settings| settings.settings.rules);
    Ok(())
}
