//! What a session does for each command.

use std::borrow::Cow;

use smtp_proto::{
    Error, MAIL_BODY_7BIT, MAIL_BODY_8BITMIME, MAIL_RET_FULL, MAIL_RET_HDRS, MAIL_SMTPUTF8, MailFrom,
    RCPT_NOTIFY_DELAY, RCPT_NOTIFY_FAILURE, RCPT_NOTIFY_NEVER, RCPT_NOTIFY_SUCCESS, RcptTo, Request,
};

use super::{
    super::content::Content, Dots, MAX_IDLE_COMMANDS, MAX_RCPT_COMMANDS, MAX_RECIPIENTS, Refusal, Session, State,
    Transaction, answers,
};

/// What MAIL may carry beside SIZE, ENVID and AUTH, which every server may get.
const MAIL_FLAGS: u64 = MAIL_BODY_7BIT | MAIL_BODY_8BITMIME | MAIL_RET_FULL | MAIL_RET_HDRS | MAIL_SMTPUTF8;
/// What RCPT may carry beside ORCPT.
const RCPT_FLAGS: u64 = RCPT_NOTIFY_SUCCESS | RCPT_NOTIFY_FAILURE | RCPT_NOTIFY_DELAY | RCPT_NOTIFY_NEVER;

impl Session {
    pub(super) fn obey(&mut self, request: Request<Cow<'_, str>>) {
        match request {
            Request::Ehlo { .. } | Request::Helo { .. } if self.is_lmtp() => self.other_protocol(),
            Request::Lhlo { .. } if !self.is_lmtp() => self.other_protocol(),
            Request::Ehlo { .. } | Request::Lhlo { .. } => self.greeted_back(true),
            Request::Helo { .. } => self.greeted_back(false),
            Request::Mail { from } => self.mail(&from),
            Request::Rcpt { to } => self.rcpt(&to),
            Request::Data => self.begin_data(),
            Request::Bdat { chunk_size, is_last } => self.begin_chunk(chunk_size, is_last),
            Request::Rset => {
                self.transaction = None;
                self.idle(answers::DONE);
            }
            Request::Vrfy { .. } => self.idle(answers::CANNOT_VERIFY),
            Request::Help { .. } => self.idle(answers::HELP),
            Request::Auth { .. }
            | Request::Expn { .. }
            | Request::Etrn { .. }
            | Request::Atrn { .. }
            | Request::Burl { .. } => self.refuse(answers::NOT_OFFERED, Refusal::Unsupported),
            // The other two are obeyed where they are read.
            Request::Noop { .. } | Request::StartTls | Request::Quit => self.idle(answers::DONE),
        }
    }

    pub(super) fn misread(&mut self, error: &Error) {
        let (answer, why) = match error {
            Error::UnknownCommand => (answers::UNKNOWN, Refusal::Syntax),
            Error::InvalidSenderAddress => (answers::BAD_SENDER, Refusal::Syntax),
            Error::InvalidRecipientAddress => (answers::BAD_RECIPIENT, Refusal::Syntax),
            Error::InvalidParameter { .. } => (answers::PARAMETER, Refusal::Syntax),
            Error::UnsupportedParameter { .. } => (answers::PARAMETER_NOT_OFFERED, Refusal::Unsupported),
            Error::SyntaxError { .. }
            | Error::NeedsMoreData { .. }
            | Error::ResponseTooLong
            | Error::InvalidResponse { .. } => (answers::SYNTAX, Refusal::Syntax),
        };
        self.refuse(answer, why);
    }

    fn other_protocol(&mut self) {
        self.refuse(answers::OTHER_PROTOCOL, Refusal::Unsupported);
    }

    /// Says something that brings no mail nearer; too much of it makes an end.
    fn idle(&mut self, answer: &str) {
        self.say(answer);
        self.idle_commands += 1;
        if self.idle_commands >= MAX_IDLE_COMMANDS {
            self.close(answers::TOO_MANY_COMMANDS, Refusal::TooMany);
        }
    }

    fn greeted_back(&mut self, extended: bool) {
        // A second greeting begins anew (RFC 5321, 4.1.4).
        self.transaction = None;
        self.greeted = true;
        let host = self.terms.hostname.clone();
        if !extended {
            return self.idle(&format!("250 {host}"));
        }
        let size = format!("SIZE {}", self.terms.max_bytes);
        let mut offered = vec![host.as_str(), "PIPELINING", &size, "8BITMIME", "SMTPUTF8", "CHUNKING"];
        if self.terms.tls && !self.secured {
            offered.push("STARTTLS");
        }
        for line in offered {
            self.say(&format!("250-{line}"));
        }
        self.idle("250 ENHANCEDSTATUSCODES");
    }

    fn mail(&mut self, from: &MailFrom<Cow<'_, str>>) {
        let MailFrom { flags, by, solicit, mtrk, hold_for, hold_until, mt_priority, trans_id, .. } = from;
        let foreign = flags & !MAIL_FLAGS != 0
            || *by != 0
            || *hold_for != 0
            || *hold_until != 0
            || *mt_priority != 0
            || solicit.is_some()
            || mtrk.is_some()
            || trans_id.is_some();
        let utf8 = flags & MAIL_SMTPUTF8 != 0;
        if !self.greeted {
            self.refuse(answers::GREET_FIRST, Refusal::Sequence);
        } else if self.terms.require_tls && !self.secured {
            self.refuse(answers::TLS_REQUIRED, Refusal::TlsRequired);
        } else if self.transaction.is_some() {
            self.refuse(answers::MAIL_BEGUN, Refusal::Sequence);
        } else if foreign {
            self.refuse(answers::PARAMETER_NOT_OFFERED, Refusal::Unsupported);
        } else if !utf8 && !from.address.is_ascii() {
            self.refuse(answers::UTF8, Refusal::Syntax);
        } else if from.size > self.terms.max_bytes {
            self.refuse(answers::TOO_LARGE, Refusal::TooLarge);
        } else if !self.gate.admits_mail() {
            self.say(answers::RATE_MAILS);
            self.refusals.push(Refusal::Rate);
            self.count_idle();
        } else {
            self.say(answers::SENDER_TAKEN);
            self.count_idle();
            self.transaction = Some(Transaction {
                sender: (!from.address.is_empty()).then(|| from.address.clone().into_owned()),
                recipients: Vec::new(),
                utf8,
                rcpt_commands: 0,
                content: Content::new(self.terms.max_bytes),
                chunked: false,
                failed: false,
            });
        }
    }

    fn count_idle(&mut self) {
        self.idle_commands += 1;
        if self.idle_commands >= MAX_IDLE_COMMANDS {
            self.close(answers::TOO_MANY_COMMANDS, Refusal::TooMany);
        }
    }

    fn rcpt(&mut self, to: &RcptTo<Cow<'_, str>>) {
        let Some(transaction) = &mut self.transaction else {
            return self.refuse(answers::MAIL_FIRST, Refusal::Sequence);
        };
        transaction.rcpt_commands += 1;
        if transaction.rcpt_commands > MAX_RCPT_COMMANDS {
            self.transaction = None;
            return self.close(answers::TOO_MANY_MISTAKES, Refusal::TooMany);
        }
        if transaction.chunked {
            self.refuse(answers::CHUNKS_BEGUN, Refusal::Sequence);
        } else if to.flags & !RCPT_FLAGS != 0 || to.rrvs != 0 {
            self.refuse(answers::PARAMETER_NOT_OFFERED, Refusal::Unsupported);
        } else if !transaction.utf8 && !to.address.is_ascii() {
            self.refuse(answers::UTF8, Refusal::Syntax);
        } else if !self.terms.recipients.iter().any(|pattern| pattern.takes(&to.address)) {
            self.refuse(answers::NOT_A_RECIPIENT, Refusal::Recipient);
        } else if transaction.recipients.len() >= MAX_RECIPIENTS {
            self.say(answers::TOO_MANY_RECIPIENTS);
            self.refusals.push(Refusal::Recipients);
        } else {
            transaction.recipients.push(to.address.clone().into_owned());
            self.say(answers::RECIPIENT_TAKEN);
        }
    }

    fn begin_data(&mut self) {
        match &self.transaction {
            None => self.refuse(answers::MAIL_FIRST, Refusal::Sequence),
            Some(transaction) if transaction.chunked => self.refuse(answers::CHUNKS_BEGUN, Refusal::Sequence),
            Some(transaction) if transaction.recipients.is_empty() => {
                // RFC 2033 (4.2) leaves LMTP no choice of the code.
                let answer = if self.is_lmtp() { answers::NO_RECIPIENT } else { answers::NO_VALID_RECIPIENT };
                self.refuse(answer, Refusal::Sequence);
            }
            Some(_) => {
                self.say(answers::SEND_CONTENT);
                self.state = State::Data(Dots::Start);
            }
        }
    }

    /// The chunk follows at once, whatever is said of it (RFC 3030, 2): it's read, and what is wrong said at its end.
    fn begin_chunk(&mut self, size: usize, last: bool) {
        if let Some(transaction) = &mut self.transaction {
            transaction.chunked = true;
            transaction.failed |= transaction.recipients.is_empty();
            if transaction.content.is_hopeless(size) {
                self.transaction = None;
                return self.close(answers::TOO_LARGE, Refusal::TooLarge);
            }
        } else if size > self.terms.max_bytes {
            return self.close(answers::TOO_LARGE, Refusal::TooLarge);
        }
        if size == 0 {
            self.count_idle();
        }
        if !matches!(self.state, State::Closed) {
            self.state = State::Chunk { left: size, last };
        }
    }
}
