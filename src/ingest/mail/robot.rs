//! Answers by robots: RFC 3834 auto-replies, challenges, requests to unsubscribe. Never bounces.

use super::{fields, parts::Mail};
use crate::model::{Address, Timestamp, words};

words! {
    /// What kind of answer it is.
    pub enum RobotKind {
        /// A vacation notice or another auto-reply (RFC 3834).
        AutoReply = 1, "auto-reply";
        /// A challenge, which wants the sender to prove that it is a person.
        Challenge = 2, "challenge";
        /// Apple Mail's or a List-Unsubscribe robot's request to unsubscribe.
        Unsubscribe = 3, "unsubscribe";
        /// A read receipt (RFC 8098).
        ReadReceipt = 4, "read-receipt";
    }
}

/// An answer by a robot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RobotAnswer {
    /// What kind it is.
    pub kind: RobotKind,
    /// Who answers: the From header.
    pub from: Option<Address>,
    /// The answer's date.
    pub date: Option<Timestamp>,
    /// The message that it answers, without brackets.
    pub in_reply_to: Option<String>,
}

/// Beginnings of subjects by which vacation robots are known, in lower case: English, German, French, Spanish, Portuguese,
/// Italian, Dutch, Swedish, Danish, Norwegian, Finnish, Polish, Czech, Russian, Japanese, Chinese, Korean. From the defaults of
/// Exchange, Gmail and sieve; recalled, not documented in one place.
const SUBJECTS: &[&str] = &[
    "automatic reply",
    "auto reply",
    "auto-reply",
    "autoreply",
    "auto response",
    "auto-response",
    "autoresponse",
    "out of office",
    "out of the office",
    "out-of-office",
    "vacation reply",
    "away from my mail",
    "on vacation",
    "i am away",
    "automatische antwort",
    "abwesenheitsnotiz",
    "abwesend",
    "abwesenheit",
    "réponse automatique",
    "reponse automatique",
    "absence du bureau",
    "absent du bureau",
    "message d'absence",
    "respuesta automática",
    "respuesta automatica",
    "fuera de la oficina",
    "fuera de oficina",
    "resposta automática",
    "resposta automatica",
    "ausência temporária",
    "risposta automatica",
    "fuori sede",
    "fuori ufficio",
    "automatisch antwoord",
    "afwezigheidsbericht",
    "autosvar",
    "automatiskt svar",
    "automatisk svar",
    "frånvaro",
    "ikke til stede",
    "automaattinen vastaus",
    "poissa",
    "autoodpowiedź",
    "automatyczna odpowiedź",
    "odpowiedź automatyczna",
    "automatická odpověď",
    "автоответ",
    "автоматический ответ",
    "自動応答",
    "自動返信",
    "不在通知",
    "自动回复",
    "自動回覆",
    "부재중",
    "자동 회신",
];
/// Subjects and texts of challenges.
const CHALLENGES: &[&str] = &[
    "please confirm your message",
    "confirm your e-mail to",
    "sender verification",
    "verify your message",
    "challenge/response",
    "requires that you verify",
    "verification required for your message",
    "boxbe",
    "spamarrest",
    "qurb",
    "your message is awaiting",
    "antispam uol",
];

/// Reads a robot's answer, where the mail is one.
pub(super) fn read(mail: &Mail) -> Option<RobotAnswer> {
    let kind = kind_of(mail)?;
    let header = &mail.header;
    Some(RobotAnswer {
        kind,
        from: ["from", "sender"].iter().find_map(|name| header.get(name).and_then(|text| Address::parse(text).ok())),
        date: header.date(&["date"]),
        in_reply_to: header.get("in-reply-to").and_then(super::original::message_id),
    })
}

fn kind_of(mail: &Mail) -> Option<RobotKind> {
    let header = &mail.header;
    if header.get("x-apple-unsubscribe").is_some_and(|text| text.eq_ignore_ascii_case("true")) {
        return Some(RobotKind::Unsubscribe);
    }
    if mail.report_type.as_deref() == Some("disposition-notification") {
        return Some(RobotKind::ReadReceipt);
    }
    let subject = mail.subject.trim().to_lowercase();
    let begin = fields::cut(&mail.notice, 4_000).to_lowercase();
    let said = |name: &str| header.get(name).map(|text| text.trim().to_ascii_lowercase()).unwrap_or_default();
    // RFC 3834 section 5: `auto-generated` is no answer to anything, and `no` is a person's.
    let replied = said("auto-submitted").starts_with("auto-replied")
        || ["x-autoreply", "x-autorespond"].iter().any(|name| !said(name).is_empty() && said(name) != "no")
        || header.has("x-auto-response-from");
    // Exchange marks by it whatever must not be answered, and sends its answers from nobody.
    let suppressing = header.has("x-auto-response-suppress") && said("return-path") == "<>";
    if CHALLENGES.iter().any(|word| subject.contains(word) || (header.has("x-challenge") && begin.contains(word))) {
        return Some(RobotKind::Challenge);
    }
    let precedence = ["auto_reply", "auto-reply", "autoreply"].contains(&said("precedence").as_str());
    let vacation = SUBJECTS.iter().any(|words| bare_subject(&subject).starts_with(words));
    if precedence || vacation || ((replied || suppressing) && !from_daemon(mail)) {
        return Some(RobotKind::AutoReply);
    }
    None
}

/// A subject without the marks that gateways put before it.
fn bare_subject(subject: &str) -> &str {
    let mut subject = subject;
    for _ in 0..3 {
        subject = ["re:", "[external]", "[ext]", "aw:"]
            .iter()
            .find_map(|mark| subject.strip_prefix(mark))
            .unwrap_or(subject)
            .trim_start();
    }
    subject
}

/// Whether the From header is that of a mail system.
pub(super) fn from_daemon(mail: &Mail) -> bool {
    const LOCALS: &[&str] = &[
        "mailer-daemon",
        "mailerdaemon",
        "postmaster",
        "mail-daemon",
        "bounce",
        "bounces",
        "mailer_daemon",
        "maildaemon",
        "mdaemon",
    ];
    const NAMES: &[&str] = &[
        "mail delivery s",
        "mailer-daemon",
        "mailer daemon",
        "postmaster",
        "mail administrator",
        "delivery subsystem",
        "mail system",
    ];
    let Some(from) = mail.header.get("from") else { return true };
    let from = from.to_ascii_lowercase();
    let local = fields::address(&from).map_or_else(|| from.clone(), |address| address.local().to_owned());
    LOCALS.iter().any(|word| local.trim_matches(['<', '>', ' ', '"']).starts_with(word))
        || NAMES.iter().any(|name| from.contains(name))
        || from.trim() == "<>"
}
