//! An incident for the tests of this room and of the command.

use super::{Basis, Body};
use crate::{
    detect::{Counts, Urgency},
    explain::{Concentration, Control, IncidentFacts, LastDelivery, NoticeFacts, OneText, ReplyText, explain, render},
    model::{Cause, Provider, StreamKey, StreamLevel, Timestamp},
    store::{IncidentRecord, IncidentState, OperatorWord},
};

/// The purge of 9 August, open.
pub(crate) fn purge() -> (IncidentRecord, Body) {
    let time = |text: &str| Timestamp::from_rfc3339(text).expect("a time");
    let campaign = StreamKey::finest(
        Provider::Braze,
        Some("news.example.com".to_owned()),
        Some("bounce.example.com".to_owned()),
        Some("summer | *sale*".to_owned()),
    );
    let facts = IncidentFacts {
        onset: Some(time("2025-08-09T06:00:00Z")),
        counts: Counts { sends: 60_000, refused: 20_000 },
        expected: 300.0,
        refused_addresses: 19_950,
        notices: Some(NoticeFacts {
            refused_exposed_before: 39,
            refused_exposed_after: 2,
            refused_unexposed: 19_809,
            refused_unmapped: 100,
            accepted_exposed: 60,
            accepted_unexposed: 19_940,
            ..NoticeFacts::default()
        }),
        replies: [(Cause::RecipientUnknown, 19_940), (Cause::Undetermined, 10)].into(),
        texts: vec![
            ReplyText {
                text: "550 5.1.1 <{recipient}>: user does not exist".to_owned(),
                addresses: 1_991,
                template: "5f0c2e9d1a44".to_owned(),
            },
            ReplyText {
                text: format!("550 5.1.1 unknown {}", "very ".repeat(60)),
                addresses: 9,
                template: "07b3d1c2e8aa".to_owned(),
            },
        ],
        one_text: Some(OneText { since: 1_991, of: 2_000, before: 31, before_of: 1_550 }),
        texts_of: 2_000,
        campaigns: Some(Concentration {
            top: "summer | *sale*".to_owned(),
            inside: Counts { sends: 30_000, refused: 12_000 },
            outside: Counts { sends: 30_000, refused: 8_000 },
            elements: 4,
        }),
        senders: Some(Concentration {
            top: "news.example.com".to_owned(),
            inside: Counts { sends: 30_000, refused: 10_050 },
            outside: Counts { sends: 30_000, refused: 9_950 },
            elements: 2,
        }),
        other_control: Some(Control { counts: Counts { sends: 200_000, refused: 1_400 }, usual_rate: 0.007 }),
        last_delivery: Some(LastDelivery { known: 19_950, within_a_day: 19_400, stale: 150 }),
        ..IncidentFacts::default()
    };
    let explanation = explain(&facts);
    let share = explanation.share_explained.as_ref().map(|s| (s.share.value, s.share.low, s.share.high));
    let body = Body {
        scope: campaign.at(StreamLevel::ProviderDomain).expect("a parent"),
        streams: vec![campaign.at(StreamLevel::Provider).expect("a parent"), campaign],
        severity: Urgency::Page,
        sends: 60_000,
        refused: 20_000,
        expected: 300.0,
        addresses: 19_950,
        sentence: "Since 2025-08-09T06:00:00Z 20000 of 60000 relay messages on braze/news.example.com were refused."
            .to_owned(),
        named: explanation.named,
        share_explained: share,
        explanation: render(&explanation).lines().map(ToOwned::to_owned).collect(),
        facts: Some(facts),
        pages: 1,
        last_paged_at: Some(time("2025-08-09T06:07:00Z")),
        last_paged_refused: 312,
        basis: Basis::Rate,
        settings: Some(3),
        rules: Some(7),
        operator_told: false,
    };
    let record = IncidentRecord {
        id: 7,
        state: IncidentState::Open,
        onset: time("2025-08-09T06:00:00Z"),
        opened_at: time("2025-08-09T06:05:00Z"),
        updated_at: time("2025-08-09T08:30:00Z"),
        closed_at: None,
        operator: OperatorWord::default(),
        body: body.to_value(),
    };
    (record, body)
}
