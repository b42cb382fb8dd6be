//! Forgetting people: their rows, and every copy of their addresses elsewhere in the store.

use super::{DueAccount, Epoch, Erased, Leader, Store, StoreError, Whom, dispatch, traces::Traces};
use crate::{
    model::{Address, Timestamp},
    privacy::{Keyring, Purpose},
};

/// Sealed texts of one read.
const PAGE: u32 = 50;

/// Where copies can be: sealed texts of others that may name a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Copies {
    /// The verbatim samples of reply templates: they are emptied.
    Samples,
    /// Parts of deliveries that were not understood: they are deleted.
    SetAside,
}

impl Copies {
    const ALL: [Self; 2] = [Self::Samples, Self::SetAside];

    const fn purpose(self) -> Purpose {
        match self {
            Self::Samples => Purpose::Sample,
            Self::SetAside => Purpose::Body,
        }
    }
}

/// A row of `address` or of `account`: its keyed hash and its sealed form.
pub(super) type PersonRow = (Vec<u8>, Option<Vec<u8>>);

/// What the store knows of somebody who is to be forgotten.
#[derive(Debug, Default)]
pub(super) struct Person {
    pub(super) address: Option<PersonRow>,
    /// With their teams.
    pub(super) accounts: Vec<(Vec<u8>, Option<Vec<u8>>, String)>,
}

impl Store {
    /// Forgets people: deletes the rows of their addresses and accounts, and every copy elsewhere: in the samples of replies
    /// and in what was set aside. Counts, dedupe keys and incidents stay, and rebuild makes the same ones. What waits in the
    /// outbox is a notice that the company's own endpoint has yet to get; it goes when it has left.
    ///
    /// # Errors
    /// Where the store is away; it is then to be called again.
    pub async fn forget(&self, people: &[Whom]) -> Result<Erased, StoreError> {
        self.forget_under(None, people).await
    }

    async fn forget_under(&self, reign: Option<Epoch>, people: &[Whom]) -> Result<Erased, StoreError> {
        let keyring = dispatch!(self, store => store.keyring());
        let mut traces = Traces::new(keyring);
        for whom in people {
            let person = dispatch!(self, store => store.person(whom).await)?;
            trace(&mut traces, keyring, whom, &person);
        }
        traces.ready();
        // Copies first, since after a crash nobody would know any more what to look for; and once more behind the rows, for
        // what was written meanwhile. When the rows are gone no writer knows the people any more: mail that comes later
        // makes them known again, as somebody new.
        let mut erased = Erased { copies: self.erase_copies(reign, &traces).await?, ..Erased::default() };
        for whom in people {
            let (addresses, accounts) = dispatch!(self, store => store.erase_rows(reign, whom).await)?;
            erased.addresses += addresses;
            erased.accounts += accounts;
        }
        erased.copies += self.erase_copies(reign, &traces).await?;
        dispatch!(self, store => store.scrub().await)?;
        Ok(erased)
    }

    /// Forgets an address of which only the keyed hash is given; gives whether it was known. See [`Store::forget`].
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn forget_address(&self, hash: &[u8; 16]) -> Result<bool, StoreError> {
        let erased = self.forget(&[Whom::Address { hash: *hash, address: None }]).await?;
        Ok(erased.addresses > 0)
    }

    /// Accounts whose Apple Account was deleted at this time or before, with nothing later that shows their users still
    /// there; the earliest first, at most `limit`.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn due_accounts(&self, until: Timestamp, limit: u32) -> Result<Vec<DueAccount>, StoreError> {
        dispatch!(self, store => store.due_accounts(until, limit).await)
    }

    async fn erase_copies(&self, reign: Option<Epoch>, traces: &Traces<'_>) -> Result<u64, StoreError> {
        let keyring = dispatch!(self, store => store.keyring());
        let mut erased = 0;
        for copies in Copies::ALL {
            let mut after = i64::MIN;
            loop {
                let page = dispatch!(self, store => store.copies(copies, after, PAGE).await)?;
                let Some((last, ..)) = page.last() else { break };
                after = *last;
                let ids: Vec<i64> = page
                    .iter()
                    .filter(|(_, owner, sealed)| {
                        // What no longer opens can't be read by anybody.
                        let text = keyring.open(copies.purpose(), owner, sealed);
                        text.is_ok_and(|text| traces.shows_in(&text))
                    })
                    .map(|(id, ..)| *id)
                    .collect();
                if !ids.is_empty() {
                    erased += dispatch!(self, store => store.erase_copies_of(reign, copies, &ids).await)?;
                }
                if page.len() < PAGE as usize {
                    break;
                }
            }
        }
        Ok(erased)
    }
}

impl Leader {
    /// Forgets people whose time has come; see [`Store::forget`]. What a reign that is over had begun, the next one does again.
    ///
    /// # Errors
    /// [`StoreError::NotLeading`], or where the store is away.
    pub async fn forget(&self, people: &[Whom]) -> Result<Erased, StoreError> {
        self.store().forget_under(Some(self.epoch()), people).await
    }
}

/// Adds to `traces` how a person shows.
fn trace(traces: &mut Traces<'_>, keyring: &Keyring, whom: &Whom, person: &Person) {
    let opened = |purpose, owner: &[u8], sealed: &Option<Vec<u8>>| {
        let text = keyring.open(purpose, owner, sealed.as_deref()?).ok()?;
        String::from_utf8(text).ok()
    };
    let mut known = None;
    if let Whom::Address { hash, address } = whom {
        traces.add_hash(*hash);
        known.clone_from(address);
    }
    if let Some(row) = &person.address {
        if let Ok(hash) = <[u8; 16]>::try_from(row.0.as_slice()) {
            traces.add_hash(hash);
        }
        known = known.or_else(|| Address::parse(&opened(Purpose::Address, &row.0, &row.1)?).ok());
    }
    if let Some(address) = known {
        traces.add_address(&address);
    }
    for (hash, sealed, team) in &person.accounts {
        match opened(Purpose::Subject, hash, sealed) {
            Some(subject) => traces.add_subject(&subject),
            None => traces.add_subject_hash(team, hash),
        }
    }
}
