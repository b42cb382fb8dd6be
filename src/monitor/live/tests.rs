use proptest::prelude::*;

use super::*;
use crate::model::Provider;

const DAY: i64 = 20_000;

fn finest(domain: usize, envelope: usize, campaign: usize) -> StreamKey {
    StreamKey::finest(
        Provider::Ses,
        Some(format!("d{domain}.example")),
        Some(format!("e{envelope}.example")),
        (campaign > 0).then(|| format!("c{campaign}")),
    )
}

/// The counts by stream that a sequence of mails ends in, following every move.
fn counted(limits: Limits, mails: &[StreamKey]) -> (BTreeMap<StreamKey, u64>, Live) {
    let mut live = Live::new(limits);
    live.load(DAY, []);
    let mut counts: BTreeMap<StreamKey, u64> = BTreeMap::new();
    for mail in mails {
        for moved in live.meet(DAY, mail) {
            if let Some(count) = counts.remove(&moved) {
                *counts.entry(live.place(DAY, &moved)).or_default() += count;
            }
        }
        *counts.entry(live.place(DAY, mail)).or_default() += 1;
    }
    (counts, live)
}

fn limits(total: usize, domains: usize, envelopes: usize, campaigns: usize) -> Limits {
    Limits { total, domains, envelopes, campaigns }
}

#[test]
fn a_name_for_each_mail_takes_no_more_than_its_part_and_no_other_senders_place() {
    let limits = Limits::new(10_000);
    let quiet: Vec<_> = (0..50).map(|campaign| finest(1, 1, campaign)).collect();
    let mut mails: Vec<_> = (1..30_000).map(|campaign| finest(2, 1, campaign)).collect();
    mails.extend(quiet.iter().cloned());
    let (counts, live) = counted(limits, &mails);
    assert_eq!(counts.values().sum::<u64>(), 30_049, "every mail is counted once");
    assert!(quiet.iter().all(|stream| counts.get(stream) == Some(&1)), "the quiet sender keeps all its campaigns");
    let other = other(&finest(2, 1, 1), StreamLevel::Envelope);
    assert_eq!((counts.len(), counts.get(&other)), (50 + 100 + 1, Some(&(29_999 - 100))));
    assert_eq!(live.count(DAY), (150, 1));
    assert_eq!(other.to_string(), "ses/d2.example, envelope e1.example, other campaigns");
    assert!(other.is_other() && other.at(StreamLevel::Envelope).is_some_and(|parent| !parent.is_other()));
}

#[test]
fn ids_in_a_domain_fold_where_they_stand() {
    let (counts, _) = counted(limits(1_000, 10, 3, 5), &(0..200).map(|n| finest(1, n, 1)).collect::<Vec<_>>());
    assert_eq!(counts.len(), 4, "three envelope domains, and the others together");
    let (counts, _) = counted(limits(1_000, 10, 3, 5), &(0..200).map(|n| finest(n, 1, 1)).collect::<Vec<_>>());
    assert_eq!(counts.len(), 11);
    let other = counts.keys().find(|key| key.is_other()).expect("the others");
    assert_eq!(other.to_string(), "ses/other From domains, other envelope domains, other campaigns");
}

#[test]
fn below_the_cap_nothing_is_folded() {
    let mails: Vec<_> = (0..900).map(|n| finest(n % 30, n % 2, n)).collect();
    let (counts, live) = counted(Limits::new(100_000), &mails);
    assert_eq!((counts.len(), live.overflowed(DAY).count()), (900, 0));
}

proptest! {
    #[test]
    fn order_repeats_and_restarts_leave_no_trace(
        mails in prop::collection::vec((0_usize..6, 0_usize..5, 0_usize..12), 1..150),
        swaps in prop::collection::vec((0_usize..150, 0_usize..150), 0..60),
        restart in 0_usize..150,
    ) {
        // The total is out of reach: domains and envelopes that overflow would give its campaigns back.
        let limits = limits(10_000, 3, 2, 4);
        let mails: Vec<_> = mails.into_iter().map(|(d, e, c)| finest(d, e, c)).collect();
        let mut shuffled = mails.clone();
        for (one, other) in swaps {
            if one < shuffled.len() && other < shuffled.len() {
                shuffled.swap(one, other);
            }
        }
        let (counts, live) = counted(limits, &mails);
        let (other, again) = counted(limits, &shuffled);
        prop_assert_eq!(&counts, &other);
        prop_assert_eq!(live.count(DAY), again.count(DAY));
        prop_assert_eq!(counts.keys().filter(|key| !key.is_other()).count(), live.count(DAY).0);

        // A process that starts in between finds the day as the store has it.
        let (before, after) = mails.split_at(restart.min(mails.len()));
        let (mut counts_again, _) = counted(limits, before);
        let mut live = Live::new(limits);
        let stored: Vec<StreamKey> = counts_again.keys().cloned().collect();
        live.load(DAY, &stored);
        for mail in after {
            for moved in live.meet(DAY, mail) {
                if let Some(count) = counts_again.remove(&moved) {
                    *counts_again.entry(live.place(DAY, &moved)).or_default() += count;
                }
            }
            *counts_again.entry(live.place(DAY, mail)).or_default() += 1;
        }
        prop_assert_eq!(counts_again, counts);
    }

    #[test]
    fn the_total_holds_whatever_the_order_of_campaigns(
        mails in prop::collection::vec((0_usize..5, 1_usize..40), 1..200),
        seed in any::<u64>(),
    ) {
        let limits = limits(20, 10, 10, 16);
        let mails: Vec<_> = mails.into_iter().map(|(d, c)| finest(d, 1, c)).collect();
        let mut shuffled = mails.clone();
        shuffled.sort_by_key(|mail| digest(mail.campaign.as_deref()) ^ seed);
        let (counts, live) = counted(limits, &mails);
        prop_assert_eq!(&counts, &counted(limits, &shuffled).0);
        prop_assert!(live.count(DAY).0 <= 20);
        prop_assert_eq!(counts.values().sum::<u64>(), mails.len() as u64);
    }
}
