//! Replies of Apple's in words that no rule knows: counted, shown, and told as tickets.
//!
//! What there is, is asked of the journal each time, so that new rules, a rebuild and retention need nothing beside it. What
//! was announced is a table of its own: it is said once.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

use crate::{
    classify::{apple_receivers, is_guess},
    explain::shortened,
    metrics::Metrics,
    model::{DAY_MILLIS, HOUR_MILLIS, MINUTE_MILLIS, Timestamp, counted},
    notify::{Notifiers, Page, PageKind, Severity},
    store::{FoundWords, LastTold, Leader, NewWords, NewWordsFilter, Store, StoreError, WordKind, template_id},
};

/// The digest goes out at the first look after this time of the day, UTC.
const DIGEST_AT_MILLIS: i64 = 9 * HOUR_MILLIS;
/// So many addresses make a template worth a ticket of its own.
const ENOUGH_ADDRESSES: u64 = 3;
/// After a ticket at once the next one waits so long, and tells all that has come meanwhile.
const APART_MILLIS: i64 = 15 * MINUTE_MILLIS;
/// Replies that ended longer ago wait for the digest: what is brought in from the past is not urgent.
const URGENT_MILLIS: i64 = DAY_MILLIS;
/// How often the journal is asked at most where something has come, and where nothing has.
const EVERY_MILLIS: i64 = MINUTE_MILLIS;
const IDLE_MILLIS: i64 = HOUR_MILLIS;
/// So many times as long as a look took, the next one waits.
const SPARING: u128 = 50;
/// Templates that one ticket covers at most; what is left is in the next one.
const MOST_TOLD: u32 = 10_000;
/// Templates that one ticket quotes, the most frequent ones, and characters of each.
const MOST_QUOTED: usize = 20;
const QUOTED_LENGTH: usize = 200;

/// One template of new words, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownWords {
    /// What the journal holds of it.
    pub words: NewWords,
    /// The template.
    pub text: String,
    /// What names it in every store.
    pub id: String,
    /// The rule that guessed, as `file/name`.
    pub rule: String,
}

/// All new words, the most frequent first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllWords {
    /// The first ones of them.
    pub shown: Vec<ShownWords>,
    /// How many templates there are.
    pub templates: u64,
    /// How many replies.
    pub replies: u64,
}

/// Reads the new words that the journal holds; shows at most `limit`.
///
/// # Errors
/// Where the store is away.
pub async fn read(store: &Store, limit: u32) -> Result<AllWords, StoreError> {
    let Some(known) = Known::read(store).await? else { return Ok(AllWords::default()) };
    let FoundWords { words, templates, replies } = store.new_words(&known.filter(false), limit).await?;
    Ok(AllWords { shown: known.shown(store, words).await?, templates, replies })
}

/// How long what was read stands, by how long reading took: it reads every reply that a rule guessed at, and may take a fiftieth
/// of the time at most.
fn stands(took: Duration) -> i64 {
    i64::try_from(took.as_millis().saturating_mul(SPARING)).unwrap_or(i64::MAX).max(EVERY_MILLIS)
}

/// New words for who looks at them again and again: read once a minute at most.
#[derive(Debug, Clone, Default)]
pub struct LastRead(Arc<Mutex<Option<(Timestamp, i64, AllWords)>>>);

impl LastRead {
    /// What was read lately, else what there is; shows at most `limit`, the same for all who ask.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn read(&self, store: &Store, limit: u32, now: Timestamp) -> Result<AllWords, StoreError> {
        let mut last = self.0.lock().await;
        if let Some((at, stands, words)) = &*last
            && (0..*stands).contains(&now.millis_since(*at))
        {
            return Ok(words.clone());
        }
        let began = Instant::now();
        let words = read(store, limit).await?;
        *last = Some((now, stands(began.elapsed()), words.clone()));
        Ok(words)
    }
}

/// The rules of the store's words that only guess, by number.
struct Known(HashMap<i32, String>);

impl Known {
    /// `None` where there are none, so that there is nothing to ask.
    async fn read(store: &Store) -> Result<Option<Self>, StoreError> {
        let rules = store.words_of(WordKind::Rule).await?.into_iter();
        let guesses: HashMap<i32, String> = rules.filter(|(_, rule)| is_guess(rule)).collect();
        Ok((!guesses.is_empty()).then_some(Self(guesses)))
    }

    fn filter(&self, untold_first: bool) -> NewWordsFilter {
        let mut rules: Vec<i32> = self.0.keys().copied().collect();
        rules.sort_unstable();
        NewWordsFilter { rules, receivers: apple_receivers().collect(), untold_first }
    }

    async fn shown(&self, store: &Store, found: Vec<NewWords>) -> Result<Vec<ShownWords>, StoreError> {
        let numbers: Vec<i32> = found.iter().map(|words| words.template).collect();
        let mut texts: HashMap<i32, String> = store.words(&numbers).await?.into_iter().collect();
        let shown = found.into_iter().filter_map(|words| {
            let text = texts.remove(&words.template)?;
            let rule = self.0.get(&words.rule).map_or("", String::as_str);
            let rule = rule.rsplit_once('@').map_or(rule, |(name, _)| name).to_owned();
            Some(ShownWords { words, id: template_id(&text), text, rule })
        });
        Ok(shown.collect())
    }
}

/// The monitor's look at them.
#[derive(Debug, Default)]
pub(super) struct Watcher {
    looked_at: Option<Timestamp>,
    /// How long that look stands, in milliseconds.
    stands: i64,
    /// When a look failed, where the last one did.
    failed_at: Option<Timestamp>,
    /// Outcomes were folded since the last look.
    fresh: bool,
    /// The log was told that tickets reach nobody.
    unheard: bool,
}

impl Watcher {
    /// Takes note of outcomes that were folded.
    pub(super) fn note(&mut self, folded: usize) {
        self.fresh |= folded > 0;
    }

    /// Counts the new words, and tells of those that nobody was told of, where it is time.
    pub(super) async fn look(
        &mut self,
        store: &Leader,
        notifiers: &Notifiers,
        metrics: &Metrics,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if !self.is_due(now) {
            return Ok(());
        }
        let began = Instant::now();
        match self.look_now(store, notifiers, metrics, now).await {
            Ok(again) => {
                (self.looked_at, self.stands, self.failed_at) = (Some(now), stands(began.elapsed()), None);
                self.fresh = again;
                Ok(())
            }
            Err(error) => {
                self.failed_at = Some(now);
                Err(error)
            }
        }
    }

    /// Gives whether something waits for its time, and is to be looked for again though nothing comes.
    async fn look_now(
        &mut self,
        store: &Leader,
        notifiers: &Notifiers,
        metrics: &Metrics,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let known = Known::read(store).await?;
        let found = match &known {
            Some(known) => store.new_words(&known.filter(true), MOST_TOLD).await?,
            None => FoundWords::default(),
        };
        metrics.new_words_templates.set(i64::try_from(found.templates).unwrap_or(i64::MAX));
        metrics.new_words_replies.set(i64::try_from(found.replies).unwrap_or(i64::MAX));
        let Some(known) = known else { return Ok(false) };
        let mut untold = found.words;
        untold.retain(|words| words.told.is_none());
        let again = untold.iter().any(|words| is_urgent(words, now));
        let Some(telling) = Telling::due(untold, store.new_words_told().await?, now) else { return Ok(again) };
        if !notifiers.reach_somebody() {
            if !self.unheard {
                tracing::warn!(
                    templates = telling.words.len(),
                    "no notifier: Apple replies in words that no rule knows, and nobody is told; `relaywatch events words` shows \
                     them"
                );
            }
            self.unheard = true;
            return Ok(again);
        }
        self.unheard = false;
        let numbers: Vec<i32> = telling.words.iter().map(|words| words.template).collect();
        let more = telling.words.len().saturating_sub(MOST_QUOTED);
        let quoted = known.shown(store, telling.words.iter().take(MOST_QUOTED).cloned().collect()).await?;
        let page = ticket(&quoted, more, telling.digest, now);
        store.tell_new_words(&numbers, now, telling.digest, &notifiers.pages(&page)).await?;
        notifiers.wake().notify_one();
        tracing::info!(templates = numbers.len(), digest = telling.digest, "new words of Apple's are announced");
        Ok(again)
    }

    fn is_due(&self, now: Timestamp) -> bool {
        if self.failed_at.is_some_and(|failed| (0..EVERY_MILLIS).contains(&now.millis_since(failed))) {
            return false;
        }
        let Some(looked) = self.looked_at else { return true };
        let passed = now.millis_since(looked);
        !(0..IDLE_MILLIS.max(self.stands)).contains(&passed)
            || (self.fresh && passed >= self.stands)
            || (looked < digest_time(now) && now >= digest_time(now))
    }
}

/// When the digest of the day goes out at the earliest.
fn digest_time(now: Timestamp) -> Timestamp {
    let day = now.as_millis().div_euclid(DAY_MILLIS);
    Timestamp::from_millis(day.saturating_mul(DAY_MILLIS).saturating_add(DIGEST_AT_MILLIS))
}

/// What is to be told now.
#[derive(Debug, PartialEq, Eq)]
struct Telling {
    /// The templates, the most frequent first.
    words: Vec<NewWords>,
    /// Whether it is the day's digest.
    digest: bool,
}

impl Telling {
    /// The day's digest, where it is time and there was something new by then; else those that enough addresses have met.
    fn due(untold: Vec<NewWords>, last: LastTold, now: Timestamp) -> Option<Self> {
        let time = digest_time(now);
        if now >= time && last.digest.is_none_or(|told| told < time) && untold.iter().any(|words| words.first < time) {
            return Some(Self { words: untold, digest: true });
        }
        let words: Vec<NewWords> = untold.into_iter().filter(|words| is_urgent(words, now)).collect();
        let waits = last.at_once.is_some_and(|told| (0..APART_MILLIS).contains(&now.millis_since(told)));
        (!words.is_empty() && !waits).then_some(Self { words, digest: false })
    }
}

fn is_urgent(words: &NewWords, now: Timestamp) -> bool {
    words.addresses >= ENOUGH_ADDRESSES && now.millis_since(words.last) < URGENT_MILLIS
}

/// What is said of a template beside its text.
#[must_use]
pub fn described(shown: &ShownWords) -> String {
    let ShownWords { words, rule, .. } = shown;
    format!(
        "{} to {}, {} to {}; guess: {} ({rule})",
        counted(words.replies, "reply"),
        counted(words.addresses, "address"),
        words.first,
        words.last,
        words.cause,
    )
}

fn ticket(quoted: &[ShownWords], more: usize, digest: bool, now: Timestamp) -> Page {
    let all = quoted.len().saturating_add(more) as u64;
    let mut facts: Vec<String> = quoted
        .iter()
        .map(|shown| {
            // A page drops lines that may hold an address: the rest of the line is worth telling.
            let masked: Vec<&str> = shown
                .text
                .split(' ')
                .map(|word| {
                    if word.contains(['@', '\u{ff20}', '\u{fe6b}']) || word.contains("%40") {
                        "(address)"
                    } else {
                        word
                    }
                })
                .collect();
            format!("“{}”: {}", shortened(&masked.join(" "), QUOTED_LENGTH), described(shown))
        })
        .collect();
    if more > 0 {
        facts.push(format!("and {}", counted(more as u64, "more template")));
    }
    let (what, since) = if digest { ("digest", "in the day's digest") } else { ("at-once", "met by three addresses") };
    let first = quoted.iter().map(|shown| shown.words.first).min().unwrap_or(now);
    Page {
        key: format!("new-words/{what}/{}", now.as_millis()),
        headline: format!("Apple replies in words that no rule knows: {}, {since}", counted(all, "template")),
        facts,
        safe_action: Some(
            "Suppress nobody for them: what they mean is a guess until a rule says it. `relaywatch events words` shows all of them, \
             and how to write a rule."
                .to_owned(),
        ),
        ..Page::of_matter(
            (PageKind::NewWords, Severity::Ticket),
            "new words".to_owned(),
            "Apple".to_owned(),
            first,
            now,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Cause;

    fn time(text: &str) -> Timestamp {
        Timestamp::from_rfc3339(text).expect("a time")
    }

    fn words(template: i32, addresses: u64, first: &str, last: &str) -> NewWords {
        NewWords {
            template,
            replies: addresses * 2,
            addresses,
            streams: 1,
            first: time(first),
            last: time(last),
            cause: Cause::Undetermined,
            rule: 1,
            told: None,
        }
    }

    fn shown(words: NewWords, text: &str) -> ShownWords {
        ShownWords { words, text: text.to_owned(), id: template_id(text), rule: "none/undetermined".to_owned() }
    }

    #[test]
    fn the_digest_goes_out_once_a_day_and_only_with_news() {
        let one = || vec![words(1, 1, "2026-03-01T07:00:00Z", "2026-03-01T07:00:00Z")];
        let told = |at: &str| LastTold { digest: Some(time(at)), at_once: None };
        let due = |untold, last, now| Telling::due(untold, last, time(now)).map(|telling| telling.digest);
        assert_eq!(due(one(), LastTold::default(), "2026-03-01T08:59:59Z"), None, "too early");
        assert_eq!(due(one(), LastTold::default(), "2026-03-01T09:00:00Z"), Some(true));
        assert_eq!(due(one(), told("2026-02-28T15:00:00Z"), "2026-03-01T09:30:00Z"), Some(true));
        assert_eq!(due(one(), told("2026-03-01T09:00:00Z"), "2026-03-01T23:00:00Z"), None, "once a day");
        assert_eq!(due(Vec::new(), LastTold::default(), "2026-03-01T09:00:00Z"), None, "nothing is new");
        let later = vec![words(1, 1, "2026-03-01T09:00:01Z", "2026-03-01T09:00:01Z")];
        assert_eq!(
            due(later.clone(), LastTold::default(), "2026-03-01T10:00:00Z"),
            None,
            "it was not there at the look"
        );
        assert_eq!(due(later, LastTold::default(), "2026-03-02T09:00:00Z"), Some(true));
    }

    #[test]
    fn three_addresses_make_it_urgent() {
        let two = words(1, 2, "2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z");
        let three = words(2, 3, "2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z");
        let untold = || vec![three.clone(), two.clone()];
        let digest = Some(time("2026-03-01T09:00:00Z"));
        let due = |at_once, now| Telling::due(untold(), LastTold { digest, at_once }, time(now));
        let told = due(None, "2026-03-01T12:01:00Z").expect("three have met it");
        assert_eq!((told.digest, told.words), (false, vec![three.clone()]), "and of the other the digest tells");
        assert_eq!(
            due(Some(time("2026-03-01T11:50:00Z")), "2026-03-01T12:01:00Z"),
            None,
            "a flood makes one in 15 min"
        );
        assert!(due(Some(time("2026-03-01T11:46:00Z")), "2026-03-01T12:01:00Z").is_some());
        assert!(due(Some(time("2026-03-01T13:00:00Z")), "2026-03-01T12:01:00Z").is_some(), "a clock that was set back");
        let past = Telling::due(
            untold(),
            LastTold { digest: Some(time("2026-03-03T09:00:00Z")), at_once: None },
            time("2026-03-03T12:00:00Z"),
        );
        assert_eq!(past, None, "what was brought in from the past waits for the digest");
    }

    #[test]
    fn the_look_is_due_with_news_and_at_the_digest() {
        let mut watcher = Watcher::default();
        assert!(watcher.is_due(time("2026-03-01T08:00:00Z")));
        (watcher.looked_at, watcher.stands) = (Some(time("2026-03-01T08:30:00Z")), stands(Duration::from_millis(3)));
        assert!(!watcher.is_due(time("2026-03-01T08:59:59Z")));
        assert!(watcher.is_due(time("2026-03-01T09:00:00Z")), "it is time for the digest");
        watcher.looked_at = Some(time("2026-03-01T09:00:00Z"));
        assert!(!watcher.is_due(time("2026-03-01T09:02:00Z")));
        watcher.note(0);
        assert!(!watcher.is_due(time("2026-03-01T09:02:00Z")));
        watcher.note(5);
        assert!(!watcher.is_due(time("2026-03-01T09:00:30Z")) && watcher.is_due(time("2026-03-01T09:01:00Z")));
        // A look that took long makes the next one wait.
        watcher.stands = stands(Duration::from_secs(6));
        assert!(!watcher.is_due(time("2026-03-01T09:04:59Z")) && watcher.is_due(time("2026-03-01T09:05:00Z")));
        watcher.stands = stands(Duration::from_hours(1));
        assert!(!watcher.is_due(time("2026-03-01T23:00:00Z")) && watcher.is_due(time("2026-03-02T09:00:00Z")));
    }

    #[test]
    fn a_look_that_failed_is_done_again_in_a_minute() {
        let mut watcher = Watcher { failed_at: Some(time("2026-03-01T08:00:00Z")), ..Watcher::default() };
        assert!(!watcher.is_due(time("2026-03-01T08:00:59Z")), "it does not spin");
        assert!(watcher.is_due(time("2026-03-01T08:01:00Z")));
        watcher.looked_at = Some(time("2026-03-01T07:50:00Z"));
        watcher.note(5);
        assert!(!watcher.is_due(time("2026-03-01T08:00:30Z")) && watcher.is_due(time("2026-03-01T08:01:00Z")));
        assert!(watcher.is_due(time("2026-03-01T07:59:00Z")), "a clock that was set back");
    }

    #[test]
    fn a_ticket_quotes_twenty_and_no_address() {
        let template = |number: i32| {
            let words = words(number, 3, "2026-03-01T06:00:00Z", "2026-03-01T07:00:00Z");
            shown(words, &format!("550 5.7.1 [HX{number:02}] <{{recipient}}> is not served here"))
        };
        let quoted: Vec<ShownWords> = (0..2).map(template).collect();
        let now = time("2026-03-01T09:00:10Z");
        let said = |page: &Page| {
            format!("{}\n{}\n{}", page.headline, page.facts.join("\n"), page.safe_action.as_deref().unwrap_or_default())
        };
        insta::assert_snapshot!("ticket", said(&ticket(&quoted, 0, false, now)));
        let many: Vec<ShownWords> = (0..20).map(template).collect();
        let digest = ticket(&many, 9_980, true, now);
        assert_eq!(digest.facts.len(), 21);
        assert!(digest.headline.contains("10000 templates"), "{}", digest.headline);
        assert_eq!(digest.facts.last().map(String::as_str), Some("and 9980 more templates"));
        let odd = shown(
            words(1, 3, "2026-03-01T06:00:00Z", "2026-03-01T07:00:00Z"),
            &format!("see a@b.example {}", "x".repeat(9_000)),
        );
        let page = ticket(&[odd], 0, false, now).without_addresses();
        assert_eq!(page.facts.len(), 1, "the line stays");
        assert!(page.facts.iter().all(|line| !line.contains('@') && line.chars().count() < 400), "{:?}", page.facts);
    }
}
