//! The users: their relay addresses, their accounts, and when they turn away.

use std::sync::Arc;

use rand::Rng;

use super::chance::{exponential, happens, index, unit};
use crate::model::{Address, DAY_MILLIS, Notice, NoticeKind, Timestamp};

/// The team of the simulated company.
pub const TEAM: &str = "A1B2C3D4E5";
/// The app of the simulated company.
pub const APP: &str = "com.example.app";

/// How users turn away, and what Apple tells of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Turning {
    /// The hazard of an address, a day.
    pub(super) hazard: f64,
    /// The probability that a notice arrives.
    pub(super) received: f64,
    /// The probability that it comes twice.
    pub(super) doubled: f64,
    /// The probability that mail to the address bounces afterwards.
    pub(super) bounces: f64,
    /// The share of users whose account stands in the company's map.
    pub(super) mapped: f64,
}

impl Default for Turning {
    fn default() -> Self {
        Self { hazard: 2e-4, received: 0.92, doubled: 0.02, bounces: 0.95, mapped: 0.97 }
    }
}

/// A row of the company's own table of users.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// The account, as Apple names it to the team.
    pub subject: String,
    /// The relay address.
    pub address: Arc<str>,
    /// When the user signed up.
    pub signed_up_at: Timestamp,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Account(signed up {})", self.signed_up_at)
    }
}

/// One user.
#[derive(Debug, Clone)]
pub(super) struct User {
    pub(super) account: Account,
    /// Whether the account stands in the company's map.
    pub(super) mapped: bool,
    /// When the user turned away.
    pub(super) turned_at: Option<Timestamp>,
    /// From when on Apple knows the address no more, whatever the reason.
    pub(super) dead_from: Option<Timestamp>,
    /// When the provider put the address on its suppression list.
    pub(super) suppressed_at: Option<Timestamp>,
}

const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
const DIGITS: &[u8] = b"0123456789";
const HEX: &[u8] = b"0123456789abcdef";

fn word(rng: &mut dyn Rng, letters: &[u8], length: usize) -> String {
    (0..length).filter_map(|_| letters.get(index(rng, letters.len())).map(|letter| char::from(*letter))).collect()
}

/// A local part in the shape of the relay's.
pub(super) fn local_part(rng: &mut dyn Rng) -> String {
    word(rng, LETTERS, 10)
}

/// Makes users who signed up in the two years before `start`.
pub(super) fn users(rng: &mut dyn Rng, count: usize, start: Timestamp, turning: &Turning) -> Vec<User> {
    (0..count)
        .map(|_| {
            let age = super::chance::millis(unit(rng) * 730.0 * 86_400.0);
            let subject = format!("{}.{}.{}", word(rng, DIGITS, 6), word(rng, HEX, 32), word(rng, DIGITS, 4));
            let address = format!("{}@privaterelay.appleid.com", local_part(rng));
            let account = Account { subject, address: address.into(), signed_up_at: start.plus_millis(-age) };
            let mapped = happens(rng, turning.mapped);
            User { account, mapped, turned_at: None, dead_from: None, suppressed_at: None }
        })
        .collect()
}

/// Lets users turn away at the ordinary hazard, and gives the notices of it.
pub(super) fn turn_ordinarily(
    rng: &mut dyn Rng,
    users: &mut [User],
    from: Timestamp,
    until: Timestamp,
    turning: &Turning,
) -> Vec<(Timestamp, Notice)> {
    let mut notices = Vec::new();
    for user in users {
        let days = exponential(rng, 1.0 / turning.hazard);
        let at = from.plus_millis(super::chance::millis(days * 86_400.0));
        if at >= until {
            continue;
        }
        let kind = match unit(rng) {
            share if share < 0.6 => NoticeKind::ConsentRevoked,
            share if share < 0.9 => NoticeKind::EmailDisabled,
            _ => NoticeKind::AccountDeleted,
        };
        turn(rng, user, at, &[kind], turning, &mut notices);
    }
    notices
}

/// One user turns away: the notices of it, as far as they arrive.
pub(super) fn turn(
    rng: &mut dyn Rng,
    user: &mut User,
    at: Timestamp,
    kinds: &[NoticeKind],
    turning: &Turning,
    notices: &mut Vec<(Timestamp, Notice)>,
) {
    user.turned_at = Some(at);
    if happens(rng, turning.bounces) {
        user.dead_from = Some(at);
    }
    for kind in kinds {
        if !happens(rng, turning.received) {
            continue;
        }
        let lag = if happens(rng, 0.01) { 3_600.0 * exponential(rng, 2.0) } else { exponential(rng, 2.0) };
        let issued_at = at.plus_millis(super::chance::millis(lag));
        let with_address = matches!(kind, NoticeKind::EmailDisabled | NoticeKind::EmailEnabled);
        let notice = Notice {
            kind: *kind,
            audience: APP.to_owned(),
            team: TEAM.to_owned(),
            subject: user.account.subject.clone(),
            email: with_address.then(|| Address::parse(&user.account.address).ok()).flatten(),
            is_private_email: with_address.then_some(true),
            at,
            issued_at,
            jwt_id: word(rng, LETTERS, 22),
        };
        if happens(rng, turning.doubled) {
            let again = issued_at.plus_millis(super::chance::millis(exponential(rng, 60.0)));
            notices.push((again, notice.clone()));
        }
        notices.push((issued_at, notice));
    }
}

/// The rows of the company's map.
pub(super) fn accounts(users: &[User]) -> Vec<Account> {
    users.iter().filter(|user| user.mapped).map(|user| user.account.clone()).collect()
}

/// How long after a refusal a sender goes on writing to an address that its provider has suppressed.
pub(super) const DROPPED_AFTER_MILLIS: i64 = DAY_MILLIS;
