//! What a reply means: reply → cause, fault, action, with the evidence, a confidence and the rule that decided. Pure.
//!
//! Two steps. [`template()`] takes a reply's text and the two sides of the message, and makes a line in which every address,
//! id and host is its role; what is stored of a reply is this line. [`Rules::classify`] takes the line and the
//! [`ReplyContext`](crate::model::ReplyContext) and nothing else, so that the same rules give every stored reply the verdict
//! that it had when it came in.

mod context;
mod new_words;
mod role;
mod rules;
mod template;

pub(crate) use context::is_within;
pub use context::{Receiver, context, destination, host_that_said, mx_family};
pub use new_words::{apple_receivers, is_guess, is_new_words};
pub use role::Parties;
pub use rules::{Considered, Explanation, LintFinding, LintProblem, NO_RULE, Outcome, Rules, RulesError, RulesErrors};
pub(crate) use template::begins_with_role;
pub use template::{MAX_TEMPLATE_BYTES, Template, template, template_of};
