//! What a reply has and what a rule allows, in one word each: most rules are passed over by one comparison.

use super::{
    Facts,
    file::{CodePattern, RawRule},
};
use crate::model::{EnhancedCode, Provider};

/// One bit for each value of each condition. A reply has one bit of every condition, a rule all that it allows.
///
/// A rule whose gate shuts a reply out does not hold; one that lets it in is still to be asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gate(u64);

/// The bits of one condition: the first, and how many. Values beyond the last share it.
#[derive(Clone, Copy)]
struct Place {
    first: u32,
    count: u32,
}

const ROLE: Place = Place { first: 0, count: 4 };
const RECEIVER: Place = ROLE.next(4);
const MX: Place = RECEIVER.next(8);
const DESTINATION: Place = MX.next(4);
const PROVIDER: Place = DESTINATION.next(24);
const CLASS: Place = PROVIDER.next(6);
const SUBJECT: Place = CLASS.next(10);
const LABEL: Place = SUBJECT.next(2);

impl Place {
    /// The place behind this one.
    const fn next(self, count: u32) -> Self {
        Self { first: self.first + self.count, count }
    }

    fn bit<N: TryInto<u32>>(self, value: N) -> u64 {
        let last = self.count - 1;
        1 << (self.first + value.try_into().map_or(last, |value| value.min(last)))
    }

    /// The bits of all that are allowed; of nothing in particular, every bit.
    fn bits(self, allowed: impl Iterator<Item = u64>) -> u64 {
        match allowed.fold(0, |all, bit| all | bit) {
            0 => self.all(),
            bits => bits,
        }
    }

    const fn all(self) -> u64 {
        ((1 << self.count) - 1) << self.first
    }
}

/// The bit of an enhanced code, by its subject.
fn subject(code: Option<EnhancedCode>) -> u64 {
    SUBJECT.bit(code.map_or(0, |code| code.subject.saturating_add(1)))
}

impl Gate {
    pub(super) fn of_reply(facts: &Facts<'_>) -> Self {
        Self(
            ROLE.bit(facts.role.code())
                | RECEIVER.bit(facts.receiver.code())
                | MX.bit(facts.context.mx.code())
                | DESTINATION.bit(facts.context.destination.code())
                | PROVIDER.bit(facts.context.provider.map_or(0, Provider::code))
                | CLASS.bit(facts.class().unwrap_or(0))
                | subject(facts.head.enhanced)
                | LABEL.bit(u8::from(facts.label.is_some())),
        )
    }

    pub(super) fn of_rule(rule: &RawRule) -> Self {
        let providers = rule.provider.iter().map(|known| known.0.map_or(0, Provider::code));
        let classes = rule.code.iter().map(|pattern| match pattern {
            CodePattern::Exact(code) => code / 100,
            CodePattern::Class(class) => *class,
            CodePattern::None => 0,
        });
        let subjects = rule.enhanced.iter().map(|pattern| match (pattern.none, pattern.subject) {
            (true, _) => subject(None),
            (false, None) => SUBJECT.all(),
            (false, Some(number)) => subject(Some(EnhancedCode { class: 5, subject: number, detail: 0 })),
        });
        Self(
            ROLE.bits(rule.role.iter().map(|role| ROLE.bit(role.code())))
                | RECEIVER.bits(rule.receiver.iter().map(|receiver| RECEIVER.bit(receiver.code())))
                | MX.bits(rule.mx.iter().map(|mx| MX.bit(mx.code())))
                | DESTINATION.bits(rule.destination.iter().map(|destination| DESTINATION.bit(destination.code())))
                | PROVIDER.bits(providers.map(|provider| PROVIDER.bit(provider)))
                | CLASS.bits(classes.map(|class| CLASS.bit(class)))
                | SUBJECT.bits(subjects)
                | LABEL.bits(rule.label.first().map(|_| LABEL.bit(1_u8)).into_iter()),
        )
    }

    /// Whether a rule with this gate can hold for the reply.
    pub(super) const fn lets_in(self, reply: Self) -> bool {
        reply.0 & !self.0 == 0
    }
}
