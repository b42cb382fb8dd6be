//! From the mail that is sent to the reports of it.

use std::sync::Arc;

use rand::Rng;

use super::{
    Batch, Outcome, Post, Sender, What,
    chance::{exponential, happens, index, lognormal, millis, uniform},
    people::{DROPPED_AFTER_MILLIS, User, local_part},
    traffic::Mail,
    trouble::Trouble,
};
use crate::model::{EventKind, Exposure, Notice, Provider, Timestamp};

/// How a provider's reports come.
#[derive(Debug, Clone, PartialEq)]
pub struct Reporting {
    /// The share of reports that come hours late.
    pub late: f64,
    /// The share of posts that come twice.
    pub repeated: f64,
    /// The share of deliveries that are never reported.
    pub missing: f64,
    /// Outcomes in one batch at most.
    pub batch_events: usize,
    /// How long a batch is filled, in milliseconds.
    pub batch_millis: i64,
    /// Mail to recipients that are no relay addresses, for each mail to a relay address: the control group.
    pub control: f64,
}

impl Default for Reporting {
    fn default() -> Self {
        Self { late: 0.01, repeated: 0.02, missing: 0.01, batch_events: 200, batch_millis: 60_000, control: 0.2 }
    }
}

/// What came of the mail.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// Outcomes with the time at which they are reported; in no order.
    pub(super) outcomes: Vec<(Timestamp, Outcome)>,
    /// When relay mail was sent, in order.
    pub(super) sent: Vec<Timestamp>,
    /// Relay mail refused: when it was sent, and whether its user had turned away.
    pub(super) refused: Vec<(Timestamp, bool)>,
}

/// Sends `mails`, which are in order, and gives what the provider reports of them.
pub(super) fn send(
    rng: &mut dyn Rng,
    sender: &Arc<Sender>,
    users: &mut [User],
    mails: &[Mail],
    trouble: Trouble,
    reporting: &Reporting,
) -> Run {
    let others = others(rng, users.len() / 4 + 8);
    let mut run = Run::default();
    let mut number: u64 = 0;
    for mail in mails {
        if happens(rng, reporting.control) {
            number += 1;
            let recipient = others.get(index(rng, others.len())).cloned().unwrap_or_else(|| "x@example.com".into());
            let refused = happens(rng, mail.rate);
            let reply = refused.then(|| control_reply(&recipient));
            report(rng, sender, mail, number, (&recipient, refused), reply, reporting, &mut run);
        }
        let Some(user) = users.get_mut(mail.user) else { continue };
        if user.suppressed_at.is_some_and(|at| mail.at.millis_since(at) > DROPPED_AFTER_MILLIS) {
            continue;
        }
        number += 1;
        let recipient = Arc::clone(&user.account.address);
        run.sent.push(mail.at);
        if user.suppressed_at.is_some_and(|at| at <= mail.at) {
            suppressed(rng, sender, mail, number, &recipient, &mut run);
            continue;
        }
        let turned = user.turned_at.is_some_and(|at| at <= mail.at);
        let reply = match trouble {
            Trouble::SenderRefused { from } if mail.at >= from => {
                Some(format!("550 5.1.1 <{}>: unauthorized sender", sender.return_path(number)))
            }
            _ if user.dead_from.is_some_and(|at| at <= mail.at) || happens(rng, mail.rate) => {
                Some(format!("550 5.1.1 <{recipient}>: user not found (in reply to RCPT TO command)"))
            }
            _ => None,
        };
        let refused = reply.is_some();
        if refused {
            run.refused.push((mail.at, turned));
        }
        let at = report(rng, sender, mail, number, (&recipient, refused), reply, reporting, &mut run);
        if refused {
            user.suppressed_at = Some(at);
        }
    }
    run
}

/// Recipients that are no relay addresses: a third of them on a domain that can hold relay addresses.
fn others(rng: &mut dyn Rng, count: usize) -> Vec<Arc<str>> {
    let domains = ["icloud.com", "example.com", "example.net"];
    (0..count)
        .zip(domains.into_iter().cycle())
        .map(|(_, domain)| format!("{}@{domain}", local_part(rng)).into())
        .collect()
}

fn control_reply(recipient: &str) -> String {
    if recipient.ends_with("@icloud.com") {
        format!("550 5.1.1 <{recipient}>: inactive email address (in reply to RCPT TO command)")
    } else {
        format!("550 5.1.1 <{recipient}>: Recipient address rejected: User unknown")
    }
}

/// Reports a mail that was tried, as far as the provider is told to; gives when its outcome came about.
#[expect(clippy::too_many_arguments, reason = "one mail with all that becomes of it")]
fn report(
    rng: &mut dyn Rng,
    sender: &Arc<Sender>,
    mail: &Mail,
    number: u64,
    (recipient, refused): (&Arc<str>, bool),
    reply: Option<String>,
    reporting: &Reporting,
    run: &mut Run,
) -> Timestamp {
    let outcome = |kind, at, reply| Outcome {
        sender: Arc::clone(sender),
        mail: number,
        kind,
        at,
        sent_at: mail.at,
        recipient: Arc::clone(recipient),
        campaign: mail.campaign.clone(),
        reply,
    };
    let mut put = |rng: &mut dyn Rng, outcome: Outcome| {
        let late = if happens(rng, reporting.late) { uniform(rng, 3_600.0, 12.0 * 3_600.0) } else { 0.0 };
        let reported_at = outcome.at.plus_millis(millis(exponential(rng, 5.0) + late));
        run.outcomes.push((reported_at, outcome));
    };
    if sender.exposure == Exposure::Sends {
        put(rng, outcome(EventKind::Sent, mail.at, None));
    }
    let median = if refused { 20.0 } else { 3.0 };
    let at = mail.at.plus_millis(millis(lognormal(rng, median, 0.7)).max(50));
    if refused {
        put(rng, outcome(EventKind::Refused, at, reply));
    } else if sender.exposure != Exposure::None && !happens(rng, reporting.missing) {
        put(rng, outcome(EventKind::Delivered, at, None));
    }
    at
}

/// Reports a mail that the provider did not try, since it has suppressed the address.
fn suppressed(rng: &mut dyn Rng, sender: &Arc<Sender>, mail: &Mail, number: u64, recipient: &Arc<str>, run: &mut Run) {
    let reply = match sender.provider {
        Provider::Ses => {
            "Amazon SES did not send the message to this address because it is on the suppression list for your account. For more information about removing addresses from the suppression list, see the Amazon SES Developer Guide."
        }
        _ => "554 5.7.1 Recipient address was suppressed due to system policy",
    };
    let at = mail.at.plus_millis(millis(exponential(rng, 1.0)).max(20));
    let outcome = Outcome {
        sender: Arc::clone(sender),
        mail: number,
        kind: EventKind::SuppressedByProvider,
        at,
        sent_at: mail.at,
        recipient: Arc::clone(recipient),
        campaign: mail.campaign.clone(),
        reply: Some(reply.to_owned()),
    };
    run.outcomes.push((at.plus_millis(millis(exponential(rng, 5.0))), outcome));
}

/// The posts in which a provider reports `outcomes`, in order, some of them twice.
pub(super) fn posts(
    rng: &mut dyn Rng,
    mut outcomes: Vec<(Timestamp, Outcome)>,
    notices: Vec<(Timestamp, Notice)>,
    reporting: &Reporting,
) -> Vec<Post> {
    outcomes.sort_by(|(a, x), (b, y)| (a, x.mail, x.kind).cmp(&(b, y.mail, y.kind)));
    let mut posts: Vec<Post> = Vec::new();
    let mut open: Vec<Outcome> = Vec::new();
    let mut closes_at = Timestamp::EPOCH;
    let mut number = 0;
    let mut close = |at: Timestamp, outcomes: &mut Vec<Outcome>, posts: &mut Vec<Post>| {
        let outcomes = std::mem::take(outcomes);
        let Some(provider) = outcomes.first().map(|outcome| outcome.sender.provider) else { return };
        number += 1;
        let batch = Batch { number, outcomes };
        let what = if provider == Provider::Braze { What::Braze(batch) } else { What::Sparkpost(batch) };
        posts.push(Post { at, what, repeated: false });
    };
    let mut envelope = 0;
    for (at, outcome) in outcomes {
        if outcome.sender.provider == Provider::Ses {
            envelope += 1;
            let what = What::Ses { number: envelope, published_at: at, outcome };
            posts.push(Post { at, what, repeated: false });
            continue;
        }
        if !open.is_empty() && at > closes_at {
            close(closes_at, &mut open, &mut posts);
        }
        if open.is_empty() {
            closes_at = at.plus_millis(reporting.batch_millis);
        }
        open.push(outcome);
        if open.len() >= reporting.batch_events {
            close(at, &mut open, &mut posts);
        }
    }
    close(closes_at, &mut open, &mut posts);
    posts.extend(notices.into_iter().map(|(at, notice)| Post { at, what: What::Notice(notice), repeated: false }));
    let repeats: Vec<Post> = posts
        .iter()
        .filter(|_| happens(rng, reporting.repeated))
        .cloned()
        .collect::<Vec<_>>()
        .into_iter()
        .map(|post| Post { at: post.at.plus_millis(millis(exponential(rng, 60.0)).max(1)), repeated: true, ..post })
        .collect();
    posts.extend(repeats);
    posts.sort_by_key(|post| post.at);
    posts
}
