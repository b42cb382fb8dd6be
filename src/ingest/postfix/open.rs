//! What is known of the mails that are in the queue, within bounds.

use std::collections::{HashMap, VecDeque};

use crate::model::{Address, HOUR_MILLIS, MINUTE_MILLIS, Reply, Timestamp};

/// Mails that are known at a time.
pub(super) const MOST: usize = 100_000;
/// Bytes that they may take together.
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// What a mail takes, with its sender, its message id and what it's found by, but for those that wait; few take more.
const MAIL_BYTES: usize = 640;
/// Recipients of one mail whose deferral is remembered.
const MOST_DEFERRED: usize = 1_000;
/// Mails that have just left the queue, for lines that come late.
const MOST_GONE: usize = 32;
/// For how long lines come late.
const LATE_MILLIS: i64 = MINUTE_MILLIS;
/// Postfix gives up after five days (`maximal_queue_lifetime`); what has not been heard of for longer was another mail.
const FORGOTTEN_MILLIS: i64 = 8 * 24 * HOUR_MILLIS;

/// A recipient whose mail was deferred, with what is needed to say that it was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Deferred {
    pub(super) recipient: Address,
    pub(super) sent_at: Option<Timestamp>,
    pub(super) reply: Reply,
    pub(super) remote: Option<String>,
}

/// A mail in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mail {
    /// The content of the Message-ID header.
    pub(super) message_id: Option<String>,
    /// The envelope sender; bounces have none.
    pub(super) sender: Option<Address>,
    /// When it was last heard of.
    pub(super) last: Timestamp,
    /// Who waits for another attempt.
    deferred: Vec<Deferred>,
}

impl Mail {
    fn new(at: Timestamp) -> Self {
        Self { message_id: None, sender: None, deferred: Vec::new(), last: at }
    }

    fn bytes(&self) -> usize {
        MAIL_BYTES + self.deferred.iter().map(Deferred::bytes).sum::<usize>()
    }
}

impl Deferred {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.recipient.expose().len() + self.reply.text.len()
    }
}

/// Mails by host and queue id. The older half is forgotten when there are too many: those that were not heard of since the
/// younger half was begun.
#[derive(Debug)]
pub(super) struct Open {
    young: HashMap<Box<str>, Mail>,
    old: HashMap<Box<str>, Mail>,
    gone: VecDeque<(Box<str>, Mail)>,
    /// What the younger ones take.
    bytes: usize,
    most: usize,
}

impl Open {
    pub(super) fn new(most: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), gone: VecDeque::new(), bytes: 0, most }
    }

    /// How many are known.
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// When the mail was last heard of, if it is in the queue.
    pub(super) fn last(&self, key: &str) -> Option<Timestamp> {
        self.young.get(key).or_else(|| self.old.get(key)).map(|mail| mail.last)
    }

    /// The mail, if it is known, or has just left the queue.
    pub(super) fn get(&mut self, key: &str, at: Timestamp) -> Option<&mut Mail> {
        if !self.young.contains_key(key) {
            match self.old.remove_entry(key) {
                Some((key, mail)) => self.insert(key, mail),
                None => return self.late(key, at),
            }
        }
        let mail = self.young.get_mut(key)?;
        if at.millis_since(mail.last).abs() > FORGOTTEN_MILLIS {
            self.bytes = self.bytes.saturating_sub(mail.bytes()) + MAIL_BYTES;
            *mail = Mail::new(at);
        }
        mail.last = mail.last.max(at);
        Some(mail)
    }

    /// The mail, made where it is not known.
    pub(super) fn make(&mut self, key: &str, at: Timestamp) -> Option<&mut Mail> {
        let known = self.young.contains_key(key) || self.old.contains_key(key) || self.late(key, at).is_some();
        if !known {
            self.insert(key.into(), Mail::new(at));
        }
        self.get(key, at)
    }

    /// Forgets what is known of it: its queue id is another mail's now.
    pub(super) fn renew(&mut self, key: &str, at: Timestamp) {
        self.gone.retain(|(gone, _)| &**gone != key);
        self.take(key);
        self.insert(key.into(), Mail::new(at));
    }

    /// It has left the queue.
    pub(super) fn remove(&mut self, key: &str) {
        let Some((key, mail)) = self.take(key) else { return };
        if self.gone.len() == MOST_GONE {
            self.gone.pop_front();
        }
        self.gone.push_back((key, mail));
    }

    /// Notes that a recipient waits for another attempt. What the receiving side said stays beside later words of Postfix's own.
    pub(super) fn defer(&mut self, key: &str, at: Timestamp, mut deferred: Deferred) {
        if let Some(before) = self.settle(key, at, &deferred.recipient)
            && before.reply.code.is_some()
            && deferred.reply.code.is_none()
        {
            (deferred.reply, deferred.remote) = (before.reply, before.remote);
        }
        let bytes = deferred.bytes();
        let Some(mail) = self.make(key, at).filter(|mail| mail.deferred.len() < MOST_DEFERRED) else { return };
        mail.deferred.push(deferred);
        self.count(key, |all| all.saturating_add(bytes));
    }

    /// Notes that a recipient waits no more; gives the last attempt.
    pub(super) fn settle(&mut self, key: &str, at: Timestamp, recipient: &Address) -> Option<Deferred> {
        let mail = self.get(key, at)?;
        let place = mail.deferred.iter().position(|other| other.recipient == *recipient)?;
        let settled = mail.deferred.swap_remove(place);
        let bytes = settled.bytes();
        self.count(key, |all| all.saturating_sub(bytes));
        Some(settled)
    }

    /// Those who wait, for whom no other attempt is made.
    pub(super) fn give_up(&mut self, key: &str, at: Timestamp) -> Vec<Deferred> {
        let Some(mail) = self.get(key, at) else { return Vec::new() };
        let given_up = std::mem::take(&mut mail.deferred);
        let bytes: usize = given_up.iter().map(Deferred::bytes).sum();
        self.count(key, |all| all.saturating_sub(bytes));
        given_up
    }

    /// Counts what changed of a mail, if it is among the younger ones.
    fn count(&mut self, key: &str, change: impl FnOnce(usize) -> usize) {
        if self.young.contains_key(key) {
            self.bytes = change(self.bytes);
        }
    }

    fn take(&mut self, key: &str) -> Option<(Box<str>, Mail)> {
        if let Some((key, mail)) = self.young.remove_entry(key) {
            self.bytes = self.bytes.saturating_sub(mail.bytes());
            return Some((key, mail));
        }
        self.old.remove_entry(key)
    }

    fn late(&mut self, key: &str, at: Timestamp) -> Option<&mut Mail> {
        let (_, mail) = self.gone.iter_mut().rev().find(|(gone, _)| &**gone == key)?;
        (at.millis_since(mail.last).abs() <= LATE_MILLIS).then_some(mail)
    }

    fn insert(&mut self, key: Box<str>, mail: Mail) {
        if self.young.len() >= self.most / 2 || self.bytes >= MOST_BYTES / 2 {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
        self.bytes += mail.bytes();
        self.young.insert(key, mail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_seconds(1_754_719_202);

    #[test]
    fn no_more_are_known_than_may_be_and_the_ones_not_heard_of_go_first() {
        let mut open = Open::new(100);
        let name = |number: usize| format!("mx1 {number}");
        for number in 0..10_000 {
            open.make(&name(number), AT).expect("made").message_id = Some(name(number));
            assert!(open.len() <= 100);
            // One that is heard of again and again stays.
            assert_eq!(open.get(&name(0), AT).expect("kept").message_id, Some(name(0)), "{number}");
        }
        assert!(open.get(&name(9_000), AT).is_none());
        assert!(open.get(&name(9_999), AT).is_some());
    }

    #[test]
    fn replies_are_bounded_by_their_bytes() {
        let mut open = Open::new(MOST);
        let deferred = |number: usize| Deferred {
            recipient: Address::parse(&format!("{number}@example.com")).expect("an address"),
            sent_at: None,
            reply: Reply { text: "x".repeat(4_096), ..Reply::default() },
            remote: None,
        };
        for number in 0..50_000 {
            open.defer(&format!("mx1 {number}"), AT, deferred(number));
        }
        assert!(open.len() < 2 * MOST_BYTES / 4_096, "{}", open.len());
        for number in 0..2_000 {
            open.defer("mx1 one", AT, deferred(number));
        }
        assert_eq!(open.give_up("mx1 one", AT).len(), MOST_DEFERRED);
    }

    #[test]
    fn what_left_the_queue_takes_no_room() {
        let mut open = Open::new(100);
        open.make("mx1 waits", AT).expect("made").message_id = Some("a".to_owned());
        for number in 0..200_000 {
            let key = format!("mx1 {number}");
            open.make(&key, AT);
            open.remove(&key);
        }
        assert_eq!((open.len(), open.bytes), (1, MAIL_BYTES));
    }

    #[test]
    fn what_has_left_the_queue_is_known_for_a_minute() {
        let mut open = Open::new(10);
        open.make("mx1 A", AT).expect("made").message_id = Some("a".to_owned());
        open.remove("mx1 A");
        assert_eq!(open.len(), 0);
        assert!(open.get("mx1 A", AT.plus_millis(LATE_MILLIS)).is_some());
        assert!(open.get("mx1 A", AT.plus_millis(LATE_MILLIS + 1)).is_none());
        open.renew("mx1 A", AT);
        assert_eq!(open.get("mx1 A", AT).expect("anew").message_id, None);
    }

    #[test]
    fn what_was_not_heard_of_for_long_was_another_mail() {
        let mut open = Open::new(10);
        open.make("mx1 A", AT).expect("made").message_id = Some("a".to_owned());
        let later = AT.plus_millis(FORGOTTEN_MILLIS + 1);
        assert_eq!(open.get("mx1 A", later).expect("there").message_id, None);
    }
}
