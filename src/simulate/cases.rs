//! The demo's cases: weeks of ordinary mail, then what is to be found, or what is to be passed over.

use std::sync::Arc;

use rand::Rng;

use super::{
    Post, Reporting, Sender, TrueCause, Truth, What,
    chance::{exponential, float, happens, millis},
    people::{Turning, User, accounts, turn, turn_ordinarily, users},
    run::{posts, send},
    traffic::{Mail, Ordinary, campaign, campaigns, transactional},
    trouble::Trouble,
};
use crate::model::{DAY_MILLIS, Exposure, HOUR_MILLIS, MINUTE_MILLIS, Notice, NoticeKind, Provider, Timestamp, words};

words! {
    /// What is simulated.
    pub enum Case {
        /// Apple switches nearly all addresses off; seen through Braze.
        PurgeBraze = 1, "purge-braze";
        /// Apple switches nearly all addresses off; seen through SparkPost.
        PurgeSparkpost = 2, "purge-sparkpost";
        /// Apple takes nothing from the sender any more; seen through SES.
        UnauthorizedSender = 3, "unauthorized-sender";
        /// Many users revoke their consent, and their mail bounces.
        Revocations = 4, "revocations";
        /// A decoy: an hour of webhooks comes again.
        Replay = 5, "replay";
        /// A decoy: a feed that tells of bounces and of nothing else.
        BouncesOnly = 6, "bounces-only";
    }
}

impl Case {
    /// Why mail is refused; none where nothing is wrong.
    #[must_use]
    pub const fn cause(self) -> Option<TrueCause> {
        match self {
            Self::PurgeBraze | Self::PurgeSparkpost => Some(TrueCause::Purge),
            Self::UnauthorizedSender => Some(TrueCause::SenderRefused),
            Self::Revocations => Some(TrueCause::Revoked),
            Self::Replay | Self::BouncesOnly => None,
        }
    }

    /// The moment that it's about: the onset, or the decoy.
    const fn turning_point(self) -> Timestamp {
        match self {
            // 2025-08-09T06:00:00Z
            Self::PurgeBraze | Self::PurgeSparkpost => Timestamp::from_seconds(1_754_719_200),
            // 2025-08-20T09:00:00Z
            Self::UnauthorizedSender => Timestamp::from_seconds(1_755_680_400),
            // 2025-08-14T14:00:00Z
            Self::Revocations => Timestamp::from_seconds(1_755_180_000),
            // 2025-08-13T15:00:00Z
            Self::Replay | Self::BouncesOnly => Timestamp::from_seconds(1_755_097_200),
        }
    }

    fn sender(self) -> Sender {
        let (provider, exposure) = match self {
            Self::PurgeBraze => (Provider::Braze, Exposure::Sends),
            Self::PurgeSparkpost | Self::Revocations | Self::Replay => (Provider::Sparkpost, Exposure::Outcomes),
            Self::UnauthorizedSender => (Provider::Ses, Exposure::Outcomes),
            Self::BouncesOnly => (Provider::Ses, Exposure::None),
        };
        let (name, local, from_domain, envelope_domain) = match self {
            Self::UnauthorizedSender => ("Example Dev", "dev", "mydomain.example", "mail.mydomain.example"),
            Self::BouncesOnly => ("Example Orders", "orders", "orders.example.org", "bounce.orders.example.org"),
            _ => ("Example News", "news", "mail.example.com", "bounce.mail.example.com"),
        };
        Sender {
            provider,
            name: name.to_owned(),
            local: local.to_owned(),
            from_domain: from_domain.to_owned(),
            envelope_domain: envelope_domain.to_owned(),
            exposure,
        }
    }
}

/// How much is simulated.
#[derive(Debug, Clone, PartialEq)]
pub struct Size {
    /// Days of ordinary mail before the case.
    pub days: u32,
    /// Relay addresses of a sender that uses batches; SES, which signs each event, has a fifth of them.
    pub users: usize,
    /// Transactional mail a day.
    pub transactional: f64,
    /// The median size of a campaign.
    pub campaign: f64,
    /// How reports come.
    pub reporting: Reporting,
}

impl Default for Size {
    fn default() -> Self {
        Self { days: 28, users: 4_000, transactional: 250.0, campaign: 600.0, reporting: Reporting::default() }
    }
}

/// What is sent in one case, and the truth about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The case.
    pub case: Case,
    /// Who sends.
    pub sender: Arc<Sender>,
    /// When the ordinary mail begins.
    pub start: Timestamp,
    /// When the case is worth a close look: some hours before its turning point.
    pub close_look: Timestamp,
    /// The turning point: the onset, or the decoy.
    pub turning_point: Timestamp,
    /// When it's over.
    pub end: Timestamp,
    /// What is sent, in order.
    pub posts: Vec<Post>,
    /// What was done.
    pub truth: Truth,
}

/// Simulates a case: the same randomness gives the same plan.
#[must_use]
pub fn plan(case: Case, size: &Size, rng: &mut dyn Rng) -> Plan {
    let turning_point = case.turning_point();
    let start = turning_point.day().start().plus_millis(-i64::from(size.days) * DAY_MILLIS);
    let end = turning_point.plus_millis(4 * HOUR_MILLIS);
    let sender = Arc::new(case.sender());
    let count = if sender.provider == Provider::Ses { size.users / 5 } else { size.users }.max(1);
    let turning = Turning::default();
    let mut people = users(rng, count, start, &turning);
    let rows = accounts(&people);
    let ordinary = Ordinary::draw(rng);

    let mut notices = turn_ordinarily(rng, &mut people, start, end, &turning);
    let mut mails = transactional(rng, (start, end), (size.transactional, count), &ordinary);
    mails.extend(campaigns(rng, (start, turning_point.day().start()), (size.campaign, count), &ordinary));
    let trouble = strike(rng, case, &mut people, &mut mails, &mut notices, (&ordinary, &turning));
    mails.sort_by_key(|mail| (mail.at, mail.user));

    let run = send(rng, &sender, &mut people, &mails, trouble, &size.reporting);
    let mut sent = posts(rng, run.outcomes, notices, &size.reporting);
    // What is reported after the end belongs to another day.
    sent.retain(|post| post.at <= end);
    if case == Case::Replay {
        replay(&mut sent, turning_point);
    }
    sent.insert(0, Post { at: start, what: What::Accounts(rows), repeated: false });

    let onset = case.cause().map(|_| turning_point);
    let since: Vec<bool> = run
        .refused
        .iter()
        .filter(|(at, _)| onset.is_some_and(|onset| *at >= onset))
        .map(|(_, turned)| *turned)
        .collect();
    let turned = since.iter().filter(|turned| **turned).count();
    let truth = Truth {
        case,
        onset,
        cause: case.cause(),
        share_revoked: (!since.is_empty()).then(|| float(turned) / float(since.len())),
        refused: since.len(),
        sent: run.sent.into_iter().filter(|at| onset.is_some_and(|onset| *at >= onset)).collect(),
    };
    let close_look = turning_point.plus_millis(-2 * HOUR_MILLIS);
    Plan { case, sender, start, close_look, turning_point, end, posts: sent, truth }
}

/// Lets the case happen.
fn strike(
    rng: &mut dyn Rng,
    case: Case,
    people: &mut [User],
    mails: &mut Vec<Mail>,
    notices: &mut Vec<(Timestamp, Notice)>,
    (ordinary, turning): (&Ordinary, &Turning),
) -> Trouble {
    let at = case.turning_point();
    let count = people.len();
    let mut mailing = |rng: &mut dyn Rng, start: Timestamp, name: &str, share: f64| {
        mails.extend(campaign(rng, start, &name.into(), share, count, ordinary.rate));
    };
    match case {
        Case::PurgeBraze | Case::PurgeSparkpost => {
            // At 03:00 they were reachable.
            mailing(rng, at.plus_millis(-3 * HOUR_MILLIS), "early-birds", 0.8);
            mailing(rng, at, "summer-sale", 1.0);
            for user in people {
                if happens(rng, 0.97) {
                    user.dead_from = Some(user.dead_from.unwrap_or(at).min(at));
                }
            }
            Trouble::None
        }
        Case::UnauthorizedSender => {
            mailing(rng, at.plus_millis(HOUR_MILLIS), "new-features", 0.25);
            Trouble::SenderRefused { from: at }
        }
        Case::Revocations => {
            mailing(rng, at.plus_millis(30 * MINUTE_MILLIS), "late-summer", 0.5);
            for user in people {
                if user.turned_at.is_none() && happens(rng, 0.3) {
                    let turned_at = at.plus_millis(millis(exponential(rng, 3_600.0)));
                    let kinds = [NoticeKind::ConsentRevoked, NoticeKind::EmailDisabled];
                    turn(rng, user, turned_at, &kinds, turning, notices);
                }
            }
            Trouble::None
        }
        Case::Replay => {
            mailing(rng, at.plus_millis(-3 * HOUR_MILLIS), "mid-week", 0.25);
            Trouble::None
        }
        Case::BouncesOnly => {
            // Ten times the usual mail, refused as seldom as ever.
            mailing(rng, at, "all-customers", 1.0);
            Trouble::None
        }
    }
}

/// The hour that began three hours before `at` comes again: the same bodies, in the same order.
fn replay(posts: &mut Vec<Post>, at: Timestamp) {
    let shift = 3 * HOUR_MILLIS;
    let (from, until) = (at.plus_millis(-shift), at.plus_millis(HOUR_MILLIS - shift));
    let again: Vec<Post> = posts
        .iter()
        .filter(|post| post.at >= from && post.at < until && !matches!(post.what, What::Notice(_)))
        .map(|post| Post { at: post.at.plus_millis(shift), what: post.what.clone(), repeated: true })
        .collect();
    posts.extend(again);
    posts.sort_by_key(|post| post.at);
}
