//! New rules over the journal: which stored replies they give another verdict, and the calls that apply it.
//!
//! A verdict depends on the template, the context and the provider's own verdict alone, and all are stored, so that no reply is asked
//! for again. What is
//! changed is counted in the transaction that changes it: stopped half-way, a relabelling goes on where it was.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    Call, ControlError, Folding, Operator, RebuildStarted,
    calls::{OWN_TERM, begin_rebuild, journal_text},
};
use crate::{
    classify::Rules,
    ingest::intake::{percent, rule_word},
    model::{Provider, ReplyContext, StreamKey, Verdict},
    monitor::settings,
    store::{NewVerdict, Relabelled, ReplyGroup, Store, StoreError},
};

/// Rows of the journal that are read at once.
pub const STRETCH: u32 = 50_000;
/// Words that are kept at hand; past that the cache starts anew.
const WORDS: usize = 100_000;
/// Transactions of one step.
const BATCHES: usize = 5;
/// Pairs of causes and rules that the journal names; the rest is summed up.
const NAMED: usize = 100;

/// Stored replies with what today's rules say of them.
#[derive(Debug, Clone)]
pub struct Classified {
    /// The replies, with the verdict that they have.
    pub group: ReplyGroup,
    /// What the receiving side said, with roles in the place of addresses, hosts and ids.
    pub template: String,
    /// The rule that decided, as `file/name@version`.
    pub from_rule: String,
    /// The verdict of the rules at hand.
    pub verdict: Verdict,
}

impl Classified {
    /// The rule that decides now, as `file/name@version`.
    #[must_use]
    pub fn rule(&self) -> String {
        rule_word(&self.verdict)
    }

    /// Whether what is stored differs.
    #[must_use]
    pub fn changes(&self) -> bool {
        let (key, verdict) = (&self.group.key, &self.verdict);
        key.cause != verdict.cause || key.confidence != percent(verdict) || self.from_rule != self.rule()
    }
}

/// Classifies stored replies anew.
#[derive(Debug)]
pub struct Classifier {
    store: Store,
    rules: Arc<Rules>,
    words: HashMap<i32, String>,
    providers: HashMap<i32, Option<Provider>>,
}

impl Classifier {
    /// A classifier by these rules.
    #[must_use]
    pub fn new(store: Store, rules: Arc<Rules>) -> Self {
        Self { store, rules, words: HashMap::new(), providers: HashMap::new() }
    }

    /// What the rules say of these groups.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn classify(&mut self, groups: &[ReplyGroup]) -> Result<Vec<Classified>, StoreError> {
        self.learn(groups).await?;
        let classified = groups.iter().filter_map(|group| {
            let key = &group.key;
            // A word that is gone is nothing to go by.
            let (template, from_rule) = (self.words.get(&key.template)?, self.words.get(&key.rule)?);
            let provider = *self.providers.get(&key.stream)?;
            let label = match key.label {
                Some(label) => Some(self.words.get(&label)?.as_str()),
                None => None,
            };
            let context = ReplyContext { provider, destination: key.destination, mx: key.mx };
            let verdict = self.rules.classify_labelled(template, &context, label);
            Some(Classified { group: *group, template: template.clone(), from_rule: from_rule.clone(), verdict })
        });
        Ok(classified.collect())
    }

    async fn learn(&mut self, groups: &[ReplyGroup]) -> Result<(), StoreError> {
        if self.words.len() > WORDS {
            self.words.clear();
        }
        if self.providers.len() > WORDS {
            self.providers.clear();
        }
        let words =
            groups.iter().flat_map(|group| [group.key.template, group.key.rule].into_iter().chain(group.key.label));
        let wanted: HashSet<i32> = words.filter(|id| !self.words.contains_key(id)).collect();
        if !wanted.is_empty() {
            self.words.extend(self.store.words(&Vec::from_iter(wanted)).await?);
        }
        let streams = groups.iter().map(|group| group.key.stream);
        let wanted: HashSet<i32> = streams.filter(|id| !self.providers.contains_key(id)).collect();
        if !wanted.is_empty() {
            let found = self.store.words(&Vec::from_iter(wanted)).await?;
            self.providers.extend(found.into_iter().map(|(id, text)| {
                let stream: StreamKey = serde_json::from_str(&text).unwrap_or_else(|_| StreamKey::fleet());
                (id, stream.provider)
            }));
        }
        Ok(())
    }
}

/// Which rules are in force?
#[derive(Serialize, Deserialize)]
pub struct AskRules {}

/// A set of rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesInForce {
    /// The version of the set.
    pub version: u32,
    /// What tells it from other sets, whatever versions they claim.
    pub fingerprint: String,
}

impl RulesInForce {
    /// What names a set of rules.
    #[must_use]
    pub fn of(rules: &Rules) -> Self {
        Self { version: rules.version(), fingerprint: rules.fingerprint() }
    }
}

impl Call for AskRules {
    const PATH: &'static str = "/rules";
    type Answer = RulesInForce;

    async fn run(self, operator: &Operator) -> Result<RulesInForce, ControlError> {
        Ok(RulesInForce::of(&*operator.rules()?))
    }
}

/// What the store keeps of a relabelling until it has come to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relabelling {
    /// Who makes it.
    pub operator: String,
    /// By which rules.
    pub rules: RulesInForce,
    /// Whether one before it, by other rules, has changed replies of which the projections do not know yet.
    pub owes_rebuild: bool,
}

impl Relabelling {
    /// The one that was stopped half-way, as far as it is known: a relaywatch of before kept nothing of it.
    async fn read(store: &Store) -> Result<Option<Self>, StoreError> {
        Ok(store.relabelling().await?.and_then(|kept| serde_json::from_str(&kept).ok()))
    }

    /// Whether one was stopped half-way that has changed something.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn is_left(store: &Store) -> Result<bool, StoreError> {
        let owed = Self::read(store).await?.is_some_and(|kept| kept.owes_rebuild);
        Ok(owed || !store.relabelled().await?.is_empty())
    }
}

/// Begin to give stored replies the verdicts of the rules in force, or go on with it.
#[derive(Serialize, Deserialize)]
pub struct Relabel {
    /// Who does it.
    pub operator: String,
    /// The rules by which the changes were listed.
    pub rules: RulesInForce,
}

impl Call for Relabel {
    const PATH: &'static str = "/relabel";
    type Answer = RelabelStep;

    async fn run(self, operator: &Operator) -> Result<RelabelStep, ControlError> {
        let by = journal_text(&self.operator)?;
        operator.rules_of(&self.rules)?;
        operator.refuse_beside_other_rules(&self.rules).await?;
        let before = Relabelling::read(&operator.store).await?;
        let changes = operator.store.relabelled().await?;
        let same = before.as_ref().is_some_and(|before| before.rules == self.rules);
        let ended = !changes.is_empty() && !same;
        if ended {
            // What was changed by other rules, or nobody knows by which, is no part of what begins. A crash before the next
            // line of the store says it once more.
            let by = before.as_ref().map(|before| before.operator.as_str());
            let rules = before.as_ref().map(|before| &before.rules);
            operator.note(relabelled(by, rules, &changes, true)).await?;
        }
        let owes_rebuild = ended || before.is_some_and(|before| before.owes_rebuild);
        let kept = Relabelling { operator: by.clone(), rules: self.rules.clone(), owes_rebuild };
        let kept =
            serde_json::to_string(&kept).map_err(|_| ControlError::Invalid("the rules can't be written down"))?;
        operator.store.begin_relabelling(&kept, ended).await?;
        operator
            .note(serde_json::json!({
                "action": "relabel", "operator": by, "rules": self.rules.version, "rules_fingerprint": self.rules.fingerprint,
            }))
            .await?;
        Ok(RelabelStep { rules: self.rules, after: None })
    }
}

/// Give the stored replies of one stretch of the journal their new verdicts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelabelStep {
    /// The rules by which the changes were listed.
    pub rules: RulesInForce,
    /// Where the stretch begins; the start of the journal without.
    pub after: Option<i64>,
}

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelabelStepped {
    /// Stored replies that were changed.
    pub changed: u64,
    /// The next step; nothing at the end of the journal.
    pub next: Option<RelabelStep>,
}

impl Call for RelabelStep {
    const PATH: &'static str = "/relabel/step";
    type Answer = RelabelStepped;

    async fn run(self, operator: &Operator) -> Result<RelabelStepped, ControlError> {
        let rules = operator.rules_of(&self.rules)?;
        let store = &operator.store;
        let Some(stretch) = store.reply_stretch(self.after, STRETCH).await? else {
            return Ok(RelabelStepped { changed: 0, next: None });
        };
        let classified = Classifier::new(store.clone(), rules).classify(&store.replies_in(stretch).await?).await?;
        let verdicts: Vec<NewVerdict> = classified
            .into_iter()
            .filter(Classified::changes)
            .map(|classified| NewVerdict {
                of: classified.group.key,
                cause: classified.verdict.cause,
                rule: classified.rule(),
                confidence: percent(&classified.verdict),
                from_rule: classified.from_rule,
            })
            .collect();
        let mut changed = 0;
        for _ in 0..BATCHES {
            let (batch, all) = store.relabel(stretch, &verdicts).await?;
            changed += batch;
            if all {
                let next = Some(Self { rules: self.rules, after: Some(stretch.end()) });
                return Ok(RelabelStepped { changed, next });
            }
        }
        // The rest of the stretch is the next step's.
        Ok(RelabelStepped { changed, next: Some(self) })
    }
}

/// Put what a relabelling has changed into the journal, and make the projections again.
#[derive(Serialize, Deserialize)]
pub struct EndRelabel {
    /// Who does it.
    pub operator: String,
    /// The rules by which the changes were listed.
    pub rules: RulesInForce,
}

/// What a relabelling did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelabelEnded {
    /// Stored replies that were changed, also before it was stopped half-way.
    pub replies: u64,
    /// The rebuild that follows; none where nothing was changed.
    pub rebuild: Option<RebuildStarted>,
}

impl Call for EndRelabel {
    const PATH: &'static str = "/relabel/end";
    type Answer = RelabelEnded;

    async fn run(self, operator: &Operator) -> Result<RelabelEnded, ControlError> {
        let by = journal_text(&self.operator)?;
        operator.rules_of(&self.rules)?;
        let changes = operator.store.relabelled().await?;
        let replies = changes.iter().map(|change| change.replies).sum();
        let owes_rebuild = Relabelling::read(&operator.store).await?.is_some_and(|kept| kept.owes_rebuild);
        if changes.is_empty() && !owes_rebuild {
            operator.store.forget_relabelled().await?;
            return Ok(RelabelEnded { replies, rebuild: None });
        }
        if !changes.is_empty() {
            operator.note(relabelled(Some(&by), Some(&self.rules), &changes, false)).await?;
        }
        // A crash in between says it once more, and makes the projections once more.
        let rebuild = begin_rebuild(operator, &by, true).await?;
        operator.store.forget_relabelled().await?;
        Ok(RelabelEnded { replies, rebuild: Some(rebuild) })
    }
}

/// The journal's entry of what a relabelling has changed.
fn relabelled(
    by: Option<&str>,
    rules: Option<&RulesInForce>,
    changes: &[Relabelled],
    interrupted: bool,
) -> serde_json::Value {
    let replies: u64 = changes.iter().map(|change| change.replies).sum();
    let (named, others) = changes.split_at(changes.len().min(NAMED));
    let others: u64 = others.iter().map(|change| change.replies).sum();
    serde_json::json!({
        "action": "relabelled", "operator": by, "rules": rules.map(|rules| rules.version),
        "rules_fingerprint": rules.map(|rules| &rules.fingerprint), "replies": replies, "changes": named, "others": others,
        "interrupted": interrupted,
    })
}

impl Operator {
    /// The rules in force.
    fn rules(&self) -> Result<Arc<Rules>, ControlError> {
        let rules = self.rules.borrow().clone();
        rules.ok_or(ControlError::Invalid("this process has no reply rules at hand; run the relaywatch of its version"))
    }

    /// The rules in force, where they are those by which the changes were listed.
    fn rules_of(&self, listed: &RulesInForce) -> Result<Arc<Rules>, ControlError> {
        let rules = self.rules()?;
        if RulesInForce::of(&rules) == *listed {
            Ok(rules)
        } else {
            Err(ControlError::Invalid("the rules in force are no longer those of the list; run the command again"))
        }
    }

    /// Without the daemon's socket at hand: refuses where a process elsewhere works by other rules, which would give what
    /// comes in the verdicts of before.
    async fn refuse_beside_other_rules(&self, rules: &RulesInForce) -> Result<(), ControlError> {
        let Folding::Own { .. } = self.folding else { return Ok(()) };
        let journalled = settings::latest(&self.store, self.clock.now()).await?;
        if journalled.is_none_or(|journalled| journalled.settings.rules_fingerprint == rules.fingerprint) {
            return Ok(());
        }
        match self.store.lead("a command", OWN_TERM).await? {
            Some(leader) => Ok(leader.release().await?),
            None => Err(ControlError::Invalid(
                "the daemons of this store go by other reply rules than this command: give them the same [rules] folder and \
                 send them SIGHUP, or run this with their configuration",
            )),
        }
    }
}
