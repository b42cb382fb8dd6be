//! The reasons of advice, in words and by name.

use std::fmt;

use serde::{Serialize, Serializer, ser::SerializeStruct as _};

use crate::{
    incident::OwnWord,
    model::{Cause, StreamKey, Timestamp, counted, verb},
};

/// One reason of an advice: a sentence for people, a name for machines. It names no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// No refusal of it is known.
    NoRefusal,
    /// A delivery came after all refusals.
    DeliveredSince {
        /// When.
        at: Timestamp,
    },
    /// Forwarding was enabled after all refusals.
    EnabledSince {
        /// When.
        at: Timestamp,
    },
    /// Two refusals say that it is dead.
    DeadTwice {
        /// The first one that counts.
        first: Timestamp,
        /// The last one.
        last: Timestamp,
    },
    /// The path delivered within 72 hours of both, and nothing else speaks against them.
    PathDelivers,
    /// Only refusals within a day count so far.
    SecondMissing {
        /// The first one that counts.
        first: Timestamp,
        /// When a second one counts at the earliest; `None` where any from now on does.
        earliest: Option<Timestamp>,
    },
    /// Two refusals lie a day apart, but their messages do not.
    SentTogether {
        /// The first one that counts.
        first: Timestamp,
        /// The last one.
        last: Timestamp,
    },
    /// Nothing that the path sent after the first refusal is known to have been delivered.
    NoDeliverySince {
        /// The first one that counts.
        first: Timestamp,
    },
    /// Others were refused by the path since its last delivery, up to now.
    CandidateNow {
        /// The path.
        path: StreamKey,
        /// How many other messages.
        others: u64,
    },
    /// No refusal counts.
    NoneCounts {
        /// How many say that it is dead.
        refusals: u64,
    },
    /// A refusal counts for nothing.
    CountsNot {
        /// When the address was refused.
        at: Timestamp,
        /// Why it counts for nothing.
        void: Void,
    },
    /// So many older ones count for nothing either.
    MoreCountNot {
        /// How many.
        refusals: u64,
    },
    /// An incident that goes on has to do with the path.
    Incident {
        /// Its number.
        incident: i64,
        /// Whether silence about it proves nothing.
        masked: bool,
        /// The stream that it is about.
        scope: StreamKey,
        /// Its onset.
        onset: Timestamp,
    },
    /// The latest refusal says something else than that the address is dead.
    LatestSays {
        /// When the address was refused.
        at: Timestamp,
        /// What the reply means; `None` without a reply.
        cause: Option<Cause>,
    },
    /// The rules have changed since the latest refusal, and give its reply another meaning.
    RulesChanged {
        /// When the address was refused.
        at: Timestamp,
        /// What the reply meant then.
        cause: Cause,
    },
    /// The provider has suppressed the address itself.
    RemovedByProvider {
        /// When it last said so.
        at: Timestamp,
    },
    /// The user has said something that is to be obeyed, whatever the replies say.
    OwnWord(OwnWord),
}

/// Why a refusal that says that the address is dead counts for nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Void {
    /// It falls into an incident that is over.
    Incident {
        /// The incident's number.
        incident: i64,
    },
    /// The monitor has not come so far.
    NotJudged,
    /// No delivery by its path is known within 72 hours of it.
    NoDelivery {
        /// The path.
        path: StreamKey,
        /// Whether a feed tells of anything but refusals.
        exposed: bool,
    },
    /// What its path delivered then has outlived its retention.
    NotKnown {
        /// The path.
        path: StreamKey,
    },
    /// A delivery after it may have been forgotten.
    Forgotten,
    /// The address was also refused by somebody else's fault, and nothing was delivered by the path between.
    OthersFault {
        /// The path.
        path: StreamKey,
        /// When it was refused so.
        at: Timestamp,
        /// What that reply means.
        cause: Cause,
    },
    /// Others were refused around it, and nothing was delivered between.
    Candidate {
        /// The path.
        path: StreamKey,
        /// How many other messages.
        others: u64,
    },
}

impl Void {
    /// Whether it may yet turn out to be part of an incident.
    pub(super) const fn is_doubt(&self) -> bool {
        matches!(self, Self::NotJudged | Self::OthersFault { .. } | Self::Candidate { .. })
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Incident { .. } => "in-incident",
            Self::NotJudged => "not-judged",
            Self::NoDelivery { .. } => "no-delivery-by-path",
            Self::NotKnown { .. } => "path-not-known-any-more",
            Self::Forgotten => "delivery-forgotten",
            Self::OthersFault { .. } => "others-fault",
            Self::Candidate { .. } => "candidate-incident",
        }
    }
}

impl Reason {
    /// Its name for machines. Names are stable; more may come.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NoRefusal => "no-refusal",
            Self::DeliveredSince { .. } => "delivered-since",
            Self::EnabledSince { .. } => "enabled-since",
            Self::DeadTwice { .. } => "dead-twice",
            Self::PathDelivers => "path-delivers",
            Self::SecondMissing { .. } => "second-refusal-missing",
            Self::SentTogether { .. } => "sent-together",
            Self::NoDeliverySince { .. } => "no-delivery-since",
            Self::CandidateNow { .. } => "candidate-now",
            Self::NoneCounts { .. } => "no-refusal-counts",
            Self::CountsNot { void, .. } => void.name(),
            Self::MoreCountNot { .. } => "more-do-not-count",
            Self::Incident { masked: false, .. } => "incident-open",
            Self::Incident { masked: true, .. } => "incident-masked",
            Self::LatestSays { .. } => "latest-refusal",
            Self::RulesChanged { .. } => "rules-changed",
            Self::RemovedByProvider { .. } => "removed-by-provider",
            Self::OwnWord(word) => word.as_str(),
        }
    }
}

impl fmt::Display for Void {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incident { incident } => write!(f, "it falls into incident {incident}"),
            Self::NotJudged => f.write_str("the monitor has not come so far"),
            Self::NoDelivery { path, exposed: true } => {
                write!(
                    f,
                    "{path} is not known to have delivered to any relay address within 72 h of it: the sender may be at fault"
                )
            }
            Self::NoDelivery { path, exposed: false } => write!(
                f,
                "the feed of {path} reports refusals only, so that no delivery within 72 h of it is ever known: the sender may be at fault"
            ),
            Self::NotKnown { path } => write!(
                f,
                "what {path} delivered within 72 h of it is no longer known: it is older than the counts that are kept"
            ),
            Self::Forgotten => f.write_str(
                "the latest known delivery was refused too, and an earlier one, after this refusal, may be no longer at hand",
            ),
            Self::OthersFault { path, at, cause } => write!(
                f,
                "what {path} sent to it was refused at {at} as {cause}, which is not the address's fault, and nothing is known to \
                 have been delivered between: the same fault may lie behind both"
            ),
            Self::Candidate { path, others } => {
                let (messages, were) = (counted(*others, "other message"), verb(*others, "was", "were"));
                write!(
                    f,
                    "{messages} by {path} {were} refused around it and none was delivered between: an incident may begin there"
                )
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRefusal => f.write_str("no refusal of it is known"),
            Self::DeliveredSince { at } => {
                write!(f, "mail was delivered at {at}, after every refusal: none of them counts any more")
            }
            Self::EnabledSince { at } => {
                write!(f, "forwarding was enabled at {at}, after every refusal: none of them counts any more")
            }
            Self::DeadTwice { first, last } => {
                write!(f, "refused as dead at {first} and again at {last}, at least 24 h apart")
            }
            Self::PathDelivers => f.write_str(
                "the path of each delivered to relay addresses within 72 h of it, and no incident has to do with it",
            ),
            Self::SecondMissing { first, earliest } => {
                write!(f, "refused as dead at {first}; a second such refusal, at least 24 h later, is missing: ")?;
                match earliest {
                    Some(earliest) => write!(f, "{earliest} at the earliest"),
                    None => f.write_str("any from now on will do"),
                }
            }
            Self::SentTogether { first, last } => write!(
                f,
                "refused as dead at {first} and at {last}, but the second message may have been sent within 24 h of the first: \
                 one that was sent later is missing"
            ),
            Self::NoDeliverySince { first } => write!(
                f,
                "no relay mail that its path sent after the refusal at {first} is known to have been delivered: the sender may \
                 have lost its registration"
            ),
            Self::CandidateNow { path, others } => {
                let (messages, were) = (counted(*others, "other message"), verb(*others, "was", "were"));
                write!(
                    f,
                    "{messages} by {path} {were} refused since its last delivery: an incident may begin there, suppress nothing yet"
                )
            }
            Self::NoneCounts { refusals: 1 } => f.write_str("refused as dead once, and that does not count"),
            Self::NoneCounts { refusals } => write!(f, "refused as dead {refusals} times, and none of them counts"),
            Self::CountsNot { at, void } => write!(f, "the refusal at {at} does not count: {void}"),
            Self::MoreCountNot { refusals } => {
                let (older, verb) = (counted(*refusals, "older refusal"), verb(*refusals, "does", "do"));
                write!(f, "{older} {verb} not count either")
            }
            Self::Incident { incident, masked: false, scope, onset } => {
                write!(f, "incident {incident} on {scope} is open since {onset}: suppress nothing while it lasts")
            }
            Self::Incident { incident, masked: true, scope, onset } => write!(
                f,
                "incident {incident} on {scope} since {onset} is masked: silence does not prove that it is over; where you know that \
                 it is: relaywatch incident close {incident} --reason \"why\""
            ),
            Self::LatestSays { at, cause: Some(cause) } => {
                write!(
                    f,
                    "the words of the latest refusal, at {at}, do not prove, by today's rules, that the address is dead: {cause}"
                )
            }
            Self::LatestSays { at, cause: None } => write!(f, "the latest refusal, at {at}, came without a reply"),
            Self::RulesChanged { at, cause } => {
                write!(f, "the latest refusal, at {at}, was {cause}; today's rules give its reply another meaning")
            }
            Self::RemovedByProvider { at } => write!(
                f,
                "the provider has suppressed it itself ({at}): nothing is tried any more, so that silence proves nothing, until \
                 it is taken off the provider's suppression list"
            ),
            Self::OwnWord(word) => write!(
                f,
                "its user's own word goes before this advice: {}",
                match word {
                    OwnWord::Deleted => "the Apple Account is deleted",
                    OwnWord::Revoked => "consent is revoked",
                    OwnWord::Disabled => "forwarding is switched off",
                    OwnWord::Complained => "a complaint",
                    OwnWord::Unsubscribed => "unsubscribed",
                }
            ),
        }
    }
}

impl Serialize for Reason {
    /// Its name and its sentence.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut reason = serializer.serialize_struct("Reason", 2)?;
        reason.serialize_field("reason", self.name())?;
        reason.serialize_field("text", &self.to_string())?;
        reason.end()
    }
}
