//! Notices and what was set aside, as relaywatch understood them. No address and no `sub`: random ids only.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;

use crate::{
    cli::text::{Safe, address_id},
    model::{NoticeKind, Timestamp},
    store::{EntryRecord, SetAsideRecord},
};

/// One of Apple's notices.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct ToldNotice<'a> {
    at: String,
    feed: Option<&'a str>,
    kind: &'static str,
    notice: Option<&'a str>,
    team: Option<&'a str>,
    app: Option<&'a str>,
    account: Option<String>,
    address: Option<String>,
    is_private_email: Option<bool>,
}

impl<'a> ToldNotice<'a> {
    /// The word by which lists call it.
    pub(in crate::cli) const KIND: &'static str = "notice";

    pub(in crate::cli) fn new(entry: &'a EntryRecord) -> Self {
        let text = |key: &str| entry.body.get(key).and_then(Value::as_str);
        Self {
            at: entry.key.at.to_string(),
            feed: text("feed"),
            kind: Self::KIND,
            notice: text("kind").filter(|kind| NoticeKind::from_name(kind).is_some()),
            team: text("team"),
            app: text("app"),
            account: entry.account.map(address_id),
            address: entry.address.map(address_id),
            is_private_email: entry.body.get("private").and_then(Value::as_bool),
        }
    }

    /// The feed that it came by; unknown for those of an early version.
    pub(in crate::cli) const fn feed(&self) -> Option<&'a str> {
        self.feed
    }

    pub(in crate::cli) fn text(&self, out: &mut impl Write) -> io::Result<()> {
        let or_unknown = |text: Option<&'a str>| text.unwrap_or("unknown");
        write!(out, "{}  {:<9}  {}", self.at, Self::KIND, Safe(or_unknown(self.feed)))?;
        write!(out, "  {}", or_unknown(self.notice))?;
        write!(out, ", app {} of team {}", Safe(or_unknown(self.app)), Safe(or_unknown(self.team)))?;
        if let Some(account) = &self.account {
            write!(out, "; account {account}")?;
        }
        if let Some(address) = &self.address {
            write!(out, "; address {address}")?;
        }
        writeln!(out)
    }
}

/// A part of a delivery that was kept, sealed, without being understood.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct ToldAside<'a> {
    id: i64,
    at: String,
    feed: &'a str,
    kind: &'static str,
    reason: &'static str,
    label: &'a str,
    kept_until: String,
}

impl<'a> ToldAside<'a> {
    /// The word by which lists call it.
    pub(in crate::cli) const KIND: &'static str = "set-aside";

    pub(in crate::cli) fn new(record: &'a SetAsideRecord, feed: &'a str) -> Self {
        let at = |at: Timestamp| at.to_string();
        Self {
            id: record.id,
            at: at(record.received_at),
            feed,
            kind: Self::KIND,
            reason: record.reason.as_str(),
            label: &record.label,
            kept_until: at(record.expires_at),
        }
    }

    pub(in crate::cli) fn text(&self, out: &mut impl Write) -> io::Result<()> {
        write!(out, "{}  {:<9}  {}", self.at, Self::KIND, Safe(self.feed))?;
        writeln!(
            out,
            "  {}: {}; part {}, kept sealed until {}",
            self.reason,
            Safe(self.label),
            self.id,
            self.kept_until
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        ingest::SetAsideReason,
        store::{EntryKind, EventKey, Position},
    };

    #[test]
    fn a_notice_is_told_without_personal_data() {
        let entry = EntryRecord {
            position: Position::START,
            key: EventKey { at: Timestamp::from_millis(1_754_719_200_000), hash: [0; 16] },
            kind: EntryKind::Notice,
            account: Some(255),
            address: None,
            body: json!({ "feed": "apple/direct", "kind": "consent-revoked", "app": "com.example.app",
                "team": "A1B2C3D4E5", "private": null, "issued_at": null }),
        };
        let told = ToldNotice::new(&entry);
        let mut out = Vec::new();
        told.text(&mut out).expect("writes");
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "2025-08-09T06:00:00Z  notice     apple/direct  consent-revoked, app com.example.app of team A1B2C3D4E5; \
             account 00000000000000ff\n"
        );
        let line = serde_json::to_value(&told).expect("JSON");
        assert_eq!(line["notice"], "consent-revoked");
        assert_eq!(line["address"], Value::Null);
    }

    #[test]
    fn what_was_set_aside_is_told_by_its_label() {
        let record = SetAsideRecord {
            id: 1,
            received_at: Timestamp::from_millis(1_754_719_200_000),
            expires_at: Timestamp::from_millis(1_754_719_200_000 + 86_400_000),
            feed: 1,
            reason: SetAsideReason::UnknownType,
            label: "users.messages.\u{1b}email".to_owned(),
        };
        let mut out = Vec::new();
        ToldAside::new(&record, "braze").text(&mut out).expect("writes");
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "2025-08-09T06:00:00Z  set-aside  braze  unknown-type: users.messages.\\u{1b}email; part 1, kept sealed until \
             2025-08-10T06:00:00Z\n"
        );
    }
}
