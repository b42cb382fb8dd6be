//! Why an incident's mail is refused: gathered and explained anew.

use std::collections::HashMap;

use super::{Announcer, Kept};
use crate::{
    detect,
    explain::{explain, render},
    model::StreamKey,
    monitor::{
        facts::{Scope, gather},
        settings::latest,
    },
    store::{Store, StoreError},
};

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
    let facts = gather(store, &scope, announcer.windows).await?;
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
