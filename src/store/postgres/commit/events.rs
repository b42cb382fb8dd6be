//! The outcomes of a batch, by one insert.

use sqlx::{PgConnection, query};

use crate::{
    model::Timestamp,
    store::{NewEvent, PgStore, StoreError, WordKind, batch::Numbers, engine::kept_long, hash::Hash16},
};

impl PgStore {
    pub(super) async fn insert_events(
        &self,
        connection: &mut PgConnection,
        rows: &[(&str, &NewEvent)],
        numbers: &Numbers,
    ) -> Result<u64, StoreError> {
        if rows.is_empty() {
            return Ok(0);
        }
        let mut columns = Columns::with_capacity(rows.len());
        for (feed, event) in rows {
            columns.push(feed, event, numbers)?;
        }
        let done = query(
            "INSERT INTO event (position, row, at, hash, kind, feed, exposure, class, destination, stream, address, \
             message, sent_at, label, template, code, enhanced, mx, cause, rule, confidence, kept_long) \
             SELECT $1 + pg_current_xact_id()::text::bigint, n::integer, at, hash, kind, feed, exposure, class, \
             destination, stream, address, message, sent_at, label, template, code, enhanced, mx, cause, rule, \
             confidence, kept_long FROM unnest($2::bigint[], $3::uuid[], $4::smallint[], $5::integer[], \
             $6::smallint[], $7::smallint[], $8::smallint[], $9::integer[], $10::bigint[], $11::bigint[], \
             $12::bigint[], $13::integer[], $14::integer[], $15::smallint[], $16::integer[], $17::smallint[], \
             $18::smallint[], $19::integer[], $20::smallint[], $21::boolean[]) WITH ORDINALITY \
             AS e (at, hash, kind, feed, exposure, class, destination, stream, address, message, sent_at, label, \
             template, code, enhanced, mx, cause, rule, confidence, kept_long, n) \
             ON CONFLICT DO NOTHING",
        )
        .bind(self.base)
        .bind(&columns.at)
        .bind(&columns.hash)
        .bind(&columns.kind)
        .bind(&columns.feed)
        .bind(&columns.exposure)
        .bind(&columns.class)
        .bind(&columns.destination)
        .bind(&columns.stream)
        .bind(&columns.address)
        .bind(&columns.message)
        .bind(&columns.sent_at)
        .bind(&columns.label)
        .bind(&columns.template)
        .bind(&columns.code)
        .bind(&columns.enhanced)
        .bind(&columns.mx)
        .bind(&columns.cause)
        .bind(&columns.rule)
        .bind(&columns.confidence)
        .bind(&columns.kept_long)
        .execute(connection)
        .await?;
        Ok(done.rows_affected())
    }
}

/// The rows of one insert, column by column.
struct Columns {
    at: Vec<i64>,
    hash: Vec<Hash16>,
    kind: Vec<i16>,
    feed: Vec<i32>,
    exposure: Vec<i16>,
    class: Vec<i16>,
    destination: Vec<i16>,
    stream: Vec<i32>,
    address: Vec<i64>,
    message: Vec<i64>,
    sent_at: Vec<Option<i64>>,
    label: Vec<Option<i32>>,
    template: Vec<Option<i32>>,
    code: Vec<Option<i16>>,
    enhanced: Vec<Option<i32>>,
    mx: Vec<Option<i16>>,
    cause: Vec<Option<i16>>,
    rule: Vec<Option<i32>>,
    confidence: Vec<Option<i16>>,
    kept_long: Vec<bool>,
}

impl Columns {
    fn with_capacity(rows: usize) -> Self {
        Self {
            at: Vec::with_capacity(rows),
            hash: Vec::with_capacity(rows),
            kind: Vec::with_capacity(rows),
            feed: Vec::with_capacity(rows),
            exposure: Vec::with_capacity(rows),
            class: Vec::with_capacity(rows),
            destination: Vec::with_capacity(rows),
            stream: Vec::with_capacity(rows),
            address: Vec::with_capacity(rows),
            message: Vec::with_capacity(rows),
            sent_at: Vec::with_capacity(rows),
            label: Vec::with_capacity(rows),
            template: Vec::with_capacity(rows),
            code: Vec::with_capacity(rows),
            enhanced: Vec::with_capacity(rows),
            mx: Vec::with_capacity(rows),
            cause: Vec::with_capacity(rows),
            rule: Vec::with_capacity(rows),
            confidence: Vec::with_capacity(rows),
            kept_long: Vec::with_capacity(rows),
        }
    }

    fn push(&mut self, feed: &str, event: &NewEvent, numbers: &Numbers) -> Result<(), StoreError> {
        let reply = event.reply.as_ref();
        self.at.push(event.key.at.as_millis());
        self.hash.push(Hash16(event.key.hash));
        self.kind.push(event.kind.code());
        self.feed.push(numbers.word(WordKind::Feed, feed)?);
        self.exposure.push(event.exposure.code());
        self.class.push(event.class.code());
        self.destination.push(event.destination.code());
        self.stream.push(numbers.stream(&event.stream)?);
        self.address.push(numbers.address(&event.recipient.hash)?);
        self.message.push(event.message);
        self.sent_at.push(event.sent_at.map(Timestamp::as_millis));
        self.label.push(event.label.as_ref().map(|l| numbers.word(WordKind::Label, l)).transpose()?);
        self.template.push(reply.map(|r| numbers.word(WordKind::Template, &r.template)).transpose()?);
        self.code.push(reply.and_then(|r| r.code).and_then(|code| i16::try_from(code).ok()));
        self.enhanced.push(reply.and_then(|r| r.enhanced));
        self.mx.push(reply.map(|r| r.mx.code()));
        self.cause.push(reply.map(|r| r.cause.code()));
        self.rule.push(reply.map(|r| numbers.word(WordKind::Rule, &r.rule)).transpose()?);
        self.confidence.push(reply.map(|r| i16::from(r.confidence)));
        self.kept_long.push(kept_long(event.kind));
        Ok(())
    }
}
