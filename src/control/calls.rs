//! The calls: what each takes, gives and does.

use std::{future::Future, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{ControlError, Folding, Operator, STEP_WAIT};
use crate::{
    classify::destination,
    incident::{self, Label, RecoveryRequest},
    ingest::intake::names,
    metrics::Metrics,
    model::{Address, Destination, Timestamp},
    monitor::Monitor,
    privacy::{PrivacyError, Purpose},
    store::{
        EntryKind, EventKey, MapCoverage, Mark, NewAccount, NewEntry, Recipient, StoreError, Subject, Submission, Whom,
    },
};

/// The name under which operators' entries are committed.
const OPERATOR: &str = "operator";
/// Accounts that one import step takes at most.
pub(crate) const MAX_ACCOUNTS: usize = 1_000;
/// The longest reason or name that is kept, in characters.
const MAX_TEXT: usize = 500;
/// Values that one step seals again at most, of each kind.
const MAX_RESEAL: u32 = 1_000;
/// Pages of the journal that one step of a rebuild folds without a daemon.
const PAGES: usize = 5;
/// How long a rebuild waits where another process has folded a page before it.
const MOVED_WAIT: Duration = Duration::from_millis(50);
/// How long a command that folds by itself leads from one step to the next: it may be stopped in between.
pub(super) const OWN_TERM: Duration = Duration::from_secs(30);

/// One thing that an operator can ask for. Bodies can hold addresses: they are never logged.
pub trait Call: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Its path on the socket.
    const PATH: &'static str;
    /// What comes back.
    type Answer: Serialize + DeserializeOwned + Send + 'static;

    /// Does it.
    fn run(self, operator: &Operator) -> impl Future<Output = Result<Self::Answer, ControlError>> + Send;
}

/// Forget an address.
#[derive(Serialize, Deserialize)]
pub struct ForgetAddress {
    /// The address.
    pub address: String,
    /// Who asks.
    pub by: String,
    /// Why; goes into the journal and may hold no address.
    pub reason: String,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// Whether the address was known.
    pub known: bool,
    /// How many accounts went with it.
    pub accounts: u64,
    /// How many copies went: samples of replies, and parts of deliveries that had been set aside.
    #[serde(default)]
    pub copies: u64,
}

impl Call for ForgetAddress {
    const PATH: &'static str = "/address/forget";
    type Answer = Forgotten;

    async fn run(self, operator: &Operator) -> Result<Forgotten, ControlError> {
        let address = Address::parse(&self.address).map_err(|_| ControlError::Invalid("that is no mail address"))?;
        let (by, reason) = (journal_text(&self.by)?, journal_text(&self.reason)?);
        if [&by, &reason].iter().any(|text| names(text, &address)) {
            return Err(ControlError::Invalid("the journal keeps name and reason: leave the address out of them"));
        }
        let hash = operator.hash_of(&address);
        if let Some(known) = operator.store.address_by_hash(&hash).await? {
            let accounts = operator.store.accounts_of_address(known.id).await?.len() as u64;
            // Journalled first: a crash in between leaves the note, and the same command again ends the work.
            let action = serde_json::json!({
                "action": "address-forget", "by": by, "reason": reason, "accounts": accounts,
            });
            operator.note(action).await?;
        }
        // Also where no row knows it: a part that was set aside can name it.
        let whom = Whom::Address { hash, address: Some(address) };
        let erased = operator.store.forget(&[whom]).await?;
        Ok(Forgotten { known: erased.addresses > 0, accounts: erased.accounts, copies: erased.copies })
    }
}

/// A text for the journal: bounded, in one line, without an address.
pub(super) fn journal_text(text: &str) -> Result<String, ControlError> {
    if text.contains('@') {
        return Err(ControlError::Invalid("the journal takes no address: write name and reason without \"@\""));
    }
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_TEXT).collect();
    let clean = clean.trim();
    if clean.is_empty() {
        return Err(ControlError::Invalid("name and reason must not be empty"));
    }
    Ok(clean.to_owned())
}

/// One account of the map.
#[derive(Clone, Serialize, Deserialize)]
pub struct Account {
    /// The team.
    pub team: String,
    /// The client id.
    pub app: Option<String>,
    /// The `sub`.
    pub sub: String,
    /// The address.
    pub email: Option<String>,
    /// When the user signed up, in milliseconds since the epoch.
    pub signed_up_at: Option<Timestamp>,
    /// Whether the address is a private one, where the map says so.
    #[serde(default)]
    pub private: Option<bool>,
}

/// Put accounts into the map.
#[derive(Serialize, Deserialize)]
pub struct ImportAccounts {
    /// At most a thousand.
    pub accounts: Vec<Account>,
    /// Whether to tell the map's coverage, which takes a look at every address.
    pub coverage: bool,
}

/// What became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Imported {
    /// Accounts that were not known before.
    pub new: u64,
    /// How much of the relay mail the map covers now, where that was asked for.
    pub coverage: Option<MapCoverage>,
}

impl Call for ImportAccounts {
    const PATH: &'static str = "/accounts/import";
    type Answer = Imported;

    async fn run(self, operator: &Operator) -> Result<Imported, ControlError> {
        if self.accounts.len() > MAX_ACCOUNTS {
            return Err(ControlError::Invalid("too many accounts in one step"));
        }
        let accounts =
            self.accounts.into_iter().map(|account| operator.account(account)).collect::<Result<Vec<_>, _>>()?;
        let new = if accounts.is_empty() { 0 } else { operator.store.import_accounts(&accounts).await? };
        let coverage = if self.coverage { Some(operator.store.map_coverage().await?) } else { None };
        Ok(Imported { new, coverage })
    }
}

/// Add a sealing key and make it the current one.
#[derive(Serialize, Deserialize)]
pub struct RotateKeys {
    /// Who does it.
    pub operator: String,
}

/// The new key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotated {
    /// Its id.
    pub current: u16,
}

impl Call for RotateKeys {
    const PATH: &'static str = "/keys/rotate";
    type Answer = Rotated;

    async fn run(self, operator: &Operator) -> Result<Rotated, ControlError> {
        let by = journal_text(&self.operator)?;
        let keyring = Arc::clone(&operator.keyring);
        let current = on_keys(move || keyring.rotate()).await?;
        operator.store.announce_key().await?;
        operator.note(serde_json::json!({ "action": "keys-rotate", "operator": by, "key": current })).await?;
        Ok(Rotated { current })
    }
}

/// Seal a few values again with the current key.
#[derive(Serialize, Deserialize)]
pub struct Reseal {}

/// How many were sealed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resealed {
    /// Values; none when all are done.
    pub values: u64,
}

impl Call for Reseal {
    const PATH: &'static str = "/keys/reseal";
    type Answer = Resealed;

    async fn run(self, operator: &Operator) -> Result<Resealed, ControlError> {
        Ok(Resealed { values: operator.store.reseal(MAX_RESEAL).await? })
    }
}

/// Drop all sealing keys but the current one, once nothing needs them.
#[derive(Serialize, Deserialize)]
pub struct ForgetOldKeys {
    /// Who does it.
    pub operator: String,
}

/// How many went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldKeys {
    /// Keys that were dropped.
    pub dropped: usize,
}

impl Call for ForgetOldKeys {
    const PATH: &'static str = "/keys/forget-old";
    type Answer = OldKeys;

    async fn run(self, operator: &Operator) -> Result<OldKeys, ControlError> {
        let by = journal_text(&self.operator)?;
        // Whoever sealed with an older key has committed when this returns; what is left of it is sealed again first.
        operator.store.announce_key().await?;
        while operator.store.reseal(MAX_RESEAL).await? > 0 {}
        // Said before it is done: a key is gone for good, and nobody may wonder where it went.
        let keyring = Arc::clone(&operator.keyring);
        let old = on_keys(move || keyring.old_keys()).await?.len();
        operator.note(serde_json::json!({ "action": "keys-forget-old", "operator": by, "dropped": old })).await?;
        let keyring = Arc::clone(&operator.keyring);
        match on_keys(move || keyring.forget_old_keys()).await {
            Ok(dropped) => Ok(OldKeys { dropped }),
            Err(error) => {
                let failed = serde_json::json!({ "action": "keys-forget-old-failed", "operator": by, "kept": old });
                if let Err(unsaid) = operator.note(failed).await {
                    tracing::warn!(
                        error = &unsaid as &dyn std::error::Error,
                        "the old keys were not dropped, and the journal, which says that they were, can't be put right"
                    );
                }
                Err(error)
            }
        }
    }
}

/// Runs what reads, or writes and syncs, the key file beside the executor.
async fn on_keys<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, PrivacyError> + Send + 'static,
) -> Result<T, ControlError> {
    Ok(tokio::task::spawn_blocking(act)
        .await
        .map_err(|_| ControlError::Invalid("the change of the keys was cut off"))??)
}

/// Throw the projections away, or go on with a rebuild that was stopped.
#[derive(Serialize, Deserialize)]
pub struct Rebuild {
    /// Who does it.
    pub operator: String,
}

/// What there is to fold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebuildStarted {
    /// Outcomes in the journal.
    pub events: u64,
    /// Whether a rebuild that was stopped half-way goes on.
    pub resumed: bool,
    /// Where to ask from, see [`RebuildStep`].
    pub mark: RebuildStep,
}

/// Fold on, or wait a little for the daemon's monitor to do so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebuildStep {
    /// Outcomes that the monitor had folded before the rebuild began.
    pub folded_before: u64,
    /// Outcomes that the journal had then.
    pub events: u64,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebuildStepped {
    /// Outcomes folded since.
    pub folded: u64,
    /// Whether everything is folded that was when the rebuild began.
    pub done: bool,
}

impl Call for Rebuild {
    const PATH: &'static str = "/rebuild";
    type Answer = RebuildStarted;

    async fn run(self, operator: &Operator) -> Result<RebuildStarted, ControlError> {
        begin_rebuild(operator, &journal_text(&self.operator)?, false).await
    }
}

/// Throws the projections away; goes on with a rebuild that is under way, unless it must begin `anew`.
pub(super) async fn begin_rebuild(operator: &Operator, by: &str, anew: bool) -> Result<RebuildStarted, ControlError> {
    let counts = operator.store.row_counts().await?;
    let events = counts.iter().find(|(table, _)| *table == "event").map_or(0, |(_, rows)| *rows);
    let events = u64::try_from(events).unwrap_or(0);
    let resumed = !anew && under_way(operator).await?;
    if !resumed {
        operator.note(serde_json::json!({ "action": "rebuild", "operator": by, "events": events })).await?;
        operator.store.reset_projections().await?;
    }
    let folded_before = match &operator.folding {
        Folding::Daemon { wake, progress, .. } => {
            wake.notify_one();
            progress.borrow().folded
        }
        Folding::Own { monitor, .. } => {
            *monitor.lock().await = None;
            0
        }
    };
    Ok(RebuildStarted { events, resumed, mark: RebuildStep { folded_before, events } })
}

/// Whether a rebuild has not come to where the journal was folded when it began.
async fn under_way(operator: &Operator) -> Result<bool, ControlError> {
    let end = operator.store.horizon().await?.rebuilt_from;
    let cursor = operator.store.cursor(crate::monitor::CURSOR).await?;
    Ok(end.is_some_and(|end| cursor < end))
}

/// A monitor of this process, where no other one leads.
async fn own_monitor(operator: &Operator, max_streams: u32) -> Result<Option<Monitor>, ControlError> {
    let leader = operator.store.lead("a command", OWN_TERM).await?;
    let metrics = Metrics::new()?;
    let wake = Arc::new(tokio::sync::Notify::new());
    Ok(leader.map(|leader| Monitor::folding(leader, operator.clock.clone(), wake, metrics, max_streams)))
}

impl RebuildStep {
    /// How far the leader is: by what its monitor tells where it is in this process, else by the store alone. What comes in
    /// meanwhile is not waited for.
    async fn watched(self, operator: &Operator, folded: Option<u64>) -> Result<RebuildStepped, ControlError> {
        let done = !under_way(operator).await?;
        let folded = folded.unwrap_or(if done { self.events } else { 0 });
        Ok(RebuildStepped { folded, done })
    }
}

impl Call for RebuildStep {
    const PATH: &'static str = "/rebuild/step";
    type Answer = RebuildStepped;

    async fn run(self, operator: &Operator) -> Result<RebuildStepped, ControlError> {
        match &operator.folding {
            Folding::Daemon { progress, leading, .. } => {
                let mut progress = progress.clone();
                progress.borrow_and_update();
                // Whether it moved or the time ran out, what counts is read below.
                drop(tokio::time::timeout(STEP_WAIT, progress.changed()).await);
                let folded = progress.borrow().folded.saturating_sub(self.folded_before);
                let leads = *leading.borrow();
                self.watched(operator, leads.then_some(folded)).await
            }
            Folding::Own { monitor, max_streams } => {
                let mut own = monitor.lock().await;
                if own.is_none() {
                    *own = own_monitor(operator, *max_streams).await?;
                }
                let Some(monitor) = own.as_mut() else {
                    // A process elsewhere leads and folds.
                    tokio::time::sleep(STEP_WAIT).await;
                    return self.watched(operator, None).await;
                };
                monitor.renew(OWN_TERM).await?;
                let mut done = false;
                for _ in 0..PAGES {
                    match monitor.step().await {
                        Ok(0) => {
                            done = true;
                            break;
                        }
                        Ok(_) => {}
                        // A daemon that this command cannot reach folds the same journal: both get there.
                        Err(StoreError::CursorMoved) => tokio::time::sleep(MOVED_WAIT).await,
                        Err(error) => return Err(error.into()),
                    }
                }
                let folded = monitor.progress().borrow().folded;
                done &= !under_way(operator).await?;
                if done {
                    monitor.release().await?;
                    *own = None;
                }
                Ok(RebuildStepped { folded, done })
            }
        }
    }
}

impl Operator {
    /// The keyed hash of an address.
    fn hash_of(&self, address: &Address) -> [u8; 16] {
        self.keyring.hash(Purpose::Address, &[address.key().as_bytes()])
    }

    /// Puts what an operator did into the journal.
    pub(super) async fn note(&self, body: serde_json::Value) -> Result<(), ControlError> {
        let at = self.clock.now();
        // Two actions in one millisecond are two.
        let unique = rand::random::<u128>().to_le_bytes();
        let key = EventKey { at, hash: self.keyring.hash(Purpose::Event, &[b"action", &unique]) };
        let entry = NewEntry { key, kind: EntryKind::Action, account: None, address: None, app: None, body };
        let submission = Submission { feed: OPERATOR.to_owned(), entries: vec![entry], ..Submission::default() };
        self.store.commit(&[submission]).await?;
        Ok(())
    }

    fn account(&self, account: Account) -> Result<NewAccount, ControlError> {
        let address = account
            .email
            .map(|email| Address::parse(&email).map_err(|_| ControlError::Invalid("an email is no mail address")))
            .transpose()?
            // Mailboxes that can't be relay addresses are none of our business.
            .filter(|address| destination(Some(address), &self.relay.borrow()) != Destination::Other);
        // On a relay domain the word says nothing new.
        let by_domain = destination(address.as_ref(), &self.relay.borrow()) == Destination::Relay;
        let private = account.private.filter(|_| !by_domain);
        let hash = self.keyring.hash(Purpose::Subject, &[account.team.as_bytes(), account.sub.as_bytes()]);
        Ok(NewAccount {
            subject: Subject { hash, team: account.team, subject: account.sub },
            address: address.map(|address| Recipient { hash: self.hash_of(&address), address }),
            app: account.app,
            signed_up_at: account.signed_up_at,
            mark: private.map(|private| Mark { private, at: self.clock.now() }),
        })
    }
}

/// Keep what an operator says of an incident.
#[derive(Serialize, Deserialize)]
pub struct LabelIncident {
    /// The incident.
    pub id: i64,
    /// What it was.
    pub label: Label,
    /// Who says so.
    pub operator: String,
}

impl Call for LabelIncident {
    const PATH: &'static str = "/incident/label";
    type Answer = ();

    async fn run(self, operator: &Operator) -> Result<(), ControlError> {
        let (by, now) = (journal_text(&self.operator)?, operator.clock.now());
        Ok(incident::set_label(&operator.store, &operator.keyring, self.id, (self.label, &by), now).await?)
    }
}

/// Let the baselines learn from an incident's rate.
#[derive(Serialize, Deserialize)]
pub struct AcceptNormal {
    /// The incident.
    pub id: i64,
    /// Who answers for it.
    pub operator: String,
}

impl Call for AcceptNormal {
    const PATH: &'static str = "/incident/accept-normal";
    type Answer = ();

    async fn run(self, operator: &Operator) -> Result<(), ControlError> {
        let (by, now) = (journal_text(&self.operator)?, operator.clock.now());
        Ok(incident::accept_normal(&operator.store, &operator.keyring, self.id, &by, now).await?)
    }
}

/// Close an incident.
#[derive(Serialize, Deserialize)]
pub struct CloseIncident {
    /// The incident.
    pub id: i64,
    /// Who answers for it.
    pub operator: String,
    /// Why it is over.
    pub reason: String,
}

impl Call for CloseIncident {
    const PATH: &'static str = "/incident/close";
    type Answer = ();

    async fn run(self, operator: &Operator) -> Result<(), ControlError> {
        let said = (journal_text(&self.operator)?, journal_text(&self.reason)?);
        let now = operator.clock.now();
        Ok(incident::close(&operator.store, &operator.keyring, self.id, (&said.0, &said.1), now).await?)
    }
}

/// Journal who has an incident's list to win back; the list itself does not travel.
#[derive(Serialize, Deserialize)]
pub struct JournalRecovery {
    /// The incident.
    pub id: i64,
    /// Who asks, and why.
    pub request: RecoveryRequest,
    /// How many addresses are listed: with known consent, and with unknown.
    pub lengths: (usize, usize),
}

impl Call for JournalRecovery {
    const PATH: &'static str = "/incident/recovery";
    type Answer = ();

    async fn run(self, operator: &Operator) -> Result<(), ControlError> {
        let (store, keyring, now) = (&operator.store, &operator.keyring, operator.clock.now());
        Ok(incident::journal_recovery(store, keyring, self.id, &self.request, self.lengths, now).await?)
    }
}

/// Journal who looks at a part that was set aside; the part itself does not travel.
#[derive(Serialize, Deserialize)]
pub struct JournalAside {
    /// Its number.
    pub id: i64,
    /// Who looks.
    pub operator: String,
}

impl Call for JournalAside {
    const PATH: &'static str = "/events/aside";
    type Answer = ();

    async fn run(self, operator: &Operator) -> Result<(), ControlError> {
        let by = journal_text(&self.operator)?;
        operator.note(serde_json::json!({ "action": "aside-show", "operator": by, "part": self.id })).await
    }
}
