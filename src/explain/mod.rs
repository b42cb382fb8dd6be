//! Explanation: why is this mail refused, as far as anyone outside Apple can tell?
//!
//! Pure, and blind to order: the facts of an incident are counts, and the explanation is a function of them. It says what
//! share of the incident Apple's notices explain, with an interval; weighs ten hypotheses against each other and against
//! "none of these"; names one only where the evidence allows; and says what was not checked, what would tell, and what to do
//! meanwhile.

mod clues;
mod facts;
mod hypotheses;
mod notices;
mod population;
mod render;
mod signatures;

pub use clues::{Finding, NotChecked, NotCheckedReason};
pub use facts::{
    Arrivals, BlindReason, BlindWindow, Concentration, Control, DnsChange, IncidentFacts, LastDelivery, NoticeFacts,
    OneText, RelayMail, ReplyGroup, ReplyText, Watched,
};
pub use hypotheses::{Explanation, Hypothesis, Ranked, SafeAction, UNKNOWN_PRIOR, WEIGHTS_VERSION, Weighed, explain};
pub use notices::{Fisher, Interval, Lift, Revocation, ShareExplained, fisher_tail, lift, share_explained};
pub use population::{Jump, jump};
pub use render::{BLIND, Brief, blind_line, brief, render};
pub(crate) use render::{campaigns, percent, replies, shortened, unchecked};
pub use signatures::{Clue, Mark};
