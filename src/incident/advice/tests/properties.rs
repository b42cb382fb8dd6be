//! What holds of whatever is known.

use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};

use super::*;

fn any_refusal() -> impl Strategy<Value = Refusal> {
    let cause = prop::sample::select(vec![
        Cause::RecipientUnknown,
        Cause::RecipientUnknown,
        Cause::RecipientUnknown,
        Cause::RelayForwardingDisabled,
        Cause::RelaySenderUnregistered,
        Cause::MailboxFull,
    ]);
    let queued = prop::sample::select(vec![0, 0, 0, 1, 13, 30]);
    (0_i64..6, 0_i64..11, cause, any::<[bool; 3]>(), 0_u8..10, any::<bool>(), queued).prop_map(
        |(message, half_day, cause, [hard, permanent, second], rare, exposed, queued)| Refusal {
            bin: at(hours(12 * half_day - queued)).bin(),
            approximate: rare == 7,
            path: path(if second { "a.example" } else { "b.example" }),
            exposed,
            class: if permanent || rare > 1 { FailureClass::Permanent } else { FailureClass::Transient },
            says: match rare {
                4 => Says::Nothing,
                5 => Says::Changed(cause),
                _ => verdict(cause, cause == Cause::RecipientUnknown && hard),
            },
            judged: rare != 6,
            ..dead(message, hours(12 * half_day))
        },
    )
}

fn any_surroundings() -> impl Strategy<Value = Surroundings> {
    let bins = || prop::collection::btree_map(-100_i64..220, (0_i64..2, 0_i64..3), 0..40);
    let state = prop::sample::select(IncidentState::ALL.to_vec());
    let label = prop::sample::select(vec![None, Some(Label::Real), Some(Label::False)]);
    let trouble =
        (state, label, -50_i64..150, 0_i64..60, any::<bool>()).prop_map(|(state, label, onset, long, here)| {
            let scope = path(if here { "a.example" } else { "c.example" });
            Trouble { label, ..trouble(state, scope, hours(onset), Some(hours(onset + long))) }
        });
    (bins(), bins(), prop::collection::vec(trouble, 0..2)).prop_map(|(a, b, troubles)| {
        let mail = |bins: BTreeMap<i64, (i64, i64)>| -> BTreeMap<Bin, Mail> {
            bins.into_iter()
                .map(|(hour, (delivered, refused))| (at(hours(hour)).bin(), Mail { delivered, refused }))
                .collect()
        };
        Surroundings {
            mail: BTreeMap::from([(path("a.example"), mail(a)), (path("b.example"), mail(b))]),
            troubles,
            ..nothing()
        }
    })
}

fn any_known() -> impl Strategy<Value = Known> {
    let hour = || prop::option::weighted(0.3, -10_i64..100);
    let refusals = prop::collection::vec(any_refusal(), 0..12);
    (refusals, hour(), hour(), any::<bool>()).prop_map(|(mut refusals, delivered, forgotten, sure)| {
        // In half of the cases most refusals are as dead, so that there is something to suppress.
        for refusal in refusals.iter_mut().filter(|refusal| sure && refusal.message != 0) {
            refusal.says = verdict(Cause::RecipientUnknown, true);
            refusal.class = FailureClass::Permanent;
            refusal.judged = true;
        }
        Known {
            refusals,
            delivered_at: delivered.map(|hour| at(hours(hour))),
            forgotten_before: forgotten.map(|hour| at(hours(hour))),
            ..Known::default()
        }
    })
}

/// Whether the rule holds of two refused messages, word for word.
fn is_proof(known: &Known, around: &Surroundings, first: &Message<'_>, last: &Message<'_>) -> bool {
    let delivered = |path: &StreamKey| -> Vec<i64> {
        let mail = around.mail.get(path).into_iter().flatten();
        mail.filter(|(_, mail)| mail.delivered > 0).map(|(bin, _)| bin.0).collect()
    };
    let near = |one: &Message<'_>, bin: i64| (bin - one.bin.0).abs() <= 864;
    let counts = |one: &Message<'_>| {
        let delivered = delivered(one.path);
        let faults = known.refusals.iter().filter(|fault| fault.path == *one.path && fault.others_fault().is_some());
        let mended = |fault: &Refusal| {
            delivered.iter().any(|bin| {
                *bin > fault.at.bin().0 && *bin <= one.at.bin().0 || *bin >= one.at.bin().0 && *bin < fault.bin.0
            })
        };
        one.is_dead
            && one.judged
            && known.forgotten_before.is_none_or(|before| one.at >= before)
            && delivered.iter().any(|bin| near(one, *bin))
            && faults.into_iter().all(mended)
    };
    let delivers_since = |path: &StreamKey| {
        let by_path = [first, last].into_iter().filter(|one| one.path == path);
        by_path.into_iter().any(|one| delivered(path).iter().any(|bin| near(one, *bin) && *bin > first.at.bin().0))
    };
    counts(first)
        && counts(last)
        && last.at.millis_since(first.at) >= hours(24)
        && last.sent_from - first.bin.0 >= 288
        && delivers_since(first.path)
        && delivers_since(last.path)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_order_and_any_duplicates_end_in_the_same_advice(
        known in any_known(),
        around in any_surroundings(),
        shift in any::<prop::sample::Index>(),
        again in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let of = |refusals: Vec<Refusal>| advise(&Known { refusals, ..known.clone() }, &around);
        let refusals = known.refusals.clone();
        let reference = of(refusals.clone());
        prop_assert!(!reference.reasons.is_empty());
        let mut shuffled = refusals.clone();
        if !refusals.is_empty() {
            shuffled.extend(again.iter().map(|index| refusals[index.index(refusals.len())].clone()));
            let by = shift.index(shuffled.len());
            shuffled.rotate_left(by);
        }
        shuffled.reverse();
        prop_assert_eq!(of(shuffled), reference);
    }

    #[test]
    fn what_is_suppressed_keeps_every_rule(known in any_known(), around in any_surroundings()) {
        let advice = advise(&known, &around);
        if advice.action == Action::Suppress {
            let standing = known.standing();
            let is_proof = |first: &Message<'_>| standing.iter().any(|last| is_proof(&known, &around, first, last));
            prop_assert!(standing.iter().any(is_proof));
            let refusals = &known.refusals;
            let all_in = |scope: &StreamKey| refusals.iter().all(|one| one.path == *scope);
            let open = |trouble: &Trouble| trouble.state == IncidentState::Open && all_in(&trouble.scope);
            prop_assert!(!around.troubles.iter().any(open));
        }
    }

    #[test]
    fn mail_that_lies_further_off_changes_nothing_but_for_a_path_that_falls_silent(
        known in any_known(),
        around in any_surroundings(),
        far in prop::collection::vec((any::<bool>(), 0_i64..5_000, 0_i64..3, 0_i64..3), 0..9),
    ) {
        let before = advise(&known, &around);
        let with = |wanted: bool| {
            let mut more = around.clone();
            for &(late, bins, delivered, refused) in far.iter().filter(|(late, ..)| *late == wanted) {
                // Further off than 72 hours of all refusals, the earliest of which was sent 30 hours before.
                let bin = if late { at(hours(120)).bin().0 + 865 + bins } else { at(hours(-30)).bin().0 - 865 - bins };
                for mail in more.mail.values_mut() {
                    mail.insert(Bin(bin), Mail { delivered, refused });
                }
            }
            advise(&known, &more)
        };
        prop_assert_eq!(with(false), before.clone());
        let late = with(true);
        let is_now = |reason: &Reason| matches!(reason, Reason::CandidateNow { .. });
        if before.reasons.iter().chain(&late.reasons).any(is_now) {
            let either = |advice: &Advice| matches!(advice.action, Action::Suppress | Action::Hold);
            prop_assert!(either(&before) && either(&late));
        } else {
            prop_assert_eq!(late, before);
        }
    }
}

#[test]
fn the_cases_hold_enough_that_is_suppressed() {
    let mut runner = TestRunner::deterministic();
    let cases = (any_known(), any_surroundings());
    let mut suppressed = 0;
    for _ in 0..2_000 {
        let (known, around) = cases.new_tree(&mut runner).expect("a case").current();
        suppressed += u32::from(advise(&known, &around).action == Action::Suppress);
    }
    assert!(suppressed >= 20, "{suppressed} of 2,000 cases");
}
