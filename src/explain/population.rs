//! Evidence of many refusals together: one text for nearly all of them, from a moment on.

use super::{IncidentFacts, OneText};
use crate::{detect::stats::count, model::Timestamp};

/// From this share of the refused addresses on one text is nearly all of them.
const NEARLY_ALL: f64 = 0.8;
/// Below this share it was rare before.
const RARE: f64 = 0.2;
/// Fewer addresses than these make no share.
const LEAST: u64 = 20;

/// Nearly all of the refused get one text that was rare before.
#[derive(Debug, Clone, PartialEq)]
pub struct Jump<'a> {
    /// What names the template in every store.
    pub template: &'a str,
    /// The share of the refused addresses that got it since the onset: 0 to 1.
    pub since: f64,
    /// The share in the 30 days before; `None` where nobody was refused then.
    pub before: Option<f64>,
    /// The onset.
    pub onset: Timestamp,
}

/// The jump of one text, where there is one. It names a change and no cause: many addresses do not die at one moment.
#[must_use]
pub fn jump(facts: &IncidentFacts) -> Option<Jump<'_>> {
    let (first, OneText { since, of, before, before_of }) = (facts.texts.first()?, facts.one_text?);
    let share = |part: u64, of: u64| (of > 0).then(|| count(part) / count(of));
    let now = share(since, of).filter(|share| of >= LEAST && *share >= NEARLY_ALL)?;
    let before = share(before, before_of);
    before.is_none_or(|share| share < RARE).then_some(())?;
    Some(Jump { template: &first.template, since: now, before, onset: facts.onset? })
}

impl Jump<'_> {
    /// The same for people. The text itself stands beside it, as the most frequent reply.
    #[must_use]
    pub fn says(&self) -> String {
        let before = match self.before {
            None => "nobody was refused".to_owned(),
            // Nil is said as such, and a little is not nil.
            Some(share) if share > 0.0 && share < 0.01 => "below 1 %".to_owned(),
            Some(share) => format!("{:.0} %", 100.0 * share),
        };
        format!(
            "{:.0} % of the refused addresses got one text since {}, before that {before} (template {}). Such a jump speaks for \
             one change; it does not show that any of these addresses is dead",
            (100.0 * self.since).floor(),
            self.onset,
            self.template,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::ReplyText;

    fn facts(one: OneText) -> IncidentFacts {
        let text = ReplyText {
            text: "550 5.1.1 <{recipient}>: user not found".to_owned(),
            addresses: one.since,
            template: "4be1f20a9c77".to_owned(),
        };
        IncidentFacts {
            onset: Some(Timestamp::from_rfc3339("2025-08-09T06:05:00Z").expect("a time")),
            texts: vec![text],
            one_text: Some(one),
            ..IncidentFacts::default()
        }
    }

    #[test]
    fn nearly_all_with_one_text_that_was_rare_is_a_jump() {
        let one = OneText { since: 1_945, of: 2_000, before: 4, before_of: 200 };
        let known = facts(one);
        let found = jump(&known).expect("a jump");
        assert_eq!(found.template, "4be1f20a9c77");
        assert_eq!(
            found.says(),
            "97 % of the refused addresses got one text since 2025-08-09T06:05:00Z, before that 2 % (template 4be1f20a9c77). \
             Such a jump speaks for one change; it does not show that any of these addresses is dead"
        );
        let quiet = facts(OneText { before: 0, before_of: 0, ..one });
        assert!(jump(&quiet).expect("a jump").says().contains("before that nobody was refused ("));
        let few = facts(OneText { before: 1, before_of: 900, ..one });
        assert!(jump(&few).expect("a jump").says().contains("before that below 1 % ("));
    }

    #[test]
    fn what_was_usual_before_or_is_not_nearly_all_is_none() {
        let one = OneText { since: 80, of: 100, before: 19, before_of: 100 };
        assert!(jump(&facts(one)).is_some());
        for (one, why) in [
            (OneText { since: 79, ..one }, "not nearly all"),
            (OneText { before: 20, ..one }, "it was usual"),
            (OneText { since: 16, of: 19, ..one }, "too few"),
            (OneText { since: 0, of: 0, ..one }, "no replies"),
        ] {
            assert_eq!(jump(&facts(one)), None, "{why}");
        }
        let unknown = IncidentFacts { one_text: None, ..facts(one) };
        assert_eq!(jump(&unknown), None, "nothing is known of the time before");
        assert_eq!(jump(&IncidentFacts { texts: Vec::new(), ..facts(one) }), None);
    }
}
