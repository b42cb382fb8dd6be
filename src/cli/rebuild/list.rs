//! The list of what a relabelling changes, for people and for machines. Templates have no addresses, and none is listed.

use std::{
    collections::{BTreeMap, HashSet},
    io::{self, Write},
};

use serde::Serialize;
use serde_json::{Value, json};

use super::rules::replies;
use crate::{
    cli::text::{Safe, count},
    control::{Classified, RulesInForce},
    model::{Action, Cause, Fault, Timestamp},
};

/// Random ids of addresses that are kept at hand to count the different ones; beyond that they are not counted.
const MOST_ADDRESSES: usize = 1_000_000;
/// Changes that people see; machines see all.
const SHOWN: usize = 50;

/// One change: of which template, from what to what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Change {
    template: String,
    from_cause: Cause,
    from_rule: String,
    to_cause: Cause,
    to_rule: String,
    fault: Fault,
    action: Action,
    hard: bool,
}

/// How often it happens.
#[derive(Debug, Default)]
struct Tally {
    replies: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    addresses: HashSet<i64>,
}

/// For how many days replies have gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(super) struct LeftOut {
    /// Days whose deferrals have gone with their deliveries; checkpoints hold what was counted of them.
    pub(super) deferral_days: u64,
    /// Days whose refusals have gone as well.
    pub(super) refusal_days: u64,
}

/// Everything that changes.
#[derive(Debug, Default)]
pub(super) struct List {
    /// The rules that were asked.
    pub(super) rules: Option<RulesInForce>,
    /// Stored replies that were classified.
    pub(super) replies: u64,
    /// What can't be classified.
    pub(super) left_out: LeftOut,
    /// Whether a relabelling that was stopped half-way is there to be ended.
    pub(super) resumes: bool,
    changes: BTreeMap<Change, Tally>,
    /// The same cause by another version of the same rule, or with another confidence: rule, old version, new version.
    renewed: BTreeMap<(String, String, String), u64>,
    addresses: usize,
}

/// Whether it was hard: a cause that cannot be hard was not; of the others the journal does not tell.
fn was_hard(cause: Cause) -> Option<bool> {
    let may_be = matches!(cause, Cause::RecipientUnknown | Cause::RecipientMoved | Cause::DomainUnknown);
    (!may_be).then_some(false)
}

/// `file/name` and the version.
fn parts(rule: &str) -> (&str, &str) {
    rule.rsplit_once('@').unwrap_or((rule, ""))
}

impl List {
    /// How many stored replies get another verdict, or the same by another rule.
    pub(super) fn changed(&self) -> u64 {
        self.changes.values().map(|tally| tally.replies).sum::<u64>() + self.renewed.values().sum::<u64>()
    }

    /// Whether the different addresses are counted: not where there are too many.
    pub(super) const fn counts_addresses(&self) -> bool {
        self.addresses <= MOST_ADDRESSES
    }

    /// How many addresses at most are worth reading: one more than fit tells that there are too many.
    pub(super) fn room(&self) -> u32 {
        let room = if self.counts_addresses() { MOST_ADDRESSES + 1 - self.addresses } else { 0 };
        u32::try_from(room).unwrap_or(u32::MAX)
    }

    /// Adds what changes in a stretch, with the addresses: place in the list of changes, and random id.
    pub(super) fn add(&mut self, changed: &[Classified], addresses: &[(usize, i64)]) {
        // What was cut off is not known.
        let cut = !addresses.is_empty() && addresses.len() >= self.room() as usize;
        let mut met: BTreeMap<usize, Vec<i64>> = BTreeMap::new();
        for (at, address) in addresses {
            met.entry(*at).or_default().push(*address);
        }
        for (at, classified) in changed.iter().enumerate() {
            let (group, verdict) = (&classified.group, &classified.verdict);
            let (from_name, from_version) = parts(&classified.from_rule);
            if group.key.cause == verdict.cause && from_name == verdict.rule {
                let rule = (from_name.to_owned(), from_version.to_owned(), verdict.version.to_string());
                *self.renewed.entry(rule).or_default() += group.replies;
                continue;
            }
            let change = Change {
                template: classified.template.clone(),
                from_cause: group.key.cause,
                from_rule: classified.from_rule.clone(),
                to_cause: verdict.cause,
                to_rule: classified.rule(),
                fault: verdict.fault,
                action: verdict.action,
                hard: verdict.hard,
            };
            let tally = self.changes.entry(change).or_default();
            tally.replies += group.replies;
            tally.first = Some(tally.first.map_or(group.first, |first| first.min(group.first)));
            tally.last = tally.last.max(Some(group.last));
            let before = tally.addresses.len();
            tally.addresses.extend(met.remove(&at).unwrap_or_default());
            self.addresses += tally.addresses.len() - before;
        }
        if cut {
            self.addresses = MOST_ADDRESSES + 1;
        }
        if !self.counts_addresses() {
            self.changes.values_mut().for_each(|tally| tally.addresses = HashSet::new());
        }
    }

    /// Most frequent first.
    fn sorted(&self) -> Vec<(&Change, &Tally)> {
        let mut sorted: Vec<_> = self.changes.iter().collect();
        sorted.sort_by_key(|(_, tally)| std::cmp::Reverse(tally.replies));
        sorted
    }

    fn renewed(&self) -> Vec<(&(String, String, String), u64)> {
        let mut sorted: Vec<_> = self.renewed.iter().map(|(rule, replies)| (rule, *replies)).collect();
        sorted.sort_by_key(|(_, replies)| std::cmp::Reverse(*replies));
        sorted
    }

    /// One JSON object; `applied` has how many replies were changed and how many outcomes were folded.
    pub(super) fn json(&self, applied: Option<(u64, Option<u64>)>) -> serde_json::Result<Value> {
        let changes: Vec<Value> = self
            .sorted()
            .into_iter()
            .map(|(change, tally)| {
                let (from, to) = (parts(&change.from_rule), parts(&change.to_rule));
                let version = |text: &str| text.parse::<u32>().ok();
                json!({
                    "template": change.template,
                    "replies": tally.replies,
                    "addresses": self.counts_addresses().then_some(tally.addresses.len()),
                    "first": tally.first.map(|at| at.to_string()),
                    "last": tally.last.map(|at| at.to_string()),
                    "from": {
                        "cause": change.from_cause, "rule": from.0, "rule_version": version(from.1),
                        "usual_action": change.from_cause.action(), "hard": was_hard(change.from_cause),
                    },
                    "to": {
                        "cause": change.to_cause, "rule": to.0, "rule_version": version(to.1), "fault": change.fault,
                        "action": change.action, "hard": change.hard,
                    },
                })
            })
            .collect();
        let renewed: Vec<Value> = self
            .renewed()
            .into_iter()
            .map(|((rule, from, to), replies)| {
                json!({ "rule": rule, "from_version": from.parse::<u32>().ok(), "to_version": to.parse::<u32>().ok(),
                    "replies": replies })
            })
            .collect();
        let applied = applied.map(|(replies, folded)| json!({ "replies": replies, "folded": folded }));
        Ok(json!({
            "rules": self.rules, "replies": self.replies, "changed": self.changed(), "changes": changes,
            "renewed": renewed, "left_out": serde_json::to_value(self.left_out)?, "resumes": self.resumes,
            "applied": applied,
        }))
    }

    /// For people.
    pub(super) fn text(&self, out: &mut impl Write) -> io::Result<()> {
        if let Some(rules) = &self.rules {
            writeln!(out, "rules version {} ({})", rules.version, rules.fingerprint)?;
        }
        let (changed, all) = (self.changed(), replies(self.replies));
        if changed == 0 {
            writeln!(out, "all of {all} have the verdicts of these rules")?;
        } else {
            writeln!(out, "{changed} of {all} get another verdict, or the same by another rule")?;
        }
        let sorted = self.sorted();
        for (change, tally) in sorted.iter().take(SHOWN) {
            self.one(change, tally, out)?;
        }
        if let Some(rest) = sorted.get(SHOWN..).filter(|rest| !rest.is_empty()) {
            let more: u64 = rest.iter().map(|(_, tally)| tally.replies).sum();
            writeln!(
                out,
                "\nand {} of {}: --format json lists all",
                count(rest.len() as u64, "more change"),
                replies(more)
            )?;
        }
        let renewed = self.renewed();
        if !renewed.is_empty() {
            writeln!(out, "\nthe same cause by another version of the same rule, or surer or less sure:")?;
        }
        for ((rule, from, to), number) in renewed {
            writeln!(out, "  {number:>8}  {}@{} -> @{}", Safe(rule), Safe(from), Safe(to))?;
        }
        if self.left_out != LeftOut::default() {
            writeln!(
                out,
                "\nleft out, since the replies have gone: deferrals of {}, refusals of {}; what was counted of them stays",
                count(self.left_out.deferral_days, "day"),
                count(self.left_out.refusal_days, "day")
            )?;
        }
        if self.resumes {
            writeln!(out, "\na relabelling was stopped half-way: --apply ends it")?;
        }
        Ok(())
    }

    fn one(&self, change: &Change, tally: &Tally, out: &mut impl Write) -> io::Result<()> {
        write!(out, "\n{}", replies(tally.replies))?;
        if self.counts_addresses() {
            let addresses = tally.addresses.len();
            write!(out, ", {addresses} {}", if addresses == 1 { "address" } else { "addresses" })?;
        }
        if let (Some(first), Some(last)) = (tally.first, tally.last) {
            write!(out, ", {first} to {last}")?;
        }
        writeln!(out, "\n  {}", Safe(&change.template))?;
        writeln!(out, "  cause   {} -> {}", change.from_cause, change.to_cause)?;
        writeln!(out, "  rule    {} -> {}", Safe(&change.from_rule), Safe(&change.to_rule))?;
        let usual = change.from_cause.action();
        if usual != change.action {
            writeln!(out, "  action  {usual} (usual for the cause) -> {}", change.action)?;
        }
        let word = |hard: bool| if hard { "yes" } else { "no" };
        match was_hard(change.from_cause) {
            Some(hard) if hard == change.hard => Ok(()),
            Some(hard) => writeln!(out, "  hard    {} -> {}", word(hard), word(change.hard)),
            None => writeln!(out, "  hard    perhaps (not stored) -> {}", word(change.hard)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Destination, MxFamily, Verdict},
        store::{ReplyGroup, ReplyKey},
    };

    const T0: i64 = 1_786_251_600_000;

    fn classified(template: &str, from: (Cause, &str), to: (Cause, &str, u32, bool), replies: u64) -> Classified {
        let key = ReplyKey {
            stream: 1,
            destination: Destination::Relay,
            mx: MxFamily::AppleRelay,
            template: 1,
            label: None,
            cause: from.0,
            rule: 1,
            confidence: 90,
        };
        Classified {
            group: ReplyGroup {
                key,
                replies,
                first: Timestamp::from_millis(T0),
                last: Timestamp::from_millis(T0 + 3_600_000),
            },
            template: template.to_owned(),
            from_rule: from.1.to_owned(),
            verdict: Verdict {
                cause: to.0,
                fault: to.0.fault(),
                action: to.0.action(),
                hard: to.3,
                confidence: 0.9,
                rule: to.1.to_owned(),
                version: to.2,
                evidence: Vec::new(),
                delay: None,
            },
        }
    }

    fn text(list: &List) -> String {
        let mut out = Vec::new();
        list.text(&mut out).expect("written");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn the_list_for_people() {
        let undetermined = (Cause::Undetermined, "none/undetermined@40");
        let changed = [
            classified("550 frob \u{1b}", undetermined, (Cause::RelaySenderUnregistered, "own/frob", 1, false), 12),
            classified("550 gone", undetermined, (Cause::RecipientUnknown, "own/gone", 1, true), 1),
            classified(
                "550 <{recipient}>",
                (Cause::RecipientUnknown, "a/b@1"),
                (Cause::MailboxFull, "a/c", 2, false),
                30,
            ),
            classified("550 frob \u{1b}", undetermined, (Cause::RelaySenderUnregistered, "own/frob", 1, false), 8),
            classified("what", undetermined, (Cause::Undetermined, "none/undetermined", 42, false), 7),
        ];
        let mut list = List {
            rules: Some(RulesInForce { version: 42, fingerprint: "00ff00ff00ff00ff".to_owned() }),
            replies: 1_000,
            left_out: LeftOut { deferral_days: 46, refusal_days: 0 },
            resumes: true,
            ..List::default()
        };
        list.add(&changed, &[(0, 11), (0, 12), (3, 12), (3, 13), (1, 12)]);
        assert_eq!((list.changed(), list.addresses), (58, 4));
        insta::assert_snapshot!(text(&list));
        let json = list.json(Some((58, Some(9_000)))).expect("JSON");
        let told = &json["changes"];
        assert_eq!((&told[1]["replies"], &told[1]["addresses"]), (&json!(20), &json!(3)), "{json}");
        assert_eq!((&told[0]["from"]["hard"], &told[2]["to"]["hard"]), (&json!(null), &json!(true)), "{json}");
        assert_eq!(
            json["renewed"],
            json!([{ "rule": "none/undetermined", "from_version": 40, "to_version": 42, "replies": 7 }])
        );
        assert_eq!(json["left_out"], json!({ "deferral_days": 46, "refusal_days": 0 }));
        assert_eq!(json["applied"], json!({ "replies": 58, "folded": 9_000 }));
    }

    #[test]
    fn a_long_list_is_cut_for_people_and_whole_for_machines() {
        let mut list = List { replies: 60, ..List::default() };
        let to = (Cause::MailboxFull, "own/full", 1, false);
        let changed: Vec<Classified> = (0..60)
            .map(|n| classified(&format!("text {n:02}"), (Cause::Undetermined, "none/undetermined@1"), to, 1))
            .collect();
        list.add(&changed, &[]);
        let text = text(&list);
        assert!(text.contains("text 49") && !text.contains("text 50"), "{text}");
        assert!(text.contains("and 10 more changes of 10 stored replies: --format json lists all"), "{text}");
        assert_eq!(list.json(None).expect("JSON")["changes"].as_array().map(Vec::len), Some(60));
        list.addresses = MOST_ADDRESSES + 1;
        list.add(&[], &[]);
        assert!(list.json(None).expect("JSON")["changes"][0]["addresses"].is_null(), "no longer counted");
    }
}
