//! How an address stands with Apple's notices, and how much of the time nobody watched: pure.

use super::{AFTER_MILLIS, BEFORE_MILLIS};
use crate::{
    detect::stats::count,
    explain::BlindWindow,
    model::{NoticeKind, Timestamp},
    store::AddressNotice,
};

/// How an address stands with the notices around its refusal (or its last acceptance).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its account is not known.
    Unmapped,
    /// No notice that ends its mail.
    Unexposed,
    /// One before, not undone.
    Before,
    /// One in the time after only.
    After,
}

/// The standing of a mapped address: a notice that ends its mail in the 30 days before, not undone by a later `email-enabled`
/// up to that time, else one in the 48 hours after.
pub(super) fn standing(notices: &[AddressNotice], at: Timestamp) -> Standing {
    let (from, to) = (at.plus_millis(-BEFORE_MILLIS), at.plus_millis(AFTER_MILLIS));
    let ends = || notices.iter().filter(|notice| notice.kind != NoticeKind::EmailEnabled);
    let undone = |ended: Timestamp| {
        let enabled = notices.iter().filter(|notice| notice.kind == NoticeKind::EmailEnabled);
        enabled.map(|notice| notice.at).any(|enabled| enabled > ended && enabled <= at)
    };
    if ends().any(|notice| notice.at >= from && notice.at <= at && !undone(notice.at)) {
        Standing::Before
    } else if ends().any(|notice| notice.at > at && notice.at <= to) {
        Standing::After
    } else {
        Standing::Unexposed
    }
}

/// The share of the time from `from` to `to` that the windows cover together, 0 to 1. They come by their begin.
pub(super) fn blind_share<'a>(
    windows: impl IntoIterator<Item = &'a BlindWindow>,
    from: Timestamp,
    to: Timestamp,
) -> f64 {
    let (mut covered, mut reached) = (0_i64, from);
    for window in windows {
        let begin = window.from.max(reached);
        let end = window.until.unwrap_or(to).min(to);
        if end > begin {
            covered = covered.saturating_add(end.millis_since(begin));
            reached = end;
        }
    }
    let whole = to.millis_since(from).max(1);
    let part = |millis: i64| count(u64::try_from(millis).unwrap_or(0));
    (part(covered) / part(whole)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        explain::Watched,
        model::{DAY_MILLIS, HOUR_MILLIS, Provider},
        monitor::blind::{touching, windows},
        store::{EntryKind, EntryRecord, EventKey, Position},
    };

    const DAY: i64 = DAY_MILLIS;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(100 * DAY + millis)
    }

    fn notice(kind: NoticeKind, millis: i64) -> AddressNotice {
        AddressNotice { address: 1, at: at(millis), kind }
    }

    #[test]
    fn notices_count_from_thirty_days_before_to_two_days_after() {
        let of = |millis| standing(&[notice(NoticeKind::ConsentRevoked, millis)], at(0));
        assert_eq!(of(-30 * DAY - 1), Standing::Unexposed);
        assert_eq!(of(-30 * DAY), Standing::Before);
        assert_eq!(of(0), Standing::Before);
        assert_eq!(of(1), Standing::After);
        assert_eq!(of(48 * HOUR_MILLIS), Standing::After);
        assert_eq!(of(48 * HOUR_MILLIS + 1), Standing::Unexposed);
        assert_eq!(standing(&[], at(0)), Standing::Unexposed);
        assert_eq!(standing(&[notice(NoticeKind::EmailEnabled, -5)], at(0)), Standing::Unexposed);
    }

    #[test]
    fn an_address_that_was_enabled_again_before_the_refusal_is_not_exposed() {
        let disabled = notice(NoticeKind::EmailDisabled, -3 * DAY);
        let enabled = |millis| notice(NoticeKind::EmailEnabled, millis);
        assert_eq!(standing(&[disabled, enabled(-DAY)], at(0)), Standing::Unexposed);
        assert_eq!(standing(&[disabled, enabled(DAY)], at(0)), Standing::Before, "too late for this refusal");
        assert_eq!(standing(&[enabled(-4 * DAY), disabled], at(0)), Standing::Before);
        let again = notice(NoticeKind::EmailDisabled, -1);
        assert_eq!(standing(&[disabled, enabled(-DAY), again], at(0)), Standing::Before);
        let later = notice(NoticeKind::AccountDeleted, HOUR_MILLIS);
        assert_eq!(standing(&[disabled, enabled(-DAY), later], at(0)), Standing::After);
    }

    fn entry(body: serde_json::Value) -> EntryRecord {
        EntryRecord {
            position: Position::START,
            key: EventKey { at: at(0), hash: [0; 16] },
            kind: EntryKind::BlindWindow,
            account: None,
            address: None,
            body,
        }
    }

    #[test]
    fn windows_are_closed_by_their_later_entry_and_cut_to_the_time_in_question() {
        let ms = |millis: i64| at(millis).as_millis();
        let entries = [
            entry(serde_json::json!({ "watched": "notices", "from": ms(0), "until": null })),
            entry(serde_json::json!({ "watched": "notices", "from": ms(0), "until": ms(DAY) })),
            entry(serde_json::json!({ "watched": "ses/eu", "from": ms(DAY), "until": null })),
            entry(serde_json::json!({ "watched": "notices", "from": ms(-9 * DAY), "until": ms(-8 * DAY) })),
            entry(serde_json::json!({ "watched": "the weather", "from": ms(0), "until": null })),
            entry(serde_json::json!({ "watched": "notices" })),
        ];
        let told = touching(&windows(&entries), at(-2 * DAY), at(5 * DAY));
        let expected = [
            BlindWindow { watched: Watched::Notices, from: at(0), until: Some(at(DAY)), reason: None },
            BlindWindow { watched: Watched::Feed(Provider::Ses), from: at(DAY), until: None, reason: None },
        ];
        assert_eq!(told, expected);
        let mut backwards = entries.to_vec();
        backwards.reverse();
        assert_eq!(touching(&windows(&backwards), at(-2 * DAY), at(5 * DAY)), expected);
    }

    #[test]
    fn overlapping_windows_count_once() {
        let window = |from: i64, until: Option<i64>| BlindWindow {
            watched: Watched::Notices,
            from: at(from),
            until: until.map(at),
            reason: None,
        };
        let share = |windows: &[BlindWindow]| blind_share(windows, at(0), at(10 * DAY));
        assert!((share(&[window(-DAY, Some(2 * DAY)), window(DAY, Some(3 * DAY))]) - 0.3).abs() < 1e-12);
        assert!((share(&[window(-DAY, Some(9 * DAY)), window(DAY, Some(3 * DAY))]) - 0.9).abs() < 1e-12);
        assert!((share(&[window(5 * DAY, None)]) - 0.5).abs() < 1e-12);
        assert!(share(&[]).abs() < 1e-12);
    }
}
