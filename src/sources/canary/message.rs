//! The message that is sent: plain, short, and marked where something of it survives whatever the relay rewrites.
//!
//! Apple rewrites From (`apple-relay.md` 4.2); what else the relay changes is not documented. So the mark stands in a header of
//! its own, in the message id, in the subject and in the body.

use super::{Kind, Mark};
use crate::model::{Address, Timestamp};

/// The header that holds the mark.
pub const HEADER: &str = "X-Relaywatch-Canary";

/// One message, from whom to whom.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// What it is for.
    pub kind: Kind,
    /// The From address.
    pub from: &'a Address,
    /// The recipient.
    pub to: &'a Address,
    /// The path that it is to stand for, by name.
    pub path: &'a str,
    /// Its mark.
    pub mark: &'a Mark,
    /// When it is written.
    pub at: Timestamp,
}

impl Message<'_> {
    /// Its message id, without the angle brackets.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}@{}", self.mark.as_str(), self.from.domain())
    }

    /// The whole message with its line ends as SMTP wants them. US-ASCII where both addresses are.
    #[must_use]
    pub fn render(&self) -> String {
        let Self { kind, from, to, path, mark, at } = *self;
        let (mark, date) = (mark.as_str(), date(at));
        let what = match kind {
            Kind::Relay => "Canary",
            Kind::Control => "Control",
        };
        let lines = [
            format!("From: {}", from.expose()),
            format!("To: {}", to.expose()),
            format!("Subject: {what} {path} {mark}"),
            format!("Date: {date}"),
            format!("Message-ID: <{}>", self.id()),
            format!("{HEADER}: {mark}"),
            "MIME-Version: 1.0".to_owned(),
            "Content-Type: text/plain; charset=us-ascii".to_owned(),
            "Content-Transfer-Encoding: 7bit".to_owned(),
            String::new(),
            "This message checks whether mail arrives. A program looks for it here;".to_owned(),
            "nobody needs to read it, and it can be deleted.".to_owned(),
            String::new(),
            format!("Path: {path}"),
            format!("Mark: {mark}"),
        ];
        lines.map(|line| line + "\r\n").concat()
    }
}

/// A date as RFC 5322 section 3.3 has it.
fn date(at: Timestamp) -> String {
    let stamp = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    stamp.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

#[cfg(test)]
mod tests {
    use super::{super::CanaryId, *};

    #[test]
    fn the_mark_stands_in_four_places() {
        let seal = |_: &[u8]| [7_u8; 16];
        let address = |text| Address::parse(text).expect("an address");
        let mark = Mark::of(CanaryId::new(255), &seal);
        let message = Message {
            kind: Kind::Relay,
            from: &address("dev@mydomain.example"),
            to: &address("qx7zhzkndneko@privaterelay.appleid.com"),
            path: "ses-orders",
            mark: &mark,
            at: Timestamp::from_seconds(1_796_000_000),
        };
        let text = message.render();
        insta::assert_snapshot!(text.replace("\r\n", "\n"));
        assert!(text.is_ascii() && text.lines().all(|line| line.len() <= 78));
        let parsed = mail_parser::MessageParser::new().parse(text.as_bytes()).expect("a message");
        for part in [parsed.subject(), parsed.message_id(), parsed.body_text(0).as_deref()] {
            assert_eq!(Mark::find(part.expect("there"), &seal), Some(CanaryId::new(255)));
        }
    }
}
