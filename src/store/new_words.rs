//! Replies in words that no rule knows, read from the journal; and which of them were announced.

use super::{Leader, NewOutbox, Store, StoreError, dispatch, engine::digest_of, lease::fenced};
use crate::model::{Cause, Destination, MxFamily, Timestamp};

/// What names a template, whatever number a store has given it: a function of its text, 12 hexadecimal digits.
#[must_use]
pub fn template_id(text: &str) -> String {
    format!("{:012x}", u128::from_be_bytes(digest_of(text)) >> 80)
}

/// Which replies are of new words: the numbers of the rules that only guess, and who received.
#[derive(Debug, Clone, Default)]
pub struct NewWordsFilter {
    /// Numbers of rules, as [`Store::words_of`] gives them.
    pub rules: Vec<i32>,
    /// What the recipient's domain can hold, and whose exchanger answered.
    pub receivers: Vec<(Destination, MxFamily)>,
    /// First what was not announced.
    pub untold_first: bool,
}

impl NewWordsFilter {
    /// The receivers as one number each, as the statements make it of the two columns.
    pub(super) fn pairs(&self) -> Vec<i32> {
        self.receivers.iter().map(|(to, mx)| i32::from(to.code()) * 100 + i32::from(mx.code())).collect()
    }
}

/// One template of new words, by what the journal holds of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewWords {
    /// The template's number.
    pub template: i32,
    /// Refusals and deferrals with it.
    pub replies: u64,
    /// Different addresses that got it.
    pub addresses: u64,
    /// Different finest streams in which it came.
    pub streams: u64,
    /// The first of the replies.
    pub first: Timestamp,
    /// The last one.
    pub last: Timestamp,
    /// The cause that is guessed; where rules have guessed several, one of them, and undetermined last.
    pub cause: Cause,
    /// The number of the rule that guessed it; the newest where there were several.
    pub rule: i32,
    /// When it was announced.
    pub told: Option<Timestamp>,
}

/// Templates of new words, with how many there are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FoundWords {
    /// The first ones.
    pub words: Vec<NewWords>,
    /// How many templates there are.
    pub templates: u64,
    /// How many replies.
    pub replies: u64,
}

/// When new words were last announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LastTold {
    /// In a digest.
    pub digest: Option<Timestamp>,
    /// At once.
    pub at_once: Option<Timestamp>,
}

/// The statement of both engines, which differ in how they look into a list: rules in `$1`, receivers in `$4`. What there is
/// in all is counted beside the first ones, so that the replies are read once. A failure of unknown class (`$7`) without any code is
/// the provider's own refusal: nobody at Apple said it.
macro_rules! new_words_statement {
    ($rules:literal, $receivers:literal) => {
        concat!(
            "SELECT e.template, count(*), count(DISTINCT e.address), count(DISTINCT e.stream), min(e.at), max(e.at), \
             min(e.cause), max(e.rule), t.at, count(*) OVER (), CAST(sum(count(*)) OVER () AS BIGINT) \
             FROM event e LEFT JOIN new_words_told t ON t.template = e.template \
             WHERE e.rule IS NOT NULL AND e.rule ",
            $rules,
            " AND e.template IS NOT NULL AND e.kind IN ($2, $3) AND NOT (e.class = $7 AND e.code IS NULL AND e.enhanced IS NULL) \
             AND e.destination * 100 + coalesce(e.mx, 0) ",
            $receivers,
            " GROUP BY e.template, t.at ORDER BY (t.at IS NOT NULL AND $5), 2 DESC, 1 LIMIT $6"
        )
    };
}
pub(in crate::store) use new_words_statement;

/// Rows of [`NewWords`] as both engines read them, each with the numbers of templates and replies.
pub(super) type NewWordsRow = (i32, i64, i64, i64, i64, i64, i16, i32, Option<i64>, i64, i64);

pub(super) fn found_words(rows: Vec<NewWordsRow>) -> FoundWords {
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    let (templates, replies) = rows.first().map_or((0, 0), |row| (count(row.9), count(row.10)));
    let words = rows
        .into_iter()
        .map(|(template, replies, addresses, streams, first, last, cause, rule, told, ..)| NewWords {
            template,
            replies: count(replies),
            addresses: count(addresses),
            streams: count(streams),
            first: Timestamp::from_millis(first),
            last: Timestamp::from_millis(last),
            cause: Cause::from_code(cause).unwrap_or(Cause::Undetermined),
            rule,
            told: told.map(Timestamp::from_millis),
        })
        .collect();
    FoundWords { words, templates, replies }
}

impl Store {
    /// The templates of new words, the most frequent first, at most `limit`, and how many there are. It reads the replies that
    /// the filter's rules decided, and no others.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn new_words(&self, filter: &NewWordsFilter, limit: u32) -> Result<FoundWords, StoreError> {
        dispatch!(self, store => store.new_words(filter, limit).await)
    }

    /// When new words were last announced.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn new_words_told(&self) -> Result<LastTold, StoreError> {
        let (digest, at_once) = dispatch!(self, store => store.new_words_told().await)?;
        Ok(LastTold { digest: digest.map(Timestamp::from_millis), at_once: at_once.map(Timestamp::from_millis) })
    }
}

impl Leader {
    /// Announces templates of new words: puts the pages into the outbox and keeps that it was said, in one transaction.
    ///
    /// # Errors
    /// [`StoreError::NotLeading`], or where the store is away or full.
    pub async fn tell_new_words(
        &self,
        templates: &[i32],
        at: Timestamp,
        digest: bool,
        pages: &[NewOutbox],
    ) -> Result<(), StoreError> {
        fenced!(self, store, epoch => store.tell_new_words(epoch, templates, at, digest, pages).await)
    }
}
