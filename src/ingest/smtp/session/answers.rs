//! What a session says: codes by RFC 5321 (4.2), enhanced codes by RFC 3463. No answer repeats what the peer said.

use super::{Dropped, Refusal};

pub(super) const TAKEN: &str = "250 2.6.0 taken";
pub(super) const STORE_AWAY: &str = "451 4.3.0 not taken just now; come again";
pub(super) const NO_ROOM: &str = "451 4.3.0 too many mails at once; come again";
pub(super) const TOO_LARGE: &str = "552 5.3.4 the mail is larger than is taken here";
pub(super) const STOPPING: &str = "421 4.3.2 relaywatch is stopping; come again";
pub(super) const TIMEOUT: &str = "421 4.4.2 nothing came for too long; good bye";
pub(super) const CONNECTIONS: &str = "421 4.3.2 too many connections; come again";
pub(super) const RATE_CONNECTIONS: &str = "421 4.7.0 too many connections of yours; come again";
pub(super) const RATE_MAILS: &str = "450 4.7.1 too many mails of yours in a minute; come again";
pub(super) const EARLY: &str = "554 5.5.1 you spoke before you were greeted";
pub(super) const TOO_MANY_MISTAKES: &str = "421 4.7.0 too many mistakes; good bye";
pub(super) const TOO_MANY_COMMANDS: &str = "421 4.7.0 too many commands without a mail; good bye";
pub(super) const LINE_TOO_LONG: &str = "500 5.5.6 the line is too long; good bye";
pub(super) const BARE_LF: &str = "500 5.5.2 end lines with CR LF";
pub(super) const BAD_BYTES: &str = "500 5.5.2 a command is UTF-8 without control characters";
pub(super) const UNKNOWN: &str = "500 5.5.1 this is no command that is known here";
pub(super) const NOT_OFFERED: &str = "502 5.5.1 this is not offered";
pub(super) const OTHER_PROTOCOL: &str = "500 5.5.1 this is the other protocol's greeting";
pub(super) const SYNTAX: &str = "501 5.5.2 this command is not well formed";
pub(super) const PARAMETER: &str = "501 5.5.4 a parameter is not well formed";
pub(super) const PARAMETER_NOT_OFFERED: &str = "555 5.5.4 a parameter is not offered";
pub(super) const BAD_SENDER: &str = "553 5.1.7 this is no address";
pub(super) const BAD_RECIPIENT: &str = "553 5.1.3 this is no address";
pub(super) const UTF8: &str = "553 5.6.7 an address beyond ASCII needs SMTPUTF8";
pub(super) const ALREADY_SECURED: &str = "503 5.5.1 the connection is secured already";
pub(super) const GO_AHEAD_TLS: &str = "220 2.0.0 go ahead";
pub(super) const TLS_REQUIRED: &str = "530 5.7.0 say STARTTLS first";
pub(super) const GREET_FIRST: &str = "503 5.5.1 greet first";
pub(super) const MAIL_FIRST: &str = "503 5.5.1 say MAIL first";
pub(super) const MAIL_BEGUN: &str = "503 5.5.1 a mail is begun already";
pub(super) const NO_RECIPIENT: &str = "503 5.5.1 no recipient was taken";
pub(super) const NO_VALID_RECIPIENT: &str = "554 5.5.1 no recipient was taken";
pub(super) const CHUNKS_BEGUN: &str = "503 5.5.1 go on with BDAT";
pub(super) const NO_MAIL_FOR_CHUNK: &str = "503 5.5.1 there is no mail that this chunk could belong to";
pub(super) const SENDER_TAKEN: &str = "250 2.1.0 go on";
pub(super) const RECIPIENT_TAKEN: &str = "250 2.1.5 go on";
pub(super) const NOT_A_RECIPIENT: &str = "550 5.7.1 no mail is taken for this recipient here";
pub(super) const TOO_MANY_RECIPIENTS: &str = "452 4.5.3 too many recipients; bring the others with another mail";
pub(super) const SEND_CONTENT: &str = "354 send it, and end with a dot alone on its line";
pub(super) const CHUNK: &str = "250 2.0.0 go on";
pub(super) const DONE: &str = "250 2.0.0 done";
pub(super) const CANNOT_VERIFY: &str = "252 2.5.2 try RCPT";
pub(super) const HELP: &str = "214 2.0.0 bounces, abuse reports and DMARC reports are taken for configured recipients";
pub(super) const BYE: &str = "221 2.0.0 good bye";

/// What is said of content that was dropped.
pub(super) const fn dropped(why: Dropped) -> (&'static str, Refusal) {
    match why {
        Dropped::TooLarge => (TOO_LARGE, Refusal::TooLarge),
        Dropped::NoRoom => (NO_ROOM, Refusal::NoRoom),
    }
}
