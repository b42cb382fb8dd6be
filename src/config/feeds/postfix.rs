//! `[feeds.postfix]`: the log of Postfix.

use super::{super::validate::Checks, table};
use crate::config::FilePath;

table! {
    /// The log of Postfix, which is followed.
    pub struct PostfixFeed by_itself "postfix" with exposure, checked by check, connected by connect {
        /// The log file: that of syslog, or Postfix's `maillog_file`. It is followed through its rotations.
        pub log_file: Option<FilePath>,
        /// Follow systemd's journal instead, by `journalctl`.
        pub journal: bool,
        /// The time zone of times that name none, as `Europe/Berlin`; without it, this machine's.
        pub time_zone: Option<String>,
        /// Hosts that your Postfix hands mail to (`relayhost`), with those under them: what they take is sent, not delivered.
        /// Hosts with private addresses count as such anyway.
        pub smarthosts: Vec<String>,
    }
}

fn check(feed: &PostfixFeed, path: &str, checks: &mut Checks<'_>) {
    match (&feed.log_file, feed.journal) {
        (None, false) => {
            let help = "set `log_file = \"/var/log/mail.log\"`, or `journal = true`";
            checks.error(path, "the Postfix feed has no log", help);
        }
        (Some(_), true) => {
            let help = "keep one of them; two logs are two feeds: [[feeds.postfix]] with `name`";
            checks.error(path, "the Postfix feed has both a log file and the journal", help);
        }
        _ => {}
    }
    for (number, host) in feed.smarthosts.iter().enumerate() {
        checks.host(&format!("{path}.smarthosts.{number}"), host);
    }
    if feed.time_zone.as_ref().is_some_and(|zone| jiff::tz::TimeZone::get(zone).is_err()) {
        checks.wrong(
            &format!("{path}.time_zone"),
            "this is no time zone that this machine knows",
            "write it as \"Europe/Berlin\" or \"UTC\"",
        );
    }
}

fn connect(feed: &PostfixFeed, at: &str) -> Vec<String> {
    let group = if feed.journal { "systemd-journal" } else { "adm" };
    vec![
        format!("Reads {at}: the unit of relaywatch has SupplementaryGroups={group}"),
        "In Postfix nothing is needed; enable_long_queue_ids = yes keeps queue ids from being used twice".to_owned(),
    ]
}
