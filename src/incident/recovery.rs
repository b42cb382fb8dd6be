//! The list to win back: refused addresses of an incident that nothing speaks against.

use std::{
    collections::{HashMap, HashSet},
    io::{self, Write},
};

use super::{Body, IncidentError, OwnWord, find, journal};
use serde::{Deserialize, Serialize};

use crate::{
    model::{Address, Bin, Cause, Timestamp},
    privacy::Keyring,
    store::{AddressNotice, RefusedAddress, Store, StoreError},
};

/// Addresses of one read.
const PAGE: u32 = 20_000;
/// The longest name and the longest reason that are kept, in characters.
const MAX_OPERATOR: usize = 200;
const MAX_REASON: usize = 1_000;

/// Who asks for the list, and why: both go into the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryRequest {
    /// Who answers for what becomes of the list.
    pub operator: String,
    /// What it's wanted for.
    pub reason: String,
    /// Whether addresses with unknown consent are asked for as well.
    pub unknown_too: bool,
}

impl RecoveryRequest {
    fn check(&self) -> Result<(), IncidentError> {
        let within = |text: &str, most| !text.trim().is_empty() && text.chars().count() <= most;
        if !within(&self.operator, MAX_OPERATOR) {
            return Err(IncidentError::Request(
                "name the operator who answers for the list, in at most 200 characters",
            ));
        }
        if !within(&self.reason, MAX_REASON) {
            return Err(IncidentError::Request("say what the list is wanted for, in at most 1,000 characters"));
        }
        if self.reason.contains('@') || self.operator.contains('@') {
            return Err(IncidentError::Request("name and reason go into the journal: leave addresses out of them"));
        }
        Ok(())
    }
}

/// One address of the list.
#[derive(Clone, PartialEq, Eq)]
pub struct RecoveryRow {
    /// The address, in the clear.
    pub address: Address,
    /// Its latest delivery.
    pub last_delivered_at: Option<Timestamp>,
    /// Its latest refusal.
    pub last_refused_at: Option<Timestamp>,
    /// What that refusal said.
    pub cause: Option<Cause>,
}

impl std::fmt::Debug for RecoveryRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RecoveryRow({:?})", self.address)
    }
}

/// How many refused addresses are not on the list, and why: each is counted once, by the first reason that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct LeftOut {
    /// Consent revoked, at whatever time.
    pub revoked: u64,
    /// Account deleted, at whatever time.
    pub deleted: u64,
    /// Forwarding disabled and not enabled again.
    pub disabled: u64,
    /// Complained.
    pub complained: u64,
    /// Unsubscribed.
    pub unsubscribed: u64,
    /// Erased: nobody knows the address any more.
    pub erased: u64,
    /// Kept by hash only, from a time when the store was set so.
    pub hashed: u64,
    /// No account is known, so that nobody knows of the consent.
    pub unknown: u64,
}

impl LeftOut {
    fn of(&mut self, word: OwnWord) -> &mut u64 {
        match word {
            OwnWord::Deleted => &mut self.deleted,
            OwnWord::Revoked => &mut self.revoked,
            OwnWord::Disabled => &mut self.disabled,
            OwnWord::Complained => &mut self.complained,
            OwnWord::Unsubscribed => &mut self.unsubscribed,
        }
    }
}

/// The list to win back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Addresses that nothing speaks against.
    pub rows: Vec<RecoveryRow>,
    /// Addresses with unknown consent, where they were asked for.
    pub unknown: Vec<RecoveryRow>,
    /// How many different addresses the incident refused.
    pub refused: u64,
    /// Those that are on no list, and why.
    pub left_out: LeftOut,
    /// Whether the notice endpoint was blind in the time in question, so that a revocation may have been missed.
    pub notices_blind: bool,
}

/// What keeps an address off the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Objection {
    Own(OwnWord),
    Unknown,
}

/// Makes the list of an incident's refused addresses that nothing speaks against: never revoked, disabled (and not enabled
/// again), deleted, complained, unsubscribed or erased ones. That the list was made, by whom, for what and how long it is, is in
/// the journal before it's given out.
///
/// # Errors
/// Where there is no such incident, the request names nobody or no reason, only hashes are kept, or the store is away.
pub async fn recovery(
    store: &Store,
    keyring: &Keyring,
    id: i64,
    request: &RecoveryRequest,
    now: Timestamp,
) -> Result<Recovery, IncidentError> {
    let made = list(store, id, request).await?;
    journal_recovery(store, keyring, id, request, made.lengths(), now).await?;
    Ok(made)
}

/// The first half of [`recovery`]: makes the list and writes nothing. It may be given out only once the second half is done.
///
/// # Errors
/// As [`recovery`].
pub async fn list(store: &Store, id: i64, request: &RecoveryRequest) -> Result<Recovery, IncidentError> {
    request.check()?;
    let (record, body) = find(store, id).await?;
    let from = record.onset.bin();
    let to = record.closed_at.map_or(Bin(i64::MAX), Timestamp::bin);
    let streams = streams(store, &body, from, to).await?;
    let mut made = Recovery {
        rows: Vec::new(),
        unknown: Vec::new(),
        refused: 0,
        left_out: LeftOut::default(),
        notices_blind: body.facts.as_ref().is_none_or(crate::explain::IncidentFacts::notices_blind),
    };
    let mut after = i64::MIN;
    loop {
        let page = store.refused_with_ledger(&streams, from, to, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.address;
        made.add(store, &page, request.unknown_too).await?;
        if page.len() < PAGE as usize {
            break;
        }
    }
    if made.rows.is_empty() && made.unknown.is_empty() && made.left_out.hashed > 0 {
        return Err(IncidentError::Hashed);
    }
    Ok(made)
}

/// The second half of [`recovery`]: journals who has the list of these lengths (known and unknown consent), and for what.
///
/// # Errors
/// Where the request names nobody or no reason, or the store is away.
pub async fn journal_recovery(
    store: &Store,
    keyring: &Keyring,
    id: i64,
    request: &RecoveryRequest,
    (listed, unknown): (usize, usize),
    now: Timestamp,
) -> Result<(), IncidentError> {
    request.check()?;
    let action = serde_json::json!({
        "action": "recovery-list",
        "incident": id,
        "operator": request.operator.trim(),
        "reason": request.reason.trim(),
        "listed": listed,
        "unknown_listed": unknown,
    });
    journal(store, keyring, now, action).await
}

impl Recovery {
    /// How many addresses are listed: with known consent, and with unknown.
    #[must_use]
    pub fn lengths(&self) -> (usize, usize) {
        (self.rows.len(), self.unknown.len())
    }
}

/// The finest streams of the incident's scope in which somebody was refused.
async fn streams(store: &Store, body: &Body, from: Bin, to: Bin) -> Result<Vec<i32>, StoreError> {
    let all = store.refused_streams(from, to).await?;
    Ok(all.into_iter().filter(|(_, key)| body.scope.holds(key)).map(|(id, _)| id).collect())
}

impl Recovery {
    async fn add(&mut self, store: &Store, page: &[RefusedAddress], unknown_too: bool) -> Result<(), StoreError> {
        let ids: Vec<i64> = page.iter().map(|row| row.address).collect();
        let mapped: HashSet<i64> = store.mapped_addresses(&ids).await?.into_iter().collect();
        let mut notices: HashMap<i64, Vec<AddressNotice>> = HashMap::new();
        let (from, to) = (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));
        let mut all = store.notices_of(&ids, from, to).await?;
        // Whoever revoked has revoked, also when the notice itself has outlived its retention.
        all.extend(store.latest_notices(&ids).await?);
        for notice in all {
            notices.entry(notice.address).or_default().push(notice);
        }
        let told = |address: i64| notices.get(&address).map_or(&[][..], Vec::as_slice);
        let judged: Vec<(&RefusedAddress, Option<Objection>)> =
            page.iter().map(|row| (row, objection(row, told(row.address), mapped.contains(&row.address)))).collect();
        // Whether an address was erased shows only here, also for those that are counted as unknown.
        let maybe = |objection: &Option<Objection>| matches!(objection, None | Some(Objection::Unknown));
        let open: Vec<i64> =
            judged.iter().filter(|(_, objection)| maybe(objection)).map(|(row, _)| row.address).collect();
        let mut opened: HashMap<i64, Option<Address>> = store.open_addresses(&open).await?.into_iter().collect();
        for (row, objection) in judged {
            self.refused += 1;
            match objection {
                Some(Objection::Own(word)) => *self.left_out.of(word) += 1,
                None | Some(Objection::Unknown) => match opened.remove(&row.address) {
                    None => self.left_out.erased += 1,
                    Some(_) if objection.is_some() && !unknown_too => self.left_out.unknown += 1,
                    Some(None) => self.left_out.hashed += 1,
                    Some(Some(address)) => {
                        let list = if objection.is_none() { &mut self.rows } else { &mut self.unknown };
                        list.push(RecoveryRow {
                            address,
                            last_delivered_at: row.last_delivered_at,
                            last_refused_at: row.last_refused_at,
                            cause: row.last_cause,
                        });
                    }
                },
            }
        }
        Ok(())
    }
}

/// What speaks against an address, the user's own word first.
fn objection(row: &RefusedAddress, notices: &[AddressNotice], mapped: bool) -> Option<Objection> {
    let own = OwnWord::of(notices, row.complained_at.is_some(), row.unsubscribed_at.is_some());
    own.map(Objection::Own).or((!mapped).then_some(Objection::Unknown))
}

/// Writes a list as CSV: address, last_delivered_at, last_refused_at, cause; times in RFC 3339, UTC.
///
/// # Errors
/// Where the writer fails.
pub fn write_csv(rows: &[RecoveryRow], out: impl Write) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(["address", "last_delivered_at", "last_refused_at", "cause"])?;
    let time = |at: Option<Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
    for row in rows {
        csv.write_record([
            row.address.expose(),
            &time(row.last_delivered_at),
            &time(row.last_refused_at),
            row.cause.map_or("", Cause::as_str),
        ])?;
    }
    csv.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NoticeKind;

    fn row() -> RefusedAddress {
        RefusedAddress {
            address: 1,
            first_bin: Bin(5),
            last_bin: Bin(5),
            first_event_at: Some(Timestamp::EPOCH),
            last_delivered_at: None,
            last_refused_at: Some(Timestamp::from_millis(1_754_719_200_000)),
            last_cause: Some(Cause::RecipientUnknown),
            complained_at: None,
            unsubscribed_at: None,
        }
    }

    #[test]
    fn the_users_own_word_keeps_an_address_off_the_list() {
        let notice = |kind, at| AddressNotice { address: 1, at: Timestamp::from_millis(at), kind };
        let of = |notices: &[AddressNotice]| objection(&row(), notices, true);
        let own = |word| Some(Objection::Own(word));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[notice(NoticeKind::EmailDisabled, 1)]), own(OwnWord::Disabled));
        assert_eq!(of(&[notice(NoticeKind::EmailDisabled, 1), notice(NoticeKind::EmailEnabled, 2)]), None);
        let again = [NoticeKind::EmailDisabled, NoticeKind::EmailEnabled, NoticeKind::EmailDisabled];
        let again: Vec<_> = (1..).zip(again).map(|(at, kind)| notice(kind, at)).collect();
        assert_eq!(of(&again), own(OwnWord::Disabled));
        let revoked = [notice(NoticeKind::ConsentRevoked, 1), notice(NoticeKind::EmailEnabled, 2)];
        assert_eq!(of(&revoked), own(OwnWord::Revoked), "to be enabled again is no consent");
        let deleted = [notice(NoticeKind::ConsentRevoked, 1), notice(NoticeKind::AccountDeleted, 2)];
        assert_eq!(of(&deleted), own(OwnWord::Deleted));
        let complained = RefusedAddress { complained_at: Some(Timestamp::EPOCH), ..row() };
        assert_eq!(objection(&complained, &[], false), own(OwnWord::Complained));
        let unsubscribed = RefusedAddress { unsubscribed_at: Some(Timestamp::EPOCH), ..row() };
        assert_eq!(objection(&unsubscribed, &[], true), own(OwnWord::Unsubscribed));
        assert_eq!(objection(&row(), &[], false), Some(Objection::Unknown));
    }

    #[test]
    fn the_file_is_plain_csv() {
        let address = Address::parse("\"a,b\"@privaterelay.appleid.com").expect("valid");
        let listed = RecoveryRow {
            address,
            last_delivered_at: None,
            last_refused_at: row().last_refused_at,
            cause: row().last_cause,
        };
        let mut out = Vec::new();
        write_csv(&[listed], &mut out).expect("writes");
        let expected = "address,last_delivered_at,last_refused_at,cause\n\
                        \"\"\"a,b\"\"@privaterelay.appleid.com\",,2025-08-09T06:00:00Z,recipient_unknown\n";
        assert_eq!(String::from_utf8(out).expect("UTF-8"), expected);
    }

    #[test]
    fn nobody_gets_a_list_without_name_and_reason() {
        let request = |operator: &str, reason: &str| RecoveryRequest {
            operator: operator.to_owned(),
            reason: reason.to_owned(),
            unknown_too: false,
        };
        assert!(request("Jo Operator", "win back after the purge").check().is_ok());
        for bad in
            [request(" ", "x"), request("Jo", ""), request(&"n".repeat(201), "x"), request("Jo", "for a@b.example")]
        {
            assert!(matches!(bad.check(), Err(IncidentError::Request(_))), "{bad:?}");
        }
    }
}
