//! One line of a delivery agent: `to=<…>, relay=…, delay=…, dsn=…, status=sent (…)`.
//!
//! The order of the fields is Postfix's (`log_adhoc` in its source); `orig_to` and `conn_use` may be absent, and fields that later
//! versions add are passed over. Addresses stand quoted where they need it (`info_log_address_format = external`, the default
//! since Postfix 3.5), so that no address passes for a field.

use std::net::IpAddr;

use crate::model::EnhancedCode;

/// The longest delay that is believed, in seconds: queues keep mail for days.
const MAX_DELAY_SECONDS: f64 = 100.0 * 86_400.0;

/// An attempt to deliver, as its line tells it.
#[derive(Debug, PartialEq)]
pub(super) struct Attempt<'a> {
    /// Whom it was for.
    pub(super) recipient: &'a str,
    /// `host[address]:port`, `local`, `none`.
    pub(super) relay: &'a str,
    /// How long the message had been in the queue, in milliseconds.
    pub(super) delay_millis: Option<i64>,
    /// The enhanced code, which Postfix makes up where the reply has none.
    pub(super) dsn: Option<EnhancedCode>,
    /// `sent`, `deferred`, `bounced`.
    pub(super) status: &'a str,
    /// What stands in the brackets after it; without the last one, where the line was cut.
    pub(super) text: &'a str,
}

/// The line holds no whole attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken;

impl<'a> Attempt<'a> {
    /// Reads what comes after the queue id, which begins with `to=<`.
    pub(super) fn read(text: &'a str) -> Result<Self, Broken> {
        let (recipient, mut rest) = text.strip_prefix("to=").and_then(address).ok_or(Broken)?;
        let mut attempt = Attempt { recipient, relay: "", delay_millis: None, dsn: None, status: "", text: "" };
        loop {
            let (key, value) = rest.strip_prefix(", ").and_then(|rest| rest.split_once('=')).ok_or(Broken)?;
            if key.len() > 32 || !key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return Err(Broken);
            }
            if key == "status" {
                let (status, text) = value.split_once(' ').unwrap_or((value, ""));
                attempt.status = status;
                let text = text.trim();
                attempt.text = text.strip_prefix('(').map_or(text, |text| text.strip_suffix(')').unwrap_or(text));
                return if status.is_empty() { Err(Broken) } else { Ok(attempt) };
            }
            let end = if value.starts_with('<') {
                value.len() - address(value).ok_or(Broken)?.1.len()
            } else {
                value.find(", ").ok_or(Broken)?
            };
            let (value, after) = value.split_at_checked(end).ok_or(Broken)?;
            rest = after;
            match key {
                "relay" => attempt.relay = value,
                "delay" => attempt.delay_millis = millis(value),
                "dsn" => attempt.dsn = EnhancedCode::parse(value),
                _ => {}
            }
        }
    }

    /// The host that it was handed to, and its IP address; nothing where Postfix reached none, or hands it on within.
    pub(super) fn remote(&self) -> Option<(&'a str, Option<IpAddr>)> {
        let (host, rest) = self.relay.split_once('[')?;
        let (address, _) = rest.split_once(']')?;
        // A socket of this machine: `mx1.example.com[private/dovecot-lmtp]`.
        if address.contains('/') || host.is_empty() {
            return None;
        }
        let address = address.strip_prefix("IPv6:").unwrap_or(address);
        Some((host, address.parse().ok()))
    }

    /// What the receiving side said, verbatim; nothing where the words are Postfix's own.
    ///
    /// `host NAME[IP] said: … (in reply to RCPT TO command)`, or `host NAME[IP] refused to talk to me: …`. The name holds no
    /// blank, so that nothing in the reply itself passes for it.
    pub(super) fn said(&self) -> Option<&'a str> {
        let rest = self.text.strip_prefix("host ")?;
        let (host, rest) = rest.split_once('[')?;
        let (_, rest) = rest.split_once(']')?;
        if host.contains(char::is_whitespace) {
            return None;
        }
        let rest = match rest.strip_prefix(':') {
            Some(port) => port.trim_start_matches(|c: char| c.is_ascii_digit()),
            None => rest,
        };
        if let Some(reply) = rest.strip_prefix(" refused to talk to me: ") {
            return Some(reply.trim());
        }
        Some(without_command(rest.strip_prefix(" said: ")?).trim())
    }
}

/// Without ` (in reply to … command)` at the end. Where the line was cut in it, its beginning is taken away as well.
fn without_command(text: &str) -> &str {
    let Some((reply, command)) = text.rsplit_once(" (in reply to ") else { return text };
    let whole = command.strip_suffix(" command)").unwrap_or(command);
    if whole.len() <= 40 && !whole.contains(['(', ')']) { reply } else { text }
}

/// An address in angle brackets at the start of a text, without them; gives the rest.
pub(super) fn address(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('<')?;
    let (mut quoted, mut escaped) = (false, false);
    let may_quote = inner.starts_with('"');
    for (at, byte) in inner.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' if may_quote => quoted = !quoted,
            b'>' if !quoted => return Some((inner.get(..at)?, inner.get(at + 1..)?)),
            _ => {}
        }
    }
    None
}

/// Seconds, whole or not.
fn millis(text: &str) -> Option<i64> {
    let seconds: f64 = text.parse().ok()?;
    if !(0.0..=MAX_DELAY_SECONDS).contains(&seconds) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "bounded just above")]
    Some((seconds * 1_000.0).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "to=<a@example.com>, orig_to=<b>, relay=mx.example.com[192.0.2.1]:25, conn_use=2, delay=1.25, \
                         delays=0.1/0.01/0.5/0.64, dsn=5.1.1, status=bounced (host mx.example.com[192.0.2.1] said: 550 5.1.1 \
                         <a@example.com>: no (really (no)) (in reply to RCPT TO command))";

    #[test]
    fn a_whole_line_is_read() {
        let attempt = Attempt::read(WHOLE).expect("an attempt");
        assert_eq!(
            (attempt.recipient, attempt.status, attempt.delay_millis),
            ("a@example.com", "bounced", Some(1_250))
        );
        assert_eq!(attempt.dsn.map(|code| code.to_string()).as_deref(), Some("5.1.1"));
        assert_eq!(attempt.said(), Some("550 5.1.1 <a@example.com>: no (really (no))"));
        assert_eq!(attempt.remote(), Some(("mx.example.com", "192.0.2.1".parse().ok())));
    }

    #[test]
    fn a_line_that_was_cut_is_read_as_far_as_it_goes() {
        let status = WHOLE.find("status=bounced").expect("there") + "status=bounced".len();
        for end in 0..WHOLE.len() {
            let Some(cut) = WHOLE.get(..end) else { continue };
            match Attempt::read(cut) {
                Err(Broken) => assert!(end < status, "{cut}"),
                Ok(attempt) => {
                    assert!(end > status - "bounced".len(), "{cut}");
                    if let Some(said) = attempt.said() {
                        assert!("550 5.1.1 <a@example.com>: no (really (no)) (in reply to".starts_with(said), "{said}");
                    }
                }
            }
        }
    }

    #[test]
    fn who_speaks_is_told_by_the_beginning() {
        let said = |text: &str| {
            let line = format!("to=<a@example.com>, relay=none, delay=1, dsn=4.0.0, status=deferred ({text})");
            Attempt::read(&line).expect("an attempt").said().map(ToOwned::to_owned)
        };
        assert_eq!(said("host a.example[::1]:25 said: 451 later").as_deref(), Some("451 later"));
        assert_eq!(said("host a.example[192.0.2.1] refused to talk to me: 554 no").as_deref(), Some("554 no"));
        let twice =
            "host a.example[192.0.2.1] said: 550 host b.example[192.0.2.2] said: 250 ok (in reply to RCPT TO command)";
        let told = said(&format!("{twice} (in reply to end of DATA command)"));
        assert_eq!(told.as_deref(), twice.strip_prefix("host a.example[192.0.2.1] said: "), "one level only");
        for own in [
            "connect to mx.example.com[192.0.2.1]:25: Connection timed out",
            "delivery temporarily suspended: host a.example[192.0.2.1] said: 421 later",
            "User unknown: host a[192.0.2.1] said: 550 x",
            "host of blanks[192.0.2.1] said: 550 x",
            "host a.example said: 550 x",
        ] {
            assert_eq!(said(own), None, "{own}");
        }
    }

    #[test]
    fn no_address_passes_for_a_field() {
        let forged = r#"to=<"x>, status=sent (250 ok) \">"@example.com>, relay=none, delay=1, status=bounced (no)"#;
        let attempt = Attempt::read(forged).expect("an attempt");
        assert_eq!(attempt.status, "bounced");
        assert_eq!(attempt.recipient, r#""x>, status=sent (250 ok) \">"@example.com"#);
        assert_eq!(Attempt::read("to=<\"x>, status=sent (250 ok)"), Err(Broken), "the quote is never closed");
    }

    #[test]
    fn sockets_of_this_machine_are_no_remote_hosts() {
        for relay in ["local", "none", "virtual", "mx1[private/dovecot-lmtp]", "mx1[/run/x]", "[192.0.2.1]:25", ""] {
            let line = format!("to=<a@example.com>, relay={relay}, delay=1, status=sent (x)");
            assert_eq!(Attempt::read(&line).expect("an attempt").remote(), None, "{relay}");
        }
    }
}
