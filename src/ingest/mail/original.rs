//! What the header of the message tells that a report is about. Its subject is dropped.

use super::{
    MAX_ID_BYTES, MAX_NAME_BYTES,
    fields::{self, Fields, clean},
};
use crate::model::{Address, Timestamp, domain_of};

/// The message that a report is about, as far as its header came back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Original {
    /// Its Message-ID, without the brackets.
    pub message_id: Option<String>,
    /// The address of its From header.
    pub from: Option<Address>,
    /// The domain of its From header, lower case.
    pub from_domain: Option<String>,
    /// Its envelope sender, where the Return-Path field came back.
    pub return_path: Option<Address>,
    /// The addresses of its envelope and To fields, where there are at most 50.
    pub recipients: Vec<Address>,
    /// Its Date.
    pub date: Option<Timestamp>,
    /// Its campaign: a provider's own field, else the List-Id.
    pub campaign: Option<String>,
}

/// Fields in which senders name the campaign: Mailchimp and SendGrid (`X-Campaign…`), Mailgun, SparkPost, Postmark, Salesforce.
const CAMPAIGNS: &[&str] =
    &["x-campaign", "x-campaign-id", "x-campaignid", "x-mailgun-tag", "x-pm-tag", "x-job", "list-id"];
/// Recipients that are looked at.
const MAX_TO: usize = 50;

impl Original {
    pub(super) fn read(fields: &Fields) -> Self {
        let from = fields.get("from").and_then(|text| Address::parse(&without_comment(text)).ok());
        let mut recipients = Vec::new();
        for name in ["x-envelope-to", "x-hmxmroriginalrecipient", "envelope-to", "to"] {
            for text in fields.all(name).flat_map(|list| list.split(',')).take(MAX_TO) {
                if let Ok(address) = Address::parse(text)
                    && !recipients.contains(&address)
                {
                    recipients.push(address);
                }
            }
            if !recipients.is_empty() {
                break;
            }
        }
        Self {
            message_id: fields.get("message-id").and_then(message_id),
            from_domain: match &from {
                Some(from) => Some(from.domain().to_owned()),
                None => fields.get("from").and_then(domain_of),
            },
            from,
            return_path: ["return-path", "x-envelope-from"]
                .iter()
                .find_map(|name| fields.get(name).and_then(fields::address)),
            recipients,
            date: fields.date(&["date"]),
            campaign: CAMPAIGNS.iter().find_map(|name| fields.get(name)).map(|text| clean(text, MAX_NAME_BYTES)),
        }
    }
}

/// `jo@example.net (Jo)`, the form of RFC 822.
fn without_comment(text: &str) -> String {
    match text.split_once(" (") {
        Some((address, _)) if !address.contains('<') => address.to_owned(),
        _ => text.to_owned(),
    }
}

/// A message id without its brackets.
pub(super) fn message_id(text: &str) -> Option<String> {
    let inner = text.split_once('<').and_then(|(_, tail)| tail.split_once('>')).map_or(text, |(inner, _)| inner);
    let id = clean(inner, MAX_ID_BYTES);
    (!id.is_empty()).then_some(id)
}
